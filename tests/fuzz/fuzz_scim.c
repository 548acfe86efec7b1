/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Any bytes as what a SCIM client says. The first byte chooses: a filter, a query, a user and a patch on
 * it (a 0 between the two), a group's patch, a whole group, an id and an ETag. */
#include "daemon/directory/scim.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

enum { INPUT_MAX = 128 << 10 };

static void refused(const struct scim_error *e)
{
	must(e->status == 400 || e->status == 413);
	must(strlen(e->detail) < sizeof(e->detail));
}

/* As a text may be in the database: no control, not longer than its limit. */
static void text_is_tame(const char *s)
{
	must(strlen(s) <= SCIM_NAME_MAX);
	for (; *s; s++)
		must((unsigned char)*s >= 0x20 && *s != 0x7f);
}

static json_t *read(struct span s)
{
	json_error_t why;

	return json_loadb(s.ptr, s.len, JSON_REJECT_DUPLICATES, &why);
}

static void filter(struct span in)
{
	struct scim_filter f = { 0 };
	struct scim_error  e = { 0 };

	if (!scim_filter_read(in, &f, &e)) {
		refused(&e);
		return;
	}
	must(f.active >= -1 && f.active <= 1 && f.member <= INT64_MAX);
	scim_filter_done(&f);
}

static void query(struct span in)
{
	struct scim_query q = { 0 };
	struct scim_error e = { 0 };

	if (!scim_query_read(in, &q, &e)) {
		refused(&e);
		return;
	}
	must(q.start >= 1 && q.count >= -1);
	scim_query_wants(&q, "members");
	if (q.filter)
		filter(span_str(q.filter));
	scim_query_done(&q);
}

/* What is the server's own stays, whatever a patch calls it. */
static void unchanged(const json_t *before, const json_t *after)
{
	static const char *const ours[] = { "id", "meta", "groups", "schemas" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		const json_t *a = json_object_get(before, ours[i]), *b = json_object_get(after, ours[i]);

		must(a ? json_equal(a, b) : !b);
	}
}

static void user(struct span in)
{
	size_t            zero = span_find(in, '\0');
	json_t           *o = read(span_head(in, zero)), *patch = read(span_from(in, zero + 1)), *before;
	struct scim_user  u = { 0 };
	struct scim_error e = { 0 };

	if (!json_is_object(o) || !scim_user_check(o, &u, &e)) {
		json_decref(o);
		json_decref(patch);
		return;
	}
	text_is_tame(u.name);
	text_is_tame(u.external_id);
	must(u.name[0] && !json_object_get(o, "password") && !json_object_get(o, "id"));
	json_object_set_new(o, "id", json_string("p7"));
	json_object_set_new(o, "meta", json_pack("{s:s}", "resourceType", "User"));
	before = json_deep_copy(o);
	if (!scim_user_patch(o, patch, &e)) {
		refused(&e);
	} else {
		unchanged(before, o);
		must(json_dumpb(o, NULL, 0, JSON_COMPACT) <= SCIM_RESOURCE_MAX);
		if (scim_user_check(o, &u, &e)) {
			text_is_tame(u.name);
			text_is_tame(u.external_id);
			must(u.name[0] && json_is_boolean(json_object_get(o, "active")));
		} else {
			refused(&e);
		}
	}
	json_decref(before);
	json_decref(o);
	json_decref(patch);
}

static void group(struct span in, bool whole)
{
	json_t           *o = read(in);
	struct scim_group g = { 0 };
	struct scim_error e = { 0 };

	if (whole ? scim_group_read(o, &g, &e) : scim_group_patch(o, &g, &e)) {
		must(!whole || (g.name && g.name[0] && g.count >= 1 && g.edits[0].what == SCIM_EDIT_CLEAR));
		if (g.name)
			text_is_tame(g.name);
		if (g.external_id)
			text_is_tame(g.external_id);
		for (size_t i = 0; i < g.count; i++)
			must(g.edits[i].what == SCIM_EDIT_CLEAR ? !g.edits[i].user
								: g.edits[i].user && g.edits[i].user <= INT64_MAX);
		scim_group_done(&g);
	} else {
		refused(&e);
		must(!g.name && !g.edits);
	}
	json_decref(o);
}

static void names(struct span in)
{
	char     text[SCIM_ID_MAX];
	uint64_t id;

	/* One id has one spelling. */
	if (scim_id_parse(false, in, &id))
		must(span_eq(in, span_str(scim_id_text(false, id, text))));
	if (scim_id_parse(true, in, &id))
		must(span_eq(in, span_str(scim_id_text(true, id, text))));
	if (scim_etag_match(in, 3) && !scim_etag_match(in, 4))
		must(memchr(in.ptr, '3', in.len) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest;

	if (size < 1 || size > INPUT_MAX)
		return 0;
	rest = span_from(span_of(data, size), 1);
	switch (data[0]) {
	case 'f':
		filter(rest);
		break;
	case 'q':
		query(rest);
		break;
	case 'u':
		user(rest);
		break;
	case 'p':
		group(rest, false);
		break;
	case 'g':
		group(rest, true);
		break;
	case 'i':
		names(rest);
		break;
	default:
		break;
	}
	return 0;
}
