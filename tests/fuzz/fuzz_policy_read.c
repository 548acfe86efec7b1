/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The reader and the checker: any text is a policy or has faults; and what is a
 * policy compiles, prunes, and what was pruned is a policy again. */
#include "policy/assert.h"
#include "policy/compile.h"
#include "policy/prune.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void put_node(struct topology *t, uint64_t id, const char *name, const char *ip4, const char *ip6, const char *tag)
{
	struct span tags[] = { span_str(tag) };
	struct topology_node n = { .id = id, .name = span_str(name), .session = { .expires = TOPOLOGY_NEVER } };
	struct prefix route;

	must(ip_parse(span_str(ip4), &n.ip4) && ip_parse(span_str(ip6), &n.ip6) && prefix_parse(SPAN("10.0.0.0/8"), &route));
	if (*tag) {
		n.tags = (struct spans){ tags, 1 };
		n.routes = &route;
		n.route_count = 1;
	} else {
		n.user = 1;
	}
	must(topology_node_put(t, &n));
}

static void use(struct policy *pol)
{
	struct topology *t = topology_new();
	static const uint16_t ports[] = { 80 };
	struct policy *owner = pol, *again;
	struct compile *c;
	struct buf flat;
	struct diags d;
	struct prune p;
	struct err err;

	must(topology_user_put(t, &(struct topology_user){ .id = 1, .login = SPAN("a@b"), .email = SPAN("a@b") }));
	put_node(t, 1, "a", "100.64.0.1", "fd00::1", "");
	put_node(t, 2, "b", "100.64.0.2", "fd00::2", "tag:a");
	must(topology_service_put(t, &(struct topology_service){ .name = SPAN("s"), .node = 2, .ports = ports, .port_count = 1, .http = true }));
	c = compile_new(pol, owner, t, 2, NULL, (struct wall){ 1000 });
	buf_init(&flat, TABLES_MAX);
	compile_tables(c, &flat);
	must(flat.len && tables_check(flat.ptr, flat.len, &err));
	buf_done(&flat);
	compile_free(c);
	policy_prune(pol, t, 2, &p);
	diags_init(&d, "pruned");
	again = policy_parse(buf_span(&p.text), POLICY_MAP, &d);
	if (!again)
		fprintf(stderr, "%.*s\n%s\n", (int)p.text.len, p.text.ptr, d.count ? d.list[0].msg : "");
	must(again);
	policy_unref(again);
	diags_done(&d);
	prune_done(&p);
	diags_init(&d, "tests");
	must(policy_run_tests(pol, t, (struct wall){ 1000 }, NULL, NULL, &d) == (d.errors == 0));
	diags_done(&d);
	topology_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum policy_mode modes[] = { POLICY_FILE, POLICY_OWNER, POLICY_MAP };

	if (size > 16 << 10)
		return 0;
	for (size_t i = 0; i < 3; i++) {
		struct diags d;
		struct policy *pol;

		diags_init(&d, "input");
		pol = policy_parse(span_of(data, size), modes[i], &d);
		must(!pol == (d.errors > 0));
		if (pol && size < 4096)
			use(pol);
		policy_unref(pol);
		diags_done(&d);
	}
	return 0;
}
