/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* reeve policy check: every fault with its place, and the file's own tests. */
#include "daemon/cli/policy.h"

#include "daemon/proxy/asserted.h"

#include <stdio.h>
#include <stdlib.h>

int policy_check_main(struct policy_args *a)
{
	const char *path = a->policy ? a->policy : a->rest[0];
	struct diags d = { 0 };
	struct topology *topo = NULL;
	struct policy *pol;
	struct wall now;
	bool ok;

	if (!path || a->rest_count > 1) {
		fputs("reeve policy check: which file?\n", stderr);
		return 2;
	}
	if (!args_now(a, &now))
		return 2;
	pol = policy_load(path, POLICY_FILE, true, &d);
	ok = pol != NULL;
	if (pol && a->topology) {
		struct header_source src = { .pol = pol };

		src.topo = topo = topology_load(a->topology);
		ok = topo && policy_run_tests(pol, topo, now, asserted_headers, &src, &d);
		if (!topo)
			diag_error(&d, (struct place){ 0, 0 }, "the topology %s cannot be read", a->topology);
	}
	{
		scoped_buf struct buf b = { 0 };

		buf_init(&b, POLICY_TEXT_MAX);
		diags_sort(&d);
		if (a->json) {
			buf_addf(&b, "{\"ok\":%s,\"rules\":%zu,\"errors\":%zu,\"warnings\":%zu,\"faults\":", ok ? "true" : "false",
			         pol ? policy_rule_count(pol) : 0, d.errors, d.warnings);
			diags_json(&d, &b);
			buf_add_str(&b, "}\n");
			fwrite(b.ptr, 1, b.len, stdout);
		} else {
			diags_text(&d, &b);
			if (b.len)
				fwrite(b.ptr, 1, b.len, stderr);
			if (ok)
				printf("%s: %zu rules%s\n", path, policy_rule_count(pol), a->topology ? ", its tests hold" : "");
		}
	}
	diags_done(&d);
	topology_free(topo);
	policy_unref(pol);
	return ok ? 0 : 1;
}
