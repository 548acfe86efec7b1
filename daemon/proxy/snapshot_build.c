/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/snapshot_block.h"

#include "base/mem.h"
#include "daemon/proxy/headers.h"
#include "daemon/proxy/http_parse.h"
#include "daemon/proxy/http_target.h"
#include "daemon/proxy/limits.h"
#include "daemon/proxy/profiles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct items {
	char  *ptr;
	size_t count, cap, size;
};

struct snapshot_builder {
	struct items    parts[PART_COUNT];      /* PART_ADDRS is a list here */
	struct dict    *texts, *addrs, *listens;
	struct snap_head head;
	struct buf      policy;
	bool            full;                   /* an array is beyond 32 bits */
};

static const size_t item_size[PART_COUNT] = {
	[PART_IDENTS] = sizeof(struct snap_ident),     [PART_ADDRS] = sizeof(struct snap_addr),
	[PART_SESSIONS] = sizeof(struct snap_session),
	[PART_LENGTHS] = sizeof(struct snap_length),   [PART_PREFIXES] = sizeof(struct snap_prefix) + 4,
	[PART_SERVICES] = sizeof(struct snap_service), [PART_LISTENS] = sizeof(struct snap_listen),
	[PART_HOSTS] = sizeof(struct snap_host),       [PART_UPSTREAMS] = sizeof(struct snap_upstream),
	[PART_HEADERS] = sizeof(struct snap_header),   [PART_PIECES] = sizeof(struct snap_piece),
	[PART_NUMBERS] = sizeof(uint32_t),             [PART_REFS] = sizeof(struct snap_ref),
	[PART_STRIPS] = sizeof(struct snap_ref),       [PART_POLICY] = 1,
	[PART_TEXT] = 1,
};

/* What a prefix is until finish: with its length. */
struct long_prefix {
	struct snap_prefix p;
	uint32_t           bits;
};

static uint32_t add(struct snapshot_builder *b, enum snap_part p, const void *item, size_t n)
{
	struct items *a = &b->parts[p];
	size_t at = a->count;

	if (a->count + n > UINT32_MAX / 2) {
		b->full = true;
		return 0;
	}
	if (a->count + n > a->cap) {
		a->cap = a->cap ? a->cap * 2 : 64;
		while (a->cap < a->count + n)
			a->cap *= 2;
		a->ptr = mem_realloc(a->ptr, a->cap, a->size);
	}
	if (n)
		memcpy(a->ptr + at * a->size, item, n * a->size);
	a->count += n;
	return (uint32_t)at;
}

struct snapshot_builder *snapshot_builder_new(void)
{
	struct snapshot_builder *b = mem_alloc(sizeof(*b));

	for (int p = 0; p < PART_COUNT; p++)
		b->parts[p].size = item_size[p];
	b->texts = dict_new();
	b->addrs = dict_new();
	b->listens = dict_new();
	b->head.key = hash_key_random();
	b->head.lease = BOOT_NEVER.ns;
	buf_init(&b->policy, SNAPSHOT_MAX);
	add(b, PART_TEXT, "", 1);       /* the empty text, at 0 */
	return b;
}

void snapshot_builder_free(struct snapshot_builder *b)
{
	if (!b)
		return;
	for (int p = 0; p < PART_COUNT; p++)
		free(b->parts[p].ptr);
	dict_free(b->texts);
	dict_free(b->addrs);
	dict_free(b->listens);
	buf_done(&b->policy);
	free(b);
}

/* The same text is there once: a hundred thousand identities share their groups. */
static struct snap_ref text(struct snapshot_builder *b, struct span s)
{
	struct snap_ref r = { 0, (uint32_t)s.len };
	uintptr_t have;

	if (s.len == 0)
		return r;
	have = (uintptr_t)dict_find(b->texts, s);
	if (have) {
		r.off = (uint32_t)have;
		return r;
	}
	r.off = add(b, PART_TEXT, s.ptr, s.len);
	add(b, PART_TEXT, "", 1);
	dict_put(b->texts, s, (void *)(uintptr_t)r.off);
	return r;
}

static bool text_ok(struct span s, const char *what, struct err *err)
{
	if (s.len > SNAPSHOT_TEXT_MAX)
		return err_set(err, ERR_LIMIT, "%s is %zu bytes, want at most %d", what, s.len,
		               SNAPSHOT_TEXT_MAX);
	/* it will stand in a header */
	if (!http_is_value(s) || span_find(s, '\t') < s.len)
		return err_set(err, ERR_SYNTAX, "%s holds a control character", what);
	return true;
}

static bool add_list(struct snapshot_builder *b, const struct span *list, size_t n, const char *what,
                     struct snap_list *ret_l, struct err *err)
{
	if (n > SNAPSHOT_GROUPS_MAX)
		return err_set(err, ERR_LIMIT, "%zu %s, want at most %d", n, what, SNAPSHOT_GROUPS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (!text_ok(list[i], what, err))
			return false;
	}
	ret_l->first = (uint32_t)b->parts[PART_REFS].count;
	ret_l->count = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		struct snap_ref r = text(b, list[i]);

		add(b, PART_REFS, &r, 1);
	}
	return true;
}

bool snapshot_add_ident(struct snapshot_builder *b, const struct ident *id, uint32_t *ret_slot,
                        struct err *err)
{
	struct snap_ident d = { .kind = id->kind, .why = id->why, .generation = id->generation,
		                .class4 = id->class4, .class6 = id->class6,
		                .auth_time = id->auth_time.sec, .expires = id->expires.sec,
		                .expires_boot = id->expires_boot.ns };
	const struct {
		struct span      s;
		struct snap_ref *ref;
		const char      *what;
	} texts[] = {
		{ id->login, &d.login, "login" },       { id->name, &d.name, "name" },
		{ id->email, &d.email, "email" },       { id->picture, &d.picture, "picture" },
		{ id->issuer, &d.issuer, "issuer" },    { id->subject, &d.subject, "subject" },
		{ id->user, &d.user, "user" },          { id->session, &d.session, "session" },
		{ id->node, &d.node, "node" },          { id->node_name, &d.node_name, "node name" },
		{ id->acr, &d.acr, "acr" },
	};

	if (b->parts[PART_IDENTS].count >= SNAPSHOT_IDENTS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d identities", SNAPSHOT_IDENTS_MAX);
	if (id->kind != IDENT_NONE && id->generation == 0)
		return err_set(err, ERR_SYNTAX, "an identity needs a generation");
	for (size_t i = 0; i < array_size(texts); i++) {
		if (!text_ok(texts[i].s, texts[i].what, err))
			return false;
	}
	for (size_t i = 0; i < array_size(texts); i++)
		*texts[i].ref = text(b, texts[i].s);
	if (!add_list(b, id->groups, id->group_count, "groups", &d.groups, err) ||
	    !add_list(b, id->tags, id->tag_count, "tags", &d.tags, err) ||
	    !add_list(b, id->amr, id->amr_count, "amr values", &d.amr, err))
		return false;
	*ret_slot = add(b, PART_IDENTS, &d, 1);
	return true;
}

bool snapshot_add_addr(struct snapshot_builder *b, const struct ip *ip, uint32_t slot, struct err *err)
{
	struct snap_addr a = { .slot = slot, .used = 1 };
	uintptr_t have;

	if (!snap_ip(ip, a.ip))
		return err_set(err, ERR_SYNTAX, "not an address");
	if (slot >= b->parts[PART_IDENTS].count)
		return err_set(err, ERR_MISSING, "no identity %u", slot);
	have = (uintptr_t)dict_find(b->addrs, span_of(a.ip, 16));
	if (have) {
		struct snap_addr *old = (struct snap_addr *)(void *)b->parts[PART_ADDRS].ptr + (have - 1);
		char t[IP_TEXT_MAX];

		if (old->slot == slot)
			return true;
		/* whose it is cannot be said: it is nobody's */
		old->slot = SLOT_NONE;
		return err_set(err, ERR_EXISTS, "%s is two identities' address, so nobody's", ip_text(ip, t));
	}
	dict_put(b->addrs, span_of(a.ip, 16), (void *)(uintptr_t)(add(b, PART_ADDRS, &a, 1) + 1));
	return true;
}

bool snapshot_add_session(struct snapshot_builder *b, const uint8_t hash[SNAPSHOT_HASH_LEN], uint32_t slot,
                          struct err *err)
{
	struct snap_session s = { .slot = slot, .used = 1 };

	if (slot >= b->parts[PART_IDENTS].count)
		return err_set(err, ERR_MISSING, "no identity %u", slot);
	memcpy(s.hash, hash, sizeof(s.hash));
	add(b, PART_SESSIONS, &s, 1);
	return true;
}

bool snapshot_add_prefix(struct snapshot_builder *b, const struct prefix *p, uint32_t slot,
                         struct err *err)
{
	struct long_prefix l = { .p.slot = slot };

	if (!snap_ip(&p->ip, l.p.ip))
		return err_set(err, ERR_SYNTAX, "not a prefix");
	if (slot >= b->parts[PART_IDENTS].count)
		return err_set(err, ERR_MISSING, "no identity %u", slot);
	l.bits = p->bits + (p->ip.family == IP_V4 ? 96u : 0u);
	add(b, PART_PREFIXES, &l, 1);
	return true;
}

static bool add_header(struct snapshot_builder *b, struct snap_service *v, struct span name,
                       struct span value, enum value_encoding encoding, struct err *err)
{
	struct snap_header h = { .encoding = encoding };
	struct snap_piece piece = { 0 };
	enum ident_field field;
	struct span literal, rest = value;
	struct err e;
	char folded[HTTP_NAME_MAX];

	if (!http_is_token(name) || name.len > HTTP_NAME_MAX || head_find(name) != HEAD_OTHER)
		return err_set(err, ERR_SYNTAX, "\"%.*s\" cannot be an identity header", SPAN_ARG(name));
	if (!text_ok(value, "a header's value", err))
		return false;
	h.name = text(b, name);
	h.pieces.first = (uint32_t)b->parts[PART_PIECES].count;
	while (profile_piece_next(&rest, &field, &literal, &e)) {
		piece.field = field;
		if (field == FIELD_ASSERTION)
			v->flags |= SERVICE_ASSERTION;
		piece.literal = field == FIELD_LITERAL ? text(b, literal) : (struct snap_ref){ 0, 0 };
		add(b, PART_PIECES, &piece, 1);
		h.pieces.count++;
	}
	if (e.code != ERR_NONE) {
		err_set(err, e.code, "%s", e.msg);
		return err_prefix(err, "header %.*s: ", SPAN_ARG(name));
	}
	add(b, PART_HEADERS, &h, 1);
	struct snap_ref strip = text(b, header_fold(name, folded));

	add(b, PART_STRIPS, &strip, 1);
	return true;
}

static bool add_headers(struct snapshot_builder *b, const struct service_desc *s,
                        struct snap_service *v, struct err *err)
{
	static const struct profile_row coordinator[] = {
		{ "Reeve-Node", "{node}", VALUE_ASCII },
		{ "Reeve-User", "{user}", VALUE_ASCII },
		{ "Reeve-Session", "{session}", VALUE_ASCII },
		{ NULL, NULL, 0 }
	};

	v->headers.first = (uint32_t)b->parts[PART_HEADERS].count;
	for (size_t i = 0; i < s->profile_count; i++) {
		const struct profile *p = profile_find(s->profiles[i]);

		if (!p)
			return err_set(err, ERR_CONFIG, "unknown profile \"%.*s\"", SPAN_ARG(s->profiles[i]));
		for (const struct profile_row *r = p->rows; r->name; r++) {
			if (!add_header(b, v, span_str(r->name), span_str(r->value), r->encoding, err))
				return false;
		}
	}
	for (size_t i = 0; i < s->custom_count; i++) {
		if (!add_header(b, v, s->custom[i].name, s->custom[i].value, s->custom[i].encoding, err))
			return false;
	}
	for (const struct profile_row *r = coordinator; (s->flags & SERVICE_ENROLLED) && r->name; r++) {
		if (!add_header(b, v, span_str(r->name), span_str(r->value), r->encoding, err))
			return false;
	}
	v->headers.count = (uint32_t)b->parts[PART_HEADERS].count - v->headers.first;
	return true;
}

static bool add_hosts(struct snapshot_builder *b, const struct service_desc *s,
                      struct snap_service *v, struct err *err)
{
	v->hosts.first = (uint32_t)b->parts[PART_REFS].count;
	for (size_t i = 0; i < s->host_count; i++) {
		char buf[HTTP_HOST_MAX + 3], bracket[HTTP_HOST_MAX + 3];
		struct span host, raw = s->hosts[i];
		struct snap_ref r;
		struct ip ip;
		uint16_t port;

		if (ip_parse(raw, &ip) && ip.family == IP_V6 && raw.len + 2 <= sizeof(bracket)) {
			bracket[0] = '[';
			memcpy(bracket + 1, raw.ptr, raw.len);
			bracket[raw.len + 1] = ']';
			raw = span_of(bracket, raw.len + 2);
		}
		if (!host_fold(raw, buf, &host, &port) || port)
			return err_set(err, ERR_SYNTAX, "\"%.*s\" is not a host name or address",
			               SPAN_ARG(s->hosts[i]));
		r = text(b, host);
		add(b, PART_REFS, &r, 1);
	}
	v->hosts.count = (uint32_t)s->host_count;
	return true;
}

static int64_t or_default(int64_t v, int64_t def)
{
	return v > 0 ? v : def;
}

/* A listener that several services share is one: what it knows is gathered here. */
static bool add_listen(struct snapshot_builder *b, struct span key, const struct service_desc *s,
                       struct err *err)
{
	struct snap_listen l = { .tls = s->listens_tls, .forward = s->forward };
	uintptr_t have = (uintptr_t)dict_find(b->listens, key);

	if (have) {
		const struct snap_listen *was =
			(const struct snap_listen *)(const void *)b->parts[PART_LISTENS].ptr + (have - 1);

		/* or a request would be taken for a question */
		return was->forward == s->forward ||
		       err_set(err, ERR_CONFIG, "\"%.*s\" is asked in two ways", SPAN_ARG(key));
	}
	l.uids.first = (uint32_t)b->parts[PART_NUMBERS].count;
	l.uids.count = (uint32_t)s->forward_uid_count;
	add(b, PART_NUMBERS, s->forward_uids, s->forward_uid_count);
	l.secret = text(b, s->forward_secret);
	l.key = text(b, key);
	dict_put(b->listens, key, (void *)(uintptr_t)(add(b, PART_LISTENS, &l, 1) + 1));
	return true;
}

bool snapshot_add_service(struct snapshot_builder *b, const struct service_desc *s,
                          uint32_t *ret_index, struct err *err)
{
	struct snap_service v = {
		.flags = s->flags,
		.policy = s->policy,
		.forward_port = s->forward_port,
		.body_max = s->body_max < 0 ? 0 : or_default(s->body_max, SERVICE_BODY_MAX),
		.connect_ns = or_default(s->connect_ns, SERVICE_CONNECT_NS),
		.first_byte_ns = or_default(s->first_byte_ns, SERVICE_FIRST_BYTE_NS),
		.idle_ns = or_default(s->idle_ns, SERVICE_IDLE_NS),
		.total_ns = or_default(s->total_ns, SERVICE_TOTAL_NS),
		.upgrade_idle_ns = or_default(s->upgrade_idle_ns, SERVICE_UPGRADE_IDLE_NS),
		.per_identity_max = or_default(s->per_identity_max, SERVICE_PER_IDENTITY),
		.in_flight_max = or_default(s->in_flight_max, SERVICE_IN_FLIGHT),
		.health_ns = s->health_ns,
		.health_timeout_ns = or_default(s->health_timeout_ns, SERVICE_HEALTH_TIMEOUT_NS),
		.health_fall = s->health_fall ? s->health_fall : SERVICE_HEALTH_FALL,
		.health_rise = s->health_rise ? s->health_rise : SERVICE_HEALTH_RISE,
	};

	if (b->parts[PART_SERVICES].count >= SNAPSHOT_SERVICES_MAX)
		return err_set(err, ERR_LIMIT, "more than %d services", SNAPSHOT_SERVICES_MAX);
	if (s->host_count > SNAPSHOT_LIST_MAX || s->upstream_count > SNAPSHOT_LIST_MAX ||
	    s->listen_count > SNAPSHOT_LIST_MAX || s->custom_count > SNAPSHOT_LIST_MAX ||
	    s->forward_uid_count > SNAPSHOT_LIST_MAX)
		return err_set(err, ERR_LIMIT, "service %.*s: a list has more than %d items",
		               SPAN_ARG(s->name), SNAPSHOT_LIST_MAX);
	if (!text_ok(s->name, "a service's name", err) || !text_ok(s->login_url, "a login URL", err) ||
	    !text_ok(s->browser_url, "a login URL", err) || !text_ok(s->root, "a document root", err) || !text_ok(s->script, "a script", err))
		return false;
	if (s->health_path.len && (s->health_path.ptr[0] != '/' || !span_is_print(s->health_path) ||
	                           span_find(s->health_path, ' ') < s->health_path.len))
		return err_set(err, ERR_CONFIG, "service %.*s: the path of its health is none", SPAN_ARG(s->name));
	v.health_path = text(b, s->health_path);
	v.name = text(b, s->name);
	v.login_url = text(b, s->login_url);
	v.browser_url = text(b, s->browser_url);
	v.page = text(b, s->page);
	v.policy_port = s->policy_port;
	if (s->browser_url.len)
		v.flags |= SERVICE_BROWSER;
	v.root = text(b, s->root);
	v.script = text(b, s->script);
	if (!add_hosts(b, s, &v, err) || !add_headers(b, s, &v, err) ||
	    !add_list(b, s->origins, s->origin_count, "origins", &v.origins, err) ||
	    !add_list(b, s->upgrades, s->upgrade_count, "upgrades", &v.upgrades, err))
		return err_prefix(err, "service %.*s: ", SPAN_ARG(s->name));
	v.upstreams.first = (uint32_t)b->parts[PART_UPSTREAMS].count;
	v.upstreams.count = (uint32_t)s->upstream_count;
	for (size_t i = 0; i < s->upstream_count; i++) {
		const struct upstream_desc *d = &s->upstreams[i];
		struct snap_upstream u = { .kind = d->kind };

		if (!text_ok(d->name, "an upstream", err) || !text_ok(d->host, "an upstream's name", err))
			return false;
		if (d->h2 != s->upstreams[0].h2)
			return err_set(err, ERR_CONFIG, "service %.*s: some upstreams speak HTTP/2 and some do not",
			               SPAN_ARG(s->name));
		u.flags = (d->tls ? SNAP_UP_TLS : 0u) | (d->tls_lax ? SNAP_UP_LAX : 0u) | (d->h2 ? SNAP_UP_H2 : 0u) |
		          (d->fastcgi ? SNAP_UP_FASTCGI : 0u) |
		          (d->scgi ? SNAP_UP_SCGI : 0u) | (d->uwsgi ? SNAP_UP_UWSGI : 0u);
		u.name = text(b, d->name);
		u.host = text(b, d->host);
		u.place = d->place;
		add(b, PART_UPSTREAMS, &u, 1);
	}
	uint32_t index = add(b, PART_SERVICES, &v, 1);

	if (ret_index)
		*ret_index = index;
	for (size_t i = 0; i < s->listen_count; i++) {
		if (!text_ok(s->listens[i], "a listener", err) || !add_listen(b, s->listens[i], s, err))
			return false;

		/* (listener, service) pairs, as hosts without a name: sorted out at the end */
		uint32_t listen = (uint32_t)(uintptr_t)dict_find(b->listens, s->listens[i]) - 1;

		for (uint32_t k = 0; k <= v.hosts.count; k++) {
			struct snap_host h = { .listen = listen, .service = index };

			if (k < v.hosts.count)
				h.host = ((struct snap_ref *)(void *)b->parts[PART_REFS].ptr)[v.hosts.first + k];
			add(b, PART_HOSTS, &h, 1);
		}
	}
	return true;
}

void snapshot_set_policy(struct snapshot_builder *b, struct span tables)
{
	buf_clear(&b->policy);
	buf_add_span(&b->policy, tables);
}

void snapshot_set_words(struct snapshot_builder *b, const struct snapshot_words *w)
{
	b->head.mesh = text(b, w->mesh);
	b->head.host = text(b, w->host);
	b->head.login_url = text(b, w->login_url);
	b->head.source_url = text(b, w->source_url);
	b->head.contact = text(b, w->contact);
	b->head.jwks = text(b, w->jwks);
	b->head.page = text(b, w->page);
}

void snapshot_set_lease(struct snapshot_builder *b, struct boot lease, struct boot heard)
{
	b->head.lease = lease.ns;
	b->head.heard = heard.ns;
}

void snapshot_set_seq(struct snapshot_builder *b, uint64_t epoch, uint64_t seq)
{
	b->head.epoch = epoch;
	b->head.seq = seq;
}

void snapshot_set_table(struct snapshot_builder *b, uint64_t table)
{
	b->head.table = table;
}

/* ---- the end ---- */

static struct span ref_span(const struct snapshot_builder *b, struct snap_ref r)
{
	return span_of(b->parts[PART_TEXT].ptr + r.off, r.len);
}

static int cmp_prefix(const void *x, const void *y)
{
	const struct long_prefix *a = x, *b = y;

	if (a->bits != b->bits)
		return a->bits > b->bits ? -1 : 1;
	return memcmp(a->p.ip, b->p.ip, 16);
}

static int cmp_host(const void *x, const void *y, void *arg)
{
	const struct snap_host *a = x, *b = y;
	int c;

	if (a->listen != b->listen)
		return a->listen < b->listen ? -1 : 1;
	c = span_cmp(ref_span(arg, a->host), ref_span(arg, b->host));
	return c ? c : a->service < b->service ? -1 : a->service > b->service;
}

static int cmp_ref(const void *x, const void *y, void *arg)
{
	const struct snap_ref *a = x, *b = y;

	return span_cmp(ref_span(arg, *a), ref_span(arg, *b));
}

/* The list of addresses becomes an open hash table, at most half full. */
static void hash_addrs(struct snapshot_builder *b)
{
	struct items *a = &b->parts[PART_ADDRS];
	size_t n = 16, at;
	struct snap_addr *table, *list = (struct snap_addr *)(void *)a->ptr;

	while (n < a->count * 2 + 2)
		n *= 2;
	table = mem_calloc(n, sizeof(*table));
	for (size_t i = 0; i < n; i++)
		table[i].slot = SLOT_NONE;
	for (size_t i = 0; i < a->count; i++) {
		at = hash_bytes(&b->head.key, list[i].ip, 16) & (n - 1);
		while (table[at].used)
			at = (at + 1) & (n - 1);
		table[at] = list[i];
	}
	free(a->ptr);
	a->ptr = (char *)table;
	a->count = a->cap = n;
}

/* The same; a hash that is there twice finds the first one, and is one cookie anyway. */
static void hash_sessions(struct snapshot_builder *b)
{
	struct items *a = &b->parts[PART_SESSIONS];
	size_t n = 16, at;
	struct snap_session *table, *list = (struct snap_session *)(void *)a->ptr;

	while (n < a->count * 2 + 2)
		n *= 2;
	table = mem_calloc(n, sizeof(*table));
	for (size_t i = 0; i < a->count; i++) {
		at = hash_bytes(&b->head.key, list[i].hash, sizeof(list[i].hash)) & (n - 1);
		while (table[at].used)
			at = (at + 1) & (n - 1);
		table[at] = list[i];
	}
	free(a->ptr);
	a->ptr = (char *)table;
	a->count = a->cap = n;
}

static void sort_prefixes(struct snapshot_builder *b)
{
	struct items *a = &b->parts[PART_PREFIXES];
	struct long_prefix *l = (struct long_prefix *)(void *)a->ptr;
	struct snap_prefix *out = (struct snap_prefix *)(void *)a->ptr;
	struct snap_length len = { 0 };
	size_t n = 0;

	if (a->count)
		qsort(l, a->count, sizeof(*l), cmp_prefix);
	for (size_t i = 0; i < a->count; i++) {
		struct long_prefix p = l[i];

		if (n && len.count && p.bits == len.bits && memcmp(out[n - 1].ip, p.p.ip, 16) == 0) {
			if (out[n - 1].slot != p.p.slot)
				out[n - 1].slot = SLOT_NONE;    /* two owners: nobody's */
			continue;
		}
		if (!len.count || p.bits != len.bits) {
			if (len.count)
				add(b, PART_LENGTHS, &len, 1);
			len = (struct snap_length){ .bits = p.bits, .first = (uint32_t)n };
		}
		len.count++;
		out[n++] = p.p;         /* never ahead of what is read: it is smaller */
	}
	if (len.count)
		add(b, PART_LENGTHS, &len, 1);
	a->count = n;
	a->size = sizeof(struct snap_prefix);
}

/* Pairs of listener and service become each listener's list; hosts stay. */
static bool sort_hosts(struct snapshot_builder *b, struct err *err)
{
	struct items *a = &b->parts[PART_HOSTS];
	struct snap_host *h = (struct snap_host *)(void *)a->ptr;
	size_t n = 0;

	if (a->count)
		qsort_r(h, a->count, sizeof(*h), cmp_host, b);
	for (size_t i = 0; i < a->count; i++) {
		struct snap_listen *l = (struct snap_listen *)(void *)b->parts[PART_LISTENS].ptr + h[i].listen;

		if (h[i].host.len == 0) {
			if (i && h[i - 1].host.len == 0 && h[i - 1].listen == h[i].listen &&
			    h[i - 1].service == h[i].service)
				continue;
			if (l->services.count == 0)
				l->services.first = (uint32_t)b->parts[PART_NUMBERS].count;
			l->services.count++;
			add(b, PART_NUMBERS, &h[i].service, 1);
			continue;
		}
		if (n && h[n - 1].listen == h[i].listen &&
		    span_eq(ref_span(b, h[n - 1].host), ref_span(b, h[i].host))) {
			if (h[n - 1].service != h[i].service)
				return err_set(err, ERR_CONFIG, "two services answer to host %.*s on %.*s",
				               SPAN_ARG(ref_span(b, h[i].host)), SPAN_ARG(ref_span(b, l->key)));
			continue;
		}
		h[n++] = h[i];
	}
	a->count = n;
	return true;
}

bool snapshot_finish(struct snapshot_builder *b, struct buf *ret, struct err *err)
{
	static const char zeros[SNAPSHOT_ALIGN];
	struct snap_head head;
	uint64_t off = sizeof(head);
	bool ok = sort_hosts(b, err);

	hash_addrs(b);
	hash_sessions(b);
	sort_prefixes(b);
	if (b->parts[PART_STRIPS].count)
		qsort_r(b->parts[PART_STRIPS].ptr, b->parts[PART_STRIPS].count, sizeof(struct snap_ref), cmp_ref, b);
	add(b, PART_POLICY, b->policy.ptr, b->policy.len);
	head = b->head;
	head.magic = SNAPSHOT_MAGIC;
	for (int p = 0; p < PART_COUNT; p++) {
		off = (off + SNAPSHOT_ALIGN - 1) / SNAPSHOT_ALIGN * SNAPSHOT_ALIGN;
		head.parts[p] = (struct snap_part_at){ off, b->parts[p].count };
		off += b->parts[p].count * b->parts[p].size;
	}
	head.size = off;
	if (ok && (b->full || b->policy.over || off > SNAPSHOT_MAX))
		ok = err_set(err, ERR_LIMIT, "the snapshot is larger than %d bytes", SNAPSHOT_MAX);
	if (ok) {
		buf_init(ret, SNAPSHOT_MAX + 1);
		buf_add(ret, &head, sizeof(head));
		for (int p = 0; p < PART_COUNT; p++) {
			buf_add(ret, zeros, (size_t)(head.parts[p].off - ret->len));
			if (b->parts[p].count)
				buf_add(ret, b->parts[p].ptr, b->parts[p].count * b->parts[p].size);
		}
	}
	snapshot_builder_free(b);
	return ok;
}

static bool write_all(int fd, const void *p, size_t n)
{
	const char *c = p;

	while (n) {
		ssize_t w = write(fd, c, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		c += w;
		n -= (size_t)w;
	}
	return true;
}

int snapshot_seal(struct span block, struct err *err)
{
	int fd = memfd_create("reeve-snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0) {
		err_sys(err, "memfd_create");
		return -1;
	}
	if (!write_all(fd, block.ptr, block.len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
		err_sys(err, "sealing a snapshot of %zu bytes", block.len);
		close(fd);
		return -1;
	}
	return fd;
}

int snapshot_words_new(const uint32_t *generations, size_t count, uint32_t **ret_map, struct err *err)
{
	size_t size = (count ? count : 1) * sizeof(uint32_t);
	int fd = memfd_create("reeve-words", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *map = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0) {
		if (count)
			memcpy(map, generations, count * sizeof(uint32_t));
		*ret_map = map;
		return fd;
	}
	err_sys(err, "a revocation block of %zu words", count);
	if (map != MAP_FAILED)
		munmap(map, size);
	if (fd >= 0)
		close(fd);
	return -1;
}
