/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/world.h"

#include "base/mem.h"
#include "daemon/control/map.h"
#include "daemon/endpoint/claims.h"
#include "daemon/mesh/overlay.h"
#include "tests/unit/main.h"

#include <string.h>

enum { NOW = 1000 };

static struct ip v6_of(const struct map *map, uint8_t key)
{
	struct overlay o = { .v6 = map->ula, .v4 = map->v4 };
	struct device_key k;

	memset(k.b, key, sizeof(k.b));
	return overlay_v6(&o, &k);
}

/* Somebody with a session that holds; the address is the one that follows from the key. */
static struct map_node *node(const struct map *map, uint64_t id, uint8_t key, const char *v4)
{
	struct map_node *n = map_node_new();

	n->id = id;
	n->name = SPAN("node");
	memset(n->key, key, sizeof(n->key));
	n->v6 = v6_of(map, key);
	ck_assert(ip_parse(span_str(v4), &n->v4));
	n->user = arena_calloc(&n->mem, 1, sizeof(*n->user));
	n->user->id = id;
	n->user->login = SPAN("student@example.edu");
	n->session = arena_calloc(&n->mem, 1, sizeof(*n->session));
	n->session->id = id;
	n->session->expires.sec = NOW + 3600;
	return n;
}

/*
 * Of this node only its own key counts, whatever the map says that it is. Were an address that follows
 * from another key this node's, whoever has that key would be who the map says that we are: of
 * ourselves nobody asks for evidence.
 */
static void names_another(uint64_t self, uint64_t other)
{
	struct map_node *nodes[2];
	struct map map = { .whole = true, .self = self, .nodes = nodes, .node_count = 2 };
	struct claims_memory *memory = claims_memory_new();
	struct world *w = world_new(1);
	const struct party *p;
	uint8_t own[MAP_KEY_LEN];
	struct ip ip;

	ck_assert(prefix_parse(SPAN("fd00:1:2::/48"), &map.ula));
	ck_assert(prefix_parse(SPAN("100.64.0.0/10"), &map.v4));
	nodes[self > other] = node(&map, self, 7, "100.64.0.1");
	nodes[other > self] = node(&map, other, 7, "100.64.0.2");
	memset(own, 1, sizeof(own));
	world_set_key(w, own);
	world_set_map(w, &map, memory, (struct wall){ NOW });

	ip = v6_of(&map, 7);
	p = world_find_ip(w, &ip);
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(p->id, other);
	ip = v6_of(&map, 1);
	p = world_find_ip(w, &ip);
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(p->id, self);

	world_free(w);
	claims_memory_free(memory);
	map_node_unref(nodes[0]);
	map_node_unref(nodes[1]);
}

START_TEST(another_ones_key_is_not_ours)
{
	names_another(1, 2);
	names_another(2, 1);
	names_another(3, 5);
	names_another(5, 3);
}
END_TEST

UNIT_MAIN("world", another_ones_key_is_not_ours)
