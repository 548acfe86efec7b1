/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_MAP_H
#define CONTROL_MAP_H

/*
 * The map: what the coordinator tells an endpoint, as messages (one JSON
 * object a line, doc/architecture section 6) and as the state that they add
 * up to. It never decides what a message means for packets or requests; that
 * is the endpoint's. Next: daemon/control/enrol.h, daemon/control/client.h.
 *
 * Changes come in batches: the lines of one batch carry one seq and count
 * together, from the "end" line with that seq. A full map is a batch too,
 * that begins with "full".
 */

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/ip.h"

#include <jansson.h>

enum {
	MAP_VERSION        = 1,         /* the highest "v" of a full map that is understood */
	MAP_LINE_MAX       = 24 << 20,  /* a policy of POLICY_TEXT_MAX with its escapes */
	MAP_NODE_LINE_MAX  = 512 << 10, /* any other line: a node with an ID token and a thousand groups is 64 KiB */
	MAP_NODES_MAX      = 200000,    /* nodes of one map */
	MAP_BATCH_MAX      = 400000,    /* lines of one batch */
	MAP_LIST_MAX       = 1024,      /* tags, groups, roles, routes, services of one node */
	MAP_ENDPOINTS_MAX  = 32,        /* underlay addresses of one node */
	MAP_TEXT_MAX       = 1024,      /* one name, login, subject, issuer ... */
	MAP_EVIDENCE_MAX   = 64 << 10,  /* an ID token */
	MAP_ID_MAX         = 24,        /* "n7": a letter and a decimal number */
	MAP_EPOCH_LEN      = 16,        /* hexadecimal digits */
	MAP_BEAT_SEC       = 25,        /* a stream that was silent for longer than twice this is dead */
	MAP_LEASE_MAX      = 30 * 86400, /* seconds; a longer lease is cut to this */
	MAP_KEY_LEN        = 32,        /* X25519 */
};

/* Ids: "n7", "u2", "s9". ret_n is never 0. */
bool map_id_parse(struct span text, char kind, uint64_t *ret_n);
const char *map_id_text(char kind, uint64_t n, char buf[MAP_ID_MAX]);

struct map_list {
	struct span *list;
	size_t       count;
};

struct map_service {
	struct span     name;           /* "wiki" */
	uint16_t        port;           /* on the overlay addresses */
	bool            http;           /* fronted */
	struct span     browser;        /* where people without a mesh client reach it: "https://wiki.example.edu";
	                                 * may be empty */
	struct map_list hosts;          /* names it answers to, lower case; may be empty */
	struct map_list profiles;       /* header profiles; may be empty */
};

struct map_attr { struct span name, value; };

struct map_user {
	uint64_t        id;
	struct span     issuer, sub, login;
	struct span     name, email;            /* may be empty */
	struct map_list groups;                 /* "group:lab": of the policy file */
	struct map_list idp;                    /* "lab": as the IdP said */
	struct map_list roles;                  /* "admin" */
};

struct map_session {
	uint64_t        id;
	struct wall     auth_time;              /* 0: unknown */
	struct wall     expires;                /* dead at this second */
	struct span     acr;                    /* may be empty */
	struct map_list amr;
	bool            cross_device;
};

struct map_evidence {
	struct span id_token;
	uint8_t     opening[32];
	bool        has_key;                    /* it was made for another key than the node's: */
	uint8_t     key[MAP_KEY_LEN];           /* one from before a change (rotate.h) */
};

/* Another key of the same node, with the old one's word for the new one, for this endpoint alone. */
struct map_turn {
	uint8_t key[MAP_KEY_LEN];
	bool    has_vouch;
	uint8_t vouch[32];                      /* rotate_vouch() */
};

/*
 * A node as one endpoint may see it. Immutable once it is shared; references
 * are not thread-safe. All text lives in mem and has a NUL behind it.
 */
struct map_node {
	unsigned             refs;
	struct arena         mem;
	uint64_t             id;
	struct span          name;
	uint8_t              key[MAP_KEY_LEN];  /* WireGuard public key */
	struct ip            v4, v6;            /* IP_NONE where it has none */
	struct ipport       *endpoints;         /* underlay; may be empty */
	size_t               endpoint_count;
	struct prefix       *routes;            /* approved */
	size_t               route_count;
	struct map_service  *services;
	size_t               service_count;
	struct map_attr     *attrs;             /* posture */
	size_t               attr_count;
	bool                 hub;               /* the coordinator's own node */
	bool                 waits;             /* for an administrator's approval: nobody acts on it */
	struct span          browser;           /* not empty: no device but a browser's session at that service of
	                                         * this endpoint, and key is its cookie's hash (browser.h) */
	struct map_list      tags;              /* a tagged node has no user */
	struct map_user     *user;              /* NULL: nobody yet, or tagged */
	struct map_session  *session;           /* NULL: no valid session */
	struct map_evidence *evidence;          /* NULL: none */
	struct map_turn     *next;              /* the key that it is about to use; NULL: none */
	struct map_turn     *was;               /* the key that it had before; NULL: none, or long ago */
};

struct map_node *map_node_new(void);            /* one reference, empty; fill it, then share it */
struct map_node *map_node_ref(struct map_node *n);
void map_node_unref(struct map_node *n);        /* accepts NULL */
void map_node_encode(const struct map_node *n, struct buf *out);       /* the JSON object, no newline */
/* ,"NAME":{..}: one of its turns, behind its other members; NULL: nothing */
void map_turn_encode(const char *name, const struct map_turn *t, struct buf *out);
struct map_node *map_node_decode(struct span json, struct err *err);   /* one reference */
/* The same from and to a jansson value: for messages that carry a node inside. */

json_t *map_node_to_json(const struct map_node *n);
struct map_node *map_node_from_json(const json_t *obj, struct err *err);

struct map_mesh {
	struct prefix ula;              /* /48 */
	struct prefix v4;
	struct span   name;             /* DNS label */
};

enum map_op { MAP_UNKNOWN = 0, MAP_FULL, MAP_NODE, MAP_GONE, MAP_POLICY, MAP_END, MAP_BEAT };

struct map_msg {
	enum map_op      op;
	uint64_t         seq;           /* all but beat */
	struct arena     mem;           /* of the spans below */
	/* full */
	int64_t          v;
	struct span      epoch;         /* MAP_EPOCH_LEN digits */
	int64_t          lease;         /* seconds, 1..MAP_LEASE_MAX */
	struct wall      now;           /* also of beat: the coordinator's clock */
	struct map_mesh  mesh;
	uint64_t         id;            /* full: self; gone: who */
	struct map_node *node;          /* node; a reference */
	struct span      text;          /* policy */
};

void map_msg_init(struct map_msg *m);
void map_msg_done(struct map_msg *m);                           /* accepts a zeroed one */
void map_msg_encode(const struct map_msg *m, struct buf *out);  /* one line with its newline */
/* An op of a later release is ERR_PEER and names it; unknown members are ignored. */
bool map_msg_decode(struct span line, struct map_msg *ret_m, struct err *err);

/*
 * Bytes as they come -> messages. fn may return false to stop, with err set;
 * the reader is then, as after every other error, dead: every further call
 * fails. Empty lines are ignored.
 */
struct map_reader {
	struct buf line;
	bool       dead;
};
typedef bool map_msg_fn(void *arg, struct map_msg *m, struct err *err);        /* may take m->node */
void map_reader_init(struct map_reader *r);
void map_reader_done(struct map_reader *r);
bool map_reader_feed(struct map_reader *r, struct span bytes, map_msg_fn *fn, void *arg, struct err *err);
bool map_reader_at_end(const struct map_reader *r);     /* nothing half read */

/*
 * The state. Until the first full batch has ended it is empty (`whole` false)
 * and nothing may be concluded from it.
 */
struct map {
	bool            whole;
	char            epoch[MAP_EPOCH_LEN + 1];
	uint64_t        seq;            /* of the last batch that ended */
	int64_t         lease;          /* seconds */
	struct wall     heard;          /* the coordinator's clock in what was last heard */
	struct prefix   ula, v4;
	char           *mesh_name;
	uint64_t        self;
	char           *policy;         /* NULL: none was sent, nothing is allowed */
	size_t          policy_len;
	struct map_node **nodes;        /* ascending by id, self included */
	size_t          node_count;
	struct map_pending *pending;    /* the batch under way */
};

enum map_applied {
	MAP_APPLIED_PART,       /* more of the batch is to come; the state is as it was */
	MAP_APPLIED_BATCH,      /* the state changed: ack seq */
	MAP_APPLIED_FULL,       /* the state was replaced: ack epoch and seq */
	MAP_APPLIED_BEAT,       /* only `heard` moved */
};

void map_init(struct map *map);
void map_done(struct map *map);
/* Takes m->node. On an error the state is as before the batch, and the stream
 * is to be closed. changed, where not NULL, is called for every node of a batch
 * that ended: old or new is NULL for one that came or went; once with both
 * NULL where the policy or the mesh changed. Called before the old ones go. */
typedef void map_changed_fn(void *arg, const struct map_node *old, const struct map_node *new_);
bool map_apply(struct map *map, struct map_msg *m, map_changed_fn *changed, void *arg,
               enum map_applied *ret_applied, struct err *err);
void map_abort(struct map *map);                /* forgets a batch under way: the stream broke */
const struct map_node *map_find(const struct map *map, uint64_t id);
const struct map_node *map_self(const struct map *map);        /* NULL until whole */

/* The whole state as a full batch: what an endpoint stores, and reads again
 * with map_load(). `heard` is the full message's "now". */
void map_store(const struct map *map, struct buf *out);
bool map_load(struct map *map, struct span text, struct err *err);      /* exactly one full batch, deltas may follow */

/* "EPOCH:SEQ" of `have`; false if it is not that. */
bool map_have_parse(struct span text, char ret_epoch[MAP_EPOCH_LEN + 1], uint64_t *ret_seq);

/* POST /v1/map/ack */
struct map_ack {
	char     epoch[MAP_EPOCH_LEN + 1];
	uint64_t seq;
};
void map_ack_encode(const struct map_ack *a, struct buf *out);
bool map_ack_decode(struct span json, struct map_ack *ret_a, struct err *err);

/* POST /v1/node: what a node says of itself; arrays are the report's arena's.
 * seen and pins are the hub's alone: from where its peers' packets come, and
 * the pins of the TLS certificates that its public fronts serve. Others' are ignored. */
struct map_seen {
	uint8_t       key[MAP_KEY_LEN];
	struct ipport at;
};
struct map_report {
	struct arena        mem;
	struct ipport      *endpoints;
	size_t              endpoint_count;
	struct prefix      *routes;             /* offered */
	size_t              route_count;
	struct map_service *services;
	size_t              service_count;
	struct map_attr    *attrs;
	size_t              attr_count;
	struct span         os, version;        /* "Debian GNU/Linux 12", "0.1.0" */
	struct map_seen    *seen;
	size_t              seen_count;
	struct map_list     pins;               /* enrol_pin_text() */
	bool                verify_idp;         /* it checks evidence itself, and wants it */
	struct map_list     lists;              /* "n5": nodes whose present keys its owner's file lists */
	struct wall         key_since, key_due; /* of its device key; zero: not known, never by itself */
	struct span         key_why;            /* why the key did not change when it was due */
};
enum { MAP_REPORT_MAX = 4 << 20, MAP_SEEN_MAX = 20000 };
void map_report_init(struct map_report *r);
void map_report_done(struct map_report *r);
void map_report_encode(const struct map_report *r, struct buf *out);
bool map_report_decode(struct span json, struct map_report *ret_r, struct err *err);

/* A node's or service's name: a DNS label (RFC 1123 2.1), lower case, 1..63. */
bool map_name_ok(struct span name);

#endif
