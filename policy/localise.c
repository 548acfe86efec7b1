/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What each rule opens at one endpoint, and the indexes that find the rules of a name. */
#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { ATOM_MAX = POLICY_NAME_MAX + 8 };

void u32s_add(struct u32s *s, uint32_t v)
{
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 4;
		s->list = mem_realloc(s->list, s->cap, sizeof(*s->list));
	}
	s->list[s->count++] = v;
}

bool in_spans(const struct spans *l, struct span s)
{
	for (size_t i = 0; i < l->count; i++)
		if (span_eq(l->list[i], s))
			return true;
	return false;
}

/* ---- atoms ---- */

static struct span atom_key(char kind, struct span name, char buf[ATOM_MAX])
{
	if (name.len + 1 > ATOM_MAX)
		return (struct span){ NULL, 0 };
	buf[0] = kind;
	if (name.len)
		memcpy(buf + 1, name.ptr, name.len);
	return span_of(buf, name.len + 1);
}

struct u32s *atoms_find(const struct atoms *a, char kind, struct span name)
{
	char buf[ATOM_MAX];
	struct span key = atom_key(kind, name, buf);

	return key.ptr ? dict_find(a->index, key) : NULL;
}

static void atoms_add(struct atoms *a, char kind, struct span name, uint32_t rule)
{
	char buf[ATOM_MAX];
	struct span key = atom_key(kind, name, buf);
	struct u32s *l;

	if (!key.ptr)
		return;
	l = dict_find(a->index, key);
	if (!l) {
		l = mem_alloc(sizeof(*l));
		dict_put(a->index, key, l);
	}
	if (!l->count || l->list[l->count - 1] != rule)
		u32s_add(l, rule);
}

static struct span prefix_key(const struct prefix *p, char buf[18])
{
	buf[0] = (char)p->ip.family;
	buf[1] = (char)p->bits;
	memcpy(buf + 2, p->ip.b, 16);
	return span_of(buf, 18);
}

struct u32s *atoms_find_prefix(const struct atoms *a, const struct prefix *p)
{
	char buf[18];

	return atoms_find(a, 'p', prefix_key(p, buf));
}

struct add_prefix { struct atoms *a; uint32_t rule; };

static void add_prefix(void *arg, const struct prefix *p)
{
	struct add_prefix *x = arg;
	char buf[18];

	atoms_add(x->a, 'p', prefix_key(p, buf), x->rule);
	(p->ip.family == IP_V4 ? x->a->v4_bits : x->a->v6_bits)[p->bits] = 1;
}

static void atoms_add_selector(struct atoms *a, const struct selector *s, uint32_t rule, bool owner)
{
	struct add_prefix x = { a, rule };

	switch (s->kind) {
	case SEL_ANY:
	case SEL_DANGER_ALL:
		atoms_add(a, '*', SPAN(""), rule);
		break;
	case SEL_USER:
		atoms_add(a, 'u', s->name, rule);
		break;
	case SEL_DOMAIN:
		atoms_add(a, 'd', s->name, rule);
		break;
	case SEL_GROUP:
		/* A group that the owner's file defines is its own; others are the policy's. */
		atoms_add(a, owner && s->index != UINT32_MAX ? 'G' : 'g', s->text, rule);
		break;
	case SEL_TAG:
		atoms_add(a, 't', s->text, rule);
		break;
	case SEL_MEMBER:
		atoms_add(a, 'm', SPAN(""), rule);
		break;
	case SEL_TAGGED:
		atoms_add(a, 'T', SPAN(""), rule);
		break;
	case SEL_SHARED:
		atoms_add(a, 's', SPAN(""), rule);
		break;
	case SEL_ROLE:
		atoms_add(a, 'r', s->name, rule);
		break;
	case SEL_IDP:
		atoms_add(a, 'i', s->name, rule);
		atoms_add(a, 'I', SPAN(""), rule);
		break;
	case SEL_SVC:
		atoms_add(a, 'v', s->name, rule);
		break;
	case SEL_SELF:
		atoms_add(a, 'S', SPAN(""), rule);
		break;
	case SEL_IPS:
		ipset_prefixes(s->ips, add_prefix, &x);
		break;
	case SEL_NONE:
	case SEL_INTERNET:
		break;
	}
}

static void atoms_done(struct atoms *a)
{
	struct span key;
	void *value;
	size_t pos = 0;

	if (!a->index)
		return;
	while (dict_next(a->index, &pos, &key, &value)) {
		struct u32s *l = value;

		free(l->list);
		free(l);
	}
	dict_free(a->index);
	memset(a, 0, sizeof(*a));
}

/* ---- this endpoint ---- */

static int cmp_u16(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void local_services(struct compile *c)
{
	const struct topology_service *s;
	size_t pos = 0, n = 0, ports = 0, k = 0;

	while ((s = topology_service_next(c->topo, &pos)))
		if (s->node == c->self) {
			n++;
			ports += s->port_count;
		}
	c->services = arena_calloc(&c->arena, n + 1, sizeof(*c->services));
	c->front_ports = arena_calloc(&c->arena, ports + 1, sizeof(*c->front_ports));
	pos = 0;
	while ((s = topology_service_next(c->topo, &pos))) {
		struct local_service *l = &c->services[c->service_count];

		if (s->node != c->self)
			continue;
		l->name = arena_copy(&c->arena, s->name);
		l->http = s->http;
		for (size_t i = 0; i < s->port_count && l->port_count < SERVICE_PORTS_MAX; i++) {
			l->ports[l->port_count++] = s->ports[i];
			if (s->http)
				c->front_ports[k++] = s->ports[i];
		}
		c->service_count++;
	}
	qsort(c->front_ports, k, sizeof(*c->front_ports), cmp_u16);
	for (size_t i = 0; i < k; i++)
		if (i == 0 || c->front_ports[i] != c->front_ports[i - 1])
			c->front_ports[c->front_port_count++] = c->front_ports[i];
}

static void own_addresses(const struct topology_node *n, struct ipset *s)
{
	const struct ip *ips[] = { &n->ip4, &n->ip6 };

	for (size_t i = 0; i < 2; i++)
		if (ips[i]->family != IP_NONE)
			ipset_add(s, &(struct prefix){ *ips[i], ips[i]->family == IP_V4 ? 32 : 128 });
}

/* What this node forwards to: approved subnet routes, and everything public
 * where an exit route is approved. Its own addresses are never routed ones. */
static void routed(const struct topology_node *n, const struct ipset *own, struct ipset *subnets,
                   struct ipset *internet)
{
	for (size_t i = 0; i < n->route_count; i++) {
		if (n->routes[i].bits == 0) {
			struct ipset all = { 0 }, half = { 0 };

			ipset_internet(&all);
			ipset_add(&half, &n->routes[i]);
			ipset_intersect(&all, &half, &half);
			ipset_add_set(internet, &half);
			ipset_done(&all);
			ipset_done(&half);
		} else {
			ipset_add(subnets, &n->routes[i]);
		}
	}
	ipset_remove_set(subnets, own);
	ipset_remove_set(internet, own);
	ipset_remove_set(internet, subnets);
}

/* A group that an owner's file names without defining it. */
static bool policy_group_has(const struct policy *pol, const struct topology *topo, const struct topology_user *u,
                             struct span name)
{
	const struct group *g = dict_find(pol->group_index, name);

	return user_in_group(pol, topo, u, g ? (uint32_t)(g - pol->groups) : UINT32_MAX, name, false);
}

/* ---- what one destination of a rule means here ---- */

struct here {
	const struct topology_node *self;
	const struct topology_user *user;
	struct ipset                own, subnets, internet, all;
	bool                        has_subnets, has_exit;
};

/* The addresses of this host or behind it that dst means; families: which of
 * the host's own addresses a fronted service counts as named by it. */
static bool dst_here(struct compile *c, const struct policy *pol, const struct here *h, const struct rule *r,
                     const struct rule_dst *d, struct ipset *ret, uint8_t *ret_families)
{
	const struct selector *s = &d->sel;
	bool own = false;

	*ret_families = 0;
	if (r->via.count) {
		bool mine = false;

		for (size_t i = 0; i < r->via.count; i++)
			mine |= node_has_tag(h->self, r->via.list[i]);
		if (!mine)
			return false;
		/* Through a gateway, and never to the gateway itself. */
		if (s->kind == SEL_IPS) {
			ipset_intersect(s->ips, &h->subnets, ret);
			return !ipset_empty(ret);
		}
		if (s->kind == SEL_ANY && h->has_subnets) {
			ipset_copy(ret, &h->subnets);
			return true;
		}
		if (s->kind == SEL_INTERNET && h->has_exit) {
			ipset_copy(ret, &h->internet);
			return true;
		}
		return false;
	}
	switch (s->kind) {
	case SEL_ANY:
		ipset_copy(ret, &h->all);
		*ret_families = 3;
		return true;
	case SEL_IPS:
		ipset_intersect(s->ips, &h->all, ret);
		if (ipset_has(s->ips, &h->self->ip4))
			*ret_families |= 1;
		if (ipset_has(s->ips, &h->self->ip6))
			*ret_families |= 2;
		return !ipset_empty(ret) || *ret_families;
	case SEL_INTERNET:
		ipset_copy(ret, &h->internet);
		return h->has_exit;
	case SEL_USER:
		own = h->user && user_is(c->topo, h->user, s->name);
		break;
	case SEL_DOMAIN:
		own = h->user && span_eq(topology_user_domain(c->topo, h->user), s->name);
		break;
	case SEL_GROUP:
		own = h->user && (s->index == UINT32_MAX && pol != c->pol ? policy_group_has(c->pol, c->topo, h->user, s->text) :
		                  user_in_group(pol, c->topo, h->user, s->index, s->text, false));
		break;
	case SEL_ROLE:
		own = h->user && in_spans(&h->user->roles, s->name);
		break;
	case SEL_MEMBER:
		own = h->user && !h->user->shared;
		break;
	case SEL_TAG:
		own = node_has_tag(h->self, s->text);
		break;
	case SEL_TAGGED:
		own = h->self->tags.count > 0;
		break;
	case SEL_SELF:
		own = h->user != NULL;
		break;
	case SEL_SVC:
		for (size_t i = 0; i < c->service_count; i++)
			own |= span_eq(c->services[i].name, s->name);
		break;
	case SEL_NONE:
	case SEL_SHARED:
	case SEL_DANGER_ALL:
	case SEL_IDP:
		break;
	}
	if (!own)
		return false;
	ipset_copy(ret, &h->own);
	*ret_families = 3;
	return true;
}

/* ---- destinations: elementary ranges, those treated alike share a number ---- */

struct piece {          /* one destination of one local rule, before dests exist */
	uint32_t        rule;   /* local rule */
	const struct rule_dst *dst;
	struct ipset    where;
	uint8_t         families;
};

struct edges { ipnum *list; size_t count, cap; };

static void edge_add(struct edges *e, ipnum n)
{
	if (e->count == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 64;
		e->list = mem_realloc(e->list, e->cap, sizeof(*e->list));
	}
	e->list[e->count++] = n;
}

static int cmp_ipnum(const void *a, const void *b)
{
	ipnum x = *(const ipnum *)a, y = *(const ipnum *)b;

	return (x > y) - (x < y);
}

static void range_edges(struct edges *e, const struct ip_ranges *r)
{
	for (size_t i = 0; i < r->count; i++) {
		edge_add(e, r->list[i].lo);
		if (r->list[i].hi != ~(ipnum)0)
			edge_add(e, r->list[i].hi + 1);
	}
}

static void family_dests(struct compile *c, struct edges *e, const struct ip_ranges *all,
                         const struct ip_ranges *own, uint8_t family)
{
	size_t n = 0;

	if (e->count)
		qsort(e->list, e->count, sizeof(*e->list), cmp_ipnum);
	for (size_t i = 0; i < e->count; i++)
		if (n == 0 || e->list[i] != e->list[n - 1])
			e->list[n++] = e->list[i];
	for (size_t i = 0; i < all->count; i++) {
		ipnum lo = all->list[i].lo;

		for (size_t k = 0; k <= n; k++) {
			ipnum cut = k < n ? e->list[k] : 0;
			struct dest *d;

			/* Edges up to lo cut nothing; the last step takes what is left. */
			if (k < n && cut <= lo)
				continue;
			if (k < n && cut > all->list[i].hi)
				k = n;
			d = &c->dests[c->dest_count++];
			d->family = family;
			d->lo = lo;
			d->hi = k < n ? cut - 1 : all->list[i].hi;
			for (size_t o = 0; o < own->count; o++)
				d->local |= own->list[o].lo <= lo && lo <= own->list[o].hi;
			if (d->hi == all->list[i].hi)
				break;
			lo = cut;
		}
	}
}

/* The first dest of that family that ends at or behind n. */
static size_t dest_at(const struct compile *c, uint8_t family, ipnum n)
{
	size_t a = 0, b = c->dest_count;

	while (a < b) {
		size_t m = a + (b - a) / 2;
		const struct dest *d = &c->dests[m];

		if (d->family < family || (d->family == family && d->hi < n))
			a = m + 1;
		else
			b = m;
	}
	return a;
}

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

struct sig { uint64_t a, b; uint32_t dest; };

static int cmp_sig(const void *x, const void *y)
{
	const struct sig *p = x, *q = y;

	if (p->a != q->a)
		return p->a < q->a ? -1 : 1;
	if (p->b != q->b)
		return p->b < q->b ? -1 : 1;
	return (p->dest > q->dest) - (p->dest < q->dest);
}

/* Dests that the same pieces cover get one number. Each piece is a random
 * 128-bit word, added at its first dest and taken away behind its last. */
static void number_dests(struct compile *c, const struct piece *pieces, size_t n)
{
	struct sig *sig = mem_calloc(c->dest_count + 1, sizeof(*sig));
	uint64_t a = 0, b = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t wa = mix(i * 2 + 1), wb = mix(i * 2 + UINT64_C(0x5851f42d4c957f2d));

		for (unsigned f = 0; f < 2; f++) {
			const struct ip_ranges *r = f ? &pieces[i].where.v6 : &pieces[i].where.v4;

			for (size_t k = 0; k < r->count; k++) {
				size_t from = dest_at(c, f ? IP_V6 : IP_V4, r->list[k].lo);
				size_t to = from;

				/* The end: one behind the last dest inside this range. */
				to = dest_at(c, f ? IP_V6 : IP_V4, r->list[k].hi);
				if (to < c->dest_count && c->dests[to].lo <= r->list[k].hi &&
				    c->dests[to].family == (f ? IP_V6 : IP_V4))
					to++;
				sig[from].a ^= wa;
				sig[from].b ^= wb;
				sig[to].a ^= wa;
				sig[to].b ^= wb;
			}
		}
	}
	for (size_t i = 0; i < c->dest_count; i++) {
		a ^= sig[i].a;
		b ^= sig[i].b;
		/* Own addresses of the two families stay apart, and from what is forwarded. */
		sig[i] = (struct sig){ a ^ (c->dests[i].local ? mix(c->dests[i].family) : 0), b, (uint32_t)i };
	}
	qsort(sig, c->dest_count, sizeof(*sig), cmp_sig);
	for (size_t i = 0; i < c->dest_count; i++) {
		bool same = i && sig[i].a == sig[i - 1].a && sig[i].b == sig[i - 1].b;

		/* A group is called after its first dest, so that numbers follow addresses. */
		c->dests[sig[i].dest].id = same ? c->dests[sig[i - 1].dest].id : sig[i].dest + 1;
	}
	free(sig);
	c->dest_ids = (uint32_t)c->dest_count;
}

static void add_cover(struct local_rule *l, size_t *cap, struct cover v)
{
	if (l->cover_count == *cap) {
		*cap = *cap ? *cap * 2 : 4;
		l->covers = mem_realloc(l->covers, *cap, sizeof(*l->covers));
	}
	l->covers[l->cover_count++] = v;
}

/* A rule with http speaks of requests: it opens fronted ports, where requests
 * are judged, and no other, however wide its ip is. */
static void add_port(const struct compile *c, struct local_rule *l, size_t *cap, struct cover v)
{
	if (!l->rule->http) {
		add_cover(l, cap, v);
		return;
	}
	for (size_t i = 0; v.proto == 6 && v.local && i < c->front_port_count; i++)
		if (v.lo <= c->front_ports[i] && c->front_ports[i] <= v.hi) {
			struct cover one = v;

			one.lo = one.hi = c->front_ports[i];
			add_cover(l, cap, one);
		}
}

static uint32_t port_mask(const struct local_service *s, const struct ip_spec *ip)
{
	uint32_t mask = 0;
	bool tcp = ip == NULL;

	for (size_t p = 0; ip && p < ip->proto_count; p++)
		tcp |= ip->protos[p] == 6;
	for (size_t i = 0; tcp && i < s->port_count; i++) {
		bool in = ip == NULL;

		for (size_t k = 0; ip && k < ip->port_count; k++)
			in |= ip->ports[k].lo <= s->ports[i] && s->ports[i] <= ip->ports[k].hi;
		if (in)
			mask |= UINT32_C(1) << i;
	}
	return mask;
}

static bool port_proto(uint8_t proto)
{
	return proto == 6 || proto == 17 || proto == 132;
}

/* Everything of one piece: packets, then the fronted services it reaches. */
static void piece_covers(struct compile *c, const struct piece *p, size_t *cap, size_t *svc_cap)
{
	struct local_rule *l = &c->rules[p->rule];
	const struct selector *sel = &p->dst->sel;
	struct u32s ids = { 0 };

	for (unsigned f = 0; f < 2; f++) {
		const struct ip_ranges *r = f ? &p->where.v6 : &p->where.v4;
		uint8_t family = f ? IP_V6 : IP_V4;

		for (size_t k = 0; k < r->count; k++)
			for (size_t d = dest_at(c, family, r->list[k].lo); d < c->dest_count &&
			     c->dests[d].family == family && c->dests[d].lo <= r->list[k].hi; d++)
				if (c->dests[d].id == d + 1)
					u32s_add(&ids, (uint32_t)d);
	}
	for (size_t i = 0; i < ids.count; i++) {
		const struct dest *d = &c->dests[ids.list[i]];

		for (size_t k = 0; k < p->dst->ip_count; k++) {
			const struct ip_spec *ip = &p->dst->ip[k];

			for (size_t a = 0; a < ip->proto_count; a++)
				for (size_t q = 0; q < ip->port_count; q++) {
					struct cover v = { d->id, ip->protos[a], d->local, 0, UINT16_MAX };

					if (port_proto(v.proto)) {
						v.lo = ip->ports[q].lo;
						v.hi = ip->ports[q].hi;
					}
					if (sel->kind == SEL_SVC) {
						/* Only the service's own ports, however wide "ip" is. */
						for (size_t s = 0; v.proto == 6 && s < c->service_count; s++)
							for (size_t n = 0; span_eq(c->services[s].name, sel->name) &&
							     n < c->services[s].port_count; n++) {
								struct cover one = v;

								one.lo = one.hi = c->services[s].ports[n];
								if (one.lo >= v.lo && one.hi <= v.hi)
									add_port(c, l, cap, one);
							}
						continue;
					}
					add_port(c, l, cap, v);
					if (!port_proto(v.proto))
						break;
				}
		}
		if (sel->kind == SEL_SVC && !l->rule->ip_given)
			for (size_t s = 0; s < c->service_count; s++)
				for (size_t n = 0; span_eq(c->services[s].name, sel->name) && n < c->services[s].port_count; n++)
					add_port(c, l, cap, (struct cover){ d->id, 6, d->local, c->services[s].ports[n],
					          c->services[s].ports[n] });
	}
	free(ids.list);
	if (!p->families)
		return;
	l->names_host = true;
	for (size_t s = 0; s < c->service_count; s++) {
		uint32_t mask = 0;

		if (!c->services[s].http || (sel->kind == SEL_SVC && !span_eq(c->services[s].name, sel->name)))
			continue;
		if (sel->kind == SEL_SVC && !l->rule->ip_given)
			mask = port_mask(&c->services[s], NULL);
		for (size_t k = 0; k < p->dst->ip_count; k++)
			mask |= port_mask(&c->services[s], &p->dst->ip[k]);
		if (!mask)
			continue;
		if (l->svc_count == *svc_cap) {
			*svc_cap = *svc_cap ? *svc_cap * 2 : 2;
			l->svc = mem_realloc(l->svc, *svc_cap, sizeof(*l->svc));
		}
		l->svc[l->svc_count++] = (struct svc_cover){ (uint32_t)s, p->families, mask };
	}
}

struct pieces { struct piece *list; size_t count, cap; };

static void localise_policy(struct compile *c, const struct policy *pol, bool owner, const struct here *h,
                            struct pieces *out)
{
	for (size_t i = 0; pol && i < pol->rule_count; i++) {
		const struct rule *r = &pol->rules[i];
		uint32_t slot[2] = { UINT32_MAX, UINT32_MAX };

		for (size_t d = 0; d < r->dst_count; d++) {
			struct piece p = { .dst = &r->dst[d] };
			unsigned self = r->dst[d].sel.kind == SEL_SELF;

			if (!dst_here(c, pol, h, r, p.dst, &p.where, &p.families)) {
				ipset_done(&p.where);
				continue;
			}
			if (slot[self] == UINT32_MAX) {
				struct local_rule *l = &c->rules[c->rule_count];

				slot[self] = (uint32_t)c->rule_count++;
				*l = (struct local_rule){ .rule = r, .owner = owner, .same_user = self };
			}
			p.rule = slot[self];
			if (out->count == out->cap) {
				out->cap = out->cap ? out->cap * 2 : 64;
				out->list = mem_realloc(out->list, out->cap, sizeof(*out->list));
			}
			out->list[out->count++] = p;
		}
	}
}

/* ---- outbound: whom this node's own rules name ---- */

static bool names_self(struct compile *c, const struct policy *pol, const struct here *h,
                       const struct selector *s)
{
	const struct topology_user *u = h->user;

	switch (s->kind) {
	case SEL_ANY:
	case SEL_DANGER_ALL:
		return true;
	case SEL_IPS:
		if (ipset_has(s->ips, &h->self->ip4) || ipset_has(s->ips, &h->self->ip6))
			return true;
		if (ipset_overlaps(s->ips, &h->subnets))
			return true;
		break;
	case SEL_USER:
		if (u && user_is(c->topo, u, s->name))
			return true;
		break;
	case SEL_DOMAIN:
		if (u && span_eq(topology_user_domain(c->topo, u), s->name))
			return true;
		break;
	case SEL_GROUP:
		if (u && user_in_group(pol, c->topo, u, s->index, s->text, false))
			return true;
		break;
	case SEL_MEMBER:
		if (u && !u->shared)
			return true;
		break;
	case SEL_SHARED:
		if (u && u->shared)
			return true;
		break;
	case SEL_ROLE:
		if (u && in_spans(&u->roles, s->name))
			return true;
		break;
	case SEL_IDP:
		/* Before a login nobody knows its groups. */
		if (u && (h->self->session.expires.sec == 0 || in_spans(&h->self->session.groups, s->name)))
			return true;
		break;
	case SEL_TAG:
		if (node_has_tag(h->self, s->text))
			return true;
		break;
	case SEL_TAGGED:
		if (h->self->tags.count)
			return true;
		break;
	case SEL_NONE:
	case SEL_SELF:
	case SEL_INTERNET:
	case SEL_SVC:
		break;
	}
	return false;
}

static void localise_out(struct compile *c, const struct here *h)
{
	size_t n = 0;

	for (size_t i = 0; i < c->pol->rule_count; i++)
		n += c->pol->rules[i].dst_count;
	c->out_routes = arena_calloc(&c->arena, n + 1, sizeof(*c->out_routes));
	c->out_route_rules = arena_calloc(&c->arena, n + 1, sizeof(*c->out_route_rules));
	for (size_t i = 0; i < c->pol->rule_count; i++) {
		const struct rule *r = &c->pol->rules[i];

		bool mine = false;

		for (size_t k = 0; k < r->src_count && !mine; k++)
			mine = names_self(c, c->pol, h, &r->src[k]);
		if (!mine)
			continue;
		for (size_t d = 0; d < r->dst_count; d++) {
			const struct selector *s = &r->dst[d].sel;

			/* Capabilities alone open nothing. */
			if (!r->ip_given && s->kind != SEL_SVC)
				continue;
			if (!r->via.count)
				atoms_add_selector(&c->out, s, (uint32_t)i, false);
			if (s->kind == SEL_IPS || r->via.count) {
				c->out_routes[c->out_route_count] = s->kind == SEL_IPS ? s->ips : NULL;
				c->out_route_rules[c->out_route_count++] = r;
			}
			c->out_services |= s->kind == SEL_SVC;
			c->out_internet |= s->kind == SEL_INTERNET && !r->via.count;
		}
	}
}

static void here_init(struct compile *c, struct here *h, const struct topology_node *self)
{
	*h = (struct here){ .self = self };
	h->user = self->tags.count ? NULL : topology_user(c->topo, self->user);
	own_addresses(self, &h->own);
	routed(self, &h->own, &h->subnets, &h->internet);
	h->has_subnets = !ipset_empty(&h->subnets);
	h->has_exit = !ipset_empty(&h->internet);
	ipset_add_set(&h->all, &h->own);
	ipset_add_set(&h->all, &h->subnets);
	ipset_add_set(&h->all, &h->internet);
}

static void here_done(struct here *h)
{
	ipset_done(&h->own);
	ipset_done(&h->subnets);
	ipset_done(&h->internet);
	ipset_done(&h->all);
}

void rule_touches(struct compile *c, const struct rule *r, bool *src, bool *dst, bool *ret_src, bool *ret_dst)
{
	const struct topology_node *self = topology_node(c->topo, c->self);
	struct here h;

	if (!self)
		return;
	here_init(c, &h, self);
	for (size_t i = 0; i < r->src_count; i++)
		*ret_src |= src[i] = names_self(c, c->pol, &h, &r->src[i]);
	for (size_t i = 0; i < r->dst_count; i++) {
		struct ipset where = { 0 };
		uint8_t families;

		*ret_dst |= dst[i] = dst_here(c, c->pol, &h, r, &r->dst[i], &where, &families);
		ipset_done(&where);
	}
	here_done(&h);
}

void localise(struct compile *c)
{
	const struct topology_node *self = topology_node(c->topo, c->self);
	struct here h;
	struct pieces p = { 0 };
	struct edges e4 = { 0 }, e6 = { 0 };
	size_t most = 2 * (c->pol->rule_count + (c->owner ? c->owner->rule_count : 0));

	arena_init(&c->arena, 16 << 10);
	c->in.index = dict_new();
	c->out.index = dict_new();
	c->rules = arena_calloc(&c->arena, most + 1, sizeof(*c->rules));
	if (!self)
		return;
	here_init(c, &h, self);
	c->self_user = h.user ? h.user->id : 0;
	local_services(c);
	localise_policy(c, c->pol, false, &h, &p);
	localise_policy(c, c->owner, true, &h, &p);

	/* Own addresses are dests of their own, subnets and the internet too. */
	range_edges(&e4, &h.own.v4);
	range_edges(&e6, &h.own.v6);
	range_edges(&e4, &h.subnets.v4);
	range_edges(&e6, &h.subnets.v6);
	range_edges(&e4, &h.internet.v4);
	range_edges(&e6, &h.internet.v6);
	for (size_t i = 0; i < p.count; i++) {
		range_edges(&e4, &p.list[i].where.v4);
		range_edges(&e6, &p.list[i].where.v6);
	}
	c->dests = arena_calloc(&c->arena, e4.count + e6.count + 4, sizeof(*c->dests));
	family_dests(c, &e4, &h.all.v4, &h.own.v4, IP_V4);
	family_dests(c, &e6, &h.all.v6, &h.own.v6, IP_V6);
	number_dests(c, p.list, p.count);
	for (size_t i = 0, cap = 0, svc_cap = 0; i < p.count; i++) {
		/* Pieces of one local rule need not be neighbours: self and other dsts may alternate. */
		cap = c->rules[p.list[i].rule].cover_count;
		svc_cap = c->rules[p.list[i].rule].svc_count;
		piece_covers(c, &p.list[i], &cap, &svc_cap);
	}
	for (size_t i = 0; i < c->rule_count; i++)
		for (size_t s = 0; s < c->rules[i].rule->src_count; s++)
			atoms_add_selector(&c->in, &c->rules[i].rule->src[s], (uint32_t)i, c->rules[i].owner);
	localise_out(c, &h);
	for (size_t i = 0; i < p.count; i++)
		ipset_done(&p.list[i].where);
	free(p.list);
	free(e4.list);
	free(e6.list);
	here_done(&h);
}

void localise_done(struct compile *c)
{
	for (size_t i = 0; i < c->rule_count; i++) {
		free(c->rules[i].covers);
		free(c->rules[i].svc);
	}
	atoms_done(&c->in);
	atoms_done(&c->out);
	arena_done(&c->arena);
	c->rules = NULL;
	c->rule_count = c->service_count = c->front_port_count = c->dest_count = c->out_route_count = 0;
	c->out_internet = c->out_services = false;
	c->self_user = 0;
}
