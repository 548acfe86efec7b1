/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_FORWARD_H
#define DAEMON_PROXY_FORWARD_H

/*
 * Forward authentication: a web server that the owner already has stays in
 * front, and asks here for each request whether it may pass and who it is. The
 * question is judged by the same steps as a request of our own front
 * (request.c); the answer is 200 with the service's identity headers, to be
 * copied, or a refusal. There is never a redirect, so there is no loop of them; but
 * for people with only a browser (browser.c), who are sent to log in as a front
 * would send them.
 *
 * What the helper says of the caller (address, method, target, host) is
 * believed only from a peer that is allowed: on a unix socket by its user
 * (SO_PEERCRED), elsewhere on loopback by a secret in X-Reeve-Secret.
 *
 * What cannot be taken back from a request is refused: identity headers that
 * the client itself says, and targets that the helper would pass on in another
 * form than the one judged here.
 */

#include "base/span.h"

/* How a helper asks; the rows are in forward.c. 0: it is no such listener. */
enum forward_style {
	FORWARD_NONE = 0,
	FORWARD_NGINX,          /* auth_request: understands 2xx, 401 and 403 alone */
	FORWARD_TRAEFIK,        /* forwardAuth */
	FORWARD_CADDY,          /* forward_auth */
	FORWARD_HAPROXY,        /* contrib/forward-auth/haproxy/reeve.lua */
	FORWARD_ENVOY,          /* ext_authz over HTTP */
	FORWARD_APACHE,         /* contrib/forward-auth/apache/reeve.lua */
	FORWARD_STYLES
};

enum {
	FORWARD_SECRET_MIN  = 32,       /* bytes of a secret: not to be guessed */
	FORWARD_DIGEST_LEN  = 32,       /* SHA-256 of it, which is all that a front knows */
	FORWARD_USERS_MAX   = 64,       /* users who may ask at one listener */
};

/* What a front knows of a secret. */
void forward_digest(struct span secret, unsigned char out[FORWARD_DIGEST_LEN]);

#endif
