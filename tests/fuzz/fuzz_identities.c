/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/identities.h"

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

/* Any text either says who, each row with a login or tags, or says why not. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct identities ids;
	struct diags d;

	diags_init(&d, "fuzz");
	if (identities_parse(span_of(data, size), &ids, &d)) {
		for (size_t i = 0; i < ids.count; i++) {
			if (!ids.rows[i].login.len == !ids.rows[i].tag_count)
				abort();
			if (!identities_find(&ids, &ids.rows[i].from.ip))
				abort();
		}
		identities_done(&ids);
	} else if (d.errors == 0) {
		abort();
	}
	diags_done(&d);
	return 0;
}
