/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/proxy_header.h"

#include <string.h>

enum {
	HEAD_LEN = 16,
	CMD_PROXY = 0x21,               /* version 2, PROXY */
	FAM_TCP4 = 0x11,
	FAM_TCP6 = 0x21,
	TYPE_AUTHORITY = 0x02,
	TYPE_CRC32C = 0x03,
	TYPE_UNIQUE_ID = 0x05,
	TYPE_SSL = 0x20,
	SUBTYPE_SSL_CN = 0x22,
	CLIENT_SSL = 0x01,
	CLIENT_CERT_CONN = 0x02,
	CLIENT_CERT_SESS = 0x04,
};

static const unsigned char signature[12] = {
	0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
};

static bool families(const struct proxy_header *h, struct err *err)
{
	if (ip_len(&h->src.ip) == 0 || h->src.ip.family != h->dst.ip.family)
		return err_set(err, ERR_DENIED, "PROXY header: two addresses of one family are needed");
	return true;
}

bool proxy_header_v1(const struct proxy_header *h, struct buf *out, struct err *err)
{
	char src[IP_TEXT_MAX], dst[IP_TEXT_MAX];

	if (!families(h, err))
		return false;
	buf_addf(out, "PROXY TCP%d %s %s %u %u\r\n", h->src.ip.family, ip_text(&h->src.ip, src),
	         ip_text(&h->dst.ip, dst), h->src.port, h->dst.port);
	return !out->over || err_set(err, ERR_LIMIT, "PROXY header: no room");
}

static void put16(struct buf *b, size_t v)
{
	buf_add_char(b, (char)(v >> 8 & 0xff));
	buf_add_char(b, (char)(v & 0xff));
}

/* Both levels have this form. A value beyond its length field marks the buffer as over. */
static void vector(struct buf *b, unsigned type, struct span value)
{
	if (value.len == 0)
		return;
	if (value.len > UINT16_MAX) {
		b->over = true;
		return;
	}
	buf_add_char(b, (char)type);
	put16(b, value.len);
	buf_add_span(b, value);
}

static void reeve_vector(struct buf *b, const struct proxy_header *h)
{
	scoped_buf struct buf v = { 0 };

	buf_init(&v, UINT16_MAX);
	buf_add_char(&v, PROXY_REEVE_VERSION);
	vector(&v, PROXY_REEVE_LOGIN, h->login);
	vector(&v, PROXY_REEVE_NAME, h->name);
	vector(&v, PROXY_REEVE_EMAIL, h->email);
	vector(&v, PROXY_REEVE_USER, h->user);
	vector(&v, PROXY_REEVE_ISSUER, h->issuer);
	vector(&v, PROXY_REEVE_SUBJECT, h->subject);
	vector(&v, PROXY_REEVE_NODE, h->node);
	vector(&v, PROXY_REEVE_SESSION, h->session);
	for (size_t i = 0; i < h->group_count; i++)
		vector(&v, PROXY_REEVE_GROUP, h->groups[i]);
	for (size_t i = 0; i < h->tag_count; i++)
		vector(&v, PROXY_REEVE_TAG, h->tags[i]);
	if (h->expires > 0) {
		char be[8];

		for (int i = 0; i < 8; i++)
			be[i] = (char)(h->expires >> (56 - 8 * i) & 0xff);
		vector(&v, PROXY_REEVE_EXPIRES, span_of(be, sizeof(be)));
	}
	vector(b, PROXY_TLV_REEVE, buf_span(&v));
	b->over = b->over || v.over;
}

/* client (1), verify (4, zero: it holds), then the common name. */
static void ssl_vector(struct buf *b, struct span cn)
{
	scoped_buf struct buf v = { 0 };
	const char head[5] = { CLIENT_SSL | CLIENT_CERT_CONN | CLIENT_CERT_SESS };

	buf_init(&v, UINT16_MAX);
	buf_add(&v, head, sizeof(head));
	vector(&v, SUBTYPE_SSL_CN, cn);
	vector(b, TYPE_SSL, buf_span(&v));
	b->over = b->over || v.over;
}

/* CRC32C (RFC 4960 appendix B), reflected polynomial; headers are short and sent once a
 * connection, so bit by bit it is. */
static uint32_t crc32c(const char *p, size_t n)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78 & -(crc & 1));
	}
	return ~crc;
}

bool proxy_header_v2(const struct proxy_header *h, struct buf *out, struct err *err)
{
	scoped_buf struct buf b = { 0 };
	size_t alen = ip_len(&h->src.ip);

	if (!families(h, err))
		return false;
	if (h->unique_id.len > PROXY_UNIQUE_ID_MAX)
		return err_set(err, ERR_LIMIT, "PROXY header: a unique id of %zu bytes, want at most %d",
		               h->unique_id.len, PROXY_UNIQUE_ID_MAX);
	if (h->login_as_authority && h->login.len == 0)
		return err_set(err, ERR_DENIED, "PROXY header: no login to say as the authority");
	if (h->login_as_authority && h->login.len > PROXY_AUTHORITY_MAX)
		return err_set(err, ERR_LIMIT, "PROXY header: a login of %zu bytes, want at most %d",
		               h->login.len, PROXY_AUTHORITY_MAX);
	buf_init(&b, PROXY_HEADER_MAX);
	buf_add(&b, signature, sizeof(signature));
	buf_add_char(&b, CMD_PROXY);
	buf_add_char(&b, h->src.ip.family == IP_V4 ? FAM_TCP4 : FAM_TCP6);
	put16(&b, 0);
	buf_add(&b, h->src.ip.b, alen);
	buf_add(&b, h->dst.ip.b, alen);
	put16(&b, h->src.port);
	put16(&b, h->dst.port);

	size_t crc_at = b.len + 3;

	vector(&b, TYPE_CRC32C, span_of("\0\0\0\0", 4));
	vector(&b, TYPE_UNIQUE_ID, h->unique_id);
	if (h->login_as_authority)
		vector(&b, TYPE_AUTHORITY, h->login);
	if (h->login_as_cn && h->login.len > 0)
		ssl_vector(&b, h->login);
	reeve_vector(&b, h);
	if (b.over)
		return err_set(err, ERR_LIMIT, "PROXY header: %zu groups and tags do not fit %d bytes",
		               h->group_count + h->tag_count, UINT16_MAX);
	b.ptr[14] = (char)((b.len - HEAD_LEN) >> 8);
	b.ptr[15] = (char)((b.len - HEAD_LEN) & 0xff);

	uint32_t crc = crc32c(b.ptr, b.len);

	for (int i = 0; i < 4; i++)
		b.ptr[crc_at + (size_t)i] = (char)(crc >> (24 - 8 * i) & 0xff);
	buf_add_span(out, buf_span(&b));
	return !out->over || err_set(err, ERR_LIMIT, "PROXY header: no room for %zu bytes", b.len);
}
