/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/glass.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/mesh/overlay.h"

#include <stdlib.h>
#include <string.h>

#define GLASS_TAG "tag:break-glass-"

static const struct conf_glass *entry(const struct conf *conf, size_t i)
{
	return (const struct conf_glass *)conf->glass.items + i;
}

static bool key_of(const struct conf_glass *g, uint8_t ret_key[MAP_KEY_LEN])
{
	size_t n;

	return base64_decode(span_str(g->key), ret_key, MAP_KEY_LEN, &n) && n == MAP_KEY_LEN;
}

bool glass_find(const struct conf *conf, const uint8_t key[MAP_KEY_LEN], size_t *ret_i)
{
	for (size_t i = 0; i < conf->glass.count; i++) {
		uint8_t one[MAP_KEY_LEN];

		if (key_of(entry(conf, i), one) && memcmp(one, key, sizeof(one)) == 0) {
			*ret_i = i;
			return true;
		}
	}
	return false;
}

static bool is_tag(struct span tag)
{
	return span_starts(tag, SPAN(GLASS_TAG));
}

bool glass_is(const struct map_node *n)
{
	return n->tags.count == 1 && is_tag(n->tags.list[0]);
}

static bool claims_tag(const struct map_node *n)
{
	for (size_t i = 0; i < n->tags.count; i++)
		if (is_tag(n->tags.list[i]))
			return true;
	return false;
}

/* A copy that may be changed. */
static struct map_node *copy(const struct map_node *n)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 4 * MAP_NODE_LINE_MAX);
	map_node_encode(n, &b);
	return map_node_decode(buf_span(&b), NULL);
}

static void become(struct map_node *n, const char *name)
{
	n->tags.list = arena_calloc(&n->mem, 1, sizeof(struct span));
	n->tags.list[0] = arena_printf(&n->mem, GLASS_TAG "%s", name);
	n->tags.count = 1;
	n->user = NULL;
	n->session = NULL;
	n->evidence = NULL;
	/* The owner listed this key, and no other. */
	n->next = n->was = NULL;
}

/* As it counts; NULL: not at all. */
static struct map_node *counts(const struct conf *conf, struct map_node *from, bool *seen)
{
	struct map_node *n;
	size_t i, kept = 0;

	if (glass_find(conf, from->key, &i)) {
		seen[i] = true;
		n = copy(from);
		if (n)
			become(n, conf->glass.names[i]);
		return n;
	}
	if (!claims_tag(from))
		return map_node_ref(from);
	n = copy(from);
	for (i = 0; n && i < n->tags.count; i++)
		if (!is_tag(n->tags.list[i]))
			n->tags.list[kept++] = n->tags.list[i];
	if (n)
		n->tags.count = kept;
	return n;
}

static struct map_node *made(const struct conf *conf, const struct map *map, size_t i)
{
	struct overlay o = { .v6 = map->ula, .v4 = map->v4 };
	struct map_node *n = map_node_new();
	struct device_key key;

	/* Ids of the coordinator's count up from 1. */
	n->id = INT64_MAX - conf->glass.count + i;
	n->name = arena_printf(&n->mem, "%s", conf->glass.names[i]);
	key_of(entry(conf, i), n->key);
	memcpy(key.b, n->key, sizeof(key.b));
	n->v6 = overlay_v6(&o, &key);
	become(n, conf->glass.names[i]);
	return n;
}

void glass_map(const struct conf *conf, const struct map *map, struct map *ret_map)
{
	bool *seen = mem_calloc(conf->glass.count + 1, sizeof(*seen));
	const struct map_node *self = map_self(map);

	*ret_map = *map;
	ret_map->nodes = mem_calloc(map->node_count + conf->glass.count + 1, sizeof(*ret_map->nodes));
	ret_map->node_count = 0;
	for (size_t i = 0; i < map->node_count; i++) {
		struct map_node *n = map->nodes[i] == self ? map_node_ref(map->nodes[i])
		                                           : counts(conf, map->nodes[i], seen);

		if (n)
			ret_map->nodes[ret_map->node_count++] = n;
	}
	for (size_t i = 0; map->whole && i < conf->glass.count; i++)
		if (!seen[i])
			ret_map->nodes[ret_map->node_count++] = made(conf, map, i);
	free(seen);
}

void glass_map_done(struct map *map)
{
	for (size_t i = 0; i < map->node_count; i++)
		map_node_unref(map->nodes[i]);
	free(map->nodes);
	memset(map, 0, sizeof(*map));
}

/* ---- rules ---- */

static json_t *words(const struct conf_strs *from, const char *prefix)
{
	json_t *a = json_array();

	for (size_t i = 0; i < from->count; i++)
		json_array_append_new(a, json_sprintf("%s%s", prefix, from->list[i]));
	return a;
}

bool glass_policy(const struct conf *conf, struct span text, struct buf *out, struct err *err)
{
	struct diags d;
	scoped_hujson struct hujson *doc = NULL;
	scoped_json json_t *root = NULL;
	json_t *grants;
	char *all;

	diags_init(&d, "policy");
	doc = hujson_parse(text.len ? text : SPAN("{}"), HUJSON_TEXT_MAX, &d);
	diags_done(&d);
	root = doc ? json_deep_copy(hujson_root(doc)) : NULL;
	if (!json_is_object(root))
		return err_set(err, ERR_SYNTAX, "the policy is no object");
	grants = json_object_get(root, "grants");
	if (!grants) {
		json_object_set_new(root, "grants", json_array());
		grants = json_object_get(root, "grants");
	}
	if (!json_is_array(grants))
		return err_set(err, ERR_SYNTAX, "\"grants\" is no array");
	for (size_t i = 0; i < conf->glass.count; i++) {
		const struct conf_glass *g = entry(conf, i);

		if (g->services.count)
			json_array_append_new(grants, json_pack("{s:[o], s:o}", "src",
				json_sprintf(GLASS_TAG "%s", conf->glass.names[i]), "dst", words(&g->services, "svc:")));
		if (g->ip.count)
			json_array_append_new(grants, json_pack("{s:[o], s:[s], s:o}", "src",
				json_sprintf(GLASS_TAG "%s", conf->glass.names[i]), "dst", "*", "ip", words(&g->ip, "")));
	}
	all = json_dumps(root, JSON_COMPACT);
	buf_add_str(out, all ? all : "");
	free(all);
	return !out->over || err_set(err, ERR_LIMIT, "the policy is too large");
}
