/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/claims.h"

#include "base/encode.h"
#include "base/hash.h"
#include "base/hujson.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct owner {
	uint64_t    node;
	uint8_t     key[CLAIM_KEY_LEN];
	uint64_t    who;
	struct wall seen;               /* last */
};

struct claims_memory {
	struct dict *owners;            /* IPv4 bytes -> struct owner */
	struct dict *retired;           /* key -> struct retired */
};

struct retired {
	uint8_t     key[CLAIM_KEY_LEN];
	struct wall seen;               /* first */
};

struct claims_memory *claims_memory_new(void)
{
	struct claims_memory *m = mem_alloc(sizeof(*m));

	m->owners = dict_new();
	m->retired = dict_new();
	return m;
}

static void forget_all(struct dict *d)
{
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(d, &pos, &key, &value))
		free(value);
	dict_free(d);
}

void claims_memory_free(struct claims_memory *m)
{
	if (!m)
		return;
	forget_all(m->owners);
	forget_all(m->retired);
	free(m);
}

const char *claim_verdict_text(enum claim_verdict v)
{
	static const char *const words[CLAIM_VERDICTS] = {
		[CLAIM_REFUSED]     = "not judged",
		[CLAIM_GOOD]        = "good",
		[CLAIM_NONE]        = "none",
		[CLAIM_NO_MATCH]    = "the IPv6 address does not follow from the key",
		[CLAIM_OUTSIDE]     = "the address is outside the mesh's range",
		[CLAIM_TWICE]       = "two keys claim the address",
		[CLAIM_KEY_TWICE]   = "two nodes have one key",
		[CLAIM_QUARANTINED] = "the address was another key's a moment ago",
		[CLAIM_RETIRED]     = "the key's own holder has gone over to another one",
	};

	return (unsigned)v < CLAIM_VERDICTS ? words[v] : words[CLAIM_REFUSED];
}

static struct span ip_span(const struct ip *ip)
{
	return span_of(ip->b, ip_len(ip));
}

/* Counts one more claim of these bytes. Values are counts, not pointers. */
static void count_up(struct dict *d, struct span key)
{
	uintptr_t n = (uintptr_t)dict_find(d, key);

	dict_put(d, key, (void *)(n + 1));
}

static bool is_shared(const struct dict *d, struct span key)
{
	return (uintptr_t)dict_find(d, key) > 1;
}

static bool in_quarantine(const struct claims_memory *m, const struct claim *c, struct wall now)
{
	const struct owner *o = dict_find(m->owners, ip_span(&c->v4));

	if (!o || memcmp(o->key, c->key, CLAIM_KEY_LEN) == 0)
		return false;
	/* A node that changed its key keeps its address by the old key's word; or, where people are
	 * checked here, if the same person was shown to hold both. That the map calls them one node
	 * is not enough. */
	if (c->follows && memcmp(o->key, c->before, CLAIM_KEY_LEN) == 0)
		return false;
	if (c->who && o->node == c->node && o->who == c->who)
		return false;
	/* A clock that went back ends no quarantine. */
	return now.sec - o->seen.sec < CLAIM_QUARANTINE;
}

static void remember(struct claims_memory *m, const struct claim *c, struct wall now)
{
	struct owner *o = dict_find(m->owners, ip_span(&c->v4));

	if (!o) {
		if (dict_count(m->owners) >= CLAIMS_MAX)
			return;
		o = mem_alloc(sizeof(*o));
		dict_put(m->owners, ip_span(&c->v4), o);
	}
	o->node = c->node;
	o->who = c->who;
	memcpy(o->key, c->key, CLAIM_KEY_LEN);
	o->seen = now;
}

static void retire(struct claims_memory *m, const uint8_t key[CLAIM_KEY_LEN], struct wall seen)
{
	struct retired *r;

	if (dict_find(m->retired, span_of(key, CLAIM_KEY_LEN)) || dict_count(m->retired) >= CLAIM_RETIRED_MAX)
		return;
	r = mem_alloc(sizeof(*r));
	memcpy(r->key, key, CLAIM_KEY_LEN);
	r->seen = seen;
	dict_put(m->retired, span_of(r->key, CLAIM_KEY_LEN), r);
}

static bool is_retired(const struct claims_memory *m, const uint8_t key[CLAIM_KEY_LEN])
{
	return dict_find(m->retired, span_of(key, CLAIM_KEY_LEN)) != NULL;
}

static void forget_old(struct claims_memory *m, struct wall now)
{
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(m->owners, &pos, &key, &value)) {
		struct owner *o = value;

		if (now.sec - o->seen.sec >= CLAIM_QUARANTINE) {
			dict_remove(m->owners, key);
			free(o);
		}
	}
	pos = 0;
	while (dict_next(m->retired, &pos, &key, &value)) {
		struct retired *r = value;

		if (now.sec - r->seen.sec >= CLAIM_RETIRED_SEC) {
			dict_remove(m->retired, span_of(r->key, CLAIM_KEY_LEN));
			free(r);
		}
	}
}

void claims_judge(struct claim *list, size_t n, const struct prefix *v4_range, struct claims_memory *m,
                  struct wall now)
{
	struct dict *keys = dict_new(), *addresses = dict_new();

	for (size_t i = 0; i < n; i++) {
		count_up(keys, span_of(list[i].key, CLAIM_KEY_LEN));
		if (list[i].v4.family == IP_V4)
			count_up(addresses, ip_span(&list[i].v4));
		if (list[i].v6.family == IP_V6)
			count_up(addresses, ip_span(&list[i].v6));
	}
	forget_old(m, now);
	for (size_t i = 0; i < n; i++)
		if (list[i].follows && list[i].retires && !is_retired(m, list[i].key))
			retire(m, list[i].before, now);
	for (size_t i = 0; i < n; i++) {
		struct claim *c = &list[i];
		bool twice = is_shared(keys, span_of(c->key, CLAIM_KEY_LEN));

		c->ret_v6 = CLAIM_GOOD;
		if (c->v6.family == IP_NONE)
			c->ret_v6 = CLAIM_NONE;
		else if (twice)
			c->ret_v6 = CLAIM_KEY_TWICE;
		else if (c->v6.family != IP_V6 || !ip_eq(&c->v6, &c->derived))
			c->ret_v6 = CLAIM_NO_MATCH;
		else if (is_shared(addresses, ip_span(&c->v6)))
			c->ret_v6 = CLAIM_TWICE;
		else if (!c->listed && is_retired(m, c->key))
			c->ret_v6 = CLAIM_RETIRED;

		c->ret_v4 = CLAIM_GOOD;
		if (c->v4.family == IP_NONE)
			c->ret_v4 = CLAIM_NONE;
		else if (twice)
			c->ret_v4 = CLAIM_KEY_TWICE;
		else if (c->v4.family != IP_V4 || !prefix_has(v4_range, &c->v4))
			c->ret_v4 = CLAIM_OUTSIDE;
		else if (is_shared(addresses, ip_span(&c->v4)))
			c->ret_v4 = CLAIM_TWICE;
		else if (!c->listed && is_retired(m, c->key))
			c->ret_v4 = CLAIM_RETIRED;
		else if (in_quarantine(m, c, now))
			c->ret_v4 = CLAIM_QUARANTINED;
		else
			remember(m, c, now);
	}
	dict_free(keys);
	dict_free(addresses);
}

void claims_memory_encode(const struct claims_memory *m, struct wall now, struct buf *out)
{
	struct span key;
	void *value;
	size_t pos = 0;
	bool first = true;

	buf_add_char(out, '[');
	while (dict_next(m->owners, &pos, &key, &value)) {
		const struct owner *o = value;
		struct ip ip = { .family = IP_V4 };
		char text[IP_TEXT_MAX];

		if (now.sec - o->seen.sec >= CLAIM_QUARANTINE)
			continue;
		memcpy(ip.b, key.ptr, 4);
		buf_addf(out, "%s\n{\"v4\":\"%s\",\"node\":%llu,\"who\":\"%llx\",\"seen\":%lld,\"key\":\"", first ? "" : ",",
		         ip_text(&ip, text), (unsigned long long)o->node, (unsigned long long)o->who,
		         (long long)o->seen.sec);
		base64_add(out, span_of(o->key, CLAIM_KEY_LEN));
		buf_add_str(out, "\"}");
		first = false;
	}
	/* Last: an earlier release reads as far as it understands. */
	pos = 0;
	while (dict_next(m->retired, &pos, &key, &value)) {
		const struct retired *r = value;

		buf_addf(out, "%s\n{\"seen\":%lld,\"retired\":\"", first ? "" : ",", (long long)r->seen.sec);
		base64_add(out, span_of(r->key, CLAIM_KEY_LEN));
		buf_add_str(out, "\"}");
		first = false;
	}
	buf_add_str(out, "\n]\n");
}

bool claims_memory_decode(struct span json, struct claims_memory *m, struct err *err)
{
	scoped_json json_t *list = json_read(json, CLAIMS_TEXT_MAX, err);

	if (!list)
		return false;
	if (!json_is_array(list) || json_array_size(list) > CLAIMS_MAX + CLAIM_RETIRED_MAX)
		return err_set(err, ERR_SYNTAX, "remembered addresses: not an array of at most %d",
		               CLAIMS_MAX + CLAIM_RETIRED_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *o = json_array_get(list, i);
		struct claim c = { 0 };
		size_t n = 0;

		if (json_is_integer(json_object_get(o, "seen")) &&
		    base64_decode(span_str(json_string_value(json_object_get(o, "retired"))), c.key, sizeof(c.key), &n) &&
		    n == CLAIM_KEY_LEN) {
			retire(m, c.key, (struct wall){ json_integer_value(json_object_get(o, "seen")) });
			continue;
		}
		if (!json_is_object(o) || !json_is_integer(json_object_get(o, "node")) ||
		    !json_is_integer(json_object_get(o, "seen")) ||
		    !ip_parse(span_str(json_string_value(json_object_get(o, "v4"))), &c.v4) ||
		    c.v4.family != IP_V4 ||
		    !base64_decode(span_str(json_string_value(json_object_get(o, "key"))), c.key,
		                   sizeof(c.key), &n) || n != CLAIM_KEY_LEN)
			return err_set(err, ERR_SYNTAX, "remembered addresses: entry %zu is none", i);
		c.node = (uint64_t)json_integer_value(json_object_get(o, "node"));
		/* Of an earlier release: nobody. */
		c.who = strtoull(json_is_string(json_object_get(o, "who"))
		                 ? json_string_value(json_object_get(o, "who")) : "0", NULL, 16);
		remember(m, &c, (struct wall){ json_integer_value(json_object_get(o, "seen")) });
	}
	return true;
}
