/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/h2.h"

#include "base/mem.h"
#include "daemon/proxy/h2_block.h"
#include "daemon/proxy/h2_frames.h"
#include "daemon/proxy/h2_guard.h"
#include "daemon/proxy/http_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum resp_state { RESP_HEAD = 0, RESP_LENGTH, RESP_CHUNKED, RESP_TRAILERS, RESP_CLOSE, RESP_RAW, RESP_DONE };

struct h2_stream {
	struct h2        *h2;
	struct h2_stream *prev, *next;
	int32_t           id;
	struct conn      *v;            /* NULL: over, or not begun */
	struct queue      out;          /* what v had written when it ended */
	struct queue      data;         /* response: payload out of chunks, for DATA frames */
	size_t            surplus;      /* request bytes that nobody wanted */
	size_t            unconsumed;   /* request bytes that the window has not got back */
	bool              begun, ended, refused;
	struct h2_asked   asked;
	enum resp_state   state;
	struct http_scan  scan;
	struct chunked    chunks;
	uint64_t          left;
	bool              submitted, deferred;
	struct queue      trailers;     /* response: "name: value\r\n" lines */
	struct wheel_node stall;        /* while an answer waits for the client */
	int64_t           opened, idle_ns;
	uint64_t          sent;         /* bytes of the answer */
	uint64_t          sent_mark, all_mark;  /* ... and of all streams, when its clock was set */
	uint32_t          taken_mark;   /* io_taken() then */
};

struct h2 {
	struct h2_out     out;          /* first: user data of its session */
	struct conn      *conn;
	struct h2_stream *streams;
	struct h2_block   block;        /* the one at hand: there is one at a time (RFC 9113 4.3) */
	size_t            count;
	struct h2_guard   guard;
	uint64_t          sent, sent_tick;      /* bytes of answers, of all streams; by the last tick */
	uint32_t          taken_tick;           /* io_taken() then */
	const char       *why;                  /* it ends, where we know better than an error code */
	bool              goaway, told;
};

static struct queue *written(struct h2_stream *st)
{
	return st->v ? &st->v->io.out : &st->out;
}

static void on_stall(struct front *f, struct wheel_node *n);

/* What is kept of them is the front's, all connections together. */
static struct h2_stream *stream_new(struct h2 *h, int32_t id)
{
	struct front *f = h->out.front;
	struct h2_stream *st = f->h2_spare;

	if (st) {
		f->h2_spare = st->next;
		f->h2_spare_count--;
		*st = (struct h2_stream){ 0 };
	} else {
		st = mem_alloc(sizeof(*st));
	}
	st->h2 = h;
	st->id = id;
	st->opened = front_now(f);
	st->idle_ns = SERVICE_IDLE_NS;
	st->stall.fire = on_stall;
	st->next = h->streams;
	if (h->streams)
		h->streams->prev = st;
	h->streams = st;
	h->count++;
	return st;
}

static void stream_free(struct h2_stream *st)
{
	struct h2 *h = st->h2;
	struct front *f = h->out.front;

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
	wheel_remove(f, &st->stall);
	if (!--h->count)
		h2_block_free(&h->block);  /* an idle connection holds no memory */
	queue_free(&st->out);
	queue_free(&st->data);
	queue_free(&st->trailers);
	if (f->h2_spare_count == FRONT_H2_SPARE) {
		free(st);
		return;
	}
	st->next = f->h2_spare;
	f->h2_spare = st;
	f->h2_spare_count++;
}

void h2_spare_free(struct front *f)
{
	while (f->h2_spare) {
		struct h2_stream *st = f->h2_spare;

		f->h2_spare = st->next;
		free(st);
	}
	f->h2_spare_count = 0;
}

void h2_wake(struct conn *v)
{
	struct h2_stream *st = v->stream;

	if (!st)
		return;
	if (v->ex && v->ex->svc)
		st->idle_ns = v->state == CONN_UPGRADED ? v->ex->svc->upgrade_idle_ns : v->ex->svc->idle_ns;
	conn_later(st->h2->conn);
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

/* ---- what clients do wrong ---- */

static void tell(struct h2 *h, unsigned status, const char *why)
{
	struct fault fault = { status, why };

	h->out.front->stats.bad++;
	audit_bad(h->conn, &fault);
}

/* The connection ends, for one reason. */
static void tell_once(struct h2 *h, const char *why)
{
	if (!h->told)
		tell(h, 400, h->why ? h->why : why);
	h->told = true;
}

static int on_begin_frame(nghttp2_session *s, const nghttp2_frame_hd *hd, void *arg)
{
	struct h2 *h = arg;
	bool open = nghttp2_session_find_stream(s, hd->stream_id) != NULL;

	if (h2_guard_frame(&h->guard, hd, open, front_now(h->out.front)))
		return 0;
	h->why = "too many HTTP/2 frames that carry nothing";
	nghttp2_session_terminate_session(s, NGHTTP2_ENHANCE_YOUR_CALM);
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Kinds nobody knows are passed over; without this, unseen by on_begin_frame() as well. */
static int on_unknown(nghttp2_session *s, void **payload, const nghttp2_frame_hd *hd, void *arg)
{
	(void)s;
	(void)payload;
	(void)hd;
	(void)arg;
	return NGHTTP2_ERR_CANCEL;
}

/* Whatever is found, here or in nghttp2, is told the client by one of these. */
static int on_sent(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *st;

	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		tell_once(h, nghttp2_http2_strerror(frame->goaway.error_code));
	if (frame->hd.type != NGHTTP2_RST_STREAM)
		return 0;
	st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	if (frame->rst_stream.error_code == NGHTTP2_PROTOCOL_ERROR)
		tell(h, 400, "a malformed HTTP/2 message");
	else if (frame->rst_stream.error_code == NGHTTP2_INTERNAL_ERROR && st && !st->begun)
		tell(h, 400, "a header block that is malformed or without end");
	return 0;
}

static struct span ready(struct h2_stream *st);

static void set_clock(struct h2_stream *st)
{
	struct front *f = st->h2->out.front;

	st->sent_mark = st->sent;
	st->all_mark = st->h2->sent;
	st->taken_mark = io_taken(&st->h2->conn->io);
	wheel_set(f, &st->stall, front_now(f) + st->idle_ns);
}

/*
 * Nothing of an answer has gone for as long as its service lets anybody wait, or
 * next to nothing. The stream's own window may be shut, or the connection's, or the
 * socket be full; a stream that only waits behind others goes on waiting, and so does
 * one whose client is slow to empty the socket.
 */
static void on_stall(struct front *f, struct wheel_node *n)
{
	struct h2_stream *st = container_of(n, struct h2_stream, stall);
	struct h2 *h = st->h2;
	bool open = nghttp2_session_get_stream_remote_window_size(h->out.session, st->id) > 0;
	uint32_t taken = io_taken(&h->conn->io);

	(void)f;
	if (!ready(st).len || st->refused)
		return; /* it waits for nobody */
	if (st->sent - st->sent_mark >= FRONT_H2_DRIP || (open && h->sent - st->all_mark >= FRONT_H2_DRIP) ||
	    (taken && taken != st->taken_mark)) {
		set_clock(st);
		return;
	}
	tell(h, 408, "the client did not take the answer in time");
	if (io_blocked(&h->conn->io)) {
		conn_close(h->conn);
		return;
	}
	st->refused = true;
	nghttp2_submit_rst_stream(h->out.session, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_CANCEL);
	conn_later(h->conn);
}

/* ---- requests ---- */

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	h2_block_begin(&h->block);
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		nghttp2_session_set_stream_user_data(s, frame->hd.stream_id, stream_new(h, frame->hd.stream_id));
	return 0;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);

	(void)flags;
	if (!st || h2_block_add(&h->block, span_of((const char *)name, name_len),
	                        span_of((const char *)value, value_len), st->begun))
		return 0;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static bool begin_request(struct h2_stream *st, bool end)
{
	struct queue text = { 0 };

	if (!h2_block_request(&st->h2->block, end, &text, &st->asked)) {
		queue_free(&text);
		return false;
	}
	st->v = conn_stream(st->h2->conn);
	st->v->stream = st;
	st->v->io.in = text;
	st->begun = true;
	conn_later(st->v);
	return true;
}

static void add_text(struct queue *q, struct span t)
{
	queue_add(q, t.ptr, t.len);
}

static void end_request(struct h2_stream *st, bool trailers)
{
	st->ended = true;
	if (!st->v)
		return;
	if (st->asked.chunked) {
		struct queue *q = &st->v->io.in;

		add_text(q, SPAN("0\r\n"));
		if (trailers)
			add_text(q, queue_span(&st->h2->block.fields));
		add_text(q, SPAN("\r\n"));
	}
	if (st->asked.websocket)
		st->v->io.eof = true;
	conn_later(st->v);
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_stream *st;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM, trailers;

	(void)arg;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	if (!st)
		return 0;
	trailers = frame->hd.type == NGHTTP2_HEADERS && st->begun;
	if (frame->hd.type == NGHTTP2_HEADERS && !st->begun && !begin_request(st, end)) {
		nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_PROTOCOL_ERROR);
		st->refused = true;
		return 0;
	}
	if (end)
		end_request(st, trailers);
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
	if (st->asked.chunked)
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

/* The answer's payload that can go as it is: it stays where it was written until a frame takes it,
 * and what waits there for the client's window holds back the application. */
static struct span ready(struct h2_stream *st)
{
	struct span in = queue_span(written(st));

	switch (st->state) {
	case RESP_LENGTH:
		return in.len > st->left ? span_head(in, (size_t)st->left) : in;
	case RESP_RAW:
	case RESP_CLOSE:
		return in;
	default:
		return queue_span(&st->data);
	}
}

/* After n more bytes there is nothing. */
static bool is_last(const struct h2_stream *st, size_t n)
{
	switch (st->state) {
	case RESP_LENGTH:
		return st->left == n;
	case RESP_RAW:
	case RESP_CLOSE:
		/* ended by its connection */
		return !st->v && st->out.len == n;
	default:
		return st->state == RESP_DONE && st->data.len == n;
	}
}

static void submit_trailers(struct h2_stream *st)
{
	nghttp2_nv nv[HTTP_FIELDS_MAX];
	struct span rest = queue_span(&st->trailers), line;
	size_t k = 0;

	while (k < HTTP_FIELDS_MAX && rest.ptr && span_next(&rest, '\n', &line) && line.len > 3) {
		size_t colon = span_find(line, ':');

		nv[k++] = h2_pair(span_head(line, colon), span_head(span_from(line, colon + 2), line.len - colon - 3));
	}
	nghttp2_submit_trailer(st->h2->out.session, st->id, nv, k);
}

static ssize_t read_data(nghttp2_session *s, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
	struct h2_stream *st = source->ptr;
	size_t have = ready(st).len;

	(void)s;
	(void)id;
	(void)buf;
	(void)arg;
	have = have < n ? have : n;
	if (is_last(st, have)) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (st->trailers.len) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			submit_trailers(st);
		}
	} else if (!have) {
		st->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (have)
		*flags |= NGHTTP2_DATA_FLAG_NO_COPY;    /* send_data() comes next */
	return (ssize_t)have;
}

/* Whoever takes an answer slowly, but takes it, keeps it alive. */
static void go_on(struct conn *v)
{
	int64_t due = front_now(v->front) + v->ex->svc->idle_ns;

	conn_due(v, due < v->ex->due_total ? due : v->ex->due_total);
}

static int send_data(nghttp2_session *s, nghttp2_frame *frame, const uint8_t *head, size_t n,
                     nghttp2_data_source *source, void *arg)
{
	struct h2_stream *st = source->ptr;
	struct h2 *h = arg;
	struct queue *q = written(st);
	int r = h2_out_data(&h->out, head, span_head(ready(st), n));

	st->sent += n;
	h->sent += n;
	h2_guard_sent(&h->guard, n);
	(void)s;
	(void)frame;
	if (st->v && st->v->ex && st->v->ex->state == EX_RESPONSE && n >= FRONT_H2_DRIP)
		go_on(st->v);
	switch (st->state) {
	case RESP_LENGTH:
		st->left -= n;
		queue_drop(q, n);
		if (!st->left)
			st->state = RESP_DONE;
		break;
	case RESP_RAW:
	case RESP_CLOSE:
		queue_drop(q, n);
		break;
	default:
		queue_drop(&st->data, n);
		break;
	}
	/* there is room for what had to wait, here or in the application's connection */
	if (q->len ? st->state == RESP_CHUNKED : !st->v)
		conn_later(h->conn);
	else if (!q->len && (st->v->state != CONN_READY || st->v->closing))
		conn_later(st->v);
	return r;
}

static bool passes(const struct h2_stream *st, const struct field *f)
{
	return !h2_is_hop(f->id) && !(st->asked.websocket && span_ieq(f->name, SPAN("sec-websocket-accept")));
}

static bool submit_head(struct h2_stream *st, const struct message *m)
{
	nghttp2_session *s = st->h2->out.session;
	nghttp2_data_provider data = { .source.ptr = st, .read_callback = read_data };
	nghttp2_nv nv[HTTP_FIELDS_MAX + 1];
	struct queue names = { 0 };
	char status[4];
	size_t k = 1, total = 0, at = 0;
	bool interim = m->status < 200 && m->status != 101, none;
	int r;

	for (size_t i = 0; i < m->field_count; i++)
		total += m->fields[i].name.len;
	queue_room(&names, total + 1);
	snprintf(status, sizeof(status), "%u", m->status == 101 ? 200 : m->status);
	nv[0] = h2_pair(SPAN(":status"), span_of(status, 3));
	for (size_t i = 0; i < m->field_count; i++) {
		const struct field *f = &m->fields[i];

		if (!passes(st, f))
			continue;
		h2_name_add(&names, f->name);
		nv[k++] = h2_pair(span_of(names.ptr + at, f->name.len), f->value);
		at += f->name.len;
	}
	none = !interim && m->status != 101 && m->body == BODY_NONE;
	if (interim)
		r = nghttp2_submit_headers(s, NGHTTP2_FLAG_NONE, st->id, NULL, nv, k, NULL);
	else
		r = nghttp2_submit_response(s, st->id, nv, k, none ? NULL : &data);
	st->submitted = !interim;
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
	size_t used = 0;

	switch (st->state) {
	case RESP_HEAD:
		if (!in.len || http_response_parse(&st->scan, in.ptr, in.len, st->asked.verb, &f->msg, &used, &why) != HTTP_DONE)
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
	case RESP_LENGTH:
	case RESP_RAW:
	case RESP_CLOSE:
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
	if (st->submitted && st->deferred && (ready(st).len || is_last(st, 0))) {
		st->deferred = false;
		nghttp2_session_resume_data(s, st->id);
	}
	if (st->unconsumed && (!st->v || st->v->io.in.len < FRONT_H2_DATA)) {
		nghttp2_session_consume(s, st->id, st->unconsumed);
		st->unconsumed = 0;
	}
	if (st->v && took && !written(st)->len)
		conn_later(st->v);      /* there is room for more */
}

/* ---- the connection ---- */

bool h2_busy(const struct conn *c)
{
	return c->h2->count > 0;
}

bool h2_tick(struct conn *c)
{
	struct h2 *h = c->h2;
	const struct h2_stream *newest = h->streams;
	const char *why = newest && !newest->begun && !newest->refused ? "the request did not come in time"
	                  : io_blocked(&c->io) && h->sent == h->sent_tick && io_taken(&c->io) == h->taken_tick ? "the client takes nothing" : NULL;

	h->sent_tick = h->sent;
	h->taken_tick = io_taken(&c->io);
	if (why) {
		tell(h, 408, why);
		conn_close(c);
		return false;
	}

	for (struct h2_stream *st = h->streams; st; st = st->next) {
		if (!st->v && st->begun)
			nghttp2_submit_rst_stream(h->out.session, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
	}
	conn_later(c);
	return true;
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
	const char *why = NULL;
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
		if (n < 0)
			why = nghttp2_strerror((int)n);
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
		if (why)
			tell_once(h, why);
		conn_close(c);
		return;
	}
	for (struct h2_stream *st = h->streams; st; st = st->next) {
		if (st->submitted && !st->deferred && !st->refused && !st->stall.next && ready(st).len)
			set_clock(st);
	}
	if (h->streams && !h->streams->begun && !h->streams->refused)
		conn_due(c, h->streams->opened + f->head_ns);
	else
		conn_due(c, front_now(f) + f->keep_ns);
}

bool h2_begin(struct conn *c)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, FRONT_H2_STREAMS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, FRONT_H2_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX },
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },  /* RFC 9218 instead: urgencies, no tree */
	};
	struct h2 *h = mem_alloc(sizeof(*h));
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	bool ok = false;

	h->out.front = c->front;
	h->out.io = &c->io;
	h->conn = c;
	h2_guard_init(&h->guard, front_now(c->front));
	if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
		nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
		nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
		nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
		nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
		nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
		nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
		nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_unknown);
		nghttp2_option_set_no_auto_window_update(opt, 1);
		nghttp2_option_set_no_closed_streams(opt, 1);
		nghttp2_option_set_max_outbound_ack(opt, 100);  /* PING and SETTINGS floods */
		nghttp2_option_set_max_settings(opt, 16);
		nghttp2_option_set_max_send_header_block_length(opt, HTTP_RESPONSE_HEAD_MAX);
		nghttp2_option_set_stream_reset_rate_limit(opt, FRONT_H2_RESETS, FRONT_H2_RESETS / 10);
		nghttp2_option_set_max_continuations(opt, 8);
		for (unsigned kind = NGHTTP2_ALTSVC; kind <= UINT8_MAX; kind++)
			nghttp2_option_set_user_recv_extension_type(opt, (uint8_t)kind);
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
	h2_block_free(&h->block);
	nghttp2_session_del(h->out.session);
	free(h);
}
