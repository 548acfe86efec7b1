/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_HASH_H
#define BASE_HASH_H

/* SipHash-2-4 (Aumasson, Bernstein 2012), for tables whose keys strangers choose. */

#include "base/span.h"

struct hash_key { uint64_t k0, k1; };

struct hash_key hash_key_random(void);
uint64_t hash_bytes(const struct hash_key *key, const void *p, size_t n);

/* A table from bytes to a pointer. Keys are copied; values are the caller's. */
struct dict;

struct dict *dict_new(void);
void  dict_free(struct dict *d);
void *dict_find(const struct dict *d, struct span key);              /* NULL if absent */
/* returns the value it replaces, or NULL */
void *dict_put(struct dict *d, struct span key, void *value);
void *dict_remove(struct dict *d, struct span key);                  /* returns it, or NULL */
size_t dict_count(const struct dict *d);

/* Walks in no particular order; *pos starts at 0. The entry just returned may be
 * removed, nothing else. */
bool dict_next(const struct dict *d, size_t *pos, struct span *ret_key, void **ret_value);

#endif
