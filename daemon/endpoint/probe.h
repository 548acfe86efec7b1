/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_PROBE_H
#define ENDPOINT_PROBE_H

/* Tests only (configure --enable-probe): a front that on SIGUSR1 tries what it
 * must not be able to do, and says what came of it. Otherwise nothing. */

#include "base/loop.h"

#include "config.h"

#ifdef ENABLE_PROBE
void probe_listen(struct loop *l);
#else
static inline void probe_listen(struct loop *l)
{
	(void)l;
}
#endif

#endif
