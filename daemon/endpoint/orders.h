/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_ORDERS_H
#define ENDPOINT_ORDERS_H

/*
 * What net shall have, against what it was told: the smallest orders between
 * the two, in the order that never lets one node speak with another's rights.
 * Deny first (orders_deny()), then connections end (the fronts' by the caller, everybody else's by
 * net: daemon/mesh/cut.h), then devices,
 * routes and rows change, then new rights are given (orders_allow()).
 * It only writes messages; core.c sends them.
 */

#include "base/arena.h"
#include "base/clock.h"
#include "daemon/endpoint/messages.h"

struct order_peer {
	uint8_t              key[MSG_KEY_LEN];
	struct ipport        endpoint;          /* family IP_NONE: none known */
	uint16_t             keepalive;
	const struct prefix *prefixes;          /* ascending */
	size_t               prefix_count;
};

struct order_class {
	struct ip   ip;
	uint8_t     key[MSG_KEY_LEN];           /* whose address it is: the one with which its node came (world.h) */
	uint32_t    klass;
	uint32_t    who;                        /* the person, or node, behind it for now (world_who()) */
	struct boot until;                      /* when it must end */
	struct boot told;                       /* when net will end it by itself; orders_allow() fills it in */
};

struct order_via {
	struct prefix to;
	struct boot   until, told;
};

/* Everything in mem. Fill it, then net_state_sort() it. */
struct net_state {
	struct arena         mem;
	bool                 device;            /* there is one at all */
	uint8_t              key[MSG_KEY_LEN];  /* public key of this node: who we are */
	const struct prefix *addresses, *ranges;
	size_t               address_count, range_count;
	struct order_peer   *peers;
	size_t               peer_count;
	struct order_class  *classes;
	size_t               class_count;
	struct msg_row      *rows;              /* IN, FORWARD, OWN */
	size_t               row_count;
	struct order_via    *vias;
	size_t               via_count;
	struct prefix       *routes;
	size_t               route_count;
	struct msg_host     *hosts;
	size_t               host_count;
};

struct net_state *net_state_new(void);
void net_state_free(struct net_state *s);       /* accepts NULL */
void net_state_sort(struct net_state *s);

/* m has no order number yet; bytes belong into its memfd, or ptr is NULL. */
typedef void order_fn(void *arg, struct msg *m, struct span bytes);

/* Takes rights away: addresses that are nobody's any more or that change hands: another key has it,
 * or another person is logged in there, or nobody is any more.
 * Returns how many. told NULL: net knows nothing. */
size_t orders_deny(const struct net_state *told, const struct net_state *want, order_fn *fn, void *arg);

/* Everything else. The device itself (MSG_DEVICE, with its private key) is the
 * caller's: before this, if orders_device() says so. want is what net was told from now on. */
bool orders_device(const struct net_state *told, const struct net_state *want);
size_t orders_allow(const struct net_state *told, struct net_state *want, struct boot now,
                    order_fn *fn, void *arg);

/* When orders_allow() should look at the deadlines again, because one that net
 * was told is about to end and may be longer by then. */
struct boot orders_again(const struct net_state *told, struct boot now);

#endif
