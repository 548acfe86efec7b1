/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_GUARD_H
#define ACCOUNTS_GUARD_H

/*
 * Who has to wait after failures, so that guessing is slow and nobody can
 * lock somebody else out. Failures are counted
 *
 *   for a login from one address    some are free, then the wait doubles
 *   for an address                  likewise, whatever logins it tries
 *   for a login                     from everywhere: a short wait between tries, no more
 *   for a browser that has logged in to the account before (opaque.h): on its own,
 *                                   and none of the others counts for it
 *   for the second factor           of an account: only who has the password gets there
 *
 * Logins are counted as typed, whether or not there is such an account. Pure: memory
 * with a ceiling, now is an argument. A restart forgets.
 */

#include "base/clock.h"
#include "base/err.h"
#include "base/ip.h"

enum guard_limits {
	GUARD_PAIR_FREE = 5,
	GUARD_PAIR_WAIT_MAX = 15 * 60, /* seconds */
	GUARD_ADDRESS_FREE = 50,       /* a campus behind one address mistypes, too */
	GUARD_ADDRESS_WAIT_MAX = 5 * 60,
	GUARD_LOGIN_FREE = 100,
	GUARD_LOGIN_WAIT_MAX = 10,
	GUARD_BROWSER_FREE = 10,
	GUARD_BROWSER_WAIT_MAX = 15 * 60,
	GUARD_FACTOR_FREE = 10,
	GUARD_FACTOR_WAIT_MAX = 60 * 60,
	GUARD_FORGET = 24 * 3600, /* without a failure */
	GUARD_KEYS_MAX = 1 << 17, /* counted at once; beyond, everybody waits */
};

struct guard;

struct guard_try {
	struct span login;     /* as typed, lower case */
	const struct ip *from; /* an IPv6 address stands for its /64 */
	struct span browser;   /* the nonce of its proof; ptr NULL: none */
};

struct guard *guard_new(void);
void guard_free(struct guard *g); /* accepts NULL */

/* 0: go on. Else the seconds to wait; nothing is counted. */
int64_t guard_wait(struct guard *g, const struct guard_try *t, struct boot now);
/* Counted when a try begins, since many may be under way; taken back when it was right. */
void guard_count(struct guard *g, const struct guard_try *t, struct boot now);
void guard_right(struct guard *g, const struct guard_try *t);

int64_t guard_factor_wait(struct guard *g, uint64_t account, struct boot now);
void guard_factor_count(struct guard *g, uint64_t account, struct boot now);
void guard_factor_right(struct guard *g, uint64_t account);

size_t guard_keys(const struct guard *g);

#endif
