/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_READER_H
#define DIRECTORY_READER_H

/*
 * Reads one LDAP server, on a thread of its own, for as long as it lives: what
 * it has of people and groups (roster.h), told on the loop whenever it changed.
 * A server that does not answer, or answers with an error, changes nothing: what was
 * read before stands, and the status says so. Never clear text, unless the row says so.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"
#include "daemon/directory/reader_conf.h"
#include "daemon/directory/roster.h"

enum {
	READER_PDU_MAX = 32 << 20,      /* one message of the server: a group of 300,000 */
	READER_VALUES_MAX = 1000000,    /* of one attribute, in however many pieces */
	READER_REFRESH_SEC = 900,       /* reading everything once */
	READER_RETRY_SEC = 2,           /* after a failure; doubled up to */
	READER_RETRY_MAX = 120,
};

struct reader;

enum reader_state { READER_CONNECTING, READER_WATCHING, READER_POLLING, READER_AWAY };
const char *reader_state_name(enum reader_state s);     /* "watching" ... */

struct reader_status {
	enum reader_state state;
	char              error[ERR_MSG_MAX];   /* of READER_AWAY */
	struct wall       read;                 /* when it was read whole last; 0: never */
	uint64_t          lists;                /* that were told */
};

/*
 * What a reader would go on from in another process: the entries that it has, and a mark that says up
 * to where (RFC 4533's cookies) and of which configuration. It comes as changes to what was kept before,
 * and counts only with all of them, mark and entries in one step; so does the list that came with it.
 */
struct reader_kept {
	bool       whole;               /* in place of what was kept before */
	struct buf entries;             /* roster.h's journal */
	struct buf mark;                /* empty: nothing is kept */
};
void reader_kept_done(struct reader_kept *k);                   /* accepts a zeroed one */
/* later comes behind k, and is empty then. */
void reader_kept_join(struct reader_kept *k, struct reader_kept *later);
bool reader_kept_none(const struct reader_kept *k);

/* Once, before the process has threads: libldap reads no file and no environment of the user's. */
void reader_process_init(void);

/* Calls fn on the loop when there is a list to take, or the status changed. NULL: the password cannot
 * be read. */
typedef void reader_fn(void *arg);
struct reader *reader_new(struct loop *l, const char *name, const struct reader_row *row, reader_fn *fn, void *arg,
                          struct err *err);
/* Begins: from what was kept (taken), if it is of this configuration; else by reading everything. */
bool reader_start(struct reader *r, struct reader_kept *from, struct err *err);
/* Accepts NULL. Does not wait for the server: the thread ends by itself; with wait, it is
 * given a moment, for a process that ends. */
void reader_free(struct reader *r, bool wait);

/* The latest list, if it was not taken yet; the caller's. What is to be kept with it joins kept. */
struct roster_list *reader_take(struct reader *r, struct reader_kept *kept);
void reader_status(struct reader *r, struct reader_status *ret);

#endif
