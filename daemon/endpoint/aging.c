/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/aging.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/rotate.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/rotate.h"
#include "daemon/endpoint/sync.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	LOOK_SEC    = 60,
	ASK_SEC     = 3600,             /* how often the coordinator's configuration is asked about */
	PAUSE_SEC   = 60,
	PAUSE_MAX   = 86400,
	DOUBLED_MAX = 11,               /* a minute doubled so often is more than a day */
	AHEAD_SEC   = 86400,            /* a file from so far in the future was written by another clock */
	SPREAD      = 10,               /* a tenth */
};

struct aging {
	struct core           *core;
	struct client         *client;
	struct client_request *request;
	struct loop_timer     *look;
	int64_t                theirs;          /* the coordinator's "key-max-age" */
	struct boot            ask;             /* when it is asked again */
	struct wall            since, due;
	unsigned               failures;
	struct boot            again;
	bool                   busy;            /* rotate.c is at it */
	char                   why[ERR_MSG_MAX];
};

struct wall aging_due(struct wall since, int64_t max_age, const uint8_t key[AGING_KEY_LEN])
{
	uint32_t spread;

	/* A public key is as good as drawn. */
	memcpy(&spread, key, sizeof(spread));
	return (struct wall){ since.sec + max_age - (int64_t)(spread % (uint64_t)(max_age / SPREAD + 1)) };
}

int64_t aging_pause(unsigned failures, uint32_t at_random)
{
	unsigned doubled = failures ? failures - 1 : 0;
	int64_t sec = (int64_t)PAUSE_SEC << (doubled > DOUBLED_MAX ? DOUBLED_MAX : doubled);
	int64_t ns = (sec > PAUSE_MAX ? PAUSE_MAX : sec) * SEC_NS;

	return ns / 4 * 3 + (int64_t)((double)(ns / 2) * at_random / UINT32_MAX);
}

/* Since when there is this key. */
static struct wall since(const struct core *c)
{
	scoped_free char *path = core_state_path(c, "device.key");
	const struct timespec now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };
	struct stat st;

	if (stat(path, &st) < 0)
		return (struct wall){ 0 };
	if (st.st_mtim.tv_sec <= loop_wall(c->loop).sec + AHEAD_SEC)
		return (struct wall){ st.st_mtim.tv_sec };
	log_warn("%s is from the future: its age counts from now", path);
	if (utimensat(AT_FDCWD, path, now, 0) < 0)
		log_warn("%s: %m", path);
	return loop_wall(c->loop);
}

static void say(struct aging *a, const char *why)
{
	if (strcmp(a->why, why) == 0)
		return;
	snprintf(a->why, sizeof(a->why), "%s", why);
	sync_report(a->core->sync);
}

static void on_rotated(void *arg, const struct rotate_done *done, const struct err *err)
{
	struct aging *a = arg;
	uint32_t r;

	a->busy = false;
	if (done) {
		a->failures = 0;
		a->again = (struct boot){ 0 };
		aging_look(a);
		return;
	}
	random_bytes(&r, sizeof(r));
	a->failures++;
	a->again = boot_add(loop_now(a->core->loop), aging_pause(a->failures, r));
	log_warn("the device key is due for a change (try %u, again in %lld s): %s", a->failures,
	         (long long)((a->again.ns - loop_now(a->core->loop).ns) / SEC_NS), err->msg);
	say(a, err->msg);
}

static void on_reply(void *arg, const struct client_reply *reply)
{
	struct aging *a = arg;
	struct rotate_due d;
	struct err err = { 0 };

	a->request = NULL;
	/* An earlier release does not know the question: then it wants nothing. */
	if (reply->ok && reply->status == 200 && rotate_due_decode(reply->body, &d, &err))
		a->theirs = d.max_age;
	else if (err.code != ERR_NONE)
		log_warn("when device keys are to change: %s", err.msg);
	aging_look(a);
}

static void ask(struct aging *a)
{
	struct core *c = a->core;

	a->ask = boot_add(loop_now(c->loop), ASK_SEC * SEC_NS);
	a->request = sync_request(c, a->client, "GET", "/v1/rotate/due", (struct span){ 0 }, on_reply, a, NULL);
}

static void look(void *arg)
{
	struct aging *a = arg;
	struct core *c = a->core;
	const struct conf *conf = c->files->conf;
	struct boot now = loop_now(c->loop);
	struct wall from, due = { 0 };
	struct sync_state st;
	int64_t age;

	loop_timer_after(a->look, LOOK_SEC * SEC_NS);
	/* The hub's key does not change (rotate.c). */
	if (a->busy || !c->enrolment.enrolled || c->enrolment.down || c->enrolment.is_unix)
		return;
	sync_state(c->sync, &st);
	if (st.connected && !a->request && !conf->key_max_age && !conf->key_by_hand && boot_passed(a->ask, now))
		ask(a);
	if (a->request)
		return;
	from = since(c);
	age = conf->key_by_hand ? 0 : conf->key_max_age ? conf->key_max_age : a->theirs;
	if (age && from.sec)
		due = aging_due(from, age, c->public_key);
	if (from.sec != a->since.sec || due.sec != a->due.sec)
		sync_report(c->sync);
	a->since = from;
	a->due = due;
	if (!due.sec || loop_wall(c->loop).sec < due.sec) {
		a->failures = 0;
		a->again = (struct boot){ 0 };
		say(a, "");
	} else if (!st.connected) {
		say(a, "there is no line to the coordinator");
	} else if (boot_passed(a->again, now)) {
		a->busy = true;
		rotate_begin(c->rotate, false, on_rotated, a);
	}
}

void aging_look(struct aging *a)
{
	if (a)
		loop_timer_after(a->look, 0);
}

void aging_conf(struct aging *a)
{
	a->ask = a->again = (struct boot){ 0 };
	aging_look(a);
}

struct aging *aging_new(struct core *c, struct client *client)
{
	struct aging *a = mem_alloc(sizeof(*a));

	a->core = c;
	a->client = client;
	a->look = loop_timer_new(c->loop, look, a);
	loop_timer_after(a->look, 0);
	return a;
}

void aging_free(struct aging *a)
{
	if (!a)
		return;
	client_cancel(a->request);
	loop_timer_free(a->look);
	free(a);
}

void aging_state(const struct aging *a, struct aging_state *ret_st)
{
	*ret_st = (struct aging_state){ .why = "" };
	if (a)
		*ret_st = (struct aging_state){ a->since, a->due, a->failures, a->again, a->why };
}
