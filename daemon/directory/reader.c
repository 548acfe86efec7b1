/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/reader.h"

#include "daemon/directory/reader_parts.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * Both sides hold a reference; what they share is below the lock. The loop's side
 * goes first: the thread sees it at its next wait.
 */

const char *reader_state_name(enum reader_state s)
{
	static const char *const names[] = {
		[READER_CONNECTING] = "connecting", [READER_WATCHING] = "watching",
		[READER_POLLING] = "polling",       [READER_AWAY] = "away",
	};

	return (unsigned)s < array_size(names) ? names[s] : "away";
}

void reader_process_init(void)
{
	setenv("LDAPNOINIT", "1", 1);
}

/* ---- what is kept ---- */

void reader_kept_done(struct reader_kept *k)
{
	buf_done(&k->entries);
	buf_done(&k->mark);
	*k = (struct reader_kept){ 0 };
}

bool reader_kept_none(const struct reader_kept *k)
{
	return !k->whole && !k->mark.len && !k->entries.len && !k->entries.over;
}

void reader_kept_join(struct reader_kept *k, struct reader_kept *later)
{
	bool lost = k->whole && !k->mark.len, over = later->entries.over;

	if (reader_kept_none(later)) {
		reader_kept_done(later);
		return;
	}
	if (later->whole || reader_kept_none(k)) {
		swap(*k, *later);
	} else if (!lost) {
		buf_add_span(&k->entries, buf_span(&later->entries));
		swap(k->mark, later->mark);
	}
	/* More than is kept: then nothing is, until everything is read again. */
	if (over || k->entries.over || !k->mark.len) {
		reader_kept_done(k);
		k->whole = true;
	}
	reader_kept_done(later);
}

static void shared_unref(struct shared *s)
{
	pthread_mutex_lock(&s->lock);
	bool last = --s->refs == 0;
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	roster_list_free(s->list);
	reader_kept_done(&s->kept);
	reader_kept_done(&s->start);
	secret_done(&s->password);
	if (s->event >= 0)
		close(s->event);
	if (s->stop >= 0)
		close(s->stop);
	pthread_mutex_destroy(&s->lock);
	for (size_t i = 0; i < array_size(s->texts); i++)
		free(s->texts[i]);
	free(s);
}

static void bell(struct shared *s)
{
	uint64_t one = 1;
	ssize_t  n = write(s->event, &one, sizeof(one));

	(void)n;        /* an eventfd that is full is readable anyhow */
}

/* ---- the thread's side ---- */

void shared_tell(struct shared *s, enum reader_state state, const struct err *err)
{
	pthread_mutex_lock(&s->lock);
	s->state = state;
	snprintf(s->error, sizeof(s->error), "%s", err ? err->msg : "");
	pthread_mutex_unlock(&s->lock);
	bell(s);
}

void shared_list(struct shared *s, struct roster_list *list, enum reader_state state, struct held *held)
{
	struct reader_kept kept = { .whole = true };

	if (held) {
		kept.whole = held->whole;
		roster_journal_take(held->roster, &kept.entries);
		buf_init(&kept.mark, HELD_MARK_MAX);
		if (held->good)
			held_mark(held, &s->row, &kept.mark);
		if (kept.mark.over)
			buf_clear(&kept.mark);
		held->whole = false;
	}
	pthread_mutex_lock(&s->lock);
	swap(s->list, list);
	reader_kept_join(&s->kept, &kept);
	s->fresh = true;
	s->state = state;
	s->error[0] = '\0';
	pthread_mutex_unlock(&s->lock);
	roster_list_free(list);
	bell(s);
}

void shared_guard(struct shared *s, int fd)
{
	pthread_mutex_lock(&s->lock);
	s->guarded = fd;
	s->guard_until = boot_add(clock_boot(), s->row.timeout * SEC_NS);
	pthread_mutex_unlock(&s->lock);
	if (fd >= 0)
		bell(s);
}

bool shared_stopped(struct shared *s, int ms)
{
	struct pollfd p = { .fd = s->stop, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

static void *thread(void *arg)
{
	struct shared *s = arg;
	int            wait = READER_RETRY_SEC;
	struct held    held;
	struct err     broken = { 0 };

	held_init(&held, session_searches(&s->row));
	if (s->start.mark.len &&
	    !held_load(&held, &s->row, buf_span(&s->start.mark), buf_span(&s->start.entries), &broken) &&
	    broken.code)
		log_warn("%s: everything is read again: %s", s->row.url, broken.msg);
	reader_kept_done(&s->start);
	while (!shared_stopped(s, 0)) {
		struct err err = { 0 };

		if (session_run(s, &held, &err)) {
			wait = READER_RETRY_SEC;
			if (shared_stopped(s, (int)(s->row.poll * 1000)))
				break;
			continue;
		}
		if (shared_stopped(s, 0))
			break;
		/* It had answered before: then it is worth asking again soon. */
		if (s->answered)
			wait = READER_RETRY_SEC;
		shared_tell(s, READER_AWAY, &err);
		if (shared_stopped(s, wait * 1000))
			break;
		wait = wait * 2 < READER_RETRY_MAX ? wait * 2 : READER_RETRY_MAX;
	}
	held_done(&held);
	shared_unref(s);
	return NULL;
}

/* ---- the loop's side ---- */

struct reader {
	struct loop    *loop;
	struct loop_fd *watch;
	struct loop_timer *guard;
	struct shared  *shared;
	pthread_t       thread;
	bool            started;
	char           *name;
	reader_fn      *fn;
	void           *arg;
	struct wall     read;
	uint64_t        lists;
};

/* Nobody else can: the thread sits in a handshake that does not end. */
static void on_guard(void *arg)
{
	struct reader *r = arg;

	pthread_mutex_lock(&r->shared->lock);
	if (r->shared->guarded >= 0)
		shutdown(r->shared->guarded, SHUT_RDWR);
	pthread_mutex_unlock(&r->shared->lock);
}

static void on_bell(void *arg, uint32_t events)
{
	struct reader *r = arg;
	uint64_t       n;
	ssize_t        got = read(r->shared->event, &n, sizeof(n));

	(void)events;
	(void)got;
	pthread_mutex_lock(&r->shared->lock);
	if (r->shared->fresh) {
		r->shared->fresh = false;
		r->read = loop_wall(r->loop);
		r->lists++;
	}
	struct boot until = r->shared->guarded >= 0 ? r->shared->guard_until : BOOT_NEVER;
	pthread_mutex_unlock(&r->shared->lock);
	loop_timer_set(r->guard, until);
	r->fn(r->arg);
}

static char *keep(struct shared *s, const char *text)
{
	for (size_t i = 0; i < array_size(s->texts); i++)
		if (!s->texts[i])
			return s->texts[i] = mem_strdup(text);
	abort();
}

/* The configuration may be replaced while the thread still reads by the old one. */
static void copy_row(struct shared *s, const struct reader_row *row)
{
	s->row = *row;
	s->row.url = keep(s, row->url);
	s->row.ca = keep(s, row->ca);
	s->row.bind_dn = keep(s, row->bind_dn);
	s->row.password_file = NULL;
	s->row.people = keep(s, row->people);
	s->row.people_filter = keep(s, row->people_filter);
	s->row.login_attribute = keep(s, row->login_attribute);
	s->row.login_suffix = keep(s, row->login_suffix);
	s->row.disabled_filter = keep(s, row->disabled_filter);
	s->row.groups = keep(s, row->groups);
	s->row.groups_filter = keep(s, row->groups_filter);
	s->row.group_attribute = keep(s, row->group_attribute);
}

static bool read_password(struct shared *s, const struct reader_row *row, struct err *err)
{
	struct buf b = { 0 };

	if (!*row->password_file)
		return true;
	buf_init(&b, 1024);
	bool ok = file_read_private(row->password_file, 1024, &b, err);
	struct span text = buf_span(&b);
	while (ok && text.len && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
		text.len--;
	/* A bind with a name and no password is a bind as nobody (RFC 4513 5.1.2). */
	if (ok && !text.len)
		ok = err_set(err, ERR_CONFIG, "%s holds no password", row->password_file);
	if (ok)
		secret_init(&s->password, text.ptr, text.len);
	buf_wipe_done(&b);
	return ok;
}

struct reader *reader_new(struct loop *l, const char *name, const struct reader_row *row,
			  reader_fn *fn, void *arg, struct err *err)
{
	struct shared *s = mem_alloc(sizeof(*s));

	s->refs = 1;
	pthread_mutex_init(&s->lock, NULL);
	s->guarded = -1;
	s->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	copy_row(s, row);
	if (s->event < 0 || s->stop < 0) {
		err_sys(err, "eventfd");
		shared_unref(s);
		return NULL;
	}
	if (!read_password(s, row, err)) {
		err_prefix(err, "%s: ", name);
		shared_unref(s);
		return NULL;
	}
	struct reader *r = mem_alloc(sizeof(*r));
	r->loop = l;
	r->shared = s;
	r->fn = fn;
	r->arg = arg;
	r->name = mem_strdup(name);
	r->guard = loop_timer_new(l, on_guard, r);
	r->watch = loop_fd_add(l, s->event, EPOLLIN, on_bell, r);
	return r;
}

bool reader_start(struct reader *r, struct reader_kept *from, struct err *err)
{
	struct shared *s = r->shared;
	sigset_t       all, old;

	swap(s->start, *from);
	s->refs = 2;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&r->thread, NULL, thread, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	r->started = rc == 0;
	if (r->started)
		return true;
	s->refs = 1;
	errno = rc;
	return err_sys(err, "%s: starting its thread", r->name);
}

void reader_free(struct reader *r, bool wait)
{
	struct timespec until;
	uint64_t        one = 1;

	if (!r)
		return;
	loop_fd_remove(r->watch);
	loop_timer_free(r->guard);
	on_guard(r);
	ssize_t n = write(r->shared->stop, &one, sizeof(one));
	(void)n;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 3;
	if (r->started && (!wait || pthread_timedjoin_np(r->thread, NULL, &until) != 0))
		pthread_detach(r->thread);
	shared_unref(r->shared);
	free(r->name);
	free(r);
}

struct roster_list *reader_take(struct reader *r, struct reader_kept *kept)
{
	pthread_mutex_lock(&r->shared->lock);
	struct roster_list *list = take(r->shared->list);
	if (list)
		reader_kept_join(kept, &r->shared->kept);
	pthread_mutex_unlock(&r->shared->lock);
	return list;
}

void reader_status(struct reader *r, struct reader_status *ret)
{
	pthread_mutex_lock(&r->shared->lock);
	ret->state = r->shared->state;
	memcpy(ret->error, r->shared->error, sizeof(ret->error));
	pthread_mutex_unlock(&r->shared->lock);
	ret->read = r->read;
	ret->lists = r->lists;
}
