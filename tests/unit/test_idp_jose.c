/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The JWS vectors of Project Wycheproof (C2SP) against jws_check(). The file
 * is read in place; without it the program says so and skips. A group's key may be
 * a set of keys, as in its other collections. */
#include "base/file.h"
#include "base/hujson.h"
#include "idp/jws.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>

static char path[1024];

static struct jwks *keys_of(const json_t *key, bool without_alg)
{
	scoped_json json_t *set = json_is_array(json_object_get(key, "keys")) ?
		json_deep_copy(key) : json_pack("{s:[o]}", "keys", json_deep_copy(key));
	struct err err = { 0 };
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(set, "keys"), i, one)
		if (without_alg)
			json_object_del(one, "alg");

	char *text = json_dumps(set, JSON_COMPACT);
	struct jwks *keys = jwks_parse(span_str(text), &err);

	free(text);
	return keys;
}

static enum token_reason check(const json_t *key, bool without_alg, const char *jws)
{
	struct jwks *keys = keys_of(key, without_alg);
	struct err err = { 0 };
	scoped_buf struct buf payload = { 0 };
	enum token_reason why = TOKEN_KEY;      /* no key that could be meant */

	buf_init(&payload, TOKEN_MAX);
	if (keys)
		why = jws_check(span_str(jws), keys, JWS_ALL, NULL, &payload, &err);
	jwks_unref(keys);
	return why;
}

/* What the token says of its algorithm; 0: none of ours. */
static uint32_t alg_of(const char *jws)
{
	struct span rest = span_str(jws), head;
	struct err err = { 0 };
	json_t *header = NULL;
	uint32_t alg = 0;

	if (span_next(&rest, '.', &head) && jws_part(head, TOKEN_HEADER_MAX, &header, &err) == TOKEN_OK) {
		const char *name = json_string_value(json_object_get(header, "alg"));

		alg = name ? jws_alg_of(span_str(name)) : 0;
	}
	json_decref(header);
	return alg;
}

START_TEST(vectors_agree)
{
	scoped_buf struct buf text = { 0 };
	struct err err = { 0 };
	size_t i, j, valid = 0, invalid = 0, unsupported = 0, other_alg = 0;
	const json_t *group, *test;

	ck_assert_msg(file_read(path, 4 << 20, &text, &err), "%s", err.msg);

	scoped_json json_t *root = json_loadb(text.ptr, text.len, 0, NULL);

	ck_assert_ptr_nonnull(root);
	json_array_foreach(json_object_get(root, "testGroups"), i, group) {
		const json_t *key = json_object_get(group, "public");
		/* without a public half it is a secret's, for HMAC, or a private key, which no set may hold */
		if (!key)
			key = json_object_get(group, "private");
		json_array_foreach(json_object_get(group, "tests"), j, test) {
			const char *jws = json_string_value(json_object_get(test, "jws"));
			bool want = strcmp(json_string_value(json_object_get(test, "result")), "valid") == 0;
			int id = (int)json_integer_value(json_object_get(test, "tcId"));
			enum token_reason why = check(key, false, jws);

			if (!alg_of(jws) || !json_object_get(group, "public")) {
				/* HMAC, for one: the allow-list has no bit for it, whatever the vector says */
				ck_assert_msg(why != TOKEN_OK, "%d: accepted", id);
				unsupported++;
			} else if (want && why != TOKEN_OK) {
				/* Four vectors call valid what a key signed whose "alg" names another
				 * algorithm (PS256 for PS384, "ES521"); others call just that invalid. We
				 * refuse it, and accept the same vector once the key names none. */
				ck_assert_msg(why == TOKEN_KEY, "%d: refused for %s", id, token_reason_name(why));
				ck_assert_msg(check(key, true, jws) == TOKEN_OK, "%d: refused", id);
				other_alg++;
			} else {
				ck_assert_msg((why == TOKEN_OK) == want, "%d: want %s, got %s", id,
				              want ? "valid" : "invalid", token_reason_name(why));
				*(want ? &valid : &invalid) += 1;
			}
		}
	}
	ck_assert_uint_ge(valid + other_alg, 1);
	ck_assert_uint_ge(invalid, 1);
	ck_assert_uint_le(other_alg, valid);
	printf("# %zu valid, %zu invalid, %zu not of ours or HMAC refused, %zu of a key for another algorithm\n",
	       valid, invalid, unsupported, other_alg);
}
END_TEST

int main(void)
{
	const char *top = getenv("top_srcdir");
	FILE *f;

	snprintf(path, sizeof(path), "%s/../shared/corpora/jose/json_web_signature_test.json",
	         top ? top : ".");
	f = fopen(path, "r");
	if (!f) {
		printf("SKIP: no %s\n", path);
		return 77;
	}
	fclose(f);

	Suite *s = suite_create("idp_jose");
	TCase *c = tcase_create("idp_jose");

	tcase_set_timeout(c, 300);
	tcase_add_test(c, vectors_agree);
	suite_add_tcase(s, c);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);

	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
