/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/account_ops.h"

#include "daemon/store/db.h"
#include "daemon/store/schema.h"

#include "base/mem.h"

#include <stdlib.h>

enum { TOTP_LEN = 20 };

/* The first account whose secret is as it was; 0: none. */
static bool next_plain(struct db *db, int64_t *ret_id, unsigned char secret[TOTP_LEN],
		       struct err *err)
{
	struct db_rows q = db_query(
		db, err,
		"SELECT id, totp FROM own_account WHERE totp IS NOT NULL ORDER BY id LIMIT 1", "");

	*ret_id = db_next(&q, err) ? db_int(&q, 0) : 0;
	if (*ret_id && !db_blob(&q, 1, secret, TOTP_LEN)) {
		db_end(&q);
		return err_set(err, ERR_SYNTAX, "the secret of a%lld is not one",
			       (long long)*ret_id);
	}
	return db_end(&q);
}

static bool seal_all(struct db *db, account_seal_fn *seal, const void *ctx, size_t *ret_count,
		     struct err *err)
{
	unsigned char secret[TOTP_LEN];
	int64_t id;
	bool ok;

	for (*ret_count = 0; (ok = next_plain(db, &id, secret, err)) && id; ++*ret_count) {
		scoped_free char *sealed = seal(ctx, (uint64_t)id, span_of(secret, sizeof(secret)));

		ok = sealed ? db_run(db, err,
				     "UPDATE own_account SET totp_sealed = ?, totp = NULL WHERE id "
				     "= ?",
				     "ti", sealed, id)
			    : err_set(err, ERR_CRYPTO, "the secret of a%lld could not be sealed",
				      (long long)id);
		if (!ok)
			break;
	}
	mem_wipe(secret, sizeof(secret));
	return ok;
}

bool accounts_seal(const char *path, account_seal_fn *seal, const void *ctx, struct err *err)
{
	struct db *db = db_open(path, DB_EXISTING, err);
	size_t n = 0;
	bool ok = db && schema_migrate(db, err) && db_run(db, err, "BEGIN IMMEDIATE", "") &&
		  seal_all(db, seal, ctx, &n, err) && db_run(db, err, "COMMIT", "") &&
		  /* Free pages and the log still have what was there before. */
		  (n == 0 || (db_run(db, err, "PRAGMA temp_store=MEMORY", "") &&
			      db_run(db, err, "VACUUM", "") &&
			      db_run(db, err, "PRAGMA wal_checkpoint(TRUNCATE)", "")));

	db_close(db);
	return ok;
}
