/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What one name in a src or dst means, and ports and protocols beside it. */
#include "policy/model.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char *const autogroups[] = {
	"autogroup:member", "autogroup:members", "autogroup:tagged", "autogroup:self", "autogroup:internet",
	"autogroup:danger-all", "autogroup:shared", "autogroup:nonroot", "autogroup:admin",
	"autogroup:owner", "autogroup:it-admin", "autogroup:network-admin", "autogroup:billing-admin",
	"autogroup:auditor",
};

static const struct { const char *name; uint8_t number; } protos[] = {
	{ "icmp", 1 }, { "igmp", 2 }, { "ipv4", 4 }, { "ip-in-ip", 4 }, { "tcp", 6 }, { "egp", 8 },
	{ "igp", 9 }, { "udp", 17 }, { "gre", 47 }, { "esp", 50 }, { "ah", 51 }, { "ipv6-icmp", 58 },
	{ "sctp", 132 }, { "fc", 133 },
};

bool read_proto(struct span text, uint8_t *ret_proto, bool *ret_default, const char **ret_why)
{
	uint64_t n;

	*ret_default = false;
	if (text.len == 0) {
		*ret_default = true;
		*ret_proto = 0;
		return true;
	}
	for (size_t i = 0; i < array_size(protos); i++)
		if (span_ieq(text, span_str(protos[i].name))) {
			*ret_proto = protos[i].number;
			return true;
		}
	if (span_eq(text, SPAN("*"))) {
		*ret_why = "\"*\" is no protocol: leave it out, or name one or its number";
		return false;
	}
	if (!span_u64(text, UINT64_MAX, &n)) {
		*ret_why = "not a protocol name (tcp, udp, icmp, ...) or a number 1-255";
		return false;
	}
	if (text.ptr[0] == '0') {
		*ret_why = "a protocol number has no leading 0";
		return false;
	}
	if (n > 255) {
		*ret_why = "a protocol number is at most 255";
		return false;
	}
	*ret_proto = (uint8_t)n;
	return true;
}

static bool read_port(struct reader *r, struct span s, struct span whole, struct place at, uint16_t *ret)
{
	uint64_t n;

	if (!span_u64(s, UINT64_MAX, &n))
		return diag_error(r->diags, at, "port range \"%.*s\": \"%.*s\" is not a port number",
		                  SPAN_ARG(whole), SPAN_ARG(s));
	if (n > UINT16_MAX)
		return diag_error(r->diags, at, "port range \"%.*s\": %.*s is beyond 65535",
		                  SPAN_ARG(whole), SPAN_ARG(s));
	*ret = (uint16_t)n;
	return true;
}

bool read_ports(struct reader *r, struct span text, struct place at, const struct port_range **ret,
                size_t *ret_n)
{
	struct span rest = text, part;
	struct port_range *list;
	size_t n = 1, i = 0;

	if (span_eq(text, SPAN("*"))) {
		list = arena_alloc(&r->pol->arena, sizeof(*list));
		*list = (struct port_range){ 0, UINT16_MAX };
		*ret = list;
		*ret_n = 1;
		return true;
	}
	for (size_t k = 0; k < text.len; k++)
		n += text.ptr[k] == ',';
	if (n > POLICY_PORTS_MAX)
		return diag_error(r->diags, at, "more than %d ports in one list", POLICY_PORTS_MAX);
	list = arena_calloc(&r->pol->arena, n, sizeof(*list));
	while (span_next(&rest, ',', &part)) {
		size_t dash = span_find(part, '-');
		struct port_range p;

		if (!read_port(r, span_head(part, dash), text, at, &p.lo))
			return false;
		p.hi = p.lo;
		if (dash < part.len) {
			if (!read_port(r, span_from(part, dash + 1), text, at, &p.hi))
				return false;
			if (p.lo > p.hi)
				return diag_error(r->diags, at, "port range \"%.*s\": the first port is greater "
				                  "than the last", SPAN_ARG(text));
		} else if (p.lo == 0) {
			return diag_error(r->diags, at, "port range \"%.*s\": ports begin at 1; \"*\" means "
			                  "all", SPAN_ARG(text));
		}
		list[i++] = p;
	}
	*ret = list;
	*ret_n = i;
	return true;
}

/* "tag:web:80", "10.0.0.0/8:22", "[fd00::1]:80", "[fd00::]/64:80". */
bool read_split_port(struct span text, struct span *ret_dst, struct span *ret_port, const char **ret_why)
{
	size_t last = text.len;

	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] == ':')
			last = i;
	if (last == text.len) {
		*ret_why = "a destination here ends in \":PORT\" or \":*\"";
		return false;
	}
	if (last == 0) {
		*ret_why = "nothing before the colon";
		return false;
	}
	if (last == text.len - 1) {
		*ret_why = "nothing behind the last colon; \":*\" means every port";
		return false;
	}
	*ret_dst = span_head(text, last);
	*ret_port = span_from(text, last + 1);
	return true;
}

bool read_user_name(struct span text, struct span *ret_token)
{
	if (text.len < 2 || span_find(text, '@') == text.len)
		return false;
	if (text.ptr[text.len - 1] == '@')
		text.len--;
	*ret_token = text;
	return true;
}

static bool bracketed(struct arena *a, struct span text, struct span *ret)
{
	size_t close = span_find(text, ']');
	struct ip ip;

	if (close == text.len || !ip_parse(span_of(text.ptr + 1, close - 1), &ip) || ip.family != IP_V6)
		return false;
	if (close + 1 < text.len && text.ptr[close + 1] != '/')
		return false;
	*ret = arena_printf(a, "%.*s%.*s", (int)(close - 1), text.ptr + 1, SPAN_ARG(span_from(text, close + 1)));
	return true;
}

static const struct ipset *one_prefix(struct reader *r, const struct prefix *p)
{
	struct ipset *set = arena_alloc(&r->pol->arena, sizeof(*set));
	struct ip_ranges *ranges = p->ip.family == IP_V4 ? &set->v4 : &set->v6;
	struct ipset tmp = { 0 };

	/* The arena owns the memory: policy_unref() frees no sets of selectors. */
	ipset_add(&tmp, p);
	ranges->list = arena_alloc(&r->pol->arena, sizeof(*ranges->list));
	ranges->list[0] = p->ip.family == IP_V4 ? tmp.v4.list[0] : tmp.v6.list[0];
	ranges->count = 1;
	ipset_done(&tmp);
	return set;
}

static const char *nearest_in(const struct reader *r, struct span word, int what)
{
	const struct policy *pol = r->pol;
	size_t n = what == 'g' ? pol->group_count : what == 't' ? pol->tag_count :
	           what == 'h' ? pol->host_count : pol->ipset_count;
	const char **names = mem_calloc(n + 1, sizeof(*names));
	const char *found;

	for (size_t i = 0; i < n; i++)
		names[i] = what == 'g' ? pol->groups[i].name.ptr : what == 't' ? pol->tags[i].name.ptr :
		           what == 'h' ? pol->hosts[i].name.ptr : pol->ipsets[i].name.ptr;
	found = nearest(word, names, n);
	free(names);
	return found;
}

static bool unknown(struct reader *r, struct place at, const char *what, struct span name, int list)
{
	const char *near = nearest_in(r, name, list);

	if (near)
		return diag_error(r->diags, at, "unknown %s \"%.*s\"; did you mean \"%s\"?", what,
		                  SPAN_ARG(name), near);
	return diag_error(r->diags, at, "unknown %s \"%.*s\"", what, SPAN_ARG(name));
}

static bool is_ssh(enum selector_role role)
{
	return role == ROLE_SSH_SRC || role == ROLE_SSH_DST;
}

static bool read_autogroup(struct reader *r, struct span text, struct place at, enum selector_role role,
                           struct selector *ret)
{
	struct span name = span_from(text, strlen("autogroup:"));
	bool known = false;

	for (size_t i = 0; i < array_size(autogroups); i++)
		known |= span_eq(text, span_str(autogroups[i]));
	if (!known) {
		const char *near = nearest(text, autogroups, array_size(autogroups));

		return diag_error(r->diags, at, near ? "unknown autogroup \"%.*s\"; did you mean \"%s\"?" :
		                  "unknown autogroup \"%.*s\"%s", SPAN_ARG(text), near ? near : "");
	}
	ret->name = name;
	if (span_eq(name, SPAN("member")) || span_eq(name, SPAN("members"))) {
		ret->kind = SEL_MEMBER;
	} else if (span_eq(name, SPAN("tagged"))) {
		ret->kind = SEL_TAGGED;
		if (role == ROLE_OWNER || role == ROLE_APPROVER)
			return diag_error(r->diags, at, "autogroup:tagged cannot own or approve");
	} else if (span_eq(name, SPAN("shared"))) {
		ret->kind = SEL_SHARED;
		if (role != ROLE_SRC)
			return diag_error(r->diags, at, "autogroup:shared can only be a src");
	} else if (span_eq(name, SPAN("self"))) {
		ret->kind = SEL_SELF;
		if (role == ROLE_SRC || role == ROLE_SSH_SRC)
			return diag_error(r->diags, at, "\"autogroup:self\" is not valid on the src side of a rule");
		if (role == ROLE_TARGET || role == ROLE_OWNER || role == ROLE_APPROVER)
			return diag_error(r->diags, at, "autogroup:self can only be a dst");
	} else if (span_eq(name, SPAN("internet"))) {
		ret->kind = SEL_INTERNET;
		if (role != ROLE_DST && role != ROLE_TEST)
			return diag_error(r->diags, at, "autogroup:internet can only be a dst of acls and grants");
	} else if (span_eq(name, SPAN("danger-all"))) {
		ret->kind = SEL_DANGER_ALL;
		if (role == ROLE_DST)
			return diag_error(r->diags, at, "cannot use autogroup:danger-all as a dst");
		if (role != ROLE_SRC && role != ROLE_TEST)
			return diag_error(r->diags, at, "autogroup:danger-all can only be a src");
	} else if (span_eq(name, SPAN("nonroot"))) {
		return diag_error(r->diags, at, "autogroup:nonroot only names users of an ssh rule");
	} else {
		ret->kind = SEL_ROLE;
	}
	return true;
}

/* Addresses first, so that no name can look like one; then what the prefix
 * says; a bare word last: it is a host. */
bool read_selector(struct reader *r, struct span text, struct place at, enum selector_role role,
                   struct selector *ret)
{
	struct span plain = text;
	struct prefix p;
	struct policy *pol = r->pol;

	memset(ret, 0, sizeof(*ret));
	ret->at = at;
	ret->text = text;
	ret->name = text;
	ret->index = UINT32_MAX;
	if (text.len == 0)
		return diag_error(r->diags, at, "an empty name");
	if (text.len > POLICY_NAME_MAX)
		return diag_error(r->diags, at, "a name of %zu bytes; at most %d", text.len, POLICY_NAME_MAX);
	if (text.ptr[0] == '[' && !bracketed(&pol->arena, text, &plain))
		return diag_error(r->diags, at, "\"%.*s\": brackets are only for IPv6 addresses", SPAN_ARG(text));
	if (prefix_parse_lax(plain, &p)) {
		struct prefix exact;

		if (!prefix_parse(plain, &exact)) {
			char buf[IP_TEXT_MAX];

			diag_warn(r->diags, at, "\"%.*s\" has bits beyond its mask; read as %s",
			          SPAN_ARG(text), prefix_text(&p, buf));
		}
		if (role == ROLE_OWNER || role == ROLE_APPROVER || is_ssh(role))
			return diag_error(r->diags, at, "\"%.*s\": an address cannot stand here", SPAN_ARG(text));
		ret->kind = SEL_IPS;
		ret->ips = one_prefix(r, &p);
		return true;
	}
	if (span_eq(text, SPAN("*"))) {
		ret->kind = SEL_ANY;
		if (role == ROLE_SSH_DST)
			return diag_error(r->diags, at, "\"*\" cannot be an ssh destination; use "
			                  "autogroup:member, autogroup:tagged, tags or users");
		if (role == ROLE_OWNER || role == ROLE_APPROVER || role == ROLE_SSH_SRC)
			return diag_error(r->diags, at, "\"*\" cannot stand here");
		return true;
	}
	if (span_starts(text, SPAN("group:"))) {
		struct group *g = dict_find(pol->group_index, text);

		ret->kind = SEL_GROUP;
		if (g)
			ret->index = (uint32_t)(g - pol->groups);
		else if (!r->lenient)
			return unknown(r, at, "group", text, 'g');
		if (role == ROLE_SSH_DST)
			return diag_error(r->diags, at, "\"%.*s\": a group cannot be an ssh destination", SPAN_ARG(text));
		return true;
	}
	if (span_starts(text, SPAN("user:*@"))) {
		ret->kind = SEL_DOMAIN;
		ret->name = span_from(text, strlen("user:*@"));
		if (ret->name.len == 0 || span_find(ret->name, '@') < ret->name.len)
			return diag_error(r->diags, at, "\"%.*s\": want \"user:*@DOMAIN\"", SPAN_ARG(text));
		return true;
	}
	if (span_starts(text, SPAN("idp:"))) {
		ret->kind = SEL_IDP;
		ret->name = span_from(text, strlen("idp:"));
		if (ret->name.len == 0)
			return diag_error(r->diags, at, "\"idp:\" names no group");
		if (role != ROLE_SRC && role != ROLE_TEST)
			return diag_error(r->diags, at, "\"%.*s\": a group of the IdP can only be a src", SPAN_ARG(text));
		return true;
	}
	if (span_starts(text, SPAN("svc:"))) {
		ret->kind = SEL_SVC;
		ret->name = span_from(text, strlen("svc:"));
		if (ret->name.len == 0 || span_find(ret->name, ':') < ret->name.len)
			return diag_error(r->diags, at, "\"%.*s\" names no service", SPAN_ARG(text));
		if (role != ROLE_DST && role != ROLE_TEST)
			return diag_error(r->diags, at, "\"%.*s\": a service can only be a dst", SPAN_ARG(text));
		return true;
	}
	if (span_starts(text, SPAN("ipset:"))) {
		struct named_ipset *s = dict_find(pol->ipset_index, text);

		if (!s)
			return unknown(r, at, "ipset", text, 'i');
		if (role == ROLE_OWNER || role == ROLE_APPROVER || is_ssh(role))
			return diag_error(r->diags, at, "\"%.*s\": an ipset cannot stand here", SPAN_ARG(text));
		ret->kind = SEL_IPS;
		ret->ips = &s->ips;
		return true;
	}
	if (span_starts(text, SPAN("tag:"))) {
		char c = text.len > 4 ? text.ptr[4] : 0;

		ret->kind = SEL_TAG;
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
			return diag_error(r->diags, at, "\"%.*s\": a tag's name begins with a letter", SPAN_ARG(text));
		if (!r->lenient && !dict_find(pol->tag_index, text))
			return unknown(r, at, "tag", text, 't');
		return true;
	}
	if (span_starts(text, SPAN("autogroup:")))
		return read_autogroup(r, text, at, role, ret);
	if (read_user_name(text, &ret->name)) {
		ret->kind = SEL_USER;
		return true;
	}
	if (span_starts(text, SPAN("host:")))
		ret->name = text = span_from(text, strlen("host:"));
	if (span_find(text, ':') < text.len)
		return diag_error(r->diags, at, "\"%.*s\" is no user, group:, tag:, autogroup:, ipset:, idp:, "
		                  "svc:, host or address", SPAN_ARG(text));
	{
		struct host *h = dict_find(pol->host_index, text);

		if (is_ssh(role) || role == ROLE_OWNER || role == ROLE_APPROVER)
			return diag_error(r->diags, at, "\"%.*s\": a host cannot stand here", SPAN_ARG(text));
		if (!h)
			return unknown(r, at, "host", text, 'h');
		ret->kind = SEL_IPS;
		ret->ips = one_prefix(r, &h->prefix);
	}
	return true;
}
