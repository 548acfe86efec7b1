/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Passkeys of own accounts. The browser's script fills a form in; every answer is to a
 * challenge of its own flow, drawn when the page was made and forgotten when it came back.
 */
#include "daemon/coordinator/own.h"

#include "base/encode.h"
#include "base/hash.h"
#include "base/mem.h"
#include "web/passkey_js.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 60 };

void api_own_script(void *ctx, struct request *r)
{
	if (own_ready(ctx, r))
		request_reply(r, 200, "text/javascript; charset=utf-8", SPAN(PASSKEY_JS));
}

static void encode(const void *p, size_t n, char *out, size_t size)
{
	struct buf b;

	buf_init(&b, size);
	base64url_add(&b, span_of(p, n));
	if (!span_cstr(buf_span(&b), out, size))
		out[0] = '\0';
	buf_done(&b);
}

const struct own_passkey *own_passkey_ask(struct own *own, struct own_flow *f,
					  struct own_asked *ret)
{
	const struct account_row *a = own_find(own, f->account);
	size_t n = 0;

	if (!passkey_rp_id(own->co->conf->url, ret->rp_id, sizeof(ret->rp_id)))
		return NULL;
	random_bytes(f->challenge_bytes, sizeof(f->challenge_bytes));
	f->challenged = true;
	encode(f->challenge_bytes, sizeof(f->challenge_bytes), ret->challenge,
	       sizeof(ret->challenge));
	for (; a && n < a->passkey_count && n < OWN_PASSKEYS_MAX; n++)
		ret->known[n] = a->passkeys[n].credential;
	ret->known[n] = NULL;
	ret->k = (struct own_passkey){.challenge = ret->challenge,
				      .rp_id = ret->rp_id,
				      .user_id = a ? a->sub : NULL,
				      .user_name = a ? a->login : NULL,
				      .known = ret->known};
	return &ret->k;
}

/* What this flow asked for; a challenge is answered once. */
static bool want_of(struct own *own, struct own_flow *f, char *origin, size_t size, char *rp_id,
		    size_t rp_size, struct passkey_want *ret)
{
	struct span url = span_str(own->co->conf->url);

	/* The port that https has anyhow is not in an origin. */
	if (span_ends(url, SPAN(":443")))
		url.len -= 4;
	if (!f->challenged || !span_cstr(url, origin, size) ||
	    !passkey_rp_id(own->co->conf->url, rp_id, rp_size))
		return false;
	f->challenged = false;
	ret->origin = origin;
	ret->rp_id = rp_id;
	memcpy(ret->challenge, f->challenge_bytes, sizeof(ret->challenge));
	mem_wipe(f->challenge_bytes, sizeof(f->challenge_bytes));
	return true;
}

/* A field of base64url; the caller frees what it holds. */
static bool field(const struct request *r, const char *name, size_t max, struct buf *ret)
{
	scoped_buf struct buf text = {0};
	size_t n;

	if (!form_field(buf_span(&r->body), name, max * 4 / 3 + 4, &text))
		return false;
	char *raw = mem_alloc(max + 1);
	if (!base64url_decode(buf_span(&text), raw, max, &n)) {
		free(raw);
		return false;
	}
	buf_init(ret, max + 1);
	buf_add(ret, raw, n);
	free(raw);
	return true;
}

/* ---- a new one ---- */

static bool name_of(const struct request *r, char out[NAME_MAX_BYTES + 1])
{
	scoped_buf struct buf typed = {0};
	struct span s;

	if (!form_field(buf_span(&r->body), "name", NAME_MAX_BYTES, &typed))
		return false;
	s = span_trim(buf_span(&typed));
	return s.len && span_is_utf8(s) && span_cstr(s, out, NAME_MAX_BYTES + 1);
}

bool own_passkey_new(struct own *own, const struct request *r, struct own_flow *f,
		     struct account_op *op, struct err *err)
{
	const struct account_row *a = own_find(own, f->account);
	scoped_buf struct buf client = {0}, attestation = {0};
	char origin[1024], rp_id[256], name[NAME_MAX_BYTES + 1], id[1400], key[128];
	struct passkey_want want;
	struct passkey k;

	if (!want_of(own, f, origin, sizeof(origin), rp_id, sizeof(rp_id), &want))
		return err_set(err, ERR_DENIED, "nobody asked for it");
	if (!a || a->passkey_count >= OWN_PASSKEYS_MAX)
		return err_set(err, ERR_LIMIT, "%d passkeys are enough", OWN_PASSKEYS_MAX);
	if (!field(r, "client", PASSKEY_CLIENT_MAX, &client) ||
	    !field(r, "attestation", PASSKEY_ATTESTATION_MAX, &attestation))
		return err_set(err, ERR_SYNTAX, "the form is not whole");
	if (!passkey_register(&want, buf_span(&client), buf_span(&attestation), &k, err))
		return false;
	encode(k.id, k.id_len, id, sizeof(id));
	encode(k.key, k.key_len, key, sizeof(key));
	op->passkey = mem_alloc(sizeof(*op->passkey));
	op->passkey->credential = mem_strdup(id);
	op->passkey->key = mem_strdup(key);
	op->passkey->alg = k.alg;
	op->passkey->counter = k.counter;
	op->passkey->name = mem_strdup(name_of(r, name) ? name : "Passkey");
	return true;
}

/* ---- a login ---- */

static const struct account_passkey *find(const struct own *own, struct span id,
					  struct account_row **ret_account)
{
	char text[1400];
	struct span key;
	size_t pos = 0;
	void *v;

	encode(id.ptr, id.len, text, sizeof(text));
	while (text[0] && dict_next(own->by_id, &pos, &key, &v)) {
		struct account_row *a = v;

		for (size_t i = 0; i < a->passkey_count; i++)
			if (strcmp(a->passkeys[i].credential, text) == 0) {
				*ret_account = a;
				return &a->passkeys[i];
			}
	}
	return NULL;
}

static bool load(const struct account_passkey *p, struct passkey *ret)
{
	*ret = (struct passkey){.alg = p->alg, .counter = (uint32_t)p->counter};
	return base64url_decode(span_str(p->key), ret->key, sizeof(ret->key), &ret->key_len);
}

struct account_op *own_passkey_login(struct own *own, const struct request *r, struct own_flow *f,
				     struct err *err)
{
	scoped_buf struct buf id = {0}, client = {0}, data = {0}, signature = {0}, user = {0};
	char origin[1024], rp_id[256], handle[64];
	const struct account_passkey *p;
	struct account_row *a = NULL;
	struct passkey_want want;
	struct passkey_said said;
	struct passkey k;

	if (!want_of(own, f, origin, sizeof(origin), rp_id, sizeof(rp_id), &want)) {
		err_set(err, ERR_DENIED, "nobody asked for it");
		return NULL;
	}
	if (!field(r, "id", PASSKEY_ID_MAX, &id) ||
	    !field(r, "client", PASSKEY_CLIENT_MAX, &client) ||
	    !field(r, "data", PASSKEY_DATA_MAX, &data) ||
	    !field(r, "signature", PASSKEY_SIGNATURE_MAX, &signature) ||
	    !field(r, "user", 64, &user)) {
		err_set(err, ERR_SYNTAX, "the form is not whole");
		return NULL;
	}
	p = find(own, buf_span(&id), &a);
	/* For the audit: whose it was. Nobody is in by that. */
	f->account = a ? a->id : 0;
	encode(user.ptr, user.len, handle, sizeof(handle));
	if (!p || !a || a->disabled || strcmp(handle, a->sub) != 0 || !load(p, &k)) {
		err_set(err, ERR_DENIED, "no such passkey");
		return NULL;
	}
	if (!passkey_verify(&want, &k, buf_span(&client), buf_span(&data), buf_span(&signature),
			    &said, err))
		return NULL;
	f->synced = said.synced;
	struct account_op *op = account_op_new(ACCOUNT_LOGIN, a->id, loop_wall(own->co->loop));
	op->passkey_id = p->id;
	op->counter = said.counter;
	return op;
}
