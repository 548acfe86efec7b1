/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/mesh.h"

#include "base/mem.h"
#include "daemon/mesh/tunnel.h"
#include "tests/unit/netns.h"
#include "tests/unit/pair.h"

#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/*
 * The whole of daemon/mesh on one host, over whichever backend it has: what
 * is told arrives, what is not told again goes, what others take away comes
 * back. Packets are tests/netns/mesh.sh's.
 */

#define NAME "rv-test"

static pid_t tunnel_pid;
static enum device_backend backend;

static struct prefix pfx(const char *s)
{
	struct prefix p = { 0 };

	ck_assert_msg(prefix_parse(span_str(s), &p), "%s", s);
	return p;
}

static struct boot now(void)
{
	return clock_boot();
}

/* Runs as another user with one capability less than root's would be; here as root, for brevity. */
static void tunnel_start(void)
{
	struct err err = { 0 };
	struct tunnel t;

	if (backend != DEVICE_USERSPACE)
		return;
	ck_assert_msg(tunnel_init(&t, NAME, 0, NULL, &err), "%s", err.msg);
	tunnel_pid = fork();
	if (tunnel_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);       /* a test that fails leaves nothing */
		tunnel_exec(&t, "silent");
		_exit(127);
	}
	tunnel_done(&t);
}

static void tunnel_kill(void)
{
	if (tunnel_pid > 0) {
		kill(tunnel_pid, SIGKILL);
		waitpid(tunnel_pid, NULL, 0);
	}
	tunnel_pid = 0;
}

static struct mesh *mesh(void)
{
	struct mesh_conf conf = { .interface = NAME, .port = 51999, .backend = DEVICE_AUTO,
				  .users_any = true };
	struct err err = { 0 };
	struct mesh *m = mesh_new(&conf, &err);

	ck_assert_msg(m != NULL, "%s", err.msg);
	return m;
}

static struct secret key;
static struct overlay ranges;
static struct prefix own[2];

static void start(struct mesh *m)
{
	struct err err = { 0 };
	bool ok = false;

	for (int i = 0; i < 6000 && !ok; i++) {
		ok = mesh_start(m, &key, own, 2, &ranges, &err);
		if (ok || err.code != ERR_BUSY)
			break;
		usleep(10000);
	}
	ck_assert_msg(ok, "%s", err.msg);
}

static void begin(void)
{
	struct device_key pub;
	struct err err = { 0 };

	ck_assert(mount("run", "/run", "tmpfs", 0, NULL) == 0);
	ranges = (struct overlay){ pfx("fd12:3456:7890::/48"), pfx("100.64.0.0/10") };
	ck_assert(device_private_new(&key, &err) && device_private_public(&key, &pub, &err));
	own[0] = pfx("100.64.0.2/32");
	own[1] = (struct prefix){ overlay_v6(&ranges, &pub), 128 };
}

static void end(struct mesh *m)
{
	struct err err = { 0 };

	ck_assert_msg(mesh_remove(m, &err), "%s", err.msg);
	mesh_free(m);
	tunnel_kill();
	secret_done(&key);
	ck_assert_uint_eq(if_nametoindex(NAME), 0);
}

static struct device_key peer_key(uint8_t n)
{
	struct device_key k = { { n } };

	return k;
}

static void tell_peer(struct mesh *m, uint8_t n, const char *endpoint)
{
	struct prefix allowed[] = { pfx("100.64.0.9/32"), pfx("10.9.0.0/24") };
	struct device_peer p = { .key = peer_key(n), .keepalive = 7, .allowed = allowed,
				 .allowed_n = 2 };
	struct err err = { 0 };

	allowed[0].ip.b[3] = n;
	if (endpoint)
		ck_assert(ipport_parse(span_str(endpoint), &p.endpoint));
	ck_assert_msg(mesh_peer(m, &p, &err), "%s", err.msg);
}

struct peers {
	struct device_peer_state list[16];
	size_t n;
};

static void see(void *arg, const struct device_peer_state *st)
{
	struct peers *p = arg;

	p->list[p->n++] = *st;
}

static const struct device_peer_state *find_peer(struct mesh *m, uint8_t n)
{
	static struct peers p;
	struct device_key k = peer_key(n);
	struct err err = { 0 };

	p.n = 0;
	ck_assert_msg(mesh_peers(m, see, &p, &err), "%s", err.msg);
	for (size_t i = 0; i < p.n; i++)
		if (device_key_eq(&p.list[i].key, &k))
			return &p.list[i];
	return NULL;
}

static void look_for(void *arg, const struct filter_class *c)
{
	struct filter_class *found = arg;

	if (ip_eq(&c->ip, &found->ip))
		*found = *c;
}

/* What the kernel says, through an object that was told nothing. */
static bool has_class(const char *address, uint32_t class)
{
	struct filter_base b = { .device = NAME, .overlay = ranges, .users_any = true };
	struct err err = { 0 };
	struct filter_class found = { 0 };
	bool adopted = false;
	struct filter *f = filter_open(&b, &adopted, &err);

	ck_assert(f && adopted);
	ck_assert(ip_parse(span_str(address), &found.ip));
	ck_assert(filter_classes(f, look_for, &found, &err));
	filter_close(f, false, NULL);
	return found.class == class && class != 0;
}

/* IPv4, as /proc/net/route has it. */
static bool has_route(const char *prefix)
{
	char line[256], want[32];
	struct prefix p = pfx(prefix);
	uint32_t word;
	bool found = false;
	FILE *f = fopen("/proc/self/net/route", "re");

	memcpy(&word, p.ip.b, 4);
	snprintf(want, sizeof(want), NAME "\t%08X\t", word);
	while (f && fgets(line, sizeof(line), f))
		found |= strncmp(line, want, strlen(want)) == 0;
	if (f)
		fclose(f);
	return found;
}

START_TEST(told_and_told_anew)
{
	struct filter_row rows[] = { { 5, IPPROTO_TCP, 80, 80 } };
	struct filter_rows all = { .rows = rows, .rows_n = 1 };
	struct prefix a = pfx("100.64.0.9/32"), b = pfx("100.64.0.10/32"), lab = pfx("10.9.0.0/24");
	struct prefix in_mesh = pfx("100.64.0.0/16"), around;
	struct device_key k = peer_key(1);
	struct device_info info;
	struct err err = { 0 };
	struct mesh *m, *next;

	begin();
	m = mesh();
	ck_assert(!mesh_class(m, &a, 5, 7, 60000, now(), &err));
	ck_assert_int_eq(err.code, ERR_NOTNOW);
	if (backend == DEVICE_USERSPACE) {
		/* The table stands before there is a device. */
		ck_assert(!mesh_start(m, &key, own, 2, &ranges, &err));
		ck_assert_int_eq(err.code, ERR_BUSY);
		ck_assert(!has_class("100.64.0.9", 5));
	}
	tunnel_start();
	start(m);
	ck_assert(mesh_info(m, &info, NULL, &err));
	ck_assert_uint_eq(info.port, 51999);
	ck_assert(mesh_fd(m) >= 0);

	mesh_reset(m);
	tell_peer(m, 1, "192.0.2.1:5000");
	tell_peer(m, 2, "[2001:db8::1]:5001");
	ck_assert_msg(mesh_rows(m, &all, now(), &err), "%s", err.msg);
	ck_assert_msg(mesh_class(m, &a, 5, 7, 60000, now(), &err), "%s", err.msg);
	ck_assert(mesh_class(m, &b, 6, 7, INT64_MAX, now(), &err));
	ck_assert(mesh_class(m, &lab, 6, 7, 60000, now(), &err));
	ck_assert(mesh_route(m, &lab, &err));
	ck_assert_msg(mesh_end(m, now(), &err), "%s", err.msg);
	ck_assert(has_class("100.64.0.9", 5) && has_class("100.64.0.10", 6));
	/* Peer 2 took the laboratory from peer 1. */
	ck_assert_uint_eq(find_peer(m, 1)->allowed_n, 1);
	ck_assert_uint_eq(find_peer(m, 2)->allowed_n, 2);
	ck_assert_uint_eq(find_peer(m, 2)->endpoint.port, 5001);
	ck_assert_uint_eq(find_peer(m, 2)->keepalive, 7);
	ck_assert(!mesh_class(m, &in_mesh, 5, 7, 1000, now(), &err));
	ck_assert_int_eq(err.code, ERR_CONFIG);

	/* Routes that would cut a peer's own packets off are left out. */
	ck_assert(has_route("10.9.0.0/24"));
	around = pfx("192.0.2.0/24");
	ck_assert(mesh_route(m, &around, &err));
	ck_assert(!has_route("192.0.2.0/24"));
	ck_assert(mesh_route_gone(m, &around, &err));

	/* Killed and started again: nothing goes until it is told. */
	mesh_free(m);
	next = mesh();
	start(next);
	ck_assert(has_class("100.64.0.9", 5) && has_class("100.64.0.10", 6));
	ck_assert_ptr_nonnull(find_peer(next, 1));
	mesh_reset(next);
	tell_peer(next, 2, NULL);
	ck_assert(mesh_class(next, &b, 6, 7, INT64_MAX, now(), &err));
	ck_assert(has_class("100.64.0.9", 5));
	ck_assert_msg(mesh_end(next, now(), &err), "%s", err.msg);
	ck_assert(!has_class("100.64.0.9", 5) && has_class("100.64.0.10", 6));
	ck_assert_ptr_null(find_peer(next, 1));
	ck_assert_uint_eq(find_peer(next, 2)->endpoint.port, 5001);

	ck_assert(mesh_class_gone(next, &b, now(), &err));
	ck_assert(!has_class("100.64.0.10", 6));
	ck_assert(mesh_class_gone(next, &lab, now(), &err));
	ck_assert(mesh_route_gone(next, &lab, &err));
	ck_assert(mesh_peer_gone(next, &k, &err));
	k = peer_key(2);
	ck_assert(mesh_peer_gone(next, &k, &err));
	ck_assert_ptr_null(find_peer(next, 2));
	end(next);
}
END_TEST

START_TEST(taken_away_and_put_back)
{
	struct prefix a = pfx("100.64.0.9/32");
	const char *what = "?";
	struct err err = { 0 };
	bool ok = false;
	struct mesh *m;

	begin();
	m = mesh();
	tunnel_start();
	start(m);
	tell_peer(m, 3, "192.0.2.1:5000");
	ck_assert(mesh_class(m, &a, 5, 7, 60000, now(), &err));
	ck_assert(mesh_end(m, now(), &err));
	ck_assert_msg(mesh_check(m, now(), &what, &err), "%s", err.msg);
	ck_assert_ptr_null(what);
	mesh_woken(m);
	ck_assert(mesh_class(m, &a, 6, 7, 60000, now(), &err));
	ck_assert(mesh_class(m, &a, 5, 7, 60000, now(), &err));
	ck_assert(!mesh_woken(m));              /* elements are nothing to wake up for */

	/* Down and up again: the kernel forgets routes, and addresses of IPv6. */
	struct link *l = link_open(&err);
	struct link_address seen[8];
	size_t n = 0;

	ck_assert(has_route("100.64.0.0/10"));
	ck_assert(l && link_down(l, NAME, &err));
	ck_assert(!has_route("100.64.0.0/10"));
	ck_assert_msg(mesh_check(m, now(), &what, &err), "%s", err.msg);
	ck_assert(has_route("100.64.0.0/10"));
	ck_assert(link_local(l, NULL, seen, 8, &n, &err));
	ck_assert_uint_eq(n, 2);
	link_close(l);

	/* As nftables.service does when it is restarted. */
	struct filter_base b = { .device = NAME, .overlay = ranges, .users_any = true };
	bool adopted;
	struct filter *f = filter_open(&b, &adopted, &err);

	ck_assert(f && adopted && filter_close(f, true, &err));
	ck_assert(mesh_woken(m));
	ck_assert_msg(mesh_check(m, now(), &what, &err), "%s", err.msg);
	ck_assert_ptr_nonnull(what);
	ck_assert(has_class("100.64.0.9", 5));

	if (backend == DEVICE_USERSPACE) {
		tunnel_kill();
		ck_assert(!mesh_check(m, now(), &what, &err));
		tell_peer(m, 4, NULL);          /* while it is away */
		tunnel_start();
	} else {
		ck_assert(device_delete(NAME, &err));
	}
	for (int i = 0; i < 6000 && !ok; i++) {
		ok = mesh_check(m, now(), &what, &err);
		if (!ok)
			usleep(10000);
	}
	ck_assert_msg(ok, "%s", err.msg);
	ck_assert_ptr_nonnull(what);
	ck_assert_uint_eq(find_peer(m, 3)->endpoint.port, 5000);
	if (backend == DEVICE_USERSPACE)
		ck_assert_ptr_nonnull(find_peer(m, 4));
	ck_assert(mesh_check(m, now(), &what, &err));
	ck_assert_ptr_null(what);
	end(m);
}
END_TEST

#define STAFF   "100.64.0.9"
#define STUDENT "100.64.0.10"

static void put(struct mesh *m, const char *address, uint32_t class, uint32_t who, int64_t timeout_ms)
{
	struct prefix p = pfx(address);
	struct err err = { 0 };

	p.bits = 32;
	ck_assert_msg(mesh_class(m, &p, class, who, timeout_ms, now(), &err), "%s", err.msg);
}

/* The far ends are at addresses of lo here: what ends, ends by its socket and not by the filter. */
START_TEST(nobody_goes_on_with_anothers_connection)
{
	struct prefix staff = pfx(STAFF "/32"), lo[] = {
		pfx("127.0.0.1/32"), staff, pfx(STUDENT "/32"), pfx("100.64.0.11/32") };
	struct err err = { 0 };
	struct link *l = link_open(&err);
	struct pair p, other, early;
	struct mesh *m, *next;

	begin();
	ck_assert_msg(l && link_up(l, "lo", 65536, &err) && link_addresses(l, "lo", lo, array_size(lo), &err), "%s",
		      err.msg);
	link_close(l);
	m = mesh();
	ck_assert(!mesh_cut_waits(m));
	tunnel_start();
	start(m);
	if (mesh_cut_unable(m)) {
		printf("skip connections that end: %s\n", mesh_cut_unable(m));
		end(m);
		return;
	}

	/* Of those whom nobody let in: the end of telling ends them. */
	early = pair_tcp("100.64.0.2", false, "100.64.0.11", true);
	mesh_reset(m);
	put(m, STAFF, 5, 1, 60000);
	put(m, STUDENT, 5, 2, 60000);
	ck_assert(pair_lives(&early));
	ck_assert_msg(mesh_end(m, now(), &err), "%s", err.msg);
	ck_assert(pair_aborted(early.here));
	pair_done(&early);

	p = pair_tcp("100.64.0.2", false, STAFF, true);
	other = pair_tcp("100.64.0.2", false, STUDENT, true);
	put(m, STAFF, 6, 1, 90000);             /* other rights, a longer session: the same person */
	ck_assert(pair_lives(&p));
	put(m, STAFF, 6, 3, 90000);             /* somebody else is logged in there now */
	ck_assert(pair_aborted(p.here));
	ck_assert(has_class(STAFF, 6) && !mesh_cut_waits(m));
	pair_done(&p);

	/* Denied at once, ended right after, and before anybody is let in there again. */
	p = pair_tcp("100.64.0.2", false, STAFF, true);
	ck_assert(mesh_class_gone(m, &staff, now(), &err));
	ck_assert(!has_class(STAFF, 6) && mesh_cut_waits(m));
	ck_assert(mesh_cut(m, &err) && !mesh_cut_waits(m));
	ck_assert(pair_aborted(p.here));
	pair_done(&p);
	put(m, STAFF, 5, 1, 60000);
	p = pair_tcp("100.64.0.2", false, STAFF, true);
	ck_assert(mesh_class_gone(m, &staff, now(), &err));
	put(m, STAFF, 5, 1, 60000);
	ck_assert(pair_aborted(p.here) && !mesh_cut_waits(m));
	pair_done(&p);

	/* Another life of this process knows whose they are from the table. */
	p = pair_tcp("100.64.0.2", false, STAFF, true);
	mesh_free(m);
	next = mesh();
	start(next);
	mesh_reset(next);
	put(next, STUDENT, 5, 2, 60000);
	ck_assert(pair_lives(&p) && pair_lives(&other));
	put(next, STAFF, 5, 4, 60000);
	ck_assert(pair_aborted(p.here));
	ck_assert_msg(mesh_end(next, now(), &err), "%s", err.msg);
	pair_done(&p);

	/* What runs out while nobody tells us anything. */
	p = pair_tcp("100.64.0.2", false, STAFF, true);
	put(next, STAFF, 5, 4, 30);
	ck_assert(pair_lives(&p));
	for (int i = 0; i < 6000 && mesh_cut_count(next).sockets < 2; i++) {
		usleep(10000);
		ck_assert_msg(mesh_check(next, now(), NULL, &err), "%s", err.msg);
	}
	ck_assert(pair_aborted(p.here));
	ck_assert(!has_class(STAFF, 5));
	ck_assert(pair_lives(&other));
	ck_assert_uint_eq(mesh_cut_count(next).sockets, 2);
	pair_done(&p);

	/* ... and while this process was away. */
	p = pair_tcp("100.64.0.2", false, STAFF, true);
	mesh_free(next);
	m = mesh();
	start(m);
	ck_assert(pair_aborted(p.here));
	ck_assert(pair_lives(&other));
	pair_done(&p);
	pair_done(&other);
	end(m);
}
END_TEST

static bool available(void)
{
	struct err err = { 0 };
	struct tunnel t;
	struct filter_base b = {
		.device = "reeve0",
		.overlay = { .v6 = { .ip = { IP_V6, { 0xfd } }, .bits = 48 },
			     .v4 = { .ip = { IP_V4, { 100, 64 } }, .bits = 10 } },
	};
	bool adopted;
	struct filter *f = filter_open(&b, &adopted, &err);

	if (!f) {
		printf("skip mesh: no nf_tables here: %s\n", err.msg);
		return false;
	}
	filter_close(f, true, NULL);
	if (!device_backend_pick(DEVICE_AUTO, &backend, &err)) {
		printf("skip mesh: %s\n", err.msg);
		return false;
	}
	if (backend == DEVICE_KERNEL)
		return true;
	mount("run", "/run", "tmpfs", 0, NULL);
	if (!tunnel_init(&t, "rv-probe", 0, NULL, &err)) {
		printf("skip mesh: no userspace device: %s\n", err.msg);
		return false;
	}
	tunnel_done(&t);
	return device_delete("rv-probe", &err);
}

UNIT_MAIN_NETNS("mesh", available, told_and_told_anew, taken_away_and_put_back,
		nobody_goes_on_with_anothers_connection)
