/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/coordinator.h"

#include "base/log.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const char *from_text(const struct request *r, char buf[IP_TEXT_MAX])
{
	return r->from.family ? ip_text(&r->from, buf) : "";
}

void api_hello(void *ctx, struct request *r)
{
	(void)ctx;
	request_reply(r, 200, "application/json", SPAN("{\"v\":1}\n"));
}

void api_enrol_challenge(struct coordinator *co, struct attempt *a, struct request *r)
{
	struct enrol_challenge c = { 0 };
	scoped_buf struct buf  out = { 0 };
	struct err             err;

	a->start = mem_dup(r->body.ptr, r->body.len);
	a->start_len = r->body.len;
	random_bytes(a->challenge, sizeof(a->challenge));
	enrol_device_new(&a->ephemeral);
	if (!enrol_device_public(&a->ephemeral, a->ephemeral_public, &err)) {
		attempts_drop(co->attempts, a);
		request_error(r, &err);
		return;
	}
	memcpy(c.attempt, a->id, sizeof(c.attempt));
	memcpy(c.challenge, a->challenge, sizeof(c.challenge));
	memcpy(c.ephemeral, a->ephemeral_public, sizeof(c.ephemeral));
	buf_init(&out, 4096);
	enrol_challenge_encode(&c, &out);
	request_json(r, 200, &out);
}

void api_enrol_start(void *ctx, struct request *r)
{
	struct coordinator    *co = ctx;
	struct enrol_start     s;
	struct err             err;

	if (!attempts_may(co->attempts, &r->from, co->conf->attempts_per_minute, &err) ||
	    !enrol_start_decode(buf_span(&r->body), &s, &err)) {
		request_error(r, &err);
		return;
	}
	if (!coordinator_pin_ok(co, &s.pin)) {
		enrol_start_done(&s);
		request_fail(r, ERR_DENIED, "that is not the TLS key of this coordinator");
		return;
	}
	if (!s.enrol_key.len && !s.loopback && !co->conf->cross_device) {
		enrol_start_done(&s);
		request_fail(r, ERR_DENIED, NO_BROWSER_WORDS "; a server enrols with a key: reeve up --key-file FILE");
		return;
	}
	struct attempt *a = attempts_add(co->attempts, ATTEMPT_STARTED, ATTEMPT_START_SEC, &err);
	if (!a) {
		enrol_start_done(&s);
		request_error(r, &err);
		return;
	}
	memcpy(a->device, s.key, sizeof(a->device));
	memcpy(a->name, s.name, sizeof(s.name));
	memcpy(a->os, s.os, sizeof(s.os));
	a->pin = s.pin;
	a->loopback = s.loopback;
	a->can_device = s.device;
	memcpy(a->issuer, s.issuer, sizeof(a->issuer));
	a->from = r->from;
	a->enrol_key = s.enrol_key;
	s.enrol_key = (struct secret){ 0 };
	enrol_start_done(&s);
	api_enrol_challenge(co, a, r);
}

/* who: NULL where no provider said who it is. */
static void refused(struct coordinator *co, const char *name, const char *from, const struct store_person *who,
		    const struct err *err)
{
	struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "enrolment-refused");

	audit_str(b, "name", name);
	audit_str(b, "from", from);
	audit_str(b, "login", who ? who->login : NULL);
	audit_str(b, "issuer", who ? who->issuer : NULL);
	audit_str(b, "sub", who ? who->sub : NULL);
	audit_str(b, "reason", err->msg);
	audit_end(co->audit);
}

static void on_enrolled(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct enrol_op    *op = container_of(job, struct enrol_op, job);
	struct request     *r = http_find(co->http, job->who);

	if (err) {
		refused(co, op->name, op->from, op->by_key ? NULL : &op->person, err);
		if (r)
			request_error(r, err);
		return;
	}
	coordinator_commit(co, job);
	const struct reg_node *n = registry_node(co->reg, op->node);
	const struct reg_user *u = n ? registry_user(co->reg, n->row->user) : NULL;
	struct buf            *b = audit_begin(co->audit, loop_wall(co->loop), "node-enrolled");
	audit_id(b, "node", 'n', op->node);
	audit_str(b, "name", n ? n->row->name : "");
	audit_str(b, "from", op->from);
	audit_str(b, "tags", n ? n->row->tags : "");
	audit_id(b, "key", 'k', n ? n->row->enrol_key : 0);
	audit_id(b, "user", 'u', u ? u->id : 0);
	audit_str(b, "login", u ? u->row->login : "");
	audit_id(b, "session", 's', n && n->session ? n->session->id : 0);
	audit_str(b, "cross_device", n && n->session && n->session->cross_device ? "yes" : NULL);
	audit_str(b, "approved", n && !n->row->approved ? "not yet" : NULL);
	audit_end(co->audit);
	if (r)
		coordinator_reply_node(co, job->who, op->node);
}

static void enrol_by_key(struct coordinator *co, struct request *r, struct attempt *a)
{
	char             from[IP_TEXT_MAX] = "";
	struct enrol_op *op = enrol_op_new(a->device, a->name, a->os,
					   a->from.family ? ip_text(&a->from, from) : "",
					   loop_wall(co->loop), feeds_acked(co->feeds));
	uint8_t          hash[32];
	unsigned         n = 0;

	bool ok =
		EVP_Digest(a->enrol_key.ptr, a->enrol_key.len, hash, &n, EVP_sha256(), NULL) == 1 &&
		n == sizeof(hash);
	/* Its part is over, whatever comes of it: a proof is not used twice. */
	attempts_drop(co->attempts, a);
	if (!ok) {
		op->job.free(&op->job);
		request_fail(r, ERR_CRYPTO, "SHA-256 failed");
		return;
	}
	enrol_op_key(op, hash);
	mem_wipe(hash, sizeof(hash));
	coordinator_submit(co, r, &op->job, on_enrolled);
}

void api_enrol_prove(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct enrol_prove  p;
	struct err          err;
	uint8_t             want[ENROL_KEY_LEN];
	char                from[IP_TEXT_MAX];

	if (!enrol_prove_decode(buf_span(&r->body), &p, &err)) {
		request_error(r, &err);
		return;
	}
	struct attempt *a = attempts_find(co->attempts, span_str(p.attempt));
	if (!a || a->rotates || a->state != ATTEMPT_STARTED) {
		request_fail(r, ERR_MISSING, "there is no such attempt, or it is over");
		return;
	}
	struct enrol_proof_input in = { .pin = a->pin, .start = { a->start, a->start_len } };
	memcpy(in.challenge, a->challenge, sizeof(in.challenge));
	memcpy(in.device, a->device, sizeof(in.device));
	memcpy(in.ephemeral, a->ephemeral_public, sizeof(in.ephemeral));
	if (!enrol_proof(&a->ephemeral, a->device, &in, want, &err) ||
	    !mem_equal_ct(want, p.proof, sizeof(want))) {
		mem_wipe(want, sizeof(want));
		err_set(&err, ERR_CRYPTO, "the proof does not hold");
		refused(co, a->name, from_text(r, from), NULL, &err);
		attempts_drop(co->attempts, a);
		request_error(r, &err);
		return;
	}
	mem_wipe(want, sizeof(want));
	secret_done(&a->ephemeral);
	free(take(a->start));
	if (a->enrol_key.len) {
		enrol_by_key(co, r, a);
		return;
	}
	attempt_move(a, ATTEMPT_PROVED);
	attempt_give(co->attempts, a, co->conf->login_time);
	login_answer(co, r, a);
}

bool enrol_take_ticket(struct coordinator *co, struct request *r, struct attempt *a,
		       const struct enrol_finish *f)
{
	if (!a->loopback && !co->conf->cross_device) {
		attempts_drop(co->attempts, a);
		request_fail(r, ERR_DENIED, NO_BROWSER_WORDS);
		return false;
	}
	if (!a->loopback && !f->ticket[0]) {
		if (a->state == ATTEMPT_APPROVED)
			return attempt_move(a, ATTEMPT_FINISHING);
		struct err            err;
		scoped_buf struct buf out = { 0 };

		err_set(&err, ERR_BUSY, "nobody has approved it yet");
		buf_init(&out, 1024);
		enrol_error_encode(&err, &out);
		request_json(r, 202, &out);
		return false;
	}
	if (a->state != ATTEMPT_APPROVED || !f->ticket[0] ||
	    !mem_equal_ct(a->ticket, f->ticket, sizeof(a->ticket))) {
		/* A ticket is guessed once. */
		if (a->state == ATTEMPT_APPROVED)
			attempts_drop(co->attempts, a);
		request_fail(r, ERR_DENIED, "the ticket is not this attempt's");
		return false;
	}
	return attempt_move(a, ATTEMPT_FINISHING);
}

void enrol_complete(struct coordinator *co, struct request *r, struct attempt *a)
{
	struct arena        mem;
	struct store_person person;
	char                from[IP_TEXT_MAX] = "";

	if (a->from.family)
		ip_text(&a->from, from);
	struct enrol_op *op = enrol_op_new(a->device, a->name, a->os, from, loop_wall(co->loop),
					   feeds_acked(co->feeds));
	arena_init(&mem, 4096);
	coordinator_person(co, a, from, &mem, &person);
	enrol_op_person(op, &person);
	op->unapproved = co->conf->approve_devices;
	op->life = co->conf->node_life;
	arena_done(&mem);
	attempts_drop(co->attempts, a);
	coordinator_submit(co, r, &op->job, on_enrolled);
}

void api_enrol_finish(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct enrol_finish f;
	struct err          err;

	if (!enrol_finish_decode(buf_span(&r->body), &f, &err)) {
		request_error(r, &err);
		return;
	}
	struct attempt *a = attempts_find(co->attempts, span_str(f.attempt));
	if (!a || a->node || a->service)
		request_fail(r, ERR_MISSING, "there is no such attempt, or it is over");
	else if (f.id_token || a->at_device)
		login_evidence(co, r, a, &f);
	else if (enrol_take_ticket(co, r, a, &f))
		enrol_complete(co, r, a);
	enrol_finish_done(&f);
}
