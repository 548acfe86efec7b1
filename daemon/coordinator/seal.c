/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/seal.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

enum { NONCE_LEN = 12, TAG_LEN = 16, OVERHEAD = NONCE_LEN + TAG_LEN };

/* Random nonces are good for 2^32 texts under one key (SP 800-38D 8.3): more than there will be. */
struct seal { struct secret key; };

struct seal *seal_open_file(const char *path, struct err *err)
{
	struct seal *s = mem_alloc(sizeof(*s));
	struct buf   text = { 0 };
	struct err   why = { 0 };

	if (file_read_private(path, SEAL_KEY_LEN + 1, &text, &why)) {
		if (text.len == SEAL_KEY_LEN)
			secret_init(&s->key, text.ptr, text.len);
		else
			err_set(err, ERR_CONFIG, "%s: not a key of %d bytes", path, SEAL_KEY_LEN);
		buf_wipe_done(&text);
	} else if (why.code == ERR_MISSING) {
		secret_random(&s->key, SEAL_KEY_LEN);
		if (!file_replace(path, secret_span(&s->key), 0600, err))
			secret_done(&s->key);
	} else if (err) {
		*err = why;
	}
	if (s->key.len)
		return s;
	free(s);
	return NULL;
}

void seal_free(struct seal *s)
{
	if (!s)
		return;
	secret_done(&s->key);
	free(s);
}

/* What the ciphertext is about: its purpose, padded with zeros, and the row. */
static bool begin(EVP_CIPHER_CTX *ctx, const struct seal *s, const unsigned char *nonce,
		  enum seal_what what, uint64_t row, bool sealing)
{
	static const unsigned char purposes[SEAL_WHATS][17] = {
		[SEAL_REFRESH] = "reeve refresh v1", [SEAL_TOTP] = "reeve totp v1"};
	unsigned char about[24];
	int           n;

	memcpy(about, purposes[what], 16);
	for (int i = 0; i < 8; i++)
		about[16 + i] = (unsigned char)(row >> (56 - 8 * i));
	return ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, s->key.ptr, nonce, sealing) == 1 &&
	       EVP_CipherUpdate(ctx, NULL, &n, about, sizeof(about)) == 1;
}

char *seal_text(const struct seal *s, enum seal_what what, uint64_t row, struct span plain)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char  *out;
	struct buf      text;
	char           *ret = NULL;
	int             n = 0, rest = 0;

	if (plain.len == 0 || plain.len > SEAL_TOKEN_MAX) {
		EVP_CIPHER_CTX_free(ctx);
		return NULL;
	}
	out = mem_alloc(plain.len + OVERHEAD);
	random_bytes(out, NONCE_LEN);
	if (begin(ctx, s, out, what, row, true) &&
	    EVP_CipherUpdate(ctx, out + NONCE_LEN, &n, (const unsigned char *)plain.ptr,
			     (int)plain.len) == 1 &&
	    EVP_CipherFinal_ex(ctx, out + NONCE_LEN + n, &rest) == 1 &&
	    (size_t)(n + rest) == plain.len &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, out + NONCE_LEN + plain.len) ==
		    1) {
		buf_init(&text, 2 * (SEAL_TOKEN_MAX + OVERHEAD));
		base64url_add(&text, span_of(out, plain.len + OVERHEAD));
		ret = buf_take(&text);
		buf_done(&text);
	}
	EVP_CIPHER_CTX_free(ctx);
	free(out);
	return ret;
}

bool seal_open_text(const struct seal *s, enum seal_what what, uint64_t row, struct span sealed,
		    struct secret *ret_plain, struct err *err)
{
	static const char *const names[SEAL_WHATS] = {[SEAL_REFRESH] = "the refresh token of s",
						      [SEAL_TOTP] =
							      "the authenticator secret of a"};
	size_t          size = SEAL_TOKEN_MAX + OVERHEAD, len = 0;
	unsigned char  *in = mem_alloc(size), *out = mem_alloc(SEAL_TOKEN_MAX + TAG_LEN);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int             n = 0, rest = 0;
	bool            ok;

	ok = base64url_decode(sealed, in, size, &len) && len > OVERHEAD &&
	     begin(ctx, s, in, what, row, false) &&
	     EVP_CipherUpdate(ctx, out, &n, in + NONCE_LEN, (int)(len - OVERHEAD)) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, in + len - TAG_LEN) == 1 &&
	     EVP_CipherFinal_ex(ctx, out + n, &rest) == 1;
	if (ok)
		secret_init(ret_plain, out, (size_t)(n + rest));
	EVP_CIPHER_CTX_free(ctx);
	mem_wipe(out, SEAL_TOKEN_MAX + TAG_LEN);
	free(out);
	free(in);
	return ok || err_set(err, ERR_CRYPTO, "%s%llu does not open", names[what],
			     (unsigned long long)row);
}

char *seal_token(const void *seal, uint64_t session, struct span token)
{
	return seal_text(seal, SEAL_REFRESH, session, token);
}

char *seal_totp(const void *seal, uint64_t account, struct span secret)
{
	return seal_text(seal, SEAL_TOTP, account, secret);
}

bool seal_derive(const struct seal *s, const char *purpose, struct secret *ret_key, struct err *err)
{
	unsigned char md[SEAL_KEY_LEN];
	unsigned n = 0;
	bool ok = HMAC(EVP_sha256(), s->key.ptr, (int)s->key.len, (const unsigned char *)purpose,
		       strlen(purpose), md, &n) &&
		  n == sizeof(md);

	if (ok)
		secret_init(ret_key, md, sizeof(md));
	mem_wipe(md, sizeof(md));
	return ok || err_set(err, ERR_CRYPTO, "HMAC failed");
}
