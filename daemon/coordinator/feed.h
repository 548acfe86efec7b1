/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_FEED_H
#define COORDINATOR_FEED_H

/*
 * The map streams: each endpoint's view as it was last told, the change from
 * there to now as one batch, what it has acknowledged, and how long every
 * revocation took to be. An endpoint that comes back within the log gets what it
 * missed; else a full map.
 */

#include "daemon/coordinator/audit.h"
#include "daemon/coordinator/http.h"
#include "daemon/coordinator/view.h"

enum {
	FEED_LOG_MAX = 4 << 20,         /* bytes of unacknowledged batches that one endpoint's log keeps */
	FEED_BEAT_SEC = 20,             /* below MAP_BEAT_SEC */
	FEED_SLICE = 8,                 /* views that one round of the loop looks at */
	REVOCATIONS_MAX = 1024,         /* remembered until everybody acknowledged */
};

struct feeds;

struct feeds *feeds_new(struct loop *loop, struct registry *reg, struct audit *audit);
void feeds_free(struct feeds *f);               /* accepts NULL */
void feeds_close(struct feeds *f);              /* ends every stream; call before http_free() */

/* GET /v1/map */
void feeds_open(struct feeds *f, struct request *r);
/* POST /v1/map/ack */
void feeds_ack(struct feeds *f, struct request *r);

/* The registry changed: everybody who listens is told at the end of this round. */
void feeds_changed(struct feeds *f);
/* Nothing that was sent counts any more (a new epoch): everybody begins again. */
void feeds_restart(struct feeds *f);

/* Every endpoint that may still act on an old map has acknowledged up to here. */
uint64_t feeds_acked(const struct feeds *f);

/* Node has applied seq, or nothing of it concerned it, or it does not listen. */
bool feeds_is_acked(const struct feeds *f, uint64_t node, uint64_t seq);

/* Calls fn, from the loop, once node has applied seq, does not listen, or at_most_ns has passed:
 * the hub must have a new peer before the peer knocks. */
typedef void feeds_acked_fn(void *ctx, uint64_t who);
void feeds_when_acked(struct feeds *f, uint64_t node, uint64_t seq, int64_t at_most_ns, feeds_acked_fn *fn, void *ctx,
                      uint64_t who);

struct feed_state {
	bool        online;
	uint64_t    sent, acked;
	struct wall acked_at;           /* 0: never */
};
bool feeds_state(const struct feeds *f, uint64_t node, struct feed_state *ret);
void feeds_metrics(const struct feeds *f, struct buf *out);     /* Prometheus text */

/* ahead: somebody has a seq beyond ours, so this database is a restored backup. bump: another
 * seq is needed, with nothing changed. */
typedef void feeds_fn(void *ctx);
void feeds_hooks(struct feeds *f, feeds_fn *ahead, feeds_fn *bump, void *ctx);

#endif
