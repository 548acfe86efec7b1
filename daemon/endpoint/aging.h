/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_AGING_H
#define ENDPOINT_AGING_H

/*
 * When this node gives itself another device key: at the age that its owner's file says ("key-max-age"),
 * or else the coordinator's configuration. A key's age is that of its file. What fails is tried again after
 * a pause that grows, and `reeve status` and the coordinator know why. It makes no key and stores none.
 * Next: rotate.h, which does.
 */

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

struct aging;
struct client;
struct core;

enum { AGING_KEY_LEN = 32 };

struct aging *aging_new(struct core *c, struct client *client);
void aging_free(struct aging *a);               /* accepts NULL */

/* Something of it may be another now: the line to the coordinator, the key. */
void aging_look(struct aging *a);
/* The owner's configuration: what failed before is tried again at once. */
void aging_conf(struct aging *a);

struct aging_state {
	struct wall since;              /* zero: not known */
	struct wall due;                /* zero: by hand alone */
	unsigned    failures;           /* in a row, since it was due */
	struct boot again;              /* when it is tried next, after one of them */
	const char *why;                /* it is due and did not change: borrowed; "" */
};
void aging_state(const struct aging *a, struct aging_state *ret_st);   /* accepts NULL: zero */

/* Never older than max_age, and up to a tenth of it earlier: another moment for each key, so that nodes
 * which were enrolled in one hour do not change in one. */
struct wall aging_due(struct wall since, int64_t max_age, const uint8_t key[AGING_KEY_LEN]);

/* Nanoseconds after so many failures in a row (1..): about a minute, twice as long each time, and a
 * day at most; at_random spreads it by a quarter to either side. */
int64_t aging_pause(unsigned failures, uint32_t at_random);

#endif
