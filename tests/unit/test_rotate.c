/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Another key of a node: who can vouch for it, to whom, and what the messages may hold. */
#include "daemon/control/rotate.h"

#include "base/encode.h"
#include "base/mem.h"
#include "daemon/endpoint/aging.h"
#include "daemon/endpoint/successors.h"
#include "tests/unit/main.h"

#include <string.h>

struct pair {
	struct secret key;
	uint8_t       public_key[ENROL_KEY_LEN];
};

static void make(struct pair *p)
{
	enrol_device_new(&p->key);
	ck_assert(enrol_device_public(&p->key, p->public_key, NULL));
}

enum { OLD, NEW, ENDPOINT, OTHER, THEM };

/* What holder says to `to`: that `new_` follows `old`. */
static struct map_turn say(const struct pair *who, int holder, int to, int old, int new_, int named)
{
	struct rotate_vouch v;
	struct map_turn t = { .has_vouch = true };

	memcpy(v.old, who[old].public_key, sizeof(v.old));
	memcpy(v.new_, who[new_].public_key, sizeof(v.new_));
	memcpy(v.endpoint, who[named].public_key, sizeof(v.endpoint));
	ck_assert(rotate_vouch(&who[holder].key, who[to].public_key, &v, t.vouch, NULL));
	return t;
}

START_TEST(only_the_old_key_vouches)
{
	static const struct { int holder, to, old, new_, named; bool good; const char *what; } rows[] = {
		{ OTHER,    ENDPOINT, OLD,      NEW,   ENDPOINT, false, "another key's word" },
		{ NEW,      ENDPOINT, OLD,      NEW,   ENDPOINT, false, "the new key's own word" },
		{ OLD,      OTHER,    OLD,      NEW,   OTHER,    false, "made for another endpoint" },
		{ OLD,      ENDPOINT, OLD,      OTHER, ENDPOINT, false, "for another key" },
		{ OLD,      ENDPOINT, OTHER,    NEW,   ENDPOINT, false, "of another key" },
		{ ENDPOINT, OLD,      ENDPOINT, NEW,   OLD,      false, "what the endpoint says of its own key" },
		{ OLD,      ENDPOINT, OLD,      NEW,   ENDPOINT, true,  "the old key's word" },
	};
	struct pair who[THEM] = { 0 };

	for (size_t i = 0; i < THEM; i++)
		make(&who[i]);
	for (size_t i = 0; i < array_size(rows); i++) {
		struct map_turn t = say(who, rows[i].holder, rows[i].to, rows[i].old, rows[i].new_, rows[i].named);
		struct successors *s = successors_new();

		ck_assert_msg(!successors_ok(s, who[OLD].public_key, who[NEW].public_key, &t), "without a key of its own");
		successors_key(s, &who[ENDPOINT].key, who[ENDPOINT].public_key);
		for (int twice = 0; twice < 2; twice++)
			ck_assert_msg(successors_ok(s, who[OLD].public_key, who[NEW].public_key, &t) == rows[i].good,
			              "%s", rows[i].what);
		t.vouch[31] ^= 1;
		ck_assert_msg(!successors_ok(s, who[OLD].public_key, who[NEW].public_key, &t), "%s, damaged", rows[i].what);
		t.has_vouch = false;
		ck_assert_msg(!successors_ok(s, who[OLD].public_key, who[NEW].public_key, &t), "no word");
		ck_assert(!successors_ok(s, who[OLD].public_key, who[NEW].public_key, NULL));
		successors_free(s);
	}
	for (size_t i = 0; i < THEM; i++)
		secret_done(&who[i].key);
}
END_TEST

START_TEST(points_without_a_secret)
{
	/* Of order 1, 2 and 4 or 8: what follows is known to everybody (RFC 7748 6.1). */
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	};
	struct pair me = { 0 };
	struct rotate_vouch v = { 0 };
	uint8_t mac[ROTATE_VOUCH_LEN], point[ENROL_KEY_LEN];
	size_t n;

	make(&me);
	for (size_t i = 0; i < array_size(points); i++) {
		struct err err = { 0 };

		ck_assert(hex_decode(span_str(points[i]), point, sizeof(point), &n) && n == sizeof(point));
		ck_assert(!rotate_vouch(&me.key, point, &v, mac, &err));
		ck_assert_int_eq(err.code, ERR_CRYPTO);
	}
	secret_done(&me.key);
}
END_TEST

#define MAC "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define HEAD "{\"attempt\":\"abcdefghijklmnopqrstuv\",\"proof\":\"" MAC "\",\"old\":\"" MAC "\",\"vouches\":"

START_TEST(proofs_are_read)
{
	static const char *const bad[] = {
		"", "[]", "{}", HEAD "[]}", HEAD "{\"n1\":1}}", HEAD "{\"n1\":\"AAAA\"}}", HEAD "{\"u1\":\"" MAC "\"}}",
		HEAD "{\"n01\":\"" MAC "\"}}", HEAD "{\"n1\":\"" MAC "\",\"n1\":\"" MAC "\"}}",
		"{\"attempt\":\"abcdefghijklmnopqrstuv\",\"proof\":\"" MAC "\",\"vouches\":{}}",
		"{\"attempt\":\"abcdefghijklmnopqrstuv\",\"old\":\"" MAC "\",\"vouches\":{}}",
	};
	struct rotate_prove p = { 0 }, q = { 0 };
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	for (size_t i = 0; i < array_size(bad); i++)
		ck_assert_msg(!rotate_prove_decode(span_str(bad[i]), &p, &err), "%s", bad[i]);
	ck_assert_msg(rotate_prove_decode(SPAN(HEAD "{\"n12\":\"" MAC "\",\"n3\":\"" MAC "\"}}"), &p, &err), "%s", err.msg);
	ck_assert_uint_eq(p.n, 2);
	ck_assert_uint_eq(p.list[0].node, 3);
	ck_assert_uint_eq(p.list[1].node, 12);
	p.list[1].mac[5] = p.old[4] = p.prove.proof[3] = 7;
	buf_init(&b, ROTATE_PROVE_MAX);
	rotate_prove_encode(&p, &b);
	ck_assert_msg(rotate_prove_decode(buf_span(&b), &q, &err), "%s", err.msg);
	ck_assert_mem_eq(q.list, p.list, 2 * sizeof(*p.list));
	ck_assert_mem_eq(q.old, p.old, sizeof(p.old));
	ck_assert_mem_eq(&q.prove, &p.prove, sizeof(p.prove));
	rotate_prove_done(&p);
	rotate_prove_done(&q);

	/* As many as may be fit; one more does not. */
	p.list = mem_calloc(ROTATE_VOUCHES_MAX + 1, sizeof(*p.list));
	snprintf(p.prove.attempt, sizeof(p.prove.attempt), "abcdefghijklmnopqrstuv");
	for (size_t n = ROTATE_VOUCHES_MAX; n <= ROTATE_VOUCHES_MAX + 1; n++) {
		for (p.n = 0; p.n < n; p.n++)
			p.list[p.n].node = (uint64_t)INT64_MAX - p.n;
		buf_clear(&b);
		rotate_prove_encode(&p, &b);
		ck_assert(!b.over);
		ck_assert(rotate_prove_decode(buf_span(&b), &q, &err) == (n == ROTATE_VOUCHES_MAX));
		rotate_prove_done(&q);
	}
	rotate_prove_done(&p);
}
END_TEST

#define KEY "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
#define KEY2 "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="

START_TEST(turns_in_the_map)
{
	static const char *const bad[] = {
		"\"next\":1", "\"next\":{}", "\"next\":{\"key\":\"AQ==\"}", "\"next\":{\"key\":\"" KEY "\"}",   /* its own */
		"\"next\":{\"key\":\"" KEY2 "\",\"vouch\":\"AAAA\"}", "\"was\":{\"vouch\":\"" MAC "\"}",
	};
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct map_node *n, *again;

	buf_init(&b, 4096);
	for (size_t i = 0; i < array_size(bad); i++) {
		buf_clear(&b);
		buf_addf(&b, "{\"id\":\"n1\",\"name\":\"a\",\"key\":\"" KEY "\",%s}", bad[i]);
		ck_assert_msg(!map_node_decode(buf_span(&b), &err), "%s", bad[i]);
	}
	n = map_node_decode(SPAN("{\"id\":\"n1\",\"name\":\"a\",\"key\":\"" KEY "\",\"next\":{\"key\":\"" KEY2 "\",\"vouch\":\""
	                         MAC "\"},\"was\":{\"key\":\"" KEY2 "\"}}"), &err);
	ck_assert_msg(n && n->next && n->was && n->next->has_vouch && !n->was->has_vouch, "%s", err.msg);
	buf_clear(&b);
	map_node_encode(n, &b);
	again = map_node_decode(buf_span(&b), &err);
	ck_assert(again && again->next && again->was);
	ck_assert_mem_eq(again->next, n->next, sizeof(*n->next));
	ck_assert_mem_eq(again->was, n->was, sizeof(*n->was));
	map_node_unref(n);
	map_node_unref(again);
}
END_TEST

START_TEST(when_a_key_is_due)
{
	static const char *const bad[] = {
		"", "{}", "{\"max_age\":1}", "{\"max_age\":-1,\"listed\":0}", "{\"max_age\":\"1h\",\"listed\":0}",
		"{\"max_age\":0,\"listed\":1,\"hosts\":\"a\\u001bb\"}",
	};
	const int64_t max = 90 * 86400;
	uint8_t key[AGING_KEY_LEN] = { 0 };
	struct rotate_due d = { .max_age = max }, again;
	scoped_buf struct buf b = { 0 };
	int64_t least = max, most = 0, before = 0;

	for (size_t i = 0; i < array_size(bad); i++)
		ck_assert_msg(!rotate_due_decode(span_str(bad[i]), &again, NULL), "%s", bad[i]);
	for (int i = 0; i < 100; i++)
		rotate_due_add(&d, "a-host-with-a-name");
	buf_init(&b, ROTATE_BODY_MAX);
	rotate_due_encode(&d, &b);
	ck_assert(!b.over && rotate_due_decode(buf_span(&b), &again, NULL));
	ck_assert_int_eq(again.listed, 100);
	ck_assert(strlen(again.hosts) > 200 && again.max_age == max);

	/* Never older than it may be, and not all in one hour. */
	for (int i = 0; i < 1000; i++) {
		int64_t due;

		random_bytes(key, sizeof(key));
		due = aging_due((struct wall){ 1000 }, max, key).sec - 1000;
		ck_assert(due <= max && due >= max / 10 * 9);
		ck_assert_int_eq(aging_due((struct wall){ 1000 }, max, key).sec - 1000, due);
		least = due < least ? due : least;
		most = due > most ? due : most;
	}
	ck_assert_int_gt(most - least, max / 20);

	/* It grows, to a day and no further. */
	for (unsigned n = 1; n < 40; n++) {
		int64_t low = aging_pause(n, 0), high = aging_pause(n, UINT32_MAX);

		ck_assert(low >= 45 * SEC_NS && high <= 108000 * SEC_NS && low < high);
		ck_assert(low >= before && (n > 11 || low > before));
		before = low;
	}
	ck_assert_int_eq(before, 64800 * SEC_NS);
}
END_TEST

UNIT_MAIN("rotate", only_the_old_key_vouches, points_without_a_secret, proofs_are_read, turns_in_the_map,
          when_a_key_is_due)
