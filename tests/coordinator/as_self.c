/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Preloaded into a coordinator by own_token_test.py: whoever connects as root is taken for the coordinator's
 * own process, so that a test can speak at its token endpoint; and CLOCK_BOOTTIME is ahead by as many seconds
 * as the file AS_SELF_AHEAD says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	int (*real)(int, int, int, void *, socklen_t *);
	int rc;

	*(void **)&real = dlsym(RTLD_NEXT, "getsockopt");
	rc = real(fd, level, name, value, len);
	if (rc == 0 && level == SOL_SOCKET && name == SO_PEERCRED && ((struct ucred *)value)->uid == 0)
		((struct ucred *)value)->pid = getpid();
	return rc;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	const char *path = getenv("AS_SELF_AHEAD");
	long ahead = 0;
	FILE *f;
	int rc;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	rc = real(clock, ts);
	if (clock == CLOCK_BOOTTIME && path && (f = fopen(path, "r"))) {
		if (fscanf(f, "%ld", &ahead) == 1)
			ts->tv_sec += ahead;
		fclose(f);
	}
	return rc;
}
