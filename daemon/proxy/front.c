/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "base/secret.h"
#include "daemon/proxy/h2.h"
#include "daemon/proxy/splice.h"
#include "daemon/proxy/upstream_h2.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- life ---- */

static void on_log_timer(void *arg)
{
	audit_flush(arg);
}

static void on_listen(void *arg, uint32_t events)
{
	conn_accept(arg, events);
}

static void on_accept_timer(void *arg)
{
	struct front *f = arg;

	f->accept_paused = false;
	for (struct listener *l = f->listeners; l; l = l->next)
		loop_watch_add(f->loop, &l->watch, NULL);
}

static void on_drain_timer(void *arg)
{
	struct front *f = arg;

	while (f->conns) {
		if (conn_exchange(f->conns))
			exchange_end(f->conns->ex, END_DRAIN);
		conn_close(f->conns);
	}
	front_gone_check(f);
}

void front_used(struct front *f, uint32_t slot)
{
	uint32_t now = (uint32_t)(loop_now(f->loop).ns / SEC_NS);

	if (!f->ops->used || !f->snap || slot >= snapshot_ident_count(f->snap) ||
	    (f->used[slot] && now - f->used[slot] < FRONT_USED_SEC))
		return;
	f->used[slot] = now ? now : 1;
	f->ops->used(f->arg, slot);
}

/* What is under way is used, too: a download, a WebSocket, a TCP connection. */
static void on_used(void *arg)
{
	struct front *f = arg;

	for (const struct conn *c = f->conns; c; c = c->next)
		if (c->state != CONN_CLOSED && c->ex && c->ex->state != EX_NONE && c->ex->counted && c->slot != SLOT_NONE &&
		    !(c->ex->svc->flags & (SERVICE_PUBLIC | SERVICE_ENROLLED)))
			front_used(f, c->slot);
	loop_timer_after(f->used_timer, FRONT_USED_SEC * SEC_NS);
}

struct front *front_new(struct loop *loop, const struct front_ops *ops, void *arg,
                        const struct front_conf *conf)
{
	struct front *f = mem_alloc(sizeof(*f));
	struct rlimit files;
	size_t pipes, reserve;

	f->loop = loop;
	f->ops = ops;
	f->arg = arg;
	f->name = span_dup(conf->name.len ? conf->name : SPAN("front"));
	f->server = span_dup(conf->server.len ? conf->server : SPAN("reeve"));
	f->log = conf->log;
	f->conn_max = conf->conn_max ? conf->conn_max : FRONT_CONNS;
	f->head_ns = conf->head_ns ? conf->head_ns : FRONT_HEAD_NS;
	f->first_ns = conf->head_ns ? conf->head_ns : FRONT_FIRST_NS;
	f->keep_ns = conf->keep_ns ? conf->keep_ns : FRONT_KEEP_NS;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		files.rlim_cur = 1024;
	/* Two descriptors each: a thirty-second of what there is at most; where that is little, people come first. */
	pipes = files.rlim_cur / 64 < FRONT_PIPES ? (size_t)files.rlim_cur / 64 : FRONT_PIPES;
	if (files.rlim_cur < FRONT_PIPES_FROM)
		pipes = 0;
	pipes_init(f, pipes);
	reserve = FRONT_FDS_RESERVE + 2 * pipes;
	/* each may want a second descriptor, towards the application */
	if (files.rlim_cur > 4 * FRONT_FDS_RESERVE && f->conn_max > (files.rlim_cur - reserve) / 2)
		f->conn_max = (unsigned)((files.rlim_cur - reserve) / 2);
	if (ops->used) {
		f->used_timer = loop_timer_new(loop, on_used, f);
		loop_timer_after(f->used_timer, FRONT_USED_SEC * SEC_NS);
	}
	f->log_timer = loop_timer_new(loop, on_log_timer, f);
	f->drain_timer = loop_timer_new(loop, on_drain_timer, f);
	f->accept_timer = loop_timer_new(loop, on_accept_timer, f);
	buf_init(&f->lines, LOG_BUFFER);
	random_bytes(&f->rid_high, sizeof(f->rid_high));
	random_bytes(&f->cookie, sizeof(f->cookie));
	f->time_sec = -1;
	wheel_init(f);
	return f;
}

static void upstream_free(struct upstream *s)
{
	health_free(s);
	free(s->name);
	free(s->host);
	free(s);
}

void front_free(struct front *f)
{
	if (!f)
		return;
	f->draining = f->drained = true;        /* nobody is told */
	f->later_set = true;                    /* ... nor comes back */
	on_drain_timer(f);
	for (size_t i = 0; i < f->later_count; i++)
		loop_defer_free(f->loop, f->later[i]);
	f->later_count = 0;
	audit_flush(f);
	while (f->listeners)
		front_listener_remove(f, span_str(f->listeners->key));
	while (f->runs) {
		struct service_run *r = f->runs;

		f->runs = r->next;
		for (size_t i = 0; i < r->up_count; i++) {
			while (r->ups[i]->all)
				up_close(r->ups[i]->all);
			upstream_free(r->ups[i]);
		}
		while (r->retired) {
			struct upstream *s = r->retired;

			r->retired = s->next_gone;
			while (s->all)
				up_close(s->all);
			upstream_free(s);
		}
		free(r->ups);
		free(r->name);
		free(r);
	}
	wheel_done(f);
	loop_timer_free(f->log_timer);
	loop_timer_free(f->drain_timer);
	loop_timer_free(f->accept_timer);
	snapshot_unref(f->snap);
	tls_set_free(f->tls);
	while (f->block_count)
		free(f->blocks[--f->block_count]);
	exchanges_free(f);
	buf_done(&f->lines);
	assertions_clear(f);
	basics_free(f);
	pipes_done(f);
	EVP_MD_free(f->sha256);
	EVP_MD_CTX_free(f->sha256_ctx);
	free(f->cookies);
	free(f->gate);
	free(f->h2_tx);
	h2_spare_free(f);
	free(f->later);
	free(f->by_index);
	free(f->busy);
	free(f->open);
	free(f->used);
	loop_timer_free(f->used_timer);
	free(f->name);
	free(f->server);
	loop_defer_free(f->loop, f);
}

/* ---- work that waits for the end of the round ---- */

static void run_later(void *arg)
{
	struct front *f = arg;
	size_t n = f->later_count;

	/* those that come while we work get their turn after one more look at everybody else */
	for (size_t i = 0; i < n; i++) {
		struct conn *c = f->later[i];

		c->queued = false;
		if (c->state == CONN_CLOSED)
			loop_defer_free(f->loop, c);
		else
			conn_run(c);
	}
	if (n)
		memmove(f->later, f->later + n, (f->later_count - n) * sizeof(struct conn *));
	f->later_count -= n;
	up_h2_later(f);
	exchanges_reap(f);
	f->later_set = false;
	if (f->later_count || f->h2_later)
		front_later(f);
}

void front_later(struct front *f)
{
	if (f->later_set)
		return;
	f->later_set = true;
	loop_later(f->loop, run_later, f);
}

/* ---- listeners ---- */

static void listener_find(struct listener *l)
{
	struct front *f = l->front;

	l->snap = f->snap ? snapshot_find_listen(f->snap, span_str(l->key)) : NULL;
}

bool front_listener_add(struct front *f, int fd, struct span key, struct err *err)
{
	struct listener *l = mem_alloc(sizeof(*l));
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ipport at;

	l->front = f;
	l->key = span_dup(key);
	l->refs = 1;
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0 && ipport_from_sockaddr(&ss, &at))
		l->port = at.port;
	/* Exclusive: one front wakes for one caller, and what waits when a front dies is another's. */
	l->watch = (struct loop_watch){ .fn = on_listen, .arg = l, .fd = fd,
		                        .events = EPOLLIN | EPOLLEXCLUSIVE };
	if (!f->accept_paused && !f->draining && !loop_watch_add(f->loop, &l->watch, err)) {
		close(fd);
		free(l->key);
		free(l);
		return false;
	}
	listener_find(l);
	l->next = f->listeners;
	f->listeners = l;
	return true;
}

void front_listener_remove(struct front *f, struct span key)
{
	char *name = span_dup(key);

	for (struct listener **p = &f->listeners; *p;) {
		struct listener *l = *p;

		if (strcmp(l->key, name) != 0) {
			p = &l->next;
			continue;
		}
		*p = l->next;
		loop_watch_remove(f->loop, &l->watch);
		close(l->watch.fd);
		l->gone = true;
		if (--l->refs == 0) {
			free(l->key);
			loop_defer_free(f->loop, l);
		}
	}
	free(name);
}

/* ---- services ---- */

struct service_run *front_run(struct front *f, uint32_t service)
{
	return f->by_index[service];
}

static struct service_run *run_find(struct front *f, struct span name)
{
	struct service_run *r = f->runs;

	while (r && !span_eq(span_str(r->name), name))
		r = r->next;
	if (!r) {
		r = mem_alloc(sizeof(*r));
		r->front = f;
		r->name = span_dup(name);
		r->next = f->runs;
		f->runs = r;
	}
	return r;
}

static void run_upstreams(struct front *f, struct service_run *r, const struct snap_service *v)
{
	struct upstream **was = r->ups;
	size_t was_count = r->up_count;

	r->up_count = v ? v->upstreams.count : 0;
	r->ups = mem_calloc(r->up_count + 1, sizeof(struct upstream *));
	for (size_t i = 0; i < r->up_count; i++) {
		const struct snap_upstream *u = snapshot_upstream(f->snap, v->upstreams, (uint32_t)i);
		struct span name = snapshot_text(f->snap, u->name), host = snapshot_text(f->snap, u->host);

		for (size_t k = 0; k < was_count; k++) {
			if (was[k] && span_eq(span_str(was[k]->name), name) &&
			    span_eq(span_str(was[k]->host), host) && was[k]->flags == u->flags) {
				r->ups[i] = was[k];
				was[k] = NULL;
				break;
			}
		}
		if (!r->ups[i]) {
			r->ups[i] = mem_alloc(sizeof(struct upstream));
			r->ups[i]->run = r;
			r->ups[i]->name = span_dup(name);
			r->ups[i]->host = span_dup(host);
			r->ups[i]->flags = u->flags;
		}
		r->ups[i]->index = u->place;
	}
	for (size_t k = 0; k < was_count; k++) {
		struct upstream *s = was[k];

		if (!s)
			continue;
		upstream_retire(s);
		/* what is open towards it ends with its exchange; the record must outlive that */
		s->run = r;
		if (s->count || s->busy) {
			s->next_gone = r->retired;
			r->retired = s;
		} else {
			upstream_free(s);
		}
	}
	free(was);
}

static void bury(struct service_run *r)
{
	for (struct upstream **p = &r->retired; *p;) {
		struct upstream *s = *p;

		if (s->count || s->busy || s->waiting) {
			p = &s->next_gone;
			continue;
		}
		*p = s->next_gone;
		upstream_free(s);
	}
}

static void services_set(struct front *f)
{
	size_t n = snapshot_service_count(f->snap);

	free(f->by_index);
	f->by_index = mem_calloc(n + 1, sizeof(struct service_run *));
	for (struct service_run *r = f->runs; r; r = r->next) {
		r->gone = true;
		r->index = SERVICE_UNKNOWN;
	}
	for (size_t i = 0; i < n; i++) {
		const struct snap_service *v = snapshot_service(f->snap, (uint32_t)i);
		struct service_run *r = run_find(f, snapshot_text(f->snap, v->name));

		r->gone = false;
		r->index = (uint32_t)i;
		f->by_index[i] = r;
	}
	for (struct service_run *r = f->runs; r; r = r->next) {
		run_upstreams(f, r, snapshot_service(f->snap, r->index));
		for (size_t i = 0; i < r->up_count; i++)
			health_set(r->ups[i], snapshot_service(f->snap, r->index));
		bury(r);
	}
}

/* ---- snapshots and revocation ---- */

/* The same person on the same node: what a connection was accepted for. A session
 * that was renewed in between is no reason to end anything. */
static bool same_identity(const struct snapshot *a, uint32_t slot_a, const struct snapshot *b, uint32_t slot_b)
{
	const struct snap_ident *x = snapshot_ident(a, slot_a), *y = snapshot_ident(b, slot_b);

	if (!x || !y)
		return x == y;
	return x->kind == y->kind && x->why == y->why && x->generation == y->generation &&
	       span_eq(snapshot_text(a, x->node), snapshot_text(b, y->node)) &&
	       span_eq(snapshot_text(a, x->user), snapshot_text(b, y->user)) &&
	       span_eq(snapshot_text(a, x->subject), snapshot_text(b, y->subject)) &&
	       span_eq(snapshot_text(a, x->login), snapshot_text(b, y->login));
}

static void end_conn(struct conn *c, enum ex_end why)
{
	c->front->stats.revoked++;
	if (conn_exchange(c))
		exchange_end(c->ex, why);
	conn_close(c);
}

void front_snapshot_set(struct front *f, struct snapshot *s)
{
	struct snapshot *was = f->snap;

	f->snap = s;
	f->stats.snapshot_seq = snapshot_seq(s);
	for (struct listener *l = f->listeners; l; l = l->next)
		listener_find(l);
	free(f->busy);
	free(f->open);
	free(f->used);
	f->used = mem_calloc(snapshot_ident_count(s) + 1, sizeof(uint32_t));
	f->busy = mem_calloc(snapshot_ident_count(s) + 1, sizeof(uint32_t));
	f->open = mem_calloc(snapshot_ident_count(s) + 1, sizeof(uint32_t));
	for (struct conn *c = f->conns, *next; c; c = next) {
		uint32_t slot = c->slot, generation = c->generation;
		struct exchange *ex = conn_exchange(c);
		enum ex_end why = END_REVOKED;

		next = c->next;
		if (c->state == CONN_CLOSED)    /* a stream, with the connection that carried it */
			continue;
		/* of a listener that was removed: its key may still be known */
		if (c->listener->gone)
			listener_find(c->listener);
		conn_identify(c);
		if (was && (!same_identity(was, slot, s, c->slot) || (generation && !c->generation))) {
			/* for what is open, the slot is the old snapshot's: nothing is counted under it */
			c->slot = SLOT_NONE;
			end_conn(c, why);
			continue;
		}
		if (!c->parent && c->slot != SLOT_NONE)
			f->open[c->slot]++;
		if (ex && ex->counted && c->slot != SLOT_NONE)
			f->busy[c->slot]++;
		if (ex && ex->counted && !request_still_allowed(ex))
			end_conn(c, END_POLICY);
		else if (c->ident_due < c->timer.due || !c->timer.next)
			conn_due(c, c->timer.due);
	}
	/* slots are others now; what waits asks again */
	assertions_clear(f);
	/* last: what waits for an upstream that is gone is answered from the new snapshot */
	services_set(f);
	snapshot_unref(was);
}

void front_sweep(struct front *f)
{
	for (struct conn *c = f->conns, *next; c; c = next) {
		enum ex_end why;

		next = c->next;
		if (c->state != CONN_CLOSED && !conn_check(c, &why))
			end_conn(c, why);
	}
}

void front_connected(struct front *f, uint64_t cookie, int fd, int error)
{
	if (!health_connected(f, cookie, fd))
		up_connected(f, cookie, fd, error);
}

/* ---- draining ---- */

void front_gone_check(struct front *f)
{
	if (!f->draining || f->drained || f->conns)
		return;
	f->drained = true;
	audit_flush(f);
	if (f->ops->drained)
		f->ops->drained(f->arg);
}

void front_drain(struct front *f, struct boot deadline)
{
	f->draining = true;
	for (struct listener *l = f->listeners; l; l = l->next)
		loop_watch_remove(f->loop, &l->watch);
	for (struct conn *c = f->conns, *next; c; c = next) {
		next = c->next;
		if (c->state == CONN_READY && !c->in_head && !c->io.in.len && !io_blocked(&c->io) &&
		    c->requests)
			conn_close(c);
		else if (c->state == CONN_H2)
			h2_drain(c);
	}
	loop_timer_set(f->drain_timer, deadline);
	front_gone_check(f);
}

void front_stats(const struct front *f, struct front_stats *ret)
{
	*ret = f->stats;
	ret->idle_conns = 0;
	for (const struct conn *c = f->conns; c; c = c->next)
		ret->idle_conns += c->state == CONN_READY;
}
