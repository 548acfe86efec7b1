/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/net_mesh.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"
#include "base/wire.h"
#include "daemon/endpoint/conf.h"
#include "daemon/mesh/hosts.h"
#include "daemon/mesh/mesh.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	POLL_MS = 10,                   /* whether the userspace device is there */
	START_SEC = 5,                  /* how long it may take */
	CHECK_SEC = 5,                  /* whether somebody took away what was told */
	CUT_MS = 2,                     /* denials that come together end connections together */
	CUT_AGAIN_MS = 500,             /* after a failure */
	WAITING_MAX = 8192,             /* orders that wait for the device */
};

struct waiting {
	struct waiting *next;
	struct buf      bytes;
	int             fd;
};

struct prefixes {
	struct prefix *list;
	size_t         n;
};

struct net_mesh {
	struct loop               *loop;
	const struct net_mesh_ops *ops;
	void                      *arg;
	char                       interface[DEVICE_NAME_MAX];
	char                      *hosts_file;
	enum device_backend        wanted;

	struct mesh               *mesh;
	bool                       tunnel;      /* userspace backend only: the parent was asked */
	char                       why[ERR_MSG_MAX];    /* there is no device, "" before that is known */
	struct loop_fd            *events;      /* mesh_fd(): somebody touched nftables */
	struct loop_timer         *check;
	struct loop_timer         *cut;         /* connections of those who were denied */
	struct cut_count           cut_said;
	bool                       cut_soon, cut_unable_said;

	/* What DEVICE said, for as long as the device is on its way. */
	struct secret              key;
	struct prefix              addresses[MSG_ADDRESSES_MAX];
	size_t                     addresses_n;
	struct overlay             ranges;
	bool                       starting;    /* orders wait */
	struct boot                deadline;
	struct loop_timer         *poll;
	struct waiting            *first, **last;
	size_t                     waiting;

	/* Since RESET. */
	bool                       device_told, rows_told, hosts_told;
	struct prefixes routes, vias; /* told as whole lists; mesh takes them singly */
};

static void carry_out(struct net_mesh *n, const struct msg *m, int *fds);

/* ---- answers ---- */

static void done(struct net_mesh *n, uint32_t order, const struct err *err)
{
	struct msg m = { .type = MSG_DONE, .done = { .order = order } };

	if (err && err->code != ERR_NONE) {
		m.done.code = (uint8_t)err->code;
		m.done.text = span_str(err->msg);
	}
	n->ops->answer(n->arg, &m);
}

/* ---- orders that wait ---- */

static void waiting_free(struct waiting *w)
{
	buf_wipe_done(&w->bytes);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

static void drop_waiting(struct net_mesh *n)
{
	while (n->first) {
		struct waiting *next = n->first->next;

		waiting_free(n->first);
		n->first = next;
	}
	n->last = &n->first;
	n->waiting = 0;
}

static bool put_off(struct net_mesh *n, const struct msg *m, const int *fds, size_t fd_count,
                    struct err *err)
{
	struct waiting *w;

	if (n->waiting >= WAITING_MAX)
		return err_set(err, ERR_BUSY, "%zu orders wait for the device", n->waiting);
	w = mem_alloc(sizeof(*w));
	w->fd = -1;
	buf_init(&w->bytes, WIRE_MAX);
	if (!msg_write(m, &w->bytes, err) ||
	    (fd_count && (w->fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 0)) < 0)) {
		waiting_free(w);
		return err_prefix(err, "putting an order off: ");
	}
	*n->last = w;
	n->last = &w->next;
	n->waiting++;
	return true;
}

static void run_waiting(struct net_mesh *n)
{
	while (n->first && !n->starting) {
		struct waiting *w = n->first;
		struct err err = { 0 };
		struct msg m;

		n->first = w->next;
		if (!n->first)
			n->last = &n->first;
		n->waiting--;
		if (msg_read(buf_span(&w->bytes), &m, &err))
			carry_out(n, &m, &w->fd);
		mem_wipe(&m, sizeof(m));
		waiting_free(w);
	}
}

/* ---- connections of those who were denied ---- */

static void say_cut(struct net_mesh *n)
{
	struct cut_count count = mesh_cut_count(n->mesh);
	const char *why = mesh_cut_unable(n->mesh);

	if (why && !n->cut_unable_said)
		log_warn("%s: what is open with somebody who may no longer be here hears nothing more, and ends when "
			 "its application says so",
			 why);
	n->cut_unable_said = n->cut_unable_said || why;
	if (count.sockets != n->cut_said.sockets || count.flows != n->cut_said.flows)
		log_info("ended %zu connections and %zu forwarded flows of those who are not here any more",
			 count.sockets - n->cut_said.sockets, count.flows - n->cut_said.flows);
	n->cut_said = count;
}

static void on_cut(void *arg)
{
	struct net_mesh *n = arg;
	struct err err = { 0 };

	n->cut_soon = !mesh_cut(n->mesh, &err);
	if (n->cut_soon)
		loop_timer_after(n->cut, CUT_AGAIN_MS * (SEC_NS / 1000));
	if (err.code != ERR_NONE)
		log_error("%s: %s", n->interface, err.msg);
	say_cut(n);
}

/* ---- the device ---- */

static void check(struct net_mesh *n)
{
	struct err err = { 0 };
	const char *what = NULL;

	if (mesh_started(n->mesh)) {
		if (mesh_check(n->mesh, loop_now(n->loop), &what, &err)) {
			if (what)
				log_warn("%s was gone, and is back", what);
		} else if (err.code == ERR_BUSY && n->tunnel) {
			loop_timer_after(n->check, POLL_MS * (SEC_NS / 1000));
			return;
		} else {
			log_error("%s: %s", n->interface, err.msg);
		}
	}
	loop_timer_after(n->check, CHECK_SEC * SEC_NS);
}

static void on_check(void *arg)
{
	check(arg);
}

static void on_events(void *arg, uint32_t events)
{
	struct net_mesh *n = arg;

	(void)events;
	if (mesh_woken(n->mesh))
		check(n);
}

/* False: not yet, or not at all. */
static bool try_start(struct net_mesh *n, struct err *err)
{
	struct ip here[MSG_ADDRESSES_MAX];

	if (!mesh_start(n->mesh, &n->key, n->addresses, n->addresses_n, &n->ranges, err))
		return false;
	if (!n->events && mesh_fd(n->mesh) >= 0)
		n->events = loop_fd_add(n->loop, mesh_fd(n->mesh), EPOLLIN, on_events, n);
	loop_timer_after(n->check, CHECK_SEC * SEC_NS);
	n->why[0] = '\0';
	for (size_t i = 0; i < n->addresses_n; i++)
		here[i] = n->addresses[i].ip;
	n->ops->addresses(n->arg, here, n->addresses_n);
	return true;
}

/* The orders that waited for it fail, and say why: core tells all again after a while. */
static void no_device(struct net_mesh *n, const char *why)
{
	log_error("%s: %s", n->interface, why);
	snprintf(n->why, sizeof(n->why), "%s", why);
	loop_timer_set(n->poll, BOOT_NEVER);
	n->starting = false;
	run_waiting(n);
}

static void on_poll(void *arg)
{
	struct net_mesh *n = arg;
	struct err err = { 0 };

	if (!try_start(n, &err)) {
		if (err.code == ERR_BUSY && !boot_passed(n->deadline, loop_now(n->loop))) {
			loop_timer_after(n->poll, POLL_MS * (SEC_NS / 1000));
			return;
		}
		no_device(n, err.msg);
		return;
	}
	n->starting = false;
	run_waiting(n);
}

void net_mesh_tunnel(struct net_mesh *n, const struct msg_tunnel *m)
{
	char text[LOG_TEXT_MAX];

	if (!m->on) {
		n->tunnel = false;
		if (n->starting)
			no_device(n, log_text(m->text, text));
	} else if (mesh_started(n->mesh)) {
		/* It begins empty; mesh_check() tells it everything again as soon as it answers. */
		loop_timer_after(n->check, POLL_MS * (SEC_NS / 1000));
	}
}

static bool ranges_of(const struct msg_device *m, struct overlay *ret_o, struct err *err)
{
	struct overlay o = { 0 };

	for (size_t i = 0; i < m->ranges_n; i++) {
		if (m->ranges[i].ip.family == IP_V4)
			o.v4 = m->ranges[i];
		else
			o.v6 = m->ranges[i];
	}
	*ret_o = o;
	return overlay_check(&o, err);
}

/* True also if it is on its way: then what follows waits. */
static bool on_device(struct net_mesh *n, const struct msg_device *m, struct err *err)
{
	enum device_backend backend;

	if (!ranges_of(m, &n->ranges, err) || !device_backend_pick(n->wanted, &backend, err))
		return false;
	secret_done(&n->key);
	secret_init(&n->key, m->key, MSG_KEY_LEN);
	memcpy(n->addresses, m->addresses, sizeof(n->addresses));
	n->addresses_n = m->addresses_n;
	n->device_told = true;
	if (backend == DEVICE_USERSPACE && !n->tunnel) {
		n->tunnel = true;
		n->ops->tunnel(n->arg, true);
	}
	if (try_start(n, err))
		return true;
	if (err->code != ERR_BUSY || backend != DEVICE_USERSPACE)
		return false;
	n->starting = true;
	n->deadline = boot_add(loop_now(n->loop), START_SEC * SEC_NS);
	loop_timer_after(n->poll, POLL_MS * (SEC_NS / 1000));
	return true;
}

static void remove_all(struct net_mesh *n)
{
	struct err err = { 0 };

	loop_timer_set(n->poll, BOOT_NEVER);
	loop_timer_set(n->check, BOOT_NEVER);
	loop_timer_set(n->cut, BOOT_NEVER);
	n->cut_soon = false;
	loop_fd_remove(take(n->events));
	n->starting = false;
	n->ops->addresses(n->arg, NULL, 0);
	if (*n->hosts_file && !hosts_write(n->hosts_file, NULL, 0, NULL, &err))
		log_error("%s: %s", n->hosts_file, err.msg);
	/* An earlier life may have asked for it. */
	n->ops->tunnel(n->arg, false);
	n->tunnel = false;
	if (!mesh_remove(n->mesh, &err))
		log_error("%s: %s", n->interface, err.msg);
	secret_done(&n->key);
	n->addresses_n = n->routes.n = n->vias.n = 0;
}

/* ---- peers and classes ---- */

static bool on_peer(struct net_mesh *n, const struct msg_peer *m, struct err *err)
{
	struct device_peer p = {
		.keepalive = m->keepalive, .allowed = m->prefixes, .allowed_n = m->prefixes_n,
	};

	memcpy(p.key.b, m->key, sizeof(p.key.b));
	if (m->has_endpoint)
		p.endpoint = m->endpoint;
	return mesh_peer(n->mesh, &p, err);
}

static bool on_peer_gone(struct net_mesh *n, const struct msg_peer *m, struct err *err)
{
	struct device_key key;

	memcpy(key.b, m->key, sizeof(key.b));
	return mesh_peer_gone(n->mesh, &key, err);
}

static struct prefix host_prefix(const struct ip *ip)
{
	return (struct prefix){ *ip, (uint8_t)(8 * ip_len(ip)) };
}

static bool on_class(struct net_mesh *n, const struct msg_class *m, struct err *err)
{
	struct prefix p = host_prefix(&m->ip);

	return mesh_class(n->mesh, &p, m->klass, m->who, m->timeout, loop_now(n->loop), err);
}

static bool on_class_gone(struct net_mesh *n, const struct msg_class *m, struct err *err)
{
	struct prefix p = host_prefix(&m->ip);

	return mesh_class_gone(n->mesh, &p, loop_now(n->loop), err);
}

/* ---- routes, rows, hosts ---- */

static bool has_prefix(const struct prefixes *s, const struct prefix *p)
{
	for (size_t i = 0; i < s->n; i++)
		if (prefix_cmp(&s->list[i], p) == 0)
			return true;
	return false;
}

static bool on_routes(struct net_mesh *n, const struct msg_table *m, int fd, struct err *err)
{
	struct prefixes next = { mem_calloc(m->count, sizeof(struct prefix)), m->count };
	struct buf bytes;
	bool ok;

	buf_init(&bytes, MSG_ROUTES_TEXT_MAX);
	ok = msg_memfd_read(fd, MSG_ROUTES_TEXT_MAX, &bytes, err) &&
	     msg_routes_read(buf_span(&bytes), m->count, next.list, err);
	buf_done(&bytes);
	for (size_t i = 0; ok && i < n->routes.n; i++)
		if (!has_prefix(&next, &n->routes.list[i]))
			ok = mesh_route_gone(n->mesh, &n->routes.list[i], err);
	for (size_t i = 0; ok && i < next.n; i++)
		ok = mesh_route(n->mesh, &next.list[i], err);
	if (ok)
		swap(n->routes, next);
	free(next.list);
	return ok;
}

static bool rows_load(struct net_mesh *n, const struct msg_row *rows, size_t count, struct err *err)
{
	scoped_free struct filter_row *in = mem_calloc(count, sizeof(*in));
	scoped_free struct filter_forward *forward = mem_calloc(count, sizeof(*forward));
	struct filter_rows all = { .rows = in, .forward = forward };
	struct prefixes vias = { mem_calloc(count, sizeof(struct prefix)), 0 };
	struct boot now = loop_now(n->loop);
	bool ok;

	for (size_t i = 0; i < count; i++) {
		const struct msg_row *r = &rows[i];

		if (r->way == MSG_WAY_IN)
			in[all.rows_n++] =
				(struct filter_row){r->klass, r->protocol, r->first, r->last};
		else if (r->way == MSG_WAY_FORWARD)
			forward[all.forward_n++] = (struct filter_forward){
				r->klass, r->to, r->protocol, r->first, r->last};
		else if (r->way == MSG_WAY_VIA)
			vias.list[vias.n++] = r->to;
		/* OWN is what this gateway routes: the filter forwards nothing else anyway */
	}
	ok = mesh_rows(n->mesh, &all, now, err);
	for (size_t i = 0; ok && i < n->vias.n; i++)
		if (!has_prefix(&vias, &n->vias.list[i]))
			ok = mesh_class_gone(n->mesh, &n->vias.list[i], now, err);
	for (size_t i = 0; ok && i < count; i++)
		if (rows[i].way == MSG_WAY_VIA)
			ok = mesh_class(n->mesh, &rows[i].to, 1, 0, rows[i].timeout, now, err);
	if (ok)
		swap(n->vias, vias);
	free(vias.list);
	return ok;
}

static bool on_rows(struct net_mesh *n, const struct msg_table *m, int fd, struct err *err)
{
	scoped_free struct msg_row *rows = mem_calloc(m->count, sizeof(*rows));
	struct buf bytes;
	bool ok;

	buf_init(&bytes, MSG_ROWS_TEXT_MAX);
	ok = msg_memfd_read(fd, MSG_ROWS_TEXT_MAX, &bytes, err) &&
	     msg_rows_read(buf_span(&bytes), m->count, rows, err) &&
	     rows_load(n, rows, m->count, err);
	buf_done(&bytes);
	n->rows_told = n->rows_told || ok;
	return ok;
}

static bool on_hosts(struct net_mesh *n, const struct msg_table *m, int fd, struct err *err)
{
	scoped_free struct msg_host *list = mem_calloc(m->count, sizeof(*list));
	scoped_free struct host *hosts = mem_calloc(m->count, sizeof(*hosts));
	size_t left_out = 0;
	struct buf bytes;
	bool ok;

	buf_init(&bytes, MSG_HOSTS_TEXT_MAX);
	ok = msg_memfd_read(fd, MSG_HOSTS_TEXT_MAX, &bytes, err) &&
	     msg_hosts_read(buf_span(&bytes), m->count, list, err);
	for (size_t i = 0; ok && i < m->count; i++)
		hosts[i] = (struct host){ list[i].ip, list[i].name };
	if (ok && *n->hosts_file)
		ok = hosts_write(n->hosts_file, hosts, m->count, &left_out, err);
	buf_done(&bytes);
	if (left_out)
		log_info("%zu names are not in %s: no host names, or it has them already", left_out,
		         n->hosts_file);
	n->hosts_told = n->hosts_told || ok;
	return ok;
}

/* ---- reset and end ---- */

static void on_reset(struct net_mesh *n)
{
	n->device_told = n->rows_told = n->hosts_told = false;
	n->routes.n = n->vias.n = 0;    /* mesh_end() sees to those that are not told again */
	mesh_reset(n->mesh);
}

static bool on_end(struct net_mesh *n, struct err *err)
{
	bool ok;

	if (!n->device_told) {
		remove_all(n);
		return true;
	}
	ok = n->rows_told || rows_load(n, NULL, 0, err);
	ok = mesh_end(n->mesh, loop_now(n->loop), err) && ok;
	if (!n->hosts_told && *n->hosts_file)
		ok = hosts_write(n->hosts_file, NULL, 0, NULL, err) && ok;
	return ok;
}

/* ---- status ---- */

struct status_out {
	struct net_mesh *mesh;
	struct msg       m;
};

static void send_status(struct status_out *s)
{
	s->mesh->ops->answer(s->mesh->arg, &s->m);
	s->m.status.peers_n = 0;
}

static void add_status(void *arg, const struct device_peer_state *st)
{
	struct status_out *s = arg;
	struct msg_peer_status *p = &s->m.status.peers[s->m.status.peers_n++];

	memcpy(p->key, st->key.b, MSG_KEY_LEN);
	p->endpoint = st->endpoint;
	p->handshake = st->handshake.sec;
	p->rx = st->rx;
	p->tx = st->tx;
	if (s->m.status.peers_n == MSG_PEERS_MAX)
		send_status(s);
}

static void count_refused(struct net_mesh *n, struct msg_status *s)
{
	struct filter_counters c = { 0 };
	struct err err = { 0 };

	if (!mesh_counters(n->mesh, &c, &err)) {
		log_debug("%s", err.msg);
		return;
	}
	s->refused[MSG_FILTER_FORGED] = c.forged.packets;
	s->refused[MSG_FILTER_SOURCE] = c.source.packets;
	s->refused[MSG_FILTER_CLASSLESS] = c.classless.packets;
	s->refused[MSG_FILTER_NO_ROW] = c.no_row.packets;
	s->refused[MSG_FILTER_NOT_NEW] = c.not_new.packets;
	s->refused[MSG_FILTER_USER] = c.user.packets;
	s->refused[MSG_FILTER_LAB] = c.lab.packets;
	s->refused[MSG_FILTER_FRONT] = c.front.packets;
}

static bool on_status(struct net_mesh *n, uint32_t order, struct err *err)
{
	enum device_backend backend;
	struct device_info info;
	struct status_out *s;
	bool ok;

	if (!mesh_info(n->mesh, &info, &backend, err))
		return false;
	s = mem_alloc(sizeof(*s));
	s->mesh = n;
	s->m.type = MSG_STATUS;
	s->m.status.order = order;
	s->m.status.port = info.port;
	s->m.status.backend = span_str(device_backend_name(backend));
	if (mesh_cut_unable(n->mesh))
		s->m.status.cannot = span_str(mesh_cut_unable(n->mesh));
	s->m.status.cut[0] = mesh_cut_count(n->mesh).sockets;
	s->m.status.cut[1] = mesh_cut_count(n->mesh).flows;
	count_refused(n, &s->m.status);
	ok = mesh_peers(n->mesh, add_status, s, err);
	if (ok)
		send_status(s);         /* the last ones; or none, with port and backend */
	free(s);
	return ok;
}

/* ---- orders ---- */

static void carry_out(struct net_mesh *n, const struct msg *m, int *fds)
{
	struct err err = { 0 };
	bool ok = true;

	switch (m->type) {
	case MSG_RESET:      on_reset(n); break;
	case MSG_NET_END:    ok = on_end(n, &err); break;
	case MSG_DEVICE:     ok = on_device(n, &m->device, &err); break;
	case MSG_PEER:       ok = on_peer(n, &m->peer, &err); break;
	case MSG_PEER_GONE:  ok = on_peer_gone(n, &m->peer, &err); break;
	case MSG_ROUTES:     ok = on_routes(n, &m->table, fds[0], &err); break;
	case MSG_CLASS:      ok = on_class(n, &m->klass, &err); break;
	case MSG_CLASS_GONE: ok = on_class_gone(n, &m->klass, &err); break;
	case MSG_ROWS:       ok = on_rows(n, &m->table, fds[0], &err); break;
	case MSG_HOSTS:      ok = on_hosts(n, &m->table, fds[0], &err); break;
	case MSG_STATUS_ASK: ok = on_status(n, m->order, &err); break;
	default:             ok = err_set(&err, ERR_PEER, "no order"); break;
	}
	/* Not before the denials that come behind this one: they end connections together. */
	if (mesh_cut_waits(n->mesh) && !n->cut_soon) {
		n->cut_soon = true;
		loop_timer_after(n->cut, CUT_MS * (SEC_NS / 1000));
	}
	say_cut(n);
	if (!ok && err.code == ERR_NOTNOW && *n->why)
		err_set(&err, ERR_NOTNOW, "%s: %s", n->interface, n->why);
	/* The number stands first in each of them. */
	done(n, m->order, ok ? NULL : &err);
}

void net_mesh_order(struct net_mesh *n, const struct msg *m, int *fds, size_t fd_count)
{
	struct err err = { 0 };

	if (!n->starting)
		carry_out(n, m, fds);
	else if (!put_off(n, m, fds, fd_count, &err))
		done(n, m->order, &err);
}

void net_mesh_forget(struct net_mesh *n)
{
	drop_waiting(n);
}

/* ---- life ---- */

/* Those who may send into the mesh: the listed, and always core, which calls the coordinator. */
static bool users_find(const struct conf_strs *names, uid_t core, uint32_t users[FILTER_USERS_MAX],
                       struct err *err)
{
	if (names->count >= FILTER_USERS_MAX)
		return err_set(err, ERR_LIMIT, "\"users\": more than %d", FILTER_USERS_MAX - 1);
	users[names->count] = core;
	for (size_t i = 0; i < names->count; i++) {
		struct passwd pw, *found;
		char room[4096];

		if (getpwnam_r(names->list[i], &pw, room, sizeof(room), &found) || !found)
			return err_set(err, ERR_CONFIG, "\"users\": there is no user \"%s\"",
				       names->list[i]);
		users[i] = pw.pw_uid;
	}
	return true;
}

struct net_mesh *net_mesh_new(struct loop *l, const struct conf *conf,
			      const struct privilege_users *users, const struct net_mesh_ops *ops,
			      void *arg, struct err *err)
{
	static const enum device_backend backends[] = {
		[CONF_BACKEND_AUTO] = DEVICE_AUTO, [CONF_BACKEND_KERNEL] = DEVICE_KERNEL,
		[CONF_BACKEND_USERSPACE] = DEVICE_USERSPACE,
	};
	uint32_t local[FILTER_USERS_MAX], front = users->front;
	struct mesh_conf mc = {
		.interface = conf->mesh.interface, .port = (uint16_t)conf->mesh.port,
		.backend = backends[conf->mesh.backend],
		.users = local, .users_n = conf->mesh.users.count + 1,
		.users_any = conf->mesh.users.count == 0,
		.fronts = &front, .fronts_n = 1,
	};
	struct net_mesh *n = mem_alloc(sizeof(*n));

	n->loop = l;
	n->ops = ops;
	n->arg = arg;
	n->last = &n->first;
	n->hosts_file = mem_strdup(conf->mesh.hosts_file);
	n->wanted = backends[conf->mesh.backend];
	n->poll = loop_timer_new(l, on_poll, n);
	n->check = loop_timer_new(l, on_check, n);
	n->cut = loop_timer_new(l, on_cut, n);
	if (!device_name_ok(span_str(conf->mesh.interface)) ||
	    !span_cstr(span_str(conf->mesh.interface), n->interface, sizeof(n->interface)))
		err_set(err, ERR_CONFIG, "\"interface\": \"%s\" cannot be one's name",
			conf->mesh.interface);
	else if (users_find(&conf->mesh.users, users->core, local, err) &&
		 (n->mesh = mesh_new(&mc, err)))
		return n;
	net_mesh_free(n);
	return NULL;
}

void net_mesh_free(struct net_mesh *n)
{
	if (!n)
		return;
	drop_waiting(n);
	loop_fd_remove(n->events);
	mesh_free(n->mesh);
	secret_done(&n->key);
	loop_timer_free(n->poll);
	loop_timer_free(n->check);
	loop_timer_free(n->cut);
	free(n->routes.list);
	free(n->vias.list);
	free(n->hosts_file);
	free(n);
}

void net_mesh_remove(struct net_mesh *n)
{
	remove_all(n);
}
