/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/db.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

struct db {
	sqlite3 *sql;
};

static bool failed(struct db *db, struct err *err, const char *what)
{
	int code = sqlite3_extended_errcode(db->sql);

	if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY)
		return err_set(err, ERR_EXISTS, "%s", sqlite3_errmsg(db->sql));
	return err_set(err, ERR_SYS, "the database: %s: %s (%d)", what, sqlite3_errmsg(db->sql),
		       code);
}

struct db *db_open(const char *path, enum db_open_how how, struct err *err)
{
	struct db *db;

	if (how == DB_CREATE) {
		/* The file is there, and nobody else's to read, before the first byte of it. */
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		if (fd < 0) {
			err_sys(err, "%s", path);
			return NULL;
		}
		close(fd);
	}
	db = mem_alloc(sizeof(*db));
	if (sqlite3_open_v2(path, &db->sql,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
			    NULL) != SQLITE_OK) {
		err_set(err, ERR_SYS, "%s: %s", path,
			db->sql ? sqlite3_errmsg(db->sql) : "out of memory");
		db_close(db);
		return NULL;
	}
	sqlite3_busy_timeout(db->sql, 5000);
	/* WAL with FULL: a commit has reached the disk when it returns. */
	if (!db_run(db, err, "PRAGMA journal_mode=WAL", "") ||
	    !db_run(db, err, "PRAGMA synchronous=FULL", "") ||
	    !db_run(db, err, "PRAGMA foreign_keys=ON", "") ||
	    !db_run(db, err, "PRAGMA trusted_schema=OFF", "") ||
	    /* What is deleted is gone: tokens and sealed secrets. */
	    !db_run(db, err, "PRAGMA secure_delete=ON", "") ||
	    !db_run(db, err, "PRAGMA journal_size_limit=16777216", "")) {
		err_prefix(err, "%s: ", path);
		db_close(db);
		return NULL;
	}
	return db;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	sqlite3_close(db->sql);
	free(db);
}

static bool bind(struct db *db, sqlite3_stmt *st, const char *format, va_list ap, struct err *err)
{
	int rc = SQLITE_OK;

	for (int i = 1; *format && rc == SQLITE_OK; format++, i++) {
		switch (*format) {
		case 'i':
			rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
			break;
		case 't':
			rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1,
					       SQLITE_TRANSIENT);
			break;
		case 'b': {
			const void *p = va_arg(ap, const void *);

			rc = sqlite3_bind_blob64(st, i, p, va_arg(ap, size_t), SQLITE_TRANSIENT);
			break;
		}
		default:
			rc = SQLITE_MISUSE;
		}
	}
	return rc == SQLITE_OK || failed(db, err, "binding");
}

static sqlite3_stmt *prepare(struct db *db, struct err *err, const char *sql, const char *format,
			     va_list ap)
{
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(db->sql, sql, -1, &st, NULL) != SQLITE_OK) {
		failed(db, err, sql);
		return NULL;
	}
	if (!bind(db, st, format, ap, err)) {
		sqlite3_finalize(st);
		return NULL;
	}
	return st;
}

bool db_run(struct db *db, struct err *err, const char *sql, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	sqlite3_stmt *st = prepare(db, err, sql, format, ap);
	va_end(ap);
	if (!st)
		return false;
	int rc = sqlite3_step(st);
	while (rc == SQLITE_ROW)        /* some pragmas answer */
		rc = sqlite3_step(st);
	bool ok = rc == SQLITE_DONE || failed(db, err, sql);
	sqlite3_finalize(st);
	return ok;
}

int64_t db_last_id(struct db *db)
{
	return sqlite3_last_insert_rowid(db->sql);
}

int64_t db_changed(struct db *db)
{
	return sqlite3_changes64(db->sql);
}

bool db_in_transaction(struct db *db)
{
	return sqlite3_get_autocommit(db->sql) == 0;
}

struct db_rows db_query(struct db *db, struct err *err, const char *sql, const char *format, ...)
{
	struct db_rows q = { .db = db };
	va_list        ap;

	va_start(ap, format);
	q.stmt = prepare(db, err, sql, format, ap);
	va_end(ap);
	q.bad = !q.stmt;
	return q;
}

bool db_next(struct db_rows *q, struct err *err)
{
	if (q->bad)
		return false;
	int rc = sqlite3_step(q->stmt);
	if (rc == SQLITE_ROW)
		return true;
	if (rc != SQLITE_DONE) {
		q->bad = true;
		failed(q->db, err, "reading");
	}
	return false;
}

int64_t db_int(struct db_rows *q, int col)
{
	return sqlite3_column_int64(q->stmt, col);
}

char *db_text(struct db_rows *q, int col)
{
	const char *s = (const char *)sqlite3_column_text(q->stmt, col);

	return s ? mem_strdup(s) : NULL;
}

bool db_blob(struct db_rows *q, int col, void *out, size_t n)
{
	const void *p = sqlite3_column_blob(q->stmt, col);

	if (!p || (size_t)sqlite3_column_bytes(q->stmt, col) != n)
		return false;
	__builtin_memcpy(out, p, n);
	return true;
}

struct span db_span(struct db_rows *q, int col)
{
	const void *p = sqlite3_column_blob(q->stmt, col);

	return p ? span_of(p, (size_t)sqlite3_column_bytes(q->stmt, col)) : SPAN("");
}

bool db_end(struct db_rows *q)
{
	sqlite3_finalize(q->stmt);
	q->stmt = NULL;
	return !q->bad;
}
