/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_CLIENT_H
#define IDP_CLIENT_H

/*
 * How we prove to a provider that we are its client: a secret in a header or
 * in the form (RFC 6749 2.3.1), or a signed assertion (private_key_jwt, Core 1.0 section 9).
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/secret.h"
#include "idp/provider.h"

enum { CLIENT_SECRET_MAX = 4 << 10, ASSERTION_SECONDS = 60 };

struct idp_client;

/* Reads the provider's secret or key file. */
struct idp_client *idp_client_new(const struct provider *p, const char *name, struct err *err);
void idp_client_free(struct idp_client *c);

/* Adds to the form, or to the value of the Authorization header, what the provider's
 * row says; with device, the form carries the public client's id alone. */
bool idp_client_prove(const struct idp_client *c, bool device, const char *audience, struct wall now,
                  struct buf *form, struct buf *authorization, struct err *err);

#endif
