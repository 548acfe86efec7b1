/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The topology file: JSON in, typed values out. */
#include "daemon/cli/policy.h"

#include "base/arena.h"
#include "base/hujson.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct topo_reader {
	struct hujson   *doc;
	struct diags    *diags;
	struct topology *topo;
	struct arena     arena;
	uint64_t         next_node;
};

static struct place at_of(struct topo_reader *r, json_t *obj, const char *key)
{
	return hujson_member_at(r->doc, obj, key);
}

static void known(struct topo_reader *r, json_t *obj, const char *const *keys, const char *what)
{
	const char *k;
	json_t *v;

	json_object_foreach(obj, k, v) {
		size_t n = 0;
		bool ok = false;

		(void)v;
		for (; keys[n]; n++)
			ok |= strcmp(keys[n], k) == 0;
		if (!ok) {
			const char *near = nearest(span_str(k), keys, n);

			/* Other tools may say more of their nodes than is asked here. */
			if (near)
				diag_warn(r->diags, hujson_key_at(r->doc, obj, k), "unknown key \"%s\" in %s; did you mean \"%s\"?",
				          k, what, near);
			else
				diag_warn(r->diags, hujson_key_at(r->doc, obj, k), "unknown key \"%s\" in %s is ignored", k, what);
		}
	}
}

static bool text_of(struct topo_reader *r, json_t *obj, const char *key, struct span *ret)
{
	json_t *v = json_object_get(obj, key);

	*ret = SPAN("");
	if (!v || json_is_null(v))
		return false;
	if (!json_is_string(v))
		return diag_error(r->diags, at_of(r, obj, key), "\"%s\": want a string", key);
	*ret = span_of(json_string_value(v), json_string_length(v));
	return true;
}

static struct spans texts_of(struct topo_reader *r, json_t *obj, const char *key)
{
	json_t *v = json_object_get(obj, key), *item;
	struct span *list;
	size_t i, n = 0;

	if (!v || json_is_null(v))
		return (struct spans){ NULL, 0 };
	if (!json_is_array(v)) {
		diag_error(r->diags, at_of(r, obj, key), "\"%s\": want an array of strings", key);
		return (struct spans){ NULL, 0 };
	}
	list = arena_calloc(&r->arena, json_array_size(v) + 1, sizeof(*list));
	json_array_foreach(v, i, item) {
		if (json_is_string(item))
			list[n++] = span_of(json_string_value(item), json_string_length(item));
		else
			diag_error(r->diags, hujson_item_at(r->doc, v, i), "\"%s\": want a string", key);
	}
	return (struct spans){ list, n };
}

static const struct prefix *prefixes_of(struct topo_reader *r, json_t *obj, const char *key, size_t *ret_n)
{
	struct spans s = texts_of(r, obj, key);
	struct prefix *list = arena_calloc(&r->arena, s.count + 1, sizeof(*list));

	*ret_n = 0;
	for (size_t i = 0; i < s.count; i++)
		if (prefix_parse_lax(s.list[i], &list[*ret_n]))
			(*ret_n)++;
		else
			diag_error(r->diags, at_of(r, obj, key), "\"%s\": \"%.*s\" is no prefix", key, SPAN_ARG(s.list[i]));
	return list;
}

static bool flag_of(struct topo_reader *r, json_t *obj, const char *key)
{
	json_t *v = json_object_get(obj, key);

	if (v && !json_is_boolean(v) && !json_is_null(v))
		diag_error(r->diags, at_of(r, obj, key), "\"%s\": want true or false", key);
	return json_is_true(v);
}

/* Seconds since 1970, or RFC 3339; "never". */
static struct wall time_of(struct topo_reader *r, json_t *obj, const char *key, struct wall absent)
{
	json_t *v = json_object_get(obj, key);
	struct wall w;

	if (!v || json_is_null(v))
		return absent;
	if (json_is_integer(v))
		return (struct wall){ json_integer_value(v) };
	if (json_is_string(v) && strcmp(json_string_value(v), "never") == 0)
		return TOPOLOGY_NEVER;
	if (json_is_string(v) && wall_parse(span_str(json_string_value(v)), &w))
		return w;
	diag_error(r->diags, at_of(r, obj, key), "\"%s\": want a time (RFC 3339 or seconds since 1970)", key);
	return absent;
}

static void read_user(struct topo_reader *r, json_t *obj, struct place at, uint64_t id)
{
	static const char *const keys[] = { "id", "name", "email", "display", "roles", "groups", "shared", NULL };
	struct topology_user u = { .id = id };

	known(r, obj, keys, "a user");
	text_of(r, obj, "name", &u.login);
	text_of(r, obj, "email", &u.email);
	if (!text_of(r, obj, "display", &u.name))
		u.name = u.login;
	u.roles = texts_of(r, obj, "roles");
	u.groups = texts_of(r, obj, "groups");
	u.shared = flag_of(r, obj, "shared");
	if (u.login.len == 0 && u.email.len == 0)
		diag_error(r->diags, at, "a user needs \"name\" or \"email\"");
	else if (!topology_user_put(r->topo, &u))
		diag_error(r->diags, at, "too many users, or lists too long");
}

static void read_session(struct topo_reader *r, json_t *node, struct topology_session *s)
{
	static const char *const keys[] = { "expires", "auth_time", "acr", "amr", "groups", "cross_device", NULL };
	json_t *v = json_object_get(node, "session");

	/* A topology file without sessions means people who are logged in. */
	*s = (struct topology_session){ .expires = TOPOLOGY_NEVER };
	if (!v)
		return;
	if (json_is_null(v)) {
		s->expires = (struct wall){ 0 };
		return;
	}
	if (!json_is_object(v)) {
		diag_error(r->diags, at_of(r, node, "session"), "\"session\": want an object, or null for nobody logged in");
		return;
	}
	known(r, v, keys, "a session");
	s->expires = time_of(r, v, "expires", TOPOLOGY_NEVER);
	s->auth_time = time_of(r, v, "auth_time", (struct wall){ 0 });
	text_of(r, v, "acr", &s->acr);
	s->amr = texts_of(r, v, "amr");
	s->groups = texts_of(r, v, "groups");
	s->cross_device = flag_of(r, v, "cross_device");
}

static void read_posture(struct topo_reader *r, json_t *obj, struct topology_node *n)
{
	json_t *p = json_object_get(obj, "posture"), *v;
	struct topology_attr *list;
	const char *k;

	if (!p || json_is_null(p))
		return;
	if (!json_is_object(p)) {
		diag_error(r->diags, at_of(r, obj, "posture"), "\"posture\": want an object");
		return;
	}
	list = arena_calloc(&r->arena, json_object_size(p) + 1, sizeof(*list));
	json_object_foreach(p, k, v) {
		struct span value;

		if (json_is_string(v))
			value = span_of(json_string_value(v), json_string_length(v));
		else if (json_is_boolean(v))
			value = json_is_true(v) ? SPAN("true") : SPAN("false");
		else if (json_is_integer(v))
			value = arena_printf(&r->arena, "%lld", (long long)json_integer_value(v));
		else {
			diag_error(r->diags, at_of(r, p, k), "\"%s\": want a string, a number or a boolean", k);
			continue;
		}
		list[n->attr_count++] = (struct topology_attr){ span_str(k), value };
	}
	n->attrs = list;
}

static void read_node(struct topo_reader *r, const char *name, json_t *obj, struct place at)
{
	static const char *const keys[] = { "id", "hostname", "tags", "ipv4", "ipv6", "user", "routable_ips",
		"approved_routes", "session", "posture", NULL };
	struct topology_node n = { .id = ++r->next_node, .name = span_str(name) };
	const struct prefix *approved;
	struct prefix *routes;
	size_t count;
	struct span s;

	known(r, obj, keys, "a node");
	n.tags = texts_of(r, obj, "tags");
	if (text_of(r, obj, "ipv4", &s) && s.len && (!ip_parse(s, &n.ip4) || n.ip4.family != IP_V4))
		diag_error(r->diags, at_of(r, obj, "ipv4"), "\"%.*s\" is no IPv4 address", SPAN_ARG(s));
	if (text_of(r, obj, "ipv6", &s) && s.len && (!ip_parse(s, &n.ip6) || n.ip6.family != IP_V6))
		diag_error(r->diags, at_of(r, obj, "ipv6"), "\"%.*s\" is no IPv6 address", SPAN_ARG(s));
	if (text_of(r, obj, "user", &s) && s.len) {
		const struct topology_user *u = topology_user_by_login(r->topo, s);

		if (!u)
			diag_error(r->diags, at_of(r, obj, "user"), "no user, or more than one, is called \"%.*s\"", SPAN_ARG(s));
		else
			n.user = u->id;
	}
	if (n.tags.count)
		n.user = 0;
	n.offered = prefixes_of(r, obj, "routable_ips", &n.offered_count);
	approved = prefixes_of(r, obj, "approved_routes", &count);
	/* A route counts when it is both offered and approved. */
	routes = arena_calloc(&r->arena, count + 1, sizeof(*routes));
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < n.offered_count; k++)
			if (prefix_cmp(&approved[i], &n.offered[k]) == 0) {
				routes[n.route_count++] = approved[i];
				break;
			}
	n.routes = routes;
	read_session(r, obj, &n.session);
	read_posture(r, obj, &n);
	if (!topology_node_put(r->topo, &n))
		diag_error(r->diags, at, "too many nodes, or lists too long");
}

static void read_service(struct topo_reader *r, const char *name, json_t *obj, struct place at)
{
	static const char *const keys[] = { "node", "nodes", "ports", "http", "hosts", "profiles", NULL };
	struct topology_service s = { .name = span_str(name), .http = true };
	json_t *ports = json_object_get(obj, "ports"), *v;
	struct spans nodes = texts_of(r, obj, "nodes");
	struct span node;
	uint16_t *list;
	size_t i;

	known(r, obj, keys, "a service");
	list = arena_calloc(&r->arena, json_array_size(ports) + 1, sizeof(*list));
	json_array_foreach(ports, i, v) {
		if (json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) <= UINT16_MAX)
			list[s.port_count++] = (uint16_t)json_integer_value(v);
		else
			diag_error(r->diags, hujson_item_at(r->doc, ports, i), "want a port, 1..65535");
	}
	s.ports = list;
	if (!s.port_count)
		diag_error(r->diags, at, "service \"%s\" needs \"ports\": [80]", name);
	if (json_object_get(obj, "http"))
		s.http = flag_of(r, obj, "http");
	s.hosts = texts_of(r, obj, "hosts");
	s.profiles = texts_of(r, obj, "profiles");
	if (text_of(r, obj, "node", &node)) {
		struct span *one = arena_alloc(&r->arena, sizeof(*one));

		*one = node;
		nodes = (struct spans){ one, 1 };
	}
	if (!nodes.count)
		diag_error(r->diags, at, "service \"%s\" needs \"node\"", name);
	for (i = 0; i < nodes.count; i++) {
		const struct topology_node *n = topology_node_by_name(r->topo, nodes.list[i]);

		if (!n) {
			diag_error(r->diags, at, "service \"%s\": no node \"%.*s\"", name, SPAN_ARG(nodes.list[i]));
			continue;
		}
		s.node = n->id;
		if (!topology_service_put(r->topo, &s))
			diag_error(r->diags, at, "service \"%s\": too many, or lists too long", name);
	}
}

bool topology_read(struct span text, struct topology *topo, struct diags *diags)
{
	static const char *const keys[] = { "users", "nodes", "services", NULL };
	size_t before = diags->errors, i;
	scoped_hujson struct hujson *doc = hujson_parse(text, HUJSON_TEXT_MAX * 4, diags);
	struct topo_reader r = { .doc = doc, .diags = diags, .topo = topo };
	json_t *root, *list, *v;
	const char *k;

	if (!doc)
		return false;
	root = hujson_root(doc);
	if (!json_is_object(root))
		return diag_error(diags, hujson_root_at(doc), "a topology is an object");
	arena_init(&r.arena, 64 << 10);
	known(&r, root, keys, "a topology");
	list = json_object_get(root, "users");
	if (list && !json_is_array(list))
		diag_error(diags, at_of(&r, root, "users"), "\"users\": want an array");
	/* Ids of the file may begin at 0; ours do not. */
	json_array_foreach(list, i, v)
		if (json_is_object(v))
			read_user(&r, v, hujson_item_at(doc, list, i), i + 1);
		else
			diag_error(diags, hujson_item_at(doc, list, i), "a user is an object");
	list = json_object_get(root, "nodes");
	if (list && !json_is_object(list))
		diag_error(diags, at_of(&r, root, "nodes"), "\"nodes\": want an object of nodes");
	json_object_foreach(list, k, v)
		if (json_is_object(v))
			read_node(&r, k, v, hujson_key_at(doc, list, k));
		else
			diag_error(diags, hujson_key_at(doc, list, k), "a node is an object");
	list = json_object_get(root, "services");
	if (list && !json_is_object(list))
		diag_error(diags, at_of(&r, root, "services"), "\"services\": want an object of services");
	json_object_foreach(list, k, v)
		if (json_is_object(v))
			read_service(&r, k, v, hujson_key_at(doc, list, k));
		else
			diag_error(diags, hujson_key_at(doc, list, k), "a service is an object");
	arena_done(&r.arena);
	diags_sort(diags);
	return diags->errors == before;
}
