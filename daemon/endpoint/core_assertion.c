/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core_inside.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/assertion.h"
#include "daemon/proxy/profiles.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_NS (3600 * SEC_NS)

static bool service_wants(const struct conf_service *s)
{
	for (size_t i = 0; i < s->profiles.count; i++) {
		const struct profile *p = profile_find(span_str(s->profiles.list[i]));

		for (const struct profile_row *r = p ? p->rows : NULL; r && r->name; r++)
			if (strstr(r->value, "{assertion}"))
				return true;
	}
	for (size_t i = 0; i < s->headers.count; i++)
		if (strstr(((const struct conf_header *)s->headers.items)[i].value, "{assertion}"))
			return true;
	return false;
}

static bool wanted(const struct conf *conf)
{
	for (size_t i = 0; i < conf->services.count; i++)
		if (service_wants(conf_service(&conf->services, i)))
			return true;
	for (size_t i = 0; i < conf->public.count; i++)
		if (service_wants(conf_service(&conf->public, i)))
			return true;
	return false;
}

static void publish_keys(struct core *c)
{
	scoped_buf struct buf jwks = { 0 };

	buf_init(&jwks, ASSERTION_FILE_MAX);
	assertion_jwks(c->assertions, &jwks);
	if (world_set_jwks(c->world, buf_span(&jwks)))
		core_changed(c);
}

static void on_turn(void *arg)
{
	struct core *c = arg;
	struct err err = { 0 };

	if (!assertion_keys_turn(c->assertions, loop_wall(c->loop), &err))
		log_error("assertion keys: %s; the old ones stay", err.msg);
	publish_keys(c);
	loop_timer_after(c->assertion_turn, TURN_NS);
}

void core_assertion_use(struct core *c)
{
	scoped_free char *path = NULL;
	struct err err = { 0 };

	if (c->assertions || !wanted(c->files->conf))
		return;
	path = core_state_path(c, "assertion.json");
	c->assertions = assertion_keys_open(path, loop_wall(c->loop), &err);
	if (!c->assertions) {
		log_error("assertions: %s; services that carry them answer 503", err.msg);
		return;
	}
	publish_keys(c);
	c->assertion_turn = loop_timer_new(c->loop, on_turn, c);
	loop_timer_after(c->assertion_turn, TURN_NS);
}

void core_assertion_free(struct core *c)
{
	loop_timer_free(c->assertion_turn);
	assertion_keys_free(c->assertions);
}

/* ---- one of them ---- */

static bool make(struct core *c, const struct conf_map *services, const struct msg_assert *m, struct buf *out, struct wall *ret_exp, struct err *err)
{
	const struct world_slot *slot = core_fronts_slot(c, m->snapshot, m->slot);
	struct world_now now;
	struct ident id;
	struct arena mem;
	char host[300];
	bool ok;

	core_now(c, &now);
	/* Only for the newest snapshot: the service's index is of its configuration. */
	if (!slot || m->snapshot != c->generation || m->service >= services->count)
		return err_set(err, ERR_NOTNOW, "of an older snapshot");
	if (slot->generation == 0 || world_generation(c->world, slot->party, &now) != slot->generation)
		return err_set(err, ERR_DENIED, "this identity does not count any more");
	arena_init(&mem, 1024);
	snprintf(host, sizeof(host), "https://%s", world_host(c->world));
	ok = world_ident(c->world, slot->party, &now, &mem, &id);
	if (ok) {
		struct assertion a = {
			.issuer = span_str(host), .audience = span_str(services->names[m->service]),
			.subject = id.user.len ? id.user : id.login.len ? id.login : id.node,
			.login = id.login, .name = id.name, .email = id.email,
			.idp_issuer = id.issuer, .idp_subject = id.subject, .node = id.node,
			.groups = id.groups, .group_count = id.group_count,
			.tags = id.tags, .tag_count = id.tag_count, .amr = id.amr, .amr_count = id.amr_count,
			.acr = id.acr, .auth_time = id.auth_time, .method = m->method, .path = m->path,
			.ends = id.expires_boot.ns == BOOT_NEVER.ns ? (struct wall){ INT64_MAX } : id.expires,
		};

		ok = assertion_sign(c->assertions, &a, now.wall, out, ret_exp, err);
	} else {
		err_set(err, ERR_DENIED, "nobody acts for this node");
	}
	arena_done(&mem);
	return ok;
}

void core_assertion_ask(struct core *c, struct core_front *f, const struct msg_assert *m)
{
	struct msg answer = { .type = MSG_ASSERTED, .asserted = { .id = m->id } };
	scoped_buf struct buf text = { 0 };
	struct wall exp = { 0 };
	struct err err = { 0 };

	buf_init(&text, MSG_ASSERTION_MAX);
	if (!c->assertions || !c->files)
		err_set(&err, ERR_NOTNOW, "there are no keys");
	else if (make(c, f->kind == PROCESS_PUBLIC ? &c->files->conf->public : &c->files->conf->services, m, &text, &exp, &err))
		answer.asserted = (struct msg_asserted){ m->id, exp.sec, buf_span(&text) };
	if (err.code)
		log_debug("front %u: no assertion: %s", f->index, err.msg);
	if (!channel_send(f->channel, &answer, NULL, 0, &err))
		log_debug("front %u: %s", f->index, err.msg);
}
