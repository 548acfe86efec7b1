/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* From a compile to one flat block. */
#include "policy/compiling.h"
#include "policy/flat.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct writer {
	struct buf  *out;
	struct buf   strings;
	struct dict *seen;      /* text -> offset in strings + 1 */
};

static uint32_t align8(struct buf *b)
{
	static const char zero[8];

	buf_add(b, zero, (8 - b->len % 8) % 8);
	return (uint32_t)b->len;
}

static struct flat_list put(struct writer *w, const void *items, size_t count, size_t size)
{
	struct flat_list l = { align8(w->out), (uint32_t)count };

	if (count)
		buf_add(w->out, items, count * size);
	return l;
}

static struct flat_str str(struct writer *w, struct span s)
{
	uintptr_t at;

	if (s.len == 0)
		return (struct flat_str){ 0, 0 };
	at = (uintptr_t)dict_find(w->seen, s);
	if (!at) {
		at = w->strings.len + 1;
		dict_put(w->seen, s, (void *)at);
		buf_add_span(&w->strings, s);
	}
	return (struct flat_str){ (uint32_t)(at - 1), (uint32_t)s.len };
}

static struct flat_list strs(struct writer *w, const struct spans *s)
{
	struct flat_str *list = mem_calloc(s->count + 1, sizeof(*list));
	struct flat_list l;

	for (size_t i = 0; i < s->count; i++)
		list[i] = str(w, s->list[i]);
	l = put(w, list, s->count, sizeof(*list));
	free(list);
	return l;
}

static struct flat_str joined(struct writer *w, const struct spans *s)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, POLICY_TEXT_MAX);
	for (size_t i = 0; i < s->count; i++) {
		if (i)
			buf_add_char(&b, ' ');
		buf_add_span(&b, s->list[i]);
	}
	return str(w, buf_span(&b));
}

static struct flat_rule rule_of(struct writer *w, const struct local_rule *l)
{
	const struct rule *r = l->rule;
	struct flat_match *m = mem_calloc(r->http_count + 1, sizeof(*m));
	struct flat_rule f = { .max_age = r->auth.max_age, .stale = r->stale, .line = r->at.line, .col = r->at.col,
		.index = r->index, .text = str(w, r->text), .acr = joined(w, &r->auth.acr), .amr = joined(w, &r->auth.amr),
		.flags = (l->owner ? FLAT_OWNER : 0u) | (r->acl ? FLAT_ACL : 0u) | (r->auth.set ? FLAT_AUTH : 0u) |
		         (r->auth.mfa ? FLAT_MFA : 0u) | (r->http ? FLAT_HTTP : 0u) };

	for (size_t i = 0; i < r->http_count; i++)
		m[i] = (struct flat_match){ strs(w, &r->http[i].methods), strs(w, &r->http[i].hosts), strs(w, &r->http[i].paths) };
	f.matches = put(w, m, r->http_count, sizeof(*m));
	free(m);
	return f;
}

/* ---- the index of one list of entries, by where their paths can begin ---- */

struct anchor { uint64_t hash; struct flat_item item; };

struct anchors { struct anchor *list; size_t count, cap; };

static void anchor_add(struct anchors *a, uint64_t hash, struct flat_item item)
{
	if (a->count == a->cap) {
		a->cap = a->cap ? a->cap * 2 : 64;
		a->list = mem_realloc(a->list, a->cap, sizeof(*a->list));
	}
	a->list[a->count++] = (struct anchor){ hash, item };
}

static uint64_t hash_head(struct span s, size_t n)
{
	uint64_t h = FLAT_HASH0;

	for (size_t i = 0; i < n; i++)
		h = flat_hash(h, (unsigned char)s.ptr[i]);
	return h;
}

/* A path meets a pattern only if it begins with the pattern's whole segments
 * before the first star, or is the pattern. */
static void anchor_path(struct anchors *a, struct span p, struct flat_item item)
{
	size_t star = span_find(p, '*'), head = 0;

	if (star == p.len) {
		anchor_add(a, hash_head(p, p.len), item);
		return;
	}
	for (size_t i = 0; i < star; i++)
		if (p.ptr[i] == '/')
			head = i + 1;
	anchor_add(a, hash_head(p, head), item);
	/* The folder itself, without its slash. */
	if (star + 2 == p.len && head == star && head > 1)
		anchor_add(a, hash_head(p, head - 1), item);
}

static int cmp_anchor(const void *x, const void *y)
{
	const struct anchor *a = x, *b = y;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return (a->item.entry > b->item.entry) - (a->item.entry < b->item.entry);
}

static struct flat_list index_of(struct writer *w, const struct compile *c, const struct http_entry *e, size_t n)
{
	struct anchors a = { 0 };
	struct flat_bucket *buckets;
	struct flat_item *items;
	struct flat_list l, all;
	size_t slots = 16, distinct = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct rule *r = c->rules[e[i].rule - 1].rule;

		if (!r->http)
			anchor_add(&a, FLAT_HASH0, (struct flat_item){ i, FLAT_ANY, FLAT_ANY });
		for (uint32_t m = 0; m < r->http_count; m++) {
			if (r->http[m].paths.count == 0)
				anchor_add(&a, FLAT_HASH0, (struct flat_item){ i, m, FLAT_ANY });
			for (uint32_t p = 0; p < r->http[m].paths.count; p++)
				anchor_path(&a, r->http[m].paths.list[p], (struct flat_item){ i, m, p });
		}
	}
	qsort(a.list, a.count, sizeof(*a.list), cmp_anchor);
	items = mem_calloc(a.count + 1, sizeof(*items));
	for (size_t i = 0; i < a.count; i++) {
		items[i] = a.list[i].item;
		distinct += i == 0 || a.list[i].hash != a.list[i - 1].hash;
	}
	while (slots < distinct * 2)
		slots *= 2;
	all = put(w, items, a.count, sizeof(*items));
	buckets = mem_calloc(slots, sizeof(*buckets));
	for (size_t i = 0; i < a.count;) {
		size_t end = i, at = a.list[i].hash & (slots - 1);

		while (end < a.count && a.list[end].hash == a.list[i].hash)
			end++;
		while (buckets[at].items.count)
			at = (at + 1) & (slots - 1);
		buckets[at].hash = a.list[i].hash;
		buckets[at].items = (struct flat_list){ all.off + (uint32_t)(i * sizeof(*items)), (uint32_t)(end - i) };
		i = end;
	}
	l = put(w, buckets, slots, sizeof(*buckets));
	free(buckets);
	free(items);
	free(a.list);
	return l;
}

static struct flat_entries entries_of(struct writer *w, const struct compile *c, const struct http_entry *e, size_t n)
{
	struct flat_entry *list = mem_calloc(n + 1, sizeof(*list));
	struct flat_entries f = { 0 };

	for (size_t i = 0; i < n; i++)
		list[i] = (struct flat_entry){ .rule = e[i].rule, .ports = e[i].ports, .families = e[i].families,
			.strong = e[i].strong };
	f.entries = put(w, list, n, sizeof(*list));
	free(list);
	if (n >= FLAT_INDEX_FROM)
		f.buckets = index_of(w, c, e, n);
	return f;
}

static struct flat_list rows_of_class(struct writer *w, const struct row *rows, size_t n)
{
	struct flat_row *out = mem_calloc(n + 1, sizeof(*out));
	struct flat_list l;

	for (size_t i = 0; i < n; i++)
		out[i] = (struct flat_row){ .dest = rows[i].dest, .proto = rows[i].proto, .lo = rows[i].lo, .hi = rows[i].hi,
			.rule = rows[i].rule, .local = rows[i].local, .stale = rows[i].stale };
	l = put(w, out, n, sizeof(*out));
	free(out);
	return l;
}

static struct flat_class class_of(struct writer *w, const struct compile *c, const struct class *cl)
{
	struct flat_class f = { .live = 1 };
	struct flat_set *sets = mem_calloc(cl->http_count + 1, sizeof(*sets));
	size_t n = 0;

	f.rows = rows_of_class(w, cl->rows, cl->row_count);
	for (size_t i = 0; i < cl->http_count;) {
		size_t mid = i, end;
		uint32_t service = cl->http[i].service;

		while (mid < cl->http_count && cl->http[mid].service == service && !cl->http[mid].owner)
			mid++;
		for (end = mid; end < cl->http_count && cl->http[end].service == service;)
			end++;
		sets[n].service = service + 1;
		sets[n].by[0] = entries_of(w, c, cl->http + i, mid - i);
		sets[n].by[1] = entries_of(w, c, cl->http + mid, end - mid);
		n++;
		i = end;
	}
	f.sets = put(w, sets, n, sizeof(*sets));
	free(sets);
	f.caps = str(w, span_str(cl->caps));
	return f;
}

void compile_tables(const struct compile *c, struct buf *out)
{
	struct writer w = { .out = out, .seen = dict_new() };
	struct tables t = { .magic = FLAT_MAGIC, .has_owner = c->owner != NULL, .generation = c->generation };
	struct flat_rule *rules = mem_calloc(c->rule_count + 1, sizeof(*rules));
	struct flat_dest *dests = mem_calloc(c->dest_count + 1, sizeof(*dests));
	struct flat_service *services = mem_calloc(c->service_count + 1, sizeof(*services));
	struct flat_class *classes = mem_calloc(c->class_count + 1, sizeof(*classes));

	buf_clear(out);
	buf_init(&w.strings, TABLES_MAX);
	buf_add(out, &t, sizeof(t));
	for (size_t i = 0; i < c->rule_count; i++) {
		rules[i] = rule_of(&w, &c->rules[i]);
		for (size_t s = 0; !c->rules[i].owner && s < c->rules[i].svc_count; s++)
			if (!services[c->rules[i].svc[s].service].first_rule)
				services[c->rules[i].svc[s].service].first_rule = (uint32_t)i + 1;
	}
	t.rules = put(&w, rules, c->rule_count, sizeof(*rules));
	for (size_t i = 0; i < c->dest_count; i++)
		dests[i] = (struct flat_dest){ .lo = { (uint64_t)(c->dests[i].lo >> 64), (uint64_t)c->dests[i].lo },
			.hi = { (uint64_t)(c->dests[i].hi >> 64), (uint64_t)c->dests[i].hi }, .id = c->dests[i].id,
			.family = c->dests[i].family, .local = c->dests[i].local };
	t.dests = put(&w, dests, c->dest_count, sizeof(*dests));
	for (size_t i = 0; i < c->service_count; i++) {
		services[i].name = str(&w, c->services[i].name);
		services[i].ports = put(&w, c->services[i].ports, c->services[i].port_count, sizeof(uint16_t));
	}
	t.services = put(&w, services, c->service_count, sizeof(*services));
	for (size_t i = CLASS_FIRST; i < c->class_count; i++)
		if (c->classes[i].id)
			classes[i] = class_of(&w, c, &c->classes[i]);
	t.classes = put(&w, classes, c->class_count, sizeof(*classes));
	t.login = rows_of_class(&w, c->login_rows, c->login_row_count);
	t.strings = (struct flat_str){ align8(out), (uint32_t)w.strings.len };
	buf_add_span(out, buf_span(&w.strings));
	align8(out);
	t.size = (uint32_t)out->len;
	/* Too large for 32-bit offsets: nothing, which denies, rather than a part. */
	if (out->over || w.strings.over || out->len > TABLES_MAX)
		buf_clear(out);
	else
		memcpy(out->ptr, &t, sizeof(t));
	dict_free(w.seen);
	buf_done(&w.strings);
	free(rules);
	free(dests);
	free(services);
	free(classes);
}
