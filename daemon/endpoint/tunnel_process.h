/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_TUNNEL_PROCESS_H
#define ENDPOINT_TUNNEL_PROCESS_H

/*
 * The userspace WireGuard process, where the kernel has none: started by the
 * parent, when net asks for it, as its own user with CAP_NET_ADMIN and nothing
 * else, and started again when it dies. It outlives net, which speaks to it over
 * its socket; what it held in memory (peers) net tells it again.
 */

#include "base/loop.h"

#include <sys/types.h>

struct tunnel_process;

/* on_start is called at each start, the first included: the device is not there yet. */
typedef void tunnel_start_fn(void *arg);

struct tunnel_process *tunnel_process_new(struct loop *l, const char *interface, uid_t uid,
                                          gid_t gid, tunnel_start_fn *on_start, void *arg,
                                          struct err *err);

bool tunnel_process_runs(const struct tunnel_process *t);

/* Ends the process; the interface stays (device_delete() removes it). Accepts NULL. */
void tunnel_process_free(struct tunnel_process *t);

#endif
