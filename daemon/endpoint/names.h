/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_NAMES_H
#define ENDPOINT_NAMES_H

/*
 * Upstreams' host names and their addresses, looked up again and again by
 * c-ares on the caller's loop: nothing here waits. A name is found as
 * /etc/hosts and /etc/resolv.conf say, or by the name servers of "resolvers".
 * An answer holds for its time to live, within bounds; when the resolver
 * fails, or says for a short while that there is no such name, the last good
 * answer stays.
 *
 * An address keeps its place in the answer for as long as it is in it: places
 * are what net and the fronts name addresses by. A new answer is used once
 * names_settle() says that net has it, too. Next: core_names.c.
 */

#include "base/clock.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/loop.h"

enum {
	NAMES_ADDRESSES_MAX = 16,       /* of one name: more are left out, and said */
	NAMES_MAX        = 1024,        /* names of one configuration */
	NAMES_AT_ONCE    = 16,          /* looked up at once; others wait */
	NAMES_LOOKUP_SEC = 10,          /* one lookup, with all its tries and search domains */
	NAMES_TRY_MS     = 2000,        /* one question to one name server */
	NAMES_TTL_MIN    = 5,           /* defaults of "resolve-min" and "resolve-max", in seconds; a hosts */
	NAMES_TTL_MAX    = 300,         /* file says no time to live, and is read again after the shortest */
	NAMES_GONE_TIMES = 3,           /* "no such name", in a row, until the old answer ends */
	NAMES_STALE_SEC  = 86400,       /* the old answer ends after so long without a resolver */
};

struct names_answer {
	struct ip at[NAMES_ADDRESSES_MAX];      /* by place; family IP_NONE: nothing there */
};

struct names_bounds {
	const char *const *servers;     /* "192.0.2.1", "[::1]:5353"; checked by names_server_ok() */
	size_t      server_count;       /* 0: as /etc/resolv.conf says */
	int64_t     ttl_min, ttl_max;   /* seconds */
};

struct names;

/* "changed": an answer is another than before; names_next() tells which. Not called from within names_want(). */
struct names *names_new(struct loop *loop, void (*changed)(void *arg), void *arg, struct err *err);
void names_free(struct names *n);       /* accepts NULL */

/* What is looked up from now on; what was known of these names stays. Repeated names count once. */
void names_want(struct names *n, const struct names_bounds *b, const struct span *list, size_t count);

/* The answers that net was not told yet, one by one; NULL: it was told all. names_tell_again() begins anew. */
const struct names_answer *names_next(struct names *n, struct span *ret_name);
void names_tell_again(struct names *n);

/* What names_next() gave counts from now on. True if anything is another than before. */
bool names_settle(struct names *n);
/* What counts; NULL: there is no answer for that name. */
const struct names_answer *names_find(const struct names *n, struct span name);
/* "": well; else why its answer is old or missing. */
const char *names_fault(const struct names *n, struct span name);

bool names_server_ok(struct span text);
/* A host name: letters, digits, '-', '_' and dots, and nothing that some program reads as an address. */
bool names_name_ok(struct span name);

#endif
