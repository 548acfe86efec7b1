/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/chunked.h"

#include <string.h>

enum {
	SIZE = 0,       /* hex digits */
	EXT,            /* behind ";": an extension's name begins */
	EXT_NAME,
	EXT_EQ,         /* behind "=": its value begins */
	EXT_VALUE,
	EXT_QUOTED,
	EXT_ESCAPE,
	EXT_END,        /* behind a quoted value */
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	LAST,           /* trailers follow */
};

void chunked_init(struct chunked *c)
{
	memset(c, 0, sizeof(*c));
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool token_char(char c)
{
	return http_is_token(span_of(&c, 1));
}

/* One byte of a chunk's line. */
static bool line_byte(struct chunked *c, char ch)
{
	int digit;

	if (c->state != SIZE && c->state != SIZE_LF && ch != '\r' &&
	    (++c->ext > HTTP_EXT_MAX || ++c->ext_total > HTTP_EXT_TOTAL))
		return false;
	switch (c->state) {
	case SIZE:
		digit = hex(ch);
		if (digit >= 0) {
			if (++c->digits > HTTP_CHUNK_DIGITS ||
			    c->left > ((uint64_t)HTTP_BODY_NEVER >> 4))
				return false;
			c->left = c->left << 4 | (unsigned)digit;
			return true;
		}
		if (c->digits == 0)
			return false;
		c->state = ch == ';' ? EXT : SIZE_LF;
		return ch == ';' || ch == '\r';
	case EXT:
		c->state = EXT_NAME;
		return token_char(ch);
	case EXT_NAME:
		if (token_char(ch))
			return true;
		c->state = ch == '=' ? EXT_EQ : ch == ';' ? EXT : SIZE_LF;
		return ch == '=' || ch == ';' || ch == '\r';
	case EXT_EQ:
		c->state = ch == '"' ? EXT_QUOTED : EXT_VALUE;
		return ch == '"' || token_char(ch);
	case EXT_VALUE:
		if (token_char(ch))
			return true;
		c->state = ch == ';' ? EXT : SIZE_LF;
		return ch == ';' || ch == '\r';
	case EXT_QUOTED:
		if (ch == '"')
			c->state = EXT_END;
		else if (ch == '\\')
			c->state = EXT_ESCAPE;
		return http_is_value(span_of(&ch, 1));
	case EXT_ESCAPE:
		c->state = EXT_QUOTED;
		return http_is_value(span_of(&ch, 1));
	case EXT_END:
		c->state = ch == ';' ? EXT : SIZE_LF;
		return ch == ';' || ch == '\r';
	case SIZE_LF:
		c->state = c->left ? DATA : LAST;
		c->digits = 0;
		c->ext = 0;
		return ch == '\n';
	default:
		return false;
	}
}

enum chunked_result chunked_read(struct chunked *c, const char *p, size_t len, size_t *ret_used,
                                 struct span *ret_data)
{
	for (size_t i = 0;; i++) {
		if (c->state == LAST) {
			*ret_used = i;
			return CHUNKED_TRAILERS;
		}
		if (i == len) {
			*ret_used = len;
			return CHUNKED_MORE;
		}
		if (c->state == DATA) {
			size_t n = len - i < c->left ? len - i : (size_t)c->left;

			c->left -= n;
			if (c->left == 0)
				c->state = DATA_CR;
			*ret_data = span_of(p + i, n);
			*ret_used = i + n;
			return CHUNKED_DATA;
		}
		if (c->state == DATA_CR || c->state == DATA_LF) {
			if (p[i] != (c->state == DATA_CR ? '\r' : '\n'))
				return CHUNKED_BAD;
			c->state = c->state == DATA_CR ? DATA_LF : SIZE;
			continue;
		}
		if (!line_byte(c, p[i]))
			return CHUNKED_BAD;
	}
}
