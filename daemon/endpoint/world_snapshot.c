/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/world.h"

#include "base/mem.h"
#include "daemon/endpoint/error_page.h"
#include "daemon/endpoint/forward_access.h"
#include "daemon/endpoint/glass.h"
#include "daemon/endpoint/names.h"
#include "daemon/endpoint/targets.h"
#include "daemon/endpoint/world_inside.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hash_span(EVP_MD_CTX *ctx, struct span s)
{
	uint64_t len = s.len;

	EVP_DigestUpdate(ctx, &len, sizeof(len));
	EVP_DigestUpdate(ctx, s.ptr ? s.ptr : "", s.len);
}

/* Who it is, not how long: a session that is renewed keeps its connections,
 * another person behind the same address does not. The same from every core. */
static uint32_t who(const struct party *p, enum ident_kind kind)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	uint32_t g;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		abort();
	EVP_DigestUpdate(ctx, &kind, sizeof(kind));
	if (p->row) {
		EVP_DigestUpdate(ctx, &p->row->from.bits, 1);
		hash_span(ctx, span_of(p->row->from.ip.b, ip_len(&p->row->from.ip)));
		hash_span(ctx, p->row->login);
		for (size_t i = 0; i < p->row->tag_count; i++)
			hash_span(ctx, p->row->tags[i]);
	} else {
		hash_span(ctx, span_of(p->anchor, sizeof(p->anchor)));
		EVP_DigestUpdate(ctx, &p->node->id, sizeof(p->node->id));
		if (kind == IDENT_PERSON) {
			EVP_DigestUpdate(ctx, &p->node->user->id, sizeof(p->node->user->id));
			hash_span(ctx, p->node->user->issuer);
			hash_span(ctx, p->node->user->sub);
			hash_span(ctx, p->node->user->login);
		}
		for (size_t i = 0; i < p->node->tags.count; i++)
			hash_span(ctx, p->node->tags.list[i]);
	}
	if (EVP_DigestFinal_ex(ctx, sum, &len) != 1 || len < sizeof(g))
		abort();
	EVP_MD_CTX_free(ctx);
	memcpy(&g, sum, sizeof(g));
	return g ? g : 1;
}

static enum ident_kind kind_of(const struct party *p, const struct world_now *now)
{
	if (p->row ? p->row->tag_count : p->node->tags.count)
		return IDENT_TAGGED;
	if (world_party_valid(p, now->wall) && !boot_passed(world_party_end(p), now->boot))
		return IDENT_PERSON;
	return IDENT_ENROLLED;
}

uint32_t world_who(const struct party *p, const struct world_now *now)
{
	bool person = kind_of(p, now) == IDENT_PERSON;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	uint32_t n;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		abort();
	EVP_DigestUpdate(ctx, &person, sizeof(person));
	if (person) {
		EVP_DigestUpdate(ctx, &p->node->user->id, sizeof(p->node->user->id));
		hash_span(ctx, p->node->user->issuer);
		hash_span(ctx, p->node->user->sub);
	} else {
		EVP_DigestUpdate(ctx, &p->node->id, sizeof(p->node->id));
	}
	if (EVP_DigestFinal_ex(ctx, sum, &len) != 1 || len < sizeof(n))
		abort();
	EVP_MD_CTX_free(ctx);
	memcpy(&n, sum, sizeof(n));
	return n ? n : 1;
}

bool world_lease_over(const struct party *p, const struct world_now *now)
{
	return boot_passed(now->lease, now->boot) && !(p->node && glass_is(p->node));
}

uint32_t world_generation(const struct world *w, uint64_t party, const struct world_now *now)
{
	const struct party *p = world_find(w, party);
	enum ident_kind kind = p ? kind_of(p, now) : IDENT_NONE;

	if (kind == IDENT_NONE || world_lease_over(p, now))
		return 0;
	return who(p, kind);
}

static struct boot end_of(struct wall w, const struct world_now *now)
{
	return w.sec == 0 || w.sec == TOPOLOGY_NEVER.sec ? BOOT_NEVER
	                                                 : boot_at_wall(w, now->wall, now->boot);
}

static void ident_of_row(const struct party *p, const struct world_now *now, struct ident *id)
{
	const struct identity_row *r = p->row;

	if (id->kind == IDENT_ENROLLED) {       /* nobody until the file says otherwise, and told why */
		id->why = WHY_EXPIRED;
		id->expires_boot = BOOT_NEVER;
		return;
	}
	id->login = r->login;
	id->name = r->name;
	id->email = r->email;
	id->acr = r->acr;
	id->groups = r->groups;
	id->group_count = r->group_count;
	id->tags = r->tags;
	id->tag_count = r->tag_count;
	id->amr = r->amr;
	id->amr_count = r->amr_count;
	id->auth_time = r->auth_time;
	id->expires = r->expires;
	id->expires_boot = end_of(r->expires, now);
}

struct ident_text { char node[MAP_ID_MAX], user[MAP_ID_MAX], session[MAP_ID_MAX]; };

static void ident_of_node(const struct party *p, const struct world_now *now, struct arena *mem,
                          struct ident_text *text, struct ident *id)
{
	const struct map_node *n = p->node;

	id->node = span_str(map_id_text('n', n->id, text->node));
	id->node_name = n->name;
	id->tags = n->tags.list;
	id->tag_count = n->tags.count;
	id->expires_boot = BOOT_NEVER;
	if (!n->tags.count)
		id->why = p->why;
	if (!n->user || n->tags.count)
		return;
	/* Also for one without a session: the coordinator is told whose device calls. */
	id->user = span_str(map_id_text('u', n->user->id, text->user));
	if (id->kind != IDENT_PERSON) {
		id->why = n->session ? WHY_EXPIRED : p->why;
		return;
	}
	id->login = n->user->login;
	id->name = n->user->name;
	id->email = n->user->email;
	id->issuer = n->user->issuer;
	id->subject = n->user->sub;
	id->session = span_str(map_id_text('s', n->session->id, text->session));
	id->acr = n->session->acr;
	id->amr = n->session->amr.list;
	id->amr_count = n->session->amr.count;
	id->auth_time = n->session->auth_time;
	id->expires = n->session->expires;
	id->expires_boot = boot_min(world_party_end(p), end_of(n->session->expires, now));
	if (n->user->groups.count + n->user->idp.count) {
		size_t count = n->user->groups.count + n->user->idp.count;
		struct span *all = arena_calloc(mem, count, sizeof(*all));
		size_t k = 0;

		for (size_t i = 0; i < n->user->groups.count; i++) {
			struct span g = n->user->groups.list[i];

			all[k++] = span_starts(g, SPAN("group:")) ? span_from(g, 6) : g;
		}
		/* A group that both the policy file and the IdP know is one group. */
		for (size_t i = 0; i < n->user->idp.count; i++) {
			bool twice = false;

			for (size_t j = 0; j < n->user->groups.count && !twice; j++)
				twice = span_eq(all[j], n->user->idp.list[i]);
			if (!twice)
				all[k++] = n->user->idp.list[i];
		}
		id->groups = all;
		id->group_count = k;
	}
}

/* Every party has its slot in both snapshots; where it cannot call, the slot is empty. */
static bool add_party(const struct world *w, struct snapshot_builder *b, const struct party *p, bool public,
                      const struct world_now *now, struct world_slot *slot, struct err *err)
{
	struct compile_peer peer = { 0 };
	struct ident_text text;
	struct ident id = { .kind = kind_of(p, now) };
	struct arena mem;
	struct ip ip;
	uint32_t index;
	bool ok;

	slot->party = p->id;
	slot->generation = 0;
	if (id.kind != IDENT_NONE && is_browser(p) != public) {
		slot->generation = who(p, id.kind);
		id.kind = IDENT_NONE;
	}
	if (id.kind == IDENT_NONE)
		return snapshot_add_ident(b, &id, &index, err);
	arena_init(&mem, 1024);
	id.generation = slot->generation = who(p, id.kind);
	if (p->row)
		ident_of_row(p, now, &id);
	else
		ident_of_node(p, now, &mem, &text, &id);
	if (w->compile && compile_peer(w->compile, p->id, &peer)) {
		id.class4 = peer.class4;
		id.class6 = peer.class6;
		/* What a row of the file stands for has one class, whatever its family. */
		if (p->row)
			id.class6 = peer.class4;
		/* Another login might bring another group; but this person is logged in, and is
		 * to be told "not you" rather than "log in". */
		if (id.kind == IDENT_PERSON && id.class4 == CLASS_LOGIN)
			id.class4 = CLASS_NONE;
		if (id.kind == IDENT_PERSON && id.class6 == CLASS_LOGIN)
			id.class6 = CLASS_NONE;
	}
	/* Where some identities outlive the lease, it ends each of the others by itself. */
	if (w->conf->glass.count && !(p->node && glass_is(p->node)) && now->lease.ns < id.expires_boot.ns)
		id.expires_boot = now->lease;
	ok = snapshot_add_ident(b, &id, &index, err);
	if (ok && p->row)
		ok = snapshot_add_prefix(b, &p->row->from, index, err);
	if (ok && is_browser(p))
		ok = snapshot_add_session(b, p->node->key, index, err) &&
		     (!p->has_cookie_was || snapshot_add_session(b, p->cookie_was, index, err));
	if (ok && world_v4(w, p, &ip))
		ok = snapshot_add_addr(b, &ip, index, err);
	if (ok && world_v6(w, p, &ip))
		ok = snapshot_add_addr(b, &ip, index, err);
	if (ok && world_v6_other(w, p, &ip))
		ok = snapshot_add_addr(b, &ip, index, err);
	if (ok && world_v6_old(w, p, &ip))
		ok = snapshot_add_addr(b, &ip, index, err);
	arena_done(&mem);
	return ok;
}

static int64_t sec_ns(int64_t sec)
{
	return sec > INT64_MAX / SEC_NS ? INT64_MAX : sec * SEC_NS;
}

static struct span *spans_of(struct arena *mem, const struct conf_strs *l)
{
	struct span *list = arena_calloc(mem, l->count ? l->count : 1, sizeof(*list));

	for (size_t i = 0; i < l->count; i++)
		list[i] = span_str(l->list[i]);
	return list;
}

static void add_forward(struct service_desc *s, const struct conf_service *c, const struct forward_access *a)
{
	uint16_t port = 0;

	if (!c->forward)
		return;
	s->forward = (uint32_t)c->forward;
	/* 80 and 443 are told apart by what the web server says of the request */
	if (conf_service_ports(c, &port, 1) == 1)
		s->forward_port = port;
	if (!a)
		return;
	s->forward_uids = a->uids;
	s->forward_uid_count = a->uid_count;
	if (a->has_secret)
		s->forward_secret = span_of(a->digest, sizeof(a->digest));
}

/* Where the front sends somebody with only a browser; it adds the hash of their browser's secret. */
static struct span browser_url(const struct world *w, const char *name, const struct conf_service *c,
                               struct arena *mem)
{
	const char *hub = *c->login_url ? c->login_url : w->hub;
	char id[MAP_ID_MAX];

	if (!hub || !*hub || !w->self)
		return (struct span){ 0 };
	return arena_printf(mem, "%s/login/service?node=%s&service=%s&bind=", hub,
	                    map_id_text('n', w->self, id), name);
}

/* The port by which policy knows the service of that name, where it is not the listener's. */
static uint16_t browser_port(const struct world *w, const char *name)
{
	const struct conf_service *c = conf_service_find(&w->conf->services, name);
	uint16_t port;

	return c && conf_service_ports(c, &port, 1) ? port : 0;
}

/* One of the service's upstreams; of a name, as many as it has addresses now. */
static bool add_upstream(const struct world *w, const struct conf_service *c, size_t i, struct arena *mem,
                         struct upstream_desc *list, size_t *n, struct err *err)
{
	struct upstream_desc up = { .tls_lax = c->upstream_lax, .name = span_str(c->upstream.list[i]),
		                    .place = targets_place(i, 0) };
	const struct names_answer *at;
	struct conf_upstream u = { 0 };
	char text[IP_TEXT_MAX];

	if (!conf_upstream_parse(span_str(c->upstream.list[i]), &u, err))
		return false;
	up.kind = u.is_unix ? UPSTREAM_UNIX : UPSTREAM_TCP;
	up.tls = u.tls;
	up.h2 = u.h2;
	up.fastcgi = u.fastcgi;
	up.scgi = u.scgi;
	up.uwsgi = u.uwsgi;
	up.host = *c->upstream_name ? span_str(c->upstream_name) : u.host;
	if (!u.name.len) {
		list[(*n)++] = up;
		return true;
	}
	at = names_find(w->names, u.name);
	for (size_t k = 0; at && k < NAMES_ADDRESSES_MAX; k++) {
		if (at->at[k].family == IP_NONE)
			continue;
		up.place = targets_place(i, k);
		up.name = arena_printf(mem, "%s (%s)", c->upstream.list[i], ip_text(&at->at[k], text));
		list[(*n)++] = up;
	}
	return true;
}

static const struct buf *page_of(const struct world *w, bool public, size_t i)
{
	if (!w->pages || i >= (public ? w->pages->public_count : w->pages->service_count))
		return NULL;
	return public ? &w->pages->public[i] : &w->pages->services[i];
}

static bool add_service(const struct world *w, struct snapshot_builder *b, const char *name, const struct conf_service *c,
                        const struct forward_access *access, const struct buf *page, const struct tables *tables,
                        bool public, struct err *err)
{
	struct service_desc s = { .name = span_str(name) };
	bool browser = public && *c->browser;
	struct arena mem;
	struct upstream_desc *up;
	struct custom_header *headers;
	uint32_t index;
	bool ok;

	arena_init(&mem, 4096);
	s.flags = (public && !browser ? SERVICE_PUBLIC : 0u) | (browser ? SERVICE_BROWSER : 0u) |
	          (c->encoded_slashes ? SERVICE_ENCODED_SLASH : 0u) |
	          (c->keep_request_id ? SERVICE_KEEP_REQUEST_ID : 0u) | (c->forwarded ? 0u : SERVICE_NO_XFF) |
	          (c->balance == CONF_BALANCE_PERSON ? SERVICE_HASH_PERSON : 0u) |
	          (c->enrolled ? SERVICE_ENROLLED : 0u) | (*c->basic_secret ? SERVICE_BASIC : 0u) |
	          (c->bind_assertion ? SERVICE_ASSERTION_BOUND : 0u) |
	          (c->basic_user == CONF_BASIC_SHORT ? SERVICE_BASIC_SHORT : 0u) | (c->tcp ? SERVICE_TCP : 0u) |
	          (c->proxy_protocol == CONF_PROXY_V1 ? SERVICE_PROXY_V1 : 0u) |
	          (c->proxy_protocol == CONF_PROXY_V2 ? SERVICE_PROXY_V2 : 0u) |
	          (c->proxy_login_cn ? SERVICE_PROXY_CN : 0u) |
	          (c->proxy_login_authority ? SERVICE_PROXY_AUTHORITY : 0u);
	s.policy = tables ? tables_service(tables, s.name) : SERVICE_NONE;
	s.listens = spans_of(&mem, &c->listen);
	s.listen_count = c->listen.count;
	s.listens_tls = c->tls;
	s.hosts = c->hosts.count ? spans_of(&mem, &c->hosts) : &s.name;
	s.host_count = c->hosts.count ? c->hosts.count : 1;
	s.upstreams = up = arena_calloc(&mem, c->upstream.count * NAMES_ADDRESSES_MAX + 1, sizeof(*up));
	for (size_t i = 0; i < c->upstream.count; i++) {
		if (!add_upstream(w, c, i, &mem, up, &s.upstream_count, err)) {
			arena_done(&mem);
			return false;
		}
	}
	s.profiles = spans_of(&mem, &c->profiles);
	s.profile_count = c->profiles.count;
	s.custom = headers = arena_calloc(&mem, c->headers.count ? c->headers.count : 1, sizeof(*headers));
	s.custom_count = c->headers.count;
	for (size_t i = 0; i < c->headers.count; i++) {
		const struct conf_header *h = (const struct conf_header *)c->headers.items + i;

		headers[i] = (struct custom_header){ span_str(h->name), span_str(h->value),
			                             (enum value_encoding)h->encoding };
	}
	s.origins = spans_of(&mem, &c->origins);
	s.origin_count = c->origins.count;
	s.upgrades = spans_of(&mem, &c->upgrades);
	if (browser) {
		s.browser_url = browser_url(w, name, c, &mem);
		s.policy_port = browser_port(w, name);
	}
	s.upgrade_count = c->upgrades.count;
	add_forward(&s, c, access);
	s.login_url = span_str(c->login_url);
	s.page = page ? buf_span(page) : (struct span){ 0 };
	s.root = span_str(c->root);
	s.script = span_str(c->script);
	s.body_max = c->body ? c->body_max : -1;
	s.connect_ns = sec_ns(c->connect_sec);
	s.first_byte_ns = sec_ns(c->first_byte_sec);
	s.idle_ns = sec_ns(c->idle_sec);
	s.total_ns = sec_ns(c->total_sec);
	s.health_ns = sec_ns(c->health_sec);
	s.health_path = span_str(c->health_path);
	s.health_timeout_ns = sec_ns(c->health_timeout_sec);
	s.health_fall = (uint32_t)c->health_fall;
	s.health_rise = (uint32_t)c->health_rise;
	s.upgrade_idle_ns = sec_ns(c->upgrade_idle_sec);
	s.per_identity_max = c->per_identity_max;
	s.in_flight_max = c->in_flight_max;
	ok = snapshot_add_service(b, &s, &index, err);
	arena_done(&mem);
	return ok;
}

const char *world_mesh(const struct world *w)
{
	return w->mesh_name ? w->mesh_name : "";
}

const char *world_host(const struct world *w)
{
	const struct party *self = w->self ? world_find(w, w->self) : NULL;

	if (*w->conf->name)
		return w->conf->name;
	return self && self->node ? self->node->name.ptr : w->own_host;
}

bool world_ident(const struct world *w, uint64_t party, const struct world_now *now, struct arena *mem,
                 struct ident *ret_id)
{
	const struct party *p = world_find(w, party);

	*ret_id = (struct ident){ .kind = p ? kind_of(p, now) : IDENT_NONE };
	if (ret_id->kind != IDENT_PERSON && ret_id->kind != IDENT_TAGGED)
		return false;
	if (p->row)
		ident_of_row(p, now, ret_id);
	else
		ident_of_node(p, now, mem, arena_alloc(mem, sizeof(struct ident_text)), ret_id);
	return true;
}

static void words(const struct world *w, struct snapshot_builder *b)
{
	struct snapshot_words words = { 0 };

	words.mesh = span_str(w->mesh_name);
	words.host = span_str(world_host(w));
	words.jwks = span_str(w->jwks);
	words.login_url = span_str(w->conf->login_url);
	words.source_url = span_str(w->conf->source_url);
	words.contact = span_str(w->conf->contact);
	if (w->pages)
		words.page = buf_span(&w->pages->whole);
	snapshot_set_words(b, &words);
}

bool world_for_browsers(const struct conf *conf)
{
	for (size_t i = 0; i < conf->public.count; i++)
		if (*conf_service(&conf->public, i)->browser)
			return true;
	return false;
}

bool world_snapshot(const struct world *w, const struct world_now *now, bool public,
                    struct buf *ret_block, struct world_slot **ret_slots, size_t *ret_n, struct err *err)
{
	const struct conf_map *services = public ? &w->conf->public : &w->conf->services;
	struct snapshot_builder *b = snapshot_builder_new();
	struct world_slot *slots = NULL;
	const struct tables *tables = NULL;
	scoped_buf struct buf rules = { 0 };
	bool identities = !public || world_for_browsers(w->conf);
	size_t n = 0;

	buf_init(&rules, SNAPSHOT_MAX);
	if (identities && w->compile) {
		compile_tables(w->compile, &rules);
		if (rules.over || !tables_check(rules.ptr, rules.len, err)) {
			snapshot_builder_free(b);
			return rules.over ? err_set(err, ERR_LIMIT, "the policy's tables are larger than %d bytes",
			                            SNAPSHOT_MAX) : false;
		}
		tables = tables_map(rules.ptr);
		snapshot_set_policy(b, buf_span(&rules));
	}
	if (identities) {
		slots = mem_calloc(w->count ? w->count : 1, sizeof(*slots));
		for (size_t i = 0; i < w->count; i++) {
			if (add_party(w, b, w->list[i], public, now, &slots[n++], err))
				continue;
			free(slots);
			snapshot_builder_free(b);
			return false;
		}
	}
	for (size_t i = 0; i < services->count; i++)
		if (!add_service(w, b, services->names[i], conf_service(services, i),
		                 forward_access_get(w->forwards, public, i),
		                 page_of(w, public, i), tables, public, err)) {
			err_prefix(err, "service \"%s\": ", services->names[i]);
			free(slots);
			snapshot_builder_free(b);
			return false;
		}
	words(w, b);
	snapshot_set_lease(b, !identities || w->conf->glass.count ? BOOT_NEVER : now->lease,
	                   now->silent < 0 ? (struct boot){ 0 }
	                                   : boot_add(now->boot, now->silent == INT64_MAX ? -now->boot.ns + 1
	                                                                                  : -now->silent));
	snapshot_set_seq(b, w->map_epoch[0] ? strtoull(w->map_epoch, NULL, 16) : 0, w->map_seq);
	snapshot_set_table(b, w->conf_generation);
	if (!snapshot_finish(b, ret_block, err)) {
		free(slots);
		return false;
	}
	*ret_slots = slots;
	*ret_n = n;
	return true;
}
