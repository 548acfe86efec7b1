/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/successors.h"

#include "base/hash.h"
#include "base/mem.h"
#include "daemon/control/rotate.h"

#include <stdlib.h>
#include <string.h>

enum { REMEMBERED_MAX = 100000 };       /* then all is forgotten, and checked again */

struct successors {
	const struct secret *key;
	uint8_t              public_key[MAP_KEY_LEN];
	struct dict         *checked;   /* old, new, word -> &yes or &no */
};

static char yes, no;

struct successors *successors_new(void)
{
	struct successors *s = mem_alloc(sizeof(*s));

	s->checked = dict_new();
	return s;
}

void successors_free(struct successors *s)
{
	if (!s)
		return;
	dict_free(s->checked);
	free(s);
}

void successors_key(struct successors *s, const struct secret *private_key, const uint8_t public_key[MAP_KEY_LEN])
{
	s->key = private_key;
	memcpy(s->public_key, public_key, sizeof(s->public_key));
}

bool successors_ok(struct successors *s, const uint8_t old[MAP_KEY_LEN], const uint8_t new_[MAP_KEY_LEN],
                   const struct map_turn *turn)
{
	uint8_t what[2 * MAP_KEY_LEN + ROTATE_VOUCH_LEN], want[ROTATE_VOUCH_LEN];
	struct rotate_vouch v;
	const void *known;
	bool ok;

	if (!turn || !turn->has_vouch || !s->key || s->key->len != MAP_KEY_LEN)
		return false;
	memcpy(what, old, MAP_KEY_LEN);
	memcpy(what + MAP_KEY_LEN, new_, MAP_KEY_LEN);
	memcpy(what + 2 * MAP_KEY_LEN, turn->vouch, ROTATE_VOUCH_LEN);
	known = dict_find(s->checked, span_of(what, sizeof(what)));
	if (known)
		return known == &yes;
	memcpy(v.old, old, MAP_KEY_LEN);
	memcpy(v.new_, new_, MAP_KEY_LEN);
	memcpy(v.endpoint, s->public_key, MAP_KEY_LEN);
	/* Not a key's own word for itself, and never in our own name. */
	ok = memcmp(old, new_, MAP_KEY_LEN) != 0 && memcmp(old, s->public_key, MAP_KEY_LEN) != 0 &&
	     rotate_vouch(s->key, old, &v, want, NULL) && mem_equal_ct(want, turn->vouch, sizeof(want));
	mem_wipe(want, sizeof(want));
	if (dict_count(s->checked) >= REMEMBERED_MAX) {
		dict_free(s->checked);
		s->checked = dict_new();
	}
	dict_put(s->checked, span_of(what, sizeof(what)), ok ? &yes : &no);
	return ok;
}
