/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/encode.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

typedef bool decode_fn(struct span text, void *out, size_t size, size_t *ret_n);

START_TEST(refused)
{
	static const struct { decode_fn *fn; const char *text; } rows[] = {
		{ base64_decode, "Zg" }, { base64_decode, "Zg=" }, { base64_decode, "Zg===" },
		{ base64_decode, "Zh==" },              /* surplus bits */
		{ base64_decode, "Zm9=" }, { base64_decode, "=Zg=" }, { base64_decode, "Z===" },
		{ base64_decode, "Zg==Zg==" }, { base64_decode, "Zm 9" }, { base64_decode, "Zm9\n" },
		{ base64_decode, "-_-_" }, { base64url_decode, "+/+/" }, { base64url_decode, "Zg==" },
		{ base64url_decode, "Zh" }, { base64url_decode, "Z" }, { base64url_decode, "Zm9=" },
		{ hex_decode, "a" }, { hex_decode, "0g" }, { hex_decode, "0x" }, { hex_decode, " 0" },
	};
	char out[64];

	for (size_t i = 0; i < array_size(rows); i++) {
		size_t n = 99;

		ck_assert_msg(!rows[i].fn(span_str(rows[i].text), out, sizeof(out), &n), "%s", rows[i].text);
		ck_assert_uint_eq(n, 99);
	}

	size_t n = 99;

	ck_assert(!base64_decode(SPAN("Zm9v"), out, 2, &n));
	ck_assert(!hex_decode(SPAN("0000"), out, 1, &n));
}
END_TEST

START_TEST(vectors)     /* RFC 4648 section 10 */
{
	static const struct { const char *bytes, *std, *url, *hex; } rows[] = {
		{ "", "", "", "" }, { "f", "Zg==", "Zg", "66" }, { "fo", "Zm8=", "Zm8", "666f" },
		{ "foo", "Zm9v", "Zm9v", "666f6f" }, { "foob", "Zm9vYg==", "Zm9vYg", "666f6f62" },
		{ "fooba", "Zm9vYmE=", "Zm9vYmE", "666f6f6261" },
		{ "foobar", "Zm9vYmFy", "Zm9vYmFy", "666f6f626172" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct span bytes = span_str(rows[i].bytes);
		struct buf b;
		char out[64];
		size_t n;

		buf_init(&b, 100);
		buf_add_str(&b, "");
		base64_add(&b, bytes);
		ck_assert_str_eq(b.ptr, rows[i].std);
		ck_assert(base64_decode(buf_span(&b), out, bytes.len, &n));
		ck_assert(span_eq(span_of(out, n), bytes));
		buf_clear(&b);
		base64url_add(&b, bytes);
		ck_assert_str_eq(b.ptr, rows[i].url);
		ck_assert(base64url_decode(buf_span(&b), out, bytes.len, &n));
		ck_assert(span_eq(span_of(out, n), bytes));
		buf_clear(&b);
		hex_add(&b, bytes);
		ck_assert_str_eq(b.ptr, rows[i].hex);
		ck_assert(hex_decode(buf_span(&b), out, bytes.len, &n));
		ck_assert(span_eq(span_of(out, n), bytes));
		buf_done(&b);
	}
}
END_TEST

START_TEST(every_byte)
{
	unsigned char all[256], back[256];
	struct buf b;
	size_t n;

	for (size_t i = 0; i < 256; i++)
		all[i] = (unsigned char)i;
	buf_init(&b, 1000);
	base64url_add(&b, span_of(all, 256));
	ck_assert(span_find(buf_span(&b), '+') == b.len && span_find(buf_span(&b), '/') == b.len);
	ck_assert(base64url_decode(buf_span(&b), back, 256, &n) && n == 256 && !memcmp(all, back, 256));
	buf_clear(&b);
	base64_add(&b, span_of(all, 256));
	ck_assert(base64_decode(buf_span(&b), back, 256, &n) && n == 256 && !memcmp(all, back, 256));
	buf_clear(&b);
	percent_add(&b, span_of(all, 256));

	struct buf plain;

	buf_init(&plain, 256);
	ck_assert(percent_decode(buf_span(&b), true, &plain));
	ck_assert(span_eq(buf_span(&plain), span_of(all, 256)));
	buf_done(&plain);
	buf_done(&b);
}
END_TEST

START_TEST(percent)
{
	static const char *const bad[] = { "%", "%4", "%4g", "a%", "%%41", "%-1" };
	struct buf b;

	buf_init(&b, 100);
	for (size_t i = 0; i < array_size(bad); i++)
		ck_assert_msg(!percent_decode(span_str(bad[i]), false, &b), "%s", bad[i]);
	buf_clear(&b);
	percent_add(&b, SPAN("a b/\xc3~"));
	ck_assert_str_eq(b.ptr, "a%20b%2F%C3~");
	buf_clear(&b);
	ck_assert(percent_decode(SPAN("a+b%2b"), true, &b));
	ck_assert_str_eq(b.ptr, "a b+");
	buf_clear(&b);
	ck_assert(percent_decode(SPAN("a+b"), false, &b));
	ck_assert_str_eq(b.ptr, "a+b");
	buf_done(&b);
}
END_TEST

UNIT_MAIN("encode", refused, vectors, every_byte, percent)
