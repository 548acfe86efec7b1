/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A line of pattern, a line of path: the matcher against a naive twin. */
#include "policy/tables.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

enum { LEN = 24 };

static bool slow(struct span p, struct span s)
{
	if (!p.len)
		return !s.len;
	if (p.len > 1 && p.ptr[0] == '*' && p.ptr[1] == '*')
		return slow(span_from(p, 2), s) || (s.len && slow(p, span_from(s, 1)));
	if (*p.ptr == '*')
		return slow(span_from(p, 1), s) || (s.len && *s.ptr != '/' && slow(p, span_from(s, 1)));
	return s.len && *p.ptr == *s.ptr && slow(span_from(p, 1), span_from(s, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span all = span_of(data, size), pattern, path;
	size_t nl = span_find(all, '\n'), stars = 0;
	bool got, want;

	if (nl == all.len)
		return 0;
	pattern = span_head(all, nl);
	path = span_from(all, nl + 1);
	got = pattern_match(pattern, path);
	for (size_t i = 0; i < pattern.len; i++)
		stars += pattern.ptr[i] == '*';
	/* The twin is exponential, and "***" is refused before patterns come here. */
	if (pattern.len > LEN || path.len > LEN || stars > 6)
		return 0;
	for (size_t i = 0; i + 2 < pattern.len; i++)
		if (memcmp(pattern.ptr + i, "***", 3) == 0)
			return 0;
	want = slow(pattern, path);
	if (pattern.len > 3 && span_ends(pattern, SPAN("/**")))
		want |= slow(span_head(pattern, pattern.len - 3), path);
	must(got == want);
	return 0;
}
