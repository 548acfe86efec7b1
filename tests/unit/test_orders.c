/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/orders.h"

#include "base/mem.h"
#include "base/wire.h"
#include "tests/unit/main.h"

#include <string.h>

/* A net that does as it is told, and complains where an address would speak
 * with rights that neither the old nor the new state gives its owner. */
enum { KEYS = 6, ADDRS = 6 };

struct fake {
	int         holder[ADDRS];      /* whose prefix; -1: nobody's */
	uint32_t    klass[ADDRS];       /* 0: none */
	int64_t     timeout[ADDRS];
	bool        peer[KEYS];
	size_t      orders;
	const struct net_state *told, *want;
	uint32_t    rows;
	size_t      row_tables, route_tables, host_tables;
};

static struct ip addr(int i)
{
	return (struct ip){ IP_V4, { 100, 64, 0, (uint8_t)(i + 1) } };
}

static struct prefix addr_prefix(int i)
{
	return (struct prefix){ addr(i), 32 };
}

static bool gives(const struct net_state *s, int a, uint8_t key, uint32_t klass)
{
	struct ip ip = addr(a);

	for (size_t i = 0; s && i < s->class_count; i++)
		if (ip_eq(&s->classes[i].ip, &ip))
			return s->classes[i].key[0] == key && s->classes[i].klass == klass;
	return false;
}

static void obey(void *arg, struct msg *m, struct span bytes)
{
	struct fake *f = arg;
	struct msg back;
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	buf_init(&b, WIRE_MAX);
	ck_assert_msg(msg_write(m, &b, &err), "%s", err.msg);
	ck_assert_msg(msg_read(buf_span(&b), &back, &err), "%s: %s", msg_name(m->type), err.msg);
	ck_assert_uint_eq(msg_fds(m), bytes.ptr ? 1 : 0);
	f->orders++;
	switch (m->type) {
	case MSG_PEER:
		f->peer[m->peer.key[0]] = true;
		for (int a = 0; a < ADDRS; a++)
			if (f->holder[a] == m->peer.key[0])
				f->holder[a] = -1;
		for (size_t i = 0; i < m->peer.prefixes_n; i++)
			f->holder[m->peer.prefixes[i].ip.b[3] - 1] = m->peer.key[0];
		break;
	case MSG_PEER_GONE:
		f->peer[m->peer.key[0]] = false;
		for (int a = 0; a < ADDRS; a++)
			if (f->holder[a] == m->peer.key[0])
				f->holder[a] = -1;
		break;
	case MSG_CLASS:
		f->klass[m->klass.ip.b[3] - 1] = m->klass.klass;
		f->timeout[m->klass.ip.b[3] - 1] = m->klass.timeout;
		break;
	case MSG_CLASS_GONE:
		f->klass[m->klass.ip.b[3] - 1] = 0;
		break;
	case MSG_ROWS: {
		struct msg_row rows[64];

		ck_assert_uint_le(m->table.count, 64);
		ck_assert(msg_rows_read(bytes, m->table.count, rows, &err));
		f->rows = m->table.count;
		f->row_tables++;
		break;
	}
	case MSG_ROUTES:
		f->route_tables++;
		break;
	case MSG_HOSTS:
		f->host_tables++;
		break;
	default:
		ck_abort_msg("unexpected %s", msg_name(m->type));
	}
	for (int a = 0; a < ADDRS; a++)
		if (f->klass[a] && f->holder[a] >= 0)
			ck_assert_msg(gives(f->told, a, (uint8_t)f->holder[a], f->klass[a]) ||
			              gives(f->want, a, (uint8_t)f->holder[a], f->klass[a]),
			              "address %d is key %d's with class %u after %s", a, f->holder[a],
			              f->klass[a], msg_name(m->type));
}

static unsigned seed;
static unsigned dice(unsigned n)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 16) % n;
}

static struct net_state *random_state(struct boot now)
{
	struct net_state *s = net_state_new();
	int owner[ADDRS];

	s->peers = arena_calloc(&s->mem, KEYS, sizeof(*s->peers));
	s->classes = arena_calloc(&s->mem, ADDRS, sizeof(*s->classes));
	for (int a = 0; a < ADDRS; a++)
		owner[a] = (int)dice(KEYS + 1) - 1;
	for (int k = 0; k < KEYS; k++) {
		struct prefix *list = arena_calloc(&s->mem, ADDRS, sizeof(*list));
		struct order_peer *p = &s->peers[s->peer_count];
		size_t n = 0;

		for (int a = 0; a < ADDRS; a++)
			if (owner[a] == k)
				list[n++] = addr_prefix(a);
		if (!n && dice(2))
			continue;
		memset(p, 0, sizeof(*p));
		p->key[0] = (uint8_t)k;
		p->prefixes = list;
		p->prefix_count = n;
		s->peer_count++;
	}
	for (int a = 0; a < ADDRS; a++)
		if (owner[a] >= 0 && dice(3)) {
			struct order_class *c = &s->classes[s->class_count++];

			c->ip = addr(a);
			c->key[0] = (uint8_t)owner[a];
			c->klass = 1 + dice(3);
			c->who = dice(2);
			c->until = boot_add(now, (1 + dice(100)) * SEC_NS);
		}
	net_state_sort(s);
	return s;
}

START_TEST(never_anothers_rights)
{
	struct boot now = { 1000 * SEC_NS };
	struct net_state *told = NULL;
	struct fake f = { 0 };

	seed = 7;
	memset(f.holder, -1, sizeof(f.holder));
	for (int round = 0; round < 3000; round++) {
		struct net_state *want = random_state(now);

		f.told = told;
		f.want = want;
		orders_deny(told, want, obey, &f);
		/* After the denials nothing is left that the new state would not give its owner. */
		for (int a = 0; a < ADDRS; a++)
			if (f.klass[a]) {
				struct ip ip = addr(a);
				bool found = false;

				for (size_t i = 0; i < want->class_count; i++)
					found |= ip_eq(&want->classes[i].ip, &ip);
				ck_assert(found);
			}
		orders_allow(told, want, now, obey, &f);
		for (int a = 0; a < ADDRS; a++) {
			struct ip ip = addr(a);
			uint32_t klass = 0;
			int holder = -1;

			for (size_t i = 0; i < want->class_count; i++)
				if (ip_eq(&want->classes[i].ip, &ip))
					klass = want->classes[i].klass;
			for (size_t i = 0; i < want->peer_count; i++)
				for (size_t k = 0; k < want->peers[i].prefix_count; k++)
					if (ip_eq(&want->peers[i].prefixes[k].ip, &ip))
						holder = want->peers[i].key[0];
			ck_assert_uint_eq(f.klass[a], klass);
			ck_assert_int_eq(f.holder[a], holder);
		}
		/* The same again is nothing. */
		f.orders = 0;
		f.told = want;
		ck_assert_uint_eq(orders_deny(want, want, obey, &f), 0);
		net_state_free(told);
		told = want;
	}
	net_state_free(told);
}
END_TEST

static struct net_state *one_class(struct boot until)
{
	struct net_state *s = net_state_new();

	s->classes = arena_calloc(&s->mem, 1, sizeof(*s->classes));
	s->class_count = 1;
	s->classes[0].ip = addr(0);
	s->classes[0].klass = 2;
	s->classes[0].until = until;
	s->vias = arena_calloc(&s->mem, 1, sizeof(*s->vias));
	s->via_count = 1;
	s->vias[0].to = addr_prefix(3);
	s->vias[0].until = until;
	return s;
}

static void count_types(void *arg, struct msg *m, struct span bytes)
{
	unsigned *n = arg;

	(void)bytes;
	n[0] += m->type == MSG_CLASS_GONE;
	if (m->type == MSG_CLASS)
		n[1] = m->klass.who;
}

/* The same device with the same rights: denied between the two. */
START_TEST(another_person_is_another)
{
	struct boot now = { 1000 * SEC_NS };
	struct net_state *told = one_class(boot_add(now, 100 * SEC_NS)), *want;
	unsigned n[2] = { 0 };

	told->classes[0].who = 7;
	orders_deny(NULL, told, count_types, n);
	orders_allow(NULL, told, now, count_types, n);
	ck_assert_uint_eq(n[0], 0);
	ck_assert_uint_eq(n[1], 7);

	n[1] = 0;
	want = one_class(boot_add(now, 100 * SEC_NS));
	want->classes[0].who = 7;
	orders_deny(told, want, count_types, n);
	orders_allow(told, want, now, count_types, n);
	ck_assert_uint_eq(n[0], 0);
	ck_assert_uint_eq(n[1], 0);
	net_state_free(told);

	told = want;
	want = one_class(boot_add(now, 100 * SEC_NS));
	want->classes[0].who = 8;
	orders_deny(told, want, count_types, n);
	ck_assert_uint_eq(n[0], 1);
	ck_assert_uint_eq(n[1], 0);
	orders_allow(told, want, now, count_types, n);
	ck_assert_uint_eq(n[0], 1);
	ck_assert_uint_eq(n[1], 8);
	net_state_free(told);
	net_state_free(want);
}
END_TEST

START_TEST(deadlines_are_told_when_needed)
{
	const struct {
		int64_t now, until;     /* seconds; net was told 100 at 0 */
		bool    told;
		int64_t timeout;
	} rows[] = {
		{ 10, 100, false, 0 },          /* nothing new */
		{ 10, 99,  true,  89000 },      /* closer: at once */
		{ 10, 110, false, 0 },          /* a beat later: net's own is long enough */
		{ 51, 151, true,  100000 },     /* more than half is over */
		{ 100, 101, true, 1000 },       /* it ran out meanwhile */
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct boot start = { 1000 * SEC_NS }, now = boot_add(start, rows[i].now * SEC_NS);
		struct net_state *a = one_class(boot_add(start, 100 * SEC_NS));
		struct net_state *b = one_class(boot_add(start, rows[i].until * SEC_NS));
		struct fake f = { .want = a };

		memset(f.holder, -1, sizeof(f.holder));
		orders_allow(NULL, a, start, obey, &f);
		ck_assert_int_eq(f.timeout[0], 100000);
		f.orders = 0;
		f.row_tables = 0;
		f.told = a;
		f.want = b;
		orders_allow(a, b, now, obey, &f);
		ck_assert_msg(f.orders == (rows[i].told ? 2 : 0), "row %zu: %zu orders", i, f.orders);
		ck_assert_uint_eq(f.row_tables, rows[i].told ? 1 : 0);
		if (rows[i].told)
			ck_assert_int_eq(f.timeout[0], rows[i].timeout);
		net_state_free(a);
		net_state_free(b);
	}
}
END_TEST

START_TEST(a_dead_core_extends_nobody)
{
	struct boot now = { 1000 * SEC_NS };
	struct net_state *s = one_class(BOOT_NEVER);
	struct fake f = { .want = s };

	orders_allow(NULL, s, now, obey, &f);
	ck_assert_int_eq(f.timeout[0], INT64_C(7) * 86400 * 1000);
	ck_assert_int_gt(orders_again(s, now).ns, now.ns);
	ck_assert_int_lt(orders_again(s, now).ns, s->classes[0].told.ns);
	net_state_free(s);
}
END_TEST

UNIT_MAIN("orders", never_anothers_rights, another_person_is_another, deadlines_are_told_when_needed,
          a_dead_core_extends_nobody)
