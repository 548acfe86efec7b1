/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core_inside.h"

enum {
	LOOK_SEC = 10,
	DEAD_SEC = 180,         /* a WireGuard session without a handshake for so long is over (REJECT_AFTER_TIME) */
};

/* We send, nothing comes back, and there is no session: the address was not
 * the right one. The peer may know a better one, and then WireGuard learns it. */
static bool in_vain(const struct party *p, const struct msg_peer_status *st, struct wall now)
{
	return p->node && p->node->endpoint_count > 1 && st->tx > p->tx && st->rx == p->rx &&
	       (st->handshake == 0 || now.sec - st->handshake > DEAD_SEC);
}

static void on_status(void *arg, const struct msg_status *part, const struct err *err)
{
	struct core *c = arg;
	bool moved = false;

	(void)err;
	for (size_t i = 0; part && i < part->peers_n; i++) {
		const struct msg_peer_status *st = &part->peers[i];
		struct party *p = world_find_key(c->world, st->key);

		if (!p)
			continue;
		if (in_vain(p, st, loop_wall(c->loop))) {
			p->way++;
			moved = true;
		}
		p->rx = st->rx;
		p->tx = st->tx;
	}
	if (moved)
		core_net_changed(c);
}

void core_paths_look(void *core)
{
	struct core *c = core;
	const struct party *const *list;
	size_t n = world_parties(c->world, &list);

	loop_timer_after(c->paths, LOOK_SEC * SEC_NS);
	if (!c->told || !c->told->device)
		return;
	for (size_t i = 0; i < n; i++)
		if (list[i]->node && list[i]->node->endpoint_count > 1) {
			core_net_ask(c, on_status, c);
			return;
		}
}
