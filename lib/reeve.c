/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "lib/reeve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_PATH RUNSTATEDIR "/reeve/api.sock"

enum {
	ADDR_TEXT_MAX = 64,     /* "[v6]:port" */
};

static enum reeve_result fail(char *message, enum reeve_result r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static enum reeve_result fail(char *message, enum reeve_result r, const char *fmt, ...)
{
	va_list ap;

	if (!message)
		return r;
	va_start(ap, fmt);
	vsnprintf(message, REEVE_MESSAGE_MAX, fmt, ap);
	va_end(ap);
	return r;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for events until the deadline; true if they came. */
static bool wait_for(int fd, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int64_t left = deadline - now_ms();

		if (left <= 0) {
			errno = ETIMEDOUT;
			return false;
		}
		int n = poll(&p, 1, (int)left);

		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
}

/* Only what an address is made of goes into the request line. */
static bool addr_ok(const char *s)
{
	char text[ADDR_TEXT_MAX], *end;
	struct in6_addr b;
	size_t n = strlen(s);

	if (n == 0 || n >= sizeof(text))
		return false;
	memcpy(text, s, n + 1);
	if (inet_pton(AF_INET, text, &b) == 1 || inet_pton(AF_INET6, text, &b) == 1)
		return true;

	char *colon = strrchr(text, ':');

	if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    strlen(colon + 1) > 5 || strtoul(colon + 1, NULL, 10) > 65535)
		return false;
	*colon = '\0';
	if (text[0] != '[')
		return inet_pton(AF_INET, text, &b) == 1;
	end = colon - 1;
	if (*end != ']')
		return false;
	*end = '\0';
	return inet_pton(AF_INET6, text + 1, &b) == 1;
}

static int open_socket(const char *path, int64_t deadline)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	if (n >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, path, n + 1);

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	/* A full backlog is EAGAIN for unix sockets: try until the deadline. */
	while (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) != 0) {
		int e = errno;

		if (e == EAGAIN && now_ms() < deadline) {
			poll(NULL, 0, 1);
			continue;
		}
		close(fd);
		errno = e == EAGAIN ? ETIMEDOUT : e;
		return -1;
	}
	return fd;
}

static bool send_all(int fd, const char *p, size_t n, int64_t deadline)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		} else if (sent < 0 && errno == EINTR) {
			continue;
		} else if (sent < 0 && errno != EAGAIN) {
			return false;
		} else if (!wait_for(fd, POLLOUT, deadline)) {
			return false;
		}
	}
	return true;
}

/* Reads to the end of the stream; the request says that it is closed. */
static char *read_all(int fd, size_t *ret_n, int64_t deadline)
{
	size_t n = 0, cap = 4096;
	char *p = malloc(cap);

	while (p) {
		ssize_t got = recv(fd, p + n, cap - 1 - n, 0);

		if (got == 0) {
			p[n] = '\0';
			*ret_n = n;
			return p;
		}
		if (got < 0) {
			if (errno == EINTR || (errno == EAGAIN && wait_for(fd, POLLIN, deadline)))
				continue;
			break;
		}
		n += (size_t)got;
		if (n + 1 < cap)
			continue;
		if (cap >= REEVE_ANSWER_MAX) {
			errno = EMSGSIZE;
			break;
		}
		cap *= 2;

		char *more = realloc(p, cap);

		if (!more)
			break;
		p = more;
	}
	free(p);
	return NULL;
}

/* The body of a response that ends with the stream; a Content-Length must agree. */
static const char *response_body(const char *p, size_t n, int *ret_status, size_t *ret_len)
{
	const char *end = memmem(p, n, "\r\n\r\n", 4);

	if (!end || n < 12 || memcmp(p, "HTTP/1.", 7) != 0 || p[8] != ' ' ||
	    strspn(p + 9, "0123456789") != 3)
		return NULL;
	*ret_status = (int)strtol(p + 9, NULL, 10);

	const char *body = end + 4;
	size_t len = n - (size_t)(body - p);

	for (const char *line = memmem(p, n, "\r\n", 2); line && line < end;) {
		const char *h = line + 2;

		if (strncasecmp(h, "Transfer-Encoding:", 18) == 0)
			return NULL;    /* not in answer to HTTP/1.0 */
		if (strncasecmp(h, "Content-Length:", 15) == 0 && strtoul(h + 15, NULL, 10) != len)
			return NULL;
		line = memmem(h, (size_t)(end + 2 - h), "\r\n", 2);
	}
	*ret_len = len;
	return body;
}

/* ---- the answer ---- */

/* Copies a member that is a string; an absent one or null stays NULL. False: no memory, or another type. */
static bool get_str(const json_t *o, const char *key, char **ret)
{
	const json_t *v = json_object_get(o, key);

	if (!v || json_is_null(v))
		return true;
	if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
		return false;
	*ret = strdup(json_string_value(v));
	return *ret != NULL;
}

static bool get_strs(const json_t *o, const char *key, char ***ret, size_t *ret_n)
{
	const json_t *v = json_object_get(o, key), *item;
	size_t i;

	if (!v || json_is_null(v))
		return true;
	if (!json_is_array(v))
		return false;
	*ret = calloc(json_array_size(v) + 1, sizeof(**ret));
	if (!*ret)
		return false;
	json_array_foreach(v, i, item) {
		if (!json_is_string(item))
			return false;
		(*ret)[i] = strdup(json_string_value(item));
		if (!(*ret)[i])
			return false;
		*ret_n = i + 1;
	}
	return true;
}

static bool get_int(const json_t *o, const char *key, int64_t *ret)
{
	const json_t *v = json_object_get(o, key);

	if (!v || json_is_null(v))
		return true;
	if (!json_is_integer(v))
		return false;
	*ret = json_integer_value(v);
	return true;
}

static bool read_who(const json_t *root, struct reeve_who *w)
{
	const json_t *node = json_object_get(root, "node");
	const json_t *user = json_object_get(root, "user");
	const json_t *session = json_object_get(root, "session");
	bool has_session = json_is_object(session);

	if (!json_is_object(node))
		return false;
	if (!get_str(root, "why", &w->why) ||
	    !get_str(node, "id", &w->node) || !get_str(node, "name", &w->node_name) ||
	    !get_strs(node, "tags", &w->tags, &w->tag_count) ||
	    !get_str(user, "login", &w->login) || !get_str(user, "name", &w->name) ||
	    !get_str(user, "email", &w->email) || !get_str(user, "issuer", &w->issuer) ||
	    !get_str(user, "subject", &w->subject) || !get_str(user, "id", &w->user) ||
	    !get_strs(user, "groups", &w->groups, &w->group_count) ||
	    !get_str(session, "id", &w->session) || !get_str(session, "acr", &w->acr) ||
	    !get_strs(session, "amr", &w->amr, &w->amr_count) ||
	    !get_int(session, "auth_time", &w->auth_time) ||
	    !get_int(session, "expires", &w->expires))
		return false;
	/* Valid is what is shown to be: a person with a session, or a server with tags. */
	w->valid = !w->why && ((w->login && has_session) || (!w->login && w->tag_count > 0));
	return true;
}

void reeve_who_free(struct reeve_who *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->tag_count; i++)
		free(w->tags[i]);
	for (size_t i = 0; i < w->group_count; i++)
		free(w->groups[i]);
	for (size_t i = 0; i < w->amr_count; i++)
		free(w->amr[i]);
	free(w->tags);
	free(w->groups);
	free(w->amr);
	free(w->why);
	free(w->node);
	free(w->node_name);
	free(w->login);
	free(w->name);
	free(w->email);
	free(w->issuer);
	free(w->subject);
	free(w->user);
	free(w->session);
	free(w->acr);
	free(w);
}

static enum reeve_result read_answer(const char *p, size_t n, struct reeve_who **ret_who, char *message)
{
	int status = 0;
	size_t len = 0;
	const char *body = response_body(p, n, &status, &len);

	if (!body)
		return fail(message, REEVE_PROTOCOL, "reeved's answer is not HTTP");
	if (status == 404)
		return fail(message, REEVE_NOBODY, "the address is nobody's here");
	if (status == 400)
		return fail(message, REEVE_BAD_ADDRESS, "reeved does not take this address");
	if (status != 200)
		return fail(message, REEVE_PROTOCOL, "reeved answered %d", status);

	json_error_t je;
	json_t *root = json_loadb(body, len, JSON_REJECT_DUPLICATES, &je);

	if (!root)
		return fail(message, REEVE_PROTOCOL, "reeved's answer: %.100s", je.text);

	struct reeve_who *w = calloc(1, sizeof(*w));
	bool ok = w && read_who(root, w);

	json_decref(root);
	if (!ok) {
		reeve_who_free(w);
		return fail(message, REEVE_PROTOCOL, "reeved's answer lacks what whois must say");
	}
	*ret_who = w;
	return REEVE_OK;
}

enum reeve_result reeve_whois(const char *addr, const struct reeve_options *opt,
                              struct reeve_who **ret_who, char message[REEVE_MESSAGE_MAX])
{
	const char *path = opt && opt->socket ? opt->socket : SOCKET_PATH;
	int64_t deadline = now_ms() + (opt && opt->timeout_ms > 0 ? opt->timeout_ms : REEVE_TIMEOUT_MS);
	char ask[160];

	if (!addr || !addr_ok(addr))
		return fail(message, REEVE_BAD_ADDRESS, "not a numeric address");

	int fd = open_socket(path, deadline);

	if (fd < 0)
		return fail(message, errno == ETIMEDOUT ? REEVE_TIMEOUT : REEVE_UNREACHABLE,
		            "%.150s: %s", path, strerror(errno));

	/* HTTP/1.0: the answer ends with the stream and is never chunked. An
	 * address has no character that a query would need to escape but brackets,
	 * which every reader of a query takes as they are. */
	int n = snprintf(ask, sizeof(ask), "GET /v1/whois?addr=%s HTTP/1.0\r\nHost: localhost\r\n\r\n", addr);
	size_t got = 0;
	char *answer = NULL;

	if (send_all(fd, ask, (size_t)n, deadline))
		answer = read_all(fd, &got, deadline);
	int e = errno;

	close(fd);
	if (!answer)
		return fail(message, e == ETIMEDOUT ? REEVE_TIMEOUT : REEVE_UNREACHABLE,
		            "%.150s: %s", path, strerror(e));

	enum reeve_result r = read_answer(answer, got, ret_who, message);

	free(answer);
	return r;
}

enum reeve_result reeve_whois_peer(int fd, const struct reeve_options *opt,
                                   struct reeve_who **ret_who, char message[REEVE_MESSAGE_MAX])
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	char ip[INET6_ADDRSTRLEN], addr[ADDR_TEXT_MAX];

	if (getpeername(fd, (struct sockaddr *)&ss, &len) != 0)
		return fail(message, REEVE_BAD_ADDRESS, "the socket has no peer: %s", strerror(errno));
	if (ss.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&ss;

		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
		snprintf(addr, sizeof(addr), "%s:%u", ip, ntohs(in->sin_port));
	} else if (ss.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;

		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		snprintf(addr, sizeof(addr), "[%s]:%u", ip, ntohs(in6->sin6_port));
	} else {
		return fail(message, REEVE_BAD_ADDRESS, "the peer has no network address");
	}
	return reeve_whois(addr, opt, ret_who, message);
}

static bool among(char *const *list, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], word) == 0)
			return true;
	return false;
}

bool reeve_who_in_group(const struct reeve_who *w, const char *group)
{
	return w && w->valid && among(w->groups, w->group_count, group);
}

bool reeve_who_has_tag(const struct reeve_who *w, const char *tag)
{
	return w && w->valid && among(w->tags, w->tag_count, tag);
}
