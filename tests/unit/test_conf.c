/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/conf.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

struct item { int64_t n; char *name; };

struct sample {
	bool            on;
	int64_t         count, size, seconds;
	int             color;
	char           *text, *path;
	struct ipport   at;
	struct prefix   net;
	struct conf_strs list;
	struct place    list_at;
	struct item     one;
	struct place    one_at;
	struct conf_map map, seq;
};

static const char *const colors[] = { "red", "green", NULL };

static const struct conf_row item_rows[] = {
	{ "n", CONF_INT, offsetof(struct item, n), -5, 5, NULL, .help = "A number." },
	{ "name", CONF_STR, offsetof(struct item, name), 0, 8, "anon", .help = NULL },
	CONF_END
};

#define AT(m) .offset = offsetof(struct sample, m)
static const struct conf_row rows[] = {
	{ "on", CONF_BOOL, AT(on), .def = "true" },
	{ "count", CONF_INT, AT(count), 1, 10, "3", .help = "How many." },
	{ "size", CONF_SIZE, AT(size), 0, 1 << 20, "64KiB" },
	{ "seconds", CONF_SECONDS, AT(seconds), 1, 86400, "15m" },
	{ "color", CONF_ENUM, AT(color), .def = "red", .words = colors },
	{ "text", CONF_STR, AT(text), 1, 10, NULL },
	{ "path", CONF_PATH, AT(path), .def = "/default" },
	{ "at", CONF_IPPORT, AT(at), .def = "" },
	{ "net", CONF_PREFIX, AT(net), .def = "10.0.0.0/8" },
	{ "list", CONF_STRS, AT(list), 0, 3, "", .at_offset = offsetof(struct sample, list_at) },
	{ "one", CONF_OBJECT, AT(one), .def = "", .sub = item_rows,
	  .at_offset = offsetof(struct sample, one_at) },
	{ "map", CONF_MAP, AT(map), 0, 3, "", .sub = item_rows, .sub_size = sizeof(struct item) },
	{ "seq", CONF_LIST, AT(seq), .def = "", .sub = item_rows, .sub_size = sizeof(struct item) },
	CONF_END
};
#undef AT

static bool parse(const char *text, struct sample *s, struct buf *words)
{
	struct diags d;
	bool ok;

	diags_init(&d, "f");
	ok = conf_parse(rows, s, sizeof(*s), span_str(text), "/etc/x", &d);
	ck_assert_int_eq(ok, d.errors == 0);
	diags_text(&d, words);
	diags_done(&d);
	return ok;
}

START_TEST(refused)
{
	static const struct { const char *text, *want; } bad[] = {
		{ "[]", "f:1:1: error: want one object { ... }\n" },
		{ "{}", "f:1:1: error: no \"text\"\n" },
		{ "{\"text\":\"\"}", "f:1:9: error: \"text\": 0 bytes, want 1..10\n" },
		{ "{\"text\":\"01234567890\"}", "f:1:9: error: \"text\": 11 bytes, want 1..10\n" },
		{ "{\"text\":\"a\\nb\"}", "f:1:9: error: \"text\": no control characters here\n" },
		{ "{\"text\":null}", "f:1:9: error: \"text\": want a string\n" },
		{ "{\"text\":\"a\",\"cuont\":1}", "f:1:13: error: unknown key \"cuont\"; did you mean \"count\"?\n" },
		{ "{\"text\":\"a\",\"zzz\":1}", "f:1:13: error: unknown key \"zzz\"\n" },
		{ "{\"text\":\"a\",\"count\":0}", "f:1:21: error: \"count\": 0 is outside 1..10\n" },
		{ "{\"text\":\"a\",\"count\":11}", "f:1:21: error: \"count\": 11 is outside 1..10\n" },
		{ "{\"text\":\"a\",\"count\":1.5}", "f:1:21: error: \"count\": want a whole number\n" },
		{ "{\"text\":\"a\",\"count\":\"5\"}", "f:1:21: error: \"count\": want a whole number\n" },
		{ "{\"text\":\"a\",\"on\":1}", "f:1:18: error: \"on\": want true or false\n" },
		{ "{\"text\":\"a\",\"on\":\"true\"}", "f:1:18: error: \"on\": want true or false\n" },
		{ "{\"text\":\"a\",\"size\":\"1kB\"}",
		  "f:1:20: error: \"size\": want a size such as 65536 or \"64KiB\"\n" },
		{ "{\"text\":\"a\",\"size\":\"8388608TiB\"}",
		  "f:1:20: error: \"size\": want a size such as 65536 or \"64KiB\"\n" },
		{ "{\"text\":\"a\",\"size\":\"2MiB\"}", "f:1:20: error: \"size\": 2097152 is outside 0..1048576\n" },
		{ "{\"text\":\"a\",\"seconds\":\"5x\"}",
		  "f:1:23: error: \"seconds\": want a time such as 90 or \"15m\"\n" },
		{ "{\"text\":\"a\",\"color\":\"blue\"}",
		  "f:1:21: error: \"color\": \"blue\" is none of \"red\", \"green\"\n" },
		{ "{\"text\":\"a\",\"color\":0}", "f:1:21: error: \"color\": want a word in quotes\n" },
		{ "{\"text\":\"a\",\"at\":\"localhost:80\"}", "f:1:18: error: \"at\": want an address and a "
		  "port such as \"127.0.0.1:8080\" or \"[::1]:8080\"\n" },
		{ "{\"text\":\"a\",\"net\":\"10.0.0.1/8\"}",
		  "f:1:19: error: \"net\": want a prefix such as \"10.0.0.0/8\", host bits zero\n" },
		{ "{\"text\":\"a\",\"net\":\"\"}",
		  "f:1:19: error: \"net\": want a prefix such as \"10.0.0.0/8\", host bits zero\n" },
		{ "{\"text\":\"a\",\"list\":[\"a\",1,\"\"]}",
		  "f:1:25: error: \"list\": want strings in this list\n"
		  "f:1:27: error: \"list\": want strings of 1 to 4096 bytes without control characters\n" },
		{ "{\"text\":\"a\",\"list\":[\"a\",\"b\",\"c\",\"d\"]}",
		  "f:1:20: error: \"list\": 4 items, want 0..3\n" },
		{ "{\"text\":\"a\",\"one\":{}}", "f:1:19: error: \"one\" has no \"n\"\n" },
		{ "{\"text\":\"a\",\"one\":[]}", "f:1:19: error: \"one\": want an object { ... }\n" },
		{ "{\"text\":\"a\",\"map\":{\"x\":{\"n\":9}, \"y\":{}, \"\":{\"n\":1}, \"z\":1}}",
		  "f:1:19: error: \"map\": 4 items, want 0..3\n" },
		{ "{\"text\":\"a\",\"map\":{\"x\":{\"n\":9}, \"\":{\"n\":1}, \"z\":1}}",
		  "f:1:29: error: \"n\": 9 is outside -5..5\n"
		  "f:1:33: error: \"map\": want names of 1 to 255 bytes without control characters\n"
		  "f:1:49: error: \"z\": want an object { ... }\n" },
		/* everything at once, in the order of the text */
		{ "{\"count\":0,\n\"size\":true,\n\"nmae\":1,\n\"seq\":[{\"n\":1},{\"m\":1}]}",
		  "f:1:1: error: no \"text\"\n"
		  "f:1:10: error: \"count\": 0 is outside 1..10\n"
		  "f:2:8: error: \"size\": want a size such as 65536 or \"64KiB\"\n"
		  "f:3:1: error: unknown key \"nmae\"\n"
		  "f:4:16: error: \"seq\" has no \"n\"\n"
		  "f:4:17: error: unknown key \"m\"\n" },
	};

	for (size_t i = 0; i < array_size(bad); i++) {
		struct sample s, zero = { 0 };
		struct buf b;

		buf_init(&b, 4096);
		ck_assert_msg(!parse(bad[i].text, &s, &b), "%s", bad[i].text);
		ck_assert_msg(strcmp(b.ptr, bad[i].want) == 0, "%s\ngives %swant  %s", bad[i].text, b.ptr,
		              bad[i].want);
		ck_assert_int_eq(memcmp(&s, &zero, sizeof(s)), 0);
		buf_done(&b);
	}
}
END_TEST

START_TEST(defaults)
{
	struct sample s;
	struct buf b;
	char text[IP_TEXT_MAX];

	buf_init(&b, 4096);
	ck_assert(parse("{\"text\":\"a\"}", &s, &b));
	ck_assert(s.on);
	ck_assert_int_eq(s.count, 3);
	ck_assert_int_eq(s.size, 65536);
	ck_assert_int_eq(s.seconds, 900);
	ck_assert_int_eq(s.color, 0);
	ck_assert_str_eq(s.path, "/default");
	ck_assert_int_eq(s.at.ip.family, IP_NONE);
	ck_assert_str_eq(prefix_text(&s.net, text), "10.0.0.0/8");
	ck_assert_uint_eq(s.list.count, 0);
	ck_assert_uint_eq(s.list_at.line, 0);
	ck_assert_uint_eq(s.one_at.line, 0);            /* not there, but its defaults are */
	ck_assert_str_eq(s.one.name, "anon");
	ck_assert_uint_eq(s.map.count, 0);
	conf_done(rows, &s);
	conf_done(rows, &s);
	buf_done(&b);
}
END_TEST

static const char full[] =
	"{\"text\":\"é\\\"\", \"on\":false, \"count\":10, \"size\":1000, \"seconds\":\"1h30m\", "
	"\"color\":\"green\", \"path\":\"rel/x\", \"at\":\"[::1]:80\", \"net\":\"fd00::/8\", "
	"\"list\":\"single\", \"one\":{\"n\":-5}, "
	"\"map\":{\"b\":{\"n\":1},\"a\":{\"n\":2,\"name\":\"x\"}}, \"seq\":[{\"n\":0}]}";

START_TEST(values)
{
	struct sample s;
	struct buf b;

	buf_init(&b, 4096);
	ck_assert(parse(full, &s, &b));
	ck_assert(!s.on);
	ck_assert_int_eq(s.seconds, 5400);
	ck_assert_int_eq(s.color, 1);
	ck_assert_str_eq(s.path, "/etc/x/rel/x");
	ck_assert_uint_eq(s.at.port, 80);
	ck_assert_str_eq(s.list.list[0], "single");
	ck_assert_uint_ne(s.list_at.line, 0);
	ck_assert_int_eq(s.one.n, -5);
	ck_assert_uint_eq(s.map.count, 2);
	ck_assert_str_eq(s.map.names[0], "b");
	ck_assert_str_eq(((struct item *)s.map.items)[1].name, "x");
	ck_assert_ptr_null(s.seq.names);
	ck_assert_uint_eq(s.seq.count, 1);
	conf_done(rows, &s);
	buf_done(&b);
}
END_TEST

START_TEST(printed_and_read_again)
{
	static const char *const texts[] = { full, "{\"text\":\"a\"}" };

	for (size_t i = 0; i < array_size(texts); i++) {
		struct sample s;
		struct buf first, second, words;

		buf_init(&first, 1 << 16);
		buf_init(&second, 1 << 16);
		buf_init(&words, 4096);
		ck_assert(parse(texts[i], &s, &words));
		conf_print(rows, &s, &first);
		conf_done(rows, &s);
		ck_assert_msg(parse(first.ptr, &s, &words), "%s\n%s", first.ptr, words.ptr);
		conf_print(rows, &s, &second);
		conf_done(rows, &s);
		ck_assert_str_eq(first.ptr, second.ptr);
		buf_done(&first);
		buf_done(&second);
		buf_done(&words);
	}
}
END_TEST

START_TEST(manual)
{
	struct buf b;

	buf_init(&b, 1 << 16);
	conf_man(rows, &b);
	ck_assert_ptr_nonnull(strstr(b.ptr, ".It Ic count\nnumber, 1 to 10; default\n.Ql 3 .\nHow many.\n"));
	ck_assert_ptr_nonnull(strstr(b.ptr, ".It Ic text\nstring, 1 to 10 bytes; required.\n"));
	ck_assert_ptr_nonnull(strstr(b.ptr, "one of red, green"));
	ck_assert_ptr_nonnull(strstr(b.ptr, "number, \\-5 to 5"));
	buf_done(&b);
}
END_TEST

UNIT_MAIN("conf", refused, defaults, values, printed_and_read_again, manual)
