/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/coordinator.h"

#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/fields.h"
#include "daemon/proxy/asserted.h"
#include "policy/assert.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum {
	ADMIN_REPLY_MAX   = 64 << 20,   /* a list of all nodes */
	KEY_USES_MAX      = 1000000,
	KEY_EXPIRES_MAX   = 366 * 86400,
	KEY_EXPIRES_DEF   = 3600,
	NODE_LIFE_MAX     = 10 * 366 * 86400,
};

/* api_table.c has asked; this is for a way in that forgot to. */
static bool may(struct request *r)
{
	if (!r->admin)
		request_fail(r, ERR_DENIED, "this is for administrators");
	return r->admin;
}

/* The path below /api/v1/: "nodes", "n7", "sessions". */
struct target { struct span kind, id, sub; };

static struct target target_of(const struct request *r)
{
	struct target t = { 0 };
	struct span   rest = r->rest;

	span_next(&rest, '/', &t.kind);
	span_next(&rest, '/', &t.id);
	span_next(&rest, '/', &t.sub);
	if (rest.ptr)   /* deeper than anything of ours */
		t.kind = (struct span){ 0 };
	return t;
}

static struct reg_node *node_of(struct coordinator *co, struct request *r, struct span id)
{
	uint64_t         n;
	struct reg_node *node = map_id_parse(id, 'n', &n) ? registry_node(co->reg, n)
							  : registry_by_name(co->reg, id);

	if (!node)
		request_fail(r, ERR_MISSING, "there is no such node");
	return node;
}

static struct reg_user *user_of(struct coordinator *co, struct request *r, struct span id)
{
	uint64_t         n;
	struct reg_user *user = map_id_parse(id, 'u', &n) ? registry_user(co->reg, n)
							  : registry_by_login(co->reg, id);

	if (!user)
		request_fail(r, ERR_MISSING, "there is no such user");
	return user;
}

/* Who asks for what. It is written with what came of it, before that is answered. */
void admin_note(struct buf *b, const struct coordinator *co, const struct request *r,
		const char *event)
{
	const struct reg_user *u = registry_user(co->reg, r->user);

	audit_note(b, event);
	audit_str(b, "by", r->bearer ? r->bearer : u ? u->row->login : r->root ? "root" : "");
	audit_id(b, "by_node", 'n', r->node);
}

void admin_record(struct coordinator *co, const struct store_job *job, const struct err *err)
{
	audit_write(co->audit, loop_wall(co->loop), job->note, err);
}

/* ---- reading ---- */

static void get_nodes(struct coordinator *co, struct request *r, struct span id, struct buf *out)
{
	size_t pos = 0, k = 0;

	if (id.len) {
		struct reg_node *n = node_of(co, r, id);

		if (n)
			admin_node_json(co, n, out);
		return;
	}
	buf_add_str(out, "{\"nodes\":[");
	for (struct reg_node *n; (n = registry_next_node(co->reg, &pos));) {
		if (k++)
			buf_add_char(out, ',');
		admin_node_json(co, n, out);
	}
	buf_add_str(out, "]}");
}

static void get_users(struct coordinator *co, struct request *r, struct span id, struct buf *out)
{
	size_t pos = 0, k = 0;

	if (id.len) {
		struct reg_user *u = user_of(co, r, id);

		if (u)
			admin_user_json(co, u, out);
		return;
	}
	buf_add_str(out, "{\"users\":[");
	for (struct reg_user *u; (u = registry_next_user(co->reg, &pos));) {
		if (k++)
			buf_add_char(out, ',');
		admin_user_json(co, u, out);
	}
	buf_add_str(out, "]}");
}

static void get_sessions(struct coordinator *co, struct request *r, struct span id, struct buf *out)
{
	size_t   pos = 0, k = 0;
	uint64_t sid;

	if (id.len) {
		struct reg_node *n =
			map_id_parse(id, 's', &sid) ? registry_by_session(co->reg, sid) : NULL;

		if (n)
			admin_session_json(co, n, out);
		else
			request_fail(r, ERR_MISSING, "no such session lives");
		return;
	}
	buf_add_str(out, "{\"sessions\":[");
	for (struct reg_node *n; (n = registry_next_node(co->reg, &pos));) {
		if (!registry_session(n, loop_wall(co->loop)))
			continue;
		if (k++)
			buf_add_char(out, ',');
		admin_session_json(co, n, out);
	}
	buf_add_str(out, "]}");
}

static void get_keys(struct coordinator *co, struct request *r, struct span id, struct buf *out)
{
	size_t   pos = 0, k = 0;
	uint64_t kid;

	if (id.len) {
		struct key_row *key =
			map_id_parse(id, 'k', &kid) ? registry_key(co->reg, kid) : NULL;

		if (key)
			admin_key_json(key, out);
		else
			request_fail(r, ERR_MISSING, "there is no such key");
		return;
	}
	buf_add_str(out, "{\"keys\":[");
	for (struct key_row *key; (key = registry_next_key(co->reg, &pos));) {
		if (k++)
			buf_add_char(out, ',');
		admin_key_json(key, out);
	}
	buf_add_str(out, "]}");
}

static void policy_json(const struct policy_row *p, struct buf *out)
{
	char by[MAP_ID_MAX];

	buf_addf(out, "{\"version\":%llu,\"at\":%lld", (unsigned long long)p->version,
		 (long long)p->at.sec);
	if (p->by)
		buf_addf(out, ",\"by\":\"%s\"", map_id_text('u', p->by, by));
	buf_add_str(out, ",\"text\":");
	buf_add_json(out, span_str(p->text));
	buf_add_char(out, '}');
}

static void on_policy_got(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct request     *r = http_find(co->http, job->who);
	scoped_buf struct buf out = { 0 };

	if (!r)
		return;
	if (err) {
		request_error(r, err);
		return;
	}
	buf_init(&out, ADMIN_REPLY_MAX);
	policy_json(container_of(job, struct policy_get_op, job)->row, &out);
	request_json(r, 200, &out);
}

static void get_policy(struct coordinator *co, struct request *r, struct span id, struct buf *out)
{
	uint64_t version;

	if (!id.len)
		policy_json(co->reg->policy_row, out);
	else if (span_u64(id, INT64_MAX, &version))
		coordinator_submit(co, r, &policy_get_op_new(version)->job, on_policy_got);
	else
		request_fail(r, ERR_MISSING, "there is no such version");
}

void api_admin_get(void *ctx, struct request *r)
{
	struct coordinator   *co = ctx;
	struct target         t = target_of(r);
	scoped_buf struct buf out = { 0 };
	uint64_t              id = r->id;

	if (!may(r))
		return;
	buf_init(&out, ADMIN_REPLY_MAX);
	if (span_eq(t.kind, SPAN("groups")) && groups_get(co, r, t.id, t.sub, &out))
		;
	else if (t.sub.len)
		request_fail(r, ERR_MISSING, "there is nothing here");
	else if (span_eq(t.kind, SPAN("nodes")))
		get_nodes(co, r, t.id, &out);
	else if (span_eq(t.kind, SPAN("users")))
		get_users(co, r, t.id, &out);
	else if (span_eq(t.kind, SPAN("sessions")))
		get_sessions(co, r, t.id, &out);
	else if (span_eq(t.kind, SPAN("keys")))
		get_keys(co, r, t.id, &out);
	else if (span_eq(t.kind, SPAN("policy")) && co->reg->policy_row)
		get_policy(co, r, t.id, &out);
	else if (span_eq(t.kind, SPAN("topology")) && !t.id.len)
		topology_write(co->reg->topology, &out);
	else if (span_eq(t.kind, SPAN("status")))
		admin_status_json(co, &out);
	else if (span_eq(t.kind, SPAN("metrics"))) {
		admin_metrics(co, &out);
		request_reply(r, 200, "text/plain; version=0.0.4", buf_span(&out));
		return;
	} else
		request_fail(r, ERR_MISSING, "there is nothing here");
	if (http_find(co->http, id) && out.len) {
		buf_add_char(&out, '\n');
		request_json(r, 200, &out);
	}
}

/* ---- changing ---- */

/* An array of strings as a list; NULL if absent. */
static char *list_of(struct fields *f, const char *name, bool (*ok)(struct span))
{
	const json_t         *arr = fields_array(f, name, MAP_LIST_MAX);
	scoped_buf struct buf b = { 0 };

	if (!arr)
		return NULL;
	buf_init(&b, 256 << 10);
	buf_add_str(&b, "");
	for (size_t i = 0; i < json_array_size(arr); i++) {
		struct span s = fields_item(f, name, json_array_get(arr, i), 256);

		if (f->bad)
			return NULL;
		if (!ok(s)) {
			fields_fail(f, ERR_SYNTAX, name, "not of the right form");
			return NULL;
		}
		if (i)
			buf_add_char(&b, '\n');
		buf_add_span(&b, s);
	}
	return b.len ? buf_take(&b) : mem_strdup("");
}

static bool tag_ok(struct span s)
{
	return span_starts(s, SPAN("tag:")) && map_name_ok(span_from(s, 4));
}

static bool route_ok(struct span s)
{
	struct prefix p;

	return prefix_parse(s, &p);
}

static void on_done(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct request     *r = http_find(co->http, job->who);

	admin_record(co, job, err);
	if (err) {
		if (r)
			request_error(r, err);
		return;
	}
	coordinator_commit(co, job);
	if (r)
		request_reply(r, 200, "application/json", SPAN("{}\n"));
}

static void set_node(struct coordinator *co, struct request *r, const struct reg_node *n,
		     struct fields *f)
{
	char                name[64] = "";
	struct node_set_op *op = node_set_op_new(n->id);

	if (fields_cstr(f, "name", name, sizeof(name), FIELD_OPTIONAL)) {
		if (!map_name_ok(span_str(name)))
			fields_fail(f, ERR_SYNTAX, "name", "not a lower-case DNS label");
		op->name = mem_strdup(name);
	}
	op->tags = list_of(f, "tags", tag_ok);
	op->routes = list_of(f, "routes", route_ok);
	op->approve = fields_bool(f, "approved");
	op->set_expires = json_object_get(f->obj, "expires") != NULL;
	if (op->set_expires) {
		/* Seconds from now; 0: never. The hub's own node stays. */
		int64_t life = fields_int(f, "expires", 0, NODE_LIFE_MAX, FIELD_OPTIONAL);

		op->expires.sec = life ? loop_wall(co->loop).sec + life : 0;
		if (n->row->hub)
			fields_fail(f, ERR_DENIED, "expires", "the hub's own node stays");
	}
	if (f->bad) {
		op->job.free(&op->job);
		request_error(r, f->err);
		return;
	}
	struct buf b;
	admin_note(&b, co, r, "node-set");
	audit_id(&b, "node", 'n', n->id);
	audit_str(&b, "name", op->name);
	audit_str(&b, "tags", op->tags);
	audit_str(&b, "routes", op->routes);
	audit_str(&b, "approved", op->approve ? "yes" : NULL);
	if (op->set_expires)
		audit_int(&b, "expires", op->expires.sec);
	op->job.note = buf_take(&b);
	coordinator_submit(co, r, &op->job, on_done);
}

static void set_user(struct coordinator *co, struct request *r, const struct reg_user *u,
		     struct fields *f)
{
	struct wall     now = loop_wall(co->loop);
	const json_t *link = fields_object(f, "link", FIELD_OPTIONAL),
		     *blocked = json_object_get(f->obj, "blocked");
	struct span     merge = fields_str(f, "merge", MAP_ID_MAX, FIELD_OPTIONAL);
	uint64_t        other;
	struct user_op *op;

	if (link) {
		struct fields in = fields_of(link, f->err);
		struct span   issuer = fields_str(&in, "issuer", MAP_TEXT_MAX, FIELD_REQUIRED);
		struct span   sub = fields_str(&in, "sub", MAP_TEXT_MAX, FIELD_REQUIRED);

		if (in.bad) {
			request_error(r, f->err);
			return;
		}
		op = user_op_new(u->id, USER_LINK, now);
		op->issuer = span_dup(issuer);
		op->sub = span_dup(sub);
	} else if (map_id_parse(merge, 'u', &other)) {
		op = user_op_new(u->id, USER_MERGE, now);
		op->other = other;
	} else if (json_is_boolean(blocked)) {
		op = user_op_new(u->id, json_is_true(blocked) ? USER_BLOCK : USER_UNBLOCK, now);
	} else {
		request_fail(r, ERR_SYNTAX,
			     "\"blocked\": true or false, \"link\": {\"issuer\", \"sub\"}, or "
			     "\"merge\": another user's id");
		return;
	}
	struct buf b;
	admin_note(&b, co, r,
	     link                     ? "user-linked"
	     : op->what == USER_MERGE ? "user-merged"
	     : op->what == USER_BLOCK ? "user-blocked"
				      : "user-unblocked");
	audit_id(&b, "user", 'u', u->id);
	audit_str(&b, "login", u->row->login);
	audit_id(&b, "other", 'u', op->other);
	audit_str(&b, "issuer", op->issuer);
	audit_str(&b, "sub", op->sub);
	op->job.note = buf_take(&b);
	coordinator_submit(co, r, &op->job, on_done);
}

/* The secret of a key that was just made, until it is on disk. */
struct new_key {
	uint64_t         request;
	struct enrol_key key;
};

static void on_key(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct new_key     *k = (struct new_key *)(uintptr_t)job->who;
	struct request     *r = http_find(co->http, k->request);
	struct buf          out;
	char                id[MAP_ID_MAX];

	buf_init(&out, 8192);
	admin_record(co, job, err);
	if (!err)
		coordinator_commit(co, job);
	if (r && err)
		request_error(r, err);
	if (r && !err) {
		buf_addf(&out, "{\"id\":\"%s\",\"key\":\"",
		         map_id_text('k', container_of(job, struct key_op, job)->key, id));
		enrol_key_encode(&k->key, &out);
		buf_add_str(&out, "\"}\n");
		request_json(r, 200, &out);
	}
	buf_wipe_done(&out);
	enrol_key_done(&k->key);
	free(k);
}

static void make_key(struct coordinator *co, struct request *r, struct fields *f)
{
	struct wall       now = loop_wall(co->loop);
	scoped_free char *tags = list_of(f, "tags", tag_ok);
	int64_t           uses = fields_int(f, "uses", 1, KEY_USES_MAX, FIELD_OPTIONAL);
	int64_t           expires = fields_int(f, "expires", 1, KEY_EXPIRES_MAX, FIELD_OPTIONAL);
	struct span       words = fields_str(f, "note", 200, FIELD_OPTIONAL);
	int64_t           life = fields_int(f, "node_life", 1, NODE_LIFE_MAX, FIELD_OPTIONAL);
	uint8_t           hash[32];
	unsigned          n = 0;
	struct err        err;

	if (f->bad) {
		request_error(r, f->err);
		return;
	}
	if (!tags || !tags[0]) {
		request_fail(r, ERR_SYNTAX,
			     "\"tags\": a server needs at least one, such as [\"tag:server\"]");
		return;
	}
	registry_pins(co->reg);
	if (!co->reg->pin_count) {
		request_fail(r, ERR_CONFIG,
			     "the pin of the public listener is not known yet: start the hub's "
			     "reeved, or "
			     "set \"pins\" or \"certificates\"");
		return;
	}
	struct new_key *k = mem_alloc(sizeof(*k));
	k->request = r->id;
	memcpy(k->key.url, co->conf->url, strlen(co->conf->url) + 1);
	secret_random(&k->key.secret, ENROL_KEY_LEN);
	memcpy(k->key.pins, co->reg->pins, sizeof(k->key.pins));
	k->key.pin_count = co->reg->pin_count;
	scoped_free char *words_text = span_dup(words);
	EVP_Digest(k->key.secret.ptr, k->key.secret.len, hash, &n, EVP_sha256(), NULL);
	struct key_op *op = key_op_create(
		hash, tags, words_text, uses ? uses : 1, now,
		(struct wall){now.sec + (expires ? expires : KEY_EXPIRES_DEF)}, r->user);
	mem_wipe(hash, sizeof(hash));
	op->ephemeral = fields_bool(f, "ephemeral");
	op->node_life = life;
	struct buf b;
	admin_note(&b, co, r, "key-made");
	audit_str(&b, "tags", tags);
	audit_int(&b, "uses", op->uses);
	audit_int(&b, "expires", op->expires.sec);
	op->job.note = buf_take(&b);
	op->job.who = (uint64_t)(uintptr_t)k;
	op->job.done = on_key;
	if (!store_submit(co->store, &op->job, &err)) {
		enrol_key_done(&k->key);
		free(k);
		request_error(r, &err);
	}
}

/* ---- the policy ---- */

/* Reads the text and runs its tests on the mesh as it is. */
static bool policy_good(struct coordinator *co, struct span text, struct diags *diags)
{
	struct policy *pol = policy_parse(text, POLICY_FILE, diags);
	struct header_source src = { pol, co->reg->topology };
	bool ok = pol && policy_run_tests(pol, co->reg->topology, loop_wall(co->loop),
					  asserted_headers, &src, diags);

	policy_unref(pol);
	diags_sort(diags);
	return ok && diags->errors == 0;
}

static void refuse_policy(struct request *r, const struct diags *diags)
{
	scoped_buf struct buf out = { 0 };
	struct err            err = { 0 };

	diags_err(diags, &err);
	buf_init(&out, ADMIN_REPLY_MAX);
	buf_addf(&out, "{\"error\":\"%s\",\"message\":", err_code_name(ERR_SYNTAX));
	buf_add_json(&out, span_str(err.msg));
	buf_add_str(&out, ",\"diags\":");
	diags_json(diags, &out);
	buf_add_str(&out, "}\n");
	request_json(r, 400, &out);
}

struct put_policy {
	uint64_t     request;
	struct diags diags;
};

static void on_policy_put(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator   *co = owner;
	struct put_policy    *p = (struct put_policy *)(uintptr_t)job->who;
	struct request       *r = http_find(co->http, p->request);
	scoped_buf struct buf out = { 0 };

	buf_init(&out, ADMIN_REPLY_MAX);
	admin_record(co, job, err);
	if (!err) {
		struct policy_op *op = container_of(job, struct policy_op, job);

		buf_addf(&out, "{\"version\":%llu,\"diags\":", (unsigned long long)op->version);
		diags_json(&p->diags, &out);
		buf_add_str(&out, "}\n");
		coordinator_commit(co, job);
	}
	if (r && err)
		request_error(r, err);
	else if (r)
		request_json(r, 200, &out);
	diags_done(&p->diags);
	free(p);
}

static void put_policy(struct coordinator *co, struct request *r, struct fields *f, bool check_only)
{
	struct span text = fields_str(f, "text", POLICY_TEXT_MAX, FIELD_REQUIRED | FIELD_TEXT);
	int64_t           base = fields_int(f, "base", 0, INT64_MAX, FIELD_OPTIONAL);
	struct put_policy *p;
	struct err        err;

	if (f->bad) {
		request_error(r, f->err);
		return;
	}
	p = mem_alloc(sizeof(*p));
	p->request = r->id;
	diags_init(&p->diags, "policy");
	bool ok = policy_good(co, text, &p->diags);
	if (check_only) {
		scoped_buf struct buf out = { 0 };

		buf_init(&out, ADMIN_REPLY_MAX);
		buf_addf(&out, "{\"ok\":%s,\"diags\":", ok ? "true" : "false");
		diags_json(&p->diags, &out);
		buf_add_str(&out, "}\n");
		request_json(r, 200, &out);
	} else if (!ok) {
		refuse_policy(r, &p->diags);
	} else {
		struct policy_op *op =
			policy_op_new(text, (uint64_t)base, r->user, loop_wall(co->loop));

		struct buf        b;

		admin_note(&b, co, r, "policy-set");
		audit_int(&b, "after", (int64_t)co->reg->policy_row->version);
		op->job.note = buf_take(&b);
		op->job.who = (uint64_t)(uintptr_t)p;
		op->job.done = on_policy_put;
		if (store_submit(co->store, &op->job, &err))
			return;
		request_error(r, &err);
	}
	diags_done(&p->diags);
	free(p);
}

static json_t *body_of(struct request *r, struct fields *f, struct err *err)
{
	json_t *root = json_read(buf_span(&r->body), POLICY_TEXT_MAX * 2, err);

	if (root)
		*f = fields_of(root, err);
	if (!root || f->bad)
		request_error(r, err);
	return root;
}

void api_admin_post(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct target       t = target_of(r);
	struct fields       f = { .bad = true };
	struct err          err = { 0 };
	struct reg_node    *n;
	struct reg_user    *u;

	if (!may(r))
		return;
	scoped_json json_t *root = body_of(r, &f, &err);
	if (f.bad)
		return;
	(void)root;
	if (span_eq(t.kind, SPAN("nodes")) && t.id.len && !t.sub.len) {
		if ((n = node_of(co, r, t.id)))
			set_node(co, r, n, &f);
	} else if (span_eq(t.kind, SPAN("users")) && t.id.len && !t.sub.len) {
		if ((u = user_of(co, r, t.id)))
			set_user(co, r, u, &f);
	} else if (span_eq(t.kind, SPAN("groups")) && groups_post(co, r, t.id, t.sub, &f)) {
		;
	} else if (span_eq(t.kind, SPAN("keys")) && !t.id.len && fields_bool(&f, "scim")) {
		scim_make_key(co, r, &f);
	} else if (span_eq(t.kind, SPAN("keys")) && !t.id.len) {
		make_key(co, r, &f);
	} else if (span_eq(t.kind, SPAN("policy")) && span_eq(t.id, SPAN("check"))) {
		put_policy(co, r, &f, true);
	} else {
		request_fail(r, ERR_MISSING, "there is nothing here");
	}
}

void api_admin_put(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct target       t = target_of(r);
	struct fields       f = { .bad = true };
	struct err          err = { 0 };

	if (!may(r))
		return;
	scoped_json json_t *root = body_of(r, &f, &err);
	if (f.bad)
		return;
	(void)root;
	if (span_eq(t.kind, SPAN("policy")) && !t.id.len)
		put_policy(co, r, &f, false);
	else
		request_fail(r, ERR_MISSING, "there is nothing here");
}

/* ---- taking away ---- */

static void on_revoked(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct end_op      *op = container_of(job, struct end_op, job);
	struct request     *r = http_find(co->http, job->who);

	admin_record(co, job, err);
	if (err) {
		if (r)
			request_error(r, err);
		return;
	}
	coordinator_commit(co, job);
	if (r) {
		scoped_buf struct buf out = { 0 };

		buf_init(&out, 64);
		buf_addf(&out, "{\"ended\":%zu}\n", op->ended);
		request_json(r, 200, &out);
	}
}

static void revoke(struct coordinator *co, struct request *r, uint64_t session, uint64_t node,
		   uint64_t user)
{
	struct end_op *op = end_op_new("revoked", loop_wall(co->loop));

	op->session = session;
	op->node = node;
	op->user = user;
	struct buf b;
	admin_note(&b, co, r, "sessions-revoked");
	audit_id(&b, "session", 's', session);
	audit_id(&b, "node", 'n', node);
	audit_id(&b, "user", 'u', user);
	op->job.note = buf_take(&b);
	coordinator_submit(co, r, &op->job, on_revoked);
}

void api_admin_delete(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct target       t = target_of(r);
	struct wall         now = loop_wall(co->loop), until = { now.sec + co->conf->lease };
	bool                sessions = span_eq(t.sub, SPAN("sessions"));
	struct reg_node    *n;
	struct reg_user    *u;
	struct store_job   *job;
	struct buf          b;
	uint64_t            id;

	if (!may(r))
		return;
	if (!t.id.len || (t.sub.len && !sessions)) {
		request_fail(r, ERR_MISSING, "there is nothing here");
	} else if (span_eq(t.kind, SPAN("nodes"))) {
		if (!(n = node_of(co, r, t.id)))
			return;
		if (sessions) {
			revoke(co, r, 0, n->id, 0);
			return;
		}
		admin_note(&b, co, r, "node-deleted");
		audit_id(&b, "node", 'n', n->id);
		audit_str(&b, "name", n->row->name);
		job = &node_delete_op_new(n->id, now, until)->job;
		job->note = buf_take(&b);
		coordinator_submit(co, r, job, on_done);
	} else if (span_eq(t.kind, SPAN("users"))) {
		if (!(u = user_of(co, r, t.id)))
			return;
		if (sessions) {
			revoke(co, r, 0, 0, u->id);
			return;
		}
		admin_note(&b, co, r, "user-deleted");
		audit_id(&b, "user", 'u', u->id);
		audit_str(&b, "login", u->row->login);
		struct user_op *op = user_op_new(u->id, USER_DELETE, now);
		op->until = until;
		op->job.note = buf_take(&b);
		coordinator_submit(co, r, &op->job, on_done);
	} else if (span_eq(t.kind, SPAN("sessions")) && map_id_parse(t.id, 's', &id)) {
		revoke(co, r, id, 0, 0);
	} else if (span_eq(t.kind, SPAN("names")) && !t.sub.len && t.id.len <= LOGIN_MAX) {
		scoped_free char *login = span_dup(t.id);

		admin_note(&b, co, r, "name-released");
		audit_str(&b, "login", login);
		job = &name_op_release(login)->job;
		job->note = buf_take(&b);
		coordinator_submit(co, r, job, on_done);
	} else if (span_eq(t.kind, SPAN("keys")) && map_id_parse(t.id, 'k', &id)) {
		admin_note(&b, co, r, "key-revoked");
		audit_id(&b, "key", 'k', id);
		job = &key_op_revoke(id)->job;
		job->note = buf_take(&b);
		coordinator_submit(co, r, job, on_done);
	} else {
		request_fail(r, ERR_MISSING, "there is nothing here");
	}
}
