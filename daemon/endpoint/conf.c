/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/conf.h"

#include "base/encode.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/browser.h"
#include "daemon/control/rotate.h"
#include "daemon/endpoint/names.h"
#include "idp/provider.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define AT(member) .offset = offsetof(struct conf_service, member)

static const char *const encodings[] = {
	"drop", "ascii", "utf8", "rfc2047", "percent", "base64url", NULL,
};
static const char *const balances[] = { "least", "person", NULL };
static const char *const proxy_protocols[] = { "none", "v1", "v2", NULL };
static const char *const forwards[] = {
	"none", "nginx", "traefik", "caddy", "haproxy", "envoy", "apache", NULL,
};
static const char *const basic_users[] = { "login", "short-login", NULL };
static const char *const backends[] = { "auto", "kernel", "userspace", NULL };
static const char *const verifies[] = { "coordinator", "idp", NULL };
static const char *const access_logs[] = { "json", "combined", "common", "none", NULL };
static const char *const log_levels[] = { "error", "warning", "notice", "info", "debug", NULL };

static const struct conf_row header_rows[] = {
	{ "name", CONF_STR, offsetof(struct conf_header, name), 1, 128, NULL,
	  .help = "The header's name." },
	{ "value", CONF_STR, offsetof(struct conf_header, value), 0, 1024, NULL,
	  .help = "Text with fields of the identity in braces: {login}, cn={short-login}." },
	{ "encoding", CONF_ENUM, offsetof(struct conf_header, encoding), .def = "drop",
	  .words = encodings, .help = "How a value that is not printable ASCII travels." },
	CONF_END
};

static const struct conf_row service_rows[] = {
	{ "listen", CONF_STRS, AT(listen), 1, 32, NULL,
	  .help = "Where it listens: PORT on the overlay addresses, ADDRESS:PORT there, "
	          "fd:NAME:PORT for a socket that systemd hands in; with forward-auth also unix:NAME for "
	          "RUN-DIR/forward/NAME, or unix:PATH." },
	{ "hosts", CONF_STRS, AT(hosts), 1, 1024, "",
	  .help = "Names and addresses by which a request may call it; others are answered 421. "
	          "Without any, its own name." },
	{ "upstream", CONF_STRS, AT(upstream), 1, 64, "",
	  .help = "The application: http://HOST:PORT, https://HOST:PORT, "
	          "h2c://HOST:PORT (HTTP/2, for gRPC), h2://HOST:PORT (the same with TLS), "
	          "tcp://HOST:PORT or unix:PATH; fastcgi, scgi or uwsgi as in fastcgi://HOST:PORT and "
	          "fastcgi+unix:PATH. HOST is an address, or a name, which is looked up again and again: each of its "
	          "addresses is used like an upstream of its own." },
	{ "root", CONF_STR, AT(root), 0, 1024, "",
	  .help = "With fastcgi: the folder, on the application's side, in which paths with a script's "
	          "ending are looked up." },
	{ "script", CONF_STR, AT(script), 0, 1024, "",
	  .help = "With fastcgi or scgi: the file, on the application's side, that serves what names no script." },
	{ "upstream-name", CONF_STR, AT(upstream_name), 0, 253, "",
	  .help = "The name that an https upstream's certificate must have; else what stands in \"upstream\"." },
	{ "upstream-lax", CONF_BOOL, AT(upstream_lax), .def = "false",
	  .help = "Take any certificate from an https upstream." },
	{ "tls", CONF_BOOL, AT(tls), .def = "false", .help = "Its listeners speak TLS." },
	{ "tcp", CONF_BOOL, AT(tcp), .def = "false",
	  .help = "It is no HTTP: connections are judged when they come, and bytes go both ways." },
	{ "proxy-protocol", CONF_ENUM, AT(proxy_protocol), .def = "none", .words = proxy_protocols,
	  .help = "The PROXY header by which a tcp service is told who calls; v2 carries the "
	          "identity. nginx before 1.23 takes v1 only." },
	{ "proxy-login-cn", CONF_BOOL, AT(proxy_login_cn), .def = "false",
	  .help = "With v2, also say the login as the common name of a TLS client certificate, which "
	          "Dovecot and others take as the user." },
	{ "proxy-login-authority", CONF_BOOL, AT(proxy_login_authority), .def = "false",
	  .help = "With v2, also say the login as the authority, which HAProxy reads as fc_pp_authority; who calls "
	          "without a login is refused." },
	{ "forward-auth", CONF_ENUM, AT(forward), .def = "none", .words = forwards,
	  .help = "There is no upstream: the web server of this kind stays in front, and asks here for each "
	          "request; see contrib/forward-auth. In \"public\", with \"browser\": for people with only a browser." },
	{ "forward-users", CONF_STRS, AT(forward_users), 1, 64, "",
	  .help = "With forward-auth: the local users whose processes may ask over a unix socket." },
	{ "forward-secret", CONF_PATH, AT(forward_secret), .def = "",
	  .help = "With forward-auth: a file with a secret of at least 32 bytes that the web server says in "
	          "X-Reeve-Secret; on loopback it must." },
	{ "forward-port", CONF_INT, AT(forward_port), 0, 65535, "0",
	  .help = "With forward-auth: where that web server listens, for policy and packet filter; 0 is 80 "
	          "and 443." },
	{ "enrolled", CONF_BOOL, AT(enrolled), .def = "false",
	  .help = "Every node of the mesh may call it, logged in or not, and it is told which one in "
	          "Reeve-* headers: for the coordinator on the hub." },
	{ "browser", CONF_STR, AT(browser), 0, 300, "",
	  .help = "In \"public\": it is for people with only a browser, who log in at the coordinator and reach it at "
	          "https://HOST or https://HOST:PORT. Policy knows it by its name, as it does a service of that name." },
	{ "profiles", CONF_STRS, AT(profiles), 0, 16, "",
	  .help = "Sets of identity headers that it is given, such as remote-user." },
	{ "headers", CONF_LIST, AT(headers), 0, 64, "", .sub = header_rows,
	  .sub_size = sizeof(struct conf_header), .help = "Identity headers of your own." },
	{ "bind-assertion", CONF_BOOL, AT(bind_assertion), .def = "false",
	  .help = "Assertions say for which method and path they are, so that one that leaks is good for no "
	          "other request." },
	{ "basic-secret", CONF_PATH, AT(basic_secret), .def = "",
	  .help = "For an application that knows passwords alone: a file with a secret of at least 16 bytes, "
	          "said as the password of everybody in Authorization: Basic, in place of the client's own." },
	{ "basic-user", CONF_ENUM, AT(basic_user), .def = "login", .words = basic_users,
	  .help = "With basic-secret, what is said as the user's name." },
	{ "origins", CONF_STRS, AT(origins), 0, 256, "",
	  .help = "Other sites whose pages may send it unsafe requests: https://portal.example.edu." },
	{ "upgrades", CONF_STRS, AT(upgrades), 0, 16, "",
	  .help = "Protocols that may be upgraded to, beside websocket." },
	{ "encoded-slashes", CONF_BOOL, AT(encoded_slashes), .def = "false",
	  .help = "Let %2F pass; refused where a path rule applies." },
	{ "keep-request-id", CONF_BOOL, AT(keep_request_id), .def = "false",
	  .help = "Keep a well-formed X-Request-Id of the client." },
	{ "forwarded", CONF_BOOL, AT(forwarded), .def = "true",
	  .help = "Tell it X-Forwarded-For, -Proto and -Host." },
	{ "balance", CONF_ENUM, AT(balance), .def = "least", .words = balances,
	  .help = "Which of several upstreams: the one with least connections, or one per person." },
	{ "login-url", CONF_STR, AT(login_url), 0, 2048, "",
	  .help = "Where people log in for this service, instead of the mesh's place." },
	{ "error-page", CONF_PATH, AT(error_page), .def = "",
	  .help = "Its own page for refusals, instead of the endpoint's." },
	{ "body", CONF_BOOL, AT(body), .def = "true", .help = "Requests may have bodies." },
	{ "body-max", CONF_SIZE, AT(body_max), 0, INT64_C(1) << 50, "0",
	  .help = "Largest body of a request; 0 is the default." },
	{ "connect-timeout", CONF_SECONDS, AT(connect_sec), 0, 300, "0",
	  .help = "How long a connection to the application may take; 0 is the default." },
	{ "first-byte-timeout", CONF_SECONDS, AT(first_byte_sec), 0, 86400, "0",
	  .help = "How long the application may take to begin its response; 0 is the default." },
	{ "idle-timeout", CONF_SECONDS, AT(idle_sec), 0, 86400, "0",
	  .help = "How long neither side may send anything within a request; 0 is the default." },
	{ "total-timeout", CONF_SECONDS, AT(total_sec), 0, 30 * 86400, "0",
	  .help = "How long one request may take in all; 0 is the default." },
	{ "upgrade-idle-timeout", CONF_SECONDS, AT(upgrade_idle_sec), 0, 30 * 86400, "0",
	  .help = "How long an upgraded connection may be silent; 0 is the default." },
	{ "health-interval", CONF_SECONDS, AT(health_sec), 0, 86400, "0",
	  .help = "How often each upstream is asked whether it is well; 0: never. One that is not gets no requests." },
	{ "health-path", CONF_STR, AT(health_path), 0, 1024, "",
	  .help = "Asked by GET with the service's first name in Host; 200 to 399 is well. Without it a connection "
	          "is enough, as it is with tcp, h2c, fastcgi, scgi and uwsgi." },
	{ "health-timeout", CONF_SECONDS, AT(health_timeout_sec), 0, 300, "0",
	  .help = "How long one check may take; 0 is the default." },
	{ "health-fall", CONF_INT, AT(health_fall), 0, 100, "0",
	  .help = "Failures in a row until an upstream counts as down; 0 is the default." },
	{ "health-rise", CONF_INT, AT(health_rise), 0, 100, "0",
	  .help = "Successes in a row until it counts as up again; 0 is the default." },
	{ "per-identity-max", CONF_INT, AT(per_identity_max), 0, 100000, "0",
	  .help = "Requests of one identity at once; 0 is the default." },
	{ "in-flight-max", CONF_INT, AT(in_flight_max), 0, 1000000, "0",
	  .help = "Requests at once in one front; 0 is the default." },
	CONF_END
};
#undef AT

#define AT(member) .offset = offsetof(struct conf_mesh, member)
static const struct conf_row mesh_rows[] = {
	{ "interface", CONF_STR, AT(interface), 1, 15, "reeve0", .help = "Name of the mesh device." },
	{ "port", CONF_INT, AT(port), 0, 65535, "51820",
	  .help = "UDP port of the mesh device; 0 takes any free one." },
	{ "backend", CONF_ENUM, AT(backend), .def = "auto", .words = backends,
	  .help = "The kernel's WireGuard, or wireguard-go; auto takes the kernel's where there is one." },
	{ "hosts-file", CONF_PATH, AT(hosts_file), .def = "/etc/hosts",
	  .help = "Where the names of the mesh are kept, in a marked block; \"\" for nowhere." },
	{ "routes", CONF_STRS, AT(routes), 0, 64, "",
	  .help = "Prefixes behind this host that it offers to the mesh." },
	{ "users", CONF_STRS, AT(users), 0, 256, "",
	  .help = "Local users who may send into the mesh, beside root; none means everybody." },
	CONF_END
};
#undef AT

static const struct conf_row glass_rows[] = {
	{ "key", CONF_STR, offsetof(struct conf_glass, key), 44, 44, NULL,
	  .help = "Its public device key, base64." },
	{ "services", CONF_STRS, offsetof(struct conf_glass, services), 0, 64, "",
	  .help = "Services of this host that it may use." },
	{ "ip", CONF_STRS, offsetof(struct conf_glass, ip), 0, 64, "",
	  .help = "What it may send to this host and to what this host routes, as in a policy's grants: tcp:22." },
	CONF_END
};
static const struct conf_row certificate_rows[] = {
	{ "certificate", CONF_PATH, offsetof(struct conf_certificate, certificate), .def = NULL,
	  .help = "PEM file of the chain, the host's own first." },
	{ "key", CONF_PATH, offsetof(struct conf_certificate, key), .def = NULL,
	  .help = "PEM file of its private key; only its owner may read it." },
	CONF_END
};

#define AT(member) .offset = offsetof(struct conf, member)
static const struct conf_row rows[] = {
	{ "identities", CONF_PATH, AT(identities), .def = "",
	  .help = "Standalone mode: the file that says whose address is whose." },
	{ "map", CONF_PATH, AT(map), .def = "",
	  .help = "The map from this file instead of a coordinator; read again when it changes." },
	{ "policy", CONF_PATH, AT(policy), .def = "",
	  .help = "Standalone mode: the policy. Else the owner's policy, which narrows the mesh's." },
	{ "name", CONF_STR, AT(name), 0, 253, "", .help = "Name of this host in pages; else its host name." },
	{ "state-dir", CONF_PATH, AT(state_dir), 1, 1024, LOCALSTATEDIR "/lib/reeve",
	  .help = "Keys and the last map." },
	{ "run-dir", CONF_PATH, AT(run_dir), 1, 80, RUNSTATEDIR "/reeve", .help = "Sockets." },
	{ "audit", CONF_PATH, AT(audit), .def = "",
	  .help = "File for the audit and access log, one JSON object a line; else the journal." },
	{ "access-log", CONF_ENUM, AT(access_log), .def = "json", .words = access_logs,
	  .help = "Form of lines for requests that passed; refusals stay JSON." },
	{ "log-level", CONF_ENUM, AT(log_level), .def = "info", .words = log_levels,
	  .help = "The most that is said in the journal." },
	{ "fronts", CONF_INT, AT(fronts), 1, CONF_FRONTS_MAX, "2",
	  .help = "Processes that serve \"services\"." },
	{ "public-fronts", CONF_INT, AT(public_fronts), 1, CONF_FRONTS_MAX, "1",
	  .help = "Processes that serve \"public\", where there is any." },
	{ "metrics", CONF_STR, AT(metrics), 0, 200, "",
	  .help = "Where GET /metrics is answered for Prometheus: ADDRESS:PORT, numeric, or unix:/path, which every "
	          "local user may ask. Nowhere if empty." },
	{ "resolvers", CONF_STRS, AT(resolvers), 0, 8, "",
	  .help = "Name servers for the names in \"upstream\": ADDRESS or ADDRESS:PORT. Without any, those of "
	          "/etc/resolv.conf. /etc/hosts comes first." },
	{ "resolve-min", CONF_SECONDS, AT(resolve_min), 1, 86400, "5s",
	  .help = "How long the answer for a name in \"upstream\" holds at least, whatever its time to live." },
	{ "resolve-max", CONF_SECONDS, AT(resolve_max), 1, 86400, "5m",
	  .help = "How long it holds at most." },
	{ "connections-max", CONF_INT, AT(conn_max), 0, 1000000, "0",
	  .help = "Connections of one front; 0 is the default." },
	{ "header-timeout", CONF_SECONDS, AT(header_sec), 0, 3600, "0",
	  .help = "How long a new connection may be silent, and how long a request's head may take from its first "
	          "byte; 0 is the default." },
	{ "keep-alive-timeout", CONF_SECONDS, AT(keep_alive_sec), 0, 86400, "0",
	  .help = "How long a connection may wait for its next request; 0 is the default." },
	{ "user", CONF_STR, AT(user), 1, 32, "reeve", .help = "User of the core process." },
	{ "front-user", CONF_STR, AT(front_user), 1, 32, "reeve-front", .help = "User of the fronts." },
	{ "tunnel-user", CONF_STR, AT(tunnel_user), 1, 32, "reeve-tunnel",
	  .help = "User of the userspace mesh device." },
	{ "unprivileged", CONF_BOOL, AT(unprivileged), .def = "false",
	  .help = "Run without root, every process as the caller: for development, in standalone mode." },
	{ "admins", CONF_STRS, AT(admins), 0, 256, "",
	  .help = "Local users who may change things through the local API, beside root." },
	{ "mesh", CONF_OBJECT, AT(mesh), .def = "", .sub = mesh_rows, .help = "The mesh device." },
	{ "services", CONF_MAP, AT(services), 0, 512, "", .sub = service_rows,
	  .sub_size = sizeof(struct conf_service), .help = "What is served to identities, by name." },
	{ "public", CONF_MAP, AT(public), 0, 512, "", .sub = service_rows,
	  .sub_size = sizeof(struct conf_service),
	  .help = "What is served to strangers, without identity or policy, by processes of its own." },
	{ "certificates", CONF_LIST, AT(certificates), 0, 64, "", .sub = certificate_rows,
	  .sub_size = sizeof(struct conf_certificate),
	  .help = "For listeners that speak TLS; without any, core makes one and logs its pin." },
	{ "upstream-roots", CONF_PATH, AT(upstream_roots), .def = "",
	  .help = "PEM bundle that the certificates of https upstreams are verified against." },
	{ "verify", CONF_ENUM, AT(verify), .def = "coordinator", .words = verifies,
	  .help = "Whether the coordinator's word makes an identity, or evidence that is checked here." },
	{ "issuers", CONF_MAP, AT(issuers), 0, PROVIDERS_MAX, "", .sub = provider_rows,
	  .sub_size = sizeof(struct provider),
	  .help = "With verify: idp, the identity providers whose word counts here; each needs its device-client-id." },
	{ "evidence-max-age", CONF_SECONDS, AT(evidence_max_age), 1, 30 * 86400, "12h",
	  .help = "With verify: idp, how long a login counts, from the moment that the person proved themselves." },
	{ "break-glass", CONF_MAP, AT(glass), 0, 64, "", .sub = glass_rows, .sub_size = sizeof(struct conf_glass),
	  .help = "Device keys that keep working here when coordinator and identity provider are gone, or say no." },
	{ "server-keys", CONF_STRS, AT(server_keys), 0, 1024, "",
	  .help = "With verify: idp, public device keys (base64) of servers that may act as their tags here." },
	{ "key-max-age", CONF_SECONDS, AT(key_max_age), 0, ROTATE_AGE_MAX, "0",
	  .help = "This node gives itself another device key when its own is about so old: at least 1h. 0: as the "
	          "coordinator's configuration says." },
	{ "key-overlap", CONF_SECONDS, AT(key_overlap), 0, 86400, "1h",
	  .help = "How long the IPv6 address of a key that was changed goes on, this node's and others' here, for what is "
	          "open over it." },
	{ "key-by-hand", CONF_BOOL, AT(key_by_hand), .def = "false",
	  .help = "The device key changes by reeve rotate alone, whatever the coordinator's configuration says." },
	{ "login-url", CONF_STR, AT(login_url), 0, 2048, "", .help = "Where people log in." },
	{ "source-url", CONF_STR, AT(source_url), 0, 2048, "",
	  .help = "Where the source of this program can be had; pages link to it." },
	{ "contact", CONF_STR, AT(contact), 0, 512, "", .help = "Whom people may ask, in words." },
	{ "error-page", CONF_PATH, AT(error_page), .def = "",
	  .help = "An HTML file that people are shown instead of our page when a request goes no further; {title}, "
	          "{what}, {who}, {todo}, {login} and others stand for what there is to say (doc/http 10)." },
	{ "watchdog", CONF_SECONDS, AT(watchdog_sec), 0, 3600, "60s",
	  .help = "A process that does not answer for so long is killed and started again; 0: never." },
	{ "drain", CONF_SECONDS, AT(drain_sec), 0, 3600, "30s",
	  .help = "How long open requests may go on after SIGTERM." },
	CONF_END
};
#undef AT

const char *conf_forward_name(int forward)
{
	return forwards[forward];
}

const struct conf_row *conf_rows(void)
{
	return rows;
}

const struct conf_service *conf_service(const struct conf_map *services, size_t i)
{
	return (const struct conf_service *)services->items + i;
}

const struct conf_service *conf_service_find(const struct conf_map *services, const char *name)
{
	for (size_t i = 0; i < services->count; i++)
		if (strcmp(services->names[i], name) == 0)
			return conf_service(services, i);
	return NULL;
}

bool conf_listen_parse(struct span text, struct conf_listen *ret_l, struct err *err)
{
	struct conf_listen l = { 0 };
	uint64_t port;

	if (span_starts(text, SPAN("fd:"))) {
		struct span rest = span_from(text, 3);

		l.kind = CONF_LISTEN_FD;
		if (!span_next(&rest, ':', &l.name) || l.name.len == 0 || l.name.len > 200 ||
		    !span_u64(rest, 65535, &port))
			return err_set(err, ERR_SYNTAX, "want \"fd:NAME:PORT\"");
		l.at.port = (uint16_t)port;
	} else if (span_starts(text, SPAN("unix:"))) {
		struct sockaddr_un sun;

		l.kind = CONF_LISTEN_UNIX;
		l.name = span_from(text, 5);
		if (l.name.len == 0 || (l.name.ptr[0] != '/' && (span_find(l.name, '/') < l.name.len ||
		                                                 l.name.ptr[0] == '.')))
			return err_set(err, ERR_SYNTAX, "want \"unix:NAME\" or \"unix:/PATH\"");
		if (l.name.len >= sizeof(sun.sun_path))
			return err_set(err, ERR_LIMIT, "a socket's path has at most %zu bytes",
			               sizeof(sun.sun_path) - 1);
		*ret_l = l;
		return true;
	} else if (span_u64(text, 65535, &port)) {
		l.kind = CONF_LISTEN_PORT;
		l.at.port = (uint16_t)port;
	} else if (ipport_parse(text, &l.at)) {
		l.kind = CONF_LISTEN_AT;
	} else {
		return err_set(err, ERR_SYNTAX, "want PORT, ADDRESS:PORT or fd:NAME:PORT");
	}
	if (l.at.port == 0)
		return err_set(err, ERR_SYNTAX, "port 0 is no port");
	*ret_l = l;
	return true;
}

size_t conf_service_ports(const struct conf_service *s, uint16_t *ret_ports, size_t max)
{
	size_t n = 0;

	for (size_t k = 0; k < s->listen.count && n < max; k++) {
		struct conf_listen l;

		/* of a web server that asks, where it is asked says nothing; a socket from outside may */
		if (conf_listen_parse(span_str(s->listen.list[k]), &l, NULL) && l.at.port &&
		    (!s->forward || (l.kind == CONF_LISTEN_FD && !s->forward_port)))
			ret_ports[n++] = l.at.port;
	}
	if (s->forward && s->forward_port && n < max) {
		ret_ports[n++] = (uint16_t)s->forward_port;
	} else if (s->forward && n == 0 && max >= 2) {
		ret_ports[n++] = 80;
		ret_ports[n++] = 443;
	}
	return n;
}

static int gateway_of(const struct conf_upstream *u)
{
	return u->fastcgi ? 1 : u->scgi ? 2 : u->uwsgi ? 3 : 0;
}

/* "fastcgi://" and "fastcgi+" go; what is left is an address, or "unix:" and a path.
 * Nothing is left of what has neither behind it. */
static bool gateway_prefix(struct conf_upstream *u, struct span *text)
{
	static const char *const names[] = { "fastcgi", "scgi", "uwsgi" };

	for (int i = 0; i < 3; i++) {
		struct span rest = span_from(*text, strlen(names[i]));

		if (!span_starts(*text, span_str(names[i])))
			continue;
		u->fastcgi = i == 0;
		u->scgi = i == 1;
		u->uwsgi = i == 2;
		*text = span_starts(rest, SPAN("://")) ? span_from(rest, 3)
		      : span_starts(rest, SPAN("+unix:")) ? span_from(rest, 1) : (struct span){ 0 };
		return true;
	}
	return false;
}

/* "10.0.0.1:80", "[fd00::1]:80", "app.example.edu:80"; def is the port where none is said, 0: it must be. */
static bool host_and_port(struct span at, uint16_t def, struct conf_upstream *u)
{
	size_t colon = span_find(at, ':');
	struct span rest = span_from(at, colon < at.len ? colon + 1 : at.len);
	uint64_t n = def;

	u->host = at;
	if (ipport_parse(at, &u->at)) {
		while (u->host.ptr[--u->host.len] != ':')
			;
	} else if (at.len && at.ptr[0] != '[' && span_find(rest, ':') == rest.len) {
		u->host.len = colon;
		if (!ip_parse(u->host, &u->at.ip))
			u->name = u->host;
		if ((colon < at.len && !span_u64(rest, 65535, &n)) || (colon == at.len && !n))
			return false;
		u->at.port = (uint16_t)n;
	} else {
		if (!def || at.len < 3 || at.ptr[0] != '[' || at.ptr[at.len - 1] != ']' ||
		    !ip_parse(span_head(span_from(at, 1), at.len - 2), &u->at.ip))
			return false;
		u->at.port = def;
	}
	if (u->host.len > 2 && u->host.ptr[0] == '[' && u->host.ptr[u->host.len - 1] == ']')
		u->host = span_head(span_from(u->host, 1), u->host.len - 2);
	if (span_eq(u->name, SPAN("localhost"))) {      /* the one name that needs no looking up */
		u->name = (struct span){ 0 };
		return ip_parse(SPAN("127.0.0.1"), &u->at.ip);
	}
	return u->name.len == 0 || names_name_ok(u->name);
}

bool conf_upstream_parse(struct span text, struct conf_upstream *ret_u, struct err *err)
{
	struct conf_upstream u = { 0 };
	uint16_t port = 0;
	struct span at;

	if (gateway_prefix(&u, &text) && text.len == 0)
		return err_set(err, ERR_SYNTAX, "want \"://\" or \"+unix:\" after the protocol");
	if (span_starts(text, SPAN("unix:"))) {
		struct sockaddr_un sun;

		u.is_unix = true;
		u.path = span_from(text, 5);
		if (u.path.len == 0 || u.path.ptr[0] != '/')
			return err_set(err, ERR_SYNTAX, "want an absolute path after \"unix:\"");
		if (u.path.len >= sizeof(sun.sun_path))
			return err_set(err, ERR_LIMIT, "a socket's path has at most %zu bytes",
			               sizeof(sun.sun_path) - 1);
		*ret_u = u;
		return true;
	}
	if (gateway_of(&u)) {
		at = text;
	} else if (span_starts(text, SPAN("http://"))) {
		at = span_from(text, 7);
		port = 80;
	} else if (span_starts(text, SPAN("https://"))) {
		at = span_from(text, 8);
		port = 443;
		u.tls = true;
	} else if (span_starts(text, SPAN("h2c://")) || span_starts(text, SPAN("h2://"))) {
		u.h2 = true;
		u.tls = text.ptr[2] == ':';
		at = span_from(text, u.tls ? 5 : 6);
		port = u.tls ? 443 : 0;
	} else if (span_starts(text, SPAN("tcp://"))) {
		at = span_from(text, 6);
		u.tcp = true;
	} else {
		return err_set(err, ERR_SYNTAX,
		               "want http://, https://, h2c://, h2://, tcp://, fastcgi://, scgi://, uwsgi:// or unix:");
	}
	if (span_ends(at, SPAN("/")))
		at.len--;
	if (!host_and_port(at, port, &u))
		return err_set(err, ERR_SYNTAX, "want a name or an address and a port, and no path, after \"//\"");
	if (u.at.port == 0)
		return err_set(err, ERR_SYNTAX, "port 0 is no port");
	*ret_u = u;
	return true;
}

/* What has listened so far: one key must not mean two things. */
struct seen {
	struct { struct span key; bool tls, tcp, public; const struct conf_service *first; } *list;
	size_t n, cap;
};

static bool same_strs(const struct conf_strs *a, const struct conf_strs *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->list[i], b->list[i]) != 0)
			return false;
	return true;
}

/* Who may ask, and how, is a listener's: before the question is read, there is no service. */
static bool same_forward(const struct conf_service *a, const struct conf_service *b)
{
	return a->forward == b->forward && same_strs(&a->forward_users, &b->forward_users) &&
	       strcmp(a->forward_secret, b->forward_secret) == 0;
}

static bool check_forward_listen(const struct conf_service *s, const struct conf_listen *l, struct place at,
                                 struct diags *diags)
{
	if (!s->forward && l->kind == CONF_LISTEN_UNIX)
		return diag_error(diags, at, "\"listen\": a unix socket is for services with \"forward-auth\"");
	if (!s->forward)
		return true;
	if (l->kind == CONF_LISTEN_PORT || (l->kind == CONF_LISTEN_AT && !ip_is_loopback(&l->at.ip)))
		return diag_error(diags, at, "\"listen\": a web server asks over unix:NAME or on loopback");
	if (l->kind == CONF_LISTEN_AT && !*s->forward_secret)
		return diag_error(diags, at, "\"listen\": on loopback nobody knows who asks; want a \"forward-secret\"");
	if (l->kind == CONF_LISTEN_UNIX && s->forward_users.count == 0)
		return diag_error(diags, at, "\"listen\": who may ask there? want \"forward-users\"");
	return true;
}

/* What goes with a web server that asks, and what does not. */
static bool check_forward(const struct conf_service *s, struct place at, bool public, struct diags *diags)
{
	if (!s->forward) {
		if (s->upstream.count == 0)
			return diag_error(diags, at, "\"upstream\" is missing");
		if (s->forward_users.count || *s->forward_secret || s->forward_port)
			return diag_error(diags, at, "\"forward-users\", \"forward-secret\" and \"forward-port\" go "
			                  "with \"forward-auth\"");
		return true;
	}
	if (s->tcp || s->tls || s->enrolled || s->upstream.count)
		return diag_error(diags, at, "\"forward-auth\" goes with neither \"upstream\", \"tcp\", \"tls\" "
		                  "nor \"enrolled\"");
	if (public && !*s->browser)
		return diag_error(diags, at, "\"forward-auth\" in \"public\": who asks is said by a browser's cookie; want "
		                  "\"browser\"");
	return true;
}

static bool check_listen(const struct conf *c, struct seen *seen, const struct conf_service *s,
                         size_t i, bool public, struct diags *diags)
{
	struct span key = span_str(s->listen.list[i]);
	struct place at = s->listen.at[i];
	struct conf_listen l;
	struct err err;
	char shown[LOG_TEXT_MAX];

	if (!conf_listen_parse(key, &l, &err))
		return diag_error(diags, at, "\"listen\": \"%s\": %s", log_text(key, shown), err.msg);
	if (l.kind == CONF_LISTEN_PORT && c->mode == CONF_STANDALONE)
		return diag_error(diags, at, "\"listen\": \"%s\": a port alone listens on the overlay "
		                  "addresses, and standalone mode has none; want ADDRESS:PORT",
		                  log_text(key, shown));
	if (!check_forward_listen(s, &l, at, diags))
		return false;
	for (size_t k = 0; k < seen->n; k++) {
		if (!span_eq(seen->list[k].key, key))
			continue;
		if (!same_forward(seen->list[k].first, s))
			return diag_error(diags, at, "\"listen\": \"%s\": services that share it need the same "
			                  "\"forward-auth\", \"forward-users\" and \"forward-secret\"",
			                  log_text(key, shown));
		if (seen->list[k].public != public)
			return diag_error(diags, at, "\"listen\": \"%s\" serves both identities and strangers",
			                  log_text(key, shown));
		if (seen->list[k].tcp || s->tcp)
			return diag_error(diags, at, "\"listen\": \"%s\": a tcp service shares its place with "
			                  "nobody: nothing in its bytes says whom they are for", log_text(key, shown));
		if (seen->list[k].tls != s->tls)
			return diag_error(diags, at, "\"listen\": \"%s\" speaks TLS for one service and not "
			                  "for another", log_text(key, shown));
		return true;
	}
	if (seen->n == seen->cap) {
		seen->cap = seen->cap ? seen->cap * 2 : 16;
		seen->list = mem_realloc(seen->list, seen->cap, sizeof(*seen->list));
	}
	seen->list[seen->n].key = key;
	seen->list[seen->n].first = s;
	seen->list[seen->n].tls = s->tls;
	seen->list[seen->n].tcp = s->tcp;
	seen->list[seen->n++].public = public;
	return true;
}

static bool is_local(const struct conf_service *s)
{
	for (size_t k = 0; k < s->listen.count; k++) {
		struct conf_listen l;

		if (!conf_listen_parse(span_str(s->listen.list[k]), &l, NULL) || l.kind != CONF_LISTEN_AT ||
		    !ip_is_loopback(&l.at.ip))
			return false;
	}
	return true;
}

/* The cookie that says who it is travels by TLS alone: ours, or of what stands before us on this host. */
static bool check_browser(const struct conf *c, const struct conf_service *s, struct place at, bool public,
                          struct diags *diags)
{
	struct span host = span_from(span_str(s->browser), 8);

	if (!*s->browser)
		return true;
	if (!public || s->tcp || s->enrolled)
		return diag_error(diags, at, "\"browser\" is for services in \"public\", without \"tcp\" and \"enrolled\"");
	if (!browser_origin_ok(span_str(s->browser)))
		return diag_error(diags, at, "\"browser\": want https://HOST or https://HOST:PORT, in lower case");
	if (c->mode == CONF_STANDALONE)
		return diag_error(diags, at, "\"browser\": people log in at a coordinator, and standalone mode has none");
	if (c->verify == CONF_VERIFY_IDP)
		return diag_error(diags, at, "\"browser\": with \"verify\": \"idp\" nobody counts without evidence, and a "
		                  "browser has none");
	/* where a web server asks, it is that server's TLS; who may ask has been looked at */
	if (!s->tls && !s->forward && !is_local(s))
		return diag_error(diags, at, "\"browser\": want \"tls\", or listeners on loopback alone");
	host.len = span_find(host, ':');
	for (size_t k = 0; k < s->hosts.count; k++)
		if (span_ieq(span_str(s->hosts.list[k]), host))
			return true;
	return diag_error(diags, at, "\"browser\": its host is not among \"hosts\"");
}

static bool check_services(const struct conf *c, struct seen *seen, const struct conf_map *map,
                           bool public, struct diags *diags)
{
	bool ok = true;

	for (size_t i = 0; i < map->count; i++) {
		const struct conf_service *s = conf_service(map, i);

		for (size_t k = 0; k < s->listen.count; k++)
			ok &= check_listen(c, seen, s, k, public, diags);
		ok &= check_forward(s, map->at[i], public, diags);
		int gateway = 0;
		bool h2 = false;

		for (size_t k = 0; k < s->upstream.count; k++) {
			struct span text = span_str(s->upstream.list[k]);
			struct conf_upstream u = { 0 };
			struct err err;
			char shown[LOG_TEXT_MAX];

			if (!conf_upstream_parse(text, &u, &err))
				ok = diag_error(diags, s->upstream.at[k], "\"upstream\": \"%s\": %s",
				                log_text(text, shown), err.msg);
			else if (k > 0 && (gateway_of(&u) != gateway || u.h2 != h2))
				ok = diag_error(diags, s->upstream.at[k],
				                "\"upstream\": \"%s\": all of one service speak the same protocol",
				                log_text(text, shown));
			else if (gateway_of(&u) && (s->tcp || s->encoded_slashes))
				ok = diag_error(diags, s->upstream.at[k],
				                "\"upstream\": \"%s\" goes with neither \"tcp\" nor \"encoded-slashes\": "
				                "the application is told decoded paths", log_text(text, shown));
			else if (!u.is_unix && u.tcp != s->tcp)
				ok = diag_error(diags, s->upstream.at[k],
				                s->tcp ? "\"upstream\": \"%s\": a tcp service wants tcp:// or unix:"
				                       : "\"upstream\": \"%s\": tcp:// is for services with \"tcp\": true",
				                log_text(text, shown));
			else if (u.tls && !s->upstream_lax && !*c->upstream_roots)
				ok = diag_error(diags, s->upstream.at[k],
				                "\"upstream\": \"%s\" cannot be verified without \"upstream-roots\"",
				                log_text(text, shown));
			gateway = gateway_of(&u);
			h2 = u.h2;
		}
		if (*s->health_path && (*s->health_path != '/' || gateway || h2 || s->tcp || !s->health_sec))
			ok = diag_error(diags, map->at[i], "\"health-path\" is an absolute path, for http, https and "
			                "unix upstreams, and wants a \"health-interval\"");
		if ((*s->root || *s->script) && (!gateway || (*s->root && *s->root != '/') ||
		                                 (*s->script && *s->script != '/')))
			ok = diag_error(diags, map->at[i], "\"root\" and \"script\" are absolute paths, for "
			                "fastcgi, scgi and uwsgi upstreams");
		if (*s->basic_secret && (s->tcp || s->forward || gateway || public || s->enrolled))
			ok = diag_error(diags, map->at[i], "\"basic-secret\" is for applications behind http:// or unix:, "
			                "and for people");
		if (s->tcp && (s->profiles.count || s->headers.count))
			ok = diag_error(diags, map->at[i], "a tcp service has no headers: \"proxy-protocol\" tells it "
			                "who calls");
		if (!s->tcp && s->proxy_protocol != CONF_PROXY_NONE)
			ok = diag_error(diags, map->at[i], "\"proxy-protocol\" is for services with \"tcp\": true");
		if ((s->proxy_login_cn || s->proxy_login_authority) && s->proxy_protocol != CONF_PROXY_V2)
			ok = diag_error(diags, map->at[i], "\"proxy-login-cn\" and \"proxy-login-authority\" want "
			                "\"proxy-protocol\": \"v2\"");
		ok &= check_browser(c, s, map->at[i], public, diags);
		if (public && !*s->browser && (s->profiles.count || s->headers.count))
			ok = diag_error(diags, map->at[i], "\"public\": no identity is known there, so there "
			                "are no \"profiles\" or \"headers\" to write");
	}
	return ok;
}

/* Evidence is of a device client: without one nobody could ever count. */
static bool check_issuers(const struct conf *c, struct diags *diags)
{
	bool ok = true;

	for (size_t i = 0; i < c->issuers.count; i++) {
		const struct provider *p = (const struct provider *)c->issuers.items + i;
		struct err err;

		if (!provider_check(p, c->issuers.names[i], &err))
			ok = diag_error(diags, c->issuers.at[i], "\"issuers\": %s", err.msg);
		else if (!*p->device_client_id)
			ok = diag_error(diags, c->issuers.at[i], "\"issuers\": %s has no \"device-client-id\": nothing is evidence",
			                c->issuers.names[i]);
	}
	if (c->verify == CONF_VERIFY_IDP && c->mode == CONF_STANDALONE)
		ok = diag_error(diags, (struct place){ 0, 0 }, "\"verify\": \"idp\" is for a mesh; standalone mode believes its file");
	else if (c->verify == CONF_VERIFY_IDP && c->issuers.count == 0)
		ok = diag_error(diags, (struct place){ 0, 0 }, "\"verify\": \"idp\" needs \"issuers\"");
	return ok;
}

static bool metrics_ok(struct span at)
{
	struct sockaddr_un sun;
	struct ipport ip;

	if (span_starts(at, SPAN("unix:/")))
		return at.len - 5 < sizeof(sun.sun_path);
	return ipport_parse(at, &ip) && ip.port;
}

/* The name becomes part of a tag and, where the map lacks the node, its host name. */
static bool check_glass(const struct conf *c, struct diags *diags)
{
	bool ok = true;

	for (size_t i = 0; i < c->glass.count; i++) {
		const struct conf_glass *g = (const struct conf_glass *)c->glass.items + i;
		const char *name = c->glass.names[i];
		size_t len = strlen(name), n;
		uint8_t key[32];

		if (len > 40 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != len || *name == '-' ||
		    name[len - 1] == '-')
			ok = diag_error(diags, c->glass.at[i], "\"break-glass\": a name has 1 to 40 of a-z, 0-9 and '-'");
		if (!base64_decode(span_str(g->key), key, sizeof(key), &n) || n != sizeof(key))
			ok = diag_error(diags, c->glass.at[i], "\"break-glass\": \"key\" is no public device key (base64 of 32 bytes)");
	}
	return ok;
}

static bool check_names(const struct conf *c, struct diags *diags)
{
	const struct conf_map *maps[] = { &c->services, &c->public };
	size_t names = 0;
	bool ok = true;

	for (size_t i = 0; i < c->resolvers.count; i++) {
		struct span text = span_str(c->resolvers.list[i]);
		char shown[LOG_TEXT_MAX];

		if (!names_server_ok(text))
			ok = diag_error(diags, c->resolvers.at[i], "\"resolvers\": \"%s\": want ADDRESS or ADDRESS:PORT",
			                log_text(text, shown));
	}
	if (c->resolve_min > c->resolve_max)
		ok = diag_error(diags, (struct place){ 0, 0 }, "\"resolve-min\" is longer than \"resolve-max\"");
	for (size_t m = 0; m < array_size(maps); m++)
		for (size_t i = 0; i < maps[m]->count; i++)
			for (size_t k = 0; k < conf_service(maps[m], i)->upstream.count; k++) {
				struct conf_upstream u;

				if (conf_upstream_parse(span_str(conf_service(maps[m], i)->upstream.list[k]), &u, NULL) &&
				    u.name.len && ++names == NAMES_MAX + 1)
					ok = diag_error(diags, conf_service(maps[m], i)->upstream.at[k],
					                "\"upstream\": more than %d names", NAMES_MAX);
			}
	return ok;
}

static bool check(struct conf *c, struct diags *diags)
{
	struct place whole = { 0, 0 };
	struct seen seen = { 0 };
	bool ok = true;

	c->mode = *c->identities ? CONF_STANDALONE : *c->map ? CONF_MAP_FILE : CONF_MESH;
	if (*c->identities && *c->map)
		ok = diag_error(diags, whole, "\"identities\" and \"map\" are two different modes");
	if (c->mode == CONF_STANDALONE && !*c->policy)
		ok = diag_error(diags, whole, "standalone mode needs a \"policy\"");
	if (c->mode != CONF_STANDALONE && c->unprivileged)
		ok = diag_error(diags, whole, "\"unprivileged\": a mesh needs root");
	ok &= check_services(c, &seen, &c->services, false, diags);
	ok &= check_services(c, &seen, &c->public, true, diags);
	ok &= check_issuers(c, diags);
	ok &= check_glass(c, diags);
	ok &= check_names(c, diags);
	if (c->key_max_age && c->key_max_age < ROTATE_AGE_MIN)
		ok = diag_error(diags, whole, "\"key-max-age\": want 0, or at least 1h");
	if (c->key_max_age && c->key_by_hand)
		ok = diag_error(diags, whole, "\"key-by-hand\" and a \"key-max-age\" contradict each other");
	if (*c->metrics && !metrics_ok(span_str(c->metrics)))
		ok = diag_error(diags, whole, "\"metrics\": want ADDRESS:PORT, numeric, or unix:/path");
	for (size_t i = 0; i < c->mesh.routes.count; i++) {
		struct prefix p;
		char shown[LOG_TEXT_MAX];

		if (!prefix_parse(span_str(c->mesh.routes.list[i]), &p))
			ok = diag_error(diags, c->mesh.routes.at[i], "\"routes\": \"%s\" is no prefix",
			                log_text(span_str(c->mesh.routes.list[i]), shown));
	}
	free(seen.list);
	return ok;
}

struct conf *conf_new(struct span text, const char *dir, struct diags *diags)
{
	struct conf *c = mem_alloc(sizeof(*c));

	if (text.len > CONF_TEXT_MAX) {
		diag_error(diags, (struct place){ 0, 0 }, "larger than %d bytes", CONF_TEXT_MAX);
		free(c);
		return NULL;
	}
	if (!conf_parse(rows, c, sizeof(*c), text, dir, diags)) {
		free(c);
		return NULL;
	}
	if (!check(c, diags)) {
		diags_sort(diags);
		conf_free(c);
		return NULL;
	}
	return c;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	conf_done(rows, c);
	free(c);
}
