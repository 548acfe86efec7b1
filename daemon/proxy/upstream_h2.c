/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/upstream_h2.h"

#include "base/mem.h"
#include "daemon/proxy/h2_frames.h"
#include "daemon/proxy/http_parse.h"

#include <stdlib.h>
#include <string.h>

struct up_stream {
	struct up_h2     *h2;
	struct up_stream *prev, *next;
	struct upconn    *v;            /* NULL: its exchange is over */
	int32_t           id;           /* 0: not asked yet */
	int64_t           asked;

	/* the request's body, out of v->io.out */
	bool              req_chunked, req_trailers, deferred;
	uint64_t          req_left;
	struct chunked    req_chunks;
	struct http_scan  req_scan;

	/* the response, into v->io.in */
	bool              final, chunked, ended;        /* final: the last head is through */
	char              status[3];
	size_t            header_bytes;
	struct queue      fields;       /* "name: value\r\n" lines of the block at hand; trailers, until the end */
	size_t            length_at, length_len;        /* where Content-Length stands in it */
	bool              keep_trailers;
	size_t            unconsumed;   /* bytes that the window has not got back */
};

struct up_h2 {
	struct h2_out     out;          /* first: user data of its session */
	struct upconn    *u;
	struct up_stream *streams;
	struct up_h2     *later_next;
	size_t            count;
	int64_t           heard;
	bool              ready, leaving, woken;        /* leaving: takes no more streams */
};

static void stream_free(struct up_stream *st)
{
	struct up_h2 *h = st->h2;

	if (st->v)
		st->v->stream = NULL;
	if (st->prev)
		st->prev->next = st->next;
	else
		h->streams = st->next;
	if (st->next)
		st->next->prev = st->prev;
	h->count--;
	queue_free(&st->fields);
	free(st);
}

static void wake(struct up_h2 *h)
{
	struct front *f = h->u->front;

	if (h->woken)
		return;
	h->woken = true;
	h->later_next = f->h2_later;
	f->h2_later = h;
	front_later(f);
}

void up_h2_wake(struct upconn *v)
{
	if (v->stream)
		wake(v->stream->h2);
}

static void tell(struct up_stream *st)
{
	if (st->v && st->v->ex)
		conn_later(st->v->ex->conn);
}

/* ---- the request ---- */

/* Fills from what the engine has written; what the windows do not take stays there, and holds back the client. */
static size_t take_chunked(struct up_stream *st, uint8_t *buf, size_t n)
{
	struct queue *q = &st->v->io.out;
	size_t have = 0, used;
	struct span piece;

	while (have < n && q->len && !st->req_trailers) {
		size_t some = q->len < n - have ? q->len : n - have;
		enum chunked_result r = chunked_read(&st->req_chunks, q->ptr + q->off, some, &used, &piece);

		if (r == CHUNKED_DATA) {
			memcpy(buf + have, piece.ptr, piece.len);
			have += piece.len;
		}
		st->req_trailers = r == CHUNKED_TRAILERS;
		queue_drop(q, used);
		if (r == CHUNKED_BAD || !used)
			break;  /* we wrote it ourselves: it cannot be */
	}
	return have;
}

/* True: the body has ended. */
static bool take_trailers(struct up_stream *st, uint32_t *flags)
{
	struct front *f = st->h2->u->front;
	struct queue *q = &st->v->io.out, names = { 0 };
	struct message *m = &f->msg;
	struct fault why;
	nghttp2_nv *nv;
	size_t used, total = 0, at = 0;

	if (!q->len || http_trailers_parse(&st->req_scan, q->ptr + q->off, q->len, 400, m, &used, &why) != HTTP_DONE)
		return false;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (m->field_count) {
		nv = mem_calloc(m->field_count, sizeof(*nv));
		for (size_t i = 0; i < m->field_count; i++)
			total += m->fields[i].name.len;
		queue_room(&names, total);
		for (size_t i = 0; i < m->field_count; i++) {
			h2_name_add(&names, m->fields[i].name);
			nv[i] = h2_pair(span_of(names.ptr + at, m->fields[i].name.len), m->fields[i].value);
			at += m->fields[i].name.len;
		}
		if (nghttp2_submit_trailer(st->h2->out.session, st->id, nv, m->field_count) == 0)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		free(nv);
		queue_free(&names);
	}
	queue_drop(q, used);
	return true;
}

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
	struct up_stream *st = source->ptr;
	struct queue *q;
	size_t have = 0;

	(void)s;
	(void)id;
	(void)arg;
	if (!st->v)
		return NGHTTP2_ERR_DEFERRED;    /* its RST_STREAM is on the way */
	q = &st->v->io.out;
	if (st->req_chunked) {
		have = take_chunked(st, buf, n);
		if (st->req_trailers && take_trailers(st, flags))
			return (ssize_t)have;
	} else {
		have = q->len < n ? q->len : n;
		have = have < st->req_left ? have : (size_t)st->req_left;
		if (have) {
			memcpy(buf, q->ptr + q->off, have);
			queue_drop(q, have);
			st->req_left -= have;
		}
		if (!st->req_left)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	if (!q->len)
		tell(st);       /* there is room for more */
	if (!have && !(*flags & NGHTTP2_DATA_FLAG_EOF)) {
		st->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)have;
}

static bool passes(struct span name)
{
	enum head_id id = head_find(name);

	return !h2_is_hop(id) && id != HEAD_HOST && id != HEAD_TE;
}

/* The head that request.c wrote, line by line: every byte of it is ours. */
static bool submit(struct up_stream *st)
{
	struct up_h2 *h = st->h2;
	struct exchange *ex = st->v->ex;
	struct span rest = ex->head, line, path = { 0 }, host = { 0 };
	size_t cap = 6, k = 4, at = 0;
	struct queue names = { 0 };
	nghttp2_data_provider body = { .source.ptr = st, .read_callback = read_body };
	nghttp2_nv *nv;

	for (size_t i = 0; i < ex->head.len; i++)
		cap += ex->head.ptr[i] == '\n';
	nv = mem_calloc(cap, sizeof(*nv));
	queue_room(&names, ex->head.len + 1);
	span_next(&rest, '\n', &line);
	path = span_from(line, ex->method.len + 1);
	path.len -= sizeof(" HTTP/1.1\r") - 1;
	while (span_next(&rest, '\n', &line) && line.len > 1) {
		size_t colon = span_find(line, ':');
		struct span name = span_head(line, colon), value = span_head(span_from(line, colon + 2), line.len - colon - 3);

		if (span_ieq(name, SPAN("host")))
			host = value;
		if (!passes(name))
			continue;
		h2_name_add(&names, name);
		nv[k++] = h2_pair(span_of(names.ptr + at, name.len), value);
		at += name.len;
	}
	if (ex->te_trailers)
		nv[k++] = h2_pair(SPAN("te"), SPAN("trailers"));
	nv[0] = h2_pair(SPAN(":method"), ex->method);
	nv[1] = h2_pair(SPAN(":scheme"), h->u->io.ssl ? SPAN("https") : SPAN("http"));
	nv[2] = h2_pair(SPAN(":authority"), host);
	nv[3] = h2_pair(SPAN(":path"), path);
	st->req_chunked = ex->req.kind == BODY_CHUNKED;
	chunked_init(&st->req_chunks);
	/* what is left of it at the client, and what is here already */
	st->req_left = ex->req.kind == BODY_LENGTH ? ex->req.left + st->v->io.out.len - ex->head.len : 0;
	st->id = nghttp2_submit_request(h->out.session, NULL, nv, k, ex->req.kind == BODY_NONE ? NULL : &body, st);
	free(nv);
	queue_free(&names);
	queue_drop(&st->v->io.out, ex->head.len);
	st->asked = front_now(h->u->front);
	if (st->id < 0) {
		st->id = 0;
		h->leaving = true;      /* stream numbers are used up */
		return false;
	}
	return true;
}

/* ---- the response ---- */

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct up_stream *st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);

	(void)arg;
	if (st) {
		queue_free(&st->fields);
		st->header_bytes = st->length_len = 0;
		st->keep_trailers = false;
	}
	return 0;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct up_stream *st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	struct span n = span_of(name, name_len), v = span_of(value, value_len);
	enum head_id id;
	size_t at;

	(void)flags;
	(void)arg;
	if (!st)
		return 0;
	st->header_bytes += n.len + v.len + 32;         /* RFC 9113 6.5.2 */
	if (st->header_bytes > HTTP_RESPONSE_HEAD_MAX || !http_is_value(v))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (span_eq(n, SPAN(":status")) && v.len == sizeof(st->status)) {
		memcpy(st->status, v.ptr, v.len);
		return 0;
	}
	if (!http_is_token(n))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	id = head_find(n);
	if (h2_is_hop(id))      /* malformed */
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (id == HEAD_TRAILER || (span_eq(n, SPAN("content-type")) && span_starts(v, SPAN("application/grpc"))))
		st->keep_trailers = true;
	at = st->fields.len;
	h2_line_add(&st->fields, n, v);
	if (id == HEAD_CONTENT_LENGTH) {
		if (st->length_len)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		st->length_at = at;
		st->length_len = st->fields.len - at;
	}
	return 0;
}

static void add_text(struct queue *q, const char *t)
{
	queue_add(q, t, strlen(t));
}

/* The head as HTTP/1.1. Framing is by length where one was said; by chunks where
 * none was, and where trailers will come: a length would leave them no place. */
static bool response_head(struct up_stream *st, bool end)
{
	struct queue *q = &st->v->io.in;
	const char *fields = st->fields.ptr ? st->fields.ptr + st->fields.off : "";
	bool interim = st->status[0] == '1', bare = memcmp(st->status, "204", 3) == 0 || memcmp(st->status, "304", 3) == 0;
	bool no_body = st->v->ex && st->v->ex->verb == VERB_HEAD;
	size_t skip_at = st->fields.len, skip = 0;

	/* there is no switching of protocols in HTTP/2 (RFC 9113 8.6) */
	if (memcmp(st->status, "101", 3) == 0 || (interim && end))
		return false;
	if (!end && !interim && st->length_len && st->keep_trailers && !no_body && !bare) {
		skip_at = st->length_at;
		skip = st->length_len;
	}
	add_text(q, "HTTP/1.1 ");
	queue_add(q, st->status, sizeof(st->status));
	add_text(q, " \r\n");
	queue_add(q, fields, skip_at);
	queue_add(q, fields + skip_at + skip, st->fields.len - skip_at - skip);
	if (!interim && !bare && !no_body) {
		if (end && !st->length_len) {
			add_text(q, "Content-Length: 0\r\n");
		} else if (!end && (!st->length_len || skip)) {
			add_text(q, "Transfer-Encoding: chunked\r\n");
			st->chunked = true;
		}
	}
	add_text(q, "\r\n");
	st->final = !interim;
	queue_free(&st->fields);
	return true;
}

static void response_end(struct up_stream *st)
{
	struct queue *q = &st->v->io.in;

	if (st->chunked) {
		add_text(q, "0\r\n");
		queue_add(q, st->fields.ptr ? st->fields.ptr + st->fields.off : "", st->fields.len);
		add_text(q, "\r\n");
	}
	queue_free(&st->fields);
	st->ended = true;
	st->v->io.eof = true;   /* behind what is in the queue */
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct up_h2 *h = arg;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct up_stream *st;

	if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
		h->ready = true;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		h->leaving = true;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	st = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	if (!st || !st->v)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !st->final && !response_head(st, end)) {
		nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_PROTOCOL_ERROR);
		return 0;
	}
	if (end)
		response_end(st);
	tell(st);
	return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct up_stream *st = nghttp2_session_get_stream_user_data(s, id);

	(void)flags;
	(void)arg;
	nghttp2_session_consume_connection(s, n);
	if (!st || !st->v)
		return 0;       /* its RST_STREAM is on the way */
	st->unconsumed += n;
	if (st->chunked)
		h2_chunk_add(&st->v->io.in, span_of((const char *)p, n));
	else
		queue_add(&st->v->io.in, p, n);
	tell(st);
	return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg)
{
	struct up_stream *st = nghttp2_session_get_stream_user_data(s, id);

	(void)arg;
	if (!st)
		return 0;
	if (st->v) {
		/* said by a reset, or by a GOAWAY that does not count it (RFC 9113 8.7) */
		st->v->refused = code == NGHTTP2_REFUSED_STREAM && !st->final;
		st->v->io.eof = true;
		tell(st);
	}
	stream_free(st);
	return 0;
}

/* ---- the connection ---- */

/* Whatever is there: windows bound what its streams can make us keep. */
static bool receive(struct up_h2 *h)
{
	struct upconn *u = h->u;
	struct front *f = u->front;
	size_t moved = 0;

	while (moved < FRONT_ROUND_MAX) {
		struct span data;
		enum io_result r = io_fill(f, &u->io, &data);
		ssize_t n;

		if (r == IO_AGAIN)
			return true;
		if (r != IO_DATA)
			return false;
		h->heard = front_now(f);
		moved += data.len;
		n = nghttp2_session_mem_recv(h->out.session, (const uint8_t *)data.ptr, data.len);
		if (n != (ssize_t)data.len)
			return false;
	}
	wake(h);
	return true;
}

static void run_stream(struct up_stream *st)
{
	nghttp2_session *s = st->h2->out.session;

	if (!st->v || !st->v->ex)
		return;
	if (!st->id) {
		if (st->v->io.out.len && !submit(st)) {
			st->v->refused = true;
			st->v->io.eof = true;
			tell(st);
			stream_free(st);
		}
		return;
	}
	if (st->deferred && st->v->io.out.len) {
		st->deferred = false;
		nghttp2_session_resume_data(s, st->id);
	}
	if (st->unconsumed && st->v->io.in.len < UPSTREAM_H2_WINDOW / 4) {
		nghttp2_session_consume_stream(s, st->id, st->unconsumed);
		st->unconsumed = 0;
	}
}

void up_h2_run(struct upconn *u)
{
	struct up_h2 *h = u->h2;
	struct upstream *s = u->upstream;
	struct front *f = u->front;
	bool was_ready = h->ready, ok = receive(h);

	for (struct up_stream *st = h->streams, *next; st; st = next) {
		next = st->next;
		run_stream(st);
	}
	if (!ok) {
		h2_out_send(&h->out);         /* why, if it is we who are not content */
		up_broken(u, h->ready ? "the application broke off" : "the application does not speak HTTP/2");
		return;
	}
	if (!h2_out_send(&h->out)) {
		up_broken(u, "the application broke off");
		return;
	}
	/* libnghttp2 has found fault with it, and has said so */
	if (!nghttp2_session_want_read(h->out.session) && !nghttp2_session_want_write(h->out.session)) {
		up_broken(u, "the application does not keep to HTTP/2");
		return;
	}
	if (!h->count && (h->leaving || s->gone)) {
		up_close(u);
		if (!s->gone)
			upstream_kick(s);
		return;
	}
	if (h->ready)
		wheel_set(f, &u->timer, front_now(f) + UPSTREAM_KEEP_NS);
	if (h->ready && (s->wait_first || !was_ready))
		upstream_kick(s);
}

bool up_h2_begin(struct upconn *u)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UPSTREAM_H2_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_RESPONSE_HEAD_MAX },
	};
	struct up_h2 *h = mem_alloc(sizeof(*h));
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	bool ok = false;

	h->out.front = u->front;
	h->out.io = &u->io;
	h->u = u;
	h->heard = front_now(u->front);
	u->h2 = h;
	u->state = UP_H2;
	/* what was said before we asked anything is no answer, but may be its SETTINGS */
	u->io.can_read = true;
	if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
		nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
		nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
		nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
		nghttp2_option_set_no_auto_window_update(opt, 1);
		nghttp2_option_set_max_outbound_ack(opt, 100);
		nghttp2_option_set_max_settings(opt, 16);
		nghttp2_option_set_max_send_header_block_length(opt, 2 * HTTP_HEAD_MAX);
		nghttp2_option_set_max_continuations(opt, 8);
		ok = nghttp2_session_client_new2(&h->out.session, cb, h, opt) == 0 &&
		     nghttp2_submit_settings(h->out.session, NGHTTP2_FLAG_NONE, settings, array_size(settings)) == 0 &&
		     nghttp2_session_set_local_window_size(h->out.session, NGHTTP2_FLAG_NONE, 0,
		                                           UPSTREAM_H2_CONN_WINDOW) == 0;
	}
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	return ok;
}

static void unlink_from(struct up_h2 **list, struct up_h2 *h)
{
	while (*list && *list != h)
		list = &(*list)->later_next;
	if (*list)
		*list = h->later_next;
}

void up_h2_free(struct upconn *u)
{
	struct up_h2 *h = u->h2;

	u->h2 = NULL;
	if (h->woken) {
		unlink_from(&u->front->h2_later, h);
		unlink_from(&u->front->h2_turn, h);
	}
	while (h->streams) {
		struct upconn *v = h->streams->v;

		if (v) {
			/* nothing of it was sent: as good as never asked */
			v->refused = !h->streams->id;
			v->io.eof = true;
			tell(h->streams);
		}
		stream_free(h->streams);
	}
	nghttp2_session_del(h->out.session);
	free(h);
}

bool up_h2_is_ready(const struct upconn *u)
{
	return u->h2->ready;
}

bool up_h2_is_idle(const struct upconn *u)
{
	return u->h2->count == 0;
}

/* ---- streams of an upstream ---- */

struct upconn *up_h2_find(struct upstream *s)
{
	for (struct upconn *u = s->all; u; u = u->next) {
		struct up_h2 *h = u->h2;

		if (u->state != UP_H2 || !h->ready || h->leaving || h->count >= UPSTREAM_H2_STREAMS ||
		    h->count >= nghttp2_session_get_remote_settings(h->out.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
			continue;
		/* An application that leaves one person's upload unread must not keep others waiting behind it. */
		if (nghttp2_session_check_request_allowed(h->out.session) &&
		    nghttp2_session_get_remote_window_size(h->out.session) > 0)
			return u;
	}
	return NULL;
}

bool up_h2_wants_more(const struct upstream *s)
{
	size_t opening = 0;

	for (const struct upconn *u = s->all; u; u = u->next)
		opening += u->state != UP_H2 || !u->h2->ready;
	return s->count < UPSTREAM_H2_CONNS && opening * UPSTREAM_H2_STREAMS < s->waiting;
}

void up_h2_open(struct upconn *carrier, struct exchange *ex)
{
	struct up_h2 *h = carrier->h2;
	struct up_stream *st = mem_alloc(sizeof(*st));
	struct upconn *v = mem_alloc(sizeof(*v));

	v->front = carrier->front;
	v->upstream = carrier->upstream;
	v->state = UP_BUSY;
	v->io.watch.fd = -1;
	v->io.stream = IO_UP_STREAM;
	v->of_h2 = true;
	v->stream = st;
	v->ex = ex;
	st->h2 = h;
	st->v = v;
	st->next = h->streams;
	if (h->streams)
		h->streams->prev = st;
	h->streams = st;
	h->count++;
	ex->reused = carrier->served > 0;
	ex->up = v;
	carrier->served++;
	carrier->upstream->busy++;
}

void up_h2_end(struct upconn *v, bool clean)
{
	struct up_stream *st = v->stream;
	struct front *f = v->front;

	if (v->state == UP_CLOSED)
		return;
	v->state = UP_CLOSED;
	v->ex = NULL;
	v->upstream->busy--;
	v->stream = NULL;
	io_close(f, &v->io);
	loop_defer_free(f->loop, v);
	if (!st)
		return;
	st->v = NULL;
	wake(st->h2);
	if (!st->id) {
		stream_free(st);
		return;
	}
	nghttp2_submit_rst_stream(st->h2->out.session, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_CANCEL);
	/* Not a byte from that side for long, though it was asked: nobody else is sent there. */
	if (!clean && st->h2->heard < st->asked && front_now(f) - st->asked >= UPSTREAM_H2_SILENT_NS)
		st->h2->leaving = true;
}

void up_h2_later(struct front *f)
{
	/* what they wake in turn comes after one more look at everybody else */
	f->h2_turn = f->h2_later;
	f->h2_later = NULL;
	while (f->h2_turn) {
		struct up_h2 *h = f->h2_turn;

		f->h2_turn = h->later_next;
		h->woken = false;
		up_h2_run(h->u);
	}
}
