/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What an application behind FastCGI, SCGI or uwsgi is told: the variables of
 * RFC 3875 section 4.1 from what was judged, the person, and the client's fields
 * as HTTP_*.
 */
#include "daemon/proxy/engine.h"

#include "base/encode.h"
#include "daemon/proxy/profiles.h"

#include <string.h>
#include <sys/socket.h>

enum gateway gateway_of(const struct exchange *ex)
{
	uint32_t flags = ex->run->up_count ? ex->run->ups[0]->flags : 0;

	return flags & SNAP_UP_FASTCGI ? GATEWAY_FASTCGI : flags & SNAP_UP_SCGI ? GATEWAY_SCGI
	     : flags & SNAP_UP_UWSGI ? GATEWAY_UWSGI : GATEWAY_NONE;
}

#define VAR(g, name, value) gateway_param((g), SPAN(name), (value))

static void number(struct gateway_out *g, struct span name, uint64_t n)
{
	char text[24];
	struct head_out t = { .ptr = text, .cap = sizeof(text) };

	head_add_u64(&t, n);
	gateway_param(g, name, span_of(text, t.len));
}

/* ---- the client's fields ---- */

/* "X-Forwarded-For" -> "HTTP_X_FORWARDED_FOR". A name with anything but letters,
 * digits and "-" could become another's and is left out. */
static bool field_var(struct span name, char out[HTTP_NAME_MAX + 5], struct span *ret)
{
	size_t n = 5;

	memcpy(out, "HTTP_", 5);
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		else if (c == '-')
			c = '_';
		else if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9'))
			return false;
		out[n++] = c;
	}
	*ret = span_of(out, n);
	return true;
}

static bool passes(const struct exchange *ex, const struct message *m, size_t i)
{
	return header_passes_up(ex->snap, m, &m->fields[i]) &&
	       !span_ieq(m->fields[i].name, SPAN("content-type"));
}

/* Fields of one name are one variable (RFC 3875 4.1.18), in the order in which they came. */
static bool fields(struct gateway_out *g, const struct exchange *ex, const struct message *m)
{
	char value[HTTP_HEAD_MAX], name[HTTP_NAME_MAX + 5];
	struct span var;

	for (size_t i = 0; i < m->field_count; i++) {
		struct head_out v = { .ptr = value, .cap = sizeof(value) };
		bool cookie = span_ieq(m->fields[i].name, SPAN("cookie")), first = true;

		if (!passes(ex, m, i) || !field_var(m->fields[i].name, name, &var))
			continue;
		for (size_t k = 0; k < i && first; k++)
			first = !span_ieq(m->fields[k].name, m->fields[i].name);
		if (!first)
			continue;
		for (size_t k = i; k < m->field_count; k++) {
			if (!span_ieq(m->fields[k].name, m->fields[i].name) || !passes(ex, m, k))
				continue;
			if (v.len)
				head_add(&v, cookie ? SPAN("; ") : SPAN(", "));
			head_add(&v, m->fields[k].value);
		}
		if (v.over)
			return false;
		gateway_param(g, var, span_of(v.ptr, v.len));
	}
	return true;
}

/*
 * Heads that are written as lines elsewhere, as variables. OIDC_CLAIM_* keep their name, as
 * with mod_auth_openidc: no field of a client's becomes a variable without HTTP_ before it.
 */
static void lines(struct gateway_out *g, struct span rest)
{
	char name[HTTP_NAME_MAX + 5];
	struct span line, var;

	while (span_next(&rest, '\n', &line)) {
		size_t n = span_find(line, ':');

		if (n + 3 > line.len || n > HTTP_NAME_MAX)
			continue;
		var = span_head(line, n);
		if (span_starts(var, SPAN("OIDC_CLAIM_")) || field_var(var, name, &var))
			gateway_param(g, var, span_head(span_from(line, n + 2), line.len - n - 3));
	}
}

/* ---- which script ---- */

static struct span base_name(struct span path)
{
	for (size_t i = path.len; i > 0; i--)
		if (path.ptr[i - 1] == '/')
			return span_from(path, i);
	return path;
}

/* Where the first segment ends that ends in ext; 0 if none does. */
static size_t script_end(struct span path, struct span ext)
{
	for (size_t i = ext.len; i <= path.len; i++)
		if ((i == path.len || path.ptr[i] == '/') && span_eq(span_of(path.ptr + i - ext.len, ext.len), ext) &&
		    i > ext.len && path.ptr[i - ext.len - 1] != '/')
			return i;
	return 0;
}

static void script(struct gateway_out *g, const struct exchange *ex, struct span path, struct buf *tmp)
{
	struct span file = snapshot_text(ex->snap, ex->svc->script);
	struct span root = snapshot_text(ex->snap, ex->svc->root);
	struct span base = base_name(file), ext = SPAN(".php");
	size_t end = 0;

	for (size_t i = base.len; i > 1; i--)
		if (base.ptr[i - 1] == '.') {
			ext = span_from(base, i - 1);
			break;
		}
	if (root.len) {
		VAR(g, "DOCUMENT_ROOT", root);
		end = script_end(path, ext);
	}
	if (end) {
		buf_clear(tmp);
		buf_add_span(tmp, root);
		buf_add_span(tmp, span_head(path, end));
		VAR(g, "SCRIPT_FILENAME", buf_span(tmp));
		VAR(g, "SCRIPT_NAME", span_head(path, end));
		VAR(g, "PATH_INFO", span_from(path, end));
		return;
	}
	if (file.len)
		VAR(g, "SCRIPT_FILENAME", file);
	buf_clear(tmp);
	if (root.len && file.len) {
		buf_add_str(tmp, "/");
		buf_add_span(tmp, base);
	}
	VAR(g, "SCRIPT_NAME", buf_span(tmp));
	VAR(g, "PATH_INFO", path);
}

/* ---- all of it ---- */

static void addresses(struct gateway_out *g, const struct exchange *ex)
{
	const struct conn *c = ex->conn;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ipport at;
	char ip[IP_TEXT_MAX];

	if (c->peer.family != IP_NONE) {
		VAR(g, "REMOTE_ADDR", span_str(ip_text(&c->peer, ip)));
		number(g, SPAN("REMOTE_PORT"), c->peer_port);
	}
	if (getsockname(c->parent ? c->parent->io.watch.fd : c->io.watch.fd, (struct sockaddr *)&ss, &len) == 0 && ipport_from_sockaddr(&ss, &at))
		VAR(g, "SERVER_ADDR", span_str(ip_text(&at.ip, ip)));
	VAR(g, "SERVER_NAME", ex->host);
	number(g, SPAN("SERVER_PORT"), c->front->target.port ? c->front->target.port : c->tls ? 443 : 80);
	VAR(g, "REQUEST_SCHEME", c->tls ? SPAN("https") : SPAN("http"));
	if (c->tls)
		VAR(g, "HTTPS", SPAN("on"));
}

static bool person(struct gateway_out *g, const struct exchange *ex)
{
	const struct snap_ident *d = ex->svc->flags & SERVICE_PUBLIC ? NULL
	                                                             : snapshot_ident(ex->snap, ex->conn->slot);
	struct span login = d && d->kind == IDENT_PERSON ? snapshot_text(ex->snap, d->login) : (struct span){ 0 };

	if (!login.len)
		return true;
	VAR(g, "REMOTE_USER", login);
	VAR(g, "AUTH_TYPE", SPAN("Reeve"));
	return span_is_print(login);
}

/* extra: the lines of what Reeve says itself (ids, forwarding, profiles). */
bool gateway_request(struct exchange *ex, const struct message *m, struct span extra, struct head_out *o,
                     const char **ret_why)
{
	const struct field *type = NULL;
	scoped_buf struct buf path = { 0 }, tmp = { 0 };
	struct gateway_out g;

	for (size_t i = 0; i < m->field_count; i++)
		if (span_ieq(m->fields[i].name, SPAN("content-type")))
			type = &m->fields[i];
	buf_init(&path, HTTP_TARGET_MAX * 4);
	buf_init(&tmp, HTTP_TARGET_MAX * 4 + SNAPSHOT_TEXT_MAX);
	if (!percent_decode(ex->path, false, &path)) {
		*ret_why = "the path cannot be decoded";
		return false;
	}
	gateway_begin(&g, ex->gateway, o);
	number(&g, SPAN("CONTENT_LENGTH"), m->body == BODY_LENGTH ? m->length : 0);
	if (ex->gateway == GATEWAY_SCGI)
		VAR(&g, "SCGI", SPAN("1"));
	VAR(&g, "GATEWAY_INTERFACE", SPAN("CGI/1.1"));
	VAR(&g, "SERVER_SOFTWARE", SPAN("reeve"));
	VAR(&g, "SERVER_PROTOCOL", ex->minor ? SPAN("HTTP/1.1") : SPAN("HTTP/1.0"));
	VAR(&g, "REQUEST_METHOD", ex->method);
	VAR(&g, "QUERY_STRING", span_from(ex->query, ex->query.len > 0));
	buf_add_span(&tmp, ex->path);
	buf_add_span(&tmp, ex->query);
	VAR(&g, "REQUEST_URI", buf_span(&tmp));
	VAR(&g, "REDIRECT_STATUS", SPAN("200"));        /* php-cgi answers nobody without it */
	if (type)
		VAR(&g, "CONTENT_TYPE", type->value);
	script(&g, ex, buf_span(&path), &tmp);
	addresses(&g, ex);
	VAR(&g, "HTTP_HOST", m->host);
	if (!person(&g, ex)) {
		*ret_why = "the login is not plain ASCII";
		return false;
	}
	if (!fields(&g, ex, m)) {
		*ret_why = "fields of one name are too long together";
		return false;
	}
	lines(&g, extra);
	gateway_end(&g, m->body == BODY_LENGTH);
	return true;
}
