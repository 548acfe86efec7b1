/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/forward_access.h"

#include "base/mem.h"
#include "daemon/endpoint/listeners.h"
#include "daemon/endpoint/service_secret.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool user_ids(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	struct passwd pw, *found = NULL;
	char room[16384];

	if (getpwnam_r(name, &pw, room, sizeof(room), &found) != 0 || !found)
		return false;
	*ret_uid = pw.pw_uid;
	*ret_gid = pw.pw_gid;
	return true;
}

static bool read_secret(const char *path, struct forward_access *a, struct err *err)
{
	struct secret s = { 0 };

	if (!service_secret_read(path, FORWARD_SECRET_MIN, &s, err))
		return false;
	forward_digest(secret_span(&s), a->digest);
	a->has_secret = true;
	secret_done(&s);
	return true;
}

static bool read_one(struct forward_access *a, const struct conf_service *s, struct place at, struct diags *diags)
{
	struct err err = { 0 };
	bool ok = true;
	gid_t gid;
	uid_t uid;

	for (size_t k = 0; k < s->forward_users.count && k < FORWARD_USERS_MAX; k++) {
		if (user_ids(s->forward_users.list[k], &uid, &gid))
			a->uids[a->uid_count++] = uid;
		else
			ok = diag_error(diags, s->forward_users.at[k], "\"forward-users\": there is no user \"%s\"",
			                s->forward_users.list[k]);
	}
	if (*s->forward_secret && !read_secret(s->forward_secret, a, &err))
		ok = diag_error(diags, at, "\"forward-secret\": %s", err.msg);
	return ok;
}

bool forward_accesses_read(struct forward_accesses *ret_a, const struct conf *conf, struct diags *diags)
{
	const struct conf_map *maps[] = { &conf->services, &conf->public };
	struct forward_accesses all = { mem_calloc(conf->services.count + conf->public.count + 1, sizeof(*all.list)), 0,
		                        conf->services.count };
	bool ok = true;

	for (size_t m = 0; m < array_size(maps); m++)
		for (size_t i = 0; i < maps[m]->count; i++)
			ok = read_one(&all.list[all.n++], conf_service(maps[m], i), maps[m]->at[i], diags) && ok;
	if (!ok) {
		forward_accesses_done(&all);
		return false;
	}
	*ret_a = all;
	return true;
}

const struct forward_access *forward_access_get(const struct forward_accesses *a, bool public, size_t i)
{
	size_t at = public && a ? a->public_from + i : i;

	return a && at < a->n ? &a->list[at] : NULL;
}

void forward_accesses_done(struct forward_accesses *a)
{
	free(a->list);
	*a = (struct forward_accesses){ 0 };
}

/* ---- sockets ---- */

char *forward_folder(const struct conf *conf)
{
	struct buf path;

	buf_init(&path, 8192);
	buf_addf(&path, "%s/forward", conf->run_dir);
	return buf_take(&path);
}

char *forward_socket_path(const struct conf *conf, struct span listen)
{
	scoped_free char *folder = forward_folder(conf);
	struct span name = span_from(listen, 5);
	struct buf path;

	if (name.len && name.ptr[0] == '/')
		return span_dup(name);
	buf_init(&path, 8192);
	buf_addf(&path, "%s/%.*s", folder, SPAN_ARG(name));
	return buf_take(&path);
}

static const struct conf_service *service_at(const struct conf *conf, struct span listen)
{
	const struct conf_map *maps[] = { &conf->services, &conf->public };

	for (size_t m = 0; m < array_size(maps); m++) {
		for (size_t i = 0; i < maps[m]->count; i++) {
			const struct conf_service *s = conf_service(maps[m], i);

			for (size_t k = 0; k < s->listen.count; k++)
				if (span_eq(span_str(s->listen.list[k]), listen))
					return s;
		}
	}
	return NULL;
}

static bool give(const char *path, const struct conf_service *s, struct err *err)
{
	mode_t mode = s->forward_users.count == 1 && geteuid() == 0 ? 0660 : 0666;
	uid_t uid;
	gid_t gid;

	/* the mode first: what is another's cannot be changed without a capability that is long gone */
	if (chmod(path, mode) < 0)
		return err_sys(err, "%s", path);
	if (geteuid() != 0)
		return true;
	if (!user_ids(s->forward_users.list[0], &uid, &gid))
		return err_set(err, ERR_CONFIG, "there is no user \"%s\"", s->forward_users.list[0]);
	if (chown(path, uid, gid) < 0)
		return err_sys(err, "giving %s to %s", path, s->forward_users.list[0]);
	return true;
}

int forward_socket_open(const struct conf *conf, struct span text, struct err *err)
{
	scoped_free char *path = forward_socket_path(conf, text);
	const struct conf_service *s = service_at(conf, text);
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t mask;
	int fd;
	bool ok;

	if (!s || s->forward_users.count == 0 || !span_cstr(span_str(path), at.sun_path, sizeof(at.sun_path))) {
		err_set(err, ERR_LIMIT, "%s: a socket's path has at most %zu bytes", path, sizeof(at.sun_path) - 1);
		return -1;
	}
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
		err_set(err, ERR_CONFIG, "%s is there, and is no socket", path);
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		err_sys(err, "socket");
		return -1;
	}
	if (unlink(path) < 0 && errno != ENOENT) {
		err_sys(err, "%s", path);
		close(fd);
		return -1;
	}
	mask = umask(0177);
	ok = bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0;
	if (!ok)
		err_sys(err, "%s", path);
	umask(mask);
	if (ok) {
		ok = give(path, s, err);
		if (ok && listen(fd, LISTENERS_BACKLOG) < 0)
			ok = err_sys(err, "%s", path);
		if (!ok)
			unlink(path);
	}
	if (!ok) {
		close(fd);
		return -1;
	}
	return fd;
}
