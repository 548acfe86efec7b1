/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/jws.h"

#include "base/encode.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "idp/text.h"

#include <openssl/evp.h>

/* err is set and the reason returned, in one breath. */
#define REFUSE(why, code, ...) (err_set(err, code, __VA_ARGS__), why)

static enum token_reason decode(struct span text, size_t max, struct buf *out, struct err *err)
{
	size_t n;

	if (text.len > max / 3 * 4 + 4)
		return REFUSE(TOKEN_SIZE, ERR_LIMIT, "a part of the token is longer than %zu bytes",
			      max);

	char *bytes = mem_alloc(text.len + 1);

	if (!base64url_decode(text, bytes, text.len + 1, &n)) {
		free(bytes);
		return REFUSE(TOKEN_BASE64, ERR_SYNTAX,
			      "a part of the token is not base64url (RFC 7515 2)");
	}
	buf_add(out, bytes, n);
	free(bytes);
	if (out->over)
		return REFUSE(TOKEN_SIZE, ERR_LIMIT, "a part of the token is longer than %zu bytes",
			      max);
	return TOKEN_OK;
}

static enum token_reason object_of(struct span text, size_t max, json_t **ret_object,
                                   struct err *err)
{
	json_t *o = json_read(text, max, err);

	if (!json_is_object(o)) {
		if (o)
			err_set(err, ERR_SYNTAX, "a part of the token is no JSON object");
		json_decref(o);
		return TOKEN_JSON;
	}
	*ret_object = o;
	return TOKEN_OK;
}

enum token_reason jws_part(struct span text, size_t max, json_t **ret_object, struct err *err)
{
	scoped_buf struct buf bytes = { 0 };
	enum token_reason why;

	buf_init(&bytes, max);
	why = decode(text, max, &bytes, err);
	return why == TOKEN_OK ? object_of(buf_span(&bytes), max, ret_object, err) : why;
}

static enum token_reason header_check(const json_t *h, uint32_t algs, uint32_t *ret_alg,
                                      struct err *err)
{
	const json_t *alg = json_object_get(h, "alg"), *kid = json_object_get(h, "kid");
	struct span name = text_of(alg);
	char shown[LOG_TEXT_MAX];

	*ret_alg = jws_alg_of(name);
	if (!*ret_alg || !(algs & *ret_alg))
		return REFUSE(TOKEN_ALG, ERR_DENIED, "algorithm \"%s\" is not among those allowed",
		              log_text(name, shown));
	/* RFC 7515 4.1.11: an extension that is marked critical and not understood; b64
	 * (RFC 7797) changes what is signed, and must be marked so */
	if (json_object_get(h, "crit") || json_object_get(h, "b64"))
		return REFUSE(TOKEN_CRIT, ERR_DENIED,
			      "the token's header wants an extension (\"crit\")");
	if (kid && (!json_is_string(kid) || json_string_length(kid) == 0 ||
	            json_string_length(kid) > KID_MAX))
		return REFUSE(TOKEN_KID, ERR_LIMIT, "\"kid\" is no text of 1 to %d bytes", KID_MAX);
	return TOKEN_OK;
}

enum token_reason jws_check(struct span token, const struct jwks *keys, uint32_t algs,
                            json_t **ret_header, struct buf *ret_payload, struct err *err)
{
	scoped_json json_t *header = NULL;
	struct span rest = token, head, body, tail;
	const char *kid;
	char shown[LOG_TEXT_MAX];
	uint32_t alg;
	enum token_reason why;

	if (token.len == 0 || token.len > TOKEN_MAX)
		return REFUSE(TOKEN_SIZE, ERR_LIMIT, "token of %zu bytes, want 1..%d", token.len,
			      TOKEN_MAX);
	if (!span_next(&rest, '.', &head) || !span_next(&rest, '.', &body) ||
	    !span_next(&rest, '.', &tail) || rest.ptr || head.len == 0)
		return REFUSE(TOKEN_FORM, ERR_SYNTAX, "the token has not three parts");
	why = jws_part(head, TOKEN_HEADER_MAX, &header, err);
	if (why == TOKEN_OK)
		why = header_check(header, algs, &alg, err);
	if (why != TOKEN_OK)
		return why;
	if (tail.len == 0)
		return REFUSE(TOKEN_SIGNATURE, ERR_CRYPTO, "the token is not signed");
	why = decode(body, TOKEN_MAX, ret_payload, err);
	if (why != TOKEN_OK)
		return why;

	/* checked for its form here, so that a malformed one is not called a wrong one */
	scoped_buf struct buf sig = { 0 };

	buf_init(&sig, TOKEN_MAX);
	why = decode(tail, TOKEN_MAX, &sig, err);
	if (why != TOKEN_OK)
		return why;

	kid = json_string_value(json_object_get(header, "kid"));
	switch (jwks_verify(keys, span_str(kid), (enum jws_alg)alg, token)) {
	case JWKS_RIGHT:
		break;
	case JWKS_NO_KEY:
		return REFUSE(TOKEN_KID, ERR_MISSING, "the provider has no key \"%s\"",
		              kid ? log_text(span_str(kid), shown) : "(the token names none)");
	case JWKS_OTHER_TYPE:
		return REFUSE(TOKEN_KEY, ERR_CRYPTO, "key \"%s\" is not one for %s",
			      kid ? log_text(span_str(kid), shown) : "(the only one)",
			      jws_alg_name(alg));
	case JWKS_WRONG:
	default:
		return REFUSE(TOKEN_SIGNATURE, ERR_CRYPTO, "the token's signature does not hold");
	}
	if (ret_header)
		*ret_header = take(header);
	return TOKEN_OK;
}

void jws_half_hash(uint32_t alg, struct span text, struct buf *out)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	const EVP_MD *hash =
		(alg & (JWS_RS256 | JWS_PS256 | JWS_ES256)) ? EVP_sha256() :
		(alg & (JWS_RS384 | JWS_PS384 | JWS_ES384)) ? EVP_sha384() : EVP_sha512();

	if (EVP_Digest(text.len ? text.ptr : "", text.len, md, &n, hash, NULL) == 1)
		base64url_add(out, span_of(md, n / 2));
}
