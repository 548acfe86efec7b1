/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Our parsers as a filter, for test_differential.py: cases from standard
 * input, each "Q" (requests) or "S" (responses to a GET), its length in four
 * bytes, big-endian, and its bytes; for each one line:
 *
 *   END HEADS STATUS [fields,field-sum,body-length,body-sum,ended,keep-alive,upgrade]... | WHY
 */
#include "base/mem.h"
#include "tests/http/corpus.h"

#include <stdio.h>
#include <stdlib.h>

enum { CASE_MAX = 1 << 20 };

static void say(const struct stream_result *r)
{
	static const char *const ends[] = { [STREAM_BAD] = "bad", [STREAM_OPEN] = "open", [STREAM_CLOSED] = "closed" };

	printf("%s %u %u", ends[r->end], r->heads, r->fault.status);
	for (unsigned i = 0; i < r->heads && i < STREAM_KEPT; i++) {
		const struct stream_message *k = &r->kept[i];

		printf(" %u,%u,%llu,%u,%d,%d,%d", k->fields + k->trailers, k->field_sum,
		       (unsigned long long)k->body_len, k->body_sum, k->ended, k->keep_alive, k->upgrade);
	}
	printf(" | %s\n", r->fault.why ? r->fault.why : "");
}

int main(void)
{
	unsigned char head[5];
	size_t n;

	/* whoever asks waits for the last line of a batch */
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fread(head, 1, 5, stdin) == 5) {
		struct stream_result r;
		char *p;

		n = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
		if (n > CASE_MAX || (head[0] != 'Q' && head[0] != 'S'))
			return EXIT_FAILURE;
		p = mem_alloc(n + 1);
		if (fread(p, 1, n, stdin) != n)
			return EXIT_FAILURE;
		if (head[0] == 'Q')
			stream_requests(span_of(p, n), 0, &r);
		else
			stream_responses(span_of(p, n), 0, VERB_GET, true, &r);
		say(&r);
		stream_done(&r);
		free(p);
	}
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
