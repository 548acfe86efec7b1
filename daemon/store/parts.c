/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/group_parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *text_or(const char *s)
{
	return s ? s : "";
}

static char *text_dup(const char *s)
{
	return mem_strdup(text_or(s));
}

int64_t ip_to_int(const struct ip *ip)
{
	return (int64_t)ip->b[0] << 24 | (int64_t)ip->b[1] << 16 | (int64_t)ip->b[2] << 8 |
	       ip->b[3];
}

struct ip ip_from_int(int64_t n)
{
	return (struct ip){
		.family = IP_V4,
		.b = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

void person_copy(struct store_person *to, const struct store_person *from)
{
	*to = *from;
	to->issuer = text_dup(from->issuer);
	to->sub = text_dup(from->sub);
	to->login = text_dup(from->login);
	to->name = text_dup(from->name);
	to->email = text_dup(from->email);
	to->groups = text_dup(from->groups);
	to->acr = text_dup(from->acr);
	to->amr = text_dup(from->amr);
	to->from = text_dup(from->from);
	to->provider = text_dup(from->provider);
	to->sid = text_dup(from->sid);
	to->refresh = (struct span){ 0 };
	if (from->refresh.len)
		to->refresh = (struct span){ mem_dup(from->refresh.ptr, from->refresh.len),
			                     from->refresh.len };
	if (from->evidence) {
		struct store_evidence *e = mem_alloc(sizeof(*e));

		*e = *from->evidence;
		e->id_token = mem_strdup(from->evidence->id_token);
		to->evidence = e;
	}
}

void person_done(struct store_person *p)
{
	const char *all[] = {p->issuer, p->sub, p->login, p->name, p->email,
			     p->groups, p->acr, p->amr,   p->from,  p->provider, p->sid,
			     p->evidence ? p->evidence->id_token : NULL};

	if (p->refresh.ptr)
		mem_wipe((char *)p->refresh.ptr, p->refresh.len);
	free((char *)p->refresh.ptr);
	for (size_t i = 0; i < array_size(all); i++)
		free((char *)all[i]);
	free((struct store_evidence *)p->evidence);
	*p = (struct store_person){ 0 };
}

bool part_int(struct db *db, int64_t *ret_n, bool *ret_there, struct err *err, const char *sql,
	      const char *format, int64_t arg)
{
	struct db_rows q =
		format[0] ? db_query(db, err, sql, format, arg) : db_query(db, err, sql, "");

	*ret_there = db_next(&q, err);
	*ret_n = *ret_there ? db_int(&q, 0) : 0;
	return db_end(&q);
}

bool part_seq(struct db *db, struct row_changes *c, struct err *err)
{
	int64_t seq;
	bool    there;

	if (!db_run(db, err, "UPDATE mesh SET seq = seq + 1", "") ||
	    !part_int(db, &seq, &there, err, "SELECT seq FROM mesh", "", 0))
		return false;
	if (!there)
		return err_set(err, ERR_CONFIG,
			       "this database has no mesh: reeve-coordinator init makes one");
	c->seq = (uint64_t)seq;
	return true;
}

/* ---- rows ---- */

struct store_job *op_alloc(size_t size, store_work_fn *work, void (*free)(struct store_job *job))
{
	struct store_job *job = mem_alloc(size);

	job->work = work;
	job->free = free;
	return job;
}

void op_free(struct store_job *job)
{
	free(job);
}

bool part_node(struct db *db, uint64_t id, struct row_changes *c, struct err *err)
{
	struct db_rows q = db_query(db, err,
				    "SELECT key, name, v4, tags, coalesce(user, 0), enrol_key, "
				    "hub, os, report, routes, origin, created, approved, "
				    "ephemeral, expires, browser, host, next_key, next_until, "
				    "next_vouches, was_key, was_until, was_vouches"
				    " FROM node WHERE id = ?",
				    "i", (int64_t)id);
	struct row_change *r = row_changes_add(c, ROW_NODE, id);

	r->gone = true;
	if (db_next(&q, err)) {
		struct node_row *n = mem_alloc(sizeof(*n));

		n->id = id;
		q.bad = !db_blob(&q, 0, n->key, sizeof(n->key)) &&
			!err_set(err, ERR_SYS, "the database: node %llu has no key",
				 (unsigned long long)id);
		n->name = db_text(&q, 1);
		if (db_int(&q, 2) > 0)
			n->v4 = ip_from_int(db_int(&q, 2));
		n->tags = db_text(&q, 3);
		n->user = (uint64_t)db_int(&q, 4);
		n->enrol_key = (uint64_t)db_int(&q, 5);
		n->hub = db_int(&q, 6) != 0;
		n->os = db_text(&q, 7);
		n->report = db_text(&q, 8);
		n->routes = db_text(&q, 9);
		n->from = db_text(&q, 10);
		n->browser = db_text(&q, 15);
		n->host = (uint64_t)db_int(&q, 16);
		n->has_next = db_blob(&q, 17, n->next_key, sizeof(n->next_key));
		n->next_until.sec = db_int(&q, 18);
		n->next_vouches = db_text(&q, 19);
		n->has_was = db_blob(&q, 20, n->was_key, sizeof(n->was_key));
		n->was_until.sec = db_int(&q, 21);
		n->was_vouches = db_text(&q, 22);
		n->created.sec = db_int(&q, 11);
		n->approved = db_int(&q, 12) != 0;
		n->ephemeral = db_int(&q, 13) != 0;
		n->expires.sec = db_int(&q, 14);
		r->node = n;
		r->gone = false;
	}
	return db_end(&q);
}

bool part_user(struct db *db, uint64_t id, struct row_changes *c, struct err *err)
{
	struct db_rows q = db_query(db, err,
				    "SELECT issuer, sub, login, name, email, groups, blocked, "
				    "created, last_login,"
				    " coalesce((SELECT group_concat(source || char(9) || grp, char(10))"
				    "  FROM membership m WHERE m.login_key = u.login_key), ''),"
				    " coalesce((SELECT group_concat(source, char(10)) FROM account a"
				    "  WHERE a.login_key = u.login_key AND absent != 0), ''),"
				    " coalesce((SELECT group_concat(source, char(10)) FROM account a"
				    "  WHERE a.login_key = u.login_key AND state IN (1, 2)), '')"
				    " FROM user u WHERE id = ?",
				    "i", (int64_t)id);
	struct row_change *r = row_changes_add(c, ROW_USER, id);

	r->gone = true;
	if (db_next(&q, err)) {
		struct user_row *u = mem_alloc(sizeof(*u));

		u->id = id;
		u->issuer = db_text(&q, 0);
		u->sub = db_text(&q, 1);
		u->login = db_text(&q, 2);
		u->name = db_text(&q, 3);
		u->email = db_text(&q, 4);
		u->groups = db_text(&q, 5);
		u->blocked = db_int(&q, 6) != 0;
		u->created.sec = db_int(&q, 7);
		u->last_login.sec = db_int(&q, 8);
		u->sources = db_text(&q, 9);
		u->absent = db_text(&q, 10);
		u->disabled = db_text(&q, 11);
		r->user = u;
		r->gone = false;
	}
	return db_end(&q);
}

bool part_session(struct db *db, uint64_t id, struct row_changes *c, struct err *err)
{
	struct db_rows q = db_query(db, err,
				    "SELECT user, node, auth_time, created, expires, issuer, acr, "
				    "amr, groups, origin, mfa, cross_device,"
				    " ended, why, provider, sid, device, refresh, checked, id_token, opening, "
				    "sub, evidence_key"
				    " FROM session WHERE id = ?",
				    "i", (int64_t)id);
	struct row_change *r = row_changes_add(c, ROW_SESSION, id);

	r->gone = true;
	if (db_next(&q, err)) {
		struct session_row *s = mem_alloc(sizeof(*s));

		s->id = id;
		s->user = (uint64_t)db_int(&q, 0);
		s->node = (uint64_t)db_int(&q, 1);
		s->auth_time.sec = db_int(&q, 2);
		s->created.sec = db_int(&q, 3);
		s->expires.sec = db_int(&q, 4);
		s->issuer = db_text(&q, 5);
		s->acr = db_text(&q, 6);
		s->amr = db_text(&q, 7);
		s->groups = db_text(&q, 8);
		s->from = db_text(&q, 9);
		s->mfa = db_int(&q, 10) != 0;
		s->cross_device = db_int(&q, 11) != 0;
		s->ended.sec = db_int(&q, 12);
		s->why = db_text(&q, 13);
		s->provider = db_text(&q, 14);
		s->sid = db_text(&q, 15);
		s->device = db_int(&q, 16) != 0;
		s->refresh = db_text(&q, 17);
		s->checked.sec = db_int(&q, 18);
		s->sub = db_text(&q, 21);
		s->has_evidence_key = db_blob(&q, 22, s->evidence_key, sizeof(s->evidence_key));
		s->id_token = db_text(&q, 19);
		q.bad |= s->id_token[0] && !db_blob(&q, 20, s->opening, sizeof(s->opening)) &&
			 !err_set(err, ERR_SYS, "the database: session %llu has no opening",
				  (unsigned long long)id);
		r->session = s;
		r->gone = false;
	}
	return db_end(&q);
}

bool part_key(struct db *db, uint64_t id, struct row_changes *c, struct err *err)
{
	struct db_rows q = db_query(db, err,
				    "SELECT tags, note, uses, used, created, expires, revoked, "
				    "made_by, ephemeral, node_life, scim, hash FROM enrol_key WHERE id = ?",
				    "i", (int64_t)id);
	struct row_change *r = row_changes_add(c, ROW_KEY, id);

	r->gone = true;
	if (db_next(&q, err)) {
		struct key_row *k = mem_alloc(sizeof(*k));

		k->id = id;
		k->tags = db_text(&q, 0);
		k->note = db_text(&q, 1);
		k->uses = db_int(&q, 2);
		k->used = db_int(&q, 3);
		k->created.sec = db_int(&q, 4);
		k->expires.sec = db_int(&q, 5);
		k->revoked = db_int(&q, 6) != 0;
		k->by = (uint64_t)db_int(&q, 7);
		k->ephemeral = db_int(&q, 8) != 0;
		k->node_life = db_int(&q, 9);
		k->scim = db_int(&q, 10) != 0;
		if (k->scim)
			db_blob(&q, 11, k->hash, sizeof(k->hash));
		r->key = k;
		r->gone = false;
	}
	return db_end(&q);
}

bool part_each(struct db *db, part_fn *fn, const char *sql, struct row_changes *c, struct err *err)
{
	struct db_rows q = db_query(db, err, sql, "");
	bool           ok = true;

	while (ok && db_next(&q, err))
		ok = fn(db, (uint64_t)db_int(&q, 0), c, err);
	return db_end(&q) && ok;
}

bool part_each_of(struct db *db, part_fn *fn, const char *sql, int64_t arg, struct row_changes *c,
		  struct err *err)
{
	struct db_rows q = db_query(db, err, sql, "i", arg);
	bool           ok = true;

	while (ok && db_next(&q, err))
		ok = fn(db, (uint64_t)db_int(&q, 0), c, err);
	return db_end(&q) && ok;
}

/* ---- addresses and names ---- */

bool part_v4(struct db *db, uint64_t acked, struct wall now, int64_t *ret_v4, struct err *err)
{
	struct db_rows q = db_query(db, err, "SELECT v4, last_v4 FROM mesh", "");
	char          *text = NULL;
	int64_t        last = 0;
	struct prefix  range;

	if (db_next(&q, err)) {
		text = db_text(&q, 0);
		last = db_int(&q, 1);
	}
	bool ok = db_end(&q) && text && prefix_parse(span_str(text), &range) &&
		  range.ip.family == IP_V4;
	free(text);
	if (!ok)
		return err_set(err, ERR_CONFIG, "the database holds no IPv4 range");
	if (!db_run(db, err, "DELETE FROM quarantine WHERE until <= ? OR seq <= ?", "ii", now.sec,
		    (int64_t)acked))
		return false;
	/* From behind the last one given, once around: an address rests as long as can be. The
	 * first of the range is nobody's, and so is the last. */
	int64_t first = ip_to_int(&range.ip) + 1;
	int64_t end = ip_to_int(&range.ip) + (INT64_C(1) << (32 - range.bits)) - 1;
	int64_t from = last + 1 > first && last + 1 < end ? last + 1 : first;

	for (int turn = 0; turn < 2; turn++) {
		int64_t next = turn ? first : from, stop = turn ? from : end;

		q = db_query(db, err,
			     "SELECT v4 FROM node WHERE v4 >= ?1 UNION SELECT v4 FROM quarantine "
			     "WHERE v4 >= ?1 ORDER BY 1",
			     "i", next);
		while (next < stop && db_next(&q, err) && db_int(&q, 0) == next)
			next++;
		if (!db_end(&q))
			return false;
		if (next < stop) {
			*ret_v4 = next;
			return db_run(db, err, "UPDATE mesh SET last_v4 = ?", "i", next);
		}
	}
	return err_set(err, ERR_LIMIT, "every IPv4 overlay address is taken or in quarantine");
}

bool part_name(struct db *db, const char *name, char ret_name[64], struct err *err)
{
	for (unsigned i = 1; i < 10000; i++) {
		if (i == 1)
			snprintf(ret_name, 64, "%s", name);
		else
			snprintf(ret_name, 64, "%.57s-%u", name, i);
		struct db_rows q =
			db_query(db, err, "SELECT 1 FROM node WHERE name = ?", "t", ret_name);
		bool           taken = db_next(&q, err);
		if (!db_end(&q))
			return false;
		if (!taken)
			return true;
	}
	return err_set(err, ERR_LIMIT, "too many nodes are called %s", name);
}

bool part_node_insert(struct db *db, const struct node_row *n, int64_t v4, struct wall now,
		      uint64_t *ret_id, struct err *err)
{
	if (!db_run(db, err,
		    "INSERT INTO node (key, name, v4, tags, user, enrol_key, hub, os, report, "
		    "routes, origin, created, approved, ephemeral, expires)"
		    " VALUES (?, ?, ?, ?, nullif(?, 0), ?, ?, ?, '', '', ?, ?, ?, ?, ?)",
		    "btitiiittiiii", n->key, sizeof(n->key), n->name, v4, text_or(n->tags),
		    (int64_t)n->user, (int64_t)n->enrol_key, (int64_t)n->hub, text_or(n->os),
		    text_or(n->from), now.sec, (int64_t)(n->approved || n->hub),
		    (int64_t)n->ephemeral, n->expires.sec))
		return false;
	*ret_id = (uint64_t)db_last_id(db);
	return true;
}

/* ---- people and sessions ---- */

bool part_person(struct db *db, const struct store_person *p, struct wall now, uint64_t *ret_user,
                 struct row_changes *c, struct err *err)
{
	char              key[LOGIN_KEY_MAX];
	int64_t           user = 0, blocked = 0;
	scoped_free char *was = NULL;
	bool              first = true; /* the identity that names the account */

	if (!p->issuer[0] || !p->sub[0] || !login_fold(p->login, key))
		return err_set(err, ERR_LIMIT,
			       "a person needs issuer, subject and a login of sensible length");
	struct db_rows q = db_query(db, err,
				    "SELECT u.id, u.blocked, u.issuer = i.issuer AND u.sub = i.sub,"
				    " u.login_key FROM identity i JOIN user u ON u.id = "
				    "i.user WHERE i.issuer = ? AND i.sub = ?",
				    "tt", p->issuer, p->sub);
	if (db_next(&q, err)) {
		user = db_int(&q, 0);
		blocked = db_int(&q, 1);
		first = db_int(&q, 2) != 0;
		was = db_text(&q, 3);
	}
	if (!db_end(&q))
		return false;
	if (blocked)
		return err_set(err, ERR_DENIED, "%s is blocked", p->login);
	/* An identity that was linked is the same person, and does not rename them. */
	if (first && !part_name_free(db, p, key, (uint64_t)user, err))
		return false;
	if (user && !first) {
		memcpy(key, was, strlen(was) + 1);
		if (!db_run(db, err, "UPDATE user SET last_login = ? WHERE id = ?", "ii", now.sec,
			    user))
			return false;
	} else if (user) {
		if (!db_run(db, err,
			    "UPDATE user SET login = ?, login_key = ?, name = ?, email = ?,"
			    " last_login = ? WHERE id = ?",
			    "ttttii", p->login, key, p->name, p->email, now.sec, user))
			return false;
	} else {
		if (!db_run(db, err,
			    "INSERT INTO user (issuer, sub, login, login_key, name, email, groups, "
			    "created, last_login)"
			    " VALUES (?, ?, ?, ?, ?, ?, '', ?, ?)",
			    "ttttttii", p->issuer, p->sub, p->login, key, p->name, p->email,
			    now.sec, now.sec))
			return false;
		user = db_last_id(db);
		if (!db_run(db, err, "INSERT INTO identity (issuer, sub, user) VALUES (?, ?, ?)",
			    "tti", p->issuer, p->sub, user))
			return false;
	}
	if (first && !part_name_take(db, p, key, (uint64_t)user, now, err))
		return false;
	*ret_user = (uint64_t)user;
	return part_claims(db, p, text_or(was), key, now, err) && part_user(db, *ret_user, c, err);
}

bool part_end(struct db *db, const char *where, int64_t arg, const char *why, struct wall now,
	      size_t *ret_n, struct row_changes *c, struct err *err)
{
	char     sql[256];
	size_t   n = 0;
	uint64_t ids[64];
	bool     ok = true;

	*ret_n = 0;
	snprintf(sql, sizeof(sql), "SELECT id FROM session WHERE ended = 0 AND %s LIMIT 64", where);
	do {
		struct db_rows q = db_query(db, err, sql, "i", arg);

		n = 0;
		while (n < array_size(ids) && db_next(&q, err))
			ids[n++] = (uint64_t)db_int(&q, 0);
		ok = db_end(&q);
		for (size_t i = 0; ok && i < n; i++)
			ok = db_run(db, err,
				    "UPDATE session SET ended = ?, why = ?, refresh = '', id_token = ''"
				    " WHERE id = ?",
				    "iti", now.sec, why, (int64_t)ids[i]) &&
			     part_session(db, ids[i], c, err) && part_browser_gone(db, ids[i], c, err);
		*ret_n += n;
	} while (ok && n == array_size(ids));
	return ok;
}

bool part_session_new(struct db *db, const struct store_person *p, uint64_t user, uint64_t node,
		      struct wall now, uint64_t *ret_session, struct row_changes *c,
		      struct err *err)
{
	const struct store_evidence *e = p->evidence;
	size_t                       n;

	if (p->expires.sec <= now.sec)
		return err_set(err, ERR_EXPIRED, "the session would have ended already");
	if (e) {
		struct db_rows q = db_query(db, err, "SELECT 1 FROM session WHERE token_hash = ?",
					    "b", e->hash, sizeof(e->hash));
		bool           there = db_next(&q, err);

		if (!db_end(&q))
			return false;
		if (there)
			return err_set(err, ERR_EXISTS, "this ID token has made a session before");
	}
	if (!part_end(db, "node = ?", (int64_t)node, "replaced", now, &n, c, err))
		return false;
	if (!db_run(db, err,
		    "INSERT INTO session (user, node, auth_time, created, expires, issuer, acr, "
		    "amr, groups, origin, mfa,"
		    " cross_device, provider, sid, device, sub)"
		    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		    "iiiiitttttiittit", (int64_t)user, (int64_t)node, p->auth_time.sec, now.sec,
		    p->expires.sec, p->issuer, p->acr, p->amr, p->groups, p->from, (int64_t)p->mfa,
		    (int64_t)p->cross_device, text_or(p->provider), text_or(p->sid),
		    (int64_t)p->device, p->sub))
		return false;
	*ret_session = (uint64_t)db_last_id(db);
	if (p->refresh.len && p->seal) {
		scoped_free char *sealed = p->seal(p->seal_ctx, *ret_session, p->refresh);

		if (sealed && !db_run(db, err, "UPDATE session SET refresh = ? WHERE id = ?", "ti",
				      sealed, (int64_t)*ret_session))
			return false;
	}
	if (e && !db_run(db, err,
			 "UPDATE session SET id_token = ?, opening = ?, token_hash = ? WHERE id = ?",
			 "tbbi", e->id_token, e->opening, sizeof(e->opening), e->hash,
			 sizeof(e->hash), (int64_t)*ret_session))
		return false;
	return part_session(db, *ret_session, c, err);
}

bool part_node_delete(struct db *db, uint64_t node, struct wall now, struct wall until,
		      struct row_changes *c, struct err *err)
{
	int64_t v4, hub;
	bool    there;
	size_t  n;

	if (!part_int(db, &v4, &there, err, "SELECT v4 FROM node WHERE id = ?", "i", (int64_t)node))
		return false;
	if (!there)
		return err_set(err, ERR_MISSING, "there is no node n%llu",
			       (unsigned long long)node);
	if (!part_int(db, &hub, &there, err, "SELECT hub FROM node WHERE id = ?", "i",
		      (int64_t)node))
		return false;
	if (hub)
		return err_set(err, ERR_DENIED, "the hub's own node stays");
	if (!part_end(db, "node = ?", (int64_t)node, "revoked", now, &n, c, err) ||
	    !db_run(db, err, "DELETE FROM node WHERE id = ?", "i", (int64_t)node) ||
	    !part_seq(db, c, err))
		return false;
	if (v4 <= 0)            /* a browser: it went with its session */
		return part_node(db, node, c, err);
	if (!part_host_gone(db, node, now, c, err) ||
	    !db_run(db, err, "INSERT INTO quarantine (v4, node, seq, until) VALUES (?, ?, ?, ?)",
		    "iiii", v4, (int64_t)node, (int64_t)c->seq, until.sec))
		return false;
	return part_node(db, node, c, err);
}
