/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * TLS by OpenSSL, over the descriptor itself (it reads and writes, and opens
 * nothing): Mozilla's "intermediate" set of 2024 (TLS 1.2 with forward secrecy
 * and AEAD, TLS 1.3), certificates by name, resumption by tickets. The private
 * keys are here: the exception that doc/threat-model names.
 */
#include "daemon/proxy/engine.h"

#include "base/mem.h"
#include "base/secret.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { TLS_CERTS_MAX = 64, TLS_TICKET_KEYS = 8, TLS_TICKET_LEN = 80 };

struct cert_set {
	unsigned refs;
	SSL_CTX *ctx[TLS_CERTS_MAX];
	X509    *leaf[TLS_CERTS_MAX];
	size_t   count;
};

struct tls_set {
	struct cert_set *now, *next;
	SSL_CTX         *up, *up_lax;
	unsigned char    tickets[TLS_TICKET_KEYS][TLS_TICKET_LEN];
	size_t           ticket_count;
};

static bool ssl_error(struct err *err, const char *what)
{
	char text[160] = "no reason given";
	unsigned long e = ERR_get_error();

	if (e)
		ERR_error_string_n(e, text, sizeof(text));
	ERR_clear_error();
	return err_set(err, ERR_CRYPTO, "%s: %s", what, text);
}

static struct tls_set *set_of(struct front *f)
{
	if (!f->tls) {
		f->tls = mem_alloc(sizeof(*f->tls));
		random_bytes(f->tls->tickets[0], TLS_TICKET_LEN);
		f->tls->ticket_count = 1;
	}
	return f->tls;
}

static void certs_free(struct cert_set *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++) {
		SSL_CTX_free(c->ctx[i]);
		X509_free(c->leaf[i]);
	}
	free(c);
}

void tls_set_free(struct tls_set *t)
{
	if (!t)
		return;
	certs_free(t->now);
	certs_free(t->next);
	SSL_CTX_free(t->up);
	SSL_CTX_free(t->up_lax);
	mem_wipe(t->tickets, sizeof(t->tickets));
	free(t);
}

/* RFC 5077: name, AES key, HMAC key. The newest key seals, all open. */
static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char iv[EVP_MAX_IV_LENGTH],
                     EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int enc)
{
	struct front *f = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct tls_set *t = f->tls;
	size_t i = 0;
	OSSL_PARAM params[3];

	if (enc) {
		random_bytes(iv, 16);
		memcpy(name, t->tickets[0], 16);
	} else {
		while (i < t->ticket_count && memcmp(t->tickets[i], name, 16) != 0)
			i++;
		if (i == t->ticket_count)
			return 0;
	}
	params[0] = OSSL_PARAM_construct_octet_string("key", t->tickets[i] + 48, 32);
	params[1] = OSSL_PARAM_construct_utf8_string("digest", (char *)(uintptr_t)"sha256", 0);
	params[2] = OSSL_PARAM_construct_end();
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, t->tickets[i] + 16, iv, enc) != 1 ||
	    EVP_MAC_CTX_set_params(mac, params) != 1)
		return -1;
	return enc || i == 0 ? 1 : 2;
}

/* X509_check_host() knows wildcards; the first certificate is for everybody else. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
	struct front *f = arg;
	struct cert_set *c = f->tls ? f->tls->now : NULL;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	for (size_t i = 0; name && c && i < c->count; i++) {
		if (X509_check_host(c->leaf[i], name, 0, 0, NULL) == 1) {
			SSL_set_SSL_CTX(ssl, c->ctx[i]);
			break;
		}
	}
	return SSL_TLSEXT_ERR_OK;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
                   unsigned int inlen, void *arg)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, outlen, ours, sizeof(ours) - 1, in,
	                          inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;      /* RFC 7301 3.2 */
	return SSL_TLSEXT_ERR_OK;
}

static bool common(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
	                             SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                          SSL_MODE_RELEASE_BUFFERS);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
	                                    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
	                                    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
	                                    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:"
	                                    "DHE-RSA-CHACHA20-POLY1305") == 1 &&
	       SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1;
}

void front_tls_begin(struct front *f)
{
	struct tls_set *t = set_of(f);

	certs_free(t->next);
	t->next = mem_alloc(sizeof(*t->next));
}

bool front_tls_add(struct front *f, struct span chain, struct span key_pem, struct err *err)
{
	struct cert_set *c = set_of(f)->next;
	SSL_CTX *ctx;
	BIO *bio = NULL;
	EVP_PKEY *key = NULL;
	X509 *x = NULL, *leaf = NULL;
	bool ok = false;

	if (!c || c->count == TLS_CERTS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d certificates", TLS_CERTS_MAX);
	ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx || !common(ctx)) {
		ssl_error(err, "setting up TLS");
		goto out;
	}
	SSL_CTX_set_app_data(ctx, f);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, f);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, f);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"reeve", 5);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_dh_auto(ctx, 1);
	bio = BIO_new_mem_buf(chain.ptr, (int)chain.len);
	while (bio && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (!leaf) {
			leaf = x;
			if (SSL_CTX_use_certificate(ctx, x) != 1) {
				ssl_error(err, "the certificate");
				goto out;
			}
		} else if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
			X509_free(x);
			ssl_error(err, "the chain");
			goto out;
		}
	}
	ERR_clear_error();      /* the end of the PEM text is an error to it */
	if (!leaf) {
		err_set(err, ERR_CRYPTO, "no certificate in the PEM text");
		goto out;
	}
	BIO_free(bio);
	bio = BIO_new_mem_buf(key_pem.ptr, (int)key_pem.len);
	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	if (!key || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
		ssl_error(err, "the private key");
		goto out;
	}
	c->ctx[c->count] = ctx;
	c->leaf[c->count++] = leaf;
	ctx = NULL;
	leaf = NULL;
	ok = true;
out:
	BIO_free(bio);
	EVP_PKEY_free(key);
	X509_free(leaf);
	SSL_CTX_free(ctx);
	return ok;
}

bool front_tls_commit(struct front *f, struct err *err)
{
	struct tls_set *t = set_of(f);

	if (!t->next || !t->next->count)
		return err_set(err, ERR_CONFIG, "no certificate was given");
	/* open connections hold references of their own */
	certs_free(t->now);
	t->now = take(t->next);
	return true;
}

bool front_tls_tickets(struct front *f, struct span keys, struct err *err)
{
	struct tls_set *t = set_of(f);

	if (keys.len == 0 || keys.len % TLS_TICKET_LEN || keys.len / TLS_TICKET_LEN > TLS_TICKET_KEYS)
		return err_set(err, ERR_SYNTAX, "ticket keys have %d bytes each, at most %d of them",
		               TLS_TICKET_LEN, TLS_TICKET_KEYS);
	memcpy(t->tickets, keys.ptr, keys.len);
	t->ticket_count = keys.len / TLS_TICKET_LEN;
	return true;
}

static SSL_CTX *client_ctx(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (ctx && common(ctx))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

bool front_tls_roots(struct front *f, struct span pem, struct err *err)
{
	struct tls_set *t = set_of(f);
	SSL_CTX *ctx = client_ctx();
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	X509 *x;
	size_t n = 0;

	while (ctx && bio && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1)
			n++;
		X509_free(x);
	}
	ERR_clear_error();
	BIO_free(bio);
	if (!n) {
		SSL_CTX_free(ctx);
		return err_set(err, ERR_CRYPTO, "no certificate in the bundle");
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_free(t->up);
	t->up = ctx;
	return true;
}

static bool begin(struct io *io, SSL_CTX *ctx)
{
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;

	if (!ssl || SSL_set_fd(ssl, io->watch.fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return false;
	}
	io->ssl = ssl;
	io->tls_ready = false;
	return true;
}

bool tls_accept(struct conn *c)
{
	struct tls_set *t = c->front->tls;

	if (!t || !t->now || !begin(&c->io, t->now->ctx[0]))
		return false;
	SSL_set_accept_state(c->io.ssl);
	return true;
}

bool tls_connect(struct upconn *u)
{
	struct tls_set *t = set_of(u->front);
	bool lax = u->upstream->flags & SNAP_UP_LAX;
	const char *host = u->upstream->host;
	struct ip ip;
	bool is_ip = ip_parse(span_str(host), &ip);
	SSL_CTX *ctx = t->up;

	if (lax) {
		if (!t->up_lax)
			t->up_lax = client_ctx();
		ctx = t->up_lax;
	}
	/* without roots nothing can be verified: no connection */
	if (!ctx || (!lax && !*host) || !begin(&u->io, ctx))
		return false;
	SSL_set_connect_state(u->io.ssl);
	if (*host && !is_ip)
		SSL_set_tlsext_host_name(u->io.ssl, host);
	if ((u->upstream->flags & SNAP_UP_H2) && SSL_set_alpn_protos(u->io.ssl, (const unsigned char *)"\x02h2", 3) != 0)
		return false;
	if (!lax) {
		X509_VERIFY_PARAM *p = SSL_get0_param(u->io.ssl);

		X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		if (is_ip ? X509_VERIFY_PARAM_set1_ip_asc(p, host) != 1
		          : X509_VERIFY_PARAM_set1_host(p, host, 0) != 1)
			return false;
	}
	return true;
}

bool tls_is_h2(const struct io *io)
{
	const unsigned char *p;
	unsigned n;

	SSL_get0_alpn_selected(io->ssl, &p, &n);
	return n == 2 && memcmp(p, "h2", 2) == 0;
}

int tls_handshake(struct io *io)
{
	int r;

	if (io->tls_ready)
		return 1;
	ERR_clear_error();
	r = SSL_do_handshake(io->ssl);
	if (r == 1) {
		io->tls_ready = true;
		io->can_read = io->can_write = true;
		return 1;
	}
	r = SSL_get_error(io->ssl, r);
	ERR_clear_error();
	return r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t io_error(struct io *io, int r)
{
	switch (SSL_get_error(io->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		ERR_clear_error();
		errno = ECONNRESET;
		return -1;
	}
}

ssize_t tls_read(struct io *io, char *p, size_t n)
{
	size_t done = 0, got = 0;

	ERR_clear_error();
	/* one record at a time is what it gives: fill the buffer, as recv() would */
	while (done < n) {
		int r = SSL_read_ex(io->ssl, p + done, n - done, &got);

		if (r != 1) {
			ssize_t e = io_error(io, r);

			if (!done)
				return e;
			/* Drained: what comes rings again. An end that follows data is met by the next read. */
			if (e < 0 && errno == EAGAIN && !io->hup)
				io->can_read = false;
			return (ssize_t)done;
		}
		done += got;
	}
	return (ssize_t)done;
}

ssize_t tls_write(struct io *io, const char *p, size_t n)
{
	size_t done = 0;
	int r;

	ERR_clear_error();
	r = SSL_write_ex(io->ssl, p, n, &done);
	if (r == 1)
		return (ssize_t)done;
	r = (int)io_error(io, r);
	if (r == 0)
		errno = EPIPE;
	return -1;
}

void tls_free(struct io *io)
{
	if (io->tls_ready && !io->failed)
		SSL_shutdown(io->ssl);  /* says that it is over; nobody waits for the answer */
	ERR_clear_error();
	SSL_free(io->ssl);
	io->ssl = NULL;
}
