/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_H2_H
#define DAEMON_PROXY_H2_H

/*
 * HTTP/2 (RFC 9113) towards clients, by libnghttp2. A stream becomes a
 * connection of its own inside the engine, whose bytes are an HTTP/1.1 request
 * that we write and whose answer we read: so there is one parser, one judge
 * and one set of rules for both versions, and nothing that a stream says
 * escapes them. WebSocket by extended CONNECT (RFC 8441) becomes an Upgrade.
 *
 * Bounded: streams at once, header bytes, windows, resets, CONTINUATION (by
 * nghttp2's own limits, set in h2.c), frames that carry nothing (h2_guard.h),
 * the time that a header block, an answer's next bytes or a full socket takes.
 * What is ended for it is counted as a bad request, and logged.
 */

#include "daemon/proxy/engine.h"

struct h2;
struct h2_stream;

/* The connection speaks HTTP/2 from here on; false: out of memory. What was read of it is in c->io.in. */
bool h2_begin(struct conn *c);
void h2_run(struct conn *c);
void h2_drain(struct conn *c);          /* GOAWAY; it ends with its streams */
/* Nothing came for a while: answered streams that were never finished end. False: so has the connection. */
bool h2_tick(struct conn *c);
bool h2_busy(const struct conn *c);
void h2_spare_free(struct front *f);    /* at its end */
void h2_free(struct conn *c);           /* the connection ends: so do its streams */

/* Of a stream's connection: it has written, it is closed. */
void h2_wake(struct conn *v);
void h2_gone(struct conn *v);

/* The connection preface, RFC 9113 3.4. */
#define H2_PREFACE SPAN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

#endif
