/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "web/form.h"

#include "base/encode.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

static const char cookie_name[] = "__Host-hub-login";

enum { COOKIE_SECONDS = 900, PURPOSE_MAX = 256 };

static void encode32(const unsigned char bytes[32], char ret[FORM_TOKEN_SIZE])
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, FORM_TOKEN_SIZE);
	base64url_add(&b, span_of(bytes, 32));
	memcpy(ret, b.ptr, FORM_TOKEN_SIZE);
}

void form_token(const struct secret *key, const char *purpose, const char *browser_key,
                char ret_token[FORM_TOKEN_SIZE])
{
	struct span k = secret_span(key);
	unsigned char md[EVP_MAX_MD_SIZE];
	struct buf text;
	unsigned n = 0;

	buf_init(&text, PURPOSE_MAX + BROWSER_KEY_SIZE + 1);
	buf_add_str(&text, purpose);
	buf_add_char(&text, '\0');
	buf_add_str(&text, browser_key);
	/* a token that could not be made is random: it fits no form */
	if (text.over || k.len == 0 ||
	    !HMAC(EVP_sha256(), k.ptr, (int)k.len, (const unsigned char *)text.ptr, text.len, md,
		  &n) ||
	    n != 32)
		random_bytes(md, 32);
	encode32(md, ret_token);
	buf_wipe_done(&text);
}

bool form_token_ok(const struct secret *key, const char *purpose, const char *browser_key,
                   struct span token)
{
	char want[FORM_TOKEN_SIZE];

	form_token(key, purpose, browser_key, want);
	return token.len == FORM_TOKEN_SIZE - 1 && mem_equal_ct(token.ptr, want, token.len);
}

void browser_key_new(char ret_key[BROWSER_KEY_SIZE])
{
	unsigned char bytes[32];

	random_bytes(bytes, sizeof(bytes));
	encode32(bytes, ret_key);
	mem_wipe(bytes, sizeof(bytes));
}

void page_set_browser_key(struct page *p, const char *browser_key)
{
	struct buf b;

	/* Lax, not Strict: the provider's redirect back to us comes from its site */
	buf_init(&b, 256);
	buf_addf(&b, "%s=%s; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=%d", cookie_name,
		 browser_key, COOKIE_SECONDS);
	if (p->cookie)
		mem_wipe(p->cookie, strlen(p->cookie));
	mem_free_ptr(&p->cookie);
	p->cookie = buf_take(&b);
}

bool browser_key_get(struct span cookie_header, char ret_key[BROWSER_KEY_SIZE])
{
	struct span rest = cookie_header, pair, name, found = { NULL, 0 };
	unsigned char bytes[32];
	size_t n;

	while (span_next(&rest, ';', &pair)) {
		struct span value = span_trim(pair);

		if (!span_next(&value, '=', &name) || !span_eq(name, span_str(cookie_name)))
			continue;
		if (found.ptr)
			return false;   /* two of them: one is somebody else's */
		found = value.ptr ? value : SPAN("");
	}
	if (!found.ptr || !base64url_decode(found, bytes, sizeof(bytes), &n) || n != sizeof(bytes))
		return false;
	mem_wipe(bytes, sizeof(bytes));
	return span_cstr(found, ret_key, BROWSER_KEY_SIZE);
}

bool form_field(struct span body, const char *name, size_t max, struct buf *ret_value)
{
	struct span rest = body, pair, key, found = { NULL, 0 };
	struct buf b;

	while (span_next(&rest, '&', &pair)) {
		struct span value = pair;

		if (!span_next(&value, '=', &key) || !span_eq(key, span_str(name)))
			continue;
		if (found.ptr)
			return false;
		found = value.ptr ? value : SPAN("");
	}
	if (!found.ptr)
		return false;
	buf_init(&b, max + 1);
	buf_add_str(&b, "");
	if (!percent_decode(found, true, &b) || b.over || b.len > max ||
	    memchr(b.len ? b.ptr : "", 0, b.len)) {
		buf_wipe_done(&b);
		return false;
	}
	*ret_value = b;
	return true;
}
