/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_RULESET_H
#define DAEMON_MESH_RULESET_H

/*
 * The packet filter as nft(8) text: the whole table once, and what replaces
 * its rows. Pure; filter.c hands it to the kernel. Read ruleset.c from top to
 * bottom to see what happens to a packet.
 */

#include "daemon/mesh/ranges.h"

#define RULESET_TABLE  "reeve"          /* family inet */
#define RULESET_CLASS4 "class4"         /* map: peer's address -> class, with timeouts */
#define RULESET_CLASS6 "class6"

enum { RULESET_TEXT_MAX = 32 << 20, RULESET_MARK_MAX = 64 };

/* Replaces the table, whatever it was, by one that lets nothing through.
 * ret_mark identifies this text and the base; it is the table's comment.
 * ERR_CONFIG for a base that cannot be. */
bool ruleset_base(const struct filter_base *base, struct buf *out, char ret_mark[RULESET_MARK_MAX],
		  struct err *err);

/* How many rules this text makes: what is missing from a table shows in their number. */
size_t ruleset_count(struct span text);

size_t ruleset_rows_count(void);        /* of what ruleset_rows() adds to the base's */

bool ruleset_rows(const struct filter_base *base, const struct filter_rows *rows, struct buf *out,
		  struct err *err);
bool ruleset_via(const struct filter_base *base, const struct filter_via *via, size_t n,
		 const struct prefix *own, size_t own_n, struct buf *out, struct err *err);

#endif
