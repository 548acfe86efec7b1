/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_USED_H
#define CONTROL_USED_H

/*
 * Who used a host since it last said so: POST /v1/map/used, by hosts that serve, and only who
 * did at all, never what or how much.
 *   {"v":1,"used":["n5","n7"]}  ->  {"every":60}: so often this is wanted
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

enum {
	USED_MAX       = 8192,          /* of one report; who is beyond is in the next */
	USED_BODY_MAX  = 256 << 10,
	USED_EVERY_MIN = 4,             /* seconds */
	USED_EVERY_MAX = 60,
};

struct used_list {
	uint64_t *list;
	size_t    count;
};
void used_done(struct used_list *l);            /* accepts a zeroed one */

void used_encode(const struct used_list *l, struct buf *out);
bool used_decode(struct span json, struct used_list *ret_l, struct err *err);

void used_reply_encode(int64_t every, struct buf *out);
bool used_reply_decode(struct span json, int64_t *ret_every, struct err *err);

/*
 * A host's side: who is still to be told of, each once however often noted. What was taken and
 * not answered goes back, so that a report that fails is sent again with what came meanwhile.
 */
enum { USED_PENDING_MAX = 65536 };      /* who is beyond is not noted until some were told */

struct used_pending {
	struct dict     *waiting;       /* node id -> itself */
	struct used_list sent;          /* in a report that is not answered */
};
void used_pending_init(struct used_pending *p);
void used_pending_done(struct used_pending *p);
void used_pending_note(struct used_pending *p, uint64_t node);
/* The next report, borrowed until it is answered; NULL where there is nobody, or one is under way. */
const struct used_list *used_pending_take(struct used_pending *p);
void used_pending_answered(struct used_pending *p, bool told);

#endif
