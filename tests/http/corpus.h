/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_HTTP_CORPUS_H
#define TESTS_HTTP_CORPUS_H

/* Feeds bytes to the parsers as a front does, in pieces of any size, and
 * writes down what they made of them. */

#include "base/buf.h"
#include "daemon/proxy/chunked.h"
#include "daemon/proxy/http_target.h"

enum stream_end { STREAM_BAD = 0, STREAM_OPEN /* waits for more */, STREAM_CLOSED /* by the message */ };

enum { STREAM_KEPT = 16 };

/* One message for comparison with another parser's reading. Sums are FNV-1a. */
struct stream_message {
	unsigned fields, trailers;
	uint32_t field_sum;                     /* "name:value\n" each, trailers too */
	uint32_t body_sum;
	uint64_t body_len;
	bool     ended, keep_alive, upgrade;
};

struct stream_result {
	enum stream_end end;
	unsigned        heads, messages;        /* complete ones */
	struct fault    fault;
	struct buf      log;                    /* the same for every way of cutting */
	struct stream_message kept[STREAM_KEPT]; /* the first ones */
};

/* piece 0: all at once. eof: the sender has ended. */
void stream_requests(struct span bytes, size_t piece, struct stream_result *ret);
void stream_responses(struct span bytes, size_t piece, enum verb of, bool eof, struct stream_result *ret);
void stream_done(struct stream_result *r);

/* ../shared/corpora/NAME as text; false (and a line that says so) if it is absent. */
bool corpus_read(const char *name, struct buf *ret_text);

#endif
