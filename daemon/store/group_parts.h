/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_GROUP_PARTS_H
#define STORE_GROUP_PARTS_H

/* Memberships inside a transaction; private to this folder. */

#include "daemon/store/groups.h"
#include "daemon/store/ops_parts.h"

enum { LOGIN_KEY_MAX = 1024 };

enum account_state {
	ACCOUNT_THERE, ACCOUNT_DISABLED, ACCOUNT_GONE,
	ACCOUNT_GONE_HELD,              /* the source has it no more, which is not believed yet */
};

/* Of a membership's column "said". */
enum said {
	SAID_NO,                        /* not any more: goes, or is held */
	SAID_YES,
	SAID_BEFORE,                    /* marked: was yes, and is not said again yet */
	SAID_NEW,
};

/* ASCII lower case; false: too long. */
bool login_fold(const char *login, char ret_key[LOGIN_KEY_MAX]);

/* Logins whose groups or state changed. */
struct touched { struct dict *logins; };
void touched_init(struct touched *t);
void touched_done(struct touched *t);
void touched_add(struct touched *t, const char *key);

/* What a directory's reader goes on from. */
bool part_keep(struct db *db, const char *source, const struct source_kept *k, struct err *err);

bool part_held(struct db *db, uint64_t id, struct row_changes *c, struct err *err);

/* A login's claim; was: the person's login key before ("": none). ERR_DENIED where a directory has
 * disabled them. */
bool part_claims(struct db *db, const struct store_person *p, const char *was, const char *key, struct wall now,
                 struct err *err);
/* These groups (list) and no others by that source's word. */
bool part_claims_say(struct db *db, const char *source, const char *key, const char *groups, struct wall now,
		     struct err *err);
/* user.groups again, from every source. */
bool part_groups_union(struct db *db, const char *key, struct err *err);

bool part_account(struct db *db, const char *source, const char *key, enum account_state state, struct wall now,
                  struct touched *t, struct err *err);
/* scope: SQL over membership beside the source, with one text parameter ?2. Between begin and end, what is
 * said again is said by part_said(). */
bool part_said_begin(struct db *db, const char *source, const char *scope, const char *arg, struct err *err);
bool part_said(struct db *db, const char *source, const char *key, struct span group, struct err *err);
bool part_said_end(struct db *db, const char *source, struct touched *t, struct err *err);

/* Decides what is held, lets go of the rest. */
bool part_settle(struct db *db, const char *source, const struct hold_rules *rules, struct wall now,
                 struct touched *t, struct row_changes *c, size_t *ret_held, struct err *err);
/* The people behind the logins: their union, their sessions where they are disabled, their rows. */
bool part_touched(struct db *db, const struct touched *t, struct wall now, struct row_changes *c,
                  size_t *ret_people, size_t *ret_ended, struct err *err);

#endif
