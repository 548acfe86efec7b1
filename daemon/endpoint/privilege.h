/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_PRIVILEGE_H
#define ENDPOINT_PRIVILEGE_H

/*
 * What each process gives away, once and for good, before it reads the first
 * byte that a stranger wrote. In two steps: privilege_enter() at once after
 * the start (user, capabilities, limits), and one of the others when the
 * process has what it needs (files, system calls). Without root users and
 * capabilities stay as they are; the second step is done all the same.
 * Next: seccomp.c for the calls that are left, landlock.c for the files.
 */

#include "base/err.h"
#include "daemon/endpoint/messages.h"

#include <sys/types.h>

struct conf;

/* Numbers of the configured users, looked up once by the parent: the fronts
 * have no /etc/passwd to look into. */
struct privilege_users {
	uid_t core, front, tunnel;
	gid_t core_group, front_group, tunnel_group;
};

/* ERR_CONFIG if one does not exist, is root, or is two of them. Without root
 * all are the caller. */
bool privilege_users_find(const struct conf *conf, struct privilege_users *ret_u, struct err *err);

/* The parent, before its first child: what its children need from it, and reading its
 * configuration again. */
bool privilege_parent(struct err *err);

/*
 * The process becomes uid and gid with no other groups (PROCESS_NET: stays
 * root with a few capabilities), sees "root" as the whole file system if it
 * is not NULL, cannot gain privileges, leaves no core dump, cannot be traced
 * by its user's other processes, and dies with its parent.
 */
bool privilege_enter(enum process_kind kind, uid_t uid, gid_t gid, const char *root,
                     struct err *err);

/* A front, with its descriptors: no file, no process, no socket(2), no connect(2). */
bool privilege_front(struct err *err);

/* Writes in its own folders only; no program, no other process. */
bool privilege_core(const struct conf *conf, struct err *err);

/* With mesh: NET_ADMIN and CHOWN, too, for the hosts file; without: NET_BIND_SERVICE alone, and no
 * file to write. No program and no other user in either. */
bool privilege_net(const struct conf *conf, struct err *err);

/* In the parent's child that becomes the userspace device: uid and gid with CAP_NET_ADMIN alone. */
bool privilege_tunnel(uid_t uid, gid_t gid, struct err *err);

#endif
