/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/scim_parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_URN   "urn:ietf:params:scim:api:messages:2.0:ListResponse"
#define CONFIG_URN "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
#define TYPE_URN   "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
#define ENTERPRISE_URN "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
#define SCHEMA_URN "urn:ietf:params:scim:schemas:core:2.0:Schema"

/* ---- resources ---- */

static json_t *meta(bool group, const struct scim_meta *m)
{
	char created[WALL_TEXT_MAX], modified[WALL_TEXT_MAX], id[SCIM_ID_MAX], tag[SCIM_ID_MAX];
	char location[512];

	scim_id_text(group, m->id, id);
	snprintf(location, sizeof(location), "%s/%s/%s", m->base, group ? "Groups" : "Users", id);
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "resourceType", group ? "Group" : "User",
			 "created", wall_text(m->created, created), "lastModified",
			 wall_text(m->modified, modified), "location", location, "version",
			 scim_etag(m->version, tag));
}

/* A user's groups, a group's members: [{"value","display","$ref"}]. */
static json_t *links_json(bool to_groups, const char *base, const char *links)
{
	json_t     *list = json_array();
	struct span rest = span_str(links), line, id;
	uint64_t    n;
	char        text[SCIM_ID_MAX], ref[512];

	while (span_next(&rest, '\n', &line)) {
		if (!span_next(&line, '\t', &id) || !span_u64(id, INT64_MAX, &n))
			continue;
		scim_id_text(to_groups, n, text);
		snprintf(ref, sizeof(ref), "%s/%s/%s", base, to_groups ? "Groups" : "Users", text);
		json_t *one = json_pack("{s:s, s:s}", "value", text, "$ref", ref);
		json_object_set_new(one, "display", json_stringn(line.len ? line.ptr : "", line.len));
		if (!to_groups)
			json_object_set_new(one, "type", json_string("User"));
		json_array_append_new(list, one);
	}
	return list;
}

/* id and schemas are always there (RFC 7643 section 7, "returned"). */
static void leave(json_t *o, const struct scim_query *q)
{
	const char *key;
	json_t     *v;
	void       *next;

	if (!q)
		return;
	json_object_foreach_safe(o, next, key, v)
		if (strcmp(key, "id") != 0 && strcmp(key, "schemas") != 0 &&
		    !scim_query_wants(q, key))
			json_object_del(o, key);
}

void scim_user_show(json_t *o, const struct scim_meta *m, const char *links,
		    const struct scim_query *q)
{
	json_t     *schemas = json_array(), *v;
	const char *key;
	char        id[SCIM_ID_MAX];

	json_array_append_new(schemas, json_string(SCIM_USER_URN));
	json_object_foreach(o, key, v)
		if (strncasecmp(key, "urn:", 4) == 0)
			json_array_append_new(schemas, json_string(key));
	json_object_set_new(o, "schemas", schemas);
	json_object_set_new(o, "id", json_string(scim_id_text(false, m->id, id)));
	json_object_set_new(o, "meta", meta(false, m));
	if (links)
		json_object_set_new(o, "groups", links_json(true, m->base, links));
	leave(o, q);
}

json_t *scim_group_show(const char *name, const char *external_id, const struct scim_meta *m,
			const char *links, const struct scim_query *q)
{
	char    id[SCIM_ID_MAX];
	json_t *o = json_pack("{s:[s], s:s, s:s}", "schemas", SCIM_GROUP_URN, "id",
			      scim_id_text(true, m->id, id), "displayName", name);

	if (external_id && *external_id)
		json_object_set_new(o, "externalId", json_string(external_id));
	json_object_set_new(o, "meta", meta(true, m));
	if (links)
		json_object_set_new(o, "members", links_json(false, m->base, links));
	leave(o, q);
	return o;
}

json_t *scim_list(json_t *resources, int64_t total, int64_t start)
{
	return json_pack("{s:[s], s:I, s:I, s:I, s:o}", "schemas", LIST_URN, "totalResults",
			 (json_int_t)total, "startIndex", (json_int_t)start, "itemsPerPage",
			 (json_int_t)json_array_size(resources), "Resources", resources);
}

/* ---- what this provider is ---- */

#define ATTR(name, type, multi, must, exact, change, unique, more)                                \
	"{\"name\":\"" name "\",\"type\":\"" type "\",\"multiValued\":" multi ",\"required\":" must \
	",\"caseExact\":" exact ",\"mutability\":\"" change                                       \
	"\",\"returned\":\"default\",\"uniqueness\":\"" unique "\"" more "}"
#define TEXT(name) ATTR(name, "string", "false", "false", "false", "readWrite", "none", "")
#define SUB(list)  ",\"subAttributes\":[" list "]"

static const char user_schema[] =
	"{\"schemas\":[\"" SCHEMA_URN "\"],\"id\":\"" SCIM_USER_URN "\",\"name\":\"User\","
	"\"description\":\"A person\",\"attributes\":["
	ATTR("userName", "string", "false", "true", "false", "readWrite", "server", "") ","
	ATTR("externalId", "string", "false", "false", "true", "readWrite", "none", "") ","
	ATTR("active", "boolean", "false", "false", "false", "readWrite", "none", "") ","
	TEXT("displayName") ","
	ATTR("name", "complex", "false", "false", "false", "readWrite", "none",
	     SUB(TEXT("formatted") "," TEXT("familyName") "," TEXT("givenName"))) ","
	ATTR("emails", "complex", "true", "false", "false", "readWrite", "none",
	     SUB(TEXT("value") "," TEXT("type") ","
	         ATTR("primary", "boolean", "false", "false", "false", "readWrite", "none", ""))) ","
	TEXT("title") "," TEXT("nickName") "," TEXT("userType") "," TEXT("preferredLanguage") ","
	TEXT("locale") "," TEXT("timezone") ","
	ATTR("phoneNumbers", "complex", "true", "false", "false", "readWrite", "none",
	     SUB(TEXT("value") "," TEXT("type"))) ","
	ATTR("addresses", "complex", "true", "false", "false", "readWrite", "none",
	     SUB(TEXT("formatted") "," TEXT("streetAddress") "," TEXT("locality") "," TEXT("region") ","
	         TEXT("postalCode") "," TEXT("country") "," TEXT("type"))) ","
	ATTR("roles", "complex", "true", "false", "false", "readWrite", "none",
	     SUB(TEXT("value") "," TEXT("display") "," TEXT("type"))) ","
	ATTR("groups", "complex", "true", "false", "false", "readOnly", "none",
	     SUB(TEXT("value") "," TEXT("display") "," TEXT("$ref")))
	"]}";

static const char group_schema[] =
	"{\"schemas\":[\"" SCHEMA_URN "\"],\"id\":\"" SCIM_GROUP_URN "\",\"name\":\"Group\","
	"\"description\":\"A group that the policy names idp:NAME\",\"attributes\":["
	ATTR("displayName", "string", "false", "true", "true", "readWrite", "server", "") ","
	ATTR("externalId", "string", "false", "false", "true", "readWrite", "none", "") ","
	ATTR("members", "complex", "true", "false", "true", "readWrite", "none",
	     SUB(ATTR("value", "string", "false", "false", "true", "immutable", "none", "") ","
	         TEXT("display") "," TEXT("$ref") "," TEXT("type")))
	"]}";

/* RFC 7643 section 4.3: kept and given back, like every extension; nothing here goes by it. */
static const char enterprise_schema[] =
	"{\"schemas\":[\"" SCHEMA_URN "\"],\"id\":\"" ENTERPRISE_URN "\",\"name\":\"EnterpriseUser\","
	"\"description\":\"A person's place in an organisation\",\"attributes\":["
	TEXT("employeeNumber") "," TEXT("costCenter") "," TEXT("organization") "," TEXT("division") ","
	TEXT("department") ","
	ATTR("manager", "complex", "false", "false", "false", "readWrite", "none",
	     SUB(TEXT("value") "," TEXT("$ref") "," TEXT("displayName")))
	"]}";

static const char user_type[] =
	"{\"schemas\":[\"" TYPE_URN "\"],\"id\":\"User\",\"name\":\"User\",\"endpoint\":\"/Users\","
	"\"description\":\"A person\",\"schema\":\"" SCIM_USER_URN "\",\"schemaExtensions\":["
	"{\"schema\":\"" ENTERPRISE_URN "\",\"required\":false}]}";
static const char group_type[] =
	"{\"schemas\":[\"" TYPE_URN "\"],\"id\":\"Group\",\"name\":\"Group\",\"endpoint\":\"/Groups\","
	"\"description\":\"A group\",\"schema\":\"" SCIM_GROUP_URN "\",\"schemaExtensions\":[]}";

static const char config[] =
	"{\"schemas\":[\"" CONFIG_URN "\"],"
	"\"patch\":{\"supported\":true},"
	"\"bulk\":{\"supported\":false,\"maxOperations\":0,\"maxPayloadSize\":0},"
	"\"filter\":{\"supported\":true,\"maxResults\":500},"
	"\"changePassword\":{\"supported\":false},"
	"\"sort\":{\"supported\":false},"
	"\"etag\":{\"supported\":true},"
	"\"authenticationSchemes\":[{\"type\":\"oauthbearertoken\",\"name\":\"Bearer token\","
	"\"description\":\"A provisioning token of `reeve key create --scim`, or a token of an issuer that "
	"bearers names\",\"primary\":true}]}";
_Static_assert(SCIM_PAGE_MAX == 500, "what config says of filter");

static json_t *text(const char *json, const char *kind, const char *base, const char *where)
{
	json_error_t why;
	json_t      *o = json_loads(json, 0, &why);
	char         location[512];

	snprintf(location, sizeof(location), "%s/%s", base, where);
	json_object_set_new(o, "meta", json_pack("{s:s, s:s}", "resourceType", kind, "location", location));
	return o;
}

json_t *scim_about(struct span path, const char *base)
{
	const struct {
		const char *json, *kind, *list, *id;
	} rows[] = {
		{ user_type, "ResourceType", "ResourceTypes", "User" },
		{ group_type, "ResourceType", "ResourceTypes", "Group" },
		{ user_schema, "Schema", "Schemas", SCIM_USER_URN },
		{ group_schema, "Schema", "Schemas", SCIM_GROUP_URN },
		{ enterprise_schema, "Schema", "Schemas", ENTERPRISE_URN },
	};
	json_t *all = json_array(), *one = NULL;
	char    where[256];

	if (span_eq(path, SPAN("ServiceProviderConfig")))
		one = text(config, "ServiceProviderConfig", base, "ServiceProviderConfig");
	for (size_t i = 0; i < array_size(rows) && !one; i++) {
		snprintf(where, sizeof(where), "%s/%s", rows[i].list, rows[i].id);
		if (span_eq(path, span_str(where)))
			one = text(rows[i].json, rows[i].kind, base, where);
		else if (span_eq(path, span_str(rows[i].list)))
			json_array_append_new(all, text(rows[i].json, rows[i].kind, base, where));
	}
	if (!one && json_array_size(all))
		return scim_list(all, (int64_t)json_array_size(all), 1);
	json_decref(all);
	return one;
}
