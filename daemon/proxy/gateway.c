/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/gateway.h"

#include <stdio.h>
#include <string.h>

/* FastCGI Specification 1.0, section 8 */
enum {
	FCGI_VERSION = 1,
	FCGI_BEGIN_REQUEST = 1,
	FCGI_END_REQUEST = 3,
	FCGI_PARAMS = 4,
	FCGI_STDIN = 5,
	FCGI_STDOUT = 6,
	FCGI_STDERR = 7,
	FCGI_RESPONDER = 1,
	FCGI_REQUEST_COMPLETE = 0,
	REQUEST_ID = 1,
	HEAD = 8,
	NETSTRING_MAX = 12,     /* digits and ":" in front of SCGI's variables */
};

static void frame(unsigned type, size_t n, char out[HEAD])
{
	out[0] = FCGI_VERSION;
	out[1] = (char)type;
	out[2] = 0;
	out[3] = REQUEST_ID;
	out[4] = (char)(n >> 8 & 0xff);
	out[5] = (char)(n & 0xff);
	out[6] = 0;
	out[7] = 0;
}

static void add(struct head_out *o, const void *p, size_t n)
{
	head_add(o, span_of(p, n));
}

void gateway_begin(struct gateway_out *g, enum gateway kind, struct head_out *o)
{
	static const char zero[NETSTRING_MAX];
	char head[HEAD], body[8] = { 0, FCGI_RESPONDER };       /* flags 0: it closes the connection */

	*g = (struct gateway_out){ .kind = kind, .o = o };
	switch (kind) {
	case GATEWAY_FASTCGI:
		frame(FCGI_BEGIN_REQUEST, sizeof(body), head);
		add(o, head, sizeof(head));
		add(o, body, sizeof(body));
		add(o, zero, HEAD);     /* of the variables' record: gateway_end() */
		break;
	case GATEWAY_SCGI:
		add(o, zero, NETSTRING_MAX);
		break;
	case GATEWAY_UWSGI:
		add(o, zero, 4);
		break;
	case GATEWAY_NONE:
		break;
	}
	g->at = o->len;
}

/* Section 3.4: one byte below 128, else four with the top bit set. */
static void fcgi_length(struct head_out *o, size_t n)
{
	char b[4] = { (char)(n >> 24 | 0x80), (char)(n >> 16 & 0xff), (char)(n >> 8 & 0xff), (char)(n & 0xff) };

	if (n < 128)
		add(o, b + 3, 1);
	else
		add(o, b, 4);
}

static void uwsgi_text(struct head_out *o, struct span s)
{
	char b[2] = { (char)(s.len & 0xff), (char)(s.len >> 8 & 0xff) };

	if (s.len > GATEWAY_PARAMS_MAX)
		o->over = true;
	add(o, b, 2);
	head_add(o, s);
}

void gateway_param(struct gateway_out *g, struct span name, struct span value)
{
	switch (g->kind) {
	case GATEWAY_FASTCGI:
		fcgi_length(g->o, name.len);
		fcgi_length(g->o, value.len);
		head_add(g->o, name);
		head_add(g->o, value);
		break;
	case GATEWAY_SCGI:
		head_add(g->o, name);
		add(g->o, "", 1);
		head_add(g->o, value);
		add(g->o, "", 1);
		break;
	case GATEWAY_UWSGI:
		uwsgi_text(g->o, name);
		uwsgi_text(g->o, value);
		break;
	case GATEWAY_NONE:
		break;
	}
}

void gateway_end(struct gateway_out *g, bool body)
{
	struct head_out *o = g->o;
	size_t n = o->len - g->at;
	char head[HEAD], digits[NETSTRING_MAX + 1];

	if (o->over || (n > GATEWAY_PARAMS_MAX && g->kind != GATEWAY_SCGI)) {
		o->over = true;
		return;
	}
	switch (g->kind) {
	case GATEWAY_FASTCGI:
		frame(FCGI_PARAMS, n, o->ptr + g->at - HEAD);
		frame(FCGI_PARAMS, 0, head);
		add(o, head, sizeof(head));
		if (!body) {
			gateway_body_frame(0, head);
			add(o, head, sizeof(head));
		}
		break;
	case GATEWAY_SCGI: {
		size_t len = (size_t)snprintf(digits, sizeof(digits), "%zu:", n);

		memmove(o->ptr + g->at - NETSTRING_MAX + len, o->ptr + g->at, n);
		memcpy(o->ptr + g->at - NETSTRING_MAX, digits, len);
		o->len -= NETSTRING_MAX - len;
		add(o, ",", 1);
		break;
	}
	case GATEWAY_UWSGI:
		o->ptr[g->at - 3] = (char)(n & 0xff);
		o->ptr[g->at - 2] = (char)(n >> 8 & 0xff);
		break;
	case GATEWAY_NONE:
		break;
	}
}

void gateway_body_frame(size_t n, char out[GATEWAY_FRAME])
{
	frame(FCGI_STDIN, n, out);
}

/* ---- responses ---- */

/* The record's head is whole: what is in it? */
static bool record_begin(struct gateway_records *r)
{
	r->type = r->head[1];
	r->left = (uint16_t)(r->head[4] << 8 | r->head[5]);
	r->pad = r->head[6];
	if (r->head[0] != FCGI_VERSION || (r->head[2] << 8 | r->head[3]) != REQUEST_ID)
		return false;
	if (r->type == FCGI_END_REQUEST)
		return r->left == 8;
	return r->type == FCGI_STDOUT || r->type == FCGI_STDERR;
}

bool gateway_unwrap(struct gateway_records *r, char *p, size_t n, size_t *ret_n, gateway_error_fn *fn,
                    void *arg)
{
	size_t in = 0, out = 0;

	while (in < n && !r->ended) {
		size_t take;

		if (r->have < HEAD) {
			r->head[r->have++] = (unsigned char)p[in++];
			if (r->have == HEAD && !record_begin(r))
				return false;
			continue;
		}
		take = n - in < r->left ? n - in : r->left;
		if (r->type == FCGI_STDOUT) {
			memmove(p + out, p + in, take);
			out += take;
		} else if (r->type == FCGI_STDERR) {
			if (take && fn)
				fn(arg, span_of(p + in, take));
		} else {
			/* appStatus (4), protocolStatus (1), reserved (3) */
			for (size_t i = 0; i < take; i++)
				if (8 - (r->left - i) == 4)
					r->failed = p[in + i] != FCGI_REQUEST_COMPLETE;
		}
		in += take;
		r->left = (uint16_t)(r->left - take);
		if (r->left)
			continue;
		if (r->type == FCGI_END_REQUEST) {
			r->ended = true;
			break;
		}
		take = n - in < r->pad ? n - in : r->pad;
		in += take;
		r->pad = (uint8_t)(r->pad - take);
		if (!r->pad)
			r->have = 0;
	}
	*ret_n = out;
	return true;
}

static enum http_result bad(struct fault *f, const char *why)
{
	*f = (struct fault){ 502, why };
	return HTTP_BAD;
}

/* "404 Not Found" -> itself; anything that does not begin with three digits is refused. */
static bool status_ok(struct span v)
{
	for (size_t i = 0; i < 3; i++)
		if (i >= v.len || v.ptr[i] < '0' || v.ptr[i] > '9')
			return false;
	return v.len == 3 || v.ptr[3] == ' ';
}

/* Cuts a line with its end off; false if there is no whole one. */
static bool next_line(struct span *rest, struct span *ret_line)
{
	size_t n = span_find(*rest, '\n');

	if (n == rest->len)
		return false;
	*ret_line = span_head(*rest, n);
	if (n && ret_line->ptr[n - 1] == '\r')
		ret_line->len--;
	*rest = span_from(*rest, n + 1);
	return true;
}

enum http_result gateway_head(const char *buf, size_t len, char *out, size_t *ret_used,
                              struct span *ret_head, struct fault *f)
{
	struct span rest = span_of(buf, len), line, status = { 0 };
	struct head_out o = { .ptr = out, .cap = HTTP_RESPONSE_HEAD_MAX + 64 };
	bool whole = false, location = false;
	size_t lines = 0;

	while (!whole && next_line(&rest, &line)) {
		struct span name = span_head(line, span_find(line, ':'));

		whole = line.len == 0;
		lines++;
		if (span_ieq(name, SPAN("status"))) {
			if (status.ptr)
				return bad(f, "two Status fields");
			status = span_trim(span_from(line, name.len + 1));
			if (!status_ok(status))
				return bad(f, "a malformed Status field");
		}
		location = location || span_ieq(name, SPAN("location"));
		if (span_ieq(name, SPAN("transfer-encoding")))
			return bad(f, "a Transfer-Encoding from an application that has none to choose");
	}
	if (!whole)
		return len > HTTP_RESPONSE_HEAD_MAX ? bad(f, "the head of the answer is too large") : HTTP_MORE;
	if (lines < 2)
		return bad(f, "an answer without a head");
	head_add_lit(&o, "HTTP/1.1 ");
	head_add(&o, status.ptr ? status : location ? SPAN("302 Found") : SPAN("200 OK"));
	head_add_lit(&o, "\r\n");
	*ret_used = len - rest.len;
	rest = span_of(buf, *ret_used);
	while (next_line(&rest, &line)) {
		if (span_ieq(span_head(line, span_find(line, ':')), SPAN("status")))
			continue;
		head_add(&o, line);
		head_add_lit(&o, "\r\n");
	}
	if (o.over)
		return bad(f, "the head of the answer is too large");
	*ret_head = span_of(o.ptr, o.len);
	return HTTP_DONE;
}
