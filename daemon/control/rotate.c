/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/rotate.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/control/map_parts.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool rotate_vouch(const struct secret *mine, const uint8_t theirs[ENROL_KEY_LEN], const struct rotate_vouch *v,
                  uint8_t ret_mac[ROTATE_VOUCH_LEN], struct err *err)
{
	static const char label[] = "reeve rotate v1";  /* its NUL is part of the text */
	uint8_t      shared[ENROL_KEY_LEN], text[sizeof(label) + 3 * ENROL_KEY_LEN], mac[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (!enrol_shared(mine, theirs, shared, err)) {
		mem_wipe(shared, sizeof(shared));
		return false;
	}
	memcpy(text, label, sizeof(label));
	memcpy(text + sizeof(label), v->old, ENROL_KEY_LEN);
	memcpy(text + sizeof(label) + ENROL_KEY_LEN, v->new_, ENROL_KEY_LEN);
	memcpy(text + sizeof(label) + 2 * ENROL_KEY_LEN, v->endpoint, ENROL_KEY_LEN);
	bool ok = HMAC(EVP_sha256(), shared, sizeof(shared), text, sizeof(text), mac, &n) && n == ROTATE_VOUCH_LEN;
	if (ok)
		memcpy(ret_mac, mac, ROTATE_VOUCH_LEN);
	mem_wipe(shared, sizeof(shared));
	mem_wipe(mac, sizeof(mac));
	return ok || err_set(err, ERR_CRYPTO, "SHA-256 failed");
}

void rotate_start_encode(const uint8_t key[ENROL_KEY_LEN], struct buf *out)
{
	buf_addf(out, "{\"v\":%d,\"key\":\"", ENROL_VERSION);
	base64_add(out, span_of(key, ENROL_KEY_LEN));
	buf_add_str(out, "\"}\n");
}

bool rotate_start_decode(struct span json, uint8_t ret_key[ENROL_KEY_LEN], struct err *err)
{
	scoped_json json_t *root = json_read(json, ROTATE_BODY_MAX, err);

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	fields_int(&f, "v", 1, ENROL_VERSION, FIELD_REQUIRED);
	fields_base64(&f, "key", ret_key, ENROL_KEY_LEN, FIELD_REQUIRED);
	return fields_ok(&f);
}

void rotate_prove_done(struct rotate_prove *p)
{
	free(p->list);
	*p = (struct rotate_prove){ 0 };
}

void rotate_prove_encode(const struct rotate_prove *p, struct buf *out)
{
	char id[MAP_ID_MAX];

	buf_addf(out, "{\"attempt\":\"%s\",\"proof\":\"", p->prove.attempt);
	base64url_add(out, span_of(p->prove.proof, sizeof(p->prove.proof)));
	buf_add_str(out, "\",\"old\":\"");
	base64url_add(out, span_of(p->old, sizeof(p->old)));
	buf_add_str(out, "\",\"vouches\":{");
	for (size_t i = 0; i < p->n; i++) {
		buf_addf(out, "%s\"%s\":\"", i ? "," : "", map_id_text('n', p->list[i].node, id));
		base64url_add(out, span_of(p->list[i].mac, ROTATE_VOUCH_LEN));
		buf_add_char(out, '"');
	}
	buf_add_str(out, "}}\n");
}

static int entry_cmp(const void *a, const void *b)
{
	const struct rotate_entry *x = a, *y = b;

	return x->node < y->node ? -1 : x->node > y->node;
}

static bool read_list(struct fields *f, struct rotate_prove *p)
{
	const json_t *o = fields_object(f, "vouches", FIELD_REQUIRED);
	const char   *id;
	json_t       *value;
	size_t        n = 0;

	if (!o)
		return false;
	if (json_object_size(o) > ROTATE_VOUCHES_MAX)
		return fields_fail(f, ERR_LIMIT, "vouches", "too many");
	p->list = mem_calloc(json_object_size(o) + 1, sizeof(*p->list));
	json_object_foreach((json_t *)o, id, value) {
		struct rotate_entry *e = &p->list[p->n];

		if (!map_id_parse(span_str(id), 'n', &e->node))
			return fields_fail(f, ERR_SYNTAX, "vouches", "not a node's id");
		if (!json_is_string(value) ||
		    !base64url_decode(span_of(json_string_value(value), json_string_length(value)), e->mac,
		                      sizeof(e->mac), &n) || n != sizeof(e->mac))
			return fields_fail(f, ERR_SYNTAX, "vouches", "not 32 bytes in base64url");
		p->n++;
	}
	if (p->n)
		qsort(p->list, p->n, sizeof(*p->list), entry_cmp);
	/* "n5" is written in one way, and no member comes twice. */
	return true;
}

bool rotate_prove_decode(struct span json, struct rotate_prove *ret_p, struct err *err)
{
	scoped_json json_t *root = json_read(json, ROTATE_PROVE_MAX, err);
	struct rotate_prove p = { 0 };

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	fields_cstr(&f, "attempt", p.prove.attempt, sizeof(p.prove.attempt), FIELD_REQUIRED);
	fields_base64url(&f, "proof", p.prove.proof, sizeof(p.prove.proof), FIELD_REQUIRED);
	fields_base64url(&f, "old", p.old, sizeof(p.old), FIELD_REQUIRED);
	if (!read_list(&f, &p) || !fields_ok(&f)) {
		rotate_prove_done(&p);
		return false;
	}
	*ret_p = p;
	return true;
}

void rotate_state_encode(const struct rotate_state *s, struct buf *out)
{
	buf_addf(out, "{\"waiting\":%lld,\"away\":%lld}\n", (long long)s->waiting, (long long)s->away);
}

bool rotate_state_decode(struct span json, struct rotate_state *ret_s, struct err *err)
{
	scoped_json json_t *root = json_read(json, ROTATE_BODY_MAX, err);

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	ret_s->waiting = fields_int(&f, "waiting", 0, INT64_MAX, FIELD_REQUIRED);
	ret_s->away = fields_int(&f, "away", 0, INT64_MAX, FIELD_REQUIRED);
	return fields_ok(&f);
}

void rotate_due_add(struct rotate_due *d, const char *name)
{
	size_t len = strlen(d->hosts), more = strlen(name) + (len ? 2 : 0);

	d->listed++;
	if (len + more < sizeof(d->hosts))
		snprintf(d->hosts + len, sizeof(d->hosts) - len, "%s%s", len ? ", " : "", name);
}

void rotate_due_encode(const struct rotate_due *d, struct buf *out)
{
	buf_addf(out, "{\"max_age\":%lld,\"listed\":%lld,\"hosts\":\"%s\"}\n", (long long)d->max_age,
	         (long long)d->listed, d->hosts);
}

bool rotate_due_decode(struct span json, struct rotate_due *ret_d, struct err *err)
{
	scoped_json json_t *root = json_read(json, ROTATE_BODY_MAX, err);
	struct rotate_due d = { 0 };

	if (!root)
		return false;
	struct fields f = fields_of(root, err);
	d.max_age = fields_int(&f, "max_age", 0, ROTATE_AGE_MAX, FIELD_REQUIRED);
	d.listed = fields_int(&f, "listed", 0, INT64_MAX, FIELD_REQUIRED);
	fields_cstr(&f, "hosts", d.hosts, sizeof(d.hosts), FIELD_OPTIONAL);
	if (!fields_ok(&f))
		return false;
	/* It is shown, and said of ourselves. */
	if (!span_is_print(span_str(d.hosts)))
		return err_set(err, ERR_SYNTAX, "\"hosts\": not printable");
	*ret_d = d;
	return true;
}
