/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* No client byte becomes an identity: a million and more spellings of every
 * name that tells an application who somebody is, through the parser and the
 * rules for fields and trailers, none of which may pass; and what must pass. */
#include "base/mem.h"
#include "daemon/proxy/headers.h"
#include "daemon/proxy/http_parse.h"
#include "daemon/proxy/profiles.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPELLINGS = 1200000 };

static struct snapshot *snap;
static struct buf block;
static uint32_t words[2] = { 1, 2 };

/* A service that writes a name of its own, and every profile. */
static void setup_snapshot(void)
{
	static const struct custom_header custom[] = {
		{ { "X-Campus-Person", 15 }, { "{login}", 7 }, VALUE_UTF8 },
	};
	static const struct span listens[] = { { "127.0.0.1:80", 12 } }, hosts[] = { { "wiki", 4 } };
	struct service_desc d = { .name = SPAN("wiki"), .listens = listens, .listen_count = 1, .hosts = hosts,
		                  .host_count = 1, .custom = custom, .custom_count = 1 };
	struct snapshot_builder *b = snapshot_builder_new();
	uint32_t i;
	struct err err;

	ck_assert(snapshot_add_service(b, &d, &i, &err));
	ck_assert(snapshot_finish(b, &block, &err));
	snap = snapshot_open_mem(block.ptr, block.len, words, 2, &err);
	ck_assert_msg(snap != NULL, "%s", err.msg);
}

static uint64_t seed = 20261120;

static uint32_t draw(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

/* What a field name may hold beside letters and digits (RFC 9110 5.6.2). */
static const char punct[] = "-_.!#$%&'*+^`|~";

/* The name with its words run together, split and cased at will. */
static size_t spell(const char *name, char *out)
{
	size_t n = 0;

	for (const char *p = name; *p; p++) {
		bool sep = *p == '-' || *p == '_';
		uint32_t more = draw(8);

		if (sep && draw(4) == 0)
			continue;
		if (sep || more == 0) {
			for (uint32_t k = 1 + (draw(6) == 0 ? draw(4) : 0); k; k--)
				out[n++] = draw(2) ? punct[draw(2)] : punct[draw(sizeof(punct) - 1)];
			if (sep)
				continue;
		}
		out[n++] = *p >= 'a' && *p <= 'z' && draw(2) ? (char)(*p - 32)
		           : *p >= 'A' && *p <= 'Z' && draw(2) ? (char)(*p + 32) : *p;
	}
	if (draw(10) == 0)
		out[n++] = punct[draw(sizeof(punct) - 1)];
	return n;
}

/* What CGI makes of a name: HTTP_ and capitals, "_" for the rest. WSGI, Rack and PHP follow. */
static void cgi(const char *name, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		out[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 32)
		         : (name[i] >= 'A' && name[i] <= 'Z') || (name[i] >= '0' && name[i] <= '9') ? name[i] : '_';
	out[len] = '\0';
}

static size_t all_names(const char **out, size_t max)
{
	static const char *const more[] = {
		"X-Campus-Person", "X-Reeve-Assertion", "Reeve-Node", "Reeve-User", "Reeve-Session",
		"Tailscale-App-Capabilities", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded",
		"X-Real-IP", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL",
		"X-Rewrite-URL", "X-Remote-User", "X-Auth-Request-User", "OIDC_CLAIM_roles", "OIDC_access_token", "Proxy",
		"X-Request-Id",
	};
	static const char *const profiles[] = { "remote-user", "x-forwarded", "tailscale", "webauth", "oidc-claim" };
	size_t n = 0;

	for (size_t i = 0; i < array_size(profiles); i++) {
		for (const struct profile_row *r = profile_find(span_str(profiles[i]))->rows; r->name; r++)
			out[n++] = r->name;
	}
	for (size_t i = 0; i < array_size(more); i++)
		out[n++] = more[i];
	ck_assert_uint_le(n, max);
	return n;
}

static void pass_request(struct message *m, const char *name, size_t len, bool nominated)
{
	char raw[1024];
	struct http_scan scan = { 0 };
	struct fault why;
	size_t used;
	int n = snprintf(raw, sizeof(raw), "GET / HTTP/1.1\r\nHost: wiki\r\n%s%.*s%s%.*s: root\r\n\r\n",
	                 nominated ? "Connection: " : "", nominated ? (int)len : 0, name,
	                 nominated ? "\r\n" : "", (int)len, name);

	if (http_request_parse(&scan, raw, (size_t)n, m, &used, &why) != HTTP_DONE)
		return;         /* refused whole: also well */
	for (size_t i = 0; i < m->field_count; i++)
		ck_assert_msg(!header_passes_up(snap, m, &m->fields[i]), "%.*s reaches the application",
		              SPAN_ARG(m->fields[i].name));
}

static void pass_trailer(struct message *m, const char *name, size_t len)
{
	char raw[1024];
	struct http_scan scan = { 0 };
	struct fault why;
	size_t used;
	int n = snprintf(raw, sizeof(raw), "%.*s: root\r\n\r\n", (int)len, name);

	if (http_trailers_parse(&scan, raw, (size_t)n, 400, m, &used, &why) != HTTP_DONE)
		return;
	for (size_t i = 0; i < m->field_count; i++)
		ck_assert_msg(!header_passes_trailer(snap, &m->fields[i], true), "trailer %.*s reaches the application",
		              SPAN_ARG(m->fields[i].name));
}

START_TEST(spoofing)
{
	const char *names[128];
	struct message *m;
	size_t n, folds = 0;

	setup_snapshot();
	m = mem_alloc(sizeof(*m));
	n = all_names(names, array_size(names));
	for (size_t i = 0; i < SPELLINGS; i++) {
		const char *name = names[i % n];
		char out[256], a[256], b[256];
		size_t len = i < n ? strlen(strcpy(out, name)) : spell(name, out);

		cgi(out, len, a);
		cgi(name, strlen(name), b);
		folds += strcmp(a, b) == 0;
		switch (i % 3) {
		case 0:
			pass_trailer(m, out, len);
			break;
		default:
			pass_request(m, out, len, i % 3 == 1);
			break;
		}
		ck_assert_msg(head_find(span_of(out, len)) != HEAD_OTHER || header_strips(snap, span_of(out, len)),
		              "%.*s is not stripped", (int)len, out);
	}
	printf("spoofing: %d spellings of %zu names, %zu of them one and the same to CGI; none passed\n",
	       SPELLINGS, n, folds);
	free(m);
	snapshot_unref(snap);
	buf_done(&block);
}
END_TEST

START_TEST(innocent)
{
	static const char *const names[] = {
		"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Content-Type",
		"Cookie", "DNT", "Date", "Depth", "Destination", "ETag", "If-Match", "If-Modified-Since", "If-None-Match",
		"If-Range", "If-Unmodified-Since", "Last-Event-ID", "Lock-Token", "Origin", "Overwrite", "Pragma",
		"Prefer", "Priority", "Range", "Referer", "Sec-CH-UA", "Sec-Fetch-Dest", "Sec-Fetch-Mode",
		"Sec-Fetch-Site", "Sec-Fetch-User", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key",
		"Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "SOAPAction", "Timeout", "Upgrade-Insecure-Requests",
		"User-Agent", "Via", "X-Api-Key", "X-Auth-Token", "X-CSRF-Token", "X-CSRFToken", "X-Requested-With",
		"X-XSRF-TOKEN", "baggage", "traceparent", "tracestate", "OC-Total-Length", "X-OC-Mtime", "grpc-timeout",
		"My_Custom_Header", "My.Custom.Header", "Content-Disposition", "Idempotency-Key", "X-Custom",
	};
	struct message m = { .field_count = 0 };

	for (size_t i = 0; i < array_size(names); i++) {
		struct field f = { span_str(names[i]), SPAN("x"), head_find(span_str(names[i])) };

		ck_assert_msg(header_passes_up(NULL, &m, &f), "%s does not pass", names[i]);
	}
}
END_TEST

START_TEST(profile_values)
{
	static const struct {
		const char         *login, *name, *tmpl;
		enum value_encoding enc;
		const char         *want;       /* NULL: refused; "": left out */
	} rows[] = {
		{ "staff@example.edu", "", "{login}", VALUE_ASCII, "staff@example.edu" },
		{ "st\xc3\xa4" "ff", "", "{login}", VALUE_ASCII, NULL },
		{ "", "", "{login}", VALUE_ASCII, "" },
		{ "staff@example.edu", "", "{short-login}", VALUE_ASCII, "staff" },
		{ "staff@example.edu", "", "cn={short-login},ou={{x}", VALUE_ASCII, "cn=staff,ou={x}" },
		{ "", "", "cn={login}", VALUE_ASCII, "" },
		{ "a", "J\xc3\xb6rg", "{name}", VALUE_UTF8, "J\xc3\xb6rg" },
		{ "a", "J\xc3\xb6rg", "{name}", VALUE_DROP, "" },
		{ "a", "J\xc3\xb6rg", "{name}", VALUE_RFC2047, "=?utf-8?q?J=C3=B6rg?=" },
		{ "a", "J\xc3\xb6rg", "{name}", VALUE_PERCENT, "J%C3%B6rg" },
		{ "a", "J\xc3\xb6rg", "{name}", VALUE_BASE64URL, "SsO2cmc" },
		{ "a", "\xff\xfe", "{name}", VALUE_UTF8, "" },
		{ "a", "", "{groups}", VALUE_UTF8, "lab,it" },
		{ "a", "", "{auth-time}", VALUE_UTF8, "12345" },
		{ "a", "", "{address}", VALUE_UTF8, "fd00::1" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		static const struct span groups[] = { { "lab", 3 }, { "it", 2 } };
		static const struct span listens[] = { { "80", 2 } };
		struct custom_header custom = { SPAN("X-H"), span_str(rows[i].tmpl), rows[i].enc };
		struct service_desc d = { .name = SPAN("s"), .listens = listens, .listen_count = 1, .custom = &custom,
			                  .custom_count = 1 };
		struct ident id = { .kind = IDENT_PERSON, .generation = 1, .login = span_str(rows[i].login),
			            .name = span_str(rows[i].name), .groups = groups, .group_count = 2,
			            .auth_time = { 12345 }, .expires_boot = BOOT_NEVER };
		struct snapshot_builder *b = snapshot_builder_new();
		char out[512];
		struct head_out o = { .ptr = out, .cap = sizeof(out) };
		const char *why = NULL;
		struct profile_about about = { 0 };
		uint32_t slot, index;
		struct buf blk;
		struct err err;
		bool ok;

		ck_assert(snapshot_add_ident(b, &id, &slot, &err));
		ck_assert_msg(snapshot_add_service(b, &d, &index, &err), "%s", err.msg);
		ck_assert(snapshot_finish(b, &blk, &err));
		about.snapshot = snapshot_open_mem(blk.ptr, blk.len, words, 2, &err);
		ck_assert(about.snapshot != NULL);
		about.ident = snapshot_ident(about.snapshot, slot);
		ck_assert(ip_parse(SPAN("fd00::1"), &about.address));
		ok = profiles_write(&about, snapshot_service(about.snapshot, index)->headers, &o, &why);
		ck_assert_msg(ok == (rows[i].want != NULL), "row %zu: %s", i, why ? why : "");
		if (ok && *rows[i].want) {
			char want[256];

			snprintf(want, sizeof(want), "X-H: %s\r\n", rows[i].want);
			ck_assert_msg(span_eq(span_of(out, o.len), span_str(want)), "row %zu: %.*s", i, (int)o.len, out);
		} else if (ok) {
			ck_assert_uint_eq(o.len, 0);
		}
		snapshot_unref((struct snapshot *)(uintptr_t)about.snapshot);
		buf_done(&blk);
	}
}
END_TEST

UNIT_MAIN("headers", innocent, profile_values, spoofing)
