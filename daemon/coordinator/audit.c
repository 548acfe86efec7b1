/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/audit.h"

#include "daemon/control/map.h"

#include "base/log.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AUDIT_LINE_MAX = 16 << 10 };

struct audit {
	char      *path;
	int        fd;
	struct buf line;
	uint64_t   lost;
};

struct audit *audit_open(const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		err_sys(err, "%s", path);
		return NULL;
	}
	struct audit *a = mem_alloc(sizeof(*a));
	a->path = mem_strdup(path);
	a->fd = fd;
	buf_init(&a->line, AUDIT_LINE_MAX);
	return a;
}

void audit_close(struct audit *a)
{
	if (!a)
		return;
	close(a->fd);
	buf_done(&a->line);
	free(a->path);
	free(a);
}

void audit_reopen(struct audit *a)
{
	int fd = open(a->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		struct err err;

		err_sys(&err, "%s", a->path);
		log_error("%s; the old file goes on", err.msg);
		return;
	}
	close(a->fd);
	a->fd = fd;
}

struct buf *audit_begin(struct audit *a, struct wall now, const char *event)
{
	char text[WALL_TEXT_MAX];

	buf_clear(&a->line);
	buf_addf(&a->line, "{\"time\":\"%s\",\"event\":\"%s\"", wall_text(now, text), event);
	return &a->line;
}

void audit_str(struct buf *b, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	buf_addf(b, ",\"%s\":", name);
	buf_add_json(b, span_str(value));
}

void audit_id(struct buf *b, const char *name, char kind, uint64_t id)
{
	char text[MAP_ID_MAX];

	if (id)
		buf_addf(b, ",\"%s\":\"%s\"", name, map_id_text(kind, id, text));
}

void audit_int(struct buf *b, const char *name, int64_t value)
{
	buf_addf(b, ",\"%s\":%lld", name, (long long)value);
}

void audit_end(struct audit *a)
{
	buf_add_str(&a->line, "}\n");
	/* One write: lines of O_APPEND files do not mix. */
	if (a->line.over || write(a->fd, a->line.ptr, a->line.len) != (ssize_t)a->line.len) {
		if (a->lost++ == 0)
			log_error("%s: a line could not be written", a->path);
	}
}

void audit_note(struct buf *b, const char *event)
{
	buf_init(b, AUDIT_LINE_MAX / 2);
	buf_addf(b, "\"event\":\"%s\"", event);
}

void audit_write(struct audit *a, struct wall now, const char *note, const struct err *err)
{
	char text[WALL_TEXT_MAX];

	if (!note)
		return;
	buf_clear(&a->line);
	buf_addf(&a->line, "{\"time\":\"%s\",%s", wall_text(now, text), note);
	if (err) {
		audit_str(&a->line, "refused", err_code_name(err->code));
		audit_str(&a->line, "reason", err->msg);
	}
	audit_end(a);
}

bool audit_tail(const struct audit *a, struct buf *ret, struct err *err)
{
	int         fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	char        chunk[64 << 10];
	off_t       at = 0;
	ssize_t     n = 0;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(err, "%s", a->path);
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (st.st_size > AUDIT_TAIL_MAX)
		at = st.st_size - AUDIT_TAIL_MAX;
	bool cut = at > 0;
	while (at < st.st_size) {
		size_t want = (size_t)(st.st_size - at) < sizeof(chunk) ? (size_t)(st.st_size - at) : sizeof(chunk);

		n = pread(fd, chunk, want, at);
		if (n <= 0)
			break;
		buf_add(ret, chunk, (size_t)n);
		at += n;
	}
	if (n < 0)
		err_sys(err, "%s", a->path);
	close(fd);
	/* Where it was cut, the first line is not whole. */
	if (cut)
		buf_drop(ret, span_find(buf_span(ret), '\n'));
	return n >= 0;
}

uint64_t audit_lost(const struct audit *a)
{
	return a->lost;
}
