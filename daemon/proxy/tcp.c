/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Plain TCP services: the steps are a request's, without a request. Who calls
 * is judged when the connection comes, said to the application in a PROXY header,
 * and looked at again whenever a request's would be; then bytes go both ways
 * (relay_upgrade()) until the session ends, the policy changes or nobody speaks.
 * A connection that is refused is closed: there is no language to say why in; the
 * audit line says it.
 */
#include "daemon/proxy/engine.h"

#include "daemon/proxy/proxy_header.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

const struct snap_service *tcp_service(const struct conn *c, uint32_t *ret_index)
{
	const struct snapshot *s = c->front->snap;
	const struct snap_listen *l = c->listener->snap;
	const struct snap_service *v;
	uint32_t index;

	if (!s || !l || l->services.count != 1)
		return NULL;
	index = snapshot_number(s, l->services, 0);
	v = snapshot_service(s, index);
	if (!v || !(v->flags & SERVICE_TCP))
		return NULL;
	*ret_index = index;
	return v;
}

enum { LIST_MAX = 4096 };       /* SNAPSHOT_GROUPS_MAX */

static size_t list_of(const struct snapshot *s, struct snap_list l, struct span out[LIST_MAX])
{
	size_t n = l.count < LIST_MAX ? l.count : LIST_MAX;

	for (size_t i = 0; i < n; i++)
		out[i] = snapshot_item(s, l, (uint32_t)i);
	return n;
}

static bool addresses(const struct conn *c, struct proxy_header *h)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	h->src = (struct ipport){ c->peer, c->peer_port };
	return getsockname(c->io.watch.fd, (struct sockaddr *)&ss, &len) == 0 &&
	       ipport_from_sockaddr(&ss, &h->dst);
}

static bool write_header(struct exchange *ex, struct buf *out, struct err *err)
{
	const struct snapshot *s = ex->snap;
	const struct snap_ident *d = ex->svc->flags & SERVICE_PUBLIC ? NULL : snapshot_ident(s, ex->conn->slot);
	struct proxy_header h = { .unique_id = ex->rid };
	struct span groups[LIST_MAX], tags[LIST_MAX];

	if (!(ex->svc->flags & (SERVICE_PROXY_V1 | SERVICE_PROXY_V2)))
		return true;
	if (!addresses(ex->conn, &h))
		return err_set(err, ERR_SYS, "the connection has no addresses");
	if (ex->svc->flags & SERVICE_PROXY_V1)
		return proxy_header_v1(&h, out, err);
	h.login_as_authority = (ex->svc->flags & SERVICE_PROXY_AUTHORITY) != 0;
	if (d) {
		h.login = snapshot_text(s, d->login);
		h.name = snapshot_text(s, d->name);
		h.email = snapshot_text(s, d->email);
		h.user = snapshot_text(s, d->user);
		h.issuer = snapshot_text(s, d->issuer);
		h.subject = snapshot_text(s, d->subject);
		h.node = snapshot_text(s, d->node);
		h.session = snapshot_text(s, d->session);
		h.groups = groups;
		h.group_count = list_of(s, d->groups, groups);
		h.tags = tags;
		h.tag_count = list_of(s, d->tags, tags);
		h.expires = d->expires_boot == BOOT_NEVER.ns ? 0 : d->expires;
		h.login_as_cn = (ex->svc->flags & SERVICE_PROXY_CN) != 0;
	}
	return proxy_header_v2(&h, out, err);
}

/* The header is kept until there is somebody to say it to. */
static bool keep_header(struct exchange *ex)
{
	struct front *f = ex->conn->front;
	struct err err = { 0 };
	char rid[REQUEST_ID_LEN], *p;
	struct buf head;
	bool ok;

	request_id_make(f, rid);
	ex->rid = span_of(rid, sizeof(rid));
	buf_init(&head, PROXY_HEADER_MAX);
	ok = write_header(ex, &head, &err);
	if (ok) {
		p = exchange_mem(ex, sizeof(rid) + head.len);
		memcpy(p, rid, sizeof(rid));
		ex->rid = span_of(p, sizeof(rid));
		if (head.len)
			memcpy(p + sizeof(rid), head.ptr, head.len);
		ex->head = span_of(p + sizeof(rid), head.len);
	} else {
		ex->rid = (struct span){ 0 };
	}
	buf_done(&head);
	return ok;
}

void tcp_begin(struct conn *c)
{
	struct front *f = c->front;
	struct exchange *ex = exchange_new(c);
	uint32_t index = SERVICE_UNKNOWN;

	f->stats.requests++;
	c->requests++;
	c->state = CONN_BUSY;
	ex->tcp = true;
	ex->svc = tcp_service(c, &index);
	ex->service = index;
	ex->run = front_run(f, index);
	ex->run->requests++;
	if (!(ex->svc->flags & SERVICE_PUBLIC) && (!request_identity(ex) || !request_policy(ex)))
		return;
	if (!request_room(ex))
		return;
	if (!keep_header(ex)) {
		exchange_refuse(ex, 500, "identity-unspeakable", "it does not fit a PROXY header");
		return;
	}
	request_count(ex);
	ex->state = EX_WAIT;
	ex->due_total = INT64_MAX;      /* a session's length is bounded by the person's */
	conn_due(c, front_now(f) + ex->svc->connect_ns);
	upstream_acquire(ex);
}

void tcp_start(struct conn *c)
{
	struct front *f = c->front;
	struct exchange *ex = c->ex;
	struct iovec v = { (char *)(uintptr_t)ex->head.ptr, ex->head.len };

	ex->connected = front_now(f);
	ex->state = EX_UPGRADED;
	c->state = CONN_UPGRADED;
	f->stats.upgrades++;
	conn_due(c, front_now(f) + ex->svc->upgrade_idle_ns);
	/* Servers that speak first may have spoken already: that edge is behind us. */
	ex->up->io.can_read = true;
	if (v.iov_len)
		io_write(&ex->up->io, &v, 1);   /* a failure shows in the relay */
}
