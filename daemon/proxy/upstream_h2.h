/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_UPSTREAM_H2_H
#define DAEMON_PROXY_UPSTREAM_H2_H

/*
 * HTTP/2 (RFC 9113) towards applications, by libnghttp2. One connection, the
 * carrier, has many streams; a stream is an upstream connection of its own to
 * the engine, one without a descriptor: what the engine writes there is the
 * HTTP/1.1 request that it would have sent, and becomes HEADERS and DATA; what
 * the application answers becomes an HTTP/1.1 response that the one parser
 * then judges. So an answer is read as strictly as in HTTP/1.1, and a person's
 * half-finished message is never on a stream that another's may follow.
 *
 * Back-pressure is each stream's window: the connection's is given back at
 * once, so that one slow client holds back nobody else's answer.
 */

#include "daemon/proxy/engine.h"

/* The connection is there: it speaks HTTP/2 from here on, and counts once the
 * other side's SETTINGS have come. False: out of memory. */
bool up_h2_begin(struct upconn *u);
bool up_h2_is_ready(const struct upconn *u);
bool up_h2_is_idle(const struct upconn *u);
void up_h2_run(struct upconn *u);
void up_h2_free(struct upconn *u);              /* the carrier ends: so do its streams */

/* A carrier with room for one more stream, or NULL. */
struct upconn *up_h2_find(struct upstream *s);
/* Are more carriers wanted for those that wait? */
bool up_h2_wants_more(const struct upstream *s);
void up_h2_open(struct upconn *carrier, struct exchange *ex);  /* sets ex->up */

/* Of a stream: the engine has written or taken; its exchange is over. */
void up_h2_wake(struct upconn *v);
void up_h2_end(struct upconn *v, bool clean);

void up_h2_later(struct front *f);              /* runs the carriers that were woken */

#endif
