/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/clock.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <time.h>

START_TEST(wall_syntax)
{
	static const struct { const char *text; int64_t sec; } rows[] = {
		{ "", -1 }, { "2026-01-02", -1 }, { "2026-01-02T03:04:05", -1 },
		{ "2026-01-02 03:04:05Z", -1 }, { "2026-13-02T03:04:05Z", -1 },
		{ "2026-00-02T03:04:05Z", -1 }, { "2026-02-29T03:04:05Z", -1 },
		{ "2026-01-32T03:04:05Z", -1 }, { "2026-01-02T24:04:05Z", -1 },
		{ "2026-01-02T03:60:05Z", -1 }, { "2026-01-02T03:04:61Z", -1 },
		{ "2026-01-02T03:04:05.Z", -1 }, { "2026-01-02T03:04:05Z ", -1 },
		{ "2026-01-02T03:04:05+0100", -1 }, { "2026-01-02T03:04:05+24:00", -1 },
		{ "2026-1-02T03:04:05Z00", -1 }, { "1900-02-29T00:00:00Z", -1 },
		{ "1970-01-01T00:00:00Z", 0 }, { "2000-02-29T23:59:59Z", 951868799 },
		{ "2026-01-02T03:04:05Z", 1767323045 }, { "2026-01-02t03:04:05.999z", 1767323045 },
		{ "2026-01-02T04:04:05+01:00", 1767323045 }, { "2026-01-01T23:34:05-03:30", 1767323045 },
		{ "2016-12-31T23:59:60Z", 1483228800 },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct wall w = { -1 };

		ck_assert_msg(wall_parse(span_str(rows[i].text), &w) == (rows[i].sec >= 0), "%s",
		              rows[i].text);
		ck_assert_msg(w.sec == rows[i].sec, "%s", rows[i].text);
	}
}
END_TEST

START_TEST(wall_agrees_with_libc)
{
	char ours[WALL_TEXT_MAX], libc[WALL_TEXT_MAX];

	for (int64_t t = -62167219200; t < 253402300800; t += 86399 * 977) {
		time_t tt = t;
		struct tm tm;
		struct wall back;

		gmtime_r(&tt, &tm);
		strftime(libc, sizeof(libc), "%Y-%m-%dT%H:%M:%SZ", &tm);
		wall_text((struct wall){ t }, ours);
		if (tm.tm_year + 1900 >= 1000)          /* %Y does not pad */
			ck_assert_str_eq(ours, libc);
		ck_assert(wall_parse(span_str(ours), &back) && back.sec == t);
	}
	ck_assert_str_eq(wall_text((struct wall){ INT64_MAX }, ours), "9999-12-31T23:59:59Z");
	ck_assert_str_eq(wall_text((struct wall){ INT64_MIN }, ours), "0000-01-01T00:00:00Z");
}
END_TEST

START_TEST(durations)
{
	static const struct { const char *text; int64_t sec; } rows[] = {
		{ "", -1 }, { "s", -1 }, { "5x", -1 }, { "5 s", -1 }, { "-5", -1 }, { "1.5h", -1 },
		{ "30m1h", -1 }, { "1h1h", -1 }, { "1h30", -1 }, { "99999999999999999999s", -1 },
		{ "9223372036854775807m", -1 }, { "15250284452471w9223372036854775807s", -1 },
		{ "0", 0 }, { "90", 90 }, { "90s", 90 }, { "15m", 900 }, { "4h", 14400 },
		{ "7d", 604800 }, { "2w", 1209600 }, { "1h30m", 5400 }, { "1d1s", 86401 },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		int64_t n = -1;

		ck_assert_msg(duration_parse(span_str(rows[i].text), &n) == (rows[i].sec >= 0), "%s",
		              rows[i].text);
		ck_assert_int_eq(n, rows[i].sec);
	}

	char text[DURATION_TEXT_MAX];
	int64_t back;

	ck_assert_str_eq(duration_text(5400, text), "1h30m");
	ck_assert_str_eq(duration_text(0, text), "0s");
	ck_assert_str_eq(duration_text(-90, text), "-1m30s");
	duration_text(INT64_MIN, text);
	ck_assert(duration_parse(span_str(duration_text(INT64_MAX, text)), &back));
	ck_assert_int_eq(back, INT64_MAX);
}
END_TEST

START_TEST(deadlines)
{
	struct boot now = { 1000 };

	ck_assert(boot_passed((struct boot){ 0 }, now));
	ck_assert(boot_passed((struct boot){ 1000 }, now));
	ck_assert(!boot_passed((struct boot){ 1001 }, now));
	ck_assert(!boot_passed(BOOT_NEVER, now));
	ck_assert_int_eq(boot_add(BOOT_NEVER, 5).ns, INT64_MAX);
	ck_assert_int_eq(boot_add((struct boot){ INT64_MIN }, -5).ns, INT64_MIN);
	ck_assert_int_eq(boot_min(BOOT_NEVER, now).ns, 1000);
	/* unknown, past, now, later, and numbers that a stranger chose */
	ck_assert(boot_passed(boot_at_wall((struct wall){ 0 }, (struct wall){ 100 }, now), now));
	ck_assert(boot_passed(boot_at_wall((struct wall){ 99 }, (struct wall){ 100 }, now), now));
	ck_assert(boot_passed(boot_at_wall((struct wall){ 100 }, (struct wall){ 100 }, now), now));
	ck_assert_int_eq(boot_at_wall((struct wall){ 101 }, (struct wall){ 100 }, now).ns, 1000 + SEC_NS);
	ck_assert_int_eq(boot_at_wall((struct wall){ INT64_MAX }, (struct wall){ -100 }, now).ns, INT64_MAX);
	ck_assert(boot_passed(boot_at_wall((struct wall){ INT64_MIN }, (struct wall){ 100 }, now), now));
}
END_TEST

START_TEST(clocks_that_are_set)
{
	/* at: of the boot clock; shows: the wall clock, off from where it began; both in seconds */
	static const struct { int64_t at, shows; bool believed, moved; const char *what; } rows[] = {
		{ 0,    0,     true,  false, "begins" },
		{ 100,  102,   true,  false, "goes a little fast" },
		{ 200,  206,   true,  false, "and adds up" },
		{ 300,  7500,  false, true,  "two hours ahead" },
		{ 302,  7502,  false, false, "it was told" },
		{ 310,  314,   true,  true,  "and back" },
		{ 320,  324,   true,  false, "as if nothing had been" },
		{ 330,  -3266, false, true,  "an hour back" },
		{ 400,  10000, false, true,  "then ahead" },
		{ 699,  10299, false, false, "not long enough" },
		{ 700,  10300, true,  false, "has stayed so" },
		{ 710,  10310, true,  false, "is what it is" },
		{ 720,  724,   false, true,  "what it was is another one now" },
		{ 1000, INT64_MAX / 2, false, true, "absurd" },
		{ 1001, INT64_MIN / 2, false, true, "absurd" },
	};
	struct clock_watch w = { 0 };

	for (size_t i = 0; i < array_size(rows); i++) {
		struct wall wall = { 1790000000 + rows[i].shows };
		struct boot boot = { (1000 + rows[i].at) * SEC_NS };
		bool moved, believed = clock_watch(&w, wall, boot, &moved);

		ck_assert_msg(believed == rows[i].believed && moved == rows[i].moved, "%s: %d %d", rows[i].what,
		              believed, moved);
	}
}
END_TEST

UNIT_MAIN("clock", wall_syntax, wall_agrees_with_libc, durations, deadlines, clocks_that_are_set)
