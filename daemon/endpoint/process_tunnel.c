/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/log.h"
#include "base/mem.h"
#include "daemon/endpoint/process_inside.h"
#include "daemon/endpoint/tunnel_process.h"

/* The userspace device is no process of the table: it has no channel and no configuration, and is
 * there only while net wants it. What net is told of it may find nobody: its next life asks. */

static void answer(struct processes *ps, bool on, const char *why)
{
	struct msg m = { .type = MSG_TUNNEL, .tunnel = { on, span_str(why) } };
	struct err err = { 0 };

	for (size_t i = 0; i < ps->count; i++)
		if (ps->list[i].kind == PROCESS_NET && ps->list[i].channel &&
		    !channel_send(ps->list[i].channel, &m, NULL, 0, &err))
			log_error("%s: %s", ps->list[i].name, err.msg);
}

static void on_start(void *arg)
{
	answer(arg, true, "");
}

void process_tunnel_end(struct processes *ps)
{
	tunnel_process_free(take(ps->tunnel));
}

void process_tunnel(struct processes *ps, bool on)
{
	const struct privilege_users *u = &ps->setup.users;
	struct err err = { 0 };

	if (!on) {
		process_tunnel_end(ps);
	} else if (ps->tunnel) {
		if (tunnel_process_runs(ps->tunnel))
			answer(ps, true, "");
	} else if (!ps->ending && ps->now.conf->mode != CONF_STANDALONE) {
		ps->tunnel = tunnel_process_new(ps->loop, ps->now.conf->mesh.interface, u->tunnel,
		                                u->tunnel_group, on_start, ps, &err);
		if (!ps->tunnel)
			answer(ps, false, err.msg);
	}
}
