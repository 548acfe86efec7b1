/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_SELF_H
#define ENDPOINT_SELF_H

/* What this machine can say of itself: name, system, addresses, services. */

#include "base/buf.h"
#include "base/ip.h"
#include "daemon/control/enrol.h"
#include "daemon/endpoint/conf.h"

enum { SELF_TEXT_MAX = 128, SELF_ADDRESSES_MAX = 16 };

/* "Debian GNU/Linux 12 (bookworm)"; printable ASCII. */
void self_os(char ret_text[SELF_TEXT_MAX]);

/* The first label of the host name, as map_name_ok() takes it; "host" where it is not fit. */
void self_name(char ret_name[64]);

/* Addresses under the mesh by which others may reach it, without those of interface `except`. */
size_t self_addresses(const char *except, struct ip ret_list[SELF_ADDRESSES_MAX]);

/* What the hub's node says besides: from where it hears its peers, and the pins of
 * the certificates that its fronts serve. */
struct self_hub {
	struct map_seen *seen;
	size_t           seen_count;
	struct enrol_pin pins[ENROL_PINS_MAX];
	size_t           pin_count;
};

/* Of device keys: in map, those that the owner's file lists; and our own, since when and until when. */
struct self_keys {
	const struct map *map;
	struct wall       since, due;   /* zero: not known, by hand alone */
	const char       *why;          /* it is due, and did not change; "" */
};

/* The body of POST /v1/node; port: the device's, 0 where there is none; hub: NULL elsewhere. */
void self_report(const struct conf *conf, uint16_t port, const struct self_keys *keys, const struct self_hub *hub,
                 struct buf *out);

#endif
