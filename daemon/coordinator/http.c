/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/http.h"

#include "daemon/control/enrol.h"
#include "daemon/control/map.h"
#include "web/page.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { STREAM_KEEP = 16 << 10 };        /* bytes that an idle stream may hold */

struct door {
	struct http        *http;
	enum listener       which;
	const struct route *routes;
	char               *path;
	int                 fd;
	struct MHD_Daemon  *daemon;
	struct loop_fd     *watch;
};

struct http {
	struct loop        *loop;
	struct door         doors[2];
	struct loop_timer  *timer;      /* libmicrohttpd's own timeouts */
	struct loop_timer  *tick;       /* ours, of parked requests */
	bool                again;      /* a turn of both daemons is due */
	uid_t              *uids;
	size_t              uid_count;
	uid_t               hub_uid;
	uint64_t            hub_node;
	const char         *odd_path;
	void              (*odd_error)(struct request *r, const struct err *err);
	void               *ctx;
	struct dict        *requests;   /* by id */
	struct request     *parked;
	uint64_t            next_id;
	bool                ending;
	struct http_stats   stats;
};

struct stream {
	struct http    *http;
	struct MHD_Connection *connection;
	struct buf      out;
	size_t          sent;           /* of out */
	bool            parked, end;
	stream_gone_fn *on_gone;
	void           *arg;
};

/* ---- turns of libmicrohttpd ---- */

static void turn(void *arg);

static void due(struct http *h)
{
	if (h->again)
		return;
	h->again = true;
	loop_later(h->loop, turn, h);
}

static void turn(void *arg)
{
	struct http *h = arg;
	int64_t      wait = INT64_MAX;

	h->again = false;
	for (int i = 0; i < 2; i++) {
		MHD_UNSIGNED_LONG_LONG ms;

		if (!h->doors[i].daemon)
			continue;
		MHD_run(h->doors[i].daemon);
		if (MHD_get_timeout(h->doors[i].daemon, &ms) == MHD_YES && (int64_t)ms < wait)
			wait = (int64_t)ms;
	}
	if (wait == 0)
		wait = 1;       /* it has more to do: let other descriptors have their turn first */
	if (wait == INT64_MAX)
		loop_timer_set(h->timer, BOOT_NEVER);
	else
		loop_timer_after(h->timer, wait * 1000000);
}

static void on_event(void *arg, uint32_t events)
{
	struct door *d = arg;

	(void)events;
	turn(d->http);
}

/* ---- requests ---- */

static struct span id_span(const uint64_t *id)
{
	return span_of(id, sizeof(*id));
}

struct request *http_find(struct http *h, uint64_t id)
{
	struct request *r = dict_find(h->requests, id_span(&id));

	return r && !r->replied ? r : NULL;
}

struct loop *http_loop(struct http *h)
{
	return h->loop;
}

static void unpark(struct request *r)
{
	if (!r->link_parked)
		return;
	*r->link_parked = r->next_parked;
	if (r->next_parked)
		r->next_parked->link_parked = r->link_parked;
	r->link_parked = NULL;
	r->http->stats.parked--;
}

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *con)
{
	struct door    *d = arg;
	struct request *r = mem_alloc(sizeof(*r));

	r->id = ++d->http->next_id;
	r->http = d->http;
	r->listener = d->which;
	r->connection = con;
	r->target = mem_strdup(uri);
	buf_init(&r->body, 1);
	dict_put(d->http->requests, id_span(&r->id), r);
	d->http->stats.requests++;
	return r;
}

static void request_free(struct request *r)
{
	unpark(r);
	dict_remove(r->http->requests, id_span(&r->id));
	if (r->response)
		MHD_destroy_response(r->response);
	buf_wipe_done(&r->body);        /* it may have held an enrolment key */
	free(r->cookie);
	free(r->bearer);
	free(r->target);
	free(r);
}

static void on_completed(void *arg, struct MHD_Connection *con, void **ctx,
			 enum MHD_RequestTerminationCode code)
{
	(void)arg;
	(void)con;
	(void)code;
	if (*ctx)
		request_free(*ctx);
	*ctx = NULL;
}

static void refuse(struct request *r, enum err_code code, const char *words)
{
	if (r->refused)
		return;
	r->refused = true;
	err_set(&r->why, code, "%s", words);
	r->http->stats.refused++;
}

/* Each of these headers has one author, the front; what is there twice has another one. */
static const char *header_once(struct request *r, const char *name)
{
	const char *v = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);

	return v && *v ? v : NULL;
}

struct counting { const char *name; unsigned n; };

static enum MHD_Result count_header(void *arg, enum MHD_ValueKind kind, const char *key,
				    const char *value)
{
	struct counting *c = arg;

	(void)kind;
	(void)value;
	c->n += strcasecmp(key, c->name) == 0;
	return MHD_YES;
}

const char *request_header(struct request *r, const char *name)
{
	struct counting c = { .name = name };

	MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_header, &c);
	return c.n == 1 ? header_once(r, name) : NULL;
}

static uint64_t header_id(struct request *r, const char *name, char kind)
{
	struct counting c = { .name = name };
	const char     *v = header_once(r, name);
	uint64_t        n = 0;

	if (!v)
		return 0;
	MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_header, &c);
	if (c.n != 1 || !map_id_parse(span_str(v), kind, &n))
		refuse(r, ERR_SYNTAX, "an identity header that is none");
	return n;
}

static bool may_connect(struct request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred cred;
	socklen_t    len = sizeof(cred);

	if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
	    len != sizeof(cred))
		return false;
	/* The relying party asks the accounts of its own house (own.h). */
	r->self = r->listener == LISTENER_PUBLIC && cred.pid == getpid();
	if (r->self)
		return true;
	r->root = r->listener == LISTENER_MESH && cred.uid == 0;
	for (size_t i = 0; i < r->http->uid_count; i++)
		if (cred.uid == r->http->uids[i])
			return true;
	if (r->root)
		return true;
	r->hub = r->listener == LISTENER_MESH && cred.uid == r->http->hub_uid;
	return r->hub;
}

static void identify(struct request *r)
{
	const char *from = header_once(r, "X-Forwarded-For");
	const char *cookie = header_once(r, "Cookie");

	if (!may_connect(r)) {
		refuse(r, ERR_DENIED, "this socket is the front's");
		return;
	}
	if (from && !ip_parse(span_str(from), &r->from))
		r->from = (struct ip){ 0 };
	if (cookie)
		r->cookie = mem_strdup(cookie);
	if (r->listener != LISTENER_MESH)
		return;
	if (r->hub) {
		/* Its own socket says who it is, and it may be nobody else. */
		r->node = r->http->hub_node;
		return;
	}
	r->node = header_id(r, "Reeve-Node", 'n');
	r->user = header_id(r, "Reeve-User", 'u');
	r->session = header_id(r, "Reeve-Session", 's');
	/* A front names the node of every request; root's own tools name nobody. */
	r->root = r->root && !r->node && !r->user && !r->session && !from;
	if (!r->node && !r->root)
		refuse(r, ERR_DENIED, "no node calls");
}

static const struct route *find_route(struct request *r, const char *method)
{
	const struct route *table = r->http->doors[r->listener].routes;
	bool                known = false;

	for (; table->method; table++) {
		struct span p = span_str(table->path);
		bool        below = p.len > 1 && p.ptr[p.len - 1] == '/';

		if (below ? !span_starts(r->path, p) : !span_eq(r->path, p))
			continue;
		known = true;
		if (strcmp(method, table->method) == 0) {
			r->rest = below ? span_from(r->path, p.len) : (struct span){ "", 0 };
			return table;
		}
	}
	refuse(r, known ? ERR_SYNTAX : ERR_MISSING,
	       known ? "not with this method" : "there is nothing here");
	return NULL;
}

static void begin(struct request *r, const char *method)
{
	size_t len = strlen(r->target), q;

	identify(r);
	r->post = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
	if (len > HTTP_PATH_MAX * 4) {
		refuse(r, ERR_LIMIT, "the request's target is too long");
		return;
	}
	r->path = span_of(r->target, len);
	q = span_find(r->path, '?');
	r->query = span_from(r->path, q + 1);
	r->path.len = q < len ? q : len;
	/* No path of ours needs an escape: so none can be read in two ways. */
	if (r->path.len > HTTP_PATH_MAX || span_find(r->path, '%') != r->path.len ||
	    r->path.ptr[0] != '/') {
		refuse(r, ERR_MISSING, "there is nothing here");
		return;
	}
	if (!r->refused)
		r->route = find_route(r, strcmp(method, "HEAD") == 0 ? "GET" : method);
	if (r->route)
		r->body.max = r->route->body_max ? r->route->body_max : 1;
}

static enum MHD_Result queue(struct request *r)
{
	enum MHD_Result ok = MHD_queue_response(r->connection, r->status, r->response);

	MHD_destroy_response(r->response);
	r->response = NULL;
	return ok;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *con, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **ctx)
{
	struct request *r = *ctx;

	(void)arg;
	(void)con;
	(void)url;
	(void)version;
	if (!r)
		return MHD_NO;
	if (!r->path.ptr) {     /* the headers are there */
		begin(r, method);
		return MHD_YES;
	}
	if (*size) {
		/* Too much is read to its end, within the front's limit, and refused. */
		buf_add(&r->body, data, *size);
		if (r->body.over)
			refuse(r, ERR_LIMIT, "the request's body is too large");
		*size = 0;
		return MHD_YES;
	}
	if (!r->dispatched) {
		r->dispatched = true;
		if (r->http->ending)
			refuse(r, ERR_BUSY, "shutting down");
		if (r->refused)
			request_error(r, &r->why);
		else
			r->route->fn(r->http->ctx, r);
	}
	if (r->response)
		return queue(r);
	if (r->replied)
		return MHD_NO;
	if (!r->parked) {
		r->parked = true;
		r->deadline = boot_add(loop_now(r->http->loop), HTTP_PARKED_SEC * SEC_NS);
		r->next_parked = r->http->parked;
		r->link_parked = &r->http->parked;
		if (r->next_parked)
			r->next_parked->link_parked = &r->next_parked;
		r->http->parked = r;
		r->http->stats.parked++;
		MHD_suspend_connection(con);
	}
	return MHD_YES;
}

/* ---- answers ---- */

static void answer(struct request *r, unsigned status, struct MHD_Response *response)
{
	if (r->replied || !response) {
		if (response)
			MHD_destroy_response(response);
		return;
	}
	r->replied = true;
	r->status = status;
	r->response = response;
	if (r->parked) {
		r->parked = false;
		unpark(r);
		MHD_resume_connection(r->connection);
		due(r->http);
	}
}

void request_reply_with(struct request *r, unsigned status, const char *type, struct span body,
			const struct reply_header *headers, size_t n)
{
	struct MHD_Response *resp = MHD_create_response_from_buffer(
		body.len, (void *)(body.len ? body.ptr : ""), MHD_RESPMEM_MUST_COPY);

	if (resp) {
		if (type)
			MHD_add_response_header(resp, "Content-Type", type);
		MHD_add_response_header(resp, "Cache-Control", "no-store");
		MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
		for (size_t i = 0; i < n; i++)
			MHD_add_response_header(resp, headers[i].name, headers[i].value);
	}
	answer(r, status, resp);
}

void request_reply(struct request *r, unsigned status, const char *type, struct span body)
{
	request_reply_with(r, status, type, body, NULL, 0);
}

void request_json(struct request *r, unsigned status, struct buf *json)
{
	if (json->over)
		request_fail(r, ERR_LIMIT, "the answer is too large");
	else
		request_reply(r, status, "application/json", buf_span(json));
}

void request_error(struct request *r, const struct err *err)
{
	scoped_buf struct buf b = { 0 };

	if (r->http->odd_path && r->path.ptr && span_starts(r->path, span_str(r->http->odd_path))) {
		r->http->odd_error(r, err);
		return;
	}
	buf_init(&b, 4096);
	/* What the system said stays in the journal. */
	if (err->code == ERR_SYS) {
		struct err plain;

		log_error("%s: %s", r->target, err->msg);
		err_set(&plain, ERR_SYS, "the coordinator could not do it; its log says why");
		enrol_error_encode(&plain, &b);
	} else {
		enrol_error_encode(err, &b);
	}
	request_reply(r, enrol_error_status(err->code), "application/json", buf_span(&b));
}

void request_unauthorized(struct request *r)
{
	static const struct reply_header ask = { "WWW-Authenticate", "Bearer" };
	struct err            err;
	scoped_buf struct buf b = { 0 };

	err_set(&err, ERR_DENIED, "a token is needed, and a good one");
	if (r->http->odd_path && span_starts(r->path, span_str(r->http->odd_path))) {
		r->status = 401;        /* the form's own function says it */
		r->http->odd_error(r, &err);
		return;
	}
	buf_init(&b, 1024);
	enrol_error_encode(&err, &b);
	request_reply_with(r, 401, "application/json", buf_span(&b), &ask, 1);
}

void request_fail(struct request *r, enum err_code code, const char *fmt, ...)
{
	struct err err;
	char       msg[ERR_MSG_MAX];
	va_list    ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	err_set(&err, code, "%s", msg);
	request_error(r, &err);
}

void request_page(struct request *r, struct page *p)
{
	struct page_header headers[PAGE_HEADERS_MAX];
	size_t             n = page_headers(p, headers);
	struct span        body = buf_span(&p->body);
	struct MHD_Response *resp = MHD_create_response_from_buffer(
		body.len, (void *)(body.len ? body.ptr : ""), MHD_RESPMEM_MUST_COPY);

	for (size_t i = 0; resp && i < n; i++)
		MHD_add_response_header(resp, headers[i].name, headers[i].value);
	answer(r, (unsigned)p->status, resp);
}

/* ---- streams ---- */

static ssize_t stream_read(void *arg, uint64_t pos, char *out, size_t max)
{
	struct stream *s = arg;
	size_t         n = s->out.len - s->sent;

	(void)pos;
	if (n == 0) {
		if (s->end)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (!s->parked) {
			s->parked = true;
			MHD_suspend_connection(s->connection);
		}
		return 0;
	}
	if (n > max)
		n = max;
	memcpy(out, s->out.ptr + s->sent, n);
	s->sent += n;
	if (s->sent == s->out.len) {
		buf_clear(&s->out);
		s->sent = 0;
		/* A full map came through here, and changes are small. */
		if (s->out.cap > STREAM_KEEP) {
			buf_done(&s->out);
			buf_init(&s->out, HTTP_STREAM_MAX);
		}
	} else if (s->sent > (1 << 20)) {
		buf_drop(&s->out, s->sent);
		s->sent = 0;
	}
	return (ssize_t)n;
}

static void stream_free(void *arg)
{
	struct stream *s = arg;

	s->http->stats.streams--;
	s->on_gone(s->arg, s);
	buf_done(&s->out);
	free(s);
}

struct stream *request_stream(struct request *r, stream_gone_fn *on_gone, void *arg)
{
	struct stream *s = mem_alloc(sizeof(*s));

	s->http = r->http;
	s->connection = r->connection;
	s->on_gone = on_gone;
	s->arg = arg;
	buf_init(&s->out, HTTP_STREAM_MAX);
	struct MHD_Response *resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 8192,
								      stream_read, s, stream_free);
	if (!resp) {
		buf_done(&s->out);
		free(s);
		return NULL;
	}
	s->http->stats.streams++;
	MHD_add_response_header(resp, "Content-Type", "application/x-ndjson");
	MHD_add_response_header(resp, "Cache-Control", "no-store");
	MHD_add_response_header(resp, "X-Accel-Buffering", "no");
	answer(r, 200, resp);
	return s;
}

static void stream_wake(struct stream *s)
{
	if (s->parked) {
		s->parked = false;
		MHD_resume_connection(s->connection);
	}
	due(s->http);
}

bool stream_write(struct stream *s, struct span bytes)
{
	if (s->end)
		return false;
	if (s->out.len - s->sent + bytes.len > HTTP_STREAM_MAX) {
		stream_end(s);
		return false;
	}
	buf_add_span(&s->out, bytes);
	stream_wake(s);
	return true;
}

void stream_end(struct stream *s)
{
	s->end = true;
	stream_wake(s);
}

/* ---- deadlines ---- */

static void on_tick(void *arg)
{
	struct http *h = arg;

	for (struct request *r = h->parked, *next; r; r = next) {
		next = r->next_parked;
		if (boot_passed(r->deadline, loop_now(h->loop)))
			request_fail(r, ERR_TIMEOUT, "this took too long");
	}
	loop_timer_after(h->tick, SEC_NS);
}

static void on_timer(void *arg)
{
	turn(arg);
}

/* ---- start and end ---- */

static int listen_unix(const char *path, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat        st;
	int                fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		err_set(err, ERR_CONFIG, "%s: a socket's path has at most %zu bytes", path,
			sizeof(sun.sun_path) - 1);
		return -1;
	}
	memcpy(sun.sun_path, path, strlen(path));
	/* A socket that a dead process left; nothing else is taken away. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || chmod(path, 0666) < 0 ||
	    listen(fd, 1024) < 0) {
		err_sys(err, "%s", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static bool door_open(struct door *d, unsigned limit, struct err *err)
{
	d->fd = listen_unix(d->path, err);
	if (d->fd < 0)
		return false;
	d->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, d,
		MHD_OPTION_LISTEN_SOCKET, d->fd, MHD_OPTION_URI_LOG_CALLBACK, on_uri, d,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, d, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)HTTP_MEMORY, MHD_OPTION_CONNECTION_LIMIT, limit,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_SEC,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (!d->daemon) {
		close(d->fd);
		return err_set(err, ERR_SYS, "%s: libmicrohttpd does not start", d->path);
	}
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(d->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return err_set(err, ERR_SYS, "libmicrohttpd has no epoll descriptor");
	d->watch = loop_fd_add(d->http->loop, info->epoll_fd, EPOLLIN, on_event, d);
	return true;
}

struct http *http_new(struct loop *loop, const struct http_options *o, struct err *err)
{
	struct http *h = mem_alloc(sizeof(*h));

	h->loop = loop;
	h->uids = mem_dup(o->front_uids, o->front_uid_count * sizeof(uid_t));
	h->uid_count = o->front_uid_count;
	h->hub_uid = o->hub_uid;
	h->hub_node = o->hub_node;
	h->odd_path = o->odd_path;
	h->odd_error = o->odd_error;
	h->ctx = o->ctx;
	h->requests = dict_new();
	h->timer = loop_timer_new(loop, on_timer, h);
	h->tick = loop_timer_new(loop, on_tick, h);
	h->doors[LISTENER_PUBLIC] = (struct door){.http = h,
						  .which = LISTENER_PUBLIC,
						  .fd = -1,
						  .path = mem_strdup(o->public_path),
						  .routes = o->public_routes};
	h->doors[LISTENER_MESH] = (struct door){.http = h,
						.which = LISTENER_MESH,
						.fd = -1,
						.path = mem_strdup(o->mesh_path),
						.routes = o->mesh_routes};
	if (!door_open(&h->doors[LISTENER_PUBLIC], HTTP_PUBLIC_MAX, err) ||
	    !door_open(&h->doors[LISTENER_MESH], HTTP_MESH_MAX, err)) {
		http_free(h);
		return NULL;
	}
	loop_timer_after(h->tick, SEC_NS);
	return h;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	h->ending = true;
	/* Nothing may be suspended when a daemon stops. */
	while (h->parked)
		request_fail(h->parked, ERR_BUSY, "the coordinator is shutting down");
	for (int i = 0; i < 2; i++) {
		struct door *d = &h->doors[i];

		if (d->daemon) {
			MHD_run(d->daemon);
			loop_fd_remove(d->watch);
			MHD_stop_daemon(d->daemon);
			unlink(d->path);
		}
		free(d->path);
	}
	loop_timer_free(h->timer);
	loop_timer_free(h->tick);
	dict_free(h->requests);
	free(h->uids);
	free(h);
}

void http_stats(const struct http *h, struct http_stats *ret)
{
	*ret = h->stats;
	ret->connections = 0;
	for (int i = 0; i < 2; i++) {
		const union MHD_DaemonInfo *info = MHD_get_daemon_info(
			h->doors[i].daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

		if (info)
			ret->connections += info->num_connections;
	}
}
