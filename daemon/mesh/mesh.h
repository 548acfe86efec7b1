/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_MESH_H
#define DAEMON_MESH_MESH_H

/*
 * Device, links and packet filter as one thing that is told what shall be,
 * piece by piece, and keeps it so: what somebody else took away (a
 * tunnel process that died, `nft flush ruleset`) is put back from what was
 * told. It decides nothing and reads nothing from the network.
 *
 * The order of things is its own: the table stands, letting nothing through,
 * before the interface is up, and goes only after the interface has gone.
 */

#include "base/clock.h"
#include "daemon/mesh/cut.h"
#include "daemon/mesh/device.h"
#include "daemon/mesh/filter.h"
#include "daemon/mesh/link.h"

struct mesh_conf {
	const char         *interface;
	uint16_t            port;
	enum device_backend backend;
	const uint32_t     *users, *fronts;     /* as in struct filter_base */
	size_t              users_n, fronts_n;
	bool                users_any;
};

struct mesh;

/* Copies conf. Touches nothing yet. */
struct mesh *mesh_new(const struct mesh_conf *conf, struct err *err);

/* Lets go; what is there stays. Accepts NULL. */
void mesh_free(struct mesh *m);

/* Takes interface and table away, in this order. For a clean stop. */
bool mesh_remove(struct mesh *m, struct err *err);

/*
 * The table, then device, key, port, addresses, routes of the ranges, up. An
 * earlier process's are adopted. ERR_BUSY: the tunnel process does not answer yet, the table
 * stands already; try again soon. May be called again with other addresses.
 */
bool mesh_start(struct mesh *m, const struct secret *key, const struct prefix *addresses, size_t n,
		const struct overlay *ranges, struct err *err);
bool mesh_started(const struct mesh *m);

/* Between the two everything is told anew: nothing is taken away until
 * mesh_end(), which takes away what was not told again. Routes and far routes
 * are put there by mesh_end(), all at once. */
void mesh_reset(struct mesh *m);
bool mesh_end(struct mesh *m, struct boot now, struct err *err);

/* All of these need mesh_start(): ERR_NOTNOW. A tunnel process that is away just then is no
 * failure: mesh_check() tells it when it is back. */
bool mesh_peer(struct mesh *m, const struct device_peer *p, struct err *err);
bool mesh_peer_gone(struct mesh *m, const struct device_key *key, struct err *err);

/* Of a prefix into the mesh, beside the ranges. One that this host has an
 * address in (other than on the mesh's interface), or a peer its endpoint, is
 * left out until that has changed. */
bool mesh_route(struct mesh *m, const struct prefix *p, struct err *err);
bool mesh_route_gone(struct mesh *m, const struct prefix *p, struct err *err);

/*
 * An overlay address: its class, and whose it is (any number that is the same for the same person,
 * 0 for nobody in particular). Another prefix: a far route (filter_via), whose class and owner
 * do not matter. The timeout counts from now.
 *
 * The order for somebody else's: what is there is denied, then what is open with that
 * address ends (cut.h), then the new class counts. If that end fails the address stays denied.
 */
bool mesh_class(struct mesh *m, const struct prefix *p, uint32_t class, uint32_t who,
		int64_t timeout_ms, struct boot now, struct err *err);
/* Denied when it returns; what is open with the address waits for mesh_cut(). */
bool mesh_class_gone(struct mesh *m, const struct prefix *p, struct boot now, struct err *err);

/*
 * Ends the connections of all that are denied since the last time, in one pass; mesh_class() for
 * one of them, mesh_end() and mesh_check() (for classes that ran out) do it by themselves.
 * mesh_end(), and mesh_start() where an earlier process left its table, end those of everybody who
 * has no class. Fronts' own sockets are theirs to end.
 */
bool mesh_cut(struct mesh *m, struct err *err);
bool mesh_cut_waits(const struct mesh *m);
struct cut_count mesh_cut_count(const struct mesh *m);  /* since mesh_new() */
const char *mesh_cut_unable(const struct mesh *m);      /* cut_unable(); NULL before mesh_start(), too */

/* Replaces all rows; where some forward, forwarding is switched on. */
bool mesh_rows(struct mesh *m, const struct filter_rows *rows, struct boot now, struct err *err);

/* Becomes readable when something in nftables changed; -1 before mesh_start().
 * mesh_woken() reads it, and says whether mesh_check() is due at once; it is
 * due every few seconds anyway. */
int mesh_fd(const struct mesh *m);
bool mesh_woken(struct mesh *m);

/* Puts back what is no longer there. *ret_what (may be NULL) says what, for the log, or is NULL. */
bool mesh_check(struct mesh *m, struct boot now, const char **ret_what, struct err *err);

/* ERR_NOTNOW before mesh_start(). */
bool mesh_info(struct mesh *m, struct device_info *ret_info, enum device_backend *ret_backend,
	       struct err *err);
bool mesh_peers(struct mesh *m, device_peer_fn *fn, void *arg, struct err *err);
/* What the packet filter refused, since its table was made. */
bool mesh_counters(struct mesh *m, struct filter_counters *ret_c, struct err *err);

#endif
