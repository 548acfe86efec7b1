/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	TUN_AT = 3,             /* the descriptors' numbers in the child */
	LISTEN_AT = 4,
	LISTEN_BACKLOG = 16,
	VERSION_MS = 3000,
	HEADERLESS_SINCE = 20230310,
};

static bool find_program(const char *program, char ret_path[TUNNEL_PATH_MAX], struct err *err)
{
	static const char *const places[] = { "/usr/bin/wireguard-go", "/usr/sbin/wireguard-go",
					      "/usr/local/bin/wireguard-go",
					      "/usr/local/sbin/wireguard-go" };

	for (size_t i = 0; !program && i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], X_OK) == 0)
			program = places[i];
	if (!program)
		return err_set(err, ERR_MISSING, "wireguard-go is not installed");
	if (!span_cstr(span_str(program), ret_path, TUNNEL_PATH_MAX))
		return err_set(err, ERR_LIMIT, "%s: too long a path", program);
	return true;
}

/* "wireguard-go v0.0.20220316": the last part, 0 if it says something else. */
static uint64_t version_of(struct span words)
{
	struct span part = span_head(words, span_find(words, '\n'));
	uint64_t n = 0;

	while (part.len > 0 && span_find(part, '.') < part.len)
		part = span_from(part, span_find(part, '.') + 1);
	part = span_head(part, span_find(part, '-'));
	return span_u64(span_trim(part), UINT32_MAX, &n) ? n : 0;
}

static bool ask_version(const char *program, uid_t uid, uint64_t *ret_version, struct err *err)
{
	char name[] = "wireguard-go", option[] = "--version", words[512];
	char *argv[] = { name, option, NULL }, *envp[] = { NULL };
	struct boot deadline = boot_add(clock_boot(), INT64_C(1000000) * VERSION_MS);
	int fds[2];
	size_t n = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return err_sys(err, "pipe");
	pid = fork();
	if (pid == 0) {
		if (setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 &&
		    setresuid(uid, uid, uid) == 0 && dup2(fds[1], 1) == 1)
			execve(program, argv, envp);
		_exit(127);
	}
	close(fds[1]);
	while (pid > 0 && n < sizeof(words)) {
		struct pollfd p = { .fd = fds[0], .events = POLLIN };
		int64_t left = (deadline.ns - clock_boot().ns) / 1000000;
		ssize_t got = left > 0 && poll(&p, 1, (int)left) > 0
				      ? read(fds[0], words + n, sizeof(words) - n)
				      : 0;

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(fds[0]);
	if (pid < 0)
		return err_sys(err, "fork");
	/* It has said what it had to say, or its time is over. */
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	*ret_version = version_of(span_of(words, n));
	return *ret_version != 0 || err_set(err, ERR_PEER, "%s: no version", program);
}

static int make_interface(const char *name, uid_t uid, uint64_t version, struct err *err)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "/dev/net/tun"), -1;
	if (version >= HEADERLESS_SINCE)
		ifr.ifr_flags |= IFF_NO_PI | IFF_VNET_HDR;
	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, TUNSETIFF, &ifr) != 0) {
		if (errno == EBUSY)
			err_set(err, ERR_BUSY, "%s: another process has it", name);
		else if (errno == EINVAL)
			err_set(err, ERR_EXISTS, "%s: an interface of another kind", name);
		else
			err_sys(err, "%s: making the interface", name);
	} else if (ioctl(fd, TUNSETOWNER, (unsigned long)uid) != 0 ||
		   ioctl(fd, TUNSETPERSIST, 1UL) != 0) {
		err_sys(err, "%s: giving the interface to its user", name);
	} else {
		return fd;
	}
	close(fd);
	return -1;
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
	/* The mode while it is ours: changing another user's takes CAP_FOWNER, which net has not. */
	if (!ok || chmod(sun.sun_path, 0660) != 0 || chown(sun.sun_path, uid, 0) != 0 ||
	    listen(fd, LISTEN_BACKLOG) != 0) {
		err_sys(err, "%s", sun.sun_path);
		close(fd);
		return -1;
	}
	return fd;
}

bool tunnel_init(struct tunnel *t, const char *name, uid_t uid, const char *program,
		 struct err *err)
{
	struct tunnel new = { .tun_fd = -1, .listen_fd = -1 };
	uint64_t version = 0;

	if (!device_name_ok(span_str(name)))
		return err_set(err, ERR_CONFIG, "not the name of an interface");
	memcpy(new.name, name, strlen(name) + 1);
	if (!find_program(program, new.program, err) ||
	    !ask_version(new.program, uid, &version, err))
		return false;
	new.tun_fd = make_interface(name, uid, version, err);
	if (new.tun_fd < 0)
		return false;
	new.listen_fd = make_socket(name, uid, err);
	if (new.listen_fd < 0) {
		tunnel_done(&new);
		return false;
	}
	*t = new;
	return true;
}

void tunnel_done(struct tunnel *t)
{
	if (t->tun_fd >= 0)
		close(t->tun_fd);
	if (t->listen_fd >= 0)
		close(t->listen_fd);
	t->tun_fd = t->listen_fd = -1;
}

void tunnel_exec(const struct tunnel *t, const char *level)
{
	char name[DEVICE_NAME_MAX], log[32], tun[] = "WG_TUN_FD=3", uapi[] = "WG_UAPI_FD=4",
	     front[] = "WG_PROCESS_FOREGROUND=1", foreground[] = "--foreground",
	     self[] = "wireguard-go";
	char *argv[] = { self, foreground, name, NULL };
	char *envp[] = { tun, uapi, front, log, NULL };
	int a, b;

	memcpy(name, t->name, sizeof(name));
	if (snprintf(log, sizeof(log), "LOG_LEVEL=%s", level) >= (int)sizeof(log)) {
		errno = EINVAL;
		return;
	}
	/* Out of the way of 3 and 4 first, wherever they are. */
	a = fcntl(t->tun_fd, F_DUPFD_CLOEXEC, LISTEN_AT + 1);
	b = fcntl(t->listen_fd, F_DUPFD_CLOEXEC, LISTEN_AT + 1);
	if (a < 0 || b < 0 || dup2(a, TUN_AT) < 0 || dup2(b, LISTEN_AT) < 0 ||
	    close_range(LISTEN_AT + 1, ~0U, 0) != 0)
		return;
	execve(t->program, argv, envp);
}
