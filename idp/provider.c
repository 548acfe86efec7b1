/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/provider.h"

#include "base/log.h"
#include "idp/identity.h"
#include "idp/jwks.h"

#define ROW(name_, type_, field_, min_, max_, def_, help_)                              \
	{ .name = name_, .type = type_, .offset = offsetof(struct provider, field_),    \
	  .min = min_, .max = max_, .def = def_, .help = help_ }

static const char *const auth_words[] = {
	[PROVIDER_AUTH_BASIC] = "client_secret_basic", [PROVIDER_AUTH_POST] = "client_secret_post",
	[PROVIDER_AUTH_KEY] = "private_key_jwt", [PROVIDER_AUTH_NONE] = "none", NULL,
};

static const char *const login_words[] = {
	[PROVIDER_LOGIN_PORTAL] = "portal", [PROVIDER_LOGIN_DEVICE] = "device", NULL,
};

const struct conf_row provider_rows[] = {
	ROW("issuer", CONF_STR, issuer, 9, ISSUER_MAX, NULL,
	    "the provider's issuer URL, exactly as its discovery document says it"),
	ROW("title", CONF_STR, title, 0, 100, "",
	    "what people read on the choice page; by default the issuer's host"),
	ROW("client-id", CONF_STR, client_id, 1, 255, NULL,
	    "the name under which the provider knows us"),
	ROW("client-secret-file", CONF_PATH, client_secret_file, 0, 4096, "",
	    "file with the client's secret, readable for its owner alone"),
	ROW("client-key-file", CONF_PATH, client_key_file, 0, 4096, "",
	    "file with a private key (PEM) for private_key_jwt, readable for its owner alone"),
	ROW("client-key-id", CONF_STR, client_key_id, 0, 255, "",
	    "the key's name (kid) at the provider"),
	{.name = "auth-method",
	 .type = CONF_ENUM,
	 .offset = offsetof(struct provider, auth),
	 .def = "client_secret_basic",
	 .words = auth_words,
	 .help = "how the client proves itself at the token endpoint"},
	ROW("device-client-id", CONF_STR, device_client_id, 0, 255, "",
	    "the provider's public client for logins at the device (RFC 8252)"),
	{.name = "login",
	 .type = CONF_ENUM,
	 .offset = offsetof(struct provider, login),
	 .def = "portal",
	 .words = login_words,
	 .help = "where people log in for the mesh: portal (the coordinator's pages), or device: their "
		 "node does it with device-client-id, and endpoints can check it alone"},
	ROW("scopes", CONF_STRS, scopes, 0, 32, "",
	    "scopes beside openid; by default profile and email"),
	ROW("algorithms", CONF_STRS, algorithms, 0, 11, "",
	    "signature algorithms that ID tokens may have; by default RS, PS and ES with 256, 384 "
	    "and 512, and EdDSA"),
	ROW("acr-values", CONF_STRS, acr_values, 0, 16, "", "acr values to ask for at each login"),
	ROW("mfa-acr", CONF_STRS, mfa_acr, 0, 16, "", "acr values that count as multi-factor"),
	ROW("mfa-amr", CONF_STRS, mfa_amr, 0, 16, "",
	    "amr values that count as multi-factor, \"pwd+otp\" for both in one token; by default, "
	    "where mfa-acr is empty too: mfa, pwd+otp, pwd+hwk, pwd+swk"),
	ROW("always-mfa", CONF_BOOL, always_mfa, 0, 0, "false",
	    "this provider is trusted to always ask for a second factor"),
	ROW("require-mfa", CONF_BOOL, require_mfa, 0, 0, "true",
	    "whether a login that does not count as multi-factor is refused"),
	ROW("max-age", CONF_SECONDS, max_age, 0, 365 * 86400, "0",
	    "ask for a login at most so long ago; 0 does not ask"),
	ROW("prompt", CONF_STR, prompt, 0, 64, "", "the prompt parameter of each login"),
	ROW("login-claim", CONF_STR, login_claim, 1, 255, "email",
	    "the claim that is the login name; email counts only with email_verified"),
	ROW("groups-claim", CONF_STR, groups_claim, 0, 255, "groups",
	    "the claim that lists groups: a member's name, or a JSON pointer such as "
	    "/realm_access/roles"),
	ROW("domains", CONF_STRS, domains, 1, 64, NULL,
	    "domains whose login names this provider may give; \"*\" for every name"),
	ROW("userinfo", CONF_BOOL, userinfo, 0, 0, "true",
	    "ask the userinfo endpoint for a login or groups that the ID token lacks"),
	ROW("bare-refusal", CONF_BOOL, bare_refusal, 0, 0, "false",
	    "an answer 400 without a body, to a refresh token, is a refusal (glewlwyd); else it is none"),
	ROW("ca", CONF_PATH, ca, 0, 4096, "",
	    "certificates (PEM) that the provider's must descend from; by default the system's"),
	ROW("jwks-file", CONF_PATH, jwks_file, 0, 4096, "",
	    "the provider's keys as a file, for a host with no way out"),
	ROW("jwks-max-age", CONF_SECONDS, jwks_max_age, 60, 7 * 86400, "1h",
	    "how old fetched keys may be"),
	ROW("leeway", CONF_SECONDS, leeway, 0, 300, "30s",
	    "how far the provider's clock may be off"),
	ROW("timeout", CONF_SECONDS, timeout, 1, 60, "10s",
	    "how long one exchange with it may take"),
	CONF_END,
};

static struct span host_of(struct span url)
{
	struct span rest = span_from(url, sizeof("https://") - 1), host;

	if (!span_next(&rest, '/', &host))
		return span_str(NULL);
	return host;
}

static bool url_check(struct span url, const char *name, struct err *err)
{
	char shown[LOG_TEXT_MAX];
	struct span host = host_of(url);

	if (!span_starts(url, SPAN("https://")) || host.len == 0)
		return err_set(err, ERR_CONFIG,
			       "%s: issuer \"%s\" does not begin with https://HOST", name,
			       log_text(url, shown));
	for (size_t i = 0; i < url.len; i++)
		if (url.ptr[i] <= ' ' || url.ptr[i] > '~' || url.ptr[i] == '?' ||
		    url.ptr[i] == '#' || url.ptr[i] == '\\' || url.ptr[i] == '"')
			return err_set(err, ERR_CONFIG,
				       "%s: issuer \"%s\" has a query, a fragment or blanks", name,
				       log_text(url, shown));
	if (span_find(host, '@') != host.len)
		return err_set(err, ERR_CONFIG, "%s: an issuer has no user name", name);
	return true;
}

uint32_t provider_algs(const struct provider *p)
{
	uint32_t algs = 0;

	if (p->algorithms.count == 0)
		return JWS_ALL;
	for (size_t i = 0; i < p->algorithms.count; i++)
		algs |= jws_alg_of(span_str(p->algorithms.list[i]));
	return algs;
}

static bool auth_check(const struct provider *p, const char *name, struct err *err)
{
	bool secret = *p->client_secret_file, key = *p->client_key_file;
	const char *word = auth_words[p->auth];

	switch ((enum provider_auth)p->auth) {
	case PROVIDER_AUTH_BASIC:
	case PROVIDER_AUTH_POST:
		if (!secret || key)
			return err_set(err, ERR_CONFIG,
				       "%s: auth-method %s needs client-secret-file, "
				       "and no client-key-file",
				       name, word);
		return true;
	case PROVIDER_AUTH_KEY:
		if (secret || !key)
			return err_set(err, ERR_CONFIG, "%s: auth-method %s needs client-key-file, "
			               "and no client-secret-file", name, word);
		return true;
	case PROVIDER_AUTH_NONE:
		if (secret || key)
			return err_set(err, ERR_CONFIG,
				       "%s: auth-method none has neither secret nor key", name);
		return true;
	}
	return err_set(err, ERR_CONFIG, "%s: no such auth-method", name);
}

/* RFC 6901: "~" is followed by 0 or 1. */
static bool pointer_is_sound(const char *path)
{
	for (const char *c = path; *c; c++)
		if (*c == '~' && c[1] != '0' && c[1] != '1')
			return false;
	return true;
}

bool provider_check(const struct provider *p, const char *name, struct err *err)
{
	if (!url_check(span_str(p->issuer), name, err) || !auth_check(p, name, err))
		return false;
	for (size_t i = 0; i < p->algorithms.count; i++) {
		char shown[LOG_TEXT_MAX];

		if (!jws_alg_of(span_str(p->algorithms.list[i])))
			return err_set(err, ERR_CONFIG,
				       "%s: algorithm \"%s\" is none of RS, PS, ES with "
				       "256, 384, 512, nor EdDSA",
				       name, log_text(span_str(p->algorithms.list[i]), shown));
	}
	if (*p->groups_claim == '/' && !pointer_is_sound(p->groups_claim))
		return err_set(err, ERR_CONFIG, "%s: groups-claim is no JSON pointer (RFC 6901)",
			       name);
	if (*p->device_client_id && span_eq(span_str(p->device_client_id), span_str(p->client_id)))
		return err_set(err, ERR_CONFIG,
			       "%s: device-client-id must be another client than client-id: "
			       "evidence counts for that audience alone",
			       name);
	if (p->login == PROVIDER_LOGIN_DEVICE && !*p->device_client_id)
		return err_set(err, ERR_CONFIG, "%s: login \"device\" needs device-client-id", name);
	if (p->always_mfa && (p->mfa_acr.count || p->mfa_amr.count))
		return err_set(err, ERR_CONFIG,
			       "%s: always-mfa leaves no use for mfa-acr and mfa-amr", name);
	for (size_t i = 0; i < p->scopes.count; i++)
		for (const char *c = p->scopes.list[i]; *c; c++)
			if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\')
				return err_set(err, ERR_CONFIG,
					       "%s: scopes: one scope per item (RFC 6749 3.3)",
					       name);
	return true;
}

struct span provider_title(const struct provider *p)
{
	return *p->title ? span_str(p->title) : host_of(span_str(p->issuer));
}

bool provider_has_domain(const struct provider *p, struct span login)
{
	size_t at = login.len;

	while (at > 0 && login.ptr[at - 1] != '@')
		at--;
	for (size_t i = 0; i < p->domains.count; i++) {
		struct span d = span_str(p->domains.list[i]);

		if (span_eq(d, SPAN("*")))
			return true;
		if (at > 1 && d.len && span_ieq(span_from(login, at), d))
			return true;
	}
	return false;
}
