/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/signer.h"

#include "base/encode.h"
#include "base/mem.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { HALF = 32, CLAIMS_MAX = 11 << 10 }; /* 16 KiB in base64, and less */

struct signer {
	EVP_PKEY *key;
	unsigned char x[HALF], y[HALF];
	char kid[HALF]; /* 22 characters of the RFC 7638 thumbprint */
};

static bool coordinate(EVP_PKEY *key, const char *name, unsigned char ret[HALF])
{
	BIGNUM *n = NULL;
	bool ok = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_bn2binpad(n, ret, HALF) == HALF;

	BN_free(n);
	return ok;
}

static void jwk_add(const struct signer *s, struct buf *b)
{
	buf_add_str(b, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
	base64url_add(b, span_of(s->x, HALF));
	buf_add_str(b, "\",\"y\":\"");
	base64url_add(b, span_of(s->y, HALF));
	buf_add_char(b, '"');
}

struct signer *signer_new(struct err *err)
{
	struct signer *s = mem_alloc(sizeof(*s));
	scoped_buf struct buf b = {0}, kid = {0};
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	s->key = EVP_EC_gen("P-256");
	buf_init(&b, 512);
	buf_init(&kid, 64);
	if (s->key && coordinate(s->key, OSSL_PKEY_PARAM_EC_PUB_X, s->x) &&
	    coordinate(s->key, OSSL_PKEY_PARAM_EC_PUB_Y, s->y)) {
		jwk_add(s, &b);
		buf_add_char(&b, '}');
		if (EVP_Digest(b.ptr, b.len, md, &n, EVP_sha256(), NULL) == 1 && n >= 16) {
			base64url_add(&kid, span_of(md, 16));
			if (span_cstr(buf_span(&kid), s->kid, sizeof(s->kid)))
				return s;
		}
	}
	signer_free(s);
	err_set(err, ERR_CRYPTO, "no P-256 key could be made");
	return NULL;
}

void signer_free(struct signer *s)
{
	if (!s)
		return;
	EVP_PKEY_free(s->key);
	free(s);
}

void signer_jwks(const struct signer *s, struct buf *out)
{
	buf_add_str(out, "{\"keys\":[");
	jwk_add(s, out);
	buf_addf(out, ",\"use\":\"sig\",\"alg\":\"ES256\",\"kid\":\"%s\"}]}\n", s->kid);
}

/* RFC 7518 3.4: both numbers at their full width, not DER. */
static bool sign(const struct signer *s, struct span text, unsigned char ret[2 * HALF],
		 struct err *err)
{
	unsigned char der[160];
	size_t len = sizeof(der);
	const unsigned char *p = der;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ECDSA_SIG *sig = NULL;
	bool ok = false;

	if (ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, s->key) == 1 &&
	    EVP_DigestSign(ctx, der, &len, (const unsigned char *)text.ptr, text.len) == 1 &&
	    (sig = d2i_ECDSA_SIG(NULL, &p, (long)len)))
		ok = BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret, HALF) == HALF &&
		     BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret + HALF, HALF) == HALF;
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(ctx);
	return ok || err_set(err, ERR_CRYPTO, "signing failed");
}

static void text_claim(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	buf_addf(b, ",\"%s\":", name);
	buf_add_json(b, span_str(value));
}

/* Always there: no group is an empty list, and known. */
static void groups_claim(struct buf *b, struct span groups)
{
	struct span one;
	size_t n = 0;

	buf_add_str(b, ",\"groups\":[");
	while (span_next(&groups, '\n', &one)) {
		if (!one.len)
			continue;
		if (n++)
			buf_add_char(b, ',');
		buf_add_json(b, one);
	}
	buf_add_char(b, ']');
}

static bool at_hash(struct buf *b, const char *access_token)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	/* Core 1.0 3.1.3.6: the left half of the hash that the signature uses. */
	if (EVP_Digest(access_token, strlen(access_token), md, &n, EVP_sha256(), NULL) != 1 ||
	    n != 32)
		return false;
	buf_add_str(b, ",\"at_hash\":\"");
	base64url_add(b, span_of(md, 16));
	buf_add_char(b, '"');
	return true;
}

bool signer_id_token(const struct signer *s, const struct id_claims *c, struct buf *out,
		     struct err *err)
{
	scoped_buf struct buf b = {0}, t = {0};
	unsigned char sig[2 * HALF];

	buf_init(&b, CLAIMS_MAX);
	buf_init(&t, 2 * CLAIMS_MAX);
	buf_addf(&b, "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", s->kid);
	base64url_add(&t, buf_span(&b));
	buf_add_char(&t, '.');
	buf_clear(&b);
	buf_add_str(&b, "{\"iss\":");
	buf_add_json(&b, span_str(c->issuer));
	text_claim(&b, "sub", c->sub);
	text_claim(&b, "aud", c->audience);
	text_claim(&b, "nonce", c->nonce);
	buf_addf(&b, ",\"iat\":%lld,\"exp\":%lld,\"auth_time\":%lld", (long long)c->now.sec,
		 (long long)(c->now.sec + c->seconds), (long long)c->auth_time.sec);
	text_claim(&b, "preferred_username", c->login);
	text_claim(&b, "name", c->name);
	text_claim(&b, "email", c->email);
	/* Whoever invited that address has said whose it is. */
	if (c->email)
		buf_add_str(&b, ",\"email_verified\":true");
	groups_claim(&b, c->groups);
	text_claim(&b, "acr", c->acr);
	buf_add_str(&b, ",\"amr\":[");
	for (size_t i = 0; c->amr[i]; i++) {
		if (i)
			buf_add_char(&b, ',');
		buf_add_json(&b, span_str(c->amr[i]));
	}
	buf_add_char(&b, ']');
	if (c->access_token && !at_hash(&b, c->access_token))
		return err_set(err, ERR_CRYPTO, "SHA-256 failed");
	buf_add_char(&b, '}');
	base64url_add(&t, buf_span(&b));
	if (b.over || t.over)
		return err_set(err, ERR_LIMIT, "the token is longer than %d bytes", CLAIMS_MAX);
	if (!sign(s, buf_span(&t), sig, err))
		return false;
	buf_add_span(out, buf_span(&t));
	buf_add_char(out, '.');
	base64url_add(out, span_of(sig, sizeof(sig)));
	return true;
}
