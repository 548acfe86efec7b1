/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Evidence, as an endpoint checks it alone: who may pass for whom, and until when. */
#include "idp/evidence.h"
#include "tests/unit/main.h"
#include "tests/unit/signer.h"

#include <stdio.h>

#define LOGIN  INT64_C(1790000000)      /* the person proved themselves */
#define EXP    (LOGIN + 300)

static const struct provider base = {
	.issuer = "https://idp.example.edu", .client_id = "reeve", .device_client_id = "reeve-device",
	.login_claim = "email", .groups_claim = "groups", .require_mfa = true, .leeway = 30,
};

/* A key, an opening, and a token of that provider for them. */
struct world {
	cjose_jwk_t  *signer;
	struct jwks  *keys;
	struct provider p;
	unsigned char key[DEVICE_KEY_SIZE], opening[OPENING_SIZE];
	struct buf    opening_text;
	char         *token;
};

static char *domains[] = { "example.edu" };

static char *token_for(const struct world *w, const char *change)
{
	char nonce[BINDING_NONCE_SIZE], claims[1024], *payload, *token;
	scoped_json json_t *h = json_pack("{s:s,s:s}", "alg", "ES256", "kid", "k"), *c = NULL;

	binding_nonce(w->key, w->opening, nonce);
	snprintf(claims, sizeof(claims),
	         "{\"iss\":\"https://idp.example.edu\",\"sub\":\"1\",\"aud\":\"reeve-device\",\"exp\":%lld,\"iat\":%lld,"
	         "\"auth_time\":%lld,\"nonce\":\"%s\",\"email\":\"staff@example.edu\",\"email_verified\":true,"
	         "\"amr\":[\"pwd\",\"otp\"],\"groups\":[\"lab\"]}",
	         (long long)EXP, (long long)LOGIN, (long long)LOGIN, nonce);
	c = signer_merge(claims, change);
	payload = json_dumps(c, 0);
	token = signer_token(w->signer, h, span_str(payload));
	free(payload);
	return token;
}

static void world_init(struct world *w)
{
	char *text;

	memset(w, 0, sizeof(*w));
	w->p = base;
	w->p.domains = (struct conf_strs){ domains, NULL, 1 };
	w->signer = signer_new(true, "k");
	text = signer_jwks(&w->signer, 1);
	w->keys = jwks_parse(span_str(text), NULL);
	free(text);
	memset(w->key, 0x11, sizeof(w->key));
	memset(w->opening, 0x22, sizeof(w->opening));
	buf_init(&w->opening_text, 64);
	base64url_add(&w->opening_text, span_of(w->opening, sizeof(w->opening)));
	w->token = token_for(w, NULL);
}

static void world_done(struct world *w)
{
	cjose_jwk_release(w->signer);
	jwks_unref(w->keys);
	buf_done(&w->opening_text);
	free(w->token);
}

static enum token_reason check(const struct world *w, const char *token, int64_t max_age, bool old, int64_t now)
{
	struct identity who = { 0 };
	struct err err = { 0 };
	enum token_reason why = evidence_check(span_str(token), buf_span(&w->opening_text), w->key, w->keys, &w->p,
	                                       max_age, old, (struct wall){ now }, &who, &err);

	ck_assert((why == TOKEN_OK) == (err.code == ERR_NONE));
	if (why == TOKEN_OK) {
		ck_assert_str_eq(who.login, "staff@example.edu");
		ck_assert(who.mfa && who.n_groups == 1);
	}
	identity_done(&who);
	return why;
}

START_TEST(it_holds_for_one_key_and_one_client)
{
	struct world w;
	struct identity none = { 0 };
	char *other;

	world_init(&w);
	w.key[0] ^= 1;
	ck_assert_int_eq(check(&w, w.token, -1, false, LOGIN + 10), TOKEN_NONCE);
	w.key[0] ^= 1;
	buf_clear(&w.opening_text);
	base64url_add(&w.opening_text, SPAN("short"));
	ck_assert_int_eq(check(&w, w.token, -1, false, LOGIN + 10), TOKEN_NONCE);
	buf_clear(&w.opening_text);
	buf_add_str(&w.opening_text, "IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiJ");    /* surplus bits */
	ck_assert_int_eq(check(&w, w.token, -1, false, LOGIN + 10), TOKEN_NONCE);
	buf_clear(&w.opening_text);
	base64url_add(&w.opening_text, span_of(w.opening, sizeof(w.opening)));
	/* a login at the portal, with its key offered in the nonce: another audience */
	other = token_for(&w, "{\"aud\":\"reeve\"}");
	ck_assert_int_eq(check(&w, other, -1, false, LOGIN + 10), TOKEN_AUD);
	free(other);
	other = token_for(&w, "{\"aud\":[\"reeve\",\"reeve-device\"]}");
	ck_assert_int_eq(check(&w, other, -1, false, LOGIN + 10), TOKEN_AUD);
	free(other);
	other = token_for(&w, "{\"nonce\":null}");
	ck_assert_int_eq(check(&w, other, -1, false, LOGIN + 10), TOKEN_NONCE);
	free(other);
	other = token_for(&w, "{\"amr\":[\"pwd\"]}");
	ck_assert_int_eq(check(&w, other, -1, false, LOGIN + 10), TOKEN_MFA);
	free(other);
	other = token_for(&w, "{\"email\":\"staff@example.org\"}");
	ck_assert_int_eq(check(&w, other, -1, false, LOGIN + 10), TOKEN_LOGIN);
	free(other);
	w.p.device_client_id = "";
	ck_assert_int_eq(check(&w, w.token, -1, false, LOGIN + 10), TOKEN_CLAIM);
	w.p.device_client_id = "reeve-device";
	w.p.issuer = "https://idp.example.org";
	ck_assert_int_eq(check(&w, w.token, -1, false, LOGIN + 10), TOKEN_ISS);
	w.p.issuer = base.issuer;
	ck_assert_int_eq(evidence_check(SPAN(""), buf_span(&w.opening_text), w.key, w.keys, &w.p, -1, false,
	                                (struct wall){ LOGIN }, &none, NULL), TOKEN_SIZE);
	ck_assert_int_eq(check(&w, w.token, -1, false, LOGIN + 10), TOKEN_OK);
	world_done(&w);
}
END_TEST

START_TEST(it_ages_from_the_login)
{
	static const struct { int64_t max_age; bool old; int64_t now; enum token_reason why; } rows[] = {
		/* a first check wants a token that is still alive */
		{ -1, false, EXP + 29, TOKEN_OK }, { -1, false, EXP + 30, TOKEN_EXP },
		/* one that was checked in time counts on, as long as the login is fresh enough */
		{ -1, true, EXP + 86400, TOKEN_OK },
		{ 3600, true, LOGIN + 3630, TOKEN_OK }, { 3600, true, LOGIN + 3631, TOKEN_AUTH_TIME },
		{ 0, false, LOGIN + 30, TOKEN_OK }, { 0, false, LOGIN + 31, TOKEN_AUTH_TIME },
		/* a clock that runs behind */
		{ -1, false, LOGIN - 30, TOKEN_OK }, { -1, false, LOGIN - 31, TOKEN_IAT },
		{ 3600, true, LOGIN - 3600, TOKEN_IAT },
	};
	struct world w;
	char *undated;

	world_init(&w);
	for (size_t i = 0; i < array_size(rows); i++) {
		enum token_reason why = check(&w, w.token, rows[i].max_age, rows[i].old, rows[i].now);

		ck_assert_msg(why == rows[i].why, "row %zu: want %s, got %s", i, token_reason_name(rows[i].why),
		              token_reason_name(why));
	}
	undated = token_for(&w, "{\"auth_time\":null}");
	ck_assert_int_eq(check(&w, undated, 3600, false, LOGIN + 10), TOKEN_AUTH_TIME);
	ck_assert_int_eq(check(&w, undated, -1, false, LOGIN + 10), TOKEN_OK);
	free(undated);
	world_done(&w);
}
END_TEST

UNIT_MAIN("idp_evidence", it_holds_for_one_key_and_one_client, it_ages_from_the_login)
