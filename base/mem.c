/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void __attribute__((noreturn)) out_of_memory(void)
{
	fputs("out of memory\n", stderr);
	abort();
}

void *mem_alloc(size_t n)
{
	return mem_calloc(n, 1);
}

void *mem_calloc(size_t n, size_t size)
{
	/* calloc(0) may return NULL, which callers take for failure */
	void *p = calloc(n && size ? n : 1, n && size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *mem_realloc(void *p, size_t n, size_t size)
{
	p = reallocarray(p, n && size ? n : 1, n && size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s));
}

void *mem_dup(const void *p, size_t n)
{
	if (n == (size_t)-1)
		out_of_memory();

	char *copy = malloc(n + 1);

	if (!copy)
		out_of_memory();
	if (n)
		memcpy(copy, p, n);
	copy[n] = '\0';
	return copy;
}

void mem_wipe(void *p, size_t n)
{
	if (n)
		explicit_bzero(p, n);
}

_Bool mem_equal_ct(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;
	volatile unsigned char diff = 0;        /* keeps the compiler from leaving early */

	for (size_t i = 0; i < n; i++)
		diff = (unsigned char)(diff | (x[i] ^ y[i]));
	return diff == 0;
}

void mem_free_ptr(void *pp)
{
	void *p;

	memcpy(&p, pp, sizeof(p));
	free(p);
}
