/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_DISCOVERY_H
#define IDP_DISCOVERY_H

/*
 * A provider's own description (OpenID Connect Discovery 1.0 section 3). Pure.
 * Its issuer must be the configured one to the byte (4.3), its endpoints https.
 */

#include "base/err.h"
#include "base/span.h"

enum { ENDPOINT_URL_MAX = 2048 };

struct discovery {
	char *authorization, *token, *jwks;             /* never NULL */
	char *userinfo, *end_session, *pushed;          /* NULL: not offered */
	bool  iss_parameter;                            /* RFC 9207: the callback carries iss */
};

bool discovery_parse(struct span json, const char *issuer, struct discovery *ret_d, struct err *err);
void discovery_done(struct discovery *d);

/* Where the description is: ISSUER/.well-known/openid-configuration (4.1). The caller frees. */
char *discovery_url(const char *issuer);

#endif
