/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/loop.h"

#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	EVENTS_PER_ROUND = 128,
	/* epoll's clock stands still while the machine sleeps and ours does not:
	 * after waking up a timer is late by at most this. */
	WAIT_MAX_MS = 10000,
};

struct loop_fd {
	struct loop_watch watch;
	struct loop      *loop;
	struct loop_fd   *prev, *next;
};

struct loop_timer {
	struct loop       *loop;
	loop_timer_fn     *fn;
	void              *arg;
	struct boot        when;
	size_t             at;          /* in the heap, from 1; 0: not armed */
	struct loop_timer *prev, *next; /* all of them */
};

struct loop_signal {
	struct loop        *loop;
	int                 signo;
	loop_signal_fn     *fn;         /* NULL once removed */
	void               *arg;
	struct loop_signal *next;
};

struct loop_child {
	struct loop       *loop;
	struct loop_watch  watch;
	pid_t              pid;
	loop_child_fn     *fn;
	void              *arg;
	struct loop_child *prev, *next;
};

struct later {
	loop_later_fn *fn;
	void          *arg;
};

struct loop {
	int                 epfd;
	bool                running;
	struct boot         now;
	struct wall         wall;
	uint64_t            round;
	struct loop_fd     *fds;
	struct loop_timer  *timers;
	struct loop_timer **heap;
	size_t              heap_count, heap_cap;
	struct loop_signal *signals;
	int                 sigfd;
	struct loop_watch   sigwatch;
	sigset_t            sigmask;
	struct loop_child  *children;
	struct later       *later;
	size_t              later_count, later_cap;
	void              **garbage;
	size_t              garbage_count, garbage_cap;
};

static void read_clocks(struct loop *l)
{
	l->now = clock_boot();
	l->wall = clock_wall();
}

struct loop *loop_new(struct err *err)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	if (epfd < 0) {
		err_sys(err, "epoll_create1");
		return NULL;
	}

	struct loop *l = mem_alloc(sizeof(*l));

	l->epfd = epfd;
	l->sigfd = -1;
	sigemptyset(&l->sigmask);
	read_clocks(l);
	return l;
}

static void free_garbage(struct loop *l)
{
	for (size_t i = 0; i < l->garbage_count; i++)
		free(l->garbage[i]);
	l->garbage_count = 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	while (l->fds)
		loop_fd_remove(l->fds);
	while (l->timers)
		loop_timer_free(l->timers);
	while (l->children)
		loop_child_remove(l->children);
	while (l->signals) {
		struct loop_signal *next = l->signals->next;

		free(l->signals);
		l->signals = next;
	}
	if (l->sigfd >= 0)
		close(l->sigfd);
	free_garbage(l);
	free(l->garbage);
	free(l->later);
	free(l->heap);
	close(l->epfd);
	free(l);
}

struct boot loop_now(const struct loop *l)
{
	return l->now;
}

struct wall loop_wall(const struct loop *l)
{
	return l->wall;
}

int loop_epoll_fd(const struct loop *l)
{
	return l->epfd;
}

uint64_t loop_round(const struct loop *l)
{
	return l->round;
}

void loop_stop(struct loop *l)
{
	l->running = false;
}

void loop_defer_free(struct loop *l, void *p)
{
	if (l->garbage_count == l->garbage_cap) {
		l->garbage_cap = l->garbage_cap ? l->garbage_cap * 2 : 16;
		l->garbage = mem_realloc(l->garbage, l->garbage_cap, sizeof(*l->garbage));
	}
	l->garbage[l->garbage_count++] = p;
}

/* Descriptors. */

bool loop_watch_add(struct loop *l, struct loop_watch *w, struct err *err)
{
	struct epoll_event ev = { .events = w->events, .data.ptr = w };

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return err_sys(err, "watching descriptor %d", w->fd);
	w->active = true;
	return true;
}

/* Only a wrong argument or a kernel without memory gets here. */
static void __attribute__((noreturn)) no_watch(int fd)
{
	fprintf(stderr, "cannot watch descriptor %d: %s\n", fd, strerror(errno));
	abort();
}

void loop_watch_set(struct loop *l, struct loop_watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (!w->active || w->events == events)
		return;
	/* The kernel does not modify exclusive watches. */
	if ((w->events | events) & EPOLLEXCLUSIVE) {
		if (epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL) < 0 ||
		    epoll_ctl(l->epfd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
			no_watch(w->fd);
	} else if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, w->fd, &ev) < 0) {
		no_watch(w->fd);
	}
	w->events = events;
}

void loop_watch_remove(struct loop *l, struct loop_watch *w)
{
	if (!w->active)
		return;
	w->active = false;      /* events of this round that are still to come look at this */
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL);
}

struct loop_fd *loop_fd_add(struct loop *l, int fd, uint32_t events, loop_fd_fn *fn, void *arg)
{
	struct loop_fd *w = mem_alloc(sizeof(*w));

	w->watch = (struct loop_watch){ .fn = fn, .arg = arg, .fd = fd, .events = events };
	w->loop = l;
	if (!loop_watch_add(l, &w->watch, NULL))
		no_watch(fd);
	w->next = l->fds;
	if (w->next)
		w->next->prev = w;
	l->fds = w;
	return w;
}

void loop_fd_set(struct loop_fd *w, uint32_t events)
{
	loop_watch_set(w->loop, &w->watch, events);
}

void loop_fd_remove(struct loop_fd *w)
{
	if (!w)
		return;

	struct loop *l = w->loop;

	loop_watch_remove(l, &w->watch);
	if (w->prev)
		w->prev->next = w->next;
	else
		l->fds = w->next;
	if (w->next)
		w->next->prev = w->prev;
	loop_defer_free(l, w);
}

/* Timers: a binary heap, positions from 1. */

static void heap_put(struct loop *l, size_t at, struct loop_timer *t)
{
	l->heap[at - 1] = t;
	t->at = at;
}

static void heap_up(struct loop *l, size_t at, struct loop_timer *t)
{
	while (at > 1 && t->when.ns < l->heap[at / 2 - 1]->when.ns) {
		heap_put(l, at, l->heap[at / 2 - 1]);
		at /= 2;
	}
	heap_put(l, at, t);
}

static void heap_down(struct loop *l, size_t at, struct loop_timer *t)
{
	for (;;) {
		size_t kid = at * 2;

		if (kid < l->heap_count && l->heap[kid]->when.ns < l->heap[kid - 1]->when.ns)
			kid++;
		if (kid > l->heap_count || t->when.ns <= l->heap[kid - 1]->when.ns)
			break;
		heap_put(l, at, l->heap[kid - 1]);
		at = kid;
	}
	heap_put(l, at, t);
}

static void timer_disarm(struct loop_timer *t)
{
	struct loop *l = t->loop;
	size_t at = t->at;

	if (!at)
		return;
	t->at = 0;

	struct loop_timer *last = l->heap[--l->heap_count];

	if (last == t)
		return;
	if (at > 1 && last->when.ns < l->heap[at / 2 - 1]->when.ns)
		heap_up(l, at, last);
	else
		heap_down(l, at, last);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn *fn, void *arg)
{
	struct loop_timer *t = mem_alloc(sizeof(*t));

	*t = (struct loop_timer){ .loop = l, .fn = fn, .arg = arg, .next = l->timers };
	if (t->next)
		t->next->prev = t;
	l->timers = t;
	return t;
}

void loop_timer_set(struct loop_timer *t, struct boot when)
{
	struct loop *l = t->loop;

	timer_disarm(t);
	if (when.ns == BOOT_NEVER.ns)
		return;
	if (l->heap_count == l->heap_cap) {
		l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 16;
		l->heap = mem_realloc(l->heap, l->heap_cap, sizeof(struct loop_timer *));
	}
	t->when = when;
	heap_up(l, ++l->heap_count, t);
}

void loop_timer_after(struct loop_timer *t, int64_t ns)
{
	loop_timer_set(t, boot_add(t->loop->now, ns));
}

void loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	timer_disarm(t);
	if (t->prev)
		t->prev->next = t->next;
	else
		t->loop->timers = t->next;
	if (t->next)
		t->next->prev = t->prev;
	free(t);
}

static void run_timers(struct loop *l)
{
	/* No more than were armed before: one that sets itself to "now" again
	 * must not keep descriptors waiting. */
	for (size_t left = l->heap_count; left && l->heap_count; left--) {
		struct loop_timer *t = l->heap[0];

		if (!boot_passed(t->when, l->now))
			return;
		timer_disarm(t);
		t->fn(t->arg);
	}
}

/* Signals. */

static void on_signal(void *arg, uint32_t events)
{
	struct loop *l = arg;
	struct signalfd_siginfo info;

	(void)events;
	while (read(l->sigfd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		for (struct loop_signal *s = l->signals; s; s = s->next)
			if (s->fn && s->signo == (int)info.ssi_signo)
				s->fn(s->arg, s->signo);
	}
}

struct loop_signal *loop_signal_add(struct loop *l, int signo, loop_signal_fn *fn, void *arg)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, signo);
	sigaddset(&l->sigmask, signo);
	pthread_sigmask(SIG_BLOCK, &one, NULL);

	int fd = signalfd(l->sigfd, &l->sigmask, SFD_CLOEXEC | SFD_NONBLOCK);

	if (fd < 0)
		no_watch(-1);
	if (l->sigfd < 0) {
		l->sigfd = fd;
		l->sigwatch = (struct loop_watch){ on_signal, l, fd, EPOLLIN, false };
		if (!loop_watch_add(l, &l->sigwatch, NULL))
			no_watch(fd);
	}

	struct loop_signal *s = mem_alloc(sizeof(*s));

	*s = (struct loop_signal){ l, signo, fn, arg, l->signals };
	l->signals = s;
	return s;
}

/* The signal stays blocked: whoever removes the last handler does not want
 * the default action either. */
void loop_signal_remove(struct loop_signal *s)
{
	if (!s)
		return;
	for (struct loop_signal **p = &s->loop->signals; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;   /* s->next stays: on_signal() may be standing here */
			break;
		}
	}
	s->fn = NULL;
	loop_defer_free(s->loop, s);
}

/* Children. */

static void on_child(void *arg, uint32_t events)
{
	struct loop_child *c = arg;
	int status = 0;
	pid_t got = waitpid(c->pid, &status, WNOHANG);

	(void)events;
	if (got == 0)
		return;

	loop_child_fn *fn = c->fn;
	void *fn_arg = c->arg;
	pid_t pid = c->pid;

	loop_child_remove(c);
	fn(fn_arg, pid, got == pid ? status : 0);
}

struct loop_child *loop_child_add(struct loop *l, pid_t pid, loop_child_fn *fn, void *arg,
                                  struct err *err)
{
	int fd = pidfd_open(pid, 0);

	if (fd < 0) {
		err_sys(err, "pidfd_open of %d", (int)pid);
		return NULL;
	}

	struct loop_child *c = mem_alloc(sizeof(*c));

	c->loop = l;
	c->pid = pid;
	c->fn = fn;
	c->arg = arg;
	c->watch = (struct loop_watch){ on_child, c, fd, EPOLLIN, false };
	if (!loop_watch_add(l, &c->watch, err)) {
		close(fd);
		free(c);
		return NULL;
	}
	c->next = l->children;
	if (c->next)
		c->next->prev = c;
	l->children = c;
	return c;
}

void loop_child_remove(struct loop_child *c)
{
	if (!c)
		return;

	struct loop *l = c->loop;

	loop_watch_remove(l, &c->watch);
	close(c->watch.fd);
	if (c->prev)
		c->prev->next = c->next;
	else
		l->children = c->next;
	if (c->next)
		c->next->prev = c->prev;
	loop_defer_free(l, c);
}

/* The end of a round. */

void loop_later(struct loop *l, loop_later_fn *fn, void *arg)
{
	if (l->later_count == l->later_cap) {
		l->later_cap = l->later_cap ? l->later_cap * 2 : 16;
		l->later = mem_realloc(l->later, l->later_cap, sizeof(*l->later));
	}
	l->later[l->later_count++] = (struct later){ fn, arg };
}

static void run_later(struct loop *l)
{
	/* What these ask for in turn is for the next round. */
	size_t n = l->later_count;

	for (size_t i = 0; i < n; i++) {
		struct later one = l->later[i];         /* the list may move */

		one.fn(one.arg);
	}
	l->later_count -= n;
	memmove(l->later, l->later + n, l->later_count * sizeof(*l->later));
}

static int wait_ms(const struct loop *l)
{
	if (l->later_count)
		return 0;
	if (!l->heap_count)
		return WAIT_MAX_MS;

	int64_t ns = l->heap[0]->when.ns;

	/* The clock of the last wake-up is stale by the time its callbacks took;
	 * reading it again is cheaper than a wait too long. */
	struct boot now = clock_boot();

	if (ns <= now.ns)
		return 0;
	ns = ns - now.ns;       /* both are positive here, or now.ns < ns < 0 */
	if (ns / 1000000 >= WAIT_MAX_MS)
		return WAIT_MAX_MS;
	return (int)((ns + 999999) / 1000000);
}

bool loop_run(struct loop *l, struct err *err)
{
	struct epoll_event events[EVENTS_PER_ROUND];

	l->running = true;
	read_clocks(l);
	while (l->running) {
		int n = epoll_wait(l->epfd, events, EVENTS_PER_ROUND, wait_ms(l));

		if (n < 0 && errno != EINTR)
			return err_sys(err, "epoll_wait");
		read_clocks(l);
		for (int i = 0; i < n; i++) {
			struct loop_watch *w = events[i].data.ptr;

			if (w->active)
				w->fn(w->arg, events[i].events);
		}
		run_timers(l);
		if (l->later_count)
			run_later(l);
		l->round++;
		free_garbage(l);
	}
	return true;
}
