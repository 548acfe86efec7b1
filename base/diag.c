/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/diag.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { DIAG_MSG_MAX = 4096, NEAREST_MAX = 64 };

void diags_init(struct diags *d, const char *file)
{
	*d = (struct diags){ .file = mem_strdup(file) };
}

void diags_done(struct diags *d)
{
	for (size_t i = 0; i < d->count; i++)
		free(d->list[i].msg);
	free(d->list);
	free(d->file);
	*d = (struct diags){ 0 };
}

static void __attribute__((format(printf, 4, 0)))
add(struct diags *d, enum diag_level level, struct place at, const char *fmt, va_list ap)
{
	if (level == DIAG_ERROR)
		d->errors++;
	else
		d->warnings++;
	if (d->count == DIAG_MAX)
		return;

	struct buf b;

	buf_init(&b, DIAG_MSG_MAX);
	buf_vaddf(&b, fmt, ap);
	if (b.over) {
		buf_clear(&b);
		buf_addf(&b, "%.200s... (too long to show)", fmt);
	}
	if (!d->list)
		d->list = mem_calloc(DIAG_MAX, sizeof(*d->list));
	d->list[d->count++] = (struct diag){ level, at, buf_take(&b) };
}

bool diag_error(struct diags *d, struct place at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, DIAG_ERROR, at, fmt, ap);
	va_end(ap);
	return false;
}

void diag_warn(struct diags *d, struct place at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(d, DIAG_WARNING, at, fmt, ap);
	va_end(ap);
}

static bool is_before(const struct diag *a, const struct diag *b)
{
	return a->at.line != b->at.line ? a->at.line < b->at.line : a->at.col < b->at.col;
}

void diags_sort(struct diags *d)
{
	/* By insertion: short lists, and those of one place keep their order. */
	for (size_t i = 1; i < d->count; i++)
		for (size_t k = i; k && is_before(&d->list[k], &d->list[k - 1]); k--)
			swap(d->list[k], d->list[k - 1]);
}

static const char *level_name(enum diag_level level)
{
	return level == DIAG_ERROR ? "error" : "warning";
}

static void add_head(const struct diags *d, const struct diag *one, struct buf *out)
{
	buf_addf(out, "%s:", d->file ? d->file : "-");
	if (one->at.line)
		buf_addf(out, "%u:%u:", one->at.line, one->at.col);
}

void diags_text(const struct diags *d, struct buf *out)
{
	for (size_t i = 0; i < d->count; i++) {
		add_head(d, &d->list[i], out);
		buf_addf(out, " %s: %s\n", level_name(d->list[i].level), d->list[i].msg);
	}

	size_t more = d->errors + d->warnings - d->count;

	if (more)
		buf_addf(out, "%s: %zu more not shown\n", d->file ? d->file : "-", more);
}

void diags_json(const struct diags *d, struct buf *out)
{
	buf_add_char(out, '[');
	for (size_t i = 0; i < d->count; i++) {
		const struct diag *one = &d->list[i];

		buf_addf(out, "%s{\"level\":\"%s\",\"line\":%u,\"column\":%u,\"message\":",
		         i ? "," : "", level_name(one->level), one->at.line, one->at.col);
		buf_add_json(out, span_str(one->msg));
		buf_add_char(out, '}');
	}
	buf_add_char(out, ']');
}

bool diags_err(const struct diags *d, struct err *err)
{
	if (d->errors == 0)
		return true;
	for (size_t i = 0; i < d->count; i++) {
		const struct diag *one = &d->list[i];

		if (one->level != DIAG_ERROR)
			continue;

		struct buf b;

		buf_init(&b, 2 * DIAG_MSG_MAX);
		add_head(d, one, &b);
		buf_addf(&b, " %s", one->msg);
		if (d->errors > 1)
			buf_addf(&b, " (and %zu more)", d->errors - 1);
		err_set(err, ERR_SYNTAX, "%s", b.over ? one->msg : b.ptr);
		buf_done(&b);
		return false;
	}
	return err_set(err, ERR_SYNTAX, "%s: %zu errors", d->file ? d->file : "-", d->errors);
}

/* Optimal string alignment: insert, delete, replace, swap neighbours. */
static size_t distance(struct span a, struct span b)
{
	size_t row[3][NEAREST_MAX + 1];
	size_t *two = row[0], *one = row[1], *cur = row[2];

	for (size_t k = 0; k <= b.len; k++)
		one[k] = k;
	for (size_t i = 1; i <= a.len; i++) {
		cur[0] = i;
		for (size_t k = 1; k <= b.len; k++) {
			size_t best = one[k - 1] + (a.ptr[i - 1] != b.ptr[k - 1]);

			if (one[k] + 1 < best)
				best = one[k] + 1;
			if (cur[k - 1] + 1 < best)
				best = cur[k - 1] + 1;
			if (i > 1 && k > 1 && a.ptr[i - 1] == b.ptr[k - 2] &&
			    a.ptr[i - 2] == b.ptr[k - 1] && two[k - 2] + 1 < best)
				best = two[k - 2] + 1;
			cur[k] = best;
		}

		size_t *t = two;

		two = one;
		one = cur;
		cur = t;
	}
	return one[b.len];
}

const char *nearest(struct span word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	size_t least = word.len / 3 + 1;

	if (word.len > NEAREST_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		struct span c = span_str(candidates[i]);

		if (c.len > NEAREST_MAX)
			continue;

		size_t d = distance(word, c);

		if (d < least) {
			least = d;
			best = candidates[i];
		}
	}
	return best;
}
