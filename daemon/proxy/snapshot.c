/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/snapshot_block.h"

#include "base/mem.h"
#include "daemon/proxy/forward.h"
#include "policy/tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct snapshot {
	unsigned                refs;
	const char             *base;
	const struct snap_head *head;
	const uint32_t         *words;          /* written by core while we read */
	size_t                  word_count;
	size_t                  map_len, words_len;     /* 0: not ours to unmap */
	const struct tables    *policy;
};

static const size_t part_size[PART_COUNT] = {
	[PART_IDENTS] = sizeof(struct snap_ident),     [PART_ADDRS] = sizeof(struct snap_addr),
	[PART_SESSIONS] = sizeof(struct snap_session),
	[PART_LENGTHS] = sizeof(struct snap_length),   [PART_PREFIXES] = sizeof(struct snap_prefix),
	[PART_SERVICES] = sizeof(struct snap_service), [PART_LISTENS] = sizeof(struct snap_listen),
	[PART_HOSTS] = sizeof(struct snap_host),       [PART_UPSTREAMS] = sizeof(struct snap_upstream),
	[PART_HEADERS] = sizeof(struct snap_header),   [PART_PIECES] = sizeof(struct snap_piece),
	[PART_NUMBERS] = sizeof(uint32_t),             [PART_REFS] = sizeof(struct snap_ref),
	[PART_STRIPS] = sizeof(struct snap_ref),       [PART_POLICY] = 1,
	[PART_TEXT] = 1,
};

bool snap_ip(const struct ip *ip, uint8_t out[16])
{
	switch (ip->family) {
	case IP_V4:
		memset(out, 0, 10);
		out[10] = out[11] = 0xff;
		memcpy(out + 12, ip->b, 4);
		return true;
	case IP_V6:
		memcpy(out, ip->b, 16);
		return true;
	default:
		return false;
	}
}

static const void *part(const struct snapshot *s, enum snap_part p)
{
	return s->base + s->head->parts[p].off;
}

static size_t count(const struct snapshot *s, enum snap_part p)
{
	return (size_t)s->head->parts[p].count;
}

/* ---- the one check ---- */

static bool ref_ok(const struct snapshot *s, struct snap_ref r)
{
	const char *text = part(s, PART_TEXT);
	size_t n = count(s, PART_TEXT);

	return r.len <= SNAPSHOT_TEXT_MAX && r.off < n && r.len < n - r.off &&
	       text[r.off + r.len] == '\0';
}

static bool list_ok(const struct snapshot *s, struct snap_list l, enum snap_part p)
{
	return l.first <= count(s, p) && l.count <= count(s, p) - l.first;
}

static bool slot_ok(const struct snapshot *s, uint32_t slot)
{
	return slot == SLOT_NONE || slot < count(s, PART_IDENTS);
}

static bool idents_ok(const struct snapshot *s)
{
	for (size_t i = 0; i < count(s, PART_IDENTS); i++) {
		const struct snap_ident *d = snapshot_ident(s, (uint32_t)i);
		const struct snap_ref refs[] = { d->login, d->name, d->email, d->picture, d->issuer,
			                         d->subject, d->user, d->session, d->node,
			                         d->node_name, d->acr };

		for (size_t k = 0; k < array_size(refs); k++) {
			if (!ref_ok(s, refs[k]))
				return false;
		}
		if (d->kind > IDENT_TAGGED || d->why >= WHY_COUNT ||
		    !list_ok(s, d->groups, PART_REFS) || !list_ok(s, d->tags, PART_REFS) ||
		    !list_ok(s, d->amr, PART_REFS))
			return false;
	}
	return true;
}

static bool addrs_ok(const struct snapshot *s)
{
	const struct snap_addr *a = part(s, PART_ADDRS);
	const struct snap_length *l = part(s, PART_LENGTHS);
	const struct snap_prefix *p = part(s, PART_PREFIXES);
	size_t n = count(s, PART_ADDRS), free_slots = 0;

	if (n == 0 || (n & (n - 1)))
		return false;
	for (size_t i = 0; i < n; i++) {
		free_slots += !a[i].used;
		if (!slot_ok(s, a[i].slot))
			return false;
	}
	/* a search ends at a free place: there must be one */
	if (!free_slots)
		return false;
	for (size_t i = 0; i < count(s, PART_LENGTHS); i++) {
		struct snap_list list = { l[i].first, l[i].count };

		if (l[i].bits > 128 || !list_ok(s, list, PART_PREFIXES) ||
		    (i && l[i].bits >= l[i - 1].bits))
			return false;
		for (uint32_t k = 1; k < l[i].count; k++) {
			if (memcmp(p[l[i].first + k - 1].ip, p[l[i].first + k].ip, 16) >= 0)
				return false;
		}
	}
	for (size_t i = 0; i < count(s, PART_PREFIXES); i++) {
		if (!slot_ok(s, p[i].slot))
			return false;
	}
	return true;
}

static bool sessions_ok(const struct snapshot *s)
{
	const struct snap_session *t = part(s, PART_SESSIONS);
	size_t n = count(s, PART_SESSIONS), free_slots = 0;

	if (n == 0 || (n & (n - 1)))
		return false;
	for (size_t i = 0; i < n; i++) {
		free_slots += !t[i].used;
		if (t[i].used && t[i].slot >= count(s, PART_IDENTS))
			return false;
	}
	return free_slots > 0;
}

static bool services_ok(const struct snapshot *s)
{
	const struct snap_service *v = part(s, PART_SERVICES);
	const struct snap_listen *l = part(s, PART_LISTENS);
	const struct snap_host *h = part(s, PART_HOSTS);
	const struct snap_upstream *u = part(s, PART_UPSTREAMS);
	const struct snap_header *hd = part(s, PART_HEADERS);
	const struct snap_piece *pc = part(s, PART_PIECES);
	const uint32_t *num = part(s, PART_NUMBERS);

	for (size_t i = 0; i < count(s, PART_SERVICES); i++) {
		const int64_t bounds[] = { v[i].connect_ns, v[i].first_byte_ns, v[i].idle_ns,
			                   v[i].total_ns, v[i].upgrade_idle_ns,
			                   v[i].per_identity_max, v[i].in_flight_max,
			                   v[i].health_timeout_ns };

		if (!ref_ok(s, v[i].name) || !ref_ok(s, v[i].login_url) ||
		    !ref_ok(s, v[i].browser_url) || v[i].policy_port > 65535 ||
		    !ref_ok(s, v[i].health_path) || v[i].health_ns < 0 || !v[i].health_fall || !v[i].health_rise ||
		    !ref_ok(s, v[i].page) || !ref_ok(s, v[i].root) || !ref_ok(s, v[i].script) ||
		    !list_ok(s, v[i].hosts, PART_REFS) || !list_ok(s, v[i].origins, PART_REFS) ||
		    !list_ok(s, v[i].upgrades, PART_REFS) ||
		    !list_ok(s, v[i].upstreams, PART_UPSTREAMS) ||
		    !list_ok(s, v[i].headers, PART_HEADERS) || v[i].body_max < 0)
			return false;
		for (size_t k = 0; k < array_size(bounds); k++) {
			if (bounds[k] <= 0)
				return false;
		}
	}
	for (size_t i = 0; i < count(s, PART_LISTENS); i++) {
		if (!ref_ok(s, l[i].key) || !list_ok(s, l[i].services, PART_NUMBERS) ||
		    !list_ok(s, l[i].uids, PART_NUMBERS) || !ref_ok(s, l[i].secret) ||
		    l[i].forward >= FORWARD_STYLES)
			return false;
		for (uint32_t k = 0; k < l[i].services.count; k++) {
			if (num[l[i].services.first + k] >= count(s, PART_SERVICES))
				return false;
		}
	}
	for (size_t i = 0; i < count(s, PART_HOSTS); i++) {
		if (!ref_ok(s, h[i].host) || h[i].listen >= count(s, PART_LISTENS) ||
		    h[i].service >= count(s, PART_SERVICES))
			return false;
	}
	for (size_t i = 0; i < count(s, PART_UPSTREAMS); i++) {
		if (!ref_ok(s, u[i].name) || !ref_ok(s, u[i].host))
			return false;
	}
	for (size_t i = 0; i < count(s, PART_HEADERS); i++) {
		if (!ref_ok(s, hd[i].name) || !list_ok(s, hd[i].pieces, PART_PIECES))
			return false;
	}
	for (size_t i = 0; i < count(s, PART_PIECES); i++) {
		if (!ref_ok(s, pc[i].literal) || pc[i].field >= FIELD_COUNT)
			return false;
	}
	return true;
}

static bool refs_ok(const struct snapshot *s, enum snap_part p)
{
	const struct snap_ref *r = part(s, p);

	for (size_t i = 0; i < count(s, p); i++) {
		if (!ref_ok(s, r[i]))
			return false;
	}
	return true;
}

static bool block_ok(struct snapshot *s, size_t len, struct err *err)
{
	const struct snap_head *h = s->head;

	if (len < sizeof(*h) || h->magic != SNAPSHOT_MAGIC || h->size != len)
		return err_set(err, ERR_PEER, "snapshot: not one, or of another version");
	for (int p = 0; p < PART_COUNT; p++) {
		const struct snap_part_at *at = &h->parts[p];

		if (at->off < sizeof(*h) || at->off > len || at->off % 8 ||
		    at->count > (len - at->off) / part_size[p])
			return err_set(err, ERR_PEER, "snapshot: part %d is outside", p);
	}
	if (count(s, PART_IDENTS) > SNAPSHOT_IDENTS_MAX ||
	    count(s, PART_SERVICES) > SNAPSHOT_SERVICES_MAX)
		return err_set(err, ERR_LIMIT, "snapshot: too many identities or services");
	if (s->word_count < count(s, PART_IDENTS))
		return err_set(err, ERR_PEER, "snapshot: fewer revocation words than identities");
	if (!ref_ok(s, h->mesh) || !ref_ok(s, h->host) || !ref_ok(s, h->login_url) ||
	    !ref_ok(s, h->source_url) || !ref_ok(s, h->contact) || !ref_ok(s, h->jwks) || !ref_ok(s, h->page) || !refs_ok(s, PART_REFS) ||
	    !refs_ok(s, PART_STRIPS) || !idents_ok(s) || !addrs_ok(s) || !sessions_ok(s) || !services_ok(s))
		return err_set(err, ERR_PEER, "snapshot: an offset is outside");
	if (count(s, PART_POLICY)) {
		const void *p = part(s, PART_POLICY);

		if (!tables_check(p, count(s, PART_POLICY), err))
			return err_prefix(err, "snapshot: ");
		s->policy = tables_map(p);
	}
	return true;
}

struct snapshot *snapshot_open_mem(const void *block, size_t len, const uint32_t *words,
                                   size_t word_count, struct err *err)
{
	struct snapshot *s = mem_alloc(sizeof(*s));

	s->refs = 1;
	s->base = block;
	s->head = block;
	s->words = words;
	s->word_count = word_count;
	if (block_ok(s, len, err))
		return s;
	free(s);
	return NULL;
}

static const void *map_fd(int fd, int seals, size_t max, size_t *ret_len, struct err *err)
{
	struct stat st;
	int have = fcntl(fd, F_GET_SEALS);
	void *p;

	if (have < 0 || (have & seals) != seals) {
		err_set(err, ERR_PEER, "snapshot: the memory file is not sealed");
		return NULL;
	}
	if (fstat(fd, &st) < 0 || st.st_size <= 0 || (uint64_t)st.st_size > max) {
		err_set(err, ERR_LIMIT, "snapshot: the memory file is empty or too large");
		return NULL;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		err_sys(err, "mapping a snapshot");
		return NULL;
	}
	*ret_len = (size_t)st.st_size;
	return p;
}

struct snapshot *snapshot_open(int fd, int words_fd, struct err *err)
{
	size_t len = 0, words_len = 0;
	const uint32_t *words = NULL;
	struct snapshot *s;
	const void *block = map_fd(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, SNAPSHOT_MAX, &len, err);

	if (!block)
		return NULL;
	if (words_fd >= 0) {
		words = map_fd(words_fd, F_SEAL_SHRINK | F_SEAL_GROW, SNAPSHOT_MAX, &words_len, err);
		if (!words) {
			munmap((void *)(uintptr_t)block, len);
			return NULL;
		}
	}
	s = snapshot_open_mem(block, len, words, words_len / sizeof(uint32_t), err);
	if (!s) {
		munmap((void *)(uintptr_t)block, len);
		if (words)
			munmap((void *)(uintptr_t)words, words_len);
		return NULL;
	}
	s->map_len = len;
	s->words_len = words_len;
	return s;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
	s->refs++;
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	if (!s || --s->refs)
		return;
	if (s->map_len)
		munmap((void *)(uintptr_t)s->base, s->map_len);
	if (s->words_len)
		munmap((void *)(uintptr_t)s->words, s->words_len);
	free(s);
}

/* ---- lookups ---- */

const struct snap_ident *snapshot_ident(const struct snapshot *s, uint32_t slot)
{
	const struct snap_ident *d = part(s, PART_IDENTS);

	return slot < count(s, PART_IDENTS) ? d + slot : NULL;
}

const struct snap_service *snapshot_service(const struct snapshot *s, uint32_t index)
{
	const struct snap_service *v = part(s, PART_SERVICES);

	return index < count(s, PART_SERVICES) ? v + index : NULL;
}

size_t snapshot_ident_count(const struct snapshot *s)
{
	return count(s, PART_IDENTS);
}

size_t snapshot_service_count(const struct snapshot *s)
{
	return count(s, PART_SERVICES);
}

static void mask(uint8_t ip[16], unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;

		ip[i] = (uint8_t)(ip[i] & (0xff00u >> keep));
	}
}

uint32_t snapshot_find_addr(const struct snapshot *s, const struct ip *ip)
{
	const struct snap_addr *a = part(s, PART_ADDRS);
	const struct snap_length *l = part(s, PART_LENGTHS);
	const struct snap_prefix *p = part(s, PART_PREFIXES);
	size_t wrap = count(s, PART_ADDRS) - 1;
	uint8_t key[16];

	if (!snap_ip(ip, key))
		return SLOT_NONE;
	for (size_t i = hash_bytes(&s->head->key, key, 16) & wrap; a[i].used; i = (i + 1) & wrap) {
		if (memcmp(a[i].ip, key, 16) == 0)
			return a[i].slot;
	}
	for (size_t i = 0; i < count(s, PART_LENGTHS); i++) {
		size_t lo = l[i].first, hi = lo + l[i].count;
		uint8_t net[16];

		memcpy(net, key, 16);
		mask(net, l[i].bits);
		while (lo < hi) {
			size_t mid = lo + (hi - lo) / 2;
			int c = memcmp(p[mid].ip, net, 16);

			if (c == 0)
				return p[mid].slot;
			if (c < 0)
				lo = mid + 1;
			else
				hi = mid;
		}
	}
	return SLOT_NONE;
}

/* What is compared are hashes of secrets: how far they agree says nothing of the secrets. Still in constant time. */
uint32_t snapshot_find_session(const struct snapshot *s, const uint8_t hash[SNAPSHOT_HASH_LEN])
{
	const struct snap_session *t = part(s, PART_SESSIONS);
	size_t mask = count(s, PART_SESSIONS) - 1, at = hash_bytes(&s->head->key, hash, SNAPSHOT_HASH_LEN) & mask;

	for (; t[at].used; at = (at + 1) & mask)
		if (mem_equal_ct(t[at].hash, hash, SNAPSHOT_HASH_LEN))
			return t[at].slot;
	return SLOT_NONE;
}

uint32_t snapshot_find_node(const struct snapshot *s, struct span node, uint32_t generation)
{
	const struct snap_ident *d = part(s, PART_IDENTS);

	for (size_t i = 0; i < count(s, PART_IDENTS); i++)
		if (d[i].generation == generation && span_eq(snapshot_text(s, d[i].node), node))
			return (uint32_t)i;
	return SLOT_NONE;
}

uint32_t snapshot_find_service(const struct snapshot *s, struct span name)
{
	for (size_t i = 0; i < count(s, PART_SERVICES); i++) {
		if (span_eq(snapshot_text(s, snapshot_service(s, (uint32_t)i)->name), name))
			return (uint32_t)i;
	}
	return SERVICE_UNKNOWN;
}

const struct snap_listen *snapshot_find_listen(const struct snapshot *s, struct span key)
{
	const struct snap_listen *l = part(s, PART_LISTENS);

	for (size_t i = 0; i < count(s, PART_LISTENS); i++) {
		if (span_eq(snapshot_text(s, l[i].key), key))
			return &l[i];
	}
	return NULL;
}

uint32_t snapshot_find_host(const struct snapshot *s, const struct snap_listen *l, struct span host)
{
	const struct snap_host *h = part(s, PART_HOSTS);
	uint32_t listen = (uint32_t)(l - (const struct snap_listen *)part(s, PART_LISTENS));
	size_t lo = 0, hi = count(s, PART_HOSTS);

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = h[mid].listen < listen ? -1 : h[mid].listen > listen ? 1
		                                     : span_cmp(snapshot_text(s, h[mid].host), host);

		if (c == 0)
			return h[mid].service;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return SERVICE_UNKNOWN;
}

bool snapshot_strips(const struct snapshot *s, struct span folded)
{
	const struct snap_ref *r = part(s, PART_STRIPS);
	size_t lo = 0, hi = count(s, PART_STRIPS);

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = span_cmp(snapshot_text(s, r[mid]), folded);

		if (c == 0)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

bool snapshot_revoked(const struct snapshot *s, uint32_t slot)
{
	const struct snap_ident *d = snapshot_ident(s, slot);

	return !d || d->generation == 0 ||
	       __atomic_load_n(&s->words[slot], __ATOMIC_ACQUIRE) != d->generation;
}

bool snapshot_lease_ended(const struct snapshot *s, struct boot now)
{
	return boot_passed(snapshot_lease(s), now);
}

bool snapshot_valid(const struct snapshot *s, uint32_t slot, struct boot now)
{
	const struct snap_ident *d = snapshot_ident(s, slot);

	return d && d->kind != IDENT_NONE && !snapshot_revoked(s, slot) &&
	       !boot_passed((struct boot){ d->expires_boot }, now) && !snapshot_lease_ended(s, now);
}

struct span snapshot_text(const struct snapshot *s, struct snap_ref r)
{
	return span_of((const char *)part(s, PART_TEXT) + r.off, r.len);
}

struct span snapshot_item(const struct snapshot *s, struct snap_list l, uint32_t i)
{
	const struct snap_ref *r = part(s, PART_REFS);

	return i < l.count ? snapshot_text(s, r[l.first + i]) : (struct span){ 0 };
}

uint32_t snapshot_number(const struct snapshot *s, struct snap_list l, uint32_t i)
{
	const uint32_t *n = part(s, PART_NUMBERS);

	return i < l.count ? n[l.first + i] : UINT32_MAX;
}

const struct snap_upstream *snapshot_upstream(const struct snapshot *s, struct snap_list l, uint32_t i)
{
	const struct snap_upstream *u = part(s, PART_UPSTREAMS);

	return i < l.count ? u + l.first + i : NULL;
}

const struct snap_header *snapshot_header(const struct snapshot *s, struct snap_list l, uint32_t i)
{
	const struct snap_header *h = part(s, PART_HEADERS);

	return i < l.count ? h + l.first + i : NULL;
}

const struct snap_piece *snapshot_piece(const struct snapshot *s, struct snap_list l, uint32_t i)
{
	const struct snap_piece *p = part(s, PART_PIECES);

	return i < l.count ? p + l.first + i : NULL;
}

const struct tables *snapshot_policy(const struct snapshot *s)
{
	return s->policy;
}

void snapshot_words(const struct snapshot *s, struct snapshot_words *w)
{
	*w = (struct snapshot_words){
		.mesh = snapshot_text(s, s->head->mesh),
		.host = snapshot_text(s, s->head->host),
		.login_url = snapshot_text(s, s->head->login_url),
		.source_url = snapshot_text(s, s->head->source_url),
		.contact = snapshot_text(s, s->head->contact),
		.jwks = snapshot_text(s, s->head->jwks),
		.page = snapshot_text(s, s->head->page),
	};
}

struct boot snapshot_lease(const struct snapshot *s)
{
	return (struct boot){ s->head->lease };
}

struct boot snapshot_heard(const struct snapshot *s)
{
	return (struct boot){ s->head->heard };
}

uint64_t snapshot_epoch(const struct snapshot *s)
{
	return s->head->epoch;
}

uint64_t snapshot_seq(const struct snapshot *s)
{
	return s->head->seq;
}

uint64_t snapshot_table(const struct snapshot *s)
{
	return s->head->table;
}
