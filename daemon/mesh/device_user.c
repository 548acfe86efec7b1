/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/device_backend.h"

#include "base/encode.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * The userspace device: the "cross-platform interface" of WireGuard, lines of
 * key=value over a unix socket (https://www.wireguard.com/xplatform/). One
 * connection, made anew where the process was.
 */
struct user {
	int  fd;                /* -1: not connected */
	char name[DEVICE_NAME_MAX];
};

enum {
	ANSWER_MAX = 64 << 20,  /* DEVICE_PEERS_MAX with a few hundred bytes each */
};

static void disconnect(struct user *u)
{
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
}

static bool connect_to(struct user *u, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s.sock", DEVICE_RUN_DIR, u->name);
	u->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (u->fd < 0)
		return err_sys(err, "socket");
	if (connect(u->fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return true;

	/* No file, nobody listening, or a full backlog: the process is not there yet. */
	bool absent = errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN;

	err_sys(err, "%s", sun.sun_path);
	if (absent && err)
		err->code = ERR_BUSY;
	disconnect(u);
	return false;
}

static bool wait_for(struct user *u, short events, struct boot deadline, struct err *err)
{
	struct pollfd p = { .fd = u->fd, .events = events };

	for (;;) {
		int64_t left = (deadline.ns - clock_boot().ns) / 1000000;
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;

		if (n > 0)
			return true;
		if (n == 0)
			return err_set(err, ERR_TIMEOUT, "the tunnel did not answer in %d ms",
				       DEVICE_DEADLINE_MS);
		if (errno != EINTR)
			return err_sys(err, "poll");
	}
}

/* Ends with "\n\n", and so does no part of an answer before its end. */
static bool answer_whole(const struct buf *b)
{
	return b->len >= 2 && b->ptr[b->len - 1] == '\n' && b->ptr[b->len - 2] == '\n';
}

/* *ret_lost: the connection was gone before anything was said, so that it may be tried anew. */
static bool talk(struct user *u, const struct buf *ask, struct buf *ret_answer, bool *ret_lost,
		 struct err *err)
{
	struct boot deadline =
		boot_add(clock_boot(), INT64_C(1000000) * DEVICE_DEADLINE_MS);
	size_t sent = 0;

	*ret_lost = false;
	while (sent < ask->len) {
		ssize_t n = send(u->fd, ask->ptr + sent, ask->len - sent, MSG_NOSIGNAL);

		if (n >= 0) {
			sent += (size_t)n;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			if (!wait_for(u, POLLOUT, deadline, err))
				return false;
		} else if (errno != EINTR) {
			*ret_lost = sent == 0;
			return err_sys(err, "to the tunnel");
		}
	}
	while (!answer_whole(ret_answer)) {
		char part[16384];
		ssize_t n = recv(u->fd, part, sizeof(part), 0);

		if (n > 0) {
			buf_add(ret_answer, part, (size_t)n);
			mem_wipe(part, (size_t)n);      /* a private key is among it */
			if (ret_answer->over)
				return err_set(err, ERR_LIMIT, "the tunnel's answer has no end");
		} else if (n == 0) {
			*ret_lost = ret_answer->len == 0;
			return err_set(err, ERR_BUSY, "the tunnel hung up");
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			if (!wait_for(u, POLLIN, deadline, err))
				return false;
		} else if (errno != EINTR) {
			*ret_lost = ret_answer->len == 0 && errno == ECONNRESET;
			return err_sys(err, "from the tunnel");
		}
	}
	return true;
}

static bool line_is(struct span line, const char *key, struct span *ret_value)
{
	size_t n = strlen(key);

	if (line.len <= n || memcmp(line.ptr, key, n) != 0 || line.ptr[n] != '=')
		return false;
	*ret_value = span_from(line, n + 1);
	return true;
}

/* Asks once; where the process was started anew since, once more. */
static bool ask(struct user *u, const struct buf *text, struct buf *ret_answer, struct err *err)
{
	struct span rest, line, value, number = SPAN("");
	bool lost = true;

	for (int tries = 0; tries < 2 && lost; tries++) {
		if (u->fd < 0 && !connect_to(u, err))
			return false;
		buf_clear(ret_answer);
		if (talk(u, text, ret_answer, &lost, err))
			break;
		disconnect(u);
		if (!lost || tries == 1)
			return false;
	}
	rest = buf_span(ret_answer);
	while (span_next(&rest, '\n', &line))
		if (line_is(line, "errno", &value))
			number = value;
	if (span_eq(number, SPAN("0")))
		return true;

	/* After a refusal the rest of what was asked is still in its buffer. */
	disconnect(u);
	return err_set(err, ERR_SYS, "the tunnel refused: errno %.*s", SPAN_ARG(number));
}

static void add_key(struct buf *b, const char *name, const void *key)
{
	buf_addf(b, "%s=", name);
	hex_add(b, span_of(key, DEVICE_KEY_LEN));
	buf_add_char(b, '\n');
}

static bool change(struct user *u, const struct buf *text, struct err *err)
{
	struct buf answer;
	bool ok;

	buf_init(&answer, 4096);
	ok = ask(u, text, &answer, err);
	buf_done(&answer);
	return ok;
}

static void *user_open(const char *name, struct err *err)
{
	struct user *u = mem_alloc(sizeof(*u));

	u->fd = -1;
	memcpy(u->name, name, strlen(name) + 1);
	if (connect_to(u, err))
		return u;
	free(u);
	return NULL;
}

static void user_close(void *self)
{
	disconnect(self);
	free(self);
}

static bool user_setup(void *self, const struct secret *priv, int port, struct err *err)
{
	struct buf text;
	bool ok;

	buf_init(&text, 4096);
	buf_add_str(&text, "set=1\n");
	if (priv)
		add_key(&text, "private_key", priv->ptr);
	if (port >= 0)
		buf_addf(&text, "listen_port=%d\n", port);
	buf_add_char(&text, '\n');
	ok = change(self, &text, err);
	buf_wipe_done(&text);
	return ok;
}

static bool user_peer_set(void *self, const struct device_peer *p, struct err *err)
{
	struct buf text;
	char word[IP_TEXT_MAX];
	bool ok;

	buf_init(&text, 4096 + p->allowed_n * (IP_TEXT_MAX + 16));
	buf_add_str(&text, "set=1\n");
	add_key(&text, "public_key", p->key.b);
	if (p->endpoint.ip.family != IP_NONE)
		buf_addf(&text, "endpoint=%s\n", ipport_text(&p->endpoint, word));
	buf_addf(&text, "persistent_keepalive_interval=%u\nreplace_allowed_ips=true\n",
		 p->keepalive);
	for (size_t i = 0; i < p->allowed_n; i++)
		buf_addf(&text, "allowed_ip=%s/%u\n", ip_text(&p->allowed[i].ip, word),
			 p->allowed[i].bits);
	buf_add_char(&text, '\n');
	ok = change(self, &text, err);
	buf_done(&text);
	return ok;
}

static bool user_peer_remove(void *self, const struct device_key *key, struct err *err)
{
	struct buf text;
	bool ok;

	buf_init(&text, 4096);
	buf_add_str(&text, "set=1\n");
	add_key(&text, "public_key", key->b);
	/* Without update_only it would make the peer first. */
	buf_add_str(&text, "update_only=true\nremove=true\n\n");
	ok = change(self, &text, err);
	buf_done(&text);
	return ok;
}

static bool read_key(struct span hex, void *out)
{
	size_t n;

	return hex_decode(hex, out, DEVICE_KEY_LEN, &n) && n == DEVICE_KEY_LEN;
}

bool device_user_parse(struct span rest, struct device_info *info, struct device_peer_list *peers,
		       struct err *err)
{
	struct device_peer_state *p = NULL;
	struct span line, v;
	uint64_t n = 0;
	bool ok = true;

	while (ok && span_next(&rest, '\n', &line)) {
		if (line_is(line, "private_key", &v)) {
			uint8_t raw[DEVICE_KEY_LEN] = { 0 };
			struct secret priv;

			ok = read_key(v, raw);
			secret_init(&priv, raw, sizeof(raw));
			mem_wipe(raw, sizeof(raw));
			ok = ok && device_private_public(&priv, &info->key, err);
			secret_done(&priv);
		} else if (line_is(line, "listen_port", &v)) {
			ok = span_u64(v, UINT16_MAX, &n);
			info->port = (uint16_t)n;
		} else if (line_is(line, "public_key", &v)) {
			p = device_peer_list_add(peers, err);
			if (!p)
				return false;
			ok = read_key(v, p->key.b);
		} else if (!p) {
			continue;
		} else if (line_is(line, "endpoint", &v)) {
			/* One with a zone stays unknown. */
			if (!ipport_parse(v, &p->endpoint))
				p->endpoint = (struct ipport){ 0 };
		} else if (line_is(line, "last_handshake_time_sec", &v)) {
			ok = span_u64(v, INT64_MAX, &n);
			p->handshake.sec = (int64_t)n;
		} else if (line_is(line, "rx_bytes", &v)) {
			ok = span_u64(v, UINT64_MAX, &p->rx);
		} else if (line_is(line, "tx_bytes", &v)) {
			ok = span_u64(v, UINT64_MAX, &p->tx);
		} else if (line_is(line, "persistent_keepalive_interval", &v)) {
			ok = span_u64(v, UINT16_MAX, &n);
			p->keepalive = (uint16_t)n;
		} else if (line_is(line, "allowed_ip", &v)) {
			p->allowed_n++;
		}
	}
	return ok || err_set(err, ERR_PEER, "the tunnel said what does not parse");
}

static bool user_read(void *self, struct device_info *ret_info, device_peer_fn *fn, void *arg,
		      struct err *err)
{
	static const char get[] = "get=1\n\n";
	struct device_peer_list peers = { 0 };
	struct device_info info = { 0 };
	struct buf text, answer;
	bool ok;

	buf_init(&text, 4096);
	buf_init(&answer, ANSWER_MAX);
	buf_add_str(&text, get);
	ok = ask(self, &text, &answer, err) && device_user_parse(buf_span(&answer), &info, &peers, err);
	buf_done(&text);
	buf_wipe_done(&answer);
	info.peers = peers.n;
	if (ok && ret_info)
		*ret_info = info;
	for (size_t i = 0; ok && fn && i < peers.n; i++)
		fn(arg, &peers.list[i]);
	free(peers.list);
	return ok;
}

const struct device_ops device_user = {
	.kind = DEVICE_USERSPACE,
	.open = user_open,
	.close = user_close,
	.setup = user_setup,
	.peer_set = user_peer_set,
	.peer_remove = user_peer_remove,
	.read = user_read,
};
