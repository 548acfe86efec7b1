/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core_inside.h"
#include "daemon/endpoint/glass.h"

#include "base/encode.h"
#include "base/log.h"

#include <string.h>

enum {
	LOOK_SEC = 10,
	TURN_SEC = 1,           /* while a peer has two keys */
	USED_SEC = 600,         /* a break-glass key that goes on is said again so often */
	GLASS_LINE_MAX = 32 << 10,      /* an entry with all the services and ports that it may have */
	DEAD_SEC = 180,         /* a WireGuard session without a handshake for so long is over (REJECT_AFTER_TIME) */
};

/* We send, nothing comes back, and there is no session: the address was not
 * the right one. The peer may know a better one, and then WireGuard learns it. */
static bool in_vain(const struct party *p, const struct msg_peer_status *st, struct wall now)
{
	return p->node && p->node->endpoint_count > 1 && st->tx > p->tx && st->rx == p->rx &&
	       (st->handshake == 0 || now.sec - st->handshake > DEAD_SEC);
}

/* It works when nobody else is asked, so it is said whenever it does: also by packets alone. */
static void say_used(struct core *c, struct party *p, const struct msg_peer_status *st)
{
	struct wall now = loop_wall(c->loop);
	scoped_buf struct buf b = { 0 };
	char time[WALL_TEXT_MAX], at[IP_TEXT_MAX];

	if (!p->node || !glass_is(p->node) || st->rx <= p->rx || now.sec - p->used.sec < USED_SEC)
		return;
	p->used = now;
	log_warn("break-glass: %s is used", p->node->tags.list[0].ptr);
	buf_init(&b, 2048);
	wall_text(now, time);
	buf_addf(&b, "{\"time\":\"%s\",\"event\":\"break-glass\",\"tag\":", time);
	buf_add_json(&b, p->node->tags.list[0]);
	buf_add_str(&b, ",\"node_name\":");
	buf_add_json(&b, p->node->name);
	buf_add_str(&b, ",\"key\":\"");
	base64_add(&b, span_of(p->node->key, sizeof(p->node->key)));
	buf_addf(&b, "\",\"from\":\"%s\"}\n", st->endpoint.ip.family == IP_NONE ? "" : ipport_text(&st->endpoint, at));
	if (c->audit && !b.over)
		audit_lines(c->audit, buf_span(&b));
}

static void add_list(struct buf *b, const char *name, const struct conf_strs *l)
{
	buf_addf(b, ",\"%s\":[", name);
	for (size_t i = 0; i < l->count; i++) {
		buf_add_str(b, i ? "," : "");
		buf_add_json(b, span_str(l->list[i]));
	}
	buf_add_char(b, ']');
}

void core_glass_listed(struct core *c)
{
	const struct conf *conf = c->files->conf;
	char time[WALL_TEXT_MAX];

	wall_text(loop_wall(c->loop), time);
	for (size_t i = 0; i < conf->glass.count; i++) {
		const struct conf_glass *g = (const struct conf_glass *)conf->glass.items + i;
		scoped_buf struct buf b = { 0 };
		bool in_force = conf->mode != CONF_STANDALONE;

		log_warn("break-glass: %s is listed%s", conf->glass.names[i],
		         in_force ? "" : ", but counts for nothing: standalone mode knows no device keys");
		buf_init(&b, GLASS_LINE_MAX);
		buf_addf(&b, "{\"time\":\"%s\",\"event\":\"break-glass-listed\",\"tag\":\"tag:break-glass-%s\",\"key\":", time,
		         conf->glass.names[i]);
		buf_add_json(&b, span_str(g->key));
		add_list(&b, "services", &g->services);
		add_list(&b, "ip", &g->ip);
		buf_addf(&b, ",\"in_force\":%s}\n", in_force ? "true" : "false");
		if (c->audit && !b.over)
			audit_lines(c->audit, buf_span(&b));
	}
}

static bool core_turn(struct core *c, const struct party *which)
{
	struct party *p = world_find_key(c->world, which->node->key);

	if (!p || !world_turn(c->world, p, !p->turned, loop_wall(c->loop)))
		return false;
	p->shake = p->shake_other;
	p->shake_other = 0;
	return true;
}

static void on_status(void *arg, const struct msg_status *part, const struct err *err)
{
	struct core *c = arg;
	const struct party *const *list;
	size_t n = world_parties(c->world, &list);
	bool moved = false, turned = false;

	(void)err;
	for (size_t i = 0; part && i < part->peers_n; i++) {
		const struct msg_peer_status *st = &part->peers[i];
		struct party *p = world_find_key(c->world, st->key);

		if (!p)
			continue;
		/* A second key counts from its first handshake; nothing else is asked of it. */
		if (p->node && memcmp(st->key, world_key(p), MSG_KEY_LEN) != 0) {
			p->shake_other = st->handshake;
			continue;
		}
		p->shake = st->handshake;
		if (in_vain(p, st, loop_wall(c->loop))) {
			p->way++;
			moved = true;
		}
		say_used(c, p, st);
		p->rx = st->rx;
		p->tx = st->tx;
	}
	/* Which of two keys is in use: the next one from its first handshake; the old one again, if that was given up. */
	for (size_t i = 0; !part && i < n; i++) {
		const struct party *p = list[i];

		if (p->turning && (p->turned ? p->shake_other > p->shake : p->shake_other && p->shake_other >= p->shake))
			turned |= core_turn(c, p);
	}
	if (turned)
		core_changed(c);
	else if (moved)
		core_net_changed(c);
}

void core_paths_look(void *core)
{
	struct core *c = core;
	const struct party *const *list;
	size_t n = world_parties(c->world, &list);

	bool turning = world_turning(c->world);

	loop_timer_after(c->paths, (turning ? TURN_SEC : LOOK_SEC) * SEC_NS);
	if (!c->told || !c->told->device)
		return;
	if (turning) {
		core_net_ask(c, on_status, c);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (list[i]->node && (list[i]->turning || list[i]->node->endpoint_count > 1 || glass_is(list[i]->node))) {
			core_net_ask(c, on_status, c);
			return;
		}
}
