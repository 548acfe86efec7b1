/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_done(struct buf *b)
{
	free(b->ptr);
	*b = (struct buf){ 0 };
}

void buf_wipe_done(struct buf *b)
{
	mem_wipe(b->ptr, b->cap);
	buf_done(b);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->over = false;
	if (b->ptr)
		b->ptr[0] = '\0';
}

/* Room for n more bytes and a NUL; false sets over. */
static bool reserve(struct buf *b, size_t n)
{
	if (b->over)
		return false;
	if (n > b->max - b->len) {
		b->over = true;
		return false;
	}

	size_t need = b->len + n + 1;

	if (need > b->cap) {
		size_t cap = b->cap ? b->cap : 64;

		while (cap < need)
			cap = cap > b->max / 2 ? b->max + 1 : cap * 2;
		b->ptr = mem_realloc(b->ptr, cap, 1);
		b->cap = cap;
	}
	return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!reserve(b, n))
		return;
	if (n)
		memcpy(b->ptr + b->len, p, n);
	b->len += n;
	b->ptr[b->len] = '\0';
}

void buf_add_span(struct buf *b, struct span s)
{
	buf_add(b, s.ptr, s.len);
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(b, fmt, ap);
	va_end(ap);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		b->over = true; /* an encoding error: what cannot be written was not written */
		return;
	}
	if (!reserve(b, (size_t)n))
		return;
	vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
}

void buf_drop(struct buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (n == 0)
		return;
	b->len -= n;
	memmove(b->ptr, b->ptr + n, b->len);
	b->ptr[b->len] = '\0';
}

struct span buf_span(const struct buf *b)
{
	return (struct span){ b->ptr, b->len };
}

char *buf_take(struct buf *b)
{
	if (b->over)
		return NULL;

	char *p = b->ptr ? b->ptr : mem_alloc(1);

	b->ptr = NULL;
	b->len = b->cap = 0;
	return p;
}

/* Bytes of the UTF-8 sequence at the start of s, 0 if it is not one. */
static size_t utf8_len(struct span s)
{
	unsigned char c = (unsigned char)s.ptr[0];
	size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	return n <= s.len && span_is_utf8(span_head(s, n)) ? n : 0;
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void buf_add_json(struct buf *b, struct span s)
{
	buf_add_char(b, '"');
	while (s.len) {
		size_t plain = 0;

		while (plain < s.len && is_plain((unsigned char)s.ptr[plain]))
			plain++;
		if (plain) {
			buf_add(b, s.ptr, plain);
			s = span_from(s, plain);
			continue;
		}

		unsigned char c = (unsigned char)s.ptr[0];
		size_t n = 1;

		switch (c) {
		case '"':  buf_add_str(b, "\\\""); break;
		case '\\': buf_add_str(b, "\\\\"); break;
		case '\n': buf_add_str(b, "\\n");  break;
		case '\r': buf_add_str(b, "\\r");  break;
		case '\t': buf_add_str(b, "\\t");  break;
		default:
			if (c < 0x20 || c == 0x7f) {
				buf_addf(b, "\\u%04x", c);
			} else if ((n = utf8_len(s)) != 0) {
				buf_add(b, s.ptr, n);
			} else {
				buf_add_str(b, "\\ufffd");
				n = 1;
			}
		}
		s = span_from(s, n);
	}
	buf_add_char(b, '"');
}
