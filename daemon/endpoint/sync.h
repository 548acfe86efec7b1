/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_SYNC_H
#define ENDPOINT_SYNC_H

/*
 * The line to the coordinator: the map as it changes, acknowledgements of what
 * is in force here, and what this node says of itself. It asks again with
 * jitter when the line breaks; the state that it leaves in core->map is the
 * last that was whole.
 */

#include "daemon/control/client.h"

struct core;
struct sync;

struct sync *sync_new(struct core *c, struct client *client);
void sync_free(struct sync *s);                 /* accepts NULL */

/* Begins, or begins anew at once: enrolled, another configuration, `reeve up`. */
void sync_start(struct sync *s);
void sync_stop(struct sync *s);

/* Orders and snapshots of the map's present state are out. */
void sync_settled(struct sync *s);

/* This node says of itself something else than before. */
void sync_report(struct sync *s);

/* For `reeve status`. */
struct sync_state {
	bool        wanted, connected;
	const char *why;                /* not connected: borrowed until the loop goes on */
};
void sync_state(const struct sync *s, struct sync_state *ret_st);

/* Makes one request to the coordinator's mesh listener as this node. */
struct client_request *sync_request(struct core *c, struct client *client, const char *method, const char *path,
                                    struct span body, client_done_fn *fn, void *arg, struct err *err);

#endif
