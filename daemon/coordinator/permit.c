/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/permit.h"

static const char *const kinds[PERMIT_KINDS] = {
	[PERMIT_NODES] = "nodes",       [PERMIT_USERS] = "users", [PERMIT_GROUPS] = "groups",
	[PERMIT_SESSIONS] = "sessions", [PERMIT_KEYS] = "keys",   [PERMIT_POLICY] = "policy",
	[PERMIT_AUDIT] = "audit",       [PERMIT_STATUS] = "status",
};

uint32_t permit_of(struct span name)
{
	struct span rest = name, kind;

	if (span_eq(name, SPAN("scim")))
		return PERMIT_SCIM;
	if (!span_next(&rest, ':', &kind))
		return 0;
	for (unsigned i = 0; i < PERMIT_KINDS; i++) {
		if (!span_eq(kind, span_str(kinds[i])))
			continue;
		return span_eq(rest, SPAN("read"))    ? PERMIT_READ(i)
		       : span_eq(rest, SPAN("write")) ? PERMIT_WRITE(i)
						      : 0;
	}
	return 0;
}

uint32_t permit_needed(struct span kind, bool write)
{
	if (span_eq(kind, SPAN("metrics")) || span_eq(kind, SPAN("topology")))
		kind = span_str(kinds[PERMIT_STATUS]);
	for (unsigned i = 0; i < PERMIT_KINDS; i++)
		if (span_eq(kind, span_str(kinds[i])))
			return write ? PERMIT_WRITE(i) : PERMIT_READ(i);
	return 0;
}
