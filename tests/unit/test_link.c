/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/link.h"

#include "base/mem.h"
#include "tests/unit/netns.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

/* On a TUN interface, which needs nothing else; what ip(8) would show is read from /proc. */

#define NAME "lk-test"

static struct prefix pfx(const char *s)
{
	struct prefix p = { 0 };

	ck_assert_msg(prefix_parse(span_str(s), &p), "%s", s);
	return p;
}

static int make(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	ck_assert(fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0);
	return fd;
}

/* Lines of /proc/net/FILE that have all these words. */
static unsigned read_lines(const char *file, const char *one, const char *two)
{
	char path[64], line[512];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/net/%s", file);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, one) && strstr(line, two);
	fclose(f);
	return n;
}

/* The kernel, which changes routes of its own meanwhile, begins such a file anew then
 * and says lines twice: what two readings in a row say is what there is. */
static unsigned lines(const char *file, const char *one, const char *two)
{
	unsigned n = read_lines(file, one, two), again;

	while ((again = read_lines(file, one, two)) != n)
		n = again;
	return n;
}

START_TEST(addresses)
{
	struct prefix two[] = { pfx("100.64.0.2/32"), pfx("fd12:3456:7890::2/128") };
	struct prefix other[] = { pfx("100.64.0.7/32") };
	struct link_address seen[8];
	struct err err = { 0 };
	struct link *l = link_open(&err);
	char kind[LINK_KIND_MAX];
	unsigned index;
	size_t n = 99;
	int fd;

	ck_assert(!link_find(l, NAME, &index, &err));
	ck_assert_int_eq(err.code, ERR_MISSING);
	ck_assert(!link_up(l, NAME, 1420, &err));
	ck_assert(!link_addresses(l, NAME, two, 2, &err));
	ck_assert(link_delete(l, NAME, &err));          /* no such interface is success */
	fd = make(NAME);
	ck_assert(link_find(l, NAME, &index, &err));
	ck_assert_uint_eq(index, if_nametoindex(NAME));
	ck_assert(link_kind(l, NAME, kind, &err));
	ck_assert_str_eq(kind, "tun");
	for (int i = 0; i < 2; i++) {
		ck_assert_msg(link_addresses(l, NAME, two, 2, &err), "%s", err.msg);
		ck_assert_msg(link_up(l, NAME, 1420, &err), "%s", err.msg);
	}
	ck_assert(link_local(l, NULL, seen, 8, &n, &err));
	ck_assert_uint_eq(n, 2);
	ck_assert(ip_eq(&seen[0].ip, &two[0].ip) && seen[0].bits == 32);
	ck_assert(ip_eq(&seen[1].ip, &two[1].ip) && seen[1].bits == 128);
	ck_assert(link_local(l, NAME, seen, 8, &n, &err));
	ck_assert_uint_eq(n, 0);
	ck_assert(link_local(l, NULL, seen, 1, &n, &err));
	ck_assert_uint_eq(n, 1);

	ck_assert(link_addresses(l, NAME, other, 1, &err));
	ck_assert(link_local(l, "lo", seen, 8, &n, &err));
	ck_assert_uint_eq(n, 1);
	ck_assert(ip_eq(&seen[0].ip, &other[0].ip));
	ck_assert(link_down(l, NAME, &err));
	ck_assert(link_local(l, NULL, seen, 8, &n, &err));
	ck_assert_uint_eq(n, 0);
	ck_assert(!link_addresses(l, NAME, two, LINK_ADDRESSES_MAX + 1, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	close(fd);
	link_close(l);
}
END_TEST

/* 10.9.0.0 as /proc/net/route writes it: hexadecimal, in this machine's order. */
static const char *lab_in_proc(void)
{
	static char text[16];

	snprintf(text, sizeof(text), "\t%08X\t", htonl(0x0a090000));
	return text;
}

START_TEST(routes)
{
	struct prefix all[] = { pfx("100.64.0.0/10"), pfx("10.9.0.0/24"), pfx("fd99::/64"),
				pfx("10.9.0.0/24") };
	struct prefix own[] = { pfx("100.64.0.2/32"), pfx("fd12:3456:7890::2/128") };
	struct err err = { 0 };
	struct link *l = link_open(&err);
	int fd = make(NAME);

	ck_assert(link_addresses(l, NAME, own, 2, &err) && link_up(l, NAME, 1420, &err));
	for (int i = 0; i < 2; i++)
		ck_assert_msg(link_routes(l, NAME, all, 4, &own[0].ip, &own[1].ip, &err), "%s",
			      err.msg);
	ck_assert_uint_eq(lines("route", NAME, lab_in_proc()), 1);
	ck_assert_uint_eq(lines("ipv6_route", NAME, "fd990000000000000000000000000000 40"), 1);

	/* Fewer, but keep the others; then fewer. */
	ck_assert(link_routes_add(l, NAME, all, 1, &own[0].ip, &own[1].ip, &err));
	ck_assert_uint_eq(lines("route", NAME, lab_in_proc()), 1);
	ck_assert(link_routes(l, NAME, all, 1, &own[0].ip, &own[1].ip, &err));
	ck_assert_uint_eq(lines("route", NAME, lab_in_proc()), 0);
	ck_assert_uint_eq(lines("ipv6_route", NAME, "fd990000000000000000000000000000 40"), 0);
	ck_assert_uint_eq(lines("route", NAME, NAME), 1);

	/* Another source is another route. */
	ck_assert_msg(link_routes(l, NAME, all, 1, NULL, NULL, &err), "%s", err.msg);
	ck_assert_uint_eq(lines("route", NAME, NAME), 1);
	ck_assert(link_routes(l, NAME, NULL, 0, NULL, NULL, &err));
	ck_assert_uint_eq(lines("route", NAME, NAME), 0);
	ck_assert(!link_routes(l, NAME, all, LINK_ROUTES_MAX + 1, NULL, NULL, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert(link_delete(l, NAME, &err));
	ck_assert_uint_eq(if_nametoindex(NAME), 0);
	close(fd);
	link_close(l);
}
END_TEST

static char read_sysctl(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c = '?';

	ck_assert(fd >= 0 && read(fd, &c, 1) == 1);
	close(fd);
	return c;
}

START_TEST(forwarding)
{
	struct err err = { 0 };
	int fd = make(NAME);

	ck_assert_int_eq(read_sysctl("/proc/sys/net/ipv6/conf/" NAME "/accept_ra"), '1');
	for (int i = 0; i < 2; i++)
		ck_assert_msg(link_forwarding(&err), "%s", err.msg);
	ck_assert_int_eq(read_sysctl("/proc/sys/net/ipv4/ip_forward"), '1');
	ck_assert_int_eq(read_sysctl("/proc/sys/net/ipv6/conf/all/forwarding"), '1');
	ck_assert_int_eq(read_sysctl("/proc/sys/net/ipv6/conf/" NAME "/accept_ra"), '2');
	close(fd);
}
END_TEST

static bool available(void)
{
	if (access("/dev/net/tun", W_OK) == 0)
		return true;
	printf("skip link: no /dev/net/tun\n");
	return false;
}

UNIT_MAIN_NETNS("link", available, addresses, routes, forwarding)
