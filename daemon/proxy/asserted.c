/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A snapshot of one caller and one service, and the front's own code over it. */
#include "daemon/proxy/asserted.h"

#include "base/arena.h"
#include "base/mem.h"
#include "daemon/proxy/profiles.h"

#include <stdlib.h>
#include <string.h>

enum { GROUPS_MAX = 1024, HEAD_MAX = 64 << 10 };

struct caller { struct span groups[GROUPS_MAX]; size_t count; struct arena arena; };

static void add_group(struct caller *c, struct span g)
{
	for (size_t i = 0; i < c->count; i++)
		if (span_eq(c->groups[i], g))
			return;
	if (c->count < GROUPS_MAX)
		c->groups[c->count++] = arena_copy(&c->arena, g);
}

/* An application is told "lab", whether the file or the IdP says so. */
static void take_group(void *arg, struct span group)
{
	add_group(arg, span_starts(group, SPAN("group:")) ? span_from(group, strlen("group:")) : group);
}

bool asserted_headers(void *arg, const struct topology_service *service, const struct topology_user *user,
                    const struct topology_node *node, assert_header_fn *fn, void *fn_arg)
{
	static const struct span listens[] = { { "80", 2 } };
	const struct header_source *src = arg;
	struct caller *c = mem_alloc(sizeof(*c));
	struct ident id = { .kind = user ? IDENT_PERSON : IDENT_TAGGED, .generation = 1, .node_name = node->name,
		.tags = node->tags.list, .tag_count = node->tags.count, .expires_boot = BOOT_NEVER };
	struct service_desc d = { .name = service->name, .listens = listens, .listen_count = 1, .hosts = service->hosts.list,
		.host_count = service->hosts.count, .profiles = service->profiles.list, .profile_count = service->profiles.count };
	struct snapshot_builder *b = snapshot_builder_new();
	struct profile_about about = { 0 };
	scoped_buf struct buf block = { 0 };
	struct head_out out = { mem_alloc(HEAD_MAX), 0, HEAD_MAX, false };
	struct span rest, line;
	uint32_t words[1] = { 1 }, slot, index;
	const char *why = NULL;
	struct err err;
	bool ok = false;

	arena_init(&c->arena, 4096);
	if (user) {
		policy_user_groups(src->pol, src->topo, user->id, take_group, c);
		for (size_t i = 0; i < node->session.groups.count; i++)
			add_group(c, node->session.groups.list[i]);
		id.login = user->login.len ? user->login : user->email;
		id.name = user->name;
		id.email = user->email;
		id.acr = node->session.acr;
		id.amr = node->session.amr.list;
		id.amr_count = node->session.amr.count;
		id.auth_time = node->session.auth_time;
		id.groups = c->groups;
		id.group_count = c->count;
	}
	if (!snapshot_add_ident(b, &id, &slot, &err) || !snapshot_add_service(b, &d, &index, &err)) {
		snapshot_builder_free(b);
	} else if (snapshot_finish(b, &block, &err)) {
		struct snapshot *s = snapshot_open_mem(block.ptr, block.len, words, 1, &err);

		about.snapshot = s;
		about.ident = s ? snapshot_ident(s, slot) : NULL;
		about.address = node->ip4.family == IP_NONE ? node->ip6 : node->ip4;
		ok = s && profiles_write(&about, snapshot_service(s, index)->headers, &out, &why) && !out.over;
		rest = span_of(out.ptr, ok ? out.len : 0);
		while (rest.len && span_next(&rest, '\n', &line)) {
			size_t colon = span_find(line, ':');

			if (line.len && line.ptr[line.len - 1] == '\r')
				line.len--;
			if (colon < line.len)
				fn(fn_arg, span_head(line, colon), span_trim(span_from(line, colon + 1)));
		}
		snapshot_unref(s);
	}
	arena_done(&c->arena);
	free(c);
	free(out.ptr);
	return ok;
}
