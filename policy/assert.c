/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "policy/assert.h"

#include "policy/compile.h"
#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Nodes that stand for people and tags without a device of their own: their
 * addresses are from ranges that no packet can carry. */
enum { STAND_IN_FIRST = 1 };
#define STAND_IN_ID UINT64_C(0xffff000000000000)

struct rule_sets {
	struct ipset src, *dst;         /* dst: one for each of the rule's destinations */
};

struct run {
	const struct policy   *pol;
	const struct topology *topo;
	struct topology       *mine;    /* where stand-ins were needed */
	struct rule_sets      *rules;
	struct wall            now;
	assert_headers_fn     *headers;
	void                  *arg;
	struct diags          *diags;
};

static const struct topology_user *person(const struct topology *t, const struct topology_node *n)
{
	return n->tags.count ? NULL : topology_user(t, n->user);
}

static bool selects(const struct policy *pol, const struct topology *topo, const struct topology_node *n,
                    const struct selector *s)
{
	const struct topology_user *u = person(topo, n);

	switch (s->kind) {
	case SEL_ANY:
	case SEL_DANGER_ALL:
		return true;
	case SEL_USER:
		return u && user_is(topo, u, s->name);
	case SEL_DOMAIN:
		return u && span_eq(topology_user_domain(topo, u), s->name);
	case SEL_GROUP:
		return u && user_in_group(pol, topo, u, s->index, s->text, false);
	case SEL_TAG:
		return node_has_tag(n, s->text);
	case SEL_MEMBER:
		return u && !u->shared;
	case SEL_TAGGED:
		return n->tags.count > 0;
	case SEL_SHARED:
		return u && u->shared;
	case SEL_ROLE:
		return u && in_spans(&u->roles, s->name);
	case SEL_IDP:
		return u && in_spans(&n->session.groups, s->name);
	default:
		return false;
	}
}

static void add_node(struct ipset *set, const struct topology_node *n)
{
	if (n->ip4.family != IP_NONE)
		ipset_add(set, &(struct prefix){ n->ip4, 32 });
	if (n->ip6.family != IP_NONE)
		ipset_add(set, &(struct prefix){ n->ip6, 128 });
}

static void add_text(struct ipset *set, const char *text)
{
	struct prefix p;

	if (prefix_parse(span_str(text), &p))
		ipset_add(set, &p);
}

/* All addresses that a name stands for; postures only let through nodes that hold them. */
static void resolve(const struct run *r, const struct selector *s, const struct rule *rule, struct ipset *set)
{
	const struct topology_service *svc;
	const struct topology_node *n;
	size_t pos = 0;

	if (s->kind == SEL_IPS && !(rule && rule->posture_count)) {
		ipset_add_set(set, s->ips);
		return;
	}
	if (s->kind == SEL_INTERNET) {
		ipset_internet(set);
		return;
	}
	if (s->kind == SEL_SVC) {
		while ((svc = topology_service_next(r->topo, &pos)))
			if (span_eq(svc->name, s->name) && (n = topology_node(r->topo, svc->node)))
				add_node(set, n);
		return;
	}
	while ((n = topology_node_next(r->topo, &pos))) {
		if (rule && rule->posture_count && !posture_holds(rule, n))
			continue;
		if (s->kind == SEL_IPS ? ipset_has(s->ips, &n->ip4) || ipset_has(s->ips, &n->ip6) :
		    selects(r->pol, r->topo, n, s))
			add_node(set, n);
		if ((s->kind == SEL_ANY || s->kind == SEL_DANGER_ALL) && !(rule && rule->posture_count))
			for (size_t i = 0; i < n->route_count; i++)
				if (n->routes[i].bits)
					ipset_add(set, &n->routes[i]);
	}
	/* "*" is every overlay address, given out or not. */
	if ((s->kind == SEL_ANY || s->kind == SEL_DANGER_ALL) && !(rule && rule->posture_count)) {
		add_text(set, "100.64.0.0/10");
		add_text(set, "fd7a:115c:a1e0::/48");
	}
}

static bool ports_allow(const struct rule_dst *d, const struct policy_test *t, struct port_range port)
{
	for (size_t i = 0; i < d->ip_count; i++) {
		bool proto = false, in = false;

		for (size_t k = 0; k < d->ip[i].proto_count; k++)
			proto |= t->proto == 0 ? d->ip[i].protos[k] == 6 || d->ip[i].protos[k] == 17 ||
			                         d->ip[i].protos[k] == 1 || d->ip[i].protos[k] == 58 :
			         d->ip[i].protos[k] == t->proto;
		for (size_t k = 0; k < d->ip[i].port_count; k++)
			in |= d->ip[i].ports[k].lo <= port.lo && port.hi <= d->ip[i].ports[k].hi;
		if (proto && in)
			return true;
	}
	return false;
}

/* Through one of the gateways named by via, if one routes it. */
static bool via_reaches(const struct run *r, const struct rule *rule, const struct ipset *dst)
{
	const struct topology_node *n;
	size_t pos = 0;

	while ((n = topology_node_next(r->topo, &pos))) {
		bool tagged = false;

		for (size_t i = 0; i < rule->via.count; i++)
			tagged |= node_has_tag(n, rule->via.list[i]);
		for (size_t i = 0; tagged && i < n->route_count; i++)
			if (n->routes[i].bits && ipset_overlaps_prefix(dst, &n->routes[i]))
				return true;
	}
	return false;
}

/* A rule with http opens fronted ports alone. */
static bool fronted(const struct run *r, const struct ipset *dst, struct port_range port)
{
	const struct topology_service *s;
	size_t pos = 0;

	while ((s = topology_service_next(r->topo, &pos))) {
		const struct topology_node *n = topology_node(r->topo, s->node);

		for (size_t i = 0; s->http && n && i < s->port_count; i++)
			if (s->ports[i] == port.lo && (ipset_has(dst, &n->ip4) || ipset_has(dst, &n->ip6)))
				return true;
	}
	return false;
}

static bool prefix_reaches(const struct run *r, const struct policy_test *t, const struct policy_test_dst *d,
                           const struct prefix *src, const struct ipset *dst)
{
	const struct topology_node *from = topology_node_by_ip(r->topo, &src->ip);

	for (size_t i = 0; i < r->pol->rule_count; i++) {
		const struct rule *rule = &r->pol->rules[i];

		if (!ipset_overlaps_prefix(&r->rules[i].src, src))
			continue;
		for (size_t k = 0; k < rule->dst_count; k++) {
			const struct rule_dst *rd = &rule->dst[k];

			if (!ports_allow(rd, t, d->port) || (rule->http && !fronted(r, dst, d->port)))
				continue;
			if (rd->sel.kind == SEL_SELF || d->sel.kind == SEL_SELF) {
				/* One's own devices: only for people, and "self" only meets itself. */
				if (rd->sel.kind == SEL_SELF && from && person(r->topo, from) &&
				    (d->sel.kind == SEL_SELF))
					return true;
				continue;
			}
			if (!ipset_overlaps(&r->rules[i].dst[k], dst))
				continue;
			if (rule->via.count && !via_reaches(r, rule, dst))
				continue;
			return true;
		}
	}
	return false;
}

struct src_walk { const struct run *r; const struct policy_test *t; const struct policy_test_dst *d;
	const struct ipset *dst; bool all; };

static void src_prefix(void *arg, const struct prefix *p)
{
	struct src_walk *w = arg;

	w->all = w->all && prefix_reaches(w->r, w->t, w->d, p, w->dst);
}

/* ---- tests that ask the tables ---- */

struct header_want { const struct policy_test *t; bool *met; bool wrong; };

static bool same_name(struct span a, struct span b)
{
	return span_ieq(a, b);
}

static void header_seen(void *arg, struct span name, struct span value)
{
	struct header_want *w = arg;

	for (size_t i = 0; i < w->t->header_names.count; i++)
		if (same_name(w->t->header_names.list[i], name)) {
			if (!w->t->header_values.list[i].ptr)
				w->wrong = true;        /* null: must be absent */
			else if (span_eq(w->t->header_values.list[i], value))
				w->met[i] = true;
		}
}

static bool headers_hold(const struct run *r, const struct policy_test *t, const struct topology_service *svc,
                         const struct topology_node *n)
{
	bool *met = mem_calloc(t->header_names.count + 1, sizeof(*met)), ok;
	struct header_want w = { t, met, false };

	ok = r->headers && r->headers(r->arg, svc, person(r->topo, n), n, header_seen, &w) && !w.wrong;
	for (size_t i = 0; i < t->header_names.count; i++)
		ok &= met[i] || !t->header_values.list[i].ptr;
	free(met);
	return ok;
}

enum { TEST_AMR_MAX = POLICY_HTTP_MAX + 1 };

/* The caller as the test says it is logged in. */
static struct topology_node logged_in(const struct run *r, const struct policy_test *t, const struct topology_node *src,
                                      struct span amr[TEST_AMR_MAX])
{
	struct topology_node n = *src;
	size_t count = 0;

	/* What a file allows does not depend on who happens to be logged in. */
	if (!session_holds(&n, r->now))
		n.session.expires = TOPOLOGY_NEVER;
	if (!t->has_session || !person(r->topo, src))
		return n;
	for (; count < t->amr.count; count++)
		amr[count] = t->amr.list[count];
	if (t->mfa)
		amr[count++] = SPAN("mfa");
	n.session = (struct topology_session){ .expires = TOPOLOGY_NEVER, .acr = t->acr, .amr = { amr, count },
		.groups = t->idp.count ? t->idp : src->session.groups };
	if (t->age >= 0)
		n.session.auth_time.sec = r->now.sec - t->age;
	return n;
}

static bool one_service(struct run *r, const struct policy_test *t, const struct policy_test_dst *d,
                        const struct topology_service *svc, const struct topology_node *src, struct reason *why)
{
	struct topology *one = topology_new();
	const struct topology_node n = *src;
	const struct topology_user *u = person(r->topo, src);
	const struct topology_node *host = topology_node(r->topo, svc->node);
	struct compile_peer peer = { 0 };
	scoped_buf struct buf flat = { 0 };
	struct compile *c;
	bool ok = false;

	if (u) {
		const struct topology_user *host_user = person(r->topo, host);

		topology_user_put(one, u);
		if (host_user)
			topology_user_put(one, host_user);
	}
	topology_node_put(one, host);
	topology_node_put(one, &n);
	topology_service_put(one, svc);
	c = compile_new((struct policy *)(uintptr_t)r->pol, NULL, one, host->id, NULL, r->now);
	buf_init(&flat, TABLES_MAX);
	compile_tables(c, &flat);
	if (flat.len && compile_peer(c, n.id, &peer)) {
		const struct tables *tab = tables_map(flat.ptr);
		struct tables_request req = { .method = t->method, .path = t->path, .family = IP_V4,
			.host = t->host.len ? t->host : svc->hosts.count ? svc->hosts.list[0] : svc->name };
		struct tables_session ses = { n.session.auth_time, u ? n.session.expires : TOPOLOGY_NEVER };
		struct err err;

		ok = tables_check(flat.ptr, flat.len, &err);
		for (size_t i = 0; ok && i < svc->port_count; i++) {
			enum verdict v;

			req.port = svc->ports[i];
			if (d->port.lo && d->port.lo != req.port)
				continue;
			if (t->has_http && svc->http)
				v = tables_http(tab, peer.class4, tables_service(tab, svc->name), &req, &ses, r->now, t->silent, why);
			else
				v = tables_packet(tab, peer.class4, &host->ip4, t->proto ? t->proto : 6, req.port, t->silent, why);
			if (v == VERDICT_ALLOW)
				goto done;
		}
		ok = false;
	}
done:
	compile_free(c);
	topology_free(one);
	return ok;
}

static bool asks_tables(const struct policy_test *t, const struct policy_test_dst *d)
{
	return t->has_http || t->has_session || t->silent >= 0 || d->sel.kind == SEL_SVC;
}

/* -1: nothing to ask; else whether every source is allowed. */
static int tables_say(struct run *r, const struct policy_test *t, const struct policy_test_dst *d,
                      struct span *ret_who, struct reason *why, bool *ret_headers)
{
	const struct topology_service *svc;
	const struct topology_node *n;
	size_t pos = 0;
	int all = -1;

	*ret_headers = true;
	while ((n = topology_node_next(r->topo, &pos))) {
		struct span amr[TEST_AMR_MAX];
		struct topology_node as;
		size_t q = 0;
		int some = -1;

		/* A group of the IdP in the test's own session makes anybody its member. */
		if (t->src.kind == SEL_IDP ? !person(r->topo, n) || !in_spans(&t->idp, t->src.name) :
		    t->src.kind == SEL_IPS ? !ipset_has(t->src.ips, &n->ip4) && !ipset_has(t->src.ips, &n->ip6) :
		    !selects(r->pol, r->topo, n, &t->src))
			continue;
		as = logged_in(r, t, n, amr);
		while ((svc = topology_service_next(r->topo, &q))) {
			const struct topology_node *host = topology_node(r->topo, svc->node);
			struct ipset dst = { 0 };
			bool meant;

			if (!host || host == n)
				continue;
			resolve(r, &d->sel, NULL, &dst);
			meant = d->sel.kind == SEL_SVC ? span_eq(svc->name, d->sel.name) : ipset_has(&dst, &host->ip4) ||
			        ipset_has(&dst, &host->ip6);
			ipset_done(&dst);
			if (!meant)
				continue;
			if (some != 1)
				some = one_service(r, t, d, svc, &as, why);
			if (some == 1 && t->header_names.count && !headers_hold(r, t, svc, &as))
				*ret_headers = false;
		}
		if (some < 0)
			continue;
		if (!some)
			*ret_who = n->name;
		all = all == 0 ? 0 : some;
		if (!all)
			break;
	}
	return all;
}

/* ---- stand-ins ---- */

static struct topology *copy_topology(const struct topology *from)
{
	struct topology *t = topology_new();
	const struct topology_user *u;
	const struct topology_node *n;
	const struct topology_service *s;
	size_t pos = 0;

	while ((u = topology_user_next(from, &pos)))
		topology_user_put(t, u);
	pos = 0;
	while ((n = topology_node_next(from, &pos)))
		topology_node_put(t, n);
	pos = 0;
	while ((s = topology_service_next(from, &pos)))
		topology_service_put(t, s);
	return t;
}

/* Somebody who has no device yet is tested with one that nobody can have. */
static void stand_in(struct run *r, const struct selector *s, uint32_t *next)
{
	const struct topology_user *u = NULL;
	const struct topology_node *n;
	struct span tag = s->text;
	struct topology_node in = { 0 };
	size_t pos = 0;

	if (s->kind == SEL_USER)
		u = topology_user_by_login(r->topo, s->name);
	if (s->kind != SEL_TAG && !u)
		return;
	if (s->kind == SEL_TAG && !dict_find(r->pol->tag_index, s->text))
		return;
	while ((n = topology_node_next(r->topo, &pos)))
		if (selects(r->pol, r->topo, n, s))
			return;
	if (!r->mine) {
		r->mine = copy_topology(r->topo);
		r->topo = r->mine;
	}
	in.id = STAND_IN_ID + ++*next;
	in.name = s->text;
	in.ip4 = ip_of_num(*next, IP_V4);
	in.ip6 = ip_of_num(((ipnum)1 << 64) + *next, IP_V6);
	in.session.expires = TOPOLOGY_NEVER;
	if (u)
		in.user = u->id;
	else
		in.tags = (struct spans){ &tag, 1 };
	topology_node_put(r->mine, &in);
}

static void stand_ins(struct run *r)
{
	uint32_t next = STAND_IN_FIRST;

	for (size_t i = 0; i < r->pol->test_count; i++) {
		const struct policy_test *t = &r->pol->tests[i];

		stand_in(r, &t->src, &next);
		for (size_t g = 0; t->src.kind == SEL_GROUP && t->src.index != UINT32_MAX &&
		     g < r->pol->groups[t->src.index].members.count; g++)
			stand_in(r, &(struct selector){ .kind = SEL_USER, .name = r->pol->groups[t->src.index].members.list[g],
			         .text = r->pol->groups[t->src.index].members.list[g] }, &next);
		for (size_t k = 0; k < t->accept_count; k++)
			stand_in(r, &t->accept[k].sel, &next);
		for (size_t k = 0; k < t->deny_count; k++)
			stand_in(r, &t->deny[k].sel, &next);
	}
}

static bool run_dst(struct run *r, const struct policy_test *t, const struct policy_test_dst *d,
                    const struct ipset *src, bool accept)
{
	struct ipset dst = { 0 };
	struct src_walk w = { r, t, d, &dst, true };
	struct reason why = { 0 };
	struct span who = SPAN("");
	bool allowed, headers = true;

	if (asks_tables(t, d)) {
		int says = tables_say(r, t, d, &who, &why, &headers);

		if (says < 0)
			return diag_error(r->diags, d->at, "test: %.*s -> %.*s: no such caller or no such service in the topology",
			                  SPAN_ARG(t->src.text), SPAN_ARG(d->text));
		allowed = says == 1;
		if (allowed && accept && !headers)
			return diag_error(r->diags, d->at, "test: %.*s -> %.*s: the application would see other headers",
			                  SPAN_ARG(t->src.text), SPAN_ARG(d->text));
		if (allowed == accept)
			return true;
		if (accept)
			return diag_error(r->diags, d->at, "test: %.*s -> %.*s: want it allowed, but it is denied (%s, for %.*s)",
			                  SPAN_ARG(t->src.text), SPAN_ARG(d->text), reason_name(why.code), SPAN_ARG(who));
		return diag_error(r->diags, d->at, "test: %.*s -> %.*s: want it denied, but it is allowed",
		                  SPAN_ARG(t->src.text), SPAN_ARG(d->text));
	}
	resolve(r, &d->sel, NULL, &dst);
	if (d->sel.kind == SEL_SELF) {
		if (t->src.kind == SEL_TAG || t->src.kind == SEL_TAGGED || t->src.kind == SEL_IPS)
			return diag_error(r->diags, d->at, "test: autogroup:self means nothing for \"%.*s\"", SPAN_ARG(t->src.text));
	} else if (ipset_empty(&dst)) {
		return diag_error(r->diags, d->at, "test: \"%.*s\" stands for no address", SPAN_ARG(d->text));
	}
	ipset_prefixes(src, src_prefix, &w);
	allowed = w.all;
	ipset_done(&dst);
	if (allowed == accept)
		return true;
	return diag_error(r->diags, d->at, "test: %.*s -> %.*s: want it %s, but it is %s", SPAN_ARG(t->src.text),
	                  SPAN_ARG(d->text), accept ? "allowed" : "denied", allowed ? "allowed" : "denied");
}

static bool run_test(struct run *r, const struct policy_test *t)
{
	struct ipset src = { 0 };
	bool ok = true;

	if (t->src.kind == SEL_USER && !topology_user_by_login(r->topo, t->src.name))
		return diag_error(r->diags, t->src.at, "test: no user, or more than one, is called \"%.*s\"",
		                  SPAN_ARG(t->src.text));
	resolve(r, &t->src, NULL, &src);
	if (ipset_empty(&src) && t->src.kind != SEL_IDP)
		ok = diag_error(r->diags, t->src.at, "test: \"%.*s\" stands for nobody", SPAN_ARG(t->src.text));
	for (size_t i = 0; ok && i < t->accept_count; i++)
		ok &= run_dst(r, t, &t->accept[i], &src, true);
	for (size_t i = 0; ok && i < t->deny_count; i++)
		ok &= run_dst(r, t, &t->deny[i], &src, false);
	ipset_done(&src);
	return ok;
}

bool policy_run_tests(const struct policy *pol, const struct topology *topo, struct wall now,
                      assert_headers_fn *headers, void *arg, struct diags *diags)
{
	struct run r = { .pol = pol, .topo = topo, .now = now, .headers = headers, .arg = arg, .diags = diags };
	bool ok = true;

	if (!pol->test_count)
		return true;
	stand_ins(&r);
	r.rules = mem_calloc(pol->rule_count + 1, sizeof(*r.rules));
	for (size_t i = 0; i < pol->rule_count; i++) {
		const struct rule *rule = &pol->rules[i];

		for (size_t s = 0; s < rule->src_count; s++)
			resolve(&r, &rule->src[s], rule, &r.rules[i].src);
		r.rules[i].dst = mem_calloc(rule->dst_count + 1, sizeof(struct ipset));
		for (size_t d = 0; d < rule->dst_count; d++) {
			resolve(&r, &rule->dst[d].sel, NULL, &r.rules[i].dst[d]);
			/* A destination "*" is everything, not only the overlay. */
			if (rule->dst[d].sel.kind == SEL_ANY) {
				add_text(&r.rules[i].dst[d], "0.0.0.0/0");
				add_text(&r.rules[i].dst[d], "::/0");
			}
		}
	}
	for (size_t i = 0; i < pol->test_count; i++)
		ok &= run_test(&r, &pol->tests[i]);
	for (size_t i = 0; i < pol->rule_count; i++) {
		ipset_done(&r.rules[i].src);
		for (size_t d = 0; d < pol->rules[i].dst_count; d++)
			ipset_done(&r.rules[i].dst[d]);
		free(r.rules[i].dst);
	}
	free(r.rules);
	topology_free(r.mine);
	return ok;
}
