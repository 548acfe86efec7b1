/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_PAGE_H
#define WEB_PAGE_H

/*
 * web/ is what people see of the coordinator: whole HTML pages as bytes, with
 * the headers they need. It keeps no state, knows no database and no HTTP
 * server: the coordinator sends what it is handed. Next: web/pages.h, then
 * web/portal.h.
 *
 * Pages need no JavaScript and load nothing from elsewhere. Every text that
 * is not ours goes through html_add(), which leaves no way out of text or
 * of a quoted attribute.
 */

#include "base/buf.h"

enum {
	PAGE_MAX = 512 << 10,           /* a portal with a thousand devices */
	PAGE_HEADERS_MAX = 12,
};

struct page {
	int        status;
	struct buf body;                /* empty for a redirect */
	char      *location;            /* NULL, or where a redirect goes */
	char      *cookie;              /* NULL, or the value of Set-Cookie */
	char      *session;             /* likewise, another one (own_pages.h) */
	bool       script;              /* the page uses /idp/passkey.js (own_pages.h); none of the others has any */
};

void page_init(struct page *p);
void page_done(struct page *p);         /* accepts a zeroed one */

/* The headers that every page has (Content-Type, Content-Security-Policy with
 * frame-ancestors 'none', Cache-Control: no-store, Referrer-Policy, ...), and Location
 * and Set-Cookie where there are any; values are borrowed from p. Returns how many. */
struct page_header { const char *name, *value; };
size_t page_headers(const struct page *p, struct page_header ret_headers[PAGE_HEADERS_MAX]);

/* 303 See Other. False, and an error page, if url holds anything but printable ASCII. */
bool page_redirect(struct page *p, const char *url);

/* An empty page takes shape: head, our style, and a heading; page_end() closes it
 * with the footer that says whose program this is and links to its source (AGPL, section 13:
 * the path /source, see page_source()). Between them goes the caller's HTML. */
void page_begin(struct page *p, int status, const char *title);
void page_end(struct page *p);

/* What /source answers: a link to the source of what runs here, at url; with "" it
 * says that this is an unchanged release of that version. */
void page_source(struct page *p, const char *version, const char *url);

#endif
