/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Worlds in, verdicts out: one JSON object a line on stdin,
 *   {"policy": TEXT, "owner": TEXT or null, "idp_only": BOOL,
 *    "steps": [{"now": N, "topology": TEXT, "changed": [NODE..], "policy": TEXT?, "queries": [[..]..]}..]}
 * and for each one line {"verdicts": ["ADA..", ..], "reasons": [..]} on stdout. Queries:
 *   ["p", src, self, from, to, proto, port, silent]              a packet between addresses
 *   ["h", src, self, service, family, port, method, host, path, silent]
 * Every query is asked of three compiles: one that has lived through the steps, a
 * fresh one, and one of what policy_prune() tells that endpoint. They must agree; and the first two must have come to the same tables.
 */
#include "daemon/cli/policy.h"

#include "base/arena.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "policy/explain.h"
#include "policy/prune.h"
#include "policy/tables.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct endpoint {
	struct compile *lived, *fresh, *told;
	struct buf      flat[3];
	struct policy  *pruned;
	uint64_t        node;
};

static const char *what;

static void die(const char *why)
{
	fprintf(stderr, "decide: %s (%s)\n", why, what ? what : "");
	exit(1);
}

static struct span jspan(const json_t *v)
{
	return span_of(json_string_value(v), json_string_length(v));
}

static struct policy *parse(const json_t *text, enum policy_mode mode)
{
	struct diags d;
	struct policy *pol;

	diags_init(&d, "policy");
	pol = policy_parse(jspan(text), mode, &d);
	if (!pol) {
		scoped_buf struct buf b = { 0 };

		buf_init(&b, 1 << 20);
		diags_text(&d, &b);
		fprintf(stderr, "%s", b.ptr);
		die("the policy does not parse");
	}
	diags_done(&d);
	return pol;
}

/* Puts every node, user and service of the text into topo, replacing what was there. */
static void load(struct topology *topo, const json_t *text)
{
	struct diags d;

	diags_init(&d, "topology");
	if (!topology_read(jspan(text), topo, &d)) {
		scoped_buf struct buf b = { 0 };

		buf_init(&b, 1 << 20);
		diags_text(&d, &b);
		fprintf(stderr, "%s", b.ptr);
		die("the topology does not parse");
	}
	diags_done(&d);
}

static void flatten(const struct compile *c, struct buf *out)
{
	struct err err;

	if (!out->max)
		buf_init(out, TABLES_MAX);
	compile_tables(c, out);
	if (!out->len || !tables_check(out->ptr, out->len, &err))
		die("tables do not hold what they promise");
}

/* What a node may do, whatever its classes are called. */
static void add_row(void *arg, const struct compile_row *r)
{
	buf_addf(arg, "%u %u %u-%u %lld;", r->dest, r->proto, r->lo, r->hi, (long long)r->stale);
}

static void add_request(void *arg, struct span line)
{
	buf_addf(arg, "%.*s;", SPAN_ARG(line));
}

static void add_dest(void *arg, uint32_t dest, const struct prefix *prefix, bool local)
{
	char text[IP_TEXT_MAX];

	buf_addf(arg, "%u=%s%s;", dest, prefix_text(prefix, text), local ? "!" : "");
}

struct sources { struct buf *b; const struct compile *c; uint64_t node; };

static void add_source(void *arg, uint64_t via, const struct prefix *p, uint32_t class)
{
	struct sources *s = arg;
	char text[IP_TEXT_MAX];

	if (via != s->node)
		return;
	buf_addf(s->b, "from %s:", prefix_text(p, text));
	compile_rows(s->c, class, add_row, s->b);
}

static void canon(const struct compile *c, const struct topology *topo, const struct tables *t, struct buf *out)
{
	const struct topology_service *v;
	const struct topology_node *n;
	size_t pos = 0;

	buf_clear(out);
	compile_dests(c, add_dest, out);
	while ((n = topology_node_next(topo, &pos))) {
		struct compile_peer p = { 0 };
		struct sources s = { out, c, n->id };

		if (!compile_peer(c, n->id, &p))
			continue;
		buf_addf(out, "\n%llu %d%d%d%d %lld ", (unsigned long long)n->id, p.visible, p.calls_us, p.we_call, p.after_login,
		         (long long)p.until.sec);
		for (unsigned f = 0; f < 2; f++) {
			uint32_t class = f ? p.class6 : p.class4;
			size_t q = 0;

			buf_addf(out, "%s", class == CLASS_NONE ? "none " : class == CLASS_LOGIN ? "login " : "");
			compile_rows(c, class, add_row, out);
			while ((v = topology_service_next(topo, &q)))
				explain_requests(c, class, v->name, add_request, out);
			buf_add_span(out, tables_caps(t, class));
			buf_addf(out, " stale %lld", (long long)compile_class_stale(c, class));
		}
		compile_sources(c, add_source, &s);
	}
}

static void same_compiles(const struct endpoint *e, const struct topology *topo)
{
	scoped_buf struct buf a = { 0 }, b = { 0 };

	buf_init(&a, 64 << 20);
	buf_init(&b, 64 << 20);
	canon(e->lived, topo, tables_map(e->flat[0].ptr), &a);
	canon(e->fresh, topo, tables_map(e->flat[1].ptr), &b);
	if (!span_eq(buf_span(&a), buf_span(&b))) {
		fprintf(stderr, "lived: %s\n\nfresh: %s\n", a.ptr, b.ptr);
		die("edits and a fresh compile came to different tables");
	}
}

static void settle(struct endpoint *e)
{
	flatten(e->lived, &e->flat[0]);
	flatten(e->fresh, &e->flat[1]);
	flatten(e->told, &e->flat[2]);
}

struct find { uint64_t via; const struct ip *ip; uint32_t class; };

static void find_source(void *arg, uint64_t via, const struct prefix *p, uint32_t class)
{
	struct find *f = arg;

	if (via == f->via && prefix_has(p, f->ip))
		f->class = class;
}

static bool source_class(const struct compile *c, uint64_t via, const struct ip *ip, uint32_t *ret)
{
	struct find f = { via, ip, CLASS_NONE };

	compile_sources(c, find_source, &f);
	*ret = f.class;
	return f.class != CLASS_NONE;
}

/* The class that a packet with this source gets: the node's own, or that of what is behind it. */
static uint32_t class_of(const struct compile *c, const struct topology *topo, uint64_t src, const struct ip *from)
{
	const struct topology_node *n = topology_node(topo, src);
	struct compile_peer p = { 0 };
	uint32_t class;

	compile_peer(c, src, &p);
	if (ip_eq(from, &n->ip4))
		return p.class4;
	if (ip_eq(from, &n->ip6))
		return p.class6;
	return source_class(c, src, from, &class) ? class : CLASS_NONE;
}

static enum verdict ask(const struct endpoint *e, unsigned k, const struct topology *topo, json_t *q, struct wall now,
                        struct reason *why)
{
	const struct compile *c = k == 0 ? e->lived : k == 1 ? e->fresh : e->told;
	const struct tables *t = tables_map(e->flat[k].ptr);
	const struct topology_node *src = topology_node_by_name(topo, jspan(json_array_get(q, 1)));
	struct tables_session ses = { .expires = TOPOLOGY_NEVER };

	if (!src)
		die("no such source");
	if (!src->tags.count)
		ses = (struct tables_session){ src->session.auth_time, src->session.expires };
	if (*json_string_value(json_array_get(q, 0)) == 'p') {
		struct ip from, to;

		if (!ip_parse(jspan(json_array_get(q, 3)), &from) || !ip_parse(jspan(json_array_get(q, 4)), &to))
			die("no such address");
		return tables_packet(t, class_of(c, topo, src->id, &from), &to, (uint8_t)json_integer_value(json_array_get(q, 5)),
		                     (uint16_t)json_integer_value(json_array_get(q, 6)), json_integer_value(json_array_get(q, 7)),
		                     why);
	} else {
		struct tables_request req = { .family = (uint8_t)json_integer_value(json_array_get(q, 4)),
			.port = (uint16_t)json_integer_value(json_array_get(q, 5)), .method = jspan(json_array_get(q, 6)),
			.host = jspan(json_array_get(q, 7)), .path = jspan(json_array_get(q, 8)) };
		struct compile_peer p = { 0 };

		compile_peer(c, src->id, &p);
		return tables_http(t, req.family == IP_V4 ? p.class4 : p.class6,
		                   tables_service(t, jspan(json_array_get(q, 3))), &req, &ses, now,
		                   json_integer_value(json_array_get(q, 9)), why);
	}
}

/* An owner's file may name groups that no rule of the policy names there: these are told, too. */
struct told_groups { struct span list[256]; size_t count; const struct prune *pr; bool all; struct arena *arena; };

static void take_group(void *arg, struct span group)
{
	struct told_groups *g = arg;

	if (g->all && g->count < array_size(g->list)) {
		g->list[g->count++] = span_of(arena_copy(g->arena, group).ptr, group.len);
		return;
	}
	for (size_t i = 0; i < g->pr->group_count; i++)
		if (span_eq(span_str(g->pr->groups[i]), group) && g->count < array_size(g->list))
			g->list[g->count++] = span_str(g->pr->groups[i]);
}

/* What an endpoint knows: the nodes it was told of, and of people the groups its rules name. */
static struct topology *told_topology(const struct prune *pr, const struct policy *pol, const struct topology *topo,
                                      uint64_t self, bool all)
{
	struct topology *t = topology_new();
	struct arena arena;
	const struct topology_service *s;
	size_t pos = 0;

	arena_init(&arena, 4096);
	for (size_t i = 0; i <= pr->node_count; i++) {
		const struct topology_node *n = topology_node(topo, i < pr->node_count ? pr->nodes[i] : self);
		const struct topology_user *u = n->tags.count ? NULL : topology_user(topo, n->user);

		topology_node_put(t, n);
		if (u && !topology_user(t, u->id)) {
			struct told_groups g = { .pr = pr, .all = all, .arena = &arena };
			struct topology_user v = *u;

			policy_user_groups(pol, topo, u->id, take_group, &g);
			v.groups = (struct spans){ g.list, g.count };
			/* Who shares a name with somebody else was told apart by the coordinator. */
			if (topology_user_by_login(topo, u->login) != u)
				v.login = SPAN("");
			if (topology_user_by_login(topo, u->email) != u)
				v.email = SPAN("");
			topology_user_put(t, &v);
		}
	}
	while ((s = topology_service_next(topo, &pos)))
		topology_service_put(t, s);
	arena_done(&arena);
	return t;
}

static void answer(json_t *world)
{
	struct policy *pol = parse(json_object_get(world, "policy"), POLICY_FILE);
	struct policy *owner = json_is_string(json_object_get(world, "owner")) ?
	                       parse(json_object_get(world, "owner"), POLICY_OWNER) : NULL;
	struct compile_options opt = { .idp_only = json_is_true(json_object_get(world, "idp_only")) };
	struct topology *topo = topology_new();
	struct endpoint *ends = NULL;
	struct topology **told = NULL;
	size_t count = 0, si;
	json_t *steps = json_object_get(world, "steps"), *step;

	fputs("{\"verdicts\":[", stdout);
	json_array_foreach(steps, si, step) {
		struct wall now = { json_integer_value(json_object_get(step, "now")) };
		json_t *queries = json_object_get(step, "queries"), *changed = json_object_get(step, "changed"), *q, *name;
		const struct topology_node *n;
		size_t pos = 0, i, qi;
		char *out;
		unsigned char *reasons;

		load(topo, json_object_get(step, "topology"));
		if (json_is_string(json_object_get(step, "policy"))) {
			policy_unref(pol);
			pol = parse(json_object_get(step, "policy"), POLICY_FILE);
			for (size_t k = 0; k < count; k++)
				compile_policy(ends[k].lived, pol, owner, now);
		}
		if (!ends) {
			count = topology_node_count(topo);
			ends = mem_calloc(count + 1, sizeof(*ends));
			told = mem_calloc(count + 1, sizeof(struct topology *));
			while ((n = topology_node_next(topo, &pos))) {
				size_t k = (size_t)(n->id - 1);

				ends[k].node = n->id;
				ends[k].lived = compile_new(pol, owner, topo, n->id, &opt, now);
			}
		} else {
			for (size_t k = 0; k < count; k++) {
				json_array_foreach(changed, i, name) {
					n = topology_node_by_name(topo, jspan(name));
					if (n)
						compile_node(ends[k].lived, n->id, now);
					/* Who changed may have been a user: all devices. */
					if (n && n->user)
						compile_user(ends[k].lived, n->user, now);
				}
				compile_tick(ends[k].lived, now);
			}
		}
		for (size_t k = 0; k < count; k++) {
			struct prune pr;
			struct diags d;

			compile_free(ends[k].fresh);
			ends[k].fresh = compile_new(pol, owner, topo, ends[k].node, &opt, now);
			policy_prune(pol, topo, ends[k].node, &pr);
			diags_init(&d, "pruned");
			policy_unref(ends[k].pruned);
			ends[k].pruned = policy_parse(buf_span(&pr.text), POLICY_MAP, &d);
			if (!ends[k].pruned) {
				fprintf(stderr, "%.*s\n%s\n", (int)pr.text.len, pr.text.ptr, d.count ? d.list[0].msg : "");
				die("what was pruned does not parse");
			}
			diags_done(&d);
			compile_free(ends[k].told);
			topology_free(told[k]);
			told[k] = told_topology(&pr, pol, topo, ends[k].node, owner != NULL);
			ends[k].told = compile_new(ends[k].pruned, owner, told[k], ends[k].node, &opt, now);
			prune_done(&pr);
			settle(&ends[k]);
			same_compiles(&ends[k], topo);
		}
		out = mem_alloc(json_array_size(queries) + 1);
		reasons = mem_alloc(json_array_size(queries) + 1);
		json_array_foreach(queries, qi, q) {
			const struct topology_node *self = topology_node_by_name(topo, jspan(json_array_get(q, 2)));
			struct reason why[3] = { { 0 } };
			enum verdict v[3];

			if (!self)
				die("no such endpoint");
			for (unsigned k = 0; k < 3; k++)
				v[k] = ask(&ends[self->id - 1], k, topo, q, now, &why[k]);
			if (v[0] != v[1] || v[0] != v[2]) {
				char *text = json_dumps(q, 0);

				fprintf(stderr, "step %zu %s: lived %s, fresh %s, told %s\n", si, text, reason_name(why[0].code),
				        reason_name(why[1].code), reason_name(why[2].code));
				die("three compiles of one world disagree");
			}
			out[qi] = v[0] == VERDICT_ALLOW ? 'A' : 'D';
			reasons[qi] = (unsigned char)('a' + why[0].code);
		}
		printf("%s\"%s\",\"%s\"", si ? "," : "", out, reasons);
		free(out);
		free(reasons);
	}
	fputs("]}\n", stdout);
	fflush(stdout);
	for (size_t k = 0; k < count; k++) {
		compile_free(ends[k].lived);
		compile_free(ends[k].fresh);
		compile_free(ends[k].told);
		policy_unref(ends[k].pruned);
		topology_free(told[k]);
		for (unsigned f = 0; f < 3; f++)
			buf_done(&ends[k].flat[f]);
	}
	free(ends);
	free(told);
	topology_free(topo);
	policy_unref(pol);
	policy_unref(owner);
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while ((n = getline(&line, &size, stdin)) > 0) {
		json_error_t err;
		scoped_json json_t *world = json_loadb(line, (size_t)n, 0, &err);

		if (!world)
			die(err.text);
		what = json_string_value(json_object_get(world, "name"));
		answer(world);
	}
	free(line);
	return 0;
}
