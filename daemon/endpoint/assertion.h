/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_ASSERTION_H
#define ENDPOINT_ASSERTION_H

/*
 * The signed word about a caller that an application can check by itself: a
 * JWT (RFC 7519) in compact JWS form (RFC 7515), ES256 (RFC 7518 section 3.4),
 * and the keys that sign it. Core holds these keys, fronts never do. The
 * clock is the caller's. Next: contrib/verify, the other side of this.
 *
 * Keys overlap: a new one stands in the JWKS for ASSERTION_LEAD_SEC before it
 * signs, so that a verifier that caches the set for that long knows it, and an
 * old one stays there until the last assertion that it signed has ended.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

enum {
	ASSERTION_LIFE_MAX_SEC = 300,           /* exp - iat; design section 8 */
	ASSERTION_LIFE_SEC     = 120,           /* what is used: long enough to be cached, short enough to be no session */
	ASSERTION_LEAD_SEC     = 3600,          /* a key is published this long before it signs */
	ASSERTION_TURN_SEC     = 30 * 86400,    /* a key signs for this long */
	ASSERTION_KEYS_MAX     = 4,
	ASSERTION_FILE_MAX     = 16 << 10,
	ASSERTION_MAX          = 32 << 10,      /* of one assertion: larger is refused, never cut */
};

struct assertion_keys;

/* Reads the keys from path (owner-only), or makes the file with a first key
 * that signs at once. */
struct assertion_keys *assertion_keys_open(const char *path, struct wall now, struct err *err);
void assertion_keys_free(struct assertion_keys *k);     /* accepts NULL; wipes */

/* Makes the next key and drops the outlived when it is time, and stores before
 * it uses. To be called once an hour; a failure leaves the keys as they were. */
bool assertion_keys_turn(struct assertion_keys *k, struct wall now, struct err *err);

/* The public keys, RFC 7517: {"keys":[...]}. */
void assertion_jwks(const struct assertion_keys *k, struct buf *out);

struct assertion {
	struct span issuer;             /* this host: "https://wiki.example.edu" or its overlay name */
	struct span audience;           /* the service */
	struct span subject;            /* stable and never reused: "u2" of the mesh's, or a tagged node's "n4" */
	struct span login, name, email; /* empty: left out */
	struct span idp_issuer, idp_subject;    /* who the IdP says it is; empty: left out */
	struct span node;
	const struct span *groups; size_t group_count;
	const struct span *tags;   size_t tag_count;
	const struct span *amr;    size_t amr_count;
	struct span acr;
	struct wall auth_time;          /* 0: left out */
	struct wall ends;               /* of the session: exp is never later; 0 is refused */
	struct span method, path;       /* bound to one request ("htm", "htp"); empty: not bound */
};

/* The compact form, appended to out, and when it ends. ERR_EXPIRED where the
 * session has ended, ERR_LIMIT where it does not fit ASSERTION_MAX. */
bool assertion_sign(const struct assertion_keys *k, const struct assertion *a, struct wall now,
                    struct buf *out, struct wall *ret_exp, struct err *err);

#endif
