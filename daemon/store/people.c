/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Whose a login name is. It belongs to the first account that showed it, and
 * stays theirs when the provider renames them, or when the account is deleted: a
 * provider that gives an old address to somebody new does not give them what
 * policies and applications grant to that name.
 */
#include "daemon/store/ops_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void part_name_key(const char *login, char *out, size_t size)
{
	size_t i;

	for (i = 0; login[i] && i + 1 < size; i++)
		out[i] = login[i] >= 'A' && login[i] <= 'Z' ? (char)(login[i] + 32) : login[i];
	out[i] = '\0';
}

bool part_name_free(struct db *db, const struct store_person *p, const char *key, uint64_t user,
		    struct err *err)
{
	struct db_rows q = db_query(db, err,
				    "SELECT user, issuer = ? AND sub = ? FROM login_name"
				    " WHERE login_key = ?",
				    "ttt", p->issuer, p->sub, key);
	bool           there = db_next(&q, err);
	int64_t        owner = there ? db_int(&q, 0) : 0;
	bool           same = there && db_int(&q, 1) != 0;

	if (!db_end(&q))
		return false;
	if (!there || (owner && owner == (int64_t)user) || (!owner && same))
		return true;
	if (owner)
		return err_set(err, ERR_EXISTS,
			       "the login name %s belongs to another account; an administrator can "
			       "link the two",
			       p->login);
	return err_set(err, ERR_EXISTS,
		       "the login name %s was another account's, which is gone; an administrator can "
		       "release it",
		       p->login);
}

bool part_name_take(struct db *db, const struct store_person *p, const char *key, uint64_t user,
		    struct wall now, struct err *err)
{
	return db_run(db, err,
		      "INSERT INTO login_name (login_key, user, issuer, sub, since)"
		      " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (login_key) DO UPDATE SET user = ?2",
		      "titti", key, (int64_t)user, p->issuer, p->sub, now.sec);
}

/* ---- giving a name up ---- */

static bool release_work(struct db *db, struct store_job *job, struct err *err)
{
	struct name_op *op = container_of(job, struct name_op, job);
	char            key[1024];
	struct db_rows  q;
	bool            taken;

	if (strlen(op->login) >= sizeof(key))
		return err_set(err, ERR_MISSING, "nobody was ever called that");
	part_name_key(op->login, key, sizeof(key));
	q = db_query(db, err, "SELECT 1 FROM user WHERE login_key = ?", "t", key);
	taken = db_next(&q, err);
	if (!db_end(&q))
		return false;
	if (taken)
		return err_set(err, ERR_DENIED, "%s is what somebody is called now", op->login);
	if (!db_run(db, err, "DELETE FROM login_name WHERE login_key = ?", "t", key))
		return false;
	return db_changed(db) > 0 || err_set(err, ERR_MISSING, "nobody was ever called %s", op->login);
}

static void release_free(struct store_job *job)
{
	struct name_op *op = container_of(job, struct name_op, job);

	free(op->login);
	free(op);
}

struct name_op *name_op_release(const char *login)
{
	struct name_op *op = op_make(struct name_op, release_work, release_free);

	op->login = mem_strdup(login);
	return op;
}

/* ---- two accounts that are one person ---- */

static bool nodes_of(struct db *db, int64_t user, uint64_t *ids, size_t max, size_t *ret_n,
		     struct err *err)
{
	struct db_rows q = db_query(db, err, "SELECT id FROM node WHERE user = ?", "i", user);
	size_t         n = 0;

	while (n < max && db_next(&q, err))
		ids[n++] = (uint64_t)db_int(&q, 0);
	*ret_n = n;
	return db_end(&q);
}

bool part_user_merge(struct db *db, struct user_op *op, struct err *err)
{
	static const char *const moves[] = {
		"UPDATE node SET user = ?1 WHERE user = ?2",
		"UPDATE session SET user = ?1 WHERE user = ?2",
		"UPDATE identity SET user = ?1 WHERE user = ?2",
		"UPDATE login_name SET user = ?1 WHERE user = ?2",
	};
	struct row_changes *c = &op->job.changes;
	int64_t             to = (int64_t)op->user, from = (int64_t)op->other, blocked;
	uint64_t            nodes[1024];
	size_t              n = 0, ended;
	bool                there;

	if (!part_int(db, &blocked, &there, err, "SELECT blocked FROM user WHERE id = ?", "i", from))
		return false;
	if (!there || from == to)
		return err_set(err, ERR_MISSING, "there is no other user u%llu",
			       (unsigned long long)op->other);
	if (blocked)
		return err_set(err, ERR_DENIED, "a blocked account does not go up in another");
	if (!part_end(db, "user = ?", from, "merged", op->now, &ended, c, err) ||
	    !nodes_of(db, from, nodes, array_size(nodes), &n, err))
		return false;
	for (size_t i = 0; i < array_size(moves); i++)
		if (!db_run(db, err, moves[i], "ii", to, from))
			return false;
	if (!db_run(db, err, "DELETE FROM user WHERE id = ?", "i", from))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!part_node(db, nodes[i], c, err))
			return false;
	return part_user(db, op->other, c, err);
}
