/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef IDP_FETCH_H
#define IDP_FETCH_H

/*
 * One HTTPS exchange on the loop (libcurl's multi-socket interface): https
 * only, no redirects, no proxy, no cookies, a ceiling of bytes and an end of time.
 */

#include "base/err.h"
#include "base/loop.h"
#include "base/span.h"

enum {
	FETCH_HEADERS_MAX = 32 << 10,   /* of an answer */
	FETCH_CONNECTIONS_MAX = 64,
};

struct fetcher;                 /* one per idp: connections that are kept */
struct fetch;

struct fetcher *fetcher_new(struct loop *l, struct err *err);
void fetcher_free(struct fetcher *f);           /* cancels what is under way */

struct fetch_request {
	const char *url;
	struct span body;               /* POST, form-encoded, if ptr is not NULL; copied, wiped after */
	struct span authorization;      /* the header's value; copied, wiped after */
	const char *ca;                 /* a PEM file, "" or NULL: the system's */
	const char *socket;             /* a unix socket in place of TLS to the URL's host; NULL: none */
	size_t      max;                /* bytes of the answer */
	int64_t     timeout;            /* seconds */
};

/* status 0: no answer, err says why. body is borrowed for the call. Never called from
 * inside fetch_start(). */
typedef void fetch_fn(void *arg, int status, struct span body, const struct err *err);
struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *req, fetch_fn *fn, void *arg);
void fetch_cancel(struct fetch *x);             /* accepts NULL; fn is not called */

#endif
