/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/join.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/device_login.h"
#include "daemon/endpoint/self.h"
#include "daemon/endpoint/sync.h"

#include <stdlib.h>
#include <string.h>

enum step { STEP_NONE, STEP_START, STEP_PROVE, STEP_FINISH, STEP_LOGIN, STEP_LOGIN_FINISH, STEP_LOGOUT };

struct join {
	struct core           *core;
	struct client         *client;
	enum step              step;
	struct client_request *request;
	join_fn               *fn;
	void                  *arg;
	/* of the enrolment under way; kept until it has ended or another begins */
	char                   url[ENROL_URL_MAX];
	struct enrol_pin       pins[ENROL_PINS_MAX];
	size_t                 pin_count, pin;          /* the one that is tried */
	struct enrol_start     start;
	struct buf             body;                    /* the start request, byte for byte */
	/* of a login at the device */
	struct enrol_login     login;                   /* as it was asked for */
	struct device_login   *device;                  /* NULL: none */
	struct enrol_reply     pending;                 /* that began it */
	bool                   device_asked;            /* what it says next answers the question */
};

static void on_reply(void *arg, const struct client_reply *r);

struct join *join_new(struct core *c, struct client *client)
{
	struct join *j = mem_alloc(sizeof(*j));

	j->core = c;
	j->client = client;
	return j;
}

static void forget_start(struct join *j)
{
	enrol_start_done(&j->start);
	memset(&j->start, 0, sizeof(j->start));
	buf_wipe_done(&j->body);
	memset(&j->body, 0, sizeof(j->body));
}

static void forget_device(struct join *j)
{
	device_login_free(take(j->device));
	enrol_reply_done(&j->pending);
}

void join_free(struct join *j)
{
	if (!j)
		return;
	client_cancel(j->request);
	forget_device(j);
	forget_start(j);
	free(j);
}

/* Gives the answer once, and is ready for the next question. */
static void answer(struct join *j, const struct enrol_reply *reply, const struct err *err)
{
	join_fn *fn = j->fn;
	void *arg = j->arg;

	j->fn = NULL;
	j->arg = NULL;
	j->step = STEP_NONE;
	if (fn)
		fn(arg, reply, err);
}

static void begin(struct join *j, enum step step, join_fn *fn, void *arg)
{
	struct err err = { 0 };

	client_cancel(j->request);
	j->request = NULL;
	if (j->fn) {
		err_set(&err, ERR_BUSY, "another request took the place of this one");
		answer(j, NULL, &err);
	}
	j->device_asked = false;
	j->step = step;
	j->fn = fn;
	j->arg = arg;
}

void join_forget(struct join *j, void *arg)
{
	if (j->arg == arg) {
		j->fn = NULL;
		j->arg = NULL;
	}
}

static void post_public(struct join *j, const char *path, struct span body)
{
	struct client_spec spec = { .to = CLIENT_PUBLIC, .url = j->url, .pins = &j->pins[j->pin], .pin_count = 1,
		                    .method = "POST", .path = path, .body = body, .max = ENROL_REPLY_MAX,
		                    .on_done = on_reply, .arg = j };
	struct err err = { 0 };

	j->request = client_start(j->client, &spec, &err);
	if (!j->request)
		answer(j, NULL, &err);
}

static void post_mesh(struct join *j, const char *path, struct span body)
{
	struct err err = { 0 };

	j->request = sync_request(j->core, j->client, "POST", path, body, on_reply, j, &err);
	if (!j->request)
		answer(j, NULL, &err);
}

/* The request names the one pin that its connection must match: the proof covers it. */
static void send_start(struct join *j)
{
	j->step = STEP_START;
	j->start.pin = j->pins[j->pin];
	buf_wipe_done(&j->body);
	buf_init(&j->body, ENROL_BODY_MAX);
	enrol_start_encode(&j->start, &j->body);
	post_public(j, "/v1/enrol/start", buf_span(&j->body));
}

void join_up(struct join *j, const struct join_ask *ask, join_fn *fn, void *arg)
{
	struct core *c = j->core;
	struct err err = { 0 };
	char os[SELF_TEXT_MAX];

	begin(j, STEP_START, fn, arg);
	forget_start(j);
	forget_device(j);
	if (c->files->conf->mode != CONF_MESH) {
		err_set(&err, ERR_CONFIG, "this reeved runs without a coordinator (\"identities\" or \"map\" is configured)");
		answer(j, NULL, &err);
		return;
	}
	if (c->enrolment.enrolled) {
		err_set(&err, ERR_EXISTS, "this node is enrolled already");
		answer(j, NULL, &err);
		return;
	}
	if (ask->pin_count == 0 || ask->pin_count > ENROL_PINS_MAX) {
		err_set(&err, ERR_SYNTAX, "want 1 to %d pins of the coordinator", ENROL_PINS_MAX);
		answer(j, NULL, &err);
		return;
	}
	if (!core_state_key(c, true, &err) || !enrol_url_check(span_str(ask->url), j->url, &err) ||
	    !enrolment_issuers_ok(j->url, c->files->conf, &err)) {
		answer(j, NULL, &err);
		return;
	}
	memcpy(j->pins, ask->pins, ask->pin_count * sizeof(*j->pins));
	j->pin_count = ask->pin_count;
	j->pin = 0;
	memcpy(j->start.key, c->public_key, ENROL_KEY_LEN);
	if (*ask->name && !map_name_ok(span_str(ask->name))) {
		err_set(&err, ERR_SYNTAX, "a node's name is a DNS label: a-z, 0-9, '-'");
		answer(j, NULL, &err);
		return;
	}
	if (*ask->name)
		snprintf(j->start.name, sizeof(j->start.name), "%s", ask->name);
	else
		self_name(j->start.name);
	self_os(os);
	snprintf(j->start.os, sizeof(j->start.os), "%.*s", ENROL_OS_MAX, os);
	if (ask->enrol_key.len)
		secret_init(&j->start.enrol_key, ask->enrol_key.ptr, ask->enrol_key.len);
	j->start.loopback = ask->loopback;
	j->start.device = true;
	snprintf(j->start.issuer, sizeof(j->start.issuer), "%s", ask->issuer);
	send_start(j);
}

static bool on_challenge(struct join *j, const struct client_reply *r, struct err *err)
{
	struct core *c = j->core;
	struct enrol_challenge ch;
	struct enrol_proof_input in = { 0 };
	struct enrol_prove prove = { 0 };
	scoped_buf struct buf b = { 0 };

	if (!enrol_challenge_decode(r->body, &ch, err))
		return false;
	memcpy(in.challenge, ch.challenge, sizeof(in.challenge));
	memcpy(in.device, c->public_key, sizeof(in.device));
	memcpy(in.ephemeral, ch.ephemeral, sizeof(in.ephemeral));
	in.pin = r->pin;
	in.start = buf_span(&j->body);
	memcpy(prove.attempt, ch.attempt, sizeof(prove.attempt));
	if (!enrol_proof(&c->key, ch.ephemeral, &in, prove.proof, err))
		return false;
	buf_init(&b, ENROL_BODY_MAX);
	enrol_prove_encode(&prove, &b);
	j->step = STEP_PROVE;
	post_public(j, "/v1/enrol/prove", buf_span(&b));
	return true;
}

/* Enrolled: our own key and an address of ours, or it is not our enrolment. */
static bool take_enrolment(struct join *j, const struct enrol_reply *reply, struct err *err)
{
	struct core *c = j->core;
	struct enrolment e = { .enrolled = true };
	scoped_buf struct buf b = { 0 };
	struct map map;

	if (memcmp(reply->node->key, c->public_key, MAP_KEY_LEN) != 0)
		return err_set(err, ERR_PEER, "the coordinator answered for another key");
	memcpy(e.url, j->url, sizeof(e.url));
	memcpy(e.pins, j->pins, sizeof(e.pins));
	e.pin_count = j->pin_count;
	e.node = reply->node->id;
	e.control = reply->control;
	buf_init(&b, MAP_NODE_LINE_MAX * 4);
	enrolment_first_map(reply, loop_wall(c->loop), &b);
	map_init(&map);
	if (!map_load(&map, buf_span(&b), err)) {
		map_done(&map);
		return false;
	}
	if (!core_state_store_enrolment(c, &e, err)) {
		map_done(&map);
		return false;
	}
	map_done(&c->map);
	c->map = map;
	if (!core_state_store_map(c, err))
		log_error("%s", err->msg);
	log_note("enrolled as node %s", reply->node->name.ptr);
	core_state_heard(c);
	core_map_changed(c);
	c->store_map = true;            /* again, with whose addresses are whose */
	sync_start(c->sync);
	return true;
}

/* ---- the login itself, where it is made here ---- */

static void on_device_started(void *arg, const struct err *err)
{
	struct join *j = arg;

	if (!j->device_asked)
		return;
	if (err)
		answer(j, NULL, err);
	else
		answer(j, &j->pending, NULL);
}

static void begin_device(struct join *j, struct enrol_reply *reply)
{
	struct err err = { 0 };
	uint16_t port = j->step == STEP_LOGIN ? j->login.loopback : j->start.loopback;

	forget_device(j);
	j->pending = *reply;
	*reply = (struct enrol_reply){ 0 };
	j->device_asked = true;
	j->device = device_login_new(j->core, j->pending.device, port, on_device_started, j, &err);
	if (!j->device)
		answer(j, NULL, &err);
}

static void post_finish(struct join *j, const struct enrol_finish *f)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	buf_init(&b, ENROL_BODY_MAX);
	enrol_finish_encode(f, &b);
	if (b.over) {
		err_set(&err, ERR_LIMIT, "the evidence is larger than %d bytes", ENROL_BODY_MAX);
		answer(j, NULL, &err);
	} else if (j->step == STEP_FINISH) {
		post_public(j, "/v1/enrol/finish", buf_span(&b));
	} else {
		post_mesh(j, "/v1/login/finish", buf_span(&b));
	}
	mem_wipe(b.ptr, b.len);
}

static void start_login(struct join *j)
{
	scoped_buf struct buf b = { 0 };

	j->step = STEP_LOGIN;
	j->device_asked = false;
	buf_init(&b, ENROL_BODY_MAX);
	enrol_login_encode(&j->login, &b);
	post_mesh(j, "/v1/login/start", buf_span(&b));
}

static void on_device_finished(void *arg, struct enrol_finish *evidence, const struct err *err)
{
	struct join *j = arg;

	if (!j->device_asked)
		return;
	/* The provider knows nobody in that browser any more: the answer is the ordinary login. */
	if (err && j->step == STEP_LOGIN_FINISH && j->login.silent && device_login_wants_person(j->device)) {
		j->login.silent = false;
		memcpy(j->login.issuer, j->pending.device->called.name, sizeof(j->login.issuer));
		start_login(j);
		return;
	}
	if (err) {
		answer(j, NULL, err);
		return;
	}
	memcpy(evidence->attempt, j->pending.attempt, sizeof(evidence->attempt));
	post_finish(j, evidence);
}

static void finish(struct join *j, const struct enrol_finish *f, struct span query)
{
	struct err err = { 0 };

	if (!query.len) {
		post_finish(j, f);
	} else if (!j->device || strcmp(f->attempt, j->pending.attempt) != 0) {
		err_set(&err, ERR_NOTNOW, "no such login at the device is under way");
		answer(j, NULL, &err);
	} else {
		j->device_asked = true;
		device_login_finish(j->device, query, on_device_finished, j);
	}
}

const char *join_url(const struct join *j)
{
	return j->device ? device_login_url(j->device) : NULL;
}

const char *join_state(const struct join *j)
{
	return j->device ? device_login_state(j->device) : NULL;
}

static void on_reply(void *arg, const struct client_reply *r)
{
	struct join *j = arg;
	struct enrol_reply reply = { 0 };
	struct err err = { 0 };
	enum step step = j->step;

	j->request = NULL;
	if (!r->ok) {
		err = *r->err;
		/* A coordinator that changes its certificate has two pins for a while. */
		if (step == STEP_START && err.code == ERR_CRYPTO && j->pin + 1 < j->pin_count) {
			j->pin++;
			send_start(j);
			return;
		}
		answer(j, NULL, &err);
		return;
	}
	if (r->status == 202) {
		err_set(&err, ERR_BUSY, "not approved yet");
		answer(j, NULL, &err);
		return;
	}
	if (r->status >= 300) {
		enrol_error_decode(r->status, r->body, &err);
		answer(j, NULL, &err);
		return;
	}
	switch (step) {
	case STEP_START:
		if (!on_challenge(j, r, &err))
			answer(j, NULL, &err);
		return;
	case STEP_LOGOUT:
		enrol_logout_decode(r->body, reply.url);
		answer(j, &reply, NULL);
		return;
	case STEP_PROVE: case STEP_FINISH: case STEP_LOGIN: case STEP_LOGIN_FINISH:
		if (!enrol_reply_decode(r->body, &reply, &err) ||
		    (reply.done && (step == STEP_PROVE || step == STEP_FINISH) && !take_enrolment(j, &reply, &err)))
			answer(j, NULL, &err);
		else if (reply.device)
			begin_device(j, &reply);
		else
			answer(j, &reply, NULL);
		enrol_reply_done(&reply);
		return;
	case STEP_NONE:
		return;
	}
}

void join_up_finish(struct join *j, const struct enrol_finish *f, struct span query, join_fn *fn, void *arg)
{
	struct err err = { 0 };

	begin(j, STEP_FINISH, fn, arg);
	if (j->pin_count == 0 || !*j->url) {
		err_set(&err, ERR_NOTNOW, "no enrolment is under way");
		answer(j, NULL, &err);
		return;
	}
	finish(j, f, query);
}

void join_login(struct join *j, const struct enrol_login *l, join_fn *fn, void *arg)
{
	begin(j, STEP_LOGIN, fn, arg);
	forget_device(j);
	j->login = *l;
	start_login(j);
}

void join_login_finish(struct join *j, const struct enrol_finish *f, struct span query, join_fn *fn, void *arg)
{
	begin(j, STEP_LOGIN_FINISH, fn, arg);
	finish(j, f, query);
}

void join_logout(struct join *j, join_fn *fn, void *arg)
{
	begin(j, STEP_LOGOUT, fn, arg);
	forget_device(j);
	post_mesh(j, "/v1/logout", SPAN("{}"));
}
