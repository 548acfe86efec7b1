/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/identities.h"

#include "base/hujson.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum field { F_FROM, F_LOGIN, F_NAME, F_EMAIL, F_GROUPS, F_TAGS, F_AUTH_TIME, F_EXPIRES, F_ACR, F_AMR, FIELDS };

static const char *const names[FIELDS] = {
	[F_FROM] = "from", [F_LOGIN] = "login", [F_NAME] = "name", [F_EMAIL] = "email",
	[F_GROUPS] = "groups", [F_TAGS] = "tags", [F_AUTH_TIME] = "auth_time",
	[F_EXPIRES] = "expires", [F_ACR] = "acr", [F_AMR] = "amr",
};

struct reader {
	struct identities   *ids;
	const struct hujson *doc;
	struct diags        *diags;
};

/* Values become headers and audit lines: no controls, and UTF-8. */
static bool word_ok(struct span s)
{
	if (s.len == 0 || s.len > IDENTITIES_WORD_MAX || !span_is_utf8(s))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return false;
	return true;
}

static bool take_word(struct reader *r, const json_t *v, struct place at, const char *what,
                      struct span *ret)
{
	struct span s;

	if (!json_is_string(v))
		return diag_error(r->diags, at, "\"%s\" must be a string", what);
	s = span_of(json_string_value(v), json_string_length(v));
	if (!word_ok(s))
		return diag_error(r->diags, at, "\"%s\" must have 1 to %d bytes of UTF-8 and no controls",
		                  what, IDENTITIES_WORD_MAX);
	*ret = arena_copy(&r->ids->mem, s);
	return true;
}

static bool take_words(struct reader *r, const json_t *v, struct place at, const char *what,
                       struct span **ret_list, size_t *ret_n)
{
	size_t n = json_array_size(v);
	bool ok = true;

	if (!json_is_array(v))
		return diag_error(r->diags, at, "\"%s\" must be an array of strings", what);
	if (n > IDENTITIES_LIST_MAX)
		return diag_error(r->diags, at, "\"%s\" has %zu entries, at most %d are allowed", what, n,
		                  IDENTITIES_LIST_MAX);
	*ret_list = arena_calloc(&r->ids->mem, n ? n : 1, sizeof(**ret_list));
	for (size_t i = 0; i < n; i++)
		ok = take_word(r, json_array_get(v, i), hujson_item_at(r->doc, v, i), what,
		               &(*ret_list)[i]) && ok;
	*ret_n = ok ? n : 0;
	return ok;
}

static bool take_time(struct reader *r, const json_t *v, struct place at, const char *what,
                      struct wall *ret)
{
	if (json_is_integer(v) && json_integer_value(v) > 0) {
		ret->sec = json_integer_value(v);
		return true;
	}
	if (json_is_string(v) &&
	    wall_parse(span_of(json_string_value(v), json_string_length(v)), ret) && ret->sec > 0)
		return true;
	return diag_error(r->diags, at, "\"%s\" must be RFC 3339 (\"2026-01-02T03:04:05Z\") or seconds since 1970", what);
}

static bool take_from(struct reader *r, const json_t *v, struct place at, struct prefix *ret)
{
	struct span s;

	if (!json_is_string(v))
		return diag_error(r->diags, at, "\"from\" must be a string");
	s = span_of(json_string_value(v), json_string_length(v));
	if (prefix_parse(s, ret))
		return true;
	if (prefix_parse_lax(s, ret)) {
		char text[IP_TEXT_MAX];

		return diag_error(r->diags, at, "\"%s\" has host bits; the prefix is \"%s\"",
		                  json_string_value(v), prefix_text(ret, text));
	}
	return diag_error(r->diags, at, "\"from\" is no address and no prefix");
}

static bool take_field(struct reader *r, enum field f, const json_t *v, struct place at,
                       struct identity_row *row)
{
	const char *what = names[f];

	switch (f) {
	case F_FROM:      return take_from(r, v, at, &row->from);
	case F_LOGIN:     return take_word(r, v, at, what, &row->login);
	case F_NAME:      return take_word(r, v, at, what, &row->name);
	case F_EMAIL:     return take_word(r, v, at, what, &row->email);
	case F_GROUPS:    return take_words(r, v, at, what, &row->groups, &row->group_count);
	case F_TAGS:      return take_words(r, v, at, what, &row->tags, &row->tag_count);
	case F_AUTH_TIME: return take_time(r, v, at, what, &row->auth_time);
	case F_EXPIRES:   return take_time(r, v, at, what, &row->expires);
	case F_ACR:       return take_word(r, v, at, what, &row->acr);
	case F_AMR:       return take_words(r, v, at, what, &row->amr, &row->amr_count);
	case FIELDS:      break;
	}
	return false;
}

static bool take_row(struct reader *r, json_t *obj, struct place at, struct identity_row *row)
{
	const char *key;
	json_t *v;
	bool ok = true;

	row->at = at;
	if (!json_is_object(obj))
		return diag_error(r->diags, at, "an identity must be an object");
	json_object_foreach(obj, key, v) {
		size_t f = 0;

		while (f < FIELDS && strcmp(key, names[f]) != 0)
			f++;
		if (f == FIELDS) {
			const char *near = nearest(span_str(key), names, FIELDS);

			ok = diag_error(r->diags, hujson_key_at(r->doc, obj, key),
			                near ? "unknown key \"%s\"; did you mean \"%s\"?" : "unknown key \"%s\"",
			                key, near);
			continue;
		}
		ok = take_field(r, (enum field)f, v, hujson_member_at(r->doc, obj, key), row) && ok;
	}
	if (!json_object_get(obj, "from"))
		ok = diag_error(r->diags, at, "an identity needs \"from\"");
	if (!json_object_get(obj, "login") == !json_object_get(obj, "tags"))
		ok = diag_error(r->diags, at, "an identity needs either \"login\" (a person) or \"tags\" (a machine)");
	for (size_t i = 0; i < row->tag_count; i++)
		if (!span_starts(row->tags[i], SPAN("tag:")) || row->tags[i].len == 4)
			ok = diag_error(r->diags, at, "\"%.*s\" is no tag (\"tag:NAME\")", SPAN_ARG(row->tags[i]));
	/* What identifies is plain ASCII without spaces: it becomes the user header as it is. */
	for (size_t i = 0; i < row->login.len; i++)
		if (row->login.ptr[i] <= 0x20 || row->login.ptr[i] >= 0x7f)
			return diag_error(r->diags, hujson_member_at(r->doc, obj, "login"),
			                  "\"login\" must be printable ASCII without spaces");
	return ok;
}

static int row_cmp(const void *a, const void *b)
{
	const struct identity_row *x = a, *y = b;

	return prefix_cmp(&x->from, &y->from);
}

bool identities_parse(struct span text, struct identities *ret_ids, struct diags *diags)
{
	struct reader r = { ret_ids, NULL, diags };
	size_t before = diags->errors, n;
	json_t *root;

	memset(ret_ids, 0, sizeof(*ret_ids));
	arena_init(&ret_ids->mem, 4096);
	scoped_hujson struct hujson *doc = hujson_parse(text, IDENTITIES_TEXT_MAX, diags);
	if (!doc)
		goto bad;
	r.doc = doc;
	root = hujson_root(doc);
	if (!json_is_array(root)) {
		diag_error(diags, hujson_root_at(doc), "the identities file must be an array of objects");
		goto bad;
	}
	n = json_array_size(root);
	if (n > IDENTITIES_MAX) {
		diag_error(diags, hujson_root_at(doc), "%zu identities, at most %d are allowed", n, IDENTITIES_MAX);
		goto bad;
	}
	ret_ids->rows = arena_calloc(&ret_ids->mem, n ? n : 1, sizeof(*ret_ids->rows));
	for (size_t i = 0; i < n; i++)
		if (take_row(&r, json_array_get(root, i), hujson_item_at(doc, root, i), &ret_ids->rows[ret_ids->count]))
			ret_ids->count++;
	if (ret_ids->count)
		qsort(ret_ids->rows, ret_ids->count, sizeof(*ret_ids->rows), row_cmp);
	for (size_t i = 1; i < ret_ids->count; i++) {
		const struct identity_row *a = &ret_ids->rows[i - 1], *b = &ret_ids->rows[i];
		char from[IP_TEXT_MAX];

		/* Neither counts more than the other: two people must not become one address. */
		if (prefix_cmp(&a->from, &b->from) == 0)
			diag_error(diags, a->at.line > b->at.line ? a->at : b->at,
			           "\"%s\" stands here twice (also in line %u)", prefix_text(&a->from, from),
			           a->at.line > b->at.line ? b->at.line : a->at.line);
	}
	if (diags->errors == before)
		return true;
bad:
	identities_done(ret_ids);
	return false;
}

void identities_done(struct identities *ids)
{
	arena_done(&ids->mem);
	memset(ids, 0, sizeof(*ids));
}

const struct identity_row *identities_find(const struct identities *ids, const struct ip *ip)
{
	const struct identity_row *best = NULL;

	for (size_t i = 0; i < ids->count; i++)
		if (prefix_has(&ids->rows[i].from, ip) &&
		    (!best || ids->rows[i].from.bits > best->from.bits))
			best = &ids->rows[i];
	return best;
}
