/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "policy/prune.h"

#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct names { char **list; size_t count, cap; };

struct pruner {
	const struct policy *pol;
	struct compile      *c;
	struct buf          *out;
	struct names         groups, idp, roles, attrs, postures;
	bool                 some;      /* an item of this list was written */
};

static void name_add(struct names *n, struct span s)
{
	for (size_t i = 0; i < n->count; i++)
		if (span_eq(span_str(n->list[i]), s))
			return;
	if (n->count == n->cap) {
		n->cap = n->cap ? n->cap * 2 : 8;
		n->list = mem_realloc(n->list, n->cap, sizeof(*n->list));
	}
	n->list[n->count++] = span_dup(s);
}

static int cmp_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void comma(struct pruner *p)
{
	if (p->some)
		buf_add_char(p->out, ',');
	p->some = true;
}

static void key(struct pruner *p, const char *name)
{
	comma(p);
	buf_addf(p->out, "\"%s\":", name);
	p->some = false;
}

static void put_ports(struct buf *out, const struct ip_spec *ip)
{
	if (ip->port_count == 1 && ip->ports[0].lo == 0 && ip->ports[0].hi == UINT16_MAX) {
		buf_add_char(out, '*');
		return;
	}
	for (size_t i = 0; i < ip->port_count; i++) {
		buf_addf(out, "%s%u", i ? "," : "", ip->ports[i].lo);
		if (ip->ports[i].hi != ip->ports[i].lo)
			buf_addf(out, "-%u", ip->ports[i].hi);
	}
}

struct put_name { struct pruner *p; const struct ip_spec *ip; };

static void put_one(struct put_name *x, const char *text, size_t len)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 64 << 10);
	buf_add(&b, text, len);
	if (x->ip) {
		buf_add_char(&b, ':');
		put_ports(&b, x->ip);
	}
	comma(x->p);
	buf_add_json(x->p->out, buf_span(&b));
}

static void put_prefix(void *arg, const struct prefix *prefix)
{
	char buf[IP_TEXT_MAX];

	prefix_text(prefix, buf);
	put_one(arg, buf, strlen(buf));
}

/* Names of addresses are written as the addresses: hosts and ipsets stay here. */
static void put_selector(struct pruner *p, const struct selector *s, const struct ip_spec *acl_ports)
{
	struct put_name x = { p, acl_ports };

	switch (s->kind) {
	case SEL_IPS:
		ipset_prefixes(s->ips, put_prefix, &x);
		return;
	case SEL_GROUP:
		name_add(&p->groups, s->text);
		break;
	case SEL_IDP:
		name_add(&p->idp, s->name);
		break;
	case SEL_ROLE:
		name_add(&p->roles, s->name);
		break;
	default:
		break;
	}
	put_one(&x, s->text.ptr, s->text.len);
}

static void put_list(struct pruner *p, const char *name, const struct spans *l)
{
	if (!l->count)
		return;
	key(p, name);
	buf_add_char(p->out, '[');
	for (size_t i = 0; i < l->count; i++) {
		comma(p);
		buf_add_json(p->out, l->list[i]);
	}
	buf_add_char(p->out, ']');
	p->some = true;
}

static bool named(const bool *keep, size_t i)
{
	return !keep || keep[i];
}

/* What only matters inside: conditions, HTTP, capabilities. */
static void put_conditions(struct pruner *p, const struct rule *r)
{
	struct buf *out = p->out;

	if (r->http) {
		key(p, "http");
		buf_add_char(out, '[');
		for (size_t i = 0; i < r->http_count; i++) {
			comma(p);
			buf_add_char(out, '{');
			p->some = false;
			put_list(p, "methods", &r->http[i].methods);
			put_list(p, "hosts", &r->http[i].hosts);
			put_list(p, "paths", &r->http[i].paths);
			buf_add_char(out, '}');
			p->some = true;
		}
		buf_add_char(out, ']');
		p->some = true;
	}
	if (r->auth.set) {
		key(p, "auth");
		buf_add_char(out, '{');
		p->some = false;
		if (r->auth.mfa) {
			key(p, "mfa");
			buf_add_str(out, "true");
			p->some = true;
		}
		if (r->auth.max_age) {
			key(p, "maxAge");
			buf_addf(out, "%lld", (long long)r->auth.max_age);
			p->some = true;
		}
		put_list(p, "acr", &r->auth.acr);
		put_list(p, "amr", &r->auth.amr);
		buf_add_char(out, '}');
		p->some = true;
	}
	if (r->stale != INT64_MAX) {
		key(p, "stale");
		if (span_eq(r->stale_text, SPAN("deny")))
			buf_add_str(out, "\"deny\"");
		else
			buf_addf(out, "%lld", (long long)r->stale);
		p->some = true;
	}
	if (r->cap_count) {
		key(p, "app");
		buf_add_char(out, '{');
		for (size_t i = 0; i < r->cap_count; i++) {
			comma(p);
			buf_add_json(out, r->caps[i].name);
			buf_add_char(out, ':');
			buf_add_span(out, r->caps[i].json);
		}
		buf_add_char(out, '}');
		p->some = true;
	}
}

static void put_ips(struct pruner *p, const struct rule_dst *d)
{
	key(p, "ip");
	buf_add_char(p->out, '[');
	for (size_t i = 0; i < d->ip_count; i++) {
		scoped_buf struct buf b = { 0 };

		buf_init(&b, 64 << 10);
		if (!d->ip[i].default_protos)
			buf_addf(&b, "%u:", d->ip[i].protos[0]);
		put_ports(&b, &d->ip[i]);
		comma(p);
		buf_add_json(p->out, buf_span(&b));
	}
	buf_add_char(p->out, ']');
	p->some = true;
}

/* One rule with the sources and destinations that are kept. */
static void put_rule(struct pruner *p, const struct rule *r, const bool *src, const bool *dst)
{
	struct buf *out = p->out;

	comma(p);
	buf_add_char(out, '{');
	p->some = false;
	key(p, "at");
	buf_addf(out, "[%u,%u,%u]", r->at.line, r->at.col, r->index);
	p->some = true;
	if (r->acl) {
		key(p, "action");
		buf_add_str(out, "\"accept\"");
		p->some = true;
	}
	key(p, "src");
	buf_add_char(out, '[');
	for (size_t i = 0; i < r->src_count; i++)
		if (named(src, i))
			put_selector(p, &r->src[i], NULL);
	buf_add_char(out, ']');
	p->some = true;
	key(p, "dst");
	buf_add_char(out, '[');
	for (size_t i = 0; i < r->dst_count; i++)
		if (named(dst, i))
			put_selector(p, &r->dst[i].sel, r->acl && r->dst[i].ip_count ? &r->dst[i].ip[0] : NULL);
	buf_add_char(out, ']');
	p->some = true;
	if (r->acl && r->dst_count && !r->dst[0].ip[0].default_protos) {
		key(p, "proto");
		buf_addf(out, "\"%u\"", r->dst[0].ip[0].protos[0]);
		p->some = true;
	}
	if (!r->acl && r->ip_given)
		put_ips(p, &r->dst[0]);
	put_list(p, "via", &r->via);
	/* Every condition stays, outbound too: what is told is a part of the rule and never
	 * more, and a name that stands for others can stand for this node as well. */
	put_conditions(p, r);
	if (r->posture_count) {
		key(p, "srcPosture");
		buf_add_char(out, '[');
		for (size_t i = 0; i < r->posture_count; i++) {
			comma(p);
			buf_add_json(out, r->postures[i]->name);
			name_add(&p->postures, r->postures[i]->name);
		}
		buf_add_char(out, ']');
		p->some = true;
	}
	buf_add_char(out, '}');
	p->some = true;
}

static const char *const posture_ops[] = { "==", "!=", "<", "<=", ">", ">=", " IN ", " NOT IN ", " IS SET", " NOT SET" };

static void put_postures(struct pruner *p)
{
	if (!p->postures.count)
		return;
	key(p, "postures");
	buf_add_char(p->out, '{');
	for (size_t i = 0; i < p->postures.count; i++) {
		const struct posture *q = dict_find(p->pol->posture_index, span_str(p->postures.list[i]));

		comma(p);
		buf_add_json(p->out, q->name);
		buf_add_str(p->out, ":[");
		for (size_t t = 0; t < q->test_count; t++) {
			const struct posture_test *x = &q->tests[t];
			bool list = x->op == OP_IN || x->op == OP_NOT_IN;
			scoped_buf struct buf b = { 0 };

			name_add(&p->attrs, x->attr);
			buf_init(&b, 64 << 10);
			buf_addf(&b, "%.*s%s%s", SPAN_ARG(x->attr), posture_ops[x->op], list ? "[" : "");
			for (size_t v = 0; v < x->values.count; v++)
				buf_addf(&b, "%s'%.*s'", v ? "," : "", SPAN_ARG(x->values.list[v]));
			if (list)
				buf_add_char(&b, ']');
			if (t)
				buf_add_char(p->out, ',');
			buf_add_json(p->out, buf_span(&b));
		}
		buf_add_char(p->out, ']');
	}
	buf_add_char(p->out, '}');
	p->some = true;
}

static void put_rules(struct pruner *p, bool acl)
{
	struct compile *c = p->c;

	key(p, acl ? "acls" : "grants");
	buf_add_char(p->out, '[');
	for (size_t i = 0; i < p->pol->rule_count; i++) {
		const struct rule *r = &p->pol->rules[i];
		bool *dst = mem_calloc(r->dst_count + 1, sizeof(*dst)), *src = mem_calloc(r->src_count + 1, sizeof(*src));
		bool any_dst = false, any_src = false;

		if (r->acl == acl) {
			rule_touches(c, r, src, dst, &any_src, &any_dst);
			if (any_dst)
				put_rule(p, r, NULL, dst);
			/* A grant of capabilities alone lets this node call nobody. */
			for (size_t d = 0, calls = 0; d < r->dst_count; d++) {
				dst[d] = r->ip_given || r->dst[d].sel.kind == SEL_SVC;
				calls += dst[d];
				if (d + 1 == r->dst_count)
					any_src &= calls > 0;
			}
			if (any_src)
				put_rule(p, r, src, dst);
		}
		free(dst);
		free(src);
	}
	buf_add_char(p->out, ']');
	p->some = true;
}

static void put_attr(void *arg, struct span attr)
{
	struct pruner *p = arg;

	comma(p);
	buf_add_json(p->out, attr);
}

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static char **take_names(struct names *n, size_t *ret_n)
{
	if (n->count)
		qsort(n->list, n->count, sizeof(*n->list), cmp_names);
	*ret_n = n->count;
	return n->list;
}

void policy_prune(const struct policy *pol, const struct topology *topo, uint64_t self,
                  struct prune *ret_prune)
{
	struct compile_options opt = { 0 };
	struct pruner p = { .pol = pol, .out = &ret_prune->text };
	const struct topology_node *n;
	size_t pos = 0;

	memset(ret_prune, 0, sizeof(*ret_prune));
	buf_init(&ret_prune->text, POLICY_TEXT_MAX);
	p.c = compile_rules((struct policy *)(uintptr_t)pol, NULL, topo, self, &opt);
	ret_prune->nodes = mem_calloc(topology_node_count(topo) + 1, sizeof(*ret_prune->nodes));
	while ((n = topology_node_next(topo, &pos)))
		if (compile_sees(p.c, n))
			ret_prune->nodes[ret_prune->node_count++] = n->id;
	qsort(ret_prune->nodes, ret_prune->node_count, sizeof(*ret_prune->nodes), cmp_u64);
	buf_add_char(p.out, '{');
	put_rules(&p, true);
	put_rules(&p, false);
	put_postures(&p);
	if (pol->attr_count) {
		key(&p, "nodeAttrs");
		buf_add_str(p.out, "[{\"target\":[\"*\"],\"attr\":[");
		policy_node_attrs(pol, topo, self, put_attr, &p);
		buf_add_str(p.out, "]}]");
	}
	buf_add_char(p.out, '}');
	ret_prune->groups = take_names(&p.groups, &ret_prune->group_count);
	ret_prune->idp_groups = take_names(&p.idp, &ret_prune->idp_group_count);
	ret_prune->roles = take_names(&p.roles, &ret_prune->role_count);
	ret_prune->attrs = take_names(&p.attrs, &ret_prune->attr_count);
	for (size_t i = 0; i < p.postures.count; i++)
		free(p.postures.list[i]);
	free(p.postures.list);
	compile_free(p.c);
}

static void names_done(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void prune_done(struct prune *p)
{
	buf_done(&p->text);
	free(p->nodes);
	names_done(p->groups, p->group_count);
	names_done(p->idp_groups, p->idp_group_count);
	names_done(p->roles, p->role_count);
	names_done(p->attrs, p->attr_count);
	memset(p, 0, sizeof(*p));
}

void policy_user_groups(const struct policy *pol, const struct topology *topo, uint64_t user,
                        prune_group_fn *fn, void *arg)
{
	const struct topology_user *u = topology_user(topo, user);
	struct names all = { 0 };

	if (!u)
		return;
	{
		struct span tokens[2] = { u->login, u->email };

		if (tokens[0].len && tokens[0].ptr[tokens[0].len - 1] == '@')
			tokens[0].len--;
		for (size_t t = 0; t < 2; t++) {
			const struct group_list *l = tokens[t].len && topology_user_by_login(topo, tokens[t]) == u ?
			                             dict_find(pol->member_index, tokens[t]) : NULL;

			for (size_t i = 0; l && i < l->count; i++)
				name_add(&all, pol->groups[l->list[i]].name);
		}
	}
	for (size_t i = 0; i < u->groups.count; i++)
		name_add(&all, u->groups.list[i]);
	if (all.count)
		qsort(all.list, all.count, sizeof(*all.list), cmp_names);
	for (size_t i = 0; i < all.count; i++) {
		fn(arg, span_str(all.list[i]));
		free(all.list[i]);
	}
	free(all.list);
}
