/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/refused.h"
#include "daemon/control/used.h"

#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

START_TEST(lists)
{
	static const char *const bad[] = {
		"", "[]", "{\"refused\":{}}", "{\"refused\":[1]}", "{\"refused\":[{\"why\":\"x\"}]}",
		"{\"refused\":[{\"node\":\"n5\"}]}", "{\"refused\":[{\"node\":\"u5\",\"why\":\"x\"}]}",
		"{\"refused\":[{\"node\":\"n0\",\"why\":\"x\"}]}", "{\"refused\":[{\"node\":\"n5\",\"why\":\"\\u00e9\"}]}",
		"{\"refused\":[{\"node\":\"n5\",\"why\":\"a\\nb\"}]}",
	};
	static const char good[] = "{\"v\":1,\"refused\":[{\"node\":\"n5\",\"why\":\"nonce: x\"},{\"node\":\"n7\",\"why\":\"y\"}]}";
	struct refused_list l = { 0 }, other = { 0 };
	struct err err = { 0 };
	struct buf b;

	for (size_t i = 0; i < array_size(bad); i++)
		ck_assert_msg(!refused_decode(span_str(bad[i]), &l, &err), "row %zu", i);
	buf_init(&b, REFUSED_BODY_MAX);
	buf_add_str(&b, "{\"refused\":[");
	for (int i = 0; i <= REFUSED_MAX; i++)
		buf_addf(&b, "%s{\"node\":\"n%d\",\"why\":\"x\"}", i ? "," : "", i + 1);
	buf_add_str(&b, "]}");
	ck_assert(!refused_decode(buf_span(&b), &l, &err));
	buf_clear(&b);
	ck_assert_msg(refused_decode(span_str(good), &l, &err), "%s", err.msg);
	refused_encode(&l, &b);
	ck_assert_str_eq(b.ptr, good);
	ck_assert(!refused_same(&l, &other) && refused_same(&l, &l));
	ck_assert_ptr_null(refused_find(&l, 6));
	ck_assert_str_eq(refused_find(&l, 7)->why, "y");
	refused_done(&l);
	ck_assert(refused_decode(SPAN("{\"v\":1,\"refused\":[]}"), &l, &err) && refused_same(&l, &other));
	refused_done(&l);
	buf_done(&b);
}
END_TEST

/* Who used a host: the same, without words. */
START_TEST(used)
{
	static const char *const bad[] = {
		"", "[]", "{\"used\":{}}", "{\"used\":[1]}", "{\"used\":[null]}", "{\"used\":[\"n0\"]}", "{\"used\":[\"u5\"]}",
		"{\"used\":[\"\"]}", "{\"used\":[[]]}", "{\"used\":[\"n5\",\"n\"]}",
	};
	static const char *const bad_reply[] = { "", "{}", "{\"every\":0}", "{\"every\":3}", "{\"every\":61}", "{\"every\":\"9\"}" };
	static const char good[] = "{\"v\":1,\"used\":[\"n5\",\"n7\"]}";
	struct used_list l = { 0 };
	struct err err = { 0 };
	int64_t every = 0;
	struct buf b;

	for (size_t i = 0; i < array_size(bad); i++)
		ck_assert_msg(!used_decode(span_str(bad[i]), &l, &err), "row %zu", i);
	for (size_t i = 0; i < array_size(bad_reply); i++)
		ck_assert_msg(!used_reply_decode(span_str(bad_reply[i]), &every, &err), "row %zu", i);
	buf_init(&b, USED_BODY_MAX);
	buf_add_str(&b, "{\"used\":[");
	for (int i = 0; i <= USED_MAX; i++)
		buf_addf(&b, "%s\"n%d\"", i ? "," : "", i + 1);
	buf_add_str(&b, "]}");
	ck_assert(!b.over && !used_decode(buf_span(&b), &l, &err));
	buf_clear(&b);
	ck_assert_msg(used_decode(span_str(good), &l, &err), "%s", err.msg);
	ck_assert(l.count == 2 && l.list[0] == 5 && l.list[1] == 7);
	used_encode(&l, &b);
	ck_assert_str_eq(b.ptr, good);
	used_done(&l);
	buf_clear(&b);
	used_reply_encode(USED_EVERY_MAX, &b);
	ck_assert(used_reply_decode(buf_span(&b), &every, &err) && every == USED_EVERY_MAX);
	buf_done(&b);
}
END_TEST

/* A report that was not heard is said again, with what came meanwhile; each once. */
START_TEST(pending)
{
	struct used_pending p;
	const struct used_list *l;

	used_pending_init(&p);
	ck_assert_ptr_null(used_pending_take(&p));
	used_pending_note(&p, 5);
	used_pending_note(&p, 5);
	l = used_pending_take(&p);
	ck_assert(l && l->count == 1 && l->list[0] == 5);
	used_pending_note(&p, 5);
	used_pending_note(&p, 7);
	ck_assert_ptr_null(used_pending_take(&p));      /* one at a time */
	used_pending_answered(&p, false);
	l = used_pending_take(&p);
	ck_assert(l && l->count == 2 && l->list[0] + l->list[1] == 12);
	used_pending_answered(&p, true);
	ck_assert_ptr_null(used_pending_take(&p));
	for (uint64_t i = 1; i <= USED_PENDING_MAX + 5; i++)
		used_pending_note(&p, i);
	size_t all = 0;
	while ((l = used_pending_take(&p))) {
		ck_assert_uint_le(l->count, USED_MAX);
		all += l->count;
		used_pending_answered(&p, true);
	}
	ck_assert_uint_eq(all, USED_PENDING_MAX);
	used_pending_done(&p);
}
END_TEST

UNIT_MAIN("refused", lists, used, pending)
