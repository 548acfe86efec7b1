/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_NET_MESH_H
#define ENDPOINT_NET_MESH_H

/*
 * Core's orders, decoded and put to daemon/mesh. Where the kernel has no WireGuard
 * the parent is asked for the userspace device's process. It decides nothing.
 */

#include "base/loop.h"
#include "daemon/endpoint/messages.h"
#include "daemon/endpoint/privilege.h"

struct conf;
struct net_mesh;

struct net_mesh_ops {
	void (*answer)(void *arg, const struct msg *m);         /* MSG_DONE, MSG_STATUS: to core */
	/* This node's overlay addresses, when they change; none: no device. */
	void (*addresses)(void *arg, const struct ip *list, size_t n);
	void (*tunnel)(void *arg, bool on);     /* MSG_TUNNEL, to the parent: the userspace device's process */
};

/* Copies what it needs of conf. Touches nothing before the first order. */
struct net_mesh *net_mesh_new(struct loop *l, const struct conf *conf,
                              const struct privilege_users *users,
                              const struct net_mesh_ops *ops, void *arg, struct err *err);

/* Lets go: device, filter and hosts block stay, as after a crash. Accepts NULL. */
void net_mesh_free(struct net_mesh *n);

/* Takes all of it away, the filter last. */
void net_mesh_remove(struct net_mesh *n);

/* One of core's orders; fds as for channel_msg_fn. Answered now or, while the
 * userspace device is not there yet, later, in order. */
void net_mesh_order(struct net_mesh *n, const struct msg *m, int *fds, size_t fd_count);

/* What the parent says of that process. */
void net_mesh_tunnel(struct net_mesh *n, const struct msg_tunnel *m);

/* Core has a new life: what waits of the old one's orders is dropped. */
void net_mesh_forget(struct net_mesh *n);

#endif
