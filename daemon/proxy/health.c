/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Applications are asked from time to time whether they are well, where their
 * service says so: a connection that comes about, and with a path a GET that
 * is answered 200 to 399. Each upstream has one probe, which is an upconn of
 * nobody: it is in no pool, and no request is ever given it.
 */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "daemon/proxy/http_parse.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum probe_state { PROBE_REST = 0, PROBE_ASKED, PROBE_CONNECTING, PROBE_TLS, PROBE_SENT };

struct probe {
	struct upconn     u;                    /* its io, for tls_connect(); state and timer are not used */
	struct wheel_node timer;                /* rest: the next one; else: the deadline of this one */
	enum probe_state  state;
	unsigned          good, bad;            /* in a row */
	bool              down;
	uint64_t          checks, failed;
	struct probe     *next, **link;         /* of front->probes: those that wait for a descriptor */
};

static const struct snap_service *service_of(const struct probe *p)
{
	const struct front *f = p->u.front;

	return f->snap ? snapshot_service(f->snap, p->u.upstream->run->index) : NULL;
}

static void unlink_probe(struct probe *p)
{
	if (!p->link)
		return;
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	p->link = NULL;
}

/* The connection ends; its io lives until the end of the round, when a new probe may begin. */
static void rest(struct probe *p, int64_t due)
{
	struct front *f = p->u.front;

	unlink_probe(p);
	io_close(f, &p->u.io);
	p->state = PROBE_REST;
	wheel_set(f, &p->timer, due);
}

static void result(struct probe *p, bool well, const char *why)
{
	const struct snap_service *v = service_of(p);
	bool was = p->down;

	p->checks++;
	p->failed += !well;
	p->good = well ? p->good + 1 : 0;
	p->bad = well ? 0 : p->bad + 1;
	if (v) {
		if (!p->down && p->bad >= v->health_fall)
			p->down = true;
		else if (p->down && p->good >= v->health_rise)
			p->down = false;
		if (p->down != was) {
			audit_upstream(p->u.upstream, p->down, why);
			upstream_tell(p->u.upstream, &(struct front_upstream){ .down = p->down, .why = why });
		}
	}
	rest(p, front_now(p->u.front) + (v && v->health_ns ? v->health_ns : SEC_NS));
}

/* ---- one check ---- */

static bool ask_path(struct probe *p)
{
	const struct snap_service *v = service_of(p);
	struct front *f = p->u.front;
	struct span path = v ? snapshot_text(f->snap, v->health_path) : (struct span){ 0 }, host;
	struct head_out o = { .ptr = f->tx, .cap = sizeof(f->tx) };
	struct iovec iov;

	if (!path.len) {
		result(p, true, NULL);
		return true;
	}
	host = v->hosts.count ? snapshot_item(f->snap, v->hosts, 0) : snapshot_text(f->snap, v->name);
	head_add_lit(&o, "GET ");
	head_add(&o, path);
	head_add_lit(&o, " HTTP/1.1\r\nHost: ");
	head_add(&o, host);
	head_add_lit(&o, "\r\nUser-Agent: reeve-health\r\nAccept: */*\r\nConnection: close\r\n\r\n");
	iov = (struct iovec){ o.ptr, o.len };
	p->state = PROBE_SENT;
	p->u.scan = (struct http_scan){ 0 };
	p->u.io.can_read = true;
	return !o.over && io_write(&p->u.io, &iov, 1);
}

static void read_answer(struct probe *p)
{
	struct front *f = p->u.front;
	struct message *m = &f->msg;
	struct fault why;
	struct span data;
	size_t used = 0;

	for (;;) {
		enum http_result r = HTTP_MORE;

		switch (io_fill(f, &p->u.io, &data)) {
		case IO_AGAIN:
			return;
		case IO_EOF:
		case IO_FAIL:
			result(p, false, "the application ended the connection without an answer");
			return;
		case IO_DATA:
			break;
		}
		while (data.len) {
			r = http_response_parse(&p->u.scan, data.ptr, data.len, VERB_GET, m, &used, &why);
			if (r != HTTP_DONE || m->status >= 200)
				break;
			p->u.scan = (struct http_scan){ 0 };
			data = span_from(data, used);
		}
		if (r == HTTP_BAD) {
			result(p, false, why.why);
			return;
		}
		if (r == HTTP_DONE && m->status >= 200) {
			bool well = m->status < 400;

			result(p, well, well ? NULL : "the application answers that it is not well");
			return;
		}
		io_keep(&p->u.io, data);
	}
}

static void go_on(struct probe *p)
{
	struct io *io = &p->u.io;
	int e = 0;
	socklen_t len = sizeof(e);

	if (p->state == PROBE_CONNECTING) {
		if (!io->can_write && !io->hup)
			return;
		if (getsockopt(io->watch.fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 || e || io->failed || !io->can_write) {
			result(p, false, "the application cannot be reached");
			return;
		}
		if (p->u.upstream->flags & SNAP_UP_TLS) {
			p->state = PROBE_TLS;
			if (!tls_connect(&p->u)) {
				result(p, false, "no TLS towards the application");
				return;
			}
		} else if (!ask_path(p)) {
			result(p, false, "the application cannot be reached");
			return;
		}
	}
	if (p->state == PROBE_TLS) {
		int r = tls_handshake(io);

		if (r < 0 || (r > 0 && !ask_path(p)))
			result(p, false, "the application's certificate or TLS is not acceptable");
		else if (r == 0)
			return;
	}
	if (p->state == PROBE_SENT) {
		if (io_flush(io))
			read_answer(p);
		else
			result(p, false, "the application broke off");
	}
}

static void on_event(void *arg, uint32_t events)
{
	struct probe *p = arg;

	io_events(&p->u.io, events);
	go_on(p);
}

static void begin(struct probe *p)
{
	const struct snap_service *v = service_of(p);
	struct front *f = p->u.front;
	struct upstream *s = p->u.upstream;
	struct front_connect q;

	if (!v || !v->health_ns) {
		wheel_set(f, &p->timer, front_now(f) + SEC_NS);
		return;
	}
	q = (struct front_connect){ .cookie = ++f->cookie, .table = snapshot_table(f->snap),
		                    .service = s->run->index, .upstream = s->index };
	p->u.io = (struct io){ .watch.fd = -1 };
	p->u.cookie = q.cookie;
	p->state = PROBE_ASKED;
	p->next = f->probes;
	p->link = &f->probes;
	if (p->next)
		p->next->link = &p->next;
	f->probes = p;
	wheel_set(f, &p->timer, front_now(f) + v->health_timeout_ns);
	f->ops->connect(f->arg, &q);
}

bool health_connected(struct front *f, uint64_t cookie, int fd)
{
	struct probe *p = f->probes;

	while (p && p->u.cookie != cookie)
		p = p->next;
	if (!p)
		return false;
	unlink_probe(p);
	p->state = PROBE_CONNECTING;
	if (fd < 0 || !io_start(f, &p->u.io, fd, on_event, p)) {
		if (fd >= 0)
			close(fd);
		result(p, false, "the application cannot be reached");
		return true;
	}
	p->u.io.can_write = false;      /* EPOLLOUT tells when it is connected */
	return true;
}

static void on_timer(struct front *f, struct wheel_node *n)
{
	struct probe *p = container_of(n, struct probe, timer);

	(void)f;
	if (p->state == PROBE_REST)
		begin(p);
	else
		result(p, false, "the application does not answer");
}

/* ---- an upstream's life ---- */

void health_set(struct upstream *s, const struct snap_service *v)
{
	struct front *f = s->run->front;
	struct probe *p = s->probe;

	if (!v || !v->health_ns || s->gone) {
		health_free(s);
		return;
	}
	if (p) {
		if (p->state == PROBE_REST && p->timer.due > front_now(f) + v->health_ns) {
			wheel_remove(f, &p->timer);
			wheel_set(f, &p->timer, front_now(f) + v->health_ns);
		}
		return;
	}
	p = s->probe = mem_alloc(sizeof(*p));
	p->u.front = f;
	p->u.upstream = s;
	p->u.io.watch.fd = -1;
	p->timer.fire = on_timer;
	wheel_set(f, &p->timer, front_now(f) + FRONT_TICK_NS);
}

void health_free(struct upstream *s)
{
	struct probe *p = s->probe;

	if (!p)
		return;
	s->probe = NULL;
	if (p->down)
		upstream_tell(s, &(struct front_upstream){ 0 });
	unlink_probe(p);
	wheel_remove(p->u.front, &p->timer);
	io_close(p->u.front, &p->u.io);
	loop_defer_free(p->u.front->loop, p);
}

bool health_is_down(const struct upstream *s)
{
	return s->probe && s->probe->down;
}

void health_counts(const struct upstream *s, uint64_t *ret_checks, uint64_t *ret_failed)
{
	*ret_checks = s->probe ? s->probe->checks : 0;
	*ret_failed = s->probe ? s->probe->failed : 0;
}
