/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_UNIT_SIGNER_H
#define TESTS_UNIT_SIGNER_H

/* A provider's signing half, for tests: keys, and tokens of any header and payload. */

#include "base/encode.h"
#include "base/hujson.h"
#include "base/mem.h"
#include "idp/jwks.h"

#include <cjose/cjose.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static inline cjose_jwk_t *signer_new(bool ec, const char *kid)
{
	cjose_err e;
	cjose_jwk_t *k = ec ? cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &e) :
	                      cjose_jwk_create_RSA_random(2048, (const uint8_t *)"\x01\x00\x01", 3, &e);

	cjose_jwk_set_kid(k, kid, strlen(kid), &e);
	return k;
}

/* {"keys":[...]} of the public halves; the caller frees. */
static inline char *signer_jwks(cjose_jwk_t *const *keys, size_t n)
{
	json_t *set = json_pack("{s:[]}", "keys");
	char *text;

	for (size_t i = 0; i < n; i++) {
		cjose_err e;
		char *one = cjose_jwk_to_json(keys[i], false, &e);

		json_array_append_new(json_object_get(set, "keys"), json_loads(one, 0, NULL));
		free(one);
	}
	text = json_dumps(set, JSON_COMPACT);
	json_decref(set);
	return text;
}

/* The caller frees. */
static inline char *signer_token(const cjose_jwk_t *key, json_t *header, struct span payload)
{
	cjose_err e;
	cjose_jws_t *jws = cjose_jws_sign(key, (cjose_header_t *)header, (const uint8_t *)payload.ptr,
	                                  payload.len, &e);
	const char *text = NULL;
	char *copy;

	if (!jws || !cjose_jws_export(jws, &text, &e))
		abort();
	copy = mem_strdup(text);
	cjose_jws_release(jws);
	return copy;
}

/* base with members of change laid over it; null takes one away. */
static inline json_t *signer_merge(const char *base, const char *change)
{
	json_t *o = json_loads(base, 0, NULL), *c = change ? json_loads(change, 0, NULL) : NULL, *v;
	const char *k;

	if (!o || (change && !c))
		abort();
	json_object_foreach(c, k, v)
		if (json_is_null(v))
			json_object_del(o, k);
		else
			json_object_set(o, k, v);
	json_decref(c);
	return o;
}

#endif
