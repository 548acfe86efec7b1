/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/world.h"

#include "base/diag.h"
#include "base/encode.h"
#include "daemon/control/map.h"
#include "daemon/endpoint/claims.h"
#include "daemon/endpoint/conf.h"
#include "daemon/proxy/snapshot.h"
#include "tests/unit/main.h"

#include <string.h>

/* The cookie that a browser had before its session was renewed: it goes on for a while, as whoever has the new one,
 * and no longer than that, nor than the session. */

enum { NOW = 1790000000, BOOT = 1000 };

static const char conf_text[] =
	"{ \"state-dir\": \"state\", \"run-dir\": \".\", \"mesh\": { \"hosts-file\": \"\" },\n"
	"  \"public\": { \"wiki\": { \"listen\": [\"192.0.2.1:443\"], \"tls\": true, \"hosts\": [\"wiki.example.edu\"],\n"
	"    \"browser\": \"https://wiki.example.edu\", \"upstream\": [\"http://127.0.0.1:5232\"] } } }";

struct rig {
	struct conf          *conf;
	struct world         *w;
	struct claims_memory *memory;
};

static struct world_now at(int64_t sec)
{
	return (struct world_now){ .wall = { .sec = NOW + sec }, .boot = { (BOOT + sec) * SEC_NS },
				   .lease = BOOT_NEVER, .silent = -1 };
}

static void begin(struct rig *r)
{
	struct diags d;

	diags_init(&d, "reeved.hujson");
	r->conf = conf_new(span_str(conf_text), "/", &d);
	ck_assert_ptr_nonnull(r->conf);
	diags_done(&d);
	r->memory = claims_memory_new();
	r->w = world_new(1);
	world_set_conf(r->w, r->conf, 1, at(0).wall);
}

static void end(struct rig *r)
{
	world_free(r->w);
	claims_memory_free(r->memory);
	conf_free(r->conf);
}

static void cookie(int which, uint8_t ret[MAP_KEY_LEN])
{
	memset(ret, which, MAP_KEY_LEN);
}

/* What the coordinator says: a browser with that cookie and session; session 0: with none. */
static void told(struct rig *r, int which, int session)
{
	uint8_t               key[MAP_KEY_LEN];
	scoped_buf struct buf b = { 0 }, text = { 0 };
	struct map            map;
	struct err            err = { 0 };

	cookie(which, key);
	buf_init(&text, 64);
	base64_add(&text, span_of(key, sizeof(key)));
	buf_init(&b, 4096);
	buf_addf(&b, "{\"op\":\"full\",\"v\":1,\"epoch\":\"00000000000000aa\",\"seq\":7,\"lease\":86400,\"now\":%d,\"mesh\":"
		     "{\"ula\":\"fd12:3456:789a::/48\",\"v4\":\"100.64.0.0/10\",\"name\":\"test\"},\"self\":\"n1\"}\n", NOW);
	buf_add_str(&b, "{\"op\":\"node\",\"seq\":7,\"node\":{\"id\":\"n1\",\"name\":\"wiki\",\"key\":"
			"\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\",\"v4\":\"100.64.0.1\",\"tags\":[\"tag:server\"]}}\n");
	buf_addf(&b, "{\"op\":\"node\",\"seq\":7,\"node\":{\"id\":\"n9\",\"name\":\"browser-9\",\"key\":\"%s\",\"browser\":\"wiki\","
		     "\"user\":{\"id\":\"u1\",\"issuer\":\"https://idp\",\"sub\":\"a\",\"login\":\"staff@example.edu\"}", text.ptr);
	if (session)
		buf_addf(&b, ",\"session\":{\"id\":\"s%d\",\"auth_time\":%d,\"expires\":%d,\"amr\":[]}", session, NOW, NOW + 3600);
	buf_add_str(&b, "}}\n{\"op\":\"policy\",\"seq\":7,\"text\":\"{}\"}\n{\"op\":\"end\",\"seq\":7}\n");
	map_init(&map);
	ck_assert_msg(map_load(&map, buf_span(&b), &err), "%s", err.msg);
	world_set_map(r->w, &map, r->memory, at(0).wall);
	map_done(&map);
}

/* Who has that cookie, as the public fronts see it. */
static uint32_t who_has(struct rig *r, int which, int64_t sec)
{
	struct world_now         now = at(sec);
	scoped_buf struct buf    block = { 0 };
	struct world_slot       *slots = NULL;
	uint32_t                 words[8] = { 0 }, slot, kind;
	uint8_t                  key[MAP_KEY_LEN];
	struct err               err = { 0 };
	size_t                   n;

	world_anchor(r->w, &now);
	ck_assert_msg(world_snapshot(r->w, &now, true, &block, &slots, &n, &err), "%s", err.msg);
	ck_assert_uint_le(n, 8);
	for (size_t i = 0; i < n; i++)
		words[i] = slots[i].generation;
	struct snapshot *s = snapshot_open_mem(block.ptr, block.len, words, n, &err);
	ck_assert_msg(s != NULL, "%s", err.msg);
	cookie(which, key);
	slot = snapshot_find_session(s, key);
	kind = slot == SLOT_NONE ? IDENT_NONE : snapshot_ident(s, slot)->kind;
	snapshot_unref(s);
	free(slots);
	return kind;
}

START_TEST(grace)
{
	struct rig r;

	begin(&r);
	told(&r, 2, 1);
	ck_assert_uint_eq(who_has(&r, 3, 0), IDENT_NONE);
	ck_assert_uint_eq(who_has(&r, 2, 0), IDENT_PERSON);
	ck_assert(!world_cookies(r.w, at(0).boot));
	ck_assert_int_gt(world_next_end(r.w, at(0).boot).ns, at(COOKIE_GRACE_SEC).boot.ns);

	told(&r, 3, 2);
	ck_assert(!world_cookies(r.w, at(5).boot));
	ck_assert_uint_eq(who_has(&r, 3, 5), IDENT_PERSON);
	ck_assert_uint_eq(who_has(&r, 2, 5), IDENT_PERSON);
	ck_assert_int_eq(world_next_end(r.w, at(5).boot).ns, at(5 + COOKIE_GRACE_SEC).boot.ns);
	/* The same once more, as after the stream broke, makes it no longer. */
	told(&r, 3, 2);
	ck_assert(!world_cookies(r.w, at(4 + COOKIE_GRACE_SEC).boot));
	ck_assert_uint_eq(who_has(&r, 2, 4 + COOKIE_GRACE_SEC), IDENT_PERSON);
	ck_assert(world_cookies(r.w, at(5 + COOKIE_GRACE_SEC).boot));
	ck_assert_uint_eq(who_has(&r, 2, 5 + COOKIE_GRACE_SEC), IDENT_NONE);
	ck_assert_uint_eq(who_has(&r, 3, 5 + COOKIE_GRACE_SEC), IDENT_PERSON);
	ck_assert(!world_cookies(r.w, at(6 + COOKIE_GRACE_SEC).boot));
	end(&r);
}
END_TEST

START_TEST(no_longer_than_the_session)
{
	struct rig r;

	begin(&r);
	told(&r, 2, 1);
	told(&r, 3, 2);
	ck_assert(!world_cookies(r.w, at(0).boot));
	ck_assert_uint_eq(who_has(&r, 2, 1), IDENT_PERSON);
	told(&r, 3, 0);
	ck_assert(!world_cookies(r.w, at(1).boot));
	ck_assert_uint_ne(who_has(&r, 2, 1), IDENT_PERSON);
	ck_assert_uint_ne(who_has(&r, 3, 1), IDENT_PERSON);
	end(&r);
}
END_TEST

/* Renewed twice within that time: the first of the three counts no more. */
START_TEST(one_before)
{
	struct rig r;

	begin(&r);
	told(&r, 2, 1);
	told(&r, 3, 2);
	ck_assert(!world_cookies(r.w, at(0).boot));
	told(&r, 4, 3);
	ck_assert(!world_cookies(r.w, at(10).boot));
	ck_assert_uint_eq(who_has(&r, 2, 10), IDENT_NONE);
	ck_assert_uint_eq(who_has(&r, 3, 10), IDENT_PERSON);
	ck_assert_uint_eq(who_has(&r, 4, 10), IDENT_PERSON);
	ck_assert(!world_cookies(r.w, at(9 + COOKIE_GRACE_SEC).boot));
	ck_assert(world_cookies(r.w, at(10 + COOKIE_GRACE_SEC).boot));
	end(&r);
}
END_TEST

UNIT_MAIN("world_cookie", grace, no_longer_than_the_session, one_before)
