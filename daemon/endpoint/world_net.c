/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/world.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/glass.h"
#include "daemon/endpoint/world_inside.h"
#include "daemon/mesh/filter.h"

#include <stdlib.h>
#include <string.h>

/* Destinations by number, for the rows that name them. */
struct dests {
	struct dest { uint32_t number; struct prefix prefix; bool local; } *list;
	size_t n, cap;
};

struct rows {
	const struct world     *w;
	const struct world_now *now;
	struct dests            dests;
	struct msg_row         *list;
	size_t                  n, cap;
	bool                    full;
};

static void add_dest(void *arg, uint32_t number, const struct prefix *prefix, bool local)
{
	struct dests *d = arg;

	if (d->n == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 64;
		d->list = mem_realloc(d->list, d->cap, sizeof(*d->list));
	}
	d->list[d->n++] = (struct dest){ number, *prefix, local };
}

static void add_row(struct rows *r, const struct msg_row *row)
{
	if (r->n >= MSG_ROWS_MAX / 2) {
		r->full = true;
		return;
	}
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 64;
		r->list = mem_realloc(r->list, r->cap, sizeof(*r->list));
	}
	r->list[r->n++] = *row;
}

/* A class number of the filter: policy's, apart for each family, since a rule
 * may name an address of one family and rows to this host name none. */
static uint32_t filter_class(const struct world *w, uint32_t klass, uint8_t family)
{
	uint64_t n = (uint64_t)klass * 2 + (family == IP_V6 ? 1 : 0);

	if (klass == CLASS_NONE || n >= FILTER_CLASS_CONTROL)
		return 0;
	return w->epoch << WORLD_CLASS_BITS | (uint32_t)n;
}

static bool is_stale(int64_t stale, const struct world_now *now)
{
	if (stale == INT64_MAX || now->silent < 0)
		return false;
	return stale <= 0 || now->silent >= (stale > INT64_MAX / SEC_NS ? INT64_MAX : stale * SEC_NS);
}

static void on_row(void *arg, const struct compile_row *c)
{
	struct rows *r = arg;

	if (is_stale(c->stale, r->now))
		return;
	for (size_t i = 0; i < r->dests.n; i++) {
		const struct dest *d = &r->dests.list[i];
		struct msg_row row = { 0 };

		if (d->number != c->dest)
			continue;
		row.way = d->local ? MSG_WAY_IN : MSG_WAY_FORWARD;
		row.protocol = c->proto;
		row.first = c->lo;
		row.last = c->hi;
		row.klass = filter_class(r->w, c->class, d->prefix.ip.family);
		if (!d->local)
			row.to = d->prefix;
		if (row.klass)
			add_row(r, &row);
	}
}

/* Every node reaches the coordinator, whatever else it may. */
static void enrolled_rows(struct rows *r, uint32_t klass)
{
	for (size_t i = 0; r->w->conf && i < r->w->conf->services.count; i++) {
		const struct conf_service *c = conf_service(&r->w->conf->services, i);

		for (size_t k = 0; c->enrolled && k < c->listen.count; k++) {
			struct msg_row row = { .way = MSG_WAY_IN, .protocol = IPPROTO_TCP };
			struct conf_listen l;

			if (!conf_listen_parse(span_str(c->listen.list[k]), &l, NULL) || !l.at.port)
				continue;
			row.first = row.last = l.at.port;
			row.klass = filter_class(r->w, klass, IP_V4);
			if (row.klass)
				add_row(r, &row);
			row.klass = filter_class(r->w, klass, IP_V6);
			if (row.klass)
				add_row(r, &row);
		}
	}
}

static void on_class(void *arg, uint32_t klass)
{
	struct rows *r = arg;

	if (klass == CLASS_NONE)
		return;
	compile_rows(r->w->compile, klass, on_row, r);
	enrolled_rows(r, klass);
}

/* When an element of this class must end at the latest. */
static struct boot class_end(const struct world *w, uint32_t klass, struct wall until,
                             const struct world_now *now, bool is_hub)
{
	struct boot end = now->lease;
	int64_t stale = compile_class_stale(w->compile, klass);

	/* The way to the coordinator stays open: over it the lease is renewed. */
	if (is_hub)
		return BOOT_NEVER;
	if (until.sec != TOPOLOGY_NEVER.sec)
		end = boot_min(end, boot_at_wall(until, now->wall, now->boot));
	if (stale != INT64_MAX && now->silent >= 0 && !is_stale(stale, now))
		end = boot_min(end, boot_add(now->boot, stale * SEC_NS - now->silent));
	return end;
}

/*
 * Whether we never open a flow to this peer: a server to whom nothing is granted there,
 * and anybody towards a node on which nobody is logged in. A person's node may ask
 * everybody else it was told of: the far side answers with its page, or refuses.
 */
static bool is_quiet(const struct party *self, const struct compile_peer *peer, uint32_t klass)
{
	return !peer->we_call && (self->node->tags.count > 0 || klass == CLASS_LOGIN);
}

static void add_class(const struct world *w, struct net_state *s, const struct party *p, const struct ip *ip,
                      uint32_t klass, const struct compile_peer *peer, const struct world_now *now)
{
	const struct party *self = world_find(w, w->self);
	struct wall until = peer->until;
	struct order_class *c = &s->classes[s->class_count];
	bool to_hub = p->node->hub && !world_is_hub(w);
	struct boot end;

	if (boot_passed(world_party_end(p), now->boot)) {
		klass = CLASS_NONE;
		until = TOPOLOGY_NEVER;
	}
	/* On the hub every node is at least enrolled; elsewhere the hub is; and the owner's own keys are, so
	 * that this host can reach them. */
	if (klass == CLASS_NONE && (world_is_hub(w) || to_hub || glass_is(p->node))) {
		klass = CLASS_LOGIN;
		until = TOPOLOGY_NEVER;
	}
	if (klass == CLASS_NONE)
		return;
	end = class_end(w, klass, until, now, to_hub || glass_is(p->node));
	if (until.sec != TOPOLOGY_NEVER.sec && !to_hub && !glass_is(p->node))
		end = boot_min(end, world_party_end(p));
	if (boot_passed(end, now->boot))
		return;
	c->ip = *ip;
	memcpy(c->key, p->anchor, MSG_KEY_LEN);
	c->klass = filter_class(w, klass, ip->family);
	if (c->klass && to_hub)
		c->klass |= FILTER_CLASS_CONTROL;
	else if (c->klass && !glass_is(p->node) && is_quiet(self, peer, klass))
		c->klass |= FILTER_CLASS_QUIET;
	c->who = world_who(p, now);
	c->until = end;
	if (c->klass)
		s->class_count++;
}

static bool is_default_route(const struct prefix *p)
{
	return p->bits == 0;
}

static int pfx_cmp(const void *a, const void *b)
{
	return prefix_cmp(a, b);
}

/* The key that is not the one in use, with the address that follows from it and nothing else: announced,
 * it waits to be used; given up, it may still come back. */
static void add_other_peer(const struct world *w, struct net_state *s, const struct party *p)
{
	const uint8_t *key = world_key_other(p);
	struct prefix *prefix = arena_calloc(&s->mem, 1, sizeof(*prefix));
	struct order_peer *o = &s->peers[s->peer_count];
	struct ip ip;

	if (!key || !world_v6_other(w, p, &ip))
		return;
	memset(o, 0, sizeof(*o));
	memcpy(o->key, key, MSG_KEY_LEN);
	*prefix = (struct prefix){ ip, 128 };
	o->prefixes = prefix;
	/* The address that follows from the one given up went on with the other. */
	o->prefix_count = p->turned ? 0 : 1;
	s->peer_count++;
}

static void add_peer(const struct world *w, struct net_state *s, const struct party *p,
                     const struct compile_peer *peer, const struct world_now *now)
{
	const struct map_node *n = p->node;
	struct order_peer *o = &s->peers[s->peer_count];
	struct prefix *list = arena_calloc(&s->mem, n->route_count + 3, sizeof(*list));
	struct ip ip;
	size_t count = 0;

	if (world_v4(w, p, &ip))
		list[count++] = (struct prefix){ ip, 32 };
	if (world_v6(w, p, &ip))
		list[count++] = (struct prefix){ ip, 128 };
	if ((p->turned && world_v6_other(w, p, &ip)) || (!p->turned && world_v6_old(w, p, &ip)))
		list[count++] = (struct prefix){ ip, 128 };
	/* A key that claims an address which is not its own is no peer at all. */
	if (count == 0)
		return;
	for (size_t i = 0; i < n->route_count && peer->we_call; i++) {
		if (is_default_route(&n->routes[i]) || count >= MSG_PREFIXES_MAX ||
		    prefix_covers(&w->ranges.v4, &n->routes[i]) || prefix_covers(&n->routes[i], &w->ranges.v4) ||
		    prefix_covers(&w->ranges.v6, &n->routes[i]) || prefix_covers(&n->routes[i], &w->ranges.v6))
			continue;
		list[count++] = n->routes[i];
		s->routes[s->route_count++] = n->routes[i];
		s->vias[s->via_count].to = n->routes[i];
		s->vias[s->via_count].until = now->lease;
		if (!boot_passed(now->lease, now->boot))
			s->via_count++;
	}
	qsort(list, count, sizeof(*list), pfx_cmp);
	memset(o, 0, sizeof(*o));
	memcpy(o->key, world_key(p), MSG_KEY_LEN);
	if (n->endpoint_count)
		o->endpoint = n->endpoints[p->way % n->endpoint_count];
	o->keepalive = n->hub && !world_is_hub(w) ? WORLD_KEEPALIVE : 0;
	o->prefixes = list;
	o->prefix_count = count;
	s->peer_count++;
}

static void add_host(struct net_state *s, const struct ip *ip, struct span name)
{
	if (name.len == 0 || name.len > MSG_NAME_MAX || s->host_count >= MSG_HOSTS_MAX)
		return;
	s->hosts[s->host_count++] = (struct msg_host){ *ip, arena_copy(&s->mem, name) };
}

static size_t host_names(const struct map_node *n)
{
	size_t count = 2;

	for (size_t i = 0; i < n->service_count; i++)
		count += 1 + n->services[i].hosts.count;
	return count * 2;
}

static void add_hosts(const struct world *w, struct net_state *s, const struct party *p)
{
	const struct map_node *n = p->node;
	struct ip ips[2];
	size_t count = 0;

	if (world_v4(w, p, &ips[count]))
		count++;
	if (world_v6(w, p, &ips[count]))
		count++;
	for (size_t i = 0; i < count; i++) {
		add_host(s, &ips[i], n->name);
		if (w->mesh_name && *w->mesh_name && n->name.len)
			add_host(s, &ips[i], arena_printf(&s->mem, "%.*s.%s", SPAN_ARG(n->name), w->mesh_name));
		for (size_t k = 0; k < n->service_count; k++) {
			if (!span_eq(n->services[k].name, n->name))
				add_host(s, &ips[i], n->services[k].name);
			for (size_t h = 0; h < n->services[k].hosts.count; h++)
				if (!span_eq(n->services[k].hosts.list[h], n->services[k].name) &&
				    !span_eq(n->services[k].hosts.list[h], n->name))
					add_host(s, &ips[i], n->services[k].hosts.list[h]);
		}
	}
}

static void make_rows(const struct world *w, const struct world_now *now, struct net_state *s, const struct party *self)
{
	struct rows r = { .w = w, .now = now };

	compile_dests(w->compile, add_dest, &r.dests);
	compile_classes(w->compile, on_class, &r);
	on_class(&r, CLASS_LOGIN);
	for (size_t i = 0; i < self->node->route_count; i++) {
		struct msg_row row = { .way = MSG_WAY_OWN, .to = self->node->routes[i] };

		if (!is_default_route(&row.to))
			add_row(&r, &row);
	}
	if (r.full)
		log_error("more than %d filter rows: what is beyond is denied", MSG_ROWS_MAX / 2);
	s->rows = arena_calloc(&s->mem, r.n ? r.n : 1, sizeof(*s->rows));
	if (r.n)
		memcpy(s->rows, r.list, r.n * sizeof(*s->rows));
	s->row_count = r.n;
	free(r.list);
	free(r.dests.list);
}

struct net_state *world_net(const struct world *w, const struct world_now *now, const uint8_t *public_key)
{
	struct net_state *s = net_state_new();
	const struct party *self = w->self ? world_find(w, w->self) : NULL;
	struct prefix *addresses = arena_calloc(&s->mem, 3, sizeof(*addresses));
	struct prefix *ranges = arena_calloc(&s->mem, 2, sizeof(*ranges));
	size_t routes = 0, hosts = 0;
	struct ip ip;

	if (w->standalone || !self || !w->compile || !public_key)
		return s;
	s->device = true;
	memcpy(s->key, public_key, MSG_KEY_LEN);
	if (world_v4(w, self, &ip))
		addresses[s->address_count++] = (struct prefix){ ip, 32 };
	/* What follows from our key, whatever the map says that it is: one from before the key changed must not
	 * take away the device over which the next comes. */
	ip = world_own_v6(w, public_key);
	addresses[s->address_count++] = (struct prefix){ ip, 128 };
	/* Behind it: what begins from here does not begin at the address of the key before. */
	if (w->had_key && !boot_passed(world_overlap_end(w, w->before_since), now->boot))
		addresses[s->address_count++] = (struct prefix){ world_own_v6(w, w->key_before), 128 };
	ranges[s->range_count++] = w->ranges.v4;
	ranges[s->range_count++] = w->ranges.v6;
	s->addresses = addresses;
	s->ranges = ranges;
	for (size_t i = 0; i < w->count; i++) {
		routes += w->list[i]->node->route_count;
		hosts += host_names(w->list[i]->node);
	}
	s->peers = arena_calloc(&s->mem, w->count * 2, sizeof(*s->peers));
	s->classes = arena_calloc(&s->mem, w->count * 4, sizeof(*s->classes));
	s->routes = arena_calloc(&s->mem, routes + 1, sizeof(*s->routes));
	s->vias = arena_calloc(&s->mem, routes + 1, sizeof(*s->vias));
	s->hosts = arena_calloc(&s->mem, hosts, sizeof(*s->hosts));
	for (size_t i = 0; i < w->count; i++) {
		const struct party *p = w->list[i];
		struct compile_peer peer = { 0 };

		if (is_browser(p))
			continue;
		add_hosts(w, s, p);
		if (p == self)
			continue;
		compile_peer(w->compile, p->id, &peer);
		add_peer(w, s, p, &peer, now);
		add_other_peer(w, s, p);
		if (world_v6_other(w, p, &ip))
			add_class(w, s, p, &ip, peer.class6, &peer, now);
		if (world_v6_old(w, p, &ip)) {
			size_t n = s->class_count;

			add_class(w, s, p, &ip, peer.class6, &peer, now);
			if (s->class_count > n)
				s->classes[n].until = boot_min(s->classes[n].until, world_overlap_end(w, p->old_since));
		}
		if (world_v4(w, p, &ip))
			add_class(w, s, p, &ip, peer.class4, &peer, now);
		if (world_v6(w, p, &ip))
			add_class(w, s, p, &ip, peer.class6, &peer, now);
	}
	make_rows(w, now, s, self);
	net_state_sort(s);
	return s;
}
