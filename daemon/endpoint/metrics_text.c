/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/metrics_text.h"

#define HELP SPAN("# HELP ")
#define TYPE SPAN("# TYPE ")

/* One family: its HELP line, and everything up to the next one. */
struct family {
	struct span name, help, rest;
};

static bool next_family(struct span *text, struct family *ret)
{
	struct span line, ahead;

	do {
		if (!text->len || !span_next(text, '\n', &line))
			return false;
	} while (!span_starts(line, HELP));
	ret->help = line;
	ret->name = span_from(line, HELP.len);
	ret->name = span_head(ret->name, span_find(ret->name, ' '));
	ret->rest = *text;
	for (ahead = *text; ahead.len && span_next(&ahead, '\n', &line) && !span_starts(line, HELP);)
		*text = ahead;
	ret->rest.len -= text->len;
	return true;
}

static bool find_family(struct span text, struct span name, struct family *ret)
{
	while (next_family(&text, ret)) {
		if (span_eq(ret->name, name))
			return true;
	}
	return false;
}

static void add_line(struct buf *out, struct span line)
{
	buf_add_span(out, line);
	buf_add_char(out, '\n');
}

static void add_samples(const struct family *f, struct buf *out)
{
	struct span rest = f->rest, line;

	while (rest.len && span_next(&rest, '\n', &line)) {
		if (span_starts(line, f->name) && span_is_utf8(line))
			add_line(out, line);
	}
}

static void add_type(const struct family *f, struct buf *out)
{
	struct span rest = f->rest, line;

	while (rest.len && span_next(&rest, '\n', &line)) {
		if (span_starts(line, TYPE) && span_starts(span_from(line, TYPE.len), f->name) && span_is_print(line)) {
			add_line(out, line);
			return;
		}
	}
}

void metrics_merge(const struct span *texts, size_t n, struct buf *out)
{
	struct family f, other;

	for (size_t i = 0; i < n; i++) {
		struct span text = texts[i];

		while (next_family(&text, &f)) {
			bool seen = !f.name.len || !span_is_print(f.help);

			for (size_t k = 0; k < i && !seen; k++)
				seen = find_family(texts[k], f.name, &other);
			if (seen)
				continue;
			add_line(out, f.help);
			add_type(&f, out);
			for (size_t k = i; k < n; k++) {
				if (find_family(texts[k], f.name, &other))
					add_samples(&other, out);
			}
		}
	}
}
