/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/core_inside.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/wire.h"
#include "daemon/endpoint/sync.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	UNDER_WAY_MAX = 512,            /* orders that net has and did not answer */
	AGAIN_SEC = 5,                  /* after a failure: tell all again */
	ASKED_MAX = 16,
};

/* Orders wait here as bytes, in their order, until net has room. */
struct order {
	struct order *next;
	struct buf    bytes;
	int           fd;
};

struct core_asked {
	struct core_asked *next;
	uint32_t           order;
	core_status_fn    *fn;
	void              *arg;
};

static void order_free(struct order *o)
{
	buf_wipe_done(&o->bytes);
	if (o->fd >= 0)
		close(o->fd);
	free(o);
}

static void drop_orders(struct core *c)
{
	while (c->first) {
		struct order *next = c->first->next;

		order_free(c->first);
		c->first = next;
	}
	c->last = &c->first;
	c->waiting = c->under_way = 0;
}

static void pump(struct core *c)
{
	while (c->net && c->first && c->under_way < UNDER_WAY_MAX) {
		struct order *o = c->first;
		struct err err = { 0 };
		struct msg m;

		if (!msg_read(buf_span(&o->bytes), &m, &err) ||
		    !channel_send(c->net, &m, &o->fd, o->fd >= 0 ? 1 : 0, &err)) {
			mem_wipe(&m, sizeof(m));
			if (err.code == ERR_BUSY && c->under_way)
				return;
			log_error("net: an order could not be sent: %s", err.msg);
			loop_timer_after(c->net_again, AGAIN_SEC * SEC_NS);
			return;
		}
		mem_wipe(&m, sizeof(m));
		c->first = o->next;
		if (!c->first)
			c->last = &c->first;
		c->waiting--;
		c->under_way++;
		order_free(o);
	}
}

static void give(void *arg, struct msg *m, struct span bytes)
{
	struct core *c = arg;
	struct order *o = mem_alloc(sizeof(*o));
	struct err err = { 0 };

	/* Every order's number stands first in its struct. */
	m->order = ++c->order;
	o->fd = -1;
	buf_init(&o->bytes, WIRE_MAX);
	if (!msg_write(m, &o->bytes, &err) ||
	    (bytes.ptr && (o->fd = msg_memfd("reeve-order", bytes, &err)) < 0)) {
		log_error("net: %s: %s", msg_name(m->type), err.msg);
		snprintf(c->net_error, sizeof(c->net_error), "%s", err.msg);
		order_free(o);
		loop_timer_after(c->net_again, AGAIN_SEC * SEC_NS);
		return;
	}
	*c->last = o;
	c->last = &o->next;
	c->waiting++;
}

static void give_plain(struct core *c, enum msg_type type)
{
	struct msg m = { .type = type };

	give(c, &m, (struct span){ 0 });
}

static void give_device(struct core *c, const struct net_state *want)
{
	struct msg m = { .type = MSG_DEVICE };

	if (!want->device || c->key.len != MSG_KEY_LEN)
		return;
	memcpy(m.device.key, c->key.ptr, MSG_KEY_LEN);
	for (size_t i = 0; i < want->address_count; i++)
		m.device.addresses[m.device.addresses_n++] = want->addresses[i];
	for (size_t i = 0; i < want->range_count; i++)
		m.device.ranges[m.device.ranges_n++] = want->ranges[i];
	give(c, &m, (struct span){ 0 });
	mem_wipe(&m, sizeof(m));
}

/* Tells all again: what net has and was not told is removed by NET_END. */
static void tell_again(void *arg)
{
	struct core *c = arg;

	drop_orders(c);
	net_state_free(c->told);
	c->told = NULL;
	core_net_changed(c);
}

void core_net_up(struct core *c)
{
	drop_orders(c);
	net_state_free(c->told);
	c->told = NULL;
	if (!c->net_again)
		c->net_again = loop_timer_new(c->loop, tell_again, c);
	core_net_changed(c);
}

static void end_asked(struct core *c, const struct err *why)
{
	while (c->asked) {
		struct core_asked *a = c->asked;

		c->asked = a->next;
		a->fn(a->arg, NULL, why);
		free(a);
	}
}

void core_net_down(struct core *c)
{
	struct err err = { 0 };

	drop_orders(c);
	net_state_free(c->told);
	c->told = NULL;
	err_set(&err, ERR_NOTNOW, "the net process is restarting");
	end_asked(c, &err);
}

void core_net_deny(struct core *c, const struct net_state *want)
{
	if (!c->net || !c->told)
		return;
	orders_deny(c->told, want, give, c);
	pump(c);
}

void core_net_allow(struct core *c, struct net_state *want, struct boot now)
{
	bool all = c->told == NULL;

	if (!c->net || c->files->conf->mode == CONF_STANDALONE) {
		net_state_free(want);
		return;
	}
	if (all) {
		c->all_told = true;
		give_plain(c, MSG_RESET);
	}
	if (want->device) {
		if (orders_device(c->told, want))
			give_device(c, want);
		orders_allow(c->told, want, now, give, c);
	}
	if (all) {
		give_plain(c, MSG_NET_END);
	} else if (c->told->device && !want->device) {
		give_plain(c, MSG_RESET);
		give_plain(c, MSG_NET_END);
	}
	net_state_free(c->told);
	c->told = want;
	pump(c);
}

void core_net_done(struct core *c, const struct msg_done *d)
{
	bool asked = false;

	if (c->under_way)
		c->under_way--;
	for (struct core_asked **p = &c->asked; *p; p = &(*p)->next) {
		struct core_asked *a = *p;

		if (a->order != d->order)
			continue;
		*p = a->next;
		asked = true;
		a->fn(a->arg, NULL, NULL);
		free(a);
		break;
	}
	/* A question that finds no device yet changed nothing and is no failure. */
	if (d->code != ERR_NONE && !asked) {
		char text[LOG_TEXT_MAX];

		/* One cause fails many orders: it is said once. */
		if (strncmp(c->net_error, d->text.ptr ? d->text.ptr : "", d->text.len) != 0 || !*c->net_error)
			log_error("net: order %u: %s", d->order, log_text(d->text, text));
		snprintf(c->net_error, sizeof(c->net_error), "%.*s", (int)(d->text.len > 400 ? 400 : d->text.len),
		         d->text.ptr);
		loop_timer_after(c->net_again, AGAIN_SEC * SEC_NS);
	} else if (!c->first && !c->under_way) {
		c->net_error[0] = '\0';
	}
	pump(c);
	if (c->sync && c->all_told && !c->first && !c->under_way) {
		c->all_told = false;
		sync_report(c->sync);
	}
	if (c->sync)
		sync_settled(c->sync);
}

void core_net_status(struct core *c, const struct msg_status *s)
{
	for (struct core_asked *a = c->asked; a; a = a->next)
		if (a->order == s->order) {
			a->fn(a->arg, s, NULL);
			return;
		}
}

void core_net_ask(struct core *c, core_status_fn *fn, void *arg)
{
	struct core_asked *a;
	struct err err = { 0 };
	size_t n = 0;

	for (a = c->asked; a; a = a->next)
		n++;
	if (!c->net || n >= ASKED_MAX) {
		err_set(&err, ERR_BUSY, "the net process is not there");
		fn(arg, NULL, &err);
		return;
	}
	give_plain(c, MSG_STATUS_ASK);
	a = mem_alloc(sizeof(*a));
	a->order = c->order;
	a->fn = fn;
	a->arg = arg;
	a->next = c->asked;
	c->asked = a;
	pump(c);
}

void core_net_forget(struct core *c, void *arg)
{
	for (struct core_asked **p = &c->asked; *p;) {
		struct core_asked *a = *p;

		if (a->arg == arg) {
			*p = a->next;
			free(a);
		} else {
			p = &a->next;
		}
	}
}
