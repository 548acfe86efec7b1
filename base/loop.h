/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

/*
 * One epoll thread per process: descriptors, timers, signals and children.
 * Callbacks run from loop_run() only, never from the function that registers
 * them. Removing a watch or a timer inside any callback is allowed, its own
 * included; a removed one is never called again.
 */

#include "base/clock.h"
#include "base/err.h"

#include <sys/epoll.h>
#include <sys/types.h>

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_signal;
struct loop_child;

struct loop *loop_new(struct err *err);
/* accepts NULL; watches left over are freed, their descriptors stay open */
void loop_free(struct loop *l);
/* until loop_stop(); false if epoll itself failed */
bool loop_run(struct loop *l, struct err *err);
void loop_stop(struct loop *l);
struct boot loop_now(const struct loop *l);     /* read once per wake-up */
struct wall loop_wall(const struct loop *l);    /* likewise */
/* to register by hand on the hot path; as a struct loop_watch */
int loop_epoll_fd(const struct loop *l);

/* events: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET, EPOLLEXCLUSIVE. The loop never closes fd.
 * Never NULL: a kernel that refuses aborts. What strangers can make many of goes
 * through loop_watch_add(), which returns. */
typedef void loop_fd_fn(void *arg, uint32_t events);
struct loop_fd *loop_fd_add(struct loop *l, int fd, uint32_t events, loop_fd_fn *fn, void *arg);
void loop_fd_set(struct loop_fd *w, uint32_t events);
void loop_fd_remove(struct loop_fd *w);         /* accepts NULL */

/* The same without an allocation: storage is the caller's, who must keep it
 * until the callback round in which it was removed has ended: hand it to
 * loop_defer_free(), or reuse it from a pool after loop_round() has changed. */
struct loop_watch {
	loop_fd_fn *fn;
	void       *arg;
	int         fd;
	uint32_t    events;
	bool        active;
};
bool loop_watch_add(struct loop *l, struct loop_watch *w, struct err *err);
void loop_watch_set(struct loop *l, struct loop_watch *w, uint32_t events);
void loop_watch_remove(struct loop *l, struct loop_watch *w);
uint64_t loop_round(const struct loop *l);
void loop_defer_free(struct loop *l, void *p);  /* free(p) once this round has ended */

/* One shot. A timer that is set again moves. */
typedef void loop_timer_fn(void *arg);
struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn *fn, void *arg);
void loop_timer_set(struct loop_timer *t, struct boot when);     /* BOOT_NEVER disarms */
void loop_timer_after(struct loop_timer *t, int64_t ns);
void loop_timer_free(struct loop_timer *t);     /* accepts NULL */

/* Through signalfd; blocks the signal in this process. */
typedef void loop_signal_fn(void *arg, int signo);
struct loop_signal *loop_signal_add(struct loop *l, int signo, loop_signal_fn *fn, void *arg);
void loop_signal_remove(struct loop_signal *s);

/* Through pidfd; calls once with the wait status, then forgets the child. */
typedef void loop_child_fn(void *arg, pid_t pid, int status);
struct loop_child *loop_child_add(struct loop *l, pid_t pid, loop_child_fn *fn, void *arg,
                                  struct err *err);
void loop_child_remove(struct loop_child *c);

/* Runs fn at the end of this round, before the loop waits again. */
typedef void loop_later_fn(void *arg);
void loop_later(struct loop *l, loop_later_fn *fn, void *arg);

#endif
