/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Drives daemon/mesh by hand, one call a run: for tests/netns/mesh.sh, which has
 * no reeved yet and wants none. Run without arguments for the list.
 */
#include "base/encode.h"
#include "base/file.h"
#include "base/mem.h"
#include "daemon/mesh/filter.h"
#include "daemon/mesh/hosts.h"
#include "daemon/mesh/link.h"
#include "daemon/mesh/tunnel.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LIST_MAX = 512 };

static struct err err;

static void die(const char *what)
{
	fprintf(stderr, "mesh_tool: %s: %s\n", what, err.msg);
	exit(1);
}

static void check(bool ok, const char *what)
{
	if (!ok)
		die(what);
}

static void usage(bool ok)
{
	if (ok)
		return;
	fputs("usage: mesh_tool COMMAND\n"
	      "  genkey | pubkey KEY | address ULA PUBKEY | backend\n"
	      "  tunnel NAME UID [LEVEL]                  becomes wireguard-go\n"
	      "  device BACKEND NAME KEY PORT | delete NAME\n"
	      "  peer BACKEND NAME PUBKEY ENDPOINT|- PREFIX...\n"
	      "  unpeer BACKEND NAME PUBKEY | peers BACKEND NAME\n"
	      "  link NAME MTU ADDRESS... / ROUTE... | forwarding | local [NAME]\n"
	      "with MESH_BASE=\"NAME ULA V4 USERS|* FRONTS|-\":\n"
	      "  open | close [keep] | counters | classes\n"
	      "  load CLASS:PROTO[:LO[-HI]]... / CLASS:PREFIX:PROTO[:LO[-HI]]...\n"
	      "  via PREFIX=MS... | class ADDRESS CLASS MS | unclass ADDRESS\n",
	      stderr);
	exit(2);
}

static uint64_t number(struct span s, uint64_t max)
{
	uint64_t n = 0;

	usage(span_u64(s, max, &n));
	return n;
}

static struct prefix prefix(struct span s)
{
	struct prefix p = { 0 };

	usage(prefix_parse(s, &p));
	return p;
}

static struct device_key key(const char *text)
{
	struct device_key k;

	check(device_key_parse(span_str(text), &k, &err), text);
	return k;
}

/* ---- device ---- */

static struct device *device(const char *backend, const char *name)
{
	enum device_backend b = DEVICE_AUTO;
	struct device *d = NULL;

	usage(device_backend_parse(span_str(backend), &b));
	check(device_backend_pick(b, &b, &err), backend);
	/* The tunnel process may still be starting. */
	for (int i = 0; i < 100; i++) {
		d = device_open(b, name, &err);
		if (d || err.code != ERR_BUSY)
			break;
		usleep(20000);
	}
	check(d != NULL, name);
	return d;
}

static void see_peer(void *arg, const struct device_peer_state *p)
{
	char k[DEVICE_KEY_TEXT_MAX], e[IP_TEXT_MAX];

	(void)arg;
	printf("%s %s %lld rx %" PRIu64 " tx %" PRIu64 " allowed %zu keepalive %u\n",
	       device_key_text(&p->key, k),
	       p->endpoint.ip.family == IP_NONE ? "-" : ipport_text(&p->endpoint, e),
	       (long long)p->handshake.sec, p->rx, p->tx, p->allowed_n, p->keepalive);
}

static void do_peer(int argc, char **argv)
{
	struct prefix allowed[LIST_MAX];
	struct device_peer p = { .allowed = allowed, .keepalive = 5 };
	struct device *d;

	usage(argc >= 4 && argc - 4 <= LIST_MAX);
	p.key = key(argv[2]);
	if (strcmp(argv[3], "-") != 0)
		usage(ipport_parse(span_str(argv[3]), &p.endpoint));
	for (int i = 4; i < argc; i++)
		allowed[p.allowed_n++] = prefix(span_str(argv[i]));
	d = device(argv[0], argv[1]);
	check(device_peer_set(d, &p, &err), "peer");
	device_close(d);
}

static void do_device(char **argv)
{
	struct device *d = device(argv[0], argv[1]);
	struct secret priv;

	check(device_private_parse(span_str(argv[2]), &priv, &err), "key");
	check(device_setup(d, &priv, (uint16_t)number(span_str(argv[3]), 65535), &err), "setup");
	secret_done(&priv);
	device_close(d);
}

/* As the parent will: one capability, another user, no way back. */
static void do_tunnel(int argc, char **argv)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0 } };
	uid_t uid = (uid_t)number(span_str(argv[1]), UINT32_MAX);
	struct tunnel t;

	check(tunnel_init(&t, argv[0], uid, NULL, &err), "tunnel");
	d[CAP_NET_ADMIN / 32].permitted = d[CAP_NET_ADMIN / 32].effective =
		d[CAP_NET_ADMIN / 32].inheritable = 1U << (CAP_NET_ADMIN % 32);
	if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid) != 0 || syscall(SYS_capset, &h, d) != 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		perror("mesh_tool: dropping privileges");
		exit(1);
	}
	tunnel_exec(&t, argc > 2 ? argv[2] : "error");
	perror("mesh_tool: wireguard-go");
	exit(1);
}

/* ---- link ---- */

static void do_link(int argc, char **argv)
{
	struct prefix list[2][LIST_MAX];
	size_t n[2] = { 0 };
	struct ip src4 = { 0 }, src6 = { 0 };
	struct link *l = link_open(&err);
	unsigned mtu = (unsigned)number(span_str(argv[1]), 65535);
	int what = 0;

	check(l != NULL, "link");
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "/") == 0 && what == 0)
			what = 1;
		else if (n[what] < LIST_MAX)
			list[what][n[what]++] = prefix(span_str(argv[i]));
	}
	for (size_t i = 0; i < n[0]; i++)
		*(list[0][i].ip.family == IP_V4 ? &src4 : &src6) = list[0][i].ip;
	check(link_addresses(l, argv[0], list[0], n[0], &err), "addresses");
	check(link_up(l, argv[0], mtu, &err), "up");
	check(link_routes(l, argv[0], list[1], n[1], src4.family ? &src4 : NULL,
			  src6.family ? &src6 : NULL, &err),
	      "routes");
	link_close(l);
}

static void do_local(const char *except)
{
	struct link_address list[64];
	struct link *l = link_open(&err);
	char text[IP_TEXT_MAX];
	size_t n = 0;

	check(l && link_local(l, except, list, 64, &n, &err), "local");
	for (size_t i = 0; i < n; i++)
		printf("%s/%u\n", ip_text(&list[i].ip, text), list[i].bits);
	link_close(l);
}

/* ---- filter ---- */

static uint32_t uids[2][64];

static size_t uid_list(struct span s, uint32_t *out)
{
	struct span one;
	size_t n = 0;

	while (span_next(&s, ',', &one) && n < 64)
		out[n++] = (uint32_t)number(one, UINT32_MAX);
	return n;
}

static struct filter *filter(bool *ret_adopted)
{
	struct filter_base b = { 0 };
	struct span rest = span_str(getenv("MESH_BASE")), w[5] = { { 0 } };
	struct filter *f;
	bool adopted;

	for (size_t i = 0; i < array_size(w); i++)
		usage(span_next(&rest, ' ', &w[i]));
	b.device = span_dup(w[0]);
	b.overlay.v6 = prefix(w[1]);
	b.overlay.v4 = prefix(w[2]);
	b.users = uids[0];
	b.fronts = uids[1];
	b.users_any = span_eq(w[3], SPAN("*"));
	if (!b.users_any)
		b.users_n = uid_list(w[3], uids[0]);
	if (!span_eq(w[4], SPAN("-")))
		b.fronts_n = uid_list(w[4], uids[1]);
	f = filter_open(&b, &adopted, &err);
	check(f != NULL, "filter");
	if (ret_adopted)
		*ret_adopted = adopted;
	return f;
}

static uint8_t proto(struct span s)
{
	char name[32];
	const struct {
		const char *name;
		uint8_t proto;
	} rows[] = { { "any", 0 }, { "icmp", 1 }, { "tcp", 6 }, { "udp", 17 }, { "icmpv6", 58 } };

	usage(span_cstr(s, name, sizeof(name)));
	for (size_t i = 0; i < array_size(rows); i++)
		if (strcmp(name, rows[i].name) == 0)
			return rows[i].proto;
	return (uint8_t)number(s, 255);
}

/* What follows the protocol: nothing, ":80" or ":80-90". */
static void ports(struct span s, uint16_t *lo, uint16_t *hi)
{
	struct span first;

	*lo = 0;
	*hi = UINT16_MAX;
	if (!s.ptr || s.len == 0)
		return;
	usage(span_next(&s, '-', &first));
	*lo = *hi = (uint16_t)number(first, UINT16_MAX);
	if (s.ptr)
		*hi = (uint16_t)number(s, UINT16_MAX);
}

static void do_load(int argc, char **argv)
{
	static struct filter_row rows[LIST_MAX];
	static struct filter_forward forward[LIST_MAX];
	struct filter_rows all = { .rows = rows, .forward = forward };
	bool through = false;
	struct filter *f;

	usage(argc <= LIST_MAX);
	for (int i = 0; i < argc; i++) {
		struct span rest = span_str(argv[i]), class, to, p;

		if (strcmp(argv[i], "/") == 0) {
			through = true;
			continue;
		}
		usage(span_next(&rest, ':', &class));
		if (!through) {
			struct filter_row *r = &rows[all.rows_n++];

			usage(span_next(&rest, ':', &p));
			r->class = (uint32_t)number(class, UINT32_MAX);
			r->proto = proto(p);
			ports(rest, &r->lo, &r->hi);
			continue;
		}

		/* PREFIX may hold colons: it is in brackets then. */
		struct filter_forward *r = &forward[all.forward_n++];

		if (span_starts(rest, SPAN("["))) {
			size_t end = span_find(rest, ']');

			to = span_head(span_from(rest, 1), end - 1);
			rest = span_from(rest, end + 2);
		} else {
			usage(span_next(&rest, ':', &to));
		}
		usage(span_next(&rest, ':', &p));
		r->class = (uint32_t)number(class, UINT32_MAX);
		r->to = prefix(to);
		r->proto = proto(p);
		ports(rest, &r->lo, &r->hi);
	}
	f = filter(NULL);
	check(filter_load(f, &all, &err), "load");
	filter_close(f, false, NULL);
}

static void do_via(int argc, char **argv)
{
	struct filter_via via[LIST_MAX];
	struct filter *f;

	usage(argc <= LIST_MAX);
	for (int i = 0; i < argc; i++) {
		struct span rest = span_str(argv[i]), to;

		usage(span_next(&rest, '=', &to));
		via[i] = (struct filter_via){ prefix(to), (int64_t)number(rest, INT64_MAX) };
	}
	f = filter(NULL);
	check(filter_via_load(f, via, (size_t)argc, &err), "via");
	filter_close(f, false, NULL);
}

static struct ip address(const char *s)
{
	struct ip ip = { 0 };

	usage(ip_parse(span_str(s), &ip));
	return ip;
}

static void see_class(void *arg, const struct filter_class *c)
{
	char text[IP_TEXT_MAX];

	(void)arg;
	printf("%s %u %lld\n", ip_text(&c->ip, text), c->class, (long long)c->timeout_ms);
}

/* Says when it was done, on the clock that `mesh_traffic watch` uses. */
static void do_class(int argc, char **argv)
{
	struct filter *f = filter(NULL);
	struct filter_class c = { .ip = address(argv[0]) };
	struct boot before = clock_boot(), after;

	if (argc == 3) {
		c.class = (uint32_t)number(span_str(argv[1]), UINT32_MAX);
		c.timeout_ms = (int64_t)number(span_str(argv[2]), INT64_MAX);
		check(filter_class_set(f, &c, &err), "class");
	} else {
		check(filter_class_remove(f, &c.ip, &err), "unclass");
	}
	after = clock_boot();
	printf("%lld %lld\n", (long long)before.ns, (long long)after.ns);
	filter_close(f, false, NULL);
}

static void do_counters(void)
{
	struct filter *f = filter(NULL);
	struct filter_counters c;

	check(filter_counters(f, &c, &err), "counters");
	printf("forged %" PRIu64 "\nsource %" PRIu64 "\nclassless %" PRIu64 "\nno_row %" PRIu64
	       "\nnot_new %" PRIu64 "\nuser %" PRIu64 "\nlab %" PRIu64 "\nfront %" PRIu64 "\n",
	       c.forged.packets, c.source.packets, c.classless.packets, c.no_row.packets,
	       c.not_new.packets, c.user.packets, c.lab.packets, c.front.packets);
	filter_close(f, false, NULL);
}

static void do_keys(const char *cmd, int argc, char **argv)
{
	struct buf text;
	struct secret priv;
	struct device_key pub;
	char b[DEVICE_KEY_TEXT_MAX], a[IP_TEXT_MAX];

	if (strcmp(cmd, "genkey") == 0) {
		check(device_private_new(&priv, &err), "key");
		buf_init(&text, 100);
		device_private_text(&priv, &text);
		puts(text.ptr);
		buf_wipe_done(&text);
	} else if (strcmp(cmd, "pubkey") == 0 && argc == 1) {
		check(device_private_parse(span_str(argv[0]), &priv, &err), "key");
		check(device_private_public(&priv, &pub, &err), "key");
		puts(device_key_text(&pub, b));
	} else {
		usage(argc == 2);

		struct overlay o = { .v6 = prefix(span_str(argv[0])) };
		struct ip ip;

		pub = key(argv[1]);
		ip = overlay_v6(&o, &pub);
		puts(ip_text(&ip, a));
		return;
	}
	secret_done(&priv);
}

int main(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : "";
	enum device_backend b = DEVICE_AUTO;
	struct device *d;
	struct filter *f;
	bool adopted;

	argc -= 2;
	argv += 2;
	if (!strcmp(cmd, "genkey") || !strcmp(cmd, "pubkey") || !strcmp(cmd, "address")) {
		do_keys(cmd, argc, argv);
	} else if (!strcmp(cmd, "backend")) {
		check(device_backend_pick(DEVICE_AUTO, &b, &err), "backend");
		puts(device_backend_name(b));
	} else if (!strcmp(cmd, "tunnel") && argc >= 2) {
		do_tunnel(argc, argv);
	} else if (!strcmp(cmd, "device") && argc == 4) {
		do_device(argv);
	} else if (!strcmp(cmd, "delete") && argc == 1) {
		check(device_delete(argv[0], &err), "delete");
	} else if (!strcmp(cmd, "peer")) {
		do_peer(argc, argv);
	} else if (!strcmp(cmd, "unpeer") && argc == 3) {
		struct device_key k = key(argv[2]);

		d = device(argv[0], argv[1]);
		check(device_peer_remove(d, &k, &err), "unpeer");
		device_close(d);
	} else if (!strcmp(cmd, "peers") && argc == 2) {
		d = device(argv[0], argv[1]);
		check(device_peers(d, see_peer, NULL, &err), "peers");
		device_close(d);
	} else if (!strcmp(cmd, "link") && argc >= 2) {
		do_link(argc, argv);
	} else if (!strcmp(cmd, "forwarding")) {
		check(link_forwarding(&err), "forwarding");
	} else if (!strcmp(cmd, "local")) {
		do_local(argc > 0 ? argv[0] : NULL);
	} else if (!strcmp(cmd, "open")) {
		f = filter(&adopted);
		puts(adopted ? "adopted" : "new");
		filter_close(f, false, NULL);
	} else if (!strcmp(cmd, "close")) {
		check(filter_close(filter(NULL), argc == 0, &err), "close");
	} else if (!strcmp(cmd, "counters")) {
		do_counters();
	} else if (!strcmp(cmd, "classes")) {
		f = filter(NULL);
		check(filter_classes(f, see_class, NULL, &err), "classes");
		filter_close(f, false, NULL);
	} else if (!strcmp(cmd, "load")) {
		do_load(argc, argv);
	} else if (!strcmp(cmd, "via")) {
		do_via(argc, argv);
	} else if ((!strcmp(cmd, "class") && argc == 3) || (!strcmp(cmd, "unclass") && argc == 1)) {
		do_class(argc, argv);
	} else {
		usage(false);
	}
	return 0;
}
