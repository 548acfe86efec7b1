/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_SNAPSHOT_BLOCK_H
#define DAEMON_PROXY_SNAPSHOT_BLOCK_H

/*
 * How the block of snapshot.h lies in memory: a head, then arrays, each at an
 * offset that is a multiple of 8. Known to snapshot.c and snapshot_build.c alone.
 */

#include "base/hash.h"
#include "daemon/proxy/snapshot.h"

#define SNAPSHOT_MAGIC UINT64_C(0x33306e7365657672)     /* "rveesn03" */
enum { SNAPSHOT_ALIGN = 64 };

enum snap_part {
	PART_IDENTS = 0,        /* struct snap_ident */
	PART_ADDRS,             /* struct snap_addr, a power of two of them: a hash table */
	PART_SESSIONS,          /* struct snap_session, a hash table too */
	PART_LENGTHS,           /* struct snap_length, the longest first */
	PART_PREFIXES,          /* struct snap_prefix, sorted within each length */
	PART_SERVICES,          /* struct snap_service */
	PART_LISTENS,           /* struct snap_listen */
	PART_HOSTS,             /* struct snap_host, sorted by listen and host */
	PART_UPSTREAMS, PART_HEADERS, PART_PIECES,
	PART_NUMBERS,           /* uint32_t */
	PART_REFS,              /* struct snap_ref */
	PART_STRIPS,            /* struct snap_ref, folded names, sorted */
	PART_POLICY,            /* bytes */
	PART_TEXT,              /* bytes */
	PART_COUNT
};

struct snap_part_at {
	uint64_t off;
	uint64_t count;         /* of items; of bytes for policy and text */
};

struct snap_addr {
	uint8_t  ip[16];        /* IPv4 as ::ffff:a.b.c.d */
	uint32_t slot;
	uint32_t used;
};

struct snap_session {
	uint8_t  hash[SNAPSHOT_HASH_LEN];
	uint32_t slot;
	uint32_t used;
};

struct snap_length {
	uint32_t bits, first, count, pad;
};

struct snap_prefix {
	uint8_t  ip[16];
	uint32_t slot, pad;
};

struct snap_host {
	struct snap_ref host;
	uint32_t        listen, service;
};

struct snap_head {
	uint64_t            magic, size;
	struct snap_part_at parts[PART_COUNT];
	struct hash_key     key;        /* of PART_ADDRS: drawn for each block */
	int64_t             lease, heard;
	uint64_t            epoch, seq, table;
	struct snap_ref     mesh, host, login_url, source_url, contact, jwks, page;
};

/* An address as the table has it. False for none. */
bool snap_ip(const struct ip *ip, uint8_t out[16]);

#endif
