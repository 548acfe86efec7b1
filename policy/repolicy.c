/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Another policy where little changed. Local rules of before and after are
 * matched by what they say; classes keep their ids under the rules' new
 * numbers, and only nodes that a changed rule or group names are looked at.
 */
#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { GONE = UINT32_MAX };

/* ---- what a local rule says, as bytes ---- */

static void put(struct buf *b, const void *p, size_t n)
{
	buf_add(b, p, n);
}

static void put_n(struct buf *b, uint64_t n)
{
	put(b, &n, sizeof(n));
}

static void put_span(struct buf *b, struct span s)
{
	put_n(b, s.len);
	buf_add_span(b, s);
}

static void put_spans(struct buf *b, const struct spans *s)
{
	put_n(b, s->count);
	for (size_t i = 0; i < s->count; i++)
		put_span(b, s->list[i]);
}

static void put_ranges(struct buf *b, const struct ip_ranges *r)
{
	put_n(b, r->count);
	put(b, r->list, r->count * sizeof(*r->list));
}

static void put_source(struct buf *b, const struct selector *s)
{
	put_n(b, s->kind);
	put_span(b, s->text);
	/* Whether an owner's file defines the group or only names it. */
	put_n(b, s->kind == SEL_GROUP && s->index != UINT32_MAX);
	if (s->ips) {
		put_ranges(b, &s->ips->v4);
		put_ranges(b, &s->ips->v6);
	}
}

static void put_postures(struct buf *b, const struct rule *r)
{
	put_n(b, r->posture_count);
	for (size_t i = 0; i < r->posture_count; i++) {
		const struct posture *p = r->postures[i];

		put_n(b, p->test_count);
		for (size_t t = 0; t < p->test_count; t++) {
			put_span(b, p->tests[t].attr);
			put_n(b, p->tests[t].op);
			put_spans(b, &p->tests[t].values);
		}
	}
}

static void signature(struct buf *b, const struct local_rule *l)
{
	const struct rule *r = l->rule;

	buf_clear(b);
	put_n(b, (uint64_t)l->owner << 2 | (uint64_t)l->same_user << 1 | l->names_host);
	put_n(b, r->src_count);
	for (size_t i = 0; i < r->src_count; i++)
		put_source(b, &r->src[i]);
	put_n(b, l->cover_count);
	for (size_t i = 0; i < l->cover_count; i++) {
		const struct cover *v = &l->covers[i];

		put_n(b, (uint64_t)v->dest << 32 | (uint64_t)v->proto << 1 | v->local);
		put_n(b, (uint64_t)v->lo << 16 | v->hi);
	}
	put_n(b, l->svc_count);
	for (size_t i = 0; i < l->svc_count; i++) {
		put_n(b, (uint64_t)l->svc[i].service << 8 | l->svc[i].families);
		put_n(b, l->svc[i].ports);
	}
	put_n(b, (uint64_t)r->auth.set << 1 | r->auth.mfa);
	put_n(b, (uint64_t)r->auth.max_age);
	put_spans(b, &r->auth.acr);
	put_spans(b, &r->auth.amr);
	put_n(b, (uint64_t)r->stale);
	put_n(b, r->http_count);
	for (size_t i = 0; i < r->http_count; i++) {
		put_spans(b, &r->http[i].methods);
		put_spans(b, &r->http[i].hosts);
		put_spans(b, &r->http[i].paths);
	}
	put_n(b, r->cap_count);
	for (size_t i = 0; i < r->cap_count; i++) {
		put_span(b, r->caps[i].name);
		put_span(b, r->caps[i].json);
	}
	put_postures(b, r);
}

/* Whom this endpoint may call follows from these alone (and from who is in groups). */
static void out_signature(struct buf *b, const struct compile *c)
{
	struct span key;
	void *value;
	size_t pos = 0;
	uint64_t sum[2] = { 0, 0 };

	/* A dict walks in no order: its keys are added up, each as a long random-looking number. */
	while (dict_next(c->out.index, &pos, &key, &value)) {
		static const struct hash_key keys[2] = { { 1, 2 }, { 3, 4 } };

		for (unsigned i = 0; i < 2; i++)
			sum[i] += hash_bytes(&keys[i], key.ptr, key.len);
	}
	put(b, sum, sizeof(sum));
	put_n(b, (uint64_t)c->out_internet << 1 | c->out_services);
	put_n(b, c->out_route_count);
	for (size_t i = 0; i < c->out_route_count; i++) {
		put_spans(b, &c->out_route_rules[i]->via);
		put_n(b, c->out_routes[i] != NULL);
		if (c->out_routes[i]) {
			put_ranges(b, &c->out_routes[i]->v4);
			put_ranges(b, &c->out_routes[i]->v6);
		}
	}
}

static bool same_endpoint(const struct compile *a, const struct compile *b)
{
	scoped_buf struct buf x = { 0 }, y = { 0 };
	bool same = a->dest_count == b->dest_count && a->service_count == b->service_count && a->self_user == b->self_user &&
	            a->front_port_count == b->front_port_count && !a->owner == !b->owner;

	for (size_t i = 0; same && i < a->dest_count; i++)
		same = a->dests[i].lo == b->dests[i].lo && a->dests[i].hi == b->dests[i].hi && a->dests[i].id == b->dests[i].id &&
		       a->dests[i].family == b->dests[i].family && a->dests[i].local == b->dests[i].local;
	for (size_t i = 0; same && i < a->service_count; i++)
		same = span_eq(a->services[i].name, b->services[i].name) && a->services[i].http == b->services[i].http &&
		       a->services[i].port_count == b->services[i].port_count &&
		       memcmp(a->services[i].ports, b->services[i].ports, sizeof(a->services[i].ports)) == 0;
	buf_init(&x, TABLES_MAX);
	buf_init(&y, TABLES_MAX);
	out_signature(&x, a);
	out_signature(&y, b);
	return same && span_eq(buf_span(&x), buf_span(&y));
}

/* ---- who is touched ---- */

struct touched {
	struct dict *people;    /* logins */
	struct dict *groups;    /* names, for people whom the coordinator says are in them */
	struct dict *tags;
	bool         all;       /* too many to name */
};

static void mark(struct dict *d, struct span key)
{
	static char yes;

	dict_put(d, key, &yes);
}

static void touch_group(struct touched *t, const struct policy *pol, struct span name)
{
	const struct group *g = pol ? dict_find(pol->group_index, name) : NULL;

	mark(t->groups, name);
	for (size_t i = 0; g && i < g->members.count; i++)
		mark(t->people, g->members.list[i]);
}

static void touch_rule(struct touched *t, const struct compile *c, const struct local_rule *l)
{
	for (size_t i = 0; i < l->rule->src_count; i++) {
		const struct selector *s = &l->rule->src[i];

		switch (s->kind) {
		case SEL_USER:
			mark(t->people, s->name);
			break;
		case SEL_GROUP:
			touch_group(t, c->pol, s->text);
			touch_group(t, c->owner, s->text);
			break;
		case SEL_TAG:
			mark(t->tags, s->text);
			break;
		default:
			t->all = true;
		}
	}
}

/* Everybody who is in a group of only one of the two. */
static void touch_members(struct touched *t, const struct policy *a, const struct policy *b)
{
	for (size_t i = 0; a && i < a->group_count; i++) {
		const struct group *g = &a->groups[i], *o = b ? dict_find(b->group_index, g->name) : NULL;
		struct dict *there;

		/* Defined by only one of them: what the coordinator says of it may count now, or no more. */
		if (!o) {
			touch_group(t, a, g->name);
			continue;
		}
		if (g->members.count == o->members.count) {
			size_t same = 0;

			while (same < g->members.count && span_eq(g->members.list[same], o->members.list[same]))
				same++;
			if (same == g->members.count)
				continue;
		}
		there = dict_new();
		for (size_t m = 0; m < o->members.count; m++)
			mark(there, o->members.list[m]);
		for (size_t m = 0; m < g->members.count; m++)
			if (!dict_find(there, g->members.list[m]))
				mark(t->people, g->members.list[m]);
		dict_free(there);
	}
}

static void update_devices(struct compile *c, uint64_t user, struct wall now)
{
	size_t n;
	const uint64_t *ids = topology_devices(c->topo, user, &n);

	for (size_t i = 0; i < n; i++)
		peer_update(c, ids[i], now);
}

static void update_touched(struct compile *c, const struct touched *t, struct wall now)
{
	const struct topology_user *u;
	const struct topology_node *n;
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(t->people, &pos, &key, &value)) {
		u = topology_user_by_login(c->topo, key);
		if (u)
			update_devices(c, u->id, now);
	}
	for (pos = 0; dict_count(t->groups) && (u = topology_user_next(c->topo, &pos));)
		for (size_t i = 0; i < u->groups.count; i++)
			if (dict_find(t->groups, u->groups.list[i])) {
				update_devices(c, u->id, now);
				break;
			}
	for (pos = 0; dict_count(t->tags) && (n = topology_node_next(c->topo, &pos));)
		for (size_t i = 0; i < n->tags.count; i++)
			if (dict_find(t->tags, n->tags.list[i])) {
				peer_update(c, n->id, now);
				break;
			}
}

/* ---- the whole ---- */

/* was: the local rules and policies of before; c has the new ones, and the
 * classes and peers of before. False: too much changed, compile all. */
bool repolicy(struct compile *c, const struct compile *was, struct wall now)
{
	struct touched t = { dict_new(), dict_new(), dict_new(), false };
	struct dict *by = dict_new();
	uint32_t *next = mem_calloc(was->rule_count + 1, sizeof(*next));
	uint32_t *map = mem_calloc(was->rule_count + 1, sizeof(*map));
	bool *kept = mem_calloc(c->rule_count + 1, sizeof(*kept)), ok;
	scoped_buf struct buf sig = { 0 };

	buf_init(&sig, TABLES_MAX);
	/* Rules that say the same form a chain, taken from its end. */
	for (size_t i = was->rule_count; i > 0; i--) {
		signature(&sig, &was->rules[i - 1]);
		next[i - 1] = (uint32_t)(uintptr_t)dict_put(by, buf_span(&sig), (void *)(uintptr_t)i);
		map[i - 1] = GONE;
	}
	for (size_t i = 0; i < c->rule_count; i++) {
		uintptr_t old;

		signature(&sig, &c->rules[i]);
		old = (uintptr_t)dict_find(by, buf_span(&sig));
		if (!old)
			continue;
		map[old - 1] = (uint32_t)i;
		kept[i] = true;
		if (next[old - 1])
			dict_put(by, buf_span(&sig), (void *)(uintptr_t)next[old - 1]);
		else
			dict_remove(by, buf_span(&sig));
	}
	dict_free(by);
	for (size_t i = 0; i < was->rule_count; i++)
		if (map[i] == GONE)
			touch_rule(&t, was, &was->rules[i]);
	for (size_t i = 0; i < c->rule_count; i++)
		if (!kept[i])
			touch_rule(&t, c, &c->rules[i]);
	touch_members(&t, was->pol, c->pol);
	touch_members(&t, c->pol, was->pol);
	touch_members(&t, was->owner, c->owner);
	touch_members(&t, c->owner, was->owner);
	ok = !t.all && same_endpoint(was, c);
	if (ok) {
		classes_renumber(c, map);
		update_touched(c, &t, now);
		/* Only now: before, the keys of classes spoke of the rules by their old numbers. */
		compile_tick(c, now);
		/* No class of a rule that is gone may be left: then somebody was forgotten. */
		ok = classes_clean(c);
	}
	dict_free(t.people);
	dict_free(t.groups);
	dict_free(t.tags);
	free(next);
	free(map);
	free(kept);
	return ok;
}
