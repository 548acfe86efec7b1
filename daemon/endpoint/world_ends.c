/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/world.h"

#include "base/hash.h"
#include "daemon/endpoint/world_inside.h"

/* When what counts in this world does no more: sessions, addresses of keys before, cookies before a renewal. */

struct boot world_overlap_end(const struct world *w, struct boot since)
{
	return boot_add(since, (w->conf ? w->conf->key_overlap : 0) * SEC_NS);
}

/* Addresses of keys before: since when, and those whose time is over. */
static void anchor_old(struct world *w, struct party *p, struct boot now)
{
	struct span ip = span_of(p->old_v6.b, ip_len(&p->old_v6));

	if (p->old_v6.family != IP_V6)
		return;
	if (!p->old_since.ns)
		p->old_since = now;
	if (!boot_passed(world_overlap_end(w, p->old_since), now))
		return;
	if (dict_find(w->by_ip, ip) == p)
		dict_remove(w->by_ip, ip);
	p->old_v6 = (struct ip){ 0 };
}

void world_anchor(struct world *w, const struct world_now *now)
{
	if (w->had_key && !w->before_since.ns)
		w->before_since = now->boot;
	for (size_t i = 0; i < w->count; i++)
		anchor_old(w, w->list[i], now->boot);
	for (size_t i = 0; i < w->count; i++) {
		struct party *p = w->list[i];
		const struct map_session *s = p->node ? p->node->session : NULL;

		/* What the wall clock shows to be over now may not be, should it have been set wrong. */
		if (!s || s->expires.sec <= now->wall.sec ||
		    (p->end_session == s->id && p->end_wall.sec == s->expires.sec))
			continue;
		p->end_session = s->id;
		p->end_wall = s->expires;
		p->end = boot_at_wall(s->expires, now->wall, now->boot);
	}
}

struct boot world_party_end(const struct party *p)
{
	const struct map_session *s = p->node && !p->node->tags.count ? p->node->session : NULL;

	return s && p->end_session == s->id && p->end_wall.sec == s->expires.sec ? p->end : BOOT_NEVER;
}

void world_renewal(struct world *w, uint64_t party, uint64_t session, struct boot after)
{
	struct party *p = dict_find(w->by_id, span_of(&party, sizeof(party)));

	if (!p)
		return;
	p->renewed = session;
	p->renew_after = after;
}

bool world_cookies(struct world *w, struct boot now)
{
	bool over = false;

	for (size_t i = 0; i < w->count; i++) {
		struct party *p = w->list[i];

		if (!p->has_cookie_was)
			continue;
		if (!p->cookie_until.ns)
			p->cookie_until = boot_add(now, COOKIE_GRACE_SEC * SEC_NS);
		if (boot_passed(p->cookie_until, now)) {
			p->has_cookie_was = false;
			over = true;
		}
	}
	return over;
}

struct boot world_next_end(const struct world *w, struct boot now)
{
	struct boot next = BOOT_NEVER;

	for (size_t i = 0; i < w->count; i++) {
		const struct party *p = w->list[i];
		struct boot end = world_party_end(p);

		if (!boot_passed(end, now))
			next = boot_min(next, end);
		if (p->old_v6.family == IP_V6)
			next = boot_min(next, world_overlap_end(w, p->old_since));
		if (p->has_cookie_was && p->cookie_until.ns)
			next = boot_min(next, p->cookie_until);
	}
	if (w->had_key && !boot_passed(world_overlap_end(w, w->before_since), now))
		next = boot_min(next, world_overlap_end(w, w->before_since));
	return next;
}
