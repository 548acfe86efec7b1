/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/store.h"

#include "daemon/store/db.h"
#include "daemon/store/schema.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
	struct store_job *head, **tail;
	size_t            count;
};

struct store {
	struct loop       *loop;
	struct loop_fd    *watch;
	void              *owner;
	struct db         *db;          /* the worker's, from start to end */
	int                event;       /* counts answers */
	pthread_t          thread;
	bool               started;
	pthread_mutex_t    lock;        /* of everything below */
	pthread_cond_t     more;
	struct queue       todo, answers;
	bool               end;
	struct store_stats stats;
};

static void queue_init(struct queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
	q->count = 0;
}

static void queue_add(struct queue *q, struct store_job *job)
{
	job->next = NULL;
	*q->tail = job;
	q->tail = &job->next;
	q->count++;
}

static struct store_job *queue_next(struct queue *q)
{
	struct store_job *job = q->head;

	if (!job)
		return NULL;
	q->head = job->next;
	if (!q->head)
		q->tail = &q->head;
	q->count--;
	return job;
}

static void job_free(struct store_job *job)
{
	row_changes_done(&job->changes);
	free(job->note);
	job->free(job);
}

/* ---- the worker ---- */

/* True if the transaction still stands. */
static bool one_job(struct db *db, struct store_job *job)
{
	if (!db_run(db, &job->err, "SAVEPOINT job", ""))
		return false;
	job->ok = job->work(db, job, &job->err);
	if (job->ok)
		return db_run(db, &job->err, "RELEASE job", "");
	row_changes_done(&job->changes);
	/* A full disk may have rolled everything back already. */
	return db_in_transaction(db) && db_run(db, NULL, "ROLLBACK TO job", "") &&
	       db_run(db, NULL, "RELEASE job", "");
}

/* All jobs of the batch in one commit. Where it cannot be made, none is done. */
static void run_batch(struct db *db, struct queue *batch)
{
	struct err err = { 0 };
	bool       ok = db_run(db, &err, "BEGIN IMMEDIATE", "");

	for (struct store_job *job = batch->head; ok && job; job = job->next)
		if (!one_job(db, job)) {
			err = job->err;
			ok = false;
		}
	if (ok)
		ok = db_run(db, &err, "COMMIT", "");
	if (ok)
		return;
	if (db_in_transaction(db))
		db_run(db, NULL, "ROLLBACK", "");
	for (struct store_job *job = batch->head; job; job = job->next) {
		if (job->ok || job->err.code == ERR_NONE)
			job->err = err;
		job->ok = false;
		row_changes_done(&job->changes);
	}
}

static void *worker(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct queue      batch;
		struct store_job *job;

		while (!s->todo.head && !s->end)
			pthread_cond_wait(&s->more, &s->lock);
		if (!s->todo.head)
			break;
		queue_init(&batch);
		while (batch.count < STORE_BATCH_MAX && (job = queue_next(&s->todo)))
			queue_add(&batch, job);
		pthread_mutex_unlock(&s->lock);

		struct boot from = clock_boot();
		run_batch(s->db, &batch);
		int64_t took = clock_boot().ns - from.ns;

		pthread_mutex_lock(&s->lock);
		s->stats.commits++;
		s->stats.last_commit_ns = took;
		if (took > s->stats.worst_commit_ns)
			s->stats.worst_commit_ns = took;
		while ((job = queue_next(&batch))) {
			s->stats.jobs++;
			s->stats.failures += !job->ok;
			queue_add(&s->answers, job);
		}
		uint64_t one = 1;
		ssize_t  n = write(s->event, &one, sizeof(one));
		(void)n;        /* an eventfd that is full is readable anyhow */
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- the loop's side ---- */

static void on_answers(void *arg, uint32_t events)
{
	struct store     *s = arg;
	struct queue      got;
	struct store_job *job;
	uint64_t          n;

	(void)events;
	ssize_t r = read(s->event, &n, sizeof(n));
	(void)r;
	queue_init(&got);
	pthread_mutex_lock(&s->lock);
	while ((job = queue_next(&s->answers)))
		queue_add(&got, job);
	pthread_mutex_unlock(&s->lock);
	while ((job = queue_next(&got))) {
		if (job->done)
			job->done(s->owner, job, job->ok ? NULL : &job->err);
		job_free(job);
	}
}

struct store *store_open(struct loop *loop, const char *path, void *owner, struct err *err)
{
	struct db *db = db_open(path, DB_EXISTING, err);

	if (!db)
		return NULL;
	if (!schema_migrate(db, err)) {
		db_close(db);
		return NULL;
	}
	struct store *s = mem_alloc(sizeof(*s));
	s->loop = loop;
	s->owner = owner;
	s->db = db;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	queue_init(&s->todo);
	queue_init(&s->answers);
	s->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (s->event < 0) {
		err_sys(err, "eventfd");
		store_close(s);
		return NULL;
	}
	s->watch = loop_fd_add(loop, s->event, EPOLLIN, on_answers, s);
	/* Signals are the loop's: the worker takes none. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&s->thread, NULL, worker, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		errno = rc;
		err_sys(err, "starting the database's thread");
		store_close(s);
		return NULL;
	}
	s->started = true;
	return s;
}

void store_close(struct store *s)
{
	struct store_job *job;

	if (!s)
		return;
	if (s->started) {
		pthread_mutex_lock(&s->lock);
		s->end = true;
		pthread_cond_signal(&s->more);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	while ((job = queue_next(&s->answers)))
		job_free(job);
	loop_fd_remove(s->watch);
	if (s->event >= 0)
		close(s->event);
	db_close(s->db);
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

bool store_submit(struct store *s, struct store_job *job, struct err *err)
{
	pthread_mutex_lock(&s->lock);
	bool ok = s->todo.count < STORE_QUEUE_MAX;
	if (ok) {
		queue_add(&s->todo, job);
		pthread_cond_signal(&s->more);
	}
	pthread_mutex_unlock(&s->lock);
	if (!ok) {
		job_free(job);
		return err_set(err, ERR_BUSY, "%d changes wait for the disk", STORE_QUEUE_MAX);
	}
	return true;
}

void store_stats(struct store *s, struct store_stats *ret_stats)
{
	pthread_mutex_lock(&s->lock);
	*ret_stats = s->stats;
	ret_stats->waiting = s->todo.count;
	pthread_mutex_unlock(&s->lock);
}

bool store_run_once(const char *path, struct store_job *job, struct row_changes *ret_changes,
		    struct err *err)
{
	struct db   *db = db_open(path, DB_EXISTING, err);
	struct queue batch;

	if (!db || !schema_migrate(db, err)) {
		db_close(db);
		job_free(job);
		return false;
	}
	queue_init(&batch);
	queue_add(&batch, job);
	run_batch(db, &batch);
	db_close(db);
	bool ok = job->ok;
	if (ok && ret_changes) {
		*ret_changes = job->changes;
		job->changes = (struct row_changes){ 0 };
	} else if (!ok) {
		*err = job->err;
	}
	job_free(job);
	return ok;
}
