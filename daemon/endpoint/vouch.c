/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/vouch.h"

#include "base/encode.h"
#include "base/hash.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "idp/idp.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { DIGEST_LEN = 32 };

enum state { WAITING = 0, CHECKING, VERIFIED, REFUSED };

/* One evidence: of one token, one opening and one key. */
struct proof {
	struct vouch   *vouch;
	uint8_t         digest[DIGEST_LEN];
	uint8_t         key[MAP_KEY_LEN];
	enum state      state;
	bool            used;           /* by the map of this round */
	bool            open;           /* not VERIFIED, and nothing says that it is a lie */
	struct idp_op  *op;
	struct identity who;            /* VERIFIED */
	uint64_t        person;         /* our own number of (issuer, sub): the coordinator's may lie */
	char           *client;         /* VERIFIED: whose audience it was */
	char            why[VOUCH_WHY_MAX];     /* REFUSED, or why it still waits; "" */
	struct boot     end;            /* VERIFIED: too old then, whatever the wall clock is set to; 0: not known yet */
	struct boot     again;          /* WAITING, REFUSED: looked at again then */
	unsigned        tries;
};

/* A node as it counts, kept so that what did not change is the same object. */
struct as_counts {
	struct map_node *source, *node; /* references */
	const struct proof *proof;      /* the map's */
	const struct proof *stands;     /* what counts: that one, or the one before it; NULL: nothing */
	enum state       state;
	bool             fresh;
	bool             used;
};

struct vouch {
	struct loop       *loop;
	const struct conf *conf;
	struct idp        *idp;
	struct successors *successors;  /* NULL: nobody vouches for another key */
	vouch_changed_fn  *changed;
	void              *arg;
	struct dict       *proofs;      /* digest -> struct proof */
	struct dict       *nodes;       /* id -> struct as_counts */
	struct dict       *people;      /* issuer NUL sub -> number */
	struct dict       *last;        /* device key -> struct proof, what was verified last for it */
	size_t             checking;
	struct loop_timer *retry;
	struct boot        retry_at;
	struct wall        until;
	bool               dirty;
};

static void proof_free(struct proof *p)
{
	struct span key = span_of(p->key, sizeof(p->key));

	if (dict_find(p->vouch->last, key) == p)
		dict_remove(p->vouch->last, key);
	idp_cancel(p->op);
	identity_done(&p->who);
	free(p->client);
	free(p);
}

static void counts_free(struct as_counts *a)
{
	map_node_unref(a->source);
	map_node_unref(a->node);
	free(a);
}

static void on_retry(void *arg)
{
	struct vouch *v = arg;

	v->retry_at = BOOT_NEVER;
	v->changed(v->arg);
}

static void retry_by(struct vouch *v, struct boot at)
{
	if (at.ns >= v->retry_at.ns)
		return;
	v->retry_at = at;
	loop_timer_set(v->retry, at);
}

struct vouch *vouch_new(struct loop *l, const struct conf *conf, vouch_changed_fn *changed, void *arg, struct err *err)
{
	struct vouch *v = mem_alloc(sizeof(*v));

	v->idp = idp_new(l, &conf->issuers, err);
	if (!v->idp) {
		free(v);
		return NULL;
	}
	v->loop = l;
	v->conf = conf;
	v->changed = changed;
	v->arg = arg;
	v->proofs = dict_new();
	v->nodes = dict_new();
	v->people = dict_new();
	v->last = dict_new();
	v->until = (struct wall){ INT64_MAX };
	v->retry = loop_timer_new(l, on_retry, v);
	v->retry_at = BOOT_NEVER;
	return v;
}

void vouch_free(struct vouch *v)
{
	struct span key;
	void *value;
	size_t pos = 0;

	if (!v)
		return;
	while (dict_next(v->proofs, &pos, &key, &value))
		proof_free(value);
	pos = 0;
	while (dict_next(v->nodes, &pos, &key, &value))
		counts_free(value);
	dict_free(v->proofs);
	dict_free(v->nodes);
	dict_free(v->people);
	dict_free(v->last);
	idp_free(v->idp);
	loop_timer_free(v->retry);
	free(v);
}

void vouch_set_successors(struct vouch *v, struct successors *s)
{
	v->successors = s;
}

static void digest_of(const struct map_node *n, const uint8_t *key, uint8_t ret[DIGEST_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(ctx, key, MAP_KEY_LEN) != 1 ||
	    EVP_DigestUpdate(ctx, n->evidence->opening, sizeof(n->evidence->opening)) != 1 ||
	    EVP_DigestUpdate(ctx, n->evidence->id_token.ptr, n->evidence->id_token.len) != 1 ||
	    EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
}

static uint64_t person_number(struct vouch *v, const struct identity *who)
{
	scoped_buf struct buf b = { 0 };
	uintptr_t n;

	buf_init(&b, 4096);
	buf_add(&b, who->issuer, strlen(who->issuer) + 1);
	buf_add_str(&b, who->sub);
	n = (uintptr_t)dict_find(v->people, buf_span(&b));
	if (!n) {
		n = dict_count(v->people) + 1;
		dict_put(v->people, buf_span(&b), (void *)n);
	}
	return n;
}

/* When what was refused now might hold later: 0, never. */
static int64_t again_sec(enum token_reason why, unsigned tries)
{
	switch (why) {
	case TOKEN_UNCHECKED:   /* says nothing about the person */
		return tries > 3 ? VOUCH_AGAIN_MAX_SEC : VOUCH_AGAIN_SEC << tries;
	case TOKEN_KID:         /* a new key of the provider's, asked for once a minute */
		return tries < VOUCH_TRIES_MAX ? IDP_REFETCH_SECONDS + 1 : 0;
	case TOKEN_IAT:         /* the clocks */
	case TOKEN_NBF:
		return tries < VOUCH_TRIES_MAX ? VOUCH_AGAIN_MAX_SEC / 2 : 0;
	default:
		return 0;
	}
}

static void set_verified(struct proof *p)
{
	struct vouch *v = p->vouch;

	p->person = person_number(v, &p->who);
	p->state = VERIFIED;
	p->open = false;
	p->end = (struct boot){ 0 };
	p->why[0] = '\0';
	dict_put(v->last, span_of(p->key, sizeof(p->key)), p);
}

static void on_checked(void *arg, const struct identity *who, const struct login_refusal *why)
{
	struct proof *p = arg;
	struct vouch *v = p->vouch;
	int64_t again;

	p->op = NULL;
	v->checking--;
	p->again = BOOT_NEVER;
	if (who) {
		identity_copy(&p->who, who);
		set_verified(p);
		v->dirty = true;
	} else {
		again = again_sec(why->token, p->tries++);
		if (why->token == TOKEN_UNCHECKED)
			snprintf(p->why, sizeof(p->why), "not checked yet: %.200s", why->err.msg);
		else
			snprintf(p->why, sizeof(p->why), "%s: %.200s", token_reason_name(why->token), why->err.msg);
		p->state = why->token == TOKEN_UNCHECKED ? WAITING : REFUSED;
		/* A token that came here too late says nothing against the one before it. */
		p->open = again || why->token == TOKEN_EXP;
		if (again) {
			p->again = boot_add(loop_now(v->loop), again * SEC_NS);
			retry_by(v, p->again);
		}
	}
	v->changed(v->arg);
}

static const struct provider *provider_of(const struct vouch *v, const char *issuer)
{
	for (size_t i = 0; i < v->conf->issuers.count; i++) {
		const struct provider *p = (const struct provider *)v->conf->issuers.items + i;

		if (strcmp(p->issuer, issuer) == 0)
			return p;
	}
	return NULL;
}

/* The configured issuer of that name; which one is the token's own business, so
 * the map's word about it is only where to look first. */
static const char *issuer_for(const struct vouch *v, const struct map_node *n)
{
	for (size_t i = 0; i < v->conf->issuers.count; i++) {
		const struct provider *p = (const struct provider *)v->conf->issuers.items + i;

		if (n->user && span_eq(span_str(p->issuer), n->user->issuer))
			return v->conf->issuers.names[i];
	}
	return NULL;
}

static bool follows_was(const struct vouch *v, const struct map_node *n)
{
	return n->was && v->successors && successors_ok(v->successors, n->was->key, n->key, n->was);
}

/* The key that it must have been made for: the node's own, or the one before, whose holder vouched for this. */
static const uint8_t *evidence_key(const struct vouch *v, const struct map_node *n)
{
	if (n->evidence->has_key && follows_was(v, n) && memcmp(n->evidence->key, n->was->key, MAP_KEY_LEN) == 0)
		return n->was->key;
	return n->key;
}

/* What was verified for the key before is so for the one that it vouched for, at once. */
static bool inherit(struct vouch *v, struct proof *p, const struct map_node *n)
{
	uint8_t digest[DIGEST_LEN];
	const struct proof *old;

	if (!follows_was(v, n))
		return false;
	digest_of(n, n->was->key, digest);
	old = dict_find(v->proofs, span_of(digest, sizeof(digest)));
	if (!old || old->state != VERIFIED)
		return false;
	identity_copy(&p->who, &old->who);
	free(p->client);
	p->client = old->client ? mem_strdup(old->client) : NULL;
	set_verified(p);
	v->dirty = true;
	return true;
}

static void begin(struct vouch *v, struct proof *p, const struct map_node *n)
{
	const char *name = issuer_for(v, n);
	scoped_buf struct buf opening = { 0 };

	if (!name) {
		p->state = REFUSED;
		p->open = false;
		p->again = BOOT_NEVER;
		snprintf(p->why, sizeof(p->why), "iss: its issuer is none of \"issuers\" here");
		return;
	}
	if (v->checking >= VOUCH_PENDING_MAX)
		return;
	buf_init(&opening, 64);
	base64url_add(&opening, span_of(n->evidence->opening, sizeof(n->evidence->opening)));
	p->op = idp_evidence(v->idp, name, n->evidence->id_token, buf_span(&opening), evidence_key(v, n),
	                     v->conf->evidence_max_age, false, on_checked, p);
	if (p->op) {
		free(p->client);
		p->client = mem_strdup(idp_provider(v->idp, name)->device_client_id);
		p->state = CHECKING;
		v->checking++;
	}
}

/* What was verified under other rows of "issuers", in an earlier configuration. */
static void recheck(struct vouch *v, struct proof *p)
{
	const struct provider *row = p->state == VERIFIED ? provider_of(v, p->who.issuer) : NULL;
	struct err err = { 0 };
	enum token_reason why = TOKEN_OK;

	if (p->state != VERIFIED)
		return;
	if (!row) {
		/* An issuer that the owner has taken out since vouches for nobody. */
		snprintf(p->why, sizeof(p->why), "iss: its issuer is none of \"issuers\" here");
		p->state = REFUSED;
	} else if (!p->client || strcmp(p->client, row->device_client_id) != 0) {
		p->state = WAITING;             /* another audience: the token says whether it is meant */
	} else if ((why = identity_recheck(row, &p->who, &err)) != TOKEN_OK) {
		snprintf(p->why, sizeof(p->why), "%s: %.200s", token_reason_name(why), err.msg);
		p->state = REFUSED;
	}
	if (p->state == VERIFIED)
		return;
	identity_done(&p->who);
	p->again = p->state == WAITING ? (struct boot){ 0 } : BOOT_NEVER;
	v->dirty = true;
}

static struct proof *proof_of(struct vouch *v, const struct map_node *n)
{
	uint8_t digest[DIGEST_LEN];
	struct proof *p;

	if (!n->evidence || !n->user || n->tags.count)
		return NULL;
	digest_of(n, n->key, digest);
	p = dict_find(v->proofs, span_of(digest, sizeof(digest)));
	if (!p) {
		p = mem_alloc(sizeof(*p));
		p->vouch = v;
		p->open = true;
		memcpy(p->digest, digest, sizeof(digest));
		memcpy(p->key, n->key, sizeof(p->key));
		dict_put(v->proofs, span_of(p->digest, sizeof(p->digest)), p);
		inherit(v, p, n);
	}
	p->used = true;
	if (memcmp(p->key, n->key, sizeof(p->key)) != 0) {      /* kept by an earlier release, without it */
		memcpy(p->key, n->key, sizeof(p->key));
		if (p->state == VERIFIED)
			dict_put(v->last, span_of(p->key, sizeof(p->key)), p);
	}
	recheck(v, p);
	if ((p->state == WAITING || p->state == REFUSED) && boot_passed(p->again, loop_now(v->loop)))
		begin(v, p, n);
	return p;
}

/* What this node's person counts by. A session that was renewed is checked before its evidence
 * counts; until then, and where it has none, the last that was verified for this key goes on, as
 * long as that one lives: nothing that is open waits for the provider. What is shown to be a
 * lie gets nothing. */
static struct proof *standing(struct vouch *v, const struct map_node *n, struct proof *own)
{
	struct proof *p;

	if (own && (own->state == VERIFIED || !own->open))
		return own->state == VERIFIED ? own : NULL;
	if (!n->session || !n->user || n->tags.count)
		return NULL;
	p = dict_find(v->last, span_of(n->key, sizeof(n->key)));
	if (!p && follows_was(v, n))
		p = dict_find(v->last, span_of(n->was->key, sizeof(n->was->key)));
	if (p)
		recheck(v, p);
	if (!p || p->state != VERIFIED || !span_eq(n->user->issuer, span_str(p->who.issuer)) ||
	    !span_eq(n->user->sub, span_str(p->who.sub)))
		return NULL;
	p->used = true;
	return p;
}

bool vouch_is_server_key(const struct conf *conf, const uint8_t device[MAP_KEY_LEN])
{
	for (size_t i = 0; i < conf->server_keys.count; i++) {
		uint8_t key[MAP_KEY_LEN];
		size_t len;

		if (base64_decode(span_str(conf->server_keys.list[i]), key, sizeof(key), &len) &&
		    len == sizeof(key) && memcmp(key, device, sizeof(key)) == 0)
			return true;
	}
	return false;
}

static struct span text(struct map_node *n, const char *s)
{
	return s ? arena_copy(&n->mem, span_str(s)) : (struct span){ 0 };
}

static struct map_list words(struct map_node *n, char *const *list, size_t count, const char *more)
{
	struct map_list l = { arena_calloc(&n->mem, count + 1, sizeof(struct span)), 0 };

	for (size_t i = 0; i < count; i++)
		l.list[l.count++] = text(n, list[i]);
	if (more)
		l.list[l.count++] = text(n, more);
	return l;
}

static bool says(char *const *list, size_t n, const char *what)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], what) == 0)
			return true;
	return false;
}

static struct map_list copy_list(struct map_node *n, const struct map_list *from)
{
	struct map_list l = { arena_calloc(&n->mem, from->count + 1, sizeof(struct span)), from->count };

	for (size_t i = 0; i < from->count; i++)
		l.list[i] = arena_copy(&n->mem, from->list[i]);
	return l;
}

static struct map_turn *copy_turn(struct map_node *n, const struct map_turn *from)
{
	struct map_turn *t = from ? arena_alloc(&n->mem, sizeof(*t)) : NULL;

	if (t)
		*t = *from;
	return t;
}

/* What is not a claim about a person stays: addresses are checked by claims.h, routes and
 * services by the policy. */
static struct map_node *without_person(const struct map_node *from)
{
	struct map_node *n = map_node_new();

	n->id = from->id;
	n->name = arena_copy(&n->mem, from->name);
	memcpy(n->key, from->key, sizeof(n->key));
	n->v4 = from->v4;
	n->v6 = from->v6;
	n->endpoints = arena_calloc(&n->mem, from->endpoint_count + 1, sizeof(*n->endpoints));
	if (from->endpoint_count)
		memcpy(n->endpoints, from->endpoints, from->endpoint_count * sizeof(*n->endpoints));
	n->endpoint_count = from->endpoint_count;
	n->routes = arena_calloc(&n->mem, from->route_count + 1, sizeof(*n->routes));
	if (from->route_count)
		memcpy(n->routes, from->routes, from->route_count * sizeof(*n->routes));
	n->route_count = from->route_count;
	n->services = arena_calloc(&n->mem, from->service_count + 1, sizeof(*n->services));
	for (size_t i = 0; i < from->service_count; i++) {
		n->services[i] = from->services[i];
		n->services[i].name = arena_copy(&n->mem, from->services[i].name);
		n->services[i].hosts = copy_list(n, &from->services[i].hosts);
		n->services[i].profiles = copy_list(n, &from->services[i].profiles);
	}
	n->service_count = from->service_count;
	n->hub = from->hub;
	n->next = copy_turn(n, from->next);
	n->was = copy_turn(n, from->was);
	return n;
}

/* The coordinator may end a session earlier than the evidence does, never later. */
static struct wall session_end(const struct vouch *v, const struct map_node *from, const struct identity *who)
{
	struct wall end = { who->auth_time.sec + v->conf->evidence_max_age };

	return from->session->expires.sec < end.sec ? from->session->expires : end;
}

static struct map_node *make(struct vouch *v, const struct map_node *from, const struct proof *p, bool fresh)
{
	struct map_node *n = without_person(from);

	if (from->tags.count && vouch_is_server_key(v->conf, from->key)) {
		/* A list of keys means the keys that it lists. */
		if (n->next && !vouch_is_server_key(v->conf, n->next->key))
			n->next = NULL;
		n->tags = copy_list(n, &from->tags);
		return n;
	}
	if (!p || p->state != VERIFIED)
		return n;
	n->user = arena_alloc(&n->mem, sizeof(*n->user));
	memset(n->user, 0, sizeof(*n->user));
	n->user->id = p->person;
	n->user->issuer = text(n, p->who.issuer);
	n->user->sub = text(n, p->who.sub);
	n->user->login = text(n, p->who.login);
	n->user->name = text(n, p->who.name);
	n->user->email = text(n, p->who.email);
	n->user->idp = words(n, p->who.groups, p->who.n_groups, NULL);
	if (!from->session || !fresh)
		return n;
	n->session = arena_alloc(&n->mem, sizeof(*n->session));
	memset(n->session, 0, sizeof(*n->session));
	n->session->id = from->session->id;
	n->session->auth_time = p->who.auth_time;
	n->session->expires = session_end(v, from, &p->who);
	n->session->acr = text(n, p->who.acr);
	n->session->amr = words(n, p->who.amr, p->who.n_amr,
	                        p->who.mfa && !says(p->who.amr, p->who.n_amr, "mfa") ? "mfa" : NULL);
	n->session->cross_device = from->session->cross_device;
	return n;
}

static bool is_fresh(struct vouch *v, struct proof *p, struct wall now)
{
	int64_t end, left;

	if (!p || p->state != VERIFIED || p->who.auth_time.sec <= 0)
		return false;
	end = p->who.auth_time.sec + v->conf->evidence_max_age;
	if (now.sec >= end)
		return false;
	/* A wall clock that is set back makes nothing last longer. */
	if (!p->end.ns)
		p->end = boot_at_wall((struct wall){ end }, now, loop_now(v->loop));
	if (boot_passed(p->end, loop_now(v->loop)))
		return false;
	left = p->end.ns == INT64_MAX ? end - now.sec : (p->end.ns - loop_now(v->loop).ns) / SEC_NS + 1;
	if (left < end - now.sec)
		end = now.sec + left;
	if (end < v->until.sec)
		v->until.sec = end;
	return true;
}

static struct map_node *counts(struct vouch *v, struct map_node *from, struct wall now)
{
	struct proof *p = proof_of(v, from), *stands = standing(v, from, p);
	struct span key = span_of(&from->id, sizeof(from->id));
	struct as_counts *a = dict_find(v->nodes, key);
	bool fresh = is_fresh(v, stands, now);
	enum state state = p ? p->state : REFUSED;

	if (!a) {
		a = mem_alloc(sizeof(*a));
		dict_put(v->nodes, key, a);
	}
	a->used = true;
	if (a->source != from || a->proof != p || a->stands != stands || a->state != state || a->fresh != fresh) {
		map_node_unref(a->source);
		map_node_unref(a->node);
		a->source = map_node_ref(from);
		a->node = make(v, from, stands, fresh);
		a->proof = p;
		a->stands = stands;
		a->state = state;
		a->fresh = fresh;
	}
	return map_node_ref(a->node);
}

static void forget_unused(struct vouch *v)
{
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(v->nodes, &pos, &key, &value)) {
		struct as_counts *a = value;

		if (!a->used) {
			dict_remove(v->nodes, key);
			counts_free(a);
		}
	}
	pos = 0;
	while (dict_next(v->proofs, &pos, &key, &value)) {
		struct proof *p = value;

		if (!p->used) {
			v->checking -= p->state == CHECKING;
			dict_remove(v->proofs, key);
			proof_free(p);
			v->dirty = true;
		}
	}
}

void vouch_map(struct vouch *v, const struct map *map, struct wall now, struct map *ret_map)
{
	struct span key;
	void *value;
	size_t pos = 0;

	while (dict_next(v->nodes, &pos, &key, &value))
		((struct as_counts *)value)->used = false;
	pos = 0;
	while (dict_next(v->proofs, &pos, &key, &value))
		((struct proof *)value)->used = false;
	v->until = (struct wall){ INT64_MAX };
	*ret_map = *map;
	ret_map->nodes = mem_calloc(map->node_count + 1, sizeof(*ret_map->nodes));
	/* This node itself is judged by nobody here. */
	for (size_t i = 0; i < map->node_count; i++)
		ret_map->nodes[i] = map->nodes[i]->id == map->self ? map_node_ref(map->nodes[i])
		                                                   : counts(v, map->nodes[i], now);
	if (map->whole)
		forget_unused(v);
}

void vouch_map_done(struct map *map)
{
	for (size_t i = 0; i < map->node_count; i++)
		map_node_unref(map->nodes[i]);
	free(map->nodes);
	memset(map, 0, sizeof(*map));
}

struct wall vouch_until(const struct vouch *v)
{
	return v->until;
}

const char *vouch_why(const struct vouch *v, uint64_t node)
{
	const struct as_counts *a = dict_find(v->nodes, span_of(&node, sizeof(node)));

	/* Nobody is the hub here, whatever its tags: it is spoken to, not believed. */
	if (!a || a->source->hub)
		return NULL;
	if (a->source->tags.count)
		return vouch_is_server_key(v->conf, a->source->key) ? NULL : "its key is not in \"server-keys\"";
	if (!a->source->session)
		return NULL;
	if (a->stands)
		return a->fresh ? NULL : "its login is older than \"evidence-max-age\"";
	if (!a->proof)
		return "the coordinator sent no evidence";
	/* Also while it is looked at once more. */
	return a->proof->why[0] ? a->proof->why : "its evidence is being checked";
}

bool vouch_is_checking(const struct vouch *v, uint64_t node)
{
	const struct as_counts *a = dict_find(v->nodes, span_of(&node, sizeof(node)));

	return a && a->proof && !a->stands && a->proof->state == CHECKING && !a->proof->why[0];
}

/* ---- across restarts ---- */

bool vouch_dirty(const struct vouch *v)
{
	return v->dirty;
}

static json_t *strings(char *const *list, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(list[i]));
	return a;
}

void vouch_encode(struct vouch *v, struct buf *out)
{
	json_t *all = json_array();
	struct span key;
	void *value;
	size_t pos = 0;
	char *json;

	while (dict_next(v->proofs, &pos, &key, &value)) {
		const struct proof *p = value;
		scoped_buf struct buf hex = { 0 }, device = { 0 };

		if (p->state != VERIFIED)
			continue;
		buf_init(&hex, 2 * DIGEST_LEN + 1);
		hex_add(&hex, span_of(p->digest, DIGEST_LEN));
		buf_init(&device, 64);
		base64_add(&device, span_of(p->key, MAP_KEY_LEN));
		json_array_append_new(all, json_pack("{s:s, s:s, s:s*, s:s, s:s, s:s, s:s*, s:s*, s:s*, s:b, s:b, s:I, s:o, s:o}",
			"evidence", hex.ptr, "key", device.ptr, "client", p->client, "issuer", p->who.issuer, "sub", p->who.sub, "login", p->who.login,
			"name", p->who.name, "email", p->who.email, "acr", p->who.acr,
			"email_verified", (int)p->who.email_verified, "mfa", (int)p->who.mfa,
			"auth_time", (json_int_t)p->who.auth_time.sec, "groups", strings(p->who.groups, p->who.n_groups),
			"amr", strings(p->who.amr, p->who.n_amr)));
	}
	json = json_dumps(all, JSON_COMPACT);
	buf_add_str(out, json ? json : "[]");
	free(json);
	json_decref(all);
	v->dirty = false;
}

static char *dup_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? mem_strdup(s) : NULL;
}

static bool take_one(struct vouch *v, const json_t *o)
{
	struct proof *p = mem_alloc(sizeof(*p));
	const json_t *groups = json_object_get(o, "groups"), *amr = json_object_get(o, "amr");
	size_t n;

	p->vouch = v;
	p->who.issuer = dup_str(o, "issuer");
	p->who.sub = dup_str(o, "sub");
	p->who.login = dup_str(o, "login");
	p->who.name = dup_str(o, "name");
	p->who.email = dup_str(o, "email");
	p->who.acr = dup_str(o, "acr");
	p->client = dup_str(o, "client");
	p->who.email_verified = json_is_true(json_object_get(o, "email_verified"));
	p->who.mfa = json_is_true(json_object_get(o, "mfa"));
	p->who.auth_time.sec = json_integer_value(json_object_get(o, "auth_time"));
	p->who.groups = mem_calloc(json_array_size(groups) + 1, sizeof(char *));
	for (size_t i = 0; i < json_array_size(groups) && i < IDENTITY_GROUPS_MAX; i++)
		if (json_is_string(json_array_get(groups, i)))
			p->who.groups[p->who.n_groups++] = mem_strdup(json_string_value(json_array_get(groups, i)));
	p->who.groups_known = true;
	for (size_t i = 0; i < json_array_size(amr) && i < AMR_MAX; i++)
		if (json_is_string(json_array_get(amr, i)))
			p->who.amr[p->who.n_amr++] = mem_strdup(json_string_value(json_array_get(amr, i)));
	/* An earlier release did not say the key: then what was verified counts with its token alone. */
	if (!base64_decode(span_str(json_string_value(json_object_get(o, "key"))), p->key, sizeof(p->key), &n) ||
	    n != sizeof(p->key))
		memset(p->key, 0, sizeof(p->key));
	if (!hex_decode(span_str(json_string_value(json_object_get(o, "evidence"))), p->digest, sizeof(p->digest), &n) ||
	    n != DIGEST_LEN || !p->who.issuer || !p->who.sub || !p->who.login ||
	    dict_find(v->proofs, span_of(p->digest, DIGEST_LEN))) {
		proof_free(p);
		return false;
	}
	set_verified(p);
	dict_put(v->proofs, span_of(p->digest, DIGEST_LEN), p);
	return true;
}

bool vouch_decode(struct vouch *v, struct span json, struct err *err)
{
	scoped_json json_t *all = json_read(json, VOUCH_TEXT_MAX, err);

	if (!all)
		return err_prefix(err, "what was verified: ");
	for (size_t i = 0; i < json_array_size(all); i++)
		if (!take_one(v, json_array_get(all, i)))
			return err_set(err, ERR_SYNTAX, "what was verified: entry %zu is none", i);
	return true;
}
