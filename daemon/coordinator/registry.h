/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_REGISTRY_H
#define COORDINATOR_REGISTRY_H

/*
 * What the database holds, in memory, for reading: nodes with what they
 * report and who is logged in there, users, keys, the policy. It changes by
 * registry_apply() alone, with rows that are on disk already; what nodes say of
 * the moment (where they are reached, whether a stream is open) is beside it.
 * It decides who is an administrator. Next: view.h (what an endpoint is told).
 */

#include "base/hash.h"
#include "base/loop.h"
#include "daemon/control/enrol.h"
#include "daemon/coordinator/conf.h"
#include "daemon/store/ops.h"
#include "policy/policy.h"
#include "policy/topology.h"

/* A node as some endpoints see it, encoded: those that want the same of people. */
struct reg_json {
	uint64_t want;                  /* 0: empty */
	uint64_t hash;
	char    *json;
	size_t   len;
	bool     session;               /* it shows a living one */
};

/* An old key's word for the next one, to each endpoint; ascending by node. */
struct reg_vouches {
	struct reg_vouch { uint64_t node; uint8_t mac[32]; } *list;
	size_t n;
};

struct reg_node {
	uint64_t            id;
	struct node_row    *row;
	struct map_report   report;     /* of row->report; empty where it said nothing */
	struct ip           v6;
	struct session_row *session;    /* the living one; NULL: none */
	struct boot         session_end;        /* when it ends if the wall clock goes on as it went when it came */
	struct ipport       seen;       /* from where the hub hears it; family 0: not */
	struct wall         last_seen;  /* an ack or a request; 0: not since the start */
	struct wall         used;       /* somebody used a service or a route as it; 0: not since the start */
	uint64_t            renewed;    /* a browser's: the session whose renewal was tried; 0: none since the start */
	bool                online;     /* a map stream is open */
	struct reg_vouches  next, was;  /* of row->next_key for the present one, of the present one for was_key */
	uint64_t            next_seq;   /* with which next_key was announced, at the latest */
	struct reg_json     json[4];    /* view.c's; dropped by every change */
	unsigned            json_next;
};

struct reg_user {
	uint64_t         id;
	struct user_row *row;
	size_t           nodes, sessions;
};

enum { REGISTRY_REVOKED_MAX = 64 };      /* more at once are told with everything else */

struct registry {
	const struct conf *conf;        /* borrowed; replaced on reload */
	struct mesh_row    mesh;
	uint64_t           seq;         /* of what is applied */
	uint64_t           hub;         /* the hub's node */
	struct dict       *nodes, *users, *keys, *held; /* by id; reg_node, reg_user, key_row, held_row */
	struct dict       *by_session;  /* session id -> reg_node */
	struct dict       *by_key;      /* device key -> reg_node */
	struct topology   *topology;
	struct policy     *policy;      /* never NULL */
	struct policy_row *policy_row;  /* NULL before the first load */
	struct hash_key    hash;        /* of what endpoints were told */
	struct enrol_pin   pins[ENROL_PINS_MAX];        /* of the public listener */
	size_t             pin_count;
	/* What the last apply took from somebody: for the account of revocations. */
	struct boot        revoked_at;
	uint64_t           revoked_seq;
	/* Nodes that went, or lost their session, since feed.c looked: these are told first. */
	uint64_t           revoked[REGISTRY_REVOKED_MAX];
	size_t             revoked_count;
};

struct registry *registry_new(const struct conf *conf);
void registry_free(struct registry *r);         /* accepts NULL */

/* Takes rows out of changes. */
void registry_apply(struct registry *r, struct row_changes *changes, struct wall wall, struct boot now);
/* The wall clock was set: what was encoded by it does not count any more. */
void registry_clock_set(struct registry *r);
void registry_loaded(struct registry *r, struct mesh_row *mesh);       /* takes mesh */
void registry_conf(struct registry *r, const struct conf *conf);       /* after a reload */

struct reg_node *registry_node(const struct registry *r, uint64_t id);         /* these: NULL if absent */
struct reg_user *registry_user(const struct registry *r, uint64_t id);
struct key_row  *registry_key(const struct registry *r, uint64_t id);
struct reg_node *registry_by_session(const struct registry *r, uint64_t session);
struct reg_node *registry_by_key(const struct registry *r, const uint8_t key[32]);
struct reg_node *registry_by_name(const struct registry *r, struct span name);
struct reg_user *registry_by_login(const struct registry *r, struct span login);

/* Walks in no order; *pos starts at 0. */
struct reg_node *registry_next_node(const struct registry *r, size_t *pos);
struct reg_user *registry_next_user(const struct registry *r, size_t *pos);
struct key_row  *registry_next_key(const struct registry *r, size_t *pos);

/* The living session of a node, if it has not expired. */
const struct session_row *registry_session(const struct reg_node *n, struct wall now);
/* When the next session expires; INT64_MAX: none lives. */
struct wall registry_next_expiry(const struct registry *r);

/* A request of this node, for this user, with this session: an administrator's? The session
 * must live, and be that node's and that user's. */
bool registry_is_admin(const struct registry *r, uint64_t node, uint64_t user, uint64_t session, struct wall now);
bool registry_user_is_admin(const struct registry *r, const struct user_row *u);       /* by the configuration */

/* The routes of a node that count: offered, and approved by an administrator or the policy. */
size_t registry_routes(const struct registry *r, const struct reg_node *n, struct prefix *ret, size_t max);

/* May it offer services: servers and the hub; a person's device may not take a service's name. */
bool registry_may_serve(const struct reg_node *n);

/* Where its WireGuard is reached, best first. */
size_t registry_endpoints(const struct registry *r, const struct reg_node *n, struct ipport *ret, size_t max);

/* From the hub's report: who is heard from where. True if anything changed. */
bool registry_seen(struct registry *r, const struct map_seen *seen, size_t n);

/* The pins again, from configuration, certificate files and the hub's report. */
void registry_pins(struct registry *r);

#endif
