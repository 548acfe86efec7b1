/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/profiles.h"

#include "base/encode.h"
#include "base/mem.h"
#include "daemon/proxy/http_parse.h"
#include "policy/tables.h"

#include <stdio.h>
#include <string.h>

static const struct profile_row remote_user[] = {       /* Authelia, and CGI's own word */
	{ "Remote-User", "{login}", VALUE_ASCII },
	{ "Remote-Name", "{name}", VALUE_UTF8 },
	{ "Remote-Email", "{email}", VALUE_UTF8 },
	{ "Remote-Groups", "{groups}", VALUE_UTF8 },
	{ NULL, NULL, 0 }
};
static const struct profile_row x_forwarded[] = {       /* oauth2-proxy */
	{ "X-Forwarded-User", "{login}", VALUE_ASCII },
	{ "X-Forwarded-Email", "{email}", VALUE_UTF8 },
	{ "X-Forwarded-Preferred-Username", "{login}", VALUE_ASCII },
	{ "X-Forwarded-Groups", "{groups}", VALUE_UTF8 },
	{ NULL, NULL, 0 }
};
static const struct profile_row tailscale[] = {         /* tailscale serve: non-ASCII as RFC 2047 words */
	{ "Tailscale-User-Login", "{login}", VALUE_ASCII },
	{ "Tailscale-User-Name", "{name}", VALUE_RFC2047 },
	{ "Tailscale-User-Profile-Pic", "{picture}", VALUE_DROP },
	{ NULL, NULL, 0 }
};
static const struct profile_row tailscale_caps[] = {    /* tailscale serve --accept-app-caps */
	{ "Tailscale-App-Capabilities", "{caps}", VALUE_RFC2047 },
	{ NULL, NULL, 0 }
};
static const struct profile_row webauth[] = {           /* Grafana, Gitea */
	{ "X-WEBAUTH-USER", "{login}", VALUE_ASCII },
	{ "X-WEBAUTH-NAME", "{name}", VALUE_UTF8 },
	{ "X-WEBAUTH-EMAIL", "{email}", VALUE_UTF8 },
	{ "X-WEBAUTH-GROUPS", "{groups}", VALUE_UTF8 },
	{ NULL, NULL, 0 }
};
static const struct profile_row oidc_claim[] = {        /* mod_auth_openidc */
	{ "OIDC_CLAIM_sub", "{subject}", VALUE_ASCII },
	{ "OIDC_CLAIM_iss", "{issuer}", VALUE_ASCII },
	{ "OIDC_CLAIM_preferred_username", "{login}", VALUE_ASCII },
	{ "OIDC_CLAIM_name", "{name}", VALUE_UTF8 },
	{ "OIDC_CLAIM_email", "{email}", VALUE_UTF8 },
	{ "OIDC_CLAIM_groups", "{groups}", VALUE_UTF8 },
	{ "OIDC_CLAIM_acr", "{acr}", VALUE_DROP },
	{ "OIDC_CLAIM_amr", "{amr}", VALUE_DROP },
	{ "OIDC_CLAIM_auth_time", "{auth-time}", VALUE_DROP },
	{ NULL, NULL, 0 }
};

static const struct profile_row assertion[] = {         /* contrib/verify checks it */
	{ "X-Reeve-Assertion", "{assertion}", VALUE_ASCII },
	{ NULL, NULL, 0 }
};
/* The names under which applications written for others look for theirs; key and issuer are ours. */
static const struct profile_row pomerium[] = {
	{ "X-Pomerium-Jwt-Assertion", "{assertion}", VALUE_ASCII },
	{ NULL, NULL, 0 }
};
static const struct profile_row cloudflare[] = {
	{ "Cf-Access-Jwt-Assertion", "{assertion}", VALUE_ASCII },
	{ "Cf-Access-Authenticated-User-Email", "{email}", VALUE_DROP },
	{ NULL, NULL, 0 }
};
static const struct profile_row google_iap[] = {
	{ "X-Goog-IAP-JWT-Assertion", "{assertion}", VALUE_ASCII },
	{ "X-Goog-Authenticated-User-Email", "accounts.google.com:{email}", VALUE_DROP },
	{ "X-Goog-Authenticated-User-ID", "accounts.google.com:{subject}", VALUE_DROP },
	{ NULL, NULL, 0 }
};

static const struct profile profiles[] = {
	{ "remote-user", remote_user }, { "x-forwarded", x_forwarded }, { "tailscale", tailscale },
	{ "tailscale-caps", tailscale_caps },
	{ "webauth", webauth },         { "oidc-claim", oidc_claim },
	{ "assertion", assertion },     { "pomerium", pomerium },
	{ "cloudflare-access", cloudflare }, { "google-iap", google_iap },
};

const struct profile *profile_find(struct span name)
{
	for (size_t i = 0; i < array_size(profiles); i++) {
		if (span_eq(name, span_str(profiles[i].name)))
			return &profiles[i];
	}
	return NULL;
}

static const char *const field_names[FIELD_COUNT] = {
	[FIELD_LITERAL] = "",            [FIELD_LOGIN] = "login",
	[FIELD_NAME] = "name",           [FIELD_EMAIL] = "email",
	[FIELD_PICTURE] = "picture",     [FIELD_GROUPS] = "groups",
	[FIELD_TAGS] = "tags",           [FIELD_ISSUER] = "issuer",
	[FIELD_SUBJECT] = "subject",     [FIELD_USER] = "user",
	[FIELD_SESSION] = "session",     [FIELD_NODE] = "node",
	[FIELD_NODE_NAME] = "node-name", [FIELD_ACR] = "acr",
	[FIELD_AMR] = "amr",             [FIELD_AUTH_TIME] = "auth-time",
	[FIELD_EXPIRES] = "expires",     [FIELD_ADDRESS] = "address",
	[FIELD_CAPS] = "caps",           [FIELD_SHORT_LOGIN] = "short-login", [FIELD_ASSERTION] = "assertion",
};

enum ident_field profile_field(struct span name)
{
	for (int i = FIELD_LITERAL + 1; i < FIELD_COUNT; i++) {
		if (span_eq(name, span_str(field_names[i])))
			return (enum ident_field)i;
	}
	return FIELD_COUNT;
}

bool profile_piece_next(struct span *rest, enum ident_field *ret_field, struct span *ret_literal,
                        struct err *err)
{
	size_t n;

	if (err)
		err->code = ERR_NONE;
	if (rest->len == 0)
		return false;
	*ret_field = FIELD_LITERAL;
	if (span_starts(*rest, SPAN("{{"))) {
		*ret_literal = span_head(*rest, 1);
		*rest = span_from(*rest, 2);
		return true;
	}
	if (rest->ptr[0] != '{') {
		n = span_find(*rest, '{');
		*ret_literal = span_head(*rest, n);
		*rest = span_from(*rest, n);
		return true;
	}
	n = span_find(*rest, '}');
	if (n == rest->len)
		return err_set(err, ERR_SYNTAX, "a \"{\" without its \"}\"; \"{{\" is a brace");
	*ret_literal = span_head(span_from(*rest, 1), n - 1);
	*ret_field = profile_field(*ret_literal);
	if (*ret_field == FIELD_COUNT)
		return err_set(err, ERR_SYNTAX, "unknown field {%.*s}", SPAN_ARG(*ret_literal));
	*rest = span_from(*rest, n + 1);
	return true;
}

/* Several values become one text: none may hold the separator, which is mod_auth_openidc's too. */
static bool add_list(struct buf *b, const struct snapshot *s, struct snap_list l, const char **ret_why)
{
	for (uint32_t i = 0; i < l.count; i++) {
		struct span item = snapshot_item(s, l, i);

		if (span_find(item, ',') < item.len) {
			*ret_why = "one of its groups has a comma in its name";
			return false;
		}
		if (i)
			buf_add_char(b, ',');
		buf_add_span(b, item);
	}
	return true;
}

/* Nothing rather than an empty object: the header is then left out. */
static void add_caps(struct buf *b, const struct profile_about *a)
{
	const struct tables *t = snapshot_policy(a->snapshot);
	struct span caps = t ? tables_caps(t, a->address.family == IP_V4 ? a->ident->class4 : a->ident->class6)
	                     : (struct span){ 0 };

	if (caps.len > 2)
		buf_add_span(b, caps);
}

static bool add_field(struct buf *b, const struct profile_about *a, enum ident_field field,
                      const char **ret_why)
{
	const struct snap_ident *d = a->ident;
	const struct snapshot *s = a->snapshot;
	char text[IP_TEXT_MAX];
	struct span login;

	switch (field) {
	case FIELD_LOGIN:
		buf_add_span(b, snapshot_text(s, d->login));
		return true;
	case FIELD_SHORT_LOGIN:
		login = snapshot_text(s, d->login);
		buf_add_span(b, span_head(login, span_find(login, '@')));
		return true;
	case FIELD_NAME:
		buf_add_span(b, snapshot_text(s, d->name));
		return true;
	case FIELD_EMAIL:
		buf_add_span(b, snapshot_text(s, d->email));
		return true;
	case FIELD_PICTURE:
		buf_add_span(b, snapshot_text(s, d->picture));
		return true;
	case FIELD_ISSUER:
		buf_add_span(b, snapshot_text(s, d->issuer));
		return true;
	case FIELD_SUBJECT:
		buf_add_span(b, snapshot_text(s, d->subject));
		return true;
	case FIELD_USER:
		buf_add_span(b, snapshot_text(s, d->user));
		return true;
	case FIELD_SESSION:
		buf_add_span(b, snapshot_text(s, d->session));
		return true;
	case FIELD_NODE:
		buf_add_span(b, snapshot_text(s, d->node));
		return true;
	case FIELD_NODE_NAME:
		buf_add_span(b, snapshot_text(s, d->node_name));
		return true;
	case FIELD_ACR:
		buf_add_span(b, snapshot_text(s, d->acr));
		return true;
	case FIELD_GROUPS:
		return add_list(b, s, d->groups, ret_why);
	case FIELD_TAGS:
		return add_list(b, s, d->tags, ret_why);
	case FIELD_AMR:
		return add_list(b, s, d->amr, ret_why);
	case FIELD_AUTH_TIME:
		if (d->auth_time)
			buf_addf(b, "%lld", (long long)d->auth_time);
		return true;
	case FIELD_EXPIRES:
		if (d->expires)
			buf_addf(b, "%lld", (long long)d->expires);
		return true;
	case FIELD_ADDRESS:
		buf_add_str(b, ip_text(&a->address, text));
		return true;
	case FIELD_CAPS:
		add_caps(b, a);
		return true;
	case FIELD_ASSERTION:
		buf_add_span(b, a->assertion);
		return true;
	case FIELD_LITERAL:
	case FIELD_COUNT:
		break;
	}
	return true;
}

/* RFC 2047 words in Q encoding, at most 75 bytes each, cut between characters. */
static void rfc2047(struct buf *b, struct span s)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t line = 0;

	for (size_t i = 0; i < s.len;) {
		size_t n = 1;

		while (i + n < s.len && ((unsigned char)s.ptr[i + n] & 0xc0) == 0x80)
			n++;
		if (line == 0 || line + 3 * n > 61) {
			buf_add_str(b, line ? "?= =?utf-8?q?" : "=?utf-8?q?");
			line = 1;
		}
		for (size_t k = 0; k < n; k++) {
			unsigned char c = (unsigned char)s.ptr[i + k];

			if (c == ' ') {
				buf_add_char(b, '_');
				line++;
			} else if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')) {
				buf_add_char(b, (char)c);
				line++;
			} else {
				char e[3] = { '=', hex[c >> 4], hex[c & 15] };

				buf_add(b, e, 3);
				line += 3;
			}
		}
		i += n;
	}
	buf_add_str(b, "?=");
}

/* The fast path: plain text, no list, one field. */
static bool plain(const struct profile_about *a, struct snap_list pieces, struct span *ret_value)
{
	const struct snap_piece *p = snapshot_piece(a->snapshot, pieces, 0);
	const struct snap_ident *d = a->ident;
	struct snap_ref ref;

	if (pieces.count != 1)
		return false;
	switch (p->field) {
	case FIELD_LOGIN:
		ref = d->login;
		break;
	case FIELD_NAME:
		ref = d->name;
		break;
	case FIELD_EMAIL:
		ref = d->email;
		break;
	case FIELD_GROUPS:
		if (d->groups.count > 1)
			return false;
		*ret_value = snapshot_item(a->snapshot, d->groups, 0);
		return span_is_print(*ret_value) && span_find(*ret_value, ',') == ret_value->len;
	default:
		return false;
	}
	*ret_value = snapshot_text(a->snapshot, ref);
	return span_is_print(*ret_value);
}

static bool write_one(const struct profile_about *a, const struct snap_header *h,
                      struct head_out *out, struct buf *raw, struct buf *enc, const char **ret_why)
{
	struct span name = snapshot_text(a->snapshot, h->name), value;
	bool any = false;

	if (plain(a, h->pieces, &value) && value.len <= PROFILE_VALUE_MAX) {
		if (value.len && h->encoding != VALUE_BASE64URL && h->encoding != VALUE_PERCENT)
			return head_add_field(out, name, value), true;
		if (!value.len)
			return true;
	}
	buf_clear(raw);
	buf_clear(enc);
	for (uint32_t i = 0; i < h->pieces.count; i++) {
		const struct snap_piece *p = snapshot_piece(a->snapshot, h->pieces, i);
		size_t before = raw->len;

		if (p->field == FIELD_LITERAL) {
			buf_add_span(raw, snapshot_text(a->snapshot, p->literal));
			continue;
		}
		if (!add_field(raw, a, (enum ident_field)p->field, ret_why))
			return false;
		any = any || raw->len > before;
	}
	if (raw->over) {
		*ret_why = "it has too many groups for one header";
		return false;
	}
	/* what says nothing of anybody is left out: "cn=" is nobody's name */
	if (!any)
		return true;
	value = buf_span(raw);
	if (!span_is_print(value) || h->encoding == VALUE_BASE64URL || h->encoding == VALUE_PERCENT) {
		switch ((enum value_encoding)h->encoding) {
		case VALUE_DROP:
			return true;
		case VALUE_UTF8:
			if (!span_is_utf8(value) || !http_is_value(value))
				return true;
			break;
		case VALUE_RFC2047:
			rfc2047(enc, value);
			value = buf_span(enc);
			break;
		case VALUE_PERCENT:
			percent_add(enc, value);
			value = buf_span(enc);
			break;
		case VALUE_BASE64URL:
			base64url_add(enc, value);
			value = buf_span(enc);
			break;
		case VALUE_ASCII:
		default:
			*ret_why = "its user name is not plain ASCII";
			return false;
		}
		if (enc->over) {
			*ret_why = "it has too many groups for one header";
			return false;
		}
	}
	head_add_field(out, name, value);
	return true;
}

bool profiles_write(const struct profile_about *a, struct snap_list headers, struct head_out *out,
                    const char **ret_why)
{
	struct buf raw, enc;
	bool ok = true;

	if (!a->ident)
		return true;
	buf_init(&raw, PROFILE_VALUE_MAX);
	buf_init(&enc, 3 * PROFILE_VALUE_MAX);
	for (uint32_t i = 0; ok && i < headers.count; i++)
		ok = write_one(a, snapshot_header(a->snapshot, headers, i), out, &raw, &enc, ret_why);
	buf_done(&raw);
	buf_done(&enc);
	return ok;
}
