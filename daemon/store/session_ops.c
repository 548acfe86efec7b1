/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/ops_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- login ---- */

static bool login_work(struct db *db, struct store_job *job, struct err *err)
{
	struct login_op *op = container_of(job, struct login_op, job);
	int64_t          owner;
	bool             there;
	uint64_t         user;

	if (!part_int(db, &owner, &there, err, "SELECT coalesce(user, 0) FROM node WHERE id = ?",
		      "i", (int64_t)op->node))
		return false;
	if (!there)
		return err_set(err, ERR_MISSING, "this device is not enrolled any more");
	if (!owner)
		return err_set(err, ERR_DENIED, "this device is a server: nobody logs in on it");
	if (!part_person(db, &op->person, op->now, &user, &job->changes, err))
		return false;
	if (user != (uint64_t)owner)
		return err_set(err, ERR_DENIED, "this device is somebody else's");
	return part_session_new(db, &op->person, user, op->node, op->now, &op->session,
				&job->changes, err) &&
	       part_node_life(db, op->node, op->life, op->now, err) &&
	       (!op->life || part_node(db, op->node, &job->changes, err)) &&
	       part_seq(db, &job->changes, err);
}

static void login_op_free(struct store_job *job)
{
	struct login_op *op = container_of(job, struct login_op, job);

	person_done(&op->person);
	free(op);
}

struct login_op *login_op_new(uint64_t node, const struct store_person *p, struct wall now)
{
	struct login_op *op = op_make(struct login_op, login_work, login_op_free);

	op->node = node;
	op->now = now;
	person_copy(&op->person, p);
	return op;
}

/* ---- its end ---- */

static bool end_work(struct db *db, struct store_job *job, struct err *err)
{
	struct end_op *op = container_of(job, struct end_op, job);
	size_t         n = 0;
	const struct {
		bool        asked;
		const char *where;
		int64_t     arg;
	} rows[] = {
		{ op->session != 0, "id = ?", (int64_t)op->session },
		{ op->node != 0, "node = ?", (int64_t)op->node },
		{ op->user != 0, "user = ?", (int64_t)op->user },
		{ op->expired, "expires <= ?", op->now.sec },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		if (!rows[i].asked)
			continue;
		if (!part_end(db, rows[i].where, rows[i].arg, op->why, op->now, &n, &job->changes,
			      err))
			return false;
		op->ended += n;
	}
	if (!op->ended)
		return op->expired || err_set(err, ERR_MISSING, "no such session lives");
	return part_seq(db, &job->changes, err);
}

static void end_free(struct store_job *job)
{
	struct end_op *op = container_of(job, struct end_op, job);

	free(op->why);
	free(op);
}

struct end_op *end_op_new(const char *why, struct wall now)
{
	struct end_op *op = op_make(struct end_op, end_work, end_free);

	op->why = mem_strdup(why);
	op->now = now;
	return op;
}

/* ---- users ---- */

static bool user_delete(struct db *db, struct user_op *op, struct err *err)
{
	uint64_t nodes[256];
	size_t   n, ended;

	do {
		struct db_rows q = db_query(db, err, "SELECT id FROM node WHERE user = ? LIMIT 256",
					    "i", (int64_t)op->user);

		n = 0;
		while (n < array_size(nodes) && db_next(&q, err))
			nodes[n++] = (uint64_t)db_int(&q, 0);
		if (!db_end(&q))
			return false;
		for (size_t i = 0; i < n; i++)
			if (!part_node_delete(db, nodes[i], op->now, op->until, &op->job.changes,
					      err))
				return false;
	} while (n == array_size(nodes));
	return part_end(db, "user = ?", (int64_t)op->user, "revoked", op->now, &ended,
			&op->job.changes, err) &&
	       db_run(db, err, "UPDATE login_name SET user = 0 WHERE user = ?", "i",
		      (int64_t)op->user) &&
	       db_run(db, err, "DELETE FROM session WHERE user = ?", "i", (int64_t)op->user) &&
	       db_run(db, err, "DELETE FROM identity WHERE user = ?", "i", (int64_t)op->user) &&
	       /* What an IdP said was of this person; a directory's word is of the name. */
	       db_run(db, err,
		      "DELETE FROM membership WHERE source LIKE 'idp:%' AND login_key ="
		      " (SELECT login_key FROM user WHERE id = ?)",
		      "i", (int64_t)op->user) &&
	       db_run(db, err,
		      "DELETE FROM account WHERE source LIKE 'idp:%' AND login_key ="
		      " (SELECT login_key FROM user WHERE id = ?)",
		      "i", (int64_t)op->user) &&
	       db_run(db, err, "DELETE FROM user WHERE id = ?", "i", (int64_t)op->user);
}

static bool user_work(struct db *db, struct store_job *job, struct err *err)
{
	struct user_op *op = container_of(job, struct user_op, job);
	int64_t         id;
	bool            there, ok = false;
	size_t          n;

	if (!part_int(db, &id, &there, err, "SELECT id FROM user WHERE id = ?", "i",
		      (int64_t)op->user))
		return false;
	if (!there)
		return err_set(err, ERR_MISSING, "there is no user u%llu",
			       (unsigned long long)op->user);
	switch (op->what) {
	case USER_BLOCK:
		ok = db_run(db, err, "UPDATE user SET blocked = 1 WHERE id = ?", "i", id) &&
		     part_end(db, "user = ?", id, "blocked", op->now, &n, &job->changes, err);
		break;
	case USER_UNBLOCK:
		ok = db_run(db, err, "UPDATE user SET blocked = 0 WHERE id = ?", "i", id);
		break;
	case USER_LINK:
		ok = db_run(db, err, "INSERT INTO identity (issuer, sub, user) VALUES (?, ?, ?)",
			    "tti", op->issuer, op->sub, id);
		if (!ok && err && err->code == ERR_EXISTS)
			err_set(err, ERR_EXISTS, "that identity is a user's already");
		break;
	case USER_DELETE:
		ok = user_delete(db, op, err);
		break;
	case USER_MERGE:
		ok = part_user_merge(db, op, err);
		break;
	}
	return ok && part_seq(db, &job->changes, err) &&
	       part_user(db, op->user, &job->changes, err);
}

static void user_free(struct store_job *job)
{
	struct user_op *op = container_of(job, struct user_op, job);

	free(op->issuer);
	free(op->sub);
	free(op);
}

struct user_op *user_op_new(uint64_t user, int what, struct wall now)
{
	struct user_op *op = op_make(struct user_op, user_work, user_free);

	op->user = user;
	op->what = what;
	op->now = now;
	return op;
}

/* ---- housekeeping ---- */

static bool sweep_work(struct db *db, struct store_job *job, struct err *err)
{
	struct sweep_op *op = container_of(job, struct sweep_op, job);

	return db_run(db, err, "DELETE FROM quarantine WHERE until <= ? OR seq <= ?", "ii",
		      op->now.sec, (int64_t)op->acked) &&
	       db_run(db, err, "DELETE FROM logout_token WHERE until <= ?", "i", op->now.sec) &&
	       db_run(db, err, "DELETE FROM session WHERE ended != 0 AND ended < ?", "i",
		      op->before.sec);
}

struct sweep_op *sweep_op_new(struct wall now, struct wall before, uint64_t acked)
{
	struct sweep_op *op = op_make(struct sweep_op, sweep_work, op_free);

	op->now = now;
	op->before = before;
	op->acked = acked;
	return op;
}
