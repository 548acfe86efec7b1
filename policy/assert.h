/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_ASSERT_H
#define POLICY_ASSERT_H

/*
 * A policy file's own tests, run on a topology. A plain test asks as tailnet
 * servers do: every address that src stands for must reach dst on the port.
 * One with method, path, host, headers, session or silent asks the tables, as
 * a front would.
 */

#include "policy/policy.h"
#include "policy/tables.h"
#include "policy/topology.h"

/* What the application at that service would see: calls fn for each header.
 * Where profiles are known is not here; NULL: tests that assert headers fail. */
typedef void assert_header_fn(void *arg, struct span name, struct span value);
typedef bool assert_headers_fn(void *arg, const struct topology_service *service,
                               const struct topology_user *user, const struct topology_node *node,
                               assert_header_fn *fn, void *fn_arg);

/* True if every test holds; each that does not is an error at its place. */
bool policy_run_tests(const struct policy *pol, const struct topology *topo, struct wall now,
                      assert_headers_fn *headers, void *arg, struct diags *diags);

#endif
