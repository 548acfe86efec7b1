/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

/* As written, without folding: a prefix must be cut before it is folded. */
static bool parse_raw(struct span s, struct ip *ret_ip)
{
	char text[INET6_ADDRSTRLEN];
	struct ip ip = { 0 };

	if (!span_cstr(s, text, sizeof(text)))
		return false;
	if (inet_pton(AF_INET, text, ip.b) == 1)
		ip.family = IP_V4;
	else if (inet_pton(AF_INET6, text, ip.b) == 1)
		ip.family = IP_V6;
	else
		return false;
	*ret_ip = ip;
	return true;
}

bool ip_parse(struct span s, struct ip *ret_ip)
{
	if (!parse_raw(s, ret_ip))
		return false;
	ip_fold(ret_ip);
	return true;
}

void ip_fold(struct ip *ip)
{
	if (ip->family != IP_V6 || memcmp(ip->b, mapped, sizeof(mapped)) != 0)
		return;

	struct ip v4 = { .family = IP_V4 };

	memcpy(v4.b, ip->b + 12, 4);
	*ip = v4;
}

size_t ip_len(const struct ip *ip)
{
	return ip->family == IP_V4 ? 4 : ip->family == IP_V6 ? 16 : 0;
}

int ip_cmp(const struct ip *a, const struct ip *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->b, b->b, ip_len(a));
}

bool ip_is_loopback(const struct ip *ip)
{
	static const uint8_t one[16] = { [15] = 1 };

	return ip->family == IP_V4 ? ip->b[0] == 127 : ip->family == IP_V6 && memcmp(ip->b, one, sizeof(one)) == 0;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
	return ip_cmp(a, b) == 0;
}

const char *ip_text(const struct ip *ip, char buf[IP_TEXT_MAX])
{
	if (ip->family == IP_NONE ||
	    !inet_ntop(ip->family == IP_V4 ? AF_INET : AF_INET6, ip->b, buf, IP_TEXT_MAX))
		memcpy(buf, "none", 5);
	return buf;
}

/* The mask of byte i of a prefix of so many bits. */
static uint8_t mask_at(unsigned bits, size_t i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	if (bits <= 8 * i)
		return 0;
	return (uint8_t)(0xff << (8 * (i + 1) - bits));
}

static bool parse_prefix(struct span s, bool lax, struct prefix *ret_p)
{
	size_t slash = span_find(s, '/');
	struct prefix p;
	uint64_t bits;

	if (!parse_raw(span_head(s, slash), &p.ip))
		return false;

	size_t len = ip_len(&p.ip);

	bits = 8 * len;
	if (slash < s.len) {
		struct span text = span_from(s, slash + 1);

		/* "/08" is somebody's typing error */
		if ((text.len > 1 && text.ptr[0] == '0') || !span_u64(text, 8 * len, &bits))
			return false;
	}
	for (size_t i = 0; i < len; i++) {
		uint8_t cut = p.ip.b[i] & mask_at((unsigned)bits, i);

		if (cut != p.ip.b[i] && !lax)
			return false;
		p.ip.b[i] = cut;
	}
	if (p.ip.family == IP_V6 && bits >= 96) {
		ip_fold(&p.ip);
		if (p.ip.family == IP_V4)
			bits -= 96;
	}
	p.bits = (uint8_t)bits;
	*ret_p = p;
	return true;
}

bool prefix_parse(struct span s, struct prefix *ret_p)
{
	return parse_prefix(s, false, ret_p);
}

bool prefix_parse_lax(struct span s, struct prefix *ret_p)
{
	return parse_prefix(s, true, ret_p);
}

bool prefix_has(const struct prefix *p, const struct ip *ip)
{
	if (p->ip.family == IP_NONE || p->ip.family != ip->family)
		return false;
	for (size_t i = 0; i < ip_len(ip); i++)
		if ((p->ip.b[i] ^ ip->b[i]) & mask_at(p->bits, i))
			return false;
	return true;
}

bool prefix_covers(const struct prefix *outer, const struct prefix *inner)
{
	return outer->bits <= inner->bits && prefix_has(outer, &inner->ip);
}

int prefix_cmp(const struct prefix *a, const struct prefix *b)
{
	int c = ip_cmp(&a->ip, &b->ip);

	return c ? c : (int)a->bits - (int)b->bits;
}

const char *prefix_text(const struct prefix *p, char buf[IP_TEXT_MAX])
{
	ip_text(&p->ip, buf);
	if (p->ip.family != IP_NONE) {
		size_t n = strlen(buf);

		snprintf(buf + n, IP_TEXT_MAX - n, "/%u", p->bits);
	}
	return buf;
}

bool ipport_parse(struct span s, struct ipport *ret_a)
{
	struct ipport a;
	struct span host, port;
	uint64_t n;

	if (s.len && s.ptr[0] == '[') {
		size_t end = span_find(s, ']');

		if (end + 1 >= s.len || s.ptr[end + 1] != ':')
			return false;
		host = span_head(span_from(s, 1), end - 1);
		port = span_from(s, end + 2);
		if (span_find(host, ':') == host.len)
			return false;
	} else {
		size_t end = span_find(s, ':');

		if (end == s.len)
			return false;
		host = span_head(s, end);
		port = span_from(s, end + 1);
	}
	if (!ip_parse(host, &a.ip) || (port.len > 1 && port.ptr[0] == '0') ||
	    !span_u64(port, 65535, &n))
		return false;
	a.port = (uint16_t)n;
	*ret_a = a;
	return true;
}

const char *ipport_text(const struct ipport *a, char buf[IP_TEXT_MAX])
{
	char ip[IP_TEXT_MAX];

	ip_text(&a->ip, ip);
	snprintf(buf, IP_TEXT_MAX, a->ip.family == IP_V6 ? "[%.46s]:%u" : "%.46s:%u", ip, a->port);
	return buf;
}

bool ipport_from_sockaddr(const struct sockaddr_storage *ss, struct ipport *ret_a)
{
	struct ipport a = { 0 };

	if (ss->ss_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, ss, sizeof(in));
		a.ip.family = IP_V4;
		memcpy(a.ip.b, &in.sin_addr, 4);
		a.port = ntohs(in.sin_port);
	} else if (ss->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, ss, sizeof(in6));
		a.ip.family = IP_V6;
		memcpy(a.ip.b, &in6.sin6_addr, 16);
		a.port = ntohs(in6.sin6_port);
		ip_fold(&a.ip);
	} else {
		return false;
	}
	*ret_a = a;
	return true;
}

socklen_t ipport_to_sockaddr(const struct ipport *a, struct sockaddr_storage *ret_ss)
{
	memset(ret_ss, 0, sizeof(*ret_ss));
	if (a->ip.family == IP_V4) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(a->port) };

		memcpy(&in.sin_addr, a->ip.b, 4);
		memcpy(ret_ss, &in, sizeof(in));
		return sizeof(in);
	}
	if (a->ip.family == IP_V6) {
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(a->port) };

		memcpy(&in6.sin6_addr, a->ip.b, 16);
		memcpy(ret_ss, &in6, sizeof(in6));
		return sizeof(in6);
	}
	return 0;
}
