/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/ldap_feed.h"

#include "daemon/directory/reader.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	AGAIN_SEC = 10,         /* after a job that failed */
	KEEP_SEC = 10,          /* what changes nobody's groups is kept this much later */
};

struct feed {
	struct ldap_feeds  *all;
	char               *source;             /* "ldap:campus" */
	struct reader      *reader;
	struct loop_timer  *again;
	struct roster_list *brought;            /* what the database has; NULL: not known, all is said again */
	struct roster_list *sending, *next;     /* in a job; to come after it */
	struct reader_kept  kept;               /* to be kept with the next job */
	struct loop_timer  *keep;
	bool                keep_set, keep_due;
	bool                busy;               /* a job is under way */
	bool                has_kept;           /* the database may have something */
	enum reader_state   state;
	uint64_t            changes;
};

struct ldap_feeds {
	struct coordinator *co;
	uint64_t            id;                 /* in jobs: they may outlive us */
	struct feed        *list;
	size_t              count;
};

/* Both lists are sorted: what is new or other is said, what is missing is gone. */
static struct source_op *difference(const struct feed *f, const struct roster_list *to)
{
	struct coordinator      *co = f->all->co;
	const struct roster_list none = { 0 }, *from = f->brought ? f->brought : &none;
	struct source_op *op = source_op_new(f->source, !f->brought, groups_rules(co), loop_wall(co->loop));
	size_t            i = 0, k = 0;

	while (i < from->count || k < to->count) {
		const struct roster_person *a = i < from->count ? &from->people[i] : NULL;
		const struct roster_person *b = k < to->count ? &to->people[k] : NULL;
		int order = !a ? 1 : !b ? -1 : strcmp(a->login, b->login);

		if (order < 0) {
			source_op_gone(op, a->login);
		} else if (order > 0 || strcmp(a->groups, b->groups) != 0 || a->disabled != b->disabled) {
			source_op_said(op, b->login, b->groups, b->disabled);
		}
		i += order <= 0;
		k += order >= 0;
	}
	return op;
}

static void bring(struct feed *f);

static struct feed *feed_of(struct ldap_feeds *all, const struct store_job *job, const char *source)
{
	if (!all || all->id != job->who)
		return NULL;            /* the configuration was read again meanwhile */
	for (size_t i = 0; i < all->count; i++)
		if (strcmp(all->list[i].source, source) == 0)
			return &all->list[i];
	return NULL;
}

static void kept_give(struct feed *f, struct source_op *op)
{
	op->kept.keep = !reader_kept_none(&f->kept);
	if (op->kept.keep)
		f->has_kept = f->kept.mark.len > 0;
	op->kept.whole = f->kept.whole;
	swap(op->kept.entries, f->kept.entries);
	swap(op->kept.mark, f->kept.mark);
	reader_kept_done(&f->kept);
	f->keep_due = false;
}

/* Nothing of it was written: it comes before what there is since. */
static void kept_back(struct feed *f, struct source_op *op)
{
	struct reader_kept k = { .whole = op->kept.whole };

	if (!op->kept.keep)
		return;
	f->has_kept = true;
	swap(k.entries, op->kept.entries);
	swap(k.mark, op->kept.mark);
	reader_kept_join(&k, &f->kept);
	f->kept = k;
}

static void on_brought(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct source_op   *op = container_of(job, struct source_op, job);
	struct feed        *f = feed_of(co->ldap, job, op->source);

	if (err) {
		log_error("%s: %s", op->source, err->msg);
	} else {
		groups_say_held(co, &job->changes);
		groups_say_ended(co, &job->changes);
		coordinator_commit(co, job);
		if (op->changed)
			log_info("%s: %zu people changed, %zu sessions ended", op->source,
				 op->changed, op->ended);
	}
	if (!f)
		return;
	struct roster_list *sent = take(f->sending);
	f->busy = false;
	if (!err) {
		if (sent) {
			roster_list_free(f->brought);
			f->brought = sent;
			f->changes++;
		}
		bring(f);
		return;
	}
	kept_back(f, op);
	/* Nothing of it is in the database; what is there is asked for by saying everything. */
	roster_list_free(take(f->brought));
	if (f->next || !sent)
		roster_list_free(sent);
	else
		f->next = sent;
	if (!f->next)
		f->keep_due = true;
	loop_timer_after(f->again, AGAIN_SEC * SEC_NS);
}

/* What changed nobody's groups may wait for what does. */
static void keep_later(struct feed *f)
{
	if (!f->kept.mark.len && !f->has_kept)
		reader_kept_done(&f->kept);
	if (reader_kept_none(&f->kept) || f->keep_set)
		return;
	f->keep_set = true;
	loop_timer_after(f->keep, KEEP_SEC * SEC_NS);
}

static void bring(struct feed *f)
{
	struct coordinator *co = f->all->co;
	struct source_op   *op;
	struct err          err;

	if (f->busy || !co->loaded || (!f->next && !f->keep_due))
		return;
	if (f->next)
		op = difference(f, f->next);
	else
		op = source_op_new(f->source, false, groups_rules(co), loop_wall(co->loop));
	if (!op->whole && !op->count && !op->gone_count) {
		if (f->next) {
			roster_list_free(f->brought);
			f->brought = take(f->next);
		}
		if (!f->keep_due || reader_kept_none(&f->kept)) {
			op->job.free(&op->job);
			f->keep_due = false;
			keep_later(f);
			return;
		}
	}
	op->job.who = f->all->id;
	op->job.done = on_brought;
	f->busy = true;
	f->sending = take(f->next);
	kept_give(f, op);
	if (store_submit(co->store, &op->job, &err))
		return;
	log_warn("%s: %s", f->source, err.msg);
	f->busy = false;
	f->next = take(f->sending);
	/* What was to be kept went with the job: nothing is, until everything is read again. */
	f->has_kept = f->kept.whole = true;
	loop_timer_after(f->again, AGAIN_SEC * SEC_NS);
}

static void on_keep(void *arg)
{
	struct feed *f = arg;

	f->keep_set = false;
	f->keep_due = true;
	bring(f);
}

static void on_again(void *arg)
{
	bring(arg);
}

static void say_state(struct feed *f, const struct reader_status *s)
{
	struct coordinator *co = f->all->co;
	struct buf         *b;

	if (s->state == f->state)
		return;
	/* A server that is away once is said once. */
	bool away = s->state == READER_AWAY, was = f->state == READER_AWAY;
	f->state = s->state;
	if (away)
		log_warn("%s is away, what it said before stands: %s", f->source, s->error);
	else if (s->state != READER_CONNECTING)
		log_note("%s: %s", f->source, reader_state_name(s->state));
	if (away == was)
		return;
	b = audit_begin(co->audit, loop_wall(co->loop), away ? "directory-away" : "directory-back");
	audit_str(b, "source", f->source);
	audit_str(b, "reason", s->error);
	audit_end(co->audit);
}

static void on_reader(void *arg)
{
	struct feed         *f = arg;
	struct reader_status s;
	struct roster_list  *list = reader_take(f->reader, &f->kept);

	reader_status(f->reader, &s);
	say_state(f, &s);
	if (!list)
		return;
	if (list->twice || list->cut)
		log_warn("%s: %zu logins have several entries and so no groups, %zu people are in "
			 "groups nested too deep, or in too many",
			 f->source, list->twice, list->cut);
	roster_list_free(f->next);
	f->next = list;
	bring(f);
}

static void on_forgotten(void *owner, struct store_job *job, const struct err *err)
{
	if (err)
		log_error("forgetting directories that are configured no more: %s", err->msg);
	else
		coordinator_commit(owner, job);
}

struct ldap_feeds *ldap_feeds_new(struct coordinator *co, const struct conf *conf, struct err *err)
{
	const struct conf_map *rows = &conf->ldap;
	struct ldap_feeds     *all = mem_alloc(sizeof(*all));

	random_bytes(&all->id, sizeof(all->id));
	all->co = co;
	all->list = mem_calloc(rows->count + 1, sizeof(*all->list));
	for (size_t i = 0; i < rows->count; i++) {
		struct feed *f = &all->list[i];
		struct buf   source;

		buf_init(&source, 128);
		buf_addf(&source, "ldap:%s", rows->names[i]);
		f->all = all;
		f->source = buf_take(&source);
		f->state = READER_CONNECTING;
		f->has_kept = true;
		f->again = loop_timer_new(co->loop, on_again, f);
		f->keep = loop_timer_new(co->loop, on_keep, f);
		all->count++;
		f->reader = reader_new(co->loop, rows->names[i],
				       (const struct reader_row *)rows->items + i, on_reader, f, err);
		if (!f->reader) {
			ldap_feeds_free(all, false);
			return NULL;
		}
	}
	return all;
}

static void begin(struct feed *f, struct reader_kept *from)
{
	struct err err;

	if (!reader_start(f->reader, from, &err))
		log_error("%s: %s", f->source, err.msg);
}

static void on_kept(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct kept_op     *op = container_of(job, struct kept_op, job);
	struct feed        *f = feed_of(co->ldap, job, op->source);
	struct reader_kept  from = { 0 };

	if (err)
		log_error("%s: everything is read again: %s", op->source, err->msg);
	if (!f)
		return;
	if (!err) {
		swap(from.entries, op->entries);
		swap(from.mark, op->mark);
	}
	begin(f, &from);
	reader_kept_done(&from);
}

static void resume(struct feed *f)
{
	struct coordinator *co = f->all->co;
	struct kept_op     *op = kept_op_new(f->source);
	struct reader_kept  none = { 0 };
	struct err          err;

	op->job.who = f->all->id;
	op->job.done = on_kept;
	if (store_submit(co->store, &op->job, &err))
		return;
	log_warn("%s: %s", f->source, err.msg);
	begin(f, &none);
}

void ldap_feeds_start(struct ldap_feeds *all, bool from_kept)
{
	struct coordinator *co = all->co;
	struct buf          keep;
	struct err          err;

	buf_init(&keep, 4096);
	buf_add_str(&keep, "");
	for (size_t i = 0; i < all->count; i++) {
		buf_add_str(&keep, all->list[i].source);
		buf_add_char(&keep, '\n');
	}
	struct sources_op *op = sources_op_new(keep.ptr, loop_wall(co->loop));
	op->job.done = on_forgotten;
	if (!store_submit(co->store, &op->job, &err))
		log_warn("%s", err.msg);
	buf_done(&keep);
	for (size_t i = 0; i < all->count; i++) {
		struct reader_kept none = { 0 };

		if (from_kept)
			resume(&all->list[i]);
		else
			begin(&all->list[i], &none);
	}
}

void ldap_feeds_free(struct ldap_feeds *all, bool wait)
{
	if (!all)
		return;
	for (size_t i = 0; i < all->count; i++) {
		struct feed *f = &all->list[i];

		reader_free(f->reader, wait);
		loop_timer_free(f->again);
		loop_timer_free(f->keep);
		reader_kept_done(&f->kept);
		roster_list_free(f->brought);
		roster_list_free(f->sending);
		roster_list_free(f->next);
		free(f->source);
	}
	free(all->list);
	free(all);
}

void ldap_feeds_json(const struct ldap_feeds *all, struct buf *out)
{
	buf_add_str(out, ",\"directories\":[");
	for (size_t i = 0; all && i < all->count; i++) {
		const struct feed   *f = &all->list[i];
		struct reader_status s;

		reader_status(f->reader, &s);
		buf_addf(out,
			 "%s{\"source\":\"%s\",\"state\":\"%s\",\"read\":%" PRId64
			 ",\"changes\":%" PRIu64 ",\"people\":%zu,\"groups\":%zu",
			 i ? "," : "", f->source, reader_state_name(s.state), s.read.sec, f->changes,
			 f->brought ? f->brought->count : 0, f->brought ? f->brought->groups : 0);
		if (s.error[0]) {
			buf_add_str(out, ",\"error\":");
			buf_add_json(out, span_str(s.error));
		}
		buf_add_char(out, '}');
	}
	buf_add_char(out, ']');
}
