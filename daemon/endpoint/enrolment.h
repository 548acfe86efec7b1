/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_ENROLMENT_H
#define ENDPOINT_ENROLMENT_H

/*
 * Where this endpoint belongs: the coordinator's public place with its pins,
 * its place inside the mesh, and who we are there. STATE-DIR/enrolment.json,
 * doc/architecture section 9.
 */

#include "daemon/control/enrol.h"
#include "daemon/endpoint/conf.h"

enum { ENROLMENT_TEXT_MAX = 16 << 10, ENROLMENT_SOCKET_MAX = 108 };

struct enrolment {
	bool             enrolled;
	bool             down;                          /* `reeve down`: enrolled, and no mesh until `reeve up` */
	char             url[ENROL_URL_MAX];            /* may be empty on the hub */
	struct enrol_pin pins[ENROL_PINS_MAX];
	size_t           pin_count;
	uint64_t         node;
	bool             is_unix;                       /* the hub */
	char             socket[ENROLMENT_SOCKET_MAX];
	struct ipport    control;
};

void enrolment_encode(const struct enrolment *e, struct buf *out);
bool enrolment_decode(struct span json, struct enrolment *ret_e, struct err *err);

/* "verify": "idp" with an issuer at url, the coordinator's own place (its own accounts): it would vouch
 * for itself, which is what that setting is against. ERR_CONFIG. */
bool enrolment_issuers_ok(const char *url, const struct conf *conf, struct err *err);

/* What coordinator said at the end of an enrolment, as a map that reaches the
 * hub and allows nothing: enough to ask for the real one. */
void enrolment_first_map(const struct enrol_reply *r, struct wall now, struct buf *out);

#endif
