/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "web/pages.h"

#include "web/html.h"

static void row(struct buf *b, const char *what, const char *value)
{
	if (value && *value)
		HTML_FILL(b, "<dt>{what}</dt><dd><bdi>{value}</bdi></dd>\n", {"what", what},
			  {"value", value});
}

static void device_rows(struct buf *b, const struct page_device *d)
{
	char at[WALL_TEXT_MAX];

	buf_add_str(b, "<dl>\n");
	row(b, "Service", d->service);
	row(b, "Device", d->name);
	row(b, "System", d->os);
	row(b, "Asks from", d->from);
	if (d->asked.sec)
		row(b, "Asked at", wall_text(d->asked, at));
	buf_add_str(b, "</dl>\n");
}

static void code(struct buf *b, const struct page_device *d)
{
	if (!d->code)
		return;
	HTML_FILL(b,
		  "<p>The terminal that began this shows the same code. If it shows another one, "
		  "or if you "
		  "began nothing, close this page.</p>\n<p class=\"code\" id=\"code\">{code}</p>\n",
		  {"code", d->code});
}

static void cross_device(struct buf *b, const struct page_device *d)
{
	if (d->cross_device)
		buf_add_str(b, "<p class=\"warn\"><strong>This browser is not on that "
			       "device.</strong> Whoever sent "
			       "you here will act in your name on it. Go on only if you began this "
			       "yourself, just "
			       "now.</p>\n");
}

static void begin_form(struct buf *b, const char *action, const char *token, bool refuses)
{
	HTML_FILL(b, "<form method=\"post\" action=\"{action}\"", { "action", action });
	buf_add_str(b, refuses ? " data-refuse>" : ">");
	HTML_FILL(b, "<input type=\"hidden\" name=\"token\" value=\"{token}\">", {"token", token});
}

void page_login(struct page *p, const struct page_device *d, const char *action,
                const struct page_choice *issuers, size_t n_issuers, const char *token)
{
	struct buf *b = &p->body;

	page_begin(p, 200,
		   d->service ? "Log in to a service"
		   : d->renew ? "Log in on this device" : "A device wants to join in your name");
	device_rows(b, d);
	code(b, d);
	cross_device(b, d);
	if (n_issuers > 1)
		buf_add_str(b, "<h2>Where do you have your account?</h2>\n");
	for (size_t i = 0; i < n_issuers; i++) {
		begin_form(b, action, token, false);
		HTML_FILL(b,
		          "<input type=\"hidden\" name=\"issuer\" value=\"{value}\">"
		          "<button>Continue at <bdi>{title}</bdi></button></form>\n",
		          { "value", issuers[i].value }, { "title", issuers[i].title });
	}
	if (n_issuers > 1) {
		begin_form(b, action, token, false);
		buf_add_str(b, "<label>Or by your e-mail address: <input name=\"account\" type=\"email\""
			       " maxlength=\"254\" autocomplete=\"username\"></label>"
			       "<button>Continue</button></form>\n");
	}
	page_end(p);
}

void page_approve(struct page *p, const struct page_device *d, const struct page_person *who,
                  const char *approve_action, const char *refuse_action, const char *token)
{
	struct buf *b = &p->body;

	page_begin(p, 200,
		   d->renew ? "Use this login on the device?"
			    : "Let this device act in your name?");
	buf_add_str(b, "<dl>\n");
	row(b, "You are", who->name);
	row(b, "Login", who->login);
	row(b, "Account at", who->issuer);
	row(b, "Second factor", who->mfa ? "yes" : "no");
	buf_add_str(b, "</dl>\n");
	device_rows(b, d);
	code(b, d);
	cross_device(b, d);
	begin_form(b, approve_action, token, false);
	buf_add_str(b, d->renew ? "<button>Yes, log in</button></form>\n" :
	                          "<button>Yes, this is my device</button></form>\n");
	begin_form(b, refuse_action, token, true);
	buf_add_str(b, "<button>No, refuse it</button></form>\n");
	page_end(p);
}

void page_message(struct page *p, int status, const char *title, const char *words)
{
	page_begin(p, status, title);
	if (words)
		HTML_FILL(&p->body, "<p role=\"status\">{words}</p>\n", { "words", words });
	page_end(p);
}

void page_done_device(struct page *p, const struct page_device *d, const struct page_person *who)
{
	page_begin(p, 200, d->renew ? "You are logged in" : "The device has joined");
	buf_add_str(&p->body, "<dl>\n");
	row(&p->body, "Device", d->name);
	row(&p->body, "Acts for", who->login);
	buf_add_str(&p->body,
		    "</dl>\n<p role=\"status\">You may close this window and go back to the "
		    "terminal.</p>\n");
	page_end(p);
}

void page_error(struct page *p, int status, const char *title, const char *words,
                const char *id, const char *retry)
{
	page_begin(p, status, title);
	if (words)
		HTML_FILL(&p->body, "<p role=\"alert\" id=\"error\">{words}</p>\n",
			  {"words", words});
	if (retry)
		HTML_FILL(&p->body, "<p><a href=\"{retry}\">Begin again</a></p>\n",
			  {"retry", retry});
	if (id)
		HTML_FILL(&p->body,
			  "<p><small>For your administrator: <code>{id}</code></small></p>\n",
			  {"id", id});
	page_end(p);
}
