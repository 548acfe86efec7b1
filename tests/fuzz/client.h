/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_FUZZ_CLIENT_H
#define TESTS_FUZZ_CLIENT_H

/* What fuzz_http_front.c and fuzz_http_browser.c have in common: a client's bytes
 * from an input, and a look at all that applications were sent. */

#include "tests/fuzz/fuzz.h"
#include "tests/http/corpus.h"
#include "tests/http/inside.h"

enum { CLIENT_INPUT_MAX = 64 << 10 };

/* Inits b; h2: HTTP/2's preface and an empty SETTINGS come first. */
static inline void client_bytes(struct buf *b, bool h2, struct span bytes)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

	buf_init(b, 2 * CLIENT_INPUT_MAX);
	if (h2)
		buf_add(b, preface, sizeof(preface) - 1);
	buf_add_span(b, bytes);
}

/* Nothing is left open, and each connection to an application carried whole requests or the
 * beginning of one, which check looks at too. */
static inline void client_check(const struct inside_result *r, void (*check)(struct span sent))
{
	must(!r->left_open);
	for (size_t i = 0; i < r->app_count; i++) {
		struct span sent = buf_span(&r->app[i]);
		struct stream_result s;

		if (!sent.len)
			continue;       /* opened for a request that was gone by then */
		check(sent);
		/* behind an upgrade comes what the client likes */
		stream_requests(sent, 0, &s);
		must(s.end != STREAM_BAD);
		stream_done(&s);
	}
}

#endif
