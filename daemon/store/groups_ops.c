/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/group_parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a directory says ---- */

static bool say_account(struct db *db, struct source_op *op, const struct account_said *a,
			struct touched *t, struct err *err)
{
	struct span rest = span_str(a->groups), item;
	char        key[LOGIN_KEY_MAX];
	size_t      n = 0;

	if (!login_fold(a->login, key))
		return true;            /* nobody can be called that */
	if (!op->whole && !part_said_begin(db, op->source, "login_key = ?2", key, err))
		return false;
	while (row_list_next(&rest, &item) && n++ < SOURCE_GROUPS_MAX)
		if (!part_said(db, op->source, key, item, err))
			return false;
	return part_account(db, op->source, key, a->disabled ? ACCOUNT_DISABLED : ACCOUNT_THERE,
			    op->now, t, err);
}

static bool lose_account(struct db *db, struct source_op *op, const char *login, struct err *err)
{
	char key[LOGIN_KEY_MAX];

	return !login_fold(login, key) ||
	       (part_said_begin(db, op->source, "login_key = ?2", key, err) &&
		db_run(db, err,
		       "UPDATE account SET state = 3 WHERE source = ? AND login_key = ? AND state "
		       "!= 2",
		       "tt", op->source, key));
}

static bool source_say(struct db *db, struct source_op *op, struct touched *t, struct err *err)
{
	/* Whole: who is not said is gone. 8 more marks those who were not said yet. */
	if (op->whole && (!part_said_begin(db, op->source, "?2 = ''", "", err) ||
			  !db_run(db, err,
				  "UPDATE account SET state = state + 8 WHERE source = ? AND state < 8",
				  "t", op->source)))
		return false;
	for (size_t i = 0; i < op->count; i++) {
		char key[LOGIN_KEY_MAX];

		if (op->whole && login_fold(op->said[i].login, key) &&
		    !db_run(db, err,
			    "UPDATE account SET state = state - 8 WHERE source = ? AND login_key = "
			    "? AND state >= 8",
			    "tt", op->source, key))
			return false;
		if (!say_account(db, op, &op->said[i], t, err))
			return false;
	}
	for (size_t i = 0; i < op->gone_count; i++)
		if (!lose_account(db, op, op->gone[i], err))
			return false;
	if (op->whole &&
	    !db_run(db, err,
		    "UPDATE account SET state = CASE state WHEN 10 THEN 2 ELSE 3 END WHERE source = "
		    "? AND state >= 8",
		    "t", op->source))
		return false;
	return part_said_end(db, op->source, t, err);
}

static bool source_work(struct db *db, struct store_job *job, struct err *err)
{
	struct source_op *op = container_of(job, struct source_op, job);
	struct touched    t;

	touched_init(&t);
	bool says = op->whole || op->count || op->gone_count;
	bool ok = !says || (source_say(db, op, &t, err) &&
			    part_settle(db, op->source, &op->rules, op->now, &t, &job->changes,
					&op->held, err) &&
			    part_touched(db, &t, op->now, &job->changes, &op->changed, &op->ended, err));
	ok = ok && (!op->kept.keep || part_keep(db, op->source, &op->kept, err));
	touched_done(&t);
	return ok;
}

static void source_free(struct store_job *job)
{
	struct source_op *op = container_of(job, struct source_op, job);

	for (size_t i = 0; i < op->count; i++) {
		free(op->said[i].login);
		free(op->said[i].groups);
	}
	for (size_t i = 0; i < op->gone_count; i++)
		free(op->gone[i]);
	buf_done(&op->kept.entries);
	buf_done(&op->kept.mark);
	free(op->said);
	free(op->gone);
	free(op->source);
	free(op);
}

struct source_op *source_op_new(const char *source, bool whole, struct hold_rules rules,
				struct wall now)
{
	struct source_op *op = op_make(struct source_op, source_work, source_free);

	op->source = mem_strdup(source);
	op->whole = whole;
	op->rules = rules;
	op->now = now;
	return op;
}

void source_op_said(struct source_op *op, const char *login, const char *groups, bool disabled)
{
	if (op->count == op->room)
		op->said = mem_realloc(op->said, op->room = op->room ? op->room * 2 : 16,
				       sizeof(*op->said));
	op->said[op->count++] =
		(struct account_said){ mem_strdup(login), mem_strdup(text_or(groups)), disabled };
}

void source_op_gone(struct source_op *op, const char *login)
{
	if (op->gone_count == op->gone_room)
		op->gone = mem_realloc(op->gone, op->gone_room = op->gone_room ? op->gone_room * 2 : 16,
				       sizeof(*op->gone));
	op->gone[op->gone_count++] = mem_strdup(login);
}

/* ---- an administrator's word ---- */

/* What was lost is lost: counting begins again, so that the next settling lets it go. */
static bool held_work(struct db *db, struct store_job *job, struct err *err)
{
	struct held_op   *op = container_of(job, struct held_op, job);
	struct row_changes *c = &job->changes;
	scoped_free char *kind = NULL;
	struct touched    t;
	size_t            people = 0, left;
	bool              ok = true;

	struct db_rows q = db_query(db, err, "SELECT source, kind, grp FROM held WHERE id = ?", "i",
				    (int64_t)op->held);
	if (db_next(&q, err)) {
		op->source = db_text(&q, 0);
		kind = db_text(&q, 1);
		op->group = db_text(&q, 2);
	}
	if (!db_end(&q))
		return false;
	if (!kind)
		return err_set(err, ERR_MISSING,
			       "nothing is held as h%llu, or it has changed since: look again",
			       (unsigned long long)op->held);
	touched_init(&t);
	if (strcmp(kind, "accounts") == 0)
		ok = db_run(db, err,
			    "UPDATE membership SET said = 4 WHERE source = ?1 AND said = 0 AND "
			    "login_key IN"
			    " (SELECT login_key FROM account WHERE source = ?1 AND state = 3)",
			    "t", op->source) &&
		     db_run(db, err, "UPDATE account SET state = 9 WHERE source = ? AND state = 3",
			    "t", op->source);
	else
		ok = db_run(db, err,
			    "UPDATE membership SET said = 4 WHERE source = ?1 AND said = 0 AND (?2 = "
			    "'' OR grp = ?2)",
			    "tt", op->source, op->group);
	/* Whom it concerns, before the rows go. */
	q = db_query(db, err,
		     "SELECT login_key FROM membership WHERE source = ?1 AND said = 4"
		     " UNION SELECT login_key FROM account WHERE source = ?1 AND state = 9",
		     "t", op->source);
	while (db_next(&q, err)) {
		scoped_free char *key = db_text(&q, 0);

		touched_add(&t, text_or(key));
	}
	ok = db_end(&q) && ok &&
	     db_run(db, err, "DELETE FROM membership WHERE source = ? AND said = 4", "t",
		    op->source) &&
	     db_run(db, err, "UPDATE account SET state = 2, at = ? WHERE source = ? AND state = 9",
		    "it", op->now.sec, op->source) &&
	     db_run(db, err,
		    "DELETE FROM group_base WHERE source = ?1 AND (?2 = '' OR grp IN ('', ?2))", "tt",
		    op->source, op->group) &&
	     part_settle(db, op->source, &op->rules, op->now, &t, c, &left, err) &&
	     part_touched(db, &t, op->now, c, &people, &op->ended, err);
	touched_done(&t);
	return ok;
}

static void held_free(struct store_job *job)
{
	struct held_op *op = container_of(job, struct held_op, job);

	free(op->source);
	free(op->group);
	free(op);
}

struct held_op *held_op_new(uint64_t held, struct hold_rules rules, struct wall now)
{
	struct held_op *op = op_make(struct held_op, held_work, held_free);

	op->held = held;
	op->rules = rules;
	op->now = now;
	return op;
}

/* ---- sources that are no more ---- */

static bool forget(struct db *db, const char *source, struct touched *t, struct row_changes *c,
		   struct err *err)
{
	static const char *const tables[] = { "membership", "account", "group_base", "ldap_kept",
		                              "ldap_entry" };
	char                     sql[80];
	uint64_t                 held[256];
	size_t                   n = 0;

	struct db_rows q = db_query(db, err,
				    "SELECT login_key FROM membership WHERE source = ?1"
				    " UNION SELECT login_key FROM account WHERE source = ?1",
				    "t", source);
	while (db_next(&q, err)) {
		scoped_free char *key = db_text(&q, 0);

		touched_add(t, text_or(key));
	}
	if (!db_end(&q))
		return false;
	for (size_t i = 0; i < array_size(tables); i++) {
		snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE source = ?", tables[i]);
		if (!db_run(db, err, sql, "t", source))
			return false;
	}
	q = db_query(db, err, "SELECT id FROM held WHERE source = ?", "t", source);
	while (n < array_size(held) && db_next(&q, err))
		held[n++] = (uint64_t)db_int(&q, 0);
	if (!db_end(&q) || !db_run(db, err, "DELETE FROM held WHERE source = ?", "t", source))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!part_held(db, held[i], c, err))
			return false;
	return true;
}

static bool sources_work(struct db *db, struct store_job *job, struct err *err)
{
	struct sources_op *op = container_of(job, struct sources_op, job);
	char              *gone[64];
	size_t             n = 0, ended = 0;
	struct touched     t;
	bool               ok;

	struct db_rows q = db_query(db, err,
				    "SELECT source FROM account WHERE source LIKE 'ldap:%'"
				    " UNION SELECT source FROM membership WHERE source LIKE 'ldap:%'"
				    " UNION SELECT source FROM ldap_kept",
				    "");
	while (n < array_size(gone) && db_next(&q, err)) {
		char *source = db_text(&q, 0);

		if (row_list_has(op->keep, span_str(source)))
			free(source);
		else
			gone[n++] = source;
	}
	ok = db_end(&q);
	touched_init(&t);
	for (size_t i = 0; i < n; i++) {
		ok = ok && forget(db, gone[i], &t, &job->changes, err);
		free(gone[i]);
	}
	ok = ok && part_touched(db, &t, op->now, &job->changes, &op->changed, &ended, err);
	touched_done(&t);
	return ok;
}

static void sources_free(struct store_job *job)
{
	struct sources_op *op = container_of(job, struct sources_op, job);

	free(op->keep);
	free(op);
}

struct sources_op *sources_op_new(const char *keep, struct wall now)
{
	struct sources_op *op = op_make(struct sources_op, sources_work, sources_free);

	op->keep = mem_strdup(text_or(keep));
	op->now = now;
	return op;
}
