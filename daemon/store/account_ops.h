/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_ACCOUNT_OPS_H
#define STORE_ACCOUNT_OPS_H

/*
 * Own accounts, for a site without an identity provider: what is kept of them,
 * and what can be done to them, as jobs (store/ops.h). What counts once (a link, a
 * code's step, a recovery code, a passkey's counter) is spent in the same transaction
 * that acts on it, and refused with ERR_DENIED where it was spent before.
 */

#include "daemon/store/store.h"

enum { ACCOUNT_HASH = 32 };

enum account_alg { ACCOUNT_ES256 = -7, ACCOUNT_EDDSA = -8 }; /* COSE's numbers */

struct account_passkey {
	uint64_t id;
	char *credential, *key; /* base64url */
	int alg;                /* enum account_alg */
	int64_t counter;
	char *name;
	struct wall created, used;
};

struct account_link {
	unsigned char hash[ACCOUNT_HASH];
	bool reset; /* else an invitation */
	struct wall expires;
};

struct account_row {
	uint64_t id;
	char *login, *name, *sub;
	char *groups;   /* list */
	char *password; /* as daemon/accounts keeps it; "": none */
	char *totp;        /* the app's secret, sealed by the coordinator; "": none */
	int64_t totp_step; /* the last that was used */
	bool disabled;
	struct wall created, last_login;
	struct account_passkey *passkeys;
	size_t passkey_count;
	unsigned char (*codes)[ACCOUNT_HASH]; /* recovery codes that are left */
	size_t code_count;
	struct account_link *links;
	size_t link_count;
};
void account_row_free(struct account_row *r); /* accepts NULL */

/* Everything. */
struct account_load_op {
	struct store_job job;
	struct account_row **list; /* out; rows may be taken */
	size_t count;
};
struct account_load_op *account_load_op_new(void);

/*
 * Before store_open(): the apps' secrets that an earlier release wrote as they are, are sealed, and
 * nothing of them is left in the file. A text that the caller frees; NULL: it failed.
 */
typedef char *account_seal_fn(const void *ctx, uint64_t account, struct span secret);
bool accounts_seal(const char *path, account_seal_fn *seal, const void *ctx, struct err *err);

enum account_what {
	ACCOUNT_INVITE =
		1, /* login, name, sub, link, expires; one that was never set up is invited anew */
	ACCOUNT_RESET,  /* account, link, expires */
	ACCOUNT_SET_UP, /* account, link (spent): everything old goes; password, totp, codes,
			   passkey */
	ACCOUNT_CHANGE, /* account: what is there of password, totp, codes; a passkey more */
	ACCOUNT_LOGIN,  /* account: step, code, or passkey_id and counter; last_login */
	ACCOUNT_PASSKEY_REMOVE, /* account, passkey_id */
	ACCOUNT_DISABLE,        /* account; ends sessions */
	ACCOUNT_ENABLE,
	ACCOUNT_GROUPS, /* account, groups: those and no others, in every session at once */
	ACCOUNT_DELETE, /* likewise */
};

struct account_op {
	struct store_job job;
	enum account_what what;
	uint64_t account; /* out of ACCOUNT_INVITE */
	char *login, *name, *sub;
	char *issuer; /* of own accounts: whose sessions end */
	char *groups; /* list */
	unsigned char link[ACCOUNT_HASH];
	struct wall now, expires; /* expires: the link's */
	char *password;           /* NULL: as it is */
	char *totp;                           /* sealed; NULL: as it is */
	int64_t step;                         /* 0: none */
	unsigned char (*codes)[ACCOUNT_HASH]; /* NULL: as they are */
	size_t code_count;
	bool by_code;
	unsigned char code[ACCOUNT_HASH];
	struct account_passkey *passkey; /* NULL: none */
	uint64_t passkey_id;
	int64_t counter;
	char *url;               /* the caller's own; wiped */
	uint64_t asker;          /* the caller's own */
	struct account_row *row; /* out: as it is now; NULL: gone */
};
/* The texts are copied or taken by the caller's hand; everything in it is freed with the job. */
struct account_op *account_op_new(enum account_what what, uint64_t account, struct wall now);

#endif
