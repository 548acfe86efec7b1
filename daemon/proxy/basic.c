/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For applications that know passwords alone: "Authorization: Basic" (RFC 7617)
 * with the person's name and one secret of the service, in place of whatever
 * the client says there. Secrets come from core beside the snapshot, which holds none;
 * they are wiped here, and with the head in which they were written.
 */
#include "daemon/proxy/engine.h"

#include "base/encode.h"
#include "base/mem.h"
#include "base/secret.h"
#include "daemon/proxy/profiles.h"

#include <stdlib.h>
#include <string.h>

struct basic {
	struct basic *next;
	char         *service;
	struct secret secret;
};

static void list_free(struct basic *b)
{
	while (b) {
		struct basic *next = b->next;

		secret_done(&b->secret);
		free(b->service);
		free(b);
		b = next;
	}
}

void front_basic_begin(struct front *f)
{
	list_free(f->basics_coming);
	f->basics_coming = NULL;
}

void front_basic_add(struct front *f, struct span service, struct span secret)
{
	struct basic *b = mem_alloc(sizeof(*b));

	b->service = span_dup(service);
	secret_init(&b->secret, secret.ptr, secret.len);
	b->next = f->basics_coming;
	f->basics_coming = b;
}

void front_basic_commit(struct front *f)
{
	list_free(f->basics);
	f->basics = f->basics_coming;
	f->basics_coming = NULL;
}

void basics_free(struct front *f)
{
	front_basic_begin(f);
	front_basic_commit(f);
}

bool basic_replaces(const struct exchange *ex, struct span name)
{
	char buf[HTTP_NAME_MAX];

	return (ex->svc->flags & SERVICE_BASIC) && span_eq(header_fold(name, buf), SPAN("authorization"));
}

bool basic_write(struct exchange *ex, struct head_out *o, const char **ret_why)
{
	const struct snap_ident *d = snapshot_ident(ex->snap, ex->conn->slot);
	struct span service = snapshot_text(ex->snap, ex->svc->name), login;
	const struct basic *b = ex->conn->front->basics;
	struct buf plain, text;

	if (!(ex->svc->flags & SERVICE_BASIC) || !d || d->kind != IDENT_PERSON)
		return true;
	while (b && !span_eq(span_str(b->service), service))
		b = b->next;
	login = snapshot_text(ex->snap, d->login);
	if (ex->svc->flags & SERVICE_BASIC_SHORT)
		login = span_head(login, span_find(login, '@'));
	/* what stands before the first colon is the name: another could end it early */
	if (!b || !login.len || !span_is_print(login) || span_find(login, ':') < login.len) {
		*ret_why = b ? "its user name cannot stand in a Basic header" : "the service's secret is not here yet";
		return false;
	}
	buf_init(&plain, PROFILE_VALUE_MAX);
	buf_init(&text, 2 * PROFILE_VALUE_MAX);
	buf_add_span(&plain, login);
	buf_add_char(&plain, ':');
	buf_add_span(&plain, secret_span(&b->secret));
	buf_add_str(&text, "Basic ");
	base64_add(&text, buf_span(&plain));
	ex->secret = true;
	head_add_field(o, SPAN("Authorization"), buf_span(&text));
	o->over = o->over || plain.over || text.over;
	buf_wipe_done(&plain);
	buf_wipe_done(&text);
	return true;
}
