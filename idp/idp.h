/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_IDP_H
#define IDP_IDP_H

/*
 * The relying party: discovery, keys and logins of the configured providers,
 * on the loop, never blocking it. https only, no redirects, every exchange
 * bounded in bytes and time.
 *
 * An operation (struct idp_op) runs until its callback; idp_cancel() ends it
 * without one. A callback may run from inside the function that starts the
 * operation only where that says so: here none does. idp_free() cancels
 * what is under way, so whoever waits must be answered before; it is not
 * called from inside a callback.
 */

#include "base/conf.h"
#include "base/loop.h"
#include "base/secret.h"
#include "idp/bearer.h"
#include "idp/claims.h"
#include "idp/evidence.h"

enum {
	IDP_OPS_MAX = 1024,             /* operations under way; more are refused: ERR_BUSY */
	IDP_QUERY_MAX = 8 << 10,        /* a callback's query string */
	IDP_CODE_MAX = 2 << 10,
	IDP_DISCOVERY_MAX = 128 << 10,
	IDP_ANSWER_MAX = 256 << 10,     /* token and userinfo endpoints: an ID token with a thousand groups */
	IDP_LOGIN_SECONDS = 600,        /* an attempt lives so long */
	IDP_REFETCH_SECONDS = 60,       /* an unknown kid fetches keys again at most so often */
	IDP_PROBE_SECONDS = 3,          /* a provider that takes longer is away, to those who can do without it */
	IDP_RETRY_SECONDS = 5,          /* after a failure, nobody asks the provider again sooner */
};

struct idp;
struct idp_op;

/* providers: items are struct provider, names are how callers speak of them;
 * borrowed, and must outlive the object. Reads the secret, key and JWKS files.
 * A reload makes a new object; attempts (struct login) survive it. */
struct idp *idp_new(struct loop *l, const struct conf_map *providers, struct err *err);
void idp_free(struct idp *idp);
const struct provider *idp_provider(const struct idp *idp, const char *name);   /* NULL if absent */
void idp_cancel(struct idp_op *op);             /* accepts NULL */

/* ---- a login: start -> URL for the browser -> its callback -> identity ---- */

struct login;                   /* one attempt: state, nonce, PKCE verifier; wiped on free */

struct login_options {
	const char *redirect_uri;       /* where the provider sends the browser back; needed */
	bool        device;             /* with the provider's public device client */
	const char *nonce;              /* binding_nonce() of a device; NULL: drawn */
	const char *login_hint;         /* these: NULL leaves the provider's row */
	const char *acr_values;         /* blank-separated; the token must then show one of them */
	const char *prompt;
	const char *ui_locales;
	bool        probe;              /* find out first whether the provider answers at all, within IDP_PROBE_SECONDS */
	int64_t     max_age;            /* < 0: the provider's row; else the token must show it */
};

/* What refused, for three readers. */
struct login_refusal {
	struct err        err;          /* for the administrator */
	enum token_reason token;        /* for tests and logs; TOKEN_UNCHECKED if no token was reached */
	char              error[64];    /* the provider's error code ("access_denied"); "" if it gave none */
	char              words[256];   /* for the person; never text that the provider chose */
};
/* Whether what was asked with prompt=none would go on with a page of the provider's (OpenID Connect Core 1.0, 3.1.2.6). */
bool login_wants_person(const struct login_refusal *why);

/* login is the callee's from here, NULL on refusal. */
typedef void login_start_fn(void *arg, struct login *login, const struct login_refusal *why);
struct idp_op *idp_login_start(struct idp *idp, const char *provider, const struct login_options *o,
                               login_start_fn *fn, void *arg);

const char *login_url(const struct login *login);       /* where to send the browser */
const char *login_state(const struct login *login);     /* the caller finds the attempt by it */
const char *login_provider(const struct login *login);
struct wall login_expires(const struct login *login);
void login_free(struct login *login);                   /* accepts NULL */

/* The state in a callback's query string, to find the attempt by; false if it
 * is absent, twice there, or not of our form. out takes LOGIN_STATE_SIZE bytes. */
enum { LOGIN_STATE_SIZE = 44 };
bool login_query_state(struct span query, char ret_state[LOGIN_STATE_SIZE]);

struct login_result {
	struct identity identity;
	char *id_token;                 /* evidence, or the hint of a logout */
	struct secret refresh_token;    /* empty: none */
};
void login_result_done(struct login_result *r);

/* r is NULL on refusal; the callee may take parts of it, the rest is freed after. */
typedef void login_done_fn(void *arg, struct login_result *r, const struct login_refusal *why);

/* Takes login: an attempt is answered once, whatever the answer. */
struct idp_op *idp_login_finish(struct idp *idp, struct login *login, struct span query,
                                login_done_fn *fn, void *arg);

/* Does the provider still stand by that person? The identity in r is of a new ID
 * token if the provider sent one (same issuer and sub, else refused), and has
 * issuer NULL if it sent none; its acr, amr, mfa and auth_time may be missing, and do not
 * replace the login's. refresh_token in r replaces the old one if it is not empty: also where
 * why says that the rest could not be had or checked, since the provider may take the old one no
 * more. Then r has nothing else. */
struct idp_op *idp_refresh(struct idp *idp, const char *provider, const char *sub, bool device,
                           struct span refresh_token, login_done_fn *fn, void *arg);

/* ---- evidence and logout ---- */

typedef void identity_fn(void *arg, const struct identity *who, const struct login_refusal *why);

/* evidence_check() with this provider's current keys; id_token and opening are copied. */
struct idp_op *idp_evidence(struct idp *idp, const char *provider, struct span id_token,
                            struct span opening, const unsigned char key[DEVICE_KEY_SIZE],
                            int64_t max_age, bool old_exp_ok, identity_fn *fn, void *arg);

typedef void logout_fn(void *arg, const struct logout *l, const struct login_refusal *why);
struct idp_op *idp_logout_token(struct idp *idp, const char *provider, struct span token, bool device,
                                logout_fn *fn, void *arg);

/* bearer_check() with this provider's current keys; token and audience are copied. */
typedef void bearer_fn(void *arg, const struct bearer_token *t, const struct login_refusal *why);
struct idp_op *idp_bearer(struct idp *idp, const char *provider, struct span token, const char *audience,
                          bearer_fn *fn, void *arg);

/* The RP-initiated logout URL; false if the provider has none or was not discovered yet. */
bool idp_logout_url(const struct idp *idp, const char *provider, const char *id_token_hint,
                    const char *back_to, const char *state, struct buf *ret_url);

/* ---- for status pages ---- */

struct idp_status {
	bool        discovered;
	struct wall keys_at;            /* when keys were fetched; 0: never */
	size_t      n_keys;
	char        error[ERR_MSG_MAX]; /* of the last failure; "" since the last success */
};
bool idp_status(const struct idp *idp, const char *provider, struct idp_status *ret_s);

#endif
