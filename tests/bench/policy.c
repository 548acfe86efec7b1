/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the policy engine costs at one endpoint:
 *   tests/bench/policy [IDENTITIES GRANTS [dense]]     all sizes without arguments
 * Identities are people with one device each, in two of GRANTS/10 groups; of
 * 1,000 tagged nodes the endpoint is one. A tenth of the grants names the
 * endpoint's service with paths, a hundredth its ports, the rest other nodes.
 * dense: ten groups, and every grant names that service: hundreds match everybody.
 * Medians; cold: the first of its kind.
 */
#include "base/mem.h"
#include "policy/compile.h"
#include "policy/policy.h"
#include "policy/prune.h"
#include "policy/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NODES = 1000, NOW = 1790000000, SAMPLES = 2001, LOOP = 200 };

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *list, size_t n)
{
	qsort(list, n, sizeof(*list), cmp);
	return list[n / 2];
}

static unsigned rnd_state = 12345;

static unsigned rnd(unsigned n)
{
	rnd_state = rnd_state * 1664525u + 1013904223u;
	return (rnd_state >> 8) % n;
}

static void policy_text(struct buf *b, unsigned identities, unsigned grants, unsigned groups, bool dense)
{
	buf_add_str(b, "{\"tagOwners\":{\"tag:n\":[]");
	for (unsigned i = 0; i < 50; i++)
		buf_addf(b, ",\"tag:t%u\":[]", i);
	buf_add_str(b, "},\n\"groups\":{");
	for (unsigned g = 0; g < groups; g++) {
		buf_addf(b, "%s\"group:g%u\":[", g ? ",\n" : "", g);
		/* Everybody is in group i mod n, and in one further. */
		for (unsigned i = g, k = 0; i < identities; i += groups)
			buf_addf(b, "%s\"u%u@example.edu\"", k++ ? "," : "", i);
		for (unsigned i = (g * 7 + 3) % groups; i < identities; i += groups)
			if (i % groups != g)
				buf_addf(b, "%s\"u%u@example.edu\"", b->ptr[b->len - 1] == '[' ? "" : ",", i);
		buf_add_char(b, ']');
	}
	buf_add_str(b, "},\n\"grants\":[\n");
	for (unsigned i = 0; i < grants; i++) {
		unsigned g = rnd(groups), p = rnd(1000);

		if (dense || i % 10 == 0)
			buf_addf(b, "{\"src\":[\"group:g%u\"],\"dst\":[\"svc:wiki\"],\"http\":[{\"methods\":[\"GET\",\"POST\"],\"paths\":"
			         "[\"/area%u/**\",\"/shared/%u/*/edit\"]}],\"auth\":{\"maxAge\":\"8h\"}}", g, p, p);
		else if (i % 100 == 1)
			buf_addf(b, "{\"src\":[\"group:g%u\"],\"dst\":[\"tag:n\"],\"ip\":[\"tcp:%u\",\"udp:%u-%u\"]}", g, 1000 + p, 3000 + p, 3010 + p);
		else
			buf_addf(b, "{\"src\":[\"group:g%u\"],\"dst\":[\"tag:t%u\"],\"ip\":[\"tcp:%u\"]}", g, rnd(50), 1 + p);
		buf_add_str(b, i + 1 < grants ? ",\n" : "\n");
	}
	buf_add_str(b, "]}");
}

static void put_person(struct topology *t, unsigned i, int64_t auth_time)
{
	char login[64], name[64], ip[64];
	struct topology_user u = { .id = i + 1 };
	struct topology_node n = { .id = NODES + 1 + i, .user = i + 1 };

	snprintf(login, sizeof(login), "u%u@example.edu", i);
	snprintf(name, sizeof(name), "laptop%u", i);
	u.login = u.email = span_str(login);
	n.name = span_str(name);
	snprintf(ip, sizeof(ip), "100.%u.%u.%u", 72 + (i >> 16), (i >> 8) & 255, i & 255);
	if (!ip_parse(span_str(ip), &n.ip4))
		abort();
	snprintf(ip, sizeof(ip), "fd00::1:%x:%x", i >> 16, i & 0xffff);
	if (!ip_parse(span_str(ip), &n.ip6))
		abort();
	n.session = (struct topology_session){ .expires = { NOW + 86400 }, .auth_time = { auth_time } };
	topology_user_put(t, &u);
	topology_node_put(t, &n);
}

static struct topology *topology_of(unsigned identities)
{
	struct topology *t = topology_new();
	static const uint16_t ports[] = { 80, 443 };

	for (unsigned i = 0; i < NODES; i++) {
		char name[32], tag[32], ip[64];
		struct span tags[1];
		struct topology_node n = { .id = i + 1 };

		snprintf(name, sizeof(name), "node%u", i);
		snprintf(tag, sizeof(tag), i ? "tag:t%u" : "tag:n", i % 50);
		tags[0] = span_str(tag);
		n.name = span_str(name);
		n.tags = (struct spans){ tags, 1 };
		snprintf(ip, sizeof(ip), "100.64.%u.%u", i >> 8, i & 255);
		if (!ip_parse(span_str(ip), &n.ip4))
			abort();
		snprintf(ip, sizeof(ip), "fd00::%x", i + 1);
		if (!ip_parse(span_str(ip), &n.ip6))
			abort();
		topology_node_put(t, &n);
	}
	topology_service_put(t, &(struct topology_service){ .name = SPAN("wiki"), .node = 1, .ports = ports, .port_count = 2, .http = true });
	for (unsigned i = 0; i < identities; i++)
		put_person(t, i, NOW - 60);
	return t;
}

static void decisions(const struct compile *c, const struct topology *topo, const struct tables *t, unsigned identities)
{
	static double packet[SAMPLES], http[SAMPLES], deny[SAMPLES];
	uint32_t svc = tables_service(t, SPAN("wiki"));
	struct tables_session ses = { { NOW - 60 }, { NOW + 86400 } };
	double cold_packet = 0, cold_http = 0;
	unsigned allowed_packet = 0, allowed_http = 0;

	for (size_t i = 0; i < SAMPLES; i++) {
		unsigned who = rnd(identities);
		struct compile_peer p = { 0 };
		struct reason why = { 0 };
		struct tables_rule r;
		struct ip to = topology_node(topo, 1)->ip4;
		struct tables_request req = { SPAN("GET"), SPAN("wiki"), SPAN("/"), IP_V4, 80 };
		char path[64], other[64];
		double a;
		uint16_t port;

		compile_peer(c, NODES + 1 + who, &p);
		port = (uint16_t)(1000 + rnd(1000));
		if (rnd(2))
			port = 80;
		a = now_us();
		for (unsigned k = 0; k < LOOP; k++) {
			allowed_packet += tables_packet(t, p.class4, &to, 6, port, 10, &why) == VERDICT_ALLOW;
			if (i == 0 && k == 0)
				cold_packet = now_us() - a;
		}
		packet[i] = (now_us() - a) * 1000 / LOOP;
		/* A path that one of its rules names, where it has one. */
		tables_http(t, p.class4, svc, &req, &ses, (struct wall){ NOW }, 10, &why);
		snprintf(path, sizeof(path), "/area%u/reports/2026/list", rnd(1000));
		for (unsigned g = 0; g < 1000; g++) {
			snprintf(path, sizeof(path), "/area%u/reports/2026/list", (who + g) % 1000);
			req.path = span_str(path);
			if (tables_http(t, p.class4, svc, &req, &ses, (struct wall){ NOW }, 10, &why) == VERDICT_ALLOW)
				break;
		}
		(void)tables_rule(t, why.rule, &r);
		a = now_us();
		for (unsigned k = 0; k < LOOP; k++) {
			allowed_http += tables_http(t, p.class4, svc, &req, &ses, (struct wall){ NOW }, 10, &why) == VERDICT_ALLOW;
			if (i == 0 && k == 0)
				cold_http = now_us() - a;
		}
		http[i] = (now_us() - a) * 1000 / LOOP;
		snprintf(other, sizeof(other), "/nowhere%u/reports/2026/list", rnd(1000));
		req.path = span_str(other);
		a = now_us();
		for (unsigned k = 0; k < LOOP; k++)
			tables_http(t, p.class4, svc, &req, &ses, (struct wall){ NOW }, 10, &why);
		deny[i] = (now_us() - a) * 1000 / LOOP;
	}
	printf("  packet decision   %7.0f ns   (cold %.0f ns; %u%% allowed)\n", median(packet, SAMPLES), cold_packet * 1000,
	       (unsigned)((uint64_t)allowed_packet * 100 / SAMPLES / LOOP));
	printf("  HTTP decision     %7.0f ns   (cold %.0f ns; %u%% allowed; denied by path %.0f ns)\n", median(http, SAMPLES),
	       cold_http * 1000, (unsigned)((uint64_t)allowed_http * 100 / SAMPLES / LOOP), median(deny, SAMPLES));
}

/* The same text with one thing changed; parsing is not counted, it was above. */
static double change_us(struct compile *c, struct policy *pol, const struct buf *text, const char *from, const char *to)
{
	const char *at = strstr(text->ptr, from);
	struct policy *next;
	struct buf b;
	struct diags d;
	double a = 0;

	if (!at)
		return 0;
	buf_init(&b, POLICY_TEXT_MAX);
	buf_add(&b, text->ptr, (size_t)(at - text->ptr));
	buf_add_str(&b, to);
	buf_add_str(&b, at + strlen(from));
	diags_init(&d, "bench");
	next = policy_parse(buf_span(&b), POLICY_FILE, &d);
	if (next) {
		a = now_us();
		compile_policy(c, next, NULL, (struct wall){ NOW });
		a = now_us() - a;
		compile_policy(c, pol, NULL, (struct wall){ NOW });
	}
	policy_unref(next);
	diags_done(&d);
	buf_done(&b);
	return a;
}

static void other_policies(struct compile *c, struct policy *pol, const struct buf *text)
{
	double grant = change_us(c, pol, text, "\"grants\":[\n",
	                         "\"grants\":[\n{\"src\":[\"u7@example.edu\"],\"dst\":[\"tag:n\"],\"ip\":[\"22\"]},\n");
	double member = change_us(c, pol, text, "\"group:g1\":[", "\"group:g1\":[\"u8@example.edu\",");

	printf("  one grant         %7.1f ms   one group's member %.1f ms\n", grant / 1000, member / 1000);
}

static size_t classes;

static void count_class(void *arg, uint32_t class)
{
	(void)arg;
	(void)class;
	classes++;
}

static void one_size(unsigned identities, unsigned grants, bool dense)
{
	static double change[SAMPLES];
	unsigned groups = dense || grants / 10 < 10 ? 10 : grants / 10;
	struct buf text, flat;
	struct topology *topo = topology_of(identities);
	struct policy *pol;
	struct compile *c;
	struct diags d;
	double a, cold = 0;

	buf_init(&text, POLICY_TEXT_MAX);
	policy_text(&text, identities, grants, groups, dense);
	printf("%s%u identities, %u grants, %u groups, %d nodes, %zu bytes of policy\n", dense ? "dense: " : "", identities, grants, groups, NODES, text.len);
	diags_init(&d, "bench");
	a = now_us();
	pol = policy_parse(buf_span(&text), POLICY_FILE, &d);
	printf("  parse and check   %7.1f ms\n", (now_us() - a) / 1000);
	if (!pol) {
		printf("  %s\n", d.count ? d.list[0].msg : "?");
		return;
	}
	a = now_us();
	c = compile_new(pol, NULL, topo, 1, NULL, (struct wall){ NOW });
	printf("  full compile      %7.1f ms\n", (now_us() - a) / 1000);
	for (size_t i = 0; i < SAMPLES; i++) {
		unsigned who = rnd(identities);

		/* A login that changes its strength of standing: its class may change. */
		put_person(topo, who, i % 2 ? NOW - 60 : NOW - 9 * 3600);
		a = now_us();
		compile_node(c, NODES + 1 + who, (struct wall){ NOW });
		change[i] = now_us() - a;
		if (i == 0)
			cold = change[0];
		put_person(topo, who, NOW - 60);
		compile_node(c, NODES + 1 + who, (struct wall){ NOW });
	}
	printf("  one identity      %7.1f us   (cold %.1f us)\n", median(change, SAMPLES), cold);
	other_policies(c, pol, &text);
	{
		struct prune p;

		a = now_us();
		policy_prune(pol, topo, 1, &p);
		printf("  prune             %7.1f ms  (%zu of %zu nodes, %zu bytes of policy)\n", (now_us() - a) / 1000, p.node_count,
		       topology_node_count(topo), p.text.len);
		prune_done(&p);
	}
	buf_init(&flat, TABLES_MAX);
	a = now_us();
	compile_tables(c, &flat);
	classes = 0;
	compile_classes(c, count_class, NULL);
	printf("  tables            %7zu KiB  (%zu classes; written in %.1f ms", flat.len >> 10, classes, (now_us() - a) / 1000);
	a = now_us();
	if (!tables_check(flat.ptr, flat.len, NULL))
		printf(", REFUSED)\n");
	else
		printf(", checked in %.1f ms)\n", (now_us() - a) / 1000);
	decisions(c, topo, tables_map(flat.ptr), identities);
	fflush(stdout);
	buf_done(&flat);
	compile_free(c);
	topology_free(topo);
	policy_unref(pol);
	diags_done(&d);
	buf_done(&text);
}

int main(int argc, char **argv)
{
	static const unsigned identities[] = { 100, 10000, 100000 }, grants[] = { 100, 1000, 10000 };

	if (argc == 3 || argc == 4) {
		one_size((unsigned)strtoul(argv[1], NULL, 10), (unsigned)strtoul(argv[2], NULL, 10), argc == 4);
		return 0;
	}
	for (size_t i = 0; i < array_size(identities); i++)
		for (size_t g = 0; g < array_size(grants); g++)
			one_size(identities[i], grants[g], false);
	one_size(10000, 10000, true);
	return 0;
}
