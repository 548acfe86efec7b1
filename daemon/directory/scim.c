/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/scim.h"

#include "daemon/directory/scim_parts.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool scim_refuse(struct scim_error *e, int status, const char *type, const char *fmt, ...)
{
	va_list ap;

	e->status = status;
	e->type = type;
	va_start(ap, fmt);
	vsnprintf(e->detail, sizeof(e->detail), fmt, ap);
	va_end(ap);
	return false;
}

void scim_error_put(const struct scim_error *e, struct buf *out)
{
	/* status is a string (RFC 7644 section 3.12) */
	buf_addf(out,
		 "{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:Error\"],\"status\":\"%d\"",
		 e->status);
	if (e->type)
		buf_addf(out, ",\"scimType\":\"%s\"", e->type);
	buf_add_str(out, ",\"detail\":");
	buf_add_json(out, span_str(e->detail));
	buf_add_str(out, "}\n");
}

/* ---- members of objects, whatever their case ---- */

const char *scim_key(const json_t *obj, struct span name)
{
	const char *key;
	json_t     *v;

	json_object_foreach((json_t *)(uintptr_t)obj, key, v)
		if (span_ieq(span_str(key), name))
			return key;
	return NULL;
}

json_t *scim_get(const json_t *obj, const char *name)
{
	const char *key = scim_key(obj, span_str(name));

	return key ? json_object_get(obj, key) : NULL;
}

bool scim_bool(const json_t *v, bool *ret)
{
	const char *s = json_string_value(v);

	if (json_is_boolean(v))
		*ret = json_is_true(v);
	else if (s && strcasecmp(s, "true") == 0)
		*ret = true;
	else if (s && strcasecmp(s, "false") == 0)
		*ret = false;
	else
		return false;
	return true;
}

/* Text without controls: it becomes a line in a list, a word in a log. */
static bool text_ok(const json_t *v, size_t max)
{
	const char *s = json_string_value(v);
	size_t      n = json_string_length(v);

	if (!s || n == 0 || n > max || strlen(s) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return true;
}

static bool has_schema(const json_t *o, const char *urn)
{
	const json_t *list = scim_get(o, "schemas"), *one;
	size_t        i;

	json_array_foreach(list, i, one)
		if (json_is_string(one) && strcasecmp(json_string_value(one), urn) == 0)
			return true;
	return false;
}

/* ---- users ---- */

static void rename_key(json_t *o, const char *name)
{
	const char *key = scim_key(o, span_str(name));

	if (!key || strcmp(key, name) == 0)
		return;
	json_t *v = json_incref(json_object_get(o, key));
	json_object_del(o, key);
	json_object_set_new(o, name, v);
}

bool scim_user_check(json_t *o, struct scim_user *ret, struct scim_error *e)
{
	static const char *const ours[] = { "id", "meta", "groups", "password", "schemas" };
	static const char *const known[] = { "userName", "externalId", "active", "displayName",
		                             "name",     "emails" };

	if (!json_is_object(o))
		return scim_refuse(e, 400, "invalidSyntax", "a user is an object");
	for (size_t i = 0; i < array_size(ours); i++) {
		const char *key;

		while ((key = scim_key(o, span_str(ours[i]))))
			json_object_del(o, key);
	}
	for (size_t i = 0; i < array_size(known); i++)
		rename_key(o, known[i]);
	if (!text_ok(json_object_get(o, "userName"), SCIM_NAME_MAX))
		return scim_refuse(e, 400, "invalidValue", "\"userName\" is a text of 1 to %d bytes",
				   SCIM_NAME_MAX);
	const json_t *external = json_object_get(o, "externalId");
	if (json_is_null(external) || (json_is_string(external) && !json_string_length(external)))
		json_object_del(o, "externalId");
	else if (external && !text_ok(external, SCIM_NAME_MAX))
		return scim_refuse(e, 400, "invalidValue",
				   "\"externalId\" is a text of 1 to %d bytes", SCIM_NAME_MAX);
	const json_t *active = json_object_get(o, "active");
	ret->active = true;
	ret->says_active = active != NULL;
	if (active && !scim_bool(active, &ret->active))
		return scim_refuse(e, 400, "invalidValue", "\"active\" is true or false");
	json_object_set_new(o, "active", json_boolean(ret->active));
	ret->name = json_string_value(json_object_get(o, "userName"));
	external = json_object_get(o, "externalId");
	ret->external_id = external ? json_string_value(external) : "";
	if (json_dumpb(o, NULL, 0, JSON_COMPACT) > SCIM_RESOURCE_MAX)
		return scim_refuse(e, 413, NULL, "a user of more than %d bytes", SCIM_RESOURCE_MAX);
	return true;
}

/* ---- groups ---- */

void scim_group_done(struct scim_group *g)
{
	free(g->name);
	free(g->external_id);
	free(g->edits);
	*g = (struct scim_group){ 0 };
}

void scim_edit(struct scim_group *g, enum scim_edit_what what, uint64_t user)
{
	if (g->count == g->room)
		g->edits = mem_realloc(g->edits, g->room = g->room ? g->room * 2 : 16,
				       sizeof(*g->edits));
	g->edits[g->count++] = (struct scim_edit){ what, user };
}

bool scim_group_name(struct scim_group *g, const json_t *v, struct scim_error *e)
{
	if (!text_ok(v, SCIM_NAME_MAX))
		return scim_refuse(e, 400, "invalidValue",
				   "\"displayName\" is a text of 1 to %d bytes", SCIM_NAME_MAX);
	free(g->name);
	g->name = mem_strdup(json_string_value(v));
	return true;
}

bool scim_group_external(struct scim_group *g, const json_t *v, struct scim_error *e)
{
	bool none = !v || json_is_null(v) || (json_is_string(v) && !json_string_length(v));

	if (!none && !text_ok(v, SCIM_NAME_MAX))
		return scim_refuse(e, 400, "invalidValue",
				   "\"externalId\" is a text of 1 to %d bytes", SCIM_NAME_MAX);
	free(g->external_id);
	g->external_id = mem_strdup(none ? "" : json_string_value(v));
	return true;
}

/* [{"value":"p7"}], one such object, or its text alone. */
bool scim_group_members(struct scim_group *g, enum scim_edit_what what, const json_t *v,
			struct scim_error *e)
{
	size_t   n = json_is_array(v) ? json_array_size(v) : 1;
	uint64_t id;

	for (size_t i = 0; v && !json_is_null(v) && i < n; i++) {
		const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
		const json_t *type = scim_get(one, "type");
		const json_t *value = json_is_object(one) ? scim_get(one, "value") : one;
		struct span   s = span_str(json_string_value(value));

		if (json_is_string(type) && strcasecmp(json_string_value(type), "Group") == 0)
			return scim_refuse(e, 400, "invalidValue",
					   "members are users: groups in groups are not kept");
		if (!scim_id_parse(false, s, &id)) {
			if (what == SCIM_EDIT_REMOVE)
				continue;       /* nobody of ours is not a member */
			return scim_refuse(e, 400, "invalidValue", "a member's value is a user's id");
		}
		scim_edit(g, what, id);
	}
	return true;
}

bool scim_group_read(const json_t *o, struct scim_group *ret, struct scim_error *e)
{
	struct scim_group g = { 0 };

	if (!json_is_object(o))
		return scim_refuse(e, 400, "invalidSyntax", "a group is an object");
	scim_edit(&g, SCIM_EDIT_CLEAR, 0);
	if (scim_group_name(&g, scim_get(o, "displayName"), e) &&
	    scim_group_external(&g, scim_get(o, "externalId"), e) &&
	    scim_group_members(&g, SCIM_EDIT_ADD, scim_get(o, "members"), e)) {
		*ret = g;
		return true;
	}
	scim_group_done(&g);
	return false;
}

/* ---- ids and versions ---- */

const char *scim_id_text(bool group, uint64_t id, char buf[SCIM_ID_MAX])
{
	snprintf(buf, SCIM_ID_MAX, "%c%llu", group ? 'g' : 'p', (unsigned long long)id);
	return buf;
}

bool scim_id_parse(bool group, struct span s, uint64_t *ret_id)
{
	return s.len > 1 && s.ptr[0] == (group ? 'g' : 'p') && s.ptr[1] != '0' &&
	       span_u64(span_from(s, 1), INT64_MAX, ret_id);
}

const char *scim_etag(int64_t version, char buf[SCIM_ID_MAX])
{
	snprintf(buf, SCIM_ID_MAX, "W/\"%lld\"", (long long)version);
	return buf;
}

bool scim_etag_match(struct span header, int64_t version)
{
	char        text[SCIM_ID_MAX];
	struct span tag = span_str(scim_etag(version, text)), one;

	while (span_next(&header, ',', &one)) {
		one = span_trim(one);
		if (span_eq(one, SPAN("*")) || span_eq(one, tag) || span_eq(one, span_from(tag, 2)))
			return true;
	}
	return false;
}

/* ---- filters ---- */

void scim_filter_done(struct scim_filter *f)
{
	free(f->user_name);
	free(f->display_name);
	free(f->external_id);
	free(f->id);
	*f = (struct scim_filter){ 0 };
}

/* The URN of our own schemas in front of a name adds nothing. */
struct span scim_short(struct span name)
{
	static const char *const urns[] = { SCIM_USER_URN ":", SCIM_GROUP_URN ":" };

	for (size_t i = 0; i < array_size(urns); i++)
		if (name.len > strlen(urns[i]) &&
		    span_ieq(span_head(name, strlen(urns[i])), span_str(urns[i])))
			return span_from(name, strlen(urns[i]));
	return name;
}

static struct span word(struct span *rest)
{
	struct span s = span_trim(*rest);
	size_t      n = 0;

	while (n < s.len && s.ptr[n] != ' ' && s.ptr[n] != '\t')
		n++;
	*rest = span_from(s, n);
	return span_head(s, n);
}

/* A JSON value at the beginning of rest: text, true or false. */
static json_t *value(struct span *rest)
{
	struct span  s = span_trim(*rest);
	json_error_t why;
	size_t       n = 1;

	if (!s.len)
		return NULL;
	if (s.ptr[0] != '"') {
		struct span w = word(rest);

		return span_ieq(w, SPAN("true"))    ? json_true()
		       : span_ieq(w, SPAN("false")) ? json_false()
						    : NULL;
	}
	while (n < s.len && s.ptr[n] != '"')
		n += s.ptr[n] == '\\' ? 2 : 1;
	if (n >= s.len)
		return NULL;
	*rest = span_from(s, n + 1);
	return json_loadb(s.ptr, n + 1, JSON_DECODE_ANY, &why);
}

bool scim_term(struct span *rest, struct span *ret_name, json_t **ret_value, struct scim_error *e)
{
	*ret_name = scim_short(word(rest));
	struct span op = word(rest);

	if (!span_ieq(op, SPAN("eq")))
		return scim_refuse(e, 400, "invalidFilter", "only \"eq\" is understood here");
	*ret_value = value(rest);
	return *ret_value || scim_refuse(e, 400, "invalidFilter", "a value is a text in quotes, or a boolean");
}

static bool put(char **to, const char *s, bool *ret_nothing)
{
	if (*to && strcmp(*to, s) != 0)
		*ret_nothing = true;
	free(*to);
	*to = mem_strdup(s);
	return true;
}

/* members[value eq "p7"], up to its bracket: the same as members.value */
#define MEMBERS_WHERE "members[value"

static bool add_term(struct scim_filter *f, struct span name, const json_t *v, struct scim_error *e)
{
	const char *s = json_string_value(v);
	bool        b;
	uint64_t    id;

	if (span_ieq(name, SPAN("active")) && scim_bool(v, &b)) {
		f->nothing |= f->active && f->active != (b ? 1 : -1);
		f->active = b ? 1 : -1;
		return true;
	}
	if (!s)
		return scim_refuse(e, 400, "invalidFilter", "this attribute is compared with a text");
	if (span_ieq(name, SPAN("userName")))
		return put(&f->user_name, s, &f->nothing);
	if (span_ieq(name, SPAN("displayName")))
		return put(&f->display_name, s, &f->nothing);
	if (span_ieq(name, SPAN("externalId")))
		return put(&f->external_id, s, &f->nothing);
	if (span_ieq(name, SPAN("id")))
		return put(&f->id, s, &f->nothing);
	if (span_ieq(name, SPAN("members")) || span_ieq(name, SPAN("members.value")) ||
	    span_ieq(name, SPAN(MEMBERS_WHERE))) {
		if (!scim_id_parse(false, span_str(s), &id) || (f->member && f->member != id))
			f->nothing = true;
		else
			f->member = id;
		return true;
	}
	return scim_refuse(e, 400, "invalidFilter",
			   "filters know userName, displayName, externalId, id, active and members");
}

bool scim_filter_read(struct span text, struct scim_filter *ret, struct scim_error *e)
{
	struct scim_filter f = { 0 };
	struct span        rest = span_trim(text), name;
	bool               ok = true;

	for (int n = 0; ok; n++) {
		json_t *v = NULL;

		if (n == SCIM_TERMS_MAX) {
			ok = scim_refuse(e, 400, "invalidFilter", "more than %d terms", SCIM_TERMS_MAX);
			break;
		}
		ok = scim_term(&rest, &name, &v, e) && add_term(&f, name, v, e);
		json_decref(v);
		rest = span_trim(rest);
		if (ok && span_ieq(name, SPAN(MEMBERS_WHERE))) {
			ok = span_starts(rest, SPAN("]")) ||
			     scim_refuse(e, 400, "invalidFilter", "a bracket is not closed");
			rest = span_trim(span_from(rest, 1));
		}
		if (!ok || !rest.len)
			break;
		if (!span_ieq(word(&rest), SPAN("and")))
			ok = scim_refuse(e, 400, "invalidFilter", "terms are joined by \"and\" alone");
	}
	if (!ok) {
		scim_filter_done(&f);
		return false;
	}
	*ret = f;
	return true;
}

/* ---- queries ---- */

void scim_query_done(struct scim_query *q)
{
	free(q->filter);
	free(q->attributes);
	free(q->excluded);
	*q = (struct scim_query){ 0 };
}

static bool number(struct span s, int64_t *ret)
{
	bool     minus = s.len && s.ptr[0] == '-';
	uint64_t n;

	if (!span_u64(span_from(s, minus), INT32_MAX, &n))
		return false;
	*ret = minus ? -(int64_t)n : (int64_t)n;
	return true;
}

bool scim_query_read(struct span text, struct scim_query *ret, struct scim_error *e)
{
	struct scim_query q = { .start = 1, .count = -1 };
	struct span       part;
	bool              ok = true;

	while (ok && span_next(&text, '&', &part)) {
		size_t      eq = span_find(part, '=');
		struct span name = span_head(part, eq);
		struct buf  v;

		buf_init(&v, 8 << 10);
		buf_add_str(&v, "");
		ok = percent_decode(span_from(part, eq + 1), true, &v) && !v.over &&
		     !memchr(v.ptr, 0, v.len);
		char **to = span_ieq(name, SPAN("filter"))               ? &q.filter
			    : span_ieq(name, SPAN("attributes"))         ? &q.attributes
			    : span_ieq(name, SPAN("excludedAttributes")) ? &q.excluded
									 : NULL;
		if (!ok)
			scim_refuse(e, 400, "invalidValue", "the query does not decode");
		else if (to && *to)
			ok = scim_refuse(e, 400, "invalidValue", "a parameter is there twice");
		else if (to)
			*to = span_dup(buf_span(&v));
		else if (span_ieq(name, SPAN("startIndex")))
			ok = number(buf_span(&v), &q.start) ||
			     scim_refuse(e, 400, "invalidValue", "startIndex is a number");
		else if (span_ieq(name, SPAN("count")))
			ok = number(buf_span(&v), &q.count) ||
			     scim_refuse(e, 400, "invalidValue", "count is a number");
		if (span_ieq(name, SPAN("count")) && q.count < 0)
			q.count = 0;    /* RFC 7644 section 3.4.2.4 */
		buf_done(&v);
	}
	if (q.start < 1)
		q.start = 1;
	if (!ok)
		scim_query_done(&q);
	else
		*ret = q;
	return ok;
}

static bool listed(const char *list, const char *attribute)
{
	struct span rest = span_str(list), one;

	while (span_next(&rest, ',', &one)) {
		one = scim_short(span_trim(one));
		one = span_head(one, span_find(one, '.'));
		if (span_ieq(one, span_str(attribute)))
			return true;
	}
	return false;
}

bool scim_query_wants(const struct scim_query *q, const char *attribute)
{
	return q->attributes ? listed(q->attributes, attribute)
			     : !q->excluded || !listed(q->excluded, attribute);
}

bool scim_is_patch(const json_t *patch, const json_t **ret_ops, struct scim_error *e)
{
	*ret_ops = scim_get(patch, "Operations");
	if (!has_schema(patch, "urn:ietf:params:scim:api:messages:2.0:PatchOp"))
		return scim_refuse(e, 400, "invalidSyntax", "the body's schema is not PatchOp");
	if (!json_is_array(*ret_ops) || !json_array_size(*ret_ops) ||
	    json_array_size(*ret_ops) > SCIM_OPS_MAX)
		return scim_refuse(e, 400, "invalidSyntax", "\"Operations\" is a list of 1 to %d",
				   SCIM_OPS_MAX);
	return true;
}
