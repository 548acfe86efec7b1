/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

/*
 * A pointer and a length, passed by value: text that somebody else owns.
 * Never assumed to end in NUL, may contain NUL.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
	const char *ptr;
	size_t      len;
};

#define SPAN(lit)   ((struct span){ "" lit, sizeof(lit) - 1 })
#define SPAN_ARG(s) (int)(s).len, (s).ptr       /* for "%.*s" */

struct span span_str(const char *s);            /* NULL gives the empty span */
struct span span_of(const void *p, size_t n);
bool span_eq(struct span a, struct span b);
bool span_ieq(struct span a, struct span b);    /* ASCII case folded */
int  span_cmp(struct span a, struct span b);    /* bytes, then length */
bool span_starts(struct span s, struct span prefix);
bool span_ends(struct span s, struct span suffix);
/* s without its first off bytes; empty beyond the end */
struct span span_from(struct span s, size_t off);
struct span span_head(struct span s, size_t n);   /* at most n bytes */
struct span span_trim(struct span s);             /* SP and HTAB at both ends */

/* Finds c; returns s.len if absent. */
size_t span_find(struct span s, char c);

/* Cuts the part before the first sep off *rest, which then holds what
 * follows it. False once *rest is used up (ptr NULL). "a,,b" has three parts. */
bool span_next(struct span *rest, char sep, struct span *ret_part);

/* Decimal digits only, no sign, no leading space, whole span. */
bool span_u64(struct span s, uint64_t max, uint64_t *ret_n);

/* A NUL-terminated copy; the caller frees. A NUL inside is the caller's problem to have refused. */
char *span_dup(struct span s);

/* Copies into buf with a NUL; false, and nothing written, if it does not fit
 * or holds a NUL: what identifies is never shortened. */
bool span_cstr(struct span s, char *buf, size_t size);

bool span_is_utf8(struct span s);               /* RFC 3629: no surrogates, no overlong forms */
bool span_is_print(struct span s);              /* 0x20..0x7e only */

#endif
