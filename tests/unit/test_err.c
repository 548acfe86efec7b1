/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/err.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <errno.h>
#include <string.h>

START_TEST(always_false)
{
	struct err e = { 0 };

	ck_assert(!err_set(NULL, ERR_LIMIT, "x"));
	ck_assert(!err_sys(NULL, "x"));
	ck_assert(!err_prefix(NULL, "x"));
	ck_assert(!err_set(&e, ERR_LIMIT, "%d is too many", 7));
	ck_assert_int_eq(e.code, ERR_LIMIT);
	ck_assert_str_eq(e.msg, "7 is too many");
}
END_TEST

START_TEST(sys_says_errno)
{
	struct err e;

	errno = ENOENT;
	ck_assert(!err_sys(&e, "opening %s", "x"));
	ck_assert_int_eq(e.code, ERR_SYS);
	ck_assert_str_eq(e.msg, "opening x: No such file or directory");
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(prefix_goes_in_front)
{
	struct err e;

	err_set(&e, ERR_SYNTAX, "bad");
	ck_assert(!err_prefix(&e, "reading %s: ", "f"));
	ck_assert_str_eq(e.msg, "reading f: bad");
	ck_assert_int_eq(e.code, ERR_SYNTAX);
	err_set(&e, ERR_SYNTAX, "[%s]", e.msg);         /* its own message as an argument */
	ck_assert_str_eq(e.msg, "[reading f: bad]");
}
END_TEST

START_TEST(long_ones_are_marked)
{
	char big[2 * ERR_MSG_MAX];
	struct err e;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&e, ERR_SYNTAX, "%s", big);
	ck_assert_uint_eq(strlen(e.msg), ERR_MSG_MAX - 1);
	ck_assert_str_eq(e.msg + ERR_MSG_MAX - 4, "...");
	err_set(&e, ERR_SYNTAX, "%.500s", big);
	err_prefix(&e, "%s", "0123456789012345");
	ck_assert_str_eq(e.msg + ERR_MSG_MAX - 4, "...");
	err_set(&e, ERR_SYNTAX, "short");
	err_prefix(&e, "%s", big);
	ck_assert_str_eq(e.msg + ERR_MSG_MAX - 4, "...");
	errno = EPERM;
	err_sys(&e, "%.505s", big);
	ck_assert_str_eq(e.msg + ERR_MSG_MAX - 4, "...");
}
END_TEST

START_TEST(memory)
{
	ck_assert(!mem_equal_ct("abc", "abd", 3));
	ck_assert(mem_equal_ct("abc", "abd", 2));
	ck_assert(mem_equal_ct("", "", 0));

	scoped_free char *s = mem_dup("ab\0c", 4);

	ck_assert_int_eq(memcmp(s, "ab\0c", 5), 0);
	mem_wipe(s, 4);
	ck_assert_int_eq(memcmp(s, "\0\0\0\0", 5), 0);

	char *gone = mem_strdup("x");
	char *kept = take(gone);

	ck_assert_ptr_null(gone);
	free(kept);
	free(mem_calloc(0, 8));
}
END_TEST

UNIT_MAIN("err", always_false, sys_says_errno, prefix_goes_in_front, long_ones_are_marked, memory)
