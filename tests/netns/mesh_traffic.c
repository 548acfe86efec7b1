/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Traffic for tests/netns/mesh.sh, with deadlines on everything: servers that
 * answer and that push, clients that ask and that watch, and packets that no
 * honest host would send.
 *
 *   serve tcp|udp ADDR PORT SECONDS      answers "yes\n"; a client that said
 *                                        "push" is sent a line every 5 ms
 *   ask tcp|udp ADDR PORT MS [FROM]      0: answered; 1: not, and says why
 *   watch tcp|udp ADDR PORT SECONDS      asks for a push and prints, at its end or when told to
 *                                        end, how many lines came and when the last one did
 *   send tcp ADDR PORT SECONDS           the other way: sends for as long as it can; prints when
 *                                        the last byte was acknowledged by the far kernel
 *   forge SRC DST udp|frag|ack|syn PORT  one raw packet, from source port 4242; frag: UDP, more
 *                                        to come
 *   udpraw SRC SPORT DST PORT MS         as ask udp, from a given address and port
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PUSH_MS = 5, CLIENTS_MAX = 64 };

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

static struct sockaddr_storage address(const char *text, const char *port, socklen_t *ret_len)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *v4 = (void *)&ss;
	struct sockaddr_in6 *v6 = (void *)&ss;
	uint16_t p = htons((uint16_t)strtoul(port, NULL, 10));

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = p;
		*ret_len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = p;
		*ret_len = sizeof(*v6);
	} else {
		fprintf(stderr, "%s is no address\n", text);
		exit(2);
	}
	return ss;
}

static volatile sig_atomic_t stopped;

static void on_term(int signo)
{
	(void)signo;
	stopped = 1;
}

/* Without SA_RESTART: what waits, ends. */
static void end_on_term(void)
{
	struct sigaction sa = { .sa_handler = on_term };

	sigaction(SIGTERM, &sa, NULL);
}

static int to_int(const char *s)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (*s == '\0' || *end != '\0' || n < 0 || n > 1000000) {
		fprintf(stderr, "%s is no number\n", s);
		exit(2);
	}
	return (int)n;
}

static bool is_udp(const char *s)
{
	return strcmp(s, "udp") == 0;
}

static bool ready(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left = (deadline - now_ns()) / 1000000;

	return left > 0 && poll(&p, 1, (int)left) > 0;
}

/* ---- servers ---- */

struct client {
	int fd;                         /* TCP: its own */
	struct sockaddr_storage peer;   /* UDP */
	socklen_t peer_len;
	bool push;
};

static struct client clients[CLIENTS_MAX];
static size_t clients_n;

static void drop(size_t i)
{
	close(clients[i].fd);
	clients[i] = clients[--clients_n];
}

static void push_all(bool udp, int fd)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "%lld\n", (long long)now_ns());

	for (size_t i = 0; i < clients_n; i++) {
		struct client *c = &clients[i];

		if (!c->push)
			continue;
		if (udp)
			sendto(fd, line, (size_t)n, MSG_DONTWAIT, (void *)&c->peer, c->peer_len);
		else
			send(c->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

static void serve_udp(int fd)
{
	struct client c = { .fd = -1, .peer_len = sizeof(c.peer), .push = true };
	char b[2048];
	ssize_t n = recvfrom(fd, b, sizeof(b), MSG_DONTWAIT, (void *)&c.peer, &c.peer_len);

	if (n <= 0)
		return;
	printf("got %.*s\n", (int)strcspn(b, "\n"), b);
	fflush(stdout);
	sendto(fd, "yes\n", 4, MSG_DONTWAIT, (void *)&c.peer, c.peer_len);
	if (n >= 4 && memcmp(b, "push", 4) == 0 && clients_n < CLIENTS_MAX)
		clients[clients_n++] = c;
}

static int serve(const char *kind, const char *addr, const char *port, int seconds)
{
	bool udp = is_udp(kind);
	int64_t end = now_ns() + seconds * INT64_C(1000000000), next = 0;
	socklen_t len;
	struct sockaddr_storage at = address(addr, port, &len);
	int one = 1, fd = socket(at.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (void *)&at, len) != 0 || (!udp && listen(fd, 16) != 0))
		fail("serve");
	printf("ready\n");
	fflush(stdout);
	while (now_ns() < end) {
		struct pollfd p[CLIENTS_MAX + 1] = { { .fd = fd, .events = POLLIN } };
		size_t n = clients_n;

		for (size_t i = 0; i < n && !udp; i++)
			p[i + 1] = (struct pollfd){ .fd = clients[i].fd, .events = POLLIN };
		if (poll(p, (nfds_t)(udp ? 1 : n + 1), PUSH_MS) < 0 && errno != EINTR)
			fail("poll");
		for (size_t i = n; i-- > 0 && !udp;) {
			char b[65536];
			ssize_t got;

			if (!(p[i + 1].revents & (POLLIN | POLLERR | POLLHUP)))
				continue;
			got = recv(clients[i].fd, b, sizeof(b), MSG_DONTWAIT);
			if (got <= 0)
				drop(i);
			else if (got >= 4 && memcmp(b, "push", 4) == 0)
				clients[i].push = true;
		}
		if ((p[0].revents & POLLIN) && udp) {
			serve_udp(fd);
		} else if ((p[0].revents & POLLIN) && clients_n < CLIENTS_MAX) {
			struct client c = { .fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC) };

			if (c.fd >= 0) {
				printf("got connection\n");
				fflush(stdout);
				send(c.fd, "yes\n", 4, MSG_NOSIGNAL);
				clients[clients_n++] = c;
			}
		}
		if (now_ns() >= next) {
			push_all(udp, fd);
			next = now_ns() + PUSH_MS * 1000000;
		}
	}
	return 0;
}

/* ---- clients ---- */

static int connected(const char *kind, const char *addr, const char *port, const char *from,
		     const char *from_port, int64_t deadline)
{
	socklen_t len, from_len;
	struct sockaddr_storage to = address(addr, port, &len), me;
	int type = is_udp(kind) ? SOCK_DGRAM : SOCK_STREAM, number = 0;
	int fd = socket(to.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t n = sizeof(number);

	if (fd < 0)
		fail("socket");
	if (from) {
		me = address(from, from_port, &from_len);
		if (bind(fd, (void *)&me, from_len) != 0)
			fail("bind");
	}
	if (connect(fd, (void *)&to, len) != 0 && errno != EINPROGRESS)
		fail("connect");
	if (type == SOCK_STREAM) {
		if (!ready(fd, POLLOUT, deadline)) {
			errno = ETIMEDOUT;
			fail("connect");
		}
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &n) != 0 || number != 0) {
			errno = number;
			fail("connect");
		}
	}
	return fd;
}

static int ask(const char *kind, const char *addr, const char *port, int ms, const char *from,
	       const char *from_port)
{
	int64_t deadline = now_ns() + ms * INT64_C(1000000);
	int fd = connected(kind, addr, port, from, from_port, deadline);
	char b[64] = "";
	ssize_t n;

	if (is_udp(kind) && send(fd, "ask\n", 4, 0) < 0)
		fail("send");
	if (!ready(fd, POLLIN, deadline)) {
		errno = ETIMEDOUT;
		fail("answer");
	}
	n = recv(fd, b, sizeof(b) - 1, 0);
	if (n < 0)
		fail("answer");
	if (n == 0) {
		printf("answer: end of file\n");
		return 1;
	}
	printf("%.*s\n", (int)strcspn(b, "\n"), b);
	return strncmp(b, "yes", 3) == 0 ? 0 : 1;
}

static int watch(const char *kind, const char *addr, const char *port, int seconds)
{
	int64_t start = now_ns(), end = start + seconds * INT64_C(1000000000), last = 0;
	int fd = connected(kind, addr, port, NULL, NULL, end);
	long lines = 0;

	if (send(fd, "push\n", 5, MSG_NOSIGNAL) < 0)
		fail("send");
	end_on_term();
	while (!stopped && ready(fd, POLLIN, end)) {
		char b[65536];
		ssize_t n = recv(fd, b, sizeof(b), 0);

		/* An ICMP error is told once and means nothing yet for UDP. */
		if (n < 0 && is_udp(kind))
			continue;
		if (n <= 0)
			break;
		last = now_ns();
		for (ssize_t i = 0; i < n; i++)
			lines += b[i] == '\n';
		if (lines >= 3 && start != 0) {
			printf("running\n");
			fflush(stdout);
			start = 0;
		}
	}
	printf("lines %ld last %lld\n", lines, (long long)last);
	return 0;
}

/* What the far kernel acknowledged is what reached it. */
static int send_on(const char *addr, const char *port, int seconds)
{
	int64_t end = now_ns() + seconds * INT64_C(1000000000), last = 0;
	int fd = connected("tcp", addr, port, NULL, NULL, end);
	uint64_t acked = 0;
	bool told = false;

	end_on_term();
	while (!stopped && now_ns() < end) {
		struct tcp_info ti;
		socklen_t n = sizeof(ti);
		char line[1000];

		memset(line, 'x', sizeof(line));
		line[0] = '.';
		if (send(fd, line, sizeof(line), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		    errno != EAGAIN && errno != EHOSTUNREACH)
			break;
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &n) == 0 &&
		    ti.tcpi_bytes_acked > acked) {
			acked = ti.tcpi_bytes_acked;
			last = now_ns();
			if (!told && acked > 5000) {
				printf("running\n");
				fflush(stdout);
				told = true;
			}
		}
		poll(NULL, 0, PUSH_MS);
	}
	printf("lines %llu last %lld\n", (unsigned long long)acked, (long long)last);
	return 0;
}

/* ---- forgery ---- */

static uint16_t checksum(const void *p, size_t n, uint32_t sum)
{
	const uint8_t *b = p;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)(b[i] << 8 | b[i + 1]);
	if (n & 1)
		sum += (uint32_t)(b[n - 1] << 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static size_t transport(uint8_t *out, const char *what, uint16_t port, uint8_t *ret_proto)
{
	if (is_udp(what) || strcmp(what, "frag") == 0) {
		struct udphdr u = { .source = htons(4242), .dest = htons(port), .len = htons(16) };

		memcpy(out, &u, sizeof(u));
		memcpy(out + sizeof(u), "forged!\n", 8);
		*ret_proto = IPPROTO_UDP;
		return 16;
	}

	struct tcphdr t = { .source = htons(4242), .dest = htons(port), .seq = htonl(1000),
			    .doff = 5, .window = htons(1000) };

	if (strcmp(what, "syn") == 0) {
		t.syn = 1;
	} else {
		t.ack = 1;
		t.ack_seq = htonl(1);
	}
	memcpy(out, &t, sizeof(t));
	*ret_proto = IPPROTO_TCP;
	return sizeof(t);
}

static int forge(const char *src, const char *dst, const char *what, const char *port_text)
{
	uint8_t packet[128] = { 0 }, pseudo[40 + 64] = { 0 }, body[64] = { 0 }, proto = 0;
	socklen_t len, src_len;
	struct sockaddr_storage from = address(src, "0", &src_len), to = address(dst, "0", &len);
	size_t n = transport(body, what, (uint16_t)strtoul(port_text, NULL, 10), &proto), head, k;
	bool v6 = to.ss_family == AF_INET6, frag = strcmp(what, "frag") == 0;
	int one = 1, fd = socket(to.ss_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	uint16_t sum;

	if (fd < 0)
		fail("raw socket");
	if (v6) {
		struct ip6_hdr h = { .ip6_flow = htonl(6U << 28) };

		setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &one, sizeof(one));
		h.ip6_plen = htons((uint16_t)(n + (frag ? 8 : 0)));
		h.ip6_nxt = frag ? IPPROTO_FRAGMENT : proto;
		h.ip6_hlim = 64;
		h.ip6_src = ((struct sockaddr_in6 *)&from)->sin6_addr;
		h.ip6_dst = ((struct sockaddr_in6 *)&to)->sin6_addr;
		memcpy(packet, &h, head = sizeof(h));
		if (frag) {
			struct ip6_frag fh = { .ip6f_nxt = proto, .ip6f_offlg = IP6F_MORE_FRAG,
					       .ip6f_ident = 77 };

			memcpy(packet + head, &fh, sizeof(fh));
			head += sizeof(fh);
		}
		memcpy(pseudo, &h.ip6_src, 16);
		memcpy(pseudo + 16, &h.ip6_dst, 16);
		pseudo[35] = (uint8_t)n;
		pseudo[39] = proto;
		k = 40;
	} else {
		struct iphdr h = { .version = 4, .ihl = 5, .ttl = 64, .protocol = proto };

		h.saddr = ((struct sockaddr_in *)&from)->sin_addr.s_addr;
		h.daddr = ((struct sockaddr_in *)&to)->sin_addr.s_addr;
		h.tot_len = htons((uint16_t)(sizeof(h) + n));
		h.frag_off = frag ? htons(IP_MF) : 0;
		h.id = 77;
		memcpy(packet, &h, head = sizeof(h));
		memcpy(pseudo, &h.saddr, 4);
		memcpy(pseudo + 4, &h.daddr, 4);
		pseudo[9] = proto;
		pseudo[11] = (uint8_t)n;
		k = 12;
	}
	memcpy(pseudo + k, body, n);
	sum = htons(checksum(pseudo, k + n, 0));
	memcpy(body + (proto == IPPROTO_UDP ? 6 : 16), &sum, 2);
	memcpy(packet + head, body, n);
	if (sendto(fd, packet, head + n, 0, (void *)&to, len) < 0)
		fail("forge");
	return 0;
}

int main(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : "";

	if (!strcmp(cmd, "serve") && argc == 6)
		return serve(argv[2], argv[3], argv[4], to_int(argv[5]));
	if (!strcmp(cmd, "ask") && (argc == 6 || argc == 7))
		return ask(argv[2], argv[3], argv[4], to_int(argv[5]), argv[6], "0");
	if (!strcmp(cmd, "watch") && argc == 6)
		return watch(argv[2], argv[3], argv[4], to_int(argv[5]));
	if (!strcmp(cmd, "send") && argc == 6)
		return send_on(argv[3], argv[4], to_int(argv[5]));
	if (!strcmp(cmd, "forge") && argc == 6)
		return forge(argv[2], argv[3], argv[4], argv[5]);
	if (!strcmp(cmd, "udpraw") && argc == 7)
		return ask("udp", argv[4], argv[5], to_int(argv[6]), argv[2], argv[3]);
	fprintf(stderr, "see the head of mesh_traffic.c\n");
	return 2;
}
