/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/device_login.h"

#include "base/file.h"
#include "base/mem.h"
#include "daemon/endpoint/core_inside.h"
#include "idp/idp.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 64 };        /* scopes, acr values */

struct device_login {
	struct loop        *loop;
	struct provider     row;
	char               *name, *names[1];
	struct conf_map     map;
	char               *scopes[WORDS_MAX], *acrs[WORDS_MAX];
	struct idp         *idp;
	struct idp_op      *op;
	struct login       *login;
	char               *url, *state;
	uint8_t             opening[OPENING_SIZE];
	bool                wants_person;
	device_started_fn  *on_started;
	device_finished_fn *on_finished;
	void               *arg;
};

static void list_free(struct conf_strs *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->list[i]);
	*l = (struct conf_strs){ 0 };
}

void device_login_free(struct device_login *d)
{
	if (!d)
		return;

	char *const texts[] = { d->row.issuer, d->row.device_client_id, d->row.prompt,
		                d->row.login_claim, d->row.ca, d->name, d->url, d->state };

	idp_cancel(d->op);
	login_free(d->login);
	idp_free(d->idp);
	if (d->url)
		mem_wipe(d->url, strlen(d->url));
	for (size_t i = 0; i < array_size(texts); i++)
		free(texts[i]);
	list_free(&d->row.scopes);
	list_free(&d->row.acr_values);
	mem_wipe(d->opening, sizeof(d->opening));
	free(d);
}

static void words(const char *text, char **to, struct conf_strs *ret)
{
	struct span rest = span_str(text), word;

	*ret = (struct conf_strs){ .list = to };
	while (ret->count < WORDS_MAX && span_next(&rest, ' ', &word))
		if (word.len)
			to[ret->count++] = span_dup(word);
}

static const struct provider *owners(const struct core *c, const char *issuer)
{
	const struct conf_map *m = &c->files->conf->issuers;

	for (size_t i = 0; i < m->count; i++)
		if (strcmp(((const struct provider *)m->items + i)->issuer, issuer) == 0)
			return (const struct provider *)m->items + i;
	return NULL;
}

/* The certificates that the coordinator names are a file: curl wants one. */
static bool put_ca(struct core *c, const char *pem, char **ret_path, struct err *err)
{
	scoped_free char *path = core_state_path(c, "login-ca.pem");

	if (!file_replace(path, span_str(pem), 0600, err))
		return false;
	*ret_path = take(path);
	return true;
}

static bool set_row(struct device_login *d, struct core *c, const struct enrol_idp *e, struct err *err)
{
	static char any[] = "*", none[] = "", portal[] = "-";
	static char *every[] = { any };
	const struct provider *own = owners(c, e->issuer);
	struct provider *p = &d->row;

	*p = (struct provider){
		.issuer = mem_strdup(e->issuer), .title = none, .client_id = portal, .client_secret_file = none,
		.client_key_file = none, .client_key_id = none, .auth = PROVIDER_AUTH_NONE,
		.device_client_id = mem_strdup(own ? own->device_client_id : e->client),
		/* Who may be whom here, coordinator and endpoints judge. */
		.domains = { .list = every, .count = 1 }, .groups_claim = none,
		.login_claim = mem_strdup(*e->login_claim ? e->login_claim : "email"),
		.prompt = mem_strdup(e->prompt), .jwks_file = none, .jwks_max_age = 3600, .leeway = 30, .timeout = 10,
	};
	words(e->scopes, d->scopes, &p->scopes);
	if (!e->need_acr)
		words(e->acr, d->acrs, &p->acr_values);
	if (own)
		p->ca = mem_strdup(own->ca);
	else if (!e->ca)
		p->ca = mem_strdup("");
	else if (!put_ca(c, e->ca, &p->ca, err))
		return false;
	d->name = mem_strdup(e->called.name);
	d->names[0] = d->name;
	d->map = (struct conf_map){ .names = d->names, .items = p, .count = 1 };
	return true;
}

static void refused(const struct login_refusal *why, struct err *err)
{
	err_set(err, ERR_DENIED, "%s (%s)", why->words, why->err.msg);
}

static void on_started(void *arg, struct login *login, const struct login_refusal *why)
{
	struct device_login *d = arg;
	struct err err = { 0 };

	d->op = NULL;
	if (!login) {
		refused(why, &err);
		d->on_started(d->arg, &err);
		return;
	}
	d->login = login;
	d->url = mem_strdup(login_url(login));
	d->state = mem_strdup(login_state(login));
	d->on_started(d->arg, NULL);
}

struct device_login *device_login_new(struct core *c, const struct enrol_idp *e, uint16_t loopback,
                                      device_started_fn *fn, void *arg, struct err *err)
{
	struct device_login *d = mem_alloc(sizeof(*d));
	char redirect[64], nonce[BINDING_NONCE_SIZE];
	struct login_options o = { .redirect_uri = redirect, .device = true, .nonce = nonce,
		                   .acr_values = e->need_acr ? e->acr : NULL, .max_age = e->max_age };

	d->loop = c->loop;
	d->on_started = fn;
	d->arg = arg;
	if (loopback == 0)
		err_set(err, ERR_DENIED, "a login at the device needs a browser on it");
	else if (set_row(d, c, e, err))
		d->idp = idp_new(c->loop, &d->map, err);
	if (!d->idp) {
		device_login_free(d);
		return NULL;
	}
	random_bytes(d->opening, sizeof(d->opening));
	binding_nonce(c->public_key, d->opening, nonce);
	snprintf(redirect, sizeof(redirect), "http://127.0.0.1:%u/callback", loopback);
	d->op = idp_login_start(d->idp, d->name, &o, on_started, d);
	return d;
}

const char *device_login_url(const struct device_login *d)
{
	return d->url;
}

const char *device_login_state(const struct device_login *d)
{
	return d->state;
}

bool device_login_wants_person(const struct device_login *d)
{
	return d->wants_person;
}

static void on_finished(void *arg, struct login_result *r, const struct login_refusal *why)
{
	struct device_login *d = arg;
	struct enrol_finish f = { 0 };
	struct err err = { 0 };

	d->op = NULL;
	if (!r) {
		d->wants_person = login_wants_person(why);
		refused(why, &err);
		d->on_finished(d->arg, NULL, &err);
		return;
	}
	f.id_token = take(r->id_token);
	memcpy(f.opening, d->opening, sizeof(f.opening));
	if (r->refresh_token.len && r->refresh_token.len <= ENROL_REFRESH_MAX)
		f.refresh_token = span_dup(secret_span(&r->refresh_token));
	d->on_finished(d->arg, &f, NULL);
	enrol_finish_done(&f);
}

void device_login_finish(struct device_login *d, struct span query, device_finished_fn *fn, void *arg)
{
	struct err err = { 0 };

	if (!d->login) {
		err_set(&err, ERR_NOTNOW, "no login is under way, or it was answered already");
		fn(arg, NULL, &err);
		return;
	}
	d->on_finished = fn;
	d->arg = arg;
	d->op = idp_login_finish(d->idp, take(d->login), query, on_finished, d);
}
