/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "base/wire.h"
#include "tests/unit/main.h"

#include <string.h>

static struct buf sample(void)
{
	struct buf b;
	struct ip ip;

	buf_init(&b, WIRE_MAX);
	wire_u8(&b, 0xfe);
	wire_u16(&b, 0xfedc);
	wire_u32(&b, 0xfedcba98);
	wire_u64(&b, UINT64_C(0xfedcba9876543210));
	wire_i64(&b, INT64_MIN);
	wire_span(&b, SPAN("text\0here"));
	ck_assert(ip_parse(SPAN("fd00::1"), &ip));
	wire_ip(&b, &ip);
	ck_assert(ip_parse(SPAN("10.0.0.1"), &ip));
	wire_ip(&b, &ip);
	wire_ip(&b, &(struct ip){ 0 });
	return b;
}

static bool read_sample(struct span msg, bool check)
{
	struct wire_reader r = wire_read(msg);
	uint8_t u8 = wire_get_u8(&r);
	uint16_t u16 = wire_get_u16(&r);
	uint32_t u32 = wire_get_u32(&r);
	uint64_t u64 = wire_get_u64(&r);
	int64_t i64 = wire_get_i64(&r);
	struct span text = wire_get_span(&r, 9);
	struct ip v6 = wire_get_ip(&r), v4 = wire_get_ip(&r), none = wire_get_ip(&r);

	if (check) {
		ck_assert_uint_eq(u8, 0xfe);
		ck_assert_uint_eq(u16, 0xfedc);
		ck_assert_uint_eq(u32, 0xfedcba98);
		ck_assert_uint_eq(u64, UINT64_C(0xfedcba9876543210));
		ck_assert_int_eq(i64, INT64_MIN);
		ck_assert(span_eq(text, SPAN("text\0here")));
		ck_assert_int_eq(v6.family, IP_V6);
		ck_assert_int_eq(v4.b[0], 10);
		ck_assert_int_eq(none.family, IP_NONE);
	}
	return wire_end(&r);
}

START_TEST(short_and_surplus)
{
	struct buf b = sample();

	for (size_t n = 0; n < b.len; n++)
		ck_assert_msg(!read_sample(span_head(buf_span(&b), n), false), "%zu bytes", n);
	ck_assert(read_sample(buf_span(&b), true));
	buf_add_char(&b, '\0');
	ck_assert(!read_sample(buf_span(&b), false));
	buf_done(&b);
}
END_TEST

START_TEST(bad_is_sticky)
{
	struct wire_reader r = wire_read(SPAN("\x01"));

	ck_assert_uint_eq(wire_get_u16(&r), 0);
	ck_assert_uint_eq(wire_get_u8(&r), 0);          /* one byte is there, but the message is broken */
	ck_assert(!wire_end(&r));

	static const struct { struct span msg; } ips[] = {
		{ { "\x05" "aaaa", 5 } }, { { "\x04" "aaa", 4 } }, { { "\x06" "aaaa", 5 } },
	};

	for (size_t i = 0; i < array_size(ips); i++) {
		r = wire_read(ips[i].msg);
		ck_assert_int_eq(wire_get_ip(&r).family, IP_NONE);
		ck_assert(r.bad);
	}
	r = wire_read(SPAN("\x03\0\0\0abc"));
	wire_get_span(&r, 2);
	ck_assert(r.bad);
	r = wire_read(SPAN("\xff\xff\xff\xff" "abc"));
	wire_get_span(&r, SIZE_MAX);
	ck_assert(r.bad);
}
END_TEST

UNIT_MAIN("wire", short_and_surplus, bad_is_sticky)
