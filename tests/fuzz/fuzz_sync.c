/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Any bytes as what a directory says in the terms of RFC 4533. The first byte chooses: an entry's Sync
 * State, a Sync Info message. */
#include "daemon/directory/sync.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sync_state state = { .state = -7 };
	struct sync_info  info = { .refreshed = true };

	if (size < 1 || size > 64 << 10)
		return 0;
	/* A copy to its byte, so that a read behind it is seen. */
	char *copy = malloc(size > 1 ? size - 1 : 1);
	must(copy != NULL);
	memcpy(copy, data + 1, size - 1);
	struct berval value = { .bv_len = size - 1, .bv_val = copy };

	if (data[0] == 's') {
		LDAPControl  control = { .ldctl_oid = (char *)LDAP_CONTROL_SYNC_STATE, .ldctl_value = value };
		LDAPControl *controls[] = { &control, NULL };

		if (sync_state_read(controls, &state))
			must(state.state >= LDAP_SYNC_PRESENT && state.state <= LDAP_SYNC_DELETE);
		else
			must(state.state == -7);
	} else if (sync_info_read(&value, &info)) {
		size_t n = 0;

		for (; info.uuids && info.uuids[n].bv_val; n++)
			must(info.uuids[n].bv_len == SYNC_UUID);
		/* Each has its bytes in the message. */
		must(n * SYNC_UUID <= value.bv_len);
		ber_bvarray_free(info.uuids);
	} else {
		must(info.refreshed && !info.uuids);
	}
	free(copy);
	return 0;
}
