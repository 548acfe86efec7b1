/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_FRONT_H
#define DAEMON_PROXY_FRONT_H

/*
 * The HTTP engine of one front process: accepts, knows who calls, judges,
 * forwards. It runs on the caller's loop, and makes no socket(2), connect(2),
 * open(2) or bind(2): listeners and upstream connections are handed in, log
 * lines are handed out. It never holds a device key. Next:
 * daemon/proxy/request.c for the steps of a request, limits.h for every bound.
 *
 * SIGPIPE is to be ignored: splice(2) has no flag that does. Pipes are made by front_new().
 *
 * System calls it makes, for the sandbox: accept4 close epoll_ctl epoll_wait
 * getpeername getsockname getsockopt getrandom read recv recvfrom send sendto
 * sendmsg setsockopt shutdown splice write writev, futex and what malloc needs
 * (brk mmap munmap mremap madvise), clock_gettime.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/loop.h"
#include "daemon/proxy/snapshot.h"

struct front;

/* One upstream connection is wanted. Answer with front_connected(), now or
 * later; what is not answered within the service's connect timeout counts as failed. */
struct front_connect {
	uint64_t cookie;
	uint64_t table;                 /* snapshot_table(): which table the indexes are of */
	uint32_t service, upstream;     /* indexes in the snapshot */
};

/* A signed assertion is wanted for an identity and a service of the snapshot in
 * use. Answer with front_assertion(), now or later. */
struct front_assert {
	uint64_t    cookie;
	uint32_t    slot, service;
	struct span method, path;       /* of the request that it is bound to; empty: to none */
};

/* A browser came back from its login, wants to renew its session, or logs out. Answer the
 * former two with front_browser_answer(), now or later; the latter is not answered. */
enum browser_ask { BROWSER_REDEEM = 0, BROWSER_RENEW, BROWSER_END };
struct front_browser {
	enum browser_ask what;
	uint64_t    id;
	uint32_t    service;            /* index in the snapshot in use */
	uint32_t    slot;               /* whose session; REDEEM: that is there already, SLOT_NONE for none */
	/* REDEEM: the coordinator's code, and what this browser began the login with; RENEW: the hash of that, base64url */
	struct span code, verifier;
};

/* An upstream that is not well any more, or is again. */
struct front_upstream {
	struct span service, upstream;  /* as in the snapshot */
	bool        down;               /* its health checks fail; false: no more */
	int64_t     rest_ns;            /* not 0: it failed, and gets nothing for so long */
	const char *why;                /* in words; NULL: it is well */
};

struct front_ops {
	void (*connect)(void *arg, const struct front_connect *ask);
	/* May be NULL: then services for browsers let nobody in. */
	void (*browser)(void *arg, const struct front_browser *ask);
	/* May be NULL. An identity was let in, or goes on with what is open: at most every FRONT_USED_SEC. */
	void (*used)(void *arg, uint32_t slot);
	/* May be NULL: then services with assertions answer 503. */
	void (*assertion)(void *arg, const struct front_assert *ask);
	/* Whole JSON lines, each with its "\n": the audit and access log. Must not
	 * block. False: not taken; the front counts the records as lost. At most
	 * FRONT_LOG_BATCH bytes, borrowed for the call. */
	bool (*log)(void *arg, struct span lines, unsigned records);
	/* For whoever asks how the applications are. May be NULL. */
	void (*upstream)(void *arg, const struct front_upstream *u);
	/* front_drain() is done: nothing is open any more. May be NULL. */
	void (*drained)(void *arg);
};

enum { FRONT_LOG_BATCH = 32 << 10 };    /* below WIRE_MAX, so that a batch fits one message */

enum front_log { FRONT_LOG_JSON = 0, FRONT_LOG_COMBINED, FRONT_LOG_COMMON, FRONT_LOG_NONE };

struct front_conf {
	struct span    name;            /* "front0": in logs and metrics */
	enum front_log log;             /* FRONT_LOG_COMBINED and _COMMON: denials stay JSON lines */
	unsigned       conn_max;        /* 0: the default of limits.h */
	int64_t        head_ns, keep_ns;        /* FRONT_HEAD_NS and FRONT_FIRST_NS; FRONT_KEEP_NS. 0: those */
	struct span    server;          /* Server header of our own pages; empty: "reeve" */
};

/* ops and arg stay the caller's and must outlive the front. */
struct front *front_new(struct loop *loop, const struct front_ops *ops, void *arg,
                        const struct front_conf *conf);
void front_free(struct front *f);       /* closes everything at once; accepts NULL */

/* fd: a listening socket, non-blocking; taken over. key: the "listen" text of the
 * service's configuration ("80", "127.0.0.1:8080"); the snapshot says which
 * services answer there, and whether it speaks TLS. Several sockets may have one key. */
bool front_listener_add(struct front *f, int fd, struct span key, struct err *err);
void front_listener_remove(struct front *f, struct span key);   /* closes them; connections stay */

/* A certificate chain and its key, PEM, for the names in it (SNI; the first one
 * given answers where no name fits). Replaces the whole set when the next
 * front_tls_begin()..front_tls_commit() ends; open connections stay. */
void front_tls_begin(struct front *f);
bool front_tls_add(struct front *f, struct span chain_pem, struct span key_pem, struct err *err);
bool front_tls_commit(struct front *f, struct err *err);
/* Session ticket keys shared by the fronts of a host, newest first, 80 bytes each;
 * without a call each front makes its own. */
bool front_tls_tickets(struct front *f, struct span keys, struct err *err);
/* Services' secrets for Basic authentication. Replaces the whole set when the next
 * front_basic_begin()..front_basic_commit() ends; copied, and wiped when replaced. */
void front_basic_begin(struct front *f);
void front_basic_add(struct front *f, struct span service, struct span secret);
void front_basic_commit(struct front *f);

/* What upstreams' certificates are verified against, PEM bundle. */
bool front_tls_roots(struct front *f, struct span pem, struct err *err);

/* Takes the caller's reference. Connections whose identity is no longer the same
 * end; requests in flight that the new policy refuses end too. */
void front_snapshot_set(struct front *f, struct snapshot *s);

/* Tells ops->upstream of each that is not well now: for somebody who is new there. */
void front_upstreams(const struct front *f);

/* Core has changed revocation words: ends what no longer counts, at once. */
void front_sweep(struct front *f);

/* The answer to ops->connect: fd non-blocking (maybe still connecting) and taken
 * over, or -1 with errno's number. An unknown cookie closes fd. */
void front_connected(struct front *f, uint64_t cookie, int fd, int error);

/* The answer to ops->assertion: the compact JWS and its end; empty where there is
 * none for this identity. An unknown cookie is ignored: the snapshot has changed. */
void front_assertion(struct front *f, uint64_t cookie, struct span text, struct wall exp);

/* The answer to ops->browser. A cookie: of the new session, whose hash is in the snapshot by now; of a client that has
 * left it is ended. RENEWED: of the same session as before, which goes on. URL: where its renewal begins. */
enum browser_answer { BROWSER_REFUSED = 0, BROWSER_COOKIE, BROWSER_RENEWED, BROWSER_URL, BROWSER_ANSWERS };
void front_browser_answer(struct front *f, uint64_t id, enum browser_answer what, struct span text);

/* Accept no more, finish what runs (idle connections end now, others when their
 * response is written), end the rest at the deadline, then ops->drained. */
void front_drain(struct front *f, struct boot deadline);

struct front_stats {
	uint64_t accepted, refused_conns;       /* refused: over conn_max */
	uint64_t requests, allowed, denied, bad; /* bad: not parsed */
	uint64_t upstream_errors, retried;
	uint64_t revoked;                       /* connections ended by sweep, expiry or a new snapshot */
	uint64_t log_records, log_lost;
	uint32_t conns, idle_conns, in_flight, upgrades;
	uint64_t snapshot_seq;
	uint64_t bytes_in, bytes_out, bytes_spliced;    /* spliced: of those out, by splice.c */
};
void front_stats(const struct front *f, struct front_stats *ret_s);

/* Prometheus text exposition, all metrics of this front, labelled front="NAME". */
void front_metrics(const struct front *f, struct buf *out);

#endif
