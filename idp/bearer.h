/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_BEARER_H
#define IDP_BEARER_H

/*
 * An OAuth 2.0 access token that is a JWT (RFC 9068), as automation shows it:
 * the client credentials of a program, not a person's login. Pure, "now" is an argument.
 * What the token may is the caller's to say: here it is only what it says.
 */

#include "idp/token.h"

enum {
	BEARER_SCOPES_MAX = 64,
	BEARER_LIFE_MAX = 24 * 3600,    /* seconds from iat to exp: longer ones are not for this */
};

struct bearer_want {
	const char *issuer, *audience;
	uint32_t    algs;
	int64_t     leeway;
};

struct bearer_token {
	char       *sub;
	char       *client;             /* client_id, azp or appid; "": not said */
	char       *scopes[BEARER_SCOPES_MAX];  /* of scope (RFC 8693), scp, roles */
	size_t      n_scopes;
	struct wall expires;
};
void bearer_token_done(struct bearer_token *t);

enum token_reason bearer_check(struct span token, const struct jwks *keys, const struct bearer_want *want,
                               struct wall now, struct bearer_token *ret, struct err *err);
bool bearer_has_scope(const struct bearer_token *t, const char *scope);

#endif
