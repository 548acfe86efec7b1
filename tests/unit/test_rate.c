/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/rate.h"

#include "tests/unit/main.h"

#include <string.h>

static struct boot at(int64_t ms)
{
	return (struct boot){ INT64_C(1000000000000) + ms * 1000000 };
}

START_TEST(test_bucket)
{
	struct rates *t = rates_new(10);
	struct err    err = { 0 };

	/* six in a minute: a burst of six, then one every ten seconds */
	for (int i = 0; i < 6; i++)
		ck_assert(rates_may(t, SPAN("a"), 6, at(0), &err));
	ck_assert(!rates_may(t, SPAN("a"), 6, at(0), &err) && err.code == ERR_BUSY);
	ck_assert(rates_may(t, SPAN("b"), 6, at(0), &err));     /* somebody else */
	ck_assert(!rates_may(t, SPAN("a"), 6, at(9999), &err));
	ck_assert(rates_may(t, SPAN("a"), 6, at(10000), &err));
	ck_assert(!rates_may(t, SPAN("a"), 6, at(10000), &err));
	/* asking in vain costs nothing */
	for (int i = 0; i < 100; i++)
		ck_assert(!rates_may(t, SPAN("a"), 6, at(15000), &err));
	ck_assert(rates_may(t, SPAN("a"), 6, at(20000), &err));
	/* rest for longer than a minute gives no more than a burst */
	for (int i = 0; i < 6; i++)
		ck_assert(rates_may(t, SPAN("a"), 6, at(1000000), &err));
	ck_assert(!rates_may(t, SPAN("a"), 6, at(1000000), &err));
	rates_free(t);
}
END_TEST

START_TEST(test_ceiling)
{
	struct rates *t = rates_new(100);
	struct err    err = { 0 };

	for (int i = 0; i < 100; i++)
		ck_assert(rates_may(t, span_of(&i, sizeof(i)), 60, at(0), &err));
	ck_assert(!rates_may(t, SPAN("one more"), 60, at(0), &err) && err.code == ERR_BUSY);
	ck_assert(!rates_may(t, SPAN("one more"), 60, at(999), &err));
	/* those that have had their rest are forgotten */
	ck_assert(rates_may(t, SPAN("one more"), 60, at(2000), &err));
	ck_assert_uint_eq(rates_count(t), 1);
	rates_free(t);
}
END_TEST

UNIT_MAIN("rate", test_bucket, test_ceiling)
