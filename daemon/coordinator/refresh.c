/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/refresh.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/coordinator/coordinator.h"
#include "daemon/coordinator/seal.h"

#include <stdlib.h>
#include <string.h>

enum { LOOK_SEC = 1, IDLE_LOOK_SEC = 5 };     /* the latter where nothing is due that soon */

/* A session whose provider is being asked, or did not answer. */
struct question {
	struct refresher *f;
	uint64_t          session;
	struct idp_op    *op;           /* NULL: waits for `again` */
	struct boot       again;
	unsigned          failures;
	bool              done;         /* answered; goes once that is on disk */
};

struct refresher {
	struct coordinator *co;
	struct dict        *list;       /* session id -> question */
	struct loop_timer  *timer;
	size_t              asking;
	bool                draining;
	refresher_idle_fn  *idle;       /* waits for asking to be 0 */
};

static struct span key_of(const uint64_t *id)
{
	return span_of(id, sizeof(*id));
}

static void drop(struct question *q)
{
	if (q->op)
		q->f->asking--;
	idp_cancel(q->op);
	dict_remove(q->f->list, key_of(&q->session));
	free(q);
}

/* When it was last known that the provider stands by them. */
static int64_t good_at(const struct session_row *s)
{
	return s->checked.sec > s->created.sec ? s->checked.sec : s->created.sec;
}

/* Between three quarters of the time and all of it, always the same for one session: a
 * thousand who logged in at nine are not asked about in one second. */
static int64_t due_at(const struct refresher *f, const struct session_row *s)
{
	int64_t every = f->co->conf->refresh_every;
	uint64_t h = hash_bytes(&f->co->reg->hash, &s->id, sizeof(s->id));

	return good_at(s) + every - (int64_t)(h % (uint64_t)(every / 4 + 1));
}

static void on_written(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	uint64_t            session = job->who;
	struct question    *q = dict_find(co->refresher->list, key_of(&session));

	if (q && q->done)
		drop(q);
	if (job->note)
		audit_write(co->audit, loop_wall(co->loop), job->note, err);
	if (err)
		log_warn("what a provider said of s%llu: %s", (unsigned long long)session, err->msg);
	else
		coordinator_commit(co, job);
}

static void end_session(struct coordinator *co, const struct session_row *s, const char *why,
			const char *reason)
{
	struct end_op *op = end_op_new(why, loop_wall(co->loop));
	struct buf     b = { 0 };
	struct err     err;

	op->session = s->id;
	op->job.who = s->id;
	op->job.done = on_written;
	audit_note(&b, "session-ended");
	audit_id(&b, "session", 's', s->id);
	audit_id(&b, "node", 'n', s->node);
	audit_id(&b, "user", 'u', s->user);
	audit_str(&b, "why", why);
	audit_str(&b, "detail", reason);
	op->job.note = buf_take(&b);
	if (!store_submit(co->store, &op->job, &err))
		log_error("ending s%llu: %s", (unsigned long long)s->id, err.msg);
}

static const struct session_row *row_of(const struct refresher *f, uint64_t session)
{
	const struct reg_node *n = registry_by_session(f->co->reg, session);

	return n ? n->session : NULL;
}

/* Not now: later, and less often each time. */
static void postpone(struct question *q, const char *why)
{
	struct refresher *f = q->f;
	int64_t           wait = REFRESH_RETRY_SEC;

	for (unsigned i = 0; i < q->failures && wait < f->co->conf->refresh_every; i++)
		wait *= 2;
	if (wait > f->co->conf->refresh_every)
		wait = f->co->conf->refresh_every;
	if (q->failures++ == 0)
		log_warn("whether the provider stands by s%llu cannot be asked: %s",
			 (unsigned long long)q->session, why);
	q->again = boot_add(loop_now(f->co->loop), wait * SEC_NS);
}

/* What ends a session, of all the ways to refuse: RFC 6749 5.2. */
static bool is_no(const struct login_refusal *why)
{
	return strcmp(why->error, "invalid_grant") == 0 || why->token == TOKEN_SUB;
}

static void answered(struct refresher *f, struct question *q, struct login_result *r,
		     const struct login_refusal *why)
{
	struct coordinator       *co = f->co;
	const struct session_row *s = row_of(f, q->session);
	scoped_free char         *sealed = NULL;
	struct err                err;

	if (!s) {
		drop(q);
		return;
	}
	if (why && is_no(why)) {
		q->done = true;
		end_session(co, s, "provider-refused", why->err.msg);
		return;
	}
	if (why)
		postpone(q, why->err.msg);
	if (!r)
		return;
	if (r->refresh_token.len)
		sealed = seal_token(co->seal, s->id, secret_span(&r->refresh_token));
	struct checked_op *op = checked_op_new(s->id, sealed, why ? s->checked : loop_wall(co->loop));
	op->job.who = s->id;
	op->job.done = on_written;
	q->done = !why;
	if (!store_submit(co->store, &op->job, &err)) {
		q->done = false;
		postpone(q, err.msg);
	}
}

static void on_idle(void *arg)
{
	struct refresher  *f = arg;
	refresher_idle_fn *fn = take(f->idle);

	if (fn)
		fn(f->co);
}

static void on_answer(void *arg, struct login_result *r, const struct login_refusal *why)
{
	struct question  *q = arg;
	struct refresher *f = q->f;

	q->op = NULL;
	f->asking--;
	answered(f, q, r, why);
	/* Not from inside the providers' code: fn may do away with it. */
	if (!f->asking && f->idle)
		loop_later(f->co->loop, on_idle, f);
}

static struct question *question_of(struct refresher *f, uint64_t session)
{
	struct question *q = dict_find(f->list, key_of(&session));

	if (!q) {
		q = mem_alloc(sizeof(*q));
		q->f = f;
		q->session = session;
		dict_put(f->list, key_of(&q->session), q);
	}
	return q;
}

static void ask(struct refresher *f, const struct session_row *s)
{
	struct coordinator *co = f->co;
	struct secret       token = { 0 };
	struct question    *q = question_of(f, s->id);
	struct err          err = { 0 };

	if (!seal_open_text(co->seal, SEAL_REFRESH, s->id, span_str(s->refresh), &token, &err)) {
		postpone(q, err.msg);
		return;
	}
	f->asking++;
	q->op = idp_refresh(co->idp, s->provider, s->sub, s->device, secret_span(&token), on_answer, q);
	secret_done(&token);
}

/* One session: nothing to do, too long unanswered, or due. */
static void look(struct refresher *f, const struct session_row *s)
{
	struct coordinator *co = f->co;
	struct question    *q = dict_find(f->list, key_of(&s->id));
	int64_t             now = loop_wall(co->loop).sec;

	if (!s->refresh[0] || !s->sub[0] || (q && (q->op || q->done)))
		return;
	if (now >= good_at(s) + co->conf->refresh_patience) {
		q = question_of(f, s->id);
		q->done = true;
		end_session(co, s, "provider-silent", NULL);
		return;
	}
	if (!f->draining && f->asking < REFRESH_AT_ONCE && now >= due_at(f, s) &&
	    (!q || boot_passed(q->again, loop_now(co->loop))))
		ask(f, s);
}

static void forget_ended(struct refresher *f)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	while (dict_next(f->list, &pos, &key, &v)) {
		struct question *q = v;

		if (!q->op && !q->done && !row_of(f, q->session))
			drop(q);
	}
}

static void on_timer(void *arg)
{
	struct refresher   *f = arg;
	struct coordinator *co = f->co;
	size_t              pos = 0;

	if (co->conf->refresh_every)
		for (struct reg_node *n; (n = registry_next_node(co->reg, &pos));)
			if (n->session)
				look(f, n->session);
	forget_ended(f);
	loop_timer_after(f->timer, (f->asking || co->conf->refresh_every < 60 ? LOOK_SEC : IDLE_LOOK_SEC) * SEC_NS);
}

struct refresher *refresher_new(struct coordinator *co)
{
	struct refresher *f = mem_alloc(sizeof(*f));

	f->co = co;
	f->list = dict_new();
	f->timer = loop_timer_new(co->loop, on_timer, f);
	return f;
}

void refresher_start(struct refresher *f)
{
	loop_timer_after(f->timer, LOOK_SEC * SEC_NS);
}

void refresher_drain(struct refresher *f, refresher_idle_fn *fn)
{
	f->draining = true;
	f->idle = f->asking ? fn : NULL;
	if (!f->asking)
		fn(f->co);
}

void refresher_resume(struct refresher *f)
{
	f->draining = false;
}

void refresher_free(struct refresher *f)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	if (!f)
		return;
	while (dict_next(f->list, &pos, &key, &v)) {
		struct question *q = v;

		idp_cancel(q->op);
		free(q);
	}
	dict_free(f->list);
	loop_timer_free(f->timer);
	free(f);
}
