/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_DIAG_H
#define BASE_DIAG_H

/*
 * Everything that is wrong with a text, in one run: errors and warnings with
 * their places. "policy.hujson:12:18: unknown group "group:lab"".
 */

#include "base/err.h"
#include "base/span.h"

enum diag_level { DIAG_ERROR, DIAG_WARNING };

enum { DIAG_MAX = 200 };        /* further ones are counted, not kept */

struct place { uint32_t line, col; };   /* both from 1; col counts bytes; 0:0 is "the whole text" */

struct diag {
	enum diag_level level;
	struct place    at;
	char           *msg;
};

struct diags {
	char        *file;      /* the name that messages show */
	struct diag *list;
	size_t       count, errors, warnings;   /* errors and warnings count those not kept, too */
};

void diags_init(struct diags *d, const char *file);
void diags_done(struct diags *d);
bool diag_error(struct diags *d, struct place at, const char *fmt, ...)       /* returns false */
	__attribute__((format(printf, 3, 4)));
void diag_warn(struct diags *d, struct place at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void diags_sort(struct diags *d);                       /* by place */
struct buf;
/* "file:line:col: error: message\n" each */
void diags_text(const struct diags *d, struct buf *out);
void diags_json(const struct diags *d, struct buf *out);  /* one array */
/* false with the first error and how many more; true if none */
bool diags_err(const struct diags *d, struct err *err);

/* The candidate nearest to word (Damerau-Levenshtein, at most a third of its length), or NULL. */
const char *nearest(struct span word, const char *const *candidates, size_t n);

#endif
