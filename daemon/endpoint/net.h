/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_NET_H
#define ENDPOINT_NET_H

/*
 * The process with the privilege: device, addresses, routes and packet filter
 * on core's orders; listening sockets and upstream connections from its own
 * checked tables. It parses its configuration and its neighbours' messages,
 * and never a byte from the network. Next: listeners.h, targets.h.
 */

/* Runs until its parent says MSG_END, which takes device and filter away, or
 * is gone, which leaves them: what runs out then denies. Returns the exit
 * status. "parent" is this process's end of the parent's channel. */
int net_main(int parent);

#endif
