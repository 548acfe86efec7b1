/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_SEAL_H
#define COORDINATOR_SEAL_H

/*
 * Refresh tokens at rest: AES-256-GCM under a key that is in a file of its
 * own, so that a copy of the database alone opens none of them. Each is
 * tied to its session: moved to another row it does not open. A key that is
 * lost costs the tokens and nothing else.
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

/* Text without controls, the caller's to free; NULL where the token is too long. May be called from
 * any thread (store_seal_fn, with the struct seal as ctx). */
char *seal_token(const void *seal, uint64_t session, struct span token);

/* ERR_CRYPTO: of another key or session, or damaged. */
bool seal_open_token(const struct seal *s, uint64_t session, struct span sealed, struct secret *ret_token,
                     struct err *err);

#endif
