/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_PERMIT_H
#define COORDINATOR_PERMIT_H

/*
 * What a program's token may, as bits: each kind of thing of the
 * administration API to read and to write, and SCIM. No bit, no permission.
 */

#include "base/span.h"

enum permit_kind {
	PERMIT_NODES, PERMIT_USERS, PERMIT_GROUPS, PERMIT_SESSIONS, PERMIT_KEYS, PERMIT_POLICY, PERMIT_AUDIT,
	PERMIT_STATUS,                  /* status, metrics, topology */
	PERMIT_KINDS
};

#define PERMIT_READ(kind)  (UINT32_C(1) << (2 * (kind)))
#define PERMIT_WRITE(kind) (UINT32_C(3) << (2 * (kind)))        /* and read */
#define PERMIT_SCIM        (UINT32_C(1) << 31)

/* "nodes:read", "policy:write", "scim"; 0: there is no such permission. */
uint32_t permit_of(struct span name);
/* Of a path's first part: "nodes"; 0: nobody may. */
uint32_t permit_needed(struct span kind, bool write);

#endif
