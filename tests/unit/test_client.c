/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/client.h"

#include "base/mem.h"

#include "tests/unit/main.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* tests/coordinator/client_server.py, for each test. */
static char             dir[] = "/tmp/reeve-client-XXXXXX", sock[64], url[64];
static struct enrol_pin pin;
static pid_t            server;
static int              hold;

static void start_server(void)
{
	int         in[2], out[2];
	const char *top = getenv("top_srcdir");
	char        script[512], line[256] = "", text[64];
	unsigned    port;

	ck_assert(mkdtemp(dir) != NULL && pipe(in) == 0 && pipe(out) == 0);
	snprintf(script, sizeof(script), "%s/tests/coordinator/client_server.py", top ? top : ".");
	server = fork();
	if (server == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[0]);
		close(in[1]);
		close(out[0]);
		close(out[1]);
		execlp("python3", "python3", script, dir, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	hold = in[1];
	for (size_t n = 0; n + 1 < sizeof(line) && !strchr(line, '\n');) {
		ssize_t r = read(out[0], line + n, sizeof(line) - 1 - n);

		ck_assert_msg(r > 0, "the server does not start");
		n += (size_t)r;
	}
	ck_assert(sscanf(line, "%u %63s", &port, text) == 2);
	ck_assert(enrol_pin_parse(span_str(text), &pin));
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
	snprintf(sock, sizeof(sock), "%s/sock", dir);
	close(out[0]);
}

static void stop_server(void)
{
	static const char *const names[] = { "sock", "crt", "key" };
	char                     path[80];

	close(hold);
	ck_assert(waitpid(server, NULL, 0) == server);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

struct call {
	struct loop           *loop;
	struct client         *client;
	struct client_request *handle, *other;
	int                    done, data;
	bool                   ok, stop_in_data, cancel_in_data, free_in_done;
	unsigned               status;
	struct err             err;
	struct enrol_pin       seen;
	struct buf             body;
};

static void on_done(void *arg, const struct client_reply *r)
{
	struct call *c = arg;

	c->done++;
	c->handle = NULL;
	c->ok = r->ok;
	c->status = r->status;
	c->err = *r->err;
	c->seen = r->pin;
	buf_add_span(&c->body, r->body);
	if (c->free_in_done) {
		client_free(c->client);
		c->client = NULL;
	}
	loop_stop(c->loop);
}

static bool on_data(void *arg, struct span bytes, struct err *err)
{
	struct call *c = arg;

	c->data++;
	buf_add_span(&c->body, bytes);
	if (c->cancel_in_data) {
		client_cancel(take(c->handle));
		loop_stop(c->loop);
		return true;
	}
	return !c->stop_in_data || err_set(err, ERR_PEER, "enough");
}

static void on_alarm(void *arg)
{
	struct call *c = arg;

	loop_stop(c->loop);
}

/* Runs one request to its end, for at most a minute. */
static void run(struct call *c, struct client_spec spec)
{
	struct err         err = { 0 };
	struct loop_timer *alarm = loop_timer_new(c->loop, on_alarm, c);

	buf_done(&c->body);
	buf_init(&c->body, 1 << 20);
	c->done = c->data = 0;
	c->ok = false;
	c->err = (struct err){ 0 };
	spec.on_done = on_done;
	spec.arg = c;
	c->handle = client_start(c->client, &spec, &err);
	ck_assert_msg(c->handle != NULL, "%s", err.msg);
	ck_assert_int_eq(c->done, 0);   /* never from client_start() */
	loop_timer_after(alarm, 60 * SEC_NS);
	ck_assert(loop_run(c->loop, &err));
	loop_timer_free(alarm);
}

START_TEST(test_unix)
{
	struct err  err = { 0 };
	struct call c = { .loop = loop_new(&err) };

	start_server();
	c.client = client_new(c.loop, &err);
	struct client_spec get = { .to = CLIENT_UNIX, .socket = "/nonexistent/sock", .path = "/hello" };
	run(&c, get);
	ck_assert(c.done == 1 && !c.ok && c.err.code != ERR_NONE);
	get.socket = sock;
	get.path = "/a b";
	ck_assert(!client_start(c.client, &get, &err) && err.code == ERR_SYNTAX);
	static const char *const bad[] = { "A: b\r\nC: d" };
	get.path = "/hello";
	get.headers = bad;
	get.header_count = 1;
	ck_assert(!client_start(c.client, &get, &err) && err.code == ERR_SYNTAX);
	get.header_count = 0;
	run(&c, get);
	ck_assert_msg(c.ok && c.status == 200, "%s", c.err.msg);
	ck_assert_str_eq(c.body.ptr, "hello");
	get.path = "/redirect";         /* told, not followed */
	run(&c, get);
	ck_assert(c.ok && c.status == 302);
	get.path = "/refused";
	run(&c, get);
	ck_assert(c.ok && c.status == 403 && !enrol_error_decode(c.status, buf_span(&c.body), &err) && err.code == ERR_DENIED);
	get.path = "/large";
	get.max = 1000;
	run(&c, get);
	ck_assert(!c.ok && c.err.code == ERR_LIMIT);
	get.max = 0;
	run(&c, get);
	ck_assert(c.ok && c.body.len == 100000);
	get.path = "/hang";
	get.timeout_ms = 200;
	run(&c, get);
	ck_assert(!c.ok && c.err.code == ERR_TIMEOUT);
	get.timeout_ms = 0;
	static const char *const headers[] = { "Reeve-Node: n7" };
	get.path = "/headers";
	get.headers = headers;
	get.header_count = 1;
	get.host = "hub";
	run(&c, get);
	ck_assert(c.ok && strstr(c.body.ptr, "Reeve-Node: n7") && strstr(c.body.ptr, "Host: hub"));
	struct client_spec post = { .to = CLIENT_UNIX, .socket = sock, .path = "/x", .method = "POST", .body = SPAN("{}") };
	run(&c, post);
	ck_assert(c.ok);
	ck_assert_str_eq(c.body.ptr, "application/json {}");
	client_free(c.client);
	buf_done(&c.body);
	loop_free(c.loop);
	stop_server();
}
END_TEST

START_TEST(test_streams)
{
	struct err  err = { 0 };
	struct call c = { .loop = loop_new(&err) };

	start_server();
	c.client = client_new(c.loop, &err);
	struct client_spec get = { .to = CLIENT_UNIX, .socket = sock, .path = "/stream", .timeout_ms = -1, .on_data = on_data };
	run(&c, get);
	ck_assert(c.ok && c.data > 1 && c.body.len == 35);
	get.path = "/silent";
	get.idle_ms = 200;
	run(&c, get);
	ck_assert(!c.ok && c.err.code == ERR_TIMEOUT && c.body.len == 35);
	get.idle_ms = 0;
	c.stop_in_data = true;
	run(&c, get);
	ck_assert(c.done == 1 && !c.ok && c.err.code == ERR_PEER && strcmp(c.err.msg, "enough") == 0);
	c.stop_in_data = false;
	c.cancel_in_data = true;
	run(&c, get);
	ck_assert(c.done == 0 && c.data == 1);
	c.cancel_in_data = false;
	/* a refusal is kept whole even where parts are asked for */
	get.path = "/refused";
	run(&c, get);
	ck_assert(c.ok && c.status == 403 && c.data == 0 && c.body.len > 10);
	/* freed with one under way, and freed from its own callback */
	get.path = "/hang";
	get.on_done = on_done;
	get.arg = &c;
	ck_assert(client_start(c.client, &get, &err) != NULL);
	get.path = "/stream";
	get.on_data = NULL;
	c.free_in_done = true;
	run(&c, get);
	ck_assert(c.done == 1 && c.ok && !c.client);
	buf_done(&c.body);
	loop_free(c.loop);
	stop_server();
}
END_TEST

START_TEST(test_pins)
{
	struct err       err = { 0 };
	struct call      c = { .loop = loop_new(&err) };
	struct enrol_pin pins[2] = { 0 };

	start_server();
	c.client = client_new(c.loop, &err);
	struct client_spec get = { .to = CLIENT_PUBLIC, .url = url, .path = "/hello", .pins = pins, .pin_count = 0 };
	ck_assert(!client_start(c.client, &get, &err) && err.code == ERR_CONFIG);       /* nobody is not everybody */
	get.pin_count = 1;
	run(&c, get);
	ck_assert(!c.ok && c.err.code == ERR_CRYPTO && c.body.len == 0);
	get.url = "http://127.0.0.1:1";
	ck_assert(!client_start(c.client, &get, &err) && err.code == ERR_SYNTAX);
	get.url = url;
	pins[1] = pin;
	get.pin_count = 2;
	run(&c, get);
	ck_assert_msg(c.ok && c.status == 200, "%s", c.err.msg);
	ck_assert(memcmp(&c.seen, &pin, sizeof(pin)) == 0);
	/* what one pin let in does not serve another */
	get.pin_count = 1;
	run(&c, get);
	ck_assert(!c.ok && c.err.code == ERR_CRYPTO);
	client_free(c.client);
	buf_done(&c.body);
	loop_free(c.loop);
	stop_server();
}
END_TEST

UNIT_MAIN("client", test_unix, test_streams, test_pins)
