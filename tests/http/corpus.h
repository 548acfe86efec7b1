/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_HTTP_CORPUS_H
#define TESTS_HTTP_CORPUS_H

/* Feeds bytes to the parsers as a front does, in pieces of any size, and
 * writes down what they made of them. */

#include "base/buf.h"
#include "daemon/proxy/chunked.h"
#include "daemon/proxy/http_target.h"

enum stream_end { STREAM_BAD = 0, STREAM_OPEN /* waits for more */, STREAM_CLOSED /* by the message */ };

struct stream_result {
	enum stream_end end;
	unsigned        heads, messages;        /* complete ones */
	struct fault    fault;
	struct buf      log;                    /* the same for every way of cutting */
};

/* piece 0: all at once. eof: the sender has ended. */
void stream_requests(struct span bytes, size_t piece, struct stream_result *ret);
void stream_responses(struct span bytes, size_t piece, enum verb of, bool eof, struct stream_result *ret);
void stream_done(struct stream_result *r);

/* ../shared/corpora/NAME as text; false (and a line that says so) if it is absent. */
bool corpus_read(const char *name, struct buf *ret_text);

#endif
