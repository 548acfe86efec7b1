/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_DB_H
#define STORE_DB_H

/*
 * SQLite, as little of it as this folder needs; private to it, and used by
 * one thread at a time. Statements take their values by a format: 'i'
 * int64_t, 't' const char * (NULL is SQL's), 'b' const void * and size_t.
 */

#include "base/err.h"
#include "base/span.h"

#include <stddef.h>
#include <stdint.h>

struct db;

enum db_open_how { DB_EXISTING, DB_CREATE };    /* CREATE: the file must not be there yet, and is 0600 */

struct db *db_open(const char *path, enum db_open_how how, struct err *err);
void db_close(struct db *db);                   /* accepts NULL */

/* Anything without rows. A broken UNIQUE is ERR_EXISTS. */
bool db_run(struct db *db, struct err *err, const char *sql, const char *format, ...);
int64_t db_last_id(struct db *db);
int64_t db_changed(struct db *db);              /* rows of the last db_run() */
bool db_in_transaction(struct db *db);

struct db_rows { struct db *db; void *stmt; bool bad; };
/* Always followed by db_end(), which says whether all went well. */
struct db_rows db_query(struct db *db, struct err *err, const char *sql, const char *format, ...);
bool db_next(struct db_rows *q, struct err *err);
int64_t db_int(struct db_rows *q, int col);
char *db_text(struct db_rows *q, int col);      /* a copy; NULL for SQL's NULL */
bool db_blob(struct db_rows *q, int col, void *out, size_t n);  /* false if it is not n bytes */
struct span db_span(struct db_rows *q, int col);        /* bytes, borrowed until the next row */
bool db_end(struct db_rows *q);

#endif
