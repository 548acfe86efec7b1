/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_PAGE_TEMPLATE_H
#define DAEMON_PROXY_PAGE_TEMPLATE_H

/*
 * A page for refusals: HTML in which {words} stand for what there is to say. A
 * brace that is followed by anything but small letters, '-' and a brace is one of a style sheet.
 * Values are written as HTML text, so that they may stand in text and in quoted attributes; those
 * of {login}, {command} and {small} are paragraphs and links of their own.
 */

#include "base/err.h"
#include "base/span.h"

enum { PAGE_TEMPLATE_MAX = 64 << 10 };  /* bytes: it is sent with each refusal */

enum page_part {
	PAGE_END = 0,
	PAGE_TITLE, PAGE_WHAT, PAGE_WHO, PAGE_TODO, PAGE_LOGIN, PAGE_COMMAND, PAGE_SMALL,
	PAGE_STATUS, PAGE_REASON, PAGE_SERVICE, PAGE_RULE, PAGE_HOST, PAGE_CONTACT, PAGE_REQUEST,
	PAGE_PARTS
};

/* The text up to the next word, and which it is; PAGE_END: the rest. What no word is stands in the text. */
enum page_part page_template_next(struct span *rest, struct span *ret_text);

/* UTF-8 without control characters, at most PAGE_TEMPLATE_MAX, and every word known; else err says which
 * and *ret_line where (0: the whole). */
bool page_template_check(struct span text, unsigned *ret_line, struct err *err);

#endif
