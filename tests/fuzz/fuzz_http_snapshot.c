/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A block that opens leads nowhere outside. */
#include "base/mem.h"
#include "daemon/proxy/snapshot.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t words[64];
	char *copy = mem_dup(data, size);
	struct snapshot *s = snapshot_open_mem(copy, size, words, 64, NULL);
	struct snapshot_words w;
	struct ip ip = { .family = IP_V4, .b = { 10, 0, 0, 1 } };

	if (s) {
		snapshot_find_addr(s, &ip);
		snapshot_words(s, &w);
		for (uint32_t i = 0; i < snapshot_ident_count(s); i++) {
			const struct snap_ident *d = snapshot_ident(s, i);

			snapshot_valid(s, i, (struct boot){ 1 });
			for (uint32_t k = 0; k < d->groups.count; k++)
				must(snapshot_item(s, d->groups, k).ptr);
		}
		for (uint32_t i = 0; i < snapshot_service_count(s); i++) {
			const struct snap_service *v = snapshot_service(s, i);

			for (uint32_t k = 0; k < v->headers.count; k++)
				snapshot_text(s, snapshot_header(s, v->headers, k)->name);
		}
		snapshot_unref(s);
	}
	free(copy);
	return 0;
}
