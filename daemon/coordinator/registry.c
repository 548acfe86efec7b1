/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/registry.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/mesh/overlay.h"

#include <stdlib.h>
#include <string.h>

static struct span id_span(const uint64_t *id)
{
	return span_of(id, sizeof(*id));
}

/* What was encoded of it does not count any more. */
static void touch(struct reg_node *n)
{
	for (size_t i = 0; i < array_size(n->json); i++) {
		free(n->json[i].json);
		n->json[i] = (struct reg_json){ 0 };
	}
}

static void touch_all(struct registry *r, uint64_t user)
{
	size_t pos = 0;

	for (struct reg_node *n; (n = registry_next_node(r, &pos));)
		if (!user || n->row->user == user)
			touch(n);
}

/* ---- lists for the topology ---- */

struct list { struct span *list; size_t count; };

static struct list list_of(const char *text, struct arena *mem)
{
	struct span rest = span_str(text), item;
	struct list l = { 0 };

	while (row_list_next(&rest, &item))
		l.count++;
	l.list = arena_calloc(mem, l.count ? l.count : 1, sizeof(*l.list));
	rest = span_str(text);
	for (size_t i = 0; i < l.count && row_list_next(&rest, &item); i++)
		l.list[i] = item;
	return l;
}

static struct spans spans_of(struct list l)
{
	return (struct spans){ l.list, l.count < TOPOLOGY_LIST_MAX ? l.count : TOPOLOGY_LIST_MAX };
}

bool registry_user_is_admin(const struct registry *r, const struct user_row *u)
{
	for (size_t i = 0; i < r->conf->admins.count; i++)
		if (span_ieq(span_str(r->conf->admins.list[i]), span_str(u->login)))
			return true;
	return false;
}

static void put_user(struct registry *r, const struct reg_user *u)
{
	static const struct span admin[] = { { "admin", 5 } };
	struct topology_user t = {
		.id = u->id, .login = span_str(u->row->login), .name = span_str(u->row->name),
		.email = span_str(u->row->email),
	};

	if (registry_user_is_admin(r, u->row))
		t.roles = (struct spans){ admin, 1 };
	if (!topology_user_put(r->topology, &t))
		log_error("user u%llu does not fit into the topology: nothing is granted to them",
			  (unsigned long long)u->id);
}

static void remove_services(struct registry *r, const struct reg_node *n)
{
	for (size_t i = 0; i < n->report.service_count; i++)
		topology_service_remove(r->topology, n->report.services[i].name, n->id);
}

static void put_node(struct registry *r, struct reg_node *n)
{
	struct arena         mem;
	struct prefix        routes[MAP_LIST_MAX];
	struct topology_node t = {
		.id = n->id,
		.name = span_str(n->row->name),
		.ip4 = n->row->v4,
		.ip6 = n->v6,
		.user = n->row->user,
		.offered = n->report.routes,
		.offered_count = n->report.route_count,
	};

	touch(n);
	arena_init(&mem, 4096);
	t.tags = spans_of(list_of(n->row->tags, &mem));
	if (n->session && n->row->approved) {
		const struct session_row *s = n->session;
		const struct reg_user    *u = registry_user(r, n->row->user);

		t.session = (struct topology_session){
			.expires = s->expires,
			.auth_time = s->auth_time,
			.acr = span_str(s->acr),
			.amr = spans_of(list_of(s->amr, &mem)),
			.groups = spans_of(list_of(u ? u->row->groups : "", &mem)),
			.cross_device = s->cross_device,
		};
	}
	struct topology_attr *attrs = arena_calloc(&mem, n->report.attr_count + 1, sizeof(*attrs));
	for (size_t i = 0; i < n->report.attr_count; i++)
		attrs[i] =
			(struct topology_attr){n->report.attrs[i].name, n->report.attrs[i].value};
	t.attrs = attrs;
	t.attr_count = n->report.attr_count;
	/* Twice: whether a route is approved is asked of the topology. */
	bool ok = topology_node_put(r->topology, &t);
	if (ok && t.offered_count) {
		t.route_count = registry_routes(r, n, routes, array_size(routes));
		t.routes = routes;
		ok = topology_node_put(r->topology, &t);
	}
	if (!ok) {
		log_error("node n%llu does not fit into the topology: nothing is granted to it",
			  (unsigned long long)n->id);
		topology_node_remove(r->topology, n->id);
	}
	for (size_t i = 0; ok && registry_may_serve(n) && i < n->report.service_count; i++) {
		const struct map_service *s = &n->report.services[i];
		struct topology_service ts = {
			.name = s->name,
			.node = n->id,
			.ports = &s->port,
			.port_count = 1,
			.http = s->http,
			.hosts = {s->hosts.list, s->hosts.count},
			.profiles = {s->profiles.list, s->profiles.count},
		};

		if (!topology_service_put(r->topology, &ts))
			log_error("service %.*s of n%llu does not fit into the topology",
				  SPAN_ARG(s->name), (unsigned long long)n->id);
	}
	arena_done(&mem);
}

/* What store/rotate_ops.c keeps as text. A line that is none ends it: those behind are not vouched to. */
static void read_vouches(struct reg_vouches *v, const char *text)
{
	struct span rest = span_str(text), item, id;
	size_t      room = 0, len;

	free(v->list);
	*v = (struct reg_vouches){ 0 };
	while (row_list_next(&rest, &item))
		room++;
	if (!room)
		return;
	v->list = mem_calloc(room, sizeof(*v->list));
	rest = span_str(text);
	while (v->n < room && row_list_next(&rest, &item)) {
		struct reg_vouch *one = &v->list[v->n];

		if (!span_next(&item, ' ', &id) || !span_u64(id, INT64_MAX, &one->node) ||
		    !hex_decode(item, one->mac, sizeof(one->mac), &len) || len != sizeof(one->mac) ||
		    (v->n && v->list[v->n - 1].node >= one->node))
			return;
		v->n++;
	}
}

static void note_revoked(struct registry *r, uint64_t node, struct boot now)
{
	r->revoked_at = now;
	if (r->revoked_count < REGISTRY_REVOKED_MAX)
		r->revoked[r->revoked_count++] = node;
}

/* ---- rows ---- */

static void node_free(struct registry *r, struct reg_node *n)
{
	if (!n)
		return;
	touch(n);
	remove_services(r, n);
	topology_node_remove(r->topology, n->id);
	if (n->row)
		dict_remove(r->by_key, span_of(n->row->key, sizeof(n->row->key)));
	if (n->session)
		dict_remove(r->by_session, id_span(&n->session->id));
	session_row_free(n->session);
	node_row_free(n->row);
	map_report_done(&n->report);
	free(n->next.list);
	free(n->was.list);
	free(n);
}

static void count_node(struct registry *r, const struct reg_node *n, int by)
{
	struct reg_user *u = n->row && n->row->user ? registry_user(r, n->row->user) : NULL;

	if (u)
		u->nodes += (size_t)by;
}

static void apply_node(struct registry *r, struct row_change *c, uint64_t seq, struct boot now)
{
	struct reg_node *n = registry_node(r, c->id);
	struct err       err;

	if (c->gone) {
		if (!n)
			return;
		dict_remove(r->nodes, id_span(&c->id));
		count_node(r, n, -1);
		node_free(r, n);
		note_revoked(r, c->id, now);
		return;
	}
	if (!n) {
		n = mem_alloc(sizeof(*n));
		n->id = c->id;
		map_report_init(&n->report);
		dict_put(r->nodes, id_span(&n->id), n);
	} else {
		remove_services(r, n);
		count_node(r, n, -1);
	}
	bool was_next = n->row && n->row->has_next &&
			memcmp(n->row->next_key, c->node->next_key, sizeof(n->row->next_key)) == 0;
	if (n->row && memcmp(n->row->key, c->node->key, sizeof(n->row->key)) != 0)
		dict_remove(r->by_key, span_of(n->row->key, sizeof(n->row->key)));
	bool report_same = n->row && strcmp(n->row->report, c->node->report) == 0;
	node_row_free(n->row);
	n->row = take(c->node);
	count_node(r, n, 1);
	read_vouches(&n->next, n->row->next_vouches);
	read_vouches(&n->was, n->row->was_vouches);
	if (n->row->has_next && !was_next)
		n->next_seq = seq;
	dict_put(r->by_key, span_of(n->row->key, sizeof(n->row->key)), n);
	if (!report_same) {
		struct map_report next;

		if (n->row->report[0] &&
		    !map_report_decode(span_str(n->row->report), &next, &err)) {
			log_error("the report of n%llu does not read: %s",
				  (unsigned long long)n->id, err.msg);
		} else if (n->row->report[0]) {
			map_report_done(&n->report);
			n->report = next;
		}
	}
	if (n->row->hub)
		r->hub = n->id;
	struct overlay    o = { .v6 = r->mesh.ula, .v4 = r->mesh.v4 };
	struct device_key key;
	memcpy(key.b, n->row->key, sizeof(key.b));
	n->v6 = n->row->browser[0] ? (struct ip){ 0 } : overlay_v6(&o, &key);
	put_node(r, n);
}

static bool lost_group(const char *before, const char *after)
{
	struct span rest = span_str(before), item;

	while (row_list_next(&rest, &item))
		if (!row_list_has(after, item))
			return true;
	return false;
}

static void apply_user(struct registry *r, struct row_change *c, struct boot now)
{
	struct reg_user *u = registry_user(r, c->id);
	size_t           pos = 0;

	if (c->gone) {
		if (!u)
			return;
		dict_remove(r->users, id_span(&c->id));
		topology_user_remove(r->topology, u->id);
		user_row_free(u->row);
		free(u);
		return;
	}
	if (!u) {
		u = mem_alloc(sizeof(*u));
		u->id = c->id;
		dict_put(r->users, id_span(&u->id), u);
	}
	bool regrouped = u->row && strcmp(u->row->groups, c->user->groups) != 0;
	bool less = regrouped && lost_group(u->row->groups, c->user->groups);
	user_row_free(u->row);
	u->row = take(c->user);
	put_user(r, u);
	touch_all(r, u->id);
	/* Groups are the person's: every session of theirs has them at once. */
	for (struct reg_node *n; regrouped && (n = registry_next_node(r, &pos));)
		if (n->row->user == u->id) {
			put_node(r, n);
			if (less)
				note_revoked(r, n->id, now);
		}
}

static void apply_session(struct registry *r, struct row_change *c, struct wall wall, struct boot now)
{
	struct reg_node *n =
		c->gone ? registry_by_session(r, c->id) : registry_node(r, c->session->node);

	if (!n)
		return;
	if (c->gone || c->session->ended.sec) {
		if (!n->session || n->session->id != c->id)
			return;
		dict_remove(r->by_session, id_span(&c->id));
		session_row_free(n->session);
		n->session = NULL;
		note_revoked(r, n->id, now);
	} else {
		/* One that was known keeps its end, whatever the wall clock was set to since. */
		if (!n->session || n->session->id != c->id || n->session->expires.sec != c->session->expires.sec)
			n->session_end = c->session->expires.sec > wall.sec
				? boot_at_wall(c->session->expires, wall, now) : BOOT_NEVER;
		if (n->session)
			dict_remove(r->by_session, id_span(&n->session->id));
		session_row_free(n->session);
		n->session = take(c->session);
		dict_put(r->by_session, id_span(&n->session->id), n);
	}
	put_node(r, n);
}

static void apply_key(struct registry *r, struct row_change *c)
{
	struct key_row *old = c->gone ? dict_remove(r->keys, id_span(&c->id))
				      : dict_put(r->keys, id_span(&c->id), take(c->key));

	key_row_free(old);
}

static void apply_policy(struct registry *r, struct row_change *c, struct boot now)
{
	struct diags   diags;
	struct policy *next;
	size_t         pos = 0;

	diags_init(&diags, "policy");
	next = policy_parse(span_str(c->policy->text), POLICY_FILE, &diags);
	if (!next) {
		struct err err = { 0 };

		/* It was checked before it was stored: this is another release's, or a damaged
		 * file. */
		diags_err(&diags, &err);
		log_error("policy version %llu does not read, nothing is granted: %s",
			  (unsigned long long)c->id, err.msg);
		next = policy_empty();
	}
	diags_done(&diags);
	policy_unref(r->policy);
	r->policy = next;
	policy_row_free(r->policy_row);
	r->policy_row = take(c->policy);
	r->revoked_at = now;
	/* autoApprovers may have changed */
	for (struct reg_node *n; (n = registry_next_node(r, &pos));)
		put_node(r, n);
}

void registry_clock_set(struct registry *r)
{
	touch_all(r, 0);
}

void registry_apply(struct registry *r, struct row_changes *changes, struct wall wall, struct boot now)
{
	struct boot before = r->revoked_at;

	/* Users before nodes before sessions, wherever the job put them. */
	static const enum row_kind order[] = {ROW_POLICY,  ROW_USER, ROW_NODE,
					      ROW_SESSION, ROW_KEY,  ROW_HELD};

	for (size_t k = 0; k < array_size(order); k++)
		for (size_t i = 0; i < changes->count; i++) {
			struct row_change *c = &changes->list[i];

			if (c->kind != order[k])
				continue;
			switch (c->kind) {
			case ROW_NODE:
				apply_node(r, c, changes->seq, now);
				break;
			case ROW_USER:
				apply_user(r, c, now);
				break;
			case ROW_SESSION:
				apply_session(r, c, wall, now);
				break;
			case ROW_KEY:
				apply_key(r, c);
				break;
			case ROW_POLICY:
				apply_policy(r, c, now);
				break;
			case ROW_HELD:
				held_row_free(c->gone ? dict_remove(r->held, id_span(&c->id))
						      : dict_put(r->held, id_span(&c->id),
								 take(c->held)));
				break;
			}
		}
	if (changes->seq)
		r->seq = changes->seq;
	if (r->revoked_at.ns != before.ns)
		r->revoked_seq = r->seq;
}

void registry_loaded(struct registry *r, struct mesh_row *mesh)
{
	mesh_row_done(&r->mesh);
	r->mesh = *mesh;
	*mesh = (struct mesh_row){ 0 };
	r->seq = r->mesh.seq;
}

struct registry *registry_new(const struct conf *conf)
{
	struct registry *r = mem_alloc(sizeof(*r));

	r->conf = conf;
	r->nodes = dict_new();
	r->users = dict_new();
	r->keys = dict_new();
	r->held = dict_new();
	r->by_session = dict_new();
	r->by_key = dict_new();
	r->hash = hash_key_random();
	r->topology = topology_new();
	r->policy = policy_empty();
	return r;
}

void registry_free(struct registry *r)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	if (!r)
		return;
	while (dict_next(r->nodes, &pos, &key, &v))
		node_free(r, v);
	pos = 0;
	while (dict_next(r->users, &pos, &key, &v)) {
		struct reg_user *u = v;

		user_row_free(u->row);
		free(u);
	}
	pos = 0;
	while (dict_next(r->keys, &pos, &key, &v))
		key_row_free(v);
	pos = 0;
	while (dict_next(r->held, &pos, &key, &v))
		held_row_free(v);
	dict_free(r->held);
	dict_free(r->nodes);
	dict_free(r->users);
	dict_free(r->keys);
	dict_free(r->by_session);
	dict_free(r->by_key);
	topology_free(r->topology);
	policy_unref(r->policy);
	policy_row_free(r->policy_row);
	mesh_row_done(&r->mesh);
	free(r);
}

void registry_conf(struct registry *r, const struct conf *conf)
{
	size_t pos = 0;

	r->conf = conf;
	for (struct reg_user *u; (u = registry_next_user(r, &pos));)
		put_user(r, u);
	touch_all(r, 0);
	registry_pins(r);
}

/* ---- reading ---- */

struct reg_node *registry_node(const struct registry *r, uint64_t id)
{
	return id ? dict_find(r->nodes, id_span(&id)) : NULL;
}

struct reg_user *registry_user(const struct registry *r, uint64_t id)
{
	return id ? dict_find(r->users, id_span(&id)) : NULL;
}

struct key_row *registry_key(const struct registry *r, uint64_t id)
{
	return id ? dict_find(r->keys, id_span(&id)) : NULL;
}

struct reg_node *registry_by_session(const struct registry *r, uint64_t session)
{
	return session ? dict_find(r->by_session, id_span(&session)) : NULL;
}

struct reg_node *registry_by_key(const struct registry *r, const uint8_t key[32])
{
	return dict_find(r->by_key, span_of(key, 32));
}

struct reg_node *registry_next_node(const struct registry *r, size_t *pos)
{
	struct span key;
	void       *v;

	return dict_next(r->nodes, pos, &key, &v) ? v : NULL;
}

struct reg_user *registry_next_user(const struct registry *r, size_t *pos)
{
	struct span key;
	void       *v;

	return dict_next(r->users, pos, &key, &v) ? v : NULL;
}

struct key_row *registry_next_key(const struct registry *r, size_t *pos)
{
	struct span key;
	void       *v;

	return dict_next(r->keys, pos, &key, &v) ? v : NULL;
}

struct reg_node *registry_by_name(const struct registry *r, struct span name)
{
	size_t pos = 0;

	for (struct reg_node *n; (n = registry_next_node(r, &pos));)
		if (span_eq(span_str(n->row->name), name))
			return n;
	return NULL;
}

struct reg_user *registry_by_login(const struct registry *r, struct span login)
{
	size_t pos = 0;

	for (struct reg_user *u; (u = registry_next_user(r, &pos));)
		if (span_ieq(span_str(u->row->login), login))
			return u;
	return NULL;
}

const struct session_row *registry_session(const struct reg_node *n, struct wall now)
{
	/* On a device that waits for approval nobody is logged in yet. */
	return n->session && n->row->approved && now.sec < n->session->expires.sec ? n->session
										   : NULL;
}

struct wall registry_next_expiry(const struct registry *r)
{
	struct wall w = { INT64_MAX };
	size_t      pos = 0;

	for (struct reg_node *n; (n = registry_next_node(r, &pos));)
		if (n->session && n->session->expires.sec < w.sec)
			w = n->session->expires;
	return w;
}

static void look_for_admin(void *arg, struct span attr)
{
	if (span_eq(attr, SPAN("reeve:admin")))
		*(bool *)arg = true;
}

bool registry_is_admin(const struct registry *r, uint64_t node, uint64_t user, uint64_t session,
		       struct wall now)
{
	const struct reg_node    *n = registry_node(r, node);
	const struct session_row *s = n ? registry_session(n, now) : NULL;
	const struct reg_user    *u = registry_user(r, user);
	bool                      by_policy = false;

	if (!u || !s || s->id != session || s->user != user || n->row->user != user ||
	    u->row->blocked)
		return false;
	if (registry_user_is_admin(r, u->row))
		return true;
	policy_node_attrs(r->policy, r->topology, node, look_for_admin, &by_policy);
	return by_policy;
}

bool registry_may_serve(const struct reg_node *n)
{
	return n->row->hub || n->row->tags[0];
}

size_t registry_routes(const struct registry *r, const struct reg_node *n, struct prefix *ret,
		       size_t max)
{
	char   text[IP_TEXT_MAX];
	size_t count = 0;

	for (size_t i = 0; i < n->report.route_count && count < max; i++) {
		const struct prefix *p = &n->report.routes[i];

		if (row_list_has(n->row->routes, span_str(prefix_text(p, text))) ||
		    policy_approves_route(r->policy, r->topology, n->id, p))
			ret[count++] = *p;
	}
	return count;
}

static size_t add_endpoint(struct ipport *list, size_t n, size_t max, const struct ipport *e)
{
	for (size_t i = 0; i < n; i++)
		if (ip_eq(&list[i].ip, &e->ip) && list[i].port == e->port)
			return n;
	if (n < max)
		list[n++] = *e;
	return n;
}

size_t registry_endpoints(const struct registry *r, const struct reg_node *n, struct ipport *ret,
			  size_t max)
{
	size_t        count = 0;
	struct ipport e;

	if (n->id == r->hub)
		for (size_t i = 0; i < r->conf->hub_endpoints.count; i++)
			if (ipport_parse(span_str(r->conf->hub_endpoints.list[i]), &e))
				count = add_endpoint(ret, count, max, &e);
	for (size_t i = 0; i < n->report.endpoint_count; i++)
		count = add_endpoint(ret, count, max, &n->report.endpoints[i]);
	if (n->seen.ip.family)
		count = add_endpoint(ret, count, max, &n->seen);
	return count;
}

bool registry_seen(struct registry *r, const struct map_seen *seen, size_t count)
{
	bool changed = false;

	for (size_t i = 0; i < count; i++) {
		struct reg_node *n = registry_by_key(r, seen[i].key);

		if (!n || (ip_eq(&n->seen.ip, &seen[i].at.ip) && n->seen.port == seen[i].at.port))
			continue;
		n->seen = seen[i].at;
		touch(n);
		changed = true;
	}
	return changed;
}

static void add_pin(struct registry *r, const struct enrol_pin *pin)
{
	for (size_t i = 0; i < r->pin_count; i++)
		if (memcmp(&r->pins[i], pin, sizeof(*pin)) == 0)
			return;
	if (r->pin_count < ENROL_PINS_MAX)
		r->pins[r->pin_count++] = *pin;
}

void registry_pins(struct registry *r)
{
	const struct reg_node *hub = registry_node(r, r->hub);
	struct enrol_pin       pin;
	struct err             err;

	r->pin_count = 0;
	for (size_t i = 0; i < r->conf->pins.count; i++)
		if (enrol_pin_parse(span_str(r->conf->pins.list[i]), &pin))
			add_pin(r, &pin);
	for (size_t i = 0; i < r->conf->certificates.count; i++) {
		scoped_buf struct buf pem = { 0 };

		buf_init(&pem, 256 << 10);
		if (file_read(r->conf->certificates.list[i], 256 << 10, &pem, &err) &&
		    enrol_pin_of_pem(buf_span(&pem), &pin, &err))
			add_pin(r, &pin);
		else
			log_warn("%s: %s", r->conf->certificates.list[i], err.msg);
	}
	for (size_t i = 0; hub && i < hub->report.pins.count; i++)
		if (enrol_pin_parse(hub->report.pins.list[i], &pin))
			add_pin(r, &pin);
}
