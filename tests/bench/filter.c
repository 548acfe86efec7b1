/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the packet filter costs: an element's change with a class and with 1000
 * to 100000 of them there, the load of rows, and a packet from the mesh to a
 * socket of this host with and without the table. Packets are written into a
 * TUN interface, as a userspace WireGuard would. Needs root; works in a network
 * namespace of its own. Prints; judges nothing.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "daemon/mesh/filter.h"
#include "daemon/mesh/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <linux/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME "bench0"

enum { CHANGES = 2000, PACKETS = 200000, PORT = 5000 };

static struct err err;

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench/filter: %s: %s\n", what, err.msg[0] ? err.msg : strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	return clock_boot().ns;
}

static struct ip peer(uint32_t n)
{
	struct ip ip = { .family = IP_V4 };

	n += 10;
	ip.b[0] = 100;
	ip.b[1] = (uint8_t)(64 + (n >> 16));
	ip.b[2] = (uint8_t)(n >> 8);
	ip.b[3] = (uint8_t)n;
	return ip;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *what, uint32_t there, int64_t *t, size_t n)
{
	int64_t sum = 0;

	qsort(t, n, sizeof(*t), by_value);
	for (size_t i = 0; i < n; i++)
		sum += t[i];
	printf("%-28s %7u there: mean %6.1f us, median %6.1f, p99 %6.1f, most %7.1f\n", what, there,
	       (double)sum / (double)n / 1000, (double)t[n / 2] / 1000,
	       (double)t[n * 99 / 100] / 1000, (double)t[n - 1] / 1000);
}

static void bench_changes(struct filter *f, uint32_t there)
{
	static int64_t t[CHANGES];
	const char *const what[] = { "a new element", "another class and timeout", "removed" };

	for (int kind = 0; kind < 3; kind++) {
		for (uint32_t i = 0; i < CHANGES; i++) {
			struct filter_class c = { peer(200000 + i), 5 + (uint32_t)kind, 3600000, 7 };
			int64_t start = now_ns();

			if (kind == 2)
				check(filter_class_remove(f, &c.ip, &err), "remove");
			else
				check(filter_class_set(f, &c, &err), "set");
			t[i] = now_ns() - start;
		}
		report(what[kind], there, t, CHANGES);
	}
}

static void bench_rows(struct filter *f, uint32_t n)
{
	struct filter_row *rows = mem_calloc(n, sizeof(*rows));
	struct filter_rows all = { .rows = rows, .rows_n = n };
	struct filter_row one = { 5, IPPROTO_UDP, PORT, PORT };
	int64_t start;

	for (uint32_t i = 0; i < n; i++)
		rows[i] = (struct filter_row){ 1 + i % 50, IPPROTO_TCP, (uint16_t)(i / 50 * 3),
					       (uint16_t)(i / 50 * 3 + 1) };
	for (int again = 0; again < 2; again++) {
		start = now_ns();
		check(filter_load(f, &all, &err), "rows");
		printf("%u rows%s: %.1f ms\n", n, again ? " in place of as many" : "",
		       (double)(now_ns() - start) / 1e6);
	}
	all = (struct filter_rows){ .rows = &one, .rows_n = 1 };
	check(filter_load(f, &all, &err), "rows");
	free(rows);
}

static int tun(void)
{
	struct ifreq ifr = { .ifr_name = NAME, .ifr_flags = IFF_TUN | IFF_NO_PI };
	struct prefix own = { .ip = { IP_V4, { 100, 64, 0, 2 } }, .bits = 32 };
	struct prefix range = { .ip = { IP_V4, { 100, 64, 0, 0 } }, .bits = 10 };
	struct link *l = link_open(&err);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	check(l && fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0, "tun");
	check(link_addresses(l, NAME, &own, 1, &err) && link_up(l, NAME, 1420, &err) &&
		      link_routes(l, NAME, &range, 1, &own.ip, NULL, &err),
	      "link");
	link_close(l);
	return fd;
}

static uint16_t sum(const void *p, size_t n)
{
	const uint16_t *w = p;
	uint32_t s = 0;

	for (size_t i = 0; i < n / 2; i++)
		s += w[i];
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

static void bench_packets(int fd, const char *what, uint32_t peers)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct {
		struct iphdr ip;
		struct udphdr udp;
		char body[100];
	} __attribute__((packed)) p;
	int64_t start, best = INT64_MAX;
	char drain[256];
	long got = 0;

	check(sock >= 0 && bind(sock, (void *)&at, sizeof(at)) == 0, "socket");
	for (int round = 0; round < 3; round++) {
		start = now_ns();
		for (uint32_t i = 0; i < PACKETS; i++) {
			struct ip src = peer(i * 7919 % peers);

			memset(&p, 0, sizeof(p));
			p.ip.version = 4;
			p.ip.ihl = 5;
			p.ip.ttl = 64;
			p.ip.protocol = IPPROTO_UDP;
			p.ip.tot_len = htons(sizeof(p));
			memcpy(&p.ip.saddr, src.b, 4);
			p.ip.daddr = inet_addr("100.64.0.2");
			p.ip.check = sum(&p.ip, sizeof(p.ip));
			p.udp.source = htons(4242);
			p.udp.dest = htons(PORT);
			p.udp.len = htons(sizeof(p.udp) + sizeof(p.body));
			if (write(fd, &p, sizeof(p)) < 0)
				check(false, "write");
			if (i % 64 == 63)
				while (recv(sock, drain, sizeof(drain), MSG_DONTWAIT) > 0)
					got++;
		}
		if (now_ns() - start < best)
			best = now_ns() - start;
	}
	printf("%-44s %6.0f ns a packet, %ld of %d arrived\n", what, (double)best / PACKETS, got,
	       3 * PACKETS);
	close(sock);
}

int main(void)
{
	static const uint32_t sizes[] = { 1, 1000, 10000, 100000 };
	struct filter_base base = { .device = NAME, .users_any = true };
	bool adopted;
	struct filter *f;
	uint32_t there = 0;
	int fd;

	if (unshare(CLONE_NEWNET) != 0) {
		printf("skip bench/filter: no namespace: %s\n", strerror(errno));
		return 77;
	}
	check(prefix_parse(SPAN("fd12:3456:7890::/48"), &base.overlay.v6) &&
		      prefix_parse(SPAN("100.64.0.0/10"), &base.overlay.v4),
	      "ranges");
	fd = tun();
	bench_packets(fd, "no table, one peer", 1);
	bench_packets(fd, "no table, 1000 peers", 1000);
	f = filter_open(&base, &adopted, &err);
	check(f != NULL, "open");
	bench_rows(f, 100);
	bench_rows(f, 1000);
	bench_rows(f, 10000);
	for (size_t i = 0; i < array_size(sizes); i++) {
		int64_t start = now_ns();
		uint32_t before = there;
		char what[64];

		for (; there < sizes[i]; there++) {
			struct filter_class c = { peer(there), 5, 3600000, 7 };

			check(filter_class_set(f, &c, &err), "set");
		}
		printf("%u elements more: %.1f us each\n", there - before,
		       (double)(now_ns() - start) / 1000 / (there - before));
		bench_changes(f, there);
		snprintf(what, sizeof(what), "%u elements, %u peers", there,
			 there < 1000 ? there : 1000);
		bench_packets(fd, what, there < 1000 ? there : 1000);
	}
	check(filter_close(f, true, &err), "close");
	close(fd);
	return 0;
}
