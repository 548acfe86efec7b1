/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/claims.h"

#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

static struct prefix range;

static struct claim claim(uint64_t node, uint8_t key, const char *v4, const char *v6, const char *derived)
{
	struct claim c = { .node = node };

	memset(c.key, key, sizeof(c.key));
	ck_assert(!*v4 || ip_parse(span_str(v4), &c.v4));
	ck_assert(!*v6 || ip_parse(span_str(v6), &c.v6));
	ck_assert(ip_parse(span_str(derived), &c.derived));
	return c;
}

static void judge(struct claim *list, size_t n, struct claims_memory *m, int64_t now)
{
	ck_assert(prefix_parse(SPAN("100.64.0.0/10"), &range));
	claims_judge(list, n, &range, m, (struct wall){ now });
}

START_TEST(address_follows_from_key)
{
	struct claims_memory *m = claims_memory_new();
	struct claim list[] = {
		claim(1, 1, "100.64.0.1", "fd00::2", "fd00::1"),
		claim(2, 2, "10.0.0.1", "fd00::22", "fd00::22"),
		claim(3, 3, "", "", "fd00::3"),
	};

	judge(list, array_size(list), m, 1000);
	ck_assert_int_eq(list[0].ret_v6, CLAIM_NO_MATCH);
	ck_assert_int_eq(list[0].ret_v4, CLAIM_GOOD);
	ck_assert_int_eq(list[1].ret_v6, CLAIM_GOOD);
	ck_assert_int_eq(list[1].ret_v4, CLAIM_OUTSIDE);
	ck_assert_int_eq(list[2].ret_v4, CLAIM_NONE);
	ck_assert_int_eq(list[2].ret_v6, CLAIM_NONE);
	claims_memory_free(m);
}
END_TEST

START_TEST(two_keys_one_address)
{
	struct claims_memory *m = claims_memory_new();
	struct claim list[] = {
		claim(1, 1, "100.64.0.1", "fd00::1", "fd00::1"),
		claim(2, 2, "100.64.0.1", "fd00::1", "fd00::1"),
		claim(3, 3, "100.64.0.3", "fd00::3", "fd00::3"),
	};

	judge(list, array_size(list), m, 1000);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(list[i].ret_v4, CLAIM_TWICE);
		ck_assert_int_eq(list[i].ret_v6, CLAIM_TWICE);
	}
	ck_assert_int_eq(list[2].ret_v4, CLAIM_GOOD);
	claims_memory_free(m);
}
END_TEST

START_TEST(one_key_two_nodes)
{
	struct claims_memory *m = claims_memory_new();
	struct claim list[] = {
		claim(1, 7, "100.64.0.1", "fd00::1", "fd00::1"),
		claim(2, 7, "100.64.0.2", "fd00::1", "fd00::1"),
	};

	judge(list, array_size(list), m, 1000);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(list[i].ret_v4, CLAIM_KEY_TWICE);
		ck_assert_int_eq(list[i].ret_v6, CLAIM_KEY_TWICE);
	}
	claims_memory_free(m);
}
END_TEST

START_TEST(moved_address_waits)
{
	struct claims_memory *m = claims_memory_new(), *again = claims_memory_new();
	struct claim old = claim(1, 1, "100.64.0.1", "", "fd00::1");
	struct claim new = claim(2, 2, "100.64.0.1", "", "fd00::2");
	struct claim rotated = claim(1, 9, "100.64.0.1", "", "fd00::9");
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	judge(&old, 1, m, 1000);
	ck_assert_int_eq(old.ret_v4, CLAIM_GOOD);
	judge(&new, 1, m, 1001);
	ck_assert_int_eq(new.ret_v4, CLAIM_QUARANTINED);
	judge(&new, 1, m, 500);                                 /* the clock went back */
	ck_assert_int_eq(new.ret_v4, CLAIM_QUARANTINED);

	/* A restart forgets nothing. */
	buf_init(&b, CLAIMS_TEXT_MAX);
	claims_memory_encode(m, (struct wall){ 1001 }, &b);
	ck_assert_msg(claims_memory_decode(buf_span(&b), again, &err), "%s", err.msg);
	judge(&new, 1, again, 1000 + CLAIM_QUARANTINE - 1);
	ck_assert_int_eq(new.ret_v4, CLAIM_QUARANTINED);
	judge(&new, 1, again, 1000 + CLAIM_QUARANTINE);
	ck_assert_int_eq(new.ret_v4, CLAIM_GOOD);

	judge(&rotated, 1, m, 1002);                            /* said to be the same node, a new key */
	ck_assert_int_eq(rotated.ret_v4, CLAIM_QUARANTINED);
	rotated.follows = true;                                 /* by another key's word */
	memset(rotated.before, 3, sizeof(rotated.before));
	judge(&rotated, 1, m, 1002);
	ck_assert_int_eq(rotated.ret_v4, CLAIM_QUARANTINED);
	memset(rotated.before, 1, sizeof(rotated.before));      /* by the old key's */
	judge(&rotated, 1, m, 1002);
	ck_assert_int_eq(rotated.ret_v4, CLAIM_GOOD);
	judge(&old, 1, m, 1002);                                /* which is over then */
	ck_assert_int_eq(old.ret_v4, CLAIM_QUARANTINED);
	rotated.follows = false;

	/* Where people are checked here, the same node is the same person's: across restarts, too. */
	struct claims_memory *checked = claims_memory_new(), *kept = claims_memory_new();

	old.who = 7;
	judge(&old, 1, checked, 1000);
	buf_clear(&b);
	claims_memory_encode(checked, (struct wall){ 1001 }, &b);
	ck_assert_msg(claims_memory_decode(buf_span(&b), kept, &err), "%s", err.msg);
	rotated.who = UINT64_MAX;
	judge(&rotated, 1, kept, 1002);
	ck_assert_int_eq(rotated.ret_v4, CLAIM_QUARANTINED);
	rotated.who = 7;
	judge(&rotated, 1, kept, 1002);
	ck_assert_int_eq(rotated.ret_v4, CLAIM_GOOD);
	claims_memory_free(checked);
	claims_memory_free(kept);
	ck_assert(!claims_memory_decode(SPAN("[{}]"), m, &err));
	ck_assert(!claims_memory_decode(SPAN("{}"), m, &err));
	claims_memory_free(m);
	claims_memory_free(again);
}
END_TEST

START_TEST(key_that_was_given_up)
{
	struct claims_memory *m = claims_memory_new(), *again = claims_memory_new();
	struct claim old = claim(1, 1, "100.64.0.1", "fd00::1", "fd00::1");
	struct claim next = claim(1, 2, "100.64.0.1", "fd00::2", "fd00::2");
	struct claim glass = old;
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	next.follows = true;
	memset(next.before, 1, sizeof(next.before));
	judge(&old, 1, m, 1000);
	judge(&next, 1, m, 1001);                               /* said, and not done */
	judge(&old, 1, m, 1001 + CLAIM_QUARANTINE);
	ck_assert_int_eq(old.ret_v6, CLAIM_GOOD);
	ck_assert_int_eq(old.ret_v4, CLAIM_GOOD);
	next.retires = true;
	judge(&next, 1, m, 3000);
	ck_assert_int_eq(next.ret_v4, CLAIM_GOOD);
	judge(&old, 1, m, 3000 + CLAIM_QUARANTINE);             /* a map from before */
	ck_assert_int_eq(old.ret_v6, CLAIM_RETIRED);
	ck_assert_int_eq(old.ret_v4, CLAIM_RETIRED);
	buf_init(&b, CLAIMS_TEXT_MAX);
	claims_memory_encode(m, (struct wall){ 4000 }, &b);
	ck_assert_msg(claims_memory_decode(buf_span(&b), again, &err), "%s", err.msg);
	judge(&old, 1, again, 5000);
	ck_assert_int_eq(old.ret_v6, CLAIM_RETIRED);
	glass.listed = true;                                    /* the owner's list is not taken back by anybody */
	judge(&glass, 1, again, 5000);
	ck_assert_int_eq(glass.ret_v6, CLAIM_GOOD);
	/* Its word for a way back to it counts for nothing, and retires nobody. */
	old.follows = old.retires = true;
	memset(old.before, 2, sizeof(old.before));
	judge(&old, 1, again, 5000);
	judge(&next, 1, again, 5000);
	ck_assert_int_eq(old.ret_v6, CLAIM_RETIRED);
	ck_assert_int_eq(next.ret_v6, CLAIM_GOOD);
	judge(&old, 1, again, 3000 + CLAIM_RETIRED_SEC);
	ck_assert_int_eq(old.ret_v6, CLAIM_GOOD);
	claims_memory_free(m);
	claims_memory_free(again);
}
END_TEST

UNIT_MAIN("claims", address_follows_from_key, two_keys_one_address, one_key_two_nodes, moved_address_waits, key_that_was_given_up)
