/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/group_parts.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool login_fold(const char *login, char ret_key[LOGIN_KEY_MAX])
{
	part_name_key(login, ret_key, LOGIN_KEY_MAX);
	return *login && strlen(login) < LOGIN_KEY_MAX;
}

void touched_init(struct touched *t)
{
	t->logins = dict_new();
}

void touched_done(struct touched *t)
{
	dict_free(t->logins);
}

void touched_add(struct touched *t, const char *key)
{
	dict_put(t->logins, span_str(key), t);
}

static bool touch_all(struct db_rows q, struct touched *t, struct err *err)
{
	while (db_next(&q, err)) {
		scoped_free char *key = db_text(&q, 0);

		touched_add(t, text_or(key));
	}
	return db_end(&q);
}

/* ---- rows ---- */

bool part_held(struct db *db, uint64_t id, struct row_changes *c, struct err *err)
{
	struct db_rows q =
		db_query(db, err, "SELECT source, kind, grp, lost, total, at FROM held WHERE id = ?",
			 "i", (int64_t)id);
	struct row_change *r = row_changes_add(c, ROW_HELD, id);

	r->gone = true;
	if (db_next(&q, err)) {
		struct held_row *h = mem_alloc(sizeof(*h));

		h->id = id;
		h->source = db_text(&q, 0);
		h->kind = db_text(&q, 1);
		h->group = db_text(&q, 2);
		h->lost = db_int(&q, 3);
		h->total = db_int(&q, 4);
		h->at.sec = db_int(&q, 5);
		r->held = h;
		r->gone = false;
	}
	return db_end(&q);
}

bool part_groups_union(struct db *db, const char *key, struct err *err)
{
	return db_run(db, err,
		      "UPDATE user SET groups = coalesce((SELECT group_concat(grp, char(10)) FROM"
		      " (SELECT DISTINCT grp FROM membership WHERE login_key = ?1 ORDER BY grp)), '')"
		      " WHERE login_key = ?1",
		      "t", key);
}

/* ---- claims ---- */

static bool say_list(struct db *db, const char *source, const char *key, const char *groups,
		     struct err *err)
{
	struct span rest = span_str(groups), item;

	while (row_list_next(&rest, &item))
		if (!part_said(db, source, key, item, err))
			return false;
	return true;
}

bool part_claims_say(struct db *db, const char *source, const char *key, const char *groups, struct wall now,
		     struct err *err)
{
	return db_run(db, err, "DELETE FROM membership WHERE source = ? AND login_key = ?", "tt",
		      source, key) &&
	       say_list(db, source, key, groups, err) &&
	       db_run(db, err, "UPDATE membership SET said = 1 WHERE source = ? AND said = 3", "t",
		      source) &&
	       db_run(db, err,
		      "INSERT INTO account (source, login_key, at) VALUES (?, ?, ?)"
		      " ON CONFLICT DO UPDATE SET at = excluded.at, absent = 0",
		      "tti", source, key, now.sec) &&
	       part_groups_union(db, key, err);
}

bool part_claims(struct db *db, const struct store_person *p, const char *was, const char *key,
		 struct wall now, struct err *err)
{
	char  source[SOURCE_NAME_MAX];
	char *by = NULL;

	/* Of two directories one that disables is enough. */
	struct db_rows q = db_query(
		db, err, "SELECT source FROM account WHERE login_key = ? AND state IN (1, 2) LIMIT 1",
		"t", key);
	if (db_next(&q, err))
		by = db_text(&q, 0);
	if (!db_end(&q))
		return false;
	if (by) {
		err_set(err, ERR_DENIED, "%s is disabled by %s", p->login, by);
		free(by);
		return false;
	}
	if (snprintf(source, sizeof(source), "idp:%s", p->issuer) >= (int)sizeof(source))
		return err_set(err, ERR_LIMIT, "the issuer is too long");
	/* What an IdP said is of the person, and goes with their name. */
	if (*was && strcmp(was, key) != 0 &&
	    (!db_run(db, err,
		     "UPDATE OR REPLACE membership SET login_key = ? WHERE login_key = ? AND source "
		     "LIKE 'idp:%'",
		     "tt", key, was) ||
	     !db_run(db, err,
		     "UPDATE OR REPLACE account SET login_key = ? WHERE login_key = ? AND source "
		     "LIKE 'idp:%'",
		     "tt", key, was)))
		return false;
	/* Absent is not empty: what it said last stays, and "absent" says that it is old. */
	if (!p->groups_known)
		return db_run(db, err,
			      "INSERT INTO account (source, login_key, at, absent) VALUES (?, ?, 0, ?)"
			      " ON CONFLICT DO UPDATE SET absent = excluded.absent",
			      "tti", source, key, now.sec) &&
		       part_groups_union(db, key, err);
	return part_claims_say(db, source, key, p->groups, now, err);
}

/* ---- what a directory says ---- */

bool part_account(struct db *db, const char *source, const char *key, enum account_state state,
		  struct wall now, struct touched *t, struct err *err)
{
	if (!db_run(db, err,
		    "INSERT INTO account (source, login_key, at, state) VALUES (?, ?, ?, ?)"
		    " ON CONFLICT DO UPDATE SET at = excluded.at, state = excluded.state"
		    " WHERE state != excluded.state",
		    "ttii", source, key, now.sec, (int64_t)state))
		return false;
	if (db_changed(db))
		touched_add(t, key);
	return true;
}

bool part_said_begin(struct db *db, const char *source, const char *scope, const char *arg,
		     struct err *err)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
		 "UPDATE membership SET said = 2 WHERE source = ?1 AND said = 1 AND %s", scope);
	return db_run(db, err, sql, "tt", source, arg);
}

bool part_said(struct db *db, const char *source, const char *key, struct span group,
	       struct err *err)
{
	scoped_free char *name = span_dup(group);

	return db_run(db, err,
		      "INSERT INTO membership (source, login_key, grp, said) VALUES (?, ?, ?, 3)"
		      " ON CONFLICT DO UPDATE SET said = 1 WHERE said != 3",
		      "ttt", source, key, name);
}

bool part_said_end(struct db *db, const char *source, struct touched *t, struct err *err)
{
	if (!touch_all(db_query(db, err,
				"SELECT login_key FROM membership WHERE source = ? AND said = 3",
				"t", source),
		       t, err))
		return false;
	return db_run(db, err, "UPDATE membership SET said = 1 WHERE source = ? AND said = 3", "t",
		      source) &&
	       db_run(db, err, "UPDATE membership SET said = 0 WHERE source = ? AND said = 2", "t",
		      source);
}

/* ---- what is held ---- */

struct loss {
	const char *kind, *group;
	int64_t     total, lost;        /* there are, and would go */
};

/* Losses of one window count together: one at a time is no way around. */
static bool too_much(struct db *db, const char *source, const struct hold_rules *rules,
		     const struct loss *l, struct wall now, bool *ret, struct err *err)
{
	int64_t base = 0, at = 0;

	struct db_rows q = db_query(
		db, err, "SELECT count, at FROM group_base WHERE source = ? AND kind = ? AND grp = ?",
		"ttt", source, l->kind, l->group);
	if (db_next(&q, err)) {
		base = db_int(&q, 0);
		at = db_int(&q, 1);
	}
	if (!db_end(&q))
		return false;
	if (now.sec >= at + rules->window) {
		base = 0;
		at = now.sec;
	}
	if (base < l->total)
		base = l->total;
	int64_t lost = base - (l->total - l->lost);
	*ret = l->lost > 0 && base >= rules->least && lost * 100 > rules->share * base;
	return db_run(db, err,
		      "INSERT INTO group_base (source, kind, grp, count, at) VALUES (?, ?, ?, ?, ?)"
		      " ON CONFLICT DO UPDATE SET count = excluded.count, at = excluded.at",
		      "tttii", source, l->kind, l->group, base, at);
}

static bool hold(struct db *db, const char *source, const struct loss *l, struct wall now,
		 struct row_changes *c, struct err *err)
{
	int64_t id = 0, lost = 0;

	struct db_rows q =
		db_query(db, err,
			 "SELECT id, lost FROM held WHERE source = ? AND kind = ? AND grp = ?", "ttt",
			 source, l->kind, l->group);
	if (db_next(&q, err)) {
		id = db_int(&q, 0);
		lost = db_int(&q, 1);
	}
	if (!db_end(&q))
		return false;
	/* What somebody confirms is what they saw: another loss has another id. */
	if (id && lost == l->lost)
		return db_run(db, err, "UPDATE held SET live = 1 WHERE id = ?", "i", id);
	if (id && (!db_run(db, err, "DELETE FROM held WHERE id = ?", "i", id) ||
		   !part_held(db, (uint64_t)id, c, err)))
		return false;
	return db_run(db, err,
		      "INSERT INTO held (source, kind, grp, lost, total, at, live) VALUES (?, ?, ?, "
		      "?, ?, ?, 1)",
		      "tttiii", source, l->kind, l->group, l->lost, l->total, now.sec) &&
	       part_held(db, (uint64_t)db_last_id(db), c, err);
}

static bool sums(struct db *db, const char *sql, const char *source, struct loss *l,
		 struct err *err)
{
	struct db_rows q = db_query(db, err, sql, "t", source);

	if (db_next(&q, err)) {
		l->total = db_int(&q, 0);
		l->lost = db_int(&q, 1);
	}
	return db_end(&q);
}

/* Memberships that go: those of accounts whose own going is held stay with them. */
#define GOING " FROM membership WHERE source = ?1 AND said = 0 AND grp = ?2 AND NOT EXISTS (SELECT 1 FROM account a" \
	" WHERE a.source = ?1 AND a.login_key = membership.login_key AND a.state = 3)"

static bool let_go(struct db *db, const char *source, const char *group, struct touched *t,
		   struct err *err)
{
	return touch_all(db_query(db, err, "SELECT login_key" GOING, "tt", source, group), t, err) &&
	       db_run(db, err, "DELETE" GOING, "tt", source, group);
}

struct group_loss { char *name; int64_t total, lost; };

static bool settle_groups(struct db *db, const char *source, const struct hold_rules *rules,
			  struct wall now, bool all, struct touched *t, struct row_changes *c,
			  struct err *err)
{
	struct group_loss *list = NULL;
	size_t             n = 0, room = 0;
	bool               ok = true, much;

	struct db_rows q = db_query(
		db, err,
		"SELECT grp, count(*), sum(said = 0) FROM membership WHERE source = ?1 AND grp IN"
		" (SELECT grp FROM membership WHERE source = ?1 AND said = 0) GROUP BY grp",
		"t", source);
	while (db_next(&q, err)) {
		if (n == room)
			list = mem_realloc(list, room = room ? room * 2 : 16, sizeof(*list));
		list[n++] = (struct group_loss){ db_text(&q, 0), db_int(&q, 1), db_int(&q, 2) };
	}
	ok = db_end(&q);
	for (size_t i = 0; ok && i < n; i++) {
		const struct loss l = { "group", list[i].name, list[i].total, list[i].lost };

		ok = too_much(db, source, rules, &l, now, &much, err);
		if (ok && all)
			continue;
		ok = ok && (much ? hold(db, source, &l, now, c, err)
				 : let_go(db, source, list[i].name, t, err));
	}
	for (size_t i = 0; i < n; i++)
		free(list[i].name);
	free(list);
	return ok;
}

static bool settle_accounts(struct db *db, const char *source, const struct hold_rules *rules,
			    struct wall now, struct touched *t, struct row_changes *c,
			    struct err *err)
{
	struct loss l = { .kind = "accounts", .group = "" };
	bool        much;

	if (!sums(db, "SELECT sum(state != 2), sum(state = 3) FROM account WHERE source = ?", source,
		  &l, err))
		return false;
	if (!l.lost)
		return true;
	if (!too_much(db, source, rules, &l, now, &much, err))
		return false;
	if (much)
		return hold(db, source, &l, now, c, err);
	return touch_all(db_query(db, err,
				  "SELECT login_key FROM account WHERE source = ? AND state = 3", "t",
				  source),
			 t, err) &&
	       db_run(db, err, "UPDATE account SET state = 2, at = ? WHERE source = ? AND state = 3",
		      "it", now.sec, source);
}

/* Held rows whose loss is none any more. */
static bool drop_dead(struct db *db, const char *source, struct row_changes *c, size_t *ret_held,
		      struct err *err)
{
	uint64_t dead[256];
	size_t   n = 0;

	struct db_rows q =
		db_query(db, err, "SELECT id FROM held WHERE source = ? AND live = 0", "t", source);
	while (n < array_size(dead) && db_next(&q, err))
		dead[n++] = (uint64_t)db_int(&q, 0);
	if (!db_end(&q))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!db_run(db, err, "DELETE FROM held WHERE id = ?", "i", (int64_t)dead[i]) ||
		    !part_held(db, dead[i], c, err))
			return false;
	q = db_query(db, err, "SELECT count(*) FROM held WHERE source = ?", "t", source);
	*ret_held = db_next(&q, err) ? (size_t)db_int(&q, 0) : 0;
	return db_end(&q);
}

bool part_settle(struct db *db, const char *source, const struct hold_rules *rules,
		 struct wall now, struct touched *t, struct row_changes *c, size_t *ret_held,
		 struct err *err)
{
	struct loss l = { .kind = "all", .group = "" };
	bool        all = false;

	if (!db_run(db, err, "UPDATE held SET live = 0 WHERE source = ?", "t", source) ||
	    !settle_accounts(db, source, rules, now, t, c, err) ||
	    !sums(db, "SELECT count(*), sum(said = 0) FROM membership WHERE source = ?", source, &l,
		  err))
		return false;
	if (l.lost && (!too_much(db, source, rules, &l, now, &all, err) ||
		       (all && !hold(db, source, &l, now, c, err)) ||
		       !settle_groups(db, source, rules, now, all, t, c, err)))
		return false;
	return drop_dead(db, source, c, ret_held, err);
}

bool part_touched(struct db *db, const struct touched *t, struct wall now, struct row_changes *c,
		  size_t *ret_people, size_t *ret_ended, struct err *err)
{
	struct span key;
	size_t      pos = 0, n;
	void       *v;

	while (dict_next(t->logins, &pos, &key, &v)) {
		scoped_free char *login = span_dup(key);
		int64_t           user = 0, off = 0;

		struct db_rows q = db_query(
			db, err,
			"SELECT id, EXISTS (SELECT 1 FROM account a WHERE a.login_key = "
			"u.login_key AND a.state IN (1, 2))"
			" FROM user u WHERE login_key = ?",
			"t", login);
		if (db_next(&q, err)) {
			user = db_int(&q, 0);
			off = db_int(&q, 1);
		}
		if (!db_end(&q))
			return false;
		if (!user)
			continue;       /* nobody who was here yet */
		if (!part_groups_union(db, login, err))
			return false;
		if (off) {
			if (!part_end(db, "user = ?", user, "disabled", now, &n, c, err))
				return false;
			*ret_ended += n;
		}
		if (!part_user(db, (uint64_t)user, c, err))
			return false;
		++*ret_people;
	}
	return !*ret_people || part_seq(db, c, err);
}
