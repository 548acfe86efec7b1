/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_TOKEN_H
#define IDP_TOKEN_H

/*
 * Checking a compact JWS against keys and expectations: pure, "now" is an
 * argument. Every check has a reason of its own, so that tests and
 * administrators see which one refused. OpenID Connect Core 1.0 section
 * 3.1.3.7, RFC 7515, RFC 8725; logout tokens: OpenID Connect Back-Channel
 * Logout 1.0 section 2.6.
 */

#include "base/clock.h"
#include "base/err.h"
#include "idp/jwks.h"

#include <jansson.h>

enum {
	TOKEN_MAX = 16 << 10,           /* ten times the largest ID token of our providers */
	TOKEN_HEADER_MAX = 2 << 10,
	LOGOUT_LIFE_SEC = 120,          /* of a logout token that does not say */
};

enum token_reason {
	TOKEN_UNCHECKED = 0,            /* zero denies */
	TOKEN_OK,
	TOKEN_SIZE,             /* empty, or larger than TOKEN_MAX */
	TOKEN_FORM,             /* not three parts, or a part that is empty */
	TOKEN_BASE64,           /* not strict base64url */
	TOKEN_JSON,             /* header or payload is no JSON object, or has a member twice */
	TOKEN_ALG,              /* missing, "none", HMAC, unknown, or not allowed for this provider */
	TOKEN_CRIT,             /* "crit", or "b64": we understand no extension */
	TOKEN_TYP,              /* a type that is not this kind of token */
	TOKEN_KID,              /* no key of that name: fetch keys once more */
	TOKEN_KEY,              /* the key is of another type or for another algorithm */
	TOKEN_SIGNATURE,
	TOKEN_ISS,
	TOKEN_SUB,              /* missing, empty, too long or not text */
	TOKEN_AUD,
	TOKEN_AZP,
	TOKEN_EXP,              /* missing, or passed */
	TOKEN_IAT,              /* missing, in the future, or older than allowed */
	TOKEN_NBF,
	TOKEN_NONCE,            /* missing, other, or present where there must be none */
	TOKEN_AUTH_TIME,        /* missing where asked for, in the future, or too long ago */
	TOKEN_ACR,              /* the step-up that was asked for is not shown */
	TOKEN_MFA,              /* nothing in the token counts as multi-factor */
	TOKEN_AT_HASH,
	TOKEN_CLAIM,            /* a claim of the wrong type, or over its limit */
	TOKEN_LOGIN,            /* no login name, not verified, or outside the issuer's domains */
	TOKEN_EVENT,            /* logout token: the event is missing, or a nonce is there */
	TOKEN_REASONS
};

const char *token_reason_name(enum token_reason why);   /* "at_hash", "kid", ...: stable, for logs and JSON */

struct token_want {
	const char *issuer;
	const char *client_id;          /* the audience */
	uint32_t    algs;               /* jws_alg bits */
	struct span nonce;              /* ptr NULL: the token must have none */
	bool        nonce_any;          /* refresh and logout: not looked at */
	struct span access_token;       /* at_hash is checked against it; ptr NULL: not */
	int64_t     leeway;             /* seconds */
	int64_t     max_age;            /* auth_time is wanted, at most so many seconds ago; < 0: not */
	int64_t     max_issued;         /* iat at most so many seconds ago; < 0: not */
	const char *acr;                /* blank-separated; one of these must be shown; NULL: not wanted */
	bool        exp_any;            /* evidence that was checked before: exp may have passed */
};

/* Is acr one of the blank-separated values? */
bool acr_among(const char *acr, const char *values);

/* On TOKEN_OK *ret_claims is the payload, which the caller decrefs; for every
 * other reason nothing is set but err. */
enum token_reason token_check(struct span token, const struct jwks *keys,
                              const struct token_want *want, struct wall now,
                              json_t **ret_claims, struct err *err);

/* What a back-channel logout token ends: a subject, one session of theirs, or both. */
struct logout {
	char *sub, *sid;                /* one may be NULL; the caller frees both: logout_done() */
	char *jti;                      /* refuse one that was seen before */
	struct wall expires;            /* until when to remember jti */
};
void logout_done(struct logout *l);
enum token_reason logout_check(struct span token, const struct jwks *keys,
                               const struct token_want *want, struct wall now,
                               struct logout *ret_logout, struct err *err);

#endif
