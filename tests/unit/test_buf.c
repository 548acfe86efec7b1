/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/arena.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/secret.h"
#include "tests/unit/main.h"

#include <string.h>

START_TEST(ceiling)
{
	struct buf b = { 0 };

	buf_done(&b);
	buf_init(&b, 5);
	buf_add_str(&b, "abc");
	buf_add_str(&b, "def");
	ck_assert(b.over);
	ck_assert_str_eq(b.ptr, "abc");
	buf_add_str(&b, "d");           /* would fit, but the text would have a hole */
	ck_assert_uint_eq(b.len, 3);
	ck_assert_ptr_null(buf_take(&b));
	buf_clear(&b);
	buf_addf(&b, "%d", 12345);
	ck_assert(!b.over);
	ck_assert_str_eq(b.ptr, "12345");
	buf_addf(&b, "%d", 6);
	ck_assert(b.over);
	buf_done(&b);
	buf_init(&b, 0);
	buf_add(&b, "", 0);
	ck_assert(!b.over);
	buf_add_char(&b, 'x');
	ck_assert(b.over);
	buf_wipe_done(&b);
}
END_TEST

START_TEST(growing)
{
	struct buf b;

	buf_init(&b, 100000);
	for (int i = 0; i < 100000; i++)
		buf_add_char(&b, (char)('a' + i % 26));
	ck_assert(!b.over);
	ck_assert_uint_eq(b.len, 100000);
	buf_drop(&b, 26);
	ck_assert_int_eq(b.ptr[0], 'a');
	buf_drop(&b, 1);
	ck_assert_int_eq(b.ptr[0], 'b');
	buf_drop(&b, 999999);
	ck_assert_uint_eq(b.len, 0);
	buf_done(&b);
	buf_init(&b, 10);

	char *empty = buf_take(&b);

	ck_assert_str_eq(empty, "");
	free(empty);
}
END_TEST

START_TEST(json)
{
	static const struct { struct span text; const char *want; } rows[] = {
		{ { "a\0b", 3 }, "\"a\\u0000b\"" },
		{ { "\x7f\x1b[0m", 5 }, "\"\\u007f\\u001b[0m\"" },
		{ { "\"\\\n\r\t", 5 }, "\"\\\"\\\\\\n\\r\\t\"" },
		{ { "\xff", 1 }, "\"\\ufffd\"" },
		{ { "\xc3", 1 }, "\"\\ufffd\"" },
		{ { "\xe2\x82x", 3 }, "\"\\ufffd\\ufffdx\"" },
		{ { "\xed\xa0\x80", 3 }, "\"\\ufffd\\ufffd\\ufffd\"" },
		{ { "a\xc3\xa9z", 4 }, "\"a\xc3\xa9z\"" },
		{ { "\xf0\x9f\x98\x80", 4 }, "\"\xf0\x9f\x98\x80\"" },
		{ { "", 0 }, "\"\"" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct buf b;

		buf_init(&b, 100);
		buf_add_json(&b, rows[i].text);
		ck_assert_str_eq(b.ptr, rows[i].want);
		buf_done(&b);
	}
}
END_TEST

START_TEST(arena)
{
	struct arena a = { 0 };

	arena_done(&a);
	arena_init(&a, 64);
	for (size_t n = 0; n < 2000; n += 7) {
		char *p = arena_alloc(&a, n);

		ck_assert_uint_eq((uintptr_t)p % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < n; i++)
			ck_assert_int_eq(p[i], 0);
		memset(p, 0xff, n);
	}
	arena_reset(&a);
	ck_assert_uint_eq(a.used, 0);
	ck_assert_int_eq(*(char *)arena_alloc(&a, 8), 0);       /* zeroed again */
	ck_assert_str_eq(arena_printf(&a, "%s-%d", "x", 3).ptr, "x-3");
	ck_assert_str_eq(arena_str(&a, span_str(NULL)), "");
	ck_assert(span_eq(arena_copy(&a, SPAN("abc")), SPAN("abc")));
	arena_done(&a);
}
END_TEST

START_TEST(secrets)
{
	struct secret a = { 0 }, b;

	secret_done(&a);
	secret_init(&a, "geheim", 6);
	ck_assert(!secret_equal(&a, SPAN("geheix")));
	ck_assert(!secret_equal(&a, SPAN("gehei")));
	ck_assert(secret_equal(&a, SPAN("geheim")));
	secret_random(&b, 32);
	ck_assert(!secret_equal(&b, span_of((char[32]){ 0 }, 32)));
	secret_done(&a);
	secret_done(&b);
	ck_assert_ptr_null(a.ptr);
}
END_TEST

UNIT_MAIN("buf", ceiling, growing, json, arena, secrets)
