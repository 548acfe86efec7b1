/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_GROUPS_H
#define STORE_GROUPS_H

/*
 * Who is in which group, and who says so. Every membership has a source:
 * "idp:ISSUER" (the claim of the last login), "ldap:NAME", "scim". A person's groups are the union;
 * each source changes its own alone. A directory's word is by login name, so
 * that it is there before the first login.
 *
 * What a directory suddenly takes away is not believed at once: where a group, or
 * the source as a whole, would lose more than rules allow, what is lost stays,
 * as a held row, until somebody accepts it or the source says it again.
 */

#include "base/buf.h"
#include "daemon/store/ops.h"

enum {
	SOURCE_NAME_MAX = 600,          /* "idp:" and an issuer */
	SOURCE_ACCOUNTS_MAX = 200000,   /* of one source */
	SOURCE_GROUPS_MAX = 1024,       /* of one account; IDENTITY_GROUPS_MAX */
	KEPT_MAX = 256 << 20,           /* of one source, read back */
	KEPT_MARK_MAX = 64 << 10,
};

struct hold_rules {
	int64_t share;                  /* percent of a group that may go unasked */
	int64_t least;                  /* smaller groups are not looked at */
	int64_t window;                 /* seconds: losses within it count together */
};

/* One account as a source has it. */
struct account_said {
	char *login;
	char *groups;                   /* list */
	bool  disabled;
};

/* What its reader goes on from after a restart: bytes of its own, in records of base/wire.h: kind (u8),
 * key (span), body (span; empty: goes). Mark and records are written in the transaction of what is said,
 * or not at all. */
struct source_kept {
	bool       keep;                /* else nothing is changed of it */
	bool       whole;               /* in place of what there is; else behind it, if there is any */
	struct buf entries;
	struct buf mark;                /* empty: nothing is kept any more */
};

/* What a directory says now. whole: everything that it has, so who is not in it is
 * gone; else these accounts alone, and those of gone. An account that is disabled or gone ends
 * every session of its person, and refuses their logins. */
struct source_op {
	struct store_job     job;
	char                *source;
	bool                 whole;
	struct account_said *said;
	size_t               count, room;
	char               **gone;
	size_t               gone_count, gone_room;
	struct hold_rules    rules;
	struct wall          now;
	struct source_kept   kept;
	size_t               changed, ended, held;      /* out: people, sessions, held rows there are */
};
struct source_op *source_op_new(const char *source, bool whole, struct hold_rules rules, struct wall now);
void source_op_said(struct source_op *op, const char *login, const char *groups, bool disabled);
void source_op_gone(struct source_op *op, const char *login);

/* Reads it back; mark is empty where there is nothing. */
struct kept_op {
	struct store_job job;
	char            *source;
	struct buf       entries, mark;         /* out; the op's, unless they are taken */
};
struct kept_op *kept_op_new(const char *source);

/* Forgets LDAP sources that are not in keep (list): the configuration has them no more. */
struct sources_op {
	struct store_job job;
	char            *keep;
	struct wall      now;
	size_t           changed;               /* out: people */
};
struct sources_op *sources_op_new(const char *keep, struct wall now);

/* What was held counts from now. ERR_MISSING where it is not held any more. */
struct held_op {
	struct store_job  job;
	uint64_t          held;
	struct hold_rules rules;
	struct wall       now;
	char             *source, *group;               /* out */
	size_t            ended;
};
struct held_op *held_op_new(uint64_t held, struct hold_rules rules, struct wall now);

#endif
