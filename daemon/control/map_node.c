/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/browser.h"
#include "daemon/control/map_parts.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"

#include <string.h>

bool map_id_parse(struct span text, char kind, uint64_t *ret_n)
{
	uint64_t n;

	if (text.len < 2 || text.len >= MAP_ID_MAX || text.ptr[0] != kind || text.ptr[1] == '0' ||
	    !span_u64(span_from(text, 1), INT64_MAX, &n) || n == 0)
		return false;
	*ret_n = n;
	return true;
}

const char *map_id_text(char kind, uint64_t n, char buf[MAP_ID_MAX])
{
	char   tmp[MAP_ID_MAX];
	size_t at = sizeof(tmp);

	tmp[--at] = '\0';
	do {
		tmp[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	tmp[--at] = kind;
	memcpy(buf, tmp + at, sizeof(tmp) - at);
	return buf;
}

bool map_name_ok(struct span name)
{
	if (name.len < 1 || name.len > 63 || name.ptr[0] == '-' || name.ptr[name.len - 1] == '-')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	return true;
}

struct map_node *map_node_new(void)
{
	struct map_node *n = mem_alloc(sizeof(*n));

	n->refs = 1;
	arena_init(&n->mem, 1024);
	return n;
}

struct map_node *map_node_ref(struct map_node *n)
{
	n->refs++;
	return n;
}

void map_node_unref(struct map_node *n)
{
	if (!n || --n->refs)
		return;
	arena_done(&n->mem);
	free(n);
}

/* ---- encoding ---- */

void map_add_member(struct buf *out, const char *name, struct span text)
{
	if (!text.len)
		return;
	buf_addf(out, ",\"%s\":", name);
	buf_add_json(out, text);
}

void map_add_list(struct buf *out, const char *name, const struct map_list *l)
{
	if (!l->count)
		return;
	buf_addf(out, ",\"%s\":[", name);
	for (size_t i = 0; i < l->count; i++) {
		if (i)
			buf_add_char(out, ',');
		buf_add_json(out, l->list[i]);
	}
	buf_add_char(out, ']');
}

void map_add_endpoints(struct buf *out, const struct ipport *list, size_t n)
{
	char text[IP_TEXT_MAX];

	if (!n)
		return;
	buf_add_str(out, ",\"endpoints\":[");
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s\"%s\"", i ? "," : "", ipport_text(&list[i], text));
	buf_add_char(out, ']');
}

void map_add_routes(struct buf *out, const struct prefix *list, size_t n)
{
	char text[IP_TEXT_MAX];

	if (!n)
		return;
	buf_add_str(out, ",\"routes\":[");
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s\"%s\"", i ? "," : "", prefix_text(&list[i], text));
	buf_add_char(out, ']');
}

void map_add_services(struct buf *out, const struct map_service *list, size_t n)
{
	if (!n)
		return;
	buf_add_str(out, ",\"services\":[");
	for (size_t i = 0; i < n; i++) {
		const struct map_service *s = &list[i];

		buf_add_str(out, i ? ",{\"name\":" : "{\"name\":");
		buf_add_json(out, s->name);
		buf_addf(out, ",\"port\":%u", s->port);
		if (s->http)
			buf_add_str(out, ",\"http\":true");
		if (s->browser.len)
			map_add_member(out, "browser", s->browser);
		map_add_list(out, "hosts", &s->hosts);
		map_add_list(out, "profiles", &s->profiles);
		buf_add_char(out, '}');
	}
	buf_add_char(out, ']');
}

void map_add_attrs(struct buf *out, const struct map_attr *list, size_t n)
{
	if (!n)
		return;
	buf_add_str(out, ",\"attrs\":{");
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_add_char(out, ',');
		buf_add_json(out, list[i].name);
		buf_add_char(out, ':');
		buf_add_json(out, list[i].value);
	}
	buf_add_char(out, '}');
}

static void add_user(struct buf *out, const struct map_user *u)
{
	char id[MAP_ID_MAX];

	buf_addf(out, ",\"user\":{\"id\":\"%s\"", map_id_text('u', u->id, id));
	map_add_member(out, "issuer", u->issuer);
	map_add_member(out, "sub", u->sub);
	map_add_member(out, "login", u->login);
	map_add_member(out, "name", u->name);
	map_add_member(out, "email", u->email);
	map_add_list(out, "groups", &u->groups);
	map_add_list(out, "idp", &u->idp);
	map_add_list(out, "roles", &u->roles);
	buf_add_char(out, '}');
}

static void add_session(struct buf *out, const struct map_session *s)
{
	char id[MAP_ID_MAX];

	buf_addf(out, ",\"session\":{\"id\":\"%s\",\"auth_time\":%lld,\"expires\":%lld",
		 map_id_text('s', s->id, id), (long long)s->auth_time.sec,
		 (long long)s->expires.sec);
	map_add_member(out, "acr", s->acr);
	map_add_list(out, "amr", &s->amr);
	if (s->cross_device)
		buf_add_str(out, ",\"cross_device\":true");
	buf_add_char(out, '}');
}

void map_turn_encode(const char *name, const struct map_turn *t, struct buf *out)
{
	if (!t)
		return;
	buf_addf(out, ",\"%s\":{\"key\":\"", name);
	base64_add(out, span_of(t->key, sizeof(t->key)));
	buf_add_char(out, '"');
	if (t->has_vouch) {
		buf_add_str(out, ",\"vouch\":\"");
		base64url_add(out, span_of(t->vouch, sizeof(t->vouch)));
		buf_add_char(out, '"');
	}
	buf_add_char(out, '}');
}

void map_node_encode(const struct map_node *n, struct buf *out)
{
	char id[MAP_ID_MAX], ip[IP_TEXT_MAX];

	buf_addf(out, "{\"id\":\"%s\",\"name\":", map_id_text('n', n->id, id));
	buf_add_json(out, n->name);
	buf_add_str(out, ",\"key\":\"");
	base64_add(out, span_of(n->key, sizeof(n->key)));
	buf_add_char(out, '"');
	if (n->v4.family)
		buf_addf(out, ",\"v4\":\"%s\"", ip_text(&n->v4, ip));
	if (n->v6.family)
		buf_addf(out, ",\"v6\":\"%s\"", ip_text(&n->v6, ip));
	map_add_endpoints(out, n->endpoints, n->endpoint_count);
	map_add_routes(out, n->routes, n->route_count);
	map_add_services(out, n->services, n->service_count);
	map_add_attrs(out, n->attrs, n->attr_count);
	if (n->hub)
		buf_add_str(out, ",\"hub\":true");
	if (n->waits)
		buf_add_str(out, ",\"waits\":true");
	if (n->browser.len)
		map_add_member(out, "browser", n->browser);
	map_add_list(out, "tags", &n->tags);
	if (n->user)
		add_user(out, n->user);
	if (n->session)
		add_session(out, n->session);
	if (n->evidence) {
		buf_add_str(out, ",\"evidence\":{\"id_token\":");
		buf_add_json(out, n->evidence->id_token);
		buf_add_str(out, ",\"opening\":\"");
		base64url_add(out, span_of(n->evidence->opening, sizeof(n->evidence->opening)));
		buf_add_char(out, '"');
		if (n->evidence->has_key) {
			buf_add_str(out, ",\"key\":\"");
			base64_add(out, span_of(n->evidence->key, sizeof(n->evidence->key)));
			buf_add_char(out, '"');
		}
		buf_add_char(out, '}');
	}
	map_turn_encode("next", n->next, out);
	map_turn_encode("was", n->was, out);
	buf_add_char(out, '}');
}

/* ---- decoding ---- */

static struct span keep(struct arena *mem, struct span s)
{
	return s.len ? arena_copy(mem, s) : (struct span){ "", 0 };
}

struct span map_get_str(struct fields *f, struct arena *mem, const char *name, size_t max,
			unsigned flags)
{
	return keep(mem, fields_str(f, name, max, flags));
}

void map_get_list(struct fields *f, struct arena *mem, const char *name, struct map_list *ret)
{
	const json_t *arr = fields_array(f, name, MAP_LIST_MAX);

	if (!arr || json_array_size(arr) == 0)
		return;
	ret->list = arena_calloc(mem, json_array_size(arr), sizeof(*ret->list));
	for (size_t i = 0; i < json_array_size(arr); i++)
		ret->list[ret->count++] =
			keep(mem, fields_item(f, name, json_array_get(arr, i), MAP_TEXT_MAX));
}

void map_get_endpoints(struct fields *f, struct arena *mem, struct ipport **ret, size_t *ret_n)
{
	const json_t *arr = fields_array(f, "endpoints", MAP_ENDPOINTS_MAX);

	if (!arr || json_array_size(arr) == 0)
		return;
	*ret = arena_calloc(mem, json_array_size(arr), sizeof(**ret));
	for (size_t i = 0; i < json_array_size(arr); i++) {
		struct span s = fields_item(f, "endpoints", json_array_get(arr, i), IP_TEXT_MAX);

		if (!f->bad && (!ipport_parse(s, &(*ret)[i]) || (*ret)[i].port == 0))
			fields_fail(f, ERR_SYNTAX, "endpoints", "not ADDRESS:PORT");
	}
	*ret_n = json_array_size(arr);
}

void map_get_routes(struct fields *f, struct arena *mem, struct prefix **ret, size_t *ret_n)
{
	const json_t *arr = fields_array(f, "routes", MAP_LIST_MAX);

	if (!arr || json_array_size(arr) == 0)
		return;
	*ret = arena_calloc(mem, json_array_size(arr), sizeof(**ret));
	for (size_t i = 0; i < json_array_size(arr); i++) {
		struct span s = fields_item(f, "routes", json_array_get(arr, i), IP_TEXT_MAX);

		if (!f->bad && !prefix_parse(s, &(*ret)[i]))
			fields_fail(f, ERR_SYNTAX, "routes", "not a prefix");
	}
	*ret_n = json_array_size(arr);
}

void map_get_services(struct fields *f, struct arena *mem, struct map_service **ret, size_t *ret_n)
{
	const json_t *arr = fields_array(f, "services", MAP_LIST_MAX);

	if (!arr || json_array_size(arr) == 0)
		return;
	*ret = arena_calloc(mem, json_array_size(arr), sizeof(**ret));
	for (size_t i = 0; i < json_array_size(arr) && !f->bad; i++) {
		struct fields       in = fields_of(json_array_get(arr, i), f->err);
		struct map_service *s = &(*ret)[i];

		s->name = map_get_str(&in, mem, "name", 63, FIELD_REQUIRED);
		if (!in.bad && !map_name_ok(s->name))
			fields_fail(&in, ERR_SYNTAX, "name", "not a lower-case DNS label");
		s->port = (uint16_t)fields_int(&in, "port", 1, 65535, FIELD_REQUIRED);
		s->http = fields_bool(&in, "http");
		s->browser = map_get_str(&in, mem, "browser", BROWSER_ORIGIN_MAX, FIELD_OPTIONAL);
		if (!in.bad && s->browser.len && !browser_origin_ok(s->browser))
			fields_fail(&in, ERR_SYNTAX, "browser", "not https://HOST");
		map_get_list(&in, mem, "hosts", &s->hosts);
		map_get_list(&in, mem, "profiles", &s->profiles);
		f->bad = in.bad;
	}
	*ret_n = json_array_size(arr);
}

void map_get_attrs(struct fields *f, struct arena *mem, struct map_attr **ret, size_t *ret_n)
{
	const json_t *obj = fields_object(f, "attrs", FIELD_OPTIONAL);
	const char   *name;
	json_t       *value;
	size_t        n = 0;

	if (!obj || json_object_size(obj) == 0)
		return;
	if (json_object_size(obj) > MAP_LIST_MAX) {
		fields_fail(f, ERR_LIMIT, "attrs", "too many");
		return;
	}
	*ret = arena_calloc(mem, json_object_size(obj), sizeof(**ret));
	json_object_foreach((json_t *)obj, name, value)
	{
		if (strlen(name) > MAP_TEXT_MAX)
			fields_fail(f, ERR_LIMIT, "attrs", "name too long");
		if (f->bad)
			return;
		(*ret)[n].name = keep(mem, span_str(name));
		(*ret)[n].value = keep(mem, fields_item(f, "attrs", value, MAP_TEXT_MAX));
		n++;
	}
	*ret_n = n;
}

static uint64_t get_id(struct fields *f, const char *name, char kind)
{
	struct span s = fields_str(f, name, MAP_ID_MAX, FIELD_REQUIRED);
	uint64_t    n = 0;

	if (!f->bad && !map_id_parse(s, kind, &n))
		fields_fail(f, ERR_SYNTAX, name, "not an id of that kind");
	return n;
}

uint64_t map_get_id(struct fields *f, const char *name, char kind)
{
	return get_id(f, name, kind);
}

static struct map_user *get_user(struct fields *f, struct arena *mem)
{
	const json_t *obj = fields_object(f, "user", FIELD_OPTIONAL);

	if (!obj)
		return NULL;
	struct fields    in = fields_of(obj, f->err);
	struct map_user *u = arena_alloc(mem, sizeof(*u));

	u->id = get_id(&in, "id", 'u');
	u->issuer = map_get_str(&in, mem, "issuer", MAP_TEXT_MAX, FIELD_REQUIRED);
	u->sub = map_get_str(&in, mem, "sub", MAP_TEXT_MAX, FIELD_REQUIRED);
	u->login = map_get_str(&in, mem, "login", MAP_TEXT_MAX, FIELD_REQUIRED);
	u->name = map_get_str(&in, mem, "name", MAP_TEXT_MAX, FIELD_OPTIONAL);
	u->email = map_get_str(&in, mem, "email", MAP_TEXT_MAX, FIELD_OPTIONAL);
	map_get_list(&in, mem, "groups", &u->groups);
	map_get_list(&in, mem, "idp", &u->idp);
	map_get_list(&in, mem, "roles", &u->roles);
	f->bad = in.bad;
	return u;
}

static struct map_session *get_session(struct fields *f, struct arena *mem)
{
	const json_t *obj = fields_object(f, "session", FIELD_OPTIONAL);

	if (!obj)
		return NULL;
	struct fields       in = fields_of(obj, f->err);
	struct map_session *s = arena_alloc(mem, sizeof(*s));

	s->id = get_id(&in, "id", 's');
	s->auth_time.sec = fields_int(&in, "auth_time", 0, INT64_MAX, FIELD_OPTIONAL);
	s->expires.sec = fields_int(&in, "expires", 0, INT64_MAX, FIELD_REQUIRED);
	s->acr = map_get_str(&in, mem, "acr", MAP_TEXT_MAX, FIELD_OPTIONAL);
	map_get_list(&in, mem, "amr", &s->amr);
	s->cross_device = fields_bool(&in, "cross_device");
	f->bad = in.bad;
	return s;
}

static struct map_evidence *get_evidence(struct fields *f, struct arena *mem)
{
	const json_t *obj = fields_object(f, "evidence", FIELD_OPTIONAL);

	if (!obj)
		return NULL;
	struct fields        in = fields_of(obj, f->err);
	struct map_evidence *e = arena_alloc(mem, sizeof(*e));

	e->id_token = map_get_str(&in, mem, "id_token", MAP_EVIDENCE_MAX, FIELD_REQUIRED);
	fields_base64url(&in, "opening", e->opening, sizeof(e->opening), FIELD_REQUIRED);
	e->has_key = json_object_get(obj, "key") != NULL;
	fields_base64(&in, "key", e->key, sizeof(e->key), FIELD_OPTIONAL);
	f->bad = in.bad;
	return e;
}

static struct map_turn *get_turn(struct fields *f, const char *name, struct arena *mem)
{
	const json_t *obj = fields_object(f, name, FIELD_OPTIONAL);

	if (!obj)
		return NULL;
	struct fields    in = fields_of(obj, f->err);
	struct map_turn *t = arena_alloc(mem, sizeof(*t));

	fields_base64(&in, "key", t->key, sizeof(t->key), FIELD_REQUIRED);
	t->has_vouch = json_object_get(obj, "vouch") != NULL;
	fields_base64url(&in, "vouch", t->vouch, sizeof(t->vouch), FIELD_OPTIONAL);
	f->bad = in.bad;
	return t;
}

struct map_node *map_node_from_json(const json_t *obj, struct err *err)
{
	struct map_node *n = map_node_new();
	struct fields    f = fields_of(obj, err);
	struct arena    *mem = &n->mem;

	n->id = get_id(&f, "id", 'n');
	n->name = map_get_str(&f, mem, "name", 63, FIELD_REQUIRED);
	if (!f.bad && !map_name_ok(n->name))
		fields_fail(&f, ERR_SYNTAX, "name", "not a lower-case DNS label");
	fields_base64(&f, "key", n->key, sizeof(n->key), FIELD_REQUIRED);
	fields_ip(&f, "v4", IP_V4, &n->v4, FIELD_OPTIONAL);
	fields_ip(&f, "v6", IP_V6, &n->v6, FIELD_OPTIONAL);
	map_get_endpoints(&f, mem, &n->endpoints, &n->endpoint_count);
	map_get_routes(&f, mem, &n->routes, &n->route_count);
	map_get_services(&f, mem, &n->services, &n->service_count);
	map_get_attrs(&f, mem, &n->attrs, &n->attr_count);
	n->hub = fields_bool(&f, "hub");
	n->waits = fields_bool(&f, "waits");
	n->browser = map_get_str(&f, mem, "browser", 63, FIELD_OPTIONAL);
	map_get_list(&f, mem, "tags", &n->tags);
	n->user = get_user(&f, mem);
	n->session = get_session(&f, mem);
	n->evidence = get_evidence(&f, mem);
	n->next = get_turn(&f, "next", mem);
	n->was = get_turn(&f, "was", mem);
	/* A node acts for a person or for itself, never for both. */
	if (!f.bad && n->tags.count && n->user)
		fields_fail(&f, ERR_PEER, "user", "a tagged node has none");
	if (!f.bad && n->session && !n->user)
		fields_fail(&f, ERR_PEER, "session", "there is no user");
	if (!f.bad && n->next && memcmp(n->next->key, n->key, sizeof(n->key)) == 0)
		fields_fail(&f, ERR_PEER, "next", "is the key that it has");
	if (!f.bad && n->browser.len &&
	    (n->next || n->was || n->v4.family || n->v6.family || n->endpoint_count || n->route_count || n->service_count || !n->user))
		fields_fail(&f, ERR_PEER, "browser", "a browser is a person's, and has nothing else");
	if (f.bad) {
		map_node_unref(n);
		return NULL;
	}
	return n;
}

struct map_node *map_node_decode(struct span json, struct err *err)
{
	scoped_json json_t *root = json_read(json, MAP_NODE_LINE_MAX, err);

	return root ? map_node_from_json(root, err) : NULL;
}

json_t *map_node_to_json(const struct map_node *n)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, MAP_NODE_LINE_MAX);
	map_node_encode(n, &b);
	return b.over ? NULL : json_loadb(b.ptr, b.len, 0, NULL);
}
