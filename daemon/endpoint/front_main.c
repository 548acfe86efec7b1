/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/front_main.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/channel.h"
#include "daemon/endpoint/conf_stage.h"
#include "daemon/endpoint/metrics.h"
#include "daemon/endpoint/privilege.h"
#include "daemon/endpoint/probe.h"
#include "daemon/proxy/front.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	HELD_MAX = 4 << 20,             /* log lines that wait for core's next life */
	ASKED_MAX = 1 << 16,            /* upstream connections that net was asked for */
	LEAVE_POLL_MS = 10,             /* at the end: whether core has taken the last lines */
	LEAVE_SEC = 2,
};

/* One listening socket of a set. */
struct socket {
	char *key;
	int   fd;
};

struct sockets {
	struct socket *list;
	size_t         n;
	uint32_t       conf;
	bool           whole;           /* the set's last message is here */
};

struct front_process {
	struct loop         *loop;
	enum process_kind    kind;
	uint16_t             index;
	char                 name[24];
	struct channel      *parent, *core, *net;
	struct conf_stage    stage;
	struct front        *engine;
	struct sockets       coming;    /* waits for a snapshot that knows its keys */
	char               **keys;      /* what the engine listens at */
	size_t               key_count;
	uint64_t             snapshot;  /* generation; 0: none yet */
	uint32_t             snapshot_conf;
	bool                 ready;     /* said so, for the configuration in use */
	struct buf           held;      /* lines that core has not taken */
	struct loop_timer   *leave;     /* drained: waits for core to take the last lines */
	struct boot          leave_by;
	uint64_t             lost;      /* lines that nobody will see, and core does not know of */
	struct msg_connect  *asked;     /* what net has not answered, for its next life */
	size_t               asked_n, asked_cap;
	int                  status;
};

static void stop(struct front_process *p, int status)
{
	p->status = status;
	loop_stop(p->loop);
}

static bool tell(struct front_process *p, struct channel *to, const struct msg *m)
{
	struct err err = { 0 };

	(void)p;
	if (!to)
		return false;
	if (!channel_send(to, m, NULL, 0, &err)) {
		log_debug("%s: %s", msg_name(m->type), err.msg);
		return false;
	}
	return true;
}

/* ---- the log ---- */

static bool send_lines(struct front_process *p, struct span lines)
{
	struct msg m = { .type = MSG_AUDIT, .audit = { lines } };

	return tell(p, p->core, &m);
}

/* What was held back, in messages of whole lines. */
static void flush_log(struct front_process *p)
{
	while (p->held.len) {
		struct span some = span_head(buf_span(&p->held), MSG_AUDIT_MAX);

		if (some.len < p->held.len)
			while (some.len && some.ptr[some.len - 1] != '\n')
				some.len--;
		if (!send_lines(p, some))
			return;
		buf_drop(&p->held, some.len);
	}
	if (p->lost) {
		struct msg m = { .type = MSG_AUDIT_LOST, .audit_lost = { p->lost } };

		if (tell(p, p->core, &m))
			p->lost = 0;
	}
}

static bool on_log(void *arg, struct span lines, unsigned records)
{
	struct front_process *p = arg;

	if (p->held.len)
		flush_log(p);
	if (p->held.len == 0 && send_lines(p, lines))
		return true;
	if (p->held.len + lines.len > HELD_MAX) {
		p->lost += records;
		return false;
	}
	buf_add_span(&p->held, lines);
	return true;
}

/* A core that is away is told all when it is back. */
static void on_upstream(void *arg, const struct front_upstream *u)
{
	struct front_process *p = arg;
	struct msg m = { .type = MSG_UPSTREAM,
		         .upstream = { u->service, u->upstream, u->down, (uint32_t)(u->rest_ns / (SEC_NS / 1000)),
			               span_head(span_str(u->why), MSG_NAME_MAX) } };

	tell(p, p->core, &m);
}

/* ---- upstream connections ---- */

static bool ask_net(struct front_process *p, const struct msg_connect *ask)
{
	struct msg m = { .type = MSG_CONNECT, .connect = *ask };

	return tell(p, p->net, &m);
}

static void on_connect(void *arg, const struct front_connect *ask)
{
	struct front_process *p = arg;
	struct msg_connect c = { ask->cookie, (uint32_t)ask->table, ask->service, ask->upstream };

	if (p->asked_n == p->asked_cap) {
		p->asked_cap = p->asked_cap ? p->asked_cap * 2 : 64;
		p->asked = mem_realloc(p->asked, p->asked_cap, sizeof(*p->asked));
	}
	p->asked[p->asked_n++] = c;
	if (p->asked_n > ASKED_MAX) { /* the oldest have met the engine's deadline long ago */
		p->asked_n -= ASKED_MAX / 2;
		memmove(p->asked, p->asked + ASKED_MAX / 2, p->asked_n * sizeof(*p->asked));
	}
	/* With net away the question waits for its next life, or for the engine's deadline. */
	ask_net(p, &c);
}

static void forget_asked(struct front_process *p, uint64_t id)
{
	for (size_t i = 0; i < p->asked_n; i++) {
		if (p->asked[i].id == id) {
			p->asked[i] = p->asked[--p->asked_n];
			return;
		}
	}
}

static void on_assertion(void *arg, const struct front_assert *ask)
{
	struct front_process *p = arg;
	struct msg m = {.type = MSG_ASSERT,
			.assert_ = {ask->cookie, p->snapshot, ask->slot, ask->service, ask->method, ask->path}};

	/* With core away the engine asks again. */
	tell(p, p->core, &m);
}

static void on_browser(void *arg, const struct front_browser *ask)
{
	struct front_process *p = arg;
	struct msg m = { .type = MSG_BROWSER,
			 .browser = { ask->id, p->snapshot, ask->what, ask->service, ask->slot, ask->code,
				      ask->verifier } };

	if (!tell(p, p->core, &m) && ask->what != BROWSER_END)
		front_browser_answer(p->engine, ask->id, BROWSER_REFUSED, (struct span){ 0 });
}

static void on_used(void *arg, uint32_t slot)
{
	struct front_process *p = arg;
	struct msg m = { .type = MSG_USED, .used = { p->snapshot, slot } };

	tell(p, p->core, &m);
}

/* The last requests are the ones that somebody will ask about. */
static void on_leave(void *arg)
{
	struct front_process *p = arg;
	bool told = p->core && p->held.len == 0 && channel_waiting(p->core) == 0;

	flush_log(p);
	if (told || boot_passed(p->leave_by, loop_now(p->loop)))
		stop(p, EXIT_SUCCESS);
	else
		loop_timer_after(p->leave, LEAVE_POLL_MS * (SEC_NS / 1000));
}

static void on_drained(void *arg)
{
	struct front_process *p = arg;

	p->leave_by = boot_add(loop_now(p->loop), LEAVE_SEC * SEC_NS);
	on_leave(p);
}

/* ---- listening sockets ---- */

static void sockets_done(struct sockets *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->list[i].fd >= 0)
			close(s->list[i].fd);
		free(s->list[i].key);
	}
	free(s->list);
	*s = (struct sockets){ 0 };
}

static bool is_wanted(const struct sockets *s, const char *key)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->list[i].key, key) == 0)
			return true;
	return false;
}

static bool has_key(const struct front_process *p, const char *key)
{
	for (size_t i = 0; i < p->key_count; i++)
		if (strcmp(p->keys[i], key) == 0)
			return true;
	return false;
}

static void check_ready(struct front_process *p)
{
	struct msg m = { .type = MSG_READY, .conf = { .generation = p->stage.now_number } };

	if (p->ready || !p->stage.now || p->coming.list || p->snapshot_conf != p->stage.now_number)
		return;
	p->ready = tell(p, p->parent, &m);
}

/*
 * The set replaces what there is, once a snapshot of its configuration says
 * which services answer there; until then callers wait in the accept queue.
 * A key's sockets are all replaced: the new ones are the same sockets, or
 * what takes their place, and connections stay.
 */
static void take_sockets(struct front_process *p)
{
	struct sockets *s = &p->coming;

	if (!s->whole || !p->engine || p->snapshot == 0 || p->snapshot_conf < s->conf)
		return;
	for (size_t i = 0; i < p->key_count; i++)
		front_listener_remove(p->engine, span_str(p->keys[i]));
	for (size_t i = 0; i < p->key_count; i++) {
		if (!is_wanted(s, p->keys[i]))
			log_info("no longer listening at %s", p->keys[i]);
		free(p->keys[i]);
	}
	p->key_count = 0;
	p->keys = mem_realloc(p->keys, s->n, sizeof(*p->keys));
	for (size_t i = 0; i < s->n; i++) {
		struct err err = { 0 };

		if (!front_listener_add(p->engine, take_fd(&s->list[i].fd),
					span_str(s->list[i].key), &err)) {
			log_error("listening at %s: %s", s->list[i].key, err.msg);
			continue;
		}
		if (!has_key(p, s->list[i].key))
			p->keys[p->key_count++] = take(s->list[i].key);
	}
	sockets_done(s);
	check_ready(p);
}

static void on_listen(struct front_process *p, const struct msg_listen *m, int *fds)
{
	struct sockets *s = &p->coming;

	if (m->first) {
		sockets_done(s);
		s->conf = m->conf;
		s->list = mem_calloc(1, sizeof(*s->list));
	}
	if (!s->list)
		return;         /* its beginning was for an earlier life of this channel */
	s->list = mem_realloc(s->list, s->n + m->n + 1, sizeof(*s->list));
	for (size_t i = 0; i < m->n; i++)
		s->list[s->n++] = (struct socket){ span_dup(m->list[i].key), take_fd(&fds[i]) };
	s->whole = m->last;
	take_sockets(p);
}

/* ---- net ---- */

static void on_net(void *arg, const struct msg *m, int *fds, size_t fd_count)
{
	struct front_process *p = arg;

	switch (m->type) {
	case MSG_LISTEN:
		on_listen(p, &m->listen, fds);
		break;
	case MSG_CONNECTED:
		forget_asked(p, m->connected.id);
		if (p->engine)
			front_connected(p->engine, m->connected.id,
					fd_count ? take_fd(&fds[0]) : -1, (int)m->connected.error);
		break;
	default:
		break;
	}
}

static void on_net_gone(void *arg, const struct err *why)
{
	struct front_process *p = arg;

	log_warn("%s; serving on with what is open", why->msg);
	channel_free(take(p->net));
	if (!p->coming.whole)
		sockets_done(&p->coming);
}

static void new_net(struct front_process *p, int fd)
{
	size_t n = p->asked_n;

	channel_free(p->net);
	p->net = channel_new(p->loop, fd, p->kind, PROCESS_NET, on_net, on_net_gone, p);
	for (size_t i = 0; i < n; i++)
		ask_net(p, &p->asked[i]);
}

/* ---- core ---- */

static void on_snapshot(struct front_process *p, const struct msg_snapshot *m, const int *fds)
{
	struct msg done = {.type = MSG_SNAPSHOT_DONE,
			   .snapshot_done = {.generation = m->generation}};
	struct err err = { 0 };
	struct snapshot *s = snapshot_open(fds[0], fds[1], &err);

	if (s) {
		front_snapshot_set(p->engine, s);
		p->snapshot = m->generation;
		p->snapshot_conf = m->conf;
		done.snapshot_done.ok = true;
		take_sockets(p);
		check_ready(p);
	} else {
		log_error("snapshot %llu: %s; serving on from the last one",
		          (unsigned long long)m->generation, err.msg);
		done.snapshot_done.text = span_str(err.msg);
	}
	tell(p, p->core, &done);
}

static void on_tls(struct front_process *p, const struct msg_tls *m)
{
	struct err err = { 0 };

	if (m->first)
		front_tls_begin(p->engine);
	if (!front_tls_add(p->engine, m->certificate, m->key, &err) ||
	    (m->last && !front_tls_commit(p->engine, &err)))
		log_error("TLS: %s", err.msg);
}

static void on_basic(struct front_process *p, const struct msg_basic *m)
{
	if (m->first)
		front_basic_begin(p->engine);
	if (m->service.len)
		front_basic_add(p->engine, m->service, m->secret);
	if (m->last)
		front_basic_commit(p->engine);
}

static void on_roots(struct front_process *p, int fd)
{
	struct err err = { 0 };
	struct buf pem;

	buf_init(&pem, MSG_ROOTS_MAX);
	if (!msg_memfd_read(fd, MSG_ROOTS_MAX, &pem, &err) ||
	    !front_tls_roots(p->engine, buf_span(&pem), &err))
		log_error("upstream roots: %s", err.msg);
	buf_done(&pem);
}

static void on_metrics(struct front_process *p, uint64_t id)
{
	struct msg m = { .type = MSG_METRICS, .metrics = { .id = id } };
	struct span rest;
	struct buf b;

	buf_init(&b, METRICS_FRONT_MAX);
	front_metrics(p->engine, &b);
	rest = b.over ? (struct span){ 0 } : buf_span(&b);
	do {
		m.metrics.text = span_head(rest, MSG_METRICS_MAX);
		rest = span_from(rest, m.metrics.text.len);
		m.metrics.last = rest.len == 0;
	} while (tell(p, p->core, &m) && rest.len);
	buf_done(&b);
}

static void on_core(void *arg, const struct msg *m, int *fds, size_t fd_count)
{
	struct front_process *p = arg;
	struct err err = { 0 };

	(void)fd_count;
	if (!p->engine)
		return;         /* the parent's CONF comes first, or this process is not set up */
	switch (m->type) {
	case MSG_SNAPSHOT:
		on_snapshot(p, &m->snapshot, fds);
		break;
	case MSG_SWEEP:
		front_sweep(p->engine);
		break;
	case MSG_ASSERTED:
		front_assertion(p->engine, m->asserted.id, m->asserted.text,
		                (struct wall){ m->asserted.expires });
		break;
	case MSG_METRICS_ASK:
		on_metrics(p, m->metrics_ask.id);
		break;
	case MSG_BROWSED:
		front_browser_answer(p->engine, m->browsed.id,
		                     m->browsed.what < BROWSER_ANSWERS ? (enum browser_answer)m->browsed.what
		                                                       : BROWSER_REFUSED,
		                     m->browsed.text);
		break;
	case MSG_TLS:
		on_tls(p, &m->tls);
		break;
	case MSG_BASIC:
		on_basic(p, &m->basic);
		break;
	case MSG_TLS_TICKETS:
		if (!front_tls_tickets(p->engine, m->tickets.keys, &err))
			log_error("TLS tickets: %s", err.msg);
		break;
	case MSG_TLS_ROOTS:
		on_roots(p, fds[0]);
		break;
	default:
		break;
	}
}

static void on_core_gone(void *arg, const struct err *why)
{
	struct front_process *p = arg;

	log_warn("%s; serving on from the last snapshot", why->msg);
	channel_free(take(p->core));
}

/* ---- parent ---- */

static void make_engine(struct front_process *p)
{
	static const struct front_ops ops = {
		.connect = on_connect,
		.assertion = on_assertion,
		.browser = on_browser,
		.used = on_used,
		.log = on_log,
		.upstream = on_upstream,
		.drained = on_drained,
	};
	const struct conf *conf = p->stage.next;
	struct front_conf fc = {
		.name = span_str(p->name),
		.log = (enum front_log)conf->access_log,
		.conn_max = (unsigned)conf->conn_max,
		.head_ns = conf->header_sec * SEC_NS,
		.keep_ns = conf->keep_alive_sec * SEC_NS,
	};

	p->engine = front_new(p->loop, &ops, p, &fc);
}

static bool prepare(struct front_process *p, const struct msg_conf *m, int fd, struct err *err)
{
	if (!conf_stage_prepare(&p->stage, m, fd, err))
		return false;
	if (p->engine)
		return true;
	/* Whatever its libraries want to read from files, they read now. */
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_ADD_ALL_CIPHERS |
	                    OPENSSL_INIT_ADD_ALL_DIGESTS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
	make_engine(p);
	return privilege_front(err);
}

static void on_conf(struct front_process *p, const struct msg_conf *m, int fd)
{
	struct err err = { 0 };
	struct msg answer = { .type = MSG_CONF_DONE, .conf_done = { .generation = m->generation } };

	answer.conf_done.ok = prepare(p, m, fd, &err);
	answer.conf_done.text = span_str(err.msg);
	tell(p, p->parent, &answer);
}

static void on_neighbour(struct front_process *p, const struct msg_neighbour *m, int *fd)
{
	if (m->kind == PROCESS_NET) {
		new_net(p, take_fd(fd));
	} else if (m->kind == PROCESS_CORE) {
		channel_free(p->core);
		p->core = channel_new(p->loop, take_fd(fd), p->kind, PROCESS_CORE, on_core,
				      on_core_gone, p);
		flush_log(p);
		if (p->engine)
			front_upstreams(p->engine);
	}
}

static void on_parent(void *arg, const struct msg *m, int *fds, size_t fd_count)
{
	struct front_process *p = arg;

	(void)fd_count;
	switch (m->type) {
	case MSG_CONF:
		on_conf(p, &m->conf, fds[0]);
		break;
	case MSG_CONF_USE:
		if (!conf_stage_use(&p->stage, m->conf.generation)) {
			log_error("configuration %u was never prepared", m->conf.generation);
			break;
		}
		p->ready = false;
		check_ready(p);
		break;
	case MSG_CONF_DROP:
		conf_stage_drop(&p->stage);
		break;
	case MSG_NEIGHBOUR:
		on_neighbour(p, &m->neighbour, &fds[0]);
		break;
	case MSG_PING:
		tell(p, p->parent, &(struct msg){ .type = MSG_PONG });
		break;
	case MSG_DRAIN:
		if (p->engine && p->stage.now)
			front_drain(p->engine,
				    boot_add(loop_now(p->loop), p->stage.now->drain_sec * SEC_NS));
		else
			stop(p, EXIT_SUCCESS);
		break;
	case MSG_END:
		stop(p, EXIT_SUCCESS);
		break;
	default:
		break;
	}
}

static void on_parent_gone(void *arg, const struct err *why)
{
	struct front_process *p = arg;

	log_error("%s", why->msg);
	stop(p, EXIT_FAILURE);
}

int front_main(int parent, enum process_kind kind, uint16_t index)
{
	struct front_process *p = mem_alloc(sizeof(*p));
	struct err err = { 0 };
	int status;

	p->kind = kind;
	p->index = index;
	snprintf(p->name, sizeof(p->name), "%s%u", process_kind_name(kind), index);
	buf_init(&p->held, HELD_MAX);
	p->loop = loop_new(&err);
	if (p->loop) {
		p->leave = loop_timer_new(p->loop, on_leave, p);
		p->parent = channel_new(p->loop, parent, kind, PROCESS_PARENT, on_parent,
					on_parent_gone, p);
		probe_listen(p->loop);
		if (!loop_run(p->loop, &err))
			p->status = EXIT_FAILURE;
	} else {
		p->status = EXIT_FAILURE;
	}
	if (err.code)
		log_error("%s", err.msg);
	status = p->status;
	front_free(p->engine);
	sockets_done(&p->coming);
	for (size_t i = 0; i < p->key_count; i++)
		free(p->keys[i]);
	free(p->keys);
	free(p->asked);
	buf_done(&p->held);
	loop_timer_free(p->leave);
	channel_free(p->net);
	channel_free(p->core);
	channel_free(p->parent);
	conf_stage_done(&p->stage);
	loop_free(p->loop);
	free(p);
	return status;
}
