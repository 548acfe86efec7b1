/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/enrol.h"

#include "base/encode.h"

#include "tests/unit/main.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void unhex(const char *hex, uint8_t out[32])
{
	size_t n;

	ck_assert(hex_decode(span_str(hex), out, 32, &n) && n == 32);
}

/* Bob's and Alice's keys of RFC 7748 6.1. The proof was computed apart, from
 * the shared secret that the RFC gives, with Python's hmac and hashlib. */
START_TEST(test_proof)
{
	struct enrol_proof_input in = { .start = SPAN("{\"v\":1}") };
	struct secret bob = { 0 };
	uint8_t       key[32], bob_public[32], alice[32], want[32], got[32] = { 0 };
	struct err    err = { 0 };

	unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", key);
	unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", bob_public);
	unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", alice);
	unhex("4c1f347e09a4ee24b86aa64c4092f4a801917c419e8dfca4af50b20e3206099d", want);
	secret_init(&bob, key, 32);
	memset(in.challenge, 1, 32);
	memset(in.pin.sha256, 2, 32);
	memcpy(in.device, bob_public, 32);
	memcpy(in.ephemeral, alice, 32);
	ck_assert(enrol_device_public(&bob, got, &err) && memcmp(got, bob_public, 32) == 0);

	/* Points of small order give an all-zero secret. */
	static const char *const small[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
		unhex(small[i], key);
		err.code = ERR_NONE;
		ck_assert_msg(!enrol_proof(&bob, key, &in, got, &err) && err.code == ERR_CRYPTO, "point %zu", i);
	}
	ck_assert_msg(enrol_proof(&bob, alice, &in, got, &err), "%s", err.msg);
	ck_assert(memcmp(got, want, 32) == 0);
	/* every input counts */
	uint8_t *parts[] = { in.challenge, in.pin.sha256, in.device, in.ephemeral };
	for (size_t i = 0; i < 4; i++) {
		parts[i][31] ^= 1;
		ck_assert(enrol_proof(&bob, alice, &in, got, &err) && memcmp(got, want, 32) != 0);
		parts[i][31] ^= 1;
	}
	in.start = SPAN("{\"v\":2}");
	ck_assert(enrol_proof(&bob, alice, &in, got, &err) && memcmp(got, want, 32) != 0);
	secret_done(&bob);
}
END_TEST

/* Both sides come to one proof with keys of their own. */
START_TEST(test_both_sides)
{
	struct secret device = { 0 }, ephemeral = { 0 };
	struct enrol_proof_input in = { .start = SPAN("body") };
	uint8_t    one[32], two[32];
	struct err err = { 0 };

	enrol_device_new(&device);
	enrol_device_new(&ephemeral);
	ck_assert(enrol_device_public(&device, in.device, &err) && enrol_device_public(&ephemeral, in.ephemeral, &err));
	ck_assert(enrol_proof(&device, in.ephemeral, &in, one, &err));
	ck_assert(enrol_proof(&ephemeral, in.device, &in, two, &err));
	ck_assert(memcmp(one, two, 32) == 0);
	secret_done(&device);
	secret_done(&ephemeral);
}
END_TEST

#define PIN "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
#define URL64 "aHR0cHM6Ly9odWIuZXhhbXBsZS5lZHU"         /* https://hub.example.edu */

START_TEST(test_key_string)
{
	static const char *const bad[] = {
		"", "rk1", "rk1.", "rk2." URL64 "." PIN "." PIN, "rk1." URL64 "." PIN, "rk1." URL64 "." PIN ".",
		"rk1." URL64 "..", "rk1." URL64 ".AQE." PIN, "rk1." URL64 "." PIN "." PIN "=",
		"rk1.aHR0cDovL2h1Yi5leGFtcGxlLmVkdQ." PIN "." PIN,                     /* http: */
		"rk1.aHR0cHM6Ly9odWIvcGF0aA." PIN "." PIN,                             /* a path */
		"rk1." URL64 "." PIN "." PIN "." PIN "." PIN "." PIN "." PIN,          /* five pins */
		"rk1." URL64 "." PIN "." PIN ".x",
	};
	struct enrol_key k;
	struct err       err = { 0 };
	struct buf       out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!enrol_key_parse(span_str(bad[i]), &k, &err), "row %zu was taken", i);
	static const char good[] = "rk1." URL64 "." PIN "." PIN "." PIN;
	ck_assert_msg(enrol_key_parse(SPAN(" rk1." URL64 "." PIN "." PIN "." PIN " "), &k, &err), "%s", err.msg);
	ck_assert_str_eq(k.url, "https://hub.example.edu");
	ck_assert(k.pin_count == 2 && k.secret.len == 32 && k.secret.ptr[0] == 1);
	buf_init(&out, 1024);
	enrol_key_encode(&k, &out);
	ck_assert_str_eq(out.ptr, good);
	buf_wipe_done(&out);
	enrol_key_done(&k);
}
END_TEST

START_TEST(test_pin)
{
	static const struct { const char *text; bool ok; } rows[] = {
		{ "", false }, { "sha256//", false }, { PIN "A", false }, { "sha1/" PIN, false },
		{ PIN, true }, { "sha256/" PIN, true }, { "sha256//" PIN "=", true },
	};
	struct enrol_pin pin;
	char             text[ENROL_PIN_TEXT_LEN + 1];
	struct err       err = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(enrol_pin_parse(span_str(rows[i].text), &pin) == rows[i].ok, "row %zu", i);
	enrol_pin_text(&pin, text);
	ck_assert_str_eq(text, PIN);
	/* a certificate made with openssl req; its pin with openssl x509 -pubkey | pkey -outform der | dgst */
	static const char pem[] =
#include "tests/unit/pin.inc"
	ck_assert(!enrol_pin_of_pem(SPAN("-----BEGIN CERTIFICATE-----\n"), &pin, &err));
	ck_assert_msg(enrol_pin_of_pem(span_str(pem), &pin, &err), "%s", err.msg);
	enrol_pin_text(&pin, text);
	ck_assert_str_eq(text, PIN_OF_PEM);
}
END_TEST

START_TEST(test_messages)
{
	struct enrol_start     s = { 0 }, s2;
	struct enrol_challenge c = { 0 }, c2;
	struct enrol_reply     r = { 0 }, r2;
	struct enrol_finish    f;
	struct buf             out;
	struct err             err = { 0 };

	buf_init(&out, 1 << 16);
	ck_assert(!enrol_start_decode(SPAN("{\"v\":1}"), &s2, &err));
	ck_assert(!enrol_start_decode(SPAN("{\"v\":2,\"key\":\"" PIN "=\",\"name\":\"a\",\"pin\":\"" PIN "\"}"), &s2, &err));
	ck_assert(!enrol_start_decode(SPAN("{\"v\":1,\"key\":\"" PIN "=\",\"name\":\"a b\",\"pin\":\"" PIN "\"}"), &s2, &err));
	ck_assert(!enrol_start_decode(SPAN("{\"v\":1,\"key\":\"" PIN "=\",\"name\":\"a\",\"pin\":\"" PIN "\",\"loopback\":70000}"), &s2, &err));
	memset(s.key, 1, 32);
	memcpy(s.name, "laptop", 7);
	memcpy(s.os, "Debian", 7);
	secret_random(&s.enrol_key, 32);
	s.loopback = 4321;
	enrol_start_encode(&s, &out);
	ck_assert_msg(enrol_start_decode(buf_span(&out), &s2, &err), "%s", err.msg);
	ck_assert(memcmp(s2.key, s.key, 32) == 0 && secret_equal(&s2.enrol_key, secret_span(&s.enrol_key)) && s2.loopback == 4321);
	ck_assert_str_eq(s2.name, "laptop");
	enrol_start_done(&s);
	enrol_start_done(&s2);

	memcpy(c.attempt, "AQEBAQEBAQEBAQEBAQEBAR", 22);
	memset(c.challenge, 3, 32);
	buf_clear(&out);
	enrol_challenge_encode(&c, &out);
	ck_assert_msg(!enrol_challenge_decode(span_head(buf_span(&out), out.len - 1), &c2, &err), "cut");
	/* 22 characters of base64url hold 16 bytes and four bits that must be zero */
	ck_assert(!enrol_challenge_decode(buf_span(&out), &c2, &err));
	memcpy(c.attempt, "AQEBAQEBAQEBAQEBAQEBAQ", 22);
	buf_clear(&out);
	enrol_challenge_encode(&c, &out);
	ck_assert_msg(enrol_challenge_decode(buf_span(&out), &c2, &err), "%s", err.msg);
	ck_assert(memcmp(&c, &c2, sizeof(c)) == 0);

	ck_assert(!enrol_finish_decode(SPAN("{\"attempt\":\"AQEBAQEBAQEBAQEBAQEBAQ\",\"ticket\":\"x\"}"), &f, &err));
	ck_assert(enrol_finish_decode(SPAN("{\"attempt\":\"AQEBAQEBAQEBAQEBAQEBAQ\"}"), &f, &err) && !f.ticket[0]);

	struct enrol_login l;
	ck_assert(!enrol_login_decode(SPAN("{\"v\":1,\"max_age\":-1}"), &l, &err));
	ck_assert(!enrol_login_decode(SPAN("{\"v\":1,\"acr\":\"\\u00e9\"}"), &l, &err));
	ck_assert(enrol_login_decode(SPAN("{\"v\":1}"), &l, &err) && !l.has_max_age && !l.acr[0]);
	static const char step_up[] = "{\"v\":1,\"loopback\":4321,\"max_age\":0,\"acr\":\"a b\"}";
	ck_assert(enrol_login_decode(span_str(step_up), &l, &err) && l.has_max_age && l.max_age == 0);
	buf_clear(&out);
	enrol_login_encode(&l, &out);
	ck_assert_str_eq(out.ptr, step_up);

	memcpy(r.attempt, c.attempt, sizeof(r.attempt));
	memcpy(r.url, "http://hub/", 12);
	memcpy(r.code, "BCDF-GHJK", 10);
	r.expires.sec = 1790000000;
	buf_clear(&out);
	enrol_reply_encode(&r, &out);
	ck_assert(!enrol_reply_decode(buf_span(&out), &r2, &err));      /* a browser is not sent there */
	memcpy(r.url, "https://hub/login/x", 20);
	buf_clear(&out);
	enrol_reply_encode(&r, &out);
	ck_assert_msg(enrol_reply_decode(buf_span(&out), &r2, &err), "%s", err.msg);
	ck_assert(!r2.done && r2.expires.sec == 1790000000);

#define N(id) "{\"id\":\"" id "\",\"name\":\"a\",\"key\":\"" PIN "=\",\"v4\":\"100.64.0.1\"}"
#define MESH "\"mesh\":{\"ula\":\"fd00:1:2::/48\",\"v4\":\"100.64.0.0/10\",\"name\":\"m\"}"
	/* control must be the hub's own address */
	ck_assert(!enrol_reply_decode(SPAN("{\"node\":" N("n2") ",\"hub\":" N("n1") "," MESH ",\"control\":\"192.0.2.1:80\"}"), &r2, &err));
	static const char done[] = "{\"node\":" N("n2") ",\"hub\":" N("n1") "," MESH ",\"control\":\"100.64.0.1:80\"}";
	ck_assert_msg(enrol_reply_decode(span_str(done), &r2, &err), "%s", err.msg);
	buf_clear(&out);
	enrol_reply_encode(&r2, &out);
	ck_assert_str_eq(out.ptr, done);
	enrol_reply_done(&r2);

	struct err refused = { 0 };
	err_set(&refused, ERR_DENIED, "no \"such\" key");
	buf_clear(&out);
	enrol_error_encode(&refused, &out);
	ck_assert(!enrol_error_decode(enrol_error_status(ERR_DENIED), buf_span(&out), &err));
	ck_assert(err.code == ERR_DENIED);
	ck_assert_str_eq(err.msg, refused.msg);
	buf_done(&out);
}
END_TEST

/* A login at the device: what the coordinator tells of the issuer, and the evidence. */
START_TEST(test_at_the_device)
{
#define A "\"attempt\":\"AQEBAQEBAQEBAQEBAQEBAQ\""
	static const char *const bad[] = {
		"{" A ",\"id_token\":\"a.b.c\"}",                            /* no opening */
		"{" A ",\"id_token\":\"a.b.c\",\"opening\":\"AQE\"}",
		"{" A ",\"id_token\":\"a\\u00e9\",\"opening\":\"" PIN "\"}",
		"{" A ",\"id_token\":\"a.b.c\",\"opening\":\"" PIN "\",\"ticket\":\"" PIN "\"}",
		"{\"id_token\":\"a.b.c\",\"opening\":\"" PIN "\"}",
	};
	static const char good[] = "{" A ",\"id_token\":\"a.b.c\",\"opening\":\"" PIN "\",\"refresh_token\":\"r\"}";
	static const char *const bad_reply[] = {
		"{" A ",\"device\":{\"name\":\"u\",\"issuer\":\"http://i\",\"client\":\"d\"},\"expires\":5}",
		"{" A ",\"device\":{\"name\":\"u\",\"issuer\":\"https://i\"},\"expires\":5}",
		"{" A ",\"device\":{\"name\":\"u\",\"issuer\":\"https://i\",\"client\":\"d\\u00e9\"},\"expires\":5}",
		"{" A ",\"device\":{\"name\":\"u\",\"issuer\":\"https://i\",\"client\":\"d\",\"max_age\":-1},\"expires\":5}",
		"{" A ",\"device\":[],\"expires\":5}", "{\"choose\":[]}", "{\"choose\":[{\"title\":\"u\"}]}",
	};
	static const char *const good_reply[] = {
		"{" A ",\"device\":{\"name\":\"u\",\"title\":\"U\",\"issuer\":\"https://i\",\"client\":\"d\",\"scopes\":\"email\","
		"\"acr\":\"a b\",\"need_acr\":true,\"prompt\":\"login\",\"login_claim\":\"email\",\"max_age\":0,"
		"\"ca\":\"-\\n-\"},\"expires\":5}",
		"{\"choose\":[{\"name\":\"u\",\"title\":\"U\"},{\"name\":\"v\"}]}",
	};
	static const char start[] = "{\"v\":1,\"acr\":\"a\",\"device\":true,\"issuer\":\"u\"}";
	struct enrol_finish f = { 0 };
	struct enrol_reply  r = { 0 };
	struct enrol_login  l;
	struct err          err = { 0 };
	struct buf          out;

	buf_init(&out, 1 << 16);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!enrol_finish_decode(span_str(bad[i]), &f, &err), "%s", bad[i]);
	ck_assert_msg(enrol_finish_decode(span_str(good), &f, &err), "%s", err.msg);
	enrol_finish_encode(&f, &out);
	ck_assert_str_eq(out.ptr, good);
	enrol_finish_done(&f);
	for (size_t i = 0; i < sizeof(bad_reply) / sizeof(bad_reply[0]); i++)
		ck_assert_msg(!enrol_reply_decode(span_str(bad_reply[i]), &r, &err), "%s", bad_reply[i]);
	for (size_t i = 0; i < sizeof(good_reply) / sizeof(good_reply[0]); i++) {
		ck_assert_msg(enrol_reply_decode(span_str(good_reply[i]), &r, &err), "%s", err.msg);
		buf_clear(&out);
		enrol_reply_encode(&r, &out);
		ck_assert_str_eq(out.ptr, good_reply[i]);
		enrol_reply_done(&r);
	}
	ck_assert_msg(enrol_login_decode(span_str(start), &l, &err) && l.device, "%s", err.msg);
	buf_clear(&out);
	enrol_login_encode(&l, &out);
	ck_assert_str_eq(out.ptr, start);
	buf_done(&out);
}
END_TEST

START_TEST(test_device_file)
{
	char          dir[] = "/tmp/reeve-test-XXXXXX", path[64];
	struct secret a = { 0 }, b = { 0 };
	struct err    err = { 0 };

	ck_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/device.key", dir);
	ck_assert(!enrol_device_load(path, &b, &err) && err.code == ERR_MISSING);
	enrol_device_new(&a);
	ck_assert((a.ptr[0] & 7) == 0 && (a.ptr[31] & 192) == 64);
	ck_assert_msg(enrol_device_store(path, &a, &err), "%s", err.msg);
	ck_assert_msg(enrol_device_load(path, &b, &err), "%s", err.msg);
	ck_assert(secret_equal(&a, secret_span(&b)));
	secret_done(&b);
	ck_assert(chmod(path, 0640) == 0 && !enrol_device_load(path, &b, &err));
	unlink(path);
	rmdir(dir);
	secret_done(&a);
}
END_TEST

START_TEST(test_code)
{
	char a[ENROL_CODE_LEN + 1], b[ENROL_CODE_LEN + 1];

	enrol_code_new(a);
	enrol_code_new(b);
	ck_assert_str_ne(a, b);
	ck_assert(strlen(a) == 9 && a[4] == '-' && strspn(a, "BCDFGHJKLMNPQRSTVWXZ-") == 9);
}
END_TEST

UNIT_MAIN("enrol", test_proof, test_both_sides, test_key_string, test_pin, test_messages, test_at_the_device, test_device_file, test_code)
