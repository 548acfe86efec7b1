/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_CLAIMS_H
#define IDP_CLAIMS_H

/*
 * From the claims of a checked token to an identity. userinfo (may be NULL)
 * only adds what the token lacks, and only if its sub is the token's; never
 * iss, sub, acr, amr, auth_time or the times.
 *
 * The login is the provider's login claim, ASCII letters lowered, 1..LOGIN_MAX
 * printable bytes without blanks, inside the provider's domains. If the claim
 * is "email", email_verified must be true. MFA is judged by the provider's rows;
 * with require-mfa a login without it is TOKEN_MFA.
 */

#include "idp/identity.h"
#include "idp/provider.h"
#include "idp/token.h"

enum token_reason identity_from_claims(const struct provider *p, const json_t *claims,
                                       const json_t *userinfo, struct identity *ret_who,
                                       struct err *err);

/* What was taken from a token under other rows of this issuer: does it hold under these? Judges
 * domain and MFA anew; who->mfa is set to what they say. */
enum token_reason identity_recheck(const struct provider *p, struct identity *who, struct err *err);

/* The login claim is not among the token's claims, or groups are not: userinfo may have them. */
bool claims_lack(const struct provider *p, const json_t *claims);

#endif
