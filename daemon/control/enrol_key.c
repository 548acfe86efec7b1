/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/enrol.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/mem.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdlib.h>
#include <string.h>

/* ---- pins ---- */

bool enrol_pin_parse(struct span text, struct enrol_pin *ret_pin)
{
	static const struct span prefixes[] = { { "sha256//", 8 }, { "sha256/", 7 } };
	struct enrol_pin pin;
	uint8_t          bytes[64];
	size_t           n;

	for (size_t i = 0; i < array_size(prefixes); i++)
		if (span_starts(text, prefixes[i])) {
			text = span_from(text, prefixes[i].len);
			break;
		}
	if (text.len > ENROL_PIN_TEXT_LEN + 1 ||
	    !(base64url_decode(text, bytes, sizeof(bytes), &n) ||
	      base64_decode(text, bytes, sizeof(bytes), &n)) ||
	    n != sizeof(pin.sha256))
		return false;
	memcpy(pin.sha256, bytes, sizeof(pin.sha256));
	*ret_pin = pin;
	return true;
}

void enrol_pin_text(const struct enrol_pin *pin, char ret_text[ENROL_PIN_TEXT_LEN + 1])
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 64);
	base64url_add(&b, span_of(pin->sha256, sizeof(pin->sha256)));
	memcpy(ret_text, b.ptr, ENROL_PIN_TEXT_LEN + 1);
}

bool enrol_pin_of_pem(struct span pem, struct enrol_pin *ret_pin, struct err *err)
{
	if (pem.len > INT32_MAX)
		return err_set(err, ERR_LIMIT, "a certificate of %zu bytes", pem.len);
	BIO           *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	X509          *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	unsigned char *der = NULL;
	int            n = cert ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der) : -1;
	struct enrol_pin pin;
	unsigned int   got = 0;
	bool ok = n > 0 && EVP_Digest(der, (size_t)n, pin.sha256, &got, EVP_sha256(), NULL) == 1 &&
	          got == sizeof(pin.sha256);

	OPENSSL_free(der);
	X509_free(cert);
	BIO_free(bio);
	if (!ok)
		return err_set(err, ERR_SYNTAX, "no certificate in PEM form");
	*ret_pin = pin;
	return true;
}

/* ---- the key as a string ---- */

bool enrol_url_check(struct span text, char ret_url[ENROL_URL_MAX], struct err *err)
{
	static const struct span scheme = { "https://", 8 };

	if (!span_starts(text, scheme))
		return err_set(err, ERR_SYNTAX, "the coordinator's URL begins with https://");
	if (text.len > scheme.len && text.ptr[text.len - 1] == '/')
		text.len--;
	struct span host = span_from(text, scheme.len);
	if (host.len == 0 || host.len > 300)
		return err_set(err, ERR_SYNTAX,
			       "the coordinator's URL has no host, or a very long one");
	for (size_t i = 0; i < host.len; i++) {
		char c = host.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '.' || c == ':' || c == '[' || c == ']'))
			return err_set(
				err, ERR_SYNTAX,
				"the coordinator's URL is https://HOST or https://HOST:PORT");
	}
	if (!span_cstr(text, ret_url, ENROL_URL_MAX))
		return err_set(err, ERR_LIMIT, "the coordinator's URL is too long");
	return true;
}

void enrol_key_done(struct enrol_key *k)
{
	secret_done(&k->secret);
	mem_wipe(k, sizeof(*k));
}

void enrol_key_encode(const struct enrol_key *k, struct buf *out)
{
	buf_add_str(out, "rk1.");
	base64url_add(out, span_str(k->url));
	buf_add_char(out, '.');
	base64url_add(out, secret_span(&k->secret));
	for (size_t i = 0; i < k->pin_count; i++) {
		buf_add_char(out, '.');
		base64url_add(out, span_of(k->pins[i].sha256, sizeof(k->pins[i].sha256)));
	}
}

static bool key_parse(struct span text, struct enrol_key *k, struct err *err)
{
	struct span part, rest = text;
	char        url[ENROL_URL_MAX];
	uint8_t     secret[64];
	size_t      n;

	if (text.len > ENROL_STRING_MAX)
		return err_set(err, ERR_LIMIT, "an enrolment key has at most %d characters",
			       ENROL_STRING_MAX);
	if (!span_next(&rest, '.', &part) || !span_eq(part, SPAN("rk1")))
		return err_set(err, ERR_SYNTAX, "an enrolment key begins with \"rk1.\"");
	if (!span_next(&rest, '.', &part) || !base64url_decode(part, url, sizeof(url), &n))
		return err_set(err, ERR_SYNTAX, "the enrolment key's URL is damaged");
	if (!enrol_url_check(span_of(url, n), k->url, err))
		return err_prefix(err, "the enrolment key: ");
	if (!span_next(&rest, '.', &part) || !base64url_decode(part, secret, sizeof(secret), &n) ||
	    n != ENROL_KEY_LEN) {
		mem_wipe(secret, sizeof(secret));
		return err_set(err, ERR_SYNTAX, "the enrolment key's secret is damaged");
	}
	secret_init(&k->secret, secret, n);
	mem_wipe(secret, sizeof(secret));
	while (span_next(&rest, '.', &part)) {
		if (k->pin_count == ENROL_PINS_MAX)
			return err_set(err, ERR_LIMIT, "the enrolment key has more than %d pins",
				       ENROL_PINS_MAX);
		if (part.len != ENROL_PIN_TEXT_LEN ||
		    !enrol_pin_parse(part, &k->pins[k->pin_count]))
			return err_set(err, ERR_SYNTAX, "a pin of the enrolment key is damaged");
		k->pin_count++;
	}
	if (!k->pin_count)
		return err_set(err, ERR_SYNTAX, "the enrolment key has no pin");
	return true;
}

bool enrol_key_parse(struct span text, struct enrol_key *ret_k, struct err *err)
{
	struct enrol_key k = { 0 };

	if (!key_parse(span_trim(text), &k, err)) {
		enrol_key_done(&k);
		return false;
	}
	*ret_k = k;
	return true;
}

/* ---- short codes ---- */

void enrol_code_new(char ret_code[ENROL_CODE_LEN + 1])
{
	static const char alphabet[] = "BCDFGHJKLMNPQRSTVWXZ";
	size_t n = 0;

	while (n < ENROL_CODE_LEN) {
		uint8_t b;

		if (n == 4) {
			ret_code[n++] = '-';
			continue;
		}
		random_bytes(&b, 1);
		if (b >= 240)           /* 240 = 12 * 20: every letter equally often */
			continue;
		ret_code[n++] = alphabet[b % 20];
	}
	ret_code[n] = '\0';
}

/* ---- device keys ---- */

void enrol_device_new(struct secret *ret_private)
{
	secret_random(ret_private, ENROL_KEY_LEN);
	ret_private->ptr[0] &= 248;
	ret_private->ptr[31] = (unsigned char)((ret_private->ptr[31] & 127) | 64);
}

bool enrol_device_public(const struct secret *private_key, uint8_t ret_public[ENROL_KEY_LEN],
			 struct err *err)
{
	size_t    n = ENROL_KEY_LEN;
	EVP_PKEY *key = private_key->len == ENROL_KEY_LEN
				? EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL,
							       private_key->ptr, ENROL_KEY_LEN)
				: NULL;
	bool ok =
		key && EVP_PKEY_get_raw_public_key(key, ret_public, &n) == 1 && n == ENROL_KEY_LEN;

	EVP_PKEY_free(key);
	return ok || err_set(err, ERR_CRYPTO, "not an X25519 private key");
}

bool enrol_device_load(const char *path, struct secret *ret_private, struct err *err)
{
	struct buf text;
	uint8_t    key[64];
	size_t     n = 0;

	buf_init(&text, 256);
	if (!file_read_private(path, 128, &text, err)) {
		buf_wipe_done(&text);
		return false;
	}
	struct span s = buf_span(&text);
	while (s.len && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r'))
		s.len--;
	bool ok = base64_decode(s, key, sizeof(key), &n) && n == ENROL_KEY_LEN;
	buf_wipe_done(&text);
	if (ok)
		secret_init(ret_private, key, n);
	mem_wipe(key, sizeof(key));
	return ok || err_set(err, ERR_SYNTAX, "%s: not a base64 key of 32 bytes", path);
}

bool enrol_device_store(const char *path, const struct secret *private_key, struct err *err)
{
	struct buf text;

	buf_init(&text, 128);
	base64_add(&text, secret_span(private_key));
	buf_add_char(&text, '\n');
	bool ok = file_replace(path, buf_span(&text), 0600, err);
	buf_wipe_done(&text);
	return ok;
}

/* ---- the proof ---- */

bool enrol_shared(const struct secret *mine, const uint8_t theirs[ENROL_KEY_LEN],
                  uint8_t ret_shared[ENROL_KEY_LEN], struct err *err)
{
	static const uint8_t zero[ENROL_KEY_LEN];
	size_t        n = ENROL_KEY_LEN;
	EVP_PKEY *priv = mine->len == ENROL_KEY_LEN
				 ? EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, mine->ptr,
								ENROL_KEY_LEN)
				 : NULL;
	EVP_PKEY *pub = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, theirs, ENROL_KEY_LEN);
	EVP_PKEY_CTX *ctx = priv && pub ? EVP_PKEY_CTX_new(priv, NULL) : NULL;
	/* OpenSSL refuses an all-zero result by itself; ours is the word that counts. */
	bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 &&
		  EVP_PKEY_derive_set_peer(ctx, pub) == 1 &&
		  EVP_PKEY_derive(ctx, ret_shared, &n) == 1 && n == ENROL_KEY_LEN &&
		  !mem_equal_ct(ret_shared, zero, ENROL_KEY_LEN);

	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(pub);
	EVP_PKEY_free(priv);
	return ok || err_set(err, ERR_CRYPTO, "the two keys make no secret");
}

bool enrol_proof(const struct secret *mine, const uint8_t theirs[ENROL_KEY_LEN],
		 const struct enrol_proof_input *in, uint8_t ret_proof[ENROL_KEY_LEN],
		 struct err *err)
{
	static const char label[] = "reeve enrol v1";   /* its NUL is part of the text */
	uint8_t      shared[ENROL_KEY_LEN], body[32], mac[EVP_MAX_MD_SIZE];
	unsigned int body_len = 0, mac_len = 0;

	if (!enrol_shared(mine, theirs, shared, err)) {
		mem_wipe(shared, sizeof(shared));
		return false;
	}
	struct buf msg;
	buf_init(&msg, 512);
	bool ok = EVP_Digest(in->start.ptr ? in->start.ptr : "", in->start.len, body, &body_len,
			     EVP_sha256(), NULL) == 1;
	buf_add(&msg, label, sizeof(label));
	buf_add(&msg, in->challenge, sizeof(in->challenge));
	buf_add(&msg, in->pin.sha256, sizeof(in->pin.sha256));
	buf_add(&msg, in->device, sizeof(in->device));
	buf_add(&msg, in->ephemeral, sizeof(in->ephemeral));
	buf_add(&msg, body, sizeof(body));
	ok = ok &&
	     HMAC(EVP_sha256(), shared, sizeof(shared), (const unsigned char *)msg.ptr, msg.len,
		  mac, &mac_len) &&
	     mac_len == ENROL_KEY_LEN;
	if (ok)
		memcpy(ret_proof, mac, ENROL_KEY_LEN);
	mem_wipe(shared, sizeof(shared));
	mem_wipe(mac, sizeof(mac));
	buf_done(&msg);
	return ok || err_set(err, ERR_CRYPTO, "SHA-256 failed");
}
