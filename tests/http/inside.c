/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tests/http/inside.h"

#include "base/loop.h"
#include "base/mem.h"
#include "daemon/proxy/front.h"
#include "tests/http/corpus.h"

#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	QUIET = 8,              /* rounds without a byte: nothing moves any more */
	PATIENCE = 400,         /* rounds in which everything must have ended */
	SENT_MAX = 1 << 20,
};

struct up {
	struct inside   *in;
	int              fd;
	struct loop_fd  *watch;
	unsigned         answered;
	struct span      left;  /* of the answer that is under way */
	size_t           index;
};

struct inside {
	struct loop     *loop;
	struct front    *front;
	struct buf       block;
	uint32_t         words[INSIDE_WORDS];
	struct sockaddr_un at;
	socklen_t        at_len;
	int              tick_fd, client;
	struct loop_fd  *tick, *client_watch;
	struct span      unsent, answer;
	struct up       *ups[INSIDE_UPS];
	size_t           ups_open;
	struct inside_result *r;
	unsigned         quiet, patience;
	enum { RUNNING, HALF_CLOSED, ENDING } phase;
};

static _Noreturn void die(const char *what)
{
	perror(what);
	abort();
}

/* ---- the application ---- */

static void up_close(struct up *u)
{
	struct inside *in = u->in;

	loop_fd_remove(u->watch);
	close(u->fd);
	in->ups[u->index] = NULL;
	in->ups_open--;
	free(u);
}

static void up_answer(struct up *u)
{
	while (u->left.len) {
		ssize_t n = send(u->fd, u->left.ptr, u->left.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n <= 0)
			break;
		u->left = span_from(u->left, (size_t)n);
		u->in->quiet = 0;
	}
}

static void on_up(void *arg, uint32_t events)
{
	static char buf[64 << 10];
	struct up *u = arg;
	struct buf *all = &u->in->r->app[u->index];
	struct stream_result s;
	ssize_t n = recv(u->fd, buf, sizeof(buf), MSG_DONTWAIT);

	(void)events;
	u->in->quiet = 0;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		up_close(u);
		return;
	}
	if (all->len + (size_t)n < SENT_MAX)
		buf_add(all, buf, (size_t)n);
	stream_requests(buf_span(all), 0, &s);
	if (s.messages > u->answered) {
		u->answered = s.messages;
		u->left = u->in->answer;
		up_answer(u);
	}
	stream_done(&s);
}

static void on_connect(void *arg, const struct front_connect *ask)
{
	struct inside *in = arg;
	struct inside_result *r = in->r;
	struct up *u;
	int fd[2];

	if (in->phase == ENDING || r->app_count == INSIDE_UPS) {
		front_connected(in->front, ask->cookie, -1, ECONNREFUSED);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
		die("socketpair");
	u = mem_alloc(sizeof(*u));
	u->in = in;
	u->fd = fd[0];
	u->index = r->app_count++;
	buf_init(&r->app[u->index], SENT_MAX);
	in->ups[u->index] = u;
	in->ups_open++;
	u->watch = loop_fd_add(in->loop, u->fd, EPOLLIN | EPOLLRDHUP, on_up, u);
	front_connected(in->front, ask->cookie, fd[1], 0);
}

/* The coordinator's part: one code is good, for whoever brings a verifier; a renewal begins where it does. */
static void on_browser(void *arg, const struct front_browser *q)
{
	struct inside *in = arg;

	if (q->what == BROWSER_RENEW)
		front_browser_answer(in->front, q->id, BROWSER_URL, SPAN("https://hub.example.edu/login/x"));
	else if (q->what == BROWSER_REDEEM && span_eq(q->code, SPAN("good")))
		front_browser_answer(in->front, q->id, BROWSER_COOKIE, SPAN(INSIDE_COOKIE));
	else if (q->what == BROWSER_REDEEM)
		front_browser_answer(in->front, q->id, BROWSER_REFUSED, SPAN(""));
}

static bool on_log(void *arg, struct span lines, unsigned records)
{
	(void)arg;
	(void)lines;
	(void)records;
	return true;
}

/* ---- the client, and time in rounds of the loop ---- */

static void client_close(struct inside *in)
{
	if (in->client < 0)
		return;
	loop_fd_remove(in->client_watch);
	close(in->client);
	in->client = -1;
}

static void on_client(void *arg, uint32_t events)
{
	static char buf[64 << 10];
	struct inside *in = arg;
	ssize_t n = recv(in->client, buf, sizeof(buf), MSG_DONTWAIT);

	(void)events;
	in->quiet = 0;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		client_close(in);
		return;
	}
	if (in->r->client.len + (size_t)n < SENT_MAX)
		buf_add(&in->r->client, buf, (size_t)n);
}

static void client_send(struct inside *in)
{
	while (in->unsent.len && in->client >= 0) {
		ssize_t n = send(in->client, in->unsent.ptr, in->unsent.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			in->unsent.len = 0;
			return;
		}
		in->unsent = span_from(in->unsent, (size_t)n);
		in->quiet = 0;
	}
}

static void end_all(struct inside *in)
{
	in->phase = ENDING;
	client_close(in);
	for (size_t i = 0; i < INSIDE_UPS; i++) {
		if (in->ups[i])
			up_close(in->ups[i]);
	}
}

/* Once in every round: the eventfd is never read. */
static void on_tick(void *arg, uint32_t events)
{
	struct inside *in = arg;
	struct front_stats st;

	(void)events;
	client_send(in);
	for (size_t i = 0; i < INSIDE_UPS; i++) {
		if (in->ups[i])
			up_answer(in->ups[i]);
	}
	if (in->phase == ENDING) {
		front_stats(in->front, &st);
		in->r->left_open = st.conns || st.in_flight || in->ups_open;
		if ((!in->r->left_open && in->quiet > QUIET) || ++in->patience > PATIENCE) {
			loop_stop(in->loop);
			return;
		}
	} else if (in->quiet > QUIET) {
		in->quiet = 0;
		if (in->phase == RUNNING && in->client >= 0) {
			in->phase = HALF_CLOSED;
			shutdown(in->client, SHUT_WR);
		} else {
			end_all(in);
		}
	}
	in->quiet++;
}

void inside_run(struct inside *in, struct span bytes, struct span answer, struct inside_result *ret)
{
	struct err err;

	ret->app_count = 0;
	ret->left_open = false;
	buf_init(&ret->client, SENT_MAX);
	in->r = ret;
	in->unsent = bytes;
	in->answer = answer;
	in->quiet = in->patience = 0;
	in->phase = RUNNING;
	in->client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (in->client < 0 || connect(in->client, (struct sockaddr *)&in->at, in->at_len) < 0)
		die("connect");
	in->client_watch = loop_fd_add(in->loop, in->client, EPOLLIN | EPOLLRDHUP, on_client, in);
	client_send(in);
	if (!loop_run(in->loop, &err))
		die(err.msg);
	in->r = NULL;
}

void inside_result_done(struct inside_result *r)
{
	for (size_t i = 0; i < r->app_count; i++)
		buf_done(&r->app[i]);
	buf_done(&r->client);
}

/* ---- life ---- */

static void add_browsers(struct snapshot_builder *b, uint32_t words[INSIDE_WORDS], struct service_desc d)
{
	static const char said[] = "reeve cookie v1\0notes\0" INSIDE_COOKIE;
	static const struct span notes[] = { { "notes", 5 } }, closed[] = { { "closed", 6 } };
	struct ident id = { .kind = IDENT_PERSON, .generation = 1, .login = SPAN("staff@example.edu"),
		            .node = SPAN("n1"), .expires_boot = BOOT_NEVER };
	unsigned char hash[EVP_MAX_MD_SIZE];
	uint32_t i, slot;
	unsigned len;
	struct err err;

	d.browser_url = SPAN("https://hub.example/browser?node=n1&service=notes&bind=");
	d.name = notes[0];
	d.hosts = notes;
	if (!snapshot_add_service(b, &d, &i, &err))
		die(err.msg);
	d.name = closed[0];
	d.hosts = closed;
	EVP_Digest(said, sizeof(said) - 1, hash, &len, EVP_sha256(), NULL);
	if (!snapshot_add_service(b, &d, &i, &err) || !snapshot_add_ident(b, &id, &slot, &err) ||
	    !snapshot_add_session(b, hash, slot, &err))
		die(err.msg);
	words[slot] = id.generation;
}

static void wiki(struct snapshot_builder *b, uint32_t words[INSIDE_WORDS], unsigned browser)
{
	static const struct custom_header custom[] = { { { "X-Campus-Person", 15 }, { "{login}", 7 }, VALUE_UTF8 } };
	static const struct span listens[] = { { "80", 2 } }, hosts[] = { { "wiki", 4 } }, upgrades[] = { { "chat", 4 } };
	static const struct upstream_desc up[] = { { .kind = UPSTREAM_UNIX, .name = { "unix:/app", 9 } } };
	struct service_desc d = { .name = SPAN("wiki"), .flags = SERVICE_PUBLIC, .listens = listens, .listen_count = 1,
		                  .hosts = hosts, .host_count = 1, .custom = custom, .custom_count = 1,
		                  .upstreams = up, .upstream_count = 1, .upgrades = upgrades, .upgrade_count = 1 };
	uint32_t i;
	struct err err;

	if (!snapshot_add_service(b, &d, &i, &err))
		die(err.msg);
	if (browser)
		add_browsers(b, words, d);
}

static struct snapshot *build(struct inside *in, inside_build_fn *fn, unsigned which)
{
	struct snapshot_builder *b = snapshot_builder_new();
	struct snapshot *s;
	struct err err;

	snapshot_set_lease(b, BOOT_NEVER, BOOT_NEVER);
	fn(b, in->words, which);
	if (!snapshot_finish(b, &in->block, &err))
		die(err.msg);
	s = snapshot_open_mem(in->block.ptr, in->block.len, in->words, INSIDE_WORDS, &err);
	if (!s)
		die(err.msg);
	return s;
}

struct inside *inside_with(inside_build_fn *fn, unsigned which, struct span listen_at)
{
	static const struct front_ops ops = { .connect = on_connect, .browser = on_browser, .log = on_log };
	struct inside *in = mem_alloc(sizeof(*in));
	struct front_conf conf = { .name = SPAN("inside"), .log = FRONT_LOG_NONE };
	struct err err;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	in->client = -1;
	in->loop = loop_new(&err);
	if (!in->loop)
		die(err.msg);
	in->front = front_new(in->loop, &ops, in, &conf);
	front_snapshot_set(in->front, build(in, fn, which));
	/* an address of the abstract namespace that the kernel chooses */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	in->at.sun_family = AF_UNIX;
	in->at_len = sizeof(in->at);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in->at, sizeof(sa_family_t)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in->at, &in->at_len) < 0)
		die("listen");
	if (!front_listener_add(in->front, fd, listen_at, &err))
		die(err.msg);
	in->tick_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	in->tick = loop_fd_add(in->loop, in->tick_fd, EPOLLIN, on_tick, in);
	return in;
}

struct inside *inside_new(void)
{
	return inside_with(wiki, false, SPAN("80"));
}

struct inside *inside_new_browser(void)
{
	return inside_with(wiki, true, SPAN("80"));
}

void inside_free(struct inside *in)
{
	if (!in)
		return;
	loop_fd_remove(in->tick);
	close(in->tick_fd);
	front_free(in->front);
	loop_free(in->loop);
	buf_done(&in->block);
	free(in);
}
