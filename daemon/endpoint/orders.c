/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/orders.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct net_state *net_state_new(void)
{
	struct net_state *s = mem_alloc(sizeof(*s));

	arena_init(&s->mem, 4096);
	return s;
}

void net_state_free(struct net_state *s)
{
	if (!s)
		return;
	arena_done(&s->mem);
	free(s);
}

static int peer_cmp(const void *a, const void *b)
{
	return memcmp(((const struct order_peer *)a)->key, ((const struct order_peer *)b)->key, MSG_KEY_LEN);
}

static int class_cmp(const void *a, const void *b)
{
	return ip_cmp(&((const struct order_class *)a)->ip, &((const struct order_class *)b)->ip);
}

static int via_cmp(const void *a, const void *b)
{
	return prefix_cmp(&((const struct order_via *)a)->to, &((const struct order_via *)b)->to);
}

static int pfx_cmp(const void *a, const void *b)
{
	return prefix_cmp(a, b);
}

static int row_cmp(const void *a, const void *b)
{
	const struct msg_row *x = a, *y = b;

	if (x->way != y->way)
		return x->way < y->way ? -1 : 1;
	if (x->klass != y->klass)
		return x->klass < y->klass ? -1 : 1;
	if (x->protocol != y->protocol)
		return x->protocol < y->protocol ? -1 : 1;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	if (x->last != y->last)
		return x->last < y->last ? -1 : 1;
	return prefix_cmp(&x->to, &y->to);
}

static int host_cmp(const void *a, const void *b)
{
	const struct msg_host *x = a, *y = b;
	int c = span_cmp(x->name, y->name);

	return c ? c : ip_cmp(&x->ip, &y->ip);
}

static void sort(void *list, size_t n, size_t size, int (*cmp)(const void *, const void *))
{
	if (n)
		qsort(list, n, size, cmp);
}

void net_state_sort(struct net_state *s)
{
	size_t n;

	sort(s->peers, s->peer_count, sizeof(*s->peers), peer_cmp);
	sort(s->classes, s->class_count, sizeof(*s->classes), class_cmp);
	sort(s->rows, s->row_count, sizeof(*s->rows), row_cmp);
	sort(s->vias, s->via_count, sizeof(*s->vias), via_cmp);
	sort(s->routes, s->route_count, sizeof(*s->routes), pfx_cmp);
	sort(s->hosts, s->host_count, sizeof(*s->hosts), host_cmp);
	for (size_t i = n = 0; i < s->row_count; i++)
		if (n == 0 || row_cmp(&s->rows[n - 1], &s->rows[i]) != 0)
			s->rows[n++] = s->rows[i];
	s->row_count = n;
	for (size_t i = n = 0; i < s->route_count; i++)
		if (n == 0 || prefix_cmp(&s->routes[n - 1], &s->routes[i]) != 0)
			s->routes[n++] = s->routes[i];
	s->route_count = n;
	for (size_t i = n = 0; i < s->via_count; i++) {
		/* Two gateways to one prefix: open while either may be used. */
		if (n && prefix_cmp(&s->vias[n - 1].to, &s->vias[i].to) == 0) {
			if (s->vias[i].until.ns > s->vias[n - 1].until.ns)
				s->vias[n - 1].until = s->vias[i].until;
			continue;
		}
		s->vias[n++] = s->vias[i];
	}
	s->via_count = n;
}

static const struct order_class *class_find(const struct net_state *s, const struct ip *ip)
{
	struct order_class key = { .ip = *ip };

	return s && s->class_count
	       ? bsearch(&key, s->classes, s->class_count, sizeof(*s->classes), class_cmp) : NULL;
}

static const struct order_peer *peer_find(const struct net_state *s, const uint8_t k[MSG_KEY_LEN])
{
	struct order_peer key;

	if (!s || !s->peer_count)
		return NULL;
	memcpy(key.key, k, MSG_KEY_LEN);
	return bsearch(&key, s->peers, s->peer_count, sizeof(*s->peers), peer_cmp);
}

static const struct order_via *via_find(const struct net_state *s, const struct prefix *to)
{
	struct order_via key = { .to = *to };

	return s && s->via_count ? bsearch(&key, s->vias, s->via_count, sizeof(*s->vias), via_cmp) : NULL;
}

size_t orders_deny(const struct net_state *told, const struct net_state *want, order_fn *fn, void *arg)
{
	size_t n = 0;

	for (size_t i = 0; told && i < told->class_count; i++) {
		const struct order_class *old = &told->classes[i], *now = class_find(want, &old->ip);
		struct msg m = { .type = MSG_CLASS_GONE };

		if (now && memcmp(now->key, old->key, MSG_KEY_LEN) == 0 && now->who == old->who)
			continue;
		m.klass.ip = old->ip;
		fn(arg, &m, (struct span){ 0 });
		n++;
	}
	return n;
}

static bool same_prefixes(const struct prefix *a, size_t an, const struct prefix *b, size_t bn)
{
	if (an != bn)
		return false;
	for (size_t i = 0; i < an; i++)
		if (prefix_cmp(&a[i], &b[i]) != 0)
			return false;
	return true;
}

bool orders_device(const struct net_state *told, const struct net_state *want)
{
	if (!want->device)
		return false;
	return !told || !told->device || memcmp(told->key, want->key, MSG_KEY_LEN) != 0 ||
	       !same_prefixes(told->addresses, told->address_count, want->addresses, want->address_count) ||
	       !same_prefixes(told->ranges, told->range_count, want->ranges, want->range_count);
}

static bool has_prefix(const struct order_peer *p, const struct prefix *x)
{
	return p->prefix_count && bsearch(x, p->prefixes, p->prefix_count, sizeof(*x), pfx_cmp) != NULL;
}

static void peer_order(const struct order_peer *p, const struct order_peer *only, bool endpoint,
                       order_fn *fn, void *arg)
{
	struct msg m = { .type = MSG_PEER };

	memcpy(m.peer.key, p->key, MSG_KEY_LEN);
	m.peer.has_endpoint = endpoint;
	if (endpoint)
		m.peer.endpoint = p->endpoint;
	m.peer.keepalive = p->keepalive;
	for (size_t i = 0; i < p->prefix_count && m.peer.prefixes_n < MSG_PREFIXES_MAX; i++)
		if (!only || has_prefix(only, &p->prefixes[i]))
			m.peer.prefixes[m.peer.prefixes_n++] = p->prefixes[i];
	fn(arg, &m, (struct span){ 0 });
}

static bool loses(const struct order_peer *old, const struct order_peer *now)
{
	for (size_t i = 0; i < old->prefix_count; i++)
		if (!has_prefix(now, &old->prefixes[i]))
			return true;
	return false;
}

/* What a peer gives up it gives up before another one takes it. */
static size_t peers_release(const struct net_state *told, const struct net_state *want, order_fn *fn, void *arg)
{
	size_t n = 0;

	for (size_t i = 0; told && i < told->peer_count; i++) {
		const struct order_peer *old = &told->peers[i], *now = peer_find(want, old->key);
		struct msg m = { .type = MSG_PEER_GONE };

		if (!now) {
			memcpy(m.peer.key, old->key, MSG_KEY_LEN);
			fn(arg, &m, (struct span){ 0 });
			n++;
		} else if (loses(old, now)) {
			peer_order(now, old, false, fn, arg);
			n++;
		}
	}
	return n;
}

static bool endpoint_eq(const struct ipport *a, const struct ipport *b)
{
	return ip_eq(&a->ip, &b->ip) && a->port == b->port;
}

static size_t peers_take(const struct net_state *told, const struct net_state *want, order_fn *fn, void *arg)
{
	size_t n = 0;

	for (size_t i = 0; i < want->peer_count; i++) {
		const struct order_peer *now = &want->peers[i], *old = peer_find(told, now->key);
		bool endpoint = now->endpoint.ip.family != IP_NONE &&
		                (!old || !endpoint_eq(&old->endpoint, &now->endpoint));
		bool changed = endpoint || !old || old->keepalive != now->keepalive;

		for (size_t k = 0; !changed && k < now->prefix_count; k++)
			changed = !has_prefix(old, &now->prefixes[k]);
		if (!changed)
			continue;
		peer_order(now, NULL, endpoint, fn, arg);
		n++;
	}
	return n;
}

/* The longest that anything is told to live without us: a dead core extends nobody. */
#define TOLD_MAX (INT64_C(7) * 86400 * SEC_NS)

static struct boot tell_until(struct boot until, struct boot now)
{
	return boot_min(until, boot_add(now, TOLD_MAX));
}

static int64_t timeout_ms(struct boot told, struct boot now)
{
	int64_t ms = (told.ns - now.ns) / 1000000;

	return ms < 1 ? 1 : ms;
}

/* A deadline that moves on with every beat is told again only once half of what net
 * knows is over; one that comes closer is told at once. */
static bool told_holds(struct boot told, struct boot until, struct boot now)
{
	if (told.ns > until.ns || boot_passed(told, now))
		return false;
	if (told.ns == until.ns)
		return true;
	return told.ns - now.ns > (tell_until(until, now).ns - now.ns) / 2;
}

static bool same_rows(const struct net_state *a, const struct net_state *b)
{
	if (a->row_count != b->row_count || a->via_count != b->via_count)
		return false;
	for (size_t i = 0; i < a->row_count; i++)
		if (row_cmp(&a->rows[i], &b->rows[i]) != 0)
			return false;
	for (size_t i = 0; i < a->via_count; i++)
		if (prefix_cmp(&a->vias[i].to, &b->vias[i].to) != 0)
			return false;
	return true;
}

static size_t rows_order(const struct net_state *told, struct net_state *want, struct boot now,
                         order_fn *fn, void *arg)
{
	struct msg m = { .type = MSG_ROWS };
	bool same = told && same_rows(told, want);
	scoped_buf struct buf b = { 0 };

	for (size_t i = 0; i < want->via_count; i++) {
		const struct order_via *old = via_find(told, &want->vias[i].to);

		want->vias[i].told = old ? old->told : (struct boot){ 0 };
		if (!old || !told_holds(old->told, want->vias[i].until, now))
			same = false;
	}
	if (same)
		return 0;
	buf_init(&b, MSG_ROWS_TEXT_MAX);
	msg_rows_write(want->rows, want->row_count, &b);
	for (size_t i = 0; i < want->via_count; i++) {
		struct msg_row row = { .way = MSG_WAY_VIA, .to = want->vias[i].to };

		want->vias[i].told = tell_until(want->vias[i].until, now);
		row.timeout = timeout_ms(want->vias[i].told, now);
		msg_rows_write(&row, 1, &b);
	}
	m.table.count = (uint32_t)(want->row_count + want->via_count);
	fn(arg, &m, b.ptr ? buf_span(&b) : SPAN(""));
	return 1;
}

static size_t routes_order(const struct net_state *told, const struct net_state *want, order_fn *fn, void *arg)
{
	struct msg m = { .type = MSG_ROUTES };
	scoped_buf struct buf b = { 0 };

	if (told && same_prefixes(told->routes, told->route_count, want->routes, want->route_count))
		return 0;
	buf_init(&b, MSG_ROUTES_TEXT_MAX);
	msg_routes_write(want->routes, want->route_count, &b);
	m.table.count = (uint32_t)want->route_count;
	fn(arg, &m, b.ptr ? buf_span(&b) : SPAN(""));
	return 1;
}

static size_t hosts_order(const struct net_state *told, const struct net_state *want, order_fn *fn, void *arg)
{
	struct msg m = { .type = MSG_HOSTS };
	scoped_buf struct buf b = { 0 };
	bool same = told && told->host_count == want->host_count;

	for (size_t i = 0; same && i < want->host_count; i++)
		same = host_cmp(&told->hosts[i], &want->hosts[i]) == 0;
	if (same)
		return 0;
	buf_init(&b, MSG_HOSTS_TEXT_MAX);
	msg_hosts_write(want->hosts, want->host_count, &b);
	m.table.count = (uint32_t)want->host_count;
	fn(arg, &m, b.ptr ? buf_span(&b) : SPAN(""));
	return 1;
}

static size_t classes_allow(const struct net_state *told, struct net_state *want, struct boot now,
                            order_fn *fn, void *arg)
{
	size_t n = 0;

	for (size_t i = 0; i < want->class_count; i++) {
		struct order_class *c = &want->classes[i];
		const struct order_class *old = class_find(told, &c->ip);
		struct msg m = { .type = MSG_CLASS };

		if (old && memcmp(old->key, c->key, MSG_KEY_LEN) == 0 && old->who == c->who && old->klass == c->klass &&
		    told_holds(old->told, c->until, now)) {
			c->told = old->told;
			continue;
		}
		m.klass.ip = c->ip;
		m.klass.klass = c->klass;
		m.klass.who = c->who;
		c->told = tell_until(c->until, now);
		m.klass.timeout = timeout_ms(c->told, now);
		fn(arg, &m, (struct span){ 0 });
		n++;
	}
	return n;
}

size_t orders_allow(const struct net_state *told, struct net_state *want, struct boot now,
                    order_fn *fn, void *arg)
{
	size_t n = 0;

	n += peers_release(told, want, fn, arg);
	n += peers_take(told, want, fn, arg);
	/* A class gets its rows before an address gets the class. */
	n += rows_order(told, want, now, fn, arg);
	n += classes_allow(told, want, now, fn, arg);
	n += routes_order(told, want, fn, arg);
	n += hosts_order(told, want, fn, arg);
	return n;
}

struct boot orders_again(const struct net_state *told, struct boot now)
{
	struct boot first = BOOT_NEVER;

	for (size_t i = 0; told && i < told->class_count; i++)
		first = boot_min(first, told->classes[i].told);
	for (size_t i = 0; told && i < told->via_count; i++)
		first = boot_min(first, told->vias[i].told);
	if (first.ns == INT64_MAX || boot_passed(first, now))
		return first;
	return boot_add(now, (first.ns - now.ns) / 2);
}
