/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/encode.h"

static const char std64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void add64(struct buf *b, struct span bytes, const char *digits, bool pad)
{
	const unsigned char *p = (const unsigned char *)bytes.ptr;
	size_t n = bytes.len;

	for (; n >= 3; n -= 3, p += 3) {
		char out[4] = { digits[p[0] >> 2], digits[(p[0] & 3) << 4 | p[1] >> 4],
		                digits[(p[1] & 15) << 2 | p[2] >> 6], digits[p[2] & 63] };

		buf_add(b, out, 4);
	}
	if (n) {
		unsigned second = n == 2 ? p[1] : 0;
		char out[4] = { digits[p[0] >> 2], digits[(p[0] & 3) << 4 | second >> 4],
		                n == 2 ? digits[(second & 15) << 2] : '=', '=' };

		buf_add(b, out, pad ? 4 : n + 1);
	}
}

void base64_add(struct buf *b, struct span bytes)
{
	add64(b, bytes, std64, true);
}

void base64url_add(struct buf *b, struct span bytes)
{
	add64(b, bytes, url64, false);
}

static int digit64(char c, char c62, char c63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == c62 ? 62 : c == c63 ? 63 : -1;
}

/* text is without padding. */
static bool decode64(struct span text, char c62, char c63, void *out, size_t size, size_t *ret_n)
{
	unsigned char *o = out;
	size_t n = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);
	size_t at = 0;
	uint32_t acc = 0;
	unsigned bits = 0;

	if (text.len % 4 == 1 || n > size)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int d = digit64(text.ptr[i], c62, c63);

		if (d < 0)
			return false;
		acc = acc << 6 | (uint32_t)d;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			o[at++] = (unsigned char)(acc >> bits);
			acc &= (1U << bits) - 1;
		}
	}
	if (acc)        /* surplus bits: a second spelling of the same bytes */
		return false;
	*ret_n = n;
	return true;
}

bool base64_decode(struct span text, void *out, size_t size, size_t *ret_n)
{
	if (text.len % 4)
		return false;
	for (int pad = 0; pad < 2 && text.len && text.ptr[text.len - 1] == '='; pad++)
		text.len--;
	return decode64(text, '+', '/', out, size, ret_n);
}

bool base64url_decode(struct span text, void *out, size_t size, size_t *ret_n)
{
	return decode64(text, '-', '_', out, size, ret_n);
}

void hex_add(struct buf *b, struct span bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < bytes.len; i++) {
		unsigned char c = (unsigned char)bytes.ptr[i];
		char out[2] = { digits[c >> 4], digits[c & 15] };

		buf_add(b, out, 2);
	}
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Two hex digits at p, or -1. */
static int hex_byte(const char *p)
{
	int hi = hex_digit(p[0]), lo = hex_digit(p[1]);

	return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

bool hex_decode(struct span text, void *out, size_t size, size_t *ret_n)
{
	unsigned char *o = out;

	if (text.len % 2 || text.len / 2 > size)
		return false;
	for (size_t i = 0; i < text.len; i += 2) {
		int c = hex_byte(text.ptr + i);

		if (c < 0)
			return false;
		o[i / 2] = (unsigned char)c;
	}
	*ret_n = text.len / 2;
	return true;
}

static bool is_unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

void percent_add(struct buf *b, struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		if (is_unreserved(bytes.ptr[i]))
			buf_add_char(b, bytes.ptr[i]);
		else
			buf_addf(b, "%%%02X", (unsigned char)bytes.ptr[i]);
	}
}

bool percent_decode(struct span text, bool plus_is_space, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '%') {
			int byte = text.len - i > 2 ? hex_byte(text.ptr + i + 1) : -1;

			if (byte < 0)
				return false;
			buf_add_char(out, (char)byte);
			i += 2;
		} else {
			buf_add_char(out, plus_is_space && c == '+' ? ' ' : c);
		}
	}
	return !out->over;
}
