/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/token.h"

#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "idp/identity.h"
#include "idp/jws.h"
#include "idp/text.h"

#include <string.h>

#define REFUSE(why, code, ...) (err_set(err, code, __VA_ARGS__), why)

static const char *const reason_names[TOKEN_REASONS] = {
	[TOKEN_UNCHECKED] = "unchecked", [TOKEN_OK] = "ok", [TOKEN_SIZE] = "size",
	[TOKEN_FORM] = "form", [TOKEN_BASE64] = "base64", [TOKEN_JSON] = "json",
	[TOKEN_ALG] = "alg", [TOKEN_CRIT] = "crit", [TOKEN_TYP] = "typ", [TOKEN_KID] = "kid",
	[TOKEN_KEY] = "key", [TOKEN_SIGNATURE] = "signature", [TOKEN_ISS] = "iss",
	[TOKEN_SUB] = "sub", [TOKEN_AUD] = "aud", [TOKEN_AZP] = "azp", [TOKEN_EXP] = "exp",
	[TOKEN_IAT] = "iat", [TOKEN_NBF] = "nbf", [TOKEN_NONCE] = "nonce",
	[TOKEN_AUTH_TIME] = "auth_time", [TOKEN_ACR] = "acr", [TOKEN_MFA] = "mfa",
	[TOKEN_AT_HASH] = "at_hash", [TOKEN_CLAIM] = "claim", [TOKEN_LOGIN] = "login",
	[TOKEN_EVENT] = "event",
};

const char *token_reason_name(enum token_reason why)
{
	return (unsigned)why < TOKEN_REASONS ? reason_names[why] : "unchecked";
}

bool acr_among(const char *acr, const char *values)
{
	struct span rest = span_str(values), one;

	while (acr && span_next(&rest, ' ', &one))
		if (one.len && span_eq(one, span_str(acr)))
			return true;
	return false;
}

/* A NumericDate (RFC 7519 2): seconds, fractions cut off. 1 if there is one, 0
 * if there is none, -1 if it is something else. Far from the ends of int64_t,
 * so that our sums cannot overflow. */
static int date_of(const json_t *claims, const char *name, int64_t *ret_sec)
{
	const json_t *v = json_object_get(claims, name);
	const int64_t far = INT64_C(1) << 53;

	if (!v)
		return 0;
	if (json_is_integer(v))
		*ret_sec = json_integer_value(v);
	else if (json_is_real(v) && json_real_value(v) > -9e15 && json_real_value(v) < 9e15)
		*ret_sec = (int64_t)json_real_value(v);
	else
		return -1;
	return *ret_sec >= 0 && *ret_sec <= far ? 1 : -1;
}

static enum token_reason times_check(const json_t *c, const struct token_want *want,
                                     struct wall now, struct err *err)
{
	int64_t exp = 0, iat = 0, nbf = 0, auth = 0;
	long long n = (long long)now.sec;
	int have;

	/* RFC 7519 4.1.4: dead at exp, not after it */
	if (date_of(c, "exp", &exp) != 1)
		return REFUSE(TOKEN_EXP, ERR_SYNTAX, "\"exp\" is missing or no time");
	if (!want->exp_any && now.sec - want->leeway >= exp)
		return REFUSE(TOKEN_EXP, ERR_EXPIRED, "exp %lld, now %lld", (long long)exp, n);
	if (date_of(c, "iat", &iat) != 1)
		return REFUSE(TOKEN_IAT, ERR_SYNTAX, "\"iat\" is missing or no time");
	if (iat > now.sec + want->leeway)
		return REFUSE(TOKEN_IAT, ERR_DENIED, "issued in the future: iat %lld, now %lld",
		              (long long)iat, n);
	if (want->max_issued >= 0 && now.sec - iat > want->max_issued + want->leeway)
		return REFUSE(TOKEN_IAT, ERR_EXPIRED, "issued %lld s ago, at most %lld are allowed",
		              n - (long long)iat, (long long)want->max_issued);
	have = date_of(c, "nbf", &nbf);
	if (have < 0 || (have && nbf > now.sec + want->leeway))
		return REFUSE(TOKEN_NBF, ERR_DENIED, "not valid yet: nbf %lld, now %lld",
			      (long long)nbf, n);
	have = date_of(c, "auth_time", &auth);
	if (have < 0 || (have && auth > now.sec + want->leeway))
		return REFUSE(TOKEN_AUTH_TIME, ERR_DENIED,
			      "auth_time %lld is no time, or in the future: now %lld",
			      (long long)auth, n);
	if (want->max_age < 0)
		return TOKEN_OK;
	if (!have)
		return REFUSE(TOKEN_AUTH_TIME, ERR_DENIED,
			      "max_age was asked for, and the token has no auth_time");
	if (now.sec - auth > want->max_age + want->leeway)
		return REFUSE(TOKEN_AUTH_TIME, ERR_EXPIRED,
			      "the person logged in %lld s ago, at most %lld are allowed",
			      n - (long long)auth, (long long)want->max_age);
	return TOKEN_OK;
}

static bool audience_is(const json_t *aud, struct span client)
{
	const json_t *one;
	size_t i;

	if (json_is_string(aud))
		return span_eq(text_of(aud), client);
	if (!json_is_array(aud) || json_array_size(aud) == 0)
		return false;
	/* Core 1.0 3.1.3.7 (3): other audiences must be trusted, and we trust none */
	json_array_foreach(aud, i, one)
		if (!json_is_string(one) || !span_eq(text_of(one), client))
			return false;
	return true;
}

/* What ID tokens and logout tokens have in common. */
static enum token_reason parties_check(const json_t *c, const struct token_want *want,
				       struct err *err)
{
	struct span iss = text_of(json_object_get(c, "iss"));
	char shown[LOG_TEXT_MAX];

	if (!iss.ptr || !span_eq(iss, span_str(want->issuer)))
		return REFUSE(TOKEN_ISS, ERR_DENIED, "issuer \"%s\", want \"%s\"",
			      log_text(iss, shown), want->issuer);
	if (!audience_is(json_object_get(c, "aud"), span_str(want->client_id)))
		return REFUSE(TOKEN_AUD, ERR_DENIED, "the audience is not \"%s\" alone",
			      want->client_id);
	return TOKEN_OK;
}

static bool subject_is_sound(struct span sub)
{
	if (sub.len == 0 || sub.len > SUBJECT_MAX || !span_is_utf8(sub))
		return false;
	for (size_t i = 0; i < sub.len; i++)
		if ((unsigned char)sub.ptr[i] < 0x20 || sub.ptr[i] == 0x7f)
			return false;
	return true;
}

static enum token_reason nonce_check(const json_t *v, const struct token_want *want,
				     struct err *err)
{
	struct span nonce = text_of(v);

	if (want->nonce_any)
		return TOKEN_OK;
	if (!want->nonce.ptr)
		return v ? REFUSE(TOKEN_NONCE, ERR_DENIED,
				  "the token has a nonce that nobody asked for")
			 : TOKEN_OK;
	if (!nonce.ptr || nonce.len != want->nonce.len ||
	    !mem_equal_ct(nonce.ptr, want->nonce.ptr, nonce.len))
		return REFUSE(TOKEN_NONCE, ERR_DENIED, "the token's nonce is %s",
		              nonce.ptr ? "another" : "missing");
	return TOKEN_OK;
}

static enum token_reason at_hash_check(const json_t *v, const json_t *header,
                                       const struct token_want *want, struct err *err)
{
	scoped_buf struct buf half = { 0 };
	struct span got = text_of(v);

	/* Core 1.0 3.1.3.8: optional in the code flow, and binding where it is there */
	if (!v || !want->access_token.ptr)
		return TOKEN_OK;
	buf_init(&half, 128);
	jws_half_hash(jws_alg_of(text_of(json_object_get(header, "alg"))), want->access_token,
		      &half);
	if (!got.ptr || half.len == 0 || got.len != half.len ||
	    !mem_equal_ct(got.ptr, half.ptr, half.len))
		return REFUSE(TOKEN_AT_HASH, ERR_CRYPTO, "at_hash is not that of the access token");
	return TOKEN_OK;
}

static bool typ_is(const json_t *typ, const char *name)
{
	struct span t = text_of(typ);

	if (span_ieq(span_head(t, 12), SPAN("application/")))
		t = span_from(t, 12);
	return span_ieq(t, span_str(name));
}

static enum token_reason payload_of(struct span token, const struct jwks *keys, uint32_t algs,
                                    json_t **ret_header, json_t **ret_claims, struct err *err)
{
	scoped_buf struct buf bytes = { 0 };
	json_t *claims;
	enum token_reason why;

	buf_init(&bytes, TOKEN_MAX);
	why = jws_check(token, keys, algs, ret_header, &bytes, err);
	if (why != TOKEN_OK)
		return why;
	claims = json_read(buf_span(&bytes), TOKEN_MAX, err);
	if (!json_is_object(claims)) {
		if (claims)
			err_set(err, ERR_SYNTAX, "the token's payload is no JSON object");
		json_decref(claims);
		return TOKEN_JSON;
	}
	*ret_claims = claims;
	return TOKEN_OK;
}

enum token_reason token_check(struct span token, const struct jwks *keys,
                              const struct token_want *want, struct wall now,
                              json_t **ret_claims, struct err *err)
{
	scoped_json json_t *header = NULL, *c = NULL;
	const json_t *typ, *azp, *acr;
	enum token_reason why = payload_of(token, keys, want->algs, &header, &c, err);

	if (why != TOKEN_OK)
		return why;
	/* RFC 8725 3.11: an access token (at+jwt) or a logout token is no ID token */
	typ = json_object_get(header, "typ");
	if (typ && !typ_is(typ, "JWT"))
		return REFUSE(TOKEN_TYP, ERR_DENIED, "the token's type is not that of an ID token");
	why = parties_check(c, want, err);
	if (why != TOKEN_OK)
		return why;
	azp = json_object_get(c, "azp");
	if (azp && !span_eq(text_of(azp), span_str(want->client_id)))
		return REFUSE(TOKEN_AZP, ERR_DENIED, "the authorized party is not \"%s\"",
			      want->client_id);
	if (!subject_is_sound(text_of(json_object_get(c, "sub"))))
		return REFUSE(TOKEN_SUB, ERR_LIMIT, "\"sub\" is no text of 1 to %d bytes",
			      SUBJECT_MAX);
	/* Back-Channel Logout 2.4: what has this member is a logout token */
	if (json_object_get(c, "events"))
		return REFUSE(TOKEN_EVENT, ERR_DENIED, "an event is no login");
	why = times_check(c, want, now, err);
	if (why == TOKEN_OK)
		why = nonce_check(json_object_get(c, "nonce"), want, err);
	if (why == TOKEN_OK)
		why = at_hash_check(json_object_get(c, "at_hash"), header, want, err);
	if (why != TOKEN_OK)
		return why;
	acr = json_object_get(c, "acr");
	if (want->acr && *want->acr && !acr_among(json_string_value(acr), want->acr))
		return REFUSE(TOKEN_ACR, ERR_DENIED,
			      "the login does not show the acr that was asked for (%s)", want->acr);
	*ret_claims = take(c);
	return TOKEN_OK;
}

void logout_done(struct logout *l)
{
	if (!l)
		return;
	free(l->sub);
	free(l->sid);
	free(l->jti);
	memset(l, 0, sizeof(*l));
}

enum token_reason logout_check(struct span token, const struct jwks *keys,
                               const struct token_want *want, struct wall now,
                               struct logout *ret_logout, struct err *err)
{
	scoped_json json_t *header = NULL, *c = NULL;
	const json_t *typ, *sub, *sid, *event;
	struct span jti;
	int64_t exp = 0, iat = 0;
	enum token_reason why = payload_of(token, keys, want->algs, &header, &c, err);

	if (why != TOKEN_OK)
		return why;
	/* The drafts before 1.0 have no exp: it is what 1.0 (2.4) says that it should be at most. */
	if (!json_object_get(c, "exp") && date_of(c, "iat", &iat) == 1)
		json_object_set_new(c, "exp", json_integer(iat + LOGOUT_LIFE_SEC));
	typ = json_object_get(header, "typ");
	if (typ && !typ_is(typ, "logout+jwt") && !typ_is(typ, "JWT"))
		return REFUSE(TOKEN_TYP, ERR_DENIED,
			      "the token's type is not that of a logout token");
	why = parties_check(c, want, err);
	if (why == TOKEN_OK)
		why = times_check(c, want, now, err);
	if (why != TOKEN_OK)
		return why;
	event = json_object_get(json_object_get(c, "events"),
	                        "http://schemas.openid.net/event/backchannel-logout");
	if (!json_is_object(event))
		return REFUSE(TOKEN_EVENT, ERR_DENIED, "the token has no logout event");
	if (json_object_get(c, "nonce"))
		return REFUSE(TOKEN_NONCE, ERR_DENIED, "a logout token has no nonce");
	sub = json_object_get(c, "sub");
	sid = json_object_get(c, "sid");
	if ((!sub && !sid) || (sub && !subject_is_sound(text_of(sub))))
		return REFUSE(TOKEN_SUB, ERR_LIMIT, "the logout token names nobody");
	if (sid && (text_of(sid).len == 0 || text_of(sid).len > SID_MAX))
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "\"sid\" is no text of 1 to %d bytes",
			      SID_MAX);
	jti = text_of(json_object_get(c, "jti"));
	if (jti.len == 0 || jti.len > SID_MAX)
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "\"jti\" is no text of 1 to %d bytes",
			      SID_MAX);
	date_of(c, "exp", &exp);
	*ret_logout = (struct logout){
		.sub = sub ? span_dup(text_of(sub)) : NULL,
		.sid = sid ? span_dup(text_of(sid)) : NULL,
		.jti = span_dup(jti),
		.expires = {exp},
	};
	return TOKEN_OK;
}
