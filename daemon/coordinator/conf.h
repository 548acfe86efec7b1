/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef COORDINATOR_CONF_H
#define COORDINATOR_CONF_H

/* The coordinator's configuration: one table (conf.c), that the parser, the
 * check, the printer and the manual page are made from. */

#include "base/conf.h"
#include "daemon/control/enrol.h"

#include <sys/types.h>

/* Accounts of the site's own (own.h). */
struct conf_accounts {
	bool             enabled;
	char            *title;
	struct conf_strs domains;
	int64_t          invitation;
	int64_t          session, session_idle; /* of a browser at this provider; 0: none is kept */
};

struct conf {
	char            *state_dir, *run_dir;
	char            *url;                   /* checked: https://HOST[:PORT] */
	char            *mesh_name;
	struct prefix    v4;
	char            *hub_name;
	int64_t          hub_port;              /* of the mesh listener on the hub's overlay addresses */
	struct conf_strs hub_endpoints;
	struct conf_strs pins, certificates;
	struct conf_strs admins;
	struct conf_strs front_users;
	char            *hub_user;
	struct conf_map  issuers;               /* struct provider */
	struct conf_accounts accounts;
	char            *own_socket;            /* where the relying party reaches them; made, not configured */
	int64_t          session, lease, login_time;
	char            *session_until;         /* "" or "HH:MM" */
	int64_t          session_max, session_idle;
	int64_t          refresh_every, refresh_patience;
	bool             approve_devices;
	int64_t          node_life, ephemeral_after, key_max_age;
	bool             cross_device;
	char            *source;                /* "" or where the source of what runs here is */
	int64_t          attempts_per_minute;
	struct conf_map  ldap;                  /* struct reader_row */
	struct conf_map  bearers;               /* struct bearer_row */
	int64_t          hold_share, hold_least, hold_window;   /* percent, members, seconds */
	char            *audit;
	int              log_level;
};

/* A program with an access token: what it may, and nothing else. */
struct bearer_row {
	char            *issuer, *audience, *scope, *client;
	struct conf_strs permissions;
	uint32_t         permits;               /* of permissions */
};

/* NULL, with diags, on any fault. */
struct conf *conf_read(struct span text, const char *dir, struct diags *diags);
struct conf *conf_load(const char *path, struct diags *diags);
void conf_free(struct conf *c);                 /* accepts NULL */
void conf_show(const struct conf *c, struct buf *out);
void conf_manual(struct buf *out);

char *conf_path(const struct conf *c, const char *dir, const char *name);       /* DIR/NAME; the caller frees */

#endif
