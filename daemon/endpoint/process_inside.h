/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_PROCESS_INSIDE_H
#define ENDPOINT_PROCESS_INSIDE_H

/* What process.c (the table), process_spawn.c (how one is started), process_watch.c and
 * process_setup.c (what they find) share. */

#include "daemon/endpoint/process.h"

struct process {
	struct processes   *all;
	enum process_kind   kind;
	uint16_t            index;
	char                name[24];           /* "front0" */
	pid_t               pid;                /* 0: not running */
	struct channel     *channel;            /* NULL: gone, or about to be */
	struct loop_child  *child;
	/* not running: until the start; else: until SIGKILL */
	struct loop_timer  *timer;
	struct boot         started;
	int64_t             backoff_ms;
	/* the configuration that it was asked to prepare, and has */
	uint32_t            asked, answered;
	uint32_t            ready;              /* the one it serves */
	bool                told_end;
	int                 asked_turns;        /* process_watch.c: 0, nothing is asked */
};

/* A configuration on its way through the processes. */
struct generation {
	struct conf *conf;              /* NULL: none */
	int          fd;                /* memfd with the text; -1: none */
	uint32_t     number;
};

struct kept {
	struct { char *key; struct ipport at; int fd; } *list;
	size_t n;
};

struct processes {
	struct loop         *loop;
	struct process_setup setup;
	struct process       list[2 + 2 * CONF_FRONTS_MAX];
	size_t               count;
	struct generation    now, next;
	uint32_t             last_number;
	struct tunnel_process *tunnel;          /* process_tunnel.c: NULL, net wants none */
	struct kept          kept, coming;      /* net's listening sockets; a set on its way */
	char                *empty;             /* the fronts' file system */
	struct loop_timer   *reload_timer, *ready_timer, *drain_timer, *watch_timer;
	bool                 ending, said_ready;
	/* core took a configuration once: from now on failures are retried */
	bool                 ever_ready;
	int                  status;
};

/* fork and exec of this program: a memory layout and canaries of its own. fd
 * becomes the child's end of its channel to us; nothing else is inherited. */
pid_t process_spawn(enum process_kind kind, uint16_t index, uid_t uid, gid_t gid,
                    const struct conf *conf, const char *empty, int fd, struct err *err);

/* From now on, and again after a reload: children that hang are killed. */
void process_watch(struct processes *ps);
void process_answered(struct process *p);

/* What net wants of the userspace device; it survives net. */
void process_tunnel(struct processes *ps, bool on);
void process_tunnel_end(struct processes *ps);

/* run-dir, state-dir and the audit file, with the owners that the processes
 * need; an empty folder for the fronts. */
bool processes_folders(const struct conf *conf, const struct privilege_users *users,
                       char **ret_empty, struct err *err);

/* The first key that differs and cannot change while we run, or NULL. */
const char *processes_fixed(const struct conf *now, const struct conf *next);

void processes_log_diags(const struct diags *diags);

#endif
