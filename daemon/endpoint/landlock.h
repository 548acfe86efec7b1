/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_LANDLOCK_H
#define ENDPOINT_LANDLOCK_H

/*
 * Landlock (landlock(7)), by system call: files that a process may touch,
 * whoever owns them. A kernel without it is no error: users, chroot and
 * seccomp stand without it. Rules cannot be taken back.
 */

#include "base/err.h"

#include <stddef.h>

enum landlock_access {
	LANDLOCK_READ = 1,      /* files and folders below */
	LANDLOCK_WRITE,         /* and make, write, rename and remove them there */
};

struct landlock_path {
	const char           *path;     /* NULL or not there: left out */
	enum landlock_access  access;
};

/* No file at all, no TCP bind or connect, no abstract unix socket, no signal to others: as much
 * of it as this kernel knows. */
bool landlock_nothing(struct err *err);

/* These, and nothing else, of the file system. The network stays. */
bool landlock_paths(const struct landlock_path *paths, size_t n, struct err *err);

/* What this kernel has: 0 is nothing. */
int landlock_version(void);

#endif
