/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/mem.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REST_MAX = 64, POLICY_FILE_MAX = 16 << 20 };

/* One kind of thing that the coordinator keeps: `reeve node`, `reeve user`, ... */
struct kind {
	const char              *name, *plural;         /* "node", "nodes" */
	char                     letter;                /* of its ids; 0: none */
	const char              *by;                    /* path of the name that people use for it */
	const struct cli_column *columns;
	size_t                   column_count;
	const char              *help;
};

static const struct cli_column node_columns[] = {
	{ "ID", "id" }, { "NAME", "name" }, { "IPv4", "v4" }, { "USER", "user.login" }, { "TAGS", "tags" },
	{ "ROUTES", "routes" }, { "UNTIL", "session.expires" }, { "SEEN", "seen" }, { "APPROVED", "approved" },
};
static const struct cli_column user_columns[] = {
	{ "ID", "id" }, { "LOGIN", "login" }, { "NAME", "name" }, { "BLOCKED", "blocked" }, { "GROUPS", "groups" },
};
static const struct cli_column session_columns[] = {
	{ "ID", "id" }, { "LOGIN", "login" }, { "DEVICE", "name" }, { "NODE", "node" }, { "PROVED", "auth_time" },
	{ "SINCE", "created" }, { "UNTIL", "expires" }, { "METHODS", "amr" }, { "FROM", "from" },
	{ "USED", "used" }, { "CHECKED", "checked" },
};
static const struct cli_column key_columns[] = {
	{ "ID", "id" }, { "TAGS", "tags" }, { "USES LEFT", "uses" }, { "UNTIL", "expires" }, { "NOTE", "note" },
};

static const struct kind kind_node = { "node", "nodes", 'n', "name", node_columns, array_size(node_columns),
	"usage: reeve node list | show NODE | rename NODE NAME | tag NODE TAG... | routes NODE PREFIX...\n"
	"       reeve node revoke NODE      ends its session\n"
	"       reeve node delete NODE      ends its enrolment\n"
	"       reeve node approve NODE     lets a new device in that waits for it\n"
	"       reeve node expire NODE DURATION|never   when its enrolment ends\n"
	"NODE is an id (n7) or a name; `routes NODE` without a prefix approves none.\n" };
static const struct kind kind_user = { "user", "users", 'u', "login", user_columns, array_size(user_columns),
	"usage: reeve user list | show USER | revoke USER | disable USER | enable USER | delete USER\n"
	"       reeve user link USER ISSUER SUBJECT   that identity is the same person\n"
	"       reeve user merge USER OTHER           OTHER's account goes up in USER's\n"
	"       reeve user release LOGIN              a name that nobody has any more may be somebody else's\n"
	"USER is an id (u2) or a login; revoke ends every session of theirs.\n" };
static const struct kind kind_session = { "session", "sessions", 's', NULL, session_columns, array_size(session_columns),
	"usage: reeve session list | show SESSION | end SESSION\n" };
static const struct kind kind_key = { "key", "keys", 'k', NULL, key_columns, array_size(key_columns),
	"usage: reeve key list | create [--tag TAG]... [--uses N] [--expires DURATION] [--note TEXT] | revoke KEY\n"
	"       reeve key create --tag TAG [--ephemeral] [--node-life DURATION]   of the nodes that enrol with it\n"
	"       reeve key create --scim [--expires DURATION] [--note TEXT]\n"
	"--scim: a token with which an identity provider writes users and groups, not an enrolment key.\n"
	"A key is shown once, when it is made: keep it like a password.\n" };

static int usage(const struct kind *k, bool asked)
{
	fputs(k->help, asked ? stdout : stderr);
	return asked ? CLI_OK : CLI_USAGE;
}

static bool is_id(const struct kind *k, const char *what)
{
	uint64_t n;

	return what[0] == k->letter && span_u64(span_from(span_str(what), 1), INT64_MAX, &n) && n;
}

/* An id stays; a name is looked up, and must be one thing's alone. */
static char *find_id(const struct cli *cli, const struct kind *k, const char *what, struct err *err)
{
	char path[64], *found = NULL;
	json_t *o = NULL, *v;
	size_t i;

	if (is_id(k, what))
		return mem_strdup(what);
	if (!k->by) {
		err_set(err, ERR_SYNTAX, "\"%.80s\" is no id of a %s", what, k->name);
		return NULL;
	}
	snprintf(path, sizeof(path), "/api/v1/%s", k->plural);
	if (!cli_control(cli, "GET", path, NULL, &o, err))
		return NULL;
	json_array_foreach(json_object_get(o, k->plural), i, v) {
		if (strcmp(cli_str(v, k->by), what) != 0)
			continue;
		if (found) {
			free(found);
			json_decref(o);
			err_set(err, ERR_EXISTS, "several %s are called \"%.80s\": give the id", k->plural, what);
			return NULL;
		}
		found = mem_strdup(cli_str(v, "id"));
	}
	json_decref(o);
	if (!found || !is_id(k, found)) {
		free(found);
		err_set(err, ERR_MISSING, "there is no %s \"%.80s\"", k->name, what);
		return NULL;
	}
	return found;
}

static int show(const struct cli *cli, json_t *o, const char *words)
{
	if (cli->json)
		cli_json(o);
	else if (words)
		puts(words);
	else
		cli_record(o);
	json_decref(o);
	return CLI_OK;
}

static int list(const struct cli *cli, const struct kind *k)
{
	struct err err = { 0 };
	char path[64];
	json_t *o = NULL;

	snprintf(path, sizeof(path), "/api/v1/%s", k->plural);
	if (!cli_control(cli, "GET", path, NULL, &o, &err))
		return cli_fail(cli, &err);
	if (cli->json)
		cli_json(json_object_get(o, k->plural));
	else
		cli_table(json_object_get(o, k->plural), k->columns, k->column_count);
	json_decref(o);
	return CLI_OK;
}

/* One request about one thing. */
static int act(const struct cli *cli, const struct kind *k, const char *what, const char *method, const char *below,
               json_t *body, const char *words)
{
	struct err err = { 0 };
	scoped_free char *id = find_id(cli, k, what, &err);
	char path[128];
	json_t *o = NULL;

	if (!id) {
		json_decref(body);
		return cli_fail(cli, &err);
	}
	snprintf(path, sizeof(path), "/api/v1/%s/%s%s", k->plural, id, below);
	if (!cli_control(cli, method, path, body, &o, &err))
		return cli_fail(cli, &err);
	return show(cli, o, words);
}

static json_t *strings(const char *const *list_, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(list_[i]));
	return a;
}

/* "list", "show X" and the like: what every kind has. -1: none of them. */
static int common(const struct cli *cli, const struct kind *k, int argc, char **argv, const char **rest, size_t *ret_n,
                  bool *ret_help)
{
	const struct cli_option options[] = { { "--help", NULL, ret_help, 0, NULL }, { NULL, NULL, NULL, 0, NULL } };

	if (!cli_options(argc, argv, options, rest, REST_MAX, ret_n))
		return CLI_USAGE;
	if (*ret_help)
		return usage(k, true);
	if (*ret_n == 1 && strcmp(rest[0], "list") == 0)
		return list(cli, k);
	if (*ret_n == 2 && strcmp(rest[0], "show") == 0)
		return act(cli, k, rest[1], "GET", "", NULL, NULL);
	return -1;
}

static int node_expire(const struct cli *cli, const char *node, const char *when);

int cli_node(const struct cli *cli, int argc, char **argv)
{
	const char *r[REST_MAX] = { NULL };
	bool help = false;
	size_t n = 0;
	int status = common(cli, &kind_node, argc, argv, r, &n, &help);

	if (status >= 0)
		return status;
	if (n == 3 && strcmp(r[0], "rename") == 0)
		return act(cli, &kind_node, r[1], "POST", "", json_pack("{s:s}", "name", r[2]), "renamed");
	if (n >= 2 && strcmp(r[0], "tag") == 0)
		return act(cli, &kind_node, r[1], "POST", "", json_pack("{s:o}", "tags", strings(r + 2, n - 2)), "tagged");
	if (n >= 2 && strcmp(r[0], "routes") == 0)
		return act(cli, &kind_node, r[1], "POST", "", json_pack("{s:o}", "routes", strings(r + 2, n - 2)),
		           n == 2 ? "no route is approved" : "routes approved");
	if (n == 2 && strcmp(r[0], "revoke") == 0)
		return act(cli, &kind_node, r[1], "DELETE", "/sessions", NULL, "its session has ended");
	if (n == 2 && strcmp(r[0], "delete") == 0)
		return act(cli, &kind_node, r[1], "DELETE", "", NULL, "deleted");
	if (n == 2 && strcmp(r[0], "approve") == 0)
		return act(cli, &kind_node, r[1], "POST", "", json_pack("{s:b}", "approved", 1), "approved");
	if (n == 3 && strcmp(r[0], "expire") == 0)
		return node_expire(cli, r[1], r[2]);
	return usage(&kind_node, false);
}

static int user_merge(const struct cli *cli, const char *user, const char *other)
{
	struct err err = { 0 };
	scoped_free char *id = find_id(cli, &kind_user, other, &err);

	if (!id)
		return cli_fail(cli, &err);
	return act(cli, &kind_user, user, "POST", "", json_pack("{s:s}", "merge", id), "merged");
}

static int name_release(const struct cli *cli, const char *login)
{
	struct err err = { 0 };
	char path[512];
	json_t *o = NULL;

	if (snprintf(path, sizeof(path), "/api/v1/names/%s", login) >= (int)sizeof(path) || strchr(login, '/') ||
	    !cli_control(cli, "DELETE", path, NULL, &o, &err)) {
		if (err.code == ERR_NONE)
			err_set(&err, ERR_SYNTAX, "\"%.80s\" is no login name", login);
		return cli_fail(cli, &err);
	}
	return show(cli, o, "released");
}

static int node_expire(const struct cli *cli, const char *node, const char *when)
{
	int64_t seconds = 0;

	if (strcmp(when, "never") != 0 && (!duration_parse(span_str(when), &seconds) || seconds < 1))
		return usage(&kind_node, false);
	return act(cli, &kind_node, node, "POST", "", json_pack("{s:I}", "expires", (json_int_t)seconds),
	           seconds ? "its enrolment ends then" : "its enrolment does not end");
}

int cli_user(const struct cli *cli, int argc, char **argv)
{
	const char *r[REST_MAX] = { NULL };
	bool help = false;
	size_t n = 0;
	int status = common(cli, &kind_user, argc, argv, r, &n, &help);

	if (status >= 0)
		return status;
	if (n == 2 && strcmp(r[0], "revoke") == 0)
		return act(cli, &kind_user, r[1], "DELETE", "/sessions", NULL, "every session of theirs has ended");
	if (n == 2 && (strcmp(r[0], "block") == 0 || strcmp(r[0], "disable") == 0))
		return act(cli, &kind_user, r[1], "POST", "", json_pack("{s:b}", "blocked", 1), "blocked");
	if (n == 2 && (strcmp(r[0], "unblock") == 0 || strcmp(r[0], "enable") == 0))
		return act(cli, &kind_user, r[1], "POST", "", json_pack("{s:b}", "blocked", 0), "may log in again");
	if (n == 2 && strcmp(r[0], "delete") == 0)
		return act(cli, &kind_user, r[1], "DELETE", "", NULL, "deleted, and their nodes");
	if (n == 4 && strcmp(r[0], "link") == 0)
		return act(cli, &kind_user, r[1], "POST", "",
		           json_pack("{s:{s:s, s:s}}", "link", "issuer", r[2], "sub", r[3]), "linked");
	if (n == 3 && strcmp(r[0], "merge") == 0)
		return user_merge(cli, r[1], r[2]);
	if (n == 2 && strcmp(r[0], "release") == 0)
		return name_release(cli, r[1]);
	return usage(&kind_user, false);
}

int cli_session(const struct cli *cli, int argc, char **argv)
{
	const char *r[REST_MAX] = { NULL };
	bool help = false;
	size_t n = 0;
	int status = common(cli, &kind_session, argc, argv, r, &n, &help);

	if (status >= 0)
		return status;
	if (n == 2 && (strcmp(r[0], "revoke") == 0 || strcmp(r[0], "end") == 0))
		return act(cli, &kind_session, r[1], "DELETE", "", NULL, "ended");
	return usage(&kind_session, false);
}

static const struct cli_column group_columns[] = {
	{ "GROUP", "name" }, { "SOURCE", "source" }, { "MEMBERS", "members" },
};
static const struct cli_column held_columns[] = {
	{ "ID", "id" }, { "SOURCE", "source" }, { "WHAT", "kind" }, { "GROUP", "group" }, { "WOULD LOSE", "lost" },
	{ "OF", "total" }, { "SINCE", "at" },
};

static int group_list(const struct cli *cli, const char *path, const char *member, const struct cli_column *columns,
                      size_t n)
{
	struct err err = { 0 };
	json_t *o = NULL;

	if (!cli_control(cli, "GET", path, NULL, &o, &err))
		return cli_fail(cli, &err);
	if (cli->json)
		cli_json(json_object_get(o, member));
	else
		cli_table(json_object_get(o, member), columns, n);
	json_decref(o);
	return CLI_OK;
}

int cli_group(const struct cli *cli, int argc, char **argv)
{
	const char *r[REST_MAX] = { NULL };
	struct cli own = *cli;
	bool help = false;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL }, { "--json", NULL, &own.json, 0, NULL },
		                              { NULL, NULL, NULL, 0, NULL } };
	struct err err = { 0 };
	uint64_t id;
	char path[64];
	json_t *o = NULL;
	size_t n = 0;

	if (!cli_options(argc, argv, options, r, REST_MAX, &n))
		return CLI_USAGE;
	if (!help && n == 1 && strcmp(r[0], "list") == 0)
		return group_list(&own, "/api/v1/groups", "groups", group_columns, array_size(group_columns));
	if (!help && n == 1 && strcmp(r[0], "held") == 0)
		return group_list(&own, "/api/v1/groups/held", "held", held_columns, array_size(held_columns));
	if (!help && n == 2 && strcmp(r[0], "accept") == 0 && r[1][0] == 'h' &&
	    span_u64(span_from(span_str(r[1]), 1), INT64_MAX, &id)) {
		snprintf(path, sizeof(path), "/api/v1/groups/held/h%llu", (unsigned long long)id);
		if (!cli_control(cli, "POST", path, json_pack("{s:b}", "accept", 1), &o, &err))
			return cli_fail(cli, &err);
		return show(&own, o, "accepted");
	}
	fputs("usage: reeve group list | held | accept HELD\n"
	      "held: what a directory suddenly took away, and that stays until somebody accepts it.\n",
	      help ? stdout : stderr);
	return help ? CLI_OK : CLI_USAGE;
}

static int key_create(const struct cli *cli, int argc, char **argv)
{
	const char *tags[REST_MAX] = { NULL }, *uses = NULL, *expires = NULL, *note = NULL, *rest = NULL;
	size_t tag_count = 0;
	const char *life = NULL;
	bool scim = false, ephemeral = false;
	const struct cli_option options[] = {
		{ "--scim", NULL, &scim, 0, NULL }, { "--ephemeral", NULL, &ephemeral, 0, NULL },
		{ "--node-life", &life, NULL, 1, NULL },
		{ "--tag", tags, NULL, REST_MAX, &tag_count }, { "--uses", &uses, NULL, 1, NULL },
		{ "--expires", &expires, NULL, 1, NULL }, { "--note", &note, NULL, 1, NULL }, { NULL, NULL, NULL, 0, NULL },
	};
	struct err err = { 0 };
	int64_t seconds = 3600, node_life = 0;
	uint64_t count = 1;
	json_t *body, *o = NULL;

	if (!cli_options(argc, argv, options, &rest, 1, NULL))
		return CLI_USAGE;
	if ((uses && (!span_u64(span_str(uses), 1000000, &count) || !count)) ||
	    (expires && !duration_parse(span_str(expires), &seconds)) ||
	    (life && (!duration_parse(span_str(life), &node_life) || node_life < 1)))
		return usage(&kind_key, false);
	if (scim) {
		body = json_pack("{s:b, s:s}", "scim", 1, "note", note ? note : "");
		if (expires)
			json_object_set_new(body, "expires", json_integer((json_int_t)seconds));
	} else {
		body = json_pack("{s:o, s:I, s:I, s:s}", "tags", strings(tags, tag_count), "uses", (json_int_t)count,
		                 "expires", (json_int_t)seconds, "note", note ? note : "");
		if (ephemeral)
			json_object_set_new(body, "ephemeral", json_true());
		if (life)
			json_object_set_new(body, "node_life", json_integer((json_int_t)node_life));
	}
	if (!cli_control(cli, "POST", "/api/v1/keys", body, &o, &err))
		return cli_fail(cli, &err);
	if (cli->json)
		cli_json(o);
	else
		puts(cli_str(o, "key"));
	json_decref(o);
	return CLI_OK;
}

int cli_key(const struct cli *cli, int argc, char **argv)
{
	const char *r[REST_MAX] = { NULL };
	bool help = false;
	size_t n = 0;
	int status;

	if (argc >= 2 && strcmp(argv[1], "create") == 0)
		return key_create(cli, argc, argv);
	status = common(cli, &kind_key, argc, argv, r, &n, &help);
	if (status >= 0)
		return status;
	if (n == 2 && strcmp(r[0], "revoke") == 0)
		return act(cli, &kind_key, r[1], "DELETE", "", NULL, "revoked");
	return usage(&kind_key, false);
}

/* ---- the mesh's policy ---- */

static bool read_policy(const char *path, struct buf *text, struct err *err)
{
	char chunk[65536];

	buf_init(text, POLICY_FILE_MAX);
	if (strcmp(path, "-") != 0)
		return file_read(path, POLICY_FILE_MAX, text, err);
	for (;;) {
		ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "stdin");
		if (n == 0)
			break;
		buf_add(text, chunk, (size_t)n);
	}
	return !text->over || err_set(err, ERR_LIMIT, "the policy is larger than %d bytes", POLICY_FILE_MAX);
}

static void put_diags(const char *file, const json_t *list_)
{
	size_t i;
	json_t *d;

	json_array_foreach(list_, i, d) {
		fprintf(stderr, "%s:%lld:%lld: ", file, (long long)json_integer_value(json_object_get(d, "line")),
		        (long long)json_integer_value(json_object_get(d, "column")));
		cli_put(stderr, *cli_str(d, "level") ? cli_str(d, "level") : "error");
		fputs(": ", stderr);
		cli_put(stderr, *cli_str(d, "message") ? cli_str(d, "message") : cli_str(d, "msg"));
		fputc('\n', stderr);
	}
}

static int policy_get(const struct cli *cli)
{
	struct err err = { 0 };
	json_t *o = NULL;

	if (!cli_control(cli, "GET", "/api/v1/policy", NULL, &o, &err))
		return cli_fail(cli, &err);
	if (cli->json)
		cli_json(o);
	else
		fputs(cli_str(o, "text"), stdout);
	json_decref(o);
	return CLI_OK;
}

static int policy_send(const struct cli *cli, const char *file, const char *base, bool only_try, bool yes)
{
	scoped_buf struct buf text = { 0 };
	struct err err = { 0 };
	uint64_t version = 0;
	json_t *body, *o = NULL;
	bool ok;

	if (base && !span_u64(span_str(base), INT64_MAX, &version)) {
		fputs("reeve policy set: --base wants a version's number\n", stderr);
		return CLI_USAGE;
	}
	if (!read_policy(file, &text, &err))
		return cli_fail(cli, &err);
	/* What another administrator wrote meanwhile is not overwritten unseen. */
	if (!base && !only_try) {
		if (!cli_control(cli, "GET", "/api/v1/policy", NULL, &o, &err))
			return cli_fail(cli, &err);
		version = (uint64_t)json_integer_value(json_object_get(o, "version"));
		json_decref(o);
		o = NULL;
	}
	if (!only_try && !policy_review(cli, buf_span(&text), file, yes))
		return CLI_FAILED;
	body = json_object();
	json_object_set_new(body, "text", json_stringn(text.ptr ? text.ptr : "", text.len));
	if (!only_try)
		json_object_set_new(body, "base", json_integer((json_int_t)version));
	if (!cli_control(cli, only_try ? "POST" : "PUT", only_try ? "/api/v1/policy/check" : "/api/v1/policy", body, &o,
	                 &err))
		return cli_fail(cli, &err);
	ok = !json_is_false(json_object_get(o, "ok"));
	if (cli->json) {
		cli_json(o);
	} else {
		put_diags(file, json_object_get(o, "diags"));
		if (only_try)
			puts(ok ? "the mesh would take it" : "the mesh would not take it");
		else
			printf("version %lld\n", (long long)json_integer_value(json_object_get(o, "version")));
	}
	json_decref(o);
	return ok ? CLI_OK : CLI_FAILED;
}

int cli_policy_remote(const struct cli *cli, int argc, char **argv)
{
	const char *r[3] = { NULL }, *base = NULL;
	struct cli own = *cli;
	bool yes = false;
	const struct cli_option options[] = {
		{ "--base", &base, NULL, 1, NULL }, { "--json", NULL, &own.json, 0, NULL },
		{ "--yes", NULL, &yes, 0, NULL }, { NULL, NULL, NULL, 0, NULL },
	};
	size_t n = 0;

	if (argc < 2 || (strcmp(argv[1], "get") != 0 && strcmp(argv[1], "set") != 0 && strcmp(argv[1], "try") != 0))
		return -1;
	if (!cli_options(argc, argv, options, r, 3, &n))
		return CLI_USAGE;
	if (n == 1 && strcmp(r[0], "get") == 0)
		return policy_get(&own);
	if (n == 2 && strcmp(r[0], "set") == 0)
		return policy_send(&own, r[1], base, false, yes);
	if (n == 2 && strcmp(r[0], "try") == 0)
		return policy_send(&own, r[1], NULL, true, true);
	fputs("usage: reeve policy get | set FILE [--base VERSION] [--yes] | try FILE\n", stderr);
	return CLI_USAGE;
}
