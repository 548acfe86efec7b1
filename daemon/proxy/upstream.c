/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "daemon/proxy/upstream_h2.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- which one ---- */

bool upstream_is_h2(const struct exchange *ex)
{
	return ex->run->up_count && (ex->run->ups[0]->flags & SNAP_UP_H2);
}

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
	size_t first = r->up_count ? r->turn++ % r->up_count : 0, down = 0;

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

		if (health_is_down(s)) {
			down++;
			continue;
		}
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
	if (!best && r->up_count > down) {
		while (health_is_down(r->ups[first]))
			first = (first + 1) % r->up_count;
		best = r->ups[first];
	}
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

/* Each that waits has a connection of its own being opened; of HTTP/2, one for many. */
static bool wants_more(const struct upstream *s)
{
	return s->flags & SNAP_UP_H2 ? up_h2_wants_more(s)
	                             : s->count < UPSTREAM_CONNS && s->count - s->busy - s->idle_count < s->waiting;
}

/*
 * What is in an idle connection now was sent before the request that would take it:
 * it is nobody's answer. The event that says so may be behind that request's in the
 * loop, and an end that is seen here costs no request that cannot be sent twice.
 */
static struct upconn *idle_take(struct upstream *s)
{
	while (s->idle) {
		struct upconn *u = s->idle;

		if (io_is_quiet(&u->io))
			return u;
		up_close(u);
	}
	return NULL;
}

static bool acquire_from(struct exchange *ex, struct upstream *s)
{
	bool h2;

	struct upconn *carrier = NULL;

	if (!s && ex->run->up_count) {
		exchange_fail(ex, 503, "upstream-down", "the application is not well", END_UPSTREAM);
		return false;
	}
	if (!s || s->gone) {
		exchange_fail(ex, 502, "no-upstream", "the application has no address here", END_UPSTREAM);
		return false;
	}
	h2 = s->flags & SNAP_UP_H2;
	if (!s->wait_first && (carrier = h2 ? up_h2_find(s) : idle_take(s))) {
		if (h2)
			up_h2_open(carrier, ex);
		else
			give(carrier, ex);
		return true;
	}
	if (s->waiting >= UPSTREAM_WAITERS) {
		exchange_fail(ex, 503, "upstream-busy", "too many requests wait for the application",
		              END_UPSTREAM);
		return false;
	}
	wait_add(s, ex);
	if (wants_more(s))
		ask(s, ex);
	return true;
}

void upstream_acquire(struct exchange *ex)
{
	acquire_from(ex, choose(ex, NULL));
}

void upstream_kick(struct upstream *s)
{
	while (s->wait_first) {
		bool h2 = s->flags & SNAP_UP_H2;
		struct upconn *carrier = h2 ? up_h2_find(s) : idle_take(s);
		struct exchange *ex = s->wait_first;

		if (!carrier)
			break;
		upstream_leave(ex);
		if (h2)
			up_h2_open(carrier, ex);
		else
			give(carrier, ex);
		conn_later(ex->conn);
	}
	if (s->wait_first && wants_more(s))
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

	if (u->of_h2) {
		up_h2_end(u, false);
		return;
	}
	if (u->state == UP_CLOSED)
		return;
	if (u->state == UP_ASKED)
		unask(u);
	if (u->h2)
		up_h2_free(u);
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
	if (u->of_h2) {
		up_h2_end(u, reuse);
		if (s->wait_first && !s->gone)
			upstream_kick(s);
		return;
	}
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

void upstream_tell(const struct upstream *s, const struct front_upstream *u)
{
	struct front *f = s->run->front;
	struct front_upstream all = *u;

	all.service = span_str(s->run->name);
	all.upstream = span_str(s->name);
	if (f->ops->upstream)
		f->ops->upstream(f->arg, &all);
}

void front_upstreams(const struct front *f)
{
	for (const struct service_run *r = f->runs; r; r = r->next)
		for (size_t i = 0; i < r->up_count; i++) {
			const struct upstream *s = r->ups[i];

			if (health_is_down(s))
				upstream_tell(s, &(struct front_upstream){ .down = true, .why = "its health checks fail" });
			if (resting(s, front_now(f)))
				upstream_tell(s, &(struct front_upstream){ .rest_ns = s->rest_until - front_now(f),
				                                           .why = "it failed several times in a row" });
		}
}

static void note_failure(struct upstream *s)
{
	int64_t now = front_now(s->run->front);

	s->errors++;
	if (++s->fails < UPSTREAM_FAILS)
		return;
	s->rest_until = now + UPSTREAM_REST_NS;
	/* it may fail with every request, and is told of once a second */
	if (now < s->told_until)
		return;
	s->told_until = now + SEC_NS;
	upstream_tell(s, &(struct front_upstream){ .rest_ns = UPSTREAM_REST_NS, .why = "it failed several times in a row" });
}

/* The oldest that waits here tries elsewhere, or is told. */
static void fail_one(struct upstream *s, const char *detail)
{
	struct exchange *ex = s->wait_first;

	upstream_leave(ex);
	if (++ex->tries < UPSTREAM_TRIES && ex->run->up_count > 1) {
		ex->conn->front->stats.retried++;
		if (acquire_from(ex, choose(ex, s)) && ex->up)
			conn_later(ex->conn);
		return;
	}
	exchange_fail(ex, 502, "upstream-connect", detail, END_UPSTREAM);
}

/* A connection could not be opened: it was one waiter's, or with HTTP/2 that of many. */
static void fail_waiter(struct upstream *s, const char *detail)
{
	unsigned n = s->waiting < UPSTREAM_H2_STREAMS ? s->waiting : UPSTREAM_H2_STREAMS;

	if (!(s->flags & SNAP_UP_H2) && n)
		n = 1;
	while (n-- && s->wait_first)
		fail_one(s, detail);
	if ((s->flags & SNAP_UP_H2) && s->wait_first && !s->gone)
		upstream_kick(s);
}

static void on_timer(struct front *f, struct wheel_node *n)
{
	struct upconn *u = (struct upconn *)(void *)((char *)n - offsetof(struct upconn, timer));

	if (u->state == UP_IDLE || (u->h2 && up_h2_is_ready(u) && up_h2_is_idle(u))) {
		up_close(u);
	} else if (u->h2 && up_h2_is_ready(u)) {
		wheel_set(f, n, front_now(f) + UPSTREAM_KEEP_NS);       /* its streams have deadlines of their own */
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

	if ((s->flags & SNAP_UP_H2) && !s->gone) {
		if (u->io.ssl && !tls_is_h2(&u->io)) {
			up_broken(u, "the application does not speak HTTP/2");
			return;
		}
		if (up_h2_begin(u))
			up_h2_run(u);
		else
			up_broken(u, "no HTTP/2 towards the application");
		return;
	}
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
	/* What was said never to have been processed is not even sent twice (RFC 9113 8.7). */
	if (((ex->state == EX_SENT && ex->reused && ex->req.kind == BODY_NONE && !u->io.in.len &&
	      verb_idempotent(ex->verb, ex->method)) || (ex->state <= EX_SENT && u->refused)) &&
	    !ex->sent_body && !ex->interim && !ex->upgrade && ++ex->tries <= UPSTREAM_TRIES) {
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

void up_broken(struct upconn *u, const char *detail)
{
	struct upstream *s = u->upstream;
	bool begun = u->h2 && up_h2_is_ready(u);

	/* one that was ready and is idle may end whenever it likes */
	if (!begun || !up_h2_is_idle(u))
		note_failure(s);
	up_close(u);
	if (!begun)
		fail_waiter(s, detail);
	else if (!s->gone)
		upstream_kick(s);
}

/* ---- events ---- */

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
	case UP_H2:
		if (!io_flush(&u->io))
			up_broken(u, "the application broke off");
		else
			up_h2_run(u);
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
	response_run(u);
}

void upstream_retire(struct upstream *s)
{
	s->gone = true;
	health_free(s);
	while (s->idle)
		up_close(s->idle);
	for (struct upconn *u = s->all, *next; u; u = next) {
		next = u->next;
		if (u->state == UP_ASKED || (u->h2 && up_h2_is_idle(u)))
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
