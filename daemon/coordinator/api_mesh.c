/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/coordinator.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/used.h"
#include "daemon/coordinator/lifetime.h"

#include <stdlib.h>
#include <string.h>

struct reg_node *api_caller(struct coordinator *co, struct request *r)
{
	struct reg_node *n = registry_node(co->reg, r->node);

	if (!n)
		request_fail(r, ERR_MISSING, "this node is not enrolled");
	else
		n->last_seen = loop_wall(co->loop);
	return n;
}

void api_map(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct err          err;

	if (!api_caller(co, r))
		return;
	if (!rates_may(co->opens, span_of(&r->node, sizeof(r->node)), OPENS_PER_MINUTE,
		       loop_now(co->loop), &err))
		request_error(r, &err);
	else
		feeds_open(co->feeds, r);
}

void api_map_ack(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;

	if (api_caller(co, r))
		feeds_ack(co->feeds, r);
}

void api_map_refused(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	struct err          err;

	if (!n)
		return;
	if (!rates_may(co->reports, span_of(&n->id, sizeof(n->id)), REPORTS_PER_MINUTE, loop_now(co->loop),
		       &err) ||
	    !disbelief_take(co->disbelief, co->reg, co->audit, loop_wall(co->loop), n->id, buf_span(&r->body), &err))
		request_error(r, &err);
	else
		request_reply(r, 200, "application/json", SPAN("{}\n"));
}

void api_map_used(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	struct used_list    l;
	struct err          err;
	uint64_t            key[2];

	if (!n)
		return;
	/* Who serves says who came: a laptop keeps nobody's session alive, nor its own. */
	if (!registry_may_serve(n)) {
		request_fail(r, ERR_DENIED, "this node serves nobody");
		return;
	}
	key[0] = n->id;
	key[1] = 1;     /* counted beside other reports */
	if (!rates_may(co->reports, span_of(key, sizeof(key)), REPORTS_PER_MINUTE, loop_now(co->loop), &err) ||
	    !used_decode(buf_span(&r->body), &l, &err)) {
		request_error(r, &err);
		return;
	}
	for (size_t i = 0; i < l.count; i++) {
		struct reg_node *one = registry_node(co->reg, l.list[i]);

		if (one)
			one->used = loop_wall(co->loop);
	}
	used_done(&l);
	scoped_buf struct buf out = { 0 };
	buf_init(&out, 256);
	used_reply_encode(lifetime_used_every(co->conf), &out);
	request_json(r, 200, &out);
}

/* ---- what a node says of itself ---- */

static void on_reported(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct request     *r = http_find(co->http, job->who);

	if (err) {
		if (r)
			request_error(r, err);
		return;
	}
	coordinator_commit(co, job);
	if (r)
		request_reply(r, 200, "application/json", SPAN("{}\n"));
}

void api_node_report(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	struct map_report   rep;
	struct err          err;
	scoped_buf struct buf text = { 0 };
	bool                seen = false;

	if (!n)
		return;
	if (!n->row->hub && r->body.len > NODE_REPORT_MAX) {
		request_fail(r, ERR_LIMIT, "a report of more than %d bytes", NODE_REPORT_MAX);
		return;
	}
	if (!rates_may(co->reports, span_of(&n->id, sizeof(n->id)), REPORTS_PER_MINUTE,
		       loop_now(co->loop), &err)) {
		request_error(r, &err);
		return;
	}
	if (!map_report_decode(buf_span(&r->body), &rep, &err)) {
		request_error(r, &err);
		return;
	}
	if (n->row->hub)
		seen = registry_seen(co->reg, rep.seen, rep.seen_count);
	else
		rep.pins.count = 0;
	rep.seen_count = 0;
	buf_init(&text, NODE_REPORT_MAX);
	map_report_encode(&rep, &text);
	bool same = !text.over && span_eq(buf_span(&text), span_str(n->row->report));
	if (text.over) {
		request_fail(r, ERR_LIMIT, "the report is too large");
	} else if (same && !seen) {
		request_reply(r, 200, "application/json", SPAN("{}\n"));
	} else {
		struct node_set_op *op = node_set_op_new(n->id);

		op->report = mem_strdup(text.ptr);
		if (rep.os.len && span_is_print(rep.os))
			op->os = span_dup(rep.os);
		coordinator_submit(co, r, &op->job, on_reported);
	}
	map_report_done(&rep);
}

/* ---- login on an enrolled node ---- */

void api_session_start(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	struct enrol_login  l;
	struct err          err;

	if (!n)
		return;
	if (!enrol_login_decode(buf_span(&r->body), &l, &err)) {
		request_error(r, &err);
		return;
	}
	if (!n->row->user) {
		request_fail(r, ERR_DENIED, "this node is a server: nobody logs in on it");
		return;
	}
	if (!l.loopback && !co->conf->cross_device) {
		request_fail(r, ERR_DENIED, NO_BROWSER_WORDS);
		return;
	}
	if (!attempts_may(co->attempts, &n->row->v4, co->conf->attempts_per_minute, &err)) {
		request_error(r, &err);
		return;
	}
	struct attempt *a = attempts_add(co->attempts, ATTEMPT_PROVED, co->conf->login_time, &err);
	if (!a) {
		request_error(r, &err);
		return;
	}
	a->node = n->id;
	a->loopback = l.loopback;
	attempt_give(co->attempts, a, co->conf->login_time);
	a->max_age = l.has_max_age ? l.max_age : -1;
	memcpy(a->acr, l.acr, sizeof(a->acr));
	a->silent = l.silent && l.loopback;
	/* Where the device is says more than its address in the tunnel, which is the same everywhere. */
	a->from = n->seen.ip.family ? n->seen.ip : r->from.family ? r->from : n->row->v4;
	a->can_device = l.device;
	memcpy(a->issuer, l.issuer, sizeof(a->issuer));
	login_answer(co, r, a);
}

/* The ticket of an attempt that has its session already: the answer was lost. */
static void session_again(struct coordinator *co, struct request *r, const struct reg_node *n,
			  const struct attempt *a, const struct enrol_finish *f)
{
	bool same = a->id_token  ? f->id_token && strcmp(a->id_token, f->id_token) == 0
		    : a->ticket[0] ? mem_equal_ct(a->ticket, f->ticket, sizeof(a->ticket))
				   : !f->ticket[0] && !f->id_token;

	if (!same)
		request_fail(r, ERR_DENIED, "the ticket is not this attempt's");
	else if (a->state == ATTEMPT_FINISHING)
		request_fail(r, ERR_BUSY, "it is being written");
	else if (!n->session || n->session->id != a->session)
		request_fail(r, ERR_MISSING, "what it began has ended");
	else
		coordinator_reply_node(co, r->id, n->id);
}

static void on_session(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct attempt     *a = attempts_find(co->attempts, span_str(job->note));
	struct login_op    *op = container_of(job, struct login_op, job);
	struct request     *r = http_find(co->http, job->who);
	struct buf *b =
		audit_begin(co->audit, loop_wall(co->loop), err ? "login-refused" : "login");

	audit_id(b, "node", 'n', op->node);
	audit_str(b, "login", op->person.login);
	audit_str(b, "issuer", op->person.issuer);
	audit_str(b, "sub", op->person.sub);
	audit_id(b, "session", 's', op->session);
	audit_str(b, "cross_device", op->person.cross_device ? "yes" : NULL);
	audit_str(b, "reason", err ? err->msg : NULL);
	audit_end(co->audit);
	if (err) {
		if (a)
			attempts_drop(co->attempts, a);
		if (r)
			request_error(r, err);
		return;
	}
	coordinator_commit(co, job);
	if (a && attempt_move(a, ATTEMPT_DONE)) {
		a->session = op->session;
		a->until = boot_add(loop_now(co->loop), ATTEMPT_DONE_SEC * SEC_NS);
	}
	if (r)
		coordinator_reply_node(co, job->who, op->node);
}

void session_complete(struct coordinator *co, struct request *r, struct attempt *a)
{
	struct arena        mem;
	struct store_person person;
	struct err          err;
	char                from[IP_TEXT_MAX] = "";

	if (a->from.family)
		ip_text(&a->from, from);
	arena_init(&mem, 4096);
	coordinator_person(co, a, from, &mem, &person);
	struct login_op *op = login_op_new(a->node, &person, loop_wall(co->loop));
	op->life = co->conf->node_life;
	arena_done(&mem);
	secret_done(&a->refresh);
	op->job.note = mem_strdup(a->id);
	op->job.who = r->id;
	op->job.done = on_session;
	if (!store_submit(co->store, &op->job, &err)) {
		attempts_drop(co->attempts, a);
		request_error(r, &err);
	}
}

void api_session_finish(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	struct enrol_finish f;
	struct err          err;

	if (!n)
		return;
	if (!enrol_finish_decode(buf_span(&r->body), &f, &err)) {
		request_error(r, &err);
		return;
	}
	struct attempt *a = attempts_find(co->attempts, span_str(f.attempt));
	if (!a || a->node != n->id)
		request_fail(r, ERR_MISSING,
			     "there is no such attempt of this node, or it is over");
	else if (a->state == ATTEMPT_FINISHING || a->state == ATTEMPT_DONE)
		session_again(co, r, n, a, &f);
	else if (f.id_token || a->at_device)
		login_evidence(co, r, a, &f);
	else if (enrol_take_ticket(co, r, a, &f))
		session_complete(co, r, a);
	enrol_finish_done(&f);
}

void api_session_ended(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct end_op      *op = container_of(job, struct end_op, job);
	struct request     *r = http_find(co->http, job->who);

	if (err) {
		if (r)
			request_error(r, err);
		return;
	}
	coordinator_commit(co, job);
	struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "session-ended");
	audit_id(b, "node", 'n', op->node);
	audit_str(b, "why", op->why);
	audit_end(co->audit);
	if (r) {
		scoped_buf struct buf out = { 0 };

		buf_init(&out, ENROL_REPLY_MAX);
		buf_add_char(&out, '{');
		if (job->note) {
			buf_add_str(&out, "\"url\":");
			buf_add_json(&out, span_str(job->note));
		}
		buf_add_str(&out, "}\n");
		request_json(r, 200, &out);
	}
}

void api_logout(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);

	if (!n)
		return;
	struct end_op *op = end_op_new("logout", loop_wall(co->loop));
	scoped_buf struct buf url = { 0 };

	op->node = n->id;
	buf_init(&url, ENROL_URL_MAX - 1);
	if (coordinator_logout_url(co, n->session, &url))
		op->job.note = buf_take(&url);
	coordinator_submit(co, r, &op->job, api_session_ended);
}

/* ---- the portal ---- */

static bool ask_person(void *ctx, const char *user,
		       void (*fn)(void *arg, const struct portal_person *), void *arg)
{
	struct coordinator *co = ctx;
	uint64_t            id;
	struct reg_user *u =
		map_id_parse(span_str(user), 'u', &id) ? registry_user(co->reg, id) : NULL;
	const char         *groups[256];
	struct arena        mem;
	struct span         rest, item;

	if (!u)
		return false;
	struct portal_person p = {.name = u->row->name,
				  .login = u->row->login,
				  .email = u->row->email,
				  .issuer = u->row->issuer,
				  .groups = groups};
	arena_init(&mem, 1024);
	rest = span_str(u->row->groups);
	while (p.n_groups < array_size(groups) && row_list_next(&rest, &item))
		groups[p.n_groups++] = arena_str(&mem, item);
	fn(arg, &p);
	arena_done(&mem);
	return true;
}

static void each_device(void *ctx, const char *user,
			void (*fn)(void *arg, const struct portal_device *), void *arg)
{
	struct coordinator *co = ctx;
	uint64_t            id;
	size_t              pos = 0;

	if (!map_id_parse(span_str(user), 'u', &id))
		return;
	for (struct reg_node *n; (n = registry_next_node(co->reg, &pos));) {
		char nid[MAP_ID_MAX], v4[IP_TEXT_MAX], v6[IP_TEXT_MAX];

		if (n->row->user != id)
			continue;
		struct portal_device d = {.id = map_id_text('n', n->id, nid),
					  .name = n->row->name,
					  .os = n->row->os,
					  .v4 = ip_text(&n->row->v4, v4),
					  .v6 = ip_text(&n->v6, v6),
					  .seen = n->last_seen,
					  .online = n->online};
		fn(arg, &d);
	}
}

static void each_session(void *ctx, const char *user,
			 void (*fn)(void *arg, const struct portal_session *), void *arg)
{
	struct coordinator *co = ctx;
	uint64_t            id;
	size_t              pos = 0;

	if (!map_id_parse(span_str(user), 'u', &id))
		return;
	for (struct reg_node *n; (n = registry_next_node(co->reg, &pos));) {
		const struct session_row *s = registry_session(n, loop_wall(co->loop));
		char                      sid[MAP_ID_MAX], origin[BROWSER_ORIGIN_MAX + 1];

		if (!s || s->user != id)
			continue;
		browser_origin(co, n->row->host, span_str(n->row->browser), origin);
		struct portal_session p = {.id = map_id_text('s', s->id, sid),
					   .device = n->row->name,
					   .from = s->from,
					   .auth_time = s->auth_time,
					   .expires = s->expires,
					   .mfa = s->mfa,
					   .cross_device = s->cross_device,
					   .service = n->row->browser[0] ? n->row->browser : NULL,
					   .origin = origin,
					   .kept = n->renewed == s->id};
		fn(arg, &p);
	}
}

/* The portal waits for a job: its callback is kept until that is done. */
struct portal_wait {
	portal_ended_fn *done;
	void            *arg;
};

/* job.who carries the place where the portal's callback is kept. */
static void on_portal_done(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct portal_wait *w = (struct portal_wait *)(uintptr_t)job->who;

	if (!err)
		coordinator_commit(co, job);
	w->done(w->arg, err == NULL, err);
	free(w);
}

static void portal_submit(struct coordinator *co, struct store_job *job, portal_ended_fn *done,
			  void *arg)
{
	struct portal_wait *w = mem_alloc(sizeof(*w));
	struct err          err;

	w->done = done;
	w->arg = arg;
	job->who = (uint64_t)(uintptr_t)w;
	job->done = on_portal_done;
	if (!store_submit(co->store, job, &err)) {
		free(w);
		done(arg, false, &err);
	}
}

static void end_session(void *ctx, const char *user, const char *session, portal_ended_fn *done,
			void *arg)
{
	struct coordinator *co = ctx;
	uint64_t            uid, sid;
	struct err          err;
	struct reg_node *n = map_id_parse(span_str(session), 's', &sid)
				     ? registry_by_session(co->reg, sid)
				     : NULL;

	if (!map_id_parse(span_str(user), 'u', &uid) || !n || n->session->user != uid) {
		err_set(&err, ERR_MISSING, "there is no such session of yours");
		done(arg, false, &err);
		return;
	}
	struct end_op *op = end_op_new("logout", loop_wall(co->loop));
	op->session = sid;
	portal_submit(co, &op->job, done, arg);
}

static bool logout_url(void *ctx, const char *user, const char *session, struct buf *ret_url)
{
	struct coordinator *co = ctx;
	uint64_t            uid, sid;
	struct reg_node *n = map_id_parse(span_str(session), 's', &sid)
				     ? registry_by_session(co->reg, sid)
				     : NULL;

	return map_id_parse(span_str(user), 'u', &uid) && n && n->session->user == uid &&
	       coordinator_logout_url(co, n->session, ret_url);
}

static void remove_device(void *ctx, const char *user, const char *node, portal_ended_fn *done,
			  void *arg)
{
	struct coordinator *co = ctx;
	uint64_t            uid, nid;
	struct err          err;
	struct reg_node *n =
		map_id_parse(span_str(node), 'n', &nid) ? registry_node(co->reg, nid) : NULL;
	struct wall         now = loop_wall(co->loop);

	if (!map_id_parse(span_str(user), 'u', &uid) || !n || n->row->user != uid) {
		err_set(&err, ERR_MISSING, "there is no such device of yours");
		done(arg, false, &err);
		return;
	}
	portal_submit(co,
		      &node_delete_op_new(nid, now, (struct wall){now.sec + co->conf->lease})->job,
		      done, arg);
}

const struct portal_ops portal_ops = {
	.person = ask_person, .each_device = each_device, .each_session = each_session,
	.end_session = end_session, .logout_url = logout_url, .remove_device = remove_device,
};

struct portal_asked { struct coordinator *co; uint64_t request; };

static void on_portal_page(void *arg, struct page *page)
{
	struct portal_asked *q = arg;
	struct request      *r = http_find(q->co->http, q->request);

	if (r)
		request_page(r, page);
	free(q);
}

void api_portal(void *ctx, struct request *r)
{
	struct coordinator  *co = ctx;
	struct reg_node     *n = api_caller(co, r);
	char                 user[MAP_ID_MAX], node[MAP_ID_MAX], session[MAP_ID_MAX];
	struct portal_caller who = { 0 };

	if (!n)
		return;
	const struct session_row *s = registry_session(n, loop_wall(co->loop));
	if (r->user && n->row->user == r->user)
		who.user = map_id_text('u', r->user, user);
	who.node = map_id_text('n', n->id, node);
	n->used = loop_wall(co->loop);
	if (s && s->id == r->session)
		who.session = map_id_text('s', s->id, session);
	if (!who.user) {
		request_fail(r, ERR_DENIED, "this node is nobody's");
		return;
	}
	struct portal_request preq = { .post = r->post, .path = r->path, .body = buf_span(&r->body),
		                       .now = loop_wall(co->loop) };
	struct portal_asked  *q = mem_alloc(sizeof(*q));
	q->co = co;
	q->request = r->id;
	portal_handle(co->portal, &who, &preq, on_portal_page, q);
}
