/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_SYNC_H
#define DIRECTORY_SYNC_H

/* The messages of RFC 4533, read strictly: what does not parse ends the search. */

#include "base/span.h"

#include <ldap.h>

enum { SYNC_UUID = 16 };

/* The request's control value (refreshAndPersist, from the beginning); ber_bvfree(). */
struct berval *sync_request(void);

/* An entry's Sync State control. */
struct sync_state { int state; unsigned char uuid[SYNC_UUID]; };        /* LDAP_SYNC_ADD, ... */
bool sync_state_read(LDAPControl *const *controls, struct sync_state *ret);

/* A Sync Info message. */
struct sync_info {
	bool      refreshed;            /* the first, whole answer is over */
	bool      remove;               /* uuids are gone; else they are only said to be there */
	BerVarray uuids;                /* NULL: none; ber_bvarray_free() */
};
bool sync_info_read(const struct berval *value, struct sync_info *ret);

#endif
