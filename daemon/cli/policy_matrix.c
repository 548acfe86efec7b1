/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* reeve policy matrix: who reaches what. */
#include "daemon/cli/policy.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cell {
	uint32_t dest;
	uint8_t  proto;
	uint16_t ranges[2048][2];
	size_t   count;
};

struct own { uint32_t v4, v6; };

static void own_dest(void *arg, uint32_t dest, const struct prefix *prefix, bool local)
{
	struct own *o = arg;

	if (local)
		*(prefix->ip.family == IP_V4 ? &o->v4 : &o->v6) = dest;
}

static void take_row(void *arg, const struct compile_row *row)
{
	struct cell *c = arg;

	if (row->dest != c->dest || row->proto != c->proto)
		return;
	/* Rows that differ in stale only are one to whom they let in. */
	if (c->count && (uint32_t)c->ranges[c->count - 1][1] + 1 == row->lo) {
		c->ranges[c->count - 1][1] = row->hi;
	} else if (c->count < array_size(c->ranges)) {
		c->ranges[c->count][0] = row->lo;
		c->ranges[c->count++][1] = row->hi;
	}
}

static const char *proto_name(uint8_t proto)
{
	return proto == 6 ? "tcp" : proto == 17 ? "udp" : proto == 132 ? "sctp" : proto == 1 ? "icmp" : "ipv6-icmp";
}

static void print_row(const struct topology_node *src, const struct topology_node *dst, const struct ip *sip,
                      const struct ip *dip, const struct cell *c, bool json)
{
	char a[IP_TEXT_MAX], b[IP_TEXT_MAX];
	scoped_buf struct buf out = { 0 };

	buf_init(&out, 1 << 20);
	if (json) {
		buf_add_str(&out, "{\"src\":");
		buf_add_json(&out, src->name);
		buf_add_str(&out, ",\"dst\":");
		buf_add_json(&out, dst->name);
		buf_addf(&out, ",\"fam\":\"%s\",\"sip\":\"%s\",\"dip\":\"%s\",\"proto\":%u,\"allow\":[",
		         dip->family == IP_V4 ? "ipv4" : "ipv6", ip_text(sip, a), ip_text(dip, b), c->proto);
		for (size_t i = 0; i < c->count; i++)
			buf_addf(&out, "%s[%u,%u]", i ? "," : "", c->ranges[i][0], c->ranges[i][1]);
		buf_add_str(&out, "]}\n");
	} else if (c->count) {
		buf_addf(&out, "%.*s -> %.*s %s %s ", SPAN_ARG(src->name), SPAN_ARG(dst->name), ip_text(dip, b),
		         proto_name(c->proto));
		for (size_t i = 0; i < c->count; i++) {
			if (c->ranges[i][0] == 0 && c->ranges[i][1] == UINT16_MAX)
				buf_addf(&out, "%s*", i ? "," : "");
			else if (c->ranges[i][0] == c->ranges[i][1])
				buf_addf(&out, "%s%u", i ? "," : "", c->ranges[i][0]);
			else
				buf_addf(&out, "%s%u-%u", i ? "," : "", c->ranges[i][0], c->ranges[i][1]);
		}
		buf_add_char(&out, '\n');
	}
	fwrite(out.ptr, 1, out.len, stdout);
}

static void pair(struct compile *c, const struct own *own, const struct topology_node *src,
                 const struct topology_node *dst, struct cell *cell, bool json)
{
	static const uint8_t protos[2][4] = { { 6, 17, 1, 132 }, { 6, 17, 58, 132 } };
	struct compile_peer p = { 0 };

	compile_peer(c, src->id, &p);
	for (unsigned f = 0; f < 2; f++) {
		const struct ip *sip = f ? &src->ip6 : &src->ip4, *dip = f ? &dst->ip6 : &dst->ip4;

		if (sip->family == IP_NONE || dip->family == IP_NONE)
			continue;
		for (unsigned k = 0; k < 4; k++) {
			cell->dest = f ? own->v6 : own->v4;
			cell->proto = protos[f][k];
			cell->count = 0;
			compile_rows(c, f ? p.class6 : p.class4, take_row, cell);
			print_row(src, dst, sip, dip, cell, json);
		}
	}
}

/* A node's name, its address, or a user whose nodes are meant. */
static bool wanted(const struct topology *topo, const struct topology_node *n, const char *filter)
{
	const struct topology_user *u = topology_user(topo, n->user);
	struct span f = span_str(filter);
	struct ip ip;

	if (!filter || span_eq(n->name, f))
		return true;
	if (ip_parse(f, &ip))
		return ip_eq(&ip, &n->ip4) || ip_eq(&ip, &n->ip6);
	for (size_t i = 0; i < n->tags.count; i++)
		if (span_eq(n->tags.list[i], f))
			return true;
	return u && n->tags.count == 0 && topology_user_by_login(topo, f) == u;
}

int policy_matrix_main(struct policy_args *a)
{
	struct diags d = { 0 };
	struct policy *pol = NULL, *owner = NULL;
	struct topology *topo = NULL;
	struct compile **of;
	struct own *own;
	const struct topology_node *src, *dst;
	struct cell *cell;
	struct wall now;
	size_t pos = 0, n = 0;

	if (!args_now(a, &now))
		return 2;
	pol = policy_load_or_live(a, &a->policy);
	if (pol && a->owner) {
		owner = policy_load(a->owner, POLICY_OWNER, false, &d);
		diags_done(&d);
	}
	if (pol && (owner || !a->owner))
		topo = topology_load_or_live(a);
	if (!topo) {
		policy_unref(pol);
		policy_unref(owner);
		return a->status ? a->status : 1;
	}
	of = mem_calloc(topology_node_count(topo) + 1, sizeof(struct compile *));
	own = mem_calloc(topology_node_count(topo) + 1, sizeof(*own));
	cell = mem_alloc(sizeof(*cell));
	while ((dst = topology_node_next(topo, &pos))) {
		if (wanted(topo, dst, a->dst)) {
			of[n] = compile_new(pol, owner, topo, dst->id, NULL, now);
			compile_dests(of[n], own_dest, &own[n]);
		}
		n++;
	}
	pos = 0;
	while ((src = topology_node_next(topo, &pos))) {
		size_t q = 0;

		if (!wanted(topo, src, a->src))
			continue;
		for (size_t i = 0; (dst = topology_node_next(topo, &q)); i++)
			if (of[i] && dst != src)
				pair(of[i], &own[i], src, dst, cell, a->json);
	}
	for (size_t i = 0; i < n; i++)
		compile_free(of[i]);
	free(of);
	free(own);
	free(cell);
	topology_free(topo);
	policy_unref(pol);
	policy_unref(owner);
	return 0;
}
