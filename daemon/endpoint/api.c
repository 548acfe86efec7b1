/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/api.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/api_answer.h"
#include "daemon/endpoint/join.h"
#include "daemon/endpoint/rotate.h"
#include "daemon/endpoint/sync.h"

#include <errno.h>
#include <microhttpd.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum who { WHO_ANYBODY, WHO_USER, WHO_ADMIN };

enum { USERS_MAX = 512 };

struct api {
	struct core       *core;
	struct MHD_Daemon *daemon;
	struct loop_fd    *watch;
	struct loop_timer *timer;
	int                fd;
	char              *path;
	struct ask        *asks;
	uid_t              admins[USERS_MAX], users[USERS_MAX];
	size_t             admin_count, user_count;
	bool               users_any, running, scheduled;
};

/* One request. While it waits for an answer from elsewhere its connection is
 * suspended, and its own deadline runs: MHD's does not. */
struct ask {
	struct api            *api;
	struct ask            *next, **link;
	struct MHD_Connection *connection;
	struct buf             body;
	bool                   waiting;
	struct loop_timer     *deadline;
	struct MHD_Response   *response;        /* ready, not yet queued */
	unsigned               status;
	json_t                *partial;         /* of /v1/status */
};

struct route {
	const char *method, *path;
	enum who    who;
	void      (*fn)(struct ask *q, const json_t *body);
};

/* ---- answering ---- */

static void run_soon(struct api *a);

static void ready(struct ask *q, unsigned status, json_t *answer, const char *type)
{
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

	json_decref(answer);
	if (!text)
		text = mem_strdup("{}");
	if (q->response)
		MHD_destroy_response(q->response);
	q->response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	free(text);
	if (!q->response)
		abort();
	MHD_add_response_header(q->response, "Content-Type", type);
	MHD_add_response_header(q->response, "Cache-Control", "no-store");
	q->status = status;
	if (q->waiting) {
		q->waiting = false;
		loop_timer_set(q->deadline, BOOT_NEVER);
		MHD_resume_connection(q->connection);
		run_soon(q->api);
	}
}

static void answer(struct ask *q, json_t *o)
{
	ready(q, 200, o, "application/json");
}

static void refuse(struct ask *q, const struct err *err)
{
	unsigned status = api_problem_status(err->code);

	ready(q, status, api_problem(status, err), "application/problem+json");
}

static void refuse_with(struct ask *q, enum err_code code, const char *words)
{
	struct err err = { 0 };

	err_set(&err, code, "%s", words);
	refuse(q, &err);
}

static void forget(struct ask *q)
{
	struct core *c = q->api->core;

	if (c->join)
		join_forget(c->join, q);
	rotate_forget(c->rotate, q);
	core_net_forget(c, q);
}

static void on_deadline(void *arg)
{
	struct ask *q = arg;

	forget(q);
	refuse_with(q, ERR_TIMEOUT, "no answer in time");
}

static void wait_for(struct ask *q)
{
	if (q->response)
		return;
	q->waiting = true;
	if (!q->deadline)
		q->deadline = loop_timer_new(q->api->core->loop, on_deadline, q);
	loop_timer_after(q->deadline, API_ANSWER_SEC * SEC_NS);
	MHD_suspend_connection(q->connection);
}

/* ---- the questions ---- */

static struct span text_of(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_string(v) ? span_of(json_string_value(v), json_string_length(v)) : (struct span){ 0 };
}

static void do_whois(struct ask *q, const json_t *body)
{
	const char *addr = MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, "addr");
	struct ipport at = { 0 };
	json_t *o;

	(void)body;
	if (!addr || (!ip_parse(span_str(addr), &at.ip) && !ipport_parse(span_str(addr), &at))) {
		refuse_with(q, ERR_SYNTAX, "want addr=ADDRESS or addr=ADDRESS:PORT, numeric");
		return;
	}
	ip_fold(&at.ip);
	o = api_whois(q->api->core, &at.ip);
	if (o)
		answer(q, o);
	else
		refuse_with(q, ERR_MISSING, "the address is nobody's that this host was told of");
}

/* A client of Tailscale's local API: 404 is "no such peer", and the rest in its own words. */
static void do_localapi_whois(struct ask *q, const json_t *body)
{
	const char *addr = MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, "addr");
	struct ipport at = { 0 };
	json_t *o;

	(void)body;
	if (!addr || (!ip_parse(span_str(addr), &at.ip) && !ipport_parse(span_str(addr), &at))) {
		ready(q, 400, json_pack("{s:s}", "error", "invalid 'addr' parameter"), "application/json");
		return;
	}
	ip_fold(&at.ip);
	o = api_localapi_whois(q->api->core, &at.ip);
	if (o)
		answer(q, o);
	else
		ready(q, 404, json_pack("{s:s}", "error", "no match for IP:port"), "application/json");
}

static void on_status(void *arg, const struct msg_status *part, const struct err *err)
{
	struct ask *q = arg;

	if (part) {
		api_status_peers(q->partial, q->api->core, part);
		return;
	}
	/* Without net's part the rest is still true, and says that net is not there. */
	(void)err;
	answer(q, take(q->partial));
}

static void do_status(struct ask *q, const json_t *body)
{
	struct core *c = q->api->core;

	(void)body;
	if (c->files->conf->mode == CONF_STANDALONE || !c->told || !c->told->device) {
		answer(q, api_status(c));
		return;
	}
	json_decref(q->partial);
	q->partial = api_status(c);
	core_net_ask(c, on_status, q);
	wait_for(q);
}

static void on_joined(void *arg, const struct enrol_reply *reply, const struct err *err)
{
	struct ask *q = arg;

	if (err)
		refuse(q, err);
	else
		answer(q, reply ? api_joined(reply, q->api->core) : json_pack("{s:s}", "state", "done"));
}

static uint16_t port_of(const json_t *body)
{
	return (uint16_t)(json_integer_value(json_object_get(body, "loopback")) & 0xffff);
}

static void do_login(struct ask *q, const json_t *body)
{
	struct enrol_login l = { .loopback = port_of(body), .device = true };
	const json_t *max_age = json_object_get(body, "max_age");

	l.silent = json_is_true(json_object_get(body, "silent"));
	l.has_max_age = json_is_integer(max_age) && json_integer_value(max_age) >= 0;
	l.max_age = l.has_max_age ? json_integer_value(max_age) : 0;
	if (!span_cstr(text_of(body, "issuer"), l.issuer, sizeof(l.issuer)) ||
	    !span_cstr(text_of(body, "acr"), l.acr, sizeof(l.acr)) || l.max_age > INT32_MAX) {
		refuse_with(q, ERR_SYNTAX, "\"issuer\", \"acr\" or \"max_age\" is too long");
		return;
	}
	join_login(q->api->core->join, &l, on_joined, q);
	wait_for(q);
}

static bool read_finish(struct ask *q, const json_t *body, struct enrol_finish *f)
{
	if (span_cstr(text_of(body, "attempt"), f->attempt, sizeof(f->attempt)) && *f->attempt &&
	    span_cstr(text_of(body, "ticket"), f->ticket, sizeof(f->ticket)))
		return true;
	refuse_with(q, ERR_SYNTAX, "want \"attempt\" and \"ticket\"");
	return false;
}

static void do_login_finish(struct ask *q, const json_t *body)
{
	struct enrol_finish f = { 0 };

	if (!read_finish(q, body, &f))
		return;
	join_login_finish(q->api->core->join, &f, text_of(body, "query"), on_joined, q);
	wait_for(q);
}

static void do_up_finish(struct ask *q, const json_t *body)
{
	struct enrol_finish f = { 0 };

	if (!read_finish(q, body, &f))
		return;
	join_up_finish(q->api->core->join, &f, text_of(body, "query"), on_joined, q);
	wait_for(q);
}

static void on_left(void *arg, const struct enrol_reply *reply, const struct err *err)
{
	struct ask *q = arg;

	if (err)
		refuse(q, err);
	else
		answer(q, json_pack("{s:s, s:s}", "state", "done", "url", reply ? reply->url : ""));
}

static void do_logout(struct ask *q, const json_t *body)
{
	(void)body;
	join_logout(q->api->core->join, on_left, q);
	wait_for(q);
}

/* Up again where it was down; or enrols. */
static void do_up(struct ask *q, const json_t *body)
{
	struct core *c = q->api->core;
	struct join_ask ask = { .name = "", .issuer = "" };
	struct enrol_pin pins[ENROL_PINS_MAX];
	struct enrol_key key = { 0 };
	char url[ENROL_URL_MAX] = "", name[64] = "", issuer[ENROL_ISSUER_MAX + 1] = "";
	struct span text = text_of(body, "enrol_key");
	const json_t *list = json_object_get(body, "pins");
	struct err err = { 0 };

	if (c->enrolment.enrolled && !text.len && !text_of(body, "url").len) {
		struct enrolment e = c->enrolment;

		e.down = false;
		if (c->enrolment.down && !core_state_store_enrolment(c, &e, &err)) {
			refuse(q, &err);
			return;
		}
		sync_start(c->sync);
		core_changed(c);
		answer(q, json_pack("{s:s}", "state", "done"));
		return;
	}
	if (!c->enrolment.enrolled && !text.len && !text_of(body, "url").len) {
		refuse_with(q, ERR_NOTNOW, "this node is not enrolled: reeve up URL --pin PIN");
		return;
	}
	if (text.len && !enrol_key_parse(text, &key, &err)) {
		refuse(q, &err);
		return;
	}
	if (!span_cstr(text_of(body, "name"), name, sizeof(name)) ||
	    !span_cstr(text_of(body, "issuer"), issuer, sizeof(issuer)) ||
	    !span_cstr(text_of(body, "url"), url, sizeof(url)) || json_array_size(list) > ENROL_PINS_MAX) {
		enrol_key_done(&key);
		refuse_with(q, ERR_SYNTAX, "\"name\", \"issuer\", \"url\" or \"pins\" is too long");
		return;
	}
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!enrol_pin_parse(span_str(json_string_value(json_array_get(list, i))), &pins[ask.pin_count++])) {
			enrol_key_done(&key);
			refuse_with(q, ERR_SYNTAX, "a pin is base64 of 32 bytes, as reeved on the hub logs it");
			return;
		}
	ask.url = url;
	ask.pins = pins;
	ask.name = name;
	if (text.len) {
		ask.url = key.url;
		ask.pins = key.pins;
		ask.pin_count = key.pin_count;
		ask.enrol_key = secret_span(&key.secret);
	} else {
		ask.loopback = port_of(body);
		ask.issuer = issuer;
	}
	join_up(c->join, &ask, on_joined, q);
	enrol_key_done(&key);
	wait_for(q);
}

static void do_down(struct ask *q, const json_t *body)
{
	struct core *c = q->api->core;
	struct enrolment e = c->enrolment;
	struct err err = { 0 };

	if (!e.enrolled) {
		refuse_with(q, ERR_NOTNOW, "this node is not enrolled");
		return;
	}
	sync_stop(c->sync);
	if (json_is_true(json_object_get(body, "forget"))) {
		core_state_forget(c);
		core_map_changed(c);
	} else {
		e.down = true;
		if (!core_state_store_enrolment(c, &e, &err)) {
			refuse(q, &err);
			return;
		}
	}
	core_changed(c);
	answer(q, json_pack("{s:s}", "state", "down"));
}

static void on_rotated(void *arg, const struct rotate_done *done, const struct err *err)
{
	struct ask *q = arg;
	scoped_buf struct buf key = { 0 };

	if (err) {
		refuse(q, err);
		return;
	}
	buf_init(&key, 64);
	base64_add(&key, span_of(done->key, sizeof(done->key)));
	answer(q, json_pack("{s:s, s:s, s:I}", "state", "done", "key", key.ptr, "away", (json_int_t)done->away));
}

static void do_rotate(struct ask *q, const json_t *body)
{
	rotate_begin(q->api->core->rotate, json_is_true(json_object_get(body, "listed")), on_rotated, q);
	wait_for(q);
}

static const struct route routes[] = {
	{ "GET",  "/v1/status",       WHO_ANYBODY, do_status },
	{ "GET",  "/v1/whois",        WHO_ANYBODY, do_whois },
	{ "GET",  "/localapi/v0/whois", WHO_ANYBODY, do_localapi_whois },
	{ "POST", "/v1/up",           WHO_ADMIN,   do_up },
	{ "POST", "/v1/up/finish",    WHO_ADMIN,   do_up_finish },
	{ "POST", "/v1/down",         WHO_ADMIN,   do_down },
	{ "POST", "/v1/rotate",       WHO_ADMIN,   do_rotate },
	{ "POST", "/v1/login",        WHO_USER,    do_login },
	{ "POST", "/v1/login/finish", WHO_USER,    do_login_finish },
	{ "POST", "/v1/logout",       WHO_USER,    do_logout },
};

/* ---- who asks ---- */

static bool listed(const uid_t *list, size_t n, uid_t uid)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == uid)
			return true;
	return false;
}

static enum who who_asks(const struct api *a, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	socklen_t len = sizeof(struct ucred);
	struct ucred cred;

	if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || len != sizeof(cred))
		return WHO_ANYBODY;
	if (cred.uid == 0 || (a->core->files->conf->unprivileged && cred.uid == getuid()) ||
	    listed(a->admins, a->admin_count, cred.uid))
		return WHO_ADMIN;
	if (a->users_any || listed(a->users, a->user_count, cred.uid))
		return WHO_USER;
	return WHO_ANYBODY;
}

static size_t find_users(const struct conf_strs *names, uid_t *list)
{
	size_t n = 0;

	for (size_t i = 0; i < names->count && n < USERS_MAX; i++) {
		const struct passwd *pw = getpwnam(names->list[i]);

		if (pw)
			list[n++] = pw->pw_uid;
		else
			log_warn("there is no user \"%s\" here", names->list[i]);
	}
	return n;
}

void api_set_conf(struct api *a)
{
	const struct conf *conf = a->core->files->conf;

	a->admin_count = find_users(&conf->admins, a->admins);
	a->user_count = find_users(&conf->mesh.users, a->users);
	a->users_any = conf->mesh.users.count == 0;
}

/* ---- libmicrohttpd ---- */

static void dispatch(struct ask *q, const char *method, const char *path)
{
	struct err err = { 0 };
	json_t *body = NULL;
	bool path_known = false;

	if (q->body.over) {
		refuse_with(q, ERR_LIMIT, "the request is too large");
		return;
	}
	for (size_t i = 0; i < array_size(routes); i++) {
		const struct route *r = &routes[i];

		if (strcmp(r->path, path) != 0)
			continue;
		path_known = true;
		if (strcmp(r->method, method) != 0)
			continue;
		if (who_asks(q->api, q->connection) < r->who) {
			refuse_with(q, ERR_DENIED, r->who == WHO_ADMIN
			            ? "this is root's to do, and that of \"admins\" in reeved's configuration"
			            : "this is for those whom reeved's configuration names in \"users\"");
			return;
		}
		if (r->who != WHO_ANYBODY && !q->api->core->join) {
			refuse_with(q, ERR_CONFIG, "this reeved runs without a coordinator");
			return;
		}
		if (q->body.len && !(body = json_read(buf_span(&q->body), API_BODY_MAX, &err))) {
			refuse(q, &err);
			return;
		}
		r->fn(q, body);
		json_decref(body);
		return;
	}
	if (path_known)
		refuse_with(q, ERR_SYNTAX, "another method is wanted");
	else
		refuse_with(q, ERR_MISSING, "no such question");
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
	struct api *a = arg;
	struct ask *q = *state;

	(void)version;
	if (!q) {
		q = mem_alloc(sizeof(*q));
		q->api = a;
		q->connection = connection;
		buf_init(&q->body, API_BODY_MAX);
		q->link = &a->asks;
		q->next = a->asks;
		if (q->next)
			q->next->link = &q->next;
		a->asks = q;
		*state = q;
		return MHD_YES;
	}
	if (*size) {
		buf_add(&q->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	if (!q->response && !q->waiting)
		dispatch(q, method, url);
	if (q->response) {
		struct MHD_Response *r = take(q->response);
		enum MHD_Result result = MHD_queue_response(connection, q->status, r);

		MHD_destroy_response(r);
		return result;
	}
	return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
	struct ask *q = *state;

	(void)arg;
	(void)connection;
	(void)code;
	if (!q)
		return;
	forget(q);
	*q->link = q->next;
	if (q->next)
		q->next->link = q->link;
	loop_timer_free(q->deadline);
	if (q->response)
		MHD_destroy_response(q->response);
	json_decref(q->partial);
	buf_wipe_done(&q->body);        /* may hold an enrolment key */
	free(q);
	*state = NULL;
}

static void run(struct api *a)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (a->running)
		return;
	a->running = true;
	MHD_run(a->daemon);
	a->running = false;
	if (MHD_get_timeout(a->daemon, &ms) == MHD_YES)
		loop_timer_after(a->timer, (int64_t)ms * (SEC_NS / 1000));
	else
		loop_timer_set(a->timer, BOOT_NEVER);
}

static void on_event(void *arg, uint32_t events)
{
	(void)events;
	run(arg);
}

static void on_timer(void *arg)
{
	run(arg);
}

static void on_later(void *arg)
{
	struct api *a = arg;

	a->scheduled = false;
	run(a);
}

static void run_soon(struct api *a)
{
	if (a->scheduled)
		return;
	a->scheduled = true;
	loop_later(a->core->loop, on_later, a);
}

static int listen_at(const char *path, struct err *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd;

	if (!span_cstr(span_str(path), at.sun_path, sizeof(at.sun_path))) {
		err_set(err, ERR_LIMIT, "%s: a socket's path has at most %zu bytes", path, sizeof(at.sun_path) - 1);
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		err_sys(err, "socket");
		return -1;
	}
	if (unlink(path) < 0 && errno != ENOENT) {
		err_sys(err, "%s", path);
		close(fd);
		return -1;
	}
	/* Everybody local may connect; what they may do is judged by who they are. */
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || chmod(path, 0666) < 0 ||
	    listen(fd, API_CONNECTIONS_MAX) < 0) {
		err_sys(err, "%s", path);
		close(fd);
		return -1;
	}
	return fd;
}

struct api *api_new(struct core *c, struct err *err)
{
	struct api *a = mem_alloc(sizeof(*a));
	const union MHD_DaemonInfo *info;
	size_t size = strlen(c->files->conf->run_dir) + sizeof("/api.sock");

	a->core = c;
	a->path = mem_alloc(size);
	snprintf(a->path, size, "%s/api.sock", c->files->conf->run_dir);
	a->fd = listen_at(a->path, err);
	if (a->fd < 0)
		goto bad;
	a->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL,
	                             NULL, on_request, a, MHD_OPTION_LISTEN_SOCKET, a->fd,
	                             MHD_OPTION_CONNECTION_LIMIT, (unsigned)API_CONNECTIONS_MAX,
	                             MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)API_IDLE_SEC,
	                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(16 << 10),
	                             MHD_OPTION_NOTIFY_COMPLETED, on_completed, a,
	                             MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	info = a->daemon ? MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		err_set(err, ERR_SYS, "%s: libmicrohttpd did not start", a->path);
		goto bad;
	}
	a->watch = loop_fd_add(c->loop, info->epoll_fd, EPOLLIN, on_event, a);
	a->timer = loop_timer_new(c->loop, on_timer, a);
	api_set_conf(a);
	return a;
bad:
	if (a->daemon)
		MHD_stop_daemon(a->daemon);
	else if (a->fd >= 0)
		close(a->fd);
	free(a->path);
	free(a);
	return NULL;
}

void api_free(struct api *a)
{
	if (!a)
		return;
	for (struct ask *q = a->asks; q; q = q->next) {
		if (!q->waiting)
			continue;
		forget(q);
		q->waiting = false;
		MHD_resume_connection(q->connection);
	}
	loop_fd_remove(a->watch);
	loop_timer_free(a->timer);
	MHD_stop_daemon(a->daemon);
	unlink(a->path);
	free(a->path);
	free(a);
}
