/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_LIMITS_H
#define DAEMON_PROXY_LIMITS_H

/*
 * Everything a stranger, or an application behind us, can make a front store
 * or wait for: each with its reason. Those with a row in the configuration
 * ("services": {...}) are defaults, and say so.
 */

#include "base/clock.h"

enum {
	HTTP_HEAD_MAX     = 32 << 10,   /* request line and fields; nginx and Node stop at 32 and 16 KiB */
	HTTP_TARGET_MAX   = 8 << 10,    /* RFC 9112 3 recommends at least 8000; three times that once normalised */
	HTTP_METHOD_MAX   = 32,         /* the longest registered one has 17 */
	HTTP_FIELDS_MAX   = 200,        /* browsers send about 20, gateways add as many */
	HTTP_NAME_MAX     = 256,        /* one field name */
	HTTP_HOST_MAX     = 255,        /* a DNS name has 253 */
	HTTP_CODINGS_MAX  = 6,          /* transfer codings of one message: registered are four and "identity" */
	HTTP_NOMINEES_MAX = 32,         /* tokens in Connection; real ones have one to three */
	HTTP_EXT_MAX      = 256,        /* bytes of extensions of one chunk; nobody uses them */
	HTTP_EXT_TOTAL    = 8 << 10,    /* ... of one body: or a byte of data could cost 256 */
	HTTP_CHUNK_DIGITS = 16,         /* hex digits of a chunk size; more would be leading zeros */
	HTTP_TRAILERS_MAX = 8 << 10,    /* bytes of trailer fields: gRPC's are below 1 KiB, with long messages 4 */
	HTTP_RESPONSE_HEAD_MAX = 64 << 10, /* applications set many cookies; HAProxy and nginx stop far below */
	HTTP_INTERIM_MAX  = 16,         /* 1xx answers before the final one */

	FRONT_RX          = 256 << 10,  /* the one receive buffer, shared by all connections: what one read takes */
	FRONT_PIPES       = 64,         /* for long bodies on their way to clients that are slower; others are copied */
	FRONT_PIPES_FROM  = 1024,       /* descriptors of a process; with fewer, none are spent on pipes */
	FRONT_TX          = 128 << 10,  /* the one buffer in which heads are written */
	FRONT_ROUND_MAX   = 1 << 20,    /* bytes moved for one connection before others get their turn */
	FRONT_CONNS       = 20000,      /* connections of one front; an idle one costs 330 bytes of ours */
	FRONT_USED_SEC  = 3,            /* how often core is told that an identity is busy */
	FRONT_CONNS_IDENT = 4096,       /* of one identity: a quarter of a front is nobody's alone */
	FRONT_FDS_RESERVE = 64,         /* descriptors kept for channels and reloads: connections stop short of them */
	FRONT_ACCEPT_ROUND = 64,        /* accepts before the connections at hand get their turn */
	FRONT_REQUESTS    = 100000,     /* requests of one connection; then it is closed, so that load moves */
	FRONT_SURPLUS_MAX = 64 << 10,   /* bytes read of a request that was refused, so that the answer arrives */

	FRONT_H2_STREAMS  = 100,        /* of one connection: what RFC 9113 6.5.2 recommends at least */
	FRONT_H2_WINDOW   = 256 << 10,  /* of a stream: a body on a line of 100 Mbit/s and 20 ms */
	FRONT_H2_DATA     = 64 << 10,   /* bytes of a stream that wait on either side before the sender is held back */
	FRONT_H2_TX       = 64 << 10,   /* the one buffer in which a connection's frames are gathered */
	FRONT_H2_SPARE    = 64,         /* streams' records that are kept for the next ones */
	FRONT_H2_NOISE    = 2000,       /* frames that carry nothing, at once: h2_guard.h */
	FRONT_H2_DRIP     = 1 << 10,    /* bytes of an answer that a stream takes within its service's idle-timeout, or it ends */
	FRONT_H2_RESETS   = 500,        /* streams that a client may reset at once; then a tenth of it a second */

	UPSTREAM_CONNS    = 1024,       /* open at once to one upstream of one front */
	UPSTREAM_H2_CONNS = 64,         /* of HTTP/2, to one upstream of one front */
	UPSTREAM_H2_STREAMS = 128,      /* of one of them, if the application takes as many */
	UPSTREAM_H2_WINDOW = 64 << 10,  /* of a stream: what a slow client can make us keep of an answer */
	UPSTREAM_H2_CONN_WINDOW = 1 << 20, /* of a connection: given back at once, so it only has to cover the line */
	UPSTREAM_IDLE     = 128,        /* kept open and unused; more would be for bursts that are over */
	UPSTREAM_WAITERS  = 4096,       /* requests that wait for one of UPSTREAM_CONNS; then 503 */
	UPSTREAM_FAILS    = 3,          /* in a row, then an upstream rests */
	UPSTREAM_TRIES    = 2,          /* attempts of one request that was never answered */

	FRONT_ASSERTIONS  = 8192,       /* kept signed assertions; about 1 KiB each */
	FRONT_ASSERTION_PATH = 4096,    /* of a request that one is bound to: it stands in a header */
	FRONT_ASSERTION_EARLY = 20,     /* seconds before its end in which the next one is made */

	FRONT_REDEEMS     = 256,        /* browsers that come back from a login at once: each is a question to the coordinator */
	FRONT_RENEWALS    = 128,        /* of those, ones that may be sent to renew their session: that can wait */
	BROWSER_ACR_MAX   = 256,        /* bytes of the acr values that a step-up asks for; coordinators take as many */
	BROWSER_BACK_MAX  = 1024,       /* bytes of the page that a login returns to; it rides in a cookie */

	SERVICE_PER_IDENTITY = 256,     /* config "per-identity": a browser opens 6 connections, HTTP/2 asks for 100 */
	SERVICE_IN_FLIGHT    = 8192,    /* config "in-flight" */
	SERVICE_HEALTH_FALL  = 3,       /* config "health-fall": one lost packet is no illness */
	SERVICE_HEALTH_RISE  = 2,       /* config "health-rise": it may fall again while it starts */

	LOG_BUFFER        = 128 << 10,  /* log lines that wait to be taken; then they are lost, and counted */
	LOG_TARGET_MAX    = 2 << 10,    /* bytes of a path in one line; the rest becomes "..." */
};

#define HTTP_BODY_NEVER (INT64_C(1) << 62)              /* no body is longer: sums cannot overflow */
#define SERVICE_BODY_MAX (INT64_C(1) << 40)             /* config "body-max": 1 TiB; the application knows better */

#define FRONT_HEAD_NS    (30 * SEC_NS)  /* config "header-timeout": from a request's first byte to the end of its head: slow-loris */
#define FRONT_FIRST_NS   (30 * SEC_NS)  /* config "header-timeout": from accept to the first byte, TLS handshake included */
#define FRONT_KEEP_NS    (75 * SEC_NS)  /* config "keep-alive-timeout": idle between requests: browsers and pools expect about a minute */
#define FRONT_LINGER_NS  (2 * SEC_NS)   /* after our last byte: lets a refused sender read why (RFC 9112 9.6) */
#define FRONT_TICK_NS    (SEC_NS / 4)   /* how late a deadline may be noticed */
#define FRONT_ASSERTION_NS (2 * SEC_NS) /* how long core may take to sign: it needs a millisecond */
#define FRONT_REDEEM_NS (10 * SEC_NS)   /* how long a code's redemption may take: a commit and a map's way here */
#define FRONT_RENEW_NS  (600 * SEC_NS)  /* before a browser's session ends, a page may go by way of its renewal */
#define FRONT_RENEW_WAIT_NS (2 * SEC_NS) /* how long that page waits to be told where to: then it is shown */
#define FRONT_RENEW_REST_NS (60 * SEC_NS) /* and for so long no other one waits */
#define FRONT_LOG_NS     (SEC_NS / 5)   /* how long a log line may wait for company */

#define SERVICE_CONNECT_NS    (5 * SEC_NS)      /* config "connect-timeout": upstreams are near */
#define SERVICE_FIRST_BYTE_NS (60 * SEC_NS)     /* config "first-byte-timeout": as nginx; reports take long */
#define SERVICE_IDLE_NS       (60 * SEC_NS)     /* config "idle-timeout": between two bytes of one body, either way */
#define SERVICE_TOTAL_NS      (24 * 3600 * SEC_NS) /* config "total-timeout": large downloads over thin lines */
#define SERVICE_UPGRADE_IDLE_NS (3600 * SEC_NS) /* config "upgrade-idle-timeout": WebSockets that never ping */
#define SERVICE_HEALTH_TIMEOUT_NS (5 * SEC_NS)  /* config "health-timeout": of one check */
#define UPSTREAM_KEEP_NS      (50 * SEC_NS)     /* an unused upstream connection: below the 60 s of most servers */
#define UPSTREAM_H2_SILENT_NS (5 * SEC_NS)      /* a connection on which a request ran out of time: no more of them */
#define UPSTREAM_REST_NS      (5 * SEC_NS)      /* how long an upstream that failed is left alone */

#endif
