/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A topology as the file that `reeve policy` reads (doc/policy, section 9). */
#include "policy/topology.h"

#include "base/buf.h"

static void list(struct buf *b, const char *key, struct spans s)
{
	if (!s.count)
		return;
	buf_addf(b, ",\"%s\":[", key);
	for (size_t i = 0; i < s.count; i++) {
		if (i)
			buf_add_char(b, ',');
		buf_add_json(b, s.list[i]);
	}
	buf_add_char(b, ']');
}

static void text(struct buf *b, const char *key, struct span s)
{
	if (!s.len)
		return;
	buf_addf(b, ",\"%s\":", key);
	buf_add_json(b, s);
}

static void prefixes(struct buf *b, const char *key, const struct prefix *p, size_t n)
{
	char buf[IP_TEXT_MAX];

	buf_addf(b, ",\"%s\":[", key);
	for (size_t i = 0; i < n; i++)
		buf_addf(b, "%s\"%s\"", i ? "," : "", prefix_text(&p[i], buf));
	buf_add_char(b, ']');
}

static void session(struct buf *b, const struct topology_session *s)
{
	if (s->expires.sec == 0) {
		buf_add_str(b, ",\"session\":null");
		return;
	}
	buf_add_str(b, ",\"session\":{\"expires\":");
	if (s->expires.sec == INT64_MAX)
		buf_add_str(b, "\"never\"");
	else
		buf_addf(b, "%lld", (long long)s->expires.sec);
	if (s->auth_time.sec)
		buf_addf(b, ",\"auth_time\":%lld", (long long)s->auth_time.sec);
	text(b, "acr", s->acr);
	list(b, "amr", s->amr);
	list(b, "groups", s->groups);
	if (s->cross_device)
		buf_add_str(b, ",\"cross_device\":true");
	buf_add_char(b, '}');
}

static void node(struct buf *b, const struct topology *t, const struct topology_node *n)
{
	const struct topology_user *u = n->tags.count ? NULL : topology_user(t, n->user);
	char ip[IP_TEXT_MAX];

	buf_add_json(b, n->name);
	buf_add_str(b, ":{\"hostname\":");
	buf_add_json(b, n->name);
	if (n->ip4.family != IP_NONE)
		buf_addf(b, ",\"ipv4\":\"%s\"", ip_text(&n->ip4, ip));
	if (n->ip6.family != IP_NONE)
		buf_addf(b, ",\"ipv6\":\"%s\"", ip_text(&n->ip6, ip));
	list(b, "tags", n->tags);
	if (u) {
		text(b, "user", u->login.len ? u->login : u->email);
		session(b, &n->session);
	}
	/* A route counts where it is both: what is approved is written as offered, too. */
	prefixes(b, "routable_ips", n->routes, n->route_count);
	prefixes(b, "approved_routes", n->routes, n->route_count);
	if (n->attr_count) {
		buf_add_str(b, ",\"posture\":{");
		for (size_t i = 0; i < n->attr_count; i++) {
			if (i)
				buf_add_char(b, ',');
			buf_add_json(b, n->attrs[i].name);
			buf_add_char(b, ':');
			buf_add_json(b, n->attrs[i].value);
		}
		buf_add_char(b, '}');
	}
	buf_add_char(b, '}');
}

/* Several nodes may serve one name: they are written with the first of them. */
static void service(struct buf *b, const struct topology *t, const struct topology_service *s)
{
	const struct topology_service *o;
	size_t pos = 0, k = 0;

	buf_add_json(b, s->name);
	buf_add_str(b, ":{\"nodes\":[");
	while ((o = topology_service_next(t, &pos))) {
		const struct topology_node *n = topology_node(t, o->node);

		if (!n || !span_eq(o->name, s->name))
			continue;
		if (k++)
			buf_add_char(b, ',');
		buf_add_json(b, n->name);
	}
	buf_add_str(b, "],\"ports\":[");
	for (size_t i = 0; i < s->port_count; i++)
		buf_addf(b, "%s%u", i ? "," : "", s->ports[i]);
	buf_addf(b, "],\"http\":%s", s->http ? "true" : "false");
	list(b, "hosts", s->hosts);
	list(b, "profiles", s->profiles);
	buf_add_char(b, '}');
}

static bool first_of_name(const struct topology *t, const struct topology_service *s)
{
	const struct topology_service *o;
	size_t pos = 0;

	while ((o = topology_service_next(t, &pos)))
		if (topology_node(t, o->node) && span_eq(o->name, s->name))
			return o == s;
	return false;
}

void topology_write(const struct topology *t, struct buf *out)
{
	const struct topology_user *u;
	const struct topology_node *n;
	const struct topology_service *s;
	size_t pos = 0, k = 0;

	buf_add_str(out, "{\"users\":[");
	while ((u = topology_user_next(t, &pos))) {
		buf_addf(out, "%s{\"id\":%llu", k++ ? ",\n" : "", (unsigned long long)u->id);
		text(out, "name", u->login);
		text(out, "email", u->email);
		text(out, "display", u->name);
		list(out, "roles", u->roles);
		list(out, "groups", u->groups);
		if (u->shared)
			buf_add_str(out, ",\"shared\":true");
		buf_add_char(out, '}');
	}
	buf_add_str(out, "],\n\"nodes\":{");
	for (pos = k = 0; (n = topology_node_next(t, &pos));) {
		if (k++)
			buf_add_str(out, ",\n");
		node(out, t, n);
	}
	buf_add_str(out, "},\n\"services\":{");
	for (pos = k = 0; (s = topology_service_next(t, &pos));) {
		if (!first_of_name(t, s))
			continue;
		if (k++)
			buf_add_str(out, ",\n");
		service(out, t, s);
	}
	buf_add_str(out, "}}\n");
}
