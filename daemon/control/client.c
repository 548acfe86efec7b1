/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/client.h"

#include "base/buf.h"
#include "base/encode.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

struct client {
	struct loop           *loop;
	CURLM                 *multi;
	struct loop_timer     *timer;
	struct client_request *list;
	size_t                 count;
	unsigned               inside;  /* curl is on the stack: handles must stay */
};

struct client_request {
	struct client         *client;
	struct client_request *next, **link;
	CURL                  *easy;
	struct curl_slist     *headers;
	struct loop_timer     *idle;
	int64_t                idle_ns;
	struct buf             send, body;
	enum client_to         to;
	struct enrol_pin       pins[ENROL_PINS_MAX];
	size_t                 pin_count;
	client_data_fn        *on_data;
	client_done_fn        *on_done;
	void                  *arg;
	bool                   cancelled, idled;
	struct err             err;     /* what a callback of ours said; code 0: nothing */
	char                   curl_error[CURL_ERROR_SIZE];
};

static void request_free(struct client_request *r)
{
	if (r->link) {
		*r->link = r->next;
		if (r->next)
			r->next->link = r->link;
		r->client->count--;
	}
	if (r->easy) {
		curl_multi_remove_handle(r->client->multi, r->easy);
		curl_easy_cleanup(r->easy);
	}
	curl_slist_free_all(r->headers);
	loop_timer_free(r->idle);
	buf_wipe_done(&r->send);        /* may hold an enrolment key's secret */
	buf_done(&r->body);
	free(r);
}

/* The leaf's pin, from the connection that the request used. */
static bool pin_seen(struct client_request *r, struct enrol_pin *ret_pin)
{
	struct curl_certinfo *info = NULL;

	if (curl_easy_getinfo(r->easy, CURLINFO_CERTINFO, &info) != CURLE_OK || !info ||
	    info->num_of_certs < 1)
		return false;
	for (struct curl_slist *l = info->certinfo[0]; l; l = l->next) {
		if (strncmp(l->data, "Cert:", 5) != 0)
			continue;
		struct enrol_pin pin;
		if (!enrol_pin_of_pem(span_str(l->data + 5), &pin, NULL))
			return false;
		for (size_t i = 0; i < r->pin_count; i++)
			if (memcmp(pin.sha256, r->pins[i].sha256, sizeof(pin.sha256)) == 0) {
				*ret_pin = pin;
				return true;
			}
	}
	return false;
}

static enum err_code code_of(CURLcode rc)
{
	switch (rc) {
	case CURLE_OPERATION_TIMEDOUT:
		return ERR_TIMEOUT;
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		return ERR_CRYPTO;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		return ERR_SYS;
	default:
		return ERR_PEER;
	}
}

static void finished(struct client_request *r, CURLcode rc)
{
	struct client_reply reply = { 0 };
	struct err          err = r->err;
	long                status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	reply.status = (unsigned)status;
	if (err.code != ERR_NONE)
		;
	else if (rc != CURLE_OK)
		err_set(&err, code_of(rc), "%s",
			r->curl_error[0] ? r->curl_error : curl_easy_strerror(rc));
	else if (r->to == CLIENT_PUBLIC && !pin_seen(r, &reply.pin))
		err_set(&err, ERR_CRYPTO, "the TLS key is none of the pinned ones");
	reply.ok = err.code == ERR_NONE;
	reply.err = &err;
	if (reply.ok)
		reply.body = buf_span(&r->body);
	client_done_fn *fn = r->on_done;
	void           *arg = r->arg;
	/* The callback may free the client: nothing of either is touched after it. */
	struct buf body = r->body;
	r->body = (struct buf){ 0 };
	request_free(r);
	fn(arg, &reply);
	buf_done(&body);
}

/* Curl is off the stack: ends one request that has ended. Its callback may end
 * any other, and the client itself, so the rest is looked at from a fresh
 * stack: the timer makes curl say again when it wants to be called. */
static void settle(struct client *c)
{
	struct client_request *r, *next;
	int                    left;

	for (r = c->list; r; r = next) {
		next = r->next;
		if (r->cancelled)
			request_free(r);
	}
	for (r = c->list; r; r = r->next) {
		if (!r->idled)
			continue;
		err_set(&r->err, ERR_TIMEOUT, "nothing came for %lld s",
			(long long)(r->idle_ns / SEC_NS));
		loop_timer_after(c->timer, 0);
		finished(r, CURLE_OK);
		return;
	}
	CURLMsg *m = curl_multi_info_read(c->multi, &left);
	if (!m || m->msg != CURLMSG_DONE)
		return;
	CURLcode rc = m->data.result;
	curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
	loop_timer_after(c->timer, 0);
	finished(r, rc);
}

static void act(struct client *c, curl_socket_t fd, int what)
{
	int running;

	c->inside++;
	curl_multi_socket_action(c->multi, fd, what, &running);
	c->inside--;
	settle(c);
}

static void on_timer(void *arg)
{
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
	struct client *c = arg;

	(void)multi;
	if (ms < 0)
		loop_timer_set(c->timer, BOOT_NEVER);
	else
		loop_timer_after(c->timer, (int64_t)ms * 1000000);
	return 0;
}

/* One per socket that curl watches; freed when curl lets go of it. */
struct watch {
	struct client  *client;
	struct loop_fd *fd;
	curl_socket_t   sock;
};

static void on_socket(void *arg, uint32_t events)
{
	struct watch *w = arg;
	int           what = 0;

	if (events & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		what |= CURL_CSELECT_ERR;
	act(w->client, w->sock, what);
}

static int set_socket(CURL *easy, curl_socket_t sock, int what, void *arg, void *sock_arg)
{
	struct client *c = arg;
	struct watch  *w = sock_arg;
	uint32_t       events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w) {
			loop_fd_remove(w->fd);
			curl_multi_assign(c->multi, sock, NULL);
			loop_defer_free(c->loop, w);
		}
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	if (w) {
		loop_fd_set(w->fd, events);
		return 0;
	}
	w = mem_alloc(sizeof(*w));
	*w = (struct watch){ .client = c, .sock = sock };
	w->fd = loop_fd_add(c->loop, sock, events, on_socket, w);
	curl_multi_assign(c->multi, sock, w);
	return 0;
}

struct client *client_new(struct loop *loop, struct err *err)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		err_set(err, ERR_SYS, "curl does not start");
		return NULL;
	}
	CURLM *multi = curl_multi_init();
	if (!multi) {
		err_set(err, ERR_SYS, "curl does not start");
		return NULL;
	}
	struct client *c = mem_alloc(sizeof(*c));
	c->loop = loop;
	c->multi = multi;
	c->timer = loop_timer_new(loop, on_timer, c);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 8L);
	return c;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	while (c->list)
		request_free(c->list);
	curl_multi_cleanup(c->multi); /* closes idle connections: set_socket() is called for them */
	loop_timer_free(c->timer);
	free(c);
	curl_global_cleanup();
}

static size_t take_body(char *p, size_t size, size_t n, void *arg)
{
	struct client_request *r = arg;
	size_t                 len = size * n;
	long                   status = 0;

	if (r->cancelled)
		return 0;
	if (r->idle)
		loop_timer_after(r->idle, r->idle_ns);
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	if (r->on_data && status == 200) {
		if (!r->on_data(r->arg, span_of(p, len), &r->err)) {
			if (r->err.code == ERR_NONE)
				err_set(&r->err, ERR_PEER, "stopped");
			return 0;
		}
		return r->cancelled ? 0 : len;
	}
	buf_add(&r->body, p, len);
	if (r->body.over) {
		err_set(&r->err, ERR_LIMIT, "a reply beyond %zu bytes", r->body.max);
		return 0;
	}
	return len;
}

static void on_idle(void *arg)
{
	struct client_request *r = arg;

	r->idled = true;
	settle(r->client);
}

static bool header_ok(const char *h)
{
	return strpbrk(h, "\r\n") == NULL && strchr(h, ':') != NULL;
}

static bool target(struct client_request *r, const struct client_spec *s, struct buf *url,
		   struct err *err)
{
	char text[IP_TEXT_MAX];
	char base[ENROL_URL_MAX];

	if (!s->path || s->path[0] != '/' || strpbrk(s->path, " \r\n\t#"))
		return err_set(err, ERR_SYNTAX, "a path begins with a slash and has no blanks");
	switch (s->to) {
	case CLIENT_PUBLIC: {
		scoped_buf struct buf pins = { 0 };

		if (!enrol_url_check(span_str(s->url), base, err))
			return false;
		if (s->pin_count < 1 || s->pin_count > ENROL_PINS_MAX)
			return err_set(err, ERR_CONFIG, "1..%d pins, not %zu", ENROL_PINS_MAX,
				       s->pin_count);
		memcpy(r->pins, s->pins, s->pin_count * sizeof(*s->pins));
		r->pin_count = s->pin_count;
		buf_init(&pins, 512);
		for (size_t i = 0; i < s->pin_count; i++) {
			buf_add_str(&pins, i ? ";sha256//" : "sha256//");
			base64_add(&pins, span_of(s->pins[i].sha256, sizeof(s->pins[i].sha256)));
		}
		/* The pin says who it is; no authority and no name is asked beside it. */
		if (curl_easy_setopt(r->easy, CURLOPT_PINNEDPUBLICKEY, pins.ptr) != CURLE_OK)
			return err_set(err, ERR_SYS, "curl cannot pin keys");
		curl_easy_setopt(r->easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(r->easy, CURLOPT_SSL_VERIFYHOST, 0L);
		curl_easy_setopt(r->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
		curl_easy_setopt(r->easy, CURLOPT_CERTINFO, 1L);
		/* Each has a handshake of its own: nothing is reused that other pins let in. */
		curl_easy_setopt(r->easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(r->easy, CURLOPT_FORBID_REUSE, 1L);
		curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "https");
		buf_add_str(url, base);
		break;
	}
	case CLIENT_OVERLAY:
		curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http");
		buf_addf(url, "http://%s", ipport_text(&s->address, text));
		break;
	case CLIENT_UNIX:
		if (!s->socket ||
		    curl_easy_setopt(r->easy, CURLOPT_UNIX_SOCKET_PATH, s->socket) != CURLE_OK)
			return err_set(err, ERR_CONFIG, "no unix socket");
		curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http");
		buf_add_str(url, "http://localhost");
		break;
	default:
		return err_set(err, ERR_CONFIG, "no such kind of peer");
	}
	buf_add_str(url, s->path);
	return !url->over || err_set(err, ERR_LIMIT, "the URL is too long");
}

static bool prepare(struct client_request *r, const struct client_spec *s, struct err *err)
{
	scoped_buf struct buf url = { 0 }, line = { 0 };

	buf_init(&url, 8192);
	buf_init(&line, 8192);
	if (!target(r, s, &url, err))
		return false;
	if (s->header_count > CLIENT_HEADERS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d headers", CLIENT_HEADERS_MAX);
	for (size_t i = 0; i < s->header_count; i++) {
		if (!header_ok(s->headers[i]))
			return err_set(err, ERR_SYNTAX, "a header that is none");
		r->headers = curl_slist_append(r->headers, s->headers[i]);
	}
	if (s->host) {
		buf_addf(&line, "Host: %s", s->host);
		if (line.over || !header_ok(line.ptr))
			return err_set(err, ERR_SYNTAX, "a host that is none");
		r->headers = curl_slist_append(r->headers, line.ptr);
	}
	r->headers = curl_slist_append(r->headers, "Expect:");
	CURL *e = r->easy;
	if (s->body.ptr) {
		r->headers = curl_slist_append(r->headers, "Content-Type: application/json");
		buf_add_span(&r->send, s->body);
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)s->body.len);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->send.ptr ? r->send.ptr : "");
	}
	if (s->method)
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, s->method);
	int64_t ms = s->timeout_ms ? s->timeout_ms : CLIENT_TIMEOUT_MS;
	curl_easy_setopt(e, CURLOPT_URL, url.ptr);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, r->headers);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, ms < 0 ? 0L : (long)ms);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CLIENT_CONNECT_MS);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "reeve");
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->curl_error);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(e, CURLOPT_PRIVATE, r);
	return true;
}

struct client_request *client_start(struct client *c, const struct client_spec *s, struct err *err)
{
	if (c->count >= CLIENT_PARALLEL_MAX) {
		err_set(err, ERR_BUSY, "%d requests are under way", CLIENT_PARALLEL_MAX);
		return NULL;
	}
	struct client_request *r = mem_alloc(sizeof(*r));
	r->client = c;
	r->to = s->to;
	r->on_data = s->on_data;
	r->on_done = s->on_done;
	r->arg = s->arg;
	buf_init(&r->body, s->max ? s->max : CLIENT_BODY_MAX);
	buf_init(&r->send, s->body.len + 1);
	r->easy = curl_easy_init();
	if (!r->easy || !prepare(r, s, err)) {
		if (!r->easy)
			err_set(err, ERR_SYS, "curl does not start");
		request_free(r);
		return NULL;
	}
	if (s->idle_ms > 0) {
		r->idle_ns = s->idle_ms * 1000000;
		r->idle = loop_timer_new(c->loop, on_idle, r);
		loop_timer_after(r->idle, r->idle_ns);
	}
	if (curl_multi_add_handle(c->multi, r->easy) != CURLM_OK) {
		err_set(err, ERR_SYS, "curl does not take the request");
		request_free(r);
		return NULL;
	}
	r->next = c->list;
	r->link = &c->list;
	if (r->next)
		r->next->link = &r->next;
	c->list = r;
	c->count++;
	return r;
}

void client_cancel(struct client_request *r)
{
	if (!r)
		return;
	r->cancelled = true;
	if (!r->client->inside)
		request_free(r);
}
