/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A browser stays logged in at our own provider: what that is, and when it
 * ends. It is kept in memory alone, by the hash of what its cookie holds, with the proof that
 * it began with (auth_time, amr): nothing that uses it makes that any younger. Whom it may vouch for without
 * being asked is own_op.c's to say; here is the page on which it is asked, and its logout.
 */
#include "daemon/coordinator/own.h"

#include "base/encode.h"
#include "base/mem.h"
#include "web/form.h"
#include "web/pages.h"

#include <stdlib.h>
#include <string.h>

static struct span key_of(const struct own_session *s)
{
	return span_of(s->hash, sizeof(s->hash));
}

static void drop(struct own *own, struct own_session *s)
{
	dict_remove(own->sessions, key_of(s));
	mem_wipe(s, sizeof(*s));
	free(s);
}

/* Whether the person may log in at all: the coordinator's word counts here, too. */
static bool is_blocked(const struct own *own, const struct account_row *a)
{
	const struct reg_user *u = registry_by_login(own->co->reg, span_str(a->login));

	return u && u->row->blocked;
}

static bool is_over(const struct own *own, const struct own_session *s)
{
	const struct conf_accounts *c = &own->co->conf->accounts;
	const struct account_row *a = own_find(own, s->account);
	struct boot now = loop_now(own->co->loop);

	return !a || a->disabled || is_blocked(own, a) ||
	       boot_passed(boot_add(s->made, c->session * SEC_NS), now) ||
	       boot_passed(boot_add(s->used, c->session_idle * SEC_NS), now);
}

struct own_session *own_session_of(struct own *own, const struct request *r)
{
	unsigned char hash[OPAQUE_HASH];
	struct span text;
	struct own_session *s;

	if (!r->cookie || !own_session_get(span_str(r->cookie), &text) || !opaque_hash(text, hash))
		return NULL;
	s = dict_find(own->sessions, span_of(hash, sizeof(hash)));
	if (s && is_over(own, s)) {
		drop(own, s);
		return NULL;
	}
	return s;
}

bool own_session_fits(const struct own *own, const struct own_session *s, int64_t max_age, bool phr_only)
{
	/* By either clock: one that was set back makes no proof younger. */
	int64_t wall = loop_wall(own->co->loop).sec - s->auth_time.sec,
		boot = (loop_now(own->co->loop).ns - s->made.ns) / SEC_NS;

	if (max_age >= 0 && (max_age == 0 || wall > max_age || boot > max_age))
		return false;
	return !phr_only || s->how == OWN_BY_PASSKEY;
}

/* The oldest of an account makes room for its next. */
static void make_room(struct own *own, uint64_t account)
{
	struct own_session *oldest = NULL;
	size_t pos = 0, n = 0;
	struct span key;
	void *v;

	while (dict_next(own->sessions, &pos, &key, &v)) {
		struct own_session *s = v;

		if (s->account != account)
			continue;
		n++;
		if (!oldest || boot_passed(s->used, oldest->used))
			oldest = s;
	}
	if (n >= OWN_SESSIONS_ACCOUNT)
		drop(own, oldest);
}

bool own_session_begin(struct own *own, const struct request *r, const struct own_session *proof,
		       char ret_cookie[OPAQUE_TEXT + 1])
{
	struct own_session *s = own_session_of(own, r);

	/* Whoever was logged in here before is not any more; and a login never adopts an id that was there. */
	if (s)
		drop(own, s);
	make_room(own, proof->account);
	if (!own->co->conf->accounts.session || dict_count(own->sessions) >= OWN_SESSIONS_MAX)
		return false;
	s = mem_alloc(sizeof(*s));
	*s = *proof;
	s->made = s->used = loop_now(own->co->loop);
	opaque_new(ret_cookie, s->hash);
	dict_put(own->sessions, key_of(s), s);
	return true;
}

void own_sessions_end(struct own *own, uint64_t account)
{
	size_t pos = 0;
	struct span key;
	void *v;

	while (dict_next(own->sessions, &pos, &key, &v)) {
		struct own_session *s = v;

		if (s->account == account)
			drop(own, s);
	}
}

void own_sessions_sweep(struct own *own)
{
	size_t pos = 0;
	struct span key;
	void *v;

	while (dict_next(own->sessions, &pos, &key, &v))
		if (is_over(own, v))
			drop(own, v);
}

/* ---- the page that asks ---- */

void own_confirm_show(struct own *own, struct request *r, struct own_flow *f)
{
	struct own_view v;
	struct page p;

	own_view(own, f, NULL, &v);
	page_init(&p);
	page_own_confirm(&p, &v.page);
	page_set_browser_key(&p, f->browser);
	own_show(r, &p);
}

void own_confirm_post(struct own *own, struct request *r, struct own_flow *f, struct span action)
{
	struct own_session *s = own_session_of(own, r);

	if (span_eq(action, SPAN("continue")) && s && mem_equal_ct(s->hash, f->session, sizeof(s->hash)) &&
	    s->account == f->account && own_session_fits(own, s, f->max_age, f->phr_only)) {
		own_op_known(own, r, f, s);
		return;
	}
	if (!span_eq(action, SPAN("continue")) && !span_eq(action, SPAN("other"))) {
		own_gone(own->co, r);
		return;
	}
	f->account = 0;
	own_flow_step(f, OWN_PASSWORD);
	own_login_show(own, r, f, NULL, 200, false);
}

/* ---- GET, POST /idp/logout: OpenID Connect RP-Initiated Logout 1.0 ---- */

static const char purpose[] = "own logout";

/* Where it may lead: our own page of a logout, and nowhere else (3). */
static bool may_return(const struct coordinator *co, const struct buf *uri)
{
	struct span s = buf_span(uri), base = span_str(co->conf->url);

	return span_starts(s, base) && span_eq(span_from(s, base.len), SPAN("/login/bye"));
}

static void leave(struct coordinator *co, struct request *r, struct span fields)
{
	scoped_buf struct buf uri = {0}, state = {0}, to = {0};
	struct page p;

	page_init(&p);
	buf_init(&to, 4096);
	if (form_field(fields, "post_logout_redirect_uri", 1024, &uri) && may_return(co, &uri)) {
		buf_add_span(&to, buf_span(&uri));
		if (form_field(fields, "state", OWN_PARAM_MAX, &state)) {
			buf_add_str(&to, "?state=");
			percent_add(&to, buf_span(&state));
		}
		page_redirect(&p, to.ptr);
	} else {
		page_message(&p, 200, "Logged out", "You are logged out here. You may close this window.");
	}
	page_own_session(&p, NULL);
	own_show(r, &p);
}

void api_own_logout_get(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	const struct own_session *s;
	char browser[BROWSER_KEY_SIZE], token[FORM_TOKEN_SIZE];
	scoped_buf struct buf uri = {0}, state = {0};
	struct page p;

	if (!own_ready(co, r))
		return;
	s = own_session_of(co->own, r);
	if (!s) {
		leave(co, r, r->query);
		return;
	}
	/* No ID token is looked at that would say who asks for this, so the person is asked (2). */
	if (!r->cookie || !browser_key_get(span_str(r->cookie), browser))
		browser_key_new(browser);
	form_token(&co->form_key, purpose, browser, token);
	bool back = form_field(r->query, "post_logout_redirect_uri", 1024, &uri) && may_return(co, &uri),
	     said = form_field(r->query, "state", OWN_PARAM_MAX, &state);
	const struct account_row *a = own_find(co->own, s->account);
	const struct own_page o = {.base = "/idp", .token = token, .login = a ? a->login : NULL,
				   .site = co->conf->accounts.title};
	page_init(&p);
	page_own_logout(&p, &o, back ? uri.ptr : NULL, said ? state.ptr : NULL);
	page_set_browser_key(&p, browser);
	own_show(r, &p);
}

void api_own_logout_post(void *ctx, struct request *r)
{
	struct coordinator *co = ctx;
	struct own_session *s;
	char browser[BROWSER_KEY_SIZE];
	scoped_buf struct buf token = {0};

	if (!own_ready(co, r))
		return;
	if (!r->cookie || !browser_key_get(span_str(r->cookie), browser) ||
	    !form_field(buf_span(&r->body), "token", 200, &token) ||
	    !form_token_ok(&co->form_key, purpose, browser, buf_span(&token))) {
		own_sorry(co, r, 403, "This form is not yours", "It was made for another browser, or by another page.");
		return;
	}
	s = own_session_of(co->own, r);
	if (s) {
		const struct own_flow here = {.from = r->from};

		own_audit(co->own, "account-logout", own_find(co->own, s->account), &here, "provider");
		drop(co->own, s);
	}
	leave(co, r, buf_span(&r->body));
}
