/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DAEMON_MESH_OVERLAY_H
#define DAEMON_MESH_OVERLAY_H

/*
 * Device keys and the addresses that follow from them. An IPv6 overlay
 * address is the mesh's ULA /48 with 80 bits of a hash of the node's public
 * key behind it: anyone can recompute it, so the binding of address and key
 * needs nobody's word. Nothing here touches the network. Next: device.h.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/secret.h"

enum {
	DEVICE_KEY_LEN = 32,    /* X25519, RFC 7748 */
	DEVICE_KEY_TEXT_MAX = 45, /* base64 and its NUL, as wg(8) writes it */
	OVERLAY_ULA_BITS = 48,
};

/* A public key; private keys are struct secret of DEVICE_KEY_LEN bytes. */
struct device_key {
	uint8_t b[DEVICE_KEY_LEN];
};

/* Strict base64 of exactly 32 bytes. The all-zero key is refused (WireGuard reads it as "none"). */
bool device_key_parse(struct span text, struct device_key *ret_key, struct err *err);
const char *device_key_text(const struct device_key *key, char buf[DEVICE_KEY_TEXT_MAX]);
bool device_key_eq(const struct device_key *a, const struct device_key *b);

/* ret_private is written on success only; secret_done() when finished. */
bool device_private_new(struct secret *ret_private, struct err *err);
bool device_private_parse(struct span text, struct secret *ret_private, struct err *err);
void device_private_text(const struct secret *priv, struct buf *out); /* base64; wipe the buffer */
bool device_private_public(const struct secret *priv, struct device_key *ret_key, struct err *err);

/* X25519(priv, peer). An all-zero secret, which a key of small order gives
 * (RFC 7748 6.1), is ERR_CRYPTO. */
bool device_private_shared(const struct secret *priv, const struct device_key *peer,
			   struct secret *ret_shared, struct err *err);

/* The mesh's address ranges. */
struct overlay {
	struct prefix v6;       /* a ULA /48, RFC 4193 */
	struct prefix v4;       /* /8 to /30 */
};

/* Refuses ranges that cannot be an overlay's: v6 not a /48 of fd00::/8; v4 too
 * wide or narrow, multicast, loopback, link-local. */
bool overlay_check(const struct overlay *o, struct err *err);

/* ULA || first 80 bits of SHA-256("reeve address v1" || public key). IP_NONE where libcrypto has
 * no SHA-256. */
struct ip overlay_v6(const struct overlay *o, const struct device_key *key);

/* True if v6 is this key's own address in this mesh. */
bool overlay_v6_matches(const struct overlay *o, const struct ip *v6, const struct device_key *key);

/* True if ip is in one of the two ranges. */
bool overlay_has(const struct overlay *o, const struct ip *ip);

#endif
