/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/clock.h"
#include "daemon/cli/cli.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char help_text[] =
	"usage: reeve account list | show ACCOUNT | disable ACCOUNT | enable ACCOUNT | delete ACCOUNT\n"
	"       reeve account invite LOGIN [--name NAME]    prints a link, which counts once\n"
	"       reeve account groups ACCOUNT GROUP...       is in these and no others; --none: in none\n"
	"       reeve account reset ACCOUNT                 another link; what was set up before goes with it\n"
	"Accounts of the site's own (\"accounts\" in the coordinator's configuration). ACCOUNT is an id (a3) or a\n"
	"login. Give a link to its person by a way that only they read.\n";

enum { GROUPS_ASKED = 100 };

static const struct cli_column columns[] = {
	{ "ID", "id" },         { "LOGIN", "login" },        { "NAME", "name" },
	{ "STATE", "state" },   { "GROUPS", "groups" },      { "PASSKEYS", "passkeys" },  { "RECOVERY CODES", "recovery" },
	{ "SEEN", "last_login" },
};

static int usage(bool asked)
{
	fputs(help_text, asked ? stdout : stderr);
	return asked ? CLI_OK : CLI_USAGE;
}

static json_t *accounts(const struct cli *cli, struct err *err)
{
	json_t *o = NULL;

	return cli_control(cli, "GET", "/api/v1/accounts", NULL, &o, err) ? o : NULL;
}

static int list(const struct cli *cli)
{
	struct err err = { 0 };
	json_t    *o = accounts(cli, &err);

	if (!o)
		return cli_fail(cli, &err);
	if (cli->json)
		cli_json(o);
	else
		cli_table(json_object_get(o, "accounts"), columns, array_size(columns));
	json_decref(o);
	return CLI_OK;
}

/* By id or login; borrowed from all. */
static const json_t *find(const json_t *all, const char *who)
{
	const json_t *one;
	size_t        i;

	json_array_foreach(json_object_get(all, "accounts"), i, one)
		if (strcmp(cli_str(one, "id"), who) == 0 || strcasecmp(cli_str(one, "login"), who) == 0)
			return one;
	return NULL;
}

static int answered(const struct cli *cli, json_t *o, const char *words)
{
	char when[32];

	if (cli->json) {
		cli_json(o);
	} else if (json_object_get(o, "link")) {
		cli_put(stdout, cli_str(o, "link"));
		fprintf(stderr, "\nIt counts once, and ends %s.\n",
			cli_age(json_integer_value(json_object_get(o, "expires")), when));
	} else {
		printf("%s\n", words);
	}
	json_decref(o);
	return CLI_OK;
}

static int invite(const struct cli *cli, const char *login, const char *name)
{
	struct err err = { 0 };
	json_t    *o = NULL, *body = json_pack("{s:s,s:s*}", "login", login, "name", name);

	if (!cli_control(cli, "POST", "/api/v1/accounts", body, &o, &err))
		return cli_fail(cli, &err);
	return answered(cli, o, "invited");
}

static int act(const struct cli *cli, const char *who, const char *method, json_t *body, const char *words)
{
	struct err    err = { 0 };
	json_t       *all = accounts(cli, &err), *o = NULL;
	const json_t *one = all ? find(all, who) : NULL;
	char          path[64];

	if (all && !one)
		err_set(&err, ERR_MISSING, "there is no account %s", who);
	if (!one) {
		json_decref(all);
		json_decref(body);
		return cli_fail(cli, &err);
	}
	if (!method) {
		if (cli->json)
			cli_json(one);
		else
			cli_record(one);
		json_decref(all);
		return CLI_OK;
	}
	snprintf(path, sizeof(path), "/api/v1/accounts/%.20s", cli_str(one, "id"));
	json_decref(all);
	if (!cli_control(cli, method, path, body, &o, &err))
		return cli_fail(cli, &err);
	return answered(cli, o, words);
}

int cli_account(const struct cli *cli, int argc, char **argv)
{
	const char *r[GROUPS_ASKED + 2] = { NULL }, *name = NULL;
	bool        help = false, none = false;
	size_t      n = 0;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL },
		                              { "--name", &name, NULL, 1, NULL },
		                              { "--none", NULL, &none, 0, NULL },
		                              { NULL, NULL, NULL, 0, NULL } };

	if (!cli_options(argc, argv, options, r, array_size(r), &n))
		return CLI_USAGE;
	if (help)
		return usage(true);
	if (n == 2 && strcmp(r[0], "invite") == 0)
		return invite(cli, r[1], name);
	if (name)
		return usage(false);
	if (n >= 2 && strcmp(r[0], "groups") == 0 && none == (n == 2)) {
		json_t *list = json_array();

		for (size_t i = 2; i < n; i++)
			json_array_append_new(list, json_string(r[i]));
		return act(cli, r[1], "POST", json_pack("{s:o}", "groups", list), "the groups count from now");
	}
	if (none)
		return usage(false);
	if (n == 1 && strcmp(r[0], "list") == 0)
		return list(cli);
	if (n == 2 && strcmp(r[0], "show") == 0)
		return act(cli, r[1], NULL, NULL, NULL);
	if (n == 2 && strcmp(r[0], "reset") == 0)
		return act(cli, r[1], "POST", json_pack("{s:b}", "reset", 1), "reset");
	if (n == 2 && strcmp(r[0], "disable") == 0)
		return act(cli, r[1], "POST", json_pack("{s:b}", "disabled", 1), "disabled; every session has ended");
	if (n == 2 && strcmp(r[0], "enable") == 0)
		return act(cli, r[1], "POST", json_pack("{s:b}", "disabled", 0), "may log in again");
	if (n == 2 && strcmp(r[0], "delete") == 0)
		return act(cli, r[1], "DELETE", NULL, "deleted; every session has ended");
	return usage(false);
}
