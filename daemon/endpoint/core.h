/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_CORE_H
#define ENDPOINT_CORE_H

/*
 * The process that knows: it reads policy, identities, map and keys, compiles
 * snapshots for the fronts and orders for net, talks to the coordinator,
 * serves the local API and writes the audit. It touches no user traffic.
 * Next: core_state.h (who is here), core_compile.h (what follows from it).
 */

#include "base/diag.h"

struct conf;

/*
 * Runs until its parent says MSG_END or goes away; returns the exit status.
 * Called in the child, as the configured user, with the logger open; "parent" is this
 * process's end of the parent's channel. Everything else arrives as messages:
 * MSG_CONF, MSG_CONF_USE, MSG_NEIGHBOUR for net and every front.
 *
 * The parent has made run-dir, state-dir and the audit file's folder writable for the user.
 * Core opens RUN-DIR/api.sock itself, and calls confine() (privilege_core() of privilege.h)
 * once with its loop's descriptor ready, before it reads the first byte from the network.
 */
int core_main(int parent, bool (*confine)(const struct conf *conf, struct err *err));

/* reeved -n: whether policy, identities and map named by conf would be taken,
 * with every fault in words. Reads files, changes nothing. */
struct buf;
bool core_check(const struct conf *conf, struct buf *words);

#endif
