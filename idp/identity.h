/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_IDENTITY_H
#define IDP_IDENTITY_H

/*
 * idp/ says who someone is: it runs the OpenID Connect login, checks what an
 * identity provider signed, and hands out a struct identity. It never decides
 * what that person may do (policy/), keeps no state on disk and no session
 * (daemon/coordinator). Next: idp/provider.h, then idp/idp.h.
 *
 * An identity is what one checked token said. Strings are owned by it, UTF-8,
 * without controls or NUL. Nothing that identifies is ever shortened: what is
 * longer than its limit is refused, and the refusal names the limit.
 */

#include "base/clock.h"
#include "base/err.h"
#include "base/span.h"

enum {
	ISSUER_MAX = 512,
	SUBJECT_MAX = 255,              /* OpenID Connect Core 1.0, section 2 */
	LOGIN_MAX = 254,                /* an e-mail address, RFC 5321 4.5.3.1.3 */
	EMAIL_MAX = 254,
	PERSON_NAME_MAX = 256,
	PICTURE_MAX = 1024,
	GROUP_NAME_MAX = 256,
	IDENTITY_GROUPS_MAX = 1024,     /* Entra stops at 200 in a token, Keycloak does not stop */
	ACR_MAX = 255,
	AMR_MAX = 16,
	AMR_NAME_MAX = 64,
	SID_MAX = 255,
};

struct identity {
	char *issuer, *sub;             /* never NULL: the key of a person */
	char *login;                    /* never NULL; see identity_from_claims() */
	/* NULL: none that counts. It is in the provider's domains, and verified or the login itself. */
	char *email;
	bool  email_verified;
	char *name, *picture;           /* NULL: none; name and picture are decoration */

	bool   groups_known;            /* false: the claim was absent, which is not "no groups" */
	char **groups;                  /* sorted, each once */
	size_t n_groups;

	char *acr;                      /* NULL: none */
	char *amr[AMR_MAX];
	size_t n_amr;
	bool  mfa;                      /* acr, amr or the issuer meets the provider's rows */

	struct wall auth_time;          /* when the person proved themselves; 0: not said */
	struct wall issued;             /* iat */
	struct wall expires;            /* exp of the ID token: not the session's end */
	char *sid;                      /* the provider's session, for back-channel logout; NULL: none */
};

void identity_done(struct identity *who);       /* accepts a zeroed one */
void identity_copy(struct identity *to, const struct identity *from);   /* to is overwritten */

#define scoped_identity __attribute__((cleanup(identity_done)))

#endif
