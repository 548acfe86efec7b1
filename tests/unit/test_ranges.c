/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/ranges.h"

#include "base/mem.h"
#include "tests/unit/main.h"

#include <stdlib.h>
#include <string.h>

/*
 * Against a naive twin: for every point of a small world, the intervals say
 * what any of the rows says, and no two of them have a point in common.
 */

static uint32_t state = 1;

static uint32_t draw(uint32_t below)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % below;
}

static struct prefix small_prefix(void)
{
	struct prefix p = { .ip = { .family = draw(4) ? IP_V4 : IP_V6 } };
	size_t len = ip_len(&p.ip);

	/* Sixteen addresses at the very end of the family: the last one has no next. */
	memset(p.ip.b, 0xff, len);
	p.bits = (uint8_t)(len * 8 - draw(5));
	p.ip.b[len - 1] = (uint8_t)(0xf0 | draw(16));
	p.ip.b[len - 1] = (uint8_t)(p.ip.b[len - 1] & (0xff << (len * 8 - p.bits)));
	return p;
}

static struct ip point(uint8_t family, uint32_t i)
{
	struct ip ip = { .family = family };

	memset(ip.b, 0xff, ip_len(&ip));
	ip.b[ip_len(&ip) - 1] = (uint8_t)(0xf0 | i);
	return ip;
}

static uint8_t small_proto(void)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP,
					  IPPROTO_ICMP, IPPROTO_GRE };

	return draw(10) ? protos[draw(array_size(protos))] : FILTER_PROTO_ANY;
}

static bool row_allows(uint32_t class, uint8_t proto, uint16_t lo, uint16_t hi, uint32_t c,
		       uint8_t p, uint16_t port)
{
	return class == c && (proto == FILTER_PROTO_ANY ||
			      (proto == p && (!proto_has_ports(p) || (lo <= port && port <= hi))));
}

static bool in_range(const struct range *r, const struct ip *ip)
{
	return r->lo.family == IP_NONE ||
	       (r->lo.family == ip->family && memcmp(r->lo.b, ip->b, 16) <= 0 &&
		memcmp(ip->b, r->hi.b, 16) <= 0);
}

static const uint8_t worlds_protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_GRE };

/* How many boxes hold this point. */
static unsigned covers(const struct box *b, size_t n, uint32_t class, uint8_t proto, uint16_t port,
		       const struct ip *ip)
{
	unsigned k = 0;

	for (size_t i = 0; i < n; i++)
		k += row_allows(b[i].class, b[i].proto, b[i].lo, b[i].hi, class, proto, port) &&
		     in_range(&b[i].to, ip);
	return k;
}

START_TEST(rows_like_the_twin)
{
	for (int round = 0; round < 400; round++) {
		struct filter_row rows[12];
		size_t n = draw(13), boxes_n;
		struct box *boxes = NULL;
		struct err err;

		for (size_t i = 0; i < n; i++) {
			rows[i] = (struct filter_row){ 1 + draw(3), small_proto(),
						       (uint16_t)draw(12), 0 };
			rows[i].hi = (uint16_t)(rows[i].lo + draw(5));
		}
		ck_assert(boxes_of_rows(rows, n, &boxes, &boxes_n, &err));
		for (uint32_t c = 1; c <= 3; c++)
			for (size_t p = 0; p < array_size(worlds_protos); p++)
				for (uint16_t port = 0; port < 20; port++) {
					struct ip none = { 0 };
					bool want = false;

					for (size_t i = 0; i < n; i++)
						want |= row_allows(rows[i].class, rows[i].proto,
								   rows[i].lo, rows[i].hi, c,
								   worlds_protos[p], port);
					ck_assert_uint_eq(covers(boxes, boxes_n, c,
								 worlds_protos[p], port, &none),
							  want);
				}
		free(boxes);
	}
}
END_TEST

START_TEST(forward_like_the_twin)
{
	for (int round = 0; round < 400; round++) {
		struct filter_forward rows[10];
		size_t n = draw(11), boxes_n;
		struct box *boxes = NULL;
		struct err err;

		for (size_t i = 0; i < n; i++) {
			rows[i] = (struct filter_forward){ 1 + draw(2), small_prefix(),
							   small_proto(), (uint16_t)draw(8), 0 };
			rows[i].hi = (uint16_t)(rows[i].lo + draw(4));
		}
		ck_assert(boxes_of_forward(rows, n, &boxes, &boxes_n, &err));
		for (uint32_t at = 0; at < 64; at++) {
			struct ip ip = point(at & 16 ? IP_V4 : IP_V6, at & 15);
			uint32_t c = 1 + (at >> 5);

			for (size_t p = 0; p < array_size(worlds_protos); p++)
				for (uint16_t port = 0; port < 13; port++) {
					bool want = false;

					for (size_t i = 0; i < n; i++)
						want |= prefix_has(&rows[i].to, &ip) &&
							row_allows(rows[i].class, rows[i].proto,
								   rows[i].lo, rows[i].hi, c,
								   worlds_protos[p], port);
					ck_assert_uint_eq(covers(boxes, boxes_n, c,
								 worlds_protos[p], port, &ip),
							  want);
				}
		}
		free(boxes);
	}
}
END_TEST

START_TEST(via_like_the_twin)
{
	for (int round = 0; round < 400; round++) {
		struct filter_via via[8];
		struct prefix own[3];
		size_t n = draw(9), own_n = draw(4), out_n;
		struct timed_range *out = NULL;
		struct err err;

		for (size_t i = 0; i < n; i++)
			via[i] = (struct filter_via){ small_prefix(), (int64_t)draw(4) - 1 };
		for (size_t i = 0; i < own_n; i++)
			own[i] = small_prefix();
		ck_assert(ranges_of_via(via, n, own, own_n, &out, &out_n, &err));
		for (uint32_t at = 0; at < 32; at++) {
			struct ip ip = point(at & 16 ? IP_V4 : IP_V6, at & 15);
			int64_t want = 0, have = 0;
			unsigned k = 0;

			for (size_t i = 0; i < n; i++)
				if (prefix_has(&via[i].to, &ip) && via[i].timeout_ms > want)
					want = via[i].timeout_ms;
			for (size_t i = 0; i < own_n; i++)
				if (prefix_has(&own[i], &ip))
					want = 0;
			for (size_t i = 0; i < out_n; i++)
				if (in_range(&out[i].at, &ip)) {
					have = out[i].timeout_ms;
					k++;
				}
			ck_assert_uint_le(k, 1);
			ck_assert_int_eq(have, want);
		}
		free(out);
	}
}
END_TEST

START_TEST(whole_families)
{
	struct filter_forward rows[] = {
		{ 1, { .ip = { .family = IP_V4 } }, IPPROTO_TCP, 1, 1 },
		{ 1, { .ip = { IP_V4, { 255, 255, 255, 255 } }, .bits = 32 }, IPPROTO_TCP, 2, 2 },
		{ 1, { .ip = { .family = IP_V6 } }, IPPROTO_TCP, 1, 1 },
	};
	struct box *boxes = NULL;
	struct err err;
	size_t n;

	ck_assert(boxes_of_forward(rows, 3, &boxes, &n, &err));
	/* 0.0.0.0 to .254; .255 with 1-2 joined; all of IPv6. */
	ck_assert_uint_eq(n, 3);
	ck_assert_uint_eq(boxes[0].to.hi.b[3], 254);
	ck_assert_uint_eq(boxes[1].hi, 2);
	ck_assert_uint_eq(boxes[2].to.hi.b[15], 255);
	free(boxes);
}
END_TEST

UNIT_MAIN("ranges", rows_like_the_twin, forward_like_the_twin, via_like_the_twin, whole_families)
