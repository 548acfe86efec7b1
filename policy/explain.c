/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "policy/explain.h"

#include "policy/compiling.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static uint32_t dest_of(const struct compile *c, const struct ip *ip)
{
	ipnum n = ip_num(ip);

	for (size_t i = 0; i < c->dest_count; i++)
		if (c->dests[i].family == ip->family && c->dests[i].lo <= n && n <= c->dests[i].hi)
			return c->dests[i].id;
	return 0;
}

void explain_openers(const struct compile *c, const struct ip *dst, uint8_t proto, uint16_t port,
                     explain_rule_fn *fn, void *arg)
{
	uint32_t dest = dest_of(c, dst);

	for (size_t i = 0; dest && i < c->rule_count; i++) {
		const struct local_rule *l = &c->rules[i];
		bool opens = false;

		for (size_t k = 0; k < l->cover_count && !opens; k++)
			opens = l->covers[k].dest == dest && l->covers[k].proto == proto && l->covers[k].lo <= port &&
			        port <= l->covers[k].hi;
		if (opens) {
			scoped_buf struct buf b = { 0 };

			buf_init(&b, POLICY_TEXT_MAX);
			for (size_t s = 0; s < l->rule->src_count; s++)
				buf_addf(&b, "%s%.*s", s ? ", " : "", SPAN_ARG(l->rule->src[s].text));
			fn(arg, (uint32_t)i + 1, l->owner, b.ptr ? b.ptr : "");
		}
	}
}

static void add_list(struct buf *b, const struct spans *l, const char *none)
{
	for (size_t i = 0; i < l->count; i++)
		buf_addf(b, "%s%.*s", i ? "," : "", SPAN_ARG(l->list[i]));
	if (!l->count)
		buf_add_str(b, none);
}

static void add_terms(struct buf *b, const struct http_entry *e, const struct rule *r)
{
	char text[DURATION_TEXT_MAX];
	const char *sep = " (";

	if (r->auth.mfa) {
		buf_addf(b, "%sseveral factors", sep);
		sep = ", ";
	}
	if (r->auth.max_age) {
		buf_addf(b, "%slogin younger than %s", sep, duration_text(r->auth.max_age, text));
		sep = ", ";
	}
	if (r->auth.acr.count) {
		buf_addf(b, "%sacr ", sep);
		add_list(b, &r->auth.acr, "");
		sep = ", ";
	}
	if (r->auth.amr.count) {
		buf_addf(b, "%samr ", sep);
		add_list(b, &r->auth.amr, "");
		sep = ", ";
	}
	if (r->stale != INT64_MAX) {
		buf_addf(b, "%scoordinator heard within %s", sep, duration_text(r->stale, text));
		sep = ", ";
	}
	if (!e->strong) {
		buf_addf(b, "%snot with this login", sep);
		sep = ", ";
	}
	if (e->owner) {
		buf_addf(b, "%sowner's file", sep);
		sep = ", ";
	}
	if (*sep == ',')
		buf_add_char(b, ')');
}

static int cmp_line(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void explain_requests(const struct compile *c, uint32_t class, struct span service, explain_line_fn *fn, void *arg)
{
	const struct class *cl = class_get(c, class);
	char **lines = NULL;
	size_t n = 0;

	for (size_t i = 0; cl && i < cl->http_count; i++) {
		const struct http_entry *e = &cl->http[i];
		const struct rule *r = c->rules[e->rule - 1].rule;

		if (!span_eq(c->services[e->service].name, service))
			continue;
		for (size_t m = 0; m < (r->http_count ? r->http_count : 1); m++) {
			struct buf b;

			buf_init(&b, POLICY_TEXT_MAX);
			if (r->http) {
				add_list(&b, &r->http[m].methods, "any method");
				buf_add_str(&b, " ");
				add_list(&b, &r->http[m].hosts, "any host");
				buf_add_str(&b, " ");
				add_list(&b, &r->http[m].paths, "any path");
			} else {
				buf_add_str(&b, "every request");
			}
			add_terms(&b, e, r);
			lines = mem_realloc(lines, n + 1, sizeof(char *));
			lines[n++] = buf_take(&b);
		}
	}
	if (n)
		qsort(lines, n, sizeof(char *), cmp_line);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(lines[i], lines[i - 1]) != 0)
			fn(arg, span_str(lines[i]));
	for (size_t i = 0; i < n; i++)
		free(lines[i]);
	free(lines);
}

struct pick { uint32_t dest; compile_row_fn *fn; void *arg; };

static void pick_row(void *arg, const struct compile_row *row)
{
	struct pick *p = arg;

	if (row->dest == p->dest)
		p->fn(p->arg, row);
}

void explain_rows(const struct compile *c, uint32_t class, const struct ip *dst, compile_row_fn *fn, void *arg)
{
	struct pick p = { dest_of(c, dst), fn, arg };

	if (p.dest)
		compile_rows(c, class, pick_row, &p);
}
