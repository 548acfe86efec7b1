/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * SCIM 2.0 on the public listener, below /scim/v2: an identity provider writes
 * its users and groups. directory/scim.h knows the texts, store/scim.h what
 * follows; here is who may, and which status an answer has.
 */
#include "daemon/coordinator/bearer.h"
#include "daemon/directory/scim.h"
#include "daemon/store/scim.h"

#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum {
	SCIM_ANSWER_MAX = 32 << 20,
	SCIM_TRIES_MAX = 5,             /* of a patch that meets another one */
	SCIM_KEY_EXPIRES_DEF = 180 * 86400,
	SCIM_KEY_EXPIRES_MAX = 400 * 86400,
};

#define SCIM_TYPE "application/scim+json"

/* A request under way: what its job's end needs of it. */
struct call {
	uint64_t          request;
	bool              group, one;   /* of groups; of one resource, not a list */
	uint64_t          id;
	int64_t           version;      /* If-Match's; 0: any */
	int               status;       /* of success */
	unsigned          tries;
	struct scim_query query;
	json_t           *patch;        /* of a user; or the resource that replaces it */
	bool              replace;
	bool              keep_active;  /* the resource that replaces does not say it */
};

static void call_free(struct call *c)
{
	scim_query_done(&c->query);
	json_decref(c->patch);
	free(c);
}

static void fail(struct request *r, const struct scim_error *e)
{
	static const struct reply_header ask = { "WWW-Authenticate", "Bearer" };
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 4096);
	scim_error_put(e, &b);
	request_reply_with(r, (unsigned)e->status, SCIM_TYPE, buf_span(&b), &ask, e->status == 401);
}

static void fail_with(struct request *r, int status, const char *type, const char *words)
{
	struct scim_error e;

	scim_refuse(&e, status, type, "%s", words);
	fail(r, &e);
}

void scim_error_reply(struct request *r, const struct err *err)
{
	int         status = r->status == 401 ? 401 : (int)enrol_error_status(err->code);
	const char *type = NULL, *words = err->msg;

	if (err->code == ERR_EXISTS)
		type = "uniqueness";
	else if (err->code == ERR_NOTNOW)
		status = 412;
	else if (err->code == ERR_SYNTAX && status == 400)
		type = "invalidValue";
	if (err->code == ERR_SYS) {
		log_error("%s: %s", r->target, err->msg);
		words = "the coordinator could not do it; its log says why";
	}
	fail_with(r, status, type, words);
}

static void base_of(const struct coordinator *co, char base[ENROL_URL_MAX + 16])
{
	snprintf(base, ENROL_URL_MAX + 16, "%s/scim/v2", co->conf->url);
}

static struct scim_meta meta_of(const struct scim_row *row, const char *base)
{
	return (struct scim_meta){ base, row->id, row->version, row->created, row->modified };
}

/* ---- answers ---- */

static json_t *shown(const struct scim_row *row, bool group, const char *base,
		     const struct scim_query *q)
{
	struct scim_meta m = meta_of(row, base);
	json_error_t     why;

	if (group)
		return scim_group_show(row->name, row->external_id, &m, row->links, q);
	json_t *o = json_loads(row->body, 0, &why);
	if (!o)
		o = json_object();
	scim_user_show(o, &m, row->links, q);
	return o;
}

static void reply_json(struct request *r, int status, json_t *o, const struct reply_header *h,
		       size_t n)
{
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	if (!text || strlen(text) > SCIM_ANSWER_MAX)
		fail_with(r, 400, "tooMany", "the answer is too large: ask for less");
	else
		request_reply_with(r, (unsigned)status, SCIM_TYPE, span_str(text), h, n);
	free(text);
}

static void reply_row(struct coordinator *co, struct request *r, int status, bool group,
		      const struct scim_row *row, const struct scim_query *q)
{
	char base[ENROL_URL_MAX + 16], tag[SCIM_ID_MAX], id[SCIM_ID_MAX], where[ENROL_URL_MAX + 64];

	base_of(co, base);
	snprintf(where, sizeof(where), "%s/%s/%s", base, group ? "Groups" : "Users",
		 scim_id_text(group, row->id, id));
	const struct reply_header h[] = { { "ETag", scim_etag(row->version, tag) },
		                          { "Location", where } };
	if (status == 204)
		request_reply_with(r, 204, NULL, SPAN(""), h, 1);
	else
		reply_json(r, status, shown(row, group, base, q), h, array_size(h));
}

/* ---- reading ---- */

static void on_found(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator        *co = owner;
	struct scim_find_op       *op = container_of(job, struct scim_find_op, job);
	struct call               *c = (struct call *)(uintptr_t)job->who;
	struct request            *r = http_find(co->http, c->request);
	char                       base[ENROL_URL_MAX + 16];
	const struct reply_header *none = NULL;

	if (!r) {
		call_free(c);
		return;
	}
	base_of(co, base);
	if (err) {
		request_error(r, err);
	} else if (!c->one) {
		json_t *list = json_array();

		for (size_t i = 0; i < op->count; i++)
			json_array_append_new(list, shown(&op->rows[i], c->group, base, &c->query));
		reply_json(r, 200, scim_list(list, op->total, op->start), none, 0);
	} else if (!op->count) {
		fail_with(r, 404, NULL, "there is no such resource");
	} else if (request_header(r, "If-None-Match") &&
		   scim_etag_match(span_str(request_header(r, "If-None-Match")),
				   op->rows[0].version)) {
		request_reply_with(r, 304, NULL, SPAN(""), none, 0);
	} else {
		reply_row(co, r, c->status ? c->status : 200, c->group, &op->rows[0], &c->query);
	}
	call_free(c);
}

static void submit(struct coordinator *co, struct call *c, struct store_job *job,
		   store_done_fn *done)
{
	struct request *r = http_find(co->http, c->request);
	struct err      err;

	job->who = (uint64_t)(uintptr_t)c;
	job->done = done;
	if (store_submit(co->store, job, &err))
		return;
	if (r)
		request_error(r, &err);
	call_free(c);
}

/* What the filter says of it; false: nothing can meet it. */
static bool set_filter(struct scim_find_op *op, struct scim_filter *f, struct scim_error *e,
		       bool *ret_nothing)
{
	if (op->groups ? f->user_name != NULL || f->active : f->display_name != NULL)
		return scim_refuse(e, 400, "invalidFilter", "not an attribute to filter these by");
	*ret_nothing = f->nothing || (f->id && !scim_id_parse(op->groups, span_str(f->id), &op->id)) ||
		       (f->member && !op->groups);
	op->name = take(*(op->groups ? &f->display_name : &f->user_name));
	op->external_id = take(f->external_id);
	op->member = f->member;
	op->active = f->active;
	return true;
}

static void get(struct coordinator *co, struct request *r, struct call *c)
{
	struct scim_find_op *op;
	struct scim_filter   f = { 0 };
	struct scim_error    e = { 0 };
	bool                 nothing = false;

	if (!scim_query_read(r->query, &c->query, &e) ||
	    (!c->one && c->query.filter &&
	     !scim_filter_read(span_str(c->query.filter), &f, &e))) {
		fail(r, &e);
		call_free(c);
		return;
	}
	op = scim_find_op_new(c->group);
	bool ok = set_filter(op, &f, &e, &nothing);
	scim_filter_done(&f);
	if (c->one)
		op->id = c->id;
	op->links = scim_query_wants(&c->query, c->group ? "members" : "groups");
	op->start = c->query.start;
	op->max = nothing                             ? 0
		  : c->query.count < 0                ? 100
		  : c->query.count < SCIM_PAGE_MAX    ? c->query.count
						      : SCIM_PAGE_MAX;
	if (ok && !nothing) {
		submit(co, c, &op->job, on_found);
		return;
	}
	if (ok)
		reply_json(r, 200, scim_list(json_array(), 0, op->start), NULL, 0);
	else
		fail(r, &e);
	op->job.free(&op->job);
	call_free(c);
}

/* ---- writing ---- */

static void note(struct coordinator *co, const struct request *r, const char *event,
		 const char *name, struct store_job *job)
{
	struct buf b;

	(void)co;
	audit_note(&b, event);
	audit_str(&b, "by", r->bearer);
	audit_str(&b, "name", name);
	free(job->note);
	job->note = buf_take(&b);
}

static void written(struct coordinator *co, struct store_job *job, const struct err *err)
{
	audit_write(co->audit, loop_wall(co->loop), job->note, err);
	if (err)
		return;
	groups_say_held(co, &job->changes);
	groups_say_ended(co, &job->changes);
	coordinator_commit(co, job);
}

static void read_again(struct coordinator *co, struct call *c);

static void on_user(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator  *co = owner;
	struct scim_user_op *op = container_of(job, struct scim_user_op, job);
	struct call         *c = (struct call *)(uintptr_t)job->who;
	struct request      *r = http_find(co->http, c->request);

	/* Somebody else changed it between our reading and our writing. */
	if (err && err->code == ERR_NOTNOW && !c->version && r && ++c->tries < SCIM_TRIES_MAX) {
		read_again(co, c);
		return;
	}
	written(co, job, err);
	if (r && err)
		request_error(r, err);
	else if (r && op->what == SCIM_DELETE)
		request_reply_with(r, 204, NULL, SPAN(""), NULL, 0);
	else if (r)
		reply_row(co, r, c->status, false, &op->row, &c->query);
	call_free(c);
}

/* resource is checked and written; takes neither it nor c. */
static bool write_user(struct coordinator *co, struct request *r, struct call *c,
		       enum scim_what what, int64_t version, json_t *resource, struct scim_error *e)
{
	struct scim_user     u;
	struct scim_user_op *op;

	if (!scim_user_check(resource, &u, e))
		return false;
	op = scim_user_op_new(what, c->id, groups_rules(co), loop_wall(co->loop));
	op->version = version;
	op->name = mem_strdup(u.name);
	op->external_id = mem_strdup(u.external_id);
	op->active = u.active;
	op->body = json_dumps(resource, JSON_COMPACT);
	note(co, r,
	     what == SCIM_CREATE ? "scim-user-created"
	     : u.active          ? "scim-user-changed"
				 : "scim-user-inactive",
	     op->name, &op->job);
	submit(co, c, &op->job, on_user);
	return true;
}

static void on_user_read(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator  *co = owner;
	struct scim_find_op *op = container_of(job, struct scim_find_op, job);
	struct call         *c = (struct call *)(uintptr_t)job->who;
	struct request      *r = http_find(co->http, c->request);
	struct scim_error    e = { 0 };
	json_error_t         why;
	json_t              *o = NULL;

	if (!r) {
		call_free(c);
		return;
	}
	if (err) {
		request_error(r, err);
		call_free(c);
		return;
	}
	if (!op->count) {
		scim_refuse(&e, 404, NULL, "there is no such user");
	} else if (request_header(r, "If-Match") &&
		   !scim_etag_match(span_str(request_header(r, "If-Match")), op->rows[0].version)) {
		scim_refuse(&e, 412, NULL, "it has another version by now");
	} else if (!(o = c->replace ? json_deep_copy(c->patch)
				    : json_loads(op->rows[0].body, 0, &why))) {
		scim_refuse(&e, 500, NULL, "the stored user does not read");
	} else if (c->replace || scim_user_patch(o, c->patch, &e)) {
		/* Absent is not true: a replacement that does not say it lets nobody in again. */
		if (c->keep_active)
			json_object_set_new(o, "active", json_boolean(op->rows[0].active));
		bool ok = write_user(co, r, c, SCIM_CHANGE, op->rows[0].version, o, &e);

		json_decref(o);
		if (ok)
			return;
		o = NULL;
	}
	json_decref(o);
	fail(r, &e);
	call_free(c);
}

static void read_again(struct coordinator *co, struct call *c)
{
	struct scim_find_op *op = scim_find_op_new(false);

	op->id = c->id;
	op->links = false;
	submit(co, c, &op->job, on_user_read);
}

static void on_group(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator   *co = owner;
	struct scim_group_op *op = container_of(job, struct scim_group_op, job);
	struct call          *c = (struct call *)(uintptr_t)job->who;
	struct request       *r = http_find(co->http, c->request);

	written(co, job, err);
	if (r && err) {
		request_error(r, err);
	} else if (r && op->what == SCIM_DELETE) {
		request_reply_with(r, 204, NULL, SPAN(""), NULL, 0);
	} else if (r && c->status == 204) {
		reply_row(co, r, 204, true, &op->row, &c->query);
	} else if (r) {
		/* With its members, as it is now. */
		struct scim_find_op *find = scim_find_op_new(true);

		find->id = op->row.id;
		c->one = true;
		submit(co, c, &find->job, on_found);
		return;
	}
	call_free(c);
}

/* One version, ours, or any: what is written without being read is compared where it is written. */
static bool wanted_version(struct request *r, int64_t *ret, struct scim_error *e)
{
	struct span rest = span_trim(span_str(request_header(r, "If-Match")));
	uint64_t    version = 0;

	if (span_starts(rest, SPAN("W/")))
		rest = span_from(rest, 2);
	if (rest.len && !span_eq(rest, SPAN("*")) &&
	    (rest.len < 3 ||
	     !span_u64(span_of(rest.ptr + 1, rest.len - 2), INT64_MAX, &version) || !version))
		return scim_refuse(e, 412, NULL, "it has another version");
	*ret = (int64_t)version;
	return true;
}

static bool write_group(struct coordinator *co, struct request *r, struct call *c,
			enum scim_what what, struct scim_group *g, struct scim_error *e)
{
	if (!wanted_version(r, &c->version, e))
		return false;
	struct scim_group_op *op =
		scim_group_op_new(what, c->id, groups_rules(co), loop_wall(co->loop));
	op->version = c->version;
	op->name = take(g->name);
	op->external_id = take(g->external_id);
	for (size_t i = 0; i < g->count; i++)
		scim_group_op_step(op,
				   g->edits[i].what == SCIM_EDIT_ADD      ? SCIM_ADD
				   : g->edits[i].what == SCIM_EDIT_REMOVE ? SCIM_REMOVE
									  : SCIM_CLEAR,
				   g->edits[i].user);
	note(co, r,
	     what == SCIM_CREATE   ? "scim-group-created"
	     : what == SCIM_DELETE ? "scim-group-deleted"
				   : "scim-group-changed",
	     op->name, &op->job);
	submit(co, c, &op->job, on_group);
	return true;
}

static bool change_group(struct coordinator *co, struct request *r, struct call *c,
			 enum scim_what what, const json_t *body, bool patch, struct scim_error *e)
{
	struct scim_group g = { 0 };
	bool ok = what == SCIM_DELETE || (patch ? scim_group_patch(body, &g, e)
						: scim_group_read(body, &g, e));

	ok = ok && write_group(co, r, c, what, &g, e);
	scim_group_done(&g);
	return ok;
}

static bool delete_user(struct coordinator *co, struct request *r, struct call *c,
			struct scim_error *e)
{
	struct scim_user_op *op;
	char                 id[SCIM_ID_MAX];

	if (!wanted_version(r, &c->version, e))
		return false;
	op = scim_user_op_new(SCIM_DELETE, c->id, groups_rules(co), loop_wall(co->loop));
	note(co, r, "scim-user-deleted", scim_id_text(false, c->id, id), &op->job);
	op->version = c->version;
	submit(co, c, &op->job, on_user);
	return true;
}

/* POST, PUT, PATCH, DELETE. False: e says why, and c is still the caller's. */
static bool write_one(struct coordinator *co, struct request *r, struct call *c, const char *method,
		      struct scim_error *e)
{
	bool   create = strcmp(method, "POST") == 0, patch = strcmp(method, "PATCH") == 0;
	bool   gone = strcmp(method, "DELETE") == 0, ok;
	struct err err = { 0 };

	if (create == c->one)
		return scim_refuse(e, 405, NULL, "not with this method");
	if (gone)
		return c->group ? change_group(co, r, c, SCIM_DELETE, NULL, false, e)
				: delete_user(co, r, c, e);
	scoped_json json_t *body = json_read(buf_span(&r->body), r->body.len + 1, &err);
	if (!json_is_object(body))
		return scim_refuse(e, 400, "invalidSyntax", "the body is no JSON object: %.120s", err.msg);
	if (!scim_query_read(r->query, &c->query, e))
		return false;
	c->status = create ? 201 : c->group && patch ? 204 : 200;
	if (c->group) {
		ok = change_group(co, r, c, create ? SCIM_CREATE : SCIM_CHANGE, body, patch, e);
	} else if (create) {
		ok = write_user(co, r, c, SCIM_CREATE, 0, body, e);
	} else {
		/* A replacement is checked before anything is read. */
		struct scim_user u;

		c->patch = take(body);
		c->replace = !patch;
		ok = patch || scim_user_check(c->patch, &u, e);
		c->keep_active = !patch && ok && !u.says_active;
		if (ok)
			read_again(co, c);
	}
	return ok;
}

static void go(struct coordinator *co, struct request *r)
{
	struct span       rest = r->rest, kind = { 0 };
	struct scim_error e = { 0 };
	const char       *method = r->route->method;
	bool              read = strcmp(method, "GET") == 0;

	span_next(&rest, '/', &kind);
	bool group = span_eq(kind, SPAN("Groups"));
	if (!group && !span_eq(kind, SPAN("Users"))) {
		char base[ENROL_URL_MAX + 16];

		base_of(co, base);
		json_t *o = read ? scim_about(r->rest, base) : NULL;
		if (o && r->query.len && span_starts(r->query, SPAN("filter=")))
			fail_with(r, 403, NULL, "what this provider is has no filter");
		else if (o)
			reply_json(r, 200, json_incref(o), NULL, 0);
		else if (span_eq(kind, SPAN("Me")) || span_eq(kind, SPAN("Bulk")))
			fail_with(r, 501, NULL, "not here");
		else
			fail_with(r, 404, NULL, "there is nothing here");
		json_decref(o);
		return;
	}
	struct call *c = mem_alloc(sizeof(*c));
	c->request = r->id;
	c->group = group;
	c->one = rest.len > 0;
	if (c->one && !scim_id_parse(group, rest, &c->id)) {
		fail_with(r, 404, NULL, "there is no such resource");
		call_free(c);
	} else if (read) {
		get(co, r, c);
	} else if (!write_one(co, r, c, method, &e)) {
		fail(r, &e);
		call_free(c);
	}
}

void api_scim(void *ctx, struct request *r)
{
	bearer_ask(ctx, r, PERMIT_SCIM, go);
}

/* ---- a provisioning token ---- */

struct new_token { uint64_t request; struct secret secret; };

static void on_token(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct new_token   *t = (struct new_token *)(uintptr_t)job->who;
	struct request     *r = http_find(co->http, t->request);
	uint64_t            id = container_of(job, struct key_op, job)->key;
	struct buf          out;
	char                text[MAP_ID_MAX];

	buf_init(&out, 1024);
	admin_record(co, job, err);
	if (!err)
		coordinator_commit(co, job);
	if (r && err) {
		request_error(r, err);
	} else if (r) {
		buf_addf(&out, "{\"id\":\"%s\",\"key\":\"", map_id_text('k', id, text));
		bearer_key_text(id, secret_span(&t->secret), &out);
		buf_addf(&out, "\",\"url\":\"%s/scim/v2\"}\n", co->conf->url);
		request_json(r, 200, &out);
	}
	buf_wipe_done(&out);
	secret_done(&t->secret);
	free(t);
}

void scim_make_key(struct coordinator *co, struct request *r, struct fields *f)
{
	struct wall      now = loop_wall(co->loop);
	int64_t          expires = fields_int(f, "expires", 1, SCIM_KEY_EXPIRES_MAX, FIELD_OPTIONAL);
	struct span      words = fields_str(f, "note", 200, FIELD_OPTIONAL);
	struct new_token *t;
	uint8_t          hash[32];
	unsigned         n = 0;
	struct err       err;
	struct buf       b;

	if (f->bad) {
		request_error(r, f->err);
		return;
	}
	t = mem_alloc(sizeof(*t));
	t->request = r->id;
	secret_random(&t->secret, 32);
	scoped_free char *text = span_dup(words);
	EVP_Digest(t->secret.ptr, t->secret.len, hash, &n, EVP_sha256(), NULL);
	struct key_op *op = key_op_create(
		hash, "", text, 1, now,
		(struct wall){ now.sec + (expires ? expires : SCIM_KEY_EXPIRES_DEF) }, r->user);
	op->scim = true;
	mem_wipe(hash, sizeof(hash));
	admin_note(&b, co, r, "scim-token-made");
	audit_int(&b, "expires", op->expires.sec);
	op->job.note = buf_take(&b);
	op->job.who = (uint64_t)(uintptr_t)t;
	op->job.done = on_token;
	if (!store_submit(co->store, &op->job, &err)) {
		secret_done(&t->secret);
		free(t);
		request_error(r, &err);
	}
}
