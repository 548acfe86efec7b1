/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_CONF_H
#define ENDPOINT_CONF_H

/*
 * What reeved reads from its configuration file, as a struct. The table in
 * conf.c is the only list of keys: parser, `reeved -n`, `reeved --print` and
 * the manual read it. Every process parses the same text for itself.
 *
 * Beyond types, conf_new() checks what contradicts itself; it opens no file.
 */

#include "base/conf.h"
#include "base/err.h"

enum { CONF_TEXT_MAX = 1 << 20 };       /* bytes of the configuration file */
enum { CONF_FRONTS_MAX = 64 };          /* fronts, and public fronts */

enum conf_mode {
	CONF_STANDALONE,        /* identities from a file; no device, no coordinator */
	CONF_MAP_FILE,          /* the map from a file; mesh, no coordinator */
	CONF_MESH,              /* enrolled at a coordinator */
};

enum conf_backend { CONF_BACKEND_AUTO, CONF_BACKEND_KERNEL, CONF_BACKEND_USERSPACE };
enum conf_verify { CONF_VERIFY_COORDINATOR, CONF_VERIFY_IDP };
enum conf_access_log { CONF_LOG_JSON, CONF_LOG_COMBINED, CONF_LOG_COMMON, CONF_LOG_NONE };
enum conf_proxy_protocol { CONF_PROXY_NONE, CONF_PROXY_V1, CONF_PROXY_V2 };
enum conf_forward {              /* as enum forward_style (daemon/proxy/forward.h) */
	CONF_FORWARD_NONE, CONF_FORWARD_NGINX, CONF_FORWARD_TRAEFIK, CONF_FORWARD_CADDY, CONF_FORWARD_HAPROXY,
	CONF_FORWARD_ENVOY, CONF_FORWARD_APACHE,
};
enum conf_basic_user { CONF_BASIC_LOGIN, CONF_BASIC_SHORT };
enum conf_balance { CONF_BALANCE_LEAST, CONF_BALANCE_PERSON };

struct conf_header {                    /* a header of the owner's own */
	char *name, *value;
	int   encoding;                 /* enum value_encoding (daemon/proxy/snapshot.h) */
};

/* One of "services" or "public". Zero bounds are daemon/proxy's defaults. */
struct conf_service {
	struct conf_strs listen;        /* conf_listen_parse() takes each */
	struct conf_strs hosts;
	struct conf_strs upstream;      /* conf_upstream_parse() takes each */
	char            *upstream_name; /* the name in an https upstream's certificate; "": its address */
	bool             upstream_lax;
	bool             tls;           /* its listeners speak TLS */
	bool             bind_assertion;        /* one for each method and path */
	char            *basic_secret;  /* file; "": no Basic authentication of ours */
	int              basic_user;    /* enum conf_basic_user */
	char            *root, *script; /* of fastcgi and scgi upstreams */
	bool             tcp;           /* no HTTP */
	int              proxy_protocol; /* enum conf_proxy_protocol */
	bool             proxy_login_cn, proxy_login_authority; /* the login where its readers look */
	int              forward;       /* enum conf_forward: no upstream; a web server asks */
	struct conf_strs forward_users; /* local users who may ask over a unix socket */
	char            *forward_secret; /* file; "": none */
	char            *browser;       /* "" or "https://HOST": for people with only a browser, who reach it there */
	int64_t          forward_port;  /* where that web server listens; 0: 80 and 443 */
	bool             enrolled;      /* SERVICE_ENROLLED: the coordinator's mesh listener, on the hub */
	struct conf_strs profiles;
	struct conf_map  headers;       /* of struct conf_header */
	struct conf_strs origins, upgrades;
	bool             encoded_slashes, keep_request_id, forwarded;
	int              balance;       /* enum conf_balance */
	char            *login_url;
	char            *error_page;    /* file; "": the endpoint's */
	int64_t          body_max;      /* bytes; 0: the default */
	bool             body;          /* false: no bodies at all */
	char            *health_path;   /* "": a connection is enough */
	int64_t          health_sec, health_timeout_sec, health_fall, health_rise;      /* health_sec 0: not asked */
	int64_t          connect_sec, first_byte_sec, idle_sec, total_sec, upgrade_idle_sec;
	int64_t          per_identity_max, in_flight_max;
};

struct conf_mesh {
	char            *interface;
	int64_t          port;
	int              backend;       /* enum conf_backend */
	char            *hosts_file;    /* "": leave hosts files alone */
	struct conf_strs routes;        /* prefixes that this gateway offers */
	struct conf_strs users;         /* local users who may send into the mesh; none: everybody */
};

struct conf_glass {                     /* one of "break-glass": glass.h */
	char            *key;           /* public device key, base64 */
	struct conf_strs services;      /* of this host */
	struct conf_strs ip;            /* "tcp:22": on this host and behind it */
};

struct conf_certificate { char *certificate, *key; };

struct conf {
	enum conf_mode   mode;          /* worked out from the rest */
	char            *identities, *map, *policy;     /* "" where not given */
	char            *name;          /* of this host, in pages; "": its host name */
	char            *state_dir, *run_dir;
	char            *audit;         /* "": to the journal */
	int              access_log;    /* enum conf_access_log */
	int              log_level;     /* index into error, warning, notice, info, debug */
	int64_t          fronts, public_fronts;
	struct conf_strs resolvers;     /* name servers for upstreams' names; none: as resolv.conf says */
	int64_t          resolve_min, resolve_max;      /* seconds that an answer holds at least, at most */
	char            *metrics;       /* "": nowhere; else as metrics_listen() takes it */
	int64_t          conn_max;      /* connections of one front; 0: the default */
	int64_t          header_sec, keep_alive_sec;    /* 0: the defaults */
	char            *user, *front_user, *tunnel_user;
	bool             unprivileged;  /* may run without root: no user change, no mesh */
	struct conf_strs admins;        /* local users who may change things through the local API, beside root */
	struct conf_mesh mesh;
	struct conf_map  services, public;      /* of struct conf_service */
	struct conf_map  certificates;  /* of struct conf_certificate; none: core makes one */
	char            *upstream_roots;        /* PEM bundle; "": https upstreams need upstream-lax */
	int              verify;        /* enum conf_verify */
	struct conf_map  issuers;       /* of struct provider (idp/provider.h); CONF_VERIFY_IDP */
	int64_t          evidence_max_age;      /* seconds since auth_time */
	struct conf_map  glass;         /* of struct conf_glass */
	struct conf_strs server_keys;   /* CONF_VERIFY_IDP: device keys of tagged nodes that count here */
	int64_t          key_max_age;   /* seconds; 0: as the coordinator's configuration says */
	int64_t          key_overlap;   /* seconds: how long the IPv6 address of a key that was changed goes on */
	bool             key_by_hand;   /* the device key changes by `reeve rotate` alone */
	char            *login_url, *source_url, *contact;
	char            *error_page;    /* file; "": our own page */
	int64_t          watchdog_sec;  /* 0: hung processes are left alone */
	int64_t          drain_sec;     /* how long open requests may go on after SIGTERM */
};

const struct conf_row *conf_rows(void);

/* NULL if anything is wrong; diags then say what, all of it. */
struct conf *conf_new(struct span text, const char *dir, struct diags *diags);
void conf_free(struct conf *c);         /* accepts NULL */

/* "nginx": the word for a service's forward. */
const char *conf_forward_name(int forward);
const struct conf_service *conf_service_find(const struct conf_map *services, const char *name);       /* or NULL */
const struct conf_service *conf_service(const struct conf_map *services, size_t i);

enum conf_listen_kind {
	CONF_LISTEN_PORT,       /* "80": on the overlay addresses */
	CONF_LISTEN_AT,         /* "127.0.0.1:8080", "[::]:443" */
	CONF_LISTEN_FD,         /* "fd:NAME:PORT": the socket of that name in LISTEN_FDNAMES; PORT is what
	                         * policy and packet filter know it by */
	CONF_LISTEN_UNIX,       /* "unix:NAME": RUN-DIR/forward/NAME, "unix:/path": there; with "forward-auth" */
};

struct conf_listen {
	enum conf_listen_kind kind;
	struct ipport         at;       /* CONF_LISTEN_AT; of the others the port alone */
	struct span           name;     /* CONF_LISTEN_FD and _UNIX; borrowed from the text */
};

bool conf_listen_parse(struct span text, struct conf_listen *ret_l, struct err *err);

/* The ports by which policy and packet filter know a service; returns how many, at most max. */
size_t conf_service_ports(const struct conf_service *s, uint16_t *ret_ports, size_t max);

struct conf_upstream {
	bool          tls, h2, is_unix, tcp, fastcgi, scgi, uwsgi;
	struct ipport at;               /* of a name the port alone; localhost is 127.0.0.1 */
	struct span   name;             /* to be looked up (names.h); empty: none; borrowed */
	struct span   path;             /* is_unix; absolute, at most 107 bytes; borrowed from the text */
	struct span   host;             /* name or address as written, without the port; borrowed */
};

/* "http://127.0.0.1:5232", "http://app.example.edu:8080", "https://[::1]:8443", "h2c://127.0.0.1:50051", "h2://..." (with TLS),
 * "tcp://127.0.0.1:143", "unix:/run/app.sock"; "fastcgi://127.0.0.1:9000", "fastcgi+unix:/run/php/php-fpm.sock", and
 * the same with scgi and uwsgi.
 * The port may be left out of http (80) and https (443). */
bool conf_upstream_parse(struct span text, struct conf_upstream *ret_u, struct err *err);

#endif
