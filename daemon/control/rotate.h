/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_ROTATE_H
#define CONTROL_ROTATE_H

/*
 * A node that changes its device key (doc/identity 5.11): what it
 * and the coordinator say to each other, and the vouchers by which the holder
 * of the old key tells every endpoint, past the coordinator, which key comes
 * next. It stores nothing. Next: daemon/endpoint/rotate.h, daemon/coordinator/rotate_api.c.
 */

#include "daemon/control/enrol.h"

enum {
	ROTATE_VOUCH_LEN   = 32,
	ROTATE_VOUCHES_MAX = 4096,      /* endpoints that one node vouches to: a third of a second of X25519 */
	ROTATE_PROVE_MAX   = 512 << 10, /* with as many vouchers */
	ROTATE_BODY_MAX    = 1 << 10,   /* the others */
	ROTATE_HOSTS_MAX   = 256,       /* bytes of names that people are shown */
	ROTATE_AGE_MIN     = 3600,      /* seconds, of a "key-max-age" */
	ROTATE_AGE_MAX     = 10 * 366 * 86400,
};

/*
 * A voucher: HMAC-SHA-256(X25519(old private, endpoint public), "reeve rotate v1" || 0 ||
 * old public || new public || endpoint public). Only who holds the old private key can make
 * it, and the endpoint itself, which it would tell nothing. The roles are in the text, so
 * that what one of the two says of its own key is not what the other says of theirs.
 *
 * mine, theirs: the old private and the endpoint's public key at the node; the endpoint's
 * private and the old public key at the endpoint. Compare with mem_equal_ct().
 */
struct rotate_vouch {
	uint8_t old[ENROL_KEY_LEN], new_[ENROL_KEY_LEN], endpoint[ENROL_KEY_LEN];        /* public */
};
bool rotate_vouch(const struct secret *mine, const uint8_t theirs[ENROL_KEY_LEN], const struct rotate_vouch *v,
                  uint8_t ret_mac[ROTATE_VOUCH_LEN], struct err *err);

/* POST /v1/rotate/start {"v":1,"key":".."}; the reply is an enrol_challenge. */
void rotate_start_encode(const uint8_t key[ENROL_KEY_LEN], struct buf *out);
bool rotate_start_decode(struct span json, uint8_t ret_key[ENROL_KEY_LEN], struct err *err);

/* POST /v1/rotate/prove {"attempt":"..","old":"..","proof":"..","vouches":{"n5":"..",..}}: enrol_proof() by the
 * old and by the new key (each as `device`) over the start request, with a pin of zeros: whoever may
 * send from the node is not yet its key's holder. The list ascends by node, each once. */
struct rotate_entry { uint64_t node; uint8_t mac[ROTATE_VOUCH_LEN]; };
struct rotate_prove {
	struct enrol_prove   prove;     /* by the new key */
	uint8_t              old[ENROL_KEY_LEN];
	struct rotate_entry *list;      /* owned */
	size_t               n;         /* at most ROTATE_VOUCHES_MAX */
};
void rotate_prove_done(struct rotate_prove *p);         /* accepts a zeroed one */
void rotate_prove_encode(const struct rotate_prove *p, struct buf *out);
bool rotate_prove_decode(struct span json, struct rotate_prove *ret_p, struct err *err);

/* The reply of prove, and of GET /v1/rotate: how many endpoints that listen have not applied it,
 * and how many that were vouched to do not listen. */
struct rotate_state { int64_t waiting, away; };
void rotate_state_encode(const struct rotate_state *s, struct buf *out);
bool rotate_state_decode(struct span json, struct rotate_state *ret_s, struct err *err);

/* POST /v1/rotate/finish has start's body: that key is in use. The reply is {}. */

/* The reply of GET /v1/rotate/due: when the administrators want keys to change, and which hosts say
 * that their owner's file lists the present one. */
struct rotate_due {
	int64_t max_age;                        /* seconds; 0: by hand alone */
	int64_t listed;                         /* hosts that list it */
	char    hosts[ROTATE_HOSTS_MAX];        /* their names, as many as there is room for; of the reply */
};
void rotate_due_add(struct rotate_due *d, const char *name);    /* a map_name_ok() */
void rotate_due_encode(const struct rotate_due *d, struct buf *out);
bool rotate_due_decode(struct span json, struct rotate_due *ret_d, struct err *err);

#endif
