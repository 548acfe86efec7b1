/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/mesh_inside.h"

#include "base/mem.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

static struct filter_rows rows_of(const struct mesh *m)
{
	return (struct filter_rows){ m->rows, m->rows_n, m->forward, m->forward_n };
}

static struct span key_of_prefix(const struct prefix *p, char buf[sizeof(p->ip.b) + 2])
{
	buf[0] = (char)p->ip.family;
	buf[1] = (char)p->bits;
	memcpy(buf + 2, p->ip.b, sizeof(p->ip.b));
	return span_of(buf, sizeof(p->ip.b) + 2);
}

static struct span key_of_peer(const struct device_key *k)
{
	return span_of(k->b, sizeof(k->b));
}

static void peer_free(struct peer *p)
{
	if (!p)
		return;
	free(p->allowed);
	free(p);
}

static int64_t left_ms(struct boot deadline, struct boot now)
{
	if (deadline.ns == BOOT_NEVER.ns)
		return INT64_MAX;
	return boot_passed(deadline, now) ? 0 : (deadline.ns - now.ns) / 1000000 + 1;
}

/* ---- coming and going ---- */

struct mesh *mesh_new(const struct mesh_conf *conf, struct err *err)
{
	struct mesh *m;

	if (!device_name_ok(span_str(conf->interface)))
		return err_set(err, ERR_CONFIG, "not the name of an interface"), NULL;
	if (conf->users_n > FILTER_USERS_MAX || conf->fronts_n > FILTER_USERS_MAX)
		return err_set(err, ERR_LIMIT, "more than %d users", FILTER_USERS_MAX), NULL;
	m = mem_alloc(sizeof(*m));
	m->conf = *conf;
	m->conf.interface = m->interface = mem_strdup(conf->interface);
	m->conf.users = m->users = mem_dup(conf->users_n ? (const void *)conf->users : "",
					   conf->users_n * sizeof(uint32_t));
	m->conf.fronts = m->fronts = mem_dup(conf->fronts_n ? (const void *)conf->fronts : "",
					     conf->fronts_n * sizeof(uint32_t));
	m->peers = dict_new();
	m->routes = dict_new();
	m->classes = dict_new();
	m->vias = dict_new();
	m->resetting = true;
	return m;
}

static void forget(struct dict *d)
{
	struct span key;
	size_t pos = 0;
	void *value;

	while (dict_next(d, &pos, &key, &value))
		free(value);
	dict_free(d);
}

void mesh_free(struct mesh *m)
{
	struct span key;
	size_t pos = 0;
	void *value;

	if (!m)
		return;
	device_close(m->device);
	filter_close(m->filter, false, NULL);
	link_close(m->link);
	nl_close(m->events);
	cut_close(m->cut);
	secret_done(&m->key);
	while (dict_next(m->peers, &pos, &key, &value))
		peer_free(value);
	dict_free(m->peers);
	forget(m->routes);
	forget(m->classes);
	forget(m->vias);
	free(m->rows);
	free(m->forward);
	free(m->interface);
	free(m->users);
	free(m->fronts);
	free(m);
}

/* Whoever is told of next starts from nothing: neither is an old peer back when the
 * device is, nor is there anything left that mesh_end() would have to take away. */
static void forget_all(struct mesh *m)
{
	struct span key;
	size_t pos = 0;
	void *value;

	while (dict_next(m->peers, &pos, &key, &value))
		peer_free(value);
	dict_free(m->peers);
	forget(m->routes);
	forget(m->classes);
	forget(m->vias);
	m->peers = dict_new();
	m->routes = dict_new();
	m->classes = dict_new();
	m->vias = dict_new();
	free(take(m->rows));
	free(take(m->forward));
	m->rows_n = m->forward_n = 0;
	m->rows_told = m->resetting = false;
}

bool mesh_remove(struct mesh *m, struct err *err)
{
	bool ok;

	device_close(take(m->device));
	m->started = false;
	forget_all(m);
	/* Without the table what is left of the interface would be open. */
	if (!device_delete(m->interface, err))
		return false;
	ok = filter_close(take(m->filter), true, err);
	return ok;
}

static struct filter_base base_of(const struct mesh *m)
{
	return (struct filter_base){
		.device = m->interface,
		.overlay = m->ranges,
		.users = m->users,
		.users_n = m->conf.users_n,
		.users_any = m->conf.users_any,
		.fronts = m->fronts,
		.fronts_n = m->conf.fronts_n,
	};
}

/* ---- putting it there ---- */

static bool load_vias(struct mesh *m, struct boot now, struct err *err)
{
	scoped_free struct filter_via *list = mem_calloc(dict_count(m->vias) + 1, sizeof(*list));
	struct span key;
	size_t pos = 0, n = 0;
	void *value;

	while (dict_next(m->vias, &pos, &key, &value)) {
		const struct via *v = value;

		list[n++] = (struct filter_via){ v->to, left_ms(v->deadline, now) };
	}
	return filter_via_load(m->filter, list, n, err);
}

static bool set_class(struct mesh *m, struct class *c, struct boot now, struct err *err)
{
	c->c.timeout_ms = left_ms(c->deadline, now);
	return filter_class_set(m->filter, &c->c, err);
}

/* The table, with all that was told; nothing passes until it is whole. */
static bool make_table(struct mesh *m, struct boot now, struct err *err)
{
	struct filter_base base = base_of(m);
	struct filter_rows rows = rows_of(m);
	struct span key;
	size_t pos = 0;
	bool adopted;
	void *value;

	filter_close(take(m->filter), false, NULL);
	m->filter = filter_open(&base, &adopted, err);
	if (!m->filter)
		return false;
	if (adopted && !m->started)
		return mesh_adopt(m, err);
	if (adopted || !m->started)
		return true;
	if ((m->rows_told && !filter_load(m->filter, &rows, err)) || !load_vias(m, now, err))
		return false;
	while (dict_next(m->classes, &pos, &key, &value))
		if (!set_class(m, value, now, err))
			return false;
	return true;
}

/* A network that this host is in: to route it into the mesh would cut it off. */
static bool is_here(const struct prefix *p, const struct link_address *local, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (prefix_has(p, &local[i].ip))
			return true;
	return false;
}

/* Where a peer's own packets go to: routed into the mesh they would go round. */
static bool leads_to_peer(const struct mesh *m, const struct prefix *p)
{
	struct span key;
	size_t pos = 0;
	void *value;

	while (dict_next(m->peers, &pos, &key, &value)) {
		const struct peer *peer = value;

		if (prefix_has(p, &peer->p.endpoint.ip) || prefix_has(p, &peer->seen.ip))
			return true;
	}
	return false;
}

static bool set_routes(struct mesh *m, struct err *err)
{
	scoped_free struct prefix *list = mem_calloc(dict_count(m->routes) + 2, sizeof(*list));
	struct link_address local[64];
	const struct ip *src4 = NULL, *src6 = NULL;
	struct span key;
	size_t pos = 0, n = 0, local_n = 0;
	void *value;

	if (!link_local(m->link, m->interface, local, array_size(local), &local_n, err))
		return false;
	for (size_t i = 0; i < m->addresses_n; i++) {
		const struct ip **src = m->addresses[i].ip.family == IP_V4 ? &src4 : &src6;

		if (!*src)
			*src = &m->addresses[i].ip;
	}
	list[n++] = m->ranges.v4;
	list[n++] = m->ranges.v6;
	while (dict_next(m->routes, &pos, &key, &value)) {
		const struct route *r = value;

		/* Of a family in which this node has no address nothing would come back. */
		if ((r->to.ip.family == IP_V4 ? src4 : src6) &&
		    !is_here(&r->to, local, local_n) && !leads_to_peer(m, &r->to))
			list[n++] = r->to;
	}
	return (m->resetting ? link_routes_add : link_routes)(m->link, m->interface, list, n, src4,
							      src6, err);
}

static bool make_link(struct mesh *m, struct err *err)
{
	return link_addresses(m->link, m->interface, m->addresses, m->addresses_n, err) &&
	       link_up(m->link, m->interface, DEVICE_MTU, err) && set_routes(m, err);
}

/*
 * Whoever spoke to us before goes on with keys that a new device does not have, and takes 15 s to notice. A
 * keepalive begins a handshake at once, as soon as the device is up; mesh_check() takes it back.
 */
static void wake(struct mesh *m, struct peer *p, struct device_peer *want)
{
	if (m->wakes == 0 || want->endpoint.ip.family == IP_NONE || want->keepalive != 0)
		return;
	m->wakes--;
	m->woken = clock_boot();
	p->waking = true;
	want->keepalive = MESH_WAKE_SEC;
}

static bool end_waking(struct mesh *m, struct err *err)
{
	struct span key;
	size_t pos = 0;
	void *value;

	if (m->woken.ns == 0 || !boot_passed(boot_add(m->woken, MESH_WAKING_SEC * SEC_NS), clock_boot()))
		return true;
	while (dict_next(m->peers, &pos, &key, &value)) {
		struct peer *p = value;
		struct device_peer want = p->p;

		/* By now the device knows better where it is. */
		want.endpoint = (struct ipport){ 0 };
		if (p->waking && !device_peer_set(m->device, &want, err))
			return false;
		p->waking = false;
	}
	m->woken = (struct boot){ 0 };
	m->wakes = 0;
	return true;
}

/* A device that has both is left alone: userspace would open its socket anew. */
static bool setup_device(struct mesh *m, struct err *err)
{
	static const struct device_key none;
	struct device_info info;
	struct device_key mine;

	if (!device_info(m->device, &info, err) || !device_private_public(&m->key, &mine, err))
		return false;
	if (device_key_eq(&info.key, &mine) && info.port == m->conf.port && info.port != 0)
		return true;
	if (device_key_eq(&info.key, &none))
		m->wakes = MESH_WAKES_MAX;
	return device_setup(m->device, &m->key, m->conf.port, err);
}

/* Key, port and all peers: for a device that lost them. */
static bool make_device(struct mesh *m, struct err *err)
{
	struct span key;
	size_t pos = 0;
	void *value;

	if (!setup_device(m, err))
		return false;
	while (dict_next(m->peers, &pos, &key, &value)) {
		struct peer *p = value;
		struct device_peer want = p->p;

		if (want.endpoint.ip.family == IP_NONE)
			want.endpoint = p->seen;
		wake(m, p, &want);
		if (!device_peer_set(m->device, &want, err))
			return false;
	}
	return true;
}

static bool watch_events(struct mesh *m, struct err *err)
{
	if (m->events)
		return true;
	m->events = nl_open(NETLINK_NETFILTER, err);
	return m->events && nl_join(m->events, NFNLGRP_NFTABLES, err);
}

bool mesh_start(struct mesh *m, const struct secret *key, const struct prefix *addresses, size_t n,
		const struct overlay *ranges, struct err *err)
{
	bool same_ranges = memcmp(&m->ranges, ranges, sizeof(*ranges)) == 0;

	if (n > MESH_ADDRESSES_MAX)
		return err_set(err, ERR_LIMIT, "%zu overlay addresses, at most %d", n,
			       MESH_ADDRESSES_MAX);
	if (!overlay_check(ranges, err))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!overlay_has(ranges, &addresses[i].ip) ||
		    addresses[i].bits != ip_len(&addresses[i].ip) * 8)
			return err_set(err, ERR_CONFIG, "an own address outside the mesh's ranges");
	memcpy(m->addresses, addresses, n * sizeof(*addresses));
	m->addresses_n = n;
	m->ranges = *ranges;
	secret_done(&m->key);
	secret_init(&m->key, key->ptr, key->len);

	if (!m->cut)
		m->cut = cut_open(err);
	if (!m->cut)
		return false;
	if ((!m->filter || !same_ranges) && !make_table(m, (struct boot){ 0 }, err))
		return false;
	if (!watch_events(m, err))
		return false;
	if (!m->link)
		m->link = link_open(err);
	if (!m->link)
		return false;
	if (!m->device) {
		if (!device_backend_pick(m->conf.backend, &m->backend, err))
			return false;
		m->device = device_open(m->backend, m->interface, err);
	}
	if (!m->device || !setup_device(m, err) || !make_link(m, err))
		return false;
	m->started = true;
	return true;
}

bool mesh_started(const struct mesh *m)
{
	return m->started;
}

static bool need_start(const struct mesh *m, struct err *err)
{
	return m->started || err_set(err, ERR_NOTNOW, "there is no device yet");
}

/* A tunnel process that is being restarted is told by mesh_check(). */
static bool or_later(struct mesh *m, bool ok, const struct err *e, struct err *err)
{
	if (ok)
		return true;
	if (e->code != ERR_BUSY)
		return err_set(err, e->code, "%s", e->msg);
	m->behind = true;
	return true;
}

/* ---- told anew ---- */

void mesh_reset(struct mesh *m)
{
	struct span key;
	void *value;
	size_t pos;

	m->resetting = true;
	for (pos = 0; dict_next(m->peers, &pos, &key, &value);)
		((struct peer *)value)->fresh = false;
	for (pos = 0; dict_next(m->routes, &pos, &key, &value);)
		((struct route *)value)->fresh = false;
	for (pos = 0; dict_next(m->classes, &pos, &key, &value);)
		((struct class *)value)->fresh = false;
	for (pos = 0; dict_next(m->vias, &pos, &key, &value);)
		((struct via *)value)->fresh = false;
}

/* What the kernel has and nobody told us of since the reset. */
struct stale {
	struct mesh      *m;
	struct ip        *addresses;
	struct device_key *keys;
	size_t            n, cap;
};

static void see_class(void *arg, const struct filter_class *c)
{
	struct stale *s = arg;
	const struct class *known = dict_find(s->m->classes, mesh_key_of_ip(&c->ip));

	if (known && known->fresh)
		return;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->addresses = mem_realloc(s->addresses, s->cap, sizeof(*s->addresses));
	}
	s->addresses[s->n++] = c->ip;
}

static void see_peer(void *arg, const struct device_peer_state *st)
{
	struct stale *s = arg;

	if (dict_find(s->m->peers, key_of_peer(&st->key)))
		return;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->keys = mem_realloc(s->keys, s->cap, sizeof(*s->keys));
	}
	s->keys[s->n++] = st->key;
}

/* Takes away from the device what is not among ours. */
static bool sweep_peers(struct mesh *m, struct err *err)
{
	struct stale left = { .m = m };
	struct err e = { 0 };
	bool ok;

	if (!m->device)
		return or_later(m, false, &(struct err){ .code = ERR_BUSY }, err);
	ok = or_later(m, device_peers(m->device, see_peer, &left, &e), &e, err);
	for (size_t i = 0; ok && i < left.n; i++)
		ok = or_later(m, device_peer_remove(m->device, &left.keys[i], &e), &e, err);
	free(left.keys);
	return ok;
}

bool mesh_end(struct mesh *m, struct boot now, struct err *err)
{
	struct stale gone = { .m = m };
	struct span key;
	void *value;
	size_t pos;
	bool ok;

	if (!need_start(m, err))
		return false;
	m->resetting = false;

	/* Denied first, then their connections, then their keys, then the ways to them. */
	ok = filter_classes(m->filter, see_class, &gone, err);
	for (size_t i = 0; ok && i < gone.n; i++)
		ok = filter_class_remove(m->filter, &gone.addresses[i], err);
	for (pos = 0; dict_next(m->classes, &pos, &key, &value);)
		if (!((struct class *)value)->fresh)
			free(dict_remove(m->classes, key));
	ok = ok && mesh_sweep_connections(m, m->forward_n > 0, err);
	for (pos = 0; dict_next(m->vias, &pos, &key, &value);)
		if (!((struct via *)value)->fresh)
			free(dict_remove(m->vias, key));
	ok = ok && load_vias(m, now, err);

	for (pos = 0; dict_next(m->peers, &pos, &key, &value);)
		if (!((struct peer *)value)->fresh)
			peer_free(dict_remove(m->peers, key));
	ok = ok && sweep_peers(m, err);

	for (pos = 0; dict_next(m->routes, &pos, &key, &value);)
		if (!((struct route *)value)->fresh)
			free(dict_remove(m->routes, key));
	ok = ok && set_routes(m, err);
	free(gone.addresses);
	return ok;
}

/* ---- pieces ---- */

static bool tell_peer(struct mesh *m, const struct device_peer *p, struct err *err)
{
	return m->device ? device_peer_set(m->device, p, err)
			 : err_set(err, ERR_BUSY, "no device");
}

static bool tell_gone(struct mesh *m, const struct device_key *key, struct err *err)
{
	return m->device ? device_peer_remove(m->device, key, err)
			 : err_set(err, ERR_BUSY, "no device");
}

bool mesh_peer(struct mesh *m, const struct device_peer *p, struct err *err)
{
	struct device_peer want = *p;
	struct peer *old, *new;
	struct err e = { 0 };

	if (!need_start(m, err))
		return false;
	new = mem_alloc(sizeof(*new));
	wake(m, new, &want);
	if (!or_later(m, tell_peer(m, &want, &e), &e, err)) {
		free(new);
		return false;
	}
	old = dict_find(m->peers, key_of_peer(&p->key));
	new->allowed = mem_dup(p->allowed_n ? (const void *)p->allowed : "",
			       p->allowed_n * sizeof(*p->allowed));
	new->p = *p;
	new->p.allowed = new->allowed;
	new->fresh = true;
	if (old)
		new->seen = old->seen;
	peer_free(dict_put(m->peers, key_of_peer(&p->key), new));
	return true;
}

bool mesh_peer_gone(struct mesh *m, const struct device_key *key, struct err *err)
{
	struct err e = { 0 };

	if (!need_start(m, err))
		return false;
	peer_free(dict_remove(m->peers, key_of_peer(key)));
	return or_later(m, tell_gone(m, key, &e), &e, err);
}

bool mesh_route(struct mesh *m, const struct prefix *p, struct err *err)
{
	char buf[sizeof(p->ip.b) + 2];
	struct route *r;

	if (!need_start(m, err))
		return false;
	if (!dict_find(m->routes, key_of_prefix(p, buf)) &&
	    dict_count(m->routes) >= LINK_ROUTES_MAX - 2)
		return err_set(err, ERR_LIMIT, "more than %d routes", LINK_ROUTES_MAX - 2);
	r = mem_alloc(sizeof(*r));
	*r = (struct route){ *p, true };
	free(dict_put(m->routes, key_of_prefix(p, buf), r));
	return m->resetting || set_routes(m, err);
}

bool mesh_route_gone(struct mesh *m, const struct prefix *p, struct err *err)
{
	char buf[sizeof(p->ip.b) + 2];

	if (!need_start(m, err))
		return false;
	free(dict_remove(m->routes, key_of_prefix(p, buf)));
	return m->resetting || set_routes(m, err);
}

static bool is_address(const struct mesh *m, const struct prefix *p)
{
	return p->ip.family != IP_NONE && p->bits == ip_len(&p->ip) * 8 &&
	       overlay_has(&m->ranges, &p->ip);
}

static bool address_class(struct mesh *m, const struct prefix *p, const struct filter_class *c,
			  struct boot now, struct err *err)
{
	const struct class *old = dict_find(m->classes, mesh_key_of_ip(&c->ip));
	struct class *new;

	if (old && old->c.who != c->who && !mesh_class_gone(m, p, now, err))
		return false;
	if (cut_waits(m->cut, &c->ip) && !mesh_cut(m, err))
		return false;
	if (!filter_class_set(m->filter, c, err))
		return false;
	new = mem_alloc(sizeof(*new));
	*new = (struct class){ *c, mesh_deadline(c->timeout_ms, now), true };
	free(dict_put(m->classes, mesh_key_of_ip(&c->ip), new));
	return true;
}

bool mesh_class(struct mesh *m, const struct prefix *p, uint32_t class, uint32_t who,
		int64_t timeout_ms, struct boot now, struct err *err)
{
	char buf[sizeof(p->ip.b) + 2];

	if (!need_start(m, err))
		return false;
	if (class == 0 || timeout_ms <= 0)
		return mesh_class_gone(m, p, now, err);
	if (is_address(m, p)) {
		struct filter_class c = { p->ip, class, timeout_ms, who };

		return address_class(m, p, &c, now, err);
	}
	if (p->ip.family == IP_NONE)
		return err_set(err, ERR_CONFIG, "a class for no address");
	if (prefix_covers(&m->ranges.v4, p) || prefix_covers(p, &m->ranges.v4) ||
	    prefix_covers(&m->ranges.v6, p) || prefix_covers(p, &m->ranges.v6))
		return err_set(err, ERR_CONFIG, "a far route that is the mesh's own");
	if (!dict_find(m->vias, key_of_prefix(p, buf)) && dict_count(m->vias) >= FILTER_VIA_MAX)
		return err_set(err, ERR_LIMIT, "more than %d far routes", FILTER_VIA_MAX);

	struct via *v = mem_alloc(sizeof(*v));

	*v = (struct via){ *p, mesh_deadline(timeout_ms, now), true };
	free(dict_put(m->vias, key_of_prefix(p, buf), v));
	return m->resetting || load_vias(m, now, err);
}

bool mesh_class_gone(struct mesh *m, const struct prefix *p, struct boot now, struct err *err)
{
	char buf[sizeof(p->ip.b) + 2];

	if (!need_start(m, err))
		return false;
	if (is_address(m, p)) {
		free(dict_remove(m->classes, mesh_key_of_ip(&p->ip)));
		cut_add(m->cut, &p->ip);
		return filter_class_remove(m->filter, &p->ip, err);
	}
	free(dict_remove(m->vias, key_of_prefix(p, buf)));
	return m->resetting || load_vias(m, now, err);
}

bool mesh_rows(struct mesh *m, const struct filter_rows *rows, struct boot now, struct err *err)
{
	if (!need_start(m, err) || !filter_load(m->filter, rows, err))
		return false;
	free(m->rows);
	free(m->forward);
	m->rows = mem_dup(rows->rows_n ? (const void *)rows->rows : "",
			  rows->rows_n * sizeof(*rows->rows));
	m->forward = mem_dup(rows->forward_n ? (const void *)rows->forward : "",
			     rows->forward_n * sizeof(*rows->forward));
	m->rows_n = rows->rows_n;
	m->forward_n = rows->forward_n;
	m->rows_told = true;
	/* What is this host's own is not far; only when it is let through is it forwarded. */
	return (m->resetting || load_vias(m, now, err)) &&
	       (m->forward_n == 0 || link_forwarding(err));
}

/* ---- keeping it so ---- */

int mesh_fd(const struct mesh *m)
{
	return m->events ? nl_fd(m->events) : -1;
}

/* Elements come and go with every login, and are ours. */
static bool matters(void *arg, const struct nlmsghdr *nlh)
{
	(void)arg;
	if (nlh->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
		return false;
	switch (nlh->nlmsg_type & 0xff) {
	case NFT_MSG_NEWTABLE: case NFT_MSG_DELTABLE:
	case NFT_MSG_NEWCHAIN: case NFT_MSG_DELCHAIN:
	case NFT_MSG_NEWRULE:  case NFT_MSG_DELRULE:
		return true;
	default:
		return false;
	}
}

bool mesh_woken(struct mesh *m)
{
	return m->events && nl_drain(m->events, matters, NULL);
}

static void note_seen(void *arg, const struct device_peer_state *st)
{
	struct mesh *m = arg;
	struct peer *p = dict_find(m->peers, key_of_peer(&st->key));

	if (p && st->endpoint.ip.family != IP_NONE)
		p->seen = st->endpoint;
}

bool mesh_check(struct mesh *m, struct boot now, const char **ret_what, struct err *err)
{
	struct device_key mine;
	struct device_info info;
	const char *what = NULL;
	struct err e = { 0 };
	bool there = true;

	if (ret_what)
		*ret_what = NULL;
	if (!need_start(m, err))
		return false;
	/* The table first, whatever else is wrong. */
	if (!filter_there(m->filter, &there, err))
		return false;
	if (!there) {
		what = "the packet filter's table";
		if (!make_table(m, now, err))
			return false;
	}
	mesh_note_expired(m, now);
	if (!mesh_cut(m, err))
		return false;
	if (!m->device || !device_info(m->device, &info, &e)) {
		/* The interface may be another one by now, or the process. */
		device_close(take(m->device));
		m->device = device_open(m->backend, m->interface, err);
		if (!m->device || !device_info(m->device, &info, err))
			return false;
	}
	if (!device_private_public(&m->key, &mine, err))
		return false;
	if (!device_key_eq(&mine, &info.key) || m->behind) {
		what = "the device's key and peers";
		if (!make_device(m, err) || (!m->resetting && !sweep_peers(m, err)) ||
		    !make_link(m, err))
			return false;
		m->behind = false;
	} else if (!link_addresses(m->link, m->interface, m->addresses, m->addresses_n, err) ||
		   !link_up(m->link, m->interface, DEVICE_MTU, err) || !set_routes(m, err) ||
		   !end_waking(m, err) ||
		   (m->backend == DEVICE_USERSPACE &&
		    !device_peers(m->device, note_seen, m, err))) {
		return false;
	}
	if (ret_what)
		*ret_what = what;
	return true;
}

bool mesh_info(struct mesh *m, struct device_info *ret_info, enum device_backend *ret_backend,
	       struct err *err)
{
	if (!need_start(m, err))
		return false;
	if (ret_backend)
		*ret_backend = m->backend;
	if (!m->device)
		return err_set(err, ERR_BUSY, "the tunnel is being restarted");
	return device_info(m->device, ret_info, err);
}

bool mesh_counters(struct mesh *m, struct filter_counters *ret_c, struct err *err)
{
	if (!need_start(m, err))
		return false;
	if (!m->filter)
		return err_set(err, ERR_NOTNOW, "there is no packet filter");
	return filter_counters(m->filter, ret_c, err);
}

bool mesh_peers(struct mesh *m, device_peer_fn *fn, void *arg, struct err *err)
{
	if (!need_start(m, err))
		return false;
	if (!m->device)
		return err_set(err, ERR_BUSY, "the tunnel is being restarted");
	return device_peers(m->device, fn, arg, err);
}
