/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/refusal.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *error, *words;
} by_error[] = {
	{"access_denied",
	 "The login was cancelled, or the identity provider does not let you in here."},
	{"login_required", "The identity provider wants you to log in again."},
	{"interaction_required", "The identity provider wants you to log in again."},
	{"account_selection_required", "The identity provider wants you to choose an account."},
	{"consent_required", "The identity provider wants your consent first."},
	{"unmet_authentication_requirements",
	 "The identity provider cannot do the kind of login that was asked for."},
	{"temporarily_unavailable", "The identity provider is busy. Try again in a minute."},
	{"server_error", "The identity provider has a fault of its own. Try again in a minute."},
	{"invalid_grant", "The identity provider no longer stands by this login. Log in again."},
};

static const char *by_token(enum token_reason why)
{
	switch (why) {
	case TOKEN_MFA:
		return "This login used one factor only, and a second one is needed here.";
	case TOKEN_ACR:
	case TOKEN_AUTH_TIME:
		return "A stronger or fresher login was asked for, and the identity provider did "
		       "not show one.";
	case TOKEN_LOGIN:
		return "Your account has no login name that counts here.";
	case TOKEN_EXP:
	case TOKEN_IAT:
	case TOKEN_NBF:
		return "The identity provider's answer is not of now. One of the clocks may be "
		       "wrong.";
	default:
		return "The identity provider's answer did not pass our checks.";
	}
}

static const char *by_code(enum err_code code)
{
	switch (code) {
	case ERR_EXPIRED:
		return "This login took too long. Begin again.";
	case ERR_TIMEOUT:
		return "The identity provider did not answer in time. Try again in a minute.";
	case ERR_BUSY:
		return "Too many people are logging in at this moment. Try again in a minute.";
	case ERR_PEER:
	case ERR_SYNTAX:
	case ERR_LIMIT:
		return "The identity provider cannot be reached, or did not answer as it should.";
	case ERR_NOTNOW:
		return "Something has changed meanwhile. Begin again.";
	default:
		return "The login was refused.";
	}
}

void refusal_words(struct login_refusal *r)
{
	const char *words = r->token != TOKEN_UNCHECKED ? by_token(r->token) : NULL;

	for (size_t i = 0; !words && i < array_size(by_error); i++)
		if (strcmp(r->error, by_error[i].error) == 0)
			words = by_error[i].words;
	if (!words && *r->error)
		words = "The identity provider refused the login.";
	snprintf(r->words, sizeof(r->words), "%s", words ? words : by_code(r->err.code));
}

bool login_wants_person(const struct login_refusal *why)
{
	static const char *const words[] = { "login_required", "interaction_required",
		                             "consent_required", "account_selection_required" };

	for (size_t i = 0; i < array_size(words); i++)
		if (strcmp(why->error, words[i]) == 0)
			return true;
	return false;
}
