/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/http_parse.h"

#include <string.h>

static enum http_result bad(struct fault *f, const char *why)
{
	f->status = 502;
	f->why = why;
	return HTTP_BAD;
}

/* HTTP/1.x SP 3DIGIT [SP [reason]], RFC 9112 4. The space before an absent
 * reason is often forgotten, and nobody reads that in two ways. */
static bool status_line(struct message *m, struct span line, struct fault *f)
{
	const char *p = line.ptr;

	if (line.len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ')
		return bad(f, "a malformed status line");
	m->minor = (uint8_t)(p[7] - '0');
	for (int i = 9; i < 12; i++) {
		if (p[i] < '0' || p[i] > '9')
			return bad(f, "a malformed status code");
	}
	m->status = (unsigned)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
	if (m->status < 100 || m->status > 599)
		return bad(f, "a status code outside 100 to 599");
	if (line.len > 12 && p[12] != ' ')
		return bad(f, "a malformed status line");
	m->reason = span_from(line, 13);
	return true;
}

enum http_result http_response_parse(struct http_scan *s, const char *buf, size_t len,
                                     enum verb of, struct message *m, size_t *ret_used,
                                     struct fault *f)
{
	enum http_result r;

	*f = (struct fault){ 0 };
	for (int lines = 0; lines < 2; lines++) {
		bool had_first = s->first != 0;

		r = http_head_scan(s, buf, len, HTTP_RESPONSE_HEAD_MAX, 502, f);
		if (r == HTTP_BAD || (r == HTTP_MORE && (had_first || !s->first)))
			return r;
		if (s->start)
			return bad(f, "an empty line before the status line");
		memset((char *)m + offsetof(struct message, field_count), 0,
		       sizeof(*m) - offsetof(struct message, field_count));
		if (!status_line(m, span_of(buf, s->first), f))
			return HTTP_BAD;
		if (r == HTTP_DONE)
			break;
	}
	if (r != HTTP_DONE)
		return HTTP_MORE;
	if (!http_fields_parse(m, buf + s->first + 2, buf + s->pos - 2, 502, f) ||
	    !http_framing(m, 502, f))
		return HTTP_BAD;
	/* RFC 9112 6.3, in its order */
	if (of == VERB_HEAD || m->status == 304) {
		m->body = BODY_NONE;
	} else if (m->status < 200 || m->status == 204) {
		if (m->body != BODY_NONE)
			return bad(f, "a 1xx or 204 with a body");
	} else if (!m->has_length && m->body != BODY_CHUNKED) {
		m->body = BODY_UNTIL_CLOSE;
		m->keep_alive = false;
	}
	if (m->coding_count)
		return bad(f, "a transfer coding that we did not offer");
	*ret_used = s->pos;
	return HTTP_DONE;
}
