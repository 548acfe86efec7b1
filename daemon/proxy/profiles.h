/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_PROFILES_H
#define DAEMON_PROXY_PROFILES_H

/*
 * Which identity headers applications know, as tables, and how an identity is
 * written into them. Core compiles profiles and the owner's own headers into
 * the snapshot; fronts write them.
 */

#include "base/err.h"
#include "daemon/proxy/headers.h"
#include "daemon/proxy/snapshot.h"

struct profile_row {
	const char         *name;       /* as it is written */
	const char         *value;      /* a template, as in custom_header */
	enum value_encoding encoding;
};

struct profile {
	const char               *name;
	const struct profile_row *rows; /* ends with a NULL name */
};

const struct profile *profile_find(struct span name);   /* NULL: unknown */

/* "{login}": FIELD_COUNT if there is no such field. */
enum ident_field profile_field(struct span name);

/* Cuts the next piece off a template. False at its end, or (with err set) at a fault. */
bool profile_piece_next(struct span *rest, enum ident_field *ret_field, struct span *ret_literal,
                        struct err *err);

enum { PROFILE_VALUE_MAX = 8 << 10 };   /* one header's value: applications take 8 KiB a line */

/* Who is written about: ident NULL writes nothing. */
struct profile_about {
	const struct snapshot   *snapshot;
	const struct snap_ident *ident;
	struct ip                address;       /* the caller's */
	struct span              assertion;     /* for {assertion}; empty: none */
};

/* Adds "Name: value\r\n" for every header of the service. False: one of them
 * cannot be written whole and true (too long, a group with a comma, a user
 * name that is not ASCII): the request is refused with *ret_why. */
bool profiles_write(const struct profile_about *about, struct snap_list headers, struct head_out *out,
                    const char **ret_why);

#endif
