/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/audit.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct audit {
	struct loop       *loop;
	struct loop_timer *retry;
	struct buf         queue;
	int                fd;          /* 2: the journal */
	bool               broken;      /* the last write failed: said once */
	bool               scheduled;
	uint64_t           written, lost, told_lost;
};

static void flush(void *arg);

static int open_file(const char *path, struct err *err)
{
	int fd;

	if (!*path)
		return STDERR_FILENO;
	/* A FIFO without a reader must not stop us either. */
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (fd < 0)
		err_sys(err, "audit file %s", path);
	return fd;
}

static void close_file(int fd)
{
	if (fd > STDERR_FILENO)
		close(fd);
}

struct audit *audit_open(struct loop *l, const char *path, struct err *err)
{
	int fd = open_file(path, err);
	struct audit *a;

	if (fd < 0)
		return NULL;
	a = mem_alloc(sizeof(*a));
	a->loop = l;
	a->fd = fd;
	buf_init(&a->queue, AUDIT_QUEUE_MAX);
	a->retry = loop_timer_new(l, flush, a);
	return a;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	flush(a);
	loop_timer_free(a->retry);
	close_file(a->fd);
	buf_done(&a->queue);
	free(a);
}

bool audit_reopen(struct audit *a, const char *path, struct err *err)
{
	int fd = open_file(path, err);

	if (fd < 0)
		return false;
	flush(a);
	close_file(a->fd);
	a->fd = fd;
	return true;
}

static bool add(struct audit *a, struct span line)
{
	if (a->queue.len + line.len + 1 > AUDIT_QUEUE_MAX)
		return false;
	buf_add_span(&a->queue, line);
	buf_add_char(&a->queue, '\n');
	a->written++;
	return true;
}

static void say_lost(struct audit *a)
{
	char text[WALL_TEXT_MAX];
	scoped_buf struct buf line = { 0 };

	if (a->lost == a->told_lost)
		return;
	buf_init(&line, 256);
	buf_addf(&line, "{\"time\":\"%s\",\"event\":\"lost\",\"count\":%llu}",
	         wall_text(clock_wall(), text), (unsigned long long)(a->lost - a->told_lost));
	if (add(a, buf_span(&line)))
		a->told_lost = a->lost;
}

/* Writes until the file takes no more. */
static void flush(void *arg)
{
	struct audit *a = arg;

	a->scheduled = false;
	say_lost(a);
	while (a->queue.len) {
		ssize_t n = write(a->fd, a->queue.ptr, a->queue.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!a->broken && errno != EAGAIN)
				log_error("audit: %s; lines wait, and are counted when there is no more room",
				          strerror(errno));
			a->broken = true;
			loop_timer_after(a->retry, AUDIT_RETRY_SEC * SEC_NS);
			return;
		}
		buf_drop(&a->queue, (size_t)n);
	}
	if (a->broken)
		log_note("audit: writing again, %llu lines lost so far", (unsigned long long)a->lost);
	a->broken = false;
}

static bool line_ok(struct span line)
{
	if (line.len < 2 || line.ptr[0] != '{' || line.ptr[line.len - 1] != '}' || !span_is_utf8(line))
		return false;
	for (size_t i = 0; i < line.len; i++)
		if ((unsigned char)line.ptr[i] < 0x20 || line.ptr[i] == 0x7f)
			return false;
	return true;
}

/* An access line in the words of other servers: printable, and not to be taken for one of ours. */
static bool access_ok(struct span line)
{
	return line.len > 0 && line.ptr[0] != '{' && span_is_print(line);
}

void audit_lines(struct audit *a, struct span lines)
{
	struct span line;

	while (lines.len && span_next(&lines, '\n', &line)) {
		if (line.len == 0)
			continue;
		if ((!line_ok(line) && !access_ok(line)) || !add(a, line))
			a->lost++;
	}
	if (!a->scheduled && !a->broken) {
		a->scheduled = true;
		loop_timer_after(a->retry, 0);
	}
}

void audit_lost(struct audit *a, uint64_t count)
{
	a->lost += count;
	if (!a->scheduled && !a->broken) {
		a->scheduled = true;
		loop_timer_after(a->retry, 0);
	}
}

void audit_stats(const struct audit *a, struct audit_stats *ret_s)
{
	*ret_s = (struct audit_stats){ a->written, a->lost, a->queue.len };
}
