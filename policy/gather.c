/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* From a node's facts to the local rules that match it: the cost follows the
 * names the node has and the rules that name them, not what else exists. */
#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void add_list(struct u32s *out, const struct u32s *l)
{
	for (size_t i = 0; l && i < l->count; i++)
		u32s_add(out, l->list[i]);
}

static void add_atom(struct u32s *out, const struct atoms *a, char kind, struct span name)
{
	add_list(out, atoms_find(a, kind, name));
}

static int cmp_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void sort_unique(struct u32s *s, size_t from)
{
	size_t n = from;

	if (s->count - from > 1)
		qsort(s->list + from, s->count - from, sizeof(*s->list), cmp_u32);
	for (size_t i = from; i < s->count; i++)
		if (n == from || s->list[i] != s->list[n - 1])
			s->list[n++] = s->list[i];
	s->count = n;
}

static struct prefix cut(const struct ip *ip, uint8_t bits)
{
	struct prefix p = { *ip, bits };

	for (size_t i = 0; i < 16; i++) {
		unsigned keep = bits > i * 8 ? bits - (unsigned)i * 8 : 0;

		if (keep < 8)
			p.ip.b[i] &= (uint8_t)(0xff00 >> keep);
	}
	return p;
}

/* Rules whose sets hold the whole of p. */
static void add_prefixes(struct u32s *out, const struct atoms *a, const struct prefix *p)
{
	const uint8_t *used = p->ip.family == IP_V4 ? a->v4_bits : a->v6_bits;

	for (unsigned bits = 0; bits <= p->bits; bits++)
		if (used[bits]) {
			struct prefix key = cut(&p->ip, (uint8_t)bits);

			add_list(out, atoms_find_prefix(a, &key));
		}
}

/* Standalone: rules that hold every source prefix of the family. */
static void add_sources(struct u32s *out, const struct atoms *a, const struct topology_node *n, uint8_t family)
{
	struct u32s common = { 0 };
	bool first = true;

	for (size_t i = 0; i < n->source_count; i++) {
		struct u32s one = { 0 };
		size_t k = 0;

		if (n->sources[i].ip.family != family)
			continue;
		add_prefixes(&one, a, &n->sources[i]);
		sort_unique(&one, 0);
		if (first) {
			common = one;
			first = false;
			continue;
		}
		for (size_t x = 0, y = 0; x < common.count && y < one.count;) {
			if (common.list[x] == one.list[y]) {
				common.list[k++] = common.list[x++];
				y++;
			} else if (common.list[x] < one.list[y]) {
				x++;
			} else {
				y++;
			}
		}
		common.count = k;
		free(one.list);
	}
	add_list(out, &common);
	free(common.list);
}

static struct span plain(struct span s)
{
	if (s.len && s.ptr[s.len - 1] == '@')
		s.len--;
	return s;
}

/* The names of a person, as source (src) or as somebody's devices. */
static void add_person(struct u32s *out, const struct compile *c, const struct atoms *a,
                       const struct topology_user *u, bool src)
{
	struct span tokens[2] = { plain(u->login), u->email };

	for (size_t t = 0; t < array_size(tokens); t++) {
		if (!tokens[t].len || (t && span_eq(tokens[0], tokens[1])))
			continue;
		/* A name that two people claim names nobody. */
		if (topology_user_by_login(c->topo, tokens[t]) != u)
			continue;
		add_atom(out, a, 'u', tokens[t]);
		if (c->opt.idp_only && src)
			continue;
		for (unsigned o = 0; o < 2; o++) {
			const struct policy *pol = o ? c->owner : c->pol;
			const struct group_list *l = pol ? dict_find(pol->member_index, tokens[t]) : NULL;

			for (size_t i = 0; l && i < l->count; i++)
				add_atom(out, a, o ? 'G' : 'g', pol->groups[l->list[i]].name);
		}
	}

	struct span domain = topology_user_domain(c->topo, u);

	if (domain.len)
		add_atom(out, a, 'd', domain);
	if (!(c->opt.idp_only && src))
		for (size_t i = 0; i < u->groups.count; i++)
			add_atom(out, a, 'g', u->groups.list[i]);
	for (size_t i = 0; i < u->roles.count; i++)
		add_atom(out, a, 'r', u->roles.list[i]);
	if (!u->shared)
		add_atom(out, a, 'm', SPAN(""));
	else if (src)
		add_atom(out, a, 's', SPAN(""));
}

static enum rule_state state_of(const struct auth *a, const struct topology_session *s, struct wall now,
                                struct wall *until)
{
	if (!a->set)
		return STATE_HOLDS;
	if (!auth_strong(a, s))
		return STATE_WEAK;
	if (!a->max_age)
		return STATE_HOLDS;
	/* A login of unknown age is too old; one second before maxAge it is not. */
	if (s->auth_time.sec <= 0 || s->auth_time.sec > INT64_MAX - a->max_age ||
	    now.sec >= s->auth_time.sec + a->max_age)
		return STATE_OLD;
	if (s->auth_time.sec + a->max_age < until->sec)
		until->sec = s->auth_time.sec + a->max_age;
	return STATE_HOLDS;
}

bool gather(struct compile *c, const struct topology_node *n, uint8_t family, const struct facts *f,
            struct u32s *ret_key, struct wall *ret_until)
{
	bool tagged = n->tags.count > 0;
	const struct topology_user *u = tagged ? NULL : topology_user(c->topo, n->user);
	struct u32s *key = ret_key;
	struct wall until = TOPOLOGY_NEVER;
	size_t k = 0;

	key->count = 0;
	if (ret_until)
		*ret_until = until;
	if (!tagged && !u)
		return false;
	/* A person's device is nobody's between two sessions. */
	if (u && !f->as_if) {
		if (!session_holds(n, f->now))
			return false;
		until = n->session.expires;
	}
	add_atom(key, &c->in, '*', SPAN(""));
	if (tagged) {
		add_atom(key, &c->in, 'T', SPAN(""));
		for (size_t i = 0; i < n->tags.count; i++)
			add_atom(key, &c->in, 't', n->tags.list[i]);
	} else {
		add_person(key, c, &c->in, u, true);
		for (size_t i = 0; i < n->session.groups.count; i++)
			add_atom(key, &c->in, 'i', n->session.groups.list[i]);
		if (f->as_if)
			add_atom(key, &c->in, 'I', SPAN(""));
	}
	if (n->source_count) {
		add_sources(key, &c->in, n, family);
	} else {
		const struct ip *ip = family == IP_V4 ? &n->ip4 : &n->ip6;
		struct prefix p = { *ip, ip->family == IP_V4 ? 32 : 128 };

		if (ip->family != IP_NONE)
			add_prefixes(key, &c->in, &p);
	}
	sort_unique(key, 0);
	for (size_t i = 0; i < key->count; i++) {
		const struct local_rule *l = &c->rules[key->list[i]];
		enum rule_state st;

		if (l->same_user && (!u || u->id != c->self_user))
			continue;
		/* Only a person's login can be strong or fresh. */
		if (l->rule->auth.set && tagged)
			continue;
		if (l->rule->posture_count && !posture_holds(l->rule, n))
			continue;
		st = f->as_if ? STATE_HOLDS : state_of(&l->rule->auth, &n->session, f->now, &until);
		key->list[k++] = key->list[i] << 2 | st;
	}
	key->count = k;
	if (ret_until)
		*ret_until = until;
	return true;
}

/* What lies behind a gateway has addresses and no login: rules that demand one never match. */
bool gather_route(struct compile *c, const struct topology_node *n, const struct ipset *part, struct u32s *ret_key)
{
	ret_key->count = 0;
	(void)n;
	for (size_t i = 0; i < c->rule_count; i++) {
		const struct local_rule *l = &c->rules[i];
		bool hit = false;

		if (l->same_user || l->rule->auth.set || l->rule->posture_count)
			continue;
		for (size_t s = 0; s < l->rule->src_count && !hit; s++) {
			const struct selector *sel = &l->rule->src[s];

			hit = sel->kind == SEL_ANY || sel->kind == SEL_DANGER_ALL ||
			      (sel->kind == SEL_IPS && ipset_covers(sel->ips, part));
		}
		if (hit)
			u32s_add(ret_key, (uint32_t)i << 2 | STATE_HOLDS);
	}
	return ret_key->count > 0;
}

static bool any(const struct u32s *l)
{
	return l && l->count;
}

static bool out_prefix(const struct compile *c, const struct ip *ip)
{
	const uint8_t *used = ip->family == IP_V4 ? c->out.v4_bits : c->out.v6_bits;
	unsigned width = ip->family == IP_V4 ? 32 : 128;

	for (unsigned bits = 0; ip->family != IP_NONE && bits <= width; bits++)
		if (used[bits]) {
			struct prefix key = cut(ip, (uint8_t)bits);

			if (any(atoms_find_prefix(&c->out, &key)))
				return true;
		}
	return false;
}

/* May this endpoint open a flow to n, now or after a login: then n's replies
 * must get in. Whether n lets the flow in is n's to say. */
bool we_call(const struct compile *c, const struct topology_node *n)
{
	const struct topology_user *u = n->tags.count ? NULL : topology_user(c->topo, n->user);
	const struct topology_service *s;
	size_t pos = 0;
	bool exit = false;

	if (any(atoms_find(&c->out, '*', SPAN(""))))
		return true;
	if (n->tags.count && any(atoms_find(&c->out, 'T', SPAN(""))))
		return true;
	for (size_t i = 0; i < n->tags.count; i++)
		if (any(atoms_find(&c->out, 't', n->tags.list[i])))
			return true;
	if (u) {
		struct u32s hits = { 0 };
		bool some;

		add_person(&hits, c, &c->out, u, false);
		some = hits.count > 0;
		free(hits.list);
		if (some || (u->id == c->self_user && any(atoms_find(&c->out, 'S', SPAN("")))))
			return true;
	}
	if (out_prefix(c, &n->ip4) || out_prefix(c, &n->ip6))
		return true;
	for (size_t i = 0; i < n->route_count; i++) {
		if (n->routes[i].bits == 0)
			exit = true;
	}
	if (exit && c->out_internet)
		return true;
	for (size_t k = 0; n->route_count && k < c->out_route_count; k++) {
		const struct rule *r = c->out_route_rules[k];
		bool via = r->via.count == 0;

		for (size_t v = 0; v < r->via.count; v++)
			via |= node_has_tag(n, r->via.list[v]);
		for (size_t i = 0; via && i < n->route_count; i++)
			if (!c->out_routes[k] || ipset_overlaps_prefix(c->out_routes[k], &n->routes[i]))
				return true;
	}
	/* Services only where rules name some: a mesh has few. */
	while (c->out_services && (s = topology_service_next(c->topo, &pos)))
		if (s->node == n->id && any(atoms_find(&c->out, 'v', s->name)))
			return true;
	return false;
}
