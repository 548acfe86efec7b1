/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_COMPILE_H
#define POLICY_COMPILE_H

/*
 * What one endpoint makes of a policy and a topology: every node in a class,
 * packet rows for nftables, and flat tables for the HTTP fronts. Incremental:
 * a change costs what it touches. Next: policy/tables.h.
 *
 * A compile borrows its topology, and reads it only inside the calls below.
 * It holds references to its policies.
 */

#include "policy/policy.h"
#include "policy/tables.h"
#include "policy/topology.h"

struct compile;

struct compile_options {
	bool idp_only;          /* verify: idp: groups of the policy file do not count */
	bool login_class;       /* put nodes that could pass after a login in CLASS_LOGIN, not in CLASS_NONE */
};

/* self must be in the topology. owner may be NULL: then nothing narrows. */
struct compile *compile_new(struct policy *pol, struct policy *owner, const struct topology *topo,
                            uint64_t self, const struct compile_options *opt, struct wall now);
void compile_free(struct compile *c);           /* accepts NULL */

/* The topology changed there: put, replaced or removed. compile_user() looks
 * at every node of that user. A change of self, of a service or of a policy
 * recompiles all, but keeps class ids whose meaning stays. */
void compile_node(struct compile *c, uint64_t node, struct wall now);
void compile_user(struct compile *c, uint64_t user, struct wall now);
void compile_self(struct compile *c, struct wall now);
void compile_policy(struct compile *c, struct policy *pol, struct policy *owner, struct wall now);

/* Moves on what time alone changes: expired sessions, logins grown too old.
 * Touches only nodes whose `until` has come. Returns when to call again
 * (TOPOLOGY_NEVER: not because of time). */
struct wall compile_tick(struct compile *c, struct wall now);

/* Nodes whose class, until or flags changed since the last call, each once. */
size_t compile_changed(struct compile *c, uint64_t *ret_nodes, size_t max);

struct compile_peer {
	uint32_t    class4;     /* of its IPv4 address, and of standalone source prefixes; CLASS_NONE: nothing passes */
	uint32_t    class6;     /* of its IPv6 address: rules that name addresses may tell them apart */
	bool        visible;    /* this endpoint must know it: it has a class, or would have one after a login */
	bool        calls_us;   /* may open flows to this endpoint */
	bool        we_call;    /* this endpoint may open flows to it: its replies must get in */
	bool        after_login;/* would have (more) grants with a valid or stronger login */
	struct wall until;      /* its class may change by itself at this second; TOPOLOGY_NEVER */
};
bool compile_peer(const struct compile *c, uint64_t node, struct compile_peer *ret_peer);

/* The app capabilities of a class of this compile, as tables_caps(); borrowed until the next change. */
struct span compile_caps(const struct compile *c, uint32_t class);

/* Sources behind peers: a peer's approved route that rules name as a source.
 * Disjoint per peer. fn is called for each prefix with a class. */
typedef void compile_source_fn(void *arg, uint64_t via, const struct prefix *source, uint32_t class);
void compile_sources(const struct compile *c, compile_source_fn *fn, void *arg);

/* Destinations: disjoint prefixes, several of which may share a number.
 * local: an address of this host; else traffic that it forwards. */
typedef void compile_dest_fn(void *arg, uint32_t dest, const struct prefix *prefix, bool local);
void compile_dests(const struct compile *c, compile_dest_fn *fn, void *arg);

/* What a class may send: rows of one class are disjoint and as few as can be. */
struct compile_row {
	uint32_t class;
	uint32_t dest;
	uint8_t  proto;         /* IANA number; rows of protocols without ports have 0..65535 */
	uint16_t lo, hi;        /* destination ports, both included */
	int64_t  stale;         /* holds while the coordinator was silent for less than this; INT64_MAX: as long as the lease */
};
typedef void compile_row_fn(void *arg, const struct compile_row *row);
void compile_rows(const struct compile *c, uint32_t class, compile_row_fn *fn, void *arg);
/* The least stale of the class's rows (INT64_MAX: none): for timeouts of its elements. */
int64_t compile_class_stale(const struct compile *c, uint32_t class);

/* Classes in use, in no order. A class id keeps its meaning until no node
 * has it, and is reused only after compile_classes_gone() has told of it. */
typedef void compile_class_fn(void *arg, uint32_t class);
void compile_classes(const struct compile *c, compile_class_fn *fn, void *arg);
/* Rows of these classes are to be added or removed since the last call. */
size_t compile_classes_new(struct compile *c, uint32_t *ret_classes, size_t max);
size_t compile_classes_gone(struct compile *c, uint32_t *ret_classes, size_t max);

/* The tables for the fronts, assembled into out (whole, replacing what was
 * there). The same compile state gives the same bytes. */
void compile_tables(const struct compile *c, struct buf *out);
/* Changes whenever compile_tables() would give other bytes. */
uint64_t compile_generation(const struct compile *c);

#endif
