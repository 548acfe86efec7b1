/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What administrators do with own accounts: /api/v1/accounts. */
#include "daemon/coordinator/own.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/control/fields.h"

#include <stdlib.h>
#include <string.h>

enum { ACCOUNTS_REPLY_MAX = 64 << 20, OWN_GROUPS = 100, OWN_GROUPS_TEXT = 4096 };

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
	buf_add_str(b, ",\"groups\":[");
	for (struct span rest = span_str(a->groups), one; row_list_next(&rest, &one);) {
		if (one.ptr != a->groups)
			buf_add_char(b, ',');
		buf_add_json(b, one);
	}
	buf_add_char(b, ']');
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

/* A list of texts to one a line, sorted as they are said; a name is none twice. */
static bool groups_read(const json_t *list, struct buf *out, struct err *err)
{
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		struct span s = span_of(json_string_value(one), json_string_length(one)),
			    rest = buf_span(out), have;
		bool there = false;

		if (!json_is_string(one) || !s.len || s.len > GROUP_NAME_MAX || !span_is_utf8(s))
			return err_set(err, ERR_SYNTAX, "a group is a name of 1 to %d bytes",
				       GROUP_NAME_MAX);
		for (size_t k = 0; k < s.len; k++)
			if ((unsigned char)s.ptr[k] < 0x20 || s.ptr[k] == 0x7f)
				return err_set(err, ERR_SYNTAX,
					       "a group's name has no control characters");
		while (row_list_next(&rest, &have))
			there |= span_eq(have, s);
		if (there)
			continue;
		if (out->len)
			buf_add_char(out, '\n');
		buf_add_span(out, s);
	}
	if (i > OWN_GROUPS || out->over)
		return err_set(err, ERR_LIMIT,
			       "an account has at most %d groups, of %d bytes together", OWN_GROUPS,
			       OWN_GROUPS_TEXT);
	return true;
}

static void put_groups(struct coordinator *co, struct request *r, const json_t *list)
{
	struct account_row *a = target_of(co, r, r->rest);
	scoped_buf struct buf text = {0};
	struct err err;

	if (!a)
		return;
	buf_init(&text, OWN_GROUPS_TEXT);
	buf_add_str(&text, "");
	if (!groups_read(list, &text, &err)) {
		request_error(r, &err);
		return;
	}
	struct account_op *op = account_op_new(ACCOUNT_GROUPS, a->id, loop_wall(co->loop));
	op->groups = span_dup(buf_span(&text));
	note(op, co, r, "account-groups", a->login);
	own_submit(co->own, r, NULL, op, on_done);
}

/* POST /api/v1/accounts {"login","name"?}; .../accounts/a3 {"disabled":true}, {"reset":true} or
 * {"groups":["lab"]} */
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
		     *reset = json_object_get(o, "reset"), *groups = json_object_get(o, "groups");
	if (!json_is_object(o))
		request_fail(r, ERR_SYNTAX, "want an object");
	else if (!r->rest.len)
		invite(co, r, o);
	else if (!disabled + !reset + !groups != 2)
		request_fail(r, ERR_SYNTAX, "want one of \"disabled\", \"reset\" and \"groups\"");
	else if (json_is_array(groups))
		put_groups(co, r, groups);
	else if (json_is_boolean(disabled))
		act(co, r, json_is_true(disabled) ? ACCOUNT_DISABLE : ACCOUNT_ENABLE, r->rest);
	else if (json_is_true(reset))
		act(co, r, ACCOUNT_RESET, r->rest);
	else
		request_fail(r, ERR_SYNTAX, "want \"disabled\", \"reset\" or \"groups\"");
}

void api_own_admin_delete(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;

	if (may(co, r))
		act(co, r, ACCOUNT_DELETE, r->rest);
}
