/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_LISTENERS_H
#define ENDPOINT_LISTENERS_H

/*
 * The listening sockets of this host: one for each address, shared by all
 * fronts that serve it, so that what waits in the accept queue of one that
 * crashed is accepted by another. Net owns them; the parent keeps copies for
 * the case that net dies. A reload opens what is new before anything is closed.
 */

#include "daemon/endpoint/conf.h"

enum { LISTENERS_MAX = 4096, LISTENERS_BACKLOG = 4096 };

struct listener {
	char         *key;      /* the "listen" text that the fronts know it by */
	struct ipport at;       /* family IP_NONE: handed in from outside */
	int           fd;
	/* another spelling, in the configuration that is prepared; or NULL */
	char         *next_key;
	bool          wanted;   /* by the configuration that is prepared */
	bool          staged;   /* opened for it */
};

struct listeners {
	struct listener *list;
	size_t           n;
};

void listeners_done(struct listeners *l);

/* A socket that is there already; takes fd over. False if it does not listen, or not at "at". */
bool listeners_keep(struct listeners *l, struct span key, const struct ipport *at, int fd,
                    struct err *err);

/* Opens what conf wants and is not there. "overlay" is where bare ports listen
 * (none yet: they are left out). On failure everything is as before. */
bool listeners_prepare(struct listeners *l, const struct conf *conf, const struct ip *overlay,
                       size_t overlay_n, struct err *err);
void listeners_use(struct listeners *l);        /* closes what the prepared one does not want */
void listeners_drop(struct listeners *l);       /* closes what was opened for it */

/* Whether a connection to "at" would be one of ours: a targets_own_fn, with struct listeners. */
bool listeners_own(void *listeners, const struct ipport *at);

/* Whether a service of this map listens there. */
bool listeners_serves(const struct listener *one, const struct conf_map *services);

#endif
