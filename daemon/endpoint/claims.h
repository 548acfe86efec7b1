/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_CLAIMS_H
#define ENDPOINT_CLAIMS_H

/*
 * Which overlay address belongs to which device key, judged by this endpoint
 * itself: an IPv6 address that does not follow from the key is nobody's; an
 * address that two keys claim is nobody's; an IPv4 address that was another
 * key's a short while ago is nobody's until its quarantine is over, unless that
 * key's holder vouched for the one that follows (successors.h).
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/ip.h"

enum {
	CLAIM_KEY_LEN    = 32,
	CLAIMS_MAX       = 400000,      /* remembered addresses: twice the nodes of a map */
	CLAIMS_TEXT_MAX  = 64 << 20,
	CLAIM_RETIRED_MAX = 100000,     /* remembered keys; beyond, the next is not */
	CLAIM_RETIRED_SEC = 400 * 86400,
	CLAIM_QUARANTINE = 600,         /* seconds after the last owner was seen; the coordinator's own is longer */
};

enum claim_verdict {
	CLAIM_REFUSED = 0,      /* not looked at */
	CLAIM_GOOD,
	CLAIM_NONE,             /* it has no such address */
	CLAIM_NO_MATCH,         /* IPv6 does not follow from the key */
	CLAIM_OUTSIDE,          /* not in the mesh's range */
	CLAIM_TWICE,            /* another key claims it too */
	CLAIM_KEY_TWICE,        /* another node has this key */
	CLAIM_QUARANTINED,      /* IPv4: another key's until a moment ago */
	CLAIM_RETIRED,          /* the key's own holder has gone over to another one */
	CLAIM_VERDICTS
};

/* One node's claim; the caller fills the first part. */
struct claim {
	uint64_t      node;
	uint8_t       key[CLAIM_KEY_LEN];
	struct ip     v4, v6;
	struct ip     derived;          /* what v6 must be */
	uint64_t      who;              /* for whom it acts, where that was checked here; else 0 */
	bool          follows;          /* the holder of `before` told this endpoint that key is the next one */
	bool          retires;          /* ... and is done with `before`: that is nobody's from now on */
	uint8_t       before[CLAIM_KEY_LEN];
	bool          listed;           /* the owner's file lists key: nobody's word takes it away */
	enum claim_verdict ret_v4, ret_v6;
};

/* What is remembered of IPv4 addresses, and of keys that were given up by their holders' word: a map from before,
 * replayed or restored, does not bring them back. */
struct claims_memory;
struct claims_memory *claims_memory_new(void);
void claims_memory_free(struct claims_memory *m);       /* accepts NULL */

/* Judges all claims together; n is at most CLAIMS_MAX. Those that hold are remembered. */
void claims_judge(struct claim *list, size_t n, const struct prefix *v4_range, struct claims_memory *m,
                  struct wall now);

void claims_memory_encode(const struct claims_memory *m, struct wall now, struct buf *out);
bool claims_memory_decode(struct span json, struct claims_memory *m, struct err *err);

const char *claim_verdict_text(enum claim_verdict v);   /* for logs and people */

#endif
