/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_HOSTS_H
#define DAEMON_MESH_HOSTS_H

/*
 * A marked block in a hosts file with the names of nodes and services, until
 * the mesh has DNS. The rest of the file is kept byte for byte; the file is
 * replaced atomically and keeps mode and owner.
 *
 * A name that is not a host name (RFC 1123: letters, digits, '-', '.', at
 * most 253 bytes), "localhost" and what ends in it, and a name that the
 * rest of the file gives an address to, are left out and counted: names come
 * from afar, must end neither the line nor the block, and the owner's own
 * lines win.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"

enum {
	HOSTS_FILE_MAX = 4 << 20,
	HOSTS_NAMES_MAX = 1 << 16,
};

struct host {
	struct ip   ip;
	struct span name;
};

/* The text of a hosts file with its block made anew (n == 0: without one). Pure. */
void hosts_block(struct span old, const struct host *hosts, size_t n, size_t *ret_left_out,
		 struct buf *out);

/* Writes only if something changes. ret_left_out may be NULL. n == 0 removes the block. */
bool hosts_write(const char *path, const struct host *hosts, size_t n, size_t *ret_left_out,
		 struct err *err);

#endif
