/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/certificate.h"

#include "base/ip.h"
#include "base/mem.h"
#include "base/secret.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define YEARS_SEC (INT64_C(10) * 365 * 86400)

static bool crypto_err(struct err *err, const char *what)
{
	char text[256] = "";

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return err_set(err, ERR_CRYPTO, "%s: %s", what, text);
}

/* "DNS:wiki,IP:192.0.2.1": built as objects, so that a name cannot add a second one. */
static bool add_names(X509 *x, const struct span *names, size_t n)
{
	GENERAL_NAMES *list = GENERAL_NAMES_new();
	bool ok = list != NULL;

	for (size_t i = 0; ok && i < n; i++) {
		GENERAL_NAME *g = GENERAL_NAME_new();
		struct ip ip;

		if (!g)
			break;
		if (ip_parse(names[i], &ip)) {
			ASN1_OCTET_STRING *o = ASN1_OCTET_STRING_new();

			ok = o && ASN1_OCTET_STRING_set(o, ip.b, (int)ip_len(&ip)) == 1;
			GENERAL_NAME_set0_value(g, GEN_IPADD, o);
		} else {
			ASN1_IA5STRING *o = ASN1_IA5STRING_new();

			ok = o && ASN1_STRING_set(o, names[i].ptr, (int)names[i].len) == 1;
			GENERAL_NAME_set0_value(g, GEN_DNS, o);
		}
		if (!sk_GENERAL_NAME_push(list, g))
			ok = false;
	}
	ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) == 1;
	GENERAL_NAMES_free(list);
	return ok;
}

static bool to_pem(BIO *bio, struct buf *out)
{
	char *p = NULL;
	long n = BIO_get_mem_data(bio, &p);

	if (n <= 0)
		return false;
	buf_add(out, p, (size_t)n);
	return !out->over;
}

bool certificate_make(const struct span *names, size_t n, struct wall now, struct buf *ret_certificate,
                      struct buf *ret_key, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_secmem());
	unsigned char serial[16];
	X509_NAME *subject;
	BIGNUM *bn;
	bool ok = false;

	if (!key || !x || !cert_bio || !key_bio || n == 0 || n > CERTIFICATE_NAMES_MAX)
		goto out;
	random_bytes(serial, sizeof(serial));
	serial[0] &= 0x7f;
	bn = BN_bin2bn(serial, sizeof(serial), NULL);
	if (!bn || !BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x))) {
		BN_free(bn);
		goto out;
	}
	BN_free(bn);
	subject = X509_get_subject_name(x);
	if (X509_set_version(x, X509_VERSION_3) != 1 ||
	    !ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(now.sec - 86400)) ||
	    !ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(now.sec + YEARS_SEC)) ||
	    X509_set_pubkey(x, key) != 1 ||
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)names[0].ptr,
	                               names[0].len > 64 ? 64 : (int)names[0].len, -1, 0) != 1 ||
	    X509_set_issuer_name(x, subject) != 1 || !add_names(x, names, n) ||
	    X509_sign(x, key, EVP_sha256()) == 0)
		goto out;
	ok = PEM_write_bio_X509(cert_bio, x) == 1 &&
	     PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	     to_pem(cert_bio, ret_certificate) && to_pem(key_bio, ret_key);
out:
	if (!ok)
		crypto_err(err, "making a certificate");
	BIO_free(cert_bio);
	BIO_free(key_bio);
	X509_free(x);
	EVP_PKEY_free(key);
	return ok;
}

bool certificate_fits(struct span chain, struct span key, struct err *err)
{
	BIO *cb = BIO_new_mem_buf(chain.ptr, (int)chain.len), *kb = BIO_new_mem_buf(key.ptr, (int)key.len);
	X509 *x = cb ? PEM_read_bio_X509(cb, NULL, NULL, NULL) : NULL;
	EVP_PKEY *k = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, (void *)"") : NULL;
	bool ok = false;

	if (!x)
		err_set(err, ERR_CRYPTO, "no certificate in PEM form");
	else if (!k)
		err_set(err, ERR_CRYPTO, "no private key in PEM form (without a password)");
	else if (X509_check_private_key(x, k) != 1)
		err_set(err, ERR_CRYPTO, "the key is not the certificate's");
	else
		ok = true;
	ERR_clear_error();
	BIO_free(cb);
	BIO_free(kb);
	X509_free(x);
	EVP_PKEY_free(k);
	return ok;
}
