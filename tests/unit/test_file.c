/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/file.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/reeve-file-XXXXXX";
static char path[64];

static void enter(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
}

static void leave(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);        /* nothing temporary is left either */
}

START_TEST(reading)
{
	struct buf b = { .ptr = (char *)"kept" };
	struct err err;

	enter();
	ck_assert(!file_read(path, 100, &b, &err));
	ck_assert_int_eq(err.code, ERR_MISSING);
	ck_assert(!file_read(dir, 100, &b, &err));
	ck_assert_int_eq(err.code, ERR_SYS);
	ck_assert(file_replace(path, SPAN("hello"), 0644, &err));
	ck_assert(!file_read(path, 4, &b, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert(!file_read("/dev/zero", 10000, &b, &err));    /* no end, no size */
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert_str_eq(b.ptr, "kept");
	ck_assert(file_read(path, 5, &b, &err));
	ck_assert_str_eq(b.ptr, "hello");
	buf_done(&b);
	ck_assert(file_replace(path, SPAN(""), 0644, &err));
	ck_assert(file_read(path, 0, &b, &err));
	ck_assert_uint_eq(b.len, 0);
	ck_assert_str_eq(b.ptr, "");
	buf_done(&b);
	leave();
}
END_TEST

START_TEST(private)
{
	static const mode_t open_modes[] = { 0640, 0604, 0620, 0666, 0610 };
	struct buf b;
	struct err err;

	enter();
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		ck_assert(file_replace(path, SPAN("key"), open_modes[i], &err));
		ck_assert(!file_read_private(path, 100, &b, &err));
		ck_assert_int_eq(err.code, ERR_CONFIG);
	}
	ck_assert(!file_read_private("/dev/null", 100, &b, &err));
	ck_assert(file_replace(path, SPAN("key"), 0600, &err));
	ck_assert(file_read_private(path, 100, &b, &err));
	ck_assert_str_eq(b.ptr, "key");
	buf_wipe_done(&b);
	leave();
}
END_TEST

START_TEST(replacing)
{
	struct err err;
	struct stat st;
	struct buf b;

	enter();
	ck_assert(!file_replace("/nonexistent/f", SPAN("x"), 0600, &err));
	ck_assert(file_replace(path, SPAN("old"), 0600, &err));
	/* a target that cannot be replaced leaves nothing beside it */
	ck_assert(!file_replace(dir, SPAN("x"), 0600, &err));
	ck_assert(file_replace(path, SPAN("new"), 0640, &err));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	ck_assert(file_read(path, 10, &b, &err));
	ck_assert_str_eq(b.ptr, "new");
	buf_done(&b);
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert(file_replace("f", SPAN("here"), 0600, &err));
	ck_assert(file_read(path, 10, &b, &err));
	ck_assert_str_eq(b.ptr, "here");
	buf_done(&b);
	leave();
}
END_TEST

UNIT_MAIN("file", reading, private, replacing)
