/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * reeve policy fmt: one layout, comments kept. What fits on a line and was not
 * written with line comments inside stays on one; everything else has one item
 * a line and a comma behind each. Formatting twice changes nothing.
 */
#include "daemon/cli/policy.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/hujson.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_COLS = 100, INDENT = 2, FMT_DEPTH_MAX = HUJSON_DEPTH_MAX };

struct comment { struct span text; bool line, blank_before; struct comment *next; };

struct item {
	struct span     text;           /* a scalar as written; empty for a container */
	struct span     key;            /* as written, with its quotes; empty in arrays */
	char            open;           /* '{' or '[' or 0 */
	bool            blank_before, no_inline;
	struct comment *before, *after, *inner;        /* inner: before the closing bracket */
	struct item    *child, *next;
};

struct fmt {
	struct hujson_scan  scan;
	struct hujson_token tok;
	struct arena        arena;
	struct buf          out;
	bool                bad;
};

static void next(struct fmt *f)
{
	f->tok = hujson_next(&f->scan);
	if (f->tok.kind == HUJSON_BAD)
		f->bad = true;
}

static bool is_comment(const struct fmt *f)
{
	return f->tok.kind == HUJSON_LINE_COMMENT || f->tok.kind == HUJSON_BLOCK_COMMENT;
}

static struct comment **take_comment(struct fmt *f, struct comment **at)
{
	struct comment *c = arena_alloc(&f->arena, sizeof(*c));

	c->text = f->tok.text;
	while (c->text.len && (c->text.ptr[c->text.len - 1] == '\n' || c->text.ptr[c->text.len - 1] == '\r' ||
	                       c->text.ptr[c->text.len - 1] == ' ' || c->text.ptr[c->text.len - 1] == '\t'))
		c->text.len--;
	c->line = f->tok.kind == HUJSON_LINE_COMMENT;
	c->blank_before = f->tok.newlines > 1;
	*at = c;
	next(f);
	return &c->next;
}

static struct comment **take_comments(struct fmt *f, struct comment **at)
{
	while (is_comment(f) && !f->bad)
		at = take_comment(f, at);
	return at;
}

/* Comments on the same line, behind what they speak of. */
static void take_after(struct fmt *f, struct item *i)
{
	struct comment **at = &i->after;

	while (*at)
		at = &(*at)->next;
	while (is_comment(f) && f->tok.newlines == 0 && !f->bad)
		at = take_comment(f, at);
}

static struct item *parse(struct fmt *f, unsigned depth);

static void children(struct fmt *f, struct item *i, unsigned depth)
{
	enum hujson_kind close = i->open == '{' ? HUJSON_RBRACE : HUJSON_RBRACKET;
	struct item **at = &i->child;

	for (;;) {
		struct comment *before = NULL;
		bool blank = f->tok.newlines > 1 && i->child;
		struct item *c;
		struct span key = SPAN("");

		take_comments(f, &before);
		if (f->bad)
			return;
		if (f->tok.kind == close) {
			i->inner = before;
			next(f);
			return;
		}
		if (!before)
			blank = f->tok.newlines > 1 && i->child;
		if (i->open == '{') {
			struct comment **more = &before;

			if (f->tok.kind != HUJSON_STRING) {
				f->bad = true;
				return;
			}
			key = f->tok.text;
			next(f);
			while (*more)
				more = &(*more)->next;
			more = take_comments(f, more);
			if (f->tok.kind != HUJSON_COLON) {
				f->bad = true;
				return;
			}
			next(f);
			take_comments(f, more);
		}
		c = parse(f, depth + 1);
		if (!c)
			return;
		c->key = key;
		c->before = before;
		c->blank_before = before ? false : blank;
		if (before)
			before->blank_before = before->blank_before && i->child;
		*at = c;
		at = &c->next;
		take_after(f, c);
		if (f->tok.kind == HUJSON_COMMA) {
			next(f);
			take_after(f, c);
		} else {
			struct comment **more = &c->after;

			while (*more)
				more = &(*more)->next;
			/* A comment on its own line before the bracket belongs to the container. */
			if (is_comment(f)) {
				struct comment *rest = NULL;

				take_comments(f, &rest);
				if (f->tok.kind == HUJSON_COMMA) {
					*more = rest;
					next(f);
					take_after(f, c);
				} else if (f->tok.kind == close) {
					i->inner = rest;
					next(f);
					return;
				} else {
					f->bad = true;
					return;
				}
			} else if (f->tok.kind != close) {
				f->bad = true;
				return;
			}
		}
	}
}

static struct item *parse(struct fmt *f, unsigned depth)
{
	struct item *i = arena_alloc(&f->arena, sizeof(*i));

	if (depth > FMT_DEPTH_MAX) {
		f->bad = true;
		return NULL;
	}
	switch (f->tok.kind) {
	case HUJSON_LBRACE:
	case HUJSON_LBRACKET:
		i->open = f->tok.kind == HUJSON_LBRACE ? '{' : '[';
		next(f);
		children(f, i, depth);
		break;
	case HUJSON_STRING:
	case HUJSON_NUMBER:
	case HUJSON_WORD:
		i->text = f->tok.text;
		next(f);
		break;
	default:
		f->bad = true;
	}
	return f->bad ? NULL : i;
}

/* ---- out ---- */

static bool has_comments(const struct item *i)
{
	if (i->inner)
		return true;
	for (const struct item *c = i->child; c; c = c->next)
		if (c->before || c->after || has_comments(c))
			return true;
	return false;
}

static unsigned depth_of(const struct item *i)
{
	unsigned most = 0;

	for (const struct item *c = i->child; c; c = c->next) {
		unsigned d = depth_of(c);

		most = d > most ? d : most;
	}
	return i->open ? most + 1 : 0;
}

static void flat(struct buf *b, const struct item *i)
{
	if (!i->open) {
		buf_add_span(b, i->text);
		return;
	}
	buf_add_char(b, i->open);
	if (i->open == '{' && i->child)
		buf_add_char(b, ' ');
	for (const struct item *c = i->child; c; c = c->next) {
		if (c->key.len) {
			buf_add_span(b, c->key);
			buf_add_str(b, ": ");
		}
		flat(b, c);
		if (c->next)
			buf_add_str(b, ", ");
	}
	if (i->open == '{' && i->child)
		buf_add_char(b, ' ');
	buf_add_char(b, i->open == '{' ? '}' : ']');
}

static void indent(struct fmt *f, unsigned level)
{
	for (unsigned i = 0; i < level * INDENT; i++)
		buf_add_char(&f->out, ' ');
}

static void put_comments(struct fmt *f, const struct comment *c, unsigned level)
{
	for (; c; c = c->next) {
		if (c->blank_before)
			buf_add_char(&f->out, '\n');
		indent(f, level);
		buf_add_span(&f->out, c->text);
		buf_add_char(&f->out, '\n');
	}
}

static void put(struct fmt *f, const struct item *i, unsigned level, size_t used);

static void put_children(struct fmt *f, const struct item *i, unsigned level)
{
	for (const struct item *c = i->child; c; c = c->next) {
		size_t used = level * INDENT + 1;

		if (c->blank_before)
			buf_add_char(&f->out, '\n');
		put_comments(f, c->before, level);
		indent(f, level);
		if (c->key.len) {
			buf_add_span(&f->out, c->key);
			buf_add_str(&f->out, ": ");
			used += c->key.len + 2;
		}
		put(f, c, level, used);
		buf_add_char(&f->out, ',');
		for (const struct comment *a = c->after; a; a = a->next) {
			buf_add_char(&f->out, ' ');
			buf_add_span(&f->out, a->text);
			/* A line comment ends the line: what followed it comes on the next ones. */
			if (a->line && a->next) {
				buf_add_char(&f->out, '\n');
				put_comments(f, a->next, level);
				break;
			}
			if (!a->next)
				buf_add_char(&f->out, '\n');
		}
		if (!c->after)
			buf_add_char(&f->out, '\n');
	}
}

static void put(struct fmt *f, const struct item *i, unsigned level, size_t used)
{
	scoped_buf struct buf one = { 0 };

	buf_init(&one, POLICY_TEXT_MAX);
	/* The file itself and its sections are never one line; a rule may be. */
	if (!i->open || (!has_comments(i) && (level > 1 || depth_of(i) < 2) && level > 0)) {
		flat(&one, i);
		if (!i->open || (!one.over && used + one.len <= LINE_MAX_COLS)) {
			buf_add_span(&f->out, buf_span(&one));
			return;
		}
	}
	if (!i->child && !i->inner) {
		buf_add_str(&f->out, i->open == '{' ? "{}" : "[]");
		return;
	}
	buf_add_char(&f->out, i->open);
	buf_add_char(&f->out, '\n');
	put_children(f, i, level + 1);
	put_comments(f, i->inner, level + 1);
	indent(f, level);
	buf_add_char(&f->out, i->open == '{' ? '}' : ']');
}

/* False for what is no HuJSON. */
bool policy_format(struct span text, struct buf *ret_text)
{
	struct fmt f = { .scan = hujson_scan(text) };
	struct comment *head = NULL, *tail = NULL;
	struct item *root;

	arena_init(&f.arena, 64 << 10);
	buf_init(&f.out, POLICY_TEXT_MAX * 4);
	next(&f);
	take_comments(&f, &head);
	if (head)
		head->blank_before = false;
	root = f.bad ? NULL : parse(&f, 0);
	if (root)
		take_comments(&f, &tail);
	if (root && !f.bad && f.tok.kind == HUJSON_END) {
		put_comments(&f, head, 0);
		put(&f, root, 0, 0);
		buf_add_char(&f.out, '\n');
		put_comments(&f, tail, 0);
	} else {
		f.bad = true;
	}
	arena_done(&f.arena);
	if (f.bad || f.out.over) {
		buf_done(&f.out);
		return false;
	}
	*ret_text = f.out;
	return true;
}

int policy_fmt_main(struct policy_args *a)
{
	const char *path = a->policy ? a->policy : a->rest[0];
	scoped_buf struct buf text = { 0 }, out = { 0 };
	struct diags d = { 0 };
	struct hujson *doc;
	struct err err;

	if (!path) {
		fputs("reeve policy fmt: which file?\n", stderr);
		return 2;
	}
	if (!text_load(path, &text))
		return 1;
	/* What does not parse is not laid out: one message, with its place. */
	diags_init(&d, path);
	doc = hujson_parse(buf_span(&text), POLICY_TEXT_MAX, &d);
	if (!doc || !policy_format(buf_span(&text), &out)) {
		scoped_buf struct buf b = { 0 };

		buf_init(&b, 1 << 20);
		diags_text(&d, &b);
		fprintf(stderr, "%s", b.len ? b.ptr : "reeve policy fmt: not a HuJSON file\n");
		hujson_free(doc);
		diags_done(&d);
		return 1;
	}
	hujson_free(doc);
	diags_done(&d);
	if (!a->write) {
		fwrite(out.ptr, 1, out.len, stdout);
		return 0;
	}
	if (span_eq(buf_span(&text), buf_span(&out)))
		return 0;
	if (!file_replace(path, buf_span(&out), 0644, &err)) {
		fprintf(stderr, "reeve policy fmt: %s\n", err.msg);
		return 1;
	}
	printf("%s\n", path);
	return 0;
}
