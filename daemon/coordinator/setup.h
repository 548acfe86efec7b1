/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_SETUP_H
#define COORDINATOR_SETUP_H

/* What root does at the hub's own terminal: a new mesh, and an enrolment key
 * while nobody can log in yet. Both print to stdout and return an exit status. */

#include "daemon/coordinator/conf.h"

struct init_options {
	const char *endpoint_state;     /* the hub's reeved keeps its key there; made if absent */
	const char *hub_key;            /* or: its public key, base64; then no file is written there */
	const char *policy;             /* a file to begin with; NULL: nothing is allowed */
	const char *user;               /* who will own the database; NULL: who runs this */
	bool        own_accounts;       /* prints the first administrator's invitation */
};
int setup_init(const struct conf *conf, const struct init_options *o);

struct key_options {
	const char *const *tags;
	size_t             tag_count;
	int64_t            uses, expires;       /* expires: seconds from now */
	const char        *note;
	const char *const *pins;                /* beside those that are known */
	size_t             pin_count;
};
int setup_key(const struct conf *conf, const struct key_options *o);

#endif
