/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_VOUCH_H
#define ENDPOINT_VOUCH_H

/*
 * "verify": "idp": what the coordinator says of people counts for nothing
 * here; a person is who the IdP's own token says, bound to the peer's device
 * key, checked by this endpoint with keys from its own configured issuer. A
 * tagged node counts only if the owner's "server-keys" list its key. What was
 * verified once survives restarts, and keys that the issuer has dropped since.
 *
 * Between the map and the world: vouch_map() gives the map with every node
 * as it counts. Next: idp/evidence.h.
 */

#include "base/loop.h"
#include "daemon/control/map.h"
#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/successors.h"

enum {
	VOUCH_PENDING_MAX = 256,        /* checks under way; the others wait for the next round */
	VOUCH_TEXT_MAX    = 64 << 20,   /* of the file with what was verified */
	VOUCH_WHY_MAX     = 256,
	VOUCH_AGAIN_SEC   = 5,          /* a provider that does not answer is asked again: then later and later, */
	VOUCH_AGAIN_MAX_SEC = 60,       /* but at least so often */
	VOUCH_TRIES_MAX   = 20,         /* of what another moment may change: a new key, a clock */
};

struct vouch;

/* changed is called, from the loop, when vouch_map() would give another map. conf outlives it. */
typedef void vouch_changed_fn(void *arg);
struct vouch *vouch_new(struct loop *l, const struct conf *conf, vouch_changed_fn *changed, void *arg, struct err *err);
void vouch_free(struct vouch *v);               /* accepts NULL */
/* By whose word evidence for one key counts for the next; must outlive v. */
void vouch_set_successors(struct vouch *v, struct successors *s);

/* *ret_map borrows all but its nodes from map; done with vouch_map_done(). Begins the checks that are due. */
void vouch_map(struct vouch *v, const struct map *map, struct wall now, struct map *ret_map);
void vouch_map_done(struct map *map);

/* When a login becomes too old by itself, at the earliest; INT64_MAX: never. */
struct wall vouch_until(const struct vouch *v);

/* Whether the owner lists this key in "server-keys". */
bool vouch_is_server_key(const struct conf *conf, const uint8_t device[MAP_KEY_LEN]);

/* Why this node's person (or tag) does not count, in words; NULL if there is nothing to say. */
const char *vouch_why(const struct vouch *v, uint64_t node);

bool vouch_is_checking(const struct vouch *v, uint64_t node);

/* What was verified, for the next start. */
bool vouch_dirty(const struct vouch *v);
void vouch_encode(struct vouch *v, struct buf *out);
bool vouch_decode(struct vouch *v, struct span json, struct err *err);

#endif
