/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_COMPILING_H
#define POLICY_COMPILING_H

/*
 * The inside of a compile, for this folder alone.
 *
 *   rules of both policies --localise--> local rules: what each opens at this endpoint
 *   a node's facts --gather--> the local rules that match it, each with a state
 *   that list is the class's key; rows and HTTP sets follow from the key alone
 *
 * Next: policy/localise.c, policy/gather.c, policy/classes.c, policy/tables_build.c.
 */

#include "policy/compile.h"
#include "policy/model.h"

enum { SERVICE_PORTS_MAX = 32 };        /* listen ports of one fronted service: a bit each */

/* How a matching rule stands for a session. */
enum rule_state {
	STATE_WEAK = 1,         /* mfa, acr or amr is missing */
	STATE_OLD = 2,          /* strong, but the login is older than maxAge */
	STATE_HOLDS = 3,
};

struct cover {                  /* one dest × protocol × ports that a rule opens */
	uint32_t dest;
	uint8_t  proto;
	bool     local;
	uint16_t lo, hi;
};

struct svc_cover {
	uint32_t service;       /* index into compile.services */
	uint8_t  families;      /* 1: IPv4, 2: IPv6 */
	uint32_t ports;         /* bit per listen port */
};

struct local_rule {
	const struct rule *rule;
	bool               owner;
	bool               same_user;   /* its dst is autogroup:self */
	bool               names_host;  /* its caps are this host's */
	struct cover      *covers;
	size_t             cover_count;
	struct svc_cover  *svc;
	size_t             svc_count;
};

struct u32s { uint32_t *list; size_t count, cap; };

struct atoms {                  /* names -> local rules (or outbound rules) */
	struct dict *index;             /* key -> struct u32s */
	uint8_t      v4_bits[33], v6_bits[129];         /* prefix lengths in use */
};

struct dest { ipnum lo, hi; uint8_t family; bool local; uint32_t id; };

/* rule, local: one local rule (its number + 1) of each policy that opens the whole row. */
struct row { uint32_t dest; uint8_t proto; uint16_t lo, hi; uint32_t rule, local; int64_t stale; };

struct http_entry { uint32_t service, rule, ports; uint8_t families, strong; bool owner; };  /* rule: local rule + 1 */

struct class {
	uint32_t          id;           /* 0: slot is free */
	uint32_t         *key;          /* (local rule << 2 | state), ascending */
	size_t            key_count;
	uint64_t          hash;
	uint32_t          next;         /* in the hash chain: id, or 0 */
	uint32_t          refs;
	struct row       *rows;
	size_t            row_count;
	struct http_entry *http;        /* by service, then main before owner, then rule */
	size_t            http_count;
	char             *caps;
	int64_t           stale;
};

struct source { struct prefix prefix; uint32_t class; };

struct peer {
	uint64_t            node;
	struct compile_peer out;
	struct source      *sources;
	size_t              source_count;
	size_t              heap;       /* position + 1 in the heap of deadlines, 0: none */
	bool                dirty;
};

struct local_service {
	struct span name;
	uint16_t    ports[SERVICE_PORTS_MAX];
	size_t      port_count;
	bool        http;
};

struct old_class { struct row *rows; size_t row_count; uint64_t hash; uint32_t id; bool taken; };

struct compile {
	struct policy          *pol, *owner;
	const struct topology  *topo;
	uint64_t                self;
	struct compile_options  opt;

	struct arena            arena;          /* of what localise() made */
	struct local_service   *services;       /* on this node */
	size_t                  service_count;
	uint16_t               *front_ports;    /* ascending, each once */
	size_t                  front_port_count;
	struct local_rule      *rules;
	size_t                  rule_count;
	struct dest            *dests;          /* disjoint, by family and address */
	size_t                  dest_count;
	uint32_t                dest_ids;       /* 1..dest_ids */
	struct atoms            in, out;
	const struct ipset    **out_routes;     /* destinations of this node's outbound rules, by address */
	const struct rule     **out_route_rules;
	size_t                  out_route_count;
	bool                    out_internet, out_services;
	uint64_t                self_user;      /* 0 when tagged */

	struct dict            *peers;          /* node id -> struct peer */
	struct peer           **heap;           /* by out.until */
	size_t                  heap_count, heap_cap;
	struct u64s { uint64_t *list; size_t count, cap; } changed;

	struct class           *classes;        /* by id; 0 and 1 are never used */
	size_t                  class_count, class_cap;
	uint32_t               *buckets;        /* of the hash of keys */
	size_t                  bucket_count, live;
	struct u32s             fresh, gone, free_ids;
	struct row             *login_rows;
	size_t                  login_row_count;
	uint64_t                generation;
	struct u32s             scratch;        /* keys under construction */

	/* While all is compiled anew: the classes as they were, by rows. */
	struct old_class       *old;
	size_t                  old_count;
};

void u32s_add(struct u32s *s, uint32_t v);

/* localise.c: everything up to `peers`, from policies and topology. */
void localise(struct compile *c);
void localise_done(struct compile *c);
/* Which sources of a rule name this endpoint, and which destinations. */
void rule_touches(struct compile *c, const struct rule *r, bool *src, bool *dst, bool *ret_src, bool *ret_dst);
/* The rules whose names fit; calls add for each list of numbers. */
struct u32s *atoms_find(const struct atoms *a, char kind, struct span name);
struct u32s *atoms_find_prefix(const struct atoms *a, const struct prefix *p);
bool in_spans(const struct spans *l, struct span s);

/* gather.c: the key of one node. */
struct facts {
	bool        as_if;              /* as if the session were valid and could be in any IdP group */
	struct wall now;
};
bool gather(struct compile *c, const struct topology_node *n, uint8_t family, const struct facts *f,
            struct u32s *ret_key, struct wall *ret_until);
bool gather_route(struct compile *c, const struct topology_node *n, const struct ipset *part, struct u32s *ret_key);
bool we_call(const struct compile *c, const struct topology_node *n);

/* compile.c, repolicy.c */
/* A compile that knows no nodes yet, for questions about single ones. */
struct compile *compile_rules(struct policy *pol, struct policy *owner, const struct topology *topo,
                              uint64_t self, const struct compile_options *opt);
/* Must this endpoint know n: does anything pass between them, now or after a login? */
bool compile_sees(struct compile *c, const struct topology_node *n);
void peer_update(struct compile *c, uint64_t id, struct wall now);
bool repolicy(struct compile *c, const struct compile *was, struct wall now);

/* classes.c */
uint32_t class_take(struct compile *c, const struct u32s *key);        /* with one reference */
void class_drop(struct compile *c, uint32_t id);
const struct class *class_get(const struct compile *c, uint32_t id);
void classes_done(struct compile *c);
void login_rows(struct compile *c);
/* Rules have other numbers now: map[old] is the new one, UINT32_MAX where the rule is gone. */
void classes_renumber(struct compile *c, const uint32_t *map);
/* True if no class has a rule that is gone. */
bool classes_clean(const struct compile *c);
/* Two rows that differ only in the rules that open them. */
bool row_alike(const struct row *a, const struct row *b);
uint64_t rows_hash(const struct row *rows, size_t n);

#endif
