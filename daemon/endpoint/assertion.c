/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/assertion.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "base/secret.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

enum {
	P256_LEN = 32,
	POINT_LEN = 1 + 2 * P256_LEN,
	KID_LEN = 8,                    /* bytes of the RFC 7638 thumbprint; 16 hex digits */
};

struct assertion_key {
	EVP_PKEY   *pkey;
	uint8_t     priv[P256_LEN];
	uint8_t     point[POINT_LEN];   /* uncompressed */
	char        kid[2 * KID_LEN + 1];
	struct wall made;
};

struct assertion_keys {
	char                *path;
	struct assertion_key list[ASSERTION_KEYS_MAX];  /* oldest first */
	size_t               count;
};

static void key_done(struct assertion_key *k)
{
	EVP_PKEY_free(k->pkey);
	mem_wipe(k, sizeof(*k));
}

/* RFC 7638: the hash of the key's required members in their order. */
static void key_name(struct assertion_key *k)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct buf b, hex;

	buf_init(&b, 256);
	buf_add_str(&b, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
	base64url_add(&b, span_of(k->point + 1, P256_LEN));
	buf_add_str(&b, "\",\"y\":\"");
	base64url_add(&b, span_of(k->point + 1 + P256_LEN, P256_LEN));
	buf_add_str(&b, "\"}");
	SHA256((const unsigned char *)b.ptr, b.len, digest);
	buf_done(&b);
	buf_init(&hex, sizeof(k->kid));
	hex_add(&hex, span_of(digest, KID_LEN));
	span_cstr(buf_span(&hex), k->kid, sizeof(k->kid));
	buf_done(&hex);
}

/* From the private number: the point is computed, not believed. */
static bool key_load(struct assertion_key *k, struct span priv, struct wall made, struct err *err)
{
	bool ok = false;
	BIGNUM *d = BN_secure_new();
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	EC_POINT *point = group ? EC_POINT_new(group) : NULL;
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);

	memset(k, 0, sizeof(*k));
	if (!d || !point || !bld || !ctx || priv.len != P256_LEN ||
	    !BN_bin2bn((const unsigned char *)priv.ptr, P256_LEN, d) || BN_is_zero(d) ||
	    BN_cmp(d, EC_GROUP_get0_order(group)) >= 0 ||
	    !EC_POINT_mul(group, point, d, NULL, NULL, NULL) ||
	    EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, k->point, POINT_LEN, NULL) !=
	            POINT_LEN)
		goto out;
	if (!OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) ||
	    !OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, k->point, POINT_LEN) ||
	    !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d) ||
	    !(params = OSSL_PARAM_BLD_to_param(bld)) || EVP_PKEY_fromdata_init(ctx) <= 0 ||
	    EVP_PKEY_fromdata(ctx, &k->pkey, EVP_PKEY_KEYPAIR, params) <= 0)
		goto out;
	memcpy(k->priv, priv.ptr, P256_LEN);
	k->made = made;
	key_name(k);
	ok = true;
out:
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EVP_PKEY_CTX_free(ctx);
	EC_POINT_free(point);
	EC_GROUP_free(group);
	BN_clear_free(d);
	if (!ok) {
		key_done(k);
		return err_set(err, ERR_CRYPTO, "not a P-256 private key");
	}
	return true;
}

static bool key_make(struct assertion_key *k, struct wall now, struct err *err)
{
	uint8_t priv[P256_LEN];
	bool ok = false;

	/* A random number is outside the group's order once in 2^32 tries. */
	for (int i = 0; i < 8 && !ok; i++) {
		random_bytes(priv, sizeof(priv));
		ok = key_load(k, span_of(priv, sizeof(priv)), now, err);
	}
	mem_wipe(priv, sizeof(priv));
	return ok;
}

/* ---- the file: {"keys":[{"d":"<base64url>","made":1790000000}]}, oldest first ---- */

static bool keys_store(const char *path, const struct assertion_key *list, size_t n, struct err *err)
{
	struct buf b;

	buf_init(&b, ASSERTION_FILE_MAX);
	buf_add_str(&b, "{\"keys\":[");
	for (size_t i = 0; i < n; i++) {
		buf_add_str(&b, i ? ",{\"d\":\"" : "{\"d\":\"");
		base64url_add(&b, span_of(list[i].priv, P256_LEN));
		buf_addf(&b, "\",\"made\":%lld}", (long long)list[i].made.sec);
	}
	buf_add_str(&b, "]}\n");

	bool ok = b.over ? err_set(err, ERR_LIMIT, "%s: too many keys", path)
	                 : file_replace(path, buf_span(&b), 0600, err);

	buf_wipe_done(&b);
	return ok;
}

static bool keys_read(struct assertion_keys *k, struct span text, struct err *err)
{
	scoped_json json_t *root = json_read(text, ASSERTION_FILE_MAX, err);
	const json_t *list = json_object_get(root, "keys"), *item;
	size_t i;

	if (!root)
		return false;
	if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > ASSERTION_KEYS_MAX)
		return err_set(err, ERR_SYNTAX, "no \"keys\" array of 1 to %d keys", ASSERTION_KEYS_MAX);
	json_array_foreach(list, i, item) {
		const json_t *d = json_object_get(item, "d"), *made = json_object_get(item, "made");
		uint8_t priv[P256_LEN];
		size_t n = 0;
		bool ok = json_is_string(d) && json_is_integer(made) &&
		          base64url_decode(span_of(json_string_value(d), json_string_length(d)), priv,
		                           sizeof(priv), &n) &&
		          key_load(&k->list[i], span_of(priv, n), (struct wall){ json_integer_value(made) }, err);

		mem_wipe(priv, sizeof(priv));
		if (!ok)
			return err_set(err, ERR_SYNTAX, "key %zu is not a P-256 key with its time", i);
		k->count = i + 1;
	}
	return true;
}

struct assertion_keys *assertion_keys_open(const char *path, struct wall now, struct err *err)
{
	struct assertion_keys *k = mem_alloc(sizeof(*k));
	struct err why = { 0 };
	struct buf text = { 0 };
	bool ok;

	k->path = mem_strdup(path);
	if (file_read_private(path, ASSERTION_FILE_MAX, &text, &why)) {
		ok = keys_read(k, buf_span(&text), err);
		if (!ok)
			err_prefix(err, "%s: ", path);
		buf_wipe_done(&text);
	} else if (why.code == ERR_MISSING) {
		ok = key_make(&k->list[0], now, err);
		k->count = ok;
		ok = ok && keys_store(path, k->list, 1, err);
	} else {
		ok = err_set(err, why.code, "%s", why.msg);
	}
	if (ok && assertion_keys_turn(k, now, err))
		return k;
	assertion_keys_free(k);
	return NULL;
}

void assertion_keys_free(struct assertion_keys *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->count; i++)
		key_done(&k->list[i]);
	free(k->path);
	mem_wipe(k, sizeof(*k));
	free(k);
}

/* The newest that has been published for long enough; the oldest where none has. */
static const struct assertion_key *key_signs(const struct assertion_keys *k, struct wall now)
{
	size_t i = k->count - 1;

	while (i > 0 && now.sec - k->list[i].made.sec < ASSERTION_LEAD_SEC)
		i--;
	return &k->list[i];
}

bool assertion_keys_turn(struct assertion_keys *k, struct wall now, struct err *err)
{
	struct assertion_key next[ASSERTION_KEYS_MAX + 1] = { 0 }, made = { 0 };
	size_t n = 0, first = 0;

	/* A key is outlived once its successor has signed for as long as an assertion lives. */
	while (first + 1 < k->count &&
	       now.sec - k->list[first + 1].made.sec > ASSERTION_LEAD_SEC + ASSERTION_LIFE_MAX_SEC)
		first++;

	bool turn = k->count - first < ASSERTION_KEYS_MAX &&
	            now.sec - k->list[k->count - 1].made.sec >= ASSERTION_TURN_SEC - ASSERTION_LEAD_SEC;

	if (!turn && first == 0)
		return true;
	if (turn && !key_make(&made, now, err))
		return false;
	for (size_t i = first; i < k->count; i++)
		next[n++] = k->list[i];
	if (turn)
		next[n++] = made;

	bool ok = keys_store(k->path, next, n, err);

	if (ok) {
		for (size_t i = 0; i < first; i++)
			key_done(&k->list[i]);
		memcpy(k->list, next, n * sizeof(next[0]));
		k->count = n;
	} else if (turn) {
		key_done(&made);
	}
	mem_wipe(next, sizeof(next));
	return ok;
}

void assertion_jwks(const struct assertion_keys *k, struct buf *out)
{
	buf_add_str(out, "{\"keys\":[");
	for (size_t i = 0; i < k->count; i++) {
		buf_addf(out, "%s{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\",\"kid\":\"%s\",\"x\":\"",
		         i ? "," : "", k->list[i].kid);
		base64url_add(out, span_of(k->list[i].point + 1, P256_LEN));
		buf_add_str(out, "\",\"y\":\"");
		base64url_add(out, span_of(k->list[i].point + 1 + P256_LEN, P256_LEN));
		buf_add_str(out, "\"}");
	}
	buf_add_str(out, "]}");
}

/* ---- one assertion ---- */

static void claim(struct buf *b, const char *name, struct span value)
{
	if (value.len == 0)
		return;
	buf_addf(b, ",\"%s\":", name);
	buf_add_json(b, value);
}

static void claim_list(struct buf *b, const char *name, const struct span *list, size_t n)
{
	if (n == 0)
		return;
	buf_addf(b, ",\"%s\":[", name);
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_add_char(b, ',');
		buf_add_json(b, list[i]);
	}
	buf_add_char(b, ']');
}

/* ES256 wants r and s as two numbers of 32 bytes; OpenSSL gives DER. */
static bool sign(EVP_PKEY *pkey, struct span text, uint8_t sig[2 * P256_LEN])
{
	uint8_t der[128];
	size_t n = sizeof(der);
	const unsigned char *p = der;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ECDSA_SIG *rs = NULL;
	bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey) > 0 &&
	          EVP_DigestSign(ctx, der, &n, (const unsigned char *)text.ptr, text.len) > 0 &&
	          (rs = d2i_ECDSA_SIG(NULL, &p, (long)n)) != NULL &&
	          BN_bn2binpad(ECDSA_SIG_get0_r(rs), sig, P256_LEN) == P256_LEN &&
	          BN_bn2binpad(ECDSA_SIG_get0_s(rs), sig + P256_LEN, P256_LEN) == P256_LEN;

	ECDSA_SIG_free(rs);
	EVP_MD_CTX_free(ctx);
	return ok;
}

static void claims(struct buf *b, const struct assertion *a, struct wall now, int64_t exp)
{
	uint8_t jti[16];

	random_bytes(jti, sizeof(jti));
	buf_add_str(b, "{\"iss\":");
	buf_add_json(b, a->issuer);
	claim(b, "aud", a->audience);
	claim(b, "sub", a->subject);
	buf_addf(b, ",\"iat\":%lld,\"exp\":%lld,\"jti\":\"", (long long)now.sec, (long long)exp);
	base64url_add(b, span_of(jti, sizeof(jti)));
	buf_add_char(b, '"');
	claim(b, "login", a->login);
	claim(b, "name", a->name);
	claim(b, "email", a->email);
	claim(b, "idp_iss", a->idp_issuer);
	claim(b, "idp_sub", a->idp_subject);
	claim(b, "node", a->node);
	claim_list(b, "groups", a->groups, a->group_count);
	claim_list(b, "tags", a->tags, a->tag_count);
	claim(b, "acr", a->acr);
	claim_list(b, "amr", a->amr, a->amr_count);
	if (a->auth_time.sec > 0)
		buf_addf(b, ",\"auth_time\":%lld", (long long)a->auth_time.sec);
	claim(b, "htm", a->method);
	claim(b, "htp", a->path);
	buf_add_char(b, '}');
}

bool assertion_sign(const struct assertion_keys *k, const struct assertion *a, struct wall now,
                    struct buf *out, struct wall *ret_exp, struct err *err)
{
	const struct assertion_key *key = key_signs(k, now);
	int64_t exp = now.sec + ASSERTION_LIFE_SEC;
	uint8_t sig[2 * P256_LEN];

	if (a->issuer.len == 0 || a->audience.len == 0 || a->subject.len == 0)
		return err_set(err, ERR_DENIED, "an assertion needs issuer, audience and subject");
	if (a->ends.sec <= now.sec)
		return err_set(err, ERR_EXPIRED, "the session ended at %lld, now %lld",
		               (long long)a->ends.sec, (long long)now.sec);
	if (a->ends.sec < exp)
		exp = a->ends.sec;

	scoped_buf struct buf head = { 0 }, body = { 0 }, text = { 0 };

	buf_init(&head, 128);
	buf_addf(&head, "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", key->kid);
	buf_init(&body, ASSERTION_MAX);
	claims(&body, a, now, exp);
	buf_init(&text, ASSERTION_MAX);
	base64url_add(&text, buf_span(&head));
	buf_add_char(&text, '.');
	base64url_add(&text, buf_span(&body));
	if (body.over || text.over)
		return err_set(err, ERR_LIMIT, "the assertion is larger than %d bytes: %zu groups",
		               ASSERTION_MAX, a->group_count);
	if (!sign(key->pkey, buf_span(&text), sig))
		return err_set(err, ERR_CRYPTO, "signing failed");
	buf_add_char(&text, '.');
	base64url_add(&text, span_of(sig, sizeof(sig)));
	if (text.over)
		return err_set(err, ERR_LIMIT, "the assertion is larger than %d bytes", ASSERTION_MAX);
	buf_add_span(out, buf_span(&text));
	if (out->over)
		return err_set(err, ERR_LIMIT, "no room for an assertion of %zu bytes", text.len);
	*ret_exp = (struct wall){ exp };
	return true;
}
