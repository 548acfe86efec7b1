/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/process.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/forward_access.h"
#include "daemon/endpoint/process_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PREPARE_SEC = 30,               /* a configuration that nobody answers for */
	READY_SEC = 10,                 /* then the service manager is told all the same */
	END_SEC = 5,                    /* between "end" and SIGKILL */
	BACKOFF_FIRST_MS = 50,
	BACKOFF_MAX_MS = 10000,
	BACKOFF_FRONT_MS = 1000,        /* whoever can crash a front must not keep others waiting */
	STEADY_SEC = 10,                /* one that lived this long starts again at once */
};

/*
 * The table. Everybody's parent is the parent; who else they speak to:
 *
 *            user          starts   neighbours          what for
 *   core     reeve         first    net, all fronts     keys, snapshots, coordinator, local API
 *   net      root, less    second   core, all fronts    device, filter, sockets, upstreams
 *   tunnel   reeve-tunnel  when net nobody              a device where the kernel has none
 *   front    reeve-front   then     core, net           HTTP for identities
 *   public   reeve-front   then     core, net           HTTP for strangers
 */
static bool are_neighbours(enum process_kind a, enum process_kind b)
{
	bool front_a = a == PROCESS_FRONT || a == PROCESS_PUBLIC;
	bool front_b = b == PROCESS_FRONT || b == PROCESS_PUBLIC;

	return a != b && !(front_a && front_b);
}

static void user_of(const struct processes *ps, enum process_kind kind, uid_t *ret_uid,
		    gid_t *ret_gid)
{
	const struct privilege_users *u = &ps->setup.users;

	*ret_uid = kind == PROCESS_NET ? geteuid() : kind == PROCESS_CORE ? u->core : u->front;
	*ret_gid = kind == PROCESS_NET    ? getegid()
		   : kind == PROCESS_CORE ? u->core_group
					  : u->front_group;
}

static void start(struct process *p);
static void reload_step(struct processes *ps);
static void reload_fail(struct processes *ps, const char *who, const char *why);

static bool is_up(const struct process *p)
{
	return p->channel != NULL;
}

static void tell(struct process *p, const struct msg *m, const int *fds, size_t n)
{
	struct err err = { 0 };

	if (p->channel && !channel_send(p->channel, m, fds, n, &err))
		log_error("%s: %s", p->name, err.msg);
}

static void tell_number(struct process *p, enum msg_type type, uint32_t number)
{
	struct msg m = { .type = type, .conf = { .generation = number } };

	tell(p, &m, NULL, 0);
}

static void tell_conf(struct process *p, const struct generation *g)
{
	struct msg m = { .type = MSG_CONF, .conf = {
		.generation = g->number,
		.dir = span_str(p->all->setup.dir),
		.file = span_str(p->all->setup.config),
	} };

	p->answered = 0;
	tell(p, &m, &g->fd, 1);
}

static void generation_done(struct generation *g)
{
	conf_free(g->conf);
	if (g->fd >= 0)
		close(g->fd);
	*g = (struct generation){ .fd = -1 };
}

/* What a child says in several lines: a fault each. */
static void log_lines(enum log_level level, const char *before, struct span text)
{
	struct span line;

	while (span_next(&text, '\n', &line))
		if (line.len)
			log_at(level, "%s: %.*s", before, SPAN_ARG(line));
}

/* ---- neighbours ---- */

static void join(struct process *a, struct process *b)
{
	struct msg to_a = { .type = MSG_NEIGHBOUR, .neighbour = { (uint8_t)b->kind, b->index } };
	struct msg to_b = { .type = MSG_NEIGHBOUR, .neighbour = { (uint8_t)a->kind, a->index } };
	struct err err = { 0 };
	int fds[2];

	if (!channel_pair(fds, &err)) {
		log_error("%s and %s: %s", a->name, b->name, err.msg);
		return;
	}
	tell(a, &to_a, &fds[0], 1);
	tell(b, &to_b, &fds[1], 1);
	close(fds[0]);
	close(fds[1]);
}

static void join_all(struct process *p)
{
	for (size_t i = 0; i < p->all->count; i++) {
		struct process *q = &p->all->list[i];

		if (q != p && is_up(q) && are_neighbours(p->kind, q->kind))
			join(p, q);
	}
}

/* ---- listening sockets that outlive net ---- */

static void kept_done(struct kept *k)
{
	for (size_t i = 0; i < k->n; i++) {
		close(k->list[i].fd);
		free(k->list[i].key);
	}
	free(k->list);
	*k = (struct kept){ 0 };
}

static void kept_add(struct kept *k, struct span key, const struct ipport *at, int fd)
{
	k->list = mem_realloc(k->list, k->n + 1, sizeof(*k->list));
	k->list[k->n].key = span_dup(key);
	k->list[k->n].at = *at;
	k->list[k->n++].fd = fd;
}

static bool is_kept(const struct kept *k, const char *key)
{
	for (size_t i = 0; i < k->n; i++)
		if (strcmp(k->list[i].key, key) == 0)
			return true;
	return false;
}

static bool listens_at(const struct conf *conf, const char *key)
{
	const struct conf_map *maps[] = { &conf->services, &conf->public };

	for (size_t m = 0; m < array_size(maps); m++) {
		for (size_t i = 0; i < maps[m]->count; i++) {
			const struct conf_strs *l = &conf_service(maps[m], i)->listen;

			for (size_t k = 0; k < l->count; k++)
				if (strcmp(l->list[k], key) == 0)
					return true;
		}
	}
	return false;
}

static bool make_sockets_of(struct processes *ps, const struct conf *conf, const struct conf_map *services,
                            struct err *err)
{
	static const struct ipport none;

	for (size_t i = 0; i < services->count; i++) {
		const struct conf_strs *l = &conf_service(services, i)->listen;

		for (size_t k = 0; k < l->count; k++) {
			struct span key = span_str(l->list[k]);
			int fd;

			if (!span_starts(key, SPAN("unix:")) || is_kept(&ps->kept, l->list[k]))
				continue;
			fd = forward_socket_open(conf, key, err);
			if (fd < 0)
				return false;
			kept_add(&ps->kept, key, &none, fd);
		}
	}
	return true;
}

/* The unix sockets of conf that are not there yet: net could not make them. *ret_first: the first new one. */
static bool make_sockets(struct processes *ps, const struct conf *conf, size_t *ret_first, struct err *err)
{
	*ret_first = ps->kept.n;
	return make_sockets_of(ps, conf, &conf->services, err) && make_sockets_of(ps, conf, &conf->public, err);
}

/* Unix sockets that conf does not want (NULL: none) go. */
static void drop_sockets(struct processes *ps, struct kept *kept, const struct conf *conf)
{
	for (size_t i = kept->n; i-- > 0;) {
		scoped_free char *path = NULL;

		if (!span_starts(span_str(kept->list[i].key), SPAN("unix:")) ||
		    (conf && listens_at(conf, kept->list[i].key)))
			continue;
		path = forward_socket_path(ps->now.conf, span_str(kept->list[i].key));
		unlink(path);
		close(kept->list[i].fd);
		free(kept->list[i].key);
		kept->n--;
		memmove(&kept->list[i], &kept->list[i + 1], (kept->n - i) * sizeof(*kept->list));
	}
}

static void on_listen(struct processes *ps, const struct msg_listen *m, int *fds)
{
	if (m->first)
		kept_done(&ps->coming);
	for (size_t i = 0; i < m->n; i++)
		kept_add(&ps->coming, m->list[i].key, &m->list[i].at, take_fd(&fds[i]));
	if (m->last) {
		/* of the configuration before: net has closed them */
		if (!ps->next.conf)
			drop_sockets(ps, &ps->kept, ps->now.conf);
		kept_done(&ps->kept);
		swap(ps->kept, ps->coming);
	}
}

static void give_back(struct processes *ps, struct process *net, size_t first)
{
	for (size_t i = first; i < ps->kept.n;) {
		struct msg m = { .type = MSG_LISTEN };
		int fds[MSG_LISTEN_MAX];

		for (; i < ps->kept.n && m.listen.n < MSG_LISTEN_MAX; i++, m.listen.n++) {
			m.listen.list[m.listen.n].key = span_str(ps->kept.list[i].key);
			m.listen.list[m.listen.n].at = ps->kept.list[i].at;
			fds[m.listen.n] = ps->kept.list[i].fd;
		}
		tell(net, &m, fds, m.listen.n);
	}
}

/* ---- readiness ---- */

static void say_ready(const char *state)
{
	struct err err = { 0 };

	if (!sdnotify(state, &err))
		log_warn("%s", err.msg);
}

static void check_ready(struct processes *ps)
{
	if (ps->said_ready || ps->ending)
		return;
	for (size_t i = 0; i < ps->count; i++)
		if (ps->list[i].ready != ps->now.number)
			return;
	ps->said_ready = true;
	loop_timer_set(ps->ready_timer, BOOT_NEVER);
	log_note("serving, configuration %u", ps->now.number);
	say_ready("READY=1\nSTATUS=serving");
}

static void on_ready_late(void *arg)
{
	struct processes *ps = arg;

	for (size_t i = 0; i < ps->count; i++)
		if (ps->list[i].ready != ps->now.number)
			log_warn("%s does not serve yet", ps->list[i].name);
	ps->said_ready = true;
	say_ready("READY=1\nSTATUS=not everybody serves yet");
}

/* ---- one process ---- */

/* It could not take the configuration that all others use: try again later, for
 * what it misses (a policy file, an address) may come. */
static void refuse_start(struct process *p, struct span why)
{
	if (p->all->ending)
		return;
	log_lines(LOG_ERROR, p->name, why);
	if (!p->all->ever_ready) {
		p->all->status = EXIT_FAILURE;
		processes_end(p->all);
		return;
	}
	kill(p->pid, SIGKILL);
}

static void on_message(void *arg, const struct msg *m, int *fds, size_t fd_count)
{
	struct process *p = arg;
	struct processes *ps = p->all;

	(void)fd_count;
	switch (m->type) {
	case MSG_CONF_DONE:
		p->answered = m->conf_done.generation;
		if (m->conf_done.generation == ps->now.number) {
			if (m->conf_done.ok)
				tell_number(p, MSG_CONF_USE, ps->now.number);
			else
				refuse_start(p, m->conf_done.text);
		} else if (ps->next.conf && m->conf_done.generation == ps->next.number) {
			if (!m->conf_done.ok) {
				scoped_free char *why = span_dup(m->conf_done.text);

				reload_fail(ps, p->name, why);
				break;
			}
			log_lines(LOG_WARN, p->name, m->conf_done.text);
			reload_step(ps);
		}
		break;
	case MSG_READY:
		p->ready = m->conf.generation;
		if (p->kind == PROCESS_CORE && p->ready == ps->now.number)
			ps->ever_ready = true;
		check_ready(ps);
		break;
	case MSG_PONG:
		process_answered(p);
		break;
	case MSG_LISTEN:
		on_listen(ps, &m->listen, fds);
		break;
	case MSG_TUNNEL:
		process_tunnel(ps, m->tunnel.on);
		break;
	default:
		break;
	}
}

static void on_gone(void *arg, const struct err *why)
{
	struct process *p = arg;

	if (why->code == ERR_PEER)
		log_error("%s: %s", p->name, why->msg);
	channel_free(take(p->channel));
	/* One that lives without its channel serves nobody; most are about to exit. */
	if (why->code == ERR_PEER && p->pid > 0)
		kill(p->pid, SIGKILL);
	loop_timer_after(p->timer, END_SEC * SEC_NS);
}

static void schedule_start(struct process *p)
{
	struct boot now = loop_now(p->all->loop);
	bool front = p->kind == PROCESS_FRONT || p->kind == PROCESS_PUBLIC;
	int64_t most = front ? BACKOFF_FRONT_MS : BACKOFF_MAX_MS;
	bool steady = p->started.ns && boot_passed(boot_add(p->started, STEADY_SEC * SEC_NS), now);

	if (steady || p->backoff_ms == 0)
		p->backoff_ms = BACKOFF_FIRST_MS;
	else
		p->backoff_ms = p->backoff_ms * 2 < most ? p->backoff_ms * 2 : most;
	loop_timer_after(p->timer, steady ? 0 : p->backoff_ms * (SEC_NS / 1000));
}

static bool all_gone(const struct processes *ps, bool fronts_only)
{
	for (size_t i = 0; i < ps->count; i++)
		if (ps->list[i].pid > 0 && (!fronts_only || ps->list[i].kind == PROCESS_FRONT ||
					    ps->list[i].kind == PROCESS_PUBLIC))
			return false;
	return true;
}

/* Until the fronts have left, core writes down what they did. */
static bool wanted(const struct process *p)
{
	const struct processes *ps = p->all;

	return !ps->ending || (p->kind == PROCESS_CORE && ps->ever_ready && !all_gone(ps, true));
}

/* Fronts first, then core, then net: it takes the filter away when nobody is left
 * whom it would protect. */
static void end_next(struct processes *ps)
{
	static const enum process_kind order[] = { PROCESS_CORE, PROCESS_NET };

	if (!all_gone(ps, true))
		return;
	for (size_t k = 0; k < array_size(order); k++) {
		for (size_t i = 0; i < ps->count; i++) {
			struct process *p = &ps->list[i];

			if (p->kind != order[k] || p->pid <= 0)
				continue;
			if (!p->told_end) {
				/* Before net takes the device from under it. */
				if (p->kind == PROCESS_NET)
					process_tunnel_end(ps);
				p->told_end = true;
				tell_number(p, MSG_END, 0);
				loop_timer_after(p->timer, END_SEC * SEC_NS);
			}
			return;
		}
	}
	loop_stop(ps->loop);
}

static void on_exit_of(void *arg, pid_t pid, int status)
{
	struct process *p = arg;
	struct processes *ps = p->all;
	bool meant = ps->ending;

	(void)pid;
	p->child = NULL;
	p->pid = 0;
	p->ready = 0;
	process_answered(p);
	channel_free(take(p->channel));
	loop_timer_set(p->timer, BOOT_NEVER);
	if (WIFSIGNALED(status))
		log_error("%s died of signal %d (%s)", p->name, WTERMSIG(status),
			  strsignal(WTERMSIG(status)));
	else if (!meant || WEXITSTATUS(status))
		log_error("%s ended with status %d", p->name, WEXITSTATUS(status));
	if (ps->next.conf)
		reload_fail(ps, p->name, "it ended meanwhile");
	if (wanted(p))
		schedule_start(p);
	else
		end_next(ps);
}

/* Either it is time to start, or somebody does not end. */
static void on_timer(void *arg)
{
	struct process *p = arg;

	if (p->pid > 0) {
		log_warn("%s does not end: killed", p->name);
		kill(p->pid, SIGKILL);
	} else if (wanted(p)) {
		start(p);
	}
}

static void start(struct process *p)
{
	struct processes *ps = p->all;
	struct err err = { 0 };
	uid_t uid;
	gid_t gid;
	int fds[2];

	p->started = loop_now(ps->loop);
	if (!channel_pair(fds, &err)) {
		log_error("%s: %s", p->name, err.msg);
		schedule_start(p);
		return;
	}
	user_of(ps, p->kind, &uid, &gid);
	p->pid = process_spawn(p->kind, p->index, uid, gid, ps->now.conf, ps->empty, fds[1], &err);
	close(fds[1]);
	if (p->pid < 0 || !(p->child = loop_child_add(ps->loop, p->pid, on_exit_of, p, &err))) {
		log_error("starting %s: %s", p->name, err.msg);
		close(fds[0]);
		if (p->pid > 0) {
			kill(p->pid, SIGKILL);
			waitpid(p->pid, NULL, 0);
		}
		p->pid = 0;
		schedule_start(p);
		return;
	}
	p->channel = channel_new(ps->loop, fds[0], PROCESS_PARENT, p->kind, on_message, on_gone, p);
	log_info("%s started, pid %d", p->name, (int)p->pid);
	/* Sockets before the configuration that would open them anew. */
	if (p->kind == PROCESS_NET)
		give_back(ps, p, 0);
	tell_conf(p, &ps->now);
	join_all(p);
}

void processes_start(struct processes *ps)
{
	for (size_t i = 0; i < ps->count; i++)
		start(&ps->list[i]);
	loop_timer_after(ps->ready_timer, READY_SEC * SEC_NS);
}

/* ---- reload ---- */

static void reload_over(struct processes *ps)
{
	loop_timer_set(ps->reload_timer, BOOT_NEVER);
	ps->said_ready = false;
	loop_timer_after(ps->ready_timer, READY_SEC * SEC_NS);
	check_ready(ps);
}

static void reload_fail(struct processes *ps, const char *who, const char *why)
{
	char before[48];

	if (!ps->next.conf)
		return;
	snprintf(before, sizeof(before), "reload: %s", who);
	log_lines(LOG_ERROR, before, span_str(why));
	log_error("reload: configuration %u stays", ps->now.number);
	for (size_t i = 0; i < ps->count; i++)
		if (ps->list[i].asked == ps->next.number)
			tell_number(&ps->list[i], MSG_CONF_DROP, ps->next.number);
	generation_done(&ps->next);
	drop_sockets(ps, &ps->kept, ps->now.conf);
	reload_over(ps);
}

static void on_reload_late(void *arg)
{
	struct processes *ps = arg;

	reload_fail(ps, "nobody", "no answer in time");
}

static bool ask(struct processes *ps, enum process_kind kind, bool *ret_all_answered)
{
	bool any = false;

	for (size_t i = 0; i < ps->count; i++) {
		struct process *p = &ps->list[i];

		if (p->kind != kind)
			continue;
		if (p->asked != ps->next.number) {
			p->asked = ps->next.number;
			tell_conf(p, &ps->next);
			any = true;
		}
		if (p->answered != ps->next.number)
			*ret_all_answered = false;
	}
	return any;
}

/* Prepared first by core: most of what can be wrong is what it reads. Then by net, which opens
 * what is new; the fronts only parse. Used first by net: with core's next snapshot fronts ask it for
 * upstreams by the new number, and it still knows the old one. */
static void reload_step(struct processes *ps)
{
	static const enum process_kind order[] = {
		PROCESS_CORE, PROCESS_NET, PROCESS_FRONT, PROCESS_PUBLIC,
	}, used[] = {
		PROCESS_NET, PROCESS_FRONT, PROCESS_PUBLIC, PROCESS_CORE,
	};

	for (size_t k = 0; k < array_size(order); k++) {
		bool answered = true;

		ask(ps, order[k], &answered);
		if (!answered)
			return;
	}
	generation_done(&ps->now);
	ps->now = ps->next;
	ps->next = (struct generation){ .fd = -1 };
	for (size_t k = 0; k < array_size(used); k++)
		for (size_t i = 0; i < ps->count; i++)
			if (ps->list[i].kind == used[k])
				tell_number(&ps->list[i], MSG_CONF_USE, ps->now.number);
	log_note("reload: configuration %u is in use", ps->now.number);
	process_watch(ps);
	reload_over(ps);
}

void processes_reload(struct processes *ps)
{
	struct generation g = { .fd = -1, .number = ps->last_number + 1 };
	struct diags diags;
	struct buf text = { 0 };
	struct err err = { 0 };
	const char *fixed;
	size_t first;

	if (ps->ending)
		return;
	if (ps->next.conf) {
		reload_fail(ps, "SIGHUP", "another one came");
	}
	if (!sdnotify_reloading(&err))
		log_warn("%s", err.msg);
	diags_init(&diags, ps->setup.config);
	if (file_read(ps->setup.config, CONF_TEXT_MAX, &text, &err))
		g.conf = conf_new(buf_span(&text), ps->setup.dir, &diags);
	else
		diag_error(&diags, (struct place){ 0, 0 }, "%s", err.msg);
	processes_log_diags(&diags);
	diags_done(&diags);
	fixed = g.conf ? processes_fixed(ps->now.conf, g.conf) : NULL;
	if (fixed)
		log_error("reload: \"%s\" changes with a restart only", fixed);
	if (g.conf && !fixed)
		g.fd = msg_memfd("reeve-conf", buf_span(&text), &err);
	buf_done(&text);
	if (g.fd < 0) {
		log_error("reload: configuration %u stays", ps->now.number);
		generation_done(&g);
		reload_over(ps);
		return;
	}
	ps->last_number = g.number;
	ps->next = g;
	loop_timer_after(ps->reload_timer, PREPARE_SEC * SEC_NS);
	for (size_t i = 0; i < ps->count; i++) {
		if (ps->list[i].channel)
			continue;
		reload_fail(ps, ps->list[i].name, "it is not running");
		return;
	}
	if (!make_sockets(ps, ps->next.conf, &first, &err)) {
		reload_fail(ps, "sockets", err.msg);
		return;
	}
	for (size_t i = 0; i < ps->count; i++)
		if (ps->list[i].kind == PROCESS_NET)
			give_back(ps, &ps->list[i], first);
	reload_step(ps);
}

/* ---- the end ---- */

static void on_drain_late(void *arg)
{
	struct processes *ps = arg;

	for (size_t i = 0; i < ps->count; i++) {
		struct process *p = &ps->list[i];

		if (p->pid > 0 && (p->kind == PROCESS_FRONT || p->kind == PROCESS_PUBLIC)) {
			log_warn("%s does not end: killed", p->name);
			kill(p->pid, SIGKILL);
		}
	}
}

void processes_end(struct processes *ps)
{
	bool again = ps->ending;

	ps->ending = true;
	generation_done(&ps->next);
	if (again) {
		log_note("ending now");
		on_drain_late(ps);
		return;
	}
	say_ready("STOPPING=1");
	log_note("ending: open requests have %lld s", (long long)ps->now.conf->drain_sec);
	drop_sockets(ps, &ps->kept, NULL);
	kept_done(&ps->kept);
	loop_timer_set(ps->reload_timer, BOOT_NEVER);
	loop_timer_set(ps->ready_timer, BOOT_NEVER);
	for (size_t i = 0; i < ps->count; i++) {
		struct process *p = &ps->list[i];

		if (p->pid <= 0)
			loop_timer_set(p->timer, wanted(p) ? loop_now(ps->loop) : BOOT_NEVER);
		else if (p->kind != PROCESS_CORE)
			tell_number(p, MSG_DRAIN, 0);
	}
	loop_timer_after(ps->drain_timer, (ps->now.conf->drain_sec + END_SEC) * SEC_NS);
	end_next(ps);
}

int processes_status(const struct processes *ps)
{
	return ps->status;
}

/* ---- the table's life ---- */

static void add_process(struct processes *ps, enum process_kind kind, uint16_t index)
{
	struct process *p = &ps->list[ps->count++];
	bool many = kind == PROCESS_FRONT || kind == PROCESS_PUBLIC;

	*p = (struct process){ .all = ps, .kind = kind, .index = index };
	if (many)
		snprintf(p->name, sizeof(p->name), "%s%u", process_kind_name(kind), index);
	else
		snprintf(p->name, sizeof(p->name), "%s", process_kind_name(kind));
	p->timer = loop_timer_new(ps->loop, on_timer, p);
}

struct processes *processes_new(struct loop *l, const struct process_setup *setup,
				struct conf *conf, struct span text, struct err *err)
{
	struct processes *ps = mem_alloc(sizeof(*ps));
	size_t first;

	ps->loop = l;
	ps->setup = *setup;
	ps->next.fd = -1;
	ps->now = (struct generation){ conf, -1, 1 };
	ps->last_number = 1;
	ps->reload_timer = loop_timer_new(l, on_reload_late, ps);
	ps->ready_timer = loop_timer_new(l, on_ready_late, ps);
	ps->drain_timer = loop_timer_new(l, on_drain_late, ps);
	process_watch(ps);
	for (size_t i = 0; i < setup->fd_count; i++) {
		struct ipport none = { 0 };
		struct buf key;

		buf_init(&key, MSG_NAME_MAX);
		buf_addf(&key, "fd:%s", setup->fds[i].name);
		kept_add(&ps->kept, buf_span(&key), &none, setup->fds[i].fd);
		buf_done(&key);
	}
	ps->now.fd = msg_memfd("reeve-conf", text, err);
	if (ps->now.fd < 0 || !processes_folders(conf, &setup->users, &ps->empty, err) ||
	    !make_sockets(ps, conf, &first, err)) {
		processes_free(ps);
		return NULL;
	}
	add_process(ps, PROCESS_CORE, 0);
	add_process(ps, PROCESS_NET, 0);
	for (int64_t i = 0; conf->services.count && i < conf->fronts; i++)
		add_process(ps, PROCESS_FRONT, (uint16_t)i);
	for (int64_t i = 0; conf->public.count && i < conf->public_fronts; i++)
		add_process(ps, PROCESS_PUBLIC, (uint16_t)i);
	return ps;
}

void processes_free(struct processes *ps)
{
	if (!ps)
		return;
	for (size_t i = 0; i < ps->count; i++) {
		struct process *p = &ps->list[i];

		loop_child_remove(p->child);
		if (p->pid > 0) {
			kill(p->pid, SIGKILL);
			waitpid(p->pid, NULL, 0);
		}
		channel_free(p->channel);
		loop_timer_free(p->timer);
	}
	process_tunnel_end(ps);
	loop_timer_free(ps->reload_timer);
	loop_timer_free(ps->ready_timer);
	loop_timer_free(ps->drain_timer);
	loop_timer_free(ps->watch_timer);
	kept_done(&ps->kept);
	kept_done(&ps->coming);
	generation_done(&ps->now);
	generation_done(&ps->next);
	free(ps->empty);
	free(ps);
}
