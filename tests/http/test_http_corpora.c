/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Requests and responses that others collected, through our parsers, whole
 * and in pieces. tests/http/llhttp.differences lists every case that we judge
 * otherwise than its authors, with the reason; a line too many fails, and so does
 * one too few, unless it says that we refuse for a reason that is explained there
 * already: another version of the collection has other cases, of the same kinds.
 * REEVE_UPDATE=1 prints the lines that the file should have.
 */
#include "base/encode.h"
#include "base/file.h"
#include "base/mem.h"
#include "tests/http/corpus.h"
#include "tests/unit/main.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static json_t *load(const char *name)
{
	struct buf text = { 0 };
	json_error_t e;
	json_t *j;

	buf_init(&text, 64 << 20);
	if (!corpus_read(name, &text)) {
		buf_done(&text);
		return NULL;
	}
	j = json_loadb(text.ptr, text.len, 0, &e);
	ck_assert_msg(j != NULL, "%s: %s", name, e.text);
	buf_done(&text);
	return j;
}

static struct span bytes_of(const json_t *c, const char *key)
{
	const char *b64 = json_string_value(json_object_get(c, key));
	size_t size = strlen(b64), n = 0;
	char *out = mem_alloc(size + 1);

	ck_assert(base64_decode(span_str(b64), out, size, &n));
	return span_of(out, n);
}

static const char *str(const json_t *c, const char *key)
{
	const char *s = json_string_value(json_object_get(c, key));

	return s ? s : "";
}

/* Every piece size must lead to the same log. */
static void same_in_pieces(struct span in, const char *name, const struct stream_result *whole,
                           bool request, enum verb of)
{
	static const size_t pieces[] = { 1, 2, 3, 7, 64 };

	for (size_t i = 0; i < array_size(pieces); i++) {
		struct stream_result r;

		if (request)
			stream_requests(in, pieces[i], &r);
		else
			stream_responses(in, pieces[i], of, false, &r);
		ck_assert_msg(span_eq(buf_span(&r.log), buf_span(&whole->log)),
		              "%s: in pieces of %zu: %s\nwhole: %s", name, pieces[i],
		              r.log.ptr ? r.log.ptr : "", whole->log.ptr ? whole->log.ptr : "");
		stream_done(&r);
	}
}

START_TEST(desync)
{
	json_t *all = load("http/desync-guardian.json"), *c;
	unsigned severe = 0, compliant = 0, other[2] = { 0, 0 };
	size_t i;

	if (!all)
		return;
	json_array_foreach(all, i, c) {
		struct span in = bytes_of(c, "bytes_b64");
		struct stream_result r;
		const char *tier = str(c, "tier");

		stream_requests(in, 0, &r);
		same_in_pieces(in, str(c, "id"), &r, true, VERB_OTHER);
		if (strcmp(tier, "Severe") == 0) {
			severe++;
			ck_assert_msg(r.heads == 0, "%s %s: a severe case passed: %s", str(c, "id"),
			              str(c, "name"), r.log.ptr);
		} else if (strcmp(tier, "Compliant") == 0) {
			compliant++;
			ck_assert_msg(r.end != STREAM_BAD && r.heads >= 1,
			              "%s %s: a compliant case was refused: %s", str(c, "id"),
			              str(c, "name"), r.log.ptr);
		} else {
			other[r.heads > 0]++;
		}
		stream_done(&r);
		free((void *)(uintptr_t)in.ptr);
	}
	printf("desync: %u severe refused, %u compliant taken; of the rest %u refused, %u taken\n",
	       severe, compliant, other[0], other[1]);
	ck_assert_uint_ge(severe, 1);
	ck_assert_uint_ge(compliant, 1);
	json_decref(all);
}
END_TEST

/* The collection lost the last line end of many inputs; the offsets in the log tell. */
static bool wants_newline(const json_t *c, size_t len)
{
	size_t i;
	json_t *line;

	json_array_foreach(json_object_get(c, "log"), i, line) {
		unsigned long off = 0, n = 0;

		if (sscanf(json_string_value(line), "off=%lu len=%lu", &off, &n) >= 1 && off + n > len)
			return true;
	}
	return false;
}

static bool has_host(struct span in)
{
	for (size_t i = 0; i + 5 < in.len; i++) {
		if (in.ptr[i] == '\n' && span_ieq(span_of(in.ptr + i + 1, 5), SPAN("host:")))
			return true;
		if (i >= 3 && memcmp(in.ptr + i - 3, "\r\n\r\n", 4) == 0 && i > 8)
			return false;
	}
	return false;
}

/* Most cases leave Host out, which we refuse: put one in, behind each request line that has "HTTP/". */
static struct span with_host(struct span in)
{
	struct buf out;
	struct span rest = in, line;
	bool head = true, first = true;

	if (has_host(in))
		return in;
	buf_init(&out, 1 << 20);
	while (rest.ptr) {
		size_t n = span_find(rest, '\n');

		line = span_head(rest, n == rest.len ? n : n + 1);
		buf_add_span(&out, line);
		rest = n == rest.len ? (struct span){ 0 } : span_from(rest, n + 1);
		if (first && line.len > 2 && span_ends(line, SPAN("\r\n"))) {
			buf_add_str(&out, "Host: example.com\r\n");
			first = false;
			head = true;
		}
		if (head && span_eq(line, SPAN("\r\n")))
			head = false;
		/* a second request in the same bytes */
		for (size_t i = 0; !head && i + 8 < rest.len && rest.ptr[i] != '\n'; i++) {
			if (memcmp(rest.ptr + i, " HTTP/1.", 8) == 0)
				first = true;
		}
		if (rest.ptr && rest.len == 0)
			break;
	}
	return buf_span(&out);
}

/* Whether the case of a line ("FILE:NUMBER TYPE: llhttp: ...") is in this collection. */
static bool is_there(const char *seen, const char *line)
{
	const char *end = strstr(line, ": llhttp:");
	struct buf key;
	bool there;

	ck_assert_msg(end != NULL, "no line of a case: %s", line);
	buf_init(&key, 4096);
	buf_addf(&key, "\n%.*s:", (int)(end - line), line);
	there = strstr(seen, key.ptr) != NULL;
	buf_done(&key);
	return there;
}

/* Whether a difference that no line lists is of a kind that other lines explain. */
static bool explained(const json_t *c, const struct stream_result *r, bool url, const char *listed)
{
	const char *error = str(c, "error");
	char why[256];

	if (r->end == STREAM_BAD) {
		snprintf(why, sizeof(why), "(%u, %s)", r->fault.status, r->fault.why);
		return strstr(str(json_object_get(c, "meta"), "type"), "lenient") || strstr(listed, why);
	}
	return strstr(error, "Invalid method") || (url && strstr(error, "Invalid char in url path"));
}

START_TEST(llhttp)
{
	json_t *all = load("http/llhttp-cases.json"), *c;
	const char *top = getenv("top_srcdir");
	bool update = getenv("REEVE_UPDATE") != NULL;
	struct buf path, listed, found, seen;
	unsigned same = 0, differ = 0, missing = 0, like = 0;
	size_t i;

	if (!all)
		return;
	buf_init(&path, 4096);
	buf_init(&listed, 1 << 20);
	buf_init(&found, 1 << 20);
	buf_init(&seen, 1 << 20);
	buf_addf(&path, "%s/tests/http/llhttp.differences", top ? top : ".");
	ck_assert(file_read(path.ptr, 1 << 20, &listed, NULL) || update);
	json_array_foreach(all, i, c) {
		const char *type = str(json_object_get(c, "meta"), "type");
		bool url = strcmp(str(c, "kind"), "url") == 0, request = strncmp(type, "request", 7) == 0;
		struct span raw = bytes_of(c, "input_b64");
		struct stream_result r;
		struct buf in, ours, theirs, key;
		bool after_close = strstr(str(c, "error"), "Data after") != NULL;
		bool their_bad = json_is_string(json_object_get(c, "error")) && !after_close;
		long long their_m = json_integer_value(json_object_get(c, "messages_complete"));

		buf_init(&in, 1 << 20);
		buf_init(&ours, 4096);
		buf_init(&theirs, 4096);
		buf_init(&key, 4096);
		buf_addf(&key, "%s:%lld %s", str(c, "file"),
		         (long long)json_integer_value(json_object_get(c, "line")), *type ? type : "url");
		if (url) {
			/* a target: in a request for the host that it names */
			struct span host = SPAN("example.com");
			struct span t = raw;

			if (span_starts(t, SPAN("http://"))) {
				host = span_from(t, 7);
				host = span_head(host, span_find(host, '/'));
				if (span_find(host, '@') < host.len)
					host = span_from(host, span_find(host, '@') + 1);
			}
			buf_addf(&in, "GET %.*s HTTP/1.1\r\nHost: %.*s\r\n\r\n", SPAN_ARG(t), SPAN_ARG(host));
			request = true;
			their_m = 1;
		} else {
			struct span w;

			buf_add_span(&in, raw);
			if (wants_newline(c, raw.len))
				buf_add_str(&in, "\r\n");
			if (request) {
				w = with_host(buf_span(&in));
				if (w.ptr != in.ptr) {
					buf_clear(&in);
					buf_add_span(&in, w);
					free((void *)(uintptr_t)w.ptr);
				}
			}
		}
		if (request)
			stream_requests(buf_span(&in), 0, &r);
		else
			stream_responses(buf_span(&in), 0, VERB_GET, false, &r);
		same_in_pieces(buf_span(&in), key.ptr, &r, request, VERB_GET);
		if (their_bad && their_m == 0)
			buf_add_str(&theirs, "refused");
		else
			buf_addf(&theirs, "%lld message%s%s", their_m, their_m == 1 ? "" : "s",
			         their_bad ? ", then refused" : "");
		if (their_bad && r.end == STREAM_OPEN && r.messages == 0 && !url) {
			/* a field line is judged once its head is complete: complete it */
			stream_done(&r);
			buf_add_str(&in, "\r\n\r\n");
			if (request)
				stream_requests(buf_span(&in), 0, &r);
			else
				stream_responses(buf_span(&in), 0, VERB_GET, false, &r);
		}
		/* what follows a close is not looked at here, which they call an error */
		if (after_close)
			ck_assert_msg(r.end != STREAM_OPEN, "%s: goes on after a close", key.ptr);
		if (r.end == STREAM_BAD && r.messages == 0)
			buf_add_str(&ours, "refused");
		else
			buf_addf(&ours, "%u message%s%s", r.messages, r.messages == 1 ? "" : "s",
			         r.end == STREAM_BAD ? ", then refused" : "");
		if (url)
			buf_clear(&theirs), buf_add_str(&theirs, their_bad ? "refused" : "1 message");
		if (span_eq(buf_span(&ours), buf_span(&theirs))) {
			same++;
		} else {
			struct buf line;

			buf_init(&line, 4096);
			buf_addf(&line, "%s: llhttp: %s; here: %s", key.ptr, theirs.ptr, ours.ptr);
			if (r.fault.status)
				buf_addf(&line, " (%u, %s)", r.fault.status, r.fault.why);
			differ++;
			buf_addf(&found, "%s\n", line.ptr);
			if (update) {
				printf("%s\n\t# %s\n", line.ptr, str(c, "name"));
			} else if (strstr(listed.ptr, line.ptr)) {
				;
			} else if (explained(c, &r, url, listed.ptr)) {
				like++;
			} else {
				missing++;
				printf("not listed: %s\n  %s\n", line.ptr, r.log.ptr ? r.log.ptr : "");
			}
			buf_done(&line);
		}
		buf_addf(&seen, "\n%s:", key.ptr);
		stream_done(&r);
		buf_done(&in);
		buf_done(&ours);
		buf_done(&theirs);
		buf_done(&key);
		free((void *)(uintptr_t)raw.ptr);
	}
	printf("llhttp: %u cases as expected, %u otherwise, each listed with its reason but for %u of the same kinds\n",
	       same, differ, like);
	if (!update) {
		struct span rest = buf_span(&listed), line;

		ck_assert_uint_eq(missing, 0);
		while (span_next(&rest, '\n', &line)) {
			char *l = span_dup(line);

			if (line.len && line.ptr[0] != '#' && line.ptr[0] != '\t' && is_there(seen.ptr, l))
				ck_assert_msg(strstr(found.ptr, l) != NULL, "listed, but no difference: %s", l);
			free(l);
		}
	}
	buf_done(&path);
	buf_done(&listed);
	buf_done(&found);
	buf_done(&seen);
	json_decref(all);
}
END_TEST

UNIT_MAIN("http_corpora", desync, llhttp)
