/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* FastCGI records and CGI heads of an application that says anything: whole and in
 * two halves must come to the same. */
#include "base/mem.h"
#include "daemon/proxy/gateway.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(void *arg, struct span text)
{
	*(size_t *)arg += text.len;
}

static bool unwrap(struct gateway_records *r, const uint8_t *data, size_t n, struct buf *out, size_t *errors)
{
	char *p = mem_dup(data, n);
	size_t got = 0;
	bool ok = gateway_unwrap(r, p, n, &got, count, errors);

	if (ok) {
		if (got > n)
			abort();
		buf_add(out, p, got);
	}
	free(p);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gateway_records a = { 0 }, b = { 0 };
	struct buf whole, halves;
	size_t ea = 0, eb = 0, used = 0;
	char *room = mem_alloc(HTTP_RESPONSE_HEAD_MAX + 64);
	struct span head;
	struct fault why;

	buf_init(&whole, size + 1);
	buf_init(&halves, size + 1);
	bool x = unwrap(&a, data, size, &whole, &ea);
	bool y = unwrap(&b, data, size / 2, &halves, &eb) &&
	         unwrap(&b, data + size / 2, size - size / 2, &halves, &eb);
	if (x != y || (x && (ea != eb || !span_eq(buf_span(&whole), buf_span(&halves)) || a.ended != b.ended ||
	                     a.failed != b.failed)))
		abort();
	if (gateway_head((const char *)data, size, room, &used, &head, &why) == HTTP_DONE) {
		struct http_scan scan = { 0 };
		struct message *m = mem_alloc(sizeof(*m));
		size_t n = 0;

		if (used > size || head.len > HTTP_RESPONSE_HEAD_MAX + 64)
			abort();
		/* whatever it makes of it: all of the head, or a refusal */
		if (http_response_parse(&scan, head.ptr, head.len, VERB_GET, m, &n, &why) == HTTP_DONE &&
		    n > head.len)
			abort();
		free(m);
	}
	free(room);
	buf_done(&whole);
	buf_done(&halves);
	return 0;
}
