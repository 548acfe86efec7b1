/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_HTTP_TARGET_H
#define DAEMON_PROXY_HTTP_TARGET_H

/*
 * One normal form of a request's target and host: what policy judges is what
 * is written upstream, byte for byte. Where applications are known to read a
 * path in a second way (path parameters dropped, encoded slashes decoded, all
 * escapes decoded twice, double slashes merged), that reading is produced too, and policy must allow
 * both.
 *
 * Path: escapes of unreserved characters are decoded, all others written with
 * capitals; what RFC 3986 does not allow raw is escaped; "." and ".."
 * segments are resolved. Refused: what climbs above the root, a ".." behind an
 * empty segment, "." or ".." with parameters ("..;x") or escaped twice, backslashes, %00 (or %2500), a "#",
 * bad escapes, and what is not UTF-8 once decoded. Encoded slashes only where
 * asked for.
 *
 * Query: kept as sent, what RFC 3986 does not allow raw is escaped; bad
 * escapes and %00 are refused; a fragment behind it is dropped.
 */

#include "daemon/proxy/message.h"

enum { TARGET_OUT = 3 * HTTP_TARGET_MAX + 8 };

struct target {
	char        path_buf[TARGET_OUT], alt_buf[TARGET_OUT], query_buf[TARGET_OUT];
	char        host_buf[HTTP_HOST_MAX + 3];
	struct span path;       /* begins with "/"; "*" for OPTIONS * */
	struct span alt;        /* the second reading; ptr NULL if there is only one */
	struct span query;      /* with its "?"; empty if there was none */
	struct span host;       /* folded: lower case, no port, no final dot; "1.2.3.4", "fd00::1" */
	uint16_t    port;       /* of Host; 0: none given */
	bool        encoded_slash;
};

enum { TARGET_ENCODED_SLASH = 1 };      /* flags */

/* What a log may say of a target as it was sent, before it is judged: its path. Queries carry tokens, and what
 * stands before a host passwords. Borrows from it; empty where there is no path to tell. */
struct span target_said(struct span target);

/* m is a parsed request. tls: the connection's, for the scheme of absolute forms. */
bool target_normalise(struct target *t, const struct message *m, bool tls, unsigned flags,
                      struct fault *ret_fault);

/* The same for a bare path ("/a/b?c"), for HTTP/2 and tests; t->host is left alone. */
bool target_path(struct target *t, struct span raw, unsigned flags, struct fault *ret_fault);

/* A Host value: folds into buf. False: malformed. */
bool host_fold(struct span raw, char buf[HTTP_HOST_MAX + 3], struct span *ret_host, uint16_t *ret_port);

#endif
