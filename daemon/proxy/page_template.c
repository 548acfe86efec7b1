/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/page_template.h"

#include "base/mem.h"

static const char *const words[PAGE_PARTS] = {
	[PAGE_TITLE] = "title", [PAGE_WHAT] = "what", [PAGE_WHO] = "who", [PAGE_TODO] = "todo",
	[PAGE_LOGIN] = "login", [PAGE_COMMAND] = "command", [PAGE_SMALL] = "small", [PAGE_STATUS] = "status",
	[PAGE_REASON] = "reason", [PAGE_SERVICE] = "service", [PAGE_RULE] = "rule", [PAGE_HOST] = "host",
	[PAGE_CONTACT] = "contact", [PAGE_REQUEST] = "request-id",
};

/* The word of a brace at the beginning of s; empty: none. */
static struct span word_at(struct span s)
{
	size_t n = 1;

	while (n < s.len && ((s.ptr[n] >= 'a' && s.ptr[n] <= 'z') || s.ptr[n] == '-'))
		n++;
	return n > 1 && n < s.len && s.ptr[n] == '}' ? span_head(span_from(s, 1), n - 1) : (struct span){ 0 };
}

static enum page_part part_of(struct span word)
{
	for (int i = PAGE_END + 1; i < PAGE_PARTS; i++)
		if (span_eq(word, span_str(words[i])))
			return (enum page_part)i;
	return PAGE_END;
}

enum page_part page_template_next(struct span *rest, struct span *ret_text)
{
	struct span all = *rest;
	size_t at = 0;

	for (;;) {
		struct span word;
		enum page_part part;

		at += span_find(span_from(all, at), '{');
		if (at >= all.len) {
			*ret_text = all;
			*rest = (struct span){ 0 };
			return PAGE_END;
		}
		word = word_at(span_from(all, at));
		part = part_of(word);
		if (part != PAGE_END) {
			*ret_text = span_head(all, at);
			*rest = span_from(all, at + word.len + 2);
			return part;
		}
		at++;
	}
}

bool page_template_check(struct span text, unsigned *ret_line, struct err *err)
{
	unsigned line = 1;

	*ret_line = 0;
	if (text.len == 0)
		return err_set(err, ERR_SYNTAX, "the template is empty");
	if (text.len > PAGE_TEMPLATE_MAX)
		return err_set(err, ERR_LIMIT, "the template has more than %d bytes", PAGE_TEMPLATE_MAX);
	if (!span_is_utf8(text))
		return err_set(err, ERR_SYNTAX, "the template is not UTF-8");
	for (size_t i = 0; i < text.len; i++) {
		struct span word;

		*ret_line = line;
		if (text.ptr[i] == '\n')
			line++;
		else if (((unsigned char)text.ptr[i] < ' ' && text.ptr[i] != '\t' && text.ptr[i] != '\r') || text.ptr[i] == 0x7f)
			return err_set(err, ERR_SYNTAX, "a control character");
		if (text.ptr[i] != '{')
			continue;
		word = word_at(span_from(text, i));
		if (word.len && part_of(word) == PAGE_END)
			return err_set(err, ERR_SYNTAX, "{%.*s} stands for nothing: there are {title}, {what}, {who}, {todo}, "
			               "{login}, {command}, {small}, {status}, {reason}, {service}, {rule}, {host}, "
			               "{contact} and {request-id}", (int)(word.len > 64 ? 64 : word.len), word.ptr);
	}
	return true;
}
