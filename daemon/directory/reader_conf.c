/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/directory/reader_conf.h"

#include <ldap.h>
#include <string.h>

#define ROW(name_, type_, field_, min_, max_, def_, help_)                              \
	{ .name = name_, .type = type_, .offset = offsetof(struct reader_row, field_),    \
	  .min = min_, .max = max_, .def = def_, .help = help_ }

static const char *const modes[] = { [READER_AUTO] = "auto", [READER_POLL] = "poll", NULL };

const struct conf_row reader_rows[] = {
	ROW("url", CONF_STR, url, 8, 512, NULL,
	    "ldaps://HOST, ldap://HOST (with StartTLS, always), or ldapi:// and a percent-encoded path"),
	ROW("clear-text", CONF_BOOL, clear_text, 0, 0, "false",
	    "do without TLS; only towards a loopback address"),
	ROW("ca", CONF_PATH, ca, 0, 4096, "",
	    "certificates (PEM) that the server's must descend from; by default the system's"),
	ROW("bind-dn", CONF_STR, bind_dn, 0, 1024, "",
	    "who reads; empty binds as nobody"),
	ROW("password-file", CONF_PATH, password_file, 0, 4096, "",
	    "file with the password, readable for its owner alone"),
	ROW("people", CONF_STR, people, 1, 1024, NULL, "below which entry people are"),
	ROW("people-filter", CONF_STR, people_filter, 3, 1024, "(objectClass=person)",
	    "which of the entries there are people"),
	ROW("login-attribute", CONF_STR, login_attribute, 1, 64, "mail",
	    "the attribute that is the login name"),
	ROW("login-suffix", CONF_STR, login_suffix, 0, 128, "",
	    "what a login name has behind that attribute: uid and \"@example.edu\""),
	ROW("disabled-filter", CONF_STR, disabled_filter, 0, 1024, "",
	    "which people's accounts are disabled: \"(pwdAccountLockedTime=*)\", or for Active Directory "
	    "\"(userAccountControl:1.2.840.113556.1.4.803:=2)\""),
	ROW("groups", CONF_STR, groups, 1, 1024, NULL, "below which entry groups are"),
	ROW("groups-filter", CONF_STR, groups_filter, 3, 1024,
	    "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup)"
	    "(objectClass=group))",
	    "which of the entries there are groups"),
	ROW("group-attribute", CONF_STR, group_attribute, 1, 64, "cn",
	    "the attribute that is a group's name"),
	{ .name = "mode", .type = CONF_ENUM, .offset = offsetof(struct reader_row, mode), .def = "auto",
	  .words = modes,
	  .help = "auto: changes arrive at once where the server has RFC 4533, else it is read again and "
	          "again; poll: that always" },
	ROW("poll", CONF_SECONDS, poll, 1, 86400, "5m", "how often it is read where it does not tell"),
	ROW("timeout", CONF_SECONDS, timeout, 1, 120, "10s",
	    "how long connecting, or silence within an answer, may take"),
	ROW("page", CONF_INT, page, 1, 10000, "500", "entries that are asked for at once (RFC 2696)"),
	CONF_END,
};

static bool loopback(const char *host)
{
	struct ip ip;

	if (strcmp(host, "localhost") == 0)
		return true;
	return ip_parse(span_str(host), &ip) &&
	       (ip.family == IP_V4 ? ip.b[0] == 127
				   : memcmp(ip.b, (const uint8_t[16]){ [15] = 1 }, 16) == 0);
}

static bool url_check(const struct reader_row *row, const char *name, struct err *err)
{
	LDAPURLDesc *u = NULL;
	bool         ok = true, clear;

	if (ldap_url_parse(row->url, &u) != LDAP_URL_SUCCESS)
		return err_set(err, ERR_CONFIG, "%s: \"url\" is no LDAP URL", name);
	clear = strcmp(u->lud_scheme, "ldap") == 0;
	if (!clear && strcmp(u->lud_scheme, "ldaps") != 0 && strcmp(u->lud_scheme, "ldapi") != 0)
		ok = err_set(err, ERR_CONFIG, "%s: \"url\" begins with ldaps, ldap or ldapi", name);
	else if ((u->lud_dn && *u->lud_dn) || u->lud_attrs || u->lud_filter || u->lud_exts)
		ok = err_set(err, ERR_CONFIG, "%s: \"url\" names a server and nothing else", name);
	else if (row->clear_text && (!clear || !u->lud_host || !loopback(u->lud_host)))
		ok = err_set(err, ERR_CONFIG,
			     "%s: \"clear-text\" is for ldap:// and a loopback address", name);
	ldap_free_urldesc(u);
	return ok;
}

/* Brackets balance, and it is one filter: what is put beside it stays beside it. */
static bool filter_ok(const char *f)
{
	int depth = 0;

	if (*f != '(')
		return false;
	for (; *f; f++) {
		depth += *f == '(' ? 1 : *f == ')' ? -1 : 0;
		if (depth < 0 || (depth == 0 && f[1]))
			return false;
	}
	return depth == 0;
}

bool reader_check(const struct reader_row *row, const char *name, struct err *err)
{
	const struct { const char *key, *value; } filters[] = {
		{ "people-filter", row->people_filter },
		{ "groups-filter", row->groups_filter },
		{ "disabled-filter", row->disabled_filter },
	};

	if (!url_check(row, name, err))
		return false;
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
		if (*filters[i].value && !filter_ok(filters[i].value))
			return err_set(err, ERR_CONFIG, "%s: \"%s\" is no filter in brackets", name,
				       filters[i].key);
	if (!*row->bind_dn != !*row->password_file)
		return err_set(err, ERR_CONFIG, "%s: \"bind-dn\" and \"password-file\" go together",
			       name);
	return true;
}
