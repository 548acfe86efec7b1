/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_IP_H
#define BASE_IP_H

/*
 * Addresses and prefixes of both families. An IPv4-mapped IPv6 address
 * (::ffff:a.b.c.d) is its IPv4 address everywhere: the parsers fold it.
 */

#include "base/span.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

struct ip {
	uint8_t family;         /* enum ip_family */
	uint8_t b[16];          /* network order; IPv4 in b[0..3], the rest zero */
};

struct prefix {
	struct ip ip;           /* host bits zero */
	uint8_t   bits;
};

struct ipport {
	struct ip ip;
	uint16_t  port;         /* host order */
};

enum { IP_TEXT_MAX = 64 };      /* "[v6]:port", "v6/128" and their NUL */

bool ip_parse(struct span s, struct ip *ret_ip);                /* no zone, no brackets */
bool ip_is_loopback(const struct ip *ip);
bool ip_eq(const struct ip *a, const struct ip *b);
int  ip_cmp(const struct ip *a, const struct ip *b);
const char *ip_text(const struct ip *ip, char buf[IP_TEXT_MAX]);
bool ip_is_loopback(const struct ip *ip);                        /* 127.0.0.0/8, ::1 */
size_t ip_len(const struct ip *ip);                             /* 4, 16; 0 for none */
void ip_fold(struct ip *ip);                                    /* IPv4-mapped to IPv4 */

/* a bare address is /32 or /128; host bits must be zero */
bool prefix_parse(struct span s, struct prefix *ret_p);
bool prefix_parse_lax(struct span s, struct prefix *ret_p);     /* host bits are cleared */
bool prefix_has(const struct prefix *p, const struct ip *ip);
bool prefix_covers(const struct prefix *outer, const struct prefix *inner);
int  prefix_cmp(const struct prefix *a, const struct prefix *b);
const char *prefix_text(const struct prefix *p, char buf[IP_TEXT_MAX]);

bool ipport_parse(struct span s, struct ipport *ret_a);         /* "1.2.3.4:80", "[::1]:80" */
const char *ipport_text(const struct ipport *a, char buf[IP_TEXT_MAX]);
bool ipport_from_sockaddr(const struct sockaddr_storage *ss, struct ipport *ret_a);
socklen_t ipport_to_sockaddr(const struct ipport *a, struct sockaddr_storage *ret_ss);

#endif
