/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static struct {
	char           who[64];
	enum log_level most;
	bool           journal;
} logger = { .most = LOG_INFO };

/* sd-daemon's convention: $JOURNAL_STREAM is "device:inode" of the journal's
 * socket; stderr may have been redirected since. */
static bool stderr_is_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	struct stat st;
	char ours[64];

	if (!env || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)st.st_dev,
	         (unsigned long long)st.st_ino);
	return strcmp(env, ours) == 0;
}

void log_open(const char *who, enum log_level most)
{
	snprintf(logger.who, sizeof(logger.who), "%s", who);
	logger.most = most;
	logger.journal = stderr_is_journal();
}

bool log_wants(enum log_level level)
{
	return level <= logger.most;
}

/* Appends s as far as it fits, controls and what is not ASCII as \xNN.
 * False if it did not fit whole. */
static bool add_escaped(char *out, size_t size, size_t *len, struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		bool plain = c >= 0x20 && c <= 0x7e;
		size_t n = plain ? 1 : 4;

		if (*len + n >= size)
			return false;
		if (plain)
			out[*len] = (char)c;
		else
			snprintf(out + *len, size - *len, "\\x%02x", c);
		*len += n;
	}
	out[*len] = '\0';
	return true;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {
		[LOG_ERROR] = "error", [LOG_WARN] = "warning", [LOG_NOTE] = "notice",
		[LOG_INFO] = "info", [LOG_DEBUG] = "debug",
	};
	char msg[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 256], when[WALL_TEXT_MAX];
	size_t len;
	va_list ap;

	if (!log_wants(level))
		return;
	va_start(ap, fmt);
	int n = vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (logger.journal)
		len = (size_t)snprintf(line, sizeof(line), "<%d>%s: ", level, logger.who);
	else
		len = (size_t)snprintf(line, sizeof(line), "%s %s: %s: ",
		                       wall_text(clock_wall(), when), logger.who, names[level]);

	/* A line break inside the message could forge a line: escaped like any control. */
	bool whole = add_escaped(line, sizeof(line) - 5, &len, span_str(msg)) &&
	             (size_t)n < sizeof(msg);

	if (!whole) {
		memcpy(line + len, "...", 3);
		len += 3;
	}
	line[len++] = '\n';
	/* One write: lines of several processes do not mix. */
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
}

const char *log_text(struct span s, char buf[LOG_TEXT_MAX])
{
	size_t len = 0;

	buf[0] = '\0';
	if (!add_escaped(buf, LOG_TEXT_MAX - 3, &len, s))
		memcpy(buf + len, "...", 4);
	return buf;
}
