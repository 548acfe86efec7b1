/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * `reeve watch`: tells a person ahead that the login on this node ends, so that
 * they renew it before anything stops: a line on the terminal, and a command of
 * theirs (a desktop notification). What is told is told once.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "daemon/cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	BEFORE_SEC = 900,
	LOOK_SEC = 20,          /* reeved is asked so often, and when the moment has come */
};

struct watch {
	const struct cli *cli;
	const char       *hook;
	int64_t           before, told;         /* told: the end that was announced; 0: none */
	bool              renew, was, lost;     /* was: somebody was logged in; lost: reeved does not answer */
};

static void run_hook(const struct watch *w, const char *event, const char *words, int64_t expires)
{
	char  text[32];
	pid_t pid = fork();
	int   status;

	if (pid < 0) {
		fprintf(stderr, "reeve watch: fork: %s\n", strerror(errno));
		return;
	}
	if (pid == 0) {
		snprintf(text, sizeof(text), "%lld", (long long)expires);
		if (setenv("REEVE_EVENT", event, 1) != 0 || setenv("REEVE_EXPIRES", text, 1) != 0)
			_exit(126);
		execlp(w->hook, w->hook, "Reeve", words, (char *)NULL);
		fprintf(stderr, "reeve watch: %s: %s\n", w->hook, strerror(errno));
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

static void tell(const struct watch *w, const char *event, const char *words, int64_t expires)
{
	/* The line says that all of it was told. */
	if (w->hook)
		run_hook(w, event, words, expires);
	if (w->cli->json)
		printf("{\"event\":\"%s\",\"expires\":%lld}\n", event, (long long)expires);
	else
		puts(words);
	fflush(stdout);
}

static bool renewed(const struct watch *w)
{
	char *args[] = { (char[]){ "login" }, (char[]){ "--silent" }, NULL };

	return w->renew && cli_login(w->cli, 2, args) == CLI_OK;
}

/* One look; the seconds until the next. */
static int64_t look(struct watch *w)
{
	char        words[128], left[DURATION_TEXT_MAX];
	struct err  err = { 0 };
	json_t     *o = NULL;
	int64_t     expires, now = clock_wall().sec;

	if (!cli_local(w->cli, "GET", "/v1/status", NULL, &o, &err)) {
		if (!w->lost)
			fprintf(stderr, "reeve watch: %s\n", err.msg);
		w->lost = true;
		return LOOK_SEC;
	}
	w->lost = false;
	expires = json_integer_value(json_object_get(
		json_object_get(json_object_get(o, "self"), "session"), "expires"));
	json_decref(o);
	if (expires <= now) {
		if (w->was)
			tell(w, "ended", "Your login on this device has ended: reeve login", expires);
		w->was = false;
		w->told = 0;
		return LOOK_SEC;
	}
	w->was = true;
	if (w->told && expires > w->told) {
		snprintf(words, sizeof(words), "Your login on this device was renewed: it lasts for %s.",
		         duration_text(expires - now, left));
		w->told = 0;
		tell(w, "renewed", words, expires);
	}
	if (expires - now <= w->before && !w->told) {
		w->told = expires;
		if (renewed(w))
			return 1;
		snprintf(words, sizeof(words), "Your login on this device ends in %s. Renew it: reeve login",
		         duration_text(expires - now, left));
		tell(w, "ending", words, expires);
	}
	if (!w->told && expires - w->before - now < LOOK_SEC)
		return expires - w->before - now;
	return expires - now < LOOK_SEC ? expires - now : LOOK_SEC;
}

int cli_watch(const struct cli *cli, int argc, char **argv)
{
	const char *before = NULL, *hook = NULL;
	bool help = false, renew = false;
	const struct cli_option options[] = {
		{ "--before", &before, NULL, 1, NULL }, { "--hook", &hook, NULL, 1, NULL },
		{ "--renew", NULL, &renew, 0, NULL }, { "--help", NULL, &help, 0, NULL },
		{ NULL, NULL, NULL, 0, NULL },
	};
	struct watch w = { .cli = cli, .before = BEFORE_SEC };

	if (!cli_options(argc, argv, options, NULL, 0, NULL))
		return CLI_USAGE;
	if (help || (before && (!duration_parse(span_str(before), &w.before) || w.before < 1))) {
		fputs("usage: reeve watch [--before DURATION] [--hook PROGRAM] [--renew]\n\n"
		      "Waits, and tells when the login on this node is about to end (15m before), has ended,\n"
		      "or was renewed. PROGRAM is run with \"Reeve\" and the sentence as its arguments, as\n"
		      "notify-send wants them, and with REEVE_EVENT (ending, ended, renewed) and REEVE_EXPIRES.\n"
		      "--renew: the browser renews it, without a question where the provider still knows it.\n",
		      help ? stdout : stderr);
		return help ? CLI_OK : CLI_USAGE;
	}
	w.hook = hook;
	w.renew = renew;
	for (;;) {
		int64_t sec = look(&w);

		poll(NULL, 0, (int)(sec > 0 ? sec * 1000 : 1000));
	}
}
