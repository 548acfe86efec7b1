/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_API_H
#define ENDPOINT_API_H

/*
 * The local API on RUN-DIR/api.sock (doc/architecture section 8): libmicrohttpd
 * on our loop, callers judged by SO_PEERCRED. Everybody local may ask; root
 * and "admins" may change things; "users" of the mesh may log in and out.
 * Next: api_answer.h, which makes the answers.
 */

#include "base/err.h"

struct core;
struct api;

enum {
	API_CONNECTIONS_MAX = 128,
	API_BODY_MAX        = 16 << 10,
	API_IDLE_SEC        = 30,
	API_ANSWER_SEC      = 60,       /* a question that waits for the coordinator or net */
};

struct api *api_new(struct core *c, struct err *err);
void api_free(struct api *a);           /* accepts NULL */

/* Other users may ask now: "admins" and "users" of the configuration in use. */
void api_set_conf(struct api *a);

#endif
