/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CLI_LOOPBACK_H
#define CLI_LOOPBACK_H

/*
 * Where the browser ends (RFC 8252 section 7.3): a listener on 127.0.0.1 that
 * takes one ticket for one attempt, answers with a small page, and is gone.
 */

#include "base/err.h"
#include "base/span.h"
#include "daemon/control/enrol.h"

enum {
	LOOPBACK_REQUEST_MAX = 4096,    /* a request's head: longer ones are none of ours */
	LOOPBACK_READ_MS     = 3000,    /* for one request */
};

/* -1 with err. */
int loopback_open(uint16_t *ret_port, struct err *err);

/* Waits for GET /done?attempt=..&ticket=.. with this attempt, at most until
 * the given moment; other requests are answered 404. Closes nothing. */
bool loopback_wait(int fd, const char *attempt, int64_t deadline_ms, char ret_ticket[ENROL_TICKET_LEN + 1],
                   struct err *err);
int64_t loopback_now_ms(void);

/* The ticket in a request's head; false if it is anything else. */
bool loopback_parse(struct span head, const char *attempt, char ret_ticket[ENROL_TICKET_LEN + 1]);

#endif
