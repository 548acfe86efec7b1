/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Path patterns. '*' stands for any bytes of one segment, none included;
 * '**' stands for any bytes at all. A pattern that ends in a slash and '**'
 * also means the folder itself, with its slash and without.
 */
#include "policy/model.h"

#include <string.h>

bool pattern_valid(struct span p, const char **ret_why)
{
	size_t stars = 0;

	if (p.len == 0 || p.ptr[0] != '/') {
		*ret_why = "a path begins with \"/\"";
		return false;
	}
	if (p.len > POLICY_PATTERN_MAX) {
		*ret_why = "too long";
		return false;
	}
	for (size_t i = 0; i < p.len; i++) {
		unsigned char c = (unsigned char)p.ptr[i];

		if (c == '?' || c == '#') {
			*ret_why = "a path has no query and no fragment";
			return false;
		}
		if (c <= 0x20 || c == 0x7f || c == '\\') {
			*ret_why = "spaces, controls and backslashes are never in a normalised path";
			return false;
		}
		if (c == ';') {
			*ret_why = "\";\" parameters are refused before policy sees a path";
			return false;
		}
		if (c == '*' && ++stars > 8 * 2) {
			*ret_why = "more than sixteen \"*\"";
			return false;
		}
		if (c == '*' && i >= 2 && p.ptr[i - 1] == '*' && p.ptr[i - 2] == '*') {
			*ret_why = "\"***\" means nothing; use \"*\" or \"**\"";
			return false;
		}
	}
	/* What a normalised path never has would be a rule that never matches. */
	for (size_t i = 0; i + 1 < p.len; i++) {
		if (p.ptr[i] != '/')
			continue;
		if (p.ptr[i + 1] == '/') {
			*ret_why = "an empty segment is never in a normalised path";
			return false;
		}
		if (p.ptr[i + 1] == '.' && (i + 2 == p.len || p.ptr[i + 2] == '/' ||
		    (p.ptr[i + 2] == '.' && (i + 3 == p.len || p.ptr[i + 3] == '/')))) {
			*ret_why = "\".\" and \"..\" are never in a normalised path";
			return false;
		}
	}
	return true;
}

/* Backtracks to the last star of each kind only: with a '**' behind it a '*'
 * is never tried again, so the cost is at most pattern × path. */
static bool match(const char *p, const char *pe, const char *s, const char *se)
{
	const char *star = NULL, *star_s = NULL, *deep = NULL, *deep_s = NULL;

	for (;;) {
		if (p < pe && *p == '*') {
			if (p + 1 < pe && p[1] == '*') {
				deep = p += 2;
				deep_s = s;
				star = NULL;
			} else {
				star = ++p;
				star_s = s;
			}
			continue;
		}
		if (p < pe && s < se && *p == *s) {
			p++;
			s++;
			continue;
		}
		if (p == pe && s == se)
			return true;
		if (star && star_s < se && *star_s != '/') {
			s = ++star_s;
			p = star;
			continue;
		}
		if (deep && deep_s < se) {
			s = ++deep_s;
			p = deep;
			star = NULL;
			continue;
		}
		return false;
	}
}

bool pattern_match(struct span pattern, struct span path)
{
	const char *p = pattern.ptr, *s = path.ptr;

	if (pattern.len >= 3 && memcmp(p + pattern.len - 3, "/**", 3) == 0 && pattern.len > 3) {
		if (match(p, p + pattern.len - 3, s, s + path.len))
			return true;
	}
	return match(p, p + pattern.len, s, s + path.len);
}
