/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_PROCESS_H
#define ENDPOINT_PROCESS_H

/*
 * The parent's table of processes: it starts them, hands neighbours their
 * channels, starts again what dies, and takes everybody from one
 * configuration to the next or to nobody. It parses its configuration file
 * and nothing else. Next: net.c, core.c, front_main.c for what they do.
 */

#include "daemon/endpoint/channel.h"
#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/privilege.h"
#include "daemon/endpoint/sdnotify.h"

struct processes;

struct process_setup {
	const char             *config;         /* path of the configuration file */
	const char             *dir;            /* relative paths in it are taken from here */
	struct privilege_users  users;
	struct sdnotify_fd      fds[SDNOTIFY_FDS_MAX];  /* taken over */
	size_t                  fd_count;
};

/* conf is taken over: what the file says now, as text and parsed. */
struct processes *processes_new(struct loop *l, const struct process_setup *setup,
                                struct conf *conf, struct span text, struct err *err);
void processes_free(struct processes *ps);      /* kills what is left; accepts NULL */

void processes_start(struct processes *ps);

/* Reads the file again. Everybody prepares it, then everybody uses it; if
 * anybody cannot, all go on with what they have, and the log says why. */
void processes_reload(struct processes *ps);

/* Fronts finish what is open, within "drain"; then all end, net last. A second
 * call ends them now. The loop is stopped at the end. */
void processes_end(struct processes *ps);

/* The exit status once the loop has stopped. */
int processes_status(const struct processes *ps);

/* ---- a child's side ---- */

/* Runs as a child if the arguments say that this is one; *ret_status is then its exit status. */
bool process_child(int argc, char **argv, int *ret_status);

#endif
