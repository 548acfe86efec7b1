/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "policy/ipset.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

ipnum ip_num(const struct ip *ip)
{
	ipnum n = 0;

	for (size_t i = 0, len = ip_len(ip); i < len; i++)
		n = (n << 8) | ip->b[i];
	return n;
}

struct ip ip_of_num(ipnum n, uint8_t family)
{
	struct ip ip = { .family = family };
	size_t len = ip_len(&ip);

	for (size_t i = 0; i < len; i++) {
		ip.b[len - 1 - i] = (uint8_t)n;
		n >>= 8;
	}
	return ip;
}

static ipnum family_max(uint8_t family)
{
	return family == IP_V4 ? (ipnum)UINT32_MAX : ~(ipnum)0;
}

static struct ip_range prefix_range(const struct prefix *p)
{
	unsigned width = p->ip.family == IP_V4 ? 32 : 128;
	ipnum lo = ip_num(&p->ip), span;

	if (p->bits == 0)
		return (struct ip_range){ 0, family_max(p->ip.family) };
	span = p->bits >= width ? 0 : (((ipnum)1 << (width - p->bits)) - 1);
	return (struct ip_range){ lo & ~span, lo | span };
}

void ipset_done(struct ipset *s)
{
	free(s->v4.list);
	free(s->v6.list);
	memset(s, 0, sizeof(*s));
}

static void push(struct ip_ranges *r, ipnum lo, ipnum hi)
{
	if (r->count && r->list[r->count - 1].hi != ~(ipnum)0 && r->list[r->count - 1].hi + 1 >= lo) {
		if (hi > r->list[r->count - 1].hi)
			r->list[r->count - 1].hi = hi;
		return;
	}
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 4;
		r->list = mem_realloc(r->list, r->cap, sizeof(*r->list));
	}
	r->list[r->count++] = (struct ip_range){ lo, hi };
}

/* The number of ranges that end before lo: where lo would go. */
static size_t lower(const struct ip_ranges *r, ipnum lo)
{
	size_t a = 0, b = r->count;

	while (a < b) {
		size_t m = a + (b - a) / 2;

		if (r->list[m].hi < lo)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

static void ranges_add(struct ip_ranges *r, struct ip_range add)
{
	struct ip_ranges out = { 0 };
	size_t i = 0;

	if (!r->count || r->list[r->count - 1].hi < add.lo) {
		push(r, add.lo, add.hi);
		return;
	}
	while (i < r->count && r->list[i].lo <= add.lo) {
		push(&out, r->list[i].lo, r->list[i].hi);
		i++;
	}
	push(&out, add.lo, add.hi);
	for (; i < r->count; i++)
		push(&out, r->list[i].lo, r->list[i].hi);
	free(r->list);
	*r = out;
}

static void ranges_remove(struct ip_ranges *r, struct ip_range cut)
{
	struct ip_ranges out = { 0 };

	for (size_t i = 0; i < r->count; i++) {
		struct ip_range x = r->list[i];

		if (x.hi < cut.lo || x.lo > cut.hi) {
			push(&out, x.lo, x.hi);
			continue;
		}
		if (x.lo < cut.lo)
			push(&out, x.lo, cut.lo - 1);
		if (x.hi > cut.hi)
			push(&out, cut.hi + 1, x.hi);
	}
	free(r->list);
	*r = out;
}

static struct ip_ranges *family_of(struct ipset *s, uint8_t family)
{
	return family == IP_V4 ? &s->v4 : &s->v6;
}

void ipset_add(struct ipset *s, const struct prefix *p)
{
	if (p->ip.family != IP_NONE)
		ranges_add(family_of(s, p->ip.family), prefix_range(p));
}

void ipset_remove(struct ipset *s, const struct prefix *p)
{
	if (p->ip.family != IP_NONE)
		ranges_remove(family_of(s, p->ip.family), prefix_range(p));
}

void ipset_add_set(struct ipset *s, const struct ipset *o)
{
	for (size_t i = 0; i < o->v4.count; i++)
		ranges_add(&s->v4, o->v4.list[i]);
	for (size_t i = 0; i < o->v6.count; i++)
		ranges_add(&s->v6, o->v6.list[i]);
}

void ipset_remove_set(struct ipset *s, const struct ipset *o)
{
	for (size_t i = 0; i < o->v4.count; i++)
		ranges_remove(&s->v4, o->v4.list[i]);
	for (size_t i = 0; i < o->v6.count; i++)
		ranges_remove(&s->v6, o->v6.list[i]);
}

void ipset_copy(struct ipset *s, const struct ipset *o)
{
	struct ipset out = { 0 };

	ipset_add_set(&out, o);
	ipset_done(s);
	*s = out;
}

static void ranges_intersect(const struct ip_ranges *a, const struct ip_ranges *b, struct ip_ranges *out)
{
	size_t i = 0, j = 0;

	while (i < a->count && j < b->count) {
		ipnum lo = a->list[i].lo > b->list[j].lo ? a->list[i].lo : b->list[j].lo;
		ipnum hi = a->list[i].hi < b->list[j].hi ? a->list[i].hi : b->list[j].hi;

		if (lo <= hi)
			push(out, lo, hi);
		if (a->list[i].hi < b->list[j].hi)
			i++;
		else
			j++;
	}
}

void ipset_intersect(const struct ipset *a, const struct ipset *b, struct ipset *ret_s)
{
	struct ipset out = { 0 };

	ranges_intersect(&a->v4, &b->v4, &out.v4);
	ranges_intersect(&a->v6, &b->v6, &out.v6);
	ipset_done(ret_s);
	*ret_s = out;
}

bool ipset_has(const struct ipset *s, const struct ip *ip)
{
	const struct ip_ranges *r = ip->family == IP_V4 ? &s->v4 : &s->v6;
	ipnum n;
	size_t i;

	if (ip->family == IP_NONE)
		return false;
	n = ip_num(ip);
	i = lower(r, n);
	return i < r->count && r->list[i].lo <= n;
}

static bool ranges_overlap(const struct ip_ranges *a, const struct ip_ranges *b)
{
	size_t i = 0, j = 0;

	while (i < a->count && j < b->count) {
		if (a->list[i].hi < b->list[j].lo)
			i++;
		else if (b->list[j].hi < a->list[i].lo)
			j++;
		else
			return true;
	}
	return false;
}

bool ipset_overlaps(const struct ipset *a, const struct ipset *b)
{
	return ranges_overlap(&a->v4, &b->v4) || ranges_overlap(&a->v6, &b->v6);
}

bool ipset_overlaps_prefix(const struct ipset *s, const struct prefix *p)
{
	const struct ip_ranges *r = p->ip.family == IP_V4 ? &s->v4 : &s->v6;
	struct ip_range x;
	size_t i;

	if (p->ip.family == IP_NONE)
		return false;
	x = prefix_range(p);
	i = lower(r, x.lo);
	return i < r->count && r->list[i].lo <= x.hi;
}

static bool ranges_cover(const struct ip_ranges *outer, const struct ip_ranges *inner)
{
	for (size_t i = 0; i < inner->count; i++) {
		size_t k = lower(outer, inner->list[i].lo);

		if (k >= outer->count || outer->list[k].lo > inner->list[i].lo ||
		    outer->list[k].hi < inner->list[i].hi)
			return false;
	}
	return true;
}

bool ipset_covers(const struct ipset *outer, const struct ipset *inner)
{
	return ranges_cover(&outer->v4, &inner->v4) && ranges_cover(&outer->v6, &inner->v6);
}

bool ipset_empty(const struct ipset *s)
{
	return s->v4.count == 0 && s->v6.count == 0;
}

static void range_prefixes(struct ip_range r, uint8_t family, ipset_prefix_fn *fn, void *arg)
{
	unsigned width = family == IP_V4 ? 32 : 128;
	ipnum lo = r.lo;

	for (;;) {
		unsigned host = 0;
		struct prefix p;
		ipnum last;

		/* The largest aligned block that starts at lo and ends inside. */
		while (host < width) {
			ipnum size = host + 1 >= 128 ? 0 : (ipnum)1 << (host + 1);

			if (size == 0 ? lo != 0 : (lo & (size - 1)) != 0)
				break;
			if (size == 0 ? r.hi != ~(ipnum)0 : (r.hi - lo) < size - 1)
				break;
			host++;
		}
		p = (struct prefix){ .ip = ip_of_num(lo, family), .bits = (uint8_t)(width - host) };
		fn(arg, &p);
		last = host >= 128 ? ~(ipnum)0 : lo + (((ipnum)1 << host) - 1);
		if (last >= r.hi)
			return;
		lo = last + 1;
	}
}

void ipset_prefixes(const struct ipset *s, ipset_prefix_fn *fn, void *arg)
{
	for (size_t i = 0; i < s->v4.count; i++)
		range_prefixes(s->v4.list[i], IP_V4, fn, arg);
	for (size_t i = 0; i < s->v6.count; i++)
		range_prefixes(s->v6.list[i], IP_V6, fn, arg);
}

/* Public addresses: IPv4 without RFC 1918, RFC 6598 and RFC 3927; of IPv6 the
 * global unicast block, which holds neither ULA nor link-local ones. */
void ipset_internet(struct ipset *s)
{
	static const char *const gone[] = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
		"100.64.0.0/10", "169.254.0.0/16" };
	struct prefix p;

	if (prefix_parse(SPAN("0.0.0.0/0"), &p))
		ipset_add(s, &p);
	if (prefix_parse(SPAN("2000::/3"), &p))
		ipset_add(s, &p);
	for (size_t i = 0; i < array_size(gone); i++)
		if (prefix_parse(span_str(gone[i]), &p))
			ipset_remove(s, &p);
}
