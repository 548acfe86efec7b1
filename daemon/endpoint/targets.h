/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_TARGETS_H
#define ENDPOINT_TARGETS_H

/*
 * Net's checked table of upstreams: the only addresses that a front can
 * reach, and it names them by index. Made from one configuration, unchanged
 * after that. Where a host name stands, the book has the addresses that core
 * found for it: those of names that are in no table are not taken.
 */

#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/names.h"

#include <sys/socket.h>

struct targets;

/* An upstream of a service, and which of its name's addresses: the number that fronts say. */
enum { TARGETS_UPSTREAMS_MAX = 64 };    /* as conf.c has it */
uint32_t targets_place(size_t upstream, size_t address);

struct book_name {
	char     *name;
	struct ip at[NAMES_ADDRESSES_MAX];
	bool      said;         /* that an address is our own listener's */
};
struct book {
	struct book_name *list;
	size_t            n;
};

void book_done(struct book *b);
void book_set(struct book *b, struct span name, const struct ip at[NAMES_ADDRESSES_MAX]);
/* Forgets what neither of the two (either may be NULL) has. */
void book_keep(struct book *b, const struct targets *now, const struct targets *before);
bool targets_have_name(const struct targets *t, struct span name);      /* NULL has none */

/* NULL if an upstream of conf does not parse. */
struct targets *targets_new(const struct conf *conf, struct err *err);
void targets_free(struct targets *t);   /* accepts NULL */

/* Whether a connection there would come back to this host's own listeners. */
typedef bool targets_own_fn(void *arg, const struct ipport *at);

/* A non-blocking socket whose connect was started, or -1 and errno's number in
 * *ret_error: EINVAL for indexes that name nothing, EHOSTUNREACH for a name without that address, and
 * ELOOP, said once for each answer, for an address of a name that "own" knows. */
int targets_connect(const struct targets *t, struct book *b, targets_own_fn *own, void *arg, bool public,
                    uint32_t service, uint32_t place, int *ret_error);

#endif
