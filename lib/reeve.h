/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef REEVE_H
#define REEVE_H

/*
 * libreeve: which person or server stands behind an overlay address, asked of
 * the reeved of this host over its local socket. For programs that accept a
 * connection themselves and want to know who calls.
 *
 * It holds no state, starts no thread, changes no signal, and is safe to use
 * from several threads. An answer is as fresh as the moment it was given: ask
 * again for a connection that lives long. Next: lib/pam_reeve.c uses it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

#define REEVE_API __attribute__((visibility("default")))

enum {
	REEVE_ANSWER_MAX  = 256 * 1024, /* bytes; a person in four thousand groups fits */
	REEVE_TIMEOUT_MS  = 2000,       /* for the whole question, unless told otherwise */
	REEVE_MESSAGE_MAX = 256,
};

enum reeve_result {
	REEVE_OK = 0,           /* somebody: see `valid` */
	REEVE_NOBODY,           /* the address is no node's that this host was told of */
	REEVE_BAD_ADDRESS,      /* not a numeric address */
	REEVE_UNREACHABLE,      /* no reeved answers at the socket */
	REEVE_TIMEOUT,
	REEVE_PROTOCOL,         /* an answer that cannot be read */
};

struct reeve_who {
	/* True if this identity counts now: a person with a session that has not ended,
	 * or a tagged server. If false, nobody may be let in on the strength of the
	 * rest; `why` says why, in a word: "never", "expired", "revoked", ... */
	bool  valid;
	char *why;              /* NULL if valid */

	char  *node, *node_name;        /* "n3", "laptop" */
	char **tags;                    /* of a server; count in tag_count */
	size_t tag_count;

	/* Of a person; NULL for a server. login is unique in the mesh; (issuer, subject) is the person. */
	char  *login, *name, *email, *issuer, *subject, *user;
	char **groups;
	size_t group_count;

	/* Of a person's session; NULL and 0 where there is none. */
	char  *session, *acr;
	char **amr;
	size_t amr_count;
	int64_t auth_time, expires;     /* seconds since 1970; 0: unknown */
};

struct reeve_options {
	const char *socket;     /* NULL: the path this library was built with */
	int         timeout_ms; /* 0: REEVE_TIMEOUT_MS */
};

/*
 * addr: "100.64.0.9", "fd00::9", "100.64.0.9:4711" or "[fd00::9]:4711". On
 * REEVE_OK *ret_who is the caller's (reeve_who_free()); on everything else it is
 * untouched and message, if given, says what happened. opt may be NULL.
 */
REEVE_API enum reeve_result reeve_whois(const char *addr, const struct reeve_options *opt,
                                        struct reeve_who **ret_who,
                                        char message[REEVE_MESSAGE_MAX]);

/* The same for the peer of a connected socket. An AF_UNIX peer is REEVE_BAD_ADDRESS. */
REEVE_API enum reeve_result reeve_whois_peer(int fd, const struct reeve_options *opt,
                                             struct reeve_who **ret_who,
                                             char message[REEVE_MESSAGE_MAX]);

REEVE_API void reeve_who_free(struct reeve_who *who);   /* accepts NULL */

/* False for who == NULL and for an identity that is not valid. */
REEVE_API bool reeve_who_in_group(const struct reeve_who *who, const char *group);
REEVE_API bool reeve_who_has_tag(const struct reeve_who *who, const char *tag);

#ifdef __cplusplus
}
#endif

#endif
