/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The renewal of a browser's session, without a page: shortly before its end
 * its front asks here, and sends the browser to a login that asks the provider with
 * prompt=none. Whatever comes of it, the browser comes back to the service: with a code that
 * renews that one session, or with nothing, and the session is as it was. It is tried once for each session,
 * which is counted here, before the browser is sent anywhere: no cookie is needed for there to be no loop.
 */
#include "daemon/coordinator/coordinator.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/browser.h"
#include "daemon/coordinator/lifetime.h"
#include "daemon/coordinator/seal.h"
#include "idp/provider.h"
#include "web/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RENEW_SECONDS = 600,            /* before a session's end; a front asks no earlier (proxy/limits.h) */
	RENEW_SHARE   = 4,              /* and in the last quarter of it */
};

/* Seconds until it may be renewed; <= 0: it may. */
static int64_t renew_in(const struct session_row *s, struct wall now)
{
	int64_t life = s->expires.sec - s->created.sec, window = life / RENEW_SHARE;

	return s->expires.sec - (window < RENEW_SECONDS ? window : RENEW_SECONDS) - now.sec;
}

/* The session of the browser that an attempt renews; NULL: it is over, or another one's. */
static const struct session_row *session_of(const struct coordinator *co, const struct attempt *a,
					    const struct reg_node **ret_node)
{
	const struct reg_node *n = registry_node(co->reg, a->renews);
	const struct session_row *s = n ? registry_session(n, loop_wall(co->loop)) : NULL;

	if (!s || s->id != a->renews_session || n->row->host != a->host || strcmp(n->row->browser, a->service) != 0)
		return NULL;
	*ret_node = n;
	return s;
}

/* ---- POST /v1/browser/renew ---- */

static bool begin(struct coordinator *co, const struct browser_renew *m, struct reg_node *n,
		  const struct session_row *s, struct browser_renewal *ret, struct err *err)
{
	const struct provider *p = s->provider[0] ? idp_provider(co->idp, s->provider) : NULL;
	struct attempt *a;
	size_t len;

	if (n->renewed == s->id)
		return err_set(err, ERR_EXISTS, "this session's renewal was tried");
	if (!p || p->login != PROVIDER_LOGIN_PORTAL)
		return err_set(err, ERR_NOTNOW, "there is no provider to ask");
	a = attempts_add(co->attempts, ATTEMPT_PROVED, co->conf->login_time, err);
	if (!a)
		return false;
	a->service = mem_strdup(m->service);
	a->host = n->row->host;
	a->renews = n->id;
	a->renews_session = s->id;
	a->silent = true;
	a->max_age = -1;
	a->mfa = s->mfa;
	base64url_decode(span_str(m->bind), a->bind, sizeof(a->bind), &len);    /* it was checked: 32 bytes */
	n->renewed = s->id;
	snprintf(ret->url, sizeof(ret->url), "%s/login/%s", co->conf->url, a->id);
	return true;
}

void api_browser_renew(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct browser_renew m;
	struct browser_renewal answer = {0};
	struct wall now = loop_wall(co->loop);
	scoped_buf struct buf out = {0};
	struct err err;

	if (!browser_renew_decode(buf_span(&r->body), &m, &err)) {
		request_error(r, &err);
		return;
	}
	struct reg_node *n = registry_node(co->reg, m.node);
	const struct session_row *s = n ? registry_session(n, now) : NULL;
	if (!s || n->row->host != r->node || strcmp(n->row->browser, m.service) != 0) {
		request_fail(r, ERR_MISSING, "no browser of this host has that session");
		return;
	}
	answer.wait = renew_in(s, now);
	if (answer.wait <= 0 && !begin(co, &m, n, s, &answer, &err)) {
		request_error(r, &err);
		return;
	}
	buf_init(&out, BROWSER_MSG_MAX);
	browser_renewal_encode(&answer, &out);
	request_json(r, 200, &out);
}

/* ---- the browser's way ---- */

const char *browser_renew_provider(const struct coordinator *co, const struct attempt *a, const char **ret_hint)
{
	const struct reg_node *n;
	const struct session_row *s = session_of(co, a, &n);
	const struct reg_user *u = s ? registry_user(co->reg, n->row->user) : NULL;

	if (!u || u->row->blocked)
		return NULL;
	*ret_hint = u->row->login;
	return s->provider;
}

static bool has_amr(const struct identity *who, struct span one)
{
	/* "mfa" may be our own word for what the provider's rows say (coordinator_person()) */
	if (span_eq(one, SPAN("mfa")) && who->mfa)
		return true;
	for (size_t i = 0; i < who->n_amr; i++)
		if (span_eq(span_str(who->amr[i]), one))
			return true;
	return false;
}

bool browser_renews(const struct coordinator *co, const struct attempt *a, struct err *err)
{
	const struct identity *w = &a->who;
	const struct reg_node *n;
	const struct session_row *s = session_of(co, a, &n);
	struct span rest, one;

	if (!s)
		return err_set(err, ERR_MISSING, "the session is over");
	if (strcmp(s->issuer, w->issuer) != 0 || strcmp(s->sub, w->sub) != 0)
		return err_set(err, ERR_DENIED, "somebody else is logged in at the provider in this browser");
	/* What a rule's auth was satisfied with goes on being there. */
	if ((s->mfa && !w->mfa) || (s->acr[0] && (!w->acr || strcmp(s->acr, w->acr) != 0)))
		return err_set(err, ERR_DENIED, "the provider says less of the login than it did");
	rest = span_str(s->amr);
	while (row_list_next(&rest, &one))
		if (!has_amr(w, one))
			return err_set(err, ERR_DENIED, "the provider says less of the login than it did");
	if (lifetime_session(co->conf, w->auth_time, loop_wall(co->loop)).sec <= s->expires.sec)
		return err_set(err, ERR_EXPIRED, "a new session would end no later: its absolute end is near");
	return true;
}

bool browser_renew_token(const struct coordinator *co, struct attempt *a, struct err *err)
{
	const struct reg_node *n;
	const struct session_row *s = a->renews && !a->refresh.len ? session_of(co, a, &n) : NULL;

	/* Providers give none without a page (Core 11: offline_access wants prompt=consent), and who is disabled
	 * there would be let in to the end. One that does not open is refused: nobody could be asked. */
	return !s || !s->refresh[0] || !co->conf->refresh_every ||
	       seal_open_text(co->seal, SEAL_REFRESH, s->id, span_str(s->refresh), &a->refresh, err);
}

void browser_kept(struct coordinator *co, struct request *r, const struct attempt *a, const char *why)
{
	char origin[BROWSER_ORIGIN_MAX + 1];
	scoped_buf struct buf url = {0};
	struct page p;

	if (why) {
		struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "session-not-renewed");

		audit_id(b, "node", 'n', a->renews);
		audit_id(b, "session", 's', a->renews_session);
		audit_str(b, "service", a->service);
		audit_str(b, "reason", why);
		audit_end(co->audit);
	}
	browser_origin(co, a->host, span_str(a->service), origin);
	page_init(&p);
	if (origin[0]) {
		buf_init(&url, 512);
		buf_addf(&url, "%s/.well-known/reeve/session?kept=1", origin);
		page_redirect(&p, url.ptr);
	} else {
		page_message(&p, 404, "This service is gone", "It is not there any more, or not for browsers.");
	}
	request_page(r, &p);
	page_done(&p);
}
