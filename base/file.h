/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_FILE_H
#define BASE_FILE_H

/* Whole files: read with a ceiling, replaced so that a reader (or a crash)
 * sees the old one or the new one and nothing else. */

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

/* All set *ret_text anew on success (the caller's buf_done() or buf_wipe_done())
 * and leave it alone otherwise. */

/* Reads all of path, at most max bytes (ERR_LIMIT beyond); ERR_MISSING if there is none. */
bool file_read(const char *path, size_t max, struct buf *ret_text, struct err *err);

/* write to a temporary name beside it, fsync, rename, fsync the directory. */
bool file_replace(const char *path, struct span text, mode_t mode, struct err *err);

/* The file gets another name, or a second one, in the same directory; what had that name has none then. On
 * disk when it returns. With file_link() there is a moment without the name `to`, never one without `from`. */
bool file_rename(const char *from, const char *to, struct err *err);
bool file_link(const char *from, const char *to, struct err *err);

/* As file_read(), and refused unless only its owner may read it (mode & 077 == 0). */
bool file_read_private(const char *path, size_t max, struct buf *ret_text, struct err *err);

#endif
