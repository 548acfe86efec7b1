/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_BEARER_H
#define COORDINATOR_BEARER_H

/*
 * Who shows a bearer token (RFC 6750): a provisioning token that was made here
 * (`reeve key create --scim`), or an access token of an issuer that the
 * configuration's "bearers" name. What neither allows is refused.
 */

#include "daemon/coordinator/coordinator.h"
#include "daemon/coordinator/permit.h"

/* Once r->bearer and r->permits are set and hold everything of need. */
typedef void bearer_go_fn(struct coordinator *co, struct request *r);

/* Calls go, now or later, or answers r: 401, 403, 429. */
void bearer_ask(struct coordinator *co, struct request *r, uint32_t need, bearer_go_fn *go);

/* A new provisioning token's text; the caller wipes it. */
void bearer_key_text(uint64_t id, struct span secret, struct buf *out);

#endif
