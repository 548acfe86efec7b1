/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/api_table.h"
#include "daemon/coordinator/setup.h"
#include "daemon/directory/reader.h"

#include "config.h"

#include "base/mem.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: reeve-coordinator [run] [-c FILE]\n"
	"       reeve-coordinator init [-c FILE] [--endpoint-state DIR | --hub-key KEY]\n"
	"                         [--policy FILE] [--user NAME] [--own-accounts]\n"
	"       reeve-coordinator key [-c FILE] --tag tag:NAME ... [--uses N]\n"
	"                         [--expires TIME] [--note TEXT] [--pin PIN]\n"
	"       reeve-coordinator check [-c FILE] [--print]\n"
	"       reeve-coordinator --help | --version | --help-api | --help-conf\n"
	"\n"
	"FILE is " SYSCONFDIR "/reeve/coordinator.hujson where it is not given.\n";

enum {
	OPT_STATE = 256,
	OPT_HUB_KEY,
	OPT_POLICY,
	OPT_USER,
	OPT_OWN_ACCOUNTS,
	OPT_TAG,
	OPT_USES,
	OPT_EXPIRES,
	OPT_NOTE,
	OPT_PIN,
	OPT_PRINT,
	OPT_HELP_API,
	OPT_HELP_CONF,
	OPT_VERSION
};

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"endpoint-state", required_argument, NULL, OPT_STATE},
	{"hub-key", required_argument, NULL, OPT_HUB_KEY},
	{"policy", required_argument, NULL, OPT_POLICY},
	{"user", required_argument, NULL, OPT_USER},
	{"own-accounts", no_argument, NULL, OPT_OWN_ACCOUNTS},
	{"tag", required_argument, NULL, OPT_TAG},
	{"uses", required_argument, NULL, OPT_USES},
	{"expires", required_argument, NULL, OPT_EXPIRES},
	{"note", required_argument, NULL, OPT_NOTE},
	{"pin", required_argument, NULL, OPT_PIN},
	{"print", no_argument, NULL, OPT_PRINT},
	{"help", no_argument, NULL, 'h'},
	{"help-api", no_argument, NULL, OPT_HELP_API},
	{"help-conf", no_argument, NULL, OPT_HELP_CONF},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static struct conf *load(const char *path)
{
	struct diags diags;
	struct buf   words;

	diags_init(&diags, path);
	struct conf *c = conf_load(path, &diags);
	buf_init(&words, 1 << 20);
	diags_text(&diags, &words);
	fprintf(stderr, "%s", words.len ? words.ptr : "");
	buf_done(&words);
	diags_done(&diags);
	return c;
}

static int print(void (*fill)(struct buf *out))
{
	struct buf out;

	buf_init(&out, 1 << 20);
	fill(&out);
	printf("%s", out.len ? out.ptr : "");
	buf_done(&out);
	return 0;
}

static int wrong(const char *what)
{
	fprintf(stderr, "reeve-coordinator: %s\n%s", what, usage);
	return 2;
}

int main(int argc, char **argv)
{
	const char         *conf_path_ = SYSCONFDIR "/reeve/coordinator.hujson", *verb = "run";
	const char         *tags[64], *pins[ENROL_PINS_MAX];
	struct init_options init = { .endpoint_state = LOCALSTATEDIR "/lib/reeve" };
	struct key_options  key = { .tags = tags, .pins = pins, .uses = 1, .expires = 3600 };
	bool                show = false;
	uint64_t            n;
	int                 c, status = 0;

	reader_process_init();

	if (argc > 1 && argv[1][0] != '-') {
		verb = argv[1];
		argv++;
		argc--;
	}
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			conf_path_ = optarg;
			break;
		case 'h':
			printf("%s", usage);
			return 0;
		case OPT_VERSION:
			printf("reeve-coordinator %s\n", PACKAGE_VERSION);
			return 0;
		case OPT_HELP_API:
			return print(api_print);
		case OPT_HELP_CONF:
			return print(conf_manual);
		case OPT_STATE:
			init.endpoint_state = optarg;
			break;
		case OPT_HUB_KEY:
			init.hub_key = optarg;
			break;
		case OPT_POLICY:
			init.policy = optarg;
			break;
		case OPT_USER:
			init.user = optarg;
			break;
		case OPT_OWN_ACCOUNTS:
			init.own_accounts = true;
			break;
		case OPT_TAG:
			if (key.tag_count == array_size(tags))
				return wrong("too many tags");
			tags[key.tag_count++] = optarg;
			break;
		case OPT_USES:
			if (!span_u64(span_str(optarg), 1000000, &n) || n == 0)
				return wrong("--uses is a number from 1");
			key.uses = (int64_t)n;
			break;
		case OPT_EXPIRES:
			if (!duration_parse(span_str(optarg), &key.expires) || key.expires < 1)
				return wrong("--expires is a time, such as 1h");
			break;
		case OPT_NOTE:
			if (!span_is_print(span_str(optarg)))
				return wrong("--note is printable ASCII");
			key.note = optarg;
			break;
		case OPT_PIN:
			if (key.pin_count == array_size(pins))
				return wrong("too many pins");
			pins[key.pin_count++] = optarg;
			break;
		case OPT_PRINT:
			show = true;
			break;
		default:
			fprintf(stderr, "%s", usage);
			return 2;
		}
	}
	if (optind < argc)
		return wrong("that is one word too many");
	if (strcmp(verb, "run") == 0)
		return coordinator_run(conf_path_);
	if (strcmp(verb, "init") != 0 && strcmp(verb, "key") != 0 && strcmp(verb, "check") != 0)
		return wrong("there is no such command");
	struct conf *conf = load(conf_path_);
	if (!conf)
		return 2;
	if (strcmp(verb, "init") == 0)
		status = setup_init(conf, &init);
	else if (strcmp(verb, "key") == 0)
		status = setup_key(conf, &key);
	if (show) {
		struct buf out;

		buf_init(&out, 1 << 20);
		conf_show(conf, &out);
		printf("%s", out.ptr);
		buf_done(&out);
	}
	conf_free(conf);
	return status;
}
