/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/encode.h"
#include "base/mem.h"
#include "tests/unit/main.h"
#include "web/form.h"
#include "web/html.h"
#include "web/pages.h"
#include "web/portal.h"
#include "web/style.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define FFFD "\xef\xbf\xbd"

START_TEST(text_has_no_way_out)
{
	static const struct { const char *in, *out; size_t n; } rows[] = {
		{ "<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", 0 },
		{ "\" onload=\"x", "&quot; onload=&quot;x", 0 },
		{ "' onload='x", "&#39; onload=&#39;x", 0 },
		{ "a & b", "a &amp; b", 0 },
		{ "a\0b", "a" FFFD "b", 3 },
		{ "a\r\nb\x7f", "a" FFFD FFFD "b" FFFD, 0 },
		{ "\xe2\x80\xae" "gpj.exe", FFFD "gpj.exe", 0 },          /* right-to-left override */
		{ "a\xe2\x80\x8b" "b", "a" FFFD "b", 0 },                 /* zero width */
		{ "\xc0\xbcscript", FFFD FFFD "script", 0 },              /* overlong < */
		{ "\xed\xa0\x80", FFFD FFFD FFFD, 0 },                    /* a surrogate */
		{ "\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD, 0 },           /* beyond U+10FFFF */
		{ "\xe2\x80", FFFD FFFD, 0 },                             /* cut short */
		{ "\xff<", FFFD "&lt;", 0 },
		{ "J\xc3\xbcrgen \xe6\xbc\xa2 \xf0\x9f\x98\x80", "J\xc3\xbcrgen \xe6\xbc\xa2 \xf0\x9f\x98\x80", 0 },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		scoped_buf struct buf b = { 0 };

		buf_init(&b, 1024);
		buf_add_str(&b, "");
		html_add(&b, span_of(rows[i].in, rows[i].n ? rows[i].n : strlen(rows[i].in)));
		ck_assert_str_eq(b.ptr, rows[i].out);
	}
}
END_TEST

START_TEST(templates_fill_names_alone)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 1024);
	HTML_FILL(&b, "<a>{x}{y}{z}{x", { "x", "{y}<" }, { "y", NULL });
	ck_assert_str_eq(b.ptr, "<a>{y}&lt;{z}{x");
}
END_TEST

START_TEST(style_is_what_the_hash_says)
{
	unsigned char md[32];
	scoped_buf struct buf b = { 0 };

	ck_assert_int_eq(EVP_Digest(STYLE_TEXT, strlen(STYLE_TEXT), md, NULL, EVP_sha256(), NULL), 1);
	buf_init(&b, 64);
	base64_add(&b, span_of(md, sizeof(md)));
	ck_assert_str_eq(b.ptr, STYLE_SHA256);
}
END_TEST

static bool has(const struct page *p, const char *text)
{
	return memmem(p->body.ptr, p->body.len, text, strlen(text));
}

static bool has_header(const struct page *p, const char *name, const char *part)
{
	struct page_header h[PAGE_HEADERS_MAX];
	size_t n = page_headers(p, h);

	for (size_t i = 0; i < n; i++)
		if (strcmp(h[i].name, name) == 0 && strstr(h[i].value, part))
			return true;
	return false;
}

#define EVIL "<b>\"'>&{token}"
#define TAME "&lt;b&gt;&quot;&#39;&gt;&amp;{token}"

START_TEST(every_page_escapes)
{
	const struct page_device d = { EVIL, EVIL, EVIL, "ABCD-EFGH", true, false, { 1790000000 }, EVIL };
	const struct page_person who = { EVIL, EVIL, EVIL, true };
	const struct page_choice issuers[] = { { EVIL, EVIL }, { "uni", "University" } };

	for (int i = 0; i < 6; i++) {
		struct page p;

		page_init(&p);
		switch (i) {
		case 0: page_login(&p, &d, "/login/x/continue", issuers, 2, "TOKEN"); break;
		case 1: page_approve(&p, &d, &who, "/approve", "/refuse", "TOKEN"); break;
		case 2: page_message(&p, 200, EVIL, EVIL); break;
		case 3: page_done_device(&p, &d, &who); break;
		case 4: page_error(&p, 403, EVIL, EVIL, EVIL, EVIL); break;
		case 5: page_source(&p, EVIL, EVIL); break;
		}
		ck_assert_msg(!has(&p, "<b>") && !has(&p, EVIL), "page %d lets text out", i);
		ck_assert_msg(has(&p, TAME), "page %d does not show it", i);
		ck_assert(has(&p, "<html lang=\"en\">") && has(&p, "</html>") && has(&p, "/source"));
		ck_assert(has_header(&p, "Content-Security-Policy", "frame-ancestors 'none'"));
		ck_assert(has_header(&p, "Content-Security-Policy", "default-src 'none'"));
		ck_assert(has_header(&p, "Cache-Control", "no-store"));
		ck_assert(!has(&p, "<script"));
		if (i < 2)
			ck_assert(has(&p, "ABCD-EFGH") && has(&p, "This browser is not on that device"));
		page_done(&p);
	}
}
END_TEST

START_TEST(redirects_are_plain)
{
	static const char *const bad[] = { "", "https://x/\r\nSet-Cookie: a=b", "https://x/ y", "https://x/\xc3\xbc" };
	struct page p;

	page_init(&p);
	for (size_t i = 0; i < array_size(bad); i++) {
		ck_assert(!page_redirect(&p, bad[i]));
		ck_assert_int_eq(p.status, 500);
		ck_assert(!has_header(&p, "Location", ""));
	}
	ck_assert(page_redirect(&p, "http://127.0.0.1:4711/done?a=b"));
	ck_assert_int_eq(p.status, 303);
	ck_assert(has_header(&p, "Location", "http://127.0.0.1:4711/done?a=b"));
	page_done(&p);
}
END_TEST

START_TEST(forms_are_bound_to_the_browser)
{
	struct secret key = { 0 }, other = { 0 };
	char a[BROWSER_KEY_SIZE], b[BROWSER_KEY_SIZE], token[FORM_TOKEN_SIZE];

	secret_random(&key, 32);
	secret_random(&other, 32);
	browser_key_new(a);
	browser_key_new(b);
	form_token(&key, "approve:1", a, token);
	ck_assert(!form_token_ok(&key, "approve:1", b, span_str(token)));
	ck_assert(!form_token_ok(&key, "approve:2", a, span_str(token)));
	ck_assert(!form_token_ok(&other, "approve:1", a, span_str(token)));
	ck_assert(!form_token_ok(&key, "approve:1", a, span_str("")));
	ck_assert(!form_token_ok(&key, "approve:1", a, span_head(span_str(token), 42)));
	ck_assert(form_token_ok(&key, "approve:1", a, span_str(token)));
	secret_done(&key);
	secret_done(&other);
}
END_TEST

START_TEST(cookies_are_found)
{
	char key[BROWSER_KEY_SIZE], got[BROWSER_KEY_SIZE], line[512];
	struct page p;

	browser_key_new(key);
	ck_assert(!browser_key_get(span_str(""), got));
	ck_assert(!browser_key_get(SPAN("__Host-hub-login=short"), got));
	snprintf(line, sizeof(line), "reeve-login=%s", key);
	ck_assert(!browser_key_get(span_str(line), got));
	snprintf(line, sizeof(line), "__Host-hub-login=%s; __Host-hub-login=%s", key, key);
	ck_assert(!browser_key_get(span_str(line), got));
	snprintf(line, sizeof(line), "a=b; __Host-hub-login=%s; c", key);
	ck_assert(browser_key_get(span_str(line), got));
	ck_assert_str_eq(got, key);
	page_init(&p);
	page_set_browser_key(&p, key);
	ck_assert(has_header(&p, "Set-Cookie", "; Secure; HttpOnly; SameSite=Lax"));
	ck_assert(has_header(&p, "Set-Cookie", key));
	page_done(&p);
}
END_TEST

START_TEST(fields_are_read_once)
{
	static const struct { const char *body, *value; } rows[] = {
		{ "", NULL }, { "b=1", NULL }, { "a=1&a=2", NULL }, { "a=%", NULL }, { "a=%0", NULL },
		{ "a=%00", NULL }, { "a=123456789", NULL }, { "aa=1&b=a=1", NULL },
		{ "a", "" }, { "a=", "" }, { "a=12345678", "12345678" }, { "x=1&a=%41+b&y", "A b" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct buf v = { 0 };
		bool ok = form_field(span_str(rows[i].body), "a", 8, &v);

		ck_assert_msg(ok == (rows[i].value != NULL), "\"%s\"", rows[i].body);
		if (ok)
			ck_assert_str_eq(v.ptr, rows[i].value);
		buf_done(&v);
	}
}
END_TEST

/* ---- the portal, over a coordinator of one person ---- */

struct world {
	int         ended;
	char        user[32], id[64], to[64];
	bool        ok;
	int         status;
	struct buf  body;
};

static bool person(void *ctx, const char *user, void (*fn)(void *, const struct portal_person *), void *arg)
{
	static const char *const groups[] = { EVIL, "lab" };
	const struct portal_person who = { EVIL, "staff@example.edu", NULL, "https://idp.example.edu", groups, 2 };

	(void)ctx;
	(void)user;
	fn(arg, &who);
	return true;
}

static void devices(void *ctx, const char *user, void (*fn)(void *, const struct portal_device *), void *arg)
{
	const struct portal_device d = { EVIL, EVIL, EVIL, "100.64.0.3", "fd00::1", { 1790000000 }, false };

	(void)ctx;
	(void)user;
	fn(arg, &d);
}

static void sessions(void *ctx, const char *user, void (*fn)(void *, const struct portal_session *), void *arg)
{
	const struct portal_session s = { EVIL, EVIL, EVIL, { 1790000000 }, { 1790003600 }, true, true, EVIL, EVIL, true };

	(void)ctx;
	(void)user;
	fn(arg, &s);
}

static void end(void *ctx, const char *user, const char *id, portal_ended_fn *done, void *arg)
{
	struct world *w = ctx;
	struct err err = { 0 };

	w->ended++;
	snprintf(w->user, sizeof(w->user), "%s", user);
	snprintf(w->id, sizeof(w->id), "%s", id);
	err_set(&err, ERR_MISSING, "no");
	done(arg, w->ok, w->ok ? NULL : &err);
}

static bool provider_page(void *ctx, const char *user, const char *session, struct buf *ret_url)
{
	(void)ctx;
	(void)user;
	buf_add_str(ret_url, "https://idp.example.edu/bye");
	return strcmp(session, "s9") == 0;
}

static void reply(void *arg, struct page *page)
{
	struct world *w = arg;

	w->status = page->status;
	snprintf(w->to, sizeof(w->to), "%s", page->location ? page->location : "");
	buf_clear(&w->body);
	buf_add_span(&w->body, buf_span(&page->body));
	buf_add_str(&w->body, "");
}

START_TEST(the_portal_ends_what_its_own_form_says)
{
	static const struct portal_ops ops = { person, devices, sessions, end, provider_page, end };
	const struct portal_caller who = { "u2", "n7", "s9" }, other = { "u3", "n8", "s1" }, nobody = { 0 };
	struct world w = { .ok = true };
	struct portal *p = portal_new(&ops, &w);
	struct portal_request get = { .path = SPAN("/"), .now = { 1790003000 } };
	char body[512], token[FORM_TOKEN_SIZE];
	const char *at;

	buf_init(&w.body, PAGE_MAX);
	portal_handle(p, &nobody, &get, reply, &w);
	ck_assert_int_eq(w.status, 403);
	portal_handle(p, &who, &get, reply, &w);
	ck_assert_int_eq(w.status, 200);
	ck_assert(!strstr(w.body.ptr, "<b>") && strstr(w.body.ptr, TAME));
	at = strstr(w.body.ptr, "name=\"token\" value=\"");
	ck_assert_ptr_nonnull(at);
	memcpy(token, at + strlen("name=\"token\" value=\""), FORM_TOKEN_SIZE - 1);
	token[FORM_TOKEN_SIZE - 1] = 0;

	struct portal_request post = { .post = true, .path = SPAN("/session/end"), .now = { 1790000100 } };

	post.body = SPAN("id=s9");
	portal_handle(p, &who, &post, reply, &w);
	ck_assert_int_eq(w.status, 403);
	snprintf(body, sizeof(body), "id=s9&token=%s", token);
	post.body = span_str(body);
	portal_handle(p, &other, &post, reply, &w);
	ck_assert_int_eq(w.status, 403);
	ck_assert_int_eq(w.ended, 0);
	portal_handle(p, &who, &post, reply, &w);
	ck_assert_int_eq(w.status, 303);
	ck_assert_int_eq(w.ended, 1);
	ck_assert_str_eq(w.user, "u2");
	ck_assert_str_eq(w.id, "s9");
	ck_assert_str_eq(w.to, "/");
	post.path = SPAN("/session/logout");
	portal_handle(p, &other, &post, reply, &w);
	ck_assert(w.status == 403 && w.ended == 1);
	portal_handle(p, &who, &post, reply, &w);
	ck_assert(w.status == 303 && w.ended == 2);
	ck_assert_str_eq(w.to, "https://idp.example.edu/bye");
	w.ok = false;
	portal_handle(p, &who, &post, reply, &w);
	ck_assert_int_eq(w.status, 404);
	ck_assert_str_eq(w.to, "");
	post.path = SPAN("/other");
	portal_handle(p, &who, &post, reply, &w);
	ck_assert_int_eq(w.status, 404);
	buf_done(&w.body);
	portal_free(p);
}
END_TEST

UNIT_MAIN("web", text_has_no_way_out, templates_fill_names_alone, style_is_what_the_hash_says,
          every_page_escapes, redirects_are_plain, forms_are_bound_to_the_browser, cookies_are_found,
          fields_are_read_once, the_portal_ends_what_its_own_form_says)
