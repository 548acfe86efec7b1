/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The steps of a request, top to bottom: which service, who asks, is it the
 * person or a page that asks, does policy allow it, what the application is
 * told. A step that says no answers; nothing is sent upstream before the last
 * one has said yes.
 */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "daemon/proxy/http_parse.h"
#include "daemon/proxy/profiles.h"

#include <string.h>
#include <sys/socket.h>

/* ---- 1: the service, by Host (RFC 9110 7.4: else 421) ---- */

/* An address that the connection came to names the service, if there is only one there. */
static bool is_own_address(struct conn *c, struct span host)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ipport at;
	struct ip ip;

	return ip_parse(host, &ip) && getsockname(c->parent ? c->parent->io.watch.fd : c->io.watch.fd, (struct sockaddr *)&ss, &len) == 0 &&
	       ipport_from_sockaddr(&ss, &at) && ip_eq(&at.ip, &ip);
}

static uint32_t find_service(struct conn *c, struct span host)
{
	const struct snap_listen *l = c->listener->snap;
	uint32_t service;

	if (!l)
		return SERVICE_UNKNOWN;
	service = snapshot_find_host(c->front->snap, l, host);
	/* a helper's address is nobody's name */
	if (service == SERVICE_UNKNOWN && !l->forward && l->services.count == 1 && is_own_address(c, host)) {
		const struct snap_service *v;

		service = snapshot_number(c->front->snap, l->services, 0);
		v = snapshot_service(c->front->snap, service);
		/* cookies are of a name: under the address nobody could ever come back from a login */
		if (v && (v->flags & SERVICE_BROWSER))
			service = SERVICE_UNKNOWN;
	}
	return service;
}

bool request_target(struct exchange *ex, struct message *m)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	char host_buf[HTTP_HOST_MAX + 3];
	struct fault why = { 0 };
	struct span host;
	uint16_t port;

	ex->verb = m->verb;
	ex->method = m->method;
	ex->path = target_said(m->target);
	if (m->verb == VERB_CONNECT || m->verb == VERB_TRACE) {
		exchange_refuse(ex, 405, "bad-request", "the method is not served here");
		return false;
	}
	if (!host_fold(m->host, host_buf, &host, &port)) {
		exchange_refuse(ex, 400, "bad-request", "a malformed Host");
		return false;
	}
	ex->host = host;
	if (!f->snap) {
		exchange_refuse(ex, 503, "not-ready", NULL);
		return false;
	}
	ex->service = find_service(c, host);
	ex->svc = snapshot_service(f->snap, ex->service);
	if (!ex->svc) {
		exchange_refuse(ex, 421, "wrong-host", NULL);
		return false;
	}
	ex->run = front_run(f, ex->service);
	ex->run->requests++;
	if (!target_normalise(&f->target, m, c->tls,
	                      ex->svc->flags & SERVICE_ENCODED_SLASH ? TARGET_ENCODED_SLASH : 0, &why)) {
		exchange_refuse(ex, why.status, "bad-request", why.why);
		return false;
	}
	ex->host = f->target.host;
	ex->path = f->target.path;
	ex->alt = f->target.alt;
	ex->query = f->target.query;
	return true;
}

/* ---- 2: who asks ---- */

static const char *const why_words[WHY_COUNT] = {
	[WHY_NONE] = "no-session",        [WHY_NEVER] = "no-session",
	[WHY_EXPIRED] = "session-expired", [WHY_REVOKED] = "session-revoked",
	[WHY_LOGGED_OUT] = "logged-out",  [WHY_EVIDENCE] = "no-evidence",
	[WHY_CONFLICT] = "address-conflict",
};

bool request_identity(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	const struct snap_ident *d = snapshot_ident(f->snap, c->slot);
	struct boot now = loop_now(f->loop);

	if (!d || d->kind == IDENT_NONE) {
		exchange_refuse(ex, 403, "unknown-address", NULL);
		return false;
	}
	if (snapshot_lease_ended(f->snap, now)) {
		exchange_refuse(ex, 503, "lease-ended", NULL);
		return false;
	}
	/* Before the word: core clears it at a session's end as well, and may be the first to. */
	if (boot_passed((struct boot){ d->expires_boot }, now) ||
	    (d->expires_boot != BOOT_NEVER.ns && loop_wall(f->loop).sec >= d->expires)) {
		exchange_refuse(ex, 401, "session-expired", NULL);
		return false;
	}
	if (snapshot_revoked(f->snap, c->slot)) {
		exchange_refuse(ex, 401, "session-revoked", NULL);
		return false;
	}
	if (c->generation != d->generation) {
		/* it became valid while the connection was open: the next one will have it */
		exchange_refuse(ex, 401, "no-session", NULL);
		return false;
	}
	if (d->kind == IDENT_ENROLLED && !(ex->svc->flags & SERVICE_ENROLLED)) {
		exchange_refuse(ex, 401, why_words[d->why], NULL);
		return false;
	}
	return true;
}

/* ---- 3: the person, or a page of somebody else's ---- */

bool request_https(const struct exchange *ex)
{
	return ex->conn->tls || (ex->svc && (ex->svc->flags & SERVICE_BROWSER));
}

static bool same_origin(const struct exchange *ex, struct span origin)
{
	struct front *f = ex->conn->front;
	bool tls = request_https(ex);
	struct span host;
	char buf[HTTP_HOST_MAX + 3];
	uint16_t port, standard = tls ? 443 : 80, ours = f->target.port;

	if (!span_starts(origin, tls ? SPAN("https://") : SPAN("http://")) ||
	    !host_fold(span_from(origin, tls ? 8 : 7), buf, &host, &port))
		return false;
	return span_eq(host, f->target.host) && (port ? port : standard) == (ours ? ours : standard);
}

static bool origin_listed(const struct exchange *ex, struct span origin)
{
	for (uint32_t i = 0; i < ex->svc->origins.count; i++) {
		if (span_ieq(snapshot_item(ex->snap, ex->svc->origins, i), origin))
			return true;
	}
	return false;
}

/*
 * Identity by address is ambient: any page can make a browser send. Fetch
 * Metadata tells; without it, Origin; with neither it is no browser, or one
 * too old to defend.
 */
bool request_cross_site(const struct exchange *ex, const struct message *m)
{
	struct span site = { 0 }, origin = { 0 };
	unsigned sites = 0, origins = 0;

	if (!ex->upgrade && (m->verb == VERB_GET || m->verb == VERB_HEAD || m->verb == VERB_OPTIONS))
		return false;
	for (size_t i = 0; i < m->field_count; i++) {
		if (m->fields[i].id == HEAD_SEC_FETCH_SITE) {
			site = m->fields[i].value;
			sites++;
		} else if (m->fields[i].id == HEAD_ORIGIN) {
			origin = m->fields[i].value;
			origins++;
		}
	}
	if (sites > 1 || origins > 1)
		return true;
	if (origins && origin_listed(ex, origin))
		return false;
	if (sites)
		return !span_eq(site, SPAN("same-origin")) && !span_eq(site, SPAN("none"));
	return origins && !same_origin(ex, origin);
}

/* ---- 4: policy ---- */

/* By which policy knows the service: where it listens, or the web server does that asks for it. */
static uint16_t policy_port(const struct exchange *ex)
{
	if (ex->svc->policy_port)
		return (uint16_t)ex->svc->policy_port;
	if (!ex->forward)
		return ex->conn->listener->port;
	return ex->svc->forward_port ? (uint16_t)ex->svc->forward_port : ex->conn->tls ? 443 : 80;
}

static enum verdict decide(struct exchange *ex, struct span path, struct reason *ret_why)
{
	struct front *f = ex->conn->front;
	const struct snapshot *s = f->snap;
	const struct snap_ident *d = snapshot_ident(s, ex->conn->slot);
	const struct tables *t = snapshot_policy(s);
	struct boot now = loop_now(f->loop), heard = snapshot_heard(s);
	struct tables_request req = {
		.method = ex->method,
		.host = ex->host,
		.path = path,
		.family = ex->conn->peer.family,
		.port = policy_port(ex),
	};
	struct tables_session ses;

	if (!t || !d)
		return VERDICT_DENY;
	ses.auth_time = (struct wall){ d->auth_time };
	/* a login that does not end, or tags: said by the deadline, that was checked above */
	ses.expires = (struct wall){ d->expires_boot == BOOT_NEVER.ns ? INT64_MAX : d->expires };
	/* a browser's session has one class, whatever address it calls from */
	return tables_http(t, d->kind == IDENT_ENROLLED ? CLASS_LOGIN : ex->svc->flags & SERVICE_BROWSER ? d->class4
	                      : ex->conn->peer.family == IP_V4 ? d->class4 : d->class6,
	                   ex->svc->policy, &req, &ses, loop_wall(f->loop),
	                   heard.ns == 0 || heard.ns == BOOT_NEVER.ns ? SILENT_NEVER
	                                                              : (now.ns - heard.ns) / SEC_NS,
	                   ret_why);
}

/* Every way in which an application may read the path must be allowed. */
static enum verdict decide_all(struct exchange *ex)
{
	ex->why = (struct reason){ 0 };
	if (decide(ex, ex->path, &ex->why) != VERDICT_ALLOW)
		return VERDICT_DENY;
	if (ex->alt.ptr && decide(ex, ex->alt, &ex->why) != VERDICT_ALLOW)
		return VERDICT_DENY;
	return VERDICT_ALLOW;
}

static bool needs_policy(const struct exchange *ex)
{
	return !(ex->svc->flags & (SERVICE_PUBLIC | SERVICE_ENROLLED));
}

bool request_policy(struct exchange *ex)
{
	struct reason *why = &ex->why;

	if (!needs_policy(ex))
		return true;
	if (decide_all(ex) == VERDICT_ALLOW) {
		front_used(ex->conn->front, ex->conn->slot);
		return true;
	}
	switch (why->code) {
	case REASON_NO_SESSION:
		exchange_refuse(ex, 401, "no-session", NULL);
		break;
	case REASON_AUTH_AGE:
	case REASON_AUTH_STRENGTH:
		exchange_refuse(ex, 401, reason_name(why->code), NULL);
		break;
	case REASON_STALE:
		exchange_refuse(ex, 503, reason_name(why->code), NULL);
		break;
	case REASON_ALLOWED: /* a verdict that contradicts its reason denies */
		exchange_refuse(ex, 403, "denied", NULL);
		break;
	default:
		exchange_refuse(ex, 403, reason_name(why->code), NULL);
		break;
	}
	return false;
}

bool request_judge(struct exchange *ex, const struct message *m)
{
	if (!request_identity(ex))
		return false;
	if (request_cross_site(ex, m)) {
		exchange_refuse(ex, 403, "cross-site", NULL);
		return false;
	}
	return request_policy(ex);
}

bool request_still_allowed(struct exchange *ex)
{
	struct front *f = ex->conn->front;
	struct snapshot *was = ex->snap;
	const struct snap_service *svc = ex->svc;
	uint32_t index = f->snap ? snapshot_find_service(f->snap, snapshot_text(was, svc->name)) : SERVICE_UNKNOWN;
	struct reason why = ex->why;
	bool ok;

	if (index == SERVICE_UNKNOWN)
		return false;
	ex->svc = snapshot_service(f->snap, index);
	ok = (ex->svc->flags & SERVICE_PUBLIC) == (svc->flags & SERVICE_PUBLIC) &&
	     (!needs_policy(ex) || decide_all(ex) == VERDICT_ALLOW);
	ex->svc = svc;
	if (ok)
		ex->why = why;
	return ok;
}

/* ---- 5: bounds ---- */

bool request_room(struct exchange *ex)
{
	const struct conn *c = ex->conn;

	if (ex->run->in_flight >= (uint64_t)ex->svc->in_flight_max) {
		exchange_refuse(ex, 503, "service-busy", NULL);
		return false;
	}
	if (c->slot != SLOT_NONE && c->front->busy[c->slot] >= (uint64_t)ex->svc->per_identity_max) {
		exchange_refuse(ex, 429, "too-many-requests", NULL);
		return false;
	}
	return true;
}

void request_count(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;

	f->stats.allowed++;
	ex->counted = true;
	ex->run->in_flight++;
	f->stats.in_flight++;
	if (c->slot != SLOT_NONE)
		f->busy[c->slot]++;
}

static bool check_bounds(struct exchange *ex, const struct message *m)
{
	if (m->body == BODY_LENGTH && m->length > (uint64_t)ex->svc->body_max) {
		exchange_refuse(ex, 413, "body-too-large", NULL);
		return false;
	}
	if (m->body == BODY_CHUNKED && ex->svc->body_max == 0) {
		exchange_refuse(ex, 413, "body-too-large", NULL);
		return false;
	}
	return request_room(ex);
}

/* ---- 6: what the application is told ---- */

static struct span copy(char **p, struct span s)
{
	char *at = *p;

	if (s.len)
		memcpy(at, s.ptr, s.len);
	*p += s.len;
	return span_of(at, s.len);
}

/* The texts that outlive the parse, in front of where the head will stand. */
static void keep_texts(struct exchange *ex, const struct message *m, size_t head_cap)
{
	struct front *f = ex->conn->front;
	const struct target *t = &f->target;
	const struct field *agent = NULL, *referer = NULL;
	static const struct span none;
	char *p;

	if (f->log == FRONT_LOG_COMBINED) {
		agent = message_find(m, HEAD_USER_AGENT);
		referer = message_find(m, HEAD_REFERER);
	}
	p = exchange_mem(ex, m->method.len + t->host.len + t->path.len + t->alt.len + t->query.len +
	                         m->protocol.len + (agent ? agent->value.len : 0) +
	                         (referer ? referer->value.len : 0) + head_cap);
	ex->method = copy(&p, m->method);
	ex->host = copy(&p, t->host);
	ex->path = copy(&p, t->path);
	ex->alt = t->alt.ptr ? copy(&p, t->alt) : none;
	ex->query = copy(&p, t->query);
	ex->protocol = copy(&p, m->protocol);
	ex->agent = agent ? copy(&p, agent->value) : none;
	ex->referer = referer ? copy(&p, referer->value) : none;
	ex->head = span_of(p, 0);
}

static bool protocol_ok(struct exchange *ex, struct span protocol)
{
	if (span_ieq(protocol, SPAN("websocket")))
		return true;
	for (uint32_t i = 0; i < ex->svc->upgrades.count; i++) {
		if (span_ieq(protocol, snapshot_item(ex->snap, ex->svc->upgrades, i)))
			return true;
	}
	return false;
}

static bool id_ok(struct span s)
{
	if (s.len < 8 || s.len > 128)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && c != '-' &&
		    c != '_' && c != '.' && c != ':' && c != '/' && c != '+' && c != '=')
			return false;
	}
	return true;
}

static void hex16(char out[16], uint64_t v)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 15; i >= 0; i--, v >>= 4)
		out[i] = digits[v & 15];
}

void request_id_make(struct front *f, char out[REQUEST_ID_LEN])
{
	hex16(out, f->rid_high);
	hex16(out + 16, f->rid_low++);
}

void request_write_id(struct exchange *ex, const struct message *m, struct head_out *o)
{
	struct front *f = ex->conn->front;
	const struct field *theirs = ex->svc->flags & SERVICE_KEEP_REQUEST_ID
	                                 ? message_find(m, HEAD_X_REQUEST_ID) : NULL;
	char made[REQUEST_ID_LEN];
	size_t at;

	request_id_make(f, made);
	head_add_lit(o, "X-Request-Id: ");
	at = o->len;
	head_add(o, theirs && id_ok(theirs->value) ? theirs->value : span_of(made, sizeof(made)));
	ex->rid = span_of(o->ptr + at, o->over ? 0 : o->len - at);
	head_add_lit(o, "\r\n");
}

static void write_forwarded(struct exchange *ex, struct head_out *o)
{
	char ip[IP_TEXT_MAX];

	if (ex->svc->flags & SERVICE_NO_XFF)
		return;
	if (ex->conn->peer.family != IP_NONE)
		head_add_field(o, SPAN("X-Forwarded-For"), span_str(ip_text(&ex->conn->peer, ip)));
	head_add_field(o, SPAN("X-Forwarded-Proto"), request_https(ex) ? SPAN("https") : SPAN("http"));
	head_add_field(o, SPAN("X-Forwarded-Host"), ex->host);
}

static void write_framing(struct exchange *ex, const struct message *m, struct head_out *o)
{
	const struct field *enc = m->coding_count ? message_find(m, HEAD_CONTENT_ENCODING) : NULL;

	if (m->body == BODY_CHUNKED) {
		head_add_lit(o, "Transfer-Encoding: chunked\r\n");
	} else if (m->has_length) {
		head_add_lit(o, "Content-Length: ");
		head_add_u64(o, m->length);
		head_add_lit(o, "\r\n");
	}
	/* Transfer codings that the sender applied stay on the bytes; as content
	 * codings every application can undo them, and nobody reads them as framing. */
	if (m->coding_count) {
		head_add_lit(o, "Content-Encoding: ");
		if (enc) {
			head_add(o, enc->value);
			head_add_lit(o, ", ");
		}
		for (size_t i = 0; i < m->coding_count; i++) {
			if (i)
				head_add_lit(o, ", ");
			head_add(o, m->codings[i]);
		}
		head_add_lit(o, "\r\n");
	}
	if (m->expect_continue)
		head_add_lit(o, "Expect: 100-continue\r\n");
	if (ex->upgrade) {
		head_add_lit(o, "Connection: Upgrade\r\n");
		head_add_field(o, SPAN("Upgrade"), m->protocol);
	} else if (ex->close_up) {
		head_add_lit(o, "Connection: close\r\n");
	}
}

static void write_host(struct exchange *ex, struct head_out *o)
{
	uint16_t port = ex->conn->front->target.port;
	bool v6 = span_find(ex->host, ':') < ex->host.len;

	head_add_lit(o, "Host: ");
	if (v6)
		head_add_lit(o, "[");
	head_add(o, ex->host);
	if (v6)
		head_add_lit(o, "]");
	if (port) {
		head_add_lit(o, ":");
		head_add_u64(o, port);
	}
	head_add_lit(o, "\r\n");
}

static struct span span_find_text(struct span in, struct span what)
{
	const char *p = what.len ? memmem(in.ptr, in.len, what.ptr, what.len) : NULL;

	return span_of(p, p ? what.len : 0);
}

/* What Reeve says itself goes through the same writers, then becomes variables. */
static bool write_gateway(struct exchange *ex, const struct message *m, const struct profile_about *about,
                          struct head_out *o)
{
	char text[HTTP_HEAD_MAX];
	struct head_out extra = { .ptr = text, .cap = sizeof(text) };
	const char *why = NULL;

	request_write_id(ex, m, &extra);
	write_forwarded(ex, &extra);
	if (!profiles_write(about, ex->svc->headers, &extra, &why) ||
	    !gateway_request(ex, m, span_of(extra.ptr, extra.len), o, &why)) {
		ex->rid = (struct span){ 0 };
		exchange_refuse(ex, 500, "identity-unspeakable", why);
		return false;
	}
	o->over = o->over || extra.over;
	/* the id must stand in what is kept: the variable's value does */
	ex->rid = span_find_text(span_of(o->ptr, o->len), ex->rid);
	return true;
}

/* From what was judged; no byte of the client's head is passed on as it came. */
static bool write_head(struct exchange *ex, const struct message *m, struct span assertion, struct head_out *o)
{
	struct profile_about about = {
		.snapshot = ex->snap,
		.ident = ex->svc->flags & SERVICE_PUBLIC ? NULL : snapshot_ident(ex->snap, ex->conn->slot),
		.address = ex->conn->peer,
		.assertion = assertion,
	};
	const char *why = NULL;

	if (ex->gateway)
		return write_gateway(ex, m, &about, o);
	head_add(o, ex->method);
	head_add_lit(o, " ");
	head_add(o, ex->path);
	head_add(o, ex->query);
	head_add_lit(o, " HTTP/1.1\r\n");
	write_host(ex, o);
	/* hop-by-hop first: no Connection of the client's can name what we write below */
	for (size_t i = 0; i < m->field_count; i++) {
		if (header_passes_up(ex->snap, m, &m->fields[i]) && !basic_replaces(ex, m->fields[i].name))
			head_add_field(o, m->fields[i].name, m->fields[i].value);
	}
	write_framing(ex, m, o);
	request_write_id(ex, m, o);
	write_forwarded(ex, o);
	if (!profiles_write(&about, ex->svc->headers, o, &why) || !basic_write(ex, o, &why)) {
		exchange_refuse(ex, 500, "identity-unspeakable", why);
		return false;
	}
	head_add_lit(o, "\r\n");
	return true;
}

/* ---- all of it ---- */

static void begin_body(struct exchange *ex, const struct message *m)
{
	ex->req.kind = m->body;
	ex->req.left = m->length;
	ex->req.done = m->body == BODY_NONE;
	if (m->body == BODY_CHUNKED)
		chunked_init(&ex->req.chunked);
}

/* A browser that shows a page to somebody, rather than a script's fetch or a program. */
static bool wants_html(const struct message *m)
{
	const struct field *accept = message_find(m, HEAD_ACCEPT), *mode = message_find(m, HEAD_SEC_FETCH_MODE);
	struct span rest, item;

	if (!accept || (mode && !span_eq(mode->value, SPAN("navigate"))))
		return false;
	rest = accept->value;
	while (http_list_next(&rest, &item)) {
		item = span_trim(span_head(item, span_find(item, ';')));
		if (span_ieq(item, SPAN("text/html")) || span_ieq(item, SPAN("application/xhtml+xml")))
			return true;
	}
	return false;
}

/* The keys behind our assertions: they are public, and whoever checks one may be anybody. */
static bool is_jwks(const struct exchange *ex)
{
	return (ex->svc->flags & SERVICE_ASSERTION) && (ex->verb == VERB_GET || ex->verb == VERB_HEAD) &&
	       span_eq(ex->path, SPAN("/.well-known/reeve/jwks.json"));
}

void request_answer_jwks(struct exchange *ex, unsigned without)
{
	struct snapshot_words words;

	snapshot_words(ex->snap, &words);
	if (!words.jwks.len) {
		exchange_refuse(ex, without, "no-assertion", NULL);
		return;
	}
	page_json(ex, words.jwks);
	ex->resp.done = true;
	exchange_done(ex);
}

void request_put_back(struct exchange *ex)
{
	struct conn *c = ex->conn;

	ex->run->requests--;
	exchange_drop(ex);
	c->front->stats.requests--;
	c->requests--;
	c->state = CONN_READY;
	conn_due(c, front_now(c->front) + FRONT_ASSERTION_NS);
}

struct exchange *request_new(struct conn *c, const struct message *m)
{
	struct exchange *ex = exchange_new(c);
	struct front *f = c->front;

	f->stats.requests++;
	ex->verb = m->verb;
	ex->minor = m->minor;
	ex->keep_alive = m->keep_alive && c->requests < FRONT_REQUESTS && !f->draining;
	ex->head_only = m->verb == VERB_HEAD;
	ex->html = wants_html(m);
	begin_body(ex, m);
	ex->method = m->method;
	ex->path = target_said(m->target);
	return ex;
}

bool request_begin(struct conn *c)
{
	struct front *f = c->front;
	struct message *m = &f->msg;
	struct exchange *ex;
	struct head_out out = { .ptr = f->tx, .cap = sizeof(f->tx) };
	struct span assertion = { 0 };

	if (c->listener->snap && c->listener->snap->forward)
		return forward_begin(c);
	ex = request_new(c, m);
	if (!request_target(ex, m))
		return true;
	ex->upgrade = m->upgrade && m->verb == VERB_GET && m->body == BODY_NONE &&
	              protocol_ok(ex, m->protocol);
	/* A body where many servers expect none: should this one leave it unread, its
	 * connection must not carry another request. */
	ex->close_up = m->body != BODY_NONE && (m->verb == VERB_GET || m->verb == VERB_HEAD ||
	                                        m->verb == VERB_OPTIONS || m->verb == VERB_DELETE);
	ex->expect = m->expect_continue;
	ex->gateway = gateway_of(ex);
	ex->upgrade = ex->upgrade && !ex->gateway && !upstream_is_h2(ex);
	ex->te_trailers = m->te_trailers;

	if (is_jwks(ex)) {
		request_answer_jwks(ex, 503);
		return true;
	}
	if (ex->svc->flags & SERVICE_BROWSER) {
		switch (browser_request(ex, m)) {
		case BROWSER_ON:
			break;
		case BROWSER_WAIT:
			request_put_back(ex);
			conn_due(c, front_now(f) + browser_wait_ns(c));
			return false;
		case BROWSER_ANSWERED:
			return true;
		}
	} else {
		browser_forget(c);
	}
	if (!(ex->svc->flags & SERVICE_PUBLIC) && !request_judge(ex, m))
		return true;
	if (!check_bounds(ex, m))
		return true;
	if (ex->gateway && m->body == BODY_CHUNKED) {
		exchange_refuse(ex, 411, "length-required", "the application must be told the length of a body");
		return true;
	}

	if (ex->svc->flags & SERVICE_ASSERTION) {
		switch (assertion_get(ex, &assertion)) {
		case ASSERTION_READY:
			break;
		case ASSERTION_WAIT:
			request_put_back(ex);
			return false;
		case ASSERTION_NONE:
			exchange_refuse(ex, 503, "no-assertion", NULL);
			return true;
		}
	}

	browser_strip(f, m);
	/* the head is written aside, then texts and head move to memory of their size */
	if (!write_head(ex, m, assertion, &out))
		return true;
	if (out.over) {
		exchange_refuse(ex, 431, "bad-request", "the head is too large");
		return true;
	}
	size_t rid_len = ex->rid.len, rid = rid_len ? (size_t)(ex->rid.ptr - f->tx) : 0;

	keep_texts(ex, m, out.len);
	memcpy((char *)(uintptr_t)ex->head.ptr, out.ptr, out.len);
	if (ex->secret)
		mem_wipe(out.ptr, out.len);
	ex->head.len = out.len;
	ex->rid = span_of(ex->head.ptr + rid, rid_len);
	request_count(ex);
	ex->state = EX_WAIT;
	ex->due_total = front_now(f) + ex->svc->total_ns;
	conn_due(c, front_now(f) + ex->svc->connect_ns);
	upstream_acquire(ex);
	return true;
}
