/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "daemon/proxy/http_parse.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Pieces of one write: chunk lines are written aside, data stays where it is. */
enum {
	PIECES = 60,
	SMALL = 4 << 10,        /* bytes of a body that are copied behind their head (which is in front.tx) */
};

struct gather {
	struct iovec v[PIECES];
	int          n;
	char         text[PIECES * 12];
	size_t       text_len;
};

static void gather_add(struct gather *g, const void *p, size_t n)
{
	if (n)
		g->v[g->n++] = (struct iovec){ (void *)(uintptr_t)p, n };
}

static void gather_text(struct gather *g, const char *p, size_t n)
{
	char *at = g->text + g->text_len;

	memcpy(at, p, n);
	g->text_len += n;
	/* texts that follow each other are one piece */
	if (g->n && (char *)g->v[g->n - 1].iov_base + g->v[g->n - 1].iov_len == at)
		g->v[g->n - 1].iov_len += n;
	else
		gather_add(g, at, n);
}

static void gather_size(struct gather *g, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char buf[20];
	size_t i = sizeof(buf);

	buf[--i] = '\n';
	buf[--i] = '\r';
	do
		buf[--i] = digits[n & 15];
	while (n >>= 4);
	gather_text(g, buf + i, sizeof(buf) - i);
}

static bool gather_full(const struct gather *g)
{
	return g->n > PIECES - 4 || g->text_len > sizeof(g->text) - 32;
}

static void gather_chunk(struct gather *g, struct span data)
{
	gather_size(g, data.len);
	gather_add(g, data.ptr, data.len);
	gather_text(g, "\r\n", 2);
}

/* Trailer fields that may pass, as lines; then the empty one. */
static void write_trailers(struct front *f, const struct snapshot *s, const struct message *m, bool up,
                           struct head_out *o)
{
	*o = (struct head_out){ .ptr = f->tx, .cap = sizeof(f->tx) };
	head_add_lit(o, "0\r\n");
	for (size_t i = 0; i < m->field_count; i++) {
		if (header_passes_trailer(s, &m->fields[i], up))
			head_add_field(o, m->fields[i].name, m->fields[i].value);
	}
	head_add_lit(o, "\r\n");
}

enum chunk_step { STEP_BAD, STEP_MORE, STEP_FULL, STEP_END };

/* Chunks in data become pieces; data is what is left. At the end f->msg holds the trailers. */
static enum chunk_step take_chunks(struct front *f, struct body *b, struct span *data, struct gather *g,
                                   bool rechunk, unsigned status, struct fault *why)
{
	struct span piece;
	size_t used = 0;

	while (!b->trailers) {
		if (gather_full(g))
			return STEP_FULL;
		switch (chunked_read(&b->chunked, data->ptr, data->len, &used, &piece)) {
		case CHUNKED_BAD:
			*why = (struct fault){ status, "a malformed chunk" };
			return STEP_BAD;
		case CHUNKED_MORE:
			*data = span_from(*data, used);
			return STEP_MORE;
		case CHUNKED_DATA:
			b->total += piece.len;
			if (rechunk)
				gather_chunk(g, piece);
			else
				gather_add(g, piece.ptr, piece.len);
			*data = span_from(*data, used);
			break;
		case CHUNKED_TRAILERS:
			b->trailers = true;
			b->scan = (struct http_scan){ 0 };
			*data = span_from(*data, used);
			break;
		}
	}
	memset(&f->msg.nominee_count, 0, sizeof(f->msg.nominee_count));
	switch (http_trailers_parse(&b->scan, data->ptr, data->len, status, &f->msg, &used, why)) {
	case HTTP_BAD:
		return STEP_BAD;
	case HTTP_MORE:
		return STEP_MORE;
	case HTTP_DONE:
		break;
	}
	*data = span_from(*data, used);
	b->done = true;
	return STEP_END;
}

/* An upstream that takes no more may still answer: its answer is awaited, and
 * the rest of the body is read past, so that this connection stays in step. */
static void write_up(struct exchange *ex, const struct gather *g)
{
	if (g->n && !ex->up->io.failed)
		io_write(&ex->up->io, g->v, g->n);
}

static struct span relay_chunks_up(struct exchange *ex, struct span data, struct gather *g)
{
	struct front *f = ex->conn->front;
	struct head_out trailers;
	struct fault why;

	for (;;) {
		enum chunk_step step = take_chunks(f, &ex->req, &data, g, true, 400, &why);

		if (step != STEP_BAD && ex->req.total > (uint64_t)ex->svc->body_max) {
			why = (struct fault){ 413, "the body is too large" };
			step = STEP_BAD;
		}
		switch (step) {
		case STEP_BAD:
			/* what was good goes nowhere either: the application must not take it for whole */
			exchange_fail(ex, why.status, why.status == 413 ? "body-too-large" : "bad-request",
			              why.why, END_CLIENT);
			return (struct span){ 0 };
		case STEP_MORE:
			write_up(ex, g);
			return data;
		case STEP_FULL:
			write_up(ex, g);
			g->n = 0;
			g->text_len = 0;
			if (io_blocked(&ex->up->io))
				return data;
			break;
		case STEP_END:
			write_trailers(f, ex->snap, &f->msg, true, &trailers);
			gather_add(g, trailers.ptr, trailers.len);
			write_up(ex, g);
			return data;
		}
	}
}

/* FastCGI's frames; one read's worth of data is a handful of them. */
static void gather_records(struct gather *g, struct span data, bool last)
{
	char frame[GATEWAY_FRAME];

	while (data.len) {
		struct span piece = span_head(data, GATEWAY_RECORD_MAX);

		gateway_body_frame(piece.len, frame);
		gather_text(g, frame, sizeof(frame));
		gather_add(g, piece.ptr, piece.len);
		data = span_from(data, piece.len);
	}
	if (last) {
		gateway_body_frame(0, frame);
		gather_text(g, frame, sizeof(frame));
	}
}

/* Nobody behind a gateway says 100: we do, now that there is somebody to read the body. */
static bool go_ahead(struct exchange *ex)
{
	struct iovec v = { (char *)(uintptr_t)"HTTP/1.1 100 Continue\r\n\r\n", 25 };

	ex->expect = false;
	if (ex->minor == 0 || io_write(&ex->conn->io, &v, 1))
		return true;
	conn_close(ex->conn);
	return false;
}

struct span relay_request(struct exchange *ex, struct span data)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	struct gather g;
	int64_t now = front_now(f);
	size_t had = data.len;

	g.n = 0;
	g.text_len = 0;
	if (ex->state == EX_WAIT) {
		ex->state = EX_SENT;
		ex->connected = now;
		gather_add(&g, ex->head.ptr, ex->head.len);
		if (ex->gateway && ex->expect && !go_ahead(ex))
			return data;
	}
	switch (ex->req.kind) {
	case BODY_LENGTH:
		if (!ex->req.done) {
			size_t n = data.len < ex->req.left ? data.len : (size_t)ex->req.left;

			if (ex->gateway == GATEWAY_FASTCGI)
				gather_records(&g, span_head(data, n), n == ex->req.left);
			else
				gather_add(&g, data.ptr, n);
			ex->req.left -= n;
			ex->req.done = ex->req.left == 0;
			data = span_from(data, n);
		}
		write_up(ex, &g);
		break;
	case BODY_CHUNKED:
		if (ex->req.done) {
			write_up(ex, &g);
			break;
		}
		data = relay_chunks_up(ex, data, &g);
		if (ex->state == EX_NONE)
			return data;
		break;
	case BODY_NONE:
	case BODY_UNTIL_CLOSE:
		write_up(ex, &g);
		break;
	}
	if (data.len != had) {
		ex->sent_body = true;
		ex->bytes_in += had - data.len;
	}
	if (ex->state == EX_SENT) {
		int64_t wait = ex->req.done ? ex->svc->first_byte_ns : ex->svc->idle_ns;

		conn_due(c, now + wait < ex->due_total ? now + wait : ex->due_total);
	} else if (ex->state == EX_RESPONSE && data.len != had) {
		/* both ways at once: either keeps it alive */
		conn_due(c, now + ex->svc->idle_ns < ex->due_total ? now + ex->svc->idle_ns : ex->due_total);
	}
	return data;
}

static bool write_down(struct exchange *ex, const struct iovec *v, int n)
{
	if (n && !io_write(&ex->conn->io, v, n)) {
		conn_close(ex->conn);
		return false;
	}
	return true;
}

static bool relay_chunks_down(struct exchange *ex, struct span *data, struct gather *g)
{
	struct front *f = ex->conn->front;
	struct upconn *u = ex->up;
	struct head_out trailers;
	struct fault why;

	for (;;) {
		switch (take_chunks(f, &ex->resp, data, g, ex->to_chunked, 502, &why)) {
		case STEP_BAD:
			/* the head may be in g and unsent: as if it had been */
			(void)u;
			ex->answered = true;
			exchange_fail(ex, 502, "upstream-failed", why.why, END_UPSTREAM);
			return false;
		case STEP_MORE:
			return write_down(ex, g->v, g->n);
		case STEP_FULL:
			if (!write_down(ex, g->v, g->n))
				return false;
			g->n = 0;
			g->text_len = 0;
			break;
		case STEP_END:
			if (ex->to_chunked) {
				/* the head, if it is in f->tx, must be on its way before trailers are written there */
				if (!write_down(ex, g->v, g->n))
					return false;
				g->n = 0;
				write_trailers(f, NULL, &f->msg, false, &trailers);
				gather_add(g, trailers.ptr, trailers.len);
			}
			return write_down(ex, g->v, g->n);
		}
	}
}

bool relay_response(struct exchange *ex, struct span *data, struct iovec *first)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	int64_t now = front_now(f), due = now + ex->svc->idle_ns;
	size_t had = data->len;
	struct gather g;
	bool ok = true;

	g.n = 0;
	g.text_len = 0;
	if (first)
		gather_add(&g, first->iov_base, first->iov_len);
	switch (ex->resp.kind) {
	case BODY_NONE:
		ok = write_down(ex, g.v, g.n);
		break;
	case BODY_LENGTH: {
		size_t n = data->len < ex->resp.left ? data->len : (size_t)ex->resp.left;

		/* copying a little is cheaper than a write of two pieces */
		if (first && n && n <= SMALL && first->iov_len + n <= sizeof(f->tx)) {
			memcpy(f->tx + first->iov_len, data->ptr, n);
			g.v[0].iov_len += n;
		} else {
			gather_add(&g, data->ptr, n);
		}
		ex->resp.left -= n;
		ex->resp.done = ex->resp.left == 0;
		*data = span_from(*data, n);
		ok = write_down(ex, g.v, g.n);
		break;
	}
	case BODY_CHUNKED:
		ok = relay_chunks_down(ex, data, &g);
		break;
	case BODY_UNTIL_CLOSE:
		if (ex->to_chunked && data->len)
			gather_chunk(&g, *data);
		else
			gather_add(&g, data->ptr, data->len);
		*data = span_from(*data, data->len);
		ok = write_down(ex, g.v, g.n);
		break;
	}
	if (!ok)
		return false;
	ex->bytes_out += had - data->len;
	if (!ex->resp.done)
		conn_due(c, due < ex->due_total ? due : ex->due_total);
	return true;
}

/* ---- upgrades: bytes, as they are, both ways ---- */

static bool pass_on(struct front *f, struct io *from, struct io *to, uint64_t *total, bool *ret_moved,
                    bool *ret_again)
{
	size_t moved = 0;

	while (!io_blocked(to)) {
		struct span data = queue_span(&from->in);
		struct iovec v;

		if (!data.len) {
			enum io_result r = io_fill(f, from, &data);

			if (r == IO_AGAIN)
				return true;
			if (r != IO_DATA) {
				/* one way is over: the other learns of it, and may still speak */
				if (r == IO_EOF && !to->eof && !to->ssl && from->watch.active && to->watch.active) {
					shutdown(to->watch.fd, SHUT_WR);
					from->can_read = false;
					return true;
				}
				return false;
			}
		}
		v = (struct iovec){ (char *)(uintptr_t)data.ptr, data.len };
		*total += data.len;
		moved += data.len;
		*ret_moved = true;
		if (!io_write(to, &v, 1))
			return false;
		io_keep(from, (struct span){ data.ptr + data.len, 0 });
		if (moved > FRONT_ROUND_MAX) {
			*ret_again = true;
			return true;
		}
	}
	return true;
}

void relay_upgrade(struct conn *c)
{
	struct exchange *ex = c->ex;
	struct front *f = c->front;
	bool moved = false, again = false;
	struct upconn *u = ex->up;

	if (!u || !io_flush(&c->io) || !io_flush(&u->io) ||
	    !pass_on(f, &c->io, &u->io, &ex->bytes_in, &moved, &again) ||
	    !pass_on(f, &u->io, &c->io, &ex->bytes_out, &moved, &again) ||
	    (c->io.eof && u->io.eof && !io_blocked(&c->io) && !io_blocked(&u->io))) {
		ex->req.done = ex->resp.done = true;
		ex->close_up = true;
		exchange_end(ex, END_OK);
		conn_close(c);
		return;
	}
	if (moved)
		conn_due(c, front_now(f) + ex->svc->upgrade_idle_ns);
	if (again)
		conn_later(c);
}
