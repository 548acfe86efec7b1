/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_DISBELIEF_H
#define COORDINATOR_DISBELIEF_H

/*
 * What endpoints do not believe of what they were told (daemon/control/refused.h),
 * as they said it last: for administrators. In memory only; each says it again
 * with a new map stream.
 */

#include "base/clock.h"
#include "base/err.h"
#include "base/buf.h"

struct disbelief;
struct registry;
struct audit;

struct disbelief *disbelief_new(void);
void disbelief_free(struct disbelief *d);       /* accepts NULL */

/* What endpoint says now, in place of before; what is new is in the audit. */
bool disbelief_take(struct disbelief *d, const struct registry *reg, struct audit *audit, struct wall now,
                    uint64_t endpoint, struct span body, struct err *err);

/* ,"refuses":[..],"refused_by":[..] of a node: whom it refuses, and who refuses it; nothing where there is none. */
void disbelief_json(const struct disbelief *d, const struct registry *reg, uint64_t node, struct buf *out);

#endif
