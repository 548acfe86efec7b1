/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_PROBE_H
#define ENDPOINT_PROBE_H

/* Tests only (tests/netns/reeved_probe, and configure --enable-probe): a front that on
 * SIGUSR1 tries what it must not be able to do, and says what came of it.
 * Otherwise nothing. */

#include "base/loop.h"

#include "config.h"

#ifdef ENABLE_PROBE
void probe_listen(struct loop *l);
void probe_run(void);           /* `reeved --probe`, in no sandbox: what the probe can see */
#else
static inline void probe_listen(struct loop *l)
{
	(void)l;
}
#endif

#endif
