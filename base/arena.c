/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MIN = 256, CHUNK_MAX = 256 << 10 };

struct arena_chunk {
	struct arena_chunk *next;       /* older */
	size_t              size, used;
	_Alignas(max_align_t) char data[];
};

void arena_init(struct arena *a, size_t first_chunk)
{
	*a = (struct arena){ .chunk = first_chunk < CHUNK_MIN ? CHUNK_MIN : first_chunk };
}

static void free_chunks(struct arena_chunk *c)
{
	while (c) {
		struct arena_chunk *next = c->next;

		free(c);
		c = next;
	}
}

void arena_done(struct arena *a)
{
	free_chunks(a->head);
	*a = (struct arena){ 0 };
}

void arena_reset(struct arena *a)
{
	struct arena_chunk *first = a->head;

	while (first && first->next) {
		struct arena_chunk *next = first->next;

		free(first);
		first = next;
	}
	if (first)
		first->used = 0;
	a->head = first;
	a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
	const size_t align = _Alignof(max_align_t);

	if (n > SIZE_MAX / 2)
		abort();

	size_t want = (n + align - 1) / align * align;
	struct arena_chunk *c = a->head;

	if (want == 0)
		want = align;
	if (!c || want > c->size - c->used) {
		size_t size = a->chunk < CHUNK_MIN ? CHUNK_MIN : a->chunk;

		if (size < want)
			size = want;
		c = mem_realloc(NULL, sizeof(*c) + size, 1);
		*c = (struct arena_chunk){ .next = a->head, .size = size };
		a->head = c;
		if (a->chunk < CHUNK_MAX)
			a->chunk = size < CHUNK_MAX ? size * 2 : CHUNK_MAX;
	}

	void *p = c->data + c->used;

	c->used += want;
	a->used += n;
	memset(p, 0, want);
	return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total))
		abort();
	return arena_alloc(a, total);
}

struct span arena_copy(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, s.len + 1);

	if (s.len)
		memcpy(p, s.ptr, s.len);
	return (struct span){ p, s.len };
}

char *arena_str(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, s.len + 1);

	if (s.len)
		memcpy(p, s.ptr, s.len);
	return p;
}

struct span arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();

	char *p = arena_alloc(a, (size_t)n + 1);

	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return (struct span){ p, (size_t)n };
}
