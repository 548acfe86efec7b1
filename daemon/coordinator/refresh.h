/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_REFRESH_H
#define COORDINATOR_REFRESH_H

/*
 * Does the provider still stand by the people who are logged in? Whoever's
 * login came with a refresh token is asked about every "refresh-every", spread
 * over that time, a few at once. What the provider refuses (invalid_grant, or a
 * token of somebody else) ends the session at once; a provider that cannot be
 * asked ends nobody's before "refresh-patience" is over.
 */

struct coordinator;
struct refresher;

enum {
	REFRESH_AT_ONCE = 16,           /* questions under way */
	REFRESH_RETRY_SEC = 60,         /* after one that was not answered; doubled up to refresh-every */
};

struct refresher *refresher_new(struct coordinator *co);
void refresher_free(struct refresher *f);       /* accepts NULL */
void refresher_start(struct refresher *f);      /* once rows are there */
/* Begins no more questions, and calls fn once none is under way, which is soon or at once: a provider
 * that has given another token must not be left with nobody who keeps it. Calls it once; the last
 * one to ask is called. */
typedef void refresher_idle_fn(struct coordinator *co);
void refresher_drain(struct refresher *f, refresher_idle_fn *fn);
/* Goes on, with another configuration. */
void refresher_resume(struct refresher *f);

#endif
