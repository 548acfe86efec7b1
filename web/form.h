/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_FORM_H
#define WEB_FORM_H

/*
 * Forms and what ties them to one browser.
 */

#include "base/secret.h"
#include "web/page.h"

/*
 * A form's token: HMAC-SHA-256 over purpose and the browser's cookie with a
 * key of this process, so that a form that another site made is refused.
 */
enum { FORM_TOKEN_SIZE = 44, BROWSER_KEY_SIZE = 44 };
void form_token(const struct secret *key, const char *purpose, const char *browser_key,
                char ret_token[FORM_TOKEN_SIZE]);
bool form_token_ok(const struct secret *key, const char *purpose, const char *browser_key,
                   struct span token);

/*
 * What binds an attempt to one browser: 32 random bytes in the cookie
 * __Host-hub-login, set by the first page and wanted by every later one. (Names that begin with
 * __Host-reeve are the fronts' own, and never reach an application: this is one.)
 */
void browser_key_new(char ret_key[BROWSER_KEY_SIZE]);
void page_set_browser_key(struct page *p, const char *browser_key);     /* adds the Set-Cookie */
bool browser_key_get(struct span cookie_header, char ret_key[BROWSER_KEY_SIZE]);

/* One field of a form (application/x-www-form-urlencoded); false if absent, twice
 * there, over max bytes or malformed. */
bool form_field(struct span body, const char *name, size_t max, struct buf *ret_value);

#endif
