/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_SEAL_H
#define COORDINATOR_SEAL_H

/*
 * Secrets at rest: AES-256-GCM under a key that is in a file of its own, so
 * that a copy of the database alone opens none of them. Each is tied to its
 * purpose and row (a refresh token to its session, an authenticator app's
 * secret to its account): moved elsewhere it does not open. A key that is lost costs
 * the tokens, and each own account its app (a recovery code or a reset helps).
 */

#include "base/err.h"
#include "base/secret.h"

enum {
	SEAL_KEY_LEN = 32,
	SEAL_TOKEN_MAX = 16 << 10,      /* idp's TOKEN_MAX */
};

struct seal;

/* Makes the file (mode 0600) where there is none. One that others may read is refused. */
struct seal *seal_open_file(const char *path, struct err *err);
void seal_free(struct seal *s);                 /* accepts NULL */

/* What a row is the id of. */
enum seal_what { SEAL_REFRESH, SEAL_TOTP, SEAL_WHATS };

/* Text without controls, the caller's to free; NULL where plain is empty or too long. From any thread. */
char *seal_text(const struct seal *s, enum seal_what what, uint64_t row, struct span plain);

/* ERR_CRYPTO: of another key, purpose or row, or damaged. */
bool seal_open_text(const struct seal *s, enum seal_what what, uint64_t row, struct span sealed,
		    struct secret *ret_plain, struct err *err);

/* store_seal_fn and account_seal_fn, with the struct seal as ctx. */
char *seal_token(const void *seal, uint64_t session, struct span token);
char *seal_totp(const void *seal, uint64_t account, struct span secret);

/* A key for something else: as lasting as the file, and no way back to what is in it. */
bool seal_derive(const struct seal *s, const char *purpose, struct secret *ret_key, struct err *err);

#endif
