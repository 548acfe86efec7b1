/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_FLAT_H
#define POLICY_FLAT_H

/*
 * The layout of the tables: policy/tables_build.c writes it, policy/tables.c
 * reads it. Offsets are bytes from the start of the block, every array begins
 * at a multiple of 8.
 */

#include <stdint.h>

#define FLAT_MAGIC UINT64_C(0x3176796c6f507652)         /* "RvPolyv1", little-endian */

enum {
	FLAT_INDEX_FROM = 9,    /* entries of one list: fewer are walked, more have an index */
};

struct flat_list { uint32_t off, count; };
struct flat_str { uint32_t off, len; };

struct tables {
	uint64_t         magic;
	uint32_t         size, has_owner;
	uint64_t         generation;
	struct flat_list classes;       /* flat_class, by class id */
	struct flat_list services;      /* flat_service; id is the position + 1 */
	struct flat_list rules;         /* flat_rule; id is the position + 1 */
	struct flat_list dests;         /* flat_dest, by family and address */
	struct flat_list login;         /* flat_row of CLASS_LOGIN */
	struct flat_str  strings;       /* the pool that every flat_str points into */
};

struct flat_class {
	struct flat_list rows;          /* flat_row, by dest, proto and port; disjoint */
	struct flat_list sets;          /* flat_set, by service */
	struct flat_str  caps;
	uint32_t         live, pad;
};

struct flat_row {
	int64_t  stale;
	uint32_t dest, rule, local;
	uint16_t lo, hi;
	uint8_t  proto, pad[7];
};

struct flat_dest {
	uint64_t lo[2], hi[2];          /* high half first */
	uint32_t id;
	uint8_t  family, local, pad[2];
};

struct flat_service {
	struct flat_str  name;
	struct flat_list ports;         /* uint16_t */
	uint32_t         first_rule;    /* a rule that opens it for somebody, or 0 */
	uint32_t         pad;
};

struct flat_entries {
	struct flat_list entries;       /* flat_entry */
	struct flat_list buckets;       /* flat_bucket, a power of two; none: walk the entries */
};

struct flat_set {
	uint32_t            service, pad;
	struct flat_entries by[2];      /* the policy's, the owner's */
};

struct flat_entry {
	uint32_t rule, ports;
	uint8_t  families, strong, pad[2];
};

struct flat_bucket {
	uint64_t         hash;
	struct flat_list items;         /* flat_item; none: a free place */
};

struct flat_item { uint32_t entry, match, path; };      /* match, path: positions, FLAT_ANY: none */

#define FLAT_ANY UINT32_MAX

struct flat_rule {
	int64_t          max_age, stale;
	uint32_t         line, col, index, flags;
	struct flat_str  text, acr, amr;
	struct flat_list matches;       /* flat_match; none: every request */
};

enum { FLAT_OWNER = 1, FLAT_ACL = 2, FLAT_AUTH = 4, FLAT_MFA = 8, FLAT_HTTP = 16 };

struct flat_match { struct flat_list methods, hosts, paths; };  /* of flat_str; none: any */

/* FNV-1a, which both sides walk along a path. */
#define FLAT_HASH0 UINT64_C(0xcbf29ce484222325)
static inline uint64_t flat_hash(uint64_t h, unsigned char c)
{
	return (h ^ c) * UINT64_C(0x100000001b3);
}

#endif
