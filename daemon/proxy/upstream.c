/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "daemon/proxy/http_parse.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- which one ---- */

static bool resting(const struct upstream *s, int64_t now)
{
	return s->fails >= UPSTREAM_FAILS && now < s->rest_until;
}

static struct upstream *choose(struct exchange *ex, const struct upstream *not_this)
{
	struct service_run *r = ex->run;
	struct conn *c = ex->conn;
	int64_t now = front_now(c->front);
	struct upstream *best = NULL;
	size_t first = r->up_count ? r->turn++ % r->up_count : 0;

	if ((ex->svc->flags & SERVICE_HASH_PERSON) && c->slot != SLOT_NONE && r->up_count) {
		const struct snap_ident *d = snapshot_ident(c->front->snap, c->slot);
		struct span who = snapshot_text(c->front->snap, d->user.len ? d->user : d->login);
		uint32_t h = 2166136261u;

		for (size_t i = 0; i < who.len; i++)
			h = (h ^ (unsigned char)who.ptr[i]) * 16777619u;
		first = h % r->up_count;
	}
	for (size_t i = 0; i < r->up_count; i++) {
		struct upstream *s = r->ups[(first + i) % r->up_count];

		if (s == not_this && r->up_count > 1)
			continue;
		if (resting(s, now) && r->up_count > 1)
			continue;
		if (ex->svc->flags & SERVICE_HASH_PERSON)
			return s;
		if (!best || s->busy + s->waiting < best->busy + best->waiting)
			best = s;
	}
	/* all rest: asking one is how we learn that it is back */
	if (!best && r->up_count)
		best = r->ups[first];
	return best;
}

/* ---- waiting ---- */

static void wait_add(struct upstream *s, struct exchange *ex)
{
	ex->waiting = s;
	ex->wait_next = NULL;
	ex->wait_prev = s->wait_last;
	if (s->wait_last)
		s->wait_last->wait_next = ex;
	else
		s->wait_first = ex;
	s->wait_last = ex;
	s->waiting++;
}

void upstream_leave(struct exchange *ex)
{
	struct upstream *s = ex->waiting;

	if (ex->wait_prev)
		ex->wait_prev->wait_next = ex->wait_next;
	else
		s->wait_first = ex->wait_next;
	if (ex->wait_next)
		ex->wait_next->wait_prev = ex->wait_prev;
	else
		s->wait_last = ex->wait_prev;
	ex->waiting = NULL;
	s->waiting--;
}

static void give(struct upconn *u, struct exchange *ex)
{
	struct upstream *s = u->upstream;

	if (u->idle_prev)
		u->idle_prev->idle_next = u->idle_next;
	else if (s->idle == u)
		s->idle = u->idle_next;
	if (u->idle_next)
		u->idle_next->idle_prev = u->idle_prev;
	u->idle_prev = u->idle_next = NULL;
	if (u->state == UP_IDLE)
		s->idle_count--;
	s->busy++;
	u->state = UP_BUSY;
	u->ex = ex;
	u->scan = (struct http_scan){ 0 };
	u->records = (struct gateway_records){ 0 };
	u->io.records = ex->gateway == GATEWAY_FASTCGI ? &u->records : NULL;
	ex->reused = u->served > 0;
	ex->up = u;
	u->served++;
}

static void on_timer(struct front *f, struct wheel_node *n);

static void ask(struct upstream *s, struct exchange *ex)
{
	struct front *f = s->run->front;
	struct upconn *u = mem_alloc(sizeof(*u));
	struct front_connect q = { .cookie = ++f->cookie, .table = snapshot_table(f->snap),
		                   .service = s->run->index, .upstream = s->index };
	u->front = f;
	u->upstream = s;
	u->cookie = q.cookie;
	u->io.watch.fd = -1;
	u->timer.fire = on_timer;
	u->ask_next = f->asked[u->cookie % array_size(f->asked)];
	f->asked[u->cookie % array_size(f->asked)] = u;
	u->next = s->all;
	if (s->all)
		s->all->prev = u;
	s->all = u;
	s->count++;
	s->connects++;
	wheel_set(f, &u->timer, front_now(f) + ex->svc->connect_ns + SEC_NS);
	f->ops->connect(f->arg, &q);
}

static bool acquire_from(struct exchange *ex, struct upstream *s)
{
	if (!s || s->gone) {
		exchange_fail(ex, 502, "no-upstream", "the application has no address here", END_UPSTREAM);
		return false;
	}
	if (s->idle && !s->wait_first) {
		give(s->idle, ex);
		return true;
	}
	if (s->waiting >= UPSTREAM_WAITERS) {
		exchange_fail(ex, 503, "upstream-busy", "too many requests wait for the application",
		              END_UPSTREAM);
		return false;
	}
	wait_add(s, ex);
	if (s->count < UPSTREAM_CONNS)
		ask(s, ex);
	return true;
}

void upstream_acquire(struct exchange *ex)
{
	acquire_from(ex, choose(ex, NULL));
}

void upstream_kick(struct upstream *s)
{
	while (s->idle && s->wait_first) {
		struct exchange *ex = s->wait_first;

		upstream_leave(ex);
		give(s->idle, ex);
		conn_later(ex->conn);
	}
	if (s->wait_first && s->count < UPSTREAM_CONNS)
		ask(s, s->wait_first);
}

/* ---- a connection's life ---- */

static void unask(struct upconn *u)
{
	struct upconn **p = &u->front->asked[u->cookie % array_size(u->front->asked)];

	while (*p && *p != u)
		p = &(*p)->ask_next;
	if (*p)
		*p = u->ask_next;
}

void up_close(struct upconn *u)
{
	struct upstream *s = u->upstream;
	struct front *f = u->front;

	if (u->state == UP_CLOSED)
		return;
	if (u->state == UP_ASKED)
		unask(u);
	if (u->state == UP_IDLE) {
		if (u->idle_prev)
			u->idle_prev->idle_next = u->idle_next;
		else
			s->idle = u->idle_next;
		if (u->idle_next)
			u->idle_next->idle_prev = u->idle_prev;
		s->idle_count--;
	}
	if (u->state == UP_BUSY)
		s->busy--;
	u->state = UP_CLOSED;
	wheel_remove(f, &u->timer);
	io_close(f, &u->io);
	if (u->prev)
		u->prev->next = u->next;
	else
		s->all = u->next;
	if (u->next)
		u->next->prev = u->prev;
	s->count--;
	loop_defer_free(f->loop, u);
}

static void to_idle(struct upconn *u)
{
	struct upstream *s = u->upstream;

	u->state = UP_IDLE;
	u->ex = NULL;
	u->idle_prev = NULL;
	u->idle_next = s->idle;
	if (s->idle)
		s->idle->idle_prev = u;
	s->idle = u;
	s->idle_count++;
	wheel_set(u->front, &u->timer, front_now(u->front) + UPSTREAM_KEEP_NS);
}

void up_release(struct upconn *u, bool reuse)
{
	struct upstream *s = u->upstream;

	u->ex = NULL;
	if (u->state == UP_CLOSED)
		return;
	/* What is there unread was not asked for: it must not answer the next request. */
	if (!reuse || !u->keep || u->io.failed || u->io.eof || u->io.hup || u->io.in.len ||
	    u->io.out.len || u->io.can_read || s->gone || s->idle_count >= UPSTREAM_IDLE) {
		up_close(u);
	} else {
		s->busy--;
		to_idle(u);
	}
	if (s->wait_first && !s->gone)
		upstream_kick(s);
}

static void note_failure(struct upstream *s)
{
	s->errors++;
	if (++s->fails >= UPSTREAM_FAILS)
		s->rest_until = front_now(s->run->front) + UPSTREAM_REST_NS;
}

/* The oldest that waits here tries elsewhere, or is told. */
static void fail_waiter(struct upstream *s, const char *detail)
{
	struct exchange *ex = s->wait_first;

	if (!ex)
		return;
	upstream_leave(ex);
	if (++ex->tries < UPSTREAM_TRIES && ex->run->up_count > 1) {
		ex->conn->front->stats.retried++;
		if (acquire_from(ex, choose(ex, s)) && ex->up)
			conn_later(ex->conn);
		return;
	}
	exchange_fail(ex, 502, "upstream-connect", detail, END_UPSTREAM);
}

static void on_timer(struct front *f, struct wheel_node *n)
{
	struct upconn *u = (struct upconn *)(void *)((char *)n - offsetof(struct upconn, timer));

	(void)f;
	if (u->state == UP_IDLE) {
		up_close(u);
	} else if (u->state != UP_BUSY) {
		struct upstream *s = u->upstream;

		note_failure(s);
		up_close(u);
		fail_waiter(s, "the application does not answer");
	}
}

static void ready(struct upconn *u)
{
	struct upstream *s = u->upstream;

	to_idle(u);
	if (s->gone)
		up_close(u);
	else
		upstream_kick(s);
}

static void on_up_event(void *arg, uint32_t events)
{
	struct upconn *u = arg;

	io_events(&u->io, events);
	up_run(u);
}

void up_connected(struct front *f, uint64_t cookie, int fd, int error)
{
	struct upconn *u = f->asked[cookie % array_size(f->asked)];
	int one = 1;

	while (u && u->cookie != cookie)
		u = u->ask_next;
	if (!u) {
		if (fd >= 0)
			close(fd);
		return;
	}
	unask(u);
	u->state = UP_CONNECTING;
	if (fd < 0 || !io_start(f, &u->io, fd, on_up_event, u)) {
		struct upstream *s = u->upstream;

		if (fd >= 0)
			close(fd);
		(void)error;
		note_failure(s);
		up_close(u);
		fail_waiter(s, "the application cannot be reached");
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* EPOLLOUT tells when it is connected; the first event comes by itself */
	u->io.can_write = false;
}

/* ---- failures ---- */

void up_failed(struct upconn *u, const char *detail)
{
	struct exchange *ex = u->ex;
	struct upstream *s = u->upstream;
	struct conn *c;

	if (!ex) {
		up_close(u);
		return;
	}
	c = ex->conn;
	/* A kept connection that ended before it answered: most likely the server closed it
	 * while we wrote. Sent again only if doing it twice is doing it once, and no
	 * byte of a body or of an answer is gone. RFC 9110 9.2.2, RFC 9112 9.3.1. */
	if (ex->state == EX_SENT && ex->reused && !ex->sent_body && !ex->interim && !u->io.in.len &&
	    ex->req.kind == BODY_NONE && verb_idempotent(ex->verb, ex->method) && !ex->upgrade &&
	    ++ex->tries <= UPSTREAM_TRIES) {
		c->front->stats.retried++;
		ex->up = NULL;
		ex->state = EX_WAIT;
		u->ex = NULL;
		up_close(u);
		conn_due(c, front_now(c->front) + ex->svc->connect_ns);
		if (acquire_from(ex, s) && ex->up)
			conn_later(c);
		return;
	}
	note_failure(s);
	exchange_fail(ex, 502, "upstream-failed", detail, END_UPSTREAM);
}

/* ---- the response ---- */

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
	u->keep = m->keep_alive && !ex->gateway;
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

static void run_response(struct upconn *u)
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
		if (ex->resp.done && ex->state == EX_RESPONSE) {
			exchange_done(ex);
			return;
		}
		if (moved > FRONT_ROUND_MAX) {
			conn_later(c);
			return;
		}
	}
}

void up_run(struct upconn *u)
{
	struct upstream *s = u->upstream;

	switch (u->state) {
	case UP_ASKED:
	case UP_CLOSED:
		return;
	case UP_CONNECTING: {
		int e = 0;
		socklen_t len = sizeof(e);

		if (!u->io.can_write && !u->io.hup)
			return;
		if (getsockopt(u->io.watch.fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 || e || u->io.failed ||
		    (u->io.hup && !u->io.can_write)) {
			note_failure(s);
			up_close(u);
			fail_waiter(s, "the application cannot be reached");
			return;
		}
		/* nothing was asked: what is readable now is no answer */
		u->io.can_read = false;
		if (s->flags & SNAP_UP_TLS) {
			u->state = UP_TLS;
			if (!tls_connect(u)) {
				note_failure(s);
				up_close(u);
				fail_waiter(s, "no TLS towards the application");
				return;
			}
			up_run(u);
			return;
		}
		ready(u);
		return;
	}
	case UP_TLS: {
		int r = tls_handshake(&u->io);

		if (r < 0) {
			note_failure(s);
			up_close(u);
			fail_waiter(s, "the application's certificate or TLS is not acceptable");
		} else if (r > 0) {
			u->io.can_read = false;
			ready(u);
		}
		return;
	}
	case UP_IDLE:
		/* it ended, or it speaks without being asked */
		if (u->io.can_read || u->io.hup)
			up_close(u);
		return;
	case UP_BUSY:
		break;
	}
	if (u->io.out.len) {
		io_flush(&u->io);
		/* room again: the client's side may go on */
		if (!io_blocked(&u->io) && u->ex && !u->ex->req.done)
			conn_later(u->ex->conn);
	}
	run_response(u);
}

void upstream_retire(struct upstream *s)
{
	s->gone = true;
	while (s->idle)
		up_close(s->idle);
	for (struct upconn *u = s->all, *next; u; u = next) {
		next = u->next;
		if (u->state == UP_ASKED)
			up_close(u);
	}
	while (s->wait_first) {
		struct exchange *ex = s->wait_first;

		upstream_leave(ex);
		if (ex->run->up_count && !ex->run->gone) {
			if (acquire_from(ex, choose(ex, s)) && ex->up)
				conn_later(ex->conn);
		} else {
			exchange_fail(ex, 502, "no-upstream", "the application has no address here",
			              END_UPSTREAM);
		}
	}
}
