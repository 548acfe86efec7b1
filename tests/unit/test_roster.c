/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/roster.h"
#include "daemon/directory/held.h"
#include "daemon/directory/reader.h"
#include "daemon/directory/sync.h"

#include "base/buf.h"
#include "base/mem.h"

#include "tests/unit/main.h"

#include <stdio.h>
#include <string.h>

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct roster *ros;

static void put(enum roster_kind kind, const char *dn, const char *name, const char *uid,
		const char *const *members, const char *const *uids, const char *const *of)
{
	const struct roster_entry e = { kind, span_str(dn), span_str(dn), span_str(name), span_str(uid), members, uids, of };
	struct err                err = { 0 };

	ck_assert(roster_put(ros, &e, &err));
}

static void person(const char *name)
{
	char dn[128];

	snprintf(dn, sizeof(dn), "uid=%s", name);
	put(ROSTER_PERSON, dn, name, name, NULL, NULL, NULL);
}

static void group(const char *name, const char *const *members)
{
	char dn[128];

	snprintf(dn, sizeof(dn), "cn=%s", name);
	put(ROSTER_GROUP, dn, name, "", members, NULL, NULL);
}

/* "login: group group\n" for everybody, "!" behind who is disabled; the caller frees. */
static char *whole(void)
{
	struct roster_list *l = roster_list(ros);
	struct buf          out;

	buf_init(&out, 1 << 16);
	for (size_t i = 0; i < l->count; i++) {
		buf_addf(&out, "%s%s:", l->people[i].login, l->people[i].disabled ? "!" : "");
		for (char *g = l->people[i].groups; *g; g++)
			if (*g == '\n')
				*g = ' ';
		buf_addf(&out, " %s\n", l->people[i].groups);
	}
	roster_list_free(l);
	return buf_take(&out);
}

static void want(const char *text)
{
	char *got = whole();

	ck_assert_str_eq(got, text);
	free(got);
}

START_TEST(test_nesting)
{
	ros = roster_new();
	want("");
	person("Ann");
	person("bob");
	person("eve");
	group("lab", LIST("uid=Ann", "uid=nobody", "cn=nothing"));
	group("physics", LIST("cn=lab", "uid=bob"));
	group("all", LIST("cn=physics"));
	want("ann: all lab physics\nbob: all physics\neve: \n");
	/* a circle, and a group that is its own member */
	group("lab", LIST("uid=Ann", "cn=all", "cn=lab"));
	want("ann: all lab physics\nbob: all lab physics\neve: \n");
	/* told from the other side, by people and by groups, and by memberUid */
	put(ROSTER_PERSON, "uid=eve", "eve", "eve", NULL, NULL, LIST("cn=lone", "cn=nothing"));
	put(ROSTER_GROUP, "cn=lone", "lone", "", NULL, LIST("bob", "nobody"), LIST("cn=outer"));
	group("outer", NULL);
	want("ann: all lab physics\nbob: all lab lone outer physics\neve: lone outer\n");
	/* gone, and another in its place */
	roster_remove(ros, ROSTER_GROUP, SPAN("cn=lab"));
	roster_remove(ros, ROSTER_GROUP, SPAN("cn=lab"));
	group("physics", LIST("uid=eve"));
	want("ann: \nbob: lone outer\neve: all lone outer physics\n");
	roster_remove_kind(ros, ROSTER_GROUP);
	want("ann: \nbob: \neve: \n");
	ck_assert_uint_eq(roster_count(ros, ROSTER_PERSON), 3);
	roster_free(ros);
}
END_TEST

START_TEST(test_limits)
{
	char name[32], child[32];

	/* Sixteen deep are followed; more are said. */
	ros = roster_new();
	person("ann");
	group("g0", LIST("uid=ann"));
	for (int i = 1; i < 30; i++) {
		snprintf(name, sizeof(name), "g%d", i);
		snprintf(child, sizeof(child), "cn=g%d", i - 1);
		group(name, LIST(child));
	}
	struct roster_list *l = roster_list(ros);
	size_t              lines = 1;
	for (const char *p = l->people[0].groups; *p; p++)
		lines += *p == '\n';
	ck_assert_uint_eq(lines, ROSTER_NEST_MAX);
	ck_assert_uint_eq(l->cut, 1);
	ck_assert_uint_eq(l->groups, 30);
	roster_list_free(l);
	roster_free(ros);
	/* nobody of ours is called that */
	ros = roster_new();
	put(ROSTER_PERSON, "uid=1", "", "", NULL, NULL, NULL);
	put(ROSTER_PERSON, "uid=2", "a\nb", "", NULL, NULL, NULL);
	put(ROSTER_PERSON, "uid=3", "a\xff", "", NULL, NULL, NULL);
	person("ann");
	put(ROSTER_GROUP, "cn=x", "a\nb", "", LIST("uid=ann"), NULL, NULL);
	put(ROSTER_GROUP, "cn=y", "y", "", LIST("cn=x"), NULL, NULL);
	want("ann: y\n");
	l = roster_list(ros);
	ck_assert_uint_eq(l->unnamed, 4);
	roster_list_free(l);
	roster_free(ros);
}
END_TEST

START_TEST(test_accounts)
{
	ros = roster_new();
	person("ann");
	person("bob");
	group("lab", LIST("uid=ann", "uid=bob", "uid=twin"));
	put(ROSTER_DISABLED, "uid=bob", "", "", NULL, NULL, NULL);
	put(ROSTER_DISABLED, "uid=nobody", "", "", NULL, NULL, NULL);
	want("ann: lab\nbob!: lab\n");
	/* one login in two entries: whose groups would it have? One of them disabled is enough. */
	put(ROSTER_PERSON, "uid=twin", "ANN", "twin", NULL, NULL, NULL);
	want("ann: \nbob!: lab\n");
	put(ROSTER_DISABLED, "uid=twin", "", "", NULL, NULL, NULL);
	want("ann!: \nbob!: lab\n");
	roster_remove(ros, ROSTER_PERSON, SPAN("uid=twin"));
	roster_remove(ros, ROSTER_DISABLED, SPAN("uid=bob"));
	want("ann: lab\nbob: lab\n");
	roster_free(ros);
}
END_TEST

/* ---- RFC 4533 ---- */

#define UUID "0123456789abcdef"
#define BER(lit) ((struct berval){ sizeof(lit) - 1, (char *)(uintptr_t)("" lit) })

static const struct {
	const char *what;
	struct berval value;
	bool ok, refreshed, remove;
	size_t uuids;
	size_t cookie;
	bool present;
} infos[] = {
	{ "nothing", { 0, NULL }, false, false, false, 0, 0, false },
	{ "another tag", BER("\x30\x00"), false, false, false, 0, 0, false },
	{ "new cookie", BER("\x80\x02xy"), true, false, false, 0, 2, false },
	{ "refreshDelete, done", BER("\xa1\x00"), true, true, false, 0, 0, false },
	{ "refreshPresent with a cookie, done", BER("\xa2\x04\x04\x02xy"), true, true, false, 0, 2, true },
	{ "refreshPresent, not done", BER("\xa2\x03\x01\x01\x00"), true, false, false, 0, 0, true },
	{ "a cookie, not done", BER("\xa2\x07\x04\x02xy\x01\x01\x00"), true, false, false, 0, 2, true },
	{ "cut off", BER("\xa2\x07\x04\x02xy\x01"), false, false, false, 0, 0, false },
	{ "present ids", BER("\xa3\x14\x31\x12\x04\x10" UUID), true, false, false, 1, 0, false },
	{ "deleted ids", BER("\xa3\x17\x01\x01\xff\x31\x12\x04\x10" UUID), true, false, true, 1, 0, false },
	{ "deleted ids with a cookie", BER("\xa3\x1b\x04\x02xy\x01\x01\xff\x31\x12\x04\x10" UUID), true, false, true, 1, 2, false },
	{ "an id of another size", BER("\xa3\x08\x01\x01\xff\x31\x03\x04\x01x"), false, false, false, 0, 0, false },
	{ "a length beyond the end", BER("\xa3\x17\x01\x01\xff\x31\x7f\x04\x10" UUID), false, false, false, 0, 0, false },
};

START_TEST(test_sync)
{
	for (size_t i = 0; i < array_size(infos); i++) {
		struct sync_info info = { 0 };
		size_t           n = 0;

		ck_assert_msg(sync_info_read(&infos[i].value, &info) == infos[i].ok, "%s", infos[i].what);
		while (info.uuids && info.uuids[n].bv_val)
			n++;
		if (infos[i].ok)
			ck_assert_msg(info.refreshed == infos[i].refreshed && info.remove == infos[i].remove &&
				      n == infos[i].uuids && info.cookie.len == infos[i].cookie &&
				      info.present == infos[i].present, "%s", infos[i].what);
		ber_bvarray_free(info.uuids);
	}
	LDAPControl       control = { (char *)LDAP_CONTROL_SYNC_STATE, BER("\x30\x15\x0a\x01\x03\x04\x10" UUID), 0 };
	LDAPControl      *const list[] = { &control, NULL };
	struct sync_state s;

	ck_assert(!sync_state_read(NULL, &s));
	ck_assert(sync_state_read(list, &s) && s.state == LDAP_SYNC_DELETE && memcmp(s.uuid, UUID, 16) == 0);
	control.ldctl_value = BER("\x30\x15\x0a\x01\x04\x04\x10" UUID);         /* a state that is none */
	ck_assert(!sync_state_read(list, &s));
	control.ldctl_value = BER("\x30\x06\x0a\x01\x01\x04\x01x");             /* an id of another size */
	ck_assert(!sync_state_read(list, &s));
	control.ldctl_value = BER("\x30\x19\x0a\x01\x01\x04\x10" UUID "\x04\x02xy");
	ck_assert(sync_state_read(list, &s) && s.state == LDAP_SYNC_ADD && s.cookie.len == 2 && memcmp(s.cookie.bytes, "xy", 2) == 0);
	control.ldctl_value = BER("\x30\x19\x0a\x01\x01\x04\x10" UUID "\x04\x05xy");       /* a cookie beyond the end */
	ck_assert(!sync_state_read(list, &s) || s.cookie.len == 0);
	struct berval *request = sync_request(SPAN("xy"));
	ck_assert(request && request->bv_len == 9 && memcmp(request->bv_val, "\x30\x07\x0a\x01\x03\x04\x02xy", 9) == 0);
	ber_bvfree(request);
	request = sync_request(SPAN(""));
	ck_assert(request && request->bv_len == 5 && memcmp(request->bv_val, "\x30\x03\x0a\x01\x03", 5) == 0);
	ber_bvfree(request);
}
END_TEST

/* ---- over a restart ---- */

static struct reader_row row = { .url = "ldaps://a", .ca = "", .bind_dn = "", .people = "ou=p", .people_filter = "(a=b)",
	.login_attribute = "mail", .login_suffix = "", .disabled_filter = "", .groups = "ou=g", .groups_filter = "(a=c)",
	.group_attribute = "cn" };

static const struct sync_cookie cookie_xy = { 2, "xy" };

/* What is kept: entries with all that they had, changes behind them, and nothing of another configuration. */
START_TEST(test_kept)
{
	struct held h, other;
	struct buf  mark, all = { 0 }, later = { 0 };
	struct err  err = { 0 };

	held_init(&h, 2);
	held_begin(&h);
	ck_assert(h.whole && !h.good);
	ros = h.roster;
	put(ROSTER_PERSON, "uid=ann", "ann", "ann", NULL, NULL, (const char *[]){ "cn=staff", NULL });
	put(ROSTER_PERSON, "uid=bob", "bob", "bob", NULL, NULL, NULL);
	put(ROSTER_GROUP, "cn=lab", "lab", "", (const char *[]){ "uid=bob", "cn=staff", NULL }, NULL, NULL);
	put(ROSTER_GROUP, "cn=staff", "staff", "", NULL, (const char *[]){ "bob", NULL }, NULL);
	want("ann: lab staff\nbob: lab staff\n");
	ck_assert(!held_complete(&h));
	held_cookie(&h, 0, &cookie_xy);
	ck_assert(!held_complete(&h));
	held_cookie(&h, 1, &cookie_xy);
	ck_assert(held_complete(&h));
	roster_journal_take(h.roster, &all);
	buf_init(&mark, HELD_MARK_MAX);
	held_mark(&h, &row, &mark);

	/* Who is not named between begin and sweep is gone; who is named may come after. */
	roster_seen_begin(h.roster, ROSTER_PERSON);
	ck_assert(roster_seen(h.roster, ROSTER_PERSON, SPAN("uid=cat"), &err));
	ck_assert(roster_seen(h.roster, ROSTER_PERSON, SPAN("uid=eve"), &err));
	ck_assert(roster_seen(h.roster, ROSTER_PERSON, SPAN("uid=bob"), &err));
	roster_sweep(h.roster, ROSTER_PERSON);
	ck_assert_uint_eq(roster_missing(h.roster, ROSTER_PERSON), 2);
	put(ROSTER_PERSON, "uid=cat", "cat", "cat", NULL, NULL, NULL);
	ck_assert_uint_eq(roster_missing(h.roster, ROSTER_PERSON), 1);
	roster_remove(h.roster, ROSTER_PERSON, SPAN("uid=eve"));
	ck_assert_uint_eq(roster_missing(h.roster, ROSTER_PERSON), 0);
	want("bob: lab staff\ncat: \n");
	roster_journal_take(h.roster, &later);

	held_init(&other, 2);
	ck_assert(held_load(&other, &row, buf_span(&mark), buf_span(&all), &err));
	ck_assert(other.good && !other.whole && other.cookies[1].len == 2);
	ros = other.roster;
	want("ann: lab staff\nbob: lab staff\n");
	buf_add_span(&all, buf_span(&later));
	ck_assert(held_load(&other, &row, buf_span(&mark), buf_span(&all), &err));
	ros = other.roster;
	want("bob: lab staff\ncat: \n");

	/* Cut off anywhere but between records, it is nothing at all. */
	size_t whole = 0;
	for (size_t n = 1; n < all.len; n++) {
		bool ok = held_load(&other, &row, buf_span(&mark), span_head(buf_span(&all), n), &err);

		ck_assert(ok == other.good && ok != other.whole);
		ck_assert(ok || roster_count(other.roster, ROSTER_PERSON) + roster_count(other.roster, ROSTER_GROUP) == 0);
		whole += ok;
	}
	ck_assert_uint_eq(whole, 5);
	for (size_t n = 0; n < mark.len; n++)
		ck_assert(!held_load(&other, &row, span_head(buf_span(&mark), n), buf_span(&all), &err));
	char **const texts[] = { &row.url, &row.ca, &row.bind_dn, &row.people, &row.people_filter, &row.login_attribute,
		                 &row.login_suffix, &row.disabled_filter, &row.groups, &row.groups_filter, &row.group_attribute };
	for (size_t i = 0; i < array_size(texts); i++) {
		char *was = *texts[i];

		err.code = ERR_NONE;
		*texts[i] = (char *)(uintptr_t)"another";
		ck_assert(!held_load(&other, &row, buf_span(&mark), buf_span(&all), &err) && !other.good && err.code == ERR_NONE);
		*texts[i] = was;
	}
	ck_assert(held_load(&other, &row, buf_span(&mark), buf_span(&all), &err));
	buf_done(&mark);
	buf_done(&all);
	buf_done(&later);
	held_done(&h);
	held_done(&other);
}
END_TEST

static struct reader_kept kept(bool whole, const char *entries, const char *mark)
{
	struct reader_kept k = { .whole = whole };

	buf_init(&k.entries, 8);
	buf_add_str(&k.entries, entries);
	buf_init(&k.mark, 8);
	buf_add_str(&k.mark, mark);
	return k;
}

/* Changes come behind each other; what became too much, or has no mark, is nothing until all is read. */
START_TEST(test_join)
{
	struct reader_kept k = { 0 }, b;

	ck_assert(reader_kept_none(&k));
	reader_kept_join(&k, &(struct reader_kept){ 0 });
	ck_assert(reader_kept_none(&k));
	b = kept(false, "ab", "1");
	reader_kept_join(&k, &b);
	b = kept(false, "cd", "2");
	reader_kept_join(&k, &b);
	ck_assert(!k.whole && span_eq(buf_span(&k.entries), SPAN("abcd")) && span_eq(buf_span(&k.mark), SPAN("2")));
	b = kept(true, "all", "3");
	reader_kept_join(&k, &b);
	ck_assert(k.whole && span_eq(buf_span(&k.entries), SPAN("all")));
	b = kept(false, "more than 8", "4");
	reader_kept_join(&k, &b);
	ck_assert(k.whole && !k.mark.len && !k.entries.len);
	b = kept(false, "x", "5");
	reader_kept_join(&k, &b);
	ck_assert(k.whole && !k.mark.len && !k.entries.len);
	b = kept(true, "y", "6");
	reader_kept_join(&k, &b);
	ck_assert(k.whole && k.mark.len == 1);
	b = kept(false, "z", "");
	reader_kept_join(&k, &b);
	ck_assert(k.whole && !k.mark.len);
	reader_kept_done(&k);
}
END_TEST

UNIT_MAIN("roster", test_kept, test_join, test_nesting, test_limits, test_accounts, test_sync)
