/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_CHUNKED_H
#define DAEMON_PROXY_CHUNKED_H

/*
 * The chunked transfer coding (RFC 9112 7.1), read strictly: sizes are hex
 * digits followed by CR LF or by well-formed extensions (which are dropped;
 * bounded by HTTP_EXT_MAX and HTTP_EXT_TOTAL); data is followed by CR LF.
 * Trailer lines are left to http_trailers_parse().
 */

#include "daemon/proxy/http_parse.h"

struct chunked {
	uint64_t left;          /* data bytes of the chunk at hand */
	uint32_t ext, ext_total;
	uint8_t  state, digits;
};

void chunked_init(struct chunked *c);

enum chunked_result {
	CHUNKED_BAD = 0,
	CHUNKED_MORE,           /* *ret_used == len: give more */
	CHUNKED_DATA,           /* *ret_data is payload; call again behind *ret_used */
	CHUNKED_TRAILERS,       /* the last chunk's line has ended: trailer lines follow */
};

/* Reads from p; *ret_used bytes are done with. */
enum chunked_result chunked_read(struct chunked *c, const char *p, size_t len, size_t *ret_used,
                                 struct span *ret_data);

#endif
