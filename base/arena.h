/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

/*
 * Memory with one end: everything allocated here goes when the arena goes.
 * A request, a parsed document, a snapshot under construction.
 */

#include "base/span.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *head;
	size_t              chunk;      /* bytes of the next chunk */
	size_t              used;       /* bytes handed out */
};

void  arena_init(struct arena *a, size_t first_chunk);
void  arena_done(struct arena *a);
void  arena_reset(struct arena *a);     /* keeps the first chunk */
/* zeroed, aligned for anything */
void *arena_alloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
void *arena_calloc(struct arena *a, size_t n, size_t size) __attribute__((returns_nonnull));
struct span arena_copy(struct arena *a, struct span s);      /* NUL behind it */
char *arena_str(struct arena *a, struct span s);
struct span arena_printf(struct arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
