/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/loopback.h"

#include "base/mem.h"
#include "tests/unit/main.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ATTEMPT "abcdefghijklmnopqrstuv"
#define TICKET  "0123456789012345678901234567890123456789abc"

START_TEST(only_the_ticket_of_this_attempt)
{
	static const struct { const char *head; bool ok; } rows[] = {
		{ "", false },
		{ "GET / HTTP/1.1", false },
		{ "GET /favicon.ico HTTP/1.1", false },
		{ "POST /done?attempt=" ATTEMPT "&ticket=" TICKET " HTTP/1.1", false },
		{ "GET /done?attempt=" ATTEMPT " HTTP/1.1", false },
		{ "GET /done?ticket=" TICKET " HTTP/1.1", false },
		{ "GET /done?attempt=another&ticket=" TICKET " HTTP/1.1", false },
		{ "GET /done?attempt=" ATTEMPT "x&ticket=" TICKET " HTTP/1.1", false },
		{ "GET /done?attempt=" ATTEMPT "&ticket=" TICKET "x HTTP/1.1", false },
		{ "GET /done?attempt=" ATTEMPT "&ticket=a%20b HTTP/1.1", false },
		{ "GET /done?attempt=" ATTEMPT "&ticket= HTTP/1.1", false },
		{ "GET /done?attempt=" ATTEMPT "&ticket=" TICKET " HTTP/1.1", true },
		{ "GET /done?ticket=" TICKET "&attempt=" ATTEMPT "&iss=x HTTP/1.1", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		char ticket[ENROL_TICKET_LEN + 1] = "";

		ck_assert_msg(loopback_parse(span_str(rows[i].head), ATTEMPT, ticket) == rows[i].ok, "row %zu", i);
		ck_assert_str_eq(ticket, rows[i].ok ? TICKET : "");
	}
}
END_TEST

#define STATE "0123456789012345678901234567890123456789abd"

START_TEST(only_the_callback_with_our_state)
{
	static const struct { const char *head, *query; } rows[] = {
		{ "", NULL },
		{ "GET /callback HTTP/1.1", NULL },
		{ "GET /callback? HTTP/1.1", NULL },
		{ "POST /callback?state=" STATE " HTTP/1.1", NULL },
		{ "GET /done?state=" STATE " HTTP/1.1", NULL },
		{ "GET /callback?code=x HTTP/1.1", NULL },
		{ "GET /callback?code=x&state= HTTP/1.1", NULL },
		{ "GET /callback?code=x&state=" STATE "x HTTP/1.1", NULL },
		{ "GET /callback?code=x&xstate=" STATE " HTTP/1.1", NULL },
		{ "GET /callback?code=x&state=" STATE " HTTP/1.1\r\nHost: x", "code=x&state=" STATE },
		{ "GET /callback?state=" STATE "&error=access_denied HTTP/1.1", "state=" STATE "&error=access_denied" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct span query = { 0 };

		ck_assert_msg(loopback_parse_callback(span_str(rows[i].head), STATE, &query) == !!rows[i].query, "row %zu", i);
		if (rows[i].query)
			ck_assert_msg(span_eq(query, span_str(rows[i].query)), "row %zu", i);
	}
}
END_TEST

static void ask(uint16_t port, const char *request, char *ret_answer, size_t size)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port),
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	size_t n = 0;
	ssize_t got;

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
	while (n + 1 < size && (got = read(fd, ret_answer + n, size - 1 - n)) > 0)
		n += (size_t)got;
	ret_answer[n] = '\0';
	close(fd);
}

START_TEST(one_ticket_then_gone)
{
	struct err err = { 0 };
	char ticket[ENROL_TICKET_LEN + 1] = "", answer[2048];
	uint16_t port;
	int fd = loopback_open(&port, &err), status;
	pid_t pid;

	ck_assert_int_ge(fd, 0);
	ck_assert(!loopback_wait(fd, ATTEMPT, loopback_now_ms() + 50, ticket, &err));
	ck_assert_int_eq(err.code, ERR_TIMEOUT);
	pid = fork();
	if (pid == 0) {
		ask(port, "GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
		if (!strstr(answer, " 404 "))
			_exit(1);
		ask(port, "GET /done?attempt=" ATTEMPT "&ticket=" TICKET " HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
		_exit(strstr(answer, " 200 ") && strstr(answer, "close this page") ? 0 : 2);
	}
	ck_assert_msg(loopback_wait(fd, ATTEMPT, loopback_now_ms() + 5000, ticket, &err), "%s", err.msg);
	ck_assert_str_eq(ticket, TICKET);
	close(fd);
	waitpid(pid, &status, 0);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* The browser is told how it went, once that is known. */
START_TEST(the_page_waits_for_the_answer)
{
	for (int good = 0; good < 2; good++) {
		struct err err = { 0 };
		char answer[2048];
		struct buf query = { 0 };
		uint16_t port;
		int fd = loopback_open(&port, &err), status, conn = -1;
		pid_t pid;

		ck_assert_int_ge(fd, 0);
		pid = fork();
		if (pid == 0) {
			ask(port, "GET /callback?code=y&state=other HTTP/1.1\r\n\r\n", answer, sizeof(answer));
			if (!strstr(answer, " 404 "))
				_exit(1);
			ask(port, "GET /callback?code=x&state=" STATE " HTTP/1.1\r\n\r\n", answer, sizeof(answer));
			_exit(strstr(answer, good ? "You are logged in" : "The login was refused") ? 0 : 2);
		}
		ck_assert_msg(loopback_callback(fd, STATE, loopback_now_ms() + 20000, &query, &conn, &err), "%s", err.msg);
		ck_assert(span_eq(buf_span(&query), SPAN("code=x&state=" STATE)));
		buf_wipe_done(&query);
		loopback_page(conn, good);
		close(fd);
		waitpid(pid, &status, 0);
		ck_assert_int_eq(status, 0);
	}
}
END_TEST

UNIT_MAIN("loopback", only_the_ticket_of_this_attempt, only_the_callback_with_our_state, one_ticket_then_gone,
          the_page_waits_for_the_answer)
