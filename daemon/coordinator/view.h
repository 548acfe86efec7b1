/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_VIEW_H
#define COORDINATOR_VIEW_H

/*
 * What one endpoint is told: the nodes that policy says it must know, of each
 * person only what its rules and header profiles ask for, and its own part of
 * the policy. The hub knows every node, since every node calls it. Next: feed.h.
 */

#include "daemon/coordinator/registry.h"

struct view_item {
	uint64_t    id;
	struct span json;               /* of the node; lives in the view */
	bool        session;            /* has a living one */
};

struct view {
	struct arena      mem;
	struct view_item *items;        /* ascending by id */
	size_t            count;
	struct buf        policy;       /* the pruned text */
};

/* self must be there. */
void view_build(const struct registry *r, const struct reg_node *self, struct wall now, struct view *ret_view);
void view_done(struct view *v);

/* A node whole, as it may see itself; a reference. */
struct map_node *view_node(const struct registry *r, const struct reg_node *n, struct wall now);
/* The hub, as everybody may see it. */
struct map_node *view_hub(const struct registry *r, struct wall now);
void view_mesh(const struct registry *r, struct map_mesh *ret_mesh);    /* borrows the registry's name */

#endif
