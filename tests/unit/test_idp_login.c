/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The texts of a login: what is sent, and what comes back. */
#include "base/mem.h"
#include "idp/discovery.h"
#include "idp/login.h"
#include "tests/unit/main.h"
#include "tests/unit/signer.h"

#include <string.h>

START_TEST(callbacks)
{
	static const struct { const char *query, *code, *error; bool ok; } rows[] = {
		{ "code=a&code=b", NULL, NULL, false }, { "state=x&state=x", NULL, NULL, false },
		{ "code=%zz", NULL, NULL, false }, { "code=%00", NULL, NULL, false },
		{ "code=%ff", NULL, NULL, false },
		{ "error=0123456789012345678901234567890123456789012345678901234567890123", NULL, NULL, false },
		{ "", NULL, NULL, true }, { "&&=&x", NULL, NULL, true },
		{ "code=", "", NULL, true }, { "code=a%20b+c&state=s", "a b c", NULL, true },
		{ "error=access_denied&code=", "", "access_denied", true },
		{ "xcode=1&code=2&Code=3", "2", NULL, true },
	};
	char state[LOGIN_STATE_SIZE], *big = mem_alloc(IDP_QUERY_MAX + 2);

	for (size_t i = 0; i < array_size(rows); i++) {
		struct callback c = { 0 };
		struct err err = { 0 };
		bool ok = callback_parse(span_str(rows[i].query), &c, &err);

		ck_assert_msg(ok == rows[i].ok, "%s: %s", rows[i].query, err.msg);
		if (rows[i].code)
			ck_assert_str_eq(c.code, rows[i].code);
		if (rows[i].error)
			ck_assert_str_eq(c.error, rows[i].error);
		callback_done(&c);
	}
	memset(big, 'a', IDP_QUERY_MAX + 1);
	ck_assert(!callback_parse(span_str(big), &(struct callback){ 0 }, NULL));
	free(big);
	ck_assert(!login_query_state(SPAN("state=short"), state));
	ck_assert(!login_query_state(SPAN("code=1"), state));
	ck_assert(login_query_state(SPAN("state=0123456789012345678901234567890123456789012"), state));
	ck_assert_str_eq(state, "0123456789012345678901234567890123456789012");
}
END_TEST

START_TEST(token_answers)
{
	static const struct { const char *json; bool ok; } rows[] = {
		{ "", false }, { "[]", false }, { "{", false }, { "{\"id_token\":7}", false },
		{ "{\"id_token\":\"\"}", false }, { "{\"id_token\":\"a\\nb\"}", false },
		{ "{\"id_token\":\"a\",\"id_token\":\"b\"}", false }, { "{\"error\":[1]}", false },
		{ "{\"error\":\"x\"}", true }, { "{}", true },
		{ "{\"id_token\":\"a.b.c\",\"refresh_token\":null,\"expires_in\":1e5}", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct token_answer t = { 0 };
		struct err err = { 0 };

		ck_assert_msg(token_answer_parse(span_str(rows[i].json), &t, &err) == rows[i].ok, "%s", rows[i].json);
		token_answer_done(&t);
	}
}
END_TEST

static const char description[] =
	"{\"issuer\":\"https://idp.example.edu\",\"authorization_endpoint\":\"https://idp.example.edu/auth?x=y\","
	"\"token_endpoint\":\"https://idp.example.edu/token\",\"jwks_uri\":\"https://keys.example.edu/jwks\"}";

START_TEST(descriptions)
{
	static const struct { const char *change; bool ok; } rows[] = {
		{ "{\"issuer\":\"https://idp.example.edu/\"}", false }, { "{\"issuer\":null}", false },
		{ "{\"issuer\":\"https://IDP.example.edu\"}", false },
		{ "{\"authorization_endpoint\":null}", false }, { "{\"token_endpoint\":null}", false },
		{ "{\"jwks_uri\":null}", false }, { "{\"jwks_uri\":\"http://keys.example.edu/jwks\"}", false },
		{ "{\"jwks_uri\":\"file:///etc/passwd\"}", false }, { "{\"token_endpoint\":\"https://\"}", false },
		{ "{\"authorization_endpoint\":\"https://idp.example.edu/a b\"}", false },
		{ "{\"authorization_endpoint\":\"javascript:alert(1)\"}", false },
		{ "{\"authorization_endpoint\":\"https://idp.example.edu/#f\"}", false },
		{ "{\"userinfo_endpoint\":\"http://idp.example.edu/me\"}", false },
		{ "{\"userinfo_endpoint\":7}", false },
		{ NULL, true }, { "{\"userinfo_endpoint\":\"https://idp.example.edu/me\"}", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		json_t *o = signer_merge(description, rows[i].change);
		char *text = json_dumps(o, 0), *url;
		struct discovery d = { 0 };
		struct err err = { 0 };

		ck_assert_msg(discovery_parse(span_str(text), "https://idp.example.edu", &d, &err) == rows[i].ok,
		              "%s", rows[i].change);
		discovery_done(&d);
		free(text);
		json_decref(o);
		url = discovery_url(i & 1 ? "https://a/b" : "https://a/b/");
		ck_assert_str_eq(url, "https://a/b/.well-known/openid-configuration");
		free(url);
	}
}
END_TEST

static bool has(struct span text, const char *part)
{
	return memmem(text.ptr, text.len, part, strlen(part));
}

START_TEST(an_attempt_asks_for_everything)
{
	char *acr[] = { "gold", "silver" };
	struct provider p = {
		.issuer = "https://idp.example.edu", .client_id = "reeve", .device_client_id = "dev", .prompt = "",
		.acr_values = { acr, NULL, 2 }, .max_age = 3600,
	};
	struct login_options o = { .redirect_uri = "https://hub/login/callback?a", .max_age = -1 };
	struct buf params = { 0 };
	struct login *a = login_new(&p, "uni", &o, (struct wall){ 100 }, (struct boot){ 5 }, &params), *b;
	struct span s = buf_span(&params);

	ck_assert(has(s, "response_type=code") && has(s, "code_challenge_method=S256"));
	ck_assert(has(s, "redirect_uri=https%3A%2F%2Fhub%2Flogin%2Fcallback%3Fa"));
	ck_assert(has(s, "scope=openid%20profile%20email"));
	ck_assert(has(s, "acr_values=gold%20silver") && has(s, "max_age=3600"));
	ck_assert(has(s, a->state) && has(s, a->nonce) && !has(s, a->verifier));
	ck_assert(!has(s, "prompt=") && !has(s, "login_hint"));
	ck_assert_ptr_null(a->acr);             /* the row's acr is a wish; MFA is judged by the rows */
	ck_assert_int_eq(a->max_age, 3600);
	ck_assert_uint_eq(strlen(a->state), 43);
	ck_assert_uint_eq(strlen(a->verifier), 43);
	login_set_url(a, "https://idp.example.edu/auth?x=y", s);
	ck_assert(has(span_str(login_url(a)), "/auth?x=y&response_type=code"));
	buf_wipe_done(&params);
	o = (struct login_options){ .redirect_uri = "http://127.0.0.1:1/cb", .device = true, .max_age = 0,
		.nonce = "0123456789012345678901234567890123456789012", .acr_values = "gold", .prompt = "login",
		.login_hint = "a&b=c" };
	b = login_new(&p, "uni", &o, (struct wall){ 100 }, (struct boot){ 5 }, &params);
	s = buf_span(&params);
	ck_assert(has(s, "nonce=0123456789012345678901234567890123456789012"));
	ck_assert(has(s, "max_age=0") && has(s, "acr_values=gold&") && has(s, "prompt=login"));
	ck_assert(has(s, "login_hint=a%26b%3Dc"));
	ck_assert_str_eq(b->acr, "gold");
	ck_assert_str_eq(b->client_id, "dev");
	ck_assert(strcmp(a->state, b->state) != 0 && strcmp(a->verifier, b->verifier) != 0);
	login_set_url(b, "https://idp.example.edu/auth", SPAN("a=b"));
	ck_assert_str_eq(login_url(b), "https://idp.example.edu/auth?a=b");
	buf_wipe_done(&params);
	login_free(a);
	login_free(b);
}
END_TEST

START_TEST(the_binding_is_as_written)
{
	unsigned char key[DEVICE_KEY_SIZE], opening[OPENING_SIZE];
	char nonce[BINDING_NONCE_SIZE];

	for (unsigned i = 0; i < 32; i++) {
		key[i] = (unsigned char)i;
		opening[i] = (unsigned char)(100 + i);
	}
	binding_nonce(key, opening, nonce);
	ck_assert_str_eq(nonce, "QwkFRd6aPO2kEXyyF5wn_RxCGJz7fxOB2l8MFh50sHg");
	key[31] ^= 1;
	binding_nonce(key, opening, nonce);
	ck_assert_str_ne(nonce, "QwkFRd6aPO2kEXyyF5wn_RxCGJz7fxOB2l8MFh50sHg");
}
END_TEST

UNIT_MAIN("idp_login", callbacks, token_answers, descriptions, an_attempt_asks_for_everything,
          the_binding_is_as_written)
