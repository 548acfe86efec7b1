/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CLI_POLICY_H
#define CLI_POLICY_H

/*
 * `reeve policy ...`: check, matrix, explain, diff, fmt; all of them work on
 * files alone, matrix, explain and diff on the live mesh, too. Nothing here decides: policy/ does.
 */

#include "policy/compile.h"
#include "policy/policy.h"
#include "policy/topology.h"

struct cli;

/* argv[0] is "policy". Returns the exit status: 0, 1 for "no", 2 for wrong use.
 * Where no file is named the mesh is asked, through cli. */
int cli_policy(const struct cli *cli, int argc, char **argv);

/* Before a text becomes the mesh's policy: shows what opens and what closes,
 * and asks, unless yes. False: it is not to be applied; said on stderr. */
bool policy_review(const struct cli *cli, struct span text, const char *file, bool yes);

/* A topology file: users, nodes, services (doc/policy, section 9). Fills an
 * empty topology; faults go to diags. */
bool topology_read(struct span text, struct topology *topo, struct diags *diags);

/* ---- shared by the subcommands ---- */

struct policy_args {
	const char *policy, *topology, *owner, *src, *dst, *proto, *method, *path, *host, *at, *silent;
	const char *rest[2];
	int         rest_count;
	bool        json, help, write;
	const struct cli *cli;
	int         status;     /* why a load failed: the exit status */
};
bool policy_args(int argc, char **argv, struct policy_args *ret_args);

/* Reads and parses; faults are printed to stderr unless quiet. NULL on errors. */
struct policy *policy_load(const char *path, enum policy_mode mode, bool quiet, struct diags *ret_diags);
struct topology *topology_load(const char *path);
/* The same, of the mesh where path is NULL. */
struct policy *policy_load_or_live(struct policy_args *a, const char **path);
struct topology *topology_load_or_live(struct policy_args *a);
bool text_load(const char *path, struct buf *ret_text);
bool args_now(const struct policy_args *a, struct wall *ret_now);

int policy_check_main(struct policy_args *a);
int policy_matrix_main(struct policy_args *a);
int policy_explain_main(struct policy_args *a);
int policy_diff_main(struct policy_args *a);
int policy_fmt_main(struct policy_args *a);

/* The canonical layout; false for what is no HuJSON. The caller ends ret_text. */
bool policy_format(struct span text, struct buf *ret_text);

#endif
