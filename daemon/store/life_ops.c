/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What time and providers do to nodes and sessions. */
#include "daemon/store/ops_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

bool part_node_life(struct db *db, uint64_t node, int64_t life, struct wall now, struct err *err)
{
	return !life || db_run(db, err, "UPDATE node SET expires = ? WHERE id = ?", "ii",
			       now.sec + life, (int64_t)node);
}

/* ---- a provider's logout ---- */

/* The sessions that it names. */
static struct db_rows named(struct db *db, const struct logout_op *op, struct err *err)
{
	/* With both, both must fit (2.6): a sid of somebody else ends nothing. */
	return db_query(db, err,
			"SELECT id FROM session WHERE ended = 0 AND issuer = ?1"
			" AND (?2 = '' OR sid = ?2) AND (?3 = '' OR sub = ?3)"
			" AND (?2 != '' OR ?3 != '') LIMIT 64",
			"ttt", op->issuer, text_or(op->sid), text_or(op->sub));
}

static bool logout_work(struct db *db, struct store_job *job, struct err *err)
{
	struct logout_op *op = container_of(job, struct logout_op, job);
	uint64_t          ids[64];
	size_t            n, one;

	if (!db_run(db, err, "INSERT INTO logout_token (issuer, jti, until) VALUES (?, ?, ?)",
		    "tti", op->issuer, op->jti, op->until.sec)) {
		if (err && err->code == ERR_EXISTS)
			err_set(err, ERR_EXISTS, "this logout token was obeyed before");
		return false;
	}
	do {
		struct db_rows q = named(db, op, err);

		n = 0;
		while (n < array_size(ids) && db_next(&q, err))
			ids[n++] = (uint64_t)db_int(&q, 0);
		if (!db_end(&q))
			return false;
		for (size_t i = 0; i < n; i++) {
			if (!part_end(db, "id = ?", (int64_t)ids[i], "provider-logout", op->now, &one,
				      &job->changes, err))
				return false;
			op->ended += one;
		}
	} while (n == array_size(ids));
	return !op->ended || part_seq(db, &job->changes, err);
}

static void logout_free(struct store_job *job)
{
	struct logout_op *op = container_of(job, struct logout_op, job);

	free(op->issuer);
	free(op->sub);
	free(op->sid);
	free(op->jti);
	free(op);
}

struct logout_op *logout_op_new(const char *issuer, const char *sub, const char *sid,
				const char *jti, struct wall now, struct wall until)
{
	struct logout_op *op = op_make(struct logout_op, logout_work, logout_free);

	op->issuer = mem_strdup(issuer);
	op->sub = mem_strdup(text_or(sub));
	op->sid = mem_strdup(text_or(sid));
	op->jti = mem_strdup(jti);
	op->now = now;
	op->until = until;
	return op;
}

/* ---- a provider that stands by somebody ---- */

static bool checked_work(struct db *db, struct store_job *job, struct err *err)
{
	struct checked_op *op = container_of(job, struct checked_op, job);

	return db_run(db, err, "UPDATE session SET checked = ? WHERE id = ? AND ended = 0", "ii",
		      op->checked.sec, (int64_t)op->session) &&
	       (!op->refresh ||
		db_run(db, err, "UPDATE session SET refresh = ? WHERE id = ? AND ended = 0", "ti",
		       op->refresh, (int64_t)op->session)) &&
	       part_session(db, op->session, &job->changes, err);
}

static void checked_free(struct store_job *job)
{
	struct checked_op *op = container_of(job, struct checked_op, job);

	free(op->refresh);
	free(op);
}

struct checked_op *checked_op_new(uint64_t session, const char *refresh, struct wall checked)
{
	struct checked_op *op = op_make(struct checked_op, checked_work, checked_free);

	op->session = session;
	op->refresh = refresh ? mem_strdup(refresh) : NULL;
	op->checked = checked;
	return op;
}
