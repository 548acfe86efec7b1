/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/process_inside.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/forward_access.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_empty(int fd)
{
	DIR *d = fdopendir(dup(fd));
	size_t n = 0;

	if (!d)
		return false;
	while (readdir(d))
		n++;
	closedir(d);
	return n <= 2;          /* "." and ".." */
}

/* A folder for uid, with everything above it. One that exists is left as it is,
 * unless it is root's and empty: a service manager made it for us. */
static bool folder(const char *path, uid_t uid, gid_t gid, mode_t mode, struct err *err)
{
	scoped_free char *copy = mem_strdup(path);
	struct stat st;
	bool made;
	int fd;

	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return err_sys(err, "making %s", copy);
		*slash = '/';
	}
	made = mkdir(path, mode) == 0;
	if (!made && errno != EEXIST)
		return err_sys(err, "making %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(err, "%s", path);
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (geteuid() == 0 && st.st_uid != uid && (made || (st.st_uid == 0 && is_empty(fd)))) {
		if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0) {
			err_sys(err, "giving %s to user %u", path, uid);
			close(fd);
			return false;
		}
		st.st_uid = uid;
	}
	close(fd);
	if (st.st_uid != uid)
		return err_set(err, ERR_CONFIG,
			       "%s belongs to user %u and not to %u, who writes there", path,
			       st.st_uid, uid);
	return true;
}

/* Its folder may hold other people's logs; the file is ours. */
static bool audit_file(const char *path, uid_t uid, gid_t gid, struct err *err)
{
	const char *slash = strrchr(path, '/');
	scoped_free char *dir =
		slash && slash != path ? mem_dup(path, (size_t)(slash - path)) : NULL;
	struct stat st;
	int fd;

	if (dir && stat(dir, &st) < 0 && errno == ENOENT && !folder(dir, uid, gid, 0750, err))
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(err, "audit file %s", path);
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (geteuid() == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 && st.st_size == 0 &&
	    fchown(fd, uid, gid) == 0)
		st.st_uid = uid;
	close(fd);
	if (st.st_uid != uid)
		return err_set(err, ERR_CONFIG,
			       "%s belongs to user %u and not to %u, who writes there", path,
			       st.st_uid, uid);
	return true;
}

bool processes_folders(const struct conf *conf, const struct privilege_users *users,
                       char **ret_empty, struct err *err)
{
	uid_t root = geteuid();
	scoped_free char *forward = forward_folder(conf);
	struct buf path;

	buf_init(&path, 8192);
	buf_addf(&path, "%s/empty", conf->run_dir);
	/* The fronts' root is root's: nobody can put anything there. So is the folder of the sockets
	 * over which web servers ask, and where the parent makes them later. */
	if (!folder(conf->run_dir, users->core, users->core_group, 0755, err) ||
	    !folder(conf->state_dir, users->core, users->core_group, 0700, err) ||
	    (*conf->audit && !audit_file(conf->audit, users->core, users->core_group, err)) ||
	    !folder(path.ptr, root, getegid(), 0555, err) || !folder(forward, root, getegid(), 0755, err)) {
		buf_done(&path);
		return false;
	}
	*ret_empty = buf_take(&path);
	return true;
}

static bool same_strs(const struct conf_strs *a, const struct conf_strs *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->list[i], b->list[i]) != 0)
			return false;
	return true;
}

const char *processes_fixed(const struct conf *now, const struct conf *next)
{
	const struct { const char *name, *a, *b; } texts[] = {
		{ "user", now->user, next->user },
		{ "front-user", now->front_user, next->front_user },
		{ "tunnel-user", now->tunnel_user, next->tunnel_user },
		{ "run-dir", now->run_dir, next->run_dir },
		{ "state-dir", now->state_dir, next->state_dir },
		{ "audit", now->audit, next->audit },
		{ "interface", now->mesh.interface, next->mesh.interface },
		{ "hosts-file", now->mesh.hosts_file, next->mesh.hosts_file },
	};
	const struct { const char *name; int64_t a, b;
	} numbers[] = {
		{"identities", now->mode == CONF_STANDALONE, next->mode == CONF_STANDALONE},
		{"map", now->mode == CONF_MAP_FILE, next->mode == CONF_MAP_FILE},
		{"unprivileged", now->unprivileged, next->unprivileged},
		{"fronts", now->services.count ? now->fronts : 0,
		 next->services.count ? next->fronts : 0},
		{"public-fronts", now->public.count ? now->public_fronts : 0,
		 next->public.count ? next->public_fronts : 0},
		{"access-log", now->access_log, next->access_log},
		{"connections-max", now->conn_max, next->conn_max},
		{"header-timeout", now->header_sec, next->header_sec},
		{"keep-alive-timeout", now->keep_alive_sec, next->keep_alive_sec},
		{"log-level", now->log_level, next->log_level},
		{"port", now->mesh.port, next->mesh.port},
		{"backend", now->mesh.backend, next->mesh.backend},
	};

	if (!same_strs(&now->mesh.users, &next->mesh.users))
		return "users";
	if (!same_strs(&now->mesh.routes, &next->mesh.routes))
		return "routes";
	for (size_t i = 0; i < array_size(texts); i++)
		if (strcmp(texts[i].a, texts[i].b) != 0)
			return texts[i].name;
	for (size_t i = 0; i < array_size(numbers); i++)
		if (numbers[i].a != numbers[i].b)
			return numbers[i].name;
	return NULL;
}

void processes_log_diags(const struct diags *d)
{
	for (size_t i = 0; i < d->count; i++) {
		const struct diag *one = &d->list[i];

		log_at(one->level == DIAG_ERROR ? LOG_ERROR : LOG_WARN, "%s:%u:%u: %s", d->file,
		       one->at.line, one->at.col, one->msg);
	}
}
