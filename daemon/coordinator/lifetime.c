/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/lifetime.h"

#include "base/log.h"
#include "daemon/control/used.h"
#include "daemon/coordinator/coordinator.h"

#include <string.h>
#include <time.h>

enum { ROUND_JOBS_MAX = 64 };           /* more wait for the next round: the queue is everybody's */

int lifetime_minute(const char *text)
{
	uint64_t h, m;

	if (!text || strlen(text) != 5 || text[2] != ':' ||
	    !span_u64(span_of(text, 2), 23, &h) || !span_u64(span_of(text + 3, 2), 59, &m))
		return -1;
	return (int)(h * 60 + m);
}

struct wall lifetime_next(int minute, struct wall now)
{
	time_t    t = (time_t)now.sec, at;
	struct tm day;

	if (!localtime_r(&t, &day))
		return now;
	for (int i = 0; i < 3; i++) {
		struct tm tm = { .tm_year = day.tm_year, .tm_mon = day.tm_mon,
			         .tm_mday = day.tm_mday + i, .tm_hour = minute / 60,
			         .tm_min = minute % 60, .tm_isdst = -1 };

		at = mktime(&tm);
		if (at != (time_t)-1 && at > t)
			return (struct wall){ at };
	}
	return now;
}

static struct wall earlier(struct wall a, struct wall b)
{
	return a.sec < b.sec ? a : b;
}

struct wall lifetime_session(const struct conf *conf, struct wall auth_time, struct wall now)
{
	struct wall end = { now.sec + conf->session };
	int         minute = lifetime_minute(conf->session_until);

	if (minute >= 0)
		end = earlier(end, lifetime_next(minute, now));
	/* A provider whose clock is ahead makes nothing last longer. */
	if (conf->session_max) {
		struct wall proof = auth_time.sec && auth_time.sec < now.sec ? auth_time : now;

		end = earlier(end, (struct wall){ proof.sec + conf->session_max });
	}
	return end;
}

int64_t lifetime_max_age(const struct conf *conf, int64_t wanted)
{
	int64_t most;

	if (!conf->session_max)
		return wanted;
	most = conf->session_max > conf->session ? conf->session_max - conf->session : 0;
	return wanted >= 0 && wanted < most ? wanted : most;
}

/* ---- the round ---- */

static void on_ended(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;

	audit_write(co->audit, loop_wall(co->loop), job->note, err);
	if (err)
		log_warn("%s", err->msg);
	else
		coordinator_commit(co, job);
}

static bool submit(struct coordinator *co, struct store_job *job, const char *event,
		   const struct reg_node *n)
{
	struct buf b = { 0 };
	struct err err;

	audit_note(&b, event);
	audit_id(&b, "node", 'n', n->id);
	audit_str(&b, "name", n->row->name);
	audit_id(&b, "user", 'u', n->row->user);
	job->note = buf_take(&b);
	job->done = on_ended;
	if (store_submit(co->store, job, &err))
		return true;
	log_warn("%s of n%llu: %s", event, (unsigned long long)n->id, err.msg);
	return false;
}

/* Since when nobody heard of it: a coordinator that was away heard nobody. */
static int64_t silent_for(const struct coordinator *co, const struct reg_node *n)
{
	int64_t since = n->last_seen.sec > co->started.sec ? n->last_seen.sec : co->started.sec;
	int64_t now = loop_wall(co->loop).sec;

	/* It begins with its enrolment; and somebody who logs in is there. */
	if (n->row->created.sec > since)
		since = n->row->created.sec;
	if (n->session && n->session->created.sec > since)
		since = n->session->created.sec;
	if (n->online || now < since)
		return 0;
	return now - since;
}

/* Idle is who uses nothing: a device that only listens to its map is. A login is use; a coordinator
 * that starts knows of nobody, and counts from then. */
static int64_t idle_for(const struct coordinator *co, const struct reg_node *n)
{
	int64_t since = n->used.sec > co->started.sec ? n->used.sec : co->started.sec;
	int64_t now = loop_wall(co->loop).sec;

	if (n->session->created.sec > since)
		since = n->session->created.sec;
	return now < since ? 0 : now - since;
}

int64_t lifetime_used_every(const struct conf *conf)
{
	int64_t every = conf->session_idle ? conf->session_idle / 4 : USED_EVERY_MAX;

	return every < USED_EVERY_MIN ? USED_EVERY_MIN : every > USED_EVERY_MAX ? USED_EVERY_MAX : every;
}

static bool look(struct coordinator *co, const struct reg_node *n, struct wall now)
{
	const struct conf *conf = co->conf;
	struct wall        until = { now.sec + conf->lease };

	if (n->row->hub)
		return false;
	if (n->row->expires.sec && n->row->expires.sec <= now.sec)
		return submit(co, &node_delete_op_new(n->id, now, until)->job, "node-expired", n);
	if (n->row->ephemeral && silent_for(co, n) >= conf->ephemeral_after)
		return submit(co, &node_delete_op_new(n->id, now, until)->job, "node-gone", n);
	if (n->row->has_next && n->row->next_until.sec <= now.sec)
		return submit(co, &rotate_op_new(n->id, ROTATE_DROP, now)->job, "node-key-not-used", n);
	if (conf->session_idle && n->session && idle_for(co, n) >= conf->session_idle) {
		struct end_op *op = end_op_new("idle", now);

		op->session = n->session->id;
		return submit(co, &op->job, "session-idle", n);
	}
	return false;
}

void lifetime_overdue(struct coordinator *co)
{
	struct wall wall = loop_wall(co->loop);
	struct boot now = loop_now(co->loop);
	size_t      pos = 0, jobs = 0;

	for (struct reg_node *n; jobs < ROUND_JOBS_MAX && (n = registry_next_node(co->reg, &pos));) {
		if (!n->session || !boot_passed(n->session_end, now) || n->session->expires.sec <= wall.sec)
			continue;
		struct end_op *op = end_op_new("expired", wall);

		op->session = n->session->id;
		jobs += submit(co, &op->job, "session-expired", n);
	}
}

void lifetime_round(struct coordinator *co)
{
	struct wall now = loop_wall(co->loop);
	size_t      pos = 0, jobs = 0;

	for (struct reg_node *n; jobs < ROUND_JOBS_MAX && (n = registry_next_node(co->reg, &pos));)
		jobs += look(co, n, now);
}
