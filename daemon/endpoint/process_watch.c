/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/process_inside.h"

#include <signal.h>

/*
 * A child that hangs keeps its place and does nothing: its channel is open, so
 * nobody starts another. Each is asked in turns whether its loop goes round, and
 * one that has not said so for as many turns as "watchdog" has is killed and
 * started again. The service manager, who may watch the parent itself, is told
 * at every turn.
 *
 * Turns are counted, not time: a machine that slept, or that gave the parent
 * itself no time, has no hung children.
 */
enum {
	WATCH_TURNS = 6,        /* at least; a turn is not longer than */
	WATCH_TURN_SEC = 10,    /* a sixth of WatchdogSec= in contrib/systemd/reeved.service */
};

static int64_t turn_ns(const struct processes *ps)
{
	int64_t ns = ps->now.conf->watchdog_sec * SEC_NS / WATCH_TURNS;

	return ns > 0 && ns < WATCH_TURN_SEC * SEC_NS ? ns : WATCH_TURN_SEC * SEC_NS;
}

static void on_turn(void *arg)
{
	struct processes *ps = arg;
	struct msg ask = { .type = MSG_PING };
	struct err err = { 0 };

	int64_t limit = ps->now.conf->watchdog_sec * SEC_NS;

	for (size_t i = 0; i < ps->count && !ps->ending && limit; i++) {
		struct process *p = &ps->list[i];

		if (!p->channel || p->pid <= 0)
			continue;
		if (p->asked_turns == 0) {
			if (!channel_send(p->channel, &ask, NULL, 0, &err))
				log_error("%s: %s", p->name, err.msg);
			p->asked_turns = 1;
		} else if (p->asked_turns++ * turn_ns(ps) >= limit) {
			log_error("%s hangs: no answer for %lld s; killed", p->name,
				  (long long)ps->now.conf->watchdog_sec);
			kill(p->pid, SIGKILL);
			p->asked_turns = 0;
		}
	}
	if (!sdnotify("WATCHDOG=1", &err))
		log_warn("%s", err.msg);
	process_watch(ps);
}

void process_watch(struct processes *ps)
{
	if (!ps->watch_timer)
		ps->watch_timer = loop_timer_new(ps->loop, on_turn, ps);
	loop_timer_after(ps->watch_timer, turn_ns(ps));
}

void process_answered(struct process *p)
{
	p->asked_turns = 0;
}
