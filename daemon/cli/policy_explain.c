/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* reeve policy explain: the verdict, the rule, and what would have to change. */
#include "daemon/cli/policy.h"

#include "base/mem.h"
#include "policy/explain.h"
#include "policy/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ask {
	const struct policy_args   *a;
	struct topology            *topo;
	const struct topology_node *src, *self;
	const struct topology_user *user;
	const struct topology_service *svc;
	struct ip                   from, to;
	uint8_t                     proto;
	uint16_t                    port;
	bool                        request;
	struct span                 method, path, host;
	struct wall                 now;
	int64_t                     silent;
	struct compile             *c;
	const struct tables        *t;
};

static bool say(const char *before, const char *what, const char *after)
{
	fprintf(stderr, "reeve policy explain: %s%s%s\n", before, what, after);
	return false;
}

/* A node, an address (of a node or behind a gateway), or a user's first device. */
static bool find_src(struct ask *q)
{
	struct span s = span_str(q->a->src);
	const struct topology_user *u;
	const struct topology_node *n;
	size_t pos = 0;

	q->src = topology_node_by_name(q->topo, s);
	if (!q->src && ip_parse(s, &q->from)) {
		q->src = topology_node_by_ip(q->topo, &q->from);
		while (!q->src && (n = topology_node_next(q->topo, &pos)))
			for (size_t i = 0; i < n->route_count; i++)
				if (n->routes[i].bits && prefix_has(&n->routes[i], &q->from))
					q->src = n;
	} else if (!q->src && (u = topology_user_by_login(q->topo, s))) {
		while (!q->src && (n = topology_node_next(q->topo, &pos)))
			if (!n->tags.count && n->user == u->id)
				q->src = n;
		if (!q->src)
			return say("", q->a->src, " has no device in the topology");
	}
	if (!q->src)
		return say("no node, address or user is called ", q->a->src, "");
	q->user = q->src->tags.count ? NULL : topology_user(q->topo, q->src->user);
	return true;
}

static bool find_dst(struct ask *q)
{
	struct span s = span_str(q->a->dst), name = s, port = SPAN("");
	const struct topology_service *v;
	const struct topology_node *n;
	size_t pos = 0, colon = s.len, best = 0;
	uint64_t num;
	struct ip ip;
	struct ipport ap;

	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] == ':')
			colon = i;
	if (ipport_parse(s, &ap)) {
		q->port = ap.port;
		q->to = ap.ip;
		name = SPAN("");
	} else if (ip_parse(s, &ip)) {
		q->to = ip;
		name = SPAN("");
	} else if (colon < s.len && span_u64(span_from(s, colon + 1), UINT16_MAX, &num)) {
		port = span_from(s, colon + 1);
		name = span_head(s, colon);
		q->port = (uint16_t)num;
	}
	if (span_starts(name, SPAN("svc:")))
		name = span_from(name, 4);
	while (name.len && (v = topology_service_next(q->topo, &pos)))
		if (span_eq(v->name, name) && !q->svc) {
			q->svc = v;
			q->self = topology_node(q->topo, v->node);
			if (!port.len && v->port_count)
				q->port = v->ports[0];
		}
	if (!q->self && name.len)
		q->self = topology_node_by_name(q->topo, name);
	if (!q->self && !name.len)
		q->self = topology_node_by_ip(q->topo, &q->to);
	pos = 0;
	/* Behind a gateway: the longest route wins, as in a routing table. */
	while (!q->self && !name.len && (n = topology_node_next(q->topo, &pos)))
		for (size_t i = 0; i < n->route_count; i++)
			if (prefix_has(&n->routes[i], &q->to) && (size_t)n->routes[i].bits + 1 > best) {
				best = (size_t)n->routes[i].bits + 1;
				q->self = n;
				n = NULL;
				pos = 0;
				break;
			}
	if (!q->self)
		return say("no node, service or routed address is called ", q->a->dst, "");
	if (q->to.family == IP_NONE)
		q->to = q->from.family == IP_V6 || q->self->ip4.family == IP_NONE ? q->self->ip6 : q->self->ip4;
	if (q->from.family == IP_NONE)
		q->from = q->to.family == IP_V4 ? q->src->ip4 : q->src->ip6;
	pos = 0;
	while (!q->svc && (v = topology_service_next(q->topo, &pos)))
		for (size_t i = 0; v->node == q->self->id && i < v->port_count; i++)
			if (v->ports[i] == q->port && (ip_eq(&q->to, &q->self->ip4) || ip_eq(&q->to, &q->self->ip6)))
				q->svc = v;
	return true;
}

static bool find_proto(struct ask *q)
{
	static const struct { const char *name; uint8_t n; } known[] = { { "tcp", 6 }, { "udp", 17 }, { "icmp", 1 },
		{ "ipv6-icmp", 58 }, { "sctp", 132 } };
	uint64_t n;

	q->proto = 6;
	if (!q->a->proto)
		return true;
	for (size_t i = 0; i < array_size(known); i++)
		if (strcmp(known[i].name, q->a->proto) == 0) {
			q->proto = known[i].n;
			return true;
		}
	if (!span_u64(span_str(q->a->proto), 255, &n) || n == 0)
		return say("protocol ", q->a->proto, ": tcp, udp, icmp, ipv6-icmp, sctp, or a number");
	q->proto = (uint8_t)n;
	return true;
}

struct via { uint64_t node; const struct ip *ip; uint32_t class; };

static void find_source(void *arg, uint64_t via, const struct prefix *p, uint32_t class)
{
	struct via *v = arg;

	if (via == v->node && prefix_has(p, v->ip))
		v->class = class;
}

static uint32_t class_of(const struct ask *q, const struct compile_peer *p)
{
	struct via v = { q->src->id, &q->from, CLASS_NONE };

	if (ip_eq(&q->from, &q->src->ip4))
		return p->class4;
	if (ip_eq(&q->from, &q->src->ip6))
		return p->class6;
	compile_sources(q->c, find_source, &v);
	return v.class;
}

static const char *proto_text(uint8_t proto, char buf[8])
{
	if (proto == 6 || proto == 17 || proto == 132)
		return proto == 6 ? "tcp" : proto == 17 ? "udp" : "sctp";
	snprintf(buf, 8, "%u", proto);
	return proto == 1 ? "icmp" : proto == 58 ? "ipv6-icmp" : buf;
}

static void add_rule(struct buf *b, const struct ask *q, uint32_t id)
{
	struct tables_rule r;

	if (!tables_rule(q->t, id, &r))
		return;
	buf_addf(b, "%s:%u:%u %s[%u]: %.*s", r.owner ? q->a->owner : q->a->policy, r.at.line, r.at.col,
	         r.acl ? "acls" : "grants", r.index, SPAN_ARG(r.text));
}

static void json_rule(struct buf *b, const struct ask *q, const char *key, uint32_t id)
{
	struct tables_rule r;

	if (!tables_rule(q->t, id, &r))
		return;
	buf_addf(b, ",\"%s\":{\"file\":", key);
	buf_add_json(b, span_str(r.owner ? q->a->owner : q->a->policy));
	buf_addf(b, ",\"line\":%u,\"column\":%u,\"list\":\"%s\",\"index\":%u,\"text\":", r.at.line, r.at.col,
	         r.acl ? "acls" : "grants", r.index);
	buf_add_json(b, r.text);
	buf_add_char(b, '}');
}

struct openers { const struct ask *q; struct buf *b; unsigned shown, more; };

static void add_opener(void *arg, uint32_t rule, bool owner, const char *sources)
{
	struct openers *o = arg;

	if (owner)
		return;
	if (o->shown == 5) {
		o->more++;
		return;
	}
	buf_addf(o->b, "%sbe one of %s (", o->shown++ ? "; or " : "", sources);
	add_rule(o->b, o->q, rule);
	buf_add_char(o->b, ')');
}

static void add_range(void *arg, const struct compile_row *row)
{
	struct buf *b = arg;
	char buf[8];

	buf_addf(b, "%s%s ", b->len ? ", " : "", proto_text(row->proto, buf));
	if (row->lo == 0 && row->hi == UINT16_MAX)
		buf_add_char(b, '*');
	else if (row->lo == row->hi)
		buf_addf(b, "%u", row->lo);
	else
		buf_addf(b, "%u-%u", row->lo, row->hi);
}

static void add_line(void *arg, struct span line)
{
	struct buf *b = arg;

	buf_addf(b, "%s%.*s", b->len ? "; " : "", SPAN_ARG(line));
}

/* What would have to change, in words. */
static void add_change(struct buf *b, const struct ask *q, uint32_t class, const struct reason *why)
{
	struct openers o = { q, b, 0, 0 };
	scoped_buf struct buf list = { 0 };
	char text[DURATION_TEXT_MAX];
	struct tables_rule r;

	buf_init(&list, 1 << 20);
	switch (why->code) {
	case REASON_ALLOWED:
	case REASON_NONE:
		return;
	case REASON_NO_SESSION:
		buf_add_str(b, "somebody must be logged in on that device");
		return;
	case REASON_AUTH_AGE:
	case REASON_AUTH_STRENGTH:
		if (!tables_rule(q->t, why->local ? why->local : why->rule, &r))
			return;
		buf_add_str(b, why->code == REASON_AUTH_AGE ? "log in again" : "log in stronger");
		if (r.auth.mfa)
			buf_add_str(b, ", with several factors");
		if (r.auth.acr.len)
			buf_addf(b, ", with acr %.*s", SPAN_ARG(r.auth.acr));
		if (r.auth.amr.len)
			buf_addf(b, ", with amr %.*s", SPAN_ARG(r.auth.amr));
		if (r.auth.max_age)
			buf_addf(b, "; the rule wants a login younger than %s", duration_text(r.auth.max_age, text));
		if (r.auth.max_age && q->src->session.auth_time.sec > 0)
			buf_addf(b, ", this one is %s old", duration_text(q->now.sec - q->src->session.auth_time.sec, text));
		return;
	case REASON_STALE:
		buf_add_str(b, "the coordinator must be heard again");
		return;
	case REASON_OWNER:
		buf_add_str(b, "the owner's file must allow it too");
		return;
	case REASON_HOST:
	case REASON_PATH:
	case REASON_METHOD:
		if (q->svc)
			explain_requests(q->c, class, q->svc->name, add_line, &list);
		buf_addf(b, "this caller may send: %s", list.len ? list.ptr : "nothing");
		return;
	case REASON_PORT:
	case REASON_PROTO:
		explain_rows(q->c, class, &q->to, add_range, &list);
		buf_addf(b, "this caller reaches there: %s; for this port, ", list.len ? list.ptr : "nothing");
		break;
	case REASON_NO_CLASS:
	case REASON_NO_GRANT:
		break;
	}
	explain_openers(q->c, &q->to, q->proto, q->port, add_opener, &o);
	if (o.more)
		buf_addf(b, "; or %u more rules", o.more);
	if (!o.shown)
		buf_add_str(b, "a rule must be written: none opens this for anybody");
	/* A rule is there, and the caller's own login keeps it from it. */
	if (why->code == REASON_NO_CLASS && q->user && q->now.sec >= q->src->session.expires.sec)
		buf_add_str(b, "; nobody is logged in on that device now");
}

static void add_session(struct buf *b, const struct ask *q)
{
	const struct topology_session *s = &q->src->session;
	char text[DURATION_TEXT_MAX], at[WALL_TEXT_MAX];

	if (q->src->tags.count) {
		buf_add_str(b, "none: a tagged node (");
		for (size_t i = 0; i < q->src->tags.count; i++)
			buf_addf(b, "%s%.*s", i ? ", " : "", SPAN_ARG(q->src->tags.list[i]));
		buf_add_char(b, ')');
		return;
	}
	if (!q->user || q->now.sec >= s->expires.sec) {
		buf_add_str(b, "none valid");
		return;
	}
	buf_addf(b, "%.*s", SPAN_ARG(q->user->login.len ? q->user->login : q->user->email));
	if (s->auth_time.sec > 0)
		buf_addf(b, ", logged in %s ago", duration_text(q->now.sec - s->auth_time.sec, text));
	if (s->acr.len)
		buf_addf(b, ", acr %.*s", SPAN_ARG(s->acr));
	for (size_t i = 0; i < s->amr.count; i++)
		buf_addf(b, "%s%.*s", i ? " " : ", amr ", SPAN_ARG(s->amr.list[i]));
	if (s->cross_device)
		buf_add_str(b, ", approved from another device");
	if (s->expires.sec != INT64_MAX)
		buf_addf(b, ", until %s", wall_text(s->expires, at));
}

static const char *in_words(enum reason_code code)
{
	switch (code) {
	case REASON_ALLOWED:       return "a rule allows it";
	case REASON_NO_GRANT:      return "no rule names this destination";
	case REASON_NO_CLASS:      return "no rule names this caller here";
	case REASON_PROTO:         return "granted here, but not over this protocol";
	case REASON_PORT:          return "granted here, but not this port";
	case REASON_HOST:          return "granted here, but not under this host name";
	case REASON_PATH:          return "granted here, but not this path";
	case REASON_METHOD:        return "granted here, but not with this method";
	case REASON_STALE:         return "the coordinator has been silent for too long";
	case REASON_OWNER:         return "the policy allows it, the owner's file does not";
	case REASON_NO_SESSION:    return "nobody is logged in there";
	case REASON_AUTH_AGE:      return "the login is too old";
	case REASON_AUTH_STRENGTH: return "the login is too weak";
	case REASON_NONE:          break;
	}
	return "nothing was decided";
}

static void print(const struct ask *q, uint32_t class, enum verdict v, const struct reason *why, int64_t stale)
{
	scoped_buf struct buf b = { 0 }, session = { 0 }, change = { 0 };
	char from[IP_TEXT_MAX], to[IP_TEXT_MAX], proto[8], text[DURATION_TEXT_MAX];

	buf_init(&b, 4 << 20);
	buf_init(&session, 1 << 20);
	buf_init(&change, 1 << 20);
	add_session(&session, q);
	add_change(&change, q, class, why);
	if (q->a->json) {
		buf_addf(&b, "{\"allowed\":%s,\"reason\":\"%s\",\"src\":", v == VERDICT_ALLOW ? "true" : "false",
		         reason_name(why->code));
		buf_add_json(&b, q->src->name);
		buf_add_str(&b, ",\"dst\":");
		buf_add_json(&b, q->self->name);
		buf_addf(&b, ",\"sip\":\"%s\",\"dip\":\"%s\",\"proto\":%u,\"port\":%u", ip_text(&q->from, from),
		         ip_text(&q->to, to), q->proto, q->port);
		if (q->svc) {
			buf_add_str(&b, ",\"service\":");
			buf_add_json(&b, q->svc->name);
		}
		json_rule(&b, q, "rule", why->rule);
		json_rule(&b, q, "local", why->local);
		buf_add_str(&b, ",\"session\":");
		buf_add_json(&b, buf_span(&session));
		buf_add_str(&b, ",\"change\":");
		buf_add_json(&b, buf_span(&change));
		buf_add_str(&b, "}\n");
	} else {
		buf_addf(&b, "%s: %.*s (%s) -> %.*s (%s) %s", v == VERDICT_ALLOW ? "allowed" : "denied", SPAN_ARG(q->src->name),
		         ip_text(&q->from, from), SPAN_ARG(q->self->name), ip_text(&q->to, to), proto_text(q->proto, proto));
		if (q->port)
			buf_addf(&b, "/%u", q->port);
		if (q->request)
			buf_addf(&b, " %.*s %.*s%.*s", SPAN_ARG(q->method), SPAN_ARG(q->host), SPAN_ARG(q->path));
		buf_addf(&b, "\n  because  %s\n", in_words(why->code));
		if (why->rule) {
			buf_addf(&b, "  %s  ", v == VERDICT_ALLOW ? "rule   " : "nearest");
			add_rule(&b, q, why->rule);
			buf_add_char(&b, '\n');
		}
		if (q->a->owner) {
			buf_add_str(&b, "  local    ");
			if (why->local)
				add_rule(&b, q, why->local);
			else
				buf_add_str(&b, "not asked, or no rule of it comes near");
			buf_add_char(&b, '\n');
		}
		buf_addf(&b, "  session  %s\n", session.len ? session.ptr : "none");
		if (v == VERDICT_ALLOW && stale != INT64_MAX)
			buf_addf(&b, "  holds    while the coordinator was heard within %s\n", duration_text(stale, text));
		if (change.len)
			buf_addf(&b, "  to pass  %s\n", change.ptr);
	}
	fwrite(b.ptr, 1, b.len, stdout);
}

static int decide(struct ask *q)
{
	struct tables_session ses = { .expires = TOPOLOGY_NEVER };
	struct compile_peer p = { 0 };
	struct reason why = { 0 };
	enum verdict v = VERDICT_DENY;
	uint32_t class;

	if (q->user)
		ses = (struct tables_session){ q->src->session.auth_time, q->src->session.expires };
	compile_peer(q->c, q->src->id, &p);
	class = class_of(q, &p);
	if (q->request && q->svc && q->svc->http) {
		struct tables_request req = { q->method, q->host, q->path, q->to.family, q->port };

		v = tables_http(q->t, class, tables_service(q->t, q->svc->name), &req, &ses, q->now, q->silent, &why);
	} else if (q->src == q->self) {
		fputs("reeve policy explain: a node's traffic with itself is not judged\n", stderr);
		return 2;
	} else {
		v = tables_packet(q->t, class, &q->to, q->proto, q->port, q->silent, &why);
		if (v == VERDICT_DENY && q->user && q->now.sec >= ses.expires.sec && why.code == REASON_NO_CLASS && p.after_login)
			why.code = REASON_NO_SESSION;
	}
	print(q, class, v, &why, compile_class_stale(q->c, class));
	return v == VERDICT_ALLOW ? 0 : 1;
}

int policy_explain_main(struct policy_args *a)
{
	struct ask q = { .a = a, .silent = SILENT_NEVER };
	struct policy *pol = NULL, *owner = NULL;
	scoped_buf struct buf flat = { 0 };
	struct diags d = { 0 };
	struct err err;
	int status = 2;

	if (!a->src || !a->dst) {
		fputs("reeve policy explain: --src and --dst are needed\n", stderr);
		return 2;
	}
	if (!args_now(a, &q.now) || !find_proto(&q))
		return 2;
	if (a->silent && !duration_parse(span_str(a->silent), &q.silent)) {
		say("--silent ", a->silent, ": want a duration");
		return 2;
	}
	pol = policy_load_or_live(a, &a->policy);
	if (pol && a->owner) {
		owner = policy_load(a->owner, POLICY_OWNER, false, &d);
		diags_done(&d);
	}
	if (pol && (owner || !a->owner) && (q.topo = topology_load_or_live(a)) && find_src(&q) && find_dst(&q)) {
		q.request = a->method || a->path || a->host;
		q.method = span_str(a->method ? a->method : "GET");
		q.path = span_str(a->path ? a->path : "/");
		q.host = a->host ? span_str(a->host) : q.svc && q.svc->hosts.count ? q.svc->hosts.list[0] :
		         q.svc ? q.svc->name : SPAN("");
		if (q.request && !(q.svc && q.svc->http)) {
			fputs("reeve policy explain: --method, --path and --host need a fronted service as --dst\n", stderr);
		} else {
			q.c = compile_new(pol, owner, q.topo, q.self->id, NULL, q.now);
			buf_init(&flat, TABLES_MAX);
			compile_tables(q.c, &flat);
			if (flat.len && tables_check(flat.ptr, flat.len, &err)) {
				q.t = tables_map(flat.ptr);
				status = decide(&q);
			}
			compile_free(q.c);
		}
	}
	topology_free(q.topo);
	policy_unref(pol);
	policy_unref(owner);
	return a->status ? a->status : status;
}
