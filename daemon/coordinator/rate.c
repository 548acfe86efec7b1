/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/rate.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
	SWEEP_NS_PER_KEY = 1000000
}; /* a full table is looked through at most this often for each key */

struct bucket {
	int64_t     debt;       /* nanoseconds until the bucket is full again, at `at` */
	struct boot at;
};

struct rates {
	struct dict *list;
	size_t       max;
	struct boot  swept;
};

struct rates *rates_new(size_t keys_max)
{
	struct rates *t = mem_alloc(sizeof(*t));

	t->list = dict_new();
	t->max = keys_max;
	return t;
}

void rates_free(struct rates *t)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	if (!t)
		return;
	while (dict_next(t->list, &pos, &key, &v))
		free(v);
	dict_free(t->list);
	free(t);
}

size_t rates_count(const struct rates *t)
{
	return dict_count(t->list);
}

static int64_t debt_at(const struct bucket *b, struct boot now)
{
	int64_t gone = now.ns - b->at.ns;

	return gone >= b->debt ? 0 : b->debt - gone;
}

static void sweep(struct rates *t, struct boot now)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	t->swept = now;
	while (dict_next(t->list, &pos, &key, &v))
		if (debt_at(v, now) == 0) {
			dict_remove(t->list, key);
			free(v);
		}
}

bool rates_may(struct rates *t, struct span key, int64_t per_minute, struct boot now,
	       struct err *err)
{
	struct bucket *b = dict_find(t->list, key);
	int64_t        one = 60 * SEC_NS / per_minute;

	if (!b) {
		if (dict_count(t->list) >= t->max &&
		    boot_passed(boot_add(t->swept, (int64_t)t->max * SWEEP_NS_PER_KEY / 8), now))
			sweep(t, now);
		if (dict_count(t->list) >= t->max)
			return err_set(err, ERR_BUSY,
				       "too many ask at once: try again in a minute");
		b = mem_alloc(sizeof(*b));
		b->at = now;
		dict_put(t->list, key, b);
	}
	int64_t debt = debt_at(b, now);
	b->at = now;
	b->debt = debt;
	if (debt + one > 60 * SEC_NS)
		return err_set(err, ERR_BUSY, "too many attempts from here: try again in a minute");
	b->debt = debt + one;
	return true;
}
