/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What does not fit ends in "...", so that nobody takes the rest for the whole. */
static void mark_cut(char *msg, int wrote, size_t room)
{
	if (wrote >= 0 && (size_t)wrote >= room)
		memcpy(msg + ERR_MSG_MAX - 4, "...", 4);
}

static void __attribute__((format(printf, 3, 0)))
err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
	char msg[ERR_MSG_MAX];  /* an argument may point into err->msg */
	int n = vsnprintf(msg, sizeof(msg), fmt, ap);

	mark_cut(msg, n, sizeof(msg));
	if (n < 0)
		msg[0] = '\0';
	err->code = code;
	memcpy(err->msg, msg, sizeof(msg));
}

bool err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return false;
	va_start(ap, fmt);
	err_vset(err, code, fmt, ap);
	va_end(ap);
	return false;
}

bool err_sys(struct err *err, const char *fmt, ...)
{
	int e = errno;
	va_list ap;
	char words[128];

	if (!err)
		return false;
	va_start(ap, fmt);
	err_vset(err, ERR_SYS, fmt, ap);
	va_end(ap);

	size_t len = strlen(err->msg);
	int n = snprintf(err->msg + len, sizeof(err->msg) - len, ": %s",
	                 strerror_r(e, words, sizeof(words)));
	mark_cut(err->msg, n, sizeof(err->msg) - len);
	errno = e;
	return false;
}

bool err_prefix(struct err *err, const char *fmt, ...)
{
	va_list ap;
	char msg[ERR_MSG_MAX];

	if (!err)
		return false;
	va_start(ap, fmt);
	int n = vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		return false;
	if ((size_t)n >= sizeof(msg)) {
		mark_cut(msg, n, sizeof(msg));
	} else {
		size_t room = sizeof(msg) - (size_t)n;
		size_t len = strlen(err->msg);

		if (len >= room) {
			memcpy(msg + n, err->msg, room);
			mark_cut(msg, (int)len, room);
		} else {
			memcpy(msg + n, err->msg, len + 1);
		}
	}
	memcpy(err->msg, msg, sizeof(msg));
	return false;
}

const char *err_code_name(enum err_code code)
{
	switch (code) {
	case ERR_NONE:    return "none";
	case ERR_SYNTAX:  return "syntax";
	case ERR_LIMIT:   return "limit";
	case ERR_EXPIRED: return "expired";
	case ERR_DENIED:  return "denied";
	case ERR_MISSING: return "missing";
	case ERR_EXISTS:  return "exists";
	case ERR_PEER:    return "peer";
	case ERR_CRYPTO:  return "crypto";
	case ERR_TIMEOUT: return "timeout";
	case ERR_BUSY:    return "busy";
	case ERR_CONFIG:  return "config";
	case ERR_NOTNOW:   return "state";
	case ERR_SYS:     return "system";
	}
	return "unknown";
}
