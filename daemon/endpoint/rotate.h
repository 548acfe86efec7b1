/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_ROTATE_H
#define ENDPOINT_ROTATE_H

/*
 * This node's own change of its device key (doc/identity 5.11): the next key is
 * announced with the old one's word to every endpoint that we know; once those have it, it
 * takes the old one's place here, and the coordinator is told. Until it answers, the old key is
 * kept beside (device.key.old), and each is tried in turn: whichever the coordinator
 * hears is the one. Next: successors.h, for what others make of it.
 */

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct core;
struct client;
struct rotate;

enum { ROTATE_KEY_LEN = 32 };

struct rotate_done {
	uint8_t key[ROTATE_KEY_LEN];    /* the public half that is in use now */
	int64_t away;                   /* endpoints that learn it only when they listen again */
};
/* Called once; err where the old key stays. */
typedef void rotate_fn(void *arg, const struct rotate_done *done, const struct err *err);

struct rotate *rotate_new(struct core *c, struct client *client);
void rotate_free(struct rotate *r);             /* accepts NULL; fn is not called */

/* A key that some host's owner lists ("server-keys", break-glass) is locked out there with its change, so it stays,
 * unless listed says that whoever asks knows. */
void rotate_begin(struct rotate *r, bool listed, rotate_fn *fn, void *arg);
void rotate_forget(struct rotate *r, void *arg);        /* whoever asked has gone; it goes on */

/* What an earlier life left: a key that nobody has confirmed is tried again, one that was
 * never used is forgotten. */
void rotate_resume(struct rotate *r);

#endif
