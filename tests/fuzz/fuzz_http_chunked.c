/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The chunked decoder beside a twin that has no states: it looks at the whole
 * body at once, line by line, as RFC 9112 7.1 writes it. Both take the same
 * bodies, with the same data, however the bytes are cut.
 */
#include "daemon/proxy/chunked.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

struct body {
	bool   bad, whole;
	size_t used, len;
	char   data[64 << 10];
};

static bool hex_digit(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* *( ";" token [ "=" ( token / quoted-string ) ] ), without white space, which RFC 9112 calls bad. */
static bool extensions_ok(struct span s)
{
	size_t i = 0;

	while (i < s.len) {
		size_t from = ++i;

		if (s.ptr[from - 1] != ';')
			return false;
		while (i < s.len && s.ptr[i] != '=' && s.ptr[i] != ';')
			i++;
		if (!http_is_token(span_of(s.ptr + from, i - from)))
			return false;
		if (i == s.len || s.ptr[i] == ';')
			continue;
		from = ++i;
		if (i < s.len && s.ptr[i] == '"') {
			for (i++; i < s.len && s.ptr[i] != '"'; i++) {
				if (s.ptr[i] == '\\')
					i++;
			}
			if (i >= s.len || !http_is_value(span_of(s.ptr + from, i - from)))
				return false;
			i++;
			if (i < s.len && s.ptr[i] != ';')
				return false;
		} else {
			while (i < s.len && s.ptr[i] != ';')
				i++;
			if (!http_is_token(span_of(s.ptr + from, i - from)))
				return false;
		}
	}
	return true;
}

/* Only for bodies whose lines are all there: what is cut is the decoder's own affair. */
static void twin(struct span in, struct body *r)
{
	size_t at = 0, ext_total = 0;

	memset(r, 0, offsetof(struct body, data));
	for (;;) {
		const char *eol = memmem(in.ptr + at, in.len - at, "\r\n", 2);
		uint64_t n = 0;
		size_t digits = 0, line;

		if (!eol)
			return;         /* more is to come, or it is bad: the decoder says which */
		line = (size_t)(eol - in.ptr) - at;
		while (digits < line && hex_digit(in.ptr[at + digits])) {
			char c = (char)(in.ptr[at + digits] | 0x20);

			r->bad = r->bad || digits >= HTTP_CHUNK_DIGITS || n > (uint64_t)HTTP_BODY_NEVER >> 4;
			n = n << 4 | (unsigned)(c >= 'a' ? c - 'a' + 10 : c - '0');
			digits++;
		}
		ext_total += line > digits ? line - digits - 1 : 0;
		if (r->bad || digits == 0 || !extensions_ok(span_of(in.ptr + at + digits, line - digits)) ||
		    line - digits > HTTP_EXT_MAX + 1 || ext_total > HTTP_EXT_TOTAL) {
			r->bad = true;
			return;
		}
		at += line + 2;
		if (n == 0) {
			r->whole = true;
			r->used = at;
			return;
		}
		if (n > in.len - at) {
			memcpy(r->data + r->len, in.ptr + at, in.len - at);
			r->len += in.len - at;
			return;
		}
		memcpy(r->data + r->len, in.ptr + at, n);
		r->len += n;
		at += n;
		if (in.len - at < 2)
			return;
		if (in.ptr[at] != '\r' || in.ptr[at + 1] != '\n') {
			r->bad = true;
			return;
		}
		at += 2;
	}
}

static void decode(struct span in, size_t piece, struct body *r)
{
	struct chunked c;
	size_t have = 0, at = 0;

	chunked_init(&c);
	memset(r, 0, offsetof(struct body, data));
	for (;;) {
		struct span data;
		size_t used = 0;

		switch (chunked_read(&c, in.ptr + at, have - at, &used, &data)) {
		case CHUNKED_BAD:
			r->bad = true;
			return;
		case CHUNKED_DATA:
			must(used >= data.len && used <= have - at && data.len);
			memcpy(r->data + r->len, data.ptr, data.len);
			r->len += data.len;
			at += used;
			continue;
		case CHUNKED_TRAILERS:
			r->whole = true;
			r->used = at + used;
			return;
		case CHUNKED_MORE:
			must(used == have - at);
			at += used;
			break;
		}
		if (have == in.len)
			return;
		have += piece && piece < in.len - have ? piece : in.len - have;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct body a, b;
	static const size_t pieces[] = { 1, 2, 5 };
	struct span in = span_of((const char *)data, size);

	if (size > sizeof(a.data))
		return 0;
	decode(in, 0, &a);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		decode(in, pieces[i], &b);
		must(a.bad == b.bad && a.whole == b.whole && a.used == b.used && a.len == b.len &&
		     memcmp(a.data, b.data, a.len) == 0);
	}
	twin(in, &b);
	must(a.whole == b.whole && (!b.bad || a.bad));
	if (a.whole)
		must(a.used == b.used && a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
	return 0;
}
