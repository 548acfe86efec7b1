/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_BROWSER_H
#define CONTROL_BROWSER_H

/*
 * What the host of a service and the coordinator say about people who come
 * with only a browser (doc/architecture, section 7):
 *
 *   POST /v1/browser/redeem  {"service":"wiki","code":"..","verifier":"..","replaces":"n17"?}
 *     -> {"node":"n17","cookie":".."}     the session of "replaces" where the code is of its renewal
 *   POST /v1/browser/renew   {"node":"n17","service":"wiki","bind":".."}
 *     -> {"url":"https://HUB/login/ATTEMPT"}, or {"wait":SECONDS}: not yet. Once for each session
 *   POST /v1/browser/end     {"node":"n17"} -> {}
 *
 * A browser's session is a node of its own in the map: "browser" names the
 * service, "key" is SHA-256("reeve cookie v1" 0 service 0 cookie), and it has no addresses.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "daemon/control/map.h"

enum {
	BROWSER_SECRET_LEN = 43,        /* 32 bytes, base64url: cookie and verifier */
	BROWSER_CODE_MAX   = 128,
	BROWSER_HASH_LEN   = 32,
	BROWSER_MSG_MAX    = 1024,
	BROWSER_ORIGIN_MAX = 300,       /* "https://HOST:PORT" */
	BROWSER_URL_MAX    = 600,       /* where a renewal begins */
};

/* The coordinator's cookie, where the front looks for its hash. */
bool browser_cookie_hash(struct span service, struct span cookie, uint8_t ret[BROWSER_HASH_LEN]);
/* Of a browser's secret: what the coordinator is told before, and asks for after the login. */
bool browser_bind_hash(struct span verifier, uint8_t ret[BROWSER_HASH_LEN]);

/* "https://HOST" or "https://HOST:PORT", and nothing behind it. */
bool browser_origin_ok(struct span origin);

struct browser_redeem {
	char service[64];
	char code[BROWSER_CODE_MAX + 1];
	char verifier[BROWSER_SECRET_LEN + 1];
	uint64_t replaces;              /* the session that this browser has there; 0: none */
};
void browser_redeem_encode(const struct browser_redeem *m, struct buf *out);
bool browser_redeem_decode(struct span json, struct browser_redeem *ret, struct err *err);

struct browser_reply {
	uint64_t node;
	char     cookie[BROWSER_SECRET_LEN + 1];
};
void browser_reply_encode(const struct browser_reply *m, struct buf *out);
bool browser_reply_decode(struct span json, struct browser_reply *ret, struct err *err);

/* A session's renewal: bind is browser_bind_hash() of this browser's secret, in base64url. */
struct browser_renew {
	uint64_t node;
	char     service[64];
	char     bind[BROWSER_SECRET_LEN + 1];
};
void browser_renew_encode(const struct browser_renew *m, struct buf *out);
bool browser_renew_decode(struct span json, struct browser_renew *ret, struct err *err);

struct browser_renewal {
	char    url[BROWSER_URL_MAX + 1];       /* "": not yet */
	int64_t wait;                           /* seconds, where there is no URL */
};
void browser_renewal_encode(const struct browser_renewal *m, struct buf *out);
bool browser_renewal_decode(struct span json, struct browser_renewal *ret, struct err *err);

void browser_end_encode(uint64_t node, struct buf *out);
bool browser_end_decode(struct span json, uint64_t *ret_node, struct err *err);

#endif
