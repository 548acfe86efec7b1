/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_METRICS_H
#define ENDPOINT_METRICS_H

/*
 * GET /metrics at the address of "metrics" in the configuration, for
 * Prometheus: core asks every front when somebody asks it, waits for them for
 * a moment, and says what they said together with what it knows itself.
 * Nobody's name is in it. By libmicrohttpd, on core's loop.
 */

#include "base/err.h"
#include "daemon/endpoint/messages.h"

struct core;
struct core_front;
struct metrics;

enum {
	METRICS_CONNECTIONS_MAX = 32,
	METRICS_IDLE_SEC        = 30,
	METRICS_FRONT_MAX       = 2 << 20,      /* bytes of one front's text: 1000 services have about 1.5 MiB */
	METRICS_WAIT_MS         = 2000,         /* how long the fronts may take: they need a millisecond */
};

/* "unix:/path" (mode 0666; an old socket there is replaced) or "ADDRESS:PORT". -1: no. */
int metrics_listen(const char *address, struct err *err);

/* Takes fd over, also on failure. */
struct metrics *metrics_new(struct core *c, int fd, struct err *err);
void metrics_free(struct metrics *m);   /* accepts NULL */

/* A front has answered, or is gone. m may be NULL. */
void metrics_part(struct metrics *m, const struct core_front *f, const struct msg_metrics *part);
void metrics_gone(struct metrics *m, const struct core_front *f);

#endif
