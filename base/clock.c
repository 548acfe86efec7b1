/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

struct wall clock_wall(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct wall){ ts.tv_sec };
}

struct boot clock_boot(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (struct boot){ ts.tv_sec * SEC_NS + ts.tv_nsec };
}

struct boot boot_add(struct boot t, int64_t ns)
{
	int64_t sum;

	if (__builtin_add_overflow(t.ns, ns, &sum))
		sum = ns > 0 ? INT64_MAX : INT64_MIN;
	return (struct boot){ sum };
}

bool boot_passed(struct boot deadline, struct boot now)
{
	return now.ns >= deadline.ns;
}

struct boot boot_min(struct boot a, struct boot b)
{
	return a.ns < b.ns ? a : b;
}

struct boot boot_at_wall(struct wall w, struct wall wall_now, struct boot now)
{
	int64_t sec, ns;

	if (w.sec == 0 || w.sec <= wall_now.sec)
		return (struct boot){ 0 };
	if (__builtin_sub_overflow(w.sec, wall_now.sec, &sec) ||
	    __builtin_mul_overflow(sec, SEC_NS, &ns))
		return BOOT_NEVER;
	return boot_add(now, ns);
}

static bool is_near(int64_t a, int64_t b)
{
	int64_t d;

	return !__builtin_sub_overflow(a, b, &d) && d <= CLOCK_SLACK_SEC && d >= -CLOCK_SLACK_SEC;
}

bool clock_watch(struct clock_watch *w, struct wall wall, struct boot now, bool *ret_moved)
{
	int64_t offset;

	*ret_moved = false;
	if (__builtin_sub_overflow(wall.sec, now.ns / SEC_NS, &offset))
		offset = INT64_MIN;
	if (!w->begun || is_near(offset, w->offset)) {
		*ret_moved = w->away;
		w->begun = true;
		w->away = false;
		w->offset = offset;     /* it may go a little wrong, always */
		return true;
	}
	if (!w->away || !is_near(offset, w->other)) {
		*ret_moved = w->away = true;
		w->since = now;
	}
	w->other = offset;
	if (!boot_passed(boot_add(w->since, CLOCK_SETTLE_SEC * SEC_NS), now))
		return false;
	w->away = false;
	w->offset = offset;
	return true;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back, counted
 * in years that begin in March so that the leap day comes last. */
static int64_t days_of_date(int64_t y, int m, int d)
{
	y -= m <= 2;

	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + doe - 719468;
}

static void date_of_days(int64_t days, int64_t *ret_y, int *ret_m, int *ret_d)
{
	days += 719468;

	int64_t era = (days >= 0 ? days : days - 146096) / 146097;
	int64_t doe = days - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*ret_d = (int)(doy - (153 * mp + 2) / 5 + 1);
	*ret_m = (int)(mp < 10 ? mp + 3 : mp - 9);
	*ret_y = yoe + era * 400 + (*ret_m <= 2);
}

enum { DAY_SEC = 86400 };

const char *wall_text(struct wall w, char buf[WALL_TEXT_MAX])
{
	/* RFC 3339 has four digits for the year: what lies outside shows the nearest end */
	const int64_t first = days_of_date(0, 1, 1) * DAY_SEC;
	const int64_t last = days_of_date(10000, 1, 1) * DAY_SEC - 1;
	int64_t t = w.sec < first ? first : w.sec > last ? last : w.sec;
	int64_t days = t / DAY_SEC, rest = t % DAY_SEC, y;
	int m, d;

	if (rest < 0) {
		rest += DAY_SEC;
		days--;
	}
	date_of_days(days, &y, &m, &d);
	snprintf(buf, WALL_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)y % 10000,
	         (unsigned)m % 100, (unsigned)d % 100, (unsigned)(rest / 3600) % 100,
	         (unsigned)(rest / 60 % 60), (unsigned)(rest % 60));
	return buf;
}

static bool two_digits(struct span s, size_t at, int min, int max, int *ret)
{
	uint64_t n;

	if (at + 2 > s.len || !span_u64(span_head(span_from(s, at), 2), 99, &n) ||
	    (int)n < min || (int)n > max)
		return false;
	*ret = (int)n;
	return true;
}

static int days_in_month(int64_t y, int m)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

	return days[m - 1] + (m == 2 && leap);
}

bool wall_parse(struct span s, struct wall *ret_w)
{
	uint64_t y;
	int m, d, hh, mm, ss, oh = 0, om = 0, sign = 0;

	if (s.len < sizeof("1970-01-01T00:00:00Z") - 1 || !span_u64(span_head(s, 4), 9999, &y) ||
	    s.ptr[4] != '-' || s.ptr[7] != '-' || (s.ptr[10] != 'T' && s.ptr[10] != 't') ||
	    s.ptr[13] != ':' || s.ptr[16] != ':')
		return false;
	/* second 60 is a leap second: one past 59 */
	if (!two_digits(s, 5, 1, 12, &m) ||
	    !two_digits(s, 8, 1, days_in_month((int64_t)y, m), &d) ||
	    !two_digits(s, 11, 0, 23, &hh) || !two_digits(s, 14, 0, 59, &mm) ||
	    !two_digits(s, 17, 0, 60, &ss))
		return false;
	s = span_from(s, 19);
	if (s.len && s.ptr[0] == '.') {
		size_t n = 1;

		while (n < s.len && s.ptr[n] >= '0' && s.ptr[n] <= '9')
			n++;
		if (n == 1)
			return false;
		s = span_from(s, n);
	}
	if (s.len == 1 && (s.ptr[0] == 'Z' || s.ptr[0] == 'z')) {
		/* UTC */
	} else if (s.len == 6 && (s.ptr[0] == '+' || s.ptr[0] == '-') && s.ptr[3] == ':') {
		if (!two_digits(s, 1, 0, 23, &oh) || !two_digits(s, 4, 0, 59, &om))
			return false;
		sign = s.ptr[0] == '+' ? 1 : -1;
	} else {
		return false;
	}
	ret_w->sec = days_of_date((int64_t)y, m, d) * DAY_SEC + hh * 3600 + mm * 60 + ss -
	             sign * (oh * 3600 + om * 60);
	return true;
}

static const struct { char unit; int64_t sec; } units[] = {
	{ 'w', 7 * DAY_SEC }, { 'd', DAY_SEC }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 },
};
enum { UNITS = sizeof(units) / sizeof(units[0]) };

bool duration_parse(struct span s, int64_t *ret_sec)
{
	uint64_t n;
	int64_t total = 0;
	size_t unit = 0;        /* the next one must be smaller than the last */

	if (span_u64(s, INT64_MAX, &n)) {
		*ret_sec = (int64_t)n;
		return true;
	}
	if (s.len == 0)
		return false;
	while (s.len) {
		size_t digits = 0;
		int64_t part;

		while (digits < s.len && s.ptr[digits] >= '0' && s.ptr[digits] <= '9')
			digits++;
		if (digits == s.len || !span_u64(span_head(s, digits), INT64_MAX, &n))
			return false;
		while (unit < UNITS && units[unit].unit != s.ptr[digits])
			unit++;
		if (unit == UNITS || __builtin_mul_overflow((int64_t)n, units[unit].sec, &part) ||
		    __builtin_add_overflow(total, part, &total))
			return false;
		unit++;
		s = span_from(s, digits + 1);
	}
	*ret_sec = total;
	return true;
}

const char *duration_text(int64_t sec, char buf[DURATION_TEXT_MAX])
{
	size_t len = 0;
	uint64_t rest = sec < 0 ? 0 - (uint64_t)sec : (uint64_t)sec;

	if (rest == 0) {
		snprintf(buf, DURATION_TEXT_MAX, "0s");
		return buf;
	}
	if (sec < 0)
		buf[len++] = '-';
	for (size_t u = 1; u < UNITS; u++) {    /* "14d" reads better than "2w" */
		uint64_t n = rest / (uint64_t)units[u].sec;

		rest %= (uint64_t)units[u].sec;
		if (n)
			len += (size_t)snprintf(buf + len, DURATION_TEXT_MAX - len, "%llu%c",
			                        (unsigned long long)n, units[u].unit);
	}
	return buf;
}
