/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_PROVIDER_H
#define IDP_PROVIDER_H

/*
 * What an owner configures of one identity provider: a table for base/conf.h.
 * A daemon embeds it as
 *
 *   { "issuers", CONF_MAP, offsetof(struct conf, issuers), 0, PROVIDERS_MAX, "", "...",
 *     .sub = provider_rows, .sub_size = sizeof(struct provider) }
 *
 * and calls provider_check() on each item after conf_parse(): it says what rows cannot.
 */

#include "base/conf.h"

enum { PROVIDERS_MAX = 32 };

enum provider_auth {            /* how the client names itself at the token endpoint */
	PROVIDER_AUTH_BASIC,    /* client_secret_basic */
	PROVIDER_AUTH_POST,     /* client_secret_post */
	PROVIDER_AUTH_KEY,      /* private_key_jwt, RFC 7523 */
	PROVIDER_AUTH_NONE,     /* a public client: PKCE alone */
};

enum provider_login {           /* where people log in to be on the mesh */
	PROVIDER_LOGIN_PORTAL,  /* at the coordinator's pages, with client_id */
	PROVIDER_LOGIN_DEVICE,  /* the node itself does it, with device_client_id: evidence */
};

struct provider {
	char *issuer;                   /* https URL without query or fragment, compared byte for byte */
	char *title;                    /* what the choice page calls it; "" : the issuer's host */
	char *client_id;
	char *client_secret_file;       /* mode 0600; read at idp_new(); "" : there is none */
	char *client_key_file;          /* PEM, mode 0600; for private_key_jwt */
	char *client_key_id;            /* kid in its assertions; "" : none */
	int   auth;                     /* enum provider_auth */
	char *device_client_id;         /* public client for logins at the device; "" : there is none */
	int   login;                    /* enum provider_login */

	struct conf_strs scopes;        /* beside "openid"; none: profile, email */
	struct conf_strs algorithms;    /* of ID tokens: RS, PS, ES with 256, 384, 512, EdDSA; none: all */

	struct conf_strs acr_values;    /* asked for at each login */
	struct conf_strs mfa_acr;       /* an acr that counts as MFA */
	struct conf_strs mfa_amr;       /* an amr that does; "pwd+otp" wants both in one token. With
	                                 * neither list: mfa, pwd+otp, pwd+hwk, pwd+swk (RFC 8176) */
	bool  bare_refusal;             /* 400 without a body ends what a refresh token was of */
	bool  always_mfa;               /* the provider is trusted to always do MFA */
	bool  require_mfa;              /* a login without MFA is refused */

	int64_t max_age;                /* seconds asked for at each login; 0: not asked */
	char *prompt;                   /* "" : not sent */
	char *login_claim;              /* becomes the login: "email" wants email_verified */
	char *groups_claim;             /* a member's name, or a JSON pointer ("/realm_access/roles") */
	struct conf_strs domains;       /* logins NAME@DOMAIN that this issuer may give; "*": any login */
	bool  userinfo;                 /* ask the userinfo endpoint for what the ID token lacks */

	char *ca;                       /* PEM; only what it signed is believed; "" : the system's */
	char *jwks_file;                /* keys from here, never fetched: for hosts with no way out; "" : fetched */
	int64_t jwks_max_age;           /* seconds */
	int64_t leeway;                 /* seconds of clock skew */
	int64_t timeout;                /* seconds for one HTTP exchange */

	/* Not a row: a unix socket on which the provider is reached without TLS, since it is the same
	 * house (daemon/coordinator/own.h). Borrowed; NULL: its URLs' hosts. */
	const char *socket;
};

extern const struct conf_row provider_rows[];

/* What rows cannot say: https, an algorithm that is none of ours, a secret
 * that is missing or superfluous, a claim path that does not parse. Reads no file. */
bool provider_check(const struct provider *p, const char *name, struct err *err);

/* The set of jws_alg bits that its rows allow. */
uint32_t provider_algs(const struct provider *p);

/* The issuer's words for people: its title, or the host of its URL. */
struct span provider_title(const struct provider *p);

/* Whether this issuer may give that login ("staff@example.edu", any case). */
bool provider_has_domain(const struct provider *p, struct span login);

#endif
