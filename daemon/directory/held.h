/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_HELD_H
#define DIRECTORY_HELD_H

/*
 * What a watch (RFC 4533) has of a server, across its connections: the roster, and each search's
 * cookie, which says up to where. They count together or not at all: `good` is false from the
 * first message of a refresh until its last, and whoever finds it false begins from nothing.
 */

#include "base/buf.h"
#include "daemon/directory/reader_conf.h"
#include "daemon/directory/roster.h"
#include "daemon/directory/sync.h"

enum {
	HELD_SEARCHES = 3,              /* people, groups, disabled */
	HELD_MARK_MAX = 32 << 10,
	HELD_FORM = 1,                  /* counts up where the same entry would be written otherwise */
};

struct held {
	struct roster     *roster;
	struct sync_cookie cookies[HELD_SEARCHES];
	size_t             searches;    /* of these */
	bool               good;        /* the cookies are the roster's */
	bool               whole;       /* the journal is everything, from nothing on */
};

void held_init(struct held *h, size_t searches);
void held_done(struct held *h);
void held_drop(struct held *h);                 /* from nothing on */
void held_begin(struct held *h);                /* ... and what comes is written to the journal */

/* An empty cookie says nothing. */
void held_cookie(struct held *h, size_t search, const struct sync_cookie *c);
bool held_complete(const struct held *h);       /* each search has one */

/* What is kept beside the journal: what was configured, and the cookies. */
void held_mark(const struct held *h, const struct reader_row *row, struct buf *out);
/* From what was kept. False, and from nothing on: it is of another configuration (no err), or broken. */
bool held_load(struct held *h, const struct reader_row *row, struct span mark, struct span records,
               struct err *err);

#endif
