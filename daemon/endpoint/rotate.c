/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/rotate.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/rotate.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LOOK_MS    = 100,
	BEGIN_MS   = 20000,     /* each of the two steps of announcing it */
	READY_MS   = 10000,     /* endpoints that have not applied it by then are not waited for */
	ASK_MS     = 8000,      /* whether it arrived: asked anew, over another connection */
	FLIP_MS    = 40000,     /* a key that did not reach the coordinator for so long: the other one's turn */
};

enum step { STEP_NONE, STEP_ASK, STEP_START, STEP_PROVE, STEP_ANNOUNCED, STEP_CONFIRM };

struct rotate {
	struct core           *core;
	struct client         *client;
	enum step              step;
	struct client_request *request;
	struct loop_timer     *look;
	struct boot            asked, until;    /* the question under way; when the step is over */
	struct secret          next;            /* announced, not in use */
	uint8_t                next_public[MSG_KEY_LEN];
	struct secret          other;           /* CONFIRM: the one of the two that is not in use */
	bool                   listed;          /* hosts that list the present key lock the next one out: that is known */
	bool                   on_new;          /* CONFIRM: the new one is */
	bool                   synced;          /* CONFIRM: the map's line goes over the key in use */
	struct buf             start;           /* the start request, byte for byte */
	struct rotate_state    state;
	rotate_fn             *fn;
	void                  *arg;
};

static void look(void *arg);
static void on_reply(void *arg, const struct client_reply *reply);

struct rotate *rotate_new(struct core *c, struct client *client)
{
	struct rotate *r = mem_alloc(sizeof(*r));

	r->core = c;
	r->client = client;
	r->look = loop_timer_new(c->loop, look, r);
	return r;
}

void rotate_free(struct rotate *r)
{
	if (!r)
		return;
	client_cancel(r->request);
	loop_timer_free(r->look);
	secret_done(&r->next);
	secret_done(&r->other);
	buf_done(&r->start);
	free(r);
}

void rotate_forget(struct rotate *r, void *arg)
{
	if (r && r->arg == arg) {
		r->fn = NULL;
		r->arg = NULL;
	}
}

static void remove_file(const struct core *c, const char *name)
{
	scoped_free char *path = core_state_path(c, name);

	if (unlink(path) < 0 && errno != ENOENT)
		log_error("%s: %s", path, strerror(errno));
}

static bool store_key(const struct core *c, const char *name, const struct secret *key, struct err *err)
{
	scoped_free char *path = core_state_path(c, name);

	return enrol_device_store(path, key, err);
}

/* A key's age is its file's (aging.c): files get other names, and are not written again. */
static bool name_file(const struct core *c, bool (*name)(const char *from, const char *to, struct err *err),
                      const char *from, const char *to, struct err *err)
{
	scoped_free char *a = core_state_path(c, from), *b = core_state_path(c, to);

	return name(a, b, err);
}

/* It is over: err, and the key is the old one; NULL, and it is the new one. */
static void end(struct rotate *r, const struct err *err)
{
	struct rotate_done done = { .away = r->state.away };
	rotate_fn *fn = r->fn;
	void *arg = r->arg;

	client_cancel(take(r->request));
	loop_timer_set(r->look, BOOT_NEVER);
	r->step = STEP_NONE;
	r->fn = NULL;
	r->arg = NULL;
	secret_done(&r->next);
	secret_done(&r->other);
	buf_done(&r->start);
	if (err) {
		log_warn("the device key stays as it is: %s", err->msg);
		remove_file(r->core, "device.key.next");
	}
	memcpy(done.key, r->core->public_key, sizeof(done.key));
	if (fn)
		fn(arg, err ? NULL : &done, err);
}

static bool ask(struct rotate *r, const char *method, const char *path, struct span body)
{
	struct err err = { 0 };

	r->asked = loop_now(r->core->loop);
	r->request = sync_request(r->core, r->client, method, path, body, on_reply, r, &err);
	if (!r->request && r->step != STEP_CONFIRM)
		end(r, &err);
	return r->request != NULL;
}

static void look_again(struct rotate *r)
{
	loop_timer_after(r->look, LOOK_MS * (SEC_NS / 1000));
}

static void in_ms(struct rotate *r, int64_t ms)
{
	r->until = boot_add(loop_now(r->core->loop), ms * (SEC_NS / 1000));
}

/* ---- announcing ---- */

static bool announce(struct rotate *r, struct err *err)
{
	struct core *c = r->core;

	enrol_device_new(&r->next);
	if (!enrol_device_public(&r->next, r->next_public, err) || !store_key(c, "device.key.next", &r->next, err))
		return false;
	buf_init(&r->start, ROTATE_BODY_MAX);
	rotate_start_encode(r->next_public, &r->start);
	r->step = STEP_START;
	in_ms(r, BEGIN_MS);
	ask(r, "POST", "/v1/rotate/start", buf_span(&r->start));
	return true;
}

/* An earlier release of the coordinator does not know who lists it. */
static bool may_change(const struct rotate *r, const struct client_reply *reply, struct err *err)
{
	struct rotate_due d = { 0 };

	if (err->code == ERR_MISSING)
		*err = (struct err){ 0 };
	else if (err->code != ERR_NONE || !rotate_due_decode(reply->body, &d, err))
		return false;
	if (!d.listed || r->listed)
		return true;
	return err_set(err, ERR_DENIED, "its owner's file lists this key, and would lock the next one out (server-keys, "
	               "break-glass), at %s%s: `reeve rotate --listed`, and then list the new one there",
	               *d.hosts ? d.hosts : "some host", d.listed > 1 ? " (and so do others)" : "");
}

void rotate_begin(struct rotate *r, bool listed, rotate_fn *fn, void *arg)
{
	struct core *c = r->core;
	struct sync_state st;
	struct err err = { 0 };

	if (r->step != STEP_NONE) {
		err_set(&err, ERR_BUSY, "a change of the device key is under way");
		fn(arg, NULL, &err);
		return;
	}
	sync_state(c->sync, &st);
	if (!c->enrolment.enrolled || c->enrolment.down)
		err_set(&err, ERR_NOTNOW, "this node is not enrolled, or down");
	else if (c->enrolment.is_unix)
		err_set(&err, ERR_DENIED, "the hub keeps its key: every device knows it by that");
	else if (!st.connected || !c->map.whole)
		err_set(&err, ERR_NOTNOW, "there is no line to the coordinator");
	r->fn = fn;
	r->arg = arg;
	r->state = (struct rotate_state){ 0 };
	if (err.code != ERR_NONE) {
		end(r, &err);
		return;
	}
	r->listed = listed;
	r->step = STEP_ASK;
	in_ms(r, BEGIN_MS);
	look_again(r);
	ask(r, "GET", "/v1/rotate/due", (struct span){ 0 });
}

/* Our word, as the holder of the old key, to everybody whom we know. */
static bool vouch(struct rotate *r, struct rotate_prove *p, struct err *err)
{
	const struct core *c = r->core;
	struct rotate_vouch v;

	memcpy(v.old, c->public_key, sizeof(v.old));
	memcpy(v.new_, r->next_public, sizeof(v.new_));
	p->list = mem_calloc(c->map.node_count + 1, sizeof(*p->list));
	for (size_t i = 0; i < c->map.node_count && p->n < ROTATE_VOUCHES_MAX; i++) {
		const struct map_node *n = c->map.nodes[i];

		if (n->id == c->map.self || n->browser.len)
			continue;
		memcpy(v.endpoint, n->key, sizeof(v.endpoint));
		p->list[p->n].node = n->id;
		if (!rotate_vouch(&c->key, n->key, &v, p->list[p->n].mac, err)) {
			log_warn("node n%llu: %s", (unsigned long long)n->id, err->msg);
			continue;
		}
		p->n++;
	}
	return true;
}

static bool prove(struct rotate *r, struct span reply, struct err *err)
{
	struct core *c = r->core;
	struct enrol_challenge ch;
	struct enrol_proof_input in = { .start = buf_span(&r->start) };
	struct rotate_prove p = { 0 };
	scoped_buf struct buf b = { 0 };
	bool ok;

	if (!enrol_challenge_decode(reply, &ch, err))
		return false;
	memcpy(in.challenge, ch.challenge, sizeof(in.challenge));
	memcpy(in.ephemeral, ch.ephemeral, sizeof(in.ephemeral));
	memcpy(p.prove.attempt, ch.attempt, sizeof(p.prove.attempt));
	memcpy(in.device, c->public_key, sizeof(in.device));
	ok = enrol_proof(&c->key, ch.ephemeral, &in, p.old, err);
	memcpy(in.device, r->next_public, sizeof(in.device));
	ok = ok && enrol_proof(&r->next, ch.ephemeral, &in, p.prove.proof, err) && vouch(r, &p, err);
	if (ok) {
		buf_init(&b, ROTATE_PROVE_MAX);
		rotate_prove_encode(&p, &b);
		r->step = STEP_PROVE;
		in_ms(r, BEGIN_MS);
		ask(r, "POST", "/v1/rotate/prove", buf_span(&b));
	}
	rotate_prove_done(&p);
	return ok;
}

/* ---- in use ---- */

/* The core is, from here on, who holds this key; *key gets the one before. */
static void swap_keys(struct rotate *r, struct secret *key)
{
	struct core *c = r->core;
	struct secret old = c->key;
	struct err err = { 0 };

	c->key = *key;
	*key = old;
	if (!enrol_device_public(&c->key, c->public_key, &err))
		abort();        /* it had one when it was made */
	/* The line is from an address that goes. */
	sync_stop(c->sync);
	r->synced = false;
	core_map_changed(c);
	in_ms(r, FLIP_MS);
}

static void use_next(struct rotate *r)
{
	struct core *c = r->core;
	struct err err = { 0 }, why = { 0 };

	/* The old one first: whatever ends us between, one of both is there, and the other beside it. */
	if (!name_file(c, file_link, "device.key", "device.key.old", &err)) {
		remove_file(c, "device.key.old");
		end(r, &err);
		return;
	}
	if (!name_file(c, file_rename, "device.key.next", "device.key", &err)) {
		/* It may have its name, and only not for certain: then the old one's goes back. Of one file
		 * with two names this does nothing. */
		if (name_file(c, file_rename, "device.key.old", "device.key", &why))
			remove_file(c, "device.key.old");
		else
			log_error("%s", why.msg);       /* the next start tries both again */
		end(r, &err);
		return;
	}
	r->step = STEP_CONFIRM;
	r->on_new = true;
	r->other = r->next;
	r->next = (struct secret){ 0 };
	swap_keys(r, &r->other);
	look_again(r);
}

static void confirmed(struct rotate *r)
{
	log_note("the device key is another one now");
	remove_file(r->core, "device.key.old");
	end(r, NULL);
}

/* The coordinator heard us by the old key: that is the one. */
static void gave_up(struct rotate *r)
{
	struct core *c = r->core;
	struct err err = { 0 };

	if (!name_file(c, file_rename, "device.key.old", "device.key", &err))
		log_error("%s", err.msg);       /* the next start tries both again */
	err_set(&err, ERR_TIMEOUT, "the coordinator was not reached with the new one");
	end(r, &err);
}

static void confirm(struct rotate *r)
{
	struct core *c = r->core;
	scoped_buf struct buf b = { 0 };

	if (boot_passed(r->until, loop_now(c->loop))) {
		log_warn("the coordinator was not reached with the %s device key: the other one's turn",
		         r->on_new ? "new" : "old");
		client_cancel(take(r->request));
		r->on_new = !r->on_new;
		swap_keys(r, &r->other);
		return;
	}
	/* Until net has the key and its address, nothing gets through. */
	if (c->due || c->first || c->under_way || !c->told || !c->told->device)
		return;
	if (!r->synced) {
		r->synced = true;
		sync_start(c->sync);
	}
	if (r->request)
		return;
	buf_init(&b, ROTATE_BODY_MAX);
	rotate_start_encode(c->public_key, &b);
	if (r->on_new)
		ask(r, "POST", "/v1/rotate/finish", buf_span(&b));
	else
		ask(r, "GET", "/v1/rotate", (struct span){ 0 });
}

static bool is_announced(const struct rotate *r)
{
	const struct map_node *self = map_self(&r->core->map);

	return self && self->next && memcmp(self->next->key, r->next_public, MSG_KEY_LEN) == 0;
}

static void look(void *arg)
{
	struct rotate *r = arg;
	struct boot now = loop_now(r->core->loop);
	bool late = boot_passed(r->until, now);
	struct err err = { 0 };

	if (r->step == STEP_CONFIRM && r->request && boot_passed(boot_add(r->asked, ASK_MS * (SEC_NS / 1000)), now))
		client_cancel(take(r->request));
	switch (r->step) {
	case STEP_NONE:
		return;
	case STEP_CONFIRM:
		confirm(r);
		break;
	case STEP_ANNOUNCED:
		if (is_announced(r) && (late || (!r->request && r->state.waiting == 0))) {
			client_cancel(take(r->request));
			use_next(r);
			return;
		}
		if (!r->request && !late)
			ask(r, "GET", "/v1/rotate", (struct span){ 0 });
		/* fall through */
	case STEP_ASK: case STEP_START: case STEP_PROVE:
		if (late) {
			err_set(&err, ERR_TIMEOUT, "the coordinator did not answer in time");
			end(r, &err);
			return;
		}
		break;
	}
	if (r->step != STEP_NONE)
		look_again(r);
}

static void on_reply(void *arg, const struct client_reply *reply)
{
	struct rotate *r = arg;
	struct err err = { 0 };

	r->request = NULL;
	if (!reply->ok)
		err = *reply->err;
	else if (reply->status >= 300)
		enrol_error_decode(reply->status, reply->body, &err);
	switch (r->step) {
	case STEP_CONFIRM:
		if (r->on_new && err.code == ERR_NONE)
			confirmed(r);
		else if (!r->on_new && reply->ok)
			gave_up(r);
		return;
	case STEP_ASK:
		if (may_change(r, reply, &err) && announce(r, &err))
			return;
		break;
	case STEP_START:
		if (err.code == ERR_NONE && prove(r, reply->body, &err))
			return;
		break;
	case STEP_PROVE: case STEP_ANNOUNCED:
		if (err.code != ERR_NONE || !rotate_state_decode(reply->body, &r->state, &err))
			break;
		if (r->step == STEP_PROVE)
			in_ms(r, READY_MS);
		r->step = STEP_ANNOUNCED;
		return;
	case STEP_NONE:
		return;
	}
	end(r, &err);
}

/* ---- from before ---- */

void rotate_resume(struct rotate *r)
{
	struct core *c = r->core;
	scoped_free char *path = core_state_path(c, "device.key.old");
	uint8_t public_key[MSG_KEY_LEN];
	struct err err = { 0 };

	/* Announced, perhaps, and never used: the coordinator forgets it by itself. */
	remove_file(c, "device.key.next");
	if (!c->enrolment.enrolled || !enrol_device_load(path, &r->other, &err)) {
		if (err.code != ERR_NONE && err.code != ERR_MISSING)
			log_error("%s", err.msg);
		return;
	}
	if (!enrol_device_public(&r->other, public_key, &err) || memcmp(public_key, c->public_key, MSG_KEY_LEN) == 0) {
		secret_done(&r->other);
		remove_file(c, "device.key.old");
		return;
	}
	log_note("the change of the device key goes on");
	world_set_key(c->world, public_key);    /* the one in use is told with the map */
	r->step = STEP_CONFIRM;
	r->on_new = true;
	r->synced = true;
	in_ms(r, FLIP_MS);
	look_again(r);
}
