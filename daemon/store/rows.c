/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/rows.h"

#include "base/mem.h"

#include <stdlib.h>

void node_row_free(struct node_row *r)
{
	if (!r)
		return;
	free(r->name);
	free(r->tags);
	free(r->os);
	free(r->report);
	free(r->routes);
	free(r->from);
	free(r->browser);
	free(r->next_vouches);
	free(r->was_vouches);
	free(r);
}

void user_row_free(struct user_row *r)
{
	if (!r)
		return;
	free(r->issuer);
	free(r->sub);
	free(r->login);
	free(r->name);
	free(r->email);
	free(r->groups);
	free(r->sources);
	free(r->absent);
	free(r->disabled);
	free(r);
}

void session_row_free(struct session_row *r)
{
	if (!r)
		return;
	free(r->issuer);
	free(r->acr);
	free(r->amr);
	free(r->groups);
	free(r->from);
	free(r->why);
	free(r->provider);
	free(r->sub);
	free(r->sid);
	free(r->refresh);
	free(r->id_token);
	free(r);
}

void key_row_free(struct key_row *r)
{
	if (!r)
		return;
	free(r->tags);
	free(r->note);
	free(r);
}

void policy_row_free(struct policy_row *r)
{
	if (!r)
		return;
	free(r->text);
	free(r);
}

void held_row_free(struct held_row *r)
{
	if (!r)
		return;
	free(r->source);
	free(r->kind);
	free(r->group);
	free(r);
}

void mesh_row_done(struct mesh_row *r)
{
	free(r->name);
	*r = (struct mesh_row){ 0 };
}

void row_changes_done(struct row_changes *c)
{
	for (size_t i = 0; i < c->count; i++) {
		struct row_change *r = &c->list[i];

		switch (r->kind) {
		case ROW_NODE:
			node_row_free(r->node);
			break;
		case ROW_USER:
			user_row_free(r->user);
			break;
		case ROW_SESSION:
			session_row_free(r->session);
			break;
		case ROW_KEY:
			key_row_free(r->key);
			break;
		case ROW_POLICY:
			policy_row_free(r->policy);
			break;
		case ROW_HELD:
			held_row_free(r->held);
			break;
		}
	}
	free(c->list);
	*c = (struct row_changes){ 0 };
}

struct row_change *row_changes_add(struct row_changes *c, enum row_kind kind, uint64_t id)
{
	if (c->count == c->room) {
		c->room = c->room ? c->room * 2 : 8;
		c->list = mem_realloc(c->list, c->room, sizeof(*c->list));
	}
	c->list[c->count] = (struct row_change){ .kind = kind, .id = id };
	return &c->list[c->count++];
}

bool row_list_next(struct span *rest, struct span *ret_item)
{
	struct span item;

	while (span_next(rest, '\n', &item))
		if (item.len) {
			*ret_item = item;
			return true;
		}
	return false;
}

bool row_list_has(const char *list, struct span item)
{
	struct span rest = span_str(list), one;

	while (row_list_next(&rest, &one))
		if (span_eq(one, item))
			return true;
	return false;
}
