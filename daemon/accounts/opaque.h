/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_OPAQUE_H
#define ACCOUNTS_OPAQUE_H

/*
 * What is random here and known by its hash: recovery codes, the tokens of links,
 * authorization codes, the cookie of a browser that has logged in before. Pure.
 */

#include "base/buf.h"
#include "base/secret.h"

#include <stdint.h>

enum {
	OPAQUE_TEXT = 43, /* 32 bytes in base64url */
	OPAQUE_HASH = 32,
	RECOVERY_CODES = 10,
	RECOVERY_TEXT = 19, /* "XXXX-XXXX-XXXX-XXXX": 80 bits, so that a plain hash keeps them */
	BROWSER_TEXT_MAX = 96,
};

void opaque_new(char ret_text[OPAQUE_TEXT + 1], unsigned char ret_hash[OPAQUE_HASH]);
/* False if text is not of that form. */
bool opaque_hash(struct span text, unsigned char ret_hash[OPAQUE_HASH]);

void recovery_new(char ret_text[RECOVERY_TEXT + 1], unsigned char ret_hash[OPAQUE_HASH]);
/* As a person types it: any case, blanks and hyphens anywhere; O and 0, I, L and 1 are the same. */
bool recovery_hash(struct span text, unsigned char ret_hash[OPAQUE_HASH]);

/* PKCE (RFC 7636): whether verifier is challenge's; S256 and nothing else. */
bool pkce_ok(struct span verifier, struct span challenge);

/*
 * Proof that this browser has logged in to that account before: account and a
 * nonce under an HMAC of the coordinator's. It lets nobody in; it only keeps other people's
 * failures from being held against its owner.
 */
enum { BROWSER_NONCE = 16 };
void browser_mark(const struct secret *key, uint64_t account, char ret_text[BROWSER_TEXT_MAX]);
bool browser_mark_ok(const struct secret *key, struct span text, uint64_t account,
		     unsigned char ret_nonce[BROWSER_NONCE]);

#endif
