/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_GATEWAY_H
#define DAEMON_PROXY_GATEWAY_H

/*
 * Applications that are asked in variables instead of a head: FastCGI
 * (FastCGI Specification 1.0), SCGI (python.ca/scgi/protocol.txt, 2008) and
 * uwsgi (uwsgi-docs, "The uwsgi Protocol"). The person is REMOTE_USER there, which no
 * client can say: a client's fields all become HTTP_*. This file makes and
 * reads bytes; what stands in them is gateway_request.c's.
 *
 * One connection carries one request: that is how these servers are used,
 * and nothing of one request can then be taken for another's.
 */

#include "base/err.h"
#include "daemon/proxy/headers.h"
#include "daemon/proxy/http_parse.h"

enum gateway {
	GATEWAY_NONE = 0,
	GATEWAY_FASTCGI,
	GATEWAY_SCGI,
	GATEWAY_UWSGI,
};

enum {
	GATEWAY_PARAMS_MAX = 65535,     /* bytes of one FastCGI record or uwsgi packet; we send one */
	GATEWAY_RECORD_MAX = 65528,     /* body bytes of one record: a multiple of 8 */
	GATEWAY_ERROR_MAX = 1024,       /* bytes of an application's error text in one log line */
};

/* ---- a request: begin, params, end; then the body ---- */

struct gateway_out {
	enum gateway     kind;
	struct head_out *o;
	size_t           at;            /* where the variables begin in o */
};

void gateway_begin(struct gateway_out *g, enum gateway kind, struct head_out *o);
/* SCGI wants CONTENT_LENGTH first, and an own "SCGI": gateway_begin()'s caller says it first. */
void gateway_param(struct gateway_out *g, struct span name, struct span value);
/* o->over if the variables are more than the protocol carries. body: one follows. */
void gateway_end(struct gateway_out *g, bool body);

enum { GATEWAY_FRAME = 8 };
/* FastCGI's frame of the next n bytes of the body (at most GATEWAY_RECORD_MAX); n == 0 ends it. */
void gateway_body_frame(size_t n, char out[GATEWAY_FRAME]);

/* ---- a response ---- */

/* FastCGI's records, taken apart in place. Zero it to begin. */
struct gateway_records {
	unsigned char head[8];
	uint8_t       have;             /* of head */
	uint8_t       type;
	uint16_t      left;             /* of content */
	uint8_t       pad;
	bool          ended;            /* FCGI_END_REQUEST was read: what follows is ignored */
	bool          failed;           /* ... and it says that the application did not serve it */
};

/* p[0..n) as received becomes *ret_n bytes of the application's output at p; its error text
 * is handed to fn piece by piece. False: malformed. */
typedef void gateway_error_fn(void *arg, struct span text);
bool gateway_unwrap(struct gateway_records *r, char *p, size_t n, size_t *ret_n, gateway_error_fn *fn,
                    void *arg);

/*
 * A CGI response head (RFC 3875 section 6) as an HTTP one: "Status" becomes the
 * status line, lines may end in LF alone, a Transfer-Encoding is refused (the
 * framing is not the application's). out must have room for HTTP_RESPONSE_HEAD_MAX
 * + 64 bytes. HTTP_DONE: *ret_used bytes of buf are *ret_head now, which is for
 * http_response_parse() to judge.
 */
enum http_result gateway_head(const char *buf, size_t len, char *out, size_t *ret_used,
                              struct span *ret_head, struct fault *ret_fault);

#endif
