/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * People with only a browser, before the whole engine, by HTTP/2 frames or
 * HTTP/1.1: whatever is sent, the application of a service where nobody has a
 * session hears nothing, and no application ever sees a cookie of ours.
 *
 * The first byte: 1 the client begins with HTTP/2's preface.
 */
#include "tests/fuzz/client.h"

static void check_request(struct span sent)
{
	static struct message m;
	struct http_scan scan = { 0 };
	struct fault why;
	size_t used;

	if (http_request_parse(&scan, sent.ptr, sent.len, &m, &used, &why) != HTTP_DONE)
		return;
	must(!span_ieq(m.host, SPAN("closed")));
	for (size_t i = 0; i < m.field_count; i++) {
		struct span rest = m.fields[i].value, pair;

		if (!span_ieq(m.fields[i].name, SPAN("cookie")))
			continue;
		while (rest.len && span_next(&rest, ';', &pair)) {
			struct span name = span_trim(span_head(pair, span_find(pair, '=')));

			must(!span_ieq(name, SPAN("__Host-reeve")) && !span_ieq(name, SPAN("__Host-reeve-begin")));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct inside *in;
	struct inside_result r;
	struct buf b;

	if (size < 1 || size > CLIENT_INPUT_MAX)
		return 0;
	if (!in)
		in = inside_new_browser();
	client_bytes(&b, data[0] & 1, span_of((const char *)data + 1, size - 1));
	inside_run(in, buf_span(&b), SPAN("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), &r);
	client_check(&r, check_request);
	inside_result_done(&r);
	buf_done(&b);
	return 0;
}
