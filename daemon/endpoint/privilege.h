/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_PRIVILEGE_H
#define ENDPOINT_PRIVILEGE_H

/*
 * What each process gives away, once and for good, before it reads the first
 * byte that a stranger wrote. Order matters and is in privilege.c. Without
 * root ("unprivileged": true) users and capabilities stay as they are; the
 * rest is done all the same.
 */

#include "base/err.h"

#include <sys/types.h>

struct conf;

/* Numbers of the configured users, looked up once by the parent: later there
 * may be no /etc/passwd to look into. */
struct privilege_users {
	uid_t core, front, tunnel;
	gid_t core_group, front_group, tunnel_group;
};
bool privilege_users_find(const struct conf *conf, struct privilege_users *ret_u, struct err *err);

/* In a child, at once after the fork: the user (not for net), no core dumps, no
 * ptrace by others, no new privileges, the end with the parent. */
bool privilege_front_user(const struct privilege_users *u, bool unprivileged, struct err *err);
bool privilege_core_user(const struct privilege_users *u, bool unprivileged, struct err *err);

/* When its descriptors are there: no file system, no process, no socket(2)
 * or connect(2). What is left stands in privilege.c. */
bool privilege_front(const struct conf *conf, struct err *err);

/* Files in its own folders only (Landlock, where the kernel has it), and no
 * calls that a program of its kind has no use for (seccomp). */
bool privilege_core(const struct conf *conf, struct err *err);

/* Root without most of it: CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, and what
 * starting the userspace device as another user takes. */
bool privilege_net(const struct conf *conf, struct err *err);

#endif
