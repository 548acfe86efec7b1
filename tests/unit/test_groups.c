/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/store/groups.h"

#include "base/mem.h"

#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/reeve-groups-XXXXXX", path[64];

static const struct wall T0 = { 1790000000 };
static const struct hold_rules RULES = { .share = 50, .least = 5, .window = 3600 };

static struct wall at(int64_t sec)
{
	return (struct wall){ T0.sec + sec };
}

static void fresh(void)
{
	struct mesh_row mesh = { .epoch = "0123456789abcdef", .name = "example" };
	struct node_row hub = { .name = "hub", .hub = true, .tags = "tag:hub" };
	struct err      err = { 0 };

	if (strstr(dir, "XXXXXX"))
		ck_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/db", dir);
	ck_assert(prefix_parse(SPAN("fd12:3456:789a::/48"), &mesh.ula) &&
		  prefix_parse(SPAN("100.64.0.0/10"), &mesh.v4));
	memset(hub.key, 0xff, sizeof(hub.key));
	ck_assert_msg(store_create(path, &mesh, &hub, "{}", T0, &err), "%s", err.msg);
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

/* Logs person n ("p3@example.edu") in on their device. groups NULL: the claim is absent. */
static enum err_code login(int n, const char *as, const char *groups)
{
	char               sub[16], name[64];
	uint8_t            key[32];
	struct row_changes c = { 0 };
	struct err         err = { 0 };

	snprintf(sub, sizeof(sub), "%d", n);
	snprintf(name, sizeof(name), "p%d@example.edu", n);
	memset(key, n, sizeof(key));
	struct store_person p = { .issuer = "https://idp", .sub = sub, .login = as ? as : name,
		                  .expires = at(360000), .groups = groups ? groups : "",
		                  .groups_known = groups != NULL, .amr = "", .auth_time = T0 };
	struct enrol_op    *op = enrol_op_new(key, "laptop", "Debian", "192.0.2.1", T0, 0);

	enrol_op_person(op, &p);
	bool ok = store_run_once(path, &op->job, &c, &err);
	row_changes_done(&c);
	return ok ? ERR_NONE : err.code;
}

/* The person's row as the database has it, and whether a session of theirs lives. */
static struct user_row *person(const char *name, bool *ret_session)
{
	struct load_op    *op = load_op_new();
	struct row_changes c = { 0 };
	struct user_row   *u = NULL;
	struct err         err = { 0 };

	ck_assert(store_run_once(path, &op->job, &c, &err));
	for (size_t i = 0; i < c.count; i++)
		if (c.list[i].kind == ROW_USER && strcmp(c.list[i].user->login, name) == 0)
			u = take(c.list[i].user);
	*ret_session = false;
	for (size_t i = 0; u && i < c.count; i++)
		*ret_session |= c.list[i].kind == ROW_SESSION && c.list[i].session->user == u->id;
	row_changes_done(&c);
	return u;
}

static void want(int n, const char *groups, const char *sources, const char *disabled, bool lives)
{
	char             name[64];
	bool             session;

	snprintf(name, sizeof(name), "p%d@example.edu", n);
	struct user_row *u = person(name, &session);
	ck_assert(u != NULL);
	ck_assert_str_eq(u->groups, groups);
	if (sources)
		ck_assert_str_eq(u->sources, sources);
	ck_assert_str_eq(u->disabled, disabled);
	ck_assert(session == lives);
	user_row_free(u);
}

struct said { int n; const char *groups; bool disabled; };

static size_t say(const char *source, bool whole, const struct said *list, size_t n, const int *gone,
		  size_t gone_n, int64_t when)
{
	struct source_op  *op = source_op_new(source, whole, RULES, at(when));
	struct row_changes c = { 0 };
	struct err         err = { 0 };
	char               name[64];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "P%d@example.edu", list[i].n);
		source_op_said(op, name, list[i].groups, list[i].disabled);
	}
	for (size_t i = 0; i < gone_n; i++) {
		snprintf(name, sizeof(name), "p%d@example.edu", gone[i]);
		source_op_gone(op, name);
	}
	ck_assert_msg(store_run_once(path, &op->job, &c, &err), "%s", err.msg);
	row_changes_done(&c);
	return 0;
}

/* What is held, as "kind group lost/total\n", and the id of the first. */
static uint64_t held(char *out, size_t size)
{
	struct load_op    *op = load_op_new();
	struct row_changes c = { 0 };
	struct err         err = { 0 };
	uint64_t           id = 0;
	size_t             len = 0;

	ck_assert(store_run_once(path, &op->job, &c, &err));
	out[0] = '\0';
	for (size_t i = 0; i < c.count; i++) {
		const struct held_row *h = c.list[i].kind == ROW_HELD ? c.list[i].held : NULL;

		if (!h)
			continue;
		len += (size_t)snprintf(out + len, size - len, "%s%s%s %d/%d\n", h->kind, *h->group ? " " : "",
					h->group, (int)h->lost, (int)h->total);
		id = id ? id : h->id;
	}
	row_changes_done(&c);
	return id;
}

static bool accept_held(uint64_t id, enum err_code *code)
{
	struct row_changes c = { 0 };
	struct err         err = { 0 };
	bool ok = store_run_once(path, &held_op_new(id, RULES, at(10))->job, &c, &err);

	row_changes_done(&c);
	*code = ok ? ERR_NONE : err.code;
	return ok;
}

START_TEST(test_union)
{
	fresh();
	/* known before the first login, by name whatever its case */
	say("ldap:campus", true, (struct said[]){ { 1, "lab\nstaff", false } }, 1, NULL, 0, 0);
	ck_assert(login(1, NULL, NULL) == ERR_NONE);
	want(1, "lab\nstaff", "ldap:campus\tlab\nldap:campus\tstaff", "", true);
	ck_assert(login(1, NULL, "lab\nops") == ERR_NONE);
	want(1, "lab\nops\nstaff", "idp:https://idp\tlab\nidp:https://idp\tops\nldap:campus\tlab\nldap:campus\tstaff", "",
	     true);
	/* absent is not empty */
	ck_assert(login(1, NULL, NULL) == ERR_NONE);
	bool             session;
	struct user_row *u = person("p1@example.edu", &session);
	ck_assert_str_eq(u->groups, "lab\nops\nstaff");
	ck_assert_str_eq(u->absent, "idp:https://idp");
	user_row_free(u);
	/* empty is empty, of this source */
	ck_assert(login(1, NULL, "") == ERR_NONE);
	want(1, "lab\nstaff", "ldap:campus\tlab\nldap:campus\tstaff", "", true);
	/* another name: the claim goes along, the directory's word was of the old one */
	ck_assert(login(1, NULL, "ops") == ERR_NONE);
	ck_assert(login(1, "p7@example.edu", NULL) == ERR_NONE);
	want(7, "ops", "idp:https://idp\tops", "", true);
	clean();
}
END_TEST

START_TEST(test_disabled)
{
	fresh();
	ck_assert(login(1, NULL, "ops") == ERR_NONE && login(2, NULL, "ops") == ERR_NONE);
	say("ldap:campus", true, (struct said[]){ { 1, "lab", false }, { 2, "lab", false } }, 2, NULL, 0, 0);
	say("ldap:campus", false, (struct said[]){ { 1, "lab", true } }, 1, NULL, 0, 1);
	want(1, "lab\nops", NULL, "ldap:campus", false);
	want(2, "lab\nops", NULL, "", true);
	ck_assert(login(1, NULL, "ops") == ERR_DENIED);
	say("ldap:campus", false, (struct said[]){ { 1, "lab", false } }, 1, NULL, 0, 2);
	ck_assert(login(1, NULL, "ops") == ERR_NONE);
	/* not there any more is disabled, too */
	say("ldap:campus", false, NULL, 0, (int[]){ 2 }, 1, 3);
	want(2, "ops", NULL, "ldap:campus", false);
	ck_assert(login(2, NULL, "ops") == ERR_DENIED);
	/* who never was there is not its business */
	ck_assert(login(3, NULL, "ops") == ERR_NONE);
	say("ldap:campus", true, (struct said[]){ { 1, "lab", false } }, 1, NULL, 0, 4);
	want(3, "ops", NULL, "", true);
	clean();
}
END_TEST

START_TEST(test_held)
{
	struct said   all[10], few[10];
	char          what[512];
	enum err_code code;
	uint64_t      id;

	fresh();
	for (int i = 0; i < 10; i++) {
		ck_assert(login(i + 1, NULL, "") == ERR_NONE);
		all[i] = (struct said){ i + 1, i < 6 ? "lab\nstaff" : "staff", false };
	}
	say("ldap:campus", true, all, 10, NULL, 0, 0);
	want(1, "lab\nstaff", NULL, "", true);
	/* an empty answer */
	say("ldap:campus", true, NULL, 0, NULL, 0, 1);
	id = held(what, sizeof(what));
	ck_assert_str_eq(what, "accounts 10/10\nall 16/16\n");
	want(1, "lab\nstaff", NULL, "", true);
	want(10, "staff", NULL, "", true);
	/* and it is back */
	say("ldap:campus", true, all, 10, NULL, 0, 2);
	ck_assert(!held(what, sizeof(what)));
	ck_assert(!accept_held(id, &code) && code == ERR_MISSING);

	/* one group empties, the rest goes on */
	memcpy(few, all, sizeof(all));
	for (int i = 0; i < 6; i++)
		few[i].groups = "staff";
	few[9].groups = "staff\nnew";
	say("ldap:campus", true, few, 10, NULL, 0, 3);
	id = held(what, sizeof(what));
	ck_assert_str_eq(what, "group lab 6/6\n");
	want(1, "lab\nstaff", NULL, "", true);
	want(10, "new\nstaff", NULL, "", true);
	ck_assert(accept_held(id, &code));
	ck_assert(!held(what, sizeof(what)));
	want(1, "staff", "ldap:campus\tstaff", "", true);
	say("ldap:campus", true, few, 10, NULL, 0, 4);
	ck_assert(!held(what, sizeof(what)));

	/* one at a time is no way around: of ten, five may go within the window */
	for (int i = 0; i < 7; i++)
		say("ldap:campus", false, (struct said[]){ { i + 1, "other", false } }, 1, NULL, 0, 5 + i);
	held(what, sizeof(what));
	ck_assert_str_eq(what, "group staff 2/5\n");
	want(5, "other", NULL, "", true);
	want(6, "other\nstaff", NULL, "", true);

	/* a disabled account is nothing to wait with */
	say("ldap:campus", false, (struct said[]){ { 6, "other", true } }, 1, NULL, 0, 20);
	want(6, "other\nstaff", NULL, "ldap:campus", false);
	clean();
}
END_TEST

START_TEST(test_accounts)
{
	struct said   all[10];
	char          what[512];
	enum err_code code;
	uint64_t      id;

	fresh();
	for (int i = 0; i < 10; i++) {
		ck_assert(login(i + 1, NULL, "") == ERR_NONE);
		all[i] = (struct said){ i + 1, "", false };
	}
	say("ldap:campus", true, all, 10, NULL, 0, 0);
	say("ldap:campus", true, all, 3, NULL, 0, 1);
	id = held(what, sizeof(what));
	ck_assert_str_eq(what, "accounts 7/10\n");
	want(10, "", NULL, "", true);
	/* more go: what was shown is not what would be confirmed */
	say("ldap:campus", true, all, 2, NULL, 0, 2);
	ck_assert(!accept_held(id, &code) && code == ERR_MISSING);
	id = held(what, sizeof(what));
	ck_assert_str_eq(what, "accounts 8/10\n");
	ck_assert(accept_held(id, &code));
	want(10, "", NULL, "ldap:campus", false);
	want(1, "", NULL, "", true);
	ck_assert(!held(what, sizeof(what)));
	say("ldap:campus", true, all, 2, NULL, 0, 3);
	ck_assert(!held(what, sizeof(what)));
	clean();
}
END_TEST

UNIT_MAIN("groups", test_union, test_disabled, test_held, test_accounts)
