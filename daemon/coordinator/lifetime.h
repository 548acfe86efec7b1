/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_LIFETIME_H
#define COORDINATOR_LIFETIME_H

/*
 * How long things last: a session (by duration, time of the day, proof and
 * idleness), an enrolment, an ephemeral node. The rules are the configuration's; here is their
 * arithmetic, and the round that ends what is over. Wall time, since people and providers speak of that; a
 * clock that is set is noticed within a minute.
 */

#include "base/clock.h"

struct conf;
struct coordinator;

/* "HH:MM" as minutes of the day; -1: it is none. */
int lifetime_minute(const char *text);
/* The next moment after now when clocks on the wall here show that minute of the day. Where a
 * summer time skips it: the moment that takes its place. */
struct wall lifetime_next(int minute, struct wall now);

/* The end of a session that begins now: never later than any of the configuration's ends. It may
 * have passed, with a proof that is too old. auth_time 0 (not said) is no older than now. */
struct wall lifetime_session(const struct conf *conf, struct wall auth_time, struct wall now);

/* How old a proof a provider may be asked to accept, so that what follows lasts as long as
 * a session should: the smaller of that and wanted (< 0: nothing wanted). < 0: any. */
int64_t lifetime_max_age(const struct conf *conf, int64_t wanted);

/* How often hosts tell who uses them: a quarter of the idle time, within daemon/control/used.h's bounds. */
int64_t lifetime_used_every(const struct conf *conf);

/* Ends sessions whose time is over by the boot clock, though the wall clock was set back since they began. */
void lifetime_overdue(struct coordinator *co);

/* Ends idle sessions, forgets nodes that are over. */
void lifetime_round(struct coordinator *co);

#endif
