/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CLI_LOOPBACK_H
#define CLI_LOOPBACK_H

/*
 * Where the browser ends (RFC 8252 section 7.3): a listener on 127.0.0.1 that
 * takes one ticket for one attempt, answers with a small page, and is gone.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "daemon/control/enrol.h"

enum {
	LOOPBACK_REQUEST_MAX = 12 << 10, /* a request's head: longer ones are none of ours */
	LOOPBACK_READ_MS     = 3000,    /* for one request */
};

/* -1 with err. */
int loopback_open(uint16_t *ret_port, struct err *err);

/* Waits for GET /done?attempt=..&ticket=.. with this attempt, at most until
 * the given moment; other requests are answered 404. Closes nothing. */
bool loopback_wait(int fd, const char *attempt, int64_t deadline_ms, char ret_ticket[ENROL_TICKET_LEN + 1],
                   struct err *err);
int64_t loopback_now_ms(void);

/*
 * A login at the device: waits for GET /callback?... that brings this state back;
 * *ret_query (initialised by the callee, wiped by the caller) is what followed the question
 * mark. The browser waits on *ret_conn for the page that says how it went.
 */
bool loopback_callback(int fd, const char *state, int64_t deadline_ms, struct buf *ret_query, int *ret_conn,
                       struct err *err);
/* Sends that page and closes conn. */
void loopback_page(int conn, bool ok);
/* Sends the browser on instead, and closes conn; false where url is none that it may go to. */
bool loopback_redirect(int conn, const char *url);
bool loopback_parse_callback(struct span head, const char *state, struct span *ret_query);

/* The ticket in a request's head; false if it is anything else. */
bool loopback_parse(struct span head, const char *attempt, char ret_ticket[ENROL_TICKET_LEN + 1]);

#endif
