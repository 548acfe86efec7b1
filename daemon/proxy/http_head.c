/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/http_parse.h"

#include "base/mem.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* RFC 9110 5.6.2 */
static const uint8_t is_tchar[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
	['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

bool http_is_token(struct span s)
{
	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_tchar[(unsigned char)s.ptr[i]])
			return false;
	}
	return true;
}

static bool is_control(unsigned char c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

bool http_is_value(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (is_control((unsigned char)s.ptr[i]))
			return false;
	}
	return true;
}

/* The next control character (HTAB is none) at or behind p, or end. */
static const char *find_control(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i space = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'),
		      del = _mm_set1_epi8(0x7f), zero = _mm_setzero_si128();

	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		/* unsigned v <= 0x1f: the saturating difference is zero */
		__m128i low = _mm_cmpeq_epi8(_mm_subs_epu8(v, space), zero);
		__m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), low),
		                           _mm_cmpeq_epi8(v, del));
		int mask = _mm_movemask_epi8(bad);

		if (mask)
			return p + __builtin_ctz((unsigned)mask);
		p += 16;
	}
#endif
	while (p < end && !is_control((unsigned char)*p))
		p++;
	return p;
}

static enum http_result bad(struct fault *f, unsigned status, const char *why)
{
	f->status = status;
	f->why = why;
	return HTTP_BAD;
}

/*
 * Looks at every byte once, whatever the pieces in which they came. Stops
 * after the first line too (HTTP_DONE with scan->first set and no empty line
 * seen is told apart by the caller through scan->line).
 */
enum http_result http_head_scan(struct http_scan *s, const char *buf, size_t len, size_t max,
                                unsigned status, struct fault *f)
{
	const char *end = buf + (len < max ? len : max);
	const char *p = buf + s->pos;

	for (;;) {
		p = find_control(p, end);
		s->pos = (uint32_t)(p - buf);
		if (p == end)
			break;
		if (*p != '\r')
			return bad(f, status, *p == '\n' ? "a line ends in LF without CR"
			                                 : "a control character in the head");
		if (p + 1 == end)
			break;
		if (p[1] != '\n')
			return bad(f, status, "a CR without LF");

		uint32_t line = s->line, at = (uint32_t)(p - buf);

		p += 2;
		s->pos = s->line = (uint32_t)(p - buf);
		if (at == line) {
			if (s->first)
				return HTTP_DONE;
			/* RFC 9112 2.2: an empty line before the request line is skipped, one */
			if (s->start == line && line == 0)
				s->start = s->line;
			else
				return bad(f, status, "empty lines before the first line");
		} else if (!s->first) {
			s->first = at - line;
			return HTTP_MORE;
		}
	}
	if (len >= max)
		return bad(f, status == 400 ? 431 : status, "the head is too large");
	return HTTP_MORE;
}

static char low(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

struct head_name {
	const char  *name;
	enum head_id id;
};

/* Sorted by length: head_by_len[n]..head_by_len[n + 1]. */
static const struct head_name head_names[] = {
	{ "te", HEAD_TE },
	{ "host", HEAD_HOST },
	{ "date", HEAD_DATE },
	{ "accept", HEAD_ACCEPT },
	{ "expect", HEAD_EXPECT },
	{ "origin", HEAD_ORIGIN },
	{ "server", HEAD_SERVER },
	{ "upgrade", HEAD_UPGRADE },
	{ "trailer", HEAD_TRAILER },
	{ "referer", HEAD_REFERER },
	{ "connection", HEAD_CONNECTION },
	{ "keep-alive", HEAD_KEEP_ALIVE },
	{ "user-agent", HEAD_USER_AGENT },
	{ "traceparent", HEAD_TRACEPARENT },
	{ "max-forwards", HEAD_MAX_FORWARDS },
	{ "x-request-id", HEAD_X_REQUEST_ID },
	{ "content-length", HEAD_CONTENT_LENGTH },
	{ "http2-settings", HEAD_HTTP2_SETTINGS },
	{ "sec-fetch-dest", HEAD_SEC_FETCH_DEST },
	{ "sec-fetch-mode", HEAD_SEC_FETCH_MODE },
	{ "sec-fetch-site", HEAD_SEC_FETCH_SITE },
	{ "content-encoding", HEAD_CONTENT_ENCODING },
	{ "proxy-connection", HEAD_PROXY_CONNECTION },
	{ "transfer-encoding", HEAD_TRANSFER_ENCODING },
	{ "proxy-authenticate", HEAD_PROXY_AUTHENTICATE },
	{ "proxy-authorization", HEAD_PROXY_AUTHORIZATION },
};
static const uint8_t head_by_len[] = {
	/* 0 */ 0, 0, 0, 1, 1, 3, 3, 7, 10, 10, 10, 13, 14, 16, 16, 21, 21, 23, 24, 25, 26,
};

static bool same_name(const char *lower, struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (low(s.ptr[i]) != lower[i])
			return false;
	}
	return true;
}

enum head_id head_find(struct span name)
{
	if (name.len + 1 >= array_size(head_by_len))
		return HEAD_OTHER;
	for (size_t i = head_by_len[name.len]; i < head_by_len[name.len + 1]; i++) {
		if (same_name(head_names[i].name, name))
			return head_names[i].id;
	}
	return HEAD_OTHER;
}

const struct field *message_find(const struct message *m, enum head_id id)
{
	for (size_t i = 0; i < m->field_count; i++) {
		if (m->fields[i].id == id)
			return &m->fields[i];
	}
	return NULL;
}

bool message_nominates(const struct message *m, struct span name)
{
	for (size_t i = 0; i < m->nominee_count; i++) {
		if (span_ieq(m->nominees[i], name))
			return true;
	}
	return false;
}

/* True for another spelling of a name that frames or routes: CGI and its
 * children read "Content_Length" as Content-Length. */
static bool is_framing_twin(struct span name)
{
	static const char *const twins[] = { "contentlength", "transferencoding", "host",
		                             "connection", "upgrade" };
	char folded[32];
	size_t n = 0;

	if (name.len > 64)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = low(name.ptr[i]);

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
			if (n == sizeof(folded))
				return false;
			folded[n++] = c;
		}
	}
	for (size_t i = 0; i < array_size(twins); i++) {
		if (strlen(twins[i]) == n && memcmp(twins[i], folded, n) == 0)
			return true;
	}
	return false;
}

/* [p, end) are whole lines without controls but CR LF at each end, as http_head_scan() left them. */
bool http_fields_parse(struct message *m, const char *p, const char *end, unsigned status,
                       struct fault *f)
{
	while (p < end) {
		const char *eol = memchr(p, '\r', (size_t)(end - p));
		const char *q = p;
		struct field *fld;

		if (*p == ' ' || *p == '\t')
			return bad(f, status, "a folded line (RFC 9112 5.2)");
		while (is_tchar[(unsigned char)*q])
			q++;
		if (*q != ':')
			return bad(f, status, *q == ' ' || *q == '\t'
			                          ? "white space in or behind a field name"
			                          : "a field line without a proper name");
		if (q == p)
			return bad(f, status, "an empty field name");
		if (q - p > HTTP_NAME_MAX)
			return bad(f, status == 400 ? 431 : status, "a field name is too long");
		if (m->field_count == HTTP_FIELDS_MAX)
			return bad(f, status == 400 ? 431 : status, "too many fields");
		fld = &m->fields[m->field_count++];
		fld->name = span_of(p, (size_t)(q - p));
		fld->value = span_trim(span_of(q + 1, (size_t)(eol - q - 1)));
		fld->id = head_find(fld->name);
		if (fld->id == HEAD_OTHER && is_framing_twin(fld->name))
			return bad(f, status, "a second spelling of a framing field's name");
		p = eol + 2;
	}
	return true;
}

bool http_list_next(struct span *rest, struct span *ret_item)
{
	struct span part;

	while (span_next(rest, ',', &part)) {
		part = span_trim(part);
		if (part.len) {
			*ret_item = part;
			return true;
		}
	}
	return false;
}

bool http_list_has(struct span list, struct span token)
{
	struct span item;

	while (http_list_next(&list, &item)) {
		if (span_ieq(item, token))
			return true;
	}
	return false;
}

/* "gzip ;", "chunked;a=b;": the name, the parameters being of no use to anybody. */
static bool coding_name(struct span item, struct span *ret_name)
{
	struct span name = span_trim(span_head(item, span_find(item, ';')));

	for (size_t i = name.len; i < item.len; i++) {
		unsigned char c = (unsigned char)item.ptr[i];

		if (!is_tchar[c] && c != ';' && c != '=' && c != ' ' && c != '\t')
			return false;
	}
	*ret_name = name;
	return http_is_token(name);
}

/* RFC 9112 6.1: chunked is there once, last; what else is there is a coding
 * that is registered, and stays on the payload. */
static bool transfer_encoding(struct message *m, struct span value, unsigned status, struct fault *f)
{
	static const char *const known[] = { "gzip", "x-gzip", "deflate", "compress", "x-compress" };
	struct span item, name;
	bool any = false;

	while (span_next(&value, ',', &item)) {
		bool found = false;

		any = true;
		if (!coding_name(span_trim(item), &name))
			return bad(f, status, "a malformed Transfer-Encoding");
		/* some read a response whose coding has parameters until the connection ends */
		if (status != 400 && name.len != span_trim(item).len)
			return bad(f, status, "a transfer coding with parameters");
		if (m->body == BODY_CHUNKED)
			return bad(f, status, "a transfer coding behind chunked");
		if (span_ieq(name, SPAN("chunked"))) {
			m->body = BODY_CHUNKED;
			continue;
		}
		if (span_ieq(name, SPAN("identity")))
			continue;
		for (size_t i = 0; i < array_size(known); i++)
			found = found || span_ieq(name, span_str(known[i]));
		if (!found)
			return bad(f, status == 400 ? 501 : status, "an unknown transfer coding");
		if (m->coding_count == HTTP_CODINGS_MAX)
			return bad(f, status, "too many transfer codings");
		m->codings[m->coding_count++] = name;
	}
	return any || bad(f, status, "an empty Transfer-Encoding");
}

/* What fields say about the length of the body and the life of the connection. */
bool http_framing(struct message *m, unsigned status, struct fault *f)
{
	bool te = false, close = false, keep = false, upgrade_named = false;
	struct span rest, item;

	for (size_t i = 0; i < m->field_count; i++) {
		const struct field *fld = &m->fields[i];

		switch (fld->id) {
		case HEAD_CONTENT_LENGTH:
			if (m->has_length)
				return bad(f, status, "Content-Length twice");
			if (!span_u64(fld->value, (uint64_t)HTTP_BODY_NEVER, &m->length))
				return bad(f, status, "a malformed Content-Length");
			m->has_length = true;
			break;
		case HEAD_TRANSFER_ENCODING:
			te = true;
			if (!transfer_encoding(m, fld->value, status, f))
				return false;
			break;
		case HEAD_CONNECTION:
			rest = fld->value;
			while (http_list_next(&rest, &item)) {
				if (!http_is_token(item))
					return bad(f, status, "a malformed Connection field");
				if (m->nominee_count == HTTP_NOMINEES_MAX)
					return bad(f, status, "too many names in Connection");
				m->nominees[m->nominee_count++] = item;
				close = close || span_ieq(item, SPAN("close"));
				keep = keep || span_ieq(item, SPAN("keep-alive"));
				upgrade_named = upgrade_named || span_ieq(item, SPAN("upgrade"));
			}
			break;
		case HEAD_UPGRADE:
			if (m->protocol.ptr)
				return bad(f, status, "Upgrade twice");
			rest = fld->value;
			if (http_list_next(&rest, &item))
				m->protocol = item;
			break;
		case HEAD_TE:
			m->te_trailers = m->te_trailers || http_list_has(fld->value, SPAN("trailers"));
			break;
		default:
			break;
		}
	}
	m->keep_alive = !close && (m->minor == 1 || keep);
	m->upgrade = upgrade_named && m->protocol.ptr && m->minor == 1;
	if (te) {
		/* RFC 9112 6.1 and 6.3: each of these has been used to smuggle */
		if (m->has_length)
			return bad(f, status, "Transfer-Encoding and Content-Length");
		if (m->minor == 0)
			return bad(f, status, "Transfer-Encoding in HTTP/1.0");
		if (m->body != BODY_CHUNKED)
			return bad(f, status, "Transfer-Encoding does not end in chunked");
	} else if (m->has_length) {
		m->body = m->length ? BODY_LENGTH : BODY_NONE;
	}
	return true;
}

enum http_result http_trailers_parse(struct http_scan *s, const char *buf, size_t len,
                                     unsigned status, struct message *m, size_t *ret_used,
                                     struct fault *f)
{
	enum http_result r;

	/* The lines begin where a head has its fields: an empty one ends them at once. */
	if (s->pos == 0 && s->first == 0)
		s->first = 1;
	r = http_head_scan(s, buf, len, HTTP_TRAILERS_MAX, status, f);
	if (r != HTTP_DONE)
		return r;
	m->field_count = 0;
	if (!http_fields_parse(m, buf, buf + s->pos - 2, status, f))
		return HTTP_BAD;
	for (size_t i = 0; i < m->field_count; i++) {
		enum head_id id = m->fields[i].id;

		if (id == HEAD_CONTENT_LENGTH || id == HEAD_TRANSFER_ENCODING || id == HEAD_HOST)
			return bad(f, status, "a framing field in the trailers");
		/* There are parsers that close, or switch, for these even here. */
		if (status == 400 && (id == HEAD_CONNECTION || id == HEAD_UPGRADE || id == HEAD_EXPECT))
			return bad(f, status, "a field about the connection in the trailers");
	}
	*ret_used = s->pos;
	return HTTP_DONE;
}
