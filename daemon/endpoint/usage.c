/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/usage.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/used.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/sync.h"

#include <stdlib.h>
#include <string.h>

struct usage {
	struct core           *core;
	struct client         *client;
	struct client_request *request;
	struct loop_timer     *timer;
	struct used_pending    used;    /* since the last report that arrived */
	struct dict           *rx;      /* device key -> bytes at the last look */
	int64_t                every;   /* as the coordinator wants it */
};

static void on_look(void *arg);

struct usage *usage_new(struct core *c, struct client *client)
{
	struct usage *u = mem_alloc(sizeof(*u));

	u->core = c;
	u->client = client;
	used_pending_init(&u->used);
	u->rx = dict_new();
	u->every = USED_EVERY_MAX;
	u->timer = loop_timer_new(c->loop, on_look, u);
	if (client)
		loop_timer_after(u->timer, USAGE_FIRST_SEC * SEC_NS);
	return u;
}

void usage_free(struct usage *u)
{
	if (!u)
		return;
	client_cancel(u->request);
	core_net_forget(u->core, u);
	loop_timer_free(u->timer);
	used_pending_done(&u->used);
	dict_free(u->rx);
	free(u);
}

/* Sessions are people's: nobody else is idle. */
static void note(struct usage *u, const struct party *p)
{
	if (p && p->node && p->node->session)
		used_pending_note(&u->used, p->id);
}

void usage_front(struct usage *u, uint64_t snapshot, uint32_t slot)
{
	const struct world_slot *s = core_fronts_slot(u->core, snapshot, slot);

	if (s && u->client)
		note(u, world_find(u->core->world, s->party));
}

static void on_told(void *arg, const struct client_reply *r)
{
	struct usage *u = arg;
	struct err err = { 0 };
	bool told = r->ok && r->status < 500 && r->status != 429;

	u->request = NULL;
	used_pending_answered(&u->used, told);
	if (!told) {
		log_debug("telling who uses this host: it is said again");
		loop_timer_after(u->timer, USAGE_AGAIN_SEC * SEC_NS);
	} else if (r->status < 300) {
		if (!used_reply_decode(r->body, &u->every, &err))
			log_debug("telling who uses this host: %s", err.msg);
		loop_timer_after(u->timer, u->every * SEC_NS);
	} else {
		u->every = USED_EVERY_MAX;      /* a coordinator of an earlier release does not ask */
	}
}

static void tell(struct usage *u)
{
	const struct used_list *l;
	struct sync_state st = { 0 };
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	if (u->request || !u->core->sync)
		return;
	sync_state(u->core->sync, &st);
	if (!st.connected || !(l = used_pending_take(&u->used)))
		return;
	buf_init(&b, USED_BODY_MAX);
	used_encode(l, &b);
	u->request = sync_request(u->core, u->client, "POST", "/v1/map/used", buf_span(&b), on_told, u, &err);
	if (u->request)
		return;
	log_debug("telling who uses this host: %s", err.msg);
	used_pending_answered(&u->used, false);
}

static void on_status(void *arg, const struct msg_status *part, const struct err *err)
{
	struct usage *u = arg;

	(void)err;
	for (size_t i = 0; part && i < part->peers_n; i++) {
		const struct msg_peer_status *st = &part->peers[i];
		struct span key = span_of(st->key, sizeof(st->key));
		uint64_t was = (uintptr_t)dict_find(u->rx, key);

		/* What it had before we looked is nobody's use of today; a counter that began anew is like that. */
		if (was && st->rx > was && st->rx - was >= USAGE_BYTES)
			note(u, world_find_key(u->core->world, st->key));
		if (st->rx)
			dict_put(u->rx, key, (void *)(uintptr_t)st->rx);
	}
	if (!part)
		tell(u);
}

static void on_look(void *arg)
{
	struct usage *u = arg;
	struct core *c = u->core;
	const struct map_node *self = map_self(&c->map);
	const struct party *const *parties;

	loop_timer_after(u->timer, u->every * SEC_NS);
	if (!self || (!self->hub && self->tags.count == 0))
		return;
	/* Keys that left the map are forgotten, if they ever were many. */
	if (dict_count(u->rx) > 2 * world_parties(c->world, &parties) + 64) {
		dict_free(u->rx);
		u->rx = dict_new();
	}
	core_net_forget(c, u);
	if (self->hub || !c->told || !c->told->device)
		tell(u);
	else
		core_net_ask(c, on_status, u);
}
