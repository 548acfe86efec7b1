/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/targets.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

struct target {
	struct sockaddr_storage at;
	socklen_t               len;
};

struct target_service {
	struct target *list;
	size_t         n;
};

struct target_map {
	struct target_service *list;
	size_t                 n;
};

struct targets {
	struct target_map services, public;
};

static void map_done(struct target_map *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->list[i].list);
	free(m->list);
}

void targets_free(struct targets *t)
{
	if (!t)
		return;
	map_done(&t->services);
	map_done(&t->public);
	free(t);
}

static bool fill_target(struct target *t, const char *text, struct err *err)
{
	struct conf_upstream u;

	if (!conf_upstream_parse(span_str(text), &u, err))
		return false;
	if (u.is_unix) {
		struct sockaddr_un sun = { .sun_family = AF_UNIX };

		if (!span_cstr(u.path, sun.sun_path, sizeof(sun.sun_path)))
			return err_set(err, ERR_LIMIT, "%s: this path is too long", text);
		memcpy(&t->at, &sun, sizeof(sun));
		t->len = sizeof(sun);
	} else {
		t->len = ipport_to_sockaddr(&u.at, &t->at);
	}
	return true;
}

static bool fill_map(struct target_map *m, const struct conf_map *services, struct err *err)
{
	m->list = mem_calloc(services->count, sizeof(*m->list));
	m->n = services->count;
	for (size_t i = 0; i < m->n; i++) {
		const struct conf_strs *texts = &conf_service(services, i)->upstream;

		m->list[i].list = mem_calloc(texts->count, sizeof(*m->list[i].list));
		m->list[i].n = texts->count;
		for (size_t k = 0; k < texts->count; k++)
			if (!fill_target(&m->list[i].list[k], texts->list[k], err))
				return false;
	}
	return true;
}

struct targets *targets_new(const struct conf *conf, struct err *err)
{
	struct targets *t = mem_alloc(sizeof(*t));

	if (!fill_map(&t->services, &conf->services, err) ||
	    !fill_map(&t->public, &conf->public, err)) {
		targets_free(t);
		return NULL;
	}
	return t;
}

int targets_connect(const struct targets *t, bool public, uint32_t service, uint32_t upstream,
                    int *ret_error)
{
	const struct target_map *m = public ? &t->public : &t->services;
	const struct target *to;
	int fd;

	if (service >= m->n || upstream >= m->list[service].n) {
		*ret_error = EINVAL;
		return -1;
	}
	to = &m->list[service].list[upstream];
	fd = socket(to->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (connect(fd, (const struct sockaddr *)&to->at, to->len) == 0 ||
	                errno == EINPROGRESS))
		return fd;
	*ret_error = errno ? errno : EIO;
	if (fd >= 0)
		close(fd);
	return -1;
}
