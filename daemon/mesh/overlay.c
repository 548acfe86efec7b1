/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/overlay.h"

#include "base/encode.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <string.h>

static void evp_pkey_ptr_free(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}

static void evp_pkey_ctx_ptr_free(EVP_PKEY_CTX **p)
{
	EVP_PKEY_CTX_free(*p);
}

#define scoped_pkey     __attribute__((cleanup(evp_pkey_ptr_free)))
#define scoped_pkey_ctx __attribute__((cleanup(evp_pkey_ctx_ptr_free)))

static bool is_zero(const void *p, size_t n)
{
	static const uint8_t zero[DEVICE_KEY_LEN];

	return n <= sizeof(zero) && mem_equal_ct(p, zero, n);
}

bool device_key_parse(struct span text, struct device_key *ret_key, struct err *err)
{
	struct device_key key;
	size_t n;

	if (!base64_decode(text, key.b, sizeof(key.b), &n) || n != sizeof(key.b))
		return err_set(err, ERR_SYNTAX, "a device key is base64 of %d bytes",
			       DEVICE_KEY_LEN);
	if (is_zero(key.b, sizeof(key.b)))
		return err_set(err, ERR_SYNTAX, "a device key is not all zero");
	*ret_key = key;
	return true;
}

const char *device_key_text(const struct device_key *key, char buf[DEVICE_KEY_TEXT_MAX])
{
	scoped_buf struct buf b;

	buf_init(&b, DEVICE_KEY_TEXT_MAX);
	base64_add(&b, span_of(key->b, sizeof(key->b)));
	memcpy(buf, b.ptr, DEVICE_KEY_TEXT_MAX - 1);
	buf[DEVICE_KEY_TEXT_MAX - 1] = '\0';
	return buf;
}

bool device_key_eq(const struct device_key *a, const struct device_key *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool device_private_new(struct secret *ret_private, struct err *err)
{
	struct device_key pub;
	struct secret s;

	secret_random(&s, DEVICE_KEY_LEN);
	/* RFC 7748 5: clamped here once, so that what is stored, shown and given to
	 * the device are the same 32 bytes. */
	s.ptr[0] &= 248;
	s.ptr[31] &= 127;
	s.ptr[31] |= 64;
	if (!device_private_public(&s, &pub, err)) {
		secret_done(&s);
		return false;
	}
	*ret_private = s;
	return true;
}

bool device_private_parse(struct span text, struct secret *ret_private, struct err *err)
{
	uint8_t raw[DEVICE_KEY_LEN];
	size_t n;
	bool ok = base64_decode(text, raw, sizeof(raw), &n) && n == sizeof(raw) &&
		  !is_zero(raw, sizeof(raw));

	if (ok)
		secret_init(ret_private, raw, sizeof(raw));
	mem_wipe(raw, sizeof(raw));
	return ok || err_set(err, ERR_SYNTAX, "a private key is base64 of %d bytes",
			     DEVICE_KEY_LEN);
}

void device_private_text(const struct secret *priv, struct buf *out)
{
	base64_add(out, secret_span(priv));
}

static EVP_PKEY *private_pkey(const struct secret *priv, struct err *err)
{
	EVP_PKEY *pkey = NULL;

	if (priv->len == DEVICE_KEY_LEN)
		pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, priv->ptr, priv->len);
	if (!pkey)
		err_set(err, ERR_CRYPTO, "not a private key of %d bytes", DEVICE_KEY_LEN);
	return pkey;
}

bool device_private_public(const struct secret *priv, struct device_key *ret_key, struct err *err)
{
	scoped_pkey EVP_PKEY *pkey = private_pkey(priv, err);
	struct device_key key;
	size_t n = sizeof(key.b);

	if (!pkey)
		return false;
	if (EVP_PKEY_get_raw_public_key(pkey, key.b, &n) != 1 || n != sizeof(key.b))
		return err_set(err, ERR_CRYPTO, "cannot compute the public key");
	*ret_key = key;
	return true;
}

bool device_private_shared(const struct secret *priv, const struct device_key *peer,
			   struct secret *ret_shared, struct err *err)
{
	scoped_pkey EVP_PKEY *mine = private_pkey(priv, err);
	uint8_t shared[DEVICE_KEY_LEN];
	size_t n = sizeof(shared);

	if (!mine)
		return false;

	scoped_pkey EVP_PKEY *theirs =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer->b, sizeof(peer->b));
	scoped_pkey_ctx EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(mine, NULL);

	/* OpenSSL refuses the all-zero result by itself; said here again, since
	 * enrolment's proof rests on it. */
	bool ok = theirs && ctx && EVP_PKEY_derive_init(ctx) == 1 &&
		  EVP_PKEY_derive_set_peer(ctx, theirs) == 1 &&
		  EVP_PKEY_derive(ctx, shared, &n) == 1 && n == sizeof(shared) &&
		  !is_zero(shared, sizeof(shared));

	if (ok)
		secret_init(ret_shared, shared, sizeof(shared));
	mem_wipe(shared, sizeof(shared));
	return ok || err_set(err, ERR_CRYPTO, "the other side's key gives no shared secret");
}

static bool prefix_in(const struct prefix *p, const char *text)
{
	struct prefix outer;

	return prefix_parse(span_str(text), &outer) && prefix_covers(&outer, p);
}

static bool prefix_touches(const struct prefix *p, const char *text)
{
	struct prefix other;

	return prefix_parse(span_str(text), &other) &&
	       (prefix_covers(&other, p) || prefix_covers(p, &other));
}

bool overlay_check(const struct overlay *o, struct err *err)
{
	static const char *const never[] = { "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16",
					     "224.0.0.0/3" };
	char text[IP_TEXT_MAX];

	if (o->v6.ip.family != IP_V6 || o->v6.bits != OVERLAY_ULA_BITS ||
	    !prefix_in(&o->v6, "fd00::/8"))
		return err_set(err, ERR_CONFIG,
			       "the mesh's IPv6 range is not a /%d of fd00::/8 (RFC 4193)",
			       OVERLAY_ULA_BITS);
	if (o->v4.ip.family != IP_V4 || o->v4.bits < 8 || o->v4.bits > 30)
		return err_set(err, ERR_CONFIG,
			       "the mesh's IPv4 range is not a prefix of 8 to 30 bits");
	for (size_t i = 0; i < array_size(never); i++)
		if (prefix_touches(&o->v4, never[i]))
			return err_set(err, ERR_CONFIG, "the mesh's IPv4 range %s lies in %s",
				       prefix_text(&o->v4, text), never[i]);
	return true;
}

struct ip overlay_v6(const struct overlay *o, const struct device_key *key)
{
	static const char label[] = "reeve address v1";
	uint8_t input[sizeof(label) - 1 + DEVICE_KEY_LEN];
	uint8_t hash[EVP_MAX_MD_SIZE] = { 0 };
	unsigned n = 0;
	struct ip ip = { .family = IP_V6 };

	memcpy(input, label, sizeof(label) - 1);
	memcpy(input + sizeof(label) - 1, key->b, sizeof(key->b));
	/* Fails only where libcrypto has no SHA-256; no address matches then. */
	if (EVP_Digest(input, sizeof(input), hash, &n, EVP_sha256(), NULL) != 1 || n != 32)
		return (struct ip){ .family = IP_NONE };
	memcpy(ip.b, o->v6.ip.b, OVERLAY_ULA_BITS / 8);
	memcpy(ip.b + OVERLAY_ULA_BITS / 8, hash, 16 - OVERLAY_ULA_BITS / 8);
	return ip;
}

bool overlay_v6_matches(const struct overlay *o, const struct ip *v6, const struct device_key *key)
{
	struct ip own = overlay_v6(o, key);

	return own.family == IP_V6 && ip_eq(&own, v6);
}

bool overlay_has(const struct overlay *o, const struct ip *ip)
{
	return (ip->family == IP_V6 && prefix_has(&o->v6, ip)) ||
	       (ip->family == IP_V4 && prefix_has(&o->v4, ip));
}
