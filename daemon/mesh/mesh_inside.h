/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_MESH_INSIDE_H
#define DAEMON_MESH_MESH_INSIDE_H

/* What mesh.c and mesh_connections.c share. */

#include "base/hash.h"
#include "daemon/mesh/mesh.h"
#include "daemon/mesh/nl.h"

enum {
	MESH_ADDRESSES_MAX = 8,
	MESH_WAKES_MAX = 256,           /* handshakes that a device begins when it is new */
	MESH_WAKE_SEC = 1,
	MESH_WAKING_SEC = 4,
};

/* What was told, each with whether it was told since mesh_reset(). */
struct peer {
	struct device_peer p;           /* p.allowed is allowed */
	struct prefix     *allowed;
	struct ipport      seen;        /* where the device last heard it */
	bool               waking;      /* its keepalive is MESH_WAKE_SEC for now */
	bool               fresh;
};

struct route {
	struct prefix to;
	bool          fresh;
};

struct class {
	struct filter_class c;
	struct boot         deadline;
	bool                fresh;
};

struct via {
	struct prefix to;
	struct boot   deadline;
	bool          fresh;
};

struct mesh {
	struct mesh_conf conf;          /* its pointers are the next three */
	char            *interface;
	uint32_t        *users, *fronts;

	struct secret  key;
	struct overlay ranges;
	struct prefix  addresses[MESH_ADDRESSES_MAX];
	size_t         addresses_n;

	struct filter      *filter;
	struct device      *device;
	enum device_backend backend;
	struct link        *link;
	struct nl          *events;
	struct cut         *cut;
	struct cut_count    cut_count;
	bool                started;
	bool                resetting;  /* until mesh_end(): take nothing away */
	unsigned            wakes;      /* how many peers a new device still says something to */
	struct boot         woken;      /* when those were told that are waking; 0: nobody is */
	bool                behind;     /* the device missed something: mesh_check() tells it */

	struct dict *peers, *routes, *classes, *vias;
	struct filter_row     *rows;
	struct filter_forward *forward;
	size_t                 rows_n, forward_n;
	bool                   rows_told;
};

static inline struct span mesh_key_of_ip(const struct ip *ip)
{
	return span_of(ip->b, ip_len(ip));
}

static inline struct boot mesh_deadline(int64_t timeout_ms, struct boot now)
{
	if (timeout_ms >= FILTER_TIMEOUT_MAX_MS)
		return BOOT_NEVER;
	return boot_add(now, timeout_ms * 1000000);
}

/* Ends what is open with everybody who has no class. routed: also what goes through this host. */
bool mesh_sweep_connections(struct mesh *m, bool routed, struct err *err);

/* Classes whose time is over: the kernel let their packets go no further then. */
void mesh_note_expired(struct mesh *m, struct boot now);

/* Of a table that an earlier process left: who was behind which address is in it; whose class ran out
 * while nobody looked may have left connections. */
bool mesh_adopt(struct mesh *m, struct err *err);

#endif
