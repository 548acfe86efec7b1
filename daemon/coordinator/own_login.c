/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A person proves themselves: login and password, then the app's code or a
 * recovery code. Whoever gets something wrong reads the same words after the same time,
 * whether there is such an account or not; and what counts once is on disk before
 * anybody is let in.
 */
#include "daemon/coordinator/own.h"

#include "daemon/coordinator/seal.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char wrong_words[] = "Login or password is not right.";
static const char wrong_passkey[] = "That passkey is not right here.";
static const char wrong_code[] =
	"That code is not right, or was used before. The app shows a new one every "
	"half minute.";

void own_login_show(struct own *own, struct request *r, struct own_flow *f, const char *wrong,
		    int status, bool set_browser)
{
	struct own_asked asked;
	struct own_view v;
	struct page p;

	own_view(own, f, wrong, &v);
	page_init(&p);
	page_own_login(&p, &v.page, own_passkey_ask(own, f, &asked), f->phr_only);
	if (status != 200)
		p.status = status;
	if (set_browser)
		page_set_browser_key(&p, f->browser);
	own_show(r, &p);
}

static void factor_show(struct own *own, struct request *r, struct own_flow *f, const char *wrong,
			int status)
{
	const struct account_row *a = own_find(own, f->account);
	struct own_view v;
	struct page p;

	own_view(own, f, wrong, &v);
	page_init(&p);
	page_own_factor(&p, &v.page, a ? a->code_count : 0);
	if (status != 200)
		p.status = status;
	own_show(r, &p);
}

static void wait_words(int64_t seconds, char words[160])
{
	if (seconds > 90)
		snprintf(words, 160, "Too many tries were wrong. Wait %lld minutes.",
			 (long long)(seconds + 59) / 60);
	else
		snprintf(words, 160, "Too many tries were wrong. Wait %lld seconds.",
			 (long long)seconds);
}

static struct guard_try try_of(const struct own_flow *f)
{
	return (struct guard_try){.login = span_str(f->login),
				  .from = &f->from,
				  .browser = f->known ? span_of(f->nonce, sizeof(f->nonce))
						      : (struct span){NULL, 0}};
}

/* ---- the password ---- */

static void on_password(void *arg, const struct hasher_answer *ans)
{
	struct own *own = arg;
	struct own_flow *f = own_flow_find(own, ans->who);
	struct request *r = f ? http_find(own->co->http, f->request) : NULL;
	struct account_row *a;

	if (!f)
		return;
	f->busy = false;
	a = own_find_login(own, span_str(f->login));
	if (!ans->ok || !a || a->disabled || !a->totp[0]) {
		own_audit(own, "account-refused", a, f, "password");
		if (r)
			own_login_show(own, r, f, wrong_words, 403, false);
		return;
	}
	const struct guard_try t = try_of(f);
	guard_right(own->guard, &t);
	f->account = a->id;
	own_flow_step(f, OWN_FACTOR);
	if (r)
		factor_show(own, r, f, NULL, 200);
}

static void password(struct own *own, struct request *r, struct own_flow *f)
{
	scoped_buf struct buf login = {0}, pw = {0};
	char mark[BROWSER_TEXT_MAX], words[160];
	const struct account_row *a;
	struct err err = {0};
	int64_t wait;

	/* What no account can be called is counted as it stands, with all others of its kind. */
	if (!form_field(buf_span(&r->body), "login", LOGIN_MAX, &login) ||
	    !own_login_ok(buf_span(&login), f->login))
		snprintf(f->login, sizeof(f->login), "?");
	if (!form_field(buf_span(&r->body), "password", PASSWORD_MAX, &pw))
		buf_init(&pw, 1);
	a = own_find_login(own, span_str(f->login));
	f->from = r->from;
	f->known = a && r->cookie && mark_get(span_str(r->cookie), mark, sizeof(mark)) &&
		   browser_mark_ok(&own->mark, span_str(mark), a->id, f->nonce);
	const struct guard_try t = try_of(f);
	wait = guard_wait(own->guard, &t, loop_now(own->co->loop));
	if (wait) {
		wait_words(wait, words);
		own_audit(own, "account-refused", a, f, "too many failures");
		own_login_show(own, r, f, words, 429, false);
	} else {
		guard_count(own->guard, &t, loop_now(own->co->loop));
		if (hasher_check(own->hasher, buf_span(&pw), a && !a->disabled ? a->password : NULL,
				 f->serial, on_password, own, &err)) {
			f->busy = true;
			f->request = r->id;
		} else {
			guard_right(own->guard, &t);
			own_login_show(own, r, f,
				       "Too many log in at once. Try again in some seconds.", 503,
				       false);
		}
	}
	if (pw.ptr)
		mem_wipe(pw.ptr, pw.len);
}

/* ---- the second factor ---- */

static void let_in(struct own *own, struct request *r, struct own_flow *f, enum own_method how)
{
	if (f->kind == OWN_LOGIN) {
		own_op_done(own, r, f, how);
		return;
	}
	own_flow_step(f, OWN_MENU);
	own_menu_show(own, r, f, NULL);
}

static void on_factor(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct own *own = co->own;
	struct account_op *op = container_of(job, struct account_op, job);
	struct own_flow *f = own_flow_find(own, op->asker);
	struct request *r = http_find(co->http, job->who);
	enum own_method how = op->by_code ? OWN_BY_RECOVERY
			      : op->step  ? OWN_BY_OTP
					  : OWN_BY_PASSKEY;
	uint64_t id = op->account;

	if (f)
		f->busy = false;
	if (err) {
		if (f)
			own_audit(own, "account-refused", own_find(own, id), f, err->msg);
		if (r && f && err->code == ERR_DENIED && how == OWN_BY_PASSKEY)
			own_login_show(own, r, f, wrong_passkey, 403, false);
		else if (r && f && err->code == ERR_DENIED)
			factor_show(own, r, f, wrong_code, 403);
		else if (r)
			request_error(r, err);
		return;
	}
	own_commit(own, op);
	if (how != OWN_BY_PASSKEY)
		guard_factor_right(own->guard, id);
	own_audit(own, "account-login", own_find(own, id), f,
		  how == OWN_BY_PASSKEY    ? "passkey"
		  : how == OWN_BY_RECOVERY ? "password and recovery code"
					   : "password and code");
	if (r && f)
		let_in(own, r, f, how);
}

static bool tried(struct own *own, struct request *r, struct own_flow *f)
{
	char words[160];
	int64_t wait = guard_factor_wait(own->guard, f->account, loop_now(own->co->loop));

	if (wait) {
		wait_words(wait, words);
		factor_show(own, r, f, words, 429);
		return true;
	}
	guard_factor_count(own->guard, f->account, loop_now(own->co->loop));
	return false;
}

static void not_right(struct own *own, struct request *r, struct own_flow *f, const char *what)
{
	own_audit(own, "account-refused", own_find(own, f->account), f, what);
	if (++f->tries < OWN_TRIES_MAX) {
		factor_show(own, r, f, wrong_code, 403);
		return;
	}
	own_sorry(own->co, r, 403, "Too many tries were wrong", "Begin again.");
	own_flow_drop(own, f);
}

/* The digits of what was typed: apps show "123 456". */
static size_t digits_of(const struct buf *typed, char out[TOTP_DIGITS + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < typed->len; i++) {
		if (typed->ptr[i] == ' ')
			continue;
		if (n == TOTP_DIGITS)
			return 0;
		out[n++] = typed->ptr[i];
	}
	return n;
}

/* The secret is open for this moment alone. 0: totp_check() says so. */
static int64_t step_of(struct own *own, const struct account_row *a, struct span code)
{
	struct secret secret = {0};
	struct err err = {0};
	int64_t step = 0;

	if (!seal_open_text(own->co->seal, SEAL_TOTP, a->id, span_str(a->totp), &secret, &err))
		log_error("%s: was refresh.key exchanged? Resetting the account helps", err.msg);
	else if (secret.len == TOTP_SECRET)
		step = totp_check(secret.ptr, code, a->totp_step, loop_wall(own->co->loop));
	secret_done(&secret);
	return step;
}

static void otp(struct own *own, struct request *r, struct own_flow *f)
{
	struct account_row *a = own_find(own, f->account);
	struct wall now = loop_wall(own->co->loop);
	scoped_buf struct buf typed = {0};
	char code[TOTP_DIGITS + 1];
	int64_t step;
	size_t n;

	if (!a || a->disabled || !a->totp[0]) {
		own_gone(own->co, r);
		return;
	}
	if (tried(own, r, f))
		return;
	n = form_field(buf_span(&r->body), "otp", 16, &typed) ? digits_of(&typed, code) : 0;
	step = n ? step_of(own, a, span_of(code, n)) : 0;
	if (!step) {
		not_right(own, r, f, "code");
		return;
	}
	/* Spent from here: another request with it comes too late, even before it is on disk. */
	a->totp_step = step;
	struct account_op *op = account_op_new(ACCOUNT_LOGIN, a->id, now);
	op->step = step;
	own_submit(own, r, f, op, on_factor);
}

static void recovery(struct own *own, struct request *r, struct own_flow *f)
{
	struct account_row *a = own_find(own, f->account);
	scoped_buf struct buf typed = {0};
	unsigned char hash[OPAQUE_HASH];
	bool found = false;

	if (!a || a->disabled) {
		own_gone(own->co, r);
		return;
	}
	if (tried(own, r, f))
		return;
	if (form_field(buf_span(&r->body), "recovery", 64, &typed) &&
	    recovery_hash(buf_span(&typed), hash))
		for (size_t i = 0; i < a->code_count; i++)
			found |= mem_equal_ct(a->codes[i], hash, sizeof(hash));
	if (!found) {
		not_right(own, r, f, "recovery code");
		return;
	}
	struct account_op *op = account_op_new(ACCOUNT_LOGIN, a->id, loop_wall(own->co->loop));
	op->by_code = true;
	memcpy(op->code, hash, sizeof(op->code));
	own_submit(own, r, f, op, on_factor);
}

/* ---- a passkey: both factors at once ---- */

static void passkey(struct own *own, struct request *r, struct own_flow *f)
{
	struct err err = {0};

	f->from = r->from;
	struct account_op *op = own_passkey_login(own, r, f, &err);
	if (op) {
		own_submit(own, r, f, op, on_factor);
		return;
	}
	own_audit(own, "account-refused", own_find(own, f->account), f, err.msg);
	f->account = 0;
	if (++f->tries < OWN_TRIES_MAX) {
		own_login_show(own, r, f, wrong_passkey, 403, false);
		return;
	}
	own_sorry(own->co, r, 403, "Too many tries were wrong", "Begin again.");
	own_flow_drop(own, f);
}

void own_login_post(struct own *own, struct request *r, struct own_flow *f, struct span action)
{
	if (f->step == OWN_PASSWORD && span_eq(action, SPAN("passkey")))
		passkey(own, r, f);
	else if (f->step == OWN_PASSWORD && !f->phr_only && span_eq(action, SPAN("password")))
		password(own, r, f);
	else if (f->step == OWN_FACTOR && span_eq(action, SPAN("otp")))
		otp(own, r, f);
	else if (f->step == OWN_FACTOR && span_eq(action, SPAN("recovery")))
		recovery(own, r, f);
	else
		own_gone(own->co, r);
}
