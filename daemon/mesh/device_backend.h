/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_DEVICE_BACKEND_H
#define DAEMON_MESH_DEVICE_BACKEND_H

/* What a backend of device.h provides. device.c checks arguments and limits;
 * a backend may rely on that. */

#include "daemon/mesh/device.h"

struct device_ops {
	enum device_backend kind;
	void *(*open)(const char *name, struct err *err);       /* NULL on failure */
	void (*close)(void *self);
	/* priv NULL: leave the key. port -1: leave the port. */
	bool (*setup)(void *self, const struct secret *priv, int port, struct err *err);
	bool (*peer_set)(void *self, const struct device_peer *p, struct err *err);
	bool (*peer_remove)(void *self, const struct device_key *key, struct err *err);
	/* ret_info and fn may be NULL. Peers are told once each, after the answer is whole. */
	bool (*read)(void *self, struct device_info *ret_info, device_peer_fn *fn, void *arg,
		     struct err *err);
};

extern const struct device_ops device_kernel, device_user;

/* True if the kernel has WireGuard. ERR_MISSING (false) if it has not. */
bool device_kernel_there(struct err *err);

/* A growing list of what a listing finds, DEVICE_PEERS_MAX at most. */
struct device_peer_list {
	struct device_peer_state *list;
	size_t                    n, cap;
};

struct device_peer_state *device_peer_list_add(struct device_peer_list *l, struct err *err);

/* What the userspace process says of itself. It hears strangers, so its words
 * are judged: on failure both may be half filled. Keys that nobody knows are
 * passed over. The caller frees peers->list. */
bool device_user_parse(struct span answer, struct device_info *info, struct device_peer_list *peers,
		       struct err *err);

#endif
