/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/login.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "idp/discovery.h"
#include "idp/text.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMS_MAX = 16 << 10, ERROR_CODE_MAX = 63, DESCRIPTION_MAX = 1024 };

/* 32 random bytes as 43 characters. */
static void draw(char out[LOGIN_STATE_SIZE])
{
	unsigned char bytes[32];
	struct buf b;

	random_bytes(bytes, sizeof(bytes));
	buf_init(&b, LOGIN_STATE_SIZE);
	base64url_add(&b, span_of(bytes, sizeof(bytes)));
	memcpy(out, b.ptr, LOGIN_STATE_SIZE);
	buf_wipe_done(&b);
	mem_wipe(bytes, sizeof(bytes));
}

void form_add(struct buf *b, const char *name, struct span value)
{
	if (b->len)
		buf_add_char(b, '&');
	buf_add_str(b, name);
	buf_add_char(b, '=');
	percent_add(b, value);
}

static void form_add_if(struct buf *b, const char *name, const char *value)
{
	if (value && *value)
		form_add(b, name, span_str(value));
}

static void words_add(struct buf *b, const struct conf_strs *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (b->len)
			buf_add_char(b, ' ');
		buf_add_str(b, list->list[i]);
	}
}

static void scopes_add(struct buf *b, const struct provider *p)
{
	buf_add_str(b, "openid");
	if (p->scopes.count == 0)
		buf_add_str(b, " profile email");
	for (size_t i = 0; i < p->scopes.count; i++)
		if (strcmp(p->scopes.list[i], "openid") != 0)
			buf_addf(b, " %s", p->scopes.list[i]);
}

static void challenge_add(struct buf *params, const char *verifier)
{
	unsigned char md[32];
	scoped_buf struct buf b = { 0 };

	/* a failed digest leaves a challenge that no verifier meets */
	memset(md, 0, sizeof(md));
	EVP_Digest(verifier, strlen(verifier), md, NULL, EVP_sha256(), NULL);
	buf_init(&b, 64);
	base64url_add(&b, span_of(md, sizeof(md)));
	form_add(params, "code_challenge", buf_span(&b));
	form_add(params, "code_challenge_method", SPAN("S256"));
}

struct login *login_new(const struct provider *p, const char *name, const struct login_options *o,
                        struct wall wall, struct boot now, struct buf *ret_params)
{
	struct login *l = mem_alloc(sizeof(*l));
	scoped_buf struct buf words = { 0 };
	struct buf *b = ret_params;

	l->provider = mem_strdup(name);
	l->issuer = mem_strdup(p->issuer);
	l->device = o->device;
	l->client_id = mem_strdup(o->device ? p->device_client_id : p->client_id);
	l->redirect_uri = mem_strdup(o->redirect_uri);
	l->started = wall;
	l->expires = (struct wall){ wall.sec + IDP_LOGIN_SECONDS };
	l->deadline = boot_add(now, IDP_LOGIN_SECONDS * SEC_NS);
	l->max_age = o->max_age >= 0 ? o->max_age : p->max_age > 0 ? p->max_age : -1;
	l->acr = o->acr_values && *o->acr_values ? mem_strdup(o->acr_values) : NULL;
	draw(l->state);
	draw(l->verifier);
	if (!o->nonce || !span_cstr(span_str(o->nonce), l->nonce, sizeof(l->nonce)))
		draw(l->nonce);

	buf_init(b, PARAMS_MAX);
	buf_init(&words, PARAMS_MAX);
	scopes_add(&words, p);
	form_add(b, "response_type", SPAN("code"));
	form_add(b, "redirect_uri", span_str(l->redirect_uri));
	form_add(b, "scope", buf_span(&words));
	form_add(b, "state", span_str(l->state));
	form_add(b, "nonce", span_str(l->nonce));
	challenge_add(b, l->verifier);
	if (l->acr) {
		form_add(b, "acr_values", span_str(l->acr));
	} else if (p->acr_values.count) {
		buf_clear(&words);
		words_add(&words, &p->acr_values);
		form_add(b, "acr_values", buf_span(&words));
	}
	if (l->max_age >= 0) {
		buf_clear(&words);
		buf_addf(&words, "%lld", (long long)l->max_age);
		form_add(b, "max_age", buf_span(&words));
	}
	form_add_if(b, "prompt", o->prompt ? o->prompt : p->prompt);
	form_add_if(b, "login_hint", o->login_hint);
	form_add_if(b, "ui_locales", o->ui_locales);
	return l;
}

void login_set_url(struct login *login, const char *endpoint, struct span params)
{
	struct span base = span_str(endpoint);
	struct buf b;

	buf_init(&b, PARAMS_MAX + ENDPOINT_URL_MAX + 1);
	buf_add_span(&b, base);
	buf_add_char(&b, span_find(base, '?') < base.len ? '&' : '?');
	buf_add_span(&b, params);
	free(login->url);
	login->url = buf_take(&b);
}

const char *login_url(const struct login *login)
{
	return login->url;
}

const char *login_state(const struct login *login)
{
	return login->state;
}

const char *login_provider(const struct login *login)
{
	return login->provider;
}

struct wall login_expires(const struct login *login)
{
	return login->expires;
}

static void free_wiped(char *s)
{
	if (s)
		mem_wipe(s, strlen(s));
	free(s);
}

void login_free(struct login *login)
{
	if (!login)
		return;
	free(login->provider);
	free(login->issuer);
	free(login->client_id);
	free(login->redirect_uri);
	free(login->acr);
	free_wiped(login->url);
	mem_wipe(login, sizeof(*login));
	free(login);
}

/* ---- the callback ---- */

static bool value_of(struct span text, size_t max, char **ret, struct err *err, const char *name)
{
	struct buf b;
	struct span v;

	if (*ret)
		return err_set(err, ERR_PEER, "callback: \"%s\" is there twice", name);
	buf_init(&b, max);
	buf_add_str(&b, "");
	if (!percent_decode(text, true, &b) || b.over) {
		buf_done(&b);
		return err_set(err, ERR_PEER,
			       "callback: \"%s\" is malformed or longer than %zu bytes", name, max);
	}
	v = buf_span(&b);
	if (!span_is_utf8(v) || memchr(v.len ? v.ptr : "", 0, v.len)) {
		buf_done(&b);
		return err_set(err, ERR_PEER, "callback: \"%s\" is no text", name);
	}
	*ret = v.len ? buf_take(&b) : mem_strdup("");
	if (!v.len)
		buf_done(&b);
	return true;
}

bool callback_parse(struct span query, struct callback *ret_c, struct err *err)
{
	struct callback c = { 0 };
	const struct {
		const char *name;
		char      **to;
		size_t      max;
	} fields[] = {
		{ "state", &c.state, LOGIN_STATE_SIZE - 1 },
		{ "code", &c.code, IDP_CODE_MAX },
		{ "iss", &c.iss, ISSUER_MAX },
		{ "error", &c.error, ERROR_CODE_MAX },
		{ "error_description", &c.description, DESCRIPTION_MAX },
	};
	struct span rest = query, pair, name;

	if (query.len > IDP_QUERY_MAX)
		return err_set(err, ERR_LIMIT, "callback: %zu bytes, more than %d", query.len,
			       IDP_QUERY_MAX);
	while (span_next(&rest, '&', &pair)) {
		struct span value = pair;

		if (!span_next(&value, '=', &name))
			continue;
		for (size_t i = 0; i < array_size(fields); i++) {
			if (!span_eq(name, span_str(fields[i].name)))
				continue;
			if (!value_of(value, fields[i].max, fields[i].to, err, fields[i].name)) {
				callback_done(&c);
				return false;
			}
		}
	}
	*ret_c = c;
	return true;
}

void callback_done(struct callback *c)
{
	free(c->state);
	free_wiped(c->code);
	free(c->iss);
	free(c->error);
	free(c->description);
	memset(c, 0, sizeof(*c));
}

bool login_query_state(struct span query, char ret_state[LOGIN_STATE_SIZE])
{
	struct callback c;
	bool ok;

	if (!callback_parse(query, &c, NULL))
		return false;
	ok = c.state && strlen(c.state) == LOGIN_STATE_SIZE - 1;
	if (ok)
		memcpy(ret_state, c.state, LOGIN_STATE_SIZE);
	callback_done(&c);
	return ok;
}

/* ---- the token endpoint's answer ---- */

/* Printable ASCII, RFC 6749 appendix A; false: there is one, and it is not that. */
static bool member(const json_t *o, const char *name, size_t max, char **ret, struct err *err)
{
	const json_t *v = json_object_get(o, name);
	struct span s;

	if (!v || json_is_null(v))
		return true;
	s = text_of(v);
	if (!s.ptr || s.len == 0 || s.len > max || !span_is_print(s))
		return err_set(err, ERR_PEER, "token endpoint: \"%s\" is no text of 1 to %zu bytes",
			       name, max);
	*ret = span_dup(s);
	return true;
}

bool token_answer_parse(struct span json, struct token_answer *ret_t, struct err *err)
{
	struct token_answer t = { 0 };
	json_t *o = json_read(json, IDP_ANSWER_MAX, err);
	const json_t *description = json_object_get(o, "error_description");
	bool ok = false;

	if (!o)
		return err_prefix(err, "token endpoint: ");
	if (!json_is_object(o))
		err_set(err, ERR_PEER, "token endpoint: no JSON object");
	else
		ok = member(o, "id_token", TOKEN_MAX, &t.id_token, err) &&
		     member(o, "access_token", TOKEN_MAX, &t.access_token, err) &&
		     member(o, "refresh_token", TOKEN_MAX, &t.refresh_token, err) &&
		     member(o, "error", ERROR_CODE_MAX, &t.error, err);
	if (ok && json_is_string(description) && json_string_length(description) <= DESCRIPTION_MAX)
		t.description = mem_strdup(json_string_value(description));
	json_decref(o);
	if (ok)
		*ret_t = t;
	else
		token_answer_done(&t);
	return ok;
}

void token_answer_done(struct token_answer *t)
{
	free_wiped(t->id_token);
	free_wiped(t->access_token);
	free_wiped(t->refresh_token);
	free(t->error);
	free(t->description);
	memset(t, 0, sizeof(*t));
}
