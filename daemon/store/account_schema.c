/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/schema.h"

#include <stddef.h>

const char *const account_step[] = {
	"CREATE TABLE own_account ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" login TEXT NOT NULL UNIQUE, name TEXT NOT NULL, sub TEXT NOT NULL UNIQUE,"
	" password TEXT NOT NULL DEFAULT '', totp BLOB, totp_step INTEGER NOT NULL DEFAULT 0,"
	" disabled INTEGER NOT NULL DEFAULT 0,"
	" created INTEGER NOT NULL, last_login INTEGER NOT NULL DEFAULT 0) STRICT",

	"CREATE TABLE own_passkey ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" account INTEGER NOT NULL REFERENCES own_account(id) ON DELETE CASCADE,"
	" credential TEXT NOT NULL UNIQUE, key TEXT NOT NULL, alg INTEGER NOT NULL,"
	" counter INTEGER NOT NULL, name TEXT NOT NULL,"
	" created INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0) STRICT",
	"CREATE INDEX own_passkey_account ON own_passkey(account)",

	"CREATE TABLE own_code ("
	" account INTEGER NOT NULL REFERENCES own_account(id) ON DELETE CASCADE,"
	" hash BLOB NOT NULL,"
	" PRIMARY KEY (account, hash)) STRICT, WITHOUT ROWID",

	"CREATE TABLE own_link ("
	" hash BLOB PRIMARY KEY,"
	" account INTEGER NOT NULL REFERENCES own_account(id) ON DELETE CASCADE,"
	" reset INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID",
	"CREATE INDEX own_link_account ON own_link(account)",

	"CREATE TABLE own_mark ("
	" one INTEGER PRIMARY KEY CHECK (one = 1), key BLOB NOT NULL) STRICT",
	NULL,
};
