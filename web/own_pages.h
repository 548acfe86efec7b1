/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_OWN_PAGES_H
#define WEB_OWN_PAGES_H

/*
 * The pages of own accounts: logging in, an invitation, and what people change
 * themselves. Each fills a page that page_init() has been called on. Every form is a POST to
 * BASE/ACTION with the field "token"; the names of the other fields are said here. Passkeys need
 * a script (web/passkey_js.h), which fills a form in; all else works without.
 */

#include "base/clock.h"
#include "web/page.h"

struct own_page {
	const char *base;               /* "/idp/flow/ID" */
	const char *token;              /* of the forms of this page */
	const char *site;               /* what the accounts are called */
	const char *login;              /* NULL: not known yet */
	const char *wrong;              /* why the last try was refused; NULL: it was not */
};

/* What a passkey's form needs; challenge NULL: no passkey here. Binary is base64url. */
struct own_passkey {
	const char *challenge, *rp_id;
	const char *user_id, *user_name;        /* of a new one */
	const char *const *known;               /* credentials that it must not be; ends with NULL */
};

/* BASE/password: login, password. BASE/passkey: id, client, data, signature, user. passkey_only: there is
 * no form for a password. */
void page_own_login(struct page *p, const struct own_page *o, const struct own_passkey *k, bool passkey_only);
/* BASE/otp: otp. BASE/recovery: recovery. */
void page_own_factor(struct page *p, const struct own_page *o, size_t recovery_left);

/* The browser is logged in as o->login. BASE/continue: as that; BASE/other: as somebody else. */
void page_own_confirm(struct page *p, const struct own_page *o);
/* BASE/logout: post_logout_redirect_uri and state where they are not NULL. */
void page_own_logout(struct page *p, const struct own_page *o, const char *back, const char *state);

/* BASE/new-password: password, again. BASE/new-passkey: client, attestation, name. */
void page_own_new_password(struct page *p, const struct own_page *o, const char *heading, unsigned least,
                           const struct own_passkey *k);
/* BASE/new-otp: otp. uri is drawn as a QR code, secret is for typing. */
void page_own_new_otp(struct page *p, const struct own_page *o, const char *uri, const char *secret);
/* Shown once. next: a link's path; NULL: none. */
void page_own_codes(struct page *p, const struct own_page *o, const char *const *codes, size_t n,
                    const char *next, const char *next_text);

struct own_page_key {
	uint64_t    id;
	const char *name;
	struct wall created, used;
};
/* BASE/change-password, change-otp, change-codes, add-passkey, remove-passkey (id), leave. */
void page_own_manage(struct page *p, const struct own_page *o, const struct own_page_key *keys, size_t n,
                     size_t recovery_left, bool has_password);
/* BASE/new-passkey, alone. */
void page_own_add_passkey(struct page *p, const struct own_page *o, const struct own_passkey *k);

/* The cookie of a browser that has logged in (accounts/opaque.h); replaces the page's cookie. */
void page_set_mark(struct page *p, const char *mark);
bool mark_get(struct span cookie_header, char *out, size_t size);
/* The cookie of a browser that stays logged in (coordinator/own_session.c), beside the page's other one;
 * it ends with the browser. NULL takes it away. */
void page_own_session(struct page *p, const char *id);
bool own_session_get(struct span cookie_header, struct span *ret_id);

#endif
