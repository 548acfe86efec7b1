/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef POLICY_TABLES_H
#define POLICY_TABLES_H

/*
 * Compiled rules as one flat block: offsets only, so that it can be copied
 * into a sealed memory file and mapped read-only anywhere (8-byte aligned).
 * tables_check() looks at every offset once; the functions below it allocate
 * nothing, never fail, and deny what they cannot show to be allowed.
 *
 * Identities are not in here: a caller brings its class (policy/compile.h).
 */

#include "base/clock.h"
#include "base/diag.h"
#include "base/ip.h"
#include "base/span.h"

enum verdict { VERDICT_DENY = 0, VERDICT_ALLOW };

enum {
	CLASS_NONE = 0,         /* nothing allowed */
	CLASS_LOGIN = 1,        /* nothing allowed but to be told to log in: the ports of fronted services open, every request denied */
	CLASS_FIRST = 2,        /* compiled classes from here */
};

enum {
	TABLES_MAX = 1 << 30,   /* bytes of one block; offsets are 32 bits */
	RULE_NONE = 0,          /* rule ids start at 1 */
	SERVICE_NONE = 0,       /* service ids start at 1 */
};

/* "deny" as stale: two heartbeats and a reconnect. */
#define STALE_DENY_SEC INT64_C(60)
/* `silent` of an endpoint without a coordinator: nothing goes stale. */
#define SILENT_NEVER INT64_C(-1)

/* Why, ordered: among several grants that nearly allowed, the highest counts. */
enum reason_code {
	REASON_NONE = 0,        /* nobody looked */
	REASON_NO_GRANT,        /* no grant names this destination at all */
	REASON_NO_CLASS,        /* this caller has no grant here: rule is one that others have, if any */
	REASON_PROTO,           /* granted here, but not over this protocol */
	REASON_PORT,            /* granted here, but not this port */
	REASON_HOST,            /* this service, but not under this host name */
	REASON_PATH,            /* ... not this path */
	REASON_METHOD,          /* ... not with this method */
	REASON_STALE,           /* the coordinator has been silent for too long */
	REASON_OWNER,           /* the policy allows, the owner's file does not */
	REASON_NO_SESSION,      /* nobody is logged in there, or the session has ended: log in */
	REASON_AUTH_AGE,        /* the login is too old: step up, see auth */
	REASON_AUTH_STRENGTH,   /* mfa, acr or amr: step up, see auth */
	REASON_ALLOWED,
};

/* What a grant demands of a login; what a front asks the IdP for. */
struct tables_auth {
	bool        mfa;
	int64_t     max_age;    /* seconds; 0: any */
	struct span acr;        /* "a b": one of them; empty: any */
	struct span amr;        /* "a b": all of them; empty: any */
};

struct reason {
	enum reason_code code;
	uint32_t         rule;  /* id for tables_rule(), or RULE_NONE */
	uint32_t         local; /* the owner's rule, or RULE_NONE */
};

struct tables;

/* True if p holds whole tables: every offset inside, every list sorted as the
 * readers need it. p must be aligned to 8 bytes. */
bool tables_check(const void *p, size_t n, struct err *err);
const struct tables *tables_map(const void *p);         /* only after tables_check() */
uint64_t tables_generation(const struct tables *t);

uint32_t tables_service(const struct tables *t, struct span name);      /* or SERVICE_NONE */

/* What the endpoint knows of the caller's login when it asks. */
struct tables_session {
	struct wall auth_time;  /* 0: unknown */
	struct wall expires;    /* dead at this second. Zero denies; TOPOLOGY_NEVER for tagged nodes */
};

struct tables_request {
	struct span method;     /* as sent */
	struct span host;       /* lower case, without port */
	struct span path;       /* normalised, begins with '/', without query */
	uint8_t     family;     /* of the connection: IP_V4 or IP_V6; anything else meets only rules for both */
	uint16_t    port;       /* the service's listen port */
};

/* now: wall clock. silent: seconds since the coordinator was last heard, or SILENT_NEVER. */
enum verdict tables_http(const struct tables *t, uint32_t class, uint32_t service,
                         const struct tables_request *req, const struct tables_session *ses,
                         struct wall now, int64_t silent, struct reason *ret_why);

/* dst: an address of this host or one that it forwards to. Sessions are not
 * looked at: a class holds until its `until`. port is 0 for protocols without. */
enum verdict tables_packet(const struct tables *t, uint32_t class, const struct ip *dst,
                           uint8_t proto, uint16_t port, int64_t silent, struct reason *ret_why);

struct tables_rule {
	struct place at;
	bool        owner;      /* of the owner's file */
	bool        acl;
	uint32_t    index;      /* within acls or grants */
	struct span text;       /* one line: "group:staff -> svc:wiki" */
	struct tables_auth auth;
};
bool tables_rule(const struct tables *t, uint32_t rule, struct tables_rule *ret_rule);

/* The app capabilities of a class towards this host, as a JSON object; "{}" if none. */
struct span tables_caps(const struct tables *t, uint32_t class);

const char *reason_name(enum reason_code code);         /* "no-grant": stable, for JSON and audit */

/* The path matcher on its own: '*' within a segment, '**' across segments
 * (at the end, after a slash, it also matches nothing: the folder itself with or
 * without its slash). Both normalised. */
bool pattern_match(struct span pattern, struct span path);

#endif
