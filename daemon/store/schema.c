/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/schema.h"

#include "daemon/store/db.h"

#include "base/mem.h"

/* "Reev": other programs' databases are refused. */
enum { APPLICATION_ID = 0x52656576 };

/* A step is never changed once it was released; AUTOINCREMENT is what keeps
 * an id from being given twice. */
static const char *const step_1[] = {
	"CREATE TABLE mesh ("
	" one INTEGER PRIMARY KEY CHECK (one = 1),"
	" epoch TEXT NOT NULL, seq INTEGER NOT NULL,"
	" ula TEXT NOT NULL, v4 TEXT NOT NULL, name TEXT NOT NULL,"
	" last_v4 INTEGER NOT NULL) STRICT",

	"CREATE TABLE user ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" issuer TEXT NOT NULL, sub TEXT NOT NULL,"
	" login TEXT NOT NULL, login_key TEXT NOT NULL UNIQUE,"
	" name TEXT NOT NULL, email TEXT NOT NULL, groups TEXT NOT NULL,"
	" blocked INTEGER NOT NULL DEFAULT 0,"
	" created INTEGER NOT NULL, last_login INTEGER NOT NULL) STRICT",

	"CREATE TABLE identity ("
	" issuer TEXT NOT NULL, sub TEXT NOT NULL,"
	" user INTEGER NOT NULL REFERENCES user(id),"
	" PRIMARY KEY (issuer, sub)) STRICT, WITHOUT ROWID",

	"CREATE TABLE enrol_key ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" hash BLOB NOT NULL UNIQUE,"
	" tags TEXT NOT NULL, note TEXT NOT NULL,"
	" uses INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,"
	" created INTEGER NOT NULL, expires INTEGER NOT NULL,"
	" revoked INTEGER NOT NULL DEFAULT 0, made_by INTEGER NOT NULL,"
	" CHECK (used <= uses)) STRICT",

	"CREATE TABLE node ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" key BLOB NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, v4 INTEGER NOT NULL UNIQUE,"
	" tags TEXT NOT NULL, user INTEGER REFERENCES user(id),"
	" enrol_key INTEGER NOT NULL, hub INTEGER NOT NULL,"
	" os TEXT NOT NULL, report TEXT NOT NULL, routes TEXT NOT NULL,"
	" origin TEXT NOT NULL, created INTEGER NOT NULL,"
	" CHECK (user IS NULL OR tags = '')) STRICT",
	"CREATE INDEX node_user ON node(user)",

	"CREATE TABLE session ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" user INTEGER NOT NULL REFERENCES user(id), node INTEGER NOT NULL,"
	" auth_time INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
	" issuer TEXT NOT NULL, acr TEXT NOT NULL, amr TEXT NOT NULL, groups TEXT NOT NULL,"
	" origin TEXT NOT NULL, mfa INTEGER NOT NULL, cross_device INTEGER NOT NULL,"
	" ended INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '') STRICT",
	/* One at a time: the database itself refuses a second living session of a node. */
	"CREATE UNIQUE INDEX session_living ON session(node) WHERE ended = 0",
	"CREATE INDEX session_user ON session(user)",

	"CREATE TABLE policy ("
	" version INTEGER PRIMARY KEY AUTOINCREMENT,"
	" text TEXT NOT NULL, made_by INTEGER NOT NULL, at INTEGER NOT NULL) STRICT",

	/* Addresses of deleted nodes: free again once every endpoint has acknowledged
	 * seq, or at until. */
	"CREATE TABLE quarantine ("
	" v4 INTEGER PRIMARY KEY, node INTEGER NOT NULL,"
	" seq INTEGER NOT NULL, until INTEGER NOT NULL) STRICT",
	NULL,
};

/* Sessions that renew and end by themselves, nodes that come and go, and names that stay
 * somebody's. */
static const char *const step_2[] = {
	"ALTER TABLE session ADD COLUMN provider TEXT NOT NULL DEFAULT ''",
	"ALTER TABLE session ADD COLUMN sid TEXT NOT NULL DEFAULT ''",
	"ALTER TABLE session ADD COLUMN device INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE session ADD COLUMN refresh TEXT NOT NULL DEFAULT ''",
	"ALTER TABLE session ADD COLUMN checked INTEGER NOT NULL DEFAULT 0",
	/* Logout tokens that were obeyed: none counts twice (Back-Channel Logout 1.0, 2.6). */
	"CREATE TABLE logout_token ("
	" issuer TEXT NOT NULL, jti TEXT NOT NULL, until INTEGER NOT NULL,"
	" PRIMARY KEY (issuer, jti)) STRICT, WITHOUT ROWID",

	"ALTER TABLE node ADD COLUMN approved INTEGER NOT NULL DEFAULT 1",
	"ALTER TABLE node ADD COLUMN ephemeral INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE node ADD COLUMN expires INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE enrol_key ADD COLUMN ephemeral INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE enrol_key ADD COLUMN node_life INTEGER NOT NULL DEFAULT 0",

	/* Every login name that somebody ever had, and whose it is: their account's, or, once
	 * that was deleted (user 0), their identity's. */
	"CREATE TABLE login_name ("
	" login_key TEXT PRIMARY KEY, user INTEGER NOT NULL,"
	" issuer TEXT NOT NULL, sub TEXT NOT NULL, since INTEGER NOT NULL) STRICT, WITHOUT ROWID",
	"CREATE INDEX login_name_user ON login_name(user)",
	"INSERT INTO login_name (login_key, user, issuer, sub, since)"
	" SELECT login_key, id, issuer, sub, created FROM user",
	NULL,
};

/* Evidence of logins at the device. The token goes with its session; its hash stays for as
 * long as the session is remembered: one token makes one session. */
static const char *const step_3[] = {
	"ALTER TABLE session ADD COLUMN id_token TEXT NOT NULL DEFAULT ''",
	"ALTER TABLE session ADD COLUMN opening BLOB",
	"ALTER TABLE session ADD COLUMN token_hash BLOB",
	"CREATE UNIQUE INDEX session_token ON session(token_hash) WHERE token_hash IS NOT NULL",
	NULL,
};

/* Who is in which group, and who says so; SCIM's resources. store/groups.h, store/scim.h. */
static const char *const step_groups[] = {
	"CREATE TABLE account ("
	" source TEXT NOT NULL, login_key TEXT NOT NULL,"
	" at INTEGER NOT NULL, absent INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL DEFAULT 0,"
	" PRIMARY KEY (login_key, source)) STRICT, WITHOUT ROWID",
	"CREATE INDEX account_source ON account(source, state)",
	"CREATE TABLE membership ("
	" source TEXT NOT NULL, login_key TEXT NOT NULL, grp TEXT NOT NULL,"
	" said INTEGER NOT NULL DEFAULT 1,"
	" PRIMARY KEY (login_key, source, grp)) STRICT, WITHOUT ROWID",
	"CREATE INDEX membership_group ON membership(source, grp)",
	"CREATE INDEX membership_odd ON membership(source, said) WHERE said != 1",
	"CREATE TABLE group_base ("
	" source TEXT NOT NULL, kind TEXT NOT NULL, grp TEXT NOT NULL,"
	" count INTEGER NOT NULL, at INTEGER NOT NULL,"
	" PRIMARY KEY (source, kind, grp)) STRICT, WITHOUT ROWID",
	"CREATE TABLE held ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" source TEXT NOT NULL, kind TEXT NOT NULL, grp TEXT NOT NULL,"
	" lost INTEGER NOT NULL, total INTEGER NOT NULL, at INTEGER NOT NULL,"
	" live INTEGER NOT NULL, UNIQUE (source, kind, grp)) STRICT",
	/* What was known: the groups of everybody's last login. */
	"INSERT OR IGNORE INTO membership (source, login_key, grp)"
	" WITH RECURSIVE cut(source, login_key, grp, rest) AS ("
	"  SELECT 'idp:' || issuer, login_key, '', groups || char(10) FROM user WHERE groups != ''"
	"  UNION ALL SELECT source, login_key, substr(rest, 1, instr(rest, char(10)) - 1),"
	"  substr(rest, instr(rest, char(10)) + 1) FROM cut WHERE rest != '')"
	" SELECT source, login_key, grp FROM cut WHERE grp != ''",
	/* A provisioning token is a key of another kind. */
	"ALTER TABLE enrol_key ADD COLUMN scim INTEGER NOT NULL DEFAULT 0",
	"CREATE TABLE scim_user ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" name_key TEXT NOT NULL UNIQUE, external_id TEXT NOT NULL, active INTEGER NOT NULL,"
	" version INTEGER NOT NULL DEFAULT 1, created INTEGER NOT NULL, modified INTEGER NOT NULL,"
	" body TEXT NOT NULL) STRICT",
	"CREATE INDEX scim_user_external ON scim_user(external_id)",
	"CREATE TABLE scim_group ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" name TEXT NOT NULL UNIQUE, external_id TEXT NOT NULL,"
	" version INTEGER NOT NULL DEFAULT 1, created INTEGER NOT NULL, modified INTEGER NOT NULL)"
	" STRICT",
	"CREATE TABLE scim_member ("
	" grp INTEGER NOT NULL REFERENCES scim_group(id) ON DELETE CASCADE,"
	" user INTEGER NOT NULL REFERENCES scim_user(id) ON DELETE CASCADE,"
	" PRIMARY KEY (grp, user)) STRICT, WITHOUT ROWID",
	"CREATE INDEX scim_member_user ON scim_member(user)",
	NULL,
};

/* Sessions of browsers are nodes without addresses. store/browser_ops.c. */
static const char *const step_browser[] = {
	"ALTER TABLE node ADD COLUMN browser TEXT NOT NULL DEFAULT ''",
	"ALTER TABLE node ADD COLUMN host INTEGER NOT NULL DEFAULT 0",
	NULL,
};

/* Who logged in, of the identities that one person may have. */
static const char *const step_session_sub[] = {
	"ALTER TABLE session ADD COLUMN sub TEXT NOT NULL DEFAULT ''",
	NULL,
};

/* Secrets of authenticator apps are sealed (store/account_seal.c); the key of browsers' marks is made
 * of the same file as theirs. */
static const char *const step_sealed[] = {
	"ALTER TABLE own_account ADD COLUMN totp_sealed TEXT NOT NULL DEFAULT ''",
	"DROP TABLE own_mark",
	NULL,
};

/* What an administrator says of own accounts. */
static const char *const step_own_groups[] = {
	"ALTER TABLE own_account ADD COLUMN groups TEXT NOT NULL DEFAULT ''",
	NULL,
};

/* Another key of a node: rotate_ops.c. */
static const char *const step_rotate[] = {
	"ALTER TABLE node ADD COLUMN next_key BLOB",
	"ALTER TABLE node ADD COLUMN next_until INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE node ADD COLUMN next_vouches TEXT NOT NULL DEFAULT ''",
	"ALTER TABLE node ADD COLUMN was_key BLOB",
	"ALTER TABLE node ADD COLUMN was_until INTEGER NOT NULL DEFAULT 0",
	"ALTER TABLE node ADD COLUMN was_vouches TEXT NOT NULL DEFAULT ''",
	"ALTER TABLE session ADD COLUMN evidence_key BLOB",
	NULL,
};

/* What a directory's reader goes on from: kept_ops.c. */
static const char *const step_kept[] = {
	"CREATE TABLE ldap_kept (source TEXT PRIMARY KEY, mark BLOB NOT NULL) STRICT, WITHOUT ROWID",
	"CREATE TABLE ldap_entry ("
	" source TEXT NOT NULL, kind INTEGER NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL,"
	" PRIMARY KEY (source, kind, key)) STRICT",
	NULL,
};

static const char *const *const steps[] = { step_1, step_2, step_3, step_groups, account_step,
						    step_browser, step_session_sub, step_sealed,
						    step_own_groups, step_rotate, step_kept };

static bool get_int(struct db *db, const char *pragma, int64_t *ret_n, struct err *err)
{
	struct db_rows q = db_query(db, err, pragma, "");

	*ret_n = db_next(&q, err) ? db_int(&q, 0) : 0;
	return db_end(&q);
}

static bool run_steps(struct db *db, size_t from, struct err *err)
{
	char pragma[64];

	for (size_t i = from; i < array_size(steps); i++)
		for (const char *const *sql = steps[i]; *sql; sql++)
			if (!db_run(db, err, *sql, ""))
				return false;
	__builtin_snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%zu", array_size(steps));
	if (!db_run(db, err, pragma, ""))
		return false;
	__builtin_snprintf(pragma, sizeof(pragma), "PRAGMA application_id=%d", APPLICATION_ID);
	return db_run(db, err, pragma, "");
}

bool schema_migrate(struct db *db, struct err *err)
{
	int64_t version, app;

	if (!get_int(db, "PRAGMA user_version", &version, err) ||
	    !get_int(db, "PRAGMA application_id", &app, err))
		return false;
	if (app != APPLICATION_ID && (app != 0 || version != 0))
		return err_set(err, ERR_CONFIG, "this database is another program's");
	if (version > (int64_t)array_size(steps))
		return err_set(
			err, ERR_CONFIG,
			"this database is of a later release (schema %lld, this one knows %zu)",
			(long long)version, array_size(steps));
	if (version == (int64_t)array_size(steps))
		return true;
	if (!db_run(db, err, "BEGIN IMMEDIATE", ""))
		return false;
	if (!run_steps(db, (size_t)version, err)) {
		if (db_in_transaction(db))
			db_run(db, NULL, "ROLLBACK", "");
		return err_prefix(err, "bringing the database up to date: ");
	}
	return db_run(db, err, "COMMIT", "");
}
