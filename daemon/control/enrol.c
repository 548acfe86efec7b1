/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/enrol.h"

#include "daemon/control/enrol_idp.h"
#include "daemon/control/map_parts.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void add_str(struct buf *out, const char *name, const char *text)
{
	map_add_member(out, name, span_str(text));
}

static void add_base64(struct buf *out, const char *name, const uint8_t *p, size_t n)
{
	buf_addf(out, ",\"%s\":\"", name);
	base64_add(out, span_of(p, n));
	buf_add_char(out, '"');
}

static void add_base64url(struct buf *out, const char *name, struct span bytes)
{
	buf_addf(out, ",\"%s\":\"", name);
	base64url_add(out, bytes);
	buf_add_char(out, '"');
}

static bool version_ok(struct fields *f)
{
	int64_t v = fields_int(f, "v", 1, INT64_MAX, FIELD_REQUIRED);

	return v == ENROL_VERSION ||
	       fields_fail(f, ERR_PEER, "v", "a version that this release does not know");
}

/* base64url of exactly len characters: attempts, tickets. */
static bool token(struct fields *f, const char *name, char *buf, size_t len, unsigned flags)
{
	uint8_t bytes[64];
	size_t  n;

	if (!fields_cstr(f, name, buf, len + 1, flags))
		return false;
	if (strlen(buf) == len && base64url_decode(span_str(buf), bytes, sizeof(bytes), &n)) {
		mem_wipe(bytes, sizeof(bytes));
		return true;
	}
	buf[0] = '\0';
	return fields_fail(f, ERR_SYNTAX, name, "not of the right form");
}

static void add_device(struct buf *out, bool device, const char *issuer)
{
	if (device)
		buf_add_str(out, ",\"device\":true");
	if (*issuer)
		add_str(out, "issuer", issuer);
}

static void get_device(struct fields *f, bool *ret_device, char issuer[ENROL_ISSUER_MAX + 1])
{
	*ret_device = fields_bool(f, "device");
	fields_cstr(f, "issuer", issuer, ENROL_ISSUER_MAX + 1, FIELD_OPTIONAL);
}

/* ---- start ---- */

void enrol_start_done(struct enrol_start *s)
{
	secret_done(&s->enrol_key);
	*s = (struct enrol_start){ 0 };
}

void enrol_start_encode(const struct enrol_start *s, struct buf *out)
{
	buf_addf(out, "{\"v\":%d", ENROL_VERSION);
	add_base64(out, "key", s->key, sizeof(s->key));
	add_str(out, "name", s->name);
	add_str(out, "os", s->os);
	if (s->enrol_key.len)
		add_base64url(out, "enrol_key", secret_span(&s->enrol_key));
	add_base64url(out, "pin", span_of(s->pin.sha256, sizeof(s->pin.sha256)));
	if (s->loopback)
		buf_addf(out, ",\"loopback\":%u", s->loopback);
	add_device(out, s->device, s->issuer);
	buf_add_char(out, '}');
}

bool enrol_start_decode(struct span json, struct enrol_start *ret_s, struct err *err)
{
	scoped_json json_t *root = json_read(json, ENROL_BODY_MAX, err);
	struct enrol_start  s = { 0 };
	uint8_t             secret[ENROL_KEY_LEN];

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	version_ok(&f);
	fields_base64(&f, "key", s.key, sizeof(s.key), FIELD_REQUIRED);
	fields_cstr(&f, "name", s.name, sizeof(s.name), FIELD_REQUIRED);
	if (!f.bad && !map_name_ok(span_str(s.name)))
		fields_fail(&f, ERR_SYNTAX, "name", "not a lower-case DNS label");
	fields_cstr(&f, "os", s.os, sizeof(s.os), FIELD_OPTIONAL);
	if (!f.bad && !span_is_print(span_str(s.os)))
		fields_fail(&f, ERR_SYNTAX, "os", "not printable ASCII");
	if (fields_base64url(&f, "enrol_key", secret, sizeof(secret), FIELD_OPTIONAL))
		secret_init(&s.enrol_key, secret, sizeof(secret));
	mem_wipe(secret, sizeof(secret));
	fields_base64url(&f, "pin", s.pin.sha256, sizeof(s.pin.sha256), FIELD_REQUIRED);
	s.loopback = (uint16_t)fields_int(&f, "loopback", 1, 65535, FIELD_OPTIONAL);
	get_device(&f, &s.device, s.issuer);
	if (f.bad) {
		enrol_start_done(&s);
		return false;
	}
	*ret_s = s;
	return true;
}

void enrol_challenge_encode(const struct enrol_challenge *c, struct buf *out)
{
	buf_addf(out, "{\"v\":%d", ENROL_VERSION);
	add_str(out, "attempt", c->attempt);
	add_base64url(out, "challenge", span_of(c->challenge, sizeof(c->challenge)));
	add_base64(out, "ephemeral", c->ephemeral, sizeof(c->ephemeral));
	buf_add_char(out, '}');
}

bool enrol_challenge_decode(struct span json, struct enrol_challenge *ret_c, struct err *err)
{
	scoped_json json_t    *root = json_read(json, ENROL_BODY_MAX, err);
	struct enrol_challenge c = { 0 };

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	version_ok(&f);
	token(&f, "attempt", c.attempt, ENROL_ATTEMPT_LEN, FIELD_REQUIRED);
	fields_base64url(&f, "challenge", c.challenge, sizeof(c.challenge), FIELD_REQUIRED);
	fields_base64(&f, "ephemeral", c.ephemeral, sizeof(c.ephemeral), FIELD_REQUIRED);
	if (f.bad)
		return false;
	*ret_c = c;
	return true;
}

/* ---- prove, finish, login ---- */

void enrol_prove_encode(const struct enrol_prove *p, struct buf *out)
{
	buf_addf(out, "{\"attempt\":\"%s\"", p->attempt);
	add_base64url(out, "proof", span_of(p->proof, sizeof(p->proof)));
	buf_add_char(out, '}');
}

bool enrol_prove_decode(struct span json, struct enrol_prove *ret_p, struct err *err)
{
	scoped_json json_t *root = json_read(json, ENROL_BODY_MAX, err);
	struct enrol_prove  p = { 0 };

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	token(&f, "attempt", p.attempt, ENROL_ATTEMPT_LEN, FIELD_REQUIRED);
	fields_base64url(&f, "proof", p.proof, sizeof(p.proof), FIELD_REQUIRED);
	if (f.bad)
		return false;
	*ret_p = p;
	return true;
}

void enrol_finish_encode(const struct enrol_finish *fin, struct buf *out)
{
	buf_addf(out, "{\"attempt\":\"%s\"", fin->attempt);
	if (fin->id_token) {
		add_str(out, "id_token", fin->id_token);
		add_base64url(out, "opening", span_of(fin->opening, sizeof(fin->opening)));
		add_str(out, "refresh_token", fin->refresh_token);
	} else {
		add_str(out, "ticket", fin->ticket);
	}
	buf_add_char(out, '}');
}

void enrol_finish_done(struct enrol_finish *f)
{
	char *both[] = { f->id_token, f->refresh_token };

	for (size_t i = 0; i < 2; i++) {
		if (both[i])
			mem_wipe(both[i], strlen(both[i]));
		free(both[i]);
	}
	mem_wipe(f, sizeof(*f));
}

bool enrol_finish_decode(struct span json, struct enrol_finish *ret_f, struct err *err)
{
	scoped_json json_t *root = json_read(json, ENROL_BODY_MAX, err);
	struct enrol_finish fin = { 0 };

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	token(&f, "attempt", fin.attempt, ENROL_ATTEMPT_LEN, FIELD_REQUIRED);
	token(&f, "ticket", fin.ticket, ENROL_TICKET_LEN, FIELD_OPTIONAL);
	struct span id_token = fields_str(&f, "id_token", ENROL_BODY_MAX, FIELD_OPTIONAL);
	fields_base64url(&f, "opening", fin.opening, sizeof(fin.opening),
	                 id_token.len ? FIELD_REQUIRED : FIELD_OPTIONAL);
	struct span refresh = fields_str(&f, "refresh_token", ENROL_REFRESH_MAX, FIELD_OPTIONAL);
	if (!f.bad && id_token.len && (fin.ticket[0] || !span_is_print(id_token) || !span_is_print(refresh)))
		fields_fail(&f, ERR_SYNTAX, "id_token", "not printable, or beside a ticket");
	if (f.bad)
		return false;
	fin.id_token = id_token.len ? span_dup(id_token) : NULL;
	fin.refresh_token = id_token.len && refresh.len ? span_dup(refresh) : NULL;
	*ret_f = fin;
	return true;
}

void enrol_login_encode(const struct enrol_login *l, struct buf *out)
{
	buf_addf(out, "{\"v\":%d", ENROL_VERSION);
	if (l->loopback)
		buf_addf(out, ",\"loopback\":%u", l->loopback);
	if (l->has_max_age)
		buf_addf(out, ",\"max_age\":%lld", (long long)l->max_age);
	add_str(out, "acr", l->acr);
	add_device(out, l->device, l->issuer);
	if (l->silent)
		buf_add_str(out, ",\"silent\":true");
	buf_add_char(out, '}');
}

bool enrol_login_decode(struct span json, struct enrol_login *ret_l, struct err *err)
{
	scoped_json json_t *root = json_read(json, ENROL_BODY_MAX, err);

	if (!root)
		return false;
	struct fields      f = fields_of(root, err);
	struct enrol_login l = { 0 };

	version_ok(&f);
	l.loopback = (uint16_t)fields_int(&f, "loopback", 1, 65535, FIELD_OPTIONAL);
	l.has_max_age = json_object_get(root, "max_age") != NULL;
	l.max_age = fields_int(&f, "max_age", 0, INT32_MAX, FIELD_OPTIONAL);
	fields_cstr(&f, "acr", l.acr, sizeof(l.acr), FIELD_OPTIONAL);
	l.silent = json_is_true(json_object_get(root, "silent"));
	if (!f.bad && !span_is_print(span_str(l.acr)))
		fields_fail(&f, ERR_SYNTAX, "acr", "not printable ASCII");
	get_device(&f, &l.device, l.issuer);
	if (f.bad)
		return false;
	*ret_l = l;
	return true;
}

/* ---- replies ---- */

void enrol_logout_decode(struct span json, char ret_url[ENROL_URL_MAX])
{
	scoped_json json_t *root = json_read(json, ENROL_BODY_MAX, NULL);
	struct span         url = span_str(json_string_value(json_object_get(root, "url")));

	ret_url[0] = '\0';
	if (span_starts(url, SPAN("https://")) && span_is_print(url) && url.len < ENROL_URL_MAX)
		span_cstr(url, ret_url, ENROL_URL_MAX);
}

void enrol_reply_done(struct enrol_reply *r)
{
	map_node_unref(r->node);
	map_node_unref(r->hub);
	if (r->device)
		enrol_idp_done(r->device);
	free(r->device);
	free(r->choose);
	*r = (struct enrol_reply){ 0 };
}

void enrol_reply_encode(const struct enrol_reply *r, struct buf *out)
{
	char text[IP_TEXT_MAX];

	if (r->choose) {
		buf_add_str(out, "{\"choose\":");
		enrol_choices_encode(r->choose, r->choose_count, out);
		buf_add_char(out, '}');
		return;
	}
	if (!r->done && r->device) {
		buf_addf(out, "{\"attempt\":\"%s\",\"device\":", r->attempt);
		enrol_idp_encode(r->device, out);
		buf_addf(out, ",\"expires\":%lld}", (long long)r->expires.sec);
		return;
	}
	if (!r->done) {
		buf_addf(out, "{\"attempt\":\"%s\"", r->attempt);
		add_str(out, "url", r->url);
		add_str(out, "code", r->code);
		buf_addf(out, ",\"expires\":%lld}", (long long)r->expires.sec);
		return;
	}
	buf_add_str(out, "{\"node\":");
	map_node_encode(r->node, out);
	buf_add_str(out, ",\"hub\":");
	map_node_encode(r->hub, out);
	buf_add_str(out, ",\"mesh\":");
	map_add_mesh(out, &r->mesh);
	buf_addf(out, ",\"control\":\"%s\"}", ipport_text(&r->control, text));
}

static bool reply_done_decode(struct fields *f, struct enrol_reply *r)
{
	const json_t *node = fields_object(f, "node", FIELD_REQUIRED);
	const json_t *hub = fields_object(f, "hub", FIELD_REQUIRED);
	struct span   control = fields_str(f, "control", IP_TEXT_MAX, FIELD_REQUIRED);

	r->done = true;
	if (f->bad)
		return false;
	r->node = map_node_from_json(node, f->err);
	r->hub = r->node ? map_node_from_json(hub, f->err) : NULL;
	if (!r->hub || !map_get_mesh(f, &r->node->mem, &r->mesh))
		return false;
	if (!ipport_parse(control, &r->control) || r->control.port == 0)
		return fields_fail(f, ERR_SYNTAX, "control", "not ADDRESS:PORT");
	if (!ip_eq(&r->control.ip, &r->hub->v4) && !ip_eq(&r->control.ip, &r->hub->v6))
		return fields_fail(f, ERR_PEER, "control", "not an overlay address of the hub");
	return true;
}

static bool reply_decode(struct fields *f, struct enrol_reply *r)
{
	if (json_object_get(f->obj, "node"))
		return reply_done_decode(f, r);
	if (json_object_get(f->obj, "choose"))
		return enrol_choices_decode(json_object_get(f->obj, "choose"), &r->choose, &r->choose_count,
		                            f->err);
	if (json_object_get(f->obj, "device")) {
		token(f, "attempt", r->attempt, ENROL_ATTEMPT_LEN, FIELD_REQUIRED);
		r->expires.sec = fields_int(f, "expires", 1, INT64_MAX, FIELD_REQUIRED);
		r->device = f->bad ? NULL : mem_alloc(sizeof(*r->device));
		return r->device && enrol_idp_decode(json_object_get(f->obj, "device"), r->device, f->err);
	}
	token(f, "attempt", r->attempt, ENROL_ATTEMPT_LEN, FIELD_REQUIRED);
	fields_cstr(f, "url", r->url, sizeof(r->url), FIELD_REQUIRED);
	/* It is going to be opened in a browser and printed on a terminal. */
	if (!f->bad && (!span_starts(span_str(r->url), SPAN("https://")) ||
			!span_is_print(span_str(r->url)) || strpbrk(r->url, " \"'<>\\`")))
		fields_fail(f, ERR_PEER, "url", "not an https URL");
	fields_cstr(f, "code", r->code, sizeof(r->code), FIELD_REQUIRED);
	if (!f->bad && !span_is_print(span_str(r->code)))
		fields_fail(f, ERR_PEER, "code", "not printable");
	r->expires.sec = fields_int(f, "expires", 1, INT64_MAX, FIELD_REQUIRED);
	return !f->bad;
}

bool enrol_reply_decode(struct span json, struct enrol_reply *ret_r, struct err *err)
{
	scoped_json json_t *root = json_read(json, ENROL_REPLY_MAX, err);
	struct enrol_reply  r = { 0 };

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	if (f.bad || !reply_decode(&f, &r)) {
		enrol_reply_done(&r);
		return false;
	}
	*ret_r = r;
	return true;
}

/* ---- refusals ---- */

void enrol_error_encode(const struct err *err, struct buf *out)
{
	buf_addf(out, "{\"error\":\"%s\",\"message\":", err_code_name(err->code));
	buf_add_json(out, span_str(err->msg));
	buf_add_str(out, "}\n");
}

unsigned enrol_error_status(enum err_code code)
{
	switch (code) {
	case ERR_SYNTAX:
	case ERR_PEER:
	case ERR_CONFIG:
		return 400;
	case ERR_CRYPTO:
	case ERR_DENIED:
		return 403;
	case ERR_MISSING:
		return 404;
	case ERR_EXISTS:
	case ERR_NOTNOW:
		return 409;
	case ERR_EXPIRED:
		return 410;
	case ERR_LIMIT:
		return 413;
	case ERR_BUSY:
		return 429;
	case ERR_TIMEOUT:
	case ERR_SYS:
	case ERR_NONE:
		break;
	}
	return 500;
}

bool enrol_error_decode(unsigned status, struct span body, struct err *err)
{
	scoped_json json_t *root = json_read(body, ENROL_REPLY_MAX, NULL);
	char                text[LOG_TEXT_MAX];

	if (json_is_object(root)) {
		const char *name = json_string_value(json_object_get(root, "error"));
		const char *msg = json_string_value(json_object_get(root, "message"));

		for (int c = ERR_SYNTAX; name && c <= ERR_SYS; c++)
			if (strcmp(name, err_code_name((enum err_code)c)) == 0)
				return err_set(err, (enum err_code)c, "%s",
					       log_text(span_str(msg), text));
	}
	return err_set(err, status == 429 ? ERR_BUSY : ERR_PEER,
		       "the coordinator answered with status %u", status);
}
