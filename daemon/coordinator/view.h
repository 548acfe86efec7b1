/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_VIEW_H
#define COORDINATOR_VIEW_H

/*
 * What one endpoint is told: the nodes that policy says it must know, of each
 * person only what its rules and header profiles ask for, and its own part of
 * the policy. The hub knows every node, since every node calls it. Next: feed.h.
 */

#include "daemon/coordinator/registry.h"
#include "policy/prune.h"

struct view_item {
	uint64_t    id;
	struct span json;               /* of the node; good until the registry changes */
	uint64_t    hash;
	bool        session;            /* has a living one */
};

/* What an endpoint may know of a person: kept with what it was told. */
struct view_want {
	struct prune prune;             /* its lists; the text is taken out */
	bool         groups;            /* a header profile there writes groups: all */
	bool         evidence;          /* it checks logins itself */
	uint64_t     key;               /* the same for all who want the same; 0: wants nothing yet */
};
void view_want_done(struct view_want *w);       /* accepts a zeroed one */

struct view {
	struct arena      mem;
	struct view_item *items;        /* ascending by id */
	size_t            count;
	struct buf        policy;       /* the pruned text */
	struct view_want  want;
};

/* self must be there. */
void view_build(struct registry *r, const struct reg_node *self, struct wall now, struct view *ret_view);
void view_done(struct view *v);

/* One node, for an endpoint that wants w; good until the registry changes. NULL if it does not fit a line. */
const struct reg_json *view_one(const struct registry *r, struct reg_node *n, const struct view_want *w,
                                struct wall now);

/* A node whole, as it may see itself; a reference. */
struct map_node *view_node(const struct registry *r, const struct reg_node *n, struct wall now);
/* The hub, as everybody may see it. */
struct map_node *view_hub(const struct registry *r, struct wall now);
void view_mesh(const struct registry *r, struct map_mesh *ret_mesh);    /* borrows the registry's name */

#endif
