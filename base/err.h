/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/*
 * The one way to say that something failed. A function that can fail returns
 * bool (or a pointer) and takes a `struct err *` last; the code is for
 * programs and tests, the message for people. Next: base/span.h.
 *
 * Verdicts are not errors: see policy/. Running out of memory is not an error
 * either: it aborts (mem.h), since every size that a stranger chooses meets a
 * named limit first, which is ERR_LIMIT.
 */

#include <stdbool.h>
#include <stdint.h>

enum err_code {
	ERR_NONE = 0,
	ERR_SYNTAX,     /* text that does not parse */
	ERR_LIMIT,      /* larger, deeper or more than a named limit */
	ERR_EXPIRED,    /* was right once */
	ERR_DENIED,     /* understood, and refused */
	ERR_MISSING,    /* no such thing */
	ERR_EXISTS,     /* there is one already */
	ERR_PEER,       /* the other side broke its protocol */
	ERR_CRYPTO,     /* a signature, a key or a MAC that does not hold */
	ERR_TIMEOUT,    /* a deadline passed */
	ERR_BUSY,       /* try again later */
	ERR_CONFIG,     /* the owner's configuration contradicts itself */
	ERR_NOTNOW,     /* not now: the object is not in a state that allows it */
	ERR_SYS,        /* the operating system refused; errno's words are in the message */
};

enum { ERR_MSG_MAX = 512 };     /* longer messages end in "..." */

struct err {
	enum err_code code;
	char          msg[ERR_MSG_MAX];
};

/* All three accept err == NULL and always return false. */
bool err_set(struct err *err, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set(ERR_SYS), with ": " and the text of errno behind the message. */
bool err_sys(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Puts words in front of what a callee said: "reading FILE: " ... */
bool err_prefix(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* "syntax", "limit", ...: stable, for logs and JSON. */
const char *err_code_name(enum err_code code);

#endif
