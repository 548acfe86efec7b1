/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_JWS_H
#define IDP_JWS_H

/*
 * Compact JWS (RFC 7515 section 7.1): form, header and signature, and nothing
 * about what the payload says. The order is fixed: nothing of a token is
 * believed, and no key is touched, before its algorithm is one that the caller allows.
 */

#include "base/buf.h"
#include "idp/token.h"

/* A JSON object behind strict base64url, at most max bytes, no member twice. */
enum token_reason jws_part(struct span text, size_t max, json_t **ret_object, struct err *err);

/* On TOKEN_OK the payload's bytes are in *ret_payload, which the caller has
 * buf_init()ed, and *ret_header (may be NULL) is the caller's to decref. */
enum token_reason jws_check(struct span token, const struct jwks *keys, uint32_t algs,
                            json_t **ret_header, struct buf *ret_payload, struct err *err);

/* at_hash and its like (Core 1.0, 3.1.3.6; EdDSA: SHA-512): the left half of the hash that alg
 * uses, over text, as base64url. */
void jws_half_hash(uint32_t alg, struct span text, struct buf *out);

#endif
