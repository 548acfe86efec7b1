/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* reeve policy diff: what opens and what closes, for people rather than packets. */
#include "daemon/cli/policy.h"

#include "base/mem.h"
#include "daemon/cli/cli.h"
#include "policy/explain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RANGES_MAX = 4096 };

struct range { uint8_t proto; uint16_t lo, hi; };

struct ranges { struct range list[RANGES_MAX]; size_t count; };

/* One line of the answer; lines that differ only in the device or the family are one. */
struct change {
	char    *text;          /* "+ staff@example.edu -> web tcp 22" */
	uint64_t last_src;
	unsigned devices;
};

struct diff {
	const struct topology *topo;
	struct change         *list;
	size_t                 count, cap;
	struct ranges         *old, *new;
};

static void add(struct diff *d, const struct topology_node *src, struct span text)
{
	for (size_t i = 0; i < d->count; i++)
		if (span_eq(span_str(d->list[i].text), text)) {
			if (d->list[i].last_src != src->id)
				d->list[i].devices++;
			d->list[i].last_src = src->id;
			return;
		}
	if (d->count == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 64;
		d->list = mem_realloc(d->list, d->cap, sizeof(*d->list));
	}
	d->list[d->count++] = (struct change){ span_dup(text), src->id, 1 };
}

static void add_who(struct buf *b, const struct diff *d, const struct topology_node *n)
{
	const struct topology_user *u = n->tags.count ? NULL : topology_user(d->topo, n->user);

	if (u)
		buf_add_span(b, u->login.len ? u->login : u->email);
	else
		buf_add_span(b, n->name);
}

static void take_row(void *arg, const struct compile_row *row)
{
	struct ranges *r = arg;
	struct range *last = r->count ? &r->list[r->count - 1] : NULL;

	if (last && last->proto == row->proto && (uint32_t)last->hi + 1 == row->lo)
		last->hi = row->hi;
	else if (r->count < RANGES_MAX)
		r->list[r->count++] = (struct range){ row->proto, row->lo, row->hi };
}

static void put_range(struct diff *d, char sign, const struct topology_node *src, struct span dst, struct range r)
{
	static const struct { uint8_t n; const char *name; } names[] = { { 6, "tcp" }, { 17, "udp" }, { 1, "icmp" },
		{ 58, "icmp" }, { 132, "sctp" } };
	scoped_buf struct buf b = { 0 };
	const char *proto = NULL;

	for (size_t i = 0; i < array_size(names); i++)
		if (names[i].n == r.proto)
			proto = names[i].name;
	buf_init(&b, 8192);
	buf_addf(&b, "%c ", sign);
	add_who(&b, d, src);
	buf_addf(&b, " -> %.*s ", SPAN_ARG(dst));
	if (proto)
		buf_add_str(&b, proto);
	else
		buf_addf(&b, "protocol %u", r.proto);
	if (r.lo == 0 && r.hi == UINT16_MAX)
		buf_add_str(&b, r.proto == 6 || r.proto == 17 || r.proto == 132 ? " *" : "");
	else if (r.lo == r.hi)
		buf_addf(&b, " %u", r.lo);
	else
		buf_addf(&b, " %u-%u", r.lo, r.hi);
	add(d, src, buf_span(&b));
}

/* What a has and b has not. Both are sorted by protocol and port. */
static void only(struct diff *d, char sign, const struct topology_node *src, struct span dst, const struct ranges *a,
                 const struct ranges *b)
{
	for (size_t i = 0; i < a->count; i++) {
		uint32_t lo = a->list[i].lo;

		for (size_t k = 0; k < b->count && lo <= a->list[i].hi; k++) {
			const struct range *x = &b->list[k];

			if (x->proto != a->list[i].proto || x->hi < lo || x->lo > a->list[i].hi)
				continue;
			if (x->lo > lo)
				put_range(d, sign, src, dst, (struct range){ x->proto, (uint16_t)lo, (uint16_t)(x->lo - 1) });
			lo = (uint32_t)x->hi + 1;
		}
		if (lo <= a->list[i].hi)
			put_range(d, sign, src, dst, (struct range){ a->list[i].proto, (uint16_t)lo, a->list[i].hi });
	}
}

struct prefixes { struct prefix *list; size_t count, cap; };

static void take_dest(void *arg, uint32_t dest, const struct prefix *prefix, bool local)
{
	struct prefixes *p = arg;

	(void)dest;
	(void)local;
	if (p->count == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 16;
		p->list = mem_realloc(p->list, p->cap, sizeof(*p->list));
	}
	p->list[p->count++] = *prefix;
}

struct lines { char **list; size_t count; };

static void take_line(void *arg, struct span line)
{
	struct lines *l = arg;

	l->list = mem_realloc(l->list, l->count + 1, sizeof(char *));
	l->list[l->count++] = span_dup(line);
}

static void only_lines(struct diff *d, char sign, const struct topology_node *src, struct span service,
                       const struct lines *a, const struct lines *b)
{
	for (size_t i = 0; i < a->count; i++) {
		scoped_buf struct buf text = { 0 };
		bool both = false;

		for (size_t k = 0; k < b->count; k++)
			both |= strcmp(a->list[i], b->list[k]) == 0;
		if (both)
			continue;
		buf_init(&text, POLICY_TEXT_MAX);
		buf_addf(&text, "%c ", sign);
		add_who(&text, d, src);
		buf_addf(&text, " -> svc:%.*s %s", SPAN_ARG(service), a->list[i]);
		add(d, src, buf_span(&text));
	}
}

static void lines_done(struct lines *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->list[i]);
	free(l->list);
}

static void requests(struct diff *d, struct compile *a, struct compile *b, const struct topology_node *self,
                     const struct topology_node *src, const struct compile_peer *pa, const struct compile_peer *pb)
{
	const struct topology_service *s;
	size_t pos = 0;

	while ((s = topology_service_next(d->topo, &pos))) {
		struct lines la = { 0 }, lb = { 0 };

		if (s->node != self->id || !s->http)
			continue;
		explain_requests(a, pa->class4, s->name, take_line, &la);
		explain_requests(b, pb->class4, s->name, take_line, &lb);
		only_lines(d, '+', src, s->name, &lb, &la);
		only_lines(d, '-', src, s->name, &la, &lb);
		lines_done(&la);
		lines_done(&lb);
	}
}

static struct span dst_name(const struct topology_node *self, const struct prefix *p, char buf[IP_TEXT_MAX])
{
	if (ip_eq(&p->ip, &self->ip4) || ip_eq(&p->ip, &self->ip6))
		return self->name;
	return span_str(prefix_text(p, buf));
}

/* Everything that self receives, before and after. */
static void one_endpoint(struct diff *d, struct policy *old, struct policy *new, struct policy *owner,
                         const struct topology_node *self, struct wall now)
{
	struct compile *a = compile_new(old, owner, d->topo, self->id, NULL, now);
	struct compile *b = compile_new(new, owner, d->topo, self->id, NULL, now);
	struct prefixes pa = { 0 }, pb = { 0 };
	const struct topology_node *src;
	size_t pos = 0;

	compile_dests(a, take_dest, &pa);
	compile_dests(b, take_dest, &pb);
	while ((src = topology_node_next(d->topo, &pos))) {
		struct compile_peer xa = { 0 }, xb = { 0 };

		if (src == self || !compile_peer(a, src->id, &xa) || !compile_peer(b, src->id, &xb))
			continue;
		/* Both cut the same addresses into prefixes: the smaller of two that overlap is whole in both. */
		for (size_t i = 0; i < pa.count; i++)
			for (size_t k = 0; k < pb.count; k++) {
				const struct prefix *p;
				char text[IP_TEXT_MAX];

				if (prefix_covers(&pa.list[i], &pb.list[k]))
					p = &pb.list[k];
				else if (prefix_covers(&pb.list[k], &pa.list[i]))
					p = &pa.list[i];
				else
					continue;
				d->old->count = d->new->count = 0;
				explain_rows(a, p->ip.family == IP_V4 ? xa.class4 : xa.class6, &p->ip, take_row, d->old);
				explain_rows(b, p->ip.family == IP_V4 ? xb.class4 : xb.class6, &p->ip, take_row, d->new);
				only(d, '+', src, dst_name(self, p, text), d->new, d->old);
				only(d, '-', src, dst_name(self, p, text), d->old, d->new);
			}
		requests(d, a, b, self, src, &xa, &xb);
	}
	free(pa.list);
	free(pb.list);
	compile_free(a);
	compile_free(b);
}

static int cmp_change(const void *x, const void *y)
{
	const struct change *a = x, *b = y;

	/* What opens first: it is what a reviewer looks for. */
	if (a->text[0] != b->text[0])
		return a->text[0] == '+' ? -1 : 1;
	return strcmp(a->text, b->text);
}

static void print(struct diff *d, bool json)
{
	scoped_buf struct buf b = { 0 };
	size_t opened = 0;

	buf_init(&b, POLICY_TEXT_MAX * 8);
	if (d->count)
		qsort(d->list, d->count, sizeof(*d->list), cmp_change);
	if (json)
		buf_add_char(&b, '[');
	for (size_t i = 0; i < d->count; i++) {
		opened += d->list[i].text[0] == '+';
		if (json) {
			buf_addf(&b, "%s{\"change\":\"%s\",\"what\":", i ? ",\n" : "", d->list[i].text[0] == '+' ? "opens" : "closes");
			buf_add_json(&b, span_str(d->list[i].text + 2));
			buf_addf(&b, ",\"devices\":%u}", d->list[i].devices);
		} else {
			buf_add_str(&b, d->list[i].text);
			if (d->list[i].devices > 1)
				buf_addf(&b, "  (%u devices)", d->list[i].devices);
			buf_add_char(&b, '\n');
		}
	}
	if (json)
		buf_add_str(&b, "]\n");
	else if (d->count)
		buf_addf(&b, "%zu open, %zu close\n", opened, d->count - opened);
	else
		buf_add_str(&b, "nothing opens, nothing closes\n");
	fwrite(b.ptr, 1, b.len, stdout);
}

static void compare(struct policy *old, struct policy *new, struct policy *owner, const struct topology *topo,
                    struct wall now, bool json)
{
	struct diff d = { .topo = topo, .old = mem_alloc(sizeof(*d.old)), .new = mem_alloc(sizeof(*d.new)) };
	const struct topology_node *self;
	size_t pos = 0;

	while ((self = topology_node_next(topo, &pos)))
		one_endpoint(&d, old, new, owner, self, now);
	print(&d, json);
	for (size_t i = 0; i < d.count; i++)
		free(d.list[i].text);
	free(d.list);
	free(d.old);
	free(d.new);
}

int policy_diff_main(struct policy_args *a)
{
	struct policy *old, *new = NULL, *owner = NULL;
	const char *old_path = a->rest_count == 2 ? a->rest[0] : NULL, *new_path = a->rest[a->rest_count == 2];
	struct topology *topo = NULL;
	struct diags diags = { 0 };
	struct wall now;
	bool ok;

	if (!new_path) {
		fputs("reeve policy diff: [OLD] NEW [--topology FILE]\n", stderr);
		return 2;
	}
	if (!args_now(a, &now))
		return 2;
	old = policy_load_or_live(a, &old_path);
	ok = old && (new = policy_load_or_live(a, &new_path));
	if (ok && a->owner) {
		ok = (owner = policy_load(a->owner, POLICY_OWNER, false, &diags)) != NULL;
		diags_done(&diags);
	}
	ok = ok && (topo = topology_load_or_live(a));
	if (ok)
		compare(old, new, owner, topo, now, a->json);
	topology_free(topo);
	policy_unref(old);
	policy_unref(new);
	policy_unref(owner);
	return ok ? 0 : a->status ? a->status : 1;
}

bool policy_review(const struct cli *cli, struct span text, const char *file, bool yes)
{
	struct policy_args a = { .cli = cli };
	const char *path = NULL;
	struct policy *old, *new;
	struct topology *topo = NULL;
	struct diags d;
	char answer[8] = "";
	bool ok;

	diags_init(&d, file);
	new = policy_parse(text, POLICY_FILE, &d);
	if (!new) {
		scoped_buf struct buf b = { 0 };

		buf_init(&b, 1 << 20);
		diags_text(&d, &b);
		fprintf(stderr, "%s", b.ptr ? b.ptr : "");
	}
	diags_done(&d);
	old = new ? policy_load_or_live(&a, &path) : NULL;
	ok = old && (topo = topology_load_or_live(&a));
	if (ok)
		compare(old, new, NULL, topo, clock_wall(), cli->json);
	topology_free(topo);
	policy_unref(old);
	policy_unref(new);
	if (!ok || yes)
		return ok;
	fflush(stdout);
	if (!isatty(STDIN_FILENO)) {
		fputs("reeve policy: nobody is there to ask; --yes applies it\n", stderr);
		return false;
	}
	fputs("Apply? [y/N] ", stderr);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}
