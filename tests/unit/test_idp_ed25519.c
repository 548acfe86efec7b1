/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Tokens signed with Ed25519 (RFC 8037): which keys count, and which signatures. */
#include "base/encode.h"
#include "base/mem.h"
#include "idp/jws.h"
#include "tests/unit/main.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* RFC 8037 A.2 and A.4 */
static const char rfc_x[] = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
static const char rfc_jws[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
			      "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

static enum token_reason verdict(const char *jwks, struct span jws, uint32_t algs)
{
	struct err err = { 0 };
	scoped_buf struct buf payload = { 0 };
	struct jwks *keys = jwks_parse(span_str(jwks), &err);
	enum token_reason why = TOKEN_KID;

	buf_init(&payload, TOKEN_MAX);
	if (keys)
		why = jws_check(jws, keys, algs, NULL, &payload, &err);
	jwks_unref(keys);
	return why;
}

/* {"keys":[..]} of one key with more members; the caller frees. */
static char *set_of(const char *x, const char *more)
{
	struct buf b;

	buf_init(&b, 8192);
	buf_addf(&b, "{\"keys\":[{\"x\":\"%s\"%s%s}]}", x, *more ? "," : "", more);
	return buf_take(&b);
}

static const char okp[] = "\"kty\":\"OKP\",\"crv\":\"Ed25519\"";

START_TEST(keys_that_count)
{
	static const struct { const char *x, *more; bool good; } rows[] = {
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed448\"", false },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"X25519\"", false },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"ed25519\"", false },
		{ rfc_x, "\"kty\":\"OKP\"", false },
		{ rfc_x, "\"kty\":\"EC\",\"crv\":\"Ed25519\"", false },
		{ rfc_x, "\"kty\":\"okp\",\"crv\":\"Ed25519\"", false },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\"", false },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"enc\"", false },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"key_ops\":[\"sign\"]", false },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"ES256\"", false },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"Ed448\"", false },
		{ "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=", okp, false },
		{ "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUQ", okp, false },
		{ "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURoA", okp, false },
		{ "", okp, false },
		{ rfc_x, okp, true },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"alg\":\"EdDSA\"", true },
		{ rfc_x, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"key_ops\":[\"verify\"],\"alg\":\"Ed25519\"", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		char *set = set_of(rows[i].x, rows[i].more);
		enum token_reason why = verdict(set, span_str(rfc_jws), JWS_ALL);

		ck_assert_msg((why == TOKEN_OK) == rows[i].good, "%s: %s", set, token_reason_name(why));
		free(set);
	}
}
END_TEST

START_TEST(every_bit_counts)
{
	char *set = set_of(rfc_x, okp), text[sizeof(rfc_jws)];
	size_t len = sizeof(rfc_jws) - 1, refused = 0;

	for (size_t i = 0; i < len; i++) {
		memcpy(text, rfc_jws, sizeof(text));
		text[i] = text[i] == 'A' ? 'B' : 'A';
		if (verdict(set, span_of(text, len), JWS_ALL) != TOKEN_OK)
			refused++;
	}
	ck_assert_uint_eq(refused, len);
	for (size_t n = 0; n < len; n++)
		ck_assert_int_ne(verdict(set, span_of(rfc_jws, n), JWS_ALL), TOKEN_OK);
	/* right, where nobody allows it */
	ck_assert_int_eq(verdict(set, span_str(rfc_jws), JWS_ALL & ~(uint32_t)JWS_EDDSA), TOKEN_ALG);
	ck_assert_int_eq(verdict(set, span_str(rfc_jws), JWS_EDDSA), TOKEN_OK);
	free(set);
}
END_TEST

/* header "." payload "." signature; the caller frees. */
static char *token_of(const char *header, const char *payload, EVP_PKEY *key, const unsigned char *sig)
{
	unsigned char made[64];
	size_t n = sizeof(made);
	struct buf b;

	buf_init(&b, 8192);
	base64url_add(&b, span_str(header));
	buf_add_char(&b, '.');
	base64url_add(&b, span_str(payload));
	if (key) {
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();

		ck_assert(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
		          EVP_DigestSign(ctx, made, &n, (const unsigned char *)b.ptr, b.len) == 1);
		EVP_MD_CTX_free(ctx);
		sig = made;
	}
	buf_add_char(&b, '.');
	base64url_add(&b, span_of((const char *)sig, n));
	return buf_take(&b);
}

START_TEST(names_of_the_algorithm)
{
	static const struct { const char *alg; enum token_reason why; } rows[] = {
		{ "none", TOKEN_ALG }, { "HS256", TOKEN_ALG }, { "eddsa", TOKEN_ALG }, { "Ed448", TOKEN_ALG },
		{ "ES256", TOKEN_KEY }, { "RS256", TOKEN_KEY },
		{ "EdDSA", TOKEN_OK }, { "Ed25519", TOKEN_OK },
	};
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	unsigned char x[32];
	size_t n = sizeof(x);
	struct buf b;
	char *set;

	ck_assert(key && EVP_PKEY_get_raw_public_key(key, x, &n) == 1);
	buf_init(&b, 100);
	base64url_add(&b, span_of((const char *)x, n));
	set = set_of(b.ptr, okp);
	buf_done(&b);
	for (size_t i = 0; i < array_size(rows); i++) {
		char header[64], *token;

		snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", rows[i].alg);
		token = token_of(header, "{}", key, NULL);
		ck_assert_msg(verdict(set, span_str(token), JWS_ALL) == rows[i].why, "%s: %s", rows[i].alg,
		              token_reason_name(verdict(set, span_str(token), JWS_ALL)));
		free(token);
	}
	free(set);
	EVP_PKEY_free(key);
}
END_TEST

/* One signature is right twice where S is not compared with the group's order: RFC 8032 5.1.7. */
START_TEST(a_signature_has_one_form)
{
	static const unsigned char order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7,
						 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10 };
	char *set = set_of(rfc_x, okp), *token;
	unsigned char sig[66];
	unsigned carry = 0;
	size_t n;

	ck_assert(base64url_decode(span_str(strrchr(rfc_jws, '.') + 1), sig, sizeof(sig), &n) && n == 64);
	for (size_t i = 0; i < 32; i++) {
		carry += sig[32 + i] + order[i];
		sig[32 + i] = (unsigned char)carry;
		carry >>= 8;
	}
	token = token_of("{\"alg\":\"EdDSA\"}", "Example of Ed25519 signing", NULL, sig);
	ck_assert(strncmp(token, rfc_jws, strlen(rfc_jws) - 86) == 0);
	ck_assert_int_eq(verdict(set, span_str(token), JWS_ALL), TOKEN_SIGNATURE);
	free(token);
	free(set);
}
END_TEST

/* Under a key of small order the same 64 bytes sign everything, or every eighth thing. */
START_TEST(keys_that_sign_for_everybody)
{
	static const char *const small[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	};
	static const unsigned char forged[64] = { 1 };

	for (size_t i = 0; i < array_size(small); i++) {
		unsigned char x[32];
		bool right = false;
		EVP_PKEY *key;
		struct buf b;
		char *set;

		for (size_t k = 0; k < sizeof(x); k++) {
			unsigned v;

			ck_assert_int_eq(sscanf(small[i] + 2 * k, "%2x", &v), 1);
			x[k] = (unsigned char)v;
		}
		buf_init(&b, 100);
		base64url_add(&b, span_of((const char *)x, sizeof(x)));
		set = set_of(b.ptr, okp);
		buf_done(&b);
		key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
		ck_assert_ptr_nonnull(key);
		for (unsigned m = 0; m < 200 && !right; m++) {
			EVP_MD_CTX *ctx = EVP_MD_CTX_new();
			char payload[32], *token;
			size_t input;

			snprintf(payload, sizeof(payload), "{\"sub\":\"%u\"}", m);
			token = token_of("{\"alg\":\"EdDSA\"}", payload, NULL, forged);
			input = (size_t)(strrchr(token, '.') - token);
			right = EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
			        EVP_DigestVerify(ctx, forged, sizeof(forged), (const unsigned char *)token, input) == 1;
			ck_assert_int_ne(verdict(set, span_str(token), JWS_ALL), TOKEN_OK);
			EVP_MD_CTX_free(ctx);
			free(token);
		}
		ck_assert_msg(right, "%s: it is an ordinary key", small[i]);
		EVP_PKEY_free(key);
		free(set);
	}
}
END_TEST

UNIT_MAIN("idp_ed25519", keys_that_count, every_bit_counts, names_of_the_algorithm, a_signature_has_one_form,
          keys_that_sign_for_everybody)
