/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * People who come with only a browser. The front of a service sends them here
 * with the hash of a secret that their browser keeps; they log in as everybody
 * does; and go back with a code that is good once, for that host and service, with
 * that secret. What it is redeemed for is a cookie, whose hash is a node of the map.
 */
#include "daemon/coordinator/coordinator.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/browser.h"
#include "web/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void secret_new(char ret[BROWSER_SECRET_LEN + 1])
{
	unsigned char         raw[32];
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 64);
	random_bytes(raw, sizeof(raw));
	base64url_add(&b, span_of(raw, sizeof(raw)));
	memcpy(ret, b.ptr, BROWSER_SECRET_LEN + 1);
	mem_wipe(raw, sizeof(raw));
	mem_wipe(b.ptr, b.len);
}

/* Where people reach it, as its host says; empty: it is not for browsers, or not there. */
static struct span origin_of(const struct coordinator *co, uint64_t host, struct span service)
{
	const struct reg_node *n = registry_node(co->reg, host);

	for (size_t i = 0; n && registry_may_serve(n) && i < n->report.service_count; i++)
		if (span_eq(n->report.services[i].name, service))
			return n->report.services[i].browser;
	return (struct span){ 0 };
}

void browser_origin(const struct coordinator *co, uint64_t host, struct span service, char ret[BROWSER_ORIGIN_MAX + 1])
{
	struct span origin = origin_of(co, host, service);

	snprintf(ret, BROWSER_ORIGIN_MAX + 1, "%.*s", SPAN_ARG(origin));
}

/* ---- GET /login/service?node=n3&service=wiki&bind=.. ---- */

static bool param(struct span query, const char *name, struct span *ret)
{
	struct span part;
	bool        found = false;

	while (query.len && span_next(&query, '&', &part)) {
		size_t eq = span_find(part, '=');

		if (!span_eq(span_head(part, eq), span_str(name)))
			continue;
		if (found)
			return false;
		found = true;
		*ret = span_from(part, eq + 1);
	}
	return found;
}

/* What the rule at the service wants of the login. Anybody may ask for a stronger one, or a fresher; what
 * cannot be read asks for both. */
static void step_up(struct span query, struct attempt *a)
{
	scoped_buf struct buf acr = { 0 };
	struct span           text;
	uint64_t              age = 0;

	a->max_age = param(query, "fresh", &text) ? 0 : -1;
	a->mfa = param(query, "mfa", &text);
	if (param(query, "max_age", &text) && span_u64(text, INT32_MAX, &age))
		a->max_age = (int64_t)age;
	buf_init(&acr, sizeof(a->acr));
	if (!param(query, "acr", &text))
		return;
	if (!percent_decode(text, false, &acr) || acr.over || !span_is_print(buf_span(&acr)) ||
	    !span_cstr(buf_span(&acr), a->acr, sizeof(a->acr))) {
		a->max_age = 0;
		a->mfa = true;
	}
}

struct attempt *browser_begin(struct coordinator *co, const struct request *r, struct err *err)
{
	struct span     node = { 0 }, service = { 0 }, bind = { 0 };
	uint8_t         hash[BROWSER_HASH_LEN];
	uint64_t        host = 0;
	size_t          n;
	struct attempt *a;

	if (!param(r->query, "node", &node) || !map_id_parse(node, 'n', &host) ||
	    !param(r->query, "service", &service) || !param(r->query, "bind", &bind) ||
	    !base64url_decode(bind, hash, sizeof(hash), &n) || n != sizeof(hash) ||
	    !origin_of(co, host, service).len) {
		err_set(err, ERR_MISSING, "no service for browsers is called that way");
		return NULL;
	}
	a = attempts_add(co->attempts, ATTEMPT_PROVED, co->conf->login_time, err);
	if (!a)
		return NULL;
	a->service = span_dup(service);
	a->host = host;
	memcpy(a->bind, hash, sizeof(a->bind));
	a->from = r->from;
	step_up(r->query, a);
	return a;
}

/* After the login: back, with a code. It is in the address of a page of the service's own front, and short-lived. */
void browser_return(struct coordinator *co, struct request *r, struct attempt *a)
{
	struct span           origin = origin_of(co, a->host, span_str(a->service));
	scoped_buf struct buf url = { 0 };
	struct page           p;

	page_init(&p);
	if (!origin.len || !attempt_move(a, ATTEMPT_APPROVED)) {
		page_message(&p, 404, "This service is gone", "It is not there any more, or not for browsers.");
	} else {
		secret_new(a->ticket);
		a->until = boot_add(loop_now(co->loop), BROWSER_CODE_SEC * SEC_NS);
		buf_init(&url, 1024);
		buf_addf(&url, "%.*s/.well-known/reeve/session?code=%s.%s%s", SPAN_ARG(origin), a->id, a->ticket,
		         a->renews ? "&renews=1" : "");
		page_redirect(&p, url.ptr);
		mem_wipe(url.ptr, url.len);
	}
	request_page(r, &p);
	page_done(&p);
}

/* ---- POST /v1/browser/redeem ---- */

static void on_redeemed(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct attempt     *a = attempts_find(co->attempts, span_str(job->note));
	struct browser_op  *op = container_of(job, struct browser_op, job);
	struct request     *r = http_find(co->http, job->who);
	struct buf         *b = audit_begin(co->audit, loop_wall(co->loop), err ? "login-refused" : "login");

	audit_id(b, "node", 'n', op->node);
	audit_id(b, "host", 'n', op->host);
	audit_str(b, "service", op->service);
	audit_str(b, "login", op->person.login);
	audit_str(b, "issuer", op->person.issuer);
	audit_str(b, "sub", op->person.sub);
	audit_id(b, "session", 's', op->session);
	audit_id(b, "renews", 's', op->renews);
	audit_str(b, "reason", err ? err->msg : NULL);
	audit_end(co->audit);
	if (err) {
		if (r)
			request_error(r, err);
	} else {
		coordinator_commit(co, job);
		if (a && r) {
			struct browser_reply  m = { .node = op->node };
			scoped_buf struct buf out = { 0 };

			memcpy(m.cookie, a->ticket, sizeof(m.cookie));
			buf_init(&out, BROWSER_MSG_MAX);
			browser_reply_encode(&m, &out);
			request_json(r, 200, &out);
			mem_wipe(&m, sizeof(m));
			mem_wipe(out.ptr, out.len);
		} else if (r) {
			request_fail(r, ERR_MISSING, "it took too long");
		}
	}
	if (a)
		attempts_drop(co->attempts, a);
}

static bool redeemable(const struct attempt *a, const struct request *r, const struct browser_redeem *m)
{
	uint8_t     hash[BROWSER_HASH_LEN];
	struct span ticket = span_from(span_str(m->code), ENROL_ATTEMPT_LEN + 1);

	return a->state == ATTEMPT_APPROVED && a->host == r->node && strcmp(a->service, m->service) == 0 &&
	       (!a->renews || a->renews == m->replaces) &&
	       ticket.len == BROWSER_SECRET_LEN && mem_equal_ct(ticket.ptr, a->ticket, BROWSER_SECRET_LEN) &&
	       browser_bind_hash(span_str(m->verifier), hash) && mem_equal_ct(hash, a->bind, sizeof(hash));
}

static void redeem(struct coordinator *co, struct request *r, struct attempt *a)
{
	struct arena        mem;
	struct store_person person;
	struct err          err;
	uint8_t             hash[BROWSER_HASH_LEN];
	char                from[IP_TEXT_MAX] = "";

	/* The code has been used; its place is the cookie's now. */
	secret_new(a->ticket);
	if (!attempt_move(a, ATTEMPT_FINISHING) ||
	    !browser_cookie_hash(span_str(a->service), span_str(a->ticket), hash)) {
		attempts_drop(co->attempts, a);
		request_fail(r, ERR_SYS, "no session could be made");
		return;
	}
	if (!browser_renew_token(co, a, &err)) {
		attempts_drop(co->attempts, a);
		request_error(r, &err);
		return;
	}
	if (a->from.family)
		ip_text(&a->from, from);
	arena_init(&mem, 4096);
	coordinator_person(co, a, from, &mem, &person);
	struct browser_op *op = browser_op_new(&person, hash, a->service, a->host, loop_wall(co->loop));
	arena_done(&mem);
	op->renews = a->renews_session;
	op->job.note = mem_strdup(a->id);
	op->job.who = r->id;
	op->job.done = on_redeemed;
	if (!store_submit(co->store, &op->job, &err)) {
		attempts_drop(co->attempts, a);
		request_error(r, &err);
	}
}

void api_browser_redeem(void *ctx, struct request *r)
{
	struct coordinator   *co = ctx;
	struct browser_redeem m;
	struct err            err;

	if (!registry_node(co->reg, r->node)) {
		request_fail(r, ERR_MISSING, "this node is not enrolled");
		return;
	}
	if (!browser_redeem_decode(buf_span(&r->body), &m, &err)) {
		request_error(r, &err);
		return;
	}
	struct attempt *a = attempts_find(co->attempts, span_head(span_str(m.code), ENROL_ATTEMPT_LEN));
	if (a && a->service && redeemable(a, r, &m)) {
		redeem(co, r, a);
	} else {
		/* A code is tried once, whoever tries it. */
		if (a && a->service && a->state == ATTEMPT_APPROVED) {
			struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "login-refused");

			audit_id(b, "host", 'n', r->node);
			audit_str(b, "service", m.service);
			audit_str(b, "login", a->who.login);
			audit_str(b, "reason", "the code was made for another host, service or browser");
			audit_end(co->audit);
			attempts_drop(co->attempts, a);
		}
		request_fail(r, ERR_DENIED, "this code is not known, was used, or is another browser's");
	}
	mem_wipe(&m, sizeof(m));
}

/* ---- POST /v1/browser/end ---- */

void api_browser_end(void *ctx, struct request *r)
{
	struct coordinator    *co = ctx;
	const struct reg_node *n;
	uint64_t               node = 0;
	struct err             err;

	if (!browser_end_decode(buf_span(&r->body), &node, &err)) {
		request_error(r, &err);
		return;
	}
	n = registry_node(co->reg, node);
	if (!n || !n->row->browser[0] || n->row->host != r->node) {
		request_fail(r, ERR_MISSING, "no browser of this host has that session");
		return;
	}
	struct end_op *op = end_op_new("logout", loop_wall(co->loop));
	op->node = node;
	coordinator_submit(co, r, &op->job, api_session_ended);
}
