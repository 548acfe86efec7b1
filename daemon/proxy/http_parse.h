/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_HTTP_PARSE_H
#define DAEMON_PROXY_HTTP_PARSE_H

/*
 * HTTP/1.1 heads, strictly (RFC 9110, 9112): what intermediaries read in two
 * ways is refused. Lines end in CR LF and nothing else; no folding, no
 * control characters, no white space before a colon; framing is either one
 * Content-Length or a Transfer-Encoding that ends in exactly one chunked.
 *
 * Incremental: a scan remembers how far it looked, so that a head that comes
 * byte by byte costs as much, and is judged the same, as one that comes
 * whole. Fields become spans only once all of the head is there.
 */

#include "daemon/proxy/message.h"

enum http_result { HTTP_BAD = 0, HTTP_MORE, HTTP_DONE };

struct http_scan {
	uint32_t pos;           /* bytes looked at */
	uint32_t line;          /* where the line at hand begins */
	uint32_t start;         /* where the first line begins: behind an empty line */
	uint32_t first;         /* length of the first line; 0: not complete */
};

/* Zero a scan to begin a head. buf must hold the same bytes as before, and
 * more. HTTP_DONE: *ret_used bytes were the head. A request whose length was
 * never sent has no body. */
enum http_result http_request_parse(struct http_scan *scan, const char *buf, size_t len,
                                    struct message *ret_m, size_t *ret_used, struct fault *ret_fault);

/* of: the verb of the request that this answers. Faults have status 502. */
enum http_result http_response_parse(struct http_scan *scan, const char *buf, size_t len,
                                     enum verb of, struct message *ret_m, size_t *ret_used,
                                     struct fault *ret_fault);

/* Trailer fields: lines up to the empty one, which is included. status: of the fault. */
enum http_result http_trailers_parse(struct http_scan *scan, const char *buf, size_t len,
                                     unsigned status, struct message *ret_m, size_t *ret_used,
                                     struct fault *ret_fault);

/* The pieces, for HTTP/2 and tests. */
bool http_is_token(struct span s);              /* RFC 9110 5.6.2; not empty */
bool http_is_value(struct span s);              /* no controls but HTAB */
/* Cuts the next element off a comma-separated list, trimmed; empty elements are skipped. */
bool http_list_next(struct span *rest, struct span *ret_item);
bool http_list_has(struct span list, struct span token);        /* ASCII case folded */

/* http_head.c: what requests and responses have in common. */
enum http_result http_head_scan(struct http_scan *scan, const char *buf, size_t len, size_t max,
                                unsigned status, struct fault *f);
bool http_fields_parse(struct message *m, const char *p, const char *end, unsigned status,
                       struct fault *f);
bool http_framing(struct message *m, unsigned status, struct fault *f);

#endif
