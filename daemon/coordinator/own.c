/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/own.h"

#include "daemon/coordinator/seal.h"

#include "base/encode.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "web/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A code that waits to be redeemed (own_op.c). */
struct own_code;
void own_code_free(void *code);
bool own_code_is_old(const void *code, struct boot now);

static struct span id_span(const uint64_t *id)
{
	return span_of(id, sizeof(*id));
}

/* ---- accounts ---- */

struct account_row *own_find(const struct own *own, uint64_t id)
{
	return dict_find(own->by_id, id_span(&id));
}

struct account_row *own_find_login(const struct own *own, struct span login)
{
	return dict_find(own->by_login, login);
}

struct account_row *own_find_link(const struct own *own, const unsigned char hash[OPAQUE_HASH],
				  const struct account_link **ret_link)
{
	struct span key;
	size_t pos = 0;
	void *v;

	while (dict_next(own->by_id, &pos, &key, &v)) {
		struct account_row *a = v;

		for (size_t i = 0; i < a->link_count; i++)
			if (mem_equal_ct(a->links[i].hash, hash, OPAQUE_HASH)) {
				*ret_link = &a->links[i];
				return a;
			}
	}
	return NULL;
}

static void forget(struct own *own, uint64_t id)
{
	struct account_row *old = dict_remove(own->by_id, id_span(&id));

	if (!old)
		return;
	dict_remove(own->by_login, span_str(old->login));
	account_row_free(old);
}

static void put(struct own *own, struct account_row *row)
{
	forget(own, row->id);
	dict_put(own->by_id, id_span(&row->id), row);
	dict_put(own->by_login, span_str(row->login), row);
}

void own_commit(struct own *own, struct account_op *op)
{
	/* Whoever logs in by something else now, or not at all, does so anew. */
	if (op->what == ACCOUNT_RESET || op->what == ACCOUNT_SET_UP || op->what == ACCOUNT_CHANGE ||
	    op->what == ACCOUNT_PASSKEY_REMOVE || op->what == ACCOUNT_DISABLE || op->what == ACCOUNT_DELETE)
		own_sessions_end(own, op->account);
	if (op->row)
		put(own, take(op->row));
	else
		forget(own, op->account);
	coordinator_commit(own->co, &op->job);
}

void own_submit(struct own *own, struct request *r, struct own_flow *f, struct account_op *op,
		store_done_fn *done)
{
	scoped_buf struct buf issuer = {0};

	buf_init(&issuer, ISSUER_MAX + 1);
	buf_addf(&issuer, "%s/idp", own->co->conf->url);
	op->issuer = buf_take(&issuer);
	if (f) {
		op->asker = f->serial;
		f->busy = true;
		f->request = r->id;
	}
	coordinator_submit(own->co, r, &op->job, done);
	/* It could not be handed over, and r was told. */
	if (f && r->replied)
		f->busy = false;
}

bool own_login_ok(struct span typed, char ret_login[LOGIN_MAX + 1])
{
	struct span s = span_trim(typed);

	if (s.len == 0 || !span_cstr(s, ret_login, LOGIN_MAX + 1))
		return false;
	for (char *c = ret_login; *c; c++) {
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
		/* As idp/claims.c takes them. */
		if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') ||
		      strchr("!#$%&'*+-/=?^_`{|}~.@", *c)))
			return false;
	}
	return true;
}

/* ---- flows ---- */

static void flow_free(struct own_flow *f)
{
	free(f->state);
	free(f->oidc_nonce);
	free(f->challenge);
	free(f->redirect_uri);
	mem_wipe(f, sizeof(*f));
	free(f);
}

struct own_flow *own_flow_new(struct own *own, const struct request *r, enum own_kind kind,
			      enum own_step step, struct err *err)
{
	unsigned char raw[16];
	scoped_buf struct buf b = {0};

	if (dict_count(own->flows) >= OWN_FLOWS_MAX) {
		err_set(err, ERR_BUSY, "%d logins are under way: try again in a minute",
			OWN_FLOWS_MAX);
		return NULL;
	}
	struct own_flow *f = mem_alloc(sizeof(*f));
	f->serial = ++own->last;
	f->kind = kind;
	f->step = step;
	f->from = r->from;
	f->until = boot_add(loop_now(own->co->loop), OWN_FLOW_SECONDS * SEC_NS);
	random_bytes(raw, sizeof(raw));
	buf_init(&b, 64);
	base64url_add(&b, span_of(raw, sizeof(raw)));
	memcpy(f->id, b.ptr, sizeof(f->id));
	if (!r->cookie || !browser_key_get(span_str(r->cookie), f->browser))
		browser_key_new(f->browser);
	dict_put(own->flows, span_str(f->id), f);
	dict_put(own->serials, id_span(&f->serial), f);
	return f;
}

struct own_flow *own_flow_find(struct own *own, uint64_t serial)
{
	return dict_find(own->serials, id_span(&serial));
}

void own_flow_drop(struct own *own, struct own_flow *f)
{
	dict_remove(own->flows, span_str(f->id));
	dict_remove(own->serials, id_span(&f->serial));
	flow_free(f);
}

void own_flow_step(struct own_flow *f, enum own_step step)
{
	static const char *const names[OWN_STEPS] = {"none",         "confirm", "password", "factor",
						     "new password", "new code", "new passkey", "menu"};

	log_debug("own flow %.4s..: %s -> %s", f->id, names[f->step], names[step]);
	f->step = step;
}

static void purpose_of(const struct own_flow *f, char ret[64])
{
	snprintf(ret, 64, "own %s %d", f->id, (int)f->step);
}

static struct own_flow *flow_in_browser(struct coordinator *co, struct request *r,
					struct span *ret_action)
{
	size_t slash = span_find(r->rest, '/');
	struct span id = span_head(r->rest, slash);
	struct own_flow *f = id.len == ENROL_ATTEMPT_LEN ? dict_find(co->own->flows, id) : NULL;
	char key[BROWSER_KEY_SIZE];

	*ret_action = span_from(r->rest, slash + 1);
	if (!f || boot_passed(f->until, loop_now(co->loop))) {
		own_gone(co, r);
		return NULL;
	}
	if (!r->cookie || !browser_key_get(span_str(r->cookie), key) ||
	    !mem_equal_ct(key, f->browser, sizeof(key))) {
		own_sorry(co, r, 403, "Another browser has this page",
			  "It was begun in another browser. Begin again.");
		return NULL;
	}
	return f;
}

struct own_flow *own_flow_of(struct coordinator *co, struct request *r, struct span *ret_action)
{
	struct own_flow *f = flow_in_browser(co, r, ret_action);
	scoped_buf struct buf token = {0};
	char purpose[64];

	if (!f)
		return NULL;
	purpose_of(f, purpose);
	if (!form_field(buf_span(&r->body), "token", 200, &token) ||
	    !form_token_ok(&co->form_key, purpose, f->browser, buf_span(&token))) {
		own_sorry(co, r, 403, "This form is not yours",
			  "It was made for another browser, or by another page. Begin again.");
		return NULL;
	}
	if (f->busy) {
		own_sorry(co, r, 409, "One at a time", "The last form is still being looked at.");
		return NULL;
	}
	return f;
}

/* ---- pages ---- */

void own_view(struct own *own, const struct own_flow *f, const char *wrong, struct own_view *ret)
{
	const struct account_row *a = own_find(own, f->account);
	char purpose[64];

	purpose_of(f, purpose);
	snprintf(ret->base, sizeof(ret->base), "/idp/flow/%s", f->id);
	form_token(&own->co->form_key, purpose, f->browser, ret->token);
	ret->page = (struct own_page){.base = ret->base,
				      .token = ret->token,
				      .site = own->co->conf->accounts.title,
				      .login = a             ? a->login
					       : f->login[0] ? f->login
							     : NULL,
				      .wrong = wrong};
}

void own_show(struct request *r, struct page *p)
{
	request_page(r, p);
	page_done(p);
}

void own_sorry(struct coordinator *co, struct request *r, int status, const char *title,
	       const char *words)
{
	struct page p;

	(void)co;
	page_init(&p);
	page_error(&p, status, title, words, NULL, NULL);
	own_show(r, &p);
}

void own_gone(struct coordinator *co, struct request *r)
{
	own_sorry(co, r, 404, "This page is over",
		  "It was finished, or took too long. Begin again.");
}

bool own_ready(struct coordinator *co, struct request *r)
{
	if (co->own && co->conf->accounts.enabled)
		return true;
	request_fail(r, ERR_MISSING, "there is nothing here");
	return false;
}

void own_audit(struct own *own, const char *event, const struct account_row *a,
	       const struct own_flow *f, const char *how)
{
	struct buf *b = audit_begin(own->co->audit, loop_wall(own->co->loop), event);
	char from[IP_TEXT_MAX];

	audit_id(b, "account", 'a', a ? a->id : 0);
	audit_str(b, "login", a ? a->login : NULL);
	audit_str(b, "from", f && f->from.family ? ip_text(&f->from, from) : NULL);
	audit_str(b, "how", how);
	audit_end(own->co->audit);
}

/* ---- routes of flows ---- */

void api_own_flow_get(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct span action;
	struct own_flow *f;

	if (!own_ready(co, r) || !(f = flow_in_browser(co, r, &action)))
		return;
	if (action.len || f->busy || f->step != OWN_MENU)
		own_gone(co, r);
	else
		own_menu_show(co->own, r, f, NULL);
}

void api_own_flow_post(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct span action;
	struct own_flow *f;

	if (!own_ready(co, r) || !(f = own_flow_of(co, r, &action)))
		return;
	if (f->step == OWN_CONFIRM)
		own_confirm_post(co->own, r, f, action);
	else if (f->step == OWN_PASSWORD || f->step == OWN_FACTOR)
		own_login_post(co->own, r, f, action);
	else
		own_setup_post(co->own, r, f, action);
}

/* ---- start and end ---- */

static void on_tick(void *arg)
{
	struct own *own = arg;
	struct boot now = loop_now(own->co->loop);
	struct span key;
	size_t pos = 0;
	void *v;

	while (dict_next(own->flows, &pos, &key, &v)) {
		struct own_flow *f = v;

		if (boot_passed(f->until, now) && !f->busy)
			own_flow_drop(own, f);
	}
	pos = 0;
	while (dict_next(own->codes, &pos, &key, &v))
		if (own_code_is_old(v, now)) {
			dict_remove(own->codes, key);
			own_code_free(v);
		}
	own_sessions_sweep(own);
	loop_timer_after(own->tick, 5 * SEC_NS);
}

static void on_loaded(void *owner, struct store_job *job, const struct err *err)
{
	struct coordinator *co = owner;
	struct account_load_op *op = container_of(job, struct account_load_op, job);

	if (err) {
		log_error("own accounts: %s", err->msg);
		return;
	}
	for (size_t i = 0; i < op->count; i++)
		put(co->own, take(op->list[i]));
	log_note("%zu own accounts", op->count);
}

struct own *own_new(struct coordinator *co, struct err *err)
{
	struct own *own = mem_alloc(sizeof(*own));

	own->co = co;
	own->by_id = dict_new();
	own->by_login = dict_new();
	own->flows = dict_new();
	own->serials = dict_new();
	own->codes = dict_new();
	own->sessions = dict_new();
	own->guard = guard_new();
	own->tick = loop_timer_new(co->loop, on_tick, own);
	own->signer = signer_new(err);
	own->hasher = own->signer ? hasher_new(co->loop, err) : NULL;
	if (!own->hasher || !seal_derive(co->seal, "reeve mark v1", &own->mark, err)) {
		own_free(own);
		return NULL;
	}
	struct account_load_op *op = account_load_op_new();
	op->job.done = on_loaded;
	if (!store_submit(co->store, &op->job, err)) {
		own_free(own);
		return NULL;
	}
	loop_timer_after(own->tick, 5 * SEC_NS);
	return own;
}

static void free_all(struct dict *d, void (*fn)(void *v))
{
	struct span key;
	size_t pos = 0;
	void *v;

	while (dict_next(d, &pos, &key, &v))
		fn(v);
	dict_free(d);
}

static void free_row(void *v)
{
	account_row_free(v);
}

static void free_flow(void *v)
{
	flow_free(v);
}

void own_free(struct own *own)
{
	if (!own)
		return;
	hasher_free(own->hasher);
	signer_free(own->signer);
	guard_free(own->guard);
	loop_timer_free(own->tick);
	dict_free(own->serials);
	dict_free(own->by_login);
	free_all(own->by_id, free_row);
	free_all(own->flows, free_flow);
	free_all(own->codes, own_code_free);
	free_all(own->sessions, free);
	secret_done(&own->mark);
	free(own);
}
