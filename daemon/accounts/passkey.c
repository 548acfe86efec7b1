/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/accounts/passkey.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/ip.h"
#include "base/mem.h"
#include "daemon/accounts/ctap.h"

#include <fido.h>
#include <fido/eddsa.h>
#include <fido/es256.h>
#include <openssl/evp.h>
#include <string.h>

enum {
	RP_HASH = 32,
	FLAG_PRESENT = 1 << 0, /* WebAuthn 6.1 */
	FLAG_VERIFIED = 1 << 2,
	FLAG_BACKUP = 1 << 3,
	FLAG_ATTESTED = 1 << 6,
	FLAG_EXTENSIONS = 1 << 7,
	HEAD = 37,          /* bytes before what is optional */
	CREDENTIAL_AT = 55, /* after aaguid and the id's length */
};

bool passkey_rp_id(const char *url, char *out, size_t size)
{
	struct span host = span_str(url), scheme = SPAN("https://");
	struct ip ip;

	if (!span_starts(host, scheme))
		return false;
	host = span_from(host, scheme.len);
	host = span_head(host, span_find(host, '/'));
	if (host.len == 0 || host.ptr[0] == '[')
		return false;
	host = span_head(host, span_find(host, ':'));
	return !ip_parse(host, &ip) && span_cstr(host, out, size);
}

/* 7.1 steps 7 to 10, 7.2 steps 11 to 14: what the browser says it asked, where and for whom. */
static bool client_ok(const struct passkey_want *want, struct span client, const char *type,
		      struct err *err)
{
	unsigned char challenge[PASSKEY_CHALLENGE];
	size_t n;

	if (!span_is_utf8(client))
		return err_set(err, ERR_SYNTAX, "clientDataJSON is no UTF-8");
	scoped_json json_t *o = json_read(client, PASSKEY_CLIENT_MAX, err);
	if (!o)
		return err_prefix(err, "clientDataJSON: ");
	const char *said = json_string_value(json_object_get(o, "type"));
	const char *origin = json_string_value(json_object_get(o, "origin"));
	const char *asked = json_string_value(json_object_get(o, "challenge"));
	const json_t *cross = json_object_get(o, "crossOrigin");
	if (!said || strcmp(said, type) != 0)
		return err_set(err, ERR_PEER, "it is not of type %s", type);
	if (!asked || !base64url_decode(span_str(asked), challenge, sizeof(challenge), &n) ||
	    n != sizeof(challenge) || !mem_equal_ct(challenge, want->challenge, n))
		return err_set(err, ERR_DENIED, "it answers another challenge");
	if (!origin || strcmp(origin, want->origin) != 0)
		return err_set(err, ERR_DENIED, "it was asked for by another origin");
	if (cross && !json_is_false(cross))
		return err_set(err, ERR_DENIED, "it was asked for from within another site's page");
	return true;
}

static bool sha256(const void *p, size_t n, unsigned char ret[RP_HASH])
{
	unsigned len = 0;

	return EVP_Digest(p, n, ret, &len, EVP_sha256(), NULL) == 1 && len == RP_HASH;
}

/* What follows the head: a credential with its key, and extensions, each where its flag is set. */
static bool tail_ok(struct span data)
{
	const unsigned char *p = (const unsigned char *)data.ptr;
	struct span rest = span_from(data, HEAD);

	if (p[RP_HASH] & FLAG_ATTESTED) {
		size_t id;

		if (data.len < CREDENTIAL_AT)
			return false;
		id = (size_t)p[CREDENTIAL_AT - 2] << 8 | p[CREDENTIAL_AT - 1];
		if (id > PASSKEY_ID_MAX || id > data.len - CREDENTIAL_AT)
			return false;
		rest = span_from(data, CREDENTIAL_AT + id);
		if (!ctap_skip(&rest))
			return false;
	}
	if ((p[RP_HASH] & FLAG_EXTENSIONS) && !ctap_skip(&rest))
		return false;
	return rest.len == 0;
}

/* The head of authenticatorData (6.1): for whom, and whether somebody was there and known. */
static bool head_ok(const struct passkey_want *want, struct span data, uint8_t flags,
		    struct err *err)
{
	unsigned char rp[RP_HASH];

	if (data.len < HEAD || data.len > PASSKEY_DATA_MAX)
		return err_set(err, ERR_LIMIT, "authenticatorData has %zu bytes", data.len);
	if (!sha256(want->rp_id, strlen(want->rp_id), rp) ||
	    !mem_equal_ct(rp, data.ptr, sizeof(rp)))
		return err_set(err, ERR_DENIED, "it is for another site");
	if ((data.ptr[RP_HASH] & flags) != flags)
		return err_set(err, ERR_DENIED, "its user was not verified");
	return tail_ok(data) || err_set(err, ERR_SYNTAX, "authenticatorData is not whole");
}

static uint32_t counter_of(struct span data)
{
	const unsigned char *p = (const unsigned char *)data.ptr + RP_HASH + 1;

	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- a new one ---- */

/* authData of an attestationObject (6.5): a CBOR map with text keys. Its bytes are in text. */
static bool auth_data(struct span text, struct span *ret, struct err *err)
{
	struct span rest = text, found = {NULL, 0};
	struct ctap_item map, key, value;

	if (!ctap_next(&rest, &map) || map.major != CTAP_MAP)
		return err_set(err, ERR_SYNTAX, "the attestation is no CBOR map");
	for (uint64_t i = 0; i < map.n; i++) {
		if (!ctap_next(&rest, &key) || key.major != CTAP_TEXT)
			return err_set(err, ERR_SYNTAX,
				       "the attestation has a member without a name");
		if (!span_eq(key.bytes, SPAN("authData"))) {
			if (!ctap_skip(&rest))
				return err_set(err, ERR_SYNTAX, "the attestation is not whole");
			continue;
		}
		if (found.ptr || !ctap_next(&rest, &value) || value.major != CTAP_BYTES)
			return err_set(err, ERR_SYNTAX,
				       "the attestation's authData is not one byte string");
		found = value.bytes;
	}
	if (rest.len)
		return err_set(err, ERR_SYNTAX, "the attestation has a surplus");
	if (!found.ptr)
		return err_set(err, ERR_SYNTAX, "the attestation has no authData");
	*ret = found;
	return true;
}

/* Whether the key is a point of its curve. */
static bool key_ok(const struct passkey *k)
{
	bool ok = false;

	if (k->alg == PASSKEY_ES256) {
		es256_pk_t *pk = es256_pk_new();
		EVP_PKEY *key = NULL;

		ok = pk && es256_pk_from_ptr(pk, k->key, k->key_len) == FIDO_OK &&
		     (key = es256_pk_to_EVP_PKEY(pk));
		EVP_PKEY_free(key);
		es256_pk_free(&pk);
	} else if (k->alg == PASSKEY_EDDSA) {
		eddsa_pk_t *pk = eddsa_pk_new();
		EVP_PKEY *key = NULL;

		ok = pk && eddsa_pk_from_ptr(pk, k->key, k->key_len) == FIDO_OK &&
		     (key = eddsa_pk_to_EVP_PKEY(pk));
		EVP_PKEY_free(key);
		eddsa_pk_free(&pk);
	}
	return ok;
}

static bool read_credential(const struct passkey_want *want, struct span data, struct passkey *ret,
			    struct err *err)
{
	fido_cred_t *cred = fido_cred_new();
	struct passkey k = {0};
	bool ok = false;

	if (!cred)
		return err_set(err, ERR_CRYPTO, "libfido2 has no memory");
	/* Without an attestation to verify, libfido2 leaves the head to its caller. */
	if (!head_ok(want, data, FLAG_PRESENT | FLAG_VERIFIED | FLAG_ATTESTED, err)) {
		fido_cred_free(&cred);
		return false;
	}
	/* The type comes before the data, which is refused where it is of another. */
	k.alg = PASSKEY_ES256;
	if (fido_cred_set_type(cred, COSE_ES256) != FIDO_OK ||
	    fido_cred_set_authdata_raw(cred, (const unsigned char *)data.ptr, data.len) !=
		    FIDO_OK) {
		fido_cred_free(&cred);
		cred = fido_cred_new();
		k.alg = PASSKEY_EDDSA;
		if (!cred || fido_cred_set_type(cred, COSE_EDDSA) != FIDO_OK ||
		    fido_cred_set_authdata_raw(cred, (const unsigned char *)data.ptr, data.len) !=
			    FIDO_OK) {
			fido_cred_free(&cred);
			return err_set(err, ERR_SYNTAX, "it holds no key for ES256 or EdDSA");
		}
	}
	k.id_len = fido_cred_id_len(cred);
	k.key_len = fido_cred_pubkey_len(cred);
	k.counter = fido_cred_sigcount(cred);
	if (k.id_len == 0 || k.id_len > sizeof(k.id) || k.key_len == 0 ||
	    k.key_len > sizeof(k.key)) {
		err_set(err, ERR_LIMIT, "a credential id of %zu bytes, a key of %zu", k.id_len,
			k.key_len);
	} else {
		memcpy(k.id, fido_cred_id_ptr(cred), k.id_len);
		memcpy(k.key, fido_cred_pubkey_ptr(cred), k.key_len);
		ok = key_ok(&k) || err_set(err, ERR_CRYPTO, "its key is on no curve");
	}
	fido_cred_free(&cred);
	if (ok)
		*ret = k;
	return ok;
}

bool passkey_register(const struct passkey_want *want, struct span client, struct span attestation,
		      struct passkey *ret, struct err *err)
{
	struct span data;

	if (client.len > PASSKEY_CLIENT_MAX || attestation.len > PASSKEY_ATTESTATION_MAX)
		return err_set(err, ERR_LIMIT, "a passkey's answer of %zu and %zu bytes",
			       client.len, attestation.len);
	if (!client_ok(want, client, "webauthn.create", err))
		return false;
	return auth_data(attestation, &data, err) && read_credential(want, data, ret, err);
}

/* ---- a login ---- */

static bool signature_ok(const struct passkey *k, const fido_assert_t *a)
{
	bool ok = false;

	if (k->alg == PASSKEY_ES256) {
		es256_pk_t *pk = es256_pk_new();

		ok = pk && es256_pk_from_ptr(pk, k->key, k->key_len) == FIDO_OK &&
		     fido_assert_verify(a, 0, COSE_ES256, pk) == FIDO_OK;
		es256_pk_free(&pk);
	} else if (k->alg == PASSKEY_EDDSA) {
		eddsa_pk_t *pk = eddsa_pk_new();

		ok = pk && eddsa_pk_from_ptr(pk, k->key, k->key_len) == FIDO_OK &&
		     fido_assert_verify(a, 0, COSE_EDDSA, pk) == FIDO_OK;
		eddsa_pk_free(&pk);
	}
	return ok;
}

bool passkey_verify(const struct passkey_want *want, const struct passkey *k, struct span client,
		    struct span data, struct span signature, struct passkey_said *ret,
		    struct err *err)
{
	fido_assert_t *a;
	uint32_t counter;
	bool ok;

	if (client.len > PASSKEY_CLIENT_MAX || signature.len == 0 ||
	    signature.len > PASSKEY_SIGNATURE_MAX)
		return err_set(err, ERR_LIMIT, "a passkey's answer of %zu bytes, signed with %zu",
			       client.len, signature.len);
	if (!client_ok(want, client, "webauthn.get", err) ||
	    !head_ok(want, data, FLAG_PRESENT | FLAG_VERIFIED, err))
		return false;
	a = fido_assert_new();
	ok = a && fido_assert_set_count(a, 1) == FIDO_OK &&
	     fido_assert_set_rp(a, want->rp_id) == FIDO_OK &&
	     fido_assert_set_up(a, FIDO_OPT_TRUE) == FIDO_OK &&
	     fido_assert_set_uv(a, FIDO_OPT_TRUE) == FIDO_OK &&
	     fido_assert_set_clientdata(a, (const unsigned char *)client.ptr, client.len) ==
		     FIDO_OK &&
	     fido_assert_set_authdata_raw(a, 0, (const unsigned char *)data.ptr, data.len) ==
		     FIDO_OK &&
	     fido_assert_set_sig(a, 0, (const unsigned char *)signature.ptr, signature.len) ==
		     FIDO_OK &&
	     signature_ok(k, a);
	fido_assert_free(&a);
	if (!ok)
		return err_set(err, ERR_CRYPTO, "its signature does not hold");
	/* 7.2 step 21 */
	counter = counter_of(data);
	if ((counter || k->counter) && counter <= k->counter)
		return err_set(err, ERR_DENIED,
			       "its counter went from %u to %u: there may be a copy of it",
			       k->counter, counter);
	*ret = (struct passkey_said){.counter = counter, .synced = data.ptr[RP_HASH] & FLAG_BACKUP};
	return true;
}
