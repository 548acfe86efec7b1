/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Upstreams' host names: names.c finds where they are, net is told, and once
 * it says that it has it the fronts are told of the places. In this order, so
 * that no front asks net for a place that it has not heard of.
 */
#include "daemon/endpoint/core_inside.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { AGAIN_SEC = 1 };         /* after net's channel was full */

static void tell(void *arg)
{
	struct core *c = arg;
	const struct names_answer *a;
	struct msg m = { .type = MSG_NAME };
	struct err err = { 0 };

	while (c->net && (a = names_next(c->names, &m.name.name))) {
		m.name.serial = ++c->names_told;
		memcpy(m.name.at, a->at, sizeof(m.name.at));
		if (channel_send(c->net, &m, NULL, 0, &err))
			continue;
		log_warn("net: upstreams' names: %s", err.msg);
		names_tell_again(c->names);
		loop_timer_after(c->names_again, AGAIN_SEC * SEC_NS);
		return;
	}
}

static size_t count(const struct conf_map *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->count; i++)
		n += conf_service(m, i)->upstream.count;
	return n;
}

static size_t gather(const struct conf_map *m, struct span *list)
{
	size_t n = 0;

	for (size_t i = 0; i < m->count; i++) {
		const struct conf_strs *l = &conf_service(m, i)->upstream;
		struct conf_upstream u;

		for (size_t k = 0; k < l->count; k++)
			if (conf_upstream_parse(span_str(l->list[k]), &u, NULL) && u.name.len)
				list[n++] = u.name;
	}
	return n;
}

void core_names_use(struct core *c)
{
	const struct conf *conf = c->files->conf;
	scoped_free struct span *list = mem_calloc(count(&conf->services) + count(&conf->public) + 1, sizeof(*list));
	struct names_bounds b = { (const char *const *)conf->resolvers.list, conf->resolvers.count,
		                  conf->resolve_min, conf->resolve_max };
	size_t n = gather(&conf->services, list);
	struct err err = { 0 };

	n += gather(&conf->public, list + n);
	if (!n && !c->names)
		return;
	if (!c->names) {
		c->names = names_new(c->loop, tell, c, &err);
		if (!c->names) {
			log_error("%s: names in \"upstream\" are not looked up", err.msg);
			return;
		}
		c->names_again = loop_timer_new(c->loop, tell, c);
		world_set_names(c->world, c->names);
	}
	names_want(c->names, &b, list, n);
}

void core_names_up(struct core *c)
{
	if (!c->names)
		return;
	names_tell_again(c->names);
	tell(c);
}

void core_names_done(struct core *c, const struct msg_named *m)
{
	if (c->names && m->serial == c->names_told && names_settle(c->names))
		core_changed(c);
}

void core_names_free(struct core *c)
{
	names_free(c->names);
	loop_timer_free(c->names_again);
}
