/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_IPSET_H
#define POLICY_IPSET_H

/*
 * Sets of addresses of both families, as sorted disjoint ranges.
 */

#include "base/ip.h"

typedef unsigned __int128 ipnum;        /* an address as a number; IPv4 in the low 32 bits */

struct ip_range { ipnum lo, hi; };

struct ip_ranges {
	struct ip_range *list;
	size_t           count, cap;
};

struct ipset {
	struct ip_ranges v4, v6;
};

ipnum ip_num(const struct ip *ip);
struct ip ip_of_num(ipnum n, uint8_t family);

void ipset_done(struct ipset *s);                       /* accepts a zeroed one */
void ipset_add(struct ipset *s, const struct prefix *p);
void ipset_add_set(struct ipset *s, const struct ipset *o);
void ipset_remove(struct ipset *s, const struct prefix *p);
void ipset_remove_set(struct ipset *s, const struct ipset *o);
void ipset_copy(struct ipset *s, const struct ipset *o);
void ipset_intersect(const struct ipset *a, const struct ipset *b, struct ipset *ret_s);
bool ipset_has(const struct ipset *s, const struct ip *ip);
bool ipset_overlaps(const struct ipset *a, const struct ipset *b);
bool ipset_overlaps_prefix(const struct ipset *s, const struct prefix *p);
bool ipset_covers(const struct ipset *outer, const struct ipset *inner);
bool ipset_empty(const struct ipset *s);
/* The fewest prefixes, ascending, IPv4 first. */
typedef void ipset_prefix_fn(void *arg, const struct prefix *p);
void ipset_prefixes(const struct ipset *s, ipset_prefix_fn *fn, void *arg);
/* What "autogroup:internet" means: everything public. */
void ipset_internet(struct ipset *s);

#endif
