/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "daemon/endpoint/listeners.h"
#include "daemon/endpoint/sdnotify.h"
#include "daemon/endpoint/targets.h"
#include "tests/unit/main.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Ports of loopback that nobody has: bound by the test, all at once, and free again. */
static void free_ports(uint16_t *ret_ports, size_t n)
{
	int fds[4];

	ck_assert_uint_le(n, array_size(fds));
	for (size_t i = 0; i < n; i++) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t len = sizeof(in);

		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		ck_assert_int_eq(bind(fds[i], (struct sockaddr *)&in, sizeof(in)), 0);
		ck_assert_int_eq(getsockname(fds[i], (struct sockaddr *)&in, &len), 0);
		ret_ports[i] = ntohs(in.sin_port);
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static uint16_t free_port(void)
{
	uint16_t port;

	free_ports(&port, 1);
	return port;
}

static struct conf *conf(const char *listen, const char *public, const char *upstream)
{
	struct diags d;
	struct buf text;
	struct conf *c;

	buf_init(&text, 4096);
	buf_addf(&text, "{\"services\":{\"a\":{\"listen\":[%s],\"upstream\":[%s]}}", listen, upstream);
	if (public)
		buf_addf(&text, ",\"public\":{\"p\":{\"listen\":[%s],\"upstream\":[%s]}}", public, upstream);
	buf_add_char(&text, '}');
	diags_init(&d, "f");
	c = conf_new(buf_span(&text), NULL, &d);
	ck_assert_msg(c != NULL, "%s: %s", text.ptr, d.count ? d.list[0].msg : "");
	diags_done(&d);
	buf_done(&text);
	return c;
}

static bool answers(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port),
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool ok = connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0;

	close(fd);
	return ok;
}

START_TEST(reload)
{
	struct listeners l = { 0 };
	uint16_t ports[3], a, b, c;
	char one[64], two[128], taken[128];
	struct conf *first, *second, *third;
	struct err err = { 0 };
	int busy;

	free_ports(ports, 3);
	a = ports[0];
	b = ports[1];
	c = ports[2];
	snprintf(one, sizeof(one), "\"127.0.0.1:%u\"", a);
	snprintf(two, sizeof(two), "\"127.0.0.1:%u\",\"127.0.0.1:%u\"", a, b);
	snprintf(taken, sizeof(taken), "\"127.0.0.1:%u\",\"127.0.0.1:%u\"", b, c);
	first = conf(one, NULL, "\"http://127.0.0.1:1\"");
	second = conf(two, NULL, "\"http://127.0.0.1:1\"");
	third = conf(taken, NULL, "\"http://127.0.0.1:1\"");

	ck_assert(!answers(a));
	ck_assert(listeners_prepare(&l, first, NULL, 0, &err));
	listeners_use(&l);
	ck_assert(answers(a));
	int fd = l.list[0].fd;

	/* prepared and dropped: as before */
	ck_assert(listeners_prepare(&l, second, NULL, 0, &err));
	ck_assert(answers(b));
	listeners_drop(&l);
	ck_assert(answers(a) && !answers(b));
	ck_assert_uint_eq(l.n, 1);

	/* the one that stays is the same socket */
	ck_assert(listeners_prepare(&l, second, NULL, 0, &err));
	listeners_use(&l);
	ck_assert_uint_eq(l.n, 2);
	ck_assert_int_eq(l.list[0].fd, fd);

	/* an address that somebody has: nothing changes */
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(c),
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	busy = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(busy, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(busy, 1), 0);
	ck_assert(!listeners_prepare(&l, third, NULL, 0, &err));
	ck_assert_int_eq(err.code, ERR_EXISTS);
	ck_assert(answers(a) && answers(b));
	close(busy);
	ck_assert(listeners_prepare(&l, third, NULL, 0, &err));
	listeners_use(&l);
	ck_assert(!answers(a) && answers(b) && answers(c));
	listeners_done(&l);
	ck_assert(!answers(b));
	conf_free(first);
	conf_free(second);
	conf_free(third);
}
END_TEST

START_TEST(bare_ports)
{
	struct listeners l = { 0 };
	char port[16];
	struct conf *c;
	struct ip here[2];
	struct err err = { 0 };

	snprintf(port, sizeof(port), "\"%u\"", free_port());
	c = conf(port, NULL, "\"http://127.0.0.1:1\"");
	ck_assert(listeners_prepare(&l, c, NULL, 0, &err));     /* no address yet: no socket */
	ck_assert_uint_eq(l.n, 0);
	/* addresses that the device does not have yet */
	ck_assert(ip_parse(SPAN("100.64.9.9"), &here[0]));
	ck_assert(ip_parse(SPAN("fd00::9"), &here[1]));
	ck_assert_msg(listeners_prepare(&l, c, here, 2, &err), "%s", err.msg);
	listeners_use(&l);
	ck_assert_uint_eq(l.n, 2);
	ck_assert(listeners_serves(&l.list[1], &c->services));
	ck_assert(!listeners_serves(&l.list[1], &c->public));
	ck_assert(listeners_prepare(&l, c, here, 1, &err));
	listeners_use(&l);
	ck_assert_uint_eq(l.n, 1);
	listeners_done(&l);
	conf_free(c);
}
END_TEST

START_TEST(kept)
{
	struct listeners l = { 0 };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct ipport at, none = { 0 }, other;
	struct err err = { 0 };
	char text[64];
	struct conf *c;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	ck_assert(ip_parse(SPAN("127.0.0.1"), &at.ip));
	at.port = ntohs(in.sin_port);
	other = at;
	other.port++;
	ck_assert(!listeners_keep(&l, SPAN("x"), &at, dup(fd), &err));          /* does not listen */
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert(!listeners_keep(&l, SPAN("x"), &other, dup(fd), &err));       /* elsewhere */
	ck_assert_uint_eq(l.n, 0);

	snprintf(text, sizeof(text), "\"127.0.0.1:%u\"", at.port);
	c = conf(text, NULL, "\"http://127.0.0.1:1\"");
	ck_assert(!listeners_prepare(&l, c, NULL, 0, &err));    /* somebody has it: an earlier life */
	ck_assert(listeners_keep(&l, span_head(span_from(span_str(text), 1), strlen(text) - 2), &at, dup(fd), &err));
	ck_assert_msg(listeners_prepare(&l, c, NULL, 0, &err), "%s", err.msg);
	listeners_use(&l);
	ck_assert_uint_eq(l.n, 1);
	listeners_done(&l);
	conf_free(c);

	c = conf("\"fd:web:80\"", NULL, "\"http://127.0.0.1:1\"");
	ck_assert(!listeners_prepare(&l, c, NULL, 0, &err));    /* none was handed in */
	ck_assert(listeners_keep(&l, SPAN("fd:other"), &none, dup(fd), &err));
	ck_assert(!listeners_prepare(&l, c, NULL, 0, &err));
	ck_assert(listeners_keep(&l, SPAN("fd:web"), &none, dup(fd), &err));
	ck_assert(listeners_prepare(&l, c, NULL, 0, &err));
	listeners_use(&l);
	ck_assert_uint_eq(l.n, 2);              /* the other one may be wanted later */
	ck_assert_str_eq(l.list[1].key, "fd:web:80");
	listeners_done(&l);
	conf_free(c);
	close(fd);
}
END_TEST

static bool nobody(void *arg, const struct ipport *at)
{
	(void)arg;
	(void)at;
	return false;
}

static bool everybody(void *arg, const struct ipport *at)
{
	(void)arg;
	(void)at;
	return true;
}

static int try(const struct targets *t, struct book *b, targets_own_fn *own, uint32_t place)
{
	int e = 0, fd = targets_connect(t, b, own, NULL, false, 0, place, &e);

	if (fd >= 0)
		close(fd);
	return fd >= 0 ? 0 : e;
}

/* A name without an address leads nowhere, and what is in no table never gets one. */
START_TEST(names)
{
	char listen_text[] = "\"127.0.0.1:1\"", public[] = "\"127.0.0.1:2\"";
	char up[] = "\"http://app.example.edu:1\",\"http://127.0.0.1:1\"";
	struct ip at[NAMES_ADDRESSES_MAX] = { 0 };
	struct err err = { 0 };
	struct conf *c = conf(listen_text, public, up);
	struct targets *t = targets_new(c, &err);
	struct book b = { 0 };

	ck_assert_ptr_nonnull(t);
	ck_assert(!targets_have_name(t, SPAN("other.example.edu")) && !targets_have_name(NULL, SPAN("app.example.edu")));
	ck_assert(targets_have_name(t, SPAN("app.example.edu")));
	ck_assert_int_eq(try(t, &b, nobody, targets_place(0, 0)), EHOSTUNREACH);
	ck_assert(ip_parse(SPAN("127.0.0.1"), &at[3]));
	book_set(&b, SPAN("app.example.edu"), at);
	ck_assert_int_eq(try(t, &b, nobody, targets_place(0, 0)), EHOSTUNREACH);
	ck_assert_int_eq(try(t, &b, nobody, targets_place(0, NAMES_ADDRESSES_MAX)), EINVAL);
	ck_assert_int_eq(try(t, &b, nobody, targets_place(1, 3)), EINVAL);
	ck_assert_int_eq(try(t, &b, everybody, targets_place(0, 3)), ELOOP);
	ck_assert_int_eq(try(t, &b, nobody, targets_place(0, 3)), 0);
	book_keep(&b, NULL, t);
	ck_assert_int_eq(try(t, &b, nobody, targets_place(0, 3)), 0);
	book_keep(&b, NULL, NULL);
	ck_assert_int_eq(try(t, &b, nobody, targets_place(0, 3)), EHOSTUNREACH);
	book_done(&b);
	targets_free(t);
	conf_free(c);
}
END_TEST

/* What would come back to us: the address itself, and for a wildcard every address of this host. */
START_TEST(own)
{
	static const struct { const char *listen, *to; bool own; } rows[] = {
		{ "127.0.0.1:80", "127.0.0.1:81", false }, { "127.0.0.1:80", "127.0.0.2:80", false },
		{ "0.0.0.0:80", "192.0.2.1:80", false }, { "[::]:80", "192.0.2.1:80", false },
		{ "127.0.0.1:80", "127.0.0.1:80", true }, { "0.0.0.0:80", "127.0.0.9:80", true },
		{ "[::]:80", "[::1]:80", true }, { "[::]:80", "127.0.0.1:80", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct listener one = { .fd = -1 };
		struct listeners l = { &one, 1 };
		struct ipport to;

		ck_assert(ipport_parse(span_str(rows[i].listen), &one.at) && ipport_parse(span_str(rows[i].to), &to));
		ck_assert_msg(listeners_own(&l, &to) == rows[i].own, "%s %s", rows[i].listen, rows[i].to);
	}
}
END_TEST

START_TEST(targets)
{
	static const struct { bool public; uint32_t service, upstream; } outside[] = {
		{ false, 1, 0 }, { false, 0, 2 }, { false, UINT32_MAX, 0 }, { false, 0, UINT32_MAX },
		{ true, 1, 0 }, { true, 0, 2 },
	};
	uint16_t port = free_port();
	char up[128], listen_text[] = "\"127.0.0.1:1\"", public[] = "\"127.0.0.1:2\"";
	struct err err = { 0 };
	struct conf *c;
	struct targets *t;
	struct book b = { 0 };
	int e = 0, fd;

	snprintf(up, sizeof(up), "\"http://127.0.0.1:%u\",\"unix:/nonexistent/app.sock\"", port);
	c = conf(listen_text, public, up);
	t = targets_new(c, &err);
	ck_assert_ptr_nonnull(t);
	for (size_t i = 0; i < array_size(outside); i++) {
		e = 0;
		ck_assert_int_eq(targets_connect(t, &b, nobody, NULL, outside[i].public, outside[i].service, outside[i].upstream, &e), -1);
		ck_assert_int_eq(e, EINVAL);
	}
	ck_assert_int_eq(targets_connect(t, &b, nobody, NULL, false, 0, 1, &e), -1);
	ck_assert_int_eq(e, ENOENT);

	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port),
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int server = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(server, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(server, 1), 0);
	for (int p = 0; p < 2; p++) {
		struct pollfd pf = { .events = POLLOUT };

		fd = targets_connect(t, &b, nobody, NULL, p, 0, 0, &e);
		ck_assert_int_ge(fd, 0);
		pf.fd = fd;
		ck_assert_int_eq(poll(&pf, 1, 60000), 1);
		ck_assert(!(pf.revents & (POLLERR | POLLHUP)));
		close(fd);
	}
	close(server);
	book_done(&b);
	targets_free(t);
	targets_free(NULL);
	conf_free(c);
}
END_TEST

START_TEST(service_manager)
{
	struct sdnotify_fd fds[SDNOTIFY_FDS_MAX];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct err err = { 0 };
	char text[64], said[64];
	size_t n = 7;
	ssize_t got;
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);

	unsetenv("NOTIFY_SOCKET");
	ck_assert(sdnotify("READY=1", &err));           /* nobody listens: fine */
	setenv("NOTIFY_SOCKET", "relative", 1);
	ck_assert(!sdnotify("READY=1", &err));
	snprintf(text, sizeof(text), "@reeve-test-%d", (int)getpid());
	memcpy(un.sun_path + 1, text + 1, strlen(text) - 1);
	ck_assert_int_eq(bind(s, (struct sockaddr *)&un,
	                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text))), 0);
	setenv("NOTIFY_SOCKET", text, 1);
	ck_assert_msg(sdnotify("READY=1", &err), "%s", err.msg);
	got = recv(s, said, sizeof(said), 0);
	ck_assert(span_eq(span_of(said, (size_t)got), SPAN("READY=1")));
	close(s);

	/* for another process, or not understood */
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "1", 1);
	ck_assert(sdnotify_fds(fds, &n, &err));
	ck_assert_uint_eq(n, 0);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	setenv("LISTEN_FDS", "99999", 1);
	ck_assert(!sdnotify_fds(fds, &n, &err));
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "web", 1);
	dup2(0, 3);
	dup2(0, 4);
	ck_assert(sdnotify_fds(fds, &n, &err));
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(fds[0].name, "web");
	ck_assert_str_eq(fds[1].name, "unknown");
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
}
END_TEST

UNIT_MAIN("listeners", reload, bare_ports, kept, targets, names, own, service_manager)
