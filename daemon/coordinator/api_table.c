/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/api_table.h"

#include "daemon/coordinator/bearer.h"
#include "daemon/coordinator/own.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define API "/api/v1/"

enum { AUDIT_LINES = 100, AUDIT_LINES_MAX = 1000 };

static void get_audit(void *ctx, struct request *r);

struct api_row {
	const char *method;
	const char *path;               /* below API; "{..}" is any one part */
	uint32_t    permit;
	http_fn    *fn;
	const char *above;              /* what fn is not told of the path; NULL: nothing */
};

#define READ(kind)  PERMIT_READ(PERMIT_##kind)
#define WRITE(kind) PERMIT_WRITE(PERMIT_##kind)

static const struct api_row table[] = {
	{ "GET",    "nodes",                    READ(NODES),     api_admin_get,        NULL },
	{ "GET",    "nodes/{node}",             READ(NODES),     api_admin_get,        NULL },
	{ "POST",   "nodes/{node}",             WRITE(NODES),    api_admin_post,       NULL },
	{ "DELETE", "nodes/{node}",             WRITE(NODES),    api_admin_delete,     NULL },
	{ "DELETE", "nodes/{node}/sessions",    WRITE(SESSIONS), api_admin_delete,     NULL },
	{ "GET",    "users",                    READ(USERS),     api_admin_get,        NULL },
	{ "GET",    "users/{user}",             READ(USERS),     api_admin_get,        NULL },
	{ "POST",   "users/{user}",             WRITE(USERS),    api_admin_post,       NULL },
	{ "DELETE", "users/{user}",             WRITE(USERS),    api_admin_delete,     NULL },
	{ "DELETE", "users/{user}/sessions",    WRITE(SESSIONS), api_admin_delete,     NULL },
	{ "DELETE", "names/{login}",            WRITE(USERS),    api_admin_delete,     NULL },
	{ "GET",    "accounts",                 READ(USERS),     api_own_admin_get,    "accounts" },
	{ "POST",   "accounts",                 WRITE(USERS),    api_own_admin_post,   "accounts" },
	{ "POST",   "accounts/{account}",       WRITE(USERS),    api_own_admin_post,   "accounts/" },
	{ "DELETE", "accounts/{account}",       WRITE(USERS),    api_own_admin_delete, "accounts/" },
	{ "GET",    "groups",                   READ(GROUPS),    api_admin_get,        NULL },
	{ "GET",    "groups/held",              READ(GROUPS),    api_admin_get,        NULL },
	{ "POST",   "groups/held/{held}",       WRITE(GROUPS),   api_admin_post,       NULL },
	{ "GET",    "sessions",                 READ(SESSIONS),  api_admin_get,        NULL },
	{ "GET",    "sessions/{session}",       READ(SESSIONS),  api_admin_get,        NULL },
	{ "DELETE", "sessions/{session}",       WRITE(SESSIONS), api_admin_delete,     NULL },
	{ "GET",    "keys",                     READ(KEYS),      api_admin_get,        NULL },
	{ "GET",    "keys/{key}",               READ(KEYS),      api_admin_get,        NULL },
	{ "POST",   "keys",                     WRITE(KEYS),     api_admin_post,       NULL },
	{ "DELETE", "keys/{key}",               WRITE(KEYS),     api_admin_delete,     NULL },
	{ "GET",    "policy",                   READ(POLICY),    api_admin_get,        NULL },
	{ "PUT",    "policy",                   WRITE(POLICY),   api_admin_put,        NULL },
	{ "POST",   "policy/check",             READ(POLICY),    api_admin_post,       NULL },
	{ "GET",    "policy/{version}",         READ(POLICY),    api_admin_get,        NULL },
	{ "GET",    "audit",                    READ(AUDIT),     get_audit,            NULL },
	{ "GET",    "status",                   READ(STATUS),    api_admin_get,        NULL },
	{ "GET",    "metrics",                  READ(STATUS),    api_admin_get,        NULL },
	{ "GET",    "topology",                 READ(STATUS),    api_admin_get,        NULL },
};

static bool matches(const char *pattern, struct span path)
{
	struct span want = span_str(pattern), a, b;

	for (;;) {
		bool more = span_next(&want, '/', &a);

		if (more != span_next(&path, '/', &b))
			return false;
		if (!more)
			return true;
		if (a.ptr[0] == '{' ? !b.len : !span_eq(a, b))
			return false;
	}
}

static const struct api_row *row_of(const struct request *r)
{
	struct span path = span_from(r->path, sizeof(API) - 1);

	for (size_t i = 0; i < array_size(table); i++)
		if (strcmp(table[i].method, r->route->method) == 0 && matches(table[i].path, path))
			return &table[i];
	return NULL;
}

static void call(struct coordinator *co, struct request *r)
{
	const struct api_row *row = row_of(r);

	r->admin = true;
	r->rest = span_from(r->path, sizeof(API) - 1 + (row->above ? strlen(row->above) : 0));
	row->fn(co, r);
}

void api_admin(void *ctx, struct request *r)
{
	struct coordinator   *co = ctx;
	const struct api_row *row = row_of(r);
	bool admin = r->root || (r->listener == LISTENER_MESH &&
				 registry_is_admin(co->reg, r->node, r->user, r->session,
						   loop_wall(co->loop)));

	/* Who may not ask is not told what there would be. */
	if (admin && row)
		call(co, r);
	else if (admin)
		request_fail(r, ERR_MISSING, "there is nothing here");
	else if (request_header(r, "Authorization") || r->listener == LISTENER_PUBLIC)
		bearer_ask(co, r, row ? row->permit : 0, call);
	else
		request_fail(r, ERR_DENIED, "this is for administrators");
}

void api_print(struct buf *out)
{
	for (size_t i = 0; i < array_size(table); i++)
		buf_addf(out, "%s " API "%s\n", table[i].method, table[i].path);
}

/* ---- the audit ---- */

/* GET audit?lines=N: the last ones, oldest first. */
static void get_audit(void *ctx, struct request *r)
{
	struct coordinator   *co = ctx;
	scoped_buf struct buf out = { 0 }, tail = { 0 };
	struct span           rest, line;
	struct err            err;
	uint64_t              lines = AUDIT_LINES;
	size_t                count = 0;

	if (r->query.len && (!span_starts(r->query, SPAN("lines=")) ||
			     !span_u64(span_from(r->query, 6), AUDIT_LINES_MAX, &lines) || !lines)) {
		request_fail(r, ERR_SYNTAX, "lines is a number from 1 to %d", AUDIT_LINES_MAX);
		return;
	}
	buf_init(&tail, AUDIT_TAIL_MAX);
	buf_init(&out, AUDIT_TAIL_MAX + 4096);
	if (!audit_tail(co->audit, &tail, &err)) {
		request_error(r, &err);
		return;
	}
	for (rest = buf_span(&tail); span_next(&rest, '\n', &line);)
		count += line.len > 0;
	buf_add_str(&out, "{\"audit\":[");
	bool more = false;
	for (rest = buf_span(&tail); span_next(&rest, '\n', &line);) {
		if (!line.len || count-- > lines)
			continue;
		if (more)
			buf_add_char(&out, ',');
		buf_add_span(&out, line);
		more = true;
	}
	buf_add_str(&out, "]}\n");
	request_json(r, 200, &out);
}
