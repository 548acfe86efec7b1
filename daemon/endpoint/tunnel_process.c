/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/tunnel_process.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/privilege.h"
#include "daemon/mesh/tunnel.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACKOFF_FIRST_MS = 20, BACKOFF_MAX_MS = 5000, STEADY_SEC = 10 };

struct tunnel_process {
	struct loop       *loop;
	struct tunnel      tunnel;
	uid_t              uid;
	gid_t              gid;
	pid_t              pid;         /* 0: not running */
	struct loop_child *child;
	struct loop_timer *timer;
	struct boot        started;
	int64_t            backoff_ms;
	tunnel_start_fn   *on_start;
	void              *arg;
};

static void on_exit_of(void *arg, pid_t pid, int status)
{
	struct tunnel_process *t = arg;
	bool steady = boot_passed(boot_add(t->started, STEADY_SEC * SEC_NS), loop_now(t->loop));

	(void)pid;
	t->child = NULL;
	t->pid = 0;
	if (WIFSIGNALED(status))
		log_error("tunnel died of signal %d", WTERMSIG(status));
	else
		log_error("tunnel ended with status %d", WEXITSTATUS(status));
	t->backoff_ms = steady || !t->backoff_ms ? BACKOFF_FIRST_MS : t->backoff_ms * 2;
	if (t->backoff_ms > BACKOFF_MAX_MS)
		t->backoff_ms = BACKOFF_MAX_MS;
	loop_timer_after(t->timer, t->backoff_ms * (SEC_NS / 1000));
}

static bool start(struct tunnel_process *t, struct err *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_sys(err, "fork");
	if (pid == 0) {
		sigset_t none;
		struct err why = { 0 };

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		if (privilege_tunnel(t->uid, t->gid, &why))
			tunnel_exec(&t->tunnel, "error");
		else
			log_error("tunnel: %s", why.msg);
		_exit(127);
	}
	t->started = loop_now(t->loop);
	t->pid = pid;
	t->child = loop_child_add(t->loop, pid, on_exit_of, t, err);
	if (!t->child) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		t->pid = 0;
		return false;
	}
	log_info("tunnel started, pid %d", (int)pid);
	t->on_start(t->arg);
	return true;
}

/* Somebody may have taken the interface away: what is open of it is of no use then. */
static bool have_interface(struct tunnel_process *t, struct err *err)
{
	struct tunnel again;

	if (if_nametoindex(t->tunnel.name) != 0)
		return true;
	if (!tunnel_init(&again, t->tunnel.name, t->uid, NULL, err))
		return false;
	tunnel_done(&t->tunnel);
	t->tunnel = again;
	return true;
}

static void on_timer(void *arg)
{
	struct tunnel_process *t = arg;
	struct err err = { 0 };

	if (have_interface(t, &err) && start(t, &err))
		return;
	log_error("starting the tunnel: %s", err.msg);
	loop_timer_after(t->timer, BACKOFF_MAX_MS * (SEC_NS / 1000));
}

struct tunnel_process *tunnel_process_new(struct loop *l, const char *interface, uid_t uid,
					  gid_t gid, tunnel_start_fn *on_start, void *arg,
					  struct err *err)
{
	struct tunnel_process *t = mem_alloc(sizeof(*t));

	t->loop = l;
	t->uid = uid;
	t->gid = gid;
	t->on_start = on_start;
	t->arg = arg;
	if (!tunnel_init(&t->tunnel, interface, uid, NULL, err)) {
		free(t);
		return NULL;
	}
	t->timer = loop_timer_new(l, on_timer, t);
	if (!start(t, err)) {
		tunnel_process_free(t);
		return NULL;
	}
	return t;
}

bool tunnel_process_runs(const struct tunnel_process *t)
{
	return t->pid > 0;
}

void tunnel_process_free(struct tunnel_process *t)
{
	if (!t)
		return;
	loop_child_remove(t->child);
	if (t->pid > 0) {
		kill(t->pid, SIGKILL);          /* it has nothing to save */
		waitpid(t->pid, NULL, 0);
	}
	loop_timer_free(t->timer);
	tunnel_done(&t->tunnel);
	free(t);
}
