/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/feed.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What an endpoint was told of one node, in sixteen bytes. */
struct told {
	uint64_t id;
	uint64_t hash;
	bool     session;
};

struct batch {
	struct batch *next;
	uint64_t      before, seq;      /* brings an endpoint from before to seq */
	uint64_t      revokes;          /* the revocation that it carries; 0: none */
	struct span   lines;            /* allocated */
};

struct feed {
	struct feeds  *feeds;
	uint64_t       node;
	struct stream *stream;          /* NULL: offline */
	bool           known;           /* told, sent and log mean something */
	struct told   *told;            /* ascending by id */
	size_t         told_count;
	uint64_t       policy_hash;
	uint64_t       sent, acked;
	struct wall    acked_at;
	struct batch  *log, **log_end;
	size_t         log_size;
	struct view_want want;          /* of its last view */
	struct feed   *next_stale;
	bool           stale;           /* its view is to be looked at */
};

/* Somebody waits for a node to have applied seq. */
struct waiter {
	struct waiter   *next;
	uint64_t         node, seq, who;
	struct boot      until;
	feeds_acked_fn  *fn;
	void            *ctx;
};

struct revocation {
	uint64_t    seq;
	struct boot at;
	struct wall when;
	unsigned    told, acked;
	int64_t     worst_ns;
};

struct feeds {
	struct loop       *loop;
	struct registry   *reg;
	struct audit      *audit;
	struct dict       *list;        /* node id -> feed */
	struct loop_timer *beat, *work;
	bool               due;         /* feeds_changed(): the end of this round looks */
	struct feed       *stale, **stale_end;
	bool               bumping;     /* another seq was asked for */
	struct waiter     *waiters;
	struct loop_timer *wait;
	struct revocation  revoked[REVOCATIONS_MAX];    /* a ring, oldest first */
	size_t             first, count;
	uint64_t           seen_revoked;        /* revoked_seq that is in the ring */
	/* totals */
	uint64_t           acks, ack_sum_us, ack_max_us, batches, fulls;
	uint64_t           ack_buckets[9];
	feeds_fn          *ahead, *bump;
	void              *ctx;
};

static const uint64_t bucket_ms[] = { 10, 25, 50, 100, 250, 500, 1000, 5000 };

static void push(struct feed *fd, struct wall now);

/* ---- one endpoint's log ---- */

static void log_drop_first(struct feed *fd)
{
	struct batch *b = fd->log;

	fd->log = b->next;
	if (!fd->log)
		fd->log_end = &fd->log;
	fd->log_size -= b->lines.len;
	free((char *)b->lines.ptr);
	free(b);
}

static void forget(struct feed *fd)
{
	while (fd->log)
		log_drop_first(fd);
	free(fd->told);
	fd->told = NULL;
	fd->told_count = 0;
	fd->known = false;
	view_want_done(&fd->want);
}

static void log_add(struct feed *fd, uint64_t before, uint64_t seq, uint64_t revokes,
		    struct span lines)
{
	struct batch *b = mem_alloc(sizeof(*b));

	*b = (struct batch){ .before = before, .seq = seq, .revokes = revokes,
		             .lines = { mem_dup(lines.ptr, lines.len), lines.len } };
	*fd->log_end = b;
	fd->log_end = &b->next;
	fd->log_size += lines.len;
	while (fd->log && fd->log_size > FEED_LOG_MAX)
		log_drop_first(fd);
}

static struct feed *feed_of(struct feeds *f, uint64_t node, bool make)
{
	struct span  key = span_of(&node, sizeof(node));
	struct feed *fd = dict_find(f->list, key);

	if (!fd && make) {
		fd = mem_alloc(sizeof(*fd));
		fd->feeds = f;
		fd->node = node;
		fd->log_end = &fd->log;
		dict_put(f->list, key, fd);
	}
	return fd;
}

static void feed_free(struct feed *fd)
{
	if (fd->stream)
		stream_end(fd->stream);
	forget(fd);
	free(fd);
}

/* ---- what is sent ---- */

static uint64_t hash_of(const struct feeds *f, struct span s)
{
	return hash_bytes(&f->reg->hash, s.ptr, s.len);
}

static void line_node(struct buf *out, uint64_t seq, struct span json)
{
	buf_addf(out, "{\"op\":\"node\",\"seq\":%" PRIu64 ",\"node\":", seq);
	buf_add_span(out, json);
	buf_add_str(out, "}\n");
}

static void line_policy(struct buf *out, uint64_t seq, struct span text)
{
	struct map_msg m = { .op = MAP_POLICY, .seq = seq, .text = text };

	map_msg_encode(&m, out);
}

static void line_end(struct buf *out, uint64_t seq)
{
	struct map_msg m = { .op = MAP_END, .seq = seq };

	map_msg_encode(&m, out);
}

static void line_beat(struct buf *out, struct wall now)
{
	struct map_msg m = { .op = MAP_BEAT, .now = now };

	map_msg_encode(&m, out);
}

static void remember(struct feed *fd, struct view *v, uint64_t seq)
{
	view_want_done(&fd->want);
	fd->want = v->want;
	v->want = (struct view_want){ 0 };
	free(fd->told);
	fd->told = mem_calloc(v->count + 1, sizeof(*fd->told));
	for (size_t i = 0; i < v->count; i++)
		fd->told[i] = (struct told){ .id = v->items[i].id, .hash = v->items[i].hash,
			                     .session = v->items[i].session };
	fd->told_count = v->count;
	fd->policy_hash = hash_of(fd->feeds, buf_span(&v->policy));
	fd->sent = seq;
	fd->known = true;
}

static void full(struct feed *fd, struct view *v, struct wall now)
{
	struct registry *reg = fd->feeds->reg;
	struct map_msg m = {.op = MAP_FULL,
			    .seq = reg->seq,
			    .v = MAP_VERSION,
			    .epoch = span_str(reg->mesh.epoch),
			    .lease = reg->conf->lease,
			    .now = now,
			    .id = fd->node};
	struct buf       out;

	buf_init(&out, HTTP_STREAM_MAX);
	view_mesh(reg, &m.mesh);
	map_msg_encode(&m, &out);
	for (size_t i = 0; i < v->count; i++)
		line_node(&out, reg->seq, v->items[i].json);
	line_policy(&out, reg->seq, buf_span(&v->policy));
	line_end(&out, reg->seq);
	forget(fd);
	fd->feeds->fulls++;
	if (out.over) {
		log_error("the map of n%" PRIu64 " is larger than %d bytes", fd->node,
			  HTTP_STREAM_MAX);
		stream_end(fd->stream);
	} else if (stream_write(fd->stream, buf_span(&out))) {
		remember(fd, v, reg->seq);
	}
	buf_done(&out);
}

static struct revocation *revocation_of(struct feeds *f)
{
	struct registry *reg = f->reg;

	if (reg->revoked_seq == 0)
		return NULL;
	if (f->seen_revoked != reg->revoked_seq) {
		if (f->count == REVOCATIONS_MAX) {
			f->first = (f->first + 1) % REVOCATIONS_MAX;
			f->count--;
		}
		f->revoked[(f->first + f->count++) % REVOCATIONS_MAX] = (struct revocation){
			.seq = reg->revoked_seq, .at = reg->revoked_at, .when = loop_wall(f->loop)};
		f->seen_revoked = reg->revoked_seq;
	}
	return &f->revoked[(f->first + f->count - 1) % REVOCATIONS_MAX];
}

/* The difference between what it was told and v. */
static void delta(struct feed *fd, struct view *v)
{
	struct feeds *f = fd->feeds;
	uint64_t      seq = f->reg->seq, before = fd->sent;
	bool          revokes = false;
	struct buf    out;
	size_t        i = 0, k = 0;

	buf_init(&out, HTTP_STREAM_MAX);
	/* What is taken away goes first: should the line break, it got as far as it could. */
	while (i < fd->told_count || k < v->count) {
		if (k == v->count || (i < fd->told_count && fd->told[i].id < v->items[k].id)) {
			buf_addf(&out,
				 "{\"op\":\"gone\",\"seq\":%" PRIu64 ",\"id\":\"n%" PRIu64 "\"}\n",
				 seq, fd->told[i].id);
			revokes = true;
			i++;
			continue;
		}
		if (i < fd->told_count && fd->told[i].id == v->items[k].id) {
			if (fd->told[i].hash != v->items[k].hash) {
				line_node(&out, seq, v->items[k].json);
				revokes |= fd->told[i].session && !v->items[k].session;
			}
			i++;
		} else {
			line_node(&out, seq, v->items[k].json);
		}
		k++;
	}
	if (fd->policy_hash != hash_of(f, buf_span(&v->policy))) {
		line_policy(&out, seq, buf_span(&v->policy));
		revokes |= f->reg->revoked_seq == seq;
	}
	if (out.len == 0) {
		buf_done(&out);
		return;
	}
	if (fd->sent == seq) {
		/* That seq went with what was taken away: the rest needs one of its own. */
		buf_done(&out);
		if (!f->bumping && f->bump) {
			f->bumping = true;
			f->bump(f->ctx);
		}
		return;
	}
	line_end(&out, seq);
	if (!out.over && stream_write(fd->stream, buf_span(&out))) {
		struct revocation *rv = revokes ? revocation_of(f) : NULL;

		if (rv)
			rv->told++;
		remember(fd, v, seq);
		log_add(fd, before, seq, rv ? rv->seq : 0, buf_span(&out));
		f->batches++;
	} else {
		stream_end(fd->stream);
		forget(fd);
	}
	buf_done(&out);
}

static void push(struct feed *fd, struct wall now)
{
	struct registry       *reg = fd->feeds->reg;
	const struct reg_node *self = registry_node(reg, fd->node);
	struct view            v;

	if (!fd->stream)
		return;
	if (!self) {
		/* Deleted: it may not listen any more, and what it holds ends with its lease. */
		stream_end(fd->stream);
		return;
	}
	view_build(reg, self, now, &v);
	if (fd->known)
		delta(fd, &v);
	else
		full(fd, &v, now);
	view_done(&v);
}

/* ---- what is taken away goes first ---- */

static struct told *told_find(const struct feed *fd, uint64_t id)
{
	size_t lo = 0, hi = fd->told_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (fd->told[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < fd->told_count && fd->told[lo].id == id ? &fd->told[lo] : NULL;
}

/* Nodes that went or lost their session, as a batch of their own: it costs what it
 * says, while a whole view costs what the mesh is large. */
static void push_revoked(struct feed *fd, struct wall now)
{
	struct feeds    *f = fd->feeds;
	struct registry *reg = f->reg;
	uint64_t         seq = reg->seq, before = fd->sent;
	struct buf       out;

	if (!fd->stream || !fd->known || fd->sent >= seq)
		return;
	buf_init(&out, HTTP_STREAM_MAX);
	for (size_t i = 0; i < reg->revoked_count; i++) {
		struct told     *t = told_find(fd, reg->revoked[i]);
		struct reg_node *n = registry_node(reg, reg->revoked[i]);

		if (!t || t->id == fd->node)
			continue;
		if (!n) {
			buf_addf(&out,
				 "{\"op\":\"gone\",\"seq\":%" PRIu64 ",\"id\":\"n%" PRIu64 "\"}\n",
				 seq, t->id);
			memmove(t, t + 1,
				(size_t)(fd->told + fd->told_count - (t + 1)) * sizeof(*t));
			fd->told_count--;
		} else if (t->session && !registry_session(n, now)) {
			const struct reg_json *j = view_one(reg, n, &fd->want, now);

			if (!j)
				continue;
			line_node(&out, seq, (struct span){ j->json, j->len });
			t->hash = j->hash;
			t->session = false;
		}
	}
	if (out.len) {
		line_end(&out, seq);
		if (!out.over && stream_write(fd->stream, buf_span(&out))) {
			struct revocation *rv = revocation_of(f);

			if (rv)
				rv->told++;
			fd->sent = seq;
			log_add(fd, before, seq, rv ? rv->seq : 0, buf_span(&out));
			f->batches++;
		} else {
			stream_end(fd->stream);
			forget(fd);
		}
	}
	buf_done(&out);
}

/* ---- rounds ---- */

static void work(void *arg)
{
	struct feeds *f = arg;

	/* A few at a time: whoever asks meanwhile is answered between them. */
	for (int i = 0; i < FEED_SLICE && f->stale; i++) {
		struct feed *fd = f->stale;

		f->stale = fd->next_stale;
		if (!f->stale)
			f->stale_end = &f->stale;
		fd->stale = false;
		push(fd, loop_wall(f->loop));
		if (!fd->stream && !registry_node(f->reg, fd->node)) {
			dict_remove(f->list, span_of(&fd->node, sizeof(fd->node)));
			feed_free(fd);
		}
	}
	if (f->stale)
		loop_timer_after(f->work, 0);
	else if (f->waiters)
		loop_timer_after(f->wait, 0);
}

static void on_changed(void *arg)
{
	struct feeds *f = arg;
	struct span   key;
	size_t        pos = 0;
	void         *v;

	f->due = f->bumping = false;
	while (dict_next(f->list, &pos, &key, &v)) {
		struct feed *fd = v;

		if (f->reg->revoked_count)
			push_revoked(fd, loop_wall(f->loop));
		if (fd->stale)
			continue;
		fd->stale = true;
		/* The hub before all others: new nodes wait for it. */
		if (fd->node == f->reg->hub) {
			fd->next_stale = f->stale;
			if (!f->stale)
				f->stale_end = &fd->next_stale;
			f->stale = fd;
		} else {
			fd->next_stale = NULL;
			*f->stale_end = fd;
			f->stale_end = &fd->next_stale;
		}
	}
	f->reg->revoked_count = 0;
	work(f);
}

void feeds_changed(struct feeds *f)
{
	if (f->due)
		return;
	f->due = true;
	loop_later(f->loop, on_changed, f);
}

/* ---- streams ---- */

static void on_gone(void *arg, struct stream *s)
{
	struct feeds *f = arg;
	struct span   key;
	size_t        pos = 0;
	void         *v;

	while (dict_next(f->list, &pos, &key, &v)) {
		struct feed     *fd = v;
		struct reg_node *n;

		if (fd->stream != s)
			continue;
		fd->stream = NULL;
		n = registry_node(f->reg, fd->node);
		if (n) {
			n->online = false;
			n->last_seen = loop_wall(f->loop);
		}
		log_debug("n%" PRIu64 " does not listen any more", fd->node);
		return;
	}
}

/* Sends again what came after `have`, if the log reaches back to it. */
static bool resume(struct feed *fd, uint64_t have)
{
	struct batch *b = fd->log;

	if (!fd->known || have > fd->sent)
		return false;
	if (have == fd->sent)
		return true;
	while (b && b->before != have)
		b = b->next;
	if (!b)
		return false;
	for (; b; b = b->next)
		if (!stream_write(fd->stream, b->lines))
			return false;
	return true;
}

static bool have_of(struct span query, char epoch[MAP_EPOCH_LEN + 1], uint64_t *ret_seq)
{
	struct span part;

	while (span_next(&query, '&', &part))
		if (span_starts(part, SPAN("have=")) &&
		    map_have_parse(span_from(part, 5), epoch, ret_seq))
			return true;
	return false;
}

void feeds_open(struct feeds *f, struct request *r)
{
	struct reg_node *n = registry_node(f->reg, r->node);
	char             epoch[MAP_EPOCH_LEN + 1] = "";
	uint64_t         have = 0;
	struct buf       beat;

	if (!n) {
		request_fail(r, ERR_MISSING, "this node is not enrolled");
		return;
	}
	bool has = have_of(r->query, epoch, &have) && strcmp(epoch, f->reg->mesh.epoch) == 0;
	if (has && have > f->reg->seq) {
		log_warn("n%" PRIu64 " has seq %" PRIu64 ", we are at %" PRIu64
			 ": this database is a restored backup",
			 r->node, have, f->reg->seq);
		request_fail(r, ERR_BUSY, "a new epoch begins");
		if (f->ahead)
			f->ahead(f->ctx);
		return;
	}
	struct feed *fd = feed_of(f, r->node, true);
	if (fd->stream) {
		/* One at a time: the newer one is the endpoint's own idea of where it is. */
		stream_end(fd->stream);
		fd->stream = NULL;
	}
	fd->stream = request_stream(r, on_gone, f);
	if (!fd->stream) {
		request_fail(r, ERR_SYS, "no stream");
		return;
	}
	n->online = true;
	n->last_seen = loop_wall(f->loop);
	log_debug("n%" PRIu64 " listens, has %s:%" PRIu64, r->node, has ? epoch : "nothing", have);
	buf_init(&beat, 256);
	line_beat(&beat, loop_wall(f->loop));
	/* A full map says the time itself; before one a beat means nothing. */
	if (has && resume(fd, have))
		stream_write(fd->stream, buf_span(&beat));
	else
		forget(fd);
	buf_done(&beat);
	push(fd, loop_wall(f->loop));
}

static void observe(struct feeds *f, struct revocation *rv, int64_t ns)
{
	uint64_t us = ns < 0 ? 0 : (uint64_t)ns / 1000;
	size_t   b = 0;

	while (b < array_size(bucket_ms) && us > bucket_ms[b] * 1000)
		b++;
	f->ack_buckets[b]++;
	f->acks++;
	f->ack_sum_us += us;
	if (us > f->ack_max_us)
		f->ack_max_us = us;
	rv->acked++;
	if (ns > rv->worst_ns)
		rv->worst_ns = ns;
	if (rv->acked == rv->told) {
		struct buf *b2 =
			audit_begin(f->audit, loop_wall(f->loop), "revocation-acknowledged");

		audit_int(b2, "seq", (int64_t)rv->seq);
		audit_int(b2, "endpoints", rv->told);
		audit_int(b2, "worst_us", rv->worst_ns / 1000);
		audit_end(f->audit);
	}
}

void feeds_ack(struct feeds *f, struct request *r)
{
	struct reg_node *n = registry_node(f->reg, r->node);
	struct feed     *fd = feed_of(f, r->node, false);
	struct map_ack   a;
	struct err       err;

	if (!map_ack_decode(buf_span(&r->body), &a, &err)) {
		request_error(r, &err);
		return;
	}
	if (!n || !fd || strcmp(a.epoch, f->reg->mesh.epoch) != 0 || a.seq > fd->sent) {
		request_fail(r, ERR_NOTNOW, "nothing was sent that this acknowledges");
		return;
	}
	n->last_seen = loop_wall(f->loop);
	for (const struct batch *b = fd->log; b && b->seq <= a.seq; b = b->next)
		for (size_t i = 0; b->revokes && b->seq > fd->acked && i < f->count; i++) {
			struct revocation *rv = &f->revoked[(f->first + i) % REVOCATIONS_MAX];

			if (rv->seq == b->revokes)
				observe(f, rv, loop_now(f->loop).ns - rv->at.ns);
		}
	if (a.seq > fd->acked)
		fd->acked = a.seq;
	fd->acked_at = n->last_seen;
	while (fd->log && fd->log->seq <= fd->acked)
		log_drop_first(fd);
	request_reply(r, 200, "application/json", SPAN("{}\n"));
	if (f->waiters)
		loop_timer_after(f->wait, 0);
}

static void on_beat(void *arg)
{
	struct feeds *f = arg;
	struct span   key;
	size_t        pos = 0;
	void         *v;
	struct buf    out;

	buf_init(&out, 256);
	line_beat(&out, loop_wall(f->loop));
	while (dict_next(f->list, &pos, &key, &v)) {
		struct feed *fd = v;

		if (fd->stream && fd->known)
			stream_write(fd->stream, buf_span(&out));
	}
	buf_done(&out);
	loop_timer_after(f->beat, FEED_BEAT_SEC * SEC_NS);
}

/* ---- who waits ---- */

bool feeds_is_acked(const struct feeds *f, uint64_t node, uint64_t seq)
{
	const struct feed *fd = dict_find(f->list, span_of(&node, sizeof(node)));

	/* One that does not listen is not waited for. Nothing of seq concerned it: sent is still
	 * below. */
	return !fd || !fd->stream || fd->acked >= seq ||
	       (!f->due && !fd->stale && fd->acked >= fd->sent && fd->sent < seq);
}

static void look_waiters(struct feeds *f)
{
	struct boot     now = loop_now(f->loop), next = BOOT_NEVER;
	struct waiter **p = &f->waiters;

	while (*p) {
		struct waiter *w = *p;

		if (!boot_passed(w->until, now) && !feeds_is_acked(f, w->node, w->seq)) {
			next = boot_min(next, w->until);
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->fn(w->ctx, w->who);
		free(w);
	}
	loop_timer_set(f->wait, next);
}

static void on_wait(void *arg)
{
	look_waiters(arg);
}

void feeds_when_acked(struct feeds *f, uint64_t node, uint64_t seq, int64_t at_most_ns,
		      feeds_acked_fn *fn, void *ctx, uint64_t who)
{
	struct waiter *w = mem_alloc(sizeof(*w));

	*w = (struct waiter){.next = f->waiters,
			     .node = node,
			     .seq = seq,
			     .who = who,
			     .fn = fn,
			     .ctx = ctx,
			     .until = boot_add(loop_now(f->loop), at_most_ns)};
	f->waiters = w;
	loop_timer_after(f->wait, 0);
}

/* ---- what others ask ---- */

uint64_t feeds_acked(const struct feeds *f)
{
	uint64_t least = f->reg->seq;
	size_t   pos = 0;

	/* A node that we have not heard since our start may hold any old map. */
	for (struct reg_node *n; (n = registry_next_node(f->reg, &pos));) {
		const struct feed *fd = dict_find(f->list, span_of(&n->id, sizeof(n->id)));
		uint64_t           acked = fd ? fd->acked : 0;

		if (acked < least)
			least = acked;
	}
	return least;
}

bool feeds_state(const struct feeds *f, uint64_t node, struct feed_state *ret)
{
	const struct feed *fd = dict_find(f->list, span_of(&node, sizeof(node)));

	if (!fd)
		return false;
	*ret = (struct feed_state){.online = fd->stream != NULL,
				   .sent = fd->sent,
				   .acked = fd->acked,
				   .acked_at = fd->acked_at};
	return true;
}

void feeds_metrics(const struct feeds *f, struct buf *out)
{
	struct span key;
	size_t      pos = 0, online = 0;
	void       *v;
	uint64_t    sum = 0;

	buf_add_str(
		out,
		"# HELP reeve_endpoint_acked_seq The sequence that an endpoint has acknowledged.\n"
		"# TYPE reeve_endpoint_acked_seq gauge\n");
	while (dict_next(f->list, &pos, &key, &v)) {
		const struct feed *fd = v;

		online += fd->stream != NULL;
		buf_addf(out, "reeve_endpoint_acked_seq{node=\"n%" PRIu64 "\"} %" PRIu64 "\n",
			 fd->node, fd->acked);
		buf_addf(out, "reeve_endpoint_behind{node=\"n%" PRIu64 "\"} %" PRIu64 "\n",
			 fd->node, fd->sent - fd->acked);
		buf_addf(out, "reeve_endpoint_online{node=\"n%" PRIu64 "\"} %d\n", fd->node,
			 fd->stream != NULL);
	}
	buf_addf(out,
		 "reeve_map_seq %" PRIu64
		 "\nreeve_map_streams %zu\nreeve_map_batches_total %" PRIu64
		 "\nreeve_map_fulls_total %" PRIu64 "\n",
		 f->reg->seq, online, f->batches, f->fulls);
	buf_add_str(out, "# HELP reeve_revocation_seconds From the change on disk to an endpoint's "
			 "acknowledgement.\n"
			 "# TYPE reeve_revocation_seconds histogram\n");
	for (size_t i = 0; i < array_size(f->ack_buckets); i++) {
		sum += f->ack_buckets[i];
		if (i < array_size(bucket_ms))
			buf_addf(out, "reeve_revocation_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
				 (double)bucket_ms[i] / 1000, sum);
		else
			buf_addf(out, "reeve_revocation_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n",
				 sum);
	}
	buf_addf(out, "reeve_revocation_seconds_sum %.6f\nreeve_revocation_seconds_count %" PRIu64
	              "\nreeve_revocation_seconds_max %.6f\n", (double)f->ack_sum_us / 1e6, f->acks,
	         (double)f->ack_max_us / 1e6);
}

void feeds_hooks(struct feeds *f, feeds_fn *ahead, feeds_fn *bump, void *ctx)
{
	f->ahead = ahead;
	f->bump = bump;
	f->ctx = ctx;
}

void feeds_restart(struct feeds *f)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	feeds_close(f);
	while (dict_next(f->list, &pos, &key, &v)) {
		struct feed *fd = v;

		forget(fd);
		fd->sent = fd->acked = 0;
	}
}

struct feeds *feeds_new(struct loop *loop, struct registry *reg, struct audit *audit)
{
	struct feeds *f = mem_alloc(sizeof(*f));

	f->loop = loop;
	f->reg = reg;
	f->audit = audit;
	f->list = dict_new();
	f->beat = loop_timer_new(loop, on_beat, f);
	loop_timer_after(f->beat, FEED_BEAT_SEC * SEC_NS);
	f->wait = loop_timer_new(loop, on_wait, f);
	f->work = loop_timer_new(loop, work, f);
	f->stale_end = &f->stale;
	return f;
}

void feeds_close(struct feeds *f)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	while (dict_next(f->list, &pos, &key, &v)) {
		struct feed *fd = v;

		if (fd->stream)
			stream_end(fd->stream);
		fd->stream = NULL;
	}
}

void feeds_free(struct feeds *f)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	if (!f)
		return;
	while (dict_next(f->list, &pos, &key, &v))
		feed_free(v);
	dict_free(f->list);
	while (f->waiters) {
		struct waiter *w = f->waiters;

		f->waiters = w->next;
		free(w);
	}
	loop_timer_free(f->beat);
	loop_timer_free(f->wait);
	loop_timer_free(f->work);
	free(f);
}
