/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What administrators do with own accounts: /api/v1/accounts. */
#include "daemon/coordinator/own.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/control/fields.h"

#include <stdlib.h>
#include <string.h>

enum { ACCOUNTS_REPLY_MAX = 64 << 20 };

static bool may(struct coordinator *co, struct request *r)
{
	if (!own_ready(co, r))
		return false;
	if (r->admin)
		return true;
	request_fail(r, ERR_DENIED, "this is for administrators");
	return false;
}

static void account_json(const struct coordinator *co, const struct account_row *a, struct buf *b)
{
	struct wall now = loop_wall(co->loop);
	const char *state = a->disabled                          ? "disabled"
			    : a->password[0] || a->passkey_count ? "active"
								 : "invited";
	int64_t link = 0;

	for (size_t i = 0; i < a->link_count; i++)
		if (a->links[i].expires.sec > now.sec)
			link = a->links[i].expires.sec;
	buf_addf(b, "{\"id\":\"a%llu\",\"login\":", (unsigned long long)a->id);
	buf_add_json(b, span_str(a->login));
	buf_add_str(b, ",\"name\":");
	buf_add_json(b, span_str(a->name));
	buf_addf(b,
		 ",\"state\":\"%s\",\"password\":%s,\"passkeys\":%zu,\"recovery\":%zu,\"created\":%"
		 "lld",
		 state, a->password[0] ? "true" : "false", a->passkey_count, a->code_count,
		 (long long)a->created.sec);
	if (a->last_login.sec)
		buf_addf(b, ",\"last_login\":%lld", (long long)a->last_login.sec);
	if (link)
		buf_addf(b, ",\"link_expires\":%lld", (long long)link);
	buf_add_char(b, '}');
}

void api_own_admin_get(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	scoped_buf struct buf out = {0};
	struct span key;
	size_t pos = 0, k = 0;
	void *v;

	if (!may(co, r))
		return;
	if (r->rest.len) {
		request_fail(r, ERR_MISSING, "there is nothing here");
		return;
	}
	buf_init(&out, ACCOUNTS_REPLY_MAX);
	buf_add_str(&out, "{\"accounts\":[");
	while (dict_next(co->own->by_login, &pos, &key, &v)) {
		if (k++)
			buf_add_char(&out, ',');
		account_json(co, v, &out);
	}
	buf_add_str(&out, "]}\n");
	request_json(r, 200, &out);
}

/* ---- changes ---- */

static void note(struct account_op *op, const struct coordinator *co, const struct request *r,
		 const char *event, const char *login)
{
	const struct reg_user *u = registry_user(co->reg, r->user);
	struct buf b;

	audit_note(&b, event);
	audit_str(&b, "by", u ? u->row->login : r->root ? "root" : "");
	audit_id(&b, "by_node", 'n', r->node);
	audit_id(&b, "account", 'a', op->account);
	audit_str(&b, "login", login);
	op->job.note = buf_take(&b);
}

static void on_done(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct account_op *op = container_of(job, struct account_op, job);
	struct request *r = http_find(co->http, job->who);
	scoped_buf struct buf out = {0};

	audit_write(co->audit, loop_wall(co->loop), job->note, err);
	if (err) {
		if (r)
			request_error(r, err);
		return;
	}
	own_commit(co->own, op);
	if (!r)
		return;
	struct account_row *a = own_find(co->own, op->account);
	buf_init(&out, 16 << 10);
	buf_add_str(&out, "{\"account\":");
	if (a)
		account_json(co, a, &out);
	else
		buf_add_str(&out, "null");
	if (op->url) {
		buf_add_str(&out, ",\"link\":");
		buf_add_json(&out, span_str(op->url));
		buf_addf(&out, ",\"expires\":%lld", (long long)op->expires.sec);
	}
	buf_add_str(&out, "}\n");
	request_json(r, 200, &out);
	mem_wipe(out.ptr, out.len);
}

static void add_link(const struct coordinator *co, struct account_op *op)
{
	struct buf link;

	buf_init(&link, 1024);
	own_link_new(co->conf, op, &link);
	op->url = buf_take(&link);
}

/* A login that this site may give: as conf's domains say. */
static bool domain_ok(const struct coordinator *co, const char *login)
{
	const struct conf_strs *d = &co->conf->accounts.domains;
	const char *at = strrchr(login, '@');

	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->list[i], "*") == 0 ||
		    (at && at > login && strcasecmp(at + 1, d->list[i]) == 0))
			return true;
	return false;
}

struct account_op *own_invite_new(const char *login, const char *name, struct wall now)
{
	struct account_op *op = account_op_new(ACCOUNT_INVITE, 0, now);
	unsigned char hash[OPAQUE_HASH];
	char sub[OPAQUE_TEXT + 1];

	opaque_new(sub, hash);
	op->login = mem_strdup(login);
	op->name = name ? mem_strdup(name) : NULL;
	op->sub = mem_strdup(sub);
	return op;
}

static void invite(struct coordinator *co, struct request *r, const json_t *o)
{
	const char *typed = json_string_value(json_object_get(o, "login"));
	const char *name = json_string_value(json_object_get(o, "name"));
	char login[LOGIN_MAX + 1];

	if (!typed || !own_login_ok(span_str(typed), login)) {
		request_fail(r, ERR_SYNTAX,
			     "\"login\": letters, digits and !#$%%&'*+-/=?^_`{|}~.@, at most %d",
			     LOGIN_MAX);
		return;
	}
	if (!domain_ok(co, login)) {
		request_fail(r, ERR_DENIED, "%s is outside \"domains\" of \"accounts\"", login);
		return;
	}
	if (name && (strlen(name) > PERSON_NAME_MAX || !span_is_utf8(span_str(name)))) {
		request_fail(r, ERR_LIMIT, "\"name\" is at most %d bytes", PERSON_NAME_MAX);
		return;
	}
	struct account_op *op = own_invite_new(login, name, loop_wall(co->loop));
	add_link(co, op);
	note(op, co, r, "account-invited", login);
	own_submit(co->own, r, NULL, op, on_done);
}

static struct account_row *target_of(struct coordinator *co, struct request *r, struct span id)
{
	uint64_t n;
	struct account_row *a = NULL;
	char login[LOGIN_MAX + 1];

	if (id.len > 1 && id.ptr[0] == 'a' && span_u64(span_from(id, 1), INT64_MAX, &n))
		a = own_find(co->own, n);
	if (!a && own_login_ok(id, login))
		a = own_find_login(co->own, span_str(login));
	if (!a)
		request_fail(r, ERR_MISSING, "there is no such account");
	return a;
}

static void act(struct coordinator *co, struct request *r, enum account_what what, struct span id)
{
	struct account_row *a = target_of(co, r, id);
	const char *event = what == ACCOUNT_RESET     ? "account-reset"
			    : what == ACCOUNT_DISABLE ? "account-disabled"
			    : what == ACCOUNT_ENABLE  ? "account-enabled"
						      : "account-deleted";

	if (!a)
		return;
	if (what == ACCOUNT_RESET && a->disabled) {
		request_fail(r, ERR_NOTNOW, "the account is disabled: enable it first");
		return;
	}
	struct account_op *op = account_op_new(what, a->id, loop_wall(co->loop));
	if (what == ACCOUNT_RESET)
		add_link(co, op);
	note(op, co, r, event, a->login);
	own_submit(co->own, r, NULL, op, on_done);
}

/* POST /api/v1/accounts {"login","name"?}; .../accounts/a3 {"disabled":true} or {"reset":true} */
void api_own_admin_post(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct err err;

	if (!may(co, r))
		return;
	scoped_json json_t *o = json_read(buf_span(&r->body), OWN_BODY_MAX, &err);
	if (!o) {
		request_error(r, &err);
		return;
	}
	const json_t *disabled = json_object_get(o, "disabled"),
		     *reset = json_object_get(o, "reset");
	if (!json_is_object(o))
		request_fail(r, ERR_SYNTAX, "want an object");
	else if (!r->rest.len)
		invite(co, r, o);
	else if (json_is_boolean(disabled) && !reset)
		act(co, r, json_is_true(disabled) ? ACCOUNT_DISABLE : ACCOUNT_ENABLE, r->rest);
	else if (json_is_true(reset) && !disabled)
		act(co, r, ACCOUNT_RESET, r->rest);
	else
		request_fail(r, ERR_SYNTAX, "want \"disabled\" or \"reset\"");
}

void api_own_admin_delete(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;

	if (may(co, r))
		act(co, r, ACCOUNT_DELETE, r->rest);
}
