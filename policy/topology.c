/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "policy/topology.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* One slot for each id, in the order of the first put; removed ones are NULL
 * until compaction would cost less than they do. */
struct slots {
	void       **list;
	size_t       count, cap, live;
	struct dict *index;     /* id -> slot number + 1 */
};

struct claim {
	uint64_t *ids;
	size_t    count, cap;
};

struct topology {
	struct slots users, nodes, services;
	struct dict *logins;    /* login or email -> struct claim of user ids */
	struct dict *names;     /* node name -> struct claim of node ids */
	struct dict *addrs;     /* family and address -> struct claim of node ids */
	struct dict *devices;   /* user id -> struct claim of node ids */
};

struct topology *topology_new(void)
{
	struct topology *t = mem_alloc(sizeof(*t));

	t->users.index = dict_new();
	t->nodes.index = dict_new();
	t->services.index = dict_new();
	t->logins = dict_new();
	t->names = dict_new();
	t->addrs = dict_new();
	t->devices = dict_new();
	return t;
}

static void slots_done(struct slots *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->list[i]);
	free(s->list);
	dict_free(s->index);
}

static void claims_done(struct dict *d)
{
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(d, &pos, &key, &value)) {
		struct claim *c = value;

		free(c->ids);
		free(c);
	}
	dict_free(d);
}

void topology_free(struct topology *t)
{
	if (!t)
		return;
	slots_done(&t->users);
	slots_done(&t->nodes);
	slots_done(&t->services);
	claims_done(t->logins);
	claims_done(t->names);
	claims_done(t->addrs);
	claims_done(t->devices);
	free(t);
}

static void *slots_find(const struct slots *s, struct span key)
{
	uintptr_t n = (uintptr_t)dict_find(s->index, key);

	return n ? s->list[n - 1] : NULL;
}

/* Takes item; the one it replaces is freed. */
static void slots_put(struct slots *s, struct span key, void *item)
{
	uintptr_t n = (uintptr_t)dict_find(s->index, key);

	if (n) {
		free(s->list[n - 1]);
		s->list[n - 1] = item;
		return;
	}
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->list = mem_realloc(s->list, s->cap, sizeof(*s->list));
	}
	s->list[s->count++] = item;
	s->live++;
	dict_put(s->index, key, (void *)(uintptr_t)s->count);
}

static void slots_compact(struct slots *s)
{
	struct span key;
	void *value;
	size_t pos = 0, n = 0;
	uintptr_t *moved;

	if (s->count < 64 || s->live * 2 > s->count)
		return;
	moved = mem_calloc(s->count + 1, sizeof(*moved));
	for (size_t i = 0; i < s->count; i++)
		if (s->list[i]) {
			s->list[n++] = s->list[i];
			moved[i + 1] = n;
		}
	s->count = n;
	{
		struct dict *old = s->index;

		s->index = dict_new();
		while (dict_next(old, &pos, &key, &value))
			dict_put(s->index, key, (void *)moved[(uintptr_t)value]);
		dict_free(old);
	}
	free(moved);
}

static void slots_remove(struct slots *s, struct span key)
{
	uintptr_t n = (uintptr_t)dict_remove(s->index, key);

	if (!n)
		return;
	free(s->list[n - 1]);
	s->list[n - 1] = NULL;
	s->live--;
	slots_compact(s);
}

static void *slots_next(const struct slots *s, size_t *pos)
{
	while (*pos < s->count) {
		void *item = s->list[(*pos)++];

		if (item)
			return item;
	}
	return NULL;
}

static void claim_add(struct dict *d, struct span key, uint64_t id)
{
	struct claim *c;

	if (key.len == 0)
		return;
	c = dict_find(d, key);
	if (!c) {
		c = mem_alloc(sizeof(*c));
		dict_put(d, key, c);
	}
	for (size_t i = 0; i < c->count; i++)
		if (c->ids[i] == id)
			return;
	if (c->count == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 1;
		c->ids = mem_realloc(c->ids, c->cap, sizeof(*c->ids));
	}
	c->ids[c->count++] = id;
}

static void claim_drop(struct dict *d, struct span key, uint64_t id)
{
	struct claim *c = key.len ? dict_find(d, key) : NULL;

	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++)
		if (c->ids[i] == id) {
			memmove(&c->ids[i], &c->ids[i + 1], (c->count - i - 1) * sizeof(*c->ids));
			c->count--;
			break;
		}
	if (c->count == 0) {
		dict_remove(d, key);
		free(c->ids);
		free(c);
	}
}

/* ---- one block for an item and all it points to ---- */

struct pack {
	char  *mem;     /* NULL while measuring */
	size_t used;
};

static void *pack_take(struct pack *p, size_t n)
{
	void *at = p->mem ? p->mem + p->used : NULL;

	p->used += (n + 7) & ~(size_t)7;
	return at;
}

static struct span pack_span(struct pack *p, struct span s)
{
	char *to = pack_take(p, s.len + 1);

	if (to && s.len)
		memcpy(to, s.ptr, s.len);
	return (struct span){ to, s.len };
}

static struct spans pack_spans(struct pack *p, struct spans s)
{
	struct span *list = pack_take(p, s.count * sizeof(*list));

	for (size_t i = 0; i < s.count; i++) {
		struct span copy = pack_span(p, s.list[i]);

		if (list)
			list[i] = copy;
	}
	return (struct spans){ list, s.count };
}

static void *pack_copy(struct pack *p, const void *from, size_t n)
{
	void *to = pack_take(p, n);

	if (to && n)
		memcpy(to, from, n);
	return to;
}

static struct topology_user *pack_user(struct pack *p, const struct topology_user *u)
{
	struct topology_user *to = pack_take(p, sizeof(*to)), v = *u;

	v.login = pack_span(p, u->login);
	v.name = pack_span(p, u->name);
	v.email = pack_span(p, u->email);
	v.roles = pack_spans(p, u->roles);
	v.groups = pack_spans(p, u->groups);
	if (to)
		*to = v;
	return to;
}

static struct topology_node *pack_node(struct pack *p, const struct topology_node *n)
{
	struct topology_node *to = pack_take(p, sizeof(*to)), v = *n;
	struct topology_attr *attrs;

	v.name = pack_span(p, n->name);
	v.sources = pack_copy(p, n->sources, n->source_count * sizeof(*n->sources));
	v.tags = pack_spans(p, n->tags);
	v.session.acr = pack_span(p, n->session.acr);
	v.session.amr = pack_spans(p, n->session.amr);
	v.session.groups = pack_spans(p, n->session.groups);
	v.routes = pack_copy(p, n->routes, n->route_count * sizeof(*n->routes));
	v.offered = pack_copy(p, n->offered, n->offered_count * sizeof(*n->offered));
	attrs = pack_take(p, n->attr_count * sizeof(*attrs));
	for (size_t i = 0; i < n->attr_count; i++) {
		struct topology_attr a = { pack_span(p, n->attrs[i].name), pack_span(p, n->attrs[i].value) };

		if (attrs)
			attrs[i] = a;
	}
	v.attrs = attrs;
	if (to)
		*to = v;
	return to;
}

static struct topology_service *pack_service(struct pack *p, const struct topology_service *s)
{
	struct topology_service *to = pack_take(p, sizeof(*to)), v = *s;

	v.name = pack_span(p, s->name);
	v.ports = pack_copy(p, s->ports, s->port_count * sizeof(*s->ports));
	v.hosts = pack_spans(p, s->hosts);
	v.profiles = pack_spans(p, s->profiles);
	if (to)
		*to = v;
	return to;
}

#define PACKED(fn, item) __extension__({        \
	struct pack pk_ = { NULL, 0 };          \
	fn(&pk_, item);                         \
	pk_.mem = mem_alloc(pk_.used);          \
	pk_.used = 0;                           \
	fn(&pk_, item);                         \
})

static struct span id_key(const uint64_t *id)
{
	return span_of(id, sizeof(*id));
}

static struct span no_at(struct span s)
{
	if (s.len && s.ptr[s.len - 1] == '@')
		s.len--;
	return s;
}

static void user_claims(struct topology *t, const struct topology_user *u, bool add)
{
	struct span keys[] = { no_at(u->login), u->email };

	for (size_t i = 0; i < array_size(keys); i++)
		if (add)
			claim_add(t->logins, keys[i], u->id);
		else
			claim_drop(t->logins, keys[i], u->id);
}

struct addr_key { char b[17]; };

static struct span addr_key(const struct ip *ip, struct addr_key *k)
{
	if (ip->family == IP_NONE)
		return (struct span){ NULL, 0 };
	k->b[0] = (char)ip->family;
	memcpy(k->b + 1, ip->b, 16);
	return span_of(k->b, sizeof(k->b));
}

static void node_claims(struct topology *t, const struct topology_node *n, bool add)
{
	struct addr_key k4, k6;
	struct span a4 = addr_key(&n->ip4, &k4), a6 = addr_key(&n->ip6, &k6);
	struct span user = n->user && !n->tags.count ? id_key(&n->user) : (struct span){ NULL, 0 };

	if (add) {
		claim_add(t->devices, user, n->id);
		claim_add(t->names, n->name, n->id);
		claim_add(t->addrs, a4, n->id);
		claim_add(t->addrs, a6, n->id);
	} else {
		claim_drop(t->devices, user, n->id);
		claim_drop(t->names, n->name, n->id);
		claim_drop(t->addrs, a4, n->id);
		claim_drop(t->addrs, a6, n->id);
	}
}

static bool spans_fit(struct spans s)
{
	return s.count <= TOPOLOGY_LIST_MAX;
}

bool topology_user_put(struct topology *t, const struct topology_user *u)
{
	const struct topology_user *old = topology_user(t, u->id);

	if (u->id == 0 || !spans_fit(u->roles) || !spans_fit(u->groups) ||
	    (!old && t->users.live >= TOPOLOGY_NODES_MAX))
		return false;
	if (old)
		user_claims(t, old, false);
	slots_put(&t->users, id_key(&u->id), PACKED(pack_user, u));
	user_claims(t, topology_user(t, u->id), true);
	return true;
}

bool topology_node_put(struct topology *t, const struct topology_node *n)
{
	const struct topology_node *old = topology_node(t, n->id);

	if (n->id == 0 || !spans_fit(n->tags) || !spans_fit(n->session.amr) || !spans_fit(n->session.groups) ||
	    n->route_count > TOPOLOGY_LIST_MAX || n->offered_count > TOPOLOGY_LIST_MAX ||
	    n->attr_count > TOPOLOGY_LIST_MAX || n->source_count > TOPOLOGY_ADDR_MAX ||
	    (!old && t->nodes.live >= TOPOLOGY_NODES_MAX))
		return false;
	if (old)
		node_claims(t, old, false);
	slots_put(&t->nodes, id_key(&n->id), PACKED(pack_node, n));
	node_claims(t, topology_node(t, n->id), true);
	return true;
}

/* A service is known by its name and its node: several nodes may serve one name. */
static struct span service_key(struct span name, uint64_t node, char *mem, size_t size)
{
	if (name.len == 0 || name.len + sizeof(node) > size)
		return (struct span){ NULL, 0 };
	memcpy(mem, &node, sizeof(node));
	memcpy(mem + sizeof(node), name.ptr, name.len);
	return span_of(mem, sizeof(node) + name.len);
}

enum { SERVICE_KEY_MAX = 300 };

bool topology_service_put(struct topology *t, const struct topology_service *s)
{
	char mem[SERVICE_KEY_MAX];
	struct span key = service_key(s->name, s->node, mem, sizeof(mem));

	if (!key.ptr || s->name.len == 0 || s->port_count > TOPOLOGY_LIST_MAX || !spans_fit(s->hosts) ||
	    !spans_fit(s->profiles) || (t->services.live >= TOPOLOGY_NODES_MAX && !slots_find(&t->services, key)))
		return false;
	slots_put(&t->services, key, PACKED(pack_service, s));
	return true;
}

void topology_user_remove(struct topology *t, uint64_t id)
{
	const struct topology_user *old = topology_user(t, id);

	if (!old)
		return;
	user_claims(t, old, false);
	slots_remove(&t->users, id_key(&id));
}

void topology_node_remove(struct topology *t, uint64_t id)
{
	const struct topology_node *old = topology_node(t, id);

	if (!old)
		return;
	node_claims(t, old, false);
	slots_remove(&t->nodes, id_key(&id));
}

void topology_service_remove(struct topology *t, struct span name, uint64_t node)
{
	char mem[SERVICE_KEY_MAX];
	struct span key = service_key(name, node, mem, sizeof(mem));

	if (key.ptr)
		slots_remove(&t->services, key);
}

const struct topology_user *topology_user(const struct topology *t, uint64_t id)
{
	return slots_find(&t->users, id_key(&id));
}

const struct topology_node *topology_node(const struct topology *t, uint64_t id)
{
	return slots_find(&t->nodes, id_key(&id));
}

const struct topology_user *topology_user_by_login(const struct topology *t, struct span login)
{
	const struct claim *c = dict_find(t->logins, no_at(login));

	return c && c->count == 1 ? topology_user(t, c->ids[0]) : NULL;
}

static struct span domain_of(struct span address)
{
	for (size_t i = address.len; i-- > 0;)
		if (address.ptr[i] == '@')
			return span_from(address, i + 1);
	return (struct span){ NULL, 0 };
}

struct span topology_user_domain(const struct topology *t, const struct topology_user *u)
{
	struct span domain = domain_of(no_at(u->login));

	if (domain.len || topology_user_by_login(t, u->email) != u)
		return domain;
	return domain_of(u->email);
}

const struct topology_node *topology_node_by_name(const struct topology *t, struct span name)
{
	const struct claim *c = dict_find(t->names, name);

	return c && c->count == 1 ? topology_node(t, c->ids[0]) : NULL;
}

const struct topology_node *topology_node_by_ip(const struct topology *t, const struct ip *ip)
{
	struct addr_key k;
	struct span key = addr_key(ip, &k);
	const struct claim *c = key.ptr ? dict_find(t->addrs, key) : NULL;

	return c && c->count == 1 ? topology_node(t, c->ids[0]) : NULL;
}

const uint64_t *topology_devices(const struct topology *t, uint64_t user, size_t *ret_n)
{
	const struct claim *c = dict_find(t->devices, id_key(&user));

	*ret_n = c ? c->count : 0;
	return c ? c->ids : NULL;
}

const struct topology_user *topology_user_next(const struct topology *t, size_t *pos)
{
	return slots_next(&t->users, pos);
}

const struct topology_node *topology_node_next(const struct topology *t, size_t *pos)
{
	return slots_next(&t->nodes, pos);
}

const struct topology_service *topology_service_next(const struct topology *t, size_t *pos)
{
	return slots_next(&t->services, pos);
}

size_t topology_node_count(const struct topology *t)
{
	return t->nodes.live;
}
