/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* 'R' and a token as it stands; 'P' and a payload, 'H' and a header, which are signed first, so
 * that the checks behind the signature are reached; 'K' and a key set. */
#include "idp/claims.h"
#include "idp/jws.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/signer.h"

static const char claims_base[] =
	"{\"iss\":\"https://idp.example.edu\",\"sub\":\"1\",\"aud\":\"reeve\",\"exp\":1790000300,"
	"\"iat\":1790000000,\"nonce\":\"N\",\"email\":\"staff@example.edu\",\"email_verified\":true}";

static struct {
	cjose_jwk_t *key;
	struct jwks *keys;
} s;

static void set_up(void)
{
	char *text;

	if (s.key)
		return;
	s.key = signer_new(true, "k");
	text = signer_jwks(&s.key, 1);
	s.keys = jwks_parse(span_str(text), NULL);
	must(s.keys);
	free(text);
}

static bool is_clean(const char *text)
{
	for (; text && *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static void check_token(struct span token, bool logout)
{
	char *domains[] = { "example.edu" };
	const struct provider p = {
		.issuer = "https://idp.example.edu", .client_id = "reeve", .device_client_id = "",
		.login_claim = "email", .groups_claim = "/a/groups", .domains = { domains, NULL, 1 },
	};
	const struct token_want want = {
		.issuer = p.issuer, .client_id = p.client_id, .algs = JWS_ALL, .nonce = SPAN("N"),
		.leeway = 30, .max_age = -1, .max_issued = 600, .access_token = SPAN("A"),
	};
	struct wall now = { 1790000000 };
	struct identity who = { 0 };
	struct logout out = { 0 };
	struct err err = { 0 };
	json_t *claims = NULL;
	enum token_reason why = logout ? logout_check(token, s.keys, &want, now, &out, &err) :
	                                 token_check(token, s.keys, &want, now, &claims, &err);

	must(why > TOKEN_UNCHECKED && why < TOKEN_REASONS);
	must((why == TOKEN_OK) == (err.code == ERR_NONE));
	must((claims != NULL) == (why == TOKEN_OK && !logout));
	if (claims && identity_from_claims(&p, claims, claims, &who, &err) == TOKEN_OK) {
		must(who.sub && *who.sub && who.login && *who.login && who.email_verified);
		must(provider_has_domain(&p, span_str(who.login)));
		must(is_clean(who.sub) && is_clean(who.login) && is_clean(who.name) && is_clean(who.email));
		for (size_t i = 0; i < who.n_groups; i++)
			must(is_clean(who.groups[i]) && (!i || strcmp(who.groups[i - 1], who.groups[i]) < 0));
		identity_done(&who);
	}
	logout_done(&out);
	json_decref(claims);
}

static void check_signed(const char *header, struct span payload)
{
	json_t *h = json_loads(header, 0, NULL);
	char *token;
	struct buf any;

	if (!json_is_object(h) || !json_is_string(json_object_get(h, "alg")) ||
	    strcmp(json_string_value(json_object_get(h, "alg")), "ES256") != 0) {
		json_decref(h);
		return;
	}
	token = signer_token(s.key, h, payload);
	check_token(span_str(token), false);
	check_token(span_str(token), true);
	buf_init(&any, TOKEN_MAX);
	must(jws_check(span_str(token), s.keys, JWS_RS256, NULL, &any, NULL) != TOKEN_OK);
	buf_done(&any);
	free(token);
	json_decref(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct jwks *keys;
	char *copy;

	set_up();
	if (size == 0 || size > 32768)
		return 0;
	in = span_from(in, 1);
	switch (data[0]) {
	case 'R':
		check_token(in, false);
		check_token(in, true);
		break;
	case 'P':
		check_signed("{\"alg\":\"ES256\",\"kid\":\"k\"}", in);
		break;
	case 'H':
		copy = span_dup(in);
		check_signed(copy, SPAN(""));
		check_signed(copy, span_str(claims_base));
		free(copy);
		break;
	case 'K':
		keys = jwks_parse(in, NULL);
		if (keys) {
			must(jwks_count(keys) > 0 && jwks_count(keys) <= JWKS_KEYS_MAX);
			jwks_verify(keys, span_str(NULL), JWS_ES256, SPAN("e30.e30.AAAA"));
		}
		jwks_unref(keys);
		break;
	}
	return 0;
}
