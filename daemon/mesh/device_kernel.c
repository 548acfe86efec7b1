/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/device_backend.h"

#include "base/mem.h"
#include "daemon/mesh/link.h"
#include "daemon/mesh/nl.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>
#include <stdlib.h>
#include <string.h>

/* The kernel's own device: <linux/wireguard.h> describes the messages. */
struct kernel {
	struct nl *nl;
	uint16_t   family;      /* what generic netlink calls "wireguard" today */
	char       name[DEVICE_NAME_MAX];
};

static bool on_family(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlattr *tb[CTRL_ATTR_FAMILY_ID + 1];
	uint16_t *ret_id = arg;

	if (!nl_attrs(nlh, sizeof(struct genlmsghdr), tb, CTRL_ATTR_FAMILY_ID) ||
	    !tb[CTRL_ATTR_FAMILY_ID] ||
	    mnl_attr_validate(tb[CTRL_ATTR_FAMILY_ID], MNL_TYPE_U16) < 0)
		return err_set(err, ERR_PEER, "generic netlink named no family");
	*ret_id = mnl_attr_get_u16(tb[CTRL_ATTR_FAMILY_ID]);
	return true;
}

static struct nlmsghdr *request(struct nl *nl, uint16_t family, uint16_t flags, uint8_t command,
				uint8_t version)
{
	struct nlmsghdr *nlh = nl_request(nl, family, flags);
	struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));

	genl->cmd = command;
	genl->version = version;
	return nlh;
}

/* Asking makes the kernel load its module. */
static bool find_family(struct nl *nl, uint16_t *ret_id, struct err *err)
{
	struct nlmsghdr *nlh = request(nl, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, 1);

	*ret_id = 0;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
	return nl_ask(nl, nlh, on_family, NULL, ret_id, NULL, err) && *ret_id != 0;
}

bool device_kernel_there(struct err *err)
{
	struct nl *nl = nl_open(NETLINK_GENERIC, err);
	struct err e = { 0 };
	uint16_t id;
	bool there = nl && find_family(nl, &id, &e);

	if (nl && !there && e.code == ERR_MISSING)
		err_set(err, ERR_MISSING, "this kernel has no WireGuard");
	else if (nl && !there)
		err_set(err, e.code, "asking the kernel for WireGuard: %s", e.msg);
	nl_close(nl);
	return there;
}

/* ---- opening ---- */

static void kernel_close(void *self)
{
	struct kernel *k = self;

	if (!k)
		return;
	nl_close(k->nl);
	free(k);
}

static bool make_link(const char *name, struct err *err)
{
	struct nl *rt = nl_open(NETLINK_ROUTE, err);
	struct ifinfomsg *info;
	struct nlattr *nest;
	struct nlmsghdr *nlh;
	struct err e = { 0 };
	bool ok;

	if (!rt)
		return false;
	nlh = nl_request(rt, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	nest = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, WG_GENL_NAME);
	mnl_attr_nest_end(nlh, nest);
	ok = nl_ask(rt, nlh, NULL, NULL, NULL, NULL, &e);
	nl_close(rt);
	if (ok || e.code == ERR_EXISTS)
		return true;
	return err_set(err, e.code, "making the interface: %s", e.msg);
}

static void *kernel_open(const char *name, struct err *err)
{
	struct kernel *k = mem_alloc(sizeof(*k));
	char kind[LINK_KIND_MAX] = "";
	struct link *link = NULL;
	bool ok = false;

	memcpy(k->name, name, strlen(name) + 1);
	k->nl = nl_open(NETLINK_GENERIC, err);
	if (!k->nl || !find_family(k->nl, &k->family, err) || !make_link(name, err))
		goto out;
	link = link_open(err);
	if (!link || !link_kind(link, name, kind, err))
		goto out;
	ok = strcmp(kind, WG_GENL_NAME) == 0 ||
	     err_set(err, ERR_EXISTS, "there is an interface of another kind (%s)",
		     kind[0] ? kind : "hardware");
out:
	link_close(link);
	if (ok)
		return k;
	kernel_close(k);
	return NULL;
}

/* ---- changing ---- */

static struct nlmsghdr *set_request(struct kernel *k)
{
	struct nlmsghdr *nlh = request(k->nl, k->family, 0, WG_CMD_SET_DEVICE, WG_GENL_VERSION);

	mnl_attr_put_strz(nlh, WGDEVICE_A_IFNAME, k->name);
	return nlh;
}

static bool kernel_setup(void *self, const struct secret *priv, int port, struct err *err)
{
	struct kernel *k = self;
	struct nlmsghdr *nlh = set_request(k);
	bool ok;

	if (priv)
		mnl_attr_put(nlh, WGDEVICE_A_PRIVATE_KEY, priv->len, priv->ptr);
	if (port >= 0)
		mnl_attr_put_u16(nlh, WGDEVICE_A_LISTEN_PORT, (uint16_t)port);
	ok = nl_ask(k->nl, nlh, NULL, NULL, NULL, NULL, err);
	nl_wipe(k->nl);
	return ok;
}

/* DEVICE_ALLOWED_MAX prefixes are some 22 KiB: one message holds a peer. */
static bool kernel_peer_set(void *self, const struct device_peer *p, struct err *err)
{
	struct kernel *k = self;
	struct nlmsghdr *nlh = set_request(k);
	struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	struct nlattr *peer = mnl_attr_nest_start(nlh, 0);
	struct nlattr *list;

	mnl_attr_put(nlh, WGPEER_A_PUBLIC_KEY, sizeof(p->key.b), p->key.b);
	mnl_attr_put_u32(nlh, WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS);
	if (p->endpoint.ip.family != IP_NONE) {
		struct sockaddr_storage ss;
		socklen_t n = ipport_to_sockaddr(&p->endpoint, &ss);

		mnl_attr_put(nlh, WGPEER_A_ENDPOINT, n, &ss);
	}
	mnl_attr_put_u16(nlh, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, p->keepalive);
	list = mnl_attr_nest_start(nlh, WGPEER_A_ALLOWEDIPS);
	for (size_t i = 0; i < p->allowed_n; i++) {
		const struct prefix *a = &p->allowed[i];
		struct nlattr *one = mnl_attr_nest_start(nlh, 0);

		mnl_attr_put_u16(nlh, WGALLOWEDIP_A_FAMILY,
				 a->ip.family == IP_V4 ? AF_INET : AF_INET6);
		mnl_attr_put(nlh, WGALLOWEDIP_A_IPADDR, ip_len(&a->ip), a->ip.b);
		mnl_attr_put_u8(nlh, WGALLOWEDIP_A_CIDR_MASK, a->bits);
		mnl_attr_nest_end(nlh, one);
	}
	mnl_attr_nest_end(nlh, list);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, peers);
	return nl_ask(k->nl, nlh, NULL, NULL, NULL, NULL, err);
}

static bool kernel_peer_remove(void *self, const struct device_key *key, struct err *err)
{
	struct kernel *k = self;
	struct nlmsghdr *nlh = set_request(k);
	struct nlattr *peers = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	struct nlattr *peer = mnl_attr_nest_start(nlh, 0);

	mnl_attr_put(nlh, WGPEER_A_PUBLIC_KEY, sizeof(key->b), key->b);
	mnl_attr_put_u32(nlh, WGPEER_A_FLAGS, WGPEER_F_REMOVE_ME);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, peers);
	return nl_ask(k->nl, nlh, NULL, NULL, NULL, NULL, err);
}

/* ---- reading ---- */

struct reading {
	struct device_info      info;
	struct device_peer_list peers;
};

static void reading_reset(void *arg)
{
	struct reading *r = arg;

	r->peers.n = 0;
}

static size_t nested_count(const struct nlattr *nest)
{
	const struct nlattr *a = mnl_attr_get_payload(nest);
	ptrdiff_t left = mnl_attr_get_payload_len(nest);
	size_t n = 0;

	while (left > 0 && mnl_attr_ok(a, (int)left)) {
		left -= MNL_ALIGN(mnl_attr_get_len(a));
		a = mnl_attr_next(a);
		n++;
	}
	return n;
}

static bool has(const struct nlattr *a, size_t n)
{
	return a && mnl_attr_get_payload_len(a) >= n;
}

static bool read_peer(struct reading *r, const struct nlattr *nest, struct err *err)
{
	const struct nlattr *tb[WGPEER_A_MAX + 1];
	struct device_peer_state *p;
	struct device_key key;

	nl_nested(nest, tb, WGPEER_A_MAX);
	if (!has(tb[WGPEER_A_PUBLIC_KEY], sizeof(key.b)))
		return err_set(err, ERR_PEER, "a peer without a key");
	memcpy(key.b, mnl_attr_get_payload(tb[WGPEER_A_PUBLIC_KEY]), sizeof(key.b));

	/* A peer whose prefixes did not fit goes on in the next message. */
	p = r->peers.n > 0 ? &r->peers.list[r->peers.n - 1] : NULL;
	if (!p || !device_key_eq(&p->key, &key)) {
		p = device_peer_list_add(&r->peers, err);
		if (!p)
			return false;
		p->key = key;
	}
	if (tb[WGPEER_A_ALLOWEDIPS])
		p->allowed_n += nested_count(tb[WGPEER_A_ALLOWEDIPS]);
	if (has(tb[WGPEER_A_ENDPOINT], sizeof(struct sockaddr_in))) {
		struct sockaddr_storage ss = { 0 };
		size_t n = mnl_attr_get_payload_len(tb[WGPEER_A_ENDPOINT]);

		memcpy(&ss, mnl_attr_get_payload(tb[WGPEER_A_ENDPOINT]),
		       n < sizeof(ss) ? n : sizeof(ss));
		ipport_from_sockaddr(&ss, &p->endpoint);
	}
	if (has(tb[WGPEER_A_LAST_HANDSHAKE_TIME], sizeof(int64_t)))
		memcpy(&p->handshake.sec, mnl_attr_get_payload(tb[WGPEER_A_LAST_HANDSHAKE_TIME]),
		       sizeof(int64_t));
	if (has(tb[WGPEER_A_RX_BYTES], sizeof(uint64_t)))
		p->rx = mnl_attr_get_u64(tb[WGPEER_A_RX_BYTES]);
	if (has(tb[WGPEER_A_TX_BYTES], sizeof(uint64_t)))
		p->tx = mnl_attr_get_u64(tb[WGPEER_A_TX_BYTES]);
	if (has(tb[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL], sizeof(uint16_t)))
		p->keepalive = mnl_attr_get_u16(tb[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL]);
	return true;
}

static bool on_device(void *arg, const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlattr *tb[WGDEVICE_A_MAX + 1];
	struct reading *r = arg;

	if (!nl_attrs(nlh, sizeof(struct genlmsghdr), tb, WGDEVICE_A_MAX))
		return err_set(err, ERR_PEER, "a short message");
	if (has(tb[WGDEVICE_A_PUBLIC_KEY], sizeof(r->info.key.b)))
		memcpy(r->info.key.b, mnl_attr_get_payload(tb[WGDEVICE_A_PUBLIC_KEY]),
		       sizeof(r->info.key.b));
	if (has(tb[WGDEVICE_A_LISTEN_PORT], sizeof(uint16_t)))
		r->info.port = mnl_attr_get_u16(tb[WGDEVICE_A_LISTEN_PORT]);
	if (!tb[WGDEVICE_A_PEERS])
		return true;

	const struct nlattr *a = mnl_attr_get_payload(tb[WGDEVICE_A_PEERS]);
	ptrdiff_t left = mnl_attr_get_payload_len(tb[WGDEVICE_A_PEERS]);

	for (; left > 0 && mnl_attr_ok(a, (int)left); a = mnl_attr_next(a)) {
		if (!read_peer(r, a, err))
			return false;
		left -= MNL_ALIGN(mnl_attr_get_len(a));
	}
	return true;
}

static bool kernel_read(void *self, struct device_info *ret_info, device_peer_fn *fn, void *arg,
			struct err *err)
{
	struct kernel *k = self;
	struct reading r = { 0 };
	struct nlmsghdr *nlh =
		request(k->nl, k->family, NLM_F_DUMP, WG_CMD_GET_DEVICE, WG_GENL_VERSION);
	bool ok;

	mnl_attr_put_strz(nlh, WGDEVICE_A_IFNAME, k->name);
	ok = nl_ask(k->nl, nlh, on_device, reading_reset, &r, NULL, err);
	nl_wipe(k->nl);         /* the answer has the private key */
	if (ok && ret_info) {
		r.info.peers = r.peers.n;
		*ret_info = r.info;
	}
	for (size_t i = 0; ok && fn && i < r.peers.n; i++)
		fn(arg, &r.peers.list[i]);
	free(r.peers.list);
	return ok;
}

const struct device_ops device_kernel = {
	.kind = DEVICE_KERNEL,
	.open = kernel_open,
	.close = kernel_close,
	.setup = kernel_setup,
	.peer_set = kernel_peer_set,
	.peer_remove = kernel_peer_remove,
	.read = kernel_read,
};
