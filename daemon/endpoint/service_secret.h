/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_SERVICE_SECRET_H
#define ENDPOINT_SERVICE_SECRET_H

/*
 * Secrets that services of the configuration name by a file: one line of
 * printable characters without spaces, in a file that its owner alone may read.
 */

#include "base/secret.h"
#include "daemon/endpoint/conf.h"

enum {
	SERVICE_SECRET_MAX = 1024,
	BASIC_SECRET_MIN   = 16,        /* bytes of a "basic-secret" */
};

bool service_secret_read(const char *path, size_t min, struct secret *ret_s, struct err *err);

/* "basic-secret" of each of conf's "services", in their order; empty where there is none. */
struct basic_secrets {
	struct secret *list;
	size_t         n;
};

/* Faults go to diags, all of them; false if there is any. */
bool basic_secrets_read(struct basic_secrets *ret_b, const struct conf *conf, struct diags *diags);
void basic_secrets_done(struct basic_secrets *b);

#endif
