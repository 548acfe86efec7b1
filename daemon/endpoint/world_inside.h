/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_WORLD_INSIDE_H
#define ENDPOINT_WORLD_INSIDE_H

/* The inside of a world, for world*.c alone. */

#include "daemon/endpoint/world.h"

struct world {
	uint32_t           epoch;
	const struct conf *conf;
	const struct forward_accesses *forwards;        /* NULL: nobody may ask */
	const struct error_pages *pages;        /* NULL: ours */
	const struct names *names;              /* NULL: none is looked up */
	uint32_t           conf_generation;
	struct policy     *pol, *owner;
	struct topology   *topo;
	struct compile    *compile;             /* NULL until self is known */
	bool               standalone;
	struct identities  ids;
	uint64_t           self;
	struct successors *successors;          /* NULL: nobody vouches */
	bool               has_key, had_key;
	uint8_t            key[MAP_KEY_LEN];    /* our own, in use */
	uint8_t            key_before[MAP_KEY_LEN];     /* ... before that */
	struct boot        before_since;        /* since when that is; zero: not known yet */
	struct overlay_ranges { struct prefix v4, v6; } ranges;
	char              *mesh_name;
	char              *hub;                 /* URL; NULL: none */
	char              *jwks;                /* NULL: none */
	char               own_host[256];       /* gethostname(): where nothing else names it */
	char               map_epoch[MAP_EPOCH_LEN + 1];
	uint64_t           map_seq;
	struct dict       *by_id, *by_ip, *by_key;      /* -> struct party */
	struct party     **list;                /* ascending by id */
	size_t             count;
};

/* A browser's session is no device: it has no addresses, and only public fronts know it. */
static inline bool is_browser(const struct party *p)
{
	return p->node && p->node->browser.len > 0;
}

/* Parties that have a service here that every node may call: this is the hub. */
bool world_is_hub(const struct world *w);
bool world_v4(const struct world *w, const struct party *p, struct ip *ret_ip);
/* The address that follows from a key in this mesh. */
struct ip world_own_v6(const struct world *w, const uint8_t key[MAP_KEY_LEN]);
/* Of the key in use. */
bool world_v6(const struct world *w, const struct party *p, struct ip *ret_ip);
/* Of the other one, while there are two. */
bool world_v6_other(const struct world *w, const struct party *p, struct ip *ret_ip);
const uint8_t *world_key_other(const struct party *p);          /* NULL: there is none */
/* Of the key before, as long as that goes on. */
bool world_v6_old(const struct world *w, const struct party *p, struct ip *ret_ip);
struct boot world_overlap_end(const struct world *w, struct boot since);

#endif
