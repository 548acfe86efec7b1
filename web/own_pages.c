/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "web/own_pages.h"

#include "base/mem.h"
#include "web/html.h"
#include "web/qr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char mark_name[] = "__Host-hub-known", session_name[] = "__Host-hub-session";

enum { MARK_SECONDS = 90 * 86400 };

static void begin_form(struct buf *b, const struct own_page *o, const char *action, bool aside)
{
	HTML_FILL(b, "<form method=\"post\" action=\"{base}/{action}\"", {"base", o->base},
		  {"action", action});
	/* data-refuse: not what this page is for */
	buf_add_str(b, aside ? " data-refuse>" : ">");
	HTML_FILL(b, "<input type=\"hidden\" name=\"token\" value=\"{token}\">\n",
		  {"token", o->token});
}

static void wrong(struct buf *b, const struct own_page *o)
{
	if (o->wrong)
		HTML_FILL(b, "<p class=\"warn\" role=\"alert\" id=\"wrong\">{wrong}</p>\n",
			  {"wrong", o->wrong});
}

static void whose(struct buf *b, const struct own_page *o)
{
	if (o->login)
		HTML_FILL(b, "<p>Account: <strong><bdi>{login}</bdi></strong></p>\n",
			  {"login", o->login});
}

/* The script reads what it needs from data- attributes, fills the fields and sends the form. */
static void passkey_form(struct buf *b, const struct own_page *o, const struct own_passkey *k,
			 bool create, bool aside)
{
	begin_form(b, o, create ? "new-passkey" : "passkey", aside);
	HTML_FILL(b,
		  "<span hidden id=\"passkey\" data-kind=\"{kind}\" data-challenge=\"{challenge}\" "
		  "data-rp=\"{rp}\"",
		  {"kind", create ? "create" : "get"}, {"challenge", k->challenge},
		  {"rp", k->rp_id});
	if (create) {
		HTML_FILL(b, " data-user=\"{user}\" data-login=\"{login}\" data-known=\"",
			  {"user", k->user_id}, {"login", k->user_name});
		for (size_t i = 0; k->known && k->known[i]; i++)
			HTML_FILL(b, "{id} ", {"id", k->known[i]});
		buf_add_char(b, '"');
	}
	buf_add_str(b, "></span>\n");
	if (create)
		buf_add_str(b, "<p><label>A name for it<br><input name=\"name\" maxlength=\"60\" "
			       "value=\"My passkey\">"
			       "</label></p>\n<input type=\"hidden\" name=\"attestation\">");
	else
		buf_add_str(
			b,
			"<input type=\"hidden\" name=\"id\"><input type=\"hidden\" name=\"data\">"
			"<input type=\"hidden\" name=\"signature\"><input type=\"hidden\" "
			"name=\"user\">");
	buf_add_str(b, "<input type=\"hidden\" name=\"client\">\n<button type=\"button\" "
		       "id=\"use-passkey\">");
	buf_add_str(b, create ? "Create a passkey" : "Use a passkey");
	buf_add_str(b, "</button><p class=\"warn\" role=\"alert\" id=\"passkey-wrong\" hidden></p>"
		       "<noscript><p>Passkeys need JavaScript.</p></noscript></form>\n");
}

void page_own_login(struct page *p, const struct own_page *o, const struct own_passkey *k,
		    bool passkey_only)
{
	struct buf *b = &p->body;

	page_begin(p, 200, "Log in");
	HTML_FILL(b, "<p>With your account at <bdi>{site}</bdi>.</p>\n", {"site", o->site});
	wrong(b, o);
	if (passkey_only) {
		buf_add_str(b, "<p>What you are about to do wants a passkey.</p>\n");
		if (k && k->challenge) {
			passkey_form(b, o, k, false, true);
			p->script = true;
		}
		page_end(p);
		return;
	}
	begin_form(b, o, "password", false);
	HTML_FILL(
		b,
		"<p><label>Login<br><input name=\"login\" autocomplete=\"username\" "
		"autocapitalize=\"none\""
		" spellcheck=\"false\" required maxlength=\"254\" value=\"{login}\"></label></p>\n",
		{"login", o->login});
	buf_add_str(b,
		    "<p><label>Password<br><input name=\"password\" type=\"password\""
		    " autocomplete=\"current-password\" required maxlength=\"256\"></label></p>\n"
		    "<button>Log in</button></form>\n");
	if (k && k->challenge) {
		buf_add_str(b, "<h2>Or without a password</h2>\n");
		passkey_form(b, o, k, false, true);
		p->script = true;
	}
	page_end(p);
}

void page_own_confirm(struct page *p, const struct own_page *o)
{
	struct buf *b = &p->body;

	page_begin(p, 200, "Log in");
	HTML_FILL(b, "<p>You are logged in at <bdi>{site}</bdi>.</p>\n", {"site", o->site});
	whose(b, o);
	begin_form(b, o, "continue", false);
	buf_add_str(b, "<button autofocus>Go on with this account</button></form>\n");
	begin_form(b, o, "other", true);
	buf_add_str(b, "<button>Use another account</button></form>\n");
	page_end(p);
}

void page_own_logout(struct page *p, const struct own_page *o, const char *back, const char *state)
{
	struct buf *b = &p->body;

	page_begin(p, 200, "Log out");
	HTML_FILL(b, "<p>This browser is logged in at <bdi>{site}</bdi>.</p>\n", {"site", o->site});
	whose(b, o);
	begin_form(b, o, "logout", false);
	if (back)
		HTML_FILL(b, "<input type=\"hidden\" name=\"post_logout_redirect_uri\" value=\"{back}\">",
			  {"back", back});
	if (state)
		HTML_FILL(b, "<input type=\"hidden\" name=\"state\" value=\"{state}\">", {"state", state});
	buf_add_str(b, "<button>Log out</button></form>\n");
	page_end(p);
}

void page_own_factor(struct page *p, const struct own_page *o, size_t recovery_left)
{
	struct buf *b = &p->body;

	page_begin(p, 200, "Your second factor");
	whose(b, o);
	wrong(b, o);
	begin_form(b, o, "otp", false);
	buf_add_str(b, "<p><label>The code that your authenticator app shows<br>"
		       "<input name=\"otp\" inputmode=\"numeric\" autocomplete=\"one-time-code\" "
		       "pattern=\"[0-9 ]*\""
		       " required maxlength=\"8\" autofocus></label></p>\n<button>Go "
		       "on</button></form>\n");
	if (recovery_left) {
		buf_add_str(b, "<details><summary>I do not have the app</summary>\n");
		begin_form(b, o, "recovery", true);
		buf_add_str(b, "<p><label>One of your recovery codes; each works once<br>"
			       "<input name=\"recovery\" autocomplete=\"off\" "
			       "autocapitalize=\"characters\""
			       " spellcheck=\"false\" required maxlength=\"40\"></label></p>\n"
			       "<button>Use it</button></form>\n</details>\n");
	}
	page_end(p);
}

void page_own_new_password(struct page *p, const struct own_page *o, const char *heading,
			   unsigned least, const struct own_passkey *k)
{
	struct buf *b = &p->body;
	char n[16];

	page_begin(p, 200, heading);
	HTML_FILL(b, "<p>At <bdi>{site}</bdi>.</p>\n", {"site", o->site});
	whose(b, o);
	wrong(b, o);
	snprintf(n, sizeof(n), "%u", least);
	begin_form(b, o, "new-password", false);
	/* So that a password manager knows whose it is. */
	HTML_FILL(b,
		  "<input name=\"username\" autocomplete=\"username\" hidden readonly value=\"{login}\">"
		  "<p><label>A new password, at least {n} characters<br><input name=\"password\" "
		  "type=\"password\""
		  " autocomplete=\"new-password\" required minlength=\"{n}\" "
		  "maxlength=\"256\"></label></p>\n"
		  "<p><label>Once more<br><input name=\"again\" type=\"password\" "
		  "autocomplete=\"new-password\""
		  " required maxlength=\"256\"></label></p>\n<button>Go on</button></form>\n",
		  {"login", o->login}, {"n", n});
	if (k && k->challenge) {
		buf_add_str(b, "<h2>Or a passkey instead</h2>\n<p>Then there is no password, and "
			       "no code to type.</p>\n");
		passkey_form(b, o, k, true, true);
		p->script = true;
	}
	page_end(p);
}

void page_own_new_otp(struct page *p, const struct own_page *o, const char *uri, const char *secret)
{
	struct buf *b = &p->body;

	page_begin(p, 200, "Your second factor");
	whose(b, o);
	wrong(b, o);
	buf_add_str(b, "<p>Scan this with an authenticator app, or type the key into it.</p>\n");
	qr_add(b, uri, "QR code with the key of your second factor");
	HTML_FILL(b, "<p class=\"code\" id=\"secret\">{secret}</p>\n", {"secret", secret});
	begin_form(b, o, "new-otp", false);
	buf_add_str(
		b,
		"<p><label>The code that it shows now<br><input name=\"otp\" inputmode=\"numeric\""
		" autocomplete=\"one-time-code\" pattern=\"[0-9 ]*\" required "
		"maxlength=\"8\"></label></p>\n"
		"<button>Go on</button></form>\n");
	page_end(p);
}

void page_own_codes(struct page *p, const struct own_page *o, const char *const *codes, size_t n,
		    const char *next, const char *next_text)
{
	struct buf *b = &p->body;

	page_begin(p, 200, "Your recovery codes");
	whose(b, o);
	buf_add_str(b, "<p><strong>Keep these where you will find them without your "
		       "phone.</strong> Each lets you"
		       " in once in place of the app's code. They are shown only now.</p>\n<ol "
		       "id=\"codes\">\n");
	for (size_t i = 0; i < n; i++)
		HTML_FILL(b, "<li><code>{code}</code></li>\n", {"code", codes[i]});
	buf_add_str(b, "</ol>\n");
	if (next)
		HTML_FILL(b, "<p><a href=\"{next}\">{text}</a></p>\n", {"next", next},
			  {"text", next_text});
	else
		buf_add_str(b, "<p role=\"status\">That is all. You may close this window, and log "
			       "in.</p>\n");
	page_end(p);
}

static void change_button(struct buf *b, const struct own_page *o, const char *action,
			  const char *text)
{
	begin_form(b, o, action, true);
	HTML_FILL(b, "<button>{text}</button></form>\n", {"text", text});
}

static const char *day(struct wall w, char out[WALL_TEXT_MAX])
{
	wall_text(w, out);
	out[10] = '\0'; /* "2026-01-02" */
	return out;
}

void page_own_manage(struct page *p, const struct own_page *o, const struct own_page_key *keys,
		     size_t n, size_t recovery_left, bool has_password)
{
	struct buf *b = &p->body;
	char created[WALL_TEXT_MAX], used[WALL_TEXT_MAX], left[32], id[32];

	page_begin(p, 200, "How you log in");
	whose(b, o);
	wrong(b, o);
	buf_add_str(b, "<h2>Password</h2>\n");
	change_button(b, o, "change-password",
		      has_password ? "Change the password" : "Set a password and an app");
	if (has_password)
		change_button(b, o, "change-otp", "Another authenticator app");
	buf_add_str(b, "<h2>Passkeys</h2>\n");
	if (n)
		buf_add_str(b, "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Name</th>"
			       "<th scope=\"col\">Since</th><th scope=\"col\">Last "
			       "used</th><td></td></tr></thead>"
			       "\n<tbody>\n");
	for (size_t i = 0; i < n; i++) {
		HTML_FILL(
			b,
			"<tr><th "
			"scope=\"row\"><bdi>{name}</bdi></th><td>{created}</td><td>{used}</td><td>",
			{"name", keys[i].name}, {"created", day(keys[i].created, created)},
			{"used", keys[i].used.sec ? day(keys[i].used, used) : "never"});
		snprintf(id, sizeof(id), "%llu", (unsigned long long)keys[i].id);
		begin_form(b, o, "remove-passkey", true);
		HTML_FILL(b,
			  "<input type=\"hidden\" name=\"id\" value=\"{id}\"><button "
			  "aria-label=\"Remove: {name}\">"
			  "Remove</button></form></td></tr>\n",
			  {"id", id}, {"name", keys[i].name});
	}
	buf_add_str(b, n ? "</tbody>\n</table></div>\n" : "<p>None.</p>\n");
	change_button(b, o, "add-passkey", "Add a passkey");
	snprintf(left, sizeof(left), "%zu", recovery_left);
	/* They stand in for the app's code, so only with a password. */
	if (has_password) {
		HTML_FILL(b, "<h2>Recovery codes</h2>\n<p>{left} left.</p>\n", {"left", left});
		change_button(b, o, "change-codes", "New recovery codes");
	}
	buf_add_str(b, "<h2>Done</h2>\n");
	change_button(b, o, "leave", "Leave this page for good");
	page_end(p);
}

void page_own_add_passkey(struct page *p, const struct own_page *o, const struct own_passkey *k)
{
	page_begin(p, 200, "A new passkey");
	whose(&p->body, o);
	wrong(&p->body, o);
	passkey_form(&p->body, o, k, true, false);
	p->script = true;
	page_end(p);
}

/* ---- the browser's mark ---- */

void page_set_mark(struct page *p, const char *mark)
{
	struct buf b;

	buf_init(&b, 256);
	buf_addf(&b, "%s=%s; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=%d", mark_name, mark,
		 MARK_SECONDS);
	if (p->cookie)
		mem_wipe(p->cookie, strlen(p->cookie));
	mem_free_ptr(&p->cookie);
	p->cookie = buf_take(&b);
}

static bool cookie_get(struct span header, const char *want, struct span *ret)
{
	struct span rest = header, pair, name;

	while (span_next(&rest, ';', &pair)) {
		struct span value = span_trim(pair);

		if (span_next(&value, '=', &name) && span_eq(name, span_str(want))) {
			*ret = value;
			return true;
		}
	}
	return false;
}

bool mark_get(struct span cookie_header, char *out, size_t size)
{
	struct span value;

	return cookie_get(cookie_header, mark_name, &value) && span_cstr(value, out, size);
}

/* ---- the browser's session ---- */

void page_own_session(struct page *p, const char *id)
{
	struct buf b;

	/* Lax, not Strict: services send people here from their own sites */
	buf_init(&b, 256);
	buf_addf(&b, "%s=%s; Path=/; Secure; HttpOnly; SameSite=Lax%s", session_name, id ? id : "",
		 id ? "" : "; Max-Age=0");
	if (p->session)
		mem_wipe(p->session, strlen(p->session));
	mem_free_ptr(&p->session);
	p->session = buf_take(&b);
}

bool own_session_get(struct span cookie_header, struct span *ret_id)
{
	return cookie_get(cookie_header, session_name, ret_id);
}
