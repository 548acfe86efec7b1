/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/span.h"

#include "base/mem.h"

#include <string.h>

struct span span_str(const char *s)
{
	return (struct span){ s, s ? strlen(s) : 0 };
}

struct span span_of(const void *p, size_t n)
{
	return (struct span){ p, n };
}

bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static unsigned char lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool span_ieq(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.ptr[i]) != lower(b.ptr[i]))
			return false;
	return true;
}

int span_cmp(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.ptr, b.ptr, n) : 0;

	if (c)
		return c < 0 ? -1 : 1;
	return a.len < b.len ? -1 : a.len > b.len;
}

bool span_starts(struct span s, struct span prefix)
{
	return s.len >= prefix.len && span_eq(span_head(s, prefix.len), prefix);
}

bool span_ends(struct span s, struct span suffix)
{
	return s.len >= suffix.len && span_eq(span_from(s, s.len - suffix.len), suffix);
}

struct span span_from(struct span s, size_t off)
{
	if (off > s.len)
		off = s.len;
	if (off) {
		s.ptr += off;
		s.len -= off;
	}
	return s;
}

struct span span_head(struct span s, size_t n)
{
	if (n < s.len)
		s.len = n;
	return s;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
	while (s.len && is_blank(s.ptr[0]))
		s = span_from(s, 1);
	while (s.len && is_blank(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

size_t span_find(struct span s, char c)
{
	const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;

	return at ? (size_t)(at - s.ptr) : s.len;
}

bool span_next(struct span *rest, char sep, struct span *ret_part)
{
	if (!rest->ptr)
		return false;

	size_t n = span_find(*rest, sep);

	*ret_part = span_head(*rest, n);
	*rest = n < rest->len ? span_from(*rest, n + 1) : (struct span){ NULL, 0 };
	return true;
}

bool span_u64(struct span s, uint64_t max, uint64_t *ret_n)
{
	uint64_t n = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;

		unsigned d = (unsigned)(s.ptr[i] - '0');

		if (n > (UINT64_MAX - d) / 10)
			return false;
		n = n * 10 + d;
	}
	if (n > max)
		return false;
	*ret_n = n;
	return true;
}

char *span_dup(struct span s)
{
	return mem_dup(s.ptr, s.len);
}

bool span_cstr(struct span s, char *buf, size_t size)
{
	if (s.len >= size || span_find(s, '\0') < s.len)
		return false;
	if (s.len)
		memcpy(buf, s.ptr, s.len);
	buf[s.len] = '\0';
	return true;
}

bool span_is_utf8(struct span s)
{
	const unsigned char *p = (const unsigned char *)s.ptr;

	for (size_t i = 0; i < s.len;) {
		unsigned char c = p[i];
		unsigned char lo = 0x80, hi = 0xbf;     /* bounds of the second byte */
		size_t more;

		if (c < 0x80) {
			i++;
			continue;
		}
		if (c >= 0xc2 && c <= 0xdf) {
			more = 1;
		} else if (c >= 0xe0 && c <= 0xef) {
			more = 2;
			if (c == 0xe0)
				lo = 0xa0;      /* overlong */
			if (c == 0xed)
				hi = 0x9f;      /* surrogates */
		} else if (c >= 0xf0 && c <= 0xf4) {
			more = 3;
			if (c == 0xf0)
				lo = 0x90;      /* overlong */
			if (c == 0xf4)
				hi = 0x8f;      /* beyond U+10FFFF */
		} else {
			return false;
		}
		if (s.len - i <= more || p[i + 1] < lo || p[i + 1] > hi)
			return false;
		for (size_t k = 2; k <= more; k++)
			if (p[i + k] < 0x80 || p[i + k] > 0xbf)
				return false;
		i += more + 1;
	}
	return true;
}

bool span_is_print(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 0x20 || s.ptr[i] > 0x7e)
			return false;
	return true;
}
