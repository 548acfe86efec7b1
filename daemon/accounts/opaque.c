/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/opaque.h"

#include "base/encode.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum {
	MARK_MAC = 32,
	MARK_SIZE = 8 + BROWSER_NONCE + MARK_MAC,
	VERIFIER_MIN = 43, /* RFC 7636 section 4.1 */
	VERIFIER_MAX = 128,
};

/* Crockford's base32: nothing in it is read as something else. */
static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* What could not be hashed is random: it fits nothing. */
static void sha256(const void *p, size_t n, unsigned char ret[OPAQUE_HASH])
{
	unsigned len = 0;

	if (EVP_Digest(p, n, ret, &len, EVP_sha256(), NULL) != 1 || len != OPAQUE_HASH)
		random_bytes(ret, OPAQUE_HASH);
}

void opaque_new(char ret_text[OPAQUE_TEXT + 1], unsigned char ret_hash[OPAQUE_HASH])
{
	unsigned char raw[32];
	struct buf b;

	random_bytes(raw, sizeof(raw));
	buf_init(&b, OPAQUE_TEXT + 1);
	base64url_add(&b, span_of(raw, sizeof(raw)));
	memcpy(ret_text, b.ptr, OPAQUE_TEXT + 1);
	sha256(raw, sizeof(raw), ret_hash);
	mem_wipe(raw, sizeof(raw));
	buf_wipe_done(&b);
}

bool opaque_hash(struct span text, unsigned char ret_hash[OPAQUE_HASH])
{
	unsigned char raw[32];
	size_t n;

	if (text.len != OPAQUE_TEXT || !base64url_decode(text, raw, sizeof(raw), &n) ||
	    n != sizeof(raw))
		return false;
	sha256(raw, sizeof(raw), ret_hash);
	mem_wipe(raw, sizeof(raw));
	return true;
}

void recovery_new(char ret_text[RECOVERY_TEXT + 1], unsigned char ret_hash[OPAQUE_HASH])
{
	unsigned char raw[16];
	char plain[16];

	random_bytes(raw, sizeof(raw));
	for (size_t i = 0, at = 0; i < sizeof(raw); i++) {
		if (i && i % 4 == 0)
			ret_text[at++] = '-';
		plain[i] = ret_text[at++] = letters[raw[i] & 31];
	}
	ret_text[RECOVERY_TEXT] = '\0';
	sha256(plain, sizeof(plain), ret_hash);
	mem_wipe(raw, sizeof(raw));
	mem_wipe(plain, sizeof(plain));
}

bool recovery_hash(struct span text, unsigned char ret_hash[OPAQUE_HASH])
{
	char plain[16];
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '-' || c == ' ')
			continue;
		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
		if (n == sizeof(plain) || !c || !memchr(letters, c, sizeof(letters) - 1)) {
			mem_wipe(plain, sizeof(plain));
			return false;
		}
		plain[n++] = c;
	}
	if (n != sizeof(plain))
		return false;
	sha256(plain, sizeof(plain), ret_hash);
	mem_wipe(plain, sizeof(plain));
	return true;
}

bool pkce_ok(struct span verifier, struct span challenge)
{
	unsigned char md[OPAQUE_HASH], want[OPAQUE_HASH];
	size_t n;

	if (verifier.len < VERIFIER_MIN || verifier.len > VERIFIER_MAX ||
	    !base64url_decode(challenge, want, sizeof(want), &n) || n != sizeof(want))
		return false;
	sha256(verifier.ptr, verifier.len, md);
	return mem_equal_ct(md, want, sizeof(md));
}

/* ---- a browser that was here ---- */

static void mark_mac(const struct secret *key, const unsigned char *mark,
		     unsigned char ret[MARK_MAC])
{
	static const char purpose[] = "reeve browser v1";
	unsigned char text[sizeof(purpose) + MARK_SIZE];
	struct span k = secret_span(key);
	unsigned n = 0;

	memcpy(text, purpose, sizeof(purpose));
	memcpy(text + sizeof(purpose), mark, MARK_SIZE - MARK_MAC);
	if (k.len == 0 ||
	    !HMAC(EVP_sha256(), k.ptr, (int)k.len, text, sizeof(purpose) + MARK_SIZE - MARK_MAC,
		  ret, &n) ||
	    n != MARK_MAC)
		random_bytes(ret, MARK_MAC);
}

static void put_u64(unsigned char *p, uint64_t n)
{
	for (int i = 7; i >= 0; i--, n >>= 8)
		p[i] = (unsigned char)n;
}

void browser_mark(const struct secret *key, uint64_t account, char ret_text[BROWSER_TEXT_MAX])
{
	unsigned char mark[MARK_SIZE];
	struct buf b;

	put_u64(mark, account);
	random_bytes(mark + 8, BROWSER_NONCE);
	mark_mac(key, mark, mark + 8 + BROWSER_NONCE);
	buf_init(&b, BROWSER_TEXT_MAX);
	base64url_add(&b, span_of(mark, sizeof(mark)));
	memcpy(ret_text, b.ptr, b.len + 1);
	buf_wipe_done(&b);
}

bool browser_mark_ok(const struct secret *key, struct span text, uint64_t account,
		     unsigned char ret_nonce[BROWSER_NONCE])
{
	unsigned char mark[MARK_SIZE], who[8], want[MARK_MAC];
	size_t n;

	put_u64(who, account);
	if (!account || !base64url_decode(text, mark, sizeof(mark), &n) || n != sizeof(mark))
		return false;
	mark_mac(key, mark, want);
	if (!mem_equal_ct(want, mark + 8 + BROWSER_NONCE, sizeof(want)) ||
	    memcmp(who, mark, 8) != 0)
		return false;
	memcpy(ret_nonce, mark + 8, BROWSER_NONCE);
	return true;
}
