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

static const char page_done[] =
	"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n"
	"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
	"Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
	"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Reeve</title>"
	"<style>body{font:18px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32em;padding:0 1em}</style>"
	"<h1>You are logged in</h1><p>You can close this page; the terminal goes on by itself.</p></html>\n";

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

static bool one_request(int conn, const char *attempt, int64_t deadline_ms, char ret_ticket[ENROL_TICKET_LEN + 1])
{
	char head[LOOPBACK_REQUEST_MAX];
	size_t n = 0;
	int64_t until = loopback_now_ms() + LOOPBACK_READ_MS;
	const char *page = page_none;
	bool ok = false;

	if (until > deadline_ms)
		until = deadline_ms;
	while (n < sizeof(head) && readable(conn, until)) {
		ssize_t got = read(conn, head + n, sizeof(head) - n);

		if (got <= 0)
			break;
		n += (size_t)got;
		if (memmem(head, n, "\r\n\r\n", 4)) {
			ok = loopback_parse(span_of(head, n), attempt, ret_ticket);
			break;
		}
	}
	if (ok)
		page = page_done;
	/* The ticket counts; the page is a courtesy, and fits any socket buffer. */
	if (send(conn, page, strlen(page), MSG_NOSIGNAL) == (ssize_t)strlen(page))
		shutdown(conn, SHUT_WR);
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
