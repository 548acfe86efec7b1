/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/encode.h"
#include "base/mem.h"
#include "daemon/proxy/http_parse.h"
#include "daemon/proxy/profiles.h"

#include <openssl/sha.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/*
 * The fields in which a helper says what it was asked. NULL: its own request's.
 * list: the last item of the field, for the helper appends the peer it sees
 * to whatever the client said.
 */
static const struct forward_row {
	const char *method, *target, *host, *scheme, *address;
	bool        list;
	bool        two_refusals;       /* 401 and 403 are all it understands */
	bool        whole;              /* every header of the service is in the answer, or it writes a
	                                 * placeholder's name where one is missing (Caddy 2.6) */
} rows[FORWARD_STYLES] = {
	[FORWARD_NGINX] = { "x-original-method", "x-original-uri", "x-original-host", "x-original-proto",
	                    "x-real-ip", .two_refusals = true },
	[FORWARD_TRAEFIK] = { "x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-proto",
	                      "x-forwarded-for", .list = true },
	[FORWARD_CADDY] = { "x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-proto",
	                    "x-forwarded-for", .list = true, .whole = true },
	[FORWARD_HAPROXY] = { "x-original-method", "x-original-uri", "x-original-host", "x-original-proto",
	                      "x-real-ip", .list = false },
	[FORWARD_ENVOY] = { NULL, NULL, NULL, "x-forwarded-proto", "x-forwarded-for", .list = true },
	[FORWARD_APACHE] = { "x-original-method", "x-original-uri", "x-original-host", "x-original-proto",
	                     "x-real-ip", .list = false },
};

void forward_digest(struct span secret, unsigned char out[FORWARD_DIGEST_LEN])
{
	SHA256((const unsigned char *)secret.ptr, secret.len, out);
}

unsigned forward_status(const struct exchange *ex, unsigned status)
{
	return rows[ex->forward].two_refusals && !ex->shown && status != 401 ? 403 : status;
}

bool forward_redirects(const struct exchange *ex)
{
	return !rows[ex->forward].two_refusals || ex->shown;
}

static unsigned count_fields(const struct message *m, const char *name, struct span *ret_value)
{
	unsigned n = 0;

	for (size_t i = 0; i < m->field_count; i++) {
		if (span_ieq(m->fields[i].name, span_str(name))) {
			*ret_value = m->fields[i].value;
			n++;
		}
	}
	return n;
}

/* Exactly one field of that name, or false: two could be read either way. */
static bool one_field(const struct message *m, const char *name, struct span *ret_value)
{
	return count_fields(m, name, ret_value) == 1;
}

/* ---- may this peer ask at all ---- */

static bool peer_allowed(struct conn *c, const struct snap_listen *l, const struct message *m)
{
	const struct snapshot *s = c->front->snap;
	int fd = c->parent ? c->parent->io.watch.fd : c->io.watch.fd;
	struct span want = snapshot_text(s, l->secret), said;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ucred who;
	bool unix_peer, listed = false;
	struct ipport at;

	if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
		return false;
	unix_peer = ss.ss_family == AF_UNIX;
	if (want.len) {
		unsigned char sum[FORWARD_DIGEST_LEN];

		if (want.len != sizeof(sum) || !one_field(m, "x-reeve-secret", &said))
			return false;
		forward_digest(said, sum);
		if (!mem_equal_ct(sum, want.ptr, sizeof(sum)))
			return false;
	}
	if (!unix_peer) /* TCP says nothing of who connects: the secret does, and it stays on this host */
		return want.len && ipport_from_sockaddr(&ss, &at) && ip_is_loopback(&at.ip);
	len = sizeof(who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || len != sizeof(who))
		return false;
	for (uint32_t i = 0; i < l->uids.count; i++)
		listed = listed || snapshot_number(s, l->uids, i) == who.uid;
	return listed;
}

/* ---- what it says ---- */

static bool address_of(const struct forward_row *r, const struct message *m, struct ip *ret_ip)
{
	struct span value;

	if (!one_field(m, r->address, &value))
		return false;
	if (r->list) {
		for (size_t i = value.len; i > 0; i--) {
			if (value.ptr[i - 1] == ',') {
				value = span_trim(span_from(value, i));
				break;
			}
		}
	}
	return ip_parse(value, ret_ip);
}

/*
 * For people with only a browser a server comes for three things, and says for
 * which by the path of its own request, where no client's word stands: so that
 * no answer of ours to a person is ever taken for a yes.
 *
 *   /_reeve/ask             may this request pass; behind it the path, where no field says it
 *   /_reeve/page            the same question; the person is given the answer (nginx cannot
 *                           hand on the first)
 *   /.well-known/reeve/..   the person's own request, of the way back from a login or of a logout
 */
enum forward_way { WAY_WRONG = 0, WAY_ASK, WAY_PAGE, WAY_OWN };

#define PATH_ASK "/_reeve/ask"
#define PATH_PAGE "/_reeve/page"
#define PATH_OURS "/.well-known/reeve/"

static enum forward_way way_of(const struct forward_row *r, struct message *m)
{
	struct span path = span_head(m->target, span_find(m->target, '?'));

	if (span_starts(path, SPAN(PATH_OURS)))
		return WAY_OWN;
	if (r->target)
		return span_eq(path, SPAN(PATH_ASK)) ? WAY_ASK : span_eq(path, SPAN(PATH_PAGE)) ? WAY_PAGE : WAY_WRONG;
	if (!span_starts(m->target, SPAN(PATH_ASK "/")))
		return WAY_WRONG;
	m->target = span_from(m->target, sizeof(PATH_ASK) - 1);
	return WAY_ASK;
}

/* Whether people are known there by a cookie: a listener's services are all so, or none is. */
static bool for_browsers(const struct conn *c, const struct snap_listen *l)
{
	const struct snapshot *s = c->front->snap;
	const struct snap_service *v = l->services.count ? snapshot_service(s, snapshot_number(s, l->services, 0)) : NULL;

	return v && (v->flags & SERVICE_BROWSER);
}

/* The question as if it were the caller's own request; own: its method and target are so already.
 * False: it is not whole. */
static bool take_question(struct conn *c, const struct forward_row *r, struct message *m, bool own)
{
	struct span scheme;

	if (!address_of(r, m, &c->peer) || !one_field(m, r->scheme, &scheme))
		return false;
	c->tls = span_ieq(scheme, SPAN("https")) || span_ieq(scheme, SPAN("wss"));
	if (!c->tls && !span_ieq(scheme, SPAN("http")) && !span_ieq(scheme, SPAN("ws")))
		return false;
	if (r->method && !own) {
		if (!one_field(m, r->method, &m->method) || !http_is_token(m->method) ||
		    m->method.len > HTTP_METHOD_MAX)
			return false;
		m->verb = verb_find(m->method);
	}
	if (r->target && !own && !one_field(m, r->target, &m->target))
		return false;
	if (r->host && !one_field(m, r->host, &m->host))
		return false;
	m->authority = (struct span){ 0 };
	/* neither an absolute form, nor what a request line cannot carry */
	return m->target.len && m->target.len <= HTTP_TARGET_MAX &&
	       (m->target.ptr[0] == '/' || (span_eq(m->target, SPAN("*")) && m->verb == VERB_OPTIONS)) &&
	       span_find(m->target, ' ') == m->target.len && span_find(m->target, '\t') == m->target.len;
}

/*
 * The helper passes on what it was sent, and not our normal form: where more
 * than escapes tells the two apart (dot segments, slashes), an application
 * may read another path than the one that is judged.
 */
static bool same_path(struct span raw, struct span normal)
{
	struct span path = span_head(raw, span_find(raw, '?'));
	scoped_buf struct buf a = { 0 }, b = { 0 };

	if (span_eq(path, normal))
		return true;
	buf_init(&a, TARGET_OUT);
	buf_init(&b, TARGET_OUT);
	return percent_decode(path, false, &a) && percent_decode(normal, false, &b) &&
	       span_eq(buf_span(&a), buf_span(&b));
}

/* What helpers say of the way that a request came, in exactly this spelling: it is nobody's name. */
static bool is_helpers(const struct forward_row *r, struct span name)
{
	static const char *const common[] = {
		"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
		"x-forwarded-server", "x-forwarded-uri", "x-forwarded-method", "x-real-ip", "x-reeve-secret",
		"x-request-id", "forwarded",
	};
	const char *const own[] = { r->method, r->target, r->host, r->scheme, r->address };

	if (name.len > 8 && span_ieq(span_head(name, 8), SPAN("x-envoy-")))
		return true;

	for (size_t i = 0; i < array_size(common); i++)
		if (span_ieq(name, span_str(common[i])))
			return true;
	for (size_t i = 0; i < array_size(own); i++)
		if (own[i] && span_ieq(name, span_str(own[i])))
			return true;
	return false;
}

/* The client says who it is, in some spelling of a header that applications read: a front would
 * strip what it says (headers.h), and nothing can be stripped here. */
static bool is_spoof(const struct exchange *ex, const struct forward_row *r, const struct message *m)
{
	for (size_t i = 0; i < m->field_count; i++) {
		const struct field *f = &m->fields[i];

		if (f->id == HEAD_OTHER && header_strips(ex->snap, f->name) && !is_helpers(r, f->name))
			return true;
	}
	return false;
}

/* What asks to become another protocol: browsers cannot leave these out, nor pages forge them. */
static bool is_upgrade(const struct message *m)
{
	for (size_t i = 0; i < m->field_count; i++) {
		struct span name = m->fields[i].name;

		if ((m->fields[i].id == HEAD_UPGRADE && m->fields[i].value.len) ||
		    (name.len > 14 && span_ieq(span_head(name, 14), SPAN("sec-websocket-"))))
			return true;
	}
	return false;
}

/* ---- the answer ---- */

/* Empty ones for what of the service's headers was not written. */
static void write_missing(const struct exchange *ex, struct head_out *o, size_t from)
{
	for (uint32_t i = 0; i < ex->svc->headers.count; i++) {
		struct span name = snapshot_text(ex->snap, snapshot_header(ex->snap, ex->svc->headers, i)->name);
		struct span rest = span_of(o->ptr + from, o->len - from), line;
		bool there = false;

		while (!there && span_next(&rest, '\n', &line))
			there = line.len > name.len && line.ptr[name.len] == ':' &&
			        span_ieq(span_head(line, name.len), name);
		if (!there)
			head_add_field(o, name, SPAN(""));
	}
}

/* What the application is to be given in place of the client's own: without the cookie that says who it
 * is, which is a credential here. Empty where nothing is left, so that a server that copies copies that. */
static void write_cookies(struct front *f, struct message *m, struct head_out *o)
{
	bool first = true;

	browser_strip(f, m);
	head_add_lit(o, "Cookie: ");
	for (size_t i = 0; i < m->field_count; i++) {
		const struct field *one = &m->fields[i];

		if (one->id != HEAD_OTHER || !span_ieq(one->name, SPAN("cookie")))
			continue;
		if (!first)
			head_add_lit(o, "; ");
		head_add(o, one->value);
		first = false;
	}
	head_add_lit(o, "\r\n");
}

static void answer(struct exchange *ex, struct message *m, struct span assertion)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	struct head_out o = { .ptr = f->tx, .cap = sizeof(f->tx) };
	struct profile_about about = {
		.snapshot = ex->snap,
		.ident = snapshot_ident(ex->snap, c->slot),
		.address = c->peer,
		.assertion = assertion,
	};
	bool close = !ex->keep_alive || !ex->req.done;
	const char *why = NULL;
	struct iovec v;
	size_t from;

	head_add_lit(&o, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\n");
	if (close)
		head_add_lit(&o, "Connection: close\r\n");
	else if (ex->minor == 0)
		head_add_lit(&o, "Connection: keep-alive\r\n");
	request_write_id(ex, m, &o);
	from = o.len;
	if (!profiles_write(&about, ex->svc->headers, &o, &why)) {
		ex->rid = (struct span){ 0 };
		exchange_refuse(ex, 500, "identity-unspeakable", why);
		return;
	}
	if (ex->svc->flags & SERVICE_BROWSER)
		write_cookies(f, m, &o);
	if (rows[ex->forward].whole)
		write_missing(ex, &o, from);
	head_add_lit(&o, "\r\n");
	if (o.over) {
		ex->rid = (struct span){ 0 };
		exchange_refuse(ex, 500, "identity-unspeakable", "the head is too large");
		return;
	}
	request_count(ex);
	ex->status = 200;
	ex->resp.done = true;
	v = (struct iovec){ o.ptr, o.len };
	io_write(&c->io, &v, 1);        /* a failure shows at the next step */
	exchange_done(ex);
}

/* Between questions, and while one waits, the connection is nobody's: nobody's end is its end. */
static void be_nobody(struct conn *c)
{
	struct front *f = c->front;

	/* it was accepted when this listener was still a front's */
	if (!c->browser && !c->parent && c->peer.family != IP_NONE && c->slot != SLOT_NONE && f->open[c->slot])
		f->open[c->slot]--;
	browser_forget(c);
	c->slot = SLOT_NONE;
	c->generation = 0;
	c->peer = (struct ip){ 0 };
	c->ident_due = INT64_MAX;
}

enum forward_end { FORWARD_ANSWERED = 0, FORWARD_ASSERTION, FORWARD_BROWSER };   /* or it waits for one of the two */

/* Who asks, by the cookie. False: it is answered, or waits for core. */
static bool judge_browser(struct exchange *ex, struct message *m, enum forward_way way, enum forward_end *ret_end)
{
	struct conn *c = ex->conn;
	bool ours = span_starts(ex->path, SPAN(PATH_OURS));

	*ret_end = FORWARD_ANSWERED;
	if (ours != (way == WAY_OWN)) {
		exchange_refuse(ex, 403, "forward-question", "a path of ours, which the web server is to pass on as it is");
		return false;
	}
	if (ours && (ex->svc->flags & SERVICE_ASSERTION) && ex->verb == VERB_GET &&
	    span_eq(ex->path, SPAN(PATH_OURS "jwks.json"))) {
		request_answer_jwks(ex, 503);
		return false;
	}
	switch (browser_request(ex, m)) {
	case BROWSER_ON:
		break;
	case BROWSER_WAIT:
		*ret_end = FORWARD_BROWSER;
		return false;
	case BROWSER_ANSWERED:
		return false;
	}
	c->ident_due = INT64_MAX;
	if (ours)
		exchange_refuse(ex, 403, "forward-question", "there is no such path");
	return !ours;
}

static enum forward_end judge(struct exchange *ex, const struct snap_listen *l, struct message *m)
{
	const struct forward_row *r = &rows[l->forward];
	struct conn *c = ex->conn;
	struct front *f = c->front;
	struct span assertion = { 0 }, said;
	bool browsers = for_browsers(c, l);
	enum forward_way way = browsers ? way_of(r, m) : WAY_ASK;
	enum forward_end end;

	if (!peer_allowed(c, l, m)) {
		exchange_refuse(ex, 403, "forward-peer", NULL);
		return FORWARD_ANSWERED;
	}
	/* for what verifies assertions beside an application that we do not front */
	if (!browsers && r->target && span_eq(m->target, SPAN("/.well-known/reeve/jwks.json")) && m->verb == VERB_GET &&
	    count_fields(m, r->target, &said) == 0) {
		request_answer_jwks(ex, 404);
		return FORWARD_ANSWERED;
	}
	if (way == WAY_WRONG || !take_question(c, r, m, way == WAY_OWN)) {
		exchange_refuse(ex, 403, "forward-question", NULL);
		return FORWARD_ANSWERED;
	}
	ex->shown = way == WAY_PAGE || way == WAY_OWN;
	if (!request_target(ex, m))
		return FORWARD_ANSWERED;
	if (!same_path(m->target, f->target.path)) {
		exchange_refuse(ex, 400, "bad-request", "a path that can be read in two ways");
		return FORWARD_ANSWERED;
	}
	ex->upgrade = way != WAY_OWN && is_upgrade(m);
	if (browsers != !!(ex->svc->flags & SERVICE_BROWSER)) {
		exchange_refuse(ex, 421, "wrong-host", NULL);
		return FORWARD_ANSWERED;
	}
	if (browsers) {
		if (!judge_browser(ex, m, way, &end))
			return end;
	} else {
		/* its end is looked at with each question, and is no end of this connection */
		conn_identify(c);
		c->ident_due = INT64_MAX;
	}
	if (!request_judge(ex, m))
		return FORWARD_ANSWERED;
	if (is_spoof(ex, r, m)) {
		exchange_refuse(ex, 403, "forged-identity", NULL);
		return FORWARD_ANSWERED;
	}
	if (ex->svc->flags & SERVICE_ASSERTION) {
		switch (assertion_get(ex, &assertion)) {
		case ASSERTION_READY:
			break;
		case ASSERTION_WAIT:
			return FORWARD_ASSERTION;
		case ASSERTION_NONE:
			exchange_refuse(ex, 503, "no-assertion", NULL);
			return FORWARD_ANSWERED;
		}
	}
	if (way == WAY_PAGE) /* its fields are for the server; the person asks again */
		exchange_refuse(ex, 503, "again", NULL);
	else
		answer(ex, m, assertion);
	return FORWARD_ANSWERED;
}

bool forward_begin(struct conn *c)
{
	const struct snap_listen *l = c->listener->snap;
	struct front *f = c->front;
	struct message *m = &f->msg;
	struct exchange *ex;
	enum forward_end end;
	bool tls = c->tls;

	be_nobody(c);
	ex = request_new(c, m);
	ex->forward = (uint8_t)l->forward;
	end = judge(ex, l, m);
	if (end != FORWARD_ANSWERED)
		request_put_back(ex);
	if (end == FORWARD_BROWSER)
		conn_due(c, front_now(f) + FRONT_REDEEM_NS);
	c->tls = tls;
	if (c->state != CONN_CLOSED) {
		c->peer = (struct ip){ 0 };
		be_nobody(c);
	}
	return end == FORWARD_ANSWERED;
}
