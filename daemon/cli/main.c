/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/log.h"
#include "base/mem.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/policy.h"

#include "config.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/*
 * `reeve`: the command line of people, owners and administrators. Each row is
 * a subcommand; what it does is in the file of its name.
 */

static int do_policy(const struct cli *cli, int argc, char **argv)
{
	int status = cli_policy_remote(cli, argc, argv);

	return status >= 0 ? status : cli_policy(cli, argc, argv);
}

static int do_help(const struct cli *cli, int argc, char **argv);

static int do_version(const struct cli *cli, int argc, char **argv)
{
	(void)cli;
	(void)argc;
	(void)argv;
	puts("reeve " PACKAGE_VERSION);
	return CLI_OK;
}

static const struct {
	const char *name, *help;
	int       (*fn)(const struct cli *cli, int argc, char **argv);
} commands[] = {
	{ "up",      "joins a mesh, or takes it up again", cli_up },
	{ "down",    "takes the mesh away", cli_down },
	{ "rotate",  "gives this node another device key", cli_rotate },
	{ "status",  "what this host knows, and what is wrong", cli_status },
	{ "whois",   "who calls from an address", cli_whois },
	{ "ping",    "whether another node answers, and over which way", cli_ping },
	{ "login",   "logs in on this node", cli_login },
	{ "logout",  "ends the session of this node", cli_logout },
	{ "watch",   "tells ahead that the login on this node ends", cli_watch },
	{ "node",    "nodes of the mesh (administrators)", cli_node },
	{ "user",    "people of the mesh (administrators)", cli_user },
	{ "group",   "groups, by whose word, and what is held (administrators)", cli_group },
	{ "account", "accounts of the site's own (administrators)", cli_account },
	{ "session", "logins that hold now (administrators)", cli_session },
	{ "key",     "enrolment keys for servers (administrators)", cli_key },
	{ "policy",  "get, set, try (administrators); check, explain ... on files", do_policy },
	{ "help",    "this text, or that of a command", do_help },
	{ "version", "the version of this program", do_version },
};

static int overview(FILE *to)
{
	fputs("usage: reeve [--json] [--socket PATH] [--control SOCKET] COMMAND ...\n\n", to);
	for (size_t i = 0; i < array_size(commands); i++)
		fprintf(to, "  %-8s  %s\n", commands[i].name, commands[i].help);
	fputs("\nEvery command knows --help. Exit status: 0 done, 1 failed, 2 wrong use, 3 nobody answers,\n"
	      "4 refused, 5 no such thing, 6 not now.\n", to);
	return to == stderr ? CLI_USAGE : CLI_OK;
}

static int run(const struct cli *cli, int argc, char **argv)
{
	const char *names[array_size(commands)], *near;

	for (size_t i = 0; i < array_size(commands); i++) {
		names[i] = commands[i].name;
		if (strcmp(commands[i].name, argv[0]) == 0)
			return commands[i].fn(cli, argc, argv);
	}
	near = nearest(span_str(argv[0]), names, array_size(names));
	fprintf(stderr, near ? "reeve: no command \"%s\"; did you mean \"%s\"?\n" : "reeve: no command \"%s\"\n",
	        argv[0], near);
	return CLI_USAGE;
}

static int do_help(const struct cli *cli, int argc, char **argv)
{
	char *help[] = { argc > 1 ? argv[1] : NULL, (char[]){ "--help" }, NULL };

	if (argc > 1 && strcmp(argv[1], "help") != 0)
		return run(cli, 2, help);
	return overview(stdout);
}

/* Options before the command; the same behind it are taken out, except those of `policy`,
 * which has its own. */
int main(int argc, char **argv)
{
	struct cli cli = { .socket = getenv("REEVE_SOCKET") };
	char **rest = mem_calloc((size_t)argc + 1, sizeof(*rest));
	int n = 0, status;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	if (!cli.socket || !*cli.socket)
		cli.socket = RUNSTATEDIR "/reeve/api.sock";
	for (int i = 1; i < argc; i++) {
		bool own = n && strcmp(rest[0], "policy") == 0 && i + 1 <= argc;

		if (strcmp(argv[i], "--json") == 0 && !own) {
			cli.json = true;
		} else if (strcmp(argv[i], "--socket") == 0 && !own && i + 1 < argc) {
			cli.socket = argv[++i];
		} else if (strcmp(argv[i], "--control") == 0 && !own && i + 1 < argc) {
			cli.control = argv[++i];
		} else if (n == 0 && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
			free(rest);
			return overview(stdout);
		} else if (n == 0 && strcmp(argv[i], "--version") == 0) {
			free(rest);
			return do_version(&cli, 0, NULL);
		} else {
			rest[n++] = argv[i];
		}
	}
	status = n ? run(&cli, n, rest) : overview(stderr);
	free(rest);
	return status;
}
