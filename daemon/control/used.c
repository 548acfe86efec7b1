/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/used.h"

#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/control/fields.h"
#include "daemon/control/map.h"

#include <stdlib.h>
#include <string.h>

enum { REPLY_MAX = 1024 };

void used_done(struct used_list *l)
{
	free(l->list);
	*l = (struct used_list){ 0 };
}

void used_encode(const struct used_list *l, struct buf *out)
{
	char id[MAP_ID_MAX];

	buf_add_str(out, "{\"v\":1,\"used\":[");
	for (size_t i = 0; i < l->count; i++)
		buf_addf(out, "%s\"%s\"", i ? "," : "", map_id_text('n', l->list[i], id));
	buf_add_str(out, "]}");
}

bool used_decode(struct span json, struct used_list *ret_l, struct err *err)
{
	scoped_json json_t *root = json_read(json, USED_BODY_MAX, err);
	struct used_list l = { 0 };

	if (!root)
		return false;

	struct fields f = fields_of(root, err);
	const json_t *arr = fields_array(&f, "used", USED_MAX);

	l.list = mem_calloc(json_array_size(arr) + 1, sizeof(*l.list));
	for (size_t i = 0; i < json_array_size(arr) && !f.bad; i++) {
		const json_t *one = json_array_get(arr, i);
		struct span id = span_of(json_string_value(one), json_string_length(one));

		if (!map_id_parse(id, 'n', &l.list[l.count++]))
			fields_fail(&f, ERR_SYNTAX, "used", "not the id of a node");
	}
	if (f.bad) {
		used_done(&l);
		return false;
	}
	*ret_l = l;
	return true;
}

void used_reply_encode(int64_t every, struct buf *out)
{
	buf_addf(out, "{\"every\":%lld}\n", (long long)every);
}

bool used_reply_decode(struct span json, int64_t *ret_every, struct err *err)
{
	scoped_json json_t *root = json_read(json, REPLY_MAX, err);
	int64_t every;

	if (!root)
		return false;

	struct fields f = fields_of(root, err);

	every = fields_int(&f, "every", USED_EVERY_MIN, USED_EVERY_MAX, FIELD_REQUIRED);
	if (f.bad)
		return false;
	*ret_every = every;
	return true;
}

/* ---- who is still to be told of ---- */

void used_pending_init(struct used_pending *p)
{
	*p = (struct used_pending){ .waiting = dict_new() };
}

void used_pending_done(struct used_pending *p)
{
	dict_free(p->waiting);
	used_done(&p->sent);
	p->waiting = NULL;
}

void used_pending_note(struct used_pending *p, uint64_t node)
{
	if (dict_count(p->waiting) < USED_PENDING_MAX)
		dict_put(p->waiting, span_of(&node, sizeof(node)), p);
}

const struct used_list *used_pending_take(struct used_pending *p)
{
	struct span key;
	size_t pos = 0;
	void *v;

	if (p->sent.count || dict_count(p->waiting) == 0)
		return NULL;
	if (!p->sent.list)
		p->sent.list = mem_calloc(USED_MAX, sizeof(*p->sent.list));
	while (p->sent.count < USED_MAX && dict_next(p->waiting, &pos, &key, &v)) {
		memcpy(&p->sent.list[p->sent.count++], key.ptr, sizeof(*p->sent.list));
		dict_remove(p->waiting, key);
	}
	return &p->sent;
}

void used_pending_answered(struct used_pending *p, bool told)
{
	for (size_t i = 0; !told && i < p->sent.count; i++)
		used_pending_note(p, p->sent.list[i]);
	used_done(&p->sent);
}
