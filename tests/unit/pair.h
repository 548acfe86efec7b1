/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_UNIT_PAIR_H
#define TESTS_UNIT_PAIR_H

/* Two ends of a connection on one host, between addresses that it has. */

#include "base/ip.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
	int listener;    /* -1 for UDP */
	int here, there; /* here: at the first address; -1: not accepted yet */
	socklen_t len;
};

enum { PAIR_WAIT_MS = 60000 };

static inline struct sockaddr_storage pair_addr(const char *ip, bool as6, uint16_t port,
						socklen_t *ret_len)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;
	struct ip a;

	ck_assert(ip_parse(span_str(ip), &a));
	if (a.family == IP_V4 && !as6) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, a.b, 4);
		*ret_len = sizeof(*in);
		return ss;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	if (a.family == IP_V6) {
		memcpy(&in6->sin6_addr, a.b, 16);
	} else {
		memset(in6->sin6_addr.s6_addr + 10, 0xff, 2);
		memcpy(in6->sin6_addr.s6_addr + 12, a.b, 4);
	}
	*ret_len = sizeof(*in6);
	return ss;
}

static inline int pair_bound(int type, const char *ip, bool as6, struct sockaddr_storage *ret_at)
{
	socklen_t len;
	struct sockaddr_storage ss = pair_addr(ip, as6, 0, &len);
	int fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0);

	ck_assert_msg(fd >= 0 && bind(fd, (void *)&ss, len) == 0, "%s: %s", ip, strerror(errno));
	len = sizeof(*ret_at);
	ck_assert(getsockname(fd, (void *)ret_at, &len) == 0);
	return fd;
}

/* `here` listens, `there` connects; as6: here's socket is an IPv6 one, whatever the address. */
static inline struct pair pair_tcp(const char *here, bool as6, const char *there, bool accepted)
{
	struct sockaddr_storage at, from;
	socklen_t len;
	struct pair p = {.here = -1};
	uint16_t port;

	p.listener = pair_bound(SOCK_STREAM, here, as6, &at);
	ck_assert(listen(p.listener, 8) == 0);
	port = ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
					     : ((struct sockaddr_in6 *)&at)->sin6_port);
	p.there = pair_bound(SOCK_STREAM, there, false, &from);
	at = pair_addr(here, from.ss_family == AF_INET6, port, &len);
	ck_assert_msg(connect(p.there, (void *)&at, len) == 0, "%s to %s: %s", there, here,
		      strerror(errno));
	if (accepted) {
		p.here = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
		ck_assert(p.here >= 0);
	}
	return p;
}

/* `here` is connected to `there`, or only bound. */
static inline struct pair pair_udp(const char *here, const char *there, bool connected)
{
	struct sockaddr_storage a, b;
	struct pair p = {.listener = -1};

	p.here = pair_bound(SOCK_DGRAM, here, false, &a);
	p.there = pair_bound(SOCK_DGRAM, there, false, &b);
	ck_assert(!connected || connect(p.here, (void *)&b, sizeof(b)) == 0);
	ck_assert(connect(p.there, (void *)&a, sizeof(a)) == 0);
	return p;
}

static inline bool pair_moves(int from, int to)
{
	struct pollfd pfd = {.fd = to, .events = POLLIN};
	char c = 'x';

	return send(from, &c, 1, MSG_NOSIGNAL) == 1 && poll(&pfd, 1, PAIR_WAIT_MS) == 1 &&
	       (pfd.revents & POLLIN) && recv(to, &c, 1, MSG_DONTWAIT) == 1 && c == 'x';
}

/* Lives: a byte goes both ways. */
static inline bool pair_lives(const struct pair *p)
{
	return pair_moves(p->here, p->there) && pair_moves(p->there, p->here);
}

/* Ended from below, and said so to its reader without anything else happening. */
static inline bool pair_aborted(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	char c;

	return poll(&pfd, 1, PAIR_WAIT_MS) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) < 0 &&
	       errno == ECONNABORTED;
}

static inline void pair_done(struct pair *p)
{
	if (p->listener >= 0)
		close(p->listener);
	if (p->here >= 0)
		close(p->here);
	close(p->there);
}

#endif
