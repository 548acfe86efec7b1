/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_H2_BLOCK_H
#define DAEMON_PROXY_H2_BLOCK_H

/*
 * A header block, field by field as nghttp2 hands it over, and the HTTP/1.1
 * request that says the same: what the one parser of this house then judges.
 * What HTTP/1.1 could not say, or would say ambiguously, is malformed here.
 */

#include "daemon/proxy/engine.h"

enum h2_part { H2_METHOD = 0, H2_PATH, H2_AUTHORITY, H2_PROTOCOL, H2_HOST, H2_PART_COUNT };

struct h2_block {
	struct queue text;              /* of the parts */
	struct queue fields, cookie;    /* field lines as they come; Cookie's crumbs */
	size_t       bytes;             /* as HTTP/1.1 */
	bool         has_length;
	struct {
		size_t at, len;
		bool   set;
	} parts[H2_PART_COUNT];
};

struct h2_asked {
	enum verb verb;                 /* VERB_HEAD or VERB_OTHER */
	bool      chunked;              /* its DATA is to become chunks */
	bool      websocket;            /* extended CONNECT (RFC 8441): an upgrade */
};

void h2_block_begin(struct h2_block *b);        /* empties it */
void h2_block_free(struct h2_block *b);
/* False: malformed, or larger than is worth an answer. Up to HTTP_HEAD_MAX all is kept, and one
 * field more: the parser then says 431. */
bool h2_block_add(struct h2_block *b, struct span name, struct span value, bool trailer);
/* False: no request. end: no DATA follows. */
bool h2_block_request(const struct h2_block *b, bool end, struct queue *to, struct h2_asked *ret);

#endif
