/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * PATCH (RFC 7644 section 3.5.2). A user's patch is done on its JSON; a group's
 * becomes edits of its members, so that a large group is never read for a small change.
 */
#include "daemon/directory/scim_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum verb { VERB_NONE, VERB_ADD, VERB_REPLACE, VERB_REMOVE };

/* URN:name[filter].sub; what is not there is empty. */
struct path { struct span urn, name, filter, sub; };

static enum verb verb_of(const json_t *op)
{
	struct span s = span_str(json_string_value(scim_get(op, "op")));

	return span_ieq(s, SPAN("add"))       ? VERB_ADD
	       : span_ieq(s, SPAN("replace")) ? VERB_REPLACE
	       : span_ieq(s, SPAN("remove"))  ? VERB_REMOVE
					      : VERB_NONE;
}

static bool name_ok(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '-' || c == '_' || c == '$'))
			return false;
	}
	return s.len > 0;
}

static bool path_read(struct span text, struct path *ret, struct scim_error *e)
{
	struct path p = { 0 };
	struct span s = scim_short(span_trim(text));
	size_t      open, colon = 0;

	/* An extension's name is its URN up to the last colon, which stands before any bracket. */
	if (span_ieq(span_head(s, 4), SPAN("urn:"))) {
		for (size_t i = 0; i < s.len && s.ptr[i] != '['; i++)
			if (s.ptr[i] == ':')
				colon = i;
		/* "...:2.0:User" itself: its last part begins with a capital, attributes do not */
		if (colon + 1 < s.len && s.ptr[colon + 1] >= 'A' && s.ptr[colon + 1] <= 'Z') {
			p.name = s;
			*ret = p;
			return true;
		}
		p.urn = span_head(s, colon);
		s = span_from(s, colon + 1);
	}
	open = span_find(s, '[');
	if (open < s.len) {
		size_t close = s.len;

		while (close > open && s.ptr[close - 1] != ']')
			close--;
		if (close == open)
			return scim_refuse(e, 400, "invalidPath", "a bracket is not closed");
		p.name = span_head(s, open);
		p.filter = span_of(s.ptr + open + 1, close - open - 2);
		s = span_from(s, close);
		if (s.len && s.ptr[0] != '.')
			return scim_refuse(e, 400, "invalidPath", "after a bracket comes a dot");
		p.sub = span_from(s, 1);
		if (s.len && !name_ok(p.sub))
			return scim_refuse(e, 400, "invalidPath", "that is no attribute's name");
	} else {
		size_t dot = span_find(s, '.');

		p.name = span_head(s, dot);
		p.sub = span_from(s, dot + 1);
		if (dot < s.len && !name_ok(p.sub))
			return scim_refuse(e, 400, "invalidPath", "that is no attribute's name");
	}
	if (!name_ok(p.name))
		return scim_refuse(e, 400, "invalidPath", "that is no attribute's name");
	*ret = p;
	return true;
}

/* ---- a user's JSON ---- */

static json_t *member(json_t *o, struct span name)
{
	const char *key = scim_key(o, name);

	return key ? json_object_get(o, key) : NULL;
}

static void set(json_t *o, struct span name, json_t *v)        /* takes v */
{
	const char       *key = scim_key(o, name);
	scoped_free char *own = key ? mem_strdup(key) : span_dup(name);

	json_object_set_new(o, own, v);
}

static void unset(json_t *o, struct span name)
{
	const char *key = scim_key(o, name);

	if (key)
		json_object_del(o, key);
}

static void extend(json_t *list, const json_t *v)
{
	size_t n = json_is_array(v) ? json_array_size(v) : 1;

	for (size_t i = 0; i < n; i++) {
		json_t *one = json_is_array(v) ? json_array_get(v, i) : (json_t *)(uintptr_t)v, *old;
		size_t  k;
		bool    there = false;

		json_array_foreach(list, k, old)
			there |= json_equal(old, one);
		if (!there)
			json_array_append_new(list, json_deep_copy(one));
	}
}

/* One attribute of an object: add joins what is a list, replace does not; objects are merged. */
static void put(json_t *o, enum verb verb, struct span name, const json_t *v)
{
	json_t     *old = member(o, name), *one;
	const char *key;

	if (verb == VERB_REMOVE || !v || json_is_null(v)) {
		unset(o, name);
	} else if (verb == VERB_ADD && json_is_array(old)) {
		extend(old, v);
	} else if (json_is_object(old) && json_is_object(v)) {
		json_object_foreach((json_t *)(uintptr_t)v, key, one)
			put(old, VERB_REPLACE, span_str(key), one);
	} else {
		set(o, name, json_deep_copy(v));
	}
}

static bool matches(const json_t *item, struct span filter, bool *ret, struct scim_error *e)
{
	struct span rest = filter, name;

	*ret = true;
	for (;;) {
		json_t *v = NULL;

		if (!scim_term(&rest, &name, &v, e))
			return false;
		const char   *key = scim_key(item, name);
		const json_t *have = key ? json_object_get(item, key) : NULL;
		bool          a, b;

		*ret &= have && (json_equal(have, v) || (scim_bool(have, &a) && scim_bool(v, &b) && a == b));
		json_decref(v);
		rest = span_trim(rest);
		if (!rest.len)
			return true;
		if (rest.len < 4 || !span_ieq(span_head(rest, 4), SPAN("and ")))
			return scim_refuse(e, 400, "invalidFilter", "terms are joined by \"and\" alone");
		rest = span_from(rest, 4);
	}
}

/* A new element that the filter would find: what Entra means by emails[type eq "work"].value
 * where there is none yet. */
static json_t *element_for(struct span filter, struct scim_error *e)
{
	struct span rest = filter, name;
	json_t     *o = json_object(), *v;

	while (rest.len) {
		v = NULL;
		if (!scim_term(&rest, &name, &v, e)) {
			json_decref(o);
			return NULL;
		}
		set(o, name, v);
		rest = span_trim(rest);
		rest = span_from(rest, rest.len >= 4 ? 4 : rest.len);
	}
	return o;
}

static bool put_where(json_t *o, enum verb verb, const struct path *p, const json_t *v,
		      struct scim_error *e)
{
	json_t *list = member(o, p->name);
	bool    found = false, hit;

	if (!list && verb == VERB_REMOVE)
		return scim_refuse(e, 400, "noTarget", "nothing matches that path");
	if (!list)
		set(o, p->name, list = json_array());
	if (!json_is_array(list))
		return scim_refuse(e, 400, "invalidPath", "that attribute is no list");
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *item = json_array_get(list, i), *one;
		const char *key;

		if (!matches(item, p->filter, &hit, e))
			return false;
		if (!hit)
			continue;
		found = true;
		if (p->sub.len) {
			put(item, verb == VERB_ADD ? VERB_REPLACE : verb, p->sub, v);
		} else if (verb == VERB_REMOVE) {
			json_array_remove(list, i--);
		} else if (json_is_object(v)) {
			json_object_foreach((json_t *)(uintptr_t)v, key, one)
				put(item, VERB_REPLACE, span_str(key), one);
		} else {
			return scim_refuse(e, 400, "invalidValue", "the value is no object");
		}
	}
	if (found || verb == VERB_REMOVE)
		return found || scim_refuse(e, 400, "noTarget", "nothing matches that path");
	json_t *item = element_for(p->filter, e);
	if (!item)
		return false;
	if (p->sub.len)
		put(item, VERB_REPLACE, p->sub, v);
	else if (json_is_object(v))
		json_object_update_missing(item, (json_t *)(uintptr_t)v);
	json_array_append_new(list, item);
	return true;
}

/* Entra removes by value, without a filter. */
static bool remove_values(json_t *list, const json_t *v)
{
	size_t n = json_is_array(v) ? json_array_size(v) : 1;

	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
		const json_t *want = json_is_object(one) ? scim_get(one, "value") : one;

		for (size_t k = json_array_size(list); k-- > 0;) {
			const json_t *have = json_array_get(list, k);

			if (json_equal(have, one) || json_equal(scim_get(have, "value"), want))
				json_array_remove(list, k);
		}
	}
	return true;
}

static bool user_at(json_t *o, enum verb verb, const struct path *p, const json_t *v,
		    struct scim_error *e)
{
	static const struct span fixed[] = { { "id", 2 }, { "meta", 4 }, { "groups", 6 }, { "schemas", 7 } };

	for (size_t i = 0; i < array_size(fixed) && !p->urn.len; i++) {
		if (!span_ieq(p->name, fixed[i]))
			continue;
		/* "schemas" and an id that is the same are said along by some clients */
		return i == 3 || i == 0 ||
		       scim_refuse(e, 400, "mutability", "that attribute is not the client's");
	}
	if (span_ieq(p->name, SPAN("userName")) && verb == VERB_REMOVE)
		return scim_refuse(e, 400, "invalidValue", "a user has a userName");
	if (p->urn.len) {
		json_t *ext = member(o, p->urn);

		if (!json_is_object(ext)) {
			if (verb == VERB_REMOVE)
				return true;
			set(o, p->urn, ext = json_object());
		}
		const struct path inner = { .name = p->name, .filter = p->filter, .sub = p->sub };
		return user_at(ext, verb, &inner, v, e);
	}
	if (p->filter.len)
		return put_where(o, verb, p, v, e);
	if (p->sub.len) {
		json_t *outer = member(o, p->name);

		if (!json_is_object(outer)) {
			if (verb == VERB_REMOVE)
				return true;
			set(o, p->name, outer = json_object());
		}
		put(outer, verb, p->sub, v);
		return true;
	}
	if (verb == VERB_REMOVE && v && json_is_array(member(o, p->name)))
		return remove_values(member(o, p->name), v);
	put(o, verb, p->name, v);
	return true;
}

static bool user_large(struct scim_error *e)
{
	return scim_refuse(e, 413, NULL, "a user of more than %d bytes", SCIM_RESOURCE_MAX);
}

static bool user_op(json_t *o, const json_t *op, struct scim_error *e)
{
	enum verb     verb = verb_of(op);
	const json_t *path = scim_get(op, "path"), *value = scim_get(op, "value");
	json_t       *v;
	const char   *key;
	struct path   p;

	if (verb == VERB_NONE)
		return scim_refuse(e, 400, "invalidSyntax", "\"op\" is add, replace or remove");
	/* It is copied to every value that its path names. */
	if (value && json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) > SCIM_RESOURCE_MAX)
		return user_large(e);
	if (json_is_string(path) && json_string_length(path)) {
		if (verb != VERB_REMOVE && !value)
			return scim_refuse(e, 400, "invalidValue", "there is no value");
		return path_read(span_str(json_string_value(path)), &p, e) &&
		       user_at(o, verb, &p, value, e);
	}
	if (verb == VERB_REMOVE)
		return scim_refuse(e, 400, "noTarget", "what to remove is not said");
	if (!json_is_object(value))
		return scim_refuse(e, 400, "invalidValue", "without a path the value is an object");
	/* Members named like paths ("name.givenName", "urn:...:department") are paths. */
	json_object_foreach((json_t *)(uintptr_t)value, key, v)
		if (!path_read(span_str(key), &p, e) || !user_at(o, verb, &p, v, e))
			return false;
	return true;
}

bool scim_user_patch(json_t *o, const json_t *patch, struct scim_error *e)
{
	const json_t *ops, *op;
	size_t        i;

	if (!scim_is_patch(patch, &ops, e))
		return false;
	json_array_foreach(ops, i, op) {
		if (!user_op(o, op, e))
			return false;
		/* One patch is no way to a resource without an end, whatever its last operation takes away. */
		if (json_dumpb(o, NULL, 0, JSON_COMPACT) > SCIM_RESOURCE_MAX)
			return user_large(e);
	}
	/* Who is disabled is not let in by what is not said. */
	return scim_get(o, "active") ||
	       scim_refuse(e, 400, "invalidValue", "\"active\" is true or false");
}

/* ---- a group's edits ---- */

static bool members_where(struct scim_group *g, enum verb verb, struct span filter,
			  struct scim_error *e)
{
	struct span rest = filter, name;
	json_t     *v = NULL;

	if (!scim_term(&rest, &name, &v, e))
		return false;
	bool ok = verb == VERB_REMOVE && span_ieq(name, SPAN("value")) && !span_trim(rest).len;
	ok = ok ? scim_group_members(g, SCIM_EDIT_REMOVE, v, e)
		: scim_refuse(e, 400, "invalidPath", "members[value eq \"...\"] is for removing");
	json_decref(v);
	return ok;
}

static bool group_at(struct scim_group *g, enum verb verb, const struct path *p, const json_t *v,
		     struct scim_error *e)
{
	if (span_ieq(p->name, SPAN("displayName")))
		return verb == VERB_REMOVE
			       ? scim_refuse(e, 400, "invalidValue", "a group has a displayName")
			       : scim_group_name(g, v, e);
	if (span_ieq(p->name, SPAN("externalId")))
		return scim_group_external(g, verb == VERB_REMOVE ? NULL : v, e);
	if (span_ieq(p->name, SPAN("id")) || span_ieq(p->name, SPAN("schemas")))
		return true;
	if (!span_ieq(p->name, SPAN("members")))
		return scim_refuse(e, 400, "invalidPath", "a group has displayName, externalId, members");
	if (p->filter.len)
		return members_where(g, verb, p->filter, e);
	if (verb == VERB_REMOVE && v && !json_is_null(v))
		return scim_group_members(g, SCIM_EDIT_REMOVE, v, e);
	if (verb != VERB_ADD)
		scim_edit(g, SCIM_EDIT_CLEAR, 0);
	return verb == VERB_REMOVE || scim_group_members(g, SCIM_EDIT_ADD, v, e);
}

static bool group_ops(struct scim_group *g, const json_t *ops, struct scim_error *e)
{
	const json_t *op, *v;
	const char   *key;
	struct path   p;
	size_t        i;

	json_array_foreach(ops, i, op) {
		enum verb     verb = verb_of(op);
		const json_t *path = scim_get(op, "path"), *value = scim_get(op, "value");

		if (verb == VERB_NONE)
			return scim_refuse(e, 400, "invalidSyntax", "\"op\" is add, replace or remove");
		if (json_is_string(path) && json_string_length(path)) {
			if (!path_read(span_str(json_string_value(path)), &p, e) ||
			    !group_at(g, verb, &p, value, e))
				return false;
			continue;
		}
		if (verb == VERB_REMOVE)
			return scim_refuse(e, 400, "noTarget", "what to remove is not said");
		if (!json_is_object(value))
			return scim_refuse(e, 400, "invalidValue", "without a path the value is an object");
		json_object_foreach((json_t *)(uintptr_t)value, key, v)
			if (!path_read(span_str(key), &p, e) || !group_at(g, verb, &p, v, e))
				return false;
	}
	return true;
}

bool scim_group_patch(const json_t *patch, struct scim_group *ret, struct scim_error *e)
{
	struct scim_group g = { 0 };
	const json_t     *ops;

	if (!scim_is_patch(patch, &ops, e) || !group_ops(&g, ops, e)) {
		scim_group_done(&g);
		return false;
	}
	*ret = g;
	return true;
}
