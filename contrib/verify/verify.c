/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Checks an X-Reeve-Assertion. See README for the order of the checks.
 *
 *   cc verify.c -o verify $(pkg-config --cflags --libs libcrypto jansson)
 *   verify JWKS-FILE ISSUER AUDIENCE [METHOD PATH] < assertion
 */
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKEN_MAX = 32 << 10, LEEWAY = 5, LIFE_MAX = 300, P256 = 32 };

struct part {
	const char *ptr;
	size_t      len;
};

/* Strict base64url (RFC 4648 section 5, no padding); the size, or -1. */
static int unbase64(struct part text, unsigned char *out, size_t size)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned bits = 0, have = 0;
	size_t n = 0;

	if (text.len == 0 || text.len % 4 == 1)
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		const char *c = text.ptr[i] ? strchr(set, text.ptr[i]) : NULL;

		if (!c)
			return -1;
		bits = (bits << 6 | (unsigned)(c - set)) & 0xffffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			if (n == size)
				return -1;
			out[n++] = (unsigned char)(bits >> have);
		}
	}
	return (bits & ((1u << have) - 1)) ? -1 : (int)n;
}

static json_t *unjson(struct part text)
{
	unsigned char raw[TOKEN_MAX];
	int n = unbase64(text, raw, sizeof(raw));
	json_t *o = n > 0 ? json_loadb((const char *)raw, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (json_is_object(o))
		return o;
	json_decref(o);
	return NULL;
}

static bool is(const json_t *o, const char *name, const char *want)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s && strcmp(s, want) == 0;
}

static bool coordinate(const json_t *key, const char *name, unsigned char out[P256])
{
	const char *s = json_string_value(json_object_get(key, name));

	return s && unbase64((struct part){ s, strlen(s) }, out, P256) == P256;
}

static bool signature_holds(const json_t *key, struct part text, const unsigned char sig[2 * P256])
{
	unsigned char point[1 + 2 * P256] = { 4 }, *der = NULL;
	char group[] = "prime256v1";
	EVP_PKEY *pkey = NULL;
	EVP_PKEY_CTX *kctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ECDSA_SIG *rs = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(sig, P256, NULL), *s = BN_bin2bn(sig + P256, P256, NULL);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
		OSSL_PARAM_construct_end(),
	};
	bool ok = false;
	int n;

	if (kctx && ctx && rs && r && s && coordinate(key, "x", point + 1) &&
	    coordinate(key, "y", point + 1 + P256) && ECDSA_SIG_set0(rs, r, s)) {
		r = s = NULL;   /* rs has them */
		n = i2d_ECDSA_SIG(rs, &der);
		ok = n > 0 && EVP_PKEY_fromdata_init(kctx) > 0 &&
		     EVP_PKEY_fromdata(kctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) > 0 &&
		     EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) > 0 &&
		     EVP_DigestVerify(ctx, der, (size_t)n, (const unsigned char *)text.ptr, text.len) == 1;
	}
	OPENSSL_free(der);
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(rs);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_CTX_free(kctx);
	EVP_PKEY_free(pkey);
	return ok;
}

static const json_t *key_find(const json_t *jwks, const char *kid)
{
	const json_t *list = json_object_get(jwks, "keys"), *key;
	size_t i;

	json_array_foreach(list, i, key)
		if (kid && is(key, "kid", kid))
			return is(key, "kty", "EC") && is(key, "crv", "P-256") ? key : NULL;
	return NULL;
}

/* NULL if it holds, with *ret_claims for the caller to free; else why not.
 * method and path may be NULL where assertions are not bound to requests. */
static const char *assertion_verify(const char *token, const json_t *jwks, const char *issuer,
                                    const char *audience, const char *method, const char *path,
                                    time_t now, json_t **ret_claims)
{
	const char *dot = strchr(token, '.'), *dot2 = dot ? strchr(dot + 1, '.') : NULL;
	const char *why = NULL;
	unsigned char sig[2 * P256];

	if (!dot2 || strchr(dot2 + 1, '.') || strlen(token) > TOKEN_MAX)
		return "not three parts";

	json_t *head = unjson((struct part){ token, (size_t)(dot - token) });
	json_t *claims = unjson((struct part){ dot + 1, (size_t)(dot2 - dot - 1) });
	const json_t *key = key_find(jwks, json_string_value(json_object_get(head, "kid")));
	const json_t *iat = json_object_get(claims, "iat"), *exp = json_object_get(claims, "exp");

	if (!head || !claims)
		why = "not base64url of JSON objects";
	else if (!is(head, "alg", "ES256") || json_object_get(head, "crit"))
		why = "alg is not ES256, or there is a crit";
	else if (!key)
		why = "no such key";
	else if (unbase64((struct part){ dot2 + 1, strlen(dot2 + 1) }, sig, sizeof(sig)) != 2 * P256)
		why = "the signature is not 64 bytes";
	else if (!signature_holds(key, (struct part){ token, (size_t)(dot2 - token) }, sig))
		why = "the signature does not hold";
	else if (!is(claims, "iss", issuer) || !is(claims, "aud", audience))
		why = "for another host or service";
	else if (!json_is_integer(iat) || !json_is_integer(exp) ||
	         json_integer_value(exp) - json_integer_value(iat) > LIFE_MAX)
		why = "no proper lifetime";
	else if (now < json_integer_value(iat) - LEEWAY || now >= json_integer_value(exp) + LEEWAY)
		why = "expired, or not yet valid";
	else if (method && (!is(claims, "htm", method) || !path || !is(claims, "htp", path)))
		why = "for another request";
	json_decref(head);
	if (why)
		json_decref(claims);
	else
		*ret_claims = claims;
	return why;
}

int main(int argc, char **argv)
{
	static char token[TOKEN_MAX + 2];
	json_t *jwks = argc > 3 ? json_load_file(argv[1], 0, NULL) : NULL, *claims = NULL;
	size_t n = fread(token, 1, TOKEN_MAX + 1, stdin);
	const char *why;

	token[n] = '\0';
	token[strcspn(token, "\r\n")] = '\0';
	if (!jwks) {
		fprintf(stderr, "usage: verify JWKS-FILE ISSUER AUDIENCE [METHOD PATH]\n");
		return 2;
	}
	why = assertion_verify(token, jwks, argv[2], argv[3], argc > 5 ? argv[4] : NULL,
	                       argc > 5 ? argv[5] : NULL, time(NULL), &claims);
	if (why) {
		fprintf(stderr, "refused: %s\n", why);
	} else {
		json_dumpf(claims, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(claims);
	json_decref(jwks);
	return why ? 1 : 0;
}
