/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/evidence.h"

#include "base/encode.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <string.h>

void binding_nonce(const unsigned char key[DEVICE_KEY_SIZE],
                   const unsigned char opening[OPENING_SIZE],
                   char ret_nonce[BINDING_NONCE_SIZE])
{
	static const char label[] = "reeve binding v1";
	unsigned char text[sizeof(label) - 1 + DEVICE_KEY_SIZE + OPENING_SIZE], md[32];
	scoped_buf struct buf b = { 0 };

	memcpy(text, label, sizeof(label) - 1);
	memcpy(text + sizeof(label) - 1, key, DEVICE_KEY_SIZE);
	memcpy(text + sizeof(label) - 1 + DEVICE_KEY_SIZE, opening, OPENING_SIZE);
	/* cannot fail for want of anything but memory; a nonce of zeros matches no token */
	if (EVP_Digest(text, sizeof(text), md, NULL, EVP_sha256(), NULL) != 1)
		memset(md, 0, sizeof(md));
	buf_init(&b, BINDING_NONCE_SIZE);
	base64url_add(&b, span_of(md, sizeof(md)));
	if (!span_cstr(buf_span(&b), ret_nonce, BINDING_NONCE_SIZE))
		memset(ret_nonce, 0, BINDING_NONCE_SIZE);
	mem_wipe(text, sizeof(text));
}

enum token_reason evidence_check(struct span id_token, struct span opening,
                                 const unsigned char key[DEVICE_KEY_SIZE],
                                 const struct jwks *keys, const struct provider *p,
                                 int64_t max_age, bool old_exp_ok, struct wall now,
                                 struct identity *ret_who, struct err *err)
{
	unsigned char bytes[OPENING_SIZE];
	char nonce[BINDING_NONCE_SIZE];
	json_t *claims = NULL;
	enum token_reason why;
	size_t n;

	if (!*p->device_client_id) {
		err_set(err, ERR_CONFIG, "%s has no device client: nothing is evidence", p->issuer);
		return TOKEN_CLAIM;
	}
	if (!base64url_decode(opening, bytes, sizeof(bytes), &n) || n != OPENING_SIZE) {
		err_set(err, ERR_SYNTAX, "the opening is not %d bytes as base64url", OPENING_SIZE);
		return TOKEN_NONCE;
	}
	binding_nonce(key, bytes, nonce);

	const struct token_want want = {
		.issuer = p->issuer, .client_id = p->device_client_id, .algs = provider_algs(p),
		.nonce = span_str(nonce), .leeway = p->leeway, .max_age = max_age, .max_issued = -1,
		.exp_any = old_exp_ok,
	};

	why = token_check(id_token, keys, &want, now, &claims, err);
	if (why == TOKEN_OK)
		why = identity_from_claims(p, claims, NULL, ret_who, err);
	json_decref(claims);
	return why;
}
