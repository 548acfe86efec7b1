/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/identities.h"

#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

START_TEST(refused_with_its_place)
{
	static const struct { const char *text; uint32_t line, col; const char *say; } rows[] = {
		{ "{}",                                                         1, 1,  "array" },
		{ "[3]",                                                        1, 2,  "object" },
		{ "[{\"login\": \"a\"}]",                                       1, 2,  "from" },
		{ "[{\"from\": \"10.0.0.1\"}]",                                 1, 2,  "login" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"a\", \"tags\": []}]", 1, 2,  "either" },
		{ "[\n {\"from\": \"10.0.0.300\", \"login\": \"a\"}]",          2, 11, "no address" },
		{ "[\n {\"from\": \"10.0.0.1/24\", \"login\": \"a\"}]",         2, 11, "10.0.0.0/24" },
		{ "[{\"from\": \"10.0.0.1\", \"logn\": \"a\"}]",                1, 23, "did you mean \"login\"" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"a b\"}]",             1, 32, "ASCII" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"\xc3\xa4\"}]",        1, 32, "ASCII" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"\"}]",                1, 32, "1 to" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"a\", \"name\": \"a\\nb\"}]", 1, 45, "controls" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"a\", \"groups\": \"lab\"}]", 1, 47, "array" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"a\", \"expires\": \"soon\"}]", 1, 48, "RFC 3339" },
		{ "[{\"from\": \"10.0.0.1\", \"tags\": [\"server\"]}]",         1, 2,  "no tag" },
		{ "[{\"from\": \"10.0.0.1\", \"login\": \"a\"},\n{\"from\": \"10.0.0.1/32\", \"login\": \"b\"}]", 2, 1, "twice" },
		{ "[{\"from\": \"::ffff:10.0.0.1\", \"login\": \"a\"},\n{\"from\": \"10.0.0.1\", \"login\": \"b\"}]", 2, 1, "twice" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct identities ids;
		struct diags d;

		diags_init(&d, "identities.hujson");
		ck_assert_msg(!identities_parse(span_str(rows[i].text), &ids, &d), "row %zu passed", i);
		ck_assert_uint_ge(d.count, 1);
		ck_assert_msg(strstr(d.list[0].msg, rows[i].say), "row %zu: %s", i, d.list[0].msg);
		ck_assert_msg(d.list[0].at.line == rows[i].line && d.list[0].at.col == rows[i].col,
		              "row %zu: %u:%u %s", i, d.list[0].at.line, d.list[0].at.col, d.list[0].msg);
		ck_assert_uint_eq(ids.count, 0);
		diags_done(&d);
	}
}
END_TEST

START_TEST(narrowest_counts)
{
	static const char text[] =
		"[ // an office and one desk in it\n"
		"  {\"from\": \"10.8.0.0/16\", \"login\": \"student@example.edu\"},\n"
		"  {\"from\": \"10.8.0.7\", \"login\": \"staff@example.edu\", \"name\": \"Stäff\",\n"
		"   \"groups\": [\"lab\", \"wiki\"], \"amr\": [\"pwd\", \"otp\"], \"auth_time\": \"2026-01-02T03:04:05Z\",\n"
		"   \"expires\": 1900000000},\n"
		"  {\"from\": \"fd00::/64\", \"tags\": [\"tag:server\"]},\n"
		"]";
	struct identities ids;
	struct diags d;
	struct ip ip;

	diags_init(&d, "identities.hujson");
	ck_assert(identities_parse(span_str(text), &ids, &d));
	ck_assert(ip_parse(SPAN("10.9.0.1"), &ip));
	ck_assert_ptr_null(identities_find(&ids, &ip));
	ck_assert(ip_parse(SPAN("10.8.0.8"), &ip));
	ck_assert(span_eq(identities_find(&ids, &ip)->login, SPAN("student@example.edu")));
	ck_assert(ip_parse(SPAN("::ffff:10.8.0.7"), &ip));

	const struct identity_row *r = identities_find(&ids, &ip);

	ck_assert(span_eq(r->login, SPAN("staff@example.edu")));
	ck_assert_uint_eq(r->group_count, 2);
	ck_assert_uint_eq(r->amr_count, 2);
	ck_assert_int_eq(r->expires.sec, 1900000000);
	ck_assert_int_gt(r->auth_time.sec, 1760000000);
	ck_assert(ip_parse(SPAN("fd00::5"), &ip));
	ck_assert_uint_eq(identities_find(&ids, &ip)->tag_count, 1);
	identities_done(&ids);
	ck_assert(identities_parse(SPAN("[]"), &ids, &d));
	identities_done(&ids);
	diags_done(&d);
}
END_TEST

UNIT_MAIN("identities", refused_with_its_place, narrowest_counts)
