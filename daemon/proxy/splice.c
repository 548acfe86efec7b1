/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Long bodies from an application's socket to a client's without passing
 * through this process: socket, pipe, socket (splice(2)). A pipe belongs to a
 * connection only while its client cannot take what is in it; it then counts
 * as what waits to be written, before io->out. Pipes are made once, before the
 * sandbox closes; where there is none left, or no splice, bytes are copied.
 */
#include "daemon/proxy/splice.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIPE_LEAST = 64 << 10 };

struct pipe {
	struct front *front;
	struct pipe  *next;
	int           fd[2];
	size_t        len;
};

static void pipe_free(struct pipe *p)
{
	close(p->fd[0]);
	close(p->fd[1]);
	free(p);
}

void pipes_init(struct front *f, size_t n)
{
	while (n--) {
		struct pipe *p = mem_alloc(sizeof(*p));

		if (pipe2(p->fd, O_NONBLOCK | O_CLOEXEC) < 0) {
			free(p);
			return;
		}
		/* As much as one read takes; the kernel's own size serves, too. A user with
		 * very many pipes is given tiny ones (pipe(7)): a copy is cheaper then. */
		if (fcntl(p->fd[1], F_SETPIPE_SZ, (int)FRONT_RX) < 0 &&
		    fcntl(p->fd[1], F_GETPIPE_SZ) < PIPE_LEAST) {
			pipe_free(p);
			return;
		}
		p->front = f;
		p->next = f->pipes;
		f->pipes = p;
	}
}

void pipes_done(struct front *f)
{
	while (f->pipes) {
		struct pipe *p = f->pipes;

		f->pipes = p->next;
		pipe_free(p);
	}
}

static void pipe_back(struct pipe *p)
{
	p->next = p->front->pipes;
	p->front->pipes = p;
}

void pipe_drop(struct io *io)
{
	struct pipe *p = io->pipe;
	char aside[16 << 10];   /* what is in front.rx may be somebody's who still needs it */

	io->pipe = NULL;
	if (!p)
		return;
	/* Nobody gets what is left of one body in front of another: the pipe itself says that it is
	 * empty, and one that says something else is used no more. */
	for (;;) {
		ssize_t n = read(p->fd[0], aside, sizeof(aside));

		if (n > 0)
			p->len -= (size_t)n < p->len ? (size_t)n : p->len;
		else if (n < 0 && errno == EAGAIN && p->len == 0)
			break;
		else if (n == 0 || errno != EINTR) {
			pipe_free(p);
			return;
		}
	}
	pipe_back(p);
}

/* False: the client's connection has failed. */
static bool drain(struct io *io, struct pipe *p)
{
	while (p->len && io->can_write) {
		ssize_t n = splice(p->fd[0], NULL, io->watch.fd, NULL, p->len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n > 0) {
			p->len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			io->can_write = false;
		} else if (n == 0 || errno != EINTR) {
			io->failed = true;
			return false;
		}
	}
	return true;
}

bool pipe_flush(struct io *io)
{
	struct pipe *p = io->pipe;

	if (!p)
		return true;
	if (!drain(io, p))
		return false;
	if (p->len == 0) {
		io->pipe = NULL;
		pipe_back(p);
	}
	return true;
}

size_t pipe_length(const struct io *io)
{
	return io->pipe ? io->pipe->len : 0;
}

bool splice_wanted(const struct exchange *ex)
{
	const struct io *from = &ex->up->io, *to = &ex->conn->io;

	return ex->resp.kind == BODY_LENGTH && ex->resp.left >= SPLICE_MIN && ex->conn->front->pipes &&
	       !from->in.len && !from->ssl && !from->records && from->stream == IO_DESCRIPTOR && !from->eof &&
	       !from->failed && !to->ssl && to->stream == IO_DESCRIPTOR;
}

/* The body is through. What is there now, behind it, must not look as if it were not:
 * up_release() gives back a connection only where nothing can be read. */
static void look_behind(struct io *from)
{
	char c;

	if (!from->hup && recv(from->watch.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		from->can_read = false;
}

enum splice_result splice_body(struct exchange *ex, size_t *ret_moved)
{
	struct io *from = &ex->up->io, *to = &ex->conn->io;
	struct front *f = ex->conn->front;
	struct pipe *p = f->pipes;
	size_t want = ex->resp.left < FRONT_RX ? (size_t)ex->resp.left : FRONT_RX;
	int64_t due = front_now(f) + ex->svc->idle_ns;
	ssize_t n;

	if (!from->can_read)
		return SPLICE_AGAIN;
	n = splice(from->watch.fd, NULL, p->fd[1], NULL, want, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n < 0 && errno == EAGAIN) {
		from->can_read = false;
		return SPLICE_AGAIN;
	}
	if (n <= 0)
		return SPLICE_COPY;     /* the end, a failure, or no splice here: a read tells which */
	f->pipes = p->next;
	p->len = (size_t)n;
	to->pipe = p;
	ex->resp.left -= (uint64_t)n;
	ex->resp.done = ex->resp.left == 0;
	ex->bytes_out += (uint64_t)n;
	f->stats.bytes_spliced += (uint64_t)n;
	*ret_moved += (size_t)n;
	if (!pipe_flush(to)) {
		conn_close(ex->conn);
		return SPLICE_GONE;
	}
	if (ex->resp.done)
		look_behind(from);
	else
		conn_due(ex->conn, due < ex->due_total ? due : ex->due_total);
	return SPLICE_MOVED;
}
