/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_MESSAGES_H
#define ENDPOINT_MESSAGES_H

/*
 * Every message between reeved's processes, with its fields. One struct, one
 * writer, one reader; a reader that meets a short field, an unknown word or a
 * surplus byte returns false and the channel is at its end. What is too large
 * for one message rides on it as a sealed memfd. Channels are channel.h's.
 *
 *   parent <-> each    CONF, CONF_USE, CONF_DROP, NEIGHBOUR, DRAIN, END / READY, CONF_DONE
 *   core   <-> net     RESET .. NET_END, the orders between; DONE, STATUS; NAME / NAMED
 *   core   <-> front   SNAPSHOT, SWEEP, ASSERTED, BROWSED, TLS*, METRICS_ASK / SNAPSHOT_DONE, ASSERT, AUDIT*, METRICS
 *   net    <-> front   LISTEN / CONNECT, CONNECTED
 *   parent <-> net     LISTEN: copies that the parent keeps for net's next life / gives back
 *
 * Spans in a decoded message point into the bytes it was read from.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "daemon/endpoint/names.h"

enum {
	MSG_PREFIXES_MAX = 256,         /* allowed prefixes of one peer: its addresses and what it routes */
	MSG_ADDRESSES_MAX = 8,          /* overlay addresses and ranges of this node */
	MSG_NAME_MAX = 255,             /* a service's name, a user's name */
	MSG_TEXT_MAX = 8 << 10,         /* words for people */
	MSG_TLS_MAX = 24 << 10,         /* one PEM: a key, or a chain of certificates */
	MSG_METHOD_MAX = 32, MSG_PATH_MAX = 4096,       /* bytes of a request that an assertion is bound to */
	MSG_SECRET_MAX = 1024,          /* bytes of a service's secret */
	MSG_TICKETS_MAX = 1024,         /* bytes of ticket keys */
	MSG_ROOTS_MAX = 4 << 20,        /* bytes of the memfd of MSG_TLS_ROOTS */
	MSG_ERRNO_MAX = 4095,
	MSG_ASSERTION_MAX = 32 << 10,   /* one assertion */
	MSG_URL_MAX = 600,              /* where a browser is sent */
	MSG_CODE_MAX = 128,             /* a login's code, verifier or cookie */
	MSG_AUDIT_MAX = 32 << 10,       /* audit lines in one message */
	MSG_METRICS_MAX = 32 << 10,     /* metrics in one message */
	MSG_LISTEN_MAX = 8,             /* listeners in one message: WIRE_FDS_MAX */
	MSG_PEERS_MAX = 256,            /* peers in one MSG_STATUS */
	MSG_ROWS_MAX = 65536,           /* filter rows in the memfd of MSG_ROWS */
	MSG_ROWS_TEXT_MAX = 8 << 20,    /* its bytes */
	MSG_HOSTS_MAX = 65536,          /* names in the memfd of MSG_HOSTS */
	MSG_HOSTS_TEXT_MAX = 20 << 20,  /* its bytes */
	MSG_ROUTES_MAX = 4096,          /* prefixes in the memfd of MSG_ROUTES */
	MSG_ROUTES_TEXT_MAX = 128 << 10, /* its bytes */
	MSG_KEY_LEN = 32,
};

/* Why the packet filter refused a packet (struct filter_counters, daemon/mesh/filter.h). */
enum msg_filter_counter {
	MSG_FILTER_FORGED = 0, MSG_FILTER_SOURCE, MSG_FILTER_CLASSLESS, MSG_FILTER_NO_ROW, MSG_FILTER_NOT_NEW,
	MSG_FILTER_USER, MSG_FILTER_LAB, MSG_FILTER_FRONT,
	MSG_FILTER_COUNTERS
};

enum process_kind {
	PROCESS_NONE = 0,
	PROCESS_PARENT, PROCESS_NET, PROCESS_CORE, PROCESS_FRONT, PROCESS_PUBLIC,
	PROCESS_KINDS
};

/* "fds" says which descriptors ride on the message; the receiver owns them. */
enum msg_type {
	MSG_NONE = 0,

	/* parent -> each. A configuration is prepared by everybody, then used by
	 * everybody, or dropped. Core prepares first (policy, identities), then net (sockets);
	 * net uses it first. The first one comes right after the start. */
	MSG_CONF,               /* conf; fds: memfd with the file's text */
	MSG_CONF_USE,           /* conf.generation */
	MSG_CONF_DROP,          /* conf.generation: keep the old one */
	MSG_NEIGHBOUR,          /* neighbour; fds: this process's end of a new channel to it; replaces an earlier one */
	MSG_PING,               /* does your loop go round? */
	MSG_DRAIN,              /* finish what is open, take nothing new */
	MSG_END,                /* exit 0 now */

	/* each -> parent */
	MSG_CONF_DONE,          /* conf_done: prepared, or why not */
	MSG_READY,              /* conf.generation in use and serving */
	MSG_PONG,               /* it does */

	/* net -> parent, and back */
	MSG_TUNNEL,             /* tunnel: the userspace WireGuard process shall run, or not; it was started, or why not */

	/* core -> net. Every order is answered by MSG_DONE with its number, in order.
	 * After RESET net forgets what it was told but changes nothing; NET_END removes from
	 * device, routes and filter whatever was not told again in between: without a DEVICE
	 * in between, device, filter and hosts block go altogether. In standalone mode there are no orders. */
	MSG_RESET,              /* order */
	MSG_NET_END,            /* order */
	MSG_DEVICE,             /* device: key and addresses of this node; makes the device and the table */
	MSG_PEER,               /* peer: adds or changes one */
	MSG_PEER_GONE,          /* peer.key */
	MSG_ROUTES,             /* table: the routes into the mesh device, whole; fds: memfd, msg_routes_write() */
	MSG_CLASS,              /* klass: overlay address -> class until timeout */
	MSG_CLASS_GONE,         /* klass.ip: the revocation; what is open with it ends right after */
	MSG_ROWS,               /* table: what classes may do, whole; fds: memfd, msg_rows_write() */
	MSG_HOSTS,              /* table: the hosts block, whole, count 0 removes it; fds: memfd, msg_hosts_write() */
	MSG_STATUS_ASK,         /* order: answered by STATUS messages, then DONE */
	MSG_NAME,               /* name: where an upstream's host name is now; no order, answered by NAMED */

	/* net -> core */
	MSG_DONE,               /* done */
	MSG_STATUS,             /* status: device and some peers */
	MSG_NAMED,              /* named: from now on connections go there */

	/* core -> front, public front */
	MSG_SNAPSHOT,           /* snapshot; fds: snapshot memfd, words memfd (both read-only to the front) */
	MSG_SWEEP,              /* a word has changed: look at every connection again */
	MSG_TLS,                /* tls: one certificate chain with its key, of a set that replaces the last one */
	MSG_BASIC,              /* basic: a service's secret, of a set that replaces the last one */
	MSG_TLS_TICKETS,        /* tickets: session ticket keys shared by this host's fronts */
	MSG_TLS_ROOTS,          /* fds: memfd, the PEM bundle that upstreams' certificates are verified against */
	MSG_ASSERTED,           /* asserted */
	MSG_BROWSED,            /* browsed: only to public fronts, as the question */
	MSG_METRICS_ASK,        /* metrics_ask: answered by METRICS, in parts */

	/* front -> core */
	MSG_SNAPSHOT_DONE,      /* snapshot_done */
	MSG_AUDIT,              /* audit: whole JSON lines, "\n" behind each */
	MSG_BROWSER,            /* browser: somebody came back from a login, or logs out */
	MSG_ASSERT,             /* assert: a signed assertion is wanted */
	MSG_AUDIT_LOST,         /* audit_lost: lines that found no room */
	MSG_METRICS,            /* metrics: Prometheus text */
	MSG_UPSTREAM,           /* upstream: not well any more, or again */
	MSG_USED,               /* used: an identity did something, or goes on with it */

	/* net -> front */
	MSG_LISTEN,             /* listen; fds: one listening socket for each entry */
	MSG_CONNECTED,          /* connected; fds: a socket whose connect was started, none on failure */

	/* front -> net */
	MSG_CONNECT,            /* connect */

	MSG_TYPES
};

struct msg_conf {
	uint32_t    generation;         /* from 1, rises */
	struct span dir;                /* relative paths of the file are taken from here */
	struct span file;               /* its name, for messages */
};

struct msg_conf_done {
	uint32_t    generation;
	bool        ok;
	struct span text;               /* why not, or warnings; for people, may have lines */
};

struct msg_neighbour {
	uint8_t  kind;                  /* enum process_kind */
	uint16_t index;                 /* which front */
};

struct msg_device {
	uint32_t      order;
	uint8_t       key[MSG_KEY_LEN]; /* the device's private key; wipe after use */
	size_t        addresses_n;
	struct prefix addresses[MSG_ADDRESSES_MAX];     /* this node's overlay addresses, /32 and /128 */
	size_t        ranges_n;
	struct prefix ranges[MSG_ADDRESSES_MAX];        /* the mesh's: the ULA and the IPv4 range */
};

struct msg_peer {
	uint32_t      order;
	uint8_t       key[MSG_KEY_LEN];
	bool          has_endpoint;     /* false: leave what the device learnt */
	struct ipport endpoint;
	uint16_t      keepalive;        /* seconds; 0: none */
	size_t        prefixes_n;       /* replaces the peer's list; 0: it can send nothing */
	struct prefix prefixes[MSG_PREFIXES_MAX];
};

struct msg_class {
	uint32_t      order;
	struct ip     ip;
	uint32_t      klass;            /* from 1; 0 denies. Of this filter: twice policy's, and one more for IPv6 */
	uint32_t      who;              /* whose address it is for now: the same for the same person. Of another one
	                                 * net denies, ends what is open with the address, and only then allows */
	int64_t       timeout;          /* milliseconds from now; the element goes by itself then; >= 1 */
};

struct msg_table {
	uint32_t order;
	uint32_t count;                 /* rows, names or prefixes in the memfd */
};

/* One row of the filter. */
enum msg_way {
	MSG_WAY_NONE = 0,
	MSG_WAY_IN,             /* klass may open protocol x ports to this host */
	MSG_WAY_FORWARD,        /* klass may open protocol x ports through this gateway to "to" */
	MSG_WAY_OWN,            /* "to" is a laboratory prefix that this gateway routes */
	MSG_WAY_VIA,            /* "to" is a far gateway's: we may open to it, for timeout */
	MSG_WAYS
};

struct msg_row {
	uint8_t       way;              /* enum msg_way */
	uint8_t       protocol;         /* IN, FORWARD: IANA number; 0: every protocol and port */
	uint16_t      first, last;      /* ports; 0 and 65535 where all or none */
	uint32_t      klass;            /* IN, FORWARD */
	struct prefix to;               /* all but IN */
	int64_t       timeout;          /* VIA: milliseconds from now, >= 1 */
};

struct msg_host {
	struct ip   ip;
	struct span name;
};

struct msg_done {
	uint32_t    order;
	uint8_t     code;               /* enum err_code; ERR_NONE: done */
	struct span text;
};

/* The parent runs it, so that it outlives net. Whoever asks for one that runs is answered at once; at each
 * of its later starts net is told again, for it has forgotten all that it was told. */
struct msg_tunnel {
	bool        on;
	struct span text;               /* from the parent, not on: why */
};

struct msg_peer_status {
	uint8_t       key[MSG_KEY_LEN];
	struct ipport endpoint;         /* family IP_NONE: unknown */
	int64_t       handshake;        /* wall seconds; 0: never */
	uint64_t      rx, tx;
};

struct msg_status {
	uint32_t    order;
	uint16_t    port;               /* UDP port of the device */
	struct span backend;            /* "kernel", "userspace" */
	struct span cannot;             /* what this kernel does not let net do; empty: nothing */
	uint64_t    cut[2];             /* connections of applications, and flows through this host, that were ended */
	uint64_t    refused[MSG_FILTER_COUNTERS];       /* packets, by enum msg_filter_counter */
	size_t      peers_n;
	struct msg_peer_status peers[MSG_PEERS_MAX];
};

struct msg_name {
	uint32_t    serial;
	struct span name;
	struct ip   at[NAMES_ADDRESSES_MAX];    /* by place; family IP_NONE: nothing there */
};

struct msg_named { uint32_t serial; };

struct msg_snapshot {
	uint64_t generation;            /* of the snapshot; rises */
	uint32_t conf;                  /* of the configuration whose service and upstream indexes it uses */
};

struct msg_snapshot_done {
	uint64_t    generation;
	bool        ok;
	struct span text;
};

struct msg_tls {
	bool        first, last;        /* of the set */
	struct span certificate;        /* PEM, leaf first */
	struct span key;                /* PEM; wipe after use */
};

struct msg_basic {
	bool        first, last;        /* of the set */
	struct span service, secret;    /* no service: the set is empty; wipe after use */
};

struct msg_tickets { struct span keys; };       /* as front_tls_tickets() takes them; wipe after use */

struct msg_assert {
	uint64_t id;                    /* the front's; comes back in MSG_ASSERTED */
	uint64_t snapshot;              /* generation that slot and service are of */
	uint32_t slot, service;
	struct span method, path;       /* empty: bound to no request */
};

struct msg_asserted {
	uint64_t    id;
	int64_t     expires;            /* wall seconds */
	struct span text;               /* empty: there is none for this identity */
};

struct msg_browser {
	uint64_t    id;                 /* the front's; comes back in MSG_BROWSED */
	uint64_t    snapshot;           /* generation that slot and service are of */
	uint32_t    what;               /* enum browser_ask */
	uint32_t    service, slot;      /* these as struct front_browser */
	struct span code, verifier;
};

struct msg_used {
	uint64_t snapshot;              /* generation that slot is of */
	uint32_t slot;
};

struct msg_browsed {
	uint64_t    id;
	uint32_t    what;               /* enum browser_answer */
	struct span text;               /* a cookie, of a session that is in the newest snapshot, or a URL */
};

struct msg_audit { struct span lines; };
struct msg_audit_lost { uint64_t count; };

struct msg_metrics_ask { uint64_t id; };

struct msg_metrics {
	uint64_t    id;                 /* of the question */
	bool        last;               /* of its parts */
	struct span text;
};

struct msg_upstream {
	struct span service, upstream;
	bool        down;
	uint32_t    rest_ms;            /* not 0: it gets nothing for so long */
	struct span why;                /* empty: it is well */
};

struct msg_listener {
	struct span   key;              /* the "listen" text of the configuration, as front_listener_add() takes it */
	struct ipport at;               /* family IP_NONE: handed in by LISTEN_FDS, or a unix socket */
};

struct msg_listen {
	uint32_t            conf;
	bool                first, last;    /* of the whole set, which replaces the one before */
	size_t              n;
	struct msg_listener list[MSG_LISTEN_MAX];
};

struct msg_connect {
	uint64_t id;                    /* the front's; comes back in MSG_CONNECTED */
	uint32_t conf;                  /* snapshot_table(); net knows this configuration and the one before */
	uint32_t service, upstream;     /* index into "services" (fronts) or "public" (public fronts); targets_place() */
};

struct msg_connected {
	uint64_t id;
	uint32_t error;                 /* errno's number; 0: a descriptor comes with it */
};

struct msg {
	enum msg_type type;
	union {
		struct msg_conf          conf;
		struct msg_conf_done     conf_done;
		struct msg_neighbour     neighbour;
		uint32_t                 order;         /* RESET, NET_END, STATUS_ASK */
		struct msg_device        device;
		struct msg_peer          peer;
		struct msg_class         klass;
		struct msg_table         table;
		struct msg_done          done;
		struct msg_tunnel        tunnel;
		struct msg_status        status;
		struct msg_name          name;
		struct msg_named         named;
		struct msg_snapshot      snapshot;
		struct msg_snapshot_done snapshot_done;
		struct msg_tls           tls;
		struct msg_basic         basic;
		struct msg_tickets       tickets;
		struct msg_assert        assert_;
		struct msg_asserted      asserted;
		struct msg_browser       browser;
		struct msg_used          used;
		struct msg_browsed       browsed;
		struct msg_audit         audit;
		struct msg_audit_lost    audit_lost;
		struct msg_metrics_ask   metrics_ask;
		struct msg_metrics       metrics;
		struct msg_upstream      upstream;
		struct msg_listen        listen;
		struct msg_connect       connect;
		struct msg_connected     connected;
	};
};

/* Adds the bytes of one message to an empty buffer of WIRE_MAX. False
 * (ERR_LIMIT) if a field is beyond its limit. */
bool msg_write(const struct msg *m, struct buf *out, struct err *err);

/* ERR_PEER for everything that msg_write() would not have written. */
bool msg_read(struct span bytes, struct msg *ret_m, struct err *err);

/* How many descriptors ride on it: exactly this many, or the channel ends.
 * MSG_CONNECTED has one if its error is 0, else none. */
size_t msg_fds(const struct msg *m);

/* What a process of kind "to" may be told by one of kind "from". */
bool msg_allowed(enum msg_type type, enum process_kind from, enum process_kind to);

const char *msg_name(enum msg_type type);
const char *process_kind_name(enum process_kind kind);
const char *msg_filter_counter_name(enum msg_filter_counter counter);

/* The content of the memfds of MSG_ROWS, MSG_HOSTS and MSG_ROUTES: exactly n of them. Names are
 * borrowed from the bytes. */
void msg_rows_write(const struct msg_row *rows, size_t n, struct buf *out);
bool msg_rows_read(struct span bytes, size_t n, struct msg_row *ret_rows, struct err *err);
void msg_hosts_write(const struct msg_host *hosts, size_t n, struct buf *out);
bool msg_hosts_read(struct span bytes, size_t n, struct msg_host *ret_hosts, struct err *err);
void msg_routes_write(const struct prefix *routes, size_t n, struct buf *out);
bool msg_routes_read(struct span bytes, size_t n, struct prefix *ret_routes, struct err *err);

/* A memfd with these bytes, sealed against everything; -1 with err. */
int msg_memfd(const char *name, struct span bytes, struct err *err);

/* Reads a memfd that a neighbour sent: refused (ERR_PEER) unless it is sealed
 * against shrinking, growing and writing, or larger than max. */
bool msg_memfd_read(int fd, size_t max, struct buf *ret_bytes, struct err *err);

#endif
