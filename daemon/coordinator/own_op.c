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
		 "\"token_endpoint\":\"%s/idp/token\",\"jwks_uri\":\"%s/idp/jwks\",",
		 co->conf->url, co->conf->url, co->conf->url, co->conf->url);
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
static void go_back(struct coordinator *co, struct request *r, const char *uri, const char *state,
		    const char *what, const char *value, const char *mark)
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
		*request, *uri, *acr, *max_age;
};

static void asked_done(struct asked *a)
{
	char **all[] = {&a->client, &a->redirect,  &a->type,   &a->scope,  &a->state,
			&a->nonce,  &a->challenge, &a->method, &a->prompt, &a->request,
			&a->uri,    &a->acr,       &a->max_age};

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
	/* Whoever logs in proves themselves now (auth_time), which no max_age is too short for;
	 * prompt=login, consent and select_account are what is done anyhow. */
	if (a->max_age && !span_u64(span_str(a->max_age), INT32_MAX, &age))
		return "invalid_request";
	/* Nobody is logged in here between two logins. Core 3.1.2.1: none stands alone. */
	if (a->prompt && has_word(a->prompt, SPAN("none")))
		return strcmp(a->prompt, "none") == 0 ? "login_required" : "invalid_request";
	return NULL;
}

static void authorize(struct coordinator *co, struct request *r, struct asked *a)
{
	struct err err;
	const char *wrong;
	struct own_flow *f;

	/* What may not be sent back is said here. */
	if (!a->client || strcmp(a->client, OWN_CLIENT) != 0 || !redirect_ok(co, a->redirect)) {
		own_sorry(co, r, 400, "Nobody to log in to",
			  "The page that sent you here is not known.");
		return;
	}
	wrong = asked_wrongly(a);
	if (wrong) {
		go_back(co, r, a->redirect, a->state, "error", wrong, NULL);
		return;
	}
	if (!attempts_may(co->attempts, &r->from, co->conf->attempts_per_minute, &err)) {
		own_sorry(co, r, 429, "Too many attempts", "Try again in a minute.");
		return;
	}
	f = own_flow_new(co->own, r, OWN_LOGIN, OWN_PASSWORD, &err);
	if (!f) {
		own_sorry(co, r, 503, "Too many logins", "Try again in a minute.");
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
	own_login_show(co->own, r, f, NULL, 200, true);
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
	param(&r->query, "request", 4096, &a.request);
	param(&r->query, "request_uri", 4096, &a.uri);
	authorize(co, r, &a);
	asked_done(&a);
}

void own_op_done(struct own *own, struct request *r, struct own_flow *f, enum own_method how)
{
	struct coordinator *co = own->co;
	char code[OPAQUE_TEXT + 1], mark[BROWSER_TEXT_MAX];
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
	c->account = f->account;
	c->how = how;
	c->phr = how == OWN_BY_PASSKEY && f->phr_named;
	c->synced = f->synced;
	c->auth_time = loop_wall(co->loop);
	c->until = boot_add(loop_now(co->loop), OWN_CODE_SECONDS * SEC_NS);
	dict_put(own->codes, span_of(hash, sizeof(hash)), c);
	browser_mark(&own->mark, f->account, mark);
	go_back(co, r, f->redirect_uri, f->state, "code", code, mark);
	mem_wipe(code, sizeof(code));
	own_flow_drop(own, f);
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
