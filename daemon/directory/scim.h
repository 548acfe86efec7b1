/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_SCIM_H
#define DIRECTORY_SCIM_H

/*
 * SCIM 2.0 as text: resources, patches, filters and errors (RFC 7643, RFC
 * 7644), with the habits of the two clients that most send them, Entra and Okta: verbs in
 * any case, paths with dots as members of a value, "False" as a string, members
 * removed by a value. Pure: it knows no database and no clock. What a stranger can make large is
 * bounded by the request's size and the limits below.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#include <jansson.h>

enum {
	SCIM_NAME_MAX = 254,            /* userName, displayName: LOGIN_MAX, GROUP_NAME_MAX */
	SCIM_RESOURCE_MAX = 32 << 10,   /* a user as text */
	SCIM_OPS_MAX = 1000,            /* of one patch */
	SCIM_TERMS_MAX = 8,             /* of a filter */
	SCIM_PAGE_MAX = 500,
};

/* Why a request is refused, in SCIM's words (RFC 7644 section 3.12). */
struct scim_error {
	int         status;             /* 0: none */
	const char *type;               /* "invalidFilter"; NULL: none */
	char        detail[200];
};
bool scim_refuse(struct scim_error *e, int status, const char *type, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void scim_error_put(const struct scim_error *e, struct buf *out);

/* ---- users ---- */

/* Checks a user and brings it into form: no id, meta, groups, password; active is a
 * boolean. The names are borrowed from resource, which is changed in place. */
struct scim_user { const char *name, *external_id; bool active, says_active; };
bool scim_user_check(json_t *resource, struct scim_user *ret, struct scim_error *e);

/* RFC 7644 section 3.5.2 on a user; resource may be half changed where it fails. */
bool scim_user_patch(json_t *resource, const json_t *patch, struct scim_error *e);

/* ---- groups ---- */

enum scim_edit_what { SCIM_EDIT_ADD, SCIM_EDIT_REMOVE, SCIM_EDIT_CLEAR };
struct scim_edit { enum scim_edit_what what; uint64_t user; };
struct scim_group {
	char             *name, *external_id;   /* NULL: not said */
	struct scim_edit *edits;
	size_t            count, room;
};
void scim_group_done(struct scim_group *g);
/* From a whole resource (its members replace what was), or from a patch. */
bool scim_group_read(const json_t *resource, struct scim_group *ret, struct scim_error *e);
bool scim_group_patch(const json_t *patch, struct scim_group *ret, struct scim_error *e);

/* ---- filters and queries ---- */

struct scim_filter {                    /* all of them; what is not asked for is NULL or 0 */
	char    *user_name, *display_name, *external_id, *id;
	uint64_t member;                /* members eq "p7" */
	int      active;                /* 1, -1 */
	bool     nothing;               /* terms that exclude each other */
};
void scim_filter_done(struct scim_filter *f);
bool scim_filter_read(struct span text, struct scim_filter *ret, struct scim_error *e);

/* A query string's members, decoded; NULL where one is absent. */
struct scim_query {
	char   *filter, *attributes, *excluded;
	int64_t start, count;           /* count < 0: not said */
};
void scim_query_done(struct scim_query *q);
bool scim_query_read(struct span text, struct scim_query *ret, struct scim_error *e);
/* "members" is not asked for: it need not be looked up. */
bool scim_query_wants(const struct scim_query *q, const char *attribute);

/* ---- ids and versions ---- */

enum { SCIM_ID_MAX = 24 };
const char *scim_id_text(bool group, uint64_t id, char buf[SCIM_ID_MAX]);      /* "p7", "g2" */
bool scim_id_parse(bool group, struct span s, uint64_t *ret_id);
const char *scim_etag(int64_t version, char buf[SCIM_ID_MAX]);                 /* W/"3" */
/* If-Match, If-None-Match: is this version among them? */
bool scim_etag_match(struct span header, int64_t version);

/* ---- answers ---- */

struct scim_meta {
	const char *base;               /* "https://hub.example.edu/scim/v2" */
	uint64_t    id;
	int64_t     version;
	struct wall created, modified;
};
/* resource becomes the answer: id, meta, schemas. links: list of "ID\tNAME", NULL: not asked for. */
void scim_user_show(json_t *resource, const struct scim_meta *m, const char *links, const struct scim_query *q);
json_t *scim_group_show(const char *name, const char *external_id, const struct scim_meta *m, const char *links,
                        const struct scim_query *q);
json_t *scim_list(json_t *resources, int64_t total, int64_t start);            /* takes resources */

/* ServiceProviderConfig, ResourceTypes[/NAME], Schemas[/URN]; NULL: there is no such thing. */
json_t *scim_about(struct span path, const char *base);

#endif
