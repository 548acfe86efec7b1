/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_MESSAGE_H
#define DAEMON_PROXY_MESSAGE_H

/*
 * What the parsers make of bytes: fields and framing, of a request or a
 * response, whatever the HTTP version on the wire. Spans point into the bytes
 * that were parsed; nothing here is ever forwarded as it came.
 */

#include "base/span.h"
#include "daemon/proxy/limits.h"

/* Fields that mean something to us. FIELD_* of snapshot.h are of identities; these are HEAD_*. */
enum head_id {
	HEAD_OTHER = 0,
	HEAD_ACCEPT, HEAD_CONNECTION, HEAD_CONTENT_ENCODING, HEAD_CONTENT_LENGTH, HEAD_DATE,
	HEAD_EXPECT, HEAD_HOST, HEAD_HTTP2_SETTINGS, HEAD_KEEP_ALIVE, HEAD_MAX_FORWARDS, HEAD_ORIGIN,
	HEAD_PROXY_AUTHENTICATE, HEAD_PROXY_AUTHORIZATION, HEAD_PROXY_CONNECTION,
	HEAD_SEC_FETCH_DEST, HEAD_SEC_FETCH_MODE, HEAD_SEC_FETCH_SITE, HEAD_SERVER, HEAD_TE,
	HEAD_TRACEPARENT, HEAD_TRAILER, HEAD_TRANSFER_ENCODING, HEAD_UPGRADE, HEAD_USER_AGENT,
	HEAD_REFERER, HEAD_X_REQUEST_ID,
	HEAD_COUNT
};

struct field {
	struct span  name, value;       /* value without white space at its ends */
	enum head_id id;
};

/* How a message is refused. status 0: it was not. why is a constant, in words. */
struct fault {
	unsigned    status;
	const char *why;
};

enum body_kind { BODY_NONE = 0, BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE };

enum verb {
	VERB_OTHER = 0, VERB_GET, VERB_HEAD, VERB_POST, VERB_PUT, VERB_DELETE, VERB_OPTIONS,
	VERB_PATCH, VERB_CONNECT, VERB_TRACE,
};

struct message {
	struct field fields[HTTP_FIELDS_MAX];
	size_t       field_count;

	/* requests */
	struct span method;
	enum verb   verb;
	struct span target;             /* as sent */
	struct span host;               /* the Host field as sent */
	struct span authority;          /* of a target in absolute form */
	bool        expect_continue;
	bool        te_trailers;

	/* responses */
	unsigned    status;
	struct span reason;

	uint8_t     minor;              /* HTTP/1.minor: 0 or 1 */
	bool        keep_alive;         /* the connection may carry another message */
	enum body_kind body;
	uint64_t    length;             /* BODY_LENGTH */
	bool        has_length;         /* Content-Length was there (HEAD, 304: says nothing of a body) */
	struct span codings[HTTP_CODINGS_MAX]; /* beside chunked and identity, in order */
	size_t      coding_count;
	bool        upgrade;            /* Upgrade, and Connection names it */
	struct span protocol;           /* the first protocol in Upgrade */
	struct span nominees[HTTP_NOMINEES_MAX]; /* the tokens of Connection */
	size_t      nominee_count;
};

enum verb verb_find(struct span method);

/* Safe and idempotent by definition (RFC 9110 9.2). */
bool verb_safe(enum verb v, struct span method);
bool verb_idempotent(enum verb v, struct span method);

/* The one spelling table of field names; case folded. */
enum head_id head_find(struct span name);
const struct field *message_find(const struct message *m, enum head_id id);     /* the first, or NULL */
bool message_nominates(const struct message *m, struct span name);              /* Connection names it */

#endif
