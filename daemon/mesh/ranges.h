/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_RANGES_H
#define DAEMON_MESH_RANGES_H

/*
 * Rows that overlap in any way, as intervals that do not: nftables' interval
 * sets refuse overlaps. Pure; filter.h says what the rows mean.
 */

#include "daemon/mesh/filter.h"

struct range {                  /* both ends included */
	struct ip lo, hi;
};

/* Class x protocol x ports, and the destinations they hold for (to.lo.family
 * IP_NONE: this host). Protocols without ports, and whole ones, have 0..65535;
 * proto FILTER_PROTO_ANY is every protocol. */
struct box {
	uint32_t     class;
	uint8_t      proto;
	uint16_t     lo, hi;
	struct range to;
};

/* The caller frees *ret_boxes. ERR_LIMIT beyond FILTER_INTERVALS_MAX, ERR_CONFIG for class 0,
 * lo > hi, or a destination without a family. */
bool boxes_of_rows(const struct filter_row *rows, size_t n, struct box **ret_boxes, size_t *ret_n,
		   struct err *err);
bool boxes_of_forward(const struct filter_forward *rows, size_t n, struct box **ret_boxes,
		      size_t *ret_n, struct err *err);

/* Disjoint, ascending, IPv4 first. */
struct timed_range {
	struct range at;
	int64_t      timeout_ms;
};

/* What `via` covers without what `own` covers; overlapping ones have the longest timeout.
 * Those that have run out are left out. The caller frees. */
bool ranges_of_via(const struct filter_via *via, size_t n, const struct prefix *own, size_t own_n,
		   struct timed_range **ret_ranges, size_t *ret_n, struct err *err);

/* Protocols that have ports where TCP has them. */
bool proto_has_ports(uint8_t proto);

struct range range_of(const struct prefix *p);

#endif
