/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/ops_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- enrolment keys ---- */

static bool key_work(struct db *db, struct store_job *job, struct err *err)
{
	struct key_op *op = container_of(job, struct key_op, job);

	if (op->what == KEY_CREATE) {
		if (!db_run(db, err,
			    "INSERT INTO enrol_key (hash, tags, note, uses, created, expires, "
			    "made_by, ephemeral, node_life, scim)"
			    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			    "bttiiiiiii", op->hash, sizeof(op->hash), op->tags, op->note, op->uses,
			    op->now.sec, op->expires.sec, (int64_t)op->by,
			    (int64_t)op->ephemeral, op->node_life, (int64_t)op->scim))
			return false;
		op->key = (uint64_t)db_last_id(db);
	} else {
		if (!db_run(db, err, "UPDATE enrol_key SET revoked = 1 WHERE id = ?", "i",
			    (int64_t)op->key))
			return false;
		if (db_changed(db) == 0)
			return err_set(err, ERR_MISSING, "there is no key k%llu",
				       (unsigned long long)op->key);
	}
	return part_key(db, op->key, &job->changes, err);
}

static void key_free(struct store_job *job)
{
	struct key_op *op = container_of(job, struct key_op, job);

	mem_wipe(op->hash, sizeof(op->hash));
	free(op->tags);
	free(op->note);
	free(op);
}

struct key_op *key_op_create(const uint8_t hash[32], const char *tags, const char *note,
			     int64_t uses, struct wall now, struct wall expires, uint64_t by)
{
	struct key_op *op = op_make(struct key_op, key_work, key_free);

	op->what = KEY_CREATE;
	memcpy(op->hash, hash, sizeof(op->hash));
	op->tags = mem_strdup(text_or(tags));
	op->note = mem_strdup(text_or(note));
	op->uses = uses;
	op->now = now;
	op->expires = expires;
	op->by = by;
	return op;
}

struct key_op *key_op_revoke(uint64_t key)
{
	struct key_op *op = op_make(struct key_op, key_work, key_free);

	op->what = KEY_REVOKE;
	op->key = key;
	return op;
}

/* ---- the policy ---- */

static bool policy_work(struct db *db, struct store_job *job, struct err *err)
{
	struct policy_op *op = container_of(job, struct policy_op, job);
	int64_t           latest;
	bool              there;

	if (!part_int(db, &latest, &there, err, "SELECT max(version) FROM policy", "", 0))
		return false;
	if (op->base && (uint64_t)latest != op->base)
		return err_set(err, ERR_NOTNOW, "the policy is at version %lld by now, not at %llu",
			       (long long)latest, (unsigned long long)op->base);
	if (!db_run(db, err, "INSERT INTO policy (text, made_by, at) VALUES (?, ?, ?)", "tii",
		    op->text, (int64_t)op->by, op->now.sec))
		return false;
	op->version = (uint64_t)db_last_id(db);
	struct policy_row *row = mem_alloc(sizeof(*row));
	*row = (struct policy_row){
		.version = op->version, .text = mem_strdup(op->text), .by = op->by, .at = op->now};
	row_changes_add(&job->changes, ROW_POLICY, op->version)->policy = row;
	return part_seq(db, &job->changes, err);
}

static void policy_op_free(struct store_job *job)
{
	struct policy_op *op = container_of(job, struct policy_op, job);

	free(op->text);
	free(op);
}

struct policy_op *policy_op_new(struct span text, uint64_t base, uint64_t by, struct wall now)
{
	struct policy_op *op = op_make(struct policy_op, policy_work, policy_op_free);

	op->text = span_dup(text);
	op->base = base;
	op->by = by;
	op->now = now;
	return op;
}

static bool policy_get_work(struct db *db, struct store_job *job, struct err *err)
{
	struct policy_get_op *op = container_of(job, struct policy_get_op, job);
	struct db_rows q =
		db_query(db, err, "SELECT text, made_by, at FROM policy WHERE version = ?", "i",
			 (int64_t)op->version);

	if (db_next(&q, err)) {
		op->row = mem_alloc(sizeof(*op->row));
		op->row->version = op->version;
		op->row->text = db_text(&q, 0);
		op->row->by = (uint64_t)db_int(&q, 1);
		op->row->at.sec = db_int(&q, 2);
	}
	if (!db_end(&q))
		return false;
	return op->row || err_set(err, ERR_MISSING, "there is no version %llu",
				  (unsigned long long)op->version);
}

static void policy_get_free(struct store_job *job)
{
	struct policy_get_op *op = container_of(job, struct policy_get_op, job);

	policy_row_free(op->row);
	free(op);
}

struct policy_get_op *policy_get_op_new(uint64_t version)
{
	struct policy_get_op *op = op_make(struct policy_get_op, policy_get_work, policy_get_free);

	op->version = version;
	return op;
}

/* ---- the epoch ---- */

static bool epoch_work(struct db *db, struct store_job *job, struct err *err)
{
	struct epoch_op *op = container_of(job, struct epoch_op, job);

	return db_run(db, err, "UPDATE mesh SET epoch = ?", "t", op->epoch) &&
	       part_seq(db, &job->changes, err);
}

struct epoch_op *epoch_op_new(const char epoch[17])
{
	struct epoch_op *op = op_make(struct epoch_op, epoch_work, op_free);

	memcpy(op->epoch, epoch, sizeof(op->epoch));
	return op;
}
