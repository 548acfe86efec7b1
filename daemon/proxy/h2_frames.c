/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/h2_frames.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* ---- out ---- */

static bool flush(struct h2_out *o)
{
	struct iovec v = { o->ptr, o->len };

	if (!o->len)
		return true;
	o->len = 0;
	return io_write(o->io, &v, 1);
}

static bool add(struct h2_out *o, const void *p, size_t n)
{
	struct iovec v = { (void *)(uintptr_t)p, n };

	if (o->len + n > FRONT_H2_TX && !flush(o))
		return false;
	if (n > FRONT_H2_TX)
		return io_write(o->io, &v, 1);
	if (n)
		memcpy(o->ptr + o->len, p, n);
	o->len += n;
	return true;
}

bool h2_out_send(struct h2_out *o)
{
	struct front *f = o->front;
	bool ok = true;

	/* taken, not borrowed: a stream that ends in here may begin another connection's turn */
	o->ptr = f->h2_tx ? f->h2_tx : mem_alloc(FRONT_H2_TX);
	f->h2_tx = NULL;
	o->len = 0;
	while (ok && !io_blocked(o->io)) {
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(o->session, &p);

		if (n <= 0) {
			ok = n == 0;
			break;
		}
		ok = add(o, p, (size_t)n);
	}
	/* what is here has left the session, and must not be lost */
	ok = flush(o) && ok;
	if (f->h2_tx)
		free(o->ptr);
	else
		f->h2_tx = o->ptr;
	o->ptr = NULL;
	return ok;
}

int h2_out_data(struct h2_out *o, const uint8_t *head, struct span payload)
{
	return add(o, head, 9) && add(o, payload.ptr, payload.len) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* ---- forms ---- */

void h2_name_add(struct queue *q, struct span name)
{
	char *p = queue_room(q, name.len);

	for (size_t i = 0; i < name.len; i++)
		p[i] = name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? (char)(name.ptr[i] | 0x20) : name.ptr[i];
	q->len += name.len;
}

void h2_line_add(struct queue *q, struct span name, struct span value)
{
	char *p = queue_room(q, name.len + value.len + 4);

	memcpy(p, name.ptr, name.len);
	p += name.len;
	*p++ = ':';
	*p++ = ' ';
	if (value.len)
		memcpy(p, value.ptr, value.len);
	p += value.len;
	*p++ = '\r';
	*p = '\n';
	q->len += name.len + value.len + 4;
}

void h2_chunk_add(struct queue *q, struct span payload)
{
	static const char digits[] = "0123456789abcdef";
	char size[20];
	size_t at = sizeof(size), n = payload.len;

	size[--at] = '\n';
	size[--at] = '\r';
	do
		size[--at] = digits[n & 15];
	while (n >>= 4);
	queue_add(q, size + at, sizeof(size) - at);
	queue_add(q, payload.ptr, payload.len);
	queue_add(q, "\r\n", 2);
}

nghttp2_nv h2_pair(struct span name, struct span value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr, name.len, value.len,
		             NGHTTP2_NV_FLAG_NONE };
}

bool h2_is_hop(enum head_id id)
{
	switch (id) {
	case HEAD_CONNECTION:
	case HEAD_KEEP_ALIVE:
	case HEAD_PROXY_CONNECTION:
	case HEAD_TRANSFER_ENCODING:
	case HEAD_UPGRADE:
	case HEAD_HTTP2_SETTINGS:
		return true;
	default:
		return false;
	}
}
