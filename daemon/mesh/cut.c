/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/cut.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "daemon/mesh/nl.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	TUPLE_MAX = 160, /* bytes of one direction of a flow, as the kernel says it */
	COND_MAX = sizeof(struct inet_diag_bc_op) + sizeof(struct inet_diag_hostcond) + 16,
};

struct cut {
	struct nl *diag, *flows;
	const char *unable; /* a constant; NULL: it can */
	bool no_sockets, no_flows;
	struct dict *peers; /* addresses of cut_add(); the values mean nothing */
};

struct socket {
	uint8_t family, protocol;
	struct inet_diag_sockid id;
};

struct flow {
	uint8_t family;
	uint32_t id; /* as the kernel wrote them */
	uint16_t zone;
	bool has_zone;
	uint16_t tuple_len;
	char tuple[TUPLE_MAX]; /* the content of CTA_TUPLE_ORIG */
};

/* What a pass has found; sockets and flows are ended after the listing, which they would disturb.
 */
struct pass {
	const struct cut_scope *scope;
	const struct cut *cut;
	cut_stays_fn *stays; /* NULL: only those that were added go */
	void *arg;
	uint8_t family, protocol; /* of the listing under way */
	struct socket *sockets;
	struct flow *flows;
	size_t sockets_n, flows_n, cap, flows_cap;
	bool more; /* than CUT_MAX: the next pass's */
};

static const char NO_SOCKETS[] =
	"the kernel cannot end connections of applications (no INET_DIAG_DESTROY)";
static const char NO_FLOWS[] = "the kernel does not show connection tracking (no NF_CT_NETLINK)";

/* ---- opening ---- */

static bool destroy(struct cut *c, const struct socket *s, int *ret_errno, struct err *err)
{
	struct nlmsghdr *nlh = nl_request(c->diag, SOCK_DESTROY, 0);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));

	req->sdiag_family = s->family;
	req->sdiag_protocol = s->protocol;
	req->idiag_states = ~0U;
	req->id = s->id;
	return nl_ask(c->diag, nlh, NULL, NULL, NULL, ret_errno, err);
}

/* The errors by which a kernel says that it was built without. */
static bool is_lacking(int number)
{
	return number == EOPNOTSUPP || number == EPROTONOSUPPORT || number == ENOENT;
}

struct cut *cut_open(struct err *err)
{
	/* No socket has port 0 at both ends: what can be done is asked without doing it. */
	struct socket nobody = {.family = AF_INET, .protocol = IPPROTO_TCP};
	struct cut *c = mem_alloc(sizeof(*c));
	struct err e = {0};
	int number = 0;

	c->peers = dict_new();
	c->diag = nl_open(NETLINK_SOCK_DIAG, &e);
	if (!c->diag || (!destroy(c, &nobody, &number, &e) && number == EOPNOTSUPP)) {
		c->no_sockets = true;
		c->unable = NO_SOCKETS;
	} else if (number != 0 && number != ENOENT) {
		err_set(err, e.code, "ending connections: %s", e.msg);
		cut_close(c);
		return NULL;
	}
	return c;
}

void cut_close(struct cut *c)
{
	if (!c)
		return;
	nl_close(c->diag);
	nl_close(c->flows);
	dict_free(c->peers);
	free(c);
}

const char *cut_unable(const struct cut *c)
{
	return c->unable;
}

/* ---- what is concerned ---- */

static struct span key_of(const struct ip *ip)
{
	return span_of(ip->b, ip_len(ip));
}

void cut_add(struct cut *c, const struct ip *peer)
{
	dict_put(c->peers, key_of(peer), c);
}

bool cut_waits(const struct cut *c, const struct ip *peer)
{
	return peer ? dict_find(c->peers, key_of(peer)) != NULL : dict_count(c->peers) > 0;
}

static bool is_own(const struct cut_scope *s, const struct ip *ip)
{
	for (size_t i = 0; i < s->own_n; i++)
		if (ip_eq(&s->own[i].ip, ip))
			return true;
	return false;
}

static bool is_peer(const struct pass *p, const struct ip *ip)
{
	return overlay_has(p->scope->ranges, ip) && !is_own(p->scope, ip) &&
	       (cut_waits(p->cut, ip) || (p->stays && !p->stays(p->arg, ip)));
}

static struct ip ip_from(uint8_t family, const void *bytes)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	const unsigned char *b = bytes;
	struct ip ip = {.family = family == AF_INET ? IP_V4 : IP_V6};

	if (family == AF_INET6 && memcmp(b, mapped, sizeof(mapped)) == 0) {
		ip.family = IP_V4;
		b += sizeof(mapped);
	}
	memcpy(ip.b, b, ip_len(&ip));
	return ip;
}

/* ---- sockets ---- */

static bool on_socket(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	struct pass *p = arg;
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	struct ip here, there;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*m))
		return err_set(err, ERR_PEER, "a socket that does not parse");
	here = ip_from(m->idiag_family, m->id.idiag_src);
	there = ip_from(m->idiag_family, m->id.idiag_dst);
	if (!is_own(p->scope, &here) || !is_peer(p, &there))
		return true;
	for (size_t i = 0; i < p->scope->spared_n; i++)
		if (m->idiag_uid == p->scope->spared[i])
			return true;
	if (p->sockets_n == CUT_MAX) {
		p->more = true;
		return true;
	}
	if (p->sockets_n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 64;
		p->sockets = mem_realloc(p->sockets, p->cap, sizeof(*p->sockets));
	}
	p->sockets[p->sockets_n++] = (struct socket){m->idiag_family, p->protocol, m->id};
	return true;
}

/* "the remote address is in `to`": one conditional jump to the end, or beyond it. */
static void put_condition(struct nlmsghdr *nlh, const struct prefix *to)
{
	char code[COND_MAX] = {0};
	size_t ip_bytes = ip_len(&to->ip);
	size_t len = sizeof(struct inet_diag_bc_op) + sizeof(struct inet_diag_hostcond) + ip_bytes;
	struct inet_diag_bc_op op = {
		.code = INET_DIAG_BC_D_COND,
		.yes = (unsigned char)len,
		.no = (unsigned short)(len + sizeof(struct inet_diag_bc_op)),
	};
	struct inet_diag_hostcond host = {
		.family = to->ip.family == IP_V4 ? AF_INET : AF_INET6,
		.prefix_len = to->bits,
		.port = -1,
	};

	memcpy(code, &op, sizeof(op));
	memcpy(code + sizeof(op), &host, sizeof(host));
	memcpy(code + sizeof(op) + sizeof(host), to->ip.b, ip_bytes);
	mnl_attr_put(nlh, INET_DIAG_REQ_BYTECODE, len, code);
}

static bool list_sockets(struct cut *c, struct pass *p, uint8_t family, uint8_t protocol,
			 const struct prefix *to, int *ret_errno, struct err *err)
{
	struct nlmsghdr *nlh = nl_request(c->diag, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));

	p->protocol = protocol;
	req->sdiag_family = family;
	req->sdiag_protocol = protocol;
	/* Listening ones have no peer, and those in TIME_WAIT nothing left to say. */
	req->idiag_states = protocol == IPPROTO_UDP
				    ? 1U << TCP_ESTABLISHED
				    : ~(1U << TCP_LISTEN | 1U << TCP_TIME_WAIT | 1U << TCP_CLOSE);
	put_condition(nlh, to);
	return nl_ask(c->diag, nlh, on_socket, NULL, p, ret_errno, err);
}

static bool find_sockets(struct cut *c, struct pass *p, const struct prefix *to, struct err *err)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct err e = {0};
	int number = 0;

	for (size_t i = 0; i < array_size(protocols); i++)
		for (size_t k = 0; k < array_size(families); k++) {
			/* An IPv6 socket may speak IPv4, not the other way. */
			if (to->ip.family == IP_V6 && families[k] == AF_INET)
				continue;
			if (list_sockets(c, p, families[k], protocols[i], to, &number, &e))
				continue;
			if (!is_lacking(number))
				return err_set(err, e.code, "listing sockets: %s", e.msg);
			/* Without UDP's, TCP's still end. */
			c->no_sockets = c->no_sockets || protocols[i] == IPPROTO_TCP;
			c->unable = NO_SOCKETS;
		}
	return true;
}

/* ---- flows through a gateway ---- */

static bool on_flow(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlattr *tb[CTA_MAX + 1], *tuple[CTA_TUPLE_MAX + 1], *at[CTA_IP_MAX + 1];
	struct pass *p = arg;
	bool v4 = p->family == AF_INET;
	const struct nlattr *src, *dst;
	struct ip from, to;
	struct flow f = {.family = p->family};

	(void)err;
	if (!nl_attrs(nlh, sizeof(struct nfgenmsg), tb, CTA_MAX) ||
	    !nl_nested(tb[CTA_TUPLE_ORIG], tuple, CTA_TUPLE_MAX) ||
	    !nl_nested(tuple[CTA_TUPLE_IP], at, CTA_IP_MAX))
		return true;
	src = at[v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC];
	dst = at[v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST];
	if (!src || !dst || mnl_attr_get_payload_len(src) != (v4 ? 4 : 16) ||
	    mnl_attr_get_payload_len(dst) != (v4 ? 4 : 16) || !tb[CTA_ID] ||
	    mnl_attr_get_payload_len(tb[CTA_ID]) != sizeof(f.id))
		return true;
	from = ip_from(p->family, mnl_attr_get_payload(src));
	to = ip_from(p->family, mnl_attr_get_payload(dst));
	/* What is this host's own ends with its socket: its last segment may still go out. */
	if (is_own(p->scope, &to) || !is_peer(p, &from))
		return true;
	f.tuple_len = mnl_attr_get_payload_len(tb[CTA_TUPLE_ORIG]);
	if (f.tuple_len > sizeof(f.tuple))
		return true;
	memcpy(f.tuple, mnl_attr_get_payload(tb[CTA_TUPLE_ORIG]), f.tuple_len);
	memcpy(&f.id, mnl_attr_get_payload(tb[CTA_ID]), sizeof(f.id));
	if (tb[CTA_ZONE] && mnl_attr_get_payload_len(tb[CTA_ZONE]) == sizeof(f.zone)) {
		f.has_zone = true;
		memcpy(&f.zone, mnl_attr_get_payload(tb[CTA_ZONE]), sizeof(f.zone));
	}
	if (p->flows_n == CUT_MAX) {
		p->more = true;
		return true;
	}
	if (p->flows_n == p->flows_cap) {
		p->flows_cap = p->flows_cap ? 2 * p->flows_cap : 64;
		p->flows = mem_realloc(p->flows, p->flows_cap, sizeof(*p->flows));
	}
	p->flows[p->flows_n++] = f;
	return true;
}

static struct nlmsghdr *flow_request(struct cut *c, uint8_t family, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh =
		nl_request(c->flows, (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type), flags);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

/* Kernels before 5.8 do not know the filter, and show all: on_flow() looks again. */
static void put_source(struct nlmsghdr *nlh, const struct ip *ip)
{
	struct nlattr *tuple = mnl_attr_nest_start(nlh, CTA_TUPLE_ORIG);
	struct nlattr *at = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
	struct nlattr *filter;

	mnl_attr_put(nlh, ip->family == IP_V4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, ip_len(ip), ip->b);
	mnl_attr_nest_end(nlh, at);
	mnl_attr_nest_end(nlh, tuple);
	filter = mnl_attr_nest_start(nlh, CTA_FILTER);
	mnl_attr_put_u32(nlh, CTA_FILTER_ORIG_FLAGS, 1U << 0); /* the source's address */
	mnl_attr_put_u32(nlh, CTA_FILTER_REPLY_FLAGS, 0);
	mnl_attr_nest_end(nlh, filter);
}

static bool find_flows(struct cut *c, struct pass *p, uint8_t family, const struct ip *one,
		       struct err *err)
{
	struct nlmsghdr *nlh;
	struct err e = {0};
	int number = 0;

	if (!c->flows) {
		c->flows = nl_open(NETLINK_NETFILTER, err);
		if (!c->flows)
			return false;
	}
	p->family = family == IP_V4 ? AF_INET : AF_INET6;
	nlh = flow_request(c, p->family, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	if (one)
		put_source(nlh, one);
	if (nl_ask(c->flows, nlh, on_flow, NULL, p, &number, &e))
		return true;
	if (!is_lacking(number) && number != EINVAL)
		return err_set(err, e.code, "listing flows: %s", e.msg);
	c->no_flows = true;
	if (!c->unable)
		c->unable = NO_FLOWS;
	return true;
}

static bool delete (struct cut *c, const struct flow *f, int *ret_errno, struct err *err)
{
	struct nlmsghdr *nlh = flow_request(c, f->family, IPCTNL_MSG_CT_DELETE, 0);

	mnl_attr_put(nlh, CTA_TUPLE_ORIG | NLA_F_NESTED, f->tuple_len, f->tuple);
	mnl_attr_put(nlh, CTA_ID, sizeof(f->id), &f->id);
	if (f->has_zone)
		mnl_attr_put(nlh, CTA_ZONE, sizeof(f->zone), &f->zone);
	return nl_ask(c->flows, nlh, NULL, NULL, NULL, ret_errno, err);
}

/* ---- a pass ---- */

static bool find(struct cut *c, struct pass *p, const struct ip *one, struct err *err)
{
	const struct prefix ranges[] = {p->scope->ranges->v4, p->scope->ranges->v6};

	for (size_t i = 0; i < array_size(ranges); i++) {
		struct prefix to = ranges[i];

		if (one && one->family != to.ip.family)
			continue;
		if (one)
			to = (struct prefix){*one, (uint8_t)(8 * ip_len(one))};
		if (!c->no_sockets && !find_sockets(c, p, &to, err))
			return false;
		if (p->scope->routed && !c->no_flows && !find_flows(c, p, to.ip.family, one, err))
			return false;
	}
	return true;
}

static bool in_time(struct boot deadline, struct err *err)
{
	return !boot_passed(deadline, clock_boot()) ||
	       err_set(err, ERR_TIMEOUT, "not all connections were ended in %d ms",
		       CUT_DEADLINE_MS);
}

/* One that cannot be ended does not keep the others open: a TCP socket that is in TIME_WAIT by now is none to end
 * for kernels before 6.0. The next pass does not list it. */
static bool end_all(struct cut *c, const struct pass *p, struct boot deadline,
		    struct cut_count *count, struct err *err)
{
	struct err first = {0}, e = {0};
	int number = 0;

	for (size_t i = 0; i < p->sockets_n; i++) {
		if (!in_time(deadline, err))
			return false;
		if (destroy(c, &p->sockets[i], &number, &e))
			count->sockets++;
		else if (number != ENOENT && first.code == ERR_NONE)
			err_set(&first, e.code, "ending a connection: %s", e.msg);
	}
	for (size_t i = 0; i < p->flows_n; i++) {
		if (!in_time(deadline, err))
			return false;
		if (delete (c, &p->flows[i], &number, &e))
			count->flows++;
		else if (number != ENOENT && first.code == ERR_NONE)
			err_set(&first, e.code, "ending a flow: %s", e.msg);
	}
	if (first.code != ERR_NONE)
		return err_set(err, first.code, "%s", first.msg);
	return !p->more || err_set(err, ERR_LIMIT, "more than %d connections to end", CUT_MAX);
}

static bool pass(struct cut *c, const struct cut_scope *scope, const struct ip *one,
		 cut_stays_fn *stays, void *arg, struct cut_count *count, struct err *err)
{
	struct boot deadline = boot_add(clock_boot(), CUT_DEADLINE_MS * (SEC_NS / 1000));
	struct pass p = {.scope = scope, .cut = c, .stays = stays, .arg = arg};
	bool ok;

	ok = find(c, &p, one, err) && end_all(c, &p, deadline, count, err);
	free(p.sockets);
	free(p.flows);
	if (ok) {
		dict_free(c->peers);
		c->peers = dict_new();
	}
	return ok;
}

bool cut_run(struct cut *c, const struct cut_scope *scope, struct cut_count *count, struct err *err)
{
	struct ip one = {0};
	struct span key;
	size_t pos = 0;
	void *value;

	if (!dict_next(c->peers, &pos, &key, &value))
		return true;
	if (dict_count(c->peers) > 1)
		return pass(c, scope, NULL, NULL, NULL, count, err);
	one.family = key.len == 4 ? IP_V4 : IP_V6;
	memcpy(one.b, key.ptr, key.len);
	return pass(c, scope, &one, NULL, NULL, count, err);
}

bool cut_sweep(struct cut *c, const struct cut_scope *scope, cut_stays_fn *stays, void *arg,
	       struct cut_count *count, struct err *err)
{
	return pass(c, scope, NULL, stays, arg, count, err);
}
