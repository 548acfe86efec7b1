/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/fetch.h"

#include "base/buf.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

struct fetcher {
	struct loop       *loop;
	CURLM             *multi;
	struct loop_timer *timer;
	struct fetch      *list;
};

struct fetch {
	struct fetcher    *owner;
	struct fetch      *next, **prev;
	CURL              *easy;
	struct curl_slist *headers;
	struct loop_timer *deadline;    /* curl does not count the time that a transfer queues */
	struct buf         out, in;
	size_t             header_bytes;
	bool               too_much;
	struct err         refused;     /* could not even be started */
	char               why[CURL_ERROR_SIZE];
	fetch_fn          *fn;
	void              *arg;
};

static void collect(struct fetcher *f);

/* What curl_multi_assign() keeps per socket. */
struct sock {
	struct fetcher *owner;
	struct loop_fd *watch;
	curl_socket_t   fd;
};

static void on_sock(void *arg, uint32_t events)
{
	struct sock *s = arg;
	struct fetcher *f = s->owner;
	int mask = 0, running;

	if (events & (EPOLLIN | EPOLLRDHUP))
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	/* s may be freed in here */
	curl_multi_socket_action(f->multi, s->fd, mask, &running);
	collect(f);
}

static int sock_changed(CURL *easy, curl_socket_t fd, int what, void *userp, void *sockp)
{
	struct fetcher *f = userp;
	struct sock *s = sockp;
	uint32_t events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s) {
			loop_fd_remove(s->watch);
			curl_multi_assign(f->multi, fd, NULL);
			free(s);
		}
		return 0;
	}
	if (what & CURL_POLL_IN)
		events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		events |= EPOLLOUT;
	if (s) {
		loop_fd_set(s->watch, events);
		return 0;
	}
	s = mem_alloc(sizeof(*s));
	s->owner = f;
	s->fd = fd;
	s->watch = loop_fd_add(f->loop, fd, events, on_sock, s);
	curl_multi_assign(f->multi, fd, s);
	return 0;
}

static int timer_changed(CURLM *multi, long ms, void *userp)
{
	struct fetcher *f = userp;

	(void)multi;
	if (ms < 0)
		loop_timer_set(f->timer, BOOT_NEVER);
	else
		loop_timer_after(f->timer, ms * INT64_C(1000000));
	return 0;
}

static void on_timer(void *arg)
{
	struct fetcher *f = arg;
	int running;

	curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(f);
}

struct fetcher *fetcher_new(struct loop *l, struct err *err)
{
	struct fetcher *f;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		err_set(err, ERR_SYS, "libcurl cannot be initialised");
		return NULL;
	}
	f = mem_alloc(sizeof(*f));
	f->loop = l;
	f->multi = curl_multi_init();
	if (!f->multi) {
		free(f);
		err_set(err, ERR_SYS, "libcurl cannot be initialised");
		return NULL;
	}
	f->timer = loop_timer_new(l, on_timer, f);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, sock_changed);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, timer_changed);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)FETCH_CONNECTIONS_MAX);
	curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, 8L);
	return f;
}

void fetcher_free(struct fetcher *f)
{
	if (!f)
		return;
	while (f->list)
		fetch_cancel(f->list);
	curl_multi_cleanup(f->multi);
	loop_timer_free(f->timer);
	free(f);
}

static void fetch_free(struct fetch *x)
{
	if (x->next)
		x->next->prev = x->prev;
	*x->prev = x->next;
	loop_timer_free(x->deadline);
	if (x->easy) {
		curl_multi_remove_handle(x->owner->multi, x->easy);
		curl_easy_cleanup(x->easy);
	}
	for (struct curl_slist *h = x->headers; h; h = h->next)
		mem_wipe(h->data, strlen(h->data));
	curl_slist_free_all(x->headers);
	buf_wipe_done(&x->out);
	buf_wipe_done(&x->in);
	free(x);
}

void fetch_cancel(struct fetch *x)
{
	if (x)
		fetch_free(x);
}

/* The callback sees x gone already, so that it may start or cancel what it likes. */
static void finish(struct fetch *x, int status, const struct err *err)
{
	fetch_fn *fn = x->fn;
	void *arg = x->arg;
	struct buf body = x->in;

	x->in = (struct buf){ 0 };
	fetch_free(x);
	fn(arg, status, status ? buf_span(&body) : span_str(NULL), err);
	buf_wipe_done(&body);
}

static void on_deadline(void *arg)
{
	struct fetch *x = arg;
	struct err err = x->refused;

	if (err.code == ERR_NONE)
		err_set(&err, ERR_TIMEOUT, "no answer in time");
	finish(x, 0, &err);
}

static void collect(struct fetcher *f)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(f->multi, &left))) {
		struct fetch *x = NULL;
		struct err err = { 0 };
		long status = 0;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x);
		if (m->data.result == CURLE_OK) {
			curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
			finish(x, (int)status, NULL);
			continue;
		}
		if (x->too_much)
			err_set(&err, ERR_LIMIT, "the answer is longer than %zu bytes", x->in.max);
		else if (m->data.result == CURLE_OPERATION_TIMEDOUT)
			err_set(&err, ERR_TIMEOUT, "no answer in time");
		else
			err_set(&err, ERR_PEER, "%s",
			        *x->why ? x->why : curl_easy_strerror(m->data.result));
		finish(x, 0, &err);
	}
}

static size_t on_body(char *p, size_t one, size_t n, void *arg)
{
	struct fetch *x = arg;

	(void)one;
	buf_add(&x->in, p, n);
	x->too_much |= x->in.over;
	return x->in.over ? 0 : n;
}

static size_t on_header(char *p, size_t one, size_t n, void *arg)
{
	struct fetch *x = arg;

	(void)p;
	(void)one;
	x->header_bytes += n;
	x->too_much |= x->header_bytes > FETCH_HEADERS_MAX;
	return x->too_much ? 0 : n;
}

static bool set_up(struct fetch *x, const struct fetch_request *req)
{
	CURL *e = x->easy;
	bool ok = true;

#define SET(option, value) (ok = ok && curl_easy_setopt(e, option, value) == CURLE_OK)
	if (req->socket) {
		/* The socket is the host, whatever the URL says; its file's owner vouches for it. */
		struct span           url = span_str(req->url), https = SPAN("https://");
		scoped_buf struct buf plain = { 0 };

		ok = span_starts(url, https);
		buf_init(&plain, url.len + 1);
		buf_add_str(&plain, "http://");
		buf_add_span(&plain, span_from(url, https.len));
		SET(CURLOPT_URL, plain.ptr);
		SET(CURLOPT_UNIX_SOCKET_PATH, req->socket);
		SET(CURLOPT_PROTOCOLS_STR, "http");
	} else {
		SET(CURLOPT_URL, req->url);
		SET(CURLOPT_PROTOCOLS_STR, "https");
	}
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT, (long)req->timeout);
	SET(CURLOPT_USERAGENT, "reeve");
	SET(CURLOPT_ERRORBUFFER, x->why);
	SET(CURLOPT_PRIVATE, x);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, x);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, x);
	if (req->ca && *req->ca) {
		SET(CURLOPT_CAINFO, req->ca);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (req->body.ptr) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->out.len);
		SET(CURLOPT_POSTFIELDS, x->out.ptr ? x->out.ptr : "");
	}
	SET(CURLOPT_HTTPHEADER, x->headers);
#undef SET
	return ok;
}

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *req, fetch_fn *fn,
			  void *arg)
{
	struct fetch *x = mem_alloc(sizeof(*x));

	x->owner = f;
	x->next = f->list;
	x->prev = &f->list;
	if (x->next)
		x->next->prev = &x->next;
	f->list = x;
	x->fn = fn;
	x->arg = arg;
	buf_init(&x->in, req->max);
	buf_init(&x->out, req->body.len + 1);
	buf_add_span(&x->out, req->body);
	x->deadline = loop_timer_new(f->loop, on_deadline, x);
	loop_timer_after(x->deadline, (req->timeout + 1) * SEC_NS);
	x->headers = curl_slist_append(NULL, "Accept: application/json");
	if (req->authorization.ptr) {
		struct buf line;

		buf_init(&line, req->authorization.len + 32);
		buf_add_str(&line, "Authorization: ");
		buf_add_span(&line, req->authorization);
		x->headers = curl_slist_append(x->headers, line.ptr);
		buf_wipe_done(&line);
	}
	x->easy = curl_easy_init();
	if (!x->easy || !set_up(x, req) || curl_multi_add_handle(f->multi, x->easy) != CURLM_OK) {
		err_set(&x->refused, ERR_SYS, "libcurl refuses the request");
		loop_timer_after(x->deadline, 0);
	}
	return x;
}
