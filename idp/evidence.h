/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_EVIDENCE_H
#define IDP_EVIDENCE_H

/*
 * Evidence ties a person to a device key by the provider's own signature:
 *
 *   nonce = base64url(SHA-256("reeve binding v1" || device public key || opening))
 *
 * The node draws the opening, asks the provider for that nonce, and whoever
 * is shown ID token and opening can check the tie alone. The audience must be
 * the provider's device client: a token that was made for the coordinator's
 * portal is none.
 */

#include "idp/claims.h"

enum {
	DEVICE_KEY_SIZE = 32,
	OPENING_SIZE = 32,
	BINDING_NONCE_SIZE = 44,        /* 43 characters and a NUL */
};

void binding_nonce(const unsigned char key[DEVICE_KEY_SIZE],
                   const unsigned char opening[OPENING_SIZE],
                   char ret_nonce[BINDING_NONCE_SIZE]);

/*
 * max_age: seconds since auth_time that the caller accepts at most; < 0: any.
 * A token's exp says until when a login may be begun with it, not how long it
 * proves something: so evidence older than exp is good while auth_time is fresh
 * enough, if old_exp_ok says that it was checked before exp once (verified
 * results survive; a first check after exp is refused).
 * In ret_who, only what the token itself said; TOKEN_CLAIM if p has no device client.
 */
enum token_reason evidence_check(struct span id_token, struct span opening,
                                 const unsigned char key[DEVICE_KEY_SIZE],
                                 const struct jwks *keys, const struct provider *p,
                                 int64_t max_age, bool old_exp_ok, struct wall now,
                                 struct identity *ret_who, struct err *err);

#endif
