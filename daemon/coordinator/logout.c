/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Logout that goes through a provider, in both directions: its word that
 * somebody's session there has ended (OpenID Connect Back-Channel Logout 1.0),
 * and the page of its own where a person ends it (RP-Initiated Logout 1.0).
 */
#include "daemon/coordinator/coordinator.h"

#include "base/log.h"
#include "base/mem.h"
#include "idp/provider.h"
#include "web/form.h"
#include "web/pages.h"

#include <stdlib.h>
#include <string.h>

enum { TOLD_MAX = 256 };        /* at once; each may wait for the provider's keys */

/* One logout token under way. */
struct told {
	struct coordinator *co;
	struct told        *next, **link;
	struct idp_op      *op;
	uint64_t            request;
	char               *provider, *token;
	bool                device;     /* its client is the device client */
};

static void told_free(struct told *w)
{
	if (w->next)
		w->next->link = w->link;
	*w->link = w->next;
	w->co->told_count--;
	idp_cancel(w->op);
	free(w->provider);
	free(w->token);
	free(w);
}

/* 2.8: 400 where it is refused; the provider reads why, nobody else does. */
static void refuse(struct request *r, const char *error, const char *words)
{
	scoped_buf struct buf out = { 0 };

	buf_init(&out, 1024);
	buf_add_str(&out, "{\"error\":");
	buf_add_json(&out, span_str(error));
	buf_add_str(&out, ",\"error_description\":");
	buf_add_json(&out, span_str(words));
	buf_add_str(&out, "}\n");
	request_json(r, 400, &out);
}

void logout_cancel(struct coordinator *co)
{
	while (co->told) {
		struct request *r = http_find(co->http, co->told->request);

		if (r)
			request_fail(r, ERR_BUSY, "the configuration changes: again, please");
		told_free(co->told);
	}
}

static void on_obeyed(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct logout_op   *op = container_of(job, struct logout_op, job);
	struct request     *r = http_find(co->http, job->who);
	struct buf         *b = audit_begin(co->audit, loop_wall(co->loop),
					    err ? "provider-logout-refused" : "provider-logout");

	audit_str(b, "issuer", op->issuer);
	audit_str(b, "sub", op->sub);
	audit_str(b, "sid", op->sid);
	audit_int(b, "ended", (int64_t)op->ended);
	audit_str(b, "reason", err ? err->msg : NULL);
	audit_end(co->audit);
	if (!err)
		coordinator_commit(co, job);
	if (!r)
		return;
	if (!err)
		request_reply(r, 200, "application/json", SPAN("{}\n"));
	else if (err->code == ERR_EXISTS)
		refuse(r, "invalid_request", err->msg);
	else
		request_error(r, err);
}

static void ask(struct told *w);

static void on_token(void *arg, const struct logout *l, const struct login_refusal *why)
{
	struct told           *w = arg;
	struct coordinator    *co = w->co;
	const struct provider *p = idp_provider(co->idp, w->provider);
	struct request        *r = http_find(co->http, w->request);
	struct err             err;

	w->op = NULL;
	if (!l && why->token == TOKEN_AUD && !w->device && p && p->device_client_id[0]) {
		w->device = true;
		ask(w);
		return;
	}
	if (!l || !p) {
		struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "provider-logout-refused");

		audit_str(b, "issuer", w->provider);
		audit_str(b, "reason", l ? "the provider is gone" : why->err.msg);
		audit_end(co->audit);
		if (r)
			refuse(r, "invalid_request", l ? "no such provider" : token_reason_name(why->token));
		told_free(w);
		return;
	}
	/* Who is on the way in with that session does not arrive. */
	attempts_end(co->attempts, p->issuer, l->sub, l->sid);
	struct logout_op *op =
		logout_op_new(p->issuer, l->sub, l->sid, l->jti, loop_wall(co->loop),
			      (struct wall){ l->expires.sec + p->leeway + 1 });
	op->job.who = w->request;
	op->job.done = on_obeyed;
	told_free(w);
	if (!store_submit(co->store, &op->job, &err) && r)
		request_error(r, &err);
}

static void ask(struct told *w)
{
	w->op = idp_logout_token(w->co->idp, w->provider, span_str(w->token), w->device, on_token, w);
}

void api_backchannel(void *ctx, struct request *r)
{
	struct coordinator   *co = ctx;
	scoped_free char     *name = span_dup(r->rest);
	scoped_buf struct buf token = { 0 };
	struct err            err;

	if (!attempts_may(co->attempts, &r->from, co->conf->attempts_per_minute, &err)) {
		request_error(r, &err);
		return;
	}
	if (!idp_provider(co->idp, name)) {
		request_fail(r, ERR_MISSING, "there is no such provider here");
		return;
	}
	buf_init(&token, TOKEN_MAX);
	if (!form_field(buf_span(&r->body), "logout_token", TOKEN_MAX, &token)) {
		refuse(r, "invalid_request", "want one logout_token");
		return;
	}
	if (co->told_count >= TOLD_MAX) {
		request_fail(r, ERR_BUSY, "too many at once");
		return;
	}
	struct told *w = mem_alloc(sizeof(*w));
	*w = (struct told){ .co = co, .request = r->id, .next = co->told, .link = &co->told,
		            .provider = take(name), .token = span_dup(buf_span(&token)) };
	if (w->next)
		w->next->link = &w->next;
	co->told = w;
	co->told_count++;
	ask(w);
}

/* ---- the other direction ---- */

bool coordinator_logout_url(const struct coordinator *co, const struct session_row *s, struct buf *out)
{
	scoped_buf struct buf back = { 0 };

	if (!s || !s->provider[0] || s->device)
		return false;
	buf_init(&back, 1024);
	buf_addf(&back, "%s/login/bye", co->conf->url);
	return idp_logout_url(co->idp, s->provider, NULL, back.ptr, NULL, out);
}

void login_bye(struct request *r)
{
	struct page p;

	page_init(&p);
	page_message(&p, 200, "Logged out",
		     "You are logged out at the identity provider. You may close this window.");
	request_page(r, &p);
	page_done(&p);
}
