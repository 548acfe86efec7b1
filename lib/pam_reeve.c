/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * pam_reeve.so: may the person who calls from this overlay address be this
 * local user? Account management only: it authenticates nobody and never says
 * yes on what a client can choose. The one input is PAM_RHOST, which the server
 * took from the socket and which must be a numeric address ("UseDNS no"); so
 * not for sudo, where it is whatever the caller had.
 *
 *   account required pam_reeve.so [map=FILE] [socket=PATH] [outside=ignore] [debug]
 *
 * The map: one line a rule, "WHO LOCAL [LOCAL ...]", # for comments. WHO is a
 * login, "group:NAME" (of the policy), "idp:NAME" (of the IdP), "tag:NAME" or
 * "*@DOMAIN"; LOCAL is a local user or "=", which is the part of the login before
 * the @ (only where it is a plain user name, and never root).
 * Rules only add; without one that fits, the answer is no.
 */
#include "lib/reeve.h"

#include <errno.h>
#include <fcntl.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

enum {
	MAP_MAX = 1 << 20,      /* bytes: ten thousand rules */
	USER_MAX = 32,          /* useradd's limit for what "=" may become */
};

struct options {
	const char *map, *socket;
	bool        outside_ignore, debug;
};

static bool options_read(pam_handle_t *pamh, int argc, const char **argv, struct options *o)
{
	*o = (struct options){ .map = SYSCONFDIR "/reeve/pam.map" };
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "map=", 4) == 0)
			o->map = argv[i] + 4;
		else if (strncmp(argv[i], "socket=", 7) == 0)
			o->socket = argv[i] + 7;
		else if (strcmp(argv[i], "outside=ignore") == 0)
			o->outside_ignore = true;
		else if (strcmp(argv[i], "debug") == 0)
			o->debug = true;
		else {
			pam_syslog(pamh, LOG_ERR, "unknown option \"%s\": refused", argv[i]);
			return false;
		}
	}
	return true;
}

/* The map, whole and NUL-terminated; refused if others than root could have written it. */
static char *map_read(pam_handle_t *pamh, const char *path)
{
	struct stat st;
	char *text = NULL;
	size_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) != 0) {
		pam_syslog(pamh, LOG_ERR, "%s: %m", path);
		goto out;
	}
	if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022)) {
		pam_syslog(pamh, LOG_ERR, "%s: must be a file that only root can write", path);
		goto out;
	}
	text = malloc(MAP_MAX + 1);
	while (text && n <= MAP_MAX) {
		ssize_t got = read(fd, text + n, MAP_MAX + 1 - n);

		if (got > 0) {
			n += (size_t)got;
		} else if (got == 0) {
			break;
		} else if (errno != EINTR) {
			pam_syslog(pamh, LOG_ERR, "%s: %m", path);
			n = MAP_MAX + 1;
		}
	}
	if (text && (n > MAP_MAX || memchr(text, '\0', n))) {
		pam_syslog(pamh, LOG_ERR, "%s: not read: larger than %d bytes, or not text", path, MAP_MAX);
		free(text);
		text = NULL;
	}
	if (text)
		text[n] = '\0';
out:
	if (fd >= 0)
		close(fd);
	return text;
}

static bool who_fits(const struct reeve_who *w, const char *pattern)
{
	if (strncmp(pattern, "group:", 6) == 0)
		return reeve_who_in_group(w, pattern);
	if (strncmp(pattern, "idp:", 4) == 0)
		return reeve_who_in_group(w, pattern);
	if (strncmp(pattern, "tag:", 4) == 0)
		return reeve_who_has_tag(w, pattern);
	if (!w->login)
		return false;
	if (pattern[0] == '*' && pattern[1] == '@' && pattern[2]) {
		const char *at = strrchr(w->login, '@');

		return at && at != w->login && strcmp(at, pattern + 1) == 0;
	}
	return strcmp(pattern, w->login) == 0;
}

/* "=": the login's local part, where that is a name that useradd would take; root never. */
static bool local_fits(const struct reeve_who *w, const char *local, const char *user)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_-.";
	const char *at;
	size_t n;

	if (strcmp(local, "=") != 0)
		return strcmp(local, user) == 0;
	at = w->login ? strchr(w->login, '@') : NULL;
	if (!at)
		return false;
	n = (size_t)(at - w->login);
	if (n == 0 || n > USER_MAX || strspn(w->login, plain) < n || w->login[0] == '-' ||
	    strchr("0123456789.", w->login[0]))
		return false;
	return strlen(user) == n && memcmp(user, w->login, n) == 0 && strcmp(user, "root") != 0;
}

/* Cuts the next word off *rest; NULL at the end. */
static char *word(char **rest)
{
	char *w;

	while ((w = strsep(rest, " \t\r")) != NULL)
		if (*w)
			return w;
	return NULL;
}

/* The first line that lets w be user, or 0. Lines that cannot be read allow nothing. */
static unsigned map_allows(char *text, const struct reeve_who *w, const char *user)
{
	unsigned line_no = 0;
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n")) != NULL) {
		char *hash = strchr(line, '#');

		line_no++;
		if (hash)
			*hash = '\0';

		char *who = word(&line);

		if (!who || !who_fits(w, who))
			continue;
		for (char *local; (local = word(&line)) != NULL;)
			if (local_fits(w, local, user))
				return line_no;
	}
	return 0;
}

static int decide(pam_handle_t *pamh, const struct options *o, const char *rhost, const char *user)
{
	struct reeve_options ro = { .socket = o->socket };
	struct reeve_who *who = NULL;
	char message[REEVE_MESSAGE_MAX] = "";
	enum reeve_result r = reeve_whois(rhost, &ro, &who, message);

	if (r == REEVE_NOBODY && o->outside_ignore)
		return PAM_IGNORE;
	if (r != REEVE_OK) {
		pam_syslog(pamh, LOG_NOTICE, "%s refused as %s: %s", rhost, user, message);
		return r == REEVE_UNREACHABLE || r == REEVE_TIMEOUT ? PAM_AUTHINFO_UNAVAIL : PAM_PERM_DENIED;
	}

	const char *name = who->login ? who->login : who->node_name ? who->node_name : "?";
	int verdict = PAM_PERM_DENIED;

	if (!who->valid) {
		pam_syslog(pamh, LOG_NOTICE, "%s (%s) refused as %s: no valid session: %s", name, rhost, user,
		           who->why ? who->why : "unknown");
	} else {
		char *text = map_read(pamh, o->map);
		unsigned line = text ? map_allows(text, who, user) : 0;

		if (line) {
			pam_syslog(pamh, LOG_INFO, "%s (%s) is %s by %s:%u", name, rhost, user, o->map, line);
			verdict = PAM_SUCCESS;
		} else if (text) {
			pam_syslog(pamh, LOG_NOTICE, "%s (%s) refused as %s: no line of %s allows it", name,
			           rhost, user, o->map);
		}
		free(text);
	}
	reeve_who_free(who);
	return verdict;
}

__attribute__((visibility("default")))
int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const void *rhost = NULL;
	const char *user = NULL;
	struct options o;

	(void)flags;
	if (!options_read(pamh, argc, argv, &o))
		return PAM_PERM_DENIED;
	if (pam_get_user(pamh, &user, NULL) != PAM_SUCCESS || !user || !*user)
		return PAM_USER_UNKNOWN;
	if (pam_get_item(pamh, PAM_RHOST, &rhost) != PAM_SUCCESS || !rhost || !*(const char *)rhost) {
		pam_syslog(pamh, LOG_NOTICE, "refused as %s: the server says no remote address", user);
		return PAM_PERM_DENIED;
	}
	if (o.debug)
		pam_syslog(pamh, LOG_DEBUG, "asking for %s as %s", (const char *)rhost, user);
	return decide(pamh, &o, rhost, user);
}
