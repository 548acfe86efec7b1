/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_PAGES_H
#define WEB_PAGES_H

/*
 * The pages of a login. Each fills a page that page_init() has been called
 * on. Strings are UTF-8 of any origin; NULL leaves the line out. Actions are paths on the
 * coordinator ("/login/ATTEMPT/continue"), forms are POST unless said otherwise.
 */

#include "base/clock.h"
#include "web/page.h"

/* What a device says of itself, and what we saw: shown wherever somebody approves it. */
struct page_device {
	const char *name, *os;
	const char *from;               /* the address that asks */
	const char *code;               /* equal to the terminal's */
	bool        cross_device;       /* the browser is not bound to the device by a loopback redirect */
	bool        renew;              /* the device is enrolled; this is a login on it, not a new device */
	struct wall asked;              /* when it asked; 0: not said */
	const char *service;            /* not NULL: no device, but somebody with only a browser who wants this service */
};

struct page_choice {
	const char *value;              /* sent back as the field "issuer" */
	const char *title;
};

/* GET /login/ATTEMPT. With several issuers: one button each, or a field "account", whose domain says
 * which. */
void page_login(struct page *p, const struct page_device *d, const char *action,
                const struct page_choice *issuers, size_t n_issuers, const char *token);

/* After the provider: who it is, which device; "approve" and "this is not mine". */
struct page_person {
	const char *name, *login, *issuer;
	bool        mfa;
};
void page_approve(struct page *p, const struct page_device *d, const struct page_person *who,
                  const char *approve_action, const char *refuse_action, const char *token);

/* The end of it: "you may close this window", in words of the caller. */
void page_message(struct page *p, int status, const char *title, const char *words);
void page_done_device(struct page *p, const struct page_device *d, const struct page_person *who);

/* Refusals. id is what an administrator finds the detail by in the log. retry: NULL,
 * or a path to begin again. */
void page_error(struct page *p, int status, const char *title, const char *words,
                const char *id, const char *retry);

#endif
