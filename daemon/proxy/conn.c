/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "daemon/proxy/h2.h"
#include "daemon/proxy/http_parse.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_timer(struct front *f, struct wheel_node *n);

void conn_due(struct conn *c, int64_t due)
{
	wheel_set(c->front, &c->timer, due < c->ident_due ? due : c->ident_due);
}

void conn_identify(struct conn *c)
{
	const struct snapshot *s = c->front->snap;
	const struct snap_ident *d;
	int64_t lease;

	c->slot = !s ? SLOT_NONE : c->browser ? browser_slot(c) : snapshot_find_addr(s, &c->peer);
	d = s ? snapshot_ident(s, c->slot) : NULL;
	c->generation = 0;
	c->ident_due = INT64_MAX;
	if (!d || !snapshot_valid(s, c->slot, loop_now(c->front->loop)))
		return; /* pages tell why; nothing can be revoked */
	c->generation = d->generation;
	lease = snapshot_lease(s).ns;
	c->ident_due = d->expires_boot < lease ? d->expires_boot : lease;
}

bool conn_check(struct conn *c, enum ex_end *ret_end)
{
	const struct snapshot *s = c->front->snap;

	if (!c->generation || (s && snapshot_valid(s, c->slot, loop_now(c->front->loop))))
		return true;
	*ret_end = s && snapshot_revoked(s, c->slot) ? END_REVOKED : END_EXPIRED;
	return false;
}

static void on_event(void *arg, uint32_t events)
{
	struct conn *c = arg;

	io_events(&c->io, events);
	conn_run(c);
}

static void listener_unref(struct listener *l)
{
	if (--l->refs)
		return;
	free(l->key);
	loop_defer_free(l->front->loop, l);
}

static void conn_new(struct listener *l, int fd, const struct sockaddr_storage *ss)
{
	struct front *f = l->front;
	struct conn *c = mem_alloc(sizeof(*c));
	struct ipport at = { 0 };
	int one = 1;

	c->front = f;
	c->listener = l;
	l->refs++;
	if (ipport_from_sockaddr(ss, &at)) {
		c->peer = at.ip;
		c->peer_port = at.port;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	c->timer.fire = on_timer;
	c->next = f->conns;
	if (f->conns)
		f->conns->prev = c;
	f->conns = c;
	f->stats.conns++;
	f->stats.accepted++;
	conn_identify(c);
	c->state = CONN_READY;
	c->tls = l->snap && l->snap->tls;
	if (c->slot != SLOT_NONE && ++f->open[c->slot] > FRONT_CONNS_IDENT) {
		f->stats.refused_conns++;
		close(fd);
		conn_close(c);
		return;
	}
	if (!io_start(f, &c->io, fd, on_event, c)) {
		close(fd);
		conn_close(c);
		return;
	}
	if (c->tls) {
		c->state = CONN_TLS;
		if (!tls_accept(c)) {
			conn_close(c);
			return;
		}
	}
	conn_due(c, front_now(f) + f->first_ns);
	/* Clients speak first: often it is already here. */
	c->io.can_read = true;
	conn_run(c);
}

struct conn *conn_stream(struct conn *p)
{
	struct front *f = p->front;
	struct conn *c = mem_alloc(sizeof(*c));

	c->front = f;
	c->parent = p;
	c->listener = p->listener;
	c->listener->refs++;
	c->peer = p->peer;
	c->peer_port = p->peer_port;
	c->slot = p->slot;
	c->generation = p->generation;
	c->ident_due = p->ident_due;
	c->tls = p->tls;
	c->state = CONN_READY;
	c->io.watch.fd = -1;
	c->io.stream = IO_STREAM;
	c->timer.fire = on_timer;
	c->next = f->conns;
	if (f->conns)
		f->conns->prev = c;
	f->conns = c;
	f->stats.conns++;
	conn_due(c, front_now(f) + f->head_ns);
	return c;
}

void conn_accept(struct listener *l, uint32_t events)
{
	struct front *f = l->front;

	(void)events;
	for (int i = 0; i < FRONT_ACCEPT_ROUND && !l->gone; i++) {
		struct sockaddr_storage ss = { 0 };
		socklen_t len = sizeof(ss);
		int fd;

		/* At the limit connections wait in the backlog: nobody here is hurt. */
		if (f->stats.conns >= f->conn_max || f->accept_paused)
			break;
		fd = accept4(l->watch.fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno != EAGAIN)
				f->stats.refused_conns++;
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				f->accept_paused = true;
			break;
		}
		conn_new(l, fd, &ss);
	}
	if ((f->accept_paused || f->stats.conns >= f->conn_max) && !f->draining) {
		/* level-triggered: look away for a tick */
		f->accept_paused = true;
		for (struct listener *x = f->listeners; x; x = x->next)
			loop_watch_remove(f->loop, &x->watch);
		loop_timer_after(f->accept_timer, FRONT_TICK_NS);
	}
}

void conn_close(struct conn *c)
{
	struct front *f = c->front;

	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_UPGRADED)
		f->stats.upgrades--;
	c->state = CONN_CLOSED;
	if (c->waits)
		assertion_leave(c);
	if (conn_exchange(c))
		exchange_end(c->ex, END_CLIENT);
	browser_free(c);
	if (c->h2)
		h2_free(c);
	if (c->stream)
		h2_gone(c);
	wheel_remove(f, &c->timer);
	io_close(f, &c->io);
	if (c->prev)
		c->prev->next = c->next;
	else
		f->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	f->stats.conns--;
	if (!c->parent && f->snap && c->slot < snapshot_ident_count(f->snap) && f->open[c->slot])
		f->open[c->slot]--;
	listener_unref(c->listener);
	/* one that waits for the end of a round is freed there: the queue still names it */
	if (!c->queued)
		loop_defer_free(f->loop, c);
	front_gone_check(f);
}

/* What a refused sender still sends is read for a while, or a reset would
 * destroy our answer on its way (RFC 9112 9.6). */
void conn_linger(struct conn *c)
{
	struct front *f = c->front;

	c->closing = true;
	if (c->parent) {
		conn_close(c);
		return;
	}
	if (c->state == CONN_CLOSED || io_blocked(&c->io))
		return; /* conn_run() comes back here once it is written */
	if (c->state != CONN_LINGER) {
		if (c->io.ssl || c->io.eof || c->io.failed) {
			conn_close(c);
			return;
		}
		c->state = CONN_LINGER;
		shutdown(c->io.watch.fd, SHUT_WR);
		queue_free(&c->io.in);
		conn_due(c, front_now(f) + FRONT_LINGER_NS);
	}
	for (;;) {
		struct span data;
		enum io_result r = io_fill(f, &c->io, &data);

		if (r == IO_AGAIN)
			return;
		c->surplus += (uint32_t)data.len;
		if (r != IO_DATA || c->surplus > FRONT_SURPLUS_MAX) {
			conn_close(c);
			return;
		}
	}
}

void conn_later(struct conn *c)
{
	struct front *f = c->front;

	if (c->queued || c->state == CONN_CLOSED)
		return;
	c->queued = true;
	if (f->later_count == f->later_cap) {
		f->later_cap = f->later_cap ? f->later_cap * 2 : 64;
		f->later = mem_realloc(f->later, f->later_cap, sizeof(struct conn *));
	}
	f->later[f->later_count++] = c;
	front_later(f);
}

static void bad_request(struct conn *c, const struct fault *why)
{
	c->front->stats.bad++;
	audit_bad(c, why);
	page_plain(c, why);
	conn_linger(c);
}

static void h2_start(struct conn *c)
{
	if (h2_begin(c))
		h2_run(c);
	else
		conn_close(c);
}

/* Prior knowledge (RFC 9113 3.3): 1: the preface is here, -1: it may become one. */
static int h2_prefix(const struct conn *c, struct span data)
{
	struct span want = H2_PREFACE;

	if (c->requests || c->parent || data.len < 4 || memcmp(data.ptr, "PRI ", 4) != 0)
		return 0;
	if (data.len >= want.len)
		return span_starts(data, want);
	return span_starts(want, data) ? -1 : 0;
}

/* A response is through: what follows on this connection? */
static void run_ready(struct conn *c)
{
	struct front *f = c->front;
	struct fault why;
	uint32_t service;

	if (c->waits || browser_waits(c)) {
		if (c->io.failed)
			conn_close(c);
		return;
	}
	if (!c->requests && tcp_service(c, &service)) {
		tcp_begin(c);
		if (c->state == CONN_BUSY && c->ex->up)
			tcp_start(c);
		return;
	}

	while (c->state == CONN_READY && !io_blocked(&c->io)) {
		struct span data = queue_span(&c->io.in);
		enum http_result r = HTTP_MORE;
		size_t used = 0;

		if (c->closing || (f->draining && !data.len)) {
			if (!data.len && !c->io.can_read && !c->owed)
				conn_close(c);
			else
				conn_linger(c);
			return;
		}
		if (h2_prefix(c, data) > 0) {
			h2_start(c);
			return;
		}
		if (h2_prefix(c, data) == 0 && (data.len > c->scan.pos || (data.len && !c->in_head)))
			r = http_request_parse(&c->scan, data.ptr, data.len, &f->msg, &used, &why);
		if (r == HTTP_MORE) {
			switch (io_fill(f, &c->io, &data)) {
			case IO_AGAIN:
				return;
			case IO_EOF:
			case IO_FAIL:
				conn_close(c);
				return;
			case IO_DATA:
				break;
			}
			if (h2_prefix(c, data) > 0) {
				if (c->io.in.len == 0)
					io_keep(&c->io, data);
				h2_start(c);
				return;
			}
			if (h2_prefix(c, data) == 0)
				r = http_request_parse(&c->scan, data.ptr, data.len, &f->msg, &used, &why);
		}
		if (r == HTTP_BAD) {
			bad_request(c, &why);
			return;
		}
		if (r == HTTP_MORE) {
			if (c->io.in.len == 0)
				io_keep(&c->io, data);
			if (!c->in_head) {
				c->in_head = true;
				conn_due(c, front_now(f) + f->head_ns);
			}
			continue;
		}
		c->in_head = false;
		c->scan = (struct http_scan){ 0 };
		c->state = CONN_BUSY;
		c->requests++;
		if (!request_begin(c)) {
			io_keep(&c->io, data);
			return;
		}
		data = span_from(data, used);
		if (c->state == CONN_BUSY && c->ex && c->ex->up && c->ex->state == EX_WAIT)
			data = relay_request(c->ex, data);
		if (c->state == CONN_CLOSED)
			return;
		io_keep(&c->io, data);
		if (!c->ex && c->state == CONN_BUSY)
			c->state = CONN_READY;
	}
}

static void run_busy(struct conn *c)
{
	struct exchange *ex = c->ex;
	struct front *f = c->front;
	size_t moved = 0;
	bool stuck = false;

	/* gone for good, not just silent: nobody is left to answer */
	if (c->io.failed) {
		conn_close(c);
		return;
	}
	if (ex->tcp) {
		if (ex->up)
			tcp_start(c);
		return;
	}
	if (ex->up && ex->state == EX_WAIT && ex->up->refused) {
		up_failed(ex->up, "the application broke off");
		return;
	}
	if (ex->up && ex->state == EX_WAIT) {
		struct span data = relay_request(ex, queue_span(&c->io.in));

		if (c->state == CONN_CLOSED)
			return;
		io_keep(&c->io, data);
	}
	while (c->state == CONN_BUSY && ex->up && !ex->req.done && ex->state >= EX_SENT &&
	       !io_blocked(&ex->up->io)) {
		struct span data = queue_span(&c->io.in);
		size_t before;

		if (!data.len || stuck) {
			enum io_result r = io_fill(f, &c->io, &data);

			if (r == IO_AGAIN)
				break;
			if (r != IO_DATA) {
				conn_close(c);
				return;
			}
		}
		moved += data.len;
		before = data.len;
		data = relay_request(ex, data);
		if (c->state == CONN_CLOSED)
			return;
		io_keep(&c->io, data);
		stuck = data.len == before;     /* part of a trailer: only more helps */
		if (moved > FRONT_ROUND_MAX) {
			conn_later(c);
			break;
		}
	}
	if (c->state == CONN_BUSY && ex->up && !io_blocked(&c->io))
		up_run(ex->up);
}

void conn_run(struct conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_TLS) {
		int r = tls_handshake(&c->io);

		if (r < 0)
			conn_close(c);
		if (r <= 0)
			return;
		c->state = CONN_READY;
		if (tls_is_h2(&c->io) && !h2_begin(c)) {
			conn_close(c);
			return;
		}
	}
	if (!io_flush(&c->io)) {
		conn_close(c);
		return;
	}
	if (c->state == CONN_BUSY)
		run_busy(c);
	if (c->state == CONN_READY) {
		run_ready(c);
		/* a body that filled the receive buffer rings no more */
		if (c->state == CONN_BUSY && !c->ex->req.done)
			run_busy(c);
	}
	if (c->state == CONN_UPGRADED)
		relay_upgrade(c);
	if (c->state == CONN_H2)
		h2_run(c);
	if (c->state == CONN_LINGER)
		conn_linger(c);
}

/* Somebody who takes what is written, but slowly, is not silent: of 256 KiB that we hold and what
 * the kernel holds for a thin line nothing may fit for a minute. The first look only remembers. */
static bool crawls(struct conn *c, const struct exchange *ex)
{
	uint32_t taken = io_taken(&c->io) + (ex && ex->up ? io_taken(&ex->up->io) : 0);

	if (taken == c->taken)
		return false;
	c->taken = taken;
	return taken != 0;
}

static void on_timer(struct front *f, struct wheel_node *n)
{
	struct conn *c = (struct conn *)(void *)((char *)n - offsetof(struct conn, timer));
	struct exchange *ex = conn_exchange(c);
	int64_t now = front_now(f);
	enum ex_end why = END_TIMEOUT;

	if (now >= c->ident_due) {
		f->stats.revoked++;
		if (ex)
			exchange_end(ex, conn_check(c, &why) ? END_EXPIRED : why);
		conn_close(c);
		return;
	}
	if (c->waits) {
		assertion_leave(c);
		c->waited = true;
		conn_run(c);
		return;
	}
	if (browser_waits(c)) {
		browser_late(c);
		conn_run(c);
		return;
	}
	if (c->h2 && h2_busy(c)) {
		if (h2_tick(c))
			conn_due(c, now + f->keep_ns);       /* its streams have deadlines of their own */
		return;
	}
	if (c->state != CONN_LINGER && (!ex || now < ex->due_total) && crawls(c, ex)) {
		int64_t due = now + (ex ? ex->svc->idle_ns : f->keep_ns);

		conn_due(c, ex && ex->due_total < due ? ex->due_total : due);
		return;
	}
	if (!ex || c->state == CONN_LINGER) {
		if (c->in_head && c->state == CONN_READY && !io_blocked(&c->io)) {
			struct fault late = { 408, "the request did not come in time" };

			c->in_head = false;
			bad_request(c, &late);
			return;
		}
		conn_close(c);
		return;
	}
	switch (ex->state) {
	case EX_WAIT:
		exchange_fail(ex, 504, "upstream-connect", "the application does not answer", END_TIMEOUT);
		return;
	case EX_SENT:
		if (!ex->req.done && !io_blocked(&ex->up->io)) {
			exchange_fail(ex, 408, "body-timeout", "the request did not come in time", END_TIMEOUT);
			return;
		}
		exchange_fail(ex, 504, "upstream-silent", "the application does not answer", END_TIMEOUT);
		return;
	default:
		exchange_end(ex, END_TIMEOUT);
		conn_close(c);
		return;
	}
}
