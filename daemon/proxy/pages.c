/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What people and programs are told when a request goes no further: what
 * happened, who the mesh thinks they are, what to do. HTML for browsers,
 * problem details (RFC 9457) for everybody else.
 */
#include "daemon/proxy/engine.h"

#include "base/encode.h"
#include "base/mem.h"
#include "daemon/proxy/page_template.h"

#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

enum todo { TODO_NONE = 0, TODO_LOGIN, TODO_ASK, TODO_LATER, TODO_OWNER };

struct page {
	const char *word, *title, *what;
	enum todo   todo;
};

static const struct page pages[] = {
	{ "no-session", "Please log in", "Nobody is logged in on this device, so its owner is not known here.", TODO_LOGIN },
	{ "session-expired", "Please log in again", "The login on this device has ended.", TODO_LOGIN },
	{ "session-revoked", "Access was withdrawn", "The login on this device was revoked.", TODO_LOGIN },
	{ "logged-out", "Please log in", "This device was logged out.", TODO_LOGIN },
	{ "no-evidence", "Please log in again", "This host checks logins itself, and could not check the one on this device.", TODO_LOGIN },
	{ "address-conflict", "This address is disputed", "Two devices claim the address that you call from, so neither is believed.", TODO_ASK },
	{ "unknown-address", "This device is not known", "The address that you call from belongs to no device of the mesh.", TODO_ASK },
	{ "lease-ended", "Out of touch for too long", "This host has not heard from its coordinator for so long that it may not decide any more.", TODO_LATER },
	{ "stale", "Out of touch for too long", "This host has not heard from its coordinator for longer than the rule for this page allows.", TODO_LATER },
	{ "login-too-old", "Please log in again", "Your login is older than this page allows.", TODO_LOGIN },
	{ "login-too-weak", "Please log in with a second factor", "This page asks for a stronger login than yours.", TODO_LOGIN },
	{ "cross-site", "A request from another site", "A page of another site made your browser send this request. It was not passed on.", TODO_OWNER },
	{ "wrong-host", "Not here", "No service of this host answers to that name.", TODO_OWNER },
	{ "forward-peer", "Not to be answered", "What asks for a web server here may not ask: it is another user's, or does not know the secret.", TODO_OWNER },
	{ "forward-question", "Not understood", "The web server does not say who calls and what is wanted, as its style of asking needs.", TODO_OWNER },
	{ "again", "Once more", "What was refused a moment ago is allowed now.", TODO_LATER },
	{ "forged-identity", "An identity of its own", "The request says by itself who is calling, in a header that only this host may write.", TODO_OWNER },
	{ "no-grant", "No access", "No rule lets anybody reach this.", TODO_ASK },
	{ "not-granted", "No access", "No rule lets you reach this service.", TODO_ASK },
	{ "protocol", "No access", "No rule lets you reach this service this way.", TODO_ASK },
	{ "port", "No access", "No rule lets you reach this port.", TODO_ASK },
	{ "host", "No access", "A rule lets you reach this service, but not under this name.", TODO_ASK },
	{ "path", "No access", "A rule lets you reach this service, but not this page.", TODO_ASK },
	{ "method", "No access", "A rule lets you read this page, but not do this.", TODO_ASK },
	{ "owner", "No access", "The mesh would let you in; the owner of this host does not.", TODO_ASK },
	{ "bad-request", "The request was not understood", "The request breaks a rule of HTTP, or can be read in two ways. It was not passed on.", TODO_OWNER },
	{ "body-too-large", "Too large", "What was sent is larger than this service takes.", TODO_OWNER },
	{ "body-timeout", "Too slow", "The rest of the request did not come in time.", TODO_LATER },
	{ "too-many-requests", "Too many at once", "You have too many requests open at this service.", TODO_LATER },
	{ "service-busy", "Busy", "This service has too many requests open.", TODO_LATER },
	{ "upstream-busy", "Busy", "Too many requests wait for the application.", TODO_LATER },
	{ "upstream-connect", "The application does not answer", "You are allowed in, but the application behind this page cannot be reached.", TODO_LATER },
	{ "upstream-silent", "The application does not answer", "You are allowed in, but the application behind this page did not answer in time.", TODO_LATER },
	{ "upstream-failed", "The application failed", "You are allowed in, but the application behind this page gave no proper answer.", TODO_LATER },
	{ "upstream-down", "The application is not well", "You are allowed in, but the application behind this page says that it is not well.", TODO_LATER },
	{ "no-upstream", "The application is not there", "You are allowed in, but no application is configured behind this page.", TODO_OWNER },
	{ "identity-unspeakable", "Your identity cannot be passed on", "You are allowed in, but the application cannot be told who you are.", TODO_ASK },
	{ "no-assertion", "Your identity cannot be passed on", "You are allowed in, but this host cannot sign who you are at the moment.", TODO_LATER },
	{ "login-not-yours", "Please log in again", "This login was begun in another browser, was used before, or took too long.", TODO_LOGIN },
	{ "login-busy", "Busy", "Too many people log in at once.", TODO_LATER },
	{ "logout", "Log out?", "This ends your login here, in this browser.", TODO_NONE },
	{ "bye", "You are logged out", "This browser is not logged in here any more.", TODO_NONE },
	{ "not-ready", "Not ready yet", "This host has just started, and does not know anybody yet.", TODO_LATER },
};
static const struct page other = { "denied", "No access", "This was refused.", TODO_ASK };

static const char *const todos[] = {
	[TODO_NONE] = "",
	[TODO_LOGIN] = "Log in, and come back to this page.",
	[TODO_ASK] = "If you should have access, ask those who look after it.",
	[TODO_LATER] = "Try again in a moment. If it stays like this, tell those who look after it.",
	[TODO_OWNER] = "If you followed a link, tell those who made it.",
};

static const struct page *find(const char *word)
{
	for (size_t i = 0; i < array_size(pages); i++) {
		if (strcmp(pages[i].word, word) == 0)
			return &pages[i];
	}
	return &other;
}

const char *status_reason(unsigned status)
{
	switch (status) {
	case 200: return "OK";
	case 303: return "See Other";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 403: return "Forbidden";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 417: return "Expectation Failed";
	case 421: return "Misdirected Request";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	default:  return "Error";
	}
}

static void add_html(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		switch (s.ptr[i]) {
		case '<': buf_add_str(b, "&lt;"); break;
		case '>': buf_add_str(b, "&gt;"); break;
		case '&': buf_add_str(b, "&amp;"); break;
		case '"': buf_add_str(b, "&quot;"); break;
		case '\'': buf_add_str(b, "&#39;"); break;
		default: buf_add_char(b, s.ptr[i]); break;
		}
	}
}

/* Everything that a page may say. */
struct facts {
	const struct page    *page;
	const char           *detail;
	struct snapshot_words words;
	struct span           service, login, name, node, rid;
	struct buf            login_url, rule, command;
	struct tables_auth    auth;             /* of the rule, where it asks for another login */
	unsigned              status;
};

static bool is_step_up(const struct page *p)
{
	return strncmp(p->word, "login-too", 9) == 0;
}

/* How old the new login may be; -1: of any age. A second factor without an acr is what a login
 * from the beginning asks for. */
static int64_t step_up_age(const struct tables_auth *a)
{
	return (a->mfa || a->amr.len) && !a->acr.len ? 0 : a->max_age ? a->max_age : -1;
}

/* One word of a shell's line. */
static void add_word(struct buf *b, struct span s)
{
	buf_add_char(b, '\'');
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '\'')
			buf_add_str(b, "'\\''");
		else
			buf_add_char(b, s.ptr[i]);
	}
	buf_add_char(b, '\'');
}

/* What somebody with a device of the mesh does: the login that the rule asks for, and no more. */
static void login_command(const struct exchange *ex, struct facts *k)
{
	int64_t age = step_up_age(&k->auth);

	if (k->page->todo != TODO_LOGIN || !k->node.len || (ex->svc && (ex->svc->flags & SERVICE_BROWSER)))
		return;
	buf_add_str(&k->command, "reeve login");
	if (!is_step_up(k->page))
		return;
	if (age >= 0)
		buf_addf(&k->command, " --max-age %lld", (long long)age);
	if (k->auth.acr.len) {
		buf_add_str(&k->command, " --acr ");
		add_word(&k->command, k->auth.acr);
	}
}

static void login_link(struct exchange *ex, struct facts *k)
{
	struct span url = ex->svc ? snapshot_text(ex->snap, ex->svc->login_url) : (struct span){ 0 };
	uint16_t port = ex->conn->front->target.port;
	struct buf back;

	if (ex->svc && (ex->svc->flags & SERVICE_BROWSER)) {
		if (k->page->todo == TODO_LOGIN)
			browser_login_path(ex, is_step_up(k->page) ? &k->auth : NULL, &k->login_url);
		return;
	}
	if (!url.len)
		url = k->words.login_url;
	if (k->page->todo != TODO_LOGIN || !url.len)
		return;
	buf_add_span(&k->login_url, url);
	if (ex->verb != VERB_GET || !ex->path.len || ex->path.ptr[0] != '/')
		return;
	buf_init(&back, 4 * HTTP_TARGET_MAX);
	buf_addf(&back, "%s://", ex->conn->tls ? "https" : "http");
	if (span_find(ex->host, ':') < ex->host.len)
		buf_addf(&back, "[%.*s]", SPAN_ARG(ex->host));
	else
		buf_add_span(&back, ex->host);
	if (port && port != (ex->conn->tls ? 443 : 80) && ex->state == EX_NONE)
		buf_addf(&back, ":%u", port);
	buf_add_span(&back, ex->path);
	buf_add_span(&back, ex->query);
	buf_add_str(&k->login_url, span_find(url, '?') < url.len ? "&return=" : "?return=");
	percent_add(&k->login_url, buf_span(&back));
	buf_done(&back);
}

static void gather_facts(struct exchange *ex, struct facts *k)
{
	const struct snapshot *s = ex->snap;
	const struct snap_ident *d = s ? snapshot_ident(s, ex->conn->slot) : NULL;
	struct tables_rule rule;

	if (s)
		snapshot_words(s, &k->words);
	if (ex->svc)
		k->service = snapshot_text(s, ex->svc->name);
	if (d && !(ex->svc && (ex->svc->flags & SERVICE_PUBLIC))) {
		k->login = snapshot_text(s, d->login);
		k->name = snapshot_text(s, d->name);
		k->node = snapshot_text(s, d->node_name);
	}
	if (s && snapshot_policy(s) && ex->why.rule && tables_rule(snapshot_policy(s), ex->why.rule, &rule))
		buf_add_span(&k->rule, rule.text);
	if (k->rule.len)
		k->auth = rule.auth;
	k->rid = ex->rid;
	login_link(ex, k);
	login_command(ex, k);
}

static void add_who(struct buf *b, const struct facts *k, struct conn *c)
{
	char ip[IP_TEXT_MAX];

	if (k->login.len) {
		buf_add_str(b, "You are ");
		if (k->name.len) {
			add_html(b, k->name);
			buf_add_str(b, " (");
			add_html(b, k->login);
			buf_add_char(b, ')');
		} else {
			add_html(b, k->login);
		}
		buf_add_str(b, " to this host");
	} else if (k->node.len) {
		buf_add_str(b, "This host knows your device, but not who uses it");
	} else {
		buf_add_str(b, "This host does not know you");
	}
	if (k->node.len) {
		buf_add_str(b, ", on device ");
		add_html(b, k->node);
	}
	if (c->peer.family != IP_NONE)
		buf_addf(b, ", at %s", ip_text(&c->peer, ip));
	buf_add_char(b, '.');
}

static const char html_page[] =
	"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	"<meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n"
	"<style>body{font:16px/1.5 system-ui,sans-serif;max-width:38em;margin:12vh auto;padding:0 1em;"
	"color:#222;background:#fff}h1{font-size:1.5em}p.small{color:#666;font-size:.85em}"
	"a.button{display:inline-block;background:#164;color:#fff;padding:.5em 1.2em;border-radius:4px;"
	"text-decoration:none}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}"
	"p.small{color:#999}}</style></head>\n<body><h1>{title}</h1>\n<p>{what}</p>\n<p>{who}</p>\n"
	"<p>{todo}</p>\n{login}\n{command}\n<p class=\"small\">{small}</p></body></html>\n";

static void add_small(struct buf *b, const struct facts *k)
{
	buf_addf(b, "%u %s", k->status, k->page->word);
	if (k->rule.len) {
		buf_add_str(b, " &middot; rule ");
		add_html(b, buf_span(&k->rule));
	}
	if (k->words.host.len) {
		buf_add_str(b, " &middot; ");
		add_html(b, k->words.host);
	}
	if (k->words.contact.len) {
		buf_add_str(b, " &middot; ");
		add_html(b, k->words.contact);
	}
	if (k->words.source_url.len) {
		buf_add_str(b, " &middot; <a href=\"");
		add_html(b, k->words.source_url);
		buf_add_str(b, "\">source of this software</a>");
	}
}

static void add_login(struct buf *b, const struct facts *k)
{
	if (strcmp(k->page->word, "logout") == 0)
		buf_add_str(b, "<form method=\"post\"><button>Log out</button></form>");
	if (!k->login_url.len)
		return;
	buf_add_str(b, "<p><a class=\"button\" href=\"");
	add_html(b, buf_span(&k->login_url));
	buf_add_str(b, "\">Log in</a></p>");
}

/* What is asked of the login, in words. */
static void add_what(struct buf *b, const struct facts *k)
{
	add_html(b, span_str(k->page->what));
	if (k->detail) {
		buf_add_str(b, " (It was refused because of ");
		add_html(b, span_str(k->detail));
		buf_add_str(b, ".)");
	}
	if (!is_step_up(k->page))
		return;
	if (k->auth.max_age && k->auth.max_age % 3600 == 0)
		buf_addf(b, " It wants one of the last %lld h.", (long long)(k->auth.max_age / 3600));
	else if (k->auth.max_age)
		buf_addf(b, " It wants one of the last %lld min.", (long long)((k->auth.max_age + 59) / 60));
}

static void add_part(struct buf *b, enum page_part part, const struct facts *k, struct conn *c)
{
	switch (part) {
	case PAGE_TITLE:   add_html(b, span_str(k->page->title)); break;
	case PAGE_WHAT:    add_what(b, k); break;
	case PAGE_WHO:     add_who(b, k, c); break;
	case PAGE_TODO:    add_html(b, span_str(todos[k->page->todo])); break;
	case PAGE_LOGIN:   add_login(b, k); break;
	case PAGE_COMMAND:
		if (!k->command.len)
			break;
		buf_add_str(b, "<p>On this device that is: <code>");
		add_html(b, buf_span(&k->command));
		buf_add_str(b, "</code></p>");
		break;
	case PAGE_SMALL:   add_small(b, k); break;
	case PAGE_STATUS:  buf_addf(b, "%u", k->status); break;
	case PAGE_REASON:  add_html(b, span_str(k->page->word)); break;
	case PAGE_SERVICE: add_html(b, k->service); break;
	case PAGE_RULE:    add_html(b, buf_span(&k->rule)); break;
	case PAGE_HOST:    add_html(b, k->words.host); break;
	case PAGE_CONTACT: add_html(b, k->words.contact); break;
	case PAGE_REQUEST: add_html(b, k->rid); break;
	case PAGE_END: case PAGE_PARTS: break;
	}
}

/* "own" is an owner's template; empty: ours. */
static void write_html(struct buf *b, const struct facts *k, struct span own, struct conn *c)
{
	struct span rest = own.len ? own : span_str(html_page), text;
	enum page_part part;

	do {
		part = page_template_next(&rest, &text);
		buf_add_span(b, text);
		add_part(b, part, k, c);
	} while (part != PAGE_END);
}

/* For programs that log in by themselves: as in the policy's "auth". */
static void write_wanted(struct buf *b, const struct tables_auth *a)
{
	buf_addf(b, ",\"auth\":{\"mfa\":%s", a->mfa ? "true" : "false");
	if (a->max_age)
		buf_addf(b, ",\"max_age\":%lld", (long long)a->max_age);
	if (a->acr.len) {
		buf_add_str(b, ",\"acr\":");
		buf_add_json(b, a->acr);
	}
	if (a->amr.len) {
		buf_add_str(b, ",\"amr\":");
		buf_add_json(b, a->amr);
	}
	buf_add_char(b, '}');
}

static void write_problem(struct buf *b, const struct facts *k)
{
	buf_addf(b, "{\"type\":\"about:blank\",\"status\":%u,\"title\":", k->status);
	buf_add_json(b, span_str(k->page->title));
	buf_add_str(b, ",\"detail\":");
	buf_add_json(b, span_str(k->detail ? k->detail : k->page->what));
	buf_addf(b, ",\"reason\":\"%s\"", k->page == &other ? "denied" : k->page->word);
	if (k->service.len) {
		buf_add_str(b, ",\"service\":");
		buf_add_json(b, k->service);
	}
	if (k->login.len) {
		buf_add_str(b, ",\"login\":");
		buf_add_json(b, k->login);
	}
	if (k->node.len) {
		buf_add_str(b, ",\"node\":");
		buf_add_json(b, k->node);
	}
	if (k->rule.len) {
		buf_add_str(b, ",\"rule\":");
		buf_add_json(b, buf_span(&k->rule));
	}
	if (k->login_url.len) {
		buf_add_str(b, ",\"login_url\":");
		buf_add_json(b, buf_span(&k->login_url));
	}
	if (k->command.len) {
		buf_add_str(b, ",\"command\":");
		buf_add_json(b, buf_span(&k->command));
	}
	if (is_step_up(k->page))
		write_wanted(b, &k->auth);
	buf_add_str(b, "}\n");
}

/* For web servers that ask for another: the page's word and link, to be shown their own way. */
static void add_forward(const struct facts *k, struct head_out *o)
{
	head_add_field(o, SPAN("X-Reeve-Reason"), span_str(k->page->word));
	if (k->login_url.len)
		head_add_field(o, SPAN("X-Reeve-Login"), buf_span(&k->login_url));
}

static void send_page(struct conn *c, unsigned status, const char *type, const struct buf *body,
                      const struct facts *forward, bool head_only, bool close, bool old)
{
	struct front *f = c->front;
	struct head_out o = { .ptr = f->tx, .cap = sizeof(f->tx) };
	struct iovec v[2];

	head_add_lit(&o, "HTTP/1.1 ");
	head_add_u64(&o, status);
	head_add_lit(&o, " ");
	head_add(&o, span_str(status_reason(status)));
	head_add_lit(&o, "\r\nServer: ");
	head_add(&o, span_str(f->server));
	head_add_lit(&o, "\r\nContent-Type: ");
	head_add(&o, span_str(type));
	head_add_lit(&o, "\r\nContent-Length: ");
	head_add_u64(&o, body->len);
	head_add_lit(&o, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
	if (status == 401)
		head_add_lit(&o, "WWW-Authenticate: Reeve realm=\"mesh\"\r\n");
	if (status == 429 || status == 503)
		head_add_lit(&o, "Retry-After: 5\r\n");
	if (status == 405)
		head_add_lit(&o, "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n");
	if (type[0] == 't')
		head_add_lit(&o, "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
		                 "frame-ancestors 'none'\r\n");
	if (forward)
		add_forward(forward, &o);
	if (close)
		head_add_lit(&o, "Connection: close\r\n");
	else if (old)
		head_add_lit(&o, "Connection: keep-alive\r\n");
	head_add_lit(&o, "\r\n");
	v[0] = (struct iovec){ o.ptr, o.len };
	v[1] = (struct iovec){ body->ptr, body->len };
	io_write(&c->io, v, head_only || !body->len ? 1 : 2);   /* a failure shows at the next step */
}

void page_write(struct exchange *ex, unsigned status, const char *word, const char *detail, bool close)
{
	struct facts k = { .page = find(word), .detail = detail, .status = status };
	struct buf body;

	buf_init(&body, 256 << 10);
	buf_init(&k.login_url, 64 << 10);
	buf_init(&k.rule, 4 << 10);
	buf_init(&k.command, 4 << 10);
	gather_facts(ex, &k);
	if (ex->html)
		write_html(&body, &k, ex->svc && ex->svc->page.len ? snapshot_text(ex->snap, ex->svc->page) : k.words.page,
		           ex->conn);
	else
		write_problem(&body, &k);
	send_page(ex->conn, status, ex->html ? "text/html; charset=utf-8" : "application/problem+json",
	          &body, ex->forward ? &k : NULL, ex->head_only, close, ex->minor == 0);
	ex->bytes_out += body.len;
	buf_done(&body);
	buf_done(&k.login_url);
	buf_done(&k.rule);
	buf_done(&k.command);
}

void page_json(struct exchange *ex, struct span text)
{
	struct buf body = { .ptr = (char *)(uintptr_t)text.ptr, .len = text.len };

	ex->status = 200;
	send_page(ex->conn, 200, "application/json", &body, NULL, ex->head_only, !ex->keep_alive || !ex->req.done,
	          ex->minor == 0);
	ex->bytes_out += text.len;
}

void page_plain(struct conn *c, const struct fault *why)
{
	struct facts k = { .page = find("bad-request"), .detail = why->why, .status = why->status };
	struct buf body;

	buf_init(&body, 4096);
	write_problem(&body, &k);
	send_page(c, why->status, "application/problem+json", &body, NULL, false, true, false);
	buf_done(&body);
}
