/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "daemon/endpoint/conf.h"
#include "daemon/endpoint/conf_stage.h"
#include "daemon/endpoint/enrolment.h"
#include "idp/provider.h"
#include "tests/unit/main.h"

#include <string.h>
#include <unistd.h>

START_TEST(listens)
{
	static const struct { const char *text; int kind; } rows[] = {
		{ "", -1 }, { "0", -1 }, { "65536", -1 }, { "-1", -1 }, { "80 ", -1 }, { "http", -1 },
		{ "127.0.0.1", -1 }, { "127.0.0.1:", -1 }, { "127.0.0.1:0", -1 }, { "::1:80", -1 },
		{ "localhost:80", -1 }, { "*:80", -1 }, { "fd:", -1 }, { "fd:web", -1 }, { "fd::80", -1 },
		{ "fd:web:", -1 }, { "fd:web:0", -1 }, { "fd:web:80:1", -1 },
		{ "unix:", -1 }, { "unix:a/b", -1 }, { "unix:../x", -1 }, { "unix:.", -1 }, { "unix", -1 },
		{ "unix:wiki", CONF_LISTEN_UNIX }, { "unix:/run/wiki.sock", CONF_LISTEN_UNIX },
		{ "80", CONF_LISTEN_PORT }, { "65535", CONF_LISTEN_PORT }, { "127.0.0.1:80", CONF_LISTEN_AT },
		{ "[::]:443", CONF_LISTEN_AT }, { "fd:web:80", CONF_LISTEN_FD },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct conf_listen l = { .kind = CONF_LISTEN_PORT };
		struct err err = { 0 };
		bool ok = conf_listen_parse(span_str(rows[i].text), &l, &err);

		ck_assert_msg(ok == (rows[i].kind >= 0), "%s", rows[i].text);
		ck_assert_int_eq(err.code != ERR_NONE, !ok);
		if (ok)
			ck_assert_int_eq((int)l.kind, rows[i].kind);
	}
}
END_TEST

START_TEST(upstreams)
{
	static const struct { const char *text, *at; } rows[] = {
		{ "", NULL }, { "127.0.0.1:80", NULL }, { "http://", NULL }, { "http:///", NULL },
		{ "http://App.example.edu", NULL }, { "http://127.0.0.1:80/path", NULL },
		{ "http://app..example", NULL }, { "http://.app", NULL }, { "http://app.", NULL }, { "http://-app", NULL },
		{ "http://app-", NULL }, { "http://127.1", NULL }, { "http://2130706433", NULL }, { "http://0x7f.0x1", NULL },
		{ "http://app:", NULL }, { "http://app:0", NULL }, { "http://app:65536", NULL }, { "h2c://app", NULL },
		{ "http://app:80:1", NULL }, { "http://[app]:80", NULL }, { "http://app%2e:80", NULL }, { "tcp://app", NULL },
		{ "https://[::1", NULL }, { "https://::1]", NULL }, { "https://[]", NULL }, { "http://a_b c", NULL },
		{ "http://app.example.edu", "none:80" }, { "https://a_b.example-1.edu:8443/", "none:8443" },
		{ "h2c://app:50051", "none:50051" }, { "tcp://db:5432", "none:5432" }, { "fastcgi://php:9000", "none:9000" },
		{ "http://127.0.0.1:0", NULL }, { "http://127.0.0.1:", NULL }, { "http://user@127.0.0.1", NULL },
		{ "http://127.0.0.1:80//", NULL }, { "h2c://127.0.0.1", NULL }, { "ftp://127.0.0.1:1", NULL },
		{ "HTTP://127.0.0.1", NULL }, { "http://::1", NULL }, { "unix:", NULL }, { "unix:run/x", NULL },
		{ "unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		  "xxxxxxxxxxxxxxxxxxxxxxx", NULL },
		{ "http://localhost:", NULL }, { "http://localhost:0", NULL }, { "http://localhosts", "none:80" },
		{ "http://localhost/x", NULL }, { "h2c://localhost", NULL }, { "http://localhost:80:1", NULL },
		{ "http://localhost", "127.0.0.1:80" }, { "https://localhost:8443/", "127.0.0.1:8443" },
		{ "http://127.0.0.1", "127.0.0.1:80" }, { "http://127.0.0.1:5232/", "127.0.0.1:5232" },
		{ "https://[::1]", "[::1]:443" }, { "https://[2001:db8::1]:8443", "[2001:db8::1]:8443" },
		{ "tcp://10.0.0.1:143", "10.0.0.1:143" },
		{ "h2c://10.0.0.1:50051", "10.0.0.1:50051" }, { "h2://[::1]", "[::1]:443" }, { "unix:/run/app.sock", "none:0" },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct conf_upstream u;
		struct err err = { 0 };
		char text[IP_TEXT_MAX];
		bool ok = conf_upstream_parse(span_str(rows[i].text), &u, &err);

		ck_assert_msg(ok == !!rows[i].at, "%s: %s", rows[i].text, err.msg);
		if (ok)
			ck_assert_str_eq(ipport_text(&u.at, text), rows[i].at);
	}
}
END_TEST

static struct conf *make(const char *text, struct buf *words)
{
	struct diags d;
	struct conf *c;

	diags_init(&d, "f");
	c = conf_new(span_str(text), "/etc/reeve", &d);
	buf_clear(words);
	diags_text(&d, words);
	ck_assert_int_eq(c == NULL, d.errors > 0);
	diags_done(&d);
	return c;
}

#define ALONE "\"identities\":\"i\",\"policy\":\"p\","
#define UP "\"upstream\":\"http://127.0.0.1:1\""

#define ASK "\"forward-auth\":\"nginx\""
#define WWW "\"forward-users\":\"www-data\""
#define WWW_A "\"hosts\":\"a\",\"browser\":\"https://a\""
#define SOCKET ASK ",\"listen\":\"unix:a\""

START_TEST(contradictions)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "{\"identities\":\"i\"}", "standalone mode needs a \"policy\"" },
		{ "{" ALONE "\"map\":\"m\"}", "two different modes" },
		{ "{\"unprivileged\":true}", "a mesh needs root" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":\"80\"," UP "}}}", "standalone mode has none" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":[]," UP "}}}", "0 items, want 1..32" },
		{ "{" ALONE "\"services\":{\"a\":{" UP "}}}", "\"a\" has no \"listen\"" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":\"127.0.0.1:1\"," UP "}},"
		  "\"public\":{\"b\":{\"listen\":\"127.0.0.1:1\"," UP "}}}", "both identities and strangers" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":\"127.0.0.1:1\"," UP "},"
		  "\"b\":{\"listen\":\"127.0.0.1:1\",\"tls\":true," UP "}}}", "speaks TLS for one service" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":\"127.0.0.1:1\",\"upstream\":\"https://127.0.0.1\"}}}",
		  "cannot be verified" },
		{ "{" ALONE "\"public\":{\"a\":{\"listen\":\"127.0.0.1:1\"," UP ",\"profiles\":\"remote-user\"}}}",
		  "no identity is known there" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":\"127.0.0.1:1\"}}}", "\"upstream\" is missing" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":\"unix:a\"," UP "}}}", "for services with \"forward-auth\"" },
		{ "{" ALONE "\"services\":{\"a\":{\"listen\":\"127.0.0.1:1\"," UP "," WWW "}}}", "go with" },
		{ "{" ALONE "\"services\":{\"a\":{" SOCKET "}}}", "who may ask there" },
		{ "{" ALONE "\"services\":{\"a\":{" SOCKET "," WWW "," UP "}}}", "goes with neither" },
		{ "{" ALONE "\"services\":{\"a\":{" SOCKET "," WWW ",\"tls\":true}}}", "goes with neither" },
		{ "{" ALONE "\"public\":{\"a\":{" SOCKET "," WWW "}}}", "want \"browser\"" },
		{ "{\"public\":{\"a\":{" SOCKET "," WWW_A "}}}", "who may ask there" },
		{ "{\"public\":{\"a\":{" ASK ",\"listen\":\"127.0.0.1:1\"," WWW_A "}}}", "want a \"forward-secret\"" },
		{ "{\"public\":{\"a\":{" ASK ",\"listen\":\"192.0.2.1:1\",\"forward-secret\":\"s\"," WWW_A "}}}", "or on loopback" },
		{ "{\"public\":{\"a\":{" SOCKET "," WWW "," WWW_A "," UP "}}}", "goes with neither" },
		{ "{\"public\":{\"a\":{" SOCKET "," WWW ",\"hosts\":\"b\",\"browser\":\"https://a\"}}}", "is not among \"hosts\"" },
		{ "{\"services\":{\"a\":{" SOCKET "," WWW "}},\"public\":{\"a\":{" SOCKET "," WWW "," WWW_A "}}}",
		  "both identities and strangers" },
		{ "{\"verify\":\"idp\",\"public\":{\"a\":{" SOCKET "," WWW "," WWW_A "}}}", "a browser has none" },
		{ "{" ALONE "\"services\":{\"a\":{" ASK ",\"listen\":\"127.0.0.1:1\"}}}", "want a \"forward-secret\"" },
		{ "{" ALONE "\"services\":{\"a\":{" ASK ",\"listen\":\"192.0.2.1:1\",\"forward-secret\":\"s\"}}}",
		  "or on loopback" },
		{ "{" ALONE "\"services\":{\"a\":{" SOCKET "," WWW "},\"b\":{" SOCKET ",\"forward-users\":\"x\"}}}",
		  "need the same" },
		{ "{" ALONE "\"services\":{\"a\":{" SOCKET "," WWW "},\"b\":{" SOCKET "," WWW
		  ",\"forward-secret\":\"s\"}}}", "need the same" },
		{ "{" ALONE "\"public\":{\"a\":{\"listen\":\"127.0.0.1:1\"," WWW_A "," UP "}}}", "standalone mode has none" },
		{ "{\"services\":{\"a\":{\"listen\":\"80\"," WWW_A "," UP "}}}", "is for services in \"public\"" },
		{ "{\"public\":{\"a\":{\"listen\":\"192.0.2.1:1\"," WWW_A "," UP "}}}", "want \"tls\"" },
		{ "{\"public\":{\"a\":{\"listen\":[\"127.0.0.1:1\",\"80\"]," WWW_A "," UP "}}}", "want \"tls\"" },
		{ "{\"public\":{\"a\":{\"listen\":\"127.0.0.1:1\",\"browser\":\"http://a\"," UP "}}}", "want https://HOST" },
		{ "{\"public\":{\"a\":{\"listen\":\"127.0.0.1:1\",\"browser\":\"https://a/x\"," UP "}}}", "want https://HOST" },
		{ "{\"public\":{\"a\":{\"listen\":\"127.0.0.1:1\",\"hosts\":\"b\",\"browser\":\"https://a\"," UP "}}}",
		  "is not among \"hosts\"" },
		{ "{\"verify\":\"idp\",\"public\":{\"a\":{\"listen\":\"127.0.0.1:1\"," WWW_A "," UP "}}}",
		  "a browser has none" },
		{ "{\"mesh\":{\"routes\":\"10.9.0.1/24\"}}", "is no prefix" },
		{ "{\"mesh\":{\"interface\":\"sixteen-letters-\"}}", "16 bytes, want 1..15" },
	};
	struct buf words;

	buf_init(&words, 1 << 16);
	for (size_t i = 0; i < array_size(rows); i++) {
		ck_assert_msg(!make(rows[i].text, &words), "%s", rows[i].text);
		ck_assert_msg(strstr(words.ptr, rows[i].want) != NULL, "%s gives %s", rows[i].text, words.ptr);
	}
	buf_done(&words);
}
END_TEST

START_TEST(modes)
{
	static const struct { const char *text; enum conf_mode mode; } rows[] = {
		{ "{" ALONE "}", CONF_STANDALONE }, { "{\"map\":\"m\"}", CONF_MAP_FILE }, { "{}", CONF_MESH },
		{ "{\"public\":{\"a\":{" SOCKET "," WWW "," WWW_A "}}}", CONF_MESH },
	};
	struct buf words;

	buf_init(&words, 1 << 16);
	for (size_t i = 0; i < array_size(rows); i++) {
		struct conf *c = make(rows[i].text, &words);

		ck_assert_msg(c != NULL, "%s", words.ptr);
		ck_assert_int_eq(c->mode, rows[i].mode);
		conf_free(c);
	}
	conf_free(NULL);
	buf_done(&words);
}
END_TEST

/* By which ports policy and packet filter know a service. */
START_TEST(ports)
{
	static const struct { const char *service; uint16_t ports[2]; } rows[] = {
		{ "\"listen\":\"127.0.0.1:8080\"," UP, { 8080 } },
		{ "\"listen\":\"fd:web:8443\"," UP, { 8443 } },
		{ SOCKET "," WWW, { 80, 443 } },
		{ SOCKET "," WWW ",\"forward-port\":8080", { 8080 } },
		{ ASK ",\"listen\":\"127.0.0.1:9\",\"forward-secret\":\"s\"", { 80, 443 } },
		{ ASK ",\"listen\":\"fd:web:8443\"," WWW, { 8443 } },
		{ ASK ",\"listen\":\"fd:web:8443\"," WWW ",\"forward-port\":81", { 81 } },
	};
	struct buf words, text;

	buf_init(&words, 1 << 16);
	buf_init(&text, 1 << 16);
	for (size_t i = 0; i < array_size(rows); i++) {
		uint16_t got[8] = { 0 };
		struct conf *c;
		size_t n;

		buf_clear(&text);
		buf_addf(&text, "{" ALONE "\"services\":{\"a\":{%s}}}", rows[i].service);
		c = make(text.ptr, &words);
		ck_assert_msg(c != NULL, "%s: %s", rows[i].service, words.ptr);
		n = conf_service_ports(conf_service(&c->services, 0), got, array_size(got));
		ck_assert_uint_eq(n, rows[i].ports[1] ? 2 : 1);
		ck_assert_uint_eq(got[0], rows[i].ports[0]);
		ck_assert_uint_eq(got[1], rows[i].ports[1]);
		conf_free(c);
	}
	buf_done(&words);
	buf_done(&text);
}
END_TEST

static bool stage(struct conf_stage *s, uint32_t number, const char *text)
{
	struct msg_conf m = { number, SPAN("/etc/reeve"), SPAN("reeved.hujson") };
	struct err err = { 0 };
	int fd = msg_memfd("test", span_str(text), &err);
	bool ok = conf_stage_prepare(s, &m, fd, &err);

	ck_assert_int_eq(ok, err.code == ERR_NONE);
	close(fd);
	return ok;
}

START_TEST(staging)
{
	struct conf_stage s = { 0 };
	const struct conf *first;

	ck_assert(!conf_stage_use(&s, 1));
	ck_assert(!stage(&s, 1, "{"));
	ck_assert(!conf_stage_use(&s, 1));
	ck_assert(stage(&s, 1, "{}"));
	ck_assert(!conf_stage_use(&s, 2));
	ck_assert(conf_stage_use(&s, 1));
	first = s.now;
	ck_assert(stage(&s, 2, "{" ALONE "}"));
	conf_stage_drop(&s);
	ck_assert(!conf_stage_use(&s, 2));
	ck_assert_ptr_eq(s.now, first);
	ck_assert(stage(&s, 3, "{" ALONE "}"));
	ck_assert(!stage(&s, 4, "}"));          /* the one that was prepared before does not count either */
	ck_assert(!conf_stage_use(&s, 3));
	ck_assert_ptr_eq(s.now, first);
	conf_stage_done(&s);
}
END_TEST

/* A coordinator may not vouch for itself. */
START_TEST(own_issuers)
{
	static const struct { const char *issuer; bool good; } rows[] = {
		{ "https://hub.example.edu/idp", false }, { "https://hub.example.edu", false },
		{ "https://hub.example.edu/", false }, { "https://HUB.example.edu/idp", false },
		{ "https://hub.example.edu:443/idp", false }, { "https://hub.example.edu:443", false },
		{ "https://hub.example.edu:8443/idp", true }, { "https://hub.example.education", true },
		{ "https://idp.example.edu/hub.example.edu", true }, { "https://hub.example.ed", true },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		struct provider p = { .issuer = (char *)rows[i].issuer };
		char *names[] = { (char *)"one" };
		struct conf c = { .verify = CONF_VERIFY_IDP,
		                  .issuers = { .names = names, .items = &p, .count = 1 } };
		struct err err = { 0 };

		ck_assert_msg(enrolment_issuers_ok("https://hub.example.edu", &c, &err) == rows[i].good, "%s",
		              rows[i].issuer);
		ck_assert_int_eq(err.code, rows[i].good ? ERR_NONE : ERR_CONFIG);
		/* who believes the coordinator anyhow may believe its accounts; who is not enrolled has none */
		c.verify = CONF_VERIFY_COORDINATOR;
		ck_assert(enrolment_issuers_ok("https://hub.example.edu", &c, &err));
		c.verify = CONF_VERIFY_IDP;
		ck_assert(enrolment_issuers_ok("", &c, &err));
	}
}
END_TEST

UNIT_MAIN("endpoint_conf", listens, upstreams, contradictions, modes, ports, staging, own_issuers)
