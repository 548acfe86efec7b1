/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_LINK_H
#define DAEMON_MESH_LINK_H

/*
 * Addresses, MTU, state and routes of the mesh interface, by rtnetlink. Each
 * call states what shall be and changes only what is not so: calling twice
 * changes nothing. It never touches another interface's addresses, nor a
 * route of another protocol number. A missing interface is ERR_MISSING.
 */

#include "base/err.h"
#include "base/ip.h"

enum {
	LINK_ADDRESSES_MAX = 16,
	LINK_ROUTES_MAX = 4096,
	LINK_ROUTE_PROTOCOL = 114,      /* RTA protocol of our routes: ip route show proto 114 */
	LINK_ROUTE_METRIC = 5000,       /* a directly connected network of the same length wins */
	LINK_KIND_MAX = 32,
};

struct link;                    /* one rtnetlink socket */

struct link *link_open(struct err *err);
void link_close(struct link *l);        /* accepts NULL */

bool link_find(struct link *l, const char *name, unsigned *ret_index, struct err *err);

/* What made it: "wireguard", "tun", "veth", ...; "" for hardware. */
bool link_kind(struct link *l, const char *name, char ret_kind[LINK_KIND_MAX], struct err *err);

/* No such interface is success. */
bool link_delete(struct link *l, const char *name, struct err *err);

bool link_up(struct link *l, const char *name, unsigned mtu, struct err *err);
bool link_down(struct link *l, const char *name, struct err *err);

/* The interface then has exactly these (link-local ones aside). */
bool link_addresses(struct link *l, const char *name, const struct prefix *addrs, size_t n,
		    struct err *err);

/* The interface then carries exactly these routes of ours. src (either may be
 * NULL) is the preferred source of each family. A prefix that this host is on
 * itself is the caller's to leave out: see link_local(). */
bool link_routes(struct link *l, const char *name, const struct prefix *routes, size_t n,
		 const struct ip *src4, const struct ip *src6, struct err *err);

/* The same, and those that are there already stay. */
bool link_routes_add(struct link *l, const char *name, const struct prefix *routes, size_t n,
		     const struct ip *src4, const struct ip *src6, struct err *err);

struct link_address {
	struct ip ip;
	uint8_t   bits;                 /* of its network; ip has its host bits */
};

/* This host's addresses on interfaces that are up, other than `except` (NULL:
 * none) and loopback; without link-local, deprecated, tentative and temporary
 * ones. Further ones than max are left out. */
bool link_local(struct link *l, const char *except, struct link_address *ret_addrs, size_t max,
		size_t *ret_n, struct err *err);

/* Forwarding of both families, for gateways. Interfaces that take IPv6 router
 * advertisements are told to go on doing so (accept_ra = 2), since a router
 * otherwise ignores them. Forwarding is never turned off here. */
bool link_forwarding(struct err *err);

#endif
