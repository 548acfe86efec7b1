/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The engine alone, without reeved's processes: opens its sockets itself,
 * takes policy, identities and services from one HuJSON file, and commands
 * from its standard input, a line each:
 *
 *   reload | revoke LOGIN | restore LOGIN | lease SECONDS | metrics | stats | drain SECONDS | quit
 *
 * For tests and measurements; "ready" on standard output says that it listens.
 */
#include "base/file.h"
#include "base/hujson.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/proxy/forward.h"
#include "daemon/proxy/front.h"
#include "policy/compile.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

enum { UPS_MAX = 16 };

struct server {
	unsigned renewals;              /* asked for */
	struct loop    *loop;
	struct front   *front;
	const char     *path;
	json_t         *conf;
	uint32_t       *words, *generations;
	char          **logins;
	size_t          count;
	int             log_fd;
	bool            slow_connect;
	uint64_t        seq;
	int64_t         lease_sec;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "front_test_server: %s: %s\n", what, why);
	exit(1);
}

static struct span text(const json_t *o, const char *key)
{
	return span_str(json_string_value(json_object_get(o, key)));
}

static size_t texts(const json_t *o, const char *key, struct span *out, size_t max)
{
	json_t *a = json_object_get(o, key);
	size_t n = json_array_size(a);

	if (n > max)
		die(key, "too many");
	for (size_t i = 0; i < n; i++)
		out[i] = span_str(json_string_value(json_array_get(a, i)));
	return n;
}

static void set_one(struct server *s, size_t i, bool on);

/* ---- the engine's door to the world ---- */

static int dial(const char *to)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len;
	struct ipport at;
	int fd;

	if (strncmp(to, "unix:", 5) == 0) {
		struct sockaddr_un *un = (struct sockaddr_un *)&ss;

		un->sun_family = AF_UNIX;
		if (!span_cstr(span_str(to + 5), un->sun_path, sizeof(un->sun_path)))
			return -1;
		len = sizeof(*un);
	} else {
		struct span s = span_str(strstr(to, "//") + 2);

		if (!ipport_parse(s, &at))
			return -1;
		len = ipport_to_sockaddr(&at, &ss);
	}
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS && errno != EAGAIN) {
		int e = errno;

		close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

struct late {
	struct server       *s;
	struct front_connect ask;
	struct loop_timer   *t;
};

static void answer(struct server *s, const struct front_connect *q)
{
	json_t *services = json_object_get(s->conf, "services"), *v;
	const char *name, *to = NULL;
	uint32_t i = 0;
	int fd;

	json_object_foreach(services, name, v) {
		if (i++ == q->service)
			to = json_string_value(json_array_get(json_object_get(v, "upstream"), q->upstream));
	}
	fd = to ? dial(to) : -1;
	front_connected(s->front, q->cookie, fd, fd < 0 ? errno : 0);
}

static void on_late(void *arg)
{
	struct late *l = arg;

	answer(l->s, &l->ask);
	loop_timer_free(l->t);
	free(l);
}

static void on_connect(void *arg, const struct front_connect *q)
{
	struct server *s = arg;

	if (s->slow_connect) {
		struct late *l = mem_alloc(sizeof(*l));

		l->s = s;
		l->ask = *q;
		l->t = loop_timer_new(s->loop, on_late, l);
		loop_timer_after(l->t, 2 * 1000 * 1000);
		return;
	}
	answer(s, q);
}

/* A coordinator's part: {"codes": {CODE: {"service", "verifier", "cookie", "login", "renews"?}}}, each good once; and
 * {"renew": URL}, likewise, with the hash of the browser's secret behind it; "late" is no answer. */
static void on_browser(void *arg, const struct front_browser *q)
{
	struct server *s = arg;
	json_t *services = json_object_get(s->conf, "services"), *codes = json_object_get(s->conf, "codes"), *v, *row;
	const char *name, *asked = NULL;
	struct span cookie = { 0 };
	uint32_t i = 0;
	char code[256];

	json_object_foreach(services, name, v) {
		if (i++ == q->service)
			asked = name;
	}
	if (q->what == BROWSER_END) {
		if (q->slot < s->count)
			set_one(s, q->slot, false);
		return;
	}
	if (q->what == BROWSER_RENEW) {
		scoped_buf struct buf url = { 0 };
		struct span to = text(s->conf, "renew");

		buf_init(&url, 512);
		buf_add_span(&url, to);
		buf_add_span(&url, q->verifier);
		s->renewals++;
		if (!span_eq(to, SPAN("late")))
			front_browser_answer(s->front, q->id, to.len ? BROWSER_URL : BROWSER_REFUSED, buf_span(&url));
		json_object_del(s->conf, "renew");
		return;
	}
	row = span_cstr(q->code, code, sizeof(code)) ? json_object_get(codes, code) : NULL;
	if (row && asked && span_eq(text(row, "service"), span_str(asked)) &&
	    span_eq(text(row, "verifier"), q->verifier))
		cookie = text(row, "cookie");
	front_browser_answer(s->front, q->id,
	                     !cookie.len                                   ? BROWSER_REFUSED
	                     : json_is_true(json_object_get(row, "renews")) ? BROWSER_RENEWED
	                                                                   : BROWSER_COOKIE,
	                     cookie);
	json_object_del(codes, code);
}

static bool on_log(void *arg, struct span lines, unsigned records)
{
	struct server *s = arg;

	(void)records;
	return s->log_fd < 0 || write(s->log_fd, lines.ptr, lines.len) == (ssize_t)lines.len;
}

static void on_drained(void *arg)
{
	struct server *s = arg;

	printf("drained\n");
	fflush(stdout);
	loop_stop(s->loop);
}

/* ---- the file becomes a snapshot ---- */

static void put_people(struct topology *t, const json_t *ids)
{
	json_t *row;
	size_t i;

	json_array_foreach(ids, i, row) {
		struct span groups[64], tags[16], amr[16];
		struct prefix p;
		struct topology_user u = { .id = i + 10, .login = text(row, "login"), .name = text(row, "name"),
			                   .email = text(row, "email") };
		struct topology_node n = { .id = i + 10, .name = text(row, "login"), .sources = &p,
			                   .source_count = 1, .user = i + 10 };

		/* one person may have several rows: the first is theirs */
		for (size_t k = 0; k < i; k++) {
			if (span_eq(text(json_array_get(ids, k), "login"), u.login)) {
				n.user = u.id = k + 10;
				break;
			}
		}
		u.groups = (struct spans){ groups, texts(row, "groups", groups, 64) };
		/* a node without a session: its person is in another row */
		if (json_object_get(row, "why"))
			continue;
		n.tags = (struct spans){ tags, texts(row, "tags", tags, 16) };
		if (n.tags.count) {
			n.user = 0;
			n.name = text(row, "node");
		} else if (!topology_user_put(t, &u)) {
			die("identities", "a user is beyond a limit");
		}
		n.session.expires = TOPOLOGY_NEVER;
		n.session.auth_time = (struct wall){ json_integer_value(json_object_get(row, "auth_time")) };
		n.session.amr = (struct spans){ amr, texts(row, "amr", amr, 16) };
		if (!prefix_parse(text(row, "address"), &p))
			die("identities", "not an address");
		if (!topology_node_put(t, &n))
			die("identities", "a node is beyond a limit");
	}
}

static void put_services(struct topology *t, const json_t *services)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)services, name, v) {
		struct span hosts[64], listens[16];
		uint16_t ports[16];
		struct topology_service s = { .name = span_str(name), .node = 1, .http = true, .ports = ports };

		s.hosts = (struct spans){ hosts, texts(v, "hosts", hosts, 64) };
		s.port_count = texts(v, "listen", listens, 16);
		for (size_t i = 0; i < s.port_count; i++) {
			struct ipport at = { 0 };

			ipport_parse(listens[i], &at);
			/* of a web server that asks it is not where it asks */
			ports[i] = json_object_get(v, "forward-auth") ? 443 : at.port;
		}
		if (!topology_service_put(t, &s))
			die("services", "beyond a limit");
	}
}

static void add_services(struct server *s, struct snapshot_builder *b, const struct tables *tables)
{
	json_t *v, *services = json_object_get(s->conf, "services");
	const char *name;
	uint32_t index;
	struct err err;

	json_object_foreach(services, name, v) {
		struct span listens[16], hosts[64], profiles[16], origins[64], upgrades[16], ups[UPS_MAX];
		struct upstream_desc up[UPS_MAX] = { { 0 } };
		struct custom_header custom[16] = { { .encoding = VALUE_UTF8 } };
		struct service_desc d = {
			.name = span_str(name), .listens = listens, .hosts = hosts, .profiles = profiles,
			.origins = origins, .upgrades = upgrades, .upstreams = up, .custom = custom,
			.listens_tls = json_is_true(json_object_get(v, "tls")),
			.login_url = text(v, "login-url"),
			.browser_url = text(v, "browser-url"),
			.page = text(v, "error-page"),
			.body_max = json_integer_value(json_object_get(v, "body-max")),
			.first_byte_ns = json_integer_value(json_object_get(v, "first-byte-ms")) * 1000000,
			.connect_ns = json_integer_value(json_object_get(v, "connect-ms")) * 1000000,
			.total_ns = json_integer_value(json_object_get(v, "total-ms")) * 1000000,
			.idle_ns = json_integer_value(json_object_get(v, "idle-ms")) * 1000000,
			.upgrade_idle_ns = json_integer_value(json_object_get(v, "upgrade-idle-ms")) * 1000000,
			.per_identity_max = json_integer_value(json_object_get(v, "per-identity-max")),
			.in_flight_max = json_integer_value(json_object_get(v, "in-flight-max")),
		};
		static const char *const styles[FORWARD_STYLES] = {
			[FORWARD_NGINX] = "nginx", [FORWARD_TRAEFIK] = "traefik", [FORWARD_CADDY] = "caddy",
			[FORWARD_HAPROXY] = "haproxy", [FORWARD_ENVOY] = "envoy", [FORWARD_APACHE] = "apache",
		};
		unsigned char digest[FORWARD_DIGEST_LEN];
		const char *key;
		json_t *value;

		d.health_ns = json_integer_value(json_object_get(v, "health-ms")) * 1000000;
		d.health_timeout_ns = json_integer_value(json_object_get(v, "health-timeout-ms")) * 1000000;
		d.health_fall = (uint32_t)json_integer_value(json_object_get(v, "health-fall"));
		d.health_rise = (uint32_t)json_integer_value(json_object_get(v, "health-rise"));
		d.health_path = text(v, "health-path");
		d.listen_count = texts(v, "listen", listens, 16);
		d.host_count = texts(v, "hosts", hosts, 64);
		d.profile_count = texts(v, "profiles", profiles, 16);
		d.origin_count = texts(v, "origins", origins, 64);
		d.upgrade_count = texts(v, "upgrades", upgrades, 16);
		d.upstream_count = texts(v, "upstream", ups, UPS_MAX);
		json_object_foreach(json_object_get(v, "headers"), key, value)
			custom[d.custom_count++] = (struct custom_header){ span_str(key),
				span_str(json_string_value(value)), VALUE_UTF8 };
		for (size_t i = 0; i < d.upstream_count; i++) {
			up[i].name = ups[i];
			up[i].place = (uint32_t)i;
			up[i].kind = span_starts(ups[i], SPAN("unix:")) ? UPSTREAM_UNIX : UPSTREAM_TCP;
			up[i].tls = span_starts(ups[i], SPAN("https:")) || span_starts(ups[i], SPAN("h2:"));
			up[i].h2 = span_starts(ups[i], SPAN("h2"));
			up[i].tls_lax = json_is_true(json_object_get(v, "lax"));
			up[i].host = text(v, "upstream-name");
		}
		d.flags = (json_is_true(json_object_get(v, "public")) ? SERVICE_PUBLIC : 0u) |
		          (json_is_true(json_object_get(v, "enrolled")) ? SERVICE_ENROLLED : 0u) |
		          (json_is_true(json_object_get(v, "encoded-slashes")) ? SERVICE_ENCODED_SLASH : 0u) |
		          (json_is_true(json_object_get(v, "keep-request-id")) ? SERVICE_KEEP_REQUEST_ID : 0u) |
		          (json_is_true(json_object_get(v, "hash-person")) ? SERVICE_HASH_PERSON : 0u) |
		          (json_is_false(json_object_get(v, "forwarded")) ? SERVICE_NO_XFF : 0u);
		d.policy = tables ? tables_service(tables, d.name) : 0;
		for (unsigned i = 1; i < FORWARD_STYLES; i++)
			if (span_eq(text(v, "forward-auth"), span_str(styles[i])))
				d.forward = i;
		if (d.forward) {
			forward_digest(text(v, "forward-secret"), digest);
			d.forward_secret = span_of(digest, sizeof(digest));
		}
		if (!snapshot_add_service(b, &d, &index, &err))
			die(name, err.msg);
	}
}

static struct snapshot *load(struct server *s)
{
	struct buf file, tables, block, pol_text;
	struct diags diags;
	struct snapshot_builder *b = snapshot_builder_new();
	struct topology *topo = topology_new();
	struct policy *pol;
	struct compile *compile;
	struct hujson *doc;
	struct err err;
	struct wall now = clock_wall();
	json_t *ids, *row;
	size_t i;
	int fd, words_fd;
	struct snapshot *snap;
	struct topology_node self = { .id = 1, .name = SPAN("self") };
	static const struct span self_tag[] = { { "tag:self", 8 } };

	diags_init(&diags, s->path);
	buf_init(&file, 16 << 20);
	buf_init(&tables, TABLES_MAX);
	buf_init(&pol_text, 16 << 20);
	if (!file_read(s->path, 16 << 20, &file, &err))
		die(s->path, err.msg);
	doc = hujson_parse(buf_span(&file), 16 << 20, &diags);
	if (!doc) {
		diags_err(&diags, &err);
		die(s->path, err.msg);
	}
	json_decref(s->conf);
	s->conf = json_incref(hujson_root(doc));
	hujson_free(doc);
	char *dump = json_dumps(json_object_get(s->conf, "policy"), 0);

	pol = policy_parse(span_str(dump), POLICY_FILE, &diags);
	if (!pol) {
		diags_err(&diags, &err);
		die("policy", err.msg);
	}
	free(dump);
	self.tags = (struct spans){ self_tag, 1 };
	ip_parse(SPAN("127.0.0.1"), &self.ip4);
	topology_node_put(topo, &self);
	ids = json_object_get(s->conf, "identities");
	put_people(topo, ids);
	put_services(topo, json_object_get(s->conf, "services"));
	compile = compile_new(pol, NULL, topo, 1, &(struct compile_options){ .login_class = true }, now);
	compile_tables(compile, &tables);
	if (!tables_check(tables.ptr, tables.len, &err))
		die("tables", err.msg);
	snapshot_set_policy(b, buf_span(&tables));

	free(s->generations);
	for (i = 0; i < s->count; i++)
		free(s->logins[i]);
	s->count = json_array_size(ids);
	s->generations = mem_calloc(s->count + 1, sizeof(uint32_t));
	s->logins = mem_realloc(s->logins, s->count + 1, sizeof(char *));
	json_array_foreach(ids, i, row) {
		struct span groups[64], tags[16], amr[16];
		struct compile_peer peer = { 0 };
		struct prefix p;
		uint32_t slot;
		const char *why = json_string_value(json_object_get(row, "why"));
		int64_t expires_ms = json_integer_value(json_object_get(row, "expires-ms"));
		struct ident id = {
			.kind = why ? IDENT_ENROLLED : IDENT_PERSON, .why = why ? WHY_NEVER : WHY_NONE,
			.generation = (uint32_t)json_integer_value(json_object_get(row, "generation")),
			.login = why ? SPAN("") : text(row, "login"), .name = text(row, "name"), .email = text(row, "email"),
			.subject = text(row, "subject"), .issuer = text(row, "issuer"), .user = text(row, "user"),
			.session = text(row, "session"), .node = text(row, "node"),
			.node_name = text(row, "node-name"), .groups = groups, .tags = tags, .amr = amr,
			.auth_time = { json_integer_value(json_object_get(row, "auth_time")) },
			.expires_boot = expires_ms ? boot_add(clock_boot(), expires_ms * 1000000) : BOOT_NEVER,
			.expires = { expires_ms ? now.sec + expires_ms / 1000 + 1 : 0 },
		};

		if (!id.generation)
			id.generation = (uint32_t)i + 1;
		id.group_count = texts(row, "groups", groups, 64);
		id.tag_count = texts(row, "tags", tags, 16);
		if (id.tag_count)
			id.kind = IDENT_TAGGED;
		id.amr_count = texts(row, "amr", amr, 16);
		if (compile_peer(compile, i + 10, &peer))
			id.class4 = id.class6 = peer.class4;
		s->generations[i] = id.generation;
		s->logins[i] = span_dup(text(row, "login"));
		prefix_parse(text(row, "address"), &p);
		if (!snapshot_add_ident(b, &id, &slot, &err))
			die("identities", err.msg);
		if (json_object_get(row, "cookie")) {
			unsigned char hash[EVP_MAX_MD_SIZE];
			char what[512];
			unsigned len;
			int n = snprintf(what, sizeof(what), "reeve cookie v1%c%s%c%s", 0, text(row, "service").ptr, 0,
			                 text(row, "cookie").ptr);

			EVP_Digest(what, (size_t)n, hash, &len, EVP_sha256(), NULL);
			if (!snapshot_add_session(b, hash, slot, &err))
				die("identities", err.msg);
			continue;
		}
		bool host = p.bits == (p.ip.family == IP_V4 ? 32 : 128);

		if (host ? !snapshot_add_addr(b, &p.ip, slot, &err) : !snapshot_add_prefix(b, &p, slot, &err))
			fprintf(stderr, "front_test_server: %s\n", err.msg);
	}
	add_services(s, b, tables_map(tables.ptr));
	snapshot_set_words(b, &(struct snapshot_words){ .mesh = SPAN("test"), .host = SPAN("host.example"),
	                   .login_url = text(s->conf, "login-url"), .source_url = SPAN("https://source.example/"),
	                   .contact = SPAN("the helpdesk"), .page = text(s->conf, "error-page") });
	snapshot_set_lease(b, s->lease_sec ? boot_add(clock_boot(), s->lease_sec * SEC_NS) : BOOT_NEVER, BOOT_NEVER);
	snapshot_set_seq(b, 1, ++s->seq);
	if (!snapshot_finish(b, &block, &err))
		die("snapshot", err.msg);
	fd = snapshot_seal(buf_span(&block), &err);
	words_fd = snapshot_words_new(s->generations, s->count, &s->words, &err);
	if (fd < 0 || words_fd < 0)
		die("snapshot", err.msg);
	snap = snapshot_open(fd, words_fd, &err);
	if (!snap)
		die("snapshot", err.msg);
	close(fd);
	close(words_fd);
	buf_done(&block);
	buf_done(&tables);
	buf_done(&file);
	buf_done(&pol_text);
	diags_done(&diags);
	compile_free(compile);
	policy_unref(pol);
	topology_free(topo);
	return snap;
}

static void listen_all(struct server *s)
{
	json_t *v, *seen = json_object();
	const char *name;
	struct err err;

	json_object_foreach(json_object_get(s->conf, "services"), name, v) {
		struct span listens[16];
		size_t n = texts(v, "listen", listens, 16);

		for (size_t i = 0; i < n; i++) {
			struct sockaddr_storage ss;
			struct ipport at;
			int one = 1, fd;

			if (json_object_get(seen, listens[i].ptr))
				continue;
			json_object_set_new(seen, listens[i].ptr, json_true());
			if (!ipport_parse(listens[i], &at))
				die("listen", listens[i].ptr);

			socklen_t len = ipport_to_sockaddr(&at, &ss);

			fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
			if (bind(fd, (struct sockaddr *)&ss, len) < 0 || listen(fd, 4096) < 0)
				die(listens[i].ptr, strerror(errno));
			if (!front_listener_add(s->front, fd, listens[i], &err))
				die(listens[i].ptr, err.msg);
		}
	}
	json_decref(seen);
}

static void load_tls(struct server *s)
{
	struct buf chain, key;
	struct err err;
	json_t *row, *certs = json_object_get(s->conf, "certificates");
	size_t i;
	const char *roots = json_string_value(json_object_get(s->conf, "roots"));

	buf_init(&chain, 1 << 20);
	buf_init(&key, 1 << 20);
	if (roots && (!file_read(roots, 1 << 20, &chain, &err) || !front_tls_roots(s->front, buf_span(&chain), &err)))
		die(roots, err.msg);
	buf_done(&chain);
	if (json_array_size(certs)) {
		front_tls_begin(s->front);
		json_array_foreach(certs, i, row) {
			if (!file_read(text(row, "certificate").ptr, 1 << 20, &chain, &err) ||
			    !file_read(text(row, "key").ptr, 1 << 20, &key, &err) ||
			    !front_tls_add(s->front, buf_span(&chain), buf_span(&key), &err))
				die("certificates", err.msg);
			buf_done(&chain);
			buf_wipe_done(&key);
		}
		if (!front_tls_commit(s->front, &err))
			die("certificates", err.msg);
	}
}

/* ---- commands ---- */

static void set_one(struct server *s, size_t i, bool on)
{
	__atomic_store_n(&s->words[i], on ? s->generations[i] : 0, __ATOMIC_RELEASE);
	front_sweep(s->front);
}

static void set_word(struct server *s, const char *login, bool on)
{
	for (size_t i = 0; i < s->count; i++) {
		if (strcmp(s->logins[i], login) == 0)
			__atomic_store_n(&s->words[i], on ? s->generations[i] : 0, __ATOMIC_RELEASE);
	}
	front_sweep(s->front);
}

static void command(struct server *s, char *line)
{
	struct rusage ru;
	struct front_stats st;
	struct buf b;

	if (strcmp(line, "reload") == 0) {
		front_snapshot_set(s->front, load(s));
		load_tls(s);
	} else if (strncmp(line, "revoke ", 7) == 0) {
		set_word(s, line + 7, false);
	} else if (strncmp(line, "restore ", 8) == 0) {
		set_word(s, line + 8, true);
	} else if (strncmp(line, "lease ", 6) == 0) {
		s->lease_sec = atol(line + 6);
		front_snapshot_set(s->front, load(s));
	} else if (strncmp(line, "drain ", 6) == 0) {
		front_drain(s->front, boot_add(clock_boot(), atol(line + 6) * SEC_NS));
	} else if (strcmp(line, "metrics") == 0) {
		buf_init(&b, 1 << 20);
		front_metrics(s->front, &b);
		fwrite(b.ptr, 1, b.len, stdout);
		buf_done(&b);
	} else if (strcmp(line, "stats") == 0) {
		front_stats(s->front, &st);
		getrusage(RUSAGE_SELF, &ru);
		printf("{\"requests\":%llu,\"conns\":%u,\"in_flight\":%u,\"accepted\":%llu,\"revoked\":%llu,"
		       "\"renewals\":%u,\"log_lost\":%llu,\"retried\":%llu,\"upgrades\":%u,\"bad\":%llu,\"spliced\":%llu,\"cpu_us\":%llu,\"user_us\":%llu}\n",
		       (unsigned long long)st.requests, st.conns, st.in_flight, (unsigned long long)st.accepted,
		       (unsigned long long)st.revoked, s->renewals, (unsigned long long)st.log_lost,
		       (unsigned long long)st.retried, st.upgrades, (unsigned long long)st.bad,
		       (unsigned long long)st.bytes_spliced,
		       (unsigned long long)((ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 +
		                            ru.ru_utime.tv_usec + ru.ru_stime.tv_usec),
		       (unsigned long long)(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec));
	} else if (strcmp(line, "quit") == 0) {
		loop_stop(s->loop);
	}
	printf("ok\n");
	fflush(stdout);
}

static void on_stdin(void *arg, uint32_t events)
{
	struct server *s = arg;
	static char buf[4096];
	static size_t have;
	ssize_t n = read(0, buf + have, sizeof(buf) - have - 1);
	char *nl;

	(void)events;
	if (n <= 0) {
		loop_stop(s->loop);
		return;
	}
	have += (size_t)n;
	buf[have] = '\0';
	while ((nl = strchr(buf, '\n'))) {
		*nl = '\0';
		command(s, buf);
		have -= (size_t)(nl + 1 - buf);
		memmove(buf, nl + 1, have + 1);
	}
}

int main(int argc, char **argv)
{
	static const struct front_ops ops = { .connect = on_connect, .browser = on_browser, .log = on_log, .drained = on_drained };
	struct server s = { .log_fd = -1 };
	struct front_conf conf = { .name = SPAN("test") };
	struct err err;

	if (argc < 2)
		die("usage", "front_test_server CONFIG [LOG]");
	signal(SIGPIPE, SIG_IGN);
	s.path = argv[1];
	if (argc > 2)
		s.log_fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	s.loop = loop_new(&err);
	if (!s.loop)
		die("loop", err.msg);

	struct snapshot *snap = load(&s);
	const char *log = json_string_value(json_object_get(s.conf, "access-log"));

	s.slow_connect = json_is_true(json_object_get(s.conf, "slow-connect"));
	conf.conn_max = (unsigned)json_integer_value(json_object_get(s.conf, "connections-max"));
	conf.head_ns = json_integer_value(json_object_get(s.conf, "header-ms")) * 1000000;
	conf.keep_ns = json_integer_value(json_object_get(s.conf, "keep-alive-ms")) * 1000000;
	if (log && strcmp(log, "combined") == 0)
		conf.log = FRONT_LOG_COMBINED;
	if (log && strcmp(log, "common") == 0)
		conf.log = FRONT_LOG_COMMON;
	if (log && strcmp(log, "none") == 0)
		conf.log = FRONT_LOG_NONE;
	s.front = front_new(s.loop, &ops, &s, &conf);
	front_snapshot_set(s.front, snap);
	load_tls(&s);
	listen_all(&s);
	fcntl(0, F_SETFL, O_NONBLOCK);

	struct loop_fd *in = loop_fd_add(s.loop, 0, EPOLLIN, on_stdin, &s);

	printf("ready\n");
	fflush(stdout);
	if (!loop_run(s.loop, &err))
		die("loop", err.msg);
	loop_fd_remove(in);
	front_free(s.front);
	loop_free(s.loop);
	for (size_t i = 0; i < s.count; i++)
		free(s.logins[i]);
	free(s.logins);
	free(s.generations);
	json_decref(s.conf);
	return 0;
}
