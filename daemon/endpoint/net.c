/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/net.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/channel.h"
#include "daemon/endpoint/conf_stage.h"
#include "daemon/endpoint/listeners.h"
#include "daemon/endpoint/net_mesh.h"
#include "daemon/endpoint/privilege.h"
#include "daemon/endpoint/targets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct net;

enum { LISTEN_AGAIN_SEC = 5 };

/* A front that this process has a channel to. */
struct net_front {
	struct net       *net;
	enum process_kind kind;
	uint16_t          index;
	struct channel   *channel;
};

struct net {
	struct loop      *loop;
	struct channel   *parent, *core;
	struct net_front  fronts[2 * CONF_FRONTS_MAX];
	size_t            front_count;
	struct conf_stage stage;
	struct targets   *now, *before, *next;          /* of three configurations */
	uint32_t          before_number;
	struct book       book;
	struct listeners  listeners;
	struct loop_timer *again;                       /* to listen where it was not possible */
	char              said[ERR_MSG_MAX];            /* why it was not */
	struct ip         overlay[MSG_ADDRESSES_MAX];   /* where bare ports listen */
	size_t            overlay_n;
	struct net_mesh  *mesh;                         /* NULL in standalone mode */
	bool              confined, draining;
	int               status;
};

static void stop(struct net *n, int status)
{
	n->status = status;
	loop_stop(n->loop);
}

static void tell(struct channel *to, const struct msg *m)
{
	struct err err = { 0 };

	if (to && !channel_send(to, m, NULL, 0, &err))
		log_error("%s: %s", msg_name(m->type), err.msg);
}

/* ---- listening sockets ---- */

/* All that "services" listens at (NULL: all there are) as one set, in as many
 * messages as it takes. */
static void send_listeners(struct net *n, struct channel *to, const struct conf_map *services)
{
	struct msg m = {.type = MSG_LISTEN, .listen = {.conf = n->stage.now_number, .first = true}};
	int fds[MSG_LISTEN_MAX];
	struct err err = { 0 };
	bool ok = true;

	for (size_t i = 0; ok && i < n->listeners.n; i++) {
		const struct listener *one = &n->listeners.list[i];

		if (services && !listeners_serves(one, services))
			continue;
		if (m.listen.n == MSG_LISTEN_MAX) {
			ok = channel_send(to, &m, fds, m.listen.n, &err);
			m.listen.first = false;
			m.listen.n = 0;
		}
		fds[m.listen.n] = one->fd;
		m.listen.list[m.listen.n++] = (struct msg_listener){ span_str(one->key), one->at };
	}
	m.listen.last = true;
	if (!ok || !channel_send(to, &m, fds, m.listen.n, &err))
		log_error("listening sockets: %s", err.msg);
}

static const struct conf_map *services_of(const struct net *n, enum process_kind kind)
{
	return kind == PROCESS_PUBLIC ? &n->stage.now->public : &n->stage.now->services;
}

static void send_listeners_to_all(struct net *n)
{
	for (size_t i = 0; i < n->front_count; i++)
		if (n->fronts[i].channel)
			send_listeners(n, n->fronts[i].channel, services_of(n, n->fronts[i].kind));
	send_listeners(n, n->parent, NULL);
}

/* ---- fronts ---- */

static void on_front_gone(void *arg, const struct err *why)
{
	struct net_front *f = arg;

	log_debug("front %u: %s", f->index, why->msg);
	channel_free(take(f->channel));
}

static void on_front(void *arg, const struct msg *m, int *fds, size_t fd_count)
{
	struct net_front *f = arg;
	struct net *n = f->net;
	const struct msg_connect *ask = &m->connect;
	struct msg answer = { .type = MSG_CONNECTED, .connected = { .id = ask->id } };
	const struct targets *t = ask->conf == n->stage.now_number ? n->now :
	                          ask->conf == n->before_number ? n->before : NULL;
	struct err err = { 0 };
	int e = ESTALE, fd;

	(void)fds;
	(void)fd_count;
	fd = t ? targets_connect(t, &n->book, listeners_own, &n->listeners, f->kind == PROCESS_PUBLIC, ask->service,
	                         ask->upstream, &e)
	       : -1;
	if (fd < 0) {
		answer.connected.error = (uint32_t)e;
		/* Indexes that are not in the table do not come from a front in its right mind. */
		if (e == EINVAL || e == ESTALE)
			log_warn("%s %u asks for upstream %u of service %u of configuration %u: "
				 "refused",
				 process_kind_name(f->kind), f->index, ask->upstream, ask->service,
				 ask->conf);
	}
	if (!channel_send(f->channel, &answer, &fd, fd >= 0 ? 1 : 0, &err))
		log_warn("front %u: %s", f->index, err.msg);
	if (fd >= 0)
		close(fd);
}

/* The slot of this front: an earlier life of it, or a new one. */
static struct net_front *front_slot(struct net *n, enum process_kind kind, uint16_t index)
{
	for (size_t i = 0; i < n->front_count; i++)
		if (n->fronts[i].kind == kind && n->fronts[i].index == index)
			return &n->fronts[i];
	if (n->front_count == array_size(n->fronts))
		return NULL;
	return &n->fronts[n->front_count++];
}

/* ---- core ---- */

static void on_core_gone(void *arg, const struct err *why)
{
	struct net *n = arg;

	/* Device and filter stay as they are, and run out by themselves. */
	log_debug("core: %s", why->msg);
	channel_free(take(n->core));
}

/* Core may be a configuration ahead. What is in none is of one that was dropped. */
static void on_name(struct net *n, const struct msg_name *m)
{
	if (targets_have_name(n->now, m->name) || targets_have_name(n->next, m->name) ||
	    targets_have_name(n->before, m->name))
		book_set(&n->book, m->name, m->at);
	tell(n->core, &(struct msg){ .type = MSG_NAMED, .named = { m->serial } });
}

static void on_core(void *arg, const struct msg *m, int *fds, size_t fd_count)
{
	struct net *n = arg;
	struct msg answer = { .type = MSG_DONE };

	if (m->type == MSG_NAME) {
		on_name(n, &m->name);
		return;
	}
	if (n->mesh) {
		net_mesh_order(n->mesh, m, fds, fd_count);
		return;
	}
	/* The order number stands first in each of them. */
	answer.done.order = m->order;
	answer.done.code = ERR_NOTNOW;
	answer.done.text = SPAN("there is no mesh in standalone mode");
	tell(n->core, &answer);
}

static void on_answer(void *arg, const struct msg *m)
{
	struct net *n = arg;

	tell(n->core, m);
}

/*
 * What the configuration in use wants, at the addresses of now. One that another
 * program has leaves all as they are, and is tried again: whoever has it may go.
 */
static void listen_again(void *arg)
{
	struct net *n = arg;
	struct err err = { 0 };

	if (!n->stage.now || n->draining)
		return;
	if (listeners_prepare(&n->listeners, n->stage.now, n->overlay, n->overlay_n, &err)) {
		listeners_use(&n->listeners);
		n->said[0] = '\0';
		loop_timer_set(n->again, BOOT_NEVER);
	} else {
		if (strcmp(n->said, err.msg) != 0)
			log_error("%s; tried again every %d s", err.msg, LISTEN_AGAIN_SEC);
		snprintf(n->said, sizeof(n->said), "%s", err.msg);
		loop_timer_after(n->again, LISTEN_AGAIN_SEC * SEC_NS);
	}
	send_listeners_to_all(n);
}

/* Bare ports listen at other addresses from now on. */
static void on_addresses(void *arg, const struct ip *list, size_t count)
{
	struct net *n = arg;

	if (count == n->overlay_n &&
	    (count == 0 || memcmp(n->overlay, list, count * sizeof(*list)) == 0))
		return;
	if (count)
		memcpy(n->overlay, list, count * sizeof(*list));
	n->overlay_n = count;
	listen_again(n);
}

/* ---- parent ---- */

static void on_tunnel(void *arg, bool on)
{
	struct net *n = arg;

	tell(n->parent, &(struct msg){ .type = MSG_TUNNEL, .tunnel = { .on = on } });
}

static bool make_mesh(struct net *n, struct err *err)
{
	static const struct net_mesh_ops ops = { on_answer, on_addresses, on_tunnel };
	struct privilege_users users;

	if (n->mesh || n->stage.next->mode == CONF_STANDALONE)
		return true;
	if (!privilege_users_find(n->stage.next, &users, err))
		return false;
	n->mesh = net_mesh_new(n->loop, n->stage.next, &users, &ops, n, err);
	return n->mesh != NULL;
}

static bool prepare(struct net *n, const struct msg_conf *m, int fd, struct err *err)
{
	if (!conf_stage_prepare(&n->stage, m, fd, err))
		return false;
	targets_free(n->next);
	n->next = targets_new(n->stage.next, err);
	if (!n->next ||
	    !listeners_prepare(&n->listeners, n->stage.next, n->overlay, n->overlay_n, err)) {
		conf_stage_drop(&n->stage);
		return false;
	}
	if (!n->confined && (!make_mesh(n, err) || !privilege_net(n->stage.next, err))) {
		listeners_drop(&n->listeners);
		conf_stage_drop(&n->stage);
		return false;
	}
	n->confined = true;
	return true;
}

static void on_conf(struct net *n, const struct msg_conf *m, int fd)
{
	struct err err = { 0 };
	struct msg answer = { .type = MSG_CONF_DONE, .conf_done = { .generation = m->generation } };

	answer.conf_done.ok = prepare(n, m, fd, &err);
	answer.conf_done.text = span_str(err.msg);
	tell(n->parent, &answer);
}

static void on_use(struct net *n, uint32_t number)
{
	struct msg answer = { .type = MSG_READY, .conf = { .generation = number } };

	uint32_t before = n->stage.now_number;

	if (!conf_stage_use(&n->stage, number)) {
		log_error("configuration %u was never prepared", number);
		return;
	}
	/* Requests that fronts made before they heard of this are still answered. */
	targets_free(n->before);
	n->before = n->now;
	n->before_number = before;
	n->now = take(n->next);
	book_keep(&n->book, n->now, n->before);
	listen_again(n);        /* overlay addresses may have come meanwhile */
	tell(n->parent, &answer);
}

static void on_neighbour(struct net *n, const struct msg_neighbour *m, int *fd)
{
	struct net_front *f;

	if (m->kind == PROCESS_CORE) {
		channel_free(n->core);
		if (n->mesh)
			net_mesh_forget(n->mesh);
		n->core = channel_new(n->loop, take_fd(fd), PROCESS_NET, PROCESS_CORE, on_core,
				      on_core_gone, n);
		return;
	}
	f = front_slot(n, m->kind, m->index);
	if (!f) {
		log_error("more fronts than %zu", array_size(n->fronts));
		return;
	}
	channel_free(f->channel);
	*f = (struct net_front){ n, m->kind, m->index, NULL };
	f->channel =
		channel_new(n->loop, take_fd(fd), PROCESS_NET, f->kind, on_front, on_front_gone, f);
	if (n->stage.now && !n->draining)
		send_listeners(n, f->channel, services_of(n, f->kind));
}

/* Sockets that an earlier life of this process, or the service manager, left with the parent. */
static void on_kept(struct net *n, const struct msg_listen *m, int *fds)
{
	for (size_t i = 0; i < m->n; i++) {
		struct err err = { 0 };

		if (!listeners_keep(&n->listeners, m->list[i].key, &m->list[i].at, take_fd(&fds[i]),
				    &err))
			log_warn("%s", err.msg);
	}
}

static void on_parent(void *arg, const struct msg *m, int *fds, size_t fd_count)
{
	struct net *n = arg;

	(void)fd_count;
	switch (m->type) {
	case MSG_CONF:
		on_conf(n, &m->conf, fds[0]);
		break;
	case MSG_CONF_USE:
		on_use(n, m->conf.generation);
		break;
	case MSG_CONF_DROP:
		listeners_drop(&n->listeners);
		targets_free(take(n->next));
		conf_stage_drop(&n->stage);
		break;
	case MSG_NEIGHBOUR:
		on_neighbour(n, &m->neighbour, &fds[0]);
		break;
	case MSG_LISTEN:
		on_kept(n, &m->listen, fds);
		break;
	case MSG_TUNNEL:
		if (n->mesh)
			net_mesh_tunnel(n->mesh, &m->tunnel);
		break;
	case MSG_PING:
		tell(n->parent, &(struct msg){ .type = MSG_PONG });
		break;
	case MSG_DRAIN:
		/* Who comes now is refused at once instead of waiting for nobody. */
		n->draining = true;
		listeners_done(&n->listeners);
		break;
	case MSG_END:
		n->draining = true;
		if (n->mesh)
			net_mesh_remove(n->mesh);
		stop(n, EXIT_SUCCESS);
		break;
	default:
		break;
	}
}

static void on_parent_gone(void *arg, const struct err *why)
{
	struct net *n = arg;

	log_error("%s", why->msg);
	stop(n, EXIT_FAILURE);
}

int net_main(int parent)
{
	struct net *n = mem_alloc(sizeof(*n));
	struct err err = { 0 };
	int status;

	n->loop = loop_new(&err);
	if (n->loop) {
		n->again = loop_timer_new(n->loop, listen_again, n);
		n->parent = channel_new(n->loop, parent, PROCESS_NET, PROCESS_PARENT, on_parent,
					on_parent_gone, n);
		if (!loop_run(n->loop, &err))
			n->status = EXIT_FAILURE;
	} else {
		n->status = EXIT_FAILURE;
	}
	if (err.code)
		log_error("%s", err.msg);
	status = n->status;
	for (size_t i = 0; i < n->front_count; i++)
		channel_free(n->fronts[i].channel);
	net_mesh_free(n->mesh);
	channel_free(n->core);
	channel_free(n->parent);
	loop_timer_free(n->again);
	listeners_done(&n->listeners);
	targets_free(n->now);
	targets_free(n->before);
	targets_free(n->next);
	book_done(&n->book);
	conf_stage_done(&n->stage);
	loop_free(n->loop);
	free(n);
	return status;
}
