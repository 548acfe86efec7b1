/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_PROXY_SPLICE_H
#define DAEMON_PROXY_SPLICE_H

/* Long bodies by splice(2); io.c and response.c alone call these. */

#include "daemon/proxy/engine.h"

enum { SPLICE_MIN = 128 << 10 };        /* bytes left of a body; below, a copy costs less than the calls */

void pipes_init(struct front *f, size_t n);     /* as many as the system gives */
void pipes_done(struct front *f);

bool pipe_flush(struct io *io);         /* what waits in its pipe, if it has one; false: it has failed */
size_t pipe_length(const struct io *io);        /* of what waits there */
void pipe_drop(struct io *io);          /* forgets what waits there */

enum splice_result { SPLICE_GONE = 0, SPLICE_AGAIN, SPLICE_COPY, SPLICE_MOVED };

bool splice_wanted(const struct exchange *ex);
/* One piece of the body. GONE: the client is, and the exchange with it. AGAIN: nothing is there yet.
 * COPY: read it instead. */
enum splice_result splice_body(struct exchange *ex, size_t *ret_moved);

#endif
