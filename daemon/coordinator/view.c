/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/view.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What an endpoint may know of a person. NULL lists: all of it. */
struct want {
	const struct prune *prune;      /* NULL: everything */
	bool                groups;     /* a header profile there writes them: all */
	bool                evidence;   /* the ID token, too: it checks logins itself */
};

static bool named(char **list, size_t n, struct span s)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(span_str(list[i]), s))
			return true;
	return false;
}

static void add(struct map_node *n, struct map_list *l, size_t room, struct span s)
{
	if (!l->list)
		l->list = arena_calloc(&n->mem, room, sizeof(*l->list));
	l->list[l->count++] = arena_copy(&n->mem, s);
}

static size_t lines_of(const char *text)
{
	struct span rest = span_str(text), item;
	size_t      n = 0;

	while (row_list_next(&rest, &item))
		n++;
	return n;
}

static void add_all(struct map_node *n, struct map_list *l, const char *text)
{
	struct span rest = span_str(text), item;
	size_t      room = lines_of(text);

	while (row_list_next(&rest, &item) && l->count < MAP_LIST_MAX)
		add(n, l, room, item);
}

static struct span copy(struct map_node *n, const char *s)
{
	return arena_copy(&n->mem, span_str(s));
}

struct grouping {
	const struct want *want;
	struct map_node   *node;
};

static void add_group(void *arg, struct span group)
{
	struct grouping     *g = arg;
	const struct prune  *p = g->want->prune;

	if (g->node->user->groups.count < MAP_LIST_MAX &&
	    (!p || g->want->groups || named(p->groups, p->group_count, group)))
		add(g->node, &g->node->user->groups, MAP_LIST_MAX, group);
}

static void fill_user(const struct registry *r, const struct reg_user *u,
		      const struct session_row *s, const struct want *want, struct map_node *n)
{
	struct span rest, item;
	size_t      room;

	n->user = arena_alloc(&n->mem, sizeof(*n->user));
	n->user->id = u->id;
	n->user->issuer = copy(n, u->row->issuer);
	n->user->sub = copy(n, u->row->sub);
	n->user->login = copy(n, u->row->login);
	n->user->name = copy(n, u->row->name);
	n->user->email = copy(n, u->row->email);
	if (registry_user_is_admin(r, u->row) &&
	    (!want->prune || named(want->prune->roles, want->prune->role_count, SPAN("admin"))))
		add(n, &n->user->roles, 1, SPAN("admin"));
	struct grouping g = { want, n };
	policy_user_groups(r->policy, r->topology, u->id, add_group, &g);
	if (!s)
		return;
	rest = span_str(u->row->groups);
	room = lines_of(u->row->groups);
	while (row_list_next(&rest, &item) && n->user->idp.count < MAP_LIST_MAX)
		if (!want->prune || want->groups ||
		    named(want->prune->idp_groups, want->prune->idp_group_count, item))
			add(n, &n->user->idp, room, item);
	n->session = arena_alloc(&n->mem, sizeof(*n->session));
	n->session->id = s->id;
	n->session->auth_time = s->auth_time;
	n->session->expires = s->expires;
	n->session->acr = copy(n, s->acr);
	add_all(n, &n->session->amr, s->amr);
	n->session->cross_device = s->cross_device;
	if (want->evidence && s->id_token[0]) {
		n->evidence = arena_alloc(&n->mem, sizeof(*n->evidence));
		n->evidence->id_token = copy(n, s->id_token);
		memcpy(n->evidence->opening, s->opening, sizeof(n->evidence->opening));
		n->evidence->has_key = s->has_evidence_key;
		memcpy(n->evidence->key, s->evidence_key, sizeof(n->evidence->key));
	}
}

static void copy_list(struct map_node *n, struct map_list *to, const struct map_list *from)
{
	for (size_t i = 0; i < from->count; i++)
		add(n, to, from->count, from->list[i]);
}

static struct map_node *fill(const struct registry *r, const struct reg_node *from,
			     const struct want *want, struct wall now)
{
	struct map_node   *n = map_node_new();
	const struct reg_user *u = registry_user(r, from->row->user);
	struct ipport      endpoints[MAP_ENDPOINTS_MAX];
	struct prefix      routes[MAP_LIST_MAX];

	n->id = from->id;
	n->name = copy(n, from->row->name);
	memcpy(n->key, from->row->key, sizeof(n->key));
	n->v4 = from->row->v4;
	n->v6 = from->v6;
	n->hub = from->row->hub;
	n->waits = !from->row->approved;
	n->browser = copy(n, from->row->browser);
	n->endpoint_count = registry_endpoints(r, from, endpoints, array_size(endpoints));
	n->endpoints = arena_calloc(&n->mem, n->endpoint_count + 1, sizeof(*n->endpoints));
	memcpy(n->endpoints, endpoints, n->endpoint_count * sizeof(*endpoints));
	n->route_count = registry_routes(r, from, routes, array_size(routes));
	n->routes = arena_calloc(&n->mem, n->route_count + 1, sizeof(*n->routes));
	memcpy(n->routes, routes, n->route_count * sizeof(*routes));
	if (registry_may_serve(from)) {
		n->services =
			arena_calloc(&n->mem, from->report.service_count + 1, sizeof(*n->services));
		for (size_t i = 0; i < from->report.service_count; i++) {
			const struct map_service *s = &from->report.services[i];
			struct map_service       *to = &n->services[n->service_count++];

			to->name = arena_copy(&n->mem, s->name);
			to->port = s->port;
			to->http = s->http;
			to->browser = arena_copy(&n->mem, s->browser);
			copy_list(n, &to->hosts, &s->hosts);
			copy_list(n, &to->profiles, &s->profiles);
		}
	}
	n->attrs = arena_calloc(&n->mem, from->report.attr_count + 1, sizeof(*n->attrs));
	for (size_t i = 0; i < from->report.attr_count; i++) {
		const struct map_attr *a = &from->report.attrs[i];

		if (want->prune && !named(want->prune->attrs, want->prune->attr_count, a->name))
			continue;
		n->attrs[n->attr_count].name = arena_copy(&n->mem, a->name);
		n->attrs[n->attr_count++].value = arena_copy(&n->mem, a->value);
	}
	add_all(n, &n->tags, from->row->tags);
	if (u)
		fill_user(r, u, u->row->blocked ? NULL : registry_session(from, now), want, n);
	return n;
}

struct map_node *view_node(const struct registry *r, const struct reg_node *n, struct wall now)
{
	const struct want all = { 0 };

	return fill(r, n, &all, now);
}

struct map_node *view_hub(const struct registry *r, struct wall now)
{
	const struct reg_node *hub = registry_node(r, r->hub);

	return hub ? view_node(r, hub, now) : NULL;
}

void view_mesh(const struct registry *r, struct map_mesh *ret_mesh)
{
	*ret_mesh = (struct map_mesh){
		.ula = r->mesh.ula, .v4 = r->mesh.v4, .name = span_str(r->mesh.name)};
}

static int id_cmp(const void *va, const void *vb)
{
	const uint64_t *a = va, *b = vb;

	return *a < *b ? -1 : *a > *b;
}

/* Who: self, the hub, and whom the policy names; for the hub, everybody. */
static uint64_t *whom(const struct registry *r, const struct reg_node *self, const struct prune *p,
		      size_t *ret_n)
{
	size_t    n = 0, pos = 0, k = 0;
	uint64_t *ids;

	if (self->row->hub) {
		ids = mem_calloc(dict_count(r->nodes) + 1, sizeof(*ids));
		for (struct reg_node *one; (one = registry_next_node(r, &pos));)
			ids[n++] = one->id;
	} else {
		ids = mem_calloc(p->node_count + 2, sizeof(*ids));
		memcpy(ids, p->nodes, p->node_count * sizeof(*ids));
		n = p->node_count;
		ids[n++] = self->id;
		ids[n++] = r->hub;
	}
	qsort(ids, n, sizeof(*ids), id_cmp);
	for (size_t i = 0; i < n; i++)
		if (k == 0 || ids[k - 1] != ids[i])
			ids[k++] = ids[i];
	*ret_n = k;
	return ids;
}

/* Who wants the same of people is told the same bytes. Never 0. */
static uint64_t want_key(const struct registry *r, const struct want *w)
{
	const struct prune   *p = w->prune;
	scoped_buf struct buf b = { 0 };

	if (!p)
		return 1;
	const struct { char **list; size_t n; } lists[] = {
		{ p->groups, p->group_count }, { p->idp_groups, p->idp_group_count },
		{ p->roles, p->role_count },   { p->attrs, p->attr_count },
	};
	buf_init(&b, 1 << 20);
	buf_add_char(&b, w->groups ? '1' : '0');
	buf_add_char(&b, w->evidence ? '1' : '0');
	for (size_t i = 0; i < array_size(lists); i++) {
		for (size_t k = 0; k < lists[i].n; k++) {
			buf_add_str(&b, lists[i].list[k]);
			buf_add_char(&b, '\n');
		}
		buf_add_char(&b, '\f');
	}
	return hash_bytes(&r->hash, b.ptr, b.len) | 2;
}

static const struct reg_json *encoded(const struct registry *r, struct reg_node *n,
				      const struct want *want, uint64_t key, struct wall now)
{
	for (size_t i = 0; i < array_size(n->json); i++)
		if (n->json[i].want == key)
			return &n->json[i];
	struct reg_json *j = &n->json[n->json_next++ % array_size(n->json)];
	struct map_node *m = fill(r, n, want, now);
	struct buf       b;

	buf_init(&b, MAP_NODE_LINE_MAX);
	map_node_encode(m, &b);
	free(j->json);
	*j = (struct reg_json){
		.want = key, .session = m->session != NULL, .len = b.over ? 0 : b.len};
	if (j->len) {
		j->hash = hash_bytes(&r->hash, b.ptr, b.len);
		j->json = mem_dup(b.ptr, b.len);
	}
	buf_done(&b);
	map_node_unref(m);
	return j;
}

/* ---- other keys ---- */

static int vouch_cmp(const void *va, const void *vb)
{
	const struct reg_vouch *a = va, *b = vb;

	return a->node < b->node ? -1 : a->node > b->node;
}

static const struct reg_vouch *vouch_for(const struct reg_vouches *v, uint64_t endpoint)
{
	const struct reg_vouch key = { .node = endpoint };

	return v->n ? bsearch(&key, v->list, v->n, sizeof(*v->list), vouch_cmp) : NULL;
}

static void add_turn(struct map_turn *t, const uint8_t key[32], const struct reg_vouch *v)
{
	memcpy(t->key, key, sizeof(t->key));
	t->has_vouch = v != NULL;
	if (v)
		memcpy(t->vouch, v->mac, sizeof(t->vouch));
}

/* The old key's word is each endpoint's own, so it goes behind what all are told alike. */
static void add_turns(const struct reg_node *n, uint64_t to, struct wall now, struct buf *out)
{
	const struct reg_vouch *next = vouch_for(&n->next, to), *was = vouch_for(&n->was, to);
	struct map_turn         t;

	/* Without it a key that is not in use yet is nobody's to an endpoint. */
	if (n->row->has_next && (next || to == n->id)) {
		add_turn(&t, n->row->next_key, next);
		map_turn_encode("next", &t, out);
	}
	if (n->row->has_was && was && now.sec < n->row->was_until.sec) {
		add_turn(&t, n->row->was_key, was);
		map_turn_encode("was", &t, out);
	}
}

static struct span with_turns(const struct registry *r, const struct reg_node *n, const struct reg_json *j,
			      uint64_t to, struct wall now, struct arena *mem, uint64_t *ret_hash)
{
	scoped_buf struct buf b = { 0 };
	struct span           text = { j->json, j->len };

	*ret_hash = j->hash;
	if (!n->row->has_next && !n->row->has_was)
		return text;
	buf_init(&b, MAP_NODE_LINE_MAX);
	buf_add(&b, j->json, j->len - 1);       /* without its brace */
	add_turns(n, to, now, &b);
	buf_add_char(&b, '}');
	if (b.over)
		return text;
	text = arena_copy(mem, buf_span(&b));
	*ret_hash = hash_bytes(&r->hash, text.ptr, text.len);
	return text;
}

void view_build(struct registry *r, const struct reg_node *self, struct wall now,
		struct view *ret_view)
{
	const struct want all = { 0 };
	struct view       v = { 0 };
	size_t            n;

	arena_init(&v.mem, 16 << 10);
	policy_prune(r->policy, r->topology, self->id, &v.want.prune);
	for (size_t i = 0; i < self->report.service_count; i++)
		v.want.groups |= self->report.services[i].profiles.count > 0;
	v.want.evidence = self->report.verify_idp;
	const struct want want = { .prune = &v.want.prune, .groups = v.want.groups,
				   .evidence = v.want.evidence };
	v.want.key = want_key(r, &want);
	uint64_t *ids = whom(r, self, &v.want.prune, &n);
	v.items = arena_calloc(&v.mem, n + 1, sizeof(*v.items));
	for (size_t i = 0; i < n; i++) {
		struct reg_node *one = registry_node(r, ids[i]);

		/* A browser's session is at one host: nobody else can meet it. */
		if (!one || (one->row->browser[0] && one->row->host != self->id))
			continue;
		const struct reg_json *j = encoded(r, one, one == self ? &all : &want,
						   one == self ? 1 : v.want.key, now);
		if (!j->len)
			continue;
		struct view_item *item = &v.items[v.count++];
		item->id = one->id;
		item->session = j->session;
		item->json = with_turns(r, one, j, self->id, now, &v.mem, &item->hash);
	}
	free(ids);
	v.policy = v.want.prune.text;
	v.want.prune.text = (struct buf){ 0 };
	*ret_view = v;
}

const struct reg_json *view_one(const struct registry *r, struct reg_node *n,
				const struct view_want *w, struct wall now)
{
	const struct want      want = { .prune = &w->prune, .groups = w->groups,
					.evidence = w->evidence };
	const struct reg_json *j = w->key ? encoded(r, n, &want, w->key, now) : NULL;

	return j && j->len ? j : NULL;
}

void view_want_done(struct view_want *w)
{
	prune_done(&w->prune);
	*w = (struct view_want){ 0 };
}

void view_done(struct view *v)
{
	view_want_done(&v->want);
	arena_done(&v->mem);
	buf_done(&v->policy);
	*v = (struct view){ 0 };
}
