/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * People who come with only a browser, to services that say so. Who asks is
 * said by a cookie, whose hash stands in the snapshot as a peer's address
 * does; from there on everything is as for everybody else.
 *
 *   no session          303 to the coordinator, with the hash of what the login
 *                       cookie holds: this browser's own secret of this login
 *   .../session?code=   core has the code redeemed, with that secret; then the
 *                       session's cookie, and 303 to where the person was going
 *   a page, shortly before the session ends    303 to its renewal, where core says so: once
 *   .../session?kept=1  back from a renewal that came to nothing: 303 to the page
 *   .../login?back=     the same as without a session, from a refusal's link
 *   .../logout          a form; its POST ends the session
 *
 * Both cookies are __Host- ones: no other host can set them. The page to return to
 * rides in the login cookie and is a path: nobody can be sent elsewhere.
 */
#include "daemon/proxy/engine.h"

#include "base/encode.h"
#include "base/mem.h"
#include "base/secret.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define COOKIE_SESSION "__Host-reeve"
#define COOKIE_LOGIN "__Host-reeve-begin"       /* "..-login" is the coordinator's own */
#define COOKIE_END "; Path=/; Secure; HttpOnly; SameSite=Lax"
#define PATH_OURS "/.well-known/reeve/"

enum {
	SECRET_LEN = 43,                /* 32 bytes, base64url */
	CODE_MAX   = 128,
};

/* What a connection remembers between the requests of a browser. */
struct browser {
	bool     known;                 /* hash is that of the last request's cookie */
	bool     answered;
	uint8_t  hash[SNAPSHOT_HASH_LEN];
	char     node[24];              /* whose that cookie was: a renewal gives them another one, and what is open goes on */
	uint32_t generation;
	uint64_t asked;                 /* core is asked; 0: it is not */
	bool     renewing;              /* ... whether this page may go by way of a renewal */
	enum browser_answer what;
	char     cookie[SECRET_LEN + 1];
	char     secret[SECRET_LEN + 1];        /* renewing: of this browser */
	char    *url;                   /* NULL: none */
};

/* ---- hashes ---- */

static bool sha256(struct front *f, const struct span *parts, size_t n, uint8_t ret[SNAPSHOT_HASH_LEN])
{
	unsigned len = 0;

	if (!f->sha256) {
		f->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
		f->sha256_ctx = EVP_MD_CTX_new();
	}
	if (!f->sha256 || !f->sha256_ctx || EVP_DigestInit_ex(f->sha256_ctx, f->sha256, NULL) != 1)
		return false;
	for (size_t i = 0; i < n; i++)
		if (EVP_DigestUpdate(f->sha256_ctx, parts[i].ptr ? parts[i].ptr : "", parts[i].len) != 1)
			return false;
	return EVP_DigestFinal_ex(f->sha256_ctx, ret, &len) == 1 && len == SNAPSHOT_HASH_LEN;
}

/* Of one service alone: the cookie of another one hashes to what nobody has. */
static bool cookie_hash(struct front *f, struct span service, struct span cookie, uint8_t ret[SNAPSHOT_HASH_LEN])
{
	const struct span parts[] = { { "reeve cookie v1", 16 }, service, { "", 1 }, cookie };

	return sha256(f, parts, array_size(parts), ret);
}

/* ---- cookies (RFC 6265 4.2.1, 5.4) ---- */

static bool is_cookie(const struct field *f)
{
	return f->id == HEAD_OTHER && f->name.len == 6 && span_ieq(f->name, SPAN("cookie"));
}

static bool is_ours(struct span name)
{
	return span_ieq(name, SPAN(COOKIE_SESSION)) || span_ieq(name, SPAN(COOKIE_LOGIN));
}

static struct span pair_name(struct span pair)
{
	return span_trim(span_head(pair, span_find(pair, '=')));
}

/* Empty if it is not there; twice is as if it were not: which of them would count? */
static struct span cookie_find(const struct message *m, struct span name)
{
	struct span found = { 0 }, pair;
	bool seen = false;

	for (size_t i = 0; i < m->field_count; i++) {
		struct span rest = m->fields[i].value;

		if (!is_cookie(&m->fields[i]))
			continue;
		while (rest.len && span_next(&rest, ';', &pair)) {
			if (!span_eq(pair_name(pair), name))
				continue;
			if (seen)
				return (struct span){ 0 };
			seen = true;
			found = span_trim(span_from(pair, span_find(pair, '=') + 1));
		}
	}
	return found;
}

static bool is_secret(struct span s)
{
	uint8_t raw[32];
	size_t n;
	bool ok = s.len == SECRET_LEN && base64url_decode(s, raw, sizeof(raw), &n) && n == sizeof(raw);

	mem_wipe(raw, sizeof(raw));
	return ok;
}

static bool holds_ours(struct span value)
{
	return value.len >= sizeof(COOKIE_SESSION) - 1 &&
	       memmem(value.ptr, value.len, "__", 2) != NULL;
}

void browser_strip(struct front *f, struct message *m)
{
	size_t used = 0, kept = 0;

	for (size_t i = 0; i < m->field_count; i++) {
		struct field one = m->fields[i];
		struct span rest = one.value, pair;

		if (is_cookie(&one) && holds_ours(one.value)) {
			size_t from = used;

			if (!f->cookies)
				f->cookies = mem_alloc(2 * HTTP_HEAD_MAX);
			/* what is left is never longer, but for a space behind each semicolon */
			while (rest.len && span_next(&rest, ';', &pair)) {
				pair = span_trim(pair);
				if (!pair.len || is_ours(pair_name(pair)) || used + pair.len + 2 > 2 * HTTP_HEAD_MAX)
					continue;
				if (used > from) {
					memcpy(f->cookies + used, "; ", 2);
					used += 2;
				}
				memcpy(f->cookies + used, pair.ptr, pair.len);
				used += pair.len;
			}
			if (used == from)
				continue;
			one.value = span_of(f->cookies + from, used - from);
		}
		m->fields[kept++] = one;
	}
	m->field_count = kept;
}

/* ---- who it is ---- */

uint32_t browser_slot(const struct conn *c)
{
	struct browser *b = c->browser;
	const struct snapshot *s = c->front->snap;
	const struct snap_ident *d;
	uint32_t slot = b->known ? snapshot_find_session(s, b->hash) : SLOT_NONE;

	if (slot == SLOT_NONE)
		return b->known && b->node[0] ? snapshot_find_node(s, span_str(b->node), b->generation) : SLOT_NONE;
	d = snapshot_ident(s, slot);
	b->generation = d->generation;
	if (!b->generation || !span_cstr(snapshot_text(s, d->node), b->node, sizeof(b->node)))
		b->node[0] = '\0';
	return slot;
}

bool browser_waits(const struct conn *c)
{
	return c->browser && c->browser->asked;
}

int64_t browser_wait_ns(const struct conn *c)
{
	return c->browser->renewing ? FRONT_RENEW_WAIT_NS : FRONT_REDEEM_NS;
}

/* The connection is this identity's from here on, until its next request. */
static void become(struct conn *c)
{
	struct front *f = c->front;
	uint32_t was = c->slot;

	conn_identify(c);
	if (c->parent || was == c->slot)
		return;
	if (was != SLOT_NONE && f->open[was])
		f->open[was]--;
	if (c->slot != SLOT_NONE)
		f->open[c->slot]++;
}

static void identify(struct exchange *ex, const struct message *m)
{
	struct conn *c = ex->conn;
	struct span cookie = cookie_find(m, SPAN(COOKIE_SESSION));

	if (!c->browser)
		c->browser = mem_alloc(sizeof(*c->browser));
	/* what is asked for now is asked by this cookie, and not by one that was renewed since */
	c->browser->node[0] = '\0';
	c->browser->known = is_secret(cookie) &&
	                    cookie_hash(c->front, snapshot_text(ex->snap, ex->svc->name), cookie, c->browser->hash);
	become(c);
}

void browser_forget(struct conn *c)
{
	if (!c->browser)
		return;
	c->browser->known = false;
	become(c);
}

void browser_free(struct conn *c)
{
	if (!c->browser)
		return;
	if (c->browser->asked)
		c->front->redeems--;
	free(c->browser->url);
	mem_wipe(c->browser, sizeof(*c->browser));
	free(take(c->browser));
}

/* ---- what we answer ourselves ---- */

static void add_cookie(struct head_out *o, const char *name, struct span value, struct span more)
{
	head_add_lit(o, "Set-Cookie: ");
	head_add(o, span_str(name));
	head_add_lit(o, "=");
	head_add(o, value);
	head_add_lit(o, COOKIE_END);
	head_add(o, more);
	head_add_lit(o, "\r\n");
}

#define GONE SPAN("; Max-Age=0")

/* Set-Cookie fields are in `cookies`; to is printable. */
static void redirect(struct exchange *ex, struct span to, struct span cookies)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	struct head_out o = { .ptr = f->tx, .cap = sizeof(f->tx) };
	bool close = !ex->keep_alive || !ex->req.done;
	struct iovec v;

	ex->status = 303;
	head_add_lit(&o, "HTTP/1.1 303 See Other\r\n");
	head_add_field(&o, SPAN("Server"), span_str(f->server));
	head_add_field(&o, SPAN("Location"), to);
	head_add(&o, cookies);
	head_add_lit(&o, "Content-Length: 0\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n");
	if (close)
		head_add_lit(&o, "Connection: close\r\n");
	else if (ex->minor == 0)
		head_add_lit(&o, "Connection: keep-alive\r\n");
	head_add_lit(&o, "\r\n");
	v = (struct iovec){ o.ptr, o.len };
	io_write(&c->io, &v, 1);        /* a failure shows at the next step */
	ex->resp.done = true;
	exchange_done(ex);
}

static void show(struct exchange *ex, const char *word)
{
	ex->status = 200;
	page_write(ex, 200, word, NULL, !ex->keep_alive || !ex->req.done);
	ex->resp.done = true;
	exchange_done(ex);
}

/* ---- the way to the coordinator ---- */

/* A path of this service, as it may stand in Location; "//host" and "/\host" are none. */
static bool back_ok(struct span s)
{
	if (s.len == 0 || s.len > BROWSER_BACK_MAX || s.ptr[0] != '/' ||
	    (s.len > 1 && (s.ptr[1] == '/' || s.ptr[1] == '\\')))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= 0x20 || s.ptr[i] > 0x7e || s.ptr[i] == '\\')
			return false;
	return !span_starts(s, SPAN(PATH_OURS));
}

/* A login that is stronger or fresher than the one there is; anybody may ask for one. */
struct step_up {
	bool        fresh, mfa, has_age;
	int64_t     max_age;
	struct span acr;
};

/* "fresh" alone is what a coordinator of an earlier release knows. */
static void add_step_up(struct buf *b, const struct step_up *want)
{
	buf_add_str(b, "&fresh=1");
	if (want->mfa)
		buf_add_str(b, "&mfa=1");
	if (want->has_age)
		buf_addf(b, "&max_age=%lld", (long long)want->max_age);
	if (want->acr.len) {
		buf_add_str(b, "&acr=");
		percent_add(b, want->acr);
	}
}

/* This browser's secret, and its hash in base64url. Another tab's login goes on with the same: both may come back. */
static bool begin_secret(struct front *f, const struct message *m, struct buf *secret, struct buf *bind)
{
	struct span had = cookie_find(m, SPAN(COOKIE_LOGIN)), text = span_head(had, span_find(had, '.'));
	uint8_t hash[SNAPSHOT_HASH_LEN], raw[32];

	if (is_secret(text)) {
		buf_add_span(secret, text);
	} else {
		random_bytes(raw, sizeof(raw));
		base64url_add(secret, span_of(raw, sizeof(raw)));
		mem_wipe(raw, sizeof(raw));
	}

	const struct span parts[] = { { "reeve browser v1", 17 }, buf_span(secret) };

	if (!sha256(f, parts, array_size(parts), hash))
		return false;
	base64url_add(bind, span_of(hash, sizeof(hash)));
	return true;
}

/* To the coordinator; the login's cookie remembers the page. */
static void depart(struct exchange *ex, struct span secret, struct span back, struct span to)
{
	char cookie[2 * BROWSER_BACK_MAX + 256];
	struct head_out set = { .ptr = cookie, .cap = sizeof(cookie) };
	scoped_buf_secret struct buf value = { 0 };

	buf_init(&value, sizeof(cookie));
	buf_add_span(&value, secret);
	buf_add_char(&value, '.');
	base64url_add(&value, back_ok(back) ? back : SPAN("/"));
	add_cookie(&set, COOKIE_LOGIN, buf_span(&value), SPAN("; Max-Age=600"));
	redirect(ex, to, span_of(set.ptr, set.len));
	mem_wipe(cookie, sizeof(cookie));
}

static void login(struct exchange *ex, const struct message *m, struct span back, const struct step_up *want)
{
	scoped_buf_secret struct buf secret = { 0 };
	scoped_buf struct buf to = { 0 };

	buf_init(&secret, SECRET_LEN + 1);
	buf_init(&to, 8 << 10);
	buf_add_span(&to, snapshot_text(ex->snap, ex->svc->browser_url));
	if (!ex->svc->browser_url.len || !begin_secret(ex->conn->front, m, &secret, &to)) {
		exchange_refuse(ex, 503, "not-ready", NULL);
		return;
	}
	if (want)
		add_step_up(&to, want);
	depart(ex, buf_span(&secret), back, buf_span(&to));
}

static void join_target(const struct exchange *ex, struct buf *out)
{
	buf_add_span(out, ex->path);
	buf_add_span(out, ex->query);
}

void browser_login_path(const struct exchange *ex, const struct tables_auth *auth, struct buf *out)
{
	scoped_buf struct buf back = { 0 };
	struct step_up want = { 0 };

	buf_init(&back, 4 * HTTP_TARGET_MAX);
	join_target(ex, &back);
	buf_add_str(out, PATH_OURS "login?back=");
	percent_add(out, ex->verb == VERB_GET && !back.over && back_ok(buf_span(&back)) ? buf_span(&back) : SPAN("/"));
	if (!auth)
		return;
	want.fresh = true;
	want.mfa = auth->mfa || auth->amr.len;
	want.max_age = auth->max_age;
	want.has_age = auth->max_age > 0;
	want.acr = auth->acr;
	add_step_up(out, &want);
}

/* One parameter of the query; false if it is absent or twice there. */
static bool param(struct span query, struct span name, struct span *ret)
{
	struct span rest = span_from(query, 1), part;
	bool found = false;

	while (rest.len && span_next(&rest, '&', &part)) {
		size_t eq = span_find(part, '=');

		if (!span_eq(span_head(part, eq), name))
			continue;
		if (found)
			return false;
		found = true;
		*ret = span_from(part, eq + 1);
	}
	return found;
}

static void login_again(struct exchange *ex, const struct message *m)
{
	scoped_buf struct buf back = { 0 }, acr = { 0 };
	struct span raw = { 0 }, text;
	struct step_up want = { 0 };
	uint64_t age = 0;

	buf_init(&back, BROWSER_BACK_MAX);
	buf_init(&acr, BROWSER_ACR_MAX);
	if (!param(ex->query, SPAN("back"), &raw) || !percent_decode(raw, false, &back) || back.over)
		buf_clear(&back);
	want.fresh = param(ex->query, SPAN("fresh"), &text);
	want.mfa = param(ex->query, SPAN("mfa"), &text);
	want.has_age = param(ex->query, SPAN("max_age"), &text) && span_u64(text, INT32_MAX, &age);
	want.max_age = (int64_t)age;
	if (param(ex->query, SPAN("acr"), &text) && percent_decode(text, false, &acr) && !acr.over &&
	    span_is_print(buf_span(&acr)))
		want.acr = buf_span(&acr);
	login(ex, m, buf_span(&back), want.fresh ? &want : NULL);
}

/* ---- the way back ---- */

/* Whether there is a session that it can be a matter of. */
static bool counts(const struct exchange *ex)
{
	const struct conn *c = ex->conn;

	return c->slot != SLOT_NONE && c->generation &&
	       snapshot_valid(c->front->snap, c->slot, loop_now(c->front->loop));
}

/* The answer may come before this returns: then there is nothing to wait for. */
static void send_ask(struct conn *c, struct front_browser *ask)
{
	struct front *f = c->front;

	f->redeems++;
	ask->id = c->browser->asked = ++f->cookie;
	c->browser->cookie[0] = '\0';
	f->ops->browser(f->arg, ask);
}

static bool code_ok(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		char ch = s.ptr[i];

		if (!(ch >= '0' && ch <= '9') && !((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z') && ch != '-' &&
		    ch != '_' && ch != '.')
			return false;
	}
	return s.len > 0 && s.len <= CODE_MAX;
}

static void log_out(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	struct front_browser ask = { .what = BROWSER_END, .service = ex->service, .slot = c->slot };

	/* first: this connection is not to end with what it asks to be ended */
	browser_forget(c);
	if (ask.slot != SLOT_NONE && f->ops->browser)
		f->ops->browser(f->arg, &ask);
}

/* To the page that the login began at. */
static void go_back(struct exchange *ex, struct span back64, struct span cookies)
{
	char back[BROWSER_BACK_MAX];
	size_t n = 0;

	if (!base64url_decode(back64, back, sizeof(back), &n) || !back_ok(span_of(back, n))) {
		back[0] = '/';
		n = 1;
	}
	redirect(ex, span_of(back, n), cookies);
}

/* A code that does not count. Where it was to renew a session that is there, nothing is lost. */
static void come_to_nothing(struct exchange *ex, struct span back64, unsigned status, const char *reason)
{
	struct span text;

	if (param(ex->query, SPAN("renews"), &text) && counts(ex))
		go_back(ex, back64, SPAN(""));
	else
		exchange_refuse(ex, status, reason, NULL);
}

static void arrive(struct exchange *ex, struct span back64)
{
	struct browser *b = ex->conn->browser;
	char cookies[1024];
	struct head_out set = { .ptr = cookies, .cap = sizeof(cookies) };

	b->answered = false;
	if (b->what != BROWSER_COOKIE && b->what != BROWSER_RENEWED) {
		come_to_nothing(ex, back64, 403, "login-not-yours");
		return;
	}
	/* The session that was there before, if it is another one: its cookie is about to be overwritten. */
	if (b->what == BROWSER_COOKIE)
		log_out(ex);
	add_cookie(&set, COOKIE_SESSION, span_str(b->cookie), SPAN(""));
	add_cookie(&set, COOKIE_LOGIN, SPAN(""), GONE);
	go_back(ex, back64, span_of(set.ptr, set.len));
	mem_wipe(b->cookie, sizeof(b->cookie));
	mem_wipe(cookies, sizeof(cookies));
}

static enum browser_step come_back(struct exchange *ex, const struct message *m)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	struct span login = cookie_find(m, SPAN(COOKIE_LOGIN)), code = { 0 };
	size_t dot = span_find(login, '.');
	struct front_browser ask = { .service = ex->service, .slot = counts(ex) ? c->slot : SLOT_NONE,
		                     .verifier = span_head(login, dot) };

	if (param(ex->query, SPAN("kept"), &code)) {
		go_back(ex, span_from(login, dot + 1), SPAN(""));
		return BROWSER_ANSWERED;
	}
	if (c->browser->answered) {
		arrive(ex, span_from(login, dot + 1));
		return BROWSER_ANSWERED;
	}
	/* A code in a browser that has begun no login here: somebody else's (RFC 6749 10.12). */
	if (!f->ops->browser || !is_secret(ask.verifier) || !param(ex->query, SPAN("code"), &code) || !code_ok(code)) {
		come_to_nothing(ex, span_from(login, dot + 1), 403, "login-not-yours");
		return BROWSER_ANSWERED;
	}
	if (f->redeems >= FRONT_REDEEMS) {
		come_to_nothing(ex, span_from(login, dot + 1), 503, "login-busy");
		return BROWSER_ANSWERED;
	}
	ask.code = code;
	send_ask(c, &ask);
	/* the answer may be here already: then there is nothing to wait for */
	if (c->browser->answered) {
		arrive(ex, span_from(login, dot + 1));
		return BROWSER_ANSWERED;
	}
	return BROWSER_WAIT;
}

static void answered(struct conn *c, enum browser_answer what)
{
	c->browser->asked = 0;
	c->browser->answered = true;
	c->browser->what = what;
	c->front->redeems--;
}

void browser_late(struct conn *c)
{
	if (c->browser->renewing)
		c->front->renew_rest = front_now(c->front) + FRONT_RENEW_REST_NS;
	answered(c, BROWSER_REFUSED);
}

void front_browser_answer(struct front *f, uint64_t id, enum browser_answer what, struct span text)
{
	if ((what == BROWSER_COOKIE || what == BROWSER_RENEWED) && !is_secret(text))
		what = BROWSER_REFUSED;
	for (struct conn *c = f->conns; c; c = c->next) {
		struct browser *b = c->browser;

		if (!b || b->asked != id || c->state == CONN_CLOSED)
			continue;
		if (what == BROWSER_URL && b->renewing && span_is_print(text))
			b->url = span_dup(text);
		else if (what == BROWSER_URL || !span_cstr(text, b->cookie, sizeof(b->cookie)))
			what = BROWSER_REFUSED;
		answered(c, what);
		conn_later(c);
		return;
	}
	/* Nobody is left to have a new session. It is of the service that was asked for: try them all. One that was
	 * renewed goes on with what is open, to its end. */
	for (uint32_t i = 0; f->snap && what == BROWSER_COOKIE && i < snapshot_service_count(f->snap); i++) {
		const struct snap_service *v = snapshot_service(f->snap, i);
		struct front_browser end = { .what = BROWSER_END, .service = i, .slot = SLOT_NONE };
		struct span cookie = text;
		uint8_t hash[SNAPSHOT_HASH_LEN];

		if ((v->flags & SERVICE_BROWSER) && cookie_hash(f, snapshot_text(f->snap, v->name), cookie, hash))
			end.slot = snapshot_find_session(f->snap, hash);
		if (end.slot != SLOT_NONE)
			f->ops->browser(f->arg, &end);
	}
}

/* ---- renewal ---- */

static struct span header(const struct message *m, struct span name)
{
	for (size_t i = 0; i < m->field_count; i++)
		if (span_ieq(m->fields[i].name, name))
			return m->fields[i].value;
	return (struct span){ 0 };
}

/* A page that a person is about to see, in a window of theirs: no frame, which a provider's page would refuse, no
 * script's fetch, and nothing that the browser fetches on a guess. */
static bool navigates(const struct exchange *ex, const struct message *m)
{
	struct span dest = header(m, SPAN("sec-fetch-dest"));

	return ex->verb == VERB_GET && !ex->upgrade && !ex->forward && ex->html && m->body == BODY_NONE &&
	       (!dest.len || span_eq(dest, SPAN("document"))) && !header(m, SPAN("sec-purpose")).len &&
	       !header(m, SPAN("purpose")).len;
}

static bool renew_due(const struct exchange *ex)
{
	const struct front *f = ex->conn->front;
	const struct snap_ident *d = snapshot_ident(f->snap, ex->conn->slot);
	int64_t now = front_now(f);

	return d->expires_boot - now <= FRONT_RENEW_NS && now >= f->renew_rest && f->redeems < FRONT_RENEWALS &&
	       !f->draining && f->ops->browser;
}

/* Core knows whether the coordinator is there and this session was not tried before. Whatever it says, the page is
 * shown in the end. */
static enum browser_step renew(struct exchange *ex, const struct message *m)
{
	struct conn *c = ex->conn;
	struct browser *b = c->browser;
	struct front_browser ask = { .what = BROWSER_RENEW, .service = ex->service, .slot = c->slot };
	scoped_buf_secret struct buf secret = { 0 };
	scoped_buf struct buf back = { 0 }, bind = { 0 };
	enum browser_step step = BROWSER_ON;

	buf_init(&back, 4 * HTTP_TARGET_MAX);
	join_target(ex, &back);
	if (!b->renewing) {
		buf_init(&secret, SECRET_LEN + 1);
		buf_init(&bind, SECRET_LEN + 1);
		/* Somewhere else than where they were is nowhere to come back to. */
		if (back.over || !back_ok(buf_span(&back)) || !begin_secret(c->front, m, &secret, &bind))
			return BROWSER_ON;
		memcpy(b->secret, secret.ptr, sizeof(b->secret));
		ask.verifier = buf_span(&bind);
		b->renewing = true;
		send_ask(c, &ask);
		if (!b->answered)
			return BROWSER_WAIT;
	}
	b->renewing = b->answered = false;
	if (b->url) {
		depart(ex, span_str(b->secret), buf_span(&back), span_str(b->url));
		step = BROWSER_ANSWERED;
	}
	mem_wipe(b->secret, sizeof(b->secret));
	free(take(b->url));
	return step;
}

static bool logout_page(struct exchange *ex, const struct message *m)
{
	if (ex->verb == VERB_GET) {
		show(ex, "logout");
	} else if (ex->verb != VERB_POST) {
		exchange_refuse(ex, 405, "bad-request", "logging out is a POST");
	} else if (request_cross_site(ex, m)) {
		exchange_refuse(ex, 403, "cross-site", NULL);
	} else {
		log_out(ex);
		show(ex, "bye");
	}
	return true;
}

enum browser_step browser_request(struct exchange *ex, const struct message *m)
{
	bool get = ex->verb == VERB_GET && !ex->upgrade;

	identify(ex, m);
	if (span_eq(ex->path, SPAN(PATH_OURS "logout"))) {
		logout_page(ex, m);
		return BROWSER_ANSWERED;
	}
	if (get && span_eq(ex->path, SPAN(PATH_OURS "login"))) {
		login_again(ex, m);
		return BROWSER_ANSWERED;
	}
	if (get && span_eq(ex->path, SPAN(PATH_OURS "session")))
		return come_back(ex, m);
	if (counts(ex))
		return (ex->conn->browser->renewing || (renew_due(ex) && navigates(ex, m))) ? renew(ex, m) : BROWSER_ON;
	if (get && ex->html && forward_redirects(ex)) {
		scoped_buf struct buf back = { 0 };

		buf_init(&back, 4 * HTTP_TARGET_MAX);
		join_target(ex, &back);
		login(ex, m, back.over ? SPAN("/") : buf_span(&back), NULL);
		return BROWSER_ANSWERED;
	}
	if (ex->conn->slot != SLOT_NONE)
		return BROWSER_ON;      /* it says why it does not count */
	exchange_refuse(ex, 401, "no-session", NULL);
	return BROWSER_ANSWERED;
}
