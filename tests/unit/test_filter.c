/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/filter.h"

#include "base/mem.h"
#include "tests/unit/netns.h"

#include <nftables/libnftables.h>
#include <stdlib.h>

/* What the rules do to packets is tests/netns/mesh.sh's; here the kernel takes what we say. */

static struct prefix pfx(const char *s)
{
	struct prefix p = { 0 };

	ck_assert_msg(prefix_parse(span_str(s), &p), "%s", s);
	return p;
}

static struct ip ip(const char *s)
{
	struct ip a = { 0 };

	ck_assert_msg(ip_parse(span_str(s), &a), "%s", s);
	return a;
}

static struct filter_base base(void)
{
	static const uint32_t users[] = { 1000, 0, 1001 }, fronts[] = { 900 };

	return (struct filter_base){
		.device = "reeve0",
		.overlay = { .v6 = pfx("fd12:3456:7890::/48"), .v4 = pfx("100.64.0.0/10") },
		.users = users,
		.users_n = array_size(users),
		.fronts = fronts,
		.fronts_n = array_size(fronts),
	};
}

static struct filter *open_filter(const struct filter_base *b, bool want_adopted)
{
	struct err err = { 0 };
	bool adopted = !want_adopted;
	struct filter *f = filter_open(b, &adopted, &err);

	ck_assert_msg(f != NULL, "%s", err.msg);
	ck_assert_int_eq(adopted, want_adopted);
	return f;
}

struct seen {
	struct filter_class list[32];
	size_t n;
};

static void see(void *arg, const struct filter_class *c)
{
	struct seen *s = arg;

	ck_assert_uint_lt(s->n, array_size(s->list));
	s->list[s->n++] = *c;
}

static struct seen classes(struct filter *f)
{
	struct seen s = { 0 };
	struct err err;

	ck_assert_msg(filter_classes(f, see, &s, &err), "%s", err.msg);
	return s;
}

static const struct filter_class *find(const struct seen *s, const char *address)
{
	struct ip a = ip(address);

	for (size_t i = 0; i < s->n; i++)
		if (ip_eq(&s->list[i].ip, &a))
			return &s->list[i];
	return NULL;
}

static void set(struct filter *f, const char *address, uint32_t class, int64_t timeout_ms)
{
	struct filter_class c = { ip(address), class, timeout_ms, class * 1000 };
	struct err err;

	ck_assert_msg(filter_class_set(f, &c, &err), "%s: %s", address, err.msg);
}

START_TEST(table_comes_stays_goes)
{
	struct filter_base b = base(), other = base();
	struct err err = { 0 };
	struct filter *f = open_filter(&b, false);

	set(f, "100.64.0.3", 5, 60000);
	/* A crash leaves it, a restart adopts it, with its elements. */
	ck_assert(filter_close(f, false, &err));
	f = open_filter(&b, true);
	ck_assert_uint_eq(classes(f).n, 1);
	ck_assert(filter_close(f, false, &err));

	/* Another base replaces it, and what it let through. */
	other.users_any = true;
	f = open_filter(&other, false);
	ck_assert_uint_eq(classes(f).n, 0);
	ck_assert(filter_close(f, false, &err));
	f = open_filter(&other, true);
	ck_assert(filter_close(f, true, &err));
	f = open_filter(&other, false);
	ck_assert(filter_close(f, true, &err));
	ck_assert(filter_close(NULL, true, &err));
}
END_TEST

static int nft(const char *command)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	int rc = ctx ? nft_run_cmd_from_buffer(ctx, command) : -1;

	nft_ctx_free(ctx);
	return rc;
}

START_TEST(what_root_may_do)
{
	static const char *const commands[] = {
		"flush ruleset", "delete table inet reeve", "flush table inet reeve",
		"flush chain inet reeve input", "flush chain inet reeve arrive_mesh",
		"flush chain inet reeve to_rows", "insert rule inet reeve input accept",
		"delete table inet reeve; table inet reeve { chain input { accept; }; }",
	};
	struct filter_row row = { 5, IPPROTO_TCP, 80, 80 };
	struct filter_rows rows = { .rows = &row, .rows_n = 1 };
	struct filter_base b = base();
	struct err err = { 0 };
	bool there = false;
	struct filter *f;

	for (size_t i = 0; i < array_size(commands); i++) {
		f = open_filter(&b, false);
		ck_assert_msg(filter_there(f, &there, &err), "%s", err.msg);
		ck_assert_msg(there, "%s", commands[i]);
		ck_assert(filter_load(f, &rows, &err));
		ck_assert(filter_there(f, &there, &err));
		ck_assert_msg(there, "%s", commands[i]);
		ck_assert_int_eq(nft(commands[i]), 0);
		ck_assert(filter_there(f, &there, &err));
		ck_assert_msg(!there, "%s", commands[i]);
		ck_assert(filter_close(f, false, &err));
		/* Nor is what is left of it adopted. */
		f = open_filter(&b, false);
		ck_assert(filter_close(f, true, &err));
	}
	/* A table of somebody else's is nothing to us. */
	f = open_filter(&b, false);
	ck_assert_int_eq(nft("table inet other { chain input { accept; }; }"), 0);
	ck_assert(filter_there(f, &there, &err));
	ck_assert(there);
	ck_assert(filter_close(f, true, &err));
}
END_TEST

START_TEST(bad_bases)
{
	struct filter_base b = base();
	struct err err = { 0 };
	bool adopted = true;

	b.device = "reeve0\" accept";
	ck_assert_ptr_null(filter_open(&b, &adopted, &err));
	ck_assert_int_eq(err.code, ERR_CONFIG);
	b = base();
	b.overlay.v6 = pfx("::/0");
	ck_assert_ptr_null(filter_open(&b, &adopted, &err));
	b = base();
	b.users_n = FILTER_USERS_MAX + 1;
	ck_assert_ptr_null(filter_open(&b, &adopted, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
}
END_TEST

START_TEST(elements)
{
	struct filter_base b = base();
	struct filter *f = open_filter(&b, false);
	const struct filter_class *c;
	struct filter_class bad;
	struct seen s;
	struct err err;
	struct ip a = ip("100.64.0.3");

	ck_assert_uint_eq(classes(f).n, 0);
	ck_assert(filter_class_remove(f, &a, &err));            /* absent is success */
	set(f, "100.64.0.3", 5, 60000);
	set(f, "fd12:3456:7890::3", 6, INT64_MAX);
	s = classes(f);
	ck_assert_uint_eq(s.n, 2);
	c = find(&s, "100.64.0.3");
	ck_assert(c && c->class == 5 && c->timeout_ms > 50000 && c->timeout_ms <= 60000);
	ck_assert_uint_eq(c->who, 5000);
	c = find(&s, "fd12:3456:7890::3");
	ck_assert(c && c->class == 6 && c->timeout_ms == INT64_MAX && c->who == 6000);

	/* Again: another class, a longer and a shorter time, none. */
	set(f, "100.64.0.3", 7, 3600000);
	set(f, "fd12:3456:7890::3", 6, 1000);
	s = classes(f);
	ck_assert_uint_eq(s.n, 2);
	c = find(&s, "100.64.0.3");
	ck_assert(c && c->class == 7 && c->timeout_ms > 3500000);
	c = find(&s, "fd12:3456:7890::3");
	ck_assert(c && c->class == 6 && c->timeout_ms <= 1000);
	set(f, "100.64.0.3", 7, 0);
	ck_assert_uint_eq(classes(f).n, 1);
	set(f, "100.64.0.3", 7, -5);
	set(f, "100.64.0.4", 0, 1000);
	ck_assert_uint_eq(classes(f).n, 1);

	/* One that ran out by itself is set again. */
	set(f, "100.64.0.9", 4, 30);
	for (int i = 0; i < 6000 && ({ s = classes(f); find(&s, "100.64.0.9"); }); i++)
		usleep(10000);
	ck_assert_ptr_null(find(&s, "100.64.0.9"));
	set(f, "100.64.0.9", 4, 60000);
	s = classes(f);
	ck_assert_ptr_nonnull(find(&s, "100.64.0.9"));

	/* Another process's element is replaced, too. */
	ck_assert(filter_close(f, false, &err));
	f = open_filter(&b, true);
	s = classes(f);
	c = find(&s, "100.64.0.9");
	ck_assert(c && c->class == 4 && c->who == 4000);
	set(f, "100.64.0.9", 8, 60000);
	s = classes(f);
	c = find(&s, "100.64.0.9");
	ck_assert(c && c->class == 8 && c->who == 8000);
	bad = (struct filter_class){ ip("100.64.0.9"), 8, 60000, UINT32_MAX };
	ck_assert(filter_class_set(f, &bad, &err));
	s = classes(f);
	ck_assert_uint_eq(find(&s, "100.64.0.9")->who, UINT32_MAX);
	bad.who = 0;
	ck_assert(filter_class_set(f, &bad, &err));
	s = classes(f);
	ck_assert_uint_eq(find(&s, "100.64.0.9")->who, 0);
	a = ip("100.64.0.9");
	ck_assert(filter_class_remove(f, &a, &err));
	s = classes(f);
	ck_assert_ptr_null(find(&s, "100.64.0.9"));

	/* Only overlay addresses have a class. */
	bad = (struct filter_class){ ip("192.0.2.1"), 5, 1000, 1 };
	ck_assert(!filter_class_set(f, &bad, &err));
	ck_assert_int_eq(err.code, ERR_CONFIG);
	bad = (struct filter_class){ ip("2001:db8::1"), 5, 1000, 1 };
	ck_assert(!filter_class_set(f, &bad, &err));
	bad = (struct filter_class){ .class = 5, .timeout_ms = 1000 };
	ck_assert(!filter_class_set(f, &bad, &err));
	ck_assert(filter_close(f, true, &err));
}
END_TEST

START_TEST(rows_load)
{
	struct filter_base b = base();
	struct filter *f = open_filter(&b, false);
	struct filter_row rows[] = {
		{ 5, IPPROTO_TCP, 80, 80 },   { 5, IPPROTO_TCP, 80, 90 },
		{ 5, IPPROTO_TCP, 85, 443 },  { 5, IPPROTO_UDP, 0, 65535 },
		{ 5, IPPROTO_ICMP, 0, 0 },    { 5, IPPROTO_ICMPV6, 0, 65535 },
		{ 6, FILTER_PROTO_ANY, 0, 0 }, { 6, IPPROTO_TCP, 1, 2 },
		{ UINT32_MAX, 255, 0, 65535 },
	};
	struct filter_forward forward[] = {
		{ 5, pfx("10.9.0.0/24"), IPPROTO_TCP, 22, 22 },
		{ 5, pfx("10.9.0.7/32"), IPPROTO_TCP, 20, 30 },
		{ 5, pfx("10.9.0.0/16"), IPPROTO_UDP, 0, 65535 },
		{ 6, pfx("fd99::/64"), FILTER_PROTO_ANY, 0, 0 },
		{ 6, pfx("10.9.1.0/24"), FILTER_PROTO_ANY, 0, 0 },
	};
	struct filter_via via[] = {
		{ pfx("10.8.0.0/16"), 60000 },  { pfx("10.8.1.0/24"), 120000 },
		{ pfx("10.9.0.0/16"), 60000 },  { pfx("10.0.0.0/8"), 1000 },
		{ pfx("fd98::/64"), INT64_MAX }, { pfx("192.0.2.0/24"), 0 },
		{ pfx("192.168.0.0/24"), INT64_C(7) * 86400000 },
		{ pfx("192.168.1.0/24"), INT64_C(3650) * 86400000 },
		{ pfx("192.168.2.0/24"), FILTER_TIMEOUT_MAX_MS - 1 },
	};
	struct filter_rows all = { rows, array_size(rows), forward, array_size(forward) };
	struct filter_rows none = { 0 }, bad;
	struct filter_forward into_mesh = { 5, pfx("100.64.0.0/16"), IPPROTO_TCP, 1, 1 };
	struct filter_forward around_mesh = { 5, pfx("fc00::/7"), IPPROTO_TCP, 1, 1 };
	struct filter_row class0 = { 0, IPPROTO_TCP, 1, 1 }, upside = { 1, IPPROTO_TCP, 2, 1 };
	struct err err = { 0 };

	set(f, "100.64.0.3", 5, 60000);
	for (int i = 0; i < 3; i++) {
		ck_assert_msg(filter_load(f, &all, &err), "%s", err.msg);
		ck_assert_msg(filter_via_load(f, via, array_size(via), &err), "%s", err.msg);
		ck_assert_msg(filter_load(f, i == 1 ? &none : &all, &err), "%s", err.msg);
	}
	ck_assert_msg(filter_via_load(f, NULL, 0, &err), "%s", err.msg);
	ck_assert_uint_eq(classes(f).n, 1);     /* elements stay */

	bad = (struct filter_rows){ .forward = &into_mesh, .forward_n = 1 };
	ck_assert(!filter_load(f, &bad, &err));
	ck_assert_int_eq(err.code, ERR_CONFIG);
	bad = (struct filter_rows){ .forward = &around_mesh, .forward_n = 1 };
	ck_assert(!filter_load(f, &bad, &err));
	bad = (struct filter_rows){ .rows = &class0, .rows_n = 1 };
	ck_assert(!filter_load(f, &bad, &err));
	bad = (struct filter_rows){ .rows = &upside, .rows_n = 1 };
	ck_assert(!filter_load(f, &bad, &err));
	bad = (struct filter_rows){ .rows = rows, .rows_n = FILTER_ROWS_MAX + 1 };
	ck_assert(!filter_load(f, &bad, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert(filter_close(f, true, &err));
}
END_TEST

START_TEST(many_rows)
{
	enum { N = 3000 };
	struct filter_base b = base();
	struct filter *f = open_filter(&b, false);
	struct filter_row *rows = mem_calloc(N, sizeof(*rows));
	struct filter_rows all = { .rows = rows, .rows_n = N };
	struct err err = { 0 };

	for (uint32_t i = 0; i < N; i++)
		rows[i] = (struct filter_row){ 1 + i % 100, IPPROTO_TCP, (uint16_t)(i * 7 + 1),
					       (uint16_t)(i * 7 + 3) };
	ck_assert_msg(filter_load(f, &all, &err), "%s", err.msg);
	free(rows);
	ck_assert(filter_close(f, true, &err));
}
END_TEST

START_TEST(counters)
{
	struct filter_base b = base();
	struct filter *f = open_filter(&b, false);
	struct filter_counters c;
	struct err err;

	memset(&c, 0xff, sizeof(c));
	ck_assert_msg(filter_counters(f, &c, &err), "%s", err.msg);
	ck_assert_mem_eq(&c, &(struct filter_counters){ 0 }, sizeof(c));
	ck_assert(filter_close(f, true, &err));
}
END_TEST

static bool available(void)
{
	struct filter_base b = {
		.device = "reeve0",
		.overlay = { .v6 = { .ip = { IP_V6, { 0xfd } }, .bits = 48 },
			     .v4 = { .ip = { IP_V4, { 100, 64 } }, .bits = 10 } },
	};
	struct err err = { 0 };
	bool adopted;
	struct filter *f = filter_open(&b, &adopted, &err);

	if (!f)
		printf("skip filter: no nf_tables here: %s\n", err.msg);
	return f && filter_close(f, true, &err);
}

UNIT_MAIN_NETNS("filter", available, table_comes_stays_goes, what_root_may_do, bad_bases, elements,
		rows_load, many_rows, counters)
