/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/*
 * The operators' journal: lines on stderr, "<N>" priorities when stderr is
 * the journal. Libraries return errors; only daemons and tools log. Outside
 * text goes through %s of an escaped form (log_text()), so that no line can
 * be forged. The logger is the one global of the tree.
 */

#include "base/err.h"
#include "base/span.h"

enum log_level { LOG_ERROR = 3, LOG_WARN = 4, LOG_NOTE = 5, LOG_INFO = 6, LOG_DEBUG = 7 };

void log_open(const char *who, enum log_level most);    /* "reeved[core]" */
void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool log_wants(enum log_level level);

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_note(...)  log_at(LOG_NOTE, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) do { if (log_wants(LOG_DEBUG)) log_at(LOG_DEBUG, __VA_ARGS__); } while (0)

/* Printable ASCII stays, everything else becomes \xNN; shortened with "..."
 * beyond the buffer. For people only: what identifies is not compared in this form. */
enum { LOG_TEXT_MAX = 256 };
const char *log_text(struct span s, char buf[LOG_TEXT_MAX]);

#endif
