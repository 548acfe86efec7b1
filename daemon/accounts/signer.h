/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_SIGNER_H
#define ACCOUNTS_SIGNER_H

/*
 * The key that signs ID tokens of own accounts: P-256, drawn when the process
 * starts and never written down. The only reader of these tokens is the coordinator's own
 * login, within a minute: nothing has to outlive the process, so nothing can be stolen from
 * its disk or its backups.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct signer;

struct signer *signer_new(struct err *err);
void signer_free(struct signer *s); /* accepts NULL */

void signer_jwks(const struct signer *s, struct buf *out); /* RFC 7517 */

/* What an ID token says (OpenID Connect Core 1.0 section 2). */
struct id_claims {
	const char *issuer, *sub, *audience, *nonce; /* nonce NULL: none */
	const char *login, *name, *email;            /* name, email: NULL is none */
	struct span groups;                          /* one a line */
	const char *acr;
	const char *const *amr;   /* ends with NULL */
	const char *access_token; /* for at_hash; NULL: none beside it */
	struct wall auth_time, now;
	int64_t seconds; /* until it expires */
};
bool signer_id_token(const struct signer *s, const struct id_claims *c, struct buf *out,
		     struct err *err);

#endif
