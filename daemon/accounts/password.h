/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_PASSWORD_H
#define ACCOUNTS_PASSWORD_H

/*
 * daemon/accounts/ is what a site without an identity provider needs to have
 * accounts of its own: passwords, one-time codes, passkeys, signed tokens, and who
 * has to wait after how many failures. Values go in, verdicts come out: it keeps
 * nothing on disk (daemon/store does), knows no HTTP (daemon/coordinator's own_*.c does),
 * and only hasher.h has threads. Next: hasher.h, guard.h, passkey.h.
 *
 * Passwords are kept as Argon2id (RFC 9106) strings with their own salt and
 * parameters. Each of these takes about PASSWORD_MEMORY_KIB and a tenth of a
 * second: they are called by hasher.h's threads, not by a loop.
 */

#include "base/buf.h"
#include "base/err.h"

enum {
	PASSWORD_MIN = 10,              /* bytes; NIST SP 800-63B asks for 8 */
	PASSWORD_MAX = 256,             /* longer ones are refused, never cut */
	PASSWORD_MEMORY_KIB = 64 << 10, /* RFC 9106 section 4, the second recommended choice ... */
	PASSWORD_PASSES = 3,            /* ... but for lanes: one thread makes it */
	PASSWORD_SALT = 16,
	PASSWORD_HASH = 32,
	PASSWORD_TEXT_MAX = 160, /* "$argon2id$v=19$m=65536,t=3,p=1$SALT$HASH" */
};

/* Whether a password may be chosen: its length, and cracklib's dictionary and rules;
 * login and name are what it must not be made of (name may be NULL). The words of err
 * are for the person. Without a dictionary nothing is good enough. */
bool password_judge(struct span password, const char *login, const char *name, struct err *err);

bool password_make(struct span password, char ret_text[PASSWORD_TEXT_MAX], struct err *err);

/* text NULL or "": there is no password, which takes the same time to find out, and is wrong. */
bool password_check(struct span password, const char *text);

#endif
