/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/listeners.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void remove_at(struct listeners *l, size_t i)
{
	if (l->list[i].fd >= 0)
		close(l->list[i].fd);
	free(l->list[i].key);
	free(l->list[i].next_key);
	l->n--;
	memmove(&l->list[i], &l->list[i + 1], (l->n - i) * sizeof(*l->list));
}

void listeners_done(struct listeners *l)
{
	while (l->n)
		remove_at(l, l->n - 1);
	free(l->list);
	*l = (struct listeners){ 0 };
}

static struct listener *add(struct listeners *l, struct span key, const struct ipport *at, int fd)
{
	l->list = mem_realloc(l->list, l->n + 1, sizeof(*l->list));
	l->list[l->n] = (struct listener){ .key = span_dup(key), .at = *at, .fd = fd };
	return &l->list[l->n++];
}

static bool same_at(const struct ipport *a, const struct ipport *b)
{
	return a->port == b->port && ip_eq(&a->ip, &b->ip);
}

/* "fd:web" as it is handed in, "fd:web:443" as it is configured: web. */
static struct span fd_name(struct span key)
{
	struct span rest = span_from(key, 3), name = { 0 };

	span_next(&rest, ':', &name);
	return name;
}

/* Made by the parent, which can make it again; others that were handed in it cannot. */
static bool is_forward(struct span key)
{
	return span_starts(key, SPAN("unix:"));
}

static bool same_handed(struct span a, struct span b)
{
	if (is_forward(a) || is_forward(b))
		return span_eq(a, b);
	return span_eq(fd_name(a), fd_name(b));
}

static struct listener *find(const struct listeners *l, struct span key, const struct ipport *at)
{
	for (size_t i = 0; i < l->n; i++) {
		struct listener *one = &l->list[i];

		if (at->ip.family != one->at.ip.family)
			continue;
		if (at->ip.family == IP_NONE ? same_handed(span_str(one->key), key) :
		                               same_at(&one->at, at))
			return one;
	}
	return NULL;
}

bool listeners_keep(struct listeners *l, struct span key, const struct ipport *at, int fd,
                    struct err *err)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ipport is;
	int listening = 0;
	socklen_t size = sizeof(listening);
	bool ok = l->n < LISTENERS_MAX;

	if (!ok)
		err_set(err, ERR_LIMIT, "more than %d listening sockets", LISTENERS_MAX);
	else if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening)
		ok = err_set(err, ERR_CONFIG, "\"%.*s\" is no listening socket", SPAN_ARG(key));
	else if (at->ip.family != IP_NONE && (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
					      !ipport_from_sockaddr(&ss, &is) || !same_at(&is, at)))
		ok = err_set(err, ERR_CONFIG, "the socket of \"%.*s\" listens elsewhere",
			     SPAN_ARG(key));
	if (!ok) {
		close(fd);
		return false;
	}
	if (is_forward(key)) {
		struct listener *was = find(l, key, at);

		if (was) { /* of a configuration that came to nothing */
			close(was->fd);
			was->fd = fd;
			return true;
		}
	}
	add(l, key, at, fd);
	return true;
}

static int open_at(const struct ipport *at, bool overlay, struct err *err)
{
	static const int on = 1;
	struct sockaddr_storage ss;
	socklen_t len = ipport_to_sockaddr(at, &ss);
	bool v6 = at->ip.family == IP_V6;
	char text[IP_TEXT_MAX];
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;

	if (ok && v6) /* "[::]:80" is IPv6's, or the same port of IPv4 could not be opened too */
		ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
	if (ok && overlay)      /* the device may get its addresses a moment later */
		ok = v6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)) == 0 :
		          setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) == 0;
	ok = ok && bind(fd, (const struct sockaddr *)&ss, len) == 0 &&
	     listen(fd, LISTENERS_BACKLOG) == 0;
	if (!ok) {
		if (errno == EADDRINUSE)
			err_set(err, ERR_EXISTS, "listening at %s: another program listens there, "
				"or at that port of every address (ss -ltnp shows it)",
				ipport_text(at, text));
		else
			err_sys(err, "listening at %s", ipport_text(at, text));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static struct span next_key(const struct listener *one)
{
	return span_str(one->next_key ? one->next_key : one->key);
}

/* One address that conf wants. */
static bool want(struct listeners *l, struct span key, const struct ipport *at, bool overlay,
                 struct err *err)
{
	struct listener *one = find(l, key, at);
	int fd;

	if (one && one->wanted && !span_eq(next_key(one), key))
		return err_set(err, ERR_CONFIG, "\"%.*s\" and \"%.*s\" are one address",
		               SPAN_ARG(next_key(one)), SPAN_ARG(key));
	if (one) {
		one->wanted = true;
		if (!span_eq(span_str(one->key), key) && !one->next_key)
			one->next_key = span_dup(key);
		return true;
	}
	if (at->ip.family == IP_NONE)
		return err_set(err, ERR_CONFIG, "no socket \"%.*s\" was handed in",
			       SPAN_ARG(is_forward(key) ? key : fd_name(key)));
	if (l->n == LISTENERS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d listening sockets", LISTENERS_MAX);
	fd = open_at(at, overlay, err);
	if (fd < 0)
		return false;
	one = add(l, key, at, fd);
	one->wanted = one->staged = true;
	return true;
}

static bool want_text(struct listeners *l, const char *text, const struct ip *overlay,
                      size_t overlay_n, struct err *err)
{
	struct span key = span_str(text);
	struct conf_listen at;

	if (!conf_listen_parse(key, &at, err))
		return false;
	if (at.kind == CONF_LISTEN_FD || at.kind == CONF_LISTEN_UNIX)
		at.at = (struct ipport){ 0 };
	if (at.kind != CONF_LISTEN_PORT)
		return want(l, key, &at.at, false, err);
	for (size_t i = 0; i < overlay_n; i++) {
		struct ipport here = { overlay[i], at.at.port };

		if (!want(l, key, &here, true, err))
			return false;
	}
	return true;
}

bool listeners_prepare(struct listeners *l, const struct conf *conf, const struct ip *overlay,
                       size_t overlay_n, struct err *err)
{
	const struct conf_map *maps[] = { &conf->services, &conf->public };

	for (size_t i = 0; i < l->n; i++) {
		l->list[i].wanted = false;
		free(take(l->list[i].next_key));
	}
	for (size_t m = 0; m < array_size(maps); m++) {
		for (size_t i = 0; i < maps[m]->count; i++) {
			const struct conf_strs *texts = &conf_service(maps[m], i)->listen;

			for (size_t k = 0; k < texts->count; k++) {
				if (!want_text(l, texts->list[k], overlay, overlay_n, err)) {
					listeners_drop(l);
					return false;
				}
			}
		}
	}
	return true;
}

void listeners_use(struct listeners *l)
{
	for (size_t i = l->n; i-- > 0;) {
		struct listener *one = &l->list[i];

		one->staged = false;
		if (one->next_key) {
			free(one->key);
			one->key = take(one->next_key);
		}
		/* What was handed in cannot be opened again: it stays for a later configuration. */
		if (!one->wanted && (one->at.ip.family != IP_NONE || is_forward(span_str(one->key))))
			remove_at(l, i);
	}
}

void listeners_drop(struct listeners *l)
{
	for (size_t i = l->n; i-- > 0;) {
		free(take(l->list[i].next_key));
		if (l->list[i].staged)
			remove_at(l, i);
	}
}

bool listeners_serves(const struct listener *one, const struct conf_map *services)
{
	for (size_t i = 0; i < services->count; i++) {
		const struct conf_strs *texts = &conf_service(services, i)->listen;

		for (size_t k = 0; k < texts->count; k++)
			if (strcmp(texts->list[k], one->key) == 0)
				return true;
	}
	return false;
}

static bool is_any(const struct ip *ip)
{
	static const uint8_t none[sizeof(ip->b)];

	return memcmp(ip->b, none, sizeof(none)) == 0;
}

/* An address of this host: one that can be bound. */
static bool is_here(const struct ip *ip)
{
	struct ipport at = { .ip = *ip };
	struct sockaddr_storage ss;
	socklen_t len = ipport_to_sockaddr(&at, &ss);
	int fd;
	bool here;

	if (ip_is_loopback(ip))
		return true;
	fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	here = fd >= 0 && bind(fd, (const struct sockaddr *)&ss, len) == 0;
	if (fd >= 0)
		close(fd);
	return here;
}

bool listeners_own(void *listeners, const struct ipport *at)
{
	const struct listeners *l = listeners;

	for (size_t i = 0; i < l->n; i++) {
		struct ipport here = l->list[i].at;
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);

		/* handed in from outside: it knows where it listens */
		if (here.ip.family == IP_NONE &&
		    (getsockname(l->list[i].fd, (struct sockaddr *)&ss, &len) < 0 || !ipport_from_sockaddr(&ss, &here)))
			continue;
		if (here.port == at->port && (is_any(&here.ip) ? is_here(&at->ip) : ip_eq(&here.ip, &at->ip)))
			return true;
	}
	return false;
}
