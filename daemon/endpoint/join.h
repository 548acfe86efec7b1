/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_JOIN_H
#define ENDPOINT_JOIN_H

/*
 * Enrolment and login, this endpoint's side: the device key is proven to the
 * coordinator over pinned TLS, a person's login is begun and ended over the
 * mesh. One question at a time of each kind; a later one takes its place.
 * Where the issuer wants it, the login itself is made here: device_login.h.
 */

#include "daemon/control/client.h"

struct core;
struct join;

struct join *join_new(struct core *c, struct client *client);
void join_free(struct join *j);                 /* accepts NULL */

/* reply: pending, to choose from, or done, borrowed; err where it failed. Exactly one of them.
 * Of a pending login at the device (reply->device), join_url() and join_state() say more. */
typedef void join_fn(void *arg, const struct enrol_reply *reply, const struct err *err);

struct join_ask {
	const char       *url;          /* "https://HUB" */
	const struct enrol_pin *pins;
	size_t            pin_count;    /* at least one */
	struct span       enrol_key;    /* its secret; empty: log in */
	const char       *name;         /* wanted; "": the host's */
	uint16_t          loopback;     /* 0: none */
	const char       *issuer;       /* chosen; "": not yet */
};

/* A key that belongs to the mesh already: ERR_EXISTS. */
void join_up(struct join *j, const struct join_ask *ask, join_fn *fn, void *arg);
/* query: of a login at the device, what the browser brought to the loopback; else empty. */
void join_up_finish(struct join *j, const struct enrol_finish *f, struct span query, join_fn *fn, void *arg);

void join_login(struct join *j, const struct enrol_login *l, join_fn *fn, void *arg);
void join_login_finish(struct join *j, const struct enrol_finish *f, struct span query, join_fn *fn, void *arg);

/* Where to send the browser, and the state that it brings back; NULL: no such login is under way. */
const char *join_url(const struct join *j);
const char *join_state(const struct join *j);

/* reply has nothing but url: where the person logs out at the provider, too; "": nowhere. */
void join_logout(struct join *j, join_fn *fn, void *arg);

/* Whoever asked has gone: his function is not called any more. */
void join_forget(struct join *j, void *arg);

#endif
