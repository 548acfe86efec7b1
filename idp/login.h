/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_LOGIN_H
#define IDP_LOGIN_H

/*
 * The text of a login: what is sent to the authorization endpoint, what comes
 * back in the browser's callback and from the token endpoint. Pure but for
 * the random numbers.
 */

#include "base/buf.h"
#include "idp/idp.h"

struct login {
	char *provider, *issuer, *client_id, *redirect_uri;
	char *url;
	bool  device;
	char  state[LOGIN_STATE_SIZE];
	char  verifier[LOGIN_STATE_SIZE];       /* RFC 7636: 43 characters */
	char  nonce[BINDING_NONCE_SIZE];
	char *acr;                              /* what the token must show; NULL: nothing */
	int64_t max_age;                        /* likewise; < 0: nothing */
	struct wall started, expires;
	struct boot deadline;
};

/* An attempt with fresh numbers; its parameters but client_id, as a form (RFC 6749 4.1.1,
 * RFC 7636, Core 1.0 3.1.2.1), go to *ret_params, which is wiped by the caller. */
struct login *login_new(const struct provider *p, const char *name, const struct login_options *o,
                        struct wall wall, struct boot now, struct buf *ret_params);

/* endpoint?params, or endpoint&params where it has a query already. */
void login_set_url(struct login *login, const char *endpoint, struct span params);

/* What the browser brought back. Strings are NULL where absent. A parameter
 * that is there twice is an error (RFC 6749 3.1). */
struct callback {
	char *state, *code, *iss, *error, *description;
};
bool callback_parse(struct span query, struct callback *ret_c, struct err *err);
void callback_done(struct callback *c);

/* What the token endpoint said (RFC 6749 5.1, 5.2). */
struct token_answer {
	char *id_token, *access_token, *refresh_token;
	char *error, *description;
};
bool token_answer_parse(struct span json, struct token_answer *ret_t, struct err *err);
void token_answer_done(struct token_answer *t);

/* name=value, percent-encoded, behind a & where something is there already. */
void form_add(struct buf *b, const char *name, struct span value);

#endif
