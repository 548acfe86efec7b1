/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/hash.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <stdio.h>

START_TEST(siphash)     /* the paper's appendix A, and the reference's vectors */
{
	struct hash_key key = { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) };
	unsigned char in[64];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)i;
	ck_assert_uint_eq(hash_bytes(&key, in, 15), UINT64_C(0xa129ca6149be45e5));
	ck_assert_uint_eq(hash_bytes(&key, in, 0), UINT64_C(0x726fdb47dd0e0e31));
	ck_assert_uint_eq(hash_bytes(&key, in, 8), UINT64_C(0x93f5f5799a932462));
	ck_assert_uint_eq(hash_bytes(&key, in, 63), UINT64_C(0x958a324ceb064572));
}
END_TEST

START_TEST(absent)
{
	struct dict *d = dict_new();
	size_t pos = 0;

	dict_free(NULL);
	ck_assert_ptr_null(dict_find(d, SPAN("a")));
	ck_assert_ptr_null(dict_remove(d, SPAN("a")));
	ck_assert(!dict_next(d, &pos, NULL, NULL));
	dict_put(d, SPAN("a"), "1");
	ck_assert_ptr_null(dict_find(d, SPAN("a\0")));
	ck_assert_ptr_null(dict_find(d, SPAN("")));
	ck_assert_str_eq(dict_put(d, SPAN("a"), "2"), "1");
	ck_assert_uint_eq(dict_count(d), 1);
	dict_free(d);
}
END_TEST

START_TEST(many)
{
	enum { N = 20000 };
	static int values[N];
	struct dict *d = dict_new();
	char key[16];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++) {
			int n = snprintf(key, sizeof(key), "k%d", i);

			ck_assert_ptr_null(dict_put(d, span_of(key, (size_t)n), &values[i]));
		}
		ck_assert_uint_eq(dict_count(d), N);

		/* a walk that removes every other one */
		size_t pos = 0, seen = 0;
		struct span name;
		void *value;

		while (dict_next(d, &pos, &name, &value)) {
			seen++;
			if ((int *)value - values < N / 2)
				ck_assert_ptr_eq(dict_remove(d, name), value);
		}
		ck_assert_uint_eq(seen, N);
		for (int i = 0; i < N; i++) {
			int n = snprintf(key, sizeof(key), "k%d", i);
			void *v = i < N / 2 ? NULL : &values[i];

			ck_assert_ptr_eq(dict_find(d, span_of(key, (size_t)n)), v);
			ck_assert_ptr_eq(dict_remove(d, span_of(key, (size_t)n)), v);
		}
		ck_assert_uint_eq(dict_count(d), 0);
	}
	dict_free(d);
}
END_TEST

UNIT_MAIN("hash", siphash, absent, many)
