/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/messages.h"

#include "base/mem.h"
#include "base/wire.h"
#include "tests/unit/main.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct prefix pfx(const char *s)
{
	struct prefix p = { 0 };

	ck_assert_msg(prefix_parse(span_str(s), &p), "%s", s);
	return p;
}

/* One of each, every field other than zero. */
static struct msg sample(enum msg_type type)
{
	struct msg m = { .type = type };

	switch (type) {
	case MSG_CONF: case MSG_CONF_USE: case MSG_CONF_DROP: case MSG_READY:
		m.conf = (struct msg_conf){ 7, SPAN("/etc/reeve"), SPAN("reeved.hujson") };
		break;
	case MSG_CONF_DONE:
		m.conf_done = (struct msg_conf_done){ 7, true, SPAN("fine") };
		break;
	case MSG_NEIGHBOUR:
		m.neighbour = (struct msg_neighbour){ PROCESS_FRONT, 3 };
		break;
	case MSG_RESET: case MSG_NET_END: case MSG_STATUS_ASK:
		m.order = 99;
		break;
	case MSG_DEVICE:
		m.device.order = 5;
		memset(m.device.key, 0x41, MSG_KEY_LEN);
		m.device.addresses_n = 2;
		m.device.addresses[0] = pfx("100.64.0.3/32");
		m.device.addresses[1] = pfx("fd00::1/128");
		m.device.ranges_n = 1;
		m.device.ranges[0] = pfx("fd00::/48");
		break;
	case MSG_PEER: case MSG_PEER_GONE:
		m.peer.order = 6;
		memset(m.peer.key, 0x42, MSG_KEY_LEN);
		if (type == MSG_PEER_GONE)
			break;
		m.peer.has_endpoint = true;
		ck_assert(ipport_parse(SPAN("[2001:db8::7]:51820"), &m.peer.endpoint));
		m.peer.keepalive = 25;
		m.peer.prefixes_n = MSG_PREFIXES_MAX;
		for (size_t i = 0; i < MSG_PREFIXES_MAX; i++)
			m.peer.prefixes[i] = pfx("10.9.0.0/24");
		break;
	case MSG_CLASS: case MSG_CLASS_GONE:
		m.klass.order = 9;
		m.klass.ip = pfx("fd00::7").ip;
		if (type == MSG_CLASS_GONE)
			break;
		m.klass.klass = 70000;
		m.klass.who = 0xfedcba98;
		m.klass.timeout = 86400000;
		break;
	case MSG_ROWS: case MSG_HOSTS: case MSG_ROUTES:
		m.table = (struct msg_table){ 10, 3 };
		break;
	case MSG_DONE:
		m.done = (struct msg_done){ 12, ERR_SYS, SPAN("no such device") };
		break;
	case MSG_TUNNEL:
		m.tunnel = (struct msg_tunnel){ true, SPAN("wireguard-go is not installed") };
		break;
	case MSG_STATUS:
		m.status.order = 13;
		m.status.cannot = SPAN("a thing");
		m.status.cut[1] = UINT64_C(1) << 40;
		m.status.port = 51820;
		m.status.backend = SPAN("kernel");
		m.status.peers_n = MSG_PEERS_MAX;
		for (size_t i = 0; i < MSG_PEERS_MAX; i++) {
			m.status.peers[i].handshake = 1790000000;
			m.status.peers[i].rx = i;
		}
		break;
	case MSG_NAME:
		m.name = (struct msg_name){ 4, SPAN("app.example.edu"), { pfx("10.9.0.1/32").ip } };
		m.name.at[NAMES_ADDRESSES_MAX - 1] = pfx("fd00::7/128").ip;
		break;
	case MSG_NAMED:
		m.named.serial = 4;
		break;
	case MSG_SNAPSHOT:
		m.snapshot = (struct msg_snapshot){ UINT64_C(1) << 40, 7 };
		break;
	case MSG_TLS:
		m.tls = (struct msg_tls){ true, true, SPAN("CERT"), SPAN("KEY") };
		break;
	case MSG_BASIC:
		m.basic = (struct msg_basic){ true, false, SPAN("wiki"), SPAN("SECRET") };
		break;
	case MSG_TLS_TICKETS:
		m.tickets.keys = SPAN("eighty bytes");
		break;
	case MSG_SNAPSHOT_DONE:
		m.snapshot_done = (struct msg_snapshot_done){ 41, true, SPAN("ok") };
		break;
	case MSG_AUDIT:
		m.audit.lines = SPAN("{\"verdict\":\"deny\"}\n");
		break;
	case MSG_AUDIT_LOST:
		m.audit_lost.count = 17;
		break;
	case MSG_METRICS_ASK:
		m.metrics_ask.id = UINT64_C(1) << 40;
		break;
	case MSG_UPSTREAM:
		m.upstream = (struct msg_upstream){ SPAN("wiki"), SPAN("http://127.0.0.1:1"), true, 5000, SPAN("it failed") };
		break;
	case MSG_METRICS:
		m.metrics = (struct msg_metrics){ UINT64_C(1) << 40, true, SPAN("reeve_requests 1\n") };
		break;
	case MSG_ASSERT:
		m.assert_ = (struct msg_assert){ UINT64_C(1) << 40, UINT64_C(1) << 41, 5, 6, SPAN("GET"), SPAN("/page") };
		break;
	case MSG_ASSERTED:
		m.asserted = (struct msg_asserted){ UINT64_C(1) << 40, 1790000000, SPAN("a.b.c") };
		break;
	case MSG_USED:
		m.used = (struct msg_used){ UINT64_C(1) << 41, 6 };
		break;
	case MSG_BROWSER:
		m.browser = (struct msg_browser){ UINT64_C(1) << 40, UINT64_C(1) << 41, 1, 5, 6, SPAN("code"), SPAN("secret") };
		break;
	case MSG_BROWSED:
		m.browsed = (struct msg_browsed){ UINT64_C(1) << 40, 1, SPAN("cookie") };
		break;
	case MSG_LISTEN:
		m.listen.conf = 7;
		m.listen.first = true;
		m.listen.n = MSG_LISTEN_MAX;
		for (size_t i = 0; i < MSG_LISTEN_MAX; i++)
			m.listen.list[i] = (struct msg_listener){ SPAN("80"), { .port = 80 } };
		break;
	case MSG_CONNECTED:
		m.connected = (struct msg_connected){ UINT64_C(1) << 40, 110 };
		break;
	case MSG_CONNECT:
		m.connect = (struct msg_connect){ 3, 7, 1, 2 };
		break;
	case MSG_NONE: case MSG_PING: case MSG_PONG: case MSG_DRAIN: case MSG_END: case MSG_SWEEP:
	case MSG_TLS_ROOTS: case MSG_TYPES:
		break;
	}
	return m;
}

START_TEST(surplus_and_short_are_refused)
{
	for (int t = MSG_NONE + 1; t < MSG_TYPES; t++) {
		struct msg m = sample((enum msg_type)t), back;
		scoped_buf struct buf b = { 0 };
		struct err err = { 0 };

		buf_init(&b, WIRE_MAX);
		ck_assert_msg(msg_write(&m, &b, &err), "%s: %s", msg_name(m.type), err.msg);
		buf_add_char(&b, '\0');
		ck_assert_msg(!msg_read(buf_span(&b), &back, &err), "%s: a surplus byte passed", msg_name(m.type));
		ck_assert_int_eq(err.code, ERR_PEER);
		ck_assert_int_eq(back.type, MSG_NONE);
		for (size_t n = 0; n + 1 < b.len; n += n < 64 ? 1 : 97)
			ck_assert_msg(!msg_read(span_head(buf_span(&b), n), &back, NULL),
			              "%s: %zu of %zu bytes passed", msg_name(m.type), n, b.len - 1);
	}
}
END_TEST

/* What was written is read, and written again is the same bytes. */
START_TEST(round_trip)
{
	for (int t = MSG_NONE + 1; t < MSG_TYPES; t++) {
		struct msg m = sample((enum msg_type)t), back;
		scoped_buf struct buf a = { 0 }, b = { 0 };
		struct err err = { 0 };

		buf_init(&a, WIRE_MAX);
		buf_init(&b, WIRE_MAX);
		ck_assert(msg_write(&m, &a, &err));
		ck_assert_msg(msg_read(buf_span(&a), &back, &err), "%s: %s", msg_name(m.type), err.msg);
		ck_assert_int_eq(back.type, t);
		ck_assert(msg_write(&back, &b, &err));
		ck_assert(span_eq(buf_span(&a), buf_span(&b)));
		ck_assert_uint_eq(msg_fds(&m), msg_fds(&back));
	}
}
END_TEST

START_TEST(writer_keeps_the_limits)
{
	struct msg m = sample(MSG_PEER);
	scoped_buf struct buf b = { 0 };
	scoped_free char *big = mem_alloc(MSG_AUDIT_MAX + 1);
	struct err err = { 0 };

	buf_init(&b, WIRE_MAX);
	m.peer.prefixes_n = MSG_PREFIXES_MAX + 1;
	ck_assert(!msg_write(&m, &b, &err));
	ck_assert_int_eq(err.code, ERR_LIMIT);
	buf_clear(&b);
	m = (struct msg){ .type = MSG_AUDIT, .audit.lines = { big, MSG_AUDIT_MAX + 1 } };
	ck_assert(!msg_write(&m, &b, &err));
	buf_clear(&b);
	m = sample(MSG_CLASS);
	m.klass.timeout = 0;            /* would be an element that never goes */
	ck_assert(!msg_write(&m, &b, &err));
}
END_TEST

START_TEST(reader_wants_one_spelling)
{
	scoped_buf struct buf b = { 0 };
	struct msg m;

	buf_init(&b, WIRE_MAX);
	struct prefix p = pfx("10.9.0.0/24");

	p.ip.b[3] = 1;                  /* host bits */
	msg_routes_write(&p, 1, &b);
	ck_assert(!msg_routes_read(buf_span(&b), 1, &p, NULL));
	buf_clear(&b);
	p = pfx("10.9.0.0/24");
	p.bits = 33;
	msg_routes_write(&p, 1, &b);
	ck_assert(!msg_routes_read(buf_span(&b), 1, &p, NULL));
	buf_clear(&b);
	p = pfx("10.9.0.0/24");
	msg_routes_write(&p, 1, &b);
	ck_assert(!msg_routes_read(buf_span(&b), 0, &p, NULL));
	ck_assert(msg_routes_read(buf_span(&b), 1, &p, NULL));
	buf_clear(&b);
	wire_u8(&b, MSG_CLASS);
	wire_u32(&b, 1);
	wire_ip(&b, &(struct ip){ IP_V4, { 10, 9, 0, 0 } });
	wire_u32(&b, 1);
	wire_i64(&b, 0);                /* no timeout */
	ck_assert(!msg_read(buf_span(&b), &m, NULL));
	buf_clear(&b);
	wire_u8(&b, MSG_CONF_DONE);
	wire_u32(&b, 1);
	wire_u8(&b, 2);                 /* neither true nor false */
	wire_span(&b, SPAN(""));
	ck_assert(!msg_read(buf_span(&b), &m, NULL));
	buf_clear(&b);
	wire_u8(&b, MSG_TYPES);
	ck_assert(!msg_read(buf_span(&b), &m, NULL));
	ck_assert(!msg_read(SPAN(""), &m, NULL));
}
END_TEST

START_TEST(who_may_say_what)
{
	static const struct { enum msg_type type; enum process_kind from, to; bool ok; } rows[] = {
		{ MSG_CLASS,    PROCESS_FRONT,  PROCESS_NET,    false },
		{ MSG_CLASS,    PROCESS_CORE,   PROCESS_FRONT,  false },
		{ MSG_CLASS,    PROCESS_CORE,   PROCESS_NET,    true },
		{ MSG_CONNECT,  PROCESS_CORE,   PROCESS_NET,    false },
		{ MSG_CONNECT,  PROCESS_FRONT,  PROCESS_NET,    true },
		{ MSG_CONNECT,  PROCESS_PUBLIC, PROCESS_NET,    true },
		{ MSG_SNAPSHOT, PROCESS_FRONT,  PROCESS_CORE,   false },
		{ MSG_SNAPSHOT, PROCESS_CORE,   PROCESS_PUBLIC, true },
		{ MSG_AUDIT,    PROCESS_NET,    PROCESS_CORE,   false },
		{ MSG_END,      PROCESS_FRONT,  PROCESS_CORE,   false },
		{ MSG_END,      PROCESS_PARENT, PROCESS_CORE,   true },
		{ MSG_NONE,     PROCESS_PARENT, PROCESS_CORE,   false },
		{ MSG_TYPES,    PROCESS_PARENT, PROCESS_CORE,   false },
		{ MSG_END,      PROCESS_NONE,   PROCESS_CORE,   false },
		{ MSG_END,      PROCESS_KINDS,  PROCESS_CORE,   false },
	};

	for (size_t i = 0; i < array_size(rows); i++)
		ck_assert_msg(msg_allowed(rows[i].type, rows[i].from, rows[i].to) == rows[i].ok,
		              "row %zu", i);
}
END_TEST

START_TEST(filter_rows)
{
	const struct prefix none = { 0 }, lab = pfx("10.9.0.0/24");
	const struct { struct msg_row row; bool ok; } rows[] = {
		{ { MSG_WAY_FORWARD, 6, 80, 80, 1, none, 0 }, false },          /* forwards to nowhere */
		{ { MSG_WAY_IN, 6, 80, 80, 0, none, 0 }, false },               /* class 0 denies */
		{ { MSG_WAY_IN, 6, 80, 80, 1, lab, 0 }, false },
		{ { MSG_WAY_IN, 6, 81, 80, 1, none, 0 }, false },
		{ { MSG_WAY_VIA, 0, 0, 0, 0, lab, 0 }, false },                 /* never ends */
		{ { MSG_WAY_OWN, 0, 0, 0, 1, lab, 0 }, false },
		{ { MSG_WAY_NONE, 0, 0, 0, 0, none, 0 }, false },
		{ { MSG_WAYS, 0, 0, 0, 0, none, 0 }, false },
		{ { MSG_WAY_IN, 6, 80, 80, 1, none, 0 }, true },
		{ { MSG_WAY_FORWARD, 0, 0, 65535, 2, lab, 0 }, true },
		{ { MSG_WAY_OWN, 0, 0, 0, 0, lab, 0 }, true },
		{ { MSG_WAY_VIA, 0, 0, 0, 0, lab, 1000 }, true },
	};
	struct msg_row back[2];
	struct msg_host host = { pfx("fd00::7").ip, SPAN("wiki") };
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };

	buf_init(&b, MSG_ROWS_TEXT_MAX);
	for (size_t i = 0; i < array_size(rows); i++) {
		buf_clear(&b);
		msg_rows_write(&rows[i].row, 1, &b);
		ck_assert_msg(msg_rows_read(buf_span(&b), 1, back, &err) == rows[i].ok, "row %zu", i);
		ck_assert(!msg_rows_read(buf_span(&b), 0, back, &err));
		ck_assert(!msg_rows_read(buf_span(&b), 2, back, &err));
	}
	buf_clear(&b);
	msg_hosts_write(&host, 1, &b);
	ck_assert(!msg_hosts_read(buf_span(&b), 0, &host, &err));
	ck_assert(msg_hosts_read(buf_span(&b), 1, &host, &err));
	ck_assert(span_eq(host.name, SPAN("wiki")));
	host.name = SPAN("");
	buf_clear(&b);
	msg_hosts_write(&host, 1, &b);
	ck_assert(!msg_hosts_read(buf_span(&b), 1, &host, &err));
}
END_TEST

START_TEST(memfds_are_sealed)
{
	scoped_buf struct buf b = { 0 };
	struct err err = { 0 };
	int loose = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int fd = msg_memfd("test", SPAN("hello"), &err);

	buf_init(&b, 1024);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), -1);
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	ck_assert(!msg_memfd_read(loose, 1024, &b, &err));
	ck_assert(!msg_memfd_read(fd, 4, &b, &err));
	ck_assert(msg_memfd_read(fd, 5, &b, &err));
	ck_assert(span_eq(buf_span(&b), SPAN("hello")));
	close(fd);
	close(loose);
}
END_TEST

UNIT_MAIN("messages", surplus_and_short_are_refused, round_trip, writer_keeps_the_limits,
          reader_wants_one_spelling, who_may_say_what, filter_rows, memfds_are_sealed)
