/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What public fronts ask for people with only a browser: the coordinator
 * redeems the code; the cookie goes to the front once every public front knows
 * the session, so that the person's next request finds it wherever it lands.
 */
#include "daemon/endpoint/core_inside.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/browser.h"
#include "daemon/endpoint/sync.h"
#include "daemon/proxy/front.h"

#include <stdlib.h>
#include <string.h>

enum {
	BROWSERS_MAX = 1024,            /* questions to the coordinator at once */
	RENEW_HEARD_SEC = 60,           /* the coordinator was heard so lately, or nobody is sent there who need not go: two beats */
	BROWSER_SEC  = 9,               /* from the question to the answer; a front waits a second longer */
};

struct core_browser {
	struct core_browser   *next;
	struct core           *core;
	uint16_t               front;
	uint64_t               id;              /* the front's; 0: it wants no answer */
	struct client_request *request;         /* under way; NULL: answered */
	struct boot            until;
	uint64_t               generation;      /* of the snapshot that has the session; 0: none yet */
	uint64_t               replaces;        /* the session that the browser has there; RENEW: whose */
	uint8_t                hash[BROWSER_HASH_LEN];  /* of the cookie in reply */
	char                   service[64];
	struct browser_reply   reply;
};

static void forget(struct core_browser **at)
{
	struct core_browser *b = *at;

	*at = b->next;
	b->core->browser_count--;
	client_cancel(b->request);
	mem_wipe(&b->reply, sizeof(b->reply));
	free(b);
}

static void answer(struct core *c, uint16_t front, uint64_t id, enum browser_answer what, struct span text)
{
	struct core_front *f = &c->fronts[CONF_FRONTS_MAX + front];
	struct msg m = { .type = MSG_BROWSED, .browsed = { id, what, text } };
	struct err err = { 0 };

	if (id && f->channel && !channel_send(f->channel, &m, NULL, 0, &err))
		log_debug("public %u: %s", front, err.msg);
}

static struct core_browser **find(struct core *c, const struct core_browser *b)
{
	struct core_browser **at = &c->browsers;

	while (*at != b)
		at = &(*at)->next;
	return at;
}

static bool all_have(const struct core *c, uint64_t generation)
{
	for (size_t i = CONF_FRONTS_MAX; i < CORE_FRONTS_MAX; i++)
		if (c->fronts[i].channel && c->fronts[i].acked < generation)
			return false;
	return true;
}

static struct core_browser *start(struct core *c, uint16_t front, uint64_t id, const char *path, struct span body,
                                  client_done_fn *fn)
{
	struct core_browser *b;
	struct err err = { 0 };

	if (c->browser_count >= BROWSERS_MAX || !c->client) {
		log_warn("%s: too many at once, or no coordinator", path);
		return NULL;
	}
	b = mem_alloc(sizeof(*b));
	b->core = c;
	b->front = front;
	b->id = id;
	b->until = boot_add(loop_now(c->loop), BROWSER_SEC * SEC_NS);
	b->request = sync_request(c, c->client, "POST", path, body, fn, b, &err);
	if (!b->request) {
		log_warn("%s: %s", path, err.msg);
		free(b);
		return NULL;
	}
	b->next = c->browsers;
	c->browsers = b;
	/* All wait equally long: whoever is first is first to be late. */
	if (c->browser_count++ == 0)
		loop_timer_after(c->browser_tick, BROWSER_SEC * SEC_NS);
	return b;
}

/* ---- the end of a session ---- */

static void on_ended(void *arg, const struct client_reply *r)
{
	struct core_browser *b = arg;
	struct err err = { 0 };

	b->request = NULL;
	if (r->ok && r->status >= 300 && r->status != 404)
		enrol_error_decode(r->status, r->body, &err);
	else if (!r->ok)
		err = *r->err;
	if (err.code)
		log_warn("ending a browser's session: %s", err.msg);
	forget(find(b->core, b));
}

static void end_session(struct core *c, uint16_t front, uint64_t node)
{
	scoped_buf struct buf body = { 0 };

	buf_init(&body, BROWSER_MSG_MAX);
	browser_end_encode(node, &body);
	start(c, front, 0, "/v1/browser/end", buf_span(&body), on_ended);
}

/* ---- its beginning ---- */

void core_browsers_settle(struct core *c)
{
	struct core_browser **at = &c->browsers;

	while (*at) {
		struct core_browser *b = *at;

		if (b->request || !b->generation || !all_have(c, b->generation)) {
			at = &b->next;
			continue;
		}
		answer(c, b->front, b->id, b->reply.node == b->replaces ? BROWSER_RENEWED : BROWSER_COOKIE,
		       span_str(b->reply.cookie));
		forget(at);
	}
}

/* Whether the map has the session with this cookie: a renewed one had another before. */
static bool is_there(const struct core *c, const struct core_browser *b, const struct world_now *now)
{
	const struct party *p = world_find(c->world, b->reply.node);

	return p && p->node && memcmp(p->node->key, b->hash, sizeof(b->hash)) == 0 &&
	       world_generation(c->world, b->reply.node, now);
}

void core_browsers_published(struct core *c, const struct world_now *now)
{
	for (struct core_browser *b = c->browsers; b; b = b->next)
		if (!b->request && !b->generation && is_there(c, b, now))
			b->generation = c->generation;
	core_browsers_settle(c);
}

/* What did not come in time is refused; a session that nobody has the cookie of ends. */
void core_browsers_late(void *core)
{
	struct core *c = core;
	struct core_browser **at = &c->browsers;
	struct boot next = BOOT_NEVER;

	while (*at) {
		struct core_browser *b = *at;
		uint64_t node = b->reply.node == b->replaces ? 0 : b->reply.node;
		uint16_t front = b->front;

		if (!boot_passed(b->until, loop_now(c->loop))) {
			next = boot_min(next, b->until);
			at = &b->next;
			continue;
		}
		answer(c, b->front, b->id, BROWSER_REFUSED, (struct span){ 0 });
		forget(at);
		if (node) {
			end_session(c, front, node);    /* in front of the list: not looked at now */
			at = &c->browsers;
			next = BOOT_NEVER;
		}
	}
	loop_timer_set(c->browser_tick, next);
}

static void on_redeemed(void *arg, const struct client_reply *r)
{
	struct core_browser *b = arg;
	struct core *c = b->core;
	struct world_now now;
	struct err err = { 0 };

	b->request = NULL;
	if (!r->ok)
		err = *r->err;
	else if (r->status != 200)
		enrol_error_decode(r->status, r->body, &err);
	else if (browser_reply_decode(r->body, &b->reply, &err) &&
	         !browser_cookie_hash(span_str(b->service), span_str(b->reply.cookie), b->hash))
		err_set(&err, ERR_CRYPTO, "the cookie's hash could not be made");
	if (err.code) {
		log_note("a browser's login: %s", err.msg);
		answer(c, b->front, b->id, BROWSER_REFUSED, (struct span){ 0 });
		forget(find(c, b));
		return;
	}
	/* The map may have been faster than this answer: what is published has it then. */
	core_now(c, &now);
	if (!c->publish && is_there(c, b, &now))
		core_browsers_published(c, &now);
}

/* ---- its renewal ---- */

/* The session goes on being what it was, whatever is said here. */
static void on_renewal(void *arg, const struct client_reply *r)
{
	struct core_browser *b = arg;
	struct core *c = b->core;
	const struct party *p = world_find(c->world, b->replaces);
	struct boot after = { 0 };
	struct browser_renewal m = { 0 };
	struct err err = { 0 };

	b->request = NULL;
	if (!r->ok)
		err = *r->err;
	else if (r->status != 200)
		enrol_error_decode(r->status, r->body, &err);
	else
		browser_renewal_decode(r->body, &m, &err);
	if (err.code)
		log_info("the renewal of a browser's session: %s", err.msg);
	else if (m.wait)
		after = boot_add(loop_now(c->loop), m.wait * SEC_NS);
	if (p && p->node->session)
		world_renewal(c->world, p->id, m.wait ? 0 : p->node->session->id, after);
	answer(c, b->front, b->id, m.url[0] ? BROWSER_URL : BROWSER_REFUSED, span_str(m.url));
	forget(find(c, b));
}

/* Whether the map comes, as of the last beat or the one before. */
static bool is_heard(const struct core *c)
{
	struct sync_state line = { 0 };
	struct world_now now;

	core_now(c, &now);
	if (c->sync)
		sync_state(c->sync, &line);
	return line.connected && now.silent >= 0 && now.silent < RENEW_HEARD_SEC * SEC_NS;
}

static bool renew(struct core *c, uint16_t front, const struct msg_browser *m, const struct party *p,
                  const char *service)
{
	struct browser_renew r = { .node = p->id };
	scoped_buf struct buf body = { 0 };
	struct core_browser *b;

	if (!p->node->session || p->renewed == p->node->session->id ||
	    !boot_passed(p->renew_after, loop_now(c->loop)) || !is_heard(c) ||
	    !span_eq(p->node->browser, span_str(service)) || !span_cstr(span_str(service), r.service, sizeof(r.service)) ||
	    !span_cstr(m->verifier, r.bind, sizeof(r.bind)))
		return false;
	buf_init(&body, BROWSER_MSG_MAX);
	browser_renew_encode(&r, &body);
	b = start(c, front, m->id, "/v1/browser/renew", buf_span(&body), on_renewal);
	if (b)
		b->replaces = p->id;
	return b != NULL;
}

/* ---- what fronts ask ---- */

static const struct party *browser_of(const struct core *c, const struct msg_browser *m)
{
	const struct world_slot *slot = core_fronts_slot(c, m->snapshot, m->slot);
	const struct party *p = slot ? world_find(c->world, slot->party) : NULL;

	return p && p->node && p->node->browser.len ? p : NULL;
}

void core_browser_ask(struct core *c, struct core_front *f, const struct msg_browser *m)
{
	const struct conf_map *services = c->files ? &c->files->conf->public : NULL;
	const struct party *p = browser_of(c, m);
	struct browser_redeem r = { .replaces = p ? p->id : 0 };
	scoped_buf struct buf body = { 0 };
	struct core_browser *b;

	if (m->what == BROWSER_END) {
		if (p)
			end_session(c, f->index, p->id);
		return;
	}
	if (m->what == BROWSER_RENEW) {
		if (!p || !services || m->snapshot != c->generation || m->service >= services->count ||
		    !renew(c, f->index, m, p, services->names[m->service]))
			answer(c, f->index, m->id, BROWSER_REFUSED, (struct span){ 0 });
		return;
	}
	buf_init(&body, BROWSER_MSG_MAX);
	/* The service's index is of that snapshot's configuration. A newer one may be on its way to the front: of
	 * somebody who logs in at the same time. */
	if (!services || !core_fronts_current(c, m->snapshot) || m->service >= services->count ||
	    !span_cstr(span_str(services->names[m->service]), r.service, sizeof(r.service)) ||
	    !span_cstr(m->code, r.code, sizeof(r.code)) || !span_cstr(m->verifier, r.verifier, sizeof(r.verifier))) {
		answer(c, f->index, m->id, BROWSER_REFUSED, (struct span){ 0 });
		return;
	}
	browser_redeem_encode(&r, &body);
	b = start(c, f->index, m->id, "/v1/browser/redeem", buf_span(&body), on_redeemed);
	if (b) {
		b->replaces = r.replaces;
		memcpy(b->service, r.service, sizeof(b->service));
	} else {
		answer(c, f->index, m->id, BROWSER_REFUSED, (struct span){ 0 });
	}
	mem_wipe(&r, sizeof(r));
	mem_wipe(body.ptr, body.len);
}

void core_browsers_free(struct core *c)
{
	while (c->browsers)
		forget(&c->browsers);
	loop_timer_free(c->browser_tick);
	c->browser_tick = NULL;
}
