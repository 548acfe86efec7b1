/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_SYNC_H
#define DIRECTORY_SYNC_H

/* The messages of RFC 4533, read strictly: what does not parse ends the search. */

#include "base/span.h"

#include <ldap.h>

enum {
	SYNC_UUID = 16,
	SYNC_COOKIE_MAX = 4096,         /* a longer one is as none: what was had before it goes on */
};

struct sync_cookie { size_t len; char bytes[SYNC_COOKIE_MAX]; };       /* len 0: none */

/* The request's control value (refreshAndPersist, from the cookie on; empty: from the beginning);
 * ber_bvfree(). */
struct berval *sync_request(struct span cookie);

/* An entry's Sync State control. */
struct sync_state {
	int                state;       /* LDAP_SYNC_ADD, ... */
	unsigned char      uuid[SYNC_UUID];
	struct sync_cookie cookie;
};
bool sync_state_read(LDAPControl *const *controls, struct sync_state *ret);

/* A Sync Info message. */
struct sync_info {
	bool      refreshed;            /* the first, whole answer is over */
	bool      present;              /* what was not mentioned is gone (3.3.1) */
	bool      remove;               /* uuids are gone; else they are only said to be there */
	struct sync_cookie cookie;
	BerVarray uuids;                /* NULL: none; ber_bvarray_free() */
};
bool sync_info_read(const struct berval *value, struct sync_info *ret);

#endif
