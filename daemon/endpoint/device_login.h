/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_DEVICE_LOGIN_H
#define ENDPOINT_DEVICE_LOGIN_H

/*
 * A login at the device (RFC 8252): state, nonce, PKCE verifier and the
 * opening of the nonce are drawn here, the browser ends at the person's own
 * loopback, and the code is redeemed here. The coordinator sees the ID token
 * and the opening, and nothing with which it could have made them.
 *
 * Where the owner has configured the issuer ("issuers"), that row's client and
 * certificates count, not the coordinator's word.
 */

#include "base/secret.h"
#include "daemon/control/enrol_idp.h"

struct core;
struct device_login;

/* Called once, later: err is NULL where the login has begun, and the URL is to be opened. */
typedef void device_started_fn(void *arg, const struct err *err);
struct device_login *device_login_new(struct core *c, const struct enrol_idp *idp, uint16_t loopback,
                                      device_started_fn *fn, void *arg, struct err *err);
void device_login_free(struct device_login *d);         /* wipes; not from inside a callback of its own; accepts NULL */

const char *device_login_url(const struct device_login *d);     /* NULL before it has begun */
const char *device_login_state(const struct device_login *d);

/* Whether the one that was refused would go on with a page of the provider's: asked silently, it showed none. */
bool device_login_wants_person(const struct device_login *d);

/* The query of what the browser brought to http://127.0.0.1:PORT/callback. Once; the
 * finish is the callee's to fill in with its attempt, and to encode. */
typedef void device_finished_fn(void *arg, struct enrol_finish *evidence, const struct err *err);
void device_login_finish(struct device_login *d, struct span query, device_finished_fn *fn, void *arg);

#endif
