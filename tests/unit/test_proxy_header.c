/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "daemon/proxy/proxy_header.h"
#include "tests/unit/main.h"

#include <string.h>

static struct proxy_header header(const char *src, const char *dst)
{
	struct proxy_header h = { 0 };

	ck_assert(ipport_parse(span_str(src), &h.src));
	ck_assert(ipport_parse(span_str(dst), &h.dst));
	return h;
}

static unsigned u8(const struct buf *b, size_t i)
{
	ck_assert_uint_lt(i, b->len);
	return (unsigned char)b->ptr[i];
}

static unsigned u16(const struct buf *b, size_t i)
{
	return u8(b, i) << 8 | u8(b, i + 1);
}

/* The first vector of this type in [from, to); the test fails if it is not there. */
static struct span find(const struct buf *b, size_t from, size_t to, unsigned type)
{
	for (size_t i = from; i + 3 <= to; i += 3 + u16(b, i + 1))
		if (u8(b, i) == type)
			return span_of(b->ptr + i + 3, u16(b, i + 1));
	ck_abort_msg("no vector %u", type);
}

START_TEST(test_refused)
{
	struct proxy_header h = header("100.64.0.9:4711", "100.64.0.3:143");
	struct err err = { 0 };
	struct span many[3000];
	char id[PROXY_UNIQUE_ID_MAX + 1];
	struct buf b;

	buf_init(&b, PROXY_HEADER_MAX);
	memset(id, 'x', sizeof(id));
	h.unique_id = span_of(id, sizeof(id));
	ck_assert(!proxy_header_v2(&h, &b, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	h.unique_id.len = 0;
	for (size_t i = 0; i < array_size(many); i++)
		many[i] = SPAN("group:with-a-rather-long-name");
	h.groups = many;
	h.group_count = array_size(many);
	ck_assert(!proxy_header_v2(&h, &b, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	h.group_count = 0;
	h.login_as_authority = true;    /* a node with tags has no login */
	ck_assert(!proxy_header_v2(&h, &b, &err));
	ck_assert_int_eq(err.code, ERR_DENIED);
	char login[PROXY_AUTHORITY_MAX + 1];
	memset(login, 'l', sizeof(login));
	h.login = span_of(login, sizeof(login));
	ck_assert(!proxy_header_v2(&h, &b, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert_uint_eq(b.len, 0);
	h.login.len--;
	ck_assert(proxy_header_v2(&h, &b, &err));
	buf_clear(&b);
	h.login_as_authority = false;
	ck_assert(ipport_parse(SPAN("[fd00::3]:143"), &h.dst));
	ck_assert(!proxy_header_v2(&h, &b, &err));
	ck_assert(!proxy_header_v1(&h, &b, &err));
	ck_assert_uint_eq(b.len, 0);
	buf_done(&b);
}
END_TEST

START_TEST(test_v1)
{
	static const struct {
		const char *src, *dst, *want;
	} rows[] = {
		{ "100.64.0.9:4711", "100.64.0.3:143", "PROXY TCP4 100.64.0.9 100.64.0.3 4711 143\r\n" },
		{ "[fd00::9]:65535", "[fd00::3]:1", "PROXY TCP6 fd00::9 fd00::3 65535 1\r\n" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct proxy_header h = header(rows[i].src, rows[i].dst);
		struct err err = { 0 };
		struct buf b;

		buf_init(&b, PROXY_HEADER_MAX);
		ck_assert(proxy_header_v1(&h, &b, &err));
		ck_assert_str_eq(b.ptr, rows[i].want);
		buf_done(&b);
	}
}
END_TEST

START_TEST(test_v2)
{
	static const struct span groups[] = { { "group:lab", 9 }, { "idp:all", 7 } };
	struct proxy_header h = header("100.64.0.9:4711", "100.64.0.3:143");
	struct err err = { 0 };
	struct buf b, plain;

	h.login = SPAN("staff@example.edu");
	h.unique_id = SPAN("req-1");
	h.groups = groups;
	h.group_count = 2;
	h.expires = 1790000000;
	buf_init(&plain, PROXY_HEADER_MAX);
	ck_assert(proxy_header_v2(&h, &plain, &err));
	h.login_as_cn = h.login_as_authority = true;
	buf_init(&b, PROXY_HEADER_MAX);
	ck_assert_msg(proxy_header_v2(&h, &b, &err), "%s", err.msg);

	ck_assert_int_eq(memcmp(b.ptr, "\r\n\r\n\0\r\nQUIT\n\x21\x11", 14), 0);
	ck_assert_uint_eq(u16(&b, 14), b.len - 16);
	ck_assert_int_eq(memcmp(b.ptr + 16, "\x64\x40\x00\x09\x64\x40\x00\x03\x12\x67\x00\x8f", 12), 0);
	ck_assert(span_eq(find(&b, 28, b.len, 0x05), SPAN("req-1")));

	struct span ssl = find(&b, 28, b.len, 0x20);
	ck_assert_int_eq(memcmp(ssl.ptr, "\x07\0\0\0\0\x22\0\x11staff@example.edu", 25), 0);
	for (size_t i = 28; i < plain.len; i += 3 + u16(&plain, i + 1))         /* only who asks for it */
		ck_assert(u8(&plain, i) != 0x20 && u8(&plain, i) != 0x02);
	ck_assert(span_eq(find(&b, 28, b.len, 0x02), h.login));

	struct span own = find(&b, 28, b.len, PROXY_TLV_REEVE);
	size_t at = (size_t)(own.ptr - b.ptr);
	ck_assert_uint_eq(u8(&b, at), PROXY_REEVE_VERSION);
	ck_assert(span_eq(find(&b, at + 1, at + own.len, PROXY_REEVE_LOGIN), h.login));
	ck_assert(span_eq(find(&b, at + 1, at + own.len, PROXY_REEVE_GROUP), groups[0]));
	ck_assert_int_eq(memcmp(find(&b, at + 1, at + own.len, PROXY_REEVE_EXPIRES).ptr,
	                        "\0\0\0\0\x6a\xb1\x3b\x80", 8), 0);
	buf_done(&b);
	buf_done(&plain);
}
END_TEST

/* RFC 3720 appendix B.4: 32 bytes of zeroes have the CRC32C 0x8a9136aa. A header
 * cannot be that, so: recomputing over the header with a zeroed field gives the field. */
START_TEST(test_crc)
{
	struct proxy_header h = header("[fd00::9]:4711", "[fd00::3]:143");
	struct err err = { 0 };
	struct buf b;
	uint32_t crc = UINT32_MAX, said = 0;

	buf_init(&b, PROXY_HEADER_MAX);
	ck_assert(proxy_header_v2(&h, &b, &err));
	char *field = b.ptr + (find(&b, 52, b.len, 0x03).ptr - b.ptr);
	for (int i = 0; i < 4; i++) {
		said = said << 8 | (unsigned char)field[i];
		field[i] = 0;
	}
	/* Another way to the same sum: the polynomial not reflected, the bits turned instead. */
	crc = UINT32_MAX;
	for (size_t i = 0; i < b.len; i++)
		for (int bit = 0; bit < 8; bit++) {
			unsigned in = (unsigned char)b.ptr[i] >> bit & 1;
			unsigned top = crc >> 31;

			crc <<= 1;
			if (in ^ top)
				crc ^= 0x1edc6f41;
		}
	uint32_t turned = 0;
	for (int bit = 0; bit < 32; bit++)
		turned |= (crc >> bit & 1) << (31 - bit);
	ck_assert_uint_eq(said, ~turned);
	buf_done(&b);
}
END_TEST

UNIT_MAIN("proxy_header", test_refused, test_v1, test_v2, test_crc)
