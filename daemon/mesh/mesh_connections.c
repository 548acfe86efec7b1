/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/mesh_inside.h"

#include "base/mem.h"

#include <stdlib.h>

static struct cut_scope scope_of(const struct mesh *m, bool routed)
{
	return (struct cut_scope){
		.ranges = &m->ranges,
		.own = m->addresses,
		.own_n = m->addresses_n,
		.spared = m->fronts,
		.spared_n = m->conf.fronts_n,
		.routed = routed,
	};
}

static bool has_class(void *arg, const struct ip *peer)
{
	const struct mesh *m = arg;

	return dict_find(m->classes, mesh_key_of_ip(peer)) != NULL;
}

bool mesh_sweep_connections(struct mesh *m, bool routed, struct err *err)
{
	struct cut_scope scope = scope_of(m, routed);

	return cut_sweep(m->cut, &scope, has_class, m, &m->cut_count, err);
}

bool mesh_cut(struct mesh *m, struct err *err)
{
	struct cut_scope scope = scope_of(m, m->forward_n > 0);

	return !mesh_cut_waits(m) || cut_run(m->cut, &scope, &m->cut_count, err);
}

bool mesh_cut_waits(const struct mesh *m)
{
	return m->cut && cut_waits(m->cut, NULL);
}

struct cut_count mesh_cut_count(const struct mesh *m)
{
	return m->cut_count;
}

const char *mesh_cut_unable(const struct mesh *m)
{
	return m->cut ? cut_unable(m->cut) : NULL;
}

void mesh_note_expired(struct mesh *m, struct boot now)
{
	struct span key;
	size_t pos = 0;
	void *value;

	while (dict_next(m->classes, &pos, &key, &value)) {
		struct class *c = value;

		if (!boot_passed(c->deadline, now))
			continue;
		cut_add(m->cut, &c->c.ip);
		free(dict_remove(m->classes, key));
	}
}

static void learn_class(void *arg, const struct filter_class *c)
{
	struct mesh *m = arg;
	struct class *new = mem_alloc(sizeof(*new));

	*new = (struct class){ .c = *c, .deadline = mesh_deadline(c->timeout_ms, clock_boot()) };
	free(dict_put(m->classes, mesh_key_of_ip(&c->ip), new));
}

bool mesh_adopt(struct mesh *m, struct err *err)
{
	return filter_classes(m->filter, learn_class, m, err) && mesh_sweep_connections(m, true, err);
}
