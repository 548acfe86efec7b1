/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A web server's questions (daemon/proxy/forward.c), in each of the six ways of
 * asking; the first byte chooses. Whatever is asked, no application is connected
 * to, nobody is redirected, and 200 is answered for one person alone: the one whose address was said
 * exactly once, for a method, host and path with a grant, in a question without
 * a field that an application could take for an identity.
 *
 * And in six more, for people with only a browser: there it is the one whose cookie was
 * said, the answer has none of our cookies, redirects lead to the coordinator or to a path of
 * the service, and a page for a person is no answer to a question. The reading that says
 * so here is naive, and shares no code with the one that is tested but the
 * parser of the question itself.
 */
#include "base/diag.h"
#include "daemon/proxy/forward.h"
#include "policy/compile.h"
#include "tests/fuzz/fuzz.h"
#include "tests/http/corpus.h"
#include "tests/http/inside.h"

#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>

#define PERSON "staff@example.edu"
#define ADDRESS "100.64.0.1"
#define HUB "https://hub.example/browser?bind="
#define POLICY "{\"grants\":[{\"src\":[\"" PERSON "\"],\"dst\":[\"svc:wiki\"],\"ip\":[\"*\"]," \
	"\"http\":[{\"methods\":[\"GET\"],\"paths\":[\"/a/**\"]}]}]}"

static const struct way {
	const char *method, *target, *host, *address;   /* NULL: the question's own */
	bool        list;
} ways[FORWARD_STYLES] = {
	[FORWARD_NGINX] = { "x-original-method", "x-original-uri", "x-original-host", "x-real-ip", false },
	[FORWARD_TRAEFIK] = { "x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-for", true },
	[FORWARD_CADDY] = { "x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-for", true },
	[FORWARD_HAPROXY] = { "x-original-method", "x-original-uri", "x-original-host", "x-real-ip", false },
	[FORWARD_ENVOY] = { NULL, NULL, NULL, "x-forwarded-for", true },
	[FORWARD_APACHE] = { "x-original-method", "x-original-uri", "x-original-host", "x-real-ip", false },
};

/* The compiled policy, and the class in which it has the person. */
static struct buf policy_of_wiki(uint32_t *ret_class)
{
	static const uint16_t ports[] = { 80, 443 };
	static struct span host = { "wiki", 4 }, tag = { "tag:self", 8 };
	struct topology *t = topology_new();
	struct topology_node self = { .id = 1, .name = SPAN("self"), .tags = { &tag, 1 } };
	struct topology_user user = { .id = 10, .login = SPAN(PERSON) };
	struct topology_node node = { .id = 10, .name = SPAN("laptop"), .user = 10, .session.expires = TOPOLOGY_NEVER };
	struct topology_service svc = { .name = SPAN("wiki"), .node = 1, .http = true, .ports = ports, .port_count = 2,
		                        .hosts = { &host, 1 } };
	struct compile_peer peer = { 0 };
	struct compile *c;
	struct policy *pol;
	struct diags diags;
	struct buf tables;
	struct err err;

	diags_init(&diags, "policy");
	pol = policy_parse(SPAN(POLICY), POLICY_FILE, &diags);
	must(pol);
	diags_done(&diags);
	must(ip_parse(SPAN("100.64.0.9"), &self.ip4) && ip_parse(SPAN(ADDRESS), &node.ip4));
	must(topology_node_put(t, &self) && topology_user_put(t, &user) && topology_node_put(t, &node) &&
	     topology_service_put(t, &svc));
	c = compile_new(pol, NULL, t, 1, &(struct compile_options){ .login_class = true }, clock_wall());
	buf_init(&tables, TABLES_MAX);
	compile_tables(c, &tables);
	must(tables_check(tables.ptr, tables.len, &err));
	must(compile_peer(c, node.id, &peer));
	*ret_class = peer.class4;
	compile_free(c);
	policy_unref(pol);
	topology_free(t);
	return tables;
}

static void wiki(struct snapshot_builder *b, uint32_t words[INSIDE_WORDS], unsigned style)
{
	static struct buf tables;
	static uint32_t class;
	static const struct span listens[] = { { "unix:wiki", 9 } }, hosts[] = { { "wiki", 4 } };
	static const struct span profiles[] = { { "remote-user", 11 } };
	const uint32_t uid = (uint32_t)getuid();
	const bool browsers = style >= FORWARD_STYLES;
	uint8_t hash[SNAPSHOT_HASH_LEN];
	struct service_desc d = { .name = SPAN("wiki"), .listens = listens, .listen_count = 1, .hosts = hosts, .host_count = 1,
		                  .profiles = profiles, .profile_count = 1,
		                  .forward = browsers ? style - FORWARD_STYLES + FORWARD_NGINX : style, .forward_uids = &uid,
		                  .forward_uid_count = 1 };
	struct ident nobody = { .kind = IDENT_NONE };
	struct ident person = { .kind = IDENT_PERSON, .generation = 7, .login = SPAN(PERSON), .expires_boot = BOOT_NEVER };
	uint32_t slot, index;
	struct err err;
	struct ip at;

	if (!tables.len)
		tables = policy_of_wiki(&class);
	person.class4 = person.class6 = class;
	snapshot_set_policy(b, buf_span(&tables));
	d.policy = tables_service(tables_map(tables.ptr), d.name);
	must(ip_parse(SPAN(ADDRESS), &at));
	must(snapshot_add_ident(b, &nobody, &slot, &err) && snapshot_add_ident(b, &person, &slot, &err));
	words[slot] = person.generation;
	if (browsers) {
		SHA256((const unsigned char *)"reeve cookie v1\0wiki\0" INSIDE_COOKIE, 21 + sizeof(INSIDE_COOKIE) - 1, hash);
		d.browser_url = SPAN(HUB);
		must(snapshot_add_session(b, hash, slot, &err));
	}
	/* a public front's has no addresses; that nobody asks for one is what this shows */
	must(snapshot_add_addr(b, &at, slot, &err) && snapshot_add_service(b, &d, &index, &err));
}

/* The one field of that name; fails if there are none or several. */
static struct span only(const struct message *m, const char *name)
{
	struct span value = { 0 };
	unsigned n = 0;

	for (size_t i = 0; i < m->field_count; i++) {
		if (span_ieq(m->fields[i].name, span_str(name))) {
			value = m->fields[i].value;
			n++;
		}
	}
	must(n == 1);
	return value;
}

/* Letters and digits of a name, as applications fold it, against one of ours. */
static bool folds_to(struct span name, const char *want)
{
	size_t k = 0, n = strlen(want);

	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if ((c < 'a' || c > 'z') && (c < '0' || c > '9'))
			continue;
		if (k == n || want[k++] != c)
			return false;
	}
	return k == n;
}

/* "/a/" and more of it, in any of its escaped spellings, without a step upwards. */
static bool below_a(struct span target)
{
	static const char hex[] = "0123456789abcdef";
	scoped_buf struct buf path = { 0 };

	buf_init(&path, 64 << 10);
	for (size_t i = 0; i < target.len && target.ptr[i] != '?'; i++) {
		const char *hi = NULL, *lo = NULL;

		if (target.ptr[i] == '%' && i + 2 < target.len) {
			hi = memchr(hex, target.ptr[i + 1] | 0x20, 16);
			lo = memchr(hex, target.ptr[i + 2] | 0x20, 16);
		}
		if (hi && lo) {
			buf_add_char(&path, (char)((hi - hex) << 4 | (lo - hex)));
			i += 2;
		} else {
			buf_add_char(&path, target.ptr[i]);
		}
	}
	buf_add_char(&path, '/');
	for (size_t i = 0; i + 3 < path.len; i++)
		if (memcmp(path.ptr + i, "/../", 4) == 0)
			return false;
	return span_starts(buf_span(&path), SPAN("/a/"));
}

/* 200 was answered to this. The address is the person's, or, where cookies are, anybody's. */
static void must_be_staffs(const struct way *w, const struct message *m, bool browsers)
{
	static const char *const names[] = { "remoteuser", "remotename", "remoteemail", "remotegroups", "xreeveassertion" };
	struct span address = only(m, w->address), target = w->target ? only(m, w->target) : m->target;
	struct span host = w->host ? only(m, w->host) : m->host;
	struct span method = w->method ? only(m, w->method) : m->method;
	bool said = false;

	for (size_t i = address.len; w->list && i > 0; i--) {
		if (address.ptr[i - 1] == ',') {
			address = span_trim(span_from(address, i));
			break;
		}
	}
	must(browsers || span_eq(address, SPAN(ADDRESS)));
	must(span_eq(method, SPAN("GET")));
	must(span_ieq(span_head(host, 4), SPAN("wiki")));
	must(host.len == 4 || host.ptr[4] == ':' || host.ptr[4] == '.');
	if (browsers && w->target)
		must(span_eq(span_head(m->target, span_find(m->target, '?')), SPAN("/_reeve/ask")));
	if (browsers && !w->target) {
		must(span_starts(target, SPAN("/_reeve/ask/")));
		target = span_from(target, 11);
	}
	must(below_a(target));
	for (size_t i = 0; i < m->field_count; i++) {
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			must(!folds_to(m->fields[i].name, names[k]));
		said = said || (span_ieq(m->fields[i].name, SPAN("cookie")) &&
		                memmem(m->fields[i].value.ptr, m->fields[i].value.len, "__Host-reeve=" INSIDE_COOKIE,
		                       sizeof("__Host-reeve=" INSIDE_COOKIE) - 1));
	}
	must(said || !browsers);
}

/* A field of an answer, by which nobody is sent elsewhere, and nothing of ours is shown. */
static void check_field(struct span line, bool browsers, unsigned status)
{
	struct span value = span_trim(span_from(line, span_find(line, ':') + 1));

	if (span_ieq(span_head(line, 9), SPAN("Location:"))) {
		must(browsers && status == 303);
		must(span_starts(value, SPAN(HUB)) || (value.len && value.ptr[0] == '/' && !span_starts(value, SPAN("//"))));
	} else if (span_ieq(span_head(line, 11), SPAN("Set-Cookie:"))) {
		must(browsers && status == 303 && span_starts(value, SPAN("__Host-reeve")));
	} else if (span_ieq(span_head(line, 7), SPAN("Cookie:"))) {
		must(browsers && status == 200 && !memmem(value.ptr, value.len, INSIDE_COOKIE, sizeof(INSIDE_COOKIE) - 1));
	}
}

/* Line by line, bodies too: none of ours has a line that begins so. */
static void check_answers(unsigned style, bool browsers, struct span question, struct span said)
{
	static struct message m;
	struct http_scan scan = { 0 };
	struct stream_result s;
	struct fault why;
	struct span line;
	size_t used;
	unsigned status = 0, finals = 0, passed = 0, logins = 0;
	bool whole = http_request_parse(&scan, question.ptr, question.len, &m, &used, &why) == HTTP_DONE;

	while (span_next(&said, '\n', &line)) {
		check_field(line, browsers, status);
		if (span_ieq(span_head(line, 12), SPAN("Remote-User:"))) {
			must(span_eq(span_trim(span_from(line, 12)), SPAN(PERSON "\r")) ||
			     span_eq(span_trim(span_from(line, 12)), SPAN(PERSON)));
			must(status == 200);
			logins++;
			if (finals == 1) {
				must(whole);
				must_be_staffs(&ways[style], &m, browsers);
			}
		}
		if (!span_starts(line, SPAN("HTTP/1.")))
			continue;
		must(line.len > 12);
		status = (unsigned)(line.ptr[9] - '0') * 100 + (unsigned)(line.ptr[10] - '0') * 10 + (unsigned)(line.ptr[11] - '0');
		must(status == 100 || status == 200 || (browsers && status == 303) || (status >= 400 && status < 600));
		if (status == 100)
			continue;
		passed += status == 200;
		/* 200 without a person is a page of ours, at its own path */
		if (++finals == 1 && status == 200 && browsers)
			must(whole && (span_starts(m.target, SPAN("/_reeve/ask")) || span_starts(m.target, SPAN("/.well-known/reeve/"))));
	}
	must(browsers ? passed >= logins : passed == logins);
	/* one answer for a question; that reader also judges the target of the helper's own request */
	stream_requests(question, 0, &s);
	must(s.end == STREAM_BAD || finals <= s.heads);
	stream_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { KINDS = FORWARD_STYLES - FORWARD_NGINX };
	static struct inside *in[2 * FORWARD_STYLES];
	struct inside_result r;
	struct span question;
	unsigned style, which;
	bool browsers;

	if (size < 1 || size > 64 << 10)
		return 0;
	style = FORWARD_NGINX + data[0] % KINDS;
	browsers = data[0] / KINDS % 2;
	which = browsers ? FORWARD_STYLES + style - FORWARD_NGINX : style;
	if (!in[which])
		in[which] = inside_with(wiki, which, SPAN("unix:wiki"));
	question = span_of((const char *)data + 1, size - 1);
	inside_run(in[which], question, (struct span){ 0 }, &r);
	must(!r.left_open);
	must(r.app_count == 0);
	/* what begins with HTTP/2's preface is answered in frames */
	if (!span_starts(question, SPAN("PRI ")))
		check_answers(style, browsers, question, buf_span(&r.client));
	inside_result_done(&r);
	return 0;
}
