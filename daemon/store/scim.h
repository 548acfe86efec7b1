/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_SCIM_H
#define STORE_SCIM_H

/*
 * SCIM's resources (RFC 7643), as an identity provider pushes them, and what
 * follows from them: the memberships of source "scim", accounts that are disabled.
 * A resource is as its client wrote it even where the loss of members is held.
 */

#include "daemon/store/groups.h"

#define SCIM_SOURCE "scim"

enum {
	SCIM_USERS_MAX = 200000,
	SCIM_GROUPS_MAX = 20000,
	SCIM_MEMBERS_MAX = 50000,       /* of one group */
};

struct scim_row {
	uint64_t    id;
	char       *name;               /* userName or displayName */
	char       *external_id;        /* "": none */
	bool        active;             /* of a user */
	int64_t     version;
	struct wall created, modified;
	char       *body;               /* of a user: its attributes, as JSON */
	char       *links;              /* list of "ID\tNAME": a user's groups, a group's members */
};
void scim_row_done(struct scim_row *r);         /* accepts a zeroed one */

/* A user made, replaced or deleted. ERR_EXISTS: the name is another's; ERR_MISSING; ERR_NOTNOW:
 * it has another version than version by now (0: whichever). */
struct scim_user_op {
	struct store_job  job;
	enum scim_what { SCIM_CREATE, SCIM_CHANGE, SCIM_DELETE } what;
	uint64_t          id;
	int64_t           version;
	char             *name, *external_id, *body;
	bool              active;
	struct hold_rules rules;
	struct wall       now;
	struct scim_row   row;                  /* out; not of delete */
	size_t            ended, held;
};
struct scim_user_op *scim_user_op_new(enum scim_what what, uint64_t id, struct hold_rules rules, struct wall now);

/* A group likewise. Steps are taken in their order; users that are not there are ERR_MISSING, but of removals. */
struct scim_step {
	enum scim_step_what { SCIM_ADD, SCIM_REMOVE, SCIM_CLEAR } what;
	uint64_t user;                          /* not of clear */
};
struct scim_group_op {
	struct store_job  job;
	enum scim_what    what;
	uint64_t          id;
	int64_t           version;
	char             *name, *external_id;   /* NULL: as it was */
	struct scim_step *steps;
	size_t            count, room;
	struct hold_rules rules;
	struct wall       now;
	struct scim_row   row;                  /* out, without links; not of delete */
	size_t            ended, held;
};
struct scim_group_op *scim_group_op_new(enum scim_what what, uint64_t id, struct hold_rules rules, struct wall now);
void scim_group_op_step(struct scim_group_op *op, enum scim_step_what what, uint64_t user);

/* Resources that meet every term that is not NULL or 0, from the start-th (1) on. */
struct scim_find_op {
	struct store_job job;
	bool             groups;
	uint64_t         id, member;            /* member: a group's, or a user's group */
	char            *name, *external_id;
	int              active;                /* 0: any, 1: active, -1: not */
	int64_t          start, max;
	bool             links;
	struct scim_row *rows;                  /* out */
	size_t           count;
	int64_t          total;
};
struct scim_find_op *scim_find_op_new(bool groups);

#endif
