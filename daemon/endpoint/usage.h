/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_USAGE_H
#define ENDPOINT_USAGE_H

/*
 * Who uses this host, for the idle end of sessions: by requests that fronts let pass and what is
 * under way there, and by what WireGuard received from a device. Told to the coordinator as
 * "since the last report that arrived": coarse, and never what or how much. Only by hosts that serve.
 *
 * What a device sends to the hub is mostly its own talk with the coordinator: there, requests
 * to other services count alone.
 */

#include "daemon/control/client.h"

struct core;
struct usage;

enum {
	USAGE_FIRST_SEC = 10,
	USAGE_AGAIN_SEC = 4,            /* after a report that failed: what it said goes with the next */
	USAGE_BYTES     = 512,          /* from one look to the next; keepalives and handshakes are less */
};

/* client: NULL where there is no coordinator. */
struct usage *usage_new(struct core *c, struct client *client);
void usage_free(struct usage *u);               /* accepts NULL */

/* A front says so, of a slot of that snapshot. */
void usage_front(struct usage *u, uint64_t snapshot, uint32_t slot);

#endif
