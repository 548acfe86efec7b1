/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tests/unit/signer.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/hujson.h"
#include "idp/jws.h"
#include "idp/token.h"
#include "tests/unit/main.h"

#include <stdio.h>

#define NOW 1790000000

static cjose_jwk_t *ec, *rsa, *stranger;
static struct jwks *keys;

static const char header_base[] = "{\"alg\":\"ES256\",\"kid\":\"ec\",\"typ\":\"JWT\"}";
static const char claims_base[] =
	"{\"iss\":\"https://idp.example.edu\",\"sub\":\"1234\",\"aud\":\"reeve\",\"exp\":1790000300,"
	"\"iat\":1789999990,\"auth_time\":1789999900,\"nonce\":\"N0\",\"acr\":\"mfa\",\"amr\":[\"pwd\",\"otp\"]}";

static void set_up(void)
{
	struct err err = { 0 };
	char *text;

	ec = signer_new(true, "ec");
	rsa = signer_new(false, "rsa");
	stranger = signer_new(true, "ec");

	cjose_jwk_t *all[] = { ec, rsa };

	text = signer_jwks(all, 2);
	keys = jwks_parse(span_str(text), &err);
	ck_assert_msg(keys != NULL, "%s", err.msg);
	ck_assert_uint_eq(jwks_count(keys), 2);
	free(text);
}

static void tear_down(void)
{
	jwks_unref(keys);
	cjose_jwk_release(ec);
	cjose_jwk_release(rsa);
	cjose_jwk_release(stranger);
}

static struct token_want want_base(void)
{
	return (struct token_want){
		.issuer = "https://idp.example.edu", .client_id = "reeve", .algs = JWS_ALL,
		.nonce = SPAN("N0"), .leeway = 30, .max_age = -1, .max_issued = 600,
	};
}

static char *token_of(const cjose_jwk_t *key, const char *header, const char *claims)
{
	scoped_json json_t *h = signer_merge(header_base, header), *c = signer_merge(claims_base, claims);
	char *payload = json_dumps(c, JSON_COMPACT), *token = signer_token(key, h, span_str(payload));

	free(payload);
	return token;
}

static enum token_reason check(const char *token, const struct token_want *want, int64_t now)
{
	json_t *claims = NULL;
	struct err err = { 0 };
	enum token_reason why = token_check(span_str(token), keys, want, (struct wall){ now }, &claims, &err);

	ck_assert_msg((why == TOKEN_OK) == (claims != NULL), "claims without an ok");
	ck_assert_msg((why == TOKEN_OK) == (err.code == ERR_NONE), "%s: %s", token_reason_name(why), err.msg);
	json_decref(claims);
	return why;
}

START_TEST(each_claim_has_its_reason)
{
	static const struct { const char *header, *claims; enum token_reason why; } rows[] = {
		{ "{\"typ\":\"at+jwt\"}", NULL, TOKEN_TYP },
		{ "{\"typ\":\"logout+jwt\"}", NULL, TOKEN_TYP },
		{ "{\"typ\":7}", NULL, TOKEN_TYP },
		{ "{\"typ\":null}", NULL, TOKEN_OK },
		{ "{\"typ\":\"application/jwt\"}", NULL, TOKEN_OK },
		{ "{\"crit\":[\"exp\"]}", NULL, TOKEN_CRIT },
		{ "{\"crit\":[]}", NULL, TOKEN_CRIT },
		{ "{\"b64\":true}", NULL, TOKEN_CRIT },
		{ "{\"kid\":\"other\"}", NULL, TOKEN_KID },
		{ "{\"kid\":\"rsa\"}", NULL, TOKEN_KEY },
		{ "{\"kid\":\"\"}", NULL, TOKEN_KID },
		{ "{\"kid\":5}", NULL, TOKEN_KID },
		{ "{\"kid\":null}", NULL, TOKEN_OK },                     /* one key could be meant */
		{ NULL, "{\"iss\":null}", TOKEN_ISS },
		{ NULL, "{\"iss\":\"https://idp.example.edu/\"}", TOKEN_ISS },
		{ NULL, "{\"iss\":[\"https://idp.example.edu\"]}", TOKEN_ISS },
		{ NULL, "{\"aud\":null}", TOKEN_AUD },
		{ NULL, "{\"aud\":\"reeve2\"}", TOKEN_AUD },
		{ NULL, "{\"aud\":[]}", TOKEN_AUD },
		{ NULL, "{\"aud\":[\"reeve\",\"other\"]}", TOKEN_AUD },
		{ NULL, "{\"aud\":[\"reeve\",\"other\"],\"azp\":\"reeve\"}", TOKEN_AUD },
		{ NULL, "{\"aud\":[\"reeve\",7]}", TOKEN_AUD },
		{ NULL, "{\"aud\":[\"reeve\"]}", TOKEN_OK },
		{ NULL, "{\"azp\":\"other\"}", TOKEN_AZP },
		{ NULL, "{\"azp\":[\"reeve\"]}", TOKEN_AZP },
		{ NULL, "{\"azp\":\"reeve\"}", TOKEN_OK },
		{ NULL, "{\"sub\":null}", TOKEN_SUB },
		{ NULL, "{\"sub\":\"\"}", TOKEN_SUB },
		{ NULL, "{\"sub\":1234}", TOKEN_SUB },
		{ NULL, "{\"sub\":\"a\\u0007b\"}", TOKEN_SUB },
		{ NULL, "{\"events\":{}}", TOKEN_EVENT },
		{ NULL, "{\"exp\":null}", TOKEN_EXP },
		{ NULL, "{\"exp\":\"1790000300\"}", TOKEN_EXP },
		{ NULL, "{\"exp\":1789999970}", TOKEN_EXP },              /* dead at exp, leeway counted */
		{ NULL, "{\"exp\":1789999971}", TOKEN_OK },
		{ NULL, "{\"exp\":-1}", TOKEN_EXP },
		{ NULL, "{\"exp\":9223372036854775807}", TOKEN_EXP },     /* no time that our sums can hold */
		{ NULL, "{\"exp\":1e300}", TOKEN_EXP },
		{ NULL, "{\"exp\":1790000300.5}", TOKEN_OK },
		{ NULL, "{\"exp\":true}", TOKEN_EXP },
		{ NULL, "{\"iat\":null}", TOKEN_IAT },
		{ NULL, "{\"iat\":1790000031}", TOKEN_IAT },
		{ NULL, "{\"iat\":1790000030}", TOKEN_OK },
		{ NULL, "{\"iat\":1789999369}", TOKEN_IAT },              /* older than asked */
		{ NULL, "{\"iat\":1789999370}", TOKEN_OK },
		{ NULL, "{\"nbf\":1790000031}", TOKEN_NBF },
		{ NULL, "{\"nbf\":\"x\"}", TOKEN_NBF },
		{ NULL, "{\"nbf\":1790000030}", TOKEN_OK },
		{ NULL, "{\"nonce\":null}", TOKEN_NONCE },
		{ NULL, "{\"nonce\":\"N1\"}", TOKEN_NONCE },
		{ NULL, "{\"nonce\":\"N00\"}", TOKEN_NONCE },
		{ NULL, "{\"nonce\":[\"N0\"]}", TOKEN_NONCE },
		{ NULL, "{\"auth_time\":1790000031}", TOKEN_AUTH_TIME },
		{ NULL, "{\"auth_time\":\"now\"}", TOKEN_AUTH_TIME },
		{ NULL, "{\"auth_time\":null}", TOKEN_OK },
		{ NULL, NULL, TOKEN_OK },
	};
	const struct token_want want = want_base();

	for (size_t i = 0; i < array_size(rows); i++) {
		char *token = token_of(ec, rows[i].header, rows[i].claims);
		enum token_reason why = check(token, &want, NOW);

		ck_assert_msg(why == rows[i].why, "row %zu: %s %s: want %s, got %s", i,
		              rows[i].header ? rows[i].header : "", rows[i].claims ? rows[i].claims : "",
		              token_reason_name(rows[i].why), token_reason_name(why));
		free(token);
	}
}
END_TEST

START_TEST(what_was_asked_for_must_be_shown)
{
	struct token_want want = want_base();
	char *token = token_of(ec, NULL, NULL), *none = token_of(ec, NULL, "{\"auth_time\":null,\"acr\":null}");

	want.max_age = 69;      /* 100 s ago, 30 of leeway */
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_AUTH_TIME);
	ck_assert_int_eq(check(none, &want, NOW), TOKEN_AUTH_TIME);
	want.max_age = 70;
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_OK);
	want.acr = "phishing-resistant silver";
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_ACR);
	want.acr = "mf";
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_ACR);
	want.acr = "gold mfa";
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_OK);
	want.max_age = -1;
	ck_assert_int_eq(check(none, &want, NOW), TOKEN_ACR);
	want = want_base();
	want.nonce = (struct span){ NULL, 0 };
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_NONCE);
	want.nonce_any = true;
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_OK);
	ck_assert_int_eq(check(token, &want, NOW + 331), TOKEN_EXP);
	want.exp_any = true;
	want.max_issued = -1;
	ck_assert_int_eq(check(token, &want, NOW + 331), TOKEN_OK);
	/* a clock that was set back an hour, or forth */
	want = want_base();
	ck_assert_int_eq(check(token, &want, NOW - 3600), TOKEN_IAT);
	ck_assert_int_eq(check(token, &want, NOW + 3600), TOKEN_EXP);
	free(token);
	free(none);
}
END_TEST

START_TEST(signatures_and_keys)
{
	struct token_want want = want_base();
	char *good = token_of(ec, NULL, NULL), *forged = token_of(stranger, NULL, NULL);
	char *other = token_of(rsa, "{\"alg\":\"PS256\",\"kid\":\"rsa\"}", NULL);
	char *confused = token_of(rsa, "{\"alg\":\"RS256\",\"kid\":\"ec\"}", NULL);
	size_t len = strlen(good);

	ck_assert_int_eq(check(forged, &want, NOW), TOKEN_SIGNATURE);
	ck_assert_int_eq(check(confused, &want, NOW), TOKEN_KEY);
	ck_assert_int_eq(check(other, &want, NOW), TOKEN_OK);
	want.algs = JWS_ES256 | JWS_RS256;
	ck_assert_int_eq(check(other, &want, NOW), TOKEN_ALG);
	want.algs = 0;
	ck_assert_int_eq(check(good, &want, NOW), TOKEN_ALG);
	want = want_base();
	/* every byte of the token counts */
	for (size_t i = 0; i < len; i += 7) {
		char was = good[i];

		if (was == '.')
			continue;
		good[i] = was == 'A' ? 'B' : 'A';
		ck_assert_msg(check(good, &want, NOW) != TOKEN_OK, "byte %zu", i);
		good[i] = was;
	}
	ck_assert_int_eq(check(good, &want, NOW), TOKEN_OK);
	free(good);
	free(forged);
	free(other);
	free(confused);
}
END_TEST

/* Header and payload as they stand; the signature is that of a good token. */
static char *raw_token(const char *header, const char *payload)
{
	char *good = token_of(ec, NULL, NULL), *copy;
	struct buf b;

	buf_init(&b, 64 << 10);
	base64url_add(&b, span_str(header));
	buf_add_char(&b, '.');
	base64url_add(&b, span_str(payload));
	buf_add_str(&b, strrchr(good, '.'));
	copy = buf_take(&b);
	free(good);
	return copy;
}

START_TEST(form_comes_first)
{
	static const struct { const char *token; enum token_reason why; } plain[] = {
		{ "", TOKEN_SIZE }, { ".", TOKEN_FORM }, { "..", TOKEN_FORM }, { "a.b", TOKEN_FORM },
		{ "a.b.c.d", TOKEN_FORM }, { "a.b.c.d.e", TOKEN_FORM }, { "!.b.c", TOKEN_BASE64 },
		{ "e30=.b.c", TOKEN_BASE64 }, { "e30 .b.c", TOKEN_BASE64 }, { "e30.b.c", TOKEN_ALG },
		{ "W10.b.c", TOKEN_JSON }, { "IjEi.b.c", TOKEN_JSON }, { "eyJ9.b.c", TOKEN_JSON },
		{ "e31.b.c", TOKEN_BASE64 },      /* bits behind the last byte are not zero */
	};
	static const struct { const char *header; enum token_reason why; } rows[] = {
		{ "{\"alg\":\"none\"}", TOKEN_ALG }, { "{\"alg\":\"None\"}", TOKEN_ALG },
		{ "{\"alg\":\"HS256\",\"kid\":\"ec\"}", TOKEN_ALG }, { "{\"alg\":\"eddsa\"}", TOKEN_ALG },
		{ "{\"alg\":\"Ed448\"}", TOKEN_ALG }, { "{\"alg\":\"EdDSA\",\"kid\":\"ec\"}", TOKEN_KEY },
		{ "{\"alg\":\"ES256K\"}", TOKEN_ALG }, { "{\"alg\":\"es256\"}", TOKEN_ALG },
		{ "{\"alg\":[\"ES256\"]}", TOKEN_ALG }, { "{\"alg\":\"RS1\"}", TOKEN_ALG },
		{ "{\"alg\":\"ES256\\u0000\"}", TOKEN_JSON },
		{ "{\"alg\":\"ES256\",\"alg\":\"none\"}", TOKEN_JSON },
		{ "{\"alg\":\"none\",\"alg\":\"ES256\"}", TOKEN_JSON },
		{ "{\"alg\":\"ES256\",\"kid\":\"ec\",\"kid\":\"rsa\"}", TOKEN_JSON },
		{ "{\"alg\":\"ES256\",\"kid\":\"ec\"}x", TOKEN_JSON },
		{ "{\"alg\":\"ES256\",\"kid\":\"ec\",\"crit\":[\"x\"]}", TOKEN_CRIT },
		{ "{\"alg\":\"ES256\",\"kid\":\"ec\",\"jwk\":{}}", TOKEN_SIGNATURE },
	};
	struct token_want want = want_base();
	char *token, *big;

	for (size_t i = 0; i < array_size(plain); i++) {
		enum token_reason why = check(plain[i].token, &want, NOW);

		ck_assert_msg(why == plain[i].why, "\"%s\": want %s, got %s", plain[i].token,
		              token_reason_name(plain[i].why), token_reason_name(why));
	}
	for (size_t i = 0; i < array_size(rows); i++) {
		enum token_reason why;

		token = raw_token(rows[i].header, claims_base);
		why = check(token, &want, NOW);
		ck_assert_msg(why == rows[i].why, "%s: want %s, got %s", rows[i].header,
		              token_reason_name(rows[i].why), token_reason_name(why));
		free(token);
	}
	token = token_of(ec, NULL, NULL);
	*(strrchr(token, '.') + 1) = 0;
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_SIGNATURE);
	free(token);
	big = mem_alloc(TOKEN_MAX + 2);
	memset(big, 'a', TOKEN_MAX + 1);
	ck_assert_int_eq(check(big, &want, NOW), TOKEN_SIZE);
	free(big);
}
END_TEST

START_TEST(payloads_are_json_objects_once)
{
	static const char *const rows[] = {
		"", "[]", "\"x\"", "{", "{\"iss\":1,\"iss\":1}", "{\"iss\":\"https://idp.example.edu\"} ,",
		"{\"a\":{\"b\":1,\"b\":2}}", "\xff\xfe", "{\"a\":\"\xff\"}", "{\"exp\":99999999999999999999}",
	};
	const struct token_want want = want_base();

	for (size_t i = 0; i < array_size(rows); i++) {
		scoped_json json_t *h = signer_merge(header_base, NULL);
		char *token = signer_token(ec, h, span_str(rows[i]));

		ck_assert_msg(check(token, &want, NOW) == TOKEN_JSON, "%s", rows[i]);
		free(token);
	}
}
END_TEST

START_TEST(at_hash_binds_the_access_token)
{
	struct token_want want = want_base();
	scoped_buf struct buf half = { 0 }, claim = { 0 };
	char *token, *wrong, *none = token_of(ec, NULL, NULL);

	/* the example of OpenID Connect Core 1.0, appendix A.4 */
	buf_init(&half, 64);
	jws_half_hash(JWS_RS256, SPAN("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), &half);
	ck_assert_str_eq(half.ptr, "77QmUPtjPfzWtF2AnpK9RQ");
	buf_init(&claim, 128);
	buf_addf(&claim, "{\"at_hash\":\"%s\"}", half.ptr);
	token = token_of(ec, NULL, claim.ptr);
	wrong = token_of(ec, NULL, "{\"at_hash\":\"77QmUPtjPfzWtF2AnpK9RR\"}");
	want.access_token = SPAN("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y");
	ck_assert_int_eq(check(wrong, &want, NOW), TOKEN_AT_HASH);
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_OK);
	ck_assert_int_eq(check(none, &want, NOW), TOKEN_OK);
	want.access_token = SPAN("another");
	ck_assert_int_eq(check(token, &want, NOW), TOKEN_AT_HASH);
	free(token);
	free(wrong);
	free(none);
}
END_TEST

START_TEST(logout_tokens)
{
#define EVENT "\"events\":{\"http://schemas.openid.net/event/backchannel-logout\":{}}"
	static const struct { const char *header, *claims; enum token_reason why; } rows[] = {
		{ NULL, "{\"jti\":\"j\",\"nonce\":null}", TOKEN_EVENT },
		{ NULL, "{\"jti\":\"j\"," EVENT "}", TOKEN_NONCE },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"events\":{\"http://schemas.openid.net/event/other\":{}}}", TOKEN_EVENT },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"events\":[]}", TOKEN_EVENT },
		{ NULL, "{\"nonce\":null," EVENT "}", TOKEN_CLAIM },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"sub\":null," EVENT "}", TOKEN_SUB },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"sid\":\"\"," EVENT "}", TOKEN_CLAIM },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"aud\":\"x\"," EVENT "}", TOKEN_AUD },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"iss\":\"x\"," EVENT "}", TOKEN_ISS },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"exp\":1," EVENT "}", TOKEN_EXP },
		{ "{\"kid\":\"other\"}", "{\"jti\":\"j\",\"nonce\":null," EVENT "}", TOKEN_KID },
		{ "{\"crit\":[\"exp\"]}", "{\"jti\":\"j\",\"nonce\":null," EVENT "}", TOKEN_CRIT },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"iat\":1789999369," EVENT "}", TOKEN_IAT },       /* stale, leeway counted */
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"iat\":1790000031," EVENT "}", TOKEN_IAT },       /* of the future */
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"iat\":null," EVENT "}", TOKEN_IAT },
		{ NULL, "{\"jti\":\"j\",\"nonce\":\"N0\"," EVENT "}", TOKEN_NONCE },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"sub\":\"\"," EVENT "}", TOKEN_SUB },
		{ NULL, "{\"jti\":7,\"nonce\":null," EVENT "}", TOKEN_CLAIM },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"exp\":null,\"iat\":null," EVENT "}", TOKEN_EXP },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"exp\":null,\"iat\":1789999800," EVENT "}", TOKEN_EXP },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"exp\":null,\"iat\":\"now\"," EVENT "}", TOKEN_EXP },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"exp\":\"never\"," EVENT "}", TOKEN_EXP },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"exp\":null,\"iat\":1789999950," EVENT "}", TOKEN_OK },
		{ "{\"typ\":\"at+jwt\"}", "{\"jti\":\"j\",\"nonce\":null," EVENT "}", TOKEN_TYP },
		{ "{\"typ\":\"logout+jwt\"}", "{\"jti\":\"j\",\"nonce\":null," EVENT "}", TOKEN_OK },
		{ NULL, "{\"jti\":\"j\",\"nonce\":null,\"sub\":null,\"sid\":\"s\"," EVENT "}", TOKEN_OK },
	};
	const struct token_want want = want_base();

	for (size_t i = 0; i < array_size(rows); i++) {
		char *token = token_of(ec, rows[i].header, rows[i].claims);
		struct logout l = { 0 };
		struct err err = { 0 };
		enum token_reason why = logout_check(span_str(token), keys, &want, (struct wall){ NOW }, &l, &err);

		ck_assert_msg(why == rows[i].why, "row %zu: want %s, got %s (%s)", i,
		              token_reason_name(rows[i].why), token_reason_name(why), err.msg);
		ck_assert((why == TOKEN_OK) == (l.jti != NULL));
		logout_done(&l);
		free(token);
	}
	/* Its algorithm is looked at as an ID token's is: none, and HS256 with whatever key. */
	static const char *const headers[] = { "eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9" };
	char *good = token_of(ec, NULL, "{\"jti\":\"j\",\"nonce\":null," EVENT "}");

	for (size_t i = 0; i < array_size(headers); i++) {
		scoped_buf struct buf token = { 0 };
		struct logout l = { 0 };
		struct err err = { 0 };

		buf_init(&token, TOKEN_MAX);
		buf_addf(&token, "%s%s", headers[i], strchr(good, '.'));
		ck_assert_int_eq(logout_check(buf_span(&token), keys, &want, (struct wall){ NOW }, &l, &err), TOKEN_ALG);
		ck_assert_ptr_null(l.jti);
	}
	free(good);
}
END_TEST

/* Our clock is `skew` seconds ahead of the provider's, or behind: for each second of an hour either way. */
START_TEST(clocks_that_do_not_agree)
{
	static const char fresh[] = "{\"iat\":1790000000,\"auth_time\":1790000000,\"exp\":1790000300}";
	static const char later[] = "{\"iat\":1790000000,\"auth_time\":1790000000,\"exp\":1790000300,"
				    "\"nbf\":1790000020}";
	static const char lasting[] = "{\"iat\":1790000000,\"auth_time\":1790000000,\"exp\":1790086400}";
	char *token = token_of(ec, NULL, fresh), *nbf = token_of(ec, NULL, later), *day = token_of(ec, NULL, lasting);
	struct token_want want = want_base(), exact = want_base(), young = want_base();

	exact.leeway = 0;
	young.max_age = 100;
	for (int64_t skew = -3700; skew <= 3700; skew++) {
		int64_t now = NOW + skew;
		/* not before it was issued; dead at exp, not after it: leeway counted both times */
		enum token_reason w = skew < -30 ? TOKEN_IAT : skew >= 330 ? TOKEN_EXP : TOKEN_OK;

		ck_assert_msg(check(token, &want, now) == w, "skew %lld", (long long)skew);
		w = skew < 0 ? TOKEN_IAT : skew >= 300 ? TOKEN_EXP : TOKEN_OK;
		ck_assert_msg(check(token, &exact, now) == w, "no leeway, skew %lld", (long long)skew);
		/* what lasts for a day is no login any more when an attempt's time is over */
		w = skew < -30 || skew > 630 ? TOKEN_IAT : TOKEN_OK;
		ck_assert_msg(check(day, &want, now) == w, "a day, skew %lld", (long long)skew);
		/* a proof that must be a hundred seconds young */
		w = skew < -30 ? TOKEN_IAT : skew >= 330 ? TOKEN_EXP : skew > 130 ? TOKEN_AUTH_TIME : TOKEN_OK;
		ck_assert_msg(check(token, &young, now) == w, "max_age, skew %lld", (long long)skew);
		if (skew >= -30 && skew < -10)
			ck_assert_msg(check(nbf, &want, now) == TOKEN_NBF, "nbf, skew %lld", (long long)skew);
		else if (skew >= -10 && skew < 330)
			ck_assert_msg(check(nbf, &want, now) == TOKEN_OK, "nbf, skew %lld", (long long)skew);
	}
	free(token);
	free(nbf);
	free(day);
}
END_TEST

/* A power of 65537 is one modulo every small prime, as the moduli of CVE-2017-15361 are;
 * twice more is an odd number of the same size that is none. */
START_TEST(keys_that_can_be_factored)
{
	unsigned char n[257] = { [256] = 1 };
	struct err err = { 0 };

	for (int i = 0; i < 128; i++) {                         /* n *= 65537 */
		unsigned carry = 0;
		unsigned char before[sizeof(n)];

		memcpy(before, n, sizeof(n));
		for (size_t j = sizeof(n); j-- > 0;) {
			unsigned sum = before[j] + (j + 2 < sizeof(n) ? before[j + 2] : 0u) + carry;

			n[j] = (unsigned char)sum;
			carry = sum >> 8;
		}
	}
	for (int kept = 0; kept < 2; kept++) {
		scoped_buf struct buf json = { 0 };
		struct jwks *k;

		n[256] = (unsigned char)(n[256] + 2 * kept);
		buf_init(&json, 4096);
		buf_add_str(&json, "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"");
		base64url_add(&json, span_of(n, sizeof(n)));
		buf_add_str(&json, "\"}]}");
		k = jwks_parse(buf_span(&json), &err);
		ck_assert_int_eq(k != NULL, kept);
		jwks_unref(k);
	}
}
END_TEST

START_TEST(keys_that_are_left_out)
{
	cjose_err e;
	char *text = cjose_jwk_to_json(rsa, false, &e), *with_private = cjose_jwk_to_json(rsa, true, &e);
	static const struct { const char *change; bool kept; } rows[] = {
		{ "{\"use\":\"enc\"}", false }, { "{\"use\":7}", false },
		{ "{\"key_ops\":[\"encrypt\"]}", false }, { "{\"key_ops\":\"verify\"}", false },
		{ "{\"kty\":\"oct\"}", false }, { "{\"kty\":null}", false }, { "{\"k\":\"AAAA\"}", false },
		{ "{\"alg\":\"HS256\"}", false }, { "{\"alg\":\"RSA-OAEP\"}", false }, { "{\"alg\":\"ES256\"}", false },
		{ "{\"e\":\"AQ\"}", false }, { "{\"e\":\"Ag\"}", false }, { "{\"e\":\"\"}", false },
		{ "{\"n\":\"AQAB\"}", false }, { "{\"n\":\"====\"}", false }, { "{\"n\":null}", false },
		{ "{\"kid\":\"\"}", false }, { "{\"kid\":3}", false },
		{ "{\"kid\":null}", true }, { "{\"alg\":\"PS512\"}", true },
		{ "{\"use\":\"sig\",\"key_ops\":[\"verify\"],\"x5t\":\"x\"}", true },
	};
	struct err err = { 0 };

	for (size_t i = 0; i < array_size(rows); i++) {
		scoped_json json_t *key = signer_merge(text, rows[i].change), *set = json_pack("{s:[O]}", "keys", key);
		char *json = json_dumps(set, 0);
		struct jwks *k = jwks_parse(span_str(json), &err);

		ck_assert_msg((k != NULL) == rows[i].kept, "%s", rows[i].change);
		jwks_unref(k);
		free(json);
	}
	{
		scoped_json json_t *set = json_pack("{s:[o]}", "keys", json_loads(with_private, 0, NULL));
		char *json = json_dumps(set, 0);

		ck_assert_ptr_null(jwks_parse(span_str(json), &err));
		free(json);
	}
	/* a point that is not on its curve; more keys than anybody needs */
	ck_assert_ptr_null(jwks_parse(SPAN("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
	                                   "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
	                                   "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1\"}]}"), &err));
	ck_assert_ptr_null(jwks_parse(SPAN("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
	                                   "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
	                                   "\"y\":\"AAEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0A\"}]}"), &err));
	{
		scoped_buf struct buf many = { 0 };

		buf_init(&many, 64 << 10);
		buf_add_str(&many, "{\"keys\":[1");
		for (int i = 0; i < JWKS_KEYS_MAX; i++)
			buf_add_str(&many, ",{}");
		buf_add_str(&many, "]}");
		ck_assert_ptr_null(jwks_parse(buf_span(&many), &err));
		ck_assert_int_eq(err.code, ERR_LIMIT);
	}
	jwks_unref(jwks_ref(keys));
	ck_assert(!jwks_has(keys, SPAN("nobody")) && jwks_has(keys, SPAN("rsa")));
	ck_assert_ptr_null(jwks_parse(SPAN(""), &err));
	ck_assert_ptr_null(jwks_parse(SPAN("{\"keys\":{}}"), &err));
	ck_assert_ptr_null(jwks_parse(SPAN("{\"keys\":[]}"), &err));
	ck_assert_ptr_null(jwks_parse(SPAN("{\"keys\":[],\"keys\":[]}"), &err));
	free(text);
	free(with_private);
}
END_TEST

START_TEST(every_reason_has_a_name)
{
	const char *top = getenv("top_srcdir");
	scoped_buf struct buf path = { 0 }, doc = { 0 };
	struct err err = { 0 };

	for (int i = 0; i < TOKEN_REASONS; i++)
		ck_assert_ptr_nonnull(token_reason_name((enum token_reason)i));
	ck_assert_str_eq(token_reason_name((enum token_reason)TOKEN_REASONS), "unchecked");

	/* and a line in section 4 of doc/identity */
	buf_init(&path, 4096);
	buf_addf(&path, "%s/doc/identity", top ? top : ".");
	ck_assert_msg(file_read(path.ptr, 1 << 20, &doc, &err), "%s", err.msg);
	for (int i = TOKEN_OK + 1; i < TOKEN_REASONS; i++) {
		char line[64];

		snprintf(line, sizeof(line), "\n  %s ", token_reason_name((enum token_reason)i));
		ck_assert_msg(strstr(doc.ptr, line), "doc/identity lacks \"%s\"", token_reason_name((enum token_reason)i));
	}
}
END_TEST

int main(void)
{
	const TTest *const all[] = {
		each_claim_has_its_reason, what_was_asked_for_must_be_shown, signatures_and_keys,
		form_comes_first, payloads_are_json_objects_once, at_hash_binds_the_access_token,
		logout_tokens, clocks_that_do_not_agree, keys_that_can_be_factored, keys_that_are_left_out, every_reason_has_a_name,
	};
	Suite *s = suite_create("idp_token");
	TCase *c = tcase_create("idp_token");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 300);
	tcase_add_unchecked_fixture(c, set_up, tear_down);
	for (size_t i = 0; i < array_size(all); i++)
		tcase_add_test(c, all[i]);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
