/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whom a selector means, one question at a time. */
#include "policy/model.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static struct span plain(struct span s)
{
	if (s.len && s.ptr[s.len - 1] == '@')
		s.len--;
	return s;
}

/* A name that two people claim names nobody. */
bool user_is(const struct topology *topo, const struct topology_user *u, struct span token)
{
	if (!((u->login.len && span_eq(plain(u->login), token)) || (u->email.len && span_eq(u->email, token))))
		return false;
	return topology_user_by_login(topo, token) == u;
}

static bool in_list(const struct spans *l, struct span s)
{
	for (size_t i = 0; i < l->count; i++)
		if (span_eq(l->list[i], s))
			return true;
	return false;
}

bool user_in_group(const struct policy *pol, const struct topology *topo,
                   const struct topology_user *u, uint32_t group, struct span name, bool idp_only)
{
	const struct span tokens[] = { plain(u->login), u->email };

	if (idp_only)
		return false;
	/* A group that an owner's file defines is its own list, whatever the coordinator says. */
	if ((pol->mode != POLICY_OWNER || group == UINT32_MAX) && in_list(&u->groups, name))
		return true;
	if (group == UINT32_MAX)
		return false;
	for (size_t t = 0; t < array_size(tokens); t++) {
		const struct group_list *l = tokens[t].len ? dict_find(pol->member_index, tokens[t]) : NULL;

		for (size_t i = 0; l && i < l->count; i++)
			if (l->list[i] == group && user_is(topo, u, tokens[t]))
				return true;
	}
	return false;
}

bool session_holds(const struct topology_node *n, struct wall now)
{
	return now.sec < n->session.expires.sec;
}

bool node_has_tag(const struct topology_node *n, struct span tag)
{
	return in_list(&n->tags, tag);
}

/* Versions compare by their numbers, everything else by bytes: "13.10" is after "13.9". */
static int compare_values(struct span a, struct span b)
{
	size_t i = 0, k = 0;

	while (i < a.len && k < b.len) {
		bool da = a.ptr[i] >= '0' && a.ptr[i] <= '9', db = b.ptr[k] >= '0' && b.ptr[k] <= '9';

		if (da && db) {
			size_t ia, kb;

			while (i < a.len && a.ptr[i] == '0')
				i++;
			while (k < b.len && b.ptr[k] == '0')
				k++;
			for (ia = i; ia < a.len && a.ptr[ia] >= '0' && a.ptr[ia] <= '9'; ia++)
				;
			for (kb = k; kb < b.len && b.ptr[kb] >= '0' && b.ptr[kb] <= '9'; kb++)
				;
			if (ia - i != kb - k)
				return ia - i < kb - k ? -1 : 1;
			while (i < ia) {
				if (a.ptr[i] != b.ptr[k])
					return a.ptr[i] < b.ptr[k] ? -1 : 1;
				i++;
				k++;
			}
			continue;
		}
		if (a.ptr[i] != b.ptr[k])
			return (unsigned char)a.ptr[i] < (unsigned char)b.ptr[k] ? -1 : 1;
		i++;
		k++;
	}
	return (i < a.len) - (k < b.len);
}

static bool test_holds(const struct posture_test *t, const struct topology_node *n)
{
	const struct span *value = NULL;
	bool in = false;

	for (size_t i = 0; i < n->attr_count; i++)
		if (span_eq(n->attrs[i].name, t->attr))
			value = &n->attrs[i].value;
	if (!value)
		return t->op == OP_NOT_SET;
	for (size_t i = 0; i < t->values.count; i++)
		in |= span_eq(*value, t->values.list[i]);
	switch (t->op) {
	case OP_SET:
		return true;
	case OP_NOT_SET:
		return false;
	case OP_EQ:
	case OP_IN:
		return in;
	case OP_NE:
	case OP_NOT_IN:
		return !in;
	case OP_LT:
		return compare_values(*value, t->values.list[0]) < 0;
	case OP_LE:
		return compare_values(*value, t->values.list[0]) <= 0;
	case OP_GT:
		return compare_values(*value, t->values.list[0]) > 0;
	case OP_GE:
		return compare_values(*value, t->values.list[0]) >= 0;
	}
	return false;
}

bool posture_holds(const struct rule *r, const struct topology_node *n)
{
	for (size_t i = 0; i < r->posture_count; i++) {
		const struct posture *p = r->postures[i];
		bool all = true;

		for (size_t t = 0; t < p->test_count; t++)
			all &= test_holds(&p->tests[t], n);
		if (all)
			return true;
	}
	return r->posture_count == 0;
}

/* RFC 8176: "mfa" says so itself; else the methods must be of two different
 * kinds: something known, something held, something one is. Two of one kind
 * (two keys, a password and a PIN) are not several factors. */
static bool is_mfa(const struct topology_session *s)
{
	static const struct { const char *amr; unsigned kind; } methods[] = {
		{ "mfa", 7 }, { "pwd", 1 }, { "pin", 1 }, { "kba", 1 }, { "otp", 2 }, { "hwk", 2 }, { "swk", 2 },
		{ "sms", 2 }, { "tel", 2 }, { "sc", 2 }, { "pop", 2 }, { "fpt", 4 }, { "face", 4 }, { "iris", 4 },
		{ "retina", 4 }, { "vbm", 4 },
	};
	unsigned kinds = 0;

	for (size_t i = 0; i < s->amr.count; i++)
		for (size_t k = 0; k < array_size(methods); k++)
			if (span_eq(s->amr.list[i], span_str(methods[k].amr)))
				kinds |= methods[k].kind;
	return (kinds & (kinds - 1)) != 0;
}

bool auth_strong(const struct auth *a, const struct topology_session *s)
{
	if (!a->set)
		return true;
	if (s->cross_device)
		return false;
	if (a->mfa && !is_mfa(s))
		return false;
	if (a->acr.count && !in_list(&a->acr, s->acr))
		return false;
	for (size_t i = 0; i < a->amr.count; i++)
		if (!in_list(&s->amr, a->amr.list[i]))
			return false;
	return true;
}

static bool tag_owned(const struct policy *pol, const struct topology *topo, const struct topology_user *u,
                      struct span name, bool *seen)
{
	const struct tag *t = dict_find(pol->tag_index, name);

	/* Tags may own tags, in circles too: each is asked once. */
	if (!t || seen[t - pol->tags])
		return false;
	seen[t - pol->tags] = true;
	for (size_t i = 0; i < t->owner_count; i++) {
		const struct selector *s = &t->owners[i];

		switch (s->kind) {
		case SEL_USER:
			if (user_is(topo, u, s->name))
				return true;
			break;
		case SEL_GROUP:
			if (user_in_group(pol, topo, u, s->index, s->text, false))
				return true;
			break;
		case SEL_MEMBER:
			if (!u->shared)
				return true;
			break;
		case SEL_ROLE:
			if (in_list(&u->roles, s->name))
				return true;
			break;
		case SEL_TAG:
			if (tag_owned(pol, topo, u, s->text, seen))
				return true;
			break;
		default:
			break;
		}
	}
	return false;
}

bool policy_owns_tag(const struct policy *pol, const struct topology *topo, uint64_t user, struct span tag)
{
	const struct topology_user *u = topology_user(topo, user);
	scoped_free bool *seen = mem_calloc(pol->tag_count + 1, sizeof(*seen));

	return u && tag_owned(pol, topo, u, tag, seen);
}

static bool selects_node(const struct policy *pol, const struct topology *topo, const struct topology_node *n,
                         const struct selector *s)
{
	const struct topology_user *u = n->tags.count ? NULL : topology_user(topo, n->user);

	switch (s->kind) {
	case SEL_ANY:
		return true;
	case SEL_TAG:
		return node_has_tag(n, s->text);
	case SEL_TAGGED:
		return n->tags.count > 0;
	case SEL_IPS:
		return ipset_has(s->ips, &n->ip4) || ipset_has(s->ips, &n->ip6);
	case SEL_USER:
		return u && user_is(topo, u, s->name);
	case SEL_GROUP:
		return u && user_in_group(pol, topo, u, s->index, s->text, false);
	case SEL_MEMBER:
		return u && !u->shared;
	case SEL_ROLE:
		return u && in_list(&u->roles, s->name);
	default:
		return false;
	}
}

bool policy_approves_route(const struct policy *pol, const struct topology *topo, uint64_t node,
                           const struct prefix *route)
{
	const struct topology_node *n = topology_node(topo, node);

	if (!n)
		return false;
	/* Exit routes are approved by "exitNode" alone, whatever prefixes are listed. */
	if (route->bits == 0) {
		for (size_t i = 0; i < pol->exit_approver_count; i++)
			if (selects_node(pol, topo, n, &pol->exit_approvers[i]))
				return true;
		return false;
	}
	for (size_t a = 0; a < pol->approver_count; a++) {
		if (!prefix_covers(&pol->approvers[a].route, route))
			continue;
		for (size_t i = 0; i < pol->approvers[a].who_count; i++)
			if (selects_node(pol, topo, n, &pol->approvers[a].who[i]))
				return true;
	}
	return false;
}

void policy_node_attrs(const struct policy *pol, const struct topology *topo, uint64_t node,
                       policy_attr_fn *fn, void *arg)
{
	const struct topology_node *n = topology_node(topo, node);

	for (size_t i = 0; n && i < pol->attr_count; i++) {
		const struct node_attr *a = &pol->attrs[i];
		bool hit = false;

		for (size_t t = 0; t < a->target_count; t++)
			hit |= selects_node(pol, topo, n, &a->target[t]);
		for (size_t k = 0; hit && k < a->attrs.count; k++)
			fn(arg, a->attrs.list[k]);
	}
}
