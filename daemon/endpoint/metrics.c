/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/metrics.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/metrics_text.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Somebody who asks; suspended until the fronts have answered. */
struct asker {
	struct asker          *next, **link;
	struct MHD_Connection *connection;
	bool                   waiting;
	bool                   ready;           /* to be answered with metrics.text */
};

struct part {
	bool       asked, whole;
	struct buf text;
};

struct metrics {
	struct core       *core;
	struct MHD_Daemon *daemon;
	struct loop_fd    *watch;
	struct loop_timer *timer, *deadline;
	struct asker      *askers;
	uint64_t           id;                  /* of the round under way; 0: none */
	uint64_t           last_id;
	struct part        parts[CORE_FRONTS_MAX];
	struct buf         text;                /* of the last round */
	bool               beginning;
	bool               net_asked;           /* and did not answer yet */
	bool               refused_known;       /* in this round */
	uint64_t           refused[MSG_FILTER_COUNTERS];
	bool               running, scheduled;
};

/* ---- where it listens ---- */

static bool is_unix(struct span text, struct sockaddr_un *ret)
{
	struct span path = span_from(text, 5);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return span_starts(text, SPAN("unix:")) && path.len && path.ptr[0] == '/' &&
	       span_cstr(path, ret->sun_path, sizeof(ret->sun_path));
}

static int unix_socket(const struct sockaddr_un *un, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd >= 0 && (lstat(un->sun_path, &st) < 0 || S_ISSOCK(st.st_mode)) &&
	    (unlink(un->sun_path) == 0 || errno == ENOENT) &&
	    bind(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 && chmod(un->sun_path, 0666) == 0)
		return fd;
	err_sys(err, "\"metrics\": %s", un->sun_path);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int ip_socket(const struct ipport *at, struct err *err)
{
	struct sockaddr_storage ss;
	socklen_t len = ipport_to_sockaddr(at, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, (const struct sockaddr *)&ss, len) == 0)
		return fd;
	err_sys(err, "\"metrics\": port %u", at->port);
	if (fd >= 0)
		close(fd);
	return -1;
}

int metrics_listen(const char *address, struct err *err)
{
	struct sockaddr_un un;
	struct ipport at;
	int fd = -1;

	if (is_unix(span_str(address), &un))
		fd = unix_socket(&un, err);
	else if (ipport_parse(span_str(address), &at))
		fd = ip_socket(&at, err);
	else
		err_set(err, ERR_SYNTAX, "\"metrics\": not an address");
	if (fd >= 0 && listen(fd, METRICS_CONNECTIONS_MAX) < 0) {
		err_sys(err, "\"metrics\": %s", address);
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- a round: every front is asked, all who wait are answered ---- */

static void run_soon(struct metrics *m);

static void gauge(struct buf *b, const char *name, const char *help, double value)
{
	buf_addf(b, "# HELP %s %s\n# TYPE %s gauge\n%s %.17g\n", name, help, name, name, value);
}

static void own_text(struct metrics *m, struct buf *b)
{
	const struct core *c = m->core;

	gauge(b, "reeve_net_up", "1 while the net process is there.", c->net != NULL);
	gauge(b, "reeve_configuration", "Number of the configuration in use.", c->files->generation);
	gauge(b, "reeve_identities", "Identities of the snapshot in use.", c->live ? (double)c->live->n : 0);
	gauge(b, "reeve_core_snapshot_seq", "Number of the last snapshot that was made.", (double)c->generation);
	if (c->map.whole) {
		gauge(b, "reeve_map_seq", "Sequence number of the map.", (double)c->map.seq);
		gauge(b, "reeve_map_nodes", "Nodes in the map.", (double)c->map.node_count);
	}
	if (m->refused_known) {
		buf_add_str(b, "# HELP reeve_filter_refused_packets_total Packets that the packet filter refused, by why.\n"
		               "# TYPE reeve_filter_refused_packets_total counter\n");
		for (int i = 0; i < MSG_FILTER_COUNTERS; i++)
			buf_addf(b, "reeve_filter_refused_packets_total{why=\"%s\"} %llu\n",
			         msg_filter_counter_name((enum msg_filter_counter)i), (unsigned long long)m->refused[i]);
	}
	buf_add_str(b, "# HELP reeve_front_up 1 where a front has answered in time.\n# TYPE reeve_front_up gauge\n");
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		const struct core_front *f = &c->fronts[i];

		if (f->channel)
			buf_addf(b, "reeve_front_up{front=\"%s%u\"} %d\n", process_kind_name(f->kind), f->index,
			         m->parts[i].whole);
	}
}

static void finish(struct metrics *m)
{
	scoped_buf struct buf own = { 0 };
	struct span texts[CORE_FRONTS_MAX + 1];
	size_t n = 0;

	m->id = 0;
	loop_timer_set(m->deadline, BOOT_NEVER);
	buf_init(&own, 64 << 10);
	own_text(m, &own);
	texts[n++] = buf_span(&own);
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		if (m->parts[i].whole)
			texts[n++] = buf_span(&m->parts[i].text);
	}
	buf_clear(&m->text);
	metrics_merge(texts, n, &m->text);
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		buf_done(&m->parts[i].text);
		m->parts[i] = (struct part){ 0 };
	}
	for (struct asker *a = m->askers; a; a = a->next) {
		if (!a->waiting)
			continue;
		a->waiting = false;
		a->ready = true;
		MHD_resume_connection(a->connection);
	}
	run_soon(m);
}

static void look(struct metrics *m)
{
	if (m->net_asked)
		return;
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		if (m->parts[i].asked && !m->parts[i].whole)
			return;
	}
	finish(m);
}

static void on_deadline(void *arg)
{
	struct metrics *m = arg;

	if (m->id)
		finish(m);
}

/* Net's part: what the packet filter refused. */
static void on_net_status(void *arg, const struct msg_status *part, const struct err *err)
{
	struct metrics *m = arg;

	(void)err;
	if (part) {
		memcpy(m->refused, part->refused, sizeof(m->refused));
		m->refused_known = true;
		return;
	}
	m->net_asked = false;
	if (m->id && !m->beginning)
		look(m);
}

static void begin(struct metrics *m)
{
	struct core *c = m->core;
	struct msg ask = { .type = MSG_METRICS_ASK };

	if (m->id)
		return;         /* whoever comes now is answered with those who wait */
	m->id = ++m->last_id;
	m->refused_known = false;
	ask.metrics_ask.id = m->id;
	loop_timer_after(m->deadline, 0);       /* where there is nobody to ask */
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++) {
		struct part *p = &m->parts[i];

		buf_init(&p->text, METRICS_FRONT_MAX);
		p->asked = c->fronts[i].channel && channel_send(c->fronts[i].channel, &ask, NULL, 0, NULL);
		if (p->asked)
			loop_timer_after(m->deadline, METRICS_WAIT_MS * (SEC_NS / 1000));
	}
	/* a question that timed out is not asked again before it is answered */
	if (c->net && c->files->conf->mode != CONF_STANDALONE && !m->net_asked) {
		loop_timer_after(m->deadline, METRICS_WAIT_MS * (SEC_NS / 1000));
		m->beginning = m->net_asked = true;
		core_net_ask(c, on_net_status, m);
		m->beginning = false;
	}
}

void metrics_part(struct metrics *m, const struct core_front *f, const struct msg_metrics *part)
{
	struct part *p;

	if (!m || !m->id || part->id != m->id)
		return;
	p = &m->parts[f - m->core->fronts];
	if (!p->asked || p->whole)
		return;
	buf_add_span(&p->text, part->text);
	if (p->text.over) {
		log_warn("%s %u has too much to tell in its metrics", process_kind_name(f->kind), f->index);
		p->asked = false;
	}
	p->whole = part->last && p->asked;
	look(m);
}

void metrics_gone(struct metrics *m, const struct core_front *f)
{
	if (!m || !m->id)
		return;
	m->parts[f - m->core->fronts].asked = false;
	look(m);
}

/* ---- libmicrohttpd ---- */

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, struct span text, const char *type)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(text.len, (void *)(uintptr_t)text.ptr, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result ok;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	ok = MHD_queue_response(connection, status, r);
	MHD_destroy_response(r);
	return ok;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
	struct metrics *m = arg;
	struct asker *a = *state;

	(void)version;
	(void)data;
	if (!a) {
		a = mem_alloc(sizeof(*a));
		a->connection = connection;
		a->link = &m->askers;
		a->next = m->askers;
		if (a->next)
			a->next->link = &a->next;
		m->askers = a;
		*state = a;
		return MHD_YES;
	}
	if (*size) {    /* nobody wants a body */
		*size = 0;
		return MHD_YES;
	}
	if (a->ready)
		return reply(connection, 200, buf_span(&m->text), "text/plain; version=0.0.4; charset=utf-8");
	if (strcmp(url, "/metrics") != 0)
		return reply(connection, 404, SPAN("/metrics is here, and nothing else\n"), "text/plain");
	if (strcmp(method, "GET") != 0)
		return reply(connection, 405, SPAN("GET is served here\n"), "text/plain");
	a->waiting = true;
	MHD_suspend_connection(connection);
	begin(m);
	return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
	struct asker *a = *state;

	(void)arg;
	(void)connection;
	(void)code;
	if (!a)
		return;
	*a->link = a->next;
	if (a->next)
		a->next->link = a->link;
	free(a);
	*state = NULL;
}

static void run(void *arg)
{
	struct metrics *m = arg;
	MHD_UNSIGNED_LONG_LONG ms;

	m->scheduled = false;
	if (m->running)
		return;
	m->running = true;
	MHD_run(m->daemon);
	m->running = false;
	if (MHD_get_timeout(m->daemon, &ms) == MHD_YES)
		loop_timer_after(m->timer, (int64_t)ms * (SEC_NS / 1000));
	else
		loop_timer_set(m->timer, BOOT_NEVER);
}

static void on_event(void *arg, uint32_t events)
{
	(void)events;
	run(arg);
}

static void run_soon(struct metrics *m)
{
	if (m->scheduled)
		return;
	m->scheduled = true;
	loop_timer_after(m->timer, 0);
}

struct metrics *metrics_new(struct core *c, int fd, struct err *err)
{
	struct metrics *m = mem_alloc(sizeof(*m));
	const union MHD_DaemonInfo *info;

	m->core = c;
	buf_init(&m->text, (size_t)METRICS_FRONT_MAX * 4);
	m->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, m,
	                             MHD_OPTION_LISTEN_SOCKET, fd,
	                             MHD_OPTION_CONNECTION_LIMIT, (unsigned)METRICS_CONNECTIONS_MAX,
	                             MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)METRICS_IDLE_SEC,
	                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(16 << 10),
	                             MHD_OPTION_NOTIFY_COMPLETED, on_completed, m,
	                             MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	info = m->daemon ? MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		err_set(err, ERR_SYS, "\"metrics\": libmicrohttpd did not start");
		if (m->daemon)
			MHD_stop_daemon(m->daemon);
		else
			close(fd);
		free(m);
		return NULL;
	}
	m->watch = loop_fd_add(c->loop, info->epoll_fd, EPOLLIN, on_event, m);
	m->timer = loop_timer_new(c->loop, run, m);
	m->deadline = loop_timer_new(c->loop, on_deadline, m);
	return m;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	core_net_forget(m->core, m);
	for (struct asker *a = m->askers; a; a = a->next) {
		if (a->waiting)
			MHD_resume_connection(a->connection);
		a->waiting = false;
	}
	loop_fd_remove(m->watch);
	loop_timer_free(m->timer);
	loop_timer_free(m->deadline);
	MHD_stop_daemon(m->daemon);
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++)
		buf_done(&m->parts[i].text);
	buf_done(&m->text);
	free(m);
}
