/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A snapshot is what was put in; a damaged one is refused, or at least never
 * leads outside; revocation words count at once. */
#include "base/mem.h"
#include "daemon/proxy/forward.h"
#include "daemon/proxy/snapshot.h"
#include "tests/unit/main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct ip ip(const char *s)
{
	struct ip a;

	ck_assert_msg(ip_parse(span_str(s), &a), "%s", s);
	return a;
}

static struct prefix prefix(const char *s)
{
	struct prefix p;

	ck_assert_msg(prefix_parse(span_str(s), &p), "%s", s);
	return p;
}

static struct buf build(void)
{
	static const struct span listens[] = { { "80", 2 }, { "127.0.0.1:8080", 14 } };
	static const struct span hosts_a[] = { { "Wiki.Example", 12 }, { "fd00::1", 7 } }, hosts_b[] = { { "lab", 3 } };
	static const struct upstream_desc up[] = { { .kind = UPSTREAM_TCP, .name = { "http://127.0.0.1:1", 18 } } };
	static const struct span groups[] = { { "lab", 3 }, { "it", 2 } }, profile[] = { { "remote-user", 11 } };
	struct ident person = { .kind = IDENT_PERSON, .generation = 7, .login = SPAN("staff@example.edu"),
		                .groups = groups, .group_count = 2, .expires_boot = { 1000 } };
	struct ident nobody = { .kind = IDENT_NONE }, tagged = { .kind = IDENT_TAGGED, .generation = 9,
		                                                     .expires_boot = BOOT_NEVER };
	struct service_desc a = { .name = SPAN("wiki"), .listens = listens, .listen_count = 2, .hosts = hosts_a,
		                  .host_count = 2, .upstreams = up, .upstream_count = 1, .profiles = profile,
		                  .profile_count = 1 },
	                    b2 = { .name = SPAN("lab"), .listens = listens, .listen_count = 1, .hosts = hosts_b,
		                   .host_count = 1 };
	struct snapshot_builder *b = snapshot_builder_new();
	struct buf out;
	struct err err;
	uint32_t slot, index;
	struct ip a4 = ip("10.0.0.1"), a6 = ip("fd00::5"), twice = ip("10.0.0.9");
	struct prefix p8 = prefix("10.0.0.0/8"), p24 = prefix("10.0.1.0/24"), p6 = prefix("fd00::/16");

	ck_assert(snapshot_add_ident(b, &nobody, &slot, &err) && slot == 0);
	ck_assert(snapshot_add_ident(b, &person, &slot, &err) && slot == 1);
	ck_assert(snapshot_add_ident(b, &tagged, &slot, &err) && slot == 2);
	person.generation = 0;
	ck_assert(!snapshot_add_ident(b, &person, &slot, &err));
	person.generation = 7;
	person.name = SPAN("a\nb");
	ck_assert(!snapshot_add_ident(b, &person, &slot, &err));
	ck_assert(snapshot_add_addr(b, &a4, 1, &err) && snapshot_add_addr(b, &a6, 1, &err));
	ck_assert(!snapshot_add_addr(b, &a4, 17, &err));
	ck_assert(snapshot_add_addr(b, &twice, 1, &err));
	ck_assert(!snapshot_add_addr(b, &twice, 2, &err) && err.code == ERR_EXISTS);
	ck_assert(snapshot_add_prefix(b, &p8, 2, &err) && snapshot_add_prefix(b, &p24, 1, &err) &&
	          snapshot_add_prefix(b, &p6, 2, &err));
	ck_assert(snapshot_add_service(b, &a, &index, &err) && index == 0);
	ck_assert(snapshot_add_service(b, &b2, &index, &err) && index == 1);
	snapshot_set_lease(b, (struct boot){ 5000 }, (struct boot){ 10 });
	snapshot_set_seq(b, 3, 4);
	ck_assert_msg(snapshot_finish(b, &out, &err), "%s", err.msg);
	return out;
}

static uint32_t find(const struct snapshot *s, const char *addr)
{
	struct ip a = ip(addr);

	return snapshot_find_addr(s, &a);
}

START_TEST(lookups)
{
	struct buf block = build();
	uint32_t words[3] = { 0, 7, 9 };
	struct err err;
	struct snapshot *s;
	const struct snap_listen *l;

	ck_assert(!snapshot_open_mem(block.ptr, block.len, words, 2, &err));   /* a word is missing */
	ck_assert(!snapshot_open_mem(block.ptr, block.len - 64, words, 3, &err));
	s = snapshot_open_mem(block.ptr, block.len, words, 3, &err);
	ck_assert_msg(s != NULL, "%s", err.msg);
	ck_assert_uint_eq(find(s, "10.0.0.1"), 1);
	ck_assert_uint_eq(find(s, "::ffff:10.0.0.1"), 1);
	ck_assert_uint_eq(find(s, "fd00::5"), 1);
	ck_assert_uint_eq(find(s, "10.0.0.9"), SLOT_NONE);      /* two claim it */
	ck_assert_uint_eq(find(s, "10.0.1.77"), 1);             /* the longer prefix */
	ck_assert_uint_eq(find(s, "10.0.2.77"), 2);
	ck_assert_uint_eq(find(s, "11.0.0.1"), SLOT_NONE);
	ck_assert_uint_eq(find(s, "fd00::77"), 2);
	ck_assert_uint_eq(find(s, "fe00::77"), SLOT_NONE);

	l = snapshot_find_listen(s, SPAN("80"));
	ck_assert(l && l->services.count == 2);
	ck_assert_uint_eq(snapshot_find_host(s, l, SPAN("wiki.example")), 0);
	ck_assert_uint_eq(snapshot_find_host(s, l, SPAN("fd00::1")), 0);
	ck_assert_uint_eq(snapshot_find_host(s, l, SPAN("lab")), 1);
	ck_assert_uint_eq(snapshot_find_host(s, l, SPAN("evil")), SERVICE_UNKNOWN);
	l = snapshot_find_listen(s, SPAN("127.0.0.1:8080"));
	ck_assert_uint_eq(snapshot_find_host(s, l, SPAN("lab")), SERVICE_UNKNOWN);
	ck_assert(!snapshot_find_listen(s, SPAN("81")));
	ck_assert_uint_eq(snapshot_find_service(s, SPAN("lab")), 1);
	ck_assert(snapshot_strips(s, SPAN("remoteuser")) && !snapshot_strips(s, SPAN("accept")));
	ck_assert(!snapshot_ident(s, 3) && !snapshot_service(s, 2));
	ck_assert(snapshot_policy(s) == NULL);

	/* validity: at the second itself it is over */
	ck_assert(!snapshot_valid(s, 0, (struct boot){ 1 }));
	ck_assert(snapshot_valid(s, 1, (struct boot){ 999 }));
	ck_assert(!snapshot_valid(s, 1, (struct boot){ 1000 }));
	ck_assert(snapshot_valid(s, 2, (struct boot){ 4999 }));
	ck_assert(!snapshot_valid(s, 2, (struct boot){ 5000 }));
	words[1] = 0;
	ck_assert(!snapshot_valid(s, 1, (struct boot){ 1 }) && snapshot_revoked(s, 1));
	words[1] = 8;
	ck_assert(!snapshot_valid(s, 1, (struct boot){ 1 }));
	words[1] = 7;
	ck_assert(snapshot_valid(s, 1, (struct boot){ 1 }));
	ck_assert(!snapshot_valid(s, SLOT_NONE, (struct boot){ 1 }));
	snapshot_unref(s);
	buf_done(&block);
}
END_TEST

START_TEST(sealed)
{
	struct buf block = build();
	uint32_t gens[3] = { 0, 7, 9 }, *map;
	struct err err;
	int fd = snapshot_seal(buf_span(&block), &err), words = snapshot_words_new(gens, 3, &map, &err), plain;
	struct snapshot *s;

	ck_assert(fd >= 0 && words >= 0);
	ck_assert(pwrite(fd, "x", 1, 0) < 0 && ftruncate(fd, 0) < 0 && ftruncate(words, 0) < 0);
	ck_assert(pwrite(words, "x", 1, 0) < 0);
	ck_assert(mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, words, 0) == MAP_FAILED);
	plain = memfd_create("plain", 0);
	ck_assert(write(plain, block.ptr, block.len) == (ssize_t)block.len);
	ck_assert(!snapshot_open(plain, words, &err));          /* not sealed */
	ck_assert(!snapshot_open(fd, plain, &err));
	ck_assert(!snapshot_open(fd, -1, &err));                /* identities without words */
	s = snapshot_open(fd, words, &err);
	ck_assert_msg(s != NULL, "%s", err.msg);
	close(fd);
	close(words);
	close(plain);
	ck_assert(snapshot_valid(s, 1, (struct boot){ 1 }));
	__atomic_store_n(&map[1], 0, __ATOMIC_RELEASE);
	ck_assert(!snapshot_valid(s, 1, (struct boot){ 1 }));
	snapshot_unref(s);
	munmap(map, sizeof(gens));
	buf_done(&block);
}
END_TEST

/* Everything that a reader may do with a block that opened. */
static void use(const struct snapshot *s)
{
	static const char *const addrs[] = { "10.0.0.1", "fd00::5", "10.0.1.1", "1.2.3.4" };
	struct snapshot_words w;

	for (size_t i = 0; i < array_size(addrs); i++)
		find(s, addrs[i]);
	snapshot_words(s, &w);
	snapshot_strips(s, SPAN("remoteuser"));
	for (uint32_t i = 0; i < snapshot_ident_count(s); i++) {
		const struct snap_ident *d = snapshot_ident(s, i);

		snapshot_valid(s, i, (struct boot){ 1 });
		for (uint32_t k = 0; k < d->groups.count; k++)
			ck_assert(snapshot_item(s, d->groups, k).ptr != NULL);
		ck_assert(snapshot_text(s, d->login).ptr != NULL);
	}
	for (uint32_t i = 0; i < snapshot_service_count(s); i++) {
		const struct snap_service *v = snapshot_service(s, i);

		for (uint32_t k = 0; k < v->headers.count; k++) {
			const struct snap_header *h = snapshot_header(s, v->headers, k);

			for (uint32_t q = 0; q < h->pieces.count; q++)
				snapshot_text(s, snapshot_piece(s, h->pieces, q)->literal);
		}
		for (uint32_t k = 0; k < v->upstreams.count; k++)
			snapshot_text(s, snapshot_upstream(s, v->upstreams, k)->name);
	}
	const struct snap_listen *l = snapshot_find_listen(s, SPAN("80"));

	if (l)
		snapshot_find_host(s, l, SPAN("lab"));
}

START_TEST(damage)
{
	struct buf block = build();
	uint32_t words[3] = { 0, 7, 9 };
	unsigned refused = 0, opened = 0;

	/* every byte, wrong in several ways; under a sanitizer a step outside would show */
	for (size_t i = 0; i < block.len; i++) {
		static const unsigned char flips[] = { 0x01, 0x80, 0xff };

		for (size_t k = 0; k < array_size(flips); k++) {
			char *copy = mem_dup(block.ptr, block.len);
			struct snapshot *s;

			copy[i] = (char)(copy[i] ^ flips[k]);
			s = snapshot_open_mem(copy, block.len, words, 3, NULL);
			if (s) {
				opened++;
				use(s);
				snapshot_unref(s);
			} else {
				refused++;
			}
			free(copy);
		}
	}
	printf("damage: %u refused, %u harmless\n", refused, opened);
	ck_assert_uint_gt(refused, 1000);
	buf_done(&block);
}
END_TEST

START_TEST(contradictions)
{
	static const struct span listens[] = { { "80", 2 } }, hosts[] = { { "same", 4 } }, bad[] = { { "a b", 3 } };
	static const struct span profile[] = { { "no-such", 7 } };
	static const struct custom_header hosthdr[] = { { { "Host", 4 }, { "x", 1 }, 0 } },
	                                  open[] = { { { "X-A", 3 }, { "{login", 6 }, 0 } },
	                                  field[] = { { { "X-A", 3 }, { "{passwd}", 8 }, 0 } };
	struct service_desc s = { .name = SPAN("a"), .listens = listens, .listen_count = 1, .hosts = hosts,
		                  .host_count = 1 };
	struct snapshot_builder *b = snapshot_builder_new();
	struct buf out = { 0 };
	struct err err;
	uint32_t i;

	ck_assert(snapshot_add_service(b, &s, &i, &err));
	s.name = SPAN("b");
	ck_assert(snapshot_add_service(b, &s, &i, &err));
	ck_assert(!snapshot_finish(b, &out, &err) && err.code == ERR_CONFIG);  /* two services, one host */
	b = snapshot_builder_new();
	s.hosts = bad;
	ck_assert(!snapshot_add_service(b, &s, &i, &err));
	s.hosts = hosts;
	s.profiles = profile;
	s.profile_count = 1;
	ck_assert(!snapshot_add_service(b, &s, &i, &err));
	s.profile_count = 0;
	s.custom_count = 1;
	s.custom = hosthdr;
	ck_assert(!snapshot_add_service(b, &s, &i, &err));
	s.custom = open;
	ck_assert(!snapshot_add_service(b, &s, &i, &err));
	s.custom = field;
	ck_assert(!snapshot_add_service(b, &s, &i, &err));
	s.custom_count = 0;
	ck_assert(snapshot_add_service(b, &s, &i, &err));
	s.forward = FORWARD_NGINX;      /* the listener is a front's already: a request there is no question */
	ck_assert(snapshot_add_service(b, &s, &i, &err) == false && err.code == ERR_CONFIG);
	snapshot_builder_free(b);
}
END_TEST

/* Who may ask at a listener, and by what. */
START_TEST(forward)
{
	static const struct span listens[] = { { "unix:a", 6 } };
	static const uint32_t uids[] = { 33, 0xfffffffe };
	unsigned char digest[FORWARD_DIGEST_LEN];
	struct service_desc s = { .name = SPAN("a"), .listens = listens, .listen_count = 1, .forward = FORWARD_NGINX,
		                  .forward_uids = uids, .forward_uid_count = 2, .forward_port = 8080 };
	struct snapshot_builder *b = snapshot_builder_new();
	const struct snap_listen *l;
	struct snapshot *snap;
	struct buf out = { 0 };
	struct err err = { 0 };
	uint32_t i;

	forward_digest(SPAN("0123456789abcdef0123456789abcdef"), digest);
	s.forward_secret = span_of(digest, sizeof(digest));
	ck_assert(snapshot_add_service(b, &s, &i, &err));
	ck_assert_msg(snapshot_finish(b, &out, &err), "%s", err.msg);
	snap = snapshot_open_mem(out.ptr, out.len, NULL, 0, &err);
	ck_assert_msg(snap != NULL, "%s", err.msg);
	l = snapshot_find_listen(snap, SPAN("unix:a"));
	ck_assert(l && l->forward == FORWARD_NGINX && l->uids.count == 2);
	ck_assert_uint_eq(snapshot_number(snap, l->uids, 0), 33);
	ck_assert_uint_eq(snapshot_number(snap, l->uids, 1), 0xfffffffe);
	ck_assert(span_eq(snapshot_text(snap, l->secret), span_of(digest, sizeof(digest))));
	ck_assert_uint_eq(snapshot_service(snap, 0)->forward_port, 8080);
	snapshot_unref(snap);

	/* a style that nobody knows is no snapshot: its listener would be taken for a front's */
	((struct snap_listen *)(void *)((char *)(uintptr_t)l))->forward = FORWARD_STYLES;
	ck_assert(!snapshot_open_mem(out.ptr, out.len, NULL, 0, &err));
	buf_done(&out);
}
END_TEST

UNIT_MAIN("snapshot", contradictions, forward, lookups, sealed, damage)
