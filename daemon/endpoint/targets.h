/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_TARGETS_H
#define ENDPOINT_TARGETS_H

/*
 * Net's checked table of upstreams: the only addresses that a front can
 * reach, and it names them by index. Made from one configuration, unchanged
 * after that.
 */

#include "daemon/endpoint/conf.h"

#include <sys/socket.h>

struct targets;

/* NULL if an upstream of conf does not parse. */
struct targets *targets_new(const struct conf *conf, struct err *err);
void targets_free(struct targets *t);   /* accepts NULL */

/* A non-blocking socket whose connect was started, or -1 and errno's number in
 * *ret_error: EINVAL for indexes that name nothing. */
int targets_connect(const struct targets *t, bool public, uint32_t service, uint32_t upstream,
                    int *ret_error);

#endif
