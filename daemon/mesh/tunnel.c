/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	LISTEN_AT = 3,          /* the descriptor's number in the child */
	LISTEN_BACKLOG = 16,
};

static bool make_interface(const char *name, uid_t uid, struct err *err)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	bool ok = true;

	if (fd < 0)
		return err_sys(err, "/dev/net/tun");
	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, TUNSETIFF, &ifr) != 0) {
		ok = errno == EBUSY ? err_set(err, ERR_BUSY, "%s: another process has it", name)
		     : errno == EINVAL
			     ? err_set(err, ERR_EXISTS, "%s: an interface of another kind", name)
			     : err_sys(err, "%s: making the interface", name);
	} else if (ioctl(fd, TUNSETOWNER, (unsigned long)uid) != 0 ||
		   ioctl(fd, TUNSETPERSIST, 1UL) != 0) {
		ok = err_sys(err, "%s: giving the interface to its user", name);
	}
	close(fd);
	return ok;
}

/* The process watches the socket's file, so it must be where it looks, and readable to it. */
static int make_socket(const char *name, uid_t uid, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (mkdir(DEVICE_RUN_DIR, 0755) != 0 && errno != EEXIST)
		return err_sys(err, DEVICE_RUN_DIR), -1;
	/* Somebody's umask may have made it for root alone: the tunnel's user has to pass. */
	if (stat(DEVICE_RUN_DIR, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    ((st.st_mode & 0011) != 0011 &&
	     chmod(DEVICE_RUN_DIR, (st.st_mode & 07777) | 0011) != 0))
		return err_sys(err, "%s: not a folder of ours", DEVICE_RUN_DIR), -1;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s.sock", DEVICE_RUN_DIR, name);
	if (unlink(sun.sun_path) != 0 && errno != ENOENT)
		return err_sys(err, "%s", sun.sun_path), -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "socket"), -1;

	/* Nobody but root until it has its owner. */
	mode_t old = umask(0177);
	bool ok = bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0;

	umask(old);
	if (!ok || chown(sun.sun_path, uid, 0) != 0 || chmod(sun.sun_path, 0660) != 0 ||
	    listen(fd, LISTEN_BACKLOG) != 0) {
		err_sys(err, "%s", sun.sun_path);
		close(fd);
		return -1;
	}
	return fd;
}

bool tunnel_init(struct tunnel *t, const char *name, uid_t uid, struct err *err)
{
	int fd;

	if (!device_name_ok(span_str(name)))
		return err_set(err, ERR_CONFIG, "not the name of an interface");
	if (!make_interface(name, uid, err))
		return false;
	fd = make_socket(name, uid, err);
	if (fd < 0)
		return false;
	*t = (struct tunnel){ .listen_fd = fd };
	memcpy(t->name, name, strlen(name) + 1);
	return true;
}

void tunnel_done(struct tunnel *t)
{
	if (t->listen_fd >= 0)
		close(t->listen_fd);
	t->listen_fd = -1;
}

void tunnel_exec(const struct tunnel *t, const char *program, const char *level)
{
	static const char *const places[] = { "/usr/bin/wireguard-go", "/usr/sbin/wireguard-go",
					      "/usr/local/bin/wireguard-go",
					      "/usr/local/sbin/wireguard-go" };
	char name[DEVICE_NAME_MAX], log[32], uapi[] = "WG_UAPI_FD=3", foreground[] = "--foreground",
	     self[] = "wireguard-go", in_front[] = "WG_PROCESS_FOREGROUND=1";
	char *argv[] = { self, foreground, name, NULL };
	char *envp[] = { uapi, in_front, log, NULL };

	memcpy(name, t->name, sizeof(name));
	if (snprintf(log, sizeof(log), "LOG_LEVEL=%s", level) >= (int)sizeof(log)) {
		errno = EINVAL;
		return;
	}
	/* dup2() onto itself would leave it to be closed at the exec. */
	if (t->listen_fd == LISTEN_AT ? fcntl(LISTEN_AT, F_SETFD, 0) != 0
				      : dup2(t->listen_fd, LISTEN_AT) < 0)
		return;
	if (close_range(LISTEN_AT + 1, ~0U, 0) != 0)
		return;
	if (program) {
		execve(program, argv, envp);
		return;
	}
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		execve(places[i], argv, envp);
		if (errno != ENOENT)
			return;
	}
}
