/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Any bytes as what a browser says that an authenticator said. The first byte chooses: an
 * attestation, what stands in it behind a good head, clientDataJSON, a login's data. */
#include "daemon/accounts/ctap.h"
#include "daemon/accounts/passkey.h"
#include "tests/fuzz/fuzz.h"

#include <openssl/evp.h>
#include <string.h>

static const char good[] = "{\"type\":\"webauthn.create\",\"challenge\":"
			   "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"origin\":\"https://h.example\"}";
static const struct passkey_want want = { .origin = "https://h.example", .rp_id = "h.example" };

static void head(struct buf *b)
{
	unsigned char md[32];
	unsigned      n;

	must(EVP_Digest("h.example", 9, md, &n, EVP_sha256(), NULL) == 1);
	buf_add(b, md, sizeof(md));
}

static void taken(const struct passkey *k)
{
	struct passkey_said said;
	struct err          err;

	must(k->id_len > 0 && k->id_len <= PASSKEY_ID_MAX);
	must(k->alg == PASSKEY_ES256 ? k->key_len == 64 : k->alg == PASSKEY_EDDSA && k->key_len == 32);
	must(!passkey_verify(&want, k, SPAN("{}"), SPAN("x"), SPAN("y"), &said, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span         in = span_of(data, size), rest;
	struct passkey      k = { .alg = PASSKEY_EDDSA, .key_len = 32 };
	struct passkey_said said;
	struct err          err = { 0 };
	struct buf          b;

	if (size < 1 || size > 4096)
		return 0;
	rest = span_from(in, 1);
	buf_init(&b, 8192);
	switch (data[0] & 3) {
	case 0:
		if (passkey_register(&want, SPAN("") , rest, &k, &err) ||
		    passkey_register(&want, span_str(good), rest, &k, &err))
			taken(&k);
		break;
	case 1:
		buf_add(&b, "\xa1\x68" "authData\x59", 11);
		buf_add_char(&b, (char)((rest.len + 32) >> 8));
		buf_add_char(&b, (char)(rest.len + 32));
		head(&b);
		buf_add_span(&b, rest);
		if (passkey_register(&want, span_str(good), buf_span(&b), &k, &err))
			taken(&k);
		break;
	case 2:
		must(!passkey_register(&want, rest, SPAN("\xa0"), &k, &err));
		break;
	default:
		head(&b);
		buf_add_span(&b, rest);
		/* There is a signature in nothing that is drawn. */
		must(!passkey_verify(&want, &k, SPAN("{\"type\":\"webauthn.get\",\"challenge\":"
		                                    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
		                                    "\"origin\":\"https://h.example\"}"),
		                     buf_span(&b), SPAN("0123456789012345678901234567890123456789012345678901234567890123"),
		                     &said, &err));
	}
	/* What is skipped is taken off, and nothing more. */
	struct span left = rest;
	if (ctap_skip(&left))
		must(left.len < rest.len && left.ptr + left.len == rest.ptr + rest.len);
	buf_done(&b);
	return 0;
}
