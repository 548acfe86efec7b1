/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/hash.h"

#include "base/mem.h"
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

struct hash_key hash_key_random(void)
{
	struct hash_key key;

	random_bytes(&key, sizeof(key));
	return key;
}

static uint64_t rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

static uint64_t load_le(const unsigned char *p, size_t n)
{
	uint64_t x = 0;

	for (size_t i = 0; i < n; i++)
		x |= (uint64_t)p[i] << (8 * i);
	return x;
}

uint64_t hash_bytes(const struct hash_key *key, const void *p, size_t n)
{
	const unsigned char *at = p;
	uint64_t v[4] = {
		key->k0 ^ UINT64_C(0x736f6d6570736575), key->k1 ^ UINT64_C(0x646f72616e646f6d),
		key->k0 ^ UINT64_C(0x6c7967656e657261), key->k1 ^ UINT64_C(0x7465646279746573),
	};
	size_t left = n;

	for (; left >= 8; left -= 8, at += 8)
		sip_word(v, load_le(at, 8));
	sip_word(v, (uint64_t)n << 56 | (left ? load_le(at, left) : 0));
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Open addressing. A removed entry leaves a grave, so that probes go on and a
 * walk stays where it was; graves go when the table grows. */
enum slot_state { SLOT_EMPTY = 0, SLOT_GRAVE, SLOT_FULL };

struct slot {
	enum slot_state state;
	uint64_t        hash;
	char           *key;
	size_t          len;
	void           *value;
};

struct dict {
	struct hash_key key;
	struct slot    *slots;
	size_t          size;           /* a power of two */
	size_t          count, graves;
};

enum { DICT_FIRST = 16 };

struct dict *dict_new(void)
{
	struct dict *d = mem_alloc(sizeof(*d));

	d->key = hash_key_random();
	d->size = DICT_FIRST;
	d->slots = mem_calloc(d->size, sizeof(*d->slots));
	return d;
}

void dict_free(struct dict *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->size; i++)
		free(d->slots[i].key);
	free(d->slots);
	free(d);
}

static struct slot *slot_find(const struct dict *d, struct span key, uint64_t hash)
{
	for (size_t i = hash & (d->size - 1);; i = (i + 1) & (d->size - 1)) {
		struct slot *s = &d->slots[i];

		if (s->state == SLOT_EMPTY)
			return NULL;
		if (s->state == SLOT_FULL && s->hash == hash &&
		    span_eq(span_of(s->key, s->len), key))
			return s;
	}
}

static void dict_resize(struct dict *d)
{
	struct slot *old = d->slots;
	size_t old_size = d->size;

	while (d->count * 2 >= d->size)         /* half full at most, once the graves are gone */
		d->size *= 2;
	d->slots = mem_calloc(d->size, sizeof(*d->slots));
	d->graves = 0;
	for (size_t i = 0; i < old_size; i++) {
		if (old[i].state != SLOT_FULL)
			continue;

		size_t at = old[i].hash & (d->size - 1);

		while (d->slots[at].state != SLOT_EMPTY)
			at = (at + 1) & (d->size - 1);
		d->slots[at] = old[i];
	}
	free(old);
}

void *dict_find(const struct dict *d, struct span key)
{
	struct slot *s = slot_find(d, key, hash_bytes(&d->key, key.ptr, key.len));

	return s ? s->value : NULL;
}

void *dict_put(struct dict *d, struct span key, void *value)
{
	uint64_t hash = hash_bytes(&d->key, key.ptr, key.len);
	struct slot *s = slot_find(d, key, hash);

	if (s) {
		void *old = s->value;

		s->value = value;
		return old;
	}
	if ((d->count + d->graves + 1) * 4 > d->size * 3)
		dict_resize(d);

	size_t at = hash & (d->size - 1);

	while (d->slots[at].state == SLOT_FULL)
		at = (at + 1) & (d->size - 1);
	if (d->slots[at].state == SLOT_GRAVE)
		d->graves--;
	d->slots[at] = (struct slot){ SLOT_FULL, hash, mem_dup(key.ptr, key.len), key.len, value };
	d->count++;
	return NULL;
}

void *dict_remove(struct dict *d, struct span key)
{
	struct slot *s = slot_find(d, key, hash_bytes(&d->key, key.ptr, key.len));

	if (!s)
		return NULL;

	void *value = s->value;

	free(s->key);
	*s = (struct slot){ .state = SLOT_GRAVE };
	d->count--;
	d->graves++;
	return value;
}

size_t dict_count(const struct dict *d)
{
	return d->count;
}

bool dict_next(const struct dict *d, size_t *pos, struct span *ret_key, void **ret_value)
{
	for (; *pos < d->size; ++*pos) {
		const struct slot *s = &d->slots[*pos];

		if (s->state != SLOT_FULL)
			continue;
		++*pos;
		if (ret_key)
			*ret_key = span_of(s->key, s->len);
		if (ret_value)
			*ret_value = s->value;
		return true;
	}
	return false;
}
