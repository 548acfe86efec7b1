/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/scim.h"

#include "daemon/store/group_parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void scim_row_done(struct scim_row *r)
{
	free(r->name);
	free(r->external_id);
	free(r->body);
	free(r->links);
	*r = (struct scim_row){ 0 };
}

#define USER_COLUMNS  "id, external_id, version, created, modified, name_key, active, body"
#define GROUP_COLUMNS "id, external_id, version, created, modified, name"

static void read_row(struct db_rows *q, bool group, struct scim_row *r)
{
	*r = (struct scim_row){
		.id = (uint64_t)db_int(q, 0),
		.external_id = db_text(q, 1),
		.version = db_int(q, 2),
		.created = { db_int(q, 3) },
		.modified = { db_int(q, 4) },
		.name = db_text(q, 5),
		.active = !group && db_int(q, 6) != 0,
		.body = group ? NULL : db_text(q, 7),
	};
}

static bool one_row(struct db *db, bool group, uint64_t id, struct scim_row *ret, struct err *err)
{
	struct db_rows q = db_query(db, err,
				    group ? "SELECT " GROUP_COLUMNS " FROM scim_group WHERE id = ?"
					  : "SELECT " USER_COLUMNS " FROM scim_user WHERE id = ?",
				    "i", (int64_t)id);
	bool           there = db_next(&q, err);

	if (there)
		read_row(&q, group, ret);
	if (!db_end(&q)) {
		scim_row_done(ret);
		return false;
	}
	return there || err_set(err, ERR_MISSING, "there is no such %s", group ? "group" : "user");
}

static bool links_of(struct db *db, bool group, struct scim_row *r, struct err *err)
{
	struct db_rows q = db_query(
		db, err,
		group ? "SELECT group_concat(u.id || char(9) || u.name_key, char(10)) FROM scim_member m"
			" JOIN scim_user u ON u.id = m.user WHERE m.grp = ?"
		      : "SELECT group_concat(g.id || char(9) || g.name, char(10)) FROM scim_member m"
			" JOIN scim_group g ON g.id = m.grp WHERE m.user = ?",
		"i", (int64_t)r->id);

	if (db_next(&q, err))
		r->links = db_text(&q, 0);
	if (!r->links)
		r->links = mem_strdup("");
	return db_end(&q);
}

static bool right_version(const struct scim_row *r, int64_t version, struct err *err)
{
	return !version || r->version == version ||
	       err_set(err, ERR_NOTNOW, "it is at version %lld by now", (long long)r->version);
}

static bool room_for(struct db *db, const char *sql, int64_t max, struct err *err)
{
	int64_t n;
	bool    there;

	return part_int(db, &n, &there, err, sql, "", 0) &&
	       (n < max || err_set(err, ERR_LIMIT, "there are %lld of them already", (long long)n));
}

static bool end_change(struct db *db, struct touched *t, const struct hold_rules *rules,
		       struct wall now, struct store_job *job, size_t *ret_held, size_t *ret_ended,
		       struct err *err)
{
	size_t people = 0;

	return part_said_end(db, SCIM_SOURCE, t, err) &&
	       part_settle(db, SCIM_SOURCE, rules, now, t, &job->changes, ret_held, err) &&
	       part_touched(db, t, now, &job->changes, &people, ret_ended, err);
}

/* ---- users ---- */

/* The login is SCIM's no more: nobody's session goes on under it. */
static bool leave_login(struct db *db, const char *key, struct wall now, struct touched *t,
			struct err *err)
{
	touched_add(t, key);
	return db_run(db, err, "DELETE FROM membership WHERE source = 'scim' AND login_key = ?", "t",
		      key) &&
	       part_account(db, SCIM_SOURCE, key, ACCOUNT_GONE, now, t, err);
}

static bool say_groups(struct db *db, uint64_t id, const char *key, struct err *err)
{
	return part_said_begin(db, SCIM_SOURCE, "login_key = ?2", key, err) &&
	       db_run(db, err,
		      "INSERT INTO membership (source, login_key, grp, said)"
		      " SELECT 'scim', ?, g.name, 3 FROM scim_member m JOIN scim_group g ON g.id = "
		      "m.grp WHERE m.user = ?"
		      " ON CONFLICT DO UPDATE SET said = 1 WHERE said != 3",
		      "ti", key, (int64_t)id);
}

static bool user_write(struct db *db, struct scim_user_op *op, const char *key, struct err *err)
{
	bool ok;

	if (op->what == SCIM_CREATE) {
		ok = room_for(db, "SELECT count(*) FROM scim_user", SCIM_USERS_MAX, err) &&
		     db_run(db, err,
			    "INSERT INTO scim_user (name_key, external_id, active, created, modified, "
			    "body)"
			    " VALUES (?, ?, ?, ?, ?, ?)",
			    "ttiiit", key, op->external_id, (int64_t)op->active, op->now.sec,
			    op->now.sec, op->body);
		op->id = (uint64_t)db_last_id(db);
	} else {
		ok = db_run(db, err,
			    "UPDATE scim_user SET name_key = ?, external_id = ?, active = ?, modified "
			    "= ?, body = ?,"
			    " version = version + 1 WHERE id = ?",
			    "ttiiti", key, op->external_id, (int64_t)op->active, op->now.sec,
			    op->body, (int64_t)op->id);
	}
	if (!ok && err->code == ERR_EXISTS)
		err_set(err, ERR_EXISTS, "the userName is another user's");
	return ok;
}

static bool user_change(struct db *db, struct scim_user_op *op, struct touched *t, struct err *err)
{
	char            key[LOGIN_KEY_MAX];
	struct scim_row old = { 0 };
	bool            ok = true;

	if (op->what != SCIM_CREATE && (!one_row(db, false, op->id, &old, err) ||
					!right_version(&old, op->version, err))) {
		scim_row_done(&old);
		return false;
	}
	if (op->what == SCIM_DELETE) {
		ok = db_run(db, err, "DELETE FROM scim_user WHERE id = ?", "i", (int64_t)op->id) &&
		     leave_login(db, old.name, op->now, t, err);
		scim_row_done(&old);
		return ok;
	}
	if (!login_fold(op->name, key))
		ok = err_set(err, ERR_LIMIT, "the userName is too long");
	ok = ok && user_write(db, op, key, err) &&
	     (!old.name || strcmp(old.name, key) == 0 ||
	      leave_login(db, old.name, op->now, t, err)) &&
	     part_account(db, SCIM_SOURCE, key, op->active ? ACCOUNT_THERE : ACCOUNT_DISABLED,
			  op->now, t, err) &&
	     say_groups(db, op->id, key, err);
	scim_row_done(&old);
	return ok;
}

static bool user_work(struct db *db, struct store_job *job, struct err *err)
{
	struct scim_user_op *op = container_of(job, struct scim_user_op, job);
	struct touched       t;

	touched_init(&t);
	bool ok = user_change(db, op, &t, err) &&
		  end_change(db, &t, &op->rules, op->now, job, &op->held, &op->ended, err);
	touched_done(&t);
	return ok && (op->what == SCIM_DELETE || (one_row(db, false, op->id, &op->row, err) &&
						  links_of(db, false, &op->row, err)));
}

static void user_free(struct store_job *job)
{
	struct scim_user_op *op = container_of(job, struct scim_user_op, job);

	scim_row_done(&op->row);
	free(op->name);
	free(op->external_id);
	free(op->body);
	free(op);
}

struct scim_user_op *scim_user_op_new(enum scim_what what, uint64_t id, struct hold_rules rules,
				      struct wall now)
{
	struct scim_user_op *op = op_make(struct scim_user_op, user_work, user_free);

	op->what = what;
	op->id = id;
	op->rules = rules;
	op->now = now;
	return op;
}

/* ---- groups ---- */

static bool step(struct db *db, const struct scim_group_op *op, const struct scim_step *s,
		 struct err *err)
{
	int64_t id;
	bool    there;

	switch (s->what) {
	case SCIM_CLEAR:
		return db_run(db, err, "DELETE FROM scim_member WHERE grp = ?", "i",
			      (int64_t)op->id);
	case SCIM_REMOVE:
		return db_run(db, err, "DELETE FROM scim_member WHERE grp = ? AND user = ?", "ii",
			      (int64_t)op->id, (int64_t)s->user);
	case SCIM_ADD:
		if (!part_int(db, &id, &there, err, "SELECT id FROM scim_user WHERE id = ?", "i",
			      (int64_t)s->user))
			return false;
		if (!there)
			return err_set(err, ERR_SYNTAX, "there is no user p%llu",
				       (unsigned long long)s->user);
		return db_run(db, err,
			      "INSERT OR IGNORE INTO scim_member (grp, user) VALUES (?, ?)", "ii",
			      (int64_t)op->id, (int64_t)s->user);
	}
	return false;
}

/* Another name for the same people: nothing is lost. */
static bool rename_group(struct db *db, const char *was, const char *name, struct err *err)
{
	return db_run(db, err,
		      "UPDATE OR REPLACE membership SET grp = ?, said = 3 WHERE source = 'scim' AND "
		      "grp = ? AND said = 1",
		      "tt", name, was) &&
	       db_run(db, err,
		      "UPDATE OR REPLACE membership SET grp = ? WHERE source = 'scim' AND grp = ?",
		      "tt", name, was) &&
	       db_run(db, err,
		      "UPDATE OR REPLACE group_base SET grp = ? WHERE source = 'scim' AND kind = "
		      "'group' AND grp = ?",
		      "tt", name, was);
}

static bool group_write(struct db *db, struct scim_group_op *op, const struct scim_row *old,
			struct err *err)
{
	bool ok;

	if (op->what == SCIM_CREATE) {
		ok = room_for(db, "SELECT count(*) FROM scim_group", SCIM_GROUPS_MAX, err) &&
		     db_run(db, err,
			    "INSERT INTO scim_group (name, external_id, created, modified) VALUES "
			    "(?, ?, ?, ?)",
			    "ttii", op->name, text_or(op->external_id), op->now.sec, op->now.sec);
		op->id = (uint64_t)db_last_id(db);
	} else {
		ok = db_run(db, err,
			    "UPDATE scim_group SET name = ?, external_id = ?, modified = ?, version = "
			    "version + 1"
			    " WHERE id = ?",
			    "ttii", op->name ? op->name : old->name,
			    op->external_id ? op->external_id : old->external_id, op->now.sec,
			    (int64_t)op->id);
	}
	if (!ok && err->code == ERR_EXISTS)
		err_set(err, ERR_EXISTS, "the displayName is another group's");
	return ok;
}

static bool group_change(struct db *db, struct scim_group_op *op, const struct scim_row *old,
			 struct err *err)
{
	const char *name = op->name ? op->name : old->name;
	int64_t     n;
	bool        there;

	if (op->what == SCIM_DELETE)
		return part_said_begin(db, SCIM_SOURCE, "grp = ?2", old->name, err) &&
		       db_run(db, err, "DELETE FROM scim_group WHERE id = ?", "i", (int64_t)op->id);
	if (!group_write(db, op, old, err) ||
	    (old->name && strcmp(old->name, name) != 0 && !rename_group(db, old->name, name, err)))
		return false;
	for (size_t i = 0; i < op->count; i++)
		if (!step(db, op, &op->steps[i], err))
			return false;
	if (!part_int(db, &n, &there, err, "SELECT count(*) FROM scim_member WHERE grp = ?", "i",
		      (int64_t)op->id))
		return false;
	if (n > SCIM_MEMBERS_MAX)
		return err_set(err, ERR_LIMIT, "a group of more than %d", SCIM_MEMBERS_MAX);
	return part_said_begin(db, SCIM_SOURCE, "grp = ?2", name, err) &&
	       db_run(db, err,
		      "INSERT INTO membership (source, login_key, grp, said)"
		      " SELECT 'scim', u.name_key, ?, 3 FROM scim_member m JOIN scim_user u ON u.id "
		      "= m.user WHERE m.grp = ?"
		      " ON CONFLICT DO UPDATE SET said = 1 WHERE said != 3",
		      "ti", name, (int64_t)op->id);
}

static bool group_work(struct db *db, struct store_job *job, struct err *err)
{
	struct scim_group_op *op = container_of(job, struct scim_group_op, job);
	struct scim_row       old = { 0 };
	struct touched        t;

	if (op->what != SCIM_CREATE && (!one_row(db, true, op->id, &old, err) ||
					!right_version(&old, op->version, err))) {
		scim_row_done(&old);
		return false;
	}
	touched_init(&t);
	bool ok = group_change(db, op, &old, err) &&
		  end_change(db, &t, &op->rules, op->now, job, &op->held, &op->ended, err);
	touched_done(&t);
	scim_row_done(&old);
	return ok && (op->what == SCIM_DELETE || one_row(db, true, op->id, &op->row, err));
}

static void group_free(struct store_job *job)
{
	struct scim_group_op *op = container_of(job, struct scim_group_op, job);

	scim_row_done(&op->row);
	free(op->name);
	free(op->external_id);
	free(op->steps);
	free(op);
}

struct scim_group_op *scim_group_op_new(enum scim_what what, uint64_t id, struct hold_rules rules,
					struct wall now)
{
	struct scim_group_op *op = op_make(struct scim_group_op, group_work, group_free);

	op->what = what;
	op->id = id;
	op->rules = rules;
	op->now = now;
	return op;
}

void scim_group_op_step(struct scim_group_op *op, enum scim_step_what what, uint64_t user)
{
	if (op->count == op->room)
		op->steps = mem_realloc(op->steps, op->room = op->room ? op->room * 2 : 16,
					sizeof(*op->steps));
	op->steps[op->count++] = (struct scim_step){ what, user };
}

/* ---- reading ---- */

#define FIND_WHERE                                                                         \
	" WHERE (?1 = 0 OR id = ?1) AND (?2 = '' OR external_id = ?2) AND (?3 = '' OR %s = ?3)" \
	" AND (?4 = 0 OR id IN (SELECT %s FROM scim_member WHERE %s = ?4))%s"

static bool find_work(struct db *db, struct store_job *job, struct err *err)
{
	struct scim_find_op *op = container_of(job, struct scim_find_op, job);
	const char *active = op->groups || !op->active ? ""
			     : op->active > 0          ? " AND active = 1"
						       : " AND active = 0";
	char                 where[512], sql[768], key[LOGIN_KEY_MAX] = "";
	size_t               room = 0;
	bool                 ok = true;

	if (op->name && op->groups && strlen(op->name) < sizeof(key))
		memcpy(key, op->name, strlen(op->name) + 1);
	else if (op->name && !login_fold(op->name, key))
		return true;            /* nobody is called that */
	if (op->name && !*key)
		return true;
	snprintf(where, sizeof(where), FIND_WHERE, op->groups ? "name" : "name_key",
		 op->groups ? "grp" : "user", op->groups ? "user" : "grp", active);
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s%s",
		 op->groups ? "scim_group" : "scim_user", where);
	struct db_rows q = db_query(db, err, sql, "itti", (int64_t)op->id, text_or(op->external_id),
				    key, (int64_t)op->member);
	if (db_next(&q, err))
		op->total = db_int(&q, 0);
	if (!db_end(&q))
		return false;
	snprintf(sql, sizeof(sql), "SELECT %s FROM %s%s ORDER BY id LIMIT ?5 OFFSET ?6",
		 op->groups ? GROUP_COLUMNS : USER_COLUMNS,
		 op->groups ? "scim_group" : "scim_user", where);
	q = db_query(db, err, sql, "ittiii", (int64_t)op->id, text_or(op->external_id), key,
		     (int64_t)op->member, op->max, op->start > 0 ? op->start - 1 : 0);
	while (db_next(&q, err)) {
		if (op->count == room)
			op->rows = mem_realloc(op->rows, room = room ? room * 2 : 16,
					       sizeof(*op->rows));
		read_row(&q, op->groups, &op->rows[op->count++]);
	}
	ok = db_end(&q);
	for (size_t i = 0; ok && op->links && i < op->count; i++)
		ok = links_of(db, op->groups, &op->rows[i], err);
	return ok;
}

static void find_free(struct store_job *job)
{
	struct scim_find_op *op = container_of(job, struct scim_find_op, job);

	for (size_t i = 0; i < op->count; i++)
		scim_row_done(&op->rows[i]);
	free(op->rows);
	free(op->name);
	free(op->external_id);
	free(op);
}

struct scim_find_op *scim_find_op_new(bool groups)
{
	struct scim_find_op *op = op_make(struct scim_find_op, find_work, find_free);

	op->groups = groups;
	op->links = true;
	op->start = 1;
	op->max = 100;
	return op;
}
