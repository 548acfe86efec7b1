/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/cut.h"

#include "base/mem.h"
#include "daemon/mesh/link.h"
#include "tests/unit/netns.h"
#include "tests/unit/pair.h"

/*
 * Both ends of everything are on this host, at addresses of lo: "own" ones are ours,
 * "peer" and "other" are others'. No packet filter is there: what ends, ends by sockets alone.
 */

#define OWN4   "100.64.0.1"
#define PEER4  "100.64.0.9"
#define OTHER4 "100.64.0.10"
#define OWN6   "fd12:3456:7890::1"
#define PEER6  "fd12:3456:7890::9"
#define LAN4   "192.0.2.1"
#define LAN4B  "192.0.2.2"

static struct overlay ranges;
static struct prefix own[2];

static struct ip ip(const char *s)
{
	struct ip a = {0};

	ck_assert(ip_parse(span_str(s), &a));
	return a;
}

static struct prefix host(const char *s)
{
	struct ip a = ip(s);

	return (struct prefix){a, (uint8_t)(8 * ip_len(&a))};
}

static struct cut_scope scope(void)
{
	return (struct cut_scope){.ranges = &ranges, .own = own, .own_n = 2};
}

static void begin(void)
{
	struct prefix all[] = {host("127.0.0.1"), host(OWN4),  host(PEER4), host(OTHER4),
			       host(OWN6),        host(PEER6), host(LAN4),  host(LAN4B)};
	struct err err = {0};
	struct link *l = link_open(&err);

	ranges = (struct overlay){{ip("fd12:3456:7890::"), 48}, {ip("100.64.0.0"), 10}};
	own[0] = host(OWN4);
	own[1] = host(OWN6);
	ck_assert_msg(l && link_up(l, "lo", 65536, &err) &&
			      link_addresses(l, "lo", all, array_size(all), &err),
		      "%s", err.msg);
	link_close(l);
}

static struct cut *cut(void)
{
	struct err err = {0};
	struct cut *c = cut_open(&err);

	ck_assert_msg(c != NULL, "%s", err.msg);
	return c;
}

static size_t run(struct cut *c, const struct cut_scope *s)
{
	struct cut_count n = {0};
	struct err err = {0};

	ck_assert_msg(cut_run(c, s, &n, &err), "%s", err.msg);
	ck_assert(!cut_waits(c, NULL));
	return n.sockets;
}

START_TEST(what_is_open_with_a_peer_ends)
{
	static const struct {
		const char *here, *there;
		bool as6, udp, ours; /* ours: we began it, to a server of the peer's */
	} rows[] = {
		{OWN4, PEER4, false, false, false},
		{OWN4, PEER4, true, false, false}, /* IPv4 in an IPv6 socket */
		{OWN6, PEER6, true, false, false},
		{OWN4, PEER4, false, false, true},
		{OWN6, PEER6, true, false, true},
		{OWN4, PEER4, false, true, false},
		{OWN6, PEER6, false, true, false},
	};
	struct cut_scope s = scope();
	struct cut *c = cut();
	struct ip peer;

	begin();
	for (size_t i = 0; i < array_size(rows); i++) {
		struct pair p = rows[i].udp ? pair_udp(rows[i].here, rows[i].there, true)
				: rows[i].ours
					? pair_tcp(rows[i].there, rows[i].as6, rows[i].here, true)
					: pair_tcp(rows[i].here, rows[i].as6, rows[i].there, true);

		ck_assert(pair_lives(&p));
		ck_assert_uint_eq(run(c, &s), 0); /* nobody was added */
		ck_assert(pair_lives(&p));
		peer = ip(OTHER4);
		cut_add(c, &peer);
		ck_assert_uint_eq(run(c, &s), 0); /* somebody else */
		ck_assert(pair_lives(&p));
		peer = ip(rows[i].there);
		ck_assert(!cut_waits(c, &peer));
		cut_add(c, &peer);
		ck_assert(cut_waits(c, &peer));
		ck_assert_msg(run(c, &s) == 1, "row %zu", i);
		ck_assert_msg(pair_aborted(rows[i].ours ? p.there : p.here), "row %zu", i);
		ck_assert_uint_eq(run(c, &s), 0); /* and is forgotten */
		pair_done(&p);
	}
	cut_close(c);
}
END_TEST

START_TEST(everything_else_lives)
{
	struct ip gone[] = {ip(PEER4), ip(PEER6), ip(OWN4), ip(LAN4B)};
	struct cut_scope s = scope();
	struct cut *c = cut();
	struct pair live[6], ends, waits;

	begin();
	live[0] = pair_tcp(OWN4, false, OTHER4, true);  /* another peer's */
	live[1] = pair_tcp(OWN4, false, OWN4, true);    /* with ourselves */
	live[2] = pair_tcp(LAN4, false, PEER4, true);   /* at an address that is not the mesh's */
	live[3] = pair_tcp(OWN4, false, LAN4B, true);   /* from one */
	live[4] = pair_udp(OWN4, PEER4, false);         /* a server that anybody may write to */
	live[5] = pair_tcp(OTHER4, false, PEER4, true); /* none of it ours */
	ends = pair_tcp(OWN4, false, PEER4, true);
	waits = pair_tcp(OWN4, false, PEER4, false); /* whom the application has not met yet */
	for (size_t i = 0; i < array_size(gone); i++)
		cut_add(c, &gone[i]);
	ck_assert_uint_eq(run(c, &s), 2);
	ck_assert(pair_aborted(ends.here));
	for (size_t i = 0; i < array_size(live); i++)
		if (live[i].listener < 0)
			ck_assert(pair_moves(live[i].there, live[i].here));
		else
			ck_assert_msg(pair_lives(&live[i]), "row %zu", i);

	/* The server goes on listening, to the same peer as well. */
	close(ends.there);
	ends.there = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);

	ck_assert(getsockname(ends.listener, (void *)&at, &len) == 0);
	ck_assert(connect(ends.there, (void *)&at, len) == 0);
	for (size_t i = 0; i < array_size(live); i++)
		pair_done(&live[i]);
	pair_done(&ends);
	pair_done(&waits);
	cut_close(c);
}
END_TEST

START_TEST(fronts_end_theirs_themselves)
{
	static const uint32_t fronts[] = {60199, 60101};
	struct ip peer = ip(PEER4);
	struct cut_scope s = scope();
	struct cut *c = cut();
	struct pair p;

	begin();
	p = pair_tcp(OWN4, false, PEER4, false);
	/* Whoever accepts has it. */
	ck_assert(seteuid(60101) == 0);
	p.here = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert(seteuid(0) == 0 && p.here >= 0);
	s.spared = fronts;
	s.spared_n = 2;
	cut_add(c, &peer);
	ck_assert_uint_eq(run(c, &s), 0);
	ck_assert(pair_lives(&p));
	s.spared_n = 1;
	cut_add(c, &peer);
	ck_assert_uint_eq(run(c, &s), 1);
	ck_assert(pair_aborted(p.here));
	pair_done(&p);
	cut_close(c);
}
END_TEST

static bool is_other(void *arg, const struct ip *peer)
{
	struct ip other = ip(OTHER4);

	(*(size_t *)arg)++;
	return ip_eq(peer, &other);
}

START_TEST(a_sweep_leaves_those_who_stay)
{
	struct cut_scope s = scope();
	struct cut_count n = {0};
	struct cut *c = cut();
	struct err err = {0};
	struct pair stays, v4, v6, lan;
	size_t asked = 0;

	begin();
	stays = pair_tcp(OWN4, false, OTHER4, true);
	v4 = pair_tcp(OWN4, false, PEER4, true);
	v6 = pair_tcp(OWN6, true, PEER6, true);
	lan = pair_tcp(LAN4, false, LAN4B, true);
	ck_assert_msg(cut_sweep(c, &s, is_other, &asked, &n, &err), "%s", err.msg);
	ck_assert_uint_eq(n.sockets, 2);
	ck_assert_uint_ge(asked, 3);
	ck_assert(pair_aborted(v4.here) && pair_aborted(v6.here));
	ck_assert(pair_lives(&stays) && pair_lives(&lan));
	pair_done(&stays);
	pair_done(&v4);
	pair_done(&v6);
	pair_done(&lan);
	cut_close(c);
}
END_TEST

/* More than one answer of the kernel's holds. */
START_TEST(many)
{
	enum { MANY = 400 };
	static struct pair p[MANY];
	struct ip peer = ip(PEER4);
	struct cut_scope s = scope();
	struct cut *c = cut();
	struct pair stays;

	begin();
	stays = pair_tcp(OWN4, false, OTHER4, true);
	for (int i = 0; i < MANY; i++) {
		p[i] = pair_tcp(OWN4, i & 1, PEER4, true);
		close(p[i].listener);
		p[i].listener = -1;
	}
	cut_add(c, &peer);
	peer = ip(PEER6);
	cut_add(c, &peer);
	ck_assert_uint_eq(run(c, &s), MANY);
	for (int i = 0; i < MANY; i++) {
		ck_assert(pair_aborted(p[i].here));
		pair_done(&p[i]);
	}
	ck_assert(pair_lives(&stays));
	pair_done(&stays);
	cut_close(c);
}
END_TEST

static bool available(void)
{
	struct err err = {0};
	struct cut *c = cut_open(&err);
	const char *why = c ? cut_unable(c) : err.msg;

	if (why)
		printf("skip cut: %s\n", why);
	cut_close(c);
	return !why;
}

UNIT_MAIN_NETNS("cut", available, what_is_open_with_a_peer_ends, everything_else_lives,
		fronts_end_theirs_themselves, a_sweep_leaves_those_who_stay, many)
