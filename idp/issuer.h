/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_ISSUER_H
#define IDP_ISSUER_H

/*
 * What is known of one provider at the moment: its description and its keys,
 * fetched when somebody needs them, kept for as long as the rows allow, and
 * asked for by one exchange however many wait.
 */

#include "idp/discovery.h"
#include "idp/fetch.h"
#include "idp/jwks.h"
#include "idp/provider.h"

enum {
	CA_MAX = 1 << 20,               /* a file of certificates; the system's has 220 KiB */
	DISCOVERY_MAX_AGE = 24 * 3600,  /* seconds; an older one is used while a new one cannot be had */
};

struct issuer;
struct issuer_wait;

struct issuer *issuer_new(struct loop *l, struct fetcher *f, const struct provider *p,
                          const char *name, struct err *err);
void issuer_free(struct issuer *is);            /* nobody may wait any more */
const struct provider *issuer_provider(const struct issuer *is);
const char *issuer_name(const struct issuer *is);
const struct discovery *issuer_discovery(const struct issuer *is);      /* NULL: not yet */
struct jwks *issuer_keys(const struct issuer *is);                      /* borrowed; NULL: not yet */

/* Calls fn, never from inside, once the description is there and, with keys, keys
 * that are young enough. kid (may be empty; copied): and that hold a key of this
 * name, for which they are fetched again at most once in IDP_REFETCH_SECONDS.
 * err is NULL if all that holds. */
typedef void issuer_fn(void *arg, const struct err *err);
struct issuer_wait *issuer_want(struct issuer *is, bool keys, struct span kid, issuer_fn *fn, void *arg);
void issuer_cancel(struct issuer_wait *w);      /* accepts NULL */

struct idp_status;
void issuer_status(const struct issuer *is, struct idp_status *ret_s);

#endif
