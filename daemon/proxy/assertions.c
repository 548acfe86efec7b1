/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Signed assertions as a front has them: core makes one for an identity and a
 * service, and it serves every request of the two until it is nearly over.
 * A request that finds none waits, unread, until core has answered. Where a service
 * binds them, there is one for each method and path.
 */
#include "daemon/proxy/engine.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct assertion {
	struct assertion *next;         /* of its bucket */
	uint64_t          cookie;       /* of the question under way; 0: answered */
	uint32_t          slot, service;
	char             *bound;        /* method and path, one behind the other; NULL: to no request */
	size_t            method_len, path_len;
	int64_t           asked, exp;   /* boot ns; wall seconds */
	char             *text;         /* NULL: core had none to give */
	size_t            len;
	struct conn      *waiting;      /* through conn.wait_next */
};

static struct assertion **bucket(struct front *f, uint32_t slot, uint32_t service, struct span path)
{
	uint32_t h = slot * 31 + service;

	for (size_t i = 0; i < path.len; i++)
		h = h * 31 + (unsigned char)path.ptr[i];
	return &f->assertions[h % array_size(f->assertions)];
}

static bool is_of(const struct assertion *a, uint32_t slot, uint32_t service, struct span method, struct span path)
{
	return a->slot == slot && a->service == service && span_eq(span_of(a->bound, a->method_len), method) &&
	       span_eq(span_of(a->bound + a->method_len, a->path_len), path);
}

static void wake(struct assertion *a)
{
	while (a->waiting) {
		struct conn *c = a->waiting;

		a->waiting = c->wait_next;
		c->wait_next = NULL;
		c->waits = NULL;
		conn_later(c);
	}
}

void assertions_clear(struct front *f)
{
	for (size_t i = 0; i < array_size(f->assertions); i++) {
		while (f->assertions[i]) {
			struct assertion *a = f->assertions[i];

			f->assertions[i] = a->next;
			wake(a);
			free(a->text);
			free(a->bound);
			free(a);
		}
	}
	f->assertion_count = 0;
}

static void ask(struct front *f, struct assertion *a)
{
	struct front_assert q = {
		.cookie = ++f->cookie, .slot = a->slot, .service = a->service,
		.method = span_of(a->bound, a->method_len),
		.path = span_of(a->bound + a->method_len, a->path_len),
	};

	a->cookie = q.cookie;
	a->asked = front_now(f);
	f->ops->assertion(f->arg, &q);
}

enum assertion_state assertion_get(struct exchange *ex, struct span *ret_text)
{
	struct conn *c = ex->conn;
	struct front *f = c->front;
	bool bind = (ex->svc->flags & SERVICE_ASSERTION_BOUND) != 0;
	struct span method = bind ? ex->method : SPAN(""), path = bind ? ex->path : SPAN("");
	struct assertion **at = bucket(f, c->slot, ex->service, path), *a = *at;
	int64_t now = front_now(f), wall = loop_wall(f->loop).sec;

	while (a && !is_of(a, c->slot, ex->service, method, path))
		a = a->next;
	if (!f->ops->assertion || path.len > FRONT_ASSERTION_PATH)
		return ASSERTION_NONE;
	if (!a) {
		if (f->assertion_count >= FRONT_ASSERTIONS)
			assertions_clear(f);    /* those in use come back with their next request */
		a = mem_alloc(sizeof(*a));
		a->slot = c->slot;
		a->service = ex->service;
		a->bound = mem_alloc(method.len + path.len + 1);
		memcpy(a->bound, method.ptr, method.len);
		memcpy(a->bound + method.len, path.ptr, path.len);
		a->method_len = method.len;
		a->path_len = path.len;
		a->next = *at;
		*at = a;
		f->assertion_count++;
		ask(f, a);
	} else if (!a->cookie && wall >= a->exp - FRONT_ASSERTION_EARLY) {
		ask(f, a);
	} else if (a->cookie && now - a->asked > FRONT_ASSERTION_NS) {
		ask(f, a);              /* core was away; its next life has not heard of us */
	}
	/* until the very end the old one serves while the new one is made */
	if (a->text && wall < a->exp) {
		*ret_text = span_of(a->text, a->len);
		return ASSERTION_READY;
	}
	if (!a->cookie || c->waited) {
		c->waited = false;
		return ASSERTION_NONE;
	}
	c->waits = a;
	c->wait_next = a->waiting;
	a->waiting = c;
	return ASSERTION_WAIT;
}

void assertion_leave(struct conn *c)
{
	struct conn **p = &c->waits->waiting;

	while (*p != c)
		p = &(*p)->wait_next;
	*p = c->wait_next;
	c->wait_next = NULL;
	c->waits = NULL;
}

void front_assertion(struct front *f, uint64_t cookie, struct span text, struct wall exp)
{
	for (size_t i = 0; i < array_size(f->assertions); i++) {
		for (struct assertion *a = f->assertions[i]; a; a = a->next) {
			if (a->cookie != cookie)
				continue;
			free(a->text);
			a->text = text.len ? span_dup(text) : NULL;
			a->len = text.len;
			/* a refusal counts for a while as well: core is not asked with every request */
			a->exp = text.len ? exp.sec : loop_wall(f->loop).sec + FRONT_ASSERTION_EARLY + 1;
			a->cookie = 0;
			wake(a);
			return;
		}
	}
}
