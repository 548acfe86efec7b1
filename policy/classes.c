/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Classes: keys shared by all who have the same, and what follows from a key. */
#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct item { uint32_t dest; uint8_t proto; uint16_t lo, hi; uint32_t rule; int64_t stale; };

struct items { struct item *list; size_t count, cap; };

struct rows { struct row *list; size_t count, cap; };

static void item_add(struct items *s, struct item v)
{
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->list = mem_realloc(s->list, s->cap, sizeof(*s->list));
	}
	s->list[s->count++] = v;
}

static void row_add(struct rows *s, struct row v)
{
	struct row *last = s->count ? &s->list[s->count - 1] : NULL;

	if (last && last->dest == v.dest && last->proto == v.proto && last->stale == v.stale &&
	    last->rule == v.rule && last->local == v.local && (uint32_t)last->hi + 1 == v.lo) {
		last->hi = v.hi;
		return;
	}
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->list = mem_realloc(s->list, s->cap, sizeof(*s->list));
	}
	s->list[s->count++] = v;
}

/* By dest and protocol, then the longest lasting first. */
static int cmp_item(const void *x, const void *y)
{
	const struct item *a = x, *b = y;

	if (a->dest != b->dest)
		return a->dest < b->dest ? -1 : 1;
	if (a->proto != b->proto)
		return a->proto < b->proto ? -1 : 1;
	if (a->stale != b->stale)
		return a->stale > b->stale ? -1 : 1;
	if (a->lo != b->lo)
		return a->lo < b->lo ? -1 : 1;
	if (a->hi != b->hi)
		return a->hi < b->hi ? -1 : 1;
	return (a->rule > b->rule) - (a->rule < b->rule);
}

static int cmp_row(const void *x, const void *y)
{
	const struct row *a = x, *b = y;

	if (a->dest != b->dest)
		return a->dest < b->dest ? -1 : 1;
	if (a->proto != b->proto)
		return a->proto < b->proto ? -1 : 1;
	return (a->lo > b->lo) - (a->lo < b->lo);
}

/* What of [lo, hi] no earlier row of the group covers, row by row. done is
 * sorted by lo and disjoint. */
static void add_uncovered(struct rows *out, struct item v, const struct rows *done)
{
	uint32_t lo = v.lo;

	for (size_t i = 0; i < done->count && lo <= v.hi; i++) {
		const struct row *d = &done->list[i];

		if (d->hi < lo)
			continue;
		if (d->lo > v.hi)
			break;
		if (d->lo > lo)
			row_add(out, (struct row){ v.dest, v.proto, (uint16_t)lo, (uint16_t)(d->lo - 1), v.rule, 0, v.stale });
		lo = (uint32_t)d->hi + 1;
	}
	if (lo <= v.hi)
		row_add(out, (struct row){ v.dest, v.proto, (uint16_t)lo, v.hi, v.rule, 0, v.stale });
}

/* Disjoint rows from overlapping items: where several hold, the longest
 * lasting counts. One level of stale after the other, each only where the
 * longer lasting ones left room. */
static void rows_of(struct items *s, struct rows *out)
{
	struct rows covered = { 0 };

	if (s->count)
		qsort(s->list, s->count, sizeof(*s->list), cmp_item);
	for (size_t i = 0; i < s->count;) {
		size_t end = i, group = out->count;

		covered.count = 0;
		while (end < s->count && s->list[end].dest == s->list[i].dest && s->list[end].proto == s->list[i].proto) {
			size_t level = end;
			uint32_t next = 0;

			/* One level: merge neighbours and overlaps while walking. */
			while (level < s->count && s->list[level].dest == s->list[i].dest &&
			       s->list[level].proto == s->list[i].proto && s->list[level].stale == s->list[end].stale) {
				struct item v = s->list[level++];

				if (next > v.hi)
					continue;
				if (v.lo < next)
					v.lo = (uint16_t)next;
				next = (uint32_t)v.hi + 1;
				add_uncovered(out, v, &covered);
			}
			end = level;
			if (end < s->count && s->list[end].dest == s->list[i].dest && s->list[end].proto == s->list[i].proto) {
				covered.count = 0;
				for (size_t k = group; k < out->count; k++) {
					if (covered.count == covered.cap) {
						covered.cap = covered.cap ? covered.cap * 2 : 16;
						covered.list = mem_realloc(covered.list, covered.cap, sizeof(*covered.list));
					}
					covered.list[covered.count++] = out->list[k];
				}
				qsort(covered.list, covered.count, sizeof(*covered.list), cmp_row);
			}
		}
		if (out->count > group)
			qsort(out->list + group, out->count - group, sizeof(*out->list), cmp_row);
		i = end;
	}
	free(covered.list);
}

static void rows_intersect(const struct rows *a, const struct rows *b, struct rows *out)
{
	size_t i = 0, k = 0;

	while (i < a->count && k < b->count) {
		const struct row *x = &a->list[i], *y = &b->list[k];

		if (x->dest != y->dest ? x->dest < y->dest : x->proto < y->proto) {
			i++;
			continue;
		}
		if (x->dest != y->dest || x->proto != y->proto) {
			k++;
			continue;
		}
		{
			uint16_t lo = x->lo > y->lo ? x->lo : y->lo, hi = x->hi < y->hi ? x->hi : y->hi;

			if (lo <= hi)
				row_add(out, (struct row){ x->dest, x->proto, lo, hi, x->rule, y->rule,
				        x->stale < y->stale ? x->stale : y->stale });
		}
		if (x->hi < y->hi)
			i++;
		else
			k++;
	}
}

/* The ports of a cover that lead to fronted services open whatever the login
 * is like: the front denies, says why, and offers to step up. */
static void add_front_ports(const struct compile *c, struct items *s, const struct cover *v, uint32_t rule,
                            int64_t stale)
{
	for (size_t i = 0; v->proto == 6 && v->local && i < c->front_port_count; i++)
		if (v->lo <= c->front_ports[i] && c->front_ports[i] <= v->hi)
			item_add(s, (struct item){ v->dest, 6, c->front_ports[i], c->front_ports[i], rule, stale });
}

static void class_rows(const struct compile *c, struct class *cl)
{
	struct items items[2] = { { 0 } };
	struct rows rows[2] = { { 0 } }, both = { 0 };

	for (size_t i = 0; i < cl->key_count; i++) {
		const struct local_rule *l = &c->rules[cl->key[i] >> 2];
		enum rule_state st = cl->key[i] & 3;
		struct items *s = &items[l->owner];

		for (size_t k = 0; k < l->cover_count; k++) {
			const struct cover *v = &l->covers[k];

			if (st == STATE_HOLDS)
				item_add(s, (struct item){ v->dest, v->proto, v->lo, v->hi, (cl->key[i] >> 2) + 1,
				         l->rule->stale });
			else
				add_front_ports(c, s, v, (cl->key[i] >> 2) + 1, l->rule->stale);
		}
	}
	rows_of(&items[0], &rows[0]);
	if (c->owner) {
		rows_of(&items[1], &rows[1]);
		rows_intersect(&rows[0], &rows[1], &both);
		swap(rows[0], both);
	}
	cl->rows = rows[0].list;
	cl->row_count = rows[0].count;
	cl->stale = INT64_MAX;
	for (size_t i = 0; i < cl->row_count; i++)
		if (cl->rows[i].stale < cl->stale)
			cl->stale = cl->rows[i].stale;
	free(both.list);
	free(rows[1].list);
	free(items[0].list);
	free(items[1].list);
}

void login_rows(struct compile *c)
{
	struct items items = { 0 };
	struct rows rows = { 0 };

	for (size_t d = 0; c->opt.login_class && d < c->dest_count; d++)
		if (c->dests[d].local)
			for (size_t i = 0; i < c->front_port_count; i++)
				item_add(&items, (struct item){ c->dests[d].id, 6, c->front_ports[i], c->front_ports[i],
				         0, INT64_MAX });
	rows_of(&items, &rows);
	free(items.list);
	free(c->login_rows);
	c->login_rows = rows.list;
	c->login_row_count = rows.count;
}

static int cmp_http(const void *x, const void *y)
{
	const struct http_entry *a = x, *b = y;

	if (a->service != b->service)
		return a->service < b->service ? -1 : 1;
	if (a->owner != b->owner)
		return a->owner ? 1 : -1;
	/* What demands least first: the common request is allowed by the first look. */
	if (a->strong != b->strong)
		return a->strong ? -1 : 1;
	if (a->rule != b->rule)
		return a->rule < b->rule ? -1 : 1;
	if (a->families != b->families)
		return a->families < b->families ? -1 : 1;
	return (a->ports > b->ports) - (a->ports < b->ports);
}

static void class_http(const struct compile *c, struct class *cl)
{
	size_t n = 0, k = 0;

	for (size_t i = 0; i < cl->key_count; i++)
		n += c->rules[cl->key[i] >> 2].svc_count;
	cl->http = n ? mem_calloc(n, sizeof(*cl->http)) : NULL;
	for (size_t i = 0; i < cl->key_count; i++) {
		const struct local_rule *l = &c->rules[cl->key[i] >> 2];

		for (size_t s = 0; s < l->svc_count; s++)
			cl->http[k++] = (struct http_entry){ .service = l->svc[s].service, .rule = (cl->key[i] >> 2) + 1,
				.ports = l->svc[s].ports, .families = l->svc[s].families,
				.strong = (cl->key[i] & 3) != STATE_WEAK, .owner = l->owner };
	}
	if (n)
		qsort(cl->http, n, sizeof(*cl->http), cmp_http);
	cl->http_count = n;
}

static int cmp_cap(const void *x, const void *y)
{
	const struct cap *const *a = x, *const *b = y;

	return span_cmp((*a)->name, (*b)->name);
}

/* {"cap": [what every matching rule says]}; an owner's file cannot add any,
 * and where it does not name the caller at all, it takes them all. */
static void class_caps(const struct compile *c, struct class *cl)
{
	const struct cap **list;
	size_t n = 0, k = 0;
	bool owner_agrees = c->owner == NULL;
	struct buf b;

	for (size_t i = 0; i < cl->key_count; i++) {
		const struct local_rule *l = &c->rules[cl->key[i] >> 2];

		owner_agrees |= l->owner && (cl->key[i] & 3) == STATE_HOLDS;
		n += l->rule->cap_count;
	}
	if (!n || !owner_agrees)
		return;
	list = mem_calloc(n, sizeof(*list));
	for (size_t i = 0; i < cl->key_count; i++) {
		const struct local_rule *l = &c->rules[cl->key[i] >> 2];

		if (!l->owner && l->names_host && (cl->key[i] & 3) == STATE_HOLDS)
			for (size_t a = 0; a < l->rule->cap_count; a++)
				list[k++] = &l->rule->caps[a];
	}
	if (k)
		qsort(list, k, sizeof(*list), cmp_cap);
	buf_init(&b, POLICY_TEXT_MAX);
	buf_add_char(&b, '{');
	for (size_t i = 0; i < k;) {
		size_t end = i;
		bool some = false;

		if (i)
			buf_add_char(&b, ',');
		buf_add_json(&b, list[i]->name);
		buf_add_str(&b, ":[");
		for (; end < k && span_eq(list[end]->name, list[i]->name); end++) {
			struct span inner = span_of(list[end]->json.ptr + 1, list[end]->json.len - 2);

			if (inner.len == 0)
				continue;
			if (some)
				buf_add_char(&b, ',');
			buf_add_span(&b, inner);
			some = true;
		}
		buf_add_char(&b, ']');
		i = end;
	}
	buf_add_char(&b, '}');
	free(list);
	cl->caps = k ? buf_take(&b) : NULL;
	buf_done(&b);
}

/* ---- the table of keys ---- */

static uint64_t key_hash(const struct u32s *k)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < k->count; i++) {
		h ^= k->list[i];
		h *= UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h;
}

static void rehash(struct compile *c)
{
	size_t n = c->bucket_count ? c->bucket_count * 2 : 64;

	free(c->buckets);
	c->buckets = mem_calloc(n, sizeof(*c->buckets));
	c->bucket_count = n;
	for (size_t i = CLASS_FIRST; i < c->class_count; i++)
		if (c->classes[i].id) {
			uint32_t *b = &c->buckets[c->classes[i].hash & (n - 1)];

			c->classes[i].next = *b;
			*b = (uint32_t)i;
		}
}

bool row_alike(const struct row *a, const struct row *b)
{
	return a->dest == b->dest && a->proto == b->proto && a->lo == b->lo && a->hi == b->hi && a->stale == b->stale;
}

uint64_t rows_hash(const struct row *rows, size_t n)
{
	uint64_t h = n;

	for (size_t i = 0; i < n; i++) {
		h ^= (uint64_t)rows[i].dest << 40 | (uint64_t)rows[i].proto << 32 | (uint64_t)rows[i].lo << 16 | rows[i].hi;
		h *= UINT64_C(0x9e3779b97f4a7c15);
		h ^= (uint64_t)rows[i].stale;
		h ^= h >> 29;
	}
	return h;
}

/* The id of a class that meant the same to the packet filter before all was
 * compiled anew, or 0. */
static uint32_t id_again(struct compile *c, const struct class *cl)
{
	uint64_t hash = rows_hash(cl->rows, cl->row_count);
	size_t a = 0, b = c->old_count;

	while (a < b) {
		size_t m = a + (b - a) / 2;

		if (c->old[m].hash < hash)
			a = m + 1;
		else
			b = m;
	}
	for (; a < c->old_count && c->old[a].hash == hash; a++) {
		struct old_class *o = &c->old[a];
		bool same = !o->taken && o->row_count == cl->row_count;

		for (size_t i = 0; same && i < cl->row_count; i++)
			same = row_alike(&o->rows[i], &cl->rows[i]);
		if (same) {
			o->taken = true;
			return o->id;
		}
	}
	return 0;
}

static uint32_t id_new(struct compile *c)
{
	if (c->free_ids.count)
		return c->free_ids.list[--c->free_ids.count];
	if (c->class_count < CLASS_FIRST)
		c->class_count = CLASS_FIRST;
	if (c->class_count >= c->class_cap) {
		size_t cap = c->class_cap ? c->class_cap * 2 : 64;

		c->classes = mem_realloc(c->classes, cap, sizeof(*c->classes));
		memset(c->classes + c->class_cap, 0, (cap - c->class_cap) * sizeof(*c->classes));
		c->class_cap = cap;
	}
	return (uint32_t)c->class_count++;
}

uint32_t class_take(struct compile *c, const struct u32s *key)
{
	uint64_t hash = key_hash(key);
	struct class *cl, made;
	uint32_t id;

	if (c->live >= c->bucket_count)
		rehash(c);
	for (id = c->buckets[hash & (c->bucket_count - 1)]; id; id = c->classes[id].next) {
		cl = &c->classes[id];
		if (cl->hash == hash && cl->key_count == key->count &&
		    (key->count == 0 || memcmp(cl->key, key->list, key->count * sizeof(*key->list)) == 0)) {
			cl->refs++;
			return id;
		}
	}
	memset(&made, 0, sizeof(made));
	made.key = key->count ? mem_dup(key->list, key->count * sizeof(*key->list)) : NULL;
	made.key_count = key->count;
	made.hash = hash;
	made.refs = 1;
	class_rows(c, &made);
	class_http(c, &made);
	class_caps(c, &made);
	id = id_again(c, &made);
	if (!id) {
		id = id_new(c);
		u32s_add(&c->fresh, id);
	}
	cl = &c->classes[id];
	*cl = made;
	cl->id = id;
	cl->next = c->buckets[hash & (c->bucket_count - 1)];
	c->buckets[hash & (c->bucket_count - 1)] = id;
	c->live++;
	c->generation++;
	return id;
}

static void class_clear(struct class *cl)
{
	free(cl->key);
	free(cl->rows);
	free(cl->http);
	free(cl->caps);
	memset(cl, 0, sizeof(*cl));
}

void class_drop(struct compile *c, uint32_t id)
{
	struct class *cl;
	uint32_t *at;

	if (id < CLASS_FIRST)
		return;
	cl = &c->classes[id];
	if (--cl->refs)
		return;
	for (at = &c->buckets[cl->hash & (c->bucket_count - 1)]; *at != id; at = &c->classes[*at].next)
		;
	*at = cl->next;
	class_clear(cl);
	c->live--;
	c->generation++;
	/* Nobody heard of it yet: nobody need hear that it is gone. */
	for (size_t i = c->fresh.count; i > 0; i--)
		if (c->fresh.list[i - 1] == id) {
			c->fresh.list[i - 1] = c->fresh.list[--c->fresh.count];
			u32s_add(&c->free_ids, id);
			return;
		}
	u32s_add(&c->gone, id);
}

static int cmp_key(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return (a > b) - (a < b);
}

void classes_renumber(struct compile *c, const uint32_t *map)
{
	if (c->bucket_count)
		memset(c->buckets, 0, c->bucket_count * sizeof(*c->buckets));
	for (size_t i = CLASS_FIRST; i < c->class_count; i++) {
		struct class *cl = &c->classes[i];
		bool gone = false;
		struct u32s key;

		if (!cl->id)
			continue;
		for (size_t k = 0; k < cl->key_count; k++) {
			uint32_t to = map[cl->key[k] >> 2];

			gone |= to == UINT32_MAX;
			/* A key that no rule can have: nobody is put in this class again. */
			cl->key[k] = to == UINT32_MAX ? UINT32_MAX : to << 2 | (cl->key[k] & 3);
		}
		if (cl->key_count)
			qsort(cl->key, cl->key_count, sizeof(*cl->key), cmp_key);
		key = (struct u32s){ cl->key, cl->key_count, cl->key_count };
		cl->hash = key_hash(&key);
		if (c->bucket_count) {
			uint32_t *b = &c->buckets[cl->hash & (c->bucket_count - 1)];

			cl->next = *b;
			*b = (uint32_t)i;
		}
		if (gone)
			continue;
		free(cl->rows);
		free(cl->http);
		free(cl->caps);
		cl->rows = NULL;
		cl->http = NULL;
		cl->caps = NULL;
		class_rows(c, cl);
		class_http(c, cl);
		class_caps(c, cl);
	}
	c->generation++;
}

bool classes_clean(const struct compile *c)
{
	for (size_t i = CLASS_FIRST; i < c->class_count; i++)
		if (c->classes[i].id && c->classes[i].key_count &&
		    c->classes[i].key[c->classes[i].key_count - 1] == UINT32_MAX)
			return false;
	return true;
}

const struct class *class_get(const struct compile *c, uint32_t id)
{
	return id >= CLASS_FIRST && id < c->class_count && c->classes[id].id ? &c->classes[id] : NULL;
}

void classes_done(struct compile *c)
{
	for (size_t i = CLASS_FIRST; i < c->class_count; i++)
		class_clear(&c->classes[i]);
	free(c->classes);
	free(c->buckets);
	c->classes = NULL;
	c->buckets = NULL;
	c->class_count = c->class_cap = c->bucket_count = c->live = 0;
}
