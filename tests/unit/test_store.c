/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/ops.h"

#include "base/mem.h"

#include "tests/unit/main.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/reeve-store-XXXXXX", path[64];

static const struct wall T0 = { 1790000000 };

static struct wall at(int64_t sec)
{
	return (struct wall){ T0.sec + sec };
}

/* A fresh database: 100.64.0.0/29 has five addresses for nodes beside the hub's. */
static void fresh(const char *v4)
{
	struct mesh_row mesh = { .epoch = "0123456789abcdef", .name = "example" };
	struct node_row hub = { .name = "hub", .hub = true, .tags = "tag:hub" };
	struct err      err = { 0 };
	struct stat     st;

	if (strstr(dir, "XXXXXX"))
		ck_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/db", dir);
	ck_assert(prefix_parse(SPAN("fd12:3456:789a::/48"), &mesh.ula) && prefix_parse(span_str(v4), &mesh.v4));
	memset(hub.key, 0xff, sizeof(hub.key));
	ck_assert_msg(store_create(path, &mesh, &hub, "{}", T0, &err), "%s", err.msg);
	ck_assert(hub.id == 1 && hub.v4.b[3] == 1);
	ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
	ck_assert(!store_create(path, &mesh, &hub, "{}", T0, &err));    /* never over an old one */
}

static void clean(void)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char                     name[80];

	for (size_t i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
	rmdir(dir);
}

static const uint8_t *key_of(int n)
{
	static uint8_t key[32];

	memset(key, n, sizeof(key));
	return key;
}

static bool run(struct store_job *job, struct row_changes *c, enum err_code *code)
{
	struct err err = { 0 };
	bool       ok = store_run_once(path, job, c, &err);

	*code = ok ? ERR_NONE : err.code;
	return ok;
}

static bool enrol_key(int device, int key, int64_t when, struct node_row **ret, enum err_code *code)
{
	struct enrol_op   *op = enrol_op_new(key_of(device), "server", "Debian", "192.0.2.1", at(when), 0);
	struct row_changes c = { 0 };

	enrol_op_key(op, key_of(key));
	if (!run(&op->job, &c, code))
		return false;
	for (size_t i = 0; i < c.count; i++)
		if (c.list[i].kind == ROW_NODE && ret)
			*ret = take(c.list[i].node);
	row_changes_done(&c);
	return true;
}

static uint64_t make_key(int key, int64_t uses, int64_t expires, const char *tags)
{
	struct row_changes c = { 0 };
	enum err_code      code;

	ck_assert(run(&key_op_create(key_of(key), tags, "", uses, T0, at(expires), 0)->job, &c, &code));
	uint64_t id = c.list[0].id;
	row_changes_done(&c);
	return id;
}

static struct store_person person(const char *sub, const char *login)
{
	return (struct store_person){ .issuer = "https://idp", .sub = sub, .login = login, .expires = at(3600),
		                      .groups = "lab\nstaff", .groups_known = true, .amr = "pwd\notp", .auth_time = T0 };
}

static bool enrol_person(int device, const struct store_person *p, uint64_t *ret_node, enum err_code *code)
{
	struct enrol_op   *op = enrol_op_new(key_of(device), "laptop", "Debian", "192.0.2.1", T0, 0);
	struct row_changes c = { 0 };

	enrol_op_person(op, p);
	if (!run(&op->job, &c, code))
		return false;
	for (size_t i = 0; i < c.count; i++)
		if (c.list[i].kind == ROW_NODE && ret_node)
			*ret_node = c.list[i].id;
	row_changes_done(&c);
	return true;
}

START_TEST(test_keys)
{
	struct node_row *a, *b;
	enum err_code    code;

	fresh("100.64.0.0/10");
	ck_assert(!enrol_key(1, 50, 0, NULL, &code) && code == ERR_DENIED);     /* not known */
	make_key(51, 1, 100, "tag:web");
	ck_assert(!enrol_key(1, 51, 100, NULL, &code) && code == ERR_EXPIRED);  /* at its second, not after it */
	ck_assert(enrol_key(1, 51, 99, &a, &code));
	ck_assert_str_eq(a->tags, "tag:web");
	ck_assert_str_eq(a->name, "server");
	ck_assert(!enrol_key(2, 51, 1, NULL, &code) && code == ERR_DENIED);     /* single use */
	/* the same device again: its answer was lost, even when the key has expired since */
	ck_assert(enrol_key(1, 51, 200, &b, &code));
	ck_assert(b->id == a->id && ip_eq(&a->v4, &b->v4));
	node_row_free(a);
	node_row_free(b);

	uint64_t counted = make_key(52, 2, 100, "tag:web\ntag:db");
	ck_assert(!enrol_key(1, 52, 1, NULL, &code) && code == ERR_EXISTS);     /* enrolled with another key */
	ck_assert(enrol_key(2, 52, 1, &a, &code));
	ck_assert_str_eq(a->name, "server-2");
	node_row_free(a);
	/* that refusal spent nothing */
	ck_assert(enrol_key(3, 52, 1, NULL, &code));
	ck_assert(!enrol_key(4, 52, 1, NULL, &code) && code == ERR_DENIED);

	make_key(53, 5, 100, "");
	struct row_changes c = { 0 };
	ck_assert(run(&key_op_revoke(counted + 1)->job, &c, &code));
	row_changes_done(&c);
	ck_assert(!enrol_key(9, 53, 1, NULL, &code) && code == ERR_DENIED);
	ck_assert(!run(&key_op_revoke(99)->job, NULL, &code) && code == ERR_MISSING);
	clean();
}
END_TEST

START_TEST(test_people)
{
	struct store_person staff = person("1", "staff@example.edu"), other = person("2", "Staff@Example.EDU");
	struct store_person student = person("3", "student@example.edu");
	struct row_changes  c = { 0 };
	enum err_code       code;
	uint64_t            node, node2;

	fresh("100.64.0.0/10");
	ck_assert(enrol_person(1, &staff, &node, &code));
	/* a name belongs to the first who showed it, in any case of letters */
	ck_assert(!enrol_person(2, &other, NULL, &code) && code == ERR_EXISTS);
	/* somebody else's device */
	ck_assert(!enrol_person(1, &student, NULL, &code) && code == ERR_EXISTS);
	ck_assert(enrol_person(1, &staff, &node2, &code) && node == node2);
	/* a refused login made no user: the next id is the second */
	ck_assert(enrol_person(3, &student, &node2, &code) && node2 == node + 1);
	ck_assert(!run(&login_op_new(node2, &staff, T0)->job, NULL, &code) && code == ERR_DENIED);
	ck_assert(!run(&login_op_new(77, &staff, T0)->job, NULL, &code) && code == ERR_MISSING);
	ck_assert(!run(&login_op_new(1, &staff, T0)->job, NULL, &code) && code == ERR_DENIED); /* the hub is a server */

	/* one ID token makes one session, also after that has ended; it goes with the session */
	struct store_evidence evidence = { .id_token = "a.b.c", .opening = { 7 }, .hash = { 9 } };
	struct store_person   proven = staff;
	size_t                with = 0;

	proven.evidence = &evidence;
	ck_assert(run(&login_op_new(node, &proven, at(4))->job, &c, &code));
	for (size_t i = 0; i < c.count; i++)
		if (c.list[i].kind == ROW_SESSION && strcmp(c.list[i].session->id_token, "a.b.c") == 0 &&
		    c.list[i].session->opening[0] == 7)
			with++;
	ck_assert_uint_eq(with, 1);
	row_changes_done(&c);
	ck_assert(!run(&login_op_new(node, &proven, at(4))->job, NULL, &code) && code == ERR_EXISTS);
	/* a second login ends the first: one session of a node lives */
	ck_assert(run(&login_op_new(node, &staff, at(5))->job, &c, &code));
	for (size_t i = 0; i < c.count; i++)
		ck_assert(c.list[i].kind != ROW_SESSION || !c.list[i].session->id_token[0]);
	ck_assert(!run(&login_op_new(node, &proven, at(5))->job, NULL, &code) && code == ERR_EXISTS);
	int ended = 0, lives = 0;
	for (size_t i = 0; i < c.count; i++)
		if (c.list[i].kind == ROW_SESSION) {
			ended += c.list[i].session->ended.sec != 0;
			lives += c.list[i].session->ended.sec == 0;
		}
	ck_assert(ended == 1 && lives == 1 && c.seq > 0);
	row_changes_done(&c);

	/* linked by an administrator, the second identity is the same person */
	struct user_op *link = user_op_new(1, USER_LINK, T0);
	link->issuer = mem_strdup("https://idp");
	link->sub = mem_strdup("2");
	ck_assert(run(&link->job, &c, &code));
	row_changes_done(&c);
	ck_assert(enrol_person(2, &other, NULL, &code));

	/* blocked: sessions end, and none begins */
	ck_assert(run(&user_op_new(1, USER_BLOCK, at(9))->job, &c, &code));
	row_changes_done(&c);
	ck_assert(!enrol_person(2, &other, NULL, &code) && code == ERR_DENIED);
	struct end_op *end = end_op_new("revoked", at(9));
	end->user = 1;
	ck_assert(!run(&end->job, NULL, &code) && code == ERR_MISSING);         /* they had ended */

	/* expiry: at its second */
	end = end_op_new("expired", at(3599));
	end->expired = true;
	ck_assert(run(&end->job, &c, &code) && c.count == 0 && c.seq == 0);
	end = end_op_new("expired", at(3600));
	end->expired = true;
	ck_assert(run(&end->job, &c, &code) && c.count == 1 && c.seq > 0);
	row_changes_done(&c);
	clean();
}
END_TEST

START_TEST(test_addresses)
{
	struct node_row   *n = NULL;
	struct row_changes c = { 0 };
	enum err_code      code;
	uint64_t           last = 0;

	fresh("100.64.0.0/29");
	make_key(50, 1000, 100000, "tag:web");
	/* .1 is the hub's, .7 the broadcast address: five are left */
	for (int i = 0; i < 5; i++) {
		ck_assert(enrol_key(i + 1, 50, 0, &n, &code));
		ck_assert_int_eq(n->v4.b[3], i + 2);
		ck_assert_uint_gt(n->id, last);
		last = n->id;
		node_row_free(n);
	}
	ck_assert(!enrol_key(9, 50, 0, NULL, &code) && code == ERR_LIMIT);
	ck_assert(!run(&node_delete_op_new(1, at(10), at(100))->job, NULL, &code) && code == ERR_DENIED);       /* the hub */
	ck_assert(run(&node_delete_op_new(last, at(10), at(100))->job, &c, &code));
	uint64_t gone_at = c.seq;
	ck_assert(gone_at > 0);
	row_changes_done(&c);
	/* in quarantine until everybody acknowledged, or the lease has ended */
	ck_assert(!enrol_key(9, 50, 99, NULL, &code) && code == ERR_LIMIT);
	ck_assert(enrol_key(9, 50, 100, &n, &code));
	ck_assert(n->v4.b[3] == 6 && n->id > last);     /* the id is new, the address is not */
	last = n->id;
	node_row_free(n);
	ck_assert(run(&node_delete_op_new(last, at(200), at(1000))->job, &c, &code));
	gone_at = c.seq;
	row_changes_done(&c);
	for (uint64_t acked = gone_at - 1; acked <= gone_at; acked++) {
		struct enrol_op *op = enrol_op_new(key_of(10), "x", "", "", at(201), acked);
		enrol_op_key(op, key_of(50));
		ck_assert(run(&op->job, &c, &code) == (acked == gone_at));
		row_changes_done(&c);
	}
	clean();
}
END_TEST

START_TEST(test_policy)
{
	struct row_changes c = { 0 };
	enum err_code      code;

	fresh("100.64.0.0/10");
	ck_assert(!run(&policy_op_new(SPAN("{\"a\":1}"), 7, 0, T0)->job, NULL, &code) && code == ERR_NOTNOW);
	ck_assert(run(&policy_op_new(SPAN("{\"a\":1}"), 1, 0, T0)->job, &c, &code));
	ck_assert(c.list[0].policy->version == 2);
	row_changes_done(&c);
	ck_assert(!run(&policy_op_new(SPAN("{}"), 1, 0, T0)->job, NULL, &code) && code == ERR_NOTNOW);

	struct load_op *load = load_op_new();
	ck_assert(run(&load->job, &c, &code));
	ck_assert(c.list[c.count - 1].kind == ROW_POLICY);
	ck_assert_str_eq(c.list[c.count - 1].policy->text, "{\"a\":1}");
	row_changes_done(&c);
	ck_assert(!run(&policy_get_op_new(9)->job, NULL, &code) && code == ERR_MISSING);
	clean();
}
END_TEST

/* ---- through the worker ---- */

struct asker {
	struct loop *loop;
	int          waiting, good, bad;
};

static void on_done(void *owner, struct store_job *job, const struct err *err)
{
	struct asker *a = owner;

	(void)job;
	if (err)
		a->bad++;
	else
		a->good++;
	if (--a->waiting == 0)
		loop_stop(a->loop);
}

START_TEST(test_worker)
{
	struct err         err = { 0 };
	struct asker       a = { .loop = loop_new(&err) };
	struct store_stats stats;

	fresh("100.64.0.0/10");
	make_key(50, 40, 100000, "tag:web");
	struct store *s = store_open(a.loop, path, &a, &err);
	ck_assert_msg(s != NULL, "%s", err.msg);
	for (int i = 0; i < 100; i++) {
		struct enrol_op *op = enrol_op_new(key_of(i + 60), "server", "", "", T0, 0);
		enrol_op_key(op, key_of(50));
		op->job.done = on_done;
		ck_assert(store_submit(s, &op->job, &err));
		a.waiting++;
	}
	ck_assert(loop_run(a.loop, &err));
	/* a refused job takes nothing of its neighbours' with it */
	ck_assert_int_eq(a.good, 40);
	ck_assert_int_eq(a.bad, 60);
	store_stats(s, &stats);
	ck_assert(stats.jobs == 100 && stats.failures == 60 && stats.commits < 100);
	store_close(s);

	/* a disk that takes no more: nothing is acknowledged, and nothing half done */
	struct load_op    *load = load_op_new();
	struct row_changes before = { 0 }, after = { 0 };
	enum err_code      code;
	ck_assert(run(&load->job, &before, &code));
	s = store_open(a.loop, path, &a, &err);
	ck_assert(s != NULL);
	a.good = a.bad = 0;
	make_key(49, 500, 100000, "tag:web");
	signal(SIGXFSZ, SIG_IGN);
	struct stat   st;
	ck_assert(stat(path, &st) == 0);
	struct rlimit old, full = { 4096, RLIM_INFINITY };
	getrlimit(RLIMIT_FSIZE, &old);
	full.rlim_max = old.rlim_max;
	ck_assert(setrlimit(RLIMIT_FSIZE, &full) == 0);
	for (int i = 0; i < 20; i++) {
		struct enrol_op *op = enrol_op_new(key_of(i + 200), "server", "", "", T0, 0);
		enrol_op_key(op, key_of(49));
		op->job.done = on_done;
		ck_assert(store_submit(s, &op->job, &err));
		a.waiting++;
	}
	ck_assert(loop_run(a.loop, &err));
	setrlimit(RLIMIT_FSIZE, &old);
	ck_assert_int_eq(a.good, 0);
	ck_assert_int_eq(a.bad, 20);
	/* and it goes on once there is room */
	struct enrol_op *op = enrol_op_new(key_of(250), "server", "", "", T0, 0);
	enrol_op_key(op, key_of(49));
	op->job.done = on_done;
	ck_assert(store_submit(s, &op->job, &err));
	a.waiting++;
	ck_assert(loop_run(a.loop, &err));
	ck_assert_int_eq(a.good, 1);
	store_close(s);
	load = load_op_new();
	ck_assert(run(&load->job, &after, &code));
	size_t nodes = 0, nodes_before = 0;
	for (size_t i = 0; i < after.count; i++)
		nodes += after.list[i].kind == ROW_NODE;
	for (size_t i = 0; i < before.count; i++)
		nodes_before += before.list[i].kind == ROW_NODE;
	ck_assert_uint_eq(nodes, nodes_before + 1);
	row_changes_done(&before);
	row_changes_done(&after);
	loop_free(a.loop);
	clean();
}
END_TEST

UNIT_MAIN("store", test_keys, test_people, test_addresses, test_policy, test_worker)
