/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/lease.h"

#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

#define BOOT_A "11111111-1111-1111-1111-111111111111"
#define BOOT_B "22222222-2222-2222-2222-222222222222"

START_TEST(deadlines)
{
	static const struct {
		const char *what, *mark_boot;
		int64_t     at, wall, lease;            /* seconds */
		const char *now_boot;
		int64_t     now, now_wall, want;        /* want: seconds left; -1: ended */
	} rows[] = {
		{ "never heard",                "",     0, 0, 100,        BOOT_A, 50, 5000, -1 },
		{ "no lease",                   BOOT_A, 10, 5000, 0,      BOOT_A, 50, 5040, -1 },
		{ "mark of the future",         BOOT_A, 60, 5000, 100,    BOOT_A, 50, 5040, -1 },
		{ "over to the second",         BOOT_A, 10, 5000, 100,    BOOT_A, 110, 5100, -1 },
		{ "one second left",            BOOT_A, 10, 5000, 100,    BOOT_A, 109, 5099, 1 },
		{ "wall clock does not matter", BOOT_A, 10, 5000, 100,    BOOT_A, 20, 1, 90 },
		{ "nor forwards",               BOOT_A, 10, 5000, 100,    BOOT_A, 20, 999999, 90 },
		{ "reboot",                     BOOT_A, 10, 5000, 100,    BOOT_B, 5, 5060, 40 },
		{ "reboot, too late",           BOOT_A, 10, 5000, 100,    BOOT_B, 5, 5100, -1 },
		{ "reboot, clock earlier",      BOOT_A, 10, 5000, 100,    BOOT_B, 5, 4999, -1 },
		{ "reboot, mark without clock", BOOT_A, 10, 0, 100,       BOOT_B, 5, 10, -1 },
		{ "absurd lease",               BOOT_A, 10, 5000, INT64_MAX, BOOT_A, 20, 5010, -1 },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct lease_mark m = { .at = { rows[i].at * SEC_NS }, .wall = { rows[i].wall },
			                .lease = rows[i].lease };
		struct lease_now now = { rows[i].now_boot, { rows[i].now * SEC_NS }, { rows[i].now_wall } };
		struct boot end;

		memcpy(m.boot_id, rows[i].mark_boot, strlen(rows[i].mark_boot));
		end = lease_end(&m, &now);
		if (rows[i].want < 0)
			ck_assert_msg(boot_passed(end, now.boot), "%s", rows[i].what);
		else
			ck_assert_msg(end.ns == now.boot.ns + rows[i].want * SEC_NS, "%s: %lld", rows[i].what,
			              (long long)end.ns);
	}
}
END_TEST

START_TEST(mark_survives)
{
	struct lease_mark m = { BOOT_A, { 12 }, { 34 }, 56 }, back;
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	ck_assert(!lease_decode(SPAN("{}"), &back, &err));
	ck_assert(!lease_decode(SPAN("{\"boot_id\":\"0123456789012345678901234567890123456789\",\"boot\":1,\"wall\":1,\"lease\":1}"),
	                        &back, &err));
	buf_init(&b, LEASE_TEXT_MAX);
	lease_encode(&m, &b);
	ck_assert_msg(lease_decode(buf_span(&b), &back, &err), "%s", err.msg);
	ck_assert_str_eq(back.boot_id, BOOT_A);
	ck_assert_int_eq(back.at.ns, 12);
	ck_assert_int_eq(back.wall.sec, 34);
	ck_assert_int_eq(back.lease, 56);
}
END_TEST

UNIT_MAIN("lease", deadlines, mark_survives)
