/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/jwks.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "idp/text.h"

#include <cjose/cjose.h>
#include <openssl/evp.h>
#include <string.h>

struct jwk {
	char        *kid;       /* NULL: it has none */
	uint32_t     algs;      /* what it may sign with */
	size_t       sig_len;   /* bytes of its signatures */
	cjose_jwk_t *key;
	EVP_PKEY    *ed;        /* instead of key: Ed25519, which cjose lacks */
};

struct jwks {
	unsigned   refs;
	size_t     count;
	struct jwk list[JWKS_KEYS_MAX];
};

enum { ED25519_LEN = 32 };

static const struct {
	const char *name;
	uint32_t    alg;
} alg_names[] = {
	{ "RS256", JWS_RS256 }, { "RS384", JWS_RS384 }, { "RS512", JWS_RS512 },
	{ "PS256", JWS_PS256 }, { "PS384", JWS_PS384 }, { "PS512", JWS_PS512 },
	{ "ES256", JWS_ES256 }, { "ES384", JWS_ES384 }, { "ES512", JWS_ES512 },
	{ "EdDSA", JWS_EDDSA }, { "Ed25519", JWS_EDDSA },
};

static const struct {
	const char *crv;
	uint32_t    alg;
	size_t      size;       /* bytes of a coordinate, RFC 7518 6.2.1.2 */
} curves[] = {
	{ "P-256", JWS_ES256, 32 }, { "P-384", JWS_ES384, 48 }, { "P-521", JWS_ES512, 66 },
};

uint32_t jws_alg_of(struct span name)
{
	for (size_t i = 0; i < array_size(alg_names); i++)
		if (span_eq(name, span_str(alg_names[i].name)))
			return alg_names[i].alg;
	return 0;
}

const char *jws_alg_name(uint32_t alg)
{
	for (size_t i = 0; i < array_size(alg_names); i++)
		if (alg == alg_names[i].alg)
			return alg_names[i].name;
	return NULL;
}

/* An integer of a key: strict base64url, no leading zeros counted. */
static bool number_of(const json_t *v, unsigned char *out, size_t size, size_t *ret_n)
{
	size_t n, zeros = 0;

	if (!base64url_decode(text_of(v), out, size, &n))
		return false;
	while (zeros < n && out[zeros] == 0)
		zeros++;
	memmove(out, out + zeros, n - zeros);
	*ret_n = n - zeros;
	return true;
}

/*
 * CVE-2017-15361 (ROCA): a library of smart cards and TPMs made primes whose residues are
 * powers of 65537, and such keys can be factored. The modulus shows it modulo each small prime
 * (Nemec, Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack, CCS 2017, 5);
 * another key passes for one with a probability below 2^-25.
 */
static bool rsa_is_roca(const unsigned char *n, size_t len)
{
	static const uint16_t primes[] = { 11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107,
					   109, 127, 151, 157 };

	for (size_t i = 0; i < array_size(primes); i++) {
		uint32_t p = primes[i], rest = 0, power = 1;

		for (size_t k = 0; k < len; k++)
			rest = (rest << 8 | n[k]) % p;
		do {
			if (power == rest)
				break;
			power = power * (65537 % p) % p;
		} while (power != 1);
		if (power != rest)
			return false;
	}
	return true;
}

static bool rsa_is_sound(const json_t *o, size_t *ret_bytes)
{
	unsigned char n[RSA_BITS_MAX / 8 + 1], e[8];
	size_t n_len, e_len, bits;

	if (!number_of(json_object_get(o, "n"), n, sizeof(n), &n_len) || n_len == 0 ||
	    !number_of(json_object_get(o, "e"), e, sizeof(e), &e_len) || e_len == 0)
		return false;
	bits = n_len * 8;
	for (unsigned char top = n[0]; !(top & 0x80); top = (unsigned char)(top << 1))
		bits--;
	*ret_bytes = n_len;
	/* e = 1 makes every padded message its own signature; an even e or n is no RSA key */
	return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX && (n[n_len - 1] & 1) &&
	       (e[e_len - 1] & 1) && (e_len > 1 || e[0] >= 3) && !rsa_is_roca(n, n_len);
}

static bool coordinate_is_sound(const json_t *v, size_t size)
{
	unsigned char out[66];
	size_t n;

	return base64url_decode(text_of(v), out, sizeof(out), &n) && n == size;
}

/*
 * The points of small order, as they are written (RFC 8032 5.1.2; the last two are not
 * reduced), without the sign of x: under such a key anybody's signature is right.
 */
static bool ed25519_is_small(const unsigned char key[ED25519_LEN])
{
	static const unsigned char orders_8[2][ED25519_LEN] = {
		{ 0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		  0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05 },
		{ 0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		  0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a },
	};
	unsigned char y[ED25519_LEN];
	unsigned all = 0xff, any = 0;

	memcpy(y, key, sizeof(y));
	y[ED25519_LEN - 1] &= 0x7f;
	for (size_t i = 1; i < ED25519_LEN; i++) {
		all &= i == ED25519_LEN - 1 ? y[i] | 0x80u : y[i];
		any |= y[i];
	}
	/* 0 and 1; p - 1, p and p + 1 */
	return (any == 0 && y[0] <= 1) || (all == 0xff && y[0] >= 0xec && y[0] <= 0xee) ||
	       memcmp(y, orders_8[0], sizeof(y)) == 0 || memcmp(y, orders_8[1], sizeof(y)) == 0;
}

/* NULL: not a key of RFC 8037 2. */
static EVP_PKEY *ed25519_read(const json_t *o)
{
	unsigned char x[ED25519_LEN + 1];
	size_t n;

	if (!span_eq(text_of(json_object_get(o, "crv")), SPAN("Ed25519")) ||
	    !base64url_decode(text_of(json_object_get(o, "x")), x, sizeof(x), &n) || n != ED25519_LEN ||
	    ed25519_is_small(x))
		return NULL;
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, n);
}

static bool ed25519_verifies(EVP_PKEY *key, struct span input, const unsigned char *sig, size_t n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool right = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
	             EVP_DigestVerify(ctx, sig, n, (const unsigned char *)input.ptr, input.len) == 1;

	EVP_MD_CTX_free(ctx);
	return right;
}

static bool may_verify(const json_t *o)
{
	const json_t *use = json_object_get(o, "use"), *ops = json_object_get(o, "key_ops"), *op;
	size_t i;

	if (use && !span_eq(text_of(use), SPAN("sig")))
		return false;
	if (!ops)
		return true;
	if (!json_is_array(ops))
		return false;
	json_array_foreach(ops, i, op)
		if (span_eq(text_of(op), SPAN("verify")))
			return true;
	return false;
}

/* False: this key is not for us, which is no error: sets hold all sorts. */
static bool jwk_read(const json_t *o, struct jwk *k)
{
	static const char *const private_parts[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" };
	struct span kty = text_of(json_object_get(o, "kty"));
	const json_t *kid = json_object_get(o, "kid"), *alg = json_object_get(o, "alg");
	scoped_json json_t *bare = NULL;
	cjose_err why;

	if (!json_is_object(o) || !may_verify(o))
		return false;
	/* a "public" key that was published with its private half signs for everybody */
	for (size_t i = 0; i < array_size(private_parts); i++)
		if (json_object_get(o, private_parts[i]))
			return false;
	if (kid && (text_of(kid).len == 0 || text_of(kid).len > KID_MAX))
		return false;
	if (span_eq(kty, SPAN("RSA"))) {
		if (!rsa_is_sound(o, &k->sig_len))
			return false;
		k->algs = JWS_RS256 | JWS_RS384 | JWS_RS512 | JWS_PS256 | JWS_PS384 | JWS_PS512;
		bare = json_pack("{s:s, s:O, s:O}", "kty", "RSA", "n", json_object_get(o, "n"),
		                 "e", json_object_get(o, "e"));
	} else if (span_eq(kty, SPAN("EC"))) {
		size_t i = 0;

		while (i < array_size(curves) &&
		       !span_eq(text_of(json_object_get(o, "crv")), span_str(curves[i].crv)))
			i++;
		if (i == array_size(curves) ||
		    !coordinate_is_sound(json_object_get(o, "x"), curves[i].size) ||
		    !coordinate_is_sound(json_object_get(o, "y"), curves[i].size))
			return false;
		k->algs = curves[i].alg;
		k->sig_len = 2 * curves[i].size;
		bare = json_pack("{s:s, s:s, s:O, s:O}", "kty", "EC", "crv", curves[i].crv,
		                 "x", json_object_get(o, "x"), "y", json_object_get(o, "y"));
	} else if (span_eq(kty, SPAN("OKP"))) {
		k->algs = JWS_EDDSA;
		k->sig_len = 2 * ED25519_LEN;
	}
	if (alg)
		k->algs &= jws_alg_of(text_of(alg));
	if (!k->algs)
		return false;
	if (k->algs & JWS_EDDSA)
		k->ed = ed25519_read(o);
	else
		k->key = cjose_jwk_import_json((cjose_header_t *)bare, &why);
	if (!k->key && !k->ed)
		return false;   /* a point that is not on its curve, for one */
	k->kid = kid ? span_dup(text_of(kid)) : NULL;
	return true;
}

struct jwks *jwks_parse(struct span json, struct err *err)
{
	scoped_json json_t *root = json_read(json, JWKS_MAX, err);
	const json_t *list = json_object_get(root, "keys"), *o;
	size_t i;

	if (!root) {
		err_prefix(err, "keys: ");
		return NULL;
	}
	if (!json_is_array(list)) {
		err_set(err, ERR_SYNTAX, "keys: no \"keys\" array");
		return NULL;
	}
	if (json_array_size(list) > JWKS_KEYS_MAX) {
		err_set(err, ERR_LIMIT, "keys: %zu of them, more than the limit of %d",
		        json_array_size(list), JWKS_KEYS_MAX);
		return NULL;
	}

	struct jwks *keys = mem_alloc(sizeof(*keys));

	keys->refs = 1;
	json_array_foreach(list, i, o)
		if (jwk_read(o, &keys->list[keys->count]))
			keys->count++;
		else
			memset(&keys->list[keys->count], 0, sizeof(keys->list[0]));
	if (keys->count == 0) {
		jwks_unref(keys);
		err_set(err, ERR_MISSING,
			"keys: none of %zu is a public key to check signatures with",
			json_array_size(list));
		return NULL;
	}
	return keys;
}

struct jwks *jwks_ref(struct jwks *keys)
{
	keys->refs++;
	return keys;
}

void jwks_unref(struct jwks *keys)
{
	if (!keys || --keys->refs)
		return;
	for (size_t i = 0; i < keys->count; i++) {
		free(keys->list[i].kid);
		cjose_jwk_release(keys->list[i].key);
		EVP_PKEY_free(keys->list[i].ed);
	}
	free(keys);
}

size_t jwks_count(const struct jwks *keys)
{
	return keys->count;
}

bool jwks_has(const struct jwks *keys, struct span kid)
{
	for (size_t i = 0; i < keys->count; i++)
		if (keys->list[i].kid && span_eq(span_str(keys->list[i].kid), kid))
			return true;
	return false;
}

static bool verifies(const struct jwk *k, struct span compact)
{
	cjose_err why;
	cjose_jws_t *jws;
	size_t dot = compact.len;
	unsigned char sig[RSA_BITS_MAX / 8];
	size_t n;
	bool right;

	while (dot > 0 && compact.ptr[dot - 1] != '.')
		dot--;
	/* cjose halves an ECDSA signature of any length: RFC 7518 3.4 says which one it has */
	if (!base64url_decode(span_from(compact, dot), sig, sizeof(sig), &n) || n != k->sig_len)
		return false;
	if (k->ed)
		return ed25519_verifies(k->ed, span_head(compact, dot ? dot - 1 : 0), sig, n);
	jws = cjose_jws_import(compact.ptr, compact.len, &why);
	if (!jws)
		return false;
	right = cjose_jws_verify(jws, k->key, &why);
	cjose_jws_release(jws);
	return right;
}

enum jwks_verdict jwks_verify(const struct jwks *keys, struct span kid, enum jws_alg alg,
                              struct span compact)
{
	size_t named = 0, fit = 0;
	bool right = false;

	for (size_t i = 0; i < keys->count; i++) {
		const struct jwk *k = &keys->list[i];

		if (kid.ptr && !(k->kid && span_eq(span_str(k->kid), kid)))
			continue;
		named++;
		if (k->algs & alg)
			fit++;
	}
	if (named == 0 || (!kid.ptr && fit > 1))
		return JWKS_NO_KEY;
	if (fit == 0)
		return JWKS_OTHER_TYPE;
	for (size_t i = 0; i < keys->count && !right; i++) {
		const struct jwk *k = &keys->list[i];

		if ((k->algs & alg) && (!kid.ptr || (k->kid && span_eq(span_str(k->kid), kid))))
			right = verifies(k, compact);
	}
	return right ? JWKS_RIGHT : JWKS_WRONG;
}
