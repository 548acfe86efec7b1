/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/buf.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

START_TEST(refused)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "", "f:1:1: error: the text ends here; expected a value\n" },
		{ "// only\n", "f:2:1: error: the text ends here; expected a value\n" },
		{ "{", "f:1:2: error: the text ends here; expected a key in quotes, or '}'\n" },
		{ "{}x", "f:1:3: error: expected a value; text needs quotes\n" },
		{ "{} {}", "f:1:4: error: expected the end of the text, found {\n" },
		{ "[,]", "f:1:2: error: expected a value, found ,\n" },
		{ "[1,,]", "f:1:4: error: expected a value, found ,\n" },
		{ "{,}", "f:1:2: error: expected a key in quotes, or '}', found ,\n" },
		{ "[1 2]", "f:1:4: error: expected ',' or ']' after an item, found 2\n" },
		{ "{\"a\" 1}", "f:1:6: error: expected ':' after a key, found 1\n" },
		{ "{\"a\":}", "f:1:6: error: expected a value, found }\n" },
		{ "{\"a\":1\n \"b\":2}", "f:2:2: error: expected ',' or '}' after a member, found \"b\"\n" },
		{ "{a:1}", "f:1:2: error: expected a value; text needs quotes\n" },
		{ "{'a':1}", "f:1:2: error: expected a value\n" },
		{ "{1:1}", "f:1:2: error: expected a key in quotes, or '}', found 1\n" },
		{ "[1}", "f:1:3: error: expected ',' or ']' after an item, found }\n" },
		{ "[01]", "f:1:2: error: a number does not begin with 0\n" },
		{ "[1.]", "f:1:3: error: expected digits after '.'\n" },
		{ "[1e]", "f:1:3: error: expected digits of an exponent\n" },
		{ "[-]", "f:1:2: error: expected digits after '-'\n" },
		{ "[+1]", "f:1:2: error: expected a value\n" },
		{ "[True]", "f:1:2: error: expected a value; text needs quotes\n" },
		{ "[\"a]\n", "f:1:2: error: this string has no end on its line\n" },
		{ "[\"a\tb\"]", "f:1:4: error: a control character inside a string must be escaped\n" },
		{ "[\"\\x\"]", "f:1:3: error: unknown escape in a string\n" },
		{ "[\"\\u12g4\"]", "f:1:3: error: \\u takes four hex digits\n" },
		{ "[\"\xff\"]", "f:1:2: error: this string is not UTF-8\n" },
		{ "/* x", "f:1:1: error: this comment has no end\n" },
		{ "/*/", "f:1:1: error: this comment has no end\n" },
		{ "/ x", "f:1:1: error: expected a comment after '/'\n" },
		{ "\xef\xbb\xbf{}", "f:1:1: error: begins with a byte order mark; remove it\n" },
		{ "{\"a\":1,\n\"b\":2,\"a\":3}", "f:2:7: error: duplicate key \"a\", first at 1:2\n" },
		{ "{\"a\":1,\"\\u0061\":3}", "f:1:8: error: duplicate key \"a\", first at 1:2\n" },
		{ "[{\"a\":1,\"a\":1,\"a\":1},{\"b\":0,\"b\":0}]",
		  "f:1:9: error: duplicate key \"a\", first at 1:3\n"
		  "f:1:15: error: duplicate key \"a\", first at 1:3\n"
		  "f:1:29: error: duplicate key \"b\", first at 1:23\n" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct diags d;
		struct buf b;

		diags_init(&d, "f");
		buf_init(&b, 4096);
		ck_assert_msg(!hujson_parse(span_str(rows[i].text), 1000, &d), "%s", rows[i].text);
		diags_text(&d, &b);
		ck_assert_msg(strcmp(b.ptr, rows[i].want) == 0, "%s\ngives %swant  %s", rows[i].text, b.ptr,
		              rows[i].want);
		buf_done(&b);
		diags_done(&d);
	}
}
END_TEST

START_TEST(values_that_jansson_refuses)
{
	static const char *const rows[] = { "[\"\\ud800\"]", "[\"\\u0000\"]", "[1e999]",
	                                    "[99999999999999999999]", "{\"\\u0000\":1}" };

	for (size_t i = 0; i < array_size(rows); i++) {
		struct diags d;

		diags_init(&d, "f");
		ck_assert_msg(!hujson_parse(span_str(rows[i]), 1000, &d), "%s", rows[i]);
		ck_assert_uint_eq(d.errors, 1);
		ck_assert_uint_eq(d.list[0].at.line, 1);
		diags_done(&d);
	}
}
END_TEST

static struct hujson *parse(const char *text, size_t max)
{
	struct diags d;
	struct hujson *doc;
	struct buf b;

	diags_init(&d, "f");
	doc = hujson_parse(span_str(text), max, &d);
	buf_init(&b, 4096);
	buf_add_str(&b, "");
	diags_text(&d, &b);
	ck_assert_msg(!doc == (d.errors > 0), "%s", b.ptr);
	buf_done(&b);
	diags_done(&d);
	return doc;
}

START_TEST(ceilings)
{
	char deep[2 * HUJSON_DEPTH_MAX + 8] = "";

	ck_assert_ptr_null(parse("[1]", 2));
	for (int i = 0; i <= HUJSON_DEPTH_MAX; i++)
		deep[i] = '[';
	for (int i = 0; i <= HUJSON_DEPTH_MAX; i++)
		deep[HUJSON_DEPTH_MAX + 1 + i] = ']';
	ck_assert_ptr_null(parse(deep, 1000));
	deep[2 * HUJSON_DEPTH_MAX + 1] = '\0';

	struct hujson *doc = parse(deep + 1, 1000);

	ck_assert_ptr_nonnull(doc);
	hujson_free(doc);

	size_t n = 2 * (HUJSON_VALUES_MAX + 1);
	char *many = mem_alloc(n + 2);

	memset(many, '1', n);
	for (size_t i = 0; i < n; i += 2)
		many[i] = i ? ',' : '[';
	many[n] = ']';
	ck_assert_ptr_null(parse(many, HUJSON_TEXT_MAX));
	free(many);
}
END_TEST

#define AT(expr, l, c) do { \
	struct place at_ = (expr); \
	ck_assert_uint_eq(at_.line, l); \
	ck_assert_uint_eq(at_.col, c); \
} while (0)

START_TEST(places)
{
	scoped_hujson struct hujson *doc = parse(
		"// \"no\": [1]\n"
		"{ /* } */ \"b\": [true, {\"x\": null,},\n"
		"  true],\n"
		"  \"a\": { }, \"\\u0062b\": -1.5e3, // end\n"
		"}\n", 1000);

	ck_assert_ptr_nonnull(doc);

	json_t *root = hujson_root(doc), *b = json_object_get(root, "b");

	AT(hujson_root_at(doc), 2, 1);
	AT(hujson_key_at(doc, root, "b"), 2, 11);
	AT(hujson_member_at(doc, root, "b"), 2, 16);
	AT(hujson_item_at(doc, b, 0), 2, 17);
	AT(hujson_item_at(doc, b, 2), 3, 3);            /* the same json_t as item 0 */
	ck_assert_ptr_eq(json_array_get(b, 0), json_array_get(b, 2));
	AT(hujson_key_at(doc, json_array_get(b, 1), "x"), 2, 24);
	AT(hujson_member_at(doc, root, "bb"), 4, 24);
	AT(hujson_item_at(doc, b, 3), 0, 0);
	AT(hujson_member_at(doc, root, "none"), 0, 0);
	AT(hujson_member_at(doc, NULL, "b"), 0, 0);
	AT(hujson_item_at(doc, root, 0), 0, 0);
	ck_assert_str_eq(json_object_iter_key(json_object_iter(root)), "b");
}
END_TEST

START_TEST(slashes_inside_strings)
{
	scoped_hujson struct hujson *doc = parse("[\"http://a/*b*/\", \"a\\\"//\", \"é,]\"]", 1000);

	ck_assert_ptr_nonnull(doc);
	ck_assert_str_eq(json_string_value(json_array_get(hujson_root(doc), 0)), "http://a/*b*/");
	ck_assert_str_eq(json_string_value(json_array_get(hujson_root(doc), 1)), "a\"//");
}
END_TEST

START_TEST(tokens)
{
	static const struct { enum hujson_kind kind; const char *text; uint32_t newlines; } want[] = {
		{ HUJSON_LINE_COMMENT, "// c", 0 }, { HUJSON_LBRACE, "{", 1 }, { HUJSON_STRING, "\"a\"", 0 },
		{ HUJSON_COLON, ":", 0 }, { HUJSON_BLOCK_COMMENT, "/* x\n */", 0 },
		{ HUJSON_NUMBER, "-1.5", 2 }, { HUJSON_COMMA, ",", 0 }, { HUJSON_RBRACE, "}", 0 },
		{ HUJSON_END, "", 1 }, { HUJSON_END, "", 0 },
	};
	struct hujson_scan s = hujson_scan(SPAN("// c\n{\"a\": /* x\n */\n\n-1.5 ,}\n"));

	for (size_t i = 0; i < array_size(want); i++) {
		struct hujson_token t = hujson_next(&s);

		ck_assert_int_eq(t.kind, want[i].kind);
		ck_assert(span_eq(t.text, span_str(want[i].text)));
		ck_assert_uint_eq(t.newlines, want[i].newlines);
	}
	s = hujson_scan(SPAN("  $"));
	ck_assert_int_eq(hujson_next(&s).kind, HUJSON_BAD);
	ck_assert_int_eq(hujson_next(&s).kind, HUJSON_END);
}
END_TEST

START_TEST(strict)
{
	static const struct { const char *text; enum err_code code; } rows[] = {
		{ "", ERR_SYNTAX }, { "{\"a\":1,}", ERR_SYNTAX }, { "{}//x", ERR_SYNTAX },
		{ "{\"a\":1,\"a\":1}", ERR_SYNTAX }, { "1", ERR_SYNTAX }, { "{} {}", ERR_SYNTAX },
		{ "[\"\xff\"]", ERR_SYNTAX },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", ERR_LIMIT },
		{ "{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1}",
		  ERR_LIMIT },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct err err = { 0 };

		ck_assert_msg(!json_read(span_str(rows[i].text), 80, &err), "%s", rows[i].text);
		ck_assert_int_eq(err.code, rows[i].code);
	}

	scoped_json json_t *v = json_read(SPAN("{\"a\":[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"\"]}"), 80, NULL);

	ck_assert_ptr_nonnull(v);
}
END_TEST

UNIT_MAIN("hujson", refused, values_that_jansson_refuses, ceilings, places, slashes_inside_strings,
          tokens, strict)
