/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_TOPOLOGY_H
#define POLICY_TOPOLOGY_H

/*
 * Who and what there is, as typed values: users, nodes with the session they
 * act for, services. An endpoint fills it from the coordinator's map, the
 * standalone mode from its identities file, the command line from a topology
 * file. Everything put in is copied. It never decides anything.
 * Next: policy/compile.h.
 *
 * Ids are the caller's (the coordinator's) and never 0. Putting an id that
 * exists replaces it whole. After a put or a remove tell every compile made
 * on this topology, with compile_node() or compile_user().
 */

#include "base/clock.h"
#include "base/ip.h"
#include "base/span.h"

enum {
	TOPOLOGY_NODES_MAX = 200000,    /* twice the largest benchmark */
	TOPOLOGY_LIST_MAX = 1024,       /* tags, groups, routes, ports of one thing */
	TOPOLOGY_ADDR_MAX = 64,         /* source prefixes of one standalone identity */
};

struct topology;

#define TOPOLOGY_NEVER ((struct wall){ INT64_MAX })

struct spans {
	const struct span *list;
	size_t             count;
};

struct topology_user {
	uint64_t     id;
	struct span  login;     /* what a rule names; also the header profiles' user */
	struct span  name;      /* for people */
	struct span  email;     /* also matches a user selector, when not empty */
	struct spans roles;     /* "admin", "owner", "auditor", ...: autogroup:admin and relatives; "member" is implied */
	struct spans groups;    /* policy groups ("group:lab") that the coordinator says this person is in, beside those the policy text lists */
	bool         shared;    /* from another mesh: autogroup:shared, not autogroup:member */
};

/* A person's login as it holds for one node. Zero (expires 0): no session. */
struct topology_session {
	struct wall  expires;           /* dead at this second; TOPOLOGY_NEVER for none */
	struct wall  auth_time;         /* 0: unknown, then no maxAge is met */
	struct span  acr;
	struct spans amr;               /* RFC 8176 */
	struct spans groups;            /* asserted by the IdP: idp:NAME */
	bool         cross_device;      /* approved from another device: never satisfies a grant's auth */
};

struct topology_attr { struct span name, value; };      /* posture: value as text, bool as "true" */

struct topology_node {
	uint64_t             id;
	struct span          name;
	struct ip            ip4, ip6;          /* IP_NONE where it has none */
	const struct prefix *sources;           /* standalone: these source prefixes in place of ip4/ip6 */
	size_t               source_count;
	struct spans         tags;              /* "tag:web"; a tagged node has no user */
	uint64_t             user;              /* 0 for a tagged node */
	struct topology_session session;        /* of the user; ignored for a tagged node */
	const struct prefix *routes;            /* approved routes, exit routes included */
	size_t               route_count;
	const struct prefix *offered;           /* advertised routes (for route approval); may be empty */
	size_t               offered_count;
	const struct topology_attr *attrs;
	size_t               attr_count;
};

struct topology_service {
	struct span     name;           /* without "svc:" */
	uint64_t        node;
	const uint16_t *ports;          /* TCP listen ports on the node's overlay addresses */
	size_t          port_count;
	bool            http;           /* fronted: HTTP rules decide inside */
	struct spans    hosts;          /* the names it answers to, lower case (for tests and explain) */
	struct spans    profiles;       /* header profiles (for tests that assert headers) */
};

struct topology *topology_new(void);
void topology_free(struct topology *t);                 /* accepts NULL */

/* False, with nothing changed, beyond a limit. */
bool topology_user_put(struct topology *t, const struct topology_user *u);
bool topology_node_put(struct topology *t, const struct topology_node *n);
bool topology_service_put(struct topology *t, const struct topology_service *s);
void topology_user_remove(struct topology *t, uint64_t id);
void topology_node_remove(struct topology *t, uint64_t id);
void topology_service_remove(struct topology *t, struct span name, uint64_t node);

/* Borrowed until the next put or remove of that id; NULL if absent. */
const struct topology_user *topology_user(const struct topology *t, uint64_t id);
const struct topology_node *topology_node(const struct topology *t, uint64_t id);
const struct topology_user *topology_user_by_login(const struct topology *t, struct span login);
const struct topology_node *topology_node_by_name(const struct topology *t, struct span name);
const struct topology_node *topology_node_by_ip(const struct topology *t, const struct ip *ip);
/* The mail domain of a user of t: the login's, or where the login has none the email's,
 * unless two people claim that; else empty. */
struct span topology_user_domain(const struct topology *t, const struct topology_user *u);
/* The untagged nodes of a user. */
const uint64_t *topology_devices(const struct topology *t, uint64_t user, size_t *ret_n);

/* Walks; *pos starts at 0. The order is that of the first put. NULL at the end. */
const struct topology_user *topology_user_next(const struct topology *t, size_t *pos);
const struct topology_node *topology_node_next(const struct topology *t, size_t *pos);
const struct topology_service *topology_service_next(const struct topology *t, size_t *pos);
size_t topology_node_count(const struct topology *t);

/* As the file that `reeve policy` reads (doc/policy, section 9), for tools. */
struct buf;
void topology_write(const struct topology *t, struct buf *out);

#endif
