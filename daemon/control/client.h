/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

/*
 * HTTP/1.1 as a client of the coordinator or of a local API, on the loop, through
 * curl's multi-socket interface: nothing blocks. Never follows a redirect, never
 * uses a proxy, a cookie or ~/.netrc, speaks to exactly the peer that the
 * request names. Sizes and times are bounded.
 *
 * The start request of an enrolment names the pin that its connection matched:
 * with several pins ask GET /v1/enrol first, and go on with reply.pin alone.
 */

#include "daemon/control/enrol.h"

#include "base/loop.h"

enum {
	CLIENT_BODY_MAX    = 4 << 20,   /* default bound of a reply that is kept whole */
	CLIENT_CONNECT_MS  = 10000,
	CLIENT_TIMEOUT_MS  = 30000,     /* default bound of a whole request */
	CLIENT_HEADERS_MAX = 16,
	CLIENT_PARALLEL_MAX = 64,       /* requests of one client under way */
};

struct client;
struct client_request;

struct client *client_new(struct loop *loop, struct err *err);
void client_free(struct client *c);     /* ends every request without its callback; accepts NULL */

enum client_to {
	CLIENT_PUBLIC,          /* https, the peer's key must be one of the pins; names are not checked */
	CLIENT_OVERLAY,         /* plain http to an address in the tunnel */
	CLIENT_UNIX,            /* plain http over a unix socket */
};

struct client_reply {
	bool        ok;         /* an HTTP reply came in whole, whatever its status */
	unsigned    status;
	struct span body;       /* empty when on_data took it; borrowed for the call */
	struct enrol_pin pin;   /* CLIENT_PUBLIC: the pin that matched */
	const struct err *err;  /* why not ok */
};

/* Called once from the loop, never from client_start(); the handle is gone with it. */
typedef void client_done_fn(void *arg, const struct client_reply *reply);

/* A part of a 200's body, as it comes. False, with err set, ends the request. */
typedef bool client_data_fn(void *arg, struct span bytes, struct err *err);

struct client_spec {
	enum client_to      to;
	const char         *url;        /* public: "https://HOST[:PORT]" (no path); overlay, unix: unused */
	const struct enrol_pin *pins;   /* public: 1..ENROL_PINS_MAX */
	size_t              pin_count;
	struct ipport       address;    /* overlay */
	const char         *socket;     /* unix: path */
	const char         *host;       /* overlay, unix: the Host header; NULL: the address, "localhost" */
	const char         *method;     /* "GET" */
	const char         *path;       /* "/v1/map?have=..": as is, begins with a slash */
	const char *const  *headers;    /* "Name: value", header_count of them; no CR or LF */
	size_t              header_count;
	struct span         body;       /* copied; its type is application/json; ptr NULL: none */
	size_t              max;        /* of the reply that is kept; 0: CLIENT_BODY_MAX */
	int64_t             timeout_ms; /* of the whole request; 0: CLIENT_TIMEOUT_MS; -1: none (streams) */
	int64_t             idle_ms;    /* ends when no byte came for so long; 0: none */
	client_data_fn     *on_data;    /* NULL: keep the body for on_done */
	client_done_fn     *on_done;
	void               *arg;
};

/* All of spec is copied. NULL only where spec makes no sense or too many are under way. */
struct client_request *client_start(struct client *c, const struct client_spec *spec, struct err *err);
void client_cancel(struct client_request *r);   /* its callbacks are not called; accepts NULL */

#endif
