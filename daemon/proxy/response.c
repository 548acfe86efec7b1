/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What an application answers: interim heads, the final one, a switch of
 * protocols, and its end. Bodies go on in relay.c.
 */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "daemon/proxy/http_parse.h"
#include "daemon/proxy/splice.h"

#include <sys/uio.h>

static void write_status(struct head_out *o, const struct message *m)
{
	head_add_lit(o, "HTTP/1.1 ");
	head_add_u64(o, m->status);
	head_add_lit(o, " ");
	head_add(o, m->reason);
	head_add_lit(o, "\r\n");
}

static void write_fields(struct head_out *o, const struct message *m)
{
	for (size_t i = 0; i < m->field_count; i++) {
		if (header_passes_down(m, &m->fields[i]))
			head_add_field(o, m->fields[i].name, m->fields[i].value);
	}
}

/* 1xx: passed on to those who can read it. False: the exchange is over. */
static bool interim(struct upconn *u, const struct message *m)
{
	struct exchange *ex = u->ex;
	struct front *f = u->front;
	struct head_out o = { .ptr = f->tx, .cap = sizeof(f->tx) };
	struct iovec v;

	if (++ex->interim > HTTP_INTERIM_MAX) {
		up_failed(u, "the application sends too many interim answers");
		return false;
	}
	if (ex->minor == 0 || (m->status == 100 && !ex->expect))
		return true;
	if (m->status == 100)
		ex->expect = false;
	write_status(&o, m);
	write_fields(&o, m);
	head_add_lit(&o, "\r\n");
	v = (struct iovec){ o.ptr, o.len };
	if (o.over || !io_write(&ex->conn->io, &v, 1)) {
		conn_close(ex->conn);
		return false;
	}
	return true;
}

static void write_down_framing(struct exchange *ex, const struct message *m, struct head_out *o)
{
	bool bodiless = ex->head_only || m->status == 304;

	if (m->body == BODY_LENGTH || (m->has_length && m->status != 204)) {
		head_add_lit(o, "Content-Length: ");
		head_add_u64(o, m->length);
		head_add_lit(o, "\r\n");
	} else if (!bodiless && (m->body == BODY_CHUNKED || m->body == BODY_UNTIL_CLOSE)) {
		if (ex->minor == 1) {
			ex->to_chunked = true;
			head_add_lit(o, "Transfer-Encoding: chunked\r\n");
		} else {
			ex->keep_alive = false;
		}
	}
}

/* The final head, with what is there of the body in one write. False: the exchange is over. */
static bool final_head(struct upconn *u, const struct message *m, struct span *rest)
{
	struct exchange *ex = u->ex;
	struct conn *c = ex->conn;
	struct front *f = u->front;
	struct head_out o = { .ptr = f->tx, .cap = sizeof(f->tx) };
	struct iovec v;

	u->upstream->fails = 0;
	/* Who answers before the request is all there often reads no more of it, whatever it
	 * says of its connection: the next request would wait there, or follow on half a body. */
	u->keep = m->keep_alive && !ex->gateway && ex->req.done;
	ex->status = m->status;
	ex->first_byte = front_now(f);
	ex->resp = (struct body){ .kind = m->body, .left = m->length, .done = m->body == BODY_NONE };
	if (m->body == BODY_CHUNKED)
		chunked_init(&ex->resp.chunked);
	if (ex->upgrade && ex->state == EX_SENT && (c->io.in.len || c->closing))
		ex->keep_alive = false; /* it spoke another protocol before it was allowed to */
	write_status(&o, m);
	write_fields(&o, m);
	write_down_framing(ex, m, &o);
	if (!ex->keep_alive || f->draining || (m->body == BODY_UNTIL_CLOSE && !ex->to_chunked))
		head_add_lit(&o, "Connection: close\r\n");
	else if (ex->minor == 0)
		head_add_lit(&o, "Connection: keep-alive\r\n");
	head_add_lit(&o, "\r\n");
	if (o.over) {
		up_failed(u, "the application's answer has too large a head");
		return false;
	}
	if (f->draining)
		ex->keep_alive = false;
	ex->state = EX_RESPONSE;
	v = (struct iovec){ o.ptr, o.len };
	return relay_response(ex, rest, &v);
}

static bool switch_protocol(struct upconn *u, const struct message *m)
{
	struct exchange *ex = u->ex;
	struct conn *c = ex->conn;
	struct front *f = u->front;
	struct head_out o = { .ptr = f->tx, .cap = sizeof(f->tx) };
	struct iovec v;

	if (!ex->upgrade || !m->upgrade || !span_ieq(m->protocol, ex->protocol)) {
		up_failed(u, "the application switched to a protocol that nobody asked for");
		return false;
	}
	write_status(&o, m);
	write_fields(&o, m);
	head_add_lit(&o, "Connection: Upgrade\r\n");
	head_add_field(&o, SPAN("Upgrade"), m->protocol);
	head_add_lit(&o, "\r\n");
	ex->status = 101;
	ex->first_byte = front_now(f);
	ex->state = EX_UPGRADED;
	c->state = CONN_UPGRADED;
	f->stats.upgrades++;
	conn_due(c, front_now(f) + ex->svc->upgrade_idle_ns);
	v = (struct iovec){ o.ptr, o.len };
	if (o.over || !io_write(&c->io, &v, 1)) {
		conn_close(c);
		return false;
	}
	return true;
}

static enum http_result parse_head(struct upconn *u, struct span data, struct message *m, size_t *ret_used,
                                   struct fault *why)
{
	struct front *f = u->front;
	struct exchange *ex = u->ex;
	struct http_scan scan = { 0 };
	struct span head;
	enum http_result r;
	size_t used;

	if (ex->gateway != GATEWAY_FASTCGI && ex->gateway != GATEWAY_SCGI)
		return http_response_parse(&u->scan, data.ptr, data.len, ex->verb, m, ret_used, why);
	if (!f->gate)
		f->gate = mem_alloc(HTTP_RESPONSE_HEAD_MAX + 64);
	r = gateway_head(data.ptr, data.len, f->gate, ret_used, &head, why);
	if (r != HTTP_DONE)
		return r;
	r = http_response_parse(&scan, head.ptr, head.len, ex->verb, m, &used, why);
	if (r == HTTP_MORE)     /* what was made whole is not */
		*why = (struct fault){ 502, "a malformed head" };
	return r == HTTP_DONE ? HTTP_DONE : HTTP_BAD;
}

/* Bytes of heads: interim ones, then the final one. False: the exchange is over or wants more. */
static bool read_heads(struct upconn *u, struct span *data, bool *ret_more)
{
	struct exchange *ex = u->ex;
	struct message *m = &u->front->msg;
	struct fault why;
	size_t used = 0;

	switch (parse_head(u, *data, m, &used, &why)) {
	case HTTP_BAD:
		ex->tries = UPSTREAM_TRIES;
		up_failed(u, why.why);
		return false;
	case HTTP_MORE:
		*ret_more = true;
		return true;
	case HTTP_DONE:
		break;
	}
	u->scan = (struct http_scan){ 0 };
	*data = span_from(*data, used);
	if (m->status == 101)
		return switch_protocol(u, m);
	if (m->status < 200)
		return interim(u, m);
	return final_head(u, m, data);
}

static void response_eof(struct upconn *u)
{
	struct exchange *ex = u->ex;

	if (ex->state == EX_RESPONSE && ex->resp.kind == BODY_UNTIL_CLOSE && !u->io.failed) {
		struct iovec last = { (char *)(uintptr_t)"0\r\n\r\n", 5 };

		ex->resp.done = true;
		if (ex->to_chunked && !io_write(&ex->conn->io, &last, 1)) {
			conn_close(ex->conn);
			return;
		}
		exchange_done(ex);
		return;
	}
	up_failed(u, ex->state == EX_SENT ? "the application ended the connection without an answer"
	                                  : "the application broke off");
}

/* False: the answer is through, or others have their turn. */
static bool goes_on(struct exchange *ex, size_t moved)
{
	if (ex->resp.done && ex->state == EX_RESPONSE) {
		exchange_done(ex);
		return false;
	}
	if (moved > FRONT_ROUND_MAX) {
		conn_later(ex->conn);
		return false;
	}
	return true;
}

void response_run(struct upconn *u)
{
	struct front *f = u->front;
	size_t moved = 0;
	bool more = false;

	for (;;) {
		struct exchange *ex = u->ex;
		struct conn *c = ex->conn;
		struct span data = queue_span(&u->io.in);

		if (io_blocked(&c->io) || ex->state == EX_WAIT)
			return;
		if (ex->state == EX_UPGRADED) {
			relay_upgrade(c);
			return;
		}
		if (ex->state == EX_RESPONSE && splice_wanted(ex)) {
			enum splice_result r = splice_body(ex, &moved);

			if (r == SPLICE_GONE || r == SPLICE_AGAIN)
				return;
			if (r == SPLICE_MOVED) {
				if (!goes_on(ex, moved))
					return;
				continue;
			}
		}
		if (!data.len || more) {
			enum io_result r = io_fill(f, &u->io, &data);

			if (r == IO_AGAIN)
				return;
			if (r != IO_DATA) {
				response_eof(u);
				return;
			}
		}
		more = false;
		moved += data.len;
		if (ex->state == EX_SENT) {
			if (!read_heads(u, &data, &more))
				return;
		} else {
			size_t before = data.len;

			if (!relay_response(ex, &data, NULL))
				return;
			more = data.len == before;      /* part of a trailer */
		}
		if (u->state == UP_CLOSED || u->ex != ex)
			return;
		io_keep(&u->io, data);
		if (!goes_on(ex, moved))
			return;
	}
}

