/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

static void link_node(struct wheel *w, struct wheel_node *n, int64_t tick)
{
	struct wheel_node *head = &w->slots[tick % WHEEL_SLOTS];

	n->at = tick;
	n->prev = head;
	n->next = head->next;
	head->next->prev = n;
	head->next = n;
}

static void unlink_node(struct wheel_node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->prev = n->next = NULL;
}

/* The tick behind a deadline; one beyond the wheel's end is filed at its end and looked at again then. */
static int64_t tick_of(const struct wheel *w, int64_t due)
{
	int64_t tick = due / FRONT_TICK_NS + 1;

	if (tick <= w->tick)
		tick = w->tick + 1;
	if (tick > w->tick + WHEEL_SLOTS - 1)
		tick = w->tick + WHEEL_SLOTS - 1;
	return tick;
}

static void on_tick(void *arg)
{
	struct front *f = arg;
	struct wheel *w = &f->wheel;
	int64_t now = front_now(f), last = now / FRONT_TICK_NS;

	/* after a long sleep every slot is looked at once */
	if (last - w->tick > WHEEL_SLOTS)
		w->tick = last - WHEEL_SLOTS;
	while (w->tick < last) {
		struct wheel_node *head = &w->slots[++w->tick % WHEEL_SLOTS], *n;
		struct wheel_node list = { .prev = head->prev, .next = head->next };

		if (head->next == head)
			continue;
		/* taken off first: what fires may file anew, under this very slot */
		list.prev->next = list.next->prev = &list;
		head->prev = head->next = head;
		while ((n = list.next) != &list) {
			unlink_node(n);
			w->count--;
			if (n->due > now) {
				w->count++;
				link_node(w, n, tick_of(w, n->due));
			} else {
				n->fire(f, n);
			}
		}
	}
	if (w->count)
		loop_timer_set(w->timer, (struct boot){ (w->tick + 1) * FRONT_TICK_NS });
}

void wheel_init(struct front *f)
{
	struct wheel *w = &f->wheel;

	for (int i = 0; i < WHEEL_SLOTS; i++)
		w->slots[i].prev = w->slots[i].next = &w->slots[i];
	w->tick = front_now(f) / FRONT_TICK_NS;
	w->timer = loop_timer_new(f->loop, on_tick, f);
}

void wheel_done(struct front *f)
{
	loop_timer_free(f->wheel.timer);
}

void wheel_set(struct front *f, struct wheel_node *n, int64_t due)
{
	struct wheel *w = &f->wheel;
	int64_t tick;

	n->due = due;
	if (n->next && n->at * FRONT_TICK_NS <= due)
		return; /* it will be looked at before then, and filed anew */
	if (!w->count) {
		w->tick = front_now(f) / FRONT_TICK_NS;
		loop_timer_set(w->timer, (struct boot){ (w->tick + 1) * FRONT_TICK_NS });
	}
	tick = tick_of(w, due);
	if (n->next) {
		if (n->at <= tick)
			return;
		unlink_node(n);
		w->count--;
	}
	w->count++;
	link_node(w, n, tick);
}

void wheel_remove(struct front *f, struct wheel_node *n)
{
	if (!n->next)
		return;
	unlink_node(n);
	f->wheel.count--;
}
