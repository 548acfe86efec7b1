/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SOURCE_PARTS_MAX = 4096 };       /* of one gateway's routes, cut where rules' sources end */

/* ---- the heap of deadlines ---- */

static void heap_set(struct compile *c, size_t i, struct peer *p)
{
	c->heap[i] = p;
	p->heap = i + 1;
}

static void heap_up(struct compile *c, size_t i)
{
	struct peer *p = c->heap[i];

	while (i && c->heap[(i - 1) / 2]->out.until.sec > p->out.until.sec) {
		heap_set(c, i, c->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_set(c, i, p);
}

static void heap_down(struct compile *c, size_t i)
{
	struct peer *p = c->heap[i];

	for (;;) {
		size_t k = 2 * i + 1;

		if (k >= c->heap_count)
			break;
		if (k + 1 < c->heap_count && c->heap[k + 1]->out.until.sec < c->heap[k]->out.until.sec)
			k++;
		if (c->heap[k]->out.until.sec >= p->out.until.sec)
			break;
		heap_set(c, i, c->heap[k]);
		i = k;
	}
	heap_set(c, i, p);
}

static void heap_remove(struct compile *c, struct peer *p)
{
	size_t i = p->heap - 1;

	if (!p->heap)
		return;
	p->heap = 0;
	if (i == --c->heap_count)
		return;
	heap_set(c, i, c->heap[c->heap_count]);
	heap_up(c, i);
	heap_down(c, c->heap[i]->heap - 1);
}

static void heap_place(struct compile *c, struct peer *p)
{
	heap_remove(c, p);
	if (p->out.until.sec == INT64_MAX)
		return;
	if (c->heap_count == c->heap_cap) {
		c->heap_cap = c->heap_cap ? c->heap_cap * 2 : 64;
		c->heap = mem_realloc(c->heap, c->heap_cap, sizeof(struct peer *));
	}
	c->heap[c->heap_count] = p;
	heap_up(c, c->heap_count++);
}

/* ---- peers ---- */

static void changed(struct compile *c, struct peer *p)
{
	if (p->dirty)
		return;
	p->dirty = true;
	if (c->changed.count == c->changed.cap) {
		c->changed.cap = c->changed.cap ? c->changed.cap * 2 : 64;
		c->changed.list = mem_realloc(c->changed.list, c->changed.cap, sizeof(*c->changed.list));
	}
	c->changed.list[c->changed.count++] = p->node;
}

static void drop_sources(struct compile *c, struct peer *p)
{
	for (size_t i = 0; i < p->source_count; i++)
		class_drop(c, p->sources[i].class);
	free(p->sources);
	p->sources = NULL;
	p->source_count = 0;
}

struct add_source { struct compile *c; struct peer *p; uint32_t class; };

static void add_source(void *arg, const struct prefix *prefix)
{
	struct add_source *x = arg;
	struct peer *p = x->p;

	p->sources = mem_realloc(p->sources, p->source_count + 1, sizeof(*p->sources));
	p->sources[p->source_count++] = (struct source){ *prefix, x->class };
	x->c->classes[x->class].refs++;
}

/* The routes of a gateway, cut where a rule's source begins or ends. */
static void make_sources(struct compile *c, struct peer *p, const struct topology_node *n)
{
	struct ipset *parts = mem_calloc(1, sizeof(*parts));
	size_t count = 1;

	for (size_t i = 0; i < n->route_count; i++)
		if (n->routes[i].bits > 0)
			ipset_add(&parts[0], &n->routes[i]);
	for (size_t r = 0; r < c->rule_count && !ipset_empty(&parts[0]); r++)
		for (size_t s = 0; s < c->rules[r].rule->src_count; s++) {
			const struct selector *sel = &c->rules[r].rule->src[s];
			size_t before = count;

			for (size_t i = 0; sel->kind == SEL_IPS && i < before && count < SOURCE_PARTS_MAX; i++) {
				if (!ipset_overlaps(&parts[i], sel->ips) || ipset_covers(sel->ips, &parts[i]))
					continue;
				parts = mem_realloc(parts, count + 1, sizeof(*parts));
				memset(&parts[count], 0, sizeof(*parts));
				ipset_intersect(&parts[i], sel->ips, &parts[count++]);
				ipset_remove_set(&parts[i], sel->ips);
			}
		}
	for (size_t i = 0; i < count; i++) {
		struct add_source x = { c, p, 0 };

		if (!ipset_empty(&parts[i]) && gather_route(c, n, &parts[i], &c->scratch)) {
			x.class = class_take(c, &c->scratch);
			ipset_prefixes(&parts[i], add_source, &x);
			class_drop(c, x.class);
		}
		ipset_done(&parts[i]);
	}
	free(parts);
}

static bool opens_something(const struct compile *c, uint32_t id)
{
	const struct class *cl = class_get(c, id);

	return cl && cl->row_count;
}

static bool key_needs_login(const struct u32s *key)
{
	for (size_t i = 0; i < key->count; i++)
		if ((key->list[i] & 3) != STATE_HOLDS)
			return true;
	return false;
}

static uint32_t class_for(struct compile *c, const struct topology_node *n, uint8_t family, const struct facts *f,
                          bool replies, bool *ret_more, struct wall *ret_until)
{
	struct facts later = *f;
	bool would;

	if (gather(c, n, family, f, &c->scratch, ret_until)) {
		*ret_more |= key_needs_login(&c->scratch);
		if (c->scratch.count || replies)
			return class_take(c, &c->scratch);
		if (n->tags.count)
			return CLASS_NONE;
	}
	later.as_if = true;
	would = gather(c, n, family, &later, &c->scratch, NULL) && c->scratch.count;
	*ret_more |= would;
	return would && c->opt.login_class ? CLASS_LOGIN : CLASS_NONE;
}

void peer_update(struct compile *c, uint64_t id, struct wall now)
{
	const struct topology_node *n = id == c->self ? NULL : topology_node(c->topo, id);
	struct span key = span_of(&id, sizeof(id));
	struct peer *p = dict_find(c->peers, key);
	struct compile_peer out = { .until = TOPOLOGY_NEVER };
	struct wall until[2] = { TOPOLOGY_NEVER, TOPOLOGY_NEVER };
	struct facts f = { .now = now };
	bool had_sources;

	if (!n) {
		if (!p)
			return;
		changed(c, p);
		heap_remove(c, p);
		drop_sources(c, p);
		class_drop(c, p->out.class4);
		class_drop(c, p->out.class6);
		dict_remove(c->peers, key);
		free(p);
		return;
	}
	if (!p) {
		p = mem_alloc(sizeof(*p));
		p->node = id;
		p->out = (struct compile_peer){ .until = TOPOLOGY_NEVER };
		dict_put(c->peers, key, p);
		changed(c, p);
	}
	out.we_call = we_call(c, n);
	out.class4 = class_for(c, n, IP_V4, &f, out.we_call, &out.after_login, &until[0]);
	out.class6 = class_for(c, n, IP_V6, &f, out.we_call, &out.after_login, &until[1]);
	out.until = until[0].sec < until[1].sec ? until[0] : until[1];
	out.calls_us = opens_something(c, out.class4) || opens_something(c, out.class6);
	had_sources = p->source_count > 0;
	drop_sources(c, p);
	if (n->route_count && (n->tags.count || n->user)) {
		make_sources(c, p, n);
		if (n->tags.count || session_holds(n, now)) {
			out.calls_us |= p->source_count > 0;
		} else {
			/* Nothing behind it passes while nobody answers for it. */
			out.after_login |= p->source_count > 0;
			drop_sources(c, p);
		}
	}
	out.visible = out.calls_us || out.we_call || out.after_login;
	if (out.class4 != p->out.class4 || out.class6 != p->out.class6 || out.visible != p->out.visible ||
	    out.calls_us != p->out.calls_us || out.we_call != p->out.we_call ||
	    out.after_login != p->out.after_login || out.until.sec != p->out.until.sec || had_sources ||
	    p->source_count)
		changed(c, p);
	class_drop(c, p->out.class4);
	class_drop(c, p->out.class6);
	p->out = out;
	heap_place(c, p);
}

static void update_all(struct compile *c, struct wall now)
{
	const struct topology_node *n;
	size_t pos = 0;

	while ((n = topology_node_next(c->topo, &pos)))
		peer_update(c, n->id, now);
}

struct compile *compile_rules(struct policy *pol, struct policy *owner, const struct topology *topo,
                              uint64_t self, const struct compile_options *opt)
{
	struct compile *c = mem_alloc(sizeof(*c));

	c->pol = policy_ref(pol);
	c->owner = owner ? policy_ref(owner) : NULL;
	c->topo = topo;
	c->self = self;
	if (opt)
		c->opt = *opt;
	c->peers = dict_new();
	c->generation = 1;
	localise(c);
	login_rows(c);
	return c;
}

struct compile *compile_new(struct policy *pol, struct policy *owner, const struct topology *topo,
                            uint64_t self, const struct compile_options *opt, struct wall now)
{
	struct compile *c = compile_rules(pol, owner, topo, self, opt);

	update_all(c, now);
	return c;
}

static bool opens(const struct compile *c, const struct u32s *key)
{
	for (size_t i = 0; i < key->count; i++)
		if (c->rules[key->list[i] >> 2].cover_count)
			return true;
	return false;
}

bool compile_sees(struct compile *c, const struct topology_node *n)
{
	const struct facts later = { .as_if = true };
	struct peer behind = { 0 };
	bool some;

	if (n->id == c->self)
		return false;
	if (we_call(c, n) || (gather(c, n, IP_V4, &later, &c->scratch, NULL) && opens(c, &c->scratch)) ||
	    (gather(c, n, IP_V6, &later, &c->scratch, NULL) && opens(c, &c->scratch)))
		return true;
	if (!n->route_count || (!n->tags.count && !n->user))
		return false;
	make_sources(c, &behind, n);
	some = behind.source_count > 0;
	drop_sources(c, &behind);
	return some;
}

static void peers_free(struct compile *c)
{
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(c->peers, &pos, &key, &value)) {
		struct peer *p = value;

		free(p->sources);
		free(p);
	}
	dict_free(c->peers);
}

void compile_free(struct compile *c)
{
	if (!c)
		return;
	peers_free(c);
	classes_done(c);
	localise_done(c);
	policy_unref(c->pol);
	policy_unref(c->owner);
	free(c->heap);
	free(c->changed.list);
	free(c->fresh.list);
	free(c->gone.list);
	free(c->free_ids.list);
	free(c->scratch.list);
	free(c->login_rows);
	free(c);
}

void compile_node(struct compile *c, uint64_t node, struct wall now)
{
	if (node == c->self)
		compile_self(c, now);
	else
		peer_update(c, node, now);
}

void compile_user(struct compile *c, uint64_t user, struct wall now)
{
	const struct topology_node *self = topology_node(c->topo, c->self);
	const uint64_t *ids;
	size_t n;

	/* Then everything may mean something else here, and every node is looked at anyway. */
	if (self && self->tags.count == 0 && self->user == user) {
		compile_self(c, now);
		return;
	}
	ids = topology_devices(c->topo, user, &n);
	for (size_t i = 0; i < n; i++)
		peer_update(c, ids[i], now);
}

static int cmp_old(const void *x, const void *y)
{
	const struct old_class *a = x, *b = y;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

static bool same_dests(const struct dest *a, size_t an, const struct dest *b, size_t bn)
{
	bool same = an == bn;

	for (size_t i = 0; same && i < an; i++)
		same = a[i].lo == b[i].lo && a[i].hi == b[i].hi && a[i].family == b[i].family &&
		       a[i].local == b[i].local && a[i].id == b[i].id;
	return same;
}

/* The local rules of before are handed out; c has none until localise(). */
static struct compile set_aside(struct compile *c)
{
	struct compile was = *c;

	memset(&c->in, 0, sizeof(c->in));
	memset(&c->out, 0, sizeof(c->out));
	c->rules = NULL;
	c->dests = NULL;
	c->rule_count = c->service_count = c->front_port_count = c->dest_count = c->out_route_count = 0;
	c->out_internet = c->out_services = false;
	c->self_user = 0;
	return was;
}

/* Everything anew, but a class that means the same to the packet filter keeps
 * its id: what is loaded there stays. */
static void compile_all(struct compile *c, const struct compile *was, struct wall now)
{
	size_t live = 0;
	const struct topology_node *n;
	struct span key;
	void *value;
	size_t pos = 0;

	c->old = mem_calloc(c->class_count + 1, sizeof(*c->old));
	for (size_t i = CLASS_FIRST; i < c->class_count; i++) {
		struct class *cl = &c->classes[i];

		if (!cl->id)
			continue;
		c->old[live++] = (struct old_class){ .rows = cl->rows, .row_count = cl->row_count, .id = cl->id,
			.hash = rows_hash(cl->rows, cl->row_count) };
		cl->rows = NULL;
		free(cl->key);
		free(cl->http);
		free(cl->caps);
		memset(cl, 0, sizeof(*cl));
	}
	qsort(c->old, live, sizeof(*c->old), cmp_old);
	if (c->bucket_count)
		memset(c->buckets, 0, c->bucket_count * sizeof(*c->buckets));
	c->live = 0;
	c->old_count = same_dests(was->dests, was->dest_count, c->dests, c->dest_count) ? live : 0;

	/* The references of before are void; what a peer had is compared by id. */
	while (dict_next(c->peers, &pos, &key, &value)) {
		struct peer *p = value;

		changed(c, p);
		free(p->sources);
		p->sources = NULL;
		p->source_count = 0;
		p->out.class4 = p->out.class6 = CLASS_NONE;
	}
	for (pos = 0; (n = topology_node_next(c->topo, &pos));)
		peer_update(c, n->id, now);
	pos = 0;
	while (dict_next(c->peers, &pos, &key, &value)) {
		struct peer *p = value;

		if (p->node == c->self || !topology_node(c->topo, p->node)) {
			heap_remove(c, p);
			dict_remove(c->peers, key);
			free(p);
		}
	}
	for (size_t i = 0; i < live; i++) {
		if (!c->old[i].taken) {
			bool heard = true;

			for (size_t k = c->fresh.count; k > 0; k--)
				if (c->fresh.list[k - 1] == c->old[i].id) {
					c->fresh.list[k - 1] = c->fresh.list[--c->fresh.count];
					heard = false;
					break;
				}
			u32s_add(heard ? &c->gone : &c->free_ids, c->old[i].id);
		}
		free(c->old[i].rows);
	}
	free(c->old);
	c->old = NULL;
	c->old_count = 0;
	c->generation++;
}

void compile_self(struct compile *c, struct wall now)
{
	struct compile was = set_aside(c);

	localise(c);
	login_rows(c);
	compile_all(c, &was, now);
	localise_done(&was);
}

void compile_policy(struct compile *c, struct policy *pol, struct policy *owner, struct wall now)
{
	struct compile was = set_aside(c);

	c->pol = policy_ref(pol);
	c->owner = owner ? policy_ref(owner) : NULL;
	localise(c);
	login_rows(c);
	if (!repolicy(c, &was, now))
		compile_all(c, &was, now);
	localise_done(&was);
	policy_unref(was.pol);
	policy_unref(was.owner);
}

struct wall compile_tick(struct compile *c, struct wall now)
{
	while (c->heap_count && c->heap[0]->out.until.sec <= now.sec)
		peer_update(c, c->heap[0]->node, now);
	return c->heap_count ? c->heap[0]->out.until : TOPOLOGY_NEVER;
}

size_t compile_changed(struct compile *c, uint64_t *ret_nodes, size_t max)
{
	size_t n = 0;

	while (n < max && c->changed.count) {
		uint64_t id = c->changed.list[--c->changed.count];
		struct peer *p = dict_find(c->peers, span_of(&id, sizeof(id)));

		if (p)
			p->dirty = false;
		ret_nodes[n++] = id;
	}
	return n;
}

bool compile_peer(const struct compile *c, uint64_t node, struct compile_peer *ret_peer)
{
	const struct peer *p = dict_find(c->peers, span_of(&node, sizeof(node)));

	if (!p)
		return false;
	*ret_peer = p->out;
	return true;
}

struct span compile_caps(const struct compile *c, uint32_t class)
{
	const struct class *cl = class < c->class_count ? &c->classes[class] : NULL;

	return cl && cl->id == class && cl->caps ? span_str(cl->caps) : SPAN("{}");
}

void compile_sources(const struct compile *c, compile_source_fn *fn, void *arg)
{
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(c->peers, &pos, &key, &value)) {
		const struct peer *p = value;

		for (size_t i = 0; i < p->source_count; i++)
			fn(arg, p->node, &p->sources[i].prefix, p->sources[i].class);
	}
}

struct dest_out { compile_dest_fn *fn; void *arg; uint32_t id; bool local; };

static void dest_prefix(void *arg, const struct prefix *p)
{
	struct dest_out *x = arg;

	x->fn(x->arg, x->id, p, x->local);
}

void compile_dests(const struct compile *c, compile_dest_fn *fn, void *arg)
{
	for (size_t i = 0; i < c->dest_count; i++) {
		struct ip_range r = { c->dests[i].lo, c->dests[i].hi };
		struct ipset one = { 0 };
		struct dest_out x = { fn, arg, c->dests[i].id, c->dests[i].local };

		*(c->dests[i].family == IP_V4 ? &one.v4 : &one.v6) = (struct ip_ranges){ &r, 1, 1 };
		ipset_prefixes(&one, dest_prefix, &x);
	}
}

void compile_rows(const struct compile *c, uint32_t class, compile_row_fn *fn, void *arg)
{
	const struct class *cl = class_get(c, class);
	const struct row *rows = cl ? cl->rows : class == CLASS_LOGIN ? c->login_rows : NULL;
	size_t n = cl ? cl->row_count : class == CLASS_LOGIN ? c->login_row_count : 0;

	for (size_t i = 0; i < n;) {
		struct compile_row out = { class, rows[i].dest, rows[i].proto, rows[i].lo, rows[i].hi, rows[i].stale };

		/* Rows that differ only in the rule that opens them are one to a packet filter. */
		for (i++; i < n && rows[i].dest == out.dest && rows[i].proto == out.proto && rows[i].stale == out.stale &&
		     rows[i].lo == (uint32_t)out.hi + 1; i++)
			out.hi = rows[i].hi;
		fn(arg, &out);
	}
}

int64_t compile_class_stale(const struct compile *c, uint32_t class)
{
	const struct class *cl = class_get(c, class);

	return cl ? cl->stale : INT64_MAX;
}

void compile_classes(const struct compile *c, compile_class_fn *fn, void *arg)
{
	for (size_t i = CLASS_FIRST; i < c->class_count; i++)
		if (c->classes[i].id)
			fn(arg, c->classes[i].id);
}

size_t compile_classes_new(struct compile *c, uint32_t *ret_classes, size_t max)
{
	size_t n = 0;

	while (n < max && c->fresh.count)
		ret_classes[n++] = c->fresh.list[--c->fresh.count];
	return n;
}

size_t compile_classes_gone(struct compile *c, uint32_t *ret_classes, size_t max)
{
	size_t n = 0;

	while (n < max && c->gone.count) {
		ret_classes[n] = c->gone.list[--c->gone.count];
		u32s_add(&c->free_ids, ret_classes[n++]);
	}
	return n;
}

uint64_t compile_generation(const struct compile *c)
{
	return c->generation;
}
