/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_REFUSED_H
#define CONTROL_REFUSED_H

/*
 * Whom an endpoint does not believe in the map it was told, and why: POST
 * /v1/map/refused with the whole list, each time that it changes.
 *   {"v":1,"refused":[{"node":"n5","why":"nonce: made for another device"}]}
 */

#include "base/buf.h"
#include "base/err.h"

enum {
	REFUSED_MAX      = 256,         /* of one list; what is beyond is left out */
	REFUSED_WHY_MAX  = 255,         /* bytes; a longer text is cut */
	REFUSED_BODY_MAX = 192 << 10,
};

struct refused_one {
	uint64_t node;
	char     why[REFUSED_WHY_MAX + 1];      /* printable ASCII */
};

struct refused_list {
	struct refused_one *list;       /* ascending by node */
	size_t              count;
};
void refused_done(struct refused_list *l);              /* accepts a zeroed one */
bool refused_same(const struct refused_list *a, const struct refused_list *b);
const struct refused_one *refused_find(const struct refused_list *l, uint64_t node);    /* NULL if absent */

void refused_encode(const struct refused_list *l, struct buf *out);
bool refused_decode(struct span json, struct refused_list *ret_l, struct err *err);

#endif
