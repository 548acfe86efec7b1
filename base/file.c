/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define scoped_fd __attribute__((cleanup(close_fd)))

/* Into a buffer that is moved, not realloc()ed, when it grows: the file may be
 * a key, and no copy of it may stay behind. */
static bool read_all(int fd, const char *path, size_t hint, size_t max, struct buf *ret_text,
                     struct err *err)
{
	struct buf b = { .max = max };

	b.cap = (hint < max ? hint : max) + 2;
	b.ptr = mem_alloc(b.cap);
	for (;;) {
		if (b.len + 1 >= b.cap) {
			size_t cap = b.cap > (max + 2) / 2 ? max + 2 : b.cap * 2;
			char *more = mem_alloc(cap);

			memcpy(more, b.ptr, b.len);
			mem_wipe(b.ptr, b.cap);
			free(b.ptr);
			b.ptr = more;
			b.cap = cap;
		}

		ssize_t n = read(fd, b.ptr + b.len, b.cap - 1 - b.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(err, "reading %s", path);
			buf_wipe_done(&b);
			return false;
		}
		if (n == 0)
			break;
		b.len += (size_t)n;
		if (b.len > max) {
			buf_wipe_done(&b);
			return err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, max);
		}
	}
	b.ptr[b.len] = '\0';
	*ret_text = b;
	return true;
}

static int open_read(const char *path, struct stat *ret_st, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			err_set(err, ERR_MISSING, "%s: no such file", path);
		else
			err_sys(err, "opening %s", path);
		return -1;
	}
	if (fstat(fd, ret_st) < 0) {
		err_sys(err, "%s", path);
		close(fd);
		return -1;
	}
	return fd;
}

bool file_read(const char *path, size_t max, struct buf *ret_text, struct err *err)
{
	struct stat st;
	scoped_fd int fd = open_read(path, &st, err);

	if (fd < 0)
		return false;
	return read_all(fd, path, S_ISREG(st.st_mode) ? (size_t)st.st_size : 4096, max, ret_text,
			err);
}

bool file_read_private(const char *path, size_t max, struct buf *ret_text, struct err *err)
{
	struct stat st;
	scoped_fd int fd = open_read(path, &st, err);

	if (fd < 0)
		return false;
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_CONFIG, "%s is not a regular file", path);
	if (st.st_mode & 077)
		return err_set(err, ERR_CONFIG,
			       "%s: others than its owner may read it (mode %04o, want 0600)", path,
			       st.st_mode & 07777);
	return read_all(fd, path, (size_t)st.st_size, max, ret_text, err);
}

static bool write_all(int fd, struct span text)
{
	while (text.len) {
		ssize_t n = write(fd, text.ptr, text.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		text = span_from(text, (size_t)n);
	}
	return true;
}

static bool sync_dir(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	scoped_free char *dir = !slash          ? mem_strdup(".")
				: slash == path ? mem_strdup("/")
						: mem_dup(path, (size_t)(slash - path));
	scoped_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_sys(err, "syncing %s", dir);
	return true;
}

bool file_replace(const char *path, struct span text, mode_t mode, struct err *err)
{
	size_t n = strlen(path);
	scoped_free char *tmp = mem_alloc(n + sizeof(".XXXXXX"));

	memcpy(tmp, path, n);
	memcpy(tmp + n, ".XXXXXX", sizeof(".XXXXXX"));

	scoped_fd int fd = mkostemp(tmp, O_CLOEXEC);    /* born 0600 */

	if (fd < 0)
		return err_sys(err, "creating a file beside %s", path);
	/* The data must be on disk before the name is, and the name before we say so. */
	if (!write_all(fd, text) || fchmod(fd, mode) < 0 || fsync(fd) < 0 ||
	    rename(tmp, path) < 0) {
		err_sys(err, "writing %s", path);
		unlink(tmp);
		return false;
	}
	return sync_dir(path, err);
}

bool file_rename(const char *from, const char *to, struct err *err)
{
	if (rename(from, to) < 0)
		return err_sys(err, "%s", to);
	return sync_dir(to, err);
}

bool file_link(const char *from, const char *to, struct err *err)
{
	if (unlink(to) < 0 && errno != ENOENT)
		return err_sys(err, "%s", to);
	if (link(from, to) < 0)
		return err_sys(err, "%s", to);
	return sync_dir(to, err);
}
