/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tests/unit/main.h"

#include "base/mem.h"
#include "policy/tables.h"

#include <string.h>

static const struct { const char *pattern, *path; bool want; } rows[] = {
	{ "/", "/", true },            { "/", "/a", false },          { "/a", "/a", true },
	{ "/a", "/a/", false },        { "/a", "/ab", false },        { "/a", "/A", false },
	{ "/*", "/", true },           { "/*", "/a", true },          { "/*", "/a/b", false },
	{ "/a*", "/a", true },         { "/a*", "/abc", true },       { "/a*", "/a/b", false },
	{ "/**", "/", true },          { "/**", "/a/b/c", true },     { "/a/**", "/a", true },
	{ "/a/**", "/a/", true },      { "/a/**", "/a/b", true },     { "/a/**", "/ab", false },
	{ "/a/**", "/b/a/c", false },  { "/a/*", "/a", false },       { "/a/*", "/a/", true },
	{ "/a/*/c", "/a/b/c", true },  { "/a/*/c", "/a//c", true },   { "/a/*/c", "/a/b/b/c", false },
	{ "/a/**/c", "/a/b/b/c", true }, { "/a/**/c", "/a/c", false }, { "/**/c", "/c", false },
	{ "/**/c", "/a/c", true },     { "/**c", "/a/bc", true },     { "/*.txt", "/a.txt", true },
	{ "/*.txt", "/a.txt.x", false }, { "/**.txt", "/a/b.txt", true }, { "/*a*a*a", "/aXaXa", true },
	{ "/*a*a*a", "/aXaX", false }, { "/x/**/y/**", "/x/1/y", true }, { "/x/**/y/**", "/x/1/yy", false },
	{ "/*/**", "/a", true },       { "/p*/**", "/public", true }, { "/**/e*t", "/a/b/edit", true },
	{ "/**/e*t", "/a/edit/b", false }, { "/a**b", "/a/x/b", true }, { "/*b/**z", "/ab/c/z", true },
};

START_TEST(test_rows)
{
	for (size_t i = 0; i < array_size(rows); i++)
		ck_assert_msg(pattern_match(span_str(rows[i].pattern), span_str(rows[i].path)) == rows[i].want, "%s on %s: want %d",
		              rows[i].pattern, rows[i].path, rows[i].want);
}
END_TEST

/* The naive twin: tries every way a star can go. */
static bool slow(const char *p, const char *s)
{
	if (!*p)
		return !*s;
	if (p[0] == '*' && p[1] == '*')
		return slow(p + 2, s) || (*s && slow(p, s + 1));
	if (*p == '*')
		return slow(p + 1, s) || (*s && *s != '/' && slow(p, s + 1));
	return *p == *s && slow(p + 1, s + 1);
}

START_TEST(test_twin)
{
	static const char alphabet[] = "/a*b";
	uint32_t seed = 7;

	for (int n = 0; n < 200000; n++) {
		char p[10] = "/", s[12] = "/", head[10];
		size_t pl = 1, sl = 1;
		bool want;

		for (int i = 0; i < 7; i++) {
			seed = seed * 1664525 + 1013904223;
			if ((seed >> 24) % 8 == 0)
				break;
			p[pl++] = alphabet[(seed >> 16) % 4];
			if (pl >= 3 && p[pl - 1] == '*' && p[pl - 2] == '*' && p[pl - 3] == '*')
				pl--;
		}
		for (int i = 0; i < 9; i++) {
			seed = seed * 1664525 + 1013904223;
			if ((seed >> 24) % 9 == 0)
				break;
			s[sl++] = "/ab"[(seed >> 16) % 3];
		}
		p[pl] = s[sl] = '\0';
		want = slow(p, s);
		if (pl > 3 && strcmp(p + pl - 3, "/**") == 0) {
			memcpy(head, p, pl - 3);
			head[pl - 3] = '\0';
			want |= slow(head, s);
		}
		ck_assert_msg(pattern_match(span_str(p), span_str(s)) == want, "%s on %s: want %d", p, s, want);
	}
}
END_TEST

/* A stranger's path cannot make a pattern cost more than pattern times path. */
START_TEST(test_cost)
{
	char path[4096];

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	for (int i = 0; i < 50; i++)
		ck_assert(!pattern_match(SPAN("/**a*a**a*a**a*a**a*a*b"), span_of(path, sizeof(path))));
}
END_TEST

UNIT_MAIN("path patterns", test_rows, test_twin, test_cost)
