/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_FORWARD_ACCESS_H
#define ENDPOINT_FORWARD_ACCESS_H

/*
 * Who may ask for a web server (daemon/proxy/forward.h): the users and secrets
 * that "forward-users" and "forward-secret" name, looked up once for each
 * configuration. Of a secret its digest is kept. And the unix sockets over
 * which they ask, which the parent makes: their folder is root's, or the
 * owner's choice.
 */

#include "daemon/endpoint/conf.h"
#include "daemon/proxy/forward.h"

struct forward_access {
	uint32_t      uids[FORWARD_USERS_MAX];
	size_t        uid_count;
	bool          has_secret;
	unsigned char digest[FORWARD_DIGEST_LEN];
};

/* One for each of conf's "services", then one for each in "public", in their order. */
struct forward_accesses {
	struct forward_access *list;
	size_t                 n, public_from;
};

/* Faults go to diags, all of them; false if there is any. */
bool forward_accesses_read(struct forward_accesses *ret_a, const struct conf *conf, struct diags *diags);
void forward_accesses_done(struct forward_accesses *a);
/* Of the i-th service there, or in "public"; NULL: a is NULL, or has none, and nobody may ask. */
const struct forward_access *forward_access_get(const struct forward_accesses *a, bool public, size_t i);

/* The first folder of the sockets, RUN-DIR/forward. The caller frees. */
char *forward_folder(const struct conf *conf);
/* The path of a "unix:" listen text. The caller frees. */
char *forward_socket_path(const struct conf *conf, struct span listen);
/*
 * A listening socket at the path of that text, which is a service's of conf; what was
 * left there by an earlier life is removed. Its owner is the first of the
 * service's users; with several everybody may connect, and the front tells them
 * apart. -1 with err.
 */
int forward_socket_open(const struct conf *conf, struct span text, struct err *err);

#endif
