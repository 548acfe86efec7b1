/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_PASSKEY_H
#define ACCOUNTS_PASSKEY_H

/*
 * Passkeys: WebAuthn Level 2 as a relying party checks it (7.1, 7.2), with libfido2 for
 * what is signed. ES256 and EdDSA. The
 * authenticator must have verified its user, so that one passkey is two factors. What it
 * says of its make is not asked for, and not believed. Pure.
 */

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum {
	PASSKEY_CLIENT_MAX = 4 << 10, /* clientDataJSON */
	PASSKEY_ATTESTATION_MAX = 8 << 10,
	PASSKEY_DATA_MAX = 4 << 10, /* authenticatorData */
	PASSKEY_SIGNATURE_MAX = 256,
	PASSKEY_ID_MAX = 1023, /* WebAuthn 4, credential id */
	PASSKEY_KEY_MAX = 64,  /* x and y of P-256; Ed25519 has 32 */
	PASSKEY_CHALLENGE = 32,
};

enum passkey_alg { PASSKEY_ES256 = -7, PASSKEY_EDDSA = -8 }; /* COSE's numbers */

/* What this attempt asked for, and where it asked. */
struct passkey_want {
	const char *origin; /* "https://hub.example.edu" */
	const char *rp_id;  /* "hub.example.edu" */
	unsigned char challenge[PASSKEY_CHALLENGE];
};

struct passkey {
	unsigned char id[PASSKEY_ID_MAX], key[PASSKEY_KEY_MAX];
	size_t id_len, key_len;
	int alg;
	uint32_t counter; /* of the last signature; 0 for ever: it does not count */
};

/* The host of an https URL, which is the rp id; false where it is an address (WebAuthn wants a
 * domain). */
bool passkey_rp_id(const char *url, char *out, size_t size);

/* A new one: clientDataJSON and attestationObject, as bytes. */
bool passkey_register(const struct passkey_want *want, struct span client, struct span attestation,
		      struct passkey *ret, struct err *err);

/* What a good answer says. */
struct passkey_said {
	uint32_t counter; /* to store; one that did not go up is refused by now */
	bool synced;      /* it may be on several devices (WebAuthn Level 3, backup eligible) */
};

/* A login with k, whose id the caller has looked up. */
bool passkey_verify(const struct passkey_want *want, const struct passkey *k, struct span client,
		    struct span data, struct span signature, struct passkey_said *ret,
		    struct err *err);

#endif
