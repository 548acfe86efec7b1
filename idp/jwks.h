/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_JWKS_H
#define IDP_JWKS_H

/*
 * A provider's public keys (RFC 7517), immutable and shared. Keys that cannot
 * sign (use "enc", key_ops without "verify"), of an unknown type, with a
 * private or symmetric part, RSA below 2048 bits or with a weak exponent, and
 * Ed25519 of small order are left out; a set in which none is left is an error.
 */

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum {
	JWKS_MAX = 64 << 10,            /* about forty RSA keys with chains */
	JWKS_KEYS_MAX = 64,
	KID_MAX = 255,
	RSA_BITS_MIN = 2048,
	RSA_BITS_MAX = 8192,            /* larger ones only cost time */
};

/* Algorithms as a set of bits. There is no bit for "none", none for HMAC
 * (whose key is nobody's public key). EdDSA is Ed25519 alone (RFC 8037, RFC 9864). */
enum jws_alg {
	JWS_RS256 = 1 << 0, JWS_RS384 = 1 << 1, JWS_RS512 = 1 << 2,
	JWS_PS256 = 1 << 3, JWS_PS384 = 1 << 4, JWS_PS512 = 1 << 5,
	JWS_ES256 = 1 << 6, JWS_ES384 = 1 << 7, JWS_ES512 = 1 << 8,
	JWS_EDDSA = 1 << 9,
	JWS_ALL = (1 << 10) - 1,
};

uint32_t jws_alg_of(struct span name);          /* 0: not one of ours */
const char *jws_alg_name(uint32_t alg);         /* NULL: not one of ours */

struct jwks;

struct jwks *jwks_parse(struct span json, struct err *err);     /* NULL on failure */
struct jwks *jwks_ref(struct jwks *keys);
void jwks_unref(struct jwks *keys);
size_t jwks_count(const struct jwks *keys);

/* Whether a key of that name is here. */
bool jwks_has(const struct jwks *keys, struct span kid);

/*
 * The signature of a compact JWS, whose form and header the caller has checked
 * (idp/jws.h). Only keys named kid count, and of these only those of alg's
 * type; without a kid (ptr NULL) there must be exactly one that could be meant.
 */
enum jwks_verdict { JWKS_WRONG = 0, JWKS_RIGHT, JWKS_NO_KEY, JWKS_OTHER_TYPE };
enum jwks_verdict jwks_verify(const struct jwks *keys, struct span kid, enum jws_alg alg,
                              struct span compact);

#endif
