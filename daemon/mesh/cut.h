/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_CUT_H
#define DAEMON_MESH_CUT_H

/*
 * Ends what is open with a peer, from below: the packet filter stops packets
 * at once, and leaves the applications of this host with their half of a
 * connection, which flows on should the address be let through again for
 * somebody else. So, between "deny" and the next "allow":
 *
 *  - TCP sockets, and UDP sockets that are connected, whose local address is
 *    one of this host's overlay addresses and whose remote one is the peer's,
 *    IPv4, IPv6 and IPv4 within IPv6, whoever opened them: destroyed
 *    (sock_diag(7), SOCK_DESTROY), so that reading ends with ECONNABORTED.
 *  - What goes through a gateway has no socket here: its entries of connection
 *    tracking are deleted, one by one and never flushed. This revokes nothing,
 *    filter.h does; it makes a packet in the middle of the first person's
 *    TCP connection one that opens nothing, which the filter drops for ever.
 *
 * Listening sockets, UDP sockets that anybody may write to, other addresses,
 * and a connection of this host with itself are never touched.
 */

#include "daemon/mesh/overlay.h"

enum {
	CUT_DEADLINE_MS = 2000, /* of one cut_run(), however much there is */
	CUT_MAX = 1 << 18,      /* sockets or flows that one pass ends */
};

struct cut;

struct cut_scope {
	const struct overlay *ranges;
	const struct prefix *own; /* this host's overlay addresses */
	size_t own_n;
	/* Users whose sockets are left: fronts, which look at whom they serve themselves and
	 * may have to answer who lost everything else. */
	const uint32_t *spared;
	size_t spared_n;
	bool routed; /* this host forwards: flows, too */
};

struct cut_count {
	size_t sockets, flows;
};

/* Needs CAP_NET_ADMIN. A kernel that cannot do it is no failure: cut_able(). */
struct cut *cut_open(struct err *err);
void cut_close(struct cut *c); /* accepts NULL */

/* Why sockets (flows) stay open on this kernel, in words; NULL: they do not. */
const char *cut_unable(const struct cut *c);

/* Somebody whose connections shall end, with the next cut_run(). The packet filter denies them
 * already. */
void cut_add(struct cut *c, const struct ip *peer);

/* Whether this peer still waits for it; NULL: whether anybody does. */
bool cut_waits(const struct cut *c, const struct ip *peer);

/*
 * One pass over the sockets and flows that `scope` holds, for all that were added; they are
 * forgotten when it is done. Adds to *count what it ended; what ended by itself meanwhile has
 * ended. ERR_TIMEOUT, ERR_LIMIT: some of it is left, and they wait on: call again.
 */
bool cut_run(struct cut *c, const struct cut_scope *scope, struct cut_count *count,
	     struct err *err);

/* The same for every peer that `stays` does not say yes to, and those that were added. */
typedef bool cut_stays_fn(void *arg, const struct ip *peer);
bool cut_sweep(struct cut *c, const struct cut_scope *scope, cut_stays_fn *stays, void *arg,
	       struct cut_count *count, struct err *err);

#endif
