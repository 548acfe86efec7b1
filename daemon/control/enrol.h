/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_ENROL_H
#define CONTROL_ENROL_H

/*
 * Enrolment and login between an endpoint and the coordinator
 * (doc/architecture section 7): the messages, the proof that a device key is
 * possessed, and the strings that people carry (enrolment keys, pins, short
 * codes). It never stores anything. Next: daemon/control/client.h.
 */

#include "daemon/control/map.h"

#include "base/secret.h"

struct enrol_idp;
struct enrol_choice;

enum {
	ENROL_VERSION      = 1,
	ENROL_BODY_MAX     = 24 << 10,  /* any request of this file: an ID token has up to 16 KiB */
	ENROL_REPLY_MAX    = 128 << 10, /* any reply */
	ENROL_KEY_LEN      = 32,        /* X25519, secrets, challenges, proofs, pins */
	ENROL_NAME_MAX     = 63,        /* a DNS label */
	ENROL_OS_MAX       = 128,
	ENROL_ACR_MAX      = 255,
	ENROL_REFRESH_MAX  = 4 << 10,   /* a refresh token */
	ENROL_ISSUER_MAX   = 63,        /* an issuer's name in the coordinator's configuration */
	ENROL_ATTEMPT_LEN  = 22,        /* base64url of 16 bytes */
	ENROL_TICKET_LEN   = 43,        /* base64url of 32 bytes */
	ENROL_URL_MAX      = 512,
	ENROL_PINS_MAX     = 4,
	ENROL_STRING_MAX   = 1024,      /* an enrolment key as one string */
	ENROL_CODE_LEN     = 9,         /* "ABCD-EFGH" */
	ENROL_PIN_TEXT_LEN = 43,        /* base64url of 32 bytes */
};

/*
 * TLS pins: SHA-256 of the certificate's DER SubjectPublicKeyInfo (RFC 7469
 * 2.4), as base64url without padding; "sha256/" and "sha256//" before it and
 * plain base64 are understood too.
 */
struct enrol_pin { uint8_t sha256[ENROL_KEY_LEN]; };
bool enrol_pin_parse(struct span text, struct enrol_pin *ret_pin);
void enrol_pin_text(const struct enrol_pin *pin, char ret_text[ENROL_PIN_TEXT_LEN + 1]);
/* Of the first certificate in a PEM text. */
bool enrol_pin_of_pem(struct span pem, struct enrol_pin *ret_pin, struct err *err);

/*
 * An enrolment key: one string, safe in shells, URLs and forms, that
 * double-click selects but for its dots:
 *   rk1.<base64url of the coordinator's URL>.<secret>.<pin>[.<pin> ...]
 * secret is 32 random bytes in base64url; the coordinator keeps their SHA-256.
 */
struct enrol_key {
	char             url[ENROL_URL_MAX];    /* "https://hub.example.edu", no path */
	struct secret    secret;
	struct enrol_pin pins[ENROL_PINS_MAX];
	size_t           pin_count;             /* 1..ENROL_PINS_MAX */
};
void enrol_key_done(struct enrol_key *k);       /* wipes; accepts a zeroed one */
void enrol_key_encode(const struct enrol_key *k, struct buf *out);     /* wipe out afterwards */
bool enrol_key_parse(struct span text, struct enrol_key *ret_k, struct err *err);
/* "https://HOST[:PORT]", nothing behind it but at most one slash, which is dropped. */
bool enrol_url_check(struct span text, char ret_url[ENROL_URL_MAX], struct err *err);

/* Short codes, RFC 8628 6.1: twenty consonants, eight of them: 34 bits. */
void enrol_code_new(char ret_code[ENROL_CODE_LEN + 1]);

/* Device keys: a WireGuard key pair. The private half is clamped (RFC 7748 5). */
void enrol_device_new(struct secret *ret_private);
bool enrol_device_public(const struct secret *private_key, uint8_t ret_public[ENROL_KEY_LEN], struct err *err);
/* The file: base64 with its newline, mode 0600. */
bool enrol_device_load(const char *path, struct secret *ret_private, struct err *err);
bool enrol_device_store(const char *path, const struct secret *private_key, struct err *err);

/* X25519 of the two. An all-zero secret is ERR_CRYPTO (RFC 7748 6.1). Wipe ret_shared. */
bool enrol_shared(const struct secret *mine, const uint8_t theirs[ENROL_KEY_LEN],
                  uint8_t ret_shared[ENROL_KEY_LEN], struct err *err);

/*
 * The proof:
 *   HMAC-SHA-256(X25519(mine, theirs), "reeve enrol v1" || 0 || challenge || pin ||
 *                device public key || ephemeral public key || SHA-256(start request body))
 * mine/theirs: device private and ephemeral public at the device, ephemeral
 * private and device public at the coordinator. An all-zero secret is
 * ERR_CRYPTO (RFC 7748 6.1). Compare proofs with mem_equal_ct().
 */
struct enrol_proof_input {
	uint8_t          challenge[ENROL_KEY_LEN];
	struct enrol_pin pin;                   /* of the TLS connection that the start request went over */
	uint8_t          device[ENROL_KEY_LEN], ephemeral[ENROL_KEY_LEN];     /* both public */
	struct span      start;                 /* the body of the start request, byte for byte */
};
bool enrol_proof(const struct secret *mine, const uint8_t theirs[ENROL_KEY_LEN],
                 const struct enrol_proof_input *in, uint8_t ret_proof[ENROL_KEY_LEN], struct err *err);

/* POST /v1/enrol/start */
struct enrol_start {
	uint8_t          key[ENROL_KEY_LEN];            /* device public key */
	char             name[ENROL_NAME_MAX + 1];      /* wanted; the coordinator may add a number */
	char             os[ENROL_OS_MAX + 1];          /* printable ASCII */
	struct secret    enrol_key;                     /* its secret; empty: log in */
	struct enrol_pin pin;                           /* the pin that the TLS connection matched */
	uint16_t         loopback;                      /* port on 127.0.0.1 where the browser ends; 0: none */
	bool             device;                        /* it can log in by itself: enrol_idp.h */
	char             issuer[ENROL_ISSUER_MAX + 1];  /* chosen; "": not yet */
};
void enrol_start_done(struct enrol_start *s);
void enrol_start_encode(const struct enrol_start *s, struct buf *out);
bool enrol_start_decode(struct span json, struct enrol_start *ret_s, struct err *err);

/* its reply */
struct enrol_challenge {
	char    attempt[ENROL_ATTEMPT_LEN + 1];
	uint8_t challenge[ENROL_KEY_LEN];
	uint8_t ephemeral[ENROL_KEY_LEN];
};
void enrol_challenge_encode(const struct enrol_challenge *c, struct buf *out);
bool enrol_challenge_decode(struct span json, struct enrol_challenge *ret_c, struct err *err);

/* POST /v1/enrol/prove */
struct enrol_prove {
	char    attempt[ENROL_ATTEMPT_LEN + 1];
	uint8_t proof[ENROL_KEY_LEN];
};
void enrol_prove_encode(const struct enrol_prove *p, struct buf *out);
bool enrol_prove_decode(struct span json, struct enrol_prove *ret_p, struct err *err);

/* POST /v1/enrol/finish, /v1/login/finish: the ticket that the browser brought
 * to the loopback; or, of a login at the device, its evidence. With neither (no
 * loopback): asks whether the attempt was approved from another device, where the
 * policy lets it; ERR_BUSY (HTTP 202) until then. */
struct enrol_finish {
	char    attempt[ENROL_ATTEMPT_LEN + 1];
	char    ticket[ENROL_TICKET_LEN + 1];   /* empty: none */
	char   *id_token;                       /* NULL: none; owned */
	uint8_t opening[ENROL_KEY_LEN];         /* with id_token */
	char   *refresh_token;                  /* with id_token; NULL: none */
};
void enrol_finish_done(struct enrol_finish *f);         /* wipes; accepts a zeroed one */
void enrol_finish_encode(const struct enrol_finish *f, struct buf *out);
bool enrol_finish_decode(struct span json, struct enrol_finish *ret_f, struct err *err);

/* POST /v1/login/start (mesh listener) */
struct enrol_login {
	uint16_t loopback;              /* 0: none */
	/* A stronger or fresher login than the provider's row asks for (step-up). */
	bool     has_max_age;
	int64_t  max_age;               /* seconds since the person proved themselves; 0: again, now */
	char     acr[ENROL_ACR_MAX + 1];        /* blank-separated, one of them; "": as configured */
	bool     device;                /* as in enrol_start */
	char     issuer[ENROL_ISSUER_MAX + 1];
	bool     silent;                /* a renewal: the page leads on by itself where the provider knows
	                                 * the browser (prompt=none); needs a loopback */
};
void enrol_login_encode(const struct enrol_login *l, struct buf *out);
bool enrol_login_decode(struct span json, struct enrol_login *ret_l, struct err *err);

/* The reply of POST /v1/logout: the provider's page; "" where it names none that makes sense. */
void enrol_logout_decode(struct span json, char ret_url[ENROL_URL_MAX]);

/*
 * The reply of prove, finish and login/start: a page to open, an issuer where the node logs in
 * itself, issuers to choose from, or done.
 *   pending: {"attempt":"..","url":"https://HUB/login/..","code":"BCDF-GHJK","expires":1790000000}
 *   device:  {"attempt":"..","device":{..},"expires":1790000000}, see enrol_idp.h
 *   choose:  {"choose":[{"name":"uni","title":"University"}, ..]}: again, with "issuer"
 *   done:    {"node":{..},"hub":{..},"mesh":{"ula":"..","v4":"..","name":".."},"control":"[fd..]:80",
 *             "session":{..}?}
 */
struct enrol_reply {
	bool             done;
	/* pending */
	char             attempt[ENROL_ATTEMPT_LEN + 1];
	char             url[ENROL_URL_MAX];
	char             code[ENROL_CODE_LEN + 1];
	struct wall      expires;
	struct enrol_idp    *device;           /* NULL: a page */
	struct enrol_choice  *choose;           /* NULL: nothing to choose */
	size_t           choose_count;
	/* done */
	struct map_node *node, *hub;            /* a reference each; the session is in node */
	struct map_mesh  mesh;                  /* its name lives in node's arena */
	struct ipport    control;               /* the coordinator's mesh listener, an overlay address of the hub */
};
void enrol_reply_done(struct enrol_reply *r);
void enrol_reply_encode(const struct enrol_reply *r, struct buf *out);
bool enrol_reply_decode(struct span json, struct enrol_reply *ret_r, struct err *err);

/*
 * Every refusal of the coordinator: {"error":"denied","message":".."}; error is
 * err_code_name(). The HTTP status goes with the code.
 */
void enrol_error_encode(const struct err *err, struct buf *out);
unsigned enrol_error_status(enum err_code code);
/* What a reply with a status of 300 or more says; false always. */
bool enrol_error_decode(unsigned status, struct span body, struct err *err);

#endif
