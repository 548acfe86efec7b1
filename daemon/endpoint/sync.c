/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/sync.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/aging.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/refusals.h"
#include "daemon/endpoint/self.h"

#include <stdlib.h>
#include <string.h>

enum {
	RETRY_FIRST_MS  = 250,
	RETRY_MAX_MS    = 8000,         /* until then a revocation may wait that the coordinator made since it is back */
	SILENCE_MS      = 2 * MAP_BEAT_SEC * 1000,
	REPORT_MS       = 60000,        /* how often addresses are looked at */
	REPORT_AGAIN_MS = 5000,         /* after a failure */
};

struct sync {
	struct core           *core;
	struct client         *client;
	bool                   wanted, connected;
	struct client_request *stream, *ack, *report;
	struct map_reader      reader;
	bool                   reading;
	struct loop_timer     *retry, *look;
	int64_t                wait_ms;
	char                   why[ERR_MSG_MAX];
	char                   acked_epoch[MAP_EPOCH_LEN + 1];
	uint64_t               acked_seq;
	uint64_t               reported;        /* hash of the last report that arrived; 0: none */
	uint64_t               reporting;
	bool                   report_more;     /* something changed while one was under way */
	struct hash_key        hash;
	struct map_seen       *seen;            /* on the hub: from where its peers' packets come */
	size_t                 seen_count, seen_room;
};

static void connect_now(void *arg);
static void look(void *arg);

struct client_request *sync_request(struct core *c, struct client *client, const char *method, const char *path,
                                    struct span body, client_done_fn *fn, void *arg, struct err *err)
{
	char node[64], id[MAP_ID_MAX];
	const char *headers[1] = { node };
	struct client_spec spec = { .method = method, .path = path, .body = body, .on_done = fn, .arg = arg };

	if (!c->enrolment.enrolled) {
		err_set(err, ERR_NOTNOW, "this node is not enrolled");
		return NULL;
	}
	if (c->enrolment.is_unix) {
		snprintf(node, sizeof(node), "Reeve-Node: %s", map_id_text('n', c->enrolment.node, id));
		spec.to = CLIENT_UNIX;
		spec.socket = c->enrolment.socket;
		spec.headers = headers;
		spec.header_count = 1;
	} else {
		spec.to = CLIENT_OVERLAY;
		spec.address = c->enrolment.control;
	}
	return client_start(client, &spec, err);
}

struct sync *sync_new(struct core *c, struct client *client)
{
	struct sync *s = mem_alloc(sizeof(*s));

	s->core = c;
	s->client = client;
	s->retry = loop_timer_new(c->loop, connect_now, s);
	s->look = loop_timer_new(c->loop, look, s);
	s->hash = hash_key_random();
	return s;
}

static void drop(struct sync *s)
{
	client_cancel(s->stream);
	client_cancel(s->ack);
	client_cancel(s->report);
	s->stream = s->ack = s->report = NULL;
	if (s->reading)
		map_reader_done(&s->reader);
	s->reading = false;
	s->connected = false;
	map_abort(&s->core->map);
}

void sync_free(struct sync *s)
{
	if (!s)
		return;
	drop(s);
	loop_timer_free(s->retry);
	loop_timer_free(s->look);
	free(s->seen);
	free(s);
}

void sync_stop(struct sync *s)
{
	s->wanted = false;
	loop_timer_set(s->retry, BOOT_NEVER);
	loop_timer_set(s->look, BOOT_NEVER);
	drop(s);
}

void sync_start(struct sync *s)
{
	drop(s);
	s->wanted = true;
	s->wait_ms = RETRY_FIRST_MS;
	s->reported = 0;
	loop_timer_after(s->retry, 0);
}

/* Half to whole of what is due: a mesh whose coordinator comes back does not ask in one moment. */
static void again(struct sync *s)
{
	uint32_t r;
	int64_t ms;

	random_bytes(&r, sizeof(r));
	ms = s->wait_ms / 2 + r % (s->wait_ms / 2 + 1);
	loop_timer_after(s->retry, ms * (SEC_NS / 1000));
	s->wait_ms = s->wait_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : s->wait_ms * 2;
}

static bool on_msg(void *arg, struct map_msg *m, struct err *err)
{
	struct sync *s = arg;
	struct core *c = s->core;
	enum map_applied applied;

	if (!map_apply(&c->map, m, NULL, NULL, &applied, err))
		return false;
	switch (applied) {
	case MAP_APPLIED_PART:
		break;
	case MAP_APPLIED_FULL:
	case MAP_APPLIED_BATCH:
		if (c->map.self != c->enrolment.node)
			return err_set(err, ERR_PEER, "the map is another node's");
		core_state_heard(c);
		core_map_changed(c);
		c->store_map = true;
		break;
	case MAP_APPLIED_BEAT:
		core_state_heard(c);
		core_changed(c);
		break;
	}
	return true;
}

static bool on_data(void *arg, struct span bytes, struct err *err)
{
	struct sync *s = arg;

	if (!s->connected) {
		s->connected = true;
		s->why[0] = '\0';
		s->wait_ms = RETRY_FIRST_MS;
		log_info("the coordinator's map is coming in");
		sync_report(s);
		refusals_tell(s->core->refusals);
		aging_look(s->core->aging);
	}
	return map_reader_feed(&s->reader, bytes, on_msg, s, err);
}

static void on_end(void *arg, const struct client_reply *r)
{
	struct sync *s = arg;
	struct err err = { 0 };
	bool was = s->connected;

	s->stream = NULL;
	if (!r->ok)
		err = *r->err;
	else if (r->status != 200)
		enrol_error_decode(r->status, r->body, &err);
	else
		err_set(&err, ERR_MISSING, "the coordinator ended the stream");
	if (!r->ok && s->core->enrolment.is_unix)
		err_prefix(&err, "%s: ", s->core->enrolment.socket);
	if (was || strcmp(s->why, err.msg) != 0)
		log_note("no line to the coordinator: %s", err.msg);
	snprintf(s->why, sizeof(s->why), "%s", err.msg);
	drop(s);
	if (s->wanted)
		again(s);
}

static void connect_now(void *arg)
{
	struct sync *s = arg;
	struct core *c = s->core;
	char path[128], node[64], id[MAP_ID_MAX];
	const char *headers[1] = { node };
	struct client_spec spec = { .method = "GET", .path = path, .timeout_ms = -1, .idle_ms = SILENCE_MS,
		                    .on_data = on_data, .on_done = on_end, .arg = s };
	struct err err = { 0 };

	if (!s->wanted || !c->enrolment.enrolled || s->stream)
		return;
	if (c->map.whole)
		snprintf(path, sizeof(path), "/v1/map?have=%s:%llu", c->map.epoch, (unsigned long long)c->map.seq);
	else
		snprintf(path, sizeof(path), "/v1/map");
	if (c->enrolment.is_unix) {
		snprintf(node, sizeof(node), "Reeve-Node: %s", map_id_text('n', c->enrolment.node, id));
		spec.to = CLIENT_UNIX;
		spec.socket = c->enrolment.socket;
		spec.headers = headers;
		spec.header_count = 1;
	} else {
		spec.to = CLIENT_OVERLAY;
		spec.address = c->enrolment.control;
	}
	map_reader_init(&s->reader);
	s->reading = true;
	s->stream = client_start(s->client, &spec, &err);
	if (!s->stream) {
		snprintf(s->why, sizeof(s->why), "%s", err.msg);
		drop(s);
		again(s);
	}
}

/* ---- acknowledgements ---- */

static void on_acked(void *arg, const struct client_reply *r)
{
	struct sync *s = arg;

	s->ack = NULL;
	if (!r->ok || r->status >= 300)
		return;         /* the next batch, or the next line, says it again */
	sync_settled(s);
}

void sync_settled(struct sync *s)
{
	struct core *c = s->core;
	struct map_ack a = { .seq = c->map.seq };
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	if (!s->connected || s->ack || !c->map.whole || c->waiting || c->under_way || c->store_map ||
	    (a.seq == s->acked_seq && strcmp(c->map.epoch, s->acked_epoch) == 0))
		return;
	memcpy(a.epoch, c->map.epoch, sizeof(a.epoch));
	buf_init(&b, 1024);
	map_ack_encode(&a, &b);
	s->ack = sync_request(c, s->client, "POST", "/v1/map/ack", buf_span(&b), on_acked, s, &err);
	if (!s->ack) {
		log_error("acknowledging the map: %s", err.msg);
		return;
	}
	s->acked_seq = a.seq;
	memcpy(s->acked_epoch, a.epoch, sizeof(a.epoch));
}

/* ---- what we say of ourselves ---- */

static void on_reported(void *arg, const struct client_reply *r)
{
	struct sync *s = arg;
	struct err err = { 0 };

	s->report = NULL;
	if (r->ok && r->status < 300) {
		s->reported = s->reporting;
		if (s->report_more)
			sync_report(s);
		s->report_more = false;
		return;
	}
	if (r->ok)
		enrol_error_decode(r->status, r->body, &err);
	else
		err = *r->err;
	log_warn("telling the coordinator about this node: %s", err.msg);
	loop_timer_after(s->look, REPORT_AGAIN_MS * (SEC_NS / 1000));
}

static void hear(struct sync *s, const struct msg_status *part)
{
	for (size_t i = 0; i < part->peers_n && s->seen_count < MAP_SEEN_MAX; i++) {
		const struct msg_peer_status *p = &part->peers[i];

		if (!p->endpoint.ip.family || !p->endpoint.port || !p->handshake)
			continue;
		if (s->seen_count == s->seen_room) {
			s->seen_room = s->seen_room ? s->seen_room * 2 : 64;
			s->seen = mem_realloc(s->seen, s->seen_room, sizeof(*s->seen));
		}
		memcpy(s->seen[s->seen_count].key, p->key, sizeof(p->key));
		s->seen[s->seen_count++].at = p->endpoint;
	}
}

static void say(void *arg, const struct msg_status *part, const struct err *why)
{
	struct sync *s = arg;
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	if (part) {
		s->core->port = part->port;
		if (s->core->enrolment.is_unix)
			hear(s, part);
	}
	/* The answer has more parts to come, or is one of an earlier question. */
	if (part || s->report || !s->connected)
		return;
	(void)why;
	buf_init(&b, MAP_REPORT_MAX);
	struct self_hub hub = { .seen = s->seen, .seen_count = s->seen_count };
	hub.pin_count = core_certificates_pins(s->core, hub.pins);
	struct aging_state key;
	aging_state(s->core->aging, &key);
	const struct self_keys keys = { &s->core->map, key.since, key.due, key.why };
	self_report(s->core->files->conf, s->core->port, &keys, s->core->enrolment.is_unix ? &hub : NULL, &b);
	s->reporting = hash_bytes(&s->hash, b.ptr, b.len) | 1;
	if (s->reporting == s->reported)
		return;
	s->report = sync_request(s->core, s->client, "POST", "/v1/node", buf_span(&b), on_reported, s, &err);
	if (!s->report)
		log_warn("telling the coordinator about this node: %s", err.msg);
}

void sync_report(struct sync *s)
{
	loop_timer_after(s->look, 0);
}

static void look(void *arg)
{
	struct sync *s = arg;

	loop_timer_after(s->look, REPORT_MS * (SEC_NS / 1000));
	s->report_more |= s->report != NULL;
	if (s->connected && !s->report) {
		s->seen_count = 0;
		core_net_ask(s->core, say, s);
	}
}

void sync_state(const struct sync *s, struct sync_state *ret_st)
{
	*ret_st = (struct sync_state){ s->wanted, s->connected, s->why };
}
