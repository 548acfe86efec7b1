/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The browser's part of a login: the page that shows the device, the way to
 * the provider and back, the approval, and the redirect to the device's
 * loopback that carries the ticket. One browser has it all: its cookie is
 * set by the first page and wanted by every later one.
 */
#include "config.h"

#include "daemon/coordinator/coordinator.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/coordinator/lifetime.h"
#include "idp/provider.h"
#include "web/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show(struct request *r, struct page *p)
{
	request_page(r, p);
	page_done(p);
}

static void sorry(struct coordinator *co, struct request *r, int status, const char *title,
		  const char *words, const char *detail)
{
	struct page p;
	char        id[32];
	uint64_t    n;

	random_bytes(&n, sizeof(n));
	snprintf(id, sizeof(id), "%08llx", (unsigned long long)(n & 0xffffffff));
	struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "login-refused");
	audit_str(b, "id", id);
	audit_str(b, "reason", detail ? detail : words);
	audit_end(co->audit);
	page_init(&p);
	page_error(&p, status, title, words, id, NULL);
	show(r, &p);
}

static void gone(struct coordinator *co, struct request *r)
{
	sorry(co, r, 404, "This login is over",
	      "It was finished, refused, or took too long. Begin again on your device.", NULL);
}

static void device_of(const struct coordinator *co, const struct attempt *a, char from[IP_TEXT_MAX],
                      struct page_device *ret)
{
	const struct reg_node *n = registry_node(co->reg, a->node);

	*ret = (struct page_device){.name = n ? n->row->name : a->name,
				    .os = n ? n->row->os : a->os,
				    .from = a->from.family ? ip_text(&a->from, from) : NULL,
				    .code = a->code,
				    .asked = a->asked,
				    .cross_device = !a->loopback,
				    .renew = a->node != 0};
	if (a->service)
		*ret = (struct page_device){ .service = a->service };
}

static void purpose_of(const struct attempt *a, const char *what, char ret[64])
{
	snprintf(ret, 64, "%s %s", a->id, what);
}

/* The browser that has this login. */
static bool same_browser(const struct request *r, const struct attempt *a)
{
	char key[BROWSER_KEY_SIZE];

	return a->browser[0] && r->cookie && browser_key_get(span_str(r->cookie), key) &&
	       mem_equal_ct(key, a->browser, sizeof(key));
}

/* Whether this issuer is for the page: one whose logins are made at the device is not. */
static bool may_choose(const struct coordinator *co, const struct attempt *a, size_t i)
{
	const struct provider *p = (const struct provider *)co->conf->issuers.items + i;

	return p->login == PROVIDER_LOGIN_PORTAL &&
	       (!a->issuer[0] || strcmp(a->issuer, co->conf->issuers.names[i]) == 0);
}

/* Another device's browser, where no such may approve anything: the switch may have been turned meanwhile. */
static bool is_elsewhere(const struct coordinator *co, const struct attempt *a)
{
	return !a->loopback && !a->service && !co->conf->cross_device;
}

/* ---- GET /login/ATTEMPT ---- */

static void first_page(struct coordinator *co, struct request *r, struct attempt *a)
{
	const struct conf_map *issuers = &co->conf->issuers;
	struct page_choice     choices[PROVIDERS_MAX];
	char titles[PROVIDERS_MAX][128], browser[BROWSER_KEY_SIZE], token[FORM_TOKEN_SIZE];
	char                   purpose[64], action[64], from[IP_TEXT_MAX];
	struct page_device     d;
	struct page            p;
	size_t                 shown = 0;
	bool                   fresh = !r->cookie || !browser_key_get(span_str(r->cookie), browser);

	if (a->browser[0] && !same_browser(r, a)) {
		sorry(co, r, 403, "Another browser has this login",
		      "It was begun in another browser. If that was not you, begin again on your "
		      "device.",
		      NULL);
		return;
	}
	for (size_t i = 0; i < issuers->count; i++) {
		struct span title = provider_title((const struct provider *)issuers->items + i);

		if (!may_choose(co, a, i))
			continue;
		snprintf(titles[shown], sizeof(titles[shown]), "%.*s", SPAN_ARG(title));
		choices[shown] = (struct page_choice){ .value = issuers->names[i], .title = titles[shown] };
		shown++;
	}
	if (shown == 0) {
		sorry(co, r, 503, "Nobody can log in", "No identity provider is configured here.",
		      NULL);
		return;
	}
	if (fresh)
		browser_key_new(browser);
	purpose_of(a, "continue", purpose);
	form_token(&co->form_key, purpose, browser, token);
	snprintf(action, sizeof(action), "/login/%s/continue", a->id);
	device_of(co, a, from, &d);
	page_init(&p);
	page_login(&p, &d, action, choices, shown, token);
	if (fresh)
		page_set_browser_key(&p, browser);
	show(r, &p);
}

/* ---- POST /login/ATTEMPT/continue ---- */

struct asked {
	struct coordinator *co;
	char                attempt[ENROL_ATTEMPT_LEN + 1];
	uint64_t            request;
	bool                fresh;      /* the browser has no key yet */
};

static struct asked *ask(struct coordinator *co, struct attempt *a, const struct request *r)
{
	struct asked *q = mem_alloc(sizeof(*q));

	q->co = co;
	memcpy(q->attempt, a->id, sizeof(q->attempt));
	q->request = r->id;
	a->op_arg = q;
	return q;
}

static void on_started(void *arg, struct login *login, const struct login_refusal *why)
{
	struct asked       *q = arg;
	struct coordinator *co = q->co;
	struct attempt     *a = attempts_find(co->attempts, span_str(q->attempt));
	struct request     *r = http_find(co->http, q->request);
	bool                fresh = q->fresh;

	if (a) {
		a->op = NULL;
		a->op_arg = NULL;
	}
	free(q);
	if (!login) {
		if (a)
			attempt_move(a, ATTEMPT_PROVED);
		if (r && a && a->renews)
			browser_kept(co, r, a, why->err.msg);
		else if (r)
			sorry(co, r, 502, "The identity provider does not answer", why->words,
			      why->err.msg);
		return;
	}
	if (!a) {
		login_free(login);
		if (r)
			gone(co, r);
		return;
	}
	attempts_set_login(co->attempts, a, login);
	if (r) {
		struct page p;

		page_init(&p);
		if (page_redirect(&p, login_url(login)) && fresh)
			page_set_browser_key(&p, a->browser);
		show(r, &p);
	}
}

/* A second factor by name, where the provider has names for it and says it by nothing else: what is asked for by
 * name must be answered by it. */
static void wanted_acr(const struct attempt *a, const struct provider *p, struct buf *out)
{
	buf_init(out, 1024);
	if (a->acr[0])
		buf_add_str(out, a->acr);
	else if (a->mfa && p && !p->mfa_amr.count && !p->always_mfa)
		for (size_t i = 0; i < p->mfa_acr.count; i++)
			buf_addf(out, "%s%s", i ? " " : "", p->mfa_acr.list[i]);
	if (out->over)
		buf_clear(out);
}

static void to_provider(struct coordinator *co, struct request *r, struct attempt *a, const char *name,
			const char *browser, bool fresh, const char *hint)
{
	scoped_buf struct buf redirect = { 0 }, acr = { 0 };
	int64_t               max_age = lifetime_max_age(co->conf, a->max_age);

	if (a->op || ++a->tries > ATTEMPT_TRIES_MAX || !attempt_move(a, ATTEMPT_PROVIDER)) {
		gone(co, r);
		return;
	}
	if (a->renews)
		a->from = r->from;
	memcpy(a->browser, browser, sizeof(a->browser));
	free(a->provider);
	a->provider = mem_strdup(name);
	buf_init(&redirect, 1024);
	buf_addf(&redirect, "%s/login/callback", co->conf->url);
	/* The shorter of ours and the row's: a wish of ours would replace that. */
	const struct provider *p = idp_provider(co->idp, name);
	if (p && p->max_age && max_age > p->max_age)
		max_age = p->max_age;
	wanted_acr(a, p, &acr);
	struct login_options o = {.redirect_uri = redirect.ptr,
				  .max_age = max_age,
				  .prompt = a->silent ? "none" : NULL,
				  .probe = a->renews != 0,
				  .login_hint = hint,
				  .acr_values = acr.len ? acr.ptr : NULL};
	struct asked        *q = ask(co, a, r);
	q->fresh = fresh;
	a->op = idp_login_start(co->idp, name, &o, on_started, q);
}

/* A renewal of what the browser may still be logged in for: no page of ours before the
 * provider's answer. False where there is no provider to ask. */
static bool renew(struct coordinator *co, struct request *r, struct attempt *a)
{
	const struct reg_node *n = registry_node(co->reg, a->node);
	const struct reg_user *u = n ? registry_user(co->reg, n->row->user) : NULL;
	const struct conf_map *issuers = &co->conf->issuers;
	char                   browser[BROWSER_KEY_SIZE];
	bool                   fresh = !r->cookie || !browser_key_get(span_str(r->cookie), browser);

	for (size_t i = 0; u && i < issuers->count; i++) {
		const struct provider *p = (const struct provider *)issuers->items + i;

		if (!may_choose(co, a, i) || strcmp(p->issuer, u->row->issuer) != 0)
			continue;
		if (fresh)
			browser_key_new(browser);
		to_provider(co, r, a, issuers->names[i], browser, fresh, NULL);
		return true;
	}
	return false;
}

/* Of a browser's session at a service: whatever happens, it goes back there. */
static void renew_browser(struct coordinator *co, struct request *r, struct attempt *a)
{
	char        browser[BROWSER_KEY_SIZE];
	bool        fresh = !r->cookie || !browser_key_get(span_str(r->cookie), browser);
	const char *hint, *name = a->browser[0] ? NULL : browser_renew_provider(co, a, &hint);

	if (!name) {
		browser_kept(co, r, a, a->browser[0] ? NULL : "the session is over");
		return;
	}
	if (fresh)
		browser_key_new(browser);
	to_provider(co, r, a, name, browser, fresh, hint);
}

/* Whose domain that is: one that says so alone, else one that may name anybody. -1: nobody's, or
 * not one's alone. */
static int by_domain(const struct coordinator *co, const struct attempt *a, struct span account)
{
	const struct conf_map *issuers = &co->conf->issuers;
	int                    found[2] = { -1, -1 };
	size_t                 n[2] = { 0, 0 };

	for (size_t i = 0; i < issuers->count; i++) {
		const struct provider *p = (const struct provider *)issuers->items + i;
		bool                   any = provider_has_domain(p, SPAN(""));

		if (!may_choose(co, a, i) || !provider_has_domain(p, account))
			continue;
		found[any] = (int)i;
		n[any]++;
	}
	return n[0] == 1 ? found[0] : n[0] == 0 && n[1] == 1 ? found[1] : -1;
}

static void go_on(struct coordinator *co, struct request *r, struct attempt *a, const char *browser)
{
	const struct conf_map *issuers = &co->conf->issuers;
	scoped_buf struct buf  issuer = { 0 }, account = { 0 };
	const char            *name = NULL;
	int                    at;

	buf_init(&issuer, 256);
	buf_init(&account, 256);
	/* With one issuer there may be no field. */
	if (form_field(buf_span(&r->body), "issuer", 200, &issuer)) {
		for (size_t i = 0; i < issuers->count; i++)
			if (may_choose(co, a, i) && span_eq(buf_span(&issuer), span_str(issuers->names[i])))
				name = issuers->names[i];
	} else if (form_field(buf_span(&r->body), "account", LOGIN_MAX, &account) && account.len) {
		at = span_is_print(buf_span(&account)) ? by_domain(co, a, buf_span(&account)) : -1;
		name = at >= 0 ? issuers->names[at] : NULL;
	} else {
		size_t n = 0;

		for (size_t i = 0; i < issuers->count; i++)
			if (may_choose(co, a, i) && n++ == 0)
				name = issuers->names[i];
		if (n != 1)
			name = NULL;
	}
	if (!name) {
		sorry(co, r, 400, "No such identity provider",
		      account.len ? "No identity provider here answers for that address: choose one of those "
				    "that the page shows."
				  : "Choose one of those that the page shows.",
		      NULL);
		return;
	}
	to_provider(co, r, a, name, browser, false, account.len ? account.ptr : NULL);
}

/* ---- GET /login/callback ---- */

static void ask_person_after_all(struct request *r, struct attempt *a)
{
	char        at[64];
	struct page p;

	a->silent = false;
	snprintf(at, sizeof(at), "/login/%s", a->id);
	page_init(&p);
	page_redirect(&p, at);
	show(r, &p);
}

/* Whose device it is already: nothing is let in that was not in. */
static bool is_owner(const struct coordinator *co, const struct attempt *a)
{
	const struct reg_node *n = registry_node(co->reg, a->node);
	const struct reg_user *u = n ? registry_user(co->reg, n->row->user) : NULL;

	return u && strcmp(u->row->issuer, a->who.issuer) == 0 && strcmp(u->row->sub, a->who.sub) == 0;
}

static void approve(struct coordinator *co, struct request *r, struct attempt *a);

static void on_finished(void *arg, struct login_result *res, const struct login_refusal *why)
{
	struct asked       *q = arg;
	struct coordinator *co = q->co;
	struct attempt     *a = attempts_find(co->attempts, span_str(q->attempt));
	struct request     *r = http_find(co->http, q->request);
	struct err          err;

	if (a) {
		a->op = NULL;
		a->op_arg = NULL;
	}
	free(q);
	if (!res) {
		if (a)
			attempt_move(a, ATTEMPT_PROVED);
		if (r && a && a->renews)
			browser_kept(co, r, a, why->err.msg);
		else if (r && a && a->silent && login_wants_person(why))
			ask_person_after_all(r, a);
		else if (r)
			sorry(co, r, 403, "The login was refused", why->words, why->err.msg);
		return;
	}
	if (!a || is_elsewhere(co, a) || !attempt_move(a, ATTEMPT_APPROVING)) {
		if (r)
			gone(co, r);
		return;
	}
	identity_done(&a->who);
	identity_copy(&a->who, &res->identity);
	secret_done(&a->refresh);
	a->refresh = res->refresh_token;
	res->refresh_token = (struct secret){ 0 };
	if (!r)
		return;
	if (a->renews && !browser_renews(co, a, &err)) {
		browser_kept(co, r, a, err.msg);
		attempts_drop(co->attempts, a);
		return;
	}
	if (a->service) {
		browser_return(co, r, a);
		return;
	}
	if (a->silent && is_owner(co, a)) {
		approve(co, r, a);
		return;
	}
	char purpose[64], token[FORM_TOKEN_SIZE], approve[64], refuse[64], from[IP_TEXT_MAX];
	struct page_device d;
	struct page_person who = {.name = a->who.name,
				  .login = a->who.login,
				  .issuer = a->who.issuer,
				  .mfa = a->who.mfa};
	struct page        p;
	purpose_of(a, "approve", purpose);
	form_token(&co->form_key, purpose, a->browser, token);
	snprintf(approve, sizeof(approve), "/login/%s/approve", a->id);
	snprintf(refuse, sizeof(refuse), "/login/%s/refuse", a->id);
	device_of(co, a, from, &d);
	page_init(&p);
	page_approve(&p, &d, &who, approve, refuse, token);
	show(r, &p);
}

static void callback(struct coordinator *co, struct request *r)
{
	char            state[LOGIN_STATE_SIZE];
	struct attempt *a = login_query_state(r->query, state)
				    ? attempts_find_state(co->attempts, state)
				    : NULL;

	if (!a || a->state != ATTEMPT_PROVIDER || a->op || !a->login || is_elsewhere(co, a)) {
		gone(co, r);
		return;
	}
	/* The provider's answer counts in the browser that asked alone (RFC 9700 4.7.1). */
	if (!same_browser(r, a) && a->renews) {
		browser_kept(co, r, a, "the provider's answer came in a browser without our cookie");
		return;
	}
	if (!same_browser(r, a)) {
		sorry(co, r, 403, "Another browser has this login",
		      "It was begun in another browser. If that was not you, begin again on your "
		      "device.",
		      NULL);
		return;
	}
	struct login *login = take(a->login);
	struct asked *q = ask(co, a, r);
	attempts_set_login(co->attempts, a, NULL);
	a->op = idp_login_finish(co->idp, login, r->query, on_finished, q);
}

/* Somebody with only a browser, sent by a service's front: with one provider straight to it. */
static void service_page(struct coordinator *co, struct request *r)
{
	const struct conf_map *issuers = &co->conf->issuers;
	char                   browser[BROWSER_KEY_SIZE];
	bool                   fresh = !r->cookie || !browser_key_get(span_str(r->cookie), browser);
	const char            *name = NULL;
	size_t                 n = 0;
	struct err             err = { 0 };
	struct attempt        *a = browser_begin(co, r, &err);

	if (!a) {
		sorry(co, r, err.code == ERR_MISSING ? 404 : 503, "No login for this", err.msg, NULL);
		return;
	}
	for (size_t i = 0; i < issuers->count; i++)
		if (may_choose(co, a, i) && n++ == 0)
			name = issuers->names[i];
	if (fresh)
		browser_key_new(browser);
	if (n == 1)
		to_provider(co, r, a, name, browser, fresh, NULL);
	else
		first_page(co, r, a);
}

void api_login_get(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct err          err;

	if (span_eq(r->rest, SPAN("callback"))) {
		callback(co, r);
		return;
	}
	if (span_eq(r->rest, SPAN("bye"))) {
		login_bye(r);
		return;
	}
	/* A renewal's id comes from its front, to a browser with a session there; its way back is always open. */
	struct attempt *a = attempts_find(co->attempts, r->rest);
	if (a && a->renews) {
		renew_browser(co, r, a);
		return;
	}
	/* Ids are guessed at the rate of everything else. */
	if (!attempts_may(co->attempts, &r->from, co->conf->attempts_per_minute, &err)) {
		sorry(co, r, 429, "Too many attempts", "Try again in a minute.", NULL);
		return;
	}
	if (span_eq(r->rest, SPAN("service"))) {
		service_page(co, r);
		return;
	}
	if (!a || a->at_device || a->state == ATTEMPT_STARTED || a->state >= ATTEMPT_FINISHING ||
	    is_elsewhere(co, a)) {
		gone(co, r);
		return;
	}
	if (!a->silent || a->browser[0] || !renew(co, r, a))
		first_page(co, r, a);
}

/* ---- the forms ---- */

static void approve(struct coordinator *co, struct request *r, struct attempt *a)
{
	unsigned char         raw[32];
	scoped_buf struct buf b = { 0 }, url = { 0 };
	char                  from[IP_TEXT_MAX];
	struct page           p;

	if (!attempt_move(a, ATTEMPT_APPROVED)) {
		gone(co, r);
		return;
	}
	page_init(&p);
	if (!a->loopback) {
		struct page_device d;
		struct page_person who = {.name = a->who.name,
					  .login = a->who.login,
					  .issuer = a->who.issuer,
					  .mfa = a->who.mfa};

		a->cross_device = true;
		device_of(co, a, from, &d);
		page_done_device(&p, &d, &who);
		show(r, &p);
		return;
	}
	random_bytes(raw, sizeof(raw));
	buf_init(&b, 64);
	base64url_add(&b, span_of(raw, sizeof(raw)));
	mem_wipe(raw, sizeof(raw));
	memcpy(a->ticket, b.ptr, sizeof(a->ticket));
	mem_wipe(b.ptr, b.len);
	/* The browser is on the device if this arrives: the ticket goes there and nowhere else. */
	buf_init(&url, 512);
	buf_addf(&url, "http://127.0.0.1:%u/done?attempt=%s&ticket=%s", a->loopback, a->id,
		 a->ticket);
	page_redirect(&p, url.ptr);
	mem_wipe(url.ptr, url.len);
	show(r, &p);
}

void api_login_post(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	size_t              slash = span_find(r->rest, '/');
	struct attempt     *a = attempts_find(co->attempts, span_head(r->rest, slash));
	struct span         what = span_from(r->rest, slash + 1);
	char                browser[BROWSER_KEY_SIZE], purpose[64];
	scoped_buf struct buf token = { 0 };
	bool                first = span_eq(what, SPAN("continue"));

	if (!a || a->at_device || a->renews || a->state == ATTEMPT_STARTED ||
	    a->state >= ATTEMPT_FINISHING || is_elsewhere(co, a)) {
		gone(co, r);
		return;
	}
	buf_init(&token, 256);
	purpose_of(a, first ? "continue" : "approve", purpose);
	if (!r->cookie || !browser_key_get(span_str(r->cookie), browser) ||
	    (a->browser[0] && !same_browser(r, a)) || (!first && !a->browser[0]) ||
	    !form_field(buf_span(&r->body), "token", 200, &token) ||
	    !form_token_ok(&co->form_key, purpose, browser, buf_span(&token))) {
		sorry(co, r, 403, "This form is not yours",
		      "It was made for another browser, or by another page. Begin again on your "
		      "device.",
		      NULL);
		return;
	}
	if (first) {
		go_on(co, r, a, browser);
	} else if (a->state == ATTEMPT_APPROVING && span_eq(what, SPAN("approve"))) {
		approve(co, r, a);
	} else if (span_eq(what, SPAN("refuse"))) {
		struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "login-disowned");
		struct page p;
		char        from[IP_TEXT_MAX] = "";

		audit_str(b, "name", a->name);
		audit_str(b, "from", a->from.family ? ip_text(&a->from, from) : "");
		audit_str(b, "login", a->who.login);
		audit_end(co->audit);
		attempts_drop(co->attempts, a);
		page_init(&p);
		page_message(&p, 200, "Refused",
			     "That device was not let in. You may close this window.");
		show(r, &p);
	} else {
		gone(co, r);
	}
}

void api_source(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct page         p;

	page_init(&p);
	page_source(&p, PACKAGE_VERSION, co->conf->source);
	show(r, &p);
}
