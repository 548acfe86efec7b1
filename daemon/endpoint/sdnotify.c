/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/sdnotify.h"

#include "base/span.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_FD = 3 };

bool sdnotify(const char *state, struct err *err)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	socklen_t len;

	if (!path || !*path)
		return true;
	if ((path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(sun.sun_path))
		return err_set(err, ERR_CONFIG, "NOTIFY_SOCKET is no path");
	memcpy(sun.sun_path, path, strlen(path));
	if (path[0] == '@')
		sun.sun_path[0] = '\0';
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));

	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 &&
	          sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
	                 (const struct sockaddr *)&sun, len) == (ssize_t)strlen(state);

	if (!ok)
		err_sys(err, "telling the service manager");
	if (fd >= 0)
		close(fd);
	return ok;
}

bool sdnotify_reloading(struct err *err)
{
	struct timespec ts;
	char text[96];

	clock_gettime(CLOCK_MONOTONIC, &ts);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
	         (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
	return sdnotify(text, err);
}

bool sdnotify_fds(struct sdnotify_fd fds[SDNOTIFY_FDS_MAX], size_t *ret_n, struct err *err)
{
	struct span names = span_str(getenv("LISTEN_FDNAMES"));
	uint64_t pid, n;
	bool ours =
		span_u64(span_str(getenv("LISTEN_PID")), INT32_MAX, &pid) && (pid_t)pid == getpid();

	*ret_n = 0;
	if (!ours || !getenv("LISTEN_FDS"))
		return true;
	if (!span_u64(span_str(getenv("LISTEN_FDS")), SDNOTIFY_FDS_MAX, &n))
		return err_set(err, ERR_CONFIG, "LISTEN_FDS is no number up to %d",
			       SDNOTIFY_FDS_MAX);
	for (size_t i = 0; i < n; i++) {
		struct span name = { 0 };

		fds[i].fd = FIRST_FD + (int)i;
		if (fcntl(fds[i].fd, F_SETFD, FD_CLOEXEC) < 0)
			return err_sys(err, "LISTEN_FDS: descriptor %d", fds[i].fd);
		if (!span_next(&names, ':', &name))
			name = SPAN("unknown");
		if (!span_cstr(name, fds[i].name, sizeof(fds[i].name)))
			return err_set(err, ERR_CONFIG,
				       "LISTEN_FDNAMES has a name that is too long");
	}
	/* What we start must not take them for its own. */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	*ret_n = n;
	return true;
}
