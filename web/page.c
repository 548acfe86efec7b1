/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "web/page.h"

#include "base/mem.h"
#include "web/html.h"
#include "web/style.h"

#include <stdlib.h>
#include <string.h>

/* Nothing but our style, by its hash, and forms that go to us. form-action also
 * covers where a form's answer redirects to: the identity provider, a device's loopback. */
#define POLICY                                                                         \
	"style-src 'sha256-" STYLE_SHA256 "'; img-src 'none'; "                        \
	"form-action 'self' https: http://127.0.0.1:*; frame-ancestors 'none'; base-uri 'none'"
static const char policy[] = "default-src 'none'; " POLICY,
		  policy_with_script[] = "default-src 'none'; script-src 'self'; " POLICY;

void page_init(struct page *p)
{
	*p = (struct page){ .status = 500 };
	buf_init(&p->body, PAGE_MAX);
}

void page_done(struct page *p)
{
	if (!p)
		return;
	buf_wipe_done(&p->body);
	free(p->location);
	if (p->cookie)
		mem_wipe(p->cookie, strlen(p->cookie));
	free(p->cookie);
	if (p->session)
		mem_wipe(p->session, strlen(p->session));
	free(p->session);
	*p = (struct page){ 0 };
}

size_t page_headers(const struct page *p, struct page_header ret_headers[PAGE_HEADERS_MAX])
{
	static const struct page_header always[] = {
		{"Content-Type", "text/html; charset=utf-8"},
		{"Content-Security-Policy", policy},
		{"Cache-Control", "no-store"},
		{"Referrer-Policy", "same-origin"}, /* "no-referrer" would blank a form's Origin */
		{"X-Content-Type-Options", "nosniff"},
		{"X-Frame-Options", "DENY"},
		{"Cross-Origin-Opener-Policy", "same-origin"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
	};
	size_t n = array_size(always);

	memcpy(ret_headers, always, sizeof(always));
	if (p->script)
		ret_headers[1].value = policy_with_script;
	if (p->location)
		ret_headers[n++] = (struct page_header){ "Location", p->location };
	if (p->cookie)
		ret_headers[n++] = (struct page_header){ "Set-Cookie", p->cookie };
	if (p->session)
		ret_headers[n++] = (struct page_header){ "Set-Cookie", p->session };
	return n;
}

void page_begin(struct page *p, int status, const char *title)
{
	p->status = status;
	buf_clear(&p->body);
	HTML_FILL(&p->body,
	          "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	          "<meta name=\"robots\" content=\"noindex\">\n<title>{title} - Reeve</title>\n",
	          { "title", title });
	/* the style has braces of its own, and its bytes are what the hash covers */
	buf_add_str(&p->body, "<style>" STYLE_TEXT "</style>\n</head>\n<body>\n<main>\n");
	HTML_FILL(&p->body, "<h1 id=\"title\">{title}</h1>\n", { "title", title });
}

void page_end(struct page *p)
{
	if (p->script)
		buf_add_str(&p->body, "<script src=\"/idp/passkey.js\" defer></script>\n");
	buf_add_str(&p->body,
	            "</main>\n<footer>Reeve is free software under the GNU AGPL: "
	            "<a href=\"/source\">source</a></footer>\n</body>\n</html>\n");
	if (!p->body.over)
		return;
	/* a page that was cut in the middle says less than it seems to */
	buf_clear(&p->body);
	p->body.over = false;
	p->status = 500;
	buf_add_str(&p->body, "<!DOCTYPE html>\n<html lang=\"en\"><title>Reeve</title>"
	                      "<h1>This page is too long to be shown</h1></html>\n");
}

static bool is_url(const char *url)
{
	for (const char *c = url; *c; c++)
		if (*c <= ' ' || *c > '~')
			return false;
	return *url;
}

bool page_redirect(struct page *p, const char *url)
{
	free(take(p->location));
	if (!is_url(url)) {
		page_begin(p, 500, "This page cannot be shown");
		page_end(p);
		return false;
	}
	p->status = 303;
	buf_clear(&p->body);
	p->location = mem_strdup(url);
	return true;
}

void page_source(struct page *p, const char *version, const char *url)
{
	page_begin(p, 200, "Source");
	buf_add_str(&p->body,
		    "<p>Reeve is free software: you may use, study, share and change it under the "
		    "GNU Affero General Public License, version 3 or later.</p>\n");
	HTML_FILL(&p->body, "<p>This is version {version}.", { "version", version });
	if (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0)
		HTML_FILL(&p->body,
			  " The source of what runs here: <a href=\"{url}\">{url}</a></p>\n",
			  {"url", url});
	else if (*url)
		HTML_FILL(&p->body, " The source of what runs here: {url}</p>\n", { "url", url });
	else
		buf_add_str(&p->body,
			    " It runs here as it was released; its source is the release of that "
			    "version, which whoever runs this server has and gives you.</p>\n");
	page_end(p);
}
