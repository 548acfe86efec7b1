/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/link.h"

#include "base/mem.h"
#include "daemon/mesh/nl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct link {
	struct nl *nl;
};

struct link *link_open(struct err *err)
{
	struct nl *nl = nl_open(NETLINK_ROUTE, err);
	struct link *l;

	if (!nl)
		return NULL;
	nl_strict(nl);
	l = mem_alloc(sizeof(*l));
	l->nl = nl;
	return l;
}

void link_close(struct link *l)
{
	if (!l)
		return;
	nl_close(l->nl);
	free(l);
}

/* ---- the interface ---- */

struct info {
	unsigned index, flags, mtu;
	char     kind[LINK_KIND_MAX];
};

static bool on_link(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlattr *tb[IFLA_LINKINFO + 1], *in[IFLA_INFO_KIND + 1];
	const struct ifinfomsg *msg = mnl_nlmsg_get_payload(nlh);
	struct info *info = arg;

	if (!nl_attrs(nlh, sizeof(*msg), tb, IFLA_LINKINFO))
		return err_set(err, ERR_PEER, "a short message");
	info->index = (unsigned)msg->ifi_index;
	info->flags = msg->ifi_flags;
	if (tb[IFLA_MTU] && mnl_attr_validate(tb[IFLA_MTU], MNL_TYPE_U32) >= 0)
		info->mtu = mnl_attr_get_u32(tb[IFLA_MTU]);
	if (nl_nested(tb[IFLA_LINKINFO], in, IFLA_INFO_KIND) && in[IFLA_INFO_KIND] &&
	    mnl_attr_validate(in[IFLA_INFO_KIND], MNL_TYPE_NUL_STRING) >= 0)
		span_cstr(span_str(mnl_attr_get_str(in[IFLA_INFO_KIND])), info->kind,
			  sizeof(info->kind));
	return true;
}

static bool look(struct link *l, const char *name, struct info *ret_info, struct err *err)
{
	struct nlmsghdr *nlh;
	struct ifinfomsg *msg;
	struct info info = { 0 };

	if (strlen(name) >= IFNAMSIZ)
		return err_set(err, ERR_LIMIT, "an interface's name has at most %d bytes",
			       IFNAMSIZ - 1);
	nlh = nl_request(l->nl, RTM_GETLINK, 0);
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	if (!nl_ask(l->nl, nlh, on_link, NULL, &info, NULL, err))
		return err_prefix(err, "interface %s: ", name);
	*ret_info = info;
	return true;
}

bool link_find(struct link *l, const char *name, unsigned *ret_index, struct err *err)
{
	struct info info;

	if (!look(l, name, &info, err))
		return false;
	*ret_index = info.index;
	return true;
}

bool link_kind(struct link *l, const char *name, char ret_kind[LINK_KIND_MAX], struct err *err)
{
	struct info info;

	if (!look(l, name, &info, err))
		return false;
	memcpy(ret_kind, info.kind, sizeof(info.kind));
	return true;
}

bool link_delete(struct link *l, const char *name, struct err *err)
{
	struct nlmsghdr *nlh;
	struct ifinfomsg *msg;
	struct info info;
	struct err e = { 0 };

	if (!look(l, name, &info, &e))
		return e.code == ERR_MISSING || err_set(err, e.code, "%s", e.msg);
	nlh = nl_request(l->nl, RTM_DELLINK, 0);
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->ifi_index = (int)info.index;
	return nl_ask(l->nl, nlh, NULL, NULL, NULL, NULL, &e) || e.code == ERR_MISSING ||
	       err_set(err, e.code, "removing %s: %s", name, e.msg);
}

static bool set_link(struct link *l, const char *name, bool up, unsigned mtu, struct err *err)
{
	struct nlmsghdr *nlh;
	struct ifinfomsg *msg;
	struct info info;

	if (!look(l, name, &info, err))
		return false;
	if (!!(info.flags & IFF_UP) == up && (mtu == 0 || mtu == info.mtu))
		return true;
	nlh = nl_request(l->nl, RTM_NEWLINK, 0);
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->ifi_index = (int)info.index;
	msg->ifi_change = IFF_UP;
	msg->ifi_flags = up ? IFF_UP : 0;
	if (mtu != 0)
		mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	return nl_ask(l->nl, nlh, NULL, NULL, NULL, NULL, err) ||
	       err_prefix(err, "%s %s: ", name, up ? "up" : "down");
}

bool link_up(struct link *l, const char *name, unsigned mtu, struct err *err)
{
	return set_link(l, name, true, mtu, err);
}

bool link_down(struct link *l, const char *name, struct err *err)
{
	return set_link(l, name, false, 0, err);
}

/* ---- addresses ---- */

struct address {
	struct link_address at;
	unsigned            index, flags;
};

struct addresses {
	struct address *list;
	size_t          n, cap;
};

static bool read_ip(const struct nlattr *a, int family, struct ip *ret_ip)
{
	size_t n = family == AF_INET ? 4 : 16;

	if (!a || mnl_attr_get_payload_len(a) != n || (family != AF_INET && family != AF_INET6))
		return false;
	*ret_ip = (struct ip){ .family = family == AF_INET ? IP_V4 : IP_V6 };
	memcpy(ret_ip->b, mnl_attr_get_payload(a), n);
	return true;
}

static bool on_address(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlattr *tb[IFA_FLAGS + 1];
	const struct ifaddrmsg *msg = mnl_nlmsg_get_payload(nlh);
	struct addresses *out = arg;
	struct address a = { 0 };

	if (nlh->nlmsg_type != RTM_NEWADDR)
		return true;
	if (!nl_attrs(nlh, sizeof(*msg), tb, IFA_FLAGS))
		return err_set(err, ERR_PEER, "a short message");
	/* IFA_LOCAL is ours where both are there: IFA_ADDRESS is then the far end's. */
	if (!read_ip(tb[IFA_LOCAL], msg->ifa_family, &a.at.ip) &&
	    !read_ip(tb[IFA_ADDRESS], msg->ifa_family, &a.at.ip))
		return true;
	a.at.bits = msg->ifa_prefixlen;
	a.index = msg->ifa_index;
	a.flags = tb[IFA_FLAGS] && mnl_attr_validate(tb[IFA_FLAGS], MNL_TYPE_U32) >= 0
			  ? mnl_attr_get_u32(tb[IFA_FLAGS])
			  : msg->ifa_flags;
	if (out->n == out->cap) {
		out->cap = out->cap ? 2 * out->cap : 64;
		out->list = mem_realloc(out->list, out->cap, sizeof(*out->list));
	}
	out->list[out->n++] = a;
	return true;
}

static void addresses_reset(void *arg)
{
	struct addresses *out = arg;

	out->n = 0;
}

static bool list_addresses(struct link *l, struct addresses *out, struct err *err)
{
	struct nlmsghdr *nlh = nl_request(l->nl, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));

	msg->ifa_family = AF_UNSPEC;
	return nl_ask(l->nl, nlh, on_address, addresses_reset, out, NULL, err) ||
	       err_prefix(err, "listing addresses: ");
}

static bool change_address(struct link *l, uint16_t type, uint16_t flags, unsigned index,
			   const struct ip *ip, uint8_t bits, struct err *err)
{
	struct nlmsghdr *nlh = nl_request(l->nl, type, flags);
	struct ifaddrmsg *msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	char text[IP_TEXT_MAX];
	struct err e = { 0 };

	msg->ifa_family = ip->family == IP_V4 ? AF_INET : AF_INET6;
	msg->ifa_prefixlen = bits;
	msg->ifa_index = index;
	mnl_attr_put(nlh, IFA_LOCAL, ip_len(ip), ip->b);
	mnl_attr_put(nlh, IFA_ADDRESS, ip_len(ip), ip->b);
	/* Nobody else can have it: its key stands behind it. The prefix is a route of ours. */
	if (type == RTM_NEWADDR)
		mnl_attr_put_u32(nlh, IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
	return nl_ask(l->nl, nlh, NULL, NULL, NULL, NULL, &e) ||
	       (type == RTM_NEWADDR ? e.code == ERR_EXISTS : e.code == ERR_MISSING) ||
	       err_set(err, e.code, "address %s: %s", ip_text(ip, text), e.msg);
}

/* fe80::/10 or 169.254.0.0/16 */
static bool is_link_local(const struct ip *ip)
{
	return ip->family == IP_V6 ? ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80
				   : ip->b[0] == 169 && ip->b[1] == 254;
}

bool link_addresses(struct link *l, const char *name, const struct prefix *addrs, size_t n,
		    struct err *err)
{
	struct addresses now = { 0 };
	struct info info;
	bool ok;

	if (n > LINK_ADDRESSES_MAX)
		return err_set(err, ERR_LIMIT, "%s: %zu addresses, at most %d", name, n,
			       LINK_ADDRESSES_MAX);
	if (!look(l, name, &info, err))
		return false;
	ok = list_addresses(l, &now, err);

	/* What goes, goes first: an address that only changed its length would be refused. */
	for (size_t i = 0; ok && i < now.n; i++) {
		const struct address *a = &now.list[i];
		bool keep = a->index != info.index || is_link_local(&a->at.ip);

		for (size_t k = 0; k < n && !keep; k++)
			keep = ip_eq(&addrs[k].ip, &a->at.ip) && addrs[k].bits == a->at.bits;
		if (!keep)
			ok = change_address(l, RTM_DELADDR, 0, info.index, &a->at.ip, a->at.bits,
					    err);
	}
	for (size_t k = 0; ok && k < n; k++) {
		bool there = false;

		for (size_t i = 0; i < now.n && !there; i++)
			there = now.list[i].index == info.index &&
				ip_eq(&addrs[k].ip, &now.list[i].at.ip) &&
				addrs[k].bits == now.list[i].at.bits;
		if (!there)
			ok = change_address(l, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, info.index,
					    &addrs[k].ip, addrs[k].bits, err);
	}
	free(now.list);
	return ok;
}

struct up {
	unsigned *list;
	size_t    n, cap;
};

static bool on_up(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	const struct ifinfomsg *msg = mnl_nlmsg_get_payload(nlh);
	struct up *up = arg;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*msg))
		return err_set(err, ERR_PEER, "a short message");
	if (!(msg->ifi_flags & IFF_UP) || (msg->ifi_flags & IFF_LOOPBACK))
		return true;
	if (up->n == up->cap) {
		up->cap = up->cap ? 2 * up->cap : 16;
		up->list = mem_realloc(up->list, up->cap, sizeof(*up->list));
	}
	up->list[up->n++] = (unsigned)msg->ifi_index;
	return true;
}

static void up_reset(void *arg)
{
	struct up *up = arg;

	up->n = 0;
}

bool link_local(struct link *l, const char *except, struct link_address *ret_addrs, size_t max,
		size_t *ret_n, struct err *err)
{
	const unsigned bad = IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_TEMPORARY;
	struct addresses now = { 0 };
	struct up up = { 0 };
	struct info info = { 0 };
	struct nlmsghdr *nlh;
	struct ifinfomsg *msg;
	struct err e = { 0 };
	size_t n = 0;
	bool ok;

	if (except && !look(l, except, &info, &e) && e.code != ERR_MISSING)
		return err_set(err, e.code, "%s", e.msg);
	nlh = nl_request(l->nl, RTM_GETLINK, NLM_F_DUMP);
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->ifi_family = AF_UNSPEC;
	ok = nl_ask(l->nl, nlh, on_up, up_reset, &up, NULL, err) && list_addresses(l, &now, err);
	for (size_t i = 0; ok && i < now.n && n < max; i++) {
		const struct address *a = &now.list[i];
		bool is_up = false;

		for (size_t k = 0; k < up.n && !is_up; k++)
			is_up = up.list[k] == a->index;
		if (is_up && a->index != info.index && !(a->flags & bad) &&
		    !is_link_local(&a->at.ip))
			ret_addrs[n++] = a->at;
	}
	if (ok)
		*ret_n = n;
	free(now.list);
	free(up.list);
	return ok;
}

/* ---- routes ---- */

struct route {
	struct prefix to;
	struct ip     src;              /* IP_NONE: none */
	unsigned      index, metric, table, protocol, type;
};

struct routes {
	struct route *list;
	size_t        n, cap;
	unsigned      index;            /* only of this interface */
};

static unsigned u32_or(const struct nlattr *a, unsigned otherwise)
{
	return a && mnl_attr_validate(a, MNL_TYPE_U32) >= 0 ? mnl_attr_get_u32(a) : otherwise;
}

static bool on_route(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlattr *tb[RTA_TABLE + 1];
	const struct rtmsg *msg = mnl_nlmsg_get_payload(nlh);
	struct routes *out = arg;
	struct route r = { 0 };

	if (nlh->nlmsg_type != RTM_NEWROUTE)
		return true;
	if (!nl_attrs(nlh, sizeof(*msg), tb, RTA_TABLE))
		return err_set(err, ERR_PEER, "a short message");
	r.index = u32_or(tb[RTA_OIF], 0);
	r.table = u32_or(tb[RTA_TABLE], msg->rtm_table);
	if (msg->rtm_protocol != LINK_ROUTE_PROTOCOL || r.index != out->index ||
	    r.table != RT_TABLE_MAIN)
		return true;
	if (!read_ip(tb[RTA_DST], msg->rtm_family, &r.to.ip))
		r.to.ip.family = msg->rtm_family == AF_INET ? IP_V4 : IP_V6;
	r.to.bits = msg->rtm_dst_len;
	read_ip(tb[RTA_PREFSRC], msg->rtm_family, &r.src);
	r.metric = u32_or(tb[RTA_PRIORITY], 0);
	if (out->n == out->cap) {
		out->cap = out->cap ? 2 * out->cap : 64;
		out->list = mem_realloc(out->list, out->cap, sizeof(*out->list));
	}
	out->list[out->n++] = r;
	return true;
}

static void routes_reset(void *arg)
{
	struct routes *out = arg;

	out->n = 0;
}

static bool change_route(struct link *l, uint16_t type, uint16_t flags, const struct route *r,
			 struct err *err)
{
	struct nlmsghdr *nlh = nl_request(l->nl, type, flags);
	struct rtmsg *msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	char text[IP_TEXT_MAX];
	struct err e = { 0 };

	msg->rtm_family = r->to.ip.family == IP_V4 ? AF_INET : AF_INET6;
	msg->rtm_dst_len = r->to.bits;
	msg->rtm_table = RT_TABLE_MAIN;
	msg->rtm_protocol = LINK_ROUTE_PROTOCOL;
	msg->rtm_type = RTN_UNICAST;
	msg->rtm_scope = r->to.ip.family == IP_V4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	mnl_attr_put(nlh, RTA_DST, ip_len(&r->to.ip), r->to.ip.b);
	mnl_attr_put_u32(nlh, RTA_OIF, r->index);
	mnl_attr_put_u32(nlh, RTA_PRIORITY, r->metric);
	if (type == RTM_NEWROUTE && r->src.family != IP_NONE)
		mnl_attr_put(nlh, RTA_PREFSRC, ip_len(&r->src), r->src.b);
	return nl_ask(l->nl, nlh, NULL, NULL, NULL, NULL, &e) ||
	       (type == RTM_NEWROUTE ? e.code == ERR_EXISTS : e.code == ERR_MISSING) ||
	       err_set(err, e.code, "route %s: %s", prefix_text(&r->to, text), e.msg);
}

static int prefix_order(const void *a, const void *b)
{
	return prefix_cmp(a, b);
}

static int route_order(const void *a, const void *b)
{
	const struct route *x = a, *y = b;

	return prefix_cmp(&x->to, &y->to);
}

static bool list_routes(struct link *l, int family, struct routes *out, struct err *err)
{
	struct nlmsghdr *nlh = nl_request(l->nl, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));

	/* Where the kernel looks at these (since 4.20), it sends no others: a host may have a
	 * million routes. */
	msg->rtm_family = (unsigned char)family;
	msg->rtm_protocol = LINK_ROUTE_PROTOCOL;
	msg->rtm_table = RT_TABLE_MAIN;
	mnl_attr_put_u32(nlh, RTA_OIF, out->index);
	return nl_ask(l->nl, nlh, on_route, routes_reset, out, NULL, err) ||
	       err_prefix(err, "listing routes: ");
}

static const struct ip *source_of(uint8_t family, const struct ip *src4, const struct ip *src6)
{
	static const struct ip none = { .family = IP_NONE };
	const struct ip *src = family == IP_V4 ? src4 : src6;

	return src ? src : &none;
}

static bool set_routes(struct link *l, const char *name, const struct prefix *routes, size_t n,
		       const struct ip *src4, const struct ip *src6, bool keep_others,
		       struct err *err)
{
	scoped_free struct prefix *want = NULL;
	struct routes now = { 0 }, now6 = { 0 };
	struct info info;
	size_t kept = 0;
	bool ok;

	if (n > LINK_ROUTES_MAX)
		return err_set(err, ERR_LIMIT, "%s: %zu routes, at most %d", name, n,
			       LINK_ROUTES_MAX);
	if (!look(l, name, &info, err))
		return false;
	want = mem_dup(n ? (const void *)routes : "", n * sizeof(*routes));
	qsort(want, n, sizeof(*want), prefix_order);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || prefix_cmp(&want[kept - 1], &want[i]) != 0)
			want[kept++] = want[i];

	/* The kernel answers one family at a time. */
	now.index = now6.index = info.index;
	ok = list_routes(l, AF_INET, &now, err) && list_routes(l, AF_INET6, &now6, err);
	for (size_t i = 0; ok && i < now6.n; i++) {
		if (now.n == now.cap) {
			now.cap = now.cap ? 2 * now.cap : 64;
			now.list = mem_realloc(now.list, now.cap, sizeof(*now.list));
		}
		now.list[now.n++] = now6.list[i];
	}
	if (now.n > 0)
		qsort(now.list, now.n, sizeof(*now.list), route_order);

	/* Both are sorted: one walk finds what goes and what comes. */
	for (size_t i = 0, k = 0; ok && (i < now.n || k < kept);) {
		int order = i == now.n	 ? 1
			    : k == kept ? -1
					: prefix_cmp(&now.list[i].to, &want[k]);

		if (order == 0 && now.list[i].metric == LINK_ROUTE_METRIC &&
		    ip_eq(&now.list[i].src, source_of(want[k].ip.family, src4, src6))) {
			i++;
			k++;
			continue;
		}
		if (order < 0 && keep_others) {
			i++;
			continue;
		}
		if (order <= 0) {
			ok = change_route(l, RTM_DELROUTE, 0, &now.list[i++], err);
			continue;
		}
		ok = change_route(l, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL,
				  &(struct route){
					  .to = want[k],
					  .src = *source_of(want[k].ip.family, src4, src6),
					  .index = info.index,
					  .metric = LINK_ROUTE_METRIC,
				  },
				  err);
		k++;
	}
	free(now.list);
	free(now6.list);
	return ok;
}

bool link_routes(struct link *l, const char *name, const struct prefix *routes, size_t n,
		 const struct ip *src4, const struct ip *src6, struct err *err)
{
	return set_routes(l, name, routes, n, src4, src6, false, err);
}

bool link_routes_add(struct link *l, const char *name, const struct prefix *routes, size_t n,
		     const struct ip *src4, const struct ip *src6, struct err *err)
{
	return set_routes(l, name, routes, n, src4, src6, true, err);
}

/* ---- forwarding ---- */

static bool sysctl_is(const char *path, char want, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c = '\0';
	bool ok = fd >= 0 && read(fd, &c, 1) == 1;

	if (!ok)
		err_sys(err, "%s", path);
	if (fd >= 0)
		close(fd);
	return ok && c == want;
}

static bool sysctl_set(const char *path, char value, struct err *err)
{
	int fd;
	bool ok;

	if (sysctl_is(path, value, err))
		return true;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, &value, 1) == 1;
	if (!ok)
		err_sys(err, "%s", path);
	if (fd >= 0)
		close(fd);
	return ok;
}

bool link_forwarding(struct err *err)
{
	static const char all6[] = "/proc/sys/net/ipv6/conf/all/forwarding";
	struct if_nameindex *names = NULL;
	struct err e = { 0 };

	if (!sysctl_set("/proc/sys/net/ipv4/ip_forward", '1', err))
		return false;
	if (access(all6, F_OK) != 0)
		return true;            /* a kernel without IPv6 */
	if (sysctl_is(all6, '1', &e))
		return true;
	names = if_nameindex();
	if (!names)
		return err_sys(err, "listing interfaces");
	for (const struct if_nameindex *i = names; i->if_index != 0; i++) {
		char path[64 + IFNAMSIZ];

		/* A name with a slash in it is refused by the kernel. */
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", i->if_name);
		if (sysctl_is(path, '1', &e) && !sysctl_set(path, '2', err)) {
			if_freenameindex(names);
			return false;
		}
	}
	if_freenameindex(names);
	return sysctl_set(all6, '1', err);
}
