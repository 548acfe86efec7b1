/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Groups as administrators see them: who is in which one, by whose word, and
 * what a directory took away that waits for their confirmation.
 */
#include "daemon/coordinator/ldap_feed.h"

#include "base/log.h"
#include "base/mem.h"
#include "policy/prune.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct hold_rules groups_rules(const struct coordinator *co)
{
	return (struct hold_rules){ co->conf->hold_share, co->conf->hold_least,
		                    co->conf->hold_window };
}

/* ---- of one person ---- */

struct naming { struct buf *out; bool more; };

static void put_group(struct naming *n, const char *prefix, struct span name, struct span source)
{
	struct buf whole;

	buf_init(&whole, 1024);
	buf_add_str(&whole, prefix);
	buf_add_span(&whole, name);
	buf_add_str(n->out, n->more ? ",{\"name\":" : "{\"name\":");
	buf_add_json(n->out, buf_span(&whole));
	buf_add_str(n->out, ",\"source\":");
	buf_add_json(n->out, source);
	buf_add_char(n->out, '}');
	n->more = true;
	buf_done(&whole);
}

static void put_policy_group(void *arg, struct span group)
{
	put_group(arg, "", group, SPAN("policy"));
}

void groups_user_json(const struct coordinator *co, const struct reg_user *u, struct buf *out)
{
	struct naming n = { out, false };
	struct span   rest = span_str(u->row->sources), line, source;

	buf_add_str(out, ",\"groups\":[");
	while (row_list_next(&rest, &line))
		if (span_next(&line, '\t', &source))
			put_group(&n, "idp:", line, source);
	policy_user_groups(co->reg->policy, co->reg->topology, u->id, put_policy_group, &n);
	buf_add_str(out, "],\"groups_absent\":[");
	rest = span_str(u->row->absent);
	for (bool more = false; row_list_next(&rest, &source); more = true) {
		if (more)
			buf_add_char(out, ',');
		buf_add_json(out, source);
	}
	buf_add_char(out, ']');
}

/* ---- all of them ---- */

struct counting { struct dict *groups; };

static void count_one(struct counting *c, struct span line)
{
	size_t *n = dict_find(c->groups, line);

	if (!n)
		dict_put(c->groups, line, n = mem_alloc(sizeof(*n)));
	++*n;
}

static void count_policy(void *arg, struct span group)
{
	scoped_buf struct buf line = { 0 };

	buf_init(&line, 1024);
	buf_add_str(&line, "policy\t");
	buf_add_span(&line, group);
	count_one(arg, buf_span(&line));
}

static void get_groups(struct coordinator *co, struct buf *out)
{
	struct counting c = { dict_new() };
	struct span     line, source, rest;
	size_t          pos = 0;
	void           *v;
	bool            more = false;

	for (struct reg_user *u; (u = registry_next_user(co->reg, &pos));) {
		rest = span_str(u->row->sources);
		while (row_list_next(&rest, &line))
			count_one(&c, line);
		policy_user_groups(co->reg->policy, co->reg->topology, u->id, count_policy, &c);
	}
	buf_add_str(out, "{\"groups\":[");
	for (pos = 0; dict_next(c.groups, &pos, &line, &v); more = true) {
		struct naming n = { out, more };
		size_t        count = *(size_t *)v;

		if (!span_next(&line, '\t', &source))
			continue;
		put_group(&n, span_eq(source, SPAN("policy")) ? "" : "idp:", line, source);
		out->len--;     /* its brace: one more member */
		buf_addf(out, ",\"members\":%zu}", count);
		free(v);
	}
	dict_free(c.groups);
	buf_add_str(out, "]}");
}

/* ---- what is held ---- */

static void held_json(const struct held_row *h, struct buf *out)
{
	buf_addf(out, "{\"id\":\"h%" PRIu64 "\",\"source\":", h->id);
	buf_add_json(out, span_str(h->source));
	buf_addf(out, ",\"kind\":\"%s\",\"group\":", h->kind);
	buf_add_json(out, span_str(h->group));
	buf_addf(out, ",\"lost\":%" PRId64 ",\"total\":%" PRId64 ",\"at\":%" PRId64 "}", h->lost,
		 h->total, h->at.sec);
}

static void get_held(struct coordinator *co, struct buf *out)
{
	struct span key;
	size_t      pos = 0;
	void       *v;
	bool        more = false;

	buf_add_str(out, "{\"held\":[");
	for (; dict_next(co->reg->held, &pos, &key, &v); more = true) {
		if (more)
			buf_add_char(out, ',');
		held_json(v, out);
	}
	buf_add_str(out, "]}");
}

void groups_status_json(const struct coordinator *co, struct buf *out)
{
	buf_addf(out, ",\"held\":%zu", dict_count(co->reg->held));
	ldap_feeds_json(co->ldap, out);
}

bool groups_get(struct coordinator *co, struct request *r, struct span id, struct span sub,
		struct buf *out)
{
	(void)r;
	if (!id.len && !sub.len)
		get_groups(co, out);
	else if (span_eq(id, SPAN("held")) && !sub.len)
		get_held(co, out);
	else
		return false;
	return true;
}

/* Sessions that a directory's word has ended. Before the rows are committed. */
void groups_say_ended(struct coordinator *co, const struct row_changes *changes)
{
	for (size_t i = 0; i < changes->count; i++) {
		const struct session_row *s =
			changes->list[i].kind == ROW_SESSION ? changes->list[i].session : NULL;

		if (!s || !s->ended.sec)
			continue;
		const struct reg_user *u = registry_user(co->reg, s->user);
		struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "session-ended");

		audit_id(b, "session", 's', s->id);
		audit_id(b, "node", 'n', s->node);
		audit_id(b, "user", 'u', s->user);
		audit_str(b, "login", u ? u->row->login : "");
		audit_str(b, "why", s->why);
		audit_end(co->audit);
	}
}

/* Before the rows are committed: what is there anew, and what is over. */
void groups_say_held(struct coordinator *co, const struct row_changes *changes)
{
	for (size_t i = 0; i < changes->count; i++) {
		const struct row_change *c = &changes->list[i];

		if (c->kind != ROW_HELD)
			continue;
		const struct held_row *h =
			c->gone ? dict_find(co->reg->held, span_of(&c->id, sizeof(c->id))) : c->held;
		struct buf *b;

		if (!h)
			continue;
		if (!c->gone)
			log_warn("%s: %s%s%s would lose %" PRId64 " of %" PRId64
				 ": held as h%" PRIu64 " (reeve group held)",
				 h->source, h->kind, *h->group ? " " : "", h->group, h->lost,
				 h->total, h->id);
		b = audit_begin(co->audit, loop_wall(co->loop),
				c->gone ? "group-loss-over" : "group-loss-held");
		audit_id(b, "held", 'h', c->id);
		audit_str(b, "source", h->source);
		audit_str(b, "kind", h->kind);
		audit_str(b, "group", h->group);
		audit_int(b, "lost", h->lost);
		audit_int(b, "total", h->total);
		audit_end(co->audit);
	}
}

static void on_accepted(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator   *co = owner;
	struct held_op       *op = container_of(job, struct held_op, job);
	struct request       *r = http_find(co->http, job->who);
	scoped_buf struct buf out = { 0 };

	admin_record(co, job, err);
	if (!err) {
		groups_say_ended(co, &job->changes);
		coordinator_commit(co, job);
	}
	if (!r)
		return;
	if (err) {
		request_error(r, err);
		return;
	}
	buf_init(&out, 256);
	buf_addf(&out, "{\"ended\":%zu}\n", op->ended);
	request_json(r, 200, &out);
}

bool groups_post(struct coordinator *co, struct request *r, struct span id, struct span sub,
		 struct fields *f)
{
	uint64_t held;

	if (!span_eq(id, SPAN("held")) || !span_starts(sub, SPAN("h")) ||
	    !span_u64(span_from(sub, 1), INT64_MAX, &held))
		return false;
	if (!fields_bool(f, "accept") || f->bad) {
		request_fail(r, ERR_SYNTAX, "\"accept\": true");
		return true;
	}
	struct held_op  *op = held_op_new(held, groups_rules(co), loop_wall(co->loop));
	struct held_row *h = dict_find(co->reg->held, span_of(&held, sizeof(held)));
	struct buf       b;
	admin_note(&b, co, r, "group-loss-accepted");
	audit_str(&b, "source", h ? h->source : "");
	audit_str(&b, "kind", h ? h->kind : "");
	audit_str(&b, "group", h ? h->group : "");
	audit_int(&b, "lost", h ? h->lost : 0);
	op->job.note = buf_take(&b);
	coordinator_submit(co, r, &op->job, on_accepted);
	return true;
}
