/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* An authenticator made of libcrypto and hand-written CBOR, and everything that a
 * relying party must refuse of it (WebAuthn Level 2, 7.1 and 7.2). */
#include "daemon/accounts/passkey.h"

#include "base/encode.h"
#include "base/mem.h"
#include "base/secret.h"
#include "tests/unit/main.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <string.h>

#define ORIGIN "https://hub.example.edu:8443"
#define RP_ID  "hub.example.edu"

enum { UP = 1, UV = 4, BE = 8, AT = 64 };

static const struct passkey_want want = { .origin = ORIGIN, .rp_id = RP_ID,
	                                  .challenge = { "0123456789abcdef0123456789abcde" } };

struct auth {
	EVP_PKEY     *key;
	int           alg;
	unsigned char point[64];
	size_t        point_len;
	unsigned char id[16];
};

static void auth_init(struct auth *a, int alg)
{
	unsigned char raw[80];
	size_t        n = sizeof(raw);

	*a = (struct auth){ .alg = alg };
	random_bytes(a->id, sizeof(a->id));
	if (alg == PASSKEY_ES256) {
		a->key = EVP_EC_gen("P-256");
		ck_assert(EVP_PKEY_get_octet_string_param(a->key, OSSL_PKEY_PARAM_PUB_KEY, raw, sizeof(raw), &n));
		ck_assert_uint_eq(n, 65);
		memcpy(a->point, raw + 1, 64);
		a->point_len = 64;
	} else {
		a->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
		ck_assert(EVP_PKEY_get_raw_public_key(a->key, raw, &n) && n == 32);
		memcpy(a->point, raw, 32);
		a->point_len = 32;
	}
}

static void auth_done(struct auth *a)
{
	EVP_PKEY_free(a->key);
}

/* What a test changes; zero: as it should be. */
struct lie {
	const char *type, *origin, *challenge, *more, *rp_id;
	int         clear, set;         /* flags */
	bool        cut, surplus, other_alg, bad_point, bad_signature, no_auth_data, indefinite;
	const char *client;             /* instead of all of it */
};

static void client_data(struct buf *b, const char *type, const struct lie *l)
{
	buf_init(b, 4096);
	if (l->client) {
		buf_add_str(b, l->client);
		return;
	}
	buf_addf(b, "{\"type\":\"%s\",\"challenge\":\"", l->type ? l->type : type);
	if (l->challenge)
		buf_add_str(b, l->challenge);
	else
		base64url_add(b, span_of(want.challenge, sizeof(want.challenge)));
	buf_addf(b, "\",\"origin\":\"%s\"%s}", l->origin ? l->origin : ORIGIN, l->more ? l->more : "");
}

static void head(struct buf *b, int flags, uint32_t counter, const struct lie *l)
{
	const char   *rp = l->rp_id ? l->rp_id : RP_ID;
	unsigned char md[32];
	unsigned      n;

	buf_init(b, 4096);
	ck_assert(EVP_Digest(rp, strlen(rp), md, &n, EVP_sha256(), NULL));
	buf_add(b, md, 32);
	buf_add_char(b, (char)((flags & ~l->clear) | l->set));
	for (int i = 24; i >= 0; i -= 8)
		buf_add_char(b, (char)(counter >> i));
}

static void bytes(struct buf *b, const void *p, size_t n)
{
	buf_add_char(b, (char)0x58);
	buf_add_char(b, (char)n);
	buf_add(b, p, n);
}

/* RFC 8152: a COSE key. */
static void cose_key(struct buf *b, const struct auth *a, const struct lie *l)
{
	unsigned char point[64];

	memcpy(point, a->point, sizeof(point));
	if (l->bad_point)
		memset(point, 0x55, sizeof(point));
	if (a->alg == PASSKEY_ES256) {
		buf_add(b, "\xa5\x01\x02\x03", 4);
		buf_add_char(b, l->other_alg ? (char)0x38 : (char)0x26);        /* -7; or RS256 ... */
		if (l->other_alg)
			buf_add_char(b, (char)0x24);                            /* ... as -37 */
		buf_add(b, "\x20\x01\x21", 3);
		bytes(b, point, 32);
		buf_add_char(b, 0x22);
		bytes(b, point + 32, 32);
	} else {
		buf_add(b, "\xa4\x01\x01\x03\x27\x20\x06\x21", 8);
		bytes(b, point, 32);
	}
}

static bool enrol(const struct auth *a, const struct lie *l, struct passkey *ret, struct err *err)
{
	struct buf client, data, att;
	bool       ok;

	client_data(&client, "webauthn.create", l);
	head(&data, UP | UV | AT, 0, l);
	for (int i = 0; i < 16; i++)
		buf_add_char(&data, 0); /* aaguid */
	buf_add_char(&data, 0);
	buf_add_char(&data, sizeof(a->id));
	buf_add(&data, a->id, sizeof(a->id));
	cose_key(&data, a, l);
	if (l->cut)
		data.len -= 5;
	buf_init(&att, 4096);
	buf_add_span(&att, SPAN("\xa3\x63" "fmt" "\x64" "none" "\x67" "attStmt" "\xa0\x68"));
	buf_add_str(&att, l->no_auth_data ? "authdata" : "authData");
	bytes(&att, data.ptr, data.len);
	if (l->surplus)
		buf_add_char(&att, 0);
	ok = passkey_register(&want, buf_span(&client), buf_span(&att), ret, err);
	buf_done(&client);
	buf_done(&data);
	buf_done(&att);
	return ok;
}

static bool login(const struct auth *a, const struct passkey *k, uint32_t counter, const struct lie *l,
                  struct passkey_said *ret, struct err *err)
{
	struct buf    client, data, text;
	unsigned char md[32], sig[128];
	size_t        len = sizeof(sig);
	unsigned      n;
	EVP_MD_CTX   *ctx = EVP_MD_CTX_new();
	bool          ok;

	client_data(&client, "webauthn.get", l);
	head(&data, UP | UV, counter, l);
	buf_init(&text, 8192);
	buf_add_span(&text, buf_span(&data));
	ck_assert(EVP_Digest(client.ptr, client.len, md, &n, EVP_sha256(), NULL));
	buf_add(&text, md, 32);
	ck_assert(EVP_DigestSignInit(ctx, NULL, a->alg == PASSKEY_ES256 ? EVP_sha256() : NULL, NULL, a->key));
	ck_assert(EVP_DigestSign(ctx, sig, &len, (const unsigned char *)text.ptr, text.len));
	EVP_MD_CTX_free(ctx);
	if (l->bad_signature)
		sig[len - 1] ^= 1;
	if (l->cut)
		data.len -= 1;
	ok = passkey_verify(&want, k, buf_span(&client), buf_span(&data), span_of(sig, len), ret, err);
	buf_done(&client);
	buf_done(&data);
	buf_done(&text);
	return ok;
}

static const struct {
	struct lie    lie;
	enum err_code why;
} both[] = {
	{ { .type = "webauthn.other" }, ERR_PEER },
	{ { .origin = "https://evil.example" }, ERR_DENIED },
	{ { .origin = "https://hub.example.edu" }, ERR_DENIED },                /* another port */
	{ { .origin = "http://hub.example.edu:8443" }, ERR_DENIED },
	{ { .origin = ORIGIN "/" }, ERR_DENIED },
	{ { .origin = "https://hub.example.edu:8443.evil.example" }, ERR_DENIED },
	{ { .challenge = "" }, ERR_DENIED },
	{ { .challenge = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQ" }, ERR_DENIED },   /* shorter */
	{ { .challenge = "MTEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQA" }, ERR_DENIED },  /* another */
	{ { .more = ",\"crossOrigin\":true" }, ERR_DENIED },
	{ { .more = ",\"crossOrigin\":\"no\"" }, ERR_DENIED },
	{ { .more = ",\"type\":\"webauthn.get\"" }, ERR_SYNTAX },               /* twice */
	{ { .client = "" }, ERR_SYNTAX },
	{ { .client = "[]" }, ERR_PEER },
	{ { .client = "{}" }, ERR_PEER },
	{ { .client = "{\"type\":7}" }, ERR_PEER },
	{ { .rp_id = "evil.example" }, ERR_DENIED },
	{ { .clear = UP }, ERR_DENIED },
	{ { .clear = UV }, ERR_DENIED },
};

static void refused_and_taken(int alg)
{
	struct auth         a, other;
	struct passkey      k = { 0 };
	struct passkey_said said = { 0 };
	struct err          err = { 0 };
	const struct {
		struct lie    lie;
		enum err_code why;
	} rows[] = {
		{ { .clear = AT }, ERR_DENIED },
		{ { .cut = true }, ERR_SYNTAX },
		{ { .surplus = true }, ERR_SYNTAX },
		{ { .no_auth_data = true }, ERR_SYNTAX },
		{ { .other_alg = true }, ERR_SYNTAX },
		{ { .bad_point = true }, ERR_CRYPTO },
	};

	auth_init(&a, alg);
	auth_init(&other, alg);
	for (size_t i = 0; i < array_size(both); i++) {
		ck_assert_msg(!enrol(&a, &both[i].lie, &k, &err), "row %zu", i);
		ck_assert_msg(err.code == both[i].why, "row %zu: %s", i, err.msg);
	}
	for (size_t i = 0; i < array_size(rows); i++) {
		/* every 32 bytes are an Ed25519 key, and there is no second way to name its algorithm */
		if (alg == PASSKEY_EDDSA && (rows[i].lie.bad_point || rows[i].lie.other_alg))
			continue;
		ck_assert_msg(!enrol(&a, &rows[i].lie, &k, &err), "row %zu", i);
		ck_assert_msg(err.code == rows[i].why, "row %zu: %s", i, err.msg);
	}
	ck_assert_uint_eq(k.id_len, 0);
	ck_assert_msg(enrol(&a, &(struct lie){ 0 }, &k, &err), "%s", err.msg);
	ck_assert_int_eq(k.alg, alg);
	ck_assert(k.id_len == sizeof(a.id) && memcmp(k.id, a.id, k.id_len) == 0);
	ck_assert(k.key_len == a.point_len && memcmp(k.key, a.point, k.key_len) == 0);
	ck_assert(enrol(&a, &(struct lie){ .more = ",\"crossOrigin\":false,\"later\":1" }, &k, &err));

	/* logins: first what is refused */
	for (size_t i = 0; i < array_size(both); i++) {
		ck_assert_msg(!login(&a, &k, 1, &both[i].lie, &said, &err), "row %zu", i);
		/* what "twice" says in a login's words */
		ck_assert_msg(err.code == both[i].why, "row %zu: %s", i, err.msg);
	}
	ck_assert(!login(&a, &k, 1, &(struct lie){ .type = "webauthn.create" }, &said, &err));
	ck_assert(!login(&a, &k, 1, &(struct lie){ .bad_signature = true }, &said, &err));
	ck_assert_int_eq(err.code, ERR_CRYPTO);
	ck_assert(!login(&a, &k, 1, &(struct lie){ .cut = true }, &said, &err));
	ck_assert(!login(&other, &k, 1, &(struct lie){ 0 }, &said, &err));     /* another's key */
	ck_assert_int_eq(err.code, ERR_CRYPTO);
	ck_assert(!said.counter && !said.synced);
	ck_assert(login(&a, &k, 1, &(struct lie){ 0 }, &said, &err));
	ck_assert(said.counter == 1 && !said.synced);
	ck_assert(login(&a, &k, 2, &(struct lie){ .set = BE }, &said, &err));
	ck_assert(said.counter == 2 && said.synced);

	/* the counter */
	k.counter = 7;
	ck_assert(!login(&a, &k, 0, &(struct lie){ 0 }, &said, &err));
	ck_assert(!login(&a, &k, 6, &(struct lie){ 0 }, &said, &err));
	ck_assert(!login(&a, &k, 7, &(struct lie){ 0 }, &said, &err));
	ck_assert_int_eq(err.code, ERR_DENIED);
	ck_assert(login(&a, &k, 8, &(struct lie){ 0 }, &said, &err) && said.counter == 8);
	ck_assert(login(&a, &k, UINT32_MAX, &(struct lie){ 0 }, &said, &err) && said.counter == UINT32_MAX);
	k.counter = 0;
	ck_assert(login(&a, &k, 0, &(struct lie){ 0 }, &said, &err) && said.counter == 0);

	/* a key that was stored wrongly lets nobody in */
	k.alg = alg == PASSKEY_ES256 ? PASSKEY_EDDSA : PASSKEY_ES256;
	ck_assert(!login(&a, &k, 1, &(struct lie){ 0 }, &said, &err));
	k.alg = 0;
	ck_assert(!login(&a, &k, 1, &(struct lie){ 0 }, &said, &err));
	auth_done(&a);
	auth_done(&other);
}

START_TEST(test_es256)
{
	refused_and_taken(PASSKEY_ES256);
}
END_TEST

START_TEST(test_eddsa)
{
	refused_and_taken(PASSKEY_EDDSA);
}
END_TEST

START_TEST(test_garbage)
{
	struct passkey      k = { .alg = PASSKEY_ES256, .key_len = 64 };
	struct passkey_said said;
	struct err          err = { 0 };
	struct buf          client;
	unsigned char       raw[600];

	client_data(&client, "webauthn.create", &(struct lie){ 0 });
	ck_assert(!passkey_register(&want, buf_span(&client), SPAN(""), &k, &err));
	ck_assert(!passkey_register(&want, buf_span(&client), SPAN("\xa0"), &k, &err));
	ck_assert(!passkey_register(&want, buf_span(&client), SPAN("\xbf\xff"), &k, &err));
	ck_assert(!passkey_register(&want, buf_span(&client), SPAN("\xa1\x68" "authData" "\x40"), &k, &err));
	ck_assert(!passkey_register(&want, buf_span(&client), SPAN("\xa1\x68" "authData" "\x01"), &k, &err));
	/* heads that ask for more than there is */
	ck_assert(!passkey_register(&want, buf_span(&client), SPAN("\x9b\x00\x00\x00\x7f\xff\xff\xff\xff"), &k, &err));
	ck_assert(!passkey_register(&want, buf_span(&client),
	                            SPAN("\xa2\x67" "attStmt" "\x9a\x7f\xff\xff\xff\x68" "authData" "\x40"), &k, &err));
	ck_assert(!passkey_register(&want, buf_span(&client),
	                            SPAN("\xa2\x67" "attStmt" "\x81\x81\x81\x81\x81\x81\x00\x68" "authData" "\x40"), &k, &err));
	for (int i = 0; i < 2000; i++) {
		struct buf data, att;

		head(&data, UP | UV | AT, 0, &(struct lie){ 0 });
		random_bytes(raw, sizeof(raw));
		for (int j = 0; j < 17; j++)
			buf_add_char(&data, 0);
		buf_add_char(&data, 4);
		buf_add(&data, raw, 4 + raw[0] % 100);
		buf_init(&att, 4096);
		buf_add_span(&att, SPAN("\xa1\x68" "authData"));
		bytes(&att, data.ptr, data.len);
		ck_assert(!passkey_register(&want, buf_span(&client), buf_span(&att), &k, &err));
		buf_done(&data);
		buf_done(&att);
	}
	for (int i = 0; i < 2000; i++) {
		size_t n;

		random_bytes(raw, sizeof(raw));
		n = raw[0] * 2;
		ck_assert(!passkey_register(&want, buf_span(&client), span_of(raw + 1, n), &k, &err));
		ck_assert(!passkey_verify(&want, &k, buf_span(&client), span_of(raw + 1, n), span_of(raw, 70), &said,
		                          &err));
	}
	ck_assert(!passkey_register(&want, buf_span(&client), span_of(raw, PASSKEY_ATTESTATION_MAX + 1), &k, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	buf_done(&client);
}
END_TEST

START_TEST(test_rp_id)
{
	char out[64];
	static const char *const none[] = { "http://hub.example.edu", "https://", "https://192.0.2.7", "https://[2001:db8::1]:8443",
		                            "https://192.0.2.7:8443", "hub.example.edu" };

	for (size_t i = 0; i < array_size(none); i++)
		ck_assert_msg(!passkey_rp_id(none[i], out, sizeof(out)), "%s", none[i]);
	ck_assert(!passkey_rp_id("https://hub.example.edu", out, 5));
	ck_assert(passkey_rp_id("https://hub.example.edu:8443/x", out, sizeof(out)));
	ck_assert_str_eq(out, "hub.example.edu");
}
END_TEST

UNIT_MAIN("passkey", test_es256, test_eddsa, test_garbage, test_rp_id)
