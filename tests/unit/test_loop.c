/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/loop.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct loop *l;
static char trace[256];

static void say(const char *word)
{
	ck_assert_uint_lt(strlen(trace) + strlen(word) + 1, sizeof(trace));
	snprintf(trace + strlen(trace), sizeof(trace) - strlen(trace), "%s ", word);
}

static void open_loop(void)
{
	struct err err;

	trace[0] = '\0';
	l = loop_new(&err);
	ck_assert_ptr_nonnull(l);
}

static void run(void)
{
	struct err err;

	ck_assert_msg(loop_run(l, &err), "%s", err.msg);
}

static void stop(void *arg)
{
	(void)arg;
	say("stop");
	loop_stop(l);
}

static void named(void *arg)
{
	say(arg);
}

START_TEST(timers_in_order)
{
	open_loop();

	struct loop_timer *t[50];
	struct loop_timer *last = loop_timer_new(l, stop, NULL);

	for (size_t i = 0; i < array_size(t); i++) {
		t[i] = loop_timer_new(l, named, i % 2 ? "odd" : "even");
		loop_timer_after(t[i], (int64_t)(i * 7 % 50) * 100000);
	}
	/* all but four go, set once more or disarmed on the way */
	for (size_t i = 4; i < array_size(t); i++) {
		loop_timer_after(t[i], (int64_t)i);
		if (i % 3)
			loop_timer_set(t[i], BOOT_NEVER);
		loop_timer_free(t[i]);
	}
	loop_timer_after(t[0], 4000000);
	loop_timer_after(t[1], 1000000);
	loop_timer_set(t[2], BOOT_NEVER);
	loop_timer_after(t[3], 2000000);
	loop_timer_after(last, 6000000);
	run();
	ck_assert_str_eq(trace, "odd odd even stop ");
	loop_free(l);
	loop_free(NULL);
	loop_timer_free(NULL);
}
END_TEST

struct again { struct loop_timer *t; int count; };

static void on_again(void *arg)
{
	struct again *a = arg;

	a->count++;
	loop_timer_set(a->t, (struct boot){ 0 });
}

static void on_readable(void *arg, uint32_t events)
{
	ck_assert(events & EPOLLIN);
	say(arg);
	loop_stop(l);
}

START_TEST(a_busy_timer_starves_nobody)
{
	int p[2];
	struct again a = { 0 };

	open_loop();
	ck_assert_int_eq(pipe(p), 0);
	a.t = loop_timer_new(l, on_again, &a);
	loop_timer_set(a.t, (struct boot){ 0 });
	loop_fd_add(l, p[0], EPOLLIN, on_readable, "pipe");
	ck_assert_int_eq(write(p[1], "x", 1), 1);
	run();
	ck_assert_int_le(a.count, 2);
	ck_assert_str_eq(trace, "pipe ");
	loop_free(l);
	close(p[0]);
	close(p[1]);
}
END_TEST

struct pair { struct loop_fd *mine, *other; };

static void remove_both(void *arg, uint32_t events)
{
	struct pair *p = arg;

	(void)events;
	say("first");
	loop_fd_remove(p->mine);
	loop_fd_remove(p->other);
	p->mine = p->other = NULL;
	loop_later(l, stop, NULL);
}

START_TEST(removed_inside_a_callback)
{
	int a[2], b[2];
	struct pair one, two;

	open_loop();
	ck_assert_int_eq(pipe(a), 0);
	ck_assert_int_eq(pipe(b), 0);
	one.mine = two.other = loop_fd_add(l, a[0], EPOLLIN, remove_both, &one);
	two.mine = one.other = loop_fd_add(l, b[0], EPOLLIN, remove_both, &two);
	ck_assert_int_eq(write(a[1], "x", 1), 1);
	ck_assert_int_eq(write(b[1], "x", 1), 1);
	run();          /* both are ready in one round; whichever comes first removes the other */
	ck_assert_str_eq(trace, "first stop ");
	loop_free(l);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}
END_TEST

static void never(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	ck_abort_msg("called after it was removed");
}

START_TEST(watches)
{
	int p[2];
	struct err err;

	open_loop();
	ck_assert_int_eq(pipe(p), 0);

	struct loop_watch w = { .fn = never, .fd = -1, .events = EPOLLIN };

	ck_assert(!loop_watch_add(l, &w, &err));
	ck_assert(!w.active);
	loop_watch_remove(l, &w);
	w.fd = p[1];
	w.events = EPOLLOUT | EPOLLEXCLUSIVE;
	ck_assert(loop_watch_add(l, &w, &err));
	loop_watch_set(l, &w, EPOLLIN | EPOLLEXCLUSIVE);        /* the kernel has no MOD for these */
	loop_watch_set(l, &w, EPOLLOUT | EPOLLEXCLUSIVE);
	loop_watch_remove(l, &w);
	loop_later(l, stop, NULL);
	run();
	ck_assert_str_eq(trace, "stop ");
	loop_free(l);
	close(p[0]);
	close(p[1]);
}
END_TEST

static void again_later(void *arg)
{
	say("one");
	loop_later(l, stop, arg);
	loop_defer_free(l, malloc(1));
}

START_TEST(later_is_the_next_round)
{
	open_loop();

	uint64_t round = loop_round(l);

	loop_later(l, again_later, NULL);
	run();
	ck_assert_str_eq(trace, "one stop ");
	ck_assert_uint_eq(loop_round(l) - round, 2);
	loop_free(l);
}
END_TEST

static struct loop_signal *usr1;

static void on_usr(void *arg, int signo)
{
	(void)arg;
	say(signo == SIGUSR1 ? "usr1" : "usr2");
	if (signo == SIGUSR1) {
		loop_signal_remove(usr1);
		kill(getpid(), SIGUSR1);        /* blocked, and nobody listens: nothing happens */
		kill(getpid(), SIGUSR2);
	} else {
		loop_stop(l);
	}
}

START_TEST(signals)
{
	open_loop();
	usr1 = loop_signal_add(l, SIGUSR1, on_usr, NULL);
	loop_signal_add(l, SIGUSR2, on_usr, NULL);
	kill(getpid(), SIGUSR1);
	run();
	ck_assert_str_eq(trace, "usr1 usr2 ");
	loop_free(l);
	loop_signal_remove(NULL);
}
END_TEST

static int last_status;

static void on_exit_of(void *arg, pid_t pid, int status)
{
	ck_assert_int_eq(*(pid_t *)arg, pid);
	last_status = status;
	loop_stop(l);
}

START_TEST(children)
{
	struct err err;

	open_loop();
	ck_assert_ptr_null(loop_child_add(l, -1, on_exit_of, NULL, &err));
	for (int how = 0; how < 2; how++) {
		pid_t pid = fork();

		if (pid == 0) {
			if (how == 0)
				_exit(7);
			for (;;)
				pause();
		}
		ck_assert_ptr_nonnull(loop_child_add(l, pid, on_exit_of, &pid, &err));
		if (how == 1)
			kill(pid, SIGKILL);
		run();
		if (how == 0)
			ck_assert(WIFEXITED(last_status) && WEXITSTATUS(last_status) == 7);
		else
			ck_assert(WIFSIGNALED(last_status) && WTERMSIG(last_status) == SIGKILL);
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), -1);      /* reaped */
	}
	loop_free(l);
}
END_TEST

UNIT_MAIN("loop", timers_in_order, a_busy_timer_starves_nobody, removed_inside_a_callback, watches,
          later_is_the_next_round, signals, children)
