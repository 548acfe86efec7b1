/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/idp.h"

#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "idp/client.h"
#include "idp/fetch.h"
#include "idp/issuer.h"
#include "idp/jws.h"
#include "idp/login.h"
#include "idp/refusal.h"

#include <stdlib.h>
#include <string.h>

/*
 * An operation goes through these in order, each one waiting for at most one thing:
 *
 *   start     description -> (pushed request) -> URL
 *   finish    description -> token endpoint -> keys -> check -> (keys again) -> (userinfo) -> identity
 *   refresh   likewise, with a refresh token in place of the code
 *   evidence  keys -> check -> (keys again)
 *   logout, bearer    keys -> check -> (keys again)
 */
enum op_kind { OP_START, OP_FINISH, OP_REFRESH, OP_EVIDENCE, OP_LOGOUT, OP_BEARER };

struct idp_op {
	struct idp         *idp;
	struct idp_op      *next, **prev;
	enum op_kind        kind;
	struct issuer      *is;         /* NULL: there is none of that name */
	const struct idp_client *client;
	struct loop_timer  *soon;       /* tells what was known at once */
	struct issuer_wait *wait;
	struct fetch       *fetch;
	struct login_refusal refusal;

	struct login       *login;      /* start, finish */
	struct buf          params;     /* start */
	char               *code;       /* finish: the code; refresh: the refresh token */
	char               *sub;        /* refresh: whose it must be */
	bool                device, has_iss;

	struct token_answer tokens;     /* evidence, logout: id_token alone */
	json_t             *claims;
	bool                keys_twice; /* an unknown kid was met, and keys were fetched for it */

	char               *opening;    /* evidence */
	unsigned char       key[DEVICE_KEY_SIZE];
	int64_t             max_age;
	bool                old_exp_ok;

	login_start_fn     *on_start;
	login_done_fn      *on_done;
	identity_fn        *on_identity;
	logout_fn          *on_logout;
	bearer_fn          *on_bearer;
	char               *audience;   /* bearer */
	void               *arg;
};

struct entry {
	struct issuer *is;
	struct idp_client *client;
};

struct idp {
	struct loop    *loop;
	struct fetcher *fetcher;
	struct entry   *list;
	size_t          count;
	struct idp_op  *ops;
	size_t          n_ops;
};

struct idp *idp_new(struct loop *l, const struct conf_map *providers, struct err *err)
{
	const struct provider *p = providers->items;
	struct idp *idp = mem_alloc(sizeof(*idp));

	idp->loop = l;
	idp->fetcher = fetcher_new(l, err);
	idp->list = mem_calloc(providers->count ? providers->count : 1, sizeof(*idp->list));
	if (!idp->fetcher) {
		idp_free(idp);
		return NULL;
	}
	for (size_t i = 0; i < providers->count; i++) {
		const char *name = providers->names[i];
		struct entry *e = &idp->list[idp->count];

		if (!provider_check(&p[i], name, err) ||
		    !(e->client = idp_client_new(&p[i], name, err))) {
			idp_free(idp);
			return NULL;
		}
		idp->count++;
		if (!(e->is = issuer_new(l, idp->fetcher, &p[i], name, err))) {
			idp_free(idp);
			return NULL;
		}
	}
	return idp;
}

static void op_free(struct idp_op *op)
{
	if (op->next)
		op->next->prev = op->prev;
	*op->prev = op->next;
	op->idp->n_ops--;
	loop_timer_free(op->soon);
	issuer_cancel(op->wait);
	fetch_cancel(op->fetch);
	login_free(op->login);
	buf_wipe_done(&op->params);
	if (op->code)
		mem_wipe(op->code, strlen(op->code));
	free(op->code);
	free(op->sub);
	token_answer_done(&op->tokens);
	json_decref(op->claims);
	free(op->opening);
	free(op->audience);
	free(op);
}

void idp_cancel(struct idp_op *op)
{
	if (op)
		op_free(op);
}

void idp_free(struct idp *idp)
{
	if (!idp)
		return;
	while (idp->ops)
		op_free(idp->ops);
	for (size_t i = 0; i < idp->count; i++) {
		issuer_free(idp->list[i].is);
		idp_client_free(idp->list[i].client);
	}
	fetcher_free(idp->fetcher);
	free(idp->list);
	free(idp);
}

static struct entry *entry_find(const struct idp *idp, const char *name)
{
	for (size_t i = 0; i < idp->count; i++)
		if (strcmp(issuer_name(idp->list[i].is), name) == 0)
			return &idp->list[i];
	return NULL;
}

const struct provider *idp_provider(const struct idp *idp, const char *name)
{
	const struct entry *e = entry_find(idp, name);

	return e ? issuer_provider(e->is) : NULL;
}

bool idp_status(const struct idp *idp, const char *provider, struct idp_status *ret_s)
{
	const struct entry *e = entry_find(idp, provider);

	if (e)
		issuer_status(e->is, ret_s);
	return e;
}

/* ---- endings: each calls back once, with the operation gone already ---- */

static void refuse(struct idp_op *op)
{
	struct login_refusal why = op->refusal;
	struct login_result rest = { 0 };
	struct idp_op o = *op;

	refusal_words(&why);
	if (o.kind == OP_REFRESH && op->tokens.refresh_token)
		secret_init(&rest.refresh_token, op->tokens.refresh_token,
			    strlen(op->tokens.refresh_token));
	op_free(op);
	switch (o.kind) {
	case OP_START:
		o.on_start(o.arg, NULL, &why);
		break;
	case OP_FINISH:
		o.on_done(o.arg, NULL, &why);
		break;
	case OP_REFRESH:
		o.on_done(o.arg, rest.refresh_token.len ? &rest : NULL, &why);
		login_result_done(&rest);
		break;
	case OP_EVIDENCE:
		o.on_identity(o.arg, NULL, &why);
		break;
	case OP_LOGOUT:
		o.on_logout(o.arg, NULL, &why);
		break;
	case OP_BEARER:
		o.on_bearer(o.arg, NULL, &why);
		break;
	}
}

static void refuse_err(struct idp_op *op, const struct err *err, const char *what)
{
	op->refusal.err = *err;
	if (what)
		err_prefix(&op->refusal.err, "%s: ", what);
	refuse(op);
}

static void refuse_token(struct idp_op *op, enum token_reason why, const struct err *err)
{
	op->refusal.token = why;
	refuse_err(op, err, NULL);
}

static void on_soon(void *arg)
{
	refuse(arg);
}

/* The operation is refused, but not from inside the function that starts it. */
static struct idp_op *refuse_soon(struct idp_op *op, enum err_code code, const char *words)
{
	err_set(&op->refusal.err, code, "%s", words);
	op->soon = loop_timer_new(op->idp->loop, on_soon, op);
	loop_timer_after(op->soon, 0);
	return op;
}

/* NULL callbacks' arguments are set by the caller; op->is stays NULL, with a refusal on
 * its way, if the operation cannot begin. */
static struct idp_op *op_new(struct idp *idp, enum op_kind kind, const char *provider, void *arg)
{
	struct idp_op *op = mem_alloc(sizeof(*op));
	struct entry *e = entry_find(idp, provider);

	op->idp = idp;
	op->kind = kind;
	op->arg = arg;
	op->next = idp->ops;
	op->prev = &idp->ops;
	if (op->next)
		op->next->prev = &op->next;
	idp->ops = op;
	if (++idp->n_ops > IDP_OPS_MAX)
		return refuse_soon(op, ERR_BUSY, "too many logins at once");
	if (!e)
		return refuse_soon(op, ERR_MISSING, "no such identity provider");
	op->is = e->is;
	op->client = e->client;
	return op;
}

static const struct provider *conf(const struct idp_op *op)
{
	return issuer_provider(op->is);
}

/* POST of a form to an endpoint where the client proves itself. */
static bool post(struct idp_op *op, const char *url, struct buf *form, size_t max, fetch_fn *fn,
                 struct err *err)
{
	struct buf authorization;
	bool ok;

	buf_init(&authorization, 16 << 10);
	ok = idp_client_prove(op->client, op->device, url, loop_wall(op->idp->loop), form,
			  &authorization, err);
	if (ok && (form->over || authorization.over))
		ok = err_set(err, ERR_LIMIT, "the request to %s is too long", url);
	if (ok) {
		const struct fetch_request req = {
			.url = url,
			.body = buf_span(form),
			.ca = conf(op)->ca,
			.socket = conf(op)->socket,
			.max = max,
			.authorization =
				authorization.len ? buf_span(&authorization) : span_str(NULL),
			.timeout = conf(op)->timeout,
		};

		op->fetch = fetch_start(op->idp->fetcher, &req, fn, op);
	}
	buf_wipe_done(&authorization);
	return ok;
}

/* ---- start ---- */

static void started(struct idp_op *op, struct span params)
{
	struct login *login = take(op->login);
	login_start_fn *fn = op->on_start;
	void *arg = op->arg;

	login_set_url(login, issuer_discovery(op->is)->authorization, params);
	op_free(op);
	fn(arg, login, NULL);
}

/* RFC 9126 2.2, 2.3 */
static void on_pushed(void *arg, int status, struct span body, const struct err *why)
{
	struct idp_op *op = arg;
	struct err err = { 0 };
	const json_t *uri;
	char shown[LOG_TEXT_MAX];

	op->fetch = NULL;
	if (!status) {
		refuse_err(op, why, "pushed authorization request");
		return;
	}

	scoped_json json_t *o = json_read(body, IDP_ANSWER_MAX, &err);

	if (!o) {
		refuse_err(op, &err, "pushed authorization request");
		return;
	}
	uri = json_object_get(o, "request_uri");
	if ((status != 201 && status != 200) || !json_is_string(uri) ||
	    json_string_length(uri) > 1024) {
		struct span code = span_str(json_string_value(json_object_get(o, "error")));

		span_cstr(code, op->refusal.error, sizeof(op->refusal.error));
		err_set(&err, ERR_PEER, "pushed authorization request: HTTP %d %s", status,
		        log_text(code, shown));
		refuse_err(op, &err, NULL);
		return;
	}

	struct buf params;

	buf_init(&params, 8 << 10);
	form_add(&params, "client_id", span_str(op->login->client_id));
	form_add(&params, "request_uri", span_str(json_string_value(uri)));
	started(op, buf_span(&params));
	buf_done(&params);
}

static void start_described(void *arg, const struct err *why)
{
	struct idp_op *op = arg;
	const struct discovery *d = issuer_discovery(op->is);
	struct err err = { 0 };

	op->wait = NULL;
	if (why) {
		refuse_err(op, why, NULL);
		return;
	}
	/* with a pushed request, every proof but Basic puts client_id into the form itself */
	if (!d->pushed || (!op->device && conf(op)->auth == PROVIDER_AUTH_BASIC))
		form_add(&op->params, "client_id", span_str(op->login->client_id));
	if (!d->pushed)
		started(op, buf_span(&op->params));
	else if (!post(op, d->pushed, &op->params, IDP_ANSWER_MAX, on_pushed, &err))
		refuse_err(op, &err, NULL);
}

static void on_probed(void *arg, int status, struct span body, const struct err *why)
{
	struct idp_op *op = arg;
	struct err err = { 0 };

	(void)body;
	op->fetch = NULL;
	if (status == 200) {
		op->wait = issuer_want(op->is, false, span_str(NULL), start_described, op);
		return;
	}
	if (status)
		err_set(&err, ERR_PEER, "HTTP %d", status);
	refuse_err(op, status ? &err : why, "discovery");
}

/* What is known of it may be a day old: its description is asked for, for the answer's sake. */
static void probe(struct idp_op *op)
{
	const struct provider *p = conf(op);
	scoped_free char *url = discovery_url(p->issuer);
	const struct fetch_request req = {
		.url = url, .ca = p->ca, .socket = p->socket, .max = IDP_DISCOVERY_MAX,
		.timeout = p->timeout < IDP_PROBE_SECONDS ? p->timeout : IDP_PROBE_SECONDS,
	};

	op->fetch = fetch_start(op->idp->fetcher, &req, on_probed, op);
}

struct idp_op *idp_login_start(struct idp *idp, const char *provider, const struct login_options *o,
                               login_start_fn *fn, void *arg)
{
	struct idp_op *op = op_new(idp, OP_START, provider, arg);

	op->on_start = fn;
	if (!op->is)
		return op;
	if (o->device && !*conf(op)->device_client_id)
		return refuse_soon(op, ERR_CONFIG, "this provider has no device client");
	/* a nonce that does not fit must not become another one: it is what ties to a device */
	if (o->nonce && strlen(o->nonce) != BINDING_NONCE_SIZE - 1)
		return refuse_soon(op, ERR_CONFIG, "a device's nonce has 43 characters");
	op->device = o->device;
	op->login = login_new(conf(op), provider, o, loop_wall(idp->loop), loop_now(idp->loop),
			      &op->params);
	if (op->params.over)
		return refuse_soon(op, ERR_LIMIT, "the login's parameters are too long");
	if (o->probe)
		probe(op);
	else
		op->wait = issuer_want(op->is, false, span_str(NULL), start_described, op);
	return op;
}

/* ---- finish and refresh ---- */

static void done_with(struct idp_op *op, struct identity *who)
{
	struct login_result r = { .identity = *who, .id_token = take(op->tokens.id_token) };
	login_done_fn *fn = op->on_done;
	void *arg = op->arg;

	if (op->tokens.refresh_token)
		secret_init(&r.refresh_token, op->tokens.refresh_token,
			    strlen(op->tokens.refresh_token));
	op_free(op);
	fn(arg, &r, NULL);
	login_result_done(&r);
}

void login_result_done(struct login_result *r)
{
	identity_done(&r->identity);
	if (r->id_token)
		mem_wipe(r->id_token, strlen(r->id_token));
	free(r->id_token);
	secret_done(&r->refresh_token);
	memset(r, 0, sizeof(*r));
}

static void identify(struct idp_op *op, const json_t *userinfo)
{
	struct identity who = { 0 };
	struct err err = { 0 };
	struct provider rows = *conf(op);
	enum token_reason why;

	/* how strong the login was has been judged at the login; a refreshed token
	 * need not repeat it (Core 1.0 12.2) */
	if (op->kind == OP_REFRESH)
		rows.require_mfa = false;
	why = identity_from_claims(&rows, op->claims, userinfo, &who, &err);
	if (why != TOKEN_OK)
		refuse_token(op, why, &err);
	else
		done_with(op, &who);
}

static void on_userinfo(void *arg, int status, struct span body, const struct err *why)
{
	struct idp_op *op = arg;
	struct err err = { 0 };

	op->fetch = NULL;
	if (status != 200) {
		if (status)
			err_set(&err, ERR_PEER, "HTTP %d", status);
		refuse_err(op, status ? &err : why, "userinfo");
		return;
	}

	scoped_json json_t *info = json_read(body, IDP_ANSWER_MAX, &err);

	if (!json_is_object(info)) {
		if (info)
			err_set(&err, ERR_PEER, "no JSON object");
		refuse_err(op, &err, "userinfo");
		return;
	}
	identify(op, info);
}

static void claims_known(struct idp_op *op)
{
	const struct discovery *d = issuer_discovery(op->is);
	const struct provider *p = conf(op);
	struct buf bearer;

	if (!p->userinfo || !d || !d->userinfo || !op->tokens.access_token ||
	    !claims_lack(p, op->claims)) {
		identify(op, NULL);
		return;
	}
	buf_init(&bearer, TOKEN_MAX + 16);
	buf_add_str(&bearer, "Bearer ");
	buf_add_str(&bearer, op->tokens.access_token);

	const struct fetch_request req = {
		.url = d->userinfo, .ca = p->ca, .socket = p->socket, .authorization = buf_span(&bearer),
		.max = IDP_ANSWER_MAX, .timeout = p->timeout,
	};

	op->fetch = fetch_start(op->idp->fetcher, &req, on_userinfo, op);
	buf_wipe_done(&bearer);
}

/* What this login asked for, counted from now: max_age speaks of the moment of asking. */
static enum token_reason check_login(struct idp_op *op, struct wall now, struct err *err)
{
	const struct provider *p = conf(op);
	const struct login *l = op->login;
	const struct token_want want = {
		.issuer = p->issuer, .client_id = op->device ? p->device_client_id : p->client_id,
		.algs = provider_algs(p), .leeway = p->leeway,
		.access_token = span_str(op->tokens.access_token),
		.nonce = span_str(l ? l->nonce : NULL), .nonce_any = !l,
		.max_age = l && l->max_age >= 0 ? l->max_age + (now.sec - l->started.sec) : -1,
		.max_issued = IDP_LOGIN_SECONDS, .acr = l ? l->acr : NULL,
	};
	struct span sub;
	enum token_reason why;

	json_decref(take(op->claims));
	why = token_check(span_str(op->tokens.id_token), issuer_keys(op->is), &want, now,
			  &op->claims, err);
	if (why != TOKEN_OK || !op->sub)
		return why;
	sub = span_str(json_string_value(json_object_get(op->claims, "sub")));
	if (span_eq(sub, span_str(op->sub)))
		return TOKEN_OK;
	err_set(err, ERR_DENIED, "the refreshed token speaks of another \"sub\"");
	return TOKEN_SUB;
}

static void check(struct idp_op *op);

static void on_keys(void *arg, const struct err *why)
{
	struct idp_op *op = arg;

	op->wait = NULL;
	if (why && op->keys_twice)
		refuse_token(op, TOKEN_KID, why);
	else if (why)
		refuse_err(op, why, NULL);
	else
		check(op);
}

static void want_keys(struct idp_op *op, struct span kid)
{
	op->wait = issuer_want(op->is, true, kid, on_keys, op);
}

/* The key's name in a token whose header has been found sound. */
static void want_kid(struct idp_op *op)
{
	struct span rest = span_str(op->tokens.id_token), head;
	json_t *h = NULL;

	op->keys_twice = true;
	if (span_next(&rest, '.', &head) && jws_part(head, TOKEN_HEADER_MAX, &h, NULL) == TOKEN_OK)
		want_keys(op, span_str(json_string_value(json_object_get(h, "kid"))));
	else
		want_keys(op, span_str(NULL));
	json_decref(h);
}

static void check(struct idp_op *op)
{
	struct wall now = loop_wall(op->idp->loop);
	struct err err = { 0 };
	struct identity who = { 0 };
	struct logout out = { 0 };
	struct bearer_token bearer = { 0 };
	enum token_reason why = TOKEN_UNCHECKED;
	const struct provider *p = conf(op);

	switch (op->kind) {
	case OP_START:
		break;
	case OP_FINISH:
	case OP_REFRESH:
		why = check_login(op, now, &err);
		break;
	case OP_EVIDENCE:
		why = evidence_check(span_str(op->tokens.id_token), span_str(op->opening), op->key,
				     issuer_keys(op->is), p, op->max_age, op->old_exp_ok, now, &who,
				     &err);
		break;
	case OP_LOGOUT: {
		const struct token_want want = {
			.issuer = p->issuer,
			.client_id = op->device ? p->device_client_id : p->client_id,
			.algs = provider_algs(p),
			.leeway = p->leeway,
			.max_age = -1,
			.max_issued = IDP_LOGIN_SECONDS,
			.nonce_any = true,
		};

		why = logout_check(span_str(op->tokens.id_token), issuer_keys(op->is), &want, now,
				   &out, &err);
		break;
	}
	case OP_BEARER: {
		const struct bearer_want want = { .issuer = p->issuer,
						  .audience = op->audience,
						  .algs = provider_algs(p),
						  .leeway = p->leeway };

		why = bearer_check(span_str(op->tokens.id_token), issuer_keys(op->is), &want, now,
				   &bearer, &err);
		break;
	}
	}
	if (why == TOKEN_KID && !op->keys_twice) {
		want_kid(op);
		return;
	}
	if (why != TOKEN_OK) {
		refuse_token(op, why, &err);
		return;
	}
	if (op->kind == OP_EVIDENCE) {
		identity_fn *fn = op->on_identity;
		void *arg = op->arg;

		op_free(op);
		fn(arg, &who, NULL);
		identity_done(&who);
	} else if (op->kind == OP_LOGOUT) {
		logout_fn *fn = op->on_logout;
		void *arg = op->arg;

		op_free(op);
		fn(arg, &out, NULL);
		logout_done(&out);
	} else if (op->kind == OP_BEARER) {
		bearer_fn *fn = op->on_bearer;
		void *arg = op->arg;

		op_free(op);
		fn(arg, &bearer, NULL);
		bearer_token_done(&bearer);
	} else {
		claims_known(op);
	}
}

static void on_tokens(void *arg, int status, struct span body, const struct err *why)
{
	struct idp_op *op = arg;
	struct err err = { 0 };
	char shown[LOG_TEXT_MAX], code[LOG_TEXT_MAX];

	op->fetch = NULL;
	if (!status) {
		refuse_err(op, why, "token endpoint");
		return;
	}
	/* RFC 6749 5.2 has a body for each refusal; who sends none means this one, if the owner says so. */
	if (status == 400 && !body.len && op->kind == OP_REFRESH && conf(op)->bare_refusal) {
		span_cstr(SPAN("invalid_grant"), op->refusal.error, sizeof(op->refusal.error));
		err_set(&err, ERR_PEER, "token endpoint: HTTP 400 without a body, which counts as invalid_grant");
		refuse_err(op, &err, NULL);
		return;
	}
	if (!token_answer_parse(body, &op->tokens, &err)) {
		if (status != 200)
			err_prefix(&err, "HTTP %d: ", status);
		refuse_err(op, &err, NULL);
		return;
	}
	if (status != 200 || op->tokens.error) {
		span_cstr(span_str(op->tokens.error), op->refusal.error, sizeof(op->refusal.error));
		err_set(&err, ERR_PEER, "token endpoint: HTTP %d %s: %s", status,
		        log_text(span_str(op->tokens.error), code),
		        log_text(span_str(op->tokens.description), shown));
		refuse_err(op, &err, NULL);
		return;
	}
	if (!op->tokens.id_token && op->kind == OP_REFRESH) {
		/* Core 1.0 12.2: none need come; that a new access token came is the answer */
		struct identity nobody = { 0 };

		done_with(op, &nobody);
		return;
	}
	if (!op->tokens.id_token) {
		err_set(&err, ERR_PEER, "token endpoint: no id_token");
		refuse_err(op, &err, NULL);
		return;
	}
	want_keys(op, span_str(NULL));
}

static void ask_tokens(void *arg, const struct err *why)
{
	struct idp_op *op = arg;
	struct err err = { 0 };
	struct buf form;
	bool ok;

	op->wait = NULL;
	if (why) {
		refuse_err(op, why, NULL);
		return;
	}
	if (op->kind == OP_FINISH && !op->has_iss && issuer_discovery(op->is)->iss_parameter) {
		err_set(&err, ERR_DENIED,
			"callback: the provider promises \"iss\", and it is missing");
		refuse_err(op, &err, NULL);
		return;
	}
	buf_init(&form, 64 << 10);
	if (op->kind == OP_FINISH) {
		form_add(&form, "grant_type", SPAN("authorization_code"));
		form_add(&form, "code", span_str(op->code));
		form_add(&form, "redirect_uri", span_str(op->login->redirect_uri));
		form_add(&form, "code_verifier", span_str(op->login->verifier));
	} else {
		form_add(&form, "grant_type", SPAN("refresh_token"));
		form_add(&form, "refresh_token", span_str(op->code));
	}
	ok = post(op, issuer_discovery(op->is)->token, &form, IDP_ANSWER_MAX, on_tokens, &err);
	buf_wipe_done(&form);
	if (!ok)
		refuse_err(op, &err, NULL);
}

/* RFC 9207 2.4: who answered must be who was asked. (Whether iss must be there
 * is known with the provider's description: ask_tokens().) */
static bool callback_is_ours(const struct idp_op *op, const struct callback *c, struct err *err)
{
	const struct login *l = op->login;
	char shown[LOG_TEXT_MAX];

	if (!c->state || strlen(c->state) != LOGIN_STATE_SIZE - 1 ||
	    !mem_equal_ct(c->state, l->state, LOGIN_STATE_SIZE - 1))
		return err_set(err, ERR_DENIED, "callback: \"state\" is not this attempt's");
	if (c->iss && strcmp(c->iss, l->issuer) != 0)
		return err_set(err, ERR_DENIED,
			       "callback: issuer \"%s\" answered, asked was \"%s\"",
			       log_text(span_str(c->iss), shown), l->issuer);
	return true;
}

static bool finish_check(struct idp_op *op, struct span query, struct err *err)
{
	const struct login *l = op->login;
	const struct provider *p = conf(op);
	struct callback c;
	bool ok;

	if (boot_passed(l->deadline, loop_now(op->idp->loop)))
		return err_set(err, ERR_EXPIRED, "the attempt is older than %d s",
			       IDP_LOGIN_SECONDS);
	/* a reload may have put another issuer or client under the name */
	if (strcmp(l->issuer, p->issuer) != 0 ||
	    strcmp(l->client_id, l->device ? p->device_client_id : p->client_id) != 0)
		return err_set(err, ERR_NOTNOW,
			       "the provider's configuration has changed meanwhile");
	if (!callback_parse(query, &c, err))
		return false;
	ok = callback_is_ours(op, &c, err);
	if (ok && c.error) {
		char code[LOG_TEXT_MAX], shown[LOG_TEXT_MAX];

		/* a code of another form than RFC 6749's is kept from pages and logs' fields */
		if (span_is_print(span_str(c.error)))
			span_cstr(span_str(c.error), op->refusal.error, sizeof(op->refusal.error));
		ok = err_set(err, ERR_DENIED, "the provider says %s: %s",
			     log_text(span_str(c.error), code),
			     log_text(span_str(c.description), shown));
	}
	if (ok && (!c.code || !*c.code))
		ok = err_set(err, ERR_PEER, "callback: no \"code\"");
	op->has_iss = c.iss;
	if (ok)
		op->code = take(c.code);
	callback_done(&c);
	return ok;
}

struct idp_op *idp_login_finish(struct idp *idp, struct login *login, struct span query,
                                login_done_fn *fn, void *arg)
{
	struct idp_op *op = op_new(idp, OP_FINISH, login->provider, arg);
	struct err err = { 0 };

	op->on_done = fn;
	op->login = login;
	op->device = login->device;
	if (!op->is)
		return op;
	if (!finish_check(op, query, &err))
		return refuse_soon(op, err.code, err.msg);
	op->wait = issuer_want(op->is, false, span_str(NULL), ask_tokens, op);
	return op;
}

struct idp_op *idp_refresh(struct idp *idp, const char *provider, const char *sub, bool device,
                           struct span refresh_token, login_done_fn *fn, void *arg)
{
	struct idp_op *op = op_new(idp, OP_REFRESH, provider, arg);

	op->on_done = fn;
	if (!op->is)
		return op;
	if (refresh_token.len == 0 || refresh_token.len > TOKEN_MAX)
		return refuse_soon(op, ERR_LIMIT, "no refresh token");
	op->device = device;
	op->sub = mem_strdup(sub);
	op->code = span_dup(refresh_token);
	op->wait = issuer_want(op->is, false, span_str(NULL), ask_tokens, op);
	return op;
}

/* ---- evidence and logout ---- */

struct idp_op *idp_evidence(struct idp *idp, const char *provider, struct span id_token,
                            struct span opening, const unsigned char key[DEVICE_KEY_SIZE],
                            int64_t max_age, bool old_exp_ok, identity_fn *fn, void *arg)
{
	struct idp_op *op = op_new(idp, OP_EVIDENCE, provider, arg);

	op->on_identity = fn;
	if (!op->is)
		return op;
	if (id_token.len == 0 || id_token.len > TOKEN_MAX || opening.len > 2 * OPENING_SIZE) {
		op->refusal.token = TOKEN_SIZE;
		return refuse_soon(op, ERR_LIMIT, "evidence: empty or too long");
	}
	op->tokens.id_token = span_dup(id_token);
	op->opening = span_dup(opening);
	memcpy(op->key, key, sizeof(op->key));
	op->max_age = max_age;
	op->old_exp_ok = old_exp_ok;
	want_keys(op, span_str(NULL));
	return op;
}

struct idp_op *idp_bearer(struct idp *idp, const char *provider, struct span token,
			  const char *audience, bearer_fn *fn, void *arg)
{
	struct idp_op *op = op_new(idp, OP_BEARER, provider, arg);

	op->on_bearer = fn;
	if (!op->is)
		return op;
	if (token.len == 0 || token.len > TOKEN_MAX) {
		op->refusal.token = TOKEN_SIZE;
		return refuse_soon(op, ERR_LIMIT, "access token: empty or too long");
	}
	op->audience = mem_strdup(audience);
	op->tokens.id_token = span_dup(token);
	want_keys(op, span_str(NULL));
	return op;
}

struct idp_op *idp_logout_token(struct idp *idp, const char *provider, struct span token,
				bool device, logout_fn *fn, void *arg)
{
	struct idp_op *op = op_new(idp, OP_LOGOUT, provider, arg);

	op->on_logout = fn;
	if (!op->is)
		return op;
	if (token.len == 0 || token.len > TOKEN_MAX) {
		op->refusal.token = TOKEN_SIZE;
		return refuse_soon(op, ERR_LIMIT, "logout token: empty or too long");
	}
	op->device = device;
	op->tokens.id_token = span_dup(token);
	want_keys(op, span_str(NULL));
	return op;
}

bool idp_logout_url(const struct idp *idp, const char *provider, const char *id_token_hint,
                    const char *back_to, const char *state, struct buf *ret_url)
{
	const struct entry *e = entry_find(idp, provider);
	const struct discovery *d = e ? issuer_discovery(e->is) : NULL;
	struct buf params;

	if (!d || !d->end_session)
		return false;
	buf_init(&params, 3 * TOKEN_MAX);
	form_add(&params, "client_id", span_str(issuer_provider(e->is)->client_id));
	if (id_token_hint)
		form_add(&params, "id_token_hint", span_str(id_token_hint));
	if (back_to)
		form_add(&params, "post_logout_redirect_uri", span_str(back_to));
	if (state)
		form_add(&params, "state", span_str(state));
	buf_add_str(ret_url, d->end_session);
	buf_add_char(ret_url, strchr(d->end_session, '?') ? '&' : '?');
	buf_add_span(ret_url, buf_span(&params));

	bool ok = !params.over && !ret_url->over;

	buf_wipe_done(&params);
	return ok;
}
