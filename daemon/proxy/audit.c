/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * One line a request, when it is over: who, what, the verdict and its rule, how
 * it went. Lines gather, and leave in batches, so that a request costs no
 * system call for them; what is not taken is counted, and never waited for.
 */
#include "daemon/proxy/engine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const end_names[] = {
	[END_OK] = "ok",           [END_REFUSED] = "refused", [END_CLIENT] = "client",
	[END_UPSTREAM] = "upstream", [END_TIMEOUT] = "timeout", [END_REVOKED] = "revoked",
	[END_EXPIRED] = "expired", [END_POLICY] = "policy",   [END_DRAIN] = "drain",
};

void audit_flush(struct front *f)
{
	struct span rest = buf_span(&f->lines);

	f->log_armed = false;
	while (rest.len) {
		struct span batch = rest;
		unsigned n = 0;

		if (batch.len > FRONT_LOG_BATCH) {
			batch.len = FRONT_LOG_BATCH;
			while (batch.len && batch.ptr[batch.len - 1] != '\n')
				batch.len--;
			if (!batch.len)         /* no line is that long: see line_max below */
				break;
		}
		for (size_t i = 0; i < batch.len; i++)
			n += batch.ptr[i] == '\n';
		if (!f->ops->log || !f->ops->log(f->arg, batch, n))
			f->stats.log_lost += n;
		rest = span_from(rest, batch.len);
	}
	buf_clear(&f->lines);
	f->line_count = 0;
}

static void line_done(struct front *f, size_t before)
{
	if (f->lines.over || f->lines.len - before > FRONT_LOG_BATCH) {
		/* never half a line */
		f->lines.len = before;
		f->lines.over = false;
		f->stats.log_lost++;
		return;
	}
	f->stats.log_records++;
	f->line_count++;
	if (f->lines.len > FRONT_LOG_BATCH / 4 * 3) {
		audit_flush(f);
	} else if (!f->log_armed) {
		f->log_armed = true;
		loop_timer_after(f->log_timer, FRONT_LOG_NS);
	}
}

/* buf_add_json() for what is nearly always plain: looked at once, copied once. */
static void add_text(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
			buf_add_json(b, s);
			return;
		}
	}
	buf_add(b, "\"", 1);
	buf_add_span(b, s);
	buf_add(b, "\"", 1);
}

static void add_member(struct buf *b, const char *key, struct span s)
{
	if (!s.len)
		return;
	buf_add_str(b, key);
	add_text(b, s);
}

static void add_u64(struct buf *b, uint64_t n)
{
	char t[20];
	size_t i = sizeof(t);

	do
		t[--i] = (char)('0' + n % 10);
	while (n /= 10);
	buf_add(b, t + i, sizeof(t) - i);
}

static void add_number(struct buf *b, const char *key, uint64_t n)
{
	buf_add_str(b, key);
	add_u64(b, n);
}

/* "2026-01-02T03:04:05Z": made once a second. */
static struct span now_text(struct front *f)
{
	struct wall w = loop_wall(f->loop);

	if (w.sec != f->time_sec) {
		f->time_sec = w.sec;
		wall_text(w, f->time_text);
		f->time_len = strlen(f->time_text);
	}
	return span_of(f->time_text, f->time_len);
}

static void add_client(struct buf *b, const struct conn *c)
{
	char ip[IP_TEXT_MAX];

	if (c->peer.family == IP_NONE)
		return;
	buf_add_str(b, ",\"client\":\"");
	buf_add_str(b, ip_text(&c->peer, ip));
	buf_add_str(b, "\"");
}

static void json_line(struct exchange *ex, enum ex_end why, struct buf *b)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	const struct snapshot *s = ex->snap;
	const struct snap_ident *d = s ? snapshot_ident(s, c->slot) : NULL;
	int64_t now = front_now(f);
	struct tables_rule rule;

	buf_add_str(b, "{\"time\":\"");
	buf_add_span(b, now_text(f));
	buf_add_str(b, ex->tcp ? "\",\"event\":\"connection\",\"verdict\":"
	                       : "\",\"event\":\"request\",\"verdict\":");
	buf_add_str(b, ex->counted ? "\"allow\"" : "\"deny\"");
	if (ex->refused) {
		buf_add_str(b, ",\"reason\":\"");
		buf_add_str(b, ex->refused);
		buf_add_str(b, "\"");
	}
	if (ex->detail)
		add_member(b, ",\"detail\":", span_str(ex->detail));
	if (s && snapshot_policy(s)) {
		if (ex->why.rule && tables_rule(snapshot_policy(s), ex->why.rule, &rule))
			add_member(b, ",\"rule\":", rule.text);
		if (ex->why.local && tables_rule(snapshot_policy(s), ex->why.local, &rule))
			add_member(b, ",\"owner_rule\":", rule.text);
	}
	if (ex->svc)
		add_member(b, ",\"service\":", snapshot_text(s, ex->svc->name));
	if (d) {
		add_member(b, ",\"login\":", snapshot_text(s, d->login));
		add_member(b, ",\"user\":", snapshot_text(s, d->user));
		add_member(b, ",\"session\":", snapshot_text(s, d->session));
		add_member(b, ",\"node\":", snapshot_text(s, d->node));
		add_member(b, ",\"node_name\":", snapshot_text(s, d->node_name));
		/* "tag:break-glass-.." among them: the owner's own key, past everything else. */
		for (uint32_t i = 0; i < d->tags.count; i++) {
			buf_add_str(b, i ? "," : ",\"tags\":[");
			add_text(b, snapshot_item(s, d->tags, i));
		}
		if (d->tags.count)
			buf_add_char(b, ']');
	}
	add_client(b, c);
	add_member(b, ",\"method\":", ex->method);
	add_member(b, ",\"host\":", ex->host);
	add_member(b, ",\"path\":", span_head(ex->path, LOG_TARGET_MAX));
	if (ex->path.len > LOG_TARGET_MAX)
		buf_add_str(b, ",\"path_cut\":true");
	add_number(b, ",\"status\":", ex->status);
	add_number(b, ",\"bytes_in\":", ex->bytes_in);
	add_number(b, ",\"bytes_out\":", ex->bytes_out);
	add_number(b, ",\"ms\":", (uint64_t)((now - ex->started) / 1000000));
	if (ex->first_byte)
		add_number(b, ",\"first_byte_ms\":", (uint64_t)((ex->first_byte - ex->started) / 1000000));
	add_member(b, ",\"id\":", ex->rid);
	buf_add_str(b, ",\"end\":\"");
	buf_add_str(b, end_names[why]);
	buf_add_str(b, "\"}\n");
}

/* Text of the Common Log Format: what would end it is escaped, which for a word is also a space. */
static void add_escaped(struct buf *b, struct span s, unsigned char first)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		char e[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };

		if (c < first || c > 0x7e || c == '"' || c == '\\')
			buf_add(b, e, 4);
		else
			buf_add_char(b, (char)c);
	}
}

static void add_quoted(struct buf *b, struct span s)
{
	add_escaped(b, s, 0x20);
}

static void common_line(struct exchange *ex, struct buf *b, bool combined)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	const struct snap_ident *d = ex->snap ? snapshot_ident(ex->snap, c->slot) : NULL;
	struct span login = d ? snapshot_text(ex->snap, d->login) : (struct span){ 0 };
	char ip[IP_TEXT_MAX], when[40];
	time_t t = (time_t)loop_wall(f->loop).sec;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(when, sizeof(when), "%d/%b/%Y:%H:%M:%S +0000", &tm);
	buf_addf(b, "%s - ", c->peer.family == IP_NONE ? "-" : ip_text(&c->peer, ip));
	add_escaped(b, login.len ? login : SPAN("-"), 0x21);
	buf_addf(b, " [%s] \"", when);
	add_quoted(b, ex->method);
	buf_add_char(b, ' ');
	add_quoted(b, span_head(ex->path, LOG_TARGET_MAX));
	add_quoted(b, span_head(ex->query, LOG_TARGET_MAX));
	buf_addf(b, " HTTP/1.%u\" %u %llu", ex->minor, ex->status, (unsigned long long)ex->bytes_out);
	if (combined) {
		buf_add_str(b, " \"");
		add_quoted(b, ex->referer.len ? span_head(ex->referer, LOG_TARGET_MAX) : SPAN("-"));
		buf_add_str(b, "\" \"");
		add_quoted(b, ex->agent.len ? span_head(ex->agent, LOG_TARGET_MAX) : SPAN("-"));
		buf_add_char(b, '"');
	}
	buf_add_char(b, '\n');
}

void audit_exchange(struct exchange *ex, enum ex_end why)
{
	struct front *f = ex->conn->front;
	size_t before = f->lines.len;

	/* What was refused, or cut off, is always told in full. */
	if (f->log == FRONT_LOG_JSON || !ex->counted || ex->tcp || why == END_REVOKED || why == END_EXPIRED ||
	    why == END_POLICY)
		json_line(ex, why, &f->lines);
	else if (f->log == FRONT_LOG_NONE)
		return;
	else
		common_line(ex, &f->lines, f->log == FRONT_LOG_COMBINED);
	line_done(f, before);
}

void audit_application(struct upconn *u, struct span text)
{
	struct front *f = u->front;
	struct buf *b = &f->lines;
	size_t before = b->len;

	buf_add_str(b, "{\"time\":\"");
	buf_add_span(b, now_text(f));
	buf_add_str(b, "\",\"event\":\"application\"");
	add_member(b, ",\"service\":", span_str(u->upstream->run->name));
	add_member(b, ",\"text\":", span_head(text, GATEWAY_ERROR_MAX));
	if (u->ex)
		add_member(b, ",\"id\":", u->ex->rid);
	buf_add_str(b, "}\n");
	line_done(f, before);
}

void audit_upstream(const struct upstream *s, bool down, const char *why)
{
	struct front *f = s->run->front;
	struct buf *b = &f->lines;
	size_t before = b->len;

	buf_add_str(b, "{\"time\":\"");
	buf_add_span(b, now_text(f));
	buf_add_str(b, "\",\"event\":\"upstream\"");
	add_member(b, ",\"service\":", span_str(s->run->name));
	add_member(b, ",\"upstream\":", span_str(s->name));
	add_member(b, ",\"health\":", down ? SPAN("down") : SPAN("up"));
	add_member(b, ",\"detail\":", span_str(why));
	buf_add_str(b, "}\n");
	line_done(f, before);
}

void audit_bad(struct conn *c, const struct fault *why)
{
	struct front *f = c->front;
	const struct snap_ident *d = f->snap ? snapshot_ident(f->snap, c->slot) : NULL;
	struct buf *b = &f->lines;
	size_t before = b->len;

	buf_add_str(b, "{\"time\":\"");
	buf_add_span(b, now_text(f));
	buf_add_str(b, "\",\"event\":\"request\",\"verdict\":\"deny\",\"reason\":\"bad-request\"");
	add_member(b, ",\"detail\":", span_str(why->why));
	if (d) {
		add_member(b, ",\"login\":", snapshot_text(f->snap, d->login));
		add_member(b, ",\"node\":", snapshot_text(f->snap, d->node));
	}
	add_client(b, c);
	add_number(b, ",\"status\":", why->status);
	buf_add_str(b, "}\n");
	line_done(f, before);
}
