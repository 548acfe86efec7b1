/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/bearer.h"

#include "base/encode.h"
#include "base/log.h"
#include "base/mem.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define KEY_PREFIX "rs1."

void bearer_key_text(uint64_t id, struct span secret, struct buf *out)
{
	char text[MAP_ID_MAX];

	buf_addf(out, KEY_PREFIX "%s.", map_id_text('k', id, text));
	base64url_add(out, secret);
}

static void refuse(struct coordinator *co, struct request *r, const char *why)
{
	char        from[IP_TEXT_MAX] = "";
	struct err  err;
	struct buf *b;

	/* Guessing has the rate of everything else. */
	if (!attempts_may(co->attempts, &r->from, co->conf->attempts_per_minute, &err)) {
		request_error(r, &err);
		return;
	}
	b = audit_begin(co->audit, loop_wall(co->loop), "token-refused");
	audit_str(b, "from", r->from.family ? ip_text(&r->from, from) : "");
	audit_str(b, "reason", why);
	audit_end(co->audit);
	request_unauthorized(r);
}

static void grant(struct coordinator *co, struct request *r, const char *by, uint32_t permits,
		  uint32_t need, bearer_go_fn *go)
{
	free(r->bearer);
	r->bearer = mem_strdup(by);
	r->permits = permits;
	if (!need || (permits & need) != need)
		request_fail(r, ERR_DENIED, "this token is not for that");
	else
		go(co, r);
}

/* ---- a token of ours ---- */

static bool key_ok(const struct key_row *k, struct span secret, struct wall now)
{
	uint8_t  raw[32], hash[32];
	size_t   n;
	unsigned len = 0;
	bool     ok = base64url_decode(secret, raw, sizeof(raw), &n) && n == sizeof(raw) &&
		  EVP_Digest(raw, sizeof(raw), hash, &len, EVP_sha256(), NULL) == 1 &&
		  len == sizeof(hash);

	/* A key that is none is compared, too: with a hash that nothing has. */
	static const uint8_t nobody[32];
	ok = mem_equal_ct(hash, k ? k->hash : nobody, sizeof(hash)) && ok && k && k->scim &&
	     !k->revoked && now.sec < k->expires.sec;
	mem_wipe(raw, sizeof(raw));
	return ok;
}

static void ask_key(struct coordinator *co, struct request *r, struct span text, uint32_t need,
		    bearer_go_fn *go)
{
	struct span    id = { 0 };
	uint64_t       n = 0;
	char           by[MAP_ID_MAX];
	const struct key_row *k = NULL;

	if (span_next(&text, '.', &id) && map_id_parse(id, 'k', &n))
		k = registry_key(co->reg, n);
	if (!key_ok(k, text, loop_wall(co->loop)))
		refuse(co, r, "a provisioning token that is not known, was revoked, or has expired");
	else
		grant(co, r, map_id_text('k', n, by), PERMIT_SCIM, need, go);
}

/* ---- an issuer's ---- */

struct bearer_wait {
	struct bearer_wait *following, **link;  /* co's list */
	struct coordinator *co;
	uint64_t            request;
	char               *token, *row;
	size_t              next;       /* of the configuration's rows */
	uint32_t            need;
	bearer_go_fn       *go;
	char                why[ERR_MSG_MAX];
};

static void asked_free(struct bearer_wait *q)
{
	*q->link = q->following;
	if (q->following)
		q->following->link = q->link;
	mem_wipe(q->token, strlen(q->token));
	free(q->token);
	free(q->row);
	free(q);
}

static void try_next(struct bearer_wait *q);

static void on_checked(void *arg, const struct bearer_token *t, const struct login_refusal *why)
{
	struct bearer_wait          *q = arg;
	struct coordinator    *co = q->co;
	struct request        *r = http_find(co->http, q->request);
	const struct bearer_row *row = NULL;

	for (size_t i = 0; i < co->conf->bearers.count; i++)
		if (strcmp(co->conf->bearers.names[i], q->row) == 0)
			row = (const struct bearer_row *)co->conf->bearers.items + i;
	if (!t) {
		snprintf(q->why, sizeof(q->why), "%s: %.400s", q->row, why->err.msg);
	} else if (!row || !bearer_has_scope(t, row->scope)) {
		snprintf(q->why, sizeof(q->why), "%s: the token's scope is another", q->row);
	} else if (*row->client && strcmp(row->client, t->client) != 0) {
		snprintf(q->why, sizeof(q->why), "%s: the token is another client's", q->row);
	} else {
		if (r)
			grant(co, r, q->row, row->permits, q->need, q->go);
		asked_free(q);
		return;
	}
	if (r)
		try_next(q);
	else
		asked_free(q);
}

/* Rows in the order of the file: the first that the token meets is what it may. */
static void try_next(struct bearer_wait *q)
{
	struct coordinator    *co = q->co;
	struct request        *r = http_find(co->http, q->request);
	const struct conf_map *rows = &co->conf->bearers;

	if (q->next >= rows->count) {
		refuse(co, r, *q->why ? q->why : "no row of bearers");
		asked_free(q);
		return;
	}
	const struct bearer_row *row = (const struct bearer_row *)rows->items + q->next;
	free(q->row);
	q->row = mem_strdup(rows->names[q->next++]);
	idp_bearer(co->idp, row->issuer, span_str(q->token), row->audience, on_checked, q);
}

void bearer_cancel(struct coordinator *co)
{
	while (co->bearer_waits) {
		struct bearer_wait *q = co->bearer_waits;
		struct request     *r = co->http ? http_find(co->http, q->request) : NULL;

		if (r)
			request_fail(r, ERR_BUSY, "the configuration is read again: try again");
		asked_free(q);
	}
}

void bearer_ask(struct coordinator *co, struct request *r, uint32_t need, bearer_go_fn *go)
{
	struct span header = span_str(request_header(r, "Authorization"));

	if (!header.len) {
		request_unauthorized(r);
		return;
	}
	if (header.len < 8 || !span_ieq(span_head(header, 7), SPAN("Bearer "))) {
		refuse(co, r, "not a bearer token");
		return;
	}
	header = span_trim(span_from(header, 7));
	if (span_starts(header, SPAN(KEY_PREFIX))) {
		ask_key(co, r, span_from(header, sizeof(KEY_PREFIX) - 1), need, go);
		return;
	}
	if (!co->conf->bearers.count || header.len > TOKEN_MAX) {
		refuse(co, r, "a token of nobody that is configured");
		return;
	}
	struct bearer_wait *q = mem_alloc(sizeof(*q));
	q->co = co;
	q->request = r->id;
	q->token = span_dup(header);
	q->need = need;
	q->go = go;
	q->following = co->bearer_waits;
	q->link = &co->bearer_waits;
	if (q->following)
		q->following->link = &q->following;
	co->bearer_waits = q;
	try_next(q);
}
