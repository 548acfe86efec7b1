/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_READER_PARTS_H
#define DIRECTORY_READER_PARTS_H

/* Between a reader's two sides; private to it. */

#include "base/secret.h"
#include "daemon/directory/held.h"
#include "daemon/directory/reader.h"

#include <pthread.h>

struct shared {
	pthread_mutex_t     lock;       /* of what follows, up to the blank line */
	unsigned            refs;
	struct roster_list *list;       /* not taken yet */
	struct reader_kept  kept;       /* not taken yet */
	bool                fresh;      /* a list came since the loop looked */
	enum reader_state   state;
	char                error[ERR_MSG_MAX];
	int                 guarded;    /* a connection that is not bound yet; -1: none */
	struct boot         guard_until;

	int                 event, stop;        /* to the loop; to the thread */
	struct reader_row   row;                /* a copy of its own */
	char               *texts[16];
	struct secret       password;
	struct reader_kept  start;              /* what an earlier process kept */
	bool                answered;           /* the thread's: it had everything since it connected */
};

void shared_tell(struct shared *s, enum reader_state state, const struct err *err);
/* Takes list. held: what it was made of, and goes on from; NULL: nothing is kept of it. */
void shared_list(struct shared *s, struct roster_list *list, enum reader_state state, struct held *held);
/* This connection ends at the row's timeout, by the loop's side, unless it is let go (-1) before. */
void shared_guard(struct shared *s, int fd);
bool shared_stopped(struct shared *s, int ms);                  /* waits up to so long for it */

/* session.c: one connection to its end. True: all was read, come again in a poll's time. held:
 * what the one before had. */
bool session_run(struct shared *s, struct held *held, struct err *err);
size_t session_searches(const struct reader_row *row);

#endif
