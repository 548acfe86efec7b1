/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* reeved: the mesh endpoint. This file reads the options and the configuration
 * and becomes the parent of the processes that do the work; process.c is their
 * table. It talks to nobody but its children and the service manager. */
#include "config.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/core.h"
#include "daemon/endpoint/probe.h"
#include "daemon/endpoint/process.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <unistd.h>

static const char usage[] =
	"usage: reeved [-c FILE] [-f]\n"
	"       reeved [-c FILE] -n | --print\n"
	"       reeved --help | --help-conf | --version\n"
	"\n"
	"  -c, --config FILE  the configuration, instead of " SYSCONFDIR "/reeve/reeved.hujson\n"
	"  -n, --check        say what is wrong with it, or with the files it names, and end\n"
	"      --print        write it out with every default, and end\n"
	"  -f, --foreground   stay in the foreground, which reeved always does\n"
	"      --help-conf    every key of the configuration, as a section of the manual\n"
	"\n"
	"SIGHUP reads the configuration again; SIGTERM ends, after open requests.\n";

enum { OPT_HELP = 256, OPT_VERSION, OPT_PRINT, OPT_HELP_CONF };

struct options {
	const char *config;
	bool        check, print;
};

/* False: done, with *ret_status. */
static bool options_read(int argc, char **argv, struct options *o, int *ret_status)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, 'n' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "print", no_argument, NULL, OPT_PRINT },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "help-conf", no_argument, NULL, OPT_HELP_CONF },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	struct buf man;
	int c;

	*ret_status = EXIT_SUCCESS;
	while ((c = getopt_long(argc, argv, "c:nf", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'n':
			o->check = true;
			break;
		case 'f':
			break;
		case OPT_PRINT:
			o->print = true;
			break;
		case OPT_HELP:
			fputs(usage, stdout);
			return false;
		case OPT_HELP_CONF:
			buf_init(&man, 1 << 20);
			conf_man(conf_rows(), &man);
			fputs(man.ptr, stdout);
			buf_done(&man);
			return false;
		case OPT_VERSION:
			puts("reeved " PACKAGE_VERSION);
			return false;
		default:
			fputs(usage, stderr);
			*ret_status = 2;
			return false;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "reeved: \"%s\" is no option\n", argv[optind]);
		fputs(usage, stderr);
		*ret_status = 2;
		return false;
	}
	return true;
}

/* The folder of the configuration file, as an absolute path: where we are when
 * we read it again may be elsewhere. */
static char *folder_of(const char *path)
{
	scoped_free char *real = realpath(path, NULL);
	char *slash = real ? strrchr(real, '/') : NULL;

	return !slash ? mem_strdup("/") : slash == real ? mem_strdup("/") :
	       mem_dup(real, (size_t)(slash - real));
}

static struct conf *conf_load(const char *config, const char *dir, struct buf *ret_text,
			      struct buf *words)
{
	struct conf *conf = NULL;
	struct diags diags;
	struct err err = { 0 };

	diags_init(&diags, config);
	if (!file_read(config, CONF_TEXT_MAX, ret_text, &err))
		diag_error(&diags, (struct place){ 0, 0 }, "%s", err.msg);
	else
		conf = conf_new(buf_span(ret_text), dir, &diags);
	diags_text(&diags, words);
	diags_done(&diags);
	return conf;
}

static int check(const struct options *o, const struct conf *conf, struct buf *words)
{
	bool ok = conf != NULL;
	struct err err = { 0 };
	struct privilege_users users;

	if (conf && !core_check(conf, words))
		ok = false;
	if (conf && geteuid() == 0 && !privilege_users_find(conf, &users, &err)) {
		buf_addf(words, "%s: error: %s\n", o->config, err.msg);
		ok = false;
	}
	if (words->len)
		fputs(words->ptr, stderr);
	if (ok && o->print) {
		struct buf out;

		buf_init(&out, 16 << 20);
		conf_print(conf_rows(), conf, &out);
		fputs(out.ptr, stdout);
		buf_done(&out);
	}
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* As many connections as the system lets us have. */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void on_signal(void *arg, int signo)
{
	struct processes *ps = arg;

	if (signo == SIGHUP)
		processes_reload(ps);
	else
		processes_end(ps);
}

static int serve(struct process_setup *setup, struct conf *conf, struct span text)
{
	struct err err = { 0 };
	struct loop *loop = loop_new(&err);
	struct processes *ps = NULL;
	int status = EXIT_FAILURE;

	if (!loop) {
		conf_free(conf);
		log_error("%s", err.msg);
		return EXIT_FAILURE;
	}
	ps = processes_new(loop, setup, conf, text, &err);
	if (ps && privilege_parent(&err)) {
		loop_signal_add(loop, SIGHUP, on_signal, ps);
		loop_signal_add(loop, SIGTERM, on_signal, ps);
		loop_signal_add(loop, SIGINT, on_signal, ps);
		signal(SIGPIPE, SIG_IGN);
		processes_start(ps);
		if (loop_run(loop, &err))
			status = processes_status(ps);
	}
	if (err.code)
		log_error("%s", err.msg);
	processes_free(ps);
	loop_free(loop);
	return status;
}

static bool may_run(const struct conf *conf, struct err *err)
{
	if (geteuid() == 0)
		return true;
	if (!conf->unprivileged)
		return err_set(err, ERR_DENIED,
			       "reeved is started by root, and its processes then drop what "
			       "they do not need; \"unprivileged\": true runs it without, for "
			       "development");
	log_warn("running as user %u: no process is separated from another by its user", geteuid());
	return true;
}

int main(int argc, char **argv)
{
	static const int levels[] = { LOG_ERROR, LOG_WARN, LOG_NOTE, LOG_INFO, LOG_DEBUG };
	struct options o = { .config = SYSCONFDIR "/reeve/reeved.hujson" };
	struct process_setup *setup;
	struct conf *conf;
	struct buf text = { 0 }, words;
	struct err err = { 0 };
	scoped_free char *dir = NULL;
	int status;

	if (process_child(argc, argv, &status))
		return status;
#ifdef ENABLE_PROBE
	if (argc == 2 && strcmp(argv[1], "--probe") == 0) {
		log_open("probe", LOG_INFO);
		probe_run();
		return EXIT_SUCCESS;
	}
#endif
	umask(022);
	if (!options_read(argc, argv, &o, &status))
		return status;
	log_open("reeved", LOG_INFO);
	dir = folder_of(o.config);
	buf_init(&words, 1 << 20);
	conf = conf_load(o.config, dir, &text, &words);
	if (o.check || o.print || !conf) {
		status = check(&o, conf, &words);
		conf_free(conf);
	} else {
		if (words.len)          /* warnings */
			fputs(words.ptr, stderr);
		log_open("reeved", (enum log_level)levels[conf->log_level]);
		setup = mem_alloc(sizeof(*setup));
		setup->config = o.config;
		setup->dir = dir;
		status = EXIT_FAILURE;
		if (!may_run(conf, &err) || !privilege_users_find(conf, &setup->users, &err) ||
		    !sdnotify_fds(setup->fds, &setup->fd_count, &err)) {
			log_error("%s", err.msg);
			conf_free(conf);
		} else {
			raise_limits();
			status = serve(setup, conf, buf_span(&text));
		}
		free(setup);
	}
	buf_done(&text);
	buf_done(&words);
	return status;
}
