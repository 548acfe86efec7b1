/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/disbelief.h"

#include "base/hash.h"
#include "base/mem.h"
#include "daemon/control/refused.h"
#include "daemon/coordinator/audit.h"
#include "daemon/coordinator/registry.h"

#include <stdlib.h>
#include <string.h>

struct disbelief {
	struct dict *by;        /* endpoint id -> struct refused_list; those that refuse somebody */
};

struct disbelief *disbelief_new(void)
{
	struct disbelief *d = mem_alloc(sizeof(*d));

	d->by = dict_new();
	return d;
}

static void list_free(struct refused_list *l)
{
	if (l)
		refused_done(l);
	free(l);
}

void disbelief_free(struct disbelief *d)
{
	struct span key;
	size_t      pos = 0;
	void       *v;

	if (!d)
		return;
	while (dict_next(d->by, &pos, &key, &v))
		list_free(v);
	dict_free(d->by);
	free(d);
}

static struct span id_key(const uint64_t *id)
{
	return span_of(id, sizeof(*id));
}

bool disbelief_take(struct disbelief *d, const struct registry *reg, struct audit *audit, struct wall now,
		    uint64_t endpoint, struct span body, struct err *err)
{
	struct refused_list *was = dict_find(d->by, id_key(&endpoint)), next;

	if (!refused_decode(body, &next, err))
		return false;
	for (size_t i = 0; i < next.count; i++) {
		const struct refused_one *before = was ? refused_find(was, next.list[i].node) : NULL;
		const struct reg_node    *e = registry_node(reg, endpoint);
		const struct reg_node    *n = registry_node(reg, next.list[i].node);

		if (before && strcmp(before->why, next.list[i].why) == 0)
			continue;
		struct buf *b = audit_begin(audit, now, "not-believed");
		audit_id(b, "endpoint", 'n', endpoint);
		audit_str(b, "endpoint_name", e ? e->row->name : "");
		audit_id(b, "node", 'n', next.list[i].node);
		audit_str(b, "name", n ? n->row->name : "");
		audit_str(b, "reason", next.list[i].why);
		audit_end(audit);
	}
	list_free(dict_remove(d->by, id_key(&endpoint)));
	if (next.count) {
		was = mem_alloc(sizeof(*was));
		*was = next;
		dict_put(d->by, id_key(&endpoint), was);
	} else {
		refused_done(&next);
	}
	return true;
}

static void add_one(const struct registry *reg, uint64_t id, const char *why, bool more, struct buf *out)
{
	const struct reg_node *n = registry_node(reg, id);
	char                   text[MAP_ID_MAX];

	buf_addf(out, "%s{\"node\":\"%s\",\"name\":", more ? "," : "", map_id_text('n', id, text));
	buf_add_json(out, span_str(n ? n->row->name : ""));
	buf_add_str(out, ",\"why\":");
	buf_add_json(out, span_str(why));
	buf_add_char(out, '}');
}

void disbelief_json(const struct disbelief *d, const struct registry *reg, uint64_t node, struct buf *out)
{
	const struct refused_list *own = dict_find(d->by, id_key(&node));
	struct span                key;
	size_t                     pos = 0;
	bool                       any = false;
	void                      *v;

	for (size_t i = 0; own && i < own->count; i++) {
		if (i == 0)
			buf_add_str(out, ",\"refuses\":[");
		add_one(reg, own->list[i].node, own->list[i].why, i > 0, out);
	}
	if (own)
		buf_add_char(out, ']');
	while (dict_next(d->by, &pos, &key, &v)) {
		const struct refused_one *one = refused_find(v, node);
		uint64_t                  by;

		memcpy(&by, key.ptr, sizeof(by));
		/* An endpoint that is gone says nothing any more. */
		if (!one || !registry_node(reg, by))
			continue;
		if (!any)
			buf_add_str(out, ",\"refused_by\":[");
		add_one(reg, by, one->why, any, out);
		any = true;
	}
	if (any)
		buf_add_char(out, ']');
}
