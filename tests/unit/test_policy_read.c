/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The reader: every fault with its place, all of them in one run. */
#include "tests/unit/main.h"

#include "base/mem.h"
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

#define HEAD "{\"groups\": {\"group:labs\": [\"staff@example.edu\"]}, \"hosts\": {\"h\": \"10.0.0.1\", \"net\": \"10.0.0.0/8\"}, " \
	"\"tagOwners\": {\"tag:web\": []}, "

static const struct { const char *text, *want; } faults[] = {
	/* text of the policy, what its first fault says */
	{ "", "" },
	{ "[]", "1:1: error: a policy is an object" },
	{ "{\"acl\": []}", "1:2: error: unknown key \"acl\" in a policy; did you mean \"acls\"?" },
	{ "{\"acls\": [], \"ACLs\": []}", "\"acls\" is the same key" },
	{ "{\"acls\": {}}", "\"acls\": want an array" },
	{ "{\n  \"grants\": [\n    {\"src\": [\"group:lab\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "3:14: error: unknown group \"group:lab\"" },
	{ HEAD "\"grants\": [{\"src\": [\"group:lab\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "did you mean \"group:labs\"?" },
	{ HEAD "\"grants\": [{\"src\": [\"tag:wep\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "unknown tag \"tag:wep\"; did you mean \"tag:web\"?" },
	{ HEAD "\"grants\": [{\"src\": [\"x\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "unknown host \"x\"" },
	{ HEAD "\"grants\": [{\"src\": [\"autogroup:membre\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "did you mean \"autogroup:member\"?" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"]}]}", "ip and app can not both be empty" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\", \"h\"]}]}", "ip and app can not both be empty" },
	{ HEAD "\"grants\": [{\"src\": [\"autogroup:self\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "not valid on the src side" },
	{ HEAD "\"grants\": [{\"src\": [\"autogroup:internet\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "autogroup:internet can only be a dst" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"autogroup:danger-all\"], \"ip\": [\"*\"]}]}", "cannot use autogroup:danger-all as a dst" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"autogroup:self\"], \"ip\": [\"*\"]}]}", "autogroup:self can only be used with users" },
	{ HEAD "\"acls\": [{\"action\": \"accept\", \"src\": [\"tag:web\"], \"dst\": [\"autogroup:self:1\"]}]}", "autogroup:self can only be used with users" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"0.0.0.0/0\"], \"ip\": [\"*\"]}]}", "to allow all IP addresses" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"0\"]}]}", "ports begin at 1" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"icmp\"]}]}", "is not a port number" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"90-80\"]}]}", "the first port is greater" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"65536\"]}]}", "beyond 65535" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"tcp:1:2\"]}]}", "want \"PORTS\" or \"PROTO:PORTS\"" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"*:80\"]}]}", "\"*\" is no protocol" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"06:80\"]}]}", "no leading 0" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"ip\": [\"*\"], \"via\": [\"h\"]}]}", "via can only be a tag" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"app\": {\"tailscale.com/cap/x\": []}}]}", "must not be in the tailscale.com domain" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"h\"], \"app\": {\"https://x/y\": []}}]}", "without a scheme" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"http\": []}]}", "\"http\" is empty" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"http\": [{\"paths\": [\"a\"]}]}]}", "a path begins with" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"http\": [{\"paths\": [\"/a/../b\"]}]}]}", "never in a normalised path" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"http\": [{\"methods\": [\"get\"]}]}]}", "capitals" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"http\": [{\"methods\": []}]}]}", "would allow no request" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"auth\": {\"maxAge\": \"4 hours\"}}]}", "is no duration" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"auth\": {\"maxage\": 0}}]}", "want a duration" },
	{ HEAD "\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"at\": [1, 1, 0]}]}", "unknown key \"at\"" },
	{ HEAD "\"acls\": [{\"action\": \"drop\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}]}", "only \"accept\" exists" },
	{ HEAD "\"acls\": [{\"src\": [\"*\"], \"dst\": [\"*:*\"]}]}", "an acl needs \"action\"" },
	{ HEAD "\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"h\"]}]}", "ends in \":PORT\"" },
	{ HEAD "\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"h:22\"], \"proto\": \"icmp\"}]}", "has no ports" },
	{ "{\"groups\": {\"labs\": []}}", "a group's name begins with" },
	{ "{\"groups\": {\"group:a\": [\"group:b\"], \"group:b\": []}}", "a group cannot hold a group" },
	{ "{\"groups\": {\"group:a\": [\"staff\"]}}", "it has no \"@\"" },
	{ "{\"hosts\": {\"a\": \"x\"}}", "is no address or prefix" },
	{ "{\"hosts\": {\"10.0.0.1\": \"10.0.0.2\"}}", "is an address" },
	{ "{\"ipsets\": {\"ipset:a\": [\"ipset:b\"], \"ipset:b\": [\"ipset:a\"]}}", "contains itself" },
	{ "{\"tagOwners\": {\"tag:1\": []}}", "begins with a letter" },
	{ "{\"tagOwners\": {\"tag:a\": [\"tag:b\"]}}", "unknown tag \"tag:b\"" },
	{ "{\"autoApprovers\": {\"routes\": {\"10.0.0.0\": []}}}", "is no prefix" },
	{ "{\"postures\": {\"posture:a\": [\"os == 'linux'\"]}}", "NAMESPACE:NAME" },
	{ HEAD "\"tests\": [{\"src\": \"staff@example.edu\"}]}", "at least one of \"accept\" and \"deny\"" },
	{ HEAD "\"tests\": [{\"src\": \"staff@example.edu\", \"accept\": [\"h:1-2\"]}]}", "one single port" },
	{ HEAD "\"tests\": [{\"src\": \"staff@example.edu\", \"accept\": [\"net:1\"]}]}", "stands for more" },
	{ HEAD "\"tests\": [{\"src\": \"staff@example.edu\", \"accept\": [\"h:1\"], \"proto\": \"icmp\"}]}", "tcp, udp, sctp, or left out" },
	{ HEAD "\"ssh\": [{\"src\": [\"group:labs\"], \"dst\": [\"tag:web\"], \"users\": [\"root\"]}]}", "needs an action" },
	{ HEAD "\"ssh\": [{\"action\": \"accept\", \"src\": [\"group:labs\"], \"dst\": [\"*\"], \"users\": [\"root\"]}]}", "cannot be an ssh destination" },
	{ HEAD "\"ssh\": [{\"action\": \"accept\", \"src\": [\"tag:web\"], \"dst\": [\"staff@example.edu\"], \"users\": [\"root\"]}]}", "cannot reach devices of users" },
	{ HEAD "\"ssh\": [{\"action\": \"accept\", \"src\": [\"group:labs\"], \"dst\": [\"tag:web\"], \"users\": [\"root\"], \"checkPeriod\": \"1h\"}]}", "only valid with action \"check\"" },
	{ HEAD "\"ssh\": [{\"action\": \"check\", \"src\": [\"group:labs\"], \"dst\": [\"tag:web\"], \"users\": [\"root\"], \"checkPeriod\": \"169h\"}]}", "above 168h" },
};

static struct policy *read_text(const char *text, enum policy_mode mode, struct buf *ret_faults)
{
	struct diags d;
	struct policy *pol;

	diags_init(&d, "f");
	pol = policy_parse(span_str(text), mode, &d);
	buf_init(ret_faults, 1 << 20);
	diags_text(&d, ret_faults);
	ck_assert_msg(!pol == (d.errors > 0), "a policy exactly when there is no error");
	diags_done(&d);
	return pol;
}

START_TEST(test_faults)
{
	for (size_t i = 0; i < array_size(faults); i++) {
		struct buf b;
		struct policy *pol = read_text(faults[i].text, POLICY_FILE, &b);

		ck_assert_msg(!pol, "%s", faults[i].text);
		ck_assert_msg(b.ptr && strstr(b.ptr, faults[i].want), "%s\nwant: %s\n got: %s", faults[i].text, faults[i].want, b.ptr);
		buf_done(&b);
	}
}
END_TEST

START_TEST(test_all_in_one_run)
{
	struct buf b;
	struct policy *pol = read_text("{\n \"groups\": {\"x\": []},\n \"hosts\": {\"h\": \"y\"},\n \"grants\": [{\"src\": [\"group:z\"], "
	                               "\"dst\": [\"tag:q\"], \"ip\": [\"0\"]}],\n \"whatever\": 1\n}", POLICY_FILE, &b);
	static const char *const want[] = { "f:2:13: error", "f:3:17: error", "f:4:22: error", "f:4:42: error", "f:4:59: error", "f:5:2: error" };

	ck_assert(!pol);
	for (size_t i = 0; i < array_size(want); i++)
		ck_assert_msg(strstr(b.ptr, want[i]), "%s not in\n%s", want[i], b.ptr);
	buf_done(&b);
}
END_TEST

START_TEST(test_loads)
{
	/* What a tailnet file may say, and what only warns. */
	static const struct { const char *text; const char *warns; } good[] = {
		{ "{}", NULL },
		{ "{ // comments\n \"acls\": [ /* and */ ], }", NULL },
		{ "{\"derpMap\": {}, \"randomizeClientPort\": true}", "means nothing here" },
		{ "{\"ACLs\": [{\"Action\": \"accept\", \"Users\": [\"*\"], \"Ports\": [\"*:*\"]}]}", NULL },
		{ "{\"acls\": [{\"#ha-meta\": {}, \"action\": \"accept\", \"src\": [\" * \"], \"dst\": [\"[fd00::1]:80\", \"[fd00::]/64:*\"]}]}", NULL },
		{ "{\"grants\": [{\"src\": [\"10.0.0.1/8\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "bits beyond its mask" },
		{ "{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"icmp:22\"]}]}", "has no ports" },
		{ "{\"tagOwners\": {\"tag:a\": [\"tag:b\"], \"tag:b\": [\"tag:a\"]}}", NULL },
		{ "{\"ssh\": [{\"action\": \"check\", \"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:self\"], \"users\": [\"autogroup:nonroot\", \"root\"], \"checkPeriod\": \"12h\"}]}", "does not act on them" },
		{ "{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"svc:a\"], \"stale\": \"deny\"}]}", NULL },
	};

	for (size_t i = 0; i < array_size(good); i++) {
		struct buf b;
		struct policy *pol = read_text(good[i].text, POLICY_FILE, &b);

		ck_assert_msg(pol != NULL, "%s\n%s", good[i].text, b.ptr);
		if (good[i].warns)
			ck_assert_msg(b.ptr && strstr(b.ptr, good[i].warns), "%s\n%s", good[i].text, b.ptr);
		else
			ck_assert_msg(b.len == 0, "%s\n%s", good[i].text, b.ptr);
		policy_unref(pol);
		buf_done(&b);
	}
}
END_TEST

START_TEST(test_modes)
{
	static const char owner[] = "{\"grants\": [{\"src\": [\"group:g\", \"tag:t\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}";
	static const char map[] = "{\"grants\": [{\"at\": [12, 5, 3], \"src\": [\"group:g\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}";
	struct policy_rule_info info;
	struct policy *pol;
	struct buf b;

	ck_assert(!read_text(owner, POLICY_FILE, &b));
	buf_done(&b);
	pol = read_text(owner, POLICY_OWNER, &b);
	ck_assert(pol);
	policy_unref(pol);
	buf_done(&b);
	ck_assert(!read_text(map, POLICY_OWNER, &b));
	buf_done(&b);
	pol = read_text(map, POLICY_MAP, &b);
	ck_assert(pol);
	ck_assert(policy_rule_info(pol, 0, &info));
	ck_assert_uint_eq(info.at.line, 12);
	ck_assert_uint_eq(info.at.col, 5);
	ck_assert_uint_eq(info.index, 3);
	ck_assert(!policy_rule_info(pol, 1, &info));
	policy_unref(pol);
	buf_done(&b);
}
END_TEST

START_TEST(test_limits)
{
	struct buf text, b;
	struct policy *pol;

	buf_init(&text, 4 << 20);
	buf_add_str(&text, "{\"grants\": [{\"src\": [\"");
	for (int i = 0; i < POLICY_NAME_MAX + 1; i++)
		buf_add_char(&text, 'a');
	buf_add_str(&text, "@example.edu\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}");
	pol = read_text(text.ptr, POLICY_FILE, &b);
	ck_assert(!pol);
	ck_assert(strstr(b.ptr, "at most 256"));
	buf_done(&b);
	buf_clear(&text);
	buf_add_str(&text, "{\"grants\": [{\"src\": [\"*\"");
	for (int i = 0; i < POLICY_SELECTORS_MAX; i++)
		buf_add_str(&text, ",\"*\"");
	buf_add_str(&text, "], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}");
	pol = read_text(text.ptr, POLICY_FILE, &b);
	ck_assert(!pol);
	ck_assert(strstr(b.ptr, "at most 4096"));
	buf_done(&b);
	buf_done(&text);
}
END_TEST

UNIT_MAIN("policy reader", test_faults, test_all_in_one_run, test_loads, test_modes, test_limits)
