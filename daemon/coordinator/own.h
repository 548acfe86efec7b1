/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_OWN_H
#define COORDINATOR_OWN_H

/*
 * Own accounts: a small OpenID Provider inside the coordinator, for a site that
 * has none. Its only client is the coordinator's own login, which talks to it like to any
 * other issuer: through the browser, and over the coordinator's own public socket for the
 * description, the keys and the token (on the loop, so it cannot wait for itself). So there
 * is one login path, and what checks an ID token checks these, too.
 *
 *   own.c           accounts in memory as they are on disk; flows; the start
 *   own_op.c        the provider's endpoints
 *   own_session.c   a browser stays logged in
 *   own_login.c     a person proves themselves
 *   own_setup.c     an invitation, a reset, and what people change themselves
 *   own_passkey.c   passkeys
 *   own_admin.c     what administrators do
 */

#include "daemon/accounts/guard.h"
#include "daemon/accounts/hasher.h"
#include "daemon/accounts/opaque.h"
#include "daemon/accounts/passkey.h"
#include "daemon/accounts/signer.h"
#include "daemon/accounts/totp.h"
#include "daemon/coordinator/coordinator.h"
#include "daemon/store/account_ops.h"
#include "web/form.h"
#include "web/own_pages.h"

#define OWN_CLIENT "reeve-coordinator"
#define OWN_ACR    "urn:reeve:acr:mfa"          /* every login has two factors */
#define OWN_PHR    "phr"                        /* and cannot be phished (OpenID EAP ACR values) */

enum {
	OWN_FLOWS_MAX = 4096,
	OWN_FLOW_SECONDS = 600,
	OWN_CODE_SECONDS = 60,
	OWN_CODES_MAX = 4096,
	OWN_TRIES_MAX = 5,              /* of a second factor in one flow */
	OWN_PARAM_MAX = 512,            /* state, nonce */
	OWN_TOKEN_SECONDS = 120,
	OWN_BODY_MAX = 16 << 10,        /* of a form; an attestation is about 1 KiB */
	OWN_PASSKEYS_MAX = 20,
	OWN_SESSIONS_MAX = 16384,       /* in all; who comes later is not kept logged in */
	OWN_SESSIONS_ACCOUNT = 16,      /* of one account: the oldest makes room */
};

enum own_kind { OWN_LOGIN = 1, OWN_SETUP, OWN_MANAGE };

enum own_step {
	OWN_NONE = 0,
	OWN_CONFIRM,            /* the browser is logged in: as that one? */
	OWN_PASSWORD,           /* login and password, or a passkey */
	OWN_FACTOR,             /* the password was right */
	OWN_NEW_PASSWORD,
	OWN_NEW_OTP,
	OWN_NEW_PASSKEY,
	OWN_MENU,               /* of OWN_MANAGE, once they are who they say */
	OWN_STEPS
};

/* One browser's way through some pages. */
struct own_flow {
	uint64_t      serial;
	char          id[ENROL_ATTEMPT_LEN + 1], browser[BROWSER_KEY_SIZE];
	enum own_kind kind;
	enum own_step step;
	struct boot   until;
	bool          busy;             /* an answer is under way */
	uint64_t      request;          /* who waits for it */
	unsigned      tries;
	uint64_t      account;          /* 0: nobody yet */
	char          login[LOGIN_MAX + 1];     /* as typed, lower case */
	struct ip     from;
	bool          known;            /* this browser has a mark for that account */
	unsigned char nonce[BROWSER_NONCE];
	/* OWN_LOGIN: what the client asked for */
	bool          phr_only;         /* a passkey, and nothing less */
	bool          phr_named;        /* the client knows that name */
	int64_t       max_age;          /* -1: none asked for */
	unsigned char session[OPAQUE_HASH];     /* OWN_CONFIRM: which */
	char         *state, *oidc_nonce, *challenge, *redirect_uri;
	/* OWN_SETUP */
	unsigned char link[OPAQUE_HASH];
	bool          reset;
	/* a passkey */
	unsigned char challenge_bytes[PASSKEY_CHALLENGE];
	bool          challenged, synced;
	/* what is being set */
	char          new_password[PASSWORD_TEXT_MAX];
	unsigned char new_totp[TOTP_SECRET];
	char          codes[RECOVERY_CODES][RECOVERY_TEXT + 1];
};

/* How somebody proved themselves. */
enum own_method { OWN_BY_NOTHING = 0, OWN_BY_OTP, OWN_BY_RECOVERY, OWN_BY_PASSKEY };

/* A browser that is logged in here. */
struct own_session {
	unsigned char   hash[OPAQUE_HASH];      /* of what its cookie holds */
	uint64_t        account;
	enum own_method how;
	bool            synced;
	struct wall     auth_time;
	struct boot     made, used;
};

struct own {
	struct coordinator *co;
	struct dict        *by_id, *by_login;   /* struct account_row */
	struct dict        *flows, *serials;    /* struct own_flow, by id and by serial */
	struct dict        *codes;              /* struct own_code, by hash */
	struct dict        *sessions;           /* struct own_session, by hash */
	struct hasher      *hasher;
	struct signer      *signer;
	struct guard       *guard;
	struct secret       mark;
	struct loop_timer  *tick;
	uint64_t            last;
};

/* Submits the loading of accounts: what is submitted after it finds them. NULL on failure. */
struct own *own_new(struct coordinator *co, struct err *err);
void own_free(struct own *own);                 /* accepts NULL */

struct account_row *own_find(const struct own *own, uint64_t id);
struct account_row *own_find_login(const struct own *own, struct span login);
struct account_row *own_find_link(const struct own *own, const unsigned char hash[OPAQUE_HASH],
                                  const struct account_link **ret_link);
/* In a job's done, when err is NULL: what is on disk counts from here. */
void own_commit(struct own *own, struct account_op *op);
/* A flow's change: done is called with it; r is answered if it cannot be handed over. */
void own_submit(struct own *own, struct request *r, struct own_flow *f, struct account_op *op,
                store_done_fn *done);
/* ASCII letters lowered; false where no login may look so. */
bool own_login_ok(struct span typed, char ret_login[LOGIN_MAX + 1]);

struct own_flow *own_flow_new(struct own *own, const struct request *r, enum own_kind kind, enum own_step step,
                              struct err *err);
struct own_flow *own_flow_find(struct own *own, uint64_t serial);       /* NULL if it is over */
void own_flow_drop(struct own *own, struct own_flow *f);
void own_flow_step(struct own_flow *f, enum own_step step);

/* The flow of a form that this browser was shown at this step; else r is answered. */
struct own_flow *own_flow_of(struct coordinator *co, struct request *r, struct span *ret_action);

/* Pages. */
struct own_view { struct own_page page; char base[64], token[FORM_TOKEN_SIZE]; };
void own_view(struct own *own, const struct own_flow *f, const char *wrong, struct own_view *ret);
void own_show(struct request *r, struct page *p);
void own_sorry(struct coordinator *co, struct request *r, int status, const char *title, const char *words);
void own_gone(struct coordinator *co, struct request *r);
bool own_ready(struct coordinator *co, struct request *r);      /* else r is answered */
void own_audit(struct own *own, const char *event, const struct account_row *a, const struct own_flow *f,
               const char *how);

/* own_login.c */
void own_login_show(struct own *own, struct request *r, struct own_flow *f, const char *wrong, int status,
                    bool set_browser);
void own_login_post(struct own *own, struct request *r, struct own_flow *f, struct span action);

/* own_passkey.c */
struct own_asked {
	struct own_passkey k;
	char               challenge[OPAQUE_TEXT + 1], rp_id[256];
	const char        *known[OWN_PASSKEYS_MAX + 1];
};
/* For a page: a fresh challenge of this flow. NULL where the coordinator's URL has no domain. */
const struct own_passkey *own_passkey_ask(struct own *own, struct own_flow *f, struct own_asked *ret);
/* The form's answer. err is for the audit. */
bool own_passkey_new(struct own *own, const struct request *r, struct own_flow *f, struct account_op *op,
                     struct err *err);
struct account_op *own_passkey_login(struct own *own, const struct request *r, struct own_flow *f,
                                     struct err *err);

/* own_setup.c */
void own_setup_post(struct own *own, struct request *r, struct own_flow *f, struct span action);
void own_menu_show(struct own *own, struct request *r, struct own_flow *f, const char *wrong);

/* own_op.c: somebody has proved themselves in an OWN_LOGIN, or is known by a session that fits; answers r
 * and ends the flow. */
void own_op_done(struct own *own, struct request *r, struct own_flow *f, enum own_method how);
void own_op_known(struct own *own, struct request *r, struct own_flow *f, struct own_session *s);

/* own_session.c: the live session of r's browser, NULL if it has none; whether it is a proof as young and strong
 * as is asked for (max_age -1: any). */
struct own_session *own_session_of(struct own *own, const struct request *r);
bool own_session_fits(const struct own *own, const struct own_session *s, int64_t max_age, bool phr_only);
/* Account, method and auth_time are proof's. Ends what r's browser had. False: it is not kept. */
bool own_session_begin(struct own *own, const struct request *r, const struct own_session *proof,
                       char ret_cookie[OPAQUE_TEXT + 1]);
void own_sessions_end(struct own *own, uint64_t account);
void own_sessions_sweep(struct own *own);       /* those that are over */
void own_confirm_show(struct own *own, struct request *r, struct own_flow *f);
void own_confirm_post(struct own *own, struct request *r, struct own_flow *f, struct span action);

/* An invitation or a reset: the token's hash into op; the link into out. */
void own_link_new(const struct conf *conf, struct account_op *op, struct buf *out);
/* own_admin.c: an ACCOUNT_INVITE without its link. */
struct account_op *own_invite_new(const char *login, const char *name, struct wall now);

/* Routes. */
void api_own_discovery(void *ctx, struct request *r);
void api_own_jwks(void *ctx, struct request *r);
void api_own_authorize(void *ctx, struct request *r);
void api_own_token(void *ctx, struct request *r);
void api_own_flow_get(void *ctx, struct request *r);
void api_own_flow_post(void *ctx, struct request *r);
void api_own_link(void *ctx, struct request *r);
void api_own_script(void *ctx, struct request *r);
void api_own_account(void *ctx, struct request *r);
void api_own_logout_get(void *ctx, struct request *r);
void api_own_logout_post(void *ctx, struct request *r);
void api_own_admin_get(void *ctx, struct request *r);
void api_own_admin_post(void *ctx, struct request *r);
void api_own_admin_delete(void *ctx, struct request *r);

#endif
