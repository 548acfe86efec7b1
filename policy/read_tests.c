/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* tests, postures, and the ssh sections, which are checked and kept. */
#include "policy/model.h"

#include <stdlib.h>
#include <string.h>

static json_t *list_of(struct reader *r, json_t *root, const char *key, size_t max)
{
	json_t *list = read_get(root, key, NULL);

	if (!list || json_is_null(list))
		return NULL;
	if (!json_is_array(list)) {
		diag_error(r->diags, read_at(r, root, key), "\"%s\": want an array", key);
		return NULL;
	}
	if (json_array_size(list) > max) {
		diag_error(r->diags, read_at(r, root, key), "\"%s\" has %zu entries; at most %zu", key,
		           json_array_size(list), max);
		return NULL;
	}
	return list;
}

/* ---- postures ---- */

static bool posture_values(struct reader *r, struct span s, struct place at, bool list, struct spans *ret)
{
	struct span *out = arena_calloc(&r->pol->arena, POLICY_HTTP_MAX, sizeof(*out)), rest, part;

	*ret = (struct spans){ out, 0 };
	s = span_trim(s);
	if (list) {
		if (s.len < 2 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
			return diag_error(r->diags, at, "want a list: ['a', 'b']");
		s = span_of(s.ptr + 1, s.len - 2);
	}
	rest = s;
	while (list ? span_next(&rest, ',', &part) : ret->count == 0) {
		if (!list)
			part = s;
		part = span_trim(part);
		if (part.len >= 2 && (part.ptr[0] == '\'' || part.ptr[0] == '"') && part.ptr[part.len - 1] == part.ptr[0])
			part = span_of(part.ptr + 1, part.len - 2);
		else if (part.len == 0 || part.ptr[0] == '\'' || part.ptr[0] == '"')
			return diag_error(r->diags, at, "a value is missing, or its quotes are not closed");
		if (ret->count == POLICY_HTTP_MAX)
			return diag_error(r->diags, at, "more than %d values", POLICY_HTTP_MAX);
		out[ret->count++] = part;
	}
	return true;
}

/* "node:os == 'macos'", "node:osVersion >= '13'", "custom:tier IN ['a','b']", "node:x IS SET". */
static bool posture_test(struct reader *r, struct span s, struct place at, struct posture_test *ret)
{
	static const struct { const char *text; enum posture_op op; } ops[] = {
		{ " NOT IN ", OP_NOT_IN }, { " NOT SET", OP_NOT_SET }, { " IS SET", OP_SET }, { " IN ", OP_IN },
		{ "==", OP_EQ }, { "!=", OP_NE }, { "<=", OP_LE }, { ">=", OP_GE }, { "<", OP_LT }, { ">", OP_GT },
	};

	for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++) {
		struct span op = span_str(ops[o].text);

		for (size_t i = 1; i + op.len <= s.len; i++) {
			struct span tail;

			if (memcmp(s.ptr + i, op.ptr, op.len) != 0)
				continue;
			ret->attr = span_trim(span_head(s, i));
			ret->op = ops[o].op;
			tail = span_from(s, i + op.len);
			if (span_find(ret->attr, ':') == ret->attr.len)
				return diag_error(r->diags, at, "\"%.*s\": an attribute is NAMESPACE:NAME", SPAN_ARG(ret->attr));
			if (ret->op == OP_SET || ret->op == OP_NOT_SET)
				return tail.len == 0 || diag_error(r->diags, at, "nothing follows %s", ops[o].text);
			return posture_values(r, tail, at, ret->op == OP_IN || ret->op == OP_NOT_IN, &ret->values);
		}
	}
	return diag_error(r->diags, at, "\"%.*s\": want ATTRIBUTE OPERATOR VALUE", SPAN_ARG(s));
}

void read_postures(struct reader *r, json_t *root)
{
	struct policy *pol = r->pol;
	json_t *obj = read_get(root, "postures", NULL), *v;
	const struct posture **list;
	struct strs s;
	const char *k;

	if (obj && !json_is_object(obj)) {
		diag_error(r->diags, read_at(r, root, "postures"), "\"postures\": want an object");
		obj = NULL;
	}
	pol->postures = arena_calloc(&pol->arena, (obj ? json_object_size(obj) : 0) + 1, sizeof(*pol->postures));
	json_object_foreach(obj, k, v) {
		struct posture *p = &pol->postures[pol->posture_count];

		(void)v;
		if (!span_starts(span_str(k), SPAN("posture:"))) {
			diag_error(r->diags, hujson_key_at(r->doc, obj, k), "\"%s\": a posture's name begins with \"posture:\"", k);
			continue;
		}
		if (!read_strs(r, obj, k, POLICY_HTTP_MAX, false, &s))
			continue;
		p->name = arena_copy(&pol->arena, span_str(k));
		p->at = hujson_key_at(r->doc, obj, k);
		p->tests = arena_calloc(&pol->arena, s.count + 1, sizeof(*p->tests));
		for (size_t i = 0; i < s.count; i++)
			if (posture_test(r, s.list[i], s.at[i], &p->tests[p->test_count]))
				p->test_count++;
		if (s.count == 0)
			diag_error(r->diags, p->at, "\"%s\" demands nothing", k);
		dict_put(pol->posture_index, p->name, p);
		pol->posture_count++;
	}
	read_strs(r, root, "defaultSrcPosture", POLICY_HTTP_MAX, false, &s);
	list = arena_calloc(&pol->arena, s.count + 1, sizeof(*list));
	for (size_t i = 0; i < s.count; i++) {
		const struct posture *p = dict_find(pol->posture_index, s.list[i]);

		if (!p)
			diag_error(r->diags, s.at[i], "unknown posture \"%.*s\"", SPAN_ARG(s.list[i]));
		else
			list[pol->default_posture_count++] = p;
	}
	pol->default_postures = list;
}

/* ---- tests ---- */

static bool test_dst(struct reader *r, struct span text, struct place at, struct policy_test_dst *ret)
{
	const struct port_range *ports;
	struct span name, port;
	const char *why;
	size_t n;

	ret->at = at;
	ret->text = text;
	if (span_starts(text, SPAN("svc:")) && span_find(span_from(text, 4), ':') == text.len - 4)
		return read_selector(r, text, at, ROLE_TEST, &ret->sel);
	if (!read_split_port(text, &name, &port, &why))
		return diag_error(r->diags, at, "test destination \"%.*s\": %s", SPAN_ARG(text), why);
	if (!read_ports(r, port, at, &ports, &n) || !read_selector(r, name, at, ROLE_TEST, &ret->sel))
		return false;
	if (n != 1 || ports[0].lo != ports[0].hi)
		return diag_error(r->diags, at, "test destination \"%.*s\": a test tries one single port", SPAN_ARG(text));
	ret->port = ports[0];
	if (ret->sel.kind == SEL_INTERNET)
		return diag_error(r->diags, at, "autogroup:internet cannot be a test destination");
	if (ret->sel.kind == SEL_DANGER_ALL || ret->sel.kind == SEL_IDP)
		return diag_error(r->diags, at, "\"%.*s\" cannot be a test destination", SPAN_ARG(text));
	if (ret->sel.kind == SEL_IPS && span_find(text, '/') < text.len)
		return diag_error(r->diags, at, "test destination \"%.*s\": a test tries one host, not a prefix", SPAN_ARG(text));
	if (ret->sel.kind == SEL_IPS && ret->sel.ips->v4.count + ret->sel.ips->v6.count == 1) {
		const struct ip_range *one = ret->sel.ips->v4.count ? ret->sel.ips->v4.list : ret->sel.ips->v6.list;

		if (one->lo != one->hi)
			return diag_error(r->diags, at, "test destination \"%.*s\": a test tries one host, and that name "
			                  "stands for more", SPAN_ARG(text));
	}
	return true;
}

static void test_dsts(struct reader *r, json_t *obj, const char *key, struct policy_test_dst **ret, size_t *ret_n)
{
	struct strs s;

	read_strs(r, obj, key, POLICY_SELECTORS_MAX, false, &s);
	*ret = arena_calloc(&r->pol->arena, s.count + 1, sizeof(**ret));
	for (size_t i = 0; i < s.count; i++)
		if (test_dst(r, s.list[i], s.at[i], &(*ret)[*ret_n]))
			(*ret_n)++;
}

static bool opt_str(struct reader *r, json_t *obj, const char *key, struct span *ret)
{
	json_t *v = read_get(obj, key, NULL);

	return v && read_str(r, v, read_at(r, obj, key), key, ret);
}

static void opt_duration(struct reader *r, json_t *obj, const char *key, int64_t *ret)
{
	json_t *v = read_get(obj, key, NULL);
	struct span s;

	if (json_is_integer(v) && json_integer_value(v) >= 0)
		*ret = json_integer_value(v);
	else if (v && read_str(r, v, read_at(r, obj, key), key, &s) && !duration_parse(s, ret))
		diag_error(r->diags, read_at(r, obj, key), "\"%s\": \"%.*s\" is no duration", key, SPAN_ARG(s));
}

static void test_session(struct reader *r, json_t *obj, struct policy_test *t)
{
	static const char *const known[] = { "age", "mfa", "acr", "amr", "groups", NULL };
	json_t *v = read_get(obj, "session", NULL);
	struct strs s;

	t->age = -1;
	t->silent = -1;
	opt_duration(r, obj, "silent", &t->silent);
	if (!v)
		return;
	if (!json_is_object(v)) {
		diag_error(r->diags, read_at(r, obj, "session"), "\"session\": want an object");
		return;
	}
	read_keys(r, v, known, NULL, false, "session");
	t->has_session = true;
	opt_duration(r, v, "age", &t->age);
	read_bool(r, v, "mfa", &t->mfa);
	opt_str(r, v, "acr", &t->acr);
	read_strs(r, v, "amr", POLICY_HTTP_MAX, false, &s);
	t->amr = (struct spans){ s.list, s.count };
	read_strs(r, v, "groups", POLICY_HTTP_MAX, false, &s);
	t->idp = (struct spans){ s.list, s.count };
}

static void read_test(struct reader *r, json_t *obj, struct place at, struct policy_test *t)
{
	static const char *const known[] = { "src", "proto", "accept", "deny", "method", "path", "host", "headers",
		"session", "silent", NULL };
	static const char *const ignored[] = { "srcPostureAttrs", "allow", NULL };
	struct span text, *names, *values;
	json_t *v;
	const char *k, *why;
	bool deflt;
	size_t n = 0;

	t->at = at;
	read_keys(r, obj, known, ignored, true, "a test");
	v = read_get(obj, "src", NULL);
	if (!v)
		diag_error(r->diags, at, "a test needs \"src\"");
	else if (read_str(r, v, read_at(r, obj, "src"), "src", &text))
		read_selector(r, text, read_at(r, obj, "src"), ROLE_TEST, &t->src);
	v = read_get(obj, "proto", NULL);
	if (json_is_integer(v)) {
		text = arena_printf(&r->pol->arena, "%lld", (long long)json_integer_value(v));
		v = NULL;
	} else {
		text = SPAN("");
		if (v)
			read_str(r, v, read_at(r, obj, "proto"), "proto", &text);
	}
	if (!read_proto(text, &t->proto, &deflt, &why))
		diag_error(r->diags, read_at(r, obj, "proto"), "proto \"%.*s\": %s", SPAN_ARG(text), why);
	else if (!deflt && t->proto != 6 && t->proto != 17 && t->proto != 132)
		diag_error(r->diags, read_at(r, obj, "proto"), "a test's protocol is tcp, udp, sctp, or left out");
	test_dsts(r, obj, "accept", &t->accept, &t->accept_count);
	test_dsts(r, obj, "deny", &t->deny, &t->deny_count);
	if (json_array_size(read_get(obj, "accept", NULL)) + json_array_size(read_get(obj, "deny", NULL)) == 0)
		diag_error(r->diags, at, "a test needs at least one of \"accept\" and \"deny\"");
	t->has_http = opt_str(r, obj, "method", &t->method);
	t->has_http |= opt_str(r, obj, "host", &t->host);
	if (opt_str(r, obj, "path", &t->path)) {
		t->has_http = true;
		if (t->path.len == 0 || t->path.ptr[0] != '/')
			diag_error(r->diags, read_at(r, obj, "path"), "a path begins with \"/\"");
	}
	if (t->has_http && t->method.len == 0)
		t->method = SPAN("GET");
	if (t->has_http && t->path.len == 0)
		t->path = SPAN("/");
	test_session(r, obj, t);
	v = read_get(obj, "headers", NULL);
	if (v && !json_is_object(v)) {
		diag_error(r->diags, read_at(r, obj, "headers"), "\"headers\": want an object");
		return;
	}
	names = arena_calloc(&r->pol->arena, json_object_size(v) + 1, sizeof(*names));
	values = arena_calloc(&r->pol->arena, json_object_size(v) + 1, sizeof(*values));
	{
		json_t *headers = v, *value;

		json_object_foreach(headers, k, value) {
			names[n] = arena_copy(&r->pol->arena, span_str(k));
			/* null: the header must not be there */
			if (json_is_null(value) || read_str(r, value, hujson_member_at(r->doc, headers, k), k, &values[n]))
				n++;
		}
	}
	t->header_names = (struct spans){ names, n };
	t->header_values = (struct spans){ values, n };
	t->has_http |= n > 0;
	if (t->has_http && t->method.len == 0) {
		t->method = SPAN("GET");
		t->path = SPAN("/");
	}
}

void read_tests(struct reader *r, json_t *root)
{
	json_t *list = list_of(r, root, "tests", POLICY_TESTS_MAX), *v;
	size_t i;

	if (!list)
		return;
	r->pol->tests = arena_calloc(&r->pol->arena, json_array_size(list) + 1, sizeof(*r->pol->tests));
	json_array_foreach(list, i, v) {
		struct place at = hujson_item_at(r->doc, list, i);

		if (json_is_object(v))
			read_test(r, v, at, &r->pol->tests[r->pol->test_count++]);
		else
			diag_error(r->diags, at, "tests[%zu]: want an object", i);
	}
}

/* ---- ssh: checked as tailnet servers check it, and kept ---- */

/* A duration as Go writes it: "12h", "1h30m", "0s". Seconds, or -1. */
static int64_t go_seconds(struct span s, bool *ret_negative)
{
	double total = 0;

	*ret_negative = s.len && s.ptr[0] == '-';
	if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+'))
		s = span_from(s, 1);
	if (span_eq(s, SPAN("0")))
		return 0;
	if (s.len == 0)
		return -1;
	while (s.len) {
		size_t d = 0;
		char num[24];
		double n, unit;

		while (d < s.len && ((s.ptr[d] >= '0' && s.ptr[d] <= '9') || s.ptr[d] == '.'))
			d++;
		if (d == 0 || !span_cstr(span_head(s, d), num, sizeof(num)))
			return -1;
		n = strtod(num, NULL);
		s = span_from(s, d);
		if (span_starts(s, SPAN("ms"))) {
			unit = 0.001;
			s = span_from(s, 2);
		} else if (span_starts(s, SPAN("us")) || span_starts(s, SPAN("ns"))) {
			unit = 0;
			s = span_from(s, 2);
		} else if (s.len && (s.ptr[0] == 'h' || s.ptr[0] == 'm' || s.ptr[0] == 's')) {
			unit = s.ptr[0] == 'h' ? 3600 : s.ptr[0] == 'm' ? 60 : 1;
			s = span_from(s, 1);
		} else {
			return -1;
		}
		total += n * unit;
		if (total > 1e12)
			return -1;
	}
	return (int64_t)(total + 0.999);
}

static void ssh_pairs(struct reader *r, const struct selector *src, size_t src_n, const struct selector *dst,
                      size_t dst_n)
{
	const struct selector *only = NULL;
	bool tagged = false, groups = false, several = false;

	for (size_t i = 0; i < src_n; i++)
		switch (src[i].kind) {
		case SEL_TAG:
		case SEL_TAGGED:
			tagged = true;
			break;
		case SEL_USER:
			several |= only && !span_eq(only->name, src[i].name);
			only = &src[i];
			break;
		default:
			groups = true;
		}
	for (size_t i = 0; i < dst_n; i++) {
		if (dst[i].kind == SEL_USER && tagged)
			diag_error(r->diags, dst[i].at, "tags as ssh src cannot reach devices of users (\"%.*s\")",
			           SPAN_ARG(dst[i].text));
		else if (dst[i].kind == SEL_USER && (groups || several || !only || !span_eq(only->name, dst[i].name)))
			diag_error(r->diags, dst[i].at, "a user as ssh dst needs that same single user as src; use "
			           "autogroup:self");
		else if (dst[i].kind == SEL_SELF && tagged)
			diag_error(r->diags, dst[i].at, "autogroup:self as ssh dst needs users or groups as src");
		else if (dst[i].kind == SEL_MEMBER && tagged)
			diag_error(r->diags, dst[i].at, "tags as ssh src cannot reach autogroup:member");
	}
}

static void ssh_names(struct reader *r, json_t *obj, const char *key, enum selector_role role,
                      struct selector **ret, size_t *ret_n)
{
	struct strs s;

	*ret_n = 0;
	read_strs(r, obj, key, POLICY_SELECTORS_MAX, false, &s);
	*ret = arena_calloc(&r->pol->arena, s.count + 1, sizeof(**ret));
	for (size_t i = 0; i < s.count; i++)
		if (read_selector(r, s.list[i], s.at[i], role, &(*ret)[*ret_n]))
			(*ret_n)++;
}

static void ssh_rule(struct reader *r, json_t *obj, struct place at)
{
	static const char *const known[] = { "action", "src", "dst", "users", "checkPeriod", "acceptEnv",
		"srcPosture", "recorder", "enforceRecorder", NULL };
	struct selector *src, *dst;
	size_t src_n, dst_n;
	struct span action = SPAN(""), period;
	struct strs s;

	read_keys(r, obj, known, NULL, true, "an ssh rule");
	opt_str(r, obj, "action", &action);
	if (action.len == 0)
		diag_error(r->diags, at, "an ssh rule needs an action: \"accept\" or \"check\"");
	else if (!span_eq(action, SPAN("accept")) && !span_eq(action, SPAN("check")))
		diag_error(r->diags, read_at(r, obj, "action"), "ssh action \"%.*s\": want \"accept\" or \"check\"",
		           SPAN_ARG(action));
	ssh_names(r, obj, "src", ROLE_SSH_SRC, &src, &src_n);
	ssh_names(r, obj, "dst", ROLE_SSH_DST, &dst, &dst_n);
	read_strs(r, obj, "users", POLICY_SELECTORS_MAX, false, &s);
	if (s.count == 0)
		diag_error(r->diags, at, "an ssh rule needs \"users\"");
	for (size_t i = 0; i < s.count; i++)
		if (s.list[i].len == 0 || span_eq(s.list[i], SPAN("*")))
			diag_error(r->diags, s.at[i], "ssh user \"%.*s\" is not valid", SPAN_ARG(s.list[i]));
	read_strs(r, obj, "acceptEnv", POLICY_SELECTORS_MAX, false, &s);
	for (size_t i = 0; i < s.count; i++)
		if (s.list[i].len == 0)
			diag_error(r->diags, s.at[i], "an acceptEnv entry is empty");
	ssh_pairs(r, src, src_n, dst, dst_n);
	if (opt_str(r, obj, "checkPeriod", &period)) {
		bool negative = false;
		int64_t sec = span_eq(period, SPAN("always")) ? 0 : go_seconds(period, &negative);
		struct place pat = read_at(r, obj, "checkPeriod");

		if (!span_eq(action, SPAN("check")))
			diag_error(r->diags, pat, "checkPeriod is only valid with action \"check\"");
		else if (sec < 0)
			diag_error(r->diags, pat, "checkPeriod \"%.*s\" is no duration", SPAN_ARG(period));
		else if (negative && sec > 0)
			diag_error(r->diags, pat, "checkPeriod must not be negative");
		else if (sec > 168 * 3600)
			diag_error(r->diags, pat, "checkPeriod is above 168h");
	}
}

static void ssh_test(struct reader *r, json_t *obj, struct place at)
{
	static const char *const known[] = { "src", "dst", "accept", "deny", "check", NULL };
	struct span src = SPAN("");
	struct selector sel;
	struct strs s;
	size_t asserts = 0;

	read_keys(r, obj, known, NULL, true, "an ssh test");
	opt_str(r, obj, "src", &src);
	if (src.len == 0)
		diag_error(r->diags, at, "an ssh test needs \"src\"");
	else
		read_selector(r, src, read_at(r, obj, "src"), ROLE_TEST, &sel);
	read_strs(r, obj, "dst", POLICY_SELECTORS_MAX, false, &s);
	if (s.count == 0)
		diag_error(r->diags, at, "an ssh test needs at least one \"dst\"");
	for (size_t i = 0; i < s.count; i++) {
		if (!read_selector(r, s.list[i], s.at[i], ROLE_TEST, &sel))
			continue;
		if (sel.kind == SEL_INTERNET)
			diag_error(r->diags, s.at[i], "autogroup:internet cannot be the dst of an ssh test");
		if (sel.kind == SEL_IPS && sel.ips->v4.count + sel.ips->v6.count == 1) {
			const struct ip_range *one = sel.ips->v4.count ? sel.ips->v4.list : sel.ips->v6.list;

			if (one->lo != one->hi)
				diag_error(r->diags, s.at[i], "\"%.*s\": an ssh test tries one host", SPAN_ARG(s.list[i]));
		}
	}
	for (size_t k = 2; known[k]; k++) {
		read_strs(r, obj, known[k], POLICY_SELECTORS_MAX, false, &s);
		asserts += s.count;
	}
	if (asserts == 0)
		diag_error(r->diags, at, "an ssh test needs at least one of \"accept\", \"deny\" and \"check\"");
}

void read_ssh(struct reader *r, json_t *root)
{
	json_t *rules = list_of(r, root, "ssh", POLICY_RULES_MAX), *v;
	json_t *tests = list_of(r, root, "sshTests", POLICY_TESTS_MAX);
	size_t i;

	if (rules && json_array_size(rules)) {
		diag_warn(r->diags, read_at(r, root, "ssh"), "ssh rules are checked and kept; reeve does not act on them yet");
		r->pol->has_ssh = true;
		json_array_foreach(rules, i, v) {
			struct place at = hujson_item_at(r->doc, rules, i);

			if (json_is_object(v))
				ssh_rule(r, v, at);
			else
				diag_error(r->diags, at, "ssh[%zu]: want an object", i);
		}
	}
	if (tests && json_array_size(tests)) {
		diag_warn(r->diags, read_at(r, root, "sshTests"), "sshTests are checked and kept; reeve does not run them yet");
		r->pol->has_ssh_tests = true;
		json_array_foreach(tests, i, v) {
			struct place at = hujson_item_at(r->doc, tests, i);

			if (json_is_object(v))
				ssh_test(r, v, at);
			else
				diag_error(r->diags, at, "sshTests[%zu]: want an object", i);
		}
	}
}
