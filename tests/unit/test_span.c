/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "base/span.h"
#include "tests/unit/main.h"

#include <string.h>

START_TEST(numbers)
{
	static const struct { const char *text; uint64_t max; bool ok; uint64_t n; } rows[] = {
		{ "", 9, false, 0 }, { "+1", 9, false, 0 }, { "-1", 9, false, 0 }, { " 1", 9, false, 0 },
		{ "1 ", 9, false, 0 }, { "0x1", 99, false, 0 }, { "10", 9, false, 0 },
		{ "18446744073709551616", UINT64_MAX, false, 0 },
		{ "99999999999999999999", UINT64_MAX, false, 0 },
		{ "0", 0, true, 0 }, { "007", 9, true, 7 },
		{ "18446744073709551615", UINT64_MAX, true, UINT64_MAX },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		uint64_t n = 77;

		ck_assert_msg(span_u64(span_str(rows[i].text), rows[i].max, &n) == rows[i].ok, "%s",
		              rows[i].text);
		ck_assert_uint_eq(n, rows[i].ok ? rows[i].n : 77);
	}
}
END_TEST

START_TEST(utf8)
{
	static const struct { const char *text; bool ok; } rows[] = {
		{ "\x80", false }, { "\xc0\x80", false }, { "\xc1\xbf", false }, { "\xe0\x9f\xbf", false },
		{ "\xed\xa0\x80", false }, { "\xed\xbf\xbf", false }, { "\xf0\x8f\xbf\xbf", false },
		{ "\xf4\x90\x80\x80", false }, { "\xf5\x80\x80\x80", false }, { "\xff", false },
		{ "a\xc3", false }, { "\xe2\x82", false }, { "\xf0\x9f\x98", false }, { "\xc3\x28", false },
		{ "\xe2\x28\xa1", false }, { "\xe2\x82\x28", false }, { "\xf0\x9f\x98\x28", false },
		{ "", true }, { "abc", true }, { "\xc3\xa9", true }, { "\xe2\x82\xac", true },
		{ "\xf0\x9f\x98\x80", true }, { "\xed\x9f\xbf", true }, { "\xee\x80\x80", true },
		{ "\xf4\x8f\xbf\xbf", true }, { "\x7f", true },
	};

	for (size_t i = 0; i < array_size(rows); i++)
		ck_assert_msg(span_is_utf8(span_str(rows[i].text)) == rows[i].ok, "row %zu", i);
	ck_assert(!span_is_print(SPAN("a\x7f")));
	ck_assert(!span_is_print(SPAN("a\n")));
	ck_assert(!span_is_print(SPAN("\xc3\xa9")));
	ck_assert(span_is_print(SPAN("a ~")));
}
END_TEST

START_TEST(parts)
{
	static const struct { const char *text; size_t n; const char *last; } rows[] = {
		{ "", 1, "" }, { "a", 1, "a" }, { "a,", 2, "" }, { ",", 2, "" }, { "a,,b", 3, "b" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct span rest = span_str(rows[i].text), part = SPAN("?");
		size_t n = 0;

		while (span_next(&rest, ',', &part))
			n++;
		ck_assert_uint_eq(n, rows[i].n);
		ck_assert(span_eq(part, span_str(rows[i].last)));
	}

	struct span none = span_str(NULL), part;

	ck_assert(!span_next(&none, ',', &part));
}
END_TEST

START_TEST(comparing)
{
	ck_assert(!span_eq(SPAN("a"), SPAN("ab")));
	ck_assert(!span_eq(SPAN("a"), SPAN("A")));
	ck_assert(span_ieq(SPAN("aZ09"), SPAN("Az09")));
	ck_assert(!span_ieq(SPAN("["), SPAN("{")));     /* differ by 0x20 and are no letters */
	ck_assert(!span_ieq(SPAN("\xc3\xa9"), SPAN("\xc3\x89")));
	ck_assert_int_lt(span_cmp(SPAN("a"), SPAN("ab")), 0);
	ck_assert_int_gt(span_cmp(SPAN("b"), SPAN("ab")), 0);
	ck_assert_int_gt(span_cmp(SPAN("\x80"), SPAN("a")), 0);
	ck_assert(span_eq(span_str(NULL), SPAN("")));
	ck_assert(!span_starts(SPAN("ab"), SPAN("abc")));
	ck_assert(span_starts(SPAN("ab"), SPAN("")));
	ck_assert(span_ends(SPAN("abc"), SPAN("bc")));
	ck_assert(!span_ends(SPAN("c"), SPAN("bc")));
	ck_assert_uint_eq(span_from(SPAN("abc"), 9).len, 0);
	ck_assert(span_eq(span_trim(SPAN(" \ta b\t ")), SPAN("a b")));
	ck_assert_uint_eq(span_trim(SPAN(" \t ")).len, 0);
	ck_assert_uint_eq(span_find(SPAN("abc"), 'z'), 3);
}
END_TEST

START_TEST(cstr_never_shortens)
{
	char buf[4] = "old";

	ck_assert(!span_cstr(SPAN("abcd"), buf, sizeof(buf)));
	ck_assert(!span_cstr(SPAN("a\0b"), buf, sizeof(buf)));
	ck_assert_str_eq(buf, "old");
	ck_assert(span_cstr(SPAN("abc"), buf, sizeof(buf)));
	ck_assert_str_eq(buf, "abc");
	ck_assert(span_cstr(span_str(NULL), buf, sizeof(buf)));
	ck_assert_str_eq(buf, "");

	char *copy = span_dup(SPAN("xy"));

	ck_assert_str_eq(copy, "xy");
	free(copy);
}
END_TEST

UNIT_MAIN("span", numbers, utf8, parts, comparing, cstr_never_shortens)
