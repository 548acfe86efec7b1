/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/conf.h"

#include "base/clock.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
	NAME_MAX_BYTES = 255,
	STR_MAX_BYTES = 4096,           /* of strings whose row names no maximum */
	STRS_MAX_ITEMS = 1024,          /* likewise of lists */
	MAP_MAX_ITEMS = 65536,
	ROWS_MAX = 128,
};

struct parse {
	const struct hujson *doc;
	const char          *dir;
	struct diags        *diags;
};

/* One value on its way: from the file, or a default as text (json NULL). */
struct value {
	json_t      *json;
	const char  *text;
	struct place at;
	const char  *name;
};

static bool fault(struct parse *p, const struct value *v, const char *what)
{
	return diag_error(p->diags, v->at, "\"%s\": %s", v->name, what);
}

/* The value as text, if it is a string or a default. */
static bool value_text(const struct value *v, struct span *ret)
{
	if (!v->json)
		*ret = span_str(v->text);
	else if (json_is_string(v->json))
		*ret = span_of(json_string_value(v->json), json_string_length(v->json));
	else
		return false;
	return true;
}

static bool has_controls(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return true;
	return false;
}

static int64_t row_max(const struct conf_row *row)
{
	if (row->max || row->min)
		return row->max;
	switch (row->type) {
	case CONF_STR:
	case CONF_PATH: return STR_MAX_BYTES;
	case CONF_STRS: return STRS_MAX_ITEMS;
	case CONF_MAP:
	case CONF_LIST: return MAP_MAX_ITEMS;
	default:        return INT64_MAX;
	}
}

static bool size_parse(struct span s, int64_t *ret)
{
	static const struct { const char *unit; int64_t bytes; } units[] = {
		{ "KiB", INT64_C(1) << 10 }, { "MiB", INT64_C(1) << 20 },
		{ "GiB", INT64_C(1) << 30 }, { "TiB", INT64_C(1) << 40 }, { "B", 1 }, { "", 1 },
	};

	for (size_t i = 0; i < array_size(units); i++) {
		struct span unit = span_str(units[i].unit);
		uint64_t n;

		if (!span_ends(s, unit))
			continue;
		return span_u64(span_head(s, s.len - unit.len), INT64_MAX, &n) &&
		       !__builtin_mul_overflow((int64_t)n, units[i].bytes, ret);
	}
	return false;
}

static bool parse_number(struct parse *p, const struct conf_row *row, const struct value *v,
                         int64_t *out)
{
	struct span text;
	uint64_t u;
	int64_t n = 0;
	bool ok = false;

	if (v->json && json_is_integer(v->json)) {
		n = json_integer_value(v->json);
		ok = true;
	} else if (value_text(v, &text)) {
		if (row->type == CONF_SIZE)
			ok = size_parse(text, &n);
		else if (row->type == CONF_SECONDS)
			ok = duration_parse(text, &n);
		else if (!v->json && span_starts(text, SPAN("-")))
			ok = span_u64(span_from(text, 1), INT64_MAX, &u) &&
			     ((n = -(int64_t)u), true);
		else if (!v->json)
			ok = span_u64(text, INT64_MAX, &u) && ((n = (int64_t)u), true);
	}
	if (!ok)
		return fault(p, v,
			     row->type == CONF_SIZE      ? "want a size such as 65536 or \"64KiB\""
			     : row->type == CONF_SECONDS ? "want a time such as 90 or \"15m\""
							 : "want a whole number");
	if (n < row->min || n > row_max(row))
		return diag_error(p->diags, v->at, "\"%s\": %lld is outside %lld..%lld", v->name,
		                  (long long)n, (long long)row->min, (long long)row_max(row));
	*out = n;
	return true;
}

static bool parse_enum(struct parse *p, const struct conf_row *row, const struct value *v, int *out)
{
	struct span text;
	size_t n = 0;
	char shown[LOG_TEXT_MAX];

	if (!value_text(v, &text))
		return fault(p, v, "want a word in quotes");
	for (; row->words[n]; n++) {
		if (span_eq(text, span_str(row->words[n]))) {
			*out = (int)n;
			return true;
		}
	}

	struct buf b;

	buf_init(&b, 1024);
	for (size_t i = 0; i < n; i++)
		buf_addf(&b, "%s\"%s\"", i ? ", " : "", row->words[i]);
	diag_error(p->diags, v->at, "\"%s\": \"%s\" is none of %s", v->name, log_text(text, shown),
	           b.ptr ? b.ptr : "");
	buf_done(&b);
	return false;
}

static bool check_string(struct parse *p, const struct conf_row *row, const struct value *v,
                         struct span text)
{
	if (has_controls(text))
		return fault(p, v, "no control characters here");
	if (v->json && ((int64_t)text.len < row->min || (int64_t)text.len > row_max(row)))
		return diag_error(p->diags, v->at, "\"%s\": %zu bytes, want %lld..%lld", v->name,
		                  text.len, (long long)row->min, (long long)row_max(row));
	return true;
}

static bool parse_string(struct parse *p, const struct conf_row *row, const struct value *v,
                         char **out)
{
	struct span text;

	if (!value_text(v, &text))
		return fault(p, v,
			     row->type == CONF_PATH ? "want a path in quotes" : "want a string");
	if (!check_string(p, row, v, text))
		return false;
	if (row->type == CONF_PATH && text.len && text.ptr[0] != '/' && p->dir && *p->dir) {
		struct buf b;

		buf_init(&b, STR_MAX_BYTES * 2);
		buf_addf(&b, "%s/%.*s", p->dir, SPAN_ARG(text));
		*out = buf_take(&b);
		return *out || fault(p, v, "this path is too long");
	}
	*out = span_dup(text);
	return true;
}

static bool parse_address(struct parse *p, const struct conf_row *row, const struct value *v,
                          void *out)
{
	struct span text;
	bool is_text = value_text(v, &text);

	if (is_text && text.len == 0 && row->def && !*row->def)
		return true;    /* "none" may be written down, too */
	if (row->type == CONF_IPPORT) {
		if (is_text && ipport_parse(text, out))
			return true;
		return fault(
			p, v,
			"want an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"");
	}
	if (is_text && prefix_parse(text, out))
		return true;
	return fault(p, v, "want a prefix such as \"10.0.0.0/8\", host bits zero");
}

static bool parse_strs(struct parse *p, const struct conf_row *row, const struct value *v,
                       struct conf_strs *out)
{
	size_t n = v->json && json_is_array(v->json) ? json_array_size(v->json) : 1;
	bool ok = true;

	if (!v->json && !*v->text)
		return true;
	if (v->json && !json_is_array(v->json) && !json_is_string(v->json))
		return fault(p, v, "want a list of strings");
	if ((int64_t)n < row->min || (int64_t)n > row_max(row))
		return diag_error(p->diags, v->at, "\"%s\": %zu items, want %lld..%lld", v->name, n,
		                  (long long)row->min, (long long)row_max(row));
	out->list = mem_calloc(n + 1, sizeof(char *));
	out->at = mem_calloc(n + 1, sizeof(*out->at));
	for (size_t i = 0; i < n; i++) {
		struct value item = *v;
		struct span text;

		if (v->json && json_is_array(v->json)) {
			item.json = json_array_get(v->json, i);
			item.at = hujson_item_at(p->doc, v->json, i);
		}
		if (!value_text(&item, &text)) {
			ok = fault(p, &item, "want strings in this list");
		} else if (text.len == 0 || text.len > STR_MAX_BYTES || has_controls(text)) {
			ok = fault(p, &item,
				   "want strings of 1 to 4096 bytes without control characters");
		} else {
			out->list[out->count] = span_dup(text);
			out->at[out->count++] = item.at;
		}
	}
	return ok;
}

static bool parse_rows(struct parse *p, const struct conf_row *rows, void *out, json_t *obj,
                       struct place at, const char *name);

static bool parse_map(struct parse *p, const struct conf_row *row, const struct value *v,
                      struct conf_map *out)
{
	bool named = row->type == CONF_MAP, ok = true;

	if (!v->json)
		return true;    /* the only default is "": none */
	if (named ? !json_is_object(v->json) : !json_is_array(v->json))
		return fault(p, v, named ? "want an object { ... } of named objects" :
		                           "want a list [ ... ] of objects");

	size_t n = named ? json_object_size(v->json) : json_array_size(v->json);

	if ((int64_t)n < row->min || (int64_t)n > row_max(row))
		return diag_error(p->diags, v->at, "\"%s\": %zu items, want %lld..%lld", v->name, n,
		                  (long long)row->min, (long long)row_max(row));
	out->items = mem_calloc(n, row->sub_size);
	out->at = mem_calloc(n, sizeof(*out->at));
	if (named)
		out->names = mem_calloc(n, sizeof(char *));

	void *it = named ? json_object_iter(v->json) : NULL;

	for (size_t i = 0; i < n; i++) {
		char *item = (char *)out->items + i * row->sub_size;
		const char *key = named ? json_object_iter_key(it) : row->name;
		json_t *one = named ? json_object_iter_value(it) : json_array_get(v->json, i);
		struct place item_at = named ? hujson_member_at(p->doc, v->json, key) :
		                               hujson_item_at(p->doc, v->json, i);
		char shown[LOG_TEXT_MAX];

		out->count = i + 1;
		out->at[i] = item_at;
		if (named) {
			struct span text = span_str(key);

			out->at[i] = hujson_key_at(p->doc, v->json, key);
			out->names[i] = mem_strdup(key);
			if (text.len == 0 || text.len > NAME_MAX_BYTES || has_controls(text))
				ok = diag_error(p->diags, out->at[i],
						"\"%s\": want names of 1 to %d bytes without "
						"control characters",
						row->name, NAME_MAX_BYTES);
			it = json_object_iter_next(v->json, it);
		}
		if (!json_is_object(one))
			ok = diag_error(p->diags, item_at, "\"%s\": want an object { ... }",
			                log_text(span_str(key), shown));
		else if (!parse_rows(p, row->sub, item, one, item_at,
				     log_text(span_str(key), shown)))
			ok = false;
	}
	return ok;
}

static bool parse_value(struct parse *p, const struct conf_row *row, const struct value *v,
			void *out)
{
	struct span text;

	/* Anything whose default is "" is then its zero value. */
	if (!v->json && !*v->text && row->type != CONF_STR && row->type != CONF_PATH &&
	    row->type != CONF_OBJECT)
		return true;
	switch (row->type) {
	case CONF_BOOL:
		if (v->json ? !json_is_boolean(v->json) : !value_text(v, &text))
			return fault(p, v, "want true or false");
		*(bool *)out = v->json ? json_is_true(v->json) : span_eq(text, SPAN("true"));
		return true;
	case CONF_INT:
	case CONF_SIZE:
	case CONF_SECONDS:
		return parse_number(p, row, v, out);
	case CONF_ENUM:
		return parse_enum(p, row, v, out);
	case CONF_STR:
	case CONF_PATH:
		return parse_string(p, row, v, out);
	case CONF_IPPORT:
	case CONF_PREFIX:
		return parse_address(p, row, v, out);
	case CONF_STRS:
		return parse_strs(p, row, v, out);
	case CONF_OBJECT:
		if (v->json && !json_is_object(v->json))
			return fault(p, v, "want an object { ... }");
		return parse_rows(p, row->sub, out, v->json, v->at, v->name);
	case CONF_MAP:
	case CONF_LIST:
		return parse_map(p, row, v, out);
	}
	return false;
}

static const struct conf_row *find_row(const struct conf_row *rows, const char *name)
{
	for (; rows->name; rows++)
		if (strcmp(rows->name, name) == 0)
			return rows;
	return NULL;
}

static bool check_keys(struct parse *p, const struct conf_row *rows, json_t *obj)
{
	const char *known[ROWS_MAX];
	size_t n = 0;
	bool ok = true;

	for (const struct conf_row *r = rows; r->name && n < ROWS_MAX; r++)
		known[n++] = r->name;
	for (void *it = json_object_iter(obj); it; it = json_object_iter_next(obj, it)) {
		const char *key = json_object_iter_key(it);
		char shown[LOG_TEXT_MAX];

		if (find_row(rows, key))
			continue;

		const char *near = nearest(span_str(key), known, n);
		struct place at = hujson_key_at(p->doc, obj, key);

		log_text(span_str(key), shown);
		ok = near ? diag_error(p->diags, at, "unknown key \"%s\"; did you mean \"%s\"?",
				       shown, near)
			  : diag_error(p->diags, at, "unknown key \"%s\"", shown);
	}
	return ok;
}

/* obj NULL: an object that is not there gets its members' defaults, and
 * nothing in it is required. */
static bool parse_rows(struct parse *p, const struct conf_row *rows, void *out, json_t *obj,
                       struct place at, const char *name)
{
	bool ok = obj ? check_keys(p, rows, obj) : true;

	for (const struct conf_row *row = rows; row->name; row++) {
		struct value v = { .name = row->name, .text = row->def };
		void *field = (char *)out + row->offset;

		if (obj)
			v.json = json_object_get(obj, row->name);
		if (v.json) {
			v.at = hujson_member_at(p->doc, obj, row->name);
			if (row->at_offset)
				memcpy((char *)out + row->at_offset, &v.at, sizeof(v.at));
		} else if (!v.text) {
			if (!obj)
				continue;
			if (name)
				ok = diag_error(p->diags, at, "\"%s\" has no \"%s\"", name,
						row->name);
			else
				ok = diag_error(p->diags, at, "no \"%s\"", row->name);
			continue;
		}
		if (!parse_value(p, row, &v, field))
			ok = false;
	}
	return ok;
}

bool conf_parse(const struct conf_row *rows, void *out, size_t size, struct span text,
                const char *dir, struct diags *diags)
{
	memset(out, 0, size);

	struct hujson *doc = hujson_parse(text, HUJSON_TEXT_MAX, diags);

	if (!doc)
		return false;

	struct parse p = { doc, dir, diags };
	bool ok;

	if (json_is_object(hujson_root(doc)))
		ok = parse_rows(&p, rows, out, hujson_root(doc), hujson_root_at(doc), NULL);
	else
		ok = diag_error(diags, hujson_root_at(doc), "want one object { ... }");
	hujson_free(doc);
	if (!ok) {
		conf_done(rows, out);
		memset(out, 0, size);
		diags_sort(diags);
	}
	return ok;
}

static void done_value(const struct conf_row *row, void *field)
{
	switch (row->type) {
	case CONF_STR:
	case CONF_PATH: {
		char **s = field;

		free(take(*s));
		break;
	}
	case CONF_STRS: {
		struct conf_strs *strs = field;

		for (size_t i = 0; i < strs->count; i++)
			free(strs->list[i]);
		free(strs->list);
		free(strs->at);
		*strs = (struct conf_strs){ 0 };
		break;
	}
	case CONF_OBJECT:
		conf_done(row->sub, field);
		break;
	case CONF_MAP:
	case CONF_LIST: {
		struct conf_map *map = field;

		for (size_t i = 0; i < map->count; i++) {
			conf_done(row->sub, (char *)map->items + i * row->sub_size);
			if (map->names)
				free(map->names[i]);
		}
		free(map->names);
		free(map->at);
		free(map->items);
		*map = (struct conf_map){ 0 };
		break;
	}
	default:
		break;
	}
}

void conf_done(const struct conf_row *rows, void *out)
{
	for (; rows->name; rows++)
		done_value(rows, (char *)out + rows->offset);
}
