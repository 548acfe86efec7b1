/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_SCIM_PARTS_H
#define DIRECTORY_SCIM_PARTS_H

/* What the files of the codec share; private to it. */

#include "daemon/directory/scim.h"

#define SCIM_USER_URN  "urn:ietf:params:scim:schemas:core:2.0:User"
#define SCIM_GROUP_URN "urn:ietf:params:scim:schemas:core:2.0:Group"

/* RFC 7643 section 2.1: names fold. The member as it is written there; NULL: none. */
const char *scim_key(const json_t *obj, struct span name);
json_t *scim_get(const json_t *obj, const char *name);
bool scim_bool(const json_t *v, bool *ret);             /* also "True", "False" */
struct span scim_short(struct span name);               /* without the URN of User and Group */
/* NAME eq VALUE at the beginning of rest; the value is the caller's. */
bool scim_term(struct span *rest, struct span *ret_name, json_t **ret_value, struct scim_error *e);
bool scim_is_patch(const json_t *patch, const json_t **ret_ops, struct scim_error *e);

void scim_edit(struct scim_group *g, enum scim_edit_what what, uint64_t user);
bool scim_group_name(struct scim_group *g, const json_t *v, struct scim_error *e);
bool scim_group_external(struct scim_group *g, const json_t *v, struct scim_error *e);
bool scim_group_members(struct scim_group *g, enum scim_edit_what what, const json_t *v, struct scim_error *e);

#endif
