/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/*
 * What the subcommands of `reeve` share: options that all of them take, exit
 * statuses that mean something, calls to the local reeved and to the
 * coordinator, and printing of what others wrote. Next: main.c's table.
 */

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <stdio.h>

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_UNREACHABLE = 3,    /* no reeved, or no coordinator, answers */
	CLI_REFUSED = 4,        /* not allowed; or nobody valid acts there */
	CLI_NOBODY = 5,         /* no such address, node, user, session or key */
	CLI_LATER = 6,          /* not now: down, or not approved in time */
};

struct cli {
	const char *socket;     /* of the local reeved */
	const char *control;    /* unix socket of a coordinator; NULL: through the mesh */
	bool        json;
};

/* Options of one subcommand. Stops at the first fault, which it prints. */
struct cli_option {
	const char  *name;      /* "--pin" */
	const char **value;     /* takes one; repeated: the next slot, up to max */
	bool        *flag;
	size_t       max;       /* of values; 0 is 1 */
	size_t      *count;     /* of values given; may be NULL */
};
/* The rest of argv (from 1 on) that is no option goes to ret_rest, at most max. */
bool cli_options(int argc, char **argv, const struct cli_option *list, const char **ret_rest, size_t max,
                 size_t *ret_n);

/* ---- calls ---- */

/* body is taken over (NULL: none). *ret_answer is the JSON of a 2xx, the caller's. Otherwise err, with
 * what the other side said; ERR_BUSY for 202. */
bool cli_local(const struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret_answer,
               struct err *err);
bool cli_control(const struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret_answer,
                 struct err *err);

/* The exit status that an error means; prints it, as a problem object with --json. */
int cli_fail(const struct cli *cli, const struct err *err);

/* ---- printing ---- */

/* Names come from afar: what a terminal would obey is printed as \xNN. */
void cli_put(FILE *to, const char *text);
const char *cli_str(const json_t *obj, const char *path);       /* "user.login"; "" where there is none */
void cli_json(const json_t *o);

struct cli_column { const char *head, *path; };         /* path of a member: text, number, list, bool */
void cli_table(const json_t *rows, const struct cli_column *columns, size_t n);
void cli_record(const json_t *row);                     /* "key: value" lines */
/* "12s", "3m", "2h", "5d" from now to t (either way); "-" for 0. */
const char *cli_age(int64_t t, char buf[32]);

/* ---- subcommands: argv[0] is its name ---- */
int cli_up(const struct cli *cli, int argc, char **argv);
int cli_down(const struct cli *cli, int argc, char **argv);
int cli_rotate(const struct cli *cli, int argc, char **argv);
int cli_login(const struct cli *cli, int argc, char **argv);
int cli_logout(const struct cli *cli, int argc, char **argv);
int cli_status(const struct cli *cli, int argc, char **argv);
int cli_whois(const struct cli *cli, int argc, char **argv);
int cli_ping(const struct cli *cli, int argc, char **argv);
int cli_watch(const struct cli *cli, int argc, char **argv);
int cli_node(const struct cli *cli, int argc, char **argv);
int cli_account(const struct cli *cli, int argc, char **argv);
int cli_user(const struct cli *cli, int argc, char **argv);
int cli_session(const struct cli *cli, int argc, char **argv);
int cli_group(const struct cli *cli, int argc, char **argv);
int cli_key(const struct cli *cli, int argc, char **argv);
/* get, set and try; -1: another subcommand of `policy`. */
int cli_policy_remote(const struct cli *cli, int argc, char **argv);

#endif
