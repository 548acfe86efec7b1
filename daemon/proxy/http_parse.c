/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/http_parse.h"

#include "base/mem.h"

#include <string.h>

static enum http_result bad(struct fault *f, unsigned status, const char *why)
{
	f->status = status;
	f->why = why;
	return HTTP_BAD;
}

static const struct {
	const char *name;
	enum verb   verb;
} verbs[] = {
	{ "GET", VERB_GET },       { "HEAD", VERB_HEAD },       { "POST", VERB_POST },
	{ "PUT", VERB_PUT },       { "DELETE", VERB_DELETE },   { "OPTIONS", VERB_OPTIONS },
	{ "PATCH", VERB_PATCH },   { "CONNECT", VERB_CONNECT }, { "TRACE", VERB_TRACE },
};

bool verb_safe(enum verb v, struct span method)
{
	return v == VERB_GET || v == VERB_HEAD || v == VERB_OPTIONS ||
	       (v == VERB_OTHER && (span_eq(method, SPAN("PROPFIND")) ||
	                            span_eq(method, SPAN("REPORT")) ||
	                            span_eq(method, SPAN("SEARCH")) ||
	                            span_eq(method, SPAN("QUERY"))));
}

bool verb_idempotent(enum verb v, struct span method)
{
	return v == VERB_PUT || v == VERB_DELETE || verb_safe(v, method);
}

enum verb verb_find(struct span method)
{
	for (size_t i = 0; i < array_size(verbs); i++) {
		if (span_eq(method, span_str(verbs[i].name)))
			return verbs[i].verb;
	}
	return VERB_OTHER;
}

/* method SP target SP HTTP/1.x, RFC 9112 3: one space each, nothing around. */
static bool request_line(struct message *m, struct span line, struct fault *f)
{
	size_t sp = span_find(line, ' ');
	struct span version;

	if (span_find(line, '\t') < line.len)
		return bad(f, 400, "a tab in the request line");
	m->method = span_head(line, sp);
	if (sp == line.len || !http_is_token(m->method))
		return bad(f, 400, "a malformed method");
	if (m->method.len > HTTP_METHOD_MAX)
		return bad(f, 501, "the method is too long");
	m->verb = verb_find(m->method);
	line = span_from(line, sp + 1);
	sp = span_find(line, ' ');
	if (sp == line.len)
		return bad(f, 400, "no HTTP version in the request line");
	m->target = span_head(line, sp);
	if (m->target.len > HTTP_TARGET_MAX)
		return bad(f, 414, "the target is too long");
	version = span_from(line, sp + 1);
	if (version.len != 8 || memcmp(version.ptr, "HTTP/", 5) != 0 || version.ptr[6] != '.' ||
	    version.ptr[5] < '0' || version.ptr[5] > '9' || version.ptr[7] < '0' || version.ptr[7] > '9')
		return bad(f, 400, "a malformed request line");
	if (version.ptr[5] != '1' || version.ptr[7] > '1')
		return bad(f, 505, "an HTTP version other than 1.0 and 1.1");
	m->minor = (uint8_t)(version.ptr[7] - '0');
	return true;
}

static bool request_fields(struct message *m, struct fault *f)
{
	for (size_t i = 0; i < m->field_count; i++) {
		const struct field *fld = &m->fields[i];

		if (fld->id == HEAD_HOST) {
			if (m->host.ptr)
				return bad(f, 400, "Host twice");
			m->host = fld->value;
		} else if (fld->id == HEAD_EXPECT) {
			/* RFC 9110 10.1.1 knows one expectation */
			if (!span_ieq(fld->value, SPAN("100-continue")))
				return bad(f, 417, "an unknown expectation");
			m->expect_continue = m->minor == 1;
		}
	}
	if (!m->host.ptr)
		return bad(f, 400, "no Host field");
	if (!http_framing(m, 400, f))
		return false;
	/* Nothing is pending behind a request without a body: 100 has no meaning. */
	if (m->body == BODY_NONE)
		m->expect_continue = false;
	return true;
}

static void request_zero(struct message *m)
{
	/* the fields are written before they are read */
	memset((char *)m + offsetof(struct message, field_count), 0,
	       sizeof(*m) - offsetof(struct message, field_count));
}

enum http_result http_request_parse(struct http_scan *s, const char *buf, size_t len,
                                    struct message *m, size_t *ret_used, struct fault *f)
{
	enum http_result r;

	*f = (struct fault){ 0 };
	if (!s->first) {
		r = http_head_scan(s, buf, len, HTTP_HEAD_MAX, 400, f);
		if (r == HTTP_BAD || !s->first)
			return r;
		/* Judged when it is whole, wherever the rest is: a bad line is refused
		 * without waiting for fields, and for the same reason in every cut. */
		request_zero(m);
		if (!request_line(m, span_of(buf + s->start, s->first), f))
			return HTTP_BAD;
	}
	r = http_head_scan(s, buf, len, HTTP_HEAD_MAX, 400, f);
	if (r != HTTP_DONE)
		return r;
	request_zero(m);
	if (!request_line(m, span_of(buf + s->start, s->first), f) ||
	    !http_fields_parse(m, buf + s->start + s->first + 2, buf + s->pos - 2, 400, f) ||
	    !request_fields(m, f))
		return HTTP_BAD;
	*ret_used = s->pos;
	return HTTP_DONE;
}
