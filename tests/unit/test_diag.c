/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/buf.h"
#include "base/diag.h"
#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

START_TEST(texts)
{
	struct diags d;
	struct buf b;
	struct err err = { 0 };

	diags_init(&d, "policy.hujson");
	ck_assert(diags_err(&d, &err));
	diag_warn(&d, (struct place){ 3, 1 }, "odd");
	ck_assert(diags_err(&d, &err));
	ck_assert(!diag_error(&d, (struct place){ 12, 18 }, "unknown group \"%s\"", "group:lab"));
	diag_error(&d, (struct place){ 2, 5 }, "first");
	diag_error(&d, (struct place){ 0, 0 }, "whole");
	diags_sort(&d);
	buf_init(&b, 4096);
	diags_text(&d, &b);
	ck_assert_str_eq(b.ptr, "policy.hujson: error: whole\n"
	                        "policy.hujson:2:5: error: first\n"
	                        "policy.hujson:3:1: warning: odd\n"
	                        "policy.hujson:12:18: error: unknown group \"group:lab\"\n");
	buf_clear(&b);
	diags_json(&d, &b);
	ck_assert_ptr_nonnull(strstr(b.ptr, "{\"level\":\"error\",\"line\":12,\"column\":18,"
	                                    "\"message\":\"unknown group \\\"group:lab\\\"\"}"));
	ck_assert(!diags_err(&d, &err));
	ck_assert_str_eq(err.msg, "policy.hujson: whole (and 2 more)");
	buf_done(&b);
	diags_done(&d);
	diags_done(&d);
}
END_TEST

START_TEST(too_many)
{
	struct diags d;
	struct buf b;

	diags_init(&d, "f");
	for (unsigned i = 0; i < 3 * DIAG_MAX; i++)
		diag_error(&d, (struct place){ i, 1 }, "x");
	ck_assert_uint_eq(d.count, DIAG_MAX);
	ck_assert_uint_eq(d.errors, 3 * DIAG_MAX);
	buf_init(&b, 1 << 20);
	diags_text(&d, &b);
	ck_assert_ptr_nonnull(strstr(b.ptr, "400 more"));
	buf_done(&b);
	diags_done(&d);
}
END_TEST

START_TEST(near)
{
	static const char *const words[] = { "listen", "upstream", "hosts", "tls", "to" };
	static const struct { const char *word, *want; } rows[] = {
		{ "", NULL }, { "x", NULL }, { "tx", NULL }, { "profiles", NULL },
		{ "listne", "listen" }, { "lisen", "listen" }, { "upsteram", "upstream" },
		{ "host", "hosts" }, { "tsl", "tls" }, { "Listen", "listen" },
	};
	char big[200];

	for (size_t i = 0; i < array_size(rows); i++) {
		const char *got = nearest(span_str(rows[i].word), words, array_size(words));

		if (rows[i].want)
			ck_assert_str_eq(got, rows[i].want);
		else
			ck_assert_msg(!got, "%s -> %s", rows[i].word, got);
	}
	memset(big, 'l', sizeof(big));
	ck_assert_ptr_null(nearest(span_of(big, sizeof(big)), words, array_size(words)));
}
END_TEST

/* What log_at() wrote. */
static void logged(char *out, size_t size, const char *msg)
{
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	ck_assert_int_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	log_at(LOG_WARN, "%s", msg);
	log_at(LOG_DEBUG, "not wanted");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	n = read(fds[0], out, size - 1);
	ck_assert_int_gt(n, 0);
	out[n] = '\0';
	close(fds[0]);
}

START_TEST(no_forged_line)
{
	char out[8192], big[5000];

	unsetenv("JOURNAL_STREAM");
	log_open("reeved[core]", LOG_INFO);
	ck_assert(!log_wants(LOG_DEBUG));
	logged(out, sizeof(out), "a\n<3>forged: \x1b[31m\xc3\xa9");
	ck_assert_ptr_nonnull(strstr(out, " reeved[core]: warning: a\\x0a<3>forged: \\x1b[31m\\xc3\\xa9\n"));
	ck_assert_ptr_eq(strchr(out, '\n'), out + strlen(out) - 1);
	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	logged(out, sizeof(out), big);
	ck_assert_str_eq(out + strlen(out) - 4, "...\n");
	ck_assert_uint_le(strlen(out), 2400);
}
END_TEST

START_TEST(text)
{
	char out[LOG_TEXT_MAX], big[1000];

	ck_assert_str_eq(log_text(SPAN("a\0b\"\\\x7f"), out), "a\\x00b\"\\\\x7f");
	ck_assert_str_eq(log_text(span_str(NULL), out), "");
	memset(big, 'x', sizeof(big));
	ck_assert_uint_lt(strlen(log_text(span_of(big, sizeof(big)), out)), LOG_TEXT_MAX);
	ck_assert_str_eq(out + strlen(out) - 3, "...");
	memset(big, 1, sizeof(big));
	log_text(span_of(big, sizeof(big)), out);
	ck_assert_str_eq(out + strlen(out) - 7, "\\x01...");
}
END_TEST

UNIT_MAIN("diag", texts, too_many, near, no_forged_line, text)
