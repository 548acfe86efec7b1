/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "web/portal.h"

#include "base/mem.h"
#include "web/form.h"
#include "web/html.h"
#include "web/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_MAX = 64, URL_MAX = 4096 };

struct portal {
	const struct portal_ops *ops;
	void                    *ctx;
	struct secret            key;   /* of forms; a new process has a new one */
};

struct portal *portal_new(const struct portal_ops *ops, void *ctx)
{
	struct portal *p = mem_alloc(sizeof(*p));

	p->ops = ops;
	p->ctx = ctx;
	secret_random(&p->key, 32);
	return p;
}

void portal_free(struct portal *p)
{
	if (!p)
		return;
	secret_done(&p->key);
	free(p);
}

/* One page under construction. */
struct draft {
	const struct portal         *portal;
	struct page                 *page;
	const struct portal_caller  *who;
	const struct portal_request *req;
	char                         token[FORM_TOKEN_SIZE];
	size_t                       rows;
};

static void row(struct buf *b, const char *what, const char *value)
{
	if (value && *value)
		HTML_FILL(b, "<dt>{what}</dt><dd><bdi>{value}</bdi></dd>\n", {"what", what},
			  {"value", value});
}

static void add_person(void *arg, const struct portal_person *who)
{
	struct draft *d = arg;
	struct buf *b = &d->page->body;

	d->rows++;
	buf_add_str(b, "<dl>\n");
	row(b, "Name", who->name);
	row(b, "Login", who->login);
	row(b, "E-mail", who->email);
	row(b, "Account at", who->issuer);
	if (who->n_groups) {
		buf_add_str(b, "<dt>Groups</dt><dd>");
		for (size_t i = 0; i < who->n_groups; i++) {
			buf_add_str(b, i ? ", <bdi>" : "<bdi>");
			html_add(b, span_str(who->groups[i]));
			buf_add_str(b, "</bdi>");
		}
		buf_add_str(b, "</dd>\n");
	}
	buf_add_str(b, "</dl>\n");
}

static void button(struct draft *d, const char *action, const char *id, const char *text,
		   const char *what)
{
	HTML_FILL(&d->page->body,
	          "<form method=\"post\" action=\"{action}\" data-refuse>"
	          "<input type=\"hidden\" name=\"token\" value=\"{token}\">"
	          "<input type=\"hidden\" name=\"id\" value=\"{id}\">"
	          "<button aria-label=\"{text}: {what}\">{text}</button></form>",
	          { "action", action }, { "token", d->token }, { "id", id }, { "text", text },
	          { "what", what });
}

/* "2026-01-02 03:04 UTC" */
enum { WHEN_MAX = 32 };
static const char *when(struct wall w, char out[WHEN_MAX])
{
	char text[WALL_TEXT_MAX];

	wall_text(w, text);
	if (strlen(text) == sizeof("2026-01-02T03:04:05Z") - 1)
		snprintf(out, WHEN_MAX, "%.10s %.5s UTC", text, text + 11);
	else
		snprintf(out, WHEN_MAX, "far away");    /* a year of five digits */
	return out;
}

static void add_device(void *arg, const struct portal_device *dev)
{
	struct draft *d = arg;
	struct buf *b = &d->page->body;
	char seen[WHEN_MAX];

	if (!d->rows++)
		buf_add_str(b,
			    "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Device</th>"
			    "<th scope=\"col\">System</th><th scope=\"col\">Address</th>"
			    "<th scope=\"col\">Last seen</th><td></td></tr></thead>\n<tbody>\n");
	HTML_FILL(
		b,
		"<tr><th scope=\"row\"><bdi>{name}</bdi>{here}</th><td><bdi>{os}</bdi></td>"
		"<td>{v4}<br><small>{v6}</small></td><td>{seen}</td><td>",
		{"name", dev->name}, {"os", dev->os}, {"v4", dev->v4}, {"v6", dev->v6},
		{"here", d->who->node && strcmp(d->who->node, dev->id) == 0 ? " (this one)" : NULL},
		{"seen", dev->online     ? "now"
			 : dev->seen.sec ? when(dev->seen, seen)
					 : "never"});
	button(d, "/device/remove", dev->id, "Remove", dev->name);
	buf_add_str(b, "</td></tr>\n");
}

static bool provider_page(const struct draft *d, const char *session)
{
	const struct portal *p = d->portal;
	struct buf           url;

	if (!p->ops->logout_url)
		return false;
	buf_init(&url, URL_MAX);
	bool ok = p->ops->logout_url(p->ctx, d->who->user, session, &url);
	buf_done(&url);
	return ok;
}

static void add_session(void *arg, const struct portal_session *s)
{
	struct draft *d = arg;
	struct buf *b = &d->page->body;
	char since[WHEN_MAX], until[WHEN_MAX], age[DURATION_TEXT_MAX];
	int64_t sec = d->req->now.sec > s->auth_time.sec ? d->req->now.sec - s->auth_time.sec : 0;

	if (!d->rows++)
		buf_add_str(
			b, "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">On</th>"
			   "<th scope=\"col\">Logged in</th><th scope=\"col\">Until</th>"
			   "<th scope=\"col\">Second factor</th><td></td></tr></thead>\n<tbody>\n");
	HTML_FILL(b,
		  "<tr><th scope=\"row\"><bdi>{device}</bdi>{here}</th>"
		  "<td>{since}<br><small>{age} ago, from {from}{cross}</small></td><td>{until}</td>"
		  "<td>{mfa}</td><td>",
		  {"device", s->device},
		  {"here",
		   d->who->session && strcmp(d->who->session, s->id) == 0 ? " (this one)" : NULL},
		  {"since", s->auth_time.sec ? when(s->auth_time, since) : "unknown"},
		  {"age", duration_text(sec - sec % 60, age)}, {"from", s->from},
		  {"cross", s->cross_device ? ", approved on another device" : NULL},
		  {"until", when(s->expires, until)}, {"mfa", s->mfa ? "yes" : "no"});
	button(d, "/session/end", s->id, "End", s->device);
	if (provider_page(d, s->id))
		button(d, "/session/logout", s->id, "End, and log out at the provider", s->device);
	buf_add_str(b, "</td></tr>\n");
}

enum { SOON_SEC = 1800 };

/* A browser's, which has no other place to be told in: a service's own pages are its application's. */
static void add_browser_ending(struct draft *d, const struct portal_session *s, int64_t sec)
{
	struct buf *b = &d->page->body;
	char left[DURATION_TEXT_MAX];

	if (sec <= 0 || sec > SOON_SEC)
		return;
	HTML_FILL(b,
		  "<p role=\"status\"><strong>Your login at {service} in a browser ends in {left}"
		  "{kept}.</strong>",
		  { "service", s->service }, { "left", duration_text(sec > 60 ? sec - sec % 60 : sec, left) },
		  { "kept", s->kept ? ", and could not be renewed without you" : NULL });
	if (*s->origin)
		HTML_FILL(b, " <a href=\"{origin}/.well-known/reeve/login\">Log in there again</a>, in that browser.",
			  { "origin", s->origin });
	buf_add_str(b, "</p>\n");
}

/* Told ahead, where the person is: this device's own login, and those in browsers. */
static void add_ending(void *arg, const struct portal_session *s)
{
	struct draft *d = arg;
	char left[DURATION_TEXT_MAX];
	int64_t sec = s->expires.sec - d->req->now.sec;

	if (s->service)
		add_browser_ending(d, s, sec);
	if (!d->who->session || strcmp(d->who->session, s->id) != 0 || sec <= 0 || sec > SOON_SEC)
		return;
	HTML_FILL(&d->page->body,
		  "<p role=\"status\"><strong>Your login on this device ends in {left}.</strong> Renew it "
		  "with <code>reeve login</code>: what is open stays open.</p>\n",
		  { "left", duration_text(sec > 60 ? sec - sec % 60 : sec, left) });
}

static void close_table(struct draft *d, const char *none)
{
	if (d->rows)
		buf_add_str(&d->page->body, "</tbody>\n</table></div>\n");
	else
		HTML_FILL(&d->page->body, "<p>{none}</p>\n", { "none", none });
	d->rows = 0;
}

/* Forms count for the person and the device that asked for the page. */
static void token_of(const struct portal *p, const struct portal_caller *who,
		     char ret[FORM_TOKEN_SIZE])
{
	form_token(&p->key, who->user, who->node ? who->node : "", ret);
}

static void show(struct portal *p, const struct portal_caller *who,
		 const struct portal_request *req, struct page *page)
{
	struct draft d = { .portal = p, .page = page, .who = who, .req = req };

	token_of(p, who, d.token);
	page_begin(page, 200, "Your account");
	p->ops->each_session(p->ctx, who->user, add_ending, &d);
	p->ops->person(p->ctx, who->user, add_person, &d);
	d.rows = 0;
	buf_add_str(&page->body, "<h2>Devices</h2>\n");
	p->ops->each_device(p->ctx, who->user, add_device, &d);
	close_table(&d, "You have no devices.");
	buf_add_str(&page->body, "<h2>Sessions</h2>\n");
	p->ops->each_session(p->ctx, who->user, add_session, &d);
	close_table(&d, "You are logged in nowhere.");
	page_end(page);
}

static void answer(struct page *page, portal_reply_fn *reply, void *arg)
{
	reply(arg, page);
	page_done(page);
}

static void answer_error(int status, const char *title, const char *words, portal_reply_fn *reply,
			 void *arg)
{
	struct page page;

	page_init(&page);
	page_error(&page, status, title, words, NULL, NULL);
	answer(&page, reply, arg);
}

/* A change that is on its way to the disk. */
struct pending {
	portal_reply_fn *reply;
	void            *arg;
	char            *to;            /* where the browser goes then; NULL: back to the portal */
};

static void on_ended(void *arg, bool ok, const struct err *err)
{
	struct pending *w = arg;
	struct page page;

	page_init(&page);
	if (ok)
		page_redirect(&page, w->to ? w->to : "/");
	else
		page_error(&page, err && err->code == ERR_MISSING ? 404 : 500, "That did not work",
			   err && err->code == ERR_MISSING
				   ? "There is no such thing of yours."
				   : "It could not be written down. Nothing has changed.",
			   NULL, "/");
	answer(&page, w->reply, w->arg);
	free(w->to);
	free(w);
}

static void change(struct portal *p, const struct portal_caller *who,
		   const struct portal_request *req, portal_reply_fn *reply, void *arg)
{
	struct buf id = { 0 }, token = { 0 };
	char want_by[FORM_TOKEN_SIZE];
	bool session = span_eq(req->path, SPAN("/session/end"));
	bool provider = span_eq(req->path, SPAN("/session/logout"));
	bool device = span_eq(req->path, SPAN("/device/remove"));

	token_of(p, who, want_by);
	session |= provider;
	if (!session && !device) {
		answer_error(404, "There is nothing here", NULL, reply, arg);
	} else if (req->body.len > PORTAL_BODY_MAX ||
		   !form_field(req->body, "token", FORM_TOKEN_SIZE, &token) ||
		   token.len != FORM_TOKEN_SIZE - 1 ||
		   !mem_equal_ct(token.ptr, want_by, token.len)) {
		answer_error(403, "This form is not from here",
			     "It is too old, or another page made it. Open your account again.",
			     reply, arg);
	} else if (!form_field(req->body, "id", ID_MAX, &id) || id.len == 0) {
		answer_error(400, "Nothing was chosen", NULL, reply, arg);
	} else {
		struct pending *w = mem_alloc(sizeof(*w));

		struct buf url;

		w->reply = reply;
		w->arg = arg;
		buf_init(&url, URL_MAX);
		/* Asked for before the session has ended: then there is none to ask about. */
		if (provider && p->ops->logout_url &&
		    p->ops->logout_url(p->ctx, who->user, id.ptr, &url))
			w->to = buf_take(&url);
		buf_done(&url);
		if (session)
			p->ops->end_session(p->ctx, who->user, id.ptr, on_ended, w);
		else
			p->ops->remove_device(p->ctx, who->user, id.ptr, on_ended, w);
	}
	buf_done(&id);
	buf_wipe_done(&token);
}

void portal_handle(struct portal *p, const struct portal_caller *who,
                   const struct portal_request *req, portal_reply_fn *reply, void *arg)
{
	struct page page;

	if (!who->user) {
		answer_error(403, "Nobody is logged in here", "This device has no valid login.",
			     reply, arg);
		return;
	}
	if (req->post) {
		change(p, who, req, reply, arg);
		return;
	}
	if (!span_eq(req->path, SPAN("/"))) {
		answer_error(404, "There is nothing here", NULL, reply, arg);
		return;
	}
	page_init(&page);
	show(p, who, req, &page);
	answer(&page, reply, arg);
}
