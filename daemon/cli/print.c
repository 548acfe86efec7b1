/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/cli.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* UTF-8 passes, but for C0, DEL and C1 controls and what reorders a line. */
static size_t harmless(const unsigned char *p, size_t n)
{
	if (*p < 0x20 || *p == 0x7f)
		return 0;
	if (*p < 0x80)
		return 1;
	for (size_t len = 2; len <= 4 && len <= n; len++)
		if (span_is_utf8(span_of(p, len))) {
			if (len == 2 && p[0] == 0xc2 && p[1] < 0xa0)
				return 0;
			if (len == 3 && p[0] == 0xe2 && ((p[1] == 0x80 && p[2] >= 0x8b) || (p[1] == 0x81 && p[2] >= 0xa0)) &&
			    !(p[1] == 0x80 && p[2] >= 0x90 && p[2] <= 0xa7))
				return 0;
			return len;
		}
	return 0;
}

void cli_put(FILE *to, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t n = strlen(text);

	while (n) {
		size_t len = harmless(p, n);

		if (len) {
			fwrite(p, 1, len, to);
		} else {
			fprintf(to, "\\x%02x", *p);
			len = 1;
		}
		p += len;
		n -= len;
	}
}

static const json_t *find(const json_t *o, const char *path)
{
	struct span rest = span_str(path), part;

	while (o && rest.len && span_next(&rest, '.', &part)) {
		scoped_free char *key = span_dup(part);

		o = json_object_get(o, key);
	}
	return o;
}

const char *cli_str(const json_t *obj, const char *path)
{
	const char *s = json_string_value(find(obj, path));

	return s ? s : "";
}

void cli_json(const json_t *o)
{
	char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII);

	if (text)
		puts(text);
	free(text);
}

static void add_text(struct buf *b, const json_t *v)
{
	size_t i;
	json_t *item;

	if (json_is_string(v)) {
		buf_add_str(b, json_string_value(v));
	} else if (json_is_integer(v)) {
		buf_addf(b, "%lld", (long long)json_integer_value(v));
	} else if (json_is_boolean(v)) {
		buf_add_str(b, json_is_true(v) ? "yes" : "no");
	} else if (json_is_array(v)) {
		json_array_foreach(v, i, item) {
			if (i)
				buf_add_char(b, ' ');
			add_text(b, item);
		}
	} else if (*cli_str(v, "name") && *cli_str(v, "source")) {
		buf_addf(b, "%s (%s)", cli_str(v, "name"), cli_str(v, "source"));
	} else if (*cli_str(v, "node") && *cli_str(v, "why")) {
		buf_addf(b, "%s (%s): %s", cli_str(v, "name"), cli_str(v, "node"), cli_str(v, "why"));
	} else if (json_is_object(v)) {
		char *text = json_dumps(v, JSON_COMPACT);

		buf_add_str(b, text ? text : "");
		free(text);
	}
}

/* Times are the members that are named so. */
static bool is_time(const char *path)
{
	static const char *const names[] = { "expires", "auth_time", "handshake", "seen", "used", "created", "last", "at",
		"key_since", "key_due" };
	const char *last = strrchr(path, '.');

	last = last ? last + 1 : path;
	for (size_t i = 0; i < array_size(names); i++)
		if (strcmp(names[i], last) == 0)
			return true;
	return false;
}

const char *cli_age(int64_t t, char buf[32])
{
	int64_t d = t - clock_wall().sec;
	bool past = d <= 0;

	if (t <= 0)
		return "-";
	if (d < 0)
		d = -d;
	snprintf(buf, 32, "%s%lld%s%s", past ? "" : "in ", (long long)(d < 120 ? d : d < 7200 ? d / 60 : d < 172800 ? d / 3600 : d / 86400),
	         d < 120 ? "s" : d < 7200 ? "m" : d < 172800 ? "h" : "d", past ? " ago" : "");
	return buf;
}

static char *cell(const json_t *row, const char *path)
{
	struct buf b = { 0 };
	char age[32];
	const json_t *v = find(row, path);

	buf_init(&b, 1 << 20);
	if (json_is_integer(v) && is_time(path))
		buf_add_str(&b, cli_age(json_integer_value(v), age));
	else
		add_text(&b, v);
	if (b.len == 0)
		buf_add_char(&b, '-');
	return buf_take(&b);
}

/* Columns as people see them: continuation bytes take no room. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void cli_table(const json_t *rows, const struct cli_column *columns, size_t n)
{
	size_t *widths = mem_calloc(n, sizeof(*widths)), count = json_array_size(rows);
	char **cells = mem_calloc(count * n + 1, sizeof(*cells));

	for (size_t k = 0; k < n; k++)
		widths[k] = strlen(columns[k].head);
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < n; k++) {
			char **c = &cells[i * n + k];

			*c = cell(json_array_get(rows, i), columns[k].path);
			if (*c && width(*c) > widths[k])
				widths[k] = width(*c);
		}
	for (size_t k = 0; k < n; k++)
		printf("%s%*s", columns[k].head, k + 1 < n ? (int)(widths[k] - strlen(columns[k].head) + 2) : 0, "");
	putchar('\n');
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < n; k++) {
			char *c = cells[i * n + k];

			cli_put(stdout, c ? c : "-");
			if (k + 1 < n)
				printf("%*s", (int)(widths[k] - width(c ? c : "-") + 2), "");
			free(c);
		}
		putchar('\n');
	}
	free(cells);
	free(widths);
}

void cli_record(const json_t *row)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)row, key, v) {
		char *text = cell(row, key);

		printf("%-14s ", key);
		cli_put(stdout, text ? text : "-");
		putchar('\n');
		free(text);
	}
}
