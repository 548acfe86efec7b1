/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * An invitation or a reset, from its link to the recovery codes; and what
 * people change themselves once they have logged in for it. Nothing is written before the
 * last page of it, and then all at once: a link that was begun twice is finished once.
 */
#include "daemon/coordinator/own.h"

#include "daemon/coordinator/seal.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void new_password_show(struct own *own, struct request *r, struct own_flow *f,
			      const char *wrong, bool set_browser)
{
	struct own_asked asked;
	struct own_view v;
	struct page p;
	const char *heading = f->kind == OWN_MANAGE ? "Change your password"
			      : f->reset            ? "Set up your account again"
						    : "You are invited";

	own_view(own, f, wrong, &v);
	page_init(&p);
	/* In place of a password: for who begins. Others add one to what they have. */
	page_own_new_password(&p, &v.page, heading, PASSWORD_MIN,
			      f->kind == OWN_SETUP ? own_passkey_ask(own, f, &asked) : NULL);
	if (wrong)
		p.status = 400;
	if (set_browser)
		page_set_browser_key(&p, f->browser);
	own_show(r, &p);
}

static void new_otp_show(struct own *own, struct request *r, struct own_flow *f, const char *wrong)
{
	const struct account_row *a = own_find(own, f->account);
	struct own_view v;
	struct page p;
	char text[TOTP_TEXT_MAX];
	scoped_buf struct buf uri = {0};

	own_view(own, f, wrong, &v);
	buf_init(&uri, 2048);
	totp_text(f->new_totp, text);
	totp_uri(f->new_totp, own->co->conf->accounts.title, a ? a->login : "", &uri);
	page_init(&p);
	page_own_new_otp(&p, &v.page, uri.over ? "" : uri.ptr, text);
	if (wrong)
		p.status = 400;
	own_show(r, &p);
	mem_wipe(text, sizeof(text));
	mem_wipe(uri.ptr, uri.len);
}

static void new_passkey_show(struct own *own, struct request *r, struct own_flow *f,
			     const char *wrong)
{
	struct own_asked asked;
	const struct own_passkey *k = own_passkey_ask(own, f, &asked);
	struct own_view v;
	struct page p;

	if (!k) {
		own_flow_step(f, OWN_MENU);
		own_menu_show(own, r, f,
			      "Passkeys need a host name, and this site has only an address.");
		return;
	}
	own_view(own, f, wrong, &v);
	page_init(&p);
	page_own_add_passkey(&p, &v.page, k);
	if (wrong)
		p.status = 400;
	own_show(r, &p);
}

static void codes_show(struct own *own, struct request *r, struct own_flow *f)
{
	const char *codes[RECOVERY_CODES];
	struct own_view v;
	struct page p;

	own_view(own, f, NULL, &v);
	for (size_t i = 0; i < RECOVERY_CODES; i++)
		codes[i] = f->codes[i];
	page_init(&p);
	page_own_codes(&p, &v.page, codes, RECOVERY_CODES, f->kind == OWN_MANAGE ? v.base : NULL,
		       "Back to how you log in");
	own_show(r, &p);
	mem_wipe(f->codes, sizeof(f->codes));
}

void own_menu_show(struct own *own, struct request *r, struct own_flow *f, const char *wrong)
{
	const struct account_row *a = own_find(own, f->account);
	struct own_page_key keys[64];
	struct own_view v;
	struct page p;
	size_t n = 0;

	if (!a || a->disabled) {
		own_gone(own->co, r);
		return;
	}
	own_view(own, f, wrong, &v);
	for (; n < a->passkey_count && n < array_size(keys); n++)
		keys[n] = (struct own_page_key){a->passkeys[n].id, a->passkeys[n].name,
						a->passkeys[n].created, a->passkeys[n].used};
	page_init(&p);
	page_own_manage(&p, &v.page, keys, n, a->code_count, a->password[0] != '\0');
	own_show(r, &p);
}

/* ---- writing ---- */

static const char *event_of(const struct own_flow *f)
{
	return f->kind == OWN_MANAGE ? "account-changed"
	       : f->reset            ? "account-was-reset"
				     : "account-set-up";
}

static const char known_already[] = "That passkey is known already: use another one.";

static void on_written(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct own *own = co->own;
	struct account_op *op = container_of(job, struct account_op, job);
	struct own_flow *f = own_flow_find(own, op->asker);
	struct request *r = http_find(co->http, job->who);

	if (f)
		f->busy = false;
	if (err) {
		if (r && f && err->code == ERR_EXISTS)
			f->step == OWN_NEW_PASSKEY
				? new_passkey_show(own, r, f, known_already)
				: new_password_show(own, r, f, known_already, false);
		else if (r && err->code == ERR_DENIED)
			own_sorry(co, r, 403, "This link is over",
				  "It was used before, or is too old. Ask for a new one.");
		else if (r)
			request_error(r, err);
		return;
	}
	own_commit(own, op);
	if (!f)
		return;
	own_audit(own, event_of(f), own_find(own, op->account), f,
		  op->what == ACCOUNT_PASSKEY_REMOVE ? "passkey removed"
		  : op->passkey                      ? "passkey"
		  : op->password                     ? "password"
		  : op->totp                         ? "code"
						     : "recovery codes");
	if (f->kind == OWN_MANAGE)
		own_flow_step(f, OWN_MENU);
	if (r && op->codes)
		codes_show(own, r, f);
	else if (r && f->kind == OWN_SETUP)
		own_sorry(co, r, 200, "Your account is there",
			  "You may close this window, and log in with your passkey. Add another "
			  "one soon: if you "
			  "lose the only one, an administrator has to reset the account.");
	else if (r)
		own_menu_show(own, r, f, NULL);
	if (f->kind == OWN_SETUP)
		own_flow_drop(own, f);
}

static void add_codes(struct own_flow *f, struct account_op *op)
{
	op->codes = mem_calloc(RECOVERY_CODES, sizeof(*op->codes));
	op->code_count = RECOVERY_CODES;
	for (size_t i = 0; i < RECOVERY_CODES; i++)
		recovery_new(f->codes[i], op->codes[i]);
}

/* What the flow has gathered, in one change. */
static void write_all(struct own *own, struct request *r, struct own_flow *f, int64_t step)
{
	struct account_op *op =
		account_op_new(f->kind == OWN_SETUP ? ACCOUNT_SET_UP : ACCOUNT_CHANGE, f->account,
			       loop_wall(own->co->loop));

	memcpy(op->link, f->link, sizeof(op->link));
	if (f->new_password[0])
		op->password = mem_strdup(f->new_password);
	if (step) {
		op->totp = seal_totp(own->co->seal, f->account,
				     span_of(f->new_totp, sizeof(f->new_totp)));
		mem_wipe(f->new_totp, sizeof(f->new_totp));
		if (!op->totp) {
			op->job.free(&op->job);
			request_fail(r, ERR_CRYPTO, "the secret could not be sealed");
			return;
		}
		op->step = step;
	}
	if (f->kind == OWN_SETUP)
		add_codes(f, op);
	mem_wipe(f->new_password, sizeof(f->new_password));
	own_submit(own, r, f, op, on_written);
}

/* ---- a new password ---- */

static void on_made(void *arg, const struct hasher_answer *ans)
{
	struct own *own = arg;
	struct own_flow *f = own_flow_find(own, ans->who);
	struct request *r = f ? http_find(own->co->http, f->request) : NULL;
	const struct account_row *a = f ? own_find(own, f->account) : NULL;

	if (!f)
		return;
	f->busy = false;
	if (!r)
		return;
	if (!a) {
		own_gone(own->co, r);
		return;
	}
	if (!ans->ok) {
		new_password_show(own, r, f, ans->err.msg, false);
		return;
	}
	memcpy(f->new_password, ans->text, sizeof(f->new_password));
	if (f->kind == OWN_MANAGE && a->totp[0]) {
		write_all(own, r, f, 0);
		return;
	}
	random_bytes(f->new_totp, sizeof(f->new_totp));
	own_flow_step(f, OWN_NEW_OTP);
	new_otp_show(own, r, f, NULL);
}

static void new_password(struct own *own, struct request *r, struct own_flow *f)
{
	const struct account_row *a = own_find(own, f->account);
	scoped_buf struct buf pw = {0}, again = {0};
	struct err err = {0};

	if (!a) {
		own_gone(own->co, r);
		return;
	}
	if (!form_field(buf_span(&r->body), "password", PASSWORD_MAX, &pw) ||
	    !form_field(buf_span(&r->body), "again", PASSWORD_MAX, &again)) {
		new_password_show(own, r, f, "Type it twice, in at most 256 bytes.", false);
	} else if (!span_eq(buf_span(&pw), buf_span(&again))) {
		new_password_show(own, r, f, "The two are not the same.", false);
	} else if (!hasher_make(own->hasher, buf_span(&pw), a->login, a->name, f->serial, on_made,
				own, &err)) {
		new_password_show(own, r, f, err.msg, false);
	} else {
		f->busy = true;
		f->request = r->id;
	}
	if (pw.ptr)
		mem_wipe(pw.ptr, pw.len);
	if (again.ptr)
		mem_wipe(again.ptr, again.len);
}

static void new_otp(struct own *own, struct request *r, struct own_flow *f)
{
	scoped_buf struct buf typed = {0};
	char code[TOTP_DIGITS];
	size_t n = 0;
	int64_t step = 0;

	if (form_field(buf_span(&r->body), "otp", 16, &typed)) {
		for (size_t i = 0; i < typed.len; i++)
			if (typed.ptr[i] != ' ') {
				if (n < TOTP_DIGITS)
					code[n] = typed.ptr[i];
				n++;
			}
		if (n == TOTP_DIGITS)
			step = totp_check(f->new_totp, span_of(code, n), 0,
					  loop_wall(own->co->loop));
	}
	if (step)
		write_all(own, r, f, step);
	else
		new_otp_show(
			own, r, f,
			"That code is not right. Is the phone's clock? Codes follow the time.");
}

/* ---- a new passkey ---- */

static void new_passkey(struct own *own, struct request *r, struct own_flow *f)
{
	static const char words[] = "That passkey cannot be used here. Try again, or another one.";
	struct account_op *op =
		account_op_new(f->kind == OWN_SETUP ? ACCOUNT_SET_UP : ACCOUNT_CHANGE, f->account,
			       loop_wall(own->co->loop));
	struct err err = {0};

	memcpy(op->link, f->link, sizeof(op->link));
	if (own_passkey_new(own, r, f, op, &err)) {
		own_submit(own, r, f, op, on_written);
		return;
	}
	op->job.free(&op->job);
	own_audit(own, "account-refused", own_find(own, f->account), f, err.msg);
	if (f->kind == OWN_SETUP)
		new_password_show(own, r, f, words, false);
	else
		new_passkey_show(own, r, f, words);
}

/* ---- the menu ---- */

static void remove_passkey(struct own *own, struct request *r, struct own_flow *f,
			   const struct account_row *a)
{
	scoped_buf struct buf id = {0};
	uint64_t n = 0;

	if (!form_field(buf_span(&r->body), "id", 20, &id) ||
	    !span_u64(buf_span(&id), INT64_MAX, &n)) {
		own_gone(own->co, r);
		return;
	}
	/* The last way in stays. */
	if (!a->password[0] && a->passkey_count <= 1) {
		own_menu_show(own, r, f,
			      "That is your only way to log in: set up another one first.");
		return;
	}
	struct account_op *op =
		account_op_new(ACCOUNT_PASSKEY_REMOVE, a->id, loop_wall(own->co->loop));
	op->passkey_id = n;
	own_submit(own, r, f, op, on_written);
}

static void menu(struct own *own, struct request *r, struct own_flow *f, struct span action)
{
	const struct account_row *a = own_find(own, f->account);

	if (!a || a->disabled) {
		own_gone(own->co, r);
	} else if (span_eq(action, SPAN("change-password"))) {
		own_flow_step(f, OWN_NEW_PASSWORD);
		new_password_show(own, r, f, NULL, false);
	} else if (span_eq(action, SPAN("change-otp")) && a->password[0]) {
		random_bytes(f->new_totp, sizeof(f->new_totp));
		own_flow_step(f, OWN_NEW_OTP);
		new_otp_show(own, r, f, NULL);
	} else if (span_eq(action, SPAN("add-passkey"))) {
		own_flow_step(f, OWN_NEW_PASSKEY);
		new_passkey_show(own, r, f, NULL);
	} else if (span_eq(action, SPAN("change-codes")) && a->password[0]) {
		struct account_op *op =
			account_op_new(ACCOUNT_CHANGE, a->id, loop_wall(own->co->loop));

		add_codes(f, op);
		own_submit(own, r, f, op, on_written);
	} else if (span_eq(action, SPAN("remove-passkey"))) {
		remove_passkey(own, r, f, a);
	} else if (span_eq(action, SPAN("leave"))) {
		own_flow_drop(own, f);
		own_sorry(own->co, r, 200, "You have left", "You may close this window.");
	} else {
		own_gone(own->co, r);
	}
}

void own_setup_post(struct own *own, struct request *r, struct own_flow *f, struct span action)
{
	if (f->step == OWN_NEW_PASSWORD && span_eq(action, SPAN("new-password")))
		new_password(own, r, f);
	else if (f->step == OWN_NEW_OTP && span_eq(action, SPAN("new-otp")))
		new_otp(own, r, f);
	else if (f->kind == OWN_SETUP && f->step == OWN_NEW_PASSWORD &&
		 span_eq(action, SPAN("new-passkey")))
		new_passkey(own, r, f);
	else if (f->step == OWN_NEW_PASSKEY && span_eq(action, SPAN("new-passkey")))
		new_passkey(own, r, f);
	else if (f->step == OWN_MENU)
		menu(own, r, f, action);
	else
		own_gone(own->co, r);
}

/* ---- how it begins ---- */

static bool may_begin(struct coordinator *co, struct request *r)
{
	struct err err;

	if (attempts_may(co->attempts, &r->from, co->conf->attempts_per_minute, &err))
		return true;
	own_sorry(co, r, 429, "Too many attempts", "Try again in a minute.");
	return false;
}

/* Opening a link spends nothing: mail programs look at links, too. */
void api_own_link(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	scoped_buf struct buf token = {0};
	unsigned char hash[OPAQUE_HASH];
	const struct account_link *link = NULL;
	struct account_row *a = NULL;
	struct own_flow *f;
	struct err err;

	if (!own_ready(co, r) || !may_begin(co, r))
		return;
	if (form_field(r->query, "t", 64, &token) && opaque_hash(buf_span(&token), hash))
		a = own_find_link(co->own, hash, &link);
	if (!a || a->disabled || link->expires.sec <= loop_wall(co->loop).sec) {
		own_sorry(co, r, 404, "This link is over",
			  "It was used before, or is too old. Ask for a new one.");
		return;
	}
	f = own_flow_new(co->own, r, OWN_SETUP, OWN_NEW_PASSWORD, &err);
	if (!f) {
		own_sorry(co, r, 503, "Too many at once", "Try again in a minute.");
		return;
	}
	f->account = a->id;
	f->reset = link->reset;
	memcpy(f->link, hash, sizeof(f->link));
	new_password_show(co->own, r, f, NULL, true);
}

void api_own_account(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct own_flow *f;
	struct err err;

	if (!own_ready(co, r) || !may_begin(co, r))
		return;
	f = own_flow_new(co->own, r, OWN_MANAGE, OWN_PASSWORD, &err);
	if (!f)
		own_sorry(co, r, 503, "Too many at once", "Try again in a minute.");
	else
		own_login_show(co->own, r, f, NULL, 200, true);
}

void own_link_new(const struct conf *conf, struct account_op *op, struct buf *out)
{
	char token[OPAQUE_TEXT + 1];

	opaque_new(token, op->link);
	op->expires.sec = op->now.sec + conf->accounts.invitation;
	buf_addf(out, "%s/idp/link?t=%s", conf->url, token);
	mem_wipe(token, sizeof(token));
}
