/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_API_TABLE_H
#define COORDINATOR_API_TABLE_H

/*
 * The administration API: every route of it, below /api/v1/, with what it
 * takes to call it. doc/openapi.json describes each of them, and a test
 * compares the two. Who is an administrator in the mesh may call all; a
 * program with an access token (bearer.h) what its row permits; nobody else anything.
 */

#include "daemon/coordinator/coordinator.h"

/* A handler of any of those routes, on either listener. */
void api_admin(void *ctx, struct request *r);

/* "GET /api/v1/nodes/{node}", one a line. */
void api_print(struct buf *out);

#endif
