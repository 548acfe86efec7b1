/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_WORLD_H
#define ENDPOINT_WORLD_H

/*
 * Who is here and what follows from it: the map (or the identities file)
 * becomes policy's topology, that is compiled for this endpoint, and from
 * both come the state that net shall have and the snapshots for the fronts.
 * It keeps what it was given until it is given something else, reads no file
 * and no clock. Next: core.c, which sends what this makes.
 */

#include "base/clock.h"
#include "daemon/control/map.h"
#include "daemon/endpoint/claims.h"
#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/forward_access.h"
#include "daemon/endpoint/identities.h"
#include "daemon/endpoint/orders.h"
#include "daemon/endpoint/successors.h"
#include "daemon/proxy/snapshot.h"
#include "policy/compile.h"

enum {
	WORLD_CLASS_BITS = 20,          /* of a filter class: the rest is the epoch, so that classes of
	                                 * an earlier core are nobody's (4,095 restarts) */
	WORLD_EPOCH_MAX  = (1 << (32 - WORLD_CLASS_BITS)) - 1,
	WORLD_KEEPALIVE  = 25,          /* seconds, towards the hub: keeps a way open through NAT */
};

/* One node of the map, or one row of the identities file. */
struct party {
	uint64_t                   id;
	struct map_node           *node;        /* a reference; NULL in standalone mode */
	const struct identity_row *row;         /* NULL in the mesh */
	enum claim_verdict         v4, v6;
	enum ident_why             why;         /* no session: why */
	bool                       mark;        /* world_set_map()'s */
	/* When its session ends if the wall clock goes on as it went when the session came. */
	uint64_t                   end_session;
	struct wall                end_wall;
	struct boot                end;
	unsigned                   way;         /* which of its endpoints is tried; see core_paths.c */
	uint64_t                   rx, tx;      /* of the device, when last looked at */
	int64_t                    shake, shake_other;  /* of the key in use, and of the other one: last handshakes */
	/* Another key of the same node (successors.h). anchor: the key with which it came here; who()'s,
	 * so that a node with another key is who it was. */
	uint8_t                    anchor[MAP_KEY_LEN];
	bool                       turning;     /* node->next counts: a second peer */
	bool                       turned;      /* ... and is the one in use */
	struct ip                  next_v6;     /* that follows from it */
	struct ip                  old_v6;      /* of the key before: still its own for a while; IP_NONE */
	uint8_t                    old_key[MAP_KEY_LEN];
	struct boot                old_since;
	struct wall                used;        /* a break-glass key: when its use was last said */
	/* A browser's (core_browser.c): the session whose renewal was tried, and when one may be. */
	uint64_t                   renewed;
	struct boot                renew_after;
	/* The cookie before a renewal goes on for COOKIE_GRACE_SEC: another tab may be in the middle of a request. */
	bool                       has_cookie_was;
	uint8_t                    cookie_was[MAP_KEY_LEN];
	struct boot                cookie_until;        /* zero: not settled yet */
};

struct error_pages;
struct names;
struct world;

enum { COOKIE_GRACE_SEC = 30 };

/* policies may be NULL: then nothing is allowed. References are taken. epoch: 1..WORLD_EPOCH_MAX. */
struct world *world_new(uint32_t epoch);
void world_free(struct world *w);               /* accepts NULL */

/* conf must outlive its use here. */
/* Of the configuration that world_set_conf() gets next; must outlive its use here. */
void world_set_forwards(struct world *w, const struct forward_accesses *f);
/* As world_set_forwards(). */
void world_set_pages(struct world *w, const struct error_pages *p);
/* What names are at (names_find()), for every snapshot from now on; must outlive the world. */
void world_set_names(struct world *w, const struct names *n);
void world_set_conf(struct world *w, const struct conf *conf, uint32_t generation, struct wall now);
void world_set_policy(struct world *w, struct policy *pol, struct policy *owner, struct wall now);

/* One of the two. ids is taken over (and emptied). */
void world_set_identities(struct world *w, struct identities *ids, struct wall now);
/* The whole state of the map, compared with what is here; before map is whole, forgets all.
 * Refused claims are logged once. */
void world_set_map(struct world *w, const struct map *map, struct claims_memory *memory, struct wall now);

/* Who says which key follows which; must outlive its use here. */
void world_set_successors(struct world *w, struct successors *s);
/* This node's own key: of the two that the map may name for it, the one in use; the one that was told
 * before it is ours, too. NULL: none. */
void world_set_key(struct world *w, const uint8_t *public_key);
/* The next key of a party was seen in use: it takes over its addresses and the routes; or (next false) the old
 * one was, later: the change was given up. False: that is so already. */
bool world_turn(struct world *w, struct party *p, bool next, struct wall now);
const uint8_t *world_key(const struct party *p);        /* of a node: the one in use */
bool world_turning(const struct world *w);      /* somebody else's next key is not in use yet */

/* Why nobody counts there, where the map itself does not say it. */
void world_set_why(struct world *w, uint64_t party, enum ident_why why);

/* Classes that change by time alone; returns when to call again. */
struct wall world_tick(struct world *w, struct wall now);

/* The wall clock was set: what followed from it is made anew. */
void world_clock_set(struct world *w, struct wall now);

/* What the clocks and the lease say, for the two makers below. */
struct world_now {
	struct wall wall;
	struct boot boot;
	struct boot lease;              /* end; BOOT_NEVER in standalone mode, zero: it has ended */
	int64_t     silent;             /* ns since the coordinator was heard; -1: there is none */
};

/* private key's public half; NULL: not enrolled, no device. */
struct net_state *world_net(const struct world *w, const struct world_now *now, const uint8_t *public_key);

/* One identity as the fronts will see it: slot i belongs to parties[i]. */
struct world_slot {
	uint64_t party;
	uint32_t generation;            /* 0: nobody */
};

bool world_for_browsers(const struct conf *conf);       /* "public" has services for people with only a browser */

/* The block for the fronts, or (public) for the public fronts, and its slots
 * (for public: the same slots, those of devices empty; NULL and 0 where it is not for browsers). The caller
 * frees *ret_slots. */
bool world_snapshot(const struct world *w, const struct world_now *now, bool public,
                    struct buf *ret_block, struct world_slot **ret_slots, size_t *ret_n, struct err *err);

/* For whom a node acts now: the same number from every core for the same person, however long the session
 * and whatever the key; for nobody, or for itself as a tagged node does, the node's own. Never 0. */
uint32_t world_who(const struct party *p, const struct world_now *now);

/* What an identity's word must be now: 0 where it must not count. */
uint32_t world_generation(const struct world *w, uint64_t party, const struct world_now *now);

/* Who a party is now, as the fronts see it; texts live in mem, or until the next set. False: nobody. */
/* Whether the lease has ended for them: for the owner's break-glass keys it never does. */
bool world_lease_over(const struct party *p, const struct world_now *now);
bool world_ident(const struct world *w, uint64_t party, const struct world_now *now, struct arena *mem,
                 struct ident *ret_id);
/* The keys behind our assertions, for every snapshot from now on. True if they are others than before. */
bool world_set_jwks(struct world *w, struct span jwks);
const char *world_mesh(const struct world *w);          /* the mesh's name, "" if it has none; until the next set */
/* "https://HUB": where people with only a browser are sent; "" for nowhere. */
void world_set_hub(struct world *w, const char *url);
const char *world_host(const struct world *w);          /* this host's name; until the next set */

/* Borrowed until the next set. */
const struct party *world_find_ip(const struct world *w, const struct ip *ip);
const struct party *world_find(const struct world *w, uint64_t id);
struct party *world_find_key(const struct world *w, const uint8_t key[MAP_KEY_LEN]);
size_t world_parties(const struct world *w, const struct party *const **ret_list);
bool world_party_peer(const struct world *w, uint64_t id, struct compile_peer *ret_peer);
/* compile_caps() of its class for that family of address; "{}" if there are none. */
struct span world_caps(const struct world *w, uint64_t id, uint8_t family);
bool world_party_valid(const struct party *p, struct wall now);         /* somebody acts for it now */
/* Before the makers: sessions that came since get their end on the boot clock. */
void world_anchor(struct world *w, const struct world_now *now);
/* When its session is over, whatever the wall clock shows; BOOT_NEVER where that is not known. */
struct boot world_party_end(const struct party *p);
/* A browser's: the session whose renewal was tried (0: none), and when one may be. */
void world_renewal(struct world *w, uint64_t party, uint64_t session, struct boot after);
/* Settles how long cookies before a renewal go on. True: one does no more, and fronts are to be told. */
bool world_cookies(struct world *w, struct boot now);
struct boot world_next_end(const struct world *w, struct boot now);     /* of those; BOOT_NEVER: none */
uint64_t world_self(const struct world *w);     /* 0: not known */
const struct topology *world_topology(const struct world *w);

#endif
