/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/claims.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "idp/text.h"

#include <stdlib.h>
#include <string.h>

#define REFUSE(why, code, ...) (err_set(err, code, __VA_ARGS__), why)

static bool has_controls(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return true;
	return false;
}

/* Text of at most max bytes without controls; NULL for anything else. */
static char *text_dup(const json_t *v, size_t max)
{
	struct span s = text_of(v);

	return s.len && s.len <= max && !has_controls(s) && span_is_utf8(s) ? span_dup(s) : NULL;
}

/* A member by name, or by JSON pointer (RFC 6901) through objects. */
static const json_t *claim_at(const json_t *claims, const char *path)
{
	struct span rest, part;

	if (*path != '/')
		return *path ? json_object_get(claims, path) : NULL;
	rest = span_str(path + 1);
	while (claims && span_next(&rest, '/', &part)) {
		scoped_buf struct buf name = { 0 };

		buf_init(&name, 256);
		buf_add_str(&name, "");
		for (size_t i = 0; i < part.len; i++)
			if (part.ptr[i] == '~' && i + 1 < part.len)
				buf_add_char(&name, part.ptr[++i] == '1' ? '/' : '~');
			else
				buf_add_char(&name, part.ptr[i]);
		claims = name.over || !name.ptr ? NULL : json_object_get(claims, name.ptr);
	}
	return claims;
}

/* The token's claim, else userinfo's. */
static const json_t *either(const json_t *claims, const json_t *userinfo, const char *path)
{
	const json_t *v = claim_at(claims, path);

	return v ? v : userinfo ? claim_at(userinfo, path) : NULL;
}

bool claims_lack(const struct provider *p, const json_t *claims)
{
	return !claim_at(claims, p->login_claim) ||
	       (*p->groups_claim && !claim_at(claims, p->groups_claim));
}

static int group_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum token_reason groups_from(const json_t *v, struct identity *who, struct err *err)
{
	size_t n = json_is_array(v) ? json_array_size(v) : 1, kept = 0;

	if (!v)
		return TOKEN_OK;        /* absent: not known, which is not "none" */
	if (!json_is_array(v) && !json_is_string(v))
		return REFUSE(TOKEN_CLAIM, ERR_SYNTAX, "the groups claim is no list");
	if (n > IDENTITY_GROUPS_MAX)
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "%zu groups, more than the limit of %d", n,
		              IDENTITY_GROUPS_MAX);
	who->groups_known = true;
	who->groups = mem_calloc(n ? n : 1, sizeof(*who->groups));
	for (size_t i = 0; i < n; i++) {
		char *name = text_dup(json_is_array(v) ? json_array_get(v, i) : v, GROUP_NAME_MAX);

		if (!name)
			return REFUSE(TOKEN_CLAIM, ERR_LIMIT,
				      "group %zu is no text of 1 to %d bytes", i, GROUP_NAME_MAX);
		who->groups[who->n_groups++] = name;
	}
	qsort(who->groups, who->n_groups, sizeof(*who->groups), group_cmp);
	for (size_t i = 0; i < who->n_groups; i++)
		if (kept && strcmp(who->groups[i], who->groups[kept - 1]) == 0)
			free(who->groups[i]);
		else
			who->groups[kept++] = who->groups[i];
	who->n_groups = kept;
	return TOKEN_OK;
}

static enum token_reason strength_from(const json_t *claims, struct identity *who, struct err *err)
{
	const json_t *acr = json_object_get(claims, "acr"), *amr = json_object_get(claims, "amr"),
		     *one;
	size_t i;

	if (acr && !(who->acr = text_dup(acr, ACR_MAX)))
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "\"acr\" is no text of 1 to %d bytes",
			      ACR_MAX);
	if (!amr)
		return TOKEN_OK;
	if (!json_is_array(amr) || json_array_size(amr) > AMR_MAX)
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "\"amr\" is no list of at most %d", AMR_MAX);
	json_array_foreach(amr, i, one) {
		char *name = text_dup(one, AMR_NAME_MAX);

		if (!name)
			return REFUSE(TOKEN_CLAIM, ERR_LIMIT,
				      "\"amr\" holds no texts of 1 to %d bytes", AMR_NAME_MAX);
		who->amr[who->n_amr++] = name;
	}
	return TOKEN_OK;
}

static bool amr_has(const struct identity *who, struct span name)
{
	for (size_t i = 0; i < who->n_amr; i++)
		if (span_eq(span_str(who->amr[i]), name))
			return true;
	return false;
}

/* "pwd+otp": all of them. */
static bool amr_meets(const struct identity *who, const char *wanted)
{
	struct span rest = span_str(wanted), one;
	bool any = false;

	while (span_next(&rest, '+', &one)) {
		if (!amr_has(who, one))
			return false;
		any = true;
	}
	return any;
}

static bool is_mfa(const struct provider *p, const struct identity *who)
{
	static const char *const usual[] = { "mfa", "pwd+otp", "pwd+hwk", "pwd+swk" };

	if (p->always_mfa)
		return true;
	for (size_t i = 0; who->acr && i < p->mfa_acr.count; i++)
		if (strcmp(who->acr, p->mfa_acr.list[i]) == 0)
			return true;
	for (size_t i = 0; i < p->mfa_amr.count; i++)
		if (amr_meets(who, p->mfa_amr.list[i]))
			return true;
	for (size_t i = 0; !p->mfa_acr.count && !p->mfa_amr.count && i < array_size(usual); i++)
		if (amr_meets(who, usual[i]))
			return true;
	return false;
}

static enum token_reason mfa_check(const struct provider *p, struct identity *who, struct err *err)
{
	who->mfa = is_mfa(p, who);
	if (p->require_mfa && !who->mfa)
		return REFUSE(
			TOKEN_MFA, ERR_DENIED,
			"the login does not count as multi-factor (acr \"%s\", %zu amr values)",
			who->acr ? who->acr : "", who->n_amr);
	return TOKEN_OK;
}

enum token_reason identity_recheck(const struct provider *p, struct identity *who, struct err *err)
{
	if (!provider_has_domain(p, span_str(who->login)))
		return REFUSE(TOKEN_LOGIN, ERR_DENIED, "the login is outside the issuer's domains");
	return mfa_check(p, who, err);
}

/* Letters, digits and what RFC 5321 lets stand in a name without quotes: none
 * of it ends a word in a policy, a list or a header. */
static bool login_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~.@", c));
}

static enum token_reason login_from(const struct provider *p, const json_t *claims,
                                    const json_t *userinfo, struct identity *who, struct err *err)
{
	struct span s = text_of(either(claims, userinfo, p->login_claim));
	char shown[LOG_TEXT_MAX];

	if (!s.ptr || s.len == 0)
		return REFUSE(TOKEN_LOGIN, ERR_MISSING,
			      "no login name: claim \"%s\" is missing or no text", p->login_claim);
	if (s.len > LOGIN_MAX)
		return REFUSE(TOKEN_LOGIN, ERR_LIMIT, "a login name of %zu bytes, want 1..%d",
			      s.len, LOGIN_MAX);
	if (strcmp(p->login_claim, "email") == 0 && !who->email_verified)
		return REFUSE(TOKEN_LOGIN, ERR_DENIED,
			      "the provider has not verified the address \"%s\"",
			      log_text(s, shown));

	char *login = span_dup(s);

	for (size_t i = 0; i < s.len; i++) {
		if (login[i] >= 'A' && login[i] <= 'Z')
			login[i] = (char)(login[i] + ('a' - 'A'));
		if (!login_char(login[i])) {
			free(login);
			return REFUSE(TOKEN_LOGIN, ERR_SYNTAX,
				      "login name \"%s\" holds a character that none may have",
				      log_text(s, shown));
		}
	}
	who->login = login;
	if (!provider_has_domain(p, span_str(login)))
		return REFUSE(TOKEN_LOGIN, ERR_DENIED,
			      "login name \"%s\" is outside this provider's domains", login);
	return TOKEN_OK;
}

/* Rules and applications go by the address, as they go by the login: one that the person
 * may have typed in, or that is not this provider's to give, is nobody's. */
static void drop_weak_email(const struct provider *p, struct identity *who)
{
	struct span email = span_str(who->email);

	if (!who->email || ((who->email_verified || span_ieq(email, span_str(who->login))) &&
			    provider_has_domain(p, email)))
		return;
	free(who->email);
	who->email = NULL;
	who->email_verified = false;
}

static void times_from(const json_t *claims, struct identity *who)
{
	/* token_check() has seen to types and ranges */
	who->auth_time.sec = (int64_t)json_number_value(json_object_get(claims, "auth_time"));
	who->issued.sec = (int64_t)json_number_value(json_object_get(claims, "iat"));
	who->expires.sec = (int64_t)json_number_value(json_object_get(claims, "exp"));
}

static enum token_reason fill(const struct provider *p, const json_t *claims,
			      const json_t *userinfo, struct identity *who, struct err *err)
{
	const json_t *email, *verified;
	enum token_reason why;

	who->issuer = mem_strdup(p->issuer);
	who->sub = text_dup(json_object_get(claims, "sub"), SUBJECT_MAX);
	if (!who->sub)
		return REFUSE(TOKEN_SUB, ERR_LIMIT, "\"sub\" is no text of 1 to %d bytes",
			      SUBJECT_MAX);
	/* Core 1.0 5.3.2: what is said of somebody else is not used */
	if (userinfo && !span_eq(text_of(json_object_get(userinfo, "sub")), span_str(who->sub)))
		return REFUSE(TOKEN_SUB, ERR_DENIED,
			      "userinfo speaks of another \"sub\" than the ID token");

	/* address and verified go together, from one source */
	email = json_object_get(claims, "email");
	verified = json_object_get(claims, "email_verified");
	if (!email && userinfo) {
		email = json_object_get(userinfo, "email");
		verified = json_object_get(userinfo, "email_verified");
	}
	if (email && !(who->email = text_dup(email, EMAIL_MAX)))
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "\"email\" is no text of 1 to %d bytes",
			      EMAIL_MAX);
	who->email_verified = who->email && json_is_true(verified);

	who->name = text_dup(either(claims, userinfo, "name"), PERSON_NAME_MAX);
	who->picture = text_dup(either(claims, userinfo, "picture"), PICTURE_MAX);
	if (json_object_get(claims, "sid") &&
	    !(who->sid = text_dup(json_object_get(claims, "sid"), SID_MAX)))
		return REFUSE(TOKEN_CLAIM, ERR_LIMIT, "\"sid\" is no text of 1 to %d bytes",
			      SID_MAX);
	times_from(claims, who);
	why = groups_from(either(claims, userinfo, p->groups_claim), who, err);
	if (why == TOKEN_OK)
		why = strength_from(claims, who, err);
	if (why == TOKEN_OK)
		why = login_from(p, claims, userinfo, who, err);
	if (why != TOKEN_OK)
		return why;
	drop_weak_email(p, who);
	return mfa_check(p, who, err);
}

enum token_reason identity_from_claims(const struct provider *p, const json_t *claims,
                                       const json_t *userinfo, struct identity *ret_who,
                                       struct err *err)
{
	struct identity who = { 0 };
	enum token_reason why = fill(p, claims, userinfo, &who, err);

	if (why == TOKEN_OK)
		*ret_who = who;
	else
		identity_done(&who);
	return why;
}
