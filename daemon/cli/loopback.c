/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/loopback.h"

#include "base/clock.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE(status, title, words) \
	"HTTP/1.1 " status "\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n" \
	"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n" \
	"Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n" \
	"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Reeve</title>" \
	"<style>body{font:18px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32em;padding:0 1em}</style>" \
	"<h1>" title "</h1><p>" words "</p></html>\n"

static const char page_done[] =
	PAGE("200 OK", "You are logged in", "You can close this page; the terminal goes on by itself.");

static const char page_refused[] =
	PAGE("403 Forbidden", "The login was refused", "The terminal says why. You can close this page.");

static const char page_none[] =
	"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

int64_t loopback_now_ms(void)
{
	return clock_boot().ns / 1000000;
}

int loopback_open(uint16_t *ret_port, struct err *err)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0) {
		err_sys(err, "listening on 127.0.0.1");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static bool word_ok(struct span s, size_t max)
{
	if (s.len == 0 || s.len > max)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return true;
}

bool loopback_parse(struct span head, const char *attempt, char ret_ticket[ENROL_TICKET_LEN + 1])
{
	struct span line = span_head(head, span_find(head, '\n')), query, pair, ticket = { 0 };
	bool is_ours = false;

	if (!span_starts(line, SPAN("GET /done?")))
		return false;
	query = span_from(line, 10);
	query = span_head(query, span_find(query, ' '));
	while (query.len && span_next(&query, '&', &pair)) {
		if (span_starts(pair, SPAN("attempt=")))
			is_ours = span_eq(span_from(pair, 8), span_str(attempt));
		else if (span_starts(pair, SPAN("ticket=")))
			ticket = span_from(pair, 7);
	}
	if (!is_ours || !word_ok(ticket, ENROL_TICKET_LEN))
		return false;
	return span_cstr(ticket, ret_ticket, ENROL_TICKET_LEN + 1);
}

static bool readable(int fd, int64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		int64_t left = deadline_ms - loopback_now_ms();
		int n;

		if (left <= 0)
			return false;
		n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
}

/* The head of one request, whole; false if it does not come. */
static bool read_head(int conn, int64_t deadline_ms, char head[LOOPBACK_REQUEST_MAX], size_t *ret_n)
{
	size_t n = 0;
	int64_t until = loopback_now_ms() + LOOPBACK_READ_MS;

	if (until > deadline_ms)
		until = deadline_ms;
	while (n < LOOPBACK_REQUEST_MAX && readable(conn, until)) {
		ssize_t got = read(conn, head + n, LOOPBACK_REQUEST_MAX - n);

		if (got <= 0)
			break;
		n += (size_t)got;
		if (memmem(head, n, "\r\n\r\n", 4)) {
			*ret_n = n;
			return true;
		}
	}
	return false;
}

/* What counts has been read; the page is a courtesy, and fits any socket buffer. */
static void send_page(int conn, const char *page)
{
	if (send(conn, page, strlen(page), MSG_NOSIGNAL) == (ssize_t)strlen(page))
		shutdown(conn, SHUT_WR);
}

static bool one_request(int conn, const char *attempt, int64_t deadline_ms, char ret_ticket[ENROL_TICKET_LEN + 1])
{
	char head[LOOPBACK_REQUEST_MAX];
	size_t n = 0;
	bool ok = read_head(conn, deadline_ms, head, &n) && loopback_parse(span_of(head, n), attempt, ret_ticket);

	send_page(conn, ok ? page_done : page_none);
	mem_wipe(head, sizeof(head));
	return ok;
}

bool loopback_wait(int fd, const char *attempt, int64_t deadline_ms, char ret_ticket[ENROL_TICKET_LEN + 1],
                   struct err *err)
{
	while (readable(fd, deadline_ms)) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		bool ok;

		if (conn < 0)
			continue;
		ok = one_request(conn, attempt, deadline_ms, ret_ticket);
		close(conn);
		if (ok)
			return true;
	}
	return err_set(err, ERR_TIMEOUT, "nobody finished the login in time");
}

bool loopback_parse_callback(struct span head, const char *state, struct span *ret_query)
{
	struct span line = span_head(head, span_find(head, '\n')), query, rest, pair;

	if (!span_starts(line, SPAN("GET /callback?")))
		return false;
	query = span_from(line, 14);
	query = span_head(query, span_find(query, ' '));
	rest = query;
	while (rest.len && span_next(&rest, '&', &pair))
		if (span_starts(pair, SPAN("state=")) && span_eq(span_from(pair, 6), span_str(state))) {
			*ret_query = query;
			return true;
		}
	return false;
}

bool loopback_callback(int fd, const char *state, int64_t deadline_ms, struct buf *ret_query, int *ret_conn,
                       struct err *err)
{
	while (readable(fd, deadline_ms)) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		char head[LOOPBACK_REQUEST_MAX];
		struct span query;
		size_t n = 0;
		bool ok;

		if (conn < 0)
			continue;
		ok = read_head(conn, deadline_ms, head, &n) &&
		     loopback_parse_callback(span_of(head, n), state, &query);
		if (ok) {
			buf_init(ret_query, LOOPBACK_REQUEST_MAX);
			buf_add_span(ret_query, query);
		}
		mem_wipe(head, sizeof(head));
		if (ok) {
			*ret_conn = conn;
			return true;
		}
		send_page(conn, page_none);
		close(conn);
	}
	return err_set(err, ERR_TIMEOUT, "nobody finished the login in time");
}

void loopback_page(int conn, bool ok)
{
	send_page(conn, ok ? page_done : page_refused);
	close(conn);
}

bool loopback_redirect(int conn, const char *url)
{
	scoped_buf struct buf b = { 0 };
	struct span u = span_str(url);
	bool ok = (span_starts(u, SPAN("https://")) || span_starts(u, SPAN("http://"))) &&
	          span_is_print(u) && memchr(url, ' ', u.len) == NULL;

	buf_init(&b, LOOPBACK_REQUEST_MAX);
	buf_addf(&b, "HTTP/1.1 303 See Other\r\nLocation: %s\r\nCache-Control: no-store\r\n"
	         "Referrer-Policy: no-referrer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", url);
	ok = ok && !b.over;
	send_page(conn, ok ? b.ptr : page_refused);
	close(conn);
	return ok;
}
