/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/channel.h"

#include "base/mem.h"
#include "base/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGES_PER_ROUND = 64 };       /* of one channel, before others have their turn */

struct waiting {
	struct waiting *next;
	struct buf      bytes;
	int             fds[WIRE_FDS_MAX];
	size_t          fd_count;
};

struct channel {
	struct loop       *loop;
	struct loop_fd    *watch;
	int                fd;
	enum process_kind  self, peer;
	channel_msg_fn    *on_msg;
	channel_gone_fn   *on_gone;
	void              *arg;
	bool               gone;        /* nothing goes in or out any more */
	struct waiting    *first, **last;
	size_t             waiting, waiting_bytes;
};

static void close_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void waiting_free(struct waiting *w)
{
	buf_wipe_done(&w->bytes);
	close_fds(w->fds, w->fd_count);
	free(w);
}

static void drop_waiting(struct channel *c)
{
	while (c->first) {
		struct waiting *next = c->first->next;

		waiting_free(c->first);
		c->first = next;
	}
	c->last = &c->first;
	c->waiting = c->waiting_bytes = 0;
}

static void end(struct channel *c)
{
	if (c->gone)
		return;
	c->gone = true;
	loop_fd_remove(c->watch);
	c->watch = NULL;
	close(c->fd);
	c->fd = -1;
	drop_waiting(c);
}

static void end_with(struct channel *c, const struct err *why)
{
	if (c->gone)
		return;
	end(c);
	c->on_gone(c->arg, why);
}

/* 1: sent; 0: the socket is full; -1: the neighbour is gone. */
static int send_now(struct channel *c, struct span bytes, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char           room[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control;
	struct iovec iov = { (void *)(uintptr_t)bytes.ptr, bytes.len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = control.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n);

		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(cm), fds, sizeof(int) * n);
	}
	for (;;) {
		if (sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 1;
		if (errno == EINTR)
			continue;
		/* ETOOMANYREFS: too many descriptors under way; they will be taken out */
		if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)
			return 0;
		return -1;
	}
}

static void send_waiting(struct channel *c)
{
	while (c->first) {
		struct waiting *w = c->first;
		int sent = send_now(c, buf_span(&w->bytes), w->fds, w->fd_count);

		if (sent == 0)
			return;
		if (sent < 0) {
			struct err why;

			err_set(&why, ERR_MISSING, "%s is gone", process_kind_name(c->peer));
			end_with(c, &why);
			return;
		}
		c->first = w->next;
		c->waiting--;
		c->waiting_bytes -= w->bytes.len;
		waiting_free(w);
	}
	c->last = &c->first;
	loop_fd_set(c->watch, EPOLLIN);
}

/* Takes the descriptors out of a control message. False: more than we have room for. */
static bool take_fds(struct msghdr *mh, int fds[WIRE_FDS_MAX], size_t *ret_n)
{
	bool ok = !(mh->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;

		size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(int));
			if (*ret_n < WIRE_FDS_MAX) {
				fds[(*ret_n)++] = fd;
			} else {
				close(fd);
				ok = false;
			}
		}
	}
	return ok;
}

/* False: nothing is there, or the channel has ended. */
static bool receive_one(struct channel *c)
{
	char bytes[WIRE_MAX];
	union {
		struct cmsghdr align;
		char           room[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control;
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.room, .msg_controllen = sizeof(control.room),
	};
	const char *who = process_kind_name(c->peer);
	int fds[WIRE_FDS_MAX];
	size_t n = 0;
	struct msg m;
	struct err why = { 0 };
	ssize_t got = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {         /* our messages have a type at least: empty is the end */
		err_set(&why, ERR_MISSING, "%s is gone", who);
		end_with(c, &why);
		return false;
	}

	bool whole = take_fds(&mh, fds, &n) && !(mh.msg_flags & MSG_TRUNC);

	if (!whole)
		err_set(&why, ERR_PEER, "a message of %s does not fit", who);
	else if (!msg_read(span_of(bytes, (size_t)got), &m, &why))
		err_prefix(&why, "%s: ", who);
	else if (!msg_allowed(m.type, c->peer, c->self))
		err_set(&why, ERR_PEER, "%s may not say %s to %s", who, msg_name(m.type),
		        process_kind_name(c->self));
	else if (n != msg_fds(&m))
		err_set(&why, ERR_PEER, "%s of %s came with %zu descriptors", msg_name(m.type), who,
			n);
	if (why.code) {
		close_fds(fds, n);
		mem_wipe(bytes, (size_t)got);
		end_with(c, &why);
		return false;
	}
	c->on_msg(c->arg, &m, fds, n);
	close_fds(fds, n);
	mem_wipe(bytes, (size_t)got);   /* some are keys */
	return !c->gone;
}

static void on_event(void *arg, uint32_t events)
{
	struct channel *c = arg;

	if (events & EPOLLOUT)
		send_waiting(c);
	for (int i = 0; i < MESSAGES_PER_ROUND && !c->gone; i++)
		if (!receive_one(c))
			return;
}

void channel_read_rest(struct channel *c)
{
	/* A peer that goes on sending while we read is not one that has gone. */
	for (int i = 0; c && i < CHANNEL_QUEUE_MAX && !c->gone; i++)
		if (!receive_one(c))
			return;
}

struct channel *channel_new(struct loop *l, int fd, enum process_kind self, enum process_kind peer,
                            channel_msg_fn *on_msg, channel_gone_fn *on_gone, void *arg)
{
	struct channel *c = mem_alloc(sizeof(*c));

	*c = (struct channel){
		.loop = l, .fd = fd, .self = self, .peer = peer,
		.on_msg = on_msg, .on_gone = on_gone, .arg = arg,
	};
	c->last = &c->first;
	c->watch = loop_fd_add(l, fd, EPOLLIN, on_event, c);
	return c;
}

void channel_free(struct channel *c)
{
	if (!c)
		return;
	end(c);
	loop_defer_free(c->loop, c);    /* it may be in receive_one() */
}

/* A copy that waits; the descriptors are copied, too. */
static bool queue(struct channel *c, struct buf *bytes, const int *fds, size_t n, struct err *err)
{
	if (c->waiting >= CHANNEL_QUEUE_MAX ||
	    c->waiting_bytes + bytes->len > CHANNEL_QUEUE_BYTES)
		return err_set(err, ERR_BUSY, "%zu messages wait for %s", c->waiting,
		               process_kind_name(c->peer));

	struct waiting *w = mem_alloc(sizeof(*w));

	for (; w->fd_count < n; w->fd_count++) {
		int fd = fcntl(fds[w->fd_count], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			err_sys(err, "copying a descriptor for %s", process_kind_name(c->peer));
			waiting_free(w);
			return false;
		}
		w->fds[w->fd_count] = fd;
	}
	w->bytes = *bytes;
	*bytes = (struct buf){ 0 };
	*c->last = w;
	c->last = &w->next;
	c->waiting++;
	c->waiting_bytes += w->bytes.len;
	loop_fd_set(c->watch, EPOLLIN | EPOLLOUT);
	return true;
}

bool channel_send(struct channel *c, const struct msg *m, const int *fds, size_t n, struct err *err)
{
	struct buf bytes;
	bool ok;

	if (c->gone)
		return err_set(err, ERR_NOTNOW, "%s is gone", process_kind_name(c->peer));
	if (n != msg_fds(m) || n > WIRE_FDS_MAX)
		return err_set(err, ERR_NOTNOW, "%s with %zu descriptors", msg_name(m->type), n);
	buf_init(&bytes, WIRE_MAX);
	ok = msg_write(m, &bytes, err);
	if (ok) {
		/* Order is kept: while others wait, this one waits behind them. A neighbour
		 * that is gone shows itself to receive_one() in the next round. */
		int sent = c->first ? 0 : send_now(c, buf_span(&bytes), fds, n);

		if (sent == 0)
			ok = queue(c, &bytes, fds, n, err);
		else if (sent < 0)
			ok = err_set(err, ERR_NOTNOW, "%s is gone", process_kind_name(c->peer));
	}
	buf_wipe_done(&bytes);
	return ok;
}

size_t channel_waiting(const struct channel *c)
{
	return c->waiting;
}

int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

bool channel_pair(int ret_fds[2], struct err *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_fds) < 0)
		return err_sys(err, "socketpair");
	return true;
}
