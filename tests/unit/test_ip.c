/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/ip.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

START_TEST(addresses)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "", NULL }, { "1.2.3", NULL }, { "1.2.3.4.5", NULL }, { "01.2.3.4", NULL },
		{ "1.2.3.256", NULL }, { "1.2.3.4 ", NULL }, { "[::1]", NULL }, { "fe80::1%eth0", NULL },
		{ "::1::", NULL }, { "0x7f.1", NULL }, { "2130706433", NULL },
		{ "1.2.3.4", "1.2.3.4" }, { "::1", "::1" }, { "FD00:0::00A", "fd00::a" },
		{ "::ffff:10.0.0.1", "10.0.0.1" }, { "::ffff:a00:1", "10.0.0.1" }, { "::", "::" },
		{ "::10.0.0.1", "::10.0.0.1" },
	};
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < array_size(rows); i++) {
		struct ip ip = { 0 };

		ck_assert_msg(ip_parse(span_str(rows[i].text), &ip) == !!rows[i].want, "%s", rows[i].text);
		ck_assert_str_eq(ip_text(&ip, text), rows[i].want ? rows[i].want : "none");
	}

	struct ip ip;

	ck_assert(!ip_parse(SPAN("1.2.3.4\0"), &ip));
}
END_TEST

START_TEST(prefixes)
{
	static const struct { const char *text, *strict, *lax; } rows[] = {
		{ "10.0.0.0/33", NULL, NULL }, { "10.0.0.0/", NULL, NULL }, { "10.0.0.0/08", NULL, NULL },
		{ "10.0.0.0/-1", NULL, NULL }, { "10.0.0.0/255.0.0.0", NULL, NULL }, { "::/129", NULL, NULL },
		{ "/8", NULL, NULL }, { "", NULL, NULL }, { "10.0.0.0/8/8", NULL, NULL },
		{ "10.0.0.1/8", NULL, "10.0.0.0/8" }, { "10.0.0.1/0", NULL, "0.0.0.0/0" },
		{ "fd00::1/64", NULL, "fd00::/64" }, { "10.0.0.129/25", NULL, "10.0.0.128/25" },
		{ "10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8" }, { "10.0.0.1", "10.0.0.1/32", "10.0.0.1/32" },
		{ "::1", "::1/128", "::1/128" }, { "0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0" },
		{ "::ffff:10.0.0.0/104", "10.0.0.0/8", "10.0.0.0/8" },
		{ "::ffff:10.0.0.1", "10.0.0.1/32", "10.0.0.1/32" },
		{ "::ffff:0:0/96", "0.0.0.0/0", "0.0.0.0/0" },
		/* wider than the mapped range: IPv6, and no IPv4 address is in it */
		{ "::ffff:10.0.0.0/64", NULL, "::/64" },
	};
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < array_size(rows); i++) {
		struct prefix p = { 0 };

		ck_assert_msg(prefix_parse(span_str(rows[i].text), &p) == !!rows[i].strict, "%s", rows[i].text);
		if (rows[i].strict)
			ck_assert_str_eq(prefix_text(&p, text), rows[i].strict);
		ck_assert_msg(prefix_parse_lax(span_str(rows[i].text), &p) == !!rows[i].lax, "%s", rows[i].text);
		if (rows[i].lax)
			ck_assert_str_eq(prefix_text(&p, text), rows[i].lax);
	}
}
END_TEST

static struct prefix pfx(const char *s)
{
	struct prefix p;

	ck_assert(prefix_parse(span_str(s), &p));
	return p;
}

START_TEST(membership)
{
	static const struct { const char *outer, *inner; bool covers; } rows[] = {
		{ "10.0.0.0/8", "11.0.0.0/8", false }, { "10.0.0.0/8", "10.0.0.0/7", false },
		{ "10.0.0.0/8", "fd00::/8", false }, { "::/0", "10.0.0.1", false },
		{ "0.0.0.0/0", "::1", false }, { "10.0.0.128/25", "10.0.0.127", false },
		{ "10.0.0.0/8", "10.255.0.0/16", true }, { "0.0.0.0/0", "10.0.0.1", true },
		{ "10.0.0.128/25", "10.0.0.255", true }, { "fc00::/7", "fd00::1", true },
		{ "10.0.0.1", "10.0.0.1", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct prefix a = pfx(rows[i].outer), b = pfx(rows[i].inner);

		ck_assert_msg(prefix_covers(&a, &b) == rows[i].covers, "row %zu", i);
	}

	/* nobody's address is in nobody's prefix */
	struct prefix none = { 0 };
	struct ip nobody = { 0 };

	ck_assert(!prefix_has(&none, &nobody));
	ck_assert_int_lt(prefix_cmp(&(struct prefix){ 0 }, &(struct prefix){ .bits = 3 }), 0);
}
END_TEST

START_TEST(ports)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "", NULL }, { "1.2.3.4", NULL }, { "1.2.3.4:", NULL }, { ":80", NULL }, { "::1:80", NULL },
		{ "[::1]", NULL }, { "[::1]:", NULL }, { "[::1]80", NULL }, { "[1.2.3.4]:80", NULL },
		{ "1.2.3.4:65536", NULL }, { "1.2.3.4:080", NULL }, { "1.2.3.4:8 0", NULL },
		{ "[::1:80", NULL }, { "[", NULL }, { "[]:1", NULL }, { "localhost:80", NULL },
		{ "1.2.3.4:80", "1.2.3.4:80" }, { "[::1]:65535", "[::1]:65535" },
		{ "[::ffff:1.2.3.4]:1", "1.2.3.4:1" },
	};
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < array_size(rows); i++) {
		struct ipport a;
		struct sockaddr_storage ss;

		ck_assert_msg(ipport_parse(span_str(rows[i].text), &a) == !!rows[i].want, "%s", rows[i].text);
		if (!rows[i].want)
			continue;
		ck_assert_str_eq(ipport_text(&a, text), rows[i].want);
		ck_assert_uint_gt(ipport_to_sockaddr(&a, &ss), 0);

		struct ipport back;

		ck_assert(ipport_from_sockaddr(&ss, &back));
		ck_assert(ip_eq(&a.ip, &back.ip) && a.port == back.port);
	}

	struct sockaddr_storage un = { .ss_family = AF_UNIX };
	struct ipport a;

	ck_assert(!ipport_from_sockaddr(&un, &a));
}
END_TEST

UNIT_MAIN("ip", addresses, prefixes, membership, ports)
