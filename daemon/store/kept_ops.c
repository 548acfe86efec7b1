/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/group_parts.h"

#include "base/mem.h"
#include "base/wire.h"

#include <stdlib.h>

/* ---- writing ---- */

static bool keep_records(struct db *db, const char *source, struct span records, struct err *err)
{
	struct wire_reader w = wire_read(records);
	bool               ok = true;

	while (ok && w.rest.len && !w.bad) {
		int64_t     kind = wire_get_u8(&w);
		struct span key = wire_get_span(&w, records.len), body = wire_get_span(&w, records.len);

		if (w.bad)
			break;
		ok = body.len ? db_run(db, err,
				       "INSERT INTO ldap_entry (source, kind, key, body) VALUES (?, ?, ?, ?)"
				       " ON CONFLICT DO UPDATE SET body = excluded.body",
				       "tibb", source, kind, key.ptr, key.len, body.ptr, body.len)
			      : db_run(db, err,
				       "DELETE FROM ldap_entry WHERE source = ? AND kind = ? AND key = ?", "tib",
				       source, kind, key.ptr, key.len);
	}
	return ok && (!w.bad || err_set(err, ERR_SYNTAX, "a record that is to be kept is none"));
}

bool part_keep(struct db *db, const char *source, const struct source_kept *k, struct err *err)
{
	bool           drop = k->whole || !k->mark.len, there = false;
	struct db_rows q;

	if (drop && (!db_run(db, err, "DELETE FROM ldap_entry WHERE source = ?", "t", source) ||
		     !db_run(db, err, "DELETE FROM ldap_kept WHERE source = ?", "t", source)))
		return false;
	if (!k->mark.len)
		return true;
	if (!drop) {
		/* Changes to nothing would pass for everything. */
		q = db_query(db, err, "SELECT 1 FROM ldap_kept WHERE source = ?", "t", source);
		there = db_next(&q, err);
		if (!db_end(&q) || !there)
			return !q.bad;
	}
	return keep_records(db, source, buf_span(&k->entries), err) &&
	       db_run(db, err,
		      "INSERT INTO ldap_kept (source, mark) VALUES (?, ?)"
		      " ON CONFLICT DO UPDATE SET mark = excluded.mark",
		      "tb", source, (const void *)k->mark.ptr, k->mark.len);
}

/* ---- reading ---- */

static bool kept_work(struct db *db, struct store_job *job, struct err *err)
{
	struct kept_op *op = container_of(job, struct kept_op, job);
	struct db_rows  q;

	buf_init(&op->mark, KEPT_MARK_MAX);
	buf_init(&op->entries, KEPT_MAX);
	q = db_query(db, err, "SELECT mark FROM ldap_kept WHERE source = ?", "t", op->source);
	if (db_next(&q, err))
		buf_add_span(&op->mark, db_span(&q, 0));
	if (!db_end(&q))
		return false;
	if (!op->mark.len)
		return true;
	q = db_query(db, err, "SELECT kind, key, body FROM ldap_entry WHERE source = ?", "t", op->source);
	while (!op->entries.over && db_next(&q, err)) {
		wire_u8(&op->entries, (uint8_t)db_int(&q, 0));
		wire_span(&op->entries, db_span(&q, 1));
		wire_span(&op->entries, db_span(&q, 2));
	}
	return db_end(&q) &&
	       ((!op->entries.over && !op->mark.over) ||
		err_set(err, ERR_LIMIT, "more was kept of %s than is read back", op->source));
}

static void kept_free(struct store_job *job)
{
	struct kept_op *op = container_of(job, struct kept_op, job);

	buf_done(&op->entries);
	buf_done(&op->mark);
	free(op->source);
	free(op);
}

struct kept_op *kept_op_new(const char *source)
{
	struct kept_op *op = op_make(struct kept_op, kept_work, kept_free);

	op->source = mem_strdup(source);
	return op;
}
