/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/client.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/mem.h"
#include "idp/login.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

struct idp_client {
	const struct provider *conf;
	struct secret          secret;
	EVP_PKEY              *key;
	bool                   ec;
};

/* No prompt: a key with a passphrase is refused. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

static bool key_read(struct idp_client *c, struct span pem, const char *name, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.len ? pem.ptr : "", (int)pem.len);

	c->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	BIO_free(bio);
	if (!c->key)
		return err_set(err, ERR_CONFIG, "%s: %s holds no private key (PEM)", name,
		               c->conf->client_key_file);
	c->ec = EVP_PKEY_is_a(c->key, "EC");
	if (c->ec ? EVP_PKEY_get_bits(c->key) != 256 :
	            !EVP_PKEY_is_a(c->key, "RSA") || EVP_PKEY_get_bits(c->key) < RSA_BITS_MIN)
		return err_set(err, ERR_CONFIG,
			       "%s: %s: want an RSA key of %d bits or more, or one on P-256", name,
			       c->conf->client_key_file, RSA_BITS_MIN);
	return true;
}

struct idp_client *idp_client_new(const struct provider *p, const char *name, struct err *err)
{
	struct idp_client *c = mem_alloc(sizeof(*c));
	struct buf text = { 0 };
	const char *file = *p->client_secret_file ? p->client_secret_file : p->client_key_file;
	struct span s;
	bool ok = true;

	c->conf = p;
	if (*file) {
		ok = file_read_private(file, CLIENT_SECRET_MAX, &text, err);
		if (!ok)
			err_prefix(err, "%s: ", name);
	}
	if (ok && *p->client_key_file) {
		ok = key_read(c, buf_span(&text), name, err);
	} else if (ok && *p->client_secret_file) {
		s = buf_span(&text);
		/* an editor's line end is not part of it */
		while (s.len && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r'))
			s.len--;
		ok = s.len > 0 && span_is_print(s);
		if (ok)
			secret_init(&c->secret, s.ptr, s.len);
		else
			err_set(err, ERR_CONFIG, "%s: %s: want one line of printable ASCII", name,
				file);
	}
	buf_wipe_done(&text);
	if (ok)
		return c;
	idp_client_free(c);
	return NULL;
}

void idp_client_free(struct idp_client *c)
{
	if (!c)
		return;
	secret_done(&c->secret);
	EVP_PKEY_free(c->key);
	free(c);
}

/* RFC 7518 3.4: r and s, 32 bytes each, from DER. */
static bool raw_signature(const unsigned char *der, size_t len, unsigned char out[64])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
	bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32 &&
	          BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32;

	ECDSA_SIG_free(sig);
	return ok;
}

static bool sign(const struct idp_client *c, struct span text, struct buf *out)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char sig[RSA_BITS_MAX / 8 + 64], raw[64];
	size_t n = sizeof(sig);
	bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, c->key) == 1 &&
	          EVP_DigestSign(ctx, sig, &n, (const unsigned char *)text.ptr, text.len) == 1;

	EVP_MD_CTX_free(ctx);
	if (ok && c->ec) {
		ok = raw_signature(sig, n, raw);
		if (ok)
			base64url_add(out, span_of(raw, sizeof(raw)));
	} else if (ok) {
		base64url_add(out, span_of(sig, n));
	}
	return ok;
}

static bool assertion(const struct idp_client *c, const char *audience, struct wall now,
                      struct buf *form, struct err *err)
{
	const struct provider *p = c->conf;
	unsigned char id[16];
	scoped_buf struct buf head = { 0 }, claims = { 0 }, jwt = { 0 }, jti = { 0 };
	bool ok;

	random_bytes(id, sizeof(id));
	buf_init(&jti, 64);
	base64url_add(&jti, span_of(id, sizeof(id)));
	buf_init(&head, 1024);
	buf_addf(&head, "{\"alg\":\"%s\",\"typ\":\"JWT\"", c->ec ? "ES256" : "RS256");
	if (*p->client_key_id) {
		buf_add_str(&head, ",\"kid\":");
		buf_add_json(&head, span_str(p->client_key_id));
	}
	buf_add_char(&head, '}');
	buf_init(&claims, 4096);
	buf_add_str(&claims, "{\"iss\":");
	buf_add_json(&claims, span_str(p->client_id));
	buf_add_str(&claims, ",\"sub\":");
	buf_add_json(&claims, span_str(p->client_id));
	buf_add_str(&claims, ",\"aud\":");
	buf_add_json(&claims, span_str(audience));
	buf_addf(&claims, ",\"jti\":\"%.*s\",\"iat\":%lld,\"exp\":%lld}", SPAN_ARG(buf_span(&jti)),
	         (long long)now.sec, (long long)now.sec + ASSERTION_SECONDS);
	buf_init(&jwt, 16 << 10);
	base64url_add(&jwt, buf_span(&head));
	buf_add_char(&jwt, '.');
	base64url_add(&jwt, buf_span(&claims));

	struct buf sig;

	buf_init(&sig, 4096);
	ok = sign(c, buf_span(&jwt), &sig);
	buf_add_char(&jwt, '.');
	buf_add_span(&jwt, buf_span(&sig));
	buf_done(&sig);
	if (!ok || jwt.over || head.over || claims.over)
		return err_set(err, ERR_CRYPTO, "the client's assertion cannot be signed");
	form_add(form, "client_assertion_type",
	         SPAN("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
	form_add(form, "client_assertion", buf_span(&jwt));
	return true;
}

bool idp_client_prove(const struct idp_client *c, bool device, const char *audience, struct wall now,
                  struct buf *form, struct buf *authorization, struct err *err)
{
	const struct provider *p = c->conf;
	struct span secret = secret_span(&c->secret);
	struct buf pair;

	if (device) {
		form_add(form, "client_id", span_str(p->device_client_id));
		return true;
	}
	switch ((enum provider_auth)p->auth) {
	case PROVIDER_AUTH_BASIC:
		/* both are form-encoded before they are joined by a colon */
		buf_init(&pair, 4 * CLIENT_SECRET_MAX);
		percent_add(&pair, span_str(p->client_id));
		buf_add_char(&pair, ':');
		percent_add(&pair, secret);
		buf_add_str(authorization, "Basic ");
		base64_add(authorization, buf_span(&pair));
		buf_wipe_done(&pair);
		return true;
	case PROVIDER_AUTH_POST:
		form_add(form, "client_id", span_str(p->client_id));
		form_add(form, "client_secret", secret);
		return true;
	case PROVIDER_AUTH_KEY:
		form_add(form, "client_id", span_str(p->client_id));
		return assertion(c, audience, now, form, err);
	case PROVIDER_AUTH_NONE:
		form_add(form, "client_id", span_str(p->client_id));
		return true;
	}
	return err_set(err, ERR_CONFIG, "no such auth-method");
}
