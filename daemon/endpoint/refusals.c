/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/refusals.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/refused.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/glass.h"
#include "daemon/endpoint/sync.h"

#include <stdlib.h>
#include <string.h>

struct refusals {
	struct core           *core;
	struct client         *client;
	struct client_request *request;
	struct loop_timer     *timer;
	struct refused_list    now;
	bool                   known;           /* the coordinator knows them */
};

static void send_now(void *arg);

struct refusals *refusals_new(struct core *c, struct client *client)
{
	struct refusals *r = mem_alloc(sizeof(*r));

	r->core = c;
	r->client = client;
	r->timer = loop_timer_new(c->loop, send_now, r);
	r->known = true;        /* of nothing, there is nothing to tell */
	return r;
}

void refusals_free(struct refusals *r)
{
	if (!r)
		return;
	client_cancel(r->request);
	loop_timer_free(r->timer);
	refused_done(&r->now);
	free(r);
}

const char *refusals_why(const struct core *c, uint64_t node)
{
	const struct party *p = world_find(c->world, node);
	const char *why = p && p->node && glass_is(p->node) ? NULL : c->files->vouch && !vouch_is_checking(c->files->vouch, node)
	                ? vouch_why(c->files->vouch, node) : NULL;

	if (why || !p)
		return why;
	if (p->v6 > CLAIM_NONE)
		return claim_verdict_text(p->v6);
	return p->v4 > CLAIM_NONE ? claim_verdict_text(p->v4) : NULL;
}

static void on_told(void *arg, const struct client_reply *reply)
{
	struct refusals *r = arg;
	struct err err = { 0 };

	r->request = NULL;
	if (reply->ok && reply->status < 300)
		return;
	if (reply->ok)
		enrol_error_decode(reply->status, reply->body, &err);
	else
		err = *reply->err;
	/* A coordinator of an earlier release does not ask. */
	if (reply->ok && reply->status == 404)
		return;
	log_debug("telling the coordinator whom it is not believed: %s", err.msg);
	r->known = false;
	loop_timer_after(r->timer, REFUSALS_AGAIN_MS * (SEC_NS / 1000));
}

static void send_now(void *arg)
{
	struct refusals *r = arg;
	struct sync_state st = { 0 };
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	if (!r->client || !r->core->sync || r->known || r->request)
		return;
	sync_state(r->core->sync, &st);
	if (!st.connected)
		return;         /* refusals_tell() comes when it is */
	buf_init(&b, REFUSED_BODY_MAX);
	refused_encode(&r->now, &b);
	r->known = true;
	r->request = sync_request(r->core, r->client, "POST", "/v1/map/refused", buf_span(&b), on_told, r, &err);
	if (!r->request)
		log_debug("telling the coordinator whom it is not believed: %s", err.msg);
}

void refusals_tell(struct refusals *r)
{
	/* It may have started anew, and keeps this in memory only. */
	if (r->now.count)
		r->known = false;
	loop_timer_after(r->timer, REFUSALS_WAIT_MS * (SEC_NS / 1000));
}

static void log_changes(const struct refusals *r, const struct refused_list *next)
{
	char name[LOG_TEXT_MAX];

	for (size_t i = 0; i < next->count; i++) {
		const struct refused_one *was = refused_find(&r->now, next->list[i].node);
		const struct party *p = world_find(r->core->world, next->list[i].node);

		if (!was || strcmp(was->why, next->list[i].why) != 0)
			log_warn("node n%llu (%s) is not believed: %s", (unsigned long long)next->list[i].node,
			         p && p->node ? log_text(p->node->name, name) : "", next->list[i].why);
	}
	for (size_t i = 0; i < r->now.count; i++)
		if (!refused_find(next, r->now.list[i].node) && world_find(r->core->world, r->now.list[i].node))
			log_info("node n%llu is believed again, or claims nothing any more",
			         (unsigned long long)r->now.list[i].node);
}

void refusals_look(struct refusals *r)
{
	const struct party *const *parties;
	size_t n = world_parties(r->core->world, &parties);
	struct refused_list next = { 0 };

	for (size_t i = 0; i < n && next.count < REFUSED_MAX; i++) {
		const char *why = parties[i]->node && parties[i]->id != world_self(r->core->world)
		                ? refusals_why(r->core, parties[i]->id) : NULL;
		struct refused_one *one;
		size_t len;

		if (!why)
			continue;
		if (!next.list)
			next.list = mem_calloc(REFUSED_MAX, sizeof(*next.list));
		one = &next.list[next.count++];
		one->node = parties[i]->id;
		len = strlen(why) < REFUSED_WHY_MAX ? strlen(why) : REFUSED_WHY_MAX;
		for (size_t k = 0; k < len; k++)
			one->why[k] = why[k] >= ' ' && why[k] <= '~' ? why[k] : '?';
	}
	if (refused_same(&r->now, &next)) {
		refused_done(&next);
		return;
	}
	log_changes(r, &next);
	refused_done(&r->now);
	r->now = next;
	r->known = false;
	loop_timer_after(r->timer, REFUSALS_WAIT_MS * (SEC_NS / 1000));
}
