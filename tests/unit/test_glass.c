/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/glass.h"

#include "base/mem.h"
#include "daemon/mesh/overlay.h"
#include "tests/unit/main.h"

#include <string.h>

#define KEY1 "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
#define KEY9 "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="

static struct conf *conf_of(const char *text, bool *ret_ok)
{
	struct diags d;
	struct conf *c;

	diags_init(&d, "test");
	c = conf_new(span_str(text), "/", &d);
	diags_done(&d);
	*ret_ok = c != NULL;
	return c;
}

START_TEST(entries)
{
	static const struct { const char *text; bool ok; } rows[] = {
		{ "{ \"break-glass\": { \"ops\": {} } }", false },
		{ "{ \"break-glass\": { \"ops\": { \"key\": \"short\" } } }", false },
		{ "{ \"break-glass\": { \"Ops!\": { \"key\": \"" KEY1 "\" } } }", false },
		{ "{ \"break-glass\": { \"ops\": { \"key\": \"" KEY1 "\", \"all\": true } } }", false },
		{ "{ \"break-glass\": { \"ops\": { \"key\": \"" KEY1 "\" } } }", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		bool ok;

		conf_free(conf_of(rows[i].text, &ok));
		ck_assert_msg(ok == rows[i].ok, "row %zu", i);
	}
}
END_TEST

static struct map_node *node(uint64_t id, uint8_t key, const char *tag)
{
	struct map_node *n = map_node_new();

	n->id = id;
	n->name = arena_copy(&n->mem, SPAN("host"));
	memset(n->key, key, sizeof(n->key));
	n->v4 = (struct ip){ .family = IP_V4, .b = { 100, 64, 0, key } };
	if (tag) {
		n->tags.list = arena_calloc(&n->mem, 1, sizeof(struct span));
		n->tags.list[0] = arena_copy(&n->mem, span_str(tag));
		n->tags.count = 1;
	} else {
		n->user = arena_alloc(&n->mem, sizeof(*n->user));
		memset(n->user, 0, sizeof(*n->user));
		n->user->id = 1;
		n->user->issuer = n->user->sub = n->user->login = SPAN("https://i");
	}
	return n;
}

START_TEST(the_owners_keys_and_nobody_else)
{
	bool ok;
	struct conf *c = conf_of("{ \"break-glass\": { \"ops\": { \"key\": \"" KEY1 "\" }, \"far\": { \"key\": \"" KEY9 "\" } } }", &ok);
	struct map_node *list[] = { node(1, 7, "tag:server"), node(2, 2, "tag:break-glass-ops"), node(3, 1, NULL) };
	struct map map = { .whole = true, .self = 1, .nodes = list, .node_count = 3 }, seen;
	struct overlay o = { 0 };
	struct device_key far;
	struct ip v6;

	ck_assert(ok && prefix_parse(SPAN("fd00:1:2::/48"), &map.ula) && prefix_parse(SPAN("100.64.0.0/10"), &map.v4));
	glass_map(c, &map, &seen);
	ck_assert_uint_eq(seen.node_count, 4);
	ck_assert_ptr_eq(seen.nodes[0], list[0]);
	ck_assert_uint_eq(seen.nodes[1]->tags.count, 0);        /* a tag that the map gave */
	ck_assert(!glass_is(seen.nodes[1]));
	ck_assert(glass_is(seen.nodes[2]) && !seen.nodes[2]->user && span_eq(seen.nodes[2]->tags.list[0], SPAN("tag:break-glass-ops")));
	ck_assert(ip_eq(&seen.nodes[2]->v4, &list[2]->v4));
	ck_assert(glass_is(seen.nodes[3]) && seen.nodes[3]->id > 3 && span_eq(seen.nodes[3]->name, SPAN("far")));
	o.v6 = map.ula;
	o.v4 = map.v4;
	memset(far.b, 9, sizeof(far.b));
	v6 = overlay_v6(&o, &far);
	ck_assert(ip_eq(&seen.nodes[3]->v6, &v6) && seen.nodes[3]->v4.family == IP_NONE);
	glass_map_done(&seen);
	map.whole = false;
	glass_map(c, &map, &seen);
	ck_assert_uint_eq(seen.node_count, 3);
	glass_map_done(&seen);
	for (size_t i = 0; i < array_size(list); i++)
		map_node_unref(list[i]);
	conf_free(c);
}
END_TEST

START_TEST(what_entries_grant)
{
	bool ok;
	struct conf *c = conf_of("{ \"break-glass\": { \"ops\": { \"key\": \"" KEY1 "\", \"services\": [\"wiki\"], \"ip\": [\"tcp:22\"] } } }", &ok);
	struct err err = { 0 };
	struct buf b;

	ck_assert(ok);
	buf_init(&b, 1 << 16);
	ck_assert(!glass_policy(c, SPAN("[]"), &b, &err));
	ck_assert(!glass_policy(c, SPAN("{ \"grants\": 1 }"), &b, &err));
	ck_assert(!glass_policy(c, SPAN("{"), &b, &err));
	buf_clear(&b);
	ck_assert_msg(glass_policy(c, SPAN("{ \"grants\": [ { \"src\": [\"a\"] }, ] } // HuJSON"), &b, &err), "%s", err.msg);
	ck_assert_str_eq(b.ptr, "{\"grants\":[{\"src\":[\"a\"]},{\"src\":[\"tag:break-glass-ops\"],\"dst\":[\"svc:wiki\"]},"
	                 "{\"src\":[\"tag:break-glass-ops\"],\"dst\":[\"*\"],\"ip\":[\"tcp:22\"]}]}");
	buf_clear(&b);
	ck_assert(glass_policy(c, (struct span){ 0 }, &b, &err) && strstr(b.ptr, "svc:wiki"));
	buf_done(&b);
	conf_free(c);
}
END_TEST

UNIT_MAIN("glass", entries, the_owners_keys_and_nobody_else, what_entries_grant)
