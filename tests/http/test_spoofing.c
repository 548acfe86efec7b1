/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * test_headers.c asks the rules; this asks the engine. Spellings of names that
 * tell an application who somebody is go in as HTTP/1.1 fields, as trailers,
 * behind a Connection that nominates them or what the front writes, as HTTP/2
 * fields, trailers and pseudo fields; the application looks at every name that
 * reaches it.
 */
#include "base/mem.h"
#include "daemon/proxy/headers.h"
#include "daemon/proxy/http_parse.h"
#include "tests/http/inside.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 10000, PER_REQUEST = 60 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
static const char punct[] = "-_.!#$%&'*+^`|~";
static uint64_t seed = 20261121;
static size_t names_sent, requests_seen, names_seen;

static const char *const names[] = {
	"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "X-Remote-User", "X-Forwarded-User",
	"X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-WEBAUTH-USER",
	"X-WEBAUTH-NAME", "X-WEBAUTH-GROUPS", "Tailscale-User-Login", "Tailscale-User-Name",
	"Tailscale-App-Capabilities", "OIDC_CLAIM_sub", "OIDC_CLAIM_email", "OIDC_access_token", "X-Campus-Person",
	"X-Reeve-Assertion", "Reeve-Node", "Reeve-User", "Reeve-Session", "X-Forwarded-For", "X-Forwarded-Proto",
	"X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL",
	"X-Auth-Request-User", "Proxy", "X-Request-Id",
};

static uint32_t draw(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

/* One spelling; HTTP/2 has no capitals. */
static void add_name(struct buf *b, bool lower)
{
	for (const char *p = names[draw(array_size(names))]; *p; p++) {
		bool sep = *p == '-' || *p == '_';
		char c = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;

		if (sep && draw(5) == 0)
			continue;
		if (sep || draw(12) == 0)
			buf_add_char(b, draw(3) ? punct[draw(2)] : punct[draw(sizeof(punct) - 1)]);
		if (!sep)
			buf_add_char(b, !lower && c >= 'a' && c <= 'z' && draw(2) ? (char)(c - 32) : c);
	}
	if (draw(12) == 0)
		buf_add_char(b, punct[draw(sizeof(punct) - 1)]);
	names_sent++;
}

/* Whatever of the client's has the value "root" must not be there; what the front writes must. */
static void check_sent(struct span sent)
{
	static struct message m;
	static const char *const ours[] = { "x-request-id", "x-forwarded-proto", "x-forwarded-host" };
	struct http_scan scan = { 0 };
	struct fault why;
	size_t used = 0, n;

	while (sent.len) {
		memset(&scan, 0, sizeof(scan));
		if (http_request_parse(&scan, sent.ptr, sent.len, &m, &used, &why) != HTTP_DONE)
			break;  /* the end of a body; roots in it are looked for below */
		requests_seen++;
		for (size_t i = 0; i < m.field_count; i++) {
			ck_assert_msg(!span_eq(m.fields[i].value, SPAN("root")), "%.*s reaches the application",
			              SPAN_ARG(m.fields[i].name));
			names_seen++;
		}
		for (size_t k = 0; k < array_size(ours); k++) {
			n = 0;
			for (size_t i = 0; i < m.field_count; i++)
				n += span_ieq(m.fields[i].name, span_str(ours[k]));
			ck_assert_msg(n == 1, "%s is there %zu times", ours[k], n);
		}
		sent = span_from(sent, used);
		if (m.body != BODY_NONE)
			break;
	}
	ck_assert_msg(!memmem(sent.ptr, sent.len, "root", 4), "a trailer reaches the application: %.*s", SPAN_ARG(sent));
}

static size_t run(struct inside *in, const struct buf *b)
{
	struct inside_result r;
	size_t before = requests_seen;

	inside_run(in, buf_span(b), span_str(answer), &r);
	ck_assert(!r.left_open);
	for (size_t i = 0; i < r.app_count; i++)
		check_sent(buf_span(&r.app[i]));
	inside_result_done(&r);
	return requests_seen - before;
}

static void said(const char *version)
{
	printf("spoofing by %s: %zu spellings, %zu requests with %zu fields reached the application; none of them\n",
	       version, names_sent, requests_seen, names_seen);
}

START_TEST(http1)
{
	struct inside *in = inside_new();
	struct buf b;

	for (int round = 0; round < ROUNDS; round++) {
		bool trailers = round % 3 == 1, nominate = round % 3 == 2;

		buf_init(&b, 64 << 10);
		buf_add_str(&b, trailers ? "POST / HTTP/1.1\r\nHost: wiki\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
		                         : "GET / HTTP/1.1\r\nHost: wiki\r\n");
		for (int i = 0; nominate && i < 30; i++) {
			buf_add_str(&b, i ? ", " : "Connection: ");
			add_name(&b, false);
		}
		if (nominate)
			buf_add_str(&b, "\r\n");
		for (int i = 0; i < PER_REQUEST; i++) {
			add_name(&b, false);
			buf_add_str(&b, ": root\r\n");
		}
		buf_add_str(&b, "\r\n");
		/* what was asked for is answered: the names were stripped, not the request refused */
		ck_assert_uint_eq(run(in, &b), 1);
		buf_done(&b);
	}
	said("HTTP/1.1");
	inside_free(in);
}
END_TEST

/* ---- HTTP/2 ---- */

static void add_frame(struct buf *b, unsigned type, unsigned flags, unsigned stream, struct span payload)
{
	const char head[9] = { (char)(payload.len >> 16), (char)(payload.len >> 8), (char)payload.len, (char)type,
		               (char)flags, 0, 0, (char)(stream >> 8), (char)stream };

	buf_add(b, head, sizeof(head));
	buf_add_span(b, payload);
}

/* A literal field, RFC 7541 6.2.2. */
static void add_field(struct buf *b, struct span name, struct span value)
{
	ck_assert_uint_lt(name.len, 127);
	buf_add_char(b, '\0');
	buf_add_char(b, (char)name.len);
	buf_add_span(b, name);
	buf_add_char(b, (char)value.len);
	buf_add_span(b, value);
}

static void add_names(struct buf *block, int n, const char *before, const char *behind)
{
	for (int i = 0; i < n; i++) {
		struct buf name;

		buf_init(&name, 256);
		buf_add_str(&name, before);
		add_name(&name, true);
		buf_add_str(&name, behind);
		add_field(block, buf_span(&name), SPAN("root"));
		buf_done(&name);
	}
}

static void add_pseudo(struct buf *block, bool post)
{
	add_field(block, SPAN(":method"), post ? SPAN("POST") : SPAN("GET"));
	add_field(block, SPAN(":scheme"), SPAN("http"));
	add_field(block, SPAN(":authority"), SPAN("wiki"));
	add_field(block, SPAN(":path"), SPAN("/"));
}

START_TEST(http2)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	/* what stands around a name, and whether such a request may be served at all */
	static const struct {
		const char *before, *behind;
		bool        served, trailer;
	} kinds[] = {
		{ "", "", true, false }, { "", "", true, true }, { ":", "", false, false }, { ":", "", false, true },
		{ "", ":", false, false }, { "", " ", false, false }, { "::", "", false, false }, { "X", "", false, false },
		{ "", "\r\nremote-user", false, false }, { "HTTP_", "", false, false },
	};
	struct inside *in = inside_new();
	size_t served = 0, refused = 0;

	for (int round = 0; round < ROUNDS; round++) {
		/* every other one is to be served: the first two */
		size_t k = round % 2 ? (size_t)round / 2 % 2 : 2 + (size_t)round / 2 % (array_size(kinds) - 2);
		struct buf b, block, trailer;

		buf_init(&b, 64 << 10);
		buf_init(&block, 32 << 10);
		buf_init(&trailer, 32 << 10);
		buf_add(&b, preface, sizeof(preface) - 1);
		add_pseudo(&block, kinds[k].trailer);
		if (kinds[k].trailer) {
			/* a pseudo field among trailers: one is enough */
			add_names(&trailer, kinds[k].served ? PER_REQUEST : 1, kinds[k].before, kinds[k].behind);
			add_frame(&b, 1, 4, 1, buf_span(&block));
			add_frame(&b, 0, 0, 1, SPAN("ab"));
			add_frame(&b, 1, 5, 1, buf_span(&trailer));
		} else {
			add_names(&block, kinds[k].served ? PER_REQUEST : 1, kinds[k].before, kinds[k].behind);
			add_frame(&b, 1, 5, 1, buf_span(&block));
		}
		if (kinds[k].served) {
			ck_assert_uint_eq(run(in, &b), 1);
			served++;
		} else if (!kinds[k].trailer) {
			ck_assert_uint_eq(run(in, &b), 0);
			refused++;
		} else {
			run(in, &b);    /* its head may have been there before the trailer came */
			refused++;
		}
		buf_done(&b);
		buf_done(&block);
		buf_done(&trailer);
	}
	ck_assert_uint_gt(served, 0);
	ck_assert_uint_gt(refused, 0);
	said("HTTP/2");
	inside_free(in);
}
END_TEST

/* The other way round: what is nobody's name does pass, so that the above says something. */
START_TEST(innocent)
{
	static const char raw[] = "GET / HTTP/1.1\r\nHost: wiki\r\nX-Innocent: toor\r\nConnection: X-Gone\r\nX-Gone: toor\r\n\r\n";
	struct inside *in = inside_new();
	struct inside_result r;

	inside_run(in, span_str(raw), span_str(answer), &r);
	ck_assert_uint_eq(r.app_count, 1);
	ck_assert(memmem(r.app[0].ptr, r.app[0].len, "X-Innocent: toor\r\n", 18) != NULL);
	ck_assert(memmem(r.app[0].ptr, r.app[0].len, "X-Gone", 6) == NULL);
	ck_assert(memmem(r.client.ptr, r.client.len, "\r\n\r\nok", 6) != NULL);
	inside_result_done(&r);
	inside_free(in);
}
END_TEST

UNIT_MAIN("spoofing", innocent, http1, http2)
