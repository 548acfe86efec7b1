/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* acls and grants. */
#include "policy/model.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t default_protos[] = { 6, 17, 1, 58 };

static bool has_ports(uint8_t proto)
{
	return proto == 6 || proto == 17 || proto == 132;
}

/* Ports mean nothing to a protocol without them: all or nothing. */
static bool all_ports(const struct ip_spec *ip)
{
	return ip->port_count == 1 && ip->ports[0].lo == 0 && ip->ports[0].hi == UINT16_MAX;
}

static void spec_protos(struct ip_spec *ip, uint8_t proto, bool deflt)
{
	ip->default_protos = deflt;
	if (deflt) {
		memcpy(ip->protos, default_protos, sizeof(default_protos));
		ip->proto_count = sizeof(default_protos);
	} else {
		ip->protos[0] = proto;
		ip->proto_count = 1;
	}
}

static const struct selector *read_src(struct reader *r, json_t *obj, const char *key, size_t *ret_n)
{
	struct selector *list;
	struct strs s;

	*ret_n = 0;
	read_strs(r, obj, key, POLICY_SELECTORS_MAX, false, &s);
	list = arena_calloc(&r->pol->arena, s.count + 1, sizeof(*list));
	for (size_t i = 0; i < s.count; i++)
		if (read_selector(r, s.list[i], s.at[i], ROLE_SRC, &list[*ret_n]))
			(*ret_n)++;
	return list;
}

/* One line for people: "group:staff, tag:ci -> svc:wiki". Long lists end in "...". */
static struct span summary(struct reader *r, const struct rule *rule)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 4096);
	for (size_t i = 0; i < rule->src_count && i < 4; i++)
		buf_addf(&b, "%s%.*s", i ? ", " : "", SPAN_ARG(rule->src[i].text));
	if (rule->src_count > 4)
		buf_add_str(&b, ", ...");
	buf_add_str(&b, rule->src_count ? " -> " : "nobody -> ");
	for (size_t i = 0; i < rule->dst_count && i < 4; i++) {
		buf_addf(&b, "%s%.*s", i ? ", " : "", SPAN_ARG(rule->dst[i].sel.text));
		if (rule->acl)
			for (size_t k = 0; k < rule->dst[i].ip_count; k++)
				buf_addf(&b, ":%.*s", SPAN_ARG(rule->dst[i].ip[k].text));
	}
	if (rule->dst_count > 4)
		buf_add_str(&b, ", ...");
	if (!rule->dst_count)
		buf_add_str(&b, "nothing");
	if (!rule->acl && rule->dst_count)
		for (size_t k = 0; k < rule->dst[0].ip_count && k < 4; k++)
			buf_addf(&b, "%s%.*s", k ? ", " : " ", SPAN_ARG(rule->dst[0].ip[k].text));
	return arena_copy(&r->pol->arena, buf_span(&b));
}

static void read_src_postures(struct reader *r, json_t *obj, struct rule *rule)
{
	const struct posture **list;
	struct strs s;

	if (!read_get(obj, "srcPosture", NULL)) {
		rule->postures = r->pol->default_postures;
		rule->posture_count = r->pol->default_posture_count;
		return;
	}
	read_strs(r, obj, "srcPosture", POLICY_SELECTORS_MAX, false, &s);
	list = arena_calloc(&r->pol->arena, s.count + 1, sizeof(*list));
	for (size_t i = 0; i < s.count; i++) {
		const struct posture *p = dict_find(r->pol->posture_index, s.list[i]);

		if (!p)
			diag_error(r->diags, s.at[i], "unknown posture \"%.*s\"", SPAN_ARG(s.list[i]));
		else
			list[rule->posture_count++] = p;
	}
	rule->postures = list;
}

/* autogroup:self as dst means "your own devices", so every src must be people.
 * "*" is not, since it has tags in it; in an acl it is narrowed to them. */
static void check_self(struct reader *r, const struct rule *rule)
{
	const struct selector *self = NULL;

	for (size_t i = 0; i < rule->dst_count; i++)
		if (rule->dst[i].sel.kind == SEL_SELF)
			self = &rule->dst[i].sel;
	if (!self)
		return;
	for (size_t i = 0; i < rule->src_count; i++)
		switch (rule->src[i].kind) {
		case SEL_USER:
		case SEL_DOMAIN:
		case SEL_GROUP:
		case SEL_MEMBER:
		case SEL_ROLE:
		case SEL_IDP:
			break;
		case SEL_ANY:
			if (rule->acl)
				break;
			/* fall through */
		default:
			diag_error(r->diags, rule->src[i].at, "autogroup:self can only be used with users, groups, or "
			           "supported autogroups, not with \"%.*s\"", SPAN_ARG(rule->src[i].text));
			return;
		}
}

/* Where the rule stood in the file that the coordinator pruned. */
static void read_origin(struct reader *r, json_t *obj, struct rule *rule)
{
	json_t *at = read_get(obj, "at", NULL);

	if (!at || r->pol->mode != POLICY_MAP)
		return;
	if (!json_is_array(at) || json_array_size(at) != 3 || !json_is_integer(json_array_get(at, 0)) ||
	    !json_is_integer(json_array_get(at, 1)) || !json_is_integer(json_array_get(at, 2))) {
		diag_error(r->diags, read_at(r, obj, "at"), "\"at\": want [line, column, number]");
		return;
	}
	rule->at.line = (uint32_t)json_integer_value(json_array_get(at, 0));
	rule->at.col = (uint32_t)json_integer_value(json_array_get(at, 1));
	rule->index = (uint32_t)json_integer_value(json_array_get(at, 2));
}

static void read_acl(struct reader *r, json_t *obj, struct place at, uint32_t index)
{
	static const char *const known[] = { "action", "src", "dst", "proto", "srcPosture", "users", "ports", NULL };
	static const char *const known_map[] = { "action", "src", "dst", "proto", "srcPosture", "at", NULL };
	struct rule *rule = &r->pol->rules[r->pol->rule_count];
	struct rule_dst *dst;
	const char *src_key = "src", *dst_key = "dst", *why = NULL;
	json_t *v;
	struct span action = SPAN("accept"), proto_text = SPAN("");
	uint8_t proto = 0;
	bool deflt = true;
	struct strs s;

	*rule = (struct rule){ .at = at, .acl = true, .index = index, .stale = INT64_MAX };
	read_keys(r, obj, r->pol->mode == POLICY_MAP ? known_map : known, NULL, true, "an acl");
	/* Old tailnet files say "users" and "ports". */
	if (!read_get(obj, "src", NULL) && read_get(obj, "users", NULL))
		src_key = "users";
	if (!read_get(obj, "dst", NULL) && read_get(obj, "ports", NULL))
		dst_key = "ports";
	v = read_get(obj, "action", NULL);
	if (!v)
		diag_error(r->diags, at, "an acl needs \"action\": \"accept\"");
	else if (read_str(r, v, read_at(r, obj, "action"), "action", &action) && !span_eq(action, SPAN("accept")))
		diag_error(r->diags, read_at(r, obj, "action"), "action \"%.*s\": only \"accept\" exists", SPAN_ARG(action));
	v = read_get(obj, "proto", NULL);
	if (v && json_is_integer(v)) {
		proto_text = arena_printf(&r->pol->arena, "%lld", (long long)json_integer_value(v));
		if (!read_proto(proto_text, &proto, &deflt, &why))
			diag_error(r->diags, read_at(r, obj, "proto"), "proto %.*s: %s", SPAN_ARG(proto_text), why);
	} else if (v && read_str(r, v, read_at(r, obj, "proto"), "proto", &proto_text) &&
	           !read_proto(proto_text, &proto, &deflt, &why)) {
		diag_error(r->diags, read_at(r, obj, "proto"), "proto \"%.*s\": %s", SPAN_ARG(proto_text), why);
	}
	rule->src = read_src(r, obj, src_key, &rule->src_count);
	read_strs(r, obj, dst_key, POLICY_SELECTORS_MAX, false, &s);
	dst = arena_calloc(&r->pol->arena, s.count + 1, sizeof(*dst));
	for (size_t i = 0; i < s.count; i++) {
		struct ip_spec *ip = arena_alloc(&r->pol->arena, sizeof(*ip));
		struct span name, ports;

		if (!read_split_port(s.list[i], &name, &ports, &why)) {
			diag_error(r->diags, s.at[i], "dst \"%.*s\": %s", SPAN_ARG(s.list[i]), why);
			continue;
		}
		if (!read_ports(r, ports, s.at[i], &ip->ports, &ip->port_count) ||
		    !read_selector(r, name, s.at[i], ROLE_DST, &dst[rule->dst_count].sel))
			continue;
		spec_protos(ip, proto, deflt);
		ip->text = deflt ? ports : arena_printf(&r->pol->arena, "%.*s/%.*s", SPAN_ARG(ports), SPAN_ARG(proto_text));
		if (!deflt && !has_ports(proto) && !all_ports(ip))
			diag_error(r->diags, s.at[i], "dst \"%.*s\": protocol \"%.*s\" has no ports; only \"*\" is allowed",
			           SPAN_ARG(s.list[i]), SPAN_ARG(proto_text));
		dst[rule->dst_count].ip = ip;
		dst[rule->dst_count].ip_count = 1;
		rule->dst_count++;
	}
	rule->dst = dst;
	rule->ip_given = true;
	read_src_postures(r, obj, rule);
	read_origin(r, obj, rule);
	check_self(r, rule);
	rule->text = summary(r, rule);
	r->pol->rule_count++;
}

static const struct ip_spec *read_ip(struct reader *r, json_t *obj, size_t *ret_n)
{
	struct ip_spec *list;
	struct strs s;

	*ret_n = 0;
	read_strs(r, obj, "ip", POLICY_PORTS_MAX, false, &s);
	list = arena_calloc(&r->pol->arena, s.count + 1, sizeof(*list));
	for (size_t i = 0; i < s.count; i++) {
		struct ip_spec *ip = &list[*ret_n];
		struct span text = s.list[i], ports = text, proto_text = SPAN("");
		size_t colon = span_find(text, ':');
		const char *why = NULL;
		uint8_t proto = 0;
		bool deflt = true;

		if (colon < text.len) {
			proto_text = span_head(text, colon);
			ports = span_from(text, colon + 1);
			if (span_find(ports, ':') < ports.len) {
				diag_error(r->diags, s.at[i], "ip \"%.*s\": want \"PORTS\" or \"PROTO:PORTS\"", SPAN_ARG(text));
				continue;
			}
			if (!read_proto(proto_text, &proto, &deflt, &why)) {
				diag_error(r->diags, s.at[i], "ip \"%.*s\": protocol: %s", SPAN_ARG(text), why);
				continue;
			}
		}
		if (!read_ports(r, ports, s.at[i], &ip->ports, &ip->port_count))
			continue;
		ip->text = text;
		spec_protos(ip, proto, deflt);
		if (!deflt && !has_ports(proto) && !all_ports(ip))
			diag_warn(r->diags, s.at[i], "ip \"%.*s\": this protocol has no ports; read as \"%.*s:*\"",
			          SPAN_ARG(text), SPAN_ARG(proto_text));
		(*ret_n)++;
	}
	return list;
}

/* Names as tailnet servers take them: DOMAIN/PATH, and of tailscale.com only what a file may grant. */
static bool cap_allowed(struct span name, const char **ret_why)
{
	static const char *const open[] = { "drive", "relay", "webui", "kubernetes", "tsidp", "secrets" };

	if (span_find(name, '/') == name.len || span_find(name, '/') == 0) {
		*ret_why = "a capability's name has the form DOMAIN/PATH";
		return false;
	}
	for (size_t i = 0; i + 2 < name.len; i++)
		if (memcmp(name.ptr + i, "://", 3) == 0) {
			*ret_why = "a capability's name has the form DOMAIN/PATH, without a scheme";
			return false;
		}
	if (!span_starts(name, SPAN("tailscale.com/")))
		return true;
	for (size_t i = 0; i < array_size(open); i++)
		if (span_starts(name, SPAN("tailscale.com/cap/")) &&
		    span_eq(span_from(name, strlen("tailscale.com/cap/")), span_str(open[i])))
			return true;
	*ret_why = "a capability's name must not be in the tailscale.com domain";
	return false;
}

static void read_caps(struct reader *r, json_t *obj, struct rule *rule)
{
	json_t *app = read_get(obj, "app", NULL), *v;
	struct cap *caps;
	const char *k, *why;

	if (!app || json_is_null(app))
		return;
	if (!json_is_object(app)) {
		diag_error(r->diags, read_at(r, obj, "app"), "\"app\": want an object of arrays");
		return;
	}
	if (json_object_size(app) > POLICY_SELECTORS_MAX) {
		diag_error(r->diags, read_at(r, obj, "app"), "more than %d capabilities", POLICY_SELECTORS_MAX);
		return;
	}
	caps = arena_calloc(&r->pol->arena, json_object_size(app) + 1, sizeof(*caps));
	json_object_foreach(app, k, v) {
		struct cap *c = &caps[rule->cap_count];
		char *text;

		if (!cap_allowed(span_str(k), &why))
			diag_error(r->diags, hujson_key_at(r->doc, app, k), "\"%s\": %s", k, why);
		if (!json_is_array(v) && !json_is_null(v)) {
			diag_error(r->diags, hujson_member_at(r->doc, app, k), "\"%s\": want an array", k);
			continue;
		}
		text = json_is_null(v) ? mem_strdup("[]") : json_dumps(v, JSON_COMPACT | JSON_ENSURE_ASCII);
		if (!text)
			continue;
		c->name = arena_copy(&r->pol->arena, span_str(k));
		c->json = arena_copy(&r->pol->arena, span_str(text));
		free(text);
		rule->cap_count++;
	}
	rule->caps = caps;
}

static bool is_token(struct span s)
{
	static const char extra[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr(extra, c))))
			return false;
	}
	return s.len > 0;
}

static void read_http(struct reader *r, json_t *obj, struct rule *rule)
{
	static const char *const known[] = { "methods", "hosts", "paths", NULL };
	json_t *list = read_get(obj, "http", NULL), *v;
	struct http_match *out;
	size_t i;

	if (!list)
		return;
	if (!json_is_array(list)) {
		diag_error(r->diags, read_at(r, obj, "http"), "\"http\": want an array of {\"methods\", \"hosts\", \"paths\"}");
		return;
	}
	if (json_array_size(list) == 0) {
		diag_error(r->diags, read_at(r, obj, "http"), "\"http\" is empty, which would allow no request at all");
		return;
	}
	if (json_array_size(list) > POLICY_HTTP_MAX) {
		diag_error(r->diags, read_at(r, obj, "http"), "\"http\" has more than %d entries", POLICY_HTTP_MAX);
		return;
	}
	out = arena_calloc(&r->pol->arena, json_array_size(list), sizeof(*out));
	json_array_foreach(list, i, v) {
		struct http_match *m = &out[i];
		struct strs s;

		if (!json_is_object(v)) {
			diag_error(r->diags, hujson_item_at(r->doc, list, i), "http[%zu]: want an object", i);
			continue;
		}
		read_keys(r, v, known, NULL, false, "http");
		for (size_t k = 0; known[k]; k++)
			if (json_is_array(read_get(v, known[k], NULL)) && json_array_size(read_get(v, known[k], NULL)) == 0)
				diag_error(r->diags, read_at(r, v, known[k]), "\"%s\" is empty, which would allow no request; "
				           "leave it out for all", known[k]);
		read_strs(r, v, "methods", POLICY_HTTP_MAX, false, &s);
		for (size_t k = 0; k < s.count; k++) {
			if (!is_token(s.list[k]))
				diag_error(r->diags, s.at[k], "\"%.*s\" is no HTTP method", SPAN_ARG(s.list[k]));
			for (size_t c = 0; c < s.list[k].len; c++)
				if (s.list[k].ptr[c] >= 'a' && s.list[k].ptr[c] <= 'z') {
					diag_error(r->diags, s.at[k], "\"%.*s\": methods are written in capitals (RFC 9110, 9.1)",
					           SPAN_ARG(s.list[k]));
					break;
				}
		}
		m->methods = (struct spans){ s.list, s.count };
		read_strs(r, v, "hosts", POLICY_HTTP_MAX, false, &s);
		for (size_t k = 0; k < s.count; k++) {
			char *lower = (char *)(uintptr_t)s.list[k].ptr;

			for (size_t c = 0; c < s.list[k].len; c++) {
				if (lower[c] >= 'A' && lower[c] <= 'Z')
					lower[c] = (char)(lower[c] + ('a' - 'A'));
				if (lower[c] == '/' || lower[c] == ' ' || lower[c] == '*') {
					diag_error(r->diags, s.at[k], "\"%.*s\" is no host name", SPAN_ARG(s.list[k]));
					break;
				}
			}
			if (s.list[k].len == 0)
				diag_error(r->diags, s.at[k], "an empty host name");
		}
		m->hosts = (struct spans){ s.list, s.count };
		read_strs(r, v, "paths", POLICY_HTTP_MAX, false, &s);
		for (size_t k = 0; k < s.count; k++) {
			const char *why;

			if (!pattern_valid(s.list[k], &why))
				diag_error(r->diags, s.at[k], "path \"%.*s\": %s", SPAN_ARG(s.list[k]), why);
		}
		m->paths = (struct spans){ s.list, s.count };
	}
	rule->http = out;
	rule->http_count = json_array_size(list);
}

static bool read_duration(struct reader *r, json_t *obj, const char *key, int64_t *ret)
{
	json_t *v = read_get(obj, key, NULL);
	struct span s;

	if (json_is_integer(v) && json_integer_value(v) > 0) {
		*ret = json_integer_value(v);
	} else if (!json_is_string(v)) {
		return diag_error(r->diags, read_at(r, obj, key), "\"%s\": want a duration such as \"4h\"", key);
	} else {
		if (!read_str(r, v, read_at(r, obj, key), key, &s))
			return false;
		if (!duration_parse(s, ret) || *ret <= 0)
			return diag_error(r->diags, read_at(r, obj, key), "\"%s\": \"%.*s\" is no duration such as \"90s\", "
			                  "\"4h\" or \"7d\"", key, SPAN_ARG(s));
	}
	if (*ret > INT64_C(100) * 366 * 86400)
		return diag_error(r->diags, read_at(r, obj, key), "\"%s\": more than a hundred years", key);
	return true;
}

static void one_or_list(struct reader *r, json_t *obj, const char *key, struct spans *ret)
{
	json_t *v = read_get(obj, key, NULL);
	struct span *one;
	struct strs s;

	if (json_is_string(v)) {
		one = arena_alloc(&r->pol->arena, sizeof(*one));
		if (read_str(r, v, read_at(r, obj, key), key, one))
			*ret = (struct spans){ one, 1 };
	} else if (read_strs(r, obj, key, POLICY_HTTP_MAX, false, &s)) {
		*ret = (struct spans){ s.list, s.count };
		if (v && s.count == 0)
			diag_error(r->diags, read_at(r, obj, key), "\"%s\" is empty", key);
	}
	for (size_t i = 0; i < ret->count; i++)
		if (ret->list[i].len == 0 || span_find(ret->list[i], ' ') < ret->list[i].len)
			diag_error(r->diags, read_at(r, obj, key), "\"%s\": a value is empty or has a space", key);
}

static void read_auth(struct reader *r, json_t *obj, struct rule *rule)
{
	static const char *const known[] = { "mfa", "maxAge", "acr", "amr", NULL };
	json_t *v = read_get(obj, "auth", NULL);

	if (!v)
		return;
	if (!json_is_object(v)) {
		diag_error(r->diags, read_at(r, obj, "auth"), "\"auth\": want an object");
		return;
	}
	read_keys(r, v, known, NULL, false, "auth");
	read_bool(r, v, "mfa", &rule->auth.mfa);
	if (read_get(v, "maxAge", NULL))
		read_duration(r, v, "maxAge", &rule->auth.max_age);
	one_or_list(r, v, "acr", &rule->auth.acr);
	one_or_list(r, v, "amr", &rule->auth.amr);
	rule->auth.set = true;
	if (!rule->auth.mfa && !rule->auth.max_age && !rule->auth.acr.count && !rule->auth.amr.count)
		diag_warn(r->diags, read_at(r, obj, "auth"), "\"auth\" demands nothing but a person's session");
}

static void read_stale(struct reader *r, json_t *obj, struct rule *rule)
{
	json_t *v = read_get(obj, "stale", NULL);

	if (!v)
		return;
	if (json_is_string(v) && span_eq(span_str(json_string_value(v)), SPAN("deny"))) {
		rule->stale = STALE_DENY_SEC;
		rule->stale_text = SPAN("deny");
	} else if (read_duration(r, obj, "stale", &rule->stale)) {
		rule->stale_text = arena_printf(&r->pol->arena, "%llds", (long long)rule->stale);
		if (rule->stale < STALE_DENY_SEC)
			diag_warn(r->diags, read_at(r, obj, "stale"), "\"stale\" below %d s would deny between two heartbeats; "
			          "read as \"deny\"", (int)STALE_DENY_SEC);
		if (rule->stale < STALE_DENY_SEC)
			rule->stale = STALE_DENY_SEC;
	}
}

static void read_grant(struct reader *r, json_t *obj, struct place at, uint32_t index)
{
	static const char *const known[] = { "src", "dst", "ip", "app", "via", "srcPosture", "http", "auth", "stale",
		NULL };
	static const char *const known_map[] = { "src", "dst", "ip", "app", "via", "srcPosture", "http", "auth",
		"stale", "at", NULL };
	struct rule *rule = &r->pol->rules[r->pol->rule_count];
	const struct ip_spec *ip;
	size_t ip_count, services = 0;
	struct rule_dst *dst;
	struct strs s;

	*rule = (struct rule){ .at = at, .index = index, .stale = INT64_MAX };
	read_keys(r, obj, r->pol->mode == POLICY_MAP ? known_map : known, NULL, true, "a grant");
	rule->src = read_src(r, obj, "src", &rule->src_count);
	ip = read_ip(r, obj, &ip_count);
	rule->ip_given = json_is_array(read_get(obj, "ip", NULL)) && json_array_size(read_get(obj, "ip", NULL)) > 0;
	read_strs(r, obj, "dst", POLICY_SELECTORS_MAX, false, &s);
	dst = arena_calloc(&r->pol->arena, s.count + 1, sizeof(*dst));
	for (size_t i = 0; i < s.count; i++) {
		struct rule_dst *d = &dst[rule->dst_count];

		if (!read_selector(r, s.list[i], s.at[i], ROLE_DST, &d->sel))
			continue;
		if (d->sel.kind == SEL_IPS) {
			struct prefix p;

			if (prefix_parse_lax(s.list[i], &p) && p.bits == 0)
				diag_error(r->diags, s.at[i], "dst \"%.*s\": to allow all IP addresses, use \"*\" or "
				           "\"autogroup:internet\"", SPAN_ARG(s.list[i]));
		}
		services += d->sel.kind == SEL_SVC;
		d->ip = ip;
		d->ip_count = ip_count;
		rule->dst_count++;
	}
	rule->dst = dst;
	read_caps(r, obj, rule);
	read_http(r, obj, rule);
	read_auth(r, obj, rule);
	read_stale(r, obj, rule);
	read_strs(r, obj, "via", POLICY_SELECTORS_MAX, false, &s);
	for (size_t i = 0; i < s.count; i++) {
		if (!span_starts(s.list[i], SPAN("tag:")))
			diag_error(r->diags, s.at[i], "via \"%.*s\": via can only be a tag", SPAN_ARG(s.list[i]));
		else if (!r->lenient && !dict_find(r->pol->tag_index, s.list[i]))
			diag_error(r->diags, s.at[i], "via: unknown tag \"%.*s\"", SPAN_ARG(s.list[i]));
	}
	rule->via = (struct spans){ s.list, s.count };
	/* A service brings its own ports, everything else must say. */
	if (!rule->ip_given && !rule->cap_count && (services != s.count || services == 0) &&
	    !(services && services == rule->dst_count))
		diag_error(r->diags, at, "ip and app can not both be empty");
	if (rule->cap_count)
		for (size_t i = 0; i < rule->dst_count; i++)
			if (dst[i].sel.kind == SEL_INTERNET)
				diag_error(r->diags, dst[i].sel.at, "cannot use app grants with autogroup:internet");
	if (rule->http)
		for (size_t i = 0; i < rule->dst_count; i++)
			if (dst[i].sel.kind == SEL_INTERNET || rule->via.count)
				diag_error(r->diags, dst[i].sel.at, "\"http\" decides at services, not on routed traffic");
	read_src_postures(r, obj, rule);
	read_origin(r, obj, rule);
	check_self(r, rule);
	rule->text = summary(r, rule);
	r->pol->rule_count++;
}

static json_t *rule_list(struct reader *r, json_t *root, const char *key)
{
	const char *k = key;
	json_t *list = read_get(root, key, &k);

	if (!list || json_is_null(list))
		return NULL;
	if (!json_is_array(list)) {
		diag_error(r->diags, hujson_member_at(r->doc, root, k), "\"%s\": want an array", key);
		return NULL;
	}
	return list;
}

/* Also makes room for the grants, so that rules never move. */
void read_acls(struct reader *r, json_t *root)
{
	json_t *acls = rule_list(r, root, "acls"), *grants = rule_list(r, root, "grants"), *v;
	size_t n = (acls ? json_array_size(acls) : 0) + (grants ? json_array_size(grants) : 0), i;

	if (n > POLICY_RULES_MAX) {
		diag_error(r->diags, read_at(r, root, acls ? "acls" : "grants"), "%zu rules; at most %d", n, POLICY_RULES_MAX);
		return;
	}
	r->pol->rules = arena_calloc(&r->pol->arena, n + 1, sizeof(*r->pol->rules));
	if (!acls)
		return;
	json_array_foreach(acls, i, v) {
		struct place at = hujson_item_at(r->doc, acls, i);

		if (json_is_object(v))
			read_acl(r, v, at, (uint32_t)i);
		else
			diag_error(r->diags, at, "acls[%zu]: want an object", i);
	}
	r->pol->acl_count = r->pol->rule_count;
}

void read_grants(struct reader *r, json_t *root)
{
	json_t *grants = rule_list(r, root, "grants"), *v;
	size_t i;

	if (!grants || !r->pol->rules)
		return;
	json_array_foreach(grants, i, v) {
		struct place at = hujson_item_at(r->doc, grants, i);

		if (json_is_object(v))
			read_grant(r, v, at, (uint32_t)i);
		else
			diag_error(r->diags, at, "grants[%zu]: want an object", i);
	}
}
