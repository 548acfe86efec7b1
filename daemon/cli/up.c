/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/file.h"
#include "base/mem.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/loopback.h"
#include "daemon/cli/show_url.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LOGIN_MS = 600000,      /* a person looks for a phone */
	ASK_MS   = 2000,        /* how often an approval from elsewhere is asked for */
	SILENT_TRIES = 2,       /* silently, then with the person */
	STATE_MAX = 64,
};

static const char headless[] =
	"No browser could be opened. On a machine without one, such as a server: an enrolment key\n"
	"(reeve up --key-file FILE), or --elsewhere, where the mesh lets logins be approved on another\n"
	"device (\"cross-device\").\n";

struct login {
	const char *finish;     /* "/v1/up/finish" */
	int         fd;         /* loopback; -1: approval from elsewhere */
	bool        browser;
};

static bool read_key(const char *path, struct buf *ret_key, struct err *err)
{
	char chunk[1024];

	buf_init(ret_key, ENROL_STRING_MAX + 2);
	if (strcmp(path, "-") != 0)
		return file_read(path, ENROL_STRING_MAX + 2, ret_key, err);
	for (;;) {
		ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "reading the key from stdin");
		if (n == 0)
			break;
		buf_add(ret_key, chunk, (size_t)n);
	}
	mem_wipe(chunk, sizeof(chunk));
	if (ret_key->over)
		return err_set(err, ERR_LIMIT, "stdin holds more than an enrolment key");
	return true;
}

/* Asks until the approval is there: a person may take their time. */
static bool ask_until(const struct cli *cli, const struct login *l, const char *attempt, int64_t deadline,
                      json_t **ret_answer, struct err *err)
{
	for (;;) {
		json_t *body = json_pack("{s:s, s:s}", "attempt", attempt, "ticket", "");

		if (cli_local(cli, "POST", l->finish, body, ret_answer, err))
			return true;
		if (err->code != ERR_BUSY)
			return false;
		if (loopback_now_ms() >= deadline)
			return err_set(err, ERR_TIMEOUT, "nobody approved this in time");
		poll(NULL, 0, ASK_MS);
	}
}

/* Several issuers, of which at least one has its logins at the device: a name is wanted. */
static bool choose(const json_t *answer, struct err *err)
{
	const json_t *one, *list = json_object_get(answer, "issuers");
	size_t i;

	fputs("There are several identity providers; say which with --issuer:\n", stderr);
	json_array_foreach((json_t *)(uintptr_t)list, i, one) {
		fputs("  --issuer ", stderr);
		cli_put(stderr, cli_str(one, "name"));
		fputs("\t", stderr);
		cli_put(stderr, cli_str(one, "title"));
		fputs("\n", stderr);
	}
	return err_set(err, ERR_SYNTAX, "no issuer was chosen");
}

/* The browser comes back from the identity provider itself, and reeved redeems what it brings. A silent login that
 * the provider wants a person for goes on as an ordinary one, in the same browser. */
static bool finish_device(const struct cli *cli, const struct login *l, const char *attempt, const char *state,
                          int64_t deadline, json_t **answer, struct err *err)
{
	char next[ENROL_ATTEMPT_LEN + 1], again[STATE_MAX];

	for (int tries = 0; tries < SILENT_TRIES; tries++) {
		struct buf query = { 0 };
		json_t *body;
		int conn = -1;

		if (!loopback_callback(l->fd, state, deadline, &query, &conn, err))
			return false;
		body = json_pack("{s:s, s:s%}", "attempt", attempt, "query", query.ptr, query.len);
		buf_wipe_done(&query);
		if (!cli_local(cli, "POST", l->finish, body, answer, err)) {
			loopback_page(conn, false);
			return false;
		}
		if (strcmp(cli_str(*answer, "state"), "login") != 0) {
			bool done = strcmp(cli_str(*answer, "state"), "done") == 0;

			loopback_page(conn, done);
			return done || choose(*answer, err);
		}
		if (!span_cstr(span_str(cli_str(*answer, "attempt")), next, sizeof(next)) ||
		    !span_cstr(span_str(cli_str(*answer, "callback")), again, sizeof(again)) ||
		    !loopback_redirect(conn, cli_str(*answer, "url")))
			break;
		attempt = next;
		state = again;
		json_decref(*answer);
		*answer = NULL;
	}
	return err_set(err, ERR_PEER, "reeved's answer names no attempt");
}

static bool finish(const struct cli *cli, const struct login *l, json_t **answer, struct err *err)
{
	char attempt[ENROL_ATTEMPT_LEN + 1], ticket[ENROL_TICKET_LEN + 1], state[STATE_MAX];
	bool device = json_is_true(json_object_get(*answer, "device"));
	int64_t deadline = loopback_now_ms() + LOGIN_MS;
	const char *url = cli_str(*answer, "url");
	json_t *body;
	bool ok;

	if (strcmp(cli_str(*answer, "state"), "choose") == 0)
		return choose(*answer, err);
	if (strcmp(cli_str(*answer, "state"), "login") != 0)
		return true;
	if (!span_cstr(span_str(cli_str(*answer, "attempt")), attempt, sizeof(attempt)) ||
	    !span_cstr(span_str(cli_str(*answer, "callback")), state, sizeof(state)) || (device && l->fd < 0))
		return err_set(err, ERR_PEER, "reeved's answer names no attempt");
	if (cli->json) {
		cli_json(*answer);
		fflush(stdout);
	} else {
		show_url(stderr, url, cli_str(*answer, "code"));
	}
	if (l->browser && !cli->json)
		fputs(open_browser(url) ? "(opened in your browser)\n" : headless, stderr);
	else if (l->browser)
		open_browser(url);
	json_decref(*answer);
	*answer = NULL;
	if (l->fd < 0)
		return ask_until(cli, l, attempt, deadline, answer, err);
	if (device)
		return finish_device(cli, l, attempt, state, deadline, answer, err);
	if (!loopback_wait(l->fd, attempt, deadline, ticket, err))
		return false;
	body = json_pack("{s:s, s:s}", "attempt", attempt, "ticket", ticket);
	ok = cli_local(cli, "POST", l->finish, body, answer, err);
	mem_wipe(ticket, sizeof(ticket));
	return ok;
}

static int said(const struct cli *cli, json_t *answer, const char *words)
{
	if (cli->json) {
		cli_json(answer);
	} else {
		const char *name = cli_str(answer, "node.name");

		fputs(words, stdout);
		if (*name) {
			fputs(" as ", stdout);
			cli_put(stdout, name);
			fputs(" (", stdout);
			cli_put(stdout, cli_str(answer, "node.v4"));
			fputs(", ", stdout);
			cli_put(stdout, cli_str(answer, "node.v6"));
			fputs(")", stdout);
		}
		putchar('\n');
	}
	json_decref(answer);
	return CLI_OK;
}

static int up_usage(FILE *to)
{
	fputs("usage: reeve up                                      the mesh again, after `reeve down`\n"
	      "       reeve up URL --pin PIN [--pin PIN] [--name NAME] [--issuer NAME] [--no-browser] [--elsewhere]\n"
	      "                                                     enrols this host; a person logs in\n"
	      "       reeve up --key-file FILE [--name NAME]        enrols a server; FILE - is stdin\n"
	      "       reeve up --key KEY [--name NAME]              the same; others on this host see KEY\n\n"
	      "URL and PIN of the coordinator are on its portal, and in the journal of reeved on the hub.\n"
	      "--elsewhere: the page will be opened on another device, where the mesh's policy allows that.\n", to);
	return to == stderr ? CLI_USAGE : CLI_OK;
}

int cli_up(const struct cli *cli, int argc, char **argv)
{
	const char *pins[ENROL_PINS_MAX] = { 0 }, *name = NULL, *key = NULL, *key_file = NULL, *url = NULL, *issuer = NULL;
	size_t pin_count = 0, n = 0;
	bool no_browser = false, elsewhere = false, help = false;
	const struct cli_option options[] = {
		{ "--pin", pins, NULL, ENROL_PINS_MAX, &pin_count }, { "--name", &name, NULL, 1, NULL },
		{ "--key-file", &key_file, NULL, 1, NULL }, { "--key", &key, NULL, 1, NULL },
		{ "--no-browser", NULL, &no_browser, 0, NULL }, { "--elsewhere", NULL, &elsewhere, 0, NULL },
		{ "--issuer", &issuer, NULL, 1, NULL },
		{ "--help", NULL, &help, 0, NULL }, { NULL, NULL, NULL, 0, NULL },
	};
	struct login l = { .finish = "/v1/up/finish", .fd = -1 };
	struct buf text = { 0 };
	struct err err = { 0 };
	json_t *body, *answer = NULL;
	uint16_t port = 0;
	bool ok;

	if (!cli_options(argc, argv, options, &url, 1, &n))
		return CLI_USAGE;
	if (help)
		return up_usage(stdout);
	if ((key || key_file) ? (url || pin_count || (key && key_file)) : (!url) != (pin_count == 0))
		return up_usage(stderr);
	body = json_object();
	if (name)
		json_object_set_new(body, "name", json_string(name));
	if (key_file && !read_key(key_file, &text, &err)) {
		json_decref(body);
		buf_wipe_done(&text);
		return cli_fail(cli, &err);
	}
	if (key || key_file) {
		struct span k = key ? span_str(key) : span_trim(span_head(buf_span(&text), span_find(buf_span(&text), '\n')));

		json_object_set_new(body, "enrol_key", json_stringn(k.ptr, k.len));
		buf_wipe_done(&text);
	} else if (url) {
		json_t *list = json_array();

		for (size_t i = 0; i < pin_count; i++)
			json_array_append_new(list, json_string(pins[i]));
		json_object_set_new(body, "url", json_string(url));
		json_object_set_new(body, "pins", list);
		if (issuer)
			json_object_set_new(body, "issuer", json_string(issuer));
		if (!elsewhere && (l.fd = loopback_open(&port, &err)) < 0) {
			json_decref(body);
			return cli_fail(cli, &err);
		}
		json_object_set_new(body, "loopback", json_integer(port));
	}
	l.browser = !no_browser && !elsewhere;
	ok = cli_local(cli, "POST", "/v1/up", body, &answer, &err) && finish(cli, &l, &answer, &err);
	if (l.fd >= 0)
		close(l.fd);
	if (ok)
		return said(cli, answer, "up");
	json_decref(answer);
	return cli_fail(cli, &err);
}

static bool seconds(const char *text, json_int_t *ret)
{
	struct span rest = span_str(text);
	int64_t n = 0;

	if (rest.len == 0 || rest.len > 9)
		return false;
	for (size_t i = 0; i < rest.len; i++) {
		if (rest.ptr[i] < '0' || rest.ptr[i] > '9')
			return false;
		n = n * 10 + (rest.ptr[i] - '0');
	}
	*ret = n;
	return true;
}

static int login_usage(FILE *to)
{
	fputs("usage: reeve login [--issuer NAME] [--max-age SECONDS] [--acr VALUES] [--no-browser]\n"
	      "                   [--elsewhere | --silent]\n\n"
	      "Logs in, or logs in anew, on this node: what is open stays open. --max-age and --acr ask for a login\n"
	      "that is so fresh, or so strong, as a rule may want it: --max-age 0 asks for password and second\n"
	      "factor again. --silent: without a question, where the browser is still logged in at the provider.\n", to);
	return to == stderr ? CLI_USAGE : CLI_OK;
}

int cli_login(const struct cli *cli, int argc, char **argv)
{
	const char *issuer = NULL, *max_age = NULL, *acr = NULL;
	bool no_browser = false, elsewhere = false, silent = false, help = false;
	const struct cli_option options[] = {
		{ "--no-browser", NULL, &no_browser, 0, NULL }, { "--elsewhere", NULL, &elsewhere, 0, NULL },
		{ "--silent", NULL, &silent, 0, NULL },
		{ "--issuer", &issuer, NULL, 1, NULL }, { "--max-age", &max_age, NULL, 1, NULL },
		{ "--acr", &acr, NULL, 1, NULL }, { "--help", NULL, &help, 0, NULL }, { NULL, NULL, NULL, 0, NULL },
	};
	struct login l = { .finish = "/v1/login/finish", .fd = -1 };
	struct err err = { 0 };
	json_t *answer = NULL, *body;
	json_int_t age = 0;
	uint16_t port = 0;
	bool ok;

	if (!cli_options(argc, argv, options, NULL, 0, NULL))
		return CLI_USAGE;
	if (help)
		return login_usage(stdout);
	if (max_age && !seconds(max_age, &age))
		return login_usage(stderr);
	if (!elsewhere && (l.fd = loopback_open(&port, &err)) < 0)
		return cli_fail(cli, &err);
	l.browser = !no_browser && !elsewhere;
	body = json_pack("{s:i, s:s*, s:s*}", "loopback", (int)port, "issuer", issuer, "acr", acr);
	if (silent && !elsewhere)
		json_object_set_new(body, "silent", json_true());
	if (max_age)
		json_object_set_new(body, "max_age", json_integer(age));
	ok = cli_local(cli, "POST", "/v1/login", body, &answer, &err) && finish(cli, &l, &answer, &err);
	if (l.fd >= 0)
		close(l.fd);
	if (ok)
		return said(cli, answer, "logged in");
	json_decref(answer);
	return cli_fail(cli, &err);
}

int cli_logout(const struct cli *cli, int argc, char **argv)
{
	bool help = false, provider = false;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL }, { "--provider", NULL, &provider, 0, NULL },
		                              { NULL, NULL, NULL, 0, NULL } };
	struct err err = { 0 };
	json_t *answer = NULL;

	if (!cli_options(argc, argv, options, NULL, 0, NULL))
		return CLI_USAGE;
	if (help) {
		puts("usage: reeve logout [--provider]\n\nEnds the session of this node; the node stays enrolled.\n"
		     "--provider: also opens the identity provider's own page for that.");
		return CLI_OK;
	}
	if (!cli_local(cli, "POST", "/v1/logout", json_object(), &answer, &err))
		return cli_fail(cli, &err);
	if (*cli_str(answer, "url") && !cli->json) {
		if (provider && open_browser(cli_str(answer, "url"))) {
			fputs("(the provider's page is open in your browser)\n", stderr);
		} else {
			fputs("At the provider, too: ", stderr);
			cli_put(stderr, cli_str(answer, "url"));
			fputc('\n', stderr);
		}
	}
	return said(cli, answer, "logged out");
}

int cli_rotate(const struct cli *cli, int argc, char **argv)
{
	bool help = false, listed = false;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL }, { "--listed", NULL, &listed, 0, NULL },
		                              { NULL, NULL, NULL, 0, NULL } };
	struct err err = { 0 };
	json_t *answer = NULL;
	json_int_t away;

	if (!cli_options(argc, argv, options, NULL, 0, NULL))
		return CLI_USAGE;
	if (help) {
		puts("usage: reeve rotate [--listed]\n\nGives this node another device key, and the IPv6 address that follows from it. Node,\n"
		     "name, IPv4 address and login stay. It is no revocation: of a stolen key, delete the node.\n"
		     "--listed: also where a host's owner lists the present key, which then has to list the new one.");
		return CLI_OK;
	}
	if (!cli_local(cli, "POST", "/v1/rotate", json_pack("{s:b}", "listed", (int)listed), &answer, &err))
		return cli_fail(cli, &err);
	away = json_integer_value(json_object_get(answer, "away"));
	if (away && !cli->json)
		fprintf(stderr, "%lld hosts do not listen now: they know the new key when they do\n", (long long)away);
	if (!cli->json) {
		fputs("device key ", stdout);
		cli_put(stdout, cli_str(answer, "key"));
		fputc('\n', stdout);
		json_decref(answer);
		return CLI_OK;
	}
	return said(cli, answer, "");
}

int cli_down(const struct cli *cli, int argc, char **argv)
{
	bool help = false, forget = false;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL }, { "--forget", NULL, &forget, 0, NULL },
		                              { NULL, NULL, NULL, 0, NULL } };
	struct err err = { 0 };
	json_t *answer = NULL;

	if (!cli_options(argc, argv, options, NULL, 0, NULL))
		return CLI_USAGE;
	if (help) {
		puts("usage: reeve down [--forget]\n\nTakes the mesh away until `reeve up`; --forget also forgets the enrolment.");
		return CLI_OK;
	}
	if (!cli_local(cli, "POST", "/v1/down", json_pack("{s:b}", "forget", (int)forget), &answer, &err))
		return cli_fail(cli, &err);
	return said(cli, answer, "down");
}
