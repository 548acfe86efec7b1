/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_GLASS_H
#define ENDPOINT_GLASS_H

/*
 * Break-glass: device keys that the owner's configuration lists keep working
 * here when everything else says no: no coordinator, no provider, a lease that
 * has ended, a map without them. Such a node is tag:break-glass-NAME, a tag that
 * nobody else can have here, and may what its entry says and nothing more; it
 * is nobody's login. Its use is in the audit.
 *
 * Needed is a mesh: an endpoint that never had a map has no addresses.
 */

#include "daemon/control/map.h"
#include "daemon/endpoint/conf.h"

/* The map with those nodes as they count; those that it lacks are added, with the IPv6 address that
 * follows from their key. *ret_map borrows all but its nodes; done with glass_map_done(). */
void glass_map(const struct conf *conf, const struct map *map, struct map *ret_map);
void glass_map_done(struct map *map);

/* Whether this key is one of them; its entry's index. */
bool glass_find(const struct conf *conf, const uint8_t key[MAP_KEY_LEN], size_t *ret_i);
bool glass_is(const struct map_node *n);        /* as glass_map() made it */

/* The text of a policy (HuJSON; empty: none) with what the entries grant. False if it is no object. */
bool glass_policy(const struct conf *conf, struct span text, struct buf *out, struct err *err);

#endif
