/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_HEADERS_H
#define DAEMON_PROXY_HEADERS_H

/*
 * Which of a client's fields reach an application, and which of an
 * application's reach a client. A name is judged by its fold: lower case,
 * letters and digits alone, which is at least what CGI, WSGI, Rack, PHP and
 * servers that fold names together see. Stripped on every service: the names
 * of every profile in profiles.c and of every custom header of this host,
 * what claims where a request comes from (Forwarded, X-Forwarded-*, X-Real-IP
 * and relatives), what re-routes or re-methods it (X-Original-URL,
 * X-HTTP-Method-Override and relatives), other proxies' identity headers, and
 * everything of ours (Reeve-*, X-Reeve-*).
 */

#include "daemon/proxy/message.h"
#include "daemon/proxy/snapshot.h"

/* A head that is being written: bytes up to a ceiling; crossing it sets over. */
struct head_out {
	char  *ptr;
	size_t len, cap;
	bool   over;
};

void head_add(struct head_out *o, struct span s);
void head_add_u64(struct head_out *o, uint64_t n);
void head_add_field(struct head_out *o, struct span name, struct span value);   /* "Name: value\r\n" */
#define head_add_lit(o, lit) head_add((o), SPAN(lit))

/* Folds into out (HTTP_NAME_MAX bytes are enough for any name that was parsed). */
struct span header_fold(struct span name, char out[HTTP_NAME_MAX]);

/* True: no client may say this to an application. s may be NULL: then custom names are not known. */
bool header_strips(const struct snapshot *s, struct span name);

/* May this request field, as parsed, be passed on? Framing, hop-by-hop and
 * nominated fields may not: what is needed of them is written anew. */
bool header_passes_up(const struct snapshot *s, const struct message *m, const struct field *f);
/* The same for a response field: identity does not matter there. */
bool header_passes_down(const struct message *m, const struct field *f);
/* Trailers: as above, and nothing that routes, authenticates or describes the body (RFC 9110 6.5.1). */
bool header_passes_trailer(const struct snapshot *s, const struct field *f, bool up);

#endif
