/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "idp/issuer.h"

#include "base/file.h"
#include "base/mem.h"
#include "idp/idp.h"

#include <stdlib.h>
#include <string.h>

struct issuer {
	struct loop           *loop;
	struct fetcher        *fetcher;
	const struct provider *conf;
	char                  *name;

	struct discovery disc;
	bool             has_disc;
	struct boot      disc_at;
	struct jwks     *keys;
	struct boot      keys_at, keys_tried;
	struct wall      keys_wall;

	struct fetch *disc_op, *keys_op;
	struct boot   disc_retry, keys_retry;   /* not before */
	struct err    disc_err, keys_err;       /* of the last try; ERR_NONE since it went well */
	struct issuer_wait *waits;
};

struct issuer_wait {
	struct issuer      *is;
	struct issuer_wait *next, **prev;
	struct loop_timer  *timer;      /* fires when there is something to tell */
	bool                keys, refetched, told;
	struct err          err;
	char               *kid;
	issuer_fn          *fn;
	void               *arg;
};

static void step(struct issuer *is);

static bool keys_from_file(struct issuer *is, struct err *err)
{
	scoped_buf struct buf text = { 0 };
	struct jwks *keys;

	is->keys_tried = loop_now(is->loop);
	if (!file_read(is->conf->jwks_file, JWKS_MAX, &text, err))
		return false;
	keys = jwks_parse(buf_span(&text), err);
	if (!keys)
		return err_prefix(err, "%s: ", is->conf->jwks_file);
	jwks_unref(is->keys);
	is->keys = keys;
	is->keys_at = loop_now(is->loop);
	is->keys_wall = loop_wall(is->loop);
	return true;
}

/* curl would say so at the first login; the owner wants to know now. */
static bool ca_is_there(const struct provider *p, const char *name, struct err *err)
{
	static const char mark[] = "-----BEGIN CERTIFICATE-----";
	scoped_buf struct buf text = { 0 };

	if (!*p->ca)
		return true;
	if (!file_read(p->ca, CA_MAX, &text, err))
		return err_prefix(err, "%s: ca: ", name);
	if (!text.len || !memmem(text.ptr, text.len, mark, sizeof(mark) - 1))
		return err_set(err, ERR_CONFIG, "%s: %s holds no certificate (PEM)", name, p->ca);
	return true;
}

struct issuer *issuer_new(struct loop *l, struct fetcher *f, const struct provider *p,
                          const char *name, struct err *err)
{
	struct issuer *is = mem_alloc(sizeof(*is));

	is->loop = l;
	is->fetcher = f;
	is->conf = p;
	is->name = mem_strdup(name);
	if (!ca_is_there(p, name, err) || (*p->jwks_file && !keys_from_file(is, err))) {
		issuer_free(is);
		return NULL;
	}
	return is;
}

void issuer_free(struct issuer *is)
{
	if (!is)
		return;
	while (is->waits)
		issuer_cancel(is->waits);
	fetch_cancel(is->disc_op);
	fetch_cancel(is->keys_op);
	discovery_done(&is->disc);
	jwks_unref(is->keys);
	free(is->name);
	free(is);
}

const struct provider *issuer_provider(const struct issuer *is)
{
	return is->conf;
}

const char *issuer_name(const struct issuer *is)
{
	return is->name;
}

const struct discovery *issuer_discovery(const struct issuer *is)
{
	return is->has_disc ? &is->disc : NULL;
}

struct jwks *issuer_keys(const struct issuer *is)
{
	return is->keys;
}

static bool passed(const struct issuer *is, struct boot since, int64_t sec)
{
	return boot_passed(boot_add(since, sec * SEC_NS), loop_now(is->loop));
}

static bool disc_is_young(const struct issuer *is)
{
	return is->has_disc && !passed(is, is->disc_at, DISCOVERY_MAX_AGE);
}

static bool keys_are_young(const struct issuer *is)
{
	return is->keys &&
	       (*is->conf->jwks_file || !passed(is, is->keys_at, is->conf->jwks_max_age));
}

static bool status_ok(int status, const struct err *why, const char *what, struct err *err)
{
	if (status == 200)
		return true;
	if (status)
		return err_set(err, ERR_PEER, "%s: HTTP %d", what, status);
	*err = *why;
	return err_prefix(err, "%s: ", what);
}

static void on_discovery(void *arg, int status, struct span body, const struct err *why)
{
	struct issuer *is = arg;
	struct discovery d;
	struct err err = { 0 };

	is->disc_op = NULL;
	if (status_ok(status, why, "discovery", &err) &&
	    discovery_parse(body, is->conf->issuer, &d, &err)) {
		discovery_done(&is->disc);
		is->disc = d;
		is->has_disc = true;
		is->disc_at = loop_now(is->loop);
	} else {
		is->disc_retry = boot_add(loop_now(is->loop), IDP_RETRY_SECONDS * SEC_NS);
	}
	is->disc_err = err;
	step(is);
}

static void on_keys(void *arg, int status, struct span body, const struct err *why)
{
	struct issuer *is = arg;
	struct jwks *keys = NULL;
	struct err err = { 0 };

	is->keys_op = NULL;
	if (status_ok(status, why, "keys", &err))
		keys = jwks_parse(body, &err);
	if (keys) {
		jwks_unref(is->keys);
		is->keys = keys;
		is->keys_at = loop_now(is->loop);
		is->keys_wall = loop_wall(is->loop);
	} else {
		is->keys_retry = boot_add(loop_now(is->loop), IDP_RETRY_SECONDS * SEC_NS);
	}
	is->keys_err = err;
	step(is);
}

static struct fetch *get(struct issuer *is, const char *url, size_t max, fetch_fn *fn)
{
	const struct fetch_request req = {
		.url = url, .ca = is->conf->ca, .socket = is->conf->socket, .max = max, .timeout = is->conf->timeout,
	};

	return fetch_start(is->fetcher, &req, fn, is);
}

static void tell(struct issuer_wait *w, const struct err *err)
{
	w->told = true;
	if (err)
		w->err = *err;
	loop_timer_after(w->timer, 0);
}

/* True: the description is there. False: it is under way, or w was told why not. */
static bool step_discovery(struct issuer *is, struct issuer_wait *w)
{
	if (disc_is_young(is))
		return true;
	if (is->disc_op)
		return is->has_disc;
	if (boot_passed(is->disc_retry, loop_now(is->loop))) {
		char *url = discovery_url(is->conf->issuer);

		is->disc_op = get(is, url, IDP_DISCOVERY_MAX, on_discovery);
		free(url);
		return is->has_disc;    /* an old one serves while a new one is fetched */
	}
	if (!is->has_disc)
		tell(w, &is->disc_err);
	return is->has_disc;
}

static void fetch_keys(struct issuer *is)
{
	is->keys_tried = loop_now(is->loop);
	if (*is->conf->jwks_file) {
		struct err err = { 0 };

		keys_from_file(is, &err);
		is->keys_err = err;
		return;
	}
	is->keys_op = get(is, is->disc.jwks, JWKS_MAX, on_keys);
}

static void step_keys(struct issuer *is, struct issuer_wait *w)
{
	struct span kid = span_str(w->kid);
	struct err err = { 0 };

	if (is->keys_op)
		return;
	if (!keys_are_young(is)) {
		if (!boot_passed(is->keys_retry, loop_now(is->loop))) {
			tell(w, &is->keys_err);
			return;
		}
		fetch_keys(is);
		return;
	}
	if (kid.len && !jwks_has(is->keys, kid) && !w->refetched) {
		w->refetched = true;
		if (passed(is, is->keys_tried, IDP_REFETCH_SECONDS)) {
			fetch_keys(is);
			if (is->keys_op)
				return;
		}
	}
	if (kid.len && !jwks_has(is->keys, kid)) {
		err_set(&err, ERR_MISSING,
			"the provider has no such key, and was asked less than %d s ago",
			IDP_REFETCH_SECONDS);
		tell(w, &err);
		return;
	}
	tell(w, NULL);
}

static void step(struct issuer *is)
{
	for (struct issuer_wait *w = is->waits; w; w = w->next) {
		/* keys from a file need no description */
		bool needs_disc = !w->keys || !*is->conf->jwks_file;

		if (w->told || (needs_disc && !step_discovery(is, w)))
			continue;
		if (w->keys)
			step_keys(is, w);
		else
			tell(w, NULL);
	}
}

static void on_told(void *arg)
{
	struct issuer_wait *w = arg;
	issuer_fn *fn = w->fn;
	void *to = w->arg;
	struct err err = w->err;

	issuer_cancel(w);
	fn(to, err.code == ERR_NONE ? NULL : &err);
}

struct issuer_wait *issuer_want(struct issuer *is, bool keys, struct span kid, issuer_fn *fn,
				void *arg)
{
	struct issuer_wait *w = mem_alloc(sizeof(*w));

	w->is = is;
	w->keys = keys;
	w->kid = kid.len ? span_dup(kid) : NULL;
	w->fn = fn;
	w->arg = arg;
	w->timer = loop_timer_new(is->loop, on_told, w);
	w->next = is->waits;
	w->prev = &is->waits;
	if (w->next)
		w->next->prev = &w->next;
	is->waits = w;
	step(is);
	return w;
}

void issuer_cancel(struct issuer_wait *w)
{
	if (!w)
		return;
	if (w->next)
		w->next->prev = w->prev;
	*w->prev = w->next;
	loop_timer_free(w->timer);
	free(w->kid);
	free(w);
}

void issuer_status(const struct issuer *is, struct idp_status *ret_s)
{
	const struct err *last = is->disc_err.code ? &is->disc_err : &is->keys_err;

	memset(ret_s, 0, sizeof(*ret_s));
	ret_s->discovered = is->has_disc;
	ret_s->keys_at = is->keys_wall;
	ret_s->n_keys = is->keys ? jwks_count(is->keys) : 0;
	if (last->code)
		memcpy(ret_s->error, last->msg, sizeof(ret_s->error));
}
