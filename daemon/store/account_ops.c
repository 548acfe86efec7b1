/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/account_ops.h"

#include "daemon/store/group_parts.h"

#include "base/mem.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

static void passkey_done(struct account_passkey *p)
{
	free(p->credential);
	free(p->key);
	free(p->name);
}

void account_row_free(struct account_row *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->passkey_count; i++)
		passkey_done(&r->passkeys[i]);
	free(r->passkeys);
	free(r->codes);
	free(r->links);
	free(r->login);
	free(r->name);
	free(r->sub);
	free(r->groups);
	if (r->password)
		mem_wipe(r->password, strlen(r->password));
	free(r->password);
	free(r->totp);
	free(r);
}

static bool read_passkeys(struct db *db, struct account_row *r, struct err *err)
{
	struct db_rows q = db_query(db, err,
				    "SELECT id, credential, key, alg, counter, name, created, used"
				    " FROM own_passkey WHERE account = ? ORDER BY id",
				    "i", (int64_t)r->id);

	while (db_next(&q, err)) {
		r->passkeys = mem_realloc(r->passkeys, r->passkey_count + 1, sizeof(*r->passkeys));
		r->passkeys[r->passkey_count++] =
			(struct account_passkey){.id = (uint64_t)db_int(&q, 0),
						 .credential = db_text(&q, 1),
						 .key = db_text(&q, 2),
						 .alg = (int)db_int(&q, 3),
						 .counter = db_int(&q, 4),
						 .name = db_text(&q, 5),
						 .created = {db_int(&q, 6)},
						 .used = {db_int(&q, 7)}};
	}
	return db_end(&q);
}

static bool read_codes(struct db *db, struct account_row *r, struct err *err)
{
	struct db_rows q = db_query(db, err, "SELECT hash FROM own_code WHERE account = ?", "i",
				    (int64_t)r->id);

	while (db_next(&q, err)) {
		r->codes = mem_realloc(r->codes, r->code_count + 1, sizeof(*r->codes));
		r->code_count += db_blob(&q, 0, r->codes[r->code_count], ACCOUNT_HASH);
	}
	return db_end(&q);
}

static bool read_links(struct db *db, struct account_row *r, struct err *err)
{
	struct db_rows q =
		db_query(db, err, "SELECT hash, reset, expires FROM own_link WHERE account = ?",
			 "i", (int64_t)r->id);

	while (db_next(&q, err)) {
		r->links = mem_realloc(r->links, r->link_count + 1, sizeof(*r->links));
		r->links[r->link_count] = (struct account_link){.reset = db_int(&q, 1) != 0,
								.expires = {db_int(&q, 2)}};
		r->link_count += db_blob(&q, 0, r->links[r->link_count].hash, ACCOUNT_HASH);
	}
	return db_end(&q);
}

/* NULL and true: there is none. */
static bool read_account(struct db *db, uint64_t id, struct account_row **ret, struct err *err)
{
	struct account_row *r = NULL;
	struct db_rows q = db_query(
		db, err,
		"SELECT login, name, sub, password, totp_sealed, totp_step, disabled, created,"
		" last_login, groups FROM own_account WHERE id = ?",
		"i", (int64_t)id);

	if (db_next(&q, err)) {
		r = mem_alloc(sizeof(*r));
		r->id = id;
		r->login = db_text(&q, 0);
		r->name = db_text(&q, 1);
		r->sub = db_text(&q, 2);
		r->password = db_text(&q, 3);
		r->totp = db_text(&q, 4);
		r->totp_step = db_int(&q, 5);
		r->disabled = db_int(&q, 6) != 0;
		r->created.sec = db_int(&q, 7);
		r->last_login.sec = db_int(&q, 8);
		r->groups = db_text(&q, 9);
	}
	if (!db_end(&q) || (r && (!read_passkeys(db, r, err) || !read_codes(db, r, err) ||
				  !read_links(db, r, err)))) {
		account_row_free(r);
		return false;
	}
	*ret = r;
	return true;
}

/* ---- loading ---- */

static bool load_work(struct db *db, struct store_job *job, struct err *err)
{
	struct account_load_op *op = container_of(job, struct account_load_op, job);
	struct db_rows q = db_query(db, err, "SELECT id FROM own_account ORDER BY id", "");
	uint64_t *ids = NULL;
	size_t n = 0, room = 0;
	bool ok;

	while (db_next(&q, err)) {
		if (n == room) {
			room = room ? 2 * room : 64;
			ids = mem_realloc(ids, room, sizeof(*ids));
		}
		ids[n++] = (uint64_t)db_int(&q, 0);
	}
	ok = db_end(&q);
	op->list = mem_calloc(n ? n : 1, sizeof(*op->list));
	for (size_t i = 0; ok && i < n; i++) {
		ok = read_account(db, ids[i], &op->list[op->count], err);
		op->count += ok && op->list[op->count];
	}
	free(ids);
	return ok;
}

static void load_free(struct store_job *job)
{
	struct account_load_op *op = container_of(job, struct account_load_op, job);

	for (size_t i = 0; i < op->count; i++)
		account_row_free(op->list[i]);
	free(op->list);
	free(op);
}

struct account_load_op *account_load_op_new(void)
{
	struct account_load_op *op = op_make(struct account_load_op, load_work, load_free);

	return op;
}

/* ---- changes ---- */

static bool missing(struct err *err)
{
	return err_set(err, ERR_MISSING, "there is no such account");
}

/* The one that a link may lead to: older ones end. */
static bool put_link(struct db *db, const struct account_op *op, bool reset, struct err *err)
{
	return db_run(db, err, "DELETE FROM own_link WHERE account = ?", "i",
		      (int64_t)op->account) &&
	       db_run(db, err,
		      "INSERT INTO own_link (hash, account, reset, expires) VALUES (?, ?, ?, ?)",
		      "biii", op->link, sizeof(op->link), (int64_t)op->account, (int64_t)reset,
		      op->expires.sec);
}

static bool is_set_up(struct db *db, uint64_t account, bool *ret, struct err *err)
{
	bool there;
	int64_t n;

	if (!part_int(db, &n, &there, err,
		      "SELECT (password != '') + (SELECT count(*) FROM own_passkey p WHERE "
		      "p.account ="
		      " a.id) FROM own_account a WHERE id = ?",
		      "i", (int64_t)account))
		return false;
	*ret = there && n > 0;
	return there || missing(err);
}

static bool invite(struct db *db, struct account_op *op, struct err *err)
{
	bool set_up = false, found;
	struct db_rows q =
		db_query(db, err, "SELECT id FROM own_account WHERE login = ?", "t", op->login);

	found = db_next(&q, err);
	if (found)
		op->account = (uint64_t)db_int(&q, 0);
	if (!db_end(&q) || (found && !is_set_up(db, op->account, &set_up, err)))
		return false;
	if (set_up)
		return err_set(err, ERR_EXISTS, "%s has an account: reset it, if it was lost",
			       op->login);
	if (!found) {
		if (!db_run(db, err,
			    "INSERT INTO own_account (login, name, sub, created) VALUES (?, ?, ?, "
			    "?)",
			    "ttti", op->login, text_or(op->name), op->sub, op->now.sec))
			return false;
		op->account = (uint64_t)db_last_id(db);
	} else if (op->name && !db_run(db, err, "UPDATE own_account SET name = ? WHERE id = ?",
				       "ti", op->name, (int64_t)op->account)) {
		return false;
	}
	return put_link(db, op, false, err);
}

static bool put_codes(struct db *db, const struct account_op *op, struct err *err)
{
	if (!op->codes)
		return true;
	if (!db_run(db, err, "DELETE FROM own_code WHERE account = ?", "i", (int64_t)op->account))
		return false;
	for (size_t i = 0; i < op->code_count; i++)
		if (!db_run(db, err, "INSERT INTO own_code (account, hash) VALUES (?, ?)", "ib",
			    (int64_t)op->account, op->codes[i], (size_t)ACCOUNT_HASH))
			return false;
	return true;
}

static bool put_passkey(struct db *db, const struct account_op *op, struct err *err)
{
	const struct account_passkey *p = op->passkey;
	struct err e = {0};

	if (!p)
		return true;
	if (db_run(db, &e,
		   "INSERT INTO own_passkey (account, credential, key, alg, counter, name, created)"
		   " VALUES (?, ?, ?, ?, ?, ?, ?)",
		   "ittiiti", (int64_t)op->account, p->credential, p->key, (int64_t)p->alg,
		   p->counter, text_or(p->name), op->now.sec))
		return true;
	if (e.code == ERR_EXISTS)
		return err_set(err, ERR_EXISTS, "that passkey is known already");
	return err_set(err, e.code, "%s", e.msg);
}

static bool change(struct db *db, const struct account_op *op, struct err *err)
{
	int64_t id = (int64_t)op->account;

	return (!op->password || db_run(db, err, "UPDATE own_account SET password = ? WHERE id = ?",
					"ti", op->password, id)) &&
	       (!op->totp ||
		db_run(db, err,
		       "UPDATE own_account SET totp_sealed = ?, totp_step = ? WHERE id = ?", "tii",
		       op->totp, op->step, id)) &&
	       put_codes(db, op, err) && put_passkey(db, op, err);
}

static bool end_sessions(struct db *db, struct account_op *op, const char *why, struct err *err)
{
	struct db_rows q =
		db_query(db, err,
			 "SELECT i.user FROM identity i JOIN own_account a ON a.sub = i.sub"
			 " WHERE i.issuer = ? AND a.id = ?",
			 "ti", text_or(op->issuer), (int64_t)op->account);
	int64_t user = db_next(&q, err) ? db_int(&q, 0) : 0;
	size_t n = 0;

	if (!db_end(&q))
		return false;
	return !user || (part_end(db, "user = ?", user, why, op->now, &n, &op->job.changes, err) &&
			 (n == 0 || part_seq(db, &op->job.changes, err)));
}

/* The claim of the next login, and what that would do to who is logged in. */
static bool put_groups(struct db *db, struct account_op *op, struct err *err)
{
	scoped_free char *key = NULL, *source = mem_alloc(SOURCE_NAME_MAX);
	int64_t user = 0;

	if (!db_run(db, err, "UPDATE own_account SET groups = ? WHERE id = ?", "ti",
		    text_or(op->groups), (int64_t)op->account))
		return false;
	struct db_rows q = db_query(
		db, err,
		"SELECT u.id, u.login_key FROM own_account a JOIN identity i ON i.sub = a.sub"
		" JOIN user u ON u.id = i.user WHERE i.issuer = ? AND a.id = ?",
		"ti", text_or(op->issuer), (int64_t)op->account);
	if (db_next(&q, err)) {
		user = db_int(&q, 0);
		key = db_text(&q, 1);
	}
	if (!db_end(&q))
		return false;
	if (!user)
		return true; /* nobody who was here yet */
	if (snprintf(source, SOURCE_NAME_MAX, "idp:%s", text_or(op->issuer)) >= SOURCE_NAME_MAX)
		return err_set(err, ERR_LIMIT, "the issuer is too long");
	return part_claims_say(db, source, key, text_or(op->groups), op->now, err) &&
	       part_user(db, (uint64_t)user, &op->job.changes, err) &&
	       part_seq(db, &op->job.changes, err);
}

static bool set_up(struct db *db, struct account_op *op, struct err *err)
{
	int64_t id = (int64_t)op->account;

	if (!db_run(db, err, "DELETE FROM own_link WHERE hash = ? AND account = ? AND expires > ?",
		    "bii", op->link, sizeof(op->link), id, op->now.sec))
		return false;
	if (db_changed(db) != 1)
		return err_set(err, ERR_DENIED, "this link was used before, or is too old");
	return db_run(db, err,
		      "UPDATE own_account SET password = '', totp_sealed = '', totp_step = 0 WHERE "
		      "id = "
		      "?",
		      "i", id) &&
	       db_run(db, err, "DELETE FROM own_passkey WHERE account = ?", "i", id) &&
	       db_run(db, err, "DELETE FROM own_code WHERE account = ?", "i", id) &&
	       change(db, op, err) && end_sessions(db, op, "account-reset", err);
}

static bool login(struct db *db, const struct account_op *op, struct err *err)
{
	int64_t id = (int64_t)op->account;
	bool ok = true;

	if (op->step)
		ok = db_run(db, err,
			    "UPDATE own_account SET totp_step = ? WHERE id = ? AND totp_step < ?",
			    "iii", op->step, id, op->step);
	else if (op->by_code)
		ok = db_run(db, err, "DELETE FROM own_code WHERE account = ? AND hash = ?", "ib",
			    id, op->code, sizeof(op->code));
	else
		/* WebAuthn 7.2 step 21: a counter that does not go up is a copy of the key; one
		 * that stays 0 is none. */
		ok = db_run(
			db, err,
			"UPDATE own_passkey SET counter = ?, used = ? WHERE id = ? AND account = ?"
			" AND (counter < ? OR (counter = 0 AND ? = 0))",
			"iiiiii", op->counter, op->now.sec, (int64_t)op->passkey_id, id,
			op->counter, op->counter);
	if (!ok)
		return false;
	if (db_changed(db) != 1)
		return err_set(err, ERR_DENIED, "that counted once, and was used before");
	if (!db_run(db, err, "UPDATE own_account SET last_login = ? WHERE id = ? AND disabled = 0",
		    "ii", op->now.sec, id))
		return false;
	return db_changed(db) == 1 || err_set(err, ERR_DENIED, "the account is disabled");
}

static bool account_do(struct db *db, struct account_op *op, struct err *err)
{
	int64_t id = (int64_t)op->account;

	switch (op->what) {
	case ACCOUNT_INVITE:
		return invite(db, op, err);
	case ACCOUNT_RESET:
		return put_link(db, op, true, err);
	case ACCOUNT_SET_UP:
		return set_up(db, op, err);
	case ACCOUNT_CHANGE:
		return change(db, op, err);
	case ACCOUNT_LOGIN:
		return login(db, op, err);
	case ACCOUNT_PASSKEY_REMOVE:
		return db_run(db, err, "DELETE FROM own_passkey WHERE id = ? AND account = ?", "ii",
			      (int64_t)op->passkey_id, id) &&
		       (db_changed(db) == 1 ||
			err_set(err, ERR_MISSING, "there is no such passkey"));
	case ACCOUNT_DISABLE:
		return db_run(db, err, "UPDATE own_account SET disabled = 1 WHERE id = ?", "i",
			      id) &&
		       db_run(db, err, "DELETE FROM own_link WHERE account = ?", "i", id) &&
		       end_sessions(db, op, "account-disabled", err);
	case ACCOUNT_ENABLE:
		return db_run(db, err, "UPDATE own_account SET disabled = 0 WHERE id = ?", "i", id);
	case ACCOUNT_GROUPS:
		return put_groups(db, op, err);
	case ACCOUNT_DELETE:
		return end_sessions(db, op, "account-deleted", err) &&
		       db_run(db, err, "DELETE FROM own_account WHERE id = ?", "i", id);
	}
	return err_set(err, ERR_NOTNOW, "no such change");
}

static bool account_work(struct db *db, struct store_job *job, struct err *err)
{
	struct account_op *op = container_of(job, struct account_op, job);
	int64_t n;
	bool there;

	if (op->what != ACCOUNT_INVITE) {
		if (!part_int(db, &n, &there, err, "SELECT id FROM own_account WHERE id = ?", "i",
			      (int64_t)op->account))
			return false;
		if (!there)
			return missing(err);
	}
	return account_do(db, op, err) && read_account(db, op->account, &op->row, err);
}

static void account_free(struct store_job *job)
{
	struct account_op *op = container_of(job, struct account_op, job);

	free(op->login);
	free(op->name);
	free(op->sub);
	free(op->issuer);
	free(op->groups);
	if (op->url)
		mem_wipe(op->url, strlen(op->url));
	free(op->url);
	if (op->password)
		mem_wipe(op->password, strlen(op->password));
	free(op->password);
	free(op->totp);
	free(op->codes);
	if (op->passkey)
		passkey_done(op->passkey);
	free(op->passkey);
	account_row_free(op->row);
	mem_wipe(op, sizeof(*op));
	free(op);
}

struct account_op *account_op_new(enum account_what what, uint64_t account, struct wall now)
{
	struct account_op *op = op_make(struct account_op, account_work, account_free);

	op->what = what;
	op->account = account;
	op->now = now;
	return op;
}
