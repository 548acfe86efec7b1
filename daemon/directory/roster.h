/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_ROSTER_H
#define DIRECTORY_ROSTER_H

/*
 * What a directory holds of people and groups, entry by entry, and what
 * follows: which login is in which groups, through groups in groups, and whose
 * account is disabled. Pure: entries come from reader.c, one at a time,
 * change and go; roster_list() works out the whole.
 *
 * Names of entries (DNs) are compared as bytes: whoever adds them has brought them into one form.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

#include <stddef.h>

enum {
	ROSTER_ENTRIES_MAX = 400000,
	ROSTER_BYTES_MAX = 512 << 20,   /* of all texts */
	ROSTER_NEST_MAX = 16,           /* groups in groups in groups; what is deeper is not followed */
	ROSTER_NAME_MAX = 254,          /* of a login, of a group */
	ROSTER_GROUPS_MAX = 1024,       /* of one login */
	ROSTER_KEEP_MAX = 128 << 20,    /* of what is kept over a restart; larger ones are read again */
};

enum roster_kind { ROSTER_PERSON = 1, ROSTER_GROUP, ROSTER_DISABLED };

/* Borrowed; text lists are NULL-terminated, NULL for none. */
struct roster_entry {
	enum roster_kind   kind;
	struct span        key;         /* the server's id of it: entryUUID, or the DN */
	struct span        dn;
	struct span        name;        /* login of a person, name of a group */
	struct span        uid;         /* of a person: what memberUid holds; may be empty */
	const char *const *members;     /* of a group: DNs */
	const char *const *member_uids;
	const char *const *member_of;   /* DNs of groups */
};

struct roster;

struct roster *roster_new(void);
void roster_free(struct roster *r);                             /* accepts NULL */
/* In place of what had the key before; ERR_LIMIT. */
bool roster_put(struct roster *r, const struct roster_entry *e, struct err *err);
void roster_remove(struct roster *r, enum roster_kind kind, struct span key);
void roster_remove_kind(struct roster *r, enum roster_kind kind);
size_t roster_count(const struct roster *r, enum roster_kind kind);

/* Who is there still: from begin on, what is put or seen is; the rest goes with sweep. An entry may
 * be seen before it is put; missing() is how many were seen and have not come. */
void roster_seen_begin(struct roster *r, enum roster_kind kind);
bool roster_seen(struct roster *r, enum roster_kind kind, struct span key, struct err *err);
void roster_sweep(struct roster *r, enum roster_kind kind);
size_t roster_missing(const struct roster *r, enum roster_kind kind);

/*
 * The journal: what was put and removed since it was taken last, for somebody who keeps it. Records
 * of base/wire.h: kind (u8), key, the entry (a span, which only this file reads; empty: removed).
 * Later records count. It is written from roster_journal() on; `over` where it is larger than ROSTER_KEEP_MAX.
 */
void roster_journal(struct roster *r);
void roster_journal_take(struct roster *r, struct buf *ret);    /* the caller's */
/* Puts what records say, which are not written to the journal. False: they are none, or too many. */
bool roster_replay(struct roster *r, struct span records, struct err *err);

/* Everybody, sorted by login (ASCII lower case). */
struct roster_person {
	char *login;
	char *groups;                   /* list, one a line, sorted */
	bool  disabled;
};
struct roster_list {
	struct roster_person *people;
	size_t                count;
	size_t                groups;
	size_t                twice;            /* logins that several entries have: in no group */
	size_t                unnamed;          /* entries whose name is none of ours */
	size_t                cut;              /* people whose groups are nested deeper, or are more, than is followed */
};
struct roster_list *roster_list(const struct roster *r);
void roster_list_free(struct roster_list *l);                  /* accepts NULL */

#endif
