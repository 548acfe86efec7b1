/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_OPS_PARTS_H
#define STORE_OPS_PARTS_H

/* What several operations do inside their transaction; private to this folder. */

#include "daemon/store/db.h"
#include "daemon/store/ops.h"

#include <stddef.h>

/* Every operation is made by this: all zero, but for what its job is and how it is freed. */
#define op_make(type, work, free) \
	__extension__({ _Static_assert(offsetof(type, job) == 0, "the job comes first"); (type *)op_alloc(sizeof(type), work, free); })
void op_free(struct store_job *job);            /* of one that owns nothing */
struct store_job *op_alloc(size_t size, store_work_fn *work, void (*free)(struct store_job *job));

/* The row as it is now, put into changes; gone where there is none. */
bool part_node(struct db *db, uint64_t id, struct row_changes *c, struct err *err);
bool part_user(struct db *db, uint64_t id, struct row_changes *c, struct err *err);
bool part_session(struct db *db, uint64_t id, struct row_changes *c, struct err *err);
bool part_key(struct db *db, uint64_t id, struct row_changes *c, struct err *err);

/* Every row that sql selects ids of, the same way. */
typedef bool part_fn(struct db *db, uint64_t id, struct row_changes *c, struct err *err);
bool part_each(struct db *db, part_fn *fn, const char *sql, struct row_changes *c, struct err *err);

/* ... with one argument. */
bool part_each_of(struct db *db, part_fn *fn, const char *sql, int64_t arg, struct row_changes *c, struct err *err);

/* One more change that maps show: counts seq up, notes it in c. */
bool part_seq(struct db *db, struct row_changes *c, struct err *err);

/* The first column of the first row; *ret_there is false where there is none. */
bool part_int(struct db *db, int64_t *ret_n, bool *ret_there, struct err *err, const char *sql, const char *format, int64_t arg);

/* Login names stay somebody's, though they were renamed or deleted since: key is the login in
 * small letters, user 0 somebody new. */
void part_name_key(const char *login, char *out, size_t size);
bool part_name_free(struct db *db, const struct store_person *p, const char *key, uint64_t user, struct err *err);
bool part_name_take(struct db *db, const struct store_person *p, const char *key, uint64_t user, struct wall now,
                    struct err *err);

/* Finds or makes the user of a person, and their session on a node. */
bool part_person(struct db *db, const struct store_person *p, struct wall now, uint64_t *ret_user,
                 struct row_changes *c, struct err *err);
bool part_session_new(struct db *db, const struct store_person *p, uint64_t user, uint64_t node, struct wall now,
                      uint64_t *ret_session, struct row_changes *c, struct err *err);
/* Ends sessions that `where` selects (one int64_t argument). */
bool part_end(struct db *db, const char *where, int64_t arg, const char *why, struct wall now, size_t *ret_n,
              struct row_changes *c, struct err *err);
/* A browser's node goes with its session; and all that were at a host, with that. */
bool part_browser_gone(struct db *db, uint64_t session, struct row_changes *c, struct err *err);
bool part_host_gone(struct db *db, uint64_t host, struct wall now, struct row_changes *c, struct err *err);
bool part_node_delete(struct db *db, uint64_t node, struct wall now, struct wall until, struct row_changes *c,
                      struct err *err);

/* The next IPv4 address that is nobody's and not in quarantine. */
bool part_v4(struct db *db, uint64_t acked, struct wall now, int64_t *ret_v4, struct err *err);
/* name, or name-2, name-3, ... */
bool part_name(struct db *db, const char *name, char ret_name[64], struct err *err);
/* The enrolment of a person's device ends `life` from now, unless somebody logs in there again. */
bool part_node_life(struct db *db, uint64_t node, int64_t life, struct wall now, struct err *err);
bool part_node_insert(struct db *db, const struct node_row *n, int64_t v4, struct wall now, uint64_t *ret_id, struct err *err);

bool part_user_merge(struct db *db, struct user_op *op, struct err *err);

int64_t     ip_to_int(const struct ip *ip);
struct ip   ip_from_int(int64_t n);
const char *text_or(const char *s);     /* "" for NULL */

void person_copy(struct store_person *to, const struct store_person *from);
void person_done(struct store_person *p);

#endif
