/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A node that gets another key (doc/identity 5.11). It proves that
 * it holds the old key and the new one, since not everybody who may send from a node holds its key; and it
 * says when it uses the new one. Whether endpoints believe it is between them and the old key: its
 * word to each goes through here. */
#include "daemon/coordinator/coordinator.h"

#include "base/encode.h"
#include "base/mem.h"
#include "daemon/control/rotate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROTATE_ANNOUNCED_SEC = 600,             /* from announcement to use: a machine's time, and then some */
	ROTATE_SHOWN_SEC     = 7 * 86400,       /* that the key was another one: longer than evidence is good anywhere */
};

static bool may(struct coordinator *co, struct request *r, const struct reg_node *n)
{
	struct err err;

	if (rates_may(co->reports, span_of(&n->id, sizeof(n->id)), REPORTS_PER_MINUTE, loop_now(co->loop), &err))
		return true;
	request_error(r, &err);
	return false;
}

static void note(struct store_job *job, const char *event, const struct reg_node *n, const uint8_t key[32])
{
	scoped_buf struct buf text = { 0 };
	struct buf b = { 0 };

	buf_init(&text, 64);
	base64_add(&text, span_of(key, 32));
	audit_note(&b, event);
	audit_id(&b, "node", 'n', n->id);
	audit_str(&b, "name", n->row->name);
	audit_id(&b, "user", 'u', n->row->user);
	audit_str(&b, "device_key", text.ptr);
	job->note = buf_take(&b);
}

/* ---- announced ---- */

void api_rotate_start(void *ctx, struct request *r)
{
	struct coordinator    *co = ctx;
	struct reg_node       *n = api_caller(co, r);
	uint8_t                key[ENROL_KEY_LEN];
	struct err             err;

	if (!n || !may(co, r, n))
		return;
	if (!rotate_start_decode(buf_span(&r->body), key, &err)) {
		request_error(r, &err);
		return;
	}
	struct attempt *a = attempts_add(co->attempts, ATTEMPT_STARTED, ATTEMPT_START_SEC, &err);
	if (!a) {
		request_error(r, &err);
		return;
	}
	a->node = n->id;
	a->rotates = true;
	memcpy(a->device, key, sizeof(a->device));
	api_enrol_challenge(co, a, r);
}

static bool proved(const struct attempt *a, const uint8_t key[ENROL_KEY_LEN], const uint8_t proof[ENROL_KEY_LEN],
		   const char *which, struct err *err)
{
	struct enrol_proof_input in = { .start = { a->start, a->start_len } };
	uint8_t                  want[ENROL_KEY_LEN];

	memcpy(in.challenge, a->challenge, sizeof(in.challenge));
	memcpy(in.device, key, sizeof(in.device));
	memcpy(in.ephemeral, a->ephemeral_public, sizeof(in.ephemeral));
	bool ok = enrol_proof(&a->ephemeral, key, &in, want, err);
	if (ok && !mem_equal_ct(want, proof, sizeof(want)))
		ok = err_set(err, ERR_CRYPTO, "the proof of the %s key does not hold", which);
	mem_wipe(want, sizeof(want));
	return ok;
}

static struct rotate_state state_of(const struct coordinator *co, const struct reg_node *n)
{
	struct rotate_state s = { 0 };

	for (size_t i = 0; i < n->next.n; i++) {
		const struct reg_node *e = registry_node(co->reg, n->next.list[i].node);

		if (!e)
			continue;
		s.away += !e->online;
		s.waiting += e->online && !feeds_is_acked(co->feeds, e->id, n->next_seq);
	}
	return s;
}

static void reply_state(const struct coordinator *co, struct request *r, const struct reg_node *n)
{
	struct rotate_state   s = state_of(co, n);
	scoped_buf struct buf out = { 0 };

	buf_init(&out, ROTATE_BODY_MAX);
	rotate_state_encode(&s, &out);
	request_json(r, 200, &out);
}

static void on_begun(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct rotate_op   *op = container_of(job, struct rotate_op, job);
	struct request     *r = http_find(co->http, job->who);

	audit_write(co->audit, loop_wall(co->loop), job->note, err);
	if (err) {
		if (r)
			request_error(r, err);
		return;
	}
	coordinator_commit(co, job);
	struct reg_node *n = registry_node(co->reg, op->node);
	if (r && n)
		reply_state(co, r, n);
	else if (r)
		request_fail(r, ERR_MISSING, "this node is not enrolled");
}

void api_rotate_prove(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	struct rotate_prove p = { 0 };
	struct err          err;

	if (!n)
		return;
	if (!rotate_prove_decode(buf_span(&r->body), &p, &err)) {
		request_error(r, &err);
		return;
	}
	struct attempt *a = attempts_find(co->attempts, span_str(p.prove.attempt));
	if (!a || !a->rotates || a->node != n->id || a->state != ATTEMPT_STARTED) {
		request_fail(r, ERR_MISSING, "there is no such attempt of this node, or it is over");
	} else if (!proved(a, n->row->key, p.old, "old", &err) ||
		   !proved(a, a->device, p.prove.proof, "new", &err)) {
		struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "node-key-refused");

		audit_id(b, "node", 'n', n->id);
		audit_str(b, "name", n->row->name);
		audit_str(b, "reason", err.msg);
		audit_end(co->audit);
		/* A proof is tried once. */
		attempts_drop(co->attempts, a);
		request_error(r, &err);
	} else {
		struct wall       now = loop_wall(co->loop);
		struct rotate_op *op = rotate_op_new(n->id, ROTATE_BEGIN, now);
		struct buf        list;

		memcpy(op->key, a->device, sizeof(op->key));
		op->until.sec = now.sec + ROTATE_ANNOUNCED_SEC;
		attempts_drop(co->attempts, a);
		buf_init(&list, ROTATE_PROVE_MAX);
		for (size_t i = 0; i < p.n; i++) {
			buf_addf(&list, "%s%" PRIu64 " ", i ? "\n" : "", p.list[i].node);
			hex_add(&list, span_of(p.list[i].mac, ROTATE_VOUCH_LEN));
		}
		if (list.len) {
			free(op->vouches);
			op->vouches = buf_take(&list);
		}
		buf_done(&list);
		note(&op->job, "node-key-announced", n, op->key);
		coordinator_submit(co, r, &op->job, on_begun);
	}
	rotate_prove_done(&p);
}

void api_rotate_state(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);

	if (!n)
		return;
	if (n->row->has_next)
		reply_state(co, r, n);
	else
		request_fail(r, ERR_MISSING, "no key is announced for this node");
}

static bool lists(const struct reg_node *host, uint64_t node)
{
	char id[MAP_ID_MAX];

	map_id_text('n', node, id);
	for (size_t i = 0; i < host->report.lists.count; i++)
		if (span_eq(host->report.lists.list[i], span_str(id)))
			return true;
	return false;
}

void api_rotate_due(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	struct rotate_due   d = {.max_age = co->conf->key_max_age};
	scoped_buf struct buf out = { 0 };
	size_t              pos = 0;

	if (!n || !may(co, r, n))
		return;
	for (const struct reg_node *host; (host = registry_next_node(co->reg, &pos));)
		if (host != n && lists(host, n->id))
			rotate_due_add(&d, host->row->name);
	buf_init(&out, ROTATE_BODY_MAX);
	rotate_due_encode(&d, &out);
	request_json(r, 200, &out);
}

/* ---- in use ---- */

static void on_finished(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct rotate_op   *op = container_of(job, struct rotate_op, job);
	struct request     *r = http_find(co->http, job->who);

	if (err || !op->again)
		audit_write(co->audit, loop_wall(co->loop), job->note, err);
	if (!err)
		coordinator_commit(co, job);
	if (r && err)
		request_error(r, err);
	else if (r)
		request_reply(r, 200, "application/json", SPAN("{}\n"));
}

void api_rotate_finish(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct reg_node    *n = api_caller(co, r);
	uint8_t             key[ENROL_KEY_LEN];
	struct err          err;

	if (!n)
		return;
	if (!rotate_start_decode(buf_span(&r->body), key, &err)) {
		request_error(r, &err);
		return;
	}
	struct rotate_op *op = rotate_op_new(n->id, ROTATE_FINISH, loop_wall(co->loop));
	memcpy(op->key, key, sizeof(op->key));
	op->until.sec = op->now.sec + ROTATE_SHOWN_SEC;
	note(&op->job, "node-key-changed", n, key);
	coordinator_submit(co, r, &op->job, on_finished);
}
