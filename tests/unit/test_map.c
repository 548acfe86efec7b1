/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/control/map.h"

#include "tests/unit/main.h"

#include <string.h>

#define FULL(seq) "{\"op\":\"full\",\"v\":1,\"epoch\":\"0123456789abcdef\",\"seq\":" #seq \
	",\"lease\":86400,\"now\":1790000000,\"mesh\":{\"ula\":\"fd12:3456:789a::/48\",\"v4\":\"100.64.0.0/10\"," \
	"\"name\":\"example\"},\"self\":\"n7\"}\n"
#define KEY "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
#define NODE(seq, id, name) "{\"op\":\"node\",\"seq\":" #seq ",\"node\":{\"id\":\"" id "\",\"name\":\"" name \
	"\",\"key\":\"" KEY "\",\"v4\":\"100.64.0.3\"}}\n"
#define END(seq) "{\"op\":\"end\",\"seq\":" #seq "}\n"
#define POLICY(seq) "{\"op\":\"policy\",\"seq\":" #seq ",\"text\":\"{\\n}\"}\n"

struct seen {
	struct map       map;
	enum map_applied last;
	int              came, changed, went, whole;
};

static void on_change(void *arg, const struct map_node *old, const struct map_node *new_)
{
	struct seen *s = arg;

	if (!old && !new_)
		s->whole++;
	else if (!old)
		s->came++;
	else if (!new_)
		s->went++;
	else
		s->changed++;
}

static bool on_msg(void *arg, struct map_msg *m, struct err *err)
{
	struct seen *s = arg;

	return map_apply(&s->map, m, on_change, s, &s->last, err);
}

static bool feed(struct seen *s, const char *text, size_t step, struct err *err)
{
	struct map_reader r;
	bool              ok = true;

	map_reader_init(&r);
	for (size_t i = 0, n = strlen(text); ok && i < n; i += step)
		ok = map_reader_feed(&r, span_head(span_from(span_str(text), i), step), on_msg, s, err);
	if (!ok) {      /* a reader that failed stays failed */
		ck_assert(!map_reader_feed(&r, SPAN("{\"op\":\"beat\",\"now\":1}\n"), on_msg, s, NULL));
		map_abort(&s->map);
	}
	map_reader_done(&r);
	return ok;
}

START_TEST(test_refused)
{
	static const struct {
		const char   *text;
		enum err_code code;
	} rows[] = {
		{ "nonsense\n", ERR_SYNTAX },
		{ "[]\n", ERR_SYNTAX },
		{ "{\"op\":\"grow\",\"seq\":1}\n", ERR_PEER },                    /* of a later release */
		{ "{\"op\":\"end\"}\n", ERR_SYNTAX },                            /* no seq */
		{ END(1), ERR_PEER },                                           /* no batch, no map */
		{ NODE(1, "n7", "me"), ERR_PEER },                              /* before any full */
		{ FULL(1) FULL(1), ERR_PEER },
		{ FULL(1) END(1), ERR_PEER },                                   /* lacks its own node */
		{ FULL(1) NODE(2, "n7", "me"), ERR_PEER },                      /* another batch inside */
		{ FULL(1) NODE(1, "n7", "me") END(1) NODE(1, "n8", "you"), ERR_PEER },  /* seq does not rise */
		{ FULL(1) NODE(1, "n7", "me") END(1) "{\"op\":\"gone\",\"seq\":2,\"id\":\"n7\"}\n" END(2), ERR_PEER },
		{ FULL(1) NODE(1, "n0", "me"), ERR_SYNTAX },
		{ FULL(1) NODE(1, "n07", "me"), ERR_SYNTAX },
		{ FULL(1) NODE(1, "u7", "me"), ERR_SYNTAX },
		{ FULL(1) NODE(1, "n7", "Me"), ERR_SYNTAX },
		{ FULL(1) NODE(1, "n7", "a.b"), ERR_SYNTAX },
		{ FULL(1) "{\"op\":\"node\",\"seq\":1,\"node\":{\"id\":\"n7\",\"name\":\"me\",\"key\":\"AQE=\"}}\n", ERR_SYNTAX },
		{ FULL(1) "{\"op\":\"node\",\"seq\":1,\"node\":{\"id\":\"n7\",\"name\":\"me\",\"key\":\"" KEY "\",\"v4\":\"fd00::1\"}}\n", ERR_SYNTAX },
		{ FULL(1) "{\"op\":\"node\",\"seq\":1,\"node\":{\"id\":\"n7\",\"name\":\"me\",\"key\":\"" KEY "\",\"session\":{\"id\":\"s1\",\"expires\":5}}}\n", ERR_PEER },
		{ FULL(1) "{\"op\":\"node\",\"seq\":1,\"node\":{\"id\":\"n7\",\"name\":\"me\",\"key\":\"" KEY "\",\"user\":{\"id\":\"u1\",\"issuer\":\"i\",\"sub\":\"s\",\"login\":\"a\\nb\"}}}\n", ERR_SYNTAX },
		{ FULL(1) "{\"op\":\"node\",\"seq\":1,\"node\":{\"id\":\"n7\",\"name\":\"me\",\"key\":\"" KEY "\",\"tags\":[\"tag:a\"],\"user\":{\"id\":\"u1\",\"issuer\":\"i\",\"sub\":\"s\",\"login\":\"l\"}}}\n", ERR_PEER },
		{ "{\"op\":\"full\",\"v\":2,\"epoch\":\"0123456789abcdef\",\"seq\":1,\"lease\":1,\"now\":1,\"mesh\":{\"ula\":\"fd12:3456:789a::/48\",\"v4\":\"100.64.0.0/10\",\"name\":\"m\"},\"self\":\"n7\"}\n", ERR_PEER },
		{ "{\"op\":\"full\",\"v\":1,\"epoch\":\"0123456789ABCDEF\",\"seq\":1,\"lease\":1,\"now\":1,\"mesh\":{\"ula\":\"fd12:3456:789a::/48\",\"v4\":\"100.64.0.0/10\",\"name\":\"m\"},\"self\":\"n7\"}\n", ERR_SYNTAX },
		{ "{\"op\":\"full\",\"v\":1,\"epoch\":\"0123456789abcdef\",\"seq\":1,\"lease\":0,\"now\":1,\"mesh\":{\"ula\":\"fd12:3456:789a::/48\",\"v4\":\"100.64.0.0/10\",\"name\":\"m\"},\"self\":\"n7\"}\n", ERR_SYNTAX },
		{ "{\"op\":\"full\",\"v\":1,\"epoch\":\"0123456789abcdef\",\"seq\":1,\"lease\":1,\"now\":1,\"mesh\":{\"ula\":\"fd12:3456:789a::/32\",\"v4\":\"100.64.0.0/10\",\"name\":\"m\"},\"self\":\"n7\"}\n", ERR_SYNTAX },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct seen s = { 0 };
		struct err  err = { 0 };

		ck_assert_msg(!feed(&s, rows[i].text, 7, &err), "row %zu was taken", i);
		ck_assert_msg(err.code == rows[i].code, "row %zu: %s: %s", i, err_code_name(err.code), err.msg);
		map_done(&s.map);
	}
}
END_TEST

START_TEST(test_batches)
{
	struct seen s = { 0 };
	struct err  err = { 0 };

	/* Half a full map is no map. */
	ck_assert(feed(&s, FULL(41) NODE(41, "n7", "me") NODE(41, "n3", "wiki") POLICY(41), 1, &err));
	ck_assert(!s.map.whole && !map_self(&s.map) && s.last == MAP_APPLIED_PART);
	ck_assert(feed(&s, END(41), 3, &err));
	ck_assert(s.map.whole && s.last == MAP_APPLIED_FULL && s.map.seq == 41 && s.came == 2 && s.whole == 1);
	ck_assert_uint_eq(map_self(&s.map)->id, 7);
	ck_assert_str_eq(s.map.policy, "{\n}");

	/* A change counts from its end; one that breaks off changes nothing. */
	ck_assert(feed(&s, "{\"op\":\"gone\",\"seq\":42,\"id\":\"n3\"}\n", 100, &err));
	ck_assert(map_find(&s.map, 3) && s.map.seq == 41);
	map_abort(&s.map);
	ck_assert(!feed(&s, "{\"op\":\"gone\",\"seq\":42,\"id\":\"n3\"}\n{\"op\":\"x\",\"seq\":42}\n", 100, &err));
	ck_assert(map_find(&s.map, 3) && s.map.seq == 41 && !s.map.pending);
	ck_assert(feed(&s, "{\"op\":\"gone\",\"seq\":42,\"id\":\"n3\"}\n" NODE(42, "n9", "lab")
	               "{\"op\":\"beat\",\"now\":1790000025}\n" END(42), 100, &err));
	ck_assert(!map_find(&s.map, 3) && map_find(&s.map, 9) && s.map.seq == 42 && s.went == 1 && s.came == 3);
	ck_assert_int_eq(s.map.heard.sec, 1790000025);
	/* the last word on a node counts */
	ck_assert(feed(&s, NODE(43, "n9", "a") NODE(43, "n9", "b") END(43), 100, &err));
	ck_assert(span_eq(map_find(&s.map, 9)->name, SPAN("b")) && s.changed == 1);

	/* store and load give the same */
	struct buf out, again;
	struct map copy;
	buf_init(&out, 1 << 20);
	buf_init(&again, 1 << 20);
	map_init(&copy);
	map_store(&s.map, &out);
	ck_assert_msg(map_load(&copy, buf_span(&out), &err), "%s", err.msg);
	map_store(&copy, &again);
	ck_assert(span_eq(buf_span(&out), buf_span(&again)) && copy.seq == 43);
	ck_assert(!map_load(&copy, span_head(buf_span(&out), out.len - 20), &err));
	ck_assert_uint_eq(copy.seq, 43);        /* what did not load changed nothing */
	buf_done(&out);
	buf_done(&again);
	map_done(&copy);

	/* another full map replaces all of it */
	ck_assert(feed(&s, FULL(50) NODE(50, "n7", "me") END(50), 1000, &err));
	ck_assert(s.map.node_count == 1 && s.map.policy == NULL);
	map_done(&s.map);
}
END_TEST

static const char node_text[] =
	"{\"id\":\"n3\",\"name\":\"wiki\",\"key\":\"" KEY "\",\"v4\":\"100.64.0.3\",\"v6\":\"fd12:3456:789a::1\","
	"\"endpoints\":[\"192.0.2.7:51820\",\"[2001:db8::7]:51820\"],\"routes\":[\"10.9.0.0/24\"],"
	"\"services\":[{\"name\":\"wiki\",\"port\":80,\"http\":true,\"hosts\":[\"wiki\",\"wiki.example.edu\"],"
	"\"profiles\":[\"remote-user\"]}],\"attrs\":{\"os\":\"linux\"},\"hub\":true,"
	"\"user\":{\"id\":\"u2\",\"issuer\":\"https://idp\",\"sub\":\"1\",\"login\":\"staff@example.edu\","
	"\"name\":\"Zo\xc3\xab\",\"email\":\"staff@example.edu\",\"groups\":[\"group:lab\"],\"idp\":[\"lab\"],"
	"\"roles\":[\"admin\"]},\"session\":{\"id\":\"s9\",\"auth_time\":1790000000,\"expires\":1790003600,"
	"\"acr\":\"mfa\",\"amr\":[\"pwd\",\"otp\"],\"cross_device\":true},\"evidence\":{\"id_token\":\"a.b.c\","
	"\"opening\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\"}}";

START_TEST(test_node)
{
	struct err       err = { 0 };
	struct map_node *n = map_node_decode(span_str(node_text), &err);
	struct buf       out;

	ck_assert_msg(n != NULL, "%s", err.msg);
	buf_init(&out, 1 << 16);
	map_node_encode(n, &out);
	ck_assert_str_eq(out.ptr, node_text);
	buf_done(&out);
	map_node_unref(n);
}
END_TEST

START_TEST(test_small)
{
	struct err        err = { 0 };
	struct map_ack    a;
	struct map_report r;
	struct buf        out;
	char              epoch[MAP_EPOCH_LEN + 1], id[MAP_ID_MAX];
	uint64_t          n;

	ck_assert(!map_have_parse(SPAN("0123456789abcdef"), epoch, &n));
	ck_assert(!map_have_parse(SPAN("0123456789abcde:1"), epoch, &n));
	ck_assert(!map_have_parse(SPAN("0123456789abcdef:-1"), epoch, &n));
	ck_assert(map_have_parse(SPAN("0123456789abcdef:41"), epoch, &n) && n == 41);
	ck_assert(!map_id_parse(SPAN("n18446744073709551616"), 'n', &n));
	ck_assert(!map_id_parse(SPAN("n"), 'n', &n));
	ck_assert(map_id_parse(SPAN("n9223372036854775807"), 'n', &n));
	ck_assert_str_eq(map_id_text('n', n, id), "n9223372036854775807");

	ck_assert(!map_ack_decode(SPAN("{\"epoch\":\"x\",\"seq\":1}"), &a, &err));
	ck_assert(map_ack_decode(SPAN("{\"epoch\":\"0123456789abcdef\",\"seq\":1,\"new\":2}"), &a, &err));
	buf_init(&out, 1 << 16);
	map_ack_encode(&a, &out);
	ck_assert_str_eq(out.ptr, "{\"epoch\":\"0123456789abcdef\",\"seq\":1}");

	static const char report[] = "{\"v\":1,\"endpoints\":[\"192.0.2.7:51820\"],\"routes\":[\"10.9.0.0/24\"],"
		"\"services\":[{\"name\":\"ssh\",\"port\":22}],\"attrs\":{\"os\":\"linux\"},\"os\":\"Debian\",\"version\":\"0.1.0\"}";
	ck_assert(!map_report_decode(SPAN("{\"routes\":[\"10.9.0.1/24\"]}"), &r, &err));        /* host bits */
	ck_assert(!map_report_decode(SPAN("{\"endpoints\":[\"192.0.2.7:0\"]}"), &r, &err));
	ck_assert_msg(map_report_decode(span_str(report), &r, &err), "%s", err.msg);
	buf_clear(&out);
	map_report_encode(&r, &out);
	ck_assert_str_eq(out.ptr, report);
	map_report_done(&r);
	buf_done(&out);
}
END_TEST

START_TEST(test_limit)
{
	struct map_reader r;
	struct err        err = { 0 };
	struct seen       s = { 0 };
	static char       block[1 << 20];
	bool              ok = true;

	memset(block, ' ', sizeof(block));
	map_reader_init(&r);
	for (int i = 0; ok && i < 40; i++)
		ok = map_reader_feed(&r, span_of(block, sizeof(block)), on_msg, &s, &err);
	ck_assert(!ok && err.code == ERR_LIMIT && r.dead);
	map_reader_done(&r);
}
END_TEST

UNIT_MAIN("map", test_refused, test_batches, test_node, test_small, test_limit)
