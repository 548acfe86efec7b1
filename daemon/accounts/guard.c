/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/guard.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct count {
	int64_t failures;
	struct boot last;
};

struct guard {
	struct dict *list;
	struct boot swept;
};

enum { KEY_MAX = 600, LOGIN_LEN_MAX = 512, SWEEP_SEC = 60 };

struct key {
	char text[KEY_MAX];
	size_t len;
};

struct rule {
	int64_t free, wait_max;
};

static const struct rule pair = {GUARD_PAIR_FREE, GUARD_PAIR_WAIT_MAX},
			 address = {GUARD_ADDRESS_FREE, GUARD_ADDRESS_WAIT_MAX},
			 login = {GUARD_LOGIN_FREE, GUARD_LOGIN_WAIT_MAX},
			 browser = {GUARD_BROWSER_FREE, GUARD_BROWSER_WAIT_MAX},
			 factor = {GUARD_FACTOR_FREE, GUARD_FACTOR_WAIT_MAX};

static void key_add(struct key *k, const void *p, size_t n)
{
	if (n > sizeof(k->text) - k->len)
		n = sizeof(k->text) - k->len;
	memcpy(k->text + k->len, p, n);
	k->len += n;
}

static struct key key_of(char kind, const struct guard_try *t, bool by_login, bool by_address)
{
	struct key k = {.len = 0};

	key_add(&k, &kind, 1);
	if (by_address) {
		key_add(&k, &t->from->family, 1);
		key_add(&k, t->from->b, t->from->family == IP_V6 ? 8 : ip_len(t->from));
	}
	if (by_login)
		key_add(&k, t->login.ptr,
			t->login.len < LOGIN_LEN_MAX ? t->login.len : LOGIN_LEN_MAX);
	return k;
}

static struct key browser_of(const struct guard_try *t)
{
	struct key k = {.len = 0};

	key_add(&k, "b", 1);
	key_add(&k, t->browser.ptr, t->browser.len);
	return k;
}

static struct key factor_of(uint64_t account)
{
	struct key k = {.len = 0};

	key_add(&k, "f", 1);
	key_add(&k, &account, sizeof(account));
	return k;
}

struct guard *guard_new(void)
{
	struct guard *g = mem_alloc(sizeof(*g));

	g->list = dict_new();
	return g;
}

void guard_free(struct guard *g)
{
	struct span k;
	size_t pos = 0;
	void *v;

	if (!g)
		return;
	while (dict_next(g->list, &pos, &k, &v))
		free(v);
	dict_free(g->list);
	free(g);
}

size_t guard_keys(const struct guard *g)
{
	return dict_count(g->list);
}

static struct count *find(struct guard *g, const struct key *k, struct boot now)
{
	struct count *c = dict_find(g->list, span_of(k->text, k->len));

	if (c && boot_passed(boot_add(c->last, GUARD_FORGET * SEC_NS), now))
		c->failures = 0;
	return c;
}

/* A table of strangers' making: what is old goes; what is left over the ceiling makes everybody
 * wait. */
static bool room(struct guard *g, struct boot now)
{
	struct span k;
	size_t pos = 0;
	void *v;

	if (dict_count(g->list) < GUARD_KEYS_MAX)
		return true;
	if (!boot_passed(boot_add(g->swept, SWEEP_SEC * SEC_NS), now))
		return false;
	g->swept = now;
	while (dict_next(g->list, &pos, &k, &v)) {
		struct count *c = v;

		/* Under pressure an hour is memory enough. */
		if (c->failures == 0 || boot_passed(boot_add(c->last, 3600 * SEC_NS), now)) {
			dict_remove(g->list, k);
			free(c);
		}
	}
	return dict_count(g->list) < GUARD_KEYS_MAX;
}

static void add(struct guard *g, const struct key *k, struct boot now)
{
	struct count *c = find(g, k, now);

	if (!c) {
		if (!room(g, now))
			return;
		c = mem_alloc(sizeof(*c));
		dict_put(g->list, span_of(k->text, k->len), c);
	}
	if (c->failures < INT32_MAX)
		c->failures++;
	c->last = now;
}

static void back(struct guard *g, const struct key *k, bool all)
{
	struct count *c = dict_find(g->list, span_of(k->text, k->len));

	if (!c)
		return;
	c->failures = all || c->failures == 0 ? 0 : c->failures - 1;
	if (!c->failures)
		free(dict_remove(g->list, span_of(k->text, k->len)));
}

static int64_t wait_of(struct guard *g, const struct key *k, const struct rule *rule,
		       struct boot now)
{
	struct count *c = find(g, k, now);
	int64_t over, wait, gone;

	if (!c || c->failures < rule->free)
		return 0;
	over = c->failures - rule->free;
	wait = over < 20 ? INT64_C(1) << over : rule->wait_max;
	if (wait > rule->wait_max)
		wait = rule->wait_max;
	gone = (now.ns - c->last.ns) / SEC_NS;
	return gone >= wait ? 0 : wait - gone;
}

int64_t guard_wait(struct guard *g, const struct guard_try *t, struct boot now)
{
	struct key k;
	int64_t most = 0, w;

	if (t->browser.ptr) {
		k = browser_of(t);
		return wait_of(g, &k, &browser, now);
	}
	if (!room(g, now))
		return GUARD_LOGIN_WAIT_MAX;
	k = key_of('p', t, true, true);
	most = wait_of(g, &k, &pair, now);
	k = key_of('a', t, false, true);
	w = wait_of(g, &k, &address, now);
	most = w > most ? w : most;
	k = key_of('l', t, true, false);
	w = wait_of(g, &k, &login, now);
	return w > most ? w : most;
}

void guard_count(struct guard *g, const struct guard_try *t, struct boot now)
{
	struct key k;

	if (t->browser.ptr) {
		k = browser_of(t);
		add(g, &k, now);
		return;
	}
	k = key_of('p', t, true, true);
	add(g, &k, now);
	k = key_of('a', t, false, true);
	add(g, &k, now);
	k = key_of('l', t, true, false);
	add(g, &k, now);
}

void guard_right(struct guard *g, const struct guard_try *t)
{
	struct key k;

	if (t->browser.ptr) {
		k = browser_of(t);
		back(g, &k, true);
		return;
	}
	k = key_of('p', t, true, true);
	back(g, &k, true);
	/* One own account does not pay for guesses at others'. */
	k = key_of('a', t, false, true);
	back(g, &k, false);
	k = key_of('l', t, true, false);
	back(g, &k, false);
}

int64_t guard_factor_wait(struct guard *g, uint64_t account, struct boot now)
{
	struct key k = factor_of(account);

	return wait_of(g, &k, &factor, now);
}

void guard_factor_count(struct guard *g, uint64_t account, struct boot now)
{
	struct key k = factor_of(account);

	add(g, &k, now);
}

void guard_factor_right(struct guard *g, uint64_t account)
{
	struct key k = factor_of(account);

	back(g, &k, true);
}
