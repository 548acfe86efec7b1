/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/wire.h"

#include <string.h>

static void put(struct buf *b, uint64_t v, size_t n)
{
	unsigned char le[8];

	for (size_t i = 0; i < n; i++)
		le[i] = (unsigned char)(v >> (8 * i));
	buf_add(b, le, n);
}

void wire_u8(struct buf *b, uint8_t v)
{
	put(b, v, 1);
}

void wire_u16(struct buf *b, uint16_t v)
{
	put(b, v, 2);
}

void wire_u32(struct buf *b, uint32_t v)
{
	put(b, v, 4);
}

void wire_u64(struct buf *b, uint64_t v)
{
	put(b, v, 8);
}

void wire_i64(struct buf *b, int64_t v)
{
	put(b, (uint64_t)v, 8);
}

void wire_span(struct buf *b, struct span s)
{
	if (s.len > UINT32_MAX) {
		b->over = true;
		return;
	}
	wire_u32(b, (uint32_t)s.len);
	buf_add_span(b, s);
}

void wire_ip(struct buf *b, const struct ip *ip)
{
	wire_u8(b, ip->family);
	buf_add(b, ip->b, ip_len(ip));
}

struct wire_reader wire_read(struct span msg)
{
	return (struct wire_reader){ .rest = msg };
}

/* The next n bytes, or NULL and bad. */
static const unsigned char *get_bytes(struct wire_reader *r, size_t n)
{
	if (r->bad || n > r->rest.len) {
		r->bad = true;
		return NULL;
	}

	const char *p = r->rest.ptr;

	r->rest = span_from(r->rest, n);
	return (const unsigned char *)p;
}

static uint64_t get(struct wire_reader *r, size_t n)
{
	const unsigned char *p = get_bytes(r, n);
	uint64_t v = 0;

	for (size_t i = 0; p && i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

uint8_t wire_get_u8(struct wire_reader *r)
{
	return (uint8_t)get(r, 1);
}

uint16_t wire_get_u16(struct wire_reader *r)
{
	return (uint16_t)get(r, 2);
}

uint32_t wire_get_u32(struct wire_reader *r)
{
	return (uint32_t)get(r, 4);
}

uint64_t wire_get_u64(struct wire_reader *r)
{
	return get(r, 8);
}

int64_t wire_get_i64(struct wire_reader *r)
{
	return (int64_t)get(r, 8);
}

struct span wire_get_span(struct wire_reader *r, size_t max)
{
	uint32_t n = wire_get_u32(r);

	if (n > max)
		r->bad = true;

	const unsigned char *p = get_bytes(r, n);

	return p ? span_of(p, n) : SPAN("");
}

struct ip wire_get_ip(struct wire_reader *r)
{
	struct ip ip = { .family = wire_get_u8(r) };

	if (ip.family != IP_NONE && ip.family != IP_V4 && ip.family != IP_V6)
		r->bad = true;

	const unsigned char *p = get_bytes(r, ip_len(&ip));

	if (!p)
		return (struct ip){ 0 };
	if (ip.family != IP_NONE)
		memcpy(ip.b, p, ip_len(&ip));
	/* An address has one spelling here: a writer's is folded already. */
	struct ip folded = ip;

	ip_fold(&folded);
	if (folded.family != ip.family) {
		r->bad = true;
		return (struct ip){ 0 };
	}
	return ip;
}

bool wire_end(const struct wire_reader *r)
{
	return !r->bad && r->rest.len == 0;
}
