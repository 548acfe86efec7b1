/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/guard.h"
#include "daemon/accounts/hasher.h"
#include "daemon/accounts/opaque.h"
#include "daemon/accounts/signer.h"
#include "daemon/accounts/totp.h"

#include "base/encode.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>

/* ---- codes ---- */

/* RFC 6238, appendix B (SHA-1). */
static const struct {
	int64_t sec;
	const char *code;
} rfc6238[] = {
	{59, "94287082"},         {1111111109, "07081804"}, {1111111111, "14050471"},
	{1234567890, "89005924"}, {2000000000, "69279037"}, {INT64_C(20000000000), "65353130"},
};
static const unsigned char secret[] = "12345678901234567890";

START_TEST(test_totp_vectors)
{
	char code[9];

	for (size_t i = 0; i < array_size(rfc6238); i++) {
		ck_assert(totp_code(secret, 20, rfc6238[i].sec / 30, 8, code));
		ck_assert_str_eq(code, rfc6238[i].code);
	}
	ck_assert(!totp_code(secret, 20, 1, 5, code));
	ck_assert(!totp_code(secret, 20, 1, 9, code));
}
END_TEST

START_TEST(test_totp_check)
{
	const struct wall now = {1111111111};
	const int64_t here = now.sec / 30;
	char code[9];
	struct {
		int64_t step, last;
		bool good;
	} rows[] = {
		{here - 2, 0, false},    {here + 2, 0, false},    /* out of the window */
		{here, here, false},     {here, here + 1, false}, /* used before */
		{here - 1, here, false}, {here - 1, 0, true},     {here, 0, true},
		{here + 1, here, true},  {here, here - 1, true},
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		ck_assert(totp_code(secret, 20, rows[i].step, 6, code));
		ck_assert_int_eq(totp_check(secret, span_str(code), rows[i].last, now),
				 rows[i].good ? rows[i].step : 0);
	}
	/* the low six digits of the vector's eight */
	ck_assert_int_eq(totp_check(secret, SPAN("050471"), 0, now), here);
	ck_assert_int_eq(totp_check(secret, SPAN("050472"), 0, now), 0);
	ck_assert_int_eq(totp_check(secret, SPAN("50471"), 0, now), 0);
	ck_assert_int_eq(totp_check(secret, SPAN("0504711"), 0, now), 0);
	ck_assert_int_eq(totp_check(secret, SPAN(""), 0, now), 0);
	ck_assert_int_eq(totp_check(secret, SPAN("050471"), 0, (struct wall){0}), 0);
	ck_assert_int_eq(totp_check(secret, SPAN("050471"), 0, (struct wall){-1}), 0);
}
END_TEST

START_TEST(test_totp_text)
{
	scoped_buf struct buf uri = {0};
	char text[TOTP_TEXT_MAX];

	totp_text(secret, text);
	ck_assert_str_eq(text, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
	buf_init(&uri, 1024);
	totp_uri(secret, "A site: x", "staff@example.edu", &uri);
	ck_assert_str_eq(uri.ptr,
			 "otpauth://totp/A%20site%3A%20x:staff%40example.edu"
			 "?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=A%20site%3A%20x");
}
END_TEST

/* ---- what is random ---- */

START_TEST(test_opaque)
{
	char a[OPAQUE_TEXT + 1], b[OPAQUE_TEXT + 1];
	unsigned char ha[OPAQUE_HASH], hb[OPAQUE_HASH], again[OPAQUE_HASH];

	opaque_new(a, ha);
	opaque_new(b, hb);
	ck_assert_str_ne(a, b);
	ck_assert(memcmp(ha, hb, sizeof(ha)) != 0);
	ck_assert(!opaque_hash(SPAN(""), again));
	ck_assert(!opaque_hash(span_head(span_str(a), OPAQUE_TEXT - 1), again));
	ck_assert(!opaque_hash(SPAN("!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"), again));
	ck_assert(opaque_hash(span_str(a), again) && memcmp(again, ha, sizeof(ha)) == 0);
}
END_TEST

START_TEST(test_recovery)
{
	char code[RECOVERY_TEXT + 1], typed[64];
	unsigned char hash[OPAQUE_HASH], again[OPAQUE_HASH];
	size_t n = 0;

	recovery_new(code, hash);
	ck_assert_uint_eq(strlen(code), RECOVERY_TEXT);
	ck_assert(!recovery_hash(SPAN(""), again));
	ck_assert(!recovery_hash(span_head(span_str(code), RECOVERY_TEXT - 1), again));
	ck_assert(!recovery_hash(SPAN("UUUU-UUUU-UUUU-UUUU"), again)); /* no such letter */
	ck_assert(!recovery_hash(SPAN("0000-0000-0000-00000"), again));
	ck_assert(recovery_hash(SPAN("0000-0000-0000-0000"), again) &&
		  memcmp(again, hash, sizeof(hash)) != 0);
	/* lower case, blanks for hyphens, letters that look alike */
	for (const char *c = code; *c; c++)
		typed[n++] = *c == '-'                ? ' '
			     : *c == '0'              ? 'o'
			     : *c == '1'              ? 'l'
			     : *c >= 'A' && *c <= 'Z' ? (char)(*c + 'a' - 'A')
						      : *c;
	ck_assert(recovery_hash(span_of(typed, n), again) &&
		  memcmp(again, hash, sizeof(hash)) == 0);
}
END_TEST

/* RFC 7636, appendix B. */
START_TEST(test_pkce)
{
	const struct span verifier = SPAN("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
			  challenge = SPAN("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");

	ck_assert(!pkce_ok(verifier, verifier)); /* "plain" */
	ck_assert(!pkce_ok(span_head(verifier, 42), challenge));
	ck_assert(!pkce_ok(SPAN("eBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), challenge));
	ck_assert(!pkce_ok(verifier, SPAN("")));
	ck_assert(pkce_ok(verifier, challenge));
}
END_TEST

START_TEST(test_mark)
{
	struct secret key = {0}, other = {0}, none = {0};
	char text[BROWSER_TEXT_MAX];
	unsigned char nonce[BROWSER_NONCE];

	secret_random(&key, 32);
	secret_random(&other, 32);
	browser_mark(&key, 7, text);
	ck_assert(!browser_mark_ok(&key, span_str(text), 8, nonce)); /* another account's */
	ck_assert(!browser_mark_ok(&key, span_str(text), 0, nonce));
	ck_assert(!browser_mark_ok(&other, span_str(text), 7, nonce));
	ck_assert(!browser_mark_ok(&none, span_str(text), 7, nonce));
	ck_assert(!browser_mark_ok(&key, span_head(span_str(text), 20), 7, nonce));
	ck_assert(browser_mark_ok(&key, span_str(text), 7, nonce));
	text[3] = text[3] == 'A' ? 'B' : 'A';
	ck_assert(!browser_mark_ok(&key, span_str(text), 7, nonce));
	secret_done(&key);
	secret_done(&other);
}
END_TEST

/* ---- passwords ---- */

START_TEST(test_judge)
{
	char longest[PASSWORD_MAX + 2];
	struct err err = {0};
	const struct {
		const char *password;
		bool good;
	} rows[] = {
		{"", false},
		{"123456789", false},
		{"password123", false},
		{"password1234!", false},
		{"1234567890", false},
		{"qwertyuiop", false},
		{"iloveyou2026", false},
		{"aaaaaaaaaaaa", false},
		{"staff.member", false},
		{"bad \xff utf-8 here", false},
		{"seven herons on a wire", true},
		{"kT9-wq-31-LmZ", true},
	};

	for (size_t i = 0; i < array_size(rows); i++)
		ck_assert_msg(password_judge(span_str(rows[i].password), "staff.member",
					     "Staff Member", &err) == rows[i].good,
			      "%s: %s", rows[i].password, err.msg);
	for (size_t i = 0; i < sizeof(longest); i++)
		longest[i] = (char)('a' + i % 23);
	ck_assert(!password_judge(span_of(longest, PASSWORD_MAX + 1), "x", NULL, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert(!password_judge(span_of("ab\0cdefghijkl", 13), "x", NULL, &err));
}
END_TEST

START_TEST(test_password)
{
	char a[PASSWORD_TEXT_MAX], b[PASSWORD_TEXT_MAX];
	struct err err = {0};

	ck_assert(!password_make(SPAN(""), a, &err));
	ck_assert(password_make(SPAN("seven herons"), a, &err));
	ck_assert(password_make(SPAN("seven herons"), b, &err));
	ck_assert_str_ne(a, b); /* a salt each */
	ck_assert(span_starts(span_str(a), SPAN("$argon2id$v=19$m=65536,t=3,p=1$")));
	ck_assert(!password_check(SPAN("seven heron"), a));
	ck_assert(!password_check(SPAN(""), a));
	ck_assert(!password_check(SPAN("seven herons"), NULL));
	ck_assert(!password_check(SPAN("seven herons"), ""));
	ck_assert(!password_check(SPAN("seven herons"), "$argon2id$nonsense"));
	ck_assert(password_check(SPAN("seven herons"), a));
}
END_TEST

struct seen {
	int answers;
	bool ok[3];
	struct loop *loop;
};

static void on_answer(void *arg, const struct hasher_answer *a)
{
	struct seen *s = arg;

	ck_assert_uint_lt(a->who, 3);
	s->ok[a->who] = a->ok;
	if (++s->answers == 3)
		loop_stop(s->loop);
}

START_TEST(test_hasher)
{
	struct err err = {0};
	struct loop *loop = loop_new(&err);
	struct hasher *h = hasher_new(loop, &err);
	struct seen seen = {.loop = loop};
	char text[PASSWORD_TEXT_MAX];
	size_t taken = 0;

	ck_assert(h != NULL);
	ck_assert(password_make(SPAN("seven herons"), text, &err));
	ck_assert(hasher_check(h, SPAN("seven herons"), text, 0, on_answer, &seen, &err));
	ck_assert(hasher_check(h, SPAN("seven herons"), NULL, 1, on_answer, &seen, &err));
	ck_assert(hasher_make(h, SPAN("password123"), "x", NULL, 2, on_answer, &seen, &err));
	ck_assert(loop_run(loop, &err));
	ck_assert(seen.ok[0] && !seen.ok[1] && !seen.ok[2]);
	/* a ceiling on what waits */
	while (taken < 4 * HASHER_QUEUE_MAX &&
	       hasher_check(h, SPAN("x"), NULL, 0, on_answer, &seen, &err))
		taken++;
	ck_assert_uint_lt(taken, 4 * HASHER_QUEUE_MAX);
	ck_assert_int_eq(err.code, ERR_BUSY);
	hasher_free(h); /* what waits is dropped */
	loop_free(loop);
}
END_TEST

/* ---- who waits ---- */

static struct boot at(int64_t sec)
{
	return (struct boot){(1000 + sec) * SEC_NS};
}

static struct guard_try try(const char *login, const char *from, struct ip *ip)
{
	ck_assert(ip_parse(span_str(from), ip));
	return (struct guard_try){.login = span_str(login), .from = ip};
}

START_TEST(test_guard_pair)
{
	struct guard *g = guard_new();
	struct ip a, b, c;
	const struct guard_try guess = try("staff", "198.51.100.9", &a),
			       owner = try("staff", "192.0.2.7", &b),
			       other = try("student", "198.51.100.9", &c);
	int64_t now = 0, wait = 0;

	for (int i = 0; i < GUARD_PAIR_FREE; i++) {
		ck_assert_int_eq(guard_wait(g, &guess, at(now)), 0);
		guard_count(g, &guess, at(now));
	}
	/* then it doubles, to a ceiling */
	for (int64_t want = 1; want < GUARD_PAIR_WAIT_MAX; want *= 2) {
		wait = guard_wait(g, &guess, at(now));
		ck_assert_int_eq(wait, want);
		ck_assert_int_eq(guard_wait(g, &guess, at(now + wait - 1)), 1);
		now += wait;
		ck_assert_int_eq(guard_wait(g, &guess, at(now)), 0);
		guard_count(g, &guess, at(now));
	}
	guard_count(g, &guess, at(now));
	ck_assert_int_eq(guard_wait(g, &guess, at(now)), GUARD_PAIR_WAIT_MAX);
	/* nobody else pays */
	ck_assert_int_eq(guard_wait(g, &owner, at(now)), 0);
	ck_assert_int_eq(guard_wait(g, &other, at(now)), 0);
	/* being right forgets */
	guard_right(g, &guess);
	ck_assert_int_eq(guard_wait(g, &guess, at(now)), 0);
	guard_free(g);
}
END_TEST

START_TEST(test_guard_login)
{
	struct guard *g = guard_new();
	struct ip ip;
	unsigned char nonce[BROWSER_NONCE] = {1};
	struct guard_try t = try("staff", "192.0.2.7", &ip);
	struct ip from = {.family = IP_V4, .b = {203, 0, 113, 0}};

	/* from very many addresses: a short wait for strangers, never a long one */
	for (int i = 0; i < 10 * GUARD_LOGIN_FREE; i++) {
		struct guard_try one = {.login = SPAN("staff"), .from = &from};

		from.b[2] = (uint8_t)(i / 250);
		from.b[3] = (uint8_t)(i % 250);
		guard_count(g, &one, at(0));
	}
	ck_assert_int_eq(guard_wait(g, &t, at(0)), GUARD_LOGIN_WAIT_MAX);
	ck_assert_int_eq(guard_wait(g, &t, at(GUARD_LOGIN_WAIT_MAX)), 0);
	/* and none for the browser that was here before */
	t.browser = span_of(nonce, sizeof(nonce));
	ck_assert_int_eq(guard_wait(g, &t, at(0)), 0);
	/* which has a count of its own */
	for (int i = 0; i < GUARD_BROWSER_FREE + 3; i++)
		guard_count(g, &t, at(0));
	ck_assert_int_eq(guard_wait(g, &t, at(0)), 8);
	guard_free(g);
}
END_TEST

START_TEST(test_guard_address)
{
	struct guard *g = guard_new();
	struct ip a, b, c;
	struct guard_try first = try("x", "2001:db8:1:2::9", &a),
			 near = try("y", "2001:db8:1:2:ffff::1", &b),
			 far = try("y", "2001:db8:1:3::9", &c);
	char login[16];

	for (int i = 0; i < GUARD_ADDRESS_FREE; i++) {
		snprintf(login, sizeof(login), "l%d", i);
		first.login = span_str(login);
		ck_assert_int_eq(guard_wait(g, &first, at(0)), 0);
		guard_count(g, &first, at(0));
	}
	/* one /64 is one address */
	ck_assert_int_eq(guard_wait(g, &near, at(0)), 1);
	ck_assert_int_eq(guard_wait(g, &far, at(0)), 0);
	/* being right once does not wash the address clean */
	guard_count(g, &near, at(1));
	guard_right(g, &near);
	ck_assert_int_gt(guard_wait(g, &near, at(1)), 0);
	ck_assert_int_eq(guard_wait(g, &near, at(GUARD_FORGET + 2)), 0);
	guard_free(g);
}
END_TEST

START_TEST(test_guard_factor)
{
	struct guard *g = guard_new();

	for (int i = 0; i < GUARD_FACTOR_FREE; i++) {
		ck_assert_int_eq(guard_factor_wait(g, 7, at(0)), 0);
		guard_factor_count(g, 7, at(0));
	}
	ck_assert_int_eq(guard_factor_wait(g, 7, at(0)), 1);
	ck_assert_int_eq(guard_factor_wait(g, 8, at(0)), 0);
	for (int i = 0; i < 40; i++)
		guard_factor_count(g, 7, at(0));
	ck_assert_int_eq(guard_factor_wait(g, 7, at(0)), GUARD_FACTOR_WAIT_MAX);
	guard_factor_right(g, 7);
	ck_assert_int_eq(guard_factor_wait(g, 7, at(0)), 0);
	guard_free(g);
}
END_TEST

START_TEST(test_guard_ceiling)
{
	struct guard *g = guard_new();
	struct ip ip;
	const struct guard_try t = try("new", "192.0.2.7", &ip);

	for (uint64_t i = 0; i < GUARD_KEYS_MAX + 10; i++)
		guard_factor_count(g, i, at(0));
	ck_assert_uint_eq(guard_keys(g), GUARD_KEYS_MAX);
	ck_assert_int_gt(guard_wait(g, &t, at(100)), 0);
	/* an hour later there is room */
	ck_assert_int_eq(guard_wait(g, &t, at(2 * 3600)), 0);
	ck_assert_uint_eq(guard_keys(g), 0);
	guard_free(g);
}
END_TEST

/* ---- tokens ---- */

START_TEST(test_signer)
{
	static const char *const amr[] = {"pwd", "otp", "mfa", NULL};
	static const char groups[] = "lab\na \"b\"";
	struct err err = {0};
	struct signer *s = signer_new(&err), *other = signer_new(&err);
	scoped_buf struct buf jwks = {0}, more = {0}, token = {0};
	struct id_claims c = {.issuer = "https://hub/idp",
			      .sub = "s",
			      .audience = "c",
			      .nonce = "n\"",
			      .login = "staff@example.edu",
			      .groups = {groups, sizeof(groups) - 1},
			      .acr = "a",
			      .amr = amr,
			      .access_token = "t",
			      .auth_time = {5},
			      .now = {10},
			      .seconds = 60};
	struct span rest, part;
	char text[2048];
	size_t n = 0;

	ck_assert(s && other);
	buf_init(&jwks, 4096);
	buf_init(&more, 4096);
	signer_jwks(s, &jwks);
	signer_jwks(other, &more);
	ck_assert_str_ne(jwks.ptr, more.ptr); /* a key each */
	ck_assert(!strstr(jwks.ptr, "\"d\""));
	buf_init(&token, 16 << 10);
	ck_assert(signer_id_token(s, &c, &token, &err));
	rest = buf_span(&token);
	ck_assert(span_next(&rest, '.', &part) && span_next(&rest, '.', &part));
	ck_assert(base64url_decode(part, text, sizeof(text) - 1, &n));
	text[n] = '\0';
	/* SHA-256("t") begins e3b98a4da31a127d4bde6e43033f66ba */
	ck_assert_str_eq(
		text, "{\"iss\":\"https://hub/"
		      "idp\",\"sub\":\"s\",\"aud\":\"c\",\"nonce\":\"n\\\"\",\"iat\":10,"
		      "\"exp\":70,\"auth_time\":5,\"preferred_username\":\"staff@example.edu\","
		      "\"groups\":[\"lab\",\"a \\\"b\\\"\"],\"acr\":\"a\","
		      "\"amr\":[\"pwd\",\"otp\",\"mfa\"],\"at_hash\":\"47mKTaMaEn1L3m5DAz9mug\"}");
	ck_assert(span_next(&rest, '.', &part) && part.len == 86);
	/* over its limit: none */
	char *big = mem_alloc(20 << 10);
	memset(big, 'x', (20 << 10) - 1);
	c.nonce = big;
	ck_assert(!signer_id_token(s, &c, &token, &err) && err.code == ERR_LIMIT);
	free(big);
	signer_free(s);
	signer_free(other);
}
END_TEST

UNIT_MAIN("accounts", test_totp_vectors, test_totp_check, test_totp_text, test_opaque,
	  test_recovery, test_pkce, test_mark, test_judge, test_password, test_hasher,
	  test_guard_pair, test_guard_login, test_guard_address, test_guard_factor,
	  test_guard_ceiling, test_signer)
