/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* One endpoint's compile: classes, deadlines, what changes with what; the tables it makes. */
#include "tests/unit/main.h"

#include "base/mem.h"
#include "policy/assert.h"
#include "policy/compile.h"
#include "policy/prune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOW = 1790000000, LAPTOP = 1, DESK, WEB, GW, NODES };

static struct policy *policy_of(const char *text, enum policy_mode mode)
{
	struct diags d;
	struct policy *pol;

	diags_init(&d, "p");
	pol = policy_parse(span_str(text), mode, &d);
	ck_assert_msg(pol != NULL, "%s", d.count ? d.list[0].msg : "?");
	diags_done(&d);
	return pol;
}

static void put_user(struct topology *t, uint64_t id, const char *login)
{
	ck_assert(topology_user_put(t, &(struct topology_user){ .id = id, .login = span_str(login), .email = span_str(login) }));
}

static void put_node(struct topology *t, uint64_t id, const char *name, const char *tag, uint64_t user, int64_t auth_time,
                     int64_t expires)
{
	struct span tags[] = { span_str(tag) }, amr[] = { SPAN("pwd"), SPAN("otp") };
	struct topology_node n = { .id = id, .name = span_str(name), .user = user };
	struct prefix route;
	char ip[32];

	snprintf(ip, sizeof(ip), "100.64.0.%d", (int)id);
	ck_assert(ip_parse(span_str(ip), &n.ip4));
	snprintf(ip, sizeof(ip), "fd00::%d", (int)id);
	ck_assert(ip_parse(span_str(ip), &n.ip6));
	if (*tag)
		n.tags = (struct spans){ tags, 1 };
	n.session = (struct topology_session){ .expires = { expires }, .auth_time = { auth_time }, .amr = { amr, 2 } };
	if (id == GW) {
		ck_assert(prefix_parse(SPAN("10.1.0.0/16"), &route));
		n.routes = &route;
		n.route_count = 1;
	}
	ck_assert(topology_node_put(t, &n));
}

static struct topology *mesh(void)
{
	struct topology *t = topology_new();
	static const uint16_t ports[] = { 80 };
	struct span hosts[] = { SPAN("wiki") };

	put_user(t, 1, "staff@example.edu");
	put_user(t, 2, "student@example.edu");
	put_node(t, LAPTOP, "laptop", "", 1, NOW - 60, NOW + 7200);
	put_node(t, DESK, "desk", "", 2, NOW - 60, INT64_MAX);
	put_node(t, WEB, "web", "tag:web", 0, 0, 0);
	put_node(t, GW, "gw", "tag:gw", 0, 0, 0);
	ck_assert(topology_service_put(t, &(struct topology_service){ .name = SPAN("wiki"), .node = WEB, .ports = ports, .port_count = 1,
	          .http = true, .hosts = { hosts, 1 } }));
	return t;
}

#define TAGS "\"tagOwners\": {\"tag:web\": [], \"tag:gw\": []}, \"groups\": {\"group:g\": [\"staff@example.edu\"]}, "

static struct compile_peer peer(const struct compile *c, uint64_t node)
{
	struct compile_peer p;

	ck_assert(compile_peer(c, node, &p));
	return p;
}

static struct tables *flat(const struct compile *c, struct buf *b)
{
	struct err err;

	if (!b->max)
		buf_init(b, TABLES_MAX);
	compile_tables(c, b);
	ck_assert_msg(tables_check(b->ptr, b->len, &err), "%s", err.msg);
	return (struct tables *)(uintptr_t)tables_map(b->ptr);
}

static bool packet(const struct compile *c, uint64_t src, uint16_t port)
{
	struct buf b = { 0 };
	struct reason why;
	struct ip to;
	bool ok;

	ck_assert(ip_parse(SPAN("100.64.0.3"), &to));
	ok = tables_packet(flat(c, &b), peer(c, src).class4, &to, 6, port, SILENT_NEVER, &why) == VERDICT_ALLOW;
	buf_done(&b);
	return ok;
}

START_TEST(test_deadlines)
{
	struct policy *pol = policy_of("{" TAGS "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"tag:web\"], \"ip\": [\"22\"], \"auth\": {\"maxAge\": \"1h\"}}, "
	                               "{\"src\": [\"*\"], \"dst\": [\"tag:web\"], \"ip\": [\"23\"]}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct compile *c = compile_new(pol, NULL, t, WEB, NULL, (struct wall){ NOW });
	uint64_t nodes[NODES];

	ck_assert(packet(c, LAPTOP, 22) && packet(c, LAPTOP, 23) && packet(c, DESK, 22));
	ck_assert_int_eq(peer(c, LAPTOP).until.sec, NOW - 60 + 3600);
	ck_assert_uint_eq(compile_changed(c, nodes, NODES), 3);
	ck_assert_uint_eq(compile_changed(c, nodes, NODES), 0);

	/* A second before nothing moves; then the login is too old; then the session ends. */
	ck_assert_int_eq(compile_tick(c, (struct wall){ NOW + 3539 }).sec, NOW + 3540);
	ck_assert_uint_eq(compile_changed(c, nodes, NODES), 0);
	ck_assert(packet(c, LAPTOP, 22));
	ck_assert_int_eq(compile_tick(c, (struct wall){ NOW + 3540 }).sec, NOW + 7200);
	ck_assert_uint_eq(compile_changed(c, nodes, NODES), 2);
	ck_assert(!packet(c, LAPTOP, 22) && packet(c, LAPTOP, 23) && !packet(c, DESK, 22));
	ck_assert(peer(c, LAPTOP).after_login);
	ck_assert_int_eq(compile_tick(c, (struct wall){ NOW + 7200 }).sec, INT64_MAX);
	ck_assert(!packet(c, LAPTOP, 23) && packet(c, DESK, 23));
	ck_assert_uint_eq(peer(c, LAPTOP).class4, CLASS_NONE);
	ck_assert(peer(c, LAPTOP).visible && peer(c, LAPTOP).after_login && !peer(c, LAPTOP).calls_us);

	/* A new login, and it is as before. */
	put_node(t, LAPTOP, "laptop", "", 1, NOW + 7200, INT64_MAX);
	compile_node(c, LAPTOP, (struct wall){ NOW + 7200 });
	ck_assert(packet(c, LAPTOP, 22));
	topology_node_remove(t, LAPTOP);
	compile_node(c, LAPTOP, (struct wall){ NOW + 7200 });
	ck_assert(!compile_peer(c, LAPTOP, &(struct compile_peer){ 0 }));
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

START_TEST(test_login_class)
{
	struct policy *pol = policy_of("{" TAGS "\"grants\": [{\"src\": [\"group:g\"], \"dst\": [\"svc:wiki\"]}, "
	                               "{\"src\": [\"group:g\"], \"dst\": [\"tag:web\"], \"ip\": [\"22\"]}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct compile_options opt = { .login_class = true };
	struct tables_request req = { SPAN("GET"), SPAN("wiki"), SPAN("/"), IP_V4, 80 };
	struct buf b = { 0 };
	struct compile *c;
	struct reason why;

	put_node(t, LAPTOP, "laptop", "", 1, 0, 0);
	c = compile_new(pol, NULL, t, WEB, NULL, (struct wall){ NOW });
	ck_assert_uint_eq(peer(c, LAPTOP).class4, CLASS_NONE);
	ck_assert(!packet(c, LAPTOP, 80));
	compile_free(c);

	/* The front's port opens, and only to say: log in. Who could never pass stays outside. */
	c = compile_new(pol, NULL, t, WEB, &opt, (struct wall){ NOW });
	ck_assert_uint_eq(peer(c, LAPTOP).class4, CLASS_LOGIN);
	ck_assert(packet(c, LAPTOP, 80) && !packet(c, LAPTOP, 22));
	ck_assert_int_eq(tables_http(flat(c, &b), CLASS_LOGIN, 1, &req, &(struct tables_session){ { 0 }, { INT64_MAX } },
	                             (struct wall){ NOW }, SILENT_NEVER, &why), VERDICT_DENY);
	ck_assert_int_eq(why.code, REASON_NO_SESSION);
	ck_assert_uint_eq(peer(c, DESK).class4, CLASS_NONE);
	ck_assert(!peer(c, DESK).visible);
	buf_done(&b);
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

START_TEST(test_step_up)
{
	struct policy *pol = policy_of("{" TAGS "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"auth\": {\"maxAge\": 60, \"acr\": \"gold\"}, "
	                               "\"http\": [{\"paths\": [\"/a\"]}]}, {\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"auth\": {\"maxAge\": 60}, "
	                               "\"http\": [{\"paths\": [\"/b\"]}]}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct compile *c = compile_new(pol, NULL, t, WEB, NULL, (struct wall){ NOW });
	struct tables_request req = { SPAN("GET"), SPAN("wiki"), SPAN("/a"), IP_V4, 80 };
	struct tables_session ses = { { NOW - 60 }, { INT64_MAX } };
	struct tables_rule r;
	struct buf b = { 0 };
	struct tables *tab = flat(c, &b);
	uint32_t class = peer(c, LAPTOP).class4, svc = tables_service(tab, SPAN("wiki"));
	struct reason why;

	ck_assert(packet(c, LAPTOP, 80));
	ck_assert_int_eq(tables_http(tab, class, svc, &req, &ses, (struct wall){ NOW }, -1, &why), VERDICT_DENY);
	ck_assert_int_eq(why.code, REASON_AUTH_STRENGTH);
	ck_assert(tables_rule(tab, why.rule, &r));
	ck_assert(span_eq(r.auth.acr, SPAN("gold")) && r.auth.max_age == 60);
	req.path = SPAN("/b");
	ck_assert_int_eq(tables_http(tab, class, svc, &req, &ses, (struct wall){ NOW }, -1, &why), VERDICT_DENY);
	ck_assert_int_eq(why.code, REASON_AUTH_AGE);
	ses.auth_time.sec++;
	ck_assert_int_eq(tables_http(tab, class, svc, &req, &ses, (struct wall){ NOW }, -1, &why), VERDICT_ALLOW);
	req.path = SPAN("/c");
	ck_assert_int_eq(tables_http(tab, class, svc, &req, &ses, (struct wall){ NOW }, -1, &why), VERDICT_DENY);
	ck_assert_int_eq(why.code, REASON_PATH);
	/* A zeroed session, an unknown class, an unknown service and a port that is not its: no. */
	req.path = SPAN("/b");
	ck_assert_int_eq(tables_http(tab, class, svc, &req, &(struct tables_session){ 0 }, (struct wall){ NOW }, -1, &why), VERDICT_DENY);
	ck_assert_int_eq(tables_http(tab, 9999, svc, &req, &ses, (struct wall){ NOW }, -1, &why), VERDICT_DENY);
	ck_assert_int_eq(tables_http(tab, class, SERVICE_NONE, &req, &ses, (struct wall){ NOW }, -1, &why), VERDICT_DENY);
	req.port = 81;
	ck_assert_int_eq(tables_http(tab, class, svc, &req, &ses, (struct wall){ NOW }, -1, &why), VERDICT_DENY);
	buf_done(&b);
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

START_TEST(test_class_ids)
{
	static const char one[] = "{" TAGS "\"grants\": [{\"src\": [\"group:g\"], \"dst\": [\"tag:web\"], \"ip\": [\"22\"]}]}";
	static const char two[] = "{" TAGS "\"grants\": [{\"src\": [\"student@example.edu\"], \"dst\": [\"tag:web\"], \"ip\": [\"80\"]}, "
	                          "{\"src\": [\"group:g\"], \"dst\": [\"tag:web\"], \"ip\": [\"22\"]}]}";
	struct policy *a = policy_of(one, POLICY_FILE), *b = policy_of(two, POLICY_FILE);
	struct topology *t = mesh();
	struct compile *c = compile_new(a, NULL, t, WEB, NULL, (struct wall){ NOW });
	uint32_t ids[8], class = peer(c, LAPTOP).class4;
	uint64_t generation = compile_generation(c);

	ck_assert_uint_ge(class, CLASS_FIRST);
	ck_assert_uint_eq(compile_classes_new(c, ids, 8), 1);
	ck_assert_uint_eq(ids[0], class);
	/* What a class opens stays: its id stays, and only what is new is told. */
	compile_policy(c, b, NULL, (struct wall){ NOW });
	ck_assert_uint_eq(peer(c, LAPTOP).class4, class);
	ck_assert_uint_eq(compile_classes_new(c, ids, 8), 1);
	ck_assert_uint_eq(ids[0], peer(c, DESK).class4);
	ck_assert_uint_ne(ids[0], class);
	ck_assert_uint_eq(compile_classes_gone(c, ids, 8), 0);
	ck_assert_uint_gt(compile_generation(c), generation);
	compile_policy(c, a, NULL, (struct wall){ NOW });
	ck_assert_uint_eq(compile_classes_gone(c, ids, 8), 1);
	ck_assert_uint_eq(peer(c, LAPTOP).class4, class);
	/* An empty policy leaves nobody a class; an id is used again once its end was told. */
	struct policy *none = policy_empty();

	compile_policy(c, none, NULL, (struct wall){ NOW });
	ck_assert_uint_eq(peer(c, LAPTOP).class4, CLASS_NONE);
	ck_assert(!peer(c, LAPTOP).visible);
	ck_assert_uint_eq(compile_classes_gone(c, ids, 8), 1);
	ck_assert_uint_eq(ids[0], class);
	compile_free(c);
	topology_free(t);
	policy_unref(none);
	policy_unref(a);
	policy_unref(b);
}
END_TEST

START_TEST(test_replies)
{
	struct policy *pol = policy_of("{" TAGS "\"grants\": [{\"src\": [\"tag:web\"], \"dst\": [\"tag:gw\"], \"ip\": [\"22\"]}, "
	                               "{\"src\": [\"tag:web\"], \"dst\": [\"10.1.2.0/24\"], \"ip\": [\"22\"]}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct compile *c = compile_new(pol, NULL, t, WEB, NULL, (struct wall){ NOW });
	struct compile_peer p = peer(c, GW);

	/* Nobody may call web, but the gateway's answers must get in: a class, and not a row. */
	ck_assert(p.we_call && !p.calls_us && p.visible);
	ck_assert_uint_ge(p.class4, CLASS_FIRST);
	ck_assert(!packet(c, GW, 22));
	ck_assert(!peer(c, LAPTOP).visible);
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

struct rows { struct compile_row list[32]; size_t n; };

static void take_one(void *arg, const struct compile_row *row)
{
	struct rows *r = arg;

	ck_assert_uint_lt(r->n, 32);
	r->list[r->n++] = *row;
}

START_TEST(test_rows)
{
	struct policy *pol = policy_of("{" TAGS "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"100.64.0.3\"], \"ip\": [\"tcp:10-20\"]}, "
	                               "{\"src\": [\"*\"], \"dst\": [\"100.64.0.3\"], \"ip\": [\"tcp:21\", \"tcp:15-30\"]}, "
	                               "{\"src\": [\"*\"], \"dst\": [\"100.64.0.3\"], \"ip\": [\"tcp:5-40\"], \"stale\": \"8h\"}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct compile *c = compile_new(pol, NULL, t, WEB, NULL, (struct wall){ NOW });
	struct rows r = { .n = 0 };

	compile_rows(c, peer(c, LAPTOP).class4, take_one, &r);
	ck_assert_uint_eq(r.n, 3);
	ck_assert(r.list[0].lo == 5 && r.list[0].hi == 9 && r.list[0].stale == 28800);
	ck_assert(r.list[1].lo == 10 && r.list[1].hi == 30 && r.list[1].stale == INT64_MAX);
	ck_assert(r.list[2].lo == 31 && r.list[2].hi == 40 && r.list[2].stale == 28800);
	ck_assert_int_eq(compile_class_stale(c, peer(c, LAPTOP).class4), 28800);
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

START_TEST(test_caps)
{
	struct policy *pol = policy_of("{" TAGS "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"tag:web\"], \"app\": {\"b.org/x\": [1], \"a.org/y\": [{\"k\": \"v\"}]}}, "
	                               "{\"src\": [\"group:g\"], \"dst\": [\"*\"], \"ip\": [\"22\"], \"app\": {\"b.org/x\": [2, 3]}}, "
	                               "{\"src\": [\"*\"], \"dst\": [\"tag:gw\"], \"app\": {\"c.org/z\": [9]}}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct compile *c = compile_new(pol, NULL, t, WEB, NULL, (struct wall){ NOW });
	struct buf b = { 0 };
	struct tables *tab = flat(c, &b);
	struct span got = tables_caps(tab, peer(c, LAPTOP).class4);

	ck_assert_msg(span_eq(got, SPAN("{\"a.org/y\":[{\"k\":\"v\"}],\"b.org/x\":[1,2,3]}")), "%.*s", SPAN_ARG(got));
	ck_assert(span_eq(tables_caps(tab, peer(c, DESK).class4), SPAN("{\"a.org/y\":[{\"k\":\"v\"}],\"b.org/x\":[1]}")));
	ck_assert(span_eq(tables_caps(tab, CLASS_NONE), SPAN("{}")));
	ck_assert(!packet(c, DESK, 22));
	buf_done(&b);
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

/* Whatever becomes of the bytes, the block is refused or the readers stay inside it. */
START_TEST(test_broken_tables)
{
	struct policy *pol = policy_of("{" TAGS "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"auth\": {\"amr\": [\"pwd\"]}, \"http\": [{\"paths\": "
	                               "[\"/a\", \"/b/**\", \"/c/*/d\"], \"methods\": [\"GET\"], \"hosts\": [\"wiki\"]}]}, {\"src\": [\"group:g\"], \"dst\": [\"*\"], \"ip\": [\"*\"]},"
	                               "{\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/1\", \"/2\"]}]}, {\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/3\"]}]},"
	                               "{\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/4\"]}]}, {\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/5\"]}]},"
	                               "{\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/6\"]}]}, {\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/7\"]}]},"
	                               "{\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/8\"]}]}, {\"src\": [\"*\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/9\"]}]}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct compile *c = compile_new(pol, NULL, t, WEB, NULL, (struct wall){ NOW });
	struct tables_session ses = { { NOW }, { INT64_MAX } };
	struct buf b = { 0 };
	uint32_t seed = 1, class = peer(c, LAPTOP).class4, kept = 0, refused = 0;
	struct ip to;

	flat(c, &b);
	ck_assert(ip_parse(SPAN("100.64.0.3"), &to));
	for (int i = 0; i < 30000; i++) {
		size_t n = b.len, at;
		char *copy;
		struct reason why;
		struct tables_rule r;

		seed = seed * 1664525 + 1013904223;
		if (i % 10 == 0)
			n = (seed >> 8) % (b.len + 1);
		copy = aligned_alloc(16, (n + 31) / 16 * 16);   /* no byte to spare but for its alignment */
		memset(copy, 0x5a, (n + 31) / 16 * 16);
		memcpy(copy, b.ptr, n);
		for (int k = 0; n && k <= i % 3; k++) {
			seed = seed * 1664525 + 1013904223;
			at = (seed >> 8) % n;
			if (i & 8)
				at &= ~(size_t)3;
			copy[at] = (char)(i & 4 ? seed >> 3 : 0xff);
		}
		if (tables_check(copy, n, NULL)) {
			kept++;
			for (uint32_t cl = 0; cl < class + 3; cl++) {
				struct tables_request req = { SPAN("GET"), SPAN("wiki"), SPAN("/b/c/d"), IP_V4, 80 };

				tables_http((struct tables *)copy, cl, 1 + cl % 2, &req, &ses, (struct wall){ NOW }, 5, &why);
				if (tables_rule((struct tables *)copy, why.rule, &r))
					ck_assert(r.text.len == 0 || r.text.ptr[r.text.len - 1] | 1);
				tables_packet((struct tables *)copy, cl, &to, 6, 80, 5, &why);
				ck_assert(tables_caps((struct tables *)copy, cl).len < n);
			}
			tables_service((struct tables *)copy, SPAN("wiki"));
		} else {
			refused++;
		}
		free(copy);
	}
	ck_assert_uint_gt(refused, 3000);
	ck_assert_uint_gt(kept, 300);
	buf_done(&b);
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

struct seen { char text[256]; };

static void take_group(void *arg, struct span g)
{
	struct seen *s = arg;

	strncat(s->text, " ", sizeof(s->text) - strlen(s->text) - 1);
	strncat(s->text, g.ptr, sizeof(s->text) - strlen(s->text) - 1);
}

START_TEST(test_prune)
{
	struct policy *pol = policy_of("{" TAGS "\"hosts\": {\"h\": \"10.9.9.9\"}, \"grants\": [{\"src\": [\"group:g\", \"idp:lab\", \"autogroup:admin\"], \"dst\": [\"tag:web\", \"h\"], \"ip\": [\"22\"]}, "
	                               "{\"src\": [\"student@example.edu\"], \"dst\": [\"tag:gw\"], \"ip\": [\"22\"]}]}", POLICY_FILE);
	struct topology *t = mesh();
	struct seen s = { "" };
	struct prune p;

	policy_prune(pol, t, WEB, &p);
	ck_assert_msg(!strstr(p.text.ptr, "student@") && !strstr(p.text.ptr, "10.9.9.9") && !strstr(p.text.ptr, "staff@"), "%s", p.text.ptr);
	ck_assert(p.group_count == 1 && strcmp(p.groups[0], "group:g") == 0);
	ck_assert(p.idp_group_count == 1 && strcmp(p.idp_groups[0], "lab") == 0);
	ck_assert(p.role_count == 1 && strcmp(p.roles[0], "admin") == 0);
	/* idp:lab could be anybody after a login. */
	ck_assert_uint_eq(p.node_count, 2);
	ck_assert(p.nodes[0] == LAPTOP && p.nodes[1] == DESK);
	prune_done(&p);
	policy_user_groups(pol, t, 1, take_group, &s);
	ck_assert_str_eq(s.text, " group:g");
	topology_free(t);
	policy_unref(pol);
}
END_TEST

START_TEST(test_asserts)
{
	static const struct { const char *rule, *test; bool holds; } rows[] = {
		{ "\"dst\": [\"tag:web\"], \"ip\": [\"22\"]", "\"accept\": [\"tag:web:22\"]", true },
		{ "\"dst\": [\"tag:web\"], \"ip\": [\"22\"]", "\"accept\": [\"tag:web:23\"]", false },
		{ "\"dst\": [\"tag:web\"], \"ip\": [\"22\"]", "\"deny\": [\"tag:web:23\", \"tag:gw:22\"]", true },
		{ "\"dst\": [\"tag:web\"], \"ip\": [\"22\"]", "\"deny\": [\"tag:web:22\"]", false },
		{ "\"dst\": [\"tag:web\"], \"ip\": [\"udp:22\"]", "\"proto\": \"tcp\", \"deny\": [\"tag:web:22\"]", true },
		{ "\"dst\": [\"autogroup:self\"], \"ip\": [\"22\"]", "\"accept\": [\"autogroup:self:22\"]", true },
		{ "\"dst\": [\"svc:wiki\"], \"http\": [{\"methods\": [\"GET\"], \"paths\": [\"/a/**\"]}]", "\"path\": \"/a/b\", \"accept\": [\"svc:wiki\"]", true },
		{ "\"dst\": [\"svc:wiki\"], \"http\": [{\"methods\": [\"GET\"], \"paths\": [\"/a/**\"]}]", "\"path\": \"/a/b\", \"method\": \"POST\", \"accept\": [\"svc:wiki\"]", false },
		{ "\"dst\": [\"svc:wiki\"], \"http\": [{\"methods\": [\"GET\"], \"paths\": [\"/a/**\"]}]", "\"path\": \"/c\", \"deny\": [\"svc:wiki:80\"]", true },
		{ "\"dst\": [\"svc:wiki\"], \"auth\": {\"mfa\": true, \"maxAge\": \"4h\"}", "\"path\": \"/\", \"session\": {\"mfa\": true, \"age\": \"3h\"}, \"accept\": [\"svc:wiki\"]", true },
		{ "\"dst\": [\"svc:wiki\"], \"auth\": {\"mfa\": true, \"maxAge\": \"4h\"}", "\"path\": \"/\", \"session\": {\"mfa\": true, \"age\": \"4h\"}, \"accept\": [\"svc:wiki\"]", false },
		{ "\"dst\": [\"svc:wiki\"], \"auth\": {\"mfa\": true, \"maxAge\": \"4h\"}", "\"path\": \"/\", \"session\": {\"age\": \"1h\"}, \"deny\": [\"svc:wiki\"]", true },
		{ "\"dst\": [\"svc:wiki\"], \"stale\": \"8h\"", "\"silent\": \"8h\", \"path\": \"/\", \"accept\": [\"svc:wiki\"]", false },
		{ "\"dst\": [\"svc:wiki\"], \"stale\": \"8h\"", "\"silent\": \"7h\", \"path\": \"/\", \"accept\": [\"svc:wiki\"]", true },
		{ "\"dst\": [\"svc:wiki\"]", "\"headers\": {\"Remote-User\": \"staff@example.edu\"}, \"accept\": [\"svc:wiki\"]", false },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct buf b;
		struct policy *pol;
		struct topology *t = mesh();
		struct diags d;

		buf_init(&b, 1 << 16);
		buf_addf(&b, "{" TAGS "\"grants\": [{\"src\": [\"staff@example.edu\"], %s}], \"tests\": [{\"src\": \"staff@example.edu\", %s}]}",
		         rows[i].rule, rows[i].test);
		pol = policy_of(b.ptr, POLICY_FILE);
		diags_init(&d, "t");
		ck_assert_msg(policy_run_tests(pol, t, (struct wall){ NOW }, NULL, NULL, &d) == rows[i].holds, "%s\n%s", b.ptr,
		              d.count ? d.list[0].msg : "");
		ck_assert_uint_eq(d.errors == 0, rows[i].holds);
		diags_done(&d);
		buf_done(&b);
		topology_free(t);
		policy_unref(pol);
	}
}
END_TEST

static void put_source(struct topology *t, uint64_t id, const char *one, const char *two)
{
	struct prefix p[2];
	struct topology_node n = { .id = id, .user = id - 10, .session = { .expires = TOPOLOGY_NEVER }, .sources = p, .source_count = 1 };

	ck_assert(prefix_parse(span_str(one), &p[0]));
	if (two) {
		ck_assert(prefix_parse(span_str(two), &p[1]));
		n.source_count = 2;
	}
	ck_assert(topology_node_put(t, &n));
}

/* Without a mesh: who somebody is follows from where the connection comes from. */
START_TEST(test_standalone)
{
	struct policy *pol = policy_of("{\"grants\": [{\"src\": [\"staff@example.edu\"], \"dst\": [\"svc:wiki\"], \"http\": [{\"paths\": [\"/a\"]}]}, "
	                               "{\"src\": [\"10.0.0.0/24\"], \"dst\": [\"*\"], \"ip\": [\"8080\"], \"http\": [{\"paths\": [\"/b\"]}]}]}", POLICY_OWNER);
	struct topology *t = topology_new();
	static const uint16_t ports[] = { 8080 };
	static const struct { uint64_t who; const char *path; bool want; } rows[] = {
		{ 11, "/a", true }, { 11, "/b", true }, { 11, "/c", false }, { 12, "/a", false }, { 12, "/b", true },
		{ 13, "/b", false }, { 14, "/b", true },
	};
	struct compile *c;
	struct buf b = { 0 };
	struct tables *tab;

	put_user(t, 1, "staff@example.edu");
	put_user(t, 2, "student@example.edu");
	put_user(t, 3, "admin@example.edu");
	put_user(t, 4, "other@example.edu");
	ck_assert(topology_node_put(t, &(struct topology_node){ .id = 1, .name = SPAN("here") }));
	put_source(t, 11, "10.0.0.7/32", NULL);
	put_source(t, 12, "10.0.0.128/25", NULL);
	/* Not all of where this one may come from is in the rule's prefix. */
	put_source(t, 13, "10.0.0.9/32", "10.0.1.0/24");
	put_source(t, 14, "10.0.0.10/32", "10.0.0.12/30");
	ck_assert(topology_service_put(t, &(struct topology_service){ .name = SPAN("wiki"), .node = 1, .ports = ports, .port_count = 1, .http = true }));
	c = compile_new(pol, NULL, t, 1, NULL, (struct wall){ NOW });
	tab = flat(c, &b);
	for (size_t i = 0; i < array_size(rows); i++) {
		struct tables_request req = { SPAN("GET"), SPAN("wiki"), span_str(rows[i].path), IP_V4, 8080 };
		struct reason why;
		bool got = tables_http(tab, peer(c, rows[i].who).class4, 1, &req, &(struct tables_session){ { 0 }, TOPOLOGY_NEVER },
		                       (struct wall){ NOW }, SILENT_NEVER, &why) == VERDICT_ALLOW;

		ck_assert_msg(got == rows[i].want, "%d %s: %s", (int)rows[i].who, rows[i].path, reason_name(why.code));
	}
	buf_done(&b);
	compile_free(c);
	topology_free(t);
	policy_unref(pol);
}
END_TEST

static void take_attr(void *arg, struct span attr)
{
	take_group(arg, attr);
}

START_TEST(test_approvals)
{
	struct policy *pol = policy_of("{\"groups\": {\"group:g\": [\"staff@example.edu\"]}, \"tagOwners\": {\"tag:gw\": [\"tag:a\"], \"tag:a\": [\"tag:gw\", \"tag:b\"], "
	                               "\"tag:b\": [\"group:g\"], \"tag:web\": [\"autogroup:admin\"]}, "
	                               "\"autoApprovers\": {\"routes\": {\"10.0.0.0/8\": [\"tag:gw\"], \"10.2.0.0/16\": [\"staff@example.edu\"]}, \"exitNode\": [\"group:g\"]}, "
	                               "\"nodeAttrs\": [{\"target\": [\"tag:gw\"], \"attr\": [\"x\"]}, {\"target\": [\"autogroup:member\"], \"attr\": [\"y\", \"z\"]}]}", POLICY_FILE);
	static const struct { uint64_t node; const char *route; bool want; } rows[] = {
		{ GW, "10.1.0.0/16", true },  { GW, "10.0.0.0/8", true },   { GW, "10.0.0.0/7", false }, { GW, "192.168.0.0/24", false },
		{ GW, "0.0.0.0/0", false },   { LAPTOP, "0.0.0.0/0", true }, { LAPTOP, "::/0", true },   { DESK, "::/0", false },
		{ LAPTOP, "10.2.3.0/24", true }, { LAPTOP, "10.3.0.0/24", false }, { DESK, "10.2.3.0/24", false }, { 99, "10.2.3.0/24", false },
	};
	struct topology *t = mesh();
	struct seen s = { "" };

	for (size_t i = 0; i < array_size(rows); i++) {
		struct prefix p;

		ck_assert(prefix_parse(span_str(rows[i].route), &p));
		ck_assert_msg(policy_approves_route(pol, t, rows[i].node, &p) == rows[i].want, "%d %s", (int)rows[i].node, rows[i].route);
	}
	/* Through tags that own tags, in circles too. */
	ck_assert(!policy_owns_tag(pol, t, 2, SPAN("tag:gw")));
	ck_assert(policy_owns_tag(pol, t, 1, SPAN("tag:gw")));
	ck_assert(policy_owns_tag(pol, t, 1, SPAN("tag:b")));
	ck_assert(!policy_owns_tag(pol, t, 1, SPAN("tag:web")));
	ck_assert(!policy_owns_tag(pol, t, 1, SPAN("tag:none")));
	ck_assert(!policy_owns_tag(pol, t, 9, SPAN("tag:b")));
	policy_node_attrs(pol, t, GW, take_attr, &s);
	ck_assert_str_eq(s.text, " x");
	s.text[0] = '\0';
	policy_node_attrs(pol, t, DESK, take_attr, &s);
	ck_assert_str_eq(s.text, " y z");
	topology_free(t);
	policy_unref(pol);
}
END_TEST

UNIT_MAIN("policy compile", test_standalone, test_approvals, test_deadlines, test_login_class, test_step_up, test_class_ids, test_replies, test_rows, test_caps,
          test_broken_tables, test_prune, test_asserts)
