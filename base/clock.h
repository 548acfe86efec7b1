/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/*
 * Two kinds of time, two types, so that they cannot be mixed. Only loops and
 * main functions read a clock; everything else takes "now" as an argument.
 */

#include "base/span.h"

/* Seconds since 1970, UTC. What tokens and people speak of. 0 is "unknown". */
struct wall { int64_t sec; };

/* Nanoseconds of CLOCK_BOOTTIME: goes on during sleep, never jumps. 0 is "unknown";
 * as a deadline, 0 has passed. */
struct boot { int64_t ns; };

#define BOOT_NEVER ((struct boot){ INT64_MAX })
#define SEC_NS     INT64_C(1000000000)

struct wall clock_wall(void);
struct boot clock_boot(void);

/* t + ns, held at the ends of the range. */
struct boot boot_add(struct boot t, int64_t ns);
bool        boot_passed(struct boot deadline, struct boot now);  /* now >= deadline */
struct boot boot_min(struct boot a, struct boot b);

/* When, on the boot clock, the wall clock will show w; w in the past or
 * unknown gives a passed deadline. */
struct boot boot_at_wall(struct wall w, struct wall wall_now, struct boot now);

/*
 * Tells a wall clock that was set from one that goes: one zeroed watch, asked every now and then. A
 * clock that was set is believed when it has stayed so for CLOCK_SETTLE_SEC; until then, whoever would do
 * something by it that cannot be undone waits. One that comes back by itself was never away.
 */
struct clock_watch {
	bool        begun, away;
	int64_t     offset, other;      /* wall - boot in seconds: believed; seen since */
	struct boot since;
};
enum { CLOCK_SLACK_SEC = 5, CLOCK_SETTLE_SEC = 300 };
/* True: what it shows is believed. *ret_moved: it was set since it was asked last (either way, and back). */
bool clock_watch(struct clock_watch *w, struct wall wall, struct boot now, bool *ret_moved);

/* RFC 3339 in UTC, "2026-01-02T03:04:05Z"; outside the years 0 to 9999 the nearest end. */
enum { WALL_TEXT_MAX = 32 };
const char *wall_text(struct wall w, char buf[WALL_TEXT_MAX]);
bool        wall_parse(struct span s, struct wall *ret_w);       /* RFC 3339, with Z or an offset */

/* "90s", "15m", "4h", "7d", "2w", "1h30m" (larger units first), or a bare number of
 * seconds; whole span. */
bool duration_parse(struct span s, int64_t *ret_sec);
enum { DURATION_TEXT_MAX = 32 };
const char *duration_text(int64_t sec, char buf[DURATION_TEXT_MAX]);   /* "1h30m" */

#endif
