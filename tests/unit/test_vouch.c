/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/vouch.h"

#include "base/buf.h"
#include "base/file.h"
#include "idp/evidence.h"
#include "tests/unit/main.h"
#include "tests/unit/signer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * A coordinator that lies to an endpoint with "verify": "idp": it has the map
 * in its hands, but not the provider's key.
 */

#define ISSUER "https://idp.example.edu"

struct rig {
	struct loop  *loop;
	struct conf  *conf;
	struct vouch *vouch;
	cjose_jwk_t  *key, *other;
	char          path[64];
	bool          changed;
	struct wall   now;
};

static void on_changed(void *arg)
{
	struct rig *r = arg;

	r->changed = true;
	loop_stop(r->loop);
}

static void on_late(void *arg)
{
	loop_stop(arg);
}

static void put_keys(struct rig *r, cjose_jwk_t *key)
{
	char *jwks = signer_jwks(&key, 1);

	ck_assert(file_replace(r->path, span_str(jwks), 0600, NULL));
	free(jwks);
}

static void open_with(struct rig *r, const char *rows)
{
	scoped_buf struct buf text = { 0 };
	struct diags d;
	struct err err = { 0 };

	buf_init(&text, 8192);
	buf_addf(&text, "{ \"map\": \"/nowhere\", \"verify\": \"idp\", \"evidence-max-age\": \"1h\",\n"
	         "\"server-keys\": [\"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\"],\n"
	         "\"issuers\": { \"u\": { \"issuer\": \"" ISSUER "\", \"client-id\": \"portal\", \"auth-method\": \"none\",\n"
	         "%s, \"jwks-file\": \"%s\", \"login-claim\": \"email\", \"groups-claim\": \"groups\" } } }",
	         rows, r->path);
	diags_init(&d, "test");
	r->conf = conf_new(buf_span(&text), "/", &d);
	if (!r->conf) {
		scoped_buf struct buf words = { 0 };

		buf_init(&words, 8192);
		diags_text(&d, &words);
		ck_abort_msg("%s", words.ptr);
	}
	diags_done(&d);
	r->vouch = vouch_new(r->loop, r->conf, on_changed, r, &err);
	ck_assert_msg(r->vouch != NULL, "%s", err.msg);
}

static void open_vouch(struct rig *r)
{
	open_with(r, "\"device-client-id\": \"device\", \"domains\": [\"example.edu\"]");
}

static void close_vouch(struct rig *r)
{
	vouch_free(r->vouch);
	conf_free(r->conf);
}

static void start(struct rig *r)
{
	int fd;

	memset(r, 0, sizeof(*r));
	r->loop = loop_new(NULL);
	r->now = clock_wall();
	r->key = signer_new(true, "k1");
	r->other = signer_new(true, "k1");
	snprintf(r->path, sizeof(r->path), "/tmp/reeve-vouch-XXXXXX");
	fd = mkstemp(r->path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	put_keys(r, r->key);
	open_vouch(r);
}

static void end(struct rig *r)
{
	cjose_jwk_release(r->key);
	cjose_jwk_release(r->other);
	close_vouch(r);
	loop_free(r->loop);
	unlink(r->path);
}

struct says {
	const char *iss, *aud, *email;
	int64_t     age;                /* of auth_time, seconds */
	int64_t     exp;                /* from now */
	uint8_t     key;                /* device key's bytes, as bound */
	bool        forged;             /* signed with another key */
};

static char *token_kid(struct rig *r, const struct says *s, const uint8_t opening[32], const char *kid)
{
	unsigned char key[32];
	char nonce[BINDING_NONCE_SIZE];
	json_t *payload, *header = json_pack("{s:s, s:s}", "alg", "ES256", "kid", kid);
	char *text, *t;

	memset(key, s->key, sizeof(key));
	binding_nonce(key, opening, nonce);
	payload = json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:[s], s:[s,s]}", "iss", s->iss, "aud", s->aud,
	                    "sub", s->email, "email", s->email, "email_verified", 1, "nonce", nonce,
	                    "exp", (json_int_t)(r->now.sec + s->exp), "iat", (json_int_t)(r->now.sec - s->age),
	                    "auth_time", (json_int_t)(r->now.sec - s->age), "groups", "lab", "amr", "pwd", "otp");
	text = json_dumps(payload, JSON_COMPACT);
	t = signer_token(s->forged ? r->other : r->key, header, span_str(text));
	free(text);
	json_decref(payload);
	json_decref(header);
	return t;
}

static char *token(struct rig *r, const struct says *s, const uint8_t opening[32])
{
	return token_kid(r, s, opening, "k1");
}

/* The coordinator's node: always the same person with all rights, whatever the evidence. */
static struct map_node *node(uint64_t id, uint8_t key, const char *id_token, const uint8_t opening[32], bool session)
{
	static struct span groups[] = { { "group:admins", 12 } }, roles[] = { { "admin", 5 } }, idp[] = { { "root", 4 } };
	struct map_node *n = map_node_new();

	n->id = id;
	n->name = arena_copy(&n->mem, SPAN("laptop"));
	memset(n->key, key, sizeof(n->key));
	n->user = arena_alloc(&n->mem, sizeof(*n->user));
	n->user->id = 1;
	n->user->issuer = SPAN(ISSUER);
	n->user->sub = SPAN("director");
	n->user->login = SPAN("director@example.edu");
	n->user->groups = (struct map_list){ groups, 1 };
	n->user->roles = (struct map_list){ roles, 1 };
	n->user->idp = (struct map_list){ idp, 1 };
	if (session) {
		n->session = arena_alloc(&n->mem, sizeof(*n->session));
		n->session->id = 9;
		n->session->auth_time = clock_wall();
		n->session->expires = (struct wall){ clock_wall().sec + 86400 };
		n->session->amr = (struct map_list){ idp, 1 };
	}
	if (id_token) {
		n->evidence = arena_alloc(&n->mem, sizeof(*n->evidence));
		n->evidence->id_token = arena_copy(&n->mem, span_str(id_token));
		memcpy(n->evidence->opening, opening, 32);
	}
	return n;
}

/* One node through the check; the caller unrefs. */
static struct map_node *judged(struct rig *r, struct map_node *n)
{
	struct map_node *list[] = { n }, *out;
	struct map map = { .whole = true, .self = 99, .nodes = list, .node_count = 1 }, seen;
	struct loop_timer *late = loop_timer_new(r->loop, on_late, r->loop);

	vouch_map(r->vouch, &map, r->now, &seen);
	vouch_map_done(&seen);
	if (vouch_why(r->vouch, n->id) && strstr(vouch_why(r->vouch, n->id), "being checked")) {
		r->changed = false;
		loop_timer_after(late, 60 * SEC_NS);
		loop_run(r->loop, NULL);
		ck_assert(r->changed);
	}
	loop_timer_free(late);
	vouch_map(r->vouch, &map, r->now, &seen);
	out = map_node_ref(seen.nodes[0]);
	vouch_map_done(&seen);
	return out;
}

static const uint8_t opening[32] = { 7, 7, 7 };

START_TEST(lies_do_not_count)
{
	static const struct { const char *what; struct says says; uint8_t node_key; bool session; const char *why; } rows[] = {
		{ "another provider's key", { ISSUER, "device", "staff@example.edu", 10, 300, 1, true }, 1, true, "signature" },
		{ "made for another device", { ISSUER, "device", "staff@example.edu", 10, 300, 3, false }, 1, true, "nonce" },
		{ "made for the portal", { ISSUER, "portal", "staff@example.edu", 10, 300, 1, false }, 1, true, "aud" },
		{ "another issuer", { "https://evil.example.edu", "device", "staff@example.edu", 10, 300, 1, false }, 1, true, "iss" },
		{ "too old", { ISSUER, "device", "staff@example.edu", 3601, 300, 1, false }, 1, true, "evidence-max-age" },
		{ "expired at its first check", { ISSUER, "device", "staff@example.edu", 1200, -600, 1, false }, 1, true, "exp" },
		{ "another domain", { ISSUER, "device", "staff@evil.edu", 10, 300, 1, false }, 1, true, "login" },
	};
	struct rig r;
	struct map_node *n, *j;

	start(&r);
	n = node(5, 1, NULL, opening, true);
	j = judged(&r, n);
	ck_assert_ptr_null(j->user);
	ck_assert_ptr_nonnull(strstr(vouch_why(r.vouch, 5), "no evidence"));
	map_node_unref(j);
	map_node_unref(n);
	for (size_t i = 0; i < array_size(rows); i++) {
		char *t = token(&r, &rows[i].says, opening);

		n = node(5, rows[i].node_key, t, opening, rows[i].session);
		j = judged(&r, n);
		ck_assert_msg(!j->session, "%s: counts", rows[i].what);
		ck_assert(!j->user || strcmp(rows[i].what, "too old") == 0);
		ck_assert_msg(vouch_why(r.vouch, 5) && strstr(vouch_why(r.vouch, 5), rows[i].why), "%s: %s", rows[i].what,
		              vouch_why(r.vouch, 5));
		map_node_unref(j);
		map_node_unref(n);
		free(t);
	}
	end(&r);
}
END_TEST

START_TEST(only_the_token_speaks)
{
	const struct says good = { ISSUER, "device", "staff@example.edu", 10, 300, 1, false };
	const struct says second = { ISSUER, "device", "student@example.edu", 10, 300, 3, false };
	struct rig r;
	struct map_node *n, *j, *again;
	uint64_t person;
	char *t;

	start(&r);
	t = token(&r, &good, opening);
	n = node(5, 1, t, opening, true);
	j = judged(&r, n);
	ck_assert_msg(j->user && j->session, "%s", vouch_why(r.vouch, 5));
	ck_assert(span_eq(j->user->login, SPAN("staff@example.edu")));
	ck_assert(span_eq(j->user->sub, SPAN("staff@example.edu")));
	ck_assert_uint_eq(j->user->groups.count, 0);
	ck_assert_uint_eq(j->user->roles.count, 0);
	ck_assert_uint_eq(j->user->idp.count, 1);
	ck_assert(span_eq(j->user->idp.list[0], SPAN("lab")));
	ck_assert_int_eq(j->session->auth_time.sec, r.now.sec - 10);
	ck_assert_int_eq(j->session->expires.sec, r.now.sec - 10 + 3600);
	person = j->user->id;
	again = judged(&r, n);
	ck_assert_ptr_eq(again, j);             /* what did not change is the same object */
	map_node_unref(again);
	map_node_unref(j);
	map_node_unref(n);

	/* The coordinator may withdraw. */
	n = node(5, 1, t, opening, false);
	j = judged(&r, n);
	ck_assert(j->user && !j->session);
	map_node_unref(j);
	map_node_unref(n);
	free(t);

	/* Another person under the same number of the coordinator's is another person. */
	t = token(&r, &second, opening);
	n = node(6, 3, t, opening, true);
	j = judged(&r, n);
	ck_assert_uint_ne(j->user->id, person);
	map_node_unref(j);
	map_node_unref(n);
	free(t);
	end(&r);
}
END_TEST

START_TEST(servers_are_the_owners_to_name)
{
	static struct span tags[] = { { "tag:server", 10 } };
	struct rig r;
	struct map_node *n, *j;

	start(&r);
	for (uint8_t key = 1; key <= 2; key++) {        /* "server-keys" has 0202..02 */
		n = node(7, key, NULL, opening, false);
		n->user = NULL;
		n->tags = (struct map_list){ tags, 1 };
		j = judged(&r, n);
		ck_assert_uint_eq(j->tags.count, key == 2 ? 1 : 0);
		map_node_unref(j);
		map_node_unref(n);
	}
	end(&r);
}
END_TEST

/* Verified once, then the provider turns its keys and this endpoint restarts. */
START_TEST(survives_rotation_and_restart)
{
	const struct says good = { ISSUER, "device", "staff@example.edu", 10, 300, 1, false };
	struct rig r;
	struct map_node *n, *j;
	scoped_buf struct buf kept = { 0 };
	struct err err = { 0 };
	char *t;

	start(&r);
	t = token(&r, &good, opening);
	n = node(5, 1, t, opening, true);
	j = judged(&r, n);
	ck_assert(j->session);
	map_node_unref(j);
	ck_assert(vouch_dirty(r.vouch));
	buf_init(&kept, VOUCH_TEXT_MAX);
	vouch_encode(r.vouch, &kept);
	close_vouch(&r);
	put_keys(&r, r.other);

	/* Without what was kept, the old key proves nothing. */
	open_vouch(&r);
	j = judged(&r, n);
	ck_assert(!j->session);
	map_node_unref(j);
	close_vouch(&r);
	open_vouch(&r);
	ck_assert_msg(vouch_decode(r.vouch, buf_span(&kept), &err), "%s", err.msg);
	j = judged(&r, n);
	ck_assert_msg(j->session && span_eq(j->user->login, SPAN("staff@example.edu")), "%s", vouch_why(r.vouch, 5));
	map_node_unref(j);
	ck_assert_int_eq(vouch_until(r.vouch).sec, r.now.sec - 10 + 3600);

	/* An hour after the login it ends, whatever the coordinator says. */
	r.now.sec += 3600 - 10;
	j = judged(&r, n);
	ck_assert(!j->session);
	map_node_unref(j);
	map_node_unref(n);
	free(t);
	end(&r);
}
END_TEST

/* Verified under other rows of the owner's file: those of today count. */
START_TEST(rows_of_today_count)
{
	static const struct { const char *rows, *why; } other[] = {
		{ "\"device-client-id\": \"device\", \"domains\": [\"example.org\"]", "login" },
		{ "\"device-client-id\": \"device\", \"domains\": [\"example.edu\"], \"mfa-amr\": [\"hwk\"]", "mfa" },
		{ "\"device-client-id\": \"other\", \"domains\": [\"example.edu\"]", "aud" },
		{ "\"device-client-id\": \"device\", \"domains\": [\"example.edu\"], \"mfa-amr\": [\"pwd+otp\"]", NULL },
	};
	const struct says good = { ISSUER, "device", "staff@example.edu", 10, 300, 1, false };
	struct rig r;
	struct map_node *n, *j;
	scoped_buf struct buf kept = { 0 };
	struct err err = { 0 };
	char *t;

	start(&r);
	t = token(&r, &good, opening);
	n = node(5, 1, t, opening, true);
	map_node_unref(judged(&r, n));
	buf_init(&kept, VOUCH_TEXT_MAX);
	vouch_encode(r.vouch, &kept);
	close_vouch(&r);
	for (size_t i = 0; i < array_size(other); i++) {
		open_with(&r, other[i].rows);
		ck_assert_msg(vouch_decode(r.vouch, buf_span(&kept), &err), "%s", err.msg);
		j = judged(&r, n);
		ck_assert_msg(!!j->session == !other[i].why, "row %zu: %s", i, vouch_why(r.vouch, 5));
		ck_assert(!other[i].why || strstr(vouch_why(r.vouch, 5), other[i].why));
		map_node_unref(j);
		if (i + 1 < array_size(other))
			close_vouch(&r);
	}
	map_node_unref(n);
	free(t);
	end(&r);
}
END_TEST

/* One look, whatever is under way: whether that person's session counts now. */
static bool in(struct rig *r, struct map_node *n, const char *sub)
{
	struct map_node *list[] = { n };
	struct map map = { .whole = true, .self = 99, .nodes = list, .node_count = 1 }, seen;
	bool counts;

	n->user->sub = span_str(sub);
	vouch_map(r->vouch, &map, r->now, &seen);
	counts = seen.nodes[0]->session != NULL;
	ck_assert(!counts || span_eq(seen.nodes[0]->user->sub, SPAN("staff@example.edu")));
	ck_assert_msg(counts == !vouch_why(r->vouch, n->id), "%s", vouch_why(r->vouch, n->id));
	vouch_map_done(&seen);
	return counts;
}

/* Until the check that is under way has an answer. */
static void wait_checked(struct rig *r)
{
	struct loop_timer *late = loop_timer_new(r->loop, on_late, r->loop);

	r->changed = false;
	loop_timer_after(late, 60 * SEC_NS);
	loop_run(r->loop, NULL);
	loop_timer_free(late);
	ck_assert(r->changed);
}

/* Staff logged in: what the rig has verified for key 1. */
static void verify_staff(struct rig *r)
{
	const struct says good = { ISSUER, "device", "staff@example.edu", 100, 300, 1, false };
	char *t = token(r, &good, opening);
	struct map_node *n = node(5, 1, t, opening, true);

	if (!in(r, n, "staff@example.edu")) {
		wait_checked(r);
		ck_assert(in(r, n, "staff@example.edu"));
	}
	map_node_unref(n);
	free(t);
}

/* A renewed session: what was verified before stands in, until its own end, for what is not verified yet. */
START_TEST(renewal_waits_for_nobody)
{
	static const uint8_t other[32] = { 8 };
	const struct says fresh = { ISSUER, "device", "staff@example.edu", 10, 300, 1, false };
	const struct says late = { ISSUER, "device", "staff@example.edu", 90, -60, 1, false };
	const struct { const char *what; const struct says *says; const char *kid; bool counts; int64_t end; } rows[] = {
		{ "what can be checked", &fresh, "k1", true, 3600 - 10 },
		{ "a key that is not known yet", &fresh, "k9", true, 3600 - 100 },
		{ "a token that came too late", &late, "k1", true, 3600 - 100 },
	};
	struct rig r;
	struct map_node *n;

	for (size_t i = 0; i < array_size(rows); i++) {
		char *t;

		start(&r);
		t = token_kid(&r, rows[i].says, other, rows[i].kid);
		verify_staff(&r);
		n = node(5, 1, t, other, true);
		ck_assert_msg(in(&r, n, "staff@example.edu"), "%s: while it is checked", rows[i].what);
		wait_checked(&r);
		ck_assert_msg(in(&r, n, "staff@example.edu") == rows[i].counts, "%s", rows[i].what);
		ck_assert_msg(vouch_until(r.vouch).sec == r.now.sec + rows[i].end, "%s", rows[i].what);
		r.now.sec += rows[i].end;
		ck_assert_msg(!in(&r, n, "staff@example.edu"), "%s: past the end", rows[i].what);
		ck_assert(strstr(vouch_why(r.vouch, 5), "evidence-max-age"));
		map_node_unref(n);
		free(t);
		end(&r);
	}
}
END_TEST

START_TEST(nothing_stands_in_for_a_lie)
{
	static const uint8_t other[32] = { 8 };
	const struct says nonce = { ISSUER, "device", "staff@example.edu", 10, 300, 3, false };
	struct rig r;
	struct map_node *n, *without;
	char *t;

	start(&r);
	without = node(5, 1, NULL, other, true);
	ck_assert(!in(&r, without, "staff@example.edu"));
	verify_staff(&r);
	ck_assert(in(&r, without, "staff@example.edu"));
	ck_assert_int_eq(vouch_until(r.vouch).sec, r.now.sec + 3600 - 100);

	/* For the same person, as the coordinator says itself; another one's key has nothing. */
	ck_assert(!in(&r, without, "director"));
	verify_staff(&r);
	n = node(6, 3, NULL, other, true);
	ck_assert(!in(&r, n, "staff@example.edu"));
	map_node_unref(n);

	/* What is refused takes what was there before with it. */
	verify_staff(&r);
	t = token(&r, &nonce, other);
	n = node(5, 1, t, other, true);
	in(&r, n, "staff@example.edu");
	wait_checked(&r);
	ck_assert(!in(&r, n, "staff@example.edu"));
	ck_assert(strstr(vouch_why(r.vouch, 5), "nonce"));
	ck_assert(!in(&r, without, "staff@example.edu"));
	map_node_unref(n);
	free(t);

	/* So does the end of a session. */
	verify_staff(&r);
	n = node(5, 1, NULL, other, false);
	n->user->sub = SPAN("staff@example.edu");
	map_node_unref(judged(&r, n));
	map_node_unref(n);
	ck_assert(!in(&r, without, "staff@example.edu"));
	map_node_unref(without);
	end(&r);
}
END_TEST

/* The same after a restart, and for what an earlier release kept, without its key. */
START_TEST(stands_in_after_a_restart)
{
	scoped_buf struct buf kept = { 0 }, old = { 0 };
	struct err err = { 0 };
	struct map_node *without;
	struct rig r;
	char *key;

	start(&r);
	verify_staff(&r);
	buf_init(&kept, VOUCH_TEXT_MAX);
	vouch_encode(r.vouch, &kept);
	close_vouch(&r);
	without = node(5, 1, NULL, opening, true);
	open_vouch(&r);
	ck_assert_msg(vouch_decode(r.vouch, buf_span(&kept), &err), "%s", err.msg);
	ck_assert(in(&r, without, "staff@example.edu"));
	close_vouch(&r);

	key = strstr(kept.ptr, "\"key\":");
	ck_assert_ptr_nonnull(key);
	buf_init(&old, VOUCH_TEXT_MAX);
	buf_add(&old, kept.ptr, (size_t)(key - kept.ptr));
	buf_add_str(&old, strchr(key, ',') + 1);
	open_vouch(&r);
	ck_assert_msg(vouch_decode(r.vouch, buf_span(&old), &err), "%s", err.msg);
	ck_assert(!in(&r, without, "staff@example.edu"));
	close_vouch(&r);
	open_vouch(&r);
	ck_assert(vouch_decode(r.vouch, buf_span(&old), &err));
	verify_staff(&r);
	ck_assert(in(&r, without, "staff@example.edu"));
	map_node_unref(without);
	end(&r);
}
END_TEST

UNIT_MAIN("vouch", renewal_waits_for_nobody, nothing_stands_in_for_a_lie, stands_in_after_a_restart, lies_do_not_count, only_the_token_speaks, servers_are_the_owners_to_name, survives_rotation_and_restart,
          rows_of_today_count)
