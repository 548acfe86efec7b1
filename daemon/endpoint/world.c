/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/world.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/glass.h"
#include "daemon/endpoint/world_inside.h"
#include "daemon/mesh/overlay.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STANDALONE_SELF = 1 };           /* rows of the identities file follow */

static struct span id_key(const uint64_t *id)
{
	return span_of(id, sizeof(*id));
}

struct world *world_new(uint32_t epoch)
{
	struct world *w = mem_alloc(sizeof(*w));

	w->epoch = epoch;
	w->pol = policy_empty();
	w->topo = topology_new();
	w->by_id = dict_new();
	w->by_ip = dict_new();
	w->by_key = dict_new();
	if (gethostname(w->own_host, sizeof(w->own_host) - 1) != 0 || !*w->own_host)
		memcpy(w->own_host, "localhost", sizeof("localhost"));
	return w;
}

static void party_free(struct party *p)
{
	map_node_unref(p->node);
	free(p);
}

/* Nobody is here any more; classes begin anew, so the epoch must move on. */
static void forget(struct world *w)
{
	compile_free(w->compile);
	w->compile = NULL;
	for (size_t i = 0; i < w->count; i++)
		party_free(w->list[i]);
	free(w->list);
	w->list = NULL;
	w->count = 0;
	dict_free(w->by_id);
	dict_free(w->by_ip);
	dict_free(w->by_key);
	w->by_id = dict_new();
	w->by_ip = dict_new();
	w->by_key = dict_new();
	topology_free(w->topo);
	w->topo = topology_new();
	w->self = 0;
	w->map_epoch[0] = '\0';
}

void world_free(struct world *w)
{
	if (!w)
		return;
	forget(w);
	identities_done(&w->ids);
	dict_free(w->by_id);
	dict_free(w->by_ip);
	dict_free(w->by_key);
	topology_free(w->topo);
	policy_unref(w->pol);
	policy_unref(w->owner);
	free(w->mesh_name);
	free(w->hub);
	free(w->jwks);
	free(w);
}

void world_set_hub(struct world *w, const char *url)
{
	if (w->hub && strcmp(w->hub, url) == 0)
		return;
	free(w->hub);
	w->hub = mem_strdup(url);
}

bool world_set_jwks(struct world *w, struct span jwks)
{
	if (w->jwks && span_eq(span_str(w->jwks), jwks))
		return false;
	free(w->jwks);
	w->jwks = span_dup(jwks);
	return true;
}

static void next_epoch(struct world *w)
{
	w->epoch = w->epoch >= WORLD_EPOCH_MAX ? 1 : w->epoch + 1;
}

/* The services of this host are what its owner configured, not what the map says of it. */
static void put_own(struct world *w, const char *name, const struct conf_service *c)
{
	struct topology_service t = { 0 };
	uint16_t ports[64];
	struct span hosts[64], profiles[64];

	t.name = span_str(name);
	t.node = w->self;
	/* Fronted: a plain TCP service is judged by a front as well (daemon/proxy/tcp.c), where
	 * rules for HTTP paths, which cannot be shown to hold, deny. */
	t.http = true;
	t.port_count = conf_service_ports(c, ports, array_size(ports));
	for (size_t k = 0; k < c->hosts.count && t.hosts.count < array_size(hosts); k++)
		hosts[t.hosts.count++] = span_str(c->hosts.list[k]);
	for (size_t k = 0; k < c->profiles.count && t.profiles.count < array_size(profiles); k++)
		profiles[t.profiles.count++] = span_str(c->profiles.list[k]);
	t.ports = ports;
	t.hosts.list = hosts;
	t.profiles.list = profiles;
	if (!topology_service_put(w->topo, &t))
		log_error("service %s: too many services", name);
}

static void put_own_services(struct world *w)
{
	size_t pos = 0;
	const struct topology_service *s;

	do {
		pos = 0;
		while ((s = topology_service_next(w->topo, &pos)) && s->node != w->self)
			;
		if (s) {
			scoped_free char *name = span_dup(s->name);

			topology_service_remove(w->topo, span_str(name), w->self);
		}
	} while (s);
	for (size_t i = 0; w->conf && i < w->conf->services.count; i++)
		put_own(w, w->conf->services.names[i], conf_service(&w->conf->services, i));
	/* One for browsers that has the name of another service is that service to policy. */
	for (size_t i = 0; w->conf && i < w->conf->public.count; i++)
		if (*conf_service(&w->conf->public, i)->browser &&
		    !conf_service_find(&w->conf->services, w->conf->public.names[i]))
			put_own(w, w->conf->public.names[i], conf_service(&w->conf->public, i));
}

static void compile_all(struct world *w, struct wall now)
{
	struct compile_options opt = { .login_class = true };

	if (!w->self)
		return;
	if (w->compile) {
		compile_self(w->compile, now);
		return;
	}
	opt.idp_only = w->conf && w->conf->verify == CONF_VERIFY_IDP;
	w->compile = compile_new(w->pol, w->owner, w->topo, w->self, &opt, now);
}

void world_set_forwards(struct world *w, const struct forward_accesses *f)
{
	w->forwards = f;
}

void world_set_pages(struct world *w, const struct error_pages *p)
{
	w->pages = p;
}

void world_set_names(struct world *w, const struct names *n)
{
	w->names = n;
}

void world_set_conf(struct world *w, const struct conf *conf, uint32_t generation, struct wall now)
{
	w->conf = conf;
	w->conf_generation = generation;
	if (!w->self)
		return;
	put_own_services(w);
	compile_all(w, now);
}

void world_set_policy(struct world *w, struct policy *pol, struct policy *owner, struct wall now)
{
	struct policy *next = pol ? policy_ref(pol) : policy_empty();
	struct policy *next_owner = owner ? policy_ref(owner) : NULL;

	if (w->compile)
		compile_policy(w->compile, next, next_owner, now);
	policy_unref(w->pol);
	policy_unref(w->owner);
	w->pol = next;
	w->owner = next_owner;
}

/* ---- standalone ---- */

/* From what the row says of whom, not from its place: rows that come and go leave the others who they were. */
static uint64_t row_id(const struct world *w, const struct identity_row *r)
{
	struct hash_key key = { 0x72656576652d726f, r->from.bits };
	uint64_t id = hash_bytes(&key, r->from.ip.b, ip_len(&r->from.ip));

	key.k1 = id;
	id = hash_bytes(&key, r->login.ptr ? r->login.ptr : "", r->login.len);
	for (size_t i = 0; i < r->tag_count; i++) {
		key.k1 = id;
		id = hash_bytes(&key, r->tags[i].ptr, r->tags[i].len);
	}
	while (id <= STANDALONE_SELF || dict_find(w->by_id, id_key(&id)))
		id++;
	return id;
}

static void put_row(struct world *w, const struct identity_row *r, struct dict *users)
{
	struct party *p = mem_alloc(sizeof(*p));
	uint64_t id = row_id(w, r);
	struct topology_node n = { .id = id };
	char name[32];

	p->id = id;
	p->row = r;
	p->v4 = p->v6 = CLAIM_GOOD;
	snprintf(name, sizeof(name), "row-%llu", (unsigned long long)id);
	n.name = span_str(name);
	n.sources = &r->from;
	n.source_count = 1;
	if (r->tag_count) {
		n.tags = (struct spans){ r->tags, r->tag_count };
	} else {
		uintptr_t user = (uintptr_t)dict_find(users, r->login);

		if (!user) {
			struct topology_user u = { .login = r->login, .name = r->name, .email = r->email };

			user = dict_count(users) + 1;
			dict_put(users, r->login, (void *)user);
			u.id = user;
			if (!topology_user_put(w->topo, &u))
				log_error("too many people in the identities file");
		}
		n.user = user;
		n.session.expires = r->expires.sec ? r->expires : TOPOLOGY_NEVER;
		n.session.auth_time = r->auth_time;
		n.session.acr = r->acr;
		n.session.amr = (struct spans){ r->amr, r->amr_count };
		n.session.groups = (struct spans){ r->groups, r->group_count };
	}
	if (!topology_node_put(w->topo, &n))
		log_error("too many rows in the identities file");
	dict_put(w->by_id, id_key(&p->id), p);
	w->list[w->count++] = p;
}

void world_set_identities(struct world *w, struct identities *ids, struct wall now)
{
	struct topology_node self = { .id = STANDALONE_SELF, .name = SPAN("self") };
	struct dict *users = dict_new();

	forget(w);
	next_epoch(w);
	identities_done(&w->ids);
	w->ids = *ids;
	memset(ids, 0, sizeof(*ids));
	w->standalone = true;
	w->self = STANDALONE_SELF;
	topology_node_put(w->topo, &self);
	w->list = mem_calloc(w->ids.count ? w->ids.count : 1, sizeof(struct party *));
	for (size_t i = 0; i < w->ids.count; i++)
		put_row(w, &w->ids.rows[i], users);
	dict_free(users);
	put_own_services(w);
	compile_all(w, now);
}

/* ---- the mesh ---- */

static struct spans spans_of(const struct map_list *l)
{
	return (struct spans){ l->list, l->count };
}

static void put_node(struct world *w, const struct party *p)
{
	const struct map_node *m = p->node;
	struct topology_node n = { .id = m->id, .name = m->name };
	scoped_free struct topology_attr *attrs = mem_calloc(m->attr_count ? m->attr_count : 1, sizeof(*attrs));

	if (p->v4 == CLAIM_GOOD)
		n.ip4 = m->v4;
	world_v6(w, p, &n.ip6);
	n.tags = spans_of(&m->tags);
	n.routes = m->routes;
	n.route_count = m->route_count;
	for (size_t i = 0; i < m->attr_count; i++)
		attrs[i] = (struct topology_attr){ m->attrs[i].name, m->attrs[i].value };
	n.attrs = attrs;
	n.attr_count = m->attr_count;
	if (m->user && !m->tags.count) {
		struct topology_user u = { .id = m->user->id, .login = m->user->login, .name = m->user->name,
			                   .email = m->user->email, .roles = spans_of(&m->user->roles),
			                   .groups = spans_of(&m->user->groups) };

		if (!topology_user_put(w->topo, &u))
			log_error("user %.*s: beyond a limit", SPAN_ARG(u.login));
		n.user = u.id;
		if (m->session) {
			n.session.expires = m->session->expires;
			n.session.auth_time = m->session->auth_time;
			n.session.acr = m->session->acr;
			n.session.amr = spans_of(&m->session->amr);
			n.session.groups = spans_of(&m->user->idp);
			n.session.cross_device = m->session->cross_device;
		}
	}
	if (!topology_node_put(w->topo, &n))
		log_error("node n%llu: beyond a limit", (unsigned long long)m->id);
	if (m->id == w->self)
		return;
	for (size_t i = 0; i < m->service_count; i++) {
		struct topology_service s = { .name = m->services[i].name, .node = m->id,
			                      .ports = &m->services[i].port, .port_count = 1,
			                      .http = m->services[i].http,
			                      .hosts = spans_of(&m->services[i].hosts),
			                      .profiles = spans_of(&m->services[i].profiles) };

		if (!topology_service_put(w->topo, &s))
			log_error("node n%llu: too many services", (unsigned long long)m->id);
	}
}

static void drop_services(struct world *w, const struct map_node *m)
{
	for (size_t i = 0; i < m->service_count; i++)
		topology_service_remove(w->topo, m->services[i].name, m->id);
}

static bool same_services(const struct map_node *a, const struct map_node *b)
{
	if (!a || !b || a->service_count != b->service_count)
		return false;
	for (size_t i = 0; i < a->service_count; i++)
		if (!span_eq(a->services[i].name, b->services[i].name) || a->services[i].port != b->services[i].port)
			return false;
	return true;
}

static int party_cmp(const void *a, const void *b)
{
	const struct party *x = *(const struct party *const *)a, *y = *(const struct party *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void log_claim(const struct map_node *n, const struct ip *ip, enum claim_verdict v)
{
	char text[IP_TEXT_MAX], name[LOG_TEXT_MAX];

	log_warn("node n%llu (%s): %s is refused: %s", (unsigned long long)n->id, log_text(n->name, name),
	         ip_text(ip, text), claim_verdict_text(v));
}

/* For whom a node acts, in a map whose people were checked here (vouch.h): the same number for the
 * same person or tags, whatever the map calls them; of somebody unchecked, another for every key. */
static uint64_t checked_who(const struct map_node *n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char sum[EVP_MAX_MD_SIZE];
	const struct span parts[] = {
		n->user ? n->user->issuer : n->tags.count ? SPAN("tags") : SPAN("key"),
		n->user ? n->user->sub : n->tags.count ? n->tags.list[0] : span_of(n->key, sizeof(n->key)),
	};
	unsigned len = 0;
	uint64_t who;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		abort();
	for (size_t i = 0; i < array_size(parts); i++) {
		uint64_t size = parts[i].len;

		EVP_DigestUpdate(ctx, &size, sizeof(size));
		EVP_DigestUpdate(ctx, parts[i].ptr ? parts[i].ptr : "", parts[i].len);
	}
	if (EVP_DigestFinal_ex(ctx, sum, &len) != 1 || len < sizeof(who))
		abort();
	EVP_MD_CTX_free(ctx);
	memcpy(&who, sum, sizeof(who));
	return who;
}

static bool follows(const struct world *w, const uint8_t *old, const uint8_t *next, const struct map_turn *turn)
{
	return w->successors && successors_ok(w->successors, old, next, turn);
}

static bool is_own_key(const struct world *w, const uint8_t *key)
{
	return w->has_key && memcmp(key, w->key, MAP_KEY_LEN) == 0;
}

/* A map from before our key changed, or of another life of this host. */
static bool names_another(const struct world *w, const struct map_node *self)
{
	return w->has_key && !is_own_key(w, self->key) && !(self->next && is_own_key(w, self->next->key));
}

/* The key that is announced, as a claim of its own to the address that follows from it. */
static bool claim_next(const struct world *w, const struct map_node *n, const struct overlay *o, struct claim *c)
{
	struct device_key key;

	if (!n->next || n->browser.len ||
	    !(n->id == w->self ? is_own_key(w, n->next->key) : follows(w, n->key, n->next->key, n->next)))
		return false;
	c->node = n->id;
	memcpy(c->key, n->next->key, CLAIM_KEY_LEN);
	memcpy(key.b, n->next->key, DEVICE_KEY_LEN);
	c->v6 = c->derived = overlay_v6(o, &key);
	return true;
}

/* One claim for each node, in their order; behind them those of keys that are announced. */
static struct claim *judge(const struct world *w, const struct map *map, struct claims_memory *memory, struct wall now)
{
	struct claim *list = mem_calloc(2 * map->node_count + 1, sizeof(*list));
	struct overlay o = { .v6 = map->ula, .v4 = map->v4 };
	size_t nexts = 0;

	for (size_t i = 0; i < map->node_count; i++) {
		const struct map_node *n = map->nodes[i];
		struct device_key key;

		nexts += claim_next(w, n, &o, &list[map->node_count + nexts]);
		if (n->was && follows(w, n->was->key, n->key, n->was)) {
			list[i].follows = true;
			list[i].retires = n->id != w->self;     /* of our own keys we know which is in use */
			memcpy(list[i].before, n->was->key, CLAIM_KEY_LEN);
		}
		/* Of our own keys we need nobody's word. */
		if (n->id == map->self && w->had_key && is_own_key(w, n->key)) {
			list[i].follows = true;
			memcpy(list[i].before, w->key_before, CLAIM_KEY_LEN);
		}

		if (w->conf && w->conf->verify == CONF_VERIFY_IDP)
			list[i].who = checked_who(n);
		else if (w->conf && w->conf->mode == CONF_MAP_FILE)
			list[i].who = 1;        /* the owner's own file says which node it is */

		if (n->id == map->self && names_another(w, n)) {
			/* It is our address all the same: over it comes the map that names the right one. */
			memcpy(list[i].key, w->key, CLAIM_KEY_LEN);
			list[i].v4 = n->v4;
			list[i].v6 = list[i].derived = world_own_v6(w, w->key);
			list[i].node = n->id;
			continue;
		}
		list[i].listed = glass_is(n);
		list[i].node = n->id;
		memcpy(list[i].key, n->key, CLAIM_KEY_LEN);
		memcpy(key.b, n->key, DEVICE_KEY_LEN);
		list[i].v4 = n->v4;
		list[i].v6 = n->v6;
		list[i].derived = overlay_v6(&o, &key);
	}
	claims_judge(list, map->node_count + nexts, &map->v4, memory, now);
	return list;
}

static enum ident_why why_no_session(const struct party *old, const struct map_node *now)
{
	if (now->session || now->tags.count)
		return WHY_NONE;
	if (!now->user)
		return WHY_NEVER;
	/* It had one a moment ago: taken away, or run out. */
	if (old && old->node && old->node->session)
		return WHY_REVOKED;
	return old && old->why != WHY_NONE ? old->why : WHY_NEVER;
}

/* The key with which it came, as long as each was followed by its holder's word. */
static void take_anchor(struct party *p, const struct map_node *n, const struct claim *c)
{
	/* A browser's is the hash of its cookie, the coordinator's to change; its number says who it is. */
	if (n->browser.len)
		return;
	if (p->node && memcmp(p->node->key, n->key, MAP_KEY_LEN) == 0)
		return;
	if (p->node && c->follows && memcmp(p->node->key, c->before, MAP_KEY_LEN) == 0)
		return;
	memcpy(p->anchor, c->follows ? c->before : n->key, MAP_KEY_LEN);
}

/* The address that follows from the key before goes on with the next one, by the same word that carries the
 * IPv4 address: what is open over it need not end. */
static void take_old(struct party *p, const struct map_node *n, const struct claim *c)
{
	if (!p->node || memcmp(p->node->key, n->key, MAP_KEY_LEN) == 0)
		return;
	p->old_v6 = (struct ip){ 0 };
	if (!c->follows || memcmp(p->node->key, c->before, MAP_KEY_LEN) != 0 || p->v6 != CLAIM_GOOD)
		return;
	p->old_v6 = p->node->v6;
	memcpy(p->old_key, p->node->key, MAP_KEY_LEN);
	p->old_since = (struct boot){ 0 };
}

static void take_cookie(struct party *p, const struct map_node *n)
{
	if (!n->browser.len || !p->node || memcmp(p->node->key, n->key, MAP_KEY_LEN) == 0)
		return;
	memcpy(p->cookie_was, p->node->key, sizeof(p->cookie_was));
	p->has_cookie_was = true;
	p->cookie_until = (struct boot){ 0 };
}

/* Takes over what one node is now; next: of the key that it has announced, NULL: none. True if anything changed. */
static bool take_node(struct world *w, struct map_node *n, const struct claim *c, const struct claim *next,
                      bool *ret_services)
{
	struct party *p = dict_find(w->by_id, id_key(&n->id));
	bool turning = next && next->ret_v6 == CLAIM_GOOD, turned;

	if (!p) {
		p = mem_alloc(sizeof(*p));
		p->id = n->id;
		dict_put(w->by_id, id_key(&p->id), p);
	}
	p->mark = true;
	turned = turning && (n->id == w->self ? is_own_key(w, n->next->key)
	                                      : p->turned && p->node && p->node->next &&
	                                        memcmp(p->node->next->key, n->next->key, MAP_KEY_LEN) == 0);
	if (p->node == n && p->v4 == c->ret_v4 && p->v6 == c->ret_v6 && p->turning == turning && p->turned == turned)
		return false;
	take_anchor(p, n, c);
	take_old(p, n, c);
	p->turning = turning;
	p->turned = turned;
	if (turning)
		p->next_v6 = next->v6;
	if (c->ret_v4 > CLAIM_NONE && p->v4 != c->ret_v4)
		log_claim(n, &n->v4, c->ret_v4);
	if (c->ret_v6 > CLAIM_NONE && p->v6 != c->ret_v6)
		log_claim(n, &n->v6, c->ret_v6);
	p->why = why_no_session(p->node ? p : NULL, n);
	p->v4 = c->ret_v4;
	p->v6 = c->ret_v6;
	if (p->node && n->id != w->self && !same_services(p->node, n)) {
		drop_services(w, p->node);
		*ret_services = true;
	} else if (!p->node && n->service_count) {
		*ret_services = true;
	}
	take_cookie(p, n);
	map_node_unref(p->node);
	p->node = map_node_ref(n);
	put_node(w, p);
	return true;
}

static void index_parties(struct world *w)
{
	struct span key;
	void *value;
	size_t pos = 0;

	free(w->list);
	w->list = mem_calloc(dict_count(w->by_id) + 1, sizeof(struct party *));
	w->count = 0;
	dict_free(w->by_ip);
	dict_free(w->by_key);
	w->by_ip = dict_new();
	w->by_key = dict_new();
	while (dict_next(w->by_id, &pos, &key, &value)) {
		struct party *p = value;
		struct ip ip;

		w->list[w->count++] = p;
		dict_put(w->by_key, span_of(p->node->key, MAP_KEY_LEN), p);
		if (p->turning)
			dict_put(w->by_key, span_of(p->node->next->key, MAP_KEY_LEN), p);
		if (world_v6_other(w, p, &ip) || world_v6_old(w, p, &ip))
			dict_put(w->by_ip, span_of(ip.b, ip_len(&ip)), p);
		if (world_v4(w, p, &ip))
			dict_put(w->by_ip, span_of(ip.b, ip_len(&ip)), p);
		if (world_v6(w, p, &ip))
			dict_put(w->by_ip, span_of(ip.b, ip_len(&ip)), p);
	}
	if (w->count)
		qsort(w->list, w->count, sizeof(struct party *), party_cmp);
}

void world_set_map(struct world *w, const struct map *map, struct claims_memory *memory, struct wall now)
{
	const struct map_node *self = map_self(map);
	bool services = false, again;
	struct claim *claims, *next;

	/* Another mesh, or another me: no class and no address means what it meant. */
	if (w->standalone || !map->whole || !self || w->self != map->self ||
	    prefix_cmp(&w->ranges.v4, &map->v4) != 0 || prefix_cmp(&w->ranges.v6, &map->ula) != 0) {
		forget(w);
		next_epoch(w);
		w->standalone = false;
	}
	if (!map->whole || !self)
		return;
	w->self = map->self;
	w->ranges.v4 = map->v4;
	w->ranges.v6 = map->ula;
	free(w->mesh_name);
	w->mesh_name = mem_strdup(map->mesh_name ? map->mesh_name : "");
	memcpy(w->map_epoch, map->epoch, sizeof(w->map_epoch));
	w->map_seq = map->seq;
	claims = judge(w, map, memory, now);
	next = claims + map->node_count;
	if (names_another(w, self))
		log_error("the map names another key for this node: nobody knows it by its own");
	for (size_t i = 0; i < w->count; i++)
		w->list[i]->mark = false;
	again = w->compile == NULL;
	for (size_t i = 0; i < map->node_count; i++) {
		struct map_node *n = map->nodes[i];
		const struct claim *turn = n->next && next->node == n->id ? next++ : NULL;

		if (!take_node(w, n, &claims[i], turn, &services) || !w->compile)
			continue;
		if (n->id == w->self) {
			again = true;
			continue;
		}
		compile_node(w->compile, n->id, now);
		if (n->user && !n->tags.count)
			compile_user(w->compile, n->user->id, now);
	}
	free(claims);
	for (size_t i = 0; i < w->count; i++) {
		struct party *p = w->list[i];

		if (p->mark)
			continue;
		drop_services(w, p->node);
		topology_node_remove(w->topo, p->id);
		if (w->compile)
			compile_node(w->compile, p->id, now);
		dict_remove(w->by_id, id_key(&p->id));
		party_free(p);
	}
	index_parties(w);
	put_own_services(w);
	if (again || services)
		compile_all(w, now);
}

void world_set_why(struct world *w, uint64_t party, enum ident_why why)
{
	struct party *p = dict_find(w->by_id, id_key(&party));

	if (p)
		p->why = why;
}

struct wall world_tick(struct world *w, struct wall now)
{
	return w->compile ? compile_tick(w->compile, now) : TOPOLOGY_NEVER;
}

/* ---- looking ---- */

bool world_v4(const struct world *w, const struct party *p, struct ip *ret_ip)
{
	(void)w;
	if (!p->node || p->v4 != CLAIM_GOOD)
		return false;
	*ret_ip = p->node->v4;
	return true;
}

bool world_v6(const struct world *w, const struct party *p, struct ip *ret_ip)
{
	if (!p->node || (!p->turned && p->v6 != CLAIM_GOOD))
		return false;
	/* A map that names another key for us must not make us who has that one: of ourselves nobody asks
	 * for evidence. */
	if (p->id == w->self && w->has_key)
		*ret_ip = world_own_v6(w, w->key);
	else
		*ret_ip = p->turned ? p->next_v6 : p->node->v6;
	return true;
}

struct ip world_own_v6(const struct world *w, const uint8_t key[MAP_KEY_LEN])
{
	struct overlay o = { .v6 = w->ranges.v6, .v4 = w->ranges.v4 };
	struct device_key k;

	memcpy(k.b, key, sizeof(k.b));
	return overlay_v6(&o, &k);
}

bool world_v6_other(const struct world *w, const struct party *p, struct ip *ret_ip)
{
	/* Of our own keys only one is in use: the other address is nobody's here. */
	if (!p->node || !p->turning || p->id == w->self || (p->turned && p->v6 != CLAIM_GOOD))
		return false;
	*ret_ip = p->turned ? p->node->v6 : p->next_v6;
	return true;
}

bool world_v6_old(const struct world *w, const struct party *p, struct ip *ret_ip)
{
	/* Unless the owner lists that key: then it is a node of its own here. */
	if (!p->node || p->old_v6.family != IP_V6 || p->id == w->self || world_find_key(w, p->old_key))
		return false;
	*ret_ip = p->old_v6;
	return true;
}

const uint8_t *world_key(const struct party *p)
{
	return p->turned ? p->node->next->key : p->node->key;
}

const uint8_t *world_key_other(const struct party *p)
{
	if (!p->turning)
		return NULL;
	return p->turned ? p->node->key : p->node->next->key;
}

/* ---- other keys ---- */

void world_set_successors(struct world *w, struct successors *s)
{
	w->successors = s;
}

void world_set_key(struct world *w, const uint8_t *public_key)
{
	if (public_key && w->has_key && memcmp(w->key, public_key, sizeof(w->key)) != 0) {
		memcpy(w->key_before, w->key, sizeof(w->key));
		w->had_key = true;
		w->before_since = (struct boot){ 0 };
	}
	w->has_key = public_key != NULL;
	if (public_key)
		memcpy(w->key, public_key, sizeof(w->key));
}

bool world_turn(struct world *w, struct party *p, bool next, struct wall now)
{
	if (!p->turning || p->turned == next || p->id == w->self)
		return false;
	p->turned = next;
	put_node(w, p);
	if (w->compile)
		compile_node(w->compile, p->id, now);
	return true;
}

bool world_turning(const struct world *w)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->list[i]->turning && !w->list[i]->turned && w->list[i]->id != w->self)
			return true;
	return false;
}

bool world_is_hub(const struct world *w)
{
	for (size_t i = 0; w->conf && i < w->conf->services.count; i++)
		if (conf_service(&w->conf->services, i)->enrolled)
			return true;
	return false;
}

const struct party *world_find_ip(const struct world *w, const struct ip *ip)
{
	const struct identity_row *r;

	if (!w->standalone)
		return dict_find(w->by_ip, span_of(ip->b, ip_len(ip)));
	r = identities_find(&w->ids, ip);
	return r ? w->list[r - w->ids.rows] : NULL;
}

const struct party *world_find(const struct world *w, uint64_t id)
{
	return dict_find(w->by_id, id_key(&id));
}

struct party *world_find_key(const struct world *w, const uint8_t key[MAP_KEY_LEN])
{
	return dict_find(w->by_key, span_of(key, MAP_KEY_LEN));
}

size_t world_parties(const struct world *w, const struct party *const **ret_list)
{
	*ret_list = (const struct party *const *)w->list;
	return w->count;
}

bool world_party_peer(const struct world *w, uint64_t id, struct compile_peer *ret_peer)
{
	return w->compile && compile_peer(w->compile, id, ret_peer);
}

struct span world_caps(const struct world *w, uint64_t id, uint8_t family)
{
	struct compile_peer peer;

	if (!world_party_peer(w, id, &peer))
		return SPAN("{}");
	/* a row of the identities file has one class, whatever its family */
	return compile_caps(w->compile, family == IP_V4 || w->standalone ? peer.class4 : peer.class6);
}

bool world_party_valid(const struct party *p, struct wall now)
{
	if (p->row)
		return p->row->expires.sec == 0 || now.sec < p->row->expires.sec;
	if (p->node->tags.count)
		return true;
	return p->node->user && p->node->session && now.sec < p->node->session->expires.sec;
}

void world_clock_set(struct world *w, struct wall now)
{
	if (w->compile)
		compile_self(w->compile, now);
}

uint64_t world_self(const struct world *w)
{
	return w->self;
}

const struct topology *world_topology(const struct world *w)
{
	return w->topo;
}
