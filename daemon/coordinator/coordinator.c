/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/api_table.h"
#include "daemon/coordinator/ldap_feed.h"

#include "daemon/coordinator/own.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/refused.h"
#include "daemon/control/rotate.h"
#include "daemon/control/used.h"
#include "daemon/coordinator/lifetime.h"
#include "daemon/coordinator/refresh.h"
#include "daemon/coordinator/seal.h"

#include <errno.h>
#include <grp.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COORDINATOR_TRACED 1
#endif
#endif
#ifndef COORDINATOR_TRACED
#define COORDINATOR_TRACED 0
#endif

enum {
	ADMIN_BODY_MAX = 32 << 20,      /* a policy of POLICY_TEXT_MAX with its escapes */
	SCIM_BODY_MAX = 1 << 20,        /* a group of ten thousand; and what strangers may send */
	FILES_MAX = 65536,
};

const struct route public_routes[] = {
	{ "GET",  "/v1/enrol",        api_hello,        0 },
	{ "POST", "/v1/enrol/start",  api_enrol_start,  START_BODY_MAX },
	{ "POST", "/v1/enrol/prove",  api_enrol_prove,  1 << 10 },
	{ "POST", "/v1/enrol/finish", api_enrol_finish, ENROL_BODY_MAX },
	{ "GET",  "/login/",          api_login_get,    0 },
	{ "POST", "/login/logout/",   api_backchannel,  20 << 10 },
	{ "POST", "/login/",          api_login_post,   4 << 10 },
	{ "GET",  "/source",          api_source,       0 },
	{ "GET",  "/idp/.well-known/openid-configuration", api_own_discovery, 0 },
	{ "GET",  "/idp/jwks",        api_own_jwks,     0 },
	{ "GET",  "/idp/authorize",   api_own_authorize, 0 },
	{ "POST", "/idp/token",       api_own_token,    8 << 10 },
	{ "GET",  "/idp/flow/",       api_own_flow_get, 0 },
	{ "POST", "/idp/flow/",       api_own_flow_post, OWN_BODY_MAX },
	{ "GET",  "/idp/link",        api_own_link,     0 },
	{ "GET",  "/idp/passkey.js",  api_own_script,   0 },
	{ "GET",  "/idp/account",     api_own_account,  0 },
	{ "GET",  "/idp/logout",      api_own_logout_get, 0 },
	{ "POST", "/idp/logout",      api_own_logout_post, 4 << 10 },
	{ "GET",    "/api/v1/",       api_admin,        0 },
	{ "POST",   "/api/v1/",       api_admin,        SCIM_BODY_MAX },
	{ "PUT",    "/api/v1/",       api_admin,        SCIM_BODY_MAX },
	{ "DELETE", "/api/v1/",       api_admin,        0 },
	{ "GET",    "/scim/v2/",      api_scim,         0 },
	{ "POST",   "/scim/v2/",      api_scim,         SCIM_BODY_MAX },
	{ "PUT",    "/scim/v2/",      api_scim,         SCIM_BODY_MAX },
	{ "PATCH",  "/scim/v2/",      api_scim,         SCIM_BODY_MAX },
	{ "DELETE", "/scim/v2/",      api_scim,         0 },
	{ NULL, NULL, NULL, 0 },
};

const struct route mesh_routes[] = {
	{ "GET",    "/v1/map",          api_map,            0 },
	{ "POST",   "/v1/map/ack",      api_map_ack,        256 },
	{ "POST",   "/v1/map/refused",  api_map_refused,    REFUSED_BODY_MAX },
	{ "POST",   "/v1/map/used",     api_map_used,       USED_BODY_MAX },
	{ "POST",   "/v1/node",         api_node_report,    MAP_REPORT_MAX },
	{ "POST",   "/v1/login/start",  api_session_start,  1 << 10 },
	{ "POST",   "/v1/login/finish", api_session_finish, ENROL_BODY_MAX },
	{ "POST",   "/v1/logout",       api_logout,         1 << 10 },
	{ "GET",    "/v1/rotate",       api_rotate_state,   0 },
	{ "GET",    "/v1/rotate/due",   api_rotate_due,     0 },
	{ "POST",   "/v1/rotate/start", api_rotate_start,   ROTATE_BODY_MAX },
	{ "POST",   "/v1/rotate/prove", api_rotate_prove,   ROTATE_PROVE_MAX },
	{ "POST",   "/v1/rotate/finish", api_rotate_finish, ROTATE_BODY_MAX },
	{ "POST",   "/v1/browser/redeem", api_browser_redeem, BROWSER_MSG_MAX },
	{ "POST",   "/v1/browser/renew", api_browser_renew, BROWSER_MSG_MAX },
	{ "POST",   "/v1/browser/end",  api_browser_end,    BROWSER_MSG_MAX },
	{ "GET",    "/api/v1/",         api_admin,          0 },
	{ "POST",   "/api/v1/",         api_admin,          ADMIN_BODY_MAX },
	{ "PUT",    "/api/v1/",         api_admin,          ADMIN_BODY_MAX },
	{ "DELETE", "/api/v1/",         api_admin,          0 },
	{ "GET",    "/source",          api_source,         0 },
	{ "GET",    "/",                api_portal,         0 },
	{ "POST",   "/session/end",     api_portal,         PORTAL_BODY_MAX },
	{ "POST",   "/session/logout",  api_portal,         PORTAL_BODY_MAX },
	{ "POST",   "/device/remove",   api_portal,         PORTAL_BODY_MAX },
	{ NULL, NULL, NULL, 0 },
};

/* ---- changes ---- */

static void set_expiry(struct coordinator *co);

void coordinator_commit(struct coordinator *co, struct store_job *job)
{
	uint64_t before = co->reg->seq;
	bool     hub = false;

	for (size_t i = 0; i < job->changes.count; i++)
		hub |= job->changes.list[i].kind == ROW_NODE &&
		       job->changes.list[i].id == co->reg->hub;
	registry_apply(co->reg, &job->changes, loop_wall(co->loop), loop_now(co->loop));
	if (hub)
		registry_pins(co->reg);
	if (co->reg->seq != before && co->feeds)
		feeds_changed(co->feeds);
	set_expiry(co);
}

void coordinator_submit(struct coordinator *co, struct request *r, struct store_job *job,
			store_done_fn *done)
{
	struct err err;

	job->who = r->id;
	job->done = done;
	if (!store_submit(co->store, job, &err))
		request_error(r, &err);
}

/* ---- time ---- */

static void on_own(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;

	if (err) {
		log_error("a change of our own: %s", err->msg);
		loop_timer_after(co->expiry, 10 * SEC_NS);
		return;
	}
	coordinator_commit(co, job);
}

static void on_sessions_expired(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;

	for (size_t i = 0; !err && i < job->changes.count; i++) {
		const struct session_row *s = job->changes.list[i].kind == ROW_SESSION
						      ? job->changes.list[i].session
						      : NULL;

		if (!s)
			continue;
		struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "session-ended");
		audit_id(b, "session", 's', s->id);
		audit_id(b, "node", 'n', s->node);
		audit_id(b, "user", 'u', s->user);
		audit_str(b, "why", s->why);
		audit_end(co->audit);
	}
	on_own(owner, job, err);
}

/* Whether the wall clock is believed. One that was just set ends nothing for good: whom it shows to be
 * over is let in nowhere, and comes back with it. */
static bool clock_believed(struct coordinator *co)
{
	bool moved, ok = clock_watch(&co->clock, loop_wall(co->loop), loop_now(co->loop), &moved);

	if (!moved)
		return ok;
	log_warn(ok ? "the clock was set back to what it was"
	            : "the clock was set: sessions and nodes that it ends are kept until it has stayed so for %d seconds",
	         CLOCK_SETTLE_SEC);
	registry_clock_set(co->reg);
	feeds_changed(co->feeds);
	return ok;
}

static void on_expiry(void *arg)
{
	struct coordinator *co = arg;
	struct wall         now = loop_wall(co->loop);
	struct end_op      *op;
	struct err          err;

	if (!clock_believed(co)) {
		loop_timer_after(co->expiry, LIFE_SEC * SEC_NS);
		return;
	}
	if (registry_next_expiry(co->reg).sec > now.sec) {
		set_expiry(co);
		return;
	}
	op = end_op_new("expired", now);
	op->expired = true;
	op->job.done = on_sessions_expired;
	if (!store_submit(co->store, &op->job, &err))
		loop_timer_after(co->expiry, SEC_NS);
}

static void set_expiry(struct coordinator *co)
{
	struct wall next = registry_next_expiry(co->reg), now = loop_wall(co->loop);
	int64_t     wait = next.sec - now.sec;

	/* Looked at each minute anyhow: the wall clock may be set. */
	if (next.sec == INT64_MAX || wait > 60)
		wait = 60;
	loop_timer_after(co->expiry, (wait > 0 ? wait : 0) * SEC_NS + 10 * 1000000);
}

static void on_sweep(void *arg)
{
	struct coordinator *co = arg;
	struct wall         now = loop_wall(co->loop);
	struct err          err;

	if (!clock_believed(co)) {
		loop_timer_after(co->sweep, SWEEP_SEC * SEC_NS);
		return;
	}
	if (!store_submit(co->store, &sweep_op_new(now, (struct wall){ now.sec - KEEP_ENDED_SEC },
	                                           feeds_acked(co->feeds))->job, &err))
		log_warn("housekeeping: %s", err.msg);
	loop_timer_after(co->sweep, SWEEP_SEC * SEC_NS);
}

static void on_life(void *arg)
{
	struct coordinator *co = arg;

	lifetime_overdue(co);
	if (clock_believed(co))
		lifetime_round(co);
	loop_timer_after(co->life, LIFE_SEC * SEC_NS);
}

/* ---- a new epoch ---- */

static void on_epoch(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct epoch_op    *op = container_of(job, struct epoch_op, job);

	co->changing_epoch = false;
	if (err) {
		log_error("beginning a new epoch: %s", err->msg);
		return;
	}
	memcpy(co->reg->mesh.epoch, op->epoch, sizeof(co->reg->mesh.epoch));
	coordinator_commit(co, job);
	feeds_restart(co->feeds);
	audit_str(audit_begin(co->audit, loop_wall(co->loop), "new-epoch"), "epoch", op->epoch);
	audit_end(co->audit);
}

static void on_ahead(void *ctx)
{
	struct coordinator *co = ctx;
	unsigned char       raw[8];
	struct buf          hex;
	struct err          err;

	if (co->changing_epoch)
		return;
	random_bytes(raw, sizeof(raw));
	buf_init(&hex, 32);
	hex_add(&hex, span_of(raw, sizeof(raw)));
	struct epoch_op *op = epoch_op_new(hex.ptr);
	buf_done(&hex);
	op->job.done = on_epoch;
	co->changing_epoch = store_submit(co->store, &op->job, &err);
}

/* A seq of its own for what did not change in the database. */
static void bump(void *ctx)
{
	struct coordinator *co = ctx;
	struct reg_node    *hub = registry_node(co->reg, co->reg->hub);
	struct node_set_op *op = hub ? node_set_op_new(hub->id) : NULL;
	struct err          err;

	if (!op)
		return;
	op->job.done = on_own;
	if (!store_submit(co->store, &op->job, &err))
		log_error("%s", err.msg);
}

/* ---- what several handlers need ---- */

static const char *joined(struct arena *mem, char *const *list, size_t n)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_add_char(&b, '\n');
		buf_add_str(&b, list[i]);
	}
	return b.len ? arena_str(mem, buf_span(&b)) : "";
}

void coordinator_person(const struct coordinator *co, const struct attempt *a, const char *from,
			struct arena *mem, struct store_person *ret)
{
	const struct identity *w = &a->who;

	*ret = (struct store_person){
		.issuer = w->issuer,
		.sub = w->sub,
		.login = w->login,
		.name = w->name,
		.email = w->email,
		.groups = joined(mem, w->groups, w->n_groups),
		.groups_known = w->groups_known,
		.acr = w->acr,
		.amr = joined(mem, w->amr, w->n_amr),
		.mfa = w->mfa,
		.cross_device = a->cross_device,
		.auth_time = w->auth_time,
		.expires = lifetime_session(co->conf, w->auth_time, loop_wall(co->loop)),
		.from = from,
		.provider = a->provider,
		.sid = w->sid,
		.refresh = secret_span(&a->refresh),
		.seal = co->conf->refresh_every ? seal_token : NULL,
		.seal_ctx = co->seal,
	};
	if (!w->groups_known)
		log_info("%s: the token says nothing of groups; those of an earlier login stay",
			 w->login);
	/* The words of a policy's auth are acr and amr; what the provider's rows make MFA must say
	 * so. */
	struct span rest = span_str(ret->amr), item;
	bool        says = false;
	while (row_list_next(&rest, &item))
		says |= span_eq(item, SPAN("mfa"));
	if (w->mfa && !says) {
		struct span amr =
			ret->amr[0] ? arena_printf(mem, "%s\nmfa", ret->amr) : SPAN("mfa");

		ret->amr = amr.ptr;
	}
	if (a->id_token) {
		struct store_evidence *e = arena_alloc(mem, sizeof(*e));
		unsigned               n = 0;

		e->id_token = a->id_token;
		memcpy(e->opening, a->opening, sizeof(e->opening));
		if (EVP_Digest(a->id_token, strlen(a->id_token), e->hash, &n, EVP_sha256(), NULL) != 1 ||
		    n != sizeof(e->hash))
			abort();
		ret->evidence = e;
		ret->device = true;
	}
}

bool coordinator_pin_ok(struct coordinator *co, const struct enrol_pin *pin)
{
	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < co->reg->pin_count; i++)
			if (memcmp(&co->reg->pins[i], pin, sizeof(*pin)) == 0)
				return true;
		/* A certificate may be new; its file is looked at, but not at a stranger's pace. */
		if (!boot_passed(boot_add(co->pins_read, 5 * SEC_NS), loop_now(co->loop)))
			return false;
		co->pins_read = loop_now(co->loop);
		registry_pins(co->reg);
	}
	return false;
}

static void reply_now(void *ctx, uint64_t id)
{
	struct coordinator    *co = ctx;
	struct request        *r = http_find(co->http, id);
	const struct reg_node *n = r ? registry_node(co->reg, r->subject) : NULL;
	const struct reg_node *hub = registry_node(co->reg, co->reg->hub);
	struct enrol_reply     reply = { .done = true };
	scoped_buf struct buf  out = { 0 };

	if (!r)
		return;
	if (!n || !hub) {
		request_fail(r, ERR_MISSING, "the node is gone again");
		return;
	}
	reply.node = view_node(co->reg, n, loop_wall(co->loop));
	reply.hub = view_hub(co->reg, loop_wall(co->loop));
	reply.control = (struct ipport){ hub->row->v4, (uint16_t)co->conf->hub_port };
	view_mesh(co->reg, &reply.mesh);
	buf_init(&out, ENROL_REPLY_MAX);
	enrol_reply_encode(&reply, &out);
	enrol_reply_done(&reply);
	request_json(r, 200, &out);
}

void coordinator_reply_node(struct coordinator *co, uint64_t request, uint64_t node)
{
	struct request *r = http_find(co->http, request);

	if (!r)
		return;
	r->subject = node;
	if (r->listener == LISTENER_MESH) {
		/* The hub knows this node already. Once its fronts know the session they end what came
		 * as somebody else, this request's connection with it: the answer goes before that. */
		reply_now(co, request);
		return;
	}
	feeds_when_acked(co->feeds, co->reg->hub, co->reg->seq, HUB_WAIT_MS * INT64_C(1000000),
			 reply_now, co, request);
}

/* ---- start ---- */

static void notify(const char *words)
{
	const char        *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t             n = path ? strlen(path) : 0;

	if (n < 2 || n >= sizeof(sun.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sun.sun_path, path, n);
	if (sun.sun_path[0] == '@')
		sun.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, words, strlen(words), MSG_NOSIGNAL, (struct sockaddr *)&sun,
	           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		log_warn("NOTIFY_SOCKET: %s", strerror(errno));
	close(fd);
}

static void fail(struct coordinator *co, const struct err *err)
{
	co->failed = *err;
	co->status = 1;
	loop_stop(co->loop);
}

static bool uid_of(const char *name, uid_t *ret)
{
	const struct passwd *pw = getpwnam(name);

	if (!pw)
		return false;
	*ret = pw->pw_uid;
	return true;
}

static bool open_doors(struct coordinator *co, struct err *err)
{
	scoped_free char *public_path = conf_path(co->conf, co->conf->run_dir, "public.sock");
	scoped_free char *mesh_path = conf_path(co->conf, co->conf->run_dir, "mesh.sock");
	uid_t             uids[16];
	size_t            n = 0;
	struct http_options o = {.public_path = public_path,
				 .mesh_path = mesh_path,
				 .public_routes = public_routes,
				 .mesh_routes = mesh_routes,
				 .front_uids = uids,
				 .odd_path = "/scim/",
				 .odd_error = scim_error_reply,
				 .hub_uid = (uid_t)-1,
				 .hub_node = co->reg->hub,
				 .ctx = co};

	for (size_t i = 0; i < co->conf->front_users.count && n < array_size(uids); i++)
		if (!uid_of(co->conf->front_users.list[i], &uids[n++]))
			return err_set(err, ERR_CONFIG, "\"front-users\": there is no user %s",
				       co->conf->front_users.list[i]);
	if (co->conf->hub_user[0] && !uid_of(co->conf->hub_user, &o.hub_uid)) {
		o.hub_uid = (uid_t)-1;
		log_warn("\"hub-user\": there is no user %s: the hub's reeved cannot read its map "
			 "here",
			 co->conf->hub_user);
	}
	o.front_uid_count = n;
	/* The hub's core and its fronts pass through; the sockets ask who they are. */
	if (mkdir(co->conf->run_dir, 0755) == 0 ? chmod(co->conf->run_dir, 0755) < 0
						: errno != EEXIST)
		return err_sys(err, "%s", co->conf->run_dir);
	co->http = http_new(co->loop, &o, err);
	return co->http != NULL;
}

static void on_loaded(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct load_op     *op = container_of(job, struct load_op, job);
	struct err          e = { 0 };

	if (err) {
		fail(co, err);
		return;
	}
	registry_loaded(co->reg, &op->mesh);
	registry_apply(co->reg, &job->changes, loop_wall(co->loop), loop_now(co->loop));
	/* What was revoked before this start is not this process's to measure. */
	co->reg->revoked_seq = 0;
	registry_pins(co->reg);
	co->feeds = feeds_new(co->loop, co->reg, co->audit);
	feeds_hooks(co->feeds, on_ahead, bump, co);
	if (!open_doors(co, &e)) {
		fail(co, &e);
		return;
	}
	co->loaded = true;
	ldap_feeds_start(co->ldap, true);
	set_expiry(co);
	loop_timer_after(co->sweep, SWEEP_SEC * SEC_NS);
	co->started = loop_wall(co->loop);
	clock_believed(co);
	loop_timer_after(co->life, LIFE_SEC * SEC_NS);
	refresher_start(co->refresher);
	audit_int(audit_begin(co->audit, loop_wall(co->loop), "start"), "seq",
		  (int64_t)co->reg->seq);
	audit_end(co->audit);
	log_note("mesh %s, %zu nodes, policy %llu: ready", co->reg->mesh.name,
		 dict_count(co->reg->nodes),
		 (unsigned long long)(co->reg->policy_row ? co->reg->policy_row->version : 0));
	notify("READY=1");
}

static void stop_loop(struct coordinator *co)
{
	loop_stop(co->loop);
}

static void on_end(void *arg, int signo)
{
	struct coordinator *co = arg;

	(void)signo;
	notify("STOPPING=1");
	/* Asked twice: at once. */
	if (co->ending || !co->loaded)
		loop_stop(co->loop);
	else
		refresher_drain(co->refresher, stop_loop);
	co->ending = true;
}

static struct conf *read_conf(const char *path)
{
	struct diags          diags;
	scoped_buf struct buf words = { 0 };

	diags_init(&diags, path);
	struct conf *c = conf_load(path, &diags);
	buf_init(&words, 256 << 10);
	diags_text(&diags, &words);
	if (words.len)
		fprintf(stderr, "%s", words.ptr);
	diags_done(&diags);
	return c;
}

/* Parse, then swap: a bad file leaves the old one in force. */
static void reload(struct coordinator *co)
{
	struct err          err;

	refresher_resume(co->refresher);
	audit_reopen(co->audit);
	struct conf *next = read_conf(co->conf_path);
	struct idp  *idp = next ? idp_new(co->loop, &next->issuers, &err) : NULL;
	struct ldap_feeds *ldap = idp ? ldap_feeds_new(co, next, &err) : NULL;
	if (!next || !idp || !ldap) {
		idp_free(idp);
		log_error("the configuration stays as it was: %s", next ? err.msg : "see above");
		conf_free(next);
		return;
	}
	if (strcmp(next->state_dir, co->conf->state_dir) != 0 ||
	    strcmp(next->run_dir, co->conf->run_dir) != 0)
		log_warn("\"state-dir\" and \"run-dir\" change with a restart only");
	/* Logins under way go back to their first page; their rows go with the old configuration.
	 */
	attempts_cancel(co->attempts);
	bearer_cancel(co);
	logout_cancel(co);
	idp_free(co->idp);
	co->idp = idp;
	ldap_feeds_free(co->ldap, false);
	co->ldap = ldap;
	struct conf *old = co->conf;
	co->conf = next;
	registry_conf(co->reg, next);
	conf_free(old);
	if (co->loaded)
		ldap_feeds_start(co->ldap, false);
	if (next->accounts.enabled && !co->own && !(co->own = own_new(co, &err)))
		log_error("own accounts: %s", err.msg);
	/* Roles may have changed: a new seq tells everybody. */
	bump(co);
	log_note("the configuration was read again");
}

static void on_reload(void *arg, int signo)
{
	struct coordinator *co = arg;

	(void)signo;
	if (!co->ending)
		refresher_drain(co->refresher, reload);
}

static bool start(struct coordinator *co, struct err *err)
{
	scoped_free char *db = conf_path(co->conf, co->conf->state_dir, "coordinator.db");
	scoped_free char *audit = co->conf->audit[0]
					  ? mem_strdup(co->conf->audit)
					  : conf_path(co->conf, co->conf->state_dir, "audit.json");

	co->audit = audit_open(audit, err);
	scoped_free char *key = conf_path(co->conf, co->conf->state_dir, "refresh.key");
	co->seal = co->audit ? seal_open_file(key, err) : NULL;
	co->idp = co->seal ? idp_new(co->loop, &co->conf->issuers, err) : NULL;
	if (!co->idp)
		return false;
	co->reg = registry_new(co->conf);
	co->attempts = attempts_new(co->loop);
	co->reports = rates_new(MAP_NODES_MAX);
	co->disbelief = disbelief_new();
	co->opens = rates_new(MAP_NODES_MAX);
	co->refresher = refresher_new(co);
	co->portal = portal_new(&portal_ops, co);
	co->expiry = loop_timer_new(co->loop, on_expiry, co);
	co->sweep = loop_timer_new(co->loop, on_sweep, co);
	co->life = loop_timer_new(co->loop, on_life, co);
	secret_random(&co->form_key, 32);
	co->store = accounts_seal(db, seal_totp, co->seal, err) ? store_open(co->loop, db, co, err) : NULL;
	if (!co->store)
		return err_prefix(err, "reeve-coordinator init makes a mesh: ");
	/* Before the rest, so that they are there when the doors open. */
	if (co->conf->accounts.enabled && !(co->own = own_new(co, err)))
		return false;
	co->ldap = ldap_feeds_new(co, co->conf, err);
	if (!co->ldap)
		return false;
	struct load_op *op = load_op_new();
	op->job.done = on_loaded;
	return store_submit(co->store, &op->job, err);
}

static void end(struct coordinator *co)
{
	loop_timer_free(co->expiry);
	loop_timer_free(co->sweep);
	loop_timer_free(co->life);
	if (co->feeds)
		feeds_close(co->feeds);
	if (co->http)
		logout_cancel(co);
	http_free(co->http);
	co->http = NULL;
	/* Before the rest: what was submitted is written, though nobody is told. */
	ldap_feeds_free(co->ldap, true);
	store_close(co->store);
	own_free(co->own);
	refresher_free(co->refresher);
	attempts_free(co->attempts);
	rates_free(co->reports);
	disbelief_free(co->disbelief);
	rates_free(co->opens);
	bearer_cancel(co);
	idp_free(co->idp);
	portal_free(co->portal);
	feeds_free(co->feeds);
	registry_free(co->reg);
	audit_close(co->audit);
	secret_done(&co->form_key);
	seal_free(co->seal);
	loop_free(co->loop);
	conf_free(co->conf);
}

/* Keys, passwords and tokens of everybody are in memory: no core file, no program that core_pattern hands
 * it to, nobody of the same user who traces. A leak checker traces its own process. */
static bool no_dumps(struct err *err)
{
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return err_sys(err, "RLIMIT_CORE");
#if !defined(__SANITIZE_ADDRESS__) && !COORDINATOR_TRACED
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(err, "prctl");
#endif
	return true;
}

int coordinator_run(const char *conf_path)
{
	struct coordinator co = { .conf_path = (char *)conf_path };
	struct err         err = { 0 };

	co.conf = read_conf(conf_path);
	if (!co.conf)
		return 2;
	log_open("reeve-coordinator", (enum log_level)co.conf->log_level);
	umask(0077);
	signal(SIGPIPE, SIG_IGN);
	/* One descriptor for each node that listens, and some. */
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX;
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			log_warn("RLIMIT_NOFILE: %s", strerror(errno));
	}
	co.loop = no_dumps(&err) ? loop_new(&err) : NULL;
	if (!co.loop) {
		log_error("%s", err.msg);
		conf_free(co.conf);
		return 1;
	}
	loop_signal_add(co.loop, SIGTERM, on_end, &co);
	loop_signal_add(co.loop, SIGINT, on_end, &co);
	loop_signal_add(co.loop, SIGHUP, on_reload, &co);
	if (!start(&co, &err)) {
		log_error("%s", err.msg);
		co.status = 1;
	} else if (!loop_run(co.loop, &err)) {
		log_error("%s", err.msg);
		co.status = 1;
	} else if (co.status) {
		log_error("%s", co.failed.msg);
	}
	end(&co);
	return co.status;
}
