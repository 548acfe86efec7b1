/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_LEASE_H
#define ENDPOINT_LEASE_H

/*
 * How long this endpoint may act on what it last heard. The mark of a
 * hearing survives restarts of reeved (the boot clock goes on) and reboots (the
 * wall clock decides, and one that went backwards decides against us).
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

enum {
	BOOT_ID_LEN   = 36,
	LEASE_TEXT_MAX = 4096,
};

/* When the coordinator was last heard, on both clocks of this machine. */
struct lease_mark {
	char        boot_id[BOOT_ID_LEN + 1];   /* /proc/sys/kernel/random/boot_id; "" : never heard */
	struct boot at;
	struct wall wall;
	int64_t     lease;                      /* seconds, as the map said; 0: none */
};

/* What the clocks say now, for the functions below. */
struct lease_now {
	const char *boot_id;
	struct boot boot;
	struct wall wall;
};

/* When the lease ends, on this boot's clock; passed (zero) if it has ended,
 * if nothing was ever heard, or if the clock is earlier than the mark's. */
struct boot lease_end(const struct lease_mark *m, const struct lease_now *now);

/* Nanoseconds since the coordinator was heard; INT64_MAX if that cannot be told. */
int64_t lease_silent(const struct lease_mark *m, const struct lease_now *now);

void lease_encode(const struct lease_mark *m, struct buf *out);
bool lease_decode(struct span json, struct lease_mark *ret_m, struct err *err);

#endif
