/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Every rule of the parsers both ways, whole and byte by byte. */
#include "base/mem.h"
#include "tests/http/corpus.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>

#define H "\r\nHost: a\r\n"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"

struct row {
	const char *bytes;
	unsigned    status;     /* 0: taken */
	unsigned    messages;   /* complete */
	size_t      len;        /* 0: strlen */
};

static const struct row requests[] = {
	/* the request line */
	{ GET "\r\n", 0, 1, 0 },
	{ "\r\n" GET "\r\n", 0, 1, 0 },
	{ "\r\n\r\n" GET "\r\n", 400, 0, 0 },
	{ "\n" GET "\r\n", 400, 0, 0 },
	{ "GET  / HTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "GET /  HTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1 " H "\r\n", 400, 0, 0 },
	{ " GET / HTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "GET\t/ HTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "GET /\tHTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\n" "Host: a\r\n\r\n", 400, 0, 0 },
	{ "GET / http/1.1" H "\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.2" H "\r\n", 505, 0, 0 },
	{ "GET / HTTP/2.0" H "\r\n", 505, 0, 0 },
	{ "GET / HTTP/0.9" H "\r\n", 505, 0, 0 },
	{ "GET / HTTP/1.10" H "\r\n", 400, 0, 0 },
	{ "GET / HTTP/11" H "\r\n", 400, 0, 0 },
	{ "GET /" H "\r\n", 400, 0, 0 },
	{ "GET" H "\r\n", 400, 0, 0 },
	{ "G(T / HTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "G\x80T / HTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "get / HTTP/1.1" H "\r\n", 0, 1, 0 },        /* a method of its own; policy knows GET */
	{ "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1" H "\r\n", 501, 0, 0 },
	{ "GET /a\tb HTTP/1.1" H "\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\0" H "\r\n", 400, 0, 28 },
	{ GET "X: a\0b\r\n\r\n", 400, 0, sizeof(GET "X: a\0b\r\n\r\n") - 1 },
	{ GET "X\0: b\r\n\r\n", 400, 0, sizeof(GET "X\0: b\r\n\r\n") - 1 },

	/* fields */
	{ GET "X: y\r\n\r\n", 0, 1, 0 },
	{ GET "X:y\r\n\r\n", 0, 1, 0 },
	{ GET "X:\r\n\r\n", 0, 1, 0 },
	{ GET "X: \t y \t\r\n\r\n", 0, 1, 0 },
	{ GET "X: \xfc\r\n\r\n", 0, 1, 0 },
	{ GET "X : y\r\n\r\n", 400, 0, 0 },
	{ GET "X\t: y\r\n\r\n", 400, 0, 0 },
	{ GET "X Y: y\r\n\r\n", 400, 0, 0 },
	{ GET " X: y\r\n\r\n", 400, 0, 0 },
	{ GET "X: y\r\n z\r\n\r\n", 400, 0, 0 },
	{ GET "X: y\r\n\tz\r\n\r\n", 400, 0, 0 },
	{ GET ": y\r\n\r\n", 400, 0, 0 },
	{ GET "Xy\r\n\r\n", 400, 0, 0 },
	{ GET "X\x80: y\r\n\r\n", 400, 0, 0 },
	{ GET "X@: y\r\n\r\n", 400, 0, 0 },
	{ GET "X: a\nY: b\r\n\r\n", 400, 0, 0 },
	{ GET "X: a\rY: b\r\n\r\n", 400, 0, 0 },
	{ GET "X: a\r\r\n\r\n", 400, 0, 0 },
	{ GET "X: a\x01\r\n\r\n", 400, 0, 0 },
	{ GET "X: a\x7f\r\n\r\n", 400, 0, 0 },
	{ GET "X: a\x0b\r\n\r\n", 400, 0, 0 },
	{ GET "X: a\r\n\n", 400, 0, 0 },
	{ GET "X: a\r\n\rZ", 400, 0, 0 },

	/* Host */
	{ "GET / HTTP/1.1\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.0\r\n\r\n", 400, 0, 0 },
	{ GET "Host: a\r\n\r\n", 400, 0, 0 },
	{ GET "host: b\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 0, 1, 0 },
	{ "GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a:80a\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: .a\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", 400, 0, 0 },
	{ "GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", 0, 1, 0 },
	{ "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0, 1, 0 },
	{ "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 0, 1, 0 },
	{ "GET / HTTP/1.0\r\nHost: a\r\n\r\n", 0, 1, 0 },

	/* framing */
	{ POST "Content-Length: 3\r\n\r\nabc", 0, 1, 0 },
	{ POST "Content-Length: 3\r\n\r\nab", 0, 0, 0 },
	{ POST "Content-Length: 0\r\n\r\n", 0, 1, 0 },
	{ POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, 0, 0 },
	{ POST "Content-Length: 3, 3\r\n\r\nabc", 400, 0, 0 },
	{ POST "Content-Length: +3\r\n\r\nabc", 400, 0, 0 },
	{ POST "Content-Length: -3\r\n\r\nabc", 400, 0, 0 },
	{ POST "Content-Length: 0x3\r\n\r\nabc", 400, 0, 0 },
	{ POST "Content-Length: 3 \t\r\n\r\nabc", 0, 1, 0 },
	{ POST "Content-Length: 3.0\r\n\r\nabc", 400, 0, 0 },
	{ POST "Content-Length:\r\n\r\n", 400, 0, 0 },
	{ POST "Content-Length: 18446744073709551616\r\n\r\n", 400, 0, 0 },
	{ POST "Content-Length: 9223372036854775808\r\n\r\n", 400, 0, 0 },
	{ POST "Content_Length: 3\r\n\r\n", 400, 0, 0 },
	{ POST "Content.Length: 3\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer_Encoding: chunked\r\n\r\n", 400, 0, 0 },
	{ POST "H-o-s-t: b\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 1, 0 },
	{ POST "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", 0, 1, 0 },
	{ POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 1, 0 },
	{ POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: gzip\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: identity\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding:\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: chunked x\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ POST "Transfer-Encoding: cow, chunked\r\n\r\n0\r\n\r\n", 501, 0, 0 },
	{ POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, 0, 0 },
	{ "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 0, 0 },
	{ "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 0, 1, 0 },
	{ POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 0, 1, 0 },
	{ POST "Expect: tea\r\nContent-Length: 1\r\n\r\nx", 417, 0, 0 },
	{ POST "Connection: clo se\r\n\r\n", 400, 0, 0 },
	{ POST "Connection: close, , x\r\n\r\n", 0, 1, 0 },
	{ POST "Upgrade: a\r\nUpgrade: b\r\nConnection: upgrade\r\n\r\n", 400, 0, 0 },

	/* chunks */
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
	{ CHUNKED "3\r\nabc\r\n0\r\n\r\n", 0, 1, 0 },
	{ CHUNKED "3\r\nabc\r\n0\r\nX: y\r\n\r\n", 0, 1, 0 },
	{ CHUNKED "A\r\n0123456789\r\n000\r\n\r\n", 0, 1, 0 },
	{ CHUNKED "3\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3\r\nabc\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3\r\nabcd\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3\r\nab\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3 \r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED " 3\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "+3\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "-3\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "0x3\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3g\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED ";x\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "10000000000000003\r\nabc\r\n", 400, 0, 0 },
	{ CHUNKED "8000000000000000\r\nabc\r\n", 400, 0, 0 },
	{ CHUNKED "00000000000000003\r\nabc\r\n", 400, 0, 0 },
	{ CHUNKED "3;a\r\nabc\r\n0\r\n\r\n", 0, 1, 0 },
	{ CHUNKED "3;a=b;c=\"d \\\" e\"\r\nabc\r\n0\r\n\r\n", 0, 1, 0 },
	{ CHUNKED "3;a=\"x\n\"\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3;a=\"x\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3;\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3;a=\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3;=b\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3;a\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3 ;a\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "3;a\rb\r\nabc\r\n0\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "0\r\nX : y\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "0\r\n X: y\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "0\r\nX: y\n\r\n", 400, 0, 0 },
	{ CHUNKED "0\r\nContent-Length: 3\r\n\r\n", 400, 0, 0 },
	{ CHUNKED "0\r\n\rX", 400, 0, 0 },
	{ CHUNKED "0\r\n\n", 400, 0, 0 },

	/* pipelining */
	{ GET "\r\n" GET "\r\n", 0, 2, 0 },
	{ POST "Content-Length: 2\r\n\r\nab" GET "\r\n", 0, 2, 0 },
	{ CHUNKED "1\r\na\r\n0\r\n\r\n" GET "\r\n", 0, 2, 0 },
	{ GET "Connection: close\r\n\r\n" GET "\r\n", 0, 1, 0 },
	{ GET "\r\nBAD\r\n\r\n", 400, 1, 0 },
};

static void check_row(const struct row *row, bool request)
{
	struct span in = span_of(row->bytes, row->len ? row->len : strlen(row->bytes));
	struct stream_result whole, r;

	if (request)
		stream_requests(in, 0, &whole);
	else
		stream_responses(in, 0, VERB_GET, true, &whole);
	ck_assert_msg(whole.fault.status == row->status && whole.messages == row->messages,
	              "%s\nwant %u and %u messages, got %s", row->bytes, row->status, row->messages,
	              whole.log.ptr ? whole.log.ptr : "nothing");
	for (size_t piece = 1; piece < in.len; piece++) {
		if (request)
			stream_requests(in, piece, &r);
		else
			stream_responses(in, piece, VERB_GET, true, &r);
		ck_assert_msg(span_eq(buf_span(&r.log), buf_span(&whole.log)),
		              "%s\nin pieces of %zu: %s\nwhole: %s", row->bytes, piece,
		              r.log.ptr, whole.log.ptr);
		stream_done(&r);
	}
	stream_done(&whole);
}

START_TEST(request_rows)
{
	for (size_t i = 0; i < array_size(requests); i++)
		check_row(&requests[i], true);
}
END_TEST

#define OK "HTTP/1.1 200 OK\r\n"
static const struct row responses[] = {
	{ OK "Content-Length: 2\r\n\r\nab", 0, 1, 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 0, 1, 0 },
	{ OK "\r\nab", 0, 1, 0 },               /* until close */
	{ "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", 0, 1, 0 },
	{ "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 0, 1, 0 },
	{ "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 0, 1, 0 },
	{ "HTTP/1.1 204 No\r\n\r\n", 0, 1, 0 },
	{ "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", 0, 1, 0 },
	{ "HTTP/1.1 100 Go\r\n\r\n" OK "Content-Length: 0\r\n\r\n", 0, 2, 0 },
	{ "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nabcde", 502, 0, 0 },
	{ "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1 103 Hint\r\nContent-Length: 5\r\n\r\n", 502, 0, 0 },
	{ OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", 502, 0, 0 },
	{ OK "Content-Length: 2, 2\r\n\r\nab", 502, 0, 0 },
	{ OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, 0, 0 },
	{ OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, 0, 0 },
	{ OK "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 502, 0, 0 },
	{ OK "Transfer-Encoding: identity\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, 0, 0 },
	{ OK "X: y\r\n z\r\n\r\n", 502, 0, 0 },
	{ OK "X : y\r\n\r\n", 502, 0, 0 },
	{ OK "X: y\nZ: a\r\n\r\n", 502, 0, 0 },
	{ OK "X: y\rZ: a\r\n\r\n", 502, 0, 0 },
	{ OK "X: \x01\r\n\r\n", 502, 0, 0 },
	{ OK ": y\r\n\r\n", 502, 0, 0 },
	{ "\r\n" OK "\r\n", 502, 0, 0 },
	{ "HTTP/1.1  200 OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1 20 OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1 2000 OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1 099 OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1 600 OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1 200OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/2 200 OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1\t200 OK\r\n\r\n", 502, 0, 0 },
	{ "HTTP/1.1 200 OK\nX: y\r\n\r\n", 502, 0, 0 },
	{ "ICY 200 OK\r\n\r\n", 502, 0, 0 },
};

START_TEST(response_rows)
{
	for (size_t i = 0; i < array_size(responses); i++)
		check_row(&responses[i], false);
}
END_TEST

START_TEST(limits)
{
	struct stream_result r;
	struct buf b;

	for (int over = 0; over < 2; over++) {
		buf_init(&b, 1 << 20);
		buf_add_str(&b, GET);
		for (int i = 1; i < HTTP_FIELDS_MAX + over; i++)
			buf_addf(&b, "X-%d: y\r\n", i);
		buf_add_str(&b, "\r\n");
		stream_requests(buf_span(&b), 0, &r);
		ck_assert_uint_eq(r.fault.status, over ? 431 : 0);
		stream_done(&r);
		buf_done(&b);

		buf_init(&b, 1 << 20);
		buf_add_str(&b, GET "X: ");
		while (b.len < HTTP_HEAD_MAX - 4 + (size_t)over)
			buf_add_char(&b, 'x');
		buf_add_str(&b, "\r\n\r\n");
		stream_requests(buf_span(&b), 0, &r);
		ck_assert_uint_eq(r.fault.status, over ? 431 : 0);
		stream_done(&r);
		buf_done(&b);

		buf_init(&b, 1 << 20);
		buf_add_str(&b, "GET /");
		while (b.len < 4 + HTTP_TARGET_MAX + (size_t)over)
			buf_add_char(&b, 'x');
		buf_add_str(&b, " HTTP/1.1" H "\r\n");
		stream_requests(buf_span(&b), 0, &r);
		ck_assert_uint_eq(r.fault.status, over ? 414 : 0);
		stream_done(&r);
		buf_done(&b);

		buf_init(&b, 1 << 20);
		buf_add_str(&b, CHUNKED "1;");
		for (int i = 0; i < HTTP_EXT_MAX + over; i++)
			buf_add_char(&b, 'x');
		buf_add_str(&b, "\r\nx\r\n0\r\n\r\n");
		stream_requests(buf_span(&b), 0, &r);
		ck_assert_uint_eq(r.fault.status, over ? 400 : 0);
		stream_done(&r);
		buf_done(&b);
	}
}
END_TEST

struct path_row {
	const char *raw, *want, *alt;   /* want NULL: refused; alt NULL: one reading */
	unsigned    flags;
};

static const struct path_row paths[] = {
	{ "/", "/", NULL, 0 },
	{ "/a/b", "/a/b", NULL, 0 },
	{ "/a/./b", "/a/b", NULL, 0 },
	{ "/a/../b", "/b", NULL, 0 },
	{ "/a/b/..", "/a/", NULL, 0 },
	{ "/a/b/.", "/a/b/", NULL, 0 },
	{ "/a/b/../", "/a/", NULL, 0 },
	{ "/.", "/", NULL, 0 },
	{ "/./", "/", NULL, 0 },
	{ "/...", "/...", NULL, 0 },
	{ "/..", NULL, NULL, 0 },
	{ "/../a", NULL, NULL, 0 },
	{ "/a/../../b", NULL, NULL, 0 },
	{ "/%2e%2e/a", NULL, NULL, 0 },
	{ "/a/%2e%2E/b", "/b", NULL, 0 },
	{ "/a/%2e/b", "/a/b", NULL, 0 },
	{ "/a/.%2e/b", "/b", NULL, 0 },
	{ "//a", "/a", NULL, 0 },
	{ "/.//a", "/a", NULL, 0 },
	{ "/x/..//a", "/a", NULL, 0 },
	{ "/a//b", "/a//b", "/a/b", 0 },
	{ "/a//../b", NULL, NULL, 0 },
	{ "/a/..;/b", NULL, NULL, 0 },
	{ "/a/..;x=y/b", NULL, NULL, 0 },
	{ "/a/.;/b", NULL, NULL, 0 },
	{ "/a/%2e%2e;/b", NULL, NULL, 0 },
	{ "/a/..%3b/b", NULL, NULL, 0 },
	{ "/a/..%3B", NULL, NULL, 0 },
	{ "/a;x=1/b", "/a;x=1/b", "/a/b", 0 },
	{ "/admin;.css", "/admin;.css", "/admin", 0 },
	{ "/admin%3b.css", "/admin%3B.css", "/admin", 0 },
	{ "/a\\b", NULL, NULL, 0 },
	{ "/a%5cb", NULL, NULL, 0 },
	{ "/a%2fb", NULL, NULL, 0 },
	{ "/a%2fb", "/a%2Fb", "/a/b", TARGET_ENCODED_SLASH },
	{ "/a%5Cb", "/a%5Cb", "/a/b", TARGET_ENCODED_SLASH },
	{ "/a%2f..%2fb", NULL, NULL, TARGET_ENCODED_SLASH },
	{ "/a/..%2fb", NULL, NULL, TARGET_ENCODED_SLASH },
	{ "/a%2f..", NULL, NULL, TARGET_ENCODED_SLASH },
	{ "/a%2f.;x", NULL, NULL, TARGET_ENCODED_SLASH },
	{ "/%00", NULL, NULL, 0 },
	{ "/a%", NULL, NULL, 0 },
	{ "/a%4", NULL, NULL, 0 },
	{ "/a%zz", NULL, NULL, 0 },
	{ "/%u002e", NULL, NULL, 0 },
	{ "/%c0%ae%c0%ae/", NULL, NULL, 0 },
	{ "/%e4", NULL, NULL, 0 },
	{ "/%c3%a4", "/%C3%A4", NULL, 0 },
	{ "/\xc3\xa4", "/%C3%A4", NULL, 0 },
	{ "/\xc3%a4", "/%C3%A4", NULL, 0 },
	{ "/\xe4", NULL, NULL, 0 },
	{ "/%c3/%a4", NULL, NULL, 0 },
	{ "/\xed\xa0\x80", NULL, NULL, 0 },
	{ "/\xf4\x90\x80\x80", NULL, NULL, 0 },
	{ "/\xf0\x9f\x98\x80", "/%F0%9F%98%80", NULL, 0 },
	{ "/%41%7e%2D%5f", "/A~-_", NULL, 0 },
	{ "/%0a%0d%09%20", "/%0A%0D%09%20", NULL, 0 },
	{ "/a\"<>^`{|}", "/a%22%3C%3E%5E%60%7B%7C%7D", NULL, 0 },
	{ "/[]", "/%5B%5D", NULL, 0 },
	{ "/a#b", NULL, NULL, 0 },
	{ "/a%23b", "/a%23b", NULL, 0 },
	{ "/a%3fb", "/a%3Fb", NULL, 0 },
	{ "/%252e%252e/", NULL, NULL, 0 },
	{ "/a/%252E./b", NULL, NULL, 0 },
	{ "/a/.%252e", NULL, NULL, 0 },
	{ "/%25%32%65", NULL, NULL, 0 },
	{ "/a/..%252fb", NULL, NULL, 0 },
	{ "/a/..%255cb", NULL, NULL, 0 },
	{ "/a/..%253bx/b", NULL, NULL, 0 },
	{ "/a%252fb", "/a%252fb", "/a/b", 0 },
	{ "/a%255Cb", "/a%255Cb", "/a/b", 0 },
	{ "/a%253bx/b", "/a%253bx/b", "/a/b", 0 },
	{ "/%2561dmin", "/%2561dmin", "/admin", 0 },
	{ "/admin%2500.css", NULL, NULL, 0 },
	{ "/%25%30%30", NULL, NULL, 0 },
	{ "/a%252500", "/a%252500", NULL, 0 },
	{ "/%25252e%25252e/", "/%25252e%25252e/", NULL, 0 },
	{ "/100%25", "/100%25", NULL, 0 },
	{ "/100%25/a%25zz%252", "/100%25/a%25zz%252", NULL, 0 },
	{ "/a%2520b", "/a%2520b", NULL, 0 },
	{ "/a%2520b%2500", NULL, NULL, 0 },
	{ "/a%2fb%252fc", "/a%2Fb%252fc", "/a/b/c", TARGET_ENCODED_SLASH },
	{ "/a?b", "/a?b", NULL, 0 },
	{ "/a?", "/a?", NULL, 0 },
	{ "/a?b?c/d", "/a?b?c/d", NULL, 0 },
	{ "/a?../../b", "/a?../../b", NULL, 0 },
	{ "/a?%2f%dd", "/a?%2f%dd", NULL, 0 },
	{ "/a?b#c", "/a?b", NULL, 0 },
	{ "/a?b#%zz", "/a?b", NULL, 0 },
	{ "/a?%00", NULL, NULL, 0 },
	{ "/a?%z", NULL, NULL, 0 },
	{ "/a?100%", NULL, NULL, 0 },
	{ "/a?\\|{}\"\xe4", "/a?%5C%7C%7B%7D%22%E4", NULL, 0 },
	{ "a", NULL, NULL, 0 },
	{ "", NULL, NULL, 0 },
	{ "*", NULL, NULL, 0 },
};

START_TEST(path_rows)
{
	struct target *t = mem_alloc(sizeof(*t));

	for (size_t i = 0; i < array_size(paths); i++) {
		const struct path_row *p = &paths[i];
		struct fault f = { 0 };
		bool ok = target_path(t, span_str(p->raw), p->flags, &f);
		char got[256] = "";

		ck_assert_msg(ok == (p->want != NULL), "%s: %s", p->raw, ok ? "taken" : f.why);
		ck_assert(ok == (f.status == 0));
		if (!ok)
			continue;
		snprintf(got, sizeof(got), "%.*s%.*s", SPAN_ARG(t->path), SPAN_ARG(t->query));
		ck_assert_str_eq(got, p->want);
		ck_assert_msg((t->alt.ptr != NULL) == (p->alt != NULL), "%s: alt", p->raw);
		if (p->alt)
			ck_assert_msg(span_eq(t->alt, span_str(p->alt)), "%s: alt %.*s", p->raw,
			              SPAN_ARG(t->alt));
		/* the normal form is one: it stays as it is */
		char *again = mem_strdup(got);
		ck_assert_msg(target_path(t, span_str(again), p->flags, &f), "%s again: %s", again, f.why);
		snprintf(got, sizeof(got), "%.*s%.*s", SPAN_ARG(t->path), SPAN_ARG(t->query));
		ck_assert_str_eq(got, again);
		free(again);
	}
	free(t);
}
END_TEST

struct target_row {
	const char *line, *host, *want; /* want: "host path?query"; NULL: refused */
	bool        tls;
};

static const struct target_row targets[] = {
	{ "GET /x", "A.Example:80", "a.example /x", false },
	{ "GET /x", "a.example.", "a.example /x", false },
	{ "GET /x", "[FD00:0::1]:8080", "fd00::1 /x", false },
	{ "GET http://a.example/x", "a.example", "a.example /x", false },
	{ "GET HTTP://A.example:80/x?y", "a.example", "a.example /x?y", false },
	{ "GET http://a.example", "a.example", "a.example /", false },
	{ "GET http://a.example?q", "a.example", "a.example /?q", false },
	{ "GET http://b.example/x", "a.example", NULL, false },
	{ "GET http://a.example:81/x", "a.example", NULL, false },
	{ "GET http://u@a.example/x", "a.example", NULL, false },
	{ "GET http://u:p@a.example/x", "a.example", NULL, false },
	{ "GET http:///x", "a.example", NULL, false },
	{ "GET https://a.example/x", "a.example", NULL, false },
	{ "GET https://a.example/x", "a.example", "a.example /x", true },
	{ "GET ftp://a.example/x", "a.example", NULL, false },
	{ "GET http:/a.example/x", "a.example", NULL, false },
	{ "GET a.example:80", "a.example", NULL, false },
	{ "GET *", "a.example", NULL, false },
	{ "OPTIONS *", "a.example", "a.example *", false },
	{ "GET ", "a.example", "a.example /", false },
	{ "GET x", "a.example", NULL, false },
	{ "GET ?x", "a.example", NULL, false },
};

START_TEST(target_rows)
{
	struct target *t = mem_alloc(sizeof(*t));
	struct message *m = mem_alloc(sizeof(*m));

	for (size_t i = 0; i < array_size(targets); i++) {
		const struct target_row *row = &targets[i];
		struct http_scan s = { 0 };
		struct fault f;
		size_t used;
		char in[512], got[512];

		snprintf(in, sizeof(in), "%s HTTP/1.1\r\nHost: %s\r\n\r\n", row->line, row->host);
		ck_assert_msg(http_request_parse(&s, in, strlen(in), m, &used, &f) == HTTP_DONE, "%s: %s",
		              in, f.why);
		ck_assert_msg(target_normalise(t, m, row->tls, 0, &f) == (row->want != NULL), "%s: %s",
		              in, f.why ? f.why : "taken");
		if (!row->want)
			continue;
		snprintf(got, sizeof(got), "%.*s %.*s%.*s", SPAN_ARG(t->host), SPAN_ARG(t->path),
		         SPAN_ARG(t->query));
		ck_assert_str_eq(got, row->want);
	}
	free(t);
	free(m);
}
END_TEST

START_TEST(said_rows)
{
	static const char *const rows[][2] = {
		{ "/page?token=x", "/page" },
		{ "/page#x", "/page" },
		{ "/a%zz?token=x", "/a%zz" },
		{ "/at@home//b?x", "/at@home//b" },
		{ "/back?to=http://a/b", "/back" },
		{ "http://me:secret@a.example/page?token=x", "/page" },
		{ "http://me:secret@a.example?token=x", "" },
		{ "ftp://me:secret@a.example", "" },
		{ "me:secret@a.example:443", "" },
		{ "a.example:443", "a.example:443" },
		{ "?token=x", "" },
		{ "*", "*" },
		{ "", "" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct span got = target_said(span_str(rows[i][0]));

		ck_assert_msg(span_eq(got, span_str(rows[i][1])), "%s: %.*s", rows[i][0], SPAN_ARG(got));
	}
}
END_TEST

START_TEST(names)
{
	static const struct {
		const char  *name;
		enum head_id id;
	} rows[] = {
		{ "Host", HEAD_HOST }, { "TE", HEAD_TE }, { "Content-Length", HEAD_CONTENT_LENGTH },
		{ "transfer-ENCODING", HEAD_TRANSFER_ENCODING }, { "Proxy-Authorization", HEAD_PROXY_AUTHORIZATION },
		{ "Sec-Fetch-Site", HEAD_SEC_FETCH_SITE }, { "Upgrade", HEAD_UPGRADE }, { "date", HEAD_DATE },
		{ "Keep-Alive", HEAD_KEEP_ALIVE }, { "X-Request-Id", HEAD_X_REQUEST_ID },
		{ "Content-Encoding", HEAD_CONTENT_ENCODING }, { "Proxy-Connection", HEAD_PROXY_CONNECTION },
		{ "Proxy-Authenticate", HEAD_PROXY_AUTHENTICATE }, { "Traceparent", HEAD_TRACEPARENT },
		{ "Max-Forwards", HEAD_MAX_FORWARDS }, { "Origin", HEAD_ORIGIN }, { "Expect", HEAD_EXPECT },
		{ "Hos", HEAD_OTHER }, { "", HEAD_OTHER }, { "Content_Length", HEAD_OTHER },
		{ "Hostt", HEAD_OTHER }, { "X-Something-Quite-Long-Indeed", HEAD_OTHER },
	};

	for (size_t i = 0; i < array_size(rows); i++)
		ck_assert_msg(head_find(span_str(rows[i].name)) == rows[i].id, "%s", rows[i].name);
}
END_TEST

UNIT_MAIN("http_parse", names, request_rows, response_rows, limits, path_rows, target_rows, said_rows)
