/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_REFUSALS_H
#define ENDPOINT_REFUSALS_H

/*
 * Whom of the map this endpoint does not believe: said in the log when it
 * changes, and to the coordinator, whose administrators see it.
 */

#include "daemon/control/client.h"

struct core;
struct refusals;

enum { REFUSALS_WAIT_MS = 1000, REFUSALS_AGAIN_MS = 15000 };

/* client: NULL where there is no coordinator. */
struct refusals *refusals_new(struct core *c, struct client *client);
void refusals_free(struct refusals *r);         /* accepts NULL */

void refusals_look(struct refusals *r);         /* another map is in force, or another word about it */
void refusals_tell(struct refusals *r);         /* there is a line to the coordinator again */

/* Why this node's claims do not hold here, in words; NULL: they do, or are being looked at. */
const char *refusals_why(const struct core *c, uint64_t node);

#endif
