/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The provider's endpoints: OpenID Connect Core 1.0 with the authorization
 * code and PKCE (S256), one client, ES256. Browsers come to authorize; description and
 * keys are anybody's to read; the token endpoint answers this process alone, known by
 * the credentials of its own connection, which no secret could say better.
 */
#include "daemon/coordinator/own.h"

#include "base/encode.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Where a code may go; below the coordinator's own URL. */
static const char *const callbacks[] = {"/login/callback"};

struct own_code {
	char *nonce, *challenge, *redirect_uri;
	uint64_t account;
	enum own_method how;
	bool phr, synced;
	struct wall auth_time;
	struct boot until;
};

void own_code_free(void *code);
bool own_code_is_old(const void *code, struct boot now);

void own_code_free(void *code)
{
	struct own_code *c = code;

	free(c->nonce);
	free(c->challenge);
	free(c->redirect_uri);
	free(c);
}

bool own_code_is_old(const void *code, struct boot now)
{
	const struct own_code *c = code;

	return boot_passed(c->until, now);
}

/* ---- description and keys ---- */

void api_own_discovery(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	scoped_buf struct buf b = {0};

	if (!own_ready(co, r))
		return;
	buf_init(&b, 8192);
	buf_addf(&b,
		 "{\"issuer\":\"%s/idp\",\"authorization_endpoint\":\"%s/idp/authorize\","
		 "\"token_endpoint\":\"%s/idp/token\",\"jwks_uri\":\"%s/idp/jwks\","
		 "\"end_session_endpoint\":\"%s/idp/logout\",",
		 co->conf->url, co->conf->url, co->conf->url, co->conf->url, co->conf->url);
	buf_add_str(
		&b,
		"\"response_types_supported\":[\"code\"],\"response_modes_supported\":[\"query\"],"
		"\"grant_types_supported\":[\"authorization_code\"],\"subject_types_supported\":["
		"\"public\"],"
		"\"id_token_signing_alg_values_supported\":[\"ES256\"],\"scopes_supported\":["
		"\"openid\",\"profile\"],"
		"\"token_endpoint_auth_methods_supported\":[\"none\"],"
		"\"code_challenge_methods_supported\":[\"S256\"],\"acr_values_supported\":["
		"\"" OWN_ACR "\",\"" OWN_PHR "\"],"
		"\"claims_supported\":[\"sub\",\"preferred_username\",\"name\",\"email\","
		"\"groups\",\"auth_"
		"time\",\"acr\",\"amr\"],"
		"\"request_parameter_supported\":false,\"request_uri_parameter_supported\":false,"
		"\"authorization_response_iss_parameter_supported\":true}\n");
	request_json(r, 200, &b);
}

void api_own_jwks(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	scoped_buf struct buf b = {0};

	if (!own_ready(co, r))
		return;
	buf_init(&b, 8192);
	signer_jwks(co->own->signer, &b);
	request_json(r, 200, &b);
}

/* ---- authorize ---- */

static void param(struct span *query, const char *name, size_t max, char **ret)
{
	struct buf b = {0};

	*ret = form_field(*query, name, max, &b) ? mem_dup(b.ptr, b.len) : NULL;
	buf_wipe_done(&b);
}

static bool redirect_ok(const struct coordinator *co, const char *uri)
{
	struct span s = span_str(uri), base = span_str(co->conf->url);

	if (!uri || !span_starts(s, base))
		return false;
	for (size_t i = 0; i < array_size(callbacks); i++)
		if (span_eq(span_from(s, base.len), span_str(callbacks[i])))
			return true;
	return false;
}

static void add_param(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	buf_add_char(b, b->len && memchr(b->ptr, '?', b->len) ? '&' : '?');
	buf_addf(b, "%s=", name);
	percent_add(b, span_str(value));
}

/* RFC 6749 4.1.2 and 4.1.2.1, with RFC 9207's iss. */
static void go_back(struct coordinator *co, struct request *r, const char *uri, const char *what,
		    const char *value, const char *state, const char *mark, const char *session)
{
	scoped_buf struct buf url = {0}, iss = {0};
	struct page p;

	buf_init(&url, 8192);
	buf_init(&iss, ISSUER_MAX + 1);
	buf_addf(&iss, "%s/idp", co->conf->url);
	buf_add_str(&url, uri);
	add_param(&url, what, value);
	add_param(&url, "state", state);
	add_param(&url, "iss", iss.ptr);
	page_init(&p);
	page_redirect(&p, url.over ? "" : url.ptr);
	if (mark)
		page_set_mark(&p, mark);
	if (session)
		page_own_session(&p, session);
	mem_wipe(url.ptr, url.len);
	own_show(r, &p);
}

static bool has_word(const char *list, struct span word)
{
	struct span rest = span_str(list), one;

	while (span_next(&rest, ' ', &one))
		if (span_eq(one, word))
			return true;
	return false;
}

struct asked {
	char *client, *redirect, *type, *scope, *state, *nonce, *challenge, *method, *prompt,
		*request, *uri, *acr, *max_age, *login_hint, *token_hint;
};

static void asked_done(struct asked *a)
{
	char **all[] = {&a->client, &a->redirect,  &a->type,   &a->scope,  &a->state,
			&a->nonce,  &a->challenge, &a->method, &a->prompt, &a->request,
			&a->uri,    &a->acr,       &a->max_age,   &a->login_hint,
			&a->token_hint};

	for (size_t i = 0; i < array_size(all); i++)
		free(*all[i]);
}

/* The error that the client is told; NULL: none. */
static const char *asked_wrongly(const struct asked *a)
{
	unsigned char raw[32];
	uint64_t age;
	size_t n;

	if (a->request)
		return "request_not_supported";
	if (a->uri)
		return "request_uri_not_supported";
	if (!a->type || strcmp(a->type, "code") != 0)
		return "unsupported_response_type";
	if (!a->scope || !has_word(a->scope, SPAN("openid")))
		return "invalid_scope";
	if (!a->state || !a->nonce || !a->method || strcmp(a->method, "S256") != 0 ||
	    !a->challenge || !base64url_decode(span_str(a->challenge), raw, sizeof(raw), &n) ||
	    n != sizeof(raw))
		return "invalid_request";
	if (a->max_age && !span_u64(span_str(a->max_age), INT32_MAX, &age))
		return "invalid_request";
	/* Core 3.1.2.1: none stands alone. */
	if (a->prompt && has_word(a->prompt, SPAN("none")) && strcmp(a->prompt, "none") != 0)
		return "invalid_request";
	return NULL;
}

static bool is_silent(const struct asked *a)
{
	return a->prompt && strcmp(a->prompt, "none") == 0;
}

/* Whether that session is whom the client means. An ID token of ours that it shows as a hint is not looked at, so
 * it may be anybody's. */
static bool is_meant(const struct own *own, const struct asked *a, const struct own_session *s)
{
	const struct account_row *row = own_find(own, s->account);
	char login[LOGIN_MAX + 1];

	return row && !a->token_hint &&
	       (!a->login_hint || (own_login_ok(span_str(a->login_hint), login) && strcmp(login, row->login) == 0));
}

/* Core 3.1.2.6: why nobody is let in without a page; NULL: somebody is. */
static const char *why_asked(const struct own *own, const struct asked *a, const struct own_flow *f,
			     const struct own_session *s)
{
	if (!s || !is_meant(own, a, s) || !own_session_fits(own, s, f->max_age, false))
		return "login_required";
	return own_session_fits(own, s, f->max_age, f->phr_only) ? NULL : "interaction_required";
}

/* The session vouches without a word only where the client says that it wants no page: that is the renewal of what is
 * there. Everything else is asked for, since the page is all that stands between a link which somebody else
 * sent and what it lets in. */
static void begin(struct own *own, struct request *r, const struct asked *a, struct own_flow *f)
{
	struct own_session *s = a->prompt && has_word(a->prompt, SPAN("login")) ? NULL : own_session_of(own, r);
	const char *why = why_asked(own, a, f, s);

	if (is_silent(a)) {
		if (!why) {
			f->account = s->account;
			own_op_known(own, r, f, s);
			return;
		}
		go_back(own->co, r, f->redirect_uri, "error", why, f->state, NULL, NULL);
		own_flow_drop(own, f);
		return;
	}
	if (!why) {
		f->account = s->account;
		memcpy(f->session, s->hash, sizeof(f->session));
		own_flow_step(f, OWN_CONFIRM);
		own_confirm_show(own, r, f);
		return;
	}
	if (!a->login_hint || !own_login_ok(span_str(a->login_hint), f->login))
		f->login[0] = '\0';
	own_login_show(own, r, f, NULL, 200, true);
}

/* Who wants no page is in the middle of something else, and goes on with that. */
static void not_now(struct coordinator *co, struct request *r, const struct asked *a, int status, const char *title)
{
	if (is_silent(a))
		go_back(co, r, a->redirect, "error", "temporarily_unavailable", a->state, NULL, NULL);
	else
		own_sorry(co, r, status, title, "Try again in a minute.");
}

static void authorize(struct coordinator *co, struct request *r, struct asked *a)
{
	struct err err;
	const char *wrong;
	struct own_flow *f;
	uint64_t age;

	/* What may not be sent back is said here. */
	if (!a->client || strcmp(a->client, OWN_CLIENT) != 0 || !redirect_ok(co, a->redirect)) {
		own_sorry(co, r, 400, "Nobody to log in to",
			  "The page that sent you here is not known.");
		return;
	}
	wrong = asked_wrongly(a);
	if (wrong) {
		go_back(co, r, a->redirect, "error", wrong, a->state, NULL, NULL);
		return;
	}
	if (!attempts_may(co->attempts, &r->from, co->conf->attempts_per_minute, &err)) {
		not_now(co, r, a, 429, "Too many attempts");
		return;
	}
	f = own_flow_new(co->own, r, OWN_LOGIN, OWN_PASSWORD, &err);
	if (!f) {
		not_now(co, r, a, 503, "Too many logins");
		return;
	}
	/* A client that asks for "phr" and not for less gets a passkey or nobody. */
	bool mfa = a->acr && has_word(a->acr, SPAN(OWN_ACR)),
	     phr = a->acr && has_word(a->acr, SPAN(OWN_PHR));
	f->phr_only = phr && !mfa;
	f->phr_named = phr || !mfa;
	f->state = take(a->state);
	f->oidc_nonce = take(a->nonce);
	f->challenge = take(a->challenge);
	f->redirect_uri = take(a->redirect);
	f->max_age = -1;
	if (a->max_age && span_u64(span_str(a->max_age), INT32_MAX, &age))
		f->max_age = (int64_t)age;
	begin(co->own, r, a, f);
}

void api_own_authorize(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct asked a = {0};

	if (!own_ready(co, r))
		return;
	param(&r->query, "client_id", 255, &a.client);
	param(&r->query, "redirect_uri", 1024, &a.redirect);
	param(&r->query, "response_type", 64, &a.type);
	param(&r->query, "scope", OWN_PARAM_MAX, &a.scope);
	param(&r->query, "state", OWN_PARAM_MAX, &a.state);
	param(&r->query, "nonce", OWN_PARAM_MAX, &a.nonce);
	param(&r->query, "code_challenge", 64, &a.challenge);
	param(&r->query, "code_challenge_method", 16, &a.method);
	param(&r->query, "prompt", 64, &a.prompt);
	param(&r->query, "max_age", 32, &a.max_age);
	param(&r->query, "acr_values", OWN_PARAM_MAX, &a.acr);
	param(&r->query, "login_hint", OWN_PARAM_MAX, &a.login_hint);
	param(&r->query, "id_token_hint", 32 << 10, &a.token_hint);
	param(&r->query, "request", 4096, &a.request);
	param(&r->query, "request_uri", 4096, &a.uri);
	authorize(co, r, &a);
	asked_done(&a);
}

/* What is proven is s's, and no newer than that. */
static void let_in(struct own *own, struct request *r, struct own_flow *f, const struct own_session *s,
		   const char *mark, const char *session)
{
	struct coordinator *co = own->co;
	char code[OPAQUE_TEXT + 1];
	unsigned char hash[OPAQUE_HASH];
	struct own_code *c;

	if (dict_count(own->codes) >= OWN_CODES_MAX) {
		own_sorry(co, r, 503, "Too many logins", "Try again in a minute.");
		own_flow_drop(own, f);
		return;
	}
	c = mem_alloc(sizeof(*c));
	opaque_new(code, hash);
	c->nonce = take(f->oidc_nonce);
	c->challenge = take(f->challenge);
	c->redirect_uri = mem_strdup(f->redirect_uri);
	c->account = s->account;
	c->how = s->how;
	c->phr = s->how == OWN_BY_PASSKEY && f->phr_named;
	c->synced = s->synced;
	c->auth_time = s->auth_time;
	c->until = boot_add(loop_now(co->loop), OWN_CODE_SECONDS * SEC_NS);
	dict_put(own->codes, span_of(hash, sizeof(hash)), c);
	go_back(co, r, f->redirect_uri, "code", code, f->state, mark, session);
	mem_wipe(code, sizeof(code));
	own_flow_drop(own, f);
}

void own_op_done(struct own *own, struct request *r, struct own_flow *f, enum own_method how)
{
	const struct own_session proof = {.account = f->account,
					  .how = how,
					  .synced = f->synced,
					  .auth_time = loop_wall(own->co->loop)};
	char mark[BROWSER_TEXT_MAX], cookie[OPAQUE_TEXT + 1];
	bool kept = own_session_begin(own, r, &proof, cookie);

	browser_mark(&own->mark, f->account, mark);
	let_in(own, r, f, &proof, mark, kept ? cookie : NULL);
	mem_wipe(cookie, sizeof(cookie));
}

void own_op_known(struct own *own, struct request *r, struct own_flow *f, struct own_session *s)
{
	s->used = loop_now(own->co->loop);
	own_audit(own, "account-login", own_find(own, s->account), f, "session");
	let_in(own, r, f, s, NULL, NULL);
}

/* ---- token ---- */

static void token_error(struct request *r, const char *what)
{
	scoped_buf struct buf b = {0};

	buf_init(&b, 256);
	buf_addf(&b, "{\"error\":\"%s\"}\n", what);
	request_json(r, 400, &b);
}

static void token_answer(struct coordinator *co, struct request *r, const struct own_code *c,
			 const struct account_row *a)
{
	/* RFC 8176. A recovery code is a one-time password, too. */
	static const char *const typed[] = {"pwd", "otp", "mfa", NULL},
				 *const here[] = {"hwk", "user", "mfa", NULL},
				 *const anywhere[] = {"swk", "user", "mfa", NULL};
	const char *const *amr = c->how != OWN_BY_PASSKEY ? typed : c->synced ? anywhere : here;
	scoped_buf struct buf issuer = {0}, token = {0}, b = {0};
	char access[OPAQUE_TEXT + 1];
	unsigned char hash[OPAQUE_HASH];
	struct err err;

	/* It opens nothing: there is nothing behind it. OAuth wants one. */
	opaque_new(access, hash);
	buf_init(&issuer, ISSUER_MAX + 1);
	buf_addf(&issuer, "%s/idp", co->conf->url);
	buf_init(&token, 32 << 10);
	buf_init(&b, 48 << 10);
	const struct id_claims claims = {
		.issuer = issuer.ptr,
		.sub = a->sub,
		.audience = OWN_CLIENT,
		.nonce = c->nonce,
		.login = a->login,
		.name = a->name[0] ? a->name : NULL,
		.email = strchr(a->login, '@') ? a->login : NULL,
		.groups = span_str(a->groups),
		.acr = c->phr ? OWN_PHR : OWN_ACR,
		.amr = amr,
		.access_token = access,
		.auth_time = c->auth_time,
		.now = loop_wall(co->loop),
		.seconds = OWN_TOKEN_SECONDS,
	};
	if (!signer_id_token(co->own->signer, &claims, &token, &err)) {
		request_error(r, &err);
		return;
	}
	buf_addf(&b,
		 "{\"access_token\":\"%s\",\"token_type\":\"Bearer\",\"expires_in\":%d,\"id_"
		 "token\":\"%s\"}\n",
		 access, OWN_TOKEN_SECONDS, token.ptr);
	request_json(r, 200, &b);
	mem_wipe(b.ptr, b.len);
	mem_wipe(token.ptr, token.len);
}

void api_own_token(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct span body = buf_span(&r->body);
	char *type, *code, *redirect, *verifier, *client;
	unsigned char hash[OPAQUE_HASH];
	struct own_code *c = NULL;
	const struct account_row *a;

	if (!own_ready(co, r))
		return;
	if (!r->self) {
		request_fail(r, ERR_DENIED, "this is the coordinator's own");
		return;
	}
	param(&body, "grant_type", 64, &type);
	param(&body, "code", 64, &code);
	param(&body, "redirect_uri", 1024, &redirect);
	param(&body, "code_verifier", 128, &verifier);
	param(&body, "client_id", 255, &client);
	/* A code is shown once, right or wrong. */
	if (code && opaque_hash(span_str(code), hash))
		c = dict_remove(co->own->codes, span_of(hash, sizeof(hash)));
	a = c ? own_find(co->own, c->account) : NULL;
	if (!type || strcmp(type, "authorization_code") != 0)
		token_error(r, "unsupported_grant_type");
	else if (!client || strcmp(client, OWN_CLIENT) != 0)
		token_error(r, "invalid_client");
	else if (!c || own_code_is_old(c, loop_now(co->loop)) || !a || a->disabled || !redirect ||
		 strcmp(redirect, c->redirect_uri) != 0 || !verifier ||
		 !pkce_ok(span_str(verifier), span_str(c->challenge)))
		token_error(r, "invalid_grant");
	else
		token_answer(co, r, c, a);
	if (c)
		own_code_free(c);
	if (verifier)
		mem_wipe(verifier, strlen(verifier));
	free(type);
	free(code);
	free(redirect);
	free(verifier);
	free(client);
}
