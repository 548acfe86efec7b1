/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/process_inside.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/core.h"
#include "daemon/endpoint/front_main.h"
#include "daemon/endpoint/net.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { CHANNEL_FD = 3, ARGS = 9 };

/* argv of a child; process_child() reads it:
 * NAME --child KIND INDEX UID GID LOG-LEVEL ROOT ("-": none) */
pid_t process_spawn(enum process_kind kind, uint16_t index, uid_t uid, gid_t gid,
                    const struct conf *conf, const char *empty, int fd, struct err *err)
{
	static const int levels[] = { LOG_ERROR, LOG_WARN, LOG_NOTE, LOG_INFO, LOG_DEBUG };
	bool front = kind == PROCESS_FRONT || kind == PROCESS_PUBLIC;
	char name[32], args[5][16];
	char *argv[ARGS] = { name, (char *)"--child" };
	char journal[128], *envp[3] = { NULL };
	size_t env = 0;
	const char *stream = getenv("JOURNAL_STREAM");
	sigset_t none;
	pid_t pid;

	snprintf(name, sizeof(name), front ? "reeved[%s%u]" : "reeved[%s]", process_kind_name(kind),
		 index);
	snprintf(args[0], sizeof(args[0]), "%s", process_kind_name(kind));
	snprintf(args[1], sizeof(args[1]), "%u", index);
	snprintf(args[2], sizeof(args[2]), "%u", uid);
	snprintf(args[3], sizeof(args[3]), "%u", gid);
	snprintf(args[4], sizeof(args[4]), "%d", levels[conf->log_level]);
	for (size_t i = 0; i < array_size(args); i++)
		argv[2 + i] = args[i];
	argv[7] = (char *)(uintptr_t)(front && geteuid() == 0 ? empty : "-");
	/* The environment is the parent's business; a child gets what its log needs. */
	envp[env++] = (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	if (stream && strlen(stream) < sizeof(journal) - 32) {
		snprintf(journal, sizeof(journal), "JOURNAL_STREAM=%s", stream);
		envp[env] = journal;
	}

	pid = fork();
	if (pid < 0) {
		err_sys(err, "fork");
		return -1;
	}
	if (pid > 0)
		return pid;
	/* In the child: only what is safe after a fork, up to the exec. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (fd == CHANNEL_FD)
		fcntl(fd, F_SETFD, 0);
	else
		dup2(fd, CHANNEL_FD);
	close_range(CHANNEL_FD + 1, ~0U, 0);
	execve("/proc/self/exe", argv, envp);
	_exit(127);
}

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
	return span_u64(span_str(text), max, ret);
}

static enum process_kind kind_of(const char *text)
{
	for (int k = PROCESS_NET; k < PROCESS_KINDS; k++)
		if (strcmp(text, process_kind_name((enum process_kind)k)) == 0)
			return (enum process_kind)k;
	return PROCESS_NONE;
}

static int run(enum process_kind kind, uint16_t index)
{
	switch (kind) {
	case PROCESS_NET:
		return net_main(CHANNEL_FD);
	case PROCESS_CORE:
		return core_main(CHANNEL_FD, privilege_core);
	case PROCESS_FRONT:
	case PROCESS_PUBLIC:
		return front_main(CHANNEL_FD, kind, index);
	default:
		return EXIT_FAILURE;
	}
}

bool process_child(int argc, char **argv, int *ret_status)
{
	uint64_t index, uid, gid, level;
	enum process_kind kind;
	struct err err = { 0 };

	if (argc < 2 || strcmp(argv[1], "--child") != 0)
		return false;
	*ret_status = EXIT_FAILURE;
	kind = argc == 8 ? kind_of(argv[2]) : PROCESS_NONE;
	if (kind == PROCESS_NONE || !number(argv[3], UINT16_MAX, &index) ||
	    !number(argv[4], UINT32_MAX, &uid) || !number(argv[5], UINT32_MAX, &gid) ||
	    !number(argv[6], LOG_DEBUG, &level) || fcntl(CHANNEL_FD, F_SETFD, FD_CLOEXEC) < 0)
		return true;
	log_open(argv[0], (enum log_level)level);
	prctl(PR_SET_NAME, argv[0], 0, 0, 0);
	/* A neighbour that died is a return value; SIGPIPE is for programs without one.
	 * The others reach a whole terminal, or all that a service manager started: the
	 * parent says what they mean, and in which order. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (!privilege_enter(kind, (uid_t)uid, (gid_t)gid, strcmp(argv[7], "-") ? argv[7] : NULL,
			     &err)) {
		log_error("%s", err.msg);
		return true;
	}
	*ret_status = run(kind, (uint16_t)index);
	return true;
}
