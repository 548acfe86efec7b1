/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

/*
 * A policy is a checked set of rules: text in, one immutable object out, that
 * any number of readers may share while they hold a reference. This folder
 * does no I/O, reads no clock and keeps no globals; "now" is an argument.
 * Next: policy/topology.h (who and what there is), policy/compile.h (what one
 * endpoint makes of both), policy/tables.h (deciding).
 *
 * Nothing is allowed without a grant: a policy without rules allows nothing.
 */

#include "base/buf.h"
#include "base/diag.h"
#include "base/span.h"

#include <stdint.h>

enum {
	POLICY_TEXT_MAX = 16 << 20,     /* ten thousand grants are about 2 MiB */
	POLICY_RULES_MAX = 65535,       /* acls and grants together; rule numbers fit 16 bits */
	POLICY_SELECTORS_MAX = 4096,    /* in one src or dst: larger sets are groups */
	POLICY_MEMBERS_MAX = 200000,    /* of one group: twice the largest benchmark */
	POLICY_PORTS_MAX = 1024,        /* in one port list */
	POLICY_HTTP_MAX = 256,          /* http entries of one grant, and items of each of its lists */
	POLICY_NAME_MAX = 256,          /* one selector, user, host or tag */
	POLICY_PATTERN_MAX = 1024,      /* one path pattern */
	POLICY_TESTS_MAX = 10000,
};

enum policy_mode {
	POLICY_FILE,    /* an administrator's file */
	POLICY_OWNER,   /* an owner's file on an endpoint: may name users, tags and services that it does not define */
	POLICY_MAP,     /* what policy_prune() wrote: as OWNER, and "at" keeps the original places */
};

struct policy;

/* Reads untrusted text. Every fault of the text goes to diags, with its
 * place; with one error or more nothing is returned. Warnings alone are fine. */
struct policy *policy_parse(struct span text, enum policy_mode mode, struct diags *diags);
struct policy *policy_ref(struct policy *pol);
void           policy_unref(struct policy *pol);        /* accepts NULL */

/* The policy without rules. */
struct policy *policy_empty(void);

/* Rules are numbered from 0: all acls in order, then all grants. */
size_t policy_rule_count(const struct policy *pol);

struct policy_rule_info {
	struct place at;        /* where the rule begins in the administrator's file */
	bool         acl;       /* an acls entry, else a grant */
	uint32_t     index;     /* its number within acls or grants */
	struct span  text;      /* a one-line summary: "group:staff -> svc:wiki tcp:80" */
};
bool policy_rule_info(const struct policy *pol, uint32_t rule, struct policy_rule_info *ret_info);

/* autoApprovers: may a node of that user, or with those tags, advertise this
 * route (0.0.0.0/0 and ::/0 are the exit routes)? */
struct topology;
struct prefix;
bool policy_approves_route(const struct policy *pol, const struct topology *topo, uint64_t node,
                           const struct prefix *route);

/* May that user give a node this tag (tagOwners, through groups and tags)? */
bool policy_owns_tag(const struct policy *pol, const struct topology *topo, uint64_t user,
                     struct span tag);

/* nodeAttrs that apply to a node, in the order of the file: calls fn for each attribute. */
typedef void policy_attr_fn(void *arg, struct span attr);
void policy_node_attrs(const struct policy *pol, const struct topology *topo, uint64_t node,
                       policy_attr_fn *fn, void *arg);

#endif
