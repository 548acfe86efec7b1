/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "base/wire.h"
#include "daemon/endpoint/channel.h"
#include "tests/unit/main.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *l;

struct end {
	struct channel *channel;
	size_t          messages, fds;
	uint64_t        last;
	bool            gone, free_in_callback;
	enum err_code   why;
};

static void on_msg(void *arg, const struct msg *m, int *fds, size_t n)
{
	struct end *e = arg;

	e->messages++;
	e->fds += n;
	if (m->type == MSG_CONNECT)
		e->last = m->connect.id;
	if (n)
		ck_assert_int_ge(fcntl(fds[0], F_GETFD), 0);
	if (e->free_in_callback)
		channel_free(take(e->channel));
}

static void on_gone(void *arg, const struct err *why)
{
	struct end *e = arg;

	ck_assert(!e->gone);
	e->gone = true;
	e->why = why->code;
}

static void stop(void *arg)
{
	(void)arg;
	loop_stop(l);
}

/* Until everything that is under way has arrived. */
static void run(void)
{
	struct loop_timer *t = loop_timer_new(l, stop, NULL);
	struct err err;

	loop_timer_after(t, 20 * 1000000);
	ck_assert(loop_run(l, &err));
	loop_timer_free(t);
}

/* Front and net, joined. */
static void join(struct end *front, struct end *net)
{
	struct err err;
	int fds[2];

	l = loop_new(&err);
	*front = *net = (struct end){ 0 };
	ck_assert(channel_pair(fds, &err));
	front->channel = channel_new(l, fds[0], PROCESS_FRONT, PROCESS_NET, on_msg, on_gone, front);
	net->channel = channel_new(l, fds[1], PROCESS_NET, PROCESS_FRONT, on_msg, on_gone, net);
}

static void part(struct end *front, struct end *net)
{
	channel_free(front->channel);
	channel_free(net->channel);
	loop_free(l);
}

static size_t open_fds(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Raw bytes, and so many descriptors with them. */
static void send_raw(int fd, struct span bytes, size_t fds)
{
	union {
		struct cmsghdr align;
		char           room[CMSG_SPACE(sizeof(int) * 64)];
	} control = { .room = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)bytes.ptr, bytes.len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fds) {
		mh.msg_control = control.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * fds);

		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * fds);
		for (size_t i = 0; i < fds; i++)
			memcpy(CMSG_DATA(cm) + i * sizeof(int), &(int){ 0 }, sizeof(int));
	}
	ck_assert_int_ge(sendmsg(fd, &mh, 0), 0);
}

START_TEST(what_ends_it)
{
	static char big[WIRE_MAX + 1];
	struct msg connect = { .type = MSG_CONNECT, .connect = { 1, 2, 3, 4 } };
	struct msg status = { .type = MSG_STATUS_ASK, .order = 7 };
	struct buf right, wrong;
	struct err err;

	buf_init(&right, WIRE_MAX);
	buf_init(&wrong, WIRE_MAX);
	ck_assert(msg_write(&connect, &right, &err));
	ck_assert(msg_write(&status, &wrong, &err));

	const struct { struct span bytes; size_t fds; const char *what; } rows[] = {
		{ { right.ptr, right.len - 1 }, 0, "a short one" },
		{ { big, 1 }, 0, "no such type" },
		{ { big, sizeof(big) }, 0, "one that does not fit" },
		{ { wrong.ptr, wrong.len }, 0, "what a front may not say" },
		{ { right.ptr, right.len }, 1, "a descriptor too many" },
		{ { right.ptr, right.len }, 9, "more descriptors than there is room for" },
	};
	size_t before = open_fds();

	for (size_t i = 0; i < array_size(rows); i++) {
		struct end net = { 0 };
		int fds[2];

		l = loop_new(&err);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
		net.channel = channel_new(l, fds[1], PROCESS_NET, PROCESS_FRONT, on_msg, on_gone, &net);
		send_raw(fds[0], rows[i].bytes, rows[i].fds);
		send_raw(fds[0], buf_span(&right), 0);  /* nothing counts after it */
		run();
		ck_assert_msg(net.gone && net.why == ERR_PEER, "%s", rows[i].what);
		ck_assert_uint_eq(net.messages, 0);
		ck_assert(!channel_send(net.channel, &connect, NULL, 0, &err));
		ck_assert_int_eq(err.code, ERR_NOTNOW);
		channel_free(net.channel);
		close(fds[0]);
		loop_free(l);
		ck_assert_uint_eq(open_fds(), before);          /* and no descriptor stays */
	}
	buf_done(&right);
	buf_done(&wrong);
}
END_TEST

START_TEST(gone)
{
	struct end front, net;
	struct msg m = { .type = MSG_CONNECT };
	struct err err = { 0 };

	join(&front, &net);
	channel_free(take(net.channel));
	run();
	ck_assert(front.gone);
	ck_assert_int_eq(front.why, ERR_MISSING);
	ck_assert(!channel_send(front.channel, &m, NULL, 0, &err));
	part(&front, &net);
	channel_free(NULL);
}
END_TEST

START_TEST(descriptors)
{
	struct end front, net;
	struct msg m = { .type = MSG_CONNECTED, .connected = { .id = 5 } };
	struct err err;
	int fd = 0;
	size_t before;

	join(&front, &net);
	before = open_fds();
	ck_assert(!channel_send(net.channel, &m, NULL, 0, &err));       /* it needs one */
	ck_assert(channel_send(net.channel, &m, &fd, 1, &err));
	m.connected.error = 111;
	ck_assert(!channel_send(net.channel, &m, &fd, 1, &err));        /* and now none */
	ck_assert(channel_send(net.channel, &m, NULL, 0, &err));
	run();
	ck_assert_uint_eq(front.messages, 2);
	ck_assert_uint_eq(front.fds, 1);
	ck_assert_uint_eq(open_fds(), before);
	part(&front, &net);
}
END_TEST

START_TEST(the_last_words)
{
	struct end front, net;
	struct msg m = { .type = MSG_CONNECT };
	struct err err = { 0 };

	join(&front, &net);
	for (uint64_t i = 1; i <= 100; i++) {   /* more than one round of the loop takes */
		m.connect.id = i;
		ck_assert(channel_send(front.channel, &m, NULL, 0, &err));
	}
	ck_assert_uint_eq(channel_waiting(front.channel), 0);
	channel_free(take(front.channel));
	ck_assert_uint_eq(net.messages, 0);
	channel_read_rest(net.channel);
	ck_assert_uint_eq(net.messages, 100);
	ck_assert_uint_eq(net.last, 100);
	ck_assert(net.gone);
	ck_assert_int_eq(net.why, ERR_MISSING);
	channel_read_rest(net.channel);         /* nothing more, and no second end */
	channel_read_rest(NULL);
	part(&front, &net);

	join(&front, &net);                     /* a callback that frees */
	net.free_in_callback = true;
	ck_assert(channel_send(front.channel, &m, NULL, 0, &err));
	ck_assert(channel_send(front.channel, &m, NULL, 0, &err));
	channel_read_rest(net.channel);
	ck_assert_uint_eq(net.messages, 1);
	part(&front, &net);
}
END_TEST

START_TEST(a_full_socket)
{
	struct end front, net;
	struct msg m = { .type = MSG_CONNECT };
	struct err err = { 0 };
	uint64_t sent = 0;

	join(&front, &net);
	for (; sent < 100000; sent++) {
		m.connect.id = sent + 1;
		if (!channel_send(front.channel, &m, NULL, 0, &err))
			break;
	}
	ck_assert_int_eq(err.code, ERR_BUSY);
	ck_assert_uint_eq(channel_waiting(front.channel), CHANNEL_QUEUE_MAX);
	while (net.messages < sent)
		run();
	ck_assert_uint_eq(net.messages, sent);
	ck_assert_uint_eq(net.last, sent);      /* in order: the last one is the last */
	ck_assert_uint_eq(channel_waiting(front.channel), 0);
	ck_assert(channel_send(front.channel, &m, NULL, 0, &err));
	part(&front, &net);
}
END_TEST

START_TEST(freed_in_its_callback)
{
	struct end front, net;
	struct msg m = { .type = MSG_CONNECT };
	struct err err;

	join(&front, &net);
	net.free_in_callback = true;
	ck_assert(channel_send(front.channel, &m, NULL, 0, &err));
	ck_assert(channel_send(front.channel, &m, NULL, 0, &err));
	run();
	ck_assert_uint_eq(net.messages, 1);
	ck_assert(!net.gone);
	ck_assert(front.gone);
	part(&front, &net);
}
END_TEST

UNIT_MAIN("channel", what_ends_it, gone, descriptors, the_last_words, a_full_socket, freed_in_its_callback)
