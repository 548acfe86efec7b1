/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Names that stay somebody's, providers' logouts and refresh tokens, and how long nodes last. */
#include "daemon/store/ops.h"

#include "base/mem.h"

#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/reeve-life-XXXXXX", path[64];

static const struct wall T0 = { 1790000000 };

static struct wall at(int64_t sec)
{
	return (struct wall){ T0.sec + sec };
}

static const uint8_t *key_of(int n)
{
	static uint8_t key[32];

	memset(key, n, sizeof(key));
	return key;
}

static void fresh(void)
{
	struct mesh_row mesh = { .epoch = "0123456789abcdef", .name = "example" };
	struct node_row hub = { .name = "hub", .hub = true, .tags = "tag:hub" };
	struct err      err = { 0 };

	if (strstr(dir, "XXXXXX"))
		ck_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/db", dir);
	ck_assert(prefix_parse(SPAN("fd12:3456:789a::/48"), &mesh.ula));
	ck_assert(prefix_parse(SPAN("100.64.0.0/10"), &mesh.v4));
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

static enum err_code run(struct store_job *job, struct row_changes *c)
{
	struct err err = { 0 };

	return store_run_once(path, job, c, &err) ? ERR_NONE : err.code;
}

static enum err_code done(struct store_job *job)
{
	struct row_changes c = { 0 };
	enum err_code      code = run(job, &c);

	row_changes_done(&c);
	return code;
}

/* "sealed" is the session's id and the token: only for the eyes of this test. */
static char *seal(const void *ctx, uint64_t session, struct span token)
{
	char text[64];

	ck_assert(ctx == NULL);
	snprintf(text, sizeof(text), "%llu/%.*s", (unsigned long long)session, SPAN_ARG(token));
	return mem_strdup(text);
}

static struct store_person person(const char *issuer, const char *sub, const char *login)
{
	return (struct store_person){ .issuer = issuer, .sub = sub, .login = login, .expires = at(3600),
		                      .auth_time = T0 };
}

struct seen { uint64_t node, user, session; char refresh[64], login[64]; bool approved; struct wall expires; };

static void look(const struct row_changes *c, struct seen *s)
{
	*s = (struct seen){ 0 };
	for (size_t i = 0; i < c->count; i++) {
		const struct row_change *r = &c->list[i];

		if (r->kind == ROW_NODE && !r->gone) {
			s->node = r->id;
			s->approved = r->node->approved;
			s->expires = r->node->expires;
		} else if (r->kind == ROW_USER && !r->gone) {
			s->user = r->id;
			snprintf(s->login, sizeof(s->login), "%s", r->user->login);
		} else if (r->kind == ROW_SESSION && !r->session->ended.sec) {
			s->session = r->id;
			snprintf(s->refresh, sizeof(s->refresh), "%s", r->session->refresh);
		}
	}
}

static enum err_code enrol(int device, const struct store_person *p, struct seen *s)
{
	struct enrol_op   *op = enrol_op_new(key_of(device), "laptop", "", "", T0, 0);
	struct row_changes c = { 0 };

	enrol_op_person(op, p);
	op->unapproved = device >= 100;
	op->life = device >= 200 ? 50 : 0;
	enum err_code code = run(&op->job, &c);
	if (s)
		look(&c, s);
	row_changes_done(&c);
	return code;
}

static enum err_code act(uint64_t user, int what, uint64_t other)
{
	struct user_op *op = user_op_new(user, what, at(10));

	op->other = other;
	op->until = at(1000);
	return done(&op->job);
}

START_TEST(test_names)
{
	const char *a = "https://a.example", *b = "https://b.example";
	struct store_person first = person(a, "1", "staff@example.edu");
	struct store_person renamed = person(a, "1", "teacher@example.edu");
	struct store_person recycled = person(a, "2", "Staff@Example.edu");
	struct store_person twin = person(b, "1", "teacher@example.edu");
	struct store_person other = person(b, "9", "other@example.edu");
	struct seen         s, t;

	fresh();
	ck_assert_int_eq(enrol(1, &first, &s), ERR_NONE);
	/* renamed: the same person, and the old name is not free for whoever comes next */
	ck_assert_int_eq(enrol(1, &renamed, &t), ERR_NONE);
	ck_assert(t.user == s.user && strcmp(t.login, "teacher@example.edu") == 0);
	ck_assert_int_eq(enrol(2, &recycled, NULL), ERR_EXISTS);
	/* the same subject of another issuer is somebody else */
	ck_assert_int_eq(enrol(2, &twin, NULL), ERR_EXISTS);
	/* back to the old name */
	ck_assert_int_eq(enrol(1, &first, &t), ERR_NONE);
	ck_assert(t.user == s.user && strcmp(t.login, "staff@example.edu") == 0);
	/* a name in use is not given up; one of before may be */
	ck_assert_int_eq(done(&name_op_release("STAFF@example.edu")->job), ERR_DENIED);
	ck_assert_int_eq(done(&name_op_release("nobody@example.edu")->job), ERR_MISSING);
	ck_assert_int_eq(enrol(3, &twin, NULL), ERR_EXISTS);
	ck_assert_int_eq(done(&name_op_release("teacher@example.edu")->job), ERR_NONE);
	ck_assert_int_eq(enrol(3, &twin, &t), ERR_NONE);
	ck_assert_uint_ne(t.user, s.user);
	/* and is gone for the first one */
	ck_assert_int_eq(enrol(1, &renamed, NULL), ERR_EXISTS);

	/* deleted: the same identity may come back, nobody else takes the name */
	ck_assert_int_eq(act(s.user, USER_DELETE, 0), ERR_NONE);
	ck_assert_int_eq(enrol(4, &recycled, NULL), ERR_EXISTS);
	ck_assert_int_eq(enrol(4, &first, &t), ERR_NONE);
	ck_assert_uint_gt(t.user, s.user);
	ck_assert_int_eq(act(t.user, USER_DELETE, 0), ERR_NONE);
	ck_assert_int_eq(done(&name_op_release("staff@example.edu")->job), ERR_NONE);
	ck_assert_int_eq(enrol(5, &recycled, &s), ERR_NONE);

	/* two accounts that are one person */
	ck_assert_int_eq(enrol(6, &other, &t), ERR_NONE);
	ck_assert_int_eq(act(s.user, USER_MERGE, s.user), ERR_MISSING);
	ck_assert_int_eq(act(s.user, USER_MERGE, 77), ERR_MISSING);
	ck_assert_int_eq(act(t.user, USER_BLOCK, 0), ERR_NONE);
	ck_assert_int_eq(act(s.user, USER_MERGE, t.user), ERR_DENIED);          /* no way around a block */
	ck_assert_int_eq(act(t.user, USER_UNBLOCK, 0), ERR_NONE);
	ck_assert_int_eq(act(s.user, USER_MERGE, t.user), ERR_NONE);
	uint64_t user = s.user, node = t.node;
	ck_assert_int_eq(enrol(6, &other, &t), ERR_NONE);
	ck_assert(t.user == user && t.node == node);
	/* a linked identity does not rename the account, and its name is not free */
	ck_assert_str_eq(t.login, "Staff@Example.edu");
	struct store_person third = person(a, "3", "other@example.edu");
	ck_assert_int_eq(enrol(7, &third, NULL), ERR_EXISTS);
	clean();
}
END_TEST

static size_t logout(const char *issuer, const char *sub, const char *sid, const char *jti, enum err_code *ret)
{
	struct logout_op  *op = logout_op_new(issuer, sub, sid, jti, at(10), at(200));
	struct row_changes c = { 0 };
	size_t             n = 0;

	*ret = run(&op->job, &c);
	for (size_t i = 0; i < c.count; i++)
		n += c.list[i].kind == ROW_SESSION && c.list[i].session->ended.sec != 0;
	ck_assert((n > 0) == (c.seq > 0));
	row_changes_done(&c);
	return n;
}

START_TEST(test_logout)
{
	const char         *a = "https://a.example";
	struct store_person p = person(a, "1", "staff@example.edu"), q = person(a, "2", "student@example.edu");
	enum err_code       code;
	struct seen         s;

	fresh();
	p.sid = "one";
	ck_assert_int_eq(enrol(1, &p, &s), ERR_NONE);
	p.sid = "two";
	ck_assert_int_eq(enrol(2, &p, NULL), ERR_NONE);
	q.sid = "three";
	ck_assert_int_eq(enrol(3, &q, NULL), ERR_NONE);
	/* another issuer's, a session that nobody has, and a sid of somebody else end nothing */
	ck_assert_uint_eq(logout("https://b.example", "1", NULL, "j1", &code), 0);
	ck_assert_uint_eq(logout(a, "1", "nine", "j2", &code), 0);
	ck_assert_uint_eq(logout(a, "2", "one", "j3", &code), 0);
	ck_assert_uint_eq(logout(a, NULL, NULL, "j4", &code), 0);
	ck_assert_int_eq(code, ERR_NONE);
	ck_assert_uint_eq(logout(a, "1", "one", "j5", &code), 1);
	/* a token is obeyed once, whatever it says by now; another issuer may use the same id */
	ck_assert_int_eq(enrol(1, &p, NULL), ERR_NONE);
	ck_assert_uint_eq(logout(a, "1", NULL, "j5", &code), 0);
	ck_assert_int_eq(code, ERR_EXISTS);
	ck_assert_uint_eq(logout("https://b.example", "1", NULL, "j5", &code), 0);
	ck_assert_int_eq(code, ERR_NONE);
	ck_assert_uint_eq(logout(a, "1", NULL, "j6", &code), 2);
	ck_assert_uint_eq(logout(a, NULL, "three", "j7", &code), 1);
	/* what has expired is forgotten: the token itself is refused by its exp then */
	ck_assert_int_eq(done(&sweep_op_new(at(201), T0, 0)->job), ERR_NONE);
	ck_assert_uint_eq(logout(a, "1", NULL, "j5", &code), 0);
	ck_assert_int_eq(code, ERR_NONE);
	clean();
}
END_TEST

START_TEST(test_refresh)
{
	struct store_person p = person("https://a.example", "1", "staff@example.edu");
	struct row_changes  c = { 0 };
	struct seen         s, t;
	char                want[64];

	fresh();
	p.refresh = SPAN("secret");
	ck_assert_int_eq(enrol(1, &p, &s), ERR_NONE);
	ck_assert_str_eq(s.refresh, "");        /* nobody seals it: it is not kept */
	p.seal = seal;
	ck_assert_int_eq(enrol(1, &p, &t), ERR_NONE);
	ck_assert_uint_gt(t.session, s.session);
	snprintf(want, sizeof(want), "%llu/secret", (unsigned long long)t.session);
	ck_assert_str_eq(t.refresh, want);
	/* what the provider says changes no map */
	ck_assert_int_eq(run(&checked_op_new(t.session, "new", at(5))->job, &c), ERR_NONE);
	ck_assert(c.seq == 0 && c.count == 1 && c.list[0].session->checked.sec == at(5).sec);
	ck_assert_str_eq(c.list[0].session->refresh, "new");
	row_changes_done(&c);
	ck_assert_int_eq(run(&checked_op_new(t.session, NULL, at(6))->job, &c), ERR_NONE);
	ck_assert_str_eq(c.list[0].session->refresh, "new");
	row_changes_done(&c);
	/* it goes with the session, and does not come back */
	struct end_op *end = end_op_new("logout", at(7));
	end->session = t.session;
	ck_assert_int_eq(run(&end->job, &c), ERR_NONE);
	ck_assert_str_eq(c.list[0].session->refresh, "");
	row_changes_done(&c);
	ck_assert_int_eq(run(&checked_op_new(t.session, "late", at(8))->job, &c), ERR_NONE);
	ck_assert_str_eq(c.list[0].session->refresh, "");
	row_changes_done(&c);
	clean();
}
END_TEST

START_TEST(test_life)
{
	struct store_person p = person("https://a.example", "1", "staff@example.edu");
	struct node_set_op *set;
	struct row_changes  c = { 0 };
	struct seen         s, t;

	fresh();
	ck_assert_int_eq(enrol(1, &p, &s), ERR_NONE);
	ck_assert(s.approved && s.expires.sec == 0);
	ck_assert_int_eq(enrol(200, &p, &s), ERR_NONE);
	ck_assert(!s.approved && s.expires.sec == at(50).sec);
	/* logging in again is no approval, and makes the enrolment last */
	struct login_op *login = login_op_new(s.node, &p, at(40));
	login->life = 50;
	ck_assert_int_eq(run(&login->job, &c), ERR_NONE);
	look(&c, &t);
	row_changes_done(&c);
	ck_assert(t.node == s.node && !t.approved && t.expires.sec == at(90).sec);
	set = node_set_op_new(s.node);
	set->approve = true;
	set->set_expires = true;
	ck_assert_int_eq(run(&set->job, &c), ERR_NONE);
	look(&c, &t);
	row_changes_done(&c);
	ck_assert(t.approved && t.expires.sec == 0);
	/* what a key says of its nodes */
	struct key_op *key = key_op_create(key_of(50), "tag:web", "", 5, T0, at(100), 0);
	key->ephemeral = true;
	key->node_life = 30;
	ck_assert_int_eq(done(&key->job), ERR_NONE);
	struct enrol_op *op = enrol_op_new(key_of(20), "server", "", "", at(1), 0);
	enrol_op_key(op, key_of(50));
	op->unapproved = true;                  /* the key is the approval */
	ck_assert_int_eq(run(&op->job, &c), ERR_NONE);
	look(&c, &t);
	ck_assert(t.approved && t.expires.sec == at(31).sec);
	row_changes_done(&c);
	clean();
}
END_TEST

/* ---- another key of a node ---- */

struct keys { bool next, was, evidence; uint8_t key, next_key, was_key, evidence_key; char vouches[32]; };

static struct keys keys_of(const struct row_changes *c)
{
	struct keys k = { 0 };

	for (size_t i = 0; i < c->count; i++) {
		const struct row_change *r = &c->list[i];

		if (r->kind == ROW_NODE && !r->gone) {
			k.next = r->node->has_next;
			k.was = r->node->has_was;
			k.key = r->node->key[0];
			k.next_key = r->node->next_key[0];
			k.was_key = r->node->was_key[0];
			snprintf(k.vouches, sizeof(k.vouches), "%s",
			         k.next ? r->node->next_vouches : r->node->was_vouches);
		} else if (r->kind == ROW_SESSION && !r->gone && !r->session->ended.sec) {
			k.evidence = r->session->has_evidence_key;
			k.evidence_key = r->session->evidence_key[0];
		}
	}
	return k;
}

static enum err_code rotate(uint64_t node, int what, int key, int64_t now, struct keys *ret)
{
	struct rotate_op  *op = rotate_op_new(node, what, at(now));
	struct row_changes c = { 0 };
	enum err_code      code;

	memcpy(op->key, key_of(key), sizeof(op->key));
	op->until = at(now + 600);
	free(op->vouches);
	op->vouches = mem_strdup("1 aa");
	code = run(&op->job, &c);
	*ret = keys_of(&c);
	row_changes_done(&c);
	return code;
}

START_TEST(another_key)
{
	struct store_evidence e = { .id_token = "token" };
	struct store_person   p = person("https://idp", "1", "staff@example.edu");
	struct enrol_op      *enrol;
	struct row_changes    c = { 0 };
	struct keys           k;
	struct seen           s;
	uint64_t              node;

	fresh();
	p.evidence = &e;
	enrol = enrol_op_new(key_of(1), "laptop", "", "", T0, 0);
	enrol_op_person(enrol, &p);
	ck_assert_int_eq(run(&enrol->job, &c), ERR_NONE);
	look(&c, &s);
	node = s.node;
	row_changes_done(&c);

	/* Not what was not announced, nor what is somebody's; nor the hub, nor nobody. */
	ck_assert_int_eq(rotate(node, ROTATE_FINISH, 2, 0, &k), ERR_MISSING);
	ck_assert_int_eq(rotate(node, ROTATE_BEGIN, 1, 0, &k), ERR_EXISTS);
	ck_assert_int_eq(rotate(node, ROTATE_BEGIN, 0xff, 0, &k), ERR_EXISTS);
	ck_assert_int_eq(rotate(1, ROTATE_BEGIN, 2, 0, &k), ERR_DENIED);
	ck_assert_int_eq(rotate(99, ROTATE_BEGIN, 2, 0, &k), ERR_MISSING);

	ck_assert_int_eq(rotate(node, ROTATE_BEGIN, 2, 0, &k), ERR_NONE);
	ck_assert(k.next && !k.was && k.key == 1 && k.next_key == 2);
	ck_assert_str_eq(k.vouches, "1 aa");
	ck_assert_int_eq(rotate(node, ROTATE_FINISH, 3, 1, &k), ERR_MISSING);
	ck_assert_int_eq(rotate(node, ROTATE_DROP, 2, 599, &k), ERR_NONE);      /* not yet */
	ck_assert(k.next);
	ck_assert_int_eq(rotate(node, ROTATE_DROP, 2, 600, &k), ERR_NONE);
	ck_assert(!k.next && k.key == 1);
	ck_assert_int_eq(rotate(node, ROTATE_FINISH, 2, 601, &k), ERR_MISSING);

	/* Announced anew, in use, and said once more. */
	ck_assert_int_eq(rotate(node, ROTATE_BEGIN, 2, 700, &k), ERR_NONE);
	ck_assert_int_eq(rotate(node, ROTATE_BEGIN, 3, 701, &k), ERR_NONE);     /* another one instead */
	ck_assert_int_eq(rotate(node, ROTATE_FINISH, 2, 702, &k), ERR_MISSING);
	ck_assert_int_eq(rotate(node, ROTATE_FINISH, 3, 703, &k), ERR_NONE);
	ck_assert(!k.next && k.was && k.key == 3 && k.was_key == 1 && k.evidence && k.evidence_key == 1);
	ck_assert_str_eq(k.vouches, "1 aa");
	ck_assert_int_eq(rotate(node, ROTATE_FINISH, 3, 704, &k), ERR_NONE);
	ck_assert(k.key == 3 && k.was_key == 1);

	/* The key that was is nobody's next; evidence stays that of the key that it was made for. */
	ck_assert_int_eq(rotate(node, ROTATE_BEGIN, 1, 705, &k), ERR_EXISTS);
	ck_assert_int_eq(rotate(node, ROTATE_BEGIN, 4, 706, &k), ERR_NONE);
	ck_assert_int_eq(rotate(node, ROTATE_FINISH, 4, 707, &k), ERR_NONE);
	ck_assert(k.key == 4 && k.was_key == 3 && k.evidence && k.evidence_key == 1);
	clean();
}
END_TEST

UNIT_MAIN("store_life", test_names, test_logout, test_refresh, test_life, another_key)
