/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ACCOUNTS_HASHER_H
#define ACCOUNTS_HASHER_H

/*
 * Passwords are checked and made by a few threads, so many at once and no
 * more: each takes 64 MiB and the time that makes guessing dear. The answer comes on
 * the loop. Whoever waits is named, not pointed at.
 */

#include "base/loop.h"
#include "base/secret.h"
#include "daemon/accounts/password.h"

enum {
	HASHER_THREADS = 2,
	HASHER_QUEUE_MAX = 64, /* that wait; more are ERR_BUSY: some seconds of work */
};

struct hasher;

struct hasher_answer {
	uint64_t who;                 /* as it was asked */
	bool ok;                      /* right; or judged and made */
	char text[PASSWORD_TEXT_MAX]; /* of a new one */
	struct err err;               /* why a new one is refused, for the person */
};
typedef void hasher_fn(void *arg, const struct hasher_answer *a);

struct hasher *hasher_new(struct loop *loop, struct err *err);
void hasher_free(struct hasher *h); /* what waits is dropped; accepts NULL */

/* password_check(); text may be NULL. */
bool hasher_check(struct hasher *h, struct span password, const char *text, uint64_t who,
		  hasher_fn *fn, void *arg, struct err *err);
/* password_judge(), then password_make(). */
bool hasher_make(struct hasher *h, struct span password, const char *login, const char *name,
		 uint64_t who, hasher_fn *fn, void *arg, struct err *err);

#endif
