/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/discovery.h"

#include "base/buf.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "idp/idp.h"

#include <stdlib.h>
#include <string.h>

char *discovery_url(const char *issuer)
{
	struct buf b;
	struct span base = span_str(issuer);

	if (span_ends(base, SPAN("/")))
		base.len--;
	buf_init(&b, ISSUER_MAX + 64);
	buf_add_span(&b, base);
	buf_add_str(&b, "/.well-known/openid-configuration");
	return buf_take(&b);
}

static bool url_is_sound(struct span url)
{
	static const struct span https = SPAN("https://");

	if (!span_starts(url, https) || url.len == https.len || url.len > ENDPOINT_URL_MAX)
		return false;
	for (size_t i = 0; i < url.len; i++)
		if (url.ptr[i] <= ' ' || url.ptr[i] > '~' || strchr("\"<>\\^`{|}#", url.ptr[i]))
			return false;
	return true;
}

/* False only if there is one that we would not use. */
static bool endpoint(const json_t *doc, const char *name, char **ret_url, struct err *err)
{
	const json_t *v = json_object_get(doc, name);
	struct span url;
	char shown[LOG_TEXT_MAX];

	if (!v)
		return true;
	url = span_str(json_string_value(v));
	if (!url_is_sound(url))
		return err_set(err, ERR_PEER, "\"%s\" is no https URL: \"%s\"", name,
			       log_text(url, shown));
	*ret_url = span_dup(url);
	return true;
}

static bool fill(const json_t *doc, const char *issuer, struct discovery *d, struct err *err)
{
	struct span said = span_str(json_string_value(json_object_get(doc, "issuer")));
	char shown[LOG_TEXT_MAX];

	if (!span_eq(said, span_str(issuer)))
		return err_set(err, ERR_PEER, "it describes issuer \"%s\", configured is \"%s\"",
		               log_text(said, shown), issuer);
	if (!endpoint(doc, "authorization_endpoint", &d->authorization, err) ||
	    !endpoint(doc, "token_endpoint", &d->token, err) ||
	    !endpoint(doc, "jwks_uri", &d->jwks, err) ||
	    !endpoint(doc, "userinfo_endpoint", &d->userinfo, err) ||
	    !endpoint(doc, "end_session_endpoint", &d->end_session, err) ||
	    !endpoint(doc, "pushed_authorization_request_endpoint", &d->pushed, err))
		return false;
	if (!d->authorization || !d->token || !d->jwks)
		return err_set(err, ERR_PEER,
			       "it has no authorization_endpoint, token_endpoint or jwks_uri");
	d->iss_parameter = json_is_true(
		json_object_get(doc, "authorization_response_iss_parameter_supported"));
	return true;
}

bool discovery_parse(struct span json, const char *issuer, struct discovery *ret_d, struct err *err)
{
	scoped_json json_t *doc = json_read(json, IDP_DISCOVERY_MAX, err);
	struct discovery d = { 0 };

	if (!doc || !fill(doc, issuer, &d, err)) {
		discovery_done(&d);
		return err_prefix(err, "discovery: ");
	}
	*ret_d = d;
	return true;
}

void discovery_done(struct discovery *d)
{
	free(d->authorization);
	free(d->token);
	free(d->jwks);
	free(d->userinfo);
	free(d->end_session);
	free(d->pushed);
	memset(d, 0, sizeof(*d));
}
