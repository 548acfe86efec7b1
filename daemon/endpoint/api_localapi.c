/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * whois in the shape of Tailscale's local API, for programs that were written
 * for it (tailcfg.Node, tailcfg.UserProfile and PeerCapMap as Go's encoding/json
 * writes them). What we do not have is absent or its zero value. Such programs
 * let in whomever the answer names: so nobody is named whose login does not
 * count at this moment, where /v1/whois tells why.
 */
#include "daemon/endpoint/api_answer.h"

#include "base/encode.h"
#include "base/mem.h"

#include <string.h>

/* What tailscaled says for a server's owner. */
static const char tagged_login[] = "tagged-devices", tagged_name[] = "Tagged Devices";

static json_t *text(struct span s)
{
	return json_stringn(s.ptr ? s.ptr : "", s.len);
}

static void add_prefix(json_t *list, const struct ip *ip)
{
	struct prefix p = { .ip = *ip, .bits = ip->family == IP_V4 ? 32 : 128 };
	char t[IP_TEXT_MAX], whole[IP_TEXT_MAX + 8];

	if (ip->family == IP_NONE)
		return;
	/* with its length even where it is one address, as Go writes a netip.Prefix */
	snprintf(whole, sizeof(whole), "%s/%u", ip_text(&p.ip, t), (unsigned)p.bits);
	json_array_append_new(list, json_string(whole));
}

static json_t *key_of(const struct map_node *n)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 128);
	buf_add_str(&b, "nodekey:");
	hex_add(&b, span_of(n->key, sizeof(n->key)));
	return text(buf_span(&b));
}

static json_t *time_of(int64_t sec)
{
	char t[WALL_TEXT_MAX];

	return json_string(sec ? wall_text((struct wall){ sec }, t) : "0001-01-01T00:00:00Z");
}

static json_t *tags_of(const struct span *l, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, text(l[i]));
	return a;
}

/* Go's int64, above zero: ids of rows in a file are 64 bits of a hash. */
static json_int_t number(uint64_t id)
{
	id &= INT64_MAX;
	return id ? (json_int_t)id : 1;
}

static json_t *profile(uint64_t id, struct span login, struct span name, struct span picture)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:[]}", "ID", number(id), "LoginName", text(login),
	                 "DisplayName", text(name.len ? name : login), "ProfilePicURL", text(picture), "Roles");
}

/* A name as MagicDNS would say it: "laptop.lab." */
static json_t *full_name(const struct core *c, struct span name)
{
	scoped_buf struct buf b = { 0 };

	buf_init(&b, 1024);
	buf_add_span(&b, name);
	buf_addf(&b, ".%s%s", world_mesh(c->world), *world_mesh(c->world) ? "." : "");
	return text(buf_span(&b));
}

static json_t *node_of(const struct core *c, const struct party *p, const struct ident *who, uint64_t user)
{
	const struct map_node *n = p->node;
	json_t *addresses = json_array(), *allowed, *node;
	char stable[MAP_ID_MAX], from[IP_TEXT_MAX];
	struct span name;

	if (n) {
		name = n->name;
		map_id_text('n', p->id, stable);
		add_prefix(addresses, &n->v4);
		add_prefix(addresses, p->turned ? &p->next_v6 : &n->v6);
	} else {
		name = span_str(prefix_text(&p->row->from, from));
		map_id_text('r', p->id, stable);
		add_prefix(addresses, &p->row->from.ip);
	}
	allowed = json_copy(addresses);
	for (size_t i = 0; n && i < n->route_count; i++)
		json_array_append_new(allowed, json_string(prefix_text(&n->routes[i], from)));
	node = json_pack("{s:I, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:{s:o}, s:o, s:b, s:o, s:o}",
		"ID", number(p->id), "StableID", stable, "Name", full_name(c, name), "User", number(user),
		"Key", n ? key_of(n) : json_string("nodekey:0000000000000000000000000000000000000000000000000000000000000000"),
		"KeyExpiry", time_of(who->kind == IDENT_PERSON ? who->expires.sec : 0),
		"Addresses", addresses, "AllowedIPs", allowed, "Hostinfo", "Hostname", text(name),
		"Created", time_of(0), "MachineAuthorized", 1, "ComputedName", text(name),
		"ComputedNameWithHost", text(name));
	if (who->tag_count)
		json_object_set_new(node, "Tags", tags_of(who->tags, who->tag_count));
	return node;
}

json_t *api_localapi_whois(const struct core *c, const struct ip *ip)
{
	const struct party *p = api_party(c, ip);
	struct world_now now;
	struct ident who;
	struct arena mem;
	json_t *out = NULL, *groups;
	uint64_t user;

	if (!p)
		return NULL;
	core_now(c, &now);
	arena_init(&mem, 1024);
	if (!world_lease_over(p, &now) && world_ident(c->world, p->id, &now, &mem, &who)) {
		user = p->node && p->node->user && !who.tag_count ? p->node->user->id : p->id;
		out = json_pack("{s:o, s:o, s:o}", "Node", node_of(c, p, &who, user), "UserProfile",
			who.tag_count ? profile(user, span_str(tagged_login), span_str(tagged_name), (struct span){ 0 })
			              : profile(user, who.login, who.name, who.picture),
			"CapMap", api_caps(c, p, ip));
		if (who.group_count) {
			groups = tags_of(who.groups, who.group_count);
			json_object_set_new(json_object_get(out, "UserProfile"), "Groups", groups);
		}
	}
	arena_done(&mem);
	return out;
}
