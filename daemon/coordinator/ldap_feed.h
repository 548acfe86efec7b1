/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_LDAP_FEED_H
#define COORDINATOR_LDAP_FEED_H

/*
 * What the LDAP servers say, brought into the database: the difference to what
 * was brought last, one job at a time. Next: directory/reader.h.
 */

#include "daemon/coordinator/coordinator.h"

struct ldap_feeds;

/* Sources that conf has no more are forgotten when it starts. NULL, with err, where a
 * password cannot be read. */
struct ldap_feeds *ldap_feeds_new(struct coordinator *co, const struct conf *conf, struct err *err);
/* Once the registry is loaded. from_kept: from what another process kept; else everything is read. */
void ldap_feeds_start(struct ldap_feeds *f, bool from_kept);
void ldap_feeds_free(struct ldap_feeds *f, bool wait);         /* accepts NULL; wait: the process ends */

/* ,"directories":[{"source":"ldap:campus","state":"watching",..}] */
void ldap_feeds_json(const struct ldap_feeds *f, struct buf *out);

#endif
