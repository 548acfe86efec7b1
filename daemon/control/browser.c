/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/browser.h"

#include "daemon/control/map_parts.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <string.h>

static bool hash_parts(const struct span *parts, size_t n, uint8_t ret[BROWSER_HASH_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned    len = 0;
	bool        ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;

	for (size_t i = 0; ok && i < n; i++)
		ok = EVP_DigestUpdate(ctx, parts[i].ptr ? parts[i].ptr : "", parts[i].len) == 1;
	ok = ok && EVP_DigestFinal_ex(ctx, ret, &len) == 1 && len == BROWSER_HASH_LEN;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool browser_cookie_hash(struct span service, struct span cookie, uint8_t ret[BROWSER_HASH_LEN])
{
	const struct span parts[] = { { "reeve cookie v1", 16 }, service, { "", 1 }, cookie };

	return hash_parts(parts, array_size(parts), ret);
}

bool browser_bind_hash(struct span verifier, uint8_t ret[BROWSER_HASH_LEN])
{
	const struct span parts[] = { { "reeve browser v1", 17 }, verifier };

	return hash_parts(parts, array_size(parts), ret);
}

/* Lower case letters, digits, dots and hyphens: what may stand in a redirect. */
bool browser_origin_ok(struct span origin)
{
	struct span host, port;
	size_t      colon;
	uint64_t    n;

	if (origin.len > BROWSER_ORIGIN_MAX || !span_starts(origin, SPAN("https://")))
		return false;
	host = span_from(origin, 8);
	colon = span_find(host, ':');
	port = span_from(host, colon + 1);
	if (colon < host.len && (!span_u64(port, 65535, &n) || n == 0))
		return false;
	host = span_head(host, colon);
	for (size_t i = 0; i < host.len; i++) {
		char c = host.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '.')
			return false;
	}
	return host.len > 0 && host.len <= 253 && host.ptr[0] != '.' && host.ptr[0] != '-';
}

/* 32 bytes in base64url. */
static void secret(struct fields *f, const char *name, char *buf)
{
	uint8_t raw[32];

	if (fields_base64url(f, name, raw, sizeof(raw), FIELD_REQUIRED))
		fields_cstr(f, name, buf, BROWSER_SECRET_LEN + 1, FIELD_REQUIRED);
	mem_wipe(raw, sizeof(raw));
}

static bool get_node(struct fields *f, const char *name, uint64_t *ret)
{
	struct span s = fields_str(f, name, MAP_ID_MAX, FIELD_REQUIRED);

	return !f->bad && (map_id_parse(s, 'n', ret) || fields_fail(f, ERR_SYNTAX, name, "not a node's id"));
}

static void add(struct buf *out, char before, const char *name, struct span value)
{
	buf_addf(out, "%c\"%s\":", before, name);
	buf_add_json(out, value);
}

void browser_redeem_encode(const struct browser_redeem *m, struct buf *out)
{
	add(out, '{', "service", span_str(m->service));
	add(out, ',', "code", span_str(m->code));
	add(out, ',', "verifier", span_str(m->verifier));
	if (m->replaces) {
		char id[MAP_ID_MAX];

		add(out, ',', "replaces", span_str(map_id_text('n', m->replaces, id)));
	}
	buf_add_char(out, '}');
}

bool browser_redeem_decode(struct span json, struct browser_redeem *ret, struct err *err)
{
	scoped_json json_t   *root = json_read(json, BROWSER_MSG_MAX, err);
	struct fields         f;
	struct browser_redeem m = { 0 };

	if (!root)
		return false;
	f = fields_of(root, err);
	fields_cstr(&f, "service", m.service, sizeof(m.service), FIELD_REQUIRED);
	fields_cstr(&f, "code", m.code, sizeof(m.code), FIELD_REQUIRED);
	secret(&f, "verifier", m.verifier);
	if (json_object_get(root, "replaces"))
		get_node(&f, "replaces", &m.replaces);
	if (fields_ok(&f))
		*ret = m;
	mem_wipe(&m, sizeof(m));
	return fields_ok(&f);
}

void browser_reply_encode(const struct browser_reply *m, struct buf *out)
{
	char id[MAP_ID_MAX];

	add(out, '{', "node", span_str(map_id_text('n', m->node, id)));
	add(out, ',', "cookie", span_str(m->cookie));
	buf_add_char(out, '}');
}

bool browser_reply_decode(struct span json, struct browser_reply *ret, struct err *err)
{
	scoped_json json_t  *root = json_read(json, BROWSER_MSG_MAX, err);
	struct fields        f;
	struct browser_reply m = { 0 };

	if (!root)
		return false;
	f = fields_of(root, err);
	get_node(&f, "node", &m.node);
	secret(&f, "cookie", m.cookie);
	if (fields_ok(&f))
		*ret = m;
	mem_wipe(&m, sizeof(m));
	return fields_ok(&f);
}

void browser_renew_encode(const struct browser_renew *m, struct buf *out)
{
	char id[MAP_ID_MAX];

	add(out, '{', "node", span_str(map_id_text('n', m->node, id)));
	add(out, ',', "service", span_str(m->service));
	add(out, ',', "bind", span_str(m->bind));
	buf_add_char(out, '}');
}

bool browser_renew_decode(struct span json, struct browser_renew *ret, struct err *err)
{
	scoped_json json_t  *root = json_read(json, BROWSER_MSG_MAX, err);
	struct fields        f;
	struct browser_renew m = { 0 };

	if (!root)
		return false;
	f = fields_of(root, err);
	get_node(&f, "node", &m.node);
	fields_cstr(&f, "service", m.service, sizeof(m.service), FIELD_REQUIRED);
	secret(&f, "bind", m.bind);
	if (fields_ok(&f))
		*ret = m;
	return fields_ok(&f);
}

void browser_renewal_encode(const struct browser_renewal *m, struct buf *out)
{
	if (m->url[0]) {
		add(out, '{', "url", span_str(m->url));
		buf_add_char(out, '}');
	} else {
		buf_addf(out, "{\"wait\":%lld}", (long long)m->wait);
	}
}

/* It stands in a redirect: a page of https, and one line. */
static bool url_ok(struct span url)
{
	return span_starts(url, SPAN("https://")) && span_is_print(url) && span_find(url, ' ') == url.len;
}

bool browser_renewal_decode(struct span json, struct browser_renewal *ret, struct err *err)
{
	scoped_json json_t    *root = json_read(json, BROWSER_MSG_MAX, err);
	struct fields          f;
	struct browser_renewal m = { 0 };

	if (!root)
		return false;
	f = fields_of(root, err);
	if (json_object_get(root, "url")) {
		if (fields_cstr(&f, "url", m.url, sizeof(m.url), FIELD_REQUIRED) && !url_ok(span_str(m.url)))
			fields_fail(&f, ERR_SYNTAX, "url", "no https URL");
	} else {
		m.wait = fields_int(&f, "wait", 1, 366 * 86400, FIELD_REQUIRED);
	}
	if (fields_ok(&f))
		*ret = m;
	return fields_ok(&f);
}

void browser_end_encode(uint64_t node, struct buf *out)
{
	char id[MAP_ID_MAX];

	add(out, '{', "node", span_str(map_id_text('n', node, id)));
	buf_add_char(out, '}');
}

bool browser_end_decode(struct span json, uint64_t *ret_node, struct err *err)
{
	scoped_json json_t *root = json_read(json, BROWSER_MSG_MAX, err);
	struct fields       f;
	uint64_t            node = 0;

	if (!root)
		return false;
	f = fields_of(root, err);
	get_node(&f, "node", &node);
	if (fields_ok(&f))
		*ret_node = node;
	return fields_ok(&f);
}
