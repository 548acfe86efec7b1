/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_HTML_H
#define WEB_HTML_H

/*
 * The one way from text to HTML. Templates are ours; values are anybody's.
 */

#include "base/buf.h"

/* Text for between tags or inside a quoted attribute: & < > " ' become
 * references; controls, what is not UTF-8, and characters that are invisible or
 * reorder text (bidi controls), which make one name look like another, become U+FFFD. */
void html_add(struct buf *b, struct span text);

/* Copies a template; {name} becomes the escaped value of that name, nothing if
 * it is NULL. A name that no value has is our own mistake: it stays as it is. */
struct html_value { const char *name, *value; };
void html_fill(struct buf *b, const char *template_text, const struct html_value *values, size_t n);

#define HTML_FILL(b, text, ...)                                                        \
	do {                                                                           \
		const struct html_value values_[] = { __VA_ARGS__ };                   \
		html_fill(b, text, values_, sizeof(values_) / sizeof(values_[0]));     \
	} while (0)

#endif
