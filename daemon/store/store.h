/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_STORE_H
#define STORE_STORE_H

/*
 * The coordinator's memory: SQLite on a thread of its own. Work is handed
 * over as jobs (store/ops.h), and answered on the loop once it is on disk:
 * whoever was told that a change was made finds it after a crash. Jobs that
 * wait together share one commit; each of them alone holds whole or not at
 * all. It never calls back from store_submit().
 */

#include "base/err.h"
#include "base/loop.h"
#include "daemon/store/rows.h"

struct db;
struct store;
struct store_job;

enum {
	STORE_QUEUE_MAX = 4096,         /* jobs that wait; more are ERR_BUSY */
	STORE_BATCH_MAX = 128,          /* jobs that share a commit */
};

/* In the worker, inside a transaction. On false nothing of the job remains. */
typedef bool store_work_fn(struct db *db, struct store_job *job, struct err *err);
/* On the loop. err is NULL when it is done and durable. The job is freed after. */
typedef void store_done_fn(void *owner, struct store_job *job, const struct err *err);

struct store_job {
	store_work_fn     *work;
	store_done_fn     *done;        /* may be NULL */
	void (*free)(struct store_job *job);
	uint64_t           who;         /* the object that waits, by id: it may be gone by then */
	char              *note;        /* the asker's own, for its done; NULL: none */
	struct row_changes changes;     /* what the work did */
	struct err         err;
	bool               ok;
	struct store_job  *next;
};

/* owner is handed to every done. The database must exist (store_create()). */
struct store *store_open(struct loop *loop, const char *path, void *owner, struct err *err);
/* Finishes what waits, without telling anybody, and closes; accepts NULL. */
void store_close(struct store *s);

/* Takes job, also on failure. */
bool store_submit(struct store *s, struct store_job *job, struct err *err);

struct store_stats {
	uint64_t jobs, commits, failures;
	size_t   waiting;
	int64_t  last_commit_ns, worst_commit_ns;
};
void store_stats(struct store *s, struct store_stats *ret_stats);

/* A new database with the mesh and its hub. id and v4 of hub are filled in. */
bool store_create(const char *path, const struct mesh_row *mesh, struct node_row *hub,
                  const char *policy, struct wall now, struct err *err);

/* Without a worker, for `check` and tests: runs one job to its end and frees it. */
bool store_run_once(const char *path, struct store_job *job, struct row_changes *ret_changes, struct err *err);

#endif
