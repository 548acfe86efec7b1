/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The whole engine between a client and an application: HTTP/2 frames or
 * HTTP/1.1 in, an application's answer back. What reaches the application is
 * whole and well-formed requests or the beginning of one, without a line that a
 * client must not write; and when both are gone nothing is left open.
 *
 * The first byte: 1 the client begins with HTTP/2's preface, 2 and 4 which
 * answer; 6: what stands behind the last 0xfe 0xff is the answer.
 */
#include "tests/fuzz/client.h"

static const char *const answers[] = {
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "2\r\nok\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"),
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello",
};

/* Names whose value only the front writes. */
static void check_fields(struct span sent)
{
	static const char *const never[] = { "remote-user", "x-campus-person", "x-forwarded-user", "reeve-node" };
	static struct message m;
	struct http_scan scan = { 0 };
	struct fault why;
	size_t used;

	if (http_request_parse(&scan, sent.ptr, sent.len, &m, &used, &why) != HTTP_DONE)
		return;
	for (size_t i = 0; i < m.field_count; i++) {
		for (size_t k = 0; k < sizeof(never) / sizeof(never[0]); k++)
			must(!span_ieq(m.fields[i].name, span_str(never[k])));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct inside *in;
	struct inside_result r;
	struct span bytes, answer;
	struct buf b;
	unsigned flags;

	if (size < 1 || size > CLIENT_INPUT_MAX)
		return 0;
	if (!in)
		in = inside_new();
	flags = data[0];
	bytes = span_of((const char *)data + 1, size - 1);
	if ((flags & 6) == 6) {
		answer = (struct span){ 0 };
		for (size_t i = bytes.len; i-- > 1;) {
			if (bytes.ptr[i] == '\xff' && bytes.ptr[i - 1] == '\xfe') {
				answer = span_from(bytes, i + 1);
				bytes = span_head(bytes, i - 1);
				break;
			}
		}
	} else {
		answer = span_str(answers[(flags >> 1 & 3) % 3]);
	}
	client_bytes(&b, flags & 1, bytes);
	inside_run(in, buf_span(&b), answer, &r);
	client_check(&r, check_fields);
	inside_result_done(&r);
	buf_done(&b);
	return 0;
}
