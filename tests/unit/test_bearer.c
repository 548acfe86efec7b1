/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tests/unit/signer.h"

#include "idp/bearer.h"
#include "tests/unit/main.h"

#define NOW 1790000000

static cjose_jwk_t *key, *stranger;
static struct jwks *keys;

static const char header_base[] = "{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"at+jwt\"}";
static const char claims_base[] =
	"{\"iss\":\"https://idp.example.edu\",\"sub\":\"robot\",\"aud\":[\"api://reeve\",\"other\"],"
	"\"exp\":1790000300,\"iat\":1789999990,\"client_id\":\"robot-client\",\"scope\":\"reeve.read reeve.scim\"}";

static void set_up(void)
{
	struct err err = { 0 };

	key = signer_new(true, "ec");
	stranger = signer_new(true, "ec");
	cjose_jwk_t *all[] = { key };
	char        *text = signer_jwks(all, 1);
	keys = jwks_parse(span_str(text), &err);
	ck_assert_msg(keys != NULL, "%s", err.msg);
	free(text);
}

static void tear_down(void)
{
	jwks_unref(keys);
	cjose_jwk_release(key);
	cjose_jwk_release(stranger);
}

static enum token_reason check(const cjose_jwk_t *with, const char *header, const char *claims,
			       struct bearer_token *ret)
{
	const struct bearer_want want = { "https://idp.example.edu", "api://reeve", JWS_ALL, 30 };
	scoped_json json_t *h = signer_merge(header_base, header), *c = signer_merge(claims_base, claims);
	char       *payload = json_dumps(c, JSON_COMPACT);
	char       *token = signer_token(with, h, span_str(payload));
	struct err  err = { 0 };
	enum token_reason why =
		bearer_check(span_str(token), keys, &want, (struct wall){ NOW }, ret, &err);

	free(payload);
	free(token);
	return why;
}

static const struct {
	const char       *header, *claims;      /* merged into the good ones; null removes */
	enum token_reason why;
} refused[] = {
	{ "{\"typ\":\"logout+jwt\"}", "{}", TOKEN_TYP },
	{ "{\"typ\":\"dpop+jwt\"}", "{}", TOKEN_TYP },
	{ "{}", "{\"iss\":\"https://idp.example.edu/\"}", TOKEN_ISS },
	{ "{}", "{\"iss\":null}", TOKEN_ISS },
	{ "{}", "{\"aud\":\"reeve\"}", TOKEN_AUD },
	{ "{}", "{\"aud\":[\"api://reeve2\"]}", TOKEN_AUD },
	{ "{}", "{\"aud\":{\"api://reeve\":1}}", TOKEN_AUD },
	{ "{}", "{\"aud\":null}", TOKEN_AUD },
	/* somebody's ID token */
	{ "{}", "{\"nonce\":\"N0\"}", TOKEN_TYP },
	{ "{}", "{\"at_hash\":\"x\"}", TOKEN_TYP },
	{ "{}", "{\"events\":{}}", TOKEN_TYP },
	{ "{}", "{\"exp\":1789999970}", TOKEN_EXP },
	{ "{}", "{\"exp\":null}", TOKEN_EXP },
	{ "{}", "{\"exp\":\"1790000300\"}", TOKEN_EXP },
	{ "{}", "{\"exp\":-1}", TOKEN_EXP },
	{ "{}", "{\"exp\":1790090000}", TOKEN_EXP },    /* longer than a day */
	{ "{}", "{\"iat\":null}", TOKEN_IAT },
	{ "{}", "{\"iat\":1790000031}", TOKEN_IAT },
	{ "{}", "{\"nbf\":1790000031}", TOKEN_NBF },
	{ "{}", "{\"nbf\":\"x\"}", TOKEN_NBF },
	{ "{}", "{\"sub\":null}", TOKEN_SUB },
	{ "{}", "{\"sub\":\"\"}", TOKEN_SUB },
	{ "{}", "{\"sub\":\"a\\nb\"}", TOKEN_SUB },
	{ "{}", "{\"client_id\":\"a\\tb\"}", TOKEN_AZP },
	{ "{}", "{\"scope\":{\"a\":1}}", TOKEN_CLAIM },
	{ "{}", "{\"roles\":[1]}", TOKEN_CLAIM },
};

START_TEST(test_refused)
{
	struct bearer_token t = { 0 };

	set_up();
	ck_assert(check(stranger, "{}", "{}", &t) == TOKEN_SIGNATURE);
	for (size_t i = 0; i < array_size(refused); i++) {
		enum token_reason why = check(key, refused[i].header, refused[i].claims, &t);

		ck_assert_msg(why == refused[i].why, "row %zu: %s", i, token_reason_name(why));
		ck_assert(t.sub == NULL);
	}
	tear_down();
}
END_TEST

START_TEST(test_right)
{
	struct bearer_token t = { 0 };

	set_up();
	ck_assert(check(key, "{}", "{}", &t) == TOKEN_OK);
	ck_assert_str_eq(t.sub, "robot");
	ck_assert_str_eq(t.client, "robot-client");
	ck_assert(bearer_has_scope(&t, "reeve.read") && bearer_has_scope(&t, "reeve.scim"));
	/* a word of it is none, and neither are two */
	ck_assert(!bearer_has_scope(&t, "reeve") && !bearer_has_scope(&t, "reeve.read reeve.scim") && !bearer_has_scope(&t, ""));
	ck_assert(t.expires.sec == 1790000300);
	bearer_token_done(&t);
	/* Okta's list, Entra's roles, no type, one audience */
	ck_assert(check(key, "{\"typ\":null}",
			"{\"scope\":null,\"scp\":[\"a\"],\"roles\":[\"b\"],\"aud\":\"api://reeve\",\"client_id\":null,\"appid\":\"c\"}",
			&t) == TOKEN_OK);
	ck_assert(bearer_has_scope(&t, "a") && bearer_has_scope(&t, "b") && !bearer_has_scope(&t, "reeve.read"));
	ck_assert_str_eq(t.client, "c");
	bearer_token_done(&t);
	/* no scope at all is a token that may nothing */
	ck_assert(check(key, "{}", "{\"scope\":null}", &t) == TOKEN_OK);
	ck_assert(t.n_scopes == 0 && !bearer_has_scope(&t, ""));
	bearer_token_done(&t);
	tear_down();
}
END_TEST

UNIT_MAIN("bearer", test_refused, test_right)
