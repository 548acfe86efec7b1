/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/bearer.h"

#include "base/hujson.h"
#include "base/mem.h"
#include "idp/identity.h"
#include "idp/jws.h"
#include "idp/text.h"

#include <stdlib.h>
#include <string.h>

#define REFUSE(why, code, ...) (err_set(err, code, __VA_ARGS__), why)

void bearer_token_done(struct bearer_token *t)
{
	free(t->sub);
	free(t->client);
	for (size_t i = 0; i < t->n_scopes; i++)
		free(t->scopes[i]);
	*t = (struct bearer_token){ 0 };
}

bool bearer_has_scope(const struct bearer_token *t, const char *scope)
{
	for (size_t i = 0; i < t->n_scopes; i++)
		if (strcmp(t->scopes[i], scope) == 0)
			return true;
	return false;
}

/* An access token of another kind ("logout+jwt", "dpop+jwt") is none of ours. */
static bool type_ok(const json_t *typ)
{
	struct span t = text_of(typ);

	if (!typ)
		return true;
	if (span_ieq(span_head(t, 12), SPAN("application/")))
		t = span_from(t, 12);
	return span_ieq(t, SPAN("at+jwt")) || span_ieq(t, SPAN("JWT"));
}

static bool for_us(const json_t *aud, const char *audience)
{
	const json_t *one;
	size_t        i;

	if (json_is_string(aud))
		return span_eq(text_of(aud), span_str(audience));
	json_array_foreach(aud, i, one)
		if (span_eq(text_of(one), span_str(audience)))
			return true;
	return false;
}

static bool date(const json_t *c, const char *name, int64_t *ret)
{
	const json_t *v = json_object_get(c, name);

	if (json_is_real(v) && json_real_value(v) >= 0 && json_real_value(v) < 9e15)
		*ret = (int64_t)json_real_value(v);
	else if (json_is_integer(v) && json_integer_value(v) >= 0)
		*ret = json_integer_value(v);
	else
		return false;
	return *ret <= INT64_C(1) << 53;
}

static enum token_reason times_ok(const json_t *c, const struct bearer_want *want, struct wall now,
				  struct wall *ret_exp, struct err *err)
{
	int64_t exp, iat, nbf;

	if (!date(c, "exp", &exp))
		return REFUSE(TOKEN_EXP, ERR_SYNTAX, "\"exp\" is missing or no time");
	if (now.sec - want->leeway >= exp)
		return REFUSE(TOKEN_EXP, ERR_EXPIRED, "exp %lld, now %lld", (long long)exp,
			      (long long)now.sec);
	if (!date(c, "iat", &iat) || iat > now.sec + want->leeway)
		return REFUSE(TOKEN_IAT, ERR_DENIED, "\"iat\" is missing, or in the future");
	if (exp - iat > BEARER_LIFE_MAX)
		return REFUSE(TOKEN_EXP, ERR_DENIED, "the token lives for %lld s, at most %d are allowed",
			      (long long)(exp - iat), BEARER_LIFE_MAX);
	if (json_object_get(c, "nbf") && (!date(c, "nbf", &nbf) || nbf > now.sec + want->leeway))
		return REFUSE(TOKEN_NBF, ERR_DENIED, "not valid yet");
	ret_exp->sec = exp;
	return TOKEN_OK;
}

/* Scopes of a text ("a b"), or of a list. */
static bool add_scopes(struct bearer_token *t, const json_t *v)
{
	struct span rest = text_of(v), one;
	size_t      n = json_is_array(v) ? json_array_size(v) : 0;

	while (json_is_string(v) && span_next(&rest, ' ', &one)) {
		if (!one.len)
			continue;
		if (t->n_scopes == BEARER_SCOPES_MAX)
			return false;
		t->scopes[t->n_scopes++] = span_dup(one);
	}
	for (size_t i = 0; i < n; i++) {
		one = text_of(json_array_get(v, i));
		if (!one.len || t->n_scopes == BEARER_SCOPES_MAX)
			return false;
		t->scopes[t->n_scopes++] = span_dup(one);
	}
	return !v || json_is_string(v) || json_is_array(v);
}

static enum token_reason read_token(const json_t *c, struct bearer_token *t, struct err *err)
{
	static const char *const clients[] = { "client_id", "azp", "appid" };
	struct span sub = text_of(json_object_get(c, "sub")), client = { 0 };

	if (sub.len == 0 || sub.len > SUBJECT_MAX || !span_is_print(sub))
		return REFUSE(TOKEN_SUB, ERR_LIMIT, "\"sub\" is no printable text of 1 to %d bytes",
			      SUBJECT_MAX);
	for (size_t i = 0; i < array_size(clients) && !client.len; i++)
		client = text_of(json_object_get(c, clients[i]));
	if (client.len > SUBJECT_MAX || !span_is_print(client))
		return REFUSE(TOKEN_AZP, ERR_LIMIT, "the client's name is too long");
	t->sub = span_dup(sub);
	t->client = client.len ? span_dup(client) : mem_strdup("");
	if (!add_scopes(t, json_object_get(c, "scope")) ||
	    !add_scopes(t, json_object_get(c, "scp")) || !add_scopes(t, json_object_get(c, "roles")))
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "scope, scp and roles are at most %d texts",
			      BEARER_SCOPES_MAX);
	return TOKEN_OK;
}

enum token_reason bearer_check(struct span token, const struct jwks *keys,
			       const struct bearer_want *want, struct wall now,
			       struct bearer_token *ret, struct err *err)
{
	scoped_json json_t   *header = NULL, *c = NULL;
	scoped_buf struct buf bytes = { 0 };
	struct bearer_token   t = { 0 };

	buf_init(&bytes, TOKEN_MAX);
	enum token_reason why = jws_check(token, keys, want->algs, &header, &bytes, err);
	if (why != TOKEN_OK)
		return why;
	c = json_read(buf_span(&bytes), TOKEN_MAX, err);
	if (!json_is_object(c))
		return REFUSE(TOKEN_JSON, ERR_SYNTAX, "the token's payload is no JSON object");
	if (!type_ok(json_object_get(header, "typ")))
		return REFUSE(TOKEN_TYP, ERR_DENIED, "the token's type is not that of an access token");
	if (!span_eq(text_of(json_object_get(c, "iss")), span_str(want->issuer)))
		return REFUSE(TOKEN_ISS, ERR_DENIED, "another issuer than \"%s\"", want->issuer);
	if (!for_us(json_object_get(c, "aud"), want->audience))
		return REFUSE(TOKEN_AUD, ERR_DENIED, "the audience is not \"%s\"", want->audience);
	/* What only logins have: somebody's ID token is no program's credential. */
	if (json_object_get(c, "nonce") || json_object_get(c, "at_hash") ||
	    json_object_get(c, "events"))
		return REFUSE(TOKEN_TYP, ERR_DENIED, "that is an ID token or a logout token");
	why = times_ok(c, want, now, &t.expires, err);
	if (why == TOKEN_OK)
		why = read_token(c, &t, err);
	if (why != TOKEN_OK)
		bearer_token_done(&t);
	else
		*ret = t;
	return why;
}
