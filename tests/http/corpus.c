/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tests/http/corpus.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stream {
	struct stream_result *r;
	bool                  request, eof;
	enum verb             of;
	struct http_scan      scan;
	struct chunked        chunked;
	uint64_t              left;
	enum { IN_HEAD, IN_LENGTH, IN_CHUNKED, IN_TRAILERS, IN_REST, IN_NOTHING } state;
	bool                  close;
	struct message       *m;
	struct target        *t;
	struct span           data;     /* body bytes run together in the log */
};

enum { FNV = 2166136261u };

static uint32_t fnv(uint32_t h, struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.ptr[i]) * 16777619u;
	return h;
}

/* The message at hand; NULL: they have become too many to keep. */
static struct stream_message *kept(struct stream *s)
{
	unsigned n = s->r->heads;

	return n && n <= STREAM_KEPT ? &s->r->kept[n - 1] : NULL;
}

static void keep_fields(struct stream_message *k, const struct message *m)
{
	for (size_t i = 0; i < m->field_count; i++) {
		k->field_sum = fnv(k->field_sum, m->fields[i].name);
		k->field_sum = fnv(k->field_sum, SPAN(":"));
		k->field_sum = fnv(k->field_sum, m->fields[i].value);
		k->field_sum = fnv(k->field_sum, SPAN("\n"));
	}
}

static void log_data(struct stream *s, struct span d)
{
	struct stream_message *k = kept(s);

	buf_add(&s->r->log, d.ptr, d.len);
	if (k) {
		k->body_len += d.len;
		k->body_sum = fnv(k->body_sum, d);
	}
}

static void message_end(struct stream *s)
{
	struct stream_message *k = kept(s);

	if (k)
		k->ended = true;
	s->r->messages++;
	buf_add_str(&s->r->log, "|end\n");
	s->state = s->close ? IN_NOTHING : IN_HEAD;
	memset(&s->scan, 0, sizeof(s->scan));
}

static void head_done(struct stream *s)
{
	struct message *m = s->m;
	struct buf *log = &s->r->log;
	struct stream_message *k;

	s->r->heads++;
	k = kept(s);
	if (k) {
		*k = (struct stream_message){ .fields = (unsigned)m->field_count, .field_sum = FNV, .body_sum = FNV,
			                      .keep_alive = m->keep_alive, .upgrade = m->upgrade };
		keep_fields(k, m);
	}
	if (s->request)
		buf_addf(log, "%.*s %.*s%.*s host=%.*s", SPAN_ARG(m->method), SPAN_ARG(s->t->path),
		         SPAN_ARG(s->t->query), SPAN_ARG(s->t->host));
	else
		buf_addf(log, "%u", m->status);
	buf_addf(log, " keep=%d upgrade=%d fields=%zu|", m->keep_alive, m->upgrade, m->field_count);
	for (size_t i = 0; i < m->field_count; i++)
		buf_addf(log, "%.*s=%.*s,", SPAN_ARG(m->fields[i].name), SPAN_ARG(m->fields[i].value));
	buf_add_char(log, '|');
	s->close = !m->keep_alive || m->upgrade;
	switch (m->body) {
	case BODY_NONE:
		message_end(s);
		if (!s->request && m->status == 101)
			s->state = IN_NOTHING;
		break;
	case BODY_LENGTH:
		s->left = m->length;
		s->state = IN_LENGTH;
		break;
	case BODY_CHUNKED:
		chunked_init(&s->chunked);
		s->state = IN_CHUNKED;
		break;
	case BODY_UNTIL_CLOSE:
		s->state = IN_REST;
		break;
	}
}

/* One step over p[0..len): bytes used; SIZE_MAX: refused. *ret_more: wants more. */
static size_t step(struct stream *s, const char *p, size_t len, bool *ret_more)
{
	struct fault *f = &s->r->fault;
	enum http_result r;
	struct span data;
	size_t used = 0;

	*ret_more = false;
	switch (s->state) {
	case IN_HEAD:
		r = s->request ? http_request_parse(&s->scan, p, len, s->m, &used, f)
		               : http_response_parse(&s->scan, p, len, s->of, s->m, &used, f);
		if (r == HTTP_BAD || (r == HTTP_DONE && s->request &&
		                      !target_normalise(s->t, s->m, false, 0, f)))
			return SIZE_MAX;
		if (r == HTTP_DONE)
			head_done(s);
		else
			*ret_more = true;
		return used;
	case IN_LENGTH:
		used = len < s->left ? len : (size_t)s->left;
		log_data(s, span_of(p, used));
		s->left -= used;
		if (s->left == 0)
			message_end(s);
		else
			*ret_more = true;
		return used;
	case IN_CHUNKED:
		switch (chunked_read(&s->chunked, p, len, &used, &data)) {
		case CHUNKED_BAD:
			f->status = s->request ? 400 : 502;
			f->why = "a malformed chunk";
			return SIZE_MAX;
		case CHUNKED_MORE:
			*ret_more = true;
			return used;
		case CHUNKED_DATA:
			log_data(s, data);
			return used;
		case CHUNKED_TRAILERS:
			memset(&s->scan, 0, sizeof(s->scan));
			s->state = IN_TRAILERS;
			return used;
		}
		return SIZE_MAX;
	case IN_TRAILERS:
		r = http_trailers_parse(&s->scan, p, len, s->request ? 400 : 502, s->m, &used, f);
		if (r == HTTP_BAD)
			return SIZE_MAX;
		if (r == HTTP_DONE) {
			struct stream_message *k = kept(s);

			buf_addf(&s->r->log, "|trailers=%zu", s->m->field_count);
			if (k) {
				k->trailers = (unsigned)s->m->field_count;
				keep_fields(k, s->m);
			}
			message_end(s);
		} else {
			*ret_more = true;
		}
		return used;
	case IN_REST:
		log_data(s, span_of(p, len));
		*ret_more = true;
		return len;
	case IN_NOTHING:
		*ret_more = true;
		return len;
	}
	return SIZE_MAX;
}

static void run(struct stream *s, struct span bytes, size_t piece)
{
	size_t have = 0, at = 0;        /* bytes[at..have) are here and not used */

	s->m = mem_alloc(sizeof(*s->m));
	s->t = mem_alloc(sizeof(*s->t));
	buf_init(&s->r->log, 16 << 20);
	while (s->r->fault.status == 0) {
		bool more = false;

		while (!more) {
			/* exactly what is here: a sanitizer sees a read beyond it */
			char *copy = mem_dup(bytes.ptr + at, have - at);
			size_t used = step(s, copy, have - at, &more);

			free(copy);
			if (used == SIZE_MAX)
				goto out;
			at += used;
		}
		if (have == bytes.len)
			break;
		have += piece && piece < bytes.len - have ? piece : bytes.len - have;
	}
	s->r->end = s->state == IN_NOTHING ? STREAM_CLOSED : STREAM_OPEN;
	if (s->state == IN_REST && s->eof) {
		message_end(s);
		s->r->end = STREAM_CLOSED;
	}
out:
	if (s->r->fault.status) {
		s->r->end = STREAM_BAD;
		buf_addf(&s->r->log, "bad %u %s", s->r->fault.status, s->r->fault.why);
	}
	free(s->m);
	free(s->t);
}

void stream_requests(struct span bytes, size_t piece, struct stream_result *ret)
{
	struct stream s = { .r = ret, .request = true };

	memset(ret, 0, sizeof(*ret));
	run(&s, bytes, piece);
}

void stream_responses(struct span bytes, size_t piece, enum verb of, bool eof, struct stream_result *ret)
{
	struct stream s = { .r = ret, .of = of, .eof = eof };

	memset(ret, 0, sizeof(*ret));
	run(&s, bytes, piece);
}

void stream_done(struct stream_result *r)
{
	buf_done(&r->log);
}

bool corpus_read(const char *name, struct buf *ret_text)
{
	const char *top = getenv("top_srcdir");
	struct buf path;
	struct err err;
	bool ok;

	buf_init(&path, 4096);
	buf_addf(&path, "%s/../shared/corpora/%s", top ? top : ".", name);
	ok = file_read(path.ptr, 64 << 20, ret_text, &err);
	if (!ok)
		printf("SKIP: %s: %s\n", path.ptr, err.msg);
	buf_done(&path);
	return ok;
}
