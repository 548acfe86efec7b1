/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/hosts.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEGIN "# reeve: begin (kept by reeved; changes between these lines are lost)\n"
#define END   "# reeve: end\n"

static char dir[] = "/tmp/reeve-hosts-XXXXXX", path[64];

static void begin(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/hosts", dir);
}

static void end(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);        /* no temporary file was left */
}

static void put(const char *text)
{
	struct err err;

	ck_assert(file_replace(path, span_str(text), 0640, &err));
}

static void holds(const char *text)
{
	scoped_buf struct buf b;
	struct err err;

	buf_init(&b, HOSTS_FILE_MAX);
	ck_assert_msg(file_read(path, HOSTS_FILE_MAX, &b, &err), "%s", err.msg);
	ck_assert_msg(span_eq(buf_span(&b), span_str(text)), "%.*s", SPAN_ARG(buf_span(&b)));
}

static struct host host(const char *ip, const char *name)
{
	struct host h = { .name = span_str(name) };

	ck_assert(ip_parse(span_str(ip), &h.ip));
	return h;
}

static size_t write_hosts(const struct host *hosts, size_t n)
{
	size_t left_out = 99;
	struct err err;

	ck_assert_msg(hosts_write(path, hosts, n, &left_out, &err), "%s", err.msg);
	return left_out;
}

START_TEST(block_comes_and_goes)
{
	struct host two[] = { host("100.64.0.3", "wiki"), host("fd00::3", "Wiki") };
	struct stat st;
	ino_t ino;

	begin();
	put("127.0.0.1 localhost\n# mine\n");
	ck_assert_uint_eq(write_hosts(NULL, 0), 0);
	holds("127.0.0.1 localhost\n# mine\n");
	ck_assert_uint_eq(write_hosts(two, 2), 0);
	holds("127.0.0.1 localhost\n# mine\n" BEGIN "100.64.0.3\twiki\nfd00::3\twiki\n" END);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	ino = st.st_ino;
	write_hosts(two, 2);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_ino, ino);      /* nothing changed: nothing written */
	write_hosts(two, 1);
	holds("127.0.0.1 localhost\n# mine\n" BEGIN "100.64.0.3\twiki\n" END);
	write_hosts(NULL, 0);
	holds("127.0.0.1 localhost\n# mine\n");
	end();
}
END_TEST

START_TEST(rest_is_kept)
{
	struct host one[] = { host("100.64.0.3", "wiki") };

	begin();
	/* no newline at its end, CR, bytes that are no text, a block in the middle */
	put("127.0.0.1 a\r\n" BEGIN "100.64.0.9\told\n" END "\377\0012 b");
	write_hosts(one, 1);
	holds("127.0.0.1 a\r\n\377\0012 b\n" BEGIN "100.64.0.3\twiki\n" END);
	/* a begin without its end costs the owner nothing */
	put(BEGIN "10.0.0.1 printer\n");
	write_hosts(NULL, 0);
	holds("10.0.0.1 printer\n");
	unlink(path);
	write_hosts(NULL, 0);
	ck_assert_int_ne(access(path, F_OK), 0);
	write_hosts(one, 1);
	holds(BEGIN "100.64.0.3\twiki\n" END);
	end();
}
END_TEST

START_TEST(names_from_afar)
{
	char long_label[70], long_name[300];

	memset(long_label, 'a', 64);
	long_label[64] = '\0';
	for (size_t i = 0; i < sizeof(long_name); i++)
		long_name[i] = i % 10 == 9 ? '.' : 'a';
	long_name[254] = '\0';

	struct host bad[] = {
		host("100.64.0.3", ""), host("100.64.0.3", "a b"),
		host("100.64.0.3", "a\n6.6.6.6 bank.example"), host("100.64.0.3", "a#b"),
		host("100.64.0.3", "localhost"), host("100.64.0.3", "x.LocalHost"),
		host("100.64.0.3", "-a"), host("100.64.0.3", "a-"), host("100.64.0.3", ".a"),
		host("100.64.0.3", "a..b"), host("100.64.0.3", "a."), host("100.64.0.3", "a_b"),
		host("100.64.0.3", "\303\244"), host("100.64.0.3", "1.2.3.4"),
		host("100.64.0.3", long_label), host("100.64.0.3", long_name),
		host("100.64.0.3", "printer"), host("100.64.0.3", "PRINTER.example.edu"),
		{ .name = SPAN("nowhere") },
		{ .name = { "a\0b", 3 }, .ip = host("100.64.0.3", "a").ip },
	};
	struct host good[] = { host("100.64.0.3", "a"), host("100.64.0.3", "3com"),
			       host("100.64.0.3", "a-b.c-d.example"), host("100.64.0.3", "a") };

	begin();
	put("10.0.0.1\tprinter Printer.example.edu # not wiki\n");
	ck_assert_uint_eq(write_hosts(bad, array_size(bad)), array_size(bad));
	holds("10.0.0.1\tprinter Printer.example.edu # not wiki\n");
	ck_assert_uint_eq(write_hosts(good, array_size(good)), 0);
	holds("10.0.0.1\tprinter Printer.example.edu # not wiki\n" BEGIN
	      "100.64.0.3\ta\n100.64.0.3\t3com\n100.64.0.3\ta-b.c-d.example\n" END);
	end();
}
END_TEST

START_TEST(limits)
{
	struct err err;
	struct host one = host("100.64.0.3", "wiki");

	begin();
	ck_assert(!hosts_write(path, &one, HOSTS_NAMES_MAX + 1, NULL, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert(!hosts_write("/nonexistent/hosts", &one, 1, NULL, &err));
	end();
}
END_TEST

UNIT_MAIN("hosts", block_comes_and_goes, rest_is_kept, names_from_afar, limits)
