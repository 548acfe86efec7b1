/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

/*
 * Messages between processes, written and read field by field, little-endian,
 * over SOCK_SEQPACKET. A reader that meets a short or a surplus byte says so
 * (`bad`), and the message counts for nothing.
 */

#include "base/buf.h"
#include "base/ip.h"

enum {
	WIRE_MAX = 60 << 10,    /* one message; below the default socket buffer */
	WIRE_FDS_MAX = 8,       /* descriptors that ride on one message */
};

void wire_u8(struct buf *b, uint8_t v);
void wire_u16(struct buf *b, uint16_t v);
void wire_u32(struct buf *b, uint32_t v);
void wire_u64(struct buf *b, uint64_t v);
void wire_i64(struct buf *b, int64_t v);
void wire_span(struct buf *b, struct span s);           /* u32 length, bytes */
void wire_ip(struct buf *b, const struct ip *ip);

struct wire_reader {
	struct span rest;
	bool        bad;        /* sticky; getters return zero values from then on */
};

struct wire_reader wire_read(struct span msg);
uint8_t     wire_get_u8(struct wire_reader *r);
uint16_t    wire_get_u16(struct wire_reader *r);
uint32_t    wire_get_u32(struct wire_reader *r);
uint64_t    wire_get_u64(struct wire_reader *r);
int64_t     wire_get_i64(struct wire_reader *r);
struct span wire_get_span(struct wire_reader *r, size_t max);   /* borrowed from the message */
struct ip   wire_get_ip(struct wire_reader *r);
/* all read, nothing bad, nothing left */
bool        wire_end(const struct wire_reader *r);

#endif
