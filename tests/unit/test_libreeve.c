/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* libreeve and pam_reeve.so against a socket that gives canned answers; the
 * module runs inside the real libpam. */
#include "lib/reeve.h"
#include "tests/unit/main.h"

#include <security/pam_appl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAFF                                                                                      \
	"{\"addr\":\"100.64.0.9\",\"node\":{\"id\":\"n3\",\"name\":\"laptop\",\"tags\":[]},"       \
	"\"user\":{\"id\":\"u2\",\"login\":\"staff@example.edu\",\"name\":\"Staff\","              \
	"\"groups\":[\"group:lab\",\"idp:all\"]},"                                                 \
	"\"session\":{\"id\":\"s9\",\"auth_time\":1790000000,\"expires\":1790030000,"              \
	"\"acr\":\"mfa\",\"amr\":[\"pwd\",\"otp\"]},\"caps\":{}}"
#define ENDED                                                                                      \
	"{\"node\":{\"id\":\"n3\",\"name\":\"laptop\"},\"user\":{\"login\":\"staff@example.edu\"," \
	"\"groups\":[\"group:lab\"]},\"session\":null,\"why\":\"expired\"}"
#define SERVER                                                                                     \
	"{\"node\":{\"id\":\"n4\",\"name\":\"backup\",\"tags\":[\"tag:backup\"]},\"user\":null,"   \
	"\"session\":null}"
#define HTTP(status, body) "HTTP/1.1 " status "\r\nContent-Type: application/json\r\n\r\n" body

static char dir[64], sock[96], map[96], conf[96];

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(path, mode), 0);
}

/* A child that answers one question with these bytes; NULL: it never answers. */
static pid_t serve(const char *answer)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", sock);
	unlink(sock);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	ck_assert_int_eq(listen(fd, 4), 0);

	pid_t pid = fork();

	if (pid == 0) {
		char ask[512];
		int c = accept(fd, NULL, NULL);
		ssize_t n = read(c, ask, sizeof(ask) - 1);

		if (n <= 0 || strncmp(ask, "GET /v1/whois?addr=", 19) != 0)
			_exit(1);
		if (!answer)
			for (;;)
				pause();
		if (write(c, answer, strlen(answer)) < 0)
			_exit(1);
		_exit(0);
	}
	close(fd);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void set_up(void)
{
	snprintf(dir, sizeof(dir), "/tmp/libreeve-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/api.sock", dir);
	snprintf(map, sizeof(map), "%s/pam.map", dir);
	snprintf(conf, sizeof(conf), "%s/reeve-test", dir);
}

static void tear_down(void)
{
	unlink(sock);
	unlink(map);
	unlink(conf);
	rmdir(dir);
}

START_TEST(test_whois)
{
	static const struct {
		const char       *addr, *answer;
		enum reeve_result want;
		bool              valid;
	} rows[] = {
		{ "wiki", HTTP("200 OK", STAFF), REEVE_BAD_ADDRESS, false },
		{ "", HTTP("200 OK", STAFF), REEVE_BAD_ADDRESS, false },
		{ "100.64.0.9:99999", HTTP("200 OK", STAFF), REEVE_BAD_ADDRESS, false },
		{ "100.64.0.9 HTTP/1.0", HTTP("200 OK", STAFF), REEVE_BAD_ADDRESS, false },
		{ "100.64.0.9&proto=x", HTTP("200 OK", STAFF), REEVE_BAD_ADDRESS, false },
		{ "fd00::9:", HTTP("200 OK", STAFF), REEVE_BAD_ADDRESS, false },
		{ "[fd00::9:80", HTTP("200 OK", STAFF), REEVE_BAD_ADDRESS, false },
		{ "100.64.0.9", HTTP("404 Not Found", "{}"), REEVE_NOBODY, false },
		{ "100.64.0.9", HTTP("500 Internal Server Error", STAFF), REEVE_PROTOCOL, false },
		{ "100.64.0.9", HTTP("200 OK", "{"), REEVE_PROTOCOL, false },
		{ "100.64.0.9", HTTP("200 OK", "{\"user\":null}"), REEVE_PROTOCOL, false },
		{ "100.64.0.9", HTTP("200 OK", "{\"node\":{\"id\":3}}"), REEVE_PROTOCOL, false },
		{ "100.64.0.9", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" STAFF, REEVE_PROTOCOL, false },
		{ "100.64.0.9", "200 OK", REEVE_PROTOCOL, false },
		{ "100.64.0.9", "", REEVE_PROTOCOL, false },
		{ "100.64.0.9", HTTP("200 OK", ENDED), REEVE_OK, false },
		{ "100.64.0.9", HTTP("200 OK", "{\"node\":{\"id\":\"n3\"}}"), REEVE_OK, false },
		{ "100.64.0.9", HTTP("200 OK", STAFF), REEVE_OK, true },
		{ "100.64.0.9:80", HTTP("200 OK", STAFF), REEVE_OK, true },
		{ "fd00::9", HTTP("200 OK", STAFF), REEVE_OK, true },
		{ "[fd00::9]:80", HTTP("200 OK", SERVER), REEVE_OK, true },
	};

	set_up();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reeve_options opt = { .socket = sock };
		struct reeve_who *who = NULL;
		char message[REEVE_MESSAGE_MAX] = "";
		pid_t pid = serve(rows[i].answer);
		enum reeve_result r = reeve_whois(rows[i].addr, &opt, &who, message);

		end(pid);
		ck_assert_msg(r == rows[i].want, "row %zu: %d (%s)", i, r, message);
		ck_assert_msg((r == REEVE_OK) == (who != NULL), "row %zu", i);
		ck_assert_msg(r == REEVE_OK || message[0], "row %zu: no words", i);
		ck_assert_msg(!who || who->valid == rows[i].valid, "row %zu: valid", i);
		ck_assert_msg(!who || rows[i].valid || !reeve_who_in_group(who, "group:lab"), "row %zu", i);
		reeve_who_free(who);
	}
	tear_down();
}
END_TEST

START_TEST(test_fields)
{
	struct reeve_options opt;
	struct reeve_who *who = NULL;

	set_up();
	opt = (struct reeve_options){ .socket = sock };
	pid_t pid = serve(HTTP("200 OK", STAFF));
	ck_assert_int_eq(reeve_whois("100.64.0.9", &opt, &who, NULL), REEVE_OK);
	end(pid);
	ck_assert_str_eq(who->login, "staff@example.edu");
	ck_assert_str_eq(who->node_name, "laptop");
	ck_assert_str_eq(who->session, "s9");
	ck_assert_int_eq(who->auth_time, 1790000000);
	ck_assert_uint_eq(who->amr_count, 2);
	ck_assert(!reeve_who_in_group(who, "lab"));
	ck_assert(!reeve_who_in_group(who, "group:la"));
	ck_assert(reeve_who_in_group(who, "group:lab"));
	ck_assert(!reeve_who_has_tag(who, "tag:backup"));
	ck_assert(!reeve_who_in_group(NULL, "group:lab"));
	reeve_who_free(who);
	tear_down();
}
END_TEST

START_TEST(test_away)
{
	struct reeve_options opt;
	struct reeve_who *who = NULL;
	char message[REEVE_MESSAGE_MAX] = "";

	set_up();
	opt = (struct reeve_options){ .socket = sock, .timeout_ms = 200 };
	ck_assert_int_eq(reeve_whois("100.64.0.9", &opt, &who, message), REEVE_UNREACHABLE);
	ck_assert(message[0]);
	pid_t pid = serve(NULL);
	ck_assert_int_eq(reeve_whois("100.64.0.9", &opt, &who, message), REEVE_TIMEOUT);
	end(pid);
	ck_assert_ptr_null(who);
	tear_down();
}
END_TEST

/* ---- the module ---- */

static int converse(int n, const struct pam_message **m, struct pam_response **r, void *arg)
{
	(void)n;
	(void)m;
	(void)r;
	(void)arg;
	return PAM_CONV_ERR;
}

static int account(const char *rhost, const char *user, const char *answer, const char *options)
{
	struct pam_conv conv = { .conv = converse };
	pam_handle_t *pamh = NULL;
	char line[PATH_MAX + 512], module[PATH_MAX];
	const char *build = getenv("top_builddir");

	ck_assert_ptr_nonnull(realpath(build ? build : ".", module));
	snprintf(line, sizeof(line), "account required %s/lib/.libs/pam_reeve.so socket=%s map=%s %s\n", module,
	         sock, map, options);
	write_file(conf, line, 0600);
	ck_assert_int_eq(pam_start_confdir("reeve-test", user, &conv, dir, &pamh), PAM_SUCCESS);
	if (rhost)
		ck_assert_int_eq(pam_set_item(pamh, PAM_RHOST, rhost), PAM_SUCCESS);

	pid_t pid = answer ? serve(answer) : 0;
	int r = pam_acct_mgmt(pamh, 0);

	if (pid)
		end(pid);
	pam_end(pamh, r);
	unlink(sock);
	return r;
}

START_TEST(test_pam)
{
	static const char *const text =
		"# who        local\n"
		"*@example.edu   =\n"
		"group:lab  instrument lab   # two users\n"
		"idp:admins      root\n"
		"tag:backup backup\n";
	static const struct {
		const char *rhost, *user, *answer, *options;
		bool        allowed;
	} rows[] = {
		{ NULL, "staff", HTTP("200 OK", STAFF), "", false },
		{ "laptop", "staff", HTTP("200 OK", STAFF), "", false },
		{ "100.64.0.9", "staff", NULL, "", false },
		{ "100.64.0.9", "staff", HTTP("404 Not Found", "{}"), "", false },
		{ "100.64.0.9", "staff", HTTP("200 OK", ENDED), "", false },
		{ "100.64.0.9", "root", HTTP("200 OK", STAFF), "", false },
		{ "100.64.0.9", "sta", HTTP("200 OK", STAFF), "", false },
		{ "100.64.0.9", "staff@example.edu", HTTP("200 OK", STAFF), "", false },
		{ "100.64.0.9", "backup", HTTP("200 OK", STAFF), "", false },
		{ "100.64.0.9", "=", HTTP("200 OK", STAFF), "", false },
		{ "100.64.0.9", "lab", HTTP("200 OK", SERVER), "", false },
		{ "100.64.0.9", "staff", HTTP("200 OK", STAFF), "mapp=/etc/passwd", false },
		{ "100.64.0.9", "staff", HTTP("200 OK", STAFF), "", true },
		{ "100.64.0.9", "lab", HTTP("200 OK", STAFF), "", true },
		{ "fd00::9", "instrument", HTTP("200 OK", STAFF), "debug", true },
		{ "100.64.0.9", "backup", HTTP("200 OK", SERVER), "", true },
	};

	set_up();
	write_file(map, text, 0600);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = account(rows[i].rhost, rows[i].user, rows[i].answer, rows[i].options);

		ck_assert_msg((r == PAM_SUCCESS) == rows[i].allowed, "row %zu: %d", i, r);
	}
	/* A map that others can write says nothing. */
	write_file(map, text, 0666);
	ck_assert_int_ne(account("100.64.0.9", "staff", HTTP("200 OK", STAFF), ""), PAM_SUCCESS);
	unlink(map);
	ck_assert_int_ne(account("100.64.0.9", "staff", HTTP("200 OK", STAFF), ""), PAM_SUCCESS);
	tear_down();
}
END_TEST

UNIT_MAIN("libreeve", test_whois, test_fields, test_away, test_pam)
