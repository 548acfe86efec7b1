/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_SUCCESSORS_H
#define ENDPOINT_SUCCESSORS_H

/*
 * Which device key follows which: what the map says of it counts only with the old key's
 * own word, made for this endpoint (daemon/control/rotate.h), which the coordinator
 * cannot make. It remembers what it checked, and nothing else; it keeps no file.
 */

#include "base/secret.h"
#include "daemon/control/map.h"

struct successors;

struct successors *successors_new(void);
void successors_free(struct successors *s);     /* accepts NULL */

/* This endpoint's own key; private_key is borrowed until the next one. What was checked stays. */
void successors_key(struct successors *s, const struct secret *private_key, const uint8_t public_key[MAP_KEY_LEN]);

/* Whether the holder of old said that new_ follows. */
bool successors_ok(struct successors *s, const uint8_t old[MAP_KEY_LEN], const uint8_t new_[MAP_KEY_LEN],
                   const struct map_turn *turn);

#endif
