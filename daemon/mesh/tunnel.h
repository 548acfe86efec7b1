/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_TUNNEL_H
#define DAEMON_MESH_TUNNEL_H

/*
 * What the userspace WireGuard process needs from a privileged parent: a TUN
 * interface that its user may attach to and a listening socket, so that it
 * starts with its own user and CAP_NET_ADMIN (which it needs to set the MTU)
 * and nothing else.
 *
 *	tunnel_init(&t, "reeve0", uid, &err)            as root
 *	fork; in the child: drop to uid, CAP_NET_ADMIN ambient; tunnel_exec(&t, NULL, "error")
 *	in the parent: keep t for the next start, or tunnel_done(&t)
 *
 * The interface is persistent: it keeps its addresses and routes while the
 * process is away, and carries nothing. device_delete() removes it. The
 * process attaches to it by name, since which flags the descriptor must have
 * differs between its versions.
 */

#include "base/err.h"
#include "daemon/mesh/device.h"

#include <sys/types.h>

struct tunnel {
	char name[DEVICE_NAME_MAX];
	int  listen_fd;         /* DEVICE_RUN_DIR/NAME.sock: the tunnel's user owns it, group 0
				 * may connect */
};

/* Creates or adopts both. ERR_BUSY if another process has the interface. */
bool tunnel_init(struct tunnel *t, const char *name, uid_t uid, struct err *err);

/* Closes the descriptor; interface and socket file stay. */
void tunnel_done(struct tunnel *t);

/* In the child. Returns only on failure, with errno. program NULL looks for
 * wireguard-go in a fixed list of folders; level is "silent", "error" or
 * "verbose". Every descriptor from 4 on is closed; the environment is new. */
void tunnel_exec(const struct tunnel *t, const char *program, const char *level);

#endif
