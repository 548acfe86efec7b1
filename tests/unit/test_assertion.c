/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Assertions and the keys that sign them. With an argument this program is a
 * tool instead: "test_assertion make DIR" writes a key set and a row of
 * assertions, good and bad, for tests/handover/verify.sh.
 */
#include "base/encode.h"
#include "base/file.h"
#include "daemon/endpoint/assertion.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW ((struct wall){ 1790000000 })

static char dir[64], path[96];

static void set_up(void)
{
	snprintf(dir, sizeof(dir), "/tmp/assertion-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/assertion.json", dir);
}

static void tear_down(void)
{
	unlink(path);
	rmdir(dir);
}

static struct assertion staff(struct wall ends)
{
	static const struct span groups[] = { { "group:lab", 9 }, { "idp:all", 7 } };
	static const struct span amr[] = { { "pwd", 3 }, { "otp", 3 } };

	return (struct assertion){
		.issuer = SPAN("https://wiki"), .audience = SPAN("wiki"), .subject = SPAN("u2"),
		.login = SPAN("staff@example.edu"), .name = SPAN("St\xc3\xa5""ff \"quoted\""),
		.groups = groups, .group_count = 2, .amr = amr, .amr_count = 2,
		.auth_time = { 1789990000 }, .ends = ends,
	};
}

static size_t key_count(const struct assertion_keys *k)
{
	struct buf b;
	size_t n = 0;

	buf_init(&b, ASSERTION_FILE_MAX);
	assertion_jwks(k, &b);
	for (const char *p = b.ptr; (p = strstr(p, "\"kid\"")) != NULL; p++)
		n++;
	buf_done(&b);
	return n;
}

/* The header's part of the token, which names the key. */
static void head_of(const struct assertion_keys *k, struct wall now, char out[256])
{
	struct assertion a = staff((struct wall){ now.sec + 3600 });
	struct wall exp;
	struct buf b;
	struct err err = { 0 };

	buf_init(&b, ASSERTION_MAX);
	ck_assert_msg(assertion_sign(k, &a, now, &b, &exp, &err), "%s", err.msg);
	snprintf(out, 256, "%.*s", (int)span_find(buf_span(&b), '.'), b.ptr);
	buf_done(&b);
}

START_TEST(test_refused)
{
	struct err err = { 0 };
	struct wall exp = { 7 };
	struct buf out;

	set_up();
	struct assertion_keys *k = assertion_keys_open(path, NOW, &err);
	ck_assert_msg(k != NULL, "%s", err.msg);
	buf_init(&out, ASSERTION_MAX);

	struct assertion a = staff((struct wall){ 0 });         /* zero is no session */
	ck_assert(!assertion_sign(k, &a, NOW, &out, &exp, &err));
	ck_assert_int_eq(err.code, ERR_EXPIRED);
	a = staff(NOW);                                         /* dead at its end, not after it */
	ck_assert(!assertion_sign(k, &a, NOW, &out, &exp, &err));
	a = staff((struct wall){ NOW.sec + 60 });
	a.subject = (struct span){ 0 };
	ck_assert(!assertion_sign(k, &a, NOW, &out, &exp, &err));
	ck_assert_int_eq(err.code, ERR_DENIED);

	static struct span many[4000];
	for (size_t i = 0; i < 4000; i++)
		many[i] = SPAN("group:with-a-long-name");
	a = staff((struct wall){ NOW.sec + 60 });
	a.groups = many;
	a.group_count = 4000;
	ck_assert(!assertion_sign(k, &a, NOW, &out, &exp, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	ck_assert_int_eq(exp.sec, 7);
	ck_assert_uint_eq(out.len, 0);

	a = staff((struct wall){ NOW.sec + 60 });               /* never beyond the session */
	ck_assert(assertion_sign(k, &a, NOW, &out, &exp, &err));
	ck_assert_int_eq(exp.sec, NOW.sec + 60);
	a = staff((struct wall){ NOW.sec + 86400 });
	ck_assert(assertion_sign(k, &a, NOW, &out, &exp, &err));
	ck_assert_int_eq(exp.sec, NOW.sec + ASSERTION_LIFE_SEC);
	buf_done(&out);
	assertion_keys_free(k);
	tear_down();
}
END_TEST

START_TEST(test_file)
{
	static const char *const bad[] = {
		"", "{}", "{\"keys\":[]}", "{\"keys\":[{\"d\":\"AA\",\"made\":1}]}",
		"{\"keys\":[{\"d\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"made\":1}]}",
		"{\"keys\":[{\"d\":\"__________________________________________8\",\"made\":1}]}",
	};
	struct err err = { 0 };
	char one[256], two[256];
	struct stat st;

	set_up();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert(file_replace(path, span_str(bad[i]), 0600, &err));
		ck_assert_msg(assertion_keys_open(path, NOW, &err) == NULL, "row %zu", i);
	}
	unlink(path);

	struct assertion_keys *k = assertion_keys_open(path, NOW, &err);
	ck_assert_msg(k != NULL, "%s", err.msg);
	head_of(k, NOW, one);
	assertion_keys_free(k);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	k = assertion_keys_open(path, NOW, &err);
	ck_assert_msg(k != NULL, "%s", err.msg);
	head_of(k, NOW, two);
	ck_assert_str_eq(one, two);
	assertion_keys_free(k);
	ck_assert_int_eq(chmod(path, 0644), 0);         /* others can read it: not a secret */
	ck_assert_ptr_null(assertion_keys_open(path, NOW, &err));
	tear_down();
}
END_TEST

START_TEST(test_turn)
{
	struct err err = { 0 };
	struct wall t = NOW;
	char one[256], two[256];

	set_up();
	struct assertion_keys *k = assertion_keys_open(path, t, &err);
	ck_assert_ptr_nonnull(k);
	head_of(k, t, one);
	t.sec += ASSERTION_TURN_SEC - ASSERTION_LEAD_SEC - 1;
	ck_assert(assertion_keys_turn(k, t, &err));
	ck_assert_uint_eq(key_count(k), 1);
	t.sec += 1;                                     /* published, and not yet signing */
	ck_assert(assertion_keys_turn(k, t, &err));
	ck_assert_uint_eq(key_count(k), 2);
	t.sec += ASSERTION_LEAD_SEC - 1;
	head_of(k, t, two);
	ck_assert_str_eq(one, two);
	t.sec += 1;                                     /* signing; the old one still known */
	head_of(k, t, two);
	ck_assert_str_ne(one, two);
	t.sec += ASSERTION_LIFE_MAX_SEC;
	ck_assert(assertion_keys_turn(k, t, &err));
	ck_assert_uint_eq(key_count(k), 2);
	t.sec += 1;                                     /* what it signed has ended: forgotten */
	ck_assert(assertion_keys_turn(k, t, &err));
	ck_assert_uint_eq(key_count(k), 1);
	head_of(k, t, one);
	ck_assert_str_eq(one, two);
	assertion_keys_free(k);
	tear_down();
}
END_TEST

/* ---- the tool ---- */

static void put(const char *folder, const char *name, struct span text)
{
	struct err err = { 0 };
	char file[256];

	snprintf(file, sizeof(file), "%s/%s", folder, name);
	if (!file_replace(file, text, 0644, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		exit(2);
	}
}

static void make_one(const struct assertion_keys *k, const struct assertion *a, struct wall now,
                     const char *folder, const char *name, struct buf *out)
{
	struct err err = { 0 };
	struct wall exp;

	buf_clear(out);
	if (!assertion_sign(k, a, now, out, &exp, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		exit(2);
	}
	put(folder, name, buf_span(out));
}

static int make(const char *folder)
{
	struct wall now = clock_wall();
	struct err err = { 0 };
	struct assertion a = staff((struct wall){ now.sec + 3600 });
	struct buf jwks, t, u;
	char file[256];

	snprintf(file, sizeof(file), "%s/keys.json", folder);
	struct assertion_keys *k = assertion_keys_open(file, now, &err);
	snprintf(file, sizeof(file), "%s/others.json", folder);
	struct assertion_keys *other = assertion_keys_open(file, now, &err);

	if (!k || !other) {
		fprintf(stderr, "%s\n", err.msg);
		return 2;
	}
	buf_init(&jwks, ASSERTION_FILE_MAX);
	assertion_jwks(k, &jwks);
	put(folder, "jwks", buf_span(&jwks));
	buf_init(&t, ASSERTION_MAX);
	buf_init(&u, ASSERTION_MAX);
	make_one(other, &a, now, folder, "bad-key", &t);
	make_one(k, &a, (struct wall){ now.sec - 1000 }, folder, "bad-expired", &t);
	make_one(k, &a, (struct wall){ now.sec + 1000 }, folder, "bad-future", &t);
	a.audience = SPAN("mail");
	make_one(k, &a, now, folder, "bad-audience", &t);
	a.audience = SPAN("wiki");
	a.issuer = SPAN("https://other");
	make_one(k, &a, now, folder, "bad-issuer", &t);
	a.issuer = SPAN("https://wiki");
	a.method = SPAN("GET");
	a.path = SPAN("/page");
	make_one(k, &a, now, folder, "bound-GET-page", &t);
	a.method = a.path = (struct span){ 0 };
	make_one(k, &a, now, folder, "good", &t);

	/* The good one, damaged: another's claims, another signature, no signature, "none". */
	size_t dot = span_find(buf_span(&t), '.');
	size_t dot2 = dot + 1 + span_find(span_from(buf_span(&t), dot + 1), '.');
	struct wall exp;

	a.login = SPAN("admin@example.edu");
	if (!assertion_sign(k, &a, now, &u, &exp, &err))
		return 2;
	u.len = dot + 1 + span_find(span_from(buf_span(&u), dot + 1), '.');
	buf_add_span(&u, span_from(buf_span(&t), dot2));
	put(folder, "bad-claims", buf_span(&u));
	buf_clear(&u);
	buf_add_span(&u, buf_span(&t));
	u.ptr[dot2 + 5] = u.ptr[dot2 + 5] == 'A' ? 'B' : 'A';
	put(folder, "bad-signature", buf_span(&u));
	put(folder, "bad-short", span_head(buf_span(&t), t.len - 4));
	put(folder, "bad-two-parts", span_head(buf_span(&t), dot2));
	buf_clear(&u);
	base64url_add(&u, SPAN("{\"alg\":\"none\"}"));
	buf_add_span(&u, span_head(span_from(buf_span(&t), dot), dot2 - dot + 1));
	put(folder, "bad-none", buf_span(&u));
	put(folder, "bad-empty", SPAN(""));
	buf_done(&jwks);
	buf_done(&t);
	buf_done(&u);
	assertion_keys_free(k);
	assertion_keys_free(other);
	return 0;
}

static int unit(void)
{
	Suite *s = suite_create("assertion");
	TCase *c = tcase_create("assertion");

	tcase_set_timeout(c, 300);
	tcase_add_test(c, test_refused);
	tcase_add_test(c, test_file);
	tcase_add_test(c, test_turn);
	suite_add_tcase(s, c);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	return argc == 3 && strcmp(argv[1], "make") == 0 ? make(argv[2]) : unit();
}
