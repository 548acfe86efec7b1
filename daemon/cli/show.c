/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/clock.h"
#include "base/ip.h"
#include "base/mem.h"
#include "daemon/cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { ENDING_SEC = 1800 };      /* a login that ends within that is told of */

/* Why nobody valid acts for a node: a sentence for each word of whois' "why". */
static const char *sentence(const char *why)
{
	static const struct { const char *why, *words; } rows[] = {
		{ "never",      "nobody has logged in on it yet" },
		{ "waits",      "an administrator has not approved this device yet (reeve node approve)" },
		{ "expired",    "the login has run out" },
		{ "revoked",    "the session was ended" },
		{ "logged-out", "the person has logged out" },
		{ "evidence",   "the IdP's word about the person does not hold here" },
		{ "conflict",   "two nodes claim the address" },
		{ "lease",      "this host has not heard the coordinator for too long" },
	};

	for (size_t i = 0; i < array_size(rows); i++)
		if (strcmp(rows[i].why, why) == 0)
			return rows[i].words;
	return why;
}

static void put_line(const char *head, const char *text)
{
	if (!*text)
		return;
	printf("%-10s ", head);
	cli_put(stdout, text);
	putchar('\n');
}

static void put_list(const char *head, const json_t *list)
{
	size_t i;
	json_t *v;

	if (json_array_size(list) == 0)
		return;
	printf("%-10s", head);
	json_array_foreach(list, i, v) {
		putchar(' ');
		cli_put(stdout, json_string_value(v) ? json_string_value(v) : "");
	}
	putchar('\n');
}

static void put_when(const char *head, const json_t *v)
{
	char text[WALL_TEXT_MAX], age[32];
	struct wall w = { json_integer_value(v) };

	if (w.sec > 0)
		printf("%-10s %s (%s)\n", head, wall_text(w, text), cli_age(w.sec, age));
}

static void put_who(const json_t *o)
{
	const json_t *user = json_object_get(o, "user"), *session = json_object_get(o, "session");
	const char *why = cli_str(o, "why");

	put_line("address", cli_str(o, "addr"));
	put_line("node", cli_str(o, "node.name"));
	put_line("id", cli_str(o, "node.id"));
	put_line("IPv4", cli_str(o, "node.v4"));
	put_line("IPv6", cli_str(o, "node.v6"));
	put_list("tags", json_object_get(json_object_get(o, "node"), "tags"));
	put_line("login", cli_str(user, "login"));
	put_line("name", cli_str(user, "name"));
	put_line("email", cli_str(user, "email"));
	put_list("groups", json_object_get(user, "groups"));
	put_when("login at", json_object_get(session, "auth_time"));
	put_when("until", json_object_get(session, "expires"));
	put_list("methods", json_object_get(session, "amr"));
	if (*why)
		printf("%-10s nobody acts for it now: %s\n", "state", sentence(why));
	else
		printf("%-10s valid\n", "state");
}

int cli_whois(const struct cli *cli, int argc, char **argv)
{
	const char *addr = NULL;
	bool help = false;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL }, { NULL, NULL, NULL, 0, NULL } };
	struct ipport at;
	struct ip ip;
	struct err err = { 0 };
	json_t *o = NULL;
	char path[256];
	bool valid;

	if (!cli_options(argc, argv, options, &addr, 1, NULL))
		return CLI_USAGE;
	if (help || !addr) {
		fputs("usage: reeve whois ADDRESS[:PORT]\n\nWho calls from an overlay address. Exit status: 0 somebody valid, "
		      "4 a node for which\nnobody valid acts now, 5 nobody's address.\n", help ? stdout : stderr);
		return help ? CLI_OK : CLI_USAGE;
	}
	if (!ip_parse(span_str(addr), &ip) && !ipport_parse(span_str(addr), &at)) {
		err_set(&err, ERR_SYNTAX, "\"%.80s\" is no numeric address", addr);
		cli_fail(cli, &err);
		return CLI_USAGE;
	}
	snprintf(path, sizeof(path), "/v1/whois?addr=%.100s", addr);
	if (!cli_local(cli, "GET", path, NULL, &o, &err))
		return cli_fail(cli, &err);
	if (cli->json)
		cli_json(o);
	else
		put_who(o);
	valid = !json_object_get(o, "why");
	json_decref(o);
	return valid ? CLI_OK : CLI_REFUSED;
}

static void put_map(const json_t *o)
{
	const json_t *map = json_object_get(o, "map");

	if (!map)
		return;
	if (json_object_get(map, "seq"))
		printf("%-10s %s:%lld", "map", cli_str(map, "epoch"), (long long)json_integer_value(json_object_get(map, "seq")));
	else
		printf("%-10s none", "map");
	if (json_object_get(map, "age"))
		printf(", heard %llds ago", (long long)json_integer_value(json_object_get(map, "age")));
	if (json_object_get(map, "lease")) {
		char text[DURATION_TEXT_MAX];
		int64_t left = json_integer_value(json_object_get(map, "lease"));

		if (left > 0)
			printf(", good for %s without the coordinator", duration_text(left, text));
		else
			printf(", the lease has ended: nobody is let in");
	}
	putchar('\n');
	put_line("why not", cli_str(map, "why"));
	put_line("error", cli_str(map, "error"));
}

static void put_peer(const json_t *p)
{
	const char *login = cli_str(p, "user.login"), *why = cli_str(p, "why");
	char age[32];

	printf("  ");
	cli_put(stdout, cli_str(p, "node.name"));
	printf("  %s  ", cli_str(p, "node.v4"));
	cli_put(stdout, *login ? login : "");
	if (json_array_size(json_object_get(json_object_get(p, "node"), "tags")) && !*login)
		printf("(server)");
	if (json_is_true(json_object_get(p, "calls_us")))
		printf("  may call here");
	if (json_is_true(json_object_get(p, "we_call")))
		printf("  may be called");
	if (*why)
		printf("  no session: %s", sentence(why));
	if (*cli_str(p, "evidence")) {
		printf(" (");
		cli_put(stdout, cli_str(p, "evidence"));
		printf(")");
	}
	if (json_object_get(p, "refused")) {
		printf("  REFUSED: ");
		cli_put(stdout, cli_str(p, "refused"));
	}
	if (json_integer_value(json_object_get(p, "handshake")) > 0)
		printf("  seen %s", cli_age(json_integer_value(json_object_get(p, "handshake")), age));
	putchar('\n');
}

static int status_exit(const json_t *o)
{
	const char *mode = cli_str(o, "mode");
	const json_t *lease = json_object_get(json_object_get(o, "map"), "lease");

	if (strcmp(mode, "standalone") == 0)
		return CLI_OK;
	if (strcmp(mode, "mesh") == 0 && (!json_is_true(json_object_get(json_object_get(o, "enrolment"), "enrolled")) ||
	                                  json_is_true(json_object_get(json_object_get(o, "enrolment"), "down"))))
		return CLI_LATER;
	if (!json_object_get(o, "self") || (lease && json_integer_value(lease) <= 0))
		return CLI_LATER;
	return json_object_get(json_object_get(o, "self"), "why") ? CLI_REFUSED : CLI_OK;
}

/* Said before it happens: what is open then goes on after a new login, and only then. */
static void put_ending(const json_t *self)
{
	char text[DURATION_TEXT_MAX];
	int64_t left = json_integer_value(json_object_get(json_object_get(self, "session"), "expires")) - clock_wall().sec;

	if (left > 0 && left <= ENDING_SEC)
		printf("%-10s in %s: `reeve login` renews it, and nothing stops\n", "ends", duration_text(left, text));
}

/* Only what is not as it should be. */
static void put_unwell(const json_t *service)
{
	static const struct { const char *state, *words; } rows[] = {
		{ "down", "is down" }, { "resting", "rests for some seconds" }, { "old", "goes on with its last answer" },
		{ "unknown", "has no address" },
	};
	size_t i;
	json_t *u;

	json_array_foreach(json_object_get(service, "upstreams"), i, u) {
		const char *words = NULL;

		for (size_t k = 0; k < array_size(rows); k++)
			if (strcmp(rows[k].state, cli_str(u, "state")) == 0)
				words = rows[k].words;
		if (!words)
			continue;
		printf("%-10s   ", "");
		cli_put(stdout, cli_str(u, "name"));
		printf(" %s: ", words);
		cli_put(stdout, cli_str(u, "why"));
		putchar('\n');
	}
}

static void put_services(const json_t *o)
{
	size_t i, k;
	json_t *s, *l;

	json_array_foreach(json_object_get(o, "services"), i, s) {
		printf("%-10s ", i ? "" : "services");
		cli_put(stdout, cli_str(s, "name"));
		printf(" at");
		json_array_foreach(json_object_get(s, "listen"), k, l)
			printf(" %s", json_string_value(l) ? json_string_value(l) : "");
		if (*cli_str(s, "asked_by")) {
			printf(", asked by ");
			cli_put(stdout, cli_str(s, "asked_by"));
		}
		printf("%s%s\n", json_is_true(json_object_get(s, "tls")) ? ", TLS" : "",
		       json_is_true(json_object_get(s, "public")) ? ", for everybody" : "");
		put_unwell(s);
	}
}

/* How old the device key is, and when it changes by itself. */
static void put_key(const json_t *key)
{
	char age[32], text[DURATION_TEXT_MAX];
	int64_t since = json_integer_value(json_object_get(key, "since")), due = json_integer_value(json_object_get(key, "due"));
	int64_t left = due - clock_wall().sec;

	if (!since)
		return;
	printf("%-10s %s", "key since", cli_age(since, age));
	if (!due)
		puts(", changed by `reeve rotate` alone");
	else if (left > 0)
		printf(", another one in %s\n", duration_text(left, text));
	else
		puts(", due for a change");
	put_line("key stays", cli_str(key, "why"));
	if (json_object_get(key, "again"))
		printf("%-10s %lld tries, the next in %s\n", "", (long long)json_integer_value(json_object_get(key, "failures")),
		       duration_text(json_integer_value(json_object_get(key, "again")), text));
}

int cli_status(const struct cli *cli, int argc, char **argv)
{
	bool help = false, peers = false;
	const struct cli_option options[] = { { "--help", NULL, &help, 0, NULL }, { "--peers", NULL, &peers, 0, NULL },
		                              { NULL, NULL, NULL, 0, NULL } };
	struct err err = { 0 };
	json_t *o = NULL, *p;
	const char *mode;
	size_t i;
	int status;

	if (!cli_options(argc, argv, options, NULL, 0, NULL))
		return CLI_USAGE;
	if (help) {
		puts("usage: reeve status [--peers]\n\nExit status: 0 all is well, 4 nobody is logged in here, "
		     "6 not enrolled, down, or the lease has ended,\n3 reeved does not answer.");
		return CLI_OK;
	}
	if (!cli_local(cli, "GET", "/v1/status", NULL, &o, &err))
		return cli_fail(cli, &err);
	status = status_exit(o);
	if (cli->json) {
		cli_json(o);
		json_decref(o);
		return status;
	}
	mode = cli_str(o, "mode");
	put_line("reeved", cli_str(o, "version"));
	put_line("mode", mode);
	if (strcmp(mode, "mesh") == 0) {
		if (!json_is_true(json_object_get(json_object_get(o, "enrolment"), "enrolled")))
			puts("state      not enrolled: reeve up URL --pin PIN");
		else if (json_is_true(json_object_get(json_object_get(o, "enrolment"), "down")))
			puts("state      down: reeve up");
		put_line("hub", cli_str(o, "enrolment.url"));
	}
	put_line("mesh", cli_str(o, "mesh"));
	put_line("interface", cli_str(o, "interface"));
	put_map(o);
	put_line("net", cli_str(o, "net.error"));
	if (json_object_get(o, "self")) {
		puts("this node:");
		put_who(json_object_get(o, "self"));
		put_ending(json_object_get(o, "self"));
	}
	put_key(json_object_get(o, "key"));
	put_services(o);
	printf("%-10s %zu\n", strcmp(mode, "standalone") == 0 ? "identities" : "peers",
	       json_array_size(json_object_get(o, "peers")));
	if (peers)
		json_array_foreach(json_object_get(o, "peers"), i, p)
			put_peer(p);
	if (json_integer_value(json_object_get(json_object_get(o, "audit"), "lost")) > 0)
		printf("%-10s %lld lines LOST\n", "audit",
		       (long long)json_integer_value(json_object_get(json_object_get(o, "audit"), "lost")));
	json_decref(o);
	return status;
}
