/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_AUDIT_H
#define ENDPOINT_AUDIT_H

/*
 * The audit: one JSON line a verdict, in a file that core opens and fronts
 * never see. What does not fit the queue while the disk is full is counted,
 * and the count is a line of its own as soon as there is room.
 */

#include "base/err.h"
#include "base/loop.h"
#include "base/span.h"

enum {
	AUDIT_QUEUE_MAX = 8 << 20,      /* bytes that wait: some 20,000 lines */
	AUDIT_RETRY_SEC = 1,
};

struct audit;

/* path "" writes to stderr. */
struct audit *audit_open(struct loop *l, const char *path, struct err *err);
void audit_free(struct audit *a);       /* writes what it can at once; accepts NULL */

/* Opens the file again: after a rotation, or under another name. The old one is kept on failure. */
bool audit_reopen(struct audit *a, const char *path, struct err *err);

/* Whole lines from a front. What is no line of printable JSON object text is
 * not written, and counted as lost: a front must not be able to forge lines. */
void audit_lines(struct audit *a, struct span lines);

/* Lines that a front could not hand over. */
void audit_lost(struct audit *a, uint64_t count);

struct audit_stats { uint64_t written, lost; size_t waiting; };
void audit_stats(const struct audit *a, struct audit_stats *ret_s);

#endif
