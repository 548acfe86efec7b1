/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_SDNOTIFY_H
#define ENDPOINT_SDNOTIFY_H

/* What a service manager is told and gives: sd_notify(3) and sd_listen_fds(3),
 * their two environment variables and no library. */

#include "base/err.h"

#include <stddef.h>

/* "READY=1", "RELOADING=1\nMONOTONIC_USEC=...", "STATUS=...". True and nothing
 * done where no manager listens. */
bool sdnotify(const char *state, struct err *err);

/* RELOADING=1 wants the time. */
bool sdnotify_reloading(struct err *err);

enum { SDNOTIFY_FDS_MAX = 64 };

struct sdnotify_fd {
	int  fd;                /* close-on-exec from here on */
	char name[256];         /* "unknown" where the manager gave none */
};

/* The sockets that were handed in for this process, and the environment without
 * them. False if what the environment says does not hold. */
bool sdnotify_fds(struct sdnotify_fd fds[SDNOTIFY_FDS_MAX], size_t *ret_n, struct err *err);

#endif
