/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_HTTP_H
#define COORDINATOR_HTTP_H

/*
 * The coordinator's two listeners, unix sockets behind our own fronts, by
 * libmicrohttpd on the loop. A request is answered from its handler or later,
 * by id: whoever waits keeps the id, since the request may be gone by then.
 * Parked requests carry a deadline of ours: libmicrohttpd's stands still
 * while a connection is suspended, and it does not see the client leave.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/loop.h"

#include <sys/types.h>

enum {
	HTTP_PUBLIC_MAX   = 512,        /* connections; the public front has its own limit before */
	HTTP_MESH_MAX     = 16384,      /* one parked map stream for each node, and requests beside them */
	HTTP_MEMORY       = 16 << 10,   /* of one connection: its headers must fit */
	HTTP_IDLE_SEC     = 75,         /* a connection without a request */
	HTTP_PARKED_SEC   = 60,         /* a request that waits for its answer */
	HTTP_PATH_MAX     = 2048,
	HTTP_STREAM_MAX   = 96 << 20,   /* bytes that a stream's reader has not taken yet */
};

struct http;
struct request;
struct stream;

enum listener { LISTENER_PUBLIC, LISTENER_MESH };

struct request {
	uint64_t      id;
	enum listener listener;
	char         *target;           /* as sent: path and query */
	struct span   path, query;      /* of target; no percent sign in path */
	struct span   rest;             /* what followed a route's prefix */
	bool          post;
	struct buf    body;
	/* What the front says: X-Forwarded-For, Cookie. */
	struct ip     from;             /* IP_NONE: not said */
	char         *cookie;           /* NULL: none */
	/* Mesh listener: who calls. 0: none. */
	uint64_t      node, user, session;
	bool          hub;              /* the hub's own core, by the credentials of its socket */
	bool          self;             /* this process itself, by the credentials of its socket */
	bool          root;             /* root on this machine, who came without a front: node is 0 */

	uint64_t      subject;          /* the handler's own: a node that the answer is about */
	char         *bearer;           /* whose token was shown and found good (bearer.h); NULL: none */
	uint32_t      permits;          /* what that token may */
	bool          admin;            /* an administrator, or a program that may: api_table.c says so */

	struct http  *http;             /* the rest is http.c's */
	void         *connection, *response;
	unsigned      status;
	const struct route *route;
	struct boot   deadline;
	struct stream *stream;
	bool          refused, parked, replied, dispatched;
	struct err    why;
	struct request *next_parked, **link_parked;
};

/* Replies at once or later. */
typedef void http_fn(void *ctx, struct request *r);

struct route {
	const char *method;             /* "GET", "POST", "DELETE" */
	const char *path;               /* "/v1/map"; one that ends in a slash takes everything below it, too */
	http_fn    *fn;
	size_t      body_max;           /* 0: no body */
};

struct http_options {
	const char         *public_path, *mesh_path;
	const struct route *public_routes, *mesh_routes;        /* end with a NULL method */
	const uid_t        *front_uids;         /* who may connect: net's user */
	size_t              front_uid_count;
	uid_t               hub_uid;            /* the hub's core; (uid_t)-1: nobody */
	uint64_t            hub_node;
	/* Answers what is refused below a path that has a form of its own for that. */
	const char         *odd_path;
	void              (*odd_error)(struct request *r, const struct err *err);
	void               *ctx;
};

struct http *http_new(struct loop *loop, const struct http_options *o, struct err *err);
/* Stops taking connections; requests under way are answered 503 and closed. Accepts NULL. */
void http_free(struct http *h);

struct request *http_find(struct http *h, uint64_t id);         /* NULL once it was answered */
struct loop *http_loop(struct http *h);

/* Each answers once; a request that was answered is not touched again. */
void request_reply(struct request *r, unsigned status, const char *type, struct span body);
void request_json(struct request *r, unsigned status, struct buf *json);        /* buf may be reused */
void request_error(struct request *r, const struct err *err);
/* A header of the request; NULL if it is absent, empty or there twice. */
const char *request_header(struct request *r, const char *name);
/* 401, in the path's own form. */
void request_unauthorized(struct request *r);
struct reply_header { const char *name, *value; };
void request_reply_with(struct request *r, unsigned status, const char *type, struct span body,
                        const struct reply_header *headers, size_t n);
void request_fail(struct request *r, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
struct page;
void request_page(struct request *r, struct page *p);           /* page_done() stays the caller's */

/*
 * A response without an end: status 200, application/x-ndjson. on_gone is
 * called once, when the other side left, fell too far behind, or
 * stream_end() was obeyed; the stream is freed after it.
 */
typedef void stream_gone_fn(void *arg, struct stream *s);
struct stream *request_stream(struct request *r, stream_gone_fn *on_gone, void *arg);
/* False if it would hold more than HTTP_STREAM_MAX: the stream ends. */
bool stream_write(struct stream *s, struct span bytes);
void stream_end(struct stream *s);

struct http_stats { uint64_t requests, refused; size_t connections, parked, streams; };
void http_stats(const struct http *h, struct http_stats *ret);

#endif
