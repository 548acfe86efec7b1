/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/map.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What a batch has said so far. Nothing of it counts before its end. */
struct change {
	uint64_t         id;
	struct map_node *node;          /* NULL: gone */
	size_t           order;         /* the last word on an id counts */
};

struct map_pending {
	bool            full;
	uint64_t        seq;
	char            epoch[MAP_EPOCH_LEN + 1];
	int64_t         lease;
	struct wall     now;
	struct prefix   ula, v4;
	char           *mesh_name;
	uint64_t        self;
	char           *policy;
	size_t          policy_len;
	bool            policy_set;
	struct change  *list;
	size_t          count, room;
};

void map_init(struct map *map)
{
	*map = (struct map){ 0 };
}

void map_abort(struct map *map)
{
	struct map_pending *p = take(map->pending);

	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++)
		map_node_unref(p->list[i].node);
	free(p->list);
	free(p->mesh_name);
	free(p->policy);
	free(p);
}

void map_done(struct map *map)
{
	map_abort(map);
	for (size_t i = 0; i < map->node_count; i++)
		map_node_unref(map->nodes[i]);
	free(map->nodes);
	free(map->mesh_name);
	free(map->policy);
	*map = (struct map){ 0 };
}

static size_t position(struct map_node *const *nodes, size_t count, uint64_t id)
{
	size_t lo = 0, hi = count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (nodes[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct map_node *map_find(const struct map *map, uint64_t id)
{
	size_t at = position(map->nodes, map->node_count, id);

	return at < map->node_count && map->nodes[at]->id == id ? map->nodes[at] : NULL;
}

const struct map_node *map_self(const struct map *map)
{
	return map->whole ? map_find(map, map->self) : NULL;
}

static bool add_change(struct map_pending *p, uint64_t id, struct map_node *node, struct err *err)
{
	if (p->count >= MAP_BATCH_MAX) {
		map_node_unref(node);
		return err_set(err, ERR_LIMIT, "a batch of more than %d lines", MAP_BATCH_MAX);
	}
	if (p->count == p->room) {
		p->room = p->room ? p->room * 2 : 16;
		p->list = mem_realloc(p->list, p->room, sizeof(*p->list));
	}
	p->list[p->count] = (struct change){ .id = id, .node = node, .order = p->count };
	p->count++;
	return true;
}

static int change_cmp(const void *va, const void *vb)
{
	const struct change *a = va, *b = vb;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

/* Sorted by id, one change for each. */
static void settle(struct map_pending *p)
{
	size_t n = 0;

	if (p->count)
		qsort(p->list, p->count, sizeof(*p->list), change_cmp);
	for (size_t i = 0; i < p->count; i++) {
		if (n && p->list[n - 1].id == p->list[i].id) {
			map_node_unref(p->list[n - 1].node);
			p->list[n - 1] = p->list[i];
		} else {
			p->list[n++] = p->list[i];
		}
	}
	p->count = n;
}

/* Both lists ascend; a full batch keeps nothing of the old one. */
static bool merge(struct map *map, struct map_pending *p, struct map_node ***ret, size_t *ret_n,
		  struct err *err)
{
	size_t            room = map->node_count + p->count, n = 0, i = 0, k = 0;
	struct map_node **out = mem_calloc(room ? room : 1, sizeof(*out));

	while (i < map->node_count || k < p->count) {
		if (k == p->count || (i < map->node_count && map->nodes[i]->id < p->list[k].id)) {
			if (!p->full)
				out[n++] = map->nodes[i];
			i++;
			continue;
		}
		if (i < map->node_count && map->nodes[i]->id == p->list[k].id)
			i++;
		if (p->list[k].node)
			out[n++] = p->list[k].node;
		k++;
	}
	uint64_t self = p->full ? p->self : map->self;
	size_t   at = position(out, n, self);
	if (n > MAP_NODES_MAX || at == n || out[at]->id != self) {
		free(out);
		return n > MAP_NODES_MAX
			       ? err_set(err, ERR_LIMIT, "more than %d nodes", MAP_NODES_MAX)
			       : err_set(err, ERR_PEER, "the map lacks its own node");
	}
	*ret = out;
	*ret_n = n;
	return true;
}

static bool finish(struct map *map, map_changed_fn *changed, void *arg,
		   enum map_applied *ret_applied, struct err *err)
{
	struct map_pending *p = map->pending;
	struct map_node   **next = NULL;
	size_t              next_count = 0;

	settle(p);
	if (!merge(map, p, &next, &next_count, err))
		return false;
	if (changed) {
		size_t i = 0, k = 0;

		if (p->full || p->policy_set)
			changed(arg, NULL, NULL);
		while (i < map->node_count || k < next_count) {
			struct map_node *old = i < map->node_count ? map->nodes[i] : NULL;
			struct map_node *new_ = k < next_count ? next[k] : NULL;

			if (old && new_ && old->id != new_->id) {
				if (old->id < new_->id)
					new_ = NULL;
				else
					old = NULL;
			}
			if (old != new_)
				changed(arg, old, new_);
			i += old != NULL;
			k += new_ != NULL;
		}
	}
	/* References: what stays is in both lists and keeps its one; what goes is dropped. */
	for (size_t i = 0, k = 0; i < map->node_count; i++) {
		while (k < next_count && next[k]->id < map->nodes[i]->id)
			k++;
		if (k == next_count || next[k] != map->nodes[i])
			map_node_unref(map->nodes[i]);
	}
	for (size_t k = 0; k < p->count; k++)
		p->list[k].node = NULL;         /* now next's */
	free(map->nodes);
	map->nodes = next;
	map->node_count = next_count;
	if (p->full) {
		memcpy(map->epoch, p->epoch, sizeof(map->epoch));
		map->lease = p->lease;
		map->ula = p->ula;
		map->v4 = p->v4;
		map->self = p->self;
		map->heard = p->now;
		swap(map->mesh_name, p->mesh_name);
		map->whole = true;
	}
	if (p->full || p->policy_set) {
		swap(map->policy, p->policy);
		map->policy_len = p->policy_len;
	}
	map->seq = p->seq;
	*ret_applied = p->full ? MAP_APPLIED_FULL : MAP_APPLIED_BATCH;
	map_abort(map);
	return true;
}

static bool begin(struct map *map, struct map_msg *m, struct err *err)
{
	struct map_pending *p = map->pending;

	if (m->op == MAP_FULL) {
		if (p)
			return err_set(err, ERR_PEER, "a full map inside a batch");
		p = map->pending = mem_alloc(sizeof(*p));
		p->full = true;
		p->seq = m->seq;
		if (!span_cstr(m->epoch, p->epoch, sizeof(p->epoch)))
			return err_set(err, ERR_PEER, "the epoch is %zu bytes", m->epoch.len);
		p->lease = m->lease;
		p->now = m->now;
		p->ula = m->mesh.ula;
		p->v4 = m->mesh.v4;
		p->mesh_name = span_dup(m->mesh.name);
		p->self = m->id;
		return true;
	}
	if (!p) {
		if (!map->whole)
			return err_set(err, ERR_PEER, "a change before any full map");
		if (m->seq <= map->seq)
			return err_set(err, ERR_PEER, "seq %llu after %llu",
				       (unsigned long long)m->seq, (unsigned long long)map->seq);
		p = map->pending = mem_alloc(sizeof(*p));
		p->seq = m->seq;
	}
	if (m->seq != p->seq)
		return err_set(err, ERR_PEER, "seq %llu inside the batch %llu",
			       (unsigned long long)m->seq, (unsigned long long)p->seq);
	return true;
}

static bool apply(struct map *map, struct map_msg *m, map_changed_fn *changed, void *arg,
                  enum map_applied *ret_applied, struct err *err)
{
	*ret_applied = MAP_APPLIED_PART;
	if (m->op == MAP_BEAT) {
		map->heard = m->now;
		*ret_applied = MAP_APPLIED_BEAT;
		return true;
	}
	if (!begin(map, m, err))
		return false;
	struct map_pending *p = map->pending;
	switch (m->op) {
	case MAP_FULL:
		return true;
	case MAP_NODE: {
		struct map_node *n = take(m->node);

		return add_change(p, n->id, n, err);
	}
	case MAP_GONE:
		return add_change(p, m->id, NULL, err);
	case MAP_POLICY:
		free(p->policy);
		p->policy = mem_dup(m->text.ptr, m->text.len);
		p->policy_len = m->text.len;
		p->policy_set = true;
		return true;
	case MAP_END:
		return finish(map, changed, arg, ret_applied, err);
	case MAP_BEAT:
	case MAP_UNKNOWN:
		break;
	}
	return err_set(err, ERR_PEER, "an op that means nothing here");
}

bool map_apply(struct map *map, struct map_msg *m, map_changed_fn *changed, void *arg,
               enum map_applied *ret_applied, struct err *err)
{
	enum map_applied applied;

	if (!apply(map, m, changed, arg, &applied, err)) {
		map_abort(map);
		return false;
	}
	*ret_applied = applied;
	return true;
}

/* ---- as a file ---- */

void map_store(const struct map *map, struct buf *out)
{
	struct map_msg m = {
		.op = MAP_FULL, .seq = map->seq, .v = MAP_VERSION, .epoch = span_str(map->epoch),
		.lease = map->lease, .now = map->heard, .id = map->self,
		.mesh = { .ula = map->ula, .v4 = map->v4, .name = span_str(map->mesh_name) },
	};

	if (!map->whole)
		return;
	map_msg_encode(&m, out);
	for (size_t i = 0; i < map->node_count; i++) {
		struct map_msg n = { .op = MAP_NODE, .seq = map->seq, .node = map->nodes[i] };

		map_msg_encode(&n, out);
	}
	if (map->policy) {
		struct map_msg t = {
			.op = MAP_POLICY, .seq = map->seq, .text = {map->policy, map->policy_len}};

		map_msg_encode(&t, out);
	}
	struct map_msg e = { .op = MAP_END, .seq = map->seq };
	map_msg_encode(&e, out);
}

static bool load_one(void *arg, struct map_msg *m, struct err *err)
{
	enum map_applied applied;

	return map_apply(arg, m, NULL, NULL, &applied, err);
}

bool map_load(struct map *map, struct span text, struct err *err)
{
	struct map_reader r;
	struct map        next;

	map_init(&next);
	map_reader_init(&r);
	bool ok = map_reader_feed(&r, text, load_one, &next, err) &&
	          map_reader_feed(&r, SPAN("\n"), load_one, &next, err);
	map_reader_done(&r);
	if (ok && (!next.whole || next.pending))
		ok = err_set(err, ERR_SYNTAX, "the map has no end");
	if (ok)
		swap(*map, next);
	map_done(&next);
	return ok;
}
