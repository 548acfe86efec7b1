/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/ranges.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

bool proto_has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE ||
	       proto == IPPROTO_SCTP || proto == IPPROTO_DCCP;
}

struct range range_of(const struct prefix *p)
{
	struct range r = { p->ip, p->ip };
	size_t len = ip_len(&p->ip);

	for (size_t i = p->bits; i < len * 8; i++) {
		r.lo.b[i / 8] &= (uint8_t)~(0x80 >> i % 8);
		r.hi.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
	}
	return r;
}

/* The address behind ip; false behind the last one. */
static bool ip_after(struct ip *ip)
{
	for (size_t i = ip_len(ip); i-- > 0;)
		if (++ip->b[i] != 0)
			return true;
	return false;
}

static void ip_before(struct ip *ip)
{
	for (size_t i = ip_len(ip); i-- > 0;)
		if (ip->b[i]-- != 0)
			return;
}

static int ip_order(const void *a, const void *b)
{
	const struct ip *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	return memcmp(x->b, y->b, sizeof(x->b));
}

/* Where any of the ranges begins or has just ended, each once, ascending. */
static size_t edges_of(const struct range *ranges, size_t n, struct ip *edges)
{
	size_t k = 0, kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct ip end = ranges[i].hi;

		edges[k++] = ranges[i].lo;
		if (ip_after(&end))
			edges[k++] = end;
	}
	qsort(edges, k, sizeof(*edges), ip_order);
	for (size_t i = 0; i < k; i++)
		if (kept == 0 || ip_order(&edges[kept - 1], &edges[i]) != 0)
			edges[kept++] = edges[i];
	return kept;
}

/* The piece from edges[i] to just before the next edge, or to the family's last address. */
static struct range piece_at(const struct ip *edges, size_t n, size_t i)
{
	struct range r = { edges[i], edges[i] };

	if (i + 1 < n && edges[i + 1].family == edges[i].family) {
		r.hi = edges[i + 1];
		ip_before(&r.hi);
	} else {
		memset(r.hi.b, 0xff, ip_len(&r.hi));
	}
	return r;
}

static bool range_has(const struct range *r, const struct ip *ip)
{
	return r->lo.family == ip->family && ip_order(&r->lo, ip) <= 0 && ip_order(ip, &r->hi) <= 0;
}

static bool follows(const struct range *a, const struct range *b)
{
	struct ip next = a->hi;

	return a->hi.family == b->lo.family && ip_after(&next) && ip_order(&next, &b->lo) == 0;
}

static int ports_order(const void *a, const void *b)
{
	const struct box *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	if (x->proto != y->proto)
		return x->proto < y->proto ? -1 : 1;
	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/*
 * Joins what overlaps or touches among boxes of the same destination, in
 * place; returns how many are left. A class that may send every protocol has
 * that one box: FILTER_PROTO_ANY sorts first.
 */
static size_t join_ports(struct box *boxes, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!proto_has_ports(boxes[i].proto)) {
			boxes[i].lo = 0;
			boxes[i].hi = UINT16_MAX;
		}
	qsort(boxes, n, sizeof(*boxes), ports_order);
	for (size_t i = 0; i < n; i++) {
		struct box *last = kept > 0 ? &boxes[kept - 1] : NULL;

		if (last && last->class == boxes[i].class) {
			if (last->proto == FILTER_PROTO_ANY)
				continue;
			if (last->proto == boxes[i].proto && boxes[i].lo <= last->hi + 1) {
				if (boxes[i].hi > last->hi)
					last->hi = boxes[i].hi;
				continue;
			}
		}
		boxes[kept++] = boxes[i];
	}
	return kept;
}

static bool row_ok(uint32_t class, uint16_t lo, uint16_t hi, struct err *err)
{
	if (class == 0)
		return err_set(err, ERR_CONFIG, "a row for class 0, which is none");
	if (lo > hi)
		return err_set(err, ERR_CONFIG, "ports %u to %u", lo, hi);
	return true;
}

static bool too_many(size_t n, size_t max, const char *what, struct err *err)
{
	if (n <= max)
		return false;
	err_set(err, ERR_LIMIT, "%zu %s, at most %zu", n, what, max);
	return true;
}

bool boxes_of_rows(const struct filter_row *rows, size_t n, struct box **ret_boxes, size_t *ret_n,
		   struct err *err)
{
	scoped_free struct box *boxes = NULL;

	if (too_many(n, FILTER_ROWS_MAX, "rows of the packet filter", err))
		return false;
	boxes = mem_calloc(n ? n : 1, sizeof(*boxes));
	for (size_t i = 0; i < n; i++) {
		if (!row_ok(rows[i].class, rows[i].lo, rows[i].hi, err))
			return false;
		boxes[i] = (struct box){ .class = rows[i].class, .proto = rows[i].proto,
					 .lo = rows[i].lo, .hi = rows[i].hi };
	}
	n = join_ports(boxes, n);
	if (too_many(n, FILTER_INTERVALS_MAX, "intervals of the packet filter", err))
		return false;
	*ret_n = n;
	*ret_boxes = take(boxes);
	return true;
}

static int forward_order(const void *a, const void *b)
{
	const struct filter_forward *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	return prefix_cmp(&x->to, &y->to);
}

struct boxes {
	struct box *list;
	size_t      n, cap;
};

static void boxes_add(struct boxes *b, const struct box *box)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 64;
		b->list = mem_realloc(b->list, b->cap, sizeof(*b->list));
	}
	b->list[b->n++] = *box;
}

static bool same_ports(const struct box *a, const struct box *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i].proto != b[i].proto || a[i].lo != b[i].lo || a[i].hi != b[i].hi)
			return false;
	return true;
}

/* The rows of one class: for each piece between two edges the ports that any
 * of its rows opens; a piece that continues the one before widens it. */
static bool class_boxes(const struct filter_forward *rows, size_t n, struct boxes *out,
			struct err *err)
{
	scoped_free struct range *ranges = mem_calloc(n, sizeof(*ranges));
	scoped_free struct ip *edges = mem_calloc(2 * n, sizeof(*edges));
	scoped_free struct box *here = mem_calloc(n, sizeof(*here));
	size_t edges_n, last = 0, last_n = 0;

	for (size_t i = 0; i < n; i++)
		ranges[i] = range_of(&rows[i].to);
	edges_n = edges_of(ranges, n, edges);
	for (size_t e = 0; e < edges_n; e++) {
		struct range piece = piece_at(edges, edges_n, e);
		size_t k = 0;

		for (size_t i = 0; i < n; i++)
			if (range_has(&ranges[i], &piece.lo))
				here[k++] = (struct box){ .class = rows[i].class,
							  .proto = rows[i].proto,
							  .lo = rows[i].lo, .hi = rows[i].hi,
							  .to = piece };
		k = join_ports(here, k);
		if (k > 0 && k == last_n && follows(&out->list[last].to, &piece) &&
		    same_ports(&out->list[last], here, k)) {
			for (size_t i = 0; i < k; i++)
				out->list[last + i].to.hi = piece.hi;
			continue;
		}
		last = out->n;
		last_n = k;
		for (size_t i = 0; i < k; i++)
			boxes_add(out, &here[i]);
		if (too_many(out->n, FILTER_INTERVALS_MAX, "intervals of the packet filter", err))
			return false;
	}
	return true;
}

bool boxes_of_forward(const struct filter_forward *rows, size_t n, struct box **ret_boxes,
		      size_t *ret_n, struct err *err)
{
	scoped_free struct filter_forward *sorted = NULL;
	struct boxes out = { 0 };

	if (too_many(n, FILTER_FORWARD_MAX, "forwarding rows of the packet filter", err))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!row_ok(rows[i].class, rows[i].lo, rows[i].hi, err))
			return false;
		if (rows[i].to.ip.family == IP_NONE)
			return err_set(err, ERR_CONFIG, "a forwarding row without a destination");
	}
	sorted = mem_dup(rows ? (const void *)rows : "", n * sizeof(*rows));
	qsort(sorted, n, sizeof(*sorted), forward_order);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && sorted[end].class == sorted[i].class;)
			end++;
		if (!class_boxes(sorted + i, end - i, &out, err)) {
			free(out.list);
			return false;
		}
	}
	*ret_boxes = out.list;
	*ret_n = out.n;
	return true;
}

bool ranges_of_via(const struct filter_via *via, size_t n, const struct prefix *own, size_t own_n,
		   struct timed_range **ret_ranges, size_t *ret_n, struct err *err)
{
	scoped_free struct range *ranges = NULL;
	scoped_free struct ip *edges = NULL;
	struct timed_range *out;
	size_t edges_n, kept = 0;

	if (too_many(n, FILTER_VIA_MAX, "far routes", err) ||
	    too_many(own_n, FILTER_FORWARD_MAX, "own prefixes", err))
		return false;
	ranges = mem_calloc(n + own_n + 1, sizeof(*ranges));
	edges = mem_calloc(2 * (n + own_n) + 1, sizeof(*edges));
	for (size_t i = 0; i < n; i++) {
		if (via[i].to.ip.family == IP_NONE)
			return err_set(err, ERR_CONFIG, "a far route without a destination");
		ranges[i] = range_of(&via[i].to);
	}
	for (size_t i = 0; i < own_n; i++)
		ranges[n + i] = range_of(&own[i]);
	edges_n = edges_of(ranges, n + own_n, edges);
	out = mem_calloc(edges_n + 1, sizeof(*out));
	for (size_t e = 0; e < edges_n; e++) {
		struct range piece = piece_at(edges, edges_n, e);
		int64_t timeout = 0;

		for (size_t i = 0; i < n; i++)
			if (range_has(&ranges[i], &piece.lo) && via[i].timeout_ms > timeout)
				timeout = via[i].timeout_ms;
		for (size_t i = 0; i < own_n && timeout > 0; i++)
			if (range_has(&ranges[n + i], &piece.lo))
				timeout = 0;
		if (timeout <= 0)
			continue;
		if (kept > 0 && out[kept - 1].timeout_ms == timeout &&
		    follows(&out[kept - 1].at, &piece))
			out[kept - 1].at.hi = piece.hi;
		else
			out[kept++] = (struct timed_range){ piece, timeout };
	}
	*ret_ranges = out;
	*ret_n = kept;
	return true;
}
