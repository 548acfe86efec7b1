/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/ruleset.h"

#include "base/encode.h"
#include "base/mem.h"
#include "daemon/mesh/device.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/*
 * $device, $v4, $v6 are the base's; $users and $fronts are sets of uids;
 * #users and #fronts at the start of a line drop the line where there is no
 * such set. A rule is a line of its own behind two tabs, which are counted
 * (ruleset_count()). Everything else is nft(8)'s.
 *
 *                 +--------+                       +---------+
 *   peer -------->| arrive |--- to this host ----->|  input  |---> sockets
 *   underlay ---->|        |--- through it --+     +---------+
 *   laboratory -->+--------+                 |     +---------+
 *                                            +---->| forward |---> mesh, laboratory
 *                                                  +---------+
 *                             sockets ------------>| output  |---> mesh
 *                                                  +---------+
 */
static const char table_text[] =
	"	counter forged { }\n"
	"	counter source { }\n"
	"	counter classless { }\n"
	"	counter no_row { }\n"
	"	counter not_new { }\n"
	"	counter user { }\n"
	"	counter lab { }\n"
	"	counter front { }\n"

	/* Who: one element a peer. Never flushed by a reload. */
	"	map class4 { type ipv4_addr : mark; flags timeout; }\n"
	"	map class6 { type ipv6_addr : mark; flags timeout; }\n"

	/* What: rows_text below, which a load replaces. */
	"	set rows { type mark . inet_proto . inet_service; flags interval; }\n"
	"	set protos { type mark . inet_proto; flags interval; }\n"
	"	set forward4 { type mark . ipv4_addr . inet_proto . inet_service; flags interval; }\n"
	"	set forward6 { type mark . ipv6_addr . inet_proto . inet_service; flags interval; }\n"
	"	set forward_protos4 { type mark . ipv4_addr . inet_proto; flags interval; }\n"
	"	set forward_protos6 { type mark . ipv6_addr . inet_proto; flags interval; }\n"
	"	chain to_rows { }\n"
	"	chain from_rows { }\n"
	"	chain forward_to_rows { }\n"
	"	chain forward_from_rows { }\n"

	/* Prefixes: behind far gateways, and behind this one. */
	"	set via4 { type ipv4_addr; flags interval, timeout; }\n"
	"	set via6 { type ipv6_addr; flags interval, timeout; }\n"
	"	set own4 { type ipv4_addr; flags interval; }\n"
	"	set own6 { type ipv6_addr; flags interval; }\n"

	/* ---- ends ---- */

	/* The mark carried the class; nobody else shall see it. */
	"	chain pass {\n"
	"		meta mark set 0 accept\n"
	"	}\n"
	"	chain no_class {\n"
	"		counter name classless reject with icmpx admin-prohibited\n"
	"	}\n"
	"	chain no_row {\n"
	"		counter name no_row reject with icmpx admin-prohibited\n"
	"	}\n"
	"	chain not_new {\n"
	"		counter name not_new drop\n"
	"	}\n"
	"	chain no_lab {\n"
	"		counter name lab reject with icmpx admin-prohibited\n"
	"	}\n"

	/* Path MTU and unreachables of flows that passed. Others come back to the caller's rows. */
	"	chain related {\n"
	"		icmp type { destination-unreachable, time-exceeded, parameter-problem } goto pass\n"
	"		icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, "
	"parameter-problem } goto pass\n"
	"	}\n"

	/* ---- arriving, on any interface ---- */

	/* Before reassembly (-400) and connection tracking (-200): what is forged here
	 * touches no state, nor a peer's datagram of which it pretends to be a piece. */
	"	chain arrive {\n"
	"		type filter hook prerouting priority -450; policy accept;\n"
	"		iifname \"lo\" accept\n"
	"		iifname \"$device\" goto arrive_mesh\n"
	"		ip saddr $v4 counter name forged drop\n"
	"		ip6 saddr $v6 counter name forged drop\n"
	"		ip saddr @via4 counter name forged drop\n"
	"		ip6 saddr @via6 counter name forged drop\n"
	/* The laboratory's own addresses come from where its route leads. */
	"		ip saddr @own4 fib saddr . iif oif missing counter name forged drop\n"
	"		ip6 saddr @own6 fib saddr . iif oif missing counter name forged drop\n"
	"	}\n"
	"	chain arrive_mesh {\n"
	"		ip saddr $v4 accept\n"
	"		ip6 saddr $v6 accept\n"
	"		ip saddr @via4 accept\n"
	"		ip6 saddr @via6 accept\n"
	"		counter name source drop\n"
	"	}\n"

	/* ---- to this host ---- */

	"	chain input {\n"
	"		type filter hook input priority filter - 10; policy accept;\n"
	"		iifname \"lo\" accept\n"
	"		iifname != \"$device\" goto input_else\n"
	"		meta mark set 0\n"
	"		ip saddr @via4 goto input_far\n"
	"		ip6 saddr @via6 goto input_far\n"
	"		meta mark set ip saddr map @class4\n"
	"		meta mark set ip6 saddr map @class6\n"
	"		meta mark 0 goto no_class\n"
	"		icmp type redirect goto no_row\n"
	/* A peer chooses the destination of what it sends: without this its rows would
	 * open the same port on this host's other addresses, where no front listens. */
	"		ip daddr != $v4 goto no_row\n"
	"		ip6 daddr != $v6 goto no_row\n"
	/* A segment that opens nothing, from whom we listen to: FILTER_CLASS_CONTROL. */
	"		meta mark & 0x00040000 != 0 tcp flags & (syn | ack) == ack goto pass\n"
	/* Rows know classes without those bits. */
	"		meta mark set meta mark & 0xfff3ffff\n"
	"		ct state invalid,untracked goto not_new\n"
	"		ct state related jump related\n"
	"		ct direction reply ct state established goto pass\n"
	"		ct state != established tcp flags & (fin | syn | rst | ack) != syn goto not_new\n"
	"		jump to_rows\n"
	"		goto no_row\n"
	"	}\n"
	/* From behind a far gateway: answers only. */
	"	chain input_far {\n"
	"		ip daddr != $v4 goto no_row\n"
	"		ip6 daddr != $v6 goto no_row\n"
	"		ct state related jump related\n"
	"		ct direction reply ct state established goto pass\n"
	"		goto no_row\n"
	"	}\n"
	/* Overlay addresses answer on the mesh interface alone. */
	"	chain input_else {\n"
	"		ip daddr $v4 counter name forged drop\n"
	"		ip6 daddr $v6 counter name forged drop\n"
	"	}\n"

	/* ---- from this host ---- */

	"	chain output {\n"
	"		type filter hook output priority filter - 10; policy accept;\n"
	"#fronts		meta skuid $fronts jump output_front\n"
	"		oifname \"lo\" accept\n"
	"		oifname != \"$device\" accept\n"
	/* Refusals, which go to peers without a class as well. */
	"		icmp type destination-unreachable icmp code admin-prohibited accept\n"
	"		icmpv6 type destination-unreachable icmpv6 code admin-prohibited accept\n"
	/* What the system says on every interface and nobody asked for. */
	"		ip daddr { 224.0.0.0/4, 255.255.255.255 } drop\n"
	"		ip6 daddr { fe80::/10, ff00::/8 } drop\n"
	"		meta mark set 0\n"
	"		ip daddr @via4 goto output_far\n"
	"		ip6 daddr @via6 goto output_far\n"
	"		meta mark set ip daddr map @class4\n"
	"		meta mark set ip6 daddr map @class6\n"
	"		meta mark 0 goto no_class\n"
	"		meta mark & 0x00040000 != 0 tcp flags & (syn | ack) == ack goto pass\n"
	"		ct state invalid,untracked goto not_new\n"
	"		ct state related jump related\n"
	"		ct direction reply goto answer\n"
	"		goto ask\n"
	"	}\n"
	"	chain output_far {\n"
	"		ct state invalid,untracked goto not_new\n"
	"		ct state related jump related\n"
	"		ct direction reply goto no_row\n"
	"		goto ask\n"
	"	}\n"
	/* A peer's flow: each packet of ours needs its row still. */
	"	chain answer {\n"
	"		meta mark set meta mark & 0xfff3ffff\n"
	"		jump from_rows\n"
	"		goto no_row\n"
	"	}\n"
	/* Our own flow. A packet without an owner is the kernel's. */
	"	chain ask {\n"
	/* A flow that a peer opened and that connection tracking has forgotten looks like ours. */
	"		meta mark & 0x00080000 != 0 goto no_row\n"
	"#users		meta skuid != $users counter name user reject with icmpx admin-prohibited\n"
	"		ct state != established tcp flags & (fin | syn | rst | ack) != syn goto not_new\n"
	"		goto pass\n"
	"	}\n"
	"#fronts	chain output_front {\n"
	"#fronts		ct state established,related return\n"
	"#fronts		counter name front reject with icmpx admin-prohibited\n"
	"#fronts	}\n"

	/* ---- through this host ---- */

	"	chain forward {\n"
	"		type filter hook forward priority filter - 10; policy accept;\n"
	"		iifname \"$device\" oifname \"$device\" goto no_row\n"
	"		iifname \"$device\" goto forward_in\n"
	"		oifname \"$device\" goto forward_out\n"
	"		ip daddr $v4 goto no_lab\n"
	"		ip6 daddr $v6 goto no_lab\n"
	"	}\n"
	"	chain forward_in {\n"
	"		meta mark set 0\n"
	"		meta mark set ip saddr map @class4\n"
	"		meta mark set ip6 saddr map @class6\n"
	"		meta mark 0 goto no_class\n"
	"		icmp type redirect goto no_row\n"
	"		meta mark set meta mark & 0xfff3ffff\n"
	"		ct state invalid,untracked goto not_new\n"
	"		ct state related jump related\n"
	"		ct direction reply goto no_row\n"
	"		ct state != established tcp flags & (fin | syn | rst | ack) != syn goto not_new\n"
	"		jump forward_to_rows\n"
	"		goto no_row\n"
	"	}\n"
	/* Into the mesh: answers to peers, by the same rows. */
	"	chain forward_out {\n"
	"		meta mark set 0\n"
	"		meta mark set ip daddr map @class4\n"
	"		meta mark set ip6 daddr map @class6\n"
	"		meta mark 0 goto no_class\n"
	"		meta mark set meta mark & 0xfff3ffff\n"
	"		ct state related jump related\n"
	"		ct state != established goto no_lab\n"
	"		ct direction original goto no_lab\n"
	"		jump forward_from_rows\n"
	"		goto no_row\n"
	"	}\n";

/*
 * What a class may. rows: class . protocol . port of this host; protos: class .
 * protocol where ports do not count; forward*: the same for what goes through.
 * Sets and the rules that look into them are made anew by a load, in its one
 * transaction: to empty a set of intervals costs the square of its size (5.8 s
 * for 10,000 where making another one costs 0.1).
 */
static const char rows_text[] =
	"flush chain inet reeve to_rows\n"
	"flush chain inet reeve from_rows\n"
	"flush chain inet reeve forward_to_rows\n"
	"flush chain inet reeve forward_from_rows\n"
	"delete set inet reeve rows\n"
	"delete set inet reeve protos\n"
	"delete set inet reeve forward4\n"
	"delete set inet reeve forward6\n"
	"delete set inet reeve forward_protos4\n"
	"delete set inet reeve forward_protos6\n"
	"table inet reeve {\n"
	"	set rows { type mark . inet_proto . inet_service; flags interval; }\n"
	"	set protos { type mark . inet_proto; flags interval; }\n"
	"	set forward4 { type mark . ipv4_addr . inet_proto . inet_service; flags interval; }\n"
	"	set forward6 { type mark . ipv6_addr . inet_proto . inet_service; flags interval; }\n"
	"	set forward_protos4 { type mark . ipv4_addr . inet_proto; flags interval; }\n"
	"	set forward_protos6 { type mark . ipv6_addr . inet_proto; flags interval; }\n"
	"	chain to_rows {\n"
	"		meta l4proto { tcp, udp, udplite, sctp, dccp } "
	"meta mark . meta l4proto . th dport @rows goto pass\n"
	"		meta mark . meta l4proto @protos goto pass\n"
	"	}\n"
	"	chain from_rows {\n"
	"		meta l4proto { tcp, udp, udplite, sctp, dccp } "
	"meta mark . meta l4proto . th sport @rows goto pass\n"
	"		meta mark . meta l4proto @protos goto pass\n"
	"	}\n"
	"	chain forward_to_rows {\n"
	"		meta l4proto { tcp, udp, udplite, sctp, dccp } "
	"meta mark . ip daddr . meta l4proto . th dport @forward4 goto pass\n"
	"		meta l4proto { tcp, udp, udplite, sctp, dccp } "
	"meta mark . ip6 daddr . meta l4proto . th dport @forward6 goto pass\n"
	"		meta mark . ip daddr . meta l4proto @forward_protos4 goto pass\n"
	"		meta mark . ip6 daddr . meta l4proto @forward_protos6 goto pass\n"
	"	}\n"
	"	chain forward_from_rows {\n"
	"		meta l4proto { tcp, udp, udplite, sctp, dccp } "
	"meta mark . ip saddr . meta l4proto . th sport @forward4 goto pass\n"
	"		meta l4proto { tcp, udp, udplite, sctp, dccp } "
	"meta mark . ip6 saddr . meta l4proto . th sport @forward6 goto pass\n"
	"		meta mark . ip saddr . meta l4proto @forward_protos4 goto pass\n"
	"		meta mark . ip6 saddr . meta l4proto @forward_protos6 goto pass\n"
	"	}\n"
	"}\n";

static void add_uids(struct buf *out, const uint32_t *uids, size_t n, bool root)
{
	const char *sep = "{ ";

	if (root) {
		buf_add_str(out, "{ 0");
		sep = ", ";
	}
	for (size_t i = 0; i < n; i++, sep = ", ")
		if (!root || uids[i] != 0)
			buf_addf(out, "%s%u", sep, uids[i]);
	buf_add_str(out, " }");
}

/* Words that a line begins with, and lines that are left out without a set. */
static void add_table(struct buf *out, const struct filter_base *base)
{
	struct span rest = SPAN(""), line;
	char text[IP_TEXT_MAX];

	rest = span_of(table_text, sizeof(table_text) - 2);
	while (span_next(&rest, '\n', &line)) {
		if (span_starts(line, SPAN("#users"))) {
			if (base->users_any)
				continue;
			line = span_from(line, sizeof("#users") - 1);
		} else if (span_starts(line, SPAN("#fronts"))) {
			if (base->fronts_n == 0)
				continue;
			line = span_from(line, sizeof("#fronts") - 1);
		}
		for (;;) {
			size_t n = span_find(line, '$');

			buf_add_span(out, span_head(line, n));
			line = span_from(line, n);
			if (line.len == 0)
				break;
			if (span_starts(line, SPAN("$device"))) {
				buf_add_str(out, base->device);
				line = span_from(line, sizeof("$device") - 1);
			} else if (span_starts(line, SPAN("$users"))) {
				add_uids(out, base->users, base->users_n, true);
				line = span_from(line, sizeof("$users") - 1);
			} else if (span_starts(line, SPAN("$fronts"))) {
				add_uids(out, base->fronts, base->fronts_n, false);
				line = span_from(line, sizeof("$fronts") - 1);
			} else {
				bool v4 = span_starts(line, SPAN("$v4"));

				buf_add_str(out, prefix_text(v4 ? &base->overlay.v4
								: &base->overlay.v6, text));
				line = span_from(line, sizeof("$v4") - 1);
			}
		}
		buf_add_char(out, '\n');
	}
}

size_t ruleset_count(struct span text)
{
	struct span line;
	size_t n = 0;

	while (span_next(&text, '\n', &line))
		n += span_starts(line, SPAN("\t\t")) && !span_starts(line, SPAN("\t\ttype "));
	return n;
}

size_t ruleset_rows_count(void)
{
	return ruleset_count(span_of(rows_text, sizeof(rows_text) - 1));
}

bool ruleset_base(const struct filter_base *base, struct buf *out, char ret_mark[RULESET_MARK_MAX],
		  struct err *err)
{
	scoped_buf struct buf body = { 0 }, hex = { 0 };
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (!device_name_ok(span_str(base->device)))
		return err_set(err, ERR_CONFIG, "not the name of an interface");
	if (!overlay_check(&base->overlay, err))
		return false;
	if (base->users_n > FILTER_USERS_MAX || base->fronts_n > FILTER_USERS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d users", FILTER_USERS_MAX);
	buf_init(&body, RULESET_TEXT_MAX);
	buf_init(&hex, RULESET_MARK_MAX);
	add_table(&body, base);
	if (EVP_Digest(body.ptr, body.len, hash, &n, EVP_sha256(), NULL) != 1 || n < 16)
		return err_set(err, ERR_CRYPTO, "no SHA-256");
	hex_add(&hex, span_of(hash, 16));
	memcpy(ret_mark, "reeve ", 6);
	memcpy(ret_mark + 6, hex.ptr, hex.len + 1);

	/* Adding first makes the deletion hold where there was none. */
	buf_addf(out,
		 "add table inet " RULESET_TABLE "\n"
		 "delete table inet " RULESET_TABLE "\n"
		 "table inet " RULESET_TABLE " {\n\tcomment \"%s\"\n%.*s}\n",
		 ret_mark, SPAN_ARG(buf_span(&body)));
	if (out->over)
		return err_set(err, ERR_LIMIT, "the packet filter's text is too long");
	return true;
}

/* "add element inet reeve NAME { a, b, ... }"; nothing for no elements. */
struct elements {
	struct buf *out;
	const char *set;
	size_t      n;
};

static void element(struct elements *e)
{
	if (e->n++ == 0)
		buf_addf(e->out, "add element inet " RULESET_TABLE " %s { ", e->set);
	else
		buf_add_str(e->out, ", ");
}

static void elements_end(struct elements *e)
{
	if (e->n > 0)
		buf_add_str(e->out, " }\n");
}

static void flush(struct buf *out, const char *set)
{
	buf_addf(out, "flush set inet " RULESET_TABLE " %s\n", set);
}

static void add_range(struct buf *out, const struct range *r)
{
	char lo[IP_TEXT_MAX], hi[IP_TEXT_MAX];

	ip_text(&r->lo, lo);
	ip_text(&r->hi, hi);
	if (ip_eq(&r->lo, &r->hi))
		buf_add_str(out, lo);
	else
		buf_addf(out, "%s-%s", lo, hi);
}

static bool without_ports(const struct box *b)
{
	return !proto_has_ports(b->proto) || (b->lo == 0 && b->hi == UINT16_MAX);
}

static void add_boxes(struct buf *out, const char *set, const struct box *boxes, size_t n,
		      uint8_t family, bool ports)
{
	struct elements e = { .out = out, .set = set };

	for (size_t i = 0; i < n; i++) {
		const struct box *b = &boxes[i];

		if (b->to.lo.family != family || without_ports(b) == ports)
			continue;
		element(&e);
		buf_addf(out, "%u", b->class);
		if (family != IP_NONE) {
			buf_add_str(out, " . ");
			add_range(out, &b->to);
		}
		if (b->proto == FILTER_PROTO_ANY)
			buf_add_str(out, " . 0-255");
		else
			buf_addf(out, " . %u", b->proto);
		if (ports && b->lo == b->hi)
			buf_addf(out, " . %u", b->lo);
		else if (ports)
			buf_addf(out, " . %u-%u", b->lo, b->hi);
	}
	elements_end(&e);
}

static bool inside_overlay(const struct filter_base *base, const struct prefix *p, struct err *err)
{
	const struct prefix *range = p->ip.family == IP_V4 ? &base->overlay.v4 : &base->overlay.v6;
	char text[IP_TEXT_MAX];

	if (!prefix_covers(range, p) && !prefix_covers(p, range))
		return false;
	err_set(err, ERR_CONFIG, "%s is the mesh's own", prefix_text(p, text));
	return true;
}

static void add_ranges(struct buf *out, const char *set, const struct timed_range *ranges, size_t n,
		       uint8_t family)
{
	struct elements e = { .out = out, .set = set };

	for (size_t i = 0; i < n; i++) {
		if (ranges[i].at.lo.family != family)
			continue;
		element(&e);
		add_range(out, &ranges[i].at);
		if (ranges[i].timeout_ms >= FILTER_TIMEOUT_MAX_MS)
			continue;
		/* nft takes at most eight digits of anything; a longer time loses its rest. */
		if (ranges[i].timeout_ms > INT64_C(99999999) * 1000)
			buf_addf(out, " timeout %lldd", (long long)ranges[i].timeout_ms / 86400000);
		else if (ranges[i].timeout_ms > 99999999)
			buf_addf(out, " timeout %llds", (long long)ranges[i].timeout_ms / 1000);
		else
			buf_addf(out, " timeout %lldms", (long long)ranges[i].timeout_ms);
	}
	elements_end(&e);
}

bool ruleset_rows(const struct filter_base *base, const struct filter_rows *rows, struct buf *out,
		  struct err *err)
{
	scoped_free struct box *local = NULL;
	scoped_free struct box *through = NULL;
	scoped_free struct filter_via *own = NULL;
	scoped_free struct timed_range *ranges = NULL;
	size_t local_n, through_n, ranges_n;

	for (size_t i = 0; i < rows->forward_n; i++)
		if (inside_overlay(base, &rows->forward[i].to, err))
			return false;
	if (!boxes_of_rows(rows->rows, rows->rows_n, &local, &local_n, err) ||
	    !boxes_of_forward(rows->forward, rows->forward_n, &through, &through_n, err))
		return false;
	own = mem_calloc(rows->forward_n + 1, sizeof(*own));
	for (size_t i = 0; i < rows->forward_n; i++)
		own[i] = (struct filter_via){ rows->forward[i].to, INT64_MAX };
	if (!ranges_of_via(own, rows->forward_n, NULL, 0, &ranges, &ranges_n, err))
		return false;

	flush(out, "own4");
	flush(out, "own6");
	buf_add_str(out, rows_text);
	add_boxes(out, "rows", local, local_n, IP_NONE, true);
	add_boxes(out, "protos", local, local_n, IP_NONE, false);
	add_boxes(out, "forward4", through, through_n, IP_V4, true);
	add_boxes(out, "forward6", through, through_n, IP_V6, true);
	add_boxes(out, "forward_protos4", through, through_n, IP_V4, false);
	add_boxes(out, "forward_protos6", through, through_n, IP_V6, false);
	add_ranges(out, "own4", ranges, ranges_n, IP_V4);
	add_ranges(out, "own6", ranges, ranges_n, IP_V6);
	if (out->over)
		return err_set(err, ERR_LIMIT, "the packet filter's text is too long");
	return true;
}

bool ruleset_via(const struct filter_base *base, const struct filter_via *via, size_t n,
		 const struct prefix *own, size_t own_n, struct buf *out, struct err *err)
{
	scoped_free struct timed_range *ranges = NULL;
	size_t ranges_n;

	for (size_t i = 0; i < n; i++)
		if (inside_overlay(base, &via[i].to, err))
			return false;
	if (!ranges_of_via(via, n, own, own_n, &ranges, &ranges_n, err))
		return false;
	flush(out, "via4");
	flush(out, "via6");
	add_ranges(out, "via4", ranges, ranges_n, IP_V4);
	add_ranges(out, "via6", ranges, ranges_n, IP_V6);
	if (out->over)
		return err_set(err, ERR_LIMIT, "the packet filter's text is too long");
	return true;
}
