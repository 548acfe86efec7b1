/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_TUNNEL_H
#define DAEMON_MESH_TUNNEL_H

/*
 * What the userspace WireGuard process needs from a privileged parent: an
 * open TUN interface and a listening socket, so that it starts with its own
 * user and CAP_NET_ADMIN (which it needs to set the MTU) and nothing else.
 *
 *	tunnel_init(&t, "reeve0", uid, NULL, &err)      as root
 *	fork; in the child: drop to uid, CAP_NET_ADMIN ambient; tunnel_exec(&t, "error")
 *	in the parent: keep t for the next start, or tunnel_done(&t)
 *
 * The interface is persistent: it keeps its addresses and routes while the
 * process is away, and carries nothing. device_delete() removes it.
 */

#include "base/err.h"
#include "daemon/mesh/device.h"

#include <sys/types.h>

enum { TUNNEL_PATH_MAX = 256 };

struct tunnel {
	char name[DEVICE_NAME_MAX];
	char program[TUNNEL_PATH_MAX];
	int  tun_fd;
	int  listen_fd;         /* DEVICE_RUN_DIR/NAME.sock: the tunnel's user owns it, group 0
				 * may connect */
};

/*
 * Creates or adopts both. program NULL looks for wireguard-go in a fixed list
 * of folders (ERR_MISSING). It is asked for its version, as uid: before
 * 20230310 it wants packets with a header that later ones do not know.
 * ERR_BUSY if another process has the interface.
 */
bool tunnel_init(struct tunnel *t, const char *name, uid_t uid, const char *program,
		 struct err *err);

/* Closes both descriptors; interface and socket file stay. */
void tunnel_done(struct tunnel *t);

/* In the child. Returns only on failure, with errno. level is "silent", "error" or "verbose".
 * Every descriptor from 5 on is closed; the environment is new. */
void tunnel_exec(const struct tunnel *t, const char *level);

#endif
