/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/mesh/overlay.h"

#include "base/encode.h"
#include "base/mem.h"
#include "tests/unit/main.h"

#include <string.h>

static struct prefix pfx(const char *s)
{
	struct prefix p = { 0 };

	ck_assert_msg(prefix_parse(span_str(s), &p), "%s", s);
	return p;
}

static void unhex(const char *hex, uint8_t out[DEVICE_KEY_LEN])
{
	size_t n;

	ck_assert(hex_decode(span_str(hex), out, DEVICE_KEY_LEN, &n) && n == DEVICE_KEY_LEN);
}

START_TEST(keys_parse)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {
		{ "", false },
		{ "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", false }, /* all zero */
		{ "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", false },  /* 31 bytes */
		{ "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false },  /* 33 bytes */
		{ "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", false }, /* surplus bits */
		{ "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false },  /* no padding */
		{ " AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", false },
		{ "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", true },
	};
	struct device_key key;
	struct secret priv;
	char text[DEVICE_KEY_TEXT_MAX];
	struct err err;

	for (size_t i = 0; i < array_size(rows); i++) {
		struct span s = span_str(rows[i].text);

		ck_assert_msg(device_key_parse(s, &key, &err) == rows[i].ok, "%s", rows[i].text);
		ck_assert_msg(device_private_parse(s, &priv, &err) == rows[i].ok, "%s",
			      rows[i].text);
		if (!rows[i].ok) {
			ck_assert_int_eq(err.code, ERR_SYNTAX);
			continue;
		}
		ck_assert_str_eq(device_key_text(&key, text), rows[i].text);
		secret_done(&priv);
	}
}
END_TEST

/* RFC 7748 6.1. */
START_TEST(x25519)
{
	uint8_t raw[DEVICE_KEY_LEN], want[DEVICE_KEY_LEN];
	struct secret alice, bob, shared;
	struct device_key alice_pub, bob_pub;
	struct err err;

	unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", raw);
	secret_init(&alice, raw, sizeof(raw));
	unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", raw);
	secret_init(&bob, raw, sizeof(raw));
	ck_assert(device_private_public(&alice, &alice_pub, &err));
	ck_assert(device_private_public(&bob, &bob_pub, &err));
	unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", want);
	ck_assert_mem_eq(alice_pub.b, want, sizeof(want));
	unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", want);
	ck_assert_mem_eq(bob_pub.b, want, sizeof(want));
	ck_assert(!device_key_eq(&alice_pub, &bob_pub));

	unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742", want);
	ck_assert(device_private_shared(&alice, &bob_pub, &shared, &err));
	ck_assert(secret_equal(&shared, span_of(want, sizeof(want))));
	secret_done(&shared);
	ck_assert(device_private_shared(&bob, &alice_pub, &shared, &err));
	ck_assert(secret_equal(&shared, span_of(want, sizeof(want))));
	secret_done(&shared);
	secret_done(&bob);
	secret_done(&alice);
}
END_TEST

/* Public keys of small order give zero with every private key: 0, 1, and p. */
START_TEST(small_order)
{
	static const char *const keys[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	};
	struct secret priv, shared;
	struct device_key key;
	struct err err;

	ck_assert(device_private_new(&priv, &err));
	for (size_t i = 0; i < array_size(keys); i++) {
		unhex(keys[i], key.b);
		ck_assert_msg(!device_private_shared(&priv, &key, &shared, &err), "%s", keys[i]);
		ck_assert_int_eq(err.code, ERR_CRYPTO);
	}
	secret_done(&priv);
}
END_TEST

START_TEST(new_keys)
{
	struct secret a, b, again;
	struct device_key pa, pb;
	struct buf text;
	struct err err;

	ck_assert(device_private_new(&a, &err) && device_private_new(&b, &err));
	ck_assert(device_private_public(&a, &pa, &err) && device_private_public(&b, &pb, &err));
	ck_assert(!device_key_eq(&pa, &pb));
	/* RFC 7748 5: clamped, as wg(8) writes them. */
	ck_assert_uint_eq(a.ptr[0] & 7, 0);
	ck_assert_uint_eq(a.ptr[31] & 0xc0, 0x40);

	buf_init(&text, 100);
	device_private_text(&a, &text);
	ck_assert(device_private_parse(buf_span(&text), &again, &err));
	ck_assert(secret_equal(&again, secret_span(&a)));
	buf_wipe_done(&text);
	secret_done(&again);
	secret_done(&b);
	secret_done(&a);

	secret_init(&a, "short", 5);
	ck_assert(!device_private_public(&a, &pa, &err));
	ck_assert_int_eq(err.code, ERR_CRYPTO);
	secret_done(&a);
}
END_TEST

START_TEST(ranges)
{
	static const struct {
		const char *v6, *v4;
		bool ok;
	} rows[] = {
		{ "fd12:3456:7890::/48", "100.64.0.0/10", true },
		{ "fd12:3456:7890::/48", "10.77.0.0/16", true },
		{ "fd12:3456:7890::/47", "100.64.0.0/10", false },
		{ "fd12:3456:7890::/64", "100.64.0.0/10", false },
		{ "fc12:3456:7890::/48", "100.64.0.0/10", false },
		{ "2001:db8:1::/48", "100.64.0.0/10", false },
		{ "fe80::/48", "100.64.0.0/10", false },
		{ "fd12:3456:7890::/48", "0.0.0.0/0", false },
		{ "fd12:3456:7890::/48", "100.64.0.0/31", false },
		{ "fd12:3456:7890::/48", "127.1.0.0/16", false },
		{ "fd12:3456:7890::/48", "169.0.0.0/8", false },
		{ "fd12:3456:7890::/48", "224.0.0.0/8", false },
		{ "100.64.0.0/10", "100.64.0.0/10", false },
		{ "fd12:3456:7890::/48", "fd12:3456:7890::/48", false },
	};
	struct err err;

	for (size_t i = 0; i < array_size(rows); i++) {
		struct overlay o = { .v6 = pfx(rows[i].v6), .v4 = pfx(rows[i].v4) };

		ck_assert_msg(overlay_check(&o, &err) == rows[i].ok, "%s %s", rows[i].v6,
			      rows[i].v4);
	}
	ck_assert(!overlay_check(&(struct overlay){ 0 }, &err));
}
END_TEST

START_TEST(address_follows_from_key)
{
	struct overlay o = { .v6 = pfx("fd12:3456:7890::/48"), .v4 = pfx("100.64.0.0/10") };
	struct device_key key, other;
	struct ip ip, v4;
	char text[IP_TEXT_MAX];

	unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", key.b);
	ip = overlay_v6(&o, &key);
	ck_assert_str_eq(ip_text(&ip, text), "fd12:3456:7890:b9a7:68c7:39a5:6057:5239");
	ck_assert(overlay_v6_matches(&o, &ip, &key));
	ck_assert(overlay_has(&o, &ip));

	other = key;
	other.b[31] ^= 1;
	ck_assert(!overlay_v6_matches(&o, &ip, &other));
	for (size_t i = 0; i < 16; i++) {
		struct ip near = ip;

		near.b[i] ^= 1;
		ck_assert(!overlay_v6_matches(&o, &near, &key));
		ck_assert_int_eq(overlay_has(&o, &near), i >= 6);
	}
	ck_assert(ip_parse(SPAN("100.64.0.3"), &v4));
	ck_assert(!overlay_v6_matches(&o, &v4, &key));
	ck_assert(overlay_has(&o, &v4));
	ck_assert(ip_parse(SPAN("100.128.0.3"), &v4));
	ck_assert(!overlay_has(&o, &v4));
	ck_assert(!overlay_has(&o, &(struct ip){ 0 }));
}
END_TEST

UNIT_MAIN("overlay", keys_parse, x25519, small_order, new_keys, ranges, address_follows_from_key)
