/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_SNAPSHOT_H
#define DAEMON_PROXY_SNAPSHOT_H

/*
 * What a front knows: one flat, position-independent block that core builds
 * and seals in a memfd (snapshot_seal()), and that fronts map read-only. It is
 * checked once, by snapshot_open(): after that every lookup is O(1) (or a few
 * binary searches for prefixes), allocates nothing and cannot leave the block.
 * It never holds a key or a password. Next: daemon/proxy/front.h.
 *
 * Beside it stands the revocation block: one uint32_t per identity slot. An
 * identity counts while its word equals the generation in its record;
 * generation 0 never counts. Only core has it mapped writable.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/ip.h"

enum {
	SNAPSHOT_MAX        = 512 << 20, /* a million identities of 400 bytes each */
	SNAPSHOT_IDENTS_MAX = 1 << 20,
	SNAPSHOT_SERVICES_MAX = 1024,
	SNAPSHOT_TEXT_MAX   = 64 << 10,  /* one string */
	SNAPSHOT_GROUPS_MAX = 4096,      /* groups, tags or amr values of one identity */
	SNAPSHOT_LIST_MAX   = 4096,      /* hosts, upstreams, ... of one service */
	SNAPSHOT_HASH_LEN   = 32,        /* SHA-256 */
};

/* ---- what core says (borrowed for the call; copied into the block) ---- */

enum ident_kind {
	IDENT_NONE = 0,  /* nobody: the slot is empty */
	IDENT_ENROLLED,  /* a node of the mesh without a session; see enum ident_why */
	IDENT_PERSON,
	IDENT_TAGGED,    /* a server: its tags */
};

/* Why a node has no session. Words for people are in pages.c. */
enum ident_why {
	WHY_NONE = 0,
	WHY_NEVER,       /* nobody has logged in on this node yet */
	WHY_EXPIRED,
	WHY_REVOKED,
	WHY_LOGGED_OUT,
	WHY_EVIDENCE,    /* verify: idp, and the evidence does not hold */
	WHY_CONFLICT,    /* two keys claim one address */
	WHY_COUNT
};

struct ident {
	enum ident_kind kind;
	enum ident_why  why;
	uint32_t generation;            /* not 0 unless kind is IDENT_NONE */
	uint32_t class4, class6;        /* policy's classes of its two addresses (policy/compile.h) */
	struct span login, name, email, picture;
	struct span issuer, subject, user;      /* user: "u2" */
	struct span session;            /* "s9" */
	struct span node, node_name;    /* "n3", "laptop" */
	struct span acr;
	const struct span *groups;      size_t group_count;
	const struct span *tags;        size_t tag_count;
	const struct span *amr;         size_t amr_count;
	struct wall auth_time;
	struct wall expires;            /* for people and headers */
	struct boot expires_boot;       /* for decisions; BOOT_NEVER if it does not expire */
};

enum upstream_kind { UPSTREAM_TCP = 1, UPSTREAM_UNIX };

struct upstream_desc {
	enum upstream_kind kind;
	bool        tls;                /* https:// */
	bool        tls_lax;            /* not verified: the owner said so */
	bool        h2;                 /* HTTP/2: h2c://, or with tls h2:// */
	bool        fastcgi, scgi, uwsgi;
	struct span name;               /* as configured, for logs and metrics: "http://127.0.0.1:5232" */
	struct span host;               /* for the certificate and SNI; empty for unix */
	uint32_t    place;              /* the number by which front_connect names it */
};

/* How what is not printable ASCII travels in a header value. */
enum value_encoding {
	VALUE_DROP = 0,  /* the header is left out */
	VALUE_ASCII,     /* as VALUE_DROP, but leaving it out refuses the request: the primary user header */
	VALUE_UTF8,
	VALUE_RFC2047,
	VALUE_PERCENT,
	VALUE_BASE64URL,
};

enum ident_field {
	FIELD_LITERAL = 0,
	FIELD_LOGIN, FIELD_NAME, FIELD_EMAIL, FIELD_PICTURE, FIELD_GROUPS, FIELD_TAGS,
	FIELD_ISSUER, FIELD_SUBJECT, FIELD_USER, FIELD_SESSION, FIELD_NODE, FIELD_NODE_NAME,
	FIELD_ACR, FIELD_AMR, FIELD_AUTH_TIME, FIELD_EXPIRES, FIELD_ADDRESS,
	FIELD_ASSERTION,                /* the signed one, from core */
	FIELD_SHORT_LOGIN,              /* login without @domain */
	FIELD_CAPS,                     /* what the policy's "app" says of it, as JSON */
	FIELD_COUNT
};

struct custom_header {
	struct span         name;
	struct span         value;      /* a template: "{login}", "cn={short-login},ou=staff"; "{{" is a brace */
	enum value_encoding encoding;
};

enum service_flags {
	SERVICE_PUBLIC        = 1 << 0, /* strangers: no identity, no policy, no identity headers */
	SERVICE_ENCODED_SLASH = 1 << 1, /* %2F and %5C pass; refused where a path rule applies */
	SERVICE_KEEP_REQUEST_ID = 1 << 2, /* a well-formed X-Request-Id of the client is kept */
	SERVICE_NO_XFF        = 1 << 3, /* no X-Forwarded-For/-Proto/-Host to the application */
	SERVICE_HASH_PERSON   = 1 << 4, /* upstream by person rather than least connections */
	SERVICE_ASSERTION     = 1 << 10, /* set by the builder: one of its headers carries {assertion} */
	SERVICE_TCP           = 1 << 6, /* no HTTP: bytes both ways, behind one of these headers */
	SERVICE_PROXY_V1      = 1 << 7,
	SERVICE_PROXY_V2      = 1 << 8,
	SERVICE_PROXY_CN      = 1 << 9, /* version 2 also says the login as a client certificate's name */
	SERVICE_PROXY_AUTHORITY = 1 << 18, /* ... and as the authority */
	SERVICE_BASIC         = 1 << 15, /* Authorization is ours: the login, and a secret that front_basic_add() gave */
	SERVICE_ASSERTION_BOUND = 1 << 17, /* assertions are of one method and path */
	SERVICE_BASIC_SHORT   = 1 << 16, /* ... and the login without @domain */
	SERVICE_BROWSER       = 1 << 14, /* set by the builder: people are known by a cookie (browser.c), not by their address */
	SERVICE_ENROLLED      = 1 << 5, /* the coordinator: every slot that is not empty may call, IDENT_ENROLLED too, and no
	                                 * policy is asked. The request carries Reeve-Node ("n7"), Reeve-User ("u2", if there is
	                                 * one) and Reeve-Session ("s9", if valid), which are stripped from every client everywhere. */
};

struct service_desc {
	struct span name;
	uint32_t    flags;              /* enum service_flags */
	uint32_t    policy;             /* tables_service() of its name in these tables; 0 denies all */
	const struct span *listens;     size_t listen_count;    /* as configured: "80", "127.0.0.1:8080" */
	bool               listens_tls; /* these listeners speak TLS */
	struct span browser_url;        /* not empty: for people without a mesh client, and where such a person logs
	                                 * in, up to what the front adds: "https://HUB/browser?node=n3&service=wiki&bind=" */
	uint16_t    policy_port;        /* the port by which policy knows it; 0: where it listens */
	const struct span *hosts;       size_t host_count;      /* names and addresses, no port; folded by the builder */
	const struct upstream_desc *upstreams; size_t upstream_count;
	const struct span *profiles;    size_t profile_count;   /* "remote-user", ...: profile_find() knows them */
	const struct custom_header *custom; size_t custom_count;
	const struct span *origins;     size_t origin_count;    /* allowed cross-site origins: "https://a.example:8443" */
	const struct span *upgrades;    size_t upgrade_count;   /* beside websocket */
	struct span login_url;          /* instead of the mesh's */
	struct span page;               /* instead of the host's */
	uint32_t    forward;            /* enum forward_style: its listeners take a web server's questions */
	uint16_t    forward_port;       /* where that web server listens; 0: 80 or, for https, 443 */
	const uint32_t *forward_uids;   size_t forward_uid_count;       /* who may ask */
	struct span forward_secret;     /* forward_digest() of it; empty: none is asked for */
	struct span root, script;       /* what FastCGI and SCGI are told; may be empty */
	/* 0: the default of daemon/proxy/limits.h */
	int64_t body_max;               /* bytes of one request body; -1: none */
	int64_t connect_ns, first_byte_ns, idle_ns, total_ns, upgrade_idle_ns;
	struct span health_path;        /* asked with GET; empty: a connection is enough */
	int64_t health_ns;              /* between two checks of an upstream; 0: none */
	int64_t health_timeout_ns;      /* of one; 0: the default, as for the next two */
	uint32_t health_fall, health_rise;      /* in a row, until it is down, until it is up again */
	int64_t per_identity_max;       /* requests of one identity at once */
	int64_t in_flight_max;          /* requests of this service at once, in one front */
};

struct snapshot_words {
	struct span mesh;               /* the mesh's name */
	struct span host;               /* this host's name */
	struct span login_url;          /* where a person logs in; a page appends ?return= */
	struct span source_url;         /* AGPL section 13 */
	struct span contact;            /* whom to ask, in words */
	struct span page;               /* the owner's page for refusals (page_template.h); empty: ours */
	struct span jwks;               /* the keys that sign assertions, RFC 7517; empty: none */
};

struct snapshot_builder;

struct snapshot_builder *snapshot_builder_new(void);
void snapshot_builder_free(struct snapshot_builder *b);  /* accepts NULL */

/* Slots are numbered from 0 in the order of the calls; IDENT_NONE leaves one empty. */
bool snapshot_add_ident(struct snapshot_builder *b, const struct ident *id, uint32_t *ret_slot,
                        struct err *err);
bool snapshot_add_addr(struct snapshot_builder *b, const struct ip *ip, uint32_t slot,
                       struct err *err);             /* ERR_EXISTS: both are then nobody's */
bool snapshot_add_prefix(struct snapshot_builder *b, const struct prefix *p, uint32_t slot,
                         struct err *err);           /* the longest match counts; addresses come first */
/* A browser session: hash is SHA-256("reeve cookie v1" 0 service 0 cookie), so that it counts at one service alone. */
bool snapshot_add_session(struct snapshot_builder *b, const uint8_t hash[SNAPSHOT_HASH_LEN], uint32_t slot,
                          struct err *err);
/* Services are numbered from 0 in the order of the calls. */
bool snapshot_add_service(struct snapshot_builder *b, const struct service_desc *s,
                          uint32_t *ret_index, struct err *err);
void snapshot_set_policy(struct snapshot_builder *b, struct span tables);  /* policy/tables.h; copied */
void snapshot_set_words(struct snapshot_builder *b, const struct snapshot_words *w);
/* lease: from when on nothing counts any more; BOOT_NEVER in standalone mode.
 * heard: when the coordinator was last heard; grants with "stale" look at it. */
void snapshot_set_lease(struct snapshot_builder *b, struct boot lease, struct boot heard);
void snapshot_set_seq(struct snapshot_builder *b, uint64_t epoch, uint64_t seq);
/* Names net's table of upstreams, so that it can refuse indexes of another one. */
void snapshot_set_table(struct snapshot_builder *b, uint64_t table);

/* The block. The builder is used up by it, whatever it returns. */
bool snapshot_finish(struct snapshot_builder *b, struct buf *ret_block, struct err *err);

/* A memfd with the block, sealed against everything; -1 on failure. */
int snapshot_seal(struct span block, struct err *err);
/* A memfd of n words for the revocation block, the first `count` of them set,
 * and core's writable mapping of it; sealed with GROW|SHRINK|FUTURE_WRITE. */
int snapshot_words_new(const uint32_t *generations, size_t count, uint32_t **ret_map,
                       struct err *err);

/* ---- what a front reads ---- */

struct snapshot;
struct tables;

/* Takes over neither; both are mapped and may be closed afterwards. The seals are
 * checked: a memfd that somebody could still shrink would be a SIGBUS. words may
 * be -1 for a snapshot without identities. */
struct snapshot *snapshot_open(int fd, int words_fd, struct err *err);
/* Over memory that outlives the snapshot (tests, fuzzers); 8-byte aligned. */
struct snapshot *snapshot_open_mem(const void *block, size_t len, const uint32_t *words,
                                   size_t word_count, struct err *err);
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);         /* accepts NULL */

enum { SLOT_NONE = UINT32_MAX, SERVICE_UNKNOWN = UINT32_MAX };

struct snap_ref {
	uint32_t off, len;              /* text in the block, a NUL behind it */
};
struct snap_list {
	uint32_t first, count;          /* into the block's array of refs, or of the list's own kind */
};

struct snap_ident {
	uint32_t kind, why;
	uint32_t generation;
	uint32_t class4, class6, pad;
	struct snap_ref login, name, email, picture, issuer, subject, user, session, node,
		node_name, acr;
	struct snap_list groups, tags, amr;     /* of refs */
	int64_t auth_time, expires;             /* wall seconds */
	int64_t expires_boot;                   /* boot ns */
};

struct snap_upstream {
	uint32_t kind, flags;                   /* SNAP_UP_* */
	struct snap_ref name, host;
	uint32_t place, pad;
};
enum {
	SNAP_UP_TLS = 1, SNAP_UP_LAX = 2, SNAP_UP_H2 = 4,
	SNAP_UP_FASTCGI = 8, SNAP_UP_SCGI = 16, SNAP_UP_UWSGI = 32,
};

struct snap_piece {
	uint32_t        field;                  /* enum ident_field */
	struct snap_ref literal;                /* FIELD_LITERAL */
};
struct snap_header {
	struct snap_ref  name;                  /* as it is written */
	uint32_t         encoding;
	uint32_t         pad;
	struct snap_list pieces;                /* of struct snap_piece */
};

struct snap_service {
	struct snap_ref  name, login_url, root, script, browser_url, page;
	uint32_t         flags, policy, forward_port, policy_port;
	struct snap_list hosts, origins, upgrades;      /* of refs; folded */
	struct snap_list upstreams, headers;            /* of struct snap_upstream, struct snap_header */
	int64_t body_max, connect_ns, first_byte_ns, idle_ns, total_ns, upgrade_idle_ns;
	int64_t per_identity_max, in_flight_max;        /* all with the defaults filled in */
	struct snap_ref  health_path;
	uint32_t health_fall, health_rise;
	int64_t health_ns, health_timeout_ns;           /* health_ns 0: not asked */
};

struct snap_listen {
	struct snap_ref  key;
	uint32_t         tls, forward;          /* forward: enum forward_style */
	struct snap_list services;              /* of uint32_t */
	struct snap_list uids;                  /* of uint32_t: who may ask there */
	struct snap_ref  secret;                /* a digest; empty: none */
};

/* Never out of range: an index that does not exist gives NULL. */
const struct snap_ident   *snapshot_ident(const struct snapshot *s, uint32_t slot);
const struct snap_service *snapshot_service(const struct snapshot *s, uint32_t index);
size_t snapshot_ident_count(const struct snapshot *s);
size_t snapshot_service_count(const struct snapshot *s);

uint32_t snapshot_find_addr(const struct snapshot *s, const struct ip *ip);     /* SLOT_NONE: nobody */
/* Who has that node's id and generation: a linear search. */
uint32_t snapshot_find_node(const struct snapshot *s, struct span node, uint32_t generation);
uint32_t snapshot_find_session(const struct snapshot *s, const uint8_t hash[SNAPSHOT_HASH_LEN]); /* SLOT_NONE: nobody's */
uint32_t snapshot_find_service(const struct snapshot *s, struct span name);     /* SERVICE_UNKNOWN */
const struct snap_listen *snapshot_find_listen(const struct snapshot *s, struct span key);
/* The service that answers to a folded host on this listener; SERVICE_UNKNOWN: 421. */
uint32_t snapshot_find_host(const struct snapshot *s, const struct snap_listen *l, struct span host);
/* True if a folded header name (headers.h) is one that a service here writes by its own configuration. */
bool snapshot_strips(const struct snapshot *s, struct span folded);

/* The identity counts now: its word equals its generation, and neither it nor the lease has ended. */
bool snapshot_valid(const struct snapshot *s, uint32_t slot, struct boot now);
/* The two reasons apart, for pages and logs. */
bool snapshot_revoked(const struct snapshot *s, uint32_t slot);
bool snapshot_lease_ended(const struct snapshot *s, struct boot now);

struct span snapshot_text(const struct snapshot *s, struct snap_ref r);
struct span snapshot_item(const struct snapshot *s, struct snap_list l, uint32_t i);    /* of refs */
uint32_t snapshot_number(const struct snapshot *s, struct snap_list l, uint32_t i);     /* of uint32_t */
const struct snap_upstream *snapshot_upstream(const struct snapshot *s, struct snap_list l, uint32_t i);
const struct snap_header *snapshot_header(const struct snapshot *s, struct snap_list l, uint32_t i);
const struct snap_piece *snapshot_piece(const struct snapshot *s, struct snap_list l, uint32_t i);

/* Policy's tables, checked when the snapshot was opened; NULL: there are none, and all is denied. */
const struct tables *snapshot_policy(const struct snapshot *s);
void        snapshot_words(const struct snapshot *s, struct snapshot_words *ret_w);
struct boot snapshot_lease(const struct snapshot *s);
struct boot snapshot_heard(const struct snapshot *s);
uint64_t    snapshot_epoch(const struct snapshot *s);
uint64_t    snapshot_seq(const struct snapshot *s);
uint64_t    snapshot_table(const struct snapshot *s);

#endif
