/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* When sessions end: durations, times of the day (also where clocks are set back and forth), proofs,
 * and clocks that do not agree. */
#include "daemon/coordinator/lifetime.h"

#include "base/mem.h"
#include "daemon/coordinator/conf.h"

#include "tests/unit/main.h"

#include <string.h>
#include <time.h>

static void zone(const char *name)
{
	ck_assert(setenv("TZ", name, 1) == 0);
	tzset();
}

static struct wall at(const char *text)
{
	struct wall w;

	ck_assert_msg(wall_parse(span_str(text), &w), "%s", text);
	return w;
}

START_TEST(times_of_the_day_are_read)
{
	static const struct { const char *text; int want; } rows[] = {
		{ "00:00", 0 }, { "04:00", 240 }, { "23:59", 1439 },
		{ "24:00", -1 }, { "04:60", -1 }, { "4:00", -1 }, { "04-00", -1 }, { "04:0", -1 }, { "", -1 },
		{ "-4:00", -1 }, { "04:00 ", -1 }, { "+4:00", -1 }, { " 4:00", -1 },
	};

	ck_assert_int_eq(lifetime_minute(NULL), -1);
	for (size_t i = 0; i < array_size(rows); i++)
		ck_assert_msg(lifetime_minute(rows[i].text) == rows[i].want, "%s", rows[i].text);
}
END_TEST

/* Central Europe's rule, written out: the test needs no time zone database. */
#define EUROPE "CET-1CEST,M3.5.0,M10.5.0/3"

START_TEST(the_next_time_of_the_day)
{
	static const struct { const char *zone, *now, *clock, *want; } rows[] = {
		{ "UTC0",  "2026-11-21T03:00:00Z", "04:00", "2026-11-21T04:00:00Z" },
		{ "UTC0",  "2026-11-21T03:59:59Z", "04:00", "2026-11-21T04:00:00Z" },
		{ "UTC0",  "2026-11-21T04:00:00Z", "04:00", "2026-11-22T04:00:00Z" },     /* at it: the next */
		{ "UTC0",  "2026-12-31T23:00:00Z", "04:00", "2027-01-01T04:00:00Z" },
		{ "UTC0",  "2028-02-28T23:00:00Z", "04:00", "2028-02-29T04:00:00Z" },
		{ EUROPE,  "2026-11-21T02:30:00Z", "04:00", "2026-11-21T03:00:00Z" },
		{ EUROPE,  "2026-07-21T02:30:00Z", "04:00", "2026-07-22T02:00:00Z" },
		/* the night when clocks go from 02:00 to 03:00: that day has 23 hours */
		{ EUROPE,  "2026-03-28T03:30:00Z", "04:00", "2026-03-29T02:00:00Z" },
		/* the night when they go back from 03:00 to 02:00: 25 hours */
		{ EUROPE,  "2026-10-24T02:30:00Z", "04:00", "2026-10-25T03:00:00Z" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		zone(rows[i].zone);
		struct wall got = lifetime_next(lifetime_minute(rows[i].clock), at(rows[i].now));
		char        text[WALL_TEXT_MAX];

		ck_assert_msg(got.sec == at(rows[i].want).sec, "row %zu: %s", i, wall_text(got, text));
	}
	/* a time that a night does not have, or has twice: soon, once, and never in the past */
	zone(EUROPE);
	for (int64_t t = at("2026-03-28T00:00:00Z").sec; t < at("2026-03-30T00:00:00Z").sec; t += 600) {
		int64_t got = lifetime_next(lifetime_minute("02:30"), (struct wall){ t }).sec;

		ck_assert(got > t && got <= t + 26 * 3600);
	}
	for (int64_t t = at("2026-10-24T00:00:00Z").sec; t < at("2026-10-26T00:00:00Z").sec; t += 600) {
		int64_t got = lifetime_next(lifetime_minute("02:30"), (struct wall){ t }).sec;

		ck_assert(got > t && got <= t + 26 * 3600);
	}
}
END_TEST

START_TEST(the_earliest_end_counts)
{
	char        none[] = "", four[] = "04:00";
	struct conf c = { .session = 12 * 3600, .session_until = none };
	struct wall now = at("2026-11-21T02:00:00Z"), before = { now.sec - 3600 }, ahead = { now.sec + 3600 };

	zone("UTC0");
	ck_assert(lifetime_session(&c, before, now).sec == now.sec + 12 * 3600);
	c.session_until = four;
	ck_assert(lifetime_session(&c, before, now).sec == now.sec + 2 * 3600);
	c.session = 3600;
	ck_assert(lifetime_session(&c, before, now).sec == now.sec + 3600);
	c.session = 12 * 3600;
	c.session_until = none;
	/* the absolute end counts from the proof; one that the provider's clock puts into the
	 * future, or does not tell, is no younger than now */
	c.session_max = 10 * 3600;
	ck_assert(lifetime_session(&c, before, now).sec == now.sec + 9 * 3600);
	ck_assert(lifetime_session(&c, ahead, now).sec == now.sec + 10 * 3600);
	ck_assert(lifetime_session(&c, (struct wall){ 0 }, now).sec == now.sec + 10 * 3600);
	/* too old: it has ended */
	ck_assert(lifetime_session(&c, (struct wall){ now.sec - 11 * 3600 }, now).sec < now.sec);
	ck_assert(lifetime_session(&c, (struct wall){ INT64_MIN / 2 }, now).sec < now.sec);
}
END_TEST

START_TEST(what_a_provider_is_asked_for)
{
	char        none[] = "";
	struct conf c = { .session = 12 * 3600, .session_until = none };

	ck_assert_int_eq(lifetime_max_age(&c, -1), -1);
	ck_assert_int_eq(lifetime_max_age(&c, 0), 0);
	ck_assert_int_eq(lifetime_max_age(&c, 99), 99);
	c.session_max = 24 * 3600;
	ck_assert_int_eq(lifetime_max_age(&c, -1), 12 * 3600);
	ck_assert_int_eq(lifetime_max_age(&c, 99), 99);
	ck_assert_int_eq(lifetime_max_age(&c, 13 * 3600), 12 * 3600);
	c.session_max = 3600;           /* shorter than a session: a fresh proof each time */
	ck_assert_int_eq(lifetime_max_age(&c, -1), 0);
}
END_TEST

UNIT_MAIN("lifetime", times_of_the_day_are_read, the_next_time_of_the_day, the_earliest_end_counts,
          what_a_provider_is_asked_for)
