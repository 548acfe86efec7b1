/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A block of tables from anywhere: refused, or safe to decide from. */
#include "base/mem.h"
#include "policy/tables.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tables_session ses = { { 1000 }, { INT64_MAX } };
	struct tables_request req = { SPAN("GET"), SPAN("wiki"), SPAN("/public/a/b"), IP_V4, 80 };
	struct ip to = { 0 };
	uint64_t *copy = malloc(size + 8);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	must(ip_parse(SPAN("100.64.0.2"), &to));
	if (tables_check(copy, size, NULL)) {
		const struct tables *t = tables_map(copy);

		for (uint32_t class = 0; class < 6; class++) {
			struct tables_rule r;
			struct reason why = { 0 };

			for (uint32_t s = 0; s < 3; s++)
				if (tables_http(t, class, s, &req, &ses, (struct wall){ 2000 }, 10, &why) == VERDICT_ALLOW)
					must(why.code == REASON_ALLOWED && tables_rule(t, why.rule, &r));
			tables_packet(t, class, &to, 6, 80, 10, &why);
			tables_caps(t, class);
		}
		tables_service(t, SPAN("wiki"));
	}
	free(copy);
	return 0;
}
