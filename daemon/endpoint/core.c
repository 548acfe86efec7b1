/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/aging.h"
#include "daemon/endpoint/api.h"
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/glass.h"
#include "daemon/endpoint/join.h"
#include "daemon/endpoint/refusals.h"
#include "daemon/endpoint/rotate.h"
#include "daemon/endpoint/sync.h"
#include "daemon/endpoint/usage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	CLOCK_SEC     = 2,              /* between looks at whether the wall clock was set */
	MAP_POLL_MS   = 500,            /* how often the map file is looked at */
	STORE_AT_ONCE = 2000,           /* nodes of a map that is stored with every change; a larger one */
	STORE_AGAIN_SEC = 5,            /* after a failure */
	STORE_MS      = 300,            /* is, and acknowledged, when it was quiet for so long */
	WORDS_MAX     = MSG_TEXT_MAX,   /* of faults that are told to the parent */
};

/* ---- what follows from what is known ---- */

void core_now(const struct core *c, struct world_now *ret_now)
{
	struct lease_now now = { c->boot_id, loop_now(c->loop), loop_wall(c->loop) };

	ret_now->wall = now.wall;
	ret_now->boot = now.boot;
	ret_now->lease = BOOT_NEVER;
	ret_now->silent = -1;
	if (c->files->conf->mode != CONF_MESH)
		return;
	ret_now->lease = lease_end(&c->mark, &now);
	ret_now->silent = lease_silent(&c->mark, &now);
}

static void on_vouched(void *core);
static void vouched(void *core);

/* What is acknowledged is stored: a restart must not bring back what was revoked. */
static void on_store(void *arg)
{
	struct core *c = arg;
	struct err err = { 0 };

	if (!c->store_map)
		return;
	if (!core_state_store_map(c, &err)) {
		log_error("the map is in force but not stored, and not acknowledged: %s", err.msg);
		loop_timer_after(c->store, STORE_AGAIN_SEC * SEC_NS);
		return;
	}
	c->store_map = false;
	if (c->sync)
		sync_settled(c->sync);
}

/* The order matters: rights go first from the packets, then from the fronts,
 * and only then does anybody get new ones. */
static void apply(void *arg)
{
	struct core *c = arg;
	struct world_now now;
	struct net_state *want;
	struct boot again;
	struct wall next;

	c->due = false;
	if (!c->files)
		return;
	core_now(c, &now);
	world_anchor(c->world, &now);
	next = world_tick(c->world, now.wall);
	want = world_net(c->world, &now, c->key.len && !c->enrolment.down ? c->public_key : NULL);
	core_net_deny(c, want);
	core_fronts_revoke(c, &now);
	core_net_allow(c, want, now.boot);
	c->publish |= world_cookies(c->world, now.boot);
	if (c->publish)
		core_fronts_publish(c, &now);
	c->publish = false;
	if (c->store_map && c->map.node_count <= STORE_AT_ONCE)
		on_store(c);
	else if (c->store_map)
		loop_timer_after(c->store, STORE_MS * (SEC_NS / 1000));
	if (c->sync)
		sync_settled(c->sync);
	again = orders_again(c->told, now.boot);
	if (c->files->vouch && vouch_until(c->files->vouch).sec != INT64_MAX) {
		int64_t left = vouch_until(c->files->vouch).sec - now.wall.sec;

		if (left <= 0)
			on_vouched(c);
		else
			again = boot_min(again, boot_add(now.boot, left * SEC_NS));
	}
	if (next.sec != TOPOLOGY_NEVER.sec)
		again = boot_min(again, boot_add(now.boot, (next.sec > now.wall.sec ? next.sec - now.wall.sec : 1) * SEC_NS));
	if (!boot_passed(now.lease, now.boot))
		again = boot_min(again, now.lease);
	again = boot_min(again, world_next_end(c->world, now.boot));
	/* A deadline that is almost over is looked at once more when it is over. */
	if (again.ns != INT64_MAX && again.ns < now.boot.ns + SEC_NS / 4)
		again = boot_add(now.boot, SEC_NS / 4);
	loop_timer_set(c->tick, again);
}

void core_changed(struct core *c)
{
	c->publish = true;
	core_net_changed(c);
}

void core_net_changed(struct core *c)
{
	if (c->due)
		return;
	c->due = true;
	loop_later(c->loop, apply, c);
}

/* A wall clock that was set shows other sessions and logins to be over, or not to be yet. */
static void on_clock(void *arg)
{
	struct core *c = arg;
	bool moved;

	loop_timer_after(c->clock_look, CLOCK_SEC * SEC_NS);
	clock_watch(&c->clock, loop_wall(c->loop), loop_now(c->loop), &moved);
	if (!moved)
		return;
	log_warn("the clock was set");
	world_clock_set(c->world, loop_wall(c->loop));
	if (c->files->conf->mode == CONF_STANDALONE)
		core_changed(c);
	else
		core_map_changed(c);
}

static void on_tick(void *arg)
{
	core_changed(arg);
}

/* What the coordinator says, or what of it this endpoint could check. */
static void set_map(struct core *c)
{
	struct map map, glass;
	const struct map *seen = &c->map;

	successors_key(c->successors, &c->key, c->public_key);
	world_set_key(c->world, c->key.len ? c->public_key : NULL);
	if (c->files->vouch) {
		vouch_map(c->files->vouch, &c->map, loop_wall(c->loop), &map);
		seen = &map;
	}
	/* The owner's keys last: nobody's word takes them away. */
	glass_map(c->files->conf, seen, &glass);
	world_set_map(c->world, &glass, c->memory, loop_wall(c->loop));
	for (size_t i = 0; c->files->vouch && i < glass.node_count; i++)
		if (vouch_why(c->files->vouch, glass.nodes[i]->id))
			world_set_why(c->world, glass.nodes[i]->id, WHY_EVIDENCE);
	glass_map_done(&glass);
	if (!c->files->vouch)
		return;
	vouch_map_done(&map);
	if (vouch_dirty(c->files->vouch))
		core_state_store_verified(c);
}

static void on_vouched(void *arg)
{
	struct core *c = arg;

	if (!c->vouched)
		loop_later(c->loop, vouched, c);
	c->vouched = true;
}

/* The map's policy, parsed again only where its text changed: compiling costs every node. */
static void set_policy(struct core *c)
{
	const char *text = c->map.whole && c->map.policy ? c->map.policy : NULL;
	size_t len = text ? c->map.policy_len : 0;
	struct policy *pol = NULL;
	struct diags d;
	struct err err = { 0 };

	if (c->policy_set && c->policy_files == c->files && c->policy_owner == c->files->owner && len == c->policy_len &&
	    (text == NULL) == (c->policy_text == NULL) && (!text || memcmp(text, c->policy_text, len) == 0))
		return;
	c->map_error[0] = '\0';
	if (text) {
		diags_init(&d, "map");
		pol = policy_parse(span_of(text, len), POLICY_MAP, &d);
		if (!pol && !diags_err(&d, &err)) {
			/* Old rules with new people would be neither the old state nor the new. */
			log_error("the map's policy is not taken, nothing is allowed: %s", err.msg);
			snprintf(c->map_error, sizeof(c->map_error), "the map's policy: %.400s", err.msg);
		}
		diags_done(&d);
	}
	if (c->files->conf->glass.count) {
		struct policy *with = core_policy_with_glass(c->files->conf, pol ? span_of(text, len) : (struct span){ 0 },
		                                             POLICY_MAP);

		policy_unref(pol);
		pol = with;
	}
	world_set_policy(c->world, pol, c->files->owner, loop_wall(c->loop));
	policy_unref(pol);
	free(c->policy_text);
	c->policy_text = text ? mem_dup(text, len) : NULL;
	c->policy_len = len;
	c->policy_owner = c->files->owner;
	c->policy_files = c->files;
	c->policy_set = true;
}

void core_map_changed(struct core *c)
{
	set_map(c);
	set_policy(c);
	refusals_look(c->refusals);
	/* Whose second key is in use is seen soon. */
	if (c->paths && world_turning(c->world))
		loop_timer_after(c->paths, SEC_NS);
	core_changed(c);
}

static void vouched(void *arg)
{
	struct core *c = arg;

	c->vouched = false;
	if (c->files && c->files->vouch)
		core_map_changed(c);
}

/* ---- map file mode ---- */

static bool map_file_moved(struct core *c)
{
	struct map_file_mark mark = { 0 };
	struct stat st;

	if (stat(c->files->conf->map, &st) < 0)
		return false;
	mark = (struct map_file_mark){ st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_size, st.st_ino };
	if (memcmp(&mark, &c->map_mark, sizeof(mark)) == 0)
		return false;
	c->map_mark = mark;
	return true;
}

static void take_map_file(struct core *c, struct map *map)
{
	/* What was wrong with the file is over; what is wrong with its policy is said anew. */
	c->map_error[0] = '\0';
	c->policy_set = false;
	map_done(&c->map);
	c->map = *map;
	memset(map, 0, sizeof(*map));
	core_map_changed(c);
	log_info("map %s:%llu from %s: %zu nodes", c->map.epoch, (unsigned long long)c->map.seq,
	         c->files->conf->map, c->map.node_count);
}

/* A file that is not whole leaves the old map in force, and says so once. */
static void on_map_poll(void *arg)
{
	struct core *c = arg;
	struct err err = { 0 };
	struct map map;

	if (c->files->conf->mode != CONF_MAP_FILE)
		return;
	loop_timer_after(c->map_poll, MAP_POLL_MS * SEC_NS / 1000);
	if (!map_file_moved(c))
		return;
	if (core_map_read(c->files->conf->map, &map, &err)) {
		take_map_file(c, &map);
	} else {
		log_error("the old map stays: %s", err.msg);
		snprintf(c->map_error, sizeof(c->map_error), "%.500s", err.msg);
	}
}

/* ---- configuration ---- */

static void say_done(struct core *c, uint32_t generation, bool ok, struct span text)
{
	struct msg m = { .type = MSG_CONF_DONE };
	struct err err = { 0 };

	m.conf_done.generation = generation;
	m.conf_done.ok = ok;
	m.conf_done.text = span_head(text, MSG_TEXT_MAX);
	if (!channel_send(c->parent, &m, NULL, 0, &err))
		log_error("parent: %s", err.msg);
}

static void pong(struct core *c)
{
	struct msg m = { .type = MSG_PONG };
	struct err err = { 0 };

	if (!channel_send(c->parent, &m, NULL, 0, &err))
		log_error("parent: %s", err.msg);
}

/* Listens at a new place before the configuration counts, so that one in use is said in time. */
static bool prepare_metrics(struct core *c, struct err *err)
{
	const char *want = c->next->conf->metrics;

	if (strcmp(want, c->files ? c->files->conf->metrics : "") == 0)
		return true;
	c->next->has_metrics = true;
	return !*want || (c->next->metrics_fd = metrics_listen(want, err)) >= 0;
}

static void use_metrics(struct core *c)
{
	struct err err = { 0 };

	if (!c->files->has_metrics)
		return;
	metrics_free(c->metrics);
	c->metrics = NULL;
	if (c->files->metrics_fd >= 0 && !(c->metrics = metrics_new(c, take_fd(&c->files->metrics_fd), &err)))
		log_error("%s", err.msg);
}

/* Before the first configuration is used, what we are is on disk alone. */
static bool prepare_issuers(const struct core *c, const struct conf *conf, struct err *err)
{
	scoped_buf struct buf text = { 0 }, path = { 0 };
	struct enrolment e = { 0 };
	struct err unread;

	if (conf->mode != CONF_MESH || c->files)
		return enrolment_issuers_ok(c->enrolment.url, conf, err);
	buf_init(&path, 4096);
	buf_addf(&path, "%s/enrolment.json", conf->state_dir);
	if (!path.over && file_read(path.ptr, ENROLMENT_TEXT_MAX, &text, &unread) &&
	    enrolment_decode(buf_span(&text), &e, &unread))
		return enrolment_issuers_ok(e.url, conf, err);
	return true;    /* not enrolled yet: join.c asks again */
}

static void prepare(struct core *c, const struct msg_conf *m, int fd)
{
	scoped_buf struct buf text = { 0 }, words = { 0 };
	scoped_free char *dir = span_dup(m->dir), *file = span_dup(m->file);
	struct err err = { 0 };

	buf_init(&text, CONF_TEXT_MAX);
	buf_init(&words, 1 << 20);
	core_files_free(c->next);
	c->next = NULL;
	if (!msg_memfd_read(fd, CONF_TEXT_MAX, &text, &err))
		buf_addf(&words, "%s\n", err.msg);
	else
		c->next = core_files_read(m->generation, text.ptr ? buf_span(&text) : SPAN(""), dir, file, &words);
	if (c->next && c->files && (c->next->conf->mode != c->files->conf->mode ||
	                            c->next->conf->verify != c->files->conf->verify)) {
		buf_add_str(&words, "another mode, or another \"verify\", needs a restart\n");
		core_files_free(c->next);
		c->next = NULL;
	}
	if (c->next && c->next->conf->verify == CONF_VERIFY_IDP &&
	    !prepare_issuers(c, c->next->conf, &err)) {
		buf_addf(&words, "%s\n", err.msg);
		core_files_free(c->next);
		c->next = NULL;
	}
	if (c->next && c->next->conf->verify == CONF_VERIFY_IDP &&
	    !(c->next->vouch = vouch_new(c->loop, c->next->conf, on_vouched, c, &err))) {
		buf_addf(&words, "%s\n", err.msg);
		core_files_free(c->next);
		c->next = NULL;
	}
	if (c->next && !c->audit && !(c->audit = audit_open(c->loop, c->next->conf->audit, &err))) {
		buf_addf(&words, "%s\n", err.msg);
		core_files_free(c->next);
		c->next = NULL;
	}
	if (c->next && !prepare_metrics(c, &err)) {
		buf_addf(&words, "%s\n", err.msg);
		core_files_free(c->next);
		c->next = NULL;
	}
	say_done(c, m->generation, c->next != NULL, buf_span(&words));
}

/* The first configuration: what we are is read now. */
static bool start(struct core *c)
{
	struct err err = { 0 };

	core_state_load(c);
	c->world = world_new(core_state_epoch(c));
	world_set_successors(c->world, c->successors);
	c->paths = loop_timer_new(c->loop, core_paths_look, c);
	loop_timer_after(c->paths, SEC_NS);
	c->clock_look = loop_timer_new(c->loop, on_clock, c);
	loop_timer_after(c->clock_look, 0);
	c->browser_tick = loop_timer_new(c->loop, core_browsers_late, c);
	c->client = client_new(c->loop, &err);
	if (!c->client) {
		log_error("%s", err.msg);
		return false;
	}
	if (c->files->conf->mode == CONF_MESH) {
		c->sync = sync_new(c, c->client);
		c->join = join_new(c, c->client);
		c->rotate = rotate_new(c, c->client);
		c->aging = aging_new(c, c->client);
	}
	c->usage = usage_new(c, c->sync ? c->client : NULL);
	c->refusals = refusals_new(c, c->sync ? c->client : NULL);
	c->api = api_new(c, &err);
	if (!c->api) {
		log_error("%s", err.msg);
		return false;
	}
	if (c->confine && !c->confined && !c->confine(c->files->conf, &err)) {
		log_error("%s", err.msg);
		return false;
	}
	c->confined = true;
	return true;
}

static void use(struct core *c, uint32_t generation)
{
	struct core_files *old = c->files;
	struct msg m = { .type = MSG_READY };
	struct wall now = loop_wall(c->loop);
	struct err err = { 0 };

	if (!c->next || c->next->generation != generation) {
		log_error("configuration %u was not prepared", generation);
		return;
	}
	c->files = c->next;
	c->next = NULL;
	if (!old && !start(c)) {
		c->status = EXIT_FAILURE;
		loop_stop(c->loop);
		return;
	}
	/* Also without a change of its name: SIGHUP after a rotation. */
	if (old && !audit_reopen(c->audit, c->files->conf->audit, &err))
		log_error("the old audit file stays: %s", err.msg);
	if (old)
		api_set_conf(c->api);
	use_metrics(c);
	core_glass_listed(c);
	if (c->files->vouch) {
		vouch_set_successors(c->files->vouch, c->successors);
		core_state_load_verified(c);
	}
	world_set_forwards(c->world, &c->files->forwards);
	world_set_pages(c->world, &c->files->pages);
	world_set_conf(c->world, c->files->conf, generation, now);
	if (c->files->conf->mode == CONF_STANDALONE) {
		world_set_identities(c->world, &c->files->ids, now);
		c->files->has_ids = false;
		world_set_policy(c->world, c->files->policy, NULL, now);
	} else if (c->files->conf->mode == CONF_MAP_FILE) {
		map_file_moved(c);
		take_map_file(c, &c->files->map);
		c->files->has_map = false;
		loop_timer_after(c->map_poll, MAP_POLL_MS * SEC_NS / 1000);
	} else {
		if (!old)
			rotate_resume(c->rotate);
		core_map_changed(c);
		if (!old && c->enrolment.enrolled && !c->enrolment.down)
			sync_start(c->sync);
		else if (old)
			sync_report(c->sync);
		aging_conf(c->aging);
	}
	core_names_use(c);
	core_files_free(old);
	core_assertion_use(c);
	core_changed(c);
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++)
		if (c->fronts[i].channel)
			core_front_certificates(c, &c->fronts[i]);
	m.conf.generation = generation;
	if (!channel_send(c->parent, &m, NULL, 0, &err))
		log_error("parent: %s", err.msg);
}

/* ---- neighbours ---- */

static void on_front(void *arg, const struct msg *m, int *fds, size_t n)
{
	struct core_front *f = arg;

	(void)fds;
	(void)n;
	switch (m->type) {
	case MSG_SNAPSHOT_DONE:
		core_front_done(f->core, f, &m->snapshot_done);
		break;
	case MSG_ASSERT:
		core_assertion_ask(f->core, f, &m->assert_);
		break;
	case MSG_BROWSER:
		core_browser_ask(f->core, f, &m->browser);
		break;
	case MSG_AUDIT:
		if (f->core->audit)
			audit_lines(f->core->audit, m->audit.lines);
		break;
	case MSG_AUDIT_LOST:
		if (f->core->audit)
			audit_lost(f->core->audit, m->audit_lost.count);
		break;
	case MSG_USED:
		usage_front(f->core->usage, m->used.snapshot, m->used.slot);
		break;
	case MSG_METRICS:
		metrics_part(f->core->metrics, f, &m->metrics);
		break;
	case MSG_UPSTREAM:
		core_health_told(f->core, f, &m->upstream);
		break;
	default:
		break;
	}
}

static void on_front_gone(void *arg, const struct err *why)
{
	struct core_front *f = arg;

	if (why->code != ERR_MISSING)
		log_error("%s %u: %s", process_kind_name(f->kind), f->index, why->msg);
	channel_free(f->channel);
	f->channel = NULL;
	core_browsers_settle(f->core);
	metrics_gone(f->core->metrics, f);
	core_health_forget(f->core, f);
	core_browsers_settle(f->core);
}

static void on_net(void *arg, const struct msg *m, int *fds, size_t n)
{
	struct core *c = arg;

	(void)fds;
	(void)n;
	if (m->type == MSG_DONE)
		core_net_done(c, &m->done);
	else if (m->type == MSG_STATUS)
		core_net_status(c, &m->status);
	else if (m->type == MSG_NAMED)
		core_names_done(c, &m->named);
}

static void on_net_gone(void *arg, const struct err *why)
{
	struct core *c = arg;

	if (why->code != ERR_MISSING)
		log_error("net: %s", why->msg);
	channel_free(c->net);
	c->net = NULL;
	core_net_down(c);
}

static struct core_front *front_slot(struct core *c, enum process_kind kind, uint16_t index)
{
	if (index >= CONF_FRONTS_MAX)
		return NULL;
	return &c->fronts[index + (kind == PROCESS_PUBLIC ? CONF_FRONTS_MAX : 0)];
}

static void neighbour(struct core *c, const struct msg_neighbour *m, int *fd)
{
	struct core_front *f;

	switch (m->kind) {
	case PROCESS_NET:
		channel_free(c->net);
		core_net_down(c);
		c->net = channel_new(c->loop, *fd, PROCESS_CORE, PROCESS_NET, on_net, on_net_gone, c);
		*fd = -1;
		core_net_up(c);
		core_names_up(c);
		break;
	case PROCESS_FRONT: case PROCESS_PUBLIC:
		f = front_slot(c, (enum process_kind)m->kind, m->index);
		if (!f) {
			log_error("%s %u: no such front", process_kind_name((enum process_kind)m->kind), m->index);
			break;
		}
		channel_read_rest(f->channel);          /* the audit lines of the life before */
		channel_free(take(f->channel));
		metrics_gone(c->metrics, f);
		core_health_forget(c, f);
		f->core = c;
		f->kind = (enum process_kind)m->kind;
		f->index = m->index;
		f->channel = channel_new(c->loop, *fd, PROCESS_CORE, f->kind, on_front, on_front_gone, f);
		*fd = -1;
		core_front_up(c, f);
		break;
	default:
		log_error("an unexpected neighbour: %s", process_kind_name((enum process_kind)m->kind));
	}
}

/* The fronts have ended before: their last audit lines may still wait here. */
static void leave(struct core *c)
{
	for (size_t i = 0; i < CORE_FRONTS_MAX; i++)
		channel_read_rest(c->fronts[i].channel);
	loop_stop(c->loop);
}

static void on_parent(void *arg, const struct msg *m, int *fds, size_t n)
{
	struct core *c = arg;

	switch (m->type) {
	case MSG_CONF:
		prepare(c, &m->conf, fds[0]);
		break;
	case MSG_CONF_USE:
		use(c, m->conf.generation);
		break;
	case MSG_CONF_DROP:
		core_files_free(c->next);
		c->next = NULL;
		break;
	case MSG_NEIGHBOUR:
		if (n == 1)
			neighbour(c, &m->neighbour, &fds[0]);
		break;
	case MSG_PING:
		pong(c);
		break;
	case MSG_END:
		leave(c);
		break;
	default:
		break;
	}
}

static void on_parent_gone(void *arg, const struct err *why)
{
	struct core *c = arg;

	if (why->code != ERR_MISSING)
		log_error("parent: %s", why->msg);
	leave(c);
}

static void on_signal(void *arg, int signo)
{
	/* The terminal tells everybody; the parent says in which order we go. */
	(void)arg;
	(void)signo;
}

static void end(struct core *c)
{
	if (c->files)
		on_store(c);
	metrics_free(c->metrics);
	api_free(c->api);
	core_fronts_free(c);
	core_assertion_free(c);
	core_browsers_free(c);
	core_health_forget(c, NULL);
	core_net_down(c);
	core_names_free(c);
	aging_free(c->aging);
	rotate_free(c->rotate);
	join_free(c->join);
	refusals_free(c->refusals);
	usage_free(c->usage);
	sync_free(c->sync);
	client_free(c->client);
	channel_free(c->net);
	channel_free(c->parent);
	audit_free(c->audit);
	world_free(c->world);
	map_done(&c->map);
	claims_memory_free(c->memory);
	successors_free(c->successors);
	secret_done(&c->key);
	free(c->policy_text);
	core_files_free(c->files);
	core_files_free(c->next);
	loop_timer_free(c->net_again);
	loop_timer_free(c->tick);
	loop_timer_free(c->store);
	loop_timer_free(c->map_poll);
	loop_timer_free(c->paths);
	loop_timer_free(c->clock_look);
	loop_free(c->loop);
}

int core_main(int parent, bool (*confine)(const struct conf *conf, struct err *err))
{
	struct core c = { .confine = confine, .snapshot_fd = -1, .words_fd = -1, .public_fd = -1 };
	struct err err = { 0 };

	c.last = &c.first;
	c.loop = loop_new(&err);
	if (!c.loop) {
		log_error("%s", err.msg);
		return EXIT_FAILURE;
	}
	loop_signal_add(c.loop, SIGINT, on_signal, &c);
	loop_signal_add(c.loop, SIGTERM, on_signal, &c);
	loop_signal_add(c.loop, SIGHUP, on_signal, &c);
	map_init(&c.map);
	c.memory = claims_memory_new();
	c.successors = successors_new();
	/* Snapshots of a later core are newer than those of an earlier one. */
	c.generation = (uint64_t)clock_boot().ns;
	c.tick = loop_timer_new(c.loop, on_tick, &c);
	c.map_poll = loop_timer_new(c.loop, on_map_poll, &c);
	c.store = loop_timer_new(c.loop, on_store, &c);
	c.parent = channel_new(c.loop, parent, PROCESS_CORE, PROCESS_PARENT, on_parent, on_parent_gone, &c);
	if (!loop_run(c.loop, &err)) {
		log_error("%s", err.msg);
		c.status = EXIT_FAILURE;
	}
	end(&c);
	return c.status;
}
