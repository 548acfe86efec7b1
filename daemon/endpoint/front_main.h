/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_FRONT_MAIN_H
#define ENDPOINT_FRONT_MAIN_H

/*
 * A front's process: daemon/proxy's engine between its channels. Listening
 * sockets and upstream connections come from net, the snapshot and its words
 * from core, and log lines go there. It opens nothing itself: seccomp sees to
 * that before the first connection is accepted.
 */

#include "daemon/endpoint/messages.h"

/* kind is PROCESS_FRONT or PROCESS_PUBLIC. Runs until its parent says so or is
 * gone, or until it has drained; returns the exit status. */
int front_main(int parent, enum process_kind kind, uint16_t index);

#endif
