/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_ATTEMPT_H
#define COORDINATOR_ATTEMPT_H

/*
 * Enrolments and logins under way, in memory only: a stranger's word is not
 * written anywhere before the proof holds. Their number, their time and how many an
 * address may begin are bounded.
 *
 *   STARTED --proof--> PROVED --"continue"--> PROVIDER --identity--> APPROVING
 *                        ^                       |                       |
 *                        +------- refused -------+        "approve" -----+
 *                                                                        v
 *   a login on an enrolled node begins at PROVED          APPROVED --ticket--> FINISHING --> DONE
 *
 * A login at the device (login_device.c) goes through them in one step, when its evidence holds.
 */

#include "base/hash.h"
#include "base/loop.h"
#include "daemon/control/enrol.h"
#include "daemon/coordinator/rate.h"
#include "idp/idp.h"
#include "web/form.h"

enum {
	BROWSER_CODE_SEC  = 60,         /* from the redirect to its redemption: a machine's time */
	ATTEMPTS_MAX      = 4096,       /* at once */
	ATTEMPT_START_SEC = 60,         /* from start to proof: a machine's time */
	ATTEMPT_ELSEWHERE_SEC = 600,    /* a login that is approved on another device: from when this one asked */
	ATTEMPT_DONE_SEC  = 60,         /* an answer that was lost is given again for so long */
	ATTEMPT_TRIES_MAX = 5,          /* times that a browser may go to the provider */
	RATE_ADDRESSES_MAX = 8192,      /* addresses that are counted at once */
	START_BODY_MAX    = 4 << 10,    /* a start request */
};

enum attempt_state {
	ATTEMPT_STARTED, ATTEMPT_PROVED, ATTEMPT_PROVIDER, ATTEMPT_APPROVING, ATTEMPT_APPROVED, ATTEMPT_FINISHING,
	ATTEMPT_DONE,           /* of a login on a node: its answer may have been lost */
	ATTEMPT_STATES
};

struct attempt {
	char               id[ENROL_ATTEMPT_LEN + 1];
	enum attempt_state state;
	struct boot        until;
	struct wall        expires;
	struct wall        asked;               /* when the device did */
	struct ip          from;
	char               name[64], os[ENROL_OS_MAX + 1];      /* as the device says */
	uint16_t           loopback;

	/* an enrolment */
	uint8_t            device[ENROL_KEY_LEN];
	struct secret      enrol_key, ephemeral;
	uint8_t            ephemeral_public[ENROL_KEY_LEN], challenge[ENROL_KEY_LEN];
	struct enrol_pin   pin;
	char              *start;               /* the start request's body */
	size_t             start_len;

	/* a login on a node */
	uint64_t           node;                /* 0: an enrolment */
	int64_t            max_age;             /* as the node asks for; -1: the provider's row */
	char               acr[ENROL_ACR_MAX + 1];
	bool               mfa;                 /* a second factor, by whatever acr the provider has for that */
	bool               silent;              /* a renewal: the provider is asked without a page of ours first */

	bool               rotates;             /* no login: the node gets another key, `device` (rotate_api.c) */

	/* a login at the device */
	bool               can_device, at_device;       /* the node can; it is one */
	char               issuer[ENROL_ISSUER_MAX + 1];        /* chosen; "": not yet */
	struct wall        started;             /* when the node was told of the issuer */
	char              *id_token;            /* NULL: none yet */
	uint8_t            opening[ENROL_KEY_LEN];

	/* a login for a service, by somebody with only a browser */
	char              *service;             /* NULL: of a device */
	uint64_t           host;                /* the node that serves it */
	uint8_t            bind[32];            /* browser_bind_hash() of that browser's secret */
	uint64_t           renews, renews_session;      /* that node's session, without a page; 0: a new one */

	/* the browser's part */
	char               code[ENROL_CODE_LEN + 1];
	char               browser[BROWSER_KEY_SIZE];   /* "": none yet */
	unsigned           tries;
	struct login      *login;               /* at the provider */
	char               login_state[LOGIN_STATE_SIZE];
	struct idp_op     *op;                  /* under way at the provider; NULL: nothing */
	void              *op_arg;              /* what its callback gets; freed with the attempt */
	struct identity    who;                 /* from APPROVING on */
	char              *provider;            /* that said so; NULL: none yet */
	struct secret      refresh;             /* its refresh token; empty: none */
	bool               cross_device;
	char               ticket[ENROL_TICKET_LEN + 1];
	uint64_t           session;             /* DONE: what it began */
};

struct attempts;

struct attempts *attempts_new(struct loop *loop);
void attempts_free(struct attempts *t);         /* accepts NULL */

/* May this address begin one now? Counts it. per_minute is also the burst. */
bool attempts_may(struct attempts *t, const struct ip *from, int64_t per_minute, struct err *err);

/* A new one in that state, which ends by itself after `seconds`. NULL: too many. */
struct attempt *attempts_add(struct attempts *t, enum attempt_state state, int64_t seconds, struct err *err);
struct attempt *attempts_find(struct attempts *t, struct span id);              /* NULL if absent or over */
struct attempt *attempts_find_state(struct attempts *t, const char *login_state);
void attempts_set_login(struct attempts *t, struct attempt *a, struct login *login);   /* takes login; NULL: none */
void attempts_drop(struct attempts *t, struct attempt *a);
/* From now on, a person has `seconds` for it: fewer where another device's browser approves it. */
void attempt_give(struct attempts *t, struct attempt *a, int64_t seconds);
/* Ends those whose person the provider has logged out: with this sid, else this subject's (NULL: not
 * said; with both, both must fit). */
void attempts_end(struct attempts *t, const char *issuer, const char *sub, const char *sid);
/* Cancels what is under way at providers, whose object is going. */
void attempts_cancel(struct attempts *t);
size_t attempts_count(const struct attempts *t);

/* The one function that moves; a move that the picture lacks is refused. */
bool attempt_move(struct attempt *a, enum attempt_state to);

#endif
