/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/targets.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

struct target {
	struct sockaddr_storage at;
	socklen_t               len;
	char                   *name;   /* looked up; at is not used then */
	uint16_t                port;
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
	for (size_t i = 0; i < m->n; i++) {
		for (size_t k = 0; k < m->list[i].n; k++)
			free(m->list[i].list[k].name);
		free(m->list[i].list);
	}
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
	} else if (u.name.len) {
		t->name = span_dup(u.name);
		t->port = u.at.port;
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

uint32_t targets_place(size_t upstream, size_t address)
{
	return (uint32_t)(address * TARGETS_UPSTREAMS_MAX + upstream);
}

static bool map_has_name(const struct target_map *m, struct span name)
{
	for (size_t i = 0; i < m->n; i++)
		for (size_t k = 0; k < m->list[i].n; k++)
			if (m->list[i].list[k].name && span_eq(span_str(m->list[i].list[k].name), name))
				return true;
	return false;
}

bool targets_have_name(const struct targets *t, struct span name)
{
	return t && (map_has_name(&t->services, name) || map_has_name(&t->public, name));
}

/* ---- the book ---- */

void book_done(struct book *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->list[i].name);
	free(b->list);
	*b = (struct book){ 0 };
}

static struct book_name *book_find(const struct book *b, struct span name)
{
	for (size_t i = 0; i < b->n; i++)
		if (span_eq(span_str(b->list[i].name), name))
			return &b->list[i];
	return NULL;
}

void book_set(struct book *b, struct span name, const struct ip at[NAMES_ADDRESSES_MAX])
{
	struct book_name *e = book_find(b, name);

	if (!e) {
		b->list = mem_realloc(b->list, b->n + 1, sizeof(*b->list));
		e = &b->list[b->n++];
		e->name = span_dup(name);
	}
	memcpy(e->at, at, sizeof(e->at));
	e->said = false;
}

void book_keep(struct book *b, const struct targets *now, const struct targets *before)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct span name = span_str(b->list[i].name);

		if (targets_have_name(now, name) || targets_have_name(before, name))
			b->list[n++] = b->list[i];
		else
			free(b->list[i].name);
	}
	b->n = n;
}

/* Where the name's address of that number is, if a connection may go there. */
static bool place_find(const struct target *t, struct book *b, size_t address, targets_own_fn *own, void *arg,
                       struct target *ret, int *ret_error)
{
	struct book_name *e = book_find(b, span_str(t->name));
	struct ipport at = { .port = t->port };
	char text[IP_TEXT_MAX];

	if (address >= NAMES_ADDRESSES_MAX) {
		*ret_error = EINVAL;
		return false;
	}
	if (!e || e->at[address].family == IP_NONE) {
		*ret_error = EHOSTUNREACH;
		return false;
	}
	at.ip = e->at[address];
	if (own(arg, &at)) {
		if (!e->said)
			log_error("upstream name %s is %s, where this host itself listens: no connection is made there, "
			          "or requests would go round for ever", e->name, ipport_text(&at, text));
		e->said = true;
		*ret_error = ELOOP;
		return false;
	}
	ret->len = ipport_to_sockaddr(&at, &ret->at);
	return true;
}

int targets_connect(const struct targets *t, struct book *b, targets_own_fn *own, void *arg, bool public,
                    uint32_t service, uint32_t place, int *ret_error)
{
	const struct target_map *m = public ? &t->public : &t->services;
	uint32_t upstream = place % TARGETS_UPSTREAMS_MAX, address = place / TARGETS_UPSTREAMS_MAX;
	const struct target *to;
	struct target found;
	int fd;

	if (service >= m->n || upstream >= m->list[service].n || (address && !m->list[service].list[upstream].name)) {
		*ret_error = EINVAL;
		return -1;
	}
	to = &m->list[service].list[upstream];
	if (to->name) {
		if (!place_find(to, b, address, own, arg, &found, ret_error))
			return -1;
		to = &found;
	}
	fd = socket(to->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (connect(fd, (const struct sockaddr *)&to->at, to->len) == 0 ||
	                errno == EINPROGRESS))
		return fd;
	*ret_error = errno ? errno : EIO;
	if (fd >= 0)
		close(fd);
	return -1;
}
