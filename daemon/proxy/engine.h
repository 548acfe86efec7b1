/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_ENGINE_H
#define DAEMON_PROXY_ENGINE_H

/*
 * What the engine's files share; nobody outside daemon/proxy includes it.
 *
 *   conn.c       a client's connection: read, answer, next request, end
 *   request.c    the steps of a request: host, identity, cross-site, policy, head
 *   upstream.c   pools and connections to applications
 *   upstream_h2.c  ... that speak HTTP/2
 *   health.c     whether they are well
 *   response.c   their answers' heads
 *   relay.c      bodies both ways, upgrades
 *   splice.c     long answers, from socket to socket
 *   tcp.c        services that are no HTTP
 *   gateway_request.c  applications that are asked in variables
 *   assertions.c signed assertions, from core
 *   forward.c    what another web server asks
 *   basic.c      passwords, for applications that know nothing else
 *   browser.c    people without a mesh client: login, cookie, logout
 *   pages.c      what people see when they are refused
 *   audit.c      one line a request
 *
 * Who reads into front.rx: only the top of an event (conn_run(), up_run()).
 * What is left there is kept (io_keep()) before anybody else may read.
 *
 * Connections are freed at the end of the round in which they were closed
 * (loop_defer_free()), so that a caller may look at `closed` afterwards; so
 * are exchanges, which a connection has from a request's head to the end of
 * its answer: one that waits for the next request costs no more than itself.
 */

#include "daemon/proxy/chunked.h"
#include "daemon/proxy/forward.h"
#include "daemon/proxy/front.h"
#include "daemon/proxy/gateway.h"
#include "daemon/proxy/headers.h"
#include "daemon/proxy/http_target.h"
#include "policy/tables.h"

struct conn;
struct upconn;
struct exchange;
struct service_run;
struct upstream;
struct tls_set;

/* ---- timers: a wheel of FRONT_TICK_NS; moving a deadline away is a store ---- */

struct wheel_node {
	struct wheel_node *prev, *next;         /* NULL: not in the wheel */
	int64_t            due, at;             /* at: the tick it is filed under */
	void (*fire)(struct front *f, struct wheel_node *n);
};

enum { WHEEL_SLOTS = 512 };

struct wheel {
	struct wheel_node  slots[WHEEL_SLOTS];
	int64_t            tick;                /* the last one that was looked at */
	size_t             count;
	struct loop_timer *timer;
};

void wheel_init(struct front *f);
void wheel_done(struct front *f);
void wheel_set(struct front *f, struct wheel_node *n, int64_t due);
void wheel_remove(struct front *f, struct wheel_node *n);

/* ---- bytes that wait ---- */

struct queue {
	char  *ptr;
	size_t off, len, cap;                   /* ptr[off .. off + len) */
};

void queue_add(struct queue *q, const void *p, size_t n);
char *queue_room(struct queue *q, size_t n);    /* n bytes behind the content, to be added by len += */
void queue_drop(struct queue *q, size_t n);
void queue_free(struct queue *q);
static inline struct span queue_span(const struct queue *q)
{
	return (struct span){ q->ptr ? q->ptr + q->off : NULL, q->len };
}

/* ---- one side of a connection ---- */

struct io {
	struct loop_watch watch;
	struct ssl_st    *ssl;                  /* NULL: plain */
	struct queue      in, out;
	struct pipe      *pipe;                 /* bytes that are written before out; NULL: none (splice.c) */
	bool              can_read, can_write, eof, failed, hup, tls_ready;
	uint8_t           stream;               /* enum io_stream: of HTTP/2, no descriptor */
	struct gateway_records *records;        /* FastCGI: of an upconn, what arrives is taken apart */
};

enum io_stream { IO_DESCRIPTOR = 0, IO_STREAM, IO_UP_STREAM };   /* of a conn, of an upconn */
enum io_result { IO_FAIL = -2, IO_AGAIN = -1, IO_EOF = 0, IO_DATA = 1 };

bool io_start(struct front *f, struct io *io, int fd, loop_fd_fn *fn, void *arg);
void io_events(struct io *io, uint32_t events);
/* What is kept, or what was read now; *ret stays valid until the next read or io_keep(). */
enum io_result io_fill(struct front *f, struct io *io, struct span *ret);
/* Nothing has come that was not read, and no end: asked of the descriptor, not of its events. */
bool io_is_quiet(struct io *io);
/* Keeps the end of what io_fill() gave; the rest is done with. */
void io_keep(struct io *io, struct span rest);
struct iovec;
/* Writes, and keeps what does not go: false if the connection has failed. */
bool io_write(struct io *io, const struct iovec *v, int n);
bool io_flush(struct io *io);
/* Of what was written and does not go at once: how much the other side has taken, counted
 * from anywhere. Only that it changes says something. 0: nothing waits. */
uint32_t io_taken(const struct io *io);
static inline bool io_blocked(const struct io *io)
{
	return io->out.len > 0 || io->pipe;
}
void io_close(struct front *f, struct io *io);

/* ---- a body on its way ---- */

struct body {
	enum body_kind   kind;
	bool             done, trailers;        /* trailers: the last chunk is behind us */
	uint64_t         left, total;
	struct chunked   chunked;
	struct http_scan scan;
};

/* ---- one request and its response ---- */

enum ex_state {
	EX_NONE = 0,
	EX_WAIT,                /* for an upstream connection */
	EX_SENT,                /* head on its way, no response yet */
	EX_RESPONSE,            /* the response's head is with the client */
	EX_UPGRADED,
};

enum ex_end {                   /* why it ended, for the log */
	END_OK = 0, END_REFUSED, END_CLIENT, END_UPSTREAM, END_TIMEOUT, END_REVOKED, END_EXPIRED, END_POLICY,
	END_DRAIN,
};

struct exchange {
	enum ex_state       state;
	struct exchange    *next;               /* of those that have ended, or are spare */
	struct conn        *conn;
	struct upconn      *up;
	struct snapshot    *snap;               /* of the decision */
	const struct snap_service *svc;
	struct service_run *run;
	struct exchange    *wait_prev, *wait_next;
	struct upstream    *waiting;
	char               *mem;                /* texts and head; a block of the front's, or malloc'd */
	size_t              mem_cap;
	struct span         method, host, path, alt, query, head, protocol, rid;
	struct span         agent, referer;     /* for Common and Combined logs */
	uint32_t            service;
	enum verb           verb;
	uint8_t             minor, tries;
	uint8_t             forward;            /* enum forward_style: a helper's question */
	bool                shown;              /* ... whose answer a person is given as it is */
	enum gateway        gateway;
	bool                tcp, keep_alive, upgrade, expect, to_chunked, reused, sent_body, counted, close_up,
		            head_only, answered, html, te_trailers, secret; /* secret: mem is to be wiped */
	struct body         req, resp;
	unsigned            status, interim;
	struct reason       why;
	const char         *refused;            /* stable word: "no-grant", "cross-site", "bad-request" */
	const char         *detail;             /* more words, constant */
	int64_t             started, connected, first_byte, due_total;
	uint64_t            bytes_in, bytes_out;
};

/* ---- a client's connection ---- */

enum conn_state { CONN_TLS = 0, CONN_READY, CONN_BUSY, CONN_UPGRADED, CONN_H2, CONN_LINGER, CONN_CLOSED };

struct listener {
	struct front     *front;
	struct loop_watch watch;
	char             *key;
	uint16_t          port;
	unsigned          refs;                 /* connections, and the front's list */
	bool              gone;
	struct listener  *next;
	const struct snap_listen *snap;         /* in front->snap; NULL: the snapshot does not know it */
};

struct conn {
	struct io         io;
	struct front     *front;
	struct listener  *listener;
	struct conn      *prev, *next;
	struct wheel_node timer;
	enum conn_state   state;
	struct ip         peer;
	uint16_t          peer_port;
	uint32_t          slot, generation;     /* fixed at accept; the slot follows the snapshot */
	int64_t           ident_due;            /* the session's or the lease's end */
	uint32_t          requests;
	uint32_t          surplus;              /* bytes read while lingering */
	uint32_t          taken;                /* how far those who are slow had come (io_taken()) */
	bool              in_head : 1, closing : 1, queued : 1, tls : 1;
	bool              owed : 1;             /* part of a request that was answered is still to come */
	bool              waited : 1;           /* for an assertion, in vain */
	struct assertion *waits;                /* NULL: for none */
	struct browser   *browser;              /* NULL: it never called a service for browsers */
	struct conn      *wait_next;
	struct http_scan  scan;
	struct h2        *h2;                   /* it speaks HTTP/2 */
	struct conn      *parent;               /* of a stream: the connection that carries it */
	struct h2_stream *stream;               /* ... which reads what is written here */
	struct exchange  *ex;                   /* NULL: between requests. Never in CONN_BUSY or CONN_UPGRADED */
};

/* Its request, once that has come so far that its end is told; or NULL. */
static inline struct exchange *conn_exchange(const struct conn *c)
{
	return c->ex && c->ex->state != EX_NONE ? c->ex : NULL;
}

void conn_accept(struct listener *l, uint32_t events);
void conn_run(struct conn *c);                  /* goes on with whatever it can */
void conn_close(struct conn *c);
void conn_due(struct conn *c, int64_t due);
void conn_later(struct conn *c);                /* conn_run() at the end of this round */
bool conn_check(struct conn *c, enum ex_end *ret_end);  /* its identity still counts */
struct conn *conn_stream(struct conn *parent);  /* a connection without a descriptor, for a stream */
void conn_identify(struct conn *c);             /* address -> slot in the front's snapshot */
void conn_linger(struct conn *c);
void conn_log_only(struct conn *c, const struct fault *why); /* bytes that were no request */

/* ---- request.c ---- */

/* Judges front->msg; then c->ex, which is made here, waits for an upstream, or is answered. */
/* False: it waits for an assertion, and is to be parsed and begun again when conn_run() comes. */
bool request_begin(struct conn *c);
/* The same decision again, for what is open when the policy has changed. */
bool request_still_allowed(struct exchange *ex);

bool request_https(const struct exchange *ex);  /* to the person: TLS may end before us */

/* Steps that tcp.c or forward.c share. False: refused, and the exchange is over. */
struct exchange *request_new(struct conn *c, const struct message *m);  /* as c->ex; nothing is judged */
bool request_target(struct exchange *ex, struct message *m);    /* its service; method, host and path as judged */
bool request_identity(struct exchange *ex);
bool request_policy(struct exchange *ex);
bool request_judge(struct exchange *ex, const struct message *m);       /* both, and which site it comes from */
bool request_cross_site(const struct exchange *ex, const struct message *m);
bool request_room(struct exchange *ex);         /* may one more run at once */
void request_count(struct exchange *ex);        /* it does, until its end */
enum { REQUEST_ID_LEN = 32 };
void request_id_make(struct front *f, char out[REQUEST_ID_LEN]);

/* Steps that forward.c shares. */
void request_write_id(struct exchange *ex, const struct message *m, struct head_out *o);
void request_answer_jwks(struct exchange *ex, unsigned without);        /* the status where there are none */
void request_put_back(struct exchange *ex);     /* as if it had not come: it comes again */

/* ---- forward.c ---- */

/* As request_begin(), on a listener with a style. */
bool forward_begin(struct conn *c);
unsigned forward_status(const struct exchange *ex, unsigned status);    /* as this helper understands it */
/* A person can be sent elsewhere by an answer. False: by a helper's question that cannot carry it. */
bool forward_redirects(const struct exchange *ex);

/* ---- basic.c ---- */

/* This field of the client's is replaced by ours. */
bool basic_replaces(const struct exchange *ex, struct span name);
/* Our Authorization, where the service wants one. False: it cannot be written, with *ret_why. */
bool basic_write(struct exchange *ex, struct head_out *o, const char **ret_why);
void basics_free(struct front *f);

/* ---- assertions.c ---- */

enum assertion_state { ASSERTION_NONE = 0, ASSERTION_READY, ASSERTION_WAIT };
/* WAIT: c is woken by conn_later() when there is an answer. ret_text lives until the loop runs. */
enum assertion_state assertion_get(struct exchange *ex, struct span *ret_text);
void assertion_leave(struct conn *c);           /* waits no longer */
void assertions_clear(struct front *f);

/* ---- front.c ---- */
void front_used(struct front *f, uint32_t slot);        /* somebody is let in */

/* ---- browser.c ---- */

enum browser_step { BROWSER_ON = 0, BROWSER_ANSWERED, BROWSER_WAIT };
/* Who asks, by the cookie; and the paths of its own. ON: as for everybody else from here. */
enum browser_step browser_request(struct exchange *ex, const struct message *m);
uint32_t browser_slot(const struct conn *c);    /* in the front's snapshot, by the cookie of the last request */
bool browser_waits(const struct conn *c);
int64_t browser_wait_ns(const struct conn *c);  /* ... for so long at most */
void browser_late(struct conn *c);              /* the answer did not come in time */
void browser_free(struct conn *c);              /* with its connection */
void browser_strip(struct front *f, struct message *m);         /* our cookies, before anybody behind us sees them */
void browser_forget(struct conn *c);            /* its next request is of no browser that we know */
/* Where a refused person logs in: a path of the service itself. auth: what the login is asked for; or NULL. */
void browser_login_path(const struct exchange *ex, const struct tables_auth *auth, struct buf *out);

/* ---- gateway_request.c ---- */

enum gateway gateway_of(const struct exchange *ex);     /* of its service */
bool gateway_request(struct exchange *ex, const struct message *m, struct span extra, struct head_out *o,
                     const char **ret_why);

/* ---- tcp.c ---- */

/* The plain TCP service of this connection's listener, or NULL. */
const struct snap_service *tcp_service(const struct conn *c, uint32_t *ret_index);
void tcp_begin(struct conn *c);
void tcp_start(struct conn *c);                 /* its upstream connection is there */

/* ---- exchange.c: life and end ---- */
struct exchange *exchange_new(struct conn *c);         /* as c->ex */
void exchange_drop(struct exchange *ex);                /* without a word; for what comes again */
void exchanges_reap(struct front *f);                   /* those that have ended; at the end of a round */
void exchanges_free(struct front *f);
char *exchange_mem(struct exchange *ex, size_t n);      /* replaces ex->mem by at least n bytes */
void exchange_end(struct exchange *ex, enum ex_end why);        /* logs, frees; the connection is the caller's */
void exchange_fail(struct exchange *ex, unsigned status, const char *word, const char *detail, enum ex_end why);
void exchange_done(struct exchange *ex);                /* both ways are through */
/* Answers with a page of ours. The connection is closed after it if the request is not through. */
void exchange_refuse(struct exchange *ex, unsigned status, const char *word, const char *detail);

/* ---- upstream.c ---- */

struct upstream {
	struct service_run *run;
	char          *name, *host;
	uint32_t       index;                   /* in the service's list of front->snap */
	uint32_t       flags;
	bool           gone;
	struct upconn *idle, *all;
	unsigned       idle_count, count;       /* count: open or being opened */
	unsigned       busy, fails;
	int64_t        rest_until, told_until;  /* told: that it rests */
	struct exchange *wait_first, *wait_last;
	unsigned       waiting;
	uint64_t       connects, errors;
	struct upstream *next_gone;
	struct probe  *probe;                   /* NULL: it is not asked whether it is well */
};

enum up_state { UP_ASKED = 0, UP_CONNECTING, UP_TLS, UP_IDLE, UP_BUSY, UP_H2, UP_CLOSED };

struct upconn {
	struct io         io;
	struct front     *front;
	struct upstream  *upstream;
	struct upconn    *prev, *next;          /* of upstream->all */
	struct upconn    *idle_prev, *idle_next;
	struct upconn    *ask_next;             /* in the front's table of what was asked */
	struct wheel_node timer;
	enum up_state     state;
	uint64_t          cookie;
	uint32_t          served;
	struct exchange  *ex;
	struct http_scan  scan;
	struct gateway_records records;
	bool              keep;
	struct up_h2     *h2;                   /* UP_H2: it carries streams */
	struct up_stream *stream;               /* of_h2; NULL: the carrier has done with it */
	bool              of_h2;                /* a stream, without a descriptor */
	bool              refused;              /* what was asked here was never processed */
};

bool upstream_is_h2(const struct exchange *ex);          /* its service's applications speak HTTP/2 */
void upstream_acquire(struct exchange *ex);
void upstream_leave(struct exchange *ex);       /* no longer waits */
void up_run(struct upconn *u);
void up_release(struct upconn *u, bool reuse);  /* its exchange is over */
void up_close(struct upconn *u);
void up_send_head(struct upconn *u, struct span body);
void upstream_retire(struct upstream *s);       /* the configuration has dropped it */
void upstream_tell(const struct upstream *s, const struct front_upstream *u);     /* whoever runs the front, of its state */
void upstream_kick(struct upstream *s);         /* a place is free: the next that waits */
void up_connected(struct front *f, uint64_t cookie, int fd, int error);
void up_failed(struct upconn *u, const char *detail);
void up_broken(struct upconn *u, const char *detail);    /* a carrier */

/* ---- health.c ---- */

/* As its service says now; v NULL: not at all. */
void health_set(struct upstream *s, const struct snap_service *v);
void health_free(struct upstream *s);
bool health_is_down(const struct upstream *s);
void health_counts(const struct upstream *s, uint64_t *ret_checks, uint64_t *ret_failed);
bool health_connected(struct front *f, uint64_t cookie, int fd);        /* false: no probe's */

/* ---- response.c ---- */

void response_run(struct upconn *u);

/* ---- relay.c ---- */

/* Request body bytes from the client: data is what is here; returns what is left of it. */
struct span relay_request(struct exchange *ex, struct span data);
/* Response body bytes from the application. False: malformed, or the client is gone. */
bool relay_response(struct exchange *ex, struct span *data, struct iovec *first);
void relay_upgrade(struct conn *c);

/* ---- pages.c, audit.c, metrics ---- */

void page_write(struct exchange *ex, unsigned status, const char *word, const char *detail, bool close);
void page_json(struct exchange *ex, struct span text);          /* 200, for well-known paths */
void page_plain(struct conn *c, const struct fault *why);       /* not even a request */
const char *status_reason(unsigned status);

void audit_exchange(struct exchange *ex, enum ex_end why);
void audit_bad(struct conn *c, const struct fault *why);
void audit_application(struct upconn *u, struct span text);     /* its error text */
void audit_upstream(const struct upstream *s, bool down, const char *why);       /* its health has changed */
void audit_flush(struct front *f);

enum { LATENCY_BUCKETS = 14 };

struct service_run {
	struct front     *front;
	char             *name;
	uint32_t          index;                /* in front->snap, or SERVICE_UNKNOWN */
	bool              gone;
	struct upstream **ups;
	size_t            up_count;
	struct upstream  *retired;              /* of an older snapshot, with connections still open */
	unsigned          turn;
	uint32_t          in_flight;
	uint64_t          by_class[6];          /* 1xx .. 5xx, and 0 for none */
	uint64_t          refused, requests;
	uint64_t          latency[LATENCY_BUCKETS + 1];
	double            latency_sum;
	struct service_run *next;
};

void service_latency(struct service_run *r, int64_t ns);

/* ---- the front ---- */

struct front {
	struct loop            *loop;
	const struct front_ops *ops;
	void                   *arg;
	char                   *name, *server;
	struct basic           *basics, *basics_coming;
	struct assertion       *assertions[1024];
	size_t                  assertion_count;
	size_t                  redeems;        /* browsers that wait for core */
	int64_t                 renew_rest;     /* until then nobody waits for a renewal: core was late */
	char                   *cookies;        /* HTTP_HEAD_MAX bytes: Cookie fields without ours; NULL until needed */
	struct evp_md_st       *sha256;
	struct evp_md_ctx_st   *sha256_ctx;
	char                   *gate;           /* a gateway's head as an HTTP one */
	char                   *h2_tx;          /* FRONT_H2_TX bytes; NULL: not needed yet, or in use */
	struct h2_stream       *h2_spare;       /* to be used again */
	unsigned                h2_spare_count;
	enum front_log          log;
	unsigned                conn_max;
	int64_t                 head_ns, first_ns, keep_ns;
	struct snapshot        *snap;
	struct listener        *listeners;
	struct conn            *conns;
	struct service_run     *runs;
	struct service_run    **by_index;       /* of front->snap's services */
	uint32_t               *busy;           /* requests at once by slot of front->snap */
	uint32_t               *open;           /* connections by slot of front->snap */
	uint32_t               *used;           /* by slot: when ops->used was last called, seconds of CLOCK_BOOTTIME */
	struct loop_timer      *used_timer;
	struct wheel            wheel;
	struct front_stats      stats;
	uint64_t                cookie;
	struct upconn          *asked[256];
	struct conn           **later;
	size_t                  later_count, later_cap;
	struct probe           *probes;         /* that wait for a descriptor */
	struct up_h2           *h2_later, *h2_turn;     /* carriers that were woken; those whose turn it is */
	bool                    later_set, draining, drained, accept_paused;
	int64_t                 drain_due;
	struct loop_timer      *drain_timer, *log_timer, *accept_timer;
	uint64_t                rid_high, rid_low;
	struct buf              lines;
	unsigned                line_count;
	bool                    log_armed;
	int64_t                 time_sec;       /* of time_text */
	char                    time_text[WALL_TEXT_MAX];
	size_t                  time_len;
	struct tls_set         *tls;
	char                   *blocks[64];     /* free ones of EX_BLOCK bytes */
	unsigned                block_count;
	struct exchange        *ended, *spare;  /* exchanges */
	unsigned                spare_count;
	struct pipe            *pipes;          /* free ones */
	struct message          msg;
	struct target           target;
	char                    rx[FRONT_RX];
	char                    tx[FRONT_TX];
};

enum { EX_BLOCK = 8 << 10 };

static inline int64_t front_now(const struct front *f)
{
	return loop_now(f->loop).ns;
}

struct service_run *front_run(struct front *f, uint32_t service);
void front_later(struct front *f);
void front_gone_check(struct front *f);         /* drained yet? */

/* ---- tls.c ---- */
bool tls_accept(struct conn *c);                /* begins; false: no certificates */
bool tls_connect(struct upconn *u);
/* 1: done, 0: more, -1: failed */
int  tls_handshake(struct io *io);
bool tls_is_h2(const struct io *io);            /* what ALPN agreed on */
ssize_t tls_read(struct io *io, char *p, size_t n);
ssize_t tls_write(struct io *io, const char *p, size_t n);
void tls_free(struct io *io);
void tls_set_free(struct tls_set *t);

#endif
