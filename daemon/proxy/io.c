/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "daemon/proxy/h2.h"
#include "daemon/proxy/splice.h"
#include "daemon/proxy/upstream_h2.h"

#include <errno.h>
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- queues ---- */

char *queue_room(struct queue *q, size_t n)
{
	if (q->off && (q->len == 0 || q->off + q->len + n > q->cap)) {
		memmove(q->ptr, q->ptr + q->off, q->len);
		q->off = 0;
	}
	if (q->len + n > q->cap) {
		q->cap = q->cap ? q->cap : 2048;
		while (q->cap < q->len + n)
			q->cap *= 2;
		q->ptr = mem_realloc(q->ptr, q->cap, 1);
	}
	return q->ptr + q->off + q->len;
}

void queue_add(struct queue *q, const void *p, size_t n)
{
	if (!n)
		return;
	memcpy(queue_room(q, n), p, n);
	q->len += n;
}

void queue_free(struct queue *q)
{
	free(q->ptr);
	*q = (struct queue){ 0 };
}

void queue_drop(struct queue *q, size_t n)
{
	q->off += n;
	q->len -= n;
	/* an idle connection holds no memory */
	if (q->len == 0)
		queue_free(q);
}

/* ---- io ---- */

bool io_start(struct front *f, struct io *io, int fd, loop_fd_fn *fn, void *arg)
{
	/* Registered once, for everything, by edges: no epoll_ctl() on the hot path. */
	io->watch = (struct loop_watch){ .fn = fn, .arg = arg, .fd = fd,
		                         .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	io->can_write = true;
	return loop_watch_add(f->loop, &io->watch, NULL);
}

void io_events(struct io *io, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		io->can_read = true;
	if (events & EPOLLOUT)
		io->can_write = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		io->hup = true;
	if (events & EPOLLERR)
		io->failed = true;
}

static void on_error_text(void *arg, struct span text)
{
	audit_application(container_of((struct io *)arg, struct upconn, io), text);
}

/* FastCGI: what was received, less its frames. An end without FCGI_END_REQUEST is none. */
static enum io_result unwrap(struct io *io, char *p, size_t *n)
{
	if (!gateway_unwrap(io->records, p, *n, n, on_error_text, io) || io->records->failed) {
		io->failed = true;
		return IO_FAIL;
	}
	io->eof = io->records->ended;
	return *n ? IO_DATA : io->eof ? IO_EOF : IO_AGAIN;
}

static enum io_result read_some(struct io *io, char *p, size_t n, size_t *ret_n)
{
	ssize_t r;

	if (io->eof)
		return IO_EOF;
	if (!io->can_read)
		return IO_AGAIN;
	r = io->ssl ? tls_read(io, p, n) : recv(io->watch.fd, p, n, 0);
	if (r > 0) {
		/* Less than asked for: there was no more, and what comes rings again (epoll(7)).
		 * An end of file does not: it came with the last edge. */
		if (!io->ssl && (size_t)r < n && !io->hup)
			io->can_read = false;
		*ret_n = (size_t)r;
		return IO_DATA;
	}
	if (r == 0 && io->records) {
		io->failed = true;
		return IO_FAIL;
	}
	if (r == 0) {
		io->eof = true;
		return IO_EOF;
	}
	if (errno == EAGAIN || errno == EINTR) {
		io->can_read = errno == EINTR;
		return IO_AGAIN;
	}
	io->failed = true;
	return IO_FAIL;
}

static enum io_result read_into(struct io *io, char *p, size_t n, size_t *ret_n)
{
	enum io_result r;

	do {
		r = read_some(io, p, n, ret_n);
		if (r == IO_DATA && io->records)
			r = unwrap(io, p, ret_n);
	} while (r == IO_AGAIN && io->records && io->can_read);
	return r;
}

enum io_result io_fill(struct front *f, struct io *io, struct span *ret)
{
	enum io_result r;
	size_t n = 0, room;

	if (io->in.len == 0) {
		r = read_into(io, f->rx, sizeof(f->rx), &n);
		*ret = span_of(f->rx, n);
		return r;
	}
	room = 16 << 10;
	r = read_into(io, queue_room(&io->in, room), room, &n);
	io->in.len += n;
	*ret = queue_span(&io->in);
	return r;
}

static void wake_stream(struct io *io)
{
	if (io->stream == IO_UP_STREAM)
		up_h2_wake(container_of(io, struct upconn, io));
	else
		h2_wake(container_of(io, struct conn, io));
}

bool io_is_quiet(struct io *io)
{
	char c;
	ssize_t n = recv(io->watch.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	/* of TLS, session tickets come whenever they like */
	if (n > 0 && io->ssl)
		n = tls_read(io, &c, 1);
	return n < 0 && errno == EAGAIN && io->in.len == 0;
}

void io_keep(struct io *io, struct span rest)
{
	if (io->in.len)
		queue_drop(&io->in, io->in.len - rest.len);
	else
		queue_add(&io->in, rest.ptr, rest.len);
	/* what was taken, the stream's window gets back */
	if (io->stream)
		wake_stream(io);
}

static bool write_some(struct io *io, const struct iovec *v, int n, size_t *ret_n)
{
	size_t done = 0;
	ssize_t w;

	*ret_n = 0;
	if (io->failed)
		return false;
	if (!io->can_write)
		return true;
	if (io->ssl) {
		for (int i = 0; i < n; i++) {
			size_t off = 0;

			while (off < v[i].iov_len) {
				w = tls_write(io, (const char *)v[i].iov_base + off, v[i].iov_len - off);
				if (w < 0) {
					if (errno != EAGAIN)
						io->failed = true;
					else
						io->can_write = false;
					*ret_n = done;
					return !io->failed;
				}
				off += (size_t)w;
				done += (size_t)w;
			}
		}
		*ret_n = done;
		return true;
	}

	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n };

	for (;;) {
		w = n == 1 ? send(io->watch.fd, v[0].iov_base, v[0].iov_len, MSG_NOSIGNAL)
		           : sendmsg(io->watch.fd, &msg, MSG_NOSIGNAL);
		if (w >= 0) {
			*ret_n = (size_t)w;
			return true;
		}
		if (errno == EAGAIN) {
			io->can_write = false;
			return true;
		}
		if (errno != EINTR) {
			io->failed = true;
			return false;
		}
	}
}

bool io_write(struct io *io, const struct iovec *v, int n)
{
	size_t done = 0;

	if (io->out.len == 0 && !io->pipe && !write_some(io, v, n, &done))
		return false;
	for (int i = 0; i < n; i++) {
		if (done >= v[i].iov_len) {
			done -= v[i].iov_len;
			continue;
		}
		queue_add(&io->out, (const char *)v[i].iov_base + done, v[i].iov_len - done);
		done = 0;
	}
	if (io->stream)
		wake_stream(io);
	/* A short write is an EAGAIN to come: the edge tells when there is room. */
	if (io->out.len && io->can_write && !io->ssl)
		return io_flush(io);
	return !io->failed;
}

bool io_flush(struct io *io)
{
	if (!pipe_flush(io))
		return false;
	while (io->out.len && !io->pipe && io->can_write && !io->failed) {
		struct iovec v = { io->out.ptr + io->out.off, io->out.len };
		size_t n;

		if (!write_some(io, &v, 1, &n))
			return false;
		queue_drop(&io->out, n);
	}
	return !io->failed;
}

uint32_t io_taken(const struct io *io)
{
	struct tcp_info about = { 0 };
	socklen_t len = sizeof(about);
	uint32_t n;

	if (!io_blocked(io))
		return 0;
	/* what waits here shrinks; what the kernel holds shrinks before it, and only TCP says so */
	n = (uint32_t)-(io->out.len + pipe_length(io));
	if (io->watch.fd >= 0 && getsockopt(io->watch.fd, IPPROTO_TCP, TCP_INFO, &about, &len) == 0)
		n += (uint32_t)about.tcpi_bytes_acked;
	return n ? n : 1;
}

void io_close(struct front *f, struct io *io)
{
	if (io->ssl)
		tls_free(io);
	if (io->watch.active) {
		loop_watch_remove(f->loop, &io->watch);
		close(io->watch.fd);
	}
	io->watch.fd = -1;
	pipe_drop(io);
	queue_free(&io->in);
	queue_free(&io->out);
}
