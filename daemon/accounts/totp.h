/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_TOTP_H
#define ACCOUNTS_TOTP_H

/*
 * Codes of an authenticator app: RFC 6238 with SHA-1, 30 seconds and six digits,
 * which is what every app understands. Pure.
 */

#include "base/buf.h"
#include "base/clock.h"

enum {
	TOTP_SECRET = 20, /* bytes: RFC 4226 section 4, R6 */
	TOTP_DIGITS = 6,
	TOTP_SECONDS = 30,
	TOTP_WINDOW = 1,    /* steps that a clock may be off, either way */
	TOTP_TEXT_MAX = 40, /* the secret in base32 */
};

/* The code of one step; false only if liboath refuses. digits: 6 to 8. */
bool totp_code(const unsigned char *secret, size_t len, int64_t step, unsigned digits,
	       char ret_code[9]);

/*
 * 0: wrong, malformed, or of a step that is not after last_step: each step
 * counts once. Else the step, which the caller stores as the next last_step before
 * anybody is let in.
 */
int64_t totp_check(const unsigned char secret[TOTP_SECRET], struct span code, int64_t last_step,
		   struct wall now);

/* Upper-case base32 without padding. */
void totp_text(const unsigned char secret[TOTP_SECRET], char ret_text[TOTP_TEXT_MAX]);

/* otpauth://totp/..., for a QR code. */
void totp_uri(const unsigned char secret[TOTP_SECRET], const char *site, const char *login,
	      struct buf *out);

#endif
