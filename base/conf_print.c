/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/conf.h"

#include "base/clock.h"

#include <string.h>

enum { COMMENT_COLS = 92 };

static void indent(struct buf *out, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		buf_add_char(out, '\t');
}

/* Prose as line comments, broken at spaces. */
static void print_comment(const char *text, struct buf *out, unsigned depth)
{
	struct span rest = span_str(text);
	size_t cols = COMMENT_COLS - 8 * (depth < 8 ? depth : 8);

	while (rest.len) {
		size_t n = rest.len;

		if (n > cols) {
			n = cols;
			while (n && rest.ptr[n] != ' ')
				n--;
			if (n == 0)
				n = span_find(rest, ' ');
		}
		indent(out, depth);
		buf_addf(out, "// %.*s\n", (int)n, rest.ptr);
		rest = span_trim(span_from(rest, n));
	}
}

static void print_size(int64_t n, struct buf *out)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	int unit = -1;

	while (n && n % 1024 == 0 && unit < 3) {
		n /= 1024;
		unit++;
	}
	if (unit < 0)
		buf_addf(out, "%lld", (long long)n);
	else
		buf_addf(out, "\"%lld%s\"", (long long)n, units[unit]);
}

/* False for what is not set: there is no value to write. */
static bool is_set(const struct conf_row *row, const void *conf, const void *field)
{
	struct place at;
	const char *s;

	switch (row->type) {
	case CONF_STR:
	case CONF_PATH:
		memcpy(&s, field, sizeof(s));
		return s && (*s || (row->def && !*row->def && row->min <= 0));
	case CONF_IPPORT:
		return ((const struct ipport *)field)->ip.family != IP_NONE;
	case CONF_PREFIX:
		return ((const struct prefix *)field)->ip.family != IP_NONE;
	case CONF_STRS:
		return row->min <= 0 || ((const struct conf_strs *)field)->count;
	case CONF_MAP:
	case CONF_LIST:
		return row->min <= 0 || ((const struct conf_map *)field)->count;
	case CONF_OBJECT:
		if (!row->at_offset)
			return true;
		memcpy(&at, (const char *)conf + row->at_offset, sizeof(at));
		return at.line != 0;
	default:
		return true;
	}
}

static void print_rows(const struct conf_row *rows, const void *conf, struct buf *out,
                       unsigned depth);

static void print_map(const struct conf_row *row, const struct conf_map *map, struct buf *out,
                      unsigned depth)
{
	bool named = row->type == CONF_MAP;

	buf_add_char(out, named ? '{' : '[');
	for (size_t i = 0; i < map->count; i++) {
		buf_add_char(out, '\n');
		indent(out, depth + 1);
		if (named) {
			buf_add_json(out, span_str(map->names[i]));
			buf_add_str(out, ": ");
		}
		print_rows(row->sub, (const char *)map->items + i * row->sub_size, out, depth + 1);
		buf_add_char(out, ',');
	}
	if (map->count) {
		buf_add_char(out, '\n');
		indent(out, depth);
	}
	buf_add_char(out, named ? '}' : ']');
}

static void print_value(const struct conf_row *row, const void *field, struct buf *out,
                        unsigned depth)
{
	char text[IP_TEXT_MAX], span[DURATION_TEXT_MAX];
	const struct conf_strs *strs;
	const char *s;

	switch (row->type) {
	case CONF_BOOL:
		buf_add_str(out, *(const bool *)field ? "true" : "false");
		break;
	case CONF_INT:
		buf_addf(out, "%lld", (long long)*(const int64_t *)field);
		break;
	case CONF_SIZE:
		print_size(*(const int64_t *)field, out);
		break;
	case CONF_SECONDS:
		buf_addf(out, "\"%s\"", duration_text(*(const int64_t *)field, span));
		break;
	case CONF_ENUM:
		buf_add_json(out, span_str(row->words[*(const int *)field]));
		break;
	case CONF_STR:
	case CONF_PATH:
		memcpy(&s, field, sizeof(s));
		buf_add_json(out, span_str(s));
		break;
	case CONF_IPPORT:
		buf_addf(out, "\"%s\"", ipport_text(field, text));
		break;
	case CONF_PREFIX:
		buf_addf(out, "\"%s\"", prefix_text(field, text));
		break;
	case CONF_STRS:
		strs = field;
		buf_add_char(out, '[');
		for (size_t i = 0; i < strs->count; i++) {
			buf_add_str(out, i ? ", " : "");
			buf_add_json(out, span_str(strs->list[i]));
		}
		buf_add_char(out, ']');
		break;
	case CONF_OBJECT:
		print_rows(row->sub, field, out, depth);
		break;
	case CONF_MAP:
	case CONF_LIST:
		print_map(row, field, out, depth);
		break;
	}
}

static void print_rows(const struct conf_row *rows, const void *conf, struct buf *out,
                       unsigned depth)
{
	buf_add_str(out, "{\n");
	for (const struct conf_row *row = rows; row->name; row++) {
		const void *field = (const char *)conf + row->offset;

		if (row->help)
			print_comment(row->help, out, depth + 1);
		indent(out, depth + 1);
		if (is_set(row, conf, field)) {
			buf_addf(out, "\"%s\": ", row->name);
			print_value(row, field, out, depth + 1);
			buf_add_str(out, ",\n");
		} else {
			buf_addf(out, "// \"%s\": not set\n", row->name);
		}
	}
	indent(out, depth);
	buf_add_char(out, '}');
}

void conf_print(const struct conf_row *rows, const void *conf, struct buf *out)
{
	print_rows(rows, conf, out, 0);
	buf_add_char(out, '\n');
}

/* The manual. */

/* roff takes backslashes, and dots and quotes at the start of a line, for itself. */
static void man_text(const char *text, struct buf *out)
{
	if (*text == '.' || *text == '\'')
		buf_add_str(out, "\\&");
	for (; *text; text++) {
		if (*text == '\\')
			buf_add_str(out, "\\e");
		else if (*text == '"')
			buf_add_str(out, "\\(dq");
		else if (*text == '-')
			buf_add_str(out, "\\-");
		else
			buf_add_char(out, *text);
	}
	buf_add_char(out, '\n');
}

static void man_bound(const struct conf_row *row, int64_t n, struct buf *out)
{
	char text[DURATION_TEXT_MAX];
	struct buf b;

	if (row->type == CONF_SECONDS) {
		buf_add_str(out, duration_text(n, text));
	} else if (row->type == CONF_SIZE) {
		buf_init(&b, 64);
		print_size(n, &b);
		for (size_t i = 0; i < b.len; i++)
			if (b.ptr[i] != '"')
				buf_add_char(out, b.ptr[i]);
		buf_done(&b);
	} else {
		buf_addf(out, "%s%lld", n < 0 ? "\\-" : "", (long long)(n < 0 ? -n : n));
	}
}

static void man_type(const struct conf_row *row, struct buf *out)
{
	static const char *const names[] = {
		[CONF_BOOL] = "true or false", [CONF_INT] = "number", [CONF_SIZE] = "size",
		[CONF_SECONDS] = "time", [CONF_ENUM] = "one of", [CONF_STR] = "string",
		[CONF_PATH] = "path", [CONF_IPPORT] = "address:port", [CONF_PREFIX] = "prefix",
		[CONF_STRS] = "list of strings", [CONF_OBJECT] = "object",
		[CONF_MAP] = "object of named objects", [CONF_LIST] = "list of objects",
	};

	buf_add_str(out, names[row->type]);
	if (row->type == CONF_ENUM)
		for (size_t i = 0; row->words[i]; i++)
			buf_addf(out, "%s %s", i ? "," : "", row->words[i]);
	if (row->min || row->max) {
		buf_add_str(out, ", ");
		man_bound(row, row->min, out);
		if (row->max == INT64_MAX) {
			buf_add_str(out, " or more");
		} else {
			buf_add_str(out, " to ");
			man_bound(row, row->max, out);
		}
		if (row->type == CONF_STR || row->type == CONF_PATH)
			buf_add_str(out, " bytes");
		if (row->type == CONF_STRS || row->type == CONF_MAP || row->type == CONF_LIST)
			buf_add_str(out, " items");
	}
}

void conf_man(const struct conf_row *rows, struct buf *out)
{
	buf_add_str(out, ".Bl -tag -width Ds\n");
	for (const struct conf_row *row = rows; row->name; row++) {
		buf_addf(out, ".It Ic %s\n", row->name);
		man_type(row, out);
		if (!row->def)
			buf_add_str(out, "; required.\n");
		else if (*row->def)
			buf_addf(out, "; default\n.Ql %s .\n", row->def);
		else
			buf_add_str(out, "; optional.\n");
		if (row->help)
			man_text(row->help, out);
		if (row->sub)
			conf_man(row->sub, out);
	}
	buf_add_str(out, ".El\n");
}
