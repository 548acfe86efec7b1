/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/hasher.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct work {
	struct work *next;
	struct secret password;
	bool make;
	char *text, *login, *name;
	struct hasher_answer answer;
	hasher_fn *fn;
	void *arg;
};

struct list {
	struct work *head, **tail;
	size_t count;
};

struct hasher {
	struct loop_fd *watch;
	int event;
	pthread_t threads[HASHER_THREADS];
	size_t started;
	pthread_mutex_t lock; /* of everything below */
	pthread_cond_t more;
	struct list todo, done;
	bool end;
};

static void list_init(struct list *l)
{
	l->head = NULL;
	l->tail = &l->head;
	l->count = 0;
}

static void list_add(struct list *l, struct work *w)
{
	w->next = NULL;
	*l->tail = w;
	l->tail = &w->next;
	l->count++;
}

static struct work *list_next(struct list *l)
{
	struct work *w = l->head;

	if (!w)
		return NULL;
	l->head = w->next;
	if (!l->head)
		l->tail = &l->head;
	l->count--;
	return w;
}

static void work_free(struct work *w)
{
	secret_done(&w->password);
	free(w->text);
	free(w->login);
	free(w->name);
	mem_wipe(&w->answer, sizeof(w->answer));
	free(w);
}

static void work_do(struct work *w)
{
	struct span p = secret_span(&w->password);

	if (w->make)
		w->answer.ok = password_judge(p, w->login, w->name, &w->answer.err) &&
			       password_make(p, w->answer.text, &w->answer.err);
	else
		w->answer.ok = password_check(p, w->text);
}

static void *thread(void *arg)
{
	struct hasher *h = arg;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		while (!h->todo.head && !h->end)
			pthread_cond_wait(&h->more, &h->lock);
		if (h->end)
			break;
		struct work *w = list_next(&h->todo);
		pthread_mutex_unlock(&h->lock);
		work_do(w);
		pthread_mutex_lock(&h->lock);
		list_add(&h->done, w);
		uint64_t one = 1;
		ssize_t n = write(h->event, &one, sizeof(one));
		(void)n; /* an eventfd that is full is readable anyhow */
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static void on_done(void *arg, uint32_t events)
{
	struct hasher *h = arg;
	struct list got;
	struct work *w;
	uint64_t n;

	(void)events;
	ssize_t r = read(h->event, &n, sizeof(n));
	(void)r;
	list_init(&got);
	pthread_mutex_lock(&h->lock);
	while ((w = list_next(&h->done)))
		list_add(&got, w);
	pthread_mutex_unlock(&h->lock);
	while ((w = list_next(&got))) {
		w->fn(w->arg, &w->answer);
		work_free(w);
	}
}

struct hasher *hasher_new(struct loop *loop, struct err *err)
{
	struct hasher *h = mem_alloc(sizeof(*h));
	sigset_t all, old;
	int rc = 0;

	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->more, NULL);
	list_init(&h->todo);
	list_init(&h->done);
	h->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (h->event < 0) {
		err_sys(err, "eventfd");
		hasher_free(h);
		return NULL;
	}
	h->watch = loop_fd_add(loop, h->event, EPOLLIN, on_done, h);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!rc && h->started < HASHER_THREADS) {
		rc = pthread_create(&h->threads[h->started], NULL, thread, h);
		h->started += rc == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		errno = rc;
		err_sys(err, "starting the threads that check passwords");
		hasher_free(h);
		return NULL;
	}
	return h;
}

void hasher_free(struct hasher *h)
{
	struct work *w;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->end = true;
	pthread_cond_broadcast(&h->more);
	pthread_mutex_unlock(&h->lock);
	for (size_t i = 0; i < h->started; i++)
		pthread_join(h->threads[i], NULL);
	while ((w = list_next(&h->todo)) || (w = list_next(&h->done)))
		work_free(w);
	loop_fd_remove(h->watch);
	if (h->event >= 0)
		close(h->event);
	pthread_cond_destroy(&h->more);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static bool submit(struct hasher *h, struct work *w, struct err *err)
{
	pthread_mutex_lock(&h->lock);
	bool ok = h->todo.count < HASHER_QUEUE_MAX;
	if (ok) {
		list_add(&h->todo, w);
		pthread_cond_signal(&h->more);
	}
	pthread_mutex_unlock(&h->lock);
	if (ok)
		return true;
	work_free(w);
	return err_set(err, ERR_BUSY, "%d passwords wait to be checked: try again in some seconds",
		       HASHER_QUEUE_MAX);
}

static struct work *work_new(struct span password, uint64_t who, hasher_fn *fn, void *arg)
{
	struct work *w = mem_alloc(sizeof(*w));

	secret_init(&w->password, password.ptr ? password.ptr : "", password.len);
	w->answer.who = who;
	w->fn = fn;
	w->arg = arg;
	return w;
}

bool hasher_check(struct hasher *h, struct span password, const char *text, uint64_t who,
		  hasher_fn *fn, void *arg, struct err *err)
{
	struct work *w = work_new(password, who, fn, arg);

	w->text = text ? mem_strdup(text) : NULL;
	return submit(h, w, err);
}

bool hasher_make(struct hasher *h, struct span password, const char *login, const char *name,
		 uint64_t who, hasher_fn *fn, void *arg, struct err *err)
{
	struct work *w = work_new(password, who, fn, arg);

	w->make = true;
	w->login = mem_strdup(login);
	w->name = name ? mem_strdup(name) : NULL;
	return submit(h, w, err);
}
