/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A node that gets another key: announced, then in use; or given up. */
#include "daemon/store/ops_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static bool begin(struct db *db, struct rotate_op *op, struct err *err)
{
	int64_t n;
	bool    there;

	if (!part_int(db, &n, &there, err, "SELECT hub + (browser != '') FROM node WHERE id = ?", "i",
		      (int64_t)op->node))
		return false;
	if (!there)
		return err_set(err, ERR_MISSING, "there is no node n%llu", (unsigned long long)op->node);
	if (n)
		return err_set(err, ERR_DENIED, "the hub keeps its key: every device knows it by that");
	struct db_rows q = db_query(db, err,
				    "SELECT 1 FROM node WHERE key = ?1 OR was_key = ?1"
				    " OR (next_key = ?1 AND id != ?2)",
				    "bi", op->key, sizeof(op->key), (int64_t)op->node);
	there = db_next(&q, err);
	if (!db_end(&q))
		return false;
	if (there)
		return err_set(err, ERR_EXISTS, "this key is, or was, a node's");
	return db_run(db, err, "UPDATE node SET next_key = ?, next_until = ?, next_vouches = ? WHERE id = ?",
		      "biti", op->key, sizeof(op->key), op->until.sec, op->vouches, (int64_t)op->node);
}

static bool finish(struct db *db, struct rotate_op *op, struct err *err)
{
	struct db_rows q = db_query(db, err, "SELECT key, next_key FROM node WHERE id = ?", "i",
				    (int64_t)op->node);
	uint8_t key[32], next[32];
	bool    has = false;

	if (db_next(&q, err)) {
		op->again = db_blob(&q, 0, key, sizeof(key)) && memcmp(key, op->key, sizeof(key)) == 0;
		has = db_blob(&q, 1, next, sizeof(next)) && memcmp(next, op->key, sizeof(next)) == 0;
	}
	if (!db_end(&q))
		return false;
	if (op->again)
		return true;
	if (!has)
		return err_set(err, ERR_MISSING, "no such key was announced, or its time is over");
	/* Evidence was made for the old key, and stays that. */
	return db_run(db, err,
		      "UPDATE session SET evidence_key = (SELECT key FROM node WHERE id = ?1)"
		      " WHERE node = ?1 AND ended = 0 AND id_token != '' AND evidence_key IS NULL",
		      "i", (int64_t)op->node) &&
	       db_run(db, err,
		      "UPDATE node SET was_key = key, was_until = ?, was_vouches = next_vouches, key = next_key,"
		      " next_key = NULL, next_until = 0, next_vouches = '' WHERE id = ?",
		      "ii", op->until.sec, (int64_t)op->node) &&
	       part_each_of(db, part_session, "SELECT id FROM session WHERE ended = 0 AND node = ?",
			    (int64_t)op->node, &op->job.changes, err);
}

static bool rotate_work(struct db *db, struct store_job *job, struct err *err)
{
	struct rotate_op *op = container_of(job, struct rotate_op, job);
	bool              ok = false;

	switch (op->what) {
	case ROTATE_BEGIN:
		ok = begin(db, op, err);
		break;
	case ROTATE_FINISH:
		ok = finish(db, op, err);
		break;
	case ROTATE_DROP:
		ok = db_run(db, err,
			    "UPDATE node SET next_key = NULL, next_vouches = '', next_until = 0"
			    " WHERE id = ? AND next_until <= ?",
			    "ii", (int64_t)op->node, op->now.sec);
		break;
	}
	return ok && (op->again || part_seq(db, &job->changes, err)) &&
	       part_node(db, op->node, &job->changes, err);
}

static void rotate_free(struct store_job *job)
{
	struct rotate_op *op = container_of(job, struct rotate_op, job);

	free(op->vouches);
	free(op);
}

struct rotate_op *rotate_op_new(uint64_t node, int what, struct wall now)
{
	struct rotate_op *op = op_make(struct rotate_op, rotate_work, rotate_free);

	op->node = node;
	op->what = what;
	op->now = now;
	op->vouches = mem_strdup("");
	return op;
}
