/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* From configuration and claims to an identity; no network, no signature. */
#include "base/hujson.h"
#include "base/mem.h"
#include "idp/claims.h"
#include "tests/unit/main.h"
#include "tests/unit/signer.h"

#include <stdio.h>

struct conf {
	struct conf_map issuers;
};

static const struct conf_row rows_of_conf[] = {
	{ .name = "issuers", .type = CONF_MAP, .offset = offsetof(struct conf, issuers), .max = PROVIDERS_MAX,
	  .def = "", .help = "x", .sub = provider_rows, .sub_size = sizeof(struct provider) },
	CONF_END,
};

static const char provider_base[] =
	"{\"issuer\":\"https://idp.example.edu\",\"client-id\":\"reeve\",\"client-secret-file\":\"s\","
	"\"domains\":[\"example.edu\",\"lab.example.edu\"]}";

static const char claims_base[] =
	"{\"iss\":\"https://idp.example.edu\",\"sub\":\"1234\",\"exp\":1790000300,\"iat\":1789999990,"
	"\"auth_time\":1789999900,\"email\":\"Staff@Example.edu\",\"email_verified\":true,"
	"\"name\":\"Staff Example\",\"amr\":[\"pwd\",\"otp\"],\"acr\":\"gold\"}";

/* True if the configuration holds; conf is filled then. */
static bool load(const char *change, struct conf *conf, struct err *err)
{
	scoped_json json_t *p = signer_merge(provider_base, change), *all = json_pack("{s:{s:O}}", "issuers", "uni", p);
	char *text = json_dumps(all, 0);
	struct diags d;
	bool ok;

	diags_init(&d, "test");
	ok = conf_parse(rows_of_conf, conf, sizeof(*conf), span_str(text), "/etc/reeve", &d);
	if (!ok)
		diags_err(&d, err);
	else
		ok = provider_check(conf->issuers.items, "uni", err);
	diags_done(&d);
	free(text);
	return ok;
}

START_TEST(rows_say_what_is_wrong)
{
	static const struct { const char *change, *why; } rows[] = {
		{ "{\"issuer\":\"http://idp.example.edu\"}", "https://" },
		{ "{\"issuer\":\"https:///x\"}", "https://" },
		{ "{\"issuer\":\"https://idp.example.edu/?a=b\"}", "query" },
		{ "{\"issuer\":\"https://idp.example.edu/#x\"}", "query" },
		{ "{\"issuer\":\"https://a@idp.example.edu\"}", "user name" },
		{ "{\"issuer\":null}", "issuer" }, { "{\"client-id\":null}", "client-id" },
		{ "{\"domains\":null}", "domains" }, { "{\"domains\":[]}", "domains" },
		{ "{\"client-secret-file\":null}", "needs client-secret-file" },
		{ "{\"auth-method\":\"private_key_jwt\"}", "needs client-key-file" },
		{ "{\"auth-method\":\"none\"}", "neither secret nor key" },
		{ "{\"auth-method\":\"client_secret_jwt\"}", "auth-method" },
		{ "{\"algorithms\":[\"HS256\"]}", "HS256" }, { "{\"algorithms\":[\"none\"]}", "none" },
		{ "{\"algorithms\":[\"ES256K\"]}", "ES256K" },
		{ "{\"device-client-id\":\"reeve\"}", "another client" },
		{ "{\"login\":\"device\"}", "needs device-client-id" },
		{ "{\"groups-claim\":\"/a~2\"}", "JSON pointer" },
		{ "{\"always-mfa\":true,\"mfa-amr\":[\"mfa\"]}", "always-mfa" },
		{ "{\"scopes\":[\"profile email\"]}", "one scope per item" },
		{ "{\"leeway\":\"10m\"}", "leeway" }, { "{\"client-secret\":\"x\"}", "unknown key" },
		{ NULL, NULL },
		{ "{\"auth-method\":\"none\",\"client-secret-file\":null}", NULL },
		{ "{\"algorithms\":[\"EdDSA\",\"Ed25519\",\"ES256\"]}", NULL },
		{ "{\"issuer\":\"https://idp.example.edu/realms/lab\",\"groups-claim\":\"/realm_access/roles\"}", NULL },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct conf conf = { 0 };
		struct err err = { 0 };
		bool ok = load(rows[i].change, &conf, &err);

		ck_assert_msg(ok == !rows[i].why, "row %zu: %s", i, err.msg);
		if (rows[i].why)
			ck_assert_msg(strstr(err.msg, rows[i].why) != NULL, "row %zu: %s", i, err.msg);
		conf_done(rows_of_conf, &conf);
	}
}
END_TEST

static enum token_reason identify(const char *provider, const char *claims, const char *userinfo,
                                  struct identity *who)
{
	struct conf conf = { 0 };
	struct err err = { 0 };
	scoped_json json_t *c = signer_merge(claims_base, claims), *u = userinfo ? json_loads(userinfo, 0, NULL) : NULL;
	enum token_reason why;

	ck_assert_msg(load(provider, &conf, &err), "%s", err.msg);
	ck_assert(!userinfo || u);
	why = identity_from_claims(conf.issuers.items, c, u, who, &err);
	ck_assert((why == TOKEN_OK) == (err.code == ERR_NONE));
	conf_done(rows_of_conf, &conf);
	return why;
}

START_TEST(logins_and_strength)
{
	static const struct { const char *provider, *claims, *userinfo; enum token_reason why; const char *login; } rows[] = {
		/* the login */
		{ NULL, "{\"email_verified\":false}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email_verified\":null}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email_verified\":\"true\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":null}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"staff@example.org\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"staff@xexample.edu\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"a@example.org@example.edu \"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"@example.edu\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"st aff@example.edu\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"group:lab@example.edu\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"a,b@example.edu\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"st\\u00e4ff@example.edu\"}", NULL, TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":\"a\\nb@example.edu\"}", NULL, TOKEN_CLAIM, NULL },
		{ NULL, "{\"email\":7}", NULL, TOKEN_CLAIM, NULL },
		{ NULL, NULL, NULL, TOKEN_OK, "staff@example.edu" },
		{ NULL, "{\"email\":\"x@LAB.example.edu\"}", NULL, TOKEN_OK, "x@lab.example.edu" },
		{ "{\"login-claim\":\"preferred_username\"}", "{\"preferred_username\":\"staff\"}", NULL, TOKEN_LOGIN, NULL },
		{ "{\"login-claim\":\"preferred_username\",\"domains\":[\"*\"]}", "{\"preferred_username\":\"Staff\"}", NULL,
		  TOKEN_OK, "staff" },
		{ "{\"login-claim\":\"upn\"}", "{\"upn\":\"b@example.edu\",\"email_verified\":false}", NULL, TOKEN_OK, "b@example.edu" },
		/* userinfo */
		{ NULL, "{\"email\":null}", "{\"sub\":\"1235\",\"email\":\"staff@example.edu\",\"email_verified\":true}", TOKEN_SUB, NULL },
		{ NULL, "{\"email\":null}", "{\"email\":\"staff@example.edu\",\"email_verified\":true}", TOKEN_SUB, NULL },
		/* verified belongs to the address beside it */
		{ NULL, "{\"email\":null}", "{\"sub\":\"1234\",\"email\":\"staff@example.edu\"}", TOKEN_LOGIN, NULL },
		{ NULL, "{\"email_verified\":null}", "{\"sub\":\"1234\",\"email_verified\":true}", TOKEN_LOGIN, NULL },
		{ NULL, "{\"email\":null}", "{\"sub\":\"1234\",\"email\":\"s2@example.edu\",\"email_verified\":true}", TOKEN_OK,
		  "s2@example.edu" },
		{ NULL, NULL, "{\"sub\":\"1234\",\"email\":\"admin@example.edu\",\"email_verified\":true}", TOKEN_OK, "staff@example.edu" },
		{ NULL, "{\"amr\":null}", "{\"sub\":\"1234\",\"amr\":[\"pwd\",\"otp\"]}", TOKEN_MFA, NULL },
		/* the second factor */
		{ NULL, "{\"amr\":null}", NULL, TOKEN_MFA, NULL },
		{ NULL, "{\"amr\":[]}", NULL, TOKEN_MFA, NULL },
		{ NULL, "{\"amr\":[\"otp\"]}", NULL, TOKEN_MFA, NULL },
		{ NULL, "{\"amr\":[\"MFA\"]}", NULL, TOKEN_MFA, NULL },
		{ NULL, "{\"amr\":[\"mfa\"]}", NULL, TOKEN_OK, "staff@example.edu" },
		{ NULL, "{\"amr\":\"mfa\"}", NULL, TOKEN_CLAIM, NULL },
		{ NULL, "{\"amr\":[7]}", NULL, TOKEN_CLAIM, NULL },
		{ NULL, "{\"acr\":7}", NULL, TOKEN_CLAIM, NULL },
		{ "{\"mfa-acr\":[\"platinum\"]}", NULL, NULL, TOKEN_MFA, NULL },      /* the usual amr no longer counts */
		{ "{\"mfa-acr\":[\"gold\"]}", "{\"amr\":null}", NULL, TOKEN_OK, "staff@example.edu" },
		{ "{\"mfa-amr\":[\"hwk\",\"pwd+face\"]}", NULL, NULL, TOKEN_MFA, NULL },
		{ "{\"mfa-amr\":[\"hwk\",\"pwd+otp\"]}", NULL, NULL, TOKEN_OK, "staff@example.edu" },
		{ "{\"always-mfa\":true}", "{\"amr\":null}", NULL, TOKEN_OK, "staff@example.edu" },
		{ "{\"require-mfa\":false}", "{\"amr\":null}", NULL, TOKEN_OK, "staff@example.edu" },
		/* limits */
		{ NULL, "{\"sid\":\"\"}", NULL, TOKEN_CLAIM, NULL },
		{ NULL, "{\"groups\":{}}", NULL, TOKEN_CLAIM, NULL },
		{ NULL, "{\"groups\":[\"a\",\"\"]}", NULL, TOKEN_CLAIM, NULL },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct identity who = { 0 };
		enum token_reason why;

		why = identify(rows[i].provider, rows[i].claims, rows[i].userinfo, &who);
		ck_assert_msg(why == rows[i].why, "row %zu: want %s, got %s", i, token_reason_name(rows[i].why),
		              token_reason_name(why));
		if (rows[i].login)
			ck_assert_str_eq(who.login, rows[i].login);
		identity_done(&who);
	}
}
END_TEST

START_TEST(emails_that_count)
{
	static const char upn[] = "{\"login-claim\":\"upn\"}";
	static const struct { const char *provider, *claims, *email; } rows[] = {
		{ NULL, NULL, "Staff@Example.edu" },
		{ upn, "{\"upn\":\"b@example.edu\"}", "Staff@Example.edu" },
		{ upn, "{\"upn\":\"b@example.edu\",\"email_verified\":false}", NULL },
		{ upn, "{\"upn\":\"b@example.edu\",\"email_verified\":null}", NULL },
		/* not this provider's to give */
		{ upn, "{\"upn\":\"b@example.edu\",\"email\":\"admin@example.org\"}", NULL },
		{ upn, "{\"upn\":\"b@example.edu\",\"email\":\"admin\"}", NULL },
		/* the login itself, which the owner trusts it with */
		{ upn, "{\"upn\":\"b@example.edu\",\"email\":\"B@example.edu\",\"email_verified\":null}", "B@example.edu" },
		{ "{\"login-claim\":\"upn\",\"domains\":[\"*\"]}", "{\"upn\":\"b\",\"email\":\"b@example.org\"}",
		  "b@example.org" },
		{ "{\"login-claim\":\"upn\",\"domains\":[\"*\"]}",
		  "{\"upn\":\"b\",\"email\":\"b@example.org\",\"email_verified\":false}", NULL },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct identity who = { 0 };

		ck_assert_int_eq(identify(rows[i].provider, rows[i].claims, NULL, &who), TOKEN_OK);
		ck_assert_msg(rows[i].email ? who.email && strcmp(who.email, rows[i].email) == 0 : !who.email,
		              "row %zu: got %s", i, who.email ? who.email : "none");
		identity_done(&who);
	}
}
END_TEST

START_TEST(groups_absent_are_not_empty)
{
	struct identity who = { 0 };

	ck_assert_int_eq(identify(NULL, NULL, NULL, &who), TOKEN_OK);
	ck_assert(!who.groups_known);
	identity_done(&who);
	ck_assert_int_eq(identify(NULL, "{\"groups\":[]}", NULL, &who), TOKEN_OK);
	ck_assert(who.groups_known && who.n_groups == 0);
	identity_done(&who);
	ck_assert_int_eq(identify(NULL, "{\"groups\":[\"b\",\"a\",\"b\"]}", NULL, &who), TOKEN_OK);
	ck_assert_uint_eq(who.n_groups, 2);
	ck_assert_str_eq(who.groups[0], "a");
	identity_done(&who);
	ck_assert_int_eq(identify(NULL, "{\"groups\":\"lab\"}", NULL, &who), TOKEN_OK);
	ck_assert_uint_eq(who.n_groups, 1);
	identity_done(&who);
	ck_assert_int_eq(identify("{\"groups-claim\":\"\"}", "{\"groups\":[\"x\"]}", NULL, &who), TOKEN_OK);
	ck_assert(!who.groups_known);
	identity_done(&who);
	ck_assert_int_eq(identify("{\"groups-claim\":\"/realm_access/ro~1les\"}",
	                          "{\"realm_access\":{\"ro/les\":[\"x\"]},\"groups\":[\"y\"]}", NULL, &who), TOKEN_OK);
	ck_assert_uint_eq(who.n_groups, 1);
	ck_assert_str_eq(who.groups[0], "x");
	identity_done(&who);
	ck_assert_int_eq(identify("{\"groups-claim\":\"https://example.edu/groups\"}",
	                          "{\"https://example.edu/groups\":[\"z\"]}", NULL, &who), TOKEN_OK);
	ck_assert_uint_eq(who.n_groups, 1);
	identity_done(&who);
	ck_assert_int_eq(identify(NULL, NULL, "{\"sub\":\"1234\",\"groups\":[\"u\"]}", &who), TOKEN_OK);
	ck_assert(who.groups_known && strcmp(who.groups[0], "u") == 0);
	identity_done(&who);
}
END_TEST

START_TEST(decoration_is_left_out_and_nothing_is_cut)
{
	scoped_json json_t *long_name = json_object(), *many = json_object(), *list = json_array();
	struct identity who = { 0 }, copy = { 0 };
	char *name = mem_alloc(400), *text;

	memset(name, 'n', PERSON_NAME_MAX + 1);
	json_object_set_new(long_name, "name", json_string(name));
	text = json_dumps(long_name, 0);
	ck_assert_int_eq(identify(NULL, text, NULL, &who), TOKEN_OK);
	ck_assert_ptr_null(who.name);
	identity_done(&who);
	free(text);
	name[PERSON_NAME_MAX] = 0;
	json_object_set_new(long_name, "name", json_string(name));
	text = json_dumps(long_name, 0);
	ck_assert_int_eq(identify(NULL, text, NULL, &who), TOKEN_OK);
	ck_assert_uint_eq(strlen(who.name), PERSON_NAME_MAX);
	identity_copy(&copy, &who);
	identity_done(&who);
	ck_assert_str_eq(copy.login, "staff@example.edu");
	ck_assert_str_eq(copy.amr[1], "otp");
	ck_assert_int_eq(copy.auth_time.sec, 1789999900);
	identity_done(&copy);
	free(text);
	free(name);
	for (int i = 0; i <= IDENTITY_GROUPS_MAX; i++)
		json_array_append_new(list, json_string("g"));
	json_object_set(many, "groups", list);
	text = json_dumps(many, 0);
	ck_assert_int_eq(identify(NULL, text, NULL, &who), TOKEN_CLAIM);
	free(text);
}
END_TEST

UNIT_MAIN("idp_claims", rows_say_what_is_wrong, logins_and_strength, emails_that_count, groups_absent_are_not_empty,
          decoration_is_left_out_and_nothing_is_cut)
