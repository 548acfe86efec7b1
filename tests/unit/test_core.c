/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tests/unit/core_rig.h"

/*
 * The core process, with this test as its parent, its net and its front: what
 * it says for a configuration, an identities file and a map, and what it
 * says when they change. Everything is in a temporary folder.
 */

static const char conf_alone[] =
	"{ \"identities\": \"identities.hujson\", \"policy\": \"policy.hujson\", \"unprivileged\": true,\n"
	"  \"state-dir\": \"state\", \"run-dir\": \".\", \"audit\": \"audit.json\",\n"
	"  \"services\": { \"wiki\": { \"listen\": [\"127.0.0.1:8080\"], \"hosts\": [\"wiki\"],\n"
	"    \"upstream\": [\"http://127.0.0.1:5232\"], \"profiles\": [\"remote-user\"] } } }";
static const char policy_lab[] =
	"{ \"grants\": [ { \"src\": [\"idp:lab\"], \"dst\": [\"svc:wiki\"] } ] }";
static const char people[] =
	"[ { \"from\": \"10.8.0.7\", \"login\": \"staff@example.edu\", \"groups\": [\"lab\"] },\n"
	"  { \"from\": \"10.8.0.8\", \"login\": \"student@example.edu\" },\n"
	"  { \"from\": \"10.8.0.9\", \"login\": \"admin@example.edu\", \"groups\": [\"lab\"], \"expires\": 1000 } ]";

START_TEST(standalone)
{
	struct rig r;
	struct snapshot *old, *new;
	struct msg m;
	int fds[WIRE_FDS_MAX];
	char words[1024], answer[16384];
	uint32_t slot;

	start(&r);
	put_file(&r, "policy.hujson", "{ \"grants\": [ { \"src\": [\"idp:lab\"],\n \"dts\": [] } ] }");
	put_file(&r, "identities.hujson", people);

	/* A fault is refused with its place, and nothing is used. */
	ck_assert(!prepare(&r, conf_alone, words));
	ck_assert_msg(strstr(words, "policy.hujson:2:"), "%s", words);
	put_file(&r, "policy.hujson", policy_lab);
	ck_assert_msg(prepare(&r, conf_alone, words), "%s", words);
	use(&r);
	neighbour(&r, PROCESS_FRONT, &r.front);
	old = next_snapshot(&r);
	ck_assert_uint_eq(slot_of(old, "10.8.0.6"), SLOT_NONE);
	ck_assert(!allows(old, "10.8.0.8", "/"));
	ck_assert(!allows(old, "10.8.0.9", "/"));               /* ran out long ago */
	ck_assert(allows(old, "10.8.0.7", "/"));
	ck_assert_int_eq(ask(&r, "GET /v1/whois?addr=10.8.0.6", answer, sizeof(answer)), 404);
	ck_assert_int_eq(ask(&r, "GET /v1/whois?addr=wiki", answer, sizeof(answer)), 400);
	ck_assert_int_eq(ask(&r, "GET /v1/what", answer, sizeof(answer)), 404);
	ck_assert_int_eq(ask(&r, "POST /v1/up", answer, sizeof(answer)), 409);
	ck_assert_int_eq(ask(&r, "GET /v1/whois?addr=10.8.0.9:4711", answer, sizeof(answer)), 200);
	ck_assert_ptr_nonnull(strstr(answer, "\"why\":\"expired\""));
	ck_assert_int_eq(ask(&r, "GET /v1/whois?addr=10.8.0.7", answer, sizeof(answer)), 200);
	ck_assert_ptr_nonnull(strstr(answer, "\"login\":\"staff@example.edu\""));
	ck_assert_ptr_nonnull(strstr(answer, "idp:lab"));
	ck_assert_ptr_null(strstr(answer, "\"why\""));
	ck_assert_int_eq(ask(&r, "GET /v1/status", answer, sizeof(answer)), 200);
	ck_assert_ptr_nonnull(strstr(answer, "\"mode\":\"standalone\""));

	/* Reload with a fault: the old one goes on. */
	put_file(&r, "identities.hujson", "[ { \"from\": \"10.8.0.7\" } ]");
	ck_assert(!prepare(&r, conf_alone, words));
	ck_assert_msg(strstr(words, "identities.hujson:1:3:"), "%s", words);
	ck_assert(!hear_within(r.front, &m, fds, 200));
	ck_assert(allows(old, "10.8.0.7", "/"));

	/* Taken out of the file: the old snapshot's word goes before the new one is there. */
	put_file(&r, "identities.hujson", "[ { \"from\": \"10.8.0.8\", \"login\": \"student@example.edu\", \"groups\": [\"lab\"] } ]");
	ck_assert_msg(prepare(&r, conf_alone, words), "%s", words);
	use(&r);
	hear(r.front, MSG_SWEEP, &m, fds);
	slot = slot_of(old, "10.8.0.7");
	ck_assert(snapshot_revoked(old, slot));
	ck_assert(!allows(old, "10.8.0.7", "/"));
	new = next_snapshot(&r);
	ck_assert_uint_eq(slot_of(new, "10.8.0.7"), SLOT_NONE);
	ck_assert(allows(new, "10.8.0.8", "/"));
	snapshot_unref(old);
	snapshot_unref(new);
	end(&r);
}
END_TEST

START_TEST(audit_takes_whole_lines_only)
{
	static const char lines[] =
		"{\"verdict\":\"allow\"}\n"
		"{\"forged\":\n"
		"{\"bad\":\"\x1b[2J\"}\n"
		"{\"verdict\":\"deny\"}\n";
	struct msg m = { .type = MSG_AUDIT, .audit.lines = SPAN("") };
	scoped_buf struct buf text = { 0 };
	struct rig r;
	char words[1024], path[128];

	start(&r);
	put_file(&r, "policy.hujson", policy_lab);
	put_file(&r, "identities.hujson", people);
	ck_assert_msg(prepare(&r, conf_alone, words), "%s", words);
	use(&r);
	neighbour(&r, PROCESS_FRONT, &r.front);
	snapshot_unref(next_snapshot(&r));
	m.audit.lines = span_str(lines);
	tell(r.front, &m, -1);
	m = (struct msg){ .type = MSG_AUDIT_LOST, .audit_lost.count = 3 };
	tell(r.front, &m, -1);
	snprintf(path, sizeof(path), "%s/audit.json", r.dir);
	for (int i = 0; i < 2400; i++) {
		buf_done(&text);
		buf_init(&text, 65536);
		if (file_read(path, 65536, &text, NULL) && text.len && memmem(text.ptr, text.len, "lost", 4))
			break;
		poll(NULL, 0, 25);
	}
	ck_assert_ptr_nonnull(text.ptr);
	ck_assert_ptr_null(strstr(text.ptr, "forged"));
	ck_assert_ptr_null(strstr(text.ptr, "\x1b"));
	ck_assert_ptr_nonnull(strstr(text.ptr, "{\"verdict\":\"allow\"}\n"));
	ck_assert_ptr_nonnull(strstr(text.ptr, "{\"verdict\":\"deny\"}\n"));
	ck_assert_ptr_nonnull(strstr(text.ptr, "\"event\":\"lost\",\"count\":"));
	end(&r);
}
END_TEST

/* ---- a map ---- */

static const char conf_map[] =
	"{ \"map\": \"map.ndjson\", \"state-dir\": \"state\", \"run-dir\": \".\", \"mesh\": { \"hosts-file\": \"\" },\n"
	"  \"services\": { \"wiki\": { \"listen\": [\"8080\"], \"hosts\": [\"wiki\"],\n"
	"    \"upstream\": [\"http://127.0.0.1:5232\"] } } }";

/* Rows know an element's class without its bits. */
static bool has_row(const struct told *t, uint32_t klass)
{
	klass &= ~(uint32_t)(FILTER_CLASS_QUIET | FILTER_CLASS_CONTROL);
	for (size_t i = 0; i < t->row_count; i++)
		if (t->row_class[i] == klass)
			return true;
	return false;
}

START_TEST(map_file)
{
	struct device self, laptop, other;
	struct snapshot *s;
	struct told t, first;
	struct rig r;
	struct msg m;
	int fds[WIRE_FDS_MAX];
	struct err err = { 0 };
	char words[1024], path[128];

	make_device(&self);
	make_device(&laptop);
	make_device(&other);
	start(&r);
	put_file(&r, "map.ndjson", "{\"op\":\"full\"}\n");
	ck_assert(!prepare(&r, conf_map, words));
	ck_assert_msg(strstr(words, "map.ndjson"), "%s", words);
	write_map(&r, &self, &laptop, 1, true, NULL);
	snprintf(path, sizeof(path), "%s/state", r.dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/state/device.key", r.dir);
	ck_assert_msg(enrol_device_store(path, &self.key, &err), "%s", err.msg);
	ck_assert_msg(prepare(&r, conf_map, words), "%s", words);
	use(&r);
	neighbour(&r, PROCESS_NET, &r.net);
	neighbour(&r, PROCESS_FRONT, &r.front);
	hear_net(&r, &first);
	ck_assert(first.device && first.peer && first.rows);
	ck_assert_uint_ne(first.class4, 0);
	ck_assert_uint_ne(first.class6, 0);
	ck_assert_uint_ne(first.class4, first.class6);
	ck_assert(has_row(&first, first.class4) && has_row(&first, first.class6));
	/* A server opens nothing towards a laptop; conntrack's memory must not be what says so. */
	ck_assert(first.class4 & FILTER_CLASS_QUIET && first.class6 & FILTER_CLASS_QUIET);
	ck_assert_int_le(first.timeout, 3600000);               /* never longer than the session */
	s = next_snapshot(&r);
	ck_assert(allows(s, "100.64.0.2", "/"));

	/* A half-written file changes nothing. */
	put_file(&r, "map.ndjson", "{\"op\":\"full\"}\n");
	ck_assert(!hear_within(r.front, &m, fds, 900));
	ck_assert(allows(s, "100.64.0.2", "/"));

	/* The session is taken away: packets, then words. It may still be told to log in. */
	write_map(&r, &self, &laptop, 2, false, NULL);
	hear_net(&r, &t);
	ck_assert(!t.device && !t.peer && !t.peer_gone);
	ck_assert_uint_ne(t.class4, first.class4);
	ck_assert(denies_soon(s, "100.64.0.2", "/"));
	snapshot_unref(s);
	s = next_snapshot(&r);
	ck_assert(!allows(s, "100.64.0.2", "/"));
	ck_assert_uint_eq(snapshot_ident(s, slot_of(s, "100.64.0.2"))->why, WHY_REVOKED);
	snapshot_unref(s);

	/* Back, and then with an IPv6 address that is not its own. */
	write_map(&r, &self, &laptop, 3, true, NULL);
	hear_net(&r, &t);
	ck_assert_uint_eq(t.class4, first.class4);
	s = next_snapshot(&r);
	ck_assert(allows(s, "100.64.0.2", "/"));
	snapshot_unref(s);
	write_map(&r, &self, &laptop, 4, true, other.v6);
	hear_net(&r, &t);
	ck_assert(t.gone && t.peer);
	s = next_snapshot(&r);
	ck_assert_uint_eq(slot_of(s, laptop.v6), SLOT_NONE);
	ck_assert_uint_eq(slot_of(s, other.v6), SLOT_NONE);
	ck_assert(allows(s, "100.64.0.2", "/"));
	snapshot_unref(s);

	end(&r);
	secret_done(&self.key);
	secret_done(&laptop.key);
	secret_done(&other.key);
}
END_TEST

START_TEST(mesh)
{
	struct device self, laptop;
	struct coordinator co = { 0 };
	struct snapshot *s;
	struct rig r;
	struct told t;
	char words[1024], line[512], answer[16384];
	char *text;

	make_device(&self);
	make_device(&laptop);
	start(&r);
	mesh_state(&r, &self);
	coordinator_start(&co, &r);
	ck_assert_msg(prepare(&r, conf_mesh, words), "%s", words);
	use(&r);
	neighbour(&r, PROCESS_FRONT, &r.front);
	neighbour(&r, PROCESS_NET, &r.net);
	hear_net(&r, &t);
	ck_assert(!t.device);                                   /* nothing was ever heard: no mesh */

	/* The whole map: in force, acknowledged, stored. */
	write_map(&r, &self, &laptop, 7, true, NULL);
	text = read_back(&r, "map.ndjson");
	say(&co, text);
	free(text);
	do
		hear_net(&r, &t);
	while (!t.device);
	ck_assert_msg(acked(&co, 7), "the map was not acknowledged");
	ck_assert_str_eq(co.node, "n1");
	do
		s = next_snapshot(&r);
	while (!allows(s, "100.64.0.2", "/") && (snapshot_unref(s), true));
	text = read_back(&r, "state/map.ndjson");
	ck_assert_ptr_nonnull(strstr(text, "laptop"));
	free(text);
	for (int i = 0; i < 2400 && !strstr(co.report, "\"wiki\""); i++)
		poll(NULL, 0, 25);
	ck_assert_ptr_nonnull(strstr(co.report, "\"wiki\""));

	/* A change that is none of the protocol's breaks the line and changes nothing; what was there
	 * is asked for from where it ended. */
	say(&co, "{\"op\":\"dance\",\"seq\":8}\n");
	for (int i = 0; i < 2400 && !strstr(co.asked, "have="); i++)
		poll(NULL, 0, 25);
	ck_assert_str_eq(co.asked, "/v1/map?have=00000000000000aa:7");
	ck_assert(allows(s, "100.64.0.2", "/"));

	/* Deleted: gone at once. */
	say(&co, "{\"op\":\"gone\",\"seq\":8,\"id\":\"n2\"}\n{\"op\":\"end\",\"seq\":8}\n");
	hear_net(&r, &t);
	ck_assert(t.gone && t.peer_gone);
	ck_assert(denies_soon(s, "100.64.0.2", "/"));
	ck_assert(acked(&co, 8));
	snapshot_unref(s);

	/* Back; then the coordinator goes, and core is started anew: the last map holds. */
	write_map(&r, &self, &laptop, 9, true, NULL);
	text = read_back(&r, "map.ndjson");
	say(&co, text);
	free(text);
	hear_net(&r, &t);
	ck_assert(acked(&co, 9));
	coordinator_stop(&co);
	again(&r);
	ck_assert_msg(prepare(&r, conf_mesh, words), "%s", words);
	use(&r);
	neighbour(&r, PROCESS_FRONT, &r.front);
	s = next_snapshot(&r);
	ck_assert(allows(s, "100.64.0.2", "/"));
	ck_assert(!snapshot_lease_ended(s, clock_boot()));
	ck_assert_int_eq(ask(&r, "GET /v1/whois?addr=100.64.0.2", answer, sizeof(answer)), 200);
	ck_assert_ptr_null(strstr(answer, "\"why\""));
	snapshot_unref(s);

	/* Once more, with a lease that has ended meanwhile: nobody is let in. */
	text = read_back(&r, "state/lease.json");
	ck_assert_ptr_nonnull(strstr(text, "\"lease\":86400"));
	memcpy(strstr(text, "\"lease\":86400") + 8, "00001", 5);
	snprintf(line, sizeof(line), "%.*s1}", (int)(strstr(text, "\"lease\":") + 8 - text), text);
	free(text);
	poll(NULL, 0, 1100);
	again(&r);
	put_file(&r, "state/lease.json", line);
	ck_assert_msg(prepare(&r, conf_mesh, words), "%s", words);
	use(&r);
	neighbour(&r, PROCESS_FRONT, &r.front);
	s = next_snapshot(&r);
	ck_assert(snapshot_lease_ended(s, clock_boot()));
	ck_assert(!allows(s, "100.64.0.2", "/"));
	ck_assert_int_eq(ask(&r, "GET /v1/whois?addr=100.64.0.2", answer, sizeof(answer)), 200);
	ck_assert_ptr_nonnull(strstr(answer, "\"why\":\"lease\""));
	snapshot_unref(s);
	end(&r);
	secret_done(&self.key);
	secret_done(&laptop.key);
}
END_TEST

UNIT_MAIN("core", standalone, audit_takes_whole_lines_only, map_file, mesh)
