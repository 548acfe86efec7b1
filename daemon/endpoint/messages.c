/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/messages.h"

#include "base/mem.h"
#include "base/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { P = 1 << PROCESS_PARENT, N = 1 << PROCESS_NET, C = 1 << PROCESS_CORE,
       F = 1 << PROCESS_FRONT | 1 << PROCESS_PUBLIC, CHILD = N | C | F };

static const struct {
	const char *name;
	unsigned    from, to;
	size_t      fds;
} types[MSG_TYPES] = {
	[MSG_CONF]          = { "conf",          P,     CHILD, 1 },
	[MSG_CONF_USE]      = { "conf-use",      P,     CHILD, 0 },
	[MSG_CONF_DROP]     = { "conf-drop",     P,     CHILD, 0 },
	[MSG_NEIGHBOUR]     = { "neighbour",     P,     CHILD, 1 },
	[MSG_PING]          = { "ping",          P,     CHILD, 0 },
	[MSG_DRAIN]         = { "drain",         P,     CHILD, 0 },
	[MSG_END]           = { "end",           P,     CHILD, 0 },
	[MSG_CONF_DONE]     = { "conf-done",     CHILD, P,     0 },
	[MSG_READY]         = { "ready",         CHILD, P,     0 },
	[MSG_PONG]          = { "pong",          CHILD, P,     0 },
	[MSG_TUNNEL]        = { "tunnel",        N | P, P | N, 0 },
	[MSG_RESET]         = { "reset",         C,     N,     0 },
	[MSG_NET_END]       = { "net-end",       C,     N,     0 },
	[MSG_DEVICE]        = { "device",        C,     N,     0 },
	[MSG_PEER]          = { "peer",          C,     N,     0 },
	[MSG_PEER_GONE]     = { "peer-gone",     C,     N,     0 },
	[MSG_ROUTES]        = { "routes",        C,     N,     1 },
	[MSG_CLASS]         = { "class",         C,     N,     0 },
	[MSG_CLASS_GONE]    = { "class-gone",    C,     N,     0 },
	[MSG_ROWS]          = { "rows",          C,     N,     1 },
	[MSG_HOSTS]         = { "hosts",         C,     N,     1 },
	[MSG_STATUS_ASK]    = { "status-ask",    C,     N,     0 },
	[MSG_NAME]          = { "name",          C,     N,     0 },
	[MSG_NAMED]         = { "named",         N,     C,     0 },
	[MSG_DONE]          = { "done",          N,     C,     0 },
	[MSG_STATUS]        = { "status",        N,     C,     0 },
	[MSG_SNAPSHOT]      = { "snapshot",      C,     F,     2 },
	[MSG_SWEEP]         = { "sweep",         C,     F,     0 },
	[MSG_TLS]           = { "tls",           C,     F,     0 },
	[MSG_BASIC]         = { "basic",         C,     F,     0 },
	[MSG_TLS_TICKETS]   = { "tls-tickets",   C,     F,     0 },
	[MSG_TLS_ROOTS]     = { "tls-roots",     C,     F,     1 },
	[MSG_BROWSED]       = { "browsed",       C,     1 << PROCESS_PUBLIC, 0 },
	[MSG_BROWSER]       = { "browser",       1 << PROCESS_PUBLIC, C, 0 },
	[MSG_ASSERTED]      = { "asserted",      C,     F,     0 },
	[MSG_METRICS_ASK]   = { "metrics-ask",   C,     F,     0 },
	[MSG_METRICS]       = { "metrics",       F,     C,     0 },
	[MSG_UPSTREAM]      = { "upstream",      F,     C,     0 },
	[MSG_USED]          = { "used",          F,     C,     0 },
	[MSG_ASSERT]        = { "assert",        F,     C,     0 },
	[MSG_SNAPSHOT_DONE] = { "snapshot-done", F,     C,     0 },
	[MSG_AUDIT]         = { "audit",         F,     C,     0 },
	[MSG_AUDIT_LOST]    = { "audit-lost",    F,     C,     0 },
	[MSG_LISTEN]        = { "listen",        N | P, F | P | N, 0 },
	[MSG_CONNECTED]     = { "connected",     N,     F,     0 },
	[MSG_CONNECT]       = { "connect",       F,     N,     0 },
};

const char *msg_name(enum msg_type type)
{
	if ((unsigned)type >= MSG_TYPES || !types[type].name)
		return "unknown";
	return types[type].name;
}

const char *process_kind_name(enum process_kind kind)
{
	static const char *const names[PROCESS_KINDS] = {
		"none", "parent", "net", "core", "front", "public",
	};

	return (unsigned)kind < PROCESS_KINDS ? names[kind] : "none";
}

const char *msg_filter_counter_name(enum msg_filter_counter counter)
{
	static const char *const names[MSG_FILTER_COUNTERS] = {
		[MSG_FILTER_FORGED] = "forged", [MSG_FILTER_SOURCE] = "source", [MSG_FILTER_CLASSLESS] = "classless",
		[MSG_FILTER_NO_ROW] = "no-row", [MSG_FILTER_NOT_NEW] = "not-new", [MSG_FILTER_USER] = "user",
		[MSG_FILTER_LAB] = "lab", [MSG_FILTER_FRONT] = "front",
	};

	return (unsigned)counter < MSG_FILTER_COUNTERS ? names[counter] : "none";
}

bool msg_allowed(enum msg_type type, enum process_kind from, enum process_kind to)
{
	if ((unsigned)type >= MSG_TYPES || (unsigned)from >= PROCESS_KINDS ||
	    (unsigned)to >= PROCESS_KINDS)
		return false;
	return (types[type].from >> from & 1) && (types[type].to >> to & 1);
}

size_t msg_fds(const struct msg *m)
{
	switch (m->type) {
	case MSG_LISTEN:
		return m->listen.n;
	case MSG_CONNECTED:
		return m->connected.error == 0 ? 1 : 0;
	default:
		return (unsigned)m->type < MSG_TYPES ? types[m->type].fds : 0;
	}
}

static void put_bool(struct buf *b, bool v)
{
	wire_u8(b, v ? 1 : 0);
}

static bool get_bool(struct wire_reader *r)
{
	uint8_t v = wire_get_u8(r);

	if (v > 1)
		r->bad = true;
	return v == 1;
}

static void put_prefix(struct buf *b, const struct prefix *p)
{
	wire_ip(b, &p->ip);
	wire_u8(b, p->bits);
}

/* One spelling for one prefix: host bits are zero. */
static struct prefix get_prefix(struct wire_reader *r)
{
	struct prefix p = { 0 }, whole;
	char text[IP_TEXT_MAX];

	p.ip = wire_get_ip(r);
	p.bits = wire_get_u8(r);
	if (r->bad)
		return p;
	if (p.ip.family == IP_NONE) {
		r->bad = p.bits != 0;
		return p;
	}
	if (p.bits > ip_len(&p.ip) * 8 ||
	    !prefix_parse(span_str(prefix_text(&p, text)), &whole) || prefix_cmp(&p, &whole) != 0)
		r->bad = true;
	return p;
}

static void put_ipport(struct buf *b, const struct ipport *a)
{
	wire_ip(b, &a->ip);
	wire_u16(b, a->port);
}

static struct ipport get_ipport(struct wire_reader *r)
{
	struct ipport a = { 0 };

	a.ip = wire_get_ip(r);
	a.port = wire_get_u16(r);
	return a;
}

static void get_key(struct wire_reader *r, uint8_t key[MSG_KEY_LEN])
{
	struct span s = wire_get_span(r, MSG_KEY_LEN);

	if (s.len != MSG_KEY_LEN) {
		r->bad = true;
		return;
	}
	memcpy(key, s.ptr, MSG_KEY_LEN);
}

static void put_key(struct buf *b, const uint8_t key[MSG_KEY_LEN])
{
	wire_span(b, span_of(key, MSG_KEY_LEN));
}

static bool put_count(struct buf *b, size_t n, size_t max)
{
	wire_u16(b, (uint16_t)n);
	return n <= max && n <= UINT16_MAX;
}

static size_t get_count(struct wire_reader *r, size_t max)
{
	size_t n = wire_get_u16(r);

	if (n > max) {
		r->bad = true;
		return 0;
	}
	return n;
}

static bool put_prefixes(struct buf *b, const struct prefix *list, size_t n, size_t max)
{
	bool ok = put_count(b, n, max);

	for (size_t i = 0; ok && i < n; i++)
		put_prefix(b, &list[i]);
	return ok;
}

static size_t get_prefixes(struct wire_reader *r, struct prefix *list, size_t max)
{
	size_t n = get_count(r, max);

	for (size_t i = 0; i < n && !r->bad; i++)
		list[i] = get_prefix(r);
	return n;
}

static bool put_span(struct buf *b, struct span s, size_t max)
{
	wire_span(b, s);
	return s.len <= max;
}

static uint8_t get_code(struct wire_reader *r)
{
	uint8_t c = wire_get_u8(r);

	if (c > ERR_SYS)
		r->bad = true;
	return c;
}

static uint32_t table_max(enum msg_type type)
{
	switch (type) {
	case MSG_ROWS:   return MSG_ROWS_MAX;
	case MSG_HOSTS:  return MSG_HOSTS_MAX;
	case MSG_ROUTES: return MSG_ROUTES_MAX;
	default:         return 0;
	}
}

static bool put_listen(const struct msg_listen *l, struct buf *out)
{
	wire_u32(out, l->conf);
	put_bool(out, l->first);
	put_bool(out, l->last);
	if (!put_count(out, l->n, MSG_LISTEN_MAX))
		return false;
	for (size_t i = 0; i < l->n; i++) {
		if (!put_span(out, l->list[i].key, MSG_NAME_MAX))
			return false;
		put_ipport(out, &l->list[i].at);
	}
	return true;
}

static void get_listen(struct wire_reader *r, struct msg_listen *l)
{
	l->conf = wire_get_u32(r);
	l->first = get_bool(r);
	l->last = get_bool(r);
	l->n = get_count(r, MSG_LISTEN_MAX);
	for (size_t i = 0; i < l->n && !r->bad; i++) {
		l->list[i].key = wire_get_span(r, MSG_NAME_MAX);
		l->list[i].at = get_ipport(r);
	}
}

static bool put_status(const struct msg_status *s, struct buf *out)
{
	wire_u32(out, s->order);
	wire_u16(out, s->port);
	for (size_t i = 0; i < MSG_FILTER_COUNTERS; i++)
		wire_u64(out, s->refused[i]);
	wire_u64(out, s->cut[0]);
	wire_u64(out, s->cut[1]);
	if (!put_span(out, s->backend, MSG_NAME_MAX) || !put_span(out, s->cannot, MSG_TEXT_MAX) ||
	    !put_count(out, s->peers_n, MSG_PEERS_MAX))
		return false;
	for (size_t i = 0; i < s->peers_n; i++) {
		put_key(out, s->peers[i].key);
		put_ipport(out, &s->peers[i].endpoint);
		wire_i64(out, s->peers[i].handshake);
		wire_u64(out, s->peers[i].rx);
		wire_u64(out, s->peers[i].tx);
	}
	return true;
}

static void get_status(struct wire_reader *r, struct msg_status *s)
{
	s->order = wire_get_u32(r);
	s->port = wire_get_u16(r);
	for (size_t i = 0; i < MSG_FILTER_COUNTERS; i++)
		s->refused[i] = wire_get_u64(r);
	s->cut[0] = wire_get_u64(r);
	s->cut[1] = wire_get_u64(r);
	s->backend = wire_get_span(r, MSG_NAME_MAX);
	s->cannot = wire_get_span(r, MSG_TEXT_MAX);
	s->peers_n = get_count(r, MSG_PEERS_MAX);
	for (size_t i = 0; i < s->peers_n && !r->bad; i++) {
		get_key(r, s->peers[i].key);
		s->peers[i].endpoint = get_ipport(r);
		s->peers[i].handshake = wire_get_i64(r);
		s->peers[i].rx = wire_get_u64(r);
		s->peers[i].tx = wire_get_u64(r);
	}
}

bool msg_write(const struct msg *m, struct buf *out, struct err *err)
{
	bool ok = true;

	if ((unsigned)m->type >= MSG_TYPES || !types[m->type].name)
		return err_set(err, ERR_NOTNOW, "no such message: %d", (int)m->type);
	wire_u8(out, (uint8_t)m->type);
	switch (m->type) {
	case MSG_CONF: case MSG_CONF_USE: case MSG_CONF_DROP: case MSG_READY:
		wire_u32(out, m->conf.generation);
		ok = put_span(out, m->conf.dir, MSG_TEXT_MAX) &&
		     put_span(out, m->conf.file, MSG_TEXT_MAX);
		break;
	case MSG_CONF_DONE:
		wire_u32(out, m->conf_done.generation);
		put_bool(out, m->conf_done.ok);
		ok = put_span(out, m->conf_done.text, MSG_TEXT_MAX);
		break;
	case MSG_NEIGHBOUR:
		ok = m->neighbour.kind > PROCESS_PARENT && m->neighbour.kind < PROCESS_KINDS;
		wire_u8(out, m->neighbour.kind);
		wire_u16(out, m->neighbour.index);
		break;
	case MSG_RESET: case MSG_NET_END: case MSG_STATUS_ASK:
		wire_u32(out, m->order);
		break;
	case MSG_DEVICE:
		wire_u32(out, m->device.order);
		put_key(out, m->device.key);
		ok = put_prefixes(out, m->device.addresses, m->device.addresses_n, MSG_ADDRESSES_MAX) &&
		     put_prefixes(out, m->device.ranges, m->device.ranges_n, MSG_ADDRESSES_MAX);
		break;
	case MSG_PEER: case MSG_PEER_GONE:
		wire_u32(out, m->peer.order);
		put_key(out, m->peer.key);
		if (m->type == MSG_PEER_GONE)
			break;
		put_bool(out, m->peer.has_endpoint);
		if (m->peer.has_endpoint)
			put_ipport(out, &m->peer.endpoint);
		wire_u16(out, m->peer.keepalive);
		ok = put_prefixes(out, m->peer.prefixes, m->peer.prefixes_n, MSG_PREFIXES_MAX);
		break;
	case MSG_CLASS: case MSG_CLASS_GONE:
		wire_u32(out, m->klass.order);
		wire_ip(out, &m->klass.ip);
		ok = m->klass.ip.family != IP_NONE;
		if (m->type == MSG_CLASS_GONE)
			break;
		ok = ok && m->klass.timeout >= 1 && m->klass.klass >= 1;
		wire_u32(out, m->klass.klass);
		wire_u32(out, m->klass.who);
		wire_i64(out, m->klass.timeout);
		break;
	case MSG_ROWS: case MSG_HOSTS: case MSG_ROUTES:
		wire_u32(out, m->table.order);
		wire_u32(out, m->table.count);
		ok = m->table.count <= table_max(m->type);
		break;
	case MSG_DONE:
		wire_u32(out, m->done.order);
		wire_u8(out, m->done.code);
		ok = put_span(out, m->done.text, MSG_TEXT_MAX) && m->done.code <= ERR_SYS;
		break;
	case MSG_TUNNEL:
		put_bool(out, m->tunnel.on);
		ok = put_span(out, m->tunnel.text, MSG_TEXT_MAX);
		break;
	case MSG_STATUS:
		ok = put_status(&m->status, out);
		break;
	case MSG_NAME:
		wire_u32(out, m->name.serial);
		ok = put_span(out, m->name.name, MSG_NAME_MAX);
		for (size_t i = 0; i < NAMES_ADDRESSES_MAX; i++)
			wire_ip(out, &m->name.at[i]);
		break;
	case MSG_NAMED:
		wire_u32(out, m->named.serial);
		break;
	case MSG_SNAPSHOT:
		wire_u64(out, m->snapshot.generation);
		wire_u32(out, m->snapshot.conf);
		break;
	case MSG_TLS:
		put_bool(out, m->tls.first);
		put_bool(out, m->tls.last);
		ok = put_span(out, m->tls.certificate, MSG_TLS_MAX) &&
		     put_span(out, m->tls.key, MSG_TLS_MAX);
		break;
	case MSG_BASIC:
		put_bool(out, m->basic.first);
		put_bool(out, m->basic.last);
		ok = put_span(out, m->basic.service, MSG_NAME_MAX) &&
		     put_span(out, m->basic.secret, MSG_SECRET_MAX);
		break;
	case MSG_TLS_TICKETS:
		ok = put_span(out, m->tickets.keys, MSG_TICKETS_MAX);
		break;
	case MSG_SNAPSHOT_DONE:
		wire_u64(out, m->snapshot_done.generation);
		put_bool(out, m->snapshot_done.ok);
		ok = put_span(out, m->snapshot_done.text, MSG_TEXT_MAX);
		break;
	case MSG_AUDIT:
		ok = put_span(out, m->audit.lines, MSG_AUDIT_MAX);
		break;
	case MSG_ASSERT:
		wire_u64(out, m->assert_.id);
		wire_u64(out, m->assert_.snapshot);
		wire_u32(out, m->assert_.slot);
		wire_u32(out, m->assert_.service);
		ok = put_span(out, m->assert_.method, MSG_METHOD_MAX) &&
		     put_span(out, m->assert_.path, MSG_PATH_MAX);
		break;
	case MSG_USED:
		wire_u64(out, m->used.snapshot);
		wire_u32(out, m->used.slot);
		break;
	case MSG_BROWSER:
		wire_u64(out, m->browser.id);
		wire_u64(out, m->browser.snapshot);
		wire_u32(out, m->browser.what);
		wire_u32(out, m->browser.service);
		wire_u32(out, m->browser.slot);
		ok = put_span(out, m->browser.code, MSG_CODE_MAX) && put_span(out, m->browser.verifier, MSG_CODE_MAX);
		break;
	case MSG_BROWSED:
		wire_u64(out, m->browsed.id);
		wire_u32(out, m->browsed.what);
		ok = put_span(out, m->browsed.text, MSG_URL_MAX);
		break;
	case MSG_ASSERTED:
		wire_u64(out, m->asserted.id);
		wire_i64(out, m->asserted.expires);
		wire_span(out, m->asserted.text);
		break;
	case MSG_AUDIT_LOST:
		wire_u64(out, m->audit_lost.count);
		break;
	case MSG_METRICS_ASK:
		wire_u64(out, m->metrics_ask.id);
		break;
	case MSG_UPSTREAM:
		ok = put_span(out, m->upstream.service, MSG_NAME_MAX) && put_span(out, m->upstream.upstream, MSG_TEXT_MAX) &&
		     put_span(out, m->upstream.why, MSG_NAME_MAX);
		put_bool(out, m->upstream.down);
		wire_u32(out, m->upstream.rest_ms);
		break;
	case MSG_METRICS:
		wire_u64(out, m->metrics.id);
		put_bool(out, m->metrics.last);
		wire_span(out, m->metrics.text);
		break;
	case MSG_LISTEN:
		ok = put_listen(&m->listen, out);
		break;
	case MSG_CONNECTED:
		wire_u64(out, m->connected.id);
		wire_u32(out, m->connected.error);
		ok = m->connected.error <= MSG_ERRNO_MAX;
		break;
	case MSG_CONNECT:
		wire_u64(out, m->connect.id);
		wire_u32(out, m->connect.conf);
		wire_u32(out, m->connect.service);
		wire_u32(out, m->connect.upstream);
		break;
	case MSG_PING: case MSG_PONG: case MSG_DRAIN: case MSG_END: case MSG_SWEEP: case MSG_TLS_ROOTS:
		break;
	case MSG_NONE: case MSG_TYPES:
		ok = false;
		break;
	}
	if (!ok || out->over || out->len > WIRE_MAX)
		return err_set(err, ERR_LIMIT, "message %s: a field is out of its limits", msg_name(m->type));
	return true;
}

bool msg_read(struct span bytes, struct msg *ret_m, struct err *err)
{
	struct wire_reader r = wire_read(bytes);
	struct msg *m = ret_m;
	uint8_t type = wire_get_u8(&r);

	memset(m, 0, sizeof(*m));
	if (r.bad || type >= MSG_TYPES || !types[type].name)
		return err_set(err, ERR_PEER, "message of an unknown kind %u", type);
	m->type = (enum msg_type)type;
	switch (m->type) {
	case MSG_CONF: case MSG_CONF_USE: case MSG_CONF_DROP: case MSG_READY:
		m->conf.generation = wire_get_u32(&r);
		m->conf.dir = wire_get_span(&r, MSG_TEXT_MAX);
		m->conf.file = wire_get_span(&r, MSG_TEXT_MAX);
		break;
	case MSG_CONF_DONE:
		m->conf_done.generation = wire_get_u32(&r);
		m->conf_done.ok = get_bool(&r);
		m->conf_done.text = wire_get_span(&r, MSG_TEXT_MAX);
		break;
	case MSG_NEIGHBOUR:
		m->neighbour.kind = wire_get_u8(&r);
		m->neighbour.index = wire_get_u16(&r);
		if (m->neighbour.kind <= PROCESS_PARENT || m->neighbour.kind >= PROCESS_KINDS)
			r.bad = true;
		break;
	case MSG_RESET: case MSG_NET_END: case MSG_STATUS_ASK:
		m->order = wire_get_u32(&r);
		break;
	case MSG_DEVICE:
		m->device.order = wire_get_u32(&r);
		get_key(&r, m->device.key);
		m->device.addresses_n = get_prefixes(&r, m->device.addresses, MSG_ADDRESSES_MAX);
		m->device.ranges_n = get_prefixes(&r, m->device.ranges, MSG_ADDRESSES_MAX);
		break;
	case MSG_PEER: case MSG_PEER_GONE:
		m->peer.order = wire_get_u32(&r);
		get_key(&r, m->peer.key);
		if (m->type == MSG_PEER_GONE)
			break;
		m->peer.has_endpoint = get_bool(&r);
		if (m->peer.has_endpoint)
			m->peer.endpoint = get_ipport(&r);
		m->peer.keepalive = wire_get_u16(&r);
		m->peer.prefixes_n = get_prefixes(&r, m->peer.prefixes, MSG_PREFIXES_MAX);
		break;
	case MSG_CLASS: case MSG_CLASS_GONE:
		m->klass.order = wire_get_u32(&r);
		m->klass.ip = wire_get_ip(&r);
		if (m->klass.ip.family == IP_NONE)
			r.bad = true;
		if (m->type == MSG_CLASS_GONE)
			break;
		m->klass.klass = wire_get_u32(&r);
		m->klass.who = wire_get_u32(&r);
		m->klass.timeout = wire_get_i64(&r);
		if (m->klass.timeout < 1 || m->klass.klass < 1)
			r.bad = true;
		break;
	case MSG_ROWS: case MSG_HOSTS: case MSG_ROUTES:
		m->table.order = wire_get_u32(&r);
		m->table.count = wire_get_u32(&r);
		if (m->table.count > table_max(m->type))
			r.bad = true;
		break;
	case MSG_DONE:
		m->done.order = wire_get_u32(&r);
		m->done.code = get_code(&r);
		m->done.text = wire_get_span(&r, MSG_TEXT_MAX);
		break;
	case MSG_TUNNEL:
		m->tunnel.on = get_bool(&r);
		m->tunnel.text = wire_get_span(&r, MSG_TEXT_MAX);
		break;
	case MSG_STATUS:
		get_status(&r, &m->status);
		break;
	case MSG_NAME:
		m->name.serial = wire_get_u32(&r);
		m->name.name = wire_get_span(&r, MSG_NAME_MAX);
		for (size_t i = 0; i < NAMES_ADDRESSES_MAX; i++)
			m->name.at[i] = wire_get_ip(&r);
		break;
	case MSG_NAMED:
		m->named.serial = wire_get_u32(&r);
		break;
	case MSG_SNAPSHOT:
		m->snapshot.generation = wire_get_u64(&r);
		m->snapshot.conf = wire_get_u32(&r);
		break;
	case MSG_TLS:
		m->tls.first = get_bool(&r);
		m->tls.last = get_bool(&r);
		m->tls.certificate = wire_get_span(&r, MSG_TLS_MAX);
		m->tls.key = wire_get_span(&r, MSG_TLS_MAX);
		break;
	case MSG_BASIC:
		m->basic.first = get_bool(&r);
		m->basic.last = get_bool(&r);
		m->basic.service = wire_get_span(&r, MSG_NAME_MAX);
		m->basic.secret = wire_get_span(&r, MSG_SECRET_MAX);
		break;
	case MSG_TLS_TICKETS:
		m->tickets.keys = wire_get_span(&r, MSG_TICKETS_MAX);
		break;
	case MSG_SNAPSHOT_DONE:
		m->snapshot_done.generation = wire_get_u64(&r);
		m->snapshot_done.ok = get_bool(&r);
		m->snapshot_done.text = wire_get_span(&r, MSG_TEXT_MAX);
		break;
	case MSG_AUDIT:
		m->audit.lines = wire_get_span(&r, MSG_AUDIT_MAX);
		break;
	case MSG_ASSERT:
		m->assert_.id = wire_get_u64(&r);
		m->assert_.snapshot = wire_get_u64(&r);
		m->assert_.slot = wire_get_u32(&r);
		m->assert_.service = wire_get_u32(&r);
		m->assert_.method = wire_get_span(&r, MSG_METHOD_MAX);
		m->assert_.path = wire_get_span(&r, MSG_PATH_MAX);
		break;
	case MSG_USED:
		m->used.snapshot = wire_get_u64(&r);
		m->used.slot = wire_get_u32(&r);
		break;
	case MSG_BROWSER:
		m->browser.id = wire_get_u64(&r);
		m->browser.snapshot = wire_get_u64(&r);
		m->browser.what = wire_get_u32(&r);
		m->browser.service = wire_get_u32(&r);
		m->browser.slot = wire_get_u32(&r);
		m->browser.code = wire_get_span(&r, MSG_CODE_MAX);
		m->browser.verifier = wire_get_span(&r, MSG_CODE_MAX);
		break;
	case MSG_BROWSED:
		m->browsed.id = wire_get_u64(&r);
		m->browsed.what = wire_get_u32(&r);
		m->browsed.text = wire_get_span(&r, MSG_URL_MAX);
		break;
	case MSG_ASSERTED:
		m->asserted.id = wire_get_u64(&r);
		m->asserted.expires = wire_get_i64(&r);
		m->asserted.text = wire_get_span(&r, MSG_ASSERTION_MAX);
		break;
	case MSG_AUDIT_LOST:
		m->audit_lost.count = wire_get_u64(&r);
		break;
	case MSG_METRICS_ASK:
		m->metrics_ask.id = wire_get_u64(&r);
		break;
	case MSG_UPSTREAM:
		m->upstream.service = wire_get_span(&r, MSG_NAME_MAX);
		m->upstream.upstream = wire_get_span(&r, MSG_TEXT_MAX);
		m->upstream.why = wire_get_span(&r, MSG_NAME_MAX);
		m->upstream.down = get_bool(&r);
		m->upstream.rest_ms = wire_get_u32(&r);
		break;
	case MSG_METRICS:
		m->metrics.id = wire_get_u64(&r);
		m->metrics.last = get_bool(&r);
		m->metrics.text = wire_get_span(&r, MSG_METRICS_MAX);
		break;
	case MSG_LISTEN:
		get_listen(&r, &m->listen);
		break;
	case MSG_CONNECTED:
		m->connected.id = wire_get_u64(&r);
		m->connected.error = wire_get_u32(&r);
		if (m->connected.error > MSG_ERRNO_MAX)
			r.bad = true;
		break;
	case MSG_CONNECT:
		m->connect.id = wire_get_u64(&r);
		m->connect.conf = wire_get_u32(&r);
		m->connect.service = wire_get_u32(&r);
		m->connect.upstream = wire_get_u32(&r);
		break;
	case MSG_PING: case MSG_PONG: case MSG_DRAIN: case MSG_END: case MSG_SWEEP: case MSG_TLS_ROOTS:
		break;
	case MSG_NONE: case MSG_TYPES:
		r.bad = true;
		break;
	}
	if (!wire_end(&r)) {
		mem_wipe(m, sizeof(*m));
		return err_set(err, ERR_PEER, "message %s: short, surplus or out of limits", msg_name((enum msg_type)type));
	}
	return true;
}

void msg_rows_write(const struct msg_row *rows, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		wire_u8(out, rows[i].way);
		wire_u8(out, rows[i].protocol);
		wire_u16(out, rows[i].first);
		wire_u16(out, rows[i].last);
		wire_u32(out, rows[i].klass);
		put_prefix(out, &rows[i].to);
		wire_i64(out, rows[i].timeout);
	}
}

/* Each way has its own fields; the others are zero. */
static bool row_ok(const struct msg_row *row)
{
	bool to = row->to.ip.family != IP_NONE, opens;

	if (row->way == MSG_WAY_NONE || row->way >= MSG_WAYS || row->first > row->last)
		return false;
	opens = row->way == MSG_WAY_IN || row->way == MSG_WAY_FORWARD;
	return opens == (row->klass != 0) && to == (row->way != MSG_WAY_IN) &&
	       (row->way == MSG_WAY_VIA ? row->timeout >= 1 : row->timeout == 0) &&
	       (opens || (row->protocol == 0 && row->first == 0 && row->last == 0));
}

bool msg_rows_read(struct span bytes, size_t n, struct msg_row *ret_rows, struct err *err)
{
	struct wire_reader r = wire_read(bytes);

	for (size_t i = 0; i < n && !r.bad; i++) {
		struct msg_row *row = &ret_rows[i];

		row->way = wire_get_u8(&r);
		row->protocol = wire_get_u8(&r);
		row->first = wire_get_u16(&r);
		row->last = wire_get_u16(&r);
		row->klass = wire_get_u32(&r);
		row->to = get_prefix(&r);
		row->timeout = wire_get_i64(&r);
		if (!row_ok(row))
			r.bad = true;
	}
	if (!wire_end(&r))
		return err_set(err, ERR_PEER, "filter rows: short, surplus or out of limits");
	return true;
}

void msg_hosts_write(const struct msg_host *hosts, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		wire_ip(out, &hosts[i].ip);
		wire_span(out, hosts[i].name);
	}
}

bool msg_hosts_read(struct span bytes, size_t n, struct msg_host *ret_hosts, struct err *err)
{
	struct wire_reader r = wire_read(bytes);

	for (size_t i = 0; i < n && !r.bad; i++) {
		ret_hosts[i].ip = wire_get_ip(&r);
		ret_hosts[i].name = wire_get_span(&r, MSG_NAME_MAX);
		if (ret_hosts[i].ip.family == IP_NONE || ret_hosts[i].name.len == 0)
			r.bad = true;
	}
	if (!wire_end(&r))
		return err_set(err, ERR_PEER, "names: short, surplus or out of limits");
	return true;
}

void msg_routes_write(const struct prefix *routes, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++)
		put_prefix(out, &routes[i]);
}

bool msg_routes_read(struct span bytes, size_t n, struct prefix *ret_routes, struct err *err)
{
	struct wire_reader r = wire_read(bytes);

	for (size_t i = 0; i < n && !r.bad; i++) {
		ret_routes[i] = get_prefix(&r);
		if (ret_routes[i].ip.family == IP_NONE)
			r.bad = true;
	}
	if (!wire_end(&r))
		return err_set(err, ERR_PEER, "routes: short, surplus or out of limits");
	return true;
}

int msg_memfd(const char *name, struct span bytes, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t at = 0;

	if (fd < 0) {
		err_sys(err, "memfd %s", name);
		return -1;
	}
	while (at < bytes.len) {
		ssize_t n = pwrite(fd, bytes.ptr + at, bytes.len - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err_sys(err, "memfd %s: writing", name);
			close(fd);
			return -1;
		}
		at += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
		err_sys(err, "memfd %s: sealing", name);
		close(fd);
		return -1;
	}
	return fd;
}

bool msg_memfd_read(int fd, size_t max, struct buf *ret_bytes, struct err *err)
{
	const int want = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	size_t at = 0;

	if (seals < 0 || (seals & want) != want)
		return err_set(err, ERR_PEER, "a descriptor that is no sealed memfd");
	if (fstat(fd, &st) < 0)
		return err_sys(err, "fstat");
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return err_set(err, ERR_PEER, "a memfd of %lld bytes, at most %zu are taken",
		               (long long)st.st_size, max);
	while (at < (size_t)st.st_size) {
		char chunk[16 << 10];
		ssize_t n = pread(fd, chunk, sizeof(chunk), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(err, "reading a memfd");
		buf_add(ret_bytes, chunk, (size_t)n);
		at += (size_t)n;
	}
	if (ret_bytes->over)
		return err_set(err, ERR_LIMIT, "a memfd larger than its buffer");
	return true;
}
