/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_BUF_H
#define BASE_BUF_H

/*
 * A growing byte buffer that is born with a ceiling. Crossing the ceiling
 * sets `over`, keeps what was there, and makes every later add a no-op: check
 * once at the end. Always NUL-terminated behind len once anything was added.
 */

#include "base/span.h"

#include <stdarg.h>

struct buf {
	char  *ptr;
	size_t len, cap, max;
	bool   over;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);           /* accepts a zeroed buf */
void buf_wipe_done(struct buf *b);      /* for secrets */
void buf_clear(struct buf *b);          /* keeps the memory and the ceiling */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_span(struct buf *b, struct span s);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_drop(struct buf *b, size_t n); /* removes n bytes at the front */
struct span buf_span(const struct buf *b);
char *buf_take(struct buf *b);          /* NUL-terminated; the caller frees; NULL if over */

/* A JSON string with its quotes: escapes quotes, backslash, controls, DEL and
 * what is not UTF-8 (as U+FFFD). The one escape for logs and hand-written JSON. */
void buf_add_json(struct buf *b, struct span s);

#define scoped_buf __attribute__((cleanup(buf_done)))
#define scoped_buf_secret __attribute__((cleanup(buf_wipe_done)))

#endif
