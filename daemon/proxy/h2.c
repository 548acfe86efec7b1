/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/h2.h"

#include "base/encode.h"
#include "base/mem.h"
#include "base/secret.h"
#include "daemon/proxy/h2_frames.h"
#include "daemon/proxy/http_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum resp_state { RESP_HEAD = 0, RESP_LENGTH, RESP_CHUNKED, RESP_TRAILERS, RESP_CLOSE, RESP_RAW, RESP_DONE };

struct h2_stream {
	struct h2        *h2;
	struct h2_stream *prev, *next;
	int32_t           id;
	struct conn      *v;            /* NULL: over, or not begun */
	struct queue      fields;       /* request: field lines as they come; later trailers */
	struct queue      cookie;
	struct queue      out;          /* what v had written when it ended */
	struct queue      data;         /* response: payload for DATA frames */
	char             *method, *path, *authority, *host, *protocol;
	size_t            header_bytes;
	size_t            surplus;      /* request bytes that nobody wanted */
	size_t            unconsumed;   /* request bytes that the window has not got back */
	bool              begun, chunked, websocket, ended, refused;
	enum verb         verb;
	enum resp_state   state;
	struct http_scan  scan;
	struct chunked    chunks;
	uint64_t          left;
	bool              submitted, deferred, until_close;
	struct queue      trailers;     /* response: "name: value\r\n" lines */
};

struct h2 {
	struct h2_out     out;          /* first: user data of its session */
	struct conn      *conn;
	struct h2_stream *streams;
	size_t            count;
	bool              goaway, running;
};

static struct queue *written(struct h2_stream *st)
{
	return st->v ? &st->v->io.out : &st->out;
}

static void stream_free(struct h2_stream *st)
{
	struct h2 *h = st->h2;

	if (st->v) {
		struct conn *v = st->v;

		st->v = NULL;
		v->stream = NULL;
		conn_close(v);
	}
	if (st->prev)
		st->prev->next = st->next;
	else
		h->streams = st->next;
	if (st->next)
		st->next->prev = st->prev;
	h->count--;
	queue_free(&st->fields);
	queue_free(&st->cookie);
	queue_free(&st->out);
	queue_free(&st->data);
	queue_free(&st->trailers);
	free(st->method);
	free(st->path);
	free(st->authority);
	free(st->host);
	free(st->protocol);
	free(st);
}

void h2_wake(struct conn *v)
{
	if (v->stream)
		conn_later(v->stream->h2->conn);
}

void h2_gone(struct conn *v)
{
	struct h2_stream *st = v->stream;

	if (!st)
		return;
	st->out = v->io.out;
	v->io.out = (struct queue){ 0 };
	v->stream = NULL;
	st->v = NULL;
	conn_later(st->h2->conn);
}

/* ---- requests ---- */

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *st;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	st = mem_alloc(sizeof(*st));
	st->h2 = h;
	st->id = frame->hd.stream_id;
	st->next = h->streams;
	if (h->streams)
		h->streams->prev = st;
	h->streams = st;
	h->count++;
	nghttp2_session_set_stream_user_data(s, st->id, st);
	return 0;
}

static bool line_ok(struct span s)
{
	return http_is_value(s);
}

static void set_text(char **to, struct span value, bool *ret_twice)
{
	*ret_twice = *to != NULL;
	free(*to);
	*to = span_dup(value);
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2_stream *st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	struct span n = span_of(name, name_len), v = span_of(value, value_len);
	enum head_id id;
	bool twice = false;

	(void)flags;
	(void)arg;
	if (!st)
		return 0;
	st->header_bytes += n.len + v.len + 32;         /* RFC 9113 6.5.2 */
	if (st->header_bytes > HTTP_HEAD_MAX || !line_ok(v))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (n.len && n.ptr[0] == ':') {
		if (span_eq(n, SPAN(":method")))
			set_text(&st->method, v, &twice);
		else if (span_eq(n, SPAN(":path")))
			set_text(&st->path, v, &twice);
		else if (span_eq(n, SPAN(":authority")))
			set_text(&st->authority, v, &twice);
		else if (span_eq(n, SPAN(":protocol")))
			set_text(&st->protocol, v, &twice);
		else if (!span_eq(n, SPAN(":scheme")))
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		return twice ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
	}
	if (!http_is_token(n))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	id = head_find(n);
	if (id == HEAD_HOST) {
		set_text(&st->host, v, &twice);
		return twice || st->begun /* a trailer */ ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
	}
	if (h2_is_hop(id))      /* malformed; nghttp2 says so before us */
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (span_ieq(n, SPAN("cookie"))) {
		/* RFC 9113 8.2.3: crumbs become one field again */
		if (st->cookie.len)
			queue_add(&st->cookie, "; ", 2);
		queue_add(&st->cookie, v.ptr, v.len);
		return 0;
	}
	h2_line_add(&st->fields, n, v);
	return 0;
}

static struct conn *stream_conn(struct h2_stream *st)
{
	struct conn *p = st->h2->conn, *v = conn_stream(p);

	v->stream = st;
	return v;
}

static bool text_ok(const char *t)
{
	for (; t && *t; t++) {
		if ((unsigned char)*t <= 0x20 || *t == 0x7f)
			return false;
	}
	return true;
}

static void add_text(struct queue *q, const char *t)
{
	queue_add(q, t, strlen(t));
}

/* The request as HTTP/1.1: what the one parser of this house then judges. */
static bool begin_request(struct h2_stream *st, bool end)
{
	struct queue *q;
	const char *method = st->method, *target = st->path, *host = st->authority ? st->authority : st->host;
	bool has_length = false;
	struct span rest = queue_span(&st->fields), line;

	if (!method || !host || !text_ok(method) || !text_ok(target) || !text_ok(host) || !text_ok(st->protocol))
		return false;
	if (strcmp(method, "CONNECT") == 0) {
		if (st->protocol && target) {
			st->websocket = true;   /* or another protocol: the service's list decides */
			method = "GET";
		} else {
			target = host;
		}
	} else if (st->protocol) {
		return false;
	}
	if (!target || !*target)
		return false;
	while (rest.ptr && span_next(&rest, '\n', &line)) {
		if (line.len > 15 && span_ieq(span_head(line, 15), SPAN("content-length:")))
			has_length = true;
	}
	st->v = stream_conn(st);
	st->verb = strcmp(method, "HEAD") == 0 ? VERB_HEAD : VERB_OTHER;
	q = &st->v->io.in;
	add_text(q, method);
	add_text(q, " ");
	add_text(q, target);
	add_text(q, " HTTP/1.1\r\nHost: ");
	add_text(q, host);
	add_text(q, "\r\n");
	/* two answers to "which host" are no answer: the parser refuses the second */
	if (st->authority && st->host && strcasecmp(st->authority, st->host) != 0)
		h2_line_add(q, SPAN("Host"), span_str(st->host));
	queue_add(q, st->fields.ptr ? st->fields.ptr + st->fields.off : "", st->fields.len);
	if (st->cookie.len)
		h2_line_add(q, SPAN("cookie"), queue_span(&st->cookie));
	if (st->websocket) {
		unsigned char key[16];
		struct buf b;

		random_bytes(key, sizeof(key));
		buf_init(&b, 64);
		base64_add(&b, span_of(key, sizeof(key)));
		add_text(q, "Connection: Upgrade\r\n");
		h2_line_add(q, SPAN("Upgrade"), span_str(st->protocol));
		h2_line_add(q, SPAN("Sec-WebSocket-Key"), buf_span(&b));
		buf_done(&b);
	} else if (!end && !has_length) {
		st->chunked = true;
		add_text(q, "Transfer-Encoding: chunked\r\n");
	}
	add_text(q, "\r\n");
	queue_free(&st->fields);
	queue_free(&st->cookie);
	st->begun = true;
	conn_later(st->v);
	return true;
}

static void end_request(struct h2_stream *st)
{
	st->ended = true;
	if (!st->v)
		return;
	if (st->chunked) {
		struct queue *q = &st->v->io.in;

		add_text(q, "0\r\n");
		queue_add(q, st->fields.ptr ? st->fields.ptr + st->fields.off : "", st->fields.len);
		add_text(q, "\r\n");
	}
	if (st->websocket)
		st->v->io.eof = true;
	conn_later(st->v);
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_stream *st;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	(void)arg;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	if (!st)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !st->begun && !begin_request(st, end)) {
		nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_PROTOCOL_ERROR);
		st->refused = true;
		return 0;
	}
	if (end)
		end_request(st);
	return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct h2_stream *st = nghttp2_session_get_stream_user_data(s, id);

	(void)flags;
	(void)arg;
	if (!st || !st->v) {
		/* Answered before it was asked whole. A little more is read past, since
		 * clients lose the answer to a reset; then it comes (RFC 9113 8.1). */
		nghttp2_session_consume(s, id, n);
		if (st && (st->surplus += n) > FRONT_SURPLUS_MAX)
			nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
		return 0;
	}
	st->unconsumed += n;
	if (st->chunked)
		h2_chunk_add(&st->v->io.in, span_of((const char *)p, n));
	else
		queue_add(&st->v->io.in, p, n);
	conn_later(st->v);
	return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg)
{
	struct h2_stream *st = nghttp2_session_get_stream_user_data(s, id);

	(void)code;
	(void)arg;
	if (st)
		stream_free(st);
	return 0;
}

/* ---- responses ---- */

static ssize_t read_data(nghttp2_session *s, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
	struct h2_stream *st = source->ptr;
	size_t have = st->data.len < n ? st->data.len : n;

	(void)arg;
	if (have) {
		memcpy(buf, st->data.ptr + st->data.off, have);
		queue_drop(&st->data, have);
		/* there is room for what had to wait */
		if (written(st)->len)
			conn_later(st->h2->conn);
	}
	if (st->data.len == 0 && st->state == RESP_DONE) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (st->trailers.len) {
			nghttp2_nv nv[HTTP_FIELDS_MAX];
			struct span rest = queue_span(&st->trailers), line;
			size_t k = 0;

			while (k < HTTP_FIELDS_MAX && rest.ptr && span_next(&rest, '\n', &line) && line.len > 3) {
				size_t colon = span_find(line, ':');

				nv[k++] = (nghttp2_nv){ (uint8_t *)(uintptr_t)line.ptr,
					                (uint8_t *)(uintptr_t)(line.ptr + colon + 2), colon,
					                line.len - colon - 3, NGHTTP2_NV_FLAG_NONE };
			}
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			nghttp2_submit_trailer(s, id, nv, k);
		}
	} else if (!have) {
		st->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)have;
}

static bool passes(const struct h2_stream *st, const struct field *f)
{
	return !h2_is_hop(f->id) && !(st->websocket && span_ieq(f->name, SPAN("sec-websocket-accept")));
}

static bool submit_head(struct h2_stream *st, const struct message *m)
{
	nghttp2_session *s = st->h2->out.session;
	nghttp2_data_provider data = { .source.ptr = st, .read_callback = read_data };
	nghttp2_nv *nv = mem_calloc(m->field_count + 1, sizeof(*nv));
	struct queue names = { 0 };
	char status[4];
	size_t k = 1, total = 0, at = 0;
	bool interim = m->status < 200 && m->status != 101, none;
	int r;

	for (size_t i = 0; i < m->field_count; i++)
		total += m->fields[i].name.len;
	queue_room(&names, total + 1);
	snprintf(status, sizeof(status), "%u", m->status == 101 ? 200 : m->status);
	nv[0] = (nghttp2_nv){ (uint8_t *)(uintptr_t)":status", (uint8_t *)status, 7, 3, NGHTTP2_NV_FLAG_NONE };
	for (size_t i = 0; i < m->field_count; i++) {
		const struct field *f = &m->fields[i];

		if (!passes(st, f))
			continue;
		h2_name_add(&names, f->name);
		nv[k++] = (nghttp2_nv){ (uint8_t *)(names.ptr + at), (uint8_t *)(uintptr_t)f->value.ptr, f->name.len,
			                f->value.len, NGHTTP2_NV_FLAG_NONE };
		at += f->name.len;
	}
	none = !interim && m->status != 101 && m->body == BODY_NONE;
	if (interim)
		r = nghttp2_submit_headers(s, NGHTTP2_FLAG_NONE, st->id, NULL, nv, k, NULL);
	else
		r = nghttp2_submit_response(s, st->id, nv, k, none ? NULL : &data);
	st->submitted = !interim;
	free(nv);
	queue_free(&names);
	return r == 0;
}

/* One step over what the engine has written; false: nothing to do until there is more. */
static bool take_response(struct h2_stream *st)
{
	struct front *f = st->h2->conn->front;
	struct queue *q = written(st);
	struct span in = queue_span(q), piece;
	struct fault why;
	size_t used = 0, n;

	switch (st->state) {
	case RESP_HEAD:
		if (!in.len || http_response_parse(&st->scan, in.ptr, in.len, st->verb, &f->msg, &used, &why) != HTTP_DONE)
			return false;
		st->scan = (struct http_scan){ 0 };
		if (!submit_head(st, &f->msg)) {
			st->refused = true;
			nghttp2_submit_rst_stream(st->h2->out.session, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_INTERNAL_ERROR);
			return false;
		}
		queue_drop(q, used);
		if (f->msg.status < 200 && f->msg.status != 101)
			return true;
		st->left = f->msg.length;
		st->state = f->msg.status == 101 ? RESP_RAW
		            : f->msg.body == BODY_NONE ? RESP_DONE
		            : f->msg.body == BODY_LENGTH ? RESP_LENGTH
		            : f->msg.body == BODY_CHUNKED ? RESP_CHUNKED : RESP_CLOSE;
		chunked_init(&st->chunks);
		return true;
	case RESP_LENGTH:
	case RESP_RAW:
	case RESP_CLOSE:
		/* what waits for the client's window holds back the application */
		if (!in.len || st->data.len >= FRONT_H2_DATA)
			return false;
		n = st->state == RESP_LENGTH && in.len > st->left ? (size_t)st->left : in.len;
		queue_add(&st->data, in.ptr, n);
		queue_drop(q, n);
		st->left -= st->state == RESP_LENGTH ? n : 0;
		if (st->state == RESP_LENGTH && !st->left)
			st->state = RESP_DONE;
		return true;
	case RESP_CHUNKED:
		if (!in.len || st->data.len >= FRONT_H2_DATA)
			return false;
		switch (chunked_read(&st->chunks, in.ptr, in.len, &used, &piece)) {
		case CHUNKED_DATA:
			queue_add(&st->data, piece.ptr, piece.len);
			break;
		case CHUNKED_TRAILERS:
			st->state = RESP_TRAILERS;
			break;
		case CHUNKED_MORE:
		case CHUNKED_BAD:
			break;
		}
		queue_drop(q, used);
		return used > 0;
	case RESP_TRAILERS:
		if (http_trailers_parse(&st->scan, in.ptr, in.len, 502, &f->msg, &used, &why) != HTTP_DONE)
			return false;
		for (size_t i = 0; i < f->msg.field_count; i++) {
			h2_name_add(&st->trailers, f->msg.fields[i].name);
			queue_add(&st->trailers, ": ", 2);
			queue_add(&st->trailers, f->msg.fields[i].value.ptr, f->msg.fields[i].value.len);
			queue_add(&st->trailers, "\r\n", 2);
		}
		queue_drop(q, used);
		st->state = RESP_DONE;
		return true;
	case RESP_DONE:
		return false;
	}
	return false;
}

static void run_stream(struct h2_stream *st)
{
	nghttp2_session *s = st->h2->out.session;
	bool took = false;

	while (take_response(st))
		took = true;
	if (!st->v && st->begun && st->state != RESP_DONE && !written(st)->len && !st->refused) {
		/* its connection is over: by design, or cut off */
		if (st->state == RESP_RAW || st->state == RESP_CLOSE) {
			st->state = RESP_DONE;
			took = true;
		} else {
			st->refused = true;
			nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_INTERNAL_ERROR);
		}
	}
	if (st->submitted && st->deferred && (st->data.len || st->state == RESP_DONE)) {
		st->deferred = false;
		nghttp2_session_resume_data(s, st->id);
	}
	if (st->unconsumed && (!st->v || st->v->io.in.len < FRONT_H2_DATA)) {
		nghttp2_session_consume(s, st->id, st->unconsumed);
		st->unconsumed = 0;
	}
	if (st->v && took)
		conn_later(st->v);      /* there is room for more */
}

/* ---- the connection ---- */

bool h2_busy(const struct conn *c)
{
	return c->h2->count > 0;
}

void h2_tick(struct conn *c)
{
	struct h2 *h = c->h2;

	for (struct h2_stream *st = h->streams; st; st = st->next) {
		if (!st->v && st->begun)
			nghttp2_submit_rst_stream(h->out.session, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
	}
	conn_later(c);
}

void h2_drain(struct conn *c)
{
	struct h2 *h = c->h2;

	if (!h->goaway)
		nghttp2_submit_goaway(h->out.session, NGHTTP2_FLAG_NONE,
		                      nghttp2_session_get_last_proc_stream_id(h->out.session), NGHTTP2_NO_ERROR, NULL, 0);
	h->goaway = true;
	conn_later(c);
}

void h2_run(struct conn *c)
{
	struct h2 *h = c->h2;
	struct front *f = c->front;
	size_t moved = 0;
	bool ok = true;

	while (ok && moved < FRONT_ROUND_MAX && !io_blocked(&c->io)) {
		struct span data = queue_span(&c->io.in);
		enum io_result r = IO_DATA;
		ssize_t n;

		if (!data.len)
			r = io_fill(f, &c->io, &data);
		if (r == IO_AGAIN)
			break;
		if (r != IO_DATA) {
			conn_close(c);
			return;
		}
		moved += data.len;
		n = nghttp2_session_mem_recv(h->out.session, (const uint8_t *)data.ptr, data.len);
		ok = n == (ssize_t)data.len;
		io_keep(&c->io, (struct span){ data.ptr + data.len, 0 });
	}
	if (moved >= FRONT_ROUND_MAX)
		conn_later(c);
	if (f->draining && !h->goaway)
		h2_drain(c);
	for (struct h2_stream *st = h->streams, *next; st; st = next) {
		next = st->next;
		run_stream(st);
	}
	/* sending may end streams, and nothing else */
	if (!h2_out_send(&h->out) || !ok ||
	    (!nghttp2_session_want_read(h->out.session) && !nghttp2_session_want_write(h->out.session)) ||
	    (h->goaway && !h->count && !io_blocked(&c->io))) {
		h2_out_send(&h->out);
		conn_close(c);
		return;
	}
	conn_due(c, front_now(f) + f->keep_ns);
}

bool h2_begin(struct conn *c)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, FRONT_H2_STREAMS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, FRONT_H2_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX },
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
	};
	struct h2 *h = mem_alloc(sizeof(*h));
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	bool ok = false;

	h->out.front = c->front;
	h->out.io = &c->io;
	h->conn = c;
	if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
		nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
		nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
		nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
		nghttp2_option_set_no_auto_window_update(opt, 1);
		nghttp2_option_set_max_outbound_ack(opt, 100);  /* PING and SETTINGS floods */
		nghttp2_option_set_max_settings(opt, 16);
		nghttp2_option_set_max_send_header_block_length(opt, HTTP_RESPONSE_HEAD_MAX);
		nghttp2_option_set_stream_reset_rate_limit(opt, FRONT_H2_RESETS, FRONT_H2_RESETS / 10);
		nghttp2_option_set_max_continuations(opt, 8);
		ok = nghttp2_session_server_new2(&h->out.session, cb, h, opt) == 0 &&
		     nghttp2_submit_settings(h->out.session, NGHTTP2_FLAG_NONE, settings, array_size(settings)) == 0 &&
		     nghttp2_session_set_local_window_size(h->out.session, NGHTTP2_FLAG_NONE, 0, 4 * FRONT_H2_WINDOW) == 0;
	}
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	c->h2 = h;
	c->state = CONN_H2;
	c->in_head = false;
	return ok;
}

void h2_free(struct conn *c)
{
	struct h2 *h = c->h2;

	c->h2 = NULL;
	while (h->streams)
		stream_free(h->streams);
	nghttp2_session_del(h->out.session);
	free(h);
}
