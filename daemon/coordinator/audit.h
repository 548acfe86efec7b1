/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_AUDIT_H
#define COORDINATOR_AUDIT_H

/*
 * What was done, by whom, from where: one JSON object a line, appended to a
 * file of mode 0600. Lines are built in place:
 *
 *   struct buf *b = audit_begin(a, now, "node-enrolled");
 *   audit_str(b, "login", login);
 *   audit_end(a);
 *
 * SIGHUP opens the file again (logrotate). A line that cannot be written is
 * said in the journal, and counted.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct audit;

struct audit *audit_open(const char *path, struct err *err);
void audit_close(struct audit *a);                      /* accepts NULL */
void audit_reopen(struct audit *a);

struct buf *audit_begin(struct audit *a, struct wall now, const char *event);
void audit_str(struct buf *b, const char *name, const char *value);    /* NULL and "" are left out */
void audit_id(struct buf *b, const char *name, char kind, uint64_t id); /* 0 is left out */
void audit_int(struct buf *b, const char *name, int64_t value);
void audit_end(struct audit *a);

/* A line that is made before it is known what comes of it:
 *   audit_note(&b, "node-deleted"); audit_id(&b, ...); job->note = buf_take(&b);
 * and, once it is known, written with the refusal where err is not NULL. */
void audit_note(struct buf *b, const char *event);      /* b is empty */
void audit_write(struct audit *a, struct wall now, const char *note, const struct err *err);
/* The end of the file, whole lines, at most AUDIT_TAIL_MAX bytes. */
enum { AUDIT_TAIL_MAX = 4 << 20 };
bool audit_tail(const struct audit *a, struct buf *ret, struct err *err);
uint64_t audit_lost(const struct audit *a);

#endif
