/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_IDENTITIES_H
#define ENDPOINT_IDENTITIES_H

/*
 * The identities file of standalone mode: who stands behind a source address
 * where something else than Reeve's mesh (another VPN) binds addresses to
 * people. A HuJSON array of objects:
 *
 *   { "from": "10.8.0.7",            // or a prefix; required
 *     "login": "staff@example.edu", "name": "..", "email": "..",
 *     "groups": ["lab"],              // as an IdP would say them: idp:lab
 *     "auth_time": "2026-01-02T03:04:05Z", "expires": .., // RFC 3339, or seconds since 1970
 *     "acr": "..", "amr": ["pwd", "otp"] }
 *   { "from": "10.8.1.0/24", "tags": ["tag:server"] }     // a machine: tags, and no login
 *
 * The narrowest prefix that holds an address counts. It never reads a file.
 */

#include "base/arena.h"
#include "base/clock.h"
#include "base/diag.h"
#include "base/ip.h"

enum {
	IDENTITIES_TEXT_MAX = 8 << 20,
	IDENTITIES_MAX      = 65536,    /* rows */
	IDENTITIES_LIST_MAX = 1024,     /* groups, tags or amr of one row */
	IDENTITIES_WORD_MAX = 1024,     /* bytes of one value */
};

struct identity_row {
	struct prefix from;
	struct span   login, name, email, acr;  /* empty: not said */
	struct span  *groups, *tags, *amr;
	size_t        group_count, tag_count, amr_count;
	struct wall   auth_time;                /* 0: not said */
	struct wall   expires;                  /* 0: never */
	struct place  at;
};

struct identities {
	struct arena         mem;
	struct identity_row *rows;              /* ascending by prefix_cmp() */
	size_t               count;
};

/* All faults in one run. On failure *ret is empty; identities_done() is allowed either way. */
bool identities_parse(struct span text, struct identities *ret_ids, struct diags *diags);
void identities_done(struct identities *ids);

/* The narrowest row; NULL if nobody stands behind ip. */
const struct identity_row *identities_find(const struct identities *ids, const struct ip *ip);

#endif
