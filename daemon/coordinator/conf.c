/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/coordinator/conf.h"

#include "daemon/coordinator/permit.h"
#include "daemon/directory/reader_conf.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control/rotate.h"
#include "daemon/coordinator/lifetime.h"
#include "daemon/coordinator/own.h"
#include "idp/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const levels[] = { "error", "warn", "note", "info", "debug", NULL };

#define AT(member) .offset = offsetof(struct conf_accounts, member)
static const struct conf_row accounts_rows[] = {
	{"enabled", CONF_BOOL, AT(enabled), .def = "false",
	 .help = "Whether there are any: then the coordinator is an identity provider for itself, and "
		 "endpoints with verify: idp do not take its word."},
	{"title", CONF_STR, AT(title), 1, 100, "This site",
	 .help = "What people read on the pages and in their authenticator app."},
	{"domains", CONF_STRS, AT(domains), 1, 64, "*",
	 .help = "Domains whose login names may be invited; \"*\" for every name."},
	{"invitation", CONF_SECONDS, AT(invitation), 60, 90 * 86400, "72h",
	 .help = "How long the link of an invitation or a reset holds."},
	{"session", CONF_SECONDS, AT(session), 0, 90 * 86400, "24h",
	 .help = "How long a browser that has logged in may renew sessions here without a page; 0: not at all."},
	{"session-idle", CONF_SECONDS, AT(session_idle), 60, 90 * 86400, "14h",
	 .help = "The same, from when it last did."},
	CONF_END};
#undef AT

#define AT(member) .offset = offsetof(struct bearer_row, member)
static const struct conf_row bearer_rows[] = {
	{"issuer", CONF_STR, AT(issuer), 1, 63, NULL, .help = "The name of a row of issuers."},
	{"audience", CONF_STR, AT(audience), 1, 512, NULL,
	 .help = "What the token's aud must hold: this coordinator's name at the issuer, none of its "
		 "clients."},
	{"scope", CONF_STR, AT(scope), 1, 255, NULL,
	 .help = "What scope, scp or roles of the token must hold."},
	{"client", CONF_STR, AT(client), 0, 255, "",
	 .help = "What client_id, azp or appid of the token must be; where it is not said, any."},
	{"permissions", CONF_STRS, AT(permissions), 1, 32, NULL,
	 .help = "What it may: scim, or nodes, users, groups, sessions, keys, policy, audit, status, "
		 "each with :read or :write (which includes reading)."},
	CONF_END};
#undef AT

#define AT(member) .offset = offsetof(struct conf, member)
static const struct conf_row rows[] = {
	{"state-dir", CONF_PATH, AT(state_dir), 1, 1024, LOCALSTATEDIR "/lib/reeve-coordinator",
	 .help = "The database."},
	{"run-dir", CONF_PATH, AT(run_dir), 1, 80, RUNSTATEDIR "/reeve-coordinator",
	 .help = "The sockets public.sock and mesh.sock."},
	{"url", CONF_STR, AT(url), 1, ENROL_URL_MAX - 1, NULL,
	 .help = "How browsers and new devices reach the public listener: https://HOST or "
		 "https://HOST:PORT."},
	{"mesh-name", CONF_STR, AT(mesh_name), 1, 63, "mesh",
	 .help = "The mesh's name, a DNS label. Used by init."},
	{"v4", CONF_PREFIX, AT(v4), .def = "100.64.0.0/10",
	 .help = "IPv4 overlay addresses are allotted from here. Used by init."},
	{"hub-name", CONF_STR, AT(hub_name), 1, 63, "hub",
	 .help = "The hub's own node. Used by init."},
	{"hub-port", CONF_INT, AT(hub_port), 1, 65535, "80",
	 .help = "Port on the hub's overlay addresses where its reeved serves the mesh socket."},
	{"hub-endpoints", CONF_STRS, AT(hub_endpoints), 0, MAP_ENDPOINTS_MAX, "",
	 .help = "ADDRESS:PORT under which the hub's WireGuard is reached, beside those that its "
		 "reeved finds itself."},
	{"pins", CONF_STRS, AT(pins), 0, ENROL_PINS_MAX, "",
	 .help = "Pins of the public listener's certificates, beside those that the hub's reeved "
		 "tells."},
	{"certificates", CONF_STRS, AT(certificates), 0, ENROL_PINS_MAX, "",
	 .help = "PEM files of the public listener's certificates, in place of their pins."},
	{"admins", CONF_STRS, AT(admins), 0, 1024, "",
	 .help = "Login names of administrators. The policy's nodeAttrs may name more, with "
		 "reeve:admin."},
	{"front-users", CONF_STRS, AT(front_users), 1, 16, "root",
	 .help = "Local users who may connect to the sockets: the one that reeved's net process "
		 "runs as."},
	{"hub-user", CONF_STR, AT(hub_user), 0, 32, "reeve",
	 .help = "The local user of the hub's core process, who may read the hub's map from the "
		 "mesh socket."},
	{"issuers", CONF_MAP, AT(issuers), 0, PROVIDERS_MAX, "", .sub = provider_rows,
	 .sub_size = sizeof(struct provider), .help = "Identity providers, by a name of your own."},
	{"accounts", CONF_OBJECT, AT(accounts), .def = "", .sub = accounts_rows,
	 .help = "Accounts of the site's own, for one without an identity provider."},
	{"session", CONF_SECONDS, AT(session), 5, 90 * 86400, "12h",
	 .help = "How long a login lasts."},
	{"session-until", CONF_STR, AT(session_until), 0, 5, "",
	 .help = "HH:MM: a login lasts until that time of the day at most, in local time."},
	{"session-max", CONF_SECONDS, AT(session_max), 0, 366 * 86400, "0",
	 .help = "The absolute end: no session lasts longer after the person proved themselves at the "
		 "provider, however often it is renewed. 0: renewals count anew."},
	{"session-idle", CONF_SECONDS, AT(session_idle), 0, 90 * 86400, "0",
	 .help = "A session ends when nothing was used with it for so long: no service, no route. 0: it does not."},
	{"refresh-every", CONF_SECONDS, AT(refresh_every), 0, 7 * 86400, "15m",
	 .help = "How often a provider that gave a refresh token is asked whether it still stands by a "
		 "person. 0: never; no refresh token is kept then."},
	{"refresh-patience", CONF_SECONDS, AT(refresh_patience), 5, 90 * 86400, "24h",
	 .help = "How long a provider may fail to answer that question before the session ends."},
	{"approve-devices", CONF_BOOL, AT(approve_devices), .def = "false",
	 .help = "A new device of a person counts once an administrator approved it (reeve node approve)."},
	{"node-life", CONF_SECONDS, AT(node_life), 0, 10 * 366 * 86400, "0",
	 .help = "A person's device is forgotten so long after the last login on it. 0: never."},
	{"key-max-age", CONF_SECONDS, AT(key_max_age), 0, ROTATE_AGE_MAX, "0",
	 .help = "Nodes give themselves another device key when theirs is about so old, where their owner says "
		 "nothing else. At least 1h. 0: by hand alone (reeve rotate)."},
	{"ephemeral-after", CONF_SECONDS, AT(ephemeral_after), 1, 7 * 86400, "5m",
	 .help = "An ephemeral node is forgotten when it was not in touch for so long."},
	{"lease", CONF_SECONDS, AT(lease), 60, MAP_LEASE_MAX, "24h",
	 .help = "How long an endpoint may act on what it last heard from the coordinator."},
	{"login-time", CONF_SECONDS, AT(login_time), 60, 3600, "10m",
	 .help = "How long a person has from the beginning of a login to its end."},
	{"cross-device", CONF_BOOL, AT(cross_device), .def = "false",
	 .help = "Let a login be approved in a browser on another device. Such sessions never "
		 "satisfy a grant's auth."},
	{"attempts-per-minute", CONF_INT, AT(attempts_per_minute), 1, 100000, "120",
	 .help = "Enrolments and logins that one address (IPv6: one /64) may begin in a minute."},
	{"ldap", CONF_MAP, AT(ldap), 0, READERS_MAX, "", .sub = reader_rows,
	 .sub_size = sizeof(struct reader_row),
	 .help = "LDAP servers that say who is in which group, and whose account is disabled, by a name "
		 "of your own."},
	{"bearers", CONF_MAP, AT(bearers), 0, 64, "", .sub = bearer_rows,
	 .sub_size = sizeof(struct bearer_row),
	 .help = "Programs that show an OAuth 2.0 access token (JWT), by a name of your own: for the "
		 "administration API, and for SCIM."},
	{"hold-share", CONF_INT, AT(hold_share), 1, 100, "50",
	 .help = "Percent of a group, of all groups of a source, or of its accounts, that may "
		 "vanish from a directory within hold-window without an administrator's word. 100: "
		 "nothing is held."},
	{"hold-least", CONF_INT, AT(hold_least), 1, 1000000, "5",
	 .help = "Groups with fewer members are not held."},
	{"hold-window", CONF_SECONDS, AT(hold_window), 0, 30 * 86400, "1h",
	 .help = "Losses within this time count together."},
	{"source", CONF_STR, AT(source), 0, 512, "",
	 .help = "URL of the source of what runs here, shown under /source. Whoever runs a changed "
		 "Reeve sets it (AGPL, section 13)."},
	{"audit", CONF_PATH, AT(audit), .def = "",
	 .help = "File for the audit, one JSON object a line; else audit.json in the state "
		 "directory."},
	{"log-level", CONF_ENUM, AT(log_level), .def = "info", .words = levels,
	 .help = "The most that is said in the journal."},
	CONF_END};
#undef AT

char *conf_path(const struct conf *c, const char *dir, const char *name)
{
	size_t size = strlen(dir) + strlen(name) + 2;
	char  *path = mem_alloc(size);

	(void)c;
	snprintf(path, size, "%s/%s", dir, name);
	return path;
}

static bool is_own(const struct conf *c, const char *issuer)
{
	struct span s = span_str(issuer), url = span_str(c->url);

	return span_starts(s, url) && (span_eq(span_from(s, url.len), SPAN("/idp")) ||
				       span_starts(span_from(s, url.len), SPAN("/idp/")));
}

static bool check_ldap(struct conf *c, struct diags *diags)
{
	struct err err = { 0 };
	bool       ok = true;

	for (size_t i = 0; i < c->ldap.count; i++)
		if (!map_name_ok(span_str(c->ldap.names[i])))
			ok = diag_error(diags, c->ldap.at[i], "a name is a lower-case DNS label");
		else if (!reader_check((const struct reader_row *)c->ldap.items + i,
				       c->ldap.names[i], &err))
			ok = diag_error(diags, c->ldap.at[i], "%s", err.msg);
	return ok;
}

static bool check_bearers(struct conf *c, struct diags *diags)
{
	bool ok = true;

	for (size_t i = 0; i < c->bearers.count; i++) {
		struct bearer_row     *b = (struct bearer_row *)c->bearers.items + i;
		const struct provider *p = NULL;

		for (size_t k = 0; k < c->issuers.count; k++)
			if (strcmp(c->issuers.names[k], b->issuer) == 0)
				p = (const struct provider *)c->issuers.items + k;
		if (!p)
			ok = diag_error(diags, c->bearers.at[i], "there is no issuer \"%s\"", b->issuer);
		else if (strcmp(b->audience, p->client_id) == 0 ||
			 strcmp(b->audience, p->device_client_id) == 0)
			ok = diag_error(diags, c->bearers.at[i],
					"\"audience\": that is the client of people's logins, whose ID "
					"tokens are no program's");
		for (size_t k = 0; k < b->permissions.count; k++) {
			uint32_t bit = permit_of(span_str(b->permissions.list[k]));

			if (!bit)
				ok = diag_error(diags, b->permissions.at[k],
						"\"%s\" is no permission", b->permissions.list[k]);
			b->permits |= bit;
		}
	}
	return ok;
}

static bool check(struct conf *c, struct diags *diags)
{
	static const struct place nowhere;
	struct err       err = { 0 };
	char             url[ENROL_URL_MAX];
	struct enrol_pin pin;
	struct ipport    at;
	bool             ok = true;

	if (!enrol_url_check(span_str(c->url), url, &err))
		ok = diag_error(diags, nowhere, "\"url\": %s", err.msg);
	else
		memcpy(c->url, url, strlen(url) + 1);   /* only ever shorter */
	if (!map_name_ok(span_str(c->mesh_name)))
		ok = diag_error(diags, nowhere, "\"mesh-name\": not a lower-case DNS label");
	if (!map_name_ok(span_str(c->hub_name)))
		ok = diag_error(diags, nowhere, "\"hub-name\": not a lower-case DNS label");
	if (c->v4.ip.family != IP_V4 || c->v4.bits < 8 || c->v4.bits > 29)
		ok = diag_error(diags, nowhere, "\"v4\": not an IPv4 prefix of /8 to /29");
	for (size_t i = 0; i < c->pins.count; i++)
		if (!enrol_pin_parse(span_str(c->pins.list[i]), &pin))
			ok = diag_error(diags, c->pins.at[i], "not a pin: base64 of a SHA-256");
	for (size_t i = 0; i < c->hub_endpoints.count; i++)
		if (!ipport_parse(span_str(c->hub_endpoints.list[i]), &at) || at.port == 0)
			ok = diag_error(diags, c->hub_endpoints.at[i], "not ADDRESS:PORT");
	if (c->key_max_age && c->key_max_age < ROTATE_AGE_MIN)
		ok = diag_error(diags, nowhere, "\"key-max-age\": want 0, or at least 1h");
	if (c->session_until[0] && lifetime_minute(c->session_until) < 0)
		ok = diag_error(diags, nowhere, "\"session-until\": not a time of the day such as \"04:00\"");
	for (size_t i = 0; i < c->issuers.count; i++)
		if (!provider_check((const struct provider *)c->issuers.items + i,
				    c->issuers.names[i], &err))
			ok = diag_error(diags, c->issuers.at[i], "%s", err.msg);
		else if (is_own(c, ((const struct provider *)c->issuers.items + i)->issuer))
			ok = diag_error(diags, c->issuers.at[i],
					"that issuer is this coordinator: \"accounts\" switches it on");
	ok = check_ldap(c, diags) && ok;
	return check_bearers(c, diags) && ok;
}

/* Own accounts are one more issuer, the last one; its rows are ours to write. */
static bool own_issuer(struct conf *c, struct diags *diags)
{
	static const struct place nowhere;
	struct conf_map      *m = &c->issuers;
	scoped_buf struct buf text = { 0 };
	struct provider      *p;
	struct err            err = { 0 };
	char                 *name = mem_strdup("accounts");

	for (size_t i = 0; i < m->count; i++)
		if (strcmp(m->names[i], name) == 0) {
			free(name);
			return diag_error(diags, m->at[i], "with \"accounts\" that name is taken");
		}
	if (m->count == PROVIDERS_MAX) {
		free(name);
		return diag_error(diags, nowhere, "\"issuers\": %d with own accounts are too many",
				  PROVIDERS_MAX + 1);
	}
	m->names = mem_realloc(m->names, m->count + 1, sizeof(*m->names));
	m->at = mem_realloc(m->at, m->count + 1, sizeof(*m->at));
	m->items = mem_realloc(m->items, m->count + 1, sizeof(struct provider));
	m->names[m->count] = name;
	m->at[m->count] = nowhere;
	p = (struct provider *)m->items + m->count;
	memset(p, 0, sizeof(*p));
	m->count++;
	buf_init(&text, 256 << 10);
	buf_addf(&text, "{\"issuer\":\"%s/idp\",\"title\":", c->url);
	buf_add_json(&text, span_str(c->accounts.title));
	buf_add_str(&text, ",\"client-id\":\"" OWN_CLIENT "\",\"auth-method\":\"none\",\"algorithms\":[\"ES256\"],"
			   "\"scopes\":[\"profile\"],\"mfa-amr\":[\"mfa\"],\"userinfo\":false,"
			   "\"login-claim\":\"preferred_username\",\"groups-claim\":\"groups\",\"domains\":[");
	for (size_t i = 0; i < c->accounts.domains.count; i++) {
		buf_add_str(&text, i ? "," : "");
		buf_add_json(&text, span_str(c->accounts.domains.list[i]));
	}
	buf_add_str(&text, "]}");
	if (!conf_parse(provider_rows, p, sizeof(*p), buf_span(&text), ".", diags))
		return false;
	c->own_socket = conf_path(c, c->run_dir, "public.sock");
	p->socket = c->own_socket;
	return provider_check(p, name, &err) || diag_error(diags, nowhere, "\"accounts\": %s", err.msg);
}

struct conf *conf_read(struct span text, const char *dir, struct diags *diags)
{
	struct conf *c = mem_alloc(sizeof(*c));

	if (!conf_parse(rows, c, sizeof(*c), text, dir, diags) || !check(c, diags) ||
	    (c->accounts.enabled && !own_issuer(c, diags))) {
		conf_free(c);
		return NULL;
	}
	c->log_level += LOG_ERROR;
	return c;
}

struct conf *conf_load(const char *path, struct diags *diags)
{
	static const struct place nowhere;
	scoped_buf struct buf text = { 0 };
	struct err   err = { 0 };
	const char  *slash = strrchr(path, '/');
	scoped_free char *dir =
		slash ? mem_dup(path, slash == path ? 1 : (size_t)(slash - path)) : mem_strdup(".");

	buf_init(&text, 1 << 20);
	if (!file_read(path, 1 << 20, &text, &err)) {
		diag_error(diags, nowhere, "%s", err.msg);
		return NULL;
	}
	return conf_read(buf_span(&text), dir, diags);
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	conf_done(rows, c);
	free(c->own_socket);
	free(c);
}

void conf_show(const struct conf *c, struct buf *out)
{
	struct conf copy = *c;

	copy.log_level -= LOG_ERROR;
	copy.issuers.count -= c->accounts.enabled;      /* made of "accounts", not configured */
	conf_print(rows, &copy, out);
}

void conf_manual(struct buf *out)
{
	conf_man(rows, out);
}
