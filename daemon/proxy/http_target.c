/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/http_target.h"

#include "base/ip.h"

#include <string.h>

static bool bad(struct fault *f, const char *why)
{
	f->status = 400;
	f->why = why;
	return false;
}

enum {
	RAW_PATH = 1,   /* stands as it is in a path: RFC 3986 pchar */
	RAW_QUERY = 2,  /* ... in a query */
	UNRESERVED = 4,
};

static const uint8_t kind[256] = {
	['A' ... 'Z'] = 7, ['a' ... 'z'] = 7, ['0' ... '9'] = 7,
	['-'] = 7, ['.'] = 7, ['_'] = 7, ['~'] = 7,
	['!'] = 3, ['$'] = 3, ['&'] = 3, ['\''] = 3, ['('] = 3, [')'] = 3, ['*'] = 3, ['+'] = 3,
	[','] = 3, [';'] = 3, ['='] = 3, [':'] = 3, ['@'] = 3,
	['/'] = RAW_QUERY, ['?'] = RAW_QUERY,
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads the escape at s[i]; -1: malformed. */
static int escape(struct span s, size_t i)
{
	int hi, lo;

	if (s.len - i < 3)
		return -1;
	hi = hex(s.ptr[i + 1]);
	lo = hex(s.ptr[i + 2]);
	return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

static char *put_escape(char *o, unsigned v)
{
	static const char digits[] = "0123456789ABCDEF";

	*o++ = '%';
	*o++ = digits[v >> 4];
	*o++ = digits[v & 15];
	return o;
}

/* RFC 3629, byte by byte: no surrogates, no overlong forms. */
struct utf8 {
	uint8_t left, lo, hi;
};

static bool utf8_byte(struct utf8 *u, unsigned v)
{
	if (u->left) {
		if (v < u->lo || v > u->hi)
			return false;
		u->left--;
		u->lo = 0x80;
		u->hi = 0xbf;
		return true;
	}
	u->lo = 0x80;
	u->hi = 0xbf;
	if (v < 0x80)
		return true;
	if (v >= 0xc2 && v <= 0xdf) {
		u->left = 1;
	} else if (v >= 0xe0 && v <= 0xef) {
		u->left = 2;
		u->lo = v == 0xe0 ? 0xa0 : 0x80;
		u->hi = v == 0xed ? 0x9f : 0xbf;
	} else if (v >= 0xf0 && v <= 0xf4) {
		u->left = 3;
		u->lo = v == 0xf0 ? 0x90 : 0x80;
		u->hi = v == 0xf4 ? 0x8f : 0xbf;
	} else {
		return false;
	}
	return true;
}

struct seen {
	bool semicolon, slash, twice, percent;  /* there may be a second reading */
};

static char *refused(struct fault *f, const char *why)
{
	bad(f, why);
	return NULL;
}

/* Ends the segment [seg, o): resolves dots. Returns the new end, NULL if it is refused. */
static char *end_segment(char *begin, char *seg, char *o, struct fault *f)
{
	size_t n = (size_t)(o - seg);
	size_t bare = span_find(span_of(seg, n), ';');

	/* an escaped semicolon ends the name for some, too */
	for (size_t i = 0; i + 2 < bare; i++) {
		if (memcmp(seg + i, "%3B", 3) == 0)
			bare = i;
	}
	if (bare < n && ((bare == 1 && seg[0] == '.') ||
	                 (bare == 2 && seg[0] == '.' && seg[1] == '.')))
		return refused(f, "a dot segment with parameters");
	if (n == 1 && seg[0] == '.')
		return seg;
	if (n == 2 && seg[0] == '.' && seg[1] == '.') {
		/* begin[0] is the root's slash; seg[-1] the slash before us */
		if (seg - 1 == begin)
			return refused(f, "the path climbs above the root");
		seg--;
		if (seg[-1] == '/')
			return refused(f, "a \"..\" behind an empty segment");
		while (seg[-1] != '/')
			seg--;
		return seg;
	}
	return o;
}

/* raw begins with "/". */
static bool normal_path(struct target *t, struct span raw, unsigned flags, struct seen *seen,
                        struct fault *f)
{
	char *begin = t->path_buf, *o = begin, *seg;
	struct utf8 u = { 0 };
	size_t i = 1;

	*o++ = '/';
	seg = o;
	for (; i < raw.len; i++) {
		unsigned char c = (unsigned char)raw.ptr[i];
		unsigned v = c;
		bool escaped = c == '%';

		if (c <= 0x20 || c == 0x7f)
			return bad(f, "a control character or a space in the target");
		if (escaped) {
			int e = escape(raw, i);

			if (e < 0)
				return bad(f, "a malformed escape in the path");
			v = (unsigned)e;
			i += 2;
		}
		if (!utf8_byte(&u, v))
			return bad(f, "the path is not UTF-8");
		if (c == '/') {
			char *was = o;

			if (o == seg)
				seen->twice = true;
			o = end_segment(begin, seg, o, f);
			if (!o)
				return false;
			/* A dot segment left a slash at the end: its own is not needed. At the
			 * root, "//host" would begin a reference with an authority for some. */
			if (o == was && o != begin + 1)
				*o++ = '/';
			seg = o;
			continue;
		}
		if (v == 0)
			return bad(f, "%00 in the path");
		if (v == '\\' || (v == '/' && escaped)) {
			if (!escaped)
				return bad(f, "a backslash in the path");
			if (!(flags & TARGET_ENCODED_SLASH))
				return bad(f, "an encoded slash in the path");
			t->encoded_slash = seen->slash = true;
		}
		if (c == '#')
			return bad(f, "a fragment in the path");
		if (v == ';')
			seen->semicolon = true;
		else if (v == '%')
			seen->percent = true;
		if (escaped ? (kind[v] & UNRESERVED) != 0 : (kind[v] & RAW_PATH) != 0)
			*o++ = (char)v;
		else
			o = put_escape(o, v);
	}
	if (u.left)
		return bad(f, "the path is not UTF-8");
	o = end_segment(begin, seg, o, f);
	if (!o)
		return false;
	t->path = span_of(begin, (size_t)(o - begin));
	return true;
}

/* The escape or the escaped escape ("%2F", "%252F") at p[i] of a normal form; its end in *ret_end. -1: none. */
static int escape_or_twice(struct span p, size_t i, size_t *ret_end)
{
	int v = escape(p, i), w = -1;

	*ret_end = i + 3;
	if (v != '%' || p.len - i < 5 || hex(p.ptr[i + 3]) < 0)
		return v;
	w = hex(p.ptr[i + 4]);
	if (w < 0)
		return v;
	*ret_end = i + 5;
	return hex(p.ptr[i + 3]) << 4 | w;
}

/*
 * The path as an application reads it that drops parameters, decodes escaped
 * slashes, decodes everything twice, and merges double slashes. Dots that this
 * brings to light, and a NUL, where many an application's path ends, are refused.
 */
static bool second_reading(struct target *t, struct fault *f)
{
	struct span p = t->path;
	char *o = t->alt_buf, *seg = o;
	bool skip = false;

	for (size_t i = 0, end; i <= p.len; i = end) {
		char c = i < p.len ? p.ptr[i] : '/';
		bool raw = true;

		end = i + 1;
		if (c == '%') {
			int v = escape_or_twice(p, i, &end);

			if (v == 0)
				return bad(f, "a NUL in a second reading of the path");
			if (v == '/' || v == '\\')
				c = '/';
			else if (v == ';' || (v >= 0 && kind[v] & UNRESERVED))
				c = (char)v;
			else
				raw = false;
		}
		if (c == '/') {
			size_t n = (size_t)(o - seg);

			if ((n == 1 && seg[0] == '.') || (n == 2 && seg[0] == '.' && seg[1] == '.'))
				return bad(f, "a dot segment in a second reading of the path");
			skip = false;
			if (i >= p.len)
				break;
			if (o == t->alt_buf || o[-1] != '/')
				*o++ = '/';
			seg = o;
			continue;
		}
		if (c == ';')
			skip = true;
		if (skip)
			continue;
		if (raw) {
			*o++ = c;
		} else {
			memcpy(o, p.ptr + i, end - i);
			o += end - i;
		}
	}
	t->alt = span_of(t->alt_buf, (size_t)(o - t->alt_buf));
	if (span_eq(t->alt, t->path))
		t->alt = (struct span){ 0 };
	return true;
}

static bool normal_query(struct target *t, struct span raw, struct fault *f)
{
	char *o = t->query_buf;

	*o++ = '?';
	for (size_t i = 1; i < raw.len; i++) {
		unsigned char c = (unsigned char)raw.ptr[i];

		if (c <= 0x20 || c == 0x7f)
			return bad(f, "a control character or a space in the target");
		if (c == '#')
			break;  /* never for us; the path is the same for everybody */
		if (c == '%') {
			int e = escape(raw, i);

			if (e < 0)
				return bad(f, "a malformed escape in the query");
			if (e == 0)
				return bad(f, "%00 in the query");
			*o++ = '%';
		} else if (kind[c] & RAW_QUERY) {
			*o++ = (char)c;
		} else {
			o = put_escape(o, c);
		}
	}
	t->query = span_of(t->query_buf, (size_t)(o - t->query_buf));
	return true;
}

bool target_path(struct target *t, struct span raw, unsigned flags, struct fault *f)
{
	struct seen seen = { 0 };
	size_t q;

	t->alt = t->query = (struct span){ 0 };
	t->encoded_slash = false;
	if (raw.len > HTTP_TARGET_MAX) {
		f->status = 414;
		f->why = "the target is too long";
		return false;
	}
	if (raw.len == 0 || raw.ptr[0] != '/')
		return bad(f, "the target does not begin with a slash");
	q = span_find(raw, '?');
	if (!normal_path(t, span_head(raw, q), flags, &seen, f))
		return false;
	if ((seen.semicolon || seen.slash || seen.twice || seen.percent) && !second_reading(t, f))
		return false;
	return q == raw.len || normal_query(t, span_from(raw, q), f);
}

bool host_fold(struct span raw, char buf[HTTP_HOST_MAX + 3], struct span *ret_host, uint16_t *ret_port)
{
	struct span name, port = { 0 };
	struct ip ip;
	uint64_t n = 0;
	size_t colon;

	*ret_port = 0;
	if (raw.len == 0 || raw.len > HTTP_HOST_MAX + 6)
		return false;
	if (raw.ptr[0] == '[') {
		size_t close = span_find(raw, ']');

		if (close == raw.len)
			return false;
		name = span_of(raw.ptr + 1, close - 1);
		if (span_find(name, ':') == name.len || !ip_parse(name, &ip))
			return false;
		port = span_from(raw, close + 1);
		if (port.len && port.ptr[0] != ':')
			return false;
		char text[IP_TEXT_MAX];
		struct span s = span_str(ip_text(&ip, text));

		memcpy(buf, s.ptr, s.len);
		*ret_host = span_of(buf, s.len);
	} else {
		colon = span_find(raw, ':');
		name = span_head(raw, colon);
		port = span_from(raw, colon);
		if (name.len && name.ptr[name.len - 1] == '.')
			name.len--;
		if (name.len == 0 || name.len > HTTP_HOST_MAX)
			return false;
		for (size_t i = 0; i < name.len; i++) {
			char c = name.ptr[i];

			if (c >= 'A' && c <= 'Z')
				c = (char)(c | 0x20);
			else if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' &&
			         c != '_' && !(c == '.' && i > 0 && name.ptr[i - 1] != '.'))
				return false;
			buf[i] = c;
		}
		*ret_host = span_of(buf, name.len);
		if (name.ptr[name.len - 1] == '.')
			return false;
	}
	/* RFC 3986 3.2.3: a colon alone is the scheme's own port */
	if (port.len > 1) {
		port = span_from(port, 1);
		if (port.len > 5 || !span_u64(port, 65535, &n) || n == 0)
			return false;
		*ret_port = (uint16_t)n;
	}
	return true;
}

static bool scheme_is(struct span *target, struct span scheme)
{
	if (target->len < scheme.len || !span_ieq(span_head(*target, scheme.len), scheme))
		return false;
	*target = span_from(*target, scheme.len);
	return true;
}

bool target_normalise(struct target *t, const struct message *m, bool tls, unsigned flags,
                      struct fault *f)
{
	struct span raw = m->target;

	*f = (struct fault){ 0 };
	t->alt = t->query = (struct span){ 0 };
	t->encoded_slash = false;
	if (!host_fold(m->host, t->host_buf, &t->host, &t->port))
		return bad(f, "a malformed Host");
	/* "GET  HTTP/1.1": an empty target can only mean the root */
	if (raw.len == 0)
		raw = SPAN("/");
	if (span_eq(raw, SPAN("*"))) {
		if (m->verb != VERB_OPTIONS)
			return bad(f, "the target * is for OPTIONS alone");
		t->path = SPAN("*");
		return true;
	}
	if (scheme_is(&raw, tls ? SPAN("https://") : SPAN("http://"))) {
		char buf[HTTP_HOST_MAX + 3];
		struct span host;
		uint16_t port, standard = tls ? 443 : 80;
		size_t n = 0;

		while (n < raw.len && raw.ptr[n] != '/' && raw.ptr[n] != '?' && raw.ptr[n] != '#')
			n++;
		/* RFC 9112 3.2.2 lets a proxy replace Host; two answers to "which host" we refuse */
		if (!host_fold(span_head(raw, n), buf, &host, &port))
			return bad(f, "a malformed authority in the target");
		if (!span_eq(host, t->host) ||
		    (port ? port : standard) != (t->port ? t->port : standard))
			return bad(f, "the target contradicts Host");
		raw = span_from(raw, n);
		/* RFC 9112 3.2.4: about the server, not about its root */
		if (raw.len == 0 && m->verb == VERB_OPTIONS) {
			t->path = SPAN("*");
			return true;
		}
		if (raw.len == 0)
			raw = SPAN("/");
		if (raw.ptr[0] == '?') {
			if (!target_path(t, SPAN("/"), flags, f) || !normal_query(t, raw, f))
				return false;
			return true;
		}
	}
	return target_path(t, raw, flags, f);
}

struct span target_said(struct span target)
{
	struct span t = span_head(target, span_find(target, '?'));

	t = span_head(t, span_find(t, '#'));
	if (t.len && t.ptr[0] == '/')
		return t;
	/* scheme://authority/path, authority, or * */
	for (size_t i = 0; i + 3 <= t.len; i++) {
		if (span_starts(span_from(t, i), SPAN("://"))) {
			t = span_from(t, i + 3);
			return span_from(t, span_find(t, '/'));
		}
	}
	return span_find(t, '@') < t.len ? SPAN("") : t;
}
