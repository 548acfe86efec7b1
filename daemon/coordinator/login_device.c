/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A login at the device: the node asks the issuer itself, and brings an ID token whose nonce
 * commits to its device key. This coordinator needs no secret for it, and checks the
 * evidence as any endpoint does. Which kind of login it is, the issuer's row says.
 */
#include "daemon/coordinator/coordinator.h"

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/enrol_idp.h"
#include "daemon/coordinator/lifetime.h"
#include "idp/provider.h"

#include <stdlib.h>
#include <string.h>

enum { LOGIN_AGE_MAX = 30 * 86400 };    /* where nobody says less: a wish makes providers say auth_time */

/* ---- what the node is told ---- */

static void reply(struct request *r, struct enrol_reply *reply)
{
	scoped_buf struct buf out = { 0 };

	buf_init(&out, ENROL_REPLY_MAX);
	enrol_reply_encode(reply, &out);
	request_json(r, 200, &out);
}

static void answer_page(struct coordinator *co, struct request *r, const struct attempt *a)
{
	struct enrol_reply    pending = { .expires = a->expires };
	scoped_buf struct buf url = { 0 };

	buf_init(&url, sizeof(pending.url) - 1);
	buf_addf(&url, "%s/login/%s", co->conf->url, a->id);
	if (url.over) {
		request_fail(r, ERR_LIMIT, "the URL is too long");
		return;
	}
	memcpy(pending.url, url.ptr, url.len + 1);
	memcpy(pending.attempt, a->id, sizeof(pending.attempt));
	memcpy(pending.code, a->code, sizeof(pending.code));
	reply(r, &pending);
}

static void call(struct enrol_choice *c, const char *name, const struct provider *p)
{
	struct span title = provider_title(p);

	span_cstr(span_str(name), c->name, sizeof(c->name));
	span_cstr(span_head(title, ENROL_TITLE_MAX), c->title, sizeof(c->title));
}

static void answer_choice(struct coordinator *co, struct request *r)
{
	const struct conf_map *issuers = &co->conf->issuers;
	struct enrol_choice    list[ENROL_CHOICES_MAX] = { 0 };
	struct enrol_reply     choose = { .choose = list };

	for (size_t i = 0; i < issuers->count && i < ENROL_CHOICES_MAX; i++)
		call(&list[choose.choose_count++], issuers->names[i],
		     (const struct provider *)issuers->items + i);
	reply(r, &choose);
}

static bool words(const struct conf_strs *from, char *out, size_t size)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, size);
	for (size_t i = 0; i < from->count; i++)
		buf_addf(&b, "%s%s", i ? " " : "", from->list[i]);
	return !b.over && span_cstr(buf_span(&b), out, size);
}

static bool tell(const struct attempt *a, const char *name,
		 const struct provider *p, struct enrol_idp *d, struct err *err)
{
	scoped_buf struct buf ca = { 0 };
	bool                  ok;

	call(&d->called, name, p);
	ok = span_cstr(span_str(p->issuer), d->issuer, sizeof(d->issuer)) &&
	     span_cstr(span_str(p->device_client_id), d->client, sizeof(d->client)) &&
	     span_cstr(span_str(a->silent ? "none" : p->prompt), d->prompt, sizeof(d->prompt)) &&
	     span_cstr(span_str(p->login_claim), d->login_claim, sizeof(d->login_claim)) &&
	     words(&p->scopes, d->scopes, sizeof(d->scopes));
	d->need_acr = a->acr[0];
	if (d->need_acr)
		memcpy(d->acr, a->acr, sizeof(d->acr));
	else
		ok = ok && words(&p->acr_values, d->acr, sizeof(d->acr));
	d->max_age = a->max_age;
	if (!ok)
		return err_set(err, ERR_LIMIT, "%s: its rows are too long for a login at the device", name);
	if (!*p->ca)
		return true;
	if (!file_read(p->ca, ENROL_CA_MAX, &ca, err))
		return err_prefix(err, "%s: ca: ", name);
	d->ca = span_dup(buf_span(&ca));
	return true;
}

static void answer_device(struct coordinator *co, struct request *r, struct attempt *a, const char *name,
			  const struct provider *p)
{
	struct enrol_idp   d = { 0 };
	struct enrol_reply pending = { .expires = a->expires, .device = &d };
	struct err         err = { 0 };

	if (!a->can_device || !a->loopback) {
		request_fail(r, ERR_DENIED, "%s", a->can_device
			     ? "people of this issuer log in at the device itself: it needs a browser on it"
			     : "people of this issuer log in at the device itself, which this release of reeve "
			       "cannot");
		attempts_drop(co->attempts, a);
		return;
	}
	a->at_device = true;
	a->started = loop_wall(co->loop);
	span_cstr(span_str(name), a->issuer, sizeof(a->issuer));
	/* Evidence is as old as its auth_time, which providers are free to leave out unless asked. */
	a->max_age = lifetime_max_age(co->conf, a->max_age);
	if (p->max_age > 0 && (a->max_age < 0 || a->max_age > p->max_age))
		a->max_age = p->max_age;
	if (a->max_age < 0)
		a->max_age = LOGIN_AGE_MAX;
	memcpy(pending.attempt, a->id, sizeof(pending.attempt));
	if (tell(a, name, p, &d, &err)) {
		reply(r, &pending);
	} else {
		log_error("login at the device: %s", err.msg);
		request_error(r, &err);
		attempts_drop(co->attempts, a);
	}
	enrol_idp_done(&d);
}

void login_answer(struct coordinator *co, struct request *r, struct attempt *a)
{
	const struct conf_map *issuers = &co->conf->issuers;
	const struct provider *all = issuers->items, *p = NULL;
	const char            *name = NULL;
	bool                   device = false;
	const struct reg_node *n = registry_node(co->reg, a->node);

	/* A renewal is by whom the session is. */
	if (a->silent && !a->issuer[0] && n && n->session)
		span_cstr(span_str(n->session->provider), a->issuer, sizeof(a->issuer));
	for (size_t i = 0; i < issuers->count; i++) {
		device |= all[i].login == PROVIDER_LOGIN_DEVICE;
		if (a->issuer[0] ? strcmp(a->issuer, issuers->names[i]) == 0 : issuers->count == 1) {
			p = &all[i];
			name = issuers->names[i];
		}
	}
	if (a->issuer[0] && !p) {
		request_fail(r, ERR_MISSING, "there is no such issuer here");
		attempts_drop(co->attempts, a);
	} else if (p && p->login == PROVIDER_LOGIN_DEVICE) {
		answer_device(co, r, a, name, p);
	} else if (!p && device && a->can_device) {
		answer_choice(co, r);
		attempts_drop(co->attempts, a);
	} else {
		answer_page(co, r, a);
	}
}

/* ---- the evidence ---- */

struct asked {
	struct coordinator *co;
	char                attempt[ENROL_ATTEMPT_LEN + 1];
	uint64_t            request;
};

static void refuse(struct coordinator *co, struct request *r, struct attempt *a, enum token_reason token,
		   const char *detail, const char *words)
{
	struct buf *b = audit_begin(co->audit, loop_wall(co->loop), "login-refused");
	char        from[IP_TEXT_MAX] = "";

	audit_id(b, "node", 'n', a->node);
	audit_str(b, "name", a->name);
	audit_str(b, "from", a->from.family ? ip_text(&a->from, from) : "");
	audit_str(b, "issuer", a->issuer);
	audit_str(b, "token", token_reason_name(token));
	audit_str(b, "reason", detail);
	audit_end(co->audit);
	if (r)
		request_fail(r, ERR_DENIED, "the evidence is refused (%s): %s", token_reason_name(token), words);
	attempts_drop(co->attempts, a);
}

/* What idp/evidence.h leaves to the caller: that it was made for this attempt. */
static enum token_reason is_for(const struct coordinator *co, const struct attempt *a,
				const struct identity *who, const char **ret_words)
{
	const struct provider *p = idp_provider(co->idp, a->issuer);

	*ret_words = "the token is older than this login: it was used before";
	if (!p || who->issued.sec + p->leeway < a->started.sec)
		return TOKEN_IAT;
	*ret_words = "the provider did not do what was asked of it for this login (acr)";
	if (a->acr[0] && !acr_among(who->acr, a->acr))
		return TOKEN_ACR;
	return TOKEN_OK;
}

static void on_checked(void *arg, const struct identity *who, const struct login_refusal *why)
{
	struct asked       *q = arg;
	struct coordinator *co = q->co;
	struct attempt     *a = attempts_find(co->attempts, span_str(q->attempt));
	struct request     *r = http_find(co->http, q->request);
	enum token_reason   token = who ? TOKEN_OK : why->token;
	const char         *words = who ? NULL : why->words;

	free(q);
	if (!a) {
		if (r)
			request_fail(r, ERR_MISSING, "there is no such attempt, or it is over");
		return;
	}
	a->op = NULL;
	a->op_arg = NULL;
	if (who)
		token = is_for(co, a, who, &words);
	if (token != TOKEN_OK || !who) {
		refuse(co, r, a, token, who ? words : why->err.msg, words);
		return;
	}
	if (!r || !attempt_move(a, ATTEMPT_APPROVING) || !attempt_move(a, ATTEMPT_APPROVED) ||
	    !attempt_move(a, ATTEMPT_FINISHING)) {
		if (r)
			request_fail(r, ERR_MISSING, "there is no such attempt, or it is over");
		attempts_drop(co->attempts, a);
		return;
	}
	identity_done(&a->who);
	identity_copy(&a->who, who);
	free(a->provider);
	a->provider = mem_strdup(a->issuer);
	if (a->node)
		session_complete(co, r, a);
	else
		enrol_complete(co, r, a);
}

void login_evidence(struct coordinator *co, struct request *r, struct attempt *a, struct enrol_finish *f)
{
	const struct reg_node *n = a->node ? registry_node(co->reg, a->node) : NULL;
	scoped_buf struct buf  opening = { 0 };
	int64_t                since = loop_wall(co->loop).sec - a->started.sec;

	if (!a->at_device || !f->id_token) {
		request_fail(r, ERR_DENIED, a->at_device ? "this login wants evidence"
							 : "this login is the portal's: its ticket is wanted");
		return;
	}
	if (a->op || (a->node && !n) || !attempt_move(a, ATTEMPT_PROVIDER)) {
		request_fail(r, ERR_MISSING, "there is no such attempt, or it is over");
		return;
	}
	struct asked *q = mem_alloc(sizeof(*q));
	q->co = co;
	memcpy(q->attempt, a->id, sizeof(q->attempt));
	q->request = r->id;
	a->op_arg = q;
	a->id_token = take(f->id_token);
	secret_done(&a->refresh);
	if (f->refresh_token)
		secret_init(&a->refresh, f->refresh_token, strlen(f->refresh_token));
	memcpy(a->opening, f->opening, sizeof(a->opening));
	buf_init(&opening, 64);
	base64url_add(&opening, span_of(f->opening, sizeof(f->opening)));
	a->op = idp_evidence(co->idp, a->issuer, span_str(a->id_token), buf_span(&opening),
			     n ? n->row->key : a->device, a->max_age + (since > 0 ? since : 0), false,
			     on_checked, q);
}
