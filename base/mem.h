/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_MEM_H
#define BASE_MEM_H

/*
 * Allocation that cannot fail: out of memory aborts with a line on stderr.
 * A process that aborts denies; its supervisor starts it again.
 */

#include <stddef.h>

void *mem_alloc(size_t n) __attribute__((malloc, returns_nonnull));        /* zeroed */
/* checked product */
void *mem_calloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
/* n * size bytes, checked */
void *mem_realloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));
/* n bytes, plus a NUL behind them */
void *mem_dup(const void *p, size_t n) __attribute__((malloc, returns_nonnull));

/* Overwrites in a way that the compiler keeps. */
void mem_wipe(void *p, size_t n);

/* True if both are equal; the time taken depends on n alone. */
_Bool mem_equal_ct(const void *a, const void *b, size_t n);

/* Scope frees; take() gives away. */
void mem_free_ptr(void *pp);    /* frees *(void **)pp */
#define scoped_free __attribute__((cleanup(mem_free_ptr)))
#define take(p) __extension__({ __typeof__(p) take_p_ = (p); (p) = NULL; take_p_; })
#define swap(a, b) do { __typeof__(a) swap_t_ = (a); (a) = (b); (b) = swap_t_; } while (0)

#define array_size(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif
