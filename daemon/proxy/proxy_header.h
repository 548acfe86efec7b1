/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_PROXY_HEADER_H
#define DAEMON_PROXY_PROXY_HEADER_H

/*
 * The header that goes before a forwarded TCP stream and says who calls: the
 * PROXY protocol, version 1 (text) and version 2 (binary), as haproxy's
 * doc/proxy-protocol.txt (2020/03/05) defines it. Writing only: a header that
 * arrives is never read, since no client's word becomes an address.
 *
 * Beside the addresses, version 2 carries PP2_TYPE_UNIQUE_ID, PP2_TYPE_CRC32C, and
 * one vector of our own, PROXY_TLV_REEVE: a version byte (1), then vectors of
 * type (1 byte), length (2 bytes, network order) and value; see enum
 * proxy_reeve_field. A reader skips types that it does not know.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"

enum {
	PROXY_TLV_REEVE = 0xE7,         /* within PP2_TYPE_MIN_CUSTOM..MAX_CUSTOM (0xE0..0xEF) */
	PROXY_REEVE_VERSION = 1,
	PROXY_HEADER_MAX = 16 + 65535,  /* the length field's range */
	PROXY_UNIQUE_ID_MAX = 128,      /* the specification's limit */
	PROXY_AUTHORITY_MAX = 255,      /* HAProxy's, which leaves out what is longer */
};

enum proxy_reeve_field {
	PROXY_REEVE_LOGIN = 1,
	PROXY_REEVE_NAME = 2,
	PROXY_REEVE_EMAIL = 3,
	PROXY_REEVE_USER = 4,           /* "u2": stable, never reused */
	PROXY_REEVE_ISSUER = 5,
	PROXY_REEVE_SUBJECT = 6,
	PROXY_REEVE_NODE = 7,
	PROXY_REEVE_SESSION = 8,
	PROXY_REEVE_GROUP = 9,          /* once for each */
	PROXY_REEVE_TAG = 10,           /* once for each */
	PROXY_REEVE_EXPIRES = 11,       /* 8 bytes, network order: seconds since 1970 */
};

struct proxy_header {
	struct ipport src, dst;         /* of one family */
	struct span   unique_id;        /* empty: left out */
	/* Who; empty ones are left out. */
	struct span   login, name, email, user, issuer, subject, node, session;
	const struct span *groups; size_t group_count;
	const struct span *tags;   size_t tag_count;
	int64_t       expires;          /* 0: left out */
	/* Also says the login as the common name of a verified TLS client certificate
	 * (PP2_TYPE_SSL), which Dovecot and others take as user name. The owner opts in: it
	 * tells the application something that is true only in effect. */
	bool          login_as_cn;
	/* Likewise as the authority (PP2_TYPE_AUTHORITY), which is what HAProxy before 2.9 can
	 * read of a header beside the addresses. ERR_DENIED without a login: its reader must
	 * not take an authority that is absent for one that it need not look at. */
	bool          login_as_authority;
};

/* "PROXY TCP4 ...\r\n"; at most 107 bytes. */
bool proxy_header_v1(const struct proxy_header *h, struct buf *out, struct err *err);

/* ERR_LIMIT if it would not fit: nothing is shortened. */
bool proxy_header_v2(const struct proxy_header *h, struct buf *out, struct err *err);

#endif
