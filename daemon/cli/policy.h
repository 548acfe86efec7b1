/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CLI_POLICY_H
#define CLI_POLICY_H

/*
 * `reeve policy ...`: check, matrix, explain, diff, fmt; all of them work on
 * files alone. Nothing here decides: policy/ does.
 */

#include "policy/assert.h"
#include "policy/compile.h"
#include "policy/policy.h"
#include "policy/prune.h"
#include "policy/topology.h"

/* argv[0] is "policy". Returns the exit status: 0, 1 for "no", 2 for wrong use. */
int cli_policy(int argc, char **argv);

/* A topology file: users, nodes, services (doc/policy, section 9). Fills an
 * empty topology; faults go to diags. */
bool topology_read(struct span text, struct topology *topo, struct diags *diags);

/* ---- shared by the subcommands ---- */

struct policy_args {
	const char *policy, *topology, *owner, *src, *dst, *proto, *method, *path, *host, *at, *silent;
	const char *rest[2];
	int         rest_count;
	bool        json, help, write;
};
bool policy_args(int argc, char **argv, struct policy_args *ret_args);

/* Reads and parses; faults are printed to stderr (or, as JSON, to stdout). NULL on errors. */
struct policy *policy_load(const char *path, enum policy_mode mode, bool json, struct diags *ret_diags);
struct topology *topology_load(const char *path, bool json);
bool text_load(const char *path, struct buf *ret_text);
bool args_now(const struct policy_args *a, struct wall *ret_now);

int policy_check_main(const struct policy_args *a);
int policy_matrix_main(const struct policy_args *a);
int policy_explain_main(const struct policy_args *a);
int policy_diff_main(const struct policy_args *a);
int policy_fmt_main(const struct policy_args *a);

/* For policy_run_tests(): writes what a front would write. */
struct header_source { const struct policy *pol; const struct topology *topo; };
assert_headers_fn policy_headers;       /* arg: struct header_source */

/* The canonical layout; false for what is no HuJSON. The caller ends ret_text. */
bool policy_format(struct span text, struct buf *ret_text);

#endif
