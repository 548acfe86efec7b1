/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/h2_block.h"

#include "base/encode.h"
#include "base/secret.h"
#include "daemon/proxy/h2_frames.h"
#include "daemon/proxy/http_parse.h"

#include <string.h>

static void empty(struct queue *q)
{
	q->off = q->len = 0;
}

void h2_block_begin(struct h2_block *b)
{
	empty(&b->text);
	empty(&b->fields);
	empty(&b->cookie);
	b->bytes = 0;
	b->has_length = false;
	memset(b->parts, 0, sizeof(b->parts));
}

void h2_block_free(struct h2_block *b)
{
	queue_free(&b->text);
	queue_free(&b->fields);
	queue_free(&b->cookie);
}

/* Once; a second one is malformed. */
static bool set_part(struct h2_block *b, enum h2_part part, struct span value)
{
	if (b->parts[part].set)
		return false;
	b->parts[part].set = true;
	b->parts[part].at = b->text.len;
	b->parts[part].len = value.len;
	queue_add(&b->text, value.ptr, value.len);
	return true;
}

static struct span get_part(const struct h2_block *b, enum h2_part part)
{
	struct span all = queue_span(&b->text);

	return b->parts[part].set ? span_head(span_from(all, b->parts[part].at), b->parts[part].len)
	                          : (struct span){ 0 };
}

static bool add_pseudo(struct h2_block *b, struct span name, struct span value)
{
	if (span_eq(name, SPAN(":method")))
		return set_part(b, H2_METHOD, value);
	if (span_eq(name, SPAN(":path")))
		return set_part(b, H2_PATH, value);
	if (span_eq(name, SPAN(":authority")))
		return set_part(b, H2_AUTHORITY, value);
	if (span_eq(name, SPAN(":protocol")))
		return set_part(b, H2_PROTOCOL, value);
	return span_eq(name, SPAN(":scheme"));
}

bool h2_block_add(struct h2_block *b, struct span name, struct span value, bool trailer)
{
	enum head_id id;

	if (b->bytes > HTTP_HEAD_MAX) {
		b->bytes += name.len + value.len;
		return b->bytes <= 4 * HTTP_HEAD_MAX;
	}
	b->bytes += name.len + value.len + 4;
	if (!http_is_value(value))
		return false;
	if (name.len && name.ptr[0] == ':')
		return add_pseudo(b, name, value);
	if (!http_is_token(name))
		return false;
	id = head_find(name);
	if (id == HEAD_HOST)
		return !trailer && set_part(b, H2_HOST, value);
	if (h2_is_hop(id))      /* nghttp2 says so before us */
		return false;
	if (span_eq(name, SPAN("cookie"))) {
		/* RFC 9113 8.2.3: crumbs become one field again */
		if (b->cookie.len)
			queue_add(&b->cookie, "; ", 2);
		queue_add(&b->cookie, value.ptr, value.len);
		return true;
	}
	b->has_length = b->has_length || id == HEAD_CONTENT_LENGTH;
	h2_line_add(&b->fields, name, value);
	return true;
}

static bool text_ok(struct span t)
{
	for (size_t i = 0; i < t.len; i++) {
		if ((unsigned char)t.ptr[i] <= 0x20 || t.ptr[i] == 0x7f)
			return false;
	}
	return true;
}

static void add(struct queue *q, struct span t)
{
	queue_add(q, t.ptr, t.len);
}

static void add_upgrade(struct queue *q, struct span protocol)
{
	unsigned char key[16];
	struct buf text;

	random_bytes(key, sizeof(key));
	buf_init(&text, 64);
	base64_add(&text, span_of((const char *)key, sizeof(key)));
	add(q, SPAN("Connection: Upgrade\r\n"));
	h2_line_add(q, SPAN("Upgrade"), protocol);
	h2_line_add(q, SPAN("Sec-WebSocket-Key"), buf_span(&text));
	buf_done(&text);
}

bool h2_block_request(const struct h2_block *b, bool end, struct queue *q, struct h2_asked *ret)
{
	struct span method = get_part(b, H2_METHOD), target = get_part(b, H2_PATH), own = get_part(b, H2_HOST),
		    protocol = get_part(b, H2_PROTOCOL), host = get_part(b, H2_AUTHORITY);
	bool has_authority = b->parts[H2_AUTHORITY].set, has_host = b->parts[H2_HOST].set,
	     has_protocol = b->parts[H2_PROTOCOL].set;
	/* two answers to "which host" are no answer: the parser refuses the second */
	bool two_hosts = has_authority && has_host && !span_ieq(host, own);

	*ret = (struct h2_asked){ .verb = span_eq(method, SPAN("HEAD")) ? VERB_HEAD : VERB_OTHER };
	if (!has_authority)
		host = own;
	if (!b->parts[H2_METHOD].set || (!has_authority && !has_host) || !text_ok(method) || !text_ok(target) ||
	    !text_ok(host) || !text_ok(protocol))
		return false;
	if (span_eq(method, SPAN("CONNECT"))) {
		if (has_protocol && b->parts[H2_PATH].set) {
			ret->websocket = true;  /* or another protocol: the service's list decides */
			method = SPAN("GET");
		} else {
			target = host;
		}
	} else if (has_protocol) {
		return false;
	}
	if (!target.len)
		return false;
	queue_room(q, b->text.len + b->fields.len + b->cookie.len + 192);
	add(q, method);
	add(q, SPAN(" "));
	add(q, target);
	add(q, SPAN(" HTTP/1.1\r\n"));
	h2_line_add(q, SPAN("Host"), host);
	if (two_hosts)
		h2_line_add(q, SPAN("Host"), own);
	add(q, queue_span(&b->fields));
	if (b->cookie.len)
		h2_line_add(q, SPAN("cookie"), queue_span(&b->cookie));
	if (ret->websocket) {
		add_upgrade(q, protocol);
	} else if (!end && !b->has_length) {
		ret->chunked = true;
		add(q, SPAN("Transfer-Encoding: chunked\r\n"));
	}
	add(q, SPAN("\r\n"));
	return true;
}
