/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Which upstreams are not well, as each front says of its own: what health
 * checks found, and what rests after failures. A front that comes, or that we
 * come back to, says all that it has; what it never said is well.
 */
#include "daemon/endpoint/core_inside.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { UNWELL_MAX = 4096 };     /* of all fronts: more are as good as all */

struct core_unwell {
	struct core_unwell      *next;
	const struct core_front *front;
	char                    *service, *upstream, *why, *rest_why;
	bool                     down;
	struct boot              rest;          /* until then it gets nothing */
};

static void unwell_free(struct core_unwell *u)
{
	free(u->service);
	free(u->upstream);
	free(u->why);
	free(u->rest_why);
	free(u);
}

void core_health_forget(struct core *c, const struct core_front *f)
{
	for (struct core_unwell **p = &c->unwell; *p;) {
		struct core_unwell *u = *p;

		if (f && u->front != f) {
			p = &u->next;
			continue;
		}
		*p = u->next;
		unwell_free(u);
	}
}

static void set_text(char **at, struct span text)
{
	free(*at);
	*at = span_dup(text);
}

void core_health_told(struct core *c, const struct core_front *f, const struct msg_upstream *m)
{
	struct boot now = loop_now(c->loop);
	struct core_unwell **p = &c->unwell, *u;
	size_t n = 0;

	for (; (u = *p); p = &u->next, n++)
		if (u->front == f && span_eq(span_str(u->service), m->service) &&
		    span_eq(span_str(u->upstream), m->upstream))
			break;
	if (!u) {
		if (n >= UNWELL_MAX || (!m->down && !m->rest_ms))
			return;
		u = *p = mem_alloc(sizeof(*u));
		u->front = f;
		u->service = span_dup(m->service);
		u->upstream = span_dup(m->upstream);
	}
	if (m->rest_ms) {
		u->rest = boot_add(now, (int64_t)m->rest_ms * (SEC_NS / 1000));
		set_text(&u->rest_why, m->why);
	} else {
		u->down = m->down;
		set_text(&u->why, m->why);
	}
	if (!u->down && boot_passed(u->rest, now)) {
		*p = u->next;
		unwell_free(u);
	}
}

unsigned core_health_look(const struct core *c, enum process_kind kind, const char *service, const char *upstream,
                          const char **ret_state, const char **ret_why)
{
	struct boot now = loop_now(c->loop);
	unsigned n = 0;

	*ret_state = "well";
	*ret_why = "";
	for (const struct core_unwell *u = c->unwell; u; u = u->next) {
		bool rests = !boot_passed(u->rest, now);

		if (u->front->kind != kind || strcmp(u->service, service) != 0 || strcmp(u->upstream, upstream) != 0 ||
		    (!u->down && !rests))
			continue;
		n++;
		if (u->down || strcmp(*ret_state, "well") == 0) {
			*ret_state = u->down ? "down" : "resting";
			*ret_why = u->down ? u->why : u->rest_why;
		}
	}
	return n;
}
