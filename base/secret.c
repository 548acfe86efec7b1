/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/secret.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

static void secret_room(struct secret *s, size_t n)
{
	s->ptr = mem_alloc(n);
	s->len = n;
	/* Best effort, and never undone: locks are per page, and a page may hold
	 * another secret that is still in use. */
	if (n)
		(void)mlock(s->ptr, n);
}

void secret_init(struct secret *s, const void *p, size_t n)
{
	secret_room(s, n);
	if (n)
		memcpy(s->ptr, p, n);
}

void secret_random(struct secret *s, size_t n)
{
	secret_room(s, n);
	random_bytes(s->ptr, n);
}

void secret_done(struct secret *s)
{
	if (s->ptr) {
		mem_wipe(s->ptr, s->len);
		free(s->ptr);
	}
	*s = (struct secret){ 0 };
}

bool secret_equal(const struct secret *s, struct span other)
{
	return s->len == other.len && mem_equal_ct(s->ptr, other.ptr, s->len);
}

struct span secret_span(const struct secret *s)
{
	return span_of(s->ptr, s->len);
}

void random_bytes(void *p, size_t n)
{
	unsigned char *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			fputs("the kernel has no randomness\n", stderr);
			abort();
		}
		at += got;
		n -= (size_t)got;
	}
}
