/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_PRUNE_H
#define POLICY_PRUNE_H

/*
 * What the coordinator tells one endpoint: of the policy only what names it,
 * of the mesh only whom it must know, of each person only what a rule there
 * asks for. policy_parse(text, POLICY_MAP) on the other side gives the same
 * verdicts for that endpoint as the whole policy does.
 */

#include "policy/policy.h"
#include "policy/topology.h"

struct prune {
	struct buf    text;             /* canonical JSON, policy language, each rule with "at": [line, col] */
	uint64_t     *nodes;            /* ids that the endpoint must know, ascending; without itself */
	size_t        node_count;
	char        **groups;           /* policy groups that its rules ask for ("group:lab"), sorted: the text says
	                                 * nothing of who is in them, topology_user.groups does */
	size_t        group_count;
	char        **idp_groups;       /* names (without "idp:") that its rules ask for, sorted */
	size_t        idp_group_count;
	char        **roles;            /* user roles that its rules ask for ("admin"), sorted */
	size_t        role_count;
	char        **attrs;            /* posture attributes that its rules ask for, sorted */
	size_t        attr_count;
};

/* now: a node whose session has ended is still named: it may log in. */
void policy_prune(const struct policy *pol, const struct topology *topo, uint64_t self,
                  struct prune *ret_prune);
void prune_done(struct prune *p);

/* Every policy group that the policy says a user is in, sorted. */
typedef void prune_group_fn(void *arg, struct span group);
void policy_user_groups(const struct policy *pol, const struct topology *topo, uint64_t user,
                        prune_group_fn *fn, void *arg);

#endif
