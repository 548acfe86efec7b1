/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/policy.h"

#include "base/file.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPOLOGY_TEXT_MAX = 64 << 20 };

static int usage(FILE *to)
{
	fputs("usage: reeve policy check FILE [--topology FILE] [--json]\n"
	      "       reeve policy matrix [--policy FILE] [--topology FILE] [--owner FILE] [--src NODE] [--dst NODE] [--json]\n"
	      "       reeve policy explain [--policy FILE] [--topology FILE] --src S --dst D[:PORT] [--owner FILE] [--proto P]\n"
	      "                    [--method M] [--path P] [--host H] [--at TIME] [--silent DURATION] [--json]\n"
	      "       reeve policy diff [OLD] NEW [--topology FILE] [--owner FILE] [--json]\n"
	      "       reeve policy fmt FILE [--write]\n"
	      "What is not named is the mesh's own, for administrators.\n"
	      "(reeve-policy(5) tells the language, doc/policy by example)\n",
	      to);
	return to == stderr ? 2 : 0;
}

static bool option(const char *name, const char **slot, int argc, char **argv, int *i)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0 || (argv[*i][n] != '=' && argv[*i][n]))
		return false;
	if (argv[*i][n] == '=')
		*slot = argv[*i] + n + 1;
	else if (*i + 1 < argc)
		*slot = argv[++*i];
	else
		fprintf(stderr, "reeve policy: %s needs a value\n", name);
	return *slot != NULL;
}

bool policy_args(int argc, char **argv, struct policy_args *a)
{
	const struct { const char *name; const char **slot; } opts[] = {
		{ "--policy", &a->policy }, { "--topology", &a->topology }, { "--owner", &a->owner }, { "--src", &a->src },
		{ "--dst", &a->dst }, { "--proto", &a->proto }, { "--method", &a->method }, { "--path", &a->path },
		{ "--host", &a->host }, { "--at", &a->at }, { "--silent", &a->silent },
	};

	memset(a, 0, sizeof(*a));
	for (int i = 1; i < argc; i++) {
		bool done = false;

		if (strcmp(argv[i], "--json") == 0) {
			a->json = done = true;
		} else if (strcmp(argv[i], "--write") == 0) {
			a->write = done = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			a->help = done = true;
		} else if (strncmp(argv[i], "--", 2) != 0) {
			if (a->rest_count == 2) {
				fprintf(stderr, "reeve policy: \"%s\" is one too many\n", argv[i]);
				return false;
			}
			a->rest[a->rest_count++] = argv[i];
			continue;
		}
		for (size_t k = 0; k < array_size(opts) && !done; k++)
			done = option(opts[k].name, opts[k].slot, argc, argv, &i);
		if (!done) {
			fprintf(stderr, "reeve policy: unknown option %s\n", argv[i]);
			return false;
		}
	}
	return true;
}

bool text_load(const char *path, struct buf *ret_text)
{
	struct err err;

	buf_init(ret_text, TOPOLOGY_TEXT_MAX);
	if (file_read(path, TOPOLOGY_TEXT_MAX, ret_text, &err))
		return true;
	fprintf(stderr, "reeve policy: %s\n", err.msg);
	return false;
}

static void tell(const struct diags *d)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, TOPOLOGY_TEXT_MAX);
	diags_text(d, &b);
	if (b.len)
		fwrite(b.ptr, 1, b.len, stderr);
}

struct policy *policy_load(const char *path, enum policy_mode mode, bool quiet, struct diags *ret_diags)
{
	scoped_buf struct buf text = { 0 };
	struct policy *pol;

	diags_init(ret_diags, path);
	if (!text_load(path, &text)) {
		diag_error(ret_diags, (struct place){ 0, 0 }, "cannot be read");
		return NULL;
	}
	pol = policy_parse(buf_span(&text), mode, ret_diags);
	if (!quiet)
		tell(ret_diags);
	return pol;
}

static struct topology *topology_of(struct span text, const char *name)
{
	struct topology *topo = topology_new();
	struct diags d;

	diags_init(&d, name);
	if (!topology_read(text, topo, &d)) {
		topology_free(topo);
		topo = NULL;
	}
	tell(&d);
	diags_done(&d);
	return topo;
}

struct topology *topology_load(const char *path)
{
	scoped_buf struct buf text = { 0 };

	return text_load(path, &text) ? topology_of(buf_span(&text), path) : NULL;
}

struct policy *policy_load_or_live(struct policy_args *a, const char **path)
{
	scoped_json json_t *o = NULL;
	struct diags d = { 0 };
	struct policy *pol;
	struct err err;

	if (*path) {
		pol = policy_load(*path, POLICY_FILE, false, &d);
		diags_done(&d);
		return pol;
	}
	if (!cli_control(a->cli, "GET", "/api/v1/policy", NULL, &o, &err)) {
		a->status = cli_fail(a->cli, &err);
		return NULL;
	}
	*path = "policy";
	diags_init(&d, *path);
	pol = policy_parse(span_str(cli_str(o, "text")), POLICY_FILE, &d);
	if (!pol)
		tell(&d);
	diags_done(&d);
	return pol;
}

struct topology *topology_load_or_live(struct policy_args *a)
{
	scoped_json json_t *o = NULL;
	struct topology *topo;
	struct err err;
	char *text;

	if (a->topology)
		return topology_load(a->topology);
	if (!cli_control(a->cli, "GET", "/api/v1/topology", NULL, &o, &err)) {
		a->status = cli_fail(a->cli, &err);
		return NULL;
	}
	text = json_dumps(o, JSON_COMPACT);
	topo = text ? topology_of(span_str(text), "topology") : NULL;
	free(text);
	return topo;
}

bool args_now(const struct policy_args *a, struct wall *ret_now)
{
	uint64_t sec;

	if (!a->at) {
		*ret_now = clock_wall();
		return true;
	}
	if (span_u64(span_str(a->at), INT64_MAX, &sec)) {
		ret_now->sec = (int64_t)sec;
		return true;
	}
	if (wall_parse(span_str(a->at), ret_now))
		return true;
	fprintf(stderr, "reeve policy: --at %s: want RFC 3339 or seconds since 1970\n", a->at);
	return false;
}

int cli_policy(const struct cli *cli, int argc, char **argv)
{
	static const struct { const char *name; int (*main)(struct policy_args *); } subs[] = {
		{ "check", policy_check_main },
		{ "matrix", policy_matrix_main },
		{ "explain", policy_explain_main },
		{ "diff", policy_diff_main },
		{ "fmt", policy_fmt_main },
	};
	struct policy_args a;

	if (argc < 2)
		return usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return usage(stdout);
	for (size_t i = 0; i < array_size(subs); i++)
		if (strcmp(argv[1], subs[i].name) == 0) {
			if (!policy_args(argc - 1, argv + 1, &a))
				return 2;
			a.cli = cli;
			a.json |= cli->json;
			return a.help ? usage(stdout) : subs[i].main(&a);
		}
	fprintf(stderr, "reeve policy: no command \"%s\"\n", argv[1]);
	return usage(stderr);
}
