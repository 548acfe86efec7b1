/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * handover_ask ADDRESS COUNT < REQUEST: the same request COUNT times over one
 * kept connection (a socket's path, or a port of 127.0.0.1), one after the
 * other; prints the status of the last answer and the times of a round in
 * nanoseconds: median, 90 and 99 of a hundred. For tests/bench/handover.
 */
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_MAX = 16 << 10, ANSWER_MAX = 64 << 10, COUNT_MAX = 10000000 };

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SEC_NS + t.tv_nsec;
}

static int dial(const char *at)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bool path = *at == '/';
	int fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

	if (path && strlen(at) >= sizeof(un.sun_path))
		return -1;
	if (path)
		memcpy(un.sun_path, at, strlen(at));
	in.sin_port = htons((uint16_t)strtoul(at, NULL, 10));
	if (fd < 0 || connect(fd, path ? (struct sockaddr *)&un : (struct sockaddr *)&in,
	                      path ? sizeof(un) : sizeof(in)) < 0)
		return -1;
	return fd;
}

/* One whole answer with a Content-Length; its status, or 0. */
static unsigned read_answer(int fd, char *buf)
{
	size_t n = 0;

	for (;;) {
		ssize_t r = read(fd, buf + n, ANSWER_MAX - 1 - n);
		const char *end, *length;

		if (r <= 0)
			return 0;
		n += (size_t)r;
		buf[n] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (!end)
			continue;
		length = strcasestr(buf, "\r\nContent-Length:");
		if (!length || length > end)
			return 0;
		if (n >= (size_t)(end + 4 - buf) + strtoul(length + 17, NULL, 10))
			return (unsigned)strtoul(buf + 9, NULL, 10);
	}
}

static int by_size(const void *x, const void *y)
{
	const int64_t *a = x, *b = y;

	return *a < *b ? -1 : *a > *b;
}

int main(int argc, char **argv)
{
	size_t count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0, len;
	char request[REQUEST_MAX], *answer = malloc(ANSWER_MAX);
	int64_t *times = calloc(count ? count : 1, sizeof(*times));
	unsigned status = 0;
	int fd;

	if (!count || count > COUNT_MAX || !answer || !times) {
		fprintf(stderr, "usage: handover_ask ADDRESS COUNT < REQUEST\n");
		return 2;
	}
	len = fread(request, 1, sizeof(request), stdin);
	fd = dial(argv[1]);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	for (size_t i = 0; i < count; i++) {
		int64_t before = now();

		if (write(fd, request, len) != (ssize_t)len || !(status = read_answer(fd, answer))) {
			fprintf(stderr, "%s: no answer\n", argv[1]);
			return 1;
		}
		times[i] = now() - before;
	}
	qsort(times, count, sizeof(*times), by_size);
	printf("%u %lld %lld %lld\n", status, (long long)times[count / 2], (long long)times[count * 9 / 10],
	       (long long)times[count * 99 / 100]);
	close(fd);
	free(times);
	free(answer);
	return 0;
}
