/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

/*
 * Bytes that must not leave: wiped when done, locked in memory where the
 * limit allows, and with no function that prints them.
 */

#include "base/err.h"
#include "base/span.h"

struct secret {
	unsigned char *ptr;
	size_t         len;
};

void secret_init(struct secret *s, const void *p, size_t n);    /* copies */
void secret_random(struct secret *s, size_t n);
void secret_done(struct secret *s);                             /* accepts a zeroed one */
/* constant time for equal lengths */
bool secret_equal(const struct secret *s, struct span other);
struct span secret_span(const struct secret *s);

/* Kernel randomness; never fails (aborts where the kernel has none). */
void random_bytes(void *p, size_t n);

#endif
