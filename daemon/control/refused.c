/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/refused.h"

#include "base/hujson.h"
#include "base/mem.h"
#include "daemon/control/fields.h"
#include "daemon/control/map.h"

#include <stdlib.h>
#include <string.h>

void refused_done(struct refused_list *l)
{
	free(l->list);
	*l = (struct refused_list){ 0 };
}

bool refused_same(const struct refused_list *a, const struct refused_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->list[i].node != b->list[i].node || strcmp(a->list[i].why, b->list[i].why) != 0)
			return false;
	return true;
}

const struct refused_one *refused_find(const struct refused_list *l, uint64_t node)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->list[i].node == node)
			return &l->list[i];
	return NULL;
}

void refused_encode(const struct refused_list *l, struct buf *out)
{
	char id[MAP_ID_MAX];

	buf_add_str(out, "{\"v\":1,\"refused\":[");
	for (size_t i = 0; i < l->count; i++) {
		buf_addf(out, "%s{\"node\":\"%s\",\"why\":", i ? "," : "", map_id_text('n', l->list[i].node, id));
		buf_add_json(out, span_str(l->list[i].why));
		buf_add_char(out, '}');
	}
	buf_add_str(out, "]}");
}

bool refused_decode(struct span json, struct refused_list *ret_l, struct err *err)
{
	scoped_json json_t *root = json_read(json, REFUSED_BODY_MAX, err);
	struct refused_list l = { 0 };

	if (!root)
		return false;

	struct fields f = fields_of(root, err);
	const json_t *arr = fields_array(&f, "refused", REFUSED_MAX);

	l.list = mem_calloc(json_array_size(arr) + 1, sizeof(*l.list));
	for (size_t i = 0; i < json_array_size(arr) && !f.bad; i++) {
		struct fields in = fields_of(json_array_get(arr, i), err);
		struct refused_one *one = &l.list[l.count++];

		if (!map_id_parse(fields_str(&in, "node", MAP_ID_MAX, FIELD_REQUIRED), 'n', &one->node) && !in.bad)
			fields_fail(&in, ERR_SYNTAX, "node", "not the id of a node");
		fields_cstr(&in, "why", one->why, sizeof(one->why), FIELD_REQUIRED);
		if (!in.bad && !span_is_print(span_str(one->why)))
			fields_fail(&in, ERR_SYNTAX, "why", "not printable ASCII");
		f.bad = in.bad;
	}
	if (f.bad) {
		refused_done(&l);
		return false;
	}
	*ret_l = l;
	return true;
}
