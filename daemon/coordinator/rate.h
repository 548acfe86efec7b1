/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_RATE_H
#define COORDINATOR_RATE_H

/*
 * How often somebody may do something: a token bucket for each key, and a
 * ceiling on how many keys are counted at once. Buckets that are full again are
 * forgotten.
 */

#include "base/clock.h"
#include "base/err.h"
#include "base/span.h"

#include <stddef.h>

struct rates;

/* per_minute is also the burst. */
struct rates *rates_new(size_t keys_max);
void rates_free(struct rates *t);               /* accepts NULL */

/* Counts one. ERR_BUSY where key has had its share, or too many keys are counted. */
bool rates_may(struct rates *t, struct span key, int64_t per_minute, struct boot now, struct err *err);
size_t rates_count(const struct rates *t);

#endif
