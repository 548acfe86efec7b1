/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef DIRECTORY_READER_CONF_H
#define DIRECTORY_READER_CONF_H

/*
 * What an owner configures of one LDAP server: a table for base/conf.h, as
 * idp/provider.h has one. reader_check() says what rows cannot.
 */

#include "base/conf.h"

enum { READERS_MAX = 16 };

enum reader_mode { READER_AUTO, READER_POLL };

struct reader_row {
	char   *url;                    /* ldaps://HOST, ldap://HOST (StartTLS), ldapi://PATH */
	bool    clear_text;             /* ldap:// without StartTLS: loopback only */
	char   *ca;
	char   *bind_dn, *password_file;
	char   *people, *people_filter, *login_attribute, *login_suffix;
	char   *disabled_filter;
	char   *groups, *groups_filter, *group_attribute;
	int     mode;
	int64_t poll, timeout, page;
};

extern const struct conf_row reader_rows[];
bool reader_check(const struct reader_row *row, const char *name, struct err *err);

#endif
