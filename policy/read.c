/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Text to checked policy: the frame, and the sections that define names. */
#include "policy/model.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
	GROUPS_MAX = 100000,    /* named things of one kind: ten times the largest benchmark */
};

static const char *const sections[] = {
	"groups", "hosts", "ipsets", "tagOwners", "acls", "grants", "autoApprovers", "nodeAttrs",
	"postures", "defaultSrcPosture", "ssh", "tests", "sshTests", NULL,
};

/* Tailnet files have these; nothing here reads them. */
static const char *const elsewhere[] = {
	"derpMap", "randomizeClientPort", "disableIPv4", "OneCGNATRoute", "networkLock", "extraDNSRecords",
	NULL,
};

static bool key_is(const char *a, const char *b)
{
	return span_ieq(span_str(a), span_str(b));
}

json_t *read_get(json_t *obj, const char *key, const char **ret_key)
{
	const char *k;
	json_t *v = json_object_get(obj, key);

	/* As written is the rule, and found at once; another case is the exception. */
	if (v) {
		if (ret_key)
			*ret_key = key;
		return v;
	}
	json_object_foreach(obj, k, v)
		if (key_is(k, key)) {
			if (ret_key)
				*ret_key = k;
			return v;
		}
	return NULL;
}

struct place read_at(struct reader *r, json_t *obj, const char *key)
{
	const char *k = key;

	return read_get(obj, key, &k) ? hujson_member_at(r->doc, obj, k) : (struct place){ 0, 0 };
}

void read_keys(struct reader *r, json_t *obj, const char *const *known, const char *const *ignored,
               bool comments, const char *what)
{
	const char *k;
	json_t *v;

	json_object_foreach(obj, k, v) {
		struct place at = hujson_key_at(r->doc, obj, k);
		const char *canon = NULL, *first = NULL;
		size_t n = 0;

		if (comments && k[0] == '#')
			continue;
		for (; known[n]; n++)
			if (key_is(k, known[n]))
				canon = known[n];
		if (!canon && ignored)
			for (size_t i = 0; ignored[i]; i++)
				if (key_is(k, ignored[i]))
					canon = ignored[i];
		if (!canon) {
			const char *near = nearest(span_str(k), known, n);

			if (near)
				diag_error(r->diags, at, "unknown key \"%s\" in %s; did you mean \"%s\"?", k, what, near);
			else
				diag_error(r->diags, at, "unknown key \"%s\" in %s", k, what);
			continue;
		}
		/* Keys are compared without case, so two spellings are one key twice. */
		if (read_get(obj, canon, &first) && strcmp(first, k) != 0)
			diag_error(r->diags, at, "\"%s\" is there twice: \"%s\" is the same key", k, first);
		if (ignored)
			for (size_t i = 0; ignored[i]; i++)
				if (key_is(k, ignored[i]))
					diag_warn(r->diags, at, "\"%s\" means nothing here and is ignored", k);
	}
}

static const char *type_name(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		return "null";
	}
	return "something else";
}

bool read_str(struct reader *r, json_t *v, struct place at, const char *what, struct span *ret)
{
	struct span s;

	if (!json_is_string(v))
		return diag_error(r->diags, at, "%s: want a string, not %s", what, type_name(v));
	s = span_trim(span_of(json_string_value(v), json_string_length(v)));
	if (s.len > POLICY_PATTERN_MAX)
		return diag_error(r->diags, at, "%s: %zu bytes; at most %d", what, s.len, POLICY_PATTERN_MAX);
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return diag_error(r->diags, at, "%s: control characters", what);
	*ret = arena_copy(&r->pol->arena, s);
	return true;
}

bool read_strs(struct reader *r, json_t *obj, const char *key, size_t max, bool required, struct strs *ret)
{
	const char *k = key;
	json_t *v = read_get(obj, key, &k);
	bool ok = true;
	size_t n;

	memset(ret, 0, sizeof(*ret));
	if (!v)
		return required ? diag_error(r->diags, (struct place){ 0, 0 }, "no \"%s\"", key) : true;
	if (json_is_null(v))
		return true;
	if (!json_is_array(v))
		return diag_error(r->diags, hujson_member_at(r->doc, obj, k), "\"%s\": want an array of strings, not %s",
		                  key, type_name(v));
	n = json_array_size(v);
	if (n > max)
		return diag_error(r->diags, hujson_member_at(r->doc, obj, k), "\"%s\" has %zu entries; at most %zu",
		                  key, n, max);
	ret->list = arena_calloc(&r->pol->arena, n + 1, sizeof(*ret->list));
	ret->at = arena_calloc(&r->pol->arena, n + 1, sizeof(*ret->at));
	for (size_t i = 0; i < n; i++) {
		struct place at = hujson_item_at(r->doc, v, i);

		if (!read_str(r, json_array_get(v, i), at, key, &ret->list[ret->count]))
			ok = false;
		else
			ret->at[ret->count++] = at;
	}
	return ok;
}

bool read_bool(struct reader *r, json_t *obj, const char *key, bool *ret)
{
	const char *k = key;
	json_t *v = read_get(obj, key, &k);

	if (!v)
		return true;
	if (!json_is_boolean(v))
		return diag_error(r->diags, hujson_member_at(r->doc, obj, k), "\"%s\": want true or false, not %s",
		                  key, type_name(v));
	*ret = json_is_true(v);
	return true;
}

/* A section that is an object of named things; NULL where absent or wrong. */
static json_t *section(struct reader *r, json_t *root, const char *key, size_t *ret_n)
{
	const char *k = key;
	json_t *v = read_get(root, key, &k);

	*ret_n = 0;
	if (!v || json_is_null(v))
		return NULL;
	if (!json_is_object(v)) {
		diag_error(r->diags, hujson_member_at(r->doc, root, k), "\"%s\": want an object, not %s", key,
		           type_name(v));
		return NULL;
	}
	if (json_object_size(v) > GROUPS_MAX) {
		diag_error(r->diags, hujson_member_at(r->doc, root, k), "\"%s\" has %zu entries; at most %d", key,
		           json_object_size(v), GROUPS_MAX);
		return NULL;
	}
	*ret_n = json_object_size(v);
	return v;
}

static void read_groups(struct reader *r, json_t *root)
{
	struct policy *pol = r->pol;
	const char *k;
	json_t *v;
	size_t n;
	json_t *obj = section(r, root, "groups", &n);

	pol->groups = arena_calloc(&pol->arena, n + 1, sizeof(*pol->groups));
	if (!obj)
		return;
	json_object_foreach(obj, k, v) {
		struct span name = span_str(k);
		struct group *g = &pol->groups[pol->group_count];
		struct place at = hujson_key_at(r->doc, obj, k);
		struct strs members;

		if (!span_starts(name, SPAN("group:")) || name.len == 6) {
			diag_error(r->diags, at, "\"%s\": a group's name begins with \"group:\"", k);
			continue;
		}
		if (name.len > POLICY_NAME_MAX) {
			diag_error(r->diags, at, "a name of %zu bytes; at most %d", name.len, POLICY_NAME_MAX);
			continue;
		}
		if (!json_is_array(v)) {
			diag_error(r->diags, hujson_member_at(r->doc, obj, k), "\"%s\": want an array of users, not %s",
			           k, type_name(v));
			continue;
		}
		if (!read_strs(r, obj, k, POLICY_MEMBERS_MAX, false, &members))
			continue;
		g->name = arena_copy(&pol->arena, name);
		g->at = at;
		g->members.list = members.list;
		g->members.count = members.count;
		for (size_t i = 0; i < members.count; i++) {
			struct span m = members.list[i];

			if (span_starts(m, SPAN("group:")))
				diag_error(r->diags, members.at[i], "\"%s\" names \"%.*s\": a group cannot hold a group",
				           k, SPAN_ARG(m));
			else if (!read_user_name(m, &members.list[i]))
				diag_error(r->diags, members.at[i], "\"%.*s\" is no user: it has no \"@\"", SPAN_ARG(m));
		}
		dict_put(pol->group_index, g->name, g);
		pol->group_count++;
	}
	for (size_t i = 0; i < pol->group_count; i++)
		for (size_t m = 0; m < pol->groups[i].members.count; m++) {
			struct span who = pol->groups[i].members.list[m];
			struct group_list *l = dict_find(pol->member_index, who);

			if (!l) {
				l = mem_alloc(sizeof(*l));
				dict_put(pol->member_index, who, l);
			}
			if (l->count && l->list[l->count - 1] == i)
				continue;       /* named twice in one group */
			if (l->count == l->cap) {
				l->cap = l->cap ? l->cap * 2 : 4;
				l->list = mem_realloc(l->list, l->cap, sizeof(*l->list));
			}
			l->list[l->count++] = (uint32_t)i;
		}
}

static void read_hosts(struct reader *r, json_t *root)
{
	struct policy *pol = r->pol;
	const char *k;
	json_t *v;
	size_t n;
	json_t *obj = section(r, root, "hosts", &n);

	pol->hosts = arena_calloc(&pol->arena, n + 1, sizeof(*pol->hosts));
	if (!obj)
		return;
	json_object_foreach(obj, k, v) {
		struct span name = span_str(k), text;
		struct host *h = &pol->hosts[pol->host_count];
		struct place at = hujson_key_at(r->doc, obj, k), vat = hujson_member_at(r->doc, obj, k);
		struct prefix exact;
		struct ip ip;

		if (name.len == 0 || name.len > POLICY_NAME_MAX || span_find(name, ':') < name.len ||
		    span_find(name, '@') < name.len || span_eq(name, SPAN("*"))) {
			diag_error(r->diags, at, "\"%s\" cannot be a host's name", k);
			continue;
		}
		if (ip_parse(name, &ip)) {
			diag_error(r->diags, at, "\"%s\" is an address, which no host's name can hide", k);
			continue;
		}
		if (!read_str(r, v, vat, k, &text))
			continue;
		if (!prefix_parse_lax(text, &h->prefix)) {
			diag_error(r->diags, vat, "host \"%s\": \"%.*s\" is no address or prefix", k, SPAN_ARG(text));
			continue;
		}
		if (!prefix_parse(text, &exact)) {
			char buf[IP_TEXT_MAX];

			diag_warn(r->diags, vat, "host \"%s\": \"%.*s\" has bits beyond its mask; read as %s", k,
			          SPAN_ARG(text), prefix_text(&h->prefix, buf));
		}
		h->name = arena_copy(&pol->arena, name);
		h->at = at;
		dict_put(pol->host_index, h->name, h);
		pol->host_count++;
	}
}

static bool ipset_fill(struct reader *r, json_t *obj, struct named_ipset *s);

/* One entry: "ADDRESS", "PREFIX", a host's name or "ipset:OTHER", with "add " or "remove " before it. */
static bool ipset_entry(struct reader *r, json_t *obj, struct named_ipset *s, struct span e, struct place at)
{
	bool remove = false;
	struct prefix p;
	struct host *h;

	if (span_starts(e, SPAN("add "))) {
		e = span_trim(span_from(e, 4));
	} else if (span_starts(e, SPAN("remove "))) {
		remove = true;
		e = span_trim(span_from(e, 7));
	}
	if (span_starts(e, SPAN("host:")))
		e = span_from(e, 5);
	if (span_starts(e, SPAN("ipset:"))) {
		struct named_ipset *o = dict_find(r->pol->ipset_index, e);

		if (!o)
			return diag_error(r->diags, at, "unknown ipset \"%.*s\"", SPAN_ARG(e));
		if (o->busy)
			return diag_error(r->diags, at, "ipset \"%.*s\" contains itself", SPAN_ARG(e));
		if (!ipset_fill(r, obj, o))
			return false;
		if (remove)
			ipset_remove_set(&s->ips, &o->ips);
		else
			ipset_add_set(&s->ips, &o->ips);
		return true;
	}
	h = dict_find(r->pol->host_index, e);
	if (h)
		p = h->prefix;
	else if (!prefix_parse_lax(e, &p))
		return diag_error(r->diags, at, "\"%.*s\" is no address, prefix, host or ipset", SPAN_ARG(e));
	if (remove)
		ipset_remove(&s->ips, &p);
	else
		ipset_add(&s->ips, &p);
	return true;
}

static bool ipset_fill(struct reader *r, json_t *obj, struct named_ipset *s)
{
	struct strs entries;
	bool ok;

	if (s->done)
		return true;
	s->busy = true;
	ok = read_strs(r, obj, s->name.ptr, POLICY_SELECTORS_MAX, false, &entries);
	for (size_t i = 0; ok && i < entries.count; i++)
		ok = ipset_entry(r, obj, s, entries.list[i], entries.at[i]);
	s->busy = false;
	s->done = true;
	return ok;
}

static void read_ipsets(struct reader *r, json_t *root)
{
	struct policy *pol = r->pol;
	const char *k;
	json_t *v;
	size_t n;
	json_t *obj = section(r, root, "ipsets", &n);

	pol->ipsets = arena_calloc(&pol->arena, n + 1, sizeof(*pol->ipsets));
	if (!obj)
		return;
	json_object_foreach(obj, k, v) {
		struct span name = span_str(k);
		struct named_ipset *s = &pol->ipsets[pol->ipset_count];

		if (!span_starts(name, SPAN("ipset:")) || name.len == 6 || name.len > POLICY_NAME_MAX) {
			diag_error(r->diags, hujson_key_at(r->doc, obj, k),
			           "\"%s\": an ipset's name begins with \"ipset:\"", k);
			continue;
		}
		if (!json_is_array(v)) {
			diag_error(r->diags, hujson_member_at(r->doc, obj, k), "\"%s\": want an array of addresses, not %s",
			           k, type_name(v));
			continue;
		}
		s->name = arena_copy(&pol->arena, name);
		s->at = hujson_key_at(r->doc, obj, k);
		dict_put(pol->ipset_index, s->name, s);
		pol->ipset_count++;
	}
	for (size_t i = 0; i < pol->ipset_count; i++)
		ipset_fill(r, obj, &pol->ipsets[i]);
}

static bool read_selectors(struct reader *r, json_t *obj, const char *key, enum selector_role role,
                           struct selector **ret, size_t *ret_n)
{
	struct strs s;
	bool ok = read_strs(r, obj, key, POLICY_SELECTORS_MAX, false, &s);

	*ret = arena_calloc(&r->pol->arena, s.count + 1, sizeof(**ret));
	*ret_n = 0;
	for (size_t i = 0; i < s.count; i++)
		if (read_selector(r, s.list[i], s.at[i], role, &(*ret)[*ret_n]))
			(*ret_n)++;
		else
			ok = false;
	return ok;
}

/* Names first, owners after: owners may be tags that come later. */
static void read_tags(struct reader *r, json_t *root)
{
	struct policy *pol = r->pol;
	const char *k;
	json_t *v;
	size_t n;
	json_t *obj = section(r, root, "tagOwners", &n);

	pol->tags = arena_calloc(&pol->arena, n + 1, sizeof(*pol->tags));
	if (!obj)
		return;
	json_object_foreach(obj, k, v) {
		struct span name = span_str(k);
		struct tag *t = &pol->tags[pol->tag_count];
		char c = name.len > 4 ? name.ptr[4] : 0;

		if (!span_starts(name, SPAN("tag:")) || name.len > POLICY_NAME_MAX ||
		    !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) {
			diag_error(r->diags, hujson_key_at(r->doc, obj, k), "\"%s\": a tag is \"tag:\" and a name that "
			           "begins with a letter", k);
			continue;
		}
		for (size_t i = 5; i < name.len; i++)
			if (name.ptr[i] == ':' || name.ptr[i] == '@' || name.ptr[i] == ' ') {
				diag_error(r->diags, hujson_key_at(r->doc, obj, k), "\"%s\": '%c' cannot be in a tag", k,
				           name.ptr[i]);
				break;
			}
		t->name = arena_copy(&pol->arena, name);
		t->at = hujson_key_at(r->doc, obj, k);
		dict_put(pol->tag_index, t->name, t);
		pol->tag_count++;
	}
	for (size_t i = 0; i < pol->tag_count; i++) {
		struct selector *who;

		read_selectors(r, obj, pol->tags[i].name.ptr, ROLE_OWNER, &who, &pol->tags[i].owner_count);
		pol->tags[i].owners = who;
	}
}

static void read_approvers(struct reader *r, json_t *root)
{
	static const char *const known[] = { "routes", "exitNode", "services", NULL };
	struct policy *pol = r->pol;
	size_t n;
	json_t *obj = section(r, root, "autoApprovers", &n), *routes, *v;
	const char *k;

	if (!obj)
		return;
	read_keys(r, obj, known, NULL, false, "autoApprovers");
	read_selectors(r, obj, "exitNode", ROLE_APPROVER, &pol->exit_approvers, &pol->exit_approver_count);
	if (read_get(obj, "services", NULL))
		diag_warn(r->diags, read_at(r, obj, "services"), "autoApprovers.services means nothing here and is ignored");
	routes = section(r, obj, "routes", &n);
	if (!routes)
		return;
	pol->approvers = arena_calloc(&pol->arena, n + 1, sizeof(*pol->approvers));
	json_object_foreach(routes, k, v) {
		struct approver *a = &pol->approvers[pol->approver_count];

		if (span_find(span_str(k), '/') == strlen(k) || !prefix_parse_lax(span_str(k), &a->route)) {
			diag_error(r->diags, hujson_key_at(r->doc, routes, k), "\"%s\" is no prefix", k);
			continue;
		}
		read_selectors(r, routes, k, ROLE_APPROVER, &a->who, &a->who_count);
		pol->approver_count++;
	}
}

static void read_attrs(struct reader *r, json_t *root)
{
	static const char *const known[] = { "target", "attr", "app", "ipPool", NULL };
	struct policy *pol = r->pol;
	const char *k = "nodeAttrs";
	json_t *list = read_get(root, "nodeAttrs", &k), *v;
	size_t i;

	if (!list || json_is_null(list))
		return;
	if (!json_is_array(list)) {
		diag_error(r->diags, hujson_member_at(r->doc, root, k), "\"nodeAttrs\": want an array, not %s",
		           type_name(list));
		return;
	}
	if (json_array_size(list) > POLICY_RULES_MAX) {
		diag_error(r->diags, hujson_member_at(r->doc, root, k), "more than %d nodeAttrs", POLICY_RULES_MAX);
		return;
	}
	pol->attrs = arena_calloc(&pol->arena, json_array_size(list) + 1, sizeof(*pol->attrs));
	json_array_foreach(list, i, v) {
		struct node_attr *a = &pol->attrs[pol->attr_count++];
		struct place at = hujson_item_at(r->doc, list, i);
		struct strs s;

		if (!json_is_object(v)) {
			diag_error(r->diags, at, "nodeAttrs[%zu]: want an object, not %s", i, type_name(v));
			continue;
		}
		read_keys(r, v, known, NULL, false, "nodeAttrs");
		read_selectors(r, v, "target", ROLE_TARGET, &a->target, &a->target_count);
		for (size_t t = 0; t < a->target_count; t++)
			if (a->target[t].kind != SEL_USER && a->target[t].kind != SEL_GROUP && a->target[t].kind != SEL_TAG &&
			    a->target[t].kind != SEL_IPS && a->target[t].kind != SEL_ANY && a->target[t].kind != SEL_MEMBER &&
			    a->target[t].kind != SEL_TAGGED && a->target[t].kind != SEL_ROLE)
				diag_error(r->diags, a->target[t].at, "\"%.*s\" cannot be a target of nodeAttrs",
				           SPAN_ARG(a->target[t].text));
		read_strs(r, v, "attr", POLICY_SELECTORS_MAX, false, &s);
		a->attrs.list = s.list;
		a->attrs.count = s.count;
		read_strs(r, v, "ipPool", POLICY_SELECTORS_MAX, false, &s);
		for (size_t p = 0; p < s.count; p++) {
			static const char *const reserved[] = { "100.100.100.0/24", "100.115.92.0/23" };
			struct prefix pool, cgnat, taken;

			if (!prefix_parse_lax(s.list[p], &pool))
				diag_error(r->diags, s.at[p], "ipPool: \"%.*s\" is no prefix", SPAN_ARG(s.list[p]));
			else if (prefix_parse(SPAN("100.64.0.0/10"), &cgnat) && !prefix_covers(&cgnat, &pool))
				diag_error(r->diags, s.at[p], "ipPool: \"%.*s\" is not inside 100.64.0.0/10", SPAN_ARG(s.list[p]));
			else
				for (size_t t = 0; t < array_size(reserved); t++)
					if (prefix_parse(span_str(reserved[t]), &taken) &&
					    (prefix_covers(&taken, &pool) || prefix_covers(&pool, &taken)))
						diag_error(r->diags, s.at[p], "ipPool: \"%.*s\" overlaps %s, which is reserved",
						           SPAN_ARG(s.list[p]), reserved[t]);
		}
		if (s.count)
			diag_warn(r->diags, at, "ipPool is kept, but addresses are not allotted by it");
	}
}

static struct policy *policy_new(enum policy_mode mode)
{
	struct policy *pol = mem_alloc(sizeof(*pol));

	arena_init(&pol->arena, 16 << 10);
	pol->refs = 1;
	pol->mode = mode;
	pol->group_index = dict_new();
	pol->host_index = dict_new();
	pol->ipset_index = dict_new();
	pol->tag_index = dict_new();
	pol->posture_index = dict_new();
	pol->member_index = dict_new();
	return pol;
}

struct policy *policy_empty(void)
{
	return policy_new(POLICY_FILE);
}

struct policy *policy_ref(struct policy *pol)
{
	__atomic_add_fetch(&pol->refs, 1, __ATOMIC_RELAXED);
	return pol;
}

void policy_unref(struct policy *pol)
{
	struct span key;
	void *value;
	size_t pos = 0;

	if (!pol || __atomic_sub_fetch(&pol->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (size_t i = 0; i < pol->ipset_count; i++)
		ipset_done(&pol->ipsets[i].ips);
	while (dict_next(pol->member_index, &pos, &key, &value)) {
		struct group_list *l = value;

		free(l->list);
		free(l);
	}
	dict_free(pol->group_index);
	dict_free(pol->host_index);
	dict_free(pol->ipset_index);
	dict_free(pol->tag_index);
	dict_free(pol->posture_index);
	dict_free(pol->member_index);
	arena_done(&pol->arena);
	free(pol);
}

struct policy *policy_parse(struct span text, enum policy_mode mode, struct diags *diags)
{
	size_t before = diags->errors;
	scoped_hujson struct hujson *doc = hujson_parse(text, POLICY_TEXT_MAX, diags);
	struct reader r = { .doc = doc, .diags = diags, .lenient = mode != POLICY_FILE };
	json_t *root;

	if (!doc)
		return NULL;
	root = hujson_root(doc);
	if (!json_is_object(root)) {
		diag_error(diags, hujson_root_at(doc), "a policy is an object, not %s", type_name(root));
		return NULL;
	}
	r.pol = policy_new(mode);
	read_keys(&r, root, sections, elsewhere, false, "a policy");
	read_groups(&r, root);
	read_hosts(&r, root);
	read_ipsets(&r, root);
	read_tags(&r, root);
	read_postures(&r, root);
	read_approvers(&r, root);
	read_attrs(&r, root);
	read_acls(&r, root);
	read_grants(&r, root);
	read_ssh(&r, root);
	read_tests(&r, root);
	diags_sort(diags);
	if (diags->errors > before) {
		policy_unref(r.pol);
		return NULL;
	}
	return r.pol;
}

size_t policy_rule_count(const struct policy *pol)
{
	return pol->rule_count;
}

bool policy_rule_info(const struct policy *pol, uint32_t rule, struct policy_rule_info *ret_info)
{
	const struct rule *r;

	if (rule >= pol->rule_count)
		return false;
	r = &pol->rules[rule];
	*ret_info = (struct policy_rule_info){ .at = r->at, .acl = r->acl, .index = r->index, .text = r->text };
	return true;
}
