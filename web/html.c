/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "web/html.h"

#include <string.h>

/* One character of UTF-8 (RFC 3629); 0 if there is none at the beginning of s. */
static size_t decode(struct span s, uint32_t *ret_c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)s.ptr;
	uint32_t c = p[0];
	size_t n = c < 0x80 ? 1 : c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;

	if (n == 0 || c >= 0xf8 || n > s.len)
		return 0;
	if (n > 1)
		c &= 0x7fU >> n;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret_c = c;
	return n;
}

static bool is_hidden(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || c == 0x180e ||
	       c == 0x200b || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
	       (c >= 0xe0000 && c <= 0xe0fff);
}

void html_add(struct buf *b, struct span text)
{
	while (text.len) {
		uint32_t c = 0;
		size_t n = decode(text, &c);

		if (n == 0 || is_hidden(c))
			buf_add_str(b, "\xef\xbf\xbd");
		else if (c == '&')
			buf_add_str(b, "&amp;");
		else if (c == '<')
			buf_add_str(b, "&lt;");
		else if (c == '>')
			buf_add_str(b, "&gt;");
		else if (c == '"')
			buf_add_str(b, "&quot;");
		else if (c == '\'')
			buf_add_str(b, "&#39;");
		else
			buf_add(b, text.ptr, n);
		text = span_from(text, n ? n : 1);
	}
}

void html_fill(struct buf *b, const char *template_text, const struct html_value *values, size_t n)
{
	struct span rest = span_str(template_text);

	while (rest.len) {
		size_t open = span_find(rest, '{'), close, i = 0;
		struct span name;

		buf_add_span(b, span_head(rest, open));
		rest = span_from(rest, open);
		if (rest.len == 0)
			break;
		close = span_find(rest, '}');
		name = span_from(span_head(rest, close), 1);
		while (close < rest.len && i < n && !span_eq(name, span_str(values[i].name)))
			i++;
		if (close < rest.len && i < n)
			html_add(b, span_str(values[i].value));
		else
			buf_add_span(b, span_head(rest, close + 1));
		rest = span_from(rest, close + 1);
	}
}
